"""What a collection policy is, and what it sees: the urgency of every example's next label."""

import abc
import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, Shaped, UInt32

from gtx_bayes.labels import MISSING, Labels, PaddedLabels
from gtx_bayes.models.labelers import AbstractLabelers

NEVER = 0
"""Priority of an example that gets no more labels."""

UNLIMITED = int(np.iinfo(np.int32).max)
"""`max_labels` of a policy that sets no limit."""

_MOST_COUNTED = 254  # numbers of labels fill the lowest byte of a priority


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Seen:
    """A collection as a policy sees it.

    Attributes:
        class_probs: probability of each class of each example given the labels so far.
        num_labels: how many labels each example has.
        labels: the labels themselves; None for a policy that does not ask (`sees_labelers`).
        labelers: the labelers as fitted; None for a policy that does not ask, and where there are
            none: votes, or before the first label.
        costs: price of a label by labeler (rows) and example (columns); one row or one column
            where the price does not depend on it, None where every label costs 1.
    """

    class_probs: Float[Array, "num_examples num_classes"]
    num_labels: Int[Array, " num_examples"]
    labels: Labels | PaddedLabels | None = None
    labelers: AbstractLabelers | None = None
    costs: Shaped[Array, "one_or_num_labelers one_or_num_examples"] | None = None

    @property
    def has_answered(self) -> Bool[Array, "num_labelers num_examples"] | None:
        """Whether each labeler has labelled each example; None where that is not known."""
        if self.labels is None:
            return None
        example = self.labels.example if isinstance(self.labels, Labels) else None
        if example is None:
            example = jnp.arange(self.num_labels.shape[0])
        none = jnp.zeros((self.labels.num_labelers, self.num_labels.shape[0]), bool)
        return none.at[self.labels.labeler, example].max(self.labels.label != MISSING)

    def expected_cost(self) -> Float[Array, " num_examples"]:
        """Mean price of the next label of each example, from any of the labelers who are left.

        Of all labelers, where it is not known who is left, or nobody is.
        """
        if self.costs is None:
            return jnp.ones(self.num_labels.shape)
        costs = jnp.asarray(self.costs, float)
        answered = self.has_answered
        if costs.shape[0] == 1 or answered is None:
            cost = costs.mean(axis=0)
        else:
            is_left = ~answered | jnp.all(answered, axis=0)
            cost = jnp.sum(costs, axis=0, where=is_left) / jnp.sum(is_left, axis=0)
        return jnp.broadcast_to(cost, self.num_labels.shape)


class AbstractPolicy(abc.ABC):
    """A rule for spending labels: which example gets the next (paper, sec. 2.3).

    Labelers come in an order of their own, unless the policy chooses them too (`whom`).

    A frozen pytree dataclass. It buys one label at a time, of the example with the highest
    priority, and stops when nobody has any. Examples of equal priority go in the order of the
    table; in a table in random order that is decided once for the run.

    The fields of the dataclass are its options, by name on the command line too. Those named
    `threshold` and `max_labels` are what `next` sets by its options of these names.

    Attributes:
        name: what `--strategy` takes.
        description: what it does, in a line.
        is_streaming: whether examples come one by one, each finished before the next is seen. An
            example cut short by the end of the budget then counts as not labelled.
        own_labels_only: whether the priority of an example depends on no other example. Then a
            whole run can be worked out at once.
        sees_labelers: whether it looks at `Seen.labels` and `Seen.labelers`.
        is_random: whether it chooses at random: `next` then draws the priorities of equals
            anew with every label, and a simulated run takes the policy that `drawn` gives.
        chooses_labelers: whether it also says whom to ask.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    is_streaming: ClassVar[bool] = False
    own_labels_only: ClassVar[bool] = True
    sees_labelers: ClassVar[bool] = False
    is_random: ClassVar[bool] = False
    chooses_labelers: ClassVar[bool] = False

    @abc.abstractmethod
    def priority(self, seen: Seen) -> UInt32[Array, " num_examples"]:
        """Urgency of the next label of every example; `NEVER` where there is to be none."""

    def whom(self, seen: Seen) -> Int[Array, " num_examples"]:
        """Whom to ask for the next label of each example, `MISSING` where nobody is left.

        For policies with `chooses_labelers`.
        """
        raise NotImplementedError(f"{type(self).__name__} does not choose labelers")

    def drawn(self, key: Key[Array, ""], num_examples: int) -> "AbstractPolicy":
        """The policy for a simulated run, its random numbers drawn; itself where it has none."""
        return self


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
