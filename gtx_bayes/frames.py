"""Tables in memory of any kind as data frames: of other libraries, lists, dictionaries."""

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from gtx_bayes.errors import InputError

KINDS = (
    "a data frame (pandas, Polars, Arrow, or another that narwhals knows), a list of dictionaries, "
    "or a dictionary of lists"
)

# By default integers beside a gap become floats, which cannot tell long ones apart.
EXACT = {pa.int64(): pd.Int64Dtype(), pa.uint64(): pd.UInt64Dtype()}


def as_frame(given: object, name: str) -> pd.DataFrame:
    """A table of any kind as a pandas data frame; a Series or a dictionary by its index or keys.

    Args:
        given: the table.
        name: the argument that it is, for messages.

    Raises:
        InputError: for what is no table.
    """
    if isinstance(given, pd.DataFrame):
        return given
    if isinstance(given, str | Path):
        raise InputError(
            f"`{name}` is the text or path '{given}'.",
            where=name,
            hint="Read files by `gtx_bayes.read_crowd`, or with pandas first.",
        )
    if isinstance(given, pd.Series):
        return pd.DataFrame({"task": given.index, "label": given.to_numpy()})
    if isinstance(given, Mapping):
        return _of_mapping(given, name)
    if _is_frame(given):
        return _of_other(given, name)
    if isinstance(given, Iterable) and not isinstance(given, bytes | np.ndarray):
        rows = list(given)
        if rows and all(isinstance(row, Mapping) for row in rows):
            keys = list(dict.fromkeys(key for row in rows for key in row))
            return pd.DataFrame({key: _column([row.get(key) for row in rows]) for key in keys})
    raise InputError(f"`{name}` is {_in_words(given)}.", where=name, hint=f"Give {KINDS}.")


def _of_mapping(given: Mapping[Any, Any], name: str) -> pd.DataFrame:
    """A dictionary of columns; of single values one of tasks, such as gold."""
    are_columns = [_is_column(value) for value in given.values()]
    if given and not any(are_columns):
        return pd.DataFrame({"task": _column(list(given)), "label": _column(list(given.values()))})
    if not given or not all(are_columns):
        raise InputError(
            f"`{name}` is a dictionary, not all of whose values are columns.",
            where=name,
            hint="Give a list for every column, or a label for every task.",
        )
    columns = {key: list(value) for key, value in given.items()}
    lengths = {key: len(value) for key, value in columns.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(
            f"the columns of `{name}` have different lengths: {lengths}.",
            where=name,
            hint="Give every column one cell a row.",
        )
    return pd.DataFrame({key: _column(value) for key, value in columns.items()})


def _column(cells: list[Any]) -> "pd.Series[Any]":
    """Cells as they are."""
    return pd.Series(cells, dtype=object)


def _is_column(value: object) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)


def _is_frame(given: object) -> bool:
    """Whether an object is a table of another library, by what it can do."""
    does = ("to_pandas", "__dataframe__", "__arrow_c_stream__", "__narwhals_dataframe__", "collect")
    return any(hasattr(given, name) for name in does) and not isinstance(given, type)


def _of_other(given: Any, name: str) -> pd.DataFrame:
    """A table of another library, by way of Arrow, which keeps long integers."""
    import narwhals as nw

    table: Any = None
    with contextlib.suppress(TypeError):
        frame = nw.from_native(given)
        frame = frame.collect() if isinstance(frame, nw.LazyFrame) else frame
        loose = [one for one in frame.columns if frame.schema[one] == nw.Categorical]
        table = frame.with_columns(nw.col(loose).cast(nw.String)) if loose else frame
    try:
        if table is not None:
            return table.to_arrow().to_pandas(types_mapper=EXACT.get)
        found = given.to_pandas() if hasattr(given, "to_pandas") else pa.table(given).to_pandas()
    except (TypeError, ValueError, AttributeError, NotImplementedError, pa.ArrowException) as error:
        what = f"`{name}` is {_in_words(given)} that cannot be read: {error}."
        raise InputError(what, where=name, hint="Make it a pandas data frame first.") from error
    if isinstance(found, pd.Series):
        return as_frame(found, name)
    if not isinstance(found, pd.DataFrame):
        raise InputError(f"`{name}` is {_in_words(given)}.", where=name, hint=f"Give {KINDS}.")
    return found


def library_of(given: object) -> str | None:
    """The library of a table, by narwhals' name for it; None for pandas and what is no frame."""
    if isinstance(given, pd.DataFrame) or not _is_frame(given):
        return None
    import narwhals as nw

    try:
        return str(nw.from_native(given).implementation)  # type: ignore[call-overload]
    except TypeError:
        return None


def of_library(frame: pd.DataFrame, library: str | None) -> Any:
    """A data frame as a table of a library, by way of Arrow; of pandas where narwhals makes none.

    Args:
        frame: the table; cells of several types in a column become text.
        library: what `library_of` returned.
    """
    if library is None:
        return frame
    import narwhals as nw

    try:
        table = pa.Table.from_pandas(frame, preserve_index=False)
    except pa.ArrowException:
        loose = frame.select_dtypes(object).columns
        table = pa.Table.from_pandas(frame.astype(dict.fromkeys(loose, str)), preserve_index=False)
    try:
        return nw.from_arrow(table, backend=library).to_native()  # type: ignore[arg-type]
    except (ValueError, TypeError):
        return frame


def _in_words(given: object) -> str:
    """What something is, for a message."""
    if given is None or isinstance(given, int | float | bytes):
        return repr(given)
    kind = type(given).__name__
    return f"{'an' if kind[:1].lower() in 'aeiou' else 'a'} {kind}"


def check_texts(**given: object) -> None:
    """Raise `InputError` for arguments that are neither absent nor a text."""
    for name, value in given.items():
        if value is not None and not isinstance(value, str):
            raise InputError(f"`{name}` is {_in_words(value)}.", where=name, hint="Give a text.")


def check_lists(**given: object) -> None:
    """Raise `InputError` for arguments that are neither absent nor several values."""
    for name, value in given.items():
        is_list = isinstance(value, Iterable) and not isinstance(value, bytes | Mapping)
        is_scalar = isinstance(value, np.ndarray) and not value.ndim
        is_nested = isinstance(value, np.ndarray) and value.ndim > 1
        if value is not None and (not is_list or is_scalar or is_nested or _is_table(value)):
            what = f"`{name}` is {_in_words(value)}, not several values."
            raise InputError(what, where=name, hint="Give a list.")


def check_truths(**given: object) -> None:
    """Raise `InputError` for arguments that are not true or false."""
    for name, value in given.items():
        if not isinstance(value, bool):
            what = f"`{name}` is {_in_words(value)}."
            raise InputError(what, where=name, hint="Say True or False.")


def _is_table(value: object) -> bool:
    return hasattr(value, "columns")


def check_columns(**given: object) -> None:
    """Raise `InputError` for arguments that are neither absent nor names of columns by role."""
    for name, value in given.items():
        is_right = isinstance(value, Mapping) and all(
            isinstance(part, str) for pair in value.items() for part in pair
        )
        if value is not None and not is_right:
            raise InputError(
                f"`{name}` is {_in_words(value)}, not columns by role.",
                where=name,
                hint='Give a dictionary, such as {"worker": "Name"}.',
            )
