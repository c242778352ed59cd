"""What commands share: options from dataclasses, errors with exit codes, progress, tables."""

import contextlib
import dataclasses
import functools
import inspect
import json
import re
import signal
import sys
import traceback
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gtx_bayes.cli.signals import Stopped, exit_code, message, stoppable
from gtx_bayes.errors import InputError, LostProcessError, WarningNote

if TYPE_CHECKING:
    from rich.console import Console

BAD_INPUT, OUR_FAULT = 2, 1

_ARGUMENT = re.compile(r"`(?P<name>\w+=|abstain|blank)(\"?)(?P<value>[^`\"]*)\2`")
"""An argument of the library, with or without a value."""

_OF_TABLES = ("abstain", "blank")
"""Arguments that notes on tables speak of, options of every command that reads answers."""

_DEBUG = inspect.Parameter(
    "debug",
    inspect.Parameter.KEYWORD_ONLY,
    default=False,
    annotation=Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")],
)


def command(function: Callable[..., None]) -> Callable[..., None]:
    """A function as Typer takes it, which ends with a clear message and an exit code.

    Parameters annotated with a dataclass become the options that its fields say, and `--debug` is
    added. The exit code is 2 for bad input and 1 for a failure of ours; a command that a signal
    stops ends with 128 and the number of the signal, as shells have it.
    """
    parameters = inspect.signature(function, eval_str=True).parameters.values()
    nouns: dict[str, Any] = {
        p.name: p.annotation for p in parameters if dataclasses.is_dataclass(p.annotation)
    }
    options: list[inspect.Parameter] = []
    for parameter in parameters:
        if parameter.name in nouns:
            options += _options_of(nouns[parameter.name])
        else:
            options.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    @functools.wraps(function)
    def run(*, debug: bool = False, **given: Any) -> None:
        for name, noun in nouns.items():
            fields = [field.name for field in dataclasses.fields(noun) if field.name in given]
            given[name] = noun(**{field: given.pop(field) for field in fields})
        try:
            with stoppable():
                function(**given)
        except (Exception, KeyboardInterrupt) as error:
            if debug:
                traceback.print_exc()
            raise typer.Exit(report(error, [option.name for option in options])) from error

    run.__signature__ = inspect.Signature([*options, _DEBUG])  # type: ignore[attr-defined]
    run.__annotations__ = {option.name: option.annotation for option in (*options, _DEBUG)}
    return run


def _options_of(noun: Any) -> Iterator[inspect.Parameter]:
    """The fields of a dataclass as parameters."""
    hints = typing.get_type_hints(noun, include_extras=True)
    for field in dataclasses.fields(noun):
        is_needed = field.default is dataclasses.MISSING
        yield inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if is_needed else field.default,
            annotation=hints[field.name],
        )


def report(error: BaseException, options: Iterable[str] = ()) -> int:
    """Say on stderr what went wrong; the exit code.

    Args:
        error: what was raised.
        options: of the command, by the names of its parameters.
    """
    code = OUR_FAULT
    match error:
        case InputError():
            text, code = str(error), BAD_INPUT
            if error.where in options:  # an argument of the library
                text = f"--{error.where.replace('_', '-')}{text.removeprefix(error.where)}"
            text = in_options(text, options)
        case LostProcessError():
            text = f"{error} (--resume)"
        case KeyboardInterrupt():
            number = error.number if isinstance(error, Stopped) else signal.SIGINT
            text, code = message(number, str(error)), exit_code(number)
        case OSError():
            text = f"{error.filename or 'file system'}: {error.strerror or error}."
        case _:
            text = f"{type(error).__name__}: {error} (a failure of gtx-bayes; --debug shows where)"
    print(f"Error: {text}", file=sys.stderr)
    return code


def in_options(text: str, options: Iterable[str] = _OF_TABLES) -> str:
    """What the library says of its arguments, in the words of the command line.

    Args:
        text: speaks of arguments as `name="value"` or `name=`, of two as `abstain` and `blank`.
        options: those of the command, by the names of its parameters.
    """

    def as_option(found: re.Match[str]) -> str:
        name = found["name"].removesuffix("=")
        if name not in options:
            return found[0]
        value = "" if found["value"] == "True" else found["value"]
        return f"`--{name.replace('_', '-')} {value}".rstrip() + "`"

    return type(text)(_ARGUMENT.sub(as_option, text))  # a warning stays one


@contextlib.contextmanager
def stage(what: str) -> Iterator[None]:
    """Show on stderr what is going on, where there is somebody to see it."""
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text(f"{what} ...")):
        yield


@contextlib.contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show on stderr how far long work is and how long it will take; yields the callback."""
    from rich.console import Console

    with _bars(Console(stderr=True), transient=True) as advance:
        yield functools.partial(advance, what)


@contextlib.contextmanager
def stages(*, is_shown: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Show on stderr how far each stage of long work is; yields the callback.

    On a terminal as bars, of which the finished ones stay; elsewhere as a line when a stage ends.
    """
    from rich.console import Console

    def in_lines(what: str, done: int, total: int) -> None:
        if is_shown and done == total:
            print(f"{what}: done.", file=sys.stderr)

    console = Console(stderr=True)
    if not is_shown or not console.is_terminal:
        yield in_lines
        return
    with _bars(console) as advance:
        yield advance


@contextlib.contextmanager
def _bars(
    console: "Console", *, transient: bool = False
) -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each name that the callback is called with."""
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=transient) as bars:
        tasks: dict[str, Any] = {}

        def advance(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=None)
            bars.update(tasks[what], completed=done, total=total or None)

        yield advance


def print_notes(notes: Sequence[str]) -> None:
    """Print notes and warnings, on stderr."""
    for note in notes:
        kind = "Warning" if isinstance(note, WarningNote) else "Note"
        print(f"{kind}: {note}", file=sys.stderr)


def print_json(record: Mapping[str, Any]) -> None:
    """Print one JSON object on stdout."""

    def plain(value: Any) -> object:  # a number or a name of another library
        return value.item() if hasattr(value, "item") else str(value)

    print(json.dumps(record, allow_nan=False, default=plain))


def print_summary(
    summary: Mapping[str, Any],
    output: Path,
    overview: Mapping[str, object],
    title: object,
    *,
    as_json: bool,
) -> None:
    """Print what a command found: its notes, and the summary as JSON or a short overview."""
    print_notes([*summary["notes"], *summary["warnings"]])
    if as_json:
        print_json({**summary, "output": str(output)})
        return
    seconds = f"{summary['seconds']:.1f}"
    _print(str(title), [list(pair) for pair in {**overview, "seconds": seconds}.items()])


def print_table(title: str, rows: Sequence[Mapping[Any, object]]) -> None:
    """Print a short table on stdout; numbers to the right, with four decimals."""
    _print(title, [list(row.values()) for row in rows], rows[0])


def _print(
    title: str, rows: Iterable[Sequence[object]], header: Mapping[Any, object] | None = None
) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    def cell(value: object) -> Text:
        if value is None:
            return Text("-")
        return Text(f"{value:.4f}" if isinstance(value, float) else str(value))

    show_header = header is not None
    table = Table(
        title=Text(title), title_justify="left", title_style="bold", show_header=show_header
    )
    for name, value in (header or {}).items():
        table.add_column(Text(str(name)), justify="left" if isinstance(value, str) else "right")
    for row in rows:
        table.add_row(*map(cell, row))
    Console().print(table)
