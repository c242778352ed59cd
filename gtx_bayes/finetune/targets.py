"""What a classifier is trained towards: imputed labels, hard or soft, and how much each counts."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from gtx_bayes import decisions
from gtx_bayes.labels import MISSING


class Targets(NamedTuple):
    """For every image a distribution over the classes and its weight in the loss.

    Attributes:
        probs: probability of each class; any values where the weight is zero.
        weight: how much the image counts, relative to the others; zero if it is not trained on.
    """

    probs: Float[Array, "num_images num_classes"]
    weight: Float[Array, " num_images"]


def known_targets(label: Int[Array, " num_images"], num_classes: int) -> Targets:
    """One class for each image, all equally; a `MISSING` label leaves the image out."""
    return Targets(jax.nn.one_hot(label, num_classes), (label != MISSING).astype(float))


def hard_targets(class_probs: Float[Array, "num_images num_classes"]) -> Targets:
    """The most probable class, as in the paper; tied classes share the target."""
    tied = decisions.tied_classes(class_probs).astype(class_probs.dtype)
    return Targets(tied / jnp.sum(tied, axis=1, keepdims=True), jnp.ones(class_probs.shape[0]))


def soft_targets(class_probs: Float[Array, "num_images num_classes"]) -> Targets:
    """The class probabilities themselves: the loss expected under the posterior.

    With honest probabilities nothing of what the labels say is lost, and nothing is added.
    """
    return Targets(class_probs, jnp.ones(class_probs.shape[0]))


def weighted_targets(class_probs: Float[Array, "num_images num_classes"]) -> Targets:
    r"""The most probable class, the more it is known the more it counts.

    .. math:: w_i = \frac{K \max_y p_{i,y} - 1}{K - 1}

    is zero for an even guess and one for certainty: under errors spread evenly over the other
    classes, by how much the label's expected loss still falls as that of the true class does.
    """
    num_classes = class_probs.shape[1]
    known = (num_classes * decisions.confidence(class_probs) - 1) / (num_classes - 1)
    return Targets(hard_targets(class_probs).probs, jnp.maximum(known, 0.0))


def only(targets: Targets, counted: Bool[Array, " num_images"]) -> Targets:
    """The same targets, the other images left out."""
    return targets._replace(weight=jnp.where(counted, targets.weight, 0.0))


def take(targets: Targets, index: Any) -> Targets:
    """Those of some images, by position or mask."""
    return Targets(*(part[index] for part in targets))


def normalised(targets: Targets) -> Targets:
    """The same targets, weights divided by their mean over the images that have one.

    So their unit says nothing, and a batch of images little known moves the network little.
    """
    mean = jnp.mean(targets.weight, where=targets.weight > 0)
    return targets._replace(weight=jnp.where(targets.weight > 0, targets.weight / mean, 0.0))


def cross_entropy(logits: Float[Array, "num_images num_classes"], targets: Targets) -> Array:
    r"""Mean over the images of :math:`-w_i \sum_y p_{i,y} \log q_{i,y}`, in nats."""
    return jnp.mean(targets.weight * optax.softmax_cross_entropy(logits, targets.probs))


TARGETS: dict[str, Callable[[Float[Array, "num_images num_classes"]], Targets]] = {
    "hard": hard_targets,
    "soft": soft_targets,
    "weighted": weighted_targets,
}
"""Ways to train towards class probabilities, by name."""
