"""`gtx-bayes diagnose` from outside: what it writes, where, and what it refuses."""

import json

import pandas as pd
import pytest

from tests.pages import check_page
from tests.test_aggregation import FRAME, GOLD
from tests.test_cli import call

pytestmark = pytest.mark.end_to_end

FILES = {
    "report.html",
    "examples.csv",
    "labelers.csv",
    "panel.csv",
    "confusion.csv",
    "summary.json",
}
QUICK = ("--model", "one-coin", "--class-prior", "0.5,0.5")


def write_tables(folder):
    """Files whose names are markup; one gold example has no answer, which makes a note."""
    FRAME.to_csv(folder / "<b>labels.csv", index=False)
    gold = pd.concat([GOLD, pd.DataFrame({"task": ["zz"], "label": ["no"]})])
    gold.to_csv(folder / "gold&.csv", index=False)
    return folder


@pytest.fixture
def tables(tmp_path):
    return write_tables(tmp_path)


def diagnose(tables, *more):
    words = ("diagnose", tables / "<b>labels.csv", "--gold", tables / "gold&.csv")
    return call(*words, "--output", tables / "out", *QUICK, *more)


@pytest.fixture(scope="module")
def diagnosed(tmp_path_factory):
    """A folder of tables with the report on them, and what the command said."""
    tables = write_tables(tmp_path_factory.mktemp("diagnosed"))
    run = diagnose(tables, "--seed", "5", "--json")
    assert run.exit_code == 0, run.output
    return tables, json.loads(run.stdout)


def test_writes_what_it_says(diagnosed):
    tables, record = diagnosed
    assert {path.name for path in (tables / "out").iterdir()} == FILES
    text = (tables / "out" / "report.html").read_text("utf-8")
    body = "".join(check_page(text).text)
    assert "Crowd report: <b>labels.csv" in body
    assert "gold&.csv: 1 gold example(s) that nobody labelled" in body
    assert str(tables) not in text + (tables / "out" / "summary.json").read_text("utf-8")
    assert "seed 5" in body
    assert (record["command"], record["light"]) == ("gtx-bayes diagnose", "amber")
    assert record["calibration"] is None
    assert record["next_examples"]
    written = json.loads((tables / "out" / "summary.json").read_text())
    assert written.pop("files").keys() == FILES
    assert {**written, "output": str(tables / "out")} == record
    assert any("nobody labelled" in note for note in record["warnings"])


def test_same_examples_as_aggregate(diagnosed, tmp_path):
    """Ties, intervals and all, from the same seed."""
    tables, _ = diagnosed
    words = ("aggregate", tables / "<b>labels.csv", "--gold", tables / "gold&.csv", *QUICK)
    call(*words, "--output", tmp_path / "aggregated", "--seed", "5")
    for name in ("examples.csv", "labelers.csv"):
        assert (tables / "out" / name).read_text() == (tmp_path / "aggregated" / name).read_text()


def diagnose_with_gates(tables):
    """One of three is not shown, and one is not known."""
    workers = FRAME["worker"].unique()
    pd.DataFrame({"judge": workers, "price": 0.5}).to_csv(tables / "prices.csv", index=False)
    gates = ("light=amber", "accuracy=0.99", "effective=1")
    options = [word for gate in gates for word in ("--fail-under", gate)]
    return diagnose(tables, *options, "--cost", tables / "prices.csv")


def check_gates(run, out):
    """Exit code 3 leaves all files, with what was found."""
    assert {path.name for path in out.iterdir()} == FILES
    assert "The light is amber, amber is asked for." in run.stdout
    assert "The effective number of labelers is not shown to be at least 1: it is not" in run.stdout
    record = json.loads((out / "summary.json").read_text())
    assert [gate["holds"] for gate in record["gates"]] == [True, False, False]
    assert record["panel"]["cost"] == pytest.approx(0.5 * len(FRAME))
    panel = pd.read_csv(out / "panel.csv")
    assert set(panel["worker"]) == set(FRAME["worker"])
    assert panel["words"].str.startswith("Right in ").all()
    confusion = pd.read_csv(out / "confusion.csv")
    assert {"ci_low", "ci_high", "true_label", "label"} <= set(confusion)


def test_replaces_its_own_and_nothing_else(diagnosed):
    tables, _ = diagnosed
    old = (tables / "out" / "report.html").stat().st_ino
    run = diagnose_with_gates(tables)
    assert run.exit_code == 3, run.output
    assert "amber" in run.stdout
    assert (tables / "out" / "report.html").stat().st_ino != old
    check_gates(run, tables / "out")
    (tables / "out" / "mine.txt").write_text("mine")
    run = diagnose(tables)
    assert run.exit_code == 2
    assert "'mine.txt', which is no result of gtx-bayes diagnose" in run.stderr
    words = ("--output", tables / "other", "--method", "majority-vote")
    call("aggregate", tables / "<b>labels.csv", *words)
    run = diagnose(tables, "--output", tables / "other")
    assert run.exit_code == 2
    assert not (tables / "other" / "report.html").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fail-under", "light=blue"], "'blue' is no light"),
        (["--fail-under", "light=red"], "'red' is no light to reach"),
        (["--fail-under", "accuracy=90"], "no accuracy is 90. Give a proportion"),
        (["--fail-under", "accuracy"], "'accuracy' is no measure and bound"),
        (["--fail-under", "kappa=0.5"], "'kappa' is none of the measures"),
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
