"""Ending when asked to: SIGINT, SIGTERM and SIGHUP, with one line and nothing half-written."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

from gtx_bayes.scratch import STOPPING, remove_open, undisturbed

_PATIENCE = 3.0  # seconds: those who stop programs kill them after ten
_ONE_WISH = 1.0  # seconds: keys are pressed twice, and terminals pass on what they get


class Stopped(KeyboardInterrupt):
    """A signal asked the program to end.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__()


def exit_code(number: int) -> int:
    """What shells make of a program that a signal ended."""
    return 128 + number


def message(number: int, more: str = "") -> str:
    """One line on being stopped, and what became of the work."""
    name = signal.Signals(number).name
    return f"interrupted by {name}; {more or 'no result is half-written'}."


def end_at_once() -> None:
    """From now on a signal ends the program on the spot: for when no command is at work."""
    for number in _heeded():
        signal.signal(number, lambda number, _: _end(number))


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Let a signal raise `Stopped` in the block, or end the program where that is not possible.

    Python answers a signal between two of its own steps. While compiled code is at work there is
    no such step, maybe for minutes; then a thread waits a little, cleans up and ends the program.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked, woken = os.pipe()
    os.set_blocking(woken, False)
    ended, last = threading.Event(), [-_ONE_WISH]

    def stop(number: int, _: FrameType | None) -> None:
        if time.monotonic() - last[0] >= _ONE_WISH:
            last[0] = time.monotonic()
            raise Stopped(number)

    def tell_again(ignored: Any) -> None:
        """Where Python can raise nothing, as in a callback of its collector, it asks this hook."""
        if not isinstance(ignored.exc_value, Stopped):
            tell_ignored(ignored)
            return
        last[0] = -_ONE_WISH
        again = threading.Timer(0.01, os.kill, (os.getpid(), ignored.exc_value.number))
        again.daemon = True
        again.start()

    def clean_up() -> None:
        with undisturbed():
            ended.set()
            sys.unraisablehook = tell_ignored
            signal.set_wakeup_fd(was_woken)
            os.close(woken)  # the thread reads the end of it, and ends
            watch.join()
            os.close(asked)
            remove_open()

    tell_ignored, sys.unraisablehook = sys.unraisablehook, tell_again
    watch = threading.Thread(target=_watch, args=(asked, stop, last, ended), daemon=True)
    watch.start()
    was_woken = signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    with contextlib.ExitStack() as stack:
        for number in _heeded():
            stack.callback(signal.signal, number, signal.getsignal(number))
        stack.callback(clean_up)
        for number in _heeded():
            signal.signal(number, stop)
        yield


def _heeded() -> list[int]:
    """The signals that are not ignored, as SIGHUP is under nohup."""
    return [number for number in STOPPING if signal.getsignal(number) != signal.SIG_IGN]


def _watch(asked: int, stop: object, last: list[float], ended: threading.Event) -> None:
    """See to it that a signal ends the block, whatever the main thread is at."""
    while byte := os.read(asked, 1):
        number, came = byte[0], time.monotonic()
        if number not in _heeded():
            continue
        while not ended.wait(0.02):
            is_held = signal.getsignal(number) is not stop  # results are taking their places
            is_answered = last[0] >= came - _ONE_WISH
            since = time.monotonic() - (last[0] if is_answered else came)
            if is_held or since < _PATIENCE:
                continue
            if not is_answered:
                _end(number)
            os.kill(os.getpid(), number)  # somebody caught the answer
            break


def _end(number: int) -> None:
    """Say why, clean up, end."""
    remove_open()
    show_cursor = "\x1b[?25h\n" if sys.stderr.isatty() else ""  # a progress bar hides it
    # Unbuffered: the main thread may be in the midst of printing.
    os.write(2, f"{show_cursor}Error: {message(number)}\n".encode())
    os._exit(exit_code(number))
