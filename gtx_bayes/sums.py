"""Adding up over answers and examples, exactly: within a chunk by segments, over chunks as wholes.

A sum of floats depends on its order, and one of many small terms loses what a large total cannot
resolve: in float32 a labeler with more than some thousands of answers. So a chunk counts a labeler
with many answers as several, whose floats are sums of a thousand terms at most, and whatever
chunks find is added as whole numbers, whose sums are the same in any order and on any machine.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jaxtyping import Array, Float, Int

from gtx_bayes.labels import Labels

SEGMENT = 1024
"""The most terms added as floats: the largest sum resolves a sixteen thousandth of a term."""

_SCALE = 2.0**20
"""What one answer counts: sums are right to a millionth of an answer, up to 2^43 answers."""

FixedPoint = npt.NDArray[np.int64]


def to_fixed_point(values: npt.ArrayLike) -> FixedPoint:
    """The nearest multiples of 2^-20, as whole numbers of these."""
    return np.asarray(np.rint(np.asarray(values, np.float64) * _SCALE), np.int64)


def from_fixed_point(values: FixedPoint) -> npt.NDArray[np.float64]:
    """The numbers that whole numbers stand for."""
    return np.asarray(values / _SCALE)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Segments:
    """The answers of a chunk by segment: one labeler's, `SEGMENT` at most.

    The first J segments are the labelers' own; those beyond hold what a labeler answered more.

    Attributes:
        of_label: segment of each answer.
        segment_labeler: labeler of each segment.
    """

    of_label: Int[Array, " num_labels"]
    segment_labeler: Int[Array, " num_segments"]

    @classmethod
    def of(
        cls,
        labeler: npt.NDArray[np.integer],
        further: npt.NDArray[np.integer],
        segment_labeler: npt.NDArray[np.integer],
        *,
        num_labelers: int,
        num_labels: int,
        num_further: int,
        device: jax.Device | None = None,
    ) -> "Segments":
        """From what `further_segments` found, padded to these sizes."""
        found = np.where(further < 0, labeler, num_labelers + further).astype(np.int32)
        segment_labelers = np.concatenate(
            [np.arange(num_labelers, dtype=np.int32), segment_labeler]
        )
        of_label = np.pad(found, (0, num_labels - found.size))
        segment_labelers = np.pad(
            segment_labelers, (0, num_labelers + num_further - segment_labelers.size)
        )
        return cls(*jax.device_put((of_label, segment_labelers), device))

    def by_labeler(self, counted: npt.ArrayLike, num_labelers: int) -> FixedPoint:
        """What segments were counted for, put together, as whole numbers."""
        whole = to_fixed_point(counted)
        found = whole[:num_labelers].copy()
        np.add.at(found, np.asarray(self.segment_labeler)[num_labelers:], whole[num_labelers:])
        return found


def further_segments(
    labeler: npt.NDArray[np.integer],
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Cut up the answers of everybody who gave more than `SEGMENT`.

    Returns:
        For every answer the number of the further segment that it is in, -1 where it is among its
        labeler's first; and the labeler of every further segment.
    """
    further = np.full(labeler.size, -1, np.int32)
    many = np.flatnonzero((np.bincount(labeler, minlength=1) > SEGMENT)[labeler])
    order = many[np.argsort(labeler[many], kind="stable")]
    segment_labeler = labeler[order]
    starts = np.flatnonzero(np.diff(segment_labeler, prepend=-1))
    place = np.arange(segment_labeler.size) - np.repeat(
        starts, np.diff(starts, append=segment_labeler.size)
    )
    opens = (place % SEGMENT == 0) & (place > 0)
    further[order] = np.where(place >= SEGMENT, np.cumsum(opens) - 1, -1)
    return further, segment_labeler[opens].astype(np.int32)


def count_by_segment(
    count: Callable[[Labels], Float[Array, "num_counted ..."]],
    labels: Labels,
    segments: Segments | None,
) -> Float[Array, "num_counted ..."]:
    """What `count` finds for every segment as if it were a labeler; for labelers without any."""
    if segments is None:
        return count(labels)
    return count(
        dataclasses.replace(
            labels,
            labeler=segments.of_label,
            num_labelers=segments.segment_labeler.shape[0],
            labeler_covariates={
                name: values[segments.segment_labeler]
                for name, values in labels.labeler_covariates.items()
            },
        )
    )


def over_examples(values: Float[Array, "num_examples ..."]) -> Float[Array, "*shape"]:
    """The sum over examples, block by block."""
    padding = [(0, -values.shape[0] % SEGMENT), *((0, 0) for _ in values.shape[1:])]
    blocks = jnp.pad(values, padding).reshape(-1, SEGMENT, *values.shape[1:])
    return blocks.sum(axis=1).sum(axis=0)
