"""promptfoo: the JSON of an evaluation, or one result a line."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
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


@dataclasses.dataclass(frozen=True)
class Promptfoo(AbstractImporter):
    """One task an output: a test, a prompt and the provider that answered; who judges is a worker.

    A judge is the assertion's own provider, else its metric, its type and its place among the
    assertions. The answer is "pass" or "fail".
    """

    name = "promptfoo"
    description = "promptfoo: JSON or JSON lines of an evaluation, every assertion a judge"

    def recognises(self, first: Record) -> bool:
        """Results with the components of their grades."""
        return any("gradingResult" in one for one in _results(first)[:1])

    def read(self, records: Sequence[Record], file: Path) -> Iterator[Statement]:
        """One answer an output and assertion."""
        for record in records:
            for result in _results(record):
                provider = result.get("provider")
                name = provider.get("id") if isinstance(provider, Mapping) else provider
                task = (result.get("testIdx"), result.get("promptIdx"), name)
                about = [result.get(key) for key in ("vars", "prompt", "response")]
                components = (result.get("gradingResult") or {}).get("componentResults") or []
                if not components:
                    yield LeftOut("result(s) that no assertion has judged")
                for at, component in enumerate(components):
                    judge = _judge(component.get("assertion") or {}, at)
                    label = "pass" if component["pass"] else "fail"
                    yield Answer(task, judge, label, content=_content(about))


def _results(record: Record) -> list[Any]:
    found = record.get("results", [record])
    found = found.get("results", []) if isinstance(found, Mapping) else found
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def _content(about: list[Any]) -> object:
    """Variables, prompt and output of a result, as far as it has them."""
    variables, prompt, response = about
    prompt = prompt.get("raw") if isinstance(prompt, Mapping) else prompt
    output = response.get("output") if isinstance(response, Mapping) else response
    return as_content([variables, prompt, output])


def _judge(assertion: Mapping[str, Any], at: int) -> str:
    provider = assertion.get("provider")
    if isinstance(provider, Mapping):
        provider = provider.get("id")
    return str(provider or assertion.get("metric") or f"{assertion.get('type', 'assertion')} {at}")
