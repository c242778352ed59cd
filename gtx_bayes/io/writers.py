"""Write tables and whole result directories: all of a result or none of it."""

import contextlib
import csv
import itertools
import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gtx_bayes.errors import InputError
from gtx_bayes.records import (
    FILES,
    digest,
    files_of,
    is_as_written,
    is_there,
    read_record,
    read_sidecar,
    sidecar,
    sign,
    stranger,
)
from gtx_bayes.scratch import (
    hand_over,
    kept_beside,
    no_writing,
    recover,
    scratch_for,
    swap,
    undisturbed,
)

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
    cell_types = {type(cell) for cell in cells if cell is not None}
    is_held = len(cell_types) < 2 and cell_types <= {str, bool, int, float}
    if cell_types == {int}:
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

    A file of that name is replaced, as `whole_file` does it.

    Raises:
        InputError: for an ending that names no known format.
    """
    path = Path(path)
    check_ending(path)
    with whole_file(path) as partial:
        fill_table(frame, partial)


def fill_table(frame: pd.DataFrame, path: Path) -> None:
    """Write a table to a place for it, such as `OutputFile.written` gives."""
    _WRITERS[path.suffix.lower()](frame, path)


def check_ending(path: Path) -> None:
    """Raise `InputError` unless the ending names a format that tables are written in."""
    if path.suffix.lower() not in _WRITERS:
        raise InputError(
            f"the ending '{path.suffix}' names no known format.",
            where=str(path),
            hint=f"Use one of {', '.join(_WRITERS)}.",
        )


def refuse_inputs(output: str | Path, inputs: Iterable[str | Path | None]) -> None:
    """Raise `InputError` if what is to be written is, holds or lies in what is read.

    Args:
        output: the file or directory to write; links are followed, as for the inputs.
        inputs: files that are read, and folders that are read as a table; None counts for nothing.
    """
    target = Path(os.path.realpath(Path(output).expanduser()))
    for given in inputs:
        if given is None:
            continue
        source = Path(os.path.realpath(Path(given).expanduser()))
        is_same = source.exists() and target.exists() and source.samefile(target)
        if is_same or source.is_relative_to(target) or target.is_relative_to(source):
            relation = "holds" if source.is_relative_to(target) else "lies in"
            if is_same or source == target:
                relation = "is"
            raise InputError(
                f"this {relation} '{given}', which is read.",
                where=str(output),
                hint="Name another place to write to.",
            )


def is_written(path: Path) -> bool:
    """Whether a file is there as an `OutputFile` wrote it."""
    real = Path(os.path.realpath(path.expanduser()))
    return real.is_file() and digest(real) in (read_sidecar(real) or ())


def refuse_results(output: str | Path) -> None:
    """Raise `InputError` for a file in a directory of results, which it would no longer be.

    What wrote them replaces nothing beside what it does not know.
    """
    for folder in Path(os.path.realpath(Path(output).expanduser())).parents:
        record = folder / SUMMARY
        if record.is_file() and SUMMARY in files_of(record):
            command = (read_record(record) or {}).get("command")
            raise InputError(
                f"the directory '{folder}' holds a result of {command}, which could not be "
                "replaced by a later one with another file in it.",
                where=str(output),
                hint="Name a file elsewhere.",
            )


@contextlib.contextmanager
def whole_file(path: str | Path, check: Callable[[Path], None] | None = None) -> Iterator[Path]:
    """A place to write a file that takes its name when the block ends without an error.

    A file of that name is replaced, and its mode bits are kept; a link is followed.

    Args:
        path: the file.
        check: called with the new file right before it takes its name; raises `InputError` if
            that must not be. Then the new file is kept beside it.

    Raises:
        InputError: if there is no writing there.
        OSError: if the disk is full.
    """
    path = Path(path)
    try:
        real = Path(os.path.realpath(path))
        _check_regular(real, path)
    except OSError as error:
        raise no_writing(path, error) from error
    with scratch_for(real) as scratch:
        new = scratch.new / path.name
        yield new
        with undisturbed(), kept_beside(new, real):
            _check_regular(real, path)
            if check is not None:
                check(new)
            if real.exists():
                shutil.copymode(real, new)
            new.replace(real)


def _check_regular(real: Path, path: Path) -> None:
    if is_there(real) and not real.is_file():
        what = "is a directory." if real.is_dir() else "is no regular file."
        raise InputError(what, where=str(path), hint="Give the path of a file.")


class OutputFile:
    """A file of results that takes the place of an earlier one, and of no other file.

    What we wrote is known by a hidden file beside it, `.NAME.gtx-bayes`, which holds its checksum;
    or, where the file says itself what it is, by what it held at the start. Links are followed and
    mode bits kept.

    Attributes:
        path: the file.
    """

    def __init__(
        self,
        path: str | Path,
        inputs: Iterable[str | Path | None] = (),
        *,
        tells_itself: bool = False,
    ) -> None:
        """Check the target.

        Args:
            path: the file to make or replace.
            inputs: what is read, see `refuse_inputs`.
            tells_itself: whether the caller looks at what is there, and goes on from it.

        Raises:
            InputError: if the target is an input, no file, or one that we did not write.
        """
        self.path = Path(path).expanduser()
        self._known: str | None = None
        self._tells_itself = tells_itself
        try:
            refuse_inputs(self.path, inputs)
            self._real = Path(os.path.realpath(self.path))
            _check_regular(self._real, self.path)
            if tells_itself and self._real.exists():
                self._known = digest(self._real)
            self._check()
        except OSError as error:
            raise no_writing(self.path, error) from error

    @contextlib.contextmanager
    def written(self) -> Iterator[Path]:
        """A place to write; the file takes its name when the block ends without an error.

        Raises:
            InputError: if meanwhile something came to stand there. Then the new file is kept beside
                it, and the message says where.
            OSError: if the disk is full.
        """
        with whole_file(self.path, self._check_and_record) as partial:
            yield partial

    def _check(self) -> list[str]:
        """The checksums known; raises `InputError` for a file that is not to be replaced."""
        known = [self._known] if self._tells_itself else read_sidecar(self._real)
        what = ""
        if known is None:
            what = f"'{sidecar(self._real)}', where we put a checksum, is something else."
        elif self._real.exists() and digest(self._real) not in known:
            what = "there is a file that gtx-bayes did not write, or that was changed since."
        if what:
            hint = "Name another file, or move that one away."
            raise InputError(what, where=str(self.path), hint=hint)
        return [found for found in known or () if found is not None]

    def _check_and_record(self, new: Path) -> None:
        known = self._check()
        if self._tells_itself:
            return
        # What is there now counts until the new one stands there.
        now = digest(self._real) if self._real.exists() else None
        lines = [digest(new), *(found for found in known if found == now)]
        record = new.with_name(sidecar(self._real).name)
        text = "".join(f"{line}  {self._real.name}\n" for line in lines)
        record.write_text(text, encoding="utf-8", errors="surrogateescape")
        record.replace(sidecar(self._real))


@contextlib.contextmanager
def whole_files(
    directory: str | Path,
    names: Sequence[str],
    command: str,
    inputs: Iterable[str | Path | None] = (),
) -> Iterator[Path]:
    """A place to write several files that take their names when the block ends without an error.

    Each is whole or absent; the JSON file comes last, so that it speaks for the others: its key
    "command" says what wrote them, its key "files" gives their checksums. Files of an earlier
    result of these names are replaced if they are as they were written. The directory may hold
    other files, which stay.

    Args:
        directory: where the files will stand.
        names: their names, that of the JSON file first.
        command: what writes them.
        inputs: what is read, see `refuse_inputs`.

    Raises:
        InputError: if there is no writing there, or a file of one of the names is something else
            or an input. If that came to stand there meanwhile, the new files are kept beside it.
        OSError: if the disk is full.
    """
    directory = Path(directory).expanduser()
    record = directory / names[0]

    def check() -> None:
        is_ours = (read_record(record) or {}).get("command") == command
        files = files_of(record)
        for name in names:
            if os.path.lexists(directory / name) and not (
                is_ours and is_as_written(directory / name, name, files)
            ):
                raise InputError(
                    f"the directory holds a '{name}' that is no result of {command}, or was "
                    "changed since.",
                    where=str(directory),
                    hint="Name another directory, or move that file away.",
                )

    try:
        for name in names:
            refuse_inputs(directory / name, inputs)
        recover(record)
        check()
    except OSError as error:
        raise no_writing(directory, error) from error
    with scratch_for(record) as scratch:
        yield scratch.new
        sign(scratch.new, names[0])
        hand_over(scratch, directory, names[0], check)


class OutputDirectory:
    """A directory of results that appears whole, replaces an older one whole, or not at all.

    Use as a context manager; files written into `path` inside the block take the place of
    `target` when the block ends without an error. Only an empty directory, or one that holds an
    earlier result as it was written and nothing else, is replaced; anything else is refused. An
    earlier result is known by its `summary.json`: its key "command" says what wrote it, its key
    "files" gives the checksums of its files. Mode bits of what is replaced are kept.

    Attributes:
        target: where the results will stand.
        path: where to write them meanwhile.
    """

    def __init__(
        self,
        target: str | Path,
        command: str,
        result_files: tuple[str, ...],
        inputs: Iterable[str | Path | None] = (),
    ) -> None:
        """Check the target.

        Args:
            target: the directory to make or replace.
            command: what writes the result.
            result_files: names of all files a result may hold.
            inputs: what is read, see `refuse_inputs`.

        Raises:
            InputError: if the target is a file, the working directory, is or holds an input, or
                holds anything but an earlier result of the command.
        """
        self._command, self._result_files = command, result_files
        try:
            self.target = Path(target).expanduser().resolve()
            refuse_inputs(self.target, inputs)
            recover(self.target)
            self._check(self.target)
        except (OSError, RuntimeError) as error:
            raise no_writing(Path(target), error) from error

    @contextlib.contextmanager
    def _written(self) -> Iterator[None]:
        with scratch_for(self.target) as scratch:
            self.path = scratch.new
            yield
            sign(self.path, SUMMARY)
            swap(scratch, self.target, self._check)

    def __enter__(self) -> "OutputDirectory":
        self._context = self._written()
        self._context.__enter__()
        return self

    def __exit__(self, *error: Any) -> bool | None:
        return self._context.__exit__(*error)

    def _check(self, place: Path) -> None:
        """Raise `InputError` unless a directory is absent, empty, or an earlier result."""
        if not is_there(place):
            return
        found = self._objection(place)
        if found is not None:
            what, hint = found
            raise InputError(what, where=str(self.target), hint=hint)

    def _objection(self, place: Path) -> tuple[str, str] | None:
        """Why what is there must not be replaced, and what to do instead."""
        if not place.is_dir():
            return "there is a file of that name.", "Name a directory."
        if self.target == Path.cwd():
            what = "this is the working directory, which cannot be replaced."
            return what, "Name a directory in it."
        entries = sorted(entry.name for entry in place.iterdir())
        foreign = [name for name in entries if name not in self._result_files]
        summary = read_record(place / SUMMARY) or {}
        if entries and not foreign and summary.get("command") != self._command:
            foreign = entries
        if foreign:
            what = f"the directory holds '{foreign[0]}', which is no result of {self._command}."
            return what, "Name a new or empty directory."
        if entries and FILES not in summary:
            what = "the directory holds a result of an earlier version, which does not say what its"
            hint = "Delete it if nothing in it is yours, or name a new directory."
            return f"{what} files held.", hint
        changed = stranger(place, SUMMARY)
        if changed is None:
            return None
        what = f"the directory holds '{changed}', which is no result of {self._command} or was"
        hint = "Name a new directory, or move what is yours away and delete the rest."
        return f"{what} changed since.", hint


def write_summary(record: dict[str, Any], directory: Path, name: str = SUMMARY) -> None:
    """Write the summary of a result; its key "command" says what wrote it."""
    text = json.dumps(record, indent=2, allow_nan=False)
    (directory / name).write_text(text + "\n", encoding="utf-8")
