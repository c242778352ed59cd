"""The paper's simulated setting (sec. 3.1 and 3.2): its cohorts, its methods, its metrics.

What the paper leaves unsaid is settled as its printed figures tell (see "Reproducing the paper"
in the documentation): the methods know the true accuracies, labelers come in a fresh random order
to every example, classes are even, and a tied hard label is a coin flip.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypedDict, Unpack

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, Key, PyTree, ScalarLike

from gtx_bayes import decisions
from gtx_bayes.aggregation import gtx, majority_vote, soft_vote, weighted_majority_vote
from gtx_bayes.aggregation.base import AbstractAggregator
from gtx_bayes.collection import offline
from gtx_bayes.collection.base import AbstractPolicy
from gtx_bayes.collection.offline import Collection, at_count
from gtx_bayes.experiments.runs import Progress, map_runs
from gtx_bayes.experiments.study import Row, Study
from gtx_bayes.models.one_coin import OneCoin
from gtx_bayes.simulation import AnswerQueue, simulate_queue, uniform_cohort

COHORTS = {"accurate": (0.8, 1.0), "less_accurate": (0.6, 0.9)}
"""Limits of the uniform distribution of accuracies (sec. 3.2)."""

AGGREGATORS: dict[str, Callable[..., AbstractAggregator]] = {
    majority_vote.NAME: lambda accuracy, classes=2: majority_vote.VoteShares(classes),
    weighted_majority_vote.NAME: lambda accuracy, classes=2: (
        weighted_majority_vote.WeightedVoteShares(accuracy, classes)
    ),
    soft_vote.NAME: lambda accuracy, classes=2: soft_vote.SoftVoteShares(accuracy, classes),
    gtx.NAME: lambda accuracy, classes=2: gtx.ClassPosterior(OneCoin(accuracy, classes)),
}
"""The paper's methods, given the labelers' accuracies (sec. 3.1) and, if not two, the classes."""

ONE_LABEL_IS_CERTAIN = (majority_vote.NAME, weighted_majority_vote.NAME)
"""Methods with confidence 1 after one label: they get a constant number of labels instead."""


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


def mean_of_counted(
    bought: Collection, part: Float[Array, "num_steps_and_one num_examples"]
) -> Float[Array, ""]:
    """Mean over the examples that count, each at its number of labels."""
    found = jnp.where(bought.counted, at_count(part, bought.num_labels), 0.0)
    # A CPU adds a long vector several times as fast by a product as by a sum.
    return found @ jnp.ones_like(found) / jnp.sum(bought.counted, dtype=jnp.int32)


def score(bought: Collection, loss: Losses, budget: ScalarLike) -> Score:
    """Means over the examples that count."""
    num_examples = jnp.sum(bought.counted, dtype=jnp.int32)
    spent = jnp.minimum(budget, jnp.sum(bought.num_labels, dtype=jnp.int32))
    means = (mean_of_counted(bought, part) for part in loss)
    return Score(num_examples, spent / num_examples, *means)


def draw(
    keys: Key[Array, " two"],
    limits: tuple[ScalarLike, ScalarLike],
    num_labelers: int,
    num_examples: int,
    max_labels: int | None = None,
) -> tuple[OneCoin, AnswerQueue]:
    """A new cohort with accuracies within the limits, and all its answers to a new data set."""
    key_cohort, key_queue = keys
    labelers = uniform_cohort(key_cohort, num_labelers, *limits)
    queue = simulate_queue(key_queue, labelers, num_examples, max_labels=max_labels)
    return labelers, jax.lax.optimization_barrier(queue)


def collect(
    aggregator: AbstractAggregator, queue: AnswerQueue, policy: AbstractPolicy, budget: int
) -> Score:
    """Spend the budget under class probabilities at labelers who are known."""
    path = offline.class_prob_path(aggregator, queue)
    return score(offline.collect(policy, path, budget), losses(path, queue.true_label), budget)


class RunOptions(TypedDict, total=False):
    """How runs are simulated: arguments of `map_runs` that every study takes."""

    progress: Progress
    mesh: Mesh | None


def map_cohorts(
    run: Callable[..., PyTree],
    key: Key[Array, ""],
    runs: int,
    *,
    cohorts: Sequence[str] = tuple(COHORTS),
    **options: Unpack[RunOptions],
) -> dict[str, Any]:
    """Results of `run(key, low, high)` by cohort, each stacked over its runs.

    The keys of a cohort depend on `key` and the cohort alone, and those of the first runs not on
    how many follow.
    """
    keys = []
    for cohort in cohorts:
        key_cohort = jax.random.fold_in(key, list(COHORTS).index(cohort))
        keys.append(jax.vmap(partial(jax.random.fold_in, key_cohort))(jnp.arange(runs)))
    low, high = np.repeat([COHORTS[cohort] for cohort in cohorts], runs, axis=0).T
    found = map_runs(run, jnp.concatenate(keys), low, high, **options)
    return {
        cohort: jax.tree.map(lambda x, at=at: x[at * runs : (at + 1) * runs], found)
        for at, cohort in enumerate(cohorts)
    }


@dataclasses.dataclass(frozen=True)
class CohortStudy:
    """A study of simulated cohorts; calling it runs it.

    Attributes:
        name: what it reproduces or answers.
        default_runs: simulations of each cohort, as in the paper.
        config: class of its settings; the defaults are the paper's.
        simulate: `simulate(key, low, high, config)`: a run with one new cohort.
        rows: `rows(cohort, results, config)`, of results stacked over runs.
        points: `points(rows, results by cohort)`, for studies that have any.
        cohorts: which are simulated.
    """

    name: str
    default_runs: int
    config: Callable[[], Any]
    simulate: Callable[..., PyTree]
    rows: Callable[[str, Any, Any], list[Row]]
    points: Callable[[list[Row], Any], pd.DataFrame] = lambda rows, results: pd.DataFrame()
    cohorts: tuple[str, ...] = tuple(COHORTS)

    def __call__(
        self,
        key: Key[Array, ""],
        config: Any = None,
        *,
        runs: int | None = None,
        **options: Unpack[RunOptions],
    ) -> Study:
        """Simulate the cohorts and put the figures beside the paper's.

        Args:
            key: random key. The first runs do not depend on how many follow.
            config: the settings; the paper's when absent.
            runs: simulations of each cohort; as in the paper when absent.
            **options: `progress` and `mesh`, as `map_runs` takes them.
        """
        config, runs = config or self.config(), runs or self.default_runs
        simulate = partial(self.simulate, config=config)
        found = map_cohorts(simulate, key, runs, cohorts=self.cohorts, **options)
        rows = [row for each in found.items() for row in self.rows(*each, config)]
        return Study(self.name, runs, rows, self.points(rows, found))
