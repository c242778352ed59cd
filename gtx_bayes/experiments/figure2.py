"""Figure 2: error and MAE after every label of uncertainty sampling (paper, sec. 3.4)."""

from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from jax.sharding import Mesh
from jaxtyping import Array, Float, Key, ScalarLike
from matplotlib.figure import Figure

from gtx_bayes.aggregation.base import AbstractAggregator
from gtx_bayes.collection import whole_run
from gtx_bayes.collection.uncertainty_sampling import UncertaintySampling
from gtx_bayes.experiments import table2
from gtx_bayes.experiments.runs import Progress, silent
from gtx_bayes.experiments.setting import (
    AGGREGATORS,
    COHORT_TITLES,
    COHORTS,
    METHOD_COLOURS,
    METHOD_DASHES,
    losses,
    map_cohorts,
)
from gtx_bayes.experiments.study import Row, Study
from gtx_bayes.simulation import AnswerQueue

NAME = "figure2"
DEFAULT_RUNS = table2.DEFAULT_RUNS
Config = table2.Config


class Curve(NamedTuple):
    """Metrics after every label, from one per example to the whole budget.

    Attributes:
        error: error rate over the whole data set.
        mae: mean absolute error.
    """

    error: Float[Array, " num_counts"]
    mae: Float[Array, " num_counts"]


def run(
    key: Key[Array, ""],
    config: Config | None = None,
    *,
    runs: int = DEFAULT_RUNS,
    progress: Progress = silent,
    mesh: Mesh | None = None,
) -> Study:
    """Simulate as for Table 2, with the same runs for the same key; keep every label's effect.

    A row holds whole curves: lists `num_labels`, and `mean` and `se` of `error` and `mae`; for a
    single run `se` is None.
    """
    config = config or Config()
    num_labels = np.arange(config.num_examples, config.budget + 1)
    rows: list[Row] = []
    by_cohort = map_cohorts(
        partial(simulate_run, config=config), key, runs, progress=progress, mesh=mesh
    )
    for cohort, found in by_cohort.items():
        for method in AGGREGATORS:
            curve = found[method]
            rows.append(
                {
                    "cohort": cohort,
                    "method": method,
                    "strategy": "uncertainty",
                    "threshold": None,
                    "budget": config.budget,
                    "num_labels": num_labels.tolist(),
                    "error": _summary(curve.error),
                    "mae": _summary(curve.mae),
                }
            )
    points = pd.concat([_table(row) for row in rows], ignore_index=True)
    return Study(NAME, runs, rows, points)


def simulate_run(
    key: Key[Array, ""], low: ScalarLike, high: ScalarLike, config: Config
) -> dict[str, Curve]:
    """One run of every method, every label kept."""
    methods, queue = table2.draw(key, low, high, config)
    return {name: follow(aggregator, queue, config) for name, aggregator in methods.items()}


def follow(aggregator: AbstractAggregator, queue: AnswerQueue, config: Config) -> Curve:
    """Uncertainty sampling label by label, by one sort: each changes one example's losses."""
    path = whole_run.class_prob_path(aggregator, queue)
    loss = losses(path, queue.true_label)
    bought = whole_run.schedule(UncertaintySampling(queue.max_labels), path).purchases()
    example, place = bought.example[: config.budget], bought.place[: config.budget]

    def curve(part: Float[Array, "num_steps_and_one num_examples"]) -> Float[Array, " num_counts"]:
        change = part[place + 1, example] - part[place, example]
        total = jnp.sum(part[0]) + jnp.cumsum(change)
        return total[config.num_examples - 1 :] / config.num_examples

    return Curve(curve(loss.error), curve(loss.absolute))


def plot(study: Study) -> Figure:
    """Both metrics for both cohorts, with bands of one standard error, as in the paper."""
    figure_, axes = plt.subplots(2, 2, figsize=(9.4, 6.4), sharex=True, layout="constrained")
    methods = list(dict.fromkeys(row["method"] for row in study.rows))
    for row in study.rows:
        line = list(COHORTS).index(row["cohort"])
        colour = METHOD_COLOURS[methods.index(row["method"])]
        x = np.asarray(row["num_labels"])
        for column, name in enumerate(["error", "mae"]):
            ax = axes[line, column]
            mean = 100 * np.asarray(row[name]["mean"])
            se = 100 * np.asarray(row[name]["se"] or np.zeros_like(mean))
            ax.fill_between(x, mean - se, mean + se, color=colour, alpha=0.2, linewidth=0)
            dash = METHOD_DASHES[methods.index(row["method"])]
            ax.plot(x, mean, color=colour, label=row["method"], linewidth=1.4, linestyle=dash)
            ax.set_title(COHORT_TITLES[row["cohort"]], loc="left", fontsize=10)
            ax.set_ylabel(f"{'error' if name == 'error' else 'MAE'}, %")
            ax.spines[["top", "right"]].set_visible(False)
    for ax in axes.flat:
        ax.set_ylim(bottom=0)
    for ax in axes[1]:
        ax.set_xlabel("labels collected")
    axes[0, 1].legend(frameon=False, fontsize=8)
    return figure_


def _summary(values: Any) -> dict[str, list[float] | None]:
    flat = np.asarray(values, np.float64)
    mean = flat.mean(axis=0).round(7).tolist()
    if len(flat) < 2:
        return {"mean": mean, "se": None}
    return {"mean": mean, "se": (flat.std(axis=0, ddof=1) / len(flat) ** 0.5).round(7).tolist()}


def _table(row: Row) -> pd.DataFrame:
    columns = {name: row[name] for name in ("cohort", "method", "num_labels")}
    for name in ("error", "mae"):
        columns |= {name: row[name]["mean"], f"{name}_se": row[name]["se"] or np.nan}
    return pd.DataFrame(columns)
