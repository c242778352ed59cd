"""Labelbox: NDJSON of data rows with the labels of projects."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gtx_bayes.importers.base import AbstractImporter, Answer, Gold, LeftOut, Record, Statement, has


@dataclasses.dataclass(frozen=True)
class Labelbox(AbstractImporter):
    """One record a data row; every classification is a question.

    The label that others name as their benchmark is gold.
    """

    name = "labelbox"
    description = "Labelbox: NDJSON of data rows, their classifications"

    def recognises(self, first: Record) -> bool:
        """A data row with projects."""
        return has(first, "data_row", "projects") and isinstance(first["projects"], Mapping)

    def read(self, records: Sequence[Record], file: Path) -> Iterator[Statement]:
        """One answer a label and classification."""
        for record in records:
            row = record["data_row"]
            task = row.get("global_key") or row.get("external_id") or row["id"]
            labels = [label for one in record["projects"].values() for label in one["labels"]]
            benchmarks = {
                details.get("benchmark_reference_label")
                for label in labels
                if (details := label.get("performance_details"))
            }
            for label in labels:
                found = label.get("annotations", {})
                worker = label.get("label_details", {}).get("created_by")
                for one in found.get("classifications", ()):
                    if label.get("id") in benchmarks:
                        yield Gold(task, _answer(one), one["name"])
                    else:
                        yield Answer(task, worker, _answer(one), one["name"])
                if found.get("objects"):
                    yield LeftOut("label(s) with objects, which are about parts of a data row")


def _answer(classification: Mapping[str, Any]) -> Any:
    if "radio_answer" in classification:
        return classification["radio_answer"]["name"]
    if "checklist_answers" in classification:
        return [answer["name"] for answer in classification["checklist_answers"]]
    return classification.get("text_answer", {}).get("content")
