import gc
import importlib.util
import itertools
import os
from pathlib import Path

import hypothesis
import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpyro
import pytest

mpl.use("agg")
numpyro.set_host_device_count(4)  # one per chain: before JAX looks for devices
gc.set_threshold(100_000, 20, 20)  # as the program has it: most objects of tracing stay

hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=20)
hypothesis.settings.register_profile(  # of `make test-slow`: other examples every time
    "thorough", derandomize=False, deadline=None, max_examples=300, print_blob=True
)
hypothesis.settings.load_profile("repeatable")


MAPPINGS = Path("/proc/self/maps")
MOST_MAPPINGS = 65_530  # that Linux allows a process; each compiled program takes some twenty
LOOKED_EVERY = 8  # tests: to count the mappings takes a hundredth of a second

IS_QUICK = os.environ.get("JAX_DISABLE_MOST_OPTIMIZATIONS") == "1"  # see the Makefile

_num_tests = itertools.count(1)


@pytest.fixture
def key():
    return jax.random.key(20241210)


def _compiles_quickly(whether):
    """Leave LLVM's passes out of what is compiled from now on, or not."""
    jax.config.update("jax_disable_most_optimizations", whether)


@pytest.fixture(autouse=True)
def _kernels_are_optimised(request):
    """As users have them, also where the other tests are compiled quickly, and after commands."""
    before = jax.config.values["jax_disable_most_optimizations"]
    if request.node.get_closest_marker("optimised"):
        _compiles_quickly(False)
    yield
    _compiles_quickly(before)


@pytest.fixture
def compile_fast():
    """Samplers take longer to compile well than to run in tests."""
    _compiles_quickly(True)
    yield
    _compiles_quickly(IS_QUICK)


@pytest.fixture
def rtol():
    """A few roundings of the default float type."""
    return 20 * float(jnp.finfo(jnp.zeros(()).dtype).eps)


@pytest.fixture(scope="session")
def data_folder():
    """The folder of real data, or a skip where it is absent."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("GTX_BAYES_TEST_DATA", beside))
    if not folder.is_dir():
        pytest.skip("no real data: set GTX_BAYES_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def worlds():
    """The module that simulates crowds whose truth is known, or a skip where it is absent."""
    beside = Path(__file__).parents[2] / "shared" / "worlds"
    file = Path(os.environ.get("GTX_BAYES_TEST_WORLDS", beside)) / "worlds.py"
    if not file.is_file():
        pytest.skip("no worlds: set GTX_BAYES_TEST_WORLDS")
    spec = importlib.util.spec_from_file_location("worlds", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pytest_collection_finish():
    """What was imported and collected is no garbage."""
    gc.freeze()


def pytest_runtest_teardown(item):
    """Let compiled programs go before their mappings of memory run out: then XLA crashes."""
    is_slow = item.get_closest_marker("slow") is not None  # and may compile a thousand
    if (next(_num_tests) % LOOKED_EVERY and not is_slow) or not MAPPINGS.exists():
        return
    share = 0.3 if is_slow else 0.7
    if MAPPINGS.read_bytes().count(b"\n") > share * MOST_MAPPINGS:
        jax.clear_caches()
        gc.collect()


def pytest_collection_modifyitems(items):
    if jax.default_backend() == "cpu":
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs an accelerator"))
