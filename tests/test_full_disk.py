"""Every writer on a disk that fills: the target and the hint are named, and what was there stays.

The limit of the size of a file stands for the disk: it can be set at any byte, in this process.
"""

import contextlib
import errno
import resource
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.figure import Figure

from gtx_bayes.diagnostics.to_arviz import write_netcdf
from gtx_bayes.finetune.checkpoint import write_checkpoint
from gtx_bayes.io.archives import write_archive
from gtx_bayes.io.writers import (
    OutputDirectory,
    whole_file,
    whole_files,
    write_summary,
    write_table,
)

TABLE = pd.DataFrame({"task": np.arange(3000), "label": "yes"})


@contextlib.contextmanager
def files_up_to(size):
    """Let no file grow beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def table(ending):
    return lambda path: write_table(TABLE, path / f"table{ending}")


def netcdf(path):
    tree = xr.DataTree(xr.Dataset({"x": ("n", np.random.default_rng(0).normal(size=3000))}))
    with whole_file(path / "draws.nc") as partial:
        write_netcdf(tree, partial)


def png(path):
    figure = Figure()
    figure.subplots().plot(np.random.default_rng(0).normal(size=300))
    with whole_file(path / "plot.png") as partial:
        figure.savefig(partial, dpi=150)


def state(path):
    write_archive(path / "fit.npz", "state", 1, {}, {"x": np.zeros(3000)})


def checkpoint(path):
    write_checkpoint(path / "training.safetensors", {"w": np.zeros(3000)}, {"fingerprint": "x"})


def directory(path):
    with OutputDirectory(path / "out", "test", ("table.csv", "summary.json")) as output:
        TABLE.to_csv(output.path / "table.csv", index=False)
        write_summary({"command": "test"}, output.path)


def files(path):
    with whole_files(path / "out", ("a.json", "table.csv"), "test") as partial:
        write_summary({"command": "test"}, partial, "a.json")
        TABLE.to_csv(partial / "table.csv", index=False)


WRITERS = {
    **{ending: table(ending) for ending in (".csv", ".tsv", ".jsonl", ".parquet")},
    **{write.__name__: write for write in (netcdf, png, state, checkpoint, directory, files)},
}


def contents(path):
    return {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("is_old", [False, True])
def test_full(tmp_path, name, is_old):
    WRITERS[name](tmp_path / "first" if not is_old else tmp_path)  # all that it imports is there
    shutil.rmtree(tmp_path / "first", ignore_errors=True)
    before = contents(tmp_path)
    for size in (0, 1, 100, 5000):
        with (
            pytest.raises(OSError, match=r"nothing was written\. Make room") as caught,
            files_up_to(size),
        ):
            WRITERS[name](tmp_path)
        assert caught.value.errno == errno.EFBIG
        assert Path(caught.value.filename).parent in (tmp_path, tmp_path / "out")
        assert contents(tmp_path) == before
        assert is_old or not list(tmp_path.iterdir())
