"""Label Studio: JSON, JSON_MIN and CSV."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gtx_bayes.errors import InputError
from gtx_bayes.importers.base import (
    AbstractImporter,
    Answer,
    Gold,
    LeftOut,
    Record,
    Statement,
    has,
    parsed,
)

_OF_RECORDS = (
    "id",
    "annotator",
    "annotation_id",
    "created_at",
    "updated_at",
    "lead_time",
    "agreement",
)
"""What a record of JSON_MIN and a row of the CSV have beside the task's data and the answers."""


@dataclasses.dataclass(frozen=True)
class LabelStudio(AbstractImporter):
    """Tasks with their annotations, or one record an annotation.

    Annotations that were cancelled are left out; one marked as ground truth is gold and no answer.
    """

    name = "label-studio"
    description = "Label Studio: JSON, JSON_MIN or CSV"

    def recognises(self, first: Record) -> bool:
        """Tasks with annotations, or records with the number of one and its annotator."""
        annotations = first.get("annotations")
        is_task = has(first, "data") and isinstance(annotations, list)
        return (is_task and "fields" not in first) or has(first, "annotation_id", "annotator")

    def read(self, records: Sequence[Record], file: Path) -> Iterator[Statement]:
        """One answer for each control that a choice, a rating or a text was given in."""
        if records and "annotations" not in records[0]:
            yield from _of_rows(records)
            return
        for task in records:
            for annotation in task["annotations"]:
                if annotation.get("was_cancelled"):
                    yield LeftOut("annotation(s) that were cancelled")
                    continue
                result = annotation.get("result") or []
                if not result:
                    yield LeftOut("annotation(s) without a result")
                for answer in map(_answer, result):
                    if isinstance(answer, LeftOut):
                        yield answer
                        continue
                    question, label = answer
                    if annotation.get("ground_truth"):
                        yield Gold(task["id"], label, question)
                    else:
                        worker = _worker(annotation.get("completed_by"))
                        yield Answer(task["id"], worker, label, question)


def _worker(completed_by: Any) -> object:
    """A number, or with details the address."""
    if isinstance(completed_by, dict):
        return completed_by.get("email") or completed_by.get("id")
    return completed_by


def _answer(result: Record) -> tuple[str, Any] | LeftOut:
    """The control and the answer of a result that is about the task as a whole."""
    value, question = result.get("value", {}), str(result.get("from_name", ""))
    if "start" in value or "x" in value:
        return LeftOut("result(s) about parts of a task")
    for kind in ("choices", "rating", "text", "number", "taxonomy"):
        if kind in value:
            found = value[kind]
            return question, [" / ".join(p) for p in found] if kind == "taxonomy" else found
    if result.get("type") == "pairwise" and "selected" in value:
        return question, value["selected"]
    return LeftOut(f"result(s) of the kind '{result.get('type')}'")


def _of_rows(rows: Sequence[Record]) -> Iterator[Statement]:
    """One row an annotation: the task's data and the answers are columns side by side."""
    questions = _questions(rows)
    for row in rows:
        for question in questions:
            cell = parsed(row.get(question))
            label = cell.get("choices") if isinstance(cell, dict) else cell
            yield Answer(row["id"], row["annotator"], label, question)


def _questions(rows: Sequence[Record]) -> list[str]:
    """The columns with answers.

    JSON_MIN has them between `id` and `annotator`. The columns of the CSV are sorted: those that
    differ between two annotations of a task are no data of the task.
    """
    names = list(rows[0])
    if names.index("annotator") == names.index("annotation_id") - 1:
        between = [name for row in rows for name in row if _is_between(name, list(row))]
        if between:
            return list(dict.fromkeys(between))
    first: dict[object, Record] = {}
    varying: dict[str, None] = {}
    for row in rows:
        before = first.setdefault(row["id"], row)
        for name in row:
            if name not in _OF_RECORDS and row[name] != before.get(name):
                varying[name] = None
    if not varying:
        others = [name for name in names if name not in _OF_RECORDS]
        raise InputError(
            f"which column holds the answers cannot be told: {', '.join(others)}.",
            hint='Export as JSON, or read the table as it is: `format="table"`, with the columns '
            "id, annotator, and that of the answers named.",
        )
    return list(varying)


def _is_between(name: str, names: list[str]) -> bool:
    return names.index("id") < names.index(name) < names.index("annotator")
