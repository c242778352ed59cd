"""Where a result is written before it takes its name, and what becomes of it if a run is stopped.

A scratch folder stands beside its target and is called `.<target>.<8 characters>.partial`. It is
locked as long as its process lives, however that ends; the next run to the same target removes
folders whose lock is free. Without locks (Windows, some network disks) such folders stay.
"""

import contextlib
import errno
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from gtx_bayes.errors import InputError

STOPPING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""Signals by which a run is asked to end, as far as the system has them."""

_NEW, _WHOLE, _OLD, _GONE = "new", "whole", "old", "gone"  # all that such a folder may hold
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_open: dict[Path, "Scratch"] = {}  # of this process: what a run that must end at once takes along


class Scratch(NamedTuple):
    """A scratch folder.

    Attributes:
        folder: the folder.
        lock: descriptor of the folder, locked; None where there are no locks.
        parents: folders that were made for it, the innermost first.
    """

    folder: Path
    lock: int | None
    parents: tuple[Path, ...]

    @property
    def new(self) -> Path:
        """Where to write."""
        return self.folder / _NEW


@contextlib.contextmanager
def scratch_for(target: Path) -> Iterator[Scratch]:
    """A scratch folder beside the target, removed when the block ends.

    Raises:
        InputError: if there is no writing there.
        OSError: with the target and the mend, if the disk is full, whoever noticed it and however.
    """
    made: list[Scratch] = []
    try:
        try:
            with undisturbed():
                made.append(_make(target))
        except OSError as error:
            if lacks_room(error) is not None:
                raise
            raise no_writing(target.parent, error) from error
        yield made[0]
    except Exception as error:
        code = lacks_room(error)
        if code is None:
            raise
        raise OSError(
            code,
            f"{os.strerror(code)}; nothing was written. Make room, or name a place elsewhere",
            str(target),
        ) from error
    finally:
        with undisturbed():
            for scratch in made:
                _remove(scratch.folder)


def swap(scratch: Scratch, target: Path) -> None:
    """Put the new directory in the place of the old one, if there is one."""
    with undisturbed():
        old = scratch.folder / _OLD
        has_old = target.exists()
        if has_old:
            target.rename(old)
        try:
            scratch.new.rename(target)
        except BaseException:
            if has_old:
                old.rename(target)
            raise


def hand_over(scratch: Scratch, directory: Path) -> None:
    """Move new files into the directory; of those that tell of the others, JSON, last of all."""
    with undisturbed():
        scratch.new.rename(scratch.folder / _WHOLE)
        _move_all(scratch.folder / _WHOLE, directory)


def recover(target: Path) -> None:
    """Mend what a run that was killed left of the target, and remove its scratch folder.

    An old directory that was about to be replaced is put back; files that had begun to take their
    places go on to do so.
    """
    with contextlib.suppress(OSError), undisturbed():
        for folder in _folders(target):
            lock = _lock(folder)
            if lock is None:
                continue
            _open[folder] = Scratch(folder, lock, ())
            if (folder / _OLD).exists() and not target.exists():
                (folder / _OLD).rename(target)
            if (folder / _WHOLE).exists():
                _move_all(folder / _WHOLE, target.parent)
            _remove(folder)


def remove_open() -> None:
    """Remove the scratch folders of this process, which is about to end."""
    for folder in list(_open):
        _remove(folder)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Hold back signals that would stop the run until the block has ended.

    Python answers signals in the main thread alone; other threads need no protection.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []

    def hold(number: int, _: FrameType | None) -> None:
        held.append(number)

    # One that is ignored stays ignored; one with a handler that is not Python's has None.
    before = {number: signal.getsignal(number) for number in STOPPING}
    before = {n: old for n, old in before.items() if old not in (None, signal.SIG_IGN)}
    try:
        for number in before:
            signal.signal(number, hold)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in held[:1]:
            signal.raise_signal(number)


def no_writing(path: Path, error: OSError | RuntimeError) -> InputError:
    """The error that says so."""
    reason = error.strerror if isinstance(error, OSError) else error
    return InputError(
        f"cannot write there: {reason}.",
        where=str(path),
        mend="Name a directory you may write to.",
    )


def _make(target: Path) -> Scratch:
    recover(target)
    parents = tuple(
        parent for parent in (target.parent, *target.parent.parents) if not parent.exists()
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=".partial"))
    _open[folder] = Scratch(folder, None, parents)
    try:
        _open[folder] = Scratch(folder, _lock(folder), parents)
        (folder / _NEW).mkdir()
    except BaseException:
        _remove(folder)
        raise
    return _open[folder]


def _remove(folder: Path) -> None:
    """Remove a scratch folder of this process, unless that was done."""
    scratch = _open.pop(folder, None)
    if scratch is None:
        return
    with contextlib.suppress(OSError):
        (folder / _OLD).rename(folder / _GONE)  # half of it must never be put back
    shutil.rmtree(folder, ignore_errors=True)
    if scratch.lock is not None:
        os.close(scratch.lock)
    for parent in scratch.parents:
        with contextlib.suppress(OSError):
            parent.rmdir()  # if nothing came to stand there


def _move_all(source: Path, directory: Path) -> None:
    names = sorted((path.name for path in source.iterdir()), key=lambda n: n.endswith(".json"))
    for name in names:
        if name.endswith(".json"):
            (directory / name).unlink(missing_ok=True)  # it would speak for files of another run
    for name in names:
        (source / name).replace(directory / name)


def _folders(target: Path) -> list[Path]:
    """Scratch folders of the target, of this process or any."""
    pattern = re.compile(re.escape(f".{target.name}.") + r"\w{8}\.partial")
    if not target.parent.is_dir():
        return []
    named = [path for path in target.parent.iterdir() if pattern.fullmatch(path.name)]
    ours = {_NEW, _WHOLE, _OLD, _GONE}
    return [path for path in named if {entry.name for entry in path.iterdir()} <= ours]


def _lock(folder: Path) -> int | None:
    """The folder, open and locked; None where another process holds it, or there are no locks."""
    if sys.platform == "win32":
        return None
    import fcntl

    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock


def lacks_room(error: BaseException | None) -> int | None:
    """The number of the error that says that the disk is full; None where none says so.

    Libraries hide the system's error behind their own; some keep no more than its words.
    """
    while error is not None:
        for code in _NO_ROOM:
            if getattr(error, "errno", None) == code or os.strerror(code) in str(error):
                return code
        error = error.__cause__ or error.__context__
    return None
