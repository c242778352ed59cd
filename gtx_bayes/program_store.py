"""Where compiled programs are kept, if anywhere. It imports no JAX: it is set before that is."""

import os
import tempfile
import zlib
from pathlib import Path

SUFFIX = "-cache"
"""How the names of kept programs end, as those of JAX do."""

_CHECK_BYTES = 4


class Store:
    """A directory of compiled programs. They are run, so it must be nobody else's.

    Args:
        directory: where they are.
        failures: where to say why a program could not be kept.
    """

    def __init__(self, directory: Path, failures: list[str]) -> None:
        self._directory = directory
        self._failures = failures

    def read(self, name: str) -> bytes | None:
        """A program that was kept; None if there is none, or it was cut short."""
        try:
            kept = (self._directory / (name + SUFFIX)).read_bytes()
        except OSError:
            return None
        check, program = kept[:_CHECK_BYTES], kept[_CHECK_BYTES:]
        return program if check == _check(program) else None

    def write(self, name: str, program: bytes) -> None:
        """Keep a program; it is there whole or not at all."""
        try:
            # What a kill leaves behind ends like a program, and is removed like one.
            handle, partial = tempfile.mkstemp(SUFFIX, dir=self._directory)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(_check(program) + program)
                Path(partial).replace(self._directory / (name + SUFFIX))
            except BaseException:
                Path(partial).unlink(missing_ok=True)
                raise
        except OSError as error:
            self._failures.append(str(error))


def _check(program: bytes) -> bytes:
    return zlib.crc32(program).to_bytes(_CHECK_BYTES)


_stores: list[Store] = []


def current() -> Store | None:
    """Where the programs of this process are kept; None for nowhere, as every process starts."""
    return _stores[-1] if _stores else None


def keep_in(store: Store | None) -> None:
    """Keep the programs of this process there; nowhere if None."""
    _stores[:] = [] if store is None else [store]
