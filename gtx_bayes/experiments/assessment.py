"""How many gold answers the methods need: the paper's strategies with estimated accuracies.

The paper's section 3 knows the true accuracies and leaves the number of assessments open (its
sec. 6). Here they are estimated from m gold answers per labeler: by their proportion right
(Eq. 4), by the mean under a flat prior, and by that under a prior fitted to the cohort.
`gtx-bayes` goes on from there: the answers it buys teach it the accuracies too.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, ScalarLike
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gtx_bayes.aggregation import gtx, joint_method
from gtx_bayes.collection import learning, offline
from gtx_bayes.collection.base import AbstractPolicy
from gtx_bayes.collection.confidence_threshold import ConfidenceThreshold
from gtx_bayes.collection.uncertainty_sampling import UncertaintySampling
from gtx_bayes.experiments.drawing import (
    MARKED_LOOKS,
    Panel,
    by_cohort,
    name_spread,
    number_axis,
    series,
    styled,
)
from gtx_bayes.experiments.runs import map_runs, silent
from gtx_bayes.experiments.setting import (
    AGGREGATORS,
    RunOptions,
    Score,
    collect,
    losses,
    map_cohorts,
    score,
)
from gtx_bayes.experiments.study import NO_FIGURE, Row, Study, figure, ratio
from gtx_bayes.inference.beta import BetaPosterior, CohortPrior
from gtx_bayes.inference.gold_counts import GoldCounts
from gtx_bayes.inference.plug_in import accuracy_mle
from gtx_bayes.models.one_coin import OneCoin
from gtx_bayes.simulation import AnswerQueue, assess, simulate_queue, uniform_cohort

NAME = "assessment"
DEFAULT_RUNS = 100

KNOWN = "known-accuracy"
EMPIRICAL_BAYES = "empirical-bayes"

ESTIMATORS: dict[str, Callable[[GoldCounts], Float[Array, " num_labelers"]]] = {
    gtx.NAME: lambda counts: accuracy_mle(counts).accuracy,
    "beta": lambda counts: BetaPosterior.from_counts(counts, CohortPrior(0.5, 2.0)).mean,
    EMPIRICAL_BAYES: lambda counts: (
        BetaPosterior.from_counts(counts, CohortPrior.fit(counts, 2)).mean
    ),
}
"""Accuracies from gold: the paper's Eq. 4, the mean under Beta(1, 1), and empirical Bayes."""

STYLES: dict[str, dict[str, Any]] = {
    KNOWN: {"color": "black", "linestyle": "--"},
    gtx.NAME: MARKED_LOOKS[gtx.NAME],
    "beta": {"color": "#b03a2e", "linestyle": "--", "marker": "s"},
    EMPIRICAL_BAYES: {"color": "#b9770e", "linestyle": "-.", "marker": "^"},
    joint_method.NAME: MARKED_LOOKS[joint_method.NAME],
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

    @property
    def settings(self) -> list[tuple[str, int | None]]:
        """Methods, and how many gold answers they have of each labeler."""
        methods = (*ESTIMATORS, joint_method.NAME)
        return [(KNOWN, None), *((method, m) for method in methods for m in self.gold_per_labeler)]


def run(
    key: Key[Array, ""],
    config: Config | None = None,
    *,
    runs: int = DEFAULT_RUNS,
    **options: Unpack[RunOptions],
) -> Study:
    """Simulate both cohorts, all sizes of the assessment set on the same labelers and answers.

    A larger set contains the smaller ones. Without gold there is no proportion right, and the
    row of `gtx` is empty.
    """
    config = config or Config()
    progress, mesh = options.get("progress", silent), options.get("mesh")
    key_gold, key_answers = jax.random.split(key)
    gold = map_cohorts(partial(draw_gold, config=config), key_gold, runs, mesh=mesh)
    rows: list[Row] = []
    one_run = partial(simulate_run, config=config)  # one object, so that it compiles once
    for at, (cohort, (accuracy, num_correct)) in enumerate(gold.items()):
        estimates = np.stack(
            [estimate(*one, config) for one in zip(accuracy, num_correct, strict=True)]
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
            rows += _rows(cohort, strategy, scores, config)
    return Study(NAME, runs, rows)


def draw_gold(
    key: Key[Array, ""], low: ScalarLike, high: ScalarLike, config: Config
) -> tuple[Float[Array, " num_labelers"], Int[Array, "num_sizes num_labelers"]]:
    """A cohort's true accuracies, and right answers to the first m gold examples for every m."""
    key_cohort, key_gold = jax.random.split(key)
    labelers = uniform_cohort(key_cohort, config.num_labelers, low, high)
    return labelers.accuracy, assess(key_gold, labelers, config.gold_per_labeler).num_correct


def estimate(
    accuracy: Float[np.ndarray, " num_labelers"],
    num_correct: Int[np.ndarray, "num_sizes num_labelers"],
    config: Config,
) -> Float[np.ndarray, "num_estimates num_labelers"]:
    """The accuracies of all settings but those that learn: the true ones, then those by gold.

    Chance where there is no estimate.
    """
    found = [accuracy]
    for method in ESTIMATORS:
        for right, num_gold in zip(num_correct, config.gold_per_labeler, strict=True):
            counts = GoldCounts(jnp.asarray(right), jnp.full(right.shape, num_gold, jnp.int32))
            found.append(np.nan_to_num(ESTIMATORS[method](counts), nan=0.5))
    return np.stack(found).astype(accuracy.dtype)


def simulate_run(
    key: Key[Array, ""],
    accuracy: Float[Array, " num_labelers"],
    estimates: Float[Array, "num_estimates num_labelers"],
    num_correct: Int[Array, "num_sizes num_labelers"],
    config: Config,
) -> dict[str, Score]:
    """Both strategies with the posterior at every estimate of the accuracies, then learning."""
    key_threshold, key_uncertainty = jax.random.split(key)
    labelers, most = OneCoin(accuracy, 2), config.max_labels
    stream = simulate_queue(key_threshold, labelers, config.budget, max_labels=most)
    table = simulate_queue(key_uncertainty, labelers, config.num_examples)
    num_gold = jnp.asarray(config.gold_per_labeler, jnp.int32)[:, None]
    gold = GoldCounts(num_correct, jnp.broadcast_to(num_gold, num_correct.shape))
    spend = partial(_spend, estimates=estimates, gold=gold, budget=config.budget)
    return {
        "confidence-threshold": spend(ConfidenceThreshold(config.threshold, most), stream),
        "uncertainty": spend(UncertaintySampling(config.num_labelers), table),
    }


def _spend(
    policy: AbstractPolicy,
    queue: AnswerQueue,
    estimates: Float[Array, "num_estimates num_labelers"],
    gold: GoldCounts,
    budget: int,
) -> Score:
    """Scores at each of the estimates, then learning from each of the assessments."""
    build = AGGREGATORS[gtx.NAME]

    def with_known(accuracy: Float[Array, " num_labelers"]) -> Score:
        return collect(build(accuracy), queue, policy, budget)

    def while_learning(gold: GoldCounts) -> Score:
        learnt = learning.collect(policy, gold, queue, budget)
        path = offline.class_prob_path(build(learnt.accuracy), queue)
        return score(learnt.bought, losses(path, queue.true_label), budget)

    every = jax.lax.map(with_known, estimates), jax.lax.map(while_learning, gold)
    return jax.tree.map(lambda *each: jnp.concatenate(each), *every)


def _rows(cohort: str, strategy: str, scores: Score, config: Config) -> list[Row]:
    rows: list[Row] = []
    for place, (method, num_gold) in enumerate(config.settings):
        row: Row = {
            "cohort": cohort,
            "method": method,
            "strategy": strategy,
            "gold_per_labeler": num_gold,
            "threshold": config.threshold if strategy == "confidence-threshold" else None,
            "budget": config.budget,
        }
        for name in ("error", "mae", "num_examples", "labels_per_example"):
            row[name] = figure(getattr(scores, name)[:, place])
        row["error_over_known"] = ratio(scores.error[:, place], scores.error[:, 0])
        if method == gtx.NAME and num_gold == 0:  # no estimate
            row |= {name: NO_FIGURE for name, cell in row.items() if isinstance(cell, dict)}
        rows.append(row)
    return rows


@styled
def plot(study: Study) -> Figure:
    """Error, and the examples labelled, against gold answers per labeler; a column per cohort."""
    stream, table = {"strategy": "confidence-threshold"}, {"strategy": "uncertainty"}
    panels = (
        Panel("error", "error, %, confidence threshold", 100.0, stream),
        Panel("num_examples", "examples labelled for the budget", 1.0, stream),
        Panel("error", "error, %, uncertainty sampling", 100.0, table),
    )
    drawn, axes = by_cohort(panels, "gold answers per labeler", (9.4, 9.6))
    for ax, cohort, panel in axes:
        _panel(ax, study.where(cohort=cohort, **panel.where), panel)
    axes[0][0].legend()
    name_spread(drawn, "bars", 2, study.runs)
    return drawn


def _panel(ax: Axes, rows: list[Row], panel: Panel) -> None:
    for method, style in STYLES.items():
        mine = [r for r in rows if r["method"] == method and r[panel.name]["mean"] is not None]
        mean, se = series(mine, panel.name, panel.scale)
        if method == KNOWN:
            ax.axhline(mean[0], label="accuracies known", **style)
            continue
        x = [row["gold_per_labeler"] for row in mine]
        ax.errorbar(x, mean, yerr=2 * se, label=method, markersize=4, linewidth=1.3, **style)
    ax.set_xscale("symlog", linthresh=1)
    sizes = sorted({row["gold_per_labeler"] for row in rows} - {None})
    ax.set_xticks(sizes, [str(m) for m in sizes], fontsize=8)
    ax.minorticks_off()
    if panel.name == "error":
        ax.set_yscale("log")
        number_axis(ax.yaxis, 0.2, 0.5, 1, 2, 5, 10, 20, 50)
    else:
        ax.set_ylim(bottom=0)
