"""Can it be trusted? What gold, replicated answers and the fit itself say for and against."""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Array, Key

from gtx_bayes.aggregation.result import Aggregation
from gtx_bayes.diagnostics.calibration import (
    FEWEST_LABELS,
    MIN_P,
    Calibration,
    HeldOut,
    calibration,
    hold_out_gold,
)
from gtx_bayes.diagnostics.predictive import PredictiveChecks
from gtx_bayes.diagnostics.report import gold
from gtx_bayes.diagnostics.report.gold import Coding, Contradictions, LabelersOnGold, WrongByGold
from gtx_bayes.diagnostics.report.wording import amount, counted, percent, visible

Light = Literal["green", "amber", "red"]
Honesty = Literal["honest", "unproven", "too little", "in places", "too much"]
"""What hidden gold says of confidence. The last three are refutations."""

GAPS = (0.1, 0.05)
"""Gaps between confidence and accuracy that gold should be able to show; the first decides."""

_HONESTY: dict[Honesty, tuple[Light, str, str]] = {
    "honest": (
        "green",
        "Confidence is honest, as far as {num} can show.",
        "Confidence kept its promise: {compared}, and a gap of {gap:.0f} points or more would "
        "show.",
    ),
    "unproven": (
        "amber",
        "Whether confidence is honest is not known.",
        "Nothing speaks against confidence, but little could: {compared}, and so few show only a "
        "gap of {gap:.0f} points or more.",
    ),
    "too little": (
        "amber",
        "Confidence is not honest: it promises too little, which errs to the safe side.",
        "Confidence promises too little: {compared}.",
    ),
    "in places": (
        "amber",
        "Confidence is not honest: in places it is off.",
        "Confidence is off in places: {compared}.",
    ),
    "too much": (
        "red",
        "Confidence is not honest: it promises too much.",
        "Confidence promises too much: {surely}{compared}.",
    ),
}
"""By what hidden gold says: the light, the verdict, and the reason."""


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
        reasons: what speaks for and against, the gravest first.
        honesty: what hidden gold says of confidence.
        num_gold: how many gold labels there are.
        held_out: the gold, hidden from the fit; None with fewer than two gold labels.
        by_gold: how many labels are wrong by it.
        worse_than_guessing: whether hidden gold finds the labels right less often than guesses.
        coding: whether gold and answers mean the same by the names of the classes.
        on_gold: the labelers' answers to gold, compared with what the fit says of them.
        patterns: classes that come out as others one-sidedly.
        contradictions: gold labels that the crowd contradicts.
        calibration: confidence against gold that the fit did not see; None with fewer than
            `FEWEST_LABELS` gold labels.
        wanted_gold: how many gold labels would show each of `GAPS`, at two standard errors.
        checks: posterior predictive checks; None for methods without a model of answers.
        is_tempered: whether confidence is tempered for labelers who err together.
        converged: whether the fit converged; None for methods that do not iterate.
    """

    reasons: tuple[Reason, ...]
    honesty: Honesty
    num_gold: int
    held_out: HeldOut | None
    by_gold: WrongByGold | None
    worse_than_guessing: bool
    coding: Coding
    on_gold: LabelersOnGold
    patterns: tuple[gold.Pattern, ...]
    contradictions: Contradictions
    calibration: Calibration | None
    wanted_gold: dict[float, int]
    checks: PredictiveChecks | None
    is_tempered: bool
    converged: bool | None

    @property
    def light(self) -> Light:
        """The worst that any reason has it be."""
        return self.reasons[0].light

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
        return _HONESTY[self.honesty][1].format(num=counted(self.num_gold, "hidden gold label"))

    @property
    def verdict(self) -> str:
        """The light in a sentence or two."""
        doubts = {
            "The classes seem swapped between gold and answers.": self.coding.is_doubted,
            "The labels are right less often than guesses would be.": self.worse_than_guessing,
            "The fit did not converge.": self.converged is False,
            "Gold contradicts what the fit says of many labelers.": self.on_gold.are_many,
        }
        return " ".join([*(words for words, holds in doubts.items() if holds), self.honesty_words])


def judge_trust(key: Key[Array, ""], result: Aggregation, checks: PredictiveChecks | None) -> Trust:
    """Weigh what speaks for and against a result.

    The light is never green without gold that the fit did not see.

    Args:
        key: random key of the calibration's resampling.
        result: any method's.
        checks: its predictive checks, where the method has a model of answers.
    """
    joint, num_gold = result.fit.joint, result.crowd.assessment.num_gold
    confidence = result.open_confidence()
    held_out = hold_out_gold(result) if num_gold >= 2 else None
    by_gold = None if held_out is None else gold.count_wrong(held_out, confidence.size)
    share_right = 1.0 if by_gold is None else 1.0 - by_gold.num_wrong / num_gold
    chance = 1.0 / result.crowd.labels.num_classes
    found = None
    if held_out is not None and num_gold >= FEWEST_LABELS:
        found = calibration(key, held_out)
    promised = float(confidence.mean()) if confidence.size else 0.5
    promised = promised if found is None else found.mean_confidence
    trust = Trust(
        reasons=(),
        honesty=_honesty(found),
        num_gold=num_gold,
        held_out=held_out,
        by_gold=by_gold,
        worse_than_guessing=num_gold >= gold.FEWEST_ANSWERS and share_right < chance,
        coding=gold.check_coding(result),
        on_gold=gold.compare_labelers(result, result.in_pandas.labelers()),
        patterns=() if held_out is None else gold.find_patterns(result, held_out),
        contradictions=gold.find_contradictions(result, held_out),
        calibration=found,
        wanted_gold={gap: _gold_to_show(gap, promised) for gap in GAPS},
        checks=checks,
        is_tempered=joint is not None and joint.dependence.mean > 0.0,
        converged=None if joint is None else joint.converged,
    )
    reasons = [
        *_of_gold(trust, chance),
        _of_confidence(trust),
        *_of_fit(trust, result),
    ]
    gravity: list[Light] = ["red", "amber", "green"]
    reasons.sort(key=lambda reason: gravity.index(reason.light))
    return trust._replace(reasons=tuple(reasons))


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


def _of_gold(trust: Trust, chance: float) -> list[Reason]:
    """What gold says of the classes' names, of the labels, and of the labelers."""
    reasons, by_gold, on_gold = [], trust.by_gold, trust.on_gold
    if trust.coding.is_doubted:
        reasons.append(Reason("red", f"The classes seem swapped: {trust.coding.words}."))
    if by_gold is not None and trust.worse_than_guessing:
        right = percent(1.0 - by_gold.num_wrong / by_gold.num_hidden)
        words = (
            f"Of {counted(by_gold.num_hidden, 'gold label')} hidden from the fit it found {right}, "
            f"where guessing would find {percent(chance)}."
        )
        reasons.append(Reason("red", words))
    tested = counted(int(on_gold.is_tested.sum()), "labeler")
    numbers = {"less": int(on_gold.is_below.sum()), "more": int(on_gold.is_above.sum())}
    contradicted = " and ".join(
        f"{number:,} {'is' if number == 1 else 'are'} right on gold {often} often than the fit says"
        for often, number in numbers.items()
        if number
    )
    if contradicted:
        words = f"Of {tested} who answered gold {contradicted}."
        reasons.append(Reason("red" if on_gold.are_many else "amber", words))
    elif on_gold.are_odd:
        words = (
            f"Of {tested} who answered gold {on_gold.num_odd:,} are right on it more or less often "
            "than the fit says, each by little but too many for chance: labelers are judged by "
            "gold alone."
        )
        reasons.append(Reason("amber", words))
    return reasons


def _of_confidence(trust: Trust) -> Reason:
    found = trust.calibration
    if found is None:
        few = "there is no gold"
        if trust.num_gold:
            few = f"{counted(trust.num_gold, 'gold label is', 'gold labels are')} too few"
        words = f"Confidence cannot be checked: {few}, {FEWEST_LABELS} are the least."
        return Reason("amber", words)
    light, _, words = _HONESTY[trust.honesty]
    right, promised = float(found.metrics["accuracy"].value), found.mean_confidence
    hidden = counted(found.num_examples, "gold label")
    surely = "labels that were all but certain are wrong, and "
    filled = words.format(
        compared=f"of {hidden} hidden from the fit it found {percent(right)}, where "
        f"{percent(promised)} were promised",
        gap=200.0 * np.sqrt(promised * (1.0 - promised) / found.num_examples),
        surely="" if found.p_overconfident < MIN_P else surely,
    )
    return Reason(light, filled)


def _of_fit(trust: Trust, result: Aggregation) -> list[Reason]:
    """Gold that the crowd rules out, convergence, bad labelers, and the predictive checks."""
    reasons, against = [], trust.contradictions
    if against.is_excess:
        words = (
            f"The crowd rules out {counted(against.number, 'gold label')}, where "
            f"{amount(against.num_expected)} would be by chance."
        )
        reasons.append(Reason("amber", words))
    if trust.converged is not None:
        how = "converged" if trust.converged else "was stopped before it converged"
        reasons.append(Reason("green" if trust.converged else "red", f"The fit {how}."))
    accuracy = result.in_pandas.labelers()["accuracy"].mean()  # NaN where none is known
    if accuracy < 1.0 / result.crowd.labels.num_classes:
        words = (
            "The labelers come out worse than guessing on average: do gold and answers name the "
            "classes alike?"
        )
        reasons.append(Reason("red", words))
    if trust.checks is None:
        return reasons
    misfit = "The crowd's answers are not as the model has them"
    if not trust.checks.problems:
        reason = Reason("green", "Answers drawn from the model look like the crowd's.")
    elif result.fit.joint is not None and not result.fit.joint.is_auto:
        words = f"{misfit}, which was asked for by name: compare it with the pool, --model auto."
        reason = Reason("amber", words)
    elif not trust.is_tempered:
        reason = Reason("amber", f"{misfit}, and confidence is not tempered for it.")
    elif trust.honesty == "too much":
        reason = Reason("amber", f"{misfit}, and tempering confidence has not made up for it.")
    else:
        reason = Reason("green", f"{misfit}, which is why confidence is tempered.")
    return [*reasons, reason]


def _gold_to_show(gap: float, promised: float) -> int:
    r"""Gold labels whose accuracy shows a gap, :math:`4 p (1 - p) / \text{gap}^2`.

    Two standard errors, that is, of the accuracy p that is promised.
    """
    return max(FEWEST_LABELS, round(4.0 * promised * (1.0 - promised) / gap**2))


def in_words(checks: PredictiveChecks) -> tuple[str, ...]:
    """The verdicts of the checks that fail, or the one that none does."""
    problems = (visible(problem) for problem in checks.problems)
    return tuple(f"{text[:1].upper()}{text[1:]}." for text in problems) or (checks.verdict,)
