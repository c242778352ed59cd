"""A crowd as users hold it: tables of answers and gold, names and all, checked once."""

import collections
import dataclasses
import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from gtx_bayes.abstentions import (
    BLANK_HINT,
    Abstentions,
    Blank,
    abstain_keys,
    check_blank,
    no_answer,
    note_alone,
    note_look_alikes,
    note_unused,
    set_aside,
)
from gtx_bayes.columns import (
    ANSWER_ROLES,
    TRUTH_ROLES,
    Column,
    Names,
    Source,
    as_names,
    distinct_examples,
    numbered_classes,
    plain_spelling,
    positions,
    quoted_apart,
    read_columns,
)
from gtx_bayes.covariates import Table, of_answers, of_each
from gtx_bayes.errors import InputError, WarningNote
from gtx_bayes.labels import MISSING, Assessment, Labels, check_num_classes

Duplicates = Literal["error", "first", "last", "all"]

BLANK_NAME = "(blank)"
"""What a blank answer is called where it is kept as an answer."""

_SHOWN = 3  # names in a note
_LONG_NAME = 60  # characters in a note
_FEW_CLASSES = 10  # a small crowd may well have more than half as many classes as answers
_BETWEEN_CHOICES = (",", ";", "|")
_COUNT_COLUMNS = (
    *("count", "counts", "n", "num", "freq", "frequency", "votes", "num_votes", "n_votes"),
    *("weight", "weights"),
)


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

    @classmethod
    def from_frames(
        cls,
        labels: pd.DataFrame,
        gold: pd.DataFrame | None = None,
        *,
        duplicates: Duplicates = "error",
        classes: Sequence[object] | None = None,
        abstain: Sequence[object] = (),
        blank: Blank = "error",
        keep_abstentions: bool = False,
        covariates: Sequence[str] = (),
        labeler_covariates: pd.DataFrame | None = None,
        example_covariates: pd.DataFrame | None = None,
        columns: Mapping[str, str] | None = None,
        gold_columns: Mapping[str, str] | None = None,
        labels_source: Source | None = None,
        gold_source: Source | None = None,
        labeler_source: Source | None = None,
        example_source: Source | None = None,
    ) -> "Crowd":
        """Check the tables and number their examples, labelers and classes.

        Args:
            labels: one row per answer. Columns `task`, `worker`, `label`, or one of the aliases
                in `columns.ANSWER_ROLES`; others are ignored. The categories of a pandas
                categorical are classes, those that no row has too.
            gold: one row per gold example, columns `task`, `label` or an alias. Rows without a
                label are left out.
            duplicates: what to do where a labeler answered one example twice and differently:
                refuse, keep the first or the last answer, or let all of them count. Repeats of
                the same answer are dropped, unless all count.
            classes: every class there is, in the order wanted; found in the tables when absent.
            abstain: values that say nothing about the class, such as "unsure": no class, no
                answer, but counted for every labeler. An abstention counts once for a labeler and
                an example, and not where the labeler answered too.
            blank: what a blank answer is: an error, a row to drop, or an abstention.
            keep_abstentions: keep abstentions as answers that are no class, for a model that
                learns from them; others count them as above.
            covariates: columns of `labels` that are numbers or times, for a model that takes
                them. Times, such as 2026-11-28 09:30, become days since the first.
            labeler_covariates: one row per labeler, its name in a column called as in `labels`;
                every column of numbers or times is a covariate.
            example_covariates: one row per example, likewise.
            columns: column of `labels` for "example", "labeler" or "label", where no alias fits.
            gold_columns: column of `gold` for "example" or "label", likewise.
            labels_source: where `labels` comes from, for messages.
            gold_source: where `gold` comes from, for messages.
            labeler_source: where `labeler_covariates` comes from, for messages.
            example_source: where `example_covariates` comes from, for messages.

        Raises:
            InputError: for anything wrong in a table, with the row and the mend.
        """
        check_duplicates(duplicates)
        notes: list[str] = []
        keys = abstain_keys(abstain, classes)
        others = kept_abstentions(keys, blank) if keep_abstentions else []
        rows = read_answers(labels, columns, labels_source, blank)
        spoken = set_aside(rows, keys, blank, notes, others)
        rows, answers = spoken.rows, spoken.answers
        given, source = rows["label"].keys, answers["label"].source
        note_unused([key for key in keys if not (given == key).any()], source.name, notes)
        classed = answers["label"].without(others)
        if not classed.keys.size:
            raise no_answer(source.name)
        truths = None
        if gold is not None:
            truths = read_truths(gold, gold_columns, gold_source, notes, keys)
        class_keys, class_names = find_classes(classed, truths, classes, notes)
        check_num_classes(len(class_keys))
        note_unread_columns(labels, answers, notes)
        if classes is None:
            note_look_alikes(class_keys, lambda key: int((given == key).sum()), notes)

        all_examples, example_first = number_names(rows["example"].keys)
        all_labelers, labeler_first = number_names(rows["labeler"].keys)
        example, abstained_example = spoken.split(all_examples)
        labeler, abstained_labeler = spoken.split(all_labelers)
        label = positions([*class_keys, *others], answers["label"].keys)
        if classes is None:
            note_odd_classes(class_keys, classed.keys.size, notes)
        example_names = rows["example"].cells[example_first]
        labeler_names = rows["labeler"].cells[labeler_first]
        note_alike_names(labeler_names, "labelers", notes)
        note_alike_names(example_names, "examples", notes)
        starts: dict[str, str] = {}
        by_answer = of_answers(labels, covariates, answers["label"], starts, notes)
        of_labelers = table_of("labeler", labeler_covariates, labeler_source)
        of_examples = table_of("example", example_covariates, example_source)
        kept = drop_duplicates(answers, example, labeler, label, duplicates, notes)
        numbered = Labels.from_arrays(
            example[kept],
            labeler[kept],
            label[kept],
            num_classes=len(class_keys),
            num_examples=example_first.size,
            num_labelers=labeler_first.size,
            num_answers=len(class_keys) + len(others),
            covariates={name: values[kept] for name, values in by_answer.items()},
            labeler_covariates=of_each("labeler", labeler_names, of_labelers, starts, notes),
            example_covariates=of_each("example", example_names, of_examples, starts, notes),
        )
        assessment = Assessment.none(numbered.num_examples, numbered.num_classes)
        if truths is not None:
            example_keys = rows["example"].keys[example_first]
            assessment = _assess(truths, example_keys, class_keys, numbered.num_classes, notes)
        abstentions = None
        if keys or blank == "abstain":
            if not others:
                abstentions = Abstentions.beside(numbered, abstained_example, abstained_labeler)
            note_alone(int(np.sum(numbered.of_classes().count_by_example() == 0)), notes)
        return cls(
            labels=numbered,
            assessment=assessment,
            example_names=example_names,
            labeler_names=labeler_names,
            class_names=class_names,
            notes=tuple(notes),
            abstentions=abstentions,
            other_names=names_of_others(others),
            starts=starts,
        )

    @property
    def answer_names(self) -> Names:
        """Name of everything an answer can be: the classes, then what is no class."""
        return np.concatenate([self.class_names, self.other_names])

    @property
    def covariate_names(self) -> list[str]:
        """Names of all covariates: of answers, of labelers and of examples."""
        of = self.labels
        return [*of.covariates, *of.labeler_covariates, *of.example_covariates]

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
        notes, kept, labels = list(self.notes), self.abstentions, self.labels
        other_names, starts = self.other_names, self.starts
        if other_names.size and not abstentions:
            is_other = np.asarray(labels.label) >= labels.num_classes
            other = labels.entries(np.flatnonzero(is_other))
            labels = labels.entries(np.flatnonzero(~is_other))
            labels = dataclasses.replace(labels, num_answers=labels.num_classes)
            kept = Abstentions.beside(labels, np.asarray(other.example), np.asarray(other.labeler))
            note_left_out(other_names, (), notes)
            other_names = as_names([])
        if self.covariate_names and not covariates:
            labels = dataclasses.replace(
                labels, covariates={}, labeler_covariates={}, example_covariates={}
            )
            note_left_out((), self.covariate_names, notes)
            starts = {}
        if labels is self.labels:
            return self
        return dataclasses.replace(
            self,
            labels=labels,
            notes=tuple(notes),
            abstentions=kept,
            other_names=other_names,
            starts=starts,
        )

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
        is_gold = np.flatnonzero(np.asarray(self.assessment.is_gold))
        truth = np.asarray(self.assessment.true_label)[is_gold]
        answered = np.asarray(self.labels.label) != MISSING
        answers = pd.DataFrame(
            {
                "task": self.example_names[np.asarray(self.labels.example)[answered]],
                "worker": self.labeler_names[np.asarray(self.labels.labeler)[answered]],
                "label": self.answer_names[np.asarray(self.labels.label)[answered]],
                **{
                    name: np.asarray(values)[answered]
                    for name, values in self.labels.covariates.items()
                },
            }
        )
        gold = pd.DataFrame({"task": self.example_names[is_gold], "label": self.class_names[truth]})
        return answers, gold


def table_of(role: str, frame: pd.DataFrame | None, source: Source | None) -> Table | None:
    """A table of labelers or of examples with its place; None where there is none."""
    return None if frame is None else Table(frame, source or Source(f"{role}_covariates"))


def kept_abstentions(keys: Sequence[str], blank: Blank) -> list[str]:
    """The answers that are no class: the empty text stands for blank ones.

    Raises:
        InputError: if there are none.
    """
    others = [*keys, *([""] if blank == "abstain" else [])]
    if not others:
        raise InputError(
            "there are no abstentions to keep.",
            mend='Name them in `abstain`, or say `blank="abstain"`.',
        )
    return others


def note_left_out(
    other_names: Names | Sequence[str], covariates: Sequence[str], notes: list[str]
) -> None:
    """Warn of what a model does not take: answers that are no class, and covariates."""
    if len(other_names):
        notes.append(
            WarningNote(
                f"{some_names(other_names)} count as abstentions: the model knows the classes "
                "alone. Name a model that learns from them."
            )
        )
    if covariates:
        notes.append(
            WarningNote(
                f"The model takes no covariates: {some_names(covariates)}. Name one that does, or "
                "leave them out."
            )
        )


def names_of_others(keys: Sequence[str]) -> Names:
    """Names of answers that are no class, from their keys."""
    return as_names(key or BLANK_NAME for key in keys)


def check_duplicates(duplicates: str) -> None:
    """Raise `InputError` unless this says which of contradictory answers count."""
    if duplicates not in get_args(Duplicates):
        raise InputError(
            f"duplicates is '{duplicates}'.", mend=f"Choose one of {get_args(Duplicates)}."
        )


def read_answers(
    labels: pd.DataFrame,
    columns: Mapping[str, str] | None,
    source: Source | None,
    blank: Blank = "error",
) -> dict[str, Column]:
    """The columns of a table of answers: "example", "labeler" and "label".

    Args:
        labels: the table.
        columns: columns by role, where no alias fits.
        source: where it comes from, for messages.
        blank: what a blank answer is; if no error its key is the empty text.

    Raises:
        InputError: for anything wrong in the table.
    """
    check_blank(blank)
    source = source or Source("labels")
    read = read_columns(labels, ANSWER_ROLES, columns or {}, source, with_gaps=("label",))
    if blank == "error":
        read["label"].refuse_gaps(BLANK_HINT)
    return read


def read_truths(
    gold: pd.DataFrame,
    columns: Mapping[str, str] | None,
    source: Source | None,
    notes: list[str],
    abstain: Sequence[str] = (),
) -> dict[str, Column]:
    """The columns of a table of gold: "example" and "label", of the rows that have a label.

    Args:
        gold: the table.
        columns: columns by role, where no alias fits.
        source: where it comes from, for messages.
        notes: the rows left out are noted there.
        abstain: labels that say nothing about the class.

    Raises:
        InputError: for anything wrong in the table, or if no row has a label.
    """
    source = source or Source("gold")
    read = read_columns(gold, TRUTH_ROLES, columns or {}, source, with_gaps=("label",))
    read["label"] = read["label"].declaring_none_of(abstain)
    keys = read["label"].keys
    is_known = ~pd.Series(keys).isin(["", *abstain]).to_numpy()
    if is_known.all():
        return read
    if not is_known.any():
        raise InputError(
            f"column '{read['label'].name}' has no value in any row.",
            where=source.name,
            mend="Fill in the labels that are known, or leave the table out.",
        )
    notes.append(f"{source.name}: {np.sum(~is_known)} row(s) without a label are left out.")
    known = np.flatnonzero(is_known)
    return {role: column.entries(known) for role, column in read.items()}


def number_names(keys: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Index of every key in order of first appearance, and where each key appears first."""
    codes, uniques = pd.factorize(keys)
    first = np.full(len(uniques), len(codes), np.int64)
    np.minimum.at(first, codes, np.arange(len(codes)))
    return codes.astype(np.int64), first


def find_classes(
    answers: Column,
    truths: dict[str, Column] | None,
    classes: Sequence[object] | None,
    notes: list[str],
) -> tuple[list[str], Names]:
    """Keys and names of the classes, in order.

    Args:
        answers: the column of answers.
        truths: the columns of the gold.
        classes: every class there is, if the user named them.
        notes: what the user should know is added to it.

    Raises:
        InputError: for an answer that is none of the classes named, gold that shares no class with
            the answers, and a crowd without choice.
    """
    used = _first_values(answers)
    gold = _first_values(truths["label"]) if truths else {}
    if classes is not None:
        keys = [str(name).strip() for name in classes]
        known = set(keys)
        for column, found in ((answers, used), (truths["label"] if truths else answers, gold)):
            for key in found:
                if key not in known:
                    raise InputError(
                        f"label '{key}' is none of the classes {keys}.",
                        where=column.first(key),
                        mend="Mend the label, or add it to the classes.",
                    )
        if len(known) < len(keys):
            raise InputError(f"the classes {keys} repeat one.", mend="Name each class once.")
        names = {**{k: k for k in keys}, **gold, **used}
        return keys, as_names(names[key] for key in keys)

    if truths:
        _check_gold_classes(used, gold, truths["label"], notes)
    names = {**gold, **used}
    spare = {**(truths["label"].spare if truths else {}), **answers.spare}
    spare = {key: name for key, name in spare.items() if key not in names}
    if spare:
        notes.append(
            f"{answers.source.name}: {some_names(spare)} of the categories of column "
            f"'{answers.name}' stand(s) in no row; kept as class(es)."
        )
    names = {**spare, **names}
    if len(names) < 2:
        raise InputError(
            f"every label is '{next(iter(names))}': there is nothing to decide.",
            where=answers.source.name,
            mend="Name all the classes there are, if others are possible.",
        )
    note_alike([*used, *spare], notes)
    keys = in_order(list(names))
    return keys, as_names(names[key] for key in keys)


def _first_values(column: Column) -> dict[str, object]:
    _, first = number_names(column.keys)
    return dict(zip(column.keys[first], column.cells[first], strict=True))


def _check_gold_classes(
    used: dict[str, object], gold: dict[str, object], truth: Column, notes: list[str]
) -> None:
    """Gold classes that no labeler ever gave: a slip of spelling, or a rare class."""
    _, unused = numbered_classes(truth, list(used))
    for key in unused[:_SHOWN]:
        notes.append(
            WarningNote(
                f"{truth.first(key)}: no labeler ever answered '{key}'; it is kept as a class."
            )
        )
    if len(unused) > _SHOWN:
        more = f"{truth.source.name}: so are {len(unused) - _SHOWN} more that no labeler answered."
        notes.append(WarningNote(more))
    if not set(gold) & set(used):
        raise InputError(
            f"no gold label ({some_names(gold)}) is ever given by a labeler ({some_names(used)}).",
            where=truth.source.name,
            mend="Use the same names for the classes in both tables.",
        )


def note_alike(keys: Iterable[str], notes: list[str], what: str = "classes") -> None:
    """Note the names that differ by their spelling alone."""
    by_plain: dict[str, str] = {}
    pairs = []
    for key in keys:
        other = by_plain.setdefault(plain_spelling(key), key)
        if other != key:
            pairs.append((other, key))
    for pair in pairs[:_SHOWN]:
        named = " and ".join(quoted_apart(*pair))
        notes.append(WarningNote(f"{named} are taken for different {what}."))
    if len(pairs) > _SHOWN:
        more = f"So are {len(pairs) - _SHOWN} more pairs of {what} that differ by their spelling."
        notes.append(WarningNote(more))


def note_alike_names(names: Iterable[object], what: str, notes: list[str]) -> None:
    """Note the names of labelers or examples that differ by their spelling alone."""
    if not all(type(name) is int for name in names):
        keys = list(map(str, names))
        if not _are_plainly_different(keys):
            note_alike(keys, notes, what)


def _are_plainly_different(keys: list[str]) -> bool:
    """Whether a quick look tells that no two of many names differ by their spelling alone."""
    text = "\n".join([*keys, ""])
    is_simple = text.isascii() and not any(blank in text for blank in ("  ", *"\t\r\x0b\x0c"))
    plain = text.lower().replace(".0\n", "\n").split("\n")[:-1]
    return is_simple and len(plain) == len(keys) == len(set(plain))


def note_odd_classes(keys: Sequence[str], num_answers: int, notes: list[str]) -> None:
    """Note classes that look like something else: numbers, free text, JSON, several choices.

    Args:
        keys: the classes.
        num_answers: how many answers there are.
        notes: what the user should know is added to it.
    """
    if len(keys) > _FEW_CLASSES and 2 * len(keys) > num_answers:
        notes.append(
            WarningNote(
                f"There are {len(keys)} classes in {num_answers} answers, such as "
                f"{some_names(keys)}: if they are numbers on a scale or free text, put them into a "
                "few classes first."
            )
        )
    in_json = {key for key in keys if key[0] in "[{" and _is_json(key)}
    each = "each is taken for a class of its own. Give one plain label per row."
    if in_json:
        found = f"{len(in_json)} class(es) are JSON, such as {_shortened(in_json)}: {each}"
        notes.append(WarningNote(found))
    several = _of_several_choices([key for key in keys if key not in in_json])
    if several:
        named = _shortened(several)
        found = f"{len(several)} class(es) hold several choices, such as {named}: {each}"
        notes.append(WarningNote(found))


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _of_several_choices(keys: list[str]) -> list[str]:
    """Those whose parts, between commas, semicolons or bars, stand in other keys as well."""
    found = []
    for separator in _BETWEEN_CHOICES:
        parts = {key: {part.strip() for part in key.split(separator)} for key in keys}
        times = collections.Counter(part for own in parts.values() for part in own)
        found += [
            key
            for key, own in parts.items()
            if len(own) > 1 and all(part and times[part] > 1 for part in own)
        ]
    return found


def _shortened(names: Iterable[str]) -> str:
    """The first of the names, cut where it is long."""
    name = min(names)
    return f"'{name}'" if len(name) <= _LONG_NAME else f"'{name[:_LONG_NAME]}...'"


def note_unread_columns(labels: pd.DataFrame, answers: dict[str, Column], notes: list[str]) -> None:
    """Note columns of a table of answers that should perhaps not be left out."""
    source = answers["label"].source
    used = [column.name for column in answers.values()]
    note_unread_count(source.columns or labels.columns, used, source.name, notes)


def note_unread_count(
    columns: Iterable[Any], used: Collection[str], source_name: str, notes: list[str]
) -> None:
    """Note a column that seems to say how often an answer was given: each row counts once."""
    for name in columns:
        if str(name).strip().lower() in _COUNT_COLUMNS and name not in used:
            notes.append(
                WarningNote(
                    f"{source_name}: column '{name}' is not used: every row counts as one answer. "
                    "If it says how many gave that answer, repeat the row as often."
                )
            )


def in_order(keys: list[str]) -> list[str]:
    """Keys of classes in numeric order if all are numbers, else alphabetic."""
    try:
        numbers = {key: float(key) for key in keys}
    except ValueError:
        return sorted(keys)
    if any(map(math.isnan, numbers.values())):  # a name, such as NAN, that no number goes before
        return sorted(keys)
    return sorted(keys, key=lambda key: (numbers[key], key))


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


def drop_duplicates(
    answers: dict[str, Column],
    example: npt.NDArray[np.int64],
    labeler: npt.NDArray[np.int64],
    label: npt.NDArray[np.intp],
    duplicates: Duplicates,
    notes: list[str],
) -> npt.NDArray[np.intp]:
    """Positions of the answers to keep."""
    found = find_repeats(example, labeler, label, duplicates)
    if duplicates == "error" and found.contradicting.size:
        at = int(found.contradicting[0])
        before = int(np.flatnonzero((example == example[at]) & (labeler == labeler[at]))[0])
        source = answers["label"].source
        raise InputError(
            f"'{answers['labeler'].keys[at]}' answered '{answers['example'].keys[at]}' with "
            f"'{answers['label'].keys[before]}' in row {source.number(before)} and with "
            f"'{answers['label'].keys[at]}' here.",
            where=source.row(at),
            mend=f"Say which count ({found.num_pairs} such pair(s)): "
            '`duplicates="first"`, `duplicates="last"` or `duplicates="all"`.',
        )
    num_dropped = example.size - found.kept.size
    note_repeats(found.num_repeats, num_dropped, found.num_pairs, duplicates, notes)
    return found.kept


def _assess(
    truths: dict[str, Column],
    example_keys: Names,
    class_keys: list[str],
    num_classes: int,
    notes: list[str],
) -> Assessment:
    example, truth = truths["example"], truths["label"]
    kept = distinct_examples(example, truth)
    index = positions(example_keys, example.keys[kept])
    labelled = index >= 0
    unlabelled = example.keys[kept][~labelled]
    if not labelled.any():
        raise InputError(
            f"no gold example ({some_names(unlabelled)}) was labelled by anyone "
            f"(labelled are {some_names(example_keys)}).",
            where=example.source.name,
            mend="Use the same names for the examples in both tables.",
        )
    if unlabelled.size:
        notes.append(note_unlabelled(example.source.name, unlabelled.size, unlabelled))
    return Assessment.from_arrays(
        index[labelled],
        positions(class_keys, truth.keys[kept])[labelled],
        num_examples=len(example_keys),
        num_classes=num_classes,
    )


def note_unlabelled(where: str, number: int, names: Any) -> WarningNote:
    """What is to be said of gold examples that nobody labelled."""
    return WarningNote(
        f"{where}: {number} gold example(s) that nobody labelled are left out: {some_names(names)}."
    )


def some_names(names: Any) -> str:
    """The first of the names, for a message."""
    shown = [f"'{name}'" for name in list(names)[:_SHOWN]]
    return ", ".join(shown) + (", ..." if len(names) > _SHOWN else "")
