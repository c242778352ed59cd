"""A crowd when there is none: labelers of known accuracy, true labels, and their answers."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key

from gtx_bayes.labelers.one_coin import OneCoin
from gtx_bayes.labels import MISSING, label_dtype


class SimulatedCrowd(NamedTuple):
    """Answers of a simulated crowd and what only a simulation knows.

    Attributes:
        labels: the dense labeler-major table, `MISSING` where a labeler was not asked.
        true_label: class of every example.
        model: the labelers the answers were drawn from.
    """

    labels: Int[Array, "num_labelers num_examples"]
    true_label: Int[Array, " num_examples"]
    model: OneCoin


def uniform_cohort(
    key: Key[Array, ""], num_labelers: int, low: float, high: float, *, num_classes: int = 2
) -> OneCoin:
    """Labelers with accuracies drawn evenly from [low, high], as in the paper's section 3.2."""
    accuracy = jax.random.uniform(key, (num_labelers,), minval=low, maxval=high)
    return OneCoin(accuracy, num_classes)


def simulate_crowd(
    key: Key[Array, ""], model: OneCoin, num_examples: int, labels_per_example: int
) -> SimulatedCrowd:
    """Examples of even classes, each answered by a random choice of labelers.

    Args:
        key: random key.
        model: the labelers.
        num_examples: N.
        labels_per_example: how many distinct labelers answer each example.

    Raises:
        ValueError: if there are fewer labelers than answers wanted per example.
    """
    num_labelers = model.accuracy.shape[0]
    if not 0 <= labels_per_example <= num_labelers:
        raise ValueError(f"{num_labelers} labelers cannot give {labels_per_example} labels each")
    key_truth, key_answers, key_asked = jax.random.split(key, 3)
    true_label = jax.random.randint(key_truth, (num_examples,), 0, model.num_classes)
    answers = jax.vmap(model.sample, out_axes=1)(
        jax.random.split(key_answers, num_examples), true_label
    )
    lots = jax.random.uniform(key_asked, answers.shape)
    asked = jnp.argsort(jnp.argsort(lots, axis=0), axis=0) < labels_per_example
    labels = jnp.where(asked, answers, MISSING).astype(label_dtype(model.num_classes))
    return SimulatedCrowd(labels, true_label, model)
