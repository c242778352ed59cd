"""The processes of a run: alone, or together through `jax.distributed`.

Whoever works alone and whoever works in a team runs the same code. Pieces and parts of the table
are shared out by number, and the members meet after every stage: there they learn whether anybody
failed, and exchange sums of whole numbers, which do not depend on who added what.
"""

import abc
import contextlib
import functools
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from gtx_bayes.errors import InputError, LostProcessError

HEARTBEAT_SECONDS = 5.0
JOIN_SECONDS = 300
LOST_AFTER_SECONDS = 60.0
"""How long a member may give no sign of life before the others give up."""

_LIMB_BITS = 16  # of the pieces that whole numbers are summed in, as int32


class AbstractTeam(abc.ABC):
    """The processes of a run. A subclass is final.

    Attributes:
        rank: number of this process, from 0.
        size: how many there are.
    """

    rank: int
    size: int

    @abc.abstractmethod
    def gather(self, message: Any) -> list[Any]:
        """What every member has to say, as plain numbers and texts, in the order of ranks."""

    @abc.abstractmethod
    def total(self, values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The sum of every member's numbers."""

    def share[T](self, work: Sequence[T]) -> Sequence[T]:
        """What this member has to do."""
        return work[self.rank :: self.size]

    def meet(self, problem: InputError | None = None) -> None:
        """Wait for everybody; raise the first problem that anybody has."""
        mine = None if problem is None else [problem.what, problem.where, problem.hint]
        for told in self.gather(mine):
            if told is not None:
                raise InputError(told[0], where=told[1], hint=told[2])


class Alone(AbstractTeam):
    """One process."""

    rank, size = 0, 1

    def gather(self, message: Any) -> list[Any]:
        """The message."""
        return [message]

    def total(self, values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The numbers."""
        return values


class Together(AbstractTeam):
    """The processes that `jax.distributed` knows of."""

    def __init__(self) -> None:
        self.rank, self.size = jax.process_index(), jax.process_count()

    @classmethod
    def joined(
        cls, coordinator: str | None, num_processes: int | None, process_id: int | None
    ) -> "Together":
        """The team, once all its members have come; before anything else is asked of JAX.

        Args:
            coordinator: address of the first process, HOST:PORT; asked of the cluster when absent,
                as the rest.
            num_processes: how many processes there are.
            process_id: number of this one.

        Raises:
            InputError: if the others do not come, or there is no cluster to ask.
        """
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        # A member that is lost is reported by `LostProcessError`, not by an abort.
        jax.config.update("jax_enable_recoverability", True)
        try:
            if coordinator is not None and process_id == 0:
                _wait_for_name(coordinator.rpartition(":")[0])
            jax.distributed.initialize(
                coordinator,
                num_processes,
                process_id,
                coordinator_bind_address=coordinator,  # JAX would listen on every interface
                initialization_timeout=JOIN_SECONDS,
                # JAX aborts whoever misses the first process; the watch speaks before that.
                heartbeat_timeout_seconds=int(3 * LOST_AFTER_SECONDS),
            )
            return cls()
        except (ValueError, RuntimeError) as error:
            raise InputError(
                f"the processes did not come together: {str(error).partition(chr(10))[0]}.",
                where="coordinator",
                hint="Start all of them with the same address and number of processes.",
            ) from error

    def gather(self, message: Any) -> list[Any]:
        """Messages by way of the collectives."""
        text = np.frombuffer(json.dumps(message).encode(), np.uint8)
        lengths = self._exchange(np.array([text.size], np.int32))[:, 0]
        padded = np.zeros(int(lengths.max()), np.uint8)
        padded[: text.size] = text
        rows = self._exchange(padded)
        return [
            json.loads(row[:length].tobytes()) for row, length in zip(rows, lengths, strict=True)
        ]

    def total(self, values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Exact sums: numbers go in pieces of 16 bits, which int32 holds the sums of."""
        mask = (1 << _LIMB_BITS) - 1
        lower = [(values >> shift) & mask for shift in (0, 16, 32)]
        limbs = np.stack([*lower, values >> 48]).astype(np.int32)
        summed = self._collect(limbs, _sum_over_processes).astype(np.int64)
        return np.asarray(sum(part << (_LIMB_BITS * k) for k, part in enumerate(summed)))

    def _exchange(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return self._collect(values, _all_of_processes)

    def _collect(self, values: npt.NDArray[Any], combine: Any) -> npt.NDArray[Any]:
        try:
            mesh = _mesh()
            rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("processes"))
            shape = (self.size, *values.shape)
            everybody = jax.make_array_from_process_local_data(rows, values[None], shape)
            return np.asarray(combine(mesh)(everybody).addressable_data(0))
        except (ValueError, RuntimeError) as error:
            raise LostProcessError(_lost(str(error).partition("\n")[0])) from error


class Watch:
    """Signs of life in a directory that all members see; ends this process if another gives none.

    A member that died closes its connections, and the next exchange with it fails at once. One
    that is cut off or stuck does not: then no exchange returns, and this thread is all that runs.
    """

    def __init__(self, team: AbstractTeam, directory: Path) -> None:
        self._team, self._directory = team, directory
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Watch":
        if self._team.size > 1:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        if self._team.size > 1:
            self._thread.join()

    def _run(self) -> None:
        begun = time.monotonic()
        seen: dict[int, tuple[str, float]] = {}
        beat = 0
        while not self._is_over.wait(HEARTBEAT_SECONDS if beat else 0.0):
            beat += 1
            self._file(self._team.rank).write_text(f"{begun} {beat}")
            for rank in range(self._team.size):
                sign, now = self._sign(rank), time.monotonic()
                if sign != seen.get(rank, (None, 0.0))[0]:
                    seen[rank] = (sign, now)
                elif now - seen[rank][1] > LOST_AFTER_SECONDS:
                    print(f"Error: {_lost(f'process {rank} is silent')}", file=sys.stderr)
                    sys.stderr.flush()
                    os._exit(1)  # the main thread may be waiting for that process for ever

    def _file(self, rank: int) -> Path:
        return self._directory / f"alive-{rank}"

    def _sign(self, rank: int) -> str:
        try:
            return self._file(rank).read_text()
        except OSError:
            return ""


def _wait_for_name(host: str) -> None:
    """Wait until a name has an address: that of a process just started may come a little later."""
    begun = time.monotonic()
    while time.monotonic() - begun < JOIN_SECONDS:
        with contextlib.suppress(OSError):
            socket.getaddrinfo(host.strip("[]"), None)
            return
        time.sleep(1.0)


def _lost(why: str) -> str:
    return (
        f"another process was lost ({why}); nothing was written. Start all processes again, and "
        "let them resume."
    )


def _mesh() -> jax.sharding.Mesh:
    """One device of every process."""
    of_process = {device.process_index: device for device in reversed(jax.devices())}
    return jax.sharding.Mesh(
        np.array([of_process[rank] for rank in sorted(of_process)]), ("processes",)
    )


@functools.cache
def _sum_over_processes(mesh: jax.sharding.Mesh) -> Any:
    everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    return jax.jit(lambda values: values.sum(axis=0), out_shardings=everywhere)


@functools.cache
def _all_of_processes(mesh: jax.sharding.Mesh) -> Any:
    everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    return jax.jit(lambda values: values, out_shardings=everywhere)
