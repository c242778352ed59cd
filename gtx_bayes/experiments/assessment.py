"""How many gold answers the methods need: the paper's strategies with estimated accuracies.

The paper's section 3 knows the true accuracies and leaves the number of assessments open (its
sec. 6). Here they are estimated from m gold answers per labeler: by their proportion right
(Eq. 4), by the mean under a flat prior, and by that under a prior fitted to the cohort.
`gtx-bayes` goes on from there: the answers it buys teach it the accuracies too.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, Key, ScalarLike
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gtx_bayes.aggregation import gtx, joint_method
from gtx_bayes.aggregation.gtx import ClassPosterior
from gtx_bayes.collection import learning, whole_run
from gtx_bayes.collection.base import AbstractPolicy
from gtx_bayes.collection.confidence_threshold import ConfidenceThreshold
from gtx_bayes.collection.uncertainty_sampling import UncertaintySampling
from gtx_bayes.experiments.runs import Progress, map_runs, silent
from gtx_bayes.experiments.setting import (
    COHORT_TITLES,
    COHORTS,
    Score,
    losses,
    map_cohorts,
    score,
)
from gtx_bayes.experiments.study import Row, Study, figure, ratio
from gtx_bayes.inference.beta import BetaPosterior, CohortPrior
from gtx_bayes.inference.gold_counts import GoldCounts
from gtx_bayes.inference.plug_in import accuracy_mle
from gtx_bayes.models.one_coin import OneCoin
from gtx_bayes.simulation import AnswerQueue, assess, simulate_queue, uniform_cohort

NAME = "assessment"
DEFAULT_RUNS = 100

KNOWN = "known-accuracy"
EMPIRICAL_BAYES = "empirical-bayes"


def _plug_in(counts: GoldCounts) -> Float[Array, " num_labelers"]:
    return accuracy_mle(counts).accuracy


def _flat_prior(counts: GoldCounts) -> Float[Array, " num_labelers"]:
    return BetaPosterior.from_counts(counts, CohortPrior(0.5, 2.0)).mean


def _cohort_prior(counts: GoldCounts) -> Float[Array, " num_labelers"]:
    return BetaPosterior.from_counts(counts, CohortPrior.fit(counts, 2)).mean


ESTIMATORS: dict[str, Callable[[GoldCounts], Float[Array, " num_labelers"]]] = {
    gtx.NAME: _plug_in,
    "beta": _flat_prior,
    EMPIRICAL_BAYES: _cohort_prior,
}
"""Accuracies from gold: the paper's Eq. 4, the mean under Beta(1, 1), and empirical Bayes."""

STYLES: dict[str, dict[str, Any]] = {
    KNOWN: {"color": "black", "linestyle": "--"},
    gtx.NAME: {"color": "#b03a2e", "marker": "s"},
    "beta": {"color": "#b9770e", "marker": "^"},
    EMPIRICAL_BAYES: {"color": "#6c8ebf", "marker": "v"},
    joint_method.NAME: {"color": "#1f4e79", "marker": "o"},
}


@dataclasses.dataclass(frozen=True)
class Config:
    """The paper's two strategies, at thresholds and budgets of its tables.

    Attributes:
        num_labelers: J.
        gold_per_labeler: the sizes m of the assessment set tried; everybody answers all of it.
        budget: B, gold not included.
        threshold: tau of strategy 1.
        max_labels: kappa of strategy 1.
        num_examples: N of strategy 2; strategy 1 has as many examples as it can label.
    """

    num_labelers: int = 10
    gold_per_labeler: tuple[int, ...] = (0, 1, 2, 5, 10, 20, 50, 100, 500)
    budget: int = 15_000
    threshold: float = 0.99
    max_labels: int = 5
    num_examples: int = 5000

    def policy(self, strategy: str) -> AbstractPolicy:
        """The policy of a strategy."""
        if strategy == "confidence-threshold":
            return ConfidenceThreshold(self.threshold, self.max_labels)
        return UncertaintySampling(self.num_labelers)


def run(
    key: Key[Array, ""],
    config: Config | None = None,
    *,
    runs: int = DEFAULT_RUNS,
    progress: Progress = silent,
    mesh: Mesh | None = None,
) -> Study:
    """Simulate both cohorts, all sizes of the assessment set on the same labelers and answers.

    A larger set contains the smaller ones. Without gold there is no proportion right, and the
    row of `gtx` is empty.
    """
    config = config or Config()
    key_gold, key_answers = jax.random.split(key)
    counts = map_cohorts(partial(draw_gold, config=config), key_gold, runs, mesh=mesh)
    rows: list[Row] = []
    settings = _settings(config)
    one_run = partial(simulate_run, config=config)  # one object, so that it compiles once
    for at, cohort in enumerate(COHORTS):
        accuracy, num_correct = counts[cohort]
        estimates = np.stack(
            [_estimates(accuracy[r], num_correct[r], config, settings) for r in range(runs)]
        )
        keys = jax.random.split(jax.random.fold_in(key_answers, at), runs)
        found = map_runs(
            one_run,
            keys,
            accuracy,
            estimates,
            num_correct,
            progress=lambda done, total, at=at: progress(at * total + done, 2 * total),  # type: ignore[misc]
            mesh=mesh,
        )
        for strategy, scores in found.items():
            for place, (method, num_gold) in enumerate(settings):
                rows.append(_row(cohort, strategy, method, num_gold, scores, place, config))
    return Study(NAME, runs, rows)


def draw_gold(
    key: Key[Array, ""], low: ScalarLike, high: ScalarLike, config: Config
) -> tuple[Float[Array, " num_labelers"], Int[Array, "num_sizes num_labelers"]]:
    """A cohort's true accuracies, and right answers to the first m gold examples for every m."""
    key_cohort, key_gold = jax.random.split(key)
    labelers = uniform_cohort(key_cohort, config.num_labelers, low, high)
    return labelers.accuracy, assess(key_gold, labelers, config.gold_per_labeler).num_correct


def simulate_run(
    key: Key[Array, ""],
    accuracy: Float[Array, " num_labelers"],
    estimates: Float[Array, "num_settings num_labelers"],
    num_correct: Int[Array, "num_sizes num_labelers"],
    config: Config,
) -> dict[str, Score]:
    """Both strategies with the posterior at every estimate of the accuracies, then learning."""
    key_threshold, key_uncertainty = jax.random.split(key)
    labelers = OneCoin(accuracy, 2)
    queues = {
        "confidence-threshold": simulate_queue(
            key_threshold, labelers, config.budget, max_labels=config.max_labels
        ),
        "uncertainty": simulate_queue(key_uncertainty, labelers, config.num_examples),
    }
    num_gold = jnp.asarray(config.gold_per_labeler, jnp.int32)[:, None]
    gold = GoldCounts(num_correct, jnp.broadcast_to(num_gold, num_correct.shape))
    found = {}
    for strategy, queue in queues.items():
        how = {"queue": queue, "policy": config.policy(strategy), "budget": config.budget}
        known = jax.lax.map(partial(collect, **how), estimates)
        learnt = jax.lax.map(partial(collect_and_learn, **how), gold)
        found[strategy] = jax.tree.map(lambda *each: jnp.concatenate(each), known, learnt)
    return found


def collect(
    accuracy: Float[Array, " num_labelers"],
    queue: AnswerQueue,
    policy: AbstractPolicy,
    budget: int,
) -> Score:
    """Spend the budget under the posterior at these accuracies."""
    path = whole_run.class_prob_path(ClassPosterior(OneCoin(accuracy, 2)), queue)
    bought = whole_run.collect(policy, path, budget)
    return score(bought, losses(path, queue.true_label), budget)


def collect_and_learn(
    gold: GoldCounts, queue: AnswerQueue, policy: AbstractPolicy, budget: int
) -> Score:
    """Spend the budget under accuracies learnt on the way; scored at those known in the end."""
    found = learning.collect(policy, gold, queue, budget)
    path = whole_run.class_prob_path(ClassPosterior(OneCoin(found.accuracy, 2)), queue)
    return score(found.bought, losses(path, queue.true_label), budget)


def _settings(config: Config) -> list[tuple[str, int | None]]:
    methods = (*ESTIMATORS, joint_method.NAME)
    every = [(method, m) for method in methods for m in config.gold_per_labeler]
    return [(KNOWN, None), *every]


def _estimates(
    accuracy: np.ndarray, num_correct: np.ndarray, config: Config, settings: Any
) -> np.ndarray:
    """The accuracies that every setting works with; chance where there is no estimate."""
    found = [accuracy]
    for method, num_gold in settings[1:]:
        if method not in ESTIMATORS:  # learns its own
            continue
        right = num_correct[config.gold_per_labeler.index(num_gold)]
        counts = GoldCounts(jnp.asarray(right), jnp.full(right.shape, num_gold, jnp.int32))
        estimate = np.asarray(ESTIMATORS[method](counts))
        found.append(np.where(np.isnan(estimate), 0.5, estimate))
    return np.stack(found).astype(accuracy.dtype)


def _row(
    cohort: str,
    strategy: str,
    method: str,
    num_gold: int | None,
    scores: Score,
    place: int,
    config: Config,
) -> Row:
    row: Row = {
        "cohort": cohort,
        "method": method,
        "strategy": strategy,
        "gold_per_labeler": num_gold,
        "threshold": config.threshold if strategy == "confidence-threshold" else None,
        "budget": config.budget,
    }
    exists = not (method == gtx.NAME and num_gold == 0)
    for name in ("error", "mae", "num_examples", "labels_per_example"):
        values = getattr(scores, name)
        row[name] = figure(values[:, place]) if exists else {"mean": None, "se": None}
    row["error_over_known"] = (
        ratio(scores.error[:, place], scores.error[:, 0]) if exists else {"mean": None, "se": None}
    )
    return row


_PANELS = (
    ("confidence-threshold", "error", "error, %, confidence threshold"),
    ("confidence-threshold", "num_examples", "examples labelled for the budget"),
    ("uncertainty", "error", "error, %, uncertainty sampling"),
)


def plot(study: Study) -> Figure:
    """Error, and the examples labelled, against gold answers per labeler; a column per cohort."""
    figure_, axes = plt.subplots(3, 2, figsize=(9.4, 9.6), sharex=True, layout="constrained")
    for column, cohort in enumerate(COHORTS):
        for line, (strategy, name, label) in enumerate(_PANELS):
            rows = [r for r in study.rows if (r["cohort"], r["strategy"]) == (cohort, strategy)]
            _panel(axes[line, column], rows, name)
            axes[line, 0].set_ylabel(label)
        axes[0, column].set_title(COHORT_TITLES[cohort], loc="left", fontsize=10)
        axes[-1, column].set_xlabel("gold answers per labeler")
    axes[0, 0].legend(frameon=False, fontsize=8)
    return figure_


def _panel(ax: Axes, rows: list[Row], name: str) -> None:
    scale = 100 if name == "error" else 1
    for method, style in STYLES.items():
        mine = [row for row in rows if row["method"] == method and row[name]["mean"] is not None]
        mean = np.array([scale * row[name]["mean"] for row in mine])
        spread = np.array([2 * scale * (row[name]["se"] or 0.0) for row in mine])
        if method == KNOWN:
            ax.axhline(mean[0], label="accuracies known", **style)
            continue
        x = np.array([row["gold_per_labeler"] for row in mine])
        ax.errorbar(x, mean, yerr=spread, label=method, markersize=4, linewidth=1.3, **style)
    ax.set_xscale("symlog", linthresh=1)
    sizes = sorted({row["gold_per_labeler"] for row in rows if row["gold_per_labeler"] is not None})
    ax.set_xticks(sizes, [str(m) for m in sizes], fontsize=8)
    ax.minorticks_off()
    if name == "error":
        ax.set_yscale("log")
        low, high = ax.get_ylim()
        ticks = [t for t in (0.2, 0.5, 1, 2, 5, 10, 20, 50) if low <= t <= high]
        ax.set_yticks(ticks, [f"{t:g}" for t in ticks])
        ax.minorticks_off()
    else:
        ax.set_ylim(bottom=0)
    ax.spines[["top", "right"]].set_visible(False)
