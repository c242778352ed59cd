"""Figure 4: training images, balanced error and ECE against the budget (paper, sec. 4)."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gtx_bayes.experiments.finetuning import METHODS
from gtx_bayes.experiments.setting import COHORT_TITLES, COHORTS
from gtx_bayes.experiments.study import Study

NAME = "figure4"

_PANELS = (
    ("num_training_images", 1.0, "training images"),
    ("balanced_error", 100.0, "balanced error, %"),
    ("ece", 100.0, "expected calibration error, %"),
)


def plot(study: Study) -> Figure:
    """Means over seeds and their standard errors, a row of panels per cohort."""
    figure_, axes = plt.subplots(2, 3, figsize=(11.0, 6.6), sharex=True, layout="constrained")
    for line, cohort in enumerate(COHORTS):
        for column, (name, scale, label) in enumerate(_PANELS):
            ax = axes[line, column]
            for method in METHODS:
                _plot_line(ax, study, cohort, method, name, scale)
            ax.set_ylabel(label)
            ax.spines[["top", "right"]].set_visible(False)
        axes[line, 0].set_ylim(bottom=0)
        axes[line, 0].set_title(COHORT_TITLES[cohort], loc="left", fontsize=10)
    budgets = sorted({row["budget"] for row in study.rows})
    for ax in axes[1]:
        ax.set_xscale("log")
        ax.set_xticks(budgets, [_short(budget) for budget in budgets], fontsize=8)
        ax.minorticks_off()
        ax.set_xlabel("budget, labels")
    figure_.legend(
        *axes[0, 0].get_legend_handles_labels(),
        loc="outside upper center",
        ncols=len(METHODS),
        frameon=False,
        fontsize=9,
    )
    return figure_


def _plot_line(ax: Axes, study: Study, cohort: str, method: str, name: str, scale: float) -> None:
    rows = [row for row in study.rows if (row["cohort"], row["method"]) == (cohort, method)]
    look = METHODS[method]
    budget = [row["budget"] for row in rows]
    mean = np.array([scale * row[name]["mean"] for row in rows])
    spread = np.array([scale * (row[name]["se"] or 0.0) for row in rows])
    ax.fill_between(
        budget, mean - spread, mean + spread, color=look.colour, alpha=0.15, linewidth=0
    )
    ax.plot(
        budget,
        mean,
        color=look.colour,
        linestyle=look.dashes,
        marker=look.marker,
        markersize=4.5,
        linewidth=1.4,
        label=method,
    )


def _short(budget: int) -> str:
    return f"{budget / 1000:g}k" if budget >= 1000 else f"{budget}"
