"""Crowds made of arrays, or simulated."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from gtx_bayes.crowd import Crowd
from gtx_bayes.labels import MISSING, Assessment, Labels
from gtx_bayes.simulation import simulate_queue, uniform_cohort


def named(labels, truth=()):
    """A crowd of these answers with names e0, w0, c0 and on; the first examples are gold."""
    sizes = {"e": labels.num_examples, "w": labels.num_labelers, "c": labels.num_classes}
    names = [np.array([f"{kind}{i}" for i in range(size)], object) for kind, size in sizes.items()]
    crowd = Crowd(labels, Assessment.none(labels.num_examples, labels.num_classes), *names)
    return with_gold(crowd, truth)


def with_gold(crowd, truth):
    """The same crowd, its first examples gold, or with `MISSING` some of them."""
    gold = np.full(crowd.labels.num_examples, MISSING, np.int8)
    gold[: len(truth)] = truth
    known = Assessment(jnp.asarray(gold), crowd.labels.num_classes)
    return dataclasses.replace(crowd, assessment=known)


def crowd_of(dense, truth=(), num_classes=2):
    """A crowd of answers of shape (num_labelers, num_examples)."""
    return named(Labels.from_dense(np.asarray(dense), num_classes=num_classes), truth)


def voted(votes, truth=(), num_classes=2):
    """A crowd in which each example has so many votes for each class."""
    example = np.repeat(np.arange(len(votes)), np.sum(votes, axis=1))
    label = np.concatenate([np.repeat(np.arange(num_classes), row) for row in votes])
    labeler = np.concatenate([np.arange(sum(row)) for row in votes])
    return named(Labels.from_arrays(example, labeler, label, num_classes=num_classes), truth)


def over_time(rng, accuracy, *, each, num_classes=2):
    """Answers in the order of time, `when` an example's place, and the truth.

    Each example has `each` labelers, drawn anew; `accuracy` has shape (num_examples, num_labelers).
    """
    num_examples, num_labelers = accuracy.shape
    truth = rng.integers(0, num_classes, num_examples)
    who = np.argsort(rng.random((num_examples, num_labelers)), axis=1)[:, :each]
    is_right = rng.random(who.shape) < np.take_along_axis(accuracy, who, axis=1)
    other = (truth[:, None] + rng.integers(1, num_classes, who.shape)) % num_classes
    table = pd.DataFrame(
        {
            "task": np.repeat(np.arange(num_examples), each),
            "worker": who.ravel(),
            "label": np.where(is_right, truth[:, None], other).ravel(),
            "when": np.repeat(np.arange(num_examples), each),
        }
    )
    return table, truth


def rng_of(key):
    """NumPy's generator: what it draws compiles nothing."""
    return np.random.default_rng(np.asarray(jax.random.key_data(key)))


def drawn(rng, accuracy, num_examples, *, each=None, num_classes=2, class_balance=None):
    """Labels of shape (num_labelers, num_examples), and the truth.

    `accuracy` is that of each labeler, or has the shape of the labels; `each` labelers are drawn
    for an example, all of them by default, and the others' labels are `MISSING`.
    """
    accuracy = np.asarray(accuracy)
    accuracy = accuracy if accuracy.ndim == 2 else np.tile(accuracy[:, None], num_examples)
    truth = rng.choice(num_classes, num_examples, p=class_balance)
    other = (truth + rng.integers(1, num_classes, accuracy.shape)) % num_classes
    dense = np.where(rng.random(accuracy.shape) < accuracy, truth, other)
    if each is not None:
        place = rng.random(accuracy.shape).argsort(axis=0).argsort(axis=0)
        dense = np.where(place < each, dense, MISSING)
    return dense.astype(np.int8), truth


def simulated(key, num_gold, *, num_labelers=5, num_examples=60, max_labels=None):
    """One coin each, right with a probability between 0.6 and 0.9; the first examples gold."""
    key_cohort, key_answers = jax.random.split(key)
    cohort = uniform_cohort(key_cohort, num_labelers, 0.6, 0.9)
    queue = simulate_queue(key_answers, cohort, num_examples, max_labels=max_labels)
    return crowd_of(queue.labels, np.asarray(queue.true_label)[:num_gold])
