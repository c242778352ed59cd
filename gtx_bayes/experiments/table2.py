"""Table 2: uncertainty sampling, by method and cohort (paper, sec. 3.4).

The paper's figures: GTX ends at .29 % error where the next best, majority voting, ends at 2.64 %
(accurate labelers), and at 9.46 % where soft voting ends at 14.9 % (less accurate ones).
"""

import dataclasses
from functools import partial

import jax
import matplotlib.pyplot as plt
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Key, ScalarLike
from matplotlib.figure import Figure

from gtx_bayes.aggregation import gtx, majority_vote, soft_vote, weighted_majority_vote
from gtx_bayes.aggregation.base import AbstractAggregator
from gtx_bayes.collection import whole_run
from gtx_bayes.collection.uncertainty_sampling import UncertaintySampling
from gtx_bayes.experiments.runs import Progress, silent
from gtx_bayes.experiments.setting import (
    AGGREGATORS,
    COHORT_TITLES,
    COHORTS,
    METHOD_COLOURS,
    Score,
    losses,
    map_cohorts,
    score,
)
from gtx_bayes.experiments.study import Printed, Row, Study, figure
from gtx_bayes.simulation import AnswerQueue, simulate_queue, uniform_cohort

NAME = "table2"
DEFAULT_RUNS = 10

PRINTED: dict[tuple[str, str], dict[str, Printed]] = {
    ("accurate", majority_vote.NAME): {
        "error": Printed(0.0264, 0.0043),
        "mae": Printed(0.0522, 0.0055),
    },
    ("accurate", weighted_majority_vote.NAME): {
        "error": Printed(0.0270, 0.0047),
        "mae": Printed(0.0524, 0.0059),
    },
    ("accurate", soft_vote.NAME): {
        "error": Printed(0.0385, 0.0042),
        "mae": Printed(0.127, 0.0102),
    },
    ("accurate", gtx.NAME): {"error": Printed(0.0029, 0.0007), "mae": Printed(0.0064, 0.0016)},
    ("less_accurate", majority_vote.NAME): {
        "error": Printed(0.179, 0.0095),
        "mae": Printed(0.222, 0.0096),
    },
    ("less_accurate", weighted_majority_vote.NAME): {
        "error": Printed(0.174, 0.0080),
        "mae": Printed(0.220, 0.0084),
    },
    ("less_accurate", soft_vote.NAME): {
        "error": Printed(0.149, 0.0088),
        "mae": Printed(0.327, 0.0102),
    },
    ("less_accurate", gtx.NAME): {"error": Printed(0.0946, 0.0088), "mae": Printed(0.168, 0.0125)},
}
"""Table 2 of the paper."""


@dataclasses.dataclass(frozen=True)
class Config:
    """The paper's settings.

    Attributes:
        num_labelers: J; an example can get a label of each.
        num_examples: N.
        budget: B.
    """

    num_labelers: int = 10
    num_examples: int = 5000
    budget: int = 15_000


def run(
    key: Key[Array, ""],
    config: Config | None = None,
    *,
    runs: int = DEFAULT_RUNS,
    progress: Progress = silent,
    mesh: Mesh | None = None,
) -> Study:
    """Simulate both cohorts and put the figures beside the paper's."""
    config = config or Config()
    rows: list[Row] = []
    by_cohort = map_cohorts(
        partial(simulate_run, config=config), key, runs, progress=progress, mesh=mesh
    )
    for cohort, found in by_cohort.items():
        for method in AGGREGATORS:
            scores = found[method]
            printed = PRINTED[cohort, method] if config == Config() else {}
            rows.append(
                {
                    "cohort": cohort,
                    "method": method,
                    "strategy": "uncertainty",
                    "threshold": None,
                    "budget": config.budget,
                    "num_examples": figure(scores.num_examples),
                    "labels_per_example": figure(scores.labels_per_example),
                    "error": figure(scores.error, printed.get("error")),
                    "mae": figure(scores.mae, printed.get("mae")),
                }
            )
    return Study(NAME, runs, rows)


def draw(
    key: Key[Array, ""], low: ScalarLike, high: ScalarLike, config: Config
) -> tuple[dict[str, AbstractAggregator], AnswerQueue]:
    """A new cohort, the methods that know it, and a data set with all the answers to come."""
    key_cohort, key_queue = jax.random.split(key)
    labelers = uniform_cohort(key_cohort, config.num_labelers, low, high)
    queue = simulate_queue(key_queue, labelers, config.num_examples)
    methods = {name: build(labelers.accuracy) for name, build in AGGREGATORS.items()}
    return methods, jax.lax.optimization_barrier(queue)


def simulate_run(
    key: Key[Array, ""], low: ScalarLike, high: ScalarLike, config: Config
) -> dict[str, Score]:
    """One run of every method to the end of the budget."""
    methods, queue = draw(key, low, high, config)
    return {name: collect(aggregator, queue, config.budget) for name, aggregator in methods.items()}


def collect(aggregator: AbstractAggregator, queue: AnswerQueue, budget: int) -> Score:
    """Uncertainty sampling until the budget is spent."""
    path = whole_run.class_prob_path(aggregator, queue)
    bought = whole_run.collect(UncertaintySampling(queue.max_labels), path, budget)
    return score(bought, losses(path, queue.true_label), budget)


def plot(study: Study) -> Figure:
    """Error and MAE of every method, two standard errors, crosses where the paper's are."""
    figure_, axes = plt.subplots(2, 2, figsize=(9.0, 4.6), sharey=True, layout="constrained")
    for line, cohort in enumerate(COHORTS):
        rows = [row for row in study.rows if row["cohort"] == cohort]
        at = np.arange(len(rows))[::-1]
        for column, (name, title) in enumerate([("error", "error, %"), ("mae", "MAE, %")]):
            ax = axes[line, column]
            spread = [200 * (row[name]["se"] or 0.0) for row in rows]
            mean = [100 * row[name]["mean"] for row in rows]
            ax.barh(at, mean, xerr=spread, color=METHOD_COLOURS, ecolor="#5b6770", height=0.6)
            for y, row in zip(at, rows, strict=True):
                if "paper" in row[name]:
                    ax.plot(100 * row[name]["paper"], y, "x", color="black", mew=2, markersize=8)
            ax.set_yticks(at, [row["method"] for row in rows])
            ax.set_xlim(left=0)
            ax.spines[["top", "right"]].set_visible(False)
            if line:
                ax.set_xlabel(f"{title} (cross: the paper)")
        axes[line, 0].set_title(COHORT_TITLES[cohort], loc="left", fontsize=10)
    return figure_
