"""Who does the parts of a run: threads, or any executor of `concurrent.futures`, such as Dask's."""

import concurrent.futures
import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from gtx_bayes.errors import InputError, LostWorkersError, WarningNote

LOOK_SECONDS = 2.0
"""Without a result for so long, a run looks whether there are workers."""

LOST_AFTER_SECONDS = 60.0
"""Without a worker for so long, a run ends."""

CONNECT_SECONDS = 15.0
"""How long to try for a scheduler."""

_TASKS_PER_SLOT = 8  # so that all slots end at nearly the same time
_TRIM = "MALLOC_TRIM_THRESHOLD_"

Callback = Callable[[str, int, int], object]
"""Told which stage it is, how much of it is done, and how much there is, in rows."""


def silent(stage: str, done: int, total: int) -> None:
    """Tell nobody."""


def num_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Workers(NamedTuple):
    """An executor, and a callback for its progress.

    Attributes:
        executor: what runs functions; Dask's has the attribute `_client`.
        callback: called with how far the work is.
    """

    executor: concurrent.futures.Executor
    callback: Callback = silent

    @property
    def are_threads(self) -> bool:
        """Whether the workers see the objects of this process."""
        return isinstance(self.executor, concurrent.futures.ThreadPoolExecutor)

    @property
    def num_slots(self) -> int:
        """How many functions run at a time."""
        client = getattr(self.executor, "_client", None)
        if client is not None:
            return max(1, sum(client.nthreads().values()))
        return int(getattr(self.executor, "_max_workers", None) or num_cores())

    def groups(self, sizes: Sequence[int]) -> list[tuple[tuple[int, ...], int]]:
        """The numbers of pieces of these sizes, several together, and the sizes of the groups."""
        length = max(1, len(sizes) // (_TASKS_PER_SLOT * self.num_slots))
        groups = [range(len(sizes))[at : at + length] for at in range(0, len(sizes), length)]
        return [(tuple(group), sum(sizes[at] for at in group)) for group in groups]

    def each[R](
        self, stage: str, pieces: Sequence[tuple[tuple[Any, ...], int]], function: Callable[..., R]
    ) -> Iterator[R]:
        """What a function finds of every piece, in the order in which results come.

        Args:
            stage: name of the stage.
            pieces: arguments, and how many rows they stand for.
            function: one of a module, unless the workers are threads.

        Raises:
            InputError: if the function raises it anywhere.
            LostWorkersError: if there is nobody left to do it.
        """
        total, done = sum(size for _, size in pieces), 0
        self.callback(stage, 0, total)
        running: dict[concurrent.futures.Future[R | InputError], int] = {}
        alone_since = None
        try:
            for arguments, size in pieces:
                running[self.executor.submit(_attempt, function, *arguments)] = size
            while running:
                ready, _ = concurrent.futures.wait(
                    running, LOOK_SECONDS, concurrent.futures.FIRST_COMPLETED
                )
                now = time.monotonic()
                is_alone = not ready and self._is_alone()
                alone_since = (alone_since or now) if is_alone else None
                if alone_since is not None and now - alone_since > LOST_AFTER_SECONDS:
                    raise _lost("no worker takes tasks: they are gone, or out of memory")
                for future in ready:
                    size = running.pop(future)
                    found = future.result()
                    if isinstance(found, InputError):
                        raise found
                    yield found
                    done += size
                    self.callback(stage, done, total)
        except (concurrent.futures.BrokenExecutor, concurrent.futures.CancelledError) as error:
            raise _lost(str(error) or "the scheduler is gone") from error
        except Exception as error:
            if type(error).__name__ == "KilledWorker":  # Dask's: a task that ends its workers
                raise _lost(str(error).partition(". ")[0]) from error
            raise
        finally:
            for future in running:
                future.cancel()
            if self.are_threads:
                concurrent.futures.wait(running)

    def _is_alone(self) -> bool:
        """Whether nobody takes tasks, as far as can be seen."""
        client = getattr(self.executor, "_client", None)
        if client is None:
            return False
        try:
            workers = client.scheduler_info(n_workers=-1)["workers"].values()
        except (OSError, TimeoutError):
            return True
        return not any(worker["status"] == "running" for worker in workers)


def _attempt(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns, or the `InputError` that it raises, which nobody need try again."""
    try:
        return function(*arguments)
    except InputError as error:
        return error


def _lost(why: str) -> LostWorkersError:
    return LostWorkersError(
        f"the workers were lost ({why}); nothing was written. See to them, and let the run resume."
    )


@contextlib.contextmanager
def threads(num_devices: int = 1) -> Iterator[concurrent.futures.Executor]:
    """As many threads as there are cores, or devices."""
    with concurrent.futures.ThreadPoolExecutor(max(num_cores(), num_devices)) as executor:
        yield executor


@contextlib.contextmanager
def dask_cluster(cluster: str) -> Iterator[tuple[concurrent.futures.Executor, list[str]]]:
    """The executor of a Dask cluster, and what is to be said of it.

    Args:
        cluster: address of a scheduler, a file that it wrote, or `local:N` for N processes here.

    Raises:
        InputError: if there is no Dask, or no scheduler.
        LostWorkersError: if no worker comes.
    """
    try:
        import dask.config
        import distributed
    except ImportError as error:
        raise InputError(
            "Dask's `distributed` is not installed.",
            where="cluster",
            hint="Install it: pip install 'gtx_bayes[cluster]'.",
        ) from error
    kind, _, number = cluster.partition(":")
    with contextlib.ExitStack() as stack:
        if kind == "local":
            if not number.isdecimal() or int(number) < 1:
                raise InputError(
                    f"'{cluster}' names no number of processes.",
                    where="cluster",
                    hint="Say local:4 for four.",
                )
            # Dask lets workers give memory back at every turn: passes take twice as long.
            name = "distributed.nanny.pre-spawn-environ"
            environ = {k: v for k, v in dask.config.get(name).items() if k != _TRIM}
            with dask.config.set({name: environ}):
                local = distributed.LocalCluster(
                    n_workers=int(number),
                    threads_per_worker=1,
                    memory_limit=0,  # a paused worker never goes on: what it holds is no spare data
                    dashboard_address="127.0.0.1:0",
                    silence_logs=50,
                )
            stack.enter_context(local)
            address: dict[str, Any] = {"address": local}
        elif cluster.endswith(".json"):
            address = {"scheduler_file": cluster}
        else:
            address = {"address": cluster}
        try:
            client = stack.enter_context(
                distributed.Client(**address, timeout=CONNECT_SECONDS, set_as_default=False)
            )
        except (OSError, TimeoutError, ValueError) as error:
            raise InputError(
                f"no Dask scheduler answers at '{cluster}': {str(error).partition(chr(10))[0]}.",
                where="cluster",
                hint="Start one, `dask scheduler --scheduler-file FILE.json`, and name the file.",
            ) from error
        try:
            client.wait_for_workers(1, timeout=LOST_AFTER_SECONDS)
        except TimeoutError as error:
            raise _lost("none has come") from error
        notes: list[str] = []
        if kind != "local":
            notes.append(f"Dask's dashboard: {client.dashboard_link}")
            trimming = [at for at, is_set in client.run(_trims).items() if is_set]
            if trimming:
                notes.append(
                    WarningNote(
                        f"{len(trimming)} worker(s), such as {trimming[0]}, run with {_TRIM}, "
                        "which makes passes twice as slow: see 'Large tables' for the setting."
                    )
                )
        executor = client.get_executor(pure=False, retries=2)
        try:
            yield executor, notes
        finally:
            executor.shutdown(wait=False)


def _trims() -> bool:
    """Whether this worker was started with the setting of Dask's nanny."""
    return _TRIM in os.environ
