"""lm-evaluation-harness: the samples of a model, one file a model and task."""

import dataclasses
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gtx_bayes.importers.base import AbstractImporter, Answer, Gold, LeftOut, Record, Statement, has

_FILE = re.compile(r"samples_(?P<task>.+?)(_\d{4}-\d\d-\d\d.*)?")


@dataclasses.dataclass(frozen=True)
class LmEval(AbstractImporter):
    """One file a model, whose folder names it, and task; what it answers, and the target as gold.

    Documents are numbered anew in every task of the harness, which the file's name tells.

    Of questions with several options the answer is the number of the likeliest one, from 0; of
    questions answered in words it is what the first filter leaves of them.
    """

    name = "lm-eval"
    description = "lm-evaluation-harness: samples_*.jsonl, one file a model, targets as gold"

    def recognises(self, first: Record) -> bool:
        """A document with the responses to it."""
        return has(first, "doc_id", "target", "filtered_resps")

    def read(self, records: Sequence[Record], file: Path) -> Iterator[Statement]:
        """One answer a document."""
        called = _FILE.fullmatch(file.stem)
        for sample in records:
            label, found = _answer(sample["filtered_resps"]), sample["target"]
            task = (called["task"] if called else "", sample["doc_id"])
            if label is None:
                yield LeftOut("sample(s) without a response")
            else:
                yield Answer(task, file.parent.name or file.stem, label)
            yield Gold(task, _listed(found)[0] if _listed(found) else None)


def _listed(found: Any) -> list[Any]:
    return found if isinstance(found, list) else [found]


def _answer(responses: Any) -> object:
    """The text, or the place of the largest log-likelihood."""
    if not isinstance(responses, list):
        return str(responses).strip()
    if len(responses) > 1 and all(isinstance(one, list) and len(one) == 2 for one in responses):
        likelihoods = [float(one[0]) for one in responses]
        return likelihoods.index(max(likelihoods))
    while isinstance(responses, list):
        if not responses:
            return None
        responses = responses[0]
    return str(responses).strip()
