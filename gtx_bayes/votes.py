"""Weighted votes: the one sum behind majority voting and the naive-Bayes posterior alike.

A kernel for each form of the data. All add, for every example and class, the weights of the
labelers who gave that class.
"""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from gtx_bayes.labels import MISSING, Labels, PaddedLabels, Prefixes
from gtx_bayes.lookup import look_up

AnyLabels = Labels | PaddedLabels | Prefixes | Int[Array, "num_labelers num_examples"]
"""Answers in long form, by place, or as the labeler-major table with `MISSING` where unanswered."""

_BLOCK = 16  # labelers summed in one fused loop; more would only lengthen compilation
FEW_CLASSES = 8  # up to here the loop is unrolled over the classes too
_INT32_CELLS = 2**31


def class_votes(
    labels: AnyLabels, weight: Float[Array, " num_labelers"], num_classes: int
) -> Float[Array, "num_classes num_examples"]:
    r"""Total weight behind each class, :math:`\sum_{j \in \mathcal{J}(i)} w_j I[y_i^j = y]`.

    Class-major, because the examples then run over contiguous vectors.

    Raises:
        ValueError: if the labels are of another number of labelers or classes.
    """
    check_sizes(labels, weight.shape[0], num_classes)
    if isinstance(labels, Labels):
        return _long_votes(labels, weight, num_classes)
    if isinstance(labels, PaddedLabels):
        *_, votes = _running_votes(labels, weight, num_classes)
        return jnp.stack(votes)
    if isinstance(labels, Prefixes):
        running = list(_running_votes(labels.of, weight, num_classes))
        by_class = [votes[y] for y in range(num_classes) for votes in running]
        return jax.lax.optimization_barrier(jnp.stack(by_class)).reshape(num_classes, -1)
    return _dense_votes(labels, weight, num_classes)


def check_sizes(labels: AnyLabels, num_labelers: int, num_classes: int) -> None:
    """Raise `ValueError` unless the labels fit a model of so many labelers and classes."""
    found = num_answering(labels)
    if found != num_labelers:
        raise ValueError(f"the labels are of {found} labelers, the model of {num_labelers}")
    if not isinstance(labels, jax.Array) and labels.num_classes != num_classes:
        raise ValueError(
            f"the labels are of {labels.num_classes} classes, the model of {num_classes}"
        )


def sum_over_classes(
    votes: Float[Array, "num_classes num_examples"],
) -> Float[Array, " num_examples"]:
    """Total of the classes, added one by one where they are few."""
    return sum(votes[1:], votes[0]) if len(votes) <= FEW_CLASSES else jnp.sum(votes, axis=0)


def num_answering(labels: AnyLabels) -> int:
    """J, the number of labelers."""
    return labels.shape[0] if isinstance(labels, jax.Array) else labels.num_labelers


def answers_per_example(labels: AnyLabels) -> Int[Array, " num_examples"]:
    """How many answers each example has."""
    if isinstance(labels, Labels):
        return labels.labels_per_example()
    if isinstance(labels, PaddedLabels):
        return jnp.sum(labels.label != MISSING, axis=0, dtype=jnp.int32)
    if isinstance(labels, Prefixes):
        so_far = jnp.cumsum(labels.of.label != MISSING, axis=0, dtype=jnp.int32)
        return jnp.concatenate([jnp.zeros_like(so_far[:1]), so_far]).reshape(-1)
    return jnp.sum(labels != MISSING, axis=0, dtype=jnp.int32)


def most_answers(labels: AnyLabels) -> int | None:
    """How many answers an example can have; None where the form does not tell."""
    if isinstance(labels, Labels):
        return None
    if isinstance(labels, jax.Array):
        return labels.shape[0]
    return (labels.of if isinstance(labels, Prefixes) else labels).num_places


def _running_votes(
    labels: PaddedLabels, weight: Float[Array, " num_labelers"], num_classes: int
) -> Iterator[list[Float[Array, " num_examples"]]]:
    """The votes for each class, before the first answer and after the one at each place."""
    # Without the barriers a CPU works out weights and votes anew for every sum they enter.
    value = jax.lax.optimization_barrier(look_up(weight, labels.labeler))
    by_class = [jnp.where(labels.label == y, value, 0.0) for y in range(num_classes)]
    by_class = jax.lax.optimization_barrier(by_class)
    totals = [jnp.zeros(labels.num_examples, weight.dtype)] * num_classes
    yield totals
    for place in range(labels.num_places):
        totals = [total + votes[place] for total, votes in zip(totals, by_class, strict=True)]
        yield totals


def _long_votes(
    labels: Labels, weight: Float[Array, " num_labelers"], num_classes: int
) -> Float[Array, "num_classes num_examples"]:
    """One scatter-add per answer; `MISSING` entries fall outside and are dropped."""
    cells = labels.num_examples * num_classes
    value = weight[labels.labeler]
    label = labels.label.astype(jnp.int32)
    if cells < _INT32_CELLS:  # a flat index is a third faster than a pair
        cell = jnp.where(label == MISSING, cells, labels.example * num_classes + label)
        totals = jnp.zeros(cells, value.dtype).at[cell].add(value, mode="drop")
        return totals.reshape(labels.num_examples, num_classes).T
    example = jnp.where(label == MISSING, labels.num_examples, labels.example)
    totals = jnp.zeros((labels.num_examples, num_classes), value.dtype)
    return totals.at[example, label].add(value, mode="drop").T


def _dense_votes(
    labels: Int[Array, "num_labelers num_examples"],
    weight: Float[Array, " num_labelers"],
    num_classes: int,
) -> Float[Array, "num_classes num_examples"]:
    """Labeler by labeler, every class at once: one fused pass over contiguous vectors."""
    num_labelers, num_examples = labels.shape
    add_block = _add_block_unrolled if num_classes <= FEW_CLASSES else _add_block
    totals = jnp.zeros((num_classes, num_examples), weight.dtype)
    whole = num_labelers - num_labelers % _BLOCK
    if whole:
        totals = jax.lax.fori_loop(
            0,
            whole // _BLOCK,
            lambda block, totals: add_block(
                totals,
                jax.lax.dynamic_slice_in_dim(labels, block * _BLOCK, _BLOCK),
                jax.lax.dynamic_slice_in_dim(weight, block * _BLOCK, _BLOCK),
            ),
            totals,
        )
    return add_block(totals, labels[whole:], weight[whole:])


def _add_block(
    totals: Float[Array, "num_classes num_examples"],
    answers: Int[Array, "block num_examples"],
    weight: Float[Array, " block"],
) -> Float[Array, "num_classes num_examples"]:
    classes = jnp.arange(totals.shape[0], dtype=jnp.int32)[:, None]
    for j in range(answers.shape[0]):
        totals = totals + jnp.where(answers[j][None, :] == classes, weight[j], 0.0)
    return totals


def _add_block_unrolled(
    totals: Float[Array, "num_classes num_examples"],
    answers: Int[Array, "block num_examples"],
    weight: Float[Array, " block"],
) -> Float[Array, "num_classes num_examples"]:
    """The same with the classes unrolled too: each answer is read once, a sixth faster."""
    rows = list(totals)
    for j in range(answers.shape[0]):
        rows = [row + jnp.where(answers[j] == y, weight[j], 0.0) for y, row in enumerate(rows)]
    return jnp.stack(rows)
