"""The same number of labels for every example, whatever they say."""

import dataclasses
from typing import ClassVar

import jax
from jaxtyping import Array, ScalarLike, UInt32

from gtx_bayes.collection.base import AbstractPolicy, Seen, in_order


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Fixed(AbstractPolicy):
    """One example at a time, each with the same number of labels.

    Attributes:
        max_labels: how many; by default the paper's most.

    References:
        Kumar et al. (2024), sec. 3.3, for majority votes.
    """

    name: ClassVar[str] = "fixed"
    description: ClassVar[str] = "the first example that lacks labels: the same number for all"

    max_labels: ScalarLike = 5
    is_streaming: ClassVar[bool] = True

    def priority(self, seen: Seen) -> UInt32[Array, " num_examples"]:
        """The first example that lacks labels."""
        return in_order(seen.num_labels < self.max_labels)
