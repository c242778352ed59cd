"""Answers that say nothing about the class, named by the user or blank: counted, never a class."""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from gtx_bayes.columns import Column, Source
from gtx_bayes.errors import InputError, WarningNote
from gtx_bayes.labels import MISSING, Labels, distinct

Blank = Literal["error", "drop", "abstain"]

BLANK_HINT = ", or say by `blank` what a blank answer is: drop or abstain"

_Z = 1.959963984540054  # of the normal distribution, for 95 %
# fmt: off
_LOOK_ALIKE = frozenset((
    "abstain", "abstained", "abstention", "can not tell", "can't tell", "cannot tell",
    "cant tell", "do not know", "don't know", "dont know", "idk", "ignore",
    "ignored", "n/a", "na", "nan", "nil", "no answer",
    "no idea", "none", "not sure", "notsure", "null", "skip",
    "skipped", "uncertain", "unclear", "undecided", "unknown", "unsure",
    "\\n", "#n/a", "?",
))
# fmt: on


class Abstentions(NamedTuple):
    """Who abstained on what: pairs, each of them once, none of which has an answer.

    Attributes:
        example: index of the example, in ascending order.
        labeler: index of the labeler.
    """

    example: npt.NDArray[np.int64]
    labeler: npt.NDArray[np.int64]

    @classmethod
    def beside(
        cls, labels: Labels, example: npt.NDArray[np.integer], labeler: npt.NDArray[np.integer]
    ) -> "Abstentions":
        """Abstentions as they stand in a table, without repeats and without those answered too."""
        is_mentioned = np.zeros(labels.num_examples, bool)
        is_mentioned[example] = True
        rows = is_mentioned[np.asarray(labels.example)] & (np.asarray(labels.label) != MISSING)
        answered = (np.asarray(labels.example)[rows], np.asarray(labels.labeler)[rows])
        return cls(*unanswered(example, labeler, *answered, labels.num_labelers))

    @classmethod
    def from_arrays(
        cls, labels: Labels, example: npt.NDArray[np.integer], labeler: npt.NDArray[np.integer]
    ) -> "Abstentions":
        """Abstentions from a file; raises `InputError` for what is no pairs of indices."""
        for values, size in ((example, labels.num_examples), (labeler, labels.num_labelers)):
            is_index = values.ndim == 1 and np.issubdtype(values.dtype, np.integer)
            if not is_index or ((values < 0) | (values >= size)).any():
                raise InputError("the abstentions are no indices of examples and labelers.")
        if example.size != labeler.size:
            raise InputError("the abstentions are no pairs.")
        return cls.beside(labels, example, labeler)

    def by_labeler(self, num_labelers: int) -> npt.NDArray[np.int64]:
        """How often each labeler abstained."""
        return np.bincount(self.labeler, minlength=num_labelers)


def unanswered(
    example: npt.NDArray[np.integer],
    labeler: npt.NDArray[np.integer],
    answered_example: npt.NDArray[np.integer],
    answered_labeler: npt.NDArray[np.integer],
    num_labelers: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Pairs of example and labeler, each once and in order, without those that have an answer."""
    pair = distinct(example.astype(np.int64) * num_labelers + labeler)
    if pair.size:
        answered = answered_example.astype(np.int64) * num_labelers + answered_labeler
        at = np.searchsorted(pair, answered)
        pair = np.delete(pair, at[pair.take(at, mode="clip") == answered])
    return pair // num_labelers, pair % num_labelers


def rate_interval(
    num_abstained: npt.NDArray[np.integer], num_labels: npt.NDArray[np.integer]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    r"""Share of abstentions and its 95 % confidence interval; NaN where nothing was asked.

    .. math:: \frac{k + z^2 / 2}{n + z^2} \pm \frac{z}{n + z^2} \sqrt{\frac{k (n - k)}{n}
        + \frac{z^2}{4}}

    with k abstentions of n. It holds the share itself, also where that is 0 or 1.

    References:
        Wilson (1927), Probable inference, the law of succession, and statistical inference.
            Journal of the American Statistical Association 22.
    """
    k = num_abstained.astype(np.float64)
    n = np.where(num_abstained + num_labels > 0, k + num_labels, np.nan)
    middle = (k + _Z**2 / 2.0) / (n + _Z**2)
    half = _Z / (n + _Z**2) * np.sqrt(k * (n - k) / n + _Z**2 / 4.0)
    share = k / n
    low = np.where(k == 0, share, np.maximum(middle - half, 0.0))  # else rounding decides
    high = np.where(k == n, share, np.minimum(middle + half, 1.0))
    return share, low, high


def check_blank(blank: str) -> None:
    """Raise `InputError` unless this says what a blank answer is."""
    if blank not in get_args(Blank):
        raise InputError(f"blank is '{blank}'.", hint=f"Choose one of {get_args(Blank)}.")


def abstain_keys(abstain: Sequence[object], classes: Iterable[object] | None = None) -> list[str]:
    """The values that are abstentions, as text; none of them one of the classes, if known.

    Raises:
        InputError: for a text in place of several values, a value that stands for a blank cell,
            and one that is a class.
    """
    if isinstance(abstain, str):
        raise InputError(
            f"`abstain` is the text '{abstain}', not several values.",
            hint=f"Give a tuple: ('{abstain}',).",
        )
    keys = list(Column.of_cells(abstain, "abstain", Source("abstain")).keys)
    if "" in keys:
        raise InputError(
            "`abstain` names a value that stands for a blank cell.",
            hint="Leave it out, and say what blank cells are by `blank`: abstain.",
        )
    known = {str(name).strip() for name in (() if classes is None else classes)}
    for key in keys:
        if key in known:
            raise InputError(
                f"'{key}' is named as an abstention and is a class.",
                hint="Take it from `abstain` or from the classes; a fit keeps the classes it has.",
            )
    return keys


class Spoken(NamedTuple):
    """The rows of a table of answers that count, told apart.

    Attributes:
        rows: the columns of all rows that count, by role.
        is_answer: which of them hold an answer; None if all do.
        answers: the columns of those.
    """

    rows: dict[str, Column]
    is_answer: npt.NDArray[np.bool_] | None
    answers: dict[str, Column]

    def split[T: np.generic](self, values: npt.NDArray[T]) -> tuple[npt.NDArray[T], npt.NDArray[T]]:
        """The values of the rows with an answer, and those of the rows with an abstention."""
        if self.is_answer is None:
            return values, values[:0]
        return values[self.is_answer], values[~self.is_answer]


def set_aside(
    rows: dict[str, Column],
    abstain: Sequence[str],
    blank: Blank,
    notes: list[str],
    kept: Sequence[str] = (),
) -> Spoken:
    """Tell answers from abstentions, and drop blank answers where that was asked for.

    Args:
        rows: the columns "example", "labeler" and "label".
        abstain: values that are abstentions, as `abstain_keys` returns them.
        blank: what a blank answer is; blanks were refused already if it is an error.
        notes: added to.
        kept: abstentions that are answers; the empty text for blank ones.
    """
    rows = {**rows, "label": rows["label"].declaring_none_of(abstain)}
    abstain = [key for key in abstain if key not in kept]
    keys, source = rows["label"].keys, rows["label"].source
    is_answer = np.ones(keys.size, bool)
    if blank != "error":
        is_blank = keys == ""
        note_blank(int(is_blank.sum()), blank, source.name, notes)
        if blank == "drop" and is_blank.any():
            filled = np.flatnonzero(~is_blank)
            rows = {role: column.entries(filled) for role, column in rows.items()}
            keys, is_answer = keys[filled], is_answer[filled]
        elif blank == "abstain" and "" not in kept:
            is_answer &= ~is_blank
    if abstain:
        is_answer &= ~pd.Series(keys).isin(abstain).to_numpy()
    if is_answer.all():
        return Spoken(rows, None, rows)
    given = np.flatnonzero(is_answer)
    return Spoken(rows, is_answer, {role: rows[role].entries(given) for role in rows})


def no_answer(where: str) -> InputError:
    """What to say of a table in which nobody answers."""
    return InputError(
        "no row holds an answer: all are blank or abstentions.",
        where=where,
        hint="Name fewer values in `abstain`, or wait for answers.",
    )


def note_blank(number: int, blank: Blank, where: str, notes: list[str]) -> None:
    """Note what became of blank answers."""
    if number:
        what = "are dropped" if blank == "drop" else "count as abstentions"
        notes.append(f"{where}: {number} row(s) with a blank answer {what}.")


def note_unused(keys: Sequence[str], where: str, notes: list[str]) -> None:
    """Note abstentions that were named and that nobody gave: a slip of spelling perhaps."""
    if keys:
        named = ", ".join(f"'{key}'" for key in keys)
        notes.append(WarningNote(f"{where}: no answer is {named}, named as an abstention."))


def note_alone(number: int, notes: list[str]) -> None:
    """Note examples that have abstentions and no answer."""
    if number:
        notes.append(
            f"{number} example(s) have abstentions and no answer: their probabilities are the "
            "class prior's."
        )


def note_look_alikes(keys: Sequence[str], count: Callable[[str], int], notes: list[str]) -> None:
    """Note classes that look like abstentions, as often as they were answered."""
    for key in keys:
        if looks_like_abstention(key, keys) and count(key):
            what = f"'{key}' is taken for a class, answered {count(key)} time(s); if it says"
            notes.append(WarningNote(f"{what} nothing about the class, name it in `abstain`."))


def looks_like_abstention(key: str, keys: Sequence[str]) -> bool:
    """Whether a class is called as people call what is none, among classes of these names."""
    if key in ("-1", "-1.0"):  # unless classes are coded -1 and 1, or go further down
        others = [other for other in keys if other != key]
        return others not in (["1"], ["1.0"]) and not any(other[:1] == "-" for other in others)
    plain = " ".join(key.casefold().replace("\u2019", "'").replace("_", " ").split())
    return plain in _LOOK_ALIKE or plain.replace("-", " ") in _LOOK_ALIKE
