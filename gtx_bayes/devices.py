"""Several devices: a mesh of them, to give to whatever takes a `mesh`."""

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from gtx_bayes.errors import InputError

AXIS: Final = "examples"
"""Name of the axis over which examples, or runs, are sharded."""

BY_PART: Final = PartitionSpec(AXIS)
"""Arrays whose first axis goes over the devices."""

EVERYWHERE: Final = PartitionSpec()
"""Arrays that every device has the whole of."""


def examples_mesh(devices: Literal["all"] | int | Sequence[jax.Device] = "all") -> Mesh:
    """A mesh with one axis, to give to whatever takes a `mesh`.

    Args:
        devices: "all" that there are, how many, or which.

    Raises:
        InputError: for a number of devices that there are not.
    """
    if isinstance(devices, int):
        devices = first_devices(jax.devices(), devices)
    chosen = jax.devices() if isinstance(devices, str) else list(devices)
    return Mesh(np.asarray(chosen), (AXIS,))


def as_here[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """The function for other threads, which JAX's context managers do not reach.

    Floats and the default device there are those of this thread.
    """
    is_x64, device = jax.config.jax_enable_x64, jax.config.jax_default_device

    @functools.wraps(function)
    def in_thread(*args: P.args, **kwargs: P.kwargs) -> R:
        with precision(is_x64), jax.default_device(device):
            return function(*args, **kwargs)

    return in_thread


def precision(is_x64: bool) -> contextlib.AbstractContextManager[Any]:
    """Floats of 64 bits or 32, where they are not already: what is compiled stays in use."""
    if jax.config.jax_enable_x64 == is_x64:
        return contextlib.nullcontext()
    return jax.enable_x64(is_x64)


def first_devices(there: Sequence[jax.Device], number: int) -> Sequence[jax.Device]:
    """So many of the devices.

    Raises:
        InputError: for a number of devices that there are not.
    """
    if 1 <= number <= len(there):
        return there[:number]
    hint = f"Ask for {len(there)} at most, or for all."
    if jax.default_backend() == "cpu":
        hint += " On a CPU the environment variable JAX_NUM_CPU_DEVICES sets their number."
    raise InputError(f"{number} devices were asked for, and there are {len(there)}.", hint=hint)
