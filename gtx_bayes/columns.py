"""The columns of a user's table that play a role, found by name and checked for gaps."""

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from gtx_bayes.errors import InputError

EXAMPLE_COLUMNS = ("task", "example", "item")
LABELER_COLUMNS = ("worker", "labeler", "rater", "annotator")
LABEL_COLUMNS = ("label", "rating")
TRUTH_COLUMNS = ("label", "true_label", "rating", "truth", "gold")

ANSWER_ROLES = {"example": EXAMPLE_COLUMNS, "labeler": LABELER_COLUMNS, "label": LABEL_COLUMNS}
TRUTH_ROLES = {"example": EXAMPLE_COLUMNS, "label": TRUTH_COLUMNS}
EXAMPLE_ROLE = {"example": EXAMPLE_COLUMNS}

PROB_PREFIX = "prob_"
"""What the name of a column of class probabilities begins with."""

Names = npt.NDArray[Any]
"""Names as the user gave them, text or numbers, by index."""

_SHOWN_COLUMNS = 20  # in a message
_MISSING_TEXT = ("", "nan", "NaN", "<NA>")


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a table comes from, to name the place of an error.

    Attributes:
        name: file name, or a word for a table in memory.
        first_row: number of the first row of data as the user counts: 2 under a header line.
        rows: the place of each row in words, where the table is a digest of a longer one.
        columns: names of all columns, where only some of them were read.
        kept: which rows of the table these are, if not all.
    """

    name: str
    first_row: int = 0
    rows: tuple[str, ...] = ()
    columns: tuple[Any, ...] = ()
    kept: npt.NDArray[np.integer] | None = dataclasses.field(default=None, compare=False)

    def row(self, position: int | np.integer) -> str:
        """The place of a row, for a message."""
        if self.rows:
            return self.rows[self._at(position)]
        return f"{self.name}, row {self.number(position)}"

    def number(self, position: int | np.integer) -> int:
        """The number of a row, as the user counts."""
        return self._at(position) + self.first_row

    def _at(self, position: int | np.integer) -> int:
        return int(position if self.kept is None else self.kept[position])

    def error(self, what: str, hint: str, row: int | np.integer | None = None) -> InputError:
        """What is wrong with the table, or in one of its rows."""
        return InputError(what, where=self.name if row is None else self.row(row), hint=hint)


class Table(NamedTuple):
    """A table and where it comes from: what `read_table` returns.

    Attributes:
        frame: the table.
        source: its place, for messages.
    """

    frame: pd.DataFrame
    source: Source

    @classmethod
    def of(cls, given: "AnyTable", name: str) -> "Table":
        """The table; one in memory is called by a name."""
        return given if isinstance(given, Table) else cls(given, Source(name))


AnyTable = pd.DataFrame | Table
"""A table in memory, or one with its place."""


@dataclasses.dataclass(frozen=True, eq=False)
class Column:
    """One column of a user's table.

    Attributes:
        name: its name.
        cells: the values as given, text without surrounding blanks.
        keys: the values as text, equal for a name held as text in one table and as a number in
            another; the empty text for an empty cell, where those are allowed.
        source: the table.
        spare: categories that the column declares and no row has, by key.
    """

    name: str
    cells: Names
    keys: Names
    source: Source
    spare: Mapping[str, object] = dataclasses.field(default_factory=dict)

    @classmethod
    def read(cls, frame: pd.DataFrame, name: str, source: Source) -> "Column":
        """The column of that name, in which no cell may be empty."""
        found = cls.read_with_gaps(frame, name, source)
        found.refuse_gaps()
        return found

    def refuse_gaps(self, otherwise: str = "") -> None:
        """Raise `InputError` for an empty cell; `otherwise` says what else can be done."""
        gap = np.flatnonzero(self.keys == "")
        if gap.size:
            hint = f"Fill it in or delete the row ({gap.size} such row(s)){otherwise}."
            raise self.source.error(f"column '{self.name}' has no value.", hint, gap[0])

    @classmethod
    def read_with_gaps(cls, frame: pd.DataFrame, name: str, source: Source) -> "Column":
        """The column of that name, in which cells may be empty."""
        column = frame[name]
        if isinstance(column.dtype, pd.CategoricalDtype):
            return cls._of_categories(column, name, source)
        if _is_text(column.dtype):
            keys = column.fillna("").str.strip().to_numpy(dtype=object)
            cells = keys
        elif pd.api.types.is_integer_dtype(column.dtype) and not column.hasnans:
            cells = column.to_numpy(dtype=object)
            keys = column.astype(str).to_numpy(dtype=object)
        else:
            return cls.of_cells(column, name, source)
        return cls(name, cells, _checked_keys(name, keys, source), source)

    @classmethod
    def _of_categories(cls, column: "pd.Series[Any]", name: str, source: Source) -> "Column":
        try:
            each = cls.of_cells(column.cat.categories, name, Source(source.name))
        except InputError:
            return cls.of_cells(column, name, source)  # which knows the row
        codes = column.cat.codes.to_numpy()
        cells, keys = (
            np.append(names, as_names([gap]))[codes]
            for names, gap in ((each.cells, None), (each.keys, ""))
        )
        is_used = np.isin(np.arange(len(each.keys)), codes)
        used = set(each.keys[is_used]) | {""}
        spare = {
            key: cell for key, cell in zip(each.keys, each.cells, strict=True) if key not in used
        }
        return cls(name, cells, keys, source, spare)

    @classmethod
    def of_cells(cls, given: Iterable[object], name: str, source: Source) -> "Column":
        """A column of any cells, which may be empty."""
        cells = as_names(_plain_cell(cell) for cell in given)
        keys = as_names("" if cell is None else str(cell) for cell in cells)
        return cls(name, cells, _checked_keys(name, keys, source), source)

    def entries(self, kept: npt.NDArray[np.integer]) -> "Column":
        """Some of the rows, by position; they keep their numbers."""
        before = self.source.kept
        source = dataclasses.replace(self.source, kept=kept if before is None else before[kept])
        return dataclasses.replace(
            self, cells=self.cells[kept], keys=self.keys[kept], source=source
        )

    def without(self, keys: Collection[str]) -> "Column":
        """The rows with other keys than these."""
        if not keys:
            return self
        return self.entries(np.flatnonzero(~pd.Series(self.keys).isin(list(keys)).to_numpy()))

    def declaring_none_of(self, keys: Iterable[str]) -> "Column":
        """The column, with some of its spare categories not declared."""
        left = {key: name for key, name in self.spare.items() if key not in set(keys)}
        return dataclasses.replace(self, spare=left)

    def first(self, key: object) -> str:
        """The place of the first row with this key."""
        return self.source.row(int(np.flatnonzero(self.keys == key)[0]))


def _checked_keys(name: str, keys: Names, source: Source) -> Names:
    """The keys, empty where the text says that there is none."""
    try:
        text = pd.Series(keys, dtype="str")
    except UnicodeEncodeError as error:
        raise source.error(
            f"column '{name}' holds half a character, {error.object!r}.",
            "Write the table again as UTF-8.",
        ) from error
    unusable = np.flatnonzero(text.str.contains("\0", regex=False).to_numpy())
    if unusable.size:
        hint = "Remove it; the file may be damaged."
        raise source.error(f"column '{name}' holds a NUL character.", hint, unusable[0])
    is_gap = text.isin(_MISSING_TEXT).to_numpy()
    return np.where(is_gap, "", keys) if is_gap.any() else keys


def _plain_cell(cell: object) -> object:
    """A cell as a scalar that prints as users would write it; None for an empty one."""
    if isinstance(cell, str):
        return cell.strip()
    if cell is None or cell is pd.NA or cell is pd.NaT:
        return None
    if isinstance(cell, np.generic):
        cell = cell.item()
    if isinstance(cell, float) and cell.is_integer():
        return int(cell)  # an integer that a gap or a library turned into a float
    if isinstance(cell, float) and np.isnan(cell):
        return None
    return cell


def read_columns(
    frame: pd.DataFrame,
    aliases: Mapping[str, tuple[str, ...]],
    given: Mapping[str, str],
    source: Source,
    *,
    optional: Collection[str] = (),
    with_gaps: Collection[str] = (),
) -> dict[str, Column]:
    """The columns that play each role.

    Args:
        frame: a user's table.
        aliases: roles, and the column names that fit each.
        given: column names the user gave for roles.
        source: where the table comes from.
        optional: roles that need no column; such a role is left out where none fits.
        with_gaps: roles whose cells may be empty.

    Raises:
        InputError: if the table is empty, a role has no column or more than one, a column has two
            roles, or a cell is empty or no scalar.
    """
    if not len(frame):
        raise source.error("the table has no rows.", "Give at least one row of data.")
    columns = source.columns or frame.columns
    found = find_columns(columns, aliases, given, source, optional=optional)
    _check_scalars(frame[list(found.values())], source)
    return {
        role: (Column.read_with_gaps if role in with_gaps else Column.read)(frame, name, source)
        for role, name in found.items()
    }


def find_columns(
    columns: Collection[Any],
    aliases: Mapping[str, tuple[str, ...]],
    given: Mapping[str, str],
    source: Source,
    *,
    optional: Collection[str] = (),
) -> dict[str, str]:
    """Names of the columns that play each role; see `read_columns`.

    Raises:
        InputError: if a role has no column or more than one, or a column has two roles.
    """
    unknown = set(given) - set(aliases)
    if unknown:
        raise source.error(
            f"there is no role {sorted(unknown)} to name a column for.",
            f"The roles are {sorted(aliases)}.",
        )
    found = {
        role: _find_column(columns, role, names, given.get(role), source)
        for role, names in aliases.items()
        if role not in optional or role in given or _fitting(columns, names)
    }
    for role, name in found.items():
        others = [other for other in found if found[other] == name and other != role]
        if others:
            raise source.error(
                f"column '{name}' cannot be the {role} and the {others[0]} at once.",
                "Name another column for one of them.",
            )
    return found


def _check_scalars(frame: pd.DataFrame, source: Source) -> None:
    for name in frame.columns:
        column = frame[name]
        if isinstance(column.dtype, np.dtype) and not pd.api.types.is_object_dtype(column.dtype):
            continue
        if _is_text(column.dtype):
            continue
        if isinstance(column.dtype, pd.CategoricalDtype):
            if not any(_is_container(cell) for cell in column.cat.categories):
                continue
            column = column.astype(object)
        bad = np.flatnonzero([_is_container(cell) for cell in column])
        if bad.size:
            what = f"column '{name}' holds {column.iloc[bad[0]]!r}, which is neither text nor a"
            raise source.error(f"{what} number.", "Give text or numbers.", bad[0])


def _is_container(cell: object) -> bool:
    return isinstance(cell, Collection) and not isinstance(cell, str)


def _is_text(dtype: Any) -> bool:
    """Whether cells of this type are texts or gaps, and nothing else."""
    if isinstance(dtype, pd.ArrowDtype):
        return dtype.type is str
    return isinstance(dtype, pd.StringDtype)


def columns_for(
    roles: Mapping[str, tuple[str, ...]], given: Mapping[str, str] | None = None
) -> Callable[[object], bool]:
    """Whether a column of some name may play one of the roles, and so has to be read."""
    aliases = {alias for names in roles.values() for alias in names}
    named = set((given or {}).values())
    return lambda name: name in named or str(name).strip().lower() in aliases


def columns_of_probs(name: object) -> bool:
    """Whether a column of some name may hold examples or class probabilities."""
    return str(name).startswith(PROB_PREFIX) or columns_for(EXAMPLE_ROLE)(name)


def read_class_probs(
    frame: pd.DataFrame, source: Source
) -> tuple[list[str], npt.NDArray[np.float64]]:
    """Keys of the classes and their probabilities in each row, from columns called prob_<class>.

    Raises:
        InputError: if there are no two such columns, or a row is no distribution.
    """
    columns = [column for column in frame.columns if str(column).startswith(PROB_PREFIX)]
    if len(columns) < 2:
        raise source.error(
            f"no two columns are called {PROB_PREFIX}<class>.",
            "Give the examples table that aggregate wrote, or one column per class.",
        )
    found = frame[columns]
    if all(pd.api.types.is_numeric_dtype(dtype) for dtype in found.dtypes):
        probs = found.to_numpy(np.float64, na_value=np.nan)
    else:  # at once, not column by column: there may be very many
        cells = pd.Series(found.to_numpy(object).ravel(), dtype=object)
        probs = pd.to_numeric(cells, errors="coerce").to_numpy(np.float64).reshape(found.shape)
    bad = np.flatnonzero(~((probs >= 0.0) & (probs <= 1.0)).all(axis=1))
    bad = bad if bad.size else np.flatnonzero(np.abs(probs.sum(axis=1) - 1.0) > 1e-3)
    if bad.size:
        what = f"the probabilities {probs[bad[0]].tolist()} are no distribution."
        raise source.error(what, "Give numbers in [0, 1] that sum to 1.", bad[0])
    return [str(column).removeprefix(PROB_PREFIX).strip() for column in columns], probs


def distinct_examples(example: Column, truth: Column) -> npt.NDArray[np.intp]:
    """Positions of the first row of every example.

    Raises:
        InputError: if an example has two different true labels.
    """
    rows = pd.DataFrame({"example": example.keys, "truth": truth.keys})
    first = rows.groupby("example", sort=False)["truth"].transform("first").to_numpy()
    contradicts = np.flatnonzero(first != truth.keys)
    if contradicts.size:
        at = contradicts[0]
        raise example.source.error(
            f"example '{example.keys[at]}' is '{first[at]}' in an earlier row and "
            f"'{truth.keys[at]}' here.",
            "Keep one true label per example.",
            at,
        )
    return np.flatnonzero(~rows.duplicated("example").to_numpy())


def check_one_row_each(names: Column) -> None:
    """Raise `InputError` if an example has two rows."""
    twice = np.flatnonzero(pd.Index(names.keys).duplicated())
    if twice.size:
        what = f"example '{names.keys[twice[0]]}' has more than one row."
        raise names.source.error(what, "Give one row per example.", twice[0])


def positions(index: Names | list[str], keys: Names) -> npt.NDArray[np.intp]:
    """Position of every key in `index`, -1 where it is not there."""
    return pd.Index(index, dtype=object).get_indexer(pd.Index(keys, dtype=object))


def as_names(values: Iterable[object]) -> Names:
    """The values as an array of objects, whatever they are."""
    listed = list(values)
    array = np.empty(len(listed), object)
    array[:] = listed
    return array


def _fitting(columns: Collection[Any], aliases: tuple[str, ...]) -> list[Any]:
    """The columns whose names are aliases."""
    return [column for column in columns if str(column).strip().lower() in aliases]


def _find_column(
    columns: Collection[Any], role: str, aliases: tuple[str, ...], given: str | None, source: Source
) -> str:
    """The column that plays `role`: the one given, or the one whose name is an alias."""
    shown = ", ".join(f"'{column}'" for column in list(columns)[:_SHOWN_COLUMNS])
    shown += f", ... ({len(columns)} in all)" if len(columns) > _SHOWN_COLUMNS else ""
    if given is not None:
        named = [column for column in columns if column == given]
        if len(named) == 1:
            return given
        how_many = "more than one" if named else "no"
        what = f"{how_many} column is called '{given}', for the {role}."
        raise source.error(what, f"The columns are {shown}.")
    found = _fitting(columns, aliases)
    if len(found) == 1:
        return str(found[0])
    if found:
        both = " and ".join(f"'{column}'" for column in found)
        what = f"columns {both} could each hold the {role}."
        raise source.error(what, f"Say which one: name the {role} column.")
    wanted = ", ".join(f"'{alias}'" for alias in aliases)
    raise source.error(
        f"no column holds the {role}: the columns are {shown}.",
        f"Call it one of {wanted} in a header line, or name the {role} column.",
    )
