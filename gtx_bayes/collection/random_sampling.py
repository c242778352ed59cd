"""The baseline: the next label goes to any example that may still have one."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, ScalarLike, UInt32

from gtx_bayes.collection.base import NEVER, AbstractPolicy
from gtx_bayes.collection.confidence_threshold import exceeds


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RandomSampling(AbstractPolicy):
    """Every example that may still have a label is as likely as any other to get the next one.

    Each example has a clock that rings at random, all at the same rate; the next to ring gets the
    next label. As clocks forget, that is a fair draw each time, and the rings are known beforehand.

    Attributes:
        ring: time of each example's rings, one for each label, ascending.
        max_labels: the most labels an example gets.
        threshold: examples more confident than this get no more.
    """

    ring: Float[Array, "*runs num_rings num_examples"]
    max_labels: ScalarLike
    threshold: ScalarLike = 1.0

    @classmethod
    def draw(
        cls,
        key: Key[Array, ""],
        num_examples: int,
        *,
        max_labels: int,
        threshold: ScalarLike = 1.0,
    ) -> "RandomSampling":
        """Set the clocks; those of an example depend on the key and its place in the table."""
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(num_examples))
        waits = jax.vmap(lambda k: jax.random.exponential(k, (max_labels,)), out_axes=1)(keys)
        return cls(jnp.cumsum(waits, axis=0), max_labels, threshold)

    def priority(
        self,
        class_probs: Float[Array, "num_examples num_classes"],
        num_labels: Int[Array, " num_examples"],
    ) -> UInt32[Array, " num_examples"]:
        """The earlier the next ring, the more urgent."""
        wanted = ~exceeds(class_probs, self.threshold) & (num_labels < self.max_labels)
        next_ring = jnp.minimum(num_labels, self.ring.shape[0] - 1)
        time = jnp.take_along_axis(self.ring, next_ring[None], axis=0)[0].astype(jnp.float32)
        infinity = jax.lax.bitcast_convert_type(jnp.float32(jnp.inf), jnp.uint32)
        urgency = infinity - jax.lax.bitcast_convert_type(time, jnp.uint32)
        return jnp.where(wanted, urgency, jnp.uint32(NEVER))
