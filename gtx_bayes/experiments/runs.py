"""Many runs of one simulation, on whatever device there is."""

import concurrent.futures
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jaxtyping import Array, ArrayLike, Int, Key, PyTree

Progress = Callable[[int, int], object]
"""Told how many parts of how many are done."""

_AT_ONCE = 64  # runs side by side on an accelerator
_IN_A_ROW = 16  # runs of one call on a CPU
_CALLS_PER_CORE = 4  # at least, so that no core waits long for the last


def silent(done: int, total: int) -> None:
    """Tell nobody."""


def map_runs(
    run: Callable[..., PyTree],
    keys: Key[Array, " num_runs"],
    *each: PyTree,
    progress: Progress = silent,
) -> Any:
    """`run(key, ...)` for every key, the results stacked as NumPy arrays.

    On a CPU one run after the other on each core: runs side by side in one array would leave the
    caches, and memory stays that of one run per core. Several runs make up a call, in a compiled
    loop, which XLA keeps on one core; it splits single runs over all, to no gain when every core
    has runs of its own. On an accelerator side by side.

    Args:
        run: a function of a key, and of as many more arguments as given, that JAX can trace.
        keys: one per run.
        each: further arguments with a leading axis of runs.
        progress: told the number of runs done, from time to time.
    """
    num_runs = len(keys)
    if jax.default_backend() != "cpu":
        results = jax.device_get(_side_by_side(run, (keys, *each)))
        progress(num_runs, num_runs)
        return results

    num_cores = os.cpu_count() or 1
    in_a_row = max(1, min(_IN_A_ROW, num_runs // (_CALLS_PER_CORE * num_cores)))

    inputs = jax.device_put((keys, *each))
    # The last call ends with the last run, and repeats some of the call before.
    starts = [min(at, num_runs - in_a_row) for at in range(0, num_runs, in_a_row)]

    def call(start: int) -> Any:
        return jax.device_get(_one_by_one(run, in_a_row, np.int32(start), inputs))

    first = call(starts[0])
    results = jax.tree.map(lambda part: np.empty((num_runs, *part.shape[1:]), part.dtype), first)

    def keep(start: int, found: PyTree) -> int:
        def write(into: npt.NDArray[Any], part: npt.NDArray[Any]) -> None:
            into[start : start + in_a_row] = part

        jax.tree.map(write, results, found)
        return start + in_a_row

    progress(keep(starts[0], first), num_runs)
    with concurrent.futures.ThreadPoolExecutor(num_cores) as pool:
        for start, part in zip(starts[1:], pool.map(call, starts[1:]), strict=True):
            progress(keep(start, part), num_runs)
    return results


@partial(jax.jit, static_argnames=("run", "in_a_row"))
def _one_by_one(
    run: Callable[..., PyTree], in_a_row: int, start: Int[ArrayLike, ""], inputs: PyTree
) -> PyTree:
    def one(at: Int[Array, ""]) -> PyTree:
        return run(*jax.tree.map(lambda part: part[at], inputs))

    return jax.lax.map(one, start + jnp.arange(in_a_row))


@partial(jax.jit, static_argnames="run")
def _side_by_side(run: Callable[..., PyTree], inputs: PyTree) -> PyTree:
    return jax.lax.map(lambda one: run(*one), inputs, batch_size=_AT_ONCE)
