"""The report's figures: SVG that takes its colours and its font from the page around it.

Names never pass through Matplotlib, which would read formulas into them and miss letters that
its font lacks. It draws stand-ins of about the same width, and the names, escaped, take their
place in the SVG.
"""

import io
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from gtx_bayes.diagnostics import plots
from gtx_bayes.diagnostics.predictive import Check, PredictiveChecks
from gtx_bayes.diagnostics.report.content import Content
from gtx_bayes.diagnostics.report.incoming import Incoming
from gtx_bayes.diagnostics.report.labelers import Labelers
from gtx_bayes.diagnostics.report.trust import Trust
from gtx_bayes.diagnostics.report.wording import counted, percent, shown

_MOST_LABELERS = 40
_MOST_CLASSES = 20
_LONGEST_NAME = 20
_WIDTH = 4.4  # inches: fonts stay legible where a phone shrinks it by a quarter

_TEXT = "#010203"
_COLOURS = {
    _TEXT: "--text",
    plots.INK: "--ink",
    plots.ALARM: "--alarm",
    plots.FAINT: "--faint",
    plots.MUTED: "--muted",
}
"""The page's variable for every colour that the plots use."""

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: found, read aloud, and in the page's font
    "svg.hashsalt": "gtx_bayes",
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.facecolor": "none",
    "text.color": _TEXT,
    "axes.labelcolor": _TEXT,
    "axes.edgecolor": _TEXT,
    "xtick.color": _TEXT,
    "ytick.color": _TEXT,
}


class Drawing(NamedTuple):
    """A figure for the page.

    Attributes:
        svg: an `<svg>` element, safe to stand in HTML.
        alt: what it shows, in words.
    """

    svg: Markup
    alt: str


class _Sketch(NamedTuple):
    """A figure to draw.

    Attributes:
        draw: draws it.
        alt: what it shows, in words.
        height: in inches.
        names: the names that stand-ins stand for.
    """

    draw: Callable[[Figure], object]
    alt: str
    height: float = 2.6
    names: Sequence[str] = ()


def draw_all(content: Content) -> dict[str, Drawing]:
    """The figures there is something to show in, by name."""
    sketches = {
        **_of_incoming(content.incoming),
        **_of_outcome(content),
        **_of_trust(content.trust),
    }
    if content.labelers.table["accuracy"].notna().any():
        sketches["labelers"] = _of_labelers(content.labelers)
    return {name: Drawing(_svg(name, sketch), sketch.alt) for name, sketch in sketches.items()}


def _of_incoming(incoming: Incoming) -> dict[str, _Sketch]:
    def of(counts: npt.NDArray[np.integer], what: str) -> _Sketch:
        return _Sketch(
            lambda figure: plots.plot_counts(
                counts, of=f"answers per {what}", by=f"{what}s", ax=figure.subplots()
            ),
            f"Histogram of the answers per {what}, from {counts.min(initial=0)} to "
            f"{counts.max(initial=0)}.",
        )

    counts = {"example": incoming.answers_per_example, "labeler": incoming.answers_per_labeler}
    return {
        f"answers-per-{what}": of(each, what)
        for what, each in counts.items()
        if each.min(initial=each.max(initial=0)) < each.max(initial=0)
    }


def _of_outcome(content: Content) -> dict[str, _Sketch]:
    outcome, num_classes = content.outcome, content.incoming.num_classes
    sketches = {}
    if outcome.num_open:
        sketches["confidence"] = _Sketch(
            lambda figure: plots.plot_confidence(
                outcome.confidence, num_classes=num_classes, ax=figure.subplots()
            ),
            f"Histogram of the confidence of {outcome.num_open} labels, "
            f"{percent(outcome.mean_confidence)} in the mean.",
        )
    worth = outcome.worth
    if worth is not None and worth.dependence.is_learnt:
        sketches["dependence"] = _Sketch(
            lambda figure: plots.plot_dependence(worth.dependence, ax=figure.subplots()),
            f"Posterior density of rho: mean {worth.dependence.mean:.2f}, 95 % between "
            f"{worth.low:.2f} and {worth.high:.2f}.",
        )
    return sketches


def _of_trust(trust: Trust) -> dict[str, _Sketch]:
    sketches = {}
    found, checks = trust.calibration, trust.checks
    if found is not None:
        sketches["reliability"] = _Sketch(
            lambda figure: plots.plot_reliability(found.curve, ax=figure.subplots()),
            f"Accuracy against confidence of {found.num_examples} hidden gold labels: "
            f"{percent(float(found.metrics['accuracy'].value))} right where "
            f"{percent(found.mean_confidence)} were promised.",
            height=3.6,
        )
    if checks is not None:
        sketches["checks"] = _of_checks(checks)
    return sketches


def _of_checks(checks: PredictiveChecks) -> _Sketch:
    worst = np.argsort([-abs(check.z) for check in checks.class_shares], kind="stable")
    shares = [checks.class_shares[at] for at in np.sort(worst[:_MOST_CLASSES])]
    names = [shown(check.statistic, _LONGEST_NAME) for check in shares]
    drawn = checks._replace(
        class_shares=tuple(
            check._replace(statistic=_stand_in(at, name))
            for at, (check, name) in enumerate(zip(shares, names, strict=True))
        )
    )
    heights = (1.9, 1.9, 1.2 + 0.2 * max(len(shares), 3))

    def draw(figure: Figure) -> None:
        axes = figure.subplots(3, 1, height_ratios=heights)
        plots.plot_predictive_checks(drawn, axes=axes.tolist())

    return _Sketch(
        draw,
        "The crowd's answers against answers drawn from the model: agreement per example, "
        f"{_against(checks.agreement_per_example)}; agreement per pair of labelers, "
        f"{_against(checks.agreement_per_pair)}; and the share of answers per class.",
        sum(heights),
        names,
    )


def _against(check: Check) -> str:
    return "not defined" if np.isnan(check.z) else f"{check.z:.1f} standard deviations from them"


def _of_labelers(labelers: Labelers) -> _Sketch:
    names = [shown(name, _LONGEST_NAME) for name in labelers.table["worker"]]
    table = labelers.table.assign(worker=[_stand_in(at, name) for at, name in enumerate(names)])
    number = min(int(table["accuracy"].notna().sum()), _MOST_LABELERS)
    return _Sketch(
        lambda figure: plots.plot_labeler_forest(
            table, chance=labelers.chance, max_labelers=_MOST_LABELERS, ax=figure.subplots()
        ),
        f"Accuracy with its interval of {counted(number, 'labeler')}, best on top; chance is at "
        f"{labelers.chance:.2f}.",
        1.1 + 0.19 * max(number, 3),
        names,
    )


def _stand_in(at: int, name: str) -> str:
    """What Matplotlib draws in place of a name: letters it has, about as wide."""
    width = sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in name)
    return f"Q{at}Q".ljust(min(width, _LONGEST_NAME), "x")


def _svg(name: str, sketch: _Sketch) -> Markup:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH, sketch.height), layout="constrained")
        sketch.draw(figure)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    return _in_page(file.getvalue(), f"figure-{name}", sketch)


def _in_page(drawn: str, prefix: str, sketch: _Sketch) -> Markup:
    """The SVG as part of a page that holds others: its own ids, the page's colours and font."""
    svg = drawn[drawn.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    size = re.search(r'viewBox="([^"]*)"', svg)
    assert size is not None, "Matplotlib gives every figure its size"
    opening = f'viewBox="{size[1]}" width="{_WIDTH}in" role="img" aria-label="{escape(sketch.alt)}"'
    svg = f"<svg {opening}" + svg[svg.index(">") :]
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r'\b(?:xlink:)?href="#', f'href="#{prefix}-', svg)
    svg = svg.replace("url(#", f"url(#{prefix}-")
    svg = re.sub(r"font-family: [^;\"]*", "font-family: inherit", svg)
    for colour, variable in _COLOURS.items():
        svg = svg.replace(colour, f"var({variable})")
    return Markup(re.sub(r"Q(\d+)Qx*", lambda found: str(escape(sketch.names[int(found[1])])), svg))
