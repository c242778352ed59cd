"""Exports of labeling tools and of panels of judges: a few answers, in the fields of each tool."""

import json

ANSWERS = [
    ("1", "ann", "cat"),
    ("1", "bob", "cat"),
    ("2", "ann", "dog"),
    ("2", "cyd", "cat"),
    ("3", "bob", "dog"),
    ("3", "cyd", "dog"),
    ("4", "ann", "cat"),
    ("4", "cyd", "dog"),
]
GOLD = [("1", "cat"), ("3", "dog")]
TASKS = sorted({task for task, _, _ in ANSWERS})
WORKERS = sorted({worker for _, worker, _ in ANSWERS})


def by(index):
    """The answers of each task (0) or worker (1)."""
    found = {}
    for answer in ANSWERS:
        found.setdefault(answer[index], []).append(answer)
    return found


def as_json(path, found):
    path.write_text(json.dumps(found), encoding="utf-8")
    return path


def as_lines(path, records):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records), encoding="utf-8")
    return path


def as_csv(path, rows, separator=","):
    def quoted(cell):
        return '"' + str(cell).replace('"', '""') + '"'

    lines = [list(rows[0]), *(row.values() for row in rows)]
    text = "".join(separator.join(map(quoted, line)) + "\n" for line in lines)
    path.write_text(text, encoding="utf-8")
    return path


def label_studio(folder):
    def annotation(worker, label, **more):
        value = {"choices": [label]}
        result = {"from_name": "animal", "to_name": "image", "type": "choices", "value": value}
        return {
            "completed_by": {"id": 1, "email": worker},
            "was_cancelled": False,
            "ground_truth": False,
            "result": [result],
            "lead_time": 2.5,
            **more,
        }

    cancelled = annotation("bob", "dog", was_cancelled=True)
    tasks = [
        {
            "id": int(task),
            "data": {"image": f"{task}.jpg"},
            "annotations": [
                *(annotation(worker, label) for _, worker, label in answers),
                *(annotation("boss", label, ground_truth=True) for t, label in GOLD if t == task),
                cancelled,
            ],
            "created_at": "2026-11-01T09:00:00Z",
            "updated_at": "2026-11-02T09:00:00Z",
        }
        for task, answers in by(0).items()
    ]
    return [as_json(folder / "project-1.json", tasks)], GOLD


def _label_studio_rows():
    return [
        {
            "image": f"{task}.jpg",
            "id": int(task),
            "animal": label,
            "annotator": worker,
            "annotation_id": at,
            "created_at": "2026-11-01T09:00:00Z",
            "updated_at": "2026-11-02T09:00:00Z",
            "lead_time": 2.5,
        }
        for at, (task, worker, label) in enumerate(ANSWERS)
    ]


def label_studio_min(folder):
    return [as_json(folder / "project-1-min.json", _label_studio_rows())], []


def label_studio_csv(folder):
    rows = [dict(sorted(row.items())) for row in _label_studio_rows()]
    return [as_csv(folder / "project-1.csv", rows)], []


def prodigy_choice(folder):
    records = [
        {
            "text": task,
            "_input_hash": int(task),
            "_task_hash": 10 * int(task),
            "options": [{"id": "cat", "text": "Cat"}, {"id": "dog", "text": "Dog"}],
            "_view_id": "choice",
            "accept": [label],
            "answer": "accept",
            "_annotator_id": worker,
            "_session_id": worker,
        }
        for task, worker, label in ANSWERS
    ]
    return [as_lines(folder / "animals.jsonl", records)], []


def prodigy_binary(folder):
    """Every task asks for cat or for dog, in turn, and is accepted or rejected."""
    records = [
        {
            "text": task,
            "_input_hash": int(task),
            "_task_hash": 10 * int(task) + at % 2,
            "label": ("cat", "dog")[at % 2],
            "_view_id": "classification",
            "answer": "accept" if label == ("cat", "dog")[at % 2] else "reject",
            "_annotator_id": worker,
        }
        for at, (task, worker, label) in enumerate(ANSWERS)
    ]
    return [as_lines(folder / "animals.jsonl", records)], []


def doccano_by_user(folder):
    for worker, answers in by(1).items():
        records = [{"id": int(t), "text": t, "label": [x], "Comments": []} for t, _, x in answers]
        as_lines(folder / "doccano" / f"{worker}.jsonl", records)
    return [folder / "doccano"], []


def doccano(folder):
    records = [
        {
            "id": int(task),
            "text": task,
            "annotations": [{"label": label, "user": worker} for _, worker, label in answers],
            "meta": {},
        }
        for task, answers in by(0).items()
    ]
    return [as_lines(folder / "all.jsonl", records)], []


def toloka(folder):
    known = dict(GOLD)
    rows = [
        {
            "INPUT:image": task,
            "OUTPUT:result": label,
            "GOLDEN:result": known.get(task, ""),
            "HINT:text": "",
            "ASSIGNMENT:link": "https://example.org/",
            "ASSIGNMENT:task_id": f"id-{task}",
            "ASSIGNMENT:worker_id": worker,
            "ASSIGNMENT:status": "APPROVED",
            "ACCEPT:verdict": "+",
        }
        for task, worker, label in ANSWERS
    ]
    rows.append({**rows[0], "ASSIGNMENT:worker_id": "bot", "ASSIGNMENT:status": "REJECTED"})
    rows.append({**rows[0], "OUTPUT:result": "", "ASSIGNMENT:status": "SKIPPED"})
    return [as_csv(folder / "assignments.tsv", rows, "\t")], GOLD


def mturk(folder):
    rows = [
        {
            "HITId": task,
            "AssignmentId": f"a{at}",
            "WorkerId": worker,
            "AssignmentStatus": "Approved",
            "Input.image": f"{task}.jpg",
            "Answer.animal": label,
        }
        for at, (task, worker, label) in enumerate(ANSWERS)
    ]
    rows.append({**rows[0], "WorkerId": "bot", "AssignmentStatus": "Rejected"})
    return [as_csv(folder / "Batch_1_batch_results.csv", rows)], []


def mturk_radio(folder):
    rows = [
        {
            "HITId": task,
            "WorkerId": worker,
            "AssignmentStatus": "Submitted",
            "Answer.animal.cat": str(label == "cat").lower(),
            "Answer.animal.dog": str(label == "dog").lower(),
        }
        for task, worker, label in ANSWERS
    ]
    return [as_csv(folder / "Batch_2_batch_results.csv", rows)], []


def appen(folder):
    """Test questions have a cell of gold in every row; a tainted judgment does not count."""
    known = dict(GOLD)
    rows = [
        {
            **{"_unit_id": task, "_created_at": "7/12/2014 01:55:49", "_golden": task in known},
            **{"_id": at, "_tainted": tainted, "_trust": 0.9, "_worker_id": worker},
            **{"animal": label, "animal_gold": known.get(task, ""), "url": f"{task}.jpg"},
        }
        for at, (task, worker, label, tainted) in enumerate(
            [*((*answer, "false") for answer in ANSWERS), ("1", "dan", "dog", "true")]
        )
    ]
    return [as_csv(folder / "f123456.csv", rows)], GOLD


def by_task(folder):
    answers = {task: {worker: x for _, worker, x in of} for task, of in by(0).items()}
    return [as_json(folder / "answers.json", answers)], []


def by_task_in_lists(folder):
    tasks = {
        task: {
            "text": task,
            "annotators": ",".join(worker for _, worker, _ in answers),
            "annotations": ",".join(label for *_, label in answers),
            "hard_label": answers[0][2],
        }
        for task, answers in by(0).items()
    }
    return [as_json(folder / "animals_dev.json", tasks)], []


def zooniverse(folder):
    def row(task, worker, label, **more):
        annotations = [{"task": "T0", "task_label": "Which animal?", "value": label}]
        return {
            "classification_id": f"{task}{worker}",
            "user_name": worker,
            "user_id": "" if worker == "cyd" else "7",
            "user_ip": "ab12",
            "workflow_id": "1",
            "created_at": "2026-11-01 09:00:00 UTC",
            "gold_standard": "",
            "expert": "",
            "annotations": json.dumps(annotations),
            "subject_data": "{}",
            "subject_ids": task,
            **more,
        }

    rows = [row(*answer) for answer in ANSWERS]
    rows += [row(task, "boss", label, gold_standard="true") for task, label in GOLD]
    return [as_csv(folder / "classifications.csv", rows)], GOLD


def cvat(folder):
    files = []
    jobs = [(w, "annotation", answers) for w, answers in by(1).items()]
    jobs.append(("boss", "ground_truth", [(task, "boss", label) for task, label in GOLD]))
    for worker, kind, answers in jobs:
        images = "".join(
            f'<image id="{at}" name="{task}" width="640" height="480">'
            f'<tag label="{label}" source="manual"></tag></image>'
            for at, (task, _, label) in enumerate(answers)
        )
        assignee = f"<assignee><username>{worker}</username><email></email></assignee>"
        meta = f"<meta><job><id>1</id><type>{kind}</type>{assignee}</job></meta>"
        path = folder / f"job_{worker}.xml"
        text = f'<?xml version="1.0" encoding="utf-8"?>\n<annotations>{meta}{images}</annotations>'
        path.write_text(text, encoding="utf-8")
        files.append(path)
    return files, GOLD


def labelbox(folder):
    def labelled(at, task, worker, label, **more):
        radio = {"name": label, "value": label, "feature_id": "f"}
        answer = {"name": "Animal", "value": "animal", "radio_answer": radio}
        return {
            "label_kind": "Default",
            "id": f"{task}-{at}",
            "label_details": {"created_by": worker, "reviews": []},
            "performance_details": {"seconds_to_create": 3, **more},
            "annotations": {"objects": [], "classifications": [answer], "relationships": []},
        }

    records = []
    for task, answers in by(0).items():
        known = [label for name, label in GOLD if name == task]
        reference = {"benchmark_reference_label": f"{task}-gold"} if known else {}
        labels = [labelled(at, *answer, **reference) for at, answer in enumerate(answers)]
        labels += [labelled("gold", task, "boss", label) for label in known]
        records.append(
            {
                "data_row": {"id": f"ck{task}", "global_key": task, "row_data": f"{task}.jpg"},
                "projects": {"cl1": {"name": "Animals", "labels": labels}},
            }
        )
    return [as_lines(folder / "export.ndjson", records)], GOLD


def argilla(folder):
    """By question, as records are written by version 2."""
    records = [
        {
            "id": task,
            "fields": {"text": task},
            "metadata": {},
            "suggestions": {},
            "responses": {"animal": [{"value": x, "user_id": w} for _, w, x in answers]},
            "status": "completed",
            "_server_id": f"s{task}",
        }
        for task, answers in by(0).items()
    ]
    return [as_json(folder / "records.json", records)], []


def argilla_by_user(folder):
    """By user, as version 1 has them; what was discarded is left out."""
    draft = {"user_id": "bot", "status": "discarded", "values": {"animal": {"value": "cat"}}}
    records = [
        {
            "external_id": task,
            "fields": {"text": task},
            "responses": [
                *(
                    {"user_id": w, "status": "submitted", "values": {"animal": {"value": x}}}
                    for _, w, x in answers
                ),
                draft,
            ],
        }
        for task, answers in by(0).items()
    ]
    return [as_lines(folder / "records.jsonl", records)], []


def argilla_on_the_hub(folder):
    import pyarrow as pa
    import pyarrow.parquet as pq

    records = [
        {
            "id": task,
            "text": task,
            "animal.responses": [label for _, _, label in answers],
            "animal.responses.users": [worker for _, worker, _ in answers],
            "animal.responses.status": ["submitted" for _ in answers],
        }
        for task, answers in by(0).items()
    ]
    pq.write_table(pa.Table.from_pylist(records), folder / "train.parquet")
    return [folder / "train.parquet"], []


def sagemaker(folder):
    records = [
        {
            "datasetObjectId": task,
            "dataObject": {"s3Uri": f"s3://bucket/{task}.jpg"},
            "annotations": [
                {
                    "workerId": worker,
                    "annotationData": {"content": json.dumps({"animal": {"label": label}})},
                }
                for _, worker, label in answers
            ],
        }
        for task, answers in by(0).items()
    ]
    return [as_json(folder / "request.json", records)], []


def sagemaker_responses(folder):
    files = []
    for task, answers in by(0).items():
        (folder / task).mkdir()
        found = {
            "answers": [
                {
                    "workerId": worker,
                    "answerContent": {"animal": {"cat": label == "cat", "dog": label == "dog"}},
                    "submissionTime": "2026-11-01T09:00:00Z",
                }
                for _, worker, label in answers
            ]
        }
        files.append(as_json(folder / task / "2026-11-01.json", found))
    return files, []


def promptfoo(folder):
    results = [
        {
            "testIdx": int(task),
            "promptIdx": 0,
            "provider": {"id": "openai:gpt", "label": ""},
            "success": True,
            "gradingResult": {
                "pass": True,
                "score": 1,
                "componentResults": [
                    {
                        "pass": label == "cat",
                        "score": float(label == "cat"),
                        "reason": "...",
                        "assertion": {"type": "llm-rubric", "value": "...", "provider": worker},
                    }
                    for _, worker, label in answers
                ],
            },
        }
        for task, answers in by(0).items()
    ]
    found = {"evalId": "e", "results": {"version": 3, "results": results, "stats": {}}}
    return [as_json(folder / "results.json", found)], []


def inspect(folder):
    samples = [
        {
            "id": int(task),
            "epoch": 1,
            "input": "...",
            "target": "...",
            "scores": {
                worker: {"value": "C" if label == "cat" else "I", "answer": "..."}
                for _, worker, label in answers
            },
        }
        for task, answers in by(0).items()
    ]
    log = {
        "version": 2,
        "status": "success",
        "eval": {"model": "openai/gpt", "task": "animals"},
        "samples": samples,
    }
    return [as_json(folder / "log.json", log)], []


def deepeval(folder):
    cases = [
        {
            "name": task,
            "input": "...",
            "actualOutput": "...",
            "success": True,
            "metricsData": [
                {
                    "name": worker,
                    "threshold": 0.5,
                    "success": label == "cat",
                    "score": 0.7,
                    "evaluationModel": "gpt",
                }
                for _, worker, label in answers
            ],
        }
        for task, answers in by(0).items()
    ]
    return [as_json(folder / "test_run.json", {"testCases": cases, "testPassed": 1})], []


def lm_eval(folder):
    files, known = [], {"1": "cat", "2": "dog", "3": "dog", "4": "cat"}
    for worker, answers in by(1).items():
        records = [
            {
                "doc_id": int(task),
                "doc": {"question": "..."},
                "target": known[task],
                "arguments": {},
                "resps": [[f" {label}"]],
                "filtered_resps": [f" {label}"],
                "exact_match": 1.0,
            }
            for task, _, label in answers
        ]
        files.append(as_lines(folder / worker / "samples_animals_2026-11-01.jsonl", records))
    return files, list(known.items())


EXPORTS = (
    *(label_studio, label_studio_min, label_studio_csv, prodigy_choice, prodigy_binary),
    *(doccano, doccano_by_user, toloka, mturk, mturk_radio, zooniverse, cvat, labelbox),
    *(argilla, argilla_by_user, argilla_on_the_hub, sagemaker, sagemaker_responses),
    *(promptfoo, inspect, deepeval, lm_eval, appen, by_task, by_task_in_lists),
)

CALLED = {
    "promptfoo": {"cat": "pass", "dog": "fail"},
    "deepeval": {"cat": "pass", "dog": "fail"},
    "inspect": {"cat": "C", "dog": "I"},
}
"""What the labels are called in exports that have names of their own."""
