"""Class probabilities from elsewhere, weighed in with a crowd's answers."""

import json

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from gtx_bayes.aggregation.aggregate import aggregate
from gtx_bayes.aggregation.second_opinion import second_opinion
from gtx_bayes.crowd import Crowd
from gtx_bayes.errors import InputError
from tests.test_cli import call

ANSWERS = pd.DataFrame(
    [(task, worker, "yes") for task in "abcd" for worker in "uvw"]
    + [(f"g{at}", worker, ["no", "yes"][at % 2]) for at in range(8) for worker in "uvw"],
    columns=["task", "worker", "label"],
)
GOLD = pd.DataFrame({"task": [f"g{at}" for at in range(8)], "label": 4 * ["no", "yes"]})
OPINION = pd.DataFrame(
    {"task": list("cba"), "prob_yes": [0.02, 0.9, 0.9], "prob_no": [0.98, 0.1, 0.1], "doubt": 0.5}
)


def crowd():
    return Crowd.from_frames(ANSWERS, GOLD)


def test_a_prior_for_each_example():
    prior = second_opinion(crowd(), OPINION)
    np.testing.assert_allclose(prior[:3], [[0.1, 0.9], [0.1, 0.9], [0.98, 0.02]])
    mean = [1.18 / 3, 1.82 / 3]
    np.testing.assert_allclose(prior[3:], np.broadcast_to(mean, (9, 2)))


def test_it_multiplies_the_likelihood():
    """By hand from Eq. 3 with the same plug-in accuracies: odds times odds."""
    plain = aggregate(crowd(), "gtx").class_probs
    both = aggregate(crowd(), "gtx", class_prior=second_opinion(crowd(), OPINION)).class_probs
    odds = plain[:3, 1] / plain[:3, 0] * jnp.array([9.0, 9.0, 0.02 / 0.98])
    np.testing.assert_allclose(both[:3, 1] / both[:3, 0], odds, rtol=2e-3)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (OPINION.rename(columns={"prob_no": "prob_No"}), "about the classes"),
        (OPINION.assign(prob_maybe=0.0), "about the classes"),
        (OPINION.assign(task=["x", "y", "z"]), "names none of the crowd's examples: 'x'"),
        (OPINION.assign(task="a"), "'a' has more than one row"),
        (OPINION.assign(prob_no=0.5), "are no distribution"),
        (OPINION[["task"]], "no two columns"),
        (OPINION.iloc[:0], "no rows"),
    ],
)
def test_tables_that_do_not_do(table, message):
    with pytest.raises(InputError, match=message):
        second_opinion(crowd(), table)


@pytest.mark.end_to_end
def test_next_names_the_label_that_the_opinion_contradicts(tmp_path):
    """Four tasks with the same answers, all wrong about c, of which the opinion says so."""
    ANSWERS.to_csv(tmp_path / "labels.csv", index=False)
    GOLD.to_csv(tmp_path / "gold.csv", index=False)
    OPINION.to_csv(tmp_path / "opinion.csv", index=False)
    words = ("next", tmp_path / "labels.csv", "--gold", tmp_path / "gold.csv", "--json")
    words += ("--model", "one-coin", "--second-opinion", tmp_path / "opinion.csv")
    run = call(*words)
    assert run.exit_code == 0, run.output
    named = json.loads(run.stdout)["examples"]
    assert named[0]["task"] == "c"
    assert named[0]["confidence"] < min(row["confidence"] for row in named[1:])
    run = call(*words, "--class-prior", "0.5,0.5")
    assert run.exit_code == 2
    assert "a class prior and a second opinion" in run.stderr
    run = call(*words, "--model", "auto", "--method", "majority-vote")
    assert run.exit_code == 2
    assert "takes no class prior" in run.stderr
    (tmp_path / "labels.csv").write_text("task,worker,label\n")
    run = call(*words[:2], *words[4:], "--tasks", tmp_path / "gold.csv")
    assert run.exit_code == 2
    assert "no answer yet to weigh" in run.stderr
