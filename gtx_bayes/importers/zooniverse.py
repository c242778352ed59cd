"""Zooniverse: the CSV of a project's classifications."""

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
    parsed,
)


@dataclasses.dataclass(frozen=True)
class Zooniverse(AbstractImporter):
    """One row a classification, with the answers to all questions of its workflow as JSON.

    People who were not logged in go by the name "not-logged-in-..." that the export gives them, a
    digest of their address: one address counts as one labeler.

    Attributes:
        anonymous: whether such people are kept ("keep") or left out ("drop").
    """

    name = "zooniverse"
    description = (
        "Zooniverse: CSV of classifications; a question such as T0, or a path such as T1.0.choice"
    )
    anonymous: str = "keep"

    def recognises(self, first: Record) -> bool:
        """The columns of the annotations, the subjects and the user."""
        return has(first, "annotations", "subject_ids", "user_name")

    def read(self, records: Sequence[Record], file: Path) -> Iterator[Statement]:
        """One answer a row and question; those of experts in gold-standard mode are gold."""
        check_choice(self.anonymous, ("keep", "drop"), "anonymous")
        for row in records:
            if self.anonymous == "drop" and not row.get("user_id"):
                yield LeftOut("classification(s) of people who were not logged in")
                continue
            annotations = parsed(row["annotations"])
            if not isinstance(annotations, list):
                yield LeftOut("classification(s) whose annotations are no list in JSON")
                continue
            for annotation in annotations:
                question, value = str(annotation.get("task", "")), annotation.get("value")
                if str(row.get("gold_standard", "")).lower() == "true":
                    yield Gold(row["subject_ids"], value, question)
                else:
                    yield Answer(row["subject_ids"], row["user_name"], value, question)
