"""Read tables: CSV, TSV, JSON lines and Parquet, with errors that name the place and the mend."""

import csv
import json
import re
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gtx_bayes.columns import Source
from gtx_bayes.crowd import Crowd, Duplicates
from gtx_bayes.errors import InputError

_SEPARATORS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
_JSON_LINES = (".jsonl", ".ndjson")
_PARQUET = (".parquet", ".pq")

# By default integers beside a gap become floats, which cannot tell long ones apart.
_EXACT = {pa.int64(): pd.Int64Dtype(), pa.uint64(): pd.UInt64Dtype()}


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

    A folder of Parquet files is one table.

    Raises:
        InputError: if the file is absent, empty, unreadable, ragged or of an unknown format.
    """
    path = Path(path).expanduser()
    if _is_folder_of_parquet(path):
        return _read_parquet(path), Source(str(path), first_row=1)
    _check_file(path)
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


def _is_folder_of_parquet(path: Path) -> bool:
    try:
        return path.is_dir() and any(is_parquet(file) for file in path.iterdir())
    except OSError:
        return False


def _check_file(path: Path) -> None:
    try:
        status = path.stat()
        if stat.S_ISREG(status.st_mode):  # opening a pipe would wait for somebody to write
            path.open("rb").close()
    except FileNotFoundError as error:
        raise InputError(
            "there is no such file.", where=str(path), mend="Give the path of a table."
        ) from error
    except OSError as error:
        raise InputError(
            f"the file cannot be read: {error.strerror}.",
            where=str(path),
            mend="Give the path of a table you may read.",
        ) from error
    if not stat.S_ISREG(status.st_mode):
        what = "is a directory." if path.is_dir() else "is no regular file."
        raise InputError(what, where=str(path), mend="Give the path of a table.")
    if status.st_size == 0:
        raise InputError("the file is empty.", where=str(path), mend="Give a header and rows.")


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
        if path.read_bytes().count(b"\n") not in (len(frame), len(frame) + 1):
            _check_quotes(path, separator)
    except UnicodeDecodeError as error:
        raise _not_text(path, error) from error
    except pd.errors.EmptyDataError as error:
        raise InputError(
            "the file has no header.", where=str(path), mend="Give a header and rows."
        ) from error
    except (pd.errors.ParserError, csv.Error) as error:
        raise InputError(
            f"the rows cannot be told apart: {_told(error)}.",
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


def _told(error: Exception) -> str:
    """What the parser says, its row number (which counts from 0 without the header) made ours."""
    text = str(error).strip().removeprefix("Error tokenizing data. C error: ")
    return re.sub(r"starting at row (\d+)", lambda row: f"starting at row {int(row[1]) + 1}", text)


def _check_header(path: Path, separator: str) -> None:
    with path.open(encoding="utf-8-sig", newline="") as file:
        header = [name.strip() for name in next(csv.reader(file, delimiter=separator), [])]
    if not any(header):
        raise InputError(
            "the first line is blank.", where=str(path), mend="Begin the file with a header."
        )
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise InputError(
            f"the header names {twice} more than once.",
            where=str(path),
            mend="Give every column its own name.",
        )


def _check_quotes(path: Path, separator: str) -> None:
    """Raise `csv.Error` where something stands behind a closing quote, which pandas lets pass.

    A quote that was opened and not closed swallows all rows up to the next one.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file, delimiter=separator, strict=True)
        try:
            for _ in rows:
                pass
        except csv.Error as error:
            if "expected after" in str(error):
                raise csv.Error(f"{error}, in line {rows.line_num} or before") from error


def _read_json_lines(path: Path) -> pd.DataFrame:
    rows: list[dict[str, object]] = []
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise _not_text(path, error) from error
    for number, line in enumerate(text.rstrip().split("\n"), start=1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"this is no JSON: {error}.",
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
        # What pandas noted of a table may be damaged or hide a column in the index: not heeded.
        table = pq.read_table(path).replace_schema_metadata(None)
        return table.to_pandas(types_mapper=_EXACT.get)
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise unreadable_parquet(path, error) from error


def is_parquet(path: Path) -> bool:
    """Whether a file is Parquet by its ending."""
    return path.suffix.lower() in _PARQUET


def unreadable_parquet(path: Path, error: Exception) -> InputError:
    """What to say of a file that Arrow cannot read."""
    told = (str(error).splitlines() or [type(error).__name__])[0]
    return InputError(
        f"the file is no readable Parquet: {told.rstrip('.')}.",
        where=str(path),
        mend="Write it again; it may be cut short.",
    )


def _not_text(path: Path, error: UnicodeDecodeError) -> InputError:
    return InputError(
        f"byte {error.object[error.start]:#04x} is not UTF-8 text.",
        where=str(path),
        mend="Save the table as UTF-8.",
    )
