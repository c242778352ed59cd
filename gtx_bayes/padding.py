"""Tables and arrays padded to few sizes: JAX compiles a program for every shape.

All is done by NumPy, which compiles nothing: `jnp.asarray` of another type, slices and sums outside
of `jax.jit` are programs of their own for every shape.
"""

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jaxtyping import Array, Float

from gtx_bayes.labels import MISSING, Assessment, Labels

LEAST_LABELS, LEAST_EXAMPLES, LEAST_LABELERS = 256, 64, 16
"""The smallest sizes that tables are padded to."""


def bucket_size(size: int, least: int) -> int:
    """The next power of two, or three quarters of it."""
    standard = least
    while standard < size:
        standard *= 2
    return 3 * standard // 4 if least < size <= 3 * standard // 4 else standard


def fine_bucket_size(size: int, least: int) -> int:
    """The next of eight or so sizes from one octave of `least` to the next: little is lost.

    For what is large, where time is for computing and not for compiling.
    """
    octave = least
    while 2 * octave <= size:
        octave *= 2
    step = max(octave // 8, 1)
    steps = -(-max(size - octave, 0) // step)
    return min(octave + steps * step, 2 * octave)


def padded_to_bucket(
    labels: Labels, assessment: Assessment, class_prior: Float[Array, "..."] | None
) -> tuple[Labels, Assessment, Float[Array, "..."] | None]:
    """The same tables padded, so that growing ones are seldom compiled anew.

    The padding is examples and labelers without answers, and entries that are no answers.
    """
    return padded(
        labels,
        assessment,
        class_prior,
        num_labels=bucket_size(labels.num_labels, LEAST_LABELS),
        num_examples=bucket_size(labels.num_examples, LEAST_EXAMPLES),
    )


def padded(
    labels: Labels,
    assessment: Assessment,
    class_prior: Float[Array, "..."] | None,
    *,
    num_labels: int,
    num_examples: int,
    num_labelers: int | None = None,
) -> tuple[Labels, Assessment, Float[Array, "..."] | None]:
    """The same tables with so many entries and examples; labelers in a bucketed size by default."""
    num_labelers = num_labelers or bucket_size(labels.num_labelers, LEAST_LABELERS)
    longer = Labels(
        pad_to(labels.example, num_labels),
        pad_to(labels.labeler, num_labels),
        pad_to(labels.label, num_labels, fill=MISSING),
        num_examples,
        num_labelers,
        labels.num_classes,
        jax.tree.map(lambda x: pad_to(x, num_labels), labels.covariates),
        jax.tree.map(lambda x: pad_to(x, num_labelers), labels.labeler_covariates),
        jax.tree.map(lambda x: pad_to(x, num_examples), labels.example_covariates),
        labels.num_answers,
    )
    truth = pad_to(assessment.true_label, num_examples, fill=MISSING)
    if class_prior is not None and class_prior.ndim == 2:
        class_prior = pad_to(class_prior, num_examples, fill=1.0 / labels.num_classes)
    earlier = assessment.earlier
    if earlier is not None and earlier.confusion is not None:
        earlier = earlier._replace(confusion=pad_to(earlier.confusion, num_labelers))
    return longer, Assessment(truth, labels.num_classes, earlier), class_prior


def pad_to(array: Array | npt.NDArray[np.generic], size: int, fill: float | int = 0) -> Array:
    """The array with so many rows, those to spare filled."""
    rows = np.asarray(array)
    padding = ((0, size - len(rows)), *((0, 0) for _ in rows.shape[1:]))
    return jax.device_put(np.pad(rows, padding, constant_values=fill))


def on_device(values: float | npt.NDArray[np.floating]) -> Float[Array, "*shape"]:
    """Numbers in the default precision of floats."""
    return jax.device_put(np.asarray(values, jnp.result_type(float)))


def first[T](size: int, of: T) -> T:
    """The first rows of every array in a tree; what has no rows stays as it is."""
    return jax.tree.map(
        lambda array: jax.device_put(np.asarray(array)[:size]) if np.ndim(array) else array, of
    )
