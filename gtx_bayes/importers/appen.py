"""Appen, formerly Figure Eight and CrowdFlower: the full report of a job."""

import collections
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from gtx_bayes.importers.base import (
    AbstractImporter,
    Answer,
    Gold,
    LeftOut,
    Record,
    Statement,
    check_choice,
    has,
)

_UNIT, _WORKER, _GOLD = "_unit_id", "_worker_id", "_gold"


@dataclasses.dataclass(frozen=True)
class Appen(AbstractImporter):
    """One row a judgment. What varies within a unit is a question, and what has a column of gold.

    Several answers to a question stand in lines of a cell. Test questions are gold.

    Attributes:
        tainted: whether judgments of contributors who failed test questions are left out ("drop")
            or kept ("keep").
    """

    name = "appen"
    description = "Appen, Figure Eight, CrowdFlower: full report, test questions as gold"
    reads_files_together = True
    tainted: str = "drop"

    def recognises(self, first: Record) -> bool:
        """The columns of the unit and the contributor."""
        return has(first, _UNIT, _WORKER)

    def read(self, records: Sequence[Record], file: Path) -> Iterator[Statement]:
        """One answer a row and question."""
        check_choice(self.tainted, ("drop", "keep"), "tainted")
        questions = _questions(records)
        has_several = {
            name: any(isinstance(_lines(row.get(name)), list) for row in records)
            for name in questions
        }
        for row in records:
            for name in questions:
                known = _lines(row.get(name + _GOLD))
                # Several for a question with single answers: any of them is right.
                if known and (isinstance(known, str) or has_several[name]):
                    yield Gold(row[_UNIT], known, name)
            if str(row.get("_tainted")).lower() == "true" and self.tainted == "drop":
                yield LeftOut("judgment(s) that are tainted (format option tainted)")
                continue
            for name in questions:
                yield Answer(row[_UNIT], row[_WORKER], _lines(row.get(name)), name)


def _questions(records: Sequence[Record]) -> list[str]:
    """The columns that hold answers."""
    cells: dict[str, dict[object, set[object]]] = collections.defaultdict(dict)
    for row in records:
        for name, cell in row.items():
            if not name.startswith("_") and not name.endswith(_GOLD):
                cells[name].setdefault(row[_UNIT], set()).add(cell)
    varying = {name for name, units in cells.items() if any(len(of) > 1 for of in units.values())}
    with_gold = {name for name in cells if any(row.get(name + _GOLD) for row in records)}
    return [name for name in cells if name in (with_gold or varying)]


def _lines(cell: object) -> object:
    """A cell, or its lines where it has several."""
    lines = [line.strip() for line in str(cell or "").splitlines() if line.strip()]
    return lines if len(lines) > 1 else lines[0] if lines else None
