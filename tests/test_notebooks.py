"""Every notebook runs from top to bottom, and is kept with what it showed."""

import os
import re
import warnings

import jax
import jaxtyping
import matplotlib.pyplot as plt
import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from jax.experimental.compilation_cache import compilation_cache

from tests import notebooks

NOTEBOOKS = sorted(notebooks.FOLDER.glob("*.ipynb"))


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


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs(path, shell):
    for cell in notebooks.code_of(nbformat.read(path, as_version=4)):
        shell.run_cell(cell.source, store_history=True).raise_error()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_holds_what_it_showed(path):
    """Every cell was run, in order and without error, by the code that stands there."""
    notebook = nbformat.read(path, as_version=4)
    cells = notebooks.code_of(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert notebook.metadata["gtx_bayes"]["code"] == notebooks.signature(notebook), (
        f"its outputs are older than its code: make notebooks NAMES={path.stem}"
    )
    assert path.stat().st_size <= notebooks.MOST_BYTES
    outputs = [output for cell in cells for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    for output in outputs:
        assert output.output_type != "error"
        assert output.get("name") != "stderr"
        text = output.get("text", output.get("data", {}).get("text/plain", ""))
        assert "Warning" not in text
        assert not re.search(r"/(tmp|work|home|root|Users)/", text)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_starts_anywhere(path):
    """The first code cell installs the package where it is missing, with the extra it needs."""
    notebook = nbformat.read(path, as_version=4)
    first = notebooks.code_of(notebook)[0].source
    needed = "gtx_bayes[finetune]" if "finetun" in path.stem else "gtx_bayes"
    assert re.search(rf"%pip install --quiet \"?{re.escape(needed)}\"?$", first)
    assert notebook.cells[0].cell_type == "markdown"


def test_there_are_notebooks():
    assert NOTEBOOKS
