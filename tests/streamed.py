"""A streamed run in a process of its own: `python -m tests.streamed REQUEST.json`."""

import json
from pathlib import Path

import typer

from gtx_bayes.cli.streaming import StreamOptions, stream
from gtx_bayes.cli.terminal import command


@command
def main(path: str) -> None:
    """Run what the file says."""
    given = json.loads(Path(path).read_text())
    from gtx_bayes.streaming.request import Request

    request = given["request"] | {name: Path(given["request"][name]) for name in ("labels", "gold")}
    stream(
        Request(**request),
        Path(given["output"]),
        StreamOptions(
            work=Path(given["work"]), resume=given["resume"], cluster=given.get("cluster")
        ),
    )


if __name__ == "__main__":
    typer.run(main)
