"""Tables of other shapes as one row per answer: a column an annotator, and counts of answers."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from gtx_bayes.classes import some_names
from gtx_bayes.columns import (
    ANSWER_ROLES,
    EXAMPLE_ROLE,
    TRUTH_COLUMNS,
    Column,
    Source,
    Table,
    find_columns,
    fits,
    in_roles,
    is_of_known_labels,
    read_columns,
)
from gtx_bayes.errors import InputError, WarningNote

ANYONE = "anyone"
"""Who gives answers that are only counted."""

Which = bool | Sequence[str]
"""All the columns but that of the example, or those named."""

_MOST_ANSWERS = 2**31  # that counts may come to
_FEW = 0.5  # distinct answers for each answer at most, in a table taken for a wide one unasked

_LONG = {"example": "task", "labeler": "worker", "label": "label"}

_INDEX = ("", "unnamed: 0")
"""Names of the column in which R and pandas write the names of rows."""


@dataclasses.dataclass(frozen=True)
class Shape:
    """What a table is, if not one row per answer.

    Attributes:
        wide: each of these columns holds the answers of an annotator, blank where there is none;
            told by the table when absent.
        count_column: says how many gave the row's answer.
        counts: each of these columns holds how many gave the answer it is called by.
    """

    wide: Which | None = None
    count_column: str | None = None
    counts: Which | None = None

    def check(self) -> None:
        """Raise `InputError` where two of these are said."""
        for name in ("wide", "counts"):
            given = getattr(self, name)
            is_list = isinstance(given, Sequence) and all(isinstance(one, str) for one in given)
            if given is not None and not isinstance(given, bool) and not is_list:
                raise InputError(
                    f"`{name}` names no columns.", where=name, hint="Give a list of names, or True."
                )
        names = [one.name for one in dataclasses.fields(self) if getattr(self, one.name)]
        if len(names) > 1:
            raise InputError(
                f"{names[0]} and {names[1]} are both said of the table.",
                where=names[1],
                hint="Say one of them.",
            )
        for name in ("wide", "counts"):
            if isinstance(getattr(self, name), str):
                raise InputError(
                    f"`{name}` is a text, not several columns.", hint="Give a list, or True."
                )

    def needs_all_columns(
        self, columns: Collection[Any], roles: Mapping[str, str] | None = None
    ) -> bool:
        """Whether a table with these columns has another shape, or may have."""
        return any((self.wide, self.count_column, self.counts)) or (
            self.wide is None and _lacks_answers(columns, roles or {})
        )


def as_long(table: Table, columns: Mapping[str, str] | None, shape: Shape) -> Table:
    """One row per answer, whatever the shape of the table; the table itself if it has that.

    Args:
        table: the table.
        columns: its columns by role, where no alias fits.
        shape: what it is.

    Raises:
        InputError: for columns that are not there, and counts that are no whole numbers.
    """
    shape.check()
    if table.roles is not None or not isinstance(table.frame, pd.DataFrame):
        return table
    named = in_roles(columns or {}, ANSWER_ROLES)
    if shape.count_column is not None:
        return _of_counted_rows(table, named, shape.count_column)
    if shape.counts:
        return _of_counts(table, named, shape.counts)
    if shape.wide:
        return _of_annotators(table, named, shape.wide)
    if shape.wide is None and _is_wide(table, named):
        return _of_annotators(table, named, wide=True)
    return table


def _lacks_answers(columns: Collection[Any], named: Mapping[str, str]) -> bool:
    """Whether there are examples, nobody who answers and no answer, and some columns more."""
    roles = {role for role in ANSWER_ROLES if role in named or fits(columns, role, ANSWER_ROLES)}
    return roles == {"example"} and len(columns) > 2


def _is_wide(table: Table, named: Mapping[str, str]) -> bool:
    """Whether every other column holds values that stand in others too, and few of them."""
    if not _lacks_answers(table.frame.columns, named):
        return False
    _, others = _columns(table, named, wanted=True)
    cells = [Column.read_with_gaps(table.frame, name, table.source).keys for name in others]
    given = [set(keys) - {""} for keys in cells]
    number = sum(int((keys != "").sum()) for keys in cells)
    if len(others) < 2 or not all(given) or len(set.union(*given)) > _FEW * number:
        return False
    return all(
        any(mine & theirs for at, theirs in enumerate(given) if at != which)
        for which, mine in enumerate(given)
    )


def _columns(
    table: Table, named: Mapping[str, str], wanted: Which, is_about: str = "annotators"
) -> tuple[Column, list[str]]:
    """The examples, and the other columns, or those of them that are wanted."""
    frame, source = table.frame, table.source
    of_example = {role: name for role, name in named.items() if role == "example"}
    if of_example or fits(frame.columns, "example", EXAMPLE_ROLE):
        name = find_columns(frame.columns, EXAMPLE_ROLE, of_example, source)["example"]
        example = read_columns(frame, EXAMPLE_ROLE, of_example, source)["example"]
    elif len(blank := [one for one in frame.columns if str(one).strip().lower() in _INDEX]) == 1:
        name, example = str(blank[0]), Column.read(frame, blank[0], source)
    elif isinstance(frame.index, pd.RangeIndex) and source.name != "labels":
        raise source.error(
            f"no column holds the example, beside those of {is_about}.",
            "Name it as the column of the task.",
        )
    else:
        name, example = "", Column.of_cells(frame.index, "index", source)
    if wanted is True:
        known = _known_columns(frame.columns, is_about)
        others = [str(one) for one in frame.columns if str(one) not in (name, *known)]
    else:
        assert not isinstance(wanted, bool)
        others = list(wanted)
    missing = [one for one in others if one not in frame.columns]
    if missing:
        raise source.error(
            f"there is no column {some_names(missing)}, named as one of {is_about}.",
            f"The columns are {some_names(list(frame.columns))}.",
        )
    return example, others


def _known_columns(columns: Collection[Any], is_about: str) -> list[str]:
    """The columns of a table that look like known labels; a class may have many of their names."""
    if is_about == "classes":
        known = {*TRUTH_COLUMNS} - {*ANSWER_ROLES["label"]}
        return [str(one) for one in columns if str(one).strip().lower() in known]
    return [
        str(one)
        for one in columns
        if is_of_known_labels(one) or str(one).strip().lower() in ANSWER_ROLES["label"]
    ]


def _of_annotators(table: Table, named: Mapping[str, str], wide: Which) -> Table:
    example, others = _columns(table, named, wide)
    columns = [Column.read_with_gaps(table.frame, name, table.source) for name in others]
    is_given = np.stack([column.keys != "" for column in columns], axis=1)
    row, annotator = np.nonzero(is_given)
    cells = np.stack([column.cells for column in columns], axis=1)
    frame = pd.DataFrame(
        {
            "task": example.cells[row],
            "worker": np.array(others, object)[annotator],
            "label": cells[row, annotator],
        }
    )
    what = f"{table.source.name}: read as one column an annotator ({some_names(others)})."
    numbers = [pd.to_numeric(pd.Series(column.keys), errors="coerce") for column in columns]
    is_of_numbers = wide is True and all(
        (one.notna() | (one.isna() & (column.keys == ""))).all()
        for one, column in zip(numbers, columns, strict=True)
    )
    note = (
        WarningNote(f"{what} If the numbers say how many gave each answer, say `counts=`.")
        if is_of_numbers
        else what
    )
    long = _long(table, frame, row, note, is_counted=False)
    return _with_known(long, table, wide, "annotators")


def _with_known(long: Table, table: Table, wanted: Which, is_about: str) -> Table:
    """The answers of a table, with the names of its columns that were not read, if not asked."""
    known = _known_columns(table.frame.columns, is_about) if wanted is True else ()
    return dataclasses.replace(long, known_columns=tuple(known))


def _of_counted_rows(table: Table, named: Mapping[str, str], count_column: str) -> Table:
    roles = {**ANSWER_ROLES, "count": (count_column.strip().lower(),)}
    given = {**named, "count": count_column}
    with_gaps = ("label", "count")
    found = read_columns(
        table.frame, roles, given, table.source, optional=("labeler",), with_gaps=with_gaps
    )
    times = _whole_numbers(found["count"])
    row = np.repeat(np.arange(len(table.frame)), times)
    labeler = found.get("labeler")
    frame = pd.DataFrame(
        {
            "task": found["example"].cells[row],
            "worker": ANYONE if labeler is None else labeler.cells[row],
            "label": found["label"].cells[row],
        }
    )
    note = f"{table.source.name}: '{count_column}' says how often each answer was given."
    return _long(table, frame, row, note, is_counted=True)


def _of_counts(table: Table, named: Mapping[str, str], counts: Which) -> Table:
    example, others = _columns(table, named, counts, "classes")
    columns = [Column.read_with_gaps(table.frame, name, table.source) for name in others]
    times = np.stack([_whole_numbers(column) for column in columns], axis=1)
    row, label = (
        np.repeat(part, times.ravel())
        for part in (
            np.repeat(np.arange(times.shape[0]), times.shape[1]),
            np.tile(np.arange(times.shape[1]), times.shape[0]),
        )
    )
    frame = pd.DataFrame(
        {
            "task": example.cells[row],
            "worker": ANYONE,
            "label": pd.Categorical.from_codes(label, categories=pd.Index(others, dtype=object)),
        }
    )
    note = f"{table.source.name}: read as counts of the answers {some_names(others)}."
    return _with_known(_long(table, frame, row, note, is_counted=True), table, counts, "classes")


def _long(
    table: Table,
    frame: pd.DataFrame,
    row: npt.NDArray[np.intp],
    note: str,
    *,
    is_counted: bool,
) -> Table:
    """A table of answers, each of which knows its row in the table they come from."""
    if not len(frame):
        raise table.source.error("the table holds no answer.", "Give at least one.")
    before = table.source
    at = row if before.kept is None else before.kept[row]
    source = Source(before.name, before.first_row, before.rows, kept=at)
    return Table(frame, source, table.gold, _LONG, (*table.notes, note), is_counted)


def _whole_numbers(column: Column) -> npt.NDArray[np.int64]:
    """The cells as counts; blank ones are none.

    Raises:
        InputError: for anything but whole numbers from 0 on, and more than memory could hold.
    """
    values = pd.to_numeric(
        pd.Series(np.where(column.keys == "", "0", column.keys)), errors="coerce"
    )
    numbers = values.to_numpy(np.float64)
    is_whole = np.isfinite(numbers) & (numbers == np.floor(numbers)) & (numbers >= 0)
    bad = np.flatnonzero(~is_whole)
    if bad.size:
        raise column.source.error(
            f"the count '{column.keys[bad[0]]}' in column '{column.name}' is no whole number.",
            "Give how many gave the answer, from 0 on; shares are no counts.",
            bad[0],
        )
    if numbers.sum() > _MOST_ANSWERS:
        raise column.source.error(
            f"column '{column.name}' counts {numbers.sum():.0f} answers.",
            f"Give tables of at most {_MOST_ANSWERS} answers.",
        )
    return numbers.astype(np.int64)
