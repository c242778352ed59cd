"""What a study returns: rows of settings and figures, beside what the paper prints."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

Row = dict[str, Any]
"""A setting by name, and figures `{mean, se, paper?, z?, paper_misprint?}` by name."""


class Printed(NamedTuple):
    """A figure as the paper prints it.

    Attributes:
        mean: the figure.
        se: what stands behind the plus-minus: the standard error over runs.
        implied: where the figure is a misprint, the value that the rest of its row implies.
    """

    mean: float
    se: float
    implied: float | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Study:
    """The result of a study.

    Attributes:
        name: what it reproduces or answers.
        runs: number of simulated runs behind every figure.
        rows: one per setting.
        points: values of single runs or curves, for plots and tables; may be empty.
        notes: what a reader of the figures should know of this run.
    """

    name: str
    runs: int
    rows: list[Row]
    points: pd.DataFrame = dataclasses.field(default_factory=pd.DataFrame)
    notes: tuple[str, ...] = ()

    def where(self, **setting: Any) -> list[Row]:
        """The rows of this setting."""
        return [row for row in self.rows if all(row[k] == v for k, v in setting.items())]

    def to_frame(self) -> pd.DataFrame:
        """One line per row; a figure f becomes columns f, f_se and, where printed, f_paper, f_z."""
        frame = pd.json_normalize(self.rows, sep="_")
        return frame.rename(columns=lambda name: name.removesuffix("_mean"))


NO_FIGURE: dict[str, Any] = {"mean": None, "se": None}
"""A figure that does not exist."""


def figure(values: npt.ArrayLike, printed: Printed | None = None) -> dict[str, Any]:
    """Mean and standard error over runs, beside the paper's.

    Args:
        values: one per run.
        printed: the paper's figure, if it prints one.
    """
    flat = np.asarray(values, np.float64)
    mean = float(flat.mean())
    se = float(flat.std(ddof=1) / np.sqrt(flat.size)) if flat.size > 1 else None
    found: dict[str, Any] = {"mean": mean, "se": se}
    if printed is None:
        return found
    found |= {"paper": printed.mean, "paper_se": printed.se}
    found["z"] = z_score(mean, se, printed.mean, printed.se)
    if printed.implied is not None:
        found |= {"paper_misprint": True, "paper_implied": printed.implied}
        found["z_implied"] = z_score(mean, se, printed.implied, printed.se)
    return found


def ratio(values: npt.ArrayLike, of: npt.ArrayLike) -> dict[str, float | None]:
    """Ratio of two means over the same runs, and its standard error by the delta method.

    None where the second mean is zero.
    """
    top, bottom = np.asarray(values, np.float64), np.asarray(of, np.float64)
    if bottom.mean() == 0.0:
        return NO_FIGURE
    mean = float(top.mean() / bottom.mean())
    se = figure(top - mean * bottom)["se"]
    return {"mean": mean, "se": None if se is None else float(se / bottom.mean())}


def z_score(mean: float, se: float | None, other: float, other_se: float) -> float | None:
    """Difference over the combined standard error; None where that is unknown or zero."""
    if se is None:
        return None
    combined = float(np.hypot(se, other_se))
    if combined == 0.0:
        return 0.0 if abs(mean - other) < 1e-9 else None
    return (mean - other) / combined


def outside(rows: Sequence[Mapping[str, Any]], limit: float = 3.0) -> list[str]:
    """Cells more than `limit` combined standard errors from the paper's, misprints left out."""
    found = []
    for row in rows:
        for name, cell in row.items():
            if not isinstance(cell, dict) or "paper" not in cell or cell.get("paper_misprint"):
                continue
            if cell["se"] is None:  # a single run says nothing
                continue
            is_equal = cell["z"] is None and cell["mean"] == cell["paper"]
            if not is_equal and (cell["z"] is None or abs(cell["z"]) > limit):
                found.append(f"{row['cohort']}, {row['method']}: {name}")
    return found


def known_figure(values: npt.ArrayLike) -> dict[str, Any]:
    """`figure` of values, one per run; one that is unknown in some run is unknown."""
    return figure(values) if np.isfinite(values).all() else NO_FIGURE


def summarise(points: pd.DataFrame, by: Sequence[str], figures: Sequence[str]) -> list[Row]:
    """A row for each setting, in the order of the points: figures over its points, one per run."""
    rows = []
    for setting, mine in points.groupby(list(by), sort=False):
        row: Row = dict(zip(by, setting, strict=True))
        for name in figures:
            row[name] = known_figure(mine[name])
        rows.append(row)
    return rows


def records(table: pd.DataFrame) -> list[Row]:
    """A row for each line of a table."""
    return [{str(k): value for k, value in line.items()} for line in table.to_dict("records")]
