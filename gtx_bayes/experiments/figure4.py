"""Figure 4: training images, balanced error and ECE against the budget (paper, sec. 4)."""

from matplotlib.figure import Figure

from gtx_bayes.experiments.drawing import (
    MARKED_LOOKS,
    Panel,
    band,
    by_cohort,
    legend_above,
    name_spread,
    series,
    styled,
)
from gtx_bayes.experiments.study import Study

NAME = "figure4"


@styled
def plot(study: Study) -> Figure:
    """Means over seeds and their standard errors, a row of panels per cohort."""
    panels = (
        Panel("num_training_images", "training images"),
        Panel("balanced_error", "balanced error, %", 100.0),
        Panel("ece", "expected calibration error, %", 100.0),
    )
    drawn, axes = by_cohort(panels, "budget, labels", (11.0, 6.6), across=True)
    budgets = sorted({row["budget"] for row in study.rows})
    short = [f"{budget / 1000:g}k" if budget >= 1000 else f"{budget}" for budget in budgets]
    for ax, cohort, panel in axes:
        for method, look in MARKED_LOOKS.items():
            rows = study.where(cohort=cohort, method=method)
            x = [row["budget"] for row in rows]
            mean, se = series(rows, panel.name, panel.scale)
            band(ax, x, mean, se, markersize=4.5, linewidth=1.4, label=method, **look)
        ax.set_xscale("log")
        ax.set_xticks(budgets, short, fontsize=8)
        ax.minorticks_off()
        if panel is panels[0]:
            ax.set_ylim(bottom=0)
    legend_above(drawn)
    name_spread(drawn, "bands", 1, study.runs)
    return drawn
