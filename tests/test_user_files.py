"""Files of the user's: no writer replaces or deletes what no record of ours knows as it is."""

import contextlib
import json
import os
import re
import shutil
import stat
import tempfile
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from gtx_bayes.cli.commands import app
from gtx_bayes.errors import InputError
from gtx_bayes.experiments.training_log import recover as read_log
from gtx_bayes.finetune.checkpoint import read_checkpoint, remove_checkpoint, write_checkpoint
from gtx_bayes.io.writers import OutputFile, whole_files, write_summary
from gtx_bayes.streaming.work import WorkDirectory
from tests.outputs import FILES, directory, several, single

TABLES = {
    "labels.csv": [("a", "u", "yes"), ("a", "v", "no"), ("b", "u", "no"), ("b", "v", "no")],
    "gold.csv": [("a", "yes")],
    "truth.csv": [("a", "yes"), ("b", "no")],
    "probs.csv": [("a", "0.2", "0.8"), ("b", "0.7", "0.3")],
}
COLUMNS = {"labels.csv": ["task", "worker", "label"], "probs.csv": ["task", "prob_no", "prob_yes"]}


def checkpoint(folder, text, late=lambda: None):
    """One that a training goes on from; 'old' and 'new' are two steps of it."""
    path = folder / "out" / "a.txt"
    like = {"w": np.zeros(3, "float32")}
    read_checkpoint(path, like, "the training")
    late()
    write_checkpoint(path, {"w": np.ones(3, "float32")}, {"fingerprint": "the training", "x": text})
    return path


def work(folder, text, late=lambda: None):
    place = WorkDirectory.begun(folder / "out", {"x": 1}, resume=False)
    place.write("choice.json", text)
    place.write("parts/part-00000.json", text)
    late()
    place.remove("parts")
    if text == "new":
        place.clear()
    return folder / "out" / "choice.json"


WRITERS = {write.__name__: write for write in (directory, several, single, checkpoint, work)}

PLACES = [
    "out",
    "out/a.txt",
    "out/mine.txt",
    "out/summary.json",
    "out/manifest.json",
    "out/choice.json",
    "out/parts/mine.npz",
    "out/t.parquet/mine.parquet",
    "out/t.parquet/part-0.parquet",
    "out/.a.txt.gtx-bayes",
    "out/.a.txt.abcdefgh.partial/whole/a.txt",
    "out/.summary.json.abcdefgh.partial/whole/a.txt",
    "out/.summary.json.abcdefgh.partial/old/mine.txt",
    ".out.abcdefgh.partial/old/mine.txt",
    ".out.abcdefgh.partial/new/mine.txt",
]


def put(folder, place, kind):
    """Something of the user's at a place, unless it cannot be there; what must be found later."""
    path = folder / place
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir() and not path.is_symlink():
            return {}
        path.unlink(missing_ok=True)
        if kind == "file":
            path.write_text(f"mine at {place}")
        elif kind == "folder":
            path.mkdir()
            path = path / "within.txt"
            path.write_text(f"mine in {place}")
        else:
            (folder / "elsewhere.txt").write_text("mine elsewhere")
            path.symlink_to(folder / "elsewhere.txt")
    except (FileExistsError, NotADirectoryError):
        return {}
    return {path: seen(path)}


def seen(path):
    if path.is_symlink():
        return path.readlink(), path.read_bytes() if path.is_file() else None
    return path.read_bytes()


def everything(folder):
    return {path: seen(path) for path in folder.rglob("*") if path.is_symlink() or path.is_file()}


STRANGERS = st.lists(
    st.tuples(st.sampled_from(PLACES), st.sampled_from(["file", "link", "folder"])), max_size=2
)


@pytest.mark.parametrize("name", WRITERS)
@hypothesis.given(first=STRANGERS, then=STRANGERS, late=STRANGERS)
def test_what_is_the_users_stays(name, first, then, late):
    """Before the first run, between two, and while the second one writes."""
    write = WRITERS[name]
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top)
        mine = {}

        def arrive(strangers):
            for place, kind in strangers:
                mine.update(put(folder, place, kind))
            files = {path for path in mine if path.is_symlink() or path.is_file()}
            for path in mine.keys() - files:  # another of the user's took its place
                del mine[path]

        arrive(first)
        with contextlib.suppress(InputError):
            write(folder, "old")
        arrive(then)
        before = everything(folder)
        called = []
        try:
            written = write(folder, "new", lambda: (called.append(1), arrive(late)))
        except InputError as error:
            if not called:
                assert everything(folder) == before
            else:
                is_kept = "the new result is in" in str(error)
                is_no_place = re.search("is a directory|cannot write there", str(error))
                assert is_kept or (name == "checkpoint" and is_no_place)
                if is_kept:
                    kept = Path(str(error).split("the new result is in '")[1].split("'")[0])
                    inside = [kept] if kept.is_file() else list(kept.rglob("a.txt"))
                    assert b"new" in inside[0].read_bytes()
        else:
            assert name == "work" or b"new" in written.read_bytes()
        for path, was in mine.items():
            assert os.path.lexists(path), path
            assert seen(path) == was


@pytest.mark.parametrize("name", ["directory", "several", "single", "checkpoint"])
def test_modes_and_links(tmp_path, name):
    """A file keeps its mode; one that is a link is written through, or the link refused."""
    written = WRITERS[name](tmp_path, "old")
    written.chmod(0o640)
    written.parent.chmod(0o750)
    WRITERS[name](tmp_path, "new")
    assert stat.S_IMODE(written.stat().st_mode) == 0o640
    assert stat.S_IMODE(written.parent.stat().st_mode) == 0o750
    assert b"new" in written.read_bytes()
    real = tmp_path / "real.txt"
    shutil.move(written, real)
    for record in written.parent.glob(".a.txt.*"):
        shutil.move(record, tmp_path / ".real.txt.gtx-bayes")
        text = (tmp_path / ".real.txt.gtx-bayes").read_text().replace("a.txt", "real.txt")
        (tmp_path / ".real.txt.gtx-bayes").write_text(text)
    written.symlink_to(real)
    if name in ("directory", "several"):
        with pytest.raises(InputError, match=r"a\.txt"):
            WRITERS[name](tmp_path, "third")
        assert b"new" in real.read_bytes()
        return
    WRITERS[name](tmp_path, "third")
    assert written.is_symlink()
    assert b"third" in real.read_bytes()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640


def test_a_result_of_an_earlier_version_is_refused(tmp_path):
    """Its record does not say what the files held."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.txt").write_text("old")
    write_summary({"command": "test"}, tmp_path / "out")
    before = everything(tmp_path)
    with pytest.raises(InputError, match=r"an earlier version.* Delete it if nothing in it"):
        directory(tmp_path, "new")
    assert everything(tmp_path) == before
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "manifest.json").write_text('{"format": 1, "run": {}}')
    with pytest.raises(InputError, match="begun by another version"):
        WorkDirectory.begun(tmp_path / "work", {}, resume=False)


def test_a_changed_record_knows_nothing(tmp_path):
    written = directory(tmp_path, "old")
    summary = written.with_name("summary.json")
    record = json.loads(summary.read_text())
    summary.write_text(json.dumps(record))  # laid out otherwise: says the same
    directory(tmp_path, "old")
    summary.write_text(json.dumps({**record, "note": "mine"}))
    with pytest.raises(InputError, match="changed since"):
        directory(tmp_path, "new")
    assert json.loads(summary.read_text())["note"] == "mine"


def test_no_device_is_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(InputError, match="is no regular file"):
        OutputFile(tmp_path / "pipe.csv")


def test_a_checkpoint_is_removed_and_no_other_file(tmp_path):
    path = checkpoint(tmp_path, "new")
    remove_checkpoint(path)
    assert not path.exists()
    path.write_text("mine")
    remove_checkpoint(path)
    assert path.read_text() == "mine"


def test_a_line_without_an_end_is_cut_off_only_if_it_is_ours(tmp_path):
    path = tmp_path / "finetuning.jsonl"
    path.write_text('{"prompt": "mine", "completion": "too"}')
    with pytest.raises(InputError, match="no line of a log of trainings"):
        read_log(path, "c")
    assert "mine" in path.read_text()
    path.write_text('{"configuration": "c", "coh')
    assert read_log(path, "c").records == {}
    assert path.read_text() == ""


# The commands


@pytest.fixture
def tables(tmp_path):
    for name, rows in TABLES.items():
        columns = COLUMNS.get(name, ["task", "label"])
        pd.DataFrame(rows, columns=columns).to_csv(tmp_path / name, index=False)
    (tmp_path / "parts").mkdir()
    table = pd.read_csv(tmp_path / "labels.csv")
    table.to_parquet(tmp_path / "parts" / "0.parquet", index=False)
    return tmp_path


def call(folder, *words):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return CliRunner().invoke(app, [str(word) for word in words])


QUICK = ("--method", "majority-vote")
PLAN = ("plan", "--target-error", "0.2", "--num-examples", "50", "--runs", "2")
COMMANDS = {
    "aggregate": (("aggregate", "labels.csv", *QUICK, "-o"), "out"),
    "streamed": (("aggregate", "parts", *QUICK, "-o"), "out"),
    "work": (("aggregate", "parts", *QUICK, "-o", "out", "--work"), "out.work"),
    "state": (("aggregate", "labels.csv", "-o", "out", "--state"), "fit.state"),
    "diagnose": (("diagnose", "labels.csv", "-o"), "out"),
    "demo": (("demo", "-o"), "out"),
    "next": (("next", "labels.csv", *QUICK, "-o"), "batch.csv"),
    "evaluate": (("evaluate", "probs.csv", "--truth", "truth.csv", "--plots"), "plot.png"),
    "predict": (("predict", "model.safetensors", "images", "-o"), "said.csv"),
    "finetune": (("finetune", "--images", "images", "--labels", "labels.csv", "-o"), "out"),
    "reproduce": (("reproduce", "table1", "--runs", "1", "-o"), "out/table1.json"),
    "plan": ((*PLAN, "-o"), "out/plan.json"),
}


def is_directory(target):
    return target in ("out", "out.work")


@pytest.mark.end_to_end
@pytest.mark.parametrize("command", COMMANDS)
def test_commands_refuse_what_they_did_not_write(tables, command):
    words, target = COMMANDS[command]
    path = tables / target
    path.parent.mkdir(exist_ok=True)
    if is_directory(target):
        path.mkdir()
        (path / "manifest.json").write_text("{}")  # as web pages and data sets have it
        (path / "index.html").write_text("mine")
    else:
        path.write_text("mine")
    before = everything(tables)
    given = target.split("/")[0]
    run = call(tables, *words, given)
    assert run.exit_code == 2, run.output
    assert target.split("/")[-1] in run.stderr
    assert everything(tables) == before


INPUTS = {
    "aggregate": ["labels.csv", "parts"],
    "streamed": ["parts", "parts/out"],
    "work": ["parts", "parts/work"],
    "state": ["labels.csv"],
    "diagnose": ["labels.csv"],
    "next": ["labels.csv"],
    "evaluate": ["probs.csv", "truth.csv"],
    "finetune": ["labels.csv"],
}


@pytest.mark.end_to_end
@pytest.mark.parametrize("command", INPUTS)
def test_commands_refuse_their_inputs(tables, command):
    """By name, through a link, and another name of the same file."""
    words, target = COMMANDS[command]
    ending = Path(target).suffix
    for name in INPUTS[command]:
        (tables / f"link{ending}").unlink(missing_ok=True)
        (tables / f"link{ending}").symlink_to(tables / name)
        before = everything(tables)
        for given in (name, f"./{name}", f"link{ending}"):
            if command == "evaluate" and not given.startswith("link"):
                continue  # no ending of an image
            run = call(tables, *words, given)
            assert run.exit_code == 2, run.output
            assert everything(tables) == before


@pytest.mark.end_to_end
@pytest.mark.parametrize("command", ["aggregate", "streamed", "next", "evaluate"])
def test_commands_repeat_and_keep_what_was_changed(tables, command):
    """The same command twice is well; a file that was changed in between stays."""
    words, target = COMMANDS[command]
    for _ in range(2):
        run = call(tables, *words, target)
        assert run.exit_code == 0, run.output
    written = tables / target
    written = written if written.is_file() else next(written.rglob("*examples*"))
    written = written if written.is_file() else next(written.iterdir())
    written.write_bytes(written.read_bytes() + b"mine")
    before = everything(tables)
    run = call(tables, *words, target)
    assert run.exit_code == 2, run.output
    assert everything(tables) == before


@pytest.mark.end_to_end
@pytest.mark.parametrize("command", ["aggregate", "streamed", "next"])
@pytest.mark.parametrize("is_again", [False, True])
def test_commands_keep_what_comes_late(tables, monkeypatch, command, is_again):
    """A file that somebody puts into the target while the command writes."""
    words, target = COMMANDS[command]
    if is_again:
        assert call(tables, *words, target).exit_code == 0
    late = tables / target / "late.txt" if is_directory(target) else tables / target

    def as_late(write):
        def write_when_late(*given, **more):
            late.parent.mkdir(exist_ok=True)
            late.write_text("mine")
            return write(*given, **more)

        return write_when_late

    monkeypatch.setattr(pd.DataFrame, "to_csv", as_late(pd.DataFrame.to_csv))
    monkeypatch.setattr(pq, "write_table", as_late(pq.write_table))
    run = call(tables, *words, target)
    assert run.exit_code == 2, run.output
    assert late.read_text() == "mine"
    place = Path(run.stderr.split("the new result is in '")[1].split("'")[0])
    assert place.name == ("out.new" if is_directory(target) else "batch.new.csv")
    assert place.is_file() or (place / "summary.json").is_file()
    assert (tables / "out.work").exists() == (command == "streamed")


def test_a_state_that_changed_meanwhile_stays(tmp_path):
    """What another run learnt must not be lost."""
    (tmp_path / "fit.state").write_text("old")
    kept = OutputFile(tmp_path / "fit.state", tells_itself=True)
    with (
        pytest.raises(InputError, match=r"the new result is in '.*fit\.new\.state'"),
        kept.written() as partial,
    ):
        partial.write_text("new")
        (tmp_path / "fit.state").write_text("of another run")
    assert (tmp_path / "fit.state").read_text() == "of another run"
    assert (tmp_path / "fit.new.state").read_text() == "new"


@pytest.mark.end_to_end
def test_work_that_somebody_put_something_into(tables):
    """Refused before a run; what comes while it goes stays, and the directory with it."""
    words, _ = COMMANDS["streamed"]
    (tables / "out.work").mkdir()
    (tables / "out.work" / "manifest.json").write_text('{"manifest_version": 3}')
    before = everything(tables)
    for more in ((), ("--resume",)):
        run = call(tables, *words, "out", *more)
        assert run.exit_code == 2
        assert "'manifest.json', which is no work of gtx-bayes" in run.stderr
        assert everything(tables) == before


def test_scratch_that_came_with_an_archive_is_left_alone(tmp_path):
    """A folder that looks like one of ours in every way but was not made here."""
    written = several(tmp_path, "old")
    crafted = tmp_path / "out" / ".summary.json.abcdefgh.partial"
    with whole_files(tmp_path / "crafted", FILES, "test") as partial:
        (partial / "a.txt").write_text("crafted")
        write_summary({"command": "test"}, partial)
        shutil.copytree(partial.parent, crafted)
    shutil.copytree(tmp_path / "crafted", crafted / "whole")
    before = everything(crafted)
    several(tmp_path, "new")
    assert written.read_text() == "new"
    assert everything(crafted) == before


def test_every_record_of_a_streamed_fit_is_known(tmp_path):
    work = WorkDirectory.begun(tmp_path / "work", {}, resume=False)
    for name in ("models/0-pass.npz", "models/1-automatic.npz", "models/2-looks-shares.npz"):
        work.write_arrays(name, values=[1.0])
    assert WorkDirectory.begun(tmp_path / "work", {}, resume=True).clear()
