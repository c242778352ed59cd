"""Pictures are those that the code of today draws, each is shown, and each has a command."""

import re

import jax
import pytest

from gtx_bayes.diagnostics.sbc import simulation_based_calibration
from gtx_bayes.experiments import assessment, drawing, gold_curve
from tests import pictures
from tests.benchmarks import sbc

PAGES = [pictures.ROOT / "README.md", *sorted((pictures.ROOT / "docs").rglob("*.md"))]


def test_up_to_date():
    record = pictures.recorded()
    stale = [name for name, found in record.items() if found != pictures.signature(name)]
    assert not stale, f'draw them anew: make pictures NAMES="{" ".join(stale)}"'
    assert record.keys() == pictures.PICTURES.keys()


def test_each_is_shown_and_has_its_command():
    shown = {
        name
        for page in PAGES
        for name in re.findall(r"images/(\w+)\.(?:png|svg)", page.read_text(encoding="utf-8"))
    }
    there = {path.stem for path in pictures.IMAGES.iterdir() if path.suffix in (".png", ".svg")}
    known = {*pictures.PICTURES, *pictures.TRAINED, *pictures.BY_HAND}
    assert there == known
    assert shown | {"logo"} == there


BEFORE = """
INK = "#000"

def line(ax):
    ax.plot(INK)

def plot(ax):
    line(ax)

def other():
    return 1
"""


@pytest.mark.parametrize(
    ("old", "new", "is_same"),
    [
        ("def line(ax):", 'def line(ax):\n    """A line."""  # drawn', True),
        ("return 1", "return 2", True),
        ('"#000"', '"#111"', False),
        ("ax.plot(INK)", "ax.plot(INK, linewidth=2)", False),
    ],
)
def test_signatures_are_of_what_is_drawn(old, new, is_same):
    """Not of comments and of what `plot` does not reach; of other modules too."""
    changed = BEFORE.replace(old, new)
    before, after = (pictures.drawn_by([code], ["plot"]) for code in (BEFORE, changed))
    assert (before == after) == is_same
    apart = ["def plot(ax):\n    line(ax)\n", changed]
    assert (pictures.drawn_by(apart, ["plot"]) == before) == is_same


def test_a_method_looks_alike_everywhere():
    """One colour, line and marker a method, and no two methods of a picture share them."""
    for looks in (assessment.STYLES, gold_curve._LOOKS, drawing.MARKED_LOOKS):
        for name in looks.keys() & drawing.MARKED_LOOKS.keys():
            assert looks[name] == drawing.MARKED_LOOKS[name]
        parts = [
            (look["color"], look.get("marker"), look.get("linestyle")) for look in looks.values()
        ]
        assert len(set(parts)) == len(parts)
        markers = [marker for _, marker, _ in parts if marker]
        assert len(set(markers)) == len(markers)
    for name, look in drawing.LOOKS.items():
        assert look.items() <= drawing.MARKED_LOOKS[name].items()


def test_calibration_is_drawn_and_written(tmp_path):
    """Every row, by draws from the prior of what nothing is observed of."""
    cases = sbc.cases()
    shapes = {case.names: (1, 3, 3) if case.names == "confusion" else (1,) for case in cases}

    def drawn(key, *sizes):
        keys = jax.random.split(key, len(shapes))
        return {
            name: jax.random.normal(each, (*sizes, *shapes[name]))
            for each, name in zip(keys, shapes, strict=True)
        }

    found = simulation_based_calibration(
        jax.random.key(0),
        lambda key: (drawn(key), None),
        lambda key, _: drawn(key, sbc.NUM_DRAWS),
        num_simulations=20,
    )
    rows = [(case, [found]) for case in cases]
    sbc.draw(rows, tmp_path / "sbc.png")
    assert (tmp_path / "sbc.png").stat().st_size > 10_000
    lines = sbc.markdown(rows)
    assert len(lines) == 2 + len(rows) + 1  # the head, and the row of what is refused
    assert sum("refused" in line for line in lines) == 1
