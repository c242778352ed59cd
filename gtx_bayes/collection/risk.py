"""Stop rules on a risk target: how many of the accepted labels may be wrong."""

import dataclasses
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, ScalarLike, UInt32

from gtx_bayes import decisions
from gtx_bayes.aggregation.base import AbstractAggregator
from gtx_bayes.collection.base import NEVER, UNLIMITED, AbstractPolicy, Seen, largest_first
from gtx_bayes.collection.confidence_threshold import ConfidenceThreshold, exceeds
from gtx_bayes.collection.offline import at_count, class_prob_path, num_wanted
from gtx_bayes.models.labelers import AbstractLabelers
from gtx_bayes.simulation import simulate_queue

_NUM_THRESHOLDS = 256


@jax.jit
def threshold_for_risk(
    class_probs: Float[Array, "num_examples num_classes"],
    target: ScalarLike,
    where: Bool[Array, " num_examples"] | None = None,
) -> Float[Array, ""]:
    r"""The lowest confidence to exceed if at most `target` of the accepted labels may be wrong.

    .. math:: \min \tau : \quad \frac{\sum_{i : c_i > \tau} (1 - c_i)}{|\{i : c_i > \tau\}|}
        \le \epsilon, \qquad c_i = \max_y P(Y_i = y \mid \mathcal{L}(i))

    That is the posterior expected error of what is accepted, as good as the posterior is honest.
    It is always below one minus the threshold, and mostly far below.

    Args:
        class_probs: probability of each class.
        target: :math:`\epsilon`, the largest expected proportion of errors.
        where: the examples that count; all when absent.

    Returns:
        The threshold, half-way between the last confidence accepted and the first refused; 1 if
        none can be accepted, 0 if all can. As exceeding takes more than rounding (5e-7 in
        float32), examples closer than that to the first refused are refused with it.

    References:
        The Bayesian false discovery rate of Newton et al. (2004), with labels for discoveries.
    """
    uncertainty = decisions.uncertainty(class_probs)
    if where is not None:
        uncertainty = jnp.where(where, uncertainty, jnp.inf)
    ascending = jnp.concatenate([jnp.sort(uncertainty), jnp.full(1, jnp.inf, uncertainty.dtype)])
    this, following = ascending[:-1], ascending[1:]
    mean = jnp.cumsum(this) / (1 + jnp.arange(this.size))
    rounding = 8 * jnp.finfo(this.dtype).eps
    accepted = jnp.isfinite(this) & (mean <= target) & (following > this * (1.0 + rounding))
    num_accepted = jnp.max(jnp.where(accepted, 1 + jnp.arange(this.size), 0), initial=0)
    last = ascending[jnp.maximum(num_accepted - 1, 0)]
    between = 1.0 - (last + ascending[num_accepted]) / 2.0
    return jnp.where(num_accepted == 0, 1.0, jnp.maximum(between, 0.0))


@partial(jax.jit, static_argnames=("max_labels", "num_examples"))
def streaming_threshold_for_risk(
    key: Key[Array, ""],
    aggregator: AbstractAggregator,
    model: AbstractLabelers,
    target: ScalarLike,
    *,
    max_labels: int,
    num_examples: int = 20_000,
) -> Float[Array, ""]:
    """The lowest threshold for a stream whose labelers answer as `model` says.

    A stream needs its threshold before the examples are seen, so it is found on simulated ones:
    the lowest from which on the mean uncertainty of examples that exceed it meets the target.
    That is the aggregator's own expectation: where the model breaks its assumptions (labelers who
    err together), more errors are accepted. The simulated classes are even.

    Args:
        key: random key of the simulation.
        aggregator: the method that scores the examples.
        model: the labelers.
        target: the largest expected proportion of errors among accepted labels.
        max_labels: the most labels an example gets; one that ends unsure is not accepted.
        num_examples: how many to simulate.

    Returns:
        The threshold; 1 if none meets the target.
    """
    queue = simulate_queue(key, model, num_examples, max_labels=max_labels)
    path = class_prob_path(aggregator, queue)
    uncertainty = decisions.uncertainty(path)
    highest = 1.0 - 1.0 / model.num_classes
    thresholds = 1.0 - highest * jnp.logspace(0.0, -5.0, _NUM_THRESHOLDS)

    def risk(threshold: Float[Array, ""]) -> tuple[Float[Array, ""], Int[Array, ""]]:
        num_labels = num_wanted(ConfidenceThreshold(threshold, max_labels), path)
        accepted = at_count(exceeds(path, threshold), num_labels)
        total = jnp.sum(at_count(uncertainty, num_labels), where=accepted)
        num_accepted = jnp.sum(accepted, dtype=jnp.int32)
        return total / jnp.maximum(num_accepted, 1), num_accepted

    expected_error, num_accepted = jax.lax.map(risk, thresholds)
    too_risky = expected_error > target
    lowest = jnp.max(jnp.where(too_risky, 1 + jnp.arange(_NUM_THRESHOLDS), 0))
    return jnp.where(
        jnp.append(num_accepted, 0)[lowest] > 0, jnp.append(thresholds, 1.0)[lowest], 1.0
    )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RiskTarget(AbstractPolicy):
    """The most uncertain of the examples that cannot be accepted yet, until all can.

    The accepted ones are the most confident, as many as keep their expected error within the
    target; which they are depends on all examples, so a run goes step by step.

    Attributes:
        target: the largest expected proportion of errors among accepted labels.
        max_labels: the most labels an example gets.
    """

    name: ClassVar[str] = "risk"
    description: ClassVar[str] = "the most uncertain of those that a risk target does not accept"

    target: ScalarLike
    max_labels: ScalarLike = UNLIMITED
    own_labels_only: ClassVar[bool] = False

    def priority(self, seen: Seen) -> UInt32[Array, " num_examples"]:
        """Uncertainty, then the number of labels, of what is not accepted."""
        accepted = exceeds(seen.class_probs, threshold_for_risk(seen.class_probs, self.target))
        wanted = ~accepted & (seen.num_labels < self.max_labels)
        urgency = largest_first(decisions.uncertainty(seen.class_probs), seen.num_labels)
        return jnp.where(wanted, urgency, jnp.uint32(NEVER))
