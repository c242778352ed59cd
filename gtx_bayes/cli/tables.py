"""Options of the commands that read tables of answers and gold."""

import enum
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gtx_bayes.errors import InputError
from gtx_bayes.registry import METHODS, MODELS, Registry, option_pairs

if TYPE_CHECKING:
    from gtx_bayes.aggregation.base import AbstractMethod

_HELP = ("--help", "-h")


def in_help(registry: Registry[Any]) -> str:
    """The names of a registry for a help text; of installed packages where help is asked for."""
    named = registry.names(installed=any(word in sys.argv for word in _HELP))
    return f"{', '.join(named)}, or FILE.py:Class"


class DuplicateChoice(enum.StrEnum):
    """What to do with contradictory answers of a labeler to an example."""

    error = "error"
    first = "first"
    last = "last"
    all = "all"


class BlankChoice(enum.StrEnum):
    """What a blank answer is."""

    error = "error"
    drop = "drop"
    abstain = "abstain"


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
        metavar="NAME|FILE.py:Class",
        help=f"How answers become class probabilities: {in_help(METHODS)}.",
    ),
]
MethodOptionsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--method-option", metavar="NAME=VALUE", help="An option of the method; may be repeated."
    ),
]
ModelOption = Annotated[
    str,
    typer.Option(
        metavar="NAME|FILE.py:Class",
        help="How labelers err, for gtx-bayes: auto, that of one-coin and confusion that predicts "
        f"hidden labels best, or {in_help(MODELS)}.",
    ),
]
ModelSettingsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--model-option", metavar="NAME=VALUE", help="A setting of the model; may be repeated."
    ),
]
DependenceOption = Annotated[
    str,
    typer.Option(
        metavar="learned|none|RHO",
        help="How far labelers err together, for gtx-bayes: learnt, none, or a number up to 1.",
    ),
]
ClassPriorOption = Annotated[
    str | None,
    typer.Option(
        metavar="A=P,B=P,...",
        help="Prior of each class by name, or numbers alone in the order of the prob_ columns. "
        "[default: uniform, or learnt where gtx-bayes finds that better]",
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
AbstainOption = Annotated[
    str | None,
    typer.Option(
        metavar="A,B,...",
        help="Answers that say nothing about the class, such as unsure,skip: counted for every "
        "worker, no class and no answer.",
    ),
]
BlankOption = Annotated[
    BlankChoice,
    typer.Option(help="What a blank answer is: an error, a row to drop, or an abstention."),
]
KeepAbstentionsOption = Annotated[
    bool,
    typer.Option(
        "--keep-abstentions",
        help="Keep abstentions as answers that are no class, for a model that learns from them.",
    ),
]
CovariateOption = Annotated[
    list[str] | None,
    typer.Option(
        "--covariate",
        metavar="COLUMN",
        help="Column of LABELS with numbers or times that the model takes, such as when each "
        "answer was given. May be repeated.",
    ),
]
LabelerTableOption = Annotated[
    Path | None,
    typer.Option(help="Table of workers: worker, and columns of numbers that the model takes."),
]
ExampleTableOption = Annotated[
    Path | None,
    typer.Option(help="Table of tasks: task, and columns of numbers that the model takes."),
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


def parse_abstain(text: str | None) -> list[str]:
    """The values that are abstentions."""
    return [] if text is None else text.split(",")


def method_of(name: str, options: list[str] | None) -> "AbstractMethod":
    """The method that the user named, with its options.

    Raises:
        InputError: for an unknown method, option or value.
    """
    return METHODS.build(name, option_pairs(options or [], "--method-option"))


def parse_options(model: str, dependence: str, settings: list[str] | None = None) -> dict[str, Any]:
    """The options of a method that differ from its defaults.

    Raises:
        InputError: for a dependence that is neither a word known nor a number.
    """
    options: dict[str, Any] = {} if model == "auto" else {"model": model}
    if settings:
        if model == "auto":
            raise InputError(
                "there is no model to set options of.", where="--model-option", mend="Name --model."
            )
        options["model"] = MODELS.build(model, option_pairs(settings, "--model-option"))
    if dependence == "none":
        options["dependence"] = 0.0
    elif dependence != "learned":
        try:
            options["dependence"] = float(dependence)
        except ValueError as error:
            raise InputError(
                f"the dependence is '{dependence}'.",
                where="--dependence",
                mend="Say learned, none, or a number from 0 to 1.",
            ) from error
    return options


def parse_prior(text: str | None) -> list[float] | dict[str, float] | None:
    """The numbers of a class prior, by the names of the classes where these are given.

    Raises:
        InputError: for anything that is no list of numbers, or names only some of them.
    """
    if text is None:
        return None
    named = [part.rpartition("=") for part in text.split(",")]
    try:
        numbers = [float(number) for _, _, number in named]
    except ValueError as error:
        raise InputError(
            f"'{text}' is no list of numbers.",
            where="--class-prior",
            mend="Give one probability per class, such as cat=0.9,dog=0.1.",
        ) from error
    if not any(equals for _, equals, _ in named):
        return numbers
    prior = {name.strip(): number for (name, _, _), number in zip(named, numbers, strict=True)}
    if not all(equals for _, equals, _ in named) or len(prior) < len(named):
        raise InputError(
            f"'{text}' does not give each class one probability.",
            where="--class-prior",
            mend="Name every class once, such as cat=0.9,dog=0.1.",
        )
    return prior
