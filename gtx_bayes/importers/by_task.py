"""JSON objects with an entry a task: data of peerannot, and of Learning with Disagreements."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from gtx_bayes.importers.base import AbstractImporter, Answer, Record, Said

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
        """Every entry is an object of single answers, or has annotators and annotations."""
        entries = list(first.values())
        are_objects = all(isinstance(entry, Mapping) for entry in entries)
        return are_objects and any(entries) and all(map(_is_of_answers, entries))

    def read(self, records: Sequence[Record], file: Path) -> Iterator[Said]:
        """One answer a task and worker."""
        for record in records:
            for task, entry in record.items():
                answers = _pairs(entry) if _has_both(entry) else entry.items()
                for worker, label in answers:
                    yield Answer(task, worker, label)


def _pairs(entry: Mapping[str, object]) -> list[tuple[str, object]]:
    """Who says what in an entry with annotators and annotations."""
    labels = entry[_LABELS]
    if isinstance(labels, Mapping):
        parted = {worker: _parts(label) for worker, label in labels.items()}
        return [
            (worker, parts[0] if len(parts) == 1 else parts) for worker, parts in parted.items()
        ]
    return list(zip(_parts(entry[_WORKERS]), _parts(labels), strict=False))


def _parts(cell: object) -> list[str]:
    return [part.strip() for part in str(cell).split(",")]


def _has_both(entry: Mapping[str, object]) -> bool:
    return _LABELS in entry and _WORKERS in entry


def _is_of_answers(entry: Mapping[str, object]) -> bool:
    return _has_both(entry) or all(isinstance(one, str | int | float) for one in entry.values())
