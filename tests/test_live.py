"""A live project, on a small Label Studio of ours that answers as the real one was recorded."""

import base64
import contextlib
import dataclasses
import http.client
import json
import random
import socket
import time
import types

import pandas as pd
import pytest
import requests
from typer.testing import CliRunner

from gtx_bayes.cli import label_studio as cli
from gtx_bayes.cli.commands import app
from gtx_bayes.columns import Source, Table
from gtx_bayes.errors import InputError
from gtx_bayes.live import server as backend
from gtx_bayes.live.journal import DECISIONS, Journal
from gtx_bayes.live.label_studio import LabelStudio
from gtx_bayes.live.loop import Loop, Rules
from gtx_bayes.live.tool import AbstractLabelingTool, Question, Task, ToolError
from gtx_bayes.registry import POLICIES
from tests.label_studio_server import CONFIG, GOLDEN, OWNER, LabelStudioServer, talk

SECRET = "a-long-secret"
ACCURACY = (0.95, 0.9, 0.8, 0.8)
TWO_QUESTIONS = CONFIG.replace(
    "</View>",
    '<Choices name="size" toName="text"><Choice value="large" alias="L"/><Choice value="small"/>'
    '</Choices><Choices name="many" toName="text" choice="multiple"><Choice value="x"/></Choices>'
    "</View>",
)


@pytest.fixture(autouse=True)
def of_nobody(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("caches")))


@pytest.fixture
def studio():
    with LabelStudioServer(texts=[f"t{at}" for at in range(12)]) as server:
        yield server


def loop_on(studio, folder, token="token-1", **rules):
    tool = LabelStudio(studio.url, 1, token, most_tries=3)
    journal = Journal(folder, {"url": studio.url, "project": 1})
    return Loop(tool, journal, Rules(POLICIES.build("uncertainty"), **rules))


def loop_on_kept(studio, folder):
    """One that knows what was fetched before."""
    loop = loop_on(studio, folder)
    loop.tool = LabelStudio(studio.url, 1, "token-1", folder=folder)
    return loop


def answer(task, at):
    """What annotator `at` says of a task, whose class is that of its number."""
    rng = random.Random(f"{task} {at}")
    classes = ["cat", "dog"]
    return classes[(task + (rng.random() > ACCURACY[at])) % 2]


def everybody_asks(studio, rounds=1):
    """Every annotator asks for a task and answers; how many did."""
    number = 0
    for _ in range(rounds):
        for at in range(3):
            task = studio.next_task(at + 2)
            if task is not None:
                studio.annotate(at + 2, task["id"], answer(task["id"], at))
                number += 1
    return number


def as_it_stands(studio, folder):
    """All that a loop has a say in."""
    tasks = [(n, t["overlap"], t["is_labeled"]) for n, t in studio.tasks.items()]
    shown = [{k: v for k, v in each.items() if k != "id"} for each in studio.predictions.values()]
    rows = [
        {k: v for k, v in row.items() if k != "time"}
        for row in Journal(folder, {"url": studio.url, "project": 1}).rows()
    ]
    return tasks, shown, rows


def writes(studio, since):
    return [call for call in studio.calls[since:] if call[0] != "GET"]


def test_the_small_one_answers_as_the_real_one_did():
    recorded = json.loads(GOLDEN.read_text("utf-8"))["answers"]
    with LabelStudioServer(texts=["t0", "t1", "t2"]) as studio:
        found = talk(studio.url, ("token-1", "token-2"), 1, [1, 2, 3])
    for at, ((code, ours), (real_code, theirs)) in enumerate(zip(found, recorded, strict=True)):
        assert code == real_code, at
        assert covers(ours, theirs), (at, ours, theirs)


def covers(ours, theirs):
    """Whether what ours says is what theirs says; theirs may say more."""
    if isinstance(ours, dict):
        return all(covers(ours[name], theirs[name]) for name in ours.keys() & theirs.keys())
    if isinstance(ours, list):
        return len(ours) == len(theirs) and all(map(covers, ours, theirs))
    return ours == theirs


class TestRound:
    def test_until_nothing_is_open(self, studio, tmp_path):
        """Nothing above its cap, every task retired, predictions shown, twice is once."""
        loop = loop_on(studio, tmp_path / "s", max_labels=3)
        for _ in range(20):
            everybody_asks(studio, rounds=5)
            report = loop.round()
            if not report.num_open:
                break
        assert not report.num_open
        assert sum(report.num_closed.values()) == 12
        assert report.num_closed.keys() <= {"threshold", "cap"}
        assert all(task["is_labeled"] for task in studio.tasks.values())
        assert max(len(task["annotations"]) for task in studio.tasks.values()) <= 3
        examples = loop._kept["animal"].label
        assert {each["task"] for each in studio.predictions.values()} == set(range(1, 13))
        for each in studio.predictions.values():
            (result,) = each["result"]
            assert result["value"]["choices"] == [examples[each["task"]]]
            assert each["model_version"].startswith("gtx-bayes-loop ")
        since = len(studio.calls)
        again = loop_on(studio, tmp_path / "s", max_labels=3).round()
        assert (again.num_changed, again.num_predicted, again.decisions) == (0, 0, [])
        assert not writes(studio, since)
        # The last decision on each task has the posterior it was taken by.
        last = {row["task"]: row for row in loop.journal.rows()}
        for row in last.values():
            assert row["action"] == "close"
            is_sure = row["confidence"] > row["threshold"]
            assert row["reason"] == ("threshold" if is_sure else "cap")
            assert row["was"].keys() == {"overlap", "is_labeled"}
        first = {row["task"]: row for row in reversed(loop.journal.rows())}
        assert {row["was"]["overlap"] for row in first.values()} == {1}
        for row in last.values():
            assert sum(row["probs"].values()) == pytest.approx(1, abs=1e-5)
            assert row["num_labels"] == len(studio.tasks[row["task"]]["annotations"])

    def test_dry_run_does_nothing(self, studio, tmp_path):
        everybody_asks(studio, rounds=3)
        before = json.dumps(studio.tasks)
        report = loop_on(studio, tmp_path / "s").round(is_dry=True)
        assert report.num_changed
        capped = loop_on(studio, tmp_path / "s", max_labels=1).round(is_dry=True)
        assert capped.num_predicted == sum(bool(t["annotations"]) for t in studio.tasks.values())
        assert len(report.decisions) == 12
        assert not writes(studio, 0)
        assert json.dumps(studio.tasks) == before
        assert not (tmp_path / "s").exists()

    @pytest.mark.slow
    def test_a_stop_at_any_call_ends_in_the_same_state(self, studio, tmp_path):
        """The loop is stopped at its first write, its second, ...; then another goes on."""
        everybody_asks(studio, rounds=8)
        before = json.dumps(studio.tasks)
        loop_on(studio, tmp_path / "straight", max_labels=2).round()
        straight = as_it_stands(studio, tmp_path / "straight")
        studio.tasks = {int(n): task for n, task in json.loads(before).items()}
        studio.predictions.clear()

        class Killed(BaseException):
            pass

        for at in range(1, 12, 2):
            loop, left = loop_on(studio, tmp_path / "killed", max_labels=2), [at]
            call = loop.tool._call

            def dying(method, path, left=left, call=call, **sent):
                left[0] -= method != "GET"
                if left[0] < 0:
                    raise Killed
                return call(method, path, **sent)

            loop.tool._call = dying
            with contextlib.suppress(Killed):
                loop.round()
        loop_on(studio, tmp_path / "killed", max_labels=2).round()
        assert as_it_stands(studio, tmp_path / "killed") == straight

    def test_a_line_that_was_cut_off_is_no_decision(self, studio, tmp_path):
        loop_on(studio, tmp_path).round()
        path = tmp_path / DECISIONS
        whole = path.read_bytes()
        path.write_bytes(whole[:-20])
        with path.open("ab") as file:  # what others have put there is none either
            file.write(b'\n[1]\n{"task": []}\n\xff\n{"task": 1}\n')
        report = loop_on(studio, tmp_path).round()
        assert len(report.decisions) == 1
        rows = loop_on(studio, tmp_path).journal.rows()
        assert sorted(row["task"] for row in rows) == list(range(1, 13))

    def test_batch_and_budget(self, studio, tmp_path):
        for task in range(1, 13):
            studio.annotate(2, task, answer(task, 0))
        report = loop_on(studio, tmp_path / "a", batch=5).round()
        assert report.num_open == 5
        assert (report.num_waiting, report.num_closed) == (7, {})
        assert not studio.predictions
        report = loop_on(studio, tmp_path / "b", budget=15.0).round()
        assert report.num_open == 3
        assert report.num_closed == {"budget": 9}
        assert len(studio.predictions) == 9

    def test_costs(self, studio, tmp_path):
        everybody_asks(studio, rounds=2)
        price = tmp_path / "cost.csv"
        price.write_text("worker,cost\n2,1\n3,2\n4,3\n")
        given = ["--cost", str(price), "--budget", "14.5", "--state", str(tmp_path / "s")]
        said = invoke(studio, "sync", "--json", *given)
        assert 0 < said["num_open"] <= 2  # 12 are spent; the cheapest answer costs 1

    def test_rules_that_come_to_nothing(self, studio, tmp_path):
        price, gold = pd.DataFrame({"worker": [98], "cost": [1.0]}), {"task": [1], "label": ["cat"]}
        studio.project["label_config"] = TWO_QUESTIONS
        gold = Table(pd.DataFrame(gold | {"question": ["animal"]}), Source("known"))
        rules = {"costs": Table(price, Source("prices")), "gold": gold}
        notes = loop_on(studio, tmp_path, **rules).round(is_dry=True).notes
        for says in (
            "prices: it prices none of the w",
            "known: no row is about 'size",
        ):
            assert any(note.startswith(says) for note in notes), notes
        notes = loop_on(studio, tmp_path, assess=2).round(is_dry=True).notes
        assert any("nobody is assessed" in note for note in notes)

    @pytest.mark.slow
    def test_gold_and_assessment(self, studio, tmp_path):
        """Every worker is asked for two gold tasks, and for no more; gold is never retired."""
        for task in (1, 2, 3):
            studio.annotate(OWNER, task, answer(task, 0), ground_truth=True)
        loop = loop_on(studio, tmp_path, assess=2, max_labels=2)
        for _ in range(30):
            loop.round()
            if not everybody_asks(studio, rounds=3):
                break
        for user in (2, 3, 4):
            asked = [
                n
                for n in (1, 2, 3)
                for a in studio.tasks[n]["annotations"]
                if a["completed_by"] == user
            ]
            assert len(asked) >= 2
        labelers = loop._kept["animal"].labelers()
        assert (labelers["num_gold"] >= 2).all()
        assert not {each["task"] for each in studio.predictions.values()} & {1, 2, 3}
        assert "assess" in {row["reason"] for row in loop.journal.rows()}

    def test_several_questions(self, studio, tmp_path):
        """A task is open as long as one of them is; the aliases of choices are the classes."""
        studio.project["label_config"] = TWO_QUESTIONS
        for task in (1, 2):
            for user in (2, 3, 4):
                size = {
                    "from_name": "size",
                    "to_name": "text",
                    "type": "choices",
                    "value": {"choices": ["L"]},
                }
                annotation = studio.annotate(user, task, "cat")
                if task == 1:
                    annotation["result"].append(size)
        report = loop_on(studio, tmp_path, max_labels=4).round()
        assert report.results.keys() == {"animal", "size"}
        assert list(report.results["size"].crowd.class_names) == ["L", "small"]
        rows = {(row["task"], row["question"]): row["action"] for row in report.decisions}
        assert rows[2, "animal"] == "close" or rows[2, "size"] == "open"
        assert not studio.tasks[2]["is_labeled"]


class TestWhatChanges:
    def test_an_answer(self, studio, tmp_path):
        for user in (2, 3, 4):
            annotation = studio.annotate(user, 1, "cat")
            studio.annotate(user, 2, "dog")
        loop = loop_on(studio, tmp_path)
        before = loop.round().results["animal"].probs.loc[1, "cat"]
        studio.annotation(annotation["id"])[1]["result"][0]["value"]["choices"] = ["dog"]
        studio.change(annotation["id"], {})
        after = loop.round().results["animal"]
        assert after.probs.loc[1, "cat"] < before
        studio.change(annotation["id"], {"was_cancelled": True})  # the answer is gone
        after = loop.round().results["animal"]
        assert after.crowd.labels.num_labels == 5
        studio.annotate(3, 1, "dog")  # a second time: the later answer counts
        assert (
            "dog"
            in loop.round()
            .results["animal"]
            .crowd.to_frames()[0]
            .query("task == 1 and worker == 3")["label"]
            .tolist()
        )
        studio.delete(annotation["id"])
        assert loop.round().results["animal"].crowd.labels.num_labels == 5

    def test_tasks(self, studio, tmp_path):
        everybody_asks(studio, rounds=2)
        loop = loop_on(studio, tmp_path)
        loop.round()
        del studio.tasks[1]
        studio.tasks[13] = {**studio.tasks[12], "id": 13}
        report = loop.round()
        names = set(report.results["animal"].crowd.example_names)
        assert 1 not in names
        assert {row["task"] for row in report.decisions} == {13}

    def test_a_class(self, studio, tmp_path):
        """A choice that was renamed stays a class as long as answers have it."""
        everybody_asks(studio, rounds=3)
        loop = loop_on(studio, tmp_path, arguments={"model": "one-coin", "dependence": 0.0})
        loop.round()
        studio.project["label_config"] = CONFIG.replace('"cat"', '"kitten"')
        classes = loop.round().results["animal"].crowd.class_names
        assert list(classes) == ["kitten", "dog", "cat"]

    def test_places_that_were_passed(self, studio, tmp_path):
        """Somebody who passed takes a place where the project counts it; another gets the task."""
        studio.project["skip_queue"] = "REQUEUE_FOR_ME"
        studio.save(1, {"id": None, "completed_by": 2, "was_cancelled": True})
        loop_on(studio, tmp_path).round()
        assert studio.tasks[1]["overlap"] == 2
        assert studio.next_task(3)["id"] == 1


class TestTool:
    def test_busy_and_restarting(self, studio, tmp_path):
        studio.failures += [503, 429, 500]
        assert loop_on(studio, tmp_path).round().num_open == 12
        assert not studio.failures

    def test_away(self, studio, tmp_path):
        studio.failures += [503] * 9
        loop = loop_on(studio, tmp_path)
        loop.tool._session.adapters["http://"].max_retries.backoff_factor = 0
        with pytest.raises(ToolError, match="503"):
            loop.round()

    def test_a_prediction_that_stands_twice(self, studio, tmp_path):
        """As after an answer that was lost: one is left; those of others stay."""
        for task in range(1, 13):
            studio.annotate(2, task, answer(task, 0))
        loop = loop_on(studio, tmp_path, max_labels=1)
        loop.round()
        twice = {**next(iter(studio.predictions.values())), "id": 901}
        other = {**twice, "id": 902, "model_version": "gtx-bayes"}  # as `export` calls it
        studio.predictions |= {901: twice, 902: other}
        loop_on(studio, tmp_path, max_labels=1).round()
        assert 901 not in studio.predictions
        assert studio.predictions[902] == other
        assert len(studio.predictions) == 13

    def test_a_round_reads_what_is_new(self, studio, tmp_path):
        everybody_asks(studio, rounds=2)
        loop_on(studio, tmp_path).round()
        studio.annotate(2, 12, "cat")
        studio.calls.clear()
        tool = LabelStudio(studio.url, 1, "token-1", folder=tmp_path)
        number = sum(task.num_labels for task in tool.tasks())
        assert number == 7
        assert len(tool.annotations(tool.questions()[0]).frame) == 7
        read = [query for (_, path), query in studio.queries if path.endswith("export")]
        assert sorted(map(int, read[-1]["ids[]"])) == [1, 2, 3, 4, 5, 6, 12]  # six were opened

    def test_all_is_gold(self, studio, tmp_path):
        for task in studio.tasks:
            studio.annotate(2, task, "cat", ground_truth=True)
        (note,) = loop_on(studio, tmp_path).round().notes
        assert "nothing to decide" in note

    def test_personal_token(self, studio, tmp_path):
        assert loop_on(studio, tmp_path, token="a.b.1").round().num_open == 12

    @pytest.mark.parametrize(
        ("about", "says"),
        [
            ({"token": "wrong"}, "refuses the token"),
            ({"project": 7}, "refuses GET /api/projects/7"),
            ({"url": "localhost:8080"}, "no address"),
            ({"url": "http://"}, "no address"),
            ({"url": "http://me:word@localhost"}, "no address"),
            ({"url": "http://localhost?next=1"}, "no address"),
            ({"url": "http://localhost:port"}, "no address"),
            ({"token": "to\nken"}, "what no token does"),
            ({"token": "tök"}, "what no token does"),
            ({"token": " "}, "what no token does"),
        ],
    )
    def test_refusals(self, studio, about, says):
        given = {"url": studio.url, "project": 1, "token": "token-1", **about}
        with pytest.raises(InputError, match=says) as caught:
            LabelStudio(**given).questions()
        for quoted in ("tök", "to\nken", "wrong", "me:word"):
            assert quoted not in str(caught.value)

    @pytest.mark.parametrize("answer", [{}, [], "<html>", None, 3, {"label_config": "<View"}])
    def test_what_is_no_label_studio(self, studio, tmp_path, answer):
        studio.instead.append(answer)
        with pytest.raises(InputError, match=r"^http.*: this does not answer as Label Studio"):
            loop_on(studio, tmp_path).round()
        studio.instead.append(answer)
        with pytest.raises(InputError, match="this does not answer as Label Studio"):
            loop_on(studio, tmp_path, token="a.b.1").round()

    def test_an_address_that_moved(self, studio, tmp_path):
        studio.failures.append(301)
        with pytest.raises(InputError, match=r"moved to https://there\. Give that as `url=`"):
            loop_on(studio, tmp_path).round()

    def test_a_netrc_file_stays_out_of_it(self, studio, tmp_path, monkeypatch):
        (tmp_path / "netrc").write_text("default login me password other\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        assert LabelStudio(studio.url, 1, "token-1").questions()
        assert LabelStudio(studio.url, 1, "a.b.1").questions()

    def test_a_title_that_speaks_to_the_terminal(self, studio):
        studio.project["title"] = "a\x1b[2J\nb"
        tool = LabelStudio(studio.url, 1, "token-1")
        tool.questions()
        assert tool.title == "a[2J b"

    def test_no_question(self, studio):
        studio.project["label_config"] = "<View><Text name='text' value='$text'/></View>"
        with pytest.raises(InputError, match="no single choice"):
            LabelStudio(studio.url, 1, "token-1").questions()

    def test_settings_to_mend(self, studio, tmp_path):
        studio.project |= {"show_collab_predictions": True, "maximum_annotations": 3}
        notes = " ".join(loop_on(studio, tmp_path).round().notes)
        assert "prelabel" in notes
        assert "several annotations" in notes


class InMemory(AbstractLabelingTool):
    """The least that a tool is: five verbs, what it asks, and who may answer."""

    name = "in-memory"

    def __init__(self, num_tasks):
        self.places, self.said, self.shown = dict.fromkeys(range(1, num_tasks + 1), 1), [], {}

    def questions(self):
        return [Question("animal", "", ("cat", "dog"))]

    def workers(self):
        return [0, 1, 2]

    def tasks(self):
        given = [task for task, _, _ in self.said]
        numbers = {task: given.count(task) for task in self.places}
        return [
            Task(task, n < self.places[task], self.places[task], n, n)
            for task, n in numbers.items()
        ]

    def annotations(self, question):
        columns = ["task", "worker", "label"]
        return Table(pd.DataFrame(self.said, columns=columns, dtype=object), Source("memory"))

    def open(self, task, num_more):
        self.places[task.name] = task.num_taken + num_more

    def close(self, task):
        self.places[task.name] = task.num_taken

    def predict(self, examples, version, *, is_dry=False):
        new = {task: version for table in examples.values() for task in table["task"]}
        number, self.shown = len(new.keys() - self.shown.keys()), self.shown | new
        return number


def test_another_tool(tmp_path):
    tool = InMemory(12)
    journal = Journal(tmp_path / "s", {"url": str(tmp_path), "project": 1})
    loop = Loop(tool, journal, Rules(POLICIES.build("uncertainty"), max_labels=2))
    for at in range(3):
        assert loop.round().num_open or at == 2
        for task in tool.tasks():
            if task.is_open and task.num_taken < task.num_places:
                tool.said.append((task.name, at, answer(task.name, at)))
    assert not loop.round().num_open
    assert len(tool.shown) == 12
    assert len(tool.said) == 24


class WithGold(InMemory):
    def annotations(self, question):
        known = [{"task": task, "label": ["cat", "dog"][task % 2]} for task in range(1, 61)]
        gold = Table(pd.DataFrame(known), Source("gold"))
        return dataclasses.replace(super().annotations(question), gold=gold)


def test_workers_who_copy_each_other(tmp_path):
    """They count as one, and who is to be asked first is in no bloc that has answered."""
    tool, rng = WithGold(64), random.Random(0)
    for task in tool.places:
        copied = ["cat", "dog"][(task + (rng.random() > 0.7)) % 2]
        tool.said += [(task, 0, copied), (task, 1, copied)]
        if task < 64:
            tool.said += [(task, at, answer(task, at)) for at in (2, 3)]
    journal = Journal(tmp_path / "s", {"url": str(tmp_path), "project": 1})
    rules = {"threshold": 0.999, "arguments": {"model": "one-coin", "dependence": 0.0}}
    report = Loop(tool, journal, Rules(POLICIES.build("uncertainty"), **rules)).round()
    assert set(report.results["animal"].blocs["worker"]) == {0, 1}
    (row,) = [row for row in report.decisions if row["task"] == 64]
    assert row["worker"] in (2, 3)


class TestFolder:
    @pytest.mark.slow
    def test_what_is_not_ours_stays(self, studio, tmp_path):
        """Inputs, links, and files that others wrote or changed."""
        everybody_asks(studio)
        folder = tmp_path / "s"
        loop_on(studio, folder).round()
        kept, table = folder / "annotations.json", folder / "animal.examples.csv"
        for path in (kept, table):
            everybody_asks(studio)
            before = path.read_text()
            path.write_text(before[:-9])
            with pytest.raises(InputError, match=rf"{path.name}: there is a file that gtx-bayes"):
                loop_on_kept(studio, folder).round()
            assert path.read_text() == before[:-9]
            path.unlink()
        loop_on_kept(studio, folder).round()
        assert kept.exists()
        assert table.exists()
        gold = folder / "gold.csv"
        gold.write_text("task,label\n1,cat\n")
        given = ("--state", str(folder), "--gold", str(gold))
        assert "which is read" in invoke(studio, "sync", *given, code=2)
        gold.unlink()
        gold.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(InputError, match="is a link"):
            loop_on(studio, folder)

    def test_a_question_with_a_long_name(self, studio, tmp_path):
        loop = loop_on(studio, tmp_path)
        one, other = (loop._file(Question("ä" * 300 + end, "", ()), "state") for end in "ab")
        assert one != other
        assert len(one.name) < 140

    def test_one_controller_at_a_time(self, studio, tmp_path):
        one, other = (loop_on(studio, tmp_path / name).journal for name in "ab")
        with one.held(), pytest.raises(InputError, match="another gtx-bayes"), other.held():
            pass
        same = studio.url.replace("127.0.0.1", "localhost") + "/"
        third = Journal(tmp_path / "c", {"url": same, "project": 1})
        with one.held(), pytest.raises(InputError, match="another gtx-bayes"), third.held():
            pass
        with other.held():
            pass

    def test_of_something_else(self, studio, tmp_path):
        (tmp_path / "notes.txt").write_text("mine")
        with pytest.raises(InputError, match="something else"):
            loop_on(studio, tmp_path)
        with Journal(tmp_path / "s", {"url": str(tmp_path), "project": 2}).held():
            pass
        with pytest.raises(InputError, match="project 2 at "):
            loop_on(studio, tmp_path / "s")
        with pytest.raises(InputError, match="cannot write there"):
            loop_on(studio, tmp_path / "notes.txt" / "s").round()


def invoke(studio, *words, code=0):
    environment = {"LABEL_STUDIO_API_KEY": "token-1", "GTX_BAYES_SECRET": SECRET}
    given = ["label-studio", words[0], "--url", studio.url, "--project", "1", *words[1:]]
    run = CliRunner().invoke(app, given, env=environment)
    assert run.exit_code == code, run.output
    return json.loads(run.stdout) if code == 0 and "--json" in words else run.output


class TestCommand:
    def test_sync(self, studio, tmp_path):
        everybody_asks(studio, rounds=3)
        state = ("--state", str(tmp_path / "s"))
        text = invoke(studio, "sync", "--dry-run", "--assess", "1", *state)
        assert "Nothing was done" in text
        assert "or give `--gold`" in text
        found = invoke(studio, "sync", "--json", *state)
        assert found["num_labels"] == 9
        assert found["num_open"] == 12
        assert {each["worker"] for each in found["labelers"]["animal"]} == {2, 3, 4}
        text = invoke(studio, "sync", *state)
        assert "Labelers (animal)" in text
        studio.project["title"] = "ours\x1b[2J\x9b"
        assert not {*"\x1b\x9b"} & {*invoke(studio, "sync", "--dry-run", *state)}
        files = {path.name for path in (tmp_path / "s").iterdir()}
        ours = ("state", "examples.csv", "labelers.csv")
        assert files == {
            "loop.json",
            "annotations.json",
            DECISIONS,
            *(f"animal.{of}" for of in ours),
            *(f".animal.{of}.gtx-bayes" for of in ours),
            ".annotations.json.gtx-bayes",
        }

    def test_watch(self, studio, tmp_path, monkeypatch):
        """Rounds go on, over a server that is away for one, until a signal."""
        sleeps = []

        def sleep(seconds):
            sleeps.append(seconds)
            everybody_asks(studio)
            studio.failures += [404] * (len(sleeps) == 2)
            if len(sleeps) == 4:
                raise KeyboardInterrupt

        monkeypatch.setattr(cli, "time", types.SimpleNamespace(sleep=sleep))
        text = invoke(studio, "sync", "--watch", "3", "--state", str(tmp_path / "s"))
        assert "Ended; the next" in text
        assert sleeps == [3.0] * 4
        assert "Not decided" in text
        assert " 9 answers: 12 open, 0 waiting" in text

    def test_serve(self, studio, tmp_path, monkeypatch):
        def sleep(_):
            hook = studio.hooks[0]
            found = requests.post(hook["url"], json={}, headers=hook["headers"], timeout=5)
            assert found.ok
            raise KeyboardInterrupt

        monkeypatch.setattr(cli, "time", types.SimpleNamespace(sleep=sleep))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        where = ("--port", port, "--register", f"http://127.0.0.1:{port}")
        text = invoke(studio, "serve", *where, "--state", str(tmp_path / "s"))
        assert f"listening at http://127.0.0.1:{port}" in text
        assert "Ended" in text

    def test_serve_with_a_wrong_token(self, studio, tmp_path, monkeypatch):
        monkeypatch.setenv("WRONG", "token-x")
        words = ("--token-env", "WRONG", "--port", "0", "--state", str(tmp_path / "s"))
        text = invoke(studio, "serve", *words, code=2)
        assert "Error: --token-env: Label Studio refuses the token" in text
        assert "listening" not in text

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            (("--token-env", "NOT_THERE"), "--token-env: the environment variable NOT_THERE"),
            (("--threshold", "0.9", "--risk", "0.1"), "--risk: there is a threshold too"),
            (("--watch", "3", "--json"), "--watch: goes on"),
            (("--strategy", "nonsense"), "nonsense"),
        ],
    )
    def test_bad_input(self, studio, tmp_path, words, says):
        text = invoke(studio, "sync", "--state", str(tmp_path / "s"), *words, code=2)
        assert says in text


class TestBackend:
    @pytest.fixture
    def served(self, studio, tmp_path):
        everybody_asks(studio, rounds=3)
        loop = loop_on(studio, tmp_path)
        server = backend.Backend(loop, ("127.0.0.1", 0), SECRET, seconds=600.0, title="<ours>")
        with server.running():
            server.url = f"http://127.0.0.1:{server.server_address[1]}"
            yield server

    def test_calls(self, studio, served):
        assert requests.get(f"{served.url}/health", timeout=5).json()["status"] == "UP"
        call = caller(served)
        assert call("/setup", {"project": "1"}).json()["model_version"]
        known = call("/predict", {"tasks": [{"id": 1}, {"id": 99}]}).json()["results"]
        assert known[0]["result"][0]["from_name"] == "animal"
        assert known[0]["score"] > 0.5
        assert known[1] == {"result": [], "score": 0.0, "model_version": "gtx-bayes"}
        before = served.report.num_labels
        everybody_asks(studio)
        assert call("/webhook", {"action": "ANNOTATION_CREATED"}).ok
        wait_for(lambda: served.report.num_labels > before)
        page = requests.get(served.url, auth=("me", SECRET), timeout=5).text
        assert "&lt;ours&gt;" in page
        assert "decisions" in page

    def test_a_round_that_fails(self, studio, served, monkeypatch, capsys):
        """Whatever it fails for, another comes; that none comes is told by /health."""
        rounds, one = [], served.loop.round

        def fails():
            rounds.append(1)
            if len(rounds) == 1:
                raise ZeroDivisionError("a bug")
            return one()

        monkeypatch.setattr(served.loop, "round", fails)
        before = served.report.num_labels
        everybody_asks(studio)
        served.ask()
        wait_for(lambda: rounds)
        served.ask()
        wait_for(lambda: served.report.num_labels > before)
        assert "Not decided: ZeroDivisionError: a bug" in capsys.readouterr().err
        served._ended.set()
        served.ask()
        wait_for(lambda: not served.decides)
        assert requests.get(f"{served.url}/health", timeout=5).status_code == 503

    def test_refusals(self, served):
        for said in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic !"}):
            for path in ("/predict", "/webhook"):
                found = requests.post(served.url + path, json={}, headers=said, timeout=5)
                assert found.status_code == 401
            assert requests.get(served.url, headers=said, timeout=5).status_code == 401
        call = caller(served)
        assert call("/nothing", {}).status_code == 404
        assert call("/predict", {"tasks": 3}).status_code == 400
        assert call("/predict", [1]).status_code == 400
        for length in (str(backend.MOST_BYTES + 1), "9" * 5000):
            long = {"Content-Length": length, "Authorization": f"Bearer {SECRET}"}
            connection = http.client.HTTPConnection(*served.server_address, timeout=5)
            with contextlib.closing(connection):
                connection.request("POST", "/webhook", headers=long)
                assert connection.getresponse().status == 413

    def test_registering(self, studio, served):
        tool = LabelStudio(studio.url, 1, "token-1")
        for secret in ("an-older-secret", SECRET):
            tool.register(served.url, secret, "gtx-bayes")
        ((hook,), (known,)) = studio.hooks, studio.backends
        assert hook["url"] == f"{served.url}/webhook"
        assert requests.post(hook["url"], json={}, headers=hook["headers"], timeout=5).ok
        login = f"{known['basic_auth_user']}:{known['basic_auth_pass']}".encode()
        assert served.knows(f"Basic {base64.b64encode(login).decode()}")

    def test_secret(self, studio, tmp_path):
        with pytest.raises(InputError, match="fewer than 8"):
            backend.Backend(
                loop_on(studio, tmp_path), ("127.0.0.1", 0), "short", seconds=1.0, title=""
            )


def caller(server):
    def call(path, body):
        known = {"Authorization": f"Bearer {SECRET}"}
        return requests.post(server.url + path, json=body, headers=known, timeout=5)

    return call


def wait_for(condition):
    for _ in range(30_000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("waited for five minutes")
