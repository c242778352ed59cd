"""The chunks of a table in files: its parts, shared out to processes, devices and threads."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax

from gtx_bayes.inference.loop import AbstractChunks, Chunk, Store
from gtx_bayes.posterior import ClassPrior
from gtx_bayes.streaming.crew import Crew
from gtx_bayes.streaming.parts import PartedTable
from gtx_bayes.sums import Whole


@dataclasses.dataclass(frozen=True)
class ChunksOnDisk(AbstractChunks):
    """The parts of a table; see `AbstractChunks`.

    Attributes:
        table: the table.
        crew: who computes them.
        class_prior: prior of each class; uniform where it is learnt.
        store: the table's work directory.
    """

    table: PartedTable
    crew: Crew
    class_prior: ClassPrior
    store: Store

    def each[R](self, stage: str, one: Callable[[int, jax.Device], R]) -> list[R]:
        """What a function finds of the number of every part in this process's share."""
        sizes = self.table.sizes
        return self.crew.do(stage, range(len(sizes)), lambda part: sizes[part].num_labels, one)

    def map[R](self, stage: str, one: Callable[[int, Chunk], R]) -> list[R]:
        """What a function finds of every part in this process's share."""

        def of_part(number: int, device: jax.Device) -> R:
            return one(number, self.table.read(number, device, self.class_prior).chunk)

        return self.each(stage, of_part)

    def add_up(self, found: Sequence[tuple[Whole, ...]]) -> tuple[Whole, ...]:
        """Sums, entry by entry, over all processes."""
        return self.crew.add_up(found)

    def largest(self, found: Sequence[float]) -> float:
        """The largest, over all processes."""
        return float(max(self.crew.team.gather(max(found, default=0.0))))

    def has(self, name: str) -> bool:
        """Whether the work directory had these arrays when all processes asked."""
        return self.crew.has(self.table.work, name)

    def write_once(self, name: str, **arrays: Any) -> None:
        """Let the first process keep arrays, and the others wait for it."""
        if self.crew.team.rank == 0:
            self.store.write_arrays(name, **arrays)
        self.crew.team.meet()
