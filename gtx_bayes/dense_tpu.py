"""The posterior of a table of answers in one pass on a TPU, in Pallas.

Its compiler fuses nothing into what follows a sum over labelers: written with `jax.numpy`, four
classes read and write nine times the least. Here a block of examples stays on the chip until its
posterior is known.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from gtx_bayes.log_space import LogNumber

_BLOCK = 8192  # examples at a time, fewer where there are many labelers
_TILE, _LANES = 1024, 128  # numbers that lie together in memory, and in a register's row
_CELLS = 2**18  # of a block: its votes take a few MB on the chip
MOST_LABELERS = 256
"""More would leave a block with too few examples."""


def dense_on_tpu(
    weight: LogNumber,
    labels: Int[Array, "num_labelers num_examples"],
    log_prior: Float[Array, "one num_classes"],
    *,
    in_log_odds: bool,
    interpret: bool = False,
) -> Float[Array, " num_examples"] | Float[Array, "num_examples num_classes"]:
    """Log odds of two classes, or class probabilities.

    Args:
        weight: what the votes of each labeler count.
        labels: the answers; what is no class is no evidence.
        log_prior: the same for all examples.
        in_log_odds: whether log odds are asked for.
        interpret: without a TPU, to see what it computes.
    """
    from jax.experimental import pallas as pl

    num_labelers, num_examples = labels.shape
    num_classes = log_prior.shape[1]
    block = min(_BLOCK, _CELLS // num_labelers // _TILE * _TILE, -(-num_examples // _TILE) * _TILE)
    # Log odds in rows of a vector's length: as they lie in a flat array.
    flat = (pl.cdiv(num_examples, _LANES), _LANES)
    shape = flat if in_log_odds else (num_classes, num_examples)
    own = (block // _LANES, _LANES) if in_log_odds else (num_classes, block)
    parts = jnp.stack(weight)[:, :, None]
    found = pl.pallas_call(
        functools.partial(_kernel, in_log_odds=in_log_odds),
        out_shape=jax.ShapeDtypeStruct(shape, log_prior.dtype),
        grid=(pl.cdiv(num_examples, block),),
        in_specs=[
            pl.BlockSpec(parts.shape, lambda i: (0, 0, 0)),
            pl.BlockSpec(log_prior.shape, lambda i: (0, 0)),
            pl.BlockSpec((num_labelers, block), lambda i: (0, i)),
        ],
        out_specs=pl.BlockSpec(own, lambda i: (i, 0) if in_log_odds else (0, i)),
        interpret=interpret,
    )(parts, log_prior, labels)
    return found.reshape(-1)[:num_examples] if in_log_odds else found.T


def _kernel(
    parts_ref: Any, prior_ref: Any, labels_ref: Any, out_ref: Any, *, in_log_odds: bool
) -> None:
    """A block of examples: sums over the labelers, then `log_odds` or `class_probs` of them."""
    labels = labels_ref[...].astype(jnp.int32)

    def votes(part: int, y: int) -> Array:
        own = jnp.where(labels == y, parts_ref[part], 0.0)
        return jnp.sum(own, axis=0, keepdims=True)

    num_classes = prior_ref.shape[1]
    zeros, coarse, fine = ([votes(part, y) for y in range(num_classes)] for part in range(3))
    found = of_sums(zeros, coarse, fine, prior_ref[...], in_log_odds=in_log_odds)
    if in_log_odds:
        out_ref[...] = found[0].reshape(out_ref.shape)
    else:
        out_ref[...] = jnp.concatenate(found, axis=0)


def of_sums(
    zeros: list[Array],
    coarse: list[Array],
    fine: list[Array],
    log_prior: Float[Array, "one num_classes"],
    *,
    in_log_odds: bool,
) -> list[Array]:
    """`log_odds` or `class_probs` within a kernel: one array, or one for each class.

    Args:
        zeros: of the votes for each class, the examples in any shape of two axes.
        coarse: likewise.
        fine: likewise.
        log_prior: the same for all examples.
        in_log_odds: whether log odds are asked for.
    """
    prior = [log_prior[:, y : y + 1] for y in range(log_prior.shape[1])]
    if in_log_odds:
        prior_odds = prior[1] - prior[0]
        finite = coarse[1] - coarse[0] + (fine[1] - fine[0] + prior_odds)
        certain = jnp.where(zeros[1] < zeros[0], jnp.inf, -jnp.inf)
        overruled = (jnp.abs(prior_odds) < jnp.inf) & (zeros[1] != zeros[0])
        return [jnp.where(overruled, certain, finite)]
    possible = [each > -jnp.inf for each in prior]
    fewest = functools.reduce(
        jnp.minimum, [jnp.where(ok, z, jnp.inf) for ok, z in zip(possible, zeros, strict=True)]
    )
    alive = [ok & (z == fewest) for ok, z in zip(possible, zeros, strict=True)]
    highest = functools.reduce(
        jnp.maximum, [jnp.where(ok, c, -jnp.inf) for ok, c in zip(alive, coarse, strict=True)]
    )
    logits = [
        jnp.where(ok, (c - highest) + (f + p), -jnp.inf)
        for ok, c, f, p in zip(alive, coarse, fine, prior, strict=True)
    ]
    best = functools.reduce(jnp.maximum, logits)
    exps = [jnp.exp(logit - best) for logit in logits]
    total = functools.reduce(jnp.add, exps)
    return [each / total for each in exps]
