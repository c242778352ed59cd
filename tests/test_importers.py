"""Exports of labeling tools and of panels of judges: the same crowd as their long tables."""

import json
import zipfile

import pandas as pd
import pytest
from typer.testing import CliRunner

from gtx_bayes import aggregate
from gtx_bayes.cli.commands import app
from gtx_bayes.crowd import Crowd
from gtx_bayes.errors import InputError
from gtx_bayes.io import read_crowd
from gtx_bayes.registry import IMPORTERS
from tests import exports


def rows_of(crowd):
    """The answers and the gold, as sets of texts."""
    return [
        sorted(map(tuple, frame.astype(str).itertuples(index=False))) for frame in crowd.to_frames()
    ]


def long_table(names, gold):
    answers = pd.DataFrame(exports.ANSWERS, columns=["task", "worker", "label"])
    known = pd.DataFrame(gold, columns=["task", "label"]) if gold else None
    for frame in (answers, known):
        if frame is not None and names:
            frame["label"] = frame["label"].map(names)
    return Crowd.from_frames(answers, known)


@pytest.mark.parametrize("export", exports.EXPORTS, ids=lambda export: export.__name__)
def test_an_export_is_the_crowd_of_its_long_table(export, tmp_path):
    """By content alone: nothing is named."""
    files, gold = export(tmp_path)
    found = read_crowd(files)
    expected = long_table(exports.CALLED.get(export.__name__), gold)
    assert rows_of(found) == rows_of(expected)
    assert "read as an export of" in found.notes[0]
    pd.testing.assert_frame_equal(examples_of(found), examples_of(expected))


def examples_of(crowd):
    """Two to one and one to one, gold as it is; where classes tie the label is drawn."""
    found = aggregate(crowd, "majority-vote").examples().drop(columns="label")
    return found.astype({"task": str}).sort_values("task").reset_index(drop=True)


def test_every_importer_has_an_export_and_says_what_it_is():
    assert len(exports.EXPORTS) >= len(IMPORTERS.names()) == 16
    for name in IMPORTERS.names():
        assert IMPORTERS.find(name).description


@pytest.mark.parametrize("export", exports.EXPORTS, ids=lambda export: export.__name__)
def test_an_export_is_recognised_by_one_importer(export, tmp_path):
    """What one recognises no other does, so that their order says nothing."""
    from gtx_bayes.io import readers
    from gtx_bayes.io.contents import open_contents

    files, _ = export(tmp_path)
    first = readers._first_record(open_contents(files[0])[0])
    assert sum(IMPORTERS.find(name)().recognises(first) for name in IMPORTERS.names()) == 1


class TestLabels:
    def test_of_several_questions_one_is_named(self, tmp_path):
        rows = [
            {"HITId": t, "WorkerId": w, "Answer.a": label, "Answer.b": "x"}
            for t, w, label in exports.ANSWERS
        ]
        path = exports.as_csv(tmp_path / "batch.csv", rows)
        with pytest.raises(InputError, match=r"2 questions: 'a', 'b'.*question="):
            read_crowd(path)
        for named in ({"question": "a"}, {"columns": {"label": "Answer.a"}}):
            assert rows_of(read_crowd(path, **named)) == rows_of(long_table(None, []))
        with pytest.raises(InputError, match="no question 'c'"):
            read_crowd(path, question="c")

    def test_of_several_labels_one_is_asked_for(self, tmp_path):
        labels = [["cat"], ["cat", "dog"], [], ["dog"]]
        records = [{"id": at, "text": "...", "label": label} for at, label in enumerate(labels)]
        path = exports.as_lines(tmp_path / "ann.jsonl", records)
        with pytest.raises(InputError, match=r"record 2: the answer holds several labels.*choice="):
            read_crowd(path)
        crowd = read_crowd(path, choice="dog")
        assert list(crowd.to_frames()[0]["label"]) == ["not dog", "dog", "not dog", "dog"]

    def test_a_choice_that_no_answer_holds(self, tmp_path):
        records = [{"id": at, "text": "...", "label": [x]} for at, x in enumerate(["cat", "dog"])]
        path = exports.as_lines(tmp_path / "ann.jsonl", records)
        with pytest.raises(InputError, match=r"no answer holds the choice 'dogg'.*'cat', 'dog'"):
            read_crowd(path, choice="dogg")

    def test_check_boxes_of_mturk(self, tmp_path):
        rows = [
            {"HITId": at, "WorkerId": "ann", "Answer.animals": boxes}
            for at, boxes in enumerate(["cat|dog", "cat", "dog|"])
        ]
        path = exports.as_csv(tmp_path / "batch.csv", rows)
        with pytest.raises(InputError, match=r"record 1: the answer holds several labels"):
            read_crowd(path)
        answers = read_crowd(path, choice="dog").to_frames()[0]
        assert list(answers["label"]) == ["dog", "not dog", "dog"]

    def test_what_label_studio_leaves_out_is_noted(self, tmp_path):
        results = [
            [{"from_name": "better", "type": "pairwise", "value": {"selected": "left"}}],
            [{"from_name": "better", "type": "pairwise", "value": {"selected": "right"}}],
            [],
            [{"from_name": "ner", "type": "labels", "value": {"start": 0, "labels": ["PER"]}}],
            [{"type": "relation", "from_id": "a", "to_id": "b"}],
        ]
        tasks = [
            {"id": at, "data": {}, "annotations": [{"completed_by": 1, "result": result}]}
            for at, result in enumerate(results)
        ]
        crowd = read_crowd(exports.as_json(tmp_path / "project.json", tasks))
        assert list(crowd.to_frames()[0]["label"]) == ["left", "right"]
        notes = " ".join(crowd.notes)
        assert "1 annotation(s) without a result are left out" in notes
        assert "1 result(s) about parts of a task are left out" in notes
        assert "1 result(s) of the kind 'relation' are left out" in notes

    def test_annotations_of_zooniverse_that_are_cut_short_are_noted(self, tmp_path):
        files, _ = exports.zooniverse(tmp_path)
        cell = '"[{""task"": ""T0"", ""val"'
        row = pd.read_csv(files[0], nrows=1, dtype=str).fillna("")
        row["annotations"] = "@"
        line = row.to_csv(index=False, header=False).replace("@", cell)
        files[0].write_text(files[0].read_text() + line)
        notes = " ".join(read_crowd(files).notes)
        assert "1 classification(s) whose annotations are no list in JSON are left out" in notes

    def test_radio_buttons_of_mturk_in_a_workbook(self, tmp_path):
        files, _ = exports.mturk_radio(tmp_path)
        rows = pd.read_csv(files[0])
        assert rows["Answer.animal.cat"].dtype == bool
        rows.to_excel(tmp_path / "batch.xlsx", index=False)
        assert rows_of(read_crowd(tmp_path / "batch.xlsx")) == rows_of(read_crowd(files))

    def test_an_answer_along_a_path(self, tmp_path):
        def row(task, animal):
            value = [{"choice": animal, "answers": {"HOWMANY": "1"}}]
            annotations = json.dumps([{"task": "T1", "value": value}])
            return {"user_name": "ann", "subject_ids": task, "annotations": annotations}

        path = exports.as_csv(tmp_path / "z.csv", [row("1", "lion"), row("2", "gnu")])
        with pytest.raises(InputError, match=r"the answer has parts: .*choice"):
            read_crowd(path)
        crowd = read_crowd(path, question="T1.0.choice")
        assert list(crowd.to_frames()[0]["label"]) == ["lion", "gnu"]

    def test_lists_by_task_and_null_is_no_answer(self, tmp_path):
        entries = {
            "1": {"annotators": ["a, b", None, "c"], "annotations": ["x, y", "x", "z"]},
            "2": {"annotators": "c,d", "annotations": ["z", None]},
            "3": {"annotators": None, "annotations": None},
        }
        crowd = read_crowd(exports.as_json(tmp_path / "a.json", entries))
        assert rows_of(crowd)[0] == [("1", "a, b", "x, y"), ("1", "c", "z"), ("2", "c", "z")]
        entries = {"1": {"ann": "x", "bob": None}, "2": {"ann": "z", "bob": "x"}}
        crowd = read_crowd(exports.as_json(tmp_path / "b.json", entries))
        assert crowd.labels.num_labels == 3
        assert "1 answer(s) without label" in " ".join(crowd.notes)

    def test_ignored_tasks_are_blank_answers(self, tmp_path):
        records = [
            {"_task_hash": at, "label": "cat", "answer": answer, "_annotator_id": "ann"}
            for at, answer in enumerate(["accept", "reject", "ignore"])
        ]
        path = exports.as_lines(tmp_path / "p.jsonl", records)
        with pytest.raises(InputError, match="column 'label' has no value"):
            read_crowd(path)
        crowd = read_crowd(path, blank="abstain")
        assert list(crowd.class_names) == ["cat", "not cat"]
        assert list(crowd.num_abstained()) == [1]

    def test_a_reject_among_many_labels_says_no_class(self, tmp_path):
        records = [
            {"_task_hash": at, "label": label, "answer": answer, "_annotator_id": "ann"}
            for at, (label, answer) in enumerate(
                [("a", "accept"), ("b", "accept"), ("c", "reject")]
            )
        ]
        path = exports.as_lines(tmp_path / "p.jsonl", records)
        with pytest.raises(InputError, match=r"record 3: a task is rejected.*rejects=drop"):
            read_crowd(path)
        importer = IMPORTERS.build("prodigy", {"rejects": "drop"})
        crowd = read_crowd(path, format=importer)
        assert list(crowd.class_names) == ["a", "b"]
        assert "1 task(s) that were rejected are left out" in crowd.notes[1]

    def test_what_a_reject_says_is_told_by_all_files(self, tmp_path):
        """One file alone knows a single label."""

        def records(worker, *labels):
            return [
                {"_task_hash": at, "label": label, "answer": answer, "_annotator_id": worker}
                for at, (label, answer) in enumerate(labels)
            ]

        one = exports.as_lines(tmp_path / "a.jsonl", records("ann", ("POS", "reject")))
        two = records("bob", ("POS", "reject"), ("NEG", "accept"))
        two = exports.as_lines(tmp_path / "b.jsonl", two)
        answers = read_crowd([one, two], classes=["NEG", "POS"]).to_frames()[0]
        assert list(answers["label"]) == ["NEG", "NEG", "NEG"]
        three = exports.as_lines(tmp_path / "c.jsonl", records("cyd", ("MIX", "accept")))
        with pytest.raises(InputError, match=r"a.jsonl, record 1: .* of 3 labels"):
            read_crowd([one, two, three])

    def test_multiple_choice_is_the_likeliest_option(self, tmp_path):
        records = [
            {
                "doc_id": at,
                "target": target,
                "filtered_resps": [["-2.0", "False"], ["-0.5", "True"]],
            }
            for at, target in enumerate([1, 0])
        ]
        path = exports.as_lines(tmp_path / "m" / "samples.jsonl", records)
        answers, gold = read_crowd(path).to_frames()
        assert list(answers["label"]) == [1, 1]
        assert list(gold["label"]) == [1, 0]

    def test_parts_of_a_name_that_differ_make_it(self, tmp_path):
        def result(test, provider):
            component = {"pass": True, "assertion": {"metric": "tone"}}
            return {
                "testIdx": test,
                "promptIdx": 0,
                "provider": {"id": provider},
                "gradingResult": {"componentResults": [component, component]},
            }

        results = [result(0, "a"), result(1, "a"), result(0, "b")]
        path = exports.as_json(tmp_path / "r.json", {"results": {"results": results}})
        crowd = read_crowd(path, duplicates="first", classes=["pass", "fail"])
        assert list(crowd.example_names) == ["0 / a", "1 / a", "0 / b"]


class TestTasksOfSeveralFiles:
    """Numbers that start anew in every file."""

    def test_lm_eval_numbers_the_documents_of_each_task(self, tmp_path):
        files = [
            exports.as_lines(
                tmp_path / model / f"samples_mmlu_{task}_2026-11-01T09-30-00.123.jsonl",
                [{"doc_id": at, "target": target, "filtered_resps": [answer]} for at in (0, 1)],
            )
            for model, answer in (("m1", "A"), ("m2", "B"))
            for task, target in (("art", "A"), ("law", "B"))
        ]
        answers, gold = read_crowd(files).to_frames()
        assert len(answers) == 8
        expected = {
            f"mmlu_{task} / {at}": label
            for task, label in (("art", "A"), ("law", "B"))
            for at in (0, 1)
        }
        assert dict(gold.itertuples(index=False)) == expected
        assert set(answers["task"]) == set(expected)

    @pytest.mark.parametrize("ending", [".json", ".eval"])
    def test_inspect_numbers_the_samples_of_each_task(self, ending, tmp_path):
        files = []
        for task in ("art", "law"):
            header = {"status": "success", "eval": {"task": task, "model": "gpt"}}
            sample = {"id": 1, "epoch": 1, "scores": {"judge": {"value": "CI"[task == "law"]}}}
            path = tmp_path / f"{task}{ending}"
            if ending == ".json":
                exports.as_json(path, {**header, "samples": [sample]})
            else:
                with zipfile.ZipFile(path, "w") as archive:
                    archive.writestr("samples/1_epoch_1.json", json.dumps(sample))
                    archive.writestr("header.json", json.dumps(header))
            files.append(path)
        answers = read_crowd(files).to_frames()[0]
        assert list(zip(answers["task"], answers["label"], strict=True)) == [
            ("art", "C"),
            ("law", "I"),
        ]

    @pytest.mark.parametrize("tool", ["promptfoo", "deepeval"])
    def test_the_file_is_part_of_the_name_where_the_content_differs(self, tool, tmp_path):
        def export(name, judge, text):
            if tool == "deepeval":
                metric = {"name": judge, "success": text == "a"}
                case = {"name": "case_0", "input": text, "metricsData": [metric]}
                return exports.as_json(tmp_path / name, {"testCases": [case]})
            component = {"pass": text == "a", "assertion": {"metric": judge}}
            result = {
                **{"testIdx": 0, "promptIdx": 0, "vars": {"text": text}},
                "gradingResult": {"componentResults": [component]},
            }
            return exports.as_json(tmp_path / name, {"results": {"results": [result]}})

        same = read_crowd(
            [export("x.json", "j1", "a"), export("y.json", "j2", "a")], classes=["pass", "fail"]
        )
        assert len(same.example_names) == 1
        other = read_crowd([export("x.json", "j1", "a"), export("y.json", "j2", "b")])
        assert list(other.example_names) == ["x", "y"]
        assert "files call different tasks alike" in " ".join(other.notes)


class TestArchives:
    def test_a_log_of_inspect(self, tmp_path):
        """An .eval archive: a file for each sample beside a header and digests of the samples."""
        files, _ = exports.inspect(tmp_path)
        log = json.loads(files[0].read_text())
        with zipfile.ZipFile(tmp_path / "log.eval", "w", zipfile.ZIP_DEFLATED) as archive:
            for sample in log["samples"]:
                archive.writestr(f"samples/{sample['id']}_epoch_1.json", json.dumps(sample))
            archive.writestr("_journal/start.json", json.dumps({"version": 2}))
            archive.writestr("summaries.json", json.dumps([{"id": 1, "scores": {}}]))
            header = {name: part for name, part in log.items() if name != "samples"}
            archive.writestr("header.json", json.dumps(header))
        assert rows_of(read_crowd(tmp_path / "log.eval")) == rows_of(read_crowd(files))

    def test_one_file_a_user_and_images_beside_the_xml(self, tmp_path):
        for export, name in ((exports.doccano_by_user, "d.zip"), (exports.cvat, "c.zip")):
            found, _ = export(tmp_path)
            files = sorted(found[0].iterdir()) if found[0].is_dir() else found
            with zipfile.ZipFile(tmp_path / name, "w") as archive:
                for file in files:
                    archive.write(file, file.name)
                archive.writestr("images/1.jpg", b"?")
            assert rows_of(read_crowd(tmp_path / name)) == rows_of(read_crowd(found))


class TestRefused:
    def test_what_is_no_such_export(self, tmp_path):
        path = exports.as_json(tmp_path / "a.json", [{"id": 1, "data": {}, "annotations": [7]}])
        with pytest.raises(InputError, match=r"record 1: this is not what label-studio exports"):
            read_crowd(path)

    @pytest.mark.parametrize("annotations", [[7], 7, None, [None], {"a": 1}])
    def test_records_of_no_shape_that_an_importer_expects(self, annotations, tmp_path):
        """They are a plain table, which lacks what a table needs."""
        record = {"id": 1, "text": "...", "annotations": annotations, "results": [3]}
        path = exports.as_json(tmp_path / "a.json", [record])
        with pytest.raises(InputError, match="no column holds the labeler"):
            read_crowd(path)

    def test_an_unknown_format_lists_those_there_are(self, tmp_path):
        files, _ = exports.mturk(tmp_path)
        with pytest.raises(InputError, match=r"no format 'turk'.*label-studio"):
            read_crowd(files, format="turk")

    def test_an_export_without_answers(self, tmp_path):
        path = exports.as_json(tmp_path / "a.json", [{"id": 1, "data": {}, "annotations": []}])
        with pytest.raises(InputError, match="holds no answer"):
            read_crowd(path)

    def test_gold_of_an_export_that_contradicts_itself(self, tmp_path):
        files, _ = exports.label_studio(tmp_path)
        tasks = json.loads(files[0].read_text())
        result = {"from_name": "animal", "value": {"choices": ["dog"]}}
        tasks[0]["annotations"].append({"ground_truth": True, "result": [result]})
        exports.as_json(files[0], tasks)
        with pytest.raises(InputError, match=r"example '1' is 'cat' in .* give others.*`gold=`"):
            read_crowd(files)
        gold = exports.as_csv(tmp_path / "gold.csv", [{"task": 1, "label": "cat"}])
        assert rows_of(read_crowd(files, gold))[1] == [("1", "cat")]
        out = ["-o", str(tmp_path / "out"), "--method", "majority-vote"]
        run = CliRunner().invoke(app, ["aggregate", str(files[0]), *out])
        assert run.exit_code == 2
        assert "which take the place of these: `--gold`." in run.stderr

    def test_a_json_object_that_has_no_entry_a_task(self, tmp_path):
        """What pandas writes by column or by row, and settings, are no answers."""
        rows = [{"task": "t1", "worker": w, "label": "x", "text": "?"} for w in "ab"]
        by_row = {f"r{at}": row for at, row in enumerate(rows)}
        by_column = {name: {str(at): row[name] for at, row in enumerate(rows)} for name in rows[0]}
        settings = {"train": {"rate": 0.1}, "model": {"name": "x", "size": 3}}
        lacking = {task: {"annotators": "a,b", "text": task} for task in ("1", "2")}
        for found in (by_row, by_column, {"x": by_column["label"]}, settings, lacking):
            assert not IMPORTERS.build("by-task").recognises(found)

    def test_annotations_that_are_not_one_an_annotator(self, tmp_path):
        for labels in ("x", ["x", "y", "z"], None, {"x": 1}):
            entry = {"annotators": "ann,bob", "annotations": labels}
            if isinstance(labels, dict):
                entry["annotations"] = {"ann": labels}
            with pytest.raises(InputError, match=r"record 1: task 't7' has"):
                read_crowd(exports.as_json(tmp_path / "a.json", {"t7": entry}))

    def test_a_question_of_a_plain_table(self, tmp_path):
        path = exports.as_csv(tmp_path / "a.csv", [{"task": 1, "worker": "a", "label": "x"}])
        with pytest.raises(InputError, match=r"question: .* is a plain table"):
            read_crowd(path, question="x")

    @pytest.mark.parametrize(("name", "option"), [("toloka", "rejected"), ("mturk", "rejected")])
    def test_an_option_without_meaning(self, name, option, tmp_path):
        files, _ = getattr(exports, name)(tmp_path)
        with pytest.raises(InputError, match=f"the option {option} is 'perhaps'"):
            read_crowd(files, format=IMPORTERS.build(name, {option: "perhaps"}))

    def test_columns_that_are_named_make_it_a_plain_table(self, tmp_path):
        """As before there were formats: all rows count, those rejected too."""
        files, _ = exports.mturk(tmp_path)
        columns = {"example": "HITId", "labeler": "WorkerId", "label": "Answer.animal"}
        assert read_crowd(files, columns=columns).labels.num_labels == len(exports.ANSWERS) + 1


@pytest.mark.end_to_end
def test_the_command_line(tmp_path):
    files, _ = exports.mturk(tmp_path)
    arguments = ["aggregate", *map(str, files), "-o", str(tmp_path / "out")]
    arguments += ["--method", "majority-vote", "--json"]
    run = CliRunner().invoke(app, arguments)
    assert run.exit_code == 0, run.stderr
    assert json.loads(run.stdout)["num_labels"] == len(exports.ANSWERS)
    assert "Note: " in run.stderr
    assert "1 assignment(s) that were rejected" in run.stderr
    more = ["--format", "mturk", "--format-option", "rejected=keep"]
    run = CliRunner().invoke(app, [*arguments, *more])
    assert json.loads(run.stdout)["num_labels"] == len(exports.ANSWERS) + 1
    run = CliRunner().invoke(app, [*arguments, "--format-option", "rejected=keep"])
    assert run.exit_code == 2
    assert "Name --format." in run.stderr


@pytest.mark.parametrize("export", [exports.toloka, exports.inspect], ids=["gold", "no gold"])
def test_convert(export, tmp_path):
    """The long table and its gold are the crowd of the export."""
    files, gold = export(tmp_path)
    path = tmp_path / "long.csv"
    run = CliRunner().invoke(app, ["convert", *map(str, files), "-o", str(path), "--json"])
    assert run.exit_code == 0, run.stderr
    found = json.loads(run.stdout)
    assert (found["num_labels"], found["num_gold"]) == (len(exports.ANSWERS), len(gold))
    beside = tmp_path / "long.gold.csv" if gold else None
    assert found["gold"] == (None if beside is None else str(beside))
    assert rows_of(read_crowd(path, beside)) == rows_of(read_crowd(files))


def test_convert_warns_of_the_gold_of_an_earlier_export(tmp_path):
    output = ["-o", str(tmp_path / "long.csv"), "--json"]

    def warnings(export):
        (tmp_path / export.__name__).mkdir(exist_ok=True)
        files, _ = export(tmp_path / export.__name__)
        run = CliRunner().invoke(app, ["convert", *map(str, files), *output])
        assert run.exit_code == 0, run.stderr
        return json.loads(run.stdout)["warnings"]

    assert not warnings(exports.mturk)
    assert not warnings(exports.toloka)
    assert "long.gold.csv: these are known labels" in warnings(exports.mturk)[0]
    (tmp_path / "long.gold.csv").write_text("of the user's")
    assert not warnings(exports.mturk)
