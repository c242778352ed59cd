"""Argilla: records as JSON, and as they stand in a dataset on the Hugging Face hub."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gtx_bayes.importers.base import AbstractImporter, Answer, LeftOut, Record, Statement

_RESPONSES, _USERS, _STATUS = ".responses", ".responses.users", ".responses.status"


@dataclasses.dataclass(frozen=True)
class Argilla(AbstractImporter):
    """One record a task, with the responses of its users; discarded and draft ones are left out."""

    name = "argilla"
    description = "Argilla: records with responses, as JSON or as a dataset of the Hugging Face hub"

    def recognises(self, first: Record) -> bool:
        """Responses by question or by user, or a column of responses and one of users."""
        if "responses" in first and ("fields" in first or "_server_id" in first):
            return True
        return bool(_columns(first)) or bool(_lists_of_responses(first))

    def read(self, records: Sequence[Record], file: Path) -> Iterator[Statement]:
        """One answer a record, user and question."""
        for at, record in enumerate(records):
            task = next(
                (record[key] for key in ("id", "external_id", "_server_id") if record.get(key)), at
            )
            for user, status, question, value in _responses(record):
                if status in (None, "submitted"):
                    yield Answer(task, user, value, question)
                else:
                    yield LeftOut(f"response(s) that are {status}")


def _responses(record: Record) -> Iterator[tuple[object, object, str, object]]:
    """User, status, question and value of every response."""
    responses = record.get("responses")
    if isinstance(responses, Mapping):  # by question
        for question, given in responses.items():
            for one in given or ():
                yield one.get("user_id"), one.get("status"), question, one.get("value")
    elif responses is not None:  # by user
        for one in responses:
            values = one.get("values") or {"": None}
            for question, value in values.items():
                value = value.get("value") if isinstance(value, Mapping) else value
                yield one.get("user_id"), one.get("status"), question, value
    for question in _columns(record):
        given = _listed(record.get(question + _RESPONSES))
        users = _listed(record.get(question + _USERS))
        statuses = _listed(record.get(question + _STATUS)) or [None] * len(given)
        for user, status, value in zip(users, statuses, given, strict=True):
            yield user, status, question, value
    for question in () if responses is not None else _lists_of_responses(record):
        for one in record[question]:
            yield one.get("user_id"), one.get("status"), question, one.get("value")


def _listed(cell: Any) -> list[Any]:
    return [] if cell is None else list(cell)


def _columns(record: Record) -> list[str]:
    """The questions that have a column of responses and one of users."""
    return [
        name.removesuffix(_RESPONSES)
        for name in record
        if name.endswith(_RESPONSES) and name.removesuffix(_RESPONSES) + _USERS in record
    ]


def _lists_of_responses(record: Record) -> list[str]:
    """The columns that hold lists of user, value and status."""
    return [
        name
        for name, cell in record.items()
        if isinstance(cell, list)
        and cell
        and all(
            isinstance(one, Mapping) and {"user_id", "value", "status"} <= set(one) for one in cell
        )
    ]
