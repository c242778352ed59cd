"""What came out: labels, how sure they are, and where a plain vote would have said otherwise."""

from typing import NamedTuple

import jax
import numpy as np
import numpy.typing as npt
import pandas as pd

from gtx_bayes.aggregation.aggregate import Aggregation
from gtx_bayes.columns import positions
from gtx_bayes.diagnostics.calibration import HeldOut
from gtx_bayes.diagnostics.report.wording import amount, counted, percent, shown, visible
from gtx_bayes.inference.dependence import Dependence, most_useful
from gtx_bayes.labels import MISSING
from gtx_bayes.posterior import effective_share
from gtx_bayes.registry import MODELS

MOST_CLASSES = 30
MOST_DIFFERING = 10
_LEAST_CONFIDENT = (0.99, 0.95, 0.9, 0.8, 0.5)

_VOTES = "Answers are counted as votes; labelers are not modelled."


class ClassRow(NamedTuple):
    """One class.

    Attributes:
        name: its name.
        num_labels: how many examples got it as their label.
        expected: how many examples are expected to be of it: the sum of its probabilities.
        num_gold: how many of them are gold.
    """

    name: str
    num_labels: int
    expected: float
    num_gold: int


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


class Accepted(NamedTuple):
    """What accepting only confident labels would mean, gold left out.

    Attributes:
        least_confident: the confidence to exceed.
        num_labels: how many labels exceed it.
        share: of all.
        expected_wrong: how many of those are wrong by their confidence.
        num_hidden: how many hidden gold labels exceed it.
        hidden_wrong: how many of those are wrong.
    """

    least_confident: float
    num_labels: int
    share: float
    expected_wrong: float
    num_hidden: int
    hidden_wrong: int


class Differing(NamedTuple):
    """An example whose label is not the one with most votes.

    Attributes:
        example: its name.
        label: its label.
        confidence: the label's probability.
        voted: the classes with most votes.
        votes_for_voted: how many votes those have, each.
        votes_for_label: how many votes the label has.
        num_answers: how many answers there are.
    """

    example: str
    label: str
    confidence: float
    voted: str
    votes_for_voted: int
    votes_for_label: int
    num_answers: int


class Worth(NamedTuple):
    """What the answers to one example are worth.

    Attributes:
        dependence: posterior of rho.
        low: lower limit of its 95 % credible interval.
        high: its upper limit.
        num_answers: answers to an example, the median.
        num_independent: how many independent answers those are worth.
        most_useful: after so many, the next adds less than a tenth of one; None without limit.
    """

    dependence: Dependence
    low: float
    high: float
    num_answers: int
    num_independent: float
    most_useful: int | None

    @property
    def words(self) -> str:
        """All of it in a sentence or two."""
        if self.most_useful is None:
            return "Labelers are taken to err independently of each other: every answer counts."
        return (
            f"Labelers err together: the {counted(self.num_answers, 'answer')} that an example "
            f"typically has are worth {self.num_independent:.1f} independent "
            f"{'one' if f'{self.num_independent:.1f}' == '1.0' else 'ones'}. "
            f"No number is worth more than {1.0 / self.dependence.mean:.1f}, and after "
            f"{self.most_useful} the next adds less than a tenth of one."
        )


class Outcome(NamedTuple):
    """The labels.

    Attributes:
        method: name of the method.
        model: name of the labeler model.
        model_words: what the model says, in a sentence.
        why: why this model; empty if it was asked for.
        classes: labels by class, at most `MOST_CLASSES` of them, most frequent first.
        num_classes: how many classes there are.
        confidence: of the examples that are not gold.
        num_open: how many those are.
        expected_wrong: how many of their labels are wrong by their confidence.
        by_gold: how many are by hidden gold; None without two gold labels.
        is_refuted: whether hidden gold refutes confidence, and all that is counted by it.
        accepted: what accepting only confident labels would mean; empty where it is refuted.
        num_differing: how many labels are not those with most votes, gold left out.
        differing: the most confident of them, at most `MOST_DIFFERING`.
        worth: what the answers are worth; None for methods that do not say.
        notes: what the fit says of itself.
    """

    method: str
    model: str
    model_words: str
    why: str
    classes: tuple[ClassRow, ...]
    num_classes: int
    confidence: npt.NDArray[np.floating]
    num_open: int
    expected_wrong: float
    by_gold: WrongByGold | None
    is_refuted: bool
    accepted: tuple[Accepted, ...]
    num_differing: int
    differing: tuple[Differing, ...]
    worth: Worth | None
    notes: tuple[str, ...]

    @property
    def mean_confidence(self) -> float:
        """Mean confidence of the examples that are not gold; NaN if all are."""
        return float(self.confidence.mean()) if self.num_open else float("nan")

    @property
    def verdict(self) -> str:
        """All of it in a sentence or two."""
        if not self.num_open:
            return "Every example is gold: there was nothing to decide."
        differing = (
            "A plain majority vote would have chosen the same."
            if not self.num_differing
            else f"A plain majority vote would have chosen otherwise for {self.num_differing:,}."
        )
        return (
            f"{counted(self.num_open, 'example')} got a label, with a mean confidence of "
            f"{percent(self.mean_confidence)}. {self.wrong_words} {differing}"
        )

    @property
    def wrong_words(self) -> str:
        """How many labels are wrong, by gold and by confidence, in a sentence or two."""
        by_confidence = (
            f"{percent(self.expected_wrong / self.num_open)} of the labels are wrong, about "
            f"{amount(self.expected_wrong)} of {self.num_open:,}"
        )
        if self.is_refuted:
            by_confidence += ", but gold refutes that"
        if self.by_gold is None:
            return f"By confidence {by_confidence}."
        gold = self.by_gold
        hidden = counted(gold.num_hidden, "hidden gold label")
        return (
            f"By {hidden} {percent(gold.num_wrong / gold.num_hidden)} of the labels are wrong, "
            f"about {gold.words} of {self.num_open:,}. By confidence {by_confidence}."
        )


def describe_outcome(
    result: Aggregation,
    examples: pd.DataFrame,
    held_out: HeldOut | None = None,
    by_gold: WrongByGold | None = None,
    *,
    is_refuted: bool = False,
) -> Outcome:
    """The labels in numbers and words.

    Args:
        result: any method's.
        examples: its table of examples, whose labels are the ones spoken of.
        held_out: its gold, hidden from the fit; None where there is too little.
        by_gold: how many labels are wrong by that.
        is_refuted: whether it refutes confidence: then nothing is recommended by confidence.
    """
    crowd = result.crowd
    is_open = ~crowd.assessment.which_gold()
    label = positions(crowd.class_names, examples["label"].to_numpy())
    confidence = examples["confidence"].to_numpy()[is_open]
    num_differing, differing = _differing(result, label, is_open)
    joint = result.fit.joint
    return Outcome(
        method=result.method,
        model=result.fit.model,
        model_words=_words(result),
        why="" if joint is None else joint.why,
        classes=_classes(result, label),
        num_classes=crowd.labels.num_classes,
        confidence=confidence,
        num_open=int(is_open.sum()),
        expected_wrong=float(np.sum(1.0 - confidence)),
        by_gold=by_gold,
        is_refuted=is_refuted,
        accepted=(() if is_refuted else _accepted(confidence, crowd.labels.num_classes, held_out)),
        num_differing=num_differing,
        differing=differing,
        worth=None if joint is None else _worth(joint.dependence, examples["num_labels"]),
        notes=tuple(visible(note) for note in result.fit.notes),
    )


def count_votes(result: Aggregation) -> npt.NDArray[np.int64]:
    """How many answers name each class of each example."""
    labels = result.crowd.labels.of_classes()
    answers = np.asarray(labels.label, np.int64)
    cell = (np.asarray(labels.example, np.int64) * labels.num_classes + answers)[answers != MISSING]
    votes = np.bincount(cell, minlength=labels.num_examples * labels.num_classes)
    return votes.reshape(labels.num_examples, labels.num_classes)


def _words(result: Aggregation) -> str:
    """What the labeler model says, in a sentence."""
    joint = result.fit.joint
    if result.fit.model == "votes":
        return _VOTES
    model = MODELS.build(result.fit.model) if joint is None else joint.labeler_model
    return str(model.words or f"{model.description[:1].upper()}{model.description[1:]}.")


def _classes(result: Aggregation, label: npt.NDArray[np.intp]) -> tuple[ClassRow, ...]:
    crowd = result.crowd
    num_classes = crowd.labels.num_classes
    num_labels = np.bincount(label, minlength=num_classes)
    expected = np.asarray(result.class_probs, np.float64).sum(axis=0)
    truth = np.asarray(crowd.assessment.true_label)
    num_gold = np.bincount(truth[truth != MISSING], minlength=num_classes)
    shown_classes = np.argsort(-num_labels, kind="stable")[:MOST_CLASSES]
    return tuple(
        ClassRow(
            shown(crowd.class_names[k]), int(num_labels[k]), float(expected[k]), int(num_gold[k])
        )
        for k in shown_classes
    )


def _accepted(
    confidence: npt.NDArray[np.floating], num_classes: int, held_out: HeldOut | None
) -> tuple[Accepted, ...]:
    rows = []
    hidden, is_wrong = np.zeros(0), np.zeros(0, bool)
    if held_out is not None:
        probs, truth = np.asarray(held_out.class_probs), np.asarray(held_out.true_label)
        hidden, is_wrong = probs.max(axis=1), probs.argmax(axis=1) != truth
    for least in _LEAST_CONFIDENT:
        if least < 1.0 / num_classes or not confidence.size:
            continue
        kept = confidence[confidence > least]
        share = kept.size / confidence.size
        rows.append(
            Accepted(
                least_confident=least,
                num_labels=kept.size,
                share=share,
                expected_wrong=float(np.sum(1.0 - kept)),
                num_hidden=int(np.sum(hidden > least)),
                hidden_wrong=int(np.sum(is_wrong & (hidden > least))),
            )
        )
    return tuple(rows)


def _differing(
    result: Aggregation, label: npt.NDArray[np.intp], is_open: npt.NDArray[np.bool_]
) -> tuple[int, tuple[Differing, ...]]:
    """How many labels are not those with most votes, and the most confident of them."""
    crowd = result.crowd
    votes = count_votes(result)
    most, own = votes.max(axis=1), votes[np.arange(label.size), label]
    found = np.flatnonzero(is_open & (own < most))
    probs = np.asarray(result.class_probs)
    confidence = probs[found, label[found]]
    rows = []
    for at in found[np.argsort(-confidence, kind="stable")[:MOST_DIFFERING]]:
        voted = [shown(crowd.class_names[k]) for k in np.flatnonzero(votes[at] == most[at])]
        rows.append(
            Differing(
                example=shown(crowd.example_names[at]),
                label=shown(crowd.class_names[label[at]]),
                confidence=float(probs[at, label[at]]),
                voted=shown(" or ".join(voted)),
                votes_for_voted=int(most[at]),
                votes_for_label=int(own[at]),
                num_answers=int(votes[at].sum()),
            )
        )
    return found.size, tuple(rows)


def _worth(dependence: Dependence, num_labels: "pd.Series[int]") -> Worth:
    typical = int(num_labels.median())
    low, high = dependence.credible_interval()
    return Worth(
        dependence=dependence,
        low=low,
        high=high,
        num_answers=typical,
        num_independent=num_independent(typical, dependence.mean),
        most_useful=most_useful(dependence.mean),
    )


_effective_share = jax.jit(effective_share)


def num_independent(num_answers: int, rho: float) -> float:
    """How many independent answers so many are worth."""
    return num_answers * float(_effective_share(jax.device_put(np.array([num_answers])), rho)[0])
