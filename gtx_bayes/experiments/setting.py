"""The paper's simulated setting (sec. 3.1 and 3.2): its cohorts, its methods, its metrics.

What the paper leaves unsaid is settled as its printed figures tell (see "Reproducing the paper"
in the documentation): the methods know the true accuracies, labelers come in a fresh random order
to every example, classes are even, and a tied hard label is a coin flip.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, Key, PyTree

from gtx_bayes import decisions
from gtx_bayes.aggregation import gtx, majority_vote, soft_vote, weighted_majority_vote
from gtx_bayes.aggregation.base import AbstractAggregator
from gtx_bayes.collection.whole_run import Collection, at_count
from gtx_bayes.experiments.runs import Progress, map_runs, silent
from gtx_bayes.models.one_coin import OneCoin

COHORTS = {"accurate": (0.8, 1.0), "less_accurate": (0.6, 0.9)}
"""Limits of the uniform distribution of accuracies (sec. 3.2)."""

COHORT_TITLES = {
    "accurate": "More accurate labelers, U(.8, 1)",
    "less_accurate": "Less accurate labelers, U(.6, .9)",
}

METHOD_COLOURS = ("#9aa5b1", "#b9770e", "#2e7d4f", "#1f4e79")
"""One per method, for plots."""

METHOD_DASHES: tuple[Any, ...] = ("--", (0, (1, 1.5)), "-", "-")
"""One per method, for plots; the first two often coincide."""

AGGREGATORS: dict[str, Callable[..., AbstractAggregator]] = {
    majority_vote.NAME: lambda accuracy, classes=2: majority_vote.VoteShares(classes),
    weighted_majority_vote.NAME: lambda accuracy, classes=2: (
        weighted_majority_vote.WeightedVoteShares(accuracy, classes)
    ),
    soft_vote.NAME: lambda accuracy, classes=2: soft_vote.SoftVoteShares(accuracy, classes),
    gtx.NAME: lambda accuracy, classes=2: gtx.ClassPosterior(OneCoin(accuracy, classes)),
}
"""The paper's methods, given the labelers' accuracies (sec. 3.1) and, if not two, the classes."""


class Losses(NamedTuple):
    """What each example costs after each number of labels.

    Attributes:
        error: probability that the hard label is wrong, one half where classes tie.
        absolute: distance of the confidence from the truth, whose mean is the MAE.
    """

    error: Float[Array, "num_steps_and_one num_examples"]
    absolute: Float[Array, "num_steps_and_one num_examples"]


class Score(NamedTuple):
    """What one collection achieved.

    Attributes:
        num_examples: N, the examples labelled.
        labels_per_example: k = B / N, of the labels spent; infinite if nothing was labelled.
        error: proportion of wrong hard labels among them.
        mae: mean absolute error.
    """

    num_examples: Int[Array, ""]
    labels_per_example: Float[Array, ""]
    error: Float[Array, ""]
    mae: Float[Array, ""]


def losses(
    path: Float[Array, "num_steps_and_one num_examples two"],
    true_label: Int[Array, " num_examples"],
) -> Losses:
    """Losses of every example after each number of labels."""
    truth = jnp.broadcast_to(true_label, path.shape[:2])
    found = Losses(1.0 - decisions.credit(path, truth), 1.0 - decisions.prob_of_truth(path, truth))
    return jax.lax.optimization_barrier(found)  # computed once, however many policies follow


def score(bought: Collection, loss: Losses, budget: int) -> Score:
    """Means over the examples that count."""
    num_examples = jnp.sum(bought.counted, dtype=jnp.int32)

    def mean(part: Float[Array, "num_steps_and_one num_examples"]) -> Float[Array, ""]:
        found = jnp.where(bought.counted, at_count(part, bought.num_labels), 0.0)
        # A CPU adds a long vector several times as fast by a product as by a sum.
        return found @ jnp.ones_like(found) / num_examples

    spent = jnp.minimum(budget, jnp.sum(bought.num_labels, dtype=jnp.int32))
    return Score(num_examples, spent / num_examples, mean(loss.error), mean(loss.absolute))


def map_cohorts(
    run: Callable[..., PyTree],
    key: Key[Array, ""],
    runs: int,
    *,
    cohorts: Sequence[str] = tuple(COHORTS),
    progress: Progress = silent,
    mesh: Mesh | None = None,
) -> dict[str, Any]:
    """Results of `run(key, low, high)` by cohort, each stacked over its runs.

    The keys of a cohort depend on `key` and the cohort alone, and those of the first runs not on
    how many follow.
    """
    keys = []
    for cohort in cohorts:
        key_cohort = jax.random.fold_in(key, list(COHORTS).index(cohort))
        keys.append(jax.vmap(partial(jax.random.fold_in, key_cohort))(jnp.arange(runs)))
    limits = np.repeat([COHORTS[cohort] for cohort in cohorts], runs, axis=0)
    found = map_runs(
        run, jnp.concatenate(keys), limits[:, 0], limits[:, 1], progress=progress, mesh=mesh
    )
    return {
        cohort: jax.tree.map(lambda x, at=at: x[at * runs : (at + 1) * runs], found)
        for at, cohort in enumerate(cohorts)
    }
