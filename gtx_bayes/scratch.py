"""Where a result is written before it takes its name, and what becomes of it if a run is stopped.

A scratch folder stands beside its target and is called `.<target>.<8 characters>.partial`. It is
locked as long as its process lives, however that ends; the next run to the same target removes
folders whose lock is free. Without locks (Windows, some network disks) such folders stay.

A folder is ours if it holds an empty file named by the folder's own inode: one that came with an
archive or a copy has another. All else of that name is left alone.
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
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from gtx_bayes.errors import InputError
from gtx_bayes.records import files_of, is_as_written

STOPPING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""Signals by which a run is asked to end, as far as the system has them."""

_NEW, _WHOLE, _OLD, _GONE = "new", "whole", "old", "gone"  # all that such a folder may hold, and
_MARK = ".mark"  # ... an empty file that is called by the folder's inode and this
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)

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
        OSError: with the target and the hint, if the disk is full, whoever noticed it and however.
    """
    made: list[Scratch] = []
    try:
        try:
            with undisturbed():
                made.append(_make(target))
        except OSError as error:
            if lacks_room(error) is None:
                raise no_writing(target.parent, error) from error
            raise
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


def swap(scratch: Scratch, target: Path, check: Callable[[Path], None]) -> None:
    """Put the new directory in the place of the old one, if there is one.

    It is kept beside it where `check` raises `InputError`: for what must not be replaced.
    """
    with undisturbed(), kept_beside(scratch.new, target):
        old = scratch.folder / _OLD
        if target.exists():
            check(target)
            _copy_modes(target, scratch.new)
            target.rename(old)
        try:
            if old.exists():
                check(old)  # what came in between
            scratch.new.rename(target)
        except BaseException as error:
            if old.exists():
                old.rename(target)
            if isinstance(error, OSError) and error.errno in _TAKEN:
                raise InputError("there is something else.", where=str(target)) from error
            raise
        if old.exists():
            old.rename(scratch.folder / _GONE)


def hand_over(scratch: Scratch, directory: Path, name: str, check: Callable[[], None]) -> None:
    """Move new files into the directory; the JSON file of this name, which is signed, comes last.

    They are kept beside it, in a folder, where `check` raises `InputError`.
    """
    with undisturbed(), kept_beside(scratch.new, directory / Path(name).stem):
        check()
        scratch.new.rename(scratch.folder / _WHOLE)
        try:
            _move_all(scratch.folder, directory, name)
        except InputError:
            (scratch.folder / _WHOLE).rename(scratch.new)
            raise


@contextlib.contextmanager
def kept_beside(new: Path, target: Path) -> Iterator[None]:
    """Keep what is new beside its place where the block raises `InputError`, and say where."""
    try:
        yield
    except InputError as error:
        stem, ending = (target.name, "") if new.is_dir() else (target.stem, target.suffix)
        names = (f"{stem}.new{number or ''}{ending}" for number in range(10**6))
        place = next(p for p in map(target.with_name, names) if not os.path.lexists(p))
        new.rename(place)
        raise InputError(
            f"{error.what} It came there meanwhile and stays; the new result is in '{place}'.",
            where=error.where,
            hint=error.hint,
        ) from error


def recover(target: Path) -> None:
    """Mend what a run that was killed left of the target, and remove its scratch folder.

    An old directory that was about to be replaced is put back; files that had begun to take their
    places go on to do so, unless something came to stand there that neither the old result nor the
    new one knows. Then, and where both an old and a new directory are there, the folder stays.
    """
    with contextlib.suppress(OSError), undisturbed():
        beside = target.parent.iterdir() if target.parent.is_dir() else ()
        for folder in [path for path in beside if is_left_over(path, target.name)]:
            lock = locked(folder)
            if lock is None:
                continue
            _open[folder] = Scratch(folder, lock, ())
            new, old = folder / _NEW, folder / _OLD
            if (folder / _WHOLE).exists():
                try:
                    _move_all(folder, target.parent, target.name)
                except InputError:
                    _release(_open.pop(folder))
                    continue
            elif old.exists() and not new.exists():
                old.rename(folder / _GONE)  # the new one has taken its place
            elif old.exists() and not target.exists():
                old.rename(target)
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
        f"cannot write there: {reason}.", where=str(path), hint="Name a directory you may write to."
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
        _open[folder] = Scratch(folder, locked(folder), parents)
        _mark(folder).touch()
        (folder / _NEW).mkdir()
    except BaseException:
        _remove(folder)
        raise
    return _open[folder]


def _mark(folder: Path) -> Path:
    """The file by which we know a folder of ours."""
    return folder / f"{folder.stat().st_ino}{_MARK}"


def _remove(folder: Path) -> None:
    """Remove a scratch folder of this process, unless that was done, or an old result is in it."""
    scratch = _open.pop(folder, None)
    if scratch is None:
        return
    with contextlib.suppress(OSError):
        if not (folder / _OLD).exists():
            for name in (_NEW, _WHOLE, _GONE):
                shutil.rmtree(folder / name, ignore_errors=True)
            _mark(folder).unlink(missing_ok=True)
            folder.rmdir()
    _release(scratch)
    for parent in scratch.parents:
        with contextlib.suppress(OSError):
            parent.rmdir()  # if nothing came to stand there


def _release(scratch: Scratch) -> None:
    if scratch.lock is not None:
        os.close(scratch.lock)


def _move_all(folder: Path, directory: Path, name: str) -> None:
    """Move files into their places, and out of them what is there of an earlier result.

    Raises:
        InputError: if something else is there; nothing was moved then.
    """
    whole, old, record = folder / _WHOLE, folder / _OLD, directory / name
    if (whole / name).exists():  # it goes last
        known = [files_of(path) for path in (whole / name, record, old / name)]
        others = sorted(path.name for path in whole.iterdir() if path.name != name)
        for one in (name, *others):
            is_known = any(is_as_written(directory / one, one, files) for files in known)
            if os.path.lexists(directory / one) and not is_known:
                raise InputError("there is something else.", where=str(directory / one))
        old.mkdir(exist_ok=True)
        if record.exists():  # it would speak for files of another run
            shutil.copymode(record, whole / name)
            record.rename(old / name)
        for one in (*others, name):
            if (directory / one).exists():
                shutil.copymode(directory / one, whole / one)
            (whole / one).replace(directory / one)
    if old.exists():
        old.rename(folder / _GONE)


def is_left_over(folder: Path, target: str | None = None) -> bool:
    """Whether this is a scratch folder, of that target or of any, whose run was killed or lives.

    It was made here if it bears the mark, or nothing is in it yet.
    """
    name = ".*" if target is None else re.escape(target)
    is_named = re.fullmatch(rf"\.{name}\.\w{{8}}\.partial", folder.name) is not None
    if not is_named or folder.is_symlink() or not folder.is_dir():
        return False
    return _mark(folder).exists() or next(folder.iterdir(), None) is None


def _copy_modes(source: Path, target: Path) -> None:
    """Give a directory and its files the mode bits of those of the same names elsewhere."""
    shutil.copymode(source, target)
    for file in target.rglob("*"):
        same = source / file.relative_to(target)
        if same.exists():
            shutil.copymode(same, file)


def locked(folder: Path) -> int | None:
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
