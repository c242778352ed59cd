"""More answers and gold for a crowd there is: matched to it by name, checked once."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
import numpy.typing as npt
import pandas as pd
from jaxtyping import Array

from gtx_bayes.abstentions import (
    Abstentions,
    Blank,
    Spoken,
    abstain_keys,
    looks_like_abstention,
    note_alone,
    set_aside,
)
from gtx_bayes.columns import Column, Names, Source, distinct_examples, numbered_classes
from gtx_bayes.covariates import Covariates, Table, of_answers, of_each
from gtx_bayes.crowd import (
    BLANK_NAME,
    Crowd,
    Duplicates,
    check_duplicates,
    drop_duplicates,
    note_alike_names,
    note_unlabelled,
    note_unread_columns,
    number_names,
    read_answers,
    read_truths,
    table_of,
)
from gtx_bayes.errors import InputError
from gtx_bayes.labels import MISSING, Assessment, Labels

Indices = npt.NDArray[np.int64]


class Growth(NamedTuple):
    """A crowd with more answers or gold than before.

    Attributes:
        crowd: the whole crowd; what was there keeps its index, what is new follows. Its notes are
            those on the new tables.
        changed: examples whose answers are not those they were, in ascending order.
        new_gold: examples that are gold and were not, likewise.
        num_new_labels: how many answers came in.
    """

    crowd: Crowd
    changed: Indices
    new_gold: Indices
    num_new_labels: int


class _Answers(NamedTuple):
    """Answers by index, one entry each."""

    example: Indices
    labeler: Indices
    label: Indices

    def entries(self, kept: npt.NDArray[np.generic]) -> "_Answers":
        """Some of them, by position or by a mask."""
        return _Answers(self.example[kept], self.labeler[kept], self.label[kept])

    def pair(self, num_labelers: int) -> Indices:
        """A number for each pair of example and labeler."""
        return self.example * num_labelers + self.labeler


def grow_crowd(
    crowd: Crowd,
    labels: pd.DataFrame | None = None,
    gold: pd.DataFrame | None = None,
    *,
    duplicates: Duplicates = "error",
    abstain: Sequence[object] = (),
    blank: Blank = "error",
    labeler_covariates: pd.DataFrame | None = None,
    example_covariates: pd.DataFrame | None = None,
    columns: Mapping[str, str] | None = None,
    gold_columns: Mapping[str, str] | None = None,
    labels_source: Source | None = None,
    gold_source: Source | None = None,
    labeler_source: Source | None = None,
    example_source: Source | None = None,
) -> Growth:
    """Add what tables hold that the crowd does not.

    Tables may repeat what the crowd has: the whole of a growing export does as well as its new
    rows. Answers that are there already, of the same labeler to the same example, are skipped.

    Args:
        crowd: what there is.
        labels: one row per answer, as in `Crowd.from_frames`; none when absent.
        gold: one row per gold example, likewise.
        duplicates: what to do where a labeler answered one example differently, in the table or
            in the crowd: refuse, keep the first (the crowd's) or the last (the table's), or let
            all count.
        abstain: values that are abstentions, none of them a class of the crowd, as in
            `Crowd.from_frames`. Those that the crowd keeps as answers are kept, named or not.
        blank: what a blank answer is, likewise.
        labeler_covariates: the covariates of new labelers, where the crowd has such; those known
            keep the values they have. The covariates of answers are columns of `labels`.
        example_covariates: those of new examples, likewise.
        columns: column of `labels` for "example", "labeler" or "label", where no alias fits.
        gold_columns: column of `gold` for "example" or "label", likewise.
        labels_source: where `labels` comes from, for messages.
        gold_source: where `gold` comes from, for messages.
        labeler_source: where `labeler_covariates` comes from, for messages.
        example_source: where `example_covariates` comes from, for messages.

    Raises:
        InputError: for anything wrong in a table, a class that the crowd does not have, a
            covariate that is missing, and gold that contradicts the crowd's.
    """
    check_duplicates(duplicates)
    notes: list[str] = []
    keys = abstain_keys(abstain, crowd.class_names)
    grown, changed, num_new = crowd, np.zeros(0, np.int64), 0
    if labels is not None:
        rows = read_answers(labels, columns, labels_source, blank)
        note_unread_columns(labels, rows, notes)
        spoken = set_aside(rows, keys, blank, notes, _other_keys(crowd))
        starts = dict(crowd.starts)
        by_answer = of_answers(
            labels, list(crowd.labels.covariates), spoken.answers["label"], starts, notes
        )
        tables = {
            "labeler": table_of("labeler", labeler_covariates, labeler_source),
            "example": table_of("example", example_covariates, example_source),
        }
        grown, changed, num_new = _with_answers(
            crowd, spoken, by_answer, tables, starts, duplicates, notes
        )
        _check_no_times(starts, crowd)
        if grown.abstentions is not None:
            note_alone(int(np.sum(grown.labels.count_by_example() == 0)), notes)
    assessment = _extended(crowd.assessment, grown.labels.num_examples)
    new_gold = np.zeros(0, np.int64)
    if gold is not None:
        truths = read_truths(gold, gold_columns, gold_source, notes, [*keys, *_other_keys(crowd)])
        assessment, new_gold = _with_gold(grown, assessment, truths, notes)
    grown = dataclasses.replace(grown, assessment=assessment, notes=tuple(notes))
    return Growth(grown, changed, new_gold, num_new)


def _with_answers(
    crowd: Crowd,
    spoken: Spoken,
    by_answer: Covariates,
    tables: Mapping[str, Table | None],
    starts: dict[str, str],
    duplicates: Duplicates,
    notes: list[str],
) -> tuple[Crowd, Indices, int]:
    """The crowd with the answers it lacks, the examples they change, and how many they are."""
    columns = spoken.answers
    all_rows, example_names = _indexed(crowd.example_names, spoken.rows["example"])
    example, abstained_example = spoken.split(all_rows)
    all_rows, labeler_names = _indexed(crowd.labeler_names, spoken.rows["labeler"])
    labeler, abstained_labeler = spoken.split(all_rows)
    if len(labeler_names) > len(crowd.labeler_names):
        note_alike_names(labeler_names, "labelers", notes)
    if len(example_names) > len(crowd.example_names):
        note_alike_names(example_names, "examples", notes)
    label = _class_index(crowd, columns["label"])
    kept = drop_duplicates(columns, example, labeler, label, duplicates, notes)
    table = _Answers(example[kept], labeler[kept], label[kept])
    before = crowd.labels
    old = [np.asarray(part) for part in (before.example, before.labeler, before.label)]
    is_mentioned = np.zeros(len(example_names), bool)
    is_mentioned[table.example] = True
    rows = np.flatnonzero(is_mentioned[old[0]])
    mentioned = _Answers(*(part[rows].astype(np.int64) for part in old))
    is_new, is_replaced = _compare(
        columns, kept, table, mentioned, crowd, len(labeler_names), duplicates, notes
    )
    new, gone = table.entries(is_new), rows[is_replaced]
    changed = np.union1d(new.example, mentioned.example[is_replaced])
    order = np.argsort(new.example, kind="stable")
    new = new.entries(order)
    left = [np.delete(part, gone) if gone.size else part for part in old]
    at = np.searchsorted(left[0], new.example.astype(left[0].dtype), side="right")
    all_examples, all_labelers, all_labels = (
        _inserted(part, at, more) for part, more in zip(left, new, strict=True)
    )
    rows_of_new = kept[is_new][order]
    labels = Labels(
        all_examples,
        all_labelers,
        all_labels,
        num_examples=len(example_names),
        num_labelers=len(labeler_names),
        num_classes=before.num_classes,
        covariates={
            name: _inserted(np.delete(values, gone), at, by_answer[name][rows_of_new])
            for name, values in before.covariates.items()
        },
        labeler_covariates=_with_new(
            "labeler", before.labeler_covariates, labeler_names, tables, starts, notes
        ),
        example_covariates=_with_new(
            "example", before.example_covariates, example_names, tables, starts, notes
        ),
        num_answers=before.num_answers,
    )
    abstentions = crowd.abstentions
    if abstentions is not None or abstained_example.size:
        known = (np.zeros(0, np.int64),) * 2 if abstentions is None else abstentions
        pairs = zip(known, (abstained_example, abstained_labeler), strict=True)
        abstentions = Abstentions.beside(labels, *(np.concatenate(pair) for pair in pairs))
    grown = dataclasses.replace(
        crowd,
        labels=labels,
        example_names=example_names,
        labeler_names=labeler_names,
        abstentions=abstentions,
    )
    return grown, changed, new.example.size


def _inserted(
    part: npt.NDArray[np.generic], at: npt.NDArray[np.integer], more: npt.NDArray[np.generic]
) -> Array:
    return jax.device_put(np.insert(part, at, more.astype(part.dtype)))


def _with_new(
    role: str,
    before: dict[str, Array],
    names: Names,
    tables: Mapping[str, Table | None],
    starts: dict[str, str],
    notes: list[str],
) -> dict[str, Array]:
    """The covariates of labelers or of examples, with those of who is new after the others."""
    if not before:
        return {}
    size = next(iter(before.values())).size
    new = of_each(role, names[size:], tables[role], starts, notes, list(before))
    return {
        name: _inserted(np.asarray(values), np.full(len(names) - size, size), new[name])
        if name in new
        else values
        for name, values in before.items()
    }


def _check_no_times(starts: Mapping[str, str], crowd: Crowd) -> None:
    """Raise `InputError` if what the crowd has as numbers came as times."""
    for name in starts.keys() - crowd.starts.keys():
        raise InputError(
            f"covariate '{name}' holds times, and numbers in the fit.",
            mend="Give numbers on the scale of the fit's.",
        )


def _other_keys(crowd: Crowd) -> list[str]:
    """The answers that are no class as keys of a column."""
    return ["" if name == BLANK_NAME else str(name) for name in crowd.other_names]


def _indexed(names: Names, column: Column) -> tuple[Indices, Names]:
    """Index of each cell among the names, and the names with the column's new ones after them."""
    codes, first = number_names(column.keys)
    found = _find(names, column.keys[first])
    is_new = found < 0
    found[is_new] = len(names) + np.arange(is_new.sum())
    return found[codes], np.concatenate([names, column.cells[first[is_new]]])


def _find(names: Names, keys: Names) -> Indices:
    """Index of each key among the names, -1 where it is not there; no key twice."""
    wanted = {key: at for at, key in enumerate(keys)}
    # A table of the few keys, through which all names go, is quicker than one of all names.
    each = map(wanted.get, map(str, names), itertools.repeat(-1))
    at = np.fromiter(each, np.int64, len(names))
    found = np.full(len(keys), -1, np.int64)
    found[at[at >= 0]] = np.flatnonzero(at >= 0)
    return found


def _class_index(crowd: Crowd, column: Column) -> npt.NDArray[np.int64]:
    keys = [str(name) for name in crowd.class_names]
    index, unknown = numbered_classes(column, [*keys, *_other_keys(crowd)])
    if unknown:
        is_odd = looks_like_abstention(unknown[0], keys)
        raise InputError(
            f"label '{unknown[0]}' is none of the classes {keys} of the fit.",
            where=column.first(unknown[0]),
            mend="Mend the label, or fit all answers anew: a fit cannot grow by a class."
            + (" If it says nothing about the class, name it in `abstain`." if is_odd else ""),
        )
    return index.astype(np.int64)


def _compare(
    columns: dict[str, Column],
    kept: npt.NDArray[np.intp],
    table: _Answers,
    old: _Answers,
    crowd: Crowd,
    num_labelers: int,
    duplicates: Duplicates,
    notes: list[str],
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which answers of the table are new, and which of the old ones they replace."""
    num_answers = crowd.labels.num_answers
    pair, old_pair = table.pair(num_labelers), old.pair(num_labelers)
    triple, old_triple = pair * num_answers + table.label, old_pair * num_answers + old.label
    # With repeats that all count, the third of a kind is new where the crowd has two.
    distinct, times = np.unique(old_triple, return_counts=True)
    at = np.searchsorted(distinct, triple)
    has = np.append(times, 0)[np.where(np.append(distinct, -1)[at] == triple, at, times.size)]
    is_there = pd.Series(triple).groupby(triple).cumcount().to_numpy() < has
    if is_there.any():
        notes.append(f"{is_there.sum()} answers that the fit has already are skipped.")
    contradicts = ~is_there & np.isin(pair, old_pair)
    if duplicates == "all" or not contradicts.any():
        return ~is_there, np.zeros(old_pair.size, bool)
    number = f"{len(np.unique(pair[contradicts]))} pair(s) of labeler and example"
    if duplicates == "first":
        notes.append(f"New answers contradict the fit's in {number}; the fit's count.")
        return ~is_there & ~contradicts, np.zeros(old_pair.size, bool)
    if duplicates == "last":
        notes.append(f"New answers contradict the fit's in {number}; the new ones count.")
        return ~is_there, np.isin(old_pair, pair[contradicts])
    row = int(np.flatnonzero(contradicts)[0])
    there = int(old.label[old_pair == pair[row]][0])
    place = int(kept[row])
    raise InputError(
        f"'{columns['labeler'].keys[place]}' answers '{columns['example'].keys[place]}' with "
        f"'{columns['label'].keys[place]}' here and with '{crowd.answer_names[there]}' in the fit.",
        where=columns["label"].source.row(place),
        mend=f"Say which count ({number}): "
        '`duplicates="first"`, `duplicates="last"` or `duplicates="all"`.',
    )


def _extended(assessment: Assessment, num_examples: int) -> Assessment:
    known = np.asarray(assessment.true_label)
    room = num_examples - known.size
    return Assessment(
        jax.device_put(np.pad(known, (0, room), constant_values=MISSING)), assessment.num_classes
    )


def _with_gold(
    crowd: Crowd, assessment: Assessment, columns: dict[str, Column], notes: list[str]
) -> tuple[Assessment, Indices]:
    """The gold with that of a table, and which examples it is new for."""
    example, truth = columns["example"], columns["label"]
    kept = distinct_examples(example, truth)
    label = _class_index(crowd, truth)[kept]
    index = _find(crowd.example_names, example.keys[kept])
    unlabelled = example.keys[kept][index < 0]
    if unlabelled.size:
        notes.append(note_unlabelled(example.source.name, unlabelled.size, unlabelled))
    kept, label, index = kept[index >= 0], label[index >= 0], index[index >= 0]
    known = np.array(assessment.true_label)
    contradicts = np.flatnonzero((known[index] != MISSING) & (known[index] != label))
    if contradicts.size:
        at = int(contradicts[0])
        raise InputError(
            f"example '{example.keys[kept[at]]}' is '{truth.keys[kept[at]]}' here and was "
            f"'{crowd.class_names[known[index[at]]]}' in the fit.",
            where=example.source.row(int(kept[at])),
            mend="Mend the row, or fit all answers anew: a fit cannot unlearn gold.",
        )
    new_gold = index[known[index] == MISSING]
    known[index] = label
    return Assessment(jax.device_put(known), assessment.num_classes), np.sort(new_gold)
