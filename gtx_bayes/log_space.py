r"""Products of many probabilities in log space, without rounding away what decides.

A product of up to thousands of probabilities is held as a `LogNumber`,

.. math:: 0^{\text{zeros}} \, e^{\text{coarse} + \text{fine}},

where `coarse` is a multiple of 1/512. Sums of such multiples are exact in float32 up to a total of
32,768 nats, whatever the order, so that two large sums which nearly cancel leave their true
difference; the remainders in `fine` stay below 1/1024 for one logarithm, and below 3/1024 for a
quotient of three. `zeros` counts factors of exactly
zero, so that certain evidence for two classes cancels one for one instead of making 0/0.

Where the sum of the logarithms is known to stay short, one sum does instead of two: in whole
multiples of a unit (`FixedPoint`), as long as an integer holds them.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

_GRID = 512.0
_LARGEST = 1024.0  # nats: up to here the unit is 2^-20 of a nat or less in 32 bits
_FEW_CLASSES = 8  # up to here class by class: on a CPU reducing a short last axis is slow


class LogNumber(NamedTuple):
    """A number held as 0**zeros * exp(coarse + fine); adding the parts multiplies the numbers.

    Attributes:
        zeros: net number of factors that are exactly zero; negative in a quotient.
        coarse: logarithm of the other factors, in nats, to a multiple of 1/512.
        fine: what `coarse` leaves over.
    """

    zeros: Float[Array, "*shape"]
    coarse: Float[Array, "*shape"]
    fine: Float[Array, "*shape"]

    @classmethod
    def from_log(cls, log: Float[Array, "*shape"]) -> "LogNumber":
        """Split logarithms, in nats; -inf is one factor of zero."""
        is_zero = jnp.isneginf(log)
        finite = jnp.where(is_zero, 0.0, log)
        coarse = jnp.round(finite * _GRID) / _GRID
        return cls(is_zero.astype(finite.dtype), coarse, finite - coarse)

    def log(self) -> Float[Array, "*shape"]:
        """The logarithm in nats; -inf where a factor is zero."""
        return jnp.where(self.zeros > 0, -jnp.inf, self.coarse + self.fine)


class FixedPoint(NamedTuple):
    """Logarithms as even multiples of a unit, whose sums are exact in any order.

    Attributes:
        steps: the logarithms in units, each off by one at most.
        unit: in nats, a power of two: the least with which sums up to the bound fit.
        fits: whether the unit is small enough: the bound is below 1024 nats.
    """

    steps: Int[Array, "*shape"]
    unit: Float[Array, ""]
    fits: Bool[Array, ""]

    @classmethod
    def from_log(cls, log: Float[Array, "*shape"], bound: Float[Array, ""]) -> "FixedPoint":
        """Round finite logarithms, in nats, to be added up to `bound` at most, signs aside."""
        integer = jnp.int64 if log.dtype == jnp.float64 else jnp.int32
        _, exponent = jnp.frexp(bound)
        # Two bits to spare: one for the sign, one for what rounding adds to the bound.
        unit = jnp.ldexp(jnp.ones((), log.dtype), exponent - (jnp.iinfo(integer).bits - 2))
        steps = 2 * jnp.round(log / (2 * unit)).astype(integer)
        return cls(steps, unit, bound < _LARGEST)


def multiply(a: LogNumber, b: LogNumber) -> LogNumber:
    """The product of two numbers."""
    return LogNumber(a.zeros + b.zeros, a.coarse + b.coarse, a.fine + b.fine)


def divide(a: LogNumber, b: LogNumber) -> LogNumber:
    """The quotient of two numbers; equal numbers of zeros cancel."""
    return LogNumber(a.zeros - b.zeros, a.coarse - b.coarse, a.fine - b.fine)


def normalise(
    weight: LogNumber, log_prior: Float[Array, "*#shape"], axis: int
) -> Float[Array, "*shape"]:
    """Probabilities along `axis`, proportional to `weight` times the prior.

    A class of prior zero has probability zero. Among the others only those with the fewest
    factors of zero keep any: the limit in which every such factor is the same small number.
    """
    if weight.coarse.shape[axis] <= _FEW_CLASSES:
        return _normalise_by_class(weight, log_prior, axis)
    possible = jnp.isfinite(log_prior)
    fewest = jnp.min(weight.zeros, axis=axis, keepdims=True, initial=jnp.inf, where=possible)
    alive = possible & (weight.zeros == fewest)
    top = jnp.max(weight.coarse, axis=axis, keepdims=True, initial=-jnp.inf, where=alive)
    logits = jnp.where(alive, (weight.coarse - top) + (weight.fine + log_prior), -jnp.inf)
    return jax.nn.softmax(logits, axis=axis)


def _normalise_by_class(
    weight: LogNumber, log_prior: Float[Array, "*#shape"], axis: int
) -> Float[Array, "*shape"]:
    """The same class by class, which compilers fuse into one pass."""

    def by_class(values: Float[Array, "*#shape"]) -> list[Float[Array, "*rest"]]:
        size = range(values.shape[axis])
        return [jax.lax.index_in_dim(values, y, axis, keepdims=False) for y in size]

    parts = list(zip(*map(by_class, weight), by_class(log_prior), strict=True))
    possible = [jnp.isfinite(prior) for *_, prior in parts]
    fewest = functools.reduce(
        jnp.minimum,
        [jnp.where(ok, part[0], jnp.inf) for ok, part in zip(possible, parts, strict=True)],
    )
    alive = [ok & (part[0] == fewest) for ok, part in zip(possible, parts, strict=True)]
    top = functools.reduce(
        jnp.maximum,
        [
            jnp.where(is_alive, part[1], -jnp.inf)
            for is_alive, part in zip(alive, parts, strict=True)
        ],
    )
    logits = [
        jnp.where(is_alive, (coarse - top) + (fine + prior), -jnp.inf)
        for is_alive, (_, coarse, fine, prior) in zip(alive, parts, strict=True)
    ]
    return jnp.stack(_softmax_of_columns(logits), axis=axis)


def softmax_over_classes(
    logits: Float[Array, "num_examples num_classes"],
) -> Float[Array, "num_examples num_classes"]:
    """`jax.nn.softmax` along the last axis, five times as fast on a CPU for a few classes."""
    if logits.shape[1] > _FEW_CLASSES:
        return jax.nn.softmax(logits, axis=1)
    columns = [logits[:, y] for y in range(logits.shape[1])]
    return jnp.stack(_softmax_of_columns(columns), axis=1)


def _softmax_of_columns(columns: list[Float[Array, "*rows"]]) -> list[Float[Array, "*rows"]]:
    top = jax.lax.stop_gradient(functools.reduce(jnp.maximum, columns))
    weights = [jnp.exp(column - top) for column in columns]
    total = functools.reduce(jnp.add, weights)
    return [weight / total for weight in weights]
