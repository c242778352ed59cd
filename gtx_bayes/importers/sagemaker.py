"""Amazon SageMaker Ground Truth: consolidation requests and worker responses."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gtx_bayes.importers.base import AbstractImporter, Answer, Record, Statement, has, parsed


@dataclasses.dataclass(frozen=True)
class SageMaker(AbstractImporter):
    """Data objects with the annotations of their workers, or one file of responses a data object.

    In the latter the task goes by the folder or file that the responses are in.
    """

    name = "sagemaker"
    description = "Amazon SageMaker Ground Truth: annotations by worker, before consolidation"

    def recognises(self, first: Record) -> bool:
        """A data object with annotations, or a list of answers with their content."""
        if has(first, "datasetObjectId", "annotations"):
            return True
        answers = first.get("answers")
        is_list = isinstance(answers, list) and bool(answers)
        return is_list and has(answers[0], "answerContent", "workerId")  # type: ignore[index]

    def read(self, records: Sequence[Record], file: Path) -> Iterator[Statement]:
        """One answer a worker and form element."""
        for record in records:
            if "answers" in record:
                answers = [(one["workerId"], one["answerContent"]) for one in record["answers"]]
                task: object = file.parent.name or file.stem
            else:
                answers = [
                    (one["workerId"], parsed(one["annotationData"].get("content")))
                    for one in record["annotations"]
                ]
                task = record["datasetObjectId"]
            for worker, content in answers:
                for question, value in content.items():
                    yield Answer(task, worker, _label(value), question)


def _label(value: Any) -> Any:
    """The answer of a form element: its label, or the radio button that is on."""
    if not isinstance(value, Mapping):
        return value
    for key in ("label", "labels"):
        if key in value:
            return value[key]
    if value and all(isinstance(pressed, bool) for pressed in value.values()):
        return [button for button, pressed in value.items() if pressed]
    return dict(value)
