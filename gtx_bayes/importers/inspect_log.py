"""Inspect: the JSON of an evaluation log, or an .eval archive."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from gtx_bayes.importers.base import AbstractImporter, Answer, LeftOut, Record, Statement, has


@dataclasses.dataclass(frozen=True)
class InspectLog(AbstractImporter):
    """One task a sample of a task of Inspect, an epoch and the model that was evaluated.

    Every scorer is a worker.
    """

    name = "inspect"
    description = "Inspect: log of an evaluation as JSON or .eval, every scorer a judge"

    def recognises(self, first: Record) -> bool:
        """A log, its header, or a sample with scores."""
        return has(first, "eval", "status") or has(first, "id", "epoch", "scores")

    def read(self, records: Sequence[Record], file: Path) -> Iterator[Statement]:
        """One answer a sample and scorer."""
        for record in records:
            about = record.get("eval") or {}
            samples = record.get("samples") or ([record] if "scores" in record else [])
            for sample in samples:
                epoch, model = sample.get("epoch", 1), about.get("model", "")
                task = (about.get("task", ""), sample["id"], epoch, model)
                if not sample.get("scores"):
                    yield LeftOut("sample(s) without a score")
                for scorer, score in (sample.get("scores") or {}).items():
                    yield Answer(task, scorer, score["value"])
