"""Compiled programs kept from one command to the next, by `programs` and by JAX's own cache.

The program's alone: a library that changed settings of JAX would change them for everybody else in
the process. JAX reads its settings from the environment when it is imported, which is after this.
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

from gtx_bayes import program_store
from gtx_bayes.program_store import SUFFIX, Store

DIRECTORY = "JAX_COMPILATION_CACHE_DIR"
SWITCH = "JAX_ENABLE_COMPILATION_CACHE"

MOST_BYTES = 256 * 2**20
"""What all kept programs may take; those not used for longest go first."""

_KEEP_ALL = {  # programs of any compile time and size: a command has many small ones
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}
_CAPABILITIES = (b"flags", b"Featu")  # as x86 and Arm call them
_FAILED = (
    r"Error (?P<what>reading|writing) persistent compilation cache entry for "
    r"'(?P<program>[\w.<>-]+)': (?P<why>(?s:.*))"
)


@contextlib.contextmanager
def compiled_programs_kept() -> Iterator[None]:
    """Keep what is compiled inside, and use what was kept, where the user has not said otherwise.

    A directory named by the user (`DIRECTORY`) is the user's: nothing is ever removed from it.
    Without one programs are kept in the user's cache directory. If that cannot be, the command
    goes on without, and a note says so at the end.
    """
    for name, value in _KEEP_ALL.items():
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
            _mend_failures(directory, failures)
            program_store.keep_in(Store(directory, failures))
        try:
            yield
        finally:  # commands end by SystemExit
            program_store.keep_in(None)
            was_used = "jax" in sys.modules
            if was_used and failures:
                _note(failures[0])
            elif was_used:
                _trim(root)


def _is_off(switch: str) -> bool:
    return switch.lower() in ("0", "f", "false", "n", "no", "off")


def _root() -> Path:
    """Where programs are kept, by the XDG base directory specification."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    caches = Path(home) if Path(home).is_absolute() else Path.home() / ".cache"
    return caches / "gtx_bayes" / "programs"


def _this_machine() -> str:
    """A name for this kind of processor: programs of another may not run on it."""
    kind = platform.machine()
    with contextlib.suppress(OSError), Path("/proc/cpuinfo").open("rb") as file:
        # What the first core can do. Its speed, two lines on, changes all the time.
        can_do = [line for line in file.read(8192).splitlines() if line[:5] in _CAPABILITIES]
        kind = f"{kind}-{zlib.crc32(b''.join(can_do[:1])):08x}"
    return kind


def _own_directory(directory: Path) -> Path:
    """The directory, made if need be; kept programs are run, so it must be nobody else's.

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


def _mend_failures(directory: Path, failures: list[str]) -> None:
    """Take JAX's warnings of kept programs that cannot be read or written, and remove those.

    A program cut short, by a kill or a full disk, would otherwise never be replaced. One that
    cannot be read is compiled, and then kept anew. Reasons not to write are put into `failures`.
    """
    show = warnings.showwarning

    def attend(message: Warning | str, *where: object, **more: object) -> None:
        failed = re.match(_FAILED, str(message))
        if failed is None:
            show(message, *where, **more)  # type: ignore[arg-type]
            return
        for path in directory.glob(f"{failed['program']}-*"):
            with contextlib.suppress(OSError):
                path.unlink()
        if failed["what"] == "writing":
            failures.append(failed["why"])

    warnings.filterwarnings("always", _FAILED)
    warnings.showwarning = attend


def _trim(root: Path) -> None:
    """Remove the programs not used for longest, until the rest is small enough."""
    kept = []
    for path in root.rglob(f"*{SUFFIX}"):
        with contextlib.suppress(OSError):  # another command may be trimming too
            found = path.stat()
            kept.append((max(found.st_atime, found.st_mtime), found.st_size, path))
    too_much = sum(size for _, size, _ in kept) - MOST_BYTES
    for _, size, path in sorted(kept):
        if too_much <= 0:
            return
        with contextlib.suppress(OSError):
            path.unlink()
        too_much -= size


def _note(why: str) -> None:
    print(
        f"Note: compiled programs are not kept ({why}), so every command compiles them anew. "
        f"{SWITCH}=0 stops this note.",
        file=sys.stderr,
    )
