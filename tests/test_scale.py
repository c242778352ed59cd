"""The program that measures sizes; the figures themselves are for quiet machines."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from tests.benchmarks import scale

pytestmark = pytest.mark.end_to_end

ROW = {"name", "size", "seconds", "against", "ratio"}


def test_growth_is_the_exponent():
    """Seconds 3 n^1.1, exactly: the slope of a straight line on logarithms."""
    found = {n: {"seconds": 3.0 * n**1.1} for n in (10, 100, 1000)}
    (row,) = scale.growth("fit", found, "labels")
    assert row["ratio"] == 1.1
    assert not list(scale.growth("fit", {10: found[10]}, "labels"))


def test_a_size_beyond_the_memory_is_left_out_and_said_to_be():
    lacking = scale.memory_lacking("long", 10**15)
    if not lacking:
        pytest.skip("this machine does not tell its memory")
    row = scale.left_out("long", "1e+15 labels", lacking)
    assert row.keys() == ROW
    assert row["seconds"] is None
    assert "needs about" in row["against"]


def test_long_table_answers_as_its_labelers_err():
    """Sorted, five answers an example, most of them right: what the kernels are promised."""
    labels = scale.long_table(10_000, np.random.default_rng(0))
    np.testing.assert_array_equal(np.bincount(labels.example), np.full(2000, 5))
    first, second = np.asarray(labels.label).reshape(-1, 5)[:, :2].T
    agree = 0.775**2 + 0.225**2  # two labelers of mean accuracy .775
    low, high = scipy.stats.binom.interval(1 - 1e-6, 2000, agree)
    assert low <= (first == second).sum() <= high


def test_a_fit_is_measured():
    row = scale.described("fit", "10,000 labels", scale.MEASURES["fit"]("fit", 10_000))
    assert row.keys() == ROW | {"peak_bytes"}
    assert row["seconds"] > 0


@pytest.mark.slow
def test_program(tmp_path):
    output = tmp_path / "scale.json"
    few = ["--largest", "1e4", "--largest-fit", "1e4", "--largest-runs", "1", "--peer-labels", "0"]
    subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.scale", *few, "--output", str(output)],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        check=True,
    )
    found = json.loads(output.read_text())
    assert {"cpu", "cores", "memory_gib", "os", "python", "jax", "numpy"} <= found["machine"].keys()
    names = [row["name"].split()[0] for row in found["results"]]
    assert names == ["dense", "long"]
    for row in found["results"]:
        assert row.keys() == ROW | {"peak_bytes"}
        assert row["seconds"] > 0
        assert row["ratio"] > 0
