"""DeepEval: the JSON of a test run."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gtx_bayes.importers.base import (
    AbstractImporter,
    Answer,
    LeftOut,
    Record,
    Statement,
    as_content,
)

_CASES = ("testCases", "conversationalTestCases", "test_results", "test_cases")


@dataclasses.dataclass(frozen=True)
class DeepEval(AbstractImporter):
    """One task a test case; a worker is a metric and the model that evaluates it."""

    name = "deepeval"
    description = "DeepEval: JSON of a test run, every metric a judge"

    def recognises(self, first: Record) -> bool:
        """Test cases with data of metrics."""
        return any("metricsData" in case or "metrics_data" in case for case in _cases(first)[:1])

    def read(self, records: Sequence[Record], file: Path) -> Iterator[Statement]:
        """One answer a test case and metric: "pass" or "fail"."""
        cases = [case for record in records for case in _cases(record)]
        models = {one.get(key) for case in cases for one in _metrics(case) for key in _MODEL}
        for case in cases:
            content = as_content([case.get(key) for key in _CONTENT])
            for one in _metrics(case):
                if one.get("success") is None or one.get("error"):
                    yield LeftOut("metric(s) that came to no verdict")
                    continue
                model = next((one[key] for key in _MODEL if one.get(key)), "")
                judge = f"{one['name']} ({model})" if len(models - {None}) > 1 else one["name"]
                label = "pass" if one["success"] else "fail"
                yield Answer(case["name"], judge, label, content=content)


_CONTENT = ("input", "actualOutput", "actual_output", "turns")
_MODEL = ("evaluationModel", "evaluation_model")


def _cases(record: Record) -> list[Any]:
    found = [case for key in _CASES for case in record.get(key) or ()]
    return found or ([record] if "metricsData" in record or "metrics_data" in record else [])


def _metrics(case: Record) -> list[Any]:
    return list(case.get("metricsData") or case.get("metrics_data") or ())
