"""Prodigy: JSON lines with accept, reject and ignore."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from gtx_bayes.errors import InputError
from gtx_bayes.importers.base import (
    AbstractImporter,
    Answer,
    LeftOut,
    Record,
    Statement,
    check_choice,
    has,
)


@dataclasses.dataclass(frozen=True)
class Prodigy(AbstractImporter):
    """One record an annotator and task.

    A label that was accepted is the answer. One that was rejected is the other label where the
    files together have two, and "not LABEL" where they have one. Ignored tasks are blank answers.

    Attributes:
        rejects: what a rejected task is where labels are chosen from several: an error, or
            left out ("drop").
    """

    name = "prodigy"
    description = "Prodigy: JSON lines of classification and choice"
    reads_files_together = True
    rejects: str = "error"

    def recognises(self, first: Record) -> bool:
        """Records with a hash of the task and an answer."""
        return has(first, "_task_hash", "answer")

    def read(self, records: Sequence[Record], file: Path) -> Iterator[Statement]:
        """One answer a record."""
        check_choice(self.rejects, ("error", "drop"), "rejects")
        labels = sorted({str(r["label"]) for r in records if "accept" not in r and "label" in r})
        for record in records:
            task = record.get("_input_hash", record["_task_hash"])
            worker = record.get("_annotator_id") or record.get("_session_id")
            given = record["answer"]
            if given == "ignore":
                yield Answer(task, worker, None)
            elif "accept" not in record and "label" not in record:
                yield LeftOut("record(s) without a label or a choice")
            elif given == "accept":
                yield Answer(task, worker, record.get("accept", record.get("label")))
            elif "accept" in record or len(labels) > 2:
                if self.rejects == "error":
                    what = f"a task is rejected, which says of {len(labels)} labels no other one."
                    if "accept" in record:
                        what = (
                            "a task is rejected, in which one of several labels was to be chosen."
                        )
                    raise InputError(
                        what, hint="Say the format's option rejects=drop to leave such out."
                    )
                yield LeftOut("task(s) that were rejected")
            else:
                label = str(record["label"])
                others = [other for other in labels if other != label]
                yield Answer(task, worker, others[0] if others else f"not {label}")
