"""Signals at every moment: results are absent, old and whole, or new and whole."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

import gtx_bayes.scratch
from gtx_bayes.cli.signals import Stopped, stoppable
from gtx_bayes.io.writers import whole_file
from tests.outputs import directory, plain, several
from tests.test_aggregation import FRAME, GOLD

PROGRAM = Path(sys.executable).with_name("gtx-bayes")
HERE = {**os.environ, "PYTHONPATH": str(Path(gtx_bayes.scratch.__file__).parents[1])}

# Shells without job control start programs with SIGINT ignored, and nohup with SIGHUP.
START = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); "
    "signal.signal(signal.SIGHUP, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
)


def contents(folder):
    """What is there, by name; an empty directory counts for nothing."""
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@contextlib.contextmanager
def at_line(number, act):
    """Act before a line of the code that writes, the number-th to be run; yields what was run."""
    run, files = [0], ("scratch.py", "writers.py")

    def trace(frame, event, _):
        if not frame.f_code.co_filename.endswith(files):
            return None
        if event == "line":
            run[0] += 1
            if run[0] == number:
                act()
        return trace

    sys.settrace(trace)
    try:
        yield run
    finally:
        sys.settrace(None)


@pytest.mark.parametrize("write", [directory, several, plain])
@pytest.mark.parametrize("is_old", [False, True])
@pytest.mark.parametrize("step", [23, pytest.param(1, marks=pytest.mark.slow)])
def test_at_many_lines(tmp_path, write, is_old, step):
    """A signal before every so many lines run; afterwards a run that is not disturbed."""
    folder = tmp_path / "plain"
    write(folder, "new")
    new = contents(folder)
    number, is_through = 0, False
    while not is_through:
        number += step
        folder = tmp_path / str(number)
        folder.mkdir()
        old = {}
        if is_old:
            write(folder, "old")
            old = contents(folder)
        is_through = False
        with contextlib.suppress(Stopped):
            with stoppable(), at_line(number, lambda: signal.raise_signal(signal.SIGTERM)) as run:
                write(folder, "new")
            is_through = run[0] < number
            assert is_through
        assert contents(folder) in (old, new)
        assert not list(folder.rglob(".*"))
        write(folder, "new")
        assert contents(folder) == new
    assert number > 40


@pytest.mark.parametrize("step", [17, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_at_many_lines(tmp_path, step):
    """SIGKILL cannot be answered: the next run to the same target clears up, killed or not."""
    code = textwrap.dedent(
        """
        import contextlib, json, os, signal, sys
        from pathlib import Path
        from gtx_bayes.io.writers import OutputDirectory, whole_files
        from tests.outputs import FILES as files, directory, several

        top = Path(sys.argv[1])

        def looked_at(write, folder):
            if write is directory:
                OutputDirectory(folder / "out", "test", (*files, "t.parquet"))
                return
            with contextlib.suppress(LookupError), whole_files(folder / "out", files, "test"):
                raise LookupError

        def seen(folder):
            found = {n: folder / "out" / n for n in files}
            texts = {n: path.read_text() for n, path in found.items() if path.exists()}
            return {n: json.loads(t)["text"] if n != "a.txt" else t for n, t in texts.items()}

        def killed(number, work):
            def trace(frame, event, _, run=[0]):
                if event == "line" and frame.f_code.co_filename.endswith("scratch.py"):
                    run[0] += 1
                    if run[0] == number:
                        os.kill(os.getpid(), signal.SIGKILL)
                return trace
            child = os.fork()
            if child == 0:
                sys.settrace(trace)
                work()
                os._exit(0)
            return os.waitpid(child, 0)[1] == signal.SIGKILL

        old, new = dict.fromkeys(files, "old"), dict.fromkeys(files, "new")
        for write in (directory, several):
            for before in ({}, old):
                number, more = 0, True
                while more:
                    number += int(sys.argv[2])
                    folder = top / f"{write.__name__} {bool(before)} {number}"
                    folder.mkdir()
                    if before:
                        write(folder, "old")
                    more = killed(number, lambda: write(folder, "new"))
                    now = seen(folder)
                    # Not whole for a moment: then what speaks for the files is not there.
                    assert now in (before, new) or "summary.json" not in now, (folder, now)
                    again = killed(number, lambda: looked_at(write, folder))
                    looked_at(write, folder)
                    assert seen(folder) in (before, new), (folder, again, seen(folder))
                    assert not list(folder.rglob(".*")), folder
                assert number > 40, number
        print("through")
        """
    )
    run = subprocess.run(
        [sys.executable, "-c", code, tmp_path, str(step)], env=HERE, capture_output=True, text=True
    )
    assert run.stdout == "through\n", run.stderr


def test_scratch_of_a_living_run_stays(tmp_path):
    with whole_file(tmp_path / "a.txt") as partial:
        plain(tmp_path, "of another")
        with whole_file(tmp_path / "a.txt") as other:
            other.write_text("second")
        partial.write_text("first")
    assert contents(tmp_path) == {"a.txt": "first", "out/a.txt": "of another"}


def test_what_looks_like_scratch_stays(tmp_path):
    """Only a folder of the very name, and with nothing else in it, was left by a run."""
    mine = [".a.txt.abcdefgh.partial/mine", ".a.txt.x.abcdefgh.partial/new", ".a.txt.partial/new"]
    for name in mine:
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    with whole_file(tmp_path / "a.txt") as partial:
        partial.touch()
    assert all((tmp_path / name).exists() for name in mine)


def test_an_ignored_signal_stays_ignored():
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stoppable():
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    "busy",
    [
        # Python answers no signal inside of one long step; a checksum stands for XLA here.
        "hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)",
        # JAX asks to be called by Python's collector, where exceptions are printed and forgotten.
        "Deaf(); time.sleep(600)",
    ],
)
def test_ends_where_nothing_can_be_raised(tmp_path, busy):
    code = f"""
import hashlib, signal, sys, time
from pathlib import Path
from gtx_bayes.cli import signals
from gtx_bayes.scratch import scratch_for

class Deaf:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)

signals._PATIENCE = 0.2
with signals.stoppable(), scratch_for(Path(sys.argv[1]) / "out"):
    print("busy", flush=True)
    {busy}
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path],
        env=HERE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "busy\n"
    if "Deaf" not in busy:
        begun = seconds_used(process)
        while process.poll() is None and seconds_used(process) < begun + 0.2:
            time.sleep(0.01)
        process.terminate()  # by now inside of the step
    said = process.communicate(timeout=600)[1]
    assert said == "Error: interrupted by SIGTERM; no result is half-written.\n"
    assert process.returncode == 143
    assert not list(tmp_path.iterdir())


def test_other_threads_write_undisturbed(tmp_path):
    """Python sets signal handlers in the main thread alone."""
    thread = threading.Thread(target=plain, args=(tmp_path, "there"))
    thread.start()
    thread.join()
    assert contents(tmp_path) == {"out/a.txt": "there"}


def seconds_used(process):
    """Of the processor, as Linux counts them."""
    state = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(state[11]) + int(state[12])) / os.sysconf("SC_CLK_TCK")


def is_heeded(process):
    """Whether the program answers signals: SIGHUP is one that Python itself does not catch."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (signal.SIGHUP - 1) & 1)


@pytest.fixture
def tables(tmp_path):
    FRAME.to_csv(tmp_path / "labels.csv", index=False)
    GOLD.to_csv(tmp_path / "gold.csv", index=False)
    return tmp_path


@pytest.mark.end_to_end
@pytest.mark.parametrize(
    ("number", "code", "moment"),
    [
        (signal.SIGHUP, 129, "begins"),
        (signal.SIGTERM, 143, "writes"),
    ],
)
def test_of_the_program(tables, number, code, moment):
    words = ["aggregate", "labels.csv", "--method", "majority-vote", "--plots", "-o", "out"]
    process = subprocess.Popen(
        [sys.executable, "-c", START, PROGRAM, *words],
        env=HERE,
        cwd=tables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    is_time = {
        "begins": lambda: is_heeded(process),
        "writes": lambda: any(tables.rglob(".*.partial")),
    }
    while process.poll() is None and not is_time[moment]():
        time.sleep(0.002)
    process.send_signal(number)
    said = process.communicate(timeout=600)[1]
    assert said == f"Error: interrupted by {number.name}; no result is half-written.\n"
    assert process.returncode == code
    assert sorted(path.name for path in tables.iterdir()) == ["gold.csv", "labels.csv"]
