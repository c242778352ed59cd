"""A streamed run in a process of its own: `python -m tests.streamed REQUEST.json`."""

import json
from pathlib import Path

import typer

from gtx_bayes.cli.streaming import Processes, stream
from gtx_bayes.cli.terminal import command


@command
def main(path: str) -> None:
    """Run what the file says."""
    given = json.loads(Path(path).read_text())
    from gtx_bayes.streaming.aggregate import Request

    request = given["request"] | {name: Path(given["request"][name]) for name in ("labels", "gold")}
    stream(
        Request(**request),
        Path(given["output"]),
        Path(given["work"]),
        Processes(*given.get("processes", (None, None, None))),
        resume=given["resume"],
    )


if __name__ == "__main__":
    typer.run(main)
