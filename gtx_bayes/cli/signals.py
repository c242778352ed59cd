"""Ending when asked to: SIGINT, SIGTERM and SIGHUP, with one line and nothing half-written."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

from gtx_bayes.scratch import STOPPING, remove_open, undisturbed

_PATIENCE = 3.0  # seconds until a signal is answered
_TIDYING = 5.0  # and then until all is in order: those who stop programs kill them after ten


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
    """Let the first signal raise `Stopped` in the block; end the program if that does not end it.

    Python answers a signal between two of its own steps: not while compiled code is at work, maybe
    for minutes, and not from a callback of its collector, where exceptions are printed and
    forgotten. Then a thread waits a little, cleans up and ends the program.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    requests, woken = os.pipe()
    os.set_blocking(woken, False)
    ended, show_ignored, is_stopping = threading.Event(), sys.unraisablehook, False

    def stop(number: int, _: FrameType | None) -> None:
        nonlocal is_stopping
        if not is_stopping:  # keys are pressed twice, and terminals pass on what they get
            is_stopping = True
            raise Stopped(number)

    def show_others(ignored: Any) -> None:
        if not isinstance(ignored.exc_value, Stopped):
            show_ignored(ignored)

    def watch() -> None:
        while byte := os.read(requests, 1):
            # While results take their places the handler is another; they are waited for.
            if byte[0] in _heeded():
                while not ended.wait(_PATIENCE):
                    is_answered = is_stopping and ended.wait(_TIDYING)
                    if signal.getsignal(byte[0]) is stop and not is_answered:
                        _end(byte[0])

    def clean_up() -> None:
        with undisturbed():
            ended.set()
            sys.unraisablehook = show_ignored
            signal.set_wakeup_fd(was_woken)
            os.close(woken)  # the thread reads the end of it, and ends
            watcher.join()
            os.close(requests)
            remove_open()

    sys.unraisablehook = show_others
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
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


def _end(number: int) -> None:
    """Say why, clean up, end."""
    remove_open()
    show_cursor = "\x1b[?25h\n" if sys.stderr.isatty() else ""  # a progress bar hides it
    # Unbuffered: the main thread may be in the midst of printing.
    os.write(2, f"{show_cursor}Error: {message(number)}\n".encode())
    os._exit(exit_code(number))
