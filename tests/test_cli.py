"""The program from outside: in this process for messages, in its own for what only that shows."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import arviz as az
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from gtx_bayes import read_crowd
from gtx_bayes.cli.commands import app
from gtx_bayes.errors import InputError
from gtx_bayes.registry import METHODS
from tests.test_aggregation import FRAME, GOLD

pytestmark = pytest.mark.end_to_end

HERE = Path(__file__).parents[1]
PROGRAM = Path(sys.executable).with_name("gtx-bayes")


@pytest.fixture
def tables(tmp_path):
    write_tables(tmp_path)
    return tmp_path


def call(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def aggregate(tables, *more):
    words = ("aggregate", tables / "labels.csv", "--gold", tables / "gold.csv")
    return call(*words, "--output", tables / "out", *more)


class TestAggregate:
    def test_writes_what_it_says(self, tables):
        run = aggregate(tables, "--plots", "--draws", "200")
        assert run.exit_code == 0, run.output
        names = {"examples.csv", "labelers.csv", "confusion.csv", "summary.json", "posterior.nc"}
        names |= {"confidence.png", "labelers.png", "confusion.png"}
        assert {path.name for path in (tables / "out").iterdir()} == names
        examples = pd.read_csv(tables / "out" / "examples.csv")
        assert list(examples["task"]) == ["a", "b", "c", "g"]
        np.testing.assert_allclose(examples[["prob_no", "prob_yes"]].sum(axis=1), 1, rtol=1e-5)
        labelers = pd.read_csv(tables / "out" / "labelers.csv")
        columns = ["worker", "accuracy", "ci_low", "ci_high", "num_gold", "num_correct"]
        assert list(labelers.columns[:6]) == columns
        tree = az.from_netcdf(tables / "out" / "posterior.nc")
        assert list(tree["posterior"]["labeler"].values) == ["u", "v", "w"]
        summary = json.loads((tables / "out" / "summary.json").read_text())
        assert summary["method"] == "gtx-bayes"
        assert summary["class_prior"]["no"] == pytest.approx(0.5, abs=0.1)
        assert sum(row["weight"] for row in summary["pool"]) == pytest.approx(1.0)
        assert 0.0 < summary["dependence"]["prob_independent"] < 1.0
        sizes = ("num_examples", "num_labelers", "num_classes", "num_labels", "num_gold")
        assert [summary[size] for size in sizes] == [4, 3, 2, 10, 1]

    @pytest.mark.parametrize(
        "model", ["class-conditional", pytest.param("difficulty", marks=pytest.mark.slow)]
    )
    def test_model(self, tables, model):
        """In `aggregate`, and in `next`, which fits the same."""
        options = ("--model", model, "--class-prior", "0.5,0.5", "--dependence", "none", "--json")
        run = aggregate(tables, *options)
        assert run.exit_code == 0, run.output
        assert json.loads(run.stdout)["model"] == model
        examples = pd.read_csv(tables / "out" / "examples.csv")
        assert (examples["confidence_low"] <= examples["confidence_high"]).all()
        assert examples["confidence_high"].between(0, 1).all()
        labelers = pd.read_csv(tables / "out" / "labelers.csv")
        assert (labelers["ci_low"] < labelers["accuracy"]).all()
        assert (labelers["accuracy"] < labelers["ci_high"]).all()
        run = call("next", tables / "labels.csv", "--gold", tables / "gold.csv", *options)
        confidence = {row["task"]: row["confidence"] for row in json.loads(run.stdout)["examples"]}
        expected = examples.set_index("task")["confidence"][list(confidence)]
        np.testing.assert_allclose(list(confidence.values()), expected, rtol=1e-5)

    def test_class_prior_by_name(self, tables):
        """The order is that of the user, not that of the columns."""
        for form in ("yes=0.7,no=0.3", "0.3,0.7"):
            run = aggregate(tables, "--json", "--method", "gtx", "--class-prior", form)
            assert run.exit_code == 0, run.output
            record = json.loads(run.stdout)  # all there is on stdout
            assert record["class_prior"] == pytest.approx({"no": 0.3, "yes": 0.7})
            assert (record["method"], record["output"]) == ("gtx", str(tables / "out"))

    def test_warnings_go_to_stderr_and_into_the_summary(self, tables):
        pd.concat([GOLD, pd.DataFrame({"task": ["zz"], "label": ["no"]})]).to_csv(
            tables / "gold.csv", index=False
        )
        run = aggregate(tables, "--json", "--method", "gtx", "--verbose")
        summary = json.loads(run.stdout)
        (warning,) = summary["warnings"]
        assert "nobody labelled" in warning
        assert f"Warning: {warning}" in run.stderr.splitlines()
        assert not set(summary["notes"]) & set(summary["warnings"])
        for note in summary["notes"]:
            assert f"Note: {note}" in run.stderr.splitlines()

    def test_confusion_matrices_are_guarded(self, tables, monkeypatch):
        aggregate(tables, "--method", "majority-vote")
        table = pd.read_csv(tables / "out" / "confusion.csv")
        assert table.shape == (12, 6)
        assert set(table["source"]) == {"gold"}
        monkeypatch.setattr("gtx_bayes.aggregation.tables.MOST_CONFUSION_ROWS", 11)
        run = aggregate(tables, "--method", "majority-vote", "--json")
        assert "confusion.csv is left out: it would have 12 rows, more than 11." in run.stderr
        assert not (tables / "out" / "confusion.csv").exists()

    def test_seed_decides_ties_alone(self, tables):
        labels = set()
        for seed in range(4):
            aggregate(tables, "--method", "majority-vote", "--seed", seed)
            examples = pd.read_csv(tables / "out" / "examples.csv", index_col="task")
            labels.add(tuple(examples["label"]))
        assert labels == {("yes", "yes", "no", "yes"), ("yes", "no", "no", "yes")}

    def test_a_method_with_options(self, tables):
        run = aggregate(
            tables, "--method", "dawid-skene", "--method-option", "num_steps=1", "--json"
        )
        assert run.exit_code == 0, run.stderr
        summary = json.loads(run.stdout)
        assert (summary["method"], summary["model"]) == ("dawid-skene", "confusion")
        assert any("stopped before it converged" in note for note in summary["warnings"])

    def test_a_method_of_a_file(self, tables):
        """The skeleton in the documentation: ten votes more for both classes."""
        page = (HERE / "docs" / "developer" / "new_method.md").read_text(encoding="utf-8")
        code = re.search(r"aggregation method\n.*?```python\n(.*?)```", page, flags=re.DOTALL)[1]
        (tables / "mine.py").write_text(code.replace("@register\n", ""))
        words = ("--method", f"{tables / 'mine.py'}:MyMethod", "--method-option", "strength=10")
        run = aggregate(tables, *words)
        assert run.exit_code == 0, run.stderr
        assert "my-method" in run.stdout
        examples = pd.read_csv(tables / "out" / "examples.csv", index_col="task")
        np.testing.assert_allclose(examples.loc["a", "prob_yes"], 12 / 23, rtol=1e-5)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--method-option", "speed=3"], "the method gtx-bayes has no option 'speed'"),
            (["--method-option", "speed"], "Write --method-option NAME=VALUE"),
            (["--method", "nothing.py:Mine"], "no such file"),
            (["--method", "gtx", "--model", "confusion"], "gtx has no model"),
            (["--method", "gtx-bayse"], "no method 'gtx-bayse'"),
            (["--method", "gtx", "--draws", "5"], "--draws: gtx has no posterior"),
            (["--class-prior", "a,b"], "--class-prior: 'a,b' is no list of numbers"),
            (["--class-prior", "0.5,0.6"], "sums to 1.1"),
            (["--class-prior", "yes=0.5,maybe=0.5"], "names 'maybe', and the classes are"),
            (["--class-prior", "yes=0.9,no=10"], "--class-prior: shares and counts are mixed"),
            (["--risk", "a,b"], "--risk: 'a,b' is no list of numbers. Give one number, or name"),
            (["--class-prior", "yes=1"], "gives no probability to 'no'"),
            (["--class-prior", "yes=0.5,0.5"], "--class-prior: 'yes=0.5,0.5' does not name each"),
            (["--classes", "yes,maybe"], "row 4: label 'no' is none of the classes"),
            (["--worker-column", "who"], "no column is called 'who'"),
        ],
    )
    def test_bad_requests(self, tables, options, message):
        run = aggregate(tables, *options)
        assert run.exit_code == 2
        assert message in run.stderr
        assert "Traceback" not in run.stderr
        assert run.stdout == ""
        assert not (tables / "out").exists()
        assert not [path for path in tables.iterdir() if path.name.startswith(".")]

    def test_names_that_mean_something_elsewhere(self, tables):
        """Rich's markup in a path, a formula and a tag as names of workers."""
        frame = FRAME.assign(worker=FRAME["worker"].map({"u": "$v^{$", "v": "<b>", "w": "[red]w"}))
        frame.to_csv(tables / "labels.csv", index=False)
        words = ("aggregate", tables / "labels.csv", "--method", "majority-vote", "--plots")
        run = call(*words, "-o", tables / "[/x]out")
        assert run.exit_code == 0, run.stderr
        labelers = pd.read_csv(tables / "[" / "x]out" / "labelers.csv")
        assert list(labelers["worker"]) == ["$v^{$", "<b>", "[red]w"]

    def test_bad_file(self, tables):
        (tables / "labels.csv").write_text("task,worker,label\na,u,\n")
        run = aggregate(tables)
        assert run.exit_code == 2
        assert f"{tables / 'labels.csv'}, row 2: column 'label' has no value." in run.stderr

    def test_refuses_to_replace_what_it_did_not_write(self, tables):
        run = call("aggregate", tables / "labels.csv", "--output", tables)
        assert run.exit_code == 2
        assert "labels.csv', which is read" in run.stderr
        (tables / "papers").mkdir()
        (tables / "papers" / "thesis.txt").write_text("all there is")
        run = call("aggregate", tables / "labels.csv", "--output", tables / "papers")
        assert run.exit_code == 2
        assert "which is no result of gtx-bayes aggregate" in run.stderr
        assert (tables / "labels.csv").exists()

    def test_a_failure_of_ours_is_not_called_bad_input(self, tables, monkeypatch):
        def fail(*_, **__):
            raise ZeroDivisionError("division by zero")

        monkeypatch.setattr("gtx_bayes.aggregation.aggregate.aggregate", fail)
        run = aggregate(tables)
        assert run.exit_code == 1
        assert "ZeroDivisionError: division by zero (a failure of gtx-bayes" in run.stderr
        assert "Traceback" not in run.stderr
        assert "Traceback" in aggregate(tables, "--debug").stderr

    def test_interrupt_leaves_nothing(self, tables, monkeypatch):
        def interrupt(*_, **__):
            raise KeyboardInterrupt

        monkeypatch.setattr("gtx_bayes.diagnostics.plots.save_result_plots", interrupt)
        run = aggregate(tables, "--plots", "--method", "majority-vote")
        assert run.exit_code == 130
        assert not (tables / "out").exists()
        assert not [path for path in tables.iterdir() if path.name.startswith(".")]

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
    def test_a_full_disk_is_reported_and_leaves_nothing(self, tables, monkeypatch):
        """/dev/full refuses every byte, as a full disk does."""
        write = pd.DataFrame.to_csv
        monkeypatch.setattr(
            pd.DataFrame, "to_csv", lambda table, path, **more: write(table, "/dev/full", **more)
        )
        before = sorted(tables.iterdir())
        run = aggregate(tables, "--method", "majority-vote")
        assert run.exit_code == 1
        assert "No space left on device" in run.stderr
        assert "Traceback" not in run.stderr
        assert sorted(tables.iterdir()) == before


class TestEvaluate:
    @pytest.fixture
    def words(self, tables):
        """The command on a result of three examples, one of them gold."""
        examples = {
            "task": ["a", "c", "g"],
            "prob_no": [0.2, 0.9, 0.3],
            "prob_yes": [0.8, 0.1, 0.7],
        }
        pd.DataFrame(examples).to_csv(tables / "examples.csv", index=False)
        return ("evaluate", tables / "examples.csv", "--truth", tables / "truth.csv")

    def test_keys_and_exclusion(self, tables, words):
        plot = tables / "reliability.png"
        run = call(*words, "--exclude", tables / "gold.csv", "--json", "--plots", plot)
        record = json.loads(run.stdout)
        metrics = ["accuracy", "error", "balanced_error", "log_loss", "brier", "ece"]
        assert {*metrics, *(f"{name}_se" for name in metrics), "num_examples"} <= set(record)
        assert (record["num_examples"], record["accuracy"]) == (2, 1.0)
        assert plot.stat().st_size > 0

    def test_table_for_people(self, words):
        run = call(*words)
        assert "log_loss" in run.stdout
        assert "standard error" in run.stdout

    def test_a_table_that_is_no_result(self, tables):
        run = call("evaluate", tables / "labels.csv", "--truth", tables / "truth.csv")
        assert run.exit_code == 2
        assert "prob_<class>" in run.stderr

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (("--plots", "plot.xyz"), "'.xyz' names no image format"),
            (("--plots", "labels.csv/plot.png"), "cannot write there"),
            (("--truth", "examples.csv"), "no column holds the label"),
        ],
    )
    def test_bad_input(self, tables, words, monkeypatch, options, message):
        monkeypatch.chdir(tables)
        run = call(*words, *options)
        assert run.exit_code == 2
        assert message in run.stderr


def test_usage_errors_and_version():
    assert call("aggregate").exit_code == 2
    assert call("no-such-command").exit_code == 2
    assert re.fullmatch(r"gtx-bayes \d+\.\d+\.\d+\n", call("--version").stdout)


@pytest.mark.parametrize("command", ["aggregate", "next", "finetune"])
def test_help_names_every_method(command):
    """Lines are broken anywhere, between the parts of a name too."""
    text = re.sub(r"\s", "", call(command, "--help").stdout)
    assert f"{','.join(METHODS.names())},orFILE.py:Class" in text


def test_errors_speak_of_options_here_and_of_arguments_in_python(tables):
    answers = pd.concat([FRAME, FRAME.assign(label="no"), FRAME.assign(label="yes")])
    answers.to_csv(tables / "labels.csv", index=False)
    run = aggregate(tables)
    assert run.exit_code == 2
    assert "`--duplicates first`, `--duplicates last` or `--duplicates all`." in run.stderr
    with pytest.raises(InputError, match=r"`duplicates=.first.`") as error:
        read_crowd(tables / "labels.csv")
    assert "--" not in str(error.value)


def write_tables(folder):
    """Answers, gold and true labels."""
    FRAME.to_csv(folder / "labels.csv", index=False)
    GOLD.to_csv(folder / "gold.csv", index=False)
    truth = pd.DataFrame({"task": ["a", "c", "g"], "label": ["yes", "no", "yes"]})
    truth.to_csv(folder / "truth.csv", index=False)


def run_all(folder, commands, **environment):
    """Run commands one after the other in a process of their own; their exit codes and stdout.

    The answers "yes" are in Japanese in their tables.
    """
    write_tables(folder)
    for name in ("labels.csv", "gold.csv", "truth.csv"):
        table = pd.read_csv(folder / name).astype(str)
        table.replace({"yes": "はい"}).to_csv(folder / f"ü {name}", index=False)
    program = (
        "import json, sys\n"
        "from gtx_bayes.cli.app import main\n"
        "codes = {}\n"
        "for name, words in json.load(open('commands.json')).items():\n"
        "    sys.argv[1:] = words\n"
        "    try:\n"
        "        main()\n"
        "    except SystemExit as end:\n"
        "        codes[name] = end.code\n"
        "open('codes.json', 'w').write(json.dumps(codes))\n"
    )
    if "LC_ALL" in environment:  # Python takes names of files for bytes, kept as surrogates
        text = json.dumps(commands, ensure_ascii=False)
        commands = json.loads(text.encode().decode("ascii", "surrogateescape"))
    (folder / "commands.json").write_text(json.dumps(commands))
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(HERE), **environment},
        capture_output=True,
    )
    return json.loads((folder / "codes.json").read_text()), run.stdout


QUICK = ("--method", "majority-vote")
ONE_FIT = ("--model", "one-coin", "--dependence", "none", "--class-prior", "0.5,0.5")
COMMANDS = {
    "help": ("aggregate", "--help"),
    "demo": ("demo", "-o", "démo→"),
    "aggregate": ("aggregate", "ü labels.csv", "--gold", "ü gold.csv", *QUICK, "-o", "é→"),
    "evaluate": ("evaluate", "é→/examples.csv", "--truth", "ü truth.csv"),
    "next": ("next", "ü labels.csv", *QUICK, "--batch", "2", "-o", "é→.csv"),
    "wrong": ("next", "はい.csv"),
}
LONGER = {
    "diagnose": ("diagnose", "ü labels.csv", *ONE_FIT, "-o", "diagnosé→"),
    "reproduce": ("reproduce", "table1", "--runs", "1", "-o", "pâper→"),
    "plan": (
        *("plan", "--target-error", "0.2", "--num-examples", "50", "--runs", "2"),
        *("--num-labelers", "3", "-o", "plàn→"),
    ),
}


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The folder in which every command was run, their exit codes and stdout."""
    folder = tmp_path_factory.mktemp("program")
    return folder, *run_all(folder, COMMANDS, PYTHONIOENCODING="cp1252")


class TestProgram:
    """In a process of its own, as a user runs it."""

    def test_output_that_is_not_unicode(self, program):
        """Every command, on names that such a terminal has not: written with backslashes."""
        _, codes, stdout = program
        assert codes == {name: 2 if name == "wrong" else 0 for name in COMMANDS}, stdout
        assert rb"\u306f\u3044" in stdout

    @pytest.mark.slow
    def test_longer_commands_on_output_that_is_not_unicode(self, tmp_path):
        codes, stdout = run_all(tmp_path, LONGER, PYTHONIOENCODING="cp1252")
        assert codes == dict.fromkeys(LONGER, 0), stdout

    def test_of_a_locale_that_is_not_unicode(self, tmp_path):
        commands = {name: COMMANDS[name] for name in ("aggregate", "evaluate", "next", "wrong")}
        locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
        codes, stdout = run_all(tmp_path, commands, **locale)
        assert codes == {name: 2 if name == "wrong" else 0 for name in commands}, stdout
        assert rb"\u306f\u3044" in stdout

    def test_demo(self, program, tmp_path):
        """Its tables are those that `aggregate` and `evaluate` read, to the same end."""
        folder = program[0] / "démo→"
        names = {"labels.csv", "gold.csv", "truth.csv", "comparison.csv", "summary.json"}
        names |= {"labelers.png", "reliability.png", "comparison.png"}
        assert {path.name for path in folder.iterdir()} == names
        summary = json.loads((folder / "summary.json").read_text())
        log_loss = {row["method"]: row["log_loss"] for row in summary["rows"]}
        assert log_loss["known accuracies"] < log_loss["gtx-bayes"] < log_loss["gtx"]
        gold, result = folder / "gold.csv", tmp_path / "result"
        call("aggregate", folder / "labels.csv", "--gold", gold, "-o", result)
        words = ("evaluate", result / "examples.csv", "--truth", folder / "truth.csv")
        again = json.loads(call(*words, "--exclude", gold, "--json").stdout)
        assert again["log_loss"] == pytest.approx(log_loss["gtx-bayes"], rel=1e-4)
        assert again["num_examples"] == 2000

    def test_help_imports_nothing_heavy(self):
        code = (
            "import sys; from gtx_bayes.cli.commands import app; "
            "app(['next', '--help'], standalone_mode=False); "
            "print([m for m in ('jax', 'numpy', 'pandas', 'arviz', 'matplotlib', 'numpyro') "
            "if m in sys.modules])"
        )
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert "knowledge-gradient" in run.stdout  # names of what is registered, not imported
        assert run.stdout.splitlines()[-1] == "[]"


def test_program_is_installed():
    assert shutil.which("gtx-bayes", path=str(PROGRAM.parent))
