"""A crowd as users hold it: tables of answers and gold, names and all, checked once."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from gtx_bayes.columns import (
    EXAMPLE_COLUMNS,
    LABEL_COLUMNS,
    LABELER_COLUMNS,
    TRUTH_COLUMNS,
    Column,
    Names,
    Source,
    as_names,
    distinct_examples,
    numbered_classes,
    plain_spelling,
    positions,
    read_columns,
)
from gtx_bayes.errors import InputError
from gtx_bayes.labels import MISSING, Assessment, Labels, check_num_classes

Duplicates = Literal["error", "first", "last", "all"]


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
    """

    labels: Labels
    assessment: Assessment
    example_names: Names
    labeler_names: Names
    class_names: Names
    notes: tuple[str, ...] = ()

    @classmethod
    def from_frames(
        cls,
        labels: pd.DataFrame,
        gold: pd.DataFrame | None = None,
        *,
        duplicates: Duplicates = "error",
        classes: Sequence[object] | None = None,
        columns: Mapping[str, str] | None = None,
        gold_columns: Mapping[str, str] | None = None,
        labels_source: Source | None = None,
        gold_source: Source | None = None,
    ) -> "Crowd":
        """Check the tables and number their examples, labelers and classes.

        Args:
            labels: one row per answer. Columns `task`, `worker`, `label`, or one of the aliases
                in `EXAMPLE_COLUMNS`, `LABELER_COLUMNS` and `LABEL_COLUMNS`; others are ignored.
            gold: one row per gold example, columns `task`, `label` or an alias.
            duplicates: what to do where a labeler answered one example twice and differently:
                refuse, keep the first or the last answer, or let all of them count. Repeats of
                the same answer are dropped, unless all count.
            classes: every class there is, in the order wanted; found in the tables when absent.
            columns: column of `labels` for "example", "labeler" or "label", where no alias fits.
            gold_columns: column of `gold` for "example" or "label", likewise.
            labels_source: where `labels` comes from, for messages.
            gold_source: where `gold` comes from, for messages.

        Raises:
            InputError: for anything wrong in a table, with the row and the mend.
        """
        check_duplicates(duplicates)
        answers = read_answers(labels, columns, labels_source)
        truths = None if gold is None else read_truths(gold, gold_columns, gold_source)
        notes: list[str] = []
        class_keys, class_names = find_classes(answers["label"], truths, classes, notes)
        check_num_classes(len(class_keys))

        example, example_first = number_names(answers["example"].keys)
        labeler, labeler_first = number_names(answers["labeler"].keys)
        label = positions(class_keys, answers["label"].keys)
        kept = drop_duplicates(answers, example, labeler, label, duplicates, notes)
        numbered = Labels.from_arrays(
            example[kept],
            labeler[kept],
            label[kept],
            num_classes=len(class_keys),
            num_examples=example_first.size,
            num_labelers=labeler_first.size,
        )
        assessment = Assessment.none(numbered.num_examples, numbered.num_classes)
        if truths is not None:
            example_keys = answers["example"].keys[example_first]
            assessment = _assess(truths, example_keys, class_keys, numbered.num_classes, notes)
        return cls(
            labels=numbered,
            assessment=assessment,
            example_names=answers["example"].cells[example_first],
            labeler_names=answers["labeler"].cells[labeler_first],
            class_names=class_names,
            notes=tuple(notes),
        )

    def to_frames(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The tables of answers and of gold, in the columns that `from_frames` reads."""
        is_gold = np.flatnonzero(np.asarray(self.assessment.is_gold))
        truth = np.asarray(self.assessment.true_label)[is_gold]
        answered = np.asarray(self.labels.label) != MISSING
        answers = pd.DataFrame(
            {
                "task": self.example_names[np.asarray(self.labels.example)[answered]],
                "worker": self.labeler_names[np.asarray(self.labels.labeler)[answered]],
                "label": self.class_names[np.asarray(self.labels.label)[answered]],
            }
        )
        gold = pd.DataFrame({"task": self.example_names[is_gold], "label": self.class_names[truth]})
        return answers, gold


def check_duplicates(duplicates: str) -> None:
    """Raise `InputError` unless this says which of contradictory answers count."""
    if duplicates not in get_args(Duplicates):
        raise InputError(
            f"duplicates is '{duplicates}'.", mend=f"Choose one of {get_args(Duplicates)}."
        )


def read_answers(
    labels: pd.DataFrame, columns: Mapping[str, str] | None, source: Source | None
) -> dict[str, Column]:
    """The columns of a table of answers: "example", "labeler" and "label"."""
    roles = {"example": EXAMPLE_COLUMNS, "labeler": LABELER_COLUMNS, "label": LABEL_COLUMNS}
    return read_columns(labels, roles, columns or {}, source or Source("labels"))


def read_truths(
    gold: pd.DataFrame, columns: Mapping[str, str] | None, source: Source | None
) -> dict[str, Column]:
    """The columns of a table of gold: "example" and "label"."""
    roles = {"example": EXAMPLE_COLUMNS, "label": TRUTH_COLUMNS}
    return read_columns(gold, roles, columns or {}, source or Source("gold"))


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
        for column, found in ((answers, used), (truths["label"] if truths else answers, gold)):
            for key in found:
                if key not in keys:
                    raise InputError(
                        f"label '{key}' is none of the classes {keys}.",
                        where=column.first(key),
                        mend="Mend the label, or add it to the classes.",
                    )
        if len(set(keys)) < len(keys):
            raise InputError(f"the classes {keys} repeat one.", mend="Name each class once.")
        names = {**{k: k for k in keys}, **gold, **used}
        return keys, as_names(names[key] for key in keys)

    if truths:
        _check_gold_classes(used, gold, truths["label"], notes)
    names = {**gold, **used}
    if len(names) < 2:
        raise InputError(
            f"every label is '{next(iter(names))}': there is nothing to decide.",
            where=answers.source.name,
            mend="Name all the classes there are, if others are possible.",
        )
    note_alike(list(used), notes)
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
    for key in unused:
        notes.append(
            f"{truth.first(key)}: no labeler ever answered '{key}'; it is kept as a class."
        )
    if not set(gold) & set(used):
        raise InputError(
            f"no gold label ({some_names(gold)}) is ever given by a labeler ({some_names(used)}).",
            where=truth.source.name,
            mend="Use the same names for the classes in both tables.",
        )


def note_alike(keys: list[str], notes: list[str]) -> None:
    """Note the classes that differ by their spelling alone."""
    by_plain: dict[str, str] = {}
    for key in keys:
        other = by_plain.setdefault(plain_spelling(key), key)
        if other != key:
            notes.append(f"'{other}' and '{key}' are taken for different classes.")


def in_order(keys: list[str]) -> list[str]:
    """Keys of classes in numeric order if all are numbers, else alphabetic."""
    try:
        return sorted(keys, key=float)
    except ValueError:
        return sorted(keys)


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
            f"'{answers['label'].keys[before]}' in row {before + source.first_row} and with "
            f"'{answers['label'].keys[at]}' here.",
            where=source.row(at),
            mend=f"Say which count ({found.num_pairs} such pair(s)): "
            "--duplicates first, last or all.",
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
        notes.append(
            f"{example.source.name}: {unlabelled.size} gold example(s) that nobody labelled are "
            f"left out: {some_names(unlabelled)}."
        )
    return Assessment.from_arrays(
        index[labelled],
        positions(class_keys, truth.keys[kept])[labelled],
        num_examples=len(example_keys),
        num_classes=num_classes,
    )


def some_names(names: Any) -> str:
    """The first of the names, for a message."""
    shown = [f"'{name}'" for name in list(names)[:3]]
    return ", ".join(shown) + (", ..." if len(names) > 3 else "")
