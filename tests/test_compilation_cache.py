"""The command line's compilation cache: where, how large, and that nothing depends on it."""

import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pandas as pd
import pytest

from gtx_bayes.cli import compilation_cache
from gtx_bayes.cli.compilation_cache import DIRECTORY, SWITCH, compilation_cached
from tests.test_aggregation import FRAME, GOLD

PROGRAM = Path(sys.executable).with_name("gtx-bayes")


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """The environment of a command, with caches in a folder of the test."""
    found = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    found["XDG_CACHE_HOME"] = str(tmp_path / "caches")
    monkeypatch.setattr(os, "environ", found)
    return found


def damaged(program, doing="reading"):
    """What JAX says of an entry that it cannot read or write."""
    message = f"Error {doing} persistent compilation cache entry for '{program}': error: cut short"
    warnings.warn(message, stacklevel=1)


class TestWhere:
    def test_in_the_users_cache_directory(self, environment, tmp_path):
        with compilation_cached():
            directory = Path(environment[DIRECTORY])
        assert directory.is_relative_to(tmp_path / "caches" / "gtx_bayes")
        assert directory.stat().st_mode & 0o777 == 0o700
        with compilation_cached():  # the same for the next command
            assert environment[DIRECTORY] == str(directory)

    def test_where_the_user_says(self, environment):
        environment |= {DIRECTORY: "/elsewhere", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "5"}
        said = dict(environment)
        with compilation_cached():
            assert environment.items() >= said.items()
        assert not Path(environment["XDG_CACHE_HOME"]).exists()

    @pytest.mark.parametrize("switch", ["0", "False", "off"])
    def test_nowhere_if_switched_off(self, environment, switch):
        environment[SWITCH] = switch
        with compilation_cached():
            assert DIRECTORY not in environment
        assert not Path(environment["XDG_CACHE_HOME"]).exists()

    @pytest.mark.parametrize("hindrance", ["a file", "others"])
    def test_nowhere_if_it_cannot_be_or_is_not_safe(self, environment, capsys, hindrance):
        root = Path(environment["XDG_CACHE_HOME"])
        if hindrance == "a file":
            root.write_text("in the way")
        else:  # what others put there would be run
            with compilation_cached():
                Path(environment.pop(DIRECTORY)).chmod(0o777)
        with compilation_cached():
            assert DIRECTORY not in environment
        assert re.fullmatch(r"Note: no compilation cache \(.*\n", capsys.readouterr().err)

    def test_importing_the_program_changes_no_setting(self):
        code = "import os; was = {**os.environ}; import gtx_bayes.cli.app; assert os.environ == was"
        subprocess.run([sys.executable, "-c", code], check=True)


class TestEntries:
    def test_what_cannot_be_read_is_removed_without_a_word(self, environment, capsys):
        with compilation_cached():
            directory = Path(environment[DIRECTORY])
            for name in ("jit_f-1a-cache", "jit_f-2b-cache", "jit_g-3c-cache"):
                (directory / name).write_bytes(b"half")
            damaged("jit_f")
        assert [path.name for path in directory.iterdir()] == ["jit_g-3c-cache"]
        assert capsys.readouterr().err == ""

    def test_what_cannot_be_written_is_said_once(self, environment, capsys):
        with compilation_cached():
            damaged("jit_f", "writing")
            damaged("jit_g", "writing")
        assert capsys.readouterr().err.count("cut short") == 1

    def test_other_warnings_are_shown(self, environment):
        with pytest.warns(UserWarning, match="of something else"), compilation_cached():
            warnings.warn("of something else", stacklevel=1)

    def test_those_not_used_for_longest_go(self, environment, monkeypatch):
        monkeypatch.setattr(compilation_cache, "MOST_BYTES", 250)
        with compilation_cached():
            directory = Path(environment[DIRECTORY])
            for age, name in enumerate(("new-cache", "old-cache", "older-cache")):
                (directory / name).write_bytes(bytes(100))
                os.utime(directory / name, (1e9 - age, 1e9 - age))
            elsewhere = directory.parent / "another-machine"
            elsewhere.mkdir()
            (elsewhere / "oldest-cache").write_bytes(bytes(100))
            os.utime(elsewhere / "oldest-cache", (1.0, 1.0))
        assert {path.name for path in directory.parent.rglob("*-cache")} == {
            "new-cache",
            "old-cache",
        }


def run_of(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, check=True, **options)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A folder with tables, the command on them, its environment, and its first run."""
    folder = tmp_path_factory.mktemp("kept")
    FRAME.to_csv(folder / "labels.csv", index=False)
    GOLD.to_csv(folder / "gold.csv", index=False)
    words = ["aggregate", "labels.csv", "--gold", "gold.csv", "--method", "soft-vote"]
    words = [*words, "--output", "out"]
    environment = {n: value for n, value in os.environ.items() if not n.startswith("JAX_")}
    options = {"cwd": folder, "env": environment | {"XDG_CACHE_HOME": str(folder / "caches")}}
    run_of(PROGRAM, *words, **options)
    return words, options, pd.read_csv(folder / "out" / "examples.csv")


@pytest.mark.end_to_end
class TestProgram:
    def test_an_entry_cut_short_is_compiled_and_cached_anew_and_no_other(self, kept):
        words, options, examples = kept
        entries = sorted((options["cwd"] / "caches").rglob("*-cache"))
        (cut,) = (path for path in entries if path.name.startswith("jit__decide-"))
        written = {path: path.stat().st_mtime_ns for path in entries}
        size = cut.stat().st_size
        os.truncate(cut, size // 2)
        run = run_of(PROGRAM, *words, **options)
        assert "cache" not in run.stderr
        assert cut.stat().st_size > size // 2
        assert sorted((options["cwd"] / "caches").rglob("*-cache")) == entries
        assert [path for path in entries if path.stat().st_mtime_ns != written[path]] == [cut]
        pd.testing.assert_frame_equal(
            pd.read_csv(options["cwd"] / "out" / "examples.csv"), examples
        )

    def test_several_at_once(self, kept, tmp_path):
        """All with nothing cached, so that they write the same entries."""
        words, options, _ = kept
        environment = options["env"] | {"XDG_CACHE_HOME": str(tmp_path)}
        commands = [[PROGRAM, *words[:-1], str(tmp_path / f"out{i}")] for i in range(2)]
        runs = [
            subprocess.Popen(
                command, cwd=options["cwd"], env=environment, stderr=subprocess.PIPE, text=True
            )
            for command in commands
        ]
        errors = [run.communicate()[1] for run in runs]
        assert [run.returncode for run in runs] == [0, 0]
        assert not any("cache" in error for error in errors)
        assert list(tmp_path.rglob("*-cache"))
