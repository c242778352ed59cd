"""The baseline: the next label goes to any example that may still have one."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, ScalarLike, UInt32

from gtx_bayes.collection.base import NEVER, UNLIMITED, AbstractPolicy, Seen, in_order
from gtx_bayes.collection.confidence_threshold import exceeds


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RandomSampling(AbstractPolicy):
    """Every example that may still have a label is as likely as any other to get the next one.

    In a simulated run labels arrive at each example by a Poisson process, all at the same rate;
    the example with the earliest next arrival gets the next label. As such processes have no
    memory, that is a fair draw each time, and the times are known beforehand. Without times all
    examples that may have a label are equal.

    Attributes:
        max_labels: the most labels an example gets.
        threshold: examples more confident than this get no more.
        arrival_time: of each example's labels, ascending by row; None before `drawn`.
    """

    name: ClassVar[str] = "random"
    description: ClassVar[str] = "any example that may still have one, all alike"
    is_random: ClassVar[bool] = True

    max_labels: ScalarLike = UNLIMITED
    threshold: ScalarLike = 1.0
    arrival_time: Float[Array, "*runs num_labels num_examples"] | None = dataclasses.field(
        default=None, kw_only=True, metadata={"option": False}
    )

    def drawn(self, key: Key[Array, ""], num_examples: int) -> "RandomSampling":
        """With arrival times; those of an example depend on the key and its place in the table.

        Raises:
            ValueError: without a cap, which says how many times to draw.
        """
        num_times = int(np.asarray(self.max_labels))
        if num_times == UNLIMITED:
            raise ValueError("random sampling draws its times beforehand: give it max_labels")
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(num_examples))
        waits = jax.vmap(lambda k: jax.random.exponential(k, (num_times,)), out_axes=1)(keys)
        return dataclasses.replace(self, arrival_time=jnp.cumsum(waits, axis=0))

    def priority(self, seen: Seen) -> UInt32[Array, " num_examples"]:
        """The earlier the next arrival, the more urgent."""
        wanted = ~exceeds(seen.class_probs, self.threshold) & (seen.num_labels < self.max_labels)
        if self.arrival_time is None:
            return in_order(wanted)
        place = jnp.minimum(seen.num_labels, self.arrival_time.shape[0] - 1)
        time = jnp.take_along_axis(self.arrival_time, place[None], axis=0)[0].astype(jnp.float32)
        infinity = jax.lax.bitcast_convert_type(jnp.float32(jnp.inf), jnp.uint32)
        urgency = infinity - jax.lax.bitcast_convert_type(time, jnp.uint32)
        return jnp.where(wanted, urgency, jnp.uint32(NEVER))
