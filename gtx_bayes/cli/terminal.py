"""What the commands share: options, errors with exit codes, progress, tables."""

import contextlib
import functools
import json
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gtx_bayes.cli.signals import Stopped, exit_code, message, stoppable
from gtx_bayes.errors import InputError, LostProcessError, WarningNote

if TYPE_CHECKING:
    from jax.sharding import Mesh

BAD_INPUT, OUR_FAULT = 2, 1

_ARGUMENT = re.compile(r"`(?P<name>\w+=|abstain|blank)(\"?)(?P<value>[^`\"]*)\2`")
"""An argument of the library, with or without a value."""

_OF_TABLES = ("abstain", "blank")
"""Arguments that notes on tables speak of, options of every command that reads answers."""

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
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def reports_errors[**P](command: Callable[P, None]) -> Callable[P, None]:
    """End a command with a clear message: exit code 2 for bad input, 1 for a failure of ours.

    A command that a signal stops ends with 128 and the number of the signal, as shells have it.
    """

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            with stoppable():
                command(*args, **kwargs)
        except InputError as error:
            _end(_said(error, kwargs), BAD_INPUT, kwargs)
        except LostProcessError as error:
            _end(f"{error} (--resume)", OUR_FAULT, kwargs)
        except KeyboardInterrupt as stop:
            number = stop.number if isinstance(stop, Stopped) else signal.SIGINT
            _end(message(number, str(stop)), exit_code(number), kwargs)
        except OSError as error:
            reason = error.strerror or error
            _end(f"{error.filename or 'file system'}: {reason}.", OUR_FAULT, kwargs)
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            _end(f"{what} (a failure of gtx-bayes; --debug shows where)", OUR_FAULT, kwargs)

    return run


def _said(error: InputError, options: Iterable[str]) -> str:
    """What an error says of arguments, said of the options of a command by the same names."""
    text = str(error)
    if error.where in options:
        text = f"--{error.where.replace('_', '-')}{text.removeprefix(error.where)}"
    return in_options(text, options)


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


def mesh_of(devices: str | None) -> "Mesh | None":
    """The devices asked for; None for one.

    Raises:
        InputError: for a number of devices that there are not, or what is no number.
    """
    if devices is None:
        return None
    from gtx_bayes.devices import examples_mesh

    return examples_mesh(num_devices(devices))


def num_devices(devices: str) -> Literal["all"] | int:
    """How many devices are asked for.

    Raises:
        InputError: for what is no number.
    """
    if devices == "all":
        return "all"
    if not devices.isdecimal():
        raise InputError(
            f"'{devices}' is no number of devices.", where="--devices", mend="Say all, or how many."
        )
    return int(devices)


def _end(message: str, code: int, options: Mapping[str, object]) -> None:
    if options.get("debug"):
        traceback.print_exc()
    print(f"Error: {message}", file=sys.stderr)
    raise typer.Exit(code)


@contextlib.contextmanager
def stage(what: str) -> Iterator[None]:
    """Show on stderr what is going on, where there is somebody to see it."""
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text(f"{what} ...")):
        yield


@contextlib.contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show on stderr how far long work is and how long it will take; yields what to tell."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True
    ) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextlib.contextmanager
def stages(*, is_shown: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Show on stderr how far each stage of long work is; yields what to tell.

    On a terminal as bars, of which the finished ones stay; elsewhere as a line when a stage ends.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    if not is_shown or not console.is_terminal:
        yield _told_in_lines if is_shown else _told_nobody
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
    )
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as bars:
        tasks: dict[str, Any] = {}

        def tell(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total or None)
            bars.update(tasks[what], completed=done, total=total or None)

        yield tell


def _told_in_lines(what: str, done: int, total: int) -> None:
    if done == total:
        print(f"{what}: done.", file=sys.stderr)


def _told_nobody(what: str, done: int, total: int) -> None:
    pass


def print_notes(notes: Sequence[str]) -> None:
    """Print notes and warnings, on stderr."""
    for note in notes:
        kind = "Warning" if isinstance(note, WarningNote) else "Note"
        print(f"{kind}: {note}", file=sys.stderr)


def print_json(record: Mapping[str, Any]) -> None:
    """Print one JSON object on stdout."""
    print(json.dumps(record, allow_nan=False, default=_plain))


def _plain(value: Any) -> object:
    """A number or a name of another library as JSON has it."""
    return value.item() if hasattr(value, "item") else str(value)


def print_table(title: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Print a short table on stdout; numbers to the right, with four decimals."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left", title_style="bold")
    for name, value in rows[0].items():
        table.add_column(Text(name), justify="left" if isinstance(value, str) else "right")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row.values()))
    Console().print(table)


def print_record(title: str, record: Mapping[str, object]) -> None:
    """Print names and values, one pair a line, on stdout."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left", title_style="bold", show_header=False)
    for name, value in record.items():
        table.add_row(Text(name), Text(_cell(value)))
    Console().print(table)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
