"""A policy in a file of a user's own: the most uncertain example for its price."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from gtx_bayes.collection.base import NEVER, UNLIMITED, AbstractPolicy, largest_first
from gtx_bayes.decisions import uncertainty


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class UncertaintyPerCost(AbstractPolicy):
    """Uncertainty over the price to expect; among equals, the example with the fewest labels."""

    name: ClassVar[str] = "uncertainty-per-cost"
    description: ClassVar[str] = "the most uncertain example for its price"
    sees_labelers: ClassVar[bool] = True

    max_labels: int = UNLIMITED

    def priority(self, seen):
        """Highest first, as for every policy."""
        value = uncertainty(seen.class_probs) / seen.expected_cost()
        wanted = seen.num_labels < self.max_labels
        return jnp.where(wanted, largest_first(value, seen.num_labels), jnp.uint32(NEVER))
