"""A linear classifier on the features of a frozen network: minutes become seconds on a CPU."""

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key, UInt8

from gtx_bayes.finetune.adamw import AdamW
from gtx_bayes.finetune.batches import batch_of, epoch_order, steps_per_epoch
from gtx_bayes.finetune.efficientnet import EfficientNet, from_tensors, to_tensors
from gtx_bayes.finetune.predictions import map_batches
from gtx_bayes.finetune.targets import Targets, cross_entropy, normalised, take


@dataclasses.dataclass(frozen=True)
class HeadConfig:
    """How a head is trained.

    Attributes:
        num_epochs: how often every image is seen.
        batch_size: images of a step.
        optimiser: how weights move.
    """

    num_epochs: int = 30
    batch_size: int = 16
    optimiser: AdamW = dataclasses.field(default_factory=AdamW)


class Head(NamedTuple):
    """A linear classifier.

    Attributes:
        kernel: weights of the features.
        bias: of the classes.
    """

    kernel: Float[Array, "num_features num_classes"]
    bias: Float[Array, " num_classes"]

    def logits(
        self, features: Float[Array, "num_images num_features"]
    ) -> Float[Array, "num_images num_classes"]:
        """What it says of images with these features."""
        return features @ self.kernel + self.bias


def cached_features(
    network: EfficientNet, pixels: UInt8[np.ndarray, "num_images height width 3"], **batching: int
) -> Float[np.ndarray, "num_images num_features"]:
    """What a classifier sees of each image, in eval mode: computed once, used by many heads.

    Args:
        network: the frozen network.
        pixels: RGB images.
        **batching: `batch_size`, as `predictions.map_batches` takes it.
    """
    return map_batches(EfficientNet.features, network, pixels, **batching)


@partial(jax.jit, static_argnames="config")
def train_head(
    key: Key[Array, ""],
    features: Float[Array, "num_images num_features"],
    targets: Targets,
    config: HeadConfig = HeadConfig(),
) -> Head:
    """A head trained on the images that have a weight.

    Shapes do not depend on how many those are, so that trainings on many budgets are compiled
    once. Features are centred and scaled by what is common to all images, weight or not; the
    head returned takes them as they are. Without any image it says that all classes are equal.

    Args:
        key: random key of the order of the images.
        features: of all images, those without a weight among them.
        targets: what to train towards.
        config: how.
    """
    targets = normalised(targets)
    mean, sd = features.mean(axis=0), features.std(axis=0)
    scale = jnp.where(sd > 0, 1.0 / jnp.where(sd > 0, sd, 1.0), 0.0)
    scaled = (features - mean) * scale
    per_epoch = steps_per_epoch(targets.weight, config.batch_size)
    adamw = config.optimiser.transformation(config.num_epochs * per_epoch)
    num_classes = targets.probs.shape[1]
    start = Head(
        jnp.zeros((features.shape[1], num_classes), features.dtype),
        jnp.zeros(num_classes, features.dtype),
    )

    def loss(head: Head, images: Int[Array, " batch"]) -> Float[Array, ""]:
        return cross_entropy(head.logits(scaled[images]), take(targets, images))

    def epoch(number: Array, state: tuple[Head, Any]) -> tuple[Head, Any]:
        order = epoch_order(jax.random.fold_in(key, number), targets.weight)

        def step(at: Array, state: tuple[Head, Any]) -> tuple[Head, Any]:
            head, moments = state
            images = batch_of(order, targets.weight, at, config.batch_size)
            updates, moments = adamw.update(jax.grad(loss)(head, images), moments, head)
            return optax.apply_updates(head, updates), moments

        return jax.lax.fori_loop(0, per_epoch, step, state)

    head, _ = jax.lax.fori_loop(0, config.num_epochs, epoch, (start, adamw.init(start)))
    kernel = head.kernel * scale[:, None]
    return Head(kernel, head.bias - mean @ kernel)


def own_head(network: EfficientNet) -> Head:
    """The network's own classifier."""
    bias = network.classifier.bias
    assert bias is not None, "classifiers have a bias"
    return Head(network.classifier.kernel[...], bias[...])


def with_head(network: EfficientNet, head: Head) -> EfficientNet:
    """The network with this head in place of its own classifier."""
    head_tensors = {
        "classifier.kernel": np.asarray(head.kernel),
        "classifier.bias": np.asarray(head.bias),
    }
    return from_tensors(network.config, to_tensors(network) | head_tensors)
