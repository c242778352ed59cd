"""The command line's compilation cache: where, how large, and that nothing depends on it."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import jax
import pandas as pd
import pytest

from gtx_bayes.cli import compilation_cache
from gtx_bayes.cli.compilation_cache import DIRECTORY, turn_on
from tests.test_aggregation import FRAME
from tests.test_cli import call

PROGRAM = Path(sys.executable).with_name("gtx-bayes")


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """The environment of a command, with caches in a folder of the test."""
    found = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    found["XDG_CACHE_HOME"] = str(tmp_path / "caches")
    monkeypatch.setattr(os, "environ", found)
    monkeypatch.setattr("atexit.register", lambda *_: None)
    with warnings.catch_warnings():
        yield found


@pytest.mark.parametrize(
    ("words", "few", "is_quick"),
    [((), 20_000, True), ((), 1, False), (("--draws", "5"), 20_000, False)],
)
def test_few_answers_are_compiled_for_quickly(tmp_path, monkeypatch, words, few, is_quick):
    """Not what draws samples, nor against the user's word."""
    monkeypatch.delenv(compilation_cache.QUICK, raising=False)
    monkeypatch.setattr(compilation_cache, "FEW_ANSWERS", few)
    jax.config.update("jax_disable_most_optimizations", False)
    FRAME.to_csv(tmp_path / "labels.csv", index=False)
    options = ("--method", "gtx-bayes" if words else "majority-vote", *words)
    options += ("--model", "one-coin", "--dependence", "none") if words else ()
    call("aggregate", tmp_path / "labels.csv", *options, "-o", tmp_path / "out")
    assert jax.config.values["jax_disable_most_optimizations"] is is_quick
    monkeypatch.setenv(compilation_cache.QUICK, "0")
    jax.config.update("jax_disable_most_optimizations", False)
    compilation_cache.compile_quickly(1)
    assert not jax.config.values["jax_disable_most_optimizations"]


class TestWhere:
    def test_in_the_users_cache_directory(self, environment, tmp_path):
        turn_on()
        directory = Path(environment[DIRECTORY])
        assert directory.is_relative_to(tmp_path / "caches" / "gtx_bayes")
        assert directory.stat().st_mode & 0o777 == 0o700
        turn_on()  # the same for the next command
        assert environment[DIRECTORY] == str(directory)

    def test_where_the_user_says(self, environment):
        environment |= {DIRECTORY: "/elsewhere", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "5"}
        said = dict(environment)
        turn_on()
        assert environment.items() >= said.items()
        assert not Path(environment["XDG_CACHE_HOME"]).exists()

    @pytest.mark.parametrize("hindrance", ["a file", "others"])
    def test_nowhere_if_it_cannot_be_or_is_not_safe(self, environment, hindrance):
        root = Path(environment["XDG_CACHE_HOME"])
        if hindrance == "a file":
            root.write_text("in the way")
        else:  # what others put there would be run
            turn_on()
            Path(environment.pop(DIRECTORY)).chmod(0o777)
        turn_on()
        assert DIRECTORY not in environment

    def test_importing_the_program_changes_no_setting(self):
        code = "import os; was = {**os.environ}; import gtx_bayes.cli.app; assert os.environ == was"
        subprocess.run([sys.executable, "-c", code], check=True)


class TestEntries:
    def test_what_fails_is_removed_without_a_word(self, environment, capsys):
        turn_on()
        directory = Path(environment[DIRECTORY])
        for name in ("jit_f-1a-cache", "jit_f-2b-cache", "jit_g-3c-cache"):
            (directory / name).write_bytes(b"half")
        message = "Error reading persistent compilation cache entry for 'jit_f': error: cut short"
        warnings.warn(message, stacklevel=1)
        assert [path.name for path in directory.iterdir()] == ["jit_g-3c-cache"]
        assert capsys.readouterr().err == ""

    def test_other_warnings_are_shown(self, environment):
        def warn():
            turn_on()
            warnings.warn("of something else", stacklevel=1)

        with pytest.warns(UserWarning, match="of something else"):
            warn()

    def test_those_not_used_for_longest_go(self, tmp_path, monkeypatch):
        monkeypatch.setattr(compilation_cache, "MOST_BYTES", 250)
        names = ("one/new-cache", "one/old-cache", "one/older-cache", "another/oldest-cache")
        for age, name in enumerate(names):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(bytes(100))
            os.utime(tmp_path / name, (1e9 - age, 1e9 - age))
        compilation_cache._trim(tmp_path)
        assert {path.name for path in tmp_path.rglob("*-cache")} == {"new-cache", "old-cache"}


@pytest.mark.slow
@pytest.mark.end_to_end
def test_an_entry_cut_short_is_compiled_and_cached_anew_and_no_other(tmp_path):
    """The warning is JAX's own: another version may word it differently."""
    FRAME.to_csv(tmp_path / "labels.csv", index=False)
    caches = tmp_path / "caches"
    environment = {n: value for n, value in os.environ.items() if not n.startswith("JAX_")}
    environment["XDG_CACHE_HOME"] = str(caches)
    words = [PROGRAM, "aggregate", "labels.csv", "--method", "majority-vote", "-o", "out"]

    def run():
        options = {"cwd": tmp_path, "env": environment, "check": True}
        found = subprocess.run(words, capture_output=True, text=True, **options)
        assert "cache" not in found.stderr
        return pd.read_csv(tmp_path / "out" / "examples.csv")

    examples = run()
    entries = sorted(caches.rglob("*-cache"))
    (cut,) = (path for path in entries if path.name.startswith("jit_clamped_class_probs-"))
    written = {path: path.stat().st_mtime_ns for path in entries}
    size = cut.stat().st_size
    os.truncate(cut, size // 2)
    pd.testing.assert_frame_equal(run(), examples)
    assert cut.stat().st_size > size // 2
    assert sorted(caches.rglob("*-cache")) == entries
    assert [path for path in entries if path.stat().st_mtime_ns != written[path]] == [cut]
