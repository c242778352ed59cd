"""From class probabilities to decisions: hard labels, confidence, uncertainty, ties."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, Shaped

from gtx_bayes.labels import MISSING, check_whole

_TIE_ULPS = 8
"""Classes this close to the best, in units of rounding, are tied: sums in another order differ."""

_FEW_CLASSES = 8  # up to here class by class: on a CPU reducing a short last axis is slow


def confidence(
    class_probs: Float[Array, "*examples num_classes"],
) -> Float[Array, "*examples"]:
    """Probability of the best class: the paper's confidence score of the hard label."""
    return _fold(jnp.maximum, jnp.max, class_probs)


def uncertainty(
    class_probs: Float[Array, "*examples num_classes"],
) -> Float[Array, "*examples"]:
    r""":math:`u_i = 1 - \max_y \hat P(Y_i = y \mid \mathcal{L}(i))` (Eq. 5).

    Summed over the classes that are not best, so that examples whose confidence rounds to one
    still differ.
    """
    if class_probs.shape[-1] > _FEW_CLASSES:
        is_best = jax.nn.one_hot(
            jnp.argmax(class_probs, axis=-1), class_probs.shape[-1], dtype=bool
        )
        return jnp.sum(class_probs, axis=-1, where=~is_best)
    best, *columns = jnp.unstack(class_probs, axis=-1)
    others = jnp.zeros_like(best)
    for column in columns:
        others = others + jnp.minimum(best, column)
        best = jnp.maximum(best, column)
    return others


def prob_of_truth(
    class_probs: Float[Array, "*examples num_classes"], true_label: Int[Array, "*examples"]
) -> Float[Array, "*examples"]:
    """Probability of the true class; 0 where it is `MISSING` or none of the classes."""
    check_whole("true_label", true_label)
    if class_probs.shape[:-1] != true_label.shape:
        raise ValueError(
            f"the class probabilities are of shape {class_probs.shape}, the true labels of "
            f"{true_label.shape}: give one true label for each example"
        )
    if class_probs.shape[-1] > _FEW_CLASSES:
        index = true_label[..., None].astype(jnp.int32)
        is_class = (true_label >= 0) & (true_label < class_probs.shape[-1])
        index = jnp.where(is_class[..., None], index, 0)
        found = jnp.take_along_axis(class_probs, index, axis=-1)[..., 0]
        return jnp.where(is_class, found, 0.0)
    first, *columns = jnp.unstack(class_probs, axis=-1)
    found = jnp.where(true_label == 0, first, 0.0)
    for k, column in enumerate(columns, start=1):
        found = jnp.where(true_label == k, column, found)
    return found


def tied_classes(
    class_probs: Float[Array, "*examples num_classes"],
) -> Bool[Array, "*examples num_classes"]:
    """Which classes share the highest probability, up to rounding; one where there is no tie."""
    return class_probs >= _least_tied(class_probs)[..., None]


def num_tied(class_probs: Float[Array, "*examples num_classes"]) -> Int[Array, "*examples"]:
    """How many classes share the highest probability; 1 when there is no tie."""
    return _fold(jnp.add, jnp.sum, tied_classes(class_probs).astype(jnp.int32))


def hard_label(
    key: Key[Array, ""], class_probs: Float[Array, "*examples num_classes"]
) -> Int[Array, "*examples"]:
    """The most probable class; tied classes are drawn from at random, as in the paper's figures.

    `MISSING` where the probabilities are NaN.
    """
    priority = jax.random.uniform(key, class_probs.shape)
    found = jnp.argmax(jnp.where(tied_classes(class_probs), priority, -1.0), axis=-1)
    return jnp.where(jnp.isnan(confidence(class_probs)), MISSING, found)


class Decided(NamedTuple):
    """What class probabilities come to, on the host.

    Attributes:
        hard_label: as `hard_label` has it.
        confidence: as `confidence` has it.
        num_tied: as `num_tied` has it.
    """

    hard_label: Int[np.ndarray, " num_examples"]
    confidence: Float[np.ndarray, " num_examples"]
    num_tied: Int[np.ndarray, " num_examples"]


def decide(
    rng: np.random.Generator, class_probs: Float[np.ndarray, "num_examples num_classes"]
) -> Decided:
    """The decisions on a whole table, without anything to compile for its size."""
    best = class_probs.max(axis=1)
    tied = class_probs >= (best * (1.0 - _TIE_ULPS * np.finfo(class_probs.dtype).eps))[:, None]
    label, num_tied = class_probs.argmax(axis=1), tied.sum(axis=1)
    rows = np.flatnonzero(num_tied > 1)
    priority = rng.random((rows.size, class_probs.shape[1]))
    label[rows] = np.where(tied[rows], priority, -1.0).argmax(axis=1)
    return Decided(label, best, num_tied)


def credit(
    class_probs: Float[Array, "*examples num_classes"], true_label: Int[Array, "*examples"]
) -> Float[Array, "*examples"]:
    """Probability that `hard_label` is right: 1, 0, or a fraction of one where classes tie."""
    hit = prob_of_truth(class_probs, true_label) >= _least_tied(class_probs)
    return jnp.where(hit, 1.0 / num_tied(class_probs), 0.0)


def _least_tied(class_probs: Float[Array, "*examples num_classes"]) -> Float[Array, "*examples"]:
    return confidence(class_probs) * (1.0 - _TIE_ULPS * jnp.finfo(class_probs.dtype).eps)


def _fold(
    combine: Callable[[Array, Array], Array],
    reduce: Callable[..., Array],
    values: Shaped[Array, "*examples num_classes"],
) -> Shaped[Array, "*examples"]:
    """Reduce over the classes, one by one where they are few."""
    if values.shape[-1] > _FEW_CLASSES:
        return reduce(values, axis=-1)
    return functools.reduce(combine, jnp.unstack(values, axis=-1))
