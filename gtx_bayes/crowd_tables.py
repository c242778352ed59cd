"""Tables of answers and of gold: their columns, repeated answers, and what to note of them."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from gtx_bayes.abstentions import BLANK_HINT, Blank, check_blank
from gtx_bayes.classes import some_names
from gtx_bayes.columns import (
    ANSWER_ROLES,
    TRUTH_ROLES,
    Column,
    Names,
    Table,
    as_names,
    is_of_known_labels,
    note_of_guesses,
    read_columns,
)
from gtx_bayes.errors import InputError, WarningNote

Duplicates = Literal["error", "first", "last", "all"]
Indices = npt.NDArray[np.int64]

BLANK_NAME = "(blank)"
"""What a blank answer is called where it is kept as an answer."""

_COUNT_COLUMNS = (
    *("count", "counts", "n", "num", "freq", "frequency", "votes", "num_votes", "n_votes"),
    *("weight", "weights"),
)


def kept_abstentions(keys: Sequence[str], blank: Blank) -> list[str]:
    """The answers that are no class: the empty text stands for blank ones.

    Raises:
        InputError: if there are none.
    """
    others = [*keys, *([""] if blank == "abstain" else [])]
    if not others:
        raise InputError(
            "there are no abstentions to keep.",
            hint='Name them in `abstain`, or say `blank="abstain"`.',
        )
    return others


def names_of_others(keys: Sequence[str]) -> Names:
    """Names of answers that are no class, from their keys."""
    return as_names(key or BLANK_NAME for key in keys)


def check_duplicates(duplicates: str | None) -> None:
    """Raise `InputError` unless this says which of contradictory answers count."""
    if duplicates not in get_args(Duplicates):
        raise InputError(
            f"duplicates is '{duplicates}'.", hint=f"Choose one of {get_args(Duplicates)}."
        )


def read_answers(
    table: Table, columns: Mapping[str, str] | None, blank: Blank = "error"
) -> dict[str, Column]:
    """The columns "example", "labeler" and "label" of a table of answers.

    Args:
        table: the table.
        columns: columns by role, where no alias fits.
        blank: what a blank answer is; if no error its key is the empty text.

    Raises:
        InputError: for anything wrong in the table.
    """
    check_blank(blank)
    named = table.roles or columns or {}
    read = read_columns(table.frame, ANSWER_ROLES, named, table.source, with_gaps=("label",))
    if blank == "error":
        read["label"].refuse_gaps(BLANK_HINT)
    return read


def read_groups(table: Table, name: str, labelers: Column) -> dict[str, str]:
    """The group of every labeler, by key, from a column of a table of answers.

    Args:
        table: the table.
        name: the column.
        labelers: the column of the labelers.

    Raises:
        InputError: if there is no such column, or a labeler is in two groups.
    """
    if name not in table.frame:
        raise table.source.error(
            f"there is no column '{name}' with the groups of the labelers.",
            "Name a column of the table of answers, as it is spelt there.",
        )
    return one_value_each(
        table,
        name,
        labelers,
        lambda key, first, now: f"labeler '{key}' is in the groups '{first}' and '{now}'.",
        "Give every labeler one group.",
    )


def one_value_each(
    table: Table, name: str, of: Column, what: Callable[[str, str, str], str], hint: str
) -> dict[str, str]:
    """The cells of a column by the key of their row; blank where they are.

    Args:
        table: the table.
        name: the column.
        of: whose values they are.
        what: what is wrong where one has two, from its key, its first value and the one now.
        hint: how to mend it.

    Raises:
        InputError: if a key has two values.
    """
    cells = Column.read_with_gaps(table.frame, name, table.source)
    found: dict[str, str] = {}
    for row, (key, value) in enumerate(zip(of.keys, cells.keys, strict=True)):
        if (first := found.setdefault(key, value)) != value:
            raise table.source.error(what(key, first, value), hint, row)
    return found


def read_truths(
    table: Table,
    columns: Mapping[str, str] | None,
    notes: list[str],
    abstain: Sequence[str] = (),
) -> dict[str, Column]:
    """The columns "example" and "label" of a table of gold, of the rows that have a label.

    Args:
        table: the table.
        columns: columns by role, where no alias fits.
        notes: the rows left out are noted there.
        abstain: labels that say nothing about the class.

    Raises:
        InputError: for anything wrong in the table, or if no row has a label.
    """
    source = table.source
    named = table.roles or columns or {}
    read = read_columns(table.frame, TRUTH_ROLES, named, source, with_gaps=("label",))
    read["label"] = read["label"].declaring_none_of(abstain)
    is_known = ~pd.Series(read["label"].keys).isin(["", *abstain]).to_numpy()
    if is_known.all():
        return read
    if not is_known.any():
        raise source.error(
            f"column '{read['label'].name}' has no value in any row.",
            "Fill in the labels that are known, or leave the table out.",
        )
    notes.append(f"{source.name}: {np.sum(~is_known)} row(s) without a label are left out.")
    known = np.flatnonzero(is_known)
    return {role: column.entries(known) for role, column in read.items()}


class Repeats(NamedTuple):
    """Answers of a labeler to an example beyond the first.

    Attributes:
        kept: positions of the answers to keep.
        num_repeats: how many there are.
        contradicting: positions of those that differ from the first.
        num_pairs: how many pairs of labeler and example those belong to.
    """

    kept: npt.NDArray[np.intp]
    num_repeats: int
    contradicting: npt.NDArray[np.intp]
    num_pairs: int


def find_repeats(
    example: npt.NDArray[np.integer],
    labeler: npt.NDArray[np.integer],
    label: npt.NDArray[np.integer],
    duplicates: Duplicates,
) -> Repeats:
    """Which answers repeat another, and which to keep; contradictions are not refused here."""
    rows = pd.DataFrame({"example": example, "labeler": labeler, "label": label})
    pair = ["example", "labeler"]
    again = rows.duplicated(pair).to_numpy()
    if not again.any():
        return Repeats(np.arange(len(rows)), 0, np.zeros(0, np.intp), 0)
    first_label = rows.groupby(pair, sort=False)["label"].transform("first").to_numpy()
    contradicting = np.flatnonzero(first_label != label)
    num_pairs = len(rows.iloc[contradicting].drop_duplicates(pair))
    kept = np.arange(len(rows))
    if duplicates != "all":
        keep: Literal["first", "last"] = "last" if duplicates == "last" else "first"
        kept = np.flatnonzero(~rows.duplicated(pair, keep=keep).to_numpy())
    return Repeats(kept, int(again.sum()), contradicting, num_pairs)


def drop_duplicates(
    answers: dict[str, Column],
    example: Indices,
    labeler: Indices,
    label: Indices,
    duplicates: Duplicates,
    notes: list[str],
) -> npt.NDArray[np.intp]:
    """Positions of the answers to keep."""
    found = find_repeats(example, labeler, label, duplicates)
    if duplicates == "error" and found.contradicting.size:
        at = found.contradicting[0]
        before = int(np.flatnonzero((example == example[at]) & (labeler == labeler[at]))[0])
        there = f"with '{answers['label'].keys[before]}' in row "
        there += str(answers["label"].source.number(before))
        raise row_contradicts(answers, at, there, "", f"{found.num_pairs} such pair(s)")
    num_dropped = example.size - found.kept.size
    note_repeats(found.num_repeats, num_dropped, found.num_pairs, duplicates, notes)
    return found.kept


def row_contradicts(
    answers: dict[str, Column], at: int | np.integer, before: str, after: str, number: str
) -> InputError:
    """What to say of the answer in a row and another one, which stands before or after it."""
    here = f"with '{answers['label'].keys[at]}' here"
    how = " and ".join(filter(None, (before, here, after)))
    labeler, example = (str(answers[role].keys[at]) for role in ("labeler", "example"))
    where = answers["label"].source.row(at)
    return contradiction(labeler, example, how, where, f" ({number})")


def contradiction(labeler: str, example: str, how: str, where: str, number: str = "") -> InputError:
    """What to say of a labeler who answered an example in two ways."""
    return InputError(
        f"'{labeler}' answered '{example}' {how}.",
        where=where,
        hint=f"Say which count{number}: "
        '`duplicates="first"`, `duplicates="last"` or `duplicates="all"`.',
    )


def note_repeats(
    num_repeats: int, num_dropped: int, num_pairs: int, duplicates: Duplicates, notes: list[str]
) -> None:
    """Note what became of repeated answers."""
    if not num_repeats:
        return
    if duplicates == "all":
        notes.append(f"{num_repeats} repeated answers of a labeler to an example all count.")
        return
    keep = "last" if duplicates == "last" else "first"
    note = f"{num_dropped} repeated answers of a labeler to an example were dropped"
    contradiction = f"; in {num_pairs} pair(s) they contradict, and the {keep} counts"
    notes.append(note + (contradiction if num_pairs else "") + ".")


def note_left_out(
    other_names: Names | Sequence[str], covariates: Sequence[str], notes: list[str]
) -> None:
    """Warn of what a model does not take: answers that are no class, and covariates."""
    if len(other_names):
        what = f"{some_names(other_names)} count as abstentions: the model knows the classes alone."
        notes.append(WarningNote(f"{what} Name a model that learns from them."))
    if covariates:
        what = f"The model takes no covariates: {some_names(covariates)}."
        notes.append(WarningNote(f"{what} Name one that does, or leave them out."))


def note_unlabelled(where: str, number: int, names: Any) -> WarningNote:
    """What is to be said of gold examples that nobody labelled."""
    return WarningNote(
        f"{where}: {number} gold example(s) that nobody labelled are left out: {some_names(names)}."
    )


def note_unread_columns(
    table: Table,
    read: dict[str, Column],
    columns: Mapping[str, str] | None,
    notes: list[str],
    *,
    has_gold: bool = False,
) -> None:
    """Note which columns of a table of answers were guessed, and which should perhaps be read.

    Args:
        table: the table.
        read: the columns that are read.
        columns: those the user gave for roles.
        notes: added to.
        has_gold: whether known labels are given.
    """
    used = {role: column.name for role, column in read.items()}
    names = table.source.columns or tuple(table.frame.columns)
    where = table.source.name
    known = [WarningNote(_of_known_labels(where, name)) for name in table.known_columns]
    notes += [] if has_gold else known
    if table.roles is None:
        note_columns(names, used, columns, where, notes, has_gold=has_gold)
    else:
        _note_unread_count(names, used.values(), where, notes)


def note_columns(
    names: Sequence[Any],
    used: Mapping[str, str],
    columns: Mapping[str, str] | None,
    where: str,
    notes: list[str],
    *,
    has_gold: bool,
) -> None:
    """Note the same of a table with one row per answer, by the names of its columns.

    Args:
        names: all of them.
        used: those that are read, by role.
        columns: those the user gave for roles.
        where: what the table is called.
        notes: added to.
        has_gold: whether known labels are given.
    """
    guesses = note_of_guesses(names, used, columns or {})
    notes += [] if guesses is None else [f"{where}: {guesses}"]
    left = [name for name in names if name not in used.values() and is_of_known_labels(name)]
    notes += [] if has_gold else [_of_known_labels(where, name) for name in left]
    _note_unread_count(names, used.values(), where, notes)


def _of_known_labels(where: str, name: object) -> str:
    return (
        f"{where}: column '{name}' looks like known labels and is not read; if it is, give the "
        f'file as `gold=` too, with `gold_columns={{"label": "{name}"}}`.'
    )


def _note_unread_count(
    columns: Iterable[Any], used: Collection[str], source_name: str, notes: list[str]
) -> None:
    """Note a column that seems to say how often an answer was given: each row counts once."""
    for name in columns:
        if str(name).strip().lower() in _COUNT_COLUMNS and name not in used:
            what = f"{source_name}: column '{name}' is not used: every row counts as one answer."
            hint = "If it says how many gave that answer, name it as the column of counts."
            notes.append(WarningNote(f"{what} {hint}"))
