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
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, ArrayLike, Int, Key, PyTree

from gtx_bayes.devices import BY_PART

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
        progress: told the number of runs done, from time to time.
        mesh: devices to spread the runs over, from `devices.examples_mesh`; where it is absent
            the first one, or all cores of the CPU.
    """
    num_runs = len(keys)
    if mesh is not None:
        return _over_mesh(run, mesh, (keys, *each), num_runs, progress)
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


def _over_mesh(
    run: Callable[..., PyTree], mesh: Mesh, inputs: PyTree, num_runs: int, progress: Progress
) -> Any:
    """Call after call of as many runs on every device; the last one repeats its last run."""
    of_device = -(-num_runs // mesh.size)
    at_once = 1 if jax.default_backend() == "cpu" else min(_AT_ONCE, of_device)
    of_call = mesh.size * min(of_device, max(at_once, _IN_A_ROW))
    starts = range(0, num_runs, of_call)

    def call(start: int) -> Any:
        at = np.minimum(np.arange(start, start + of_call), num_runs - 1)
        some = jax.tree.map(lambda part: part[at], inputs)
        return _on_mesh(run, mesh, at_once, jax.device_put(some, NamedSharding(mesh, BY_PART)))

    found = []
    to_come = call(0)
    for start in starts:
        now = to_come
        if start + of_call < num_runs:
            to_come = call(start + of_call)  # before this one is waited for
        found.append(jax.device_get(now))
        progress(min(start + of_call, num_runs), num_runs)
    return jax.tree.map(lambda *parts: np.concatenate(parts)[:num_runs], *found)


@partial(jax.jit, static_argnames=("run", "mesh", "at_once"))
def _on_mesh(run: Callable[..., PyTree], mesh: Mesh, at_once: int, inputs: PyTree) -> PyTree:
    def on_device(inputs: PyTree) -> PyTree:
        batch_size = None if at_once == 1 else at_once
        return jax.lax.map(lambda one: run(*one), inputs, batch_size=batch_size)

    return jax.shard_map(
        on_device, mesh=mesh, in_specs=BY_PART, out_specs=BY_PART, check_vma=False
    )(inputs)


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
