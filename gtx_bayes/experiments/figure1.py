"""Figure 1: error against labels per example, every method and threshold (paper, sec. 3.3).

Accurate labelers; one point per trial and threshold, and the mean of each threshold.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from jax.sharding import Mesh
from jaxtyping import Array, Key
from matplotlib.figure import Figure

from gtx_bayes.experiments import table1
from gtx_bayes.experiments.runs import Progress, silent
from gtx_bayes.experiments.setting import AGGREGATORS, COHORT_TITLES, METHOD_COLOURS
from gtx_bayes.experiments.study import Row, Study

NAME = "figure1"
DEFAULT_RUNS = table1.DEFAULT_RUNS
Config = table1.Config

_COHORT = "accurate"
_MOST_POINTS = 4000  # drawn per method


def run(
    key: Key[Array, ""],
    config: Config | None = None,
    *,
    runs: int = DEFAULT_RUNS,
    progress: Progress = silent,
    mesh: Mesh | None = None,
) -> Study:
    """Simulate as for Table 1, with the same runs for the same key; keep every trial."""
    config = config or Config()
    found = table1.simulate(key, config, (_COHORT,), runs=runs, progress=progress, mesh=mesh)[
        _COHORT
    ]
    rows: list[Row] = []
    points = []
    for method in AGGREGATORS:
        scores = found[method]
        rows += table1.rows_of(_COHORT, method, scores, config)
        points.append(
            pd.DataFrame(
                {
                    "method": method,
                    "labels_per_example": np.ravel(scores.labels_per_example),
                    "error": np.ravel(scores.error),
                }
            )
        )
    return Study(NAME, runs, rows, pd.concat(points, ignore_index=True))


def plot(study: Study) -> Figure:
    """Trials as faint dots, the mean of each threshold as a line."""
    figure_, ax = plt.subplots(figsize=(6.8, 4.6), layout="constrained")
    for method, colour in zip(AGGREGATORS, METHOD_COLOURS, strict=True):
        trials = study.points[study.points["method"] == method]
        step = -(-len(trials) // _MOST_POINTS)
        shown = trials.iloc[::step]
        faint = float(np.clip(150 / len(shown), 0.12, 0.6))
        ax.scatter(
            shown["labels_per_example"], 100 * shown["error"], s=6, color=colour, alpha=faint, lw=0
        )
        rows = [row for row in study.rows if row["method"] == method]
        x = [row["labels_per_example"]["mean"] for row in rows]
        y = [100 * row["error"]["mean"] for row in rows]
        ax.plot(x, y, color=colour, marker="o", markersize=4, label=method)
    ax.set_xlabel("labels per example")
    ax.set_ylabel("error, %")
    ax.set_ylim(bottom=0)
    ax.set_title(COHORT_TITLES[_COHORT], loc="left", fontsize=10)
    ax.legend(frameon=False, fontsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    return figure_
