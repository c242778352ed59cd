"""Sums over parts as whole numbers, which add up to the same in any order and on any machine."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from gtx_bayes.inference.variational import Totals

_SCALE = 2.0**20
"""What one answer counts: sums are right to a millionth of an answer, up to 2^43 answers."""

Whole = npt.NDArray[np.int64]


def as_whole(values: npt.ArrayLike) -> Whole:
    """The nearest multiples of a millionth, as whole numbers of these."""
    return np.asarray(np.rint(np.asarray(values, np.float64) * _SCALE), np.int64)


def from_whole(values: Whole) -> npt.NDArray[np.float64]:
    """The numbers that whole numbers stand for."""
    return np.asarray(values / _SCALE)


class WholeTotals(NamedTuple):
    """What the examples of some parts add up to; see `variational.Totals`.

    Attributes:
        counts: expected counts of the labelers.
        class_total: expected number of answered examples of each class.
    """

    counts: Whole
    class_total: Whole

    @classmethod
    def of(cls, totals: Totals) -> "WholeTotals":
        """Those of one part."""
        return cls(as_whole(totals.counts), as_whole(totals.class_total))

    def totals(self) -> Totals:
        """The numbers, in JAX's default precision."""
        return Totals(
            jnp.asarray(from_whole(self.counts), float),
            jnp.asarray(from_whole(self.class_total), float),
        )
