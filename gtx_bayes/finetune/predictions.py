"""What a network says of images, how confident it may be, and how good that is."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
import scipy.special
from flax import nnx
from jaxtyping import Array, Float, Int, UInt8

from gtx_bayes import metrics
from gtx_bayes.finetune.efficientnet import EfficientNet, standardise
from gtx_bayes.labels import MISSING

_BATCH_SIZE = 32
_WIDEST = 5.0  # the logarithm of a temperature lies within plus and minus this


def network_logits(
    network: EfficientNet,
    pixels: UInt8[np.ndarray, "num_images height width 3"],
    *,
    batch_size: int = _BATCH_SIZE,
) -> Float[np.ndarray, "num_images num_classes"]:
    """Logits of every image; see `map_batches`."""
    return map_batches(EfficientNet.__call__, network, pixels, batch_size=batch_size)


def map_batches(
    function: Callable[[EfficientNet, Float[Array, "batch height width 3"]], Array],
    network: EfficientNet,
    pixels: UInt8[np.ndarray, "num_images height width 3"],
    *,
    batch_size: int = _BATCH_SIZE,
) -> Float[np.ndarray, "num_images values"]:
    """A function of the network and standardised images, batch by batch, stacked.

    Args:
        function: such as `EfficientNet.features`; one row for each image.
        network: the network.
        pixels: RGB images, at least one.
        batch_size: images at once; the last batch is padded, so that it is compiled once.
    """
    graph, state = nnx.split(network)
    rows = []
    for start in range(0, len(pixels), batch_size):
        batch = pixels[start : start + batch_size]
        filled = np.resize(batch, (batch_size, *batch.shape[1:]))
        rows.append(np.asarray(_apply(function, graph, state, filled))[: len(batch)])
    return np.concatenate(rows)


@partial(jax.jit, static_argnames=("function", "graph"))
def _apply(
    function: Callable[..., Array],
    graph: nnx.GraphDef[EfficientNet],
    state: Any,
    images: UInt8[Array, "batch height width 3"],
) -> Array:
    return function(nnx.merge(graph, state), standardise(images))


def fit_temperature(
    logits: Float[np.ndarray, "num_images num_classes"],
    true_label: Int[np.ndarray, " num_images"],
) -> float:
    r"""The temperature T at which softmax(logits / T) is honest about images not trained on.

    The mode of its posterior under :math:`\log T \sim N(0, 1)`, which a hundred images overrule;
    without it a network that errs on none of a few images would get to be certain of everything.

    Args:
        logits: of images with known classes.
        true_label: their classes; `MISSING` ones do not count.

    References:
        Guo et al. (2017), On calibration of modern neural networks, sec. 4.2.
    """
    known = np.asarray(true_label) != MISSING
    truth = np.asarray(true_label)[known]
    return temperature_towards(np.asarray(logits)[known], np.eye(np.shape(logits)[1])[truth])


def temperature_towards(
    logits: Float[np.ndarray, "num_images num_classes"],
    class_probs: Float[np.ndarray, "num_images num_classes"],
) -> float:
    """As `fit_temperature`, where the classes are known up to probabilities.

    The loss is the one expected under these: if they are honest the temperature is too.

    Args:
        logits: of images not trained on.
        class_probs: probability of each class of each image.
    """
    values, weight = np.asarray(logits, np.float64), np.asarray(class_probs, np.float64)

    def minus_log_posterior(log_temperature: float) -> float:
        log_probs = scipy.special.log_softmax(values / np.exp(log_temperature), axis=1)
        return float(0.5 * log_temperature**2 - (weight * log_probs).sum())

    found = scipy.optimize.minimize_scalar(
        minus_log_posterior, bounds=(-_WIDEST, _WIDEST), method="bounded"
    )
    return float(np.exp(found.x))


def class_probs(
    logits: Float[np.ndarray, "num_images num_classes"], temperature: float = 1.0
) -> Float[np.ndarray, "num_images num_classes"]:
    """Probability of each class at a temperature."""
    return np.asarray(scipy.special.softmax(np.asarray(logits) / temperature, axis=1))


class Scores(NamedTuple):
    """How good predictions are, fractions but for the log loss in nats.

    Attributes:
        balanced_error: mean of the classes' error rates (paper, sec. 4).
        error: proportion of wrong labels.
        ece: expected calibration error (paper, sec. 4), in 15 bins of equal width.
        auroc: area under the ROC curve.
        log_loss: mean of minus the log-probability of the true class.
        num_examples: images with a known class.
    """

    balanced_error: float
    error: float
    ece: float
    auroc: float
    log_loss: float
    num_examples: int


def score(
    class_probs: Float[np.ndarray, "num_images num_classes"],
    true_label: Int[np.ndarray, " num_images"],
) -> Scores:
    """Predictions against the truth; images whose class is `MISSING` do not count."""
    found = _estimates(jnp.asarray(class_probs), jnp.asarray(true_label))
    num_examples = int((np.asarray(true_label) != MISSING).sum())
    return Scores(**jax.tree.map(float, found), num_examples=num_examples)


@jax.jit
def _estimates(
    class_probs: Float[Array, "num_images num_classes"], true_label: Int[Array, " num_images"]
) -> dict[str, Float[Array, ""]]:
    each = {
        "balanced_error": metrics.balanced_error,
        "error": metrics.error_rate,
        "ece": metrics.expected_calibration_error,
        "auroc": metrics.auroc,
        "log_loss": metrics.log_loss,
    }
    return {name: metric(class_probs, true_label).value for name, metric in each.items()}
