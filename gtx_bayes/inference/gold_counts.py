"""How labelers fared on gold examples: the counts that every estimate of accuracy starts from."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
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


@jax.jit
def gold_counts(labels: Labels, assessment: Assessment) -> GoldCounts:
    """Count every labeler's right answers on the gold examples."""
    truth = assessment.true_label[labels.example]
    scored = (truth != MISSING) & labels.is_class
    right = scored & (labels.label == truth)
    none = jnp.zeros(labels.num_labelers, jnp.int32)
    return GoldCounts(
        num_correct=none.at[labels.labeler].add(right.astype(jnp.int32)),
        num_gold=none.at[labels.labeler].add(scored.astype(jnp.int32)),
    )
