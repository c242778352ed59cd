"""What a collection policy is: the urgency of every example's next label."""

import abc
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt32

NEVER = 0
"""Priority of an example that gets no more labels."""

_MOST_COUNTED = 254  # numbers of labels fill the lowest byte of a priority


class AbstractPolicy(abc.ABC):
    """A rule for spending labels, which chooses examples and never labelers (paper, sec. 2.3).

    A frozen pytree dataclass. It buys one label at a time, of the example with the highest
    priority, and stops when nobody has any. Examples of equal priority go in the order of the
    table; in a table in random order that is a lot drawn once for the run.

    Attributes:
        is_streaming: whether examples come one by one, each finished before the next is seen. An
            example cut short by the end of the budget then counts as not labelled.
        own_labels_only: whether the priority of an example depends on no other example. Then a
            whole run can be worked out at once.
    """

    is_streaming: ClassVar[bool] = False
    own_labels_only: ClassVar[bool] = True

    @abc.abstractmethod
    def priority(
        self,
        class_probs: Float[Array, "num_examples num_classes"],
        num_labels: Int[Array, " num_examples"],
    ) -> UInt32[Array, " num_examples"]:
        """Urgency of the next label of every example; `NEVER` where there is to be none.

        Args:
            class_probs: probability of each class given the labels so far.
            num_labels: how many labels that is.
        """


def in_order(wanted: Bool[Array, " num_examples"]) -> UInt32[Array, " num_examples"]:
    """One priority for all examples that want a label, so that they go in order."""
    return wanted.astype(jnp.uint32)


def largest_first(
    value: Float[Array, " num_examples"], num_labels: Int[Array, " num_examples"]
) -> UInt32[Array, " num_examples"]:
    """Larger values first; among equal ones, the example with the fewest labels.

    The order of non-negative float32 numbers is that of their bits. The lowest byte holds the
    number of labels, which counts up to 254; of the value 16 bits after the leading one are kept,
    rounded, so that values which differ by the order of a sum are equal, unless they lie astride
    one of the 65,536 boundaries between two powers of two.
    """
    bits = jax.lax.bitcast_convert_type(value.astype(jnp.float32), jnp.uint32)
    fewest = (_MOST_COUNTED + 1 - jnp.minimum(num_labels, _MOST_COUNTED)).astype(jnp.uint32)
    return (((bits + 64) >> 7) << 8) | fewest
