"""How far every policy is from the best there can be (`collection.optimal`)."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Array, Float, Key, ScalarLike
from matplotlib.figure import Figure

from gtx_bayes.aggregation import gtx, majority_vote, soft_vote, weighted_majority_vote
from gtx_bayes.collection import offline
from gtx_bayes.collection.base import AbstractPolicy
from gtx_bayes.collection.confidence_threshold import ConfidenceThreshold
from gtx_bayes.collection.fixed import Fixed
from gtx_bayes.collection.optimal import least_error, stopping_curve
from gtx_bayes.collection.random_sampling import RandomSampling
from gtx_bayes.collection.uncertainty_sampling import UncertaintySampling
from gtx_bayes.experiments.drawing import COHORT_TITLES, name_spread, number_axis, series, styled
from gtx_bayes.experiments.policies import Outcome, spend
from gtx_bayes.experiments.setting import AGGREGATORS, CohortStudy, draw, losses
from gtx_bayes.experiments.study import Row, Study, figure, ratio

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


def simulate_run(
    key: Key[Array, ""], low: ScalarLike, high: ScalarLike, config: Config
) -> list[Outcome]:
    """One cohort: what every policy makes of the same answers, beside its bound."""
    keys = jax.random.split(key, 3)
    labelers, queue = draw(keys[:2], (low, high), config.num_labelers, config.num_examples)
    most = config.num_labelers
    threshold, expected_labels = _threshold_for(labelers.accuracy, config)
    budgets = jnp.stack([jnp.asarray(config.labels_per_example, float), expected_labels])
    bounds = jax.vmap(partial(least_error, labelers.accuracy))(budgets).error
    policies: dict[str, tuple[AbstractPolicy, Float[Array, ""]]] = {
        "uncertainty": (UncertaintySampling(most), bounds[0]),
        "confidence-threshold": (ConfidenceThreshold(threshold, most), bounds[1]),
        "fixed": (Fixed(config.labels_per_example), bounds[0]),
        "random": (RandomSampling(most).drawn(keys[2], config.num_examples), bounds[0]),
    }
    paths = {
        method: offline.class_prob_path(build(labelers.accuracy), queue)
        for method, build in AGGREGATORS.items()
    }
    loss = {method: losses(path, queue.true_label) for method, path in paths.items()}
    found = []
    for strategy, method in POLICIES:
        policy, bound = policies[strategy]
        found.append(spend(policy, paths[method], loss[method], config.budget, bound))
    return found


def _threshold_for(
    accuracy: Float[Array, " num_labelers"], config: Config
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The highest threshold whose mean number of labels is within the budget, and that number."""
    thresholds = 1.0 - 0.5 * jnp.logspace(0.0, -6.0, _NUM_THRESHOLDS)
    _, labels = stopping_curve(accuracy, thresholds, config.num_labelers)
    best = jnp.argmax(jnp.where(labels <= config.labels_per_example, thresholds, 0.0))
    return thresholds[best], labels[best]


def _rows(cohort: str, outcomes: list[Outcome], config: Config) -> list[Row]:
    rows: list[Row] = []
    for (strategy, method), found in zip(POLICIES, outcomes, strict=True):
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
        if method == gtx.NAME:
            row["expected_error"] = figure(found.expected_error)
            row["ratio"] = ratio(found.expected_error, found.bound)
        else:
            row["ratio"] = row["error_over_bound"]
        rows.append(row)
    return rows


run = CohortStudy(NAME, DEFAULT_RUNS, Config, simulate_run, _rows)
"""Every policy on both kinds of cohort; `ratio` is its error over the bound.

No threshold spends the budget exactly: strategy 1 gets the highest that stays within it, and is
compared with the bound for the labels it takes.
"""


@styled
def plot(study: Study) -> Figure:
    """Error over the bound of every policy, two standard errors."""
    drawn, axes = plt.subplots(1, 2, figsize=(10.0, 3.6), sharey=True)
    for ax, (cohort, title) in zip(axes, COHORT_TITLES.items(), strict=True):
        rows = study.where(cohort=cohort)
        at = np.arange(len(rows))[::-1]
        mean, se = series(rows, "ratio")
        ax.errorbar(mean, at, xerr=2 * se, fmt="o", color="#1f4e79")
        for x, y in zip(mean, at, strict=True):
            ax.annotate(f"{x:.3g}", (x, y), xytext=(0, 6), textcoords="offset points", fontsize=8)
        ax.axvline(1.0, color="#9aa5b1", linestyle="--")
        ax.set_xscale("log")
        is_wide = ax.get_xlim()[1] >= 4
        number_axis(ax.xaxis, *((1, 2, 5, 10, 20, 50) if is_wide else (1, 1.2, 1.5, 2, 2.5, 3)))
        ax.set_yticks(at, [f"{row['strategy']}, {row['method']}" for row in rows])
        ax.set(title=title, xlabel="error over the least possible")
    name_spread(drawn, "bars", 2, study.runs)
    return drawn
