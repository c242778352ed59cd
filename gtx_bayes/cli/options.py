"""Options that commands share: one dataclass a noun, whose fields `command` makes options of."""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gtx_bayes.errors import InputError
from gtx_bayes.registry import IMPORTERS, METHODS, MODELS, Registry, option_pairs

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from gtx_bayes.aggregation.base import AbstractMethod
    from gtx_bayes.columns import Table
    from gtx_bayes.crowd import Crowd

_HELP = ("--help", "-h")


def _in_help(registry: Registry[Any]) -> str:
    """The names of a registry for a help text; of installed packages where help is asked for."""
    named = registry.names(installed=any(word in sys.argv for word in _HELP))
    return f"{', '.join(named)}, or FILE.py:Class"


def output_option(text: str) -> Any:
    """Where results go, and what the help says of it."""
    return typer.Option("--output", "-o", metavar="DIR", help=text)


LabelsArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="LABELS...",
        help="Answers: task, worker, label (CSV, TSV, JSON, Parquet, xlsx; compressed or not; - "
        "for standard input), or exports of a labeling tool.",
    ),
]
GoldOption = Annotated[
    Path | None, typer.Option(metavar="TABLE", help="Known labels: task, label.")
]
SeedOption = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of everything random.")]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")
]
DevicesOption = Annotated[
    str | None,
    typer.Option(
        metavar="all|N", help="Spread the work over all devices, or over so many. [default: one]"
    ),
]
ColumnOfTasks = Annotated[str | None, typer.Option(metavar="NAME", help="Column of the task.")]
ColumnOfWorkers = Annotated[str | None, typer.Option(metavar="NAME", help="Column of the worker.")]
ColumnOfLabels = Annotated[str | None, typer.Option(metavar="NAME", help="Column of the answer.")]


@dataclasses.dataclass(frozen=True)
class MethodOptions:
    """How answers become class probabilities."""

    method: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE.py:Class",
            help=f"How answers become class probabilities: {_in_help(METHODS)}.",
        ),
    ] = "gtx-bayes"
    method_option: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="An option of the method; may be repeated."),
    ] = None

    def build(self) -> "AbstractMethod":
        """The method, with its options; raises `InputError` for an unknown one."""
        return METHODS.build(self.method, option_pairs(self.method_option or [], "--method-option"))


@dataclasses.dataclass(frozen=True)
class ModelOptions:
    """How labelers err, and the prior of the classes."""

    model: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE.py:Class",
            help="How labelers err, for gtx-bayes: auto, a pool of one-coin and confusion weighed "
            f"by gold and answers, or {_in_help(MODELS)}.",
        ),
    ] = "auto"
    model_option: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A setting of the model; may be repeated."),
    ] = None
    dependence: Annotated[
        str,
        typer.Option(
            metavar="learned|none|RHO",
            help="How far labelers err together, for gtx-bayes: learnt, none, or a number up to 1.",
        ),
    ] = "learned"
    prior_independent: Annotated[
        float | None,
        typer.Option(
            metavar="P",
            help="Probability, before any answer, that labelers err independently, each with one "
            "accuracy, for gtx-bayes. [default: 0.8]",
        ),
    ] = None
    class_prior: Annotated[
        str | None,
        typer.Option(
            metavar="A=P,B=P,...",
            help="Prior of each class by name, or numbers alone in the order of the prob_ columns; "
            "above 1 counts of other tasks. [default: uniform; gtx-bayes weighs uniform and "
            "learnt]",
        ),
    ] = None

    def arguments(self) -> dict[str, Any]:
        """The options of `gtx_bayes.aggregate` that differ from its defaults.

        Raises:
            InputError: for a dependence that is neither a word known nor a number, and settings of
                no model.
        """
        found: dict[str, Any] = {} if self.model == "auto" else {"model": self.model}
        if self.model_option:
            if self.model == "auto":
                raise InputError(
                    "there is no model to set options of.",
                    where="--model-option",
                    hint="Name --model.",
                )
            settings = option_pairs(self.model_option, "--model-option")
            found["model"] = MODELS.build(self.model, settings)
        if self.dependence != "learned":
            try:
                found["dependence"] = 0.0 if self.dependence == "none" else float(self.dependence)
            except ValueError as error:
                raise InputError(
                    f"the dependence is '{self.dependence}'.",
                    where="--dependence",
                    hint="Say learned, none, or a number from 0 to 1.",
                ) from error
        if self.prior_independent is not None:
            found["prior_independent"] = self.prior_independent
        return found

    def prior(self) -> list[float] | dict[str, float] | None:
        """The class prior as `gtx_bayes.aggregate` takes it."""
        return parse_prior(self.class_prior)


@dataclasses.dataclass(frozen=True)
class EvidenceOptions:
    """What is known beside the answers and the gold."""

    history: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE",
            help="What workers did on other tasks: worker, num_correct, num_gold; or worker, "
            "accuracy, strength (answers that it is worth); or worker, true_label, label, "
            "num_labels.",
        ),
    ] = None
    opinion: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE",
            help="Class probabilities by a classifier that has not seen the answers: task, "
            "prob_<class>. Counts as far as gold and answers bear it out. May be repeated.",
        ),
    ] = None

    @property
    def files(self) -> list[Path]:
        """All that is read."""
        files = (*self._opinions().values(), self.history)
        return [Path(path).expanduser() for path in files if path is not None]

    def _opinions(self) -> dict[str, str]:
        return option_pairs(self.opinion or [], "--opinion", "NAME=FILE")

    def arguments(self) -> dict[str, Any]:
        """The arguments of `gtx_bayes.aggregate` that are given."""
        from gtx_bayes.columns import columns_of_probs
        from gtx_bayes.io.readers import read_table

        found: dict[str, Any] = {}
        if self.history is not None:
            found["history"] = read_table(self.history)
        if self.opinion:
            found["opinions"] = {
                name: read_table(path, columns_of_probs) for name, path in self._opinions().items()
            }
        return found


@dataclasses.dataclass(frozen=True)
class AnswerOptions:
    """How tables of answers and of gold are to be read."""

    classes: Annotated[
        str | None,
        typer.Option(metavar="A,B,...", help="All the classes. [default: those in the tables]"),
    ] = None
    duplicates: Annotated[
        Literal["error", "first", "last", "all"],
        typer.Option(help="Which answers count where a worker contradicts itself on a task."),
    ] = "error"
    abstain: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...",
            help="Answers that say nothing about the class, such as unsure,skip: counted for every "
            "worker, no class and no answer.",
        ),
    ] = None
    blank: Annotated[
        Literal["error", "drop", "abstain"],
        typer.Option(help="What a blank answer is: an error, a row to drop, or an abstention."),
    ] = "error"
    task_column: ColumnOfTasks = None
    worker_column: ColumnOfWorkers = None
    label_column: ColumnOfLabels = None
    gold_header: Annotated[
        str | None,
        typer.Option(metavar="A,B,...", help="Likewise of GOLD, such as task,label."),
    ] = None
    gold_task_column: ColumnOfTasks = None
    gold_label_column: ColumnOfLabels = None

    def columns(self, *roles: str) -> dict[str, str]:
        """The columns of the answers that the user named, by role; of all roles if none is said."""
        named = {
            "example": self.task_column,
            "labeler": self.worker_column,
            "label": self.label_column,
        }
        return {
            role: name
            for role, name in named.items()
            if name is not None and role in (roles or named)
        }

    def gold_columns(self) -> dict[str, str]:
        """The columns of the gold that the user named, by role."""
        named = {"example": self.gold_task_column, "label": self.gold_label_column}
        return {role: name for role, name in named.items() if name is not None}

    def read_gold(self, gold: Path | None) -> "Table | None":
        """The gold, as a table; None without a path."""
        from gtx_bayes.io.readers import read_gold

        return read_gold(gold, self.gold_columns(), self.names_of_gold())

    def names_of_gold(self) -> list[str] | None:
        """The names of all columns of the gold, if they are given."""
        return None if self.gold_header is None else self.gold_header.split(",")

    def class_names(self) -> list[str] | None:
        """The classes, if they are named."""
        return None if self.classes is None else self.classes.split(",")

    def abstentions(self) -> list[str]:
        """The values that are abstentions."""
        return [] if self.abstain is None else self.abstain.split(",")

    def arguments(self) -> dict[str, Any]:
        """How to read, as arguments of `update`."""
        return {
            "duplicates": self.duplicates,
            "abstain": self.abstentions(),
            "blank": self.blank,
            "columns": self.columns(),
            "gold_columns": self.gold_columns(),
        }

    def crowd_arguments(self) -> dict[str, Any]:
        """How to read, as arguments of `Crowd.from_frames`."""
        return {"classes": self.class_names(), **self.arguments()}


@dataclasses.dataclass(frozen=True)
class FormatOptions:
    """What LABELS are, if no table with one row per answer."""

    format: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE.py:Class",
            help=f"What LABELS is: table, or an export of {_in_help(IMPORTERS)}. "
            "[default: told by the content]",
        ),
    ] = None
    format_option: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="An option of the format; may be repeated."),
    ] = None
    question: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The question to take from an export with several, or a path into its answers, "
            "such as T1.0.choice.",
        ),
    ] = None
    choice: Annotated[
        str | None,
        typer.Option(
            metavar="LABEL",
            help="Where answers hold several labels: ask whether this is among them.",
        ),
    ] = None
    wide: Annotated[
        str | None,
        typer.Option(
            metavar="all|A,B,...",
            help="One row per task: these columns of LABELS are workers, and hold their answers.",
        ),
    ] = None
    header: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...",
            help="Names of the columns of LABELS, where no first line has them, such as "
            "worker,task,label.",
        ),
    ] = None
    count_column: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Column of LABELS: how many gave the row's answer."),
    ] = None
    counts: Annotated[
        str | None,
        typer.Option(
            metavar="all|A,B,...",
            help="One row per task: these columns of LABELS are classes, and hold how many gave "
            "each.",
        ),
    ] = None

    def reading(self) -> dict[str, Any]:
        """What is said of format and shape, as arguments of `read_crowd`.

        Raises:
            InputError: for a format there is not, and options of none.
        """
        as_they_are = ("format", "question", "choice", "count_column")
        found = {name: getattr(self, name) for name in as_they_are}
        found["header"] = self.header and self.header.split(",")
        for name in ("wide", "counts"):
            given = getattr(self, name)
            found[name] = True if given == "all" else given and given.split(",")
        if self.format_option and self.format is None:
            raise InputError(
                "there is no format to set options of.",
                where="--format-option",
                hint="Name --format.",
            )
        if self.format_option:
            pairs = option_pairs(self.format_option, "--format-option")
            found["format"] = IMPORTERS.build(self.format, pairs)
        return {name: value for name, value in found.items() if value is not None}

    def read(
        self,
        labels: list[Path],
        columns: dict[str, str],
        covariates: Sequence[str] = (),
        groups: str | None = None,
    ) -> "Table":
        """The answers, as a table; arguments as for `io.readers.read_labels`."""
        from gtx_bayes.io.readers import read_labels
        from gtx_bayes.shapes import Shape

        found = self.reading()
        shape = {name: found.pop(name, None) for name in ("wide", "count_column", "counts")}
        return read_labels(labels, columns, covariates, groups, **found, shape=Shape(**shape))


@dataclasses.dataclass(frozen=True)
class CrowdOptions(FormatOptions, AnswerOptions):
    """How to read, and what a model takes beside the answers."""

    keep_abstentions: Annotated[
        bool,
        typer.Option(
            "--keep-abstentions",
            help="Keep abstentions as answers that are no class, for a model that learns from "
            "them.",
        ),
    ] = False
    ordered: Annotated[
        bool | None,
        typer.Option(
            "--ordered/--unordered",
            help="Whether classes are in an order, that of --classes or of numbers: the ordinal "
            "model then stands in the pool. [default: where all are numbers and answers keep to "
            "their order]",
        ),
    ] = None
    covariate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="Column of LABELS with numbers or times that the model takes, such as when each "
            "answer was given. May be repeated.",
        ),
    ] = None
    labeler_table: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE",
            help="Table of workers: worker, and columns of numbers that the model takes.",
        ),
    ] = None
    example_table: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE",
            help="Table of tasks: task, and columns of numbers that the model takes.",
        ),
    ] = None
    groups: Annotated[
        str,
        typer.Option(
            metavar="auto|none|COLUMN",
            help="Workers who count as one: the groups in a column of LABELS, such as the family "
            "of a judge; those who copy each other, where gold shows it; or none.",
        ),
    ] = "auto"

    def read_labels(self, labels: list[Path], covariates: Sequence[str] | None = None) -> "Table":
        """The answers, as a table.

        Args:
            labels: the files.
            covariates: columns that are covariates; those that the user named when absent.
        """
        named = self.covariate or ()
        wanted = named if covariates is None else covariates
        return self.read(labels, self.columns(), wanted, self.group_column)

    def crowd_arguments(self) -> dict[str, Any]:
        """How to read, as arguments of `Crowd.from_frames`."""
        return {
            **super().crowd_arguments(),
            "keep_abstentions": self.keep_abstentions,
            "ordered": self.ordered,
            "covariates": self.covariate or (),
        }

    @property
    def group_column(self) -> str | None:
        """The column with the groups of the workers, if one is named."""
        return None if self.groups in ("auto", "none") else self.groups

    @property
    def finds_blocs(self) -> bool:
        """Whether workers who copy each other are looked for."""
        return self.groups == "auto"

    def inputs(self, labels: list[Path], *files: Path | None) -> tuple[Path | None, ...]:
        """The files, and the tables beside them: all that is read."""
        return (*labels, *files, self.labeler_table, self.example_table)

    def read_crowd(self, labels: list[Path], gold: Path | None) -> "Crowd":
        """The crowd of all the tables."""
        from gtx_bayes.io.readers import read_crowd

        return read_crowd(
            labels,
            gold,
            labeler_covariates=self.labeler_table,
            example_covariates=self.example_table,
            groups=self.group_column,
            gold_header=self.names_of_gold(),
            **self.reading(),
            **self.crowd_arguments(),
        )


def named(labels: list[Path]) -> str:
    """What messages call the tables of answers."""
    return str(labels[0]) if len(labels) == 1 else f"{labels[0]} and {len(labels) - 1} more"


@dataclasses.dataclass(frozen=True)
class ImageOptions:
    """What is known of images, and what to do with those that cannot be read."""

    table: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE",
            help="For a folder of images: their own table. Columns file; label, group, split if "
            "any.",
        ),
    ] = None
    broken: Annotated[
        Literal["refuse", "skip"], typer.Option(help="What to do with images that cannot be read.")
    ] = "refuse"


def read_if_given(path: Path | None, wanted: Callable[[object], bool]) -> "Table | None":
    """The table, as `io.readers.read_table` has it; None without a path."""
    from gtx_bayes.io.readers import read_table

    return None if path is None else read_table(path, wanted)


def parse_prior(
    text: str | None,
    where: str = "--class-prior",
    hint: str = "Give one probability per class, such as cat=0.9,dog=0.1.",
) -> list[float] | dict[str, float] | None:
    """The numbers of a class prior, by the names of the classes where these are given.

    Args:
        text: what the user gave.
        where: the option, for messages.
        hint: what they advise.

    Raises:
        InputError: for anything that is no list of numbers, or names only some of them.
    """
    if text is None:
        return None
    named = [part.rpartition("=") for part in text.split(",")]
    try:
        numbers = [float(number) for _, _, number in named]
    except ValueError as error:
        raise InputError(f"'{text}' is no list of numbers.", where=where, hint=hint) from error
    if not any(equals for _, equals, _ in named):
        return numbers
    prior = {name.strip(): number for (name, _, _), number in zip(named, numbers, strict=True)}
    if not all(equals for _, equals, _ in named) or len(prior) < len(named):
        raise InputError(f"'{text}' does not name each class once.", where=where, hint=hint)
    return prior


RiskOption = Annotated[
    str | None,
    typer.Option(
        metavar="EPS|CLASS=EPS,...",
        help="Accept the surest labels as long as at most this proportion of them is expected to "
        "be wrong; by class for example yes=0.01,no=0.05, a class that is not named having no "
        "limit.",
    ),
]
LossOption = Annotated[
    Path | None,
    typer.Option(
        metavar="TABLE",
        help="What deciding for a class costs: a row for each true class (column true_label), a "
        "column for each decision. Decisions are then those of the least expected loss.",
    ),
]


def parse_risk(text: str | None) -> float | dict[str, float] | None:
    """One target, or targets by class.

    Raises:
        InputError: for anything else, and for targets that are no probabilities.
    """
    hint = "Give one number, or name the classes, such as yes=0.01,no=0.05."
    found = parse_prior(text, "--risk", hint)
    if isinstance(found, list) and len(found) != 1:
        what = f"'{text}' does not say which classes these are of."
        raise InputError(what, where="--risk", hint=hint)
    numbers = found.values() if isinstance(found, dict) else found or ()
    if not all(0.0 <= number <= 1.0 for number in numbers):
        raise InputError(
            f"'{text}' is out of range.", where="--risk", hint="Give values from 0 to 1."
        )
    return found[0] if isinstance(found, list) else found


def num_devices(devices: str) -> Literal["all"] | int:
    """How many devices are asked for; raises `InputError` for what is no number."""
    if devices == "all":
        return "all"
    if not devices.isdecimal():
        raise InputError(
            f"'{devices}' is no number of devices.", where="--devices", hint="Say all, or how many."
        )
    return int(devices)


def mesh_of(devices: str | None) -> "Mesh | None":
    """The devices asked for; None for one.

    Raises:
        InputError: for a number of devices that there are not, or what is no number.
    """
    if devices is None:
        return None
    from gtx_bayes.devices import examples_mesh

    return examples_mesh(num_devices(devices))
