"""Figure 2: error and MAE after every label of uncertainty sampling (paper, sec. 3.4)."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float, Key, ScalarLike
from matplotlib.figure import Figure

from gtx_bayes.aggregation.base import AbstractAggregator
from gtx_bayes.collection import offline
from gtx_bayes.collection.uncertainty_sampling import UncertaintySampling
from gtx_bayes.experiments import table2
from gtx_bayes.experiments.drawing import ERROR, LOOKS, MAE, band, by_cohort, name_spread, styled
from gtx_bayes.experiments.setting import AGGREGATORS, CohortStudy, losses
from gtx_bayes.experiments.study import Row, Study
from gtx_bayes.experiments.table2 import DEFAULT_RUNS, Config
from gtx_bayes.simulation import AnswerQueue

NAME = "figure2"


class Curve(NamedTuple):
    """Metrics after every label, from one per example to the whole budget.

    Attributes:
        error: error rate over the whole data set.
        mae: mean absolute error.
    """

    error: Float[Array, " num_counts"]
    mae: Float[Array, " num_counts"]


def simulate_run(
    key: Key[Array, ""], low: ScalarLike, high: ScalarLike, config: Config
) -> dict[str, Curve]:
    """One run of every method, every label kept."""
    methods, queue = table2.draw(key, low, high, config)
    return {name: follow(aggregator, queue, config) for name, aggregator in methods.items()}


def follow(aggregator: AbstractAggregator, queue: AnswerQueue, config: Config) -> Curve:
    """Uncertainty sampling label by label, by one sort: each changes one example's losses."""
    path = offline.class_prob_path(aggregator, queue)
    bought = offline.purchases(offline.schedule(UncertaintySampling(queue.max_labels), path))
    example, place = bought.example[: config.budget], bought.place[: config.budget]

    def curve(part: Float[Array, "num_steps_and_one num_examples"]) -> Float[Array, " num_counts"]:
        change = part[place + 1, example] - part[place, example]
        total = jnp.sum(part[0]) + jnp.cumsum(change)
        return total[config.num_examples - 1 :] / config.num_examples

    return Curve(*(curve(part) for part in losses(path, queue.true_label)))


def _rows(cohort: str, curves: dict[str, Curve], config: Config) -> list[Row]:
    rows: list[Row] = []
    for method in AGGREGATORS:
        row: Row = {"cohort": cohort, "method": method, "strategy": "uncertainty"}
        row |= {"threshold": None, "budget": config.budget}
        row["num_labels"] = list(range(config.num_examples, config.budget + 1))
        rows.append(row | {name: _summary(part) for name, part in curves[method]._asdict().items()})
    return rows


def _summary(values: Any) -> dict[str, list[float] | None]:
    flat = np.asarray(values, np.float64)
    mean = flat.mean(axis=0).round(7).tolist()
    if len(flat) < 2:
        return {"mean": mean, "se": None}
    return {"mean": mean, "se": (flat.std(axis=0, ddof=1) / len(flat) ** 0.5).round(7).tolist()}


def _points(rows: list[Row], _: Any) -> pd.DataFrame:
    """The curves again, a line for each number of labels."""
    tables = []
    for row in rows:
        columns = {name: row[name] for name in ("cohort", "method", "num_labels")}
        for name in Curve._fields:
            columns |= {name: row[name]["mean"], f"{name}_se": row[name]["se"] or np.nan}
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


run = CohortStudy(NAME, DEFAULT_RUNS, Config, simulate_run, _rows, _points)
"""The runs of Table 2 for the same key, every label's effect kept.

A row holds whole curves: lists `num_labels`, and `mean` and `se` of `error` and `mae`; for a single
run `se` is None.
"""


def table(study: Study) -> dict[str, list[Row]]:
    """By cohort, the curves where the number of labels per example is whole."""
    found: dict[str, list[Row]] = {}
    for row in study.rows:
        num_labels = np.asarray(row["num_labels"])
        for at in np.flatnonzero(num_labels % num_labels[0] == 0):
            line: Row = {"method": row["method"], "labels": f"{num_labels[at]:,}"}
            line["per example"] = f"{num_labels[at] // num_labels[0]}"
            for name in Curve._fields:
                mean, se = row[name]["mean"], row[name]["se"]
                line[name] = {"mean": mean[at], "se": None if se is None else se[at]}
            found.setdefault(row["cohort"], []).append(line)
    return found


@styled
def plot(study: Study) -> Figure:
    """Both metrics for both cohorts, with bands of one standard error, as in the paper."""
    drawn, axes = by_cohort((ERROR, MAE), "labels collected", (9.4, 6.4), across=True)
    for ax, cohort, panel in axes:
        for row in study.where(cohort=cohort):
            method, cell = row["method"], row[panel.name]
            mean, se = 100 * np.asarray(cell["mean"]), 100 * np.asarray(cell["se"] or 0.0)
            band(ax, row["num_labels"], mean, se, label=method, linewidth=1.4, **LOOKS[method])
        ax.set_ylim(bottom=0)
    axes[1][0].legend()
    name_spread(drawn, "bands", 1, study.runs)
    return drawn
