"""JAX's compilation cache, turned on for the command line: where it is, how large it may grow.

For the command line alone: a library that changed settings of JAX would change them for everybody
else in the process. JAX reads its settings from the environment when it is imported, which is after
this.
"""

import contextlib
import os
import platform
import re
import stat
import sys
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

DIRECTORY = "JAX_COMPILATION_CACHE_DIR"
SWITCH = "JAX_ENABLE_COMPILATION_CACHE"

MOST_BYTES = 256 * 2**20
"""What the cache may take; the least recently used entries go first. JAX's own limit of size locks
the directory for every read and needs a further package."""

_CACHE_ALL = {  # functions of any compile time and size: a command has many small ones
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}
_CAPABILITIES = (b"flags", b"Featu")  # as x86 and Arm call them
_FAILED = (
    r"Error (?P<what>reading|writing) persistent compilation cache entry for "
    r"'(?P<function>[\w.<>-]+)': (?P<why>(?s:.*))"
)


@contextlib.contextmanager
def compilation_cached() -> Iterator[None]:
    """Turn JAX's compilation cache on for what is compiled inside, unless the user set it.

    A directory named by the user (`DIRECTORY`) is the user's: nothing is ever removed from it.
    Without one the cache is in the user's cache directory. If it fails, the command goes on
    without, and a note says so at the end.
    """
    for name, value in _CACHE_ALL.items():
        os.environ.setdefault(name, value)
    if DIRECTORY in os.environ or _is_off(os.environ.get(SWITCH, "")):
        yield
        return
    failures: list[str] = []
    with warnings.catch_warnings():
        try:
            root = _root()
            directory = _own_directory(root / _this_machine())
        except (OSError, RuntimeError) as error:
            failures.append(str(error))
        else:
            os.environ[DIRECTORY] = str(directory)
            _repair(directory, failures)
        try:
            yield
        finally:  # commands end by SystemExit
            was_used = "jax" in sys.modules
            if was_used and failures:
                _note(failures[0])
            elif was_used:
                _trim(root)


def _is_off(switch: str) -> bool:
    return switch.lower() in ("0", "f", "false", "n", "no", "off")


def _root() -> Path:
    """The cache's directory, by the XDG base directory specification."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    caches = Path(home) if Path(home).is_absolute() else Path.home() / ".cache"
    return caches / "gtx_bayes" / "programs"


def _this_machine() -> str:
    """A name for this kind of processor: code compiled for another may not run on it."""
    kind = platform.machine()
    with contextlib.suppress(OSError), Path("/proc/cpuinfo").open("rb") as file:
        # What the first core can do. Its speed, two lines on, changes all the time.
        can_do = [line for line in file.read(8192).splitlines() if line[:5] in _CAPABILITIES]
        kind = f"{kind}-{zlib.crc32(b''.join(can_do[:1])):08x}"
    return kind


def _own_directory(directory: Path) -> Path:
    """The directory, made if need be; what is cached is run, so it must be nobody else's.

    Raises:
        OSError: if it cannot be made, or others may write there.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = directory.stat()
    if hasattr(os, "getuid") and (
        found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    ):
        raise PermissionError(f"others may write to '{directory}'")
    return directory


def _repair(directory: Path, failures: list[str]) -> None:
    """Take JAX's warnings of entries that it cannot read or write, and remove those entries.

    An entry cut short, by a kill or a full disk, would otherwise never be replaced. What JAX cannot
    read it compiles, and then caches anew. Reasons not to write are put into `failures`.
    """
    show = warnings.showwarning

    def handle(message: Warning | str, *where: object, **more: object) -> None:
        failed = re.match(_FAILED, str(message))
        if failed is None:
            show(message, *where, **more)  # type: ignore[arg-type]
            return
        for path in directory.glob(f"{failed['function']}-*"):
            with contextlib.suppress(OSError):
                path.unlink()
        if failed["what"] == "writing":
            failures.append(failed["why"])

    warnings.filterwarnings("always", _FAILED)
    warnings.showwarning = handle


def _trim(root: Path) -> None:
    """Remove the least recently used entries, until the rest is small enough."""
    entries = []
    for path in root.rglob("*-cache"):
        with contextlib.suppress(OSError):  # another command may be trimming too
            found = path.stat()
            entries.append((max(found.st_atime, found.st_mtime), found.st_size, path))
    too_much = sum(size for _, size, _ in entries) - MOST_BYTES
    for _, size, path in sorted(entries):
        if too_much <= 0:
            return
        with contextlib.suppress(OSError):
            path.unlink()
        too_much -= size


def _note(why: str) -> None:
    print(
        f"Note: no compilation cache ({why}), so every command compiles anew. "
        f"{SWITCH}=0 stops this note.",
        file=sys.stderr,
    )
