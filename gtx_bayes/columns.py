"""The columns of a user's table that play a role, found by name and checked for gaps."""

import dataclasses
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from gtx_bayes.errors import InputError
from gtx_bayes.frames import as_frame

EXAMPLE_COLUMNS = ("task", "example", "item")
LABELER_COLUMNS = ("worker", "labeler", "rater", "annotator")
LABEL_COLUMNS = ("label", "rating")
TRUTH_COLUMNS = ("label", "true_label", "rating", "truth", "gold")

ANSWER_ROLES = {"example": EXAMPLE_COLUMNS, "labeler": LABELER_COLUMNS, "label": LABEL_COLUMNS}
TRUTH_ROLES = {"example": EXAMPLE_COLUMNS, "label": TRUTH_COLUMNS}
EXAMPLE_ROLE = {"example": EXAMPLE_COLUMNS}

# Names that mean these where no column has one of the names above, in order of precedence.
_ALSO = {
    "example": (
        ("task_id", "example_id", "item_id", "sample_id", "unit_id", "document_id", "doc_id"),
        ("instance", "instance_id", "question_id", "object_id", "subject", "unit", "sample"),
        ("id",),
        ("question",),
    ),
    "labeler": (
        ("judge", "worker_id", "labeler_id", "annotator_id", "rater_id", "judge_id", "labeller"),
        ("model", "coder", "reviewer", "grader", "evaluator", "judge_model", "model_name"),
        ("user", "user_id", "username", "user_name"),
    ),
    "label": (
        ("verdict", "vote", "judgment", "judgement", "annotation"),
        ("answer", "response", "class", "category", "choice", "grade"),
        ("score",),
    ),
}

_KNOWN_LABELS = {
    *("truth", "true", "y_true", "ground_truth", "groundtruth", "gold", "gold_standard", "target"),
    *("answer_key", "key", "expected", "correct", "reference", "consensus", "adjudicated", "final"),
    *(
        f"{word}_{what}"
        for word in ("true", "gold", "correct", "expected", "reference", "consensus", "adjudicated")
        for what in ("label", "answer", "class")
    ),
    *("ground_truth_label", "target_label", "final_label", "majority_label", "majority_vote"),
}
"""Names of columns with what is known, or was agreed on, and no answer of an annotator."""

PROB_PREFIX = "prob_"
"""What the name of a column of class probabilities begins with."""

Names = npt.NDArray[Any]
"""Names as the user gave them, text or numbers, by index."""

_UNDER_HEADER = 2  # number of the first row of a delimited text
_SHOWN_COLUMNS = 20  # in a message
_SHOWN_OTHERS = 3  # columns in a note
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
        instead: what may be given in place of the table, for hints.
        header_option: the argument that names the columns of such a table, if there is one.
    """

    name: str
    first_row: int = 0
    rows: tuple[str, ...] = ()
    columns: tuple[Any, ...] = ()
    kept: npt.NDArray[np.integer] | None = dataclasses.field(default=None, compare=False)
    instead: str = ""
    header_option: str = ""

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


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """A table and where it comes from: what `read_table` returns. Unpacks to frame and source.

    Attributes:
        frame: the table.
        source: its place, for messages.
        gold: the known labels that the same file holds, if any.
        roles: its columns by role, where a reader made them and the user's names do not count.
        notes: what a user should know about how it was read.
        is_counted: whether its rows are answers that were counted, nobody knowing who gave which.
        known_columns: those that look like known labels and were not read as answers.
    """

    frame: pd.DataFrame
    source: Source
    gold: "Table | None" = None
    roles: Mapping[str, str] | None = None
    notes: tuple[str, ...] = ()
    is_counted: bool = False
    known_columns: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Any]:
        yield from (self.frame, self.source)

    @classmethod
    def of(cls, given: object, name: str) -> "Table":
        """The table, of whatever kind; one in memory is called by a name.

        Raises:
            InputError: for what is no table.
        """
        return given if isinstance(given, Table) else cls(as_frame(given, name), Source(name))

    def known(self, gold: "AnyTable | None", notes: list[str]) -> "AnyTable | None":
        """The gold that counts: what was given, or else what the same file holds."""
        if self.gold is not None and gold is not None and gold is not self.gold:
            number = len(self.gold.frame)
            notes.append(f"{self.source.name}: its {number} labels of gold are not used.")
        return self.gold if gold is None else gold


AnyTable = Any
"""A table in memory of any kind that `frames.as_frame` takes, or one with its place."""


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
    frame, columns = _with_joined(frame, source.columns or tuple(frame.columns), given, source)
    found = find_columns(columns, aliases, given, source, optional=optional)
    _check_scalars(frame[list(found.values())], source)
    return {
        role: (Column.read_with_gaps if role in with_gaps else Column.read)(frame, name, source)
        for role, name in found.items()
    }


BETWEEN_PARTS = " / "
"""What stands between the parts of a name that has several."""


def _with_joined(
    frame: pd.DataFrame, columns: tuple[Any, ...], given: Mapping[str, str], source: Source
) -> tuple[pd.DataFrame, tuple[Any, ...]]:
    """The table with a column for each name given that is of several, "a,b", and all its names."""
    for name in given.values():
        parts = str(name).split(",")
        if name in frame.columns or len(parts) < 2 or not set(parts) <= set(frame.columns):
            continue
        cells = zip(*(Column.read(frame, part, source).keys for part in parts), strict=True)
        frame = frame.assign(**{name: [BETWEEN_PARTS.join(one) for one in cells]})
        columns = (*columns, name)
    return frame, columns


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
    given = in_roles(given, aliases)
    unknown = set(given) - set(aliases)
    if unknown:
        words = [f"'{role}' ({', '.join(names)})" for role, names in sorted(aliases.items())]
        raise source.error(
            f"there is no role {sorted(map(str, unknown))} to name a column for.",
            f"The roles are {'; '.join(words)}.",
        )
    found = {
        role: _find_column(columns, role, aliases, given.get(role), source)
        for role in aliases
        if role not in optional or role in given or fits(columns, role, aliases)
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
    aliases |= {one for role in roles for names in _also(role, roles) for one in names}
    names = list((given or {}).values())
    named = {*names, *(part for name in names for part in str(name).split(","))}
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
            f"Keep one true label per example{example.source.instead}.",
            at,
        )
    return np.flatnonzero(~rows.duplicated("example").to_numpy())


def note_of_guesses(
    columns: Iterable[Any], found: Mapping[str, str], given: Mapping[str, str]
) -> str | None:
    """What to say of the columns of answers that were found by their names; None if they are plain.

    Args:
        columns: names of all columns.
        found: those that play the roles of a table of answers.
        given: columns the user gave for roles.
    """
    given = in_roles(given, ANSWER_ROLES)
    roles = [role for role in ANSWER_ROLES if role not in given]
    weak = [role for role in roles if found[role].strip().lower() not in ANSWER_ROLES[role]]
    others = [
        (str(name), role)
        for role in roles
        if role in weak or role == "label"
        for name in columns
        if str(name) not in found.values() and _means(name, role)
    ]
    if not weak and not others:
        return None
    words = {role: ANSWER_ROLES[role][0] for role in ANSWER_ROLES}
    taken = ", ".join(f"{words[role]}: '{found[role]}'" for role in ANSWER_ROLES)
    also = [f'`columns={{"{words[role]}": "{name}"}}`' for name, role in others[:_SHOWN_OTHERS]]
    return f"taken as {taken}{'; these would fit too: ' if also else ''}{', '.join(also)}."


def _means(name: object, role: str) -> bool:
    """Whether a column of some name may play a role of tables of answers."""
    names = {*ANSWER_ROLES[role], *(one for rank in _ALSO[role] for one in rank)}
    return str(name).strip().lower() in names


def is_of_known_labels(name: object) -> bool:
    """Whether a column of some name looks like known labels."""
    return re.sub(r"[ \-]", "_", str(name).strip().lower()) in _KNOWN_LABELS


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


def in_roles(given: Mapping[str, str], aliases: Mapping[str, tuple[str, ...]]) -> Mapping[str, str]:
    """Columns by role, where they were given by a word of the tables, "task" or "worker"."""
    role_of = {alias: role for role, names in aliases.items() for alias in names}
    return {name if name in aliases else role_of.get(name, name): given[name] for name in given}


def _also(role: str, aliases: Mapping[str, tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    """Further names for a role of tables of answers and of gold, in order of precedence."""
    usual = {**ANSWER_ROLES, **TRUTH_ROLES}.get(role)
    if usual is None or aliases[role] not in (ANSWER_ROLES.get(role), TRUTH_ROLES.get(role)):
        return ()
    return _ALSO[role]


def fits(columns: Collection[Any], role: str, aliases: Mapping[str, tuple[str, ...]]) -> list[Any]:
    """The columns whose names mean a role: the first names by which there is one."""
    for names in (aliases[role], *_also(role, aliases)):
        if found := [column for column in columns if str(column).strip().lower() in names]:
            return found
    return []


def _find_column(
    columns: Collection[Any],
    role: str,
    aliases: Mapping[str, tuple[str, ...]],
    given: str | None,
    source: Source,
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
    found = fits(columns, role, aliases)
    if len(found) == 1:
        return str(found[0])
    if found:
        both = " and ".join(f"'{column}'" for column in found)
        what = f"columns {both} could each hold the {role}."
        raise source.error(what, f"Say which one: name the {role} column.")
    wanted = ", ".join(f"'{alias}'" for alias in aliases[role])
    hint = f"Call it one of {wanted} in a header line, or name the {role} column."
    if role == "labeler" and aliases == ANSWER_ROLES:
        hint += " If every labeler has a column, say `wide=`; if answers were counted, `counts=`."
    is_nameless = not any(fits(columns, one, aliases) for one in aliases)
    if source.header_option and source.first_row == _UNDER_HEADER and is_nameless:
        hint += f" If the first line is a row already, name the columns: `{source.header_option}=`."
    raise source.error(f"no column holds the {role}: the columns are {shown}.", hint)
