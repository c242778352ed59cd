"""Programs: functions that JAX compiles, and that the command line keeps from one run to the next.

JAX's own cache keeps what XLA made of a program. To find it there JAX must trace the program and
lower it first, which takes a command with twenty small programs longer than reading them does.
Here a program is found by its name, the shapes it is called with and the code of this package, and
neither traced nor lowered. Without a `Store`, as in a notebook, a program is `jax.jit`, no more.
"""

import functools
import hashlib
import importlib.metadata
import inspect
import os
import pickle
import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import jax
import numpy as np
from jax.experimental import serialize_executable
from jax.experimental.compilation_cache import compilation_cache
from jaxtyping import Array, Key, UInt32

from gtx_bayes import program_store
from gtx_bayes.program_store import Store

_COMPILERS = ("jax", "jaxlib", "numpyro")  # what traces and compiles, this package aside
_SETTINGS = ("JAX_", "XLA_")  # environment variables that change what is compiled
_ONLY_PATHS = ("JAX_COMPILATION_CACHE_DIR", "JAX_COORDINATOR_ADDRESS")


@overload
def program[**P, R](function: Callable[P, R]) -> Callable[P, R]: ...
@overload
def program[**P, R](
    *, static_argnames: Sequence[str]
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def program(function: Any = None, *, static_argnames: Sequence[str] = ()) -> Any:
    """`jax.jit` for what commands call; its programs are kept where there is a `Store`.

    Calls within other compiled functions, and calls with arrays on other devices than the first,
    go to `jax.jit` whether programs are kept or not.
    """
    if function is None:
        return functools.partial(program, static_argnames=static_argnames)
    found = _Program(function, static_argnames)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return found(*args, **kwargs)

    call.lower = found.jitted.lower  # type: ignore[attr-defined]  # as `jax.jit` has it
    return call


class _Program:
    """A function compiled for every shape it is called with."""

    def __init__(self, function: Callable[..., Any], static_argnames: Sequence[str]) -> None:
        self.jitted = jax.jit(function, static_argnames=static_argnames or None)
        self._function = function
        self._static_argnames = static_argnames
        self._signature = inspect.signature(function)
        self._loaded: dict[Hashable, Callable[[list[Any]], Any]] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        store = program_store.current()
        if store is None or jax.process_count() > 1:
            return self.jitted(*args, **kwargs)
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        static = {name: bound.arguments.pop(name) for name in self._static_argnames}
        leaves, tree = jax.tree.flatten(dict(bound.arguments))
        if not all(map(_is_at_home, leaves)):
            return self.jitted(*args, **kwargs)
        shapes = tuple((of.shape, of.dtype, of.weak_type) for of in map(jax.typeof, leaves))
        called_with = (*static.values(), tree, shapes)
        if called_with not in self._loaded:
            self._loaded[called_with] = self._load(store, repr(called_with), static, leaves, tree)
        return self._loaded[called_with](leaves)

    def _load(
        self,
        store: Store,
        called_with: str,
        static: Mapping[str, object],
        leaves: list[Any],
        tree: jax.tree_util.PyTreeDef,
    ) -> Callable[[list[Any]], Any]:
        """The program for such arguments, from the store, or compiled and put there."""
        function = f"{self._function.__module__}.{self._function.__qualname__}"
        key = hashlib.sha256(f"{_surroundings()} {function} {called_with}".encode()).hexdigest()
        name = f"{self._function.__name__}-{key[:32]}"
        kept = store.read(name)
        if kept is None:
            kept = _compile(self._function, static, leaves, tree)
            store.write(name, kept)
        payload, inputs, outputs, result = pickle.loads(kept)  # from a directory of the user's own
        compiled = serialize_executable.deserialize_and_load(
            payload, inputs, outputs, execution_devices=[_home()]
        )
        structure = jax.tree.structure(result)
        return lambda leaves: jax.tree.unflatten(structure, compiled(leaves))


_Seed = UInt32[Array | np.unsignedinteger, ""]


@program
def key_of(seed: _Seed) -> Key[Array, ""]:
    """The key that `jax.random.key` makes of a seed of 32 bits."""
    return jax.random.key(seed)


@program(static_argnames=("num",))
def split_seed(seed: _Seed, num: int) -> tuple[Key[Array, ""], ...]:
    """The keys that `jax.random.split` makes of that."""
    return tuple(jax.random.split(jax.random.key(seed), num))


def _home() -> jax.Device:
    """The device that kept programs run on."""
    return jax.local_devices()[0]


def _is_at_home(leaf: object) -> bool:
    """Whether it is an array that a kept program can take, or a number."""
    if isinstance(leaf, jax.core.Tracer):
        return False
    return not isinstance(leaf, jax.Array) or leaf.devices() == {_home()}


_compiling = threading.Lock()


def _compile(
    function: Callable[..., Any],
    static: Mapping[str, object],
    leaves: list[Any],
    tree: jax.tree_util.PyTreeDef,
) -> bytes:
    """A program from and to lists of arrays, as bytes, with the structure of its result."""
    results = []

    def flat(leaves: list[Any]) -> list[Any]:
        result = function(**jax.tree.unflatten(tree, leaves), **static)
        results.append(jax.tree.map(lambda _: 0, result))
        return jax.tree.leaves(result)

    lowered = jax.jit(flat).lower(leaves)
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


@functools.cache
def _surroundings() -> str:
    """All that decides what a program compiles to, its arguments aside."""
    root = Path(__file__).parent
    code = sorted(
        (str(path.relative_to(root)), found.st_mtime_ns, found.st_size)
        for path in root.rglob("*.py")
        for found in (path.stat(),)
    )
    settings = sorted(
        (name, value)
        for name, value in os.environ.items()
        if name.startswith(_SETTINGS) and name not in _ONLY_PATHS
    )
    versions = [importlib.metadata.version(name) for name in _COMPILERS]
    return repr((code, settings, versions, jax.config.jax_enable_x64, _home().device_kind))
