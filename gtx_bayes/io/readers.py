"""Read tables: CSV, TSV, JSON lines and Parquet, with errors that name the place and the hint."""

import collections
import contextlib
import csv
import dataclasses
import io
import itertools
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gtx_bayes.abstentions import Blank
from gtx_bayes.classes import some_names
from gtx_bayes.columns import ANSWER_ROLES, TRUTH_ROLES, Source, Table, columns_for, fits, in_roles
from gtx_bayes.crowd import Crowd
from gtx_bayes.crowd_tables import Duplicates
from gtx_bayes.errors import InputError
from gtx_bayes.frames import EXACT as EXACT
from gtx_bayes.frames import check_lists
from gtx_bayes.importers.base import AbstractImporter
from gtx_bayes.importers.long_table import File, import_answers
from gtx_bayes.io.contents import (
    PARQUET,
    SEPARATORS,
    WORKBOOKS,
    XML,
    Content,
    check_file,
    ending_of,
    names_of,
    open_contents,
    tables_in,
)
from gtx_bayes.io.records import (
    cell_as_text,
    check_object,
    first_record,
    read_records,
    read_workbook,
)
from gtx_bayes.registry import IMPORTERS
from gtx_bayes.shapes import Shape, Which, as_long

_AS_IT_IS = Shape()

TABLE = "table"
"""The format of a plain table."""

_WIDE = 1000  # columns
_MANY_CELLS, _SPARSE = 10**6, 20  # of JSON objects: so many are empty for one that is not


def read_crowd(
    labels: str | Path | Sequence[str | Path],
    gold: str | Path | None = None,
    *,
    duplicates: Duplicates = "error",
    classes: Sequence[object] | None = None,
    abstain: Sequence[object] = (),
    blank: Blank = "error",
    keep_abstentions: bool = False,
    ordered: bool | None = None,
    covariates: Sequence[str] = (),
    labeler_covariates: str | Path | None = None,
    example_covariates: str | Path | None = None,
    groups: str | None = None,
    columns: Mapping[str, str] | None = None,
    gold_columns: Mapping[str, str] | None = None,
    format: str | AbstractImporter | None = None,  # noqa: A002
    question: str | None = None,
    choice: str | None = None,
    wide: Which | None = None,
    count_column: str | None = None,
    counts: Which | None = None,
    header: Sequence[str] | None = None,
    gold_header: Sequence[str] | None = None,
) -> Crowd:
    """Read a table of answers, or a tool's export, and optionally a table of gold labels.

    Args:
        labels: file with one row per answer, or the export of a labeling tool; or several of one
            kind.
        gold: file with one row per gold example. The gold in an export counts where it is absent.
        duplicates: see `Crowd.from_frames`, as for the other arguments.
        classes: every class there is.
        abstain: values that say nothing about the class.
        blank: what a blank answer is.
        keep_abstentions: keep abstentions as answers that are no class.
        ordered: whether the classes are in an order.
        covariates: columns of `labels` that are numbers or times.
        labeler_covariates: file with one row per labeler.
        example_covariates: file with one row per example.
        groups: column of `labels` with the groups of the labelers.
        columns: columns of `labels` by role, where no alias fits.
        gold_columns: columns of `gold` by role.
        format: the tool that `labels` comes from, a name in `registry.IMPORTERS`; or "table".
            Told by the content when absent.
        question: the question to take from an export that holds several.
        choice: the label of which to ask whether it is among those of an answer.
        wide: see `Crowd.from_frames`, as for the two others.
        count_column: column of counts.
        counts: columns of counts, one a class.
        header: names of the columns of `labels`, text without a line that has them.
        gold_header: likewise of `gold`.

    Raises:
        InputError: for anything wrong with a file or a table, with the row and the hint.
    """
    answers = read_labels(
        labels,
        columns,
        covariates,
        groups,
        format=format,
        question=question,
        choice=choice,
        shape=Shape(wide, count_column, counts),
        header=header,
    )
    return Crowd.from_frames(
        answers,
        read_gold(gold, gold_columns, gold_header),
        duplicates=duplicates,
        classes=classes,
        abstain=abstain,
        blank=blank,
        keep_abstentions=keep_abstentions,
        ordered=ordered,
        covariates=covariates,
        groups=groups,
        columns=columns,
        gold_columns=gold_columns,
        **read_covariate_tables(labeler_covariates, example_covariates),
    )


def read_gold(
    path: str | Path | None,
    columns: Mapping[str, str] | None = None,
    header: Sequence[str] | None = None,
) -> Table | None:
    """Read a table of gold labels, of its columns those that play a role; None without a path.

    Raises:
        InputError: as `read_table`, and for a header of no table.
    """
    if path is not None:
        return _read_table(path, columns_for(TRUTH_ROLES, columns), header, "gold_header")
    if header is not None:
        what = "there is no gold whose columns it could name."
        raise InputError(what, where="gold_header", hint="Leave it out, or give `gold=`.")
    return None


def read_labels(
    labels: str | Path | Sequence[str | Path],
    columns: Mapping[str, str] | None = None,
    covariates: Sequence[str] = (),
    groups: str | None = None,
    *,
    format: str | AbstractImporter | None = None,  # noqa: A002
    question: str | None = None,
    choice: str | None = None,
    shape: Shape = _AS_IT_IS,
    header: Sequence[str] | None = None,
) -> Table:
    """Read answers from tables or from the export of a tool; arguments as for `read_crowd`.

    Of the columns of tables those that play a role, covariates and groups are read; all of those
    whose `shape` is not one row per answer.
    """
    shape.check()
    if header is not None and format not in (None, TABLE):
        raise InputError(
            "columns are named of plain tables, and no export of a tool.",
            where="header",
            hint="Leave out `header=`, or `format=`.",
        )
    paths = names_of(labels)
    named = {**(columns or {}), **{f"covariate {name}": name for name in covariates}}
    named |= {} if groups is None else {"groups": groups}
    wanted = columns_for(ANSWER_ROLES, named)
    is_plain = format == TABLE or (format is None and bool({*named} - {"label"}))
    is_plain = is_plain or header is not None
    if len(paths) == 1 and is_streamable(paths[0]) and (is_plain or paths[0].is_dir()):
        return _in_long(lambda kept: read_table(paths[0], kept), wanted, columns, shape)
    contents = [one for path in paths for one in open_contents(path)]
    contents = _with_header(contents, header, "header")
    importer = None
    if not is_plain:
        importer = _recognised(contents) if format is None else IMPORTERS.build(format)
    if importer is not None:
        files = [File(one.name, one.file, _records(one)) for one in contents]
        of_question = question if question is not None else (columns or {}).get("label")
        table = import_answers(importer, files, question=of_question, choice=choice)
        notes = [note for one in contents for note in one.notes]
        return dataclasses.replace(table, notes=(*table.notes, *notes))
    for name, value in (("question", question), ("choice", choice)):
        if value is not None:
            raise InputError(
                f"{contents[0].name} is a plain table, and no export of a tool.",
                where=name,
                hint="Name the column of the answers, or the tool: `format=`.",
            )
    return _in_long(lambda kept: read_contents(contents, kept), wanted, columns, shape)


def _in_long(
    read: Callable[[Callable[[object], bool] | None], Table],
    wanted: Callable[[object], bool],
    columns: Mapping[str, str] | None,
    shape: Shape,
) -> Table:
    """A table with one row per answer, of which the columns wanted are read, if it has such."""
    named = in_roles(columns or {}, ANSWER_ROLES)
    if any((shape.wide, shape.count_column, shape.counts)):
        return as_long(read(None), columns, shape)
    table = read(wanted)
    if shape.needs_all_columns(table.source.columns or table.frame.columns, named):
        return as_long(read(None), columns, shape)
    return table


def _recognised(contents: Sequence[Content]) -> AbstractImporter | None:
    """What reads the export that the first of these files is; None for a plain table."""
    first = _first_record(contents[0])
    if not isinstance(first, Mapping):
        return None
    names = {str(name).strip().lower() for name in first}
    if all(names & set(aliases) for aliases in ANSWER_ROLES.values()):
        return None  # a table of answers by its header
    for name in IMPORTERS.names(installed=False):
        importer: AbstractImporter = IMPORTERS.find(name)()
        with contextlib.suppress(AttributeError, IndexError, KeyError, TypeError):
            if importer.recognises(first):  # else of a shape that it does not even expect
                return importer
    return None


def _first_record(content: Content) -> object:
    if content.ending in SEPARATORS:
        content, separator, _ = named_separator(content)
        with contextlib.suppress(UnicodeDecodeError, csv.Error):
            return dict.fromkeys(header_of(content, separator), "")
        return None
    if content.ending in PARQUET:
        with contextlib.suppress(*UNREADABLE_PARQUET):
            return dict.fromkeys(pq.read_schema(pa.BufferReader(content.raw)).names)
        return None
    if content.ending in WORKBOOKS:
        return dict.fromkeys(read_workbook(content)[0], "")
    return first_record(content)


def _records(content: Content) -> Sequence[Any]:
    """All records of a file, whatever its format."""
    if content.ending in SEPARATORS:
        return list(rows_as_records(content))
    if content.ending in PARQUET:
        return _read_parquet(pa.BufferReader(content.raw), content.name, None)[0].to_dict("records")
    if content.ending in WORKBOOKS:
        columns, rows, _ = read_workbook(content)
        return [dict(zip(columns, map(cell_as_text, row), strict=True)) for row in rows]
    return read_records(content)


def read_covariate_tables(
    labelers: str | Path | None, examples: str | Path | None
) -> dict[str, Any]:
    """Tables of labelers and of examples, as the arguments that `Crowd.from_frames` takes."""
    paths = {"labeler_covariates": labelers, "example_covariates": examples}
    return {name: read_table(path) for name, path in paths.items() if path is not None}


_EXAMPLE = {"header": ("worker", "task", "label"), "gold_header": ("task", "label")}


def _with_header(
    contents: list[Content],
    header: Sequence[str] | None,
    option: str,
) -> list[Content]:
    """The files with names for their columns, which are text; an option gives them.

    Raises:
        InputError: for names that are none, a file that is no text, or has a line with names.
    """
    contents = [one._replace(header_option=option) for one in contents]
    if header is None:
        return contents
    check_lists(**{option: header})
    roles = TRUTH_ROLES if option == "gold_header" else ANSWER_ROLES
    are_names = all(isinstance(one, str) for one in header) and any(map(str.strip, header))
    if isinstance(header, str) or not are_names:
        raise InputError(
            "these are no names of columns.",
            where=option,
            hint=f"Give those of all columns, such as {', '.join(_EXAMPLE[option])}.",
        )
    for one in contents:
        if one.ending not in SEPARATORS:
            what = f"its format, {one.ending}, has names for its columns."
            raise one.error(what, f"Leave out `{option}=`.")
        text, separator, _ = named_separator(one)
        first: list[str] = []
        with contextlib.suppress(UnicodeDecodeError, csv.Error):  # of which reading tells
            first = [cell.strip().lower() for cell in _first_row(text, separator)]
        is_given = first == [name.strip().lower() for name in header]
        if is_given or all(fits(first, role, roles) for role in roles):
            raise one.error(
                "the first line names the columns, and is no row.",
                f"Leave out `{option}=`, or that line.",
            )
    return [one._replace(header=tuple(header)) for one in contents]


def read_table(
    path: str | Path,
    wanted: Callable[[object], bool] | None = None,
    header: Sequence[str] | None = None,
) -> Table:
    """Read one table, the format by the file's ending; CSV and TSV cells stay text.

    A folder of tables is one table; so is an archive of several. Text may be compressed, separated
    by semicolons, and UTF-16 if its mark says so; "-" is standard input.

    Args:
        path: the file or the folder.
        wanted: whether a column of some name is to be read; all are when absent. A table without
            such a column keeps its first one.
        header: names of the columns, of text without a line that has them.

    Raises:
        InputError: if the file is absent, empty, unreadable, ragged or of an unknown format.
    """
    return _read_table(path, wanted, header, "" if header is None else "header")


def read_tables(
    paths: Sequence[str | Path],
    wanted: Callable[[object], bool] | None = None,
    header: Sequence[str] | None = None,
) -> Table:
    """Read several tables as one; arguments and errors as for `read_table`."""
    if len(paths) == 1:
        return read_table(paths[0], wanted, header)
    contents = [content for path in paths for content in open_contents(path)]
    return read_contents(_with_header(contents, header, "header" if header else ""), wanted)


def _read_table(
    path: str | Path,
    wanted: Callable[[object], bool] | None,
    header: Sequence[str] | None,
    option: str,
) -> Table:
    path = Path(path).expanduser()
    if is_streamable(path):
        notes: tuple[str, ...] = ()
        if path.is_dir():
            notes = tables_in(path)[1]
        else:
            check_file(path)
        return _as_table(str(path), _read_parquet(path, str(path), wanted), 1, notes)
    return read_contents(_with_header(open_contents(path), header, option), wanted)


def read_contents(
    contents: Sequence[Content], wanted: Callable[[object], bool] | None = None
) -> Table:
    """The tables of these files, one below the other."""
    tables = [_read_content(content, wanted) for content in contents]
    notes = tuple(note for table in tables for note in table.notes)
    notes += tuple(note for content in contents for note in content.notes)
    if len(tables) == 1:
        return dataclasses.replace(tables[0], notes=notes)
    names = list(tables[0].frame.columns)
    for table in tables[1:]:
        if set(table.frame.columns) != set(names):
            raise table.source.error(
                f"its columns are {some_names(list(table.frame.columns))}, and those of "
                f"{tables[0].source.name} are {some_names(names)}.",
                "Give tables with the same columns, or read each of them alone.",
            )
    frame = pd.concat([table.frame[names] for table in tables], ignore_index=True)
    rows = tuple(table.source.row(at) for table in tables for at in range(len(table.frame)))
    name = f"{tables[0].source.name} and {len(tables) - 1} more"
    source = Source(name, rows=rows, columns=tables[0].source.columns)
    return Table(frame, source, notes=notes)


def _as_table(
    name: str,
    found: tuple[pd.DataFrame, list[str]],
    first_row: int,
    notes: Sequence[str] = (),
) -> Table:
    frame, columns = found
    others = tuple(columns) if len(columns) > frame.shape[1] else ()
    return Table(frame, Source(name, first_row, columns=others), notes=tuple(notes))


def _read_content(content: Content, wanted: Callable[[object], bool] | None) -> Table:
    """The table of one file."""
    if content.ending in PARQUET:
        found = _read_parquet(pa.BufferReader(content.raw), content.name, wanted)
        return _as_table(content.name, found, 1)
    if content.ending in SEPARATORS:
        content, separator, first_row = named_separator(content)
        table = _as_table(content.name, _read_delimited(content, separator, wanted), first_row)
        source = dataclasses.replace(table.source, header_option=content.header_option)
        return dataclasses.replace(table, source=source)
    if content.ending in WORKBOOKS:
        columns, rows, notes = read_workbook(content)
        kept = _kept(columns, wanted)
        cells = [[row[at] for at in kept] for row in rows]
        values = as_cells(cells, len(kept))
        frame = pd.DataFrame(values, columns=[columns[at] for at in kept], dtype=object)
        return _as_table(content.name, (frame, columns), 2, notes)
    if content.ending in XML:
        raise content.error(
            "the file is XML, and no table.",
            "Name the tool it comes from: `format=`, or give a table.",
        )
    records = enumerate(read_records(content), start=1)
    return _as_table(content.name, _frame_of_records(content, records, wanted), 1)


def as_cells(rows: list[list[Any]], num_columns: int) -> npt.NDArray[Any]:
    """Rows of cells as an array of objects."""
    values = np.empty((len(rows), num_columns), object)
    for at, row in enumerate(rows):
        values[at] = row
    return values


def _kept(columns: Sequence[str], wanted: Callable[[object], bool] | None) -> list[int]:
    """Positions of the columns to read."""
    if wanted is None:
        return list(range(len(columns)))
    return [at for at, name in enumerate(columns) if wanted(name)] or [0]


def is_streamable(path: Path) -> bool:
    """Whether a path is a Parquet file or a folder with some, which can be read part by part."""
    try:
        return is_parquet(tables_in(path)[0][0] if path.is_dir() else path)
    except OSError:  # such as a name that is too long
        return is_parquet(path)
    except InputError:  # a folder without a table
        return False


def _read_delimited(
    content: Content, separator: str, wanted: Callable[[object], bool] | None
) -> tuple[pd.DataFrame, list[str]]:
    raw = content.raw
    try:
        columns = header_of(content, separator)
        kept = _kept(columns, wanted)
        is_whole = len(kept) == len(columns)
        if not is_whole and len(kept) <= _WIDE:  # then pandas counts no fields
            _check_rows(raw, separator, len(columns))
        if len(kept) > _WIDE:
            frame = _read_wide(raw, separator, kept, columns)
        else:
            frame = pd.read_csv(
                io.BytesIO(raw),
                sep=separator,
                dtype=str,
                keep_default_na=False,
                encoding="utf-8",
                skip_blank_lines=False,
                usecols=None if is_whole else kept,
            )
        if is_whole and raw.count(b"\n") not in (len(frame), len(frame) + 1):
            _check_rows(raw, separator, len(columns))
    except UnicodeDecodeError:
        content.text()  # says where
        raise
    except pd.errors.EmptyDataError as error:
        raise content.error("the file has no header.", "Give a header and rows.") from error
    except (pd.errors.ParserError, csv.Error) as error:
        raise content.error(
            f"the rows cannot be told apart: {_in_our_rows(error)}.",
            "Give every row as many fields as the header, and close every quote.",
        ) from error
    if not isinstance(frame.index, pd.RangeIndex):
        raise content.error(
            "the rows have more fields than the header.", "Name every column in the header."
        )
    # Blank lines at the end of the file, such as ",,": in the columns read and in all others.
    left = raw.rstrip(f"\r\n{separator}{'"' if is_whole else ''}".encode())
    num_blank = min(len(raw[len(left) :].splitlines()[1:]), len(frame))
    if num_blank:
        last = frame.iloc[len(frame) - num_blank :]
        is_filled = ((last != "") & last.notna()).to_numpy().any(axis=1)
        num_filled = int(np.flatnonzero(is_filled)[-1]) + 1 if is_filled.any() else 0
        frame = frame.iloc[: len(frame) - num_blank + num_filled]
    return frame, columns


def _read_wide(raw: bytes, separator: str, kept: list[int], columns: list[str]) -> pd.DataFrame:
    """A table of very many columns, each of which costs pandas more than its cells."""
    cells = []
    for row in itertools.islice(_rows(raw, separator, len(columns)), 1, None):
        row += [""] * (len(columns) - len(row))
        cells.append([row[at] for at in kept])
    values = np.array(cells, object).reshape(len(cells), len(kept))
    return pd.DataFrame(values, columns=[columns[at] for at in kept], dtype=object)


def _in_our_rows(error: Exception) -> str:
    """What the parser says, its row number (which counts from 0 without the header) made ours."""
    text = str(error).strip().removeprefix("Error tokenizing data. C error: ")
    return re.sub(r"starting at row (\d+)", lambda row: f"starting at row {int(row[1]) + 1}", text)


def named_separator(content: Content) -> tuple[Content, str, int]:
    """What separates the cells, the table without a line that says so, and its first row's number.

    A first line "sep=;" says it. Else it is that of the ending, or where the header has none of
    these, the semicolon, tab or comma that it has.
    """
    line, _, rest = content.raw.partition(b"\n")
    line_text = line.rstrip(b"\r").strip(b'"')
    if line_text[:4].lower() == b"sep=" and len(line_text) <= 5:
        return content._replace(raw=rest), line_text[4:].decode("latin-1") or "\t", 3
    usual = SEPARATORS[content.ending]
    found = next((one for one in (usual, ";", "\t", ",") if one.encode() in line), usual)
    if not content.header:
        return content, found, 2
    text = io.StringIO()
    csv.writer(text, delimiter=found).writerow(content.header)
    return content._replace(raw=text.getvalue().encode() + content.raw, header=()), found, 1


def header_of(content: Content, separator: str) -> list[str]:
    """Names of the columns, each of which has another."""
    columns = _first_row(content, separator)
    content.check_header(columns)
    return columns


def _first_row(content: Content, separator: str) -> list[str]:
    with _as_text(content.raw) as file, _long_fields():
        return next(csv.reader(file, delimiter=separator), [])


def _as_text(raw: bytes) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(raw), encoding="utf-8", newline="")


def rows_as_records(content: Content) -> Iterator[dict[str, Any]]:
    """The rows of a delimited file, a dictionary each."""
    content, separator, _ = named_separator(content)
    try:
        columns = header_of(content, separator)
        for row in itertools.islice(_rows(content.raw, separator, len(columns)), 1, None):
            if any(row):
                yield dict(itertools.zip_longest(columns, row, fillvalue=""))
    except csv.Error as error:
        what = f"the rows cannot be told apart: {error}."
        raise content.error(what, "Give every row as many fields as the header.") from error
    except UnicodeDecodeError:
        content.text()
        raise


@contextlib.contextmanager
def _long_fields() -> Iterator[None]:
    """Let Python's reader of CSV take cells of any length."""
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _check_rows(raw: bytes, separator: str, num_columns: int) -> None:
    """Raise `csv.Error` for what pandas lets pass; of a quote left open it says where it began."""
    try:
        collections.deque(_rows(raw, separator, num_columns), maxlen=0)
    except csv.Error as error:
        if "unexpected end of data" not in str(error):
            raise


def _rows(raw: bytes, separator: str, num_columns: int) -> Iterator[list[str]]:
    """The rows by Python's strict reader, which raises `csv.Error` for what pandas lets pass.

    That is something behind a closing quote: one that was opened and not closed swallows all rows
    up to the next one. And rows that are too long, where not all columns are read.
    """
    with _as_text(raw) as file, _long_fields():
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


def _frame_of_records(
    content: Content,
    records: Iterable[tuple[int, object]],
    wanted: Callable[[object], bool] | None,
) -> tuple[pd.DataFrame, list[str]]:
    """JSON objects as a table, and the keys of all."""
    rows: list[dict[str, object]] = []
    is_kept: dict[str, bool] = {}
    for number, row in records:
        check_object(content, row, number)
        assert isinstance(row, dict)
        for name in row:
            if name not in is_kept:
                is_kept[name] = wanted is None or wanted(name)
        rows.append({name: value for name, value in row.items() if is_kept[name]})
    num_kept = sum(is_kept.values())
    num_given = sum(map(len, rows))
    if len(rows) * num_kept > max(_MANY_CELLS, _SPARSE * num_given):
        raise content.error(
            f"the {len(rows)} objects have {num_kept} different keys, and each object few of them.",
            "Give all objects the same keys.",
        )
    kept = [name for name, is_wanted in is_kept.items() if is_wanted]
    return pd.DataFrame(rows, range(len(rows)), kept, dtype=object), list(is_kept)


def _read_parquet(
    file: Path | pa.BufferReader, name: str, wanted: Callable[[object], bool] | None
) -> tuple[pd.DataFrame, list[str]]:
    try:
        files = file
        if isinstance(file, Path):
            files = [str(one) for one in tables_in(file)[0]] if file.is_dir() else [str(file)]
        schema = pq.read_schema(files[0] if isinstance(files, list) else files)
        kept = [schema.names[at] for at in _kept(schema.names, wanted)] if schema.names else []
        # What pandas noted of a table may be damaged or hide a column in the index: not heeded.
        table = pq.read_table(files, columns=None if wanted is None else kept, partitioning=None)
        frame = table.replace_schema_metadata(None).to_pandas(types_mapper=EXACT.get)
    except UNREADABLE_PARQUET as error:
        raise unreadable_parquet(Path(name), error) from error
    for column, dtype in frame.dtypes.items():
        if isinstance(dtype, pd.CategoricalDtype):  # how the file is encoded: no classes declared
            frame[column] = frame[column].cat.remove_unused_categories()
    return frame, list(schema.names)


def is_parquet(path: Path) -> bool:
    """Whether a file is Parquet by its ending."""
    return ending_of(path) in PARQUET


UNREADABLE_PARQUET = (pa.ArrowException, OSError, ValueError, OverflowError)
"""What PyArrow raises of damaged files; of names that are no UTF-8 a ValueError."""


def unreadable_parquet(path: Path, error: Exception) -> InputError:
    """What to say of a file that Arrow cannot read."""
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return Source(str(path)).error(
        f"the file is no readable Parquet: {reason.rstrip('.')}.",
        "Write it again; it may be cut short.",
    )
