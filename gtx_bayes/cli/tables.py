"""Options of the commands that read tables of answers and gold."""

import enum
from pathlib import Path
from typing import Annotated

import typer

from gtx_bayes.errors import InputError


class DuplicateChoice(enum.StrEnum):
    """What to do with contradictory answers of a labeler to an example."""

    error = "error"
    first = "first"
    last = "last"
    all = "all"


LabelsArgument = Annotated[
    Path,
    typer.Argument(
        metavar="LABELS", help="Answers: task, worker, label (CSV, TSV, JSON lines or Parquet)."
    ),
]
GoldOption = Annotated[Path | None, typer.Option(help="Known labels: task, label.")]
MethodOption = Annotated[
    str,
    typer.Option(
        help="gtx-bayes, gtx (the paper), soft-vote, weighted-majority-vote or majority-vote."
    ),
]
ClassPriorOption = Annotated[
    str | None,
    typer.Option(
        metavar="P1,P2,...",
        help="Prior of each class, in the order of the prob_ columns. [default: uniform]",
    ),
]
ClassesOption = Annotated[
    str | None,
    typer.Option(metavar="A,B,...", help="All the classes. [default: those in the tables]"),
]
DuplicatesOption = Annotated[
    DuplicateChoice,
    typer.Option(help="Which answers count where a worker contradicts itself on a task."),
]
TaskColumnOption = Annotated[str | None, typer.Option(metavar="NAME", help="Column of the task.")]
WorkerColumnOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="Column of the worker.")
]
LabelColumnOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="Column of the answer.")
]
GoldTaskColumnOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="Column of the task.")
]
GoldLabelColumnOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="Column of the answer.")
]


def given(**columns: str | None) -> dict[str, str]:
    """The columns the user named, by role."""
    return {role: name for role, name in columns.items() if name is not None}


def parse_prior(text: str | None) -> list[float] | None:
    """The numbers of a class prior.

    Raises:
        InputError: for anything that is no list of numbers.
    """
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(
            f"'{text}' is no list of numbers.",
            where="--class-prior",
            mend="Give one probability per class, such as 0.9,0.1.",
        ) from error
