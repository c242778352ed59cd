"""Figure 1: error against labels per example, every method and threshold (paper, sec. 3.3).

Accurate labelers; one point per trial and threshold, and the mean of each threshold.
"""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from gtx_bayes.experiments.drawing import COHORT_TITLES, LOOKS, series, styled
from gtx_bayes.experiments.setting import AGGREGATORS, CohortStudy
from gtx_bayes.experiments.study import Row, Study
from gtx_bayes.experiments.table1 import DEFAULT_RUNS, Config, rows_of, simulate_run

NAME = "figure1"

_COHORT = "accurate"
_MOST_POINTS = 4000  # drawn per method


def _points(rows: list[Row], scores: Any) -> pd.DataFrame:
    """Every trial of every setting."""
    tables = []
    for method in AGGREGATORS:
        found = scores[_COHORT][method]
        columns = {"method": method, "labels_per_example": np.ravel(found.labels_per_example)}
        tables.append(pd.DataFrame(columns | {"error": np.ravel(found.error)}))
    return pd.concat(tables, ignore_index=True)


run = CohortStudy(NAME, DEFAULT_RUNS, Config, simulate_run, rows_of, _points, (_COHORT,))
"""The runs of Table 1 for the same key, every trial kept."""


def table(study: Study) -> dict[str, list[Row]]:
    """By cohort, the means that the figure draws: of votes all, else every third threshold."""
    lines: list[Row] = []
    for method in AGGREGATORS:
        rows = study.where(cohort=_COHORT, method=method)
        for row in rows if rows[0]["threshold"] is None else rows[::-3][::-1]:
            line = {"method": method, "threshold": "-"}
            if row["threshold"] is not None:
                line["threshold"] = f"{row['threshold']:g}"
            columns = {"labels per example": "labels_per_example", "error": "error"}
            lines.append(line | {title: _plain(row[name]) for title, name in columns.items()})
    return {_COHORT: lines}


def _plain(cell: Row) -> Row:
    """A figure without the paper's, which Table 1 shows."""
    return {"mean": cell["mean"], "se": cell["se"]}


@styled
def plot(study: Study) -> Figure:
    """Trials as faint dots, the mean of each threshold as a line."""
    drawn, ax = plt.subplots(figsize=(6.8, 4.6))
    for method, look in LOOKS.items():
        trials = study.points[study.points["method"] == method]
        shown = trials.iloc[:: -(-len(trials) // _MOST_POINTS)]
        faint = float(np.clip(150 / len(shown), 0.12, 0.6))
        x, y = shown["labels_per_example"], 100 * shown["error"]
        ax.scatter(x, y, s=6, color=look["color"], alpha=faint, lw=0)
        rows = study.where(method=method)
        x, _ = series(rows, "labels_per_example")
        y, _ = series(rows, "error", 100.0)
        ax.plot(x, y, color=look["color"], marker="o", markersize=4, label=method)
    ax.set(xlabel="labels per example", ylabel="error, %", title=COHORT_TITLES[_COHORT])
    ax.set_ylim(bottom=0)
    ax.legend()
    return drawn
