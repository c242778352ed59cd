"""What the plots of all studies share."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from gtx_bayes.aggregation import (
    gtx,
    joint_method,
    majority_vote,
    soft_vote,
    weighted_majority_vote,
)
from gtx_bayes.experiments.study import Row

COHORT_TITLES = {
    "accurate": "More accurate labelers, U(.8, 1)",
    "less_accurate": "Less accurate labelers, U(.6, .9)",
}

LOOKS: dict[str, dict[str, Any]] = {
    majority_vote.NAME: {"color": "#9aa5b1", "linestyle": "--"},
    weighted_majority_vote.NAME: {"color": "#b9770e", "linestyle": (0, (1, 1.5))},
    soft_vote.NAME: {"color": "#2e7d4f", "linestyle": "-"},
    gtx.NAME: {"color": "#1f4e79", "linestyle": "-"},
}
"""Of lines, by method; the first two often coincide."""

MARKED_LOOKS = {
    **{n: LOOKS[n] | {"marker": marker} for n, marker in zip(LOOKS, "sD^o", strict=True)},
    joint_method.NAME: {"color": "#56b4e9", "linestyle": "-", "marker": "v"},
    f"{joint_method.NAME}-soft": {"color": "#cc79a7", "linestyle": (0, (3, 2)), "marker": "P"},
}
"""The same with markers, and two methods more."""

styled = mpl.rc_context(
    {
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlelocation": "left",
        "axes.titlesize": 10,
        "figure.constrained_layout.use": True,
        "legend.fontsize": 8,
        "legend.frameon": False,
    }
)
"""Decorator of a function that draws."""


class Panel(NamedTuple):
    """Axes on which a figure of both cohorts is drawn.

    Attributes:
        name: of the figure.
        label: of its axis.
        scale: what it is multiplied by.
        where: which rows it is of, but for the cohort.
    """

    name: str
    label: str
    scale: float = 1.0
    where: Mapping[str, Any] = MappingProxyType({})


ERROR, MAE = Panel("error", "error, %", 100.0), Panel("mae", "MAE, %", 100.0)


def by_cohort(
    panels: Sequence[Panel], x: str, size: tuple[float, float], *, across: bool = False
) -> tuple[Figure, list[tuple[Axes, str, Panel]]]:
    """Axes for every panel and cohort: a column for each cohort, or a row where panels go across.

    Args:
        panels: what is drawn of each cohort.
        x: label of the axis that all have in common.
        size: of the figure, in inches.
        across: whether panels stand side by side.
    """
    shape = (len(panels), len(COHORT_TITLES))
    drawn, grid = plt.subplots(
        *(shape[::-1] if across else shape), figsize=size, sharex=True, squeeze=False
    )
    for ax in grid[-1]:
        ax.set_xlabel(x)
    found = []
    for column, (cohort, title) in zip(
        grid if across else grid.T, COHORT_TITLES.items(), strict=True
    ):
        column[0].set_title(title)
        for ax, panel in zip(column, panels, strict=True):
            found.append((ax, cohort, panel))
            if across or not ax.get_subplotspec().colspan.start:
                ax.set_ylabel(panel.label)
    return drawn, found


def series(rows: Sequence[Row], name: str, scale: float = 1.0) -> npt.NDArray[np.float64]:
    """Means and standard errors of a figure, two lines; an error that is unknown is 0."""
    cells = [row[name] for row in rows]
    return scale * np.array([[c["mean"] for c in cells], [c["se"] or 0.0 for c in cells]], float)


def band(
    ax: Axes, x: npt.ArrayLike, mean: npt.NDArray[Any], spread: npt.NDArray[Any], **look: Any
) -> None:
    """A line, and a band of this width on either side."""
    ax.fill_between(x, mean - spread, mean + spread, color=look["color"], alpha=0.18, linewidth=0)
    ax.plot(x, mean, **look)


def name_spread(drawn: Figure, what: str, num_errors: int, runs: int) -> None:
    """Say below the axes what bands or bars are: so many standard errors over so many runs."""
    errors = "one standard error" if num_errors == 1 else f"{num_errors} standard errors"
    text = f"{what}: {errors} on either side, {runs} runs"
    drawn.supxlabel(text, x=0.99, ha="right", fontsize=8, color="#4d5966")


def legend_above(drawn: Figure) -> None:
    """One legend for all axes, in a line."""
    handles, names = drawn.axes[0].get_legend_handles_labels()
    drawn.legend(handles, names, loc="outside upper center", ncols=len(names), fontsize=9)


def number_axis(axis: Axis, *numbers: int | float) -> None:
    """Marks on a logarithmic axis: those of these numbers that are in sight, written plainly."""
    low, high = axis.get_view_interval()
    shown = [number for number in numbers if low <= number <= high]
    axis.set_ticks(shown, labels=[f"{number:g}" for number in shown])
    axis.set_minor_locator(NullLocator())
