"""The columns of a user's table that play a role, found by name and checked for gaps."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from gtx_bayes.errors import InputError

EXAMPLE_COLUMNS = ("task", "example", "item")
LABELER_COLUMNS = ("worker", "labeler", "rater", "annotator")
LABEL_COLUMNS = ("label", "rating")
TRUTH_COLUMNS = ("label", "true_label", "rating", "truth", "gold")

Names = npt.NDArray[Any]
"""Names as the user gave them, text or numbers, by index."""

_MISSING_TEXT = ("", "nan", "NaN", "<NA>")


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a table comes from, to name the place of an error.

    Attributes:
        name: file name, or a word for a table in memory.
        first_row: number of the first row of data as the user counts: 2 under a header line.
    """

    name: str
    first_row: int = 0

    def row(self, position: int) -> str:
        """The place of a row, for a message."""
        return f"{self.name}, row {position + self.first_row}"


@dataclasses.dataclass(frozen=True)
class Column:
    """One column of a user's table: the values as given, and text keys that compare across tables.

    A name is the same whether a table holds it as text or as a number.
    """

    name: str
    cells: npt.NDArray[Any]
    keys: npt.NDArray[Any]
    source: Source

    @classmethod
    def read(cls, frame: pd.DataFrame, name: str, source: Source) -> "Column":
        """The column of that name, checked for gaps."""
        column = frame[name]
        if pd.api.types.is_float_dtype(column.dtype) and (column.dropna() % 1 == 0).all():
            column = column.astype("Int64")  # integers that pandas widened because of a gap
        cells = column.to_numpy(dtype=object)
        keys = column.astype(str).str.strip().to_numpy(dtype=object)
        gap = np.flatnonzero(column.isna().to_numpy() | np.isin(keys, _MISSING_TEXT))
        if gap.size:
            raise InputError(
                f"column '{name}' has no value.",
                where=source.row(int(gap[0])),
                mend=f"Fill it in or delete the row ({gap.size} such row(s)).",
            )
        if isinstance(cells[0], str):
            cells = keys
        return cls(name, cells, keys, source)


def read_columns(
    frame: pd.DataFrame,
    aliases: Mapping[str, tuple[str, ...]],
    given: Mapping[str, str],
    source: Source,
) -> dict[str, Column]:
    """The columns that play each role.

    Args:
        frame: a user's table.
        aliases: roles, and the column names that fit each.
        given: column names the user gave for roles.
        source: where the table comes from.

    Raises:
        InputError: if the table is empty, a role has no column or more than one, or a cell is
            empty.
    """
    unknown = set(given) - set(aliases)
    if unknown:
        raise InputError(
            f"there is no role {sorted(unknown)} to name a column for.",
            where=source.name,
            mend=f"The roles are {sorted(aliases)}.",
        )
    if frame.empty:
        raise InputError(
            "the table has no rows.", where=source.name, mend="Give at least one row of data."
        )
    return {
        role: Column.read(frame, _find_column(frame, role, names, given.get(role), source), source)
        for role, names in aliases.items()
    }


def numbered_classes(
    column: Column, class_keys: list[str]
) -> tuple[npt.NDArray[np.intp], list[str]]:
    """Index of every label among the classes, and the labels that are none, numbered after them.

    Raises:
        InputError: if a label differs from a class by its spelling alone.
    """
    plain = {plain_spelling(key): key for key in class_keys}
    extra = []
    for key in dict.fromkeys(column.keys):
        if key in class_keys:
            continue
        if plain_spelling(key) in plain:
            raise InputError(
                f"label '{key}' is spelt '{plain[plain_spelling(key)]}' elsewhere.",
                where=column.source.row(int(np.flatnonzero(column.keys == key)[0])),
                mend="Spell it the same in both tables.",
            )
        extra.append(key)
    return positions([*class_keys, *extra], column.keys), extra


def _find_column(
    frame: pd.DataFrame, role: str, aliases: tuple[str, ...], given: str | None, source: Source
) -> str:
    """The column that plays `role`: the one given, or the one whose name is an alias.

    Raises:
        InputError: if there is none, or more than one.
    """
    shown = ", ".join(f"'{column}'" for column in frame.columns)
    if given is not None:
        if given not in frame.columns:
            raise InputError(
                f"there is no column '{given}' for the {role}.",
                where=source.name,
                mend=f"The columns are {shown}.",
            )
        return given
    found = [column for column in frame.columns if str(column).strip().lower() in aliases]
    if len(found) == 1:
        return str(found[0])
    if found:
        both = " and ".join(f"'{column}'" for column in found)
        raise InputError(
            f"columns {both} could each hold the {role}.",
            where=source.name,
            mend=f"Say which one: name the {role} column.",
        )
    wanted = ", ".join(f"'{alias}'" for alias in aliases)
    raise InputError(
        f"no column holds the {role}: the columns are {shown}.",
        where=source.name,
        mend=f"Call it one of {wanted} in a header line, or name the {role} column.",
    )


def positions(index: Names | list[str], keys: Names) -> npt.NDArray[np.intp]:
    """Position of every key in `index`, -1 where it is not there."""
    return pd.Index(index).get_indexer(pd.Index(keys))


def plain_spelling(key: str) -> str:
    """Spelling without what people vary: case, and the .0 of a number turned float."""
    return key.casefold().removesuffix(".0")
