"""Table 1: the confidence threshold strategy, by method, threshold and cohort (paper, sec. 3.3).

The paper's figures: GTX reaches .83 % error with 2.75 labels per example where soft voting needs
4.78 (accurate labelers), and 9.30 % with 4.07 where the others need 5 (less accurate ones).
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Key, ScalarLike
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gtx_bayes.aggregation import gtx, majority_vote, soft_vote, weighted_majority_vote
from gtx_bayes.aggregation.base import AbstractAggregator
from gtx_bayes.collection import whole_run
from gtx_bayes.collection.base import AbstractPolicy
from gtx_bayes.collection.confidence_threshold import ConfidenceThreshold
from gtx_bayes.collection.fixed import Fixed
from gtx_bayes.experiments.runs import Progress, silent
from gtx_bayes.experiments.setting import (
    AGGREGATORS,
    COHORT_TITLES,
    COHORTS,
    METHOD_COLOURS,
    METHOD_DASHES,
    Score,
    losses,
    map_cohorts,
    score,
)
from gtx_bayes.experiments.study import Printed, Row, Study, figure
from gtx_bayes.simulation import AnswerQueue, simulate_queue, uniform_cohort

NAME = "table1"
DEFAULT_RUNS = 100

_BESIDE = 0.997  # where the paper's figures for constant numbers of labels are drawn

ONE_LABEL_IS_CERTAIN = (majority_vote.NAME, weighted_majority_vote.NAME)
"""Methods with confidence 1 after one label: they get a constant number of labels instead."""


class PrintedRow(NamedTuple):
    """A row of the paper's Table 1; `setting` is its threshold, or the number of labels."""

    setting: float
    labels_per_example: Printed
    num_examples: Printed
    error: Printed
    mae: Printed


PRINTED = {
    ("accurate", majority_vote.NAME): PrintedRow(
        setting=5,
        labels_per_example=Printed(5.0, 0.0),
        num_examples=Printed(3000.0, 0.0),
        error=Printed(0.0086, 0.0004),
        mae=Printed(0.1, 0.0017),
    ),
    ("accurate", weighted_majority_vote.NAME): PrintedRow(
        setting=5,
        labels_per_example=Printed(5.0, 0.0),
        num_examples=Printed(3000.0, 0.0),
        error=Printed(0.0083, 0.0004),
        mae=Printed(0.0973, 0.0017),
    ),
    ("accurate", soft_vote.NAME): PrintedRow(
        setting=0.99,
        labels_per_example=Printed(4.78, 15000 / 3140**2 * 20.9),
        num_examples=Printed(3140.0, 20.9),
        error=Printed(0.0087, 0.0004),
        mae=Printed(0.168, 0.0032),
    ),
    ("accurate", gtx.NAME): PrintedRow(
        setting=0.99,
        labels_per_example=Printed(2.75, 2.75**2 / 15000 * 67.0),
        num_examples=Printed(4517.0, 67.0, implied=15000 / 2.75),
        error=Printed(0.0083, 0.0004),
        mae=Printed(0.0142, 0.0006),
    ),
    ("less_accurate", majority_vote.NAME): PrintedRow(
        setting=5,
        labels_per_example=Printed(5.0, 0.0),
        num_examples=Printed(3000.0, 0.0),
        error=Printed(0.104, 0.003),
        mae=Printed(0.251, 0.003),
    ),
    ("less_accurate", weighted_majority_vote.NAME): PrintedRow(
        setting=5,
        labels_per_example=Printed(5.0, 0.0),
        num_examples=Printed(3000.0, 0.0),
        error=Printed(0.103, 0.003),
        mae=Printed(0.243, 0.003),
    ),
    ("less_accurate", soft_vote.NAME): PrintedRow(
        setting=0.91,
        labels_per_example=Printed(5.0, 0.0),
        num_examples=Printed(3000.0, 0.0),
        error=Printed(0.0936, 0.003),
        mae=Printed(0.361, 0.003),
    ),
    ("less_accurate", gtx.NAME): PrintedRow(
        setting=0.96,
        labels_per_example=Printed(4.07, 15000 / 3690**2 * 33.0),
        num_examples=Printed(3690.0, 33.0),
        error=Printed(0.093, 0.003),
        mae=Printed(0.139, 0.004),
    ),
}
"""Table 1 of the paper.

N = 4,517 for GTX is a misprint: its row's 2.75 labels per example make 15,000 / 2.75 = 5,455. The
standard error of a mean number of labels follows from that of N, as k = B / N.
"""


@dataclasses.dataclass(frozen=True)
class Config:
    """The paper's settings.

    Attributes:
        num_labelers: J.
        budget: B.
        max_labels: kappa.
        thresholds: the values of tau tried.
    """

    num_labelers: int = 10
    budget: int = 15_000
    max_labels: int = 5
    thresholds: tuple[float, ...] = tuple(round(0.85 + 0.01 * i, 2) for i in range(15))

    def settings(self, method: str) -> tuple[float, ...]:
        """What is varied for a method: its threshold, or the constant number of labels."""
        if method in ONE_LABEL_IS_CERTAIN:
            return tuple(float(k) for k in range(1, self.max_labels + 1))
        return self.thresholds

    def policy(self, method: str) -> Callable[[Float[Array, ""]], AbstractPolicy]:
        """The policy of a method, given a setting."""
        if method in ONE_LABEL_IS_CERTAIN:
            return Fixed
        return lambda threshold: ConfidenceThreshold(threshold, self.max_labels)


def run(
    key: Key[Array, ""],
    config: Config | None = None,
    *,
    runs: int = DEFAULT_RUNS,
    progress: Progress = silent,
    mesh: Mesh | None = None,
) -> Study:
    """Simulate both cohorts and put the figures beside the paper's.

    Every setting of a method has a row. The one with the lowest mean error is `best`; the paper's
    figures stand in the row with the paper's setting and, for the error alone, in the best row:
    a printed "best error" is the best over the thresholds wherever that was.
    """
    config = config or Config()
    found = simulate(key, config, tuple(COHORTS), runs=runs, progress=progress, mesh=mesh)
    rows = [
        row
        for cohort, by_method in found.items()
        for method in AGGREGATORS
        for row in rows_of(cohort, method, by_method[method], config)
    ]
    return Study(NAME, runs, rows)


def simulate(
    key: Key[Array, ""],
    config: Config,
    cohorts: tuple[str, ...],
    *,
    runs: int,
    progress: Progress = silent,
    mesh: Mesh | None = None,
) -> dict[str, dict[str, Score]]:
    """Scores by cohort and method, each of shape (runs, settings of the method)."""
    run = partial(simulate_run, config=config)
    return map_cohorts(run, key, runs, cohorts=cohorts, progress=progress, mesh=mesh)


def simulate_run(
    key: Key[Array, ""], low: ScalarLike, high: ScalarLike, config: Config
) -> dict[str, Score]:
    """One new cohort and data set larger than the budget, collected by every method and setting."""
    key_cohort, key_queue = jax.random.split(key)
    labelers = uniform_cohort(key_cohort, config.num_labelers, low, high)
    queue = simulate_queue(key_queue, labelers, config.budget, max_labels=config.max_labels)
    queue = jax.lax.optimization_barrier(queue)
    return {
        method: collect_all(build(labelers.accuracy), queue, method, config)
        for method, build in AGGREGATORS.items()
    }


def collect_all(
    aggregator: AbstractAggregator, queue: AnswerQueue, method: str, config: Config
) -> Score:
    """Spend the budget once for every setting of a method."""
    path = whole_run.class_prob_path(aggregator, queue)
    loss = losses(path, queue.true_label)
    policy = config.policy(method)

    def collect(setting: Float[Array, ""]) -> Score:
        return score(whole_run.collect(policy(setting), path, config.budget), loss, config.budget)

    return jax.vmap(collect)(jnp.asarray(config.settings(method)))


def rows_of(cohort: str, method: str, scores: Score, config: Config) -> list[Row]:
    """A row for every setting of a method, the paper's figures in those it prints."""
    printed = PRINTED[cohort, method] if config == Config() else None
    best = int(np.argmin(np.mean(scores.error, axis=0)))
    rows: list[Row] = []
    for at, setting in enumerate(config.settings(method)):
        constant = method in ONE_LABEL_IS_CERTAIN
        row: Row = {
            "cohort": cohort,
            "method": method,
            "strategy": "fixed" if constant else "confidence-threshold",
            "threshold": None if constant else setting,
            "max_labels": int(setting) if constant else config.max_labels,
            "budget": config.budget,
            "best": at == best,
            "paper_setting": printed is not None and bool(np.isclose(setting, printed.setting)),
        }
        for name in ("error", "mae", "num_examples", "labels_per_example"):
            shown = row["paper_setting"] or (row["best"] and name == "error")
            beside = getattr(printed, name) if printed is not None and shown else None
            row[name] = figure(getattr(scores, name)[:, at], beside)
        rows.append(row)
    return rows


def plot(study: Study) -> Figure:
    """Error and labels per example against the threshold; crosses where the paper's figures are."""
    figure_, axes = plt.subplots(2, 2, figsize=(9.0, 6.4), sharex=True, layout="constrained")
    for column, cohort in enumerate(COHORTS):
        for row, (name, scale) in enumerate([("error", 100.0), ("labels_per_example", 1.0)]):
            ax = axes[row, column]
            for at, method in enumerate(AGGREGATORS):
                _plot_method(ax, study, cohort, method, name, scale, at)
            ax.spines[["top", "right"]].set_visible(False)
            ax.set_ylim(bottom=0)
        axes[0, column].set_title(COHORT_TITLES[cohort], loc="left", fontsize=10)
        axes[1, column].set_xlabel("confidence threshold")
    axes[0, 0].set_ylabel("error, %")
    axes[1, 0].set_ylabel("labels per example")
    axes[1, 0].plot([], [], "kx", markersize=8, mew=2, label="the paper")
    axes[1, 0].legend(frameon=False, fontsize=8)
    return figure_


def _plot_method(
    ax: Axes, study: Study, cohort: str, method: str, name: str, scale: float, at: int
) -> None:
    rows = [row for row in study.rows if (row["cohort"], row["method"]) == (cohort, method)]
    look: dict[str, Any] = {"color": METHOD_COLOURS[at], "linestyle": METHOD_DASHES[at]}
    constant = method in ONE_LABEL_IS_CERTAIN
    if constant:
        most = rows[-1]
        label = f"{method}, {most['max_labels']:g} labels"
        ax.axhline(scale * most[name]["mean"], label=label, **look)
    else:
        x = [row["threshold"] for row in rows]
        y = np.array([scale * row[name]["mean"] for row in rows])
        spread = np.array([2 * scale * (row[name]["se"] or 0.0) for row in rows])
        ax.fill_between(x, y - spread, y + spread, color=look["color"], alpha=0.18, linewidth=0)
        ax.plot(x, y, marker=".", label=method, **look)
    for row in rows:
        if row["paper_setting"]:
            place = _BESIDE + 0.004 * at if constant else row["threshold"]
            paper = scale * row[name]["paper"]
            ax.plot(place, paper, "x", color=look["color"], markersize=9, mew=2)
