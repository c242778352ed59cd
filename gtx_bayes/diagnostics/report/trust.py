"""Can it be trusted? What gold, replicated answers and the fit itself say for and against."""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Array, Key
from scipy.stats import poisson

from gtx_bayes.aggregation.aggregate import Aggregation
from gtx_bayes.diagnostics.calibration import (
    FEWEST_LABELS,
    MIN_P,
    Calibration,
    HeldOut,
    calibration,
    hold_out_gold,
)
from gtx_bayes.diagnostics.predictive import PredictiveChecks
from gtx_bayes.diagnostics.report.gold import (
    FEWEST_ANSWERS,
    Coding,
    LabelersOnGold,
    Pattern,
    check_coding,
    compare_labelers,
    count_wrong,
    find_patterns,
)
from gtx_bayes.diagnostics.report.outcome import WrongByGold, count_votes
from gtx_bayes.diagnostics.report.wording import amount, counted, percent, shown, visible

Light = Literal["green", "amber", "red"]
Honesty = Literal["honest", "unproven", "too little", "in places", "too much"]
"""What hidden gold says of confidence. The last three are refutations."""

CONTRADICTED = 0.05
"""A gold label that its example's answers give less probability than this is contradicted."""

MOST_CONTRADICTED = 10
_FEW_VOTES = 3  # fewer answers that all miss the gold label are nothing remarkable

GAPS = (0.1, 0.05)
"""Gaps between confidence and accuracy that gold should be able to show; the first decides."""

_VERDICTS: dict[Honesty, str] = {
    "honest": "Confidence is honest, as far as {num} can show.",
    "unproven": "Whether confidence is honest is not known.",
    "too little": "Confidence is not honest: it promises too little, which errs to the safe side.",
    "in places": "Confidence is not honest: in places it is off.",
    "too much": "Confidence is not honest: it promises too much.",
}


class Contradicted(NamedTuple):
    """A gold label that the crowd contradicts.

    Attributes:
        example: name of the example.
        gold: its gold label.
        crowd: the class that the answers make most probable, gold hidden.
        prob_crowd: its probability.
        prob_gold: the gold label's.
        votes_for_gold: how many answers agree with gold.
        num_answers: of how many.
    """

    example: str
    gold: str
    crowd: str
    prob_crowd: float
    prob_gold: float
    votes_for_gold: int
    num_answers: int


class WantedGold(NamedTuple):
    """How much gold would show how much.

    Attributes:
        gap: a gap between confidence and accuracy.
        num_gold: gold labels that would show it, at two standard errors.
    """

    gap: float
    num_gold: int


class Reason(NamedTuple):
    """Something that speaks for or against trust.

    Attributes:
        light: what it would have the light be, on its own.
        words: the reason.
    """

    light: Light
    words: str


class Trust(NamedTuple):
    """Whether to believe the labels.

    Attributes:
        light: "green", "amber" or "red": the worst that any reason has it be.
        reasons: why, the gravest first.
        honesty: what hidden gold says of confidence.
        num_gold: how many gold labels there are.
        held_out: the gold, hidden from the fit; None with fewer than two gold labels.
        by_gold: how many labels are wrong by it.
        worse_than_guessing: whether hidden gold finds the labels right less often than guesses.
        coding: whether gold and answers mean the same by the names of the classes.
        on_gold: the labelers' answers to gold, compared with what the fit says of them.
        patterns: classes that come out as others one-sidedly.
        calibration: confidence against gold that the fit did not see; None with fewer than
            `FEWEST_LABELS` gold labels.
        wanted_gold: how much gold would show how much.
        checks: posterior predictive checks; None for methods without a model of answers.
        is_tempered: whether confidence is tempered for labelers who err together.
        converged: whether the fit converged; None for methods that do not iterate.
        contradicted: gold labels that the crowd contradicts, at most `MOST_CONTRADICTED`; empty
            where there are no more than chance expects.
        num_contradicted: how many there are.
        num_unanimous: how many of them no answer agrees with, of three or more.
        num_expected: how many the probabilities themselves expect.
    """

    light: Light
    reasons: tuple[Reason, ...]
    honesty: Honesty
    num_gold: int
    held_out: HeldOut | None
    by_gold: WrongByGold | None
    worse_than_guessing: bool
    coding: Coding
    on_gold: LabelersOnGold
    patterns: tuple[Pattern, ...]
    calibration: Calibration | None
    wanted_gold: tuple[WantedGold, ...]
    checks: PredictiveChecks | None
    is_tempered: bool
    converged: bool | None
    contradicted: tuple[Contradicted, ...]
    num_contradicted: int
    num_unanimous: int
    num_expected: float

    @property
    def is_refuted(self) -> bool:
        """Whether hidden gold refutes confidence."""
        return self.honesty in ("too little", "in places", "too much")

    @property
    def is_fit_doubted(self) -> bool:
        """Whether gold speaks against the fit, so that labelers are to be judged by gold alone."""
        of_labelers = self.on_gold.are_many or self.on_gold.are_odd
        of_labels = self.worse_than_guessing or self.honesty == "too much"
        return of_labelers or of_labels or self.coding.is_doubted

    @property
    def honesty_words(self) -> str:
        """Whether confidence is honest, in a sentence: the same wherever it is said."""
        num = counted(self.num_gold, "hidden gold label")
        return _VERDICTS[self.honesty].format(num=num)

    @property
    def verdict(self) -> str:
        """The light in a sentence or two."""
        words = []
        if self.coding.is_doubted:
            words.append("The classes seem swapped between gold and answers.")
        if self.worse_than_guessing:
            words.append("The labels are right less often than guesses would be.")
        if self.converged is False:
            words.append("The fit did not converge.")
        if self.on_gold.are_many:
            words.append("Gold contradicts what the fit says of many labelers.")
        return " ".join([*words, self.honesty_words])


def judge_trust(key: Key[Array, ""], result: Aggregation, checks: PredictiveChecks | None) -> Trust:
    """Weigh what speaks for and against a result.

    The light is never green without gold that the fit did not see.

    Args:
        key: random key of the calibration's resampling.
        result: any method's.
        checks: its predictive checks, where the method has a model of answers.
    """
    num_gold = result.crowd.assessment.num_gold
    num_classes, num_open = result.crowd.labels.num_classes, result.open_confidence().size
    found, contradicted = None, _Contradictions((), 0, 0, 0.0)
    held_out = by_gold = None
    patterns: tuple[Pattern, ...] = ()
    worse_than_guessing = False
    if num_gold >= 2:
        held_out = hold_out_gold(result)
        by_gold = count_wrong(held_out, num_open)
        share_right = 1.0 - by_gold.num_wrong / num_gold
        worse_than_guessing = num_gold >= FEWEST_ANSWERS and share_right < 1.0 / num_classes
        contradicted = _contradictions(result, held_out)
        patterns = find_patterns(result, held_out)
        found = calibration(key, held_out) if num_gold >= FEWEST_LABELS else None
    joint = result.fit.joint
    is_tempered = joint is not None and joint.dependence.mean > 0.0
    converged = None if joint is None else joint.converged
    coding = check_coding(result)
    on_gold = compare_labelers(result, result.labelers())
    honesty = _honesty(found)
    reasons = [
        *_of_coding(coding),
        *_of_guessing(by_gold, is_worse=worse_than_guessing, chance=1.0 / num_classes),
        *_of_labelers(on_gold),
        *_of_gold(found, num_gold, honesty),
        *_of_contradictions(contradicted),
        *_of_fit(result, converged),
        *_of_checks(checks, is_tempered, honesty),
    ]
    gravity: list[Light] = ["red", "amber", "green"]
    reasons.sort(key=lambda reason: gravity.index(reason.light))
    return Trust(
        light=reasons[0].light,
        reasons=tuple(reasons),
        honesty=honesty,
        num_gold=num_gold,
        held_out=held_out,
        by_gold=by_gold,
        worse_than_guessing=worse_than_guessing,
        coding=coding,
        on_gold=on_gold,
        patterns=patterns,
        calibration=found,
        wanted_gold=_wanted_gold(result, found),
        checks=checks,
        is_tempered=is_tempered,
        converged=converged,
        contradicted=contradicted.rows if contradicted.is_excess else (),
        num_contradicted=contradicted.number,
        num_unanimous=contradicted.num_unanimous,
        num_expected=contradicted.num_expected,
    )


def _honesty(found: Calibration | None) -> Honesty:
    if found is None:
        return "unproven"
    if min(found.p_overconfident, found.p_log_loss) < MIN_P:
        return "too much"
    if found.p_underconfident < MIN_P:
        return "too little"
    if found.problems:
        return "in places"
    few = found.num_examples < _gold_to_show(GAPS[0], found.mean_confidence)
    return "unproven" if few else "honest"


def _of_coding(coding: Coding) -> list[Reason]:
    if not coding.is_doubted:
        return []
    return [Reason("red", f"The classes seem swapped: {coding.words}.")]


def _of_guessing(by_gold: WrongByGold | None, *, is_worse: bool, chance: float) -> list[Reason]:
    if by_gold is None or not is_worse:
        return []
    right = by_gold.num_hidden - by_gold.num_wrong
    return [
        Reason(
            "red",
            f"Of {counted(by_gold.num_hidden, 'gold label')} hidden from the fit it found "
            f"{percent(right / by_gold.num_hidden)}, where guessing would find {percent(chance)}.",
        )
    ]


def _of_labelers(on_gold: LabelersOnGold) -> list[Reason]:
    below, above = int(on_gold.is_below.sum()), int(on_gold.is_above.sum())
    tested = counted(int(on_gold.is_tested.sum()), "labeler")
    parts = [
        f"{number:,} {'is' if number == 1 else 'are'} right on gold {often} often than the fit says"
        for number, often in ((below, "less"), (above, "more"))
        if number
    ]
    if parts:
        words = f"Of {tested} who answered gold {' and '.join(parts)}."
        return [Reason("red" if on_gold.are_many else "amber", words)]
    if on_gold.are_odd:
        words = (
            f"Of {tested} who answered gold {on_gold.num_odd:,} are right on it more or less often "
            "than the fit says, each by little but too many for chance: labelers are judged by "
            "gold alone."
        )
        return [Reason("amber", words)]
    return []


def _of_gold(found: Calibration | None, num_gold: int, honesty: Honesty) -> list[Reason]:
    if found is None:
        few = (
            f"{counted(num_gold, 'gold label is', 'gold labels are')} too few"
            if num_gold
            else "there is no gold"
        )
        words = f"Confidence cannot be checked: {few}, {FEWEST_LABELS} are the least."
        return [Reason("amber", words)]
    right, promised = float(found.metrics["accuracy"].value), found.mean_confidence
    compared = (
        f"of {counted(found.num_examples, 'gold label')} hidden from the fit it found "
        f"{percent(right)}, where {percent(promised)} were promised"
    )
    if honesty == "too much":
        if found.p_overconfident < MIN_P:
            return [Reason("red", f"Confidence promises too much: {compared}.")]
        return [
            Reason(
                "red",
                "Confidence promises too much: labels that were all but certain are wrong, and "
                f"{compared}.",
            )
        ]
    if honesty == "too little":
        return [Reason("amber", f"Confidence promises too little: {compared}.")]
    if honesty == "in places":
        return [Reason("amber", f"Confidence is off in places: {compared}.")]
    seen = 2.0 * float(np.sqrt(promised * (1.0 - promised) / found.num_examples))
    if honesty == "unproven":
        return [
            Reason(
                "amber",
                f"Nothing speaks against confidence, but little could: {compared}, and so few "
                f"show only a gap of {100.0 * seen:.0f} points or more.",
            )
        ]
    return [
        Reason(
            "green",
            f"Confidence kept its promise: {compared}, and a gap of {100.0 * seen:.0f} points or "
            "more would show.",
        )
    ]


def _of_contradictions(found: "_Contradictions") -> list[Reason]:
    if not found.is_excess:
        return []
    return [
        Reason(
            "amber",
            f"The crowd rules out {counted(found.number, 'gold label')}, where "
            f"{amount(found.num_expected)} would be by chance.",
        )
    ]


def _of_fit(result: Aggregation, converged: bool | None) -> list[Reason]:
    reasons = []
    if converged is not None:
        words = "The fit converged." if converged else "The fit was stopped before it converged."
        reasons.append(Reason("green" if converged else "red", words))
    accuracy = result.fit.labeler_accuracy.accuracy
    chance = 1.0 / result.crowd.labels.num_classes
    if not np.isnan(accuracy).all() and np.nanmean(accuracy) < chance:
        reasons.append(
            Reason(
                "red",
                "The labelers come out worse than guessing on average: do gold and answers name "
                "the classes alike?",
            )
        )
    return reasons


def _of_checks(
    checks: PredictiveChecks | None, is_tempered: bool, honesty: Honesty
) -> list[Reason]:
    if checks is None:
        return []
    if not checks.problems:
        return [Reason("green", "Answers drawn from the model look like the crowd's.")]
    misfit = "The crowd's answers are not as the model has them"
    if is_tempered and honesty == "too much":
        return [Reason("amber", f"{misfit}, and tempering confidence has not made up for it.")]
    if is_tempered:
        return [Reason("green", f"{misfit}, which is why confidence is tempered.")]
    return [Reason("amber", f"{misfit}, and confidence is not tempered for it.")]


class _Contradictions(NamedTuple):
    rows: tuple[Contradicted, ...]
    number: int
    num_unanimous: int
    num_expected: float

    @property
    def is_excess(self) -> bool:
        """Whether there are more than chance allows, at `MIN_P`."""
        # Of independent events, so many are less likely than under the Poisson law of that mean.
        return self.number > 0 and bool(poisson.sf(self.number - 1, self.num_expected) < MIN_P)


def _contradictions(result: Aggregation, held_out: HeldOut) -> _Contradictions:
    """Gold that the answers rule out, or that none of them names, and that is not the label."""
    crowd = result.crowd
    truth, probs = np.asarray(held_out.true_label), np.asarray(held_out.class_probs, np.float64)
    votes = count_votes(result)[held_out.example]
    each = np.arange(truth.size)
    prob_gold, votes_for_gold = probs[each, truth], votes[each, truth]
    is_unnamed = (votes == 0) & (votes.sum(axis=1, keepdims=True) >= _FEW_VOTES)
    crowd_says = probs.argmax(axis=1)
    is_ruled_out = (probs < CONTRADICTED) | is_unnamed
    is_ruled_out[each, crowd_says] = False
    against = np.flatnonzero(is_ruled_out[each, truth])
    rows = tuple(
        Contradicted(
            example=shown(crowd.example_names[held_out.example[at]]),
            gold=shown(crowd.class_names[truth[at]]),
            crowd=shown(crowd.class_names[crowd_says[at]]),
            prob_crowd=float(probs[at, crowd_says[at]]),
            prob_gold=float(prob_gold[at]),
            votes_for_gold=int(votes_for_gold[at]),
            num_answers=int(votes[at].sum()),
        )
        for at in against[np.argsort(prob_gold[against], kind="stable")[:MOST_CONTRADICTED]]
    )
    num_unanimous = int(is_unnamed[each, truth][against].sum())
    return _Contradictions(rows, against.size, num_unanimous, float(probs.sum(where=is_ruled_out)))


def _wanted_gold(result: Aggregation, found: Calibration | None) -> tuple[WantedGold, ...]:
    confidence = result.open_confidence()
    promised = float(confidence.mean()) if confidence.size else 0.5
    promised = promised if found is None else found.mean_confidence
    return tuple(WantedGold(gap, _gold_to_show(gap, promised)) for gap in GAPS)


def _gold_to_show(gap: float, promised: float) -> int:
    r"""Gold labels whose accuracy shows a gap, :math:`4 p (1 - p) / \text{gap}^2`.

    Two standard errors, that is, of the accuracy p that is promised.
    """
    return max(FEWEST_LABELS, round(4.0 * promised * (1.0 - promised) / gap**2))


def in_words(checks: PredictiveChecks) -> tuple[str, ...]:
    """The verdicts of the checks that fail, or the one that none does."""
    problems = (visible(problem) for problem in checks.problems)
    return tuple(f"{text[:1].upper()}{text[1:]}." for text in problems) or (checks.verdict,)
