"""Read tables: CSV, TSV, JSON lines and Parquet, with errors that name the place and the hint."""

import collections
import contextlib
import csv
import itertools
import json
import re
import stat
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gtx_bayes.abstentions import Blank
from gtx_bayes.columns import ANSWER_ROLES, TRUTH_ROLES, Source, Table, columns_for
from gtx_bayes.crowd import Crowd
from gtx_bayes.crowd_tables import Duplicates
from gtx_bayes.errors import InputError

_SEPARATORS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
_JSON_LINES = (".jsonl", ".ndjson")
_PARQUET = (".parquet", ".pq")

_SHOWN = 5  # names in a message
_WIDE = 1000  # columns
_MANY_CELLS, _SPARSE = 10**6, 20  # of JSON objects: so many are empty for one that is not

# By default integers beside a gap become floats, which cannot tell long ones apart.
EXACT = {pa.int64(): pd.Int64Dtype(), pa.uint64(): pd.UInt64Dtype()}


def read_crowd(
    labels: str | Path,
    gold: str | Path | None = None,
    *,
    duplicates: Duplicates = "error",
    classes: Sequence[object] | None = None,
    abstain: Sequence[object] = (),
    blank: Blank = "error",
    keep_abstentions: bool = False,
    covariates: Sequence[str] = (),
    labeler_covariates: str | Path | None = None,
    example_covariates: str | Path | None = None,
    groups: str | None = None,
    columns: Mapping[str, str] | None = None,
    gold_columns: Mapping[str, str] | None = None,
) -> Crowd:
    """Read a table of answers and, optionally, one of gold labels.

    Args:
        labels: file with one row per answer.
        gold: file with one row per gold example.
        duplicates: see `Crowd.from_frames`, as for the other arguments.
        classes: every class there is.
        abstain: values that say nothing about the class.
        blank: what a blank answer is.
        keep_abstentions: keep abstentions as answers that are no class.
        covariates: columns of `labels` that are numbers or times.
        labeler_covariates: file with one row per labeler.
        example_covariates: file with one row per example.
        groups: column of `labels` with the groups of the labelers.
        columns: columns of `labels` by role, where no alias fits.
        gold_columns: columns of `gold` by role.

    Raises:
        InputError: for anything wrong with a file or a table, with the row and the hint.
    """
    return Crowd.from_frames(
        read_labels(labels, columns, covariates, groups),
        None if gold is None else read_table(gold, columns_for(TRUTH_ROLES, gold_columns)),
        duplicates=duplicates,
        classes=classes,
        abstain=abstain,
        blank=blank,
        keep_abstentions=keep_abstentions,
        covariates=covariates,
        groups=groups,
        columns=columns,
        gold_columns=gold_columns,
        **read_covariate_tables(labeler_covariates, example_covariates),
    )


def read_labels(
    path: str | Path,
    columns: Mapping[str, str] | None = None,
    covariates: Sequence[str] = (),
    groups: str | None = None,
) -> Table:
    """Read a table of answers; of its columns those that play a role, covariates and groups."""
    named = {**(columns or {}), **{f"covariate {name}": name for name in covariates}}
    named |= {} if groups is None else {"groups": groups}
    return read_table(path, columns_for(ANSWER_ROLES, named))


def read_covariate_tables(
    labelers: str | Path | None, examples: str | Path | None
) -> dict[str, Any]:
    """Tables of labelers and of examples, as the arguments that `Crowd.from_frames` takes."""
    paths = {"labeler_covariates": labelers, "example_covariates": examples}
    return {name: read_table(path) for name, path in paths.items() if path is not None}


def read_table(path: str | Path, wanted: Callable[[object], bool] | None = None) -> Table:
    """Read one table, the format by the file's ending; CSV and TSV cells stay text.

    A folder of Parquet files is one table.

    Args:
        path: the file or the folder.
        wanted: whether a column of some name is to be read; all are when absent. A table without
            such a column keeps its first one.

    Raises:
        InputError: if the file is absent, empty, unreadable, ragged or of an unknown format.
    """
    path = Path(path).expanduser()
    is_folder, ending, first_row = _is_folder_of_parquet(path), path.suffix.lower(), 1
    if not is_folder:
        _check_file(path)
    if is_folder or ending in _PARQUET:
        frame, columns = _read_parquet(path, wanted)
    elif ending in _SEPARATORS:
        frame, columns = _read_delimited(path, _SEPARATORS[ending], wanted)
        first_row = 2
    elif ending in _JSON_LINES:
        frame, columns = _read_json_lines(path, wanted)
    else:
        raise _error(
            path,
            f"the ending '{path.suffix}' names no known format.",
            f"Use one of {', '.join([*_SEPARATORS, *_JSON_LINES, *_PARQUET])}.",
        )
    others = tuple(columns) if len(columns) > frame.shape[1] else ()
    return Table(frame, Source(str(path), first_row, columns=others))


def _error(path: Path, what: str, hint: str, row: int | None = None) -> InputError:
    """What is wrong with the file, or in a row of it, counted from 1."""
    return Source(str(path)).error(what, hint, row)


def _kept(columns: Sequence[str], wanted: Callable[[object], bool] | None) -> list[int]:
    """Positions of the columns to read."""
    if wanted is None:
        return list(range(len(columns)))
    return [at for at, name in enumerate(columns) if wanted(name)] or [0]


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
        raise _error(path, "there is no such file.", "Give the path of a table.") from error
    except OSError as error:
        raise _error(
            path,
            f"the file cannot be read: {error.strerror}.",
            "Give the path of a table you may read.",
        ) from error
    if not stat.S_ISREG(status.st_mode):
        what = "is a directory." if path.is_dir() else "is no regular file."
        raise _error(path, what, "Give the path of a table.")
    if status.st_size == 0:
        raise _error(path, "the file is empty.", "Give a header and rows.")


def _read_delimited(
    path: Path, separator: str, wanted: Callable[[object], bool] | None
) -> tuple[pd.DataFrame, list[str]]:
    try:
        columns = _header(path, separator)
        kept = _kept(columns, wanted)
        is_whole = len(kept) == len(columns)
        if not is_whole and len(kept) <= _WIDE:  # then pandas counts no fields
            _check_rows(path, separator, len(columns))
        content = path.read_bytes()
        if len(kept) > _WIDE:
            frame = _read_wide(path, separator, kept, columns)
        else:
            frame = pd.read_csv(
                path,
                sep=separator,
                dtype=str,
                keep_default_na=False,
                encoding="utf-8-sig",
                skip_blank_lines=False,
                usecols=None if is_whole else kept,
            )
        if is_whole and content.count(b"\n") not in (len(frame), len(frame) + 1):
            _check_rows(path, separator, len(columns))
    except UnicodeDecodeError as error:
        raise _not_text(path, error) from error
    except pd.errors.EmptyDataError as error:
        raise _error(path, "the file has no header.", "Give a header and rows.") from error
    except (pd.errors.ParserError, csv.Error) as error:
        raise _error(
            path,
            f"the rows cannot be told apart: {_in_our_rows(error)}.",
            "Give every row as many fields as the header, and close every quote.",
        ) from error
    if not isinstance(frame.index, pd.RangeIndex):
        raise _error(
            path, "the rows have more fields than the header.", "Name every column in the header."
        )
    # Blank lines at the end of the file, such as ",,": in the columns read and in all others.
    left = content.rstrip(f"\r\n{separator}{'"' if is_whole else ''}".encode())
    num_blank = min(len(content[len(left) :].splitlines()[1:]), len(frame))
    if num_blank:
        last = frame.iloc[len(frame) - num_blank :]
        is_filled = ((last != "") & last.notna()).to_numpy().any(axis=1)
        num_filled = int(np.flatnonzero(is_filled)[-1]) + 1 if is_filled.any() else 0
        frame = frame.iloc[: len(frame) - num_blank + num_filled]
    return frame, columns


def _read_wide(path: Path, separator: str, kept: list[int], columns: list[str]) -> pd.DataFrame:
    """A table of very many columns, each of which costs pandas more than its cells."""
    cells = []
    for row in itertools.islice(_rows(path, separator, len(columns)), 1, None):
        row += [""] * (len(columns) - len(row))
        cells.append([row[at] for at in kept])
    values = np.array(cells, object).reshape(len(cells), len(kept))
    return pd.DataFrame(values, columns=[columns[at] for at in kept], dtype=object)


def _in_our_rows(error: Exception) -> str:
    """What the parser says, its row number (which counts from 0 without the header) made ours."""
    text = str(error).strip().removeprefix("Error tokenizing data. C error: ")
    return re.sub(r"starting at row (\d+)", lambda row: f"starting at row {int(row[1]) + 1}", text)


def _header(path: Path, separator: str) -> list[str]:
    """Names of the columns, each of which has another."""
    with path.open(encoding="utf-8-sig", newline="") as file, _long_fields():
        columns = next(csv.reader(file, delimiter=separator), [])
    header = [name.strip() for name in columns]
    if not any(header):
        raise _error(path, "the first line is blank.", "Begin the file with a header.")
    twice = sorted(name for name, times in collections.Counter(header).items() if times > 1)
    if twice:
        more = f" and {len(twice) - _SHOWN} more" if len(twice) > _SHOWN else ""
        raise _error(
            path,
            f"the header names {twice[:_SHOWN]}{more} more than once.",
            "Give every column its own name.",
        )
    return columns


@contextlib.contextmanager
def _long_fields() -> Iterator[None]:
    """Let Python's reader of CSV take cells of any length."""
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _check_rows(path: Path, separator: str, num_columns: int) -> None:
    """Raise `csv.Error` for what pandas lets pass; of a quote left open it says where it began."""
    try:
        collections.deque(_rows(path, separator, num_columns), maxlen=0)
    except csv.Error as error:
        if "unexpected end of data" not in str(error):
            raise


def _rows(path: Path, separator: str, num_columns: int) -> Iterator[list[str]]:
    """The rows by Python's strict reader, which raises `csv.Error` for what pandas lets pass.

    That is something behind a closing quote: one that was opened and not closed swallows all rows
    up to the next one. And rows that are too long, where not all columns are read.
    """
    with path.open(encoding="utf-8-sig", newline="") as file, _long_fields():
        rows = csv.reader(file, delimiter=separator, strict=True)
        try:
            for row in rows:
                if len(row) <= num_columns:
                    yield row
                    continue
                what = f"Expected {num_columns} fields in line {rows.line_num}, saw {len(row)}"
                raise _LongRowError(what)
        except _LongRowError:
            raise
        except csv.Error as error:
            raise csv.Error(f"{error}, in line {rows.line_num} or before") from error


class _LongRowError(csv.Error):
    """A row has more fields than the header."""


def _read_json_lines(
    path: Path, wanted: Callable[[object], bool] | None
) -> tuple[pd.DataFrame, list[str]]:
    rows: list[dict[str, object]] = []
    is_kept: dict[str, bool] = {}
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise _not_text(path, error) from error
    for number, line in enumerate(text.rstrip().split("\n"), start=1):
        try:
            row = _JSON.decode(line)
        except (ValueError, RecursionError) as error:
            raise _error(
                path, f"this is no JSON: {error}.", "Give one JSON object per line.", number
            ) from error
        if not isinstance(row, dict):
            raise _error(
                path,
                f"this is a JSON {type(row).__name__}, not an object.",
                'Give objects such as {"task": "t1", "worker": "w1", "label": 1}.',
                number,
            )
        if isinstance(row, _RepeatedKey):
            raise _error(
                path,
                f"the object has the key '{row.key}' more than once.",
                "Give every value a key of its own.",
                number,
            )
        for name in row:
            if name not in is_kept:
                is_kept[name] = wanted is None or wanted(name)
        rows.append({name: value for name, value in row.items() if is_kept[name]})
    num_kept = sum(is_kept.values())
    num_given = sum(map(len, rows))
    if len(rows) * num_kept > max(_MANY_CELLS, _SPARSE * num_given):
        raise _error(
            path,
            f"the {len(rows)} objects have {num_kept} different keys, and each object few of them.",
            "Give all objects the same keys.",
        )
    kept = [name for name, is_wanted in is_kept.items() if is_wanted]
    return pd.DataFrame(rows, range(len(rows)), kept, dtype=object), list(is_kept)


class _RepeatedKey(dict[str, object]):
    """A JSON object in which a key stands more than once."""

    key = ""


def _json_object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        found = _RepeatedKey(found)
        found.key = collections.Counter(name for name, _ in pairs).most_common(1)[0][0]
    return found


_JSON = json.JSONDecoder(object_pairs_hook=_json_object)


def _read_parquet(
    path: Path, wanted: Callable[[object], bool] | None
) -> tuple[pd.DataFrame, list[str]]:
    try:
        schema = pq.ParquetDataset(path).schema if path.is_dir() else pq.read_schema(path)
        kept = [schema.names[at] for at in _kept(schema.names, wanted)] if schema.names else []
        # What pandas noted of a table may be damaged or hide a column in the index: not heeded.
        table = pq.read_table(path, columns=None if wanted is None else kept)
        frame = table.replace_schema_metadata(None).to_pandas(types_mapper=EXACT.get)
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise unreadable_parquet(path, error) from error
    for name, dtype in frame.dtypes.items():
        if isinstance(dtype, pd.CategoricalDtype):  # how the file is encoded: no classes declared
            frame[name] = frame[name].cat.remove_unused_categories()
    return frame, list(schema.names)


def is_parquet(path: Path) -> bool:
    """Whether a file is Parquet by its ending."""
    return path.suffix.lower() in _PARQUET


def unreadable_parquet(path: Path, error: Exception) -> InputError:
    """What to say of a file that Arrow cannot read."""
    said = (str(error).splitlines() or [type(error).__name__])[0]
    return _error(
        path,
        f"the file is no readable Parquet: {said.rstrip('.')}.",
        "Write it again; it may be cut short.",
    )


def _not_text(path: Path, error: UnicodeDecodeError) -> InputError:
    return _error(
        path,
        f"byte {error.object[error.start]:#04x} is not UTF-8 text.",
        "Save the table as UTF-8.",
    )
