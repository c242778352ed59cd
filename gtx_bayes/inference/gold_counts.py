"""How labelers fared on gold examples: the counts that every estimate of accuracy starts from."""

from typing import NamedTuple

import jax
import numpy as np
import numpy.typing as npt
from jaxtyping import Array, Int

from gtx_bayes.labels import MISSING, Assessment, Labels


class GoldCounts(NamedTuple):
    """Answers to gold examples, per labeler.

    Attributes:
        num_correct: how many of the labeler's answers to gold examples are right.
        num_gold: how many there are; each answer counts, also repeated ones to one example.
    """

    num_correct: Int[Array, " num_labelers"]
    num_gold: Int[Array, " num_labelers"]


def gold_counts(labels: Labels, assessment: Assessment) -> GoldCounts:
    """Count every labeler's right answers on the gold examples, on the host."""
    label, labeler = np.asarray(labels.label), np.asarray(labels.labeler)
    truth = np.asarray(assessment.true_label)[np.asarray(labels.example)]
    scored = (truth != MISSING) & (label >= 0) & (label < labels.num_classes)

    def count(where: npt.NDArray[np.bool_]) -> Int[Array, " num_labelers"]:
        found = np.bincount(labeler[where], minlength=labels.num_labelers)
        return jax.device_put(found.astype(np.int32))

    return GoldCounts(num_correct=count(scored & (label == truth)), num_gold=count(scored))
