"""The posterior of answers in long form in one pass on a TPU, in Pallas.

A TPU fetches and adds at an index one number at a time. Answers sorted by example need neither: a
chunk of them lies on the chip beside a block of examples, their weights are looked up by products
with matrices of zeros and ones, and so are their votes added up. The grid walks chunks and blocks
like a merge of two sorted lists: each is read or written once, and the posterior of a block worked
out when the last of its answers is added.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from gtx_bayes.dense_tpu import of_sums
from gtx_bayes.labels import MISSING, Labels
from gtx_bayes.log_space import LogNumber

_LANES = 128
_ROWS = 8
_BLOCK = _ROWS * _LANES  # examples in a block, and answers in a chunk
_INVALID = 2.0**20  # factors of zero that stand for a weight which is no number
_MOST_LABELERS = 4096  # looked up by products
_MOST_STEPS = 2**17  # whose order lies in scalar memory


def suits_tpu(labels: Labels) -> bool:
    """Whether there are answers, and not too many labelers, answers or examples."""
    some = labels.num_labels and labels.num_labelers and labels.num_examples
    return some > 0 and labels.num_labelers <= _MOST_LABELERS and _num_steps(labels) <= _MOST_STEPS


def _num_steps(labels: Labels) -> int:
    """Chunks and blocks, since a step takes the next of either."""
    return -(-labels.num_labels // _BLOCK) - (-labels.num_examples // _BLOCK) - 1


def long_on_tpu(
    weight: LogNumber,
    labels: Labels,
    log_prior: Float[Array, "one num_classes"],
    *,
    in_log_odds: bool,
    interpret: bool = False,
) -> Float[Array, " num_examples"] | Float[Array, "num_examples num_classes"]:
    """Log odds of two classes, or class probabilities; NaN if answers are not sorted by example.

    Args:
        weight: what the votes of each labeler count.
        labels: the answers; what is no class is no evidence.
        log_prior: the same for all examples.
        in_log_odds: whether log odds are asked for.
        interpret: without a TPU, to see what it computes.
    """
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import tpu as pltpu

    num_examples, num_classes = labels.num_examples, log_prior.shape[1]
    columns = [_in_rows(column) for column in (labels.example, labels.labeler, labels.label)]
    block, is_sorted = _blocks(columns[0], columns[2], num_examples)
    if not interpret:  # else the compiler copies some to the chip and back again
        columns = [pltpu.with_memory_space_constraint(column, pltpu.HBM) for column in columns]
    # Rows of a vector's length: as log odds lie in a flat array.
    shape = (pl.cdiv(num_examples, _LANES), _LANES) if in_log_odds else (num_classes, num_examples)
    own = (_ROWS, _LANES) if in_log_odds else (num_classes, _BLOCK)
    parts = _table(weight)
    chunk = pl.BlockSpec((_ROWS, _LANES), lambda step, block: (step - block[step], 0))
    found = pl.pallas_call(
        functools.partial(_kernel, num_labels=labels.num_labels, in_log_odds=in_log_odds),
        out_shape=jax.ShapeDtypeStruct(shape, log_prior.dtype),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=1,
            grid=(block.size,),
            in_specs=[
                pl.BlockSpec(parts.shape, lambda *_: (0, 0, 0)),
                pl.BlockSpec(log_prior.shape, lambda *_: (0, 0)),
                *(chunk,) * 3,
            ],
            out_specs=pl.BlockSpec(
                own, lambda step, block: (block[step], 0) if in_log_odds else (0, block[step])
            ),
            scratch_shapes=[pltpu.VMEM((3 * num_classes * _ROWS, _LANES), log_prior.dtype)],
        ),
        interpret=interpret,
    )(block, parts, jnp.where(is_sorted, log_prior, jnp.nan), *columns)
    return found.reshape(-1)[:num_examples] if in_log_odds else found.T


def _blocks(
    example: Int[Array, "num_rows lanes"], label: Int[Array, "num_rows lanes"], num_examples: int
) -> tuple[Int[Array, " num_steps"], Bool[Array, ""]]:
    """The block of each step, whose chunk is what is left of its number; whether rows are sorted.

    A chunk goes from the block where the one before it ends to that of its own last answer, the
    last chunk to the last block. So every step takes either the next chunk or the next block.
    """
    last_block = (num_examples - 1) // _BLOCK
    block = example // _BLOCK
    last_of_row = jax.lax.cummax(jnp.where(label >= 0, block, 0).max(axis=1))
    first_of_row = jnp.where(label >= 0, block, last_block).min(axis=1)
    ends = jnp.minimum(last_of_row[_ROWS - 1 : -1 : _ROWS], last_block)
    next_chunk = jnp.arange(1, ends.size + 1, dtype=jnp.int32)
    steps = jnp.zeros(ends.size + 1 + last_block, jnp.int32)
    chunk = jnp.cumsum(steps.at[ends + next_chunk].add(1))
    is_sorted = jnp.all(first_of_row[1:] >= last_of_row[:-1])
    return jnp.arange(steps.size, dtype=jnp.int32) - chunk, is_sorted


def _in_rows(column: Int[Array, " num_labels"]) -> Int[Array, "num_rows lanes"]:
    """The same memory in rows; a copy where they do not come out even."""
    return jnp.pad(column, (0, -column.size % _LANES), constant_values=MISSING).reshape(-1, _LANES)


def _table(weight: LogNumber) -> Float[Array, "parts num_rows lanes"]:
    """Weights in rows, without what would spoil products with zero."""
    valid = jnp.isfinite(weight.coarse + weight.fine)
    coarse, fine = (jnp.where(valid, part, 0.0) for part in (weight.coarse, weight.fine))
    parts = jnp.stack([jnp.where(valid, weight.zeros, _INVALID), coarse, fine])
    padding = -parts.shape[1] % _BLOCK
    return jnp.pad(parts, ((0, 0), (0, padding))).reshape(3, -1, _LANES)


def _kernel(
    block_ref: Any,
    parts_ref: Any,
    prior_ref: Any,
    example_ref: Any,
    labeler_ref: Any,
    label_ref: Any,
    out_ref: Any,
    sums_ref: Any,
    *,
    num_labels: int,
    in_log_odds: bool,
) -> None:
    """Add the answers of a chunk about a block of examples; finish the block with its last."""
    from jax.experimental import pallas as pl

    step, steps = pl.program_id(0), pl.num_programs(0)
    block, num_classes = block_ref[step], prior_ref.shape[1]
    refs = (example_ref, labeler_ref, label_ref)
    example, labeler, label = (ref[...].astype(jnp.int32).reshape(1, _BLOCK) for ref in refs)

    @pl.when((step == 0) | (block_ref[jnp.maximum(step - 1, 0)] != block))
    def _start() -> None:
        sums_ref[...] = jnp.zeros_like(sums_ref)

    def is_at(index: Array, size: int) -> Array:
        return jax.lax.broadcasted_iota(jnp.int32, (size, _BLOCK), 0) == index

    def product(a: Array, b: Array, along: int) -> Array:
        """Exact: every float32 is a sum of three numbers of which a product's half is made."""
        return jax.lax.dot_general(
            a,
            b.astype(a.dtype),
            (((1,), (along,)), ((), ())),
            precision=jax.lax.Precision.HIGHEST,
            preferred_element_type=a.dtype,
        )

    lane, row = is_at(labeler & (_LANES - 1), _LANES), is_at(labeler >> 7, parts_ref.shape[1])
    at = example - block * _BLOCK
    place = (step - block) * _BLOCK + jax.lax.broadcasted_iota(jnp.int32, at.shape, 1)
    is_own = (at >= 0) & (at < _BLOCK) & (label >= 0) & (label < num_classes)
    cell = jnp.where(is_own & (place < num_labels), label * _ROWS + (at >> 7), -1)
    is_in_cell = is_at(cell, num_classes * _ROWS)
    values = []
    for part in range(3):
        looked_up = jnp.where(row, product(parts_ref[part], lane, 0), 0.0)
        value = jnp.sum(looked_up, axis=0, keepdims=True)
        values.append(jnp.where(is_in_cell, value, 0.0))
    sums_ref[...] += product(jnp.concatenate(values), is_at(at & (_LANES - 1), _LANES), 1)

    @pl.when((step == steps - 1) | (block_ref[jnp.minimum(step + 1, steps - 1)] != block))
    def _finish() -> None:
        zeros, coarse, fine = (
            [sums_ref[(part * num_classes + y) * _ROWS :][:_ROWS] for y in range(num_classes)]
            for part in range(3)
        )
        invalid = [jnp.abs(each) > _INVALID / 2 for each in zeros]
        coarse = [jnp.where(no, jnp.nan, each) for no, each in zip(invalid, coarse, strict=True)]
        zeros = [jnp.where(no, 0.0, each) for no, each in zip(invalid, zeros, strict=True)]
        found = of_sums(zeros, coarse, fine, prior_ref[...], in_log_odds=in_log_odds)
        if in_log_odds:
            out_ref[...] = found[0]
        else:
            out_ref[...] = jnp.concatenate([each.reshape(1, _BLOCK) for each in found])
