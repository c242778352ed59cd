"""From class probabilities to decisions: hard labels, confidence, uncertainty, ties."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

_TIE_ULPS = 8
"""Classes this close to the best, in units of rounding, are tied: sums in another order differ."""


def confidence(
    class_probs: Float[Array, "*examples num_classes"],
) -> Float[Array, "*examples"]:
    """Probability of the best class: the paper's confidence score of the hard label."""
    return jnp.max(class_probs, axis=-1)


def uncertainty(
    class_probs: Float[Array, "*examples num_classes"],
) -> Float[Array, "*examples"]:
    r""":math:`u_i = 1 - \max_y \hat P(Y_i = y \mid \mathcal{L}(i))` (Eq. 5)."""
    return 1.0 - confidence(class_probs)


def tied_classes(
    class_probs: Float[Array, "*examples num_classes"],
) -> Bool[Array, "*examples num_classes"]:
    """Which classes share the highest probability, up to rounding; one where there is no tie."""
    best = jnp.max(class_probs, axis=-1, keepdims=True)
    return class_probs >= best * (1.0 - _TIE_ULPS * jnp.finfo(class_probs.dtype).eps)


def num_tied(class_probs: Float[Array, "*examples num_classes"]) -> Int[Array, "*examples"]:
    """How many classes share the highest probability; 1 when there is no tie."""
    return jnp.sum(tied_classes(class_probs), axis=-1)


def hard_label(
    key: Key[Array, ""], class_probs: Float[Array, "*examples num_classes"]
) -> Int[Array, "*examples"]:
    """The most probable class; tied classes are drawn from at random, as in the paper's figures."""
    lots = jax.random.uniform(key, class_probs.shape)
    return jnp.argmax(jnp.where(tied_classes(class_probs), lots, -1.0), axis=-1)


def credit(
    class_probs: Float[Array, "*examples num_classes"], true_label: Int[Array, "*examples"]
) -> Float[Array, "*examples"]:
    """Probability that `hard_label` is right: 1, 0, or a fraction of one where classes tie."""
    tied = tied_classes(class_probs)
    hit = jnp.take_along_axis(tied, true_label[..., None].astype(jnp.int32), axis=-1)[..., 0]
    return hit / jnp.sum(tied, axis=-1)
