"""Plots of a result, each drawn on the axes given or on new ones, which are returned."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.stats
from jaxtyping import Array, Float
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Rectangle

from gtx_bayes.aggregation.over_time import OverTime
from gtx_bayes.aggregation.result import Aggregation
from gtx_bayes.aggregation.tables import MOST_CELLS
from gtx_bayes.columns import AnyTable, Names
from gtx_bayes.diagnostics.calibration import Calibration
from gtx_bayes.diagnostics.loo import LeaveOneOut
from gtx_bayes.diagnostics.panel import Panel
from gtx_bayes.diagnostics.predictive import Check, PredictiveChecks
from gtx_bayes.diagnostics.sbc import Quantity, as_text, ecdf_band
from gtx_bayes.errors import InputError
from gtx_bayes.frames import as_frame
from gtx_bayes.inference.dependence import Dependence
from gtx_bayes.inference.pool import ALIKE
from gtx_bayes.metrics import ReliabilityCurve

INK = "#1f4e79"
ALARM = "#b03a2e"
FAINT = "#9aa5b1"
MUTED = "#5b6770"
"""The colours that mean something, so that a page can put its own in their place."""

_MOST_DRAWN = 40  # classes of a matrix
_MOST_WRITTEN = 144  # cells whose numbers are written in them


def plot_labeler_forest(
    labelers: AnyTable,
    *,
    chance: float,
    truth: npt.NDArray[np.floating] | None = None,
    max_labelers: int = 40,
    ax: Axes | None = None,
) -> Axes:
    """Accuracy of every labeler with its interval, best on top.

    Args:
        labelers: columns worker, accuracy, ci_low, ci_high, num_labels, as `Aggregation.labelers`
            returns them; labelers without an accuracy are left out.
        chance: accuracy of a uniform guess, drawn as a line; intervals wholly below are coloured.
        truth: true accuracy of every labeler, where a simulation knows it; drawn as a cross.
        max_labelers: of more labelers only this many are drawn, those who answered most.
        ax: where to draw.
    """
    labelers = as_frame(labelers, "labelers")
    table = labelers if truth is None else labelers.assign(truth=truth)
    known = table[table["accuracy"].notna()]
    shown = known.nlargest(max_labelers, "num_labels").sort_values("accuracy")
    ax = _axes(ax, 6.4, 1.4 + 0.22 * max(len(shown), 3))
    at = np.arange(len(shown))
    colour = np.where(shown["ci_high"] < chance, ALARM, INK)
    ax.hlines(at, shown["ci_low"], shown["ci_high"], color=colour, linewidth=2, alpha=0.55)
    ax.scatter(shown["accuracy"], at, color=colour, s=22, zorder=3)
    if truth is not None:
        ax.scatter(shown["truth"], at, marker="x", color="black", s=28, zorder=4, label="truth")
        ax.legend(frameon=False, fontsize=8, loc="lower left")
    ax.axvline(chance, color=FAINT, linestyle="--", linewidth=1)
    ax.annotate(
        "chance",
        (chance, 0.0),
        xycoords=("data", "axes fraction"),
        xytext=(-3, 3),
        textcoords="offset points",
        ha="right",
        color=MUTED,
        fontsize=8,
    )
    ax.set_yticks(at, [_short(str(name)) for name in shown["worker"]], fontsize=8)
    ax.set_xlim(0.0, 1.0)
    ax.set_ylim(-0.8, max(len(shown), 1) - 0.2)
    ax.set_xlabel("accuracy")
    of_all = "" if len(shown) == len(labelers) else f", {len(shown)} of {len(labelers)}"
    of_all += ", those who answered most" if len(shown) < len(known) else ""
    ax.set_title(f"Labelers{of_all}", loc="left")
    return ax


def plot_confusion(
    confusion: AnyTable, *, worker: object | None = None, ax: Axes | None = None
) -> Axes:
    """A confusion matrix: the probability of each answer to examples of each class.

    Args:
        confusion: columns worker, true_label, label, probability, num_labels, as
            `Aggregation.confusion` returns them.
        worker: whose matrix; when absent that of all labelers together, each row of each labeler
            counting by its number of answers.
        ax: where to draw.

    Raises:
        InputError: if there is no labeler of that name.
    """
    table = as_frame(confusion, "confusion")
    if worker is not None:
        table = table[table["worker"].astype(str) == str(worker)]
        if not len(table):
            raise InputError(
                f"there is no labeler '{worker}'.", hint="Give a name of the column worker."
            )
    matrix, true_names, names = _pooled(table, by_number=worker is None)
    if ax is None:
        side = 1.8 + 0.45 * len(matrix)
        _, ax = plt.subplots(figsize=(side + 0.8, side), layout="constrained")
    white_to_ink = LinearSegmentedColormap.from_list("", ["white", INK])
    ax.imshow(matrix, cmap=white_to_ink, vmin=0.0, vmax=1.0)
    if matrix.size <= _MOST_WRITTEN:
        for (row, column), value in np.ndenumerate(matrix):
            if not np.isnan(value):
                colour = "white" if value > 0.5 else "black"
                text = ax.text(column, row, f"{value:.2f}", ha="center", va="center")
                text.set(fontsize=8, color=colour)
    ax.set_xticks(np.arange(matrix.shape[1]), [_short(str(name)) for name in names])
    ax.tick_params(axis="x", labelrotation=90 if len(matrix) > 6 else 0)
    ax.set_yticks(np.arange(len(matrix)), [_short(str(name)) for name in true_names])
    ax.set(xlabel="label given", ylabel="true label")
    ax.set_title("All labelers" if worker is None else _short(str(worker)), loc="left")
    return ax


def plot_panel(panel: Panel, *, ax: Axes | None = None) -> Axes:
    """Correlation of the errors of every pair of labelers, with a frame around every bloc.

    Args:
        panel: what `panel_of` found.
        ax: where to draw.
    """
    panel = panel.in_blocs()
    size = len(panel.table)
    ax = _axes(ax, 2.6 + 0.3 * size, 1.2 + 0.3 * size)
    colours = LinearSegmentedColormap.from_list("", ["white", INK])
    ax.pcolormesh(  # no image: pages allow none
        np.arange(size + 1) - 0.5,
        np.arange(size + 1) - 0.5,
        np.ma.masked_invalid(panel.correlation),
        cmap=colours,
        vmin=0.0,
        vmax=1.0,
        edgecolors=FAINT,
        linewidth=0.2,
    )
    ax.set_aspect("equal")
    ax.invert_yaxis()
    bloc = panel.table["bloc"].to_numpy(str)
    for name in dict.fromkeys(bloc[bloc != ""]):
        at = np.flatnonzero(bloc == name)
        corner, width = (at[0] - 0.5, at[0] - 0.5), at.size
        ax.add_patch(Rectangle(corner, width, width, fill=False, edgecolor=ALARM, linewidth=1.5))
    ax.set_yticks(np.arange(size), [_short(str(name)) for name in panel.table["worker"]])
    ax.set_xticks([])
    ax.tick_params(axis="y", labelsize=7)
    ax.set_xlabel("correlation of errors: white 0 or less, dark 1")
    ax.set_title(f"Worth {panel.effective:.1f} of {size}", loc="left")
    return ax


def _pooled(
    confusion: pd.DataFrame, *, by_number: bool
) -> tuple[npt.NDArray[np.floating], Names, Names]:
    """Mean of the labelers' matrices, each row by its number of answers or all alike; and names."""
    probability, number = confusion["probability"], confusion["num_labels"]
    if by_number:
        of_row = number.groupby([confusion["worker"], confusion["true_label"]]).transform("sum")
    else:
        of_row = pd.Series(1.0, confusion.index)
    weight = of_row.where(probability.notna(), 0.0)
    weighted = confusion.assign(weight=weight, weighted=weight * probability.fillna(0.0))
    summed = weighted.pivot_table(
        ["weight", "weighted"], "true_label", "label", aggfunc="sum", sort=False
    )
    mean = summed["weighted"] / summed["weight"]  # NaN without weight
    return mean.to_numpy(float), mean.index.to_numpy(), mean.columns.to_numpy()


def plot_reliability(
    curves: ReliabilityCurve | dict[str, ReliabilityCurve], *, ax: Axes | None = None
) -> Axes:
    """Accuracy against confidence, with two standard errors; on the diagonal confidence is honest.

    Args:
        curves: one curve, or several by name.
        ax: where to draw.
    """
    ax = _axes(ax, 5.2, 4.8)
    named = curves if isinstance(curves, dict) else {"": curves}
    ax.plot([0, 1], [0, 1], color=FAINT, linestyle="--", linewidth=1)
    lowest = 1.0
    colours = [INK, ALARM, "#2e7d4f", "#b9770e", "#6c3483"]
    for (name, curve), colour in zip(named.items(), itertools.cycle(colours), strict=False):
        filled = np.asarray(curve.num_examples) > 0
        x = np.asarray(curve.confidence)[filled]
        y = np.asarray(curve.accuracy)[filled]
        error = np.nan_to_num(2 * np.asarray(curve.accuracy_se)[filled])
        low, high = np.minimum(error, y), np.minimum(error, 1 - y)
        ax.errorbar(x, y, yerr=np.stack([low, high]), color=colour, alpha=0.35, fmt="none")
        number = np.asarray(curve.num_examples)
        size = 12 + 140 * number[filled] / number.sum()
        ax.plot(x, y, color=colour, linewidth=1.2, label=_short(name))
        ax.scatter(x, y, s=size, color=colour, zorder=3)
        lowest = min(lowest, float(x.min(initial=1.0)), float((y - low).min(initial=1.0)))
    edge = np.floor(max(lowest - 0.03, 0.0) * 10) / 10
    ax.set(xlim=(edge, 1.02), ylim=(edge, 1.02))
    ax.locator_params(nbins=6)
    ax.set(xlabel="confidence", ylabel="accuracy")
    ax.set_title("Reliability (larger dots: more examples)", loc="left")
    if "" not in named:
        ax.legend(frameon=False, fontsize=8)
    return ax


def plot_confidence(
    confidence: Float[Array, " num_examples"] | npt.NDArray[np.floating],
    *,
    num_classes: int,
    ax: Axes | None = None,
) -> Axes:
    """How many examples are labelled with which confidence.

    Args:
        confidence: confidence of the examples; leave gold out, whose confidence is one.
        num_classes: sets the lowest confidence there can be.
        ax: where to draw.
    """
    ax = _axes(ax, 6.0, 3.6)
    values = np.asarray(confidence)
    ax.hist(values, bins=np.linspace(1.0 / num_classes, 1.0, 31).tolist(), color=INK, alpha=0.85)
    ax.set_xlim(1.0 / num_classes, 1.0)
    ax.set(xlabel="confidence", ylabel="examples")
    median = f", half above {np.median(values):.3f}" if values.size else ""
    ax.set_title(f"Confidence of {values.size} examples{median}", loc="left")
    return ax


def plot_counts(
    counts: npt.NDArray[np.integer], *, of: str, by: str, ax: Axes | None = None
) -> Axes:
    """How many examples, or labelers, have how many answers.

    Args:
        counts: the number of answers of each.
        of: what the counts are of, such as "answers per example".
        by: what has them, such as "examples".
        ax: where to draw.
    """
    ax = _axes(ax, 6.0, 3.6)
    most = int(counts.max(initial=1))
    step = -(-(most + 1) // 30)  # bars of whole numbers, thirty at most
    ax.hist(counts, bins=(np.arange(0, most + step + 1, step) - 0.5).tolist(), color=INK)
    ax.set_xlim(left=-0.5)
    ax.locator_params(integer=True, nbins=6)
    ax.set(xlabel=of, ylabel=by)
    median = f", median {np.median(counts):g}" if counts.size else ""
    ax.set_title(f"{of[:1].upper()}{of[1:]}{median}", loc="left")
    return ax


def plot_dependence(dependence: Dependence, *, ax: Axes | None = None) -> Axes:
    """Posterior density of the dependence rho, with its mean; a line where it was given.

    The probability that it is zero is a bar there, as high as it is of the picture's height.
    """
    ax = _axes(ax, 6.0, 3.6)
    if dependence.is_learnt:
        rho, probs = dependence
        density = probs[1:] / np.gradient(rho[1:])
        ax.fill_between(rho[1:], density, color=FAINT, alpha=0.6, linewidth=0)
        ax.plot(rho[1:], density, color=INK, linewidth=1.2)
        if (atom := dependence.prob_independent) >= 0.005:
            height = ax.get_xaxis_transform()
            ax.plot(
                [0.0, 0.0], [0.0, atom], color=INK, linewidth=6, transform=height, clip_on=False
            )
            ax.text(0.02, atom, f"independent: {atom:.2f}", transform=height, va="top")
    ax.axvline(dependence.mean, color=INK, linestyle="--", linewidth=1)
    ax.set_xlim(0.0, 1.0)
    ax.set_ylim(bottom=0.0)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.set_xlabel("dependence \N{GREEK SMALL LETTER RHO}: 0 independent, 1 copies")
    low, high = dependence.credible_interval()
    limits = f", 95 %: {low:.2f} to {high:.2f}" if dependence.is_learnt else ", given"
    ax.set_title(f"\N{GREEK SMALL LETTER RHO} = {dependence.mean:.2f}{limits}", loc="left")
    return ax


def plot_pool(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Weight of every model of a pool.

    Args:
        table: as `Pool.table` has it.
        ax: where to draw.
    """
    ax = _axes(ax, 6.0, 0.9 + 0.32 * len(table))
    of_classes = [
        ("counted on gold" if row.model == ALIKE else "learnt")
        if row.learns_class_prior
        else "as given or even"
        for row in table.itertuples()
    ]
    names = [
        f"{row.model}{' with looks' if row.has_looks else ''}, classes {of}"
        for row, of in zip(table.itertuples(), of_classes, strict=True)
    ]
    at = np.arange(len(table))[::-1]
    bars = ax.barh(at, table["weight"], color=INK, height=0.6)
    ax.bar_label(bars, [f" {weight:.2f}" for weight in table["weight"]])
    ax.set_yticks(at, names)
    ax.set_xlim(0.0, 1.1)
    ax.set_xlabel("weight")
    return ax


def plot_comparison(table: pd.DataFrame, *, metric: str, ax: Axes | None = None) -> Axes:
    """One metric of several methods, with two standard errors.

    Args:
        table: columns method, `metric`, and `metric` with the ending `_se`.
        metric: name of the column to draw.
        ax: where to draw.
    """
    ax = _axes(ax, 6.0, 0.9 + 0.45 * len(table))
    at = np.arange(len(table))[::-1]
    ax.barh(at, table[metric], xerr=2 * table[f"{metric}_se"], color=INK, ecolor=FAINT, height=0.6)
    ax.set_yticks(at, list(table["method"]))
    ax.set_xlabel(metric.replace("_", " "))
    return ax


def plot_predictive_checks(
    checks: PredictiveChecks, *, axes: Sequence[Axes] | None = None
) -> tuple[Axes, ...]:
    """The crowd's answers against replicates of the model, one panel per statistic.

    Args:
        checks: what `predictive_checks` found.
        axes: where to draw agreement per example, agreement per pair of labelers, and the classes'
            shares of the answers.
    """
    if axes is None:
        _, axes = plt.subplots(1, 3, figsize=(11.0, 3.4), layout="constrained")
    per_example, per_pair, shares = axes
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    check, unit = checks.agreement_per_example, "variance over examples"
    _plot_check(check, "Agreement per example", unit, per_example)
    check, unit = checks.agreement_per_pair, "mean square excess over pairs of labelers"
    _plot_check(check, "Agreement per pair", unit, per_pair)
    per_example.legend(frameon=False, fontsize=8)
    _plot_shares(checks.class_shares, shares)
    return per_example, per_pair, shares


def _plot_check(check: Check, what: str, unit: str, ax: Axes) -> None:
    known = check.replicated[~np.isnan(check.replicated)]
    ax.hist(known, bins=20, color=FAINT, alpha=0.85, label="replicates")
    colour = INK if check.fits else ALARM
    if not np.isnan(check.observed):
        ax.axvline(check.observed, color=colour, linewidth=2, label="observed")
    ax.locator_params(axis="x", nbins=4)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.set_xlabel(unit)
    ax.set_title(f"{what}, {_z(check)}", loc="left")


def _plot_shares(checks: Sequence[Check], ax: Axes) -> None:
    at = np.arange(len(checks))[::-1]
    drawn = np.stack([check.replicated for check in checks])
    low, high = np.quantile(drawn, [0.025, 0.975], axis=1)
    ax.hlines(at, low, high, color=FAINT, linewidth=6, label="replicates, 95 %")
    colours = [INK if check.fits else ALARM for check in checks]
    observed = [check.observed for check in checks]
    ax.scatter(observed, at, color=colours, s=28, zorder=3, label="observed")
    ax.set_yticks(at, [_short(check.statistic) for check in checks], fontsize=8)
    ax.set_ylim(-0.8, len(checks) - 0.2)
    ax.locator_params(axis="x", nbins=4)
    ax.set_xlabel("share of the answers")
    worst = max(checks, key=lambda check: abs(check.z))
    ax.set_title(f"Answers per class, largest {_z(worst)}", loc="left")
    ax.legend(frameon=False, fontsize=8)


def _z(check: Check) -> str:
    return "not defined" if np.isnan(check.z) else f"z = {check.z:.1f}"


def plot_calibration(found: Calibration, *, ax: Axes | None = None) -> Axes:
    """Accuracy against confidence on held-out gold, the calibration error beside what is chance.

    Args:
        found: what `calibration` found.
        ax: where to draw.
    """
    ax = plot_reliability(found.curve, ax=ax)
    low, high = found.ece_interval
    ax.set_title(
        f"Calibration error {float(found.metrics['ece'].value):.3f} ({low:.3f} to {high:.3f}); "
        f"by chance up to {found.ece_if_honest:.3f}",
        loc="left",
        fontsize=10,
    )
    return ax


def plot_pareto_k(found: LeaveOneOut, *, ax: Axes | None = None) -> Axes:
    """Pareto k of every example; those above the limit are coloured, the largest named.

    Args:
        found: what `leave_one_out` found.
        ax: where to draw.
    """
    ax = _axes(ax, 6.4, 3.4)
    k = found.pareto_k
    colours = np.where(found.is_bad, ALARM, INK)
    ax.scatter(np.arange(k.size), k, c=colours, s=12, alpha=0.7, linewidths=0)
    ax.axhline(found.good_k, color=FAINT, linestyle="--", linewidth=1)
    for at in found.worst:
        ax.annotate(
            _short(str(found.example_names[at])),
            (at, k[at]),
            xytext=(4, 0),
            textcoords="offset points",
            fontsize=8,
            color=ALARM,
        )
    ax.set(xlabel="example", ylabel="Pareto k")
    ax.set_title(f"{int(found.is_bad.sum())} of {k.size} above {found.good_k:.2f}", loc="left")
    return ax


def plot_rank_histogram(
    quantity: Quantity, *, max_bins: int = 20, prob: float = 0.95, ax: Axes | None = None
) -> Axes:
    """Ranks of the truth among draws: uniform if the inference is right.

    Args:
        quantity: what `simulation_based_calibration` found of it.
        max_bins: the most bins, all of which hold equally many of the L + 1 ranks.
        prob: probability with which uniform ranks leave all bins inside the band, at least: each
            has its binomial limits, with the chance of leaving them shared out among the bins.
        ax: where to draw.
    """
    ax = _axes(ax, 4.4, 3.2)
    num_values, num_simulations = quantity.num_draws + 1, quantity.ranks.size
    num_bins = max(bins for bins in range(1, max_bins + 1) if num_values % bins == 0)
    counts = np.bincount(quantity.ranks * num_bins // num_values, minlength=num_bins)
    low, high = scipy.stats.binom.interval(
        1.0 - (1.0 - prob) / num_bins, num_simulations, 1.0 / num_bins
    )
    outside = (counts < low) | (counts > high)
    at = (np.arange(num_bins) + 0.5) / num_bins
    ax.axhspan(low, high, color=FAINT, alpha=0.35, linewidth=0)
    ax.axhline(num_simulations / num_bins, color=FAINT, linewidth=1)
    ax.bar(at, counts, 0.85 / num_bins, color=np.where(outside, ALARM, INK), alpha=0.85)
    _label_ranks(ax, quantity, "simulations")
    return ax


def plot_ecdf_difference(quantity: Quantity, *, prob: float = 0.95, ax: Axes | None = None) -> Axes:
    """Cumulative share of the ranks less that of uniform ones, with a simultaneous band.

    A hump and a dip are draws that are too narrow, a dip and a hump too wide ones, a single
    hump draws that are too high. It shows slight departures that a histogram hides.

    Args:
        quantity: what `simulation_based_calibration` found of it.
        prob: probability with which uniform ranks keep within the band everywhere, were this the
            only quantity; the colour tells the verdict, which is corrected for their number.
        ax: where to draw.
    """
    ax = _axes(ax, 4.4, 3.2)
    num_draws, num_simulations = quantity.num_draws, quantity.ranks.size
    share = np.arange(1, num_draws + 1) / (num_draws + 1)
    counts = np.cumsum(np.bincount(quantity.ranks, minlength=num_draws + 1))[:-1]
    low, high = ecdf_band(num_simulations, num_draws, prob)
    least, most = (limit / num_simulations - share for limit in (low, high))
    ax.fill_between(share, least, most, step="mid", color=FAINT, alpha=0.35, linewidth=0)
    ax.axhline(0.0, color=FAINT, linewidth=1)
    colour = INK if quantity.fits else ALARM
    ax.step(share, counts / num_simulations - share, where="mid", color=colour, linewidth=1.6)
    _label_ranks(ax, quantity, "share of ranks, less even")
    return ax


def _label_ranks(ax: Axes, quantity: Quantity, of: str) -> None:
    verdict = "even" if quantity.fits else " and ".join(quantity.shape)
    title = f"{_short(quantity.name)}: {verdict}, corrected p {as_text(quantity.corrected_p)}"
    ax.set(xlim=(0.0, 1.0), xlabel="share of draws below the truth", ylabel=of)
    ax.set_title(title, loc="left", fontsize=9)


def plot_shares(table: pd.DataFrame, *, max_rows: int = 40, ax: Axes | None = None) -> Axes:
    """Shares of the classes with their intervals, and those of gold alone below each.

    Args:
        table: as `panels.estimate.ShareEstimate.table` returns it.
        max_rows: of more rows only the first are drawn.
        ax: where to draw.
    """
    shown = table.head(max_rows).iloc[::-1]
    ax = _axes(ax, 6.4, 1.4 + 0.36 * max(len(shown), 2))
    at = np.arange(len(shown))
    ax.hlines(at + 0.12, shown["low"], shown["high"], color=INK, linewidth=3, alpha=0.6)
    ax.scatter(shown["share"], at + 0.12, color=INK, s=24, zorder=3, label="estimate")
    ax.hlines(at - 0.16, shown["gold_low"], shown["gold_high"], color=FAINT, linewidth=2)
    ax.scatter(shown["gold_share"], at - 0.16, color=FAINT, s=16, zorder=3, label="gold alone")
    ax.scatter(
        shown["crowd_share"], at, color=ALARM, marker="x", s=24, zorder=4, label="crowd alone"
    )
    names = shown["label"].map(str)
    if "slice" in shown:
        names = shown["slice"].map(str) + ": " + names
    ax.set_yticks(at, [_short(name) for name in names], fontsize=8)
    ax.set_xlim(0.0, 1.0)
    ax.set_xlabel("share of the examples")
    ax.legend(frameon=False, fontsize=8)
    ax.set_title("Shares of the classes, 95 % intervals", loc="left")
    return ax


def plot_over_time(found: OverTime, *, chance: float, max_labelers: int = 24) -> Axes:
    """Accuracy of every labeler by period, one panel each; those who get worse first, coloured.

    Args:
        found: how labelers do over time.
        chance: accuracy of a uniform guess, drawn as a line.
        max_labelers: of more labelers only this many are drawn, those who answered most.

    Returns:
        The first panel.
    """
    falls = dict(zip(found.falls["worker"], found.falls["when"], strict=True))
    number = found.periods.groupby("worker", sort=False)["num_labels"].sum()
    others = number.sort_values(ascending=False, kind="stable").index
    shown = [*falls, *(name for name in others if name not in falls)][:max_labelers]
    columns = min(4, len(shown))
    rows = -(-len(shown) // columns)
    figure, panels = plt.subplots(
        rows,
        columns,
        figsize=(1.0 + 2.3 * columns, 0.6 + 1.6 * rows),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    by_name = dict(list(found.periods.groupby("worker", sort=False)))
    for panel, name in itertools.zip_longest(panels.flat, shown):
        if name is None:
            panel.set_visible(False)
            continue
        panel.spines[["top", "right"]].set_visible(False)
        table = by_name[name]
        colour = ALARM if name in falls else INK
        middle = (table["start"] + table["end"]) / 2.0
        reach = [middle - table["start"], table["end"] - middle]
        above = [table["accuracy"] - table["ci_low"], table["ci_high"] - table["accuracy"]]
        panel.errorbar(middle, table["accuracy"], above, reach, fmt="o", color=colour, ms=4, lw=1.2)
        panel.axhline(chance, color=FAINT, linestyle="--", linewidth=1)
        if name in falls:
            panel.axvline(falls[name], color=ALARM, linewidth=1, alpha=0.5)
        panel.set_title(_short(str(name)), fontsize=9, color=colour)
        panel.set_ylim(0.0, 1.02)
    figure.supylabel("accuracy, 95 % credible interval", fontsize=9)
    figure.supxlabel("time" if found.start is None else f"days since {found.start}", fontsize=9)
    first: Axes = panels[0, 0]
    return first


def save_result_plots(result: Aggregation, directory: Path) -> None:
    """Write plots of a result into a directory: see `save_plots`, and over_time.png."""
    result, labels = result.in_pandas, result.crowd.labels
    num_classes = labels.num_classes
    has_room = labels.num_labelers * num_classes**2 <= MOST_CELLS
    save_plots(
        directory,
        confidence=result.open_confidence(),
        labelers=result.labelers(),
        confusion=result.confusion() if has_room and num_classes <= _MOST_DRAWN else None,
        num_classes=num_classes,
    )
    if result.over_time is not None and len(result.over_time.periods):
        ax = plot_over_time(result.over_time, chance=1.0 / num_classes)
        save_figure(ax, directory / "over_time.png")


def save_plots(
    directory: Path,
    *,
    confidence: npt.NDArray[np.floating],
    labelers: pd.DataFrame,
    confusion: pd.DataFrame | None,
    num_classes: int,
) -> None:
    """Write confidence.png, labelers.png and confusion.png into a directory.

    Args:
        directory: where to.
        confidence: of the examples that are not gold.
        labelers: as `Aggregation.labelers`; not drawn where no accuracy is known.
        confusion: as `Aggregation.confusion`; not drawn where it is absent or has many classes.
        num_classes: number of classes.
    """
    axes = {"confidence.png": plot_confidence(confidence, num_classes=num_classes)}
    if labelers["accuracy"].notna().any():
        axes["labelers.png"] = plot_labeler_forest(labelers, chance=1.0 / num_classes)
    if confusion is not None and num_classes <= _MOST_DRAWN:
        axes["confusion.png"] = plot_confusion(confusion)
    for name, ax in axes.items():
        save_figure(ax, directory / name)


def save_figure(ax: Axes, path: Path) -> None:
    """Write the figure of these axes as an image, and close it."""
    figure = ax.get_figure(root=True)
    assert figure is not None, "axes belong to a figure"
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _axes(ax: Axes | None, width: float, height: float) -> Axes:
    """The axes given, or new ones of this size in inches, without a frame above and right."""
    if ax is None:
        _, ax = plt.subplots(figsize=(width, height), layout="constrained")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _short(name: str) -> str:
    """A name as one short line of plain text; Matplotlib would read formulas between dollars."""
    line = " ".join(name.split())
    line = line if len(line) <= 24 else f"{line[:22]}…"
    return line.replace("$", r"\$")
