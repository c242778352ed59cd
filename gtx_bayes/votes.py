"""Weighted votes: the one sum behind majority voting and the naive-Bayes posterior alike.

A kernel for each form of the data. All add, for every example and class, the weights of the
labelers who gave that class. Whole weights are added as integers, exactly.
"""

from collections.abc import Callable, Iterator
from functools import reduce

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from gtx_bayes.labels import MISSING, Labels, PaddedLabels, Prefixes, check_whole
from gtx_bayes.lookup import look_up

AnyLabels = Labels | PaddedLabels | Prefixes | Int[Array, "num_labelers num_examples"]
"""Answers in long form, by place, or as the labeler-major table with `MISSING` where unanswered.

The table holds classes and `MISSING` alone; take `Labels.of_classes` where there are other answers,
which are no evidence in the other forms.
"""

LongOrDense = Labels | Int[Array, "num_labelers num_examples"]
"""Answers in long form or as the table."""

_BLOCK = 16  # labelers summed in one fused loop; more would only lengthen compilation
FEW_CLASSES = 8  # up to here the loop is unrolled over the classes too
_INT32_CELLS = 2**31
_STREAMS = 12  # rows read side by side; a CPU fetches ahead for about so many
_CHUNK = 2**16  # answers whose weights are looked up together: they stay in the cache


Weight = Float[Array, " num_labelers"] | Int[Array, " num_labelers"]
"""What each labeler's vote counts: real or whole numbers."""


def class_votes(
    labels: AnyLabels, weight: Weight, num_classes: int
) -> Shaped[Array, "num_classes num_examples"]:
    r"""Total weight behind each class, :math:`\sum_{j \in \mathcal{J}(i)} w_j I[y_i^j = y]`.

    Class-major, because the examples then run over contiguous vectors. Of the weight's type.

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


def balance_of_votes(
    labels: LongOrDense, weight: Int[Array, " num_labelers"]
) -> Int[Array, " num_examples"]:
    r"""Weight behind class 1 less that behind class 0: two classes, even weights.

    One sum instead of two, :math:`\sum_{j \in \mathcal{J}(i)} w_j (2 y_i^j - 1)`.
    """
    check_sizes(labels, weight.shape[0], 2)
    if isinstance(labels, Labels):

        def signed(
            example: Int[Array, " part"], labeler: Int[Array, " part"], label: Int[Array, " part"]
        ) -> tuple[tuple[Int[Array, " part"]], Int[Array, " part"]]:
            value = _weight_of(labeler, weight)
            return (example,), jnp.where(label == 1, value, jnp.where(label == 0, -value, 0))

        return _sum_answers(labels, signed, jnp.zeros(labels.num_examples, weight.dtype))
    return _dense_balance(labels, weight)


def runs_longer_than(labels: Labels, most: int) -> Bool[Array, ""]:
    """Whether any example has more than so many entries."""
    return jnp.any(labels.example[most:] == labels.example[:-most])


def check_sizes(labels: AnyLabels, num_labelers: int, num_classes: int) -> None:
    """Raise `ValueError` unless the labels fit a model of so many labelers and classes.

    That is of shapes and types, known to the compiler: values are checked by `Labels.from_arrays`
    and `Labels.from_dense`.
    """
    table = labels.of if isinstance(labels, Prefixes) else labels
    check_whole("labels", table if isinstance(table, jax.Array) else table.label)
    if isinstance(labels, jax.Array) and labels.ndim != 2:
        raise ValueError(f"the table of labels has shape {labels.shape}, not labelers by examples")
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


def most_voted(
    votes: Shaped[Array, "num_classes num_examples"],
) -> Shaped[Array, " num_examples"]:
    """Largest of the classes, found one by one where they are few."""
    return reduce(jnp.maximum, votes) if len(votes) <= FEW_CLASSES else jnp.max(votes, axis=0)


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
    labels: Labels, weight: Weight, num_classes: int
) -> Shaped[Array, "num_classes num_examples"]:
    """One scatter-add per answer; what is no class, `MISSING` as well, is dropped."""
    cells = labels.num_examples * num_classes
    flat = cells < _INT32_CELLS  # a flat index is a third faster than a pair

    def voted(
        example: Int[Array, " part"], labeler: Int[Array, " part"], label: Int[Array, " part"]
    ) -> tuple[tuple[Int[Array, " part"], ...], Shaped[Array, " part"]]:
        value, label = _weight_of(labeler, weight), label.astype(jnp.int32)
        is_class = (label >= 0) & (label < num_classes)
        if flat:
            return (jnp.where(is_class, example * num_classes + label, cells),), value
        return (jnp.where(is_class, example, labels.num_examples), label), value

    shape = (cells,) if flat else (labels.num_examples, num_classes)
    totals = _sum_answers(labels, voted, jnp.zeros(shape, weight.dtype))
    return totals.reshape(labels.num_examples, num_classes).T


def _sum_answers(
    labels: Labels,
    cell_and_value: Callable[..., tuple[tuple[Int[Array, " part"], ...], Shaped[Array, " part"]]],
    totals: Shaped[Array, "..."],
) -> Shaped[Array, "..."]:
    """Add each answer's value to the total in its cell, chunk by chunk.

    At once, cells and values would be arrays as long as the answers, in memory fresh from the
    operating system: handing that over takes longer than the sum.
    """
    columns = (labels.example, labels.labeler, labels.label)

    def add(
        totals: Shaped[Array, "..."], part: tuple[Int[Array, " part"], ...]
    ) -> Shaped[Array, "..."]:
        cell, value = cell_and_value(*part)
        return totals.at[cell].add(value, mode="drop", wrap_negative_indices=False)

    def add_chunk(chunk: Int[Array, ""], totals: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
        at = chunk * _CHUNK
        return add(totals, tuple(jax.lax.dynamic_slice(x, (at,), (_CHUNK,)) for x in columns))

    num_chunks = labels.num_labels // _CHUNK
    if num_chunks:
        totals = jax.lax.fori_loop(0, num_chunks, add_chunk, totals)
    return add(totals, tuple(column[num_chunks * _CHUNK :] for column in columns))


def _weight_of(labeler: Int[Array, " part"], weight: Weight) -> Shaped[Array, " part"]:
    """The weight of each answer's labeler."""
    return weight.at[labeler].get(mode="clip", wrap_negative_indices=False)


def _dense_balance(
    labels: Int[Array, "num_labelers num_examples"], weight: Int[Array, " num_labelers"]
) -> Int[Array, " num_examples"]:
    """Labeler by labeler, by the bits of the answers: none are set in 0, one in 1, all in -1.

    From the total of everybody against, an answer of 1 adds the weight twice and none at all
    (-1) once. The lowest bit of a weight would mix the two up; even weights have none.
    """
    total = jnp.full(labels.shape[1], -jnp.sum(weight))
    for j in range(labels.shape[0]):
        if j and j % _STREAMS == 0:
            total = _kept(total)
        answer = labels[j].astype(weight.dtype)
        total = total + (weight[j] & answer) + ((2 * weight[j]) & -answer)
    return total


def _kept(total: Int[Array, " num_examples"]) -> Int[Array, " num_examples"]:
    """The same, written down before going on: as a float, which nothing reads as one.

    So it lies where the result, a float, will lie; memory of its own costs more than the sum.
    """
    as_float = jnp.float64 if total.dtype == jnp.int64 else jnp.float32
    held = jax.lax.optimization_barrier(jax.lax.bitcast_convert_type(total, as_float))
    return jax.lax.bitcast_convert_type(held, total.dtype)


def _dense_votes(
    labels: Int[Array, "num_labelers num_examples"],
    weight: Weight,
    num_classes: int,
) -> Shaped[Array, "num_classes num_examples"]:
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
    totals: Shaped[Array, "num_classes num_examples"],
    answers: Int[Array, "block num_examples"],
    weight: Shaped[Array, " block"],
) -> Shaped[Array, "num_classes num_examples"]:
    classes = jnp.arange(totals.shape[0], dtype=jnp.int32)[:, None]
    for j in range(answers.shape[0]):
        totals = totals + jnp.where(answers[j][None, :] == classes, weight[j], 0)
    return totals


def _add_block_unrolled(
    totals: Shaped[Array, "num_classes num_examples"],
    answers: Int[Array, "block num_examples"],
    weight: Shaped[Array, " block"],
) -> Shaped[Array, "num_classes num_examples"]:
    """The same with the classes unrolled too: each answer is read once, a sixth faster."""
    rows = list(totals)
    for j in range(answers.shape[0]):
        rows = [row + jnp.where(answers[j] == y, weight[j], 0) for y, row in enumerate(rows)]
    return jnp.stack(rows)
