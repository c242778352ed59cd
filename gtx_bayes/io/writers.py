"""Write tables and whole result directories: all of a result or none of it."""

import contextlib
import csv
import itertools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pandas as pd

from gtx_bayes.errors import InputError
from gtx_bayes.scratch import hand_over, no_writing, recover, scratch_for, swap, undisturbed

SUMMARY = "summary.json"
"""Name of the file that says what a directory of results is."""


def write_csv(frame: pd.DataFrame, path: Path, separator: str = ",") -> None:
    """Write a table as delimited text that `read_table` reads as it was."""
    frame = frame.copy(deep=False)
    for name in frame.select_dtypes(["datetime", "datetimetz", "timedelta"]):
        # Days where all are midnights, if left to pandas.
        frame[name] = [None if pd.isna(time) else str(time) for time in frame[name]]
    # Python 3.12 puts no quotes round a lone carriage return, which ends a line for readers.
    text = frame.select_dtypes(exclude=["number", "bool"])
    cells = itertools.chain(frame.columns, *(text[name] for name in text))
    needs_quotes = any("\r" in str(cell) for cell in cells)
    frame.to_csv(
        path,
        index=False,
        sep=separator,
        quoting=csv.QUOTE_NONNUMERIC if needs_quotes else csv.QUOTE_MINIMAL,
    )


def _write_json_lines(frame: pd.DataFrame, path: Path) -> None:
    columns = [[_in_json(cell) for cell in frame[name]] for name in frame]
    names = [str(name) for name in frame]
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in zip(*columns, strict=True):
            file.write(json.dumps(dict(zip(names, row, strict=True)), allow_nan=False) + "\n")


def _in_json(cell: Any) -> object:
    """A cell as JSON has it: names that are neither text nor numbers as their text."""
    cell = cell.item() if isinstance(cell, np.generic) else cell
    if isinstance(cell, float) and math.isinf(cell):
        return str(cell)
    if isinstance(cell, (str, int)) or (isinstance(cell, float) and not math.isnan(cell)):
        return cell
    return None if pd.isna(cell) else str(cell)


def _write_parquet(frame: pd.DataFrame, path: Path) -> None:
    mixed = {
        name: _of_one_type(frame[name])
        for name in frame.columns
        if pd.api.types.is_object_dtype(frame[name].dtype)
    }
    frame.assign(**mixed).to_parquet(path, index=False)


def _of_one_type(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Names that Parquet can hold: all numbers, all truth values, or all text."""
    cells = [None if pd.isna(cell) else cell for cell in column]
    kinds = {type(cell) for cell in cells if cell is not None}
    is_held = len(kinds) < 2 and kinds <= {str, bool, int, float}
    if kinds == {int}:
        is_held = all(-(2**63) <= cell < 2**63 for cell in cells if cell is not None)
    if not is_held:
        cells = [None if cell is None else str(cell) for cell in cells]
    return pd.Series(cells, column.index, dtype=object)


_WRITERS: dict[str, Callable[[pd.DataFrame, Path], object]] = {
    ".csv": write_csv,
    ".tsv": lambda frame, path: write_csv(frame, path, "\t"),
    ".jsonl": _write_json_lines,
    ".parquet": _write_parquet,
}


def write_table(frame: pd.DataFrame, path: str | Path) -> None:
    """Write a table, the format by the file's ending; the file appears whole or not at all.

    Raises:
        InputError: for an ending that names no known format.
    """
    path = Path(path)
    check_ending(path)
    with whole_file(path) as partial:
        _WRITERS[path.suffix.lower()](frame, partial)


def check_ending(path: Path) -> None:
    """Raise `InputError` unless the ending names a format that tables are written in."""
    if path.suffix.lower() not in _WRITERS:
        raise InputError(
            f"the ending '{path.suffix}' names no known format.",
            where=str(path),
            mend=f"Use one of {', '.join(_WRITERS)}.",
        )


@contextlib.contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A place to write a file that takes its name when the block ends without an error.

    Raises:
        InputError: if there is no writing there.
        OSError: if the disk is full.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError("is a directory.", where=str(path), mend="Give the path of a file.")
    with scratch_for(path) as scratch:
        yield scratch.new / path.name
        with undisturbed():
            (scratch.new / path.name).replace(path)


@contextlib.contextmanager
def whole_files(directory: str | Path, names: Sequence[str], command: str) -> Iterator[Path]:
    """A place to write several files that take their names when the block ends without an error.

    Each is whole or absent; the JSON file comes last, so that it speaks for the others. The
    directory may hold other files, which stay. Of an earlier result of the same names the JSON
    file tells what wrote it, by its key "command".

    Raises:
        InputError: if there is no writing there, or a file of one of the names is something else.
        OSError: if the disk is full.
    """
    directory = Path(directory).expanduser()
    try:
        recover(directory / names[0])
        present = [name for name in names if (directory / name).exists()]
        records = [name for name in names if name.endswith(".json")]
        if present and not all(_wrote(directory / name, command) for name in records):
            raise InputError(
                f"the directory holds a '{present[0]}' that is no result of {command}.",
                where=str(directory),
                mend="Name another directory.",
            )
    except OSError as error:
        raise no_writing(directory, error) from error
    with scratch_for(directory / names[0]) as scratch:
        yield scratch.new
        hand_over(scratch, directory)


class OutputDirectory:
    """A directory of results that appears whole, replaces an older one whole, or not at all.

    Use as a context manager; files written into `path` inside the block take the place of
    `target` when the block ends without an error. Only an empty directory, or one that holds an
    earlier result and nothing else, is replaced; anything else is refused. An earlier result is
    known by its `summary.json`, whose key "command" says what wrote it.

    Attributes:
        target: where the results will stand.
        path: where to write them meanwhile.
    """

    def __init__(self, target: str | Path, command: str, result_files: tuple[str, ...]) -> None:
        """Check the target.

        Args:
            target: the directory to make or replace.
            command: what writes the result.
            result_files: names of all files a result may hold.

        Raises:
            InputError: if the target is a file, the working directory, or holds anything but an
                earlier result of the command.
        """
        try:
            self.target = Path(target).expanduser().resolve()
            recover(self.target)
            if self.target.is_dir():
                _check_replaceable(self.target, command, result_files)
            elif self.target.exists():
                raise InputError(
                    "there is a file of that name.", where=str(target), mend="Name a directory."
                )
        except (OSError, RuntimeError) as error:
            raise no_writing(Path(target), error) from error

    def __enter__(self) -> "OutputDirectory":
        self._context = scratch_for(self.target)
        self._scratch = self._context.__enter__()
        self.path = self._scratch.new
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with contextlib.ExitStack() as stack:
            stack.push(self._context)
            if error is not None:
                raise error
            swap(self._scratch, self.target)


def _check_replaceable(target: Path, command: str, result_files: tuple[str, ...]) -> None:
    if target == Path.cwd():
        raise InputError(
            "this is the working directory, which cannot be replaced.",
            where=str(target),
            mend="Name a directory in it.",
        )
    entries = sorted(target.iterdir())
    foreign = [
        entry.name
        for entry in entries
        if entry.name not in result_files or not _is_result_file(entry)
    ]
    if entries and not foreign and not _is_result(target, command):
        foreign = [entries[0].name]
    if foreign:
        raise InputError(
            f"the directory holds '{foreign[0]}', which is no result of {command}.",
            where=str(target),
            mend="Name a new or empty directory.",
        )


def _is_result_file(entry: Path) -> bool:
    """Whether this is a file, or a table that is a folder of files."""
    if entry.is_symlink():
        return False
    if not entry.is_dir():
        return entry.is_file()
    inside = list(entry.iterdir())
    return all(one.suffix == entry.suffix and one.is_file() for one in inside)


def _is_result(target: Path, command: str) -> bool:
    return _wrote(target / SUMMARY, command)


def _wrote(record: Path, command: str) -> bool:
    """Whether the command wrote this JSON file."""
    try:
        summary = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(summary, dict) and summary.get("command") == command


def write_summary(record: dict[str, Any], directory: Path, name: str = SUMMARY) -> None:
    """Write the summary of a result; its key "command" says what wrote it."""
    text = json.dumps(record, indent=2, allow_nan=False)
    (directory / name).write_text(text + "\n", encoding="utf-8")
