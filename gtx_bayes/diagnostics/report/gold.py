"""What the gold says by itself, counted, whatever the fit has found.

A fit can be wrong and sure of it. Everything here is a count of gold with an exact test, so that a
page never repeats what the fit says of itself where the gold says otherwise.
"""

import bisect
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import binom, fisher_exact, hypergeom, poisson

from gtx_bayes.aggregation.result import Aggregation
from gtx_bayes.diagnostics.calibration import MIN_P, HeldOut
from gtx_bayes.diagnostics.report.wording import amount, percent, quoted
from gtx_bayes.labels import MISSING

FEWEST_ANSWERS = 5
"""Fewer answers to gold than this are not compared with guessing."""

MANY = 1.0 / 3.0
"""Gold that contradicts this share of the labelers contradicts the fit."""

DOUBT = 0.05
"""Gold with less than this probability, uncorrected, keeps a labeler from good and bad names."""

CONTRADICTED = 0.05
"""A gold label that its example's answers give less probability than this is contradicted."""

MOST_CONTRADICTED = 10

_FEW_VOTES = 3  # fewer answers that all miss the gold label are nothing remarkable
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
    def is_doubted(self) -> bool:
        """Whether answers are right less often than guesses, or two classes change places."""
        is_below_chance = self.num_answers >= FEWEST_ANSWERS and self.share_right < self.chance
        return is_below_chance or bool(self.swapped)

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


class WrongByGold(NamedTuple):
    """How many labels are wrong, judged by gold that was hidden from the fit.

    Attributes:
        num_hidden: how many gold labels were hidden.
        num_wrong: how many of them the fit had wrong; a tie counts in part.
        num_open: how many examples are not gold.
        low: lower limit of the number of wrong labels among those, 95 %.
        high: upper limit.
    """

    num_hidden: int
    num_wrong: float
    num_open: int
    low: int
    high: int

    @property
    def expected(self) -> float:
        """How many of the open labels are wrong, if as large a share is as of the hidden gold."""
        return self.num_open * self.num_wrong / self.num_hidden

    @property
    def words(self) -> str:
        """The number with its limits."""
        return f"{amount(self.expected)} ({self.low:,} to {self.high:,})"


class Contradictions(NamedTuple):
    """Gold labels that the crowd contradicts.

    Attributes:
        rows: of the surest, at most `MOST_CONTRADICTED`: task, its gold, the class that the
            answers make most probable with gold hidden (crowd), both probabilities, and how many
            answers agree with gold, of how many.
        number: how many there are.
        num_unanimous: how many of them no answer agrees with, of three or more.
        num_expected: how many the probabilities themselves expect.
    """

    rows: pd.DataFrame
    number: int
    num_unanimous: int
    num_expected: float

    @property
    def is_excess(self) -> bool:
        """Whether there are more than chance allows, at `MIN_P`."""
        # Of independent events, so many are less likely than under the Poisson law of that mean.
        return self.number > 0 and bool(poisson.sf(self.number - 1, self.num_expected) < MIN_P)


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
    has_gold = num > 0
    is_tested = has_gold & ~np.isnan(low) & ~np.isnan(high)
    level, level_of_guesses = (MIN_P / max(2 * int(of.sum()), 1) for of in (is_tested, has_gold))
    p_below, p_above = outside(right, num, low, high)
    chance, by_guessing = 1.0 / result.crowd.labels.num_classes, _share_by_guessing(result)
    p_worse = np.where(has_gold, binom.cdf(right, num, np.minimum(by_guessing, chance)), 1.0)
    return LabelersOnGold(
        is_tested,
        p_below,
        p_above,
        is_below=p_below < level,
        is_above=p_above < level,
        is_opposite=p_worse < level_of_guesses,
        p_guess=np.where(has_gold, binom.sf(right - 1, num, np.maximum(by_guessing, chance)), 1.0),
    )


def outside(
    right: npt.NDArray[np.int64],
    num_gold: npt.NDArray[np.int64],
    low: npt.NDArray[np.float64],
    high: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Probability of no more right answers at the lower limits, and of no fewer at the upper ones.

    One where there is no gold or no limit.
    """
    is_tested = (num_gold > 0) & ~np.isnan(low) & ~np.isnan(high)
    p_below = np.where(is_tested, binom.cdf(right, num_gold, np.nan_to_num(low)), 1.0)
    p_above = np.where(is_tested, binom.sf(right - 1, num_gold, np.nan_to_num(high, nan=1.0)), 1.0)
    return p_below, p_above


def check_coding(result: Aggregation) -> Coding:
    """Count the answers to gold, all labelers together, and what most answers say of each class.

    Two classes are swapped where most answers name the second for more gold examples of the first
    than they name the first, the other way round too, and a sign test over the examples of both
    has p below `MIN_P`, corrected for the number of pairs.
    """
    names, num_classes = result.crowd.class_names, result.crowd.labels.num_classes
    truth = np.asarray(result.crowd.assessment.true_label)
    *_, label, of_gold = _answers_to_gold(result)
    is_gold = np.flatnonzero(truth != MISSING)
    votes = count_votes(result)[is_gold]
    is_clear = (votes == votes.max(axis=1, keepdims=True)).sum(axis=1) == 1
    pairs = _cross(truth[is_gold][is_clear], votes.argmax(axis=1)[is_clear])
    swapped = []
    for (one, two), number in pairs.items():
        back, first, second = (pairs.get(at, 0) for at in ((two, one), (one, one), (two, two)))
        against = number + back
        p = binom.sf(against - 1, against + first + second, 0.5)
        p *= num_classes * (num_classes - 1) / 2
        if one < two and number > first and back > second and p < MIN_P:
            swapped.append((str(names[one]), str(names[two])))
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
    probs, truth = np.asarray(held_out.class_probs), np.asarray(held_out.true_label)
    is_best = probs == probs.max(axis=1, keepdims=True)
    share_of_tie = is_best[np.arange(truth.size), truth] / is_best.sum(axis=1)
    num_gold, wrong = truth.size, float(np.sum(1.0 - share_of_tie))
    some, every = round(wrong), range(num_open + 1)

    def is_too_few(num_wrong: int) -> bool:
        return bool(hypergeom.cdf(some, num_gold + num_open, some + num_wrong, num_gold) < _TAIL)

    def is_likely(num_wrong: int) -> bool:
        law = hypergeom.sf(some - 1, num_gold + num_open, some + num_wrong, num_gold)
        return bool(law >= _TAIL)

    high = bisect.bisect_left(every, True, key=is_too_few) - 1
    low = bisect.bisect_left(every, True, key=is_likely)
    return WrongByGold(num_gold, wrong, num_open, min(low, high), high)


def find_patterns(result: Aggregation, held_out: HeldOut) -> tuple[Pattern, ...]:
    """Classes that come out as others one-sidedly, the surest first, at most three.

    Fisher's exact test of both shares, p below `MIN_P`, corrected for the number of pairs.
    """
    names = result.crowd.class_names
    truth, label = np.asarray(held_out.true_label), np.asarray(held_out.class_probs).argmax(axis=1)
    num_gold = np.bincount(truth, minlength=names.size).tolist()
    wrong = {at: number for at, number in _cross(truth, label).items() if at[0] != at[1]}
    num_pairs = len({(min(at), max(at)) for at in wrong})
    found = []
    for (gold, other), number in wrong.items():
        back, of_gold, of_other = wrong.get((other, gold), 0), num_gold[gold], num_gold[other]
        if number * of_other <= back * of_gold:
            continue
        shares = [[number, of_gold - number], [back, of_other - back]]
        p = float(fisher_exact(shares).pvalue) * num_pairs
        if p < MIN_P:
            words = (str(names[gold]), str(names[other]))
            found.append((p, Pattern(*words, number, of_gold, back, of_other)))
    found.sort(key=lambda pair: pair[0])
    return tuple(pattern for _, pattern in found[:_MOST_PATTERNS])


def find_contradictions(result: Aggregation, held_out: HeldOut | None) -> Contradictions:
    """Gold that the answers rule out, or that none of them names, and that is not the label."""
    if held_out is None:
        return Contradictions(pd.DataFrame(), 0, 0, 0.0)
    crowd = result.crowd
    truth, probs = np.asarray(held_out.true_label), np.asarray(held_out.class_probs, np.float64)
    votes = count_votes(result)[held_out.example]
    each = np.arange(truth.size)
    prob_gold = probs[each, truth]
    is_unnamed = (votes == 0) & (votes.sum(axis=1, keepdims=True) >= _FEW_VOTES)
    crowd_says = probs.argmax(axis=1)
    is_ruled_out = (probs < CONTRADICTED) | is_unnamed
    is_ruled_out[each, crowd_says] = False
    against = np.flatnonzero(is_ruled_out[each, truth])
    at = against[np.argsort(prob_gold[against], kind="stable")[:MOST_CONTRADICTED]]
    rows = pd.DataFrame(
        {
            "task": crowd.example_names[held_out.example[at]],
            "gold": crowd.class_names[truth[at]],
            "crowd": crowd.class_names[crowd_says[at]],
            "prob_crowd": probs[at, crowd_says[at]],
            "prob_gold": prob_gold[at],
            "votes_for_gold": votes[at, truth[at]],
            "num_labels": votes[at].sum(axis=1),
        }
    )
    num_unanimous = int(is_unnamed[each, truth][against].sum())
    return Contradictions(rows, against.size, num_unanimous, float(probs.sum(where=is_ruled_out)))


def err_together(result: Aggregation, first: object, second: object) -> bool:
    """Whether two labelers give one wrong answer to gold more often than by chance (p < .05)."""
    example, labeler, label, of_gold = _answers_to_gold(result)
    names = result.crowd.labeler_names.astype(str)
    one, other = (
        pd.Series(label[rows], example[rows]).where(label[rows] != of_gold[rows], MISSING)
        for rows in (labeler == np.flatnonzero(names == str(name))[0] for name in (first, second))
    )
    last = [of.groupby(level=0).last() for of in (one, other)]  # of who answered twice
    common = pd.concat(last, axis=1, join="inner").to_numpy()
    is_wrong = common != MISSING
    alike = int((is_wrong[:, 0] & (common[:, 0] == common[:, 1])).sum())
    p = hypergeom.sf(alike - 1, len(common), *is_wrong.sum(axis=0))
    return alike > 0 and bool(p < 2.0 * _TAIL)


def count_votes(result: Aggregation) -> npt.NDArray[np.int64]:
    """How many answers name each class of each example."""
    labels = result.crowd.labels.of_classes()
    answers = np.asarray(labels.label, np.int64)
    cell = (np.asarray(labels.example, np.int64) * labels.num_classes + answers)[answers != MISSING]
    votes = np.bincount(cell, minlength=labels.num_examples * labels.num_classes)
    return votes.reshape(labels.num_examples, labels.num_classes)


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
