"""What the gold says by itself, counted, whatever the fit has found.

A fit can be wrong and sure of it. Everything here is a count of gold with an exact test, so that a
page never repeats what the fit says of itself where the gold says otherwise.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import binom, fisher_exact, hypergeom

from gtx_bayes.aggregation.aggregate import Aggregation
from gtx_bayes.diagnostics.calibration import MIN_P, HeldOut
from gtx_bayes.diagnostics.report.outcome import WrongByGold, count_votes
from gtx_bayes.diagnostics.report.wording import percent, quoted
from gtx_bayes.labels import MISSING

FEWEST_ANSWERS = 5
"""Fewer answers to gold than this are not compared with guessing."""

MANY = 1.0 / 3.0
"""Gold that contradicts this share of the labelers contradicts the fit."""

DOUBT = 0.05
"""Gold with less than this probability, uncorrected, keeps a labeler from good and bad names."""

_MOST_PATTERNS = 3
_TAIL = 0.025


class LabelersOnGold(NamedTuple):
    """Every labeler's answers to gold, compared with the fit and with guessing.

    Attributes:
        is_tested: who has both answers to gold and an interval.
        p_below: probability of no more right answers at the lower end of the interval.
        p_above: probability of no fewer at its upper end.
        is_below: right on gold less often than the interval has it (`MIN_P`, corrected for the
            number tested and for both ends).
        is_above: right more often, likewise.
        is_opposite: right on gold less often than by guessing, likewise.
        p_guess: probability of no fewer right answers by guessing, uncorrected.
    """

    is_tested: npt.NDArray[np.bool_]
    p_below: npt.NDArray[np.float64]
    p_above: npt.NDArray[np.float64]
    is_below: npt.NDArray[np.bool_]
    is_above: npt.NDArray[np.bool_]
    is_opposite: npt.NDArray[np.bool_]
    p_guess: npt.NDArray[np.float64]

    @property
    def num_odd(self) -> int:
        """How many are right more or less often than their interval has it at `DOUBT`, each."""
        return int(np.sum(np.minimum(self.p_below, self.p_above) < DOUBT))

    @property
    def are_odd(self) -> bool:
        """Whether those are more than chance allows, at `MIN_P`."""
        return bool(binom.sf(self.num_odd - 1, self.is_tested.sum(), DOUBT) < MIN_P)

    @property
    def are_many(self) -> bool:
        """Whether gold contradicts so many of them that the fit is in doubt."""
        number = int(np.sum(self.is_below | self.is_above))
        return number >= 2 and number >= MANY * int(self.is_tested.sum())


class Coding(NamedTuple):
    """Whether gold and answers mean the same by the names of the classes.

    Attributes:
        num_answers: how many answers to gold there are.
        share_right: how many of them are right; NaN if there are none.
        chance: how many would be by guessing.
        swapped: pairs of classes, each of them mostly answered where the other is gold.
    """

    num_answers: int
    share_right: float
    chance: float
    swapped: tuple[tuple[str, str], ...]

    @property
    def is_below_chance(self) -> bool:
        """Whether answers to gold are right less often than guesses would be."""
        return self.num_answers >= FEWEST_ANSWERS and self.share_right < self.chance

    @property
    def is_doubted(self) -> bool:
        """Whether the classes seem to be named differently in gold and answers."""
        return self.is_below_chance or bool(self.swapped)

    @property
    def words(self) -> str:
        """What was counted, in a sentence."""
        found = (
            f"{percent(self.share_right)} of {self.num_answers:,} answers to gold are right, where "
            f"guessing would give {percent(self.chance)}"
        )
        if not self.swapped:
            return found
        pairs = " and ".join(f"{quoted(one)} with {quoted(two)}" for one, two in self.swapped)
        return f"{found}; {pairs} change places"


class Pattern(NamedTuple):
    """One class that comes out as another more often than the other way round.

    Attributes:
        gold: the class.
        label: the class that comes out for it.
        number: how many gold examples of `gold` got `label`.
        num_gold: of how many.
        reverse: how many of `label` got `gold`.
        num_reverse: of how many.
    """

    gold: str
    label: str
    number: int
    num_gold: int
    reverse: int
    num_reverse: int

    @property
    def words(self) -> str:
        """The same in words."""
        return (
            f"gold {quoted(self.gold)} comes out as {quoted(self.label)} for {self.number:,} of "
            f"{self.num_gold:,}, the other way round {self.reverse:,} of {self.num_reverse:,}"
        )


def compare_labelers(result: Aggregation, table: pd.DataFrame) -> LabelersOnGold:
    """Compare the number of right answers to gold with every interval, and with guessing.

    Guesses are right as often as the labeler's own answers would be on gold drawn at random, or as
    answers drawn from all classes alike: whichever is nearer to what was found.

    Args:
        result: any method's.
        table: its table of labelers.
    """
    right, num = table["num_correct"].to_numpy(np.int64), table["num_gold"].to_numpy(np.int64)
    low, high = (table[end].to_numpy(np.float64) for end in ("ci_low", "ci_high"))
    is_tested = (num > 0) & ~np.isnan(low) & ~np.isnan(high)
    level = MIN_P / max(2 * int(is_tested.sum()), 1)
    p_below = np.where(is_tested, binom.cdf(right, num, np.nan_to_num(low)), 1.0)
    p_above = np.where(is_tested, binom.sf(right - 1, num, np.nan_to_num(high, nan=1.0)), 1.0)
    chance, own = 1.0 / result.crowd.labels.num_classes, _share_by_guessing(result)
    has_gold = num > 0
    p_worse = np.where(has_gold, binom.cdf(right, num, np.minimum(own, chance)), 1.0)
    return LabelersOnGold(
        is_tested,
        p_below,
        p_above,
        is_below=p_below < level,
        is_above=p_above < level,
        is_opposite=p_worse < MIN_P / max(2 * int(has_gold.sum()), 1),
        p_guess=np.where(has_gold, binom.sf(right - 1, num, np.maximum(own, chance)), 1.0),
    )


def check_coding(result: Aggregation) -> Coding:
    """Count the answers to gold, all labelers together, and what most answers say of each class.

    Two classes are swapped where most answers name the second for more gold examples of the first
    than they name the first, the other way round too, and a sign test over the examples of both
    has p below `MIN_P`, corrected for the number of pairs.
    """
    crowd = result.crowd
    truth = np.asarray(crowd.assessment.true_label)
    *_, label, of_gold = _answers_to_gold(result)
    is_gold = np.flatnonzero(truth != MISSING)
    num_classes = crowd.labels.num_classes
    swapped: list[tuple[str, str]] = []
    if is_gold.size:
        votes = count_votes(result)[is_gold]
        most = votes.max(axis=1)
        is_clear = (votes == most[:, None]).sum(axis=1) == 1
        pairs = _cross(truth[is_gold][is_clear], votes.argmax(axis=1)[is_clear])
        for (one, two), number in pairs.items():
            if one >= two:
                continue
            back, first, second = (pairs.get(at, 0) for at in ((two, one), (one, one), (two, two)))
            against, agreeing = number + back, first + second
            p = binom.sf(against - 1, against + agreeing, 0.5) * num_classes * (num_classes - 1) / 2
            if number > first and back > second and p < MIN_P:
                swapped.append((str(crowd.class_names[one]), str(crowd.class_names[two])))
    share = float(np.mean(label == of_gold)) if label.size else float("nan")
    return Coding(label.size, share, 1.0 / num_classes, tuple(swapped))


def count_wrong(held_out: HeldOut, num_open: int) -> WrongByGold:
    """How many labels are wrong, judged by gold that was hidden from the fit.

    The limits are the numbers of wrong labels among the open examples at which as few, or as many,
    wrong ones among the hidden gold would each have probability .025, gold drawn at random from
    all: the exact test of the hypergeometric law, turned round.

    Args:
        held_out: the hidden gold.
        num_open: how many examples are not gold.
    """
    num_gold = held_out.example.size
    wrong = float(np.sum(1.0 - _credit(held_out)))
    some = round(wrong)

    def as_few(num_wrong: int) -> float:
        return float(hypergeom.cdf(some, num_gold + num_open, some + num_wrong, num_gold))

    def as_many(num_wrong: int) -> float:
        return float(hypergeom.sf(some - 1, num_gold + num_open, some + num_wrong, num_gold))

    high = _last(lambda number: as_few(number) >= _TAIL, num_open)
    low = _last(lambda number: as_many(number) < _TAIL, num_open) + 1
    return WrongByGold(num_gold, wrong, num_open, min(low, high), high)


def find_patterns(result: Aggregation, held_out: HeldOut) -> tuple[Pattern, ...]:
    """Classes that come out as others one-sidedly, the surest first, at most three.

    Fisher's exact test of both shares, p below `MIN_P`, corrected for the number of pairs.
    """
    names = result.crowd.class_names
    truth, label = np.asarray(held_out.true_label), np.asarray(held_out.class_probs).argmax(axis=1)
    num_gold = np.bincount(truth, minlength=names.size)
    pairs = _cross(truth, label)
    wrong = {at: number for at, number in pairs.items() if at[0] != at[1]}
    num_pairs = len({(min(at), max(at)) for at in wrong})
    found = []
    for (gold, other), number in wrong.items():
        back = wrong.get((other, gold), 0)
        of_gold, of_other = int(num_gold[gold]), int(num_gold[other])
        if number * of_other <= back * of_gold:
            continue
        shares = [[number, of_gold - number], [back, of_other - back]]
        p = float(fisher_exact(shares).pvalue) * num_pairs
        if p < MIN_P:
            words = (str(names[gold]), str(names[other]))
            found.append((p, Pattern(*words, number, of_gold, back, of_other)))
    found.sort(key=lambda pair: pair[0])
    return tuple(pattern for _, pattern in found[:_MOST_PATTERNS])


def err_together(result: Aggregation, first: object, second: object) -> bool:
    """Whether two labelers give one wrong answer to gold more often than by chance (p < .05)."""
    example, labeler, label, of_gold = _answers_to_gold(result)
    names = result.crowd.labeler_names
    wrong = []
    for name in (first, second):
        own = labeler == int(np.flatnonzero(names.astype(str) == str(name))[0])
        answers = np.where(label[own] == of_gold[own], MISSING, label[own])
        wrong.append(dict(zip(example[own].tolist(), answers.tolist(), strict=True)))
    common = wrong[0].keys() & wrong[1].keys()
    each = [sum(answers[at] != MISSING for at in common) for answers in wrong]
    alike = sum(wrong[0][at] == wrong[1][at] != MISSING for at in common)
    return alike > 0 and float(hypergeom.sf(alike - 1, len(common), *each)) < 2.0 * _TAIL


def _answers_to_gold(result: Aggregation) -> tuple[npt.NDArray[np.int64], ...]:
    """Example, labeler, answer and true class of every answer to gold."""
    labels = result.crowd.labels.of_classes()
    example, labeler, label = (
        np.asarray(of, np.int64) for of in (labels.example, labels.labeler, labels.label)
    )
    of_gold = np.asarray(result.crowd.assessment.true_label, np.int64)[example]
    kept = (label != MISSING) & (of_gold != MISSING)
    return example[kept], labeler[kept], label[kept], of_gold[kept]


def _share_by_guessing(result: Aggregation) -> npt.NDArray[np.float64]:
    """The share of each labeler's answers to gold that would be right on gold drawn at random."""
    _, labeler, label, _ = _answers_to_gold(result)
    truth = np.asarray(result.crowd.assessment.true_label)
    num_gold = np.bincount(truth[truth != MISSING], minlength=result.crowd.labels.num_classes)
    number = np.bincount(labeler, minlength=result.crowd.labels.num_labelers)
    expected = np.bincount(labeler, num_gold[label], minlength=number.size)
    return expected / np.maximum(number * num_gold.sum(), 1)


def _cross(
    one: npt.NDArray[np.integer], other: npt.NDArray[np.integer]
) -> dict[tuple[int, int], int]:
    """How often each pair of values occurs."""
    pairs, number = np.unique(np.stack([one, other], axis=1), axis=0, return_counts=True)
    return {(int(a), int(b)): int(n) for (a, b), n in zip(pairs, number, strict=True)}


def _credit(held_out: HeldOut) -> npt.NDArray[np.float64]:
    """1 for a right label, 0 for a wrong one, and the right one's share of a tie."""
    probs, truth = np.asarray(held_out.class_probs), np.asarray(held_out.true_label)
    is_best = probs == probs.max(axis=1, keepdims=True)
    return np.asarray(is_best[np.arange(truth.size), truth] / is_best.sum(axis=1), np.float64)


def _last(holds: Callable[[int], bool], most: int) -> int:
    """The largest number up to `most` for which it holds, as it does up to some number; else -1."""
    low, high = -1, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if holds(middle) else (low, middle - 1)
    return low
