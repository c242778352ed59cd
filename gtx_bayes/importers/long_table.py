"""From what an importer finds to a table of answers: questions, choices, what is left out."""

import collections
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from gtx_bayes.classes import some_names
from gtx_bayes.columns import BETWEEN_PARTS, Source, Table, as_names
from gtx_bayes.errors import InputError
from gtx_bayes.importers.base import AbstractImporter, Answer, Gold, LeftOut, Statement, at_path

_SHOWN_QUESTIONS = 12


class File(NamedTuple):
    """What an importer is given of one file.

    Attributes:
        name: what messages call it.
        path: the file, unpacked.
        records: what it holds.
    """

    name: str
    path: Path
    records: Sequence[Any]


class _Followed(Sequence[Any]):
    """Records of files that know which of them was last taken, for messages."""

    def __init__(self, files: Sequence[File]) -> None:
        self._files, self.at = files, 0
        self._records = [record for file in files for record in file.records]

    @property
    def place(self) -> str:
        """The last one taken, in words."""
        at, which = self.at, 0
        while at >= len(self._files[which].records) and which + 1 < len(self._files):
            at, which = at - len(self._files[which].records), which + 1
        return f"{self._files[which].name}, record {at + 1}"

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, at: Any) -> Any:
        return self._records[at]

    def __iter__(self) -> Iterator[Any]:
        for at, record in enumerate(self._records):
            self.at = at
            yield record


def import_answers(
    importer: AbstractImporter,
    files: Sequence[File],
    *,
    question: str | None = None,
    choice: str | None = None,
) -> Table:
    """The answers in exports of one tool, and the gold in them, as tables.

    Args:
        importer: what reads the tool's exports.
        files: the exports.
        question: which question to take, or a path into its answers such as "T1.0.choice"; there
            may be one alone when absent.
        choice: makes of answers with several choices whether this is one of them: the classes
            are it and "not " it.

    Raises:
        InputError: for a file that is no such export, several questions of which none is named,
            and answers that are no single label.
    """
    together = [files] if importer.reads_files_together else [[file] for file in files]
    by_file = [list(_read_statements(importer, some)) for some in together]
    has_clash = _names_clash(by_file)
    if has_clash:
        by_file = [
            _in_file(statements, name)
            for statements, name in zip(by_file, _short(files), strict=True)
        ]
    statements = [one for found in by_file for one in found]
    name = files[0].name + (f" and {len(files) - 1} more" if len(files) > 1 else "")
    source = Source(name)
    spoken = [(place, one) for place, one in statements if not isinstance(one, LeftOut)]
    answers = [(place, one) for place, one in spoken if isinstance(one, Answer)]
    of_question = _question(source, importer, [one for _, one in answers], question)
    rows = _rows(answers, of_question)
    if not rows:
        raise source.error(
            f"the export of {importer.name} holds no answer.",
            "Export the annotations too, or name another format: `format=`.",
        )
    known = _rows([(place, one) for place, one in spoken if isinstance(one, Gold)], of_question)
    if choice is not None:
        given = [one.label for _, one in rows] + [one.label for _, one in known]
        _check_choice(source, choice, given)
    rows, known = _with_single(rows, choice), _with_single(known, choice)
    known = [(place, one) for place, one in known if one.label is not None]
    tasks = _names([*(one.task for _, one in rows), *(one.task for _, one in known)])
    frame = pd.DataFrame(
        {
            "task": as_names(tasks[: len(rows)]),
            "worker": as_names(one.worker for _, one in rows),
            "label": as_names(one.label for _, one in rows),
        }
    )
    gold = None
    if known:
        labels = as_names(one.label for _, one in known)
        gold = Table(
            pd.DataFrame({"task": as_names(tasks[len(rows) :]), "label": labels}),
            Source(
                f"the gold in {name}",
                rows=tuple(place for place, _ in known),
                instead=", or give others, which take the place of these: `gold=`",
            ),
            roles={"example": "task", "label": "label"},
        )
    return Table(
        frame,
        Source(name, rows=tuple(place for place, _ in rows)),
        gold,
        {"example": "task", "labeler": "worker", "label": "label"},
        (
            *_notes(importer, name, frame, of_question, gold, [one for _, one in statements]),
            *(
                [f"{name}: files call different tasks alike: each has its own."]
                if has_clash
                else ()
            ),
        ),
    )


def _read_statements(
    importer: AbstractImporter, files: Sequence[File]
) -> Iterator[tuple[str, Statement]]:
    """What an importer finds in files, each with its place."""
    records = _Followed(files)
    found = importer.read(records, files[0].path)
    while True:
        try:
            one = next(found)
        except StopIteration:
            return
        except InputError as error:
            raise InputError(error.what, where=records.place, hint=error.hint) from error
        except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
            raise InputError(
                f"this is not what {importer.name} exports: {type(error).__name__} {error}.",
                where=records.place,
                hint='Name another format, or `format="table"` for a plain table.',
            ) from error
        yield records.place, one


def _names_clash(by_file: Sequence[Sequence[tuple[str, Statement]]]) -> bool:
    """Whether two files give one name to tasks that are about something else."""
    contents: dict[object, object] = {}
    for statements in by_file:
        mine = {one.task: one.content for _, one in statements if isinstance(one, Answer)}
        for task, content in mine.items():
            if content is not None and contents.setdefault(task, content) != content:
                return True
    return False


def _in_file(statements: Sequence[tuple[str, Statement]], file: str) -> list[tuple[str, Statement]]:
    """What is said, the file being the first part of every task's name."""
    return [
        (place, one)
        if isinstance(one, LeftOut)
        else (place, one._replace(task=(file, *_parts(one.task))))
        for place, one in statements
    ]


def _short(files: Sequence[File]) -> list[str]:
    """Names of the files without their folders, if they differ."""
    short = [file.path.stem for file in files]
    return short if len(set(short)) == len(files) else [file.name for file in files]


def _question(
    source: Source, importer: AbstractImporter, answers: Sequence[Answer], wanted: str | None
) -> str | None:
    """The question that is taken; None where no answer names any.

    Raises:
        InputError: if it is not there, or none is named where there are several.
    """
    times = collections.Counter(answer.question for answer in answers)
    if wanted is None:
        if len(times) > 1:
            listed = ", ".join(f"'{name}'" for name in list(times)[:_SHOWN_QUESTIONS])
            raise source.error(
                f"the export of {importer.name} holds {len(times)} questions: {listed}.",
                "Name the one to take: `question=`.",
            )
        return next(iter(times), None)
    for name in times:  # as the column of the export is called
        if wanted in (f"Answer.{name}", f"OUTPUT:{name}"):
            return name
    if wanted not in times and wanted.partition(".")[0] not in times:
        raise source.error(
            f"there is no question '{wanted}'.", f"There are {some_names(list(times))}."
        )
    return wanted


def _rows[T: (Answer, Gold)](
    statements: Sequence[tuple[str, T]], question: str | None
) -> list[tuple[str, T]]:
    """What is said to a question."""
    rows = []
    for place, one in statements:
        label: object = one.label
        if one.question != question:
            of_question, _, path = (question or "").partition(".")
            if one.question != of_question or not path:
                continue
            label = at_path(label, path.split("."))
        while isinstance(label, list) and len(label) == 1:
            label = label[0]
        rows.append((place, one._replace(label=label)))
    return rows


def _with_single[T: (Answer, Gold)](
    rows: Sequence[tuple[str, T]], choice: str | None
) -> list[tuple[str, T]]:
    """The same, the labels single."""
    return [(place, one._replace(label=_single(place, one.label, choice))) for place, one in rows]


def _check_choice(source: Source, choice: str, labels: Sequence[object]) -> None:
    """Raise `InputError` for a choice that no answer holds."""
    seen: dict[str, None] = {}
    for label in labels:
        seen.update(dict.fromkeys(map(str, label) if isinstance(label, list) else [str(label)]))
    if choice not in seen:
        raise source.error(
            f"no answer holds the choice '{choice}'.",
            f"Name one of those there are: {some_names([one for one in seen if one != 'None'])}.",
        )


def _single(place: str, label: object, choice: str | None) -> object:
    """A label that is a single one; None for none.

    Raises:
        InputError: for an answer with several labels, and one that is no label.
    """
    if isinstance(label, Mapping):
        raise InputError(
            f"the answer has parts: {some_names(list(label))}.",
            where=place,
            hint='Name the one to take by a path: `question="QUESTION.PART"`.',
        )
    if choice is not None:
        given = [str(one) for one in label] if isinstance(label, list) else [str(label)]
        if label is None:
            return None
        return choice if choice in given else f"not {choice}"
    if isinstance(label, list) and label:
        raise InputError(
            f"the answer holds several labels: {some_names(label)}.",
            where=place,
            hint="Name one to ask whether it is among them: `choice=`. The classes are then that "
            "and not that.",
        )
    return None if isinstance(label, list) else label


def _parts(task: object) -> tuple[object, ...]:
    return task if isinstance(task, tuple) else (task,)


def _names(tasks: Sequence[object]) -> list[object]:
    """Names of tasks; of those in parts the parts that differ between tasks, joined."""
    if not any(isinstance(task, tuple) for task in tasks):
        return list(tasks)
    parts = [_parts(task) for task in tasks]
    width = max(map(len, parts))
    kept = [at for at in range(width) if len({one[at : at + 1] for one in parts}) > 1] or [0]
    if len(kept) == 1:
        return [one[kept[0]] if kept[0] < len(one) else "" for one in parts]
    return [BETWEEN_PARTS.join(str(one[at]) for at in kept if at < len(one)) for one in parts]


def _notes(
    importer: AbstractImporter,
    name: str,
    frame: pd.DataFrame,
    question: str | None,
    gold: Table | None,
    statements: Sequence[Statement],
) -> Iterator[str]:
    """What was read, and what was left out."""
    to = f" to '{question}'" if question else ""
    known = "" if gold is None else f", and {len(gold.frame)} of gold"
    yield f"{name}: read as an export of {importer.name}, {len(frame)} answers{to}{known}."
    for why, number in collections.Counter(
        one.why for one in statements if isinstance(one, LeftOut)
    ).items():
        yield f"{name}: {number} {why} are left out."
