"""doccano: JSON lines, one file a user or all annotations in one."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from gtx_bayes.importers.base import AbstractImporter, Answer, Record, Statement, has


@dataclasses.dataclass(frozen=True)
class Doccano(AbstractImporter):
    """Documents with their labels; the user is named by the record, or else by the file."""

    name = "doccano"
    description = "doccano: JSON lines, one file a user, or JSON with annotations by user"

    def recognises(self, first: Record) -> bool:
        """Documents with a list of labels or of annotations."""
        if not has(first, "id") or not ("text" in first or "filename" in first or "data" in first):
            return False
        annotations = first.get("annotations")
        by_user = isinstance(annotations, list) and all("user" in one for one in annotations)
        return isinstance(first.get("label"), list) or (by_user and bool(annotations))

    def read(self, records: Sequence[Record], file: Path) -> Iterator[Statement]:
        """One answer a document and user."""
        for document in records:
            if "annotations" in document:
                by_user: dict[object, list[object]] = {}
                for annotation in document["annotations"]:
                    by_user.setdefault(annotation["user"], []).append(annotation["label"])
                for user, labels in by_user.items():
                    yield Answer(document["id"], user, labels)
            else:
                worker = document.get("annotator", file.stem)
                yield Answer(document["id"], worker, document["label"])
