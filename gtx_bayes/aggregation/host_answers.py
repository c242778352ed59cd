"""The answers of a crowd as NumPy arrays, for methods that are done before they would compile."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from gtx_bayes.labels import MISSING, Assessment, Labels

ClassProbs = Float[np.ndarray, "num_examples num_classes"]


class HostAnswers(NamedTuple):
    """The answers that name a class, and the gold.

    Attributes:
        example: index of the example each answer is about.
        labeler: index of the labeler who gave it.
        label: the class it names.
        gold: true class of each example, `MISSING` where it is unknown.
        num_labelers: J.
        num_classes: K.
    """

    example: Int[np.ndarray, " num_labels"]
    labeler: Int[np.ndarray, " num_labels"]
    label: Int[np.ndarray, " num_labels"]
    gold: Int[np.ndarray, " num_examples"]
    num_labelers: int
    num_classes: int

    @classmethod
    def of(cls, labels: Labels, assessment: Assessment) -> "HostAnswers":
        """Copy the tables to the host, without padding and answers that are no class."""
        label = np.asarray(labels.label, np.int64)
        kept = (label >= 0) & (label < labels.num_classes)
        example, labeler = (np.asarray(of, np.int64) for of in (labels.example, labels.labeler))
        gold = np.asarray(assessment.true_label, np.int64)
        sizes = labels.num_labelers, labels.num_classes
        return cls(example[kept], labeler[kept], label[kept], gold, *sizes)

    @property
    def cell(self) -> Int[np.ndarray, " num_labels"]:
        """Index of each answer's labeler and class, :math:`j K + y_i^j`."""
        return self.labeler * self.num_classes + self.label

    def votes(self, weight: Float[np.ndarray, " num_labels"] | None = None) -> ClassProbs:
        """Total weight of the answers for each class of each example; their number by default."""
        shape = self.gold.size, self.num_classes
        cell = self.example * self.num_classes + self.label
        return np.bincount(cell, weight, shape[0] * shape[1]).astype(float).reshape(shape)

    def vote_shares(self) -> ClassProbs:
        """Shares of the votes, uniform without answers; one at the known class of gold."""
        votes = self.votes()
        total = votes.sum(axis=1, keepdims=True)
        return self.clamp(np.where(total > 0, votes / np.maximum(total, 1), 1 / self.num_classes))

    def mean_of_known(self, class_probs: ClassProbs) -> Float[np.ndarray, " num_classes"]:
        """Their mean over the examples that have an answer or are gold; over all without any."""
        is_known = self.gold != MISSING
        is_known[self.example] = True
        return class_probs[is_known if is_known.any() else ~is_known].mean(axis=0)

    def mean_prob(self, class_probs: ClassProbs) -> Float[np.ndarray, " num_labelers"]:
        """Mean probability of the classes that each labeler named; NaN without answers."""
        number = np.bincount(self.labeler, minlength=self.num_labelers)
        total = np.bincount(self.labeler, class_probs[self.example, self.label], self.num_labelers)
        return np.where(number > 0, total / np.maximum(number, 1), np.nan)

    def clamp(self, class_probs: ClassProbs) -> ClassProbs:
        """The same, but one at the known class of gold examples."""
        known = np.flatnonzero(self.gold != MISSING)
        clamped = class_probs.copy()
        clamped[known] = 0.0
        clamped[known, self.gold[known]] = 1.0
        return clamped


def add_up(
    rows: Float[np.ndarray, "num_rows num_classes"],
    of: Int[np.ndarray, " num_labels"],
    into: Int[np.ndarray, " num_labels"],
    size: int,
) -> Float[np.ndarray, "size num_classes"]:
    """Add up, for each of `size` indices, the rows of the answers that go there.

    Args:
        rows: what to add up, with a column for each class.
        of: index of each answer's row.
        into: index that it goes to.
        size: number of these indices.
    """
    sums = [np.bincount(into, column[of], size) for column in rows.T]
    return np.stack(sums, axis=1, dtype=float)  # without answers they are whole numbers


def iterate[T](
    step: Callable[[ClassProbs], tuple[T, ClassProbs]],
    class_probs: ClassProbs,
    *,
    max_steps: int,
    tolerance: float,
) -> tuple[T, ClassProbs, bool]:
    """Repeat a step until no class probability changes by more than the tolerance.

    Args:
        step: from class probabilities to parameters, and the class probabilities these give.
        class_probs: where to start.
        max_steps: the most steps, at least one.
        tolerance: stop when no probability changes by more.

    Returns:
        The last parameters, the class probabilities they give, and whether the steps converged.
    """
    for _ in range(max_steps):
        before = class_probs
        found, class_probs = step(before)
        if np.max(np.abs(class_probs - before), initial=0.0) <= tolerance:
            return found, class_probs, True
    return found, class_probs, False
