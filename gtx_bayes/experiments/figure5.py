"""Figure 5: balanced error of every training, by budget and method (paper, Appendix A)."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from gtx_bayes.experiments.drawing import COHORT_TITLES, MARKED_LOOKS, legend_above, styled
from gtx_bayes.experiments.study import Study

NAME = "figure5"


@styled
def plot(study: Study) -> Figure:
    """Box plots, a panel per cohort."""
    drawn, axes = plt.subplots(2, 1, figsize=(11.0, 7.2))
    budgets = sorted(study.points["budget"].unique())
    place = np.arange(len(budgets))
    width = 0.8 / len(MARKED_LOOKS)
    for ax, (cohort, title) in zip(axes, COHORT_TITLES.items(), strict=True):
        for at, (method, look) in enumerate(MARKED_LOOKS.items()):
            points = study.points
            mine = points[(points["cohort"] == cohort) & (points["method"] == method)]
            colour = look["color"]
            boxes = ax.boxplot(
                [100 * mine.loc[mine["budget"] == b, "balanced_error"] for b in budgets],
                positions=place + (at + 0.5) * width - 0.4,
                widths=0.8 * width,
                patch_artist=True,
                flierprops={"marker": ".", "markersize": 3, "markeredgecolor": colour},
                medianprops={"color": "black"},
                boxprops={"facecolor": colour, "edgecolor": colour, "alpha": 0.75},
                whiskerprops={"color": colour},
                capprops={"color": colour},
            )["boxes"]
            boxes[0].set_label(method)
        ax.set_xticks(place, [f"{budget:,}" for budget in budgets])
        ax.set(title=title, ylabel="balanced error, %")
        for between in place[1:] - 0.5:
            ax.axvline(between, color="#dddddd", linewidth=0.8, zorder=0)
        ax.set_xlim(-0.5, len(budgets) - 0.5)
    axes[1].set_xlabel("budget, labels")
    legend_above(drawn)
    return drawn
