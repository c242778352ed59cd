"""Amazon Mechanical Turk: the CSV of a batch's results."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from gtx_bayes.importers.base import (
    AbstractImporter,
    Answer,
    LeftOut,
    Record,
    Statement,
    check_choice,
    has,
    parsed,
)

_ANSWER = "Answer."


@dataclasses.dataclass(frozen=True)
class MechanicalTurk(AbstractImporter):
    """One row an assignment; every `Answer.` column is a question.

    Attributes:
        rejected: whether assignments that were rejected are left out ("drop") or kept ("keep").
        task: column that names the task.
    """

    name = "mturk"
    description = "Amazon Mechanical Turk: CSV of a batch's results"
    rejected: str = "drop"
    task: str = "HITId"

    def recognises(self, first: Record) -> bool:
        """The columns of the HIT and the worker, and an answer."""
        return has(first, "HITId", "WorkerId") and any(name.startswith(_ANSWER) for name in first)

    def read(self, records: Sequence[Record], file: Path) -> Iterator[Statement]:
        """One answer a row and `Answer.` column; of buttons those that are on."""
        check_choice(self.rejected, ("drop", "keep"), "rejected")
        for row in records:
            if row.get("AssignmentStatus") == "Rejected" and self.rejected == "drop":
                yield LeftOut("assignment(s) that were rejected (format option rejected)")
                continue
            buttons: dict[str, list[str]] = {}
            for name in row:
                if not name.startswith(_ANSWER):
                    continue
                question, dot, button = name.removeprefix(_ANSWER).partition(".")
                if dot and row[name].strip().lower() in ("true", "false", "on", "off", ""):
                    pressed = buttons.setdefault(question, [])
                    pressed += [button] if row[name].strip().lower() in ("true", "on") else []
                else:
                    cell = parsed(row[name])
                    if isinstance(cell, str) and "|" in cell:  # boxes that were checked
                        cell = [box.strip() for box in cell.split("|") if box.strip()]
                    yield Answer(row.get(self.task), row["WorkerId"], cell, question + dot + button)
            for question, pressed in buttons.items():
                yield Answer(row.get(self.task), row["WorkerId"], pressed, question)
