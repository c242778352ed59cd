"""Weighted votes: the one sum behind majority voting and the naive-Bayes posterior alike.

A kernel for each form of the data. All add, for every example and class, the weights of the
labelers who gave that class. Whole weights are added as integers, exactly.
"""

import math
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
_UNROLLED = 16  # labelers up to here in one fused loop on a GPU
_MOST_COMPARED = 4096  # labelers up to here are found by comparison on a TPU
_SPARSE = 32  # cells of a table for each answer, beyond which a product costs more than sums
_CELLS_AT_ONCE = 2**20  # answers times cohorts whose weights are looked up together


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
            label: Int[Array, "*#some part"], value: Int[Array, "*#some #part"]
        ) -> Int[Array, "*some part"]:
            return jnp.where(label == 1, value, jnp.where(label == 0, -value, 0))

        def own(
            example: Int[Array, " part"], label: Int[Array, " part"], class_major: bool
        ) -> tuple[Int[Array, " part"]]:
            return (example,)

        return _sum_answers(labels, weight, own, signed, (labels.num_examples,), 1)[0]
    return _dense_balance(labels, weight)


def cohort_votes(
    labels: AnyLabels, weight: Float[Array, "*cohorts num_labelers"], num_classes: int
) -> Float[Array, "*cohorts num_classes num_examples"]:
    """`class_votes` of many cohorts on the same labels: a matrix product, exact to rounding.

    In the long form sums over every example's answers where few cells of the table are filled.
    """
    check_sizes(labels, weight.shape[-1], num_classes)
    return _of_cohorts(labels, weight, num_classes)


def cohort_balance(
    labels: AnyLabels,
    weight: Float[Array, "*cohorts num_labelers"],
    offset: Float[Array, "*cohorts"] | None = None,
) -> Float[Array, "*cohorts num_examples"]:
    """Weight behind class 1 less that behind class 0, of many cohorts; what is given is added."""
    check_sizes(labels, weight.shape[-1], 2)
    return _of_cohorts(labels, weight, None, offset)[..., 0, :]


def most_known(labels: AnyLabels, num_classes: int) -> Int[Array, ""]:
    """The most answers that name a class, over all examples."""
    labels = _one_by_one(labels)
    if isinstance(labels, Labels):
        is_class = (labels.label >= 0) & (labels.label < num_classes)
        known = jnp.zeros(labels.num_examples, jnp.int32).at[labels.example].add(is_class)
    else:
        known = jnp.sum((labels >= 0) & (labels < num_classes), axis=0, dtype=jnp.int32)
    return jnp.max(known, initial=0)


def runs_longer_than(labels: Labels, most: int) -> Bool[Array, ""]:
    """Whether an example has an answer after so many entries; padding at the end is none."""
    is_longer = labels.example[most:] == labels.example[:-most]
    return jnp.any(is_longer & (labels.label[most:] >= 0))


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


def _one_by_one(labels: AnyLabels) -> LongOrDense:
    """Answers by place in the long form, and the other forms as they are."""
    if isinstance(labels, Prefixes):
        raise ValueError("sums after every answer are taken cohort by cohort: map over the cohorts")
    return labels.long() if isinstance(labels, PaddedLabels) else labels


def _of_cohorts(
    labels: AnyLabels,
    weight: Float[Array, "*cohorts num_labelers"],
    num_classes: int | None,
    offset: Float[Array, "*cohorts"] | None = None,
) -> Float[Array, "*cohorts rows num_examples"]:
    """A row of sums for each class, or the balance of two where no number of classes is given."""
    labels = _one_by_one(labels)
    num_examples = labels.num_examples if isinstance(labels, Labels) else labels.shape[1]
    cohorts, rows = weight.shape[:-1], num_classes or 1
    weight = weight.reshape(-1, weight.shape[-1])
    cells = weight.shape[1] * num_examples * rows
    num_labels = labels.num_labels if isinstance(labels, Labels) else cells
    is_sparse = cells > min(_SPARSE * max(num_labels, 1), _INT32_CELLS - 1)
    if isinstance(labels, Labels) and is_sparse:
        found = _segment_sums(labels, weight, num_classes)
        if offset is not None:
            found = found + offset.reshape(-1, 1, 1)
        return found.reshape(*cohorts, rows, num_examples)
    table = _signs(labels, num_classes, weight.dtype).reshape(weight.shape[1], -1)
    ones = jnp.ones((1, table.shape[1]), table.dtype)
    invalid = jnp.isnan(weight)

    def product(weight: Float[Array, "num_cohorts num_labelers"]) -> Float[Array, "cohorts cells"]:
        def sums(weight: Array, table: Array) -> Array:
            return jnp.matmul(weight, table, precision=jax.lax.Precision.HIGHEST)

        if offset is None:
            return sums(weight, table)
        more = jnp.concatenate([weight, offset.reshape(-1, 1)], axis=1)
        return jax.lax.cond(
            jnp.any(offset != 0),
            lambda: sums(more, jnp.concatenate([table, ones])),
            lambda: sums(weight, table),
        )

    def with_nan() -> Float[Array, "num_cohorts cells"]:
        # Zero times NaN is NaN also where the labeler did not answer.
        touched = jnp.matmul(invalid.astype(weight.dtype), jnp.abs(table))
        return jnp.where(touched > 0, jnp.nan, product(jnp.where(invalid, 0.0, weight)))

    found = jax.lax.cond(jnp.any(invalid), with_nan, lambda: product(weight))
    return found.reshape(*cohorts, rows, num_examples)


def _signs(
    labels: LongOrDense, num_classes: int | None, dtype: jnp.dtype
) -> Float[Array, "num_labelers rows num_examples"]:
    """How often each labeler named each class; without their number, class 1 less class 0."""
    if isinstance(labels, jax.Array):
        if num_classes is None:
            found = (labels == 1).astype(dtype) - (labels == 0).astype(dtype)
            return found[:, None, :]
        classes = jnp.arange(num_classes, dtype=labels.dtype)
        return (labels[:, None, :] == classes[:, None]).astype(dtype)
    row, value = _row_and_sign(labels, num_classes, dtype)
    shape = (labels.num_labelers, num_classes or 1, labels.num_examples)
    cell = (labels.labeler * shape[1] + row) * shape[2] + labels.example
    return jnp.zeros(math.prod(shape), dtype).at[cell].add(value, mode="drop").reshape(shape)


def _row_and_sign(
    labels: Labels, num_classes: int | None, dtype: jnp.dtype
) -> tuple[Int[Array, " num_labels"], Float[Array, " num_labels"]]:
    """The row of each answer's sum, and 1 or -1; 0 for what is no class."""
    label = labels.label.astype(jnp.int32)
    if num_classes is None:
        return jnp.zeros_like(label), (label == 1).astype(dtype) - (label == 0).astype(dtype)
    is_class = (label >= 0) & (label < num_classes)
    return jnp.where(is_class, label, 0), is_class.astype(dtype)


def _segment_sums(
    labels: Labels, weight: Float[Array, "num_cohorts num_labelers"], num_classes: int | None
) -> Float[Array, "num_cohorts rows num_examples"]:
    """Sums over every example's answers, all cohorts side by side, some answers at a time."""
    row, sign = _row_and_sign(labels, num_classes, weight.dtype)
    by_labeler, rows = weight.T, num_classes or 1
    size = max(_CELLS_AT_ONCE // max(weight.shape[0], 1), 1)
    padding = -labels.num_labels % size

    def chunks(column: Shaped[Array, " num_labels"], fill: int) -> Shaped[Array, "parts size"]:
        return jnp.pad(column, (0, padding), constant_values=fill).reshape(-1, size)

    def add(
        totals: Float[Array, "num_examples rows num_cohorts"], part: tuple[Array, ...]
    ) -> tuple[Float[Array, "num_examples rows num_cohorts"], None]:
        example, row, labeler, sign = part
        value = jnp.where(sign[:, None] != 0, by_labeler[labeler] * sign[:, None], 0.0)
        return totals.at[example, row].add(value, mode="drop", wrap_negative_indices=False), None

    none = jnp.zeros((labels.num_examples, rows, weight.shape[0]), weight.dtype)
    parts = (
        chunks(labels.example, labels.num_examples),
        chunks(row, 0),
        chunks(labels.labeler, 0),
        chunks(sign, 0),
    )
    totals, _ = jax.lax.scan(add, none, parts)
    return jnp.moveaxis(totals, -1, 0).swapaxes(1, 2)


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
        example: Int[Array, " part"], label: Int[Array, " part"], class_major: bool
    ) -> tuple[Int[Array, " part"], ...]:
        label = label.astype(jnp.int32)
        is_class = (label >= 0) & (label < num_classes)
        if not flat:
            example = jnp.where(is_class, example, labels.num_examples)
            return (label, example) if class_major else (example, label)
        cell = (
            label * labels.num_examples + example if class_major else example * num_classes + label
        )
        return (jnp.where(is_class, cell, cells),)

    shape = (cells,) if flat else (labels.num_examples, num_classes)
    return _sum_answers(labels, weight, voted, lambda label, value: value, shape, num_classes)


Cells = Callable[..., tuple[Int[Array, " part"], ...]]
"""From examples and labels to the cells that they add to, class-major or example-major."""

Signed = Callable[..., Shaped[Array, "*some part"]]
"""From labels and the weights of their labelers to what is added."""


def _sum_answers(
    labels: Labels,
    weight: Weight,
    cells: Cells,
    signed: Signed,
    shape: tuple[int, ...],
    rows: int,
) -> Shaped[Array, "rows num_examples"]:
    """Add the weight of each answer's labeler to the total in its cell."""

    def by_chunk(
        example: Array, labeler: Array, label: Array, weight: Array
    ) -> Shaped[Array, "rows num_examples"]:
        totals = _sum_by_chunk(example, labeler, label, weight, cells, signed, shape)
        return totals.reshape(-1, rows).T

    def at_once(
        look_up: Callable[..., Shaped[Array, " part"]],
    ) -> Callable[..., Shaped[Array, "rows num_examples"]]:
        def total(
            example: Array, labeler: Array, label: Array, weight: Array
        ) -> Shaped[Array, "rows num_examples"]:
            """One scatter-add without a loop, for what adds to many cells at a time."""
            value = look_up(weight, labeler, label, signed)
            totals = jnp.zeros(shape[::-1], weight.dtype)
            totals = totals.at[cells(example, label, class_major=True)].add(
                value, mode="drop", wrap_negative_indices=False
            )
            return totals.reshape(rows, -1)

        return total

    columns = (labels.example, labels.labeler, labels.label, weight)
    return jax.lax.platform_dependent(
        *columns, cpu=by_chunk, tpu=at_once(_compared), default=at_once(_gathered)
    )


def _sum_by_chunk(
    example: Int[Array, " num_labels"],
    labeler: Int[Array, " num_labels"],
    label: Int[Array, " num_labels"],
    weight: Weight,
    cells: Cells,
    signed: Signed,
    shape: tuple[int, ...],
) -> Shaped[Array, "..."]:
    """Chunk by chunk, for a CPU.

    At once, cells and values would be arrays as long as the answers, in memory fresh from the
    operating system: handing that over takes longer than the sum.
    """
    columns = (example, labeler, label)

    def add(
        totals: Shaped[Array, "..."], part: tuple[Int[Array, " part"], ...]
    ) -> Shaped[Array, "..."]:
        value = _gathered(weight, part[1], part[2], signed)
        at = cells(part[0], part[2], class_major=False)
        return totals.at[at].add(value, mode="drop", wrap_negative_indices=False)

    def add_chunk(chunk: Int[Array, ""], totals: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
        at = chunk * _CHUNK
        return add(totals, tuple(jax.lax.dynamic_slice(x, (at,), (_CHUNK,)) for x in columns))

    totals, num_chunks = jnp.zeros(shape, weight.dtype), example.shape[0] // _CHUNK
    if num_chunks:
        totals = jax.lax.fori_loop(0, num_chunks, add_chunk, totals)
    return add(totals, tuple(column[num_chunks * _CHUNK :] for column in columns))


def _gathered(
    weight: Weight, labeler: Int[Array, " part"], label: Int[Array, " part"], signed: Signed
) -> Shaped[Array, " part"]:
    """What each answer adds, by the weight of its labeler."""
    return signed(label, weight.at[labeler].get(mode="clip", wrap_negative_indices=False))


def _compared(
    weight: Weight, labeler: Int[Array, " part"], label: Int[Array, " part"], signed: Signed
) -> Shaped[Array, " part"]:
    """The same for a TPU, whose gathers fetch one number at a time: by comparing with everybody."""
    size = weight.shape[0]
    if not 1 <= size <= _MOST_COMPARED:
        return _gathered(weight, labeler, label, signed)
    is_labeler = labeler[None, :] == jnp.arange(size, dtype=labeler.dtype)[:, None]
    value = jnp.where(is_labeler, signed(label[None, :], weight[:, None]), 0)
    return jnp.sum(value, axis=0, dtype=weight.dtype)


def _dense_balance(
    labels: Int[Array, "num_labelers num_examples"], weight: Int[Array, " num_labelers"]
) -> Int[Array, " num_examples"]:
    """On a TPU at once, elsewhere labeler by labeler."""

    def at_once(labels: Array, weight: Array) -> Array:
        sign = jnp.where(labels == 1, weight[:, None], jnp.where(labels == 0, -weight[:, None], 0))
        return jnp.sum(sign, axis=0, dtype=weight.dtype)

    return jax.lax.platform_dependent(labels, weight, tpu=at_once, default=_balance_by_bits)


def _balance_by_bits(
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
    """One fused pass: over the columns where there are many labelers or on a TPU, else unrolled."""
    few = labels.shape[0] <= _UNROLLED and num_classes <= FEW_CLASSES

    def by_column(labels: Array, weight: Array) -> Array:
        classes = jnp.arange(num_classes, dtype=jnp.int32)[:, None, None]
        voted = jnp.where(labels[None].astype(jnp.int32) == classes, weight[None, :, None], 0)
        return jnp.sum(voted, axis=1, dtype=weight.dtype)

    def unrolled(labels: Array, weight: Array) -> Array:
        totals = jnp.zeros((num_classes, labels.shape[1]), weight.dtype)
        return _add_block_unrolled(totals, labels, weight)

    def in_blocks(labels: Array, weight: Array) -> Array:
        return _votes_in_blocks(labels, weight, num_classes)

    return jax.lax.platform_dependent(
        labels, weight, cpu=in_blocks, tpu=by_column, default=unrolled if few else by_column
    )


def _votes_in_blocks(
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
