"""Who answers next, and what: the most information on the class for its price."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, ScalarLike, UInt32

from gtx_bayes.collection.base import NEVER, UNLIMITED, AbstractPolicy, Seen, largest_first
from gtx_bayes.collection.confidence_threshold import exceeds
from gtx_bayes.labels import MISSING
from gtx_bayes.models.one_coin import OneCoin

_MOST_AT_ONCE = 2**22  # examples times labelers times answers
_SMALL = 1e-2  # below this a series is the more exact


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class InformationPerCost(AbstractPolicy):
    r"""The labeler and the example whose answer says most of the class, per unit of cost.

    .. math:: \max_{i, j} \; I(Y_i ; l_{ij}) / c_{ij}, \qquad
        I(Y ; l_j) = \sum_{y, l} p_y \theta_{jyl}
        \log \frac{\theta_{jyl}}{\sum_z p_z \theta_{jzl}}

    over the labelers j who have not answered example i. A cheap judge is asked before a dear one
    until what is left to know is worth the price of the better. In contrast to the gain in the
    probability of a right label (`KnowledgeGradient`) information is above zero also where one
    answer cannot change the decision, so that nothing need be looked ahead. It is taken as zero
    where all who are left together could not.

    Labelers of whom nothing is known, because they have a price but no answer yet, count as the
    mean of the others.

    Attributes:
        max_labels: the most labels an example gets.
        threshold: examples more confident than this get no more.
        accuracy: of every labeler where nothing is known: for votes, and before the first label.

    References:
        Lindley (1956), Ann. Math. Stat. 27, and MacKay (1992), Neural Computation 4, for the
        information; Donmez and Carbonell (2008), CIKM, for choosing labeler and example together
        where labelers have prices.
    """

    name: ClassVar[str] = "information"
    description: ClassVar[str] = "who answers what: the most information on a class, per cost"
    sees_labelers: ClassVar[bool] = True
    chooses_labelers: ClassVar[bool] = True

    max_labels: ScalarLike = UNLIMITED
    threshold: ScalarLike = 1.0
    accuracy: ScalarLike = 0.75

    def priority(self, seen: Seen) -> UInt32[Array, " num_examples"]:
        """Information over cost, then the number of labels, packed into one number."""
        best = jnp.max(self.values(seen), axis=1)
        wanted = ~exceeds(seen.class_probs, self.threshold) & (seen.num_labels < self.max_labels)
        urgency = largest_first(jnp.maximum(best, 0.0), seen.num_labels)
        return jnp.where(wanted & (best >= 0.0), urgency, jnp.uint32(NEVER))

    def whom(self, seen: Seen) -> Int[Array, " num_examples"]:
        """The first labeler of the highest value; where none is above zero the cheapest."""
        values = self.values(seen)
        best = jnp.max(values, axis=1)
        costs = jnp.ones((1, 1)) if seen.costs is None else jnp.asarray(seen.costs, float)
        cheapest = jnp.argmin(jnp.where(values >= 0.0, costs.T, jnp.inf), axis=1)
        whom = jnp.where(best > 0.0, jnp.argmax(values, axis=1), cheapest)
        return jnp.where(best >= 0.0, whom, MISSING)

    def values(self, seen: Seen) -> Float[Array, "num_examples num_labelers"]:
        """Information per cost of each labeler's answer; -1 where there is none to be had.

        There is none from those who have answered, and at an infinite price.
        """
        costs = jnp.ones((1, 1)) if seen.costs is None else jnp.asarray(seen.costs, float)
        confusion = self._confusion(seen, costs.shape[0])
        num_labelers, _, num_answers = confusion.shape
        at_once = max(1, _MOST_AT_ONCE // (num_labelers * num_answers))
        with jax.default_matmul_precision("highest"):
            information = jax.lax.map(
                lambda probs: information_of_answers(probs, confusion),
                seen.class_probs,
                batch_size=at_once,
            )
        is_left = jnp.broadcast_to(jnp.isfinite(costs).T, information.shape)
        answered = seen.has_answered
        if answered is not None and answered.shape[0] <= num_labelers:
            unseen = (0, num_labelers - answered.shape[0])
            is_left = is_left & ~jnp.pad(answered, (unseen, (0, 0))).T
        open_ = can_change(seen.class_probs, confusion, is_left)
        information = jnp.where(open_[:, None], information, 0.0)
        return jnp.where(is_left, information / costs.T, -1.0)

    def _confusion(
        self, seen: Seen, num_priced: int
    ) -> Float[Array, "num_labelers num_classes num_answers"]:
        """Confusion matrices of the labelers, and the mean of them for those with a price alone."""
        if seen.labelers is None:
            accuracy = jnp.full(num_priced, self.accuracy)
            return OneCoin(accuracy, seen.class_probs.shape[1]).confusion_matrix
        known = seen.labelers.confusion_matrix
        num_unseen = max(0, num_priced - known.shape[0])
        mean = jnp.broadcast_to(jnp.mean(known, axis=0), (num_unseen, *known.shape[1:]))
        return jnp.concatenate([known, mean])


def information_of_answers(
    class_probs: Float[Array, " num_classes"],
    confusion: Float[Array, "num_labelers num_classes num_answers"],
) -> Float[Array, " num_labelers"]:
    """Mutual information between the class and the answer of each labeler, in nats.

    Summed over terms none of which is negative, so that what is left to know of a nearly certain
    example does not drown in rounding.
    """
    marginal = jnp.einsum("y,jyl->jl", class_probs, confusion)
    marginal = jnp.maximum(marginal, jnp.finfo(marginal.dtype).tiny)[:, None, :]
    above = (confusion - marginal) / marginal
    # (1 + x) log(1 + x) - x, whose sum over answers is the divergence from the marginal.
    exact = jax.scipy.special.xlog1py(1.0 + above, above) - above
    divergence = jnp.where(jnp.abs(above) < _SMALL, above**2 * (0.5 - above / 6.0), exact)
    is_possible = (class_probs > 0.0)[:, None]  # else infinitely far, times zero
    return jnp.einsum("y,jyl->j", class_probs, jnp.where(is_possible, divergence * marginal, 0.0))


def can_change(
    class_probs: Float[Array, "num_examples num_classes"],
    confusion: Float[Array, "num_labelers num_classes num_answers"],
    is_left: Bool[Array, "num_examples num_labelers"],
) -> Bool[Array, " num_examples"]:
    """Whether the labelers who are left could make another class the most probable.

    Each is taken to answer what speaks most for that class against the best.
    """
    floor = jnp.finfo(confusion.dtype).tiny
    log_confusion = jnp.log(jnp.maximum(confusion, floor))
    # By labeler, rival class and best class.
    most = jnp.max(log_confusion[:, :, None, :] - log_confusion[:, None, :, :], axis=-1)
    best = jnp.argmax(class_probs, axis=1)
    for_rival = jnp.tensordot(is_left.astype(most.dtype), most, axes=1)
    for_rival = jnp.take_along_axis(for_rival, best[:, None, None], axis=2)[:, :, 0]
    log_probs = jnp.log(jnp.maximum(class_probs, floor))
    behind = jnp.max(log_probs, axis=1, keepdims=True) - log_probs
    is_rival = jnp.arange(class_probs.shape[1]) != best[:, None]
    return jnp.any(is_rival & (for_rival >= behind), axis=1)
