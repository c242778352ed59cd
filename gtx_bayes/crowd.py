"""A crowd as users hold it: tables of answers and gold, names and all, checked once."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypedDict

import jax
import jax.numpy as jnp
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
    no_answer,
    note_alone,
    note_look_alikes,
    note_unused,
    set_aside,
)
from gtx_bayes.agreement import agreement
from gtx_bayes.classes import (
    are_numbers,
    find_classes,
    note_alike_names,
    note_odd_classes,
    number_names,
    numbered_classes,
    some_names,
)
from gtx_bayes.columns import AnyTable, Column, Names, Table, as_names, distinct_examples
from gtx_bayes.covariates import Covariates, of_answers, of_each
from gtx_bayes.crowd_tables import (
    BLANK_NAME,
    Duplicates,
    check_duplicates,
    drop_duplicates,
    kept_abstentions,
    names_of_others,
    note_left_out,
    note_unlabelled,
    note_unread_columns,
    read_answers,
    read_groups,
    read_truths,
    row_contradicts,
)
from gtx_bayes.errors import InputError
from gtx_bayes.frames import check_columns, check_lists, check_texts, check_truths, library_of
from gtx_bayes.labels import MISSING, Assessment, Labels, check_num_classes
from gtx_bayes.shapes import ANYONE, Shape, Which, as_long

Indices = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, eq=False)
class Crowd:
    """Answers, gold labels, and the names that go with their indices.

    Attributes:
        labels: the answers.
        assessment: the gold labels.
        example_names: name of every example, in order of first appearance.
        labeler_names: name of every labeler, likewise.
        class_names: name of every class, in numeric order if all are numbers, else alphabetic.
        notes: what a user should know about how the tables were read.
        abstentions: who abstained on what; None if nothing was named that is an abstention, or if
            abstentions are kept as answers.
        other_names: name of every answer that is no class, in the order of their indices, which
            follow those of the classes.
        starts: what the covariates that are times are counted from, by column.
        groups: the group of every labeler, the empty text for none; None where none is given.
        library: the library of the table of answers, which tables of results are of; None for
            pandas.
        ordered: whether the classes are in an order that means something; None where it is not
            said.
    """

    labels: Labels
    assessment: Assessment
    example_names: Names
    labeler_names: Names
    class_names: Names
    notes: tuple[str, ...] = ()
    abstentions: Abstentions | None = None
    other_names: Names = dataclasses.field(default_factory=lambda: as_names([]))
    starts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    groups: Names | None = None
    library: str | None = None
    ordered: bool | None = None

    @classmethod
    def from_frames(
        cls,
        labels: AnyTable,
        gold: AnyTable | None = None,
        *,
        duplicates: Duplicates = "error",
        classes: Sequence[object] | None = None,
        abstain: Sequence[object] = (),
        blank: Blank = "error",
        keep_abstentions: bool = False,
        ordered: bool | None = None,
        covariates: Sequence[str] = (),
        labeler_covariates: AnyTable | None = None,
        example_covariates: AnyTable | None = None,
        groups: str | None = None,
        columns: Mapping[str, str] | None = None,
        gold_columns: Mapping[str, str] | None = None,
        wide: Which | None = None,
        count_column: str | None = None,
        counts: Which | None = None,
    ) -> "Crowd":
        """Check the tables and number their examples, labelers and classes.

        Every table is a data frame of pandas, Polars, Arrow or another library that narwhals
        knows, a list of dictionaries, a dictionary of lists, or a `columns.Table`, whose place
        errors name.

        Args:
            labels: one row per answer. Columns `task`, `worker`, `label`, or one of the aliases
                in `columns.ANSWER_ROLES`; others are ignored. The categories of a pandas
                categorical are classes, those that no row has too.
            gold: one row per gold example, columns `task`, `label` or an alias; or a Series or a
                dictionary of labels by task. Rows without a label are left out.
            duplicates: what to do where a labeler answered one example twice and differently:
                refuse, keep the first or the last answer, or let all of them count. Repeats of
                the same answer are dropped, unless all count.
            classes: every class there is, in the order wanted; found in the tables when absent.
            abstain: values that say nothing about the class, such as "unsure": no class, no
                answer, but counted for every labeler. An abstention counts once for a labeler and
                an example, and not where the labeler answered too.
            blank: what a blank answer is: an error, a row to drop, or an abstention.
            ordered: whether the classes are in an order, that of `classes` or of numbers, so that
                the ordinal model stands in the pool of models; when absent it does where all are
                numbers and answers keep to their order.
            keep_abstentions: keep abstentions as answers that are no class, for a model that
                learns from them; others count them as above.
            covariates: columns of `labels` that are numbers or times, for a model that takes
                them. Times, such as 2026-11-28 09:30, become days since the first.
            labeler_covariates: one row per labeler, its name in a column called as in `labels`;
                every column of numbers or times is a covariate.
            example_covariates: one row per example, likewise.
            groups: column of `labels` that names the group of the row's labeler, such as the
                family of a judge; blank for none. A group counts as one labeler, see `blocs`.
            columns: column of `labels` for "task", "worker" or "label", where no alias fits.
            gold_columns: column of `gold` for "task" or "label", likewise.
            wide: the columns of `labels` that are annotators, whose answers stand in them, one
                row per example: their names, or True for all but that of the example, or with
                none the index. Such a table is recognised where its columns share their values.
            count_column: column of `labels` that says how many gave the row's answer. Without a
                column of labelers nobody knows who: see `is_counted`.
            counts: the columns of `labels` that are classes and hold how many gave each, one row
                per example: their names, or True for all but that of the example.

        Raises:
            InputError: for anything wrong in a table, with the row and the hint.
        """
        check_texts(duplicates=duplicates, blank=blank, groups=groups, count_column=count_column)
        check_duplicates(duplicates)
        check_lists(classes=classes, abstain=abstain, covariates=covariates)
        check_columns(columns=columns, gold_columns=gold_columns)
        check_truths(keep_abstentions=keep_abstentions)
        abstain = () if abstain is None else abstain
        covariates = () if covariates is None else covariates
        notes: list[str] = []
        keys = abstain_keys(abstain, classes)
        others = kept_abstentions(keys, blank) if keep_abstentions else []
        table = as_long(Table.of(labels, "labels"), columns, Shape(wide, count_column, counts))
        duplicates = "all" if table.is_counted else duplicates
        notes += table.notes
        gold = table.known(gold, notes)
        answers = read_answers(table, columns, blank)
        spoken = set_aside(answers, keys, blank, notes, others)
        given, source = spoken.rows["label"].keys, table.source
        note_unused([key for key in keys if not (given == key).any()], source.name, notes)
        classed = spoken.answers["label"].without(others)
        if not classed.keys.size:
            raise no_answer(source.name)
        truths = None
        if gold is not None:
            truths = read_truths(Table.of(gold, "gold"), gold_columns, notes, keys)
        class_keys, class_names = find_classes(classed, truths, classes, notes)
        num_classes = len(class_keys)
        check_num_classes(num_classes)
        if ordered and classes is None and not are_numbers(class_names):
            raise InputError(
                f"the classes {some_names(class_names)} are no numbers, and their order is not "
                "said.",
                where="ordered",
                hint="Name all classes in their order, as classes.",
            )
        note_unread_columns(table, spoken.rows, columns, notes, has_gold=gold is not None)
        if classes is None:
            note_look_alikes(class_keys, lambda key: int((given == key).sum()), notes)
            note_odd_classes(class_keys, classed.keys.size, notes)
        starts: dict[str, str] = {}
        by_answer = of_answers(table.frame, covariates, spoken.answers["label"], starts, notes)
        nothing = np.zeros(0, np.int64)
        counts_abstentions = (keys or blank == "abstain") and not others
        nobody = cls(
            Labels.from_arrays(
                *(nothing, nothing, nothing),
                num_classes=num_classes,
                num_answers=num_classes + len(others),
                covariates=dict.fromkeys(by_answer, nothing),
            ),
            Assessment.none(0, num_classes),
            *(as_names([]), as_names([]), class_names),
            abstentions=Abstentions(nothing, nothing) if counts_abstentions else None,
            other_names=names_of_others(others),
        )
        tables = {"labeler": labeler_covariates, "example": example_covariates}
        found = _with_answers(
            nobody, others, spoken, by_answer, tables, starts, duplicates, notes, is_first=True
        )
        crowd, _ = _with_gold(found.crowd, others, truths, notes, must_match=True)
        library = library_of(labels)
        crowd = dataclasses.replace(
            crowd, starts=starts, notes=tuple(notes), library=library, ordered=ordered
        )
        if groups is None:
            return crowd
        of_labeler = read_groups(table, groups, answers["labeler"])
        keys_of_labelers = [str(name) for name in crowd.labeler_names]
        of_each = np.array([of_labeler.get(key, "") for key in keys_of_labelers], object)
        return dataclasses.replace(crowd, groups=of_each)

    @property
    def is_counted(self) -> bool:
        """Whether answers are only counted: all stand as those of one labeler, `shapes.ANYONE`.

        What is learnt of it is learnt of the crowd: exact where all labelers err alike.
        """
        return list(self.labeler_names) == [ANYONE]

    @property
    def answer_names(self) -> Names:
        """Name of everything an answer can be: the classes, then what is no class."""
        return np.concatenate([self.class_names, self.other_names])

    @property
    def covariate_names(self) -> list[str]:
        """Names of all covariates: of answers, of labelers and of examples."""
        of = self.labels
        return [*of.covariates, *of.labeler_covariates, *of.example_covariates]

    def agreement(self) -> pd.DataFrame:
        """How far labelers agree: a row for each coefficient, with its 95 % bootstrap interval.

        Columns `coefficient` (percent_agreement, fleiss_kappa, krippendorff_alpha, where classes
        are numbers also krippendorff_alpha_ordinal, cohen_kappa), `value`, `ci_low`, `ci_high` and
        `num_examples`, those with two answers or more. Agreement is not accuracy: it is highest
        where labelers are wrong together. No rows for tables too large, see `agreement`.
        """
        found = agreement(self.labels, is_ordinal=self.has_ordered_classes)
        names = ("coefficient", "value", "ci_low", "ci_high", "num_examples")
        return pd.DataFrame(found, columns=pd.Index(names))

    @property
    def has_ordered_classes(self) -> bool:
        """Whether there are three classes or more, in an order: said so, or all are numbers."""
        if self.ordered is not None:
            return self.ordered and len(self.class_names) > 2
        return len(self.class_names) > 2 and are_numbers(self.class_names)

    def num_abstained(self) -> npt.NDArray[np.int64] | None:
        """How often each labeler abstained; None if nothing was named that is an abstention."""
        num_labelers = self.labels.num_labelers
        if self.other_names.size:
            is_other = np.asarray(self.labels.label) >= self.labels.num_classes
            return np.bincount(np.asarray(self.labels.labeler)[is_other], minlength=num_labelers)
        return None if self.abstentions is None else self.abstentions.by_labeler(num_labelers)

    def keeping(self, *, abstentions: bool = False, covariates: bool = False) -> "Crowd":
        """The crowd with no more than a model takes, and with notes of what it leaves out.

        Args:
            abstentions: whether it takes answers that are no class; else they are abstentions.
            covariates: whether it takes covariates.
        """
        found, notes = self, list(self.notes)
        if self.other_names.size and not abstentions:
            is_other = np.asarray(self.labels.label) >= self.labels.num_classes
            other = self.labels.entries(np.flatnonzero(is_other))
            labels = self.labels.entries(np.flatnonzero(~is_other))
            labels = dataclasses.replace(labels, num_answers=labels.num_classes)
            found = dataclasses.replace(
                found,
                labels=labels,
                abstentions=Abstentions.beside(
                    labels, np.asarray(other.example), np.asarray(other.labeler)
                ),
                other_names=as_names([]),
            )
            note_left_out(self.other_names, (), notes)
        if self.covariate_names and not covariates:
            labels = dataclasses.replace(
                found.labels, covariates={}, labeler_covariates={}, example_covariates={}
            )
            found = dataclasses.replace(found, labels=labels, starts={})
            note_left_out((), self.covariate_names, notes)
        return self if found is self else dataclasses.replace(found, notes=tuple(notes))

    def without_examples(self) -> "Crowd":
        """The labelers, the classes and the scales of the covariates alone."""
        return dataclasses.replace(
            self,
            labels=self.labels.of_examples(np.zeros(0, np.int64)),
            assessment=Assessment.none(0, self.labels.num_classes),
            example_names=as_names([]),
            abstentions=None,
        )

    def to_frames(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The tables of answers and of gold, in the columns that `from_frames` reads.

        Abstentions are left out, unless they are kept as answers. The covariates of answers stand
        in columns of their names.
        """
        is_gold = np.flatnonzero(self.assessment.which_gold())
        truth = np.asarray(self.assessment.true_label)[is_gold]
        labels = self.labels.entries(np.flatnonzero(np.asarray(self.labels.label) != MISSING))
        answers = pd.DataFrame(
            {
                "task": self.example_names[np.asarray(labels.example)],
                "worker": self.labeler_names[np.asarray(labels.labeler)],
                "label": self.answer_names[np.asarray(labels.label)],
                **{name: np.asarray(values) for name, values in labels.covariates.items()},
            }
        )
        gold = pd.DataFrame({"task": self.example_names[is_gold], "label": self.class_names[truth]})
        return answers, gold


class CrowdUpdate(NamedTuple):
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


class UpdateOptions(TypedDict, total=False):
    """What `update_crowd` takes beside the crowd and the tables."""

    duplicates: Duplicates
    abstain: Sequence[object]
    blank: Blank
    labeler_covariates: AnyTable | None
    example_covariates: AnyTable | None
    columns: Mapping[str, str] | None
    gold_columns: Mapping[str, str] | None


def update_crowd(
    crowd: Crowd,
    labels: AnyTable | None = None,
    gold: AnyTable | None = None,
    *,
    duplicates: Duplicates = "error",
    abstain: Sequence[object] = (),
    blank: Blank = "error",
    labeler_covariates: AnyTable | None = None,
    example_covariates: AnyTable | None = None,
    columns: Mapping[str, str] | None = None,
    gold_columns: Mapping[str, str] | None = None,
) -> CrowdUpdate:
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

    Raises:
        InputError: for anything wrong in a table, a class that the crowd does not have, a
            covariate that is missing, and gold that contradicts the crowd's.
    """
    check_texts(duplicates=duplicates, blank=blank)
    check_duplicates(duplicates)
    check_lists(abstain=abstain)
    check_columns(columns=columns, gold_columns=gold_columns)
    notes: list[str] = []
    keys, others = (
        abstain_keys(() if abstain is None else abstain, crowd.class_names),
        _other_keys(crowd),
    )
    update = CrowdUpdate(crowd, np.zeros(0, np.int64), np.zeros(0, np.int64), 0)
    if labels is not None:
        table = as_long(Table.of(labels, "labels"), columns, Shape())
        duplicates = "all" if table.is_counted else duplicates
        notes += table.notes
        gold = table.known(gold, notes)
        rows = read_answers(table, columns, blank)
        note_unread_columns(table, rows, columns, notes, has_gold=gold is not None)
        spoken = set_aside(rows, keys, blank, notes, others)
        starts = dict(crowd.starts)
        by_answer = of_answers(
            table.frame, list(crowd.labels.covariates), spoken.answers["label"], starts, notes
        )
        tables = {"labeler": labeler_covariates, "example": example_covariates}
        update = _with_answers(crowd, others, spoken, by_answer, tables, starts, duplicates, notes)
        for name in starts.keys() - crowd.starts.keys():
            raise InputError(
                f"covariate '{name}' holds times, and numbers in the fit.",
                hint="Give numbers on the scale of the fit's.",
            )
    truths = None
    if gold is not None:
        truths = read_truths(Table.of(gold, "gold"), gold_columns, notes, [*keys, *others])
    grown, new_gold = _with_gold(update.crowd, others, truths, notes)
    grown = dataclasses.replace(grown, notes=tuple(notes))
    return update._replace(crowd=grown, new_gold=new_gold)


def _with_answers(
    crowd: Crowd,
    others: Sequence[str],
    spoken: Spoken,
    by_answer: Covariates,
    tables: Mapping[str, AnyTable | None],
    starts: dict[str, str],
    duplicates: Duplicates,
    notes: list[str],
    is_first: bool = False,
) -> CrowdUpdate:
    """The crowd with the answers it lacks.

    Args:
        crowd: what there is.
        others: keys of the answers that are no class.
        spoken: the rows of a table of answers.
        by_answer: the covariates of the answers among them.
        tables: those of the covariates of labelers and of examples.
        starts: what times are counted from, by column; added to.
        duplicates: as for `update_crowd`.
        notes: added to.
        is_first: whether the tables decide which covariates there are.
    """
    columns, before = spoken.answers, crowd.labels
    all_rows, example_names = _indexed(crowd.example_names, spoken.rows["example"])
    example, abstained_example = spoken.split(all_rows)
    all_rows, labeler_names = _indexed(crowd.labeler_names, spoken.rows["labeler"])
    labeler, abstained_labeler = spoken.split(all_rows)
    if len(labeler_names) > before.num_labelers:
        note_alike_names(labeler_names, "labelers", notes)
    if len(example_names) > before.num_examples:
        note_alike_names(example_names, "examples", notes)
    label = _class_index(crowd, others, columns["label"])
    kept = drop_duplicates(columns, example, labeler, label, duplicates, notes)
    table = pd.DataFrame({"example": example, "labeler": labeler, "label": label}).iloc[kept]
    is_mentioned = np.zeros(len(example_names), bool)
    is_mentioned[table["example"]] = True
    rows = np.flatnonzero(is_mentioned[np.asarray(before.example)])
    parts = {"example": before.example, "labeler": before.labeler, "label": before.label}
    old = pd.DataFrame(
        {name: np.asarray(part)[rows].astype(np.int64) for name, part in parts.items()}, rows
    )
    is_new, is_replaced = _compare(columns, table, old, crowd, duplicates, notes)
    new, gone = table[is_new].sort_values("example", kind="stable"), rows[is_replaced]
    is_changed = np.zeros(len(example_names), bool)
    is_changed[new["example"]] = is_changed[old["example"][is_replaced]] = True
    left = np.delete(np.asarray(before.example), gone)
    at = np.searchsorted(left, new["example"].to_numpy(left.dtype), side="right")

    def with_new(values: Array, more: npt.NDArray[np.generic]) -> Array:
        part, more = np.asarray(values), more.astype(values.dtype)
        part = np.delete(part, gone) if gone.size else part
        return jax.device_put(np.insert(part, at, more) if part.size else more)

    def of_all(role: str, names: Names, known: dict[str, Array], size: int) -> dict[str, Array]:
        """The covariates of labelers or of examples, with those of who is new after the others."""
        given = tables[role]
        table = None if given is None else Table.of(given, f"{role}_covariates")
        wanted = None if is_first else list(known)
        more = of_each(role, names[size:], table, starts, notes, wanted)
        dtype = jnp.result_type(float)
        return known | {
            name: jax.device_put(np.append(known.get(name, ()), values).astype(dtype))
            for name, values in more.items()
        }

    labels = Labels(
        **{name: with_new(part, new[name].to_numpy()) for name, part in parts.items()},
        num_examples=len(example_names),
        num_labelers=len(labeler_names),
        num_classes=before.num_classes,
        covariates={
            name: with_new(values, by_answer[name][new.index])
            for name, values in before.covariates.items()
        },
        labeler_covariates=of_all(
            "labeler", labeler_names, before.labeler_covariates, before.num_labelers
        ),
        example_covariates=of_all(
            "example", example_names, before.example_covariates, before.num_examples
        ),
        num_answers=before.num_answers,
    )
    abstentions = crowd.abstentions
    if abstentions is not None or abstained_example.size:
        known = (np.zeros(0, np.int64),) * 2 if abstentions is None else abstentions
        pairs = zip(known, (abstained_example, abstained_labeler), strict=True)
        abstentions = Abstentions.beside(labels, *(np.concatenate(pair) for pair in pairs))
    if abstentions is not None or crowd.other_names.size:
        note_alone(int(np.sum(labels.of_classes().count_by_example() == 0)), notes)
    grown = dataclasses.replace(
        crowd,
        labels=labels,
        example_names=example_names,
        labeler_names=labeler_names,
        abstentions=abstentions,
        groups=_with_none(crowd.groups, len(labeler_names)),
    )
    return CrowdUpdate(grown, np.flatnonzero(is_changed), np.zeros(0, np.int64), len(new))


def _with_none(groups: Names | None, num_labelers: int) -> Names | None:
    """The groups, new labelers being in none."""
    if groups is None:
        return None
    return np.concatenate([groups, np.full(num_labelers - len(groups), "", object)])


def _indexed(names: Names, column: Column) -> tuple[Indices, Names]:
    """Index of each cell among the names, and the names with the column's new ones after them."""
    codes, first = number_names(column.keys)
    found = _find(names, column.keys[first])
    is_new = found < 0
    found[is_new] = len(names) + np.arange(is_new.sum())
    return found[codes], np.concatenate([names, column.cells[first[is_new]]])


def _find(names: Names, keys: Names) -> Indices:
    """Index of each key among the names, -1 where it is not there; no key twice."""
    if not len(names):
        return np.full(len(keys), -1, np.int64)
    wanted = {key: at for at, key in enumerate(keys)}
    # A table of the few keys, through which all names go, is quicker than one of all names.
    each = map(wanted.get, map(str, names), itertools.repeat(-1))
    at = np.fromiter(each, np.int64, len(names))
    found = np.full(len(keys), -1, np.int64)
    found[at[at >= 0]] = np.flatnonzero(at >= 0)
    return found


def _class_index(crowd: Crowd, others: Sequence[str], column: Column) -> Indices:
    keys = [str(name) for name in crowd.class_names]
    index, unknown = numbered_classes(column, [*keys, *others])
    if unknown:
        is_odd = looks_like_abstention(unknown[0], keys)
        raise InputError(
            f"label '{unknown[0]}' is none of the classes {keys} of the fit.",
            where=column.first(unknown[0]),
            hint="Mend the label, or fit all answers anew: a fit cannot grow by a class."
            + (" If it says nothing about the class, name it in `abstain`." if is_odd else ""),
        )
    return index.astype(np.int64)


def _other_keys(crowd: Crowd) -> list[str]:
    """The reverse of `names_of_others`."""
    return ["" if name == BLANK_NAME else str(name) for name in crowd.other_names]


def _compare(
    columns: dict[str, Column],
    table: pd.DataFrame,
    old: pd.DataFrame,
    crowd: Crowd,
    duplicates: Duplicates,
    notes: list[str],
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which answers of the table are new, and which of the old ones they replace."""
    none_replaced = np.zeros(len(old), bool)
    if not len(old):
        return np.ones(len(table), bool), none_replaced
    num_labelers = 1 + max(table["labeler"].max(), old["labeler"].max())
    pair, old_pair = (part["example"] * num_labelers + part["labeler"] for part in (table, old))
    num_answers = crowd.labels.num_answers
    triple, old_triple = pair * num_answers + table["label"], old_pair * num_answers + old["label"]
    # With repeats that all count, the third of a kind is new where the crowd has two.
    has = triple.map(old_triple.value_counts()).fillna(0)
    is_there = (triple.groupby(triple).cumcount() < has).to_numpy()
    if is_there.any():
        notes.append(f"{is_there.sum()} answers that the fit has already are skipped.")
    contradicts = ~is_there & np.isin(pair, old_pair)
    if duplicates == "all" or not contradicts.any():
        return ~is_there, none_replaced
    number = f"{len(np.unique(pair[contradicts]))} pair(s) of labeler and example"
    if duplicates == "first":
        notes.append(f"New answers contradict the fit's in {number}; the fit's count.")
        return ~is_there & ~contradicts, none_replaced
    if duplicates == "last":
        notes.append(f"New answers contradict the fit's in {number}; the new ones count.")
        return ~is_there, np.isin(old_pair, pair[contradicts])
    at = np.flatnonzero(contradicts)[0]
    there = crowd.answer_names[old["label"][old_pair == pair.iloc[at]].iloc[0]]
    raise row_contradicts(columns, table.index[at], "", f"with '{there}' in the fit", number)


def _with_gold(
    crowd: Crowd,
    others: Sequence[str],
    truths: dict[str, Column] | None,
    notes: list[str],
    must_match: bool = False,
) -> tuple[Crowd, Indices]:
    """The crowd with the gold of a table, and which examples it is new for.

    Args:
        crowd: the crowd; of its examples the last ones may be missing in the gold that it has.
        others: keys of the answers that are no class.
        truths: the columns of the gold.
        notes: added to.
        must_match: whether some of the examples have to be the crowd's.
    """
    known = np.asarray(crowd.assessment.true_label)
    num_new = crowd.labels.num_examples - known.size
    known = np.pad(known, (0, num_new), constant_values=MISSING)
    new_gold = np.zeros(0, np.int64)
    if truths is not None:
        example, truth = truths["example"], truths["label"]
        kept = distinct_examples(example, truth)
        label = _class_index(crowd, others, truth)[kept]
        index = _find(crowd.example_names, example.keys[kept])
        unlabelled = example.keys[kept][index < 0]
        if must_match and unlabelled.size == kept.size:
            raise example.source.error(
                f"no gold example ({some_names(unlabelled)}) was labelled by anyone "
                f"(labelled are {some_names(crowd.example_names)}).",
                "Use the same names for the examples in both tables.",
            )
        if unlabelled.size:
            notes.append(note_unlabelled(example.source.name, unlabelled.size, unlabelled))
        kept, label, index = kept[index >= 0], label[index >= 0], index[index >= 0]
        contradicts = np.flatnonzero((known[index] != MISSING) & (known[index] != label))
        if contradicts.size:
            row, there = kept[contradicts[0]], known[index[contradicts[0]]]
            raise example.source.error(
                f"example '{example.keys[row]}' is '{truth.keys[row]}' here and was "
                f"'{crowd.class_names[there]}' in the fit.",
                "Mend the row, or fit all answers anew: a fit cannot unlearn gold.",
                row,
            )
        new_gold = np.sort(index[known[index] == MISSING])
        known[index] = label
    assessment = Assessment(jax.device_put(known), crowd.assessment.num_classes)
    return dataclasses.replace(crowd, assessment=assessment), new_gold
