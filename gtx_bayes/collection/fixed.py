"""The same number of labels for every example, whatever they say."""

import dataclasses
from typing import ClassVar

import jax
from jaxtyping import Array, Float, Int, ScalarLike, UInt32

from gtx_bayes.collection.base import AbstractPolicy, in_order


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Fixed(AbstractPolicy):
    """One example at a time, each with the same number of labels.

    Attributes:
        labels_per_example: how many.

    References:
        Kumar et al. (2024), sec. 3.3, for majority votes.
    """

    labels_per_example: ScalarLike
    is_streaming: ClassVar[bool] = True

    def priority(
        self,
        class_probs: Float[Array, "num_examples num_classes"],
        num_labels: Int[Array, " num_examples"],
    ) -> UInt32[Array, " num_examples"]:
        """The first example that lacks labels."""
        return in_order(num_labels < self.labels_per_example)
