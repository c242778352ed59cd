"""Strategy 2 of the paper: always label the example that is most uncertain (sec. 2.3, Eq. 5)."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, ScalarLike, UInt32

from gtx_bayes import decisions
from gtx_bayes.collection.base import NEVER, UNLIMITED, AbstractPolicy, Seen, largest_first
from gtx_bayes.collection.confidence_threshold import exceeds


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class UncertaintySampling(AbstractPolicy):
    r"""The example with the largest :math:`u_i`; among equals, the one with the fewest labels.

    The tie rule is not in the paper; its Table 2 tells it (see "Reproducing the paper" in the
    documentation). It matters for majority votes, whose uncertainty takes few values.

    Attributes:
        max_labels: the most labels an example gets; as many as there are labelers for the paper.
        threshold: examples more confident than this get no more; 1 for the paper, which spends
            the whole budget.

    References:
        Kumar et al. (2024), sec. 2.3, strategy 2; Lewis and Gale (1994).
    """

    name: ClassVar[str] = "uncertainty"
    description: ClassVar[str] = "the most uncertain example"

    max_labels: ScalarLike = UNLIMITED
    threshold: ScalarLike = 1.0

    def priority(self, seen: Seen) -> UInt32[Array, " num_examples"]:
        """Uncertainty, then the number of labels, packed into one number."""
        wanted = ~exceeds(seen.class_probs, self.threshold) & (seen.num_labels < self.max_labels)
        urgency = largest_first(decisions.uncertainty(seen.class_probs), seen.num_labels)
        return jnp.where(wanted, urgency, jnp.uint32(NEVER))
