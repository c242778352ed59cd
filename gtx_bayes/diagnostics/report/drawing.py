"""Figures for a page: SVG that takes its colours and its font from the page around it.

Names never pass through Matplotlib, which would read formulas into them and miss letters that
its font lacks. It draws stand-ins of about the same width, and the names, escaped, take their
place in the SVG.
"""

import io
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from gtx_bayes.diagnostics import plots
from gtx_bayes.diagnostics.report.wording import shown

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
    """A figure for the page: an `<svg>` element, safe in HTML, and what it shows in words."""

    svg: Markup
    alt: str


class Sketch(NamedTuple):
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


def drawn(sketches: Mapping[str, Sketch]) -> dict[str, Drawing]:
    """The figures, by name."""
    return {name: Drawing(_svg(name, sketch), sketch.alt) for name, sketch in sketches.items()}


def stand_ins(names: Iterable[object]) -> tuple[list[str], list[str]]:
    """The names as they are shown, and what Matplotlib draws in their place: letters it has."""
    short = [shown(name, _LONGEST_NAME) for name in names]
    widths = [sum(1 + (unicodedata.east_asian_width(c) in "WF") for c in name) for name in short]
    return short, [
        f"Q{at}Q".ljust(min(width, _LONGEST_NAME), "x") for at, width in enumerate(widths)
    ]


def _svg(name: str, sketch: Sketch) -> Markup:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH, sketch.height), layout="constrained")
        sketch.draw(figure)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    return _in_page(file.getvalue(), f"figure-{name}", sketch)


def _in_page(drawn: str, prefix: str, sketch: Sketch) -> Markup:
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
