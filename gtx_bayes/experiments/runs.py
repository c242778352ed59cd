"""Many runs of one simulation, on whatever device there is."""

import concurrent.futures
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, ArrayLike, Int, Key, PyTree

from gtx_bayes.devices import BY_PART, EVERYWHERE, as_here, examples_mesh

Progress = Callable[[int, int], object]
"""A callback: how many parts of how many are done."""

_AT_ONCE = 64  # runs side by side on an accelerator
_IN_A_ROW = 16  # runs of one call on a CPU
_CALLS_PER_CORE = 4  # at least, so that no core waits long for the last


def silent(done: int, total: int) -> None:
    """No callback."""


def map_runs(
    run: Callable[..., PyTree],
    keys: Key[Array, " num_runs"],
    *each: PyTree,
    progress: Progress = silent,
    mesh: Mesh | None = None,
) -> Any:
    """`run(key, ...)` for every key, the results stacked as NumPy arrays.

    On a CPU one run after the other on each core: runs side by side in one array would leave the
    caches, and memory stays that of one run per core. Several runs make up a call, in a compiled
    loop, which XLA keeps on one core; it splits single runs over all, to no gain when every core
    has runs of its own. On an accelerator side by side. On a mesh every device has an equal
    number of the runs, in the same two ways; a run depends on its key alone, not on where it is.

    Args:
        run: a function of a key, and of as many more arguments as given, that JAX can trace.
        keys: one per run.
        each: further arguments with a leading axis of runs.
        progress: called with the number of runs done, from time to time.
        mesh: devices to shard the runs over, from `devices.examples_mesh`; where it is absent
            the first one, or all cores of the CPU.
    """
    num_runs, on_cpu = len(keys), jax.default_backend() == "cpu"
    if mesh is None and not on_cpu:
        mesh = examples_mesh(1)
    if mesh is None:
        num_calls = os.cpu_count() or 1  # at a time
        size = max(1, min(_IN_A_ROW, num_runs // (_CALLS_PER_CORE * num_calls)))
        everywhere = None
    else:
        num_calls = 2  # the next is there when one ends
        of_device = min(-(-num_runs // mesh.size), _IN_A_ROW if on_cpu else _AT_ONCE)
        size = mesh.size * of_device
        everywhere = NamedSharding(mesh, EVERYWHERE)
    inputs = jax.device_put((keys, *each), everywhere)
    batch_size = None if on_cpu else _AT_ONCE

    def call(start: int) -> Any:
        at = np.minimum(np.arange(start, start + size), num_runs - 1)  # repeats the last run
        return jax.device_get(_call(run, mesh, batch_size, at, inputs))

    found = [call(0)]  # compiled once, before others ask for it
    progress(min(size, num_runs), num_runs)
    starts = range(size, num_runs, size)
    with concurrent.futures.ThreadPoolExecutor(num_calls) as pool:
        for start, part in zip(starts, pool.map(as_here(call), starts), strict=True):
            found.append(part)
            progress(min(start + size, num_runs), num_runs)
    return jax.tree.map(lambda *parts: np.concatenate(parts)[:num_runs], *found)


@partial(jax.jit, static_argnames=("run", "mesh", "batch_size"))
def _call(
    run: Callable[..., PyTree],
    mesh: Mesh | None,
    batch_size: int | None,
    at: Int[ArrayLike, " of_call"],
    inputs: PyTree,
) -> PyTree:
    def on_device(some: PyTree) -> PyTree:
        return jax.lax.map(lambda one: run(*one), some, batch_size=batch_size)

    some = jax.tree.map(lambda part: part[at], inputs)
    if mesh is None:
        return on_device(some)
    return jax.shard_map(
        on_device, mesh=mesh, in_specs=BY_PART, out_specs=BY_PART, check_vma=False
    )(some)
