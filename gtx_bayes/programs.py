"""Programs: functions that JAX compiles, and that the command line keeps from one run to the next.

JAX's own cache keeps what XLA made of a program. To find it there JAX must trace the program and
lower it first, which takes a command with twenty small programs longer than reading them does.
Here a program is found by its name, the shapes it is called with and the code of this package, and
neither traced nor lowered. Without a `Store`, as in a notebook, a program is `jax.jit`, no more.
"""

import contextlib
import functools
import hashlib
import importlib.metadata
import inspect
import os
import pickle
import threading
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, overload

import jax
import numpy as np
from jax.experimental import serialize_executable
from jax.experimental.compilation_cache import compilation_cache
from jaxtyping import Array, Key, UInt32

from gtx_bayes import program_store
from gtx_bayes.program_store import Store

_COMPILERS = ("gtx-bayes", "jax", "jaxlib", "numpyro")
_VARIABLES = ("JAX_", "XLA_")  # of the environment, that change what is compiled
_ONLY_PATHS = ("JAX_COMPILATION_CACHE_DIR", "JAX_COORDINATOR_ADDRESS")


@overload
def program[**P, R](function: Callable[P, R]) -> Callable[P, R]: ...
@overload
def program[**P, R](
    *, static_argnames: tuple[str, ...]
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def program(function: Any = None, *, static_argnames: tuple[str, ...] = ()) -> Any:
    """`jax.jit` for what commands call; its programs are kept where there is a `Store`.

    Calls with traced arguments, as from within other compiled functions, and calls with arrays
    on other devices than the first go to `jax.jit` whether programs are kept or not.
    """
    if function is None:
        return functools.partial(program, static_argnames=static_argnames)
    kept = _Program(function, static_argnames)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return kept.call(*args, **kwargs)

    return call


class _Program:
    """A function compiled for every shape it is called with."""

    def __init__(self, function: Callable[..., Any], static_argnames: tuple[str, ...]) -> None:
        self._jitted = jax.jit(function, static_argnames=static_argnames or None)
        self._function = function
        self._static_argnames = static_argnames
        self._signature = inspect.signature(function)
        self._loaded: dict[Hashable, Callable[[list[Any]], Any]] = {}

    def call(self, *args: Any, **kwargs: Any) -> Any:
        store = program_store.current()
        if store is None or jax.process_count() > 1:
            return self._jitted(*args, **kwargs)
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        static = {name: bound.arguments.pop(name) for name in self._static_argnames}
        leaves, tree = jax.tree.flatten(dict(bound.arguments))
        if not all(map(_is_at_home, leaves)):
            return self._jitted(*args, **kwargs)
        shapes = tuple((of.shape, of.dtype, of.weak_type) for of in map(jax.typeof, leaves))
        called_with = (_settings(), *static.values(), tree, shapes)
        if called_with not in self._loaded:
            wanted = functools.partial(self._function, **static)
            functools.update_wrapper(wanted, self._function)
            self._loaded[called_with] = _load(store, repr(called_with), wanted, leaves, tree)
        return self._loaded[called_with](leaves)


def _load(
    store: Store,
    called_with: str,
    function: Callable[..., Any],
    leaves: list[Any],
    tree: jax.tree_util.PyTreeDef,
) -> Callable[[list[Any]], Any]:
    """The program for such arguments, from the store, or compiled and put there."""
    named = f"{_surroundings()} {function.__module__}.{function.__qualname__} {called_with}"
    name = f"{function.__name__}-{hashlib.sha256(named.encode()).hexdigest()[:32]}"
    kept = store.read(name)
    if kept is not None:
        with contextlib.suppress(Exception):  # whole, but not for this machine after all
            return _from_bytes(kept)
    made = _compile(function, leaves, tree)
    store.write(name, made)
    return _from_bytes(made)


def _from_bytes(kept: bytes) -> Callable[[list[Any]], Any]:
    payload, inputs, outputs, result = pickle.loads(kept)  # from a directory of the user's own
    compiled = serialize_executable.deserialize_and_load(
        payload, inputs, outputs, execution_devices=[_home()]
    )
    structure = jax.tree.structure(result)
    return lambda leaves: jax.tree.unflatten(structure, compiled(leaves))


_compiling = threading.Lock()


def _compile(
    function: Callable[..., Any], leaves: list[Any], tree: jax.tree_util.PyTreeDef
) -> bytes:
    """A program from and to lists of arrays, as bytes, with the structure of its result."""
    results = []

    @functools.wraps(function)
    def flat(leaves: list[Any]) -> list[Any]:
        result = function(**jax.tree.unflatten(tree, leaves))
        results.append(jax.tree.map(lambda _: 0, result))
        return jax.tree.leaves(result)

    # By shapes alone: wherever these arrays lie, another call's may lie elsewhere.
    shapes = [
        jax.ShapeDtypeStruct(of.shape, of.dtype, weak_type=of.weak_type)
        for of in map(jax.typeof, leaves)
    ]
    lowered = jax.jit(flat).lower(shapes)
    # What JAX's cache gives back cannot be written again: functions are missing in it.
    with _compiling:
        was_enabled = jax.config.jax_enable_compilation_cache
        try:
            jax.config.update("jax_enable_compilation_cache", False)
            compilation_cache.reset_cache()
            compiled = lowered.compile()
        finally:
            jax.config.update("jax_enable_compilation_cache", was_enabled)
            compilation_cache.reset_cache()
    return pickle.dumps((*serialize_executable.serialize(compiled), results[0]))


def _home() -> jax.Device:
    """The device that kept programs run on."""
    return jax.local_devices()[0]


def _is_at_home(leaf: object) -> bool:
    """Whether it is an array that a kept program can take, or a number."""
    if isinstance(leaf, jax.core.Tracer):
        return False
    return not isinstance(leaf, jax.Array) or leaf.devices() == {_home()}


def _settings() -> tuple[Hashable, ...]:
    """What a process can set while it runs, and that changes what is compiled."""
    config = jax.config
    return (
        config.jax_enable_x64,
        config.jax_default_prng_impl,
        config.jax_default_matmul_precision,
        config.jax_numpy_dtype_promotion,
        config.jax_default_device,
    )


@functools.cache
def _surroundings() -> str:
    """What decides what a program compiles to, and stays as it is while a process runs."""
    variables = sorted(
        (name, value)
        for name, value in os.environ.items()
        if name.startswith(_VARIABLES) and name not in _ONLY_PATHS
    )
    versions = [_version(name) for name in _COMPILERS]
    device = _home()
    platform = (device.platform, device.device_kind, device.client.platform_version)
    return repr((_code(), variables, versions, platform))


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # a tree of sources, never installed
        return ""


@functools.cache
def _code() -> str:
    """A fingerprint of this package: of what its files say, not of when they were written."""
    root = Path(__file__).parent
    found = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        text = path.read_bytes()
        found.update(f"{path.relative_to(root)} {len(text)} ".encode() + text)
    return found.hexdigest()


if program_store.current() is not None:
    _code()  # before the modules with programs are read: one saved later is of no other name


_Seed = UInt32[Array | np.unsignedinteger, ""]


@program
def key_of(seed: _Seed) -> Key[Array, ""]:
    """The key that `jax.random.key` makes of a seed of 32 bits."""
    return jax.random.key(seed)


@program(static_argnames=("num",))
def split_seed(seed: _Seed, num: int) -> tuple[Key[Array, ""], ...]:
    """The keys that `jax.random.split` makes of that."""
    return tuple(jax.random.split(jax.random.key(seed), num))
