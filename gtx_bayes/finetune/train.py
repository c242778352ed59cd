"""Fine-tuning of a whole network: one compiled step, whatever is trained on and however long."""

import dataclasses
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, Int, Key, PyTree, ScalarLike, UInt8

from gtx_bayes.finetune.adamw import AdamW
from gtx_bayes.finetune.augment import Augmentation, augment
from gtx_bayes.finetune.batches import batch_of, epoch_order, steps_per_epoch
from gtx_bayes.finetune.checkpoint import (
    Checkpoint,
    fingerprint,
    read_checkpoint,
    write_checkpoint,
)
from gtx_bayes.finetune.efficientnet import EfficientNet, standardise, to_tensors
from gtx_bayes.finetune.predictions import class_probs, network_logits, score
from gtx_bayes.finetune.targets import Targets, cross_entropy, normalised, take

Progress = Callable[[int, int], object]
"""Callback: called with the number of steps done, and of all."""


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """How a network is fine-tuned.

    Attributes:
        num_epochs: how often every image is seen; the paper's 3.
        batch_size: images of a step.
        optimiser: how weights move.
        layer_decay: each block learns at this times the rate of the one above it, the classifier
            at the full rate: what was learnt first, and from far more images, moves least.
        statistics: what the norms go by while training: "batch", of which they learn new running
            statistics, or "kept", those that the network came with. Few and small batches of
            images alike say less about the images to come than ImageNet did; but weights without
            statistics to match need new ones.
        average: where given, the network returned is a running average of those of all steps,
            this the share that it keeps at each step.
        augmentation: what is done to images before the network sees them.
    """

    num_epochs: int = 3
    batch_size: int = 16
    optimiser: AdamW = dataclasses.field(default_factory=AdamW)
    layer_decay: float = 0.9
    statistics: Literal["batch", "kept"] = "batch"
    average: float | None = None
    augmentation: Augmentation = dataclasses.field(default_factory=Augmentation)


class Watched(NamedTuple):
    """Images looked at after every epoch, and never trained on.

    Attributes:
        pixels: RGB images.
        true_label: their classes.
    """

    pixels: UInt8[np.ndarray, "num_images height width 3"]
    true_label: Int[np.ndarray, " num_images"]


@dataclasses.dataclass(frozen=True)
class History:
    """How a training went.

    Attributes:
        loss: of each step, before it, on its own batch.
        watched: after each epoch the scores on the images watched, by name; empty without any.
    """

    loss: tuple[float, ...] = ()
    watched: tuple[dict[str, float], ...] = ()


class Trained(NamedTuple):
    """A fine-tuned network.

    Attributes:
        network: in eval mode.
        history: how it went.
    """

    network: EfficientNet
    history: History


class _State(NamedTuple):
    """What one step needs from the one before."""

    weights: PyTree
    statistics: PyTree
    moments: PyTree
    average: PyTree


def train(
    key: Key[Array, ""],
    network: EfficientNet,
    pixels: UInt8[np.ndarray, "num_images height width 3"],
    targets: Targets,
    config: TrainingConfig | None = None,
    *,
    watched: Watched | None = None,
    checkpoint: Checkpoint | None = None,
    progress: Progress = lambda done, total: None,
) -> Trained:
    """A network fine-tuned on the images that have a weight; the one given stays as it was.

    The same arguments give the same network on one device, also if the training was killed in
    between and went on from its checkpoint.

    Args:
        key: random key of the order of the images, of augmentation, dropout and stochastic depth.
        network: where to start.
        pixels: RGB images, those without a weight among them.
        targets: what to train towards.
        config: how.
        watched: images to score after every epoch.
        checkpoint: where to put the training down; if there is a file, it goes on from there.
        progress: called after each step.

    Raises:
        InputError: if the checkpoint is broken or that of another training.
        ValueError: if no image has a weight.
    """
    config = config or TrainingConfig()
    targets = normalised(targets)
    on_host = jax.device_get(targets)
    per_epoch = int(steps_per_epoch(targets.weight, config.batch_size))
    if per_epoch == 0:
        raise ValueError("no image has a weight: there is nothing to train on")
    num_steps = config.num_epochs * per_epoch
    key_order, key_step = jax.random.split(key)
    graph, state = _start(network, config)
    # Compiled once for any number of epochs, rates and decays.
    numbers = (config.optimiser, config.layer_decay)
    compiled = dataclasses.replace(config, num_epochs=0, optimiser=AdamW(), layer_decay=1.0)
    losses: list[Any] = []
    scores: list[dict[str, float]] = []
    mark = ""
    if checkpoint is not None:
        given = () if watched is None else watched
        tensors = to_tensors(network).values()
        described = (network.config, config, *tensors, pixels, *on_host, *given)
        mark = fingerprint([np.asarray(jax.random.key_data(key)), *described])
        found = read_checkpoint(checkpoint.path, state, mark)
        if found is not None:
            state, record = found
            losses, scores = record["loss"], record["watched"]
    done = len(losses)
    written = time.monotonic()
    for at in range(done, num_steps):
        epoch, place = divmod(at, per_epoch)
        if at == done or place == 0:
            order = epoch_order(jax.random.fold_in(key_order, epoch), targets.weight)
        images = np.asarray(batch_of(order, targets.weight, place, config.batch_size))
        batch = take(on_host, images)
        key_now = jax.random.fold_in(key_step, at)
        state, loss = _step(
            graph, compiled, numbers, state, key_now, pixels[images], batch, num_steps
        )
        losses.append(loss)
        if at > done:  # not the last: the device works at it while the next batch is made
            losses[-2] = float(losses[-2])
        is_end = place == per_epoch - 1
        if is_end and watched is not None:
            probs = class_probs(network_logits(_network(graph, state), watched.pixels))
            scores.append(score(probs, watched.true_label)._asdict())
        if checkpoint is not None and (is_end or time.monotonic() - written > checkpoint.seconds):
            losses = [float(loss) for loss in losses]
            record = {"fingerprint": mark, "loss": losses, "watched": scores}
            write_checkpoint(checkpoint.path, state, record)
            written = time.monotonic()
        progress(at + 1, num_steps)
    return Trained(_network(graph, state), History(tuple(map(float, losses)), tuple(scores)))


def _start(
    network: EfficientNet, config: TrainingConfig
) -> tuple[nnx.GraphDef[EfficientNet], _State]:
    """The network as structure and numbers, and an optimiser that has not moved."""
    graph, *states = nnx.split(network, nnx.Param, nnx.BatchStat)
    # Of their own: steps reuse the memory of what they are given.
    weights, statistics = jax.tree.map(jnp.copy, states)
    average = () if config.average is None else jax.tree.map(jnp.copy, (weights, statistics))
    moments = _updates(config.optimiser, config.layer_decay, weights, 1).init(weights)
    return graph, _State(weights, statistics, moments, average)


def _network(graph: nnx.GraphDef[EfficientNet], state: _State) -> EfficientNet:
    """The network of a state, in eval mode, with numbers of its own."""
    kept: Any = state.average or (state.weights, state.statistics)
    weights, statistics = jax.tree.map(jnp.copy, kept)
    network: EfficientNet = nnx.merge(graph, weights, statistics)
    network.set_attributes(deterministic=True, use_running_average=True)
    return network


@partial(jax.jit, static_argnames=("graph", "config"), donate_argnames="state")
def _step(
    graph: nnx.GraphDef[EfficientNet],
    config: TrainingConfig,
    numbers: tuple[AdamW, ScalarLike],
    state: _State,
    key: Key[Array, ""],
    pixels: UInt8[Array, "batch height width 3"],
    targets: Targets,
    num_steps: ScalarLike,
) -> tuple[_State, Float[Array, ""]]:
    """One step: the state after it, and the loss before."""
    key_augment, key_network = jax.random.split(key)
    images = standardise(augment(key_augment, pixels, config.augmentation))

    def loss(weights: PyTree) -> tuple[Float[Array, ""], PyTree]:
        network: EfficientNet = nnx.merge(graph, weights, state.statistics, copy=True)
        network.set_attributes(deterministic=False, use_running_average=config.statistics == "kept")
        value = cross_entropy(network(images, key_network), targets)
        return value, nnx.state(network, nnx.BatchStat)

    (value, statistics), gradient = jax.value_and_grad(loss, has_aux=True)(state.weights)
    adamw = _updates(*numbers, state.weights, num_steps)
    updates, moments = adamw.update(gradient, state.moments, state.weights)
    weights = optax.apply_updates(state.weights, updates)
    average = ()
    if config.average is not None:
        new = (weights, statistics)
        average = optax.incremental_update(new, state.average, 1 - config.average)
    return _State(weights, statistics, moments, average), value


def _updates(
    optimiser: AdamW, layer_decay: ScalarLike, weights: PyTree, num_steps: ScalarLike
) -> optax.GradientTransformation:
    """The optimiser, with the share of its rate for each layer by how far up the network it is."""
    num_blocks = 1 + max(
        int(str(path[1])) for path, _ in nnx.to_flat_state(weights) if path[0] == "blocks"
    )

    def share(path: tuple[Any, ...], weight: nnx.Variable[Any]) -> nnx.Variable[Any]:
        depth = 0 if path[0] == "classifier" else 1
        if path[0] == "blocks":
            depth = 1 + num_blocks - int(str(path[1]))
        elif path[0].startswith("stem"):
            depth = 2 + num_blocks
        return weight.replace(layer_decay**depth)

    return optimiser.transformation(num_steps, nnx.map_state(share, weights))
