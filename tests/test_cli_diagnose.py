"""`gtx-bayes diagnose` from outside: what it writes, where, and what it refuses."""

import json

import pandas as pd
import pytest

from tests.pages import check_page
from tests.test_aggregation import FRAME, GOLD
from tests.test_cli import call

pytestmark = pytest.mark.end_to_end

FILES = {"report.html", "examples.csv", "labelers.csv", "summary.json"}
QUICK = ("--model", "one-coin", "--class-prior", "0.5,0.5")


@pytest.fixture
def tables(tmp_path):
    """Files whose names are markup; one gold example has no answer, which makes a note."""
    FRAME.to_csv(tmp_path / "<b>labels.csv", index=False)
    pd.concat([GOLD, pd.DataFrame({"task": ["zz"], "label": ["no"]})]).to_csv(
        tmp_path / "gold&.csv", index=False
    )
    return tmp_path


def diagnose(tables, *more):
    return call(
        "diagnose",
        tables / "<b>labels.csv",
        "--gold",
        tables / "gold&.csv",
        "--output",
        tables / "out",
        *QUICK,
        *more,
    )


def test_writes_what_it_says(tables):
    run = diagnose(tables, "--seed", "3")
    assert run.exit_code == 0, run.output
    assert "amber" in run.stdout
    assert {path.name for path in (tables / "out").iterdir()} == FILES
    text = (tables / "out" / "report.html").read_text("utf-8")
    body = "".join(check_page(text).text)
    assert "Crowd report: <b>labels.csv" in body
    assert "gold&.csv: 1 gold example(s) that nobody labelled" in body
    assert str(tables) not in text + (tables / "out" / "summary.json").read_text("utf-8")
    assert "seed 3" in body
    assert list(pd.read_csv(tables / "out" / "examples.csv")["task"]) == ["a", "b", "c", "g"]
    assert list(pd.read_csv(tables / "out" / "labelers.csv")["worker"]) == ["u", "v", "w"]


def test_same_examples_as_aggregate(tables):
    """Ties, intervals and all, from the same seed."""
    diagnose(tables, "--seed", "5")
    words = ("aggregate", tables / "<b>labels.csv", "--gold", tables / "gold&.csv", *QUICK)
    call(*words, "--output", tables / "aggregated", "--seed", "5")
    for name in ("examples.csv", "labelers.csv"):
        assert (tables / "out" / name).read_text() == (tables / "aggregated" / name).read_text()


def test_json_is_all_there_is_on_stdout(tables):
    run = diagnose(tables, "--json")
    record = json.loads(run.stdout)
    assert record["command"] == "gtx-bayes diagnose"
    assert record["light"] == "amber"
    assert record["calibration"] is None
    assert record["next_examples"]
    assert record["output"] == str(tables / "out")
    written = json.loads((tables / "out" / "summary.json").read_text())
    assert written.pop("files").keys() == FILES
    assert {**written, "output": record["output"]} == record
    assert any("nobody labelled" in note for note in record["warnings"])


def test_replaces_its_own_and_nothing_else(tables):
    diagnose(tables)
    old = (tables / "out" / "report.html").stat().st_ino
    assert diagnose(tables).exit_code == 0
    assert (tables / "out" / "report.html").stat().st_ino != old
    (tables / "out" / "mine.txt").write_text("mine")
    run = diagnose(tables)
    assert run.exit_code == 2
    assert "'mine.txt', which is no result of gtx-bayes diagnose" in run.stderr
    call("aggregate", tables / "<b>labels.csv", "--output", tables / "other", *QUICK)
    run = diagnose(tables, "--output", tables / "other")
    assert run.exit_code == 2
    assert not (tables / "other" / "report.html").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "none"], "there is no model 'none'"),
        (["--dependence", "much"], "--dependence"),
        (["--worker-column", "who"], "no column is called 'who'"),
        (["--classes", "yes,maybe"], "label 'no' is none of the classes"),
    ],
)
def test_bad_requests(tables, options, message):
    run = diagnose(tables, *options)
    assert run.exit_code == 2
    assert message in run.stderr
    assert run.stdout == ""
    assert not (tables / "out").exists()


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt, 130), (ZeroDivisionError("division by zero"), 1)]
)
def test_leaves_nothing_when_it_fails(tables, monkeypatch, error, code):
    """The page comes last, with both tables already written."""

    def fail(*_):
        raise error

    monkeypatch.setattr("gtx_bayes.diagnostics.report.page.render", fail)
    run = diagnose(tables)
    assert run.exit_code == code
    assert "Traceback" not in run.stderr
    assert sorted(path.name for path in tables.iterdir()) == ["<b>labels.csv", "gold&.csv"]
