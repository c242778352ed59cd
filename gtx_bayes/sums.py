"""Adding up over answers and examples: at once, or exactly, by stretches and over devices.

A sum of floats depends on its order, and one of many small terms loses what a large total cannot
resolve: in float32 a labeler with more than some thousands of answers. `ExactSums` adds floats
over a thousand terms at most and all else as whole numbers, whose sums depend on no order; so
they are the same however the examples are dealt out to devices.
"""

import abc
import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jaxtyping import Array, Float, Int

from gtx_bayes.labels import Labels

STRETCH = 1024
"""The most terms added as floats: the largest sum resolves a sixteen thousandth of a term."""


def place_in_run(owner: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Which answer of its labeler each is, from 0; labelers in ascending order."""
    starts = np.flatnonzero(np.diff(owner, prepend=-1))
    return np.arange(owner.size) - np.repeat(starts, np.diff(starts, append=owner.size))


class AbstractSums(abc.ABC):
    """How values of answers and of examples are added up. A pytree; a subclass is final."""

    @abc.abstractmethod
    def of_labelers(
        self, count: Callable[[Labels], Float[Array, "num_counted ..."]], labels: Labels
    ) -> Float[Array, "num_labelers ..."]:
        """What `count` finds for every labeler of a table, which it may be given otherwise cut."""

    @abc.abstractmethod
    def of_examples(self, values: Float[Array, "num_examples ..."]) -> Float[Array, "*shape"]:
        """The sum over examples."""

    @abc.abstractmethod
    def largest(self, value: Float[Array, ""]) -> Float[Array, ""]:
        """The largest of a number that each device has found."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PlainSums(AbstractSums):
    """Of floats, all at once."""

    def of_labelers(
        self, count: Callable[[Labels], Float[Array, "num_counted ..."]], labels: Labels
    ) -> Float[Array, "num_labelers ..."]:
        """What `count` finds in the table."""
        return count(labels)

    def of_examples(self, values: Float[Array, "num_examples ..."]) -> Float[Array, "*shape"]:
        """Their sum."""
        return values.sum(axis=0)

    def largest(self, value: Float[Array, ""]) -> Float[Array, ""]:
        """The number itself."""
        return value


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class ExactSums(AbstractSums):
    """On one of several devices: over its share, by stretches, and then over all devices.

    Attributes:
        stretch: the stretch that each answer of the share belongs to: one labeler's, `STRETCH`
            answers at most.
        owner: the labeler of each stretch.
        num_parts: how many parts of the examples the share is made of, one after the other.
        axis_name: the axis of the devices.
    """

    stretch: Int[Array, " num_labels"]
    owner: Int[Array, " num_stretches"]
    num_parts: int = dataclasses.field(metadata={"static": True})
    axis_name: str = dataclasses.field(metadata={"static": True})

    def of_labelers(
        self, count: Callable[[Labels], Float[Array, "num_counted ..."]], labels: Labels
    ) -> Float[Array, "num_labelers ..."]:
        """Every stretch is counted as if it were a labeler, and the labelers' are added up."""
        by_stretch = count(
            dataclasses.replace(
                labels,
                labeler=self.stretch,
                num_labelers=self.owner.shape[0],
                labeler_covariates=jax.tree.map(
                    lambda values: values[self.owner], labels.labeler_covariates
                ),
            )
        )
        found = digits(by_stretch)
        none = jnp.zeros((len(found), labels.num_labelers, *by_stretch.shape[1:]), found.dtype)
        return self._over_devices(none.at[:, self.owner].add(found), by_stretch)

    def of_examples(self, values: Float[Array, "num_examples ..."]) -> Float[Array, "*shape"]:
        """Blocks of each part's examples as floats, and the blocks exactly."""
        parts = values.reshape(self.num_parts, -1, *values.shape[1:])
        room = [(0, 0)] * parts.ndim
        room[1] = (0, -parts.shape[1] % STRETCH)
        blocks = jnp.pad(parts, room).reshape(-1, STRETCH, *values.shape[1:]).sum(axis=1)
        return self._over_devices(digits(blocks).sum(axis=1, dtype=whole_dtype(blocks)), values)

    def largest(self, value: Float[Array, ""]) -> Float[Array, ""]:
        """Over the devices."""
        return jax.lax.pmax(value, self.axis_name)

    def _over_devices(
        self, found: Int[Array, "three ..."], like: Float[Array, "..."]
    ) -> Float[Array, "*shape"]:
        return from_digits(jax.lax.psum(found, self.axis_name), like)


def digits(values: Float[Array, "*shape"]) -> Int[Array, "three ..."]:
    """Whole parts and two digits behind the point, as whole numbers whose sums are exact.

    A digit has ten bits in float32, 25 in float64, so that two million terms do not overflow. What
    is left out is below half of the last digit, 5e-7 in float32.
    """
    base = 2.0 ** _bits(values)
    whole = jnp.floor(values)
    rest = (values - whole) * base
    first = jnp.floor(rest)
    second = jnp.round((rest - first) * base)
    return jnp.stack([whole, first, second]).astype(whole_dtype(values))


def from_digits(
    found: Int[Array, "three ..."], like: Float[Array, "..."]
) -> Float[Array, "*shape"]:
    """The numbers that `digits` stand for, or sums of them, in the float type of `like`."""
    base = 2.0 ** _bits(like)
    whole, first, second = found.astype(like.dtype)
    return whole + (first + second / base) / base


def whole_dtype(values: Float[Array, "..."]) -> np.dtype[np.signedinteger]:
    """The type of whole numbers as wide as the floats."""
    return np.dtype(np.int32 if values.dtype.itemsize <= 4 else np.int64)


def _bits(values: Float[Array, "..."]) -> int:
    return jnp.finfo(values.dtype).nmant // 2 - 1
