"""The program `gtx-bayes`: it answers signals before anything else is imported."""

import atexit
import gc
import io
import sys

from gtx_bayes.cli.signals import end_at_once


def main() -> None:
    """Run the program."""
    end_at_once()
    # Imports and tracing make many objects, nearly all of which stay: looking for garbage among
    # them as often as by default takes an eighth of the time that importing JAX takes.
    gc.set_threshold(100_000, 20, 20)
    atexit.register(gc.freeze)  # last of all: nor are they looked through when the program ends
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names may hold what a terminal's code has not
            stream.reconfigure(errors="backslashreplace")
    from gtx_bayes.cli import compilation_cache
    from gtx_bayes.cli.commands import app

    compilation_cache.turn_on()
    app()
