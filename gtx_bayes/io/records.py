"""JSON, XML and workbooks as records: a dictionary a row, whatever the shape around them."""

import collections
import io
import json
import re
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any

from gtx_bayes.io.contents import JSON_LINES, XML, Content


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
_LINE_END = re.compile(r"\r\n?|\n")


def read_records(content: Content) -> Sequence[Any]:
    """The objects of JSON lines or of a JSON array, the rows of a JSON object of lists, or XML.

    A JSON object of another shape, and the root of XML under its tag, is a record of its own.

    Raises:
        InputError: for what is neither JSON nor XML.
    """
    if content.ending in JSON_LINES:
        lines = _LINE_END.split(content.text().rstrip())
        return [_decoded(content, line, number) for number, line in enumerate(lines, start=1)]
    if content.ending in XML:
        return [_root(content)]
    found = _decoded(content, content.text().strip(), None)
    if isinstance(found, list):
        return found
    if not isinstance(found, dict):
        raise content.error(
            f"this is a JSON {type(found).__name__}, and no table.",
            'Give a list of objects such as {"task": "t1", "worker": "w1", "label": 1}.',
        )
    columns = list(found.values())
    are_lists = columns and all(isinstance(column, list) for column in columns)
    if are_lists and len({len(column) for column in columns}) == 1 and len(columns) > 1:
        return [dict(zip(found, row, strict=True)) for row in zip(*columns, strict=True)]
    return [found]


def _root(content: Content) -> dict[str, Any]:
    from xml.etree import ElementTree as ET  # a thing few tables need

    try:
        root = ET.fromstring(content.text())
    except ET.ParseError as error:
        what = f"this is no XML: {error}."
        raise content.error(what, "Export it again; it may be cut short.") from error
    return {root.tag: root}


def first_record(content: Content) -> Any:
    """The first of them; of JSON lines nothing else is looked at."""
    if content.ending in JSON_LINES:
        return _decoded(content, _LINE_END.split(content.text().lstrip(), maxsplit=1)[0], 1)
    records = read_records(content)
    return records[0] if records else {}


def _decoded(content: Content, text: str, number: int | None) -> Any:
    try:
        return _JSON.decode(text)
    except (ValueError, RecursionError) as error:
        hint = (
            "Give one JSON object per line." if number else "Write it again; it may be cut short."
        )
        raise content.error(f"this is no JSON: {error}.", hint, number) from error


def check_object(content: Content, row: object, number: int) -> None:
    """Raise `InputError` unless a record is a JSON object without a key that stands twice."""
    if not isinstance(row, dict):
        raise content.error(
            f"this is a JSON {type(row).__name__}, not an object.",
            'Give objects such as {"task": "t1", "worker": "w1", "label": 1}.',
            number,
        )
    if isinstance(row, _RepeatedKey):
        raise content.error(
            f"the object has the key '{row.key}' more than once.",
            "Give every value a key of its own.",
            number,
        )


def read_workbook(content: Content) -> tuple[list[str], list[list[Any]], list[str]]:
    """The header, the rows below it, and what to note: of the first sheet that has any.

    Raises:
        InputError: if the file is no workbook, is empty, or the package that reads it is absent.
    """
    try:
        import openpyxl
    except ModuleNotFoundError as error:
        raise content.error(
            "workbooks are read by openpyxl, which is not installed.",
            "Install it: pip install 'gtx_bayes[xlsx]', or save the table as CSV.",
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of styles and validations that are not kept
            book = openpyxl.load_workbook(io.BytesIO(content.raw), read_only=True, data_only=True)
            sheets = {sheet.title: list(_filled(sheet)) for sheet in book.worksheets}
            empty = _first_unknown(content, book, openpyxl) if _has_formulas(content) else None
    except (zipfile.BadZipFile, KeyError, ValueError, OSError, EOFError, SyntaxError) as error:
        what = f"the file is no readable workbook: {error}."
        raise content.error(what, "Save it again, or save the table as CSV.") from error
    if empty is not None:
        what = f"the formula in cell {empty[1]} of the sheet '{empty[0]}' has no value."
        raise content.error(what, "Open the workbook in Excel and save it there, or save as CSV.")
    filled = {title: rows for title, rows in sheets.items() if rows}
    if not filled:
        raise content.error("the workbook is empty.", "Give a header and rows.")
    title, rows = next(iter(filled.items()))
    notes = []
    if len(filled) > 1:
        others = ", ".join(f"'{name}'" for name in list(filled)[1:6])
        notes.append(f"{content.name}: the sheet '{title}' is read, and not {others}.")
    header = ["" if cell is None else str(cell).strip() for cell in rows[0]]
    width = max((at + 1 for at, name in enumerate(header) if name), default=0)
    for number, row in enumerate(rows[1:], start=2):
        if any(cell is not None for cell in row[width:]):
            what = "the row has more cells than the header."
            raise content.error(what, "Name every column in the header.", number)
    content.check_header(header[:width])
    cells = [[*row[:width], *[None] * (width - len(row))] for row in rows[1:]]
    return header[:width], cells, notes


def _has_formulas(content: Content) -> bool:
    with zipfile.ZipFile(io.BytesIO(content.raw)) as archive:
        sheets = [one for one in archive.namelist() if one.startswith("xl/worksheets/")]
        return any(re.search(rb"<f[ />]", archive.read(one)) for one in sheets)


def _first_unknown(content: Content, book: Any, openpyxl: Any) -> tuple[str, str] | None:
    """Sheet and name of the first formula whose value nobody stored, up to the sheet that is read.

    Programs that write workbooks leave it to Excel to find the values.
    """
    formula_book = openpyxl.load_workbook(io.BytesIO(content.raw), read_only=True)
    for values, formulas in zip(book.worksheets, formula_book.worksheets, strict=True):
        is_filled = False
        for row, written in zip(values.iter_rows(), formulas.iter_rows(), strict=True):
            for value, formula in zip(row, written, strict=True):
                is_filled |= value.value is not None
                # A value that is an empty text says so by its type.
                if formula.data_type == "f" and value.value is None and value.data_type != "str":
                    return values.title, formula.coordinate
        if is_filled:
            break
    return None


def cell_as_text(cell: object) -> str:
    """A cell of a workbook as a delimited file would have it."""
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    return "" if cell is None else str(cell)


def _filled(sheet: Any) -> Iterator[list[Any]]:
    """The rows of a sheet up to the last that holds anything."""
    waiting: list[list[Any]] = []
    for row in sheet.iter_rows(values_only=True):
        waiting.append(list(row))
        if any(cell is not None for cell in row):
            yield from waiting
            waiting = []
