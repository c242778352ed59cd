"""JSON objects with an entry a task: data of peerannot, and of Learning with Disagreements."""

import collections
import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from gtx_bayes.columns import ANSWER_ROLES, fits
from gtx_bayes.errors import InputError
from gtx_bayes.importers.base import AbstractImporter, Answer, LeftOut, Record, Statement

_LABELS, _WORKERS = "annotations", "annotators"


@dataclasses.dataclass(frozen=True)
class ByTask(AbstractImporter):
    """One object, whose keys are tasks: `{"t1": {"ann": "cat", "bob": "dog"}}`.

    Or `{"t1": {"annotations": "1,0", "annotators": "Ann1,Ann2"}}`, where `annotations` may also be
    an object by annotator. Labels that are agreed on (`hard_label`) are no gold.
    """

    name = "by-task"
    description = "JSON by task: answers by worker (peerannot), or annotators and annotations"

    def recognises(self, first: Record) -> bool:
        """Every entry is an object of single answers, or has annotators and annotations.

        No table whose keys are columns or rows, and no settings: some annotator has several tasks.
        """
        entries = list(first.values())
        if not all(isinstance(entry, Mapping) for entry in entries) or not any(entries):
            return False
        if any(map(_has_both, entries)):
            return all(map(_has_both, entries))
        times = collections.Counter(worker for entry in entries for worker in entry)
        is_shared = len(entries) == 1 or max(times.values()) > 1
        is_table = times.keys() & {_LABELS, _WORKERS} or _is_of_columns(first) or _is_of_rows(times)
        return is_shared and not is_table and all(map(_is_of_answers, entries))

    def read(self, records: Sequence[Record], file: Path) -> Iterator[Statement]:
        """One answer a task and worker; null is none."""
        for record in records:
            for task, entry in record.items():
                for worker, label in _pairs(task, entry):
                    if worker is None or label is None:
                        what = "annotator" if worker is None else "label"
                        yield LeftOut(f"answer(s) without {what}")
                    else:
                        yield Answer(task, worker, label)


def _pairs(task: str, entry: Mapping[str, object]) -> list[tuple[object, object]]:
    """Who says what in an entry."""
    if not entry.keys() & {_LABELS, _WORKERS}:
        return list(entry.items())
    labels = entry.get(_LABELS)
    if isinstance(labels, Mapping):
        parted = {worker: _parts(task, label) for worker, label in labels.items()}
        return [
            (worker, (parts or [None])[0] if len(parts) < 2 else parts)
            for worker, parts in parted.items()
        ]
    workers, answers = _parts(task, entry.get(_WORKERS)), _parts(task, labels)
    if len(workers) != len(answers):
        raise InputError(
            f"task '{task}' has {len(workers)} annotator(s) and {len(answers)} annotation(s).",
            hint="Give every annotation its annotator.",
        )
    return list(zip(workers, answers, strict=True))


def _parts(task: str, cell: object) -> list[object]:
    """The entries of a list, or of a text with commas between them; null has none."""
    if isinstance(cell, list):
        return cell
    if cell is None or cell == "":
        return []
    if isinstance(cell, str | int | float):
        return [part.strip() for part in cell.split(",")] if isinstance(cell, str) else [cell]
    raise InputError(
        f"task '{task}' has '{cell!s:.40}' where annotators or annotations stand.",
        hint="Give a list, or a text with commas.",
    )


def _has_both(entry: Mapping[str, object]) -> bool:
    return _LABELS in entry and _WORKERS in entry


def _is_of_answers(entry: Mapping[str, object]) -> bool:
    return all(one is None or isinstance(one, str | int | float) for one in entry.values())


def _is_of_columns(first: Record) -> bool:
    """Whether named columns hold rows by number, as pandas writes a table."""
    numbers = [str(at) for at in range(max(map(len, first.values())))]
    return all(list(entry) == numbers for entry in first.values()) and not all(
        str(name).isdecimal() for name in first
    )


def _is_of_rows(names: Collection[str]) -> bool:
    """Whether the keys of entries are the columns of a table of answers."""
    return all(fits(names, role, ANSWER_ROLES) for role in ANSWER_ROLES)
