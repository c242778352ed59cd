"""What an importer is: how to know the export of a tool, and who says what in it."""

import abc
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from gtx_bayes.errors import InputError

Record = Mapping[str, Any]
"""A JSON object, a row of a table, or for XML its root under the name annotations."""


class Answer(NamedTuple):
    """What somebody says about a task.

    Attributes:
        task: the task's name, or its parts; parts that are the same throughout are left out.
        worker: who says it.
        label: the answer; None or an empty list for a blank one, a list of several for several.
        question: which of several questions it answers.
        content: what the task is about, where its name may be another's in another file.
    """

    task: object
    worker: object
    label: object
    question: str = ""
    content: object = None


class Gold(NamedTuple):
    """What is known of a task; fields as those of an `Answer`."""

    task: object
    label: object
    question: str = ""


class LeftOut(NamedTuple):
    """Something in the export that is no answer, and why."""

    why: str


Statement = Answer | Gold | LeftOut


class AbstractImporter(abc.ABC):
    """Reads the export of one tool. A subclass is final and a frozen dataclass of its options.

    Attributes:
        name: what the tool is called.
        description: the tool and the files, for a list.
        reads_files_together: whether what a record says depends on those of other files; then
            several are read as one.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    reads_files_together: ClassVar[bool] = False

    @abc.abstractmethod
    def recognises(self, first: Record) -> bool:
        """Whether this is the first record of such an export; cells of tables may be missing."""

    @abc.abstractmethod
    def read(self, records: Sequence[Record], file: Path) -> Iterator[Statement]:
        """What the records say, in order.

        Args:
            records: all of a file, or of all files that are read together.
            file: the file, unpacked, or the first of them; some tools name the worker by it or by
                its folder.
        """


def has(first: Record, *names: str) -> bool:
    """Whether a record has all of these keys."""
    return all(name in first for name in names)


def parsed(cell: object) -> Any:
    """A cell that may be JSON: what it holds, or the text as it is."""
    if isinstance(cell, str) and cell.strip()[:1] in ("{", "[", '"'):
        try:
            return json.loads(cell)
        except (ValueError, RecursionError):
            return cell
    return cell


def as_content(about: Sequence[object]) -> str | None:
    """What a task is about, to tell from another; None where nothing is said."""
    if all(part is None for part in about):
        return None
    return json.dumps(about, sort_keys=True, default=str)


def at_path(found: Any, path: Sequence[str]) -> Any:
    """What stands in nested lists and dictionaries along a path; None where there is nothing."""
    for step in path:
        if isinstance(found, Mapping):
            found = found.get(step)
        elif isinstance(found, list) and step.isdecimal() and int(step) < len(found):
            found = found[int(step)]
        else:
            return None
    return found


def check_choice(value: str, choices: Sequence[str], option: str) -> None:
    """Raise `InputError` unless an option of an importer is one of its choices."""
    if value not in choices:
        raise InputError(
            f"the option {option} is '{value}'.", hint=f"Choose one of {', '.join(choices)}."
        )
