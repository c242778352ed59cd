"""Sums over parts as whole numbers, which add up to the same in any order and on any machine.

Within a part floats are added, over stretches of a labeler's answers: float32 loses what it adds to
large sums. A labeler with many answers in a part is counted as several, who are put together after.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jaxtyping import Array, Float, Int

from gtx_bayes.inference.variational import Totals
from gtx_bayes.labels import Labels
from gtx_bayes.sums import STRETCH, AbstractSums, place_in_run

_SCALE = 2.0**20
"""What one answer counts: sums are right to a millionth of an answer, up to 2^43 answers."""

Whole = npt.NDArray[np.int64]


def as_whole(values: npt.ArrayLike) -> Whole:
    """The nearest multiples of a millionth, as whole numbers of these."""
    return np.asarray(np.rint(np.asarray(values, np.float64) * _SCALE), np.int64)


def from_whole(values: Whole) -> npt.NDArray[np.float64]:
    """The numbers that whole numbers stand for."""
    return np.asarray(values / _SCALE)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class StretchedSums(AbstractSums):
    """Sums over a part, not yet put together.

    Attributes:
        counted_as: for every answer its labeler, or one of those that stand for more of the
            labeler's answers.
        num_counted: how many there are of both kinds.
    """

    counted_as: Int[Array, " num_labels"]
    num_counted: int = dataclasses.field(metadata={"static": True})

    def of_labelers(
        self, count: Callable[[Labels], Float[Array, "num_counted ..."]], labels: Labels
    ) -> Float[Array, "num_counted ..."]:
        """What `count` finds for everybody who is counted."""
        covariates = labels.labeler_covariates
        if covariates:
            owner = jnp.minimum(jnp.arange(self.num_counted), labels.num_labelers - 1)
            owner = owner.at[self.counted_as].set(labels.labeler)
            covariates = {name: values[owner] for name, values in covariates.items()}
        return count(
            dataclasses.replace(
                labels,
                labeler=self.counted_as,
                num_labelers=self.num_counted,
                labeler_covariates=covariates,
            )
        )

    def of_examples(self, values: Float[Array, "num_examples ..."]) -> Float[Array, "*shape"]:
        """Their sum, block by block."""
        room = [(0, -values.shape[0] % STRETCH), *((0, 0) for _ in values.shape[1:])]
        blocks = jnp.pad(values, room).reshape(-1, STRETCH, *values.shape[1:])
        return blocks.sum(axis=1).sum(axis=0)

    def largest(self, value: Float[Array, ""]) -> Float[Array, ""]:
        """The number itself."""
        return value


class Stretches(NamedTuple):
    """The answers of a part beyond the first `STRETCH` of a labeler.

    Attributes:
        of_answer: number of the stretch that an answer is in, -1 for one of the labeler's first.
        owner: the labeler of every stretch.
    """

    of_answer: npt.NDArray[np.int32]
    owner: npt.NDArray[np.int32]

    @classmethod
    def find(cls, labeler: npt.NDArray[np.int32]) -> "Stretches":
        """Cut the answers of everybody who gave many."""
        of_answer = np.full(labeler.size, -1, np.int32)
        many = np.flatnonzero((np.bincount(labeler, minlength=1) > STRETCH)[labeler])
        order = many[np.argsort(labeler[many], kind="stable")]
        owner = labeler[order]
        place = place_in_run(owner)
        opens = (place % STRETCH == 0) & (place > 0)
        number = np.cumsum(opens).astype(np.int32) - 1
        of_answer[order] = np.where(place >= STRETCH, number, -1)
        return cls(of_answer, owner[opens])

    def put_together(self, counted: Whole, num_labelers: int) -> Whole:
        """Numbers of labelers from those of all who were counted; nothing from nothing."""
        if not counted.size:
            return counted
        found = counted[:num_labelers].copy()
        np.add.at(found, self.owner, counted[num_labelers : num_labelers + self.owner.size])
        return found


class WholeTotals(NamedTuple):
    """What the examples of some parts add up to; see `variational.Totals`.

    Attributes:
        counts: expected counts of the labelers.
        class_total: expected number of answered examples of each class.
    """

    counts: Whole
    class_total: Whole

    def totals(self) -> Totals:
        """The numbers, in JAX's default precision."""
        return Totals(
            jnp.asarray(from_whole(self.counts), float),
            jnp.asarray(from_whole(self.class_total), float),
        )
