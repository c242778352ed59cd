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
from gtx_bayes.diagnostics.report.outcome import count_votes
from gtx_bayes.diagnostics.report.wording import amount, counted, percent, shown, visible

Light = Literal["green", "amber", "red"]

CONTRADICTED = 0.05
"""A gold label that its example's answers give less probability than this is contradicted."""

MOST_CONTRADICTED = 10
_FEW_VOTES = 3  # fewer answers that all miss the gold label are nothing remarkable

GAPS = (0.1, 0.05)
"""Gaps between confidence and accuracy that gold should be able to show; the first decides."""

_HEADLINES: dict[Light, str] = {
    "green": "The labels and their confidence can be used as they are.",
    "amber": "The labels can be used with care: their confidence is not proven.",
    "red": "Do not rely on the confidence yet.",
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
        num_gold: how many gold labels there are.
        calibration: confidence against gold that the fit did not see; None with fewer than
            `FEWEST_LABELS` gold labels.
        wanted_gold: how much gold would show how much.
        checks: posterior predictive checks; None for methods without a model of answers.
        is_tempered: whether confidence is tempered for labelers who err together.
        converged: whether the fit came to rest; None for methods that do not iterate.
        contradicted: gold labels that the crowd contradicts, at most `MOST_CONTRADICTED`.
        num_contradicted: how many there are.
        num_unanimous: how many of them no answer agrees with, of three or more.
        num_expected: how many the probabilities themselves expect.
    """

    light: Light
    reasons: tuple[Reason, ...]
    num_gold: int
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
    def verdict(self) -> str:
        """The light in a sentence."""
        return _HEADLINES[self.light]


def judge_trust(key: Key[Array, ""], result: Aggregation, checks: PredictiveChecks | None) -> Trust:
    """Weigh what speaks for and against a result.

    The light is never green without gold that the fit did not see.

    Args:
        key: random key of the calibration's resampling.
        result: any method's.
        checks: its predictive checks, where the method has a model of answers.
    """
    num_gold = result.crowd.assessment.num_gold
    found, contradicted = None, _Contradictions((), 0, 0, 0.0)
    if num_gold >= 2:
        held_out = hold_out_gold(result)
        contradicted = _contradictions(result, held_out)
        found = calibration(key, held_out) if num_gold >= FEWEST_LABELS else None
    joint = result.fit.joint
    is_tempered = joint is not None and joint.dependence.mean > 0.0
    converged = None if joint is None else joint.converged
    reasons = [
        *_of_gold(found, num_gold),
        *_of_contradictions(contradicted),
        *_of_fit(result, converged),
        *_of_checks(checks, is_tempered),
    ]
    gravity: list[Light] = ["red", "amber", "green"]
    reasons.sort(key=lambda reason: gravity.index(reason.light))
    return Trust(
        light=reasons[0].light,
        reasons=tuple(reasons),
        num_gold=num_gold,
        calibration=found,
        wanted_gold=_wanted_gold(result, found),
        checks=checks,
        is_tempered=is_tempered,
        converged=converged,
        contradicted=contradicted.rows,
        num_contradicted=contradicted.number,
        num_unanimous=contradicted.num_unanimous,
        num_expected=contradicted.num_expected,
    )


def _of_gold(found: Calibration | None, num_gold: int) -> list[Reason]:
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
    if min(found.p_overconfident, found.p_log_loss) < MIN_P:
        return [Reason("red", f"Confidence promises too much: {compared}.")]
    if found.p_underconfident < MIN_P:
        safe = "Confidence promises too little, which errs to the safe side"
        return [Reason("amber", f"{safe}: {compared}.")]
    if found.problems:
        return [Reason("amber", f"Confidence is off in places: {compared}.")]
    if found.num_examples < _gold_to_show(GAPS[0], promised):
        seen = 2.0 * float(np.sqrt(promised * (1.0 - promised) / found.num_examples))
        return [
            Reason(
                "amber",
                f"Nothing speaks against confidence, but little could: {compared}, and so few "
                f"show only a gap of {100.0 * seen:.0f} points or more.",
            )
        ]
    return [Reason("green", f"Confidence kept its promise: {compared}.")]


def _of_contradictions(found: "_Contradictions") -> list[Reason]:
    # Of independent events, so many are less likely than under the Poisson law of the same mean.
    if found.number == 0 or poisson.sf(found.number - 1, found.num_expected) >= MIN_P:
        return []
    return [
        Reason(
            "amber",
            f"The crowd rules out {counted(found.number, 'gold label')}, where "
            f"{amount(found.num_expected)} would be by chance: look at them before all else.",
        )
    ]


def _of_fit(result: Aggregation, converged: bool | None) -> list[Reason]:
    reasons = []
    if converged is not None:
        came = (
            "The fit came to rest." if converged else "The fit was stopped before it came to rest."
        )
        reasons.append(Reason("green" if converged else "red", came))
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


def _of_checks(checks: PredictiveChecks | None, is_tempered: bool) -> list[Reason]:
    if checks is None:
        return []
    if not checks.problems:
        return [Reason("green", "Answers drawn from the model look like the crowd's.")]
    misfit = "The crowd's answers are not as the model has them"
    if is_tempered:
        return [Reason("green", f"{misfit}, which is why confidence is tempered.")]
    return [Reason("amber", f"{misfit}, and confidence is not tempered for it.")]


class _Contradictions(NamedTuple):
    rows: tuple[Contradicted, ...]
    number: int
    num_unanimous: int
    num_expected: float


def _contradictions(result: Aggregation, held_out: HeldOut) -> _Contradictions:
    """Gold that the answers rule out, or that none of them names."""
    crowd = result.crowd
    truth, probs = np.asarray(held_out.true_label), np.asarray(held_out.class_probs, np.float64)
    votes = count_votes(result)[held_out.example]
    each = np.arange(truth.size)
    prob_gold, votes_for_gold = probs[each, truth], votes[each, truth]
    is_unnamed = (votes == 0) & (votes.sum(axis=1, keepdims=True) >= _FEW_VOTES)
    is_ruled_out = (probs < CONTRADICTED) | is_unnamed
    against = np.flatnonzero(is_ruled_out[each, truth])
    crowd_says = probs.argmax(axis=1)
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
    num_unanimous = int(is_unnamed[each, truth].sum())
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
