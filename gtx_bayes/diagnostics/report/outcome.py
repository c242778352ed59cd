"""What came out: labels, how sure they are, and where a plain vote would have said otherwise."""

from typing import NamedTuple

import jax
import numpy as np
import numpy.typing as npt
import pandas as pd

from gtx_bayes.aggregation.result import Aggregation
from gtx_bayes.columns import positions
from gtx_bayes.diagnostics.calibration import HeldOut
from gtx_bayes.diagnostics.report.gold import WrongByGold, count_votes
from gtx_bayes.diagnostics.report.wording import amount, counted, percent, shown
from gtx_bayes.inference.dependence import Dependence, most_useful
from gtx_bayes.labels import MISSING
from gtx_bayes.posterior import inverse_design_effect
from gtx_bayes.registry import MODELS

MOST_CLASSES = 30
MOST_DIFFERING = 10
_LEAST_CONFIDENT = (0.99, 0.95, 0.9, 0.8, 0.5)

_VOTES = "Answers are counted as votes; labelers are not modelled."


class Worth(NamedTuple):
    """What the answers to one example are worth.

    Attributes:
        dependence: posterior of rho.
        num_answers: answers to an example, the median.
    """

    dependence: Dependence
    num_answers: int

    @property
    def num_independent(self) -> float:
        """How many independent answers those are worth."""
        return num_independent(self.num_answers, self.dependence.mean)

    @property
    def words(self) -> str:
        """All of it in a sentence or two."""
        most = most_useful(self.dependence.mean)
        if most is None:
            return "Labelers are taken to err independently of each other: every answer counts."
        number = f"{self.num_independent:.1f}"
        how = "Confidence allows for labelers who err together"
        if self.dependence.is_shown_by_gold:
            how = "Labelers err together"
        return (
            f"{how}: the {counted(self.num_answers, 'answer')} that an example "
            f"typically has are worth {number} independent {'one' if number == '1.0' else 'ones'}. "
            f"No number is worth more than {1.0 / self.dependence.mean:.1f}, and after {most} the "
            "next adds less than a tenth of one."
        )


class Outcome(NamedTuple):
    """The labels.

    Attributes:
        model_words: what the labeler model says, in a sentence.
        classes: labels by class, at most `MOST_CLASSES` of them, most frequent first: how many
            examples got each as their label, are expected to be of it, and are gold.
        confidence: of the examples that are not gold.
        by_gold: how many of their labels are wrong by hidden gold; None without two gold labels.
        is_refuted: whether hidden gold refutes confidence, and all that is counted by it.
        accepted: what accepting only labels above a confidence would mean: how many those are,
            their share, how many are wrong by confidence, and how many of how many hidden gold
            labels above it; empty where confidence is refuted.
        num_differing: how many labels are not those with most votes, gold left out.
        differing: the most confident of them, at most `MOST_DIFFERING`.
        worth: what the answers are worth; None for methods that do not say.
        pool: the models and their weights, see `Pool.table`; None where there are not several.
    """

    model_words: str
    classes: pd.DataFrame
    confidence: npt.NDArray[np.floating]
    by_gold: WrongByGold | None
    is_refuted: bool
    accepted: pd.DataFrame
    num_differing: int
    differing: pd.DataFrame
    worth: Worth | None
    pool: pd.DataFrame | None

    @property
    def num_open(self) -> int:
        """How many examples are not gold."""
        return self.confidence.size

    @property
    def expected_wrong(self) -> float:
        """How many of their labels are wrong by their confidence."""
        return float(np.sum(1.0 - self.confidence))

    @property
    def mean_confidence(self) -> float:
        """Mean confidence of the examples that are not gold; NaN if all are."""
        return float(self.confidence.mean()) if self.num_open else float("nan")

    @property
    def verdict(self) -> str:
        """All of it in a sentence or two."""
        if not self.num_open:
            return "Every example is gold: there was nothing to decide."
        otherwise = f"otherwise for {self.num_differing:,}" if self.num_differing else "the same"
        return (
            f"{counted(self.num_open, 'example')} got a label, with a mean confidence of "
            f"{percent(self.mean_confidence)}. {self.wrong_words} A plain majority vote would have "
            f"chosen {otherwise}."
        )

    @property
    def wrong_words(self) -> str:
        """How many labels are wrong, by gold and by confidence, in a sentence or two."""
        refuted = ", but gold refutes that" if self.is_refuted else ""
        by_confidence = (
            f"By confidence {percent(self.expected_wrong / self.num_open)} of the labels are "
            f"wrong, about {amount(self.expected_wrong)} of {self.num_open:,}{refuted}."
        )
        if self.by_gold is None:
            return by_confidence
        gold = self.by_gold
        return (
            f"By {counted(gold.num_hidden, 'hidden gold label')} "
            f"{percent(gold.num_wrong / gold.num_hidden)} of the labels are wrong, "
            f"about {gold.words} of {self.num_open:,}. {by_confidence}"
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
    crowd, joint = result.crowd, result.fit.joint
    is_open = ~crowd.assessment.which_gold()
    label = positions(crowd.class_names, examples["label"].to_numpy())
    confidence = examples["confidence"].to_numpy()[is_open]
    num_differing, differing = _differing(result, label, is_open)
    accepted = _accepted(confidence, crowd.labels.num_classes, held_out)
    return Outcome(
        _model_words(result),
        _classes(result, label),
        confidence,
        by_gold,
        is_refuted,
        accepted.head(0) if is_refuted else accepted,
        num_differing,
        differing,
        None if joint is None else Worth(joint.dependence, int(examples["num_labels"].median())),
        None if joint is None or len(table := joint.table()) == 1 else table,
    )


def _model_words(result: Aggregation) -> str:
    joint = result.fit.joint
    if result.fit.model == "votes":
        return _VOTES
    model = MODELS.build(result.fit.model) if joint is None else joint.labeler_model
    return str(model.words or f"{model.description[:1].upper()}{model.description[1:]}.")


def _classes(result: Aggregation, label: npt.NDArray[np.intp]) -> pd.DataFrame:
    crowd = result.crowd
    truth, num_classes = np.asarray(crowd.assessment.true_label), crowd.labels.num_classes
    table = pd.DataFrame(
        {
            "label": crowd.class_names,
            "num_examples": np.bincount(label, minlength=num_classes),
            "expected": np.asarray(result.class_probs, np.float64).sum(axis=0),
            "num_gold": np.bincount(truth[truth != MISSING], minlength=num_classes),
        }
    )
    return table.sort_values("num_examples", ascending=False, kind="stable").head(MOST_CLASSES)


def _accepted(
    confidence: npt.NDArray[np.floating], num_classes: int, held_out: HeldOut | None
) -> pd.DataFrame:
    hidden, is_wrong = np.zeros(0), np.zeros(0, bool)
    if held_out is not None:
        probs, truth = np.asarray(held_out.class_probs), np.asarray(held_out.true_label)
        hidden, is_wrong = probs.max(axis=1), probs.argmax(axis=1) != truth
    return pd.DataFrame(
        {
            "least_confident": least,
            "num_labels": int(np.sum(confidence > least)),
            "share": np.mean(confidence > least),
            "expected_wrong": np.sum(1.0 - confidence[confidence > least]),
            "num_hidden": int(np.sum(hidden > least)),
            "hidden_wrong": int(np.sum(is_wrong & (hidden > least))),
        }
        for least in _LEAST_CONFIDENT
        if least >= 1.0 / num_classes and confidence.size
    )


def _differing(
    result: Aggregation, label: npt.NDArray[np.intp], is_open: npt.NDArray[np.bool_]
) -> tuple[int, pd.DataFrame]:
    """How many labels are not those with most votes, and the most confident of them."""
    crowd, votes = result.crowd, count_votes(result)
    most, of_label = votes.max(axis=1), votes[np.arange(label.size), label]
    found = np.flatnonzero(is_open & (of_label < most))
    confidence = np.asarray(result.class_probs)[found, label[found]]
    first = np.argsort(-confidence, kind="stable")[:MOST_DIFFERING]
    at = found[first]
    voted = [" or ".join(shown(k) for k in crowd.class_names[v == v.max()]) for v in votes[at]]
    table = {
        "task": crowd.example_names[at],
        "label": crowd.class_names[label[at]],
        "confidence": confidence[first],
        "voted": voted,
        "votes_for_label": of_label[at],
        "votes_for_voted": most[at],
        "num_labels": votes[at].sum(axis=1),
    }
    return found.size, pd.DataFrame(table)


_inverse_design_effect = jax.jit(inverse_design_effect)


def num_independent(num_answers: int, rho: float) -> float:
    """How many independent answers so many are worth."""
    return num_answers * float(
        _inverse_design_effect(jax.device_put(np.array([num_answers])), rho)[0]
    )
