"""Table 2: uncertainty sampling, by method and cohort (paper, sec. 3.4).

The paper's figures: GTX ends at .29 % error where the next best, majority voting, ends at 2.64 %
(accurate labelers), and at 9.46 % where soft voting ends at 14.9 % (less accurate ones).
"""

import dataclasses

import jax
import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Array, Key, ScalarLike
from matplotlib.figure import Figure

from gtx_bayes.aggregation import gtx, majority_vote, soft_vote, weighted_majority_vote
from gtx_bayes.aggregation.base import AbstractAggregator
from gtx_bayes.collection.uncertainty_sampling import UncertaintySampling
from gtx_bayes.experiments import setting
from gtx_bayes.experiments.drawing import COHORT_TITLES, ERROR, LOOKS, MAE, series, styled
from gtx_bayes.experiments.setting import AGGREGATORS, CohortStudy, Score, collect
from gtx_bayes.experiments.study import Printed, Row, Study, figure
from gtx_bayes.simulation import AnswerQueue

NAME = "table2"
DEFAULT_RUNS = 10

PRINTED: dict[tuple[str, str], dict[str, Printed]] = {
    (cohort, method): {"error": Printed(*error), "mae": Printed(*mae)}
    for cohort, method, error, mae in (
        ("accurate", majority_vote.NAME, (0.0264, 0.0043), (0.0522, 0.0055)),
        ("accurate", weighted_majority_vote.NAME, (0.0270, 0.0047), (0.0524, 0.0059)),
        ("accurate", soft_vote.NAME, (0.0385, 0.0042), (0.127, 0.0102)),
        ("accurate", gtx.NAME, (0.0029, 0.0007), (0.0064, 0.0016)),
        ("less_accurate", majority_vote.NAME, (0.179, 0.0095), (0.222, 0.0096)),
        ("less_accurate", weighted_majority_vote.NAME, (0.174, 0.0080), (0.220, 0.0084)),
        ("less_accurate", soft_vote.NAME, (0.149, 0.0088), (0.327, 0.0102)),
        ("less_accurate", gtx.NAME, (0.0946, 0.0088), (0.168, 0.0125)),
    )
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


def draw(
    key: Key[Array, ""], low: ScalarLike, high: ScalarLike, config: Config
) -> tuple[dict[str, AbstractAggregator], AnswerQueue]:
    """A new cohort, the methods that know it, and a data set with all the answers to come."""
    labelers, queue = setting.draw(
        jax.random.split(key), (low, high), config.num_labelers, config.num_examples
    )
    return {name: build(labelers.accuracy) for name, build in AGGREGATORS.items()}, queue


def simulate_run(
    key: Key[Array, ""], low: ScalarLike, high: ScalarLike, config: Config
) -> dict[str, Score]:
    """One run of every method, uncertainty sampling until the budget is spent."""
    methods, queue = draw(key, low, high, config)
    policy = UncertaintySampling(queue.max_labels)
    return {name: collect(each, queue, policy, config.budget) for name, each in methods.items()}


def _rows(cohort: str, scores: dict[str, Score], config: Config) -> list[Row]:
    rows: list[Row] = []
    for method in AGGREGATORS:
        printed = PRINTED[cohort, method] if config == Config() else {}
        row: Row = {"cohort": cohort, "method": method, "strategy": "uncertainty"}
        row |= {"threshold": None, "budget": config.budget}
        found = scores[method]._asdict()
        rows.append(row | {name: figure(found[name], printed.get(name)) for name in found})
    return rows


run = CohortStudy(NAME, DEFAULT_RUNS, Config, simulate_run, _rows)
"""Both cohorts beside the paper's figures."""


@styled
def plot(study: Study) -> Figure:
    """Error and MAE of every method, two standard errors, crosses where the paper's are."""
    drawn, grid = plt.subplots(2, 2, figsize=(9.0, 4.6), sharey=True)
    colours = [look["color"] for look in LOOKS.values()]
    for axes, (cohort, title) in zip(grid, COHORT_TITLES.items(), strict=True):
        rows = study.where(cohort=cohort)
        at = np.arange(len(rows))[::-1]
        for ax, panel in zip(axes, (ERROR, MAE), strict=True):
            mean, se = series(rows, panel.name, panel.scale)
            ax.barh(at, mean, xerr=2 * se, color=colours, ecolor="#5b6770", height=0.6)
            for y, row in zip(at, rows, strict=True):
                if "paper" in row[panel.name]:
                    paper = panel.scale * row[panel.name]["paper"]
                    ax.plot(paper, y, "x", color="black", mew=2, markersize=8)
            ax.set_yticks(at, [row["method"] for row in rows])
            ax.set_xlim(left=0)
            ax.set_xlabel(f"{panel.label} (cross: the paper)")
        axes[0].set_title(title)
    return drawn
