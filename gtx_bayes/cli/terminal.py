"""What commands share: options from dataclasses, errors with exit codes, progress, tables."""

import contextlib
import dataclasses
import functools
import inspect
import json
import re
import shlex
import shutil
import signal
import sys
import time
import traceback
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gtx_bayes.cli.signals import Stopped, exit_code, message, stoppable
from gtx_bayes.cli.usage import with_type
from gtx_bayes.errors import InputError, LostWorkersError, WarningNote

if TYPE_CHECKING:
    from rich.console import Console

BAD_INPUT, OUR_FAULT = 2, 1

SUMMARY = "summary.json"

_ARGUMENT = re.compile(r"`(?P<name>\w+=|abstain|blank)(\"?)(?P<value>[^`\"]*)\2`")
"""An argument of the library, with or without a value."""

_COLUMN = re.compile(r"`(?P<gold>gold_)?columns=\{\"(?P<role>\w+)\": \"(?P<name>[^`\"]*)\"\}`")
"""A column that the library is given for a role."""

_CALLS = {
    "weights": ("`load_backbone(key, config, [FILE])`", "`--weights FILE`"),
    "images": ("`read_parquet([FILE, ...])`", "`--images FILE`"),
    "model": ("Pretrained weights are read by `load_backbone`.", "Give one that finetune wrote."),
}
"""Calls that the library's hints name, and the words of commands with such an option."""

_OF_TABLES = ("abstain", "blank", "format", "wide", "counts", "count_column", "gold")
"""Arguments that notes on tables speak of, options of every command that reads answers."""

_ASKED, _FOUND = (
    f"/jax/compilation_cache/{name}" for name in ("compile_requests_use_cache", "cache_hits")
)

_MOST_NOTES = 3
_MOST_CELL = 32  # characters of a cell that stays on one line

_loudness = 0  # of the command that runs: 1 with --verbose, -1 with --quiet


def _switch(name: str, letter: str, text: str) -> inspect.Parameter:
    """An option that every command has."""
    words = (f"--{name}", letter) if letter else (f"--{name}",)
    option = typer.Option(*words, help=text)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, option]
    )


_SWITCHES = (
    _switch("verbose", "-v", "Say how long each stage takes, and show every note."),
    _switch("quiet", "-q", "Show no progress, no notes and no next step; warnings stay."),
    _switch("debug", "", "Show the traceback of an error."),
)


def command(function: Callable[..., None]) -> Callable[..., None]:
    """A function as Typer takes it, which ends with a clear message and an exit code.

    Parameters annotated with a dataclass become the options that its fields say, and `--verbose`,
    `--quiet` and `--debug` are added. The exit code is 2 for bad input and 1 for a failure of ours;
    a command that a signal stops ends with 128 and the number of the signal, as shells have it.
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
    options = [with_type(option) for option in options]

    @functools.wraps(function)
    def run(
        *, verbose: bool = False, quiet: bool = False, debug: bool = False, **given: Any
    ) -> None:
        global _loudness
        _loudness = verbose - quiet
        for name, noun in nouns.items():
            fields = [field.name for field in dataclasses.fields(noun) if field.name in given]
            given[name] = noun(**{field: given.pop(field) for field in fields})
        try:
            with stoppable():
                function(**given)
        except typer.Exit:  # a code of its own
            raise
        except (Exception, KeyboardInterrupt) as error:
            if debug:
                traceback.print_exc()
            raise typer.Exit(report(error, [option.name for option in options])) from error

    options += _SWITCHES
    run.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    run.__annotations__ = {option.name: option.annotation for option in options}
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
        case LostWorkersError():
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
        text: speaks of arguments as `name="value"` or `name=`, of two as `abstain` and `blank`,
            and of columns as `columns={"role": "name"}`.
        options: those of the command, by the names of its parameters.
    """

    def as_option(found: re.Match[str]) -> str:
        name = found["name"].removesuffix("=")
        if name not in options:
            return found[0]
        value = "" if found["value"] == "True" else found["value"]
        return f"`--{name.replace('_', '-')} {value}".rstrip() + "`"

    def as_column(found: re.Match[str]) -> str:
        name = shlex.quote(found["name"])
        return f"`--{'gold-' if found['gold'] else ''}{found['role']}-column {name}`"

    replaced = _COLUMN.sub(as_column, _ARGUMENT.sub(as_option, text))
    for option in _CALLS.keys() & set(options):
        replaced = replaced.replace(*_CALLS[option])
    return type(text)(replaced)  # a warning stays one


@contextlib.contextmanager
def stage(what: str) -> Iterator[None]:
    """Show on stderr what is going on, where there is somebody to see it."""
    if _loudness < 0:
        yield
        return
    from rich.console import Console
    from rich.text import Text

    start, console = time.perf_counter(), Console(stderr=True)
    with console.status(Text(f"{what} ...")) as status:

        def show(number: int) -> None:
            text = f"{what} ... {number} programs compiled, once on this machine"
            status.update(Text(text))

        with counting_compiled(show) if console.is_terminal else contextlib.nullcontext():
            yield
    if _loudness > 0:
        print(f"{what}: {time.perf_counter() - start:.1f} s", file=sys.stderr)


@contextlib.contextmanager
def counting_compiled(show: Callable[[int], object]) -> Iterator[None]:
    """Call back with the number of programs compiled in the block that no cache had, from one on.

    JAX says when it asks its cache and when that has what it asks for; nothing in between.
    """
    monitoring = sys.modules.get("jax.monitoring")
    if monitoring is None:  # nor will anything be compiled at once
        yield
        return
    asked = found = 0

    def heard(event: str, **_: object) -> None:
        nonlocal asked, found
        asked += event == _ASKED
        found += event == _FOUND
        if event == _ASKED and asked - found > 1:  # the one asked for now may yet be found
            show(asked - found - 1)

    monitoring.register_event_listener(heard)
    try:
        yield
    finally:
        monitoring.unregister_event_listener(heard)


@contextlib.contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show on stderr how far long work is and how long it will take; yields the callback."""
    if _loudness < 0:
        yield lambda done, total: None
        return
    from rich.console import Console

    with _bars(Console(stderr=True), transient=True) as advance:
        yield functools.partial(advance, what)


@contextlib.contextmanager
def stages(*, is_shown: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Show on stderr how far each stage of long work is; yields the callback.

    On a terminal as bars, of which the finished ones stay; elsewhere as a line when a stage ends.
    """
    from rich.console import Console

    is_shown = is_shown and _loudness >= 0

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


def print_notes(notes: Sequence[str], rest: str = "-v shows them") -> None:
    """Print warnings and notes on stderr, the warnings first; at most three without `--verbose`.

    Args:
        notes: all of them.
        rest: where those are that are not printed.
    """
    found = sorted(notes, key=lambda note: not isinstance(note, WarningNote))
    if _loudness < 0:
        found = [note for note in found if isinstance(note, WarningNote)]
    shown = found if _loudness > 0 or len(found) <= _MOST_NOTES else found[: _MOST_NOTES - 1]
    for note in shown:
        kind = "Warning" if isinstance(note, WarningNote) else "Note"
        print(f"{kind}: {_shown(note)}", file=sys.stderr)
    if left := len(found) - len(shown):
        print(f"And {left} more: {rest}.", file=sys.stderr)


def print_next(*commands: Sequence[object]) -> None:
    """Print the commands that come next, each a list of words; a word may be several files."""
    if _loudness < 0:
        return
    program = "gtx-bayes" if shutil.which("gtx-bayes") else "python -m gtx_bayes"
    print("\nNext:")
    for words in commands:
        single = [part for word in words for part in (word if isinstance(word, list) else [word])]
        print(f"  {program} {shlex.join(map(str, single))}")


def words_of(noun: Any) -> list[str]:
    """The options of a dataclass that differ from their defaults, as words of a command."""
    words: list[str] = []
    for field in dataclasses.fields(noun):
        value, name = getattr(noun, field.name), f"--{field.name.replace('_', '-')}"
        if value == field.default:
            continue
        if isinstance(value, bool):
            words.append(name)
        else:
            for single in value if isinstance(value, list) else [value]:
                words += [name, str(single)]
    return words


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
    rest = f"{output / SUMMARY} has them" if (output / SUMMARY).exists() else "-v shows them"
    print_notes([*summary["warnings"], *summary["notes"]], rest)
    if as_json:
        print_json({**summary, "output": str(output)})
        return
    seconds = f"{summary['seconds']:.1f}"
    _print(str(title), [list(pair) for pair in {**overview, "seconds": seconds}.items()])


def print_table(title: str, rows: Sequence[Mapping[Any, object]]) -> None:
    """Print a short table on stdout; numbers to the right, with three significant digits."""
    _print(title, [list(row.values()) for row in rows], list(map(str, rows[0])))


def number_text(value: float) -> str:
    """A number with three significant digits, and all digits of what is before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == 0 else f"{value:#.3g}"


def _print(title: str, rows: Sequence[Sequence[object]], header: Sequence[str] = ()) -> None:
    """Print a table with whole words; columns that the terminal has no room for stand below.

    Args:
        title: above it.
        rows: the cells.
        header: of the columns; none by default.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    def text(value: object) -> str:
        if value is None:
            return "-"
        return number_text(value) if isinstance(value, float) else _shown(str(value))

    cells = [[text(value) for value in row] for row in rows]
    columns = [list(column) for column in zip(*cells, strict=True)]
    names = list(header) or [""] * len(columns)
    is_short = [max(map(len, column)) <= _MOST_CELL for column in columns]
    widths = [
        max(map(len, column if short else " ".join(column).split()))
        for column, short in zip(columns, is_short, strict=True)
    ]
    console = Console()
    most = console.width - 1
    if sum(max(width, len(name)) + 3 for width, name in zip(widths, names, strict=True)) > most:
        names = [name.replace(" ", "\n") for name in names]
    widths = [max([w, *map(len, name.split("\n"))]) for w, name in zip(widths, names, strict=True)]
    console.print(Text(_shown(title), style="bold"), soft_wrap=True)
    for part in _parts(widths, console.width):
        table = Table(show_header=bool(header))
        for at in part:
            is_text = isinstance(rows[0][at], str) or not header
            table.add_column(
                Text(names[at]),
                justify="left" if is_text else "right",
                no_wrap=is_short[at],
                min_width=min(widths[at], console.width // 2),
            )
        for row in cells:
            table.add_row(*(Text(row[at]) for at in part))
        console.print(table)


def _shown(text: str) -> str:
    """A text without what a terminal would take for orders; names of a table may hold such."""
    return re.sub(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", " ", text)


def _parts(widths: Sequence[int], most: int) -> list[list[int]]:
    """Columns that fit beside each other, the first one in every part."""
    parts, used = [[0]], widths[0] + 4
    for at in range(1, len(widths)):
        if used + widths[at] + 3 > most and len(parts[-1]) > 1:
            parts.append([0])
            used = widths[0] + 4
        parts[-1].append(at)
        used += widths[at] + 3
    return parts
