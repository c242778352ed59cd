"""Every notebook runs from top to bottom, and is kept without outputs."""

import os
import warnings
from pathlib import Path

import jax
import jaxtyping
import matplotlib.pyplot as plt
import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from jax.experimental.compilation_cache import compilation_cache

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def code_of(path):
    notebook = nbformat.read(path, as_version=4)
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """IPython in this process, which compiles nothing anew that other tests compiled before.

    Types are not checked, as they are not for users, who may pass arrays of NumPy.
    """
    found = InteractiveShell(ipython_dir=str(tmp_path))
    found.init_builtins()
    monkeypatch.setattr(os, "environ", {**os.environ})
    monkeypatch.chdir(tmp_path)
    cache = jax.config.jax_compilation_cache_dir
    jaxtyping.config.update("jaxtyping_disable", True)
    with found.builtin_trap, found.display_trap, warnings.catch_warnings():
        warnings.simplefilter("default")
        yield found
    jaxtyping.config.update("jaxtyping_disable", False)
    plt.close("all")
    if jax.config.jax_compilation_cache_dir != cache:
        jax.config.update("jax_compilation_cache_dir", cache)
        compilation_cache.reset_cache()


@pytest.mark.end_to_end
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs(path, shell):
    for cell in code_of(path):
        shell.run_cell(cell.source, store_history=True).raise_error()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_holds_no_outputs(path):
    cells = code_of(path)
    assert cells
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)


def test_there_are_notebooks():
    assert NOTEBOOKS
