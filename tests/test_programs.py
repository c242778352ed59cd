"""Programs that are kept do what `jax.jit` does, and are not traced again."""

import dataclasses
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gtx_bayes import program_store, programs
from gtx_bayes.program_store import SUFFIX, Store
from gtx_bayes.programs import key_of, program, split_seed


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Pair:
    """A tree with a part that is static."""

    left: jax.Array
    right: jax.Array | None
    factor: int = dataclasses.field(metadata={"static": True})


@pytest.fixture
def store(tmp_path):
    """A store that programs are kept in during the test."""
    found = Store(tmp_path, [])
    program_store.keep_in(found)
    yield tmp_path
    program_store.keep_in(None)


def kept_in(folder):
    return sorted(path for path in folder.iterdir() if path.name.endswith(SUFFIX))


def new_program():
    """As in a new process: nothing loaded. Appends to the list when it is traced."""
    traces = []

    @program(static_argnames=("num",))
    def work(key, pair, exponent=2, *, num=3):
        traces.append(num)
        noise = jax.random.normal(jax.random.split(key, num)[-1], pair.left.shape)
        own = pair.left**exponent * pair.factor + noise
        return dataclasses.replace(pair, left=own), {"num": num, "key": key}

    return work, traces


def check(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert one.dtype == other.dtype
        assert one.aval.weak_type == other.aval.weak_type
    as_numbers = jax.tree.map(
        lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x,
        (found, expected),
    )
    jax.tree.map(np.testing.assert_array_equal, *as_numbers)


class TestKept:
    def test_equals_jit_and_is_traced_once(self, store, key):
        pair = Pair(jnp.arange(3.0), None, 5)
        plain, _ = new_program()
        program_store.keep_in(None)
        expected = plain(key, pair)
        program_store.keep_in(Store(store, []))
        for times_traced in (1, 0):  # the second one, as in another process, reads it
            work, traces = new_program()
            for _ in range(2):
                check(work(key, pair), expected)
            assert len(traces) == times_traced
        assert len(kept_in(store)) == 1

    @pytest.mark.parametrize(
        "change",
        [
            lambda key, pair: ((key, dataclasses.replace(pair, left=jnp.arange(4.0))), {}),
            lambda key, pair: ((key, dataclasses.replace(pair, factor=6)), {}),
            lambda key, pair: ((key, dataclasses.replace(pair, right=jnp.ones(1))), {}),
            lambda key, pair: ((key, pair), {"num": 4}),
            lambda key, pair: ((key, pair, 2.0), {}),
            lambda key, pair: ((key, pair, np.int32(2)), {}),  # not weak, as a Python number is
        ],
        ids=["shape", "static part", "structure", "static argument", "type", "weakness"],
    )
    def test_another_program_for(self, change, store, key):
        pair = Pair(jnp.arange(3.0), None, 5)
        work, _ = new_program()
        work(key, pair)
        args, kwargs = change(key, pair)
        found = work(*args, **kwargs)
        assert len(kept_in(store)) == 2
        program_store.keep_in(None)
        check(found, work(*args, **kwargs))

    def test_other_values_need_none(self, store, key):
        work, traces = new_program()
        for exponent in (2, 3):
            work(jax.random.fold_in(key, exponent), Pair(jnp.arange(3.0), None, 5), exponent)
        assert len(traces) == len(kept_in(store)) == 1

    def test_within_compiled_functions_and_on_other_devices(self, store):
        @program
        def square(x):
            return x * x

        x = jnp.arange(3.0)
        np.testing.assert_array_equal(jax.jit(square)(x), x * x)
        np.testing.assert_array_equal(jax.vmap(square)(x), x * x)
        np.testing.assert_array_equal(jax.vmap(jax.grad(square))(x), 2 * x)
        elsewhere = jax.device_put(x, jax.local_devices()[-1])
        assert square(elsewhere).devices() == elsewhere.devices()
        assert kept_in(store) == []

    def test_what_is_kept_is_whole_where_jax_keeps_programs_too(self, store, tmp_path):
        """JAX gives back programs that run, but that lack functions when written again."""
        work, _ = new_program()
        jax.config.update("jax_compilation_cache_dir", str(tmp_path / "of_jax"))
        try:
            for _ in range(2):
                pair, _ = work(jax.random.key(0), Pair(jnp.arange(3.0), None, 5))
                for path in kept_in(store):
                    path.unlink()
                jax.clear_caches()
                work, _ = new_program()
            work(jax.random.key(0), Pair(jnp.arange(3.0), None, 5))
            again, traces = new_program()
            np.testing.assert_array_equal(
                again(jax.random.key(0), Pair(jnp.arange(3.0), None, 5))[0].left, pair.left
            )
            assert traces == []
        finally:
            jax.config.update("jax_compilation_cache_dir", None)

    def test_a_setting_of_the_process(self, store, key):
        pair = Pair(jnp.arange(3.0), None, 5)
        square = np.asarray(2, pair.left.dtype)
        work, _ = new_program()
        work(key, pair, square)
        for setting in (
            jax.default_matmul_precision("highest"),
            jax.numpy_dtype_promotion("strict"),
        ):
            before = len(kept_in(store))
            with setting:
                work(key, pair, square)
            assert len(kept_in(store)) == before + 1

    def test_what_does_not_load_is_made_anew(self, store, key):
        """Whole, but of another build of JAX, say."""
        pair = Pair(jnp.arange(3.0), None, 5)
        work, _ = new_program()
        work(key, pair)
        (path,) = kept_in(store)
        name, size = path.name.removesuffix(SUFFIX), path.stat().st_size
        Store(store, []).write(name, pickle.dumps(("no executable", None, None, 0)))
        work, traces = new_program()
        work(key, pair)
        assert traces
        assert path.stat().st_size == pytest.approx(size, rel=0.1)


class TestSurroundings:
    """What would change a program and no argument shows."""

    @pytest.fixture
    def surroundings(self):
        def found():
            programs._surroundings.cache_clear()
            programs._code.cache_clear()
            return programs._surroundings()

        yield found
        found()

    def test_same_in_another_process(self, surroundings):
        environment = {n: v for n, v in os.environ.items() if not n.startswith("XLA_")}
        code = "from gtx_bayes import programs; print(programs._surroundings())"
        said = {
            subprocess.run(
                [sys.executable, "-c", code],
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            for _ in range(2)
        }
        assert len(said) == 1

    def test_code_that_says_something_else(self, surroundings, tmp_path, monkeypatch):
        """Not when it was written: a file of the same size and time counts."""
        before = surroundings()
        copy = tmp_path / "gtx_bayes"
        shutil.copytree(Path(programs.__file__).parent, copy)
        monkeypatch.setattr(programs, "__file__", str(copy / "programs.py"))
        assert surroundings() == before
        changed = copy / "metrics.py"
        text, stamp = changed.read_bytes(), changed.stat()
        changed.write_bytes(text.replace(b"15", b"16", 1))
        os.utime(changed, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        assert changed.stat().st_size == stamp.st_size
        assert surroundings() != before

    def test_variables_of_the_environment(self, surroundings, monkeypatch):
        before = surroundings()
        monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
        assert surroundings() != before
        monkeypatch.undo()
        monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/elsewhere")
        assert surroundings() == before

    def test_versions(self, surroundings, monkeypatch):
        before = surroundings()
        monkeypatch.setattr("importlib.metadata.version", lambda name: "0")
        assert surroundings() != before


class TestStore:
    @pytest.mark.parametrize("size", [0, 3, 4, 100])
    def test_a_program_cut_short_is_made_anew(self, size, store, key):
        pair = Pair(jnp.arange(3.0), None, 5)
        work, _ = new_program()
        work(key, pair)
        (path,) = kept_in(store)
        whole = path.read_bytes()
        path.write_bytes(whole[:size])
        work, traces = new_program()
        work(key, pair)
        assert traces
        assert path.stat().st_size > 100

    def test_damage_is_seen(self, tmp_path):
        store = Store(tmp_path, [])
        store.write("f", b"program")
        assert store.read("f") == b"program"
        (path,) = kept_in(tmp_path)
        path.write_bytes(path.read_bytes().replace(b"pro", b"con"))
        assert store.read("f") is None

    def test_a_stop_leaves_nothing(self, tmp_path, monkeypatch):
        def stop(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(Path, "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            Store(tmp_path, []).write("f", b"program")
        assert list(tmp_path.iterdir()) == []

    def test_without_a_place_to_write_programs_run_all_the_same(self, tmp_path, key):
        failures = []
        program_store.keep_in(Store(tmp_path / "nowhere", failures))
        try:
            work, _ = new_program()
            found, _ = work(key, Pair(jnp.zeros(3), None, 5))
        finally:
            program_store.keep_in(None)
        assert found.left.shape == (3,)
        assert len(failures) == 1
        assert "nowhere" in failures[0]


@pytest.mark.parametrize("seed", [0, 7, 2**32 - 1])
def test_keys_of_a_seed(seed):
    found = jnp.stack([jax.random.key_data(key) for key in split_seed(np.uint32(seed), 3)])
    key = jax.random.key(seed)
    np.testing.assert_array_equal(found, jax.random.key_data(jax.random.split(key, 3)))
    assert key_of(np.uint32(seed)) == key
