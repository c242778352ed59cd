"""Many runs of one simulation, on whatever device there is."""

import concurrent.futures
import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Key, PyTree

Progress = Callable[[int, int], object]
"""Told how many parts of how many are done."""

_BATCH = 64  # runs at once on an accelerator


def silent(done: int, total: int) -> None:
    """Tell nobody."""


def map_runs(
    run: Callable[..., PyTree],
    keys: Key[Array, " num_runs"],
    *each: PyTree,
    progress: Progress = silent,
) -> Any:
    """`run(key, ...)` for every key, the results stacked as NumPy arrays.

    On a CPU one run after the other per core, compiled once: runs side by side in one array would
    leave the caches, and memory stays that of one run per core. On an accelerator in batches.

    Args:
        run: a function of a key, and of as many more arguments as given, that JAX can trace.
        keys: one per run.
        each: further arguments with a leading axis of runs.
        progress: told after every run or, on an accelerator, at the end.
    """
    compiled = jax.jit(run)
    num_runs = len(keys)
    if jax.default_backend() != "cpu":
        batched = jax.jit(lambda inputs: jax.lax.map(lambda i: run(*i), inputs, batch_size=_BATCH))
        results = jax.device_get(batched((keys, *each)))
        progress(num_runs, num_runs)
        return results

    def one(at: int) -> Any:
        return jax.device_get(compiled(*(jax.tree.map(lambda x: x[at], part) for part in inputs)))

    inputs = (keys, *each)
    found = [one(0)]
    progress(1, num_runs)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for result in pool.map(one, range(1, num_runs)):
            found.append(result)
            progress(len(found), num_runs)
    return jax.tree.map(lambda *parts: np.stack(parts), *found)
