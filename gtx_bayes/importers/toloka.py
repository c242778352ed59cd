"""Toloka: the TSV of a pool's assignments."""

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
)

_WORKER, _STATUS, _TASK = "ASSIGNMENT:worker_id", "ASSIGNMENT:status", "ASSIGNMENT:task_id"
_OUTPUT, _GOLDEN, _INPUT = "OUTPUT:", "GOLDEN:", "INPUT:"


@dataclasses.dataclass(frozen=True)
class Toloka(AbstractImporter):
    """One row a task of an assignment; every `OUTPUT:` column is a question.

    Control tasks, whose `GOLDEN:` cell is filled, are gold. A task is named by its `INPUT:` cells.

    Attributes:
        rejected: whether assignments that were rejected are left out ("drop") or kept ("keep").
    """

    name = "toloka"
    description = "Toloka: TSV of assignments, control tasks as gold"
    rejected: str = "drop"

    def recognises(self, first: Record) -> bool:
        """A column of workers and one of answers."""
        return _WORKER in first and any(name.startswith(_OUTPUT) for name in first)

    def read(self, records: Sequence[Record], file: Path) -> Iterator[Statement]:
        """One answer a row and `OUTPUT:` column."""
        check_choice(self.rejected, ("drop", "keep"), "rejected")
        for row in records:
            task = tuple(row[name] for name in row if name.startswith(_INPUT)) or row.get(_TASK)
            for name in row:
                if name.startswith(_GOLDEN) and row[name]:
                    yield Gold(task, row[name], name.removeprefix(_GOLDEN))
            if row.get(_STATUS) in ("SKIPPED", "EXPIRED", "ACTIVE"):
                yield LeftOut("row(s) of assignments that were not handed in")
            elif row.get(_STATUS) == "REJECTED" and self.rejected == "drop":
                yield LeftOut("row(s) of assignments that were rejected (format option rejected)")
            else:
                for name in row:
                    if name.startswith(_OUTPUT):
                        yield Answer(task, row[_WORKER], row[name], name.removeprefix(_OUTPUT))
