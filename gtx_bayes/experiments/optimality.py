"""How far every policy is from the best there can be (`collection.optimal`)."""

import dataclasses
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Key, ScalarLike
from matplotlib.figure import Figure

from gtx_bayes import decisions
from gtx_bayes.aggregation import gtx, majority_vote, soft_vote, weighted_majority_vote
from gtx_bayes.collection import whole_run
from gtx_bayes.collection.base import AbstractPolicy
from gtx_bayes.collection.confidence_threshold import ConfidenceThreshold
from gtx_bayes.collection.fixed import Fixed
from gtx_bayes.collection.optimal import least_error, stopping_curve
from gtx_bayes.collection.random_sampling import RandomSampling
from gtx_bayes.collection.uncertainty_sampling import UncertaintySampling
from gtx_bayes.collection.whole_run import at_count
from gtx_bayes.experiments.runs import Progress, silent
from gtx_bayes.experiments.setting import (
    AGGREGATORS,
    COHORT_TITLES,
    COHORTS,
    Losses,
    losses,
    map_cohorts,
    score,
)
from gtx_bayes.experiments.study import Row, Study, figure, ratio
from gtx_bayes.simulation import simulate_queue, uniform_cohort

NAME = "optimality"
DEFAULT_RUNS = 20

_NUM_THRESHOLDS = 64


@dataclasses.dataclass(frozen=True)
class Config:
    """The paper's cohorts and mean number of labels, on a larger data set for less noise.

    Attributes:
        num_labelers: J, at most 12.
        num_examples: N.
        labels_per_example: k; the budget is k N.
    """

    num_labelers: int = 10
    num_examples: int = 50_000
    labels_per_example: int = 3

    @property
    def budget(self) -> int:
        """B."""
        return self.num_examples * self.labels_per_example


POLICIES = (
    ("uncertainty", gtx.NAME),
    ("confidence-threshold", gtx.NAME),
    ("fixed", gtx.NAME),
    ("random", gtx.NAME),
    ("uncertainty", soft_vote.NAME),
    ("uncertainty", weighted_majority_vote.NAME),
    ("uncertainty", majority_vote.NAME),
)
"""Strategy and method: all strategies with the exact posterior, and the votes with the best."""


class Outcome(NamedTuple):
    """One policy on one cohort.

    Attributes:
        error: proportion of wrong labels.
        expected_error: mean uncertainty, which for the exact posterior has the same expectation
            as the error and far less noise; for votes it means nothing.
        labels_per_example: labels spent over N.
        bound: the least error for so many labels.
    """

    error: Float[Array, ""]
    expected_error: Float[Array, ""]
    labels_per_example: Float[Array, ""]
    bound: Float[Array, ""]


def run(
    key: Key[Array, ""],
    config: Config | None = None,
    *,
    runs: int = DEFAULT_RUNS,
    progress: Progress = silent,
    mesh: Mesh | None = None,
) -> Study:
    """Simulate every policy on both kinds of cohort; `ratio` is its error over the bound.

    No threshold spends the budget exactly: strategy 1 gets the highest that stays within it, and
    is compared with the bound for the labels it takes.
    """
    config = config or Config()
    by_cohort = map_cohorts(
        partial(simulate_run, config=config), key, runs, progress=progress, mesh=mesh
    )
    rows: list[Row] = []
    for cohort, outcomes in by_cohort.items():
        for strategy, method in POLICIES:
            found = outcomes[f"{strategy}, {method}"]
            exact = method == gtx.NAME
            row: Row = {
                "cohort": cohort,
                "method": method,
                "strategy": strategy,
                "threshold": None,
                "budget": config.budget,
                "labels_per_example": figure(found.labels_per_example),
                "bound": figure(found.bound),
                "error": figure(found.error),
                "error_over_bound": ratio(found.error, found.bound),
            }
            if exact:
                row["expected_error"] = figure(found.expected_error)
                row["ratio"] = ratio(found.expected_error, found.bound)
            else:
                row["ratio"] = row["error_over_bound"]
            rows.append(row)
    return Study(NAME, runs, rows)


def simulate_run(
    key: Key[Array, ""], low: ScalarLike, high: ScalarLike, config: Config
) -> dict[str, Outcome]:
    """One cohort: what every policy makes of the same answers, beside its bound."""
    key_cohort, key_queue, key_random = jax.random.split(key, 3)
    labelers = uniform_cohort(key_cohort, config.num_labelers, low, high)
    queue = simulate_queue(key_queue, labelers, config.num_examples)
    queue = jax.lax.optimization_barrier(queue)
    most = config.num_labelers
    threshold, expected_labels = _threshold_for(labelers.accuracy, config)
    budgets = jnp.stack([jnp.asarray(config.labels_per_example, float), expected_labels])
    bounds = jax.vmap(partial(least_error, labelers.accuracy))(budgets).error
    policies: dict[str, AbstractPolicy] = {
        "uncertainty": UncertaintySampling(most),
        "confidence-threshold": ConfidenceThreshold(threshold, most),
        "fixed": Fixed(config.labels_per_example),
        "random": RandomSampling(most).drawn(key_random, config.num_examples),
    }
    outcomes = {}
    for method, build in AGGREGATORS.items():
        path = whole_run.class_prob_path(build(labelers.accuracy), queue)
        loss = losses(path, queue.true_label)
        for strategy, policy in policies.items():
            if (strategy, method) in POLICIES:
                bound = bounds[1] if strategy == "confidence-threshold" else bounds[0]
                outcomes[f"{strategy}, {method}"] = _collect(policy, path, loss, bound, config)
    return outcomes


def _collect(
    policy: AbstractPolicy,
    path: Float[Array, "num_steps_and_one num_examples two"],
    loss: Losses,
    bound: Float[Array, ""],
    config: Config,
) -> Outcome:
    bought = whole_run.collect(policy, path, config.budget)
    found = score(bought, loss, config.budget)
    uncertainty = at_count(decisions.uncertainty(path), bought.num_labels)
    expected = jnp.sum(uncertainty, where=bought.counted) / found.num_examples
    return Outcome(found.error, expected, found.labels_per_example, bound)


def _threshold_for(
    accuracy: Float[Array, " num_labelers"], config: Config
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The highest threshold whose mean number of labels is within the budget, and that number."""
    thresholds = 1.0 - 0.5 * jnp.logspace(0.0, -6.0, _NUM_THRESHOLDS)
    _, labels = stopping_curve(accuracy, thresholds, config.num_labelers)
    best = jnp.argmax(jnp.where(labels <= config.labels_per_example, thresholds, 0.0))
    return thresholds[best], labels[best]


def plot(study: Study) -> Figure:
    """Error over the bound of every policy, two standard errors."""
    figure_, axes = plt.subplots(1, 2, figsize=(10.0, 3.6), sharey=True, layout="constrained")
    for ax, cohort in zip(axes, COHORTS, strict=True):
        rows = [row for row in study.rows if row["cohort"] == cohort]
        at = np.arange(len(rows))[::-1]
        spread = [2 * (row["ratio"]["se"] or 0.0) for row in rows]
        mean = [row["ratio"]["mean"] for row in rows]
        ax.errorbar(mean, at, xerr=spread, fmt="o", color="#1f4e79")
        for x, y in zip(mean, at, strict=True):
            ax.annotate(f"{x:.3g}", (x, y), xytext=(0, 6), textcoords="offset points", fontsize=8)
        ax.axvline(1.0, color="#9aa5b1", linestyle="--")
        ax.set_xscale("log")
        ax.minorticks_off()
        highest = ax.get_xlim()[1]
        fine, coarse = (1, 1.2, 1.5, 2, 2.5, 3), (1, 2, 5, 10, 20, 50)
        ticks = [t for t in (fine if highest < 4 else coarse) if t <= highest]
        ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
        ax.set_yticks(at, [f"{row['strategy']}, {row['method']}" for row in rows])
        ax.set_title(COHORT_TITLES[cohort], loc="left", fontsize=10)
        ax.set_xlabel("error over the least possible")
        ax.spines[["top", "right"]].set_visible(False)
    return figure_
