"""Numbers that go with answers, labelers and examples, as read from a user's tables."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pandas as pd

from gtx_bayes.classes import some_names
from gtx_bayes.columns import (
    EXAMPLE_ROLE,
    LABELER_COLUMNS,
    Column,
    Names,
    Source,
    Table,
    read_columns,
)
from gtx_bayes.errors import InputError

ROLES: dict[str, dict[str, tuple[str, ...]]] = {
    "labeler": {"labeler": LABELER_COLUMNS},
    "example": {**EXAMPLE_ROLE},
}
"""Whose covariates a table of its own may hold."""

MICROSECONDS_PER_DAY = 86_400_000_000

_DAY = np.timedelta64(MICROSECONDS_PER_DAY, "us")

Covariates = dict[str, npt.NDArray[np.float64]]


class Numbers(NamedTuple):
    """A column as numbers.

    Attributes:
        cells: the numbers, NaN where a cell is empty.
        start: what times are counted from, as text; None if the cells are numbers.
    """

    cells: npt.NDArray[np.float64]
    start: str | None


def of_answers(
    labels: pd.DataFrame,
    names: Sequence[str],
    answers: Column,
    starts: dict[str, str],
    notes: list[str],
) -> Covariates:
    """The covariates of answers, from columns of the table of answers.

    Args:
        labels: the table.
        names: its columns that are covariates.
        answers: the labels of the rows that count.
        starts: what times are counted from, by column; added to for columns that are new there.
        notes: added to.

    Raises:
        InputError: for a column that is not there, is named twice, or holds a cell that is empty
            or no number, with its row.
    """
    if isinstance(names, str):
        raise InputError(
            f"`covariates` is the text '{names}', not several columns.",
            hint=f"Give a tuple: ('{names}',).",
        )
    source = answers.source
    found = {}
    for name in names:
        if list(labels.columns).count(name) != 1 or name in found:
            raise not_one_column(name, source.columns or labels.columns, source.name)
        column = labels[name] if source.kept is None else labels[name].iloc[source.kept]
        found[name] = _required(column, str(name), source, starts, str(name), notes)
    return found


def of_each(
    role: str,
    names: Names,
    table: Table | None,
    starts: dict[str, str],
    notes: list[str],
    wanted: Sequence[str] | None = None,
) -> Covariates:
    """The covariates of labelers or of examples, from a table of their own.

    Args:
        role: "labeler" or "example".
        names: of those who need them, in order.
        table: the table; rows of others are left out.
        starts: as for `of_answers`.
        notes: added to.
        wanted: the covariates that there have to be; all columns of numbers when absent.

    Raises:
        InputError: for a name without a row or with two, a covariate that is not there, and a cell
            that is empty or no number.
    """
    if wanted is not None and (not wanted or not len(names)):
        return {}
    if table is None:
        if wanted is None:
            return {}
        raise InputError(
            f"{some_names(names)} are new, and the fit knows {role}s by {some_names(wanted)}.",
            hint=f"Give a table of {role}s with the values of those who are new.",
        )
    source = table.source
    key = read_columns(table.frame, ROLES[role], {}, source)[role]
    at = _rows_of(role, names, key)
    if len(key.keys) > len(names):
        notes.append(f"{source.name}: {len(key.keys) - len(names)} row(s) are of no {role} here.")
    rows = table.frame.iloc[at]
    here = Source(source.name, source.first_row, source.rows, kept=at)
    found, unused = {}, []
    for name in table.frame.columns if wanted is None else wanted:
        if name == key.name:
            continue
        if name not in table.frame.columns:
            what = f"the {role}s have no column '{name}', by which the fit knows them."
            raise source.error(what, "Add the column.")
        if wanted is None and isinstance(numbers_of(table.frame[name], str(name), source), int):
            unused.append(name)
            continue
        start_key = f"{role} {name}"
        found[str(name)] = _required(rows[name], str(name), here, starts, start_key, notes)
    if unused:
        named = some_names(unused)
        notes.append(f"{source.name}: {named} hold(s) no numbers and no times, and is not used.")
    return found


def numbers_of(
    column: "pd.Series[Any]", name: str, source: Source, start: str | None = None
) -> Numbers | int:
    """A column as numbers, times as days since the first; else the position of what is neither.

    Text such as "2.5" or "2026-11-28 09:30" is read. Times are counted from `start` if there is
    one. Where some cell is a time and no number, numbers are neither.
    """
    if not len(column):
        return Numbers(np.zeros(0), start)
    if pd.api.types.is_numeric_dtype(column.dtype):
        return Numbers(np.asarray(column.to_numpy(np.float64, na_value=np.nan)), None)
    cells = Column.read_with_gaps(column.to_frame(name), name, source)
    keys = pd.Series(cells.keys, dtype=object)
    is_given = keys != ""
    values = pd.to_numeric(keys.where(is_given), errors="coerce")
    if is_given.any() and values[is_given].notna().all():
        return Numbers(values.to_numpy(np.float64), None)
    times = pd.to_datetime(keys.where(is_given), format="ISO8601", utc=True, errors="coerce")
    if is_given.any() and times[is_given].notna().all():
        first = times.min() if start is None else pd.Timestamp(start)
        days = (times - first).to_numpy() / _DAY
        return Numbers(np.asarray(days, np.float64), first.isoformat())
    is_number, is_time = values.notna(), times.notna()
    is_right = is_time if (is_time & ~is_number).any() else is_number
    return int(is_right.to_numpy().argmin())


def not_one_column(name: object, columns: Iterable[object], where: str) -> InputError:
    """What to say of a covariate that is not there, or there twice."""
    shown = ", ".join(f"'{column}'" for column in columns)
    return InputError(
        f"the covariate '{name}' is not one column of the table, named once.",
        where=where,
        hint=f"Name each covariate once. The columns are {shown}.",
    )


def no_finite_value(name: str, row: str, number: int) -> InputError:
    """What to say of a covariate without a value in some rows, the first of which is named."""
    return InputError(
        f"covariate '{name}' has no finite value.",
        where=row,
        hint=f"Fill it in or leave out the row ({number} such row(s)).",
    )


def note_times(name: str, start: str, where: str, notes: list[str]) -> None:
    """Note a covariate that counts from the first of its times."""
    notes.append(f"{where}: '{name}' holds times, which count in days since the first, {start}.")


def _required(
    column: "pd.Series[Any]",
    name: str,
    source: Source,
    starts: dict[str, str],
    start_key: str,
    notes: list[str],
) -> npt.NDArray[np.float64]:
    """The numbers of a column in which none may be missing."""
    start = starts.get(start_key)
    found = numbers_of(column, name, source, start)
    if isinstance(found, int) or (start is not None and found.start is None):
        at = found if isinstance(found, int) else 0
        cell = str(Column.of_cells([column.iloc[at]], name, source).keys[0])
        raise source.error(
            f"covariate '{name}' is {cell!r}, which is no {'time' if start else 'number or time'}.",
            "Give numbers, or times such as 2026-11-28 09:30; classes of things as a column of 0 "
            "and 1 for each.",
            at,
        )
    with np.errstate(over="ignore"):
        missing = np.flatnonzero(~np.isfinite(found.cells.astype(jnp.result_type(float))))
    if missing.size:
        raise no_finite_value(name, source.row(missing[0]), missing.size)
    if found.start is not None:
        if start is None:
            note_times(name, found.start, source.name, notes)
        starts[start_key] = found.start
    return found.cells


def _rows_of(role: str, names: Names, key: Column) -> npt.NDArray[np.intp]:
    """Position of the row of each name."""
    index = pd.Index(key.keys, dtype=object)
    again = np.flatnonzero(index.duplicated())
    if again.size:
        what = f"the {role} '{key.keys[again[0]]}' has two rows."
        raise key.source.error(what, "Keep one.", again[0])
    at = index.get_indexer(pd.Index([str(name) for name in names], dtype=object))
    missing = np.flatnonzero(at < 0)
    if missing.size:
        what = f"{missing.size} {role}(s) have no row: {some_names(names[missing])}."
        raise key.source.error(what, f"Give every {role} of the answers a row.")
    return at


def check_starts(starts: Mapping[str, object]) -> dict[str, str]:
    """What times are counted from, as read from a file.

    Raises:
        InputError: for anything but text by text.
    """
    if not isinstance(starts, dict) or not all(isinstance(v, str) for v in starts.values()):
        raise InputError("the starts of times are no texts.")
    return dict(starts)
