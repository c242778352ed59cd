"""The main job on real crowds, end to end through the tables; skipped where the data is absent."""

import json

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from gtx_bayes.aggregation.aggregate import aggregate
from gtx_bayes.crowd import Crowd
from tests.benchmarks.real_crowds import SETS, evaluate_set, read_crowd
from tests.test_cli import call

pytestmark = pytest.mark.end_to_end


QUICK = ("bluebirds",)
MISLED_ALONE = ("fact_eval", "zencrowd_us")
"""Sets on which the joint method without gold has worse labels than voting: docs/real_crowds.md."""


@pytest.fixture(
    scope="module",
    params=[name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in SETS],
)
def scores(request, data_folder):
    """Every method on one set, without gold and with a tenth of it."""
    folder = data_folder / "crowd" / request.param
    return {
        share: pd.DataFrame(evaluate_set(folder, gold_share=share, seed=0)).set_index("method")
        for share in (0.0, 0.1)
    }


def test_every_method_gives_numbers(scores):
    for share, table in scores.items():
        assert np.isfinite(table[["accuracy", "log_loss", "ece"]].to_numpy(float)).all()
        assert len(table) == (10 if share else 7)


def test_uncertain_accuracies_beat_plug_in(scores):
    """Log loss on what was not gold."""
    table = scores[0.1]["log_loss"]
    assert table["gtx-bayes"] < table["gtx"]


def test_without_gold_no_worse_than_voting(scores, request):
    if request.node.callspec.params["scores"] in MISLED_ALONE:
        why = "labelers who favour a class look like a class that is common"
        request.applymarker(pytest.mark.xfail(strict=True, reason=why))
    table = scores[0.0]["accuracy"]
    assert table["gtx-bayes"] >= table["majority-vote"] - 1e-6


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in SETS]
)
def test_gold_contradicts_no_interval(name, data_folder):
    """A labeler's own gold is within reach of the interval, but for one of a thousand crowds."""
    labels, truth = read_crowd(data_folder / "crowd" / name)
    seen = truth.sample(frac=0.1, random_state=0)
    result = aggregate(Crowd.from_frames(labels, seen, duplicates="first"))
    table = result.labelers().set_index("worker")
    asked = table[table["num_gold"] > 0]
    right, number = (asked[of].to_numpy(int) for of in ("num_correct", "num_gold"))
    too_few = scipy.stats.binom.cdf(right, number, asked["ci_low"])
    too_many = scipy.stats.binom.sf(right - 1, number, asked["ci_high"])
    assert np.minimum(too_few, too_many).min() > 0.001 / len(asked)


def test_the_commands_on_bluebirds(data_folder, tmp_path):
    """`aggregate` then `evaluate --exclude`, on the files as they are."""
    folder = data_folder / "crowd" / "bluebirds"
    gold = pd.read_csv(folder / "gold.csv", dtype=str).sample(frac=0.1, random_state=0)
    gold.to_csv(tmp_path / "gold.csv", index=False)
    run = call(
        "aggregate",
        folder / "labels.csv",
        "--gold",
        tmp_path / "gold.csv",
        "--output",
        tmp_path / "out",
        "--json",
    )
    summary = json.loads(run.stdout)
    assert (summary["num_examples"], summary["num_labelers"], summary["num_labels"]) == (
        108,
        39,
        4212,
    )
    run = call(
        "evaluate",
        tmp_path / "out" / "examples.csv",
        "--truth",
        folder / "gold.csv",
        "--exclude",
        tmp_path / "gold.csv",
        "--json",
    )
    record = json.loads(run.stdout)
    assert record["num_examples"] == 97
    assert record["accuracy"] > 0.7
