"""Who does the work: threads, devices and processes, and how far they are."""

import concurrent.futures
import os
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np

from gtx_bayes.devices import same_precision
from gtx_bayes.errors import InputError
from gtx_bayes.streaming.team import AbstractTeam
from gtx_bayes.streaming.work import WorkDirectory
from gtx_bayes.sums import Whole

Tell = Callable[[str, int, int], object]
"""Told which stage it is, how much of it is done, and how much there is, in rows."""


def silent(stage: str, done: int, total: int) -> None:
    """Tell nobody."""


class Crew(NamedTuple):
    """What a run has to work with.

    Attributes:
        team: the processes.
        devices: of this process, which take turns.
        tell: told how far the work of this process is.
    """

    team: AbstractTeam
    devices: Sequence[jax.Device]
    tell: Tell = silent

    def has(self, work: WorkDirectory, name: str) -> bool:
        """Whether a record was there when everybody asked: the first process may write it next."""
        return bool(self.team.gather(work.has(name))[0])

    def do[T, R](
        self,
        stage: str,
        work: Sequence[T],
        size: Callable[[T], int],
        one: Callable[[T, jax.Device], R],
        is_done: Callable[[T], bool] = lambda _: False,
    ) -> list[R]:
        """Do this process's share of some work, in threads, and meet the others.

        Args:
            stage: name of the stage.
            work: what everybody together has to do.
            size: how many rows a piece of it has.
            one: does a piece, on a device.
            is_done: whether a piece was done by an earlier run; asked only by whose share it is,
                since others would hear of what is being done now.

        Returns:
            What became of this process's share.

        Raises:
            InputError: if a piece cannot be done, here or elsewhere.
        """
        mine = [piece for piece in self.team.share(work) if not is_done(piece)]
        total = sum(size(piece) for piece in mine)
        self.tell(stage, 0, total)
        found, problem = [], None
        try:
            done = 0
            for piece, result in self._in_threads(mine, one):
                found.append(result)
                done += size(piece)
                self.tell(stage, done, total)
        except InputError as error:
            problem = error
        self.team.meet(problem)
        return found

    def add_up(self, found: Sequence[tuple[Whole, ...]]) -> tuple[Whole, ...]:
        """Sums, entry by entry, over everything that everybody found; somebody has to."""
        shapes = self.team.gather([list(values.shape) for values in found[0]] if found else None)
        shape_of = next(shape for shape in shapes if shape is not None)
        return tuple(
            self.team.total(
                np.asarray(sum((each[at] for each in found), np.zeros(shape, np.int64)))
            )
            for at, shape in enumerate(shape_of)
        )

    def _in_threads[T, R](
        self, work: Sequence[T], one: Callable[[T, jax.Device], R]
    ) -> Iterator[tuple[T, R]]:
        num_threads = max(num_cores(), len(self.devices))
        with concurrent.futures.ThreadPoolExecutor(num_threads) as pool:
            running = {
                pool.submit(same_precision(one), piece, self.devices[at % len(self.devices)]): piece
                for at, piece in enumerate(work)
            }
            try:
                for done in concurrent.futures.as_completed(running):
                    yield running[done], done.result()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)


def num_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
