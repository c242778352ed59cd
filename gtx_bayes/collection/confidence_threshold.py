"""Strategy 1 of the paper: label an example until confident, then go on to the next (sec. 2.3)."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, ScalarLike, UInt32

from gtx_bayes import decisions
from gtx_bayes.collection.base import AbstractPolicy, Seen, in_order

TOLERANCE_ULPS = 4
"""A confidence this close to the threshold, in units of rounding at one, does not exceed it."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ConfidenceThreshold(AbstractPolicy):
    r"""One example at a time, until its confidence exceeds :math:`\tau` or it has its share.

    Needs no access to other examples, and so serves streams and tables larger than the budget.

    Attributes:
        threshold: :math:`\tau`, the confidence to exceed; by default the paper's for real images
            (sec. 4).
        max_labels: :math:`\kappa`, the most labels an example gets; the paper's (sec. 3.3 and 4).

    References:
        Kumar et al. (2024), sec. 2.3, strategy 1.
    """

    name: ClassVar[str] = "confidence-threshold"
    description: ClassVar[str] = "the first example that is neither confident nor has its share"

    threshold: ScalarLike = 0.95
    max_labels: ScalarLike = 5
    is_streaming: ClassVar[bool] = True

    def priority(self, seen: Seen) -> UInt32[Array, " num_examples"]:
        """The first example that is neither confident nor has its share."""
        return in_order(
            ~exceeds(seen.class_probs, self.threshold) & (seen.num_labels < self.max_labels)
        )


def exceeds(
    class_probs: Float[Array, "*examples num_classes"], threshold: ScalarLike
) -> Bool[Array, "*examples"]:
    """Whether each example's confidence exceeds the threshold by more than rounding."""
    tolerance = TOLERANCE_ULPS * jnp.finfo(class_probs.dtype).eps
    return decisions.uncertainty(class_probs) < 1.0 - threshold - tolerance
