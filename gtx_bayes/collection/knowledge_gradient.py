"""The label whose answers are worth most for their price: the knowledge gradient."""

import dataclasses
import functools
import itertools
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jaxtyping import Array, Bool, Float, Int, ScalarLike, UInt32

from gtx_bayes.collection.base import NEVER, UNLIMITED, AbstractPolicy, Seen, largest_first
from gtx_bayes.collection.confidence_threshold import exceeds
from gtx_bayes.models.labelers import AbstractLabelers

_MOST_OUTCOMES = 128  # of several answers: the lookahead ends before there are more
_AT_ONCE = 4096  # examples
_TIE_ULPS = 32  # in units of rounding: sums of logarithms are no more exact


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class KnowledgeGradient(AbstractPolicy):
    r"""The largest gain in the probability of a right hard label, per unit of cost.

    A label from labeler j changes the probability that the best class is right by

    .. math:: g_j = \sum_l \max_y p_y \theta_{jyl} - \max_y p_y

    on average, and the next one comes from any labeler who has not answered. One label can often
    not change the decision, and then has no value alone. So m labels are looked ahead, of m
    labelers like the average one left, and the best ratio of gain to cost counts:
    :math:`\max_m g^{(m)} / (m c)`.

    Attributes:
        max_labels: the most labels an example gets.
        threshold: examples more confident than this get no more.
        lookahead: the most labels looked ahead; fewer where there are many classes.
        accuracy: of labelers of whom nothing is known: for votes, and before the first label.

    References:
        Frazier, Powell and Dayanik (2008), SIAM J. Control Optim. 47, for the knowledge gradient;
        Frazier and Powell (2010), Decision Analysis 7, for the best ratio over m, KG(*); Chen, Lin
        and Zhou (2013), ICML, and (2015), JMLR 16, for labels of a crowd (Opt-KG).
    """

    name: ClassVar[str] = "knowledge-gradient"
    description: ClassVar[str] = "the largest gain in probability of a right label, per cost"
    sees_labelers: ClassVar[bool] = True

    max_labels: ScalarLike = UNLIMITED
    threshold: ScalarLike = 1.0
    lookahead: int = dataclasses.field(default=10, metadata={"static": True})
    accuracy: ScalarLike = 0.75

    def priority(self, seen: Seen) -> UInt32[Array, " num_examples"]:
        """Gain over cost, then the number of labels, packed into one number."""
        num_examples, num_classes = seen.class_probs.shape
        confusion = self._confusion(seen.labelers, num_classes)
        answered = seen.has_answered
        num_left = jnp.full(num_examples, UNLIMITED)
        is_left = jnp.ones((num_examples, len(confusion)), bool)
        if answered is not None and seen.labelers is not None:
            is_left = (~answered | jnp.all(answered, axis=0)).T
            num_left = jnp.sum(is_left, axis=1)
        most = jnp.minimum(num_left, self.max_labels - seen.num_labels)

        def gain(
            example: tuple[Float[Array, " num_classes"], Bool[Array, " _"], Int[Array, ""]],
        ) -> Float[Array, ""]:
            return best_rate(confusion, *example, self.lookahead)

        with jax.default_matmul_precision("highest"):
            rate = jax.lax.map(gain, (seen.class_probs, is_left, most), batch_size=_AT_ONCE)
        urgency = largest_first(rate / seen.expected_cost(), seen.num_labels)
        wanted = ~exceeds(seen.class_probs, self.threshold) & (seen.num_labels < self.max_labels)
        return jnp.where(wanted, urgency, jnp.uint32(NEVER))

    def _confusion(
        self, labelers: AbstractLabelers | None, num_classes: int
    ) -> Float[Array, "num_labelers num_classes num_answers"]:
        """Confusion matrices of any labeler model; of one average labeler where there is none."""
        if labelers is None:
            wrong = (1.0 - self.accuracy) / (num_classes - 1)
            return jnp.where(jnp.eye(num_classes, dtype=bool), self.accuracy, wrong)[None]
        return labelers.confusion_matrix


def best_rate(
    confusion: Float[Array, "num_labelers num_classes num_answers"],
    class_probs: Float[Array, " num_classes"],
    is_left: Bool[Array, " num_labelers"],
    most: Int[Array, ""],
    lookahead: int,
) -> Float[Array, ""]:
    """Gain in the probability of a right hard label, per label, at the best number of labels.

    Args:
        confusion: how the labelers answer.
        class_probs: of one example.
        is_left: labelers of whom the next label may come, all alike.
        most: how many labels the example can still get.
        lookahead: how many are looked ahead.
    """
    weight = is_left / jnp.sum(is_left)
    by_labeler = jnp.sum(gain_of_outcomes(class_probs, jnp.moveaxis(confusion, 2, 0)), axis=0)
    one = by_labeler @ weight
    counts, num_orders = _outcomes(lookahead, confusion.shape[2])
    if not len(counts):
        return jnp.where(most >= 1, one, 0.0)
    average = jnp.tensordot(weight, confusion, axes=1)
    log_average = jnp.log(jnp.maximum(average, jnp.finfo(average.dtype).tiny))  # none: no 0 * inf
    likelihood = jnp.exp(counts.astype(log_average.dtype) @ log_average.T)
    several = num_orders @ gain_of_outcomes(class_probs, likelihood)
    num_labels = 2 + jnp.arange(len(several))
    best = jnp.max(several / num_labels, where=num_labels <= most, initial=0.0)
    return jnp.where(most >= 1, jnp.maximum(one, best), 0.0)


def gain_of_outcomes(
    class_probs: Float[Array, " num_classes"], likelihood: Float[Array, "*outcomes num_classes"]
) -> Float[Array, "*outcomes"]:
    """By how much each outcome raises the probability of a right label, times its probability.

    Zero where the best class stays the best, or ties with another up to rounding.
    """
    joint = class_probs * likelihood
    after, before = jnp.max(joint, axis=-1), joint[..., jnp.argmax(class_probs)]
    tie = _TIE_ULPS * jnp.finfo(joint.dtype).eps
    return jnp.where(after * (1.0 - tie) > before, after - before, 0.0)


@functools.cache
def _outcomes(
    lookahead: int, num_answers: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Outcomes of two labels, three, and so on, as long as there are not too many of them.

    Returns:
        How often each answer is among them, shape (num_outcomes, num_answers), and in how many
        orders, shape (numbers of labels, num_outcomes), zero for another number of labels.
    """
    counts: list[npt.NDArray[np.int32]] = []
    for m in range(2, lookahead + 1):
        num_new = math.comb(m + num_answers - 1, m)
        if len(counts) + num_new > _MOST_OUTCOMES:
            break
        drawn = itertools.combinations_with_replacement(range(num_answers), m)
        counts += [np.bincount(each, minlength=num_answers).astype(np.int32) for each in drawn]
    table = np.array(counts, np.int32).reshape(-1, num_answers)
    total = table.sum(axis=1)
    orders = np.array(
        [
            math.factorial(m) / math.prod(map(math.factorial, row))
            for m, row in zip(total.tolist(), table.tolist(), strict=True)
        ]
    )
    return table, np.where(total == np.unique(total)[:, None], orders, 0.0).astype(np.float32)
