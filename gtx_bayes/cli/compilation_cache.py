"""JAX's compilation cache, turned on for the command line.

For the command line alone: a library that changed settings of JAX would change them for everybody
else in the process. JAX reads its settings from the environment when it is imported, which is after
this.
"""

import atexit
import contextlib
import os
import platform
import re
import sys
import warnings
import zlib
from pathlib import Path

DIRECTORY = "JAX_COMPILATION_CACHE_DIR"

MOST_BYTES = 256 * 2**20
"""What the cache may take. JAX's own limit of size needs a further package, and locks the directory
for every read."""

QUICK = "JAX_DISABLE_MOST_OPTIMIZATIONS"

FEW_ANSWERS = 20_000
"""Up to here, programs run for less time than LLVM's passes over them take."""

_SWITCH = "JAX_ENABLE_COMPILATION_CACHE"
_OFF = ("0", "f", "false", "n", "no", "off")  # as JAX reads it

_FAILED = r"Error (reading|writing) persistent compilation cache entry for '([\w.<>-]+)'"


def turn_on() -> None:
    """Cache what is compiled from now on, unless the user has set it otherwise.

    What is cached is run: where there is no directory that the user alone can write, nothing is.
    """
    # Functions of any compile time and size: a command has many small ones.
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
    if DIRECTORY in os.environ or os.environ.get(_SWITCH, "").lower() in _OFF:
        return
    with contextlib.suppress(OSError, RuntimeError):
        root = _caches() / "gtx_bayes" / "programs"
        directory = root / _processor()
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = directory.stat()
        is_own = not hasattr(os, "getuid") or found.st_uid == os.getuid()
        if is_own and not found.st_mode & 0o022:
            os.environ[DIRECTORY] = str(directory)
            _remove_what_fails(directory)
            atexit.register(_trim, root)


def compile_quickly(num_labels: int) -> None:
    """Leave LLVM's passes out from now on where answers are few, unless the user says otherwise.

    Results are equal but for rounding. Not for what draws many samples, which runs for long.
    """
    import jax

    if num_labels <= FEW_ANSWERS and QUICK not in os.environ:
        jax.config.update("jax_disable_most_optimizations", True)


def _caches() -> Path:
    """The user's cache directory, by the XDG base directory specification."""
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return named if named.is_absolute() else Path.home() / ".cache"


def _processor() -> str:
    """A name for this kind of processor: code compiled for another may not run on it."""
    can_do = b""
    with contextlib.suppress(OSError, StopIteration), Path("/proc/cpuinfo").open("rb") as file:
        # Of the first core alone, as x86 and Arm call it; its speed changes all the time.
        can_do = next(line for line in file if line[:5] in (b"flags", b"Featu"))
    return f"{platform.machine()}-{zlib.crc32(can_do.rstrip(b'\n')):08x}"


def _remove_what_fails(directory: Path) -> None:
    """Remove the entries that JAX warns of, which it would not replace, in place of the warning.

    An entry may be cut short by a kill or a full disk.
    """
    show = warnings.showwarning

    def handle(message: Warning | str, *where: object, **more: object) -> None:
        failed = re.match(_FAILED, str(message))
        if failed is None:
            show(message, *where, **more)  # type: ignore[arg-type]
            return
        for path in directory.glob(f"{failed[2]}-*"):
            with contextlib.suppress(OSError):
                path.unlink()

    warnings.filterwarnings("always", _FAILED)
    warnings.showwarning = handle


def _trim(root: Path) -> None:
    """Remove the least recently used entries, until the rest is small enough."""
    if "jax" not in sys.modules:  # nothing was compiled
        return
    entries = []
    for path in root.rglob("*-cache"):
        with contextlib.suppress(OSError):  # another command may be trimming too
            found = path.stat()
            entries.append((max(found.st_atime, found.st_mtime), found.st_size, path))
    too_much = sum(size for _, size, _ in entries) - MOST_BYTES
    for _, size, path in sorted(entries):
        if too_much > 0:
            with contextlib.suppress(OSError):
                path.unlink()
            too_much -= size
