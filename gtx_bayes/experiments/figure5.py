"""Figure 5: balanced error of every training, by budget and method (paper, Appendix A)."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from gtx_bayes.experiments.finetuning import METHODS
from gtx_bayes.experiments.setting import COHORT_TITLES, COHORTS
from gtx_bayes.experiments.study import Study

NAME = "figure5"


def plot(study: Study) -> Figure:
    """Box plots, a panel per cohort."""
    figure_, axes = plt.subplots(2, 1, figsize=(11.0, 7.2), layout="constrained")
    budgets = sorted(study.points["budget"].unique())
    width = 0.8 / len(METHODS)
    for ax, cohort in zip(axes, COHORTS, strict=True):
        for at, (method, look) in enumerate(METHODS.items()):
            mine = study.points.query("cohort == @cohort and method == @method")
            drawn = ax.boxplot(
                [100 * mine.loc[mine["budget"] == b, "balanced_error"] for b in budgets],
                positions=np.arange(len(budgets)) + (at + 0.5) * width - 0.4,
                widths=0.8 * width,
                patch_artist=True,
                flierprops={"marker": ".", "markersize": 3, "markeredgecolor": look.colour},
                medianprops={"color": "black"},
                boxprops={"facecolor": look.colour, "edgecolor": look.colour, "alpha": 0.75},
                whiskerprops={"color": look.colour},
                capprops={"color": look.colour},
            )
            drawn["boxes"][0].set_label(method)
        ax.set_xticks(np.arange(len(budgets)), [f"{budget:,}" for budget in budgets])
        ax.set_title(COHORT_TITLES[cohort], loc="left", fontsize=10)
        ax.set_ylabel("balanced error, %")
        ax.spines[["top", "right"]].set_visible(False)
        for between in np.arange(1, len(budgets)) - 0.5:
            ax.axvline(between, color="#dddddd", linewidth=0.8, zorder=0)
        ax.set_xlim(-0.5, len(budgets) - 0.5)
    axes[1].set_xlabel("budget, labels")
    figure_.legend(
        *axes[0].get_legend_handles_labels(),
        loc="outside upper center",
        ncols=len(METHODS),
        frameon=False,
        fontsize=9,
    )
    return figure_
