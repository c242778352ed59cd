"""Read tables: CSV, TSV, JSON lines and Parquet, with errors that name the place and the mend."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa

from gtx_bayes.columns import Source
from gtx_bayes.crowd import Crowd, Duplicates
from gtx_bayes.errors import InputError

_SEPARATORS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
_JSON_LINES = (".jsonl", ".ndjson")
_PARQUET = (".parquet", ".pq")


def read_crowd(
    labels: str | Path,
    gold: str | Path | None = None,
    *,
    duplicates: Duplicates = "error",
    classes: Sequence[object] | None = None,
    columns: Mapping[str, str] | None = None,
    gold_columns: Mapping[str, str] | None = None,
) -> Crowd:
    """Read a table of answers and, optionally, one of gold labels.

    Args:
        labels: file with one row per answer.
        gold: file with one row per gold example.
        duplicates: see `Crowd.from_frames`, as for the other arguments.
        classes: every class there is.
        columns: columns of `labels` by role, where no alias fits.
        gold_columns: columns of `gold` by role.

    Raises:
        InputError: for anything wrong with a file or a table, with the row and the mend.
    """
    labels_frame, labels_source = read_table(labels)
    gold_frame, gold_source = (None, None) if gold is None else read_table(gold)
    return Crowd.from_frames(
        labels_frame,
        gold_frame,
        duplicates=duplicates,
        classes=classes,
        columns=columns,
        gold_columns=gold_columns,
        labels_source=labels_source,
        gold_source=gold_source,
    )


def read_table(path: str | Path) -> tuple[pd.DataFrame, Source]:
    """Read one table, the format by the file's ending; CSV and TSV cells stay text.

    Raises:
        InputError: if the file is absent, empty, unreadable, ragged or of an unknown format.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a directory." if path.is_dir() else "there is no such file."
        raise InputError(what, where=str(path), mend="Give the path of a table.")
    try:
        path.open("rb").close()
    except OSError as error:
        raise InputError(
            f"the file cannot be read: {error.strerror}.", where=str(path), mend="Allow reading it."
        ) from error
    if path.stat().st_size == 0:
        raise InputError("the file is empty.", where=str(path), mend="Give a header and rows.")
    ending = path.suffix.lower()
    if ending in _SEPARATORS:
        return _read_delimited(path, _SEPARATORS[ending]), Source(str(path), first_row=2)
    if ending in _JSON_LINES:
        return _read_json_lines(path), Source(str(path), first_row=1)
    if ending in _PARQUET:
        return _read_parquet(path), Source(str(path), first_row=1)
    known = ", ".join([*_SEPARATORS, *_JSON_LINES, *_PARQUET])
    raise InputError(
        f"the ending '{path.suffix}' names no known format.",
        where=str(path),
        mend=f"Use one of {known}.",
    )


def _read_delimited(path: Path, separator: str) -> pd.DataFrame:
    try:
        _check_header(path, separator)
        frame = pd.read_csv(
            path,
            sep=separator,
            dtype=str,
            keep_default_na=False,
            encoding="utf-8-sig",
            skip_blank_lines=False,
        )
    except UnicodeDecodeError as error:
        raise _not_text(path, error) from error
    except pd.errors.EmptyDataError as error:
        raise InputError(
            "the file has no header.", where=str(path), mend="Give a header and rows."
        ) from error
    except (pd.errors.ParserError, csv.Error) as error:
        raise InputError(
            f"the rows cannot be told apart: {str(error).strip()}.",
            where=str(path),
            mend="Give every row as many fields as the header, and close every quote.",
        ) from error
    if not isinstance(frame.index, pd.RangeIndex):
        raise InputError(
            "the rows have more fields than the header.",
            where=str(path),
            mend="Name every column in the header.",
        )
    blank = frame.isna() | (frame == "")
    while len(frame) and blank.iloc[len(frame) - 1].all():  # blank lines at the end of the file
        frame = frame.iloc[:-1]
    return frame


def _check_header(path: Path, separator: str) -> None:
    with path.open(encoding="utf-8-sig", newline="") as file:
        header = [name.strip() for name in next(csv.reader(file, delimiter=separator), [])]
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise InputError(
            f"the header names {twice} more than once.",
            where=str(path),
            mend="Give every column its own name.",
        )


def _read_json_lines(path: Path) -> pd.DataFrame:
    rows: list[dict[str, object]] = []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise _not_text(path, error) from error
    for number, line in enumerate(lines, start=1):
        if not line.strip() and number == len(lines):
            break
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(
                f"this is no JSON: {error.msg} at column {error.colno}.",
                where=f"{path}, row {number}",
                mend="Give one JSON object per line.",
            ) from error
        if not isinstance(row, dict):
            raise InputError(
                f"this is a JSON {type(row).__name__}, not an object.",
                where=f"{path}, row {number}",
                mend='Give objects such as {"task": "t1", "worker": "w1", "label": 1}.',
            )
        rows.append(row)
    return pd.DataFrame(rows, dtype=object)


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"the file is no readable Parquet: {str(error).splitlines()[0]}.",
            where=str(path),
            mend="Write it again; it may be cut short.",
        ) from error


def _not_text(path: Path, error: UnicodeDecodeError) -> InputError:
    return InputError(
        f"byte {error.object[error.start]:#04x} is not UTF-8 text.",
        where=str(path),
        mend="Save the table as UTF-8.",
    )
