"""`gtx-bayes aggregate` for tables larger than memory: part by part, by threads or a cluster."""

import contextlib
import dataclasses
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gtx_bayes.cli.terminal import in_options, print_notes, stages
from gtx_bayes.errors import InputError, split_warnings

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from gtx_bayes.streaming.aggregate import Outcome
    from gtx_bayes.streaming.request import Request

MANY_ROWS = 5_000_000
"""Parquet files of more rows are streamed unless asked for otherwise."""

MANY_BYTES = 10**9
"""Other files of more bytes are streamed as well."""

_PACKED = {".gz": 8, ".zst": 8}  # how many bytes there are to one, about


@dataclasses.dataclass(frozen=True)
class StreamOptions:
    """Whether to go through a table part by part, and where."""

    stream: Annotated[
        bool | None,
        typer.Option(
            "--stream/--in-memory",
            help="Whether to go through LABELS part by part, its size bounded by the disk and not "
            f"by memory. [default: for a folder, and for Parquet of more than {MANY_ROWS:,} rows]",
        ),
    ] = None
    work: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Where a streamed run keeps its work until it is done. [default: OUTPUT.work]",
        ),
    ] = None
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on where a streamed run with the same options stopped."),
    ] = False

    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS|FILE.json|local:N",
            help="Stream on a Dask cluster: its scheduler's address, the file that it wrote, or so "
            "many processes on this machine. All see the work and the output directory.",
        ),
    ] = None

    memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="What the buffers may take while a streamed table is read, such as 500MB. "
            "[default: 2GB]",
        ),
    ] = None

    intervals: Annotated[
        bool,
        typer.Option(
            "--intervals",
            help="Intervals of confidences in a streamed run too, by 64 passes more.",
        ),
    ] = False

    pool: Annotated[
        bool | None,
        typer.Option(
            "--pool/--one-model",
            help="Fit every model of the pool that weighs anything to a streamed table, or the "
            "heaviest alone. [default: the pool up to 30,000,000 answers]",
        ),
    ] = None

    def is_wanted(self, labels: Path) -> bool:
        """Whether to stream the table; raises `InputError` for what cannot be streamed."""
        has_options = self.work is not None or self.resume
        has_options = has_options or self.cluster is not None or self.memory is not None
        if self.stream is False and has_options:
            raise InputError(
                "--work, --resume, --memory and --cluster are for streaming.",
                where="--in-memory",
                hint="Leave one or the other out.",
            )
        if self.stream is not None or has_options:
            return self.stream or has_options
        return _must_be(labels)


def _must_be(labels: Path) -> bool:
    """Whether a table is streamed unless told otherwise: a large one, or of several files."""
    from gtx_bayes.io.contents import files_below
    from gtx_bayes.io.readers import is_parquet

    if labels.is_file() and is_parquet(labels):
        return _num_rows(labels) > MANY_ROWS
    if labels.is_file() or labels.is_dir():
        files = files_below(labels) if labels.is_dir() else [labels]
        num_bytes = sum(_PACKED.get(each.suffix, 1) * each.stat().st_size for each in files)
        return num_bytes > MANY_BYTES or (labels.is_dir() and any(map(is_parquet, files)))
    return any(sign in str(labels) for sign in "*?[") or ":/" in str(labels)


def stream(
    request: "Request",
    output: Path,
    options: StreamOptions,
    *,
    devices: Literal["all"] | int = "all",
    state: Path | None = None,
    plots: bool = False,
) -> dict[str, Any]:
    """Aggregate a table part by part into a directory of results.

    Args:
        request: what is to be computed.
        output: the directory.
        options: where to keep the work, whether it resumes, and who does it.
        devices: all that each process has, or how many.
        state: file to keep the fit in, which must not exist.
        plots: whether to draw plots.

    Returns:
        The summary.
    """
    start = time.perf_counter()
    from gtx_bayes.io.writers import refuse_inputs

    request.check()
    if state is not None and state.exists():
        raise InputError(
            f"{state} exists, and a state learns from further answers in memory alone.",
            where="--state",
            hint="Name another file; or give the further answers alone, and say --in-memory.",
        )
    target = output.expanduser().resolve()
    place = options.work or target.with_name(f"{target.name}.work")
    place = place.expanduser().resolve()
    refuse_inputs(place, request.inputs)
    if place.is_relative_to(target) or target.is_relative_to(place):
        raise InputError(
            "work and results cannot lie in each other.",
            where="--work",
            hint="Name a directory elsewhere.",
        )
    with _stdout_kept_clean():
        try:
            return _stream(request, output, place, options, devices, state, plots, start)
        except BaseException as error:
            raise _with_work_kept(error, place) from error


def _stream(
    request: "Request",
    output: Path,
    place: Path,
    options: StreamOptions,
    devices: Literal["all"] | int,
    state: Path | None,
    plots: bool,
    start: float,
) -> dict[str, Any]:
    from gtx_bayes.cli.aggregate import COMMAND, RESULT_FILES
    from gtx_bayes.io.writers import OutputDirectory, OutputFile, write_csv, write_summary
    from gtx_bayes.streaming.aggregate import LABELERS, aggregate_table
    from gtx_bayes.streaming.results import EXAMPLES, open_confidence
    from gtx_bayes.streaming.work import WorkDirectory

    num_devices = None if devices == "all" else devices
    if num_devices is not None and options.cluster is None:
        import jax

        from gtx_bayes.devices import first_devices

        first_devices(jax.local_devices(), num_devices)
    directory = OutputDirectory(output, COMMAND, RESULT_FILES, request.inputs)
    kept = None
    if state is not None:
        kept = OutputFile(state, request.inputs, tells_itself=True)
    work = WorkDirectory.begun(place, request.identity(), resume=options.resume)
    with _executor(options.cluster) as (executor, notes), stages(is_shown=True) as callback:
        print_notes(notes)
        # Left in turn: the directory takes its place first, the state last of all.
        with contextlib.ExitStack() as files, directory:
            found = aggregate_table(
                request,
                work,
                directory.path / EXAMPLES,
                executor=executor,
                num_devices=num_devices,
                memory=options.memory,
                callback=callback,
                keeps_examples=kept is not None,
            )
            if kept is not None and found.result is not None:
                from gtx_bayes.aggregation.state import write_state

                write_state(found.result, files.enter_context(kept.written()))
            write_csv(found.labelers, directory.path / LABELERS)
            if found.blocs is not None:
                write_csv(found.blocs, directory.path / "blocs.csv")
            if found.confusion is not None:
                write_csv(found.confusion, directory.path / "confusion.csv")
            if plots:
                from gtx_bayes.diagnostics.plots import save_plots

                save_plots(
                    directory.path,
                    confidence=open_confidence(directory.path / EXAMPLES),
                    labelers=found.labelers,
                    confusion=found.confusion,
                    num_classes=found.table.num_classes,
                )
            seconds = time.perf_counter() - start
            summary = _summary(request, found, COMMAND, seconds)
            if state is not None:
                summary["state"] = str(state)
            write_summary(summary, directory.path)
    if not work.clear():
        print_notes([f"{place}: what is there now was not written here, and stays."])
    return summary


@contextlib.contextmanager
def _executor(cluster: str | None) -> Iterator[tuple["Executor | None", list[str]]]:
    """The executor of a cluster, and what is to be said of it; none without a cluster."""
    if cluster is None:
        yield None, []
        return
    from gtx_bayes.streaming.executor import dask_cluster

    with dask_cluster(cluster) as found:
        yield found


def _with_work_kept(error: BaseException, place: Path) -> BaseException:
    """The error; of a full disk and of a wish to stop also what becomes of the work."""
    from gtx_bayes.scratch import lacks_room

    go_on = "no result was written, and the work is kept: go on with --resume"
    code = lacks_room(error)
    if code is not None:
        return OSError(code, f"{os.strerror(code)}; {go_on} when there is room", str(place))
    if isinstance(error, KeyboardInterrupt) and not error.args:
        error.args = (go_on,)
    return error


def _summary(request: "Request", found: "Outcome", command: str, seconds: float) -> dict[str, Any]:
    """The keys of every summary.json of results, and some of streaming."""
    import numpy as np

    from gtx_bayes.cli.aggregate import SIZES, classes_record, dependence_record, values_of

    joint, given = found.fit.joint, found.fit.class_prior
    prior = None if given is None else np.asarray(given)
    return {
        "command": command,
        "method": request.configured.name,
        "model": found.fit.model,
        **values_of(found.table, *SIZES),
        "num_abstained": found.num_abstained,
        "num_gold": found.table.num_gold,
        **classes_record(found.class_names, prior),
        "dependence": None if joint is None else dependence_record(joint.dependence),
        "num_blocs": 0 if found.blocs is None else int(found.blocs["bloc"].nunique()),
        "pool": None if joint is None else joint.table().to_dict("records"),
        "labeler_interval": found.fit.labeler_accuracy.interval,
        "mean_confidence": found.mean_confidence,
        "seconds": round(seconds, 3),
        "seconds_by_stage": found.seconds,
        "num_passes": found.num_passes,
        "num_parts": found.table.num_parts,
        "num_workers": found.num_workers,
        "peak_memory_bytes": peak_memory(),
        **split_warnings(in_options(note) for note in found.notes),
    }


def peak_memory() -> int | None:
    """The most memory that this process had, where the system tells."""
    with contextlib.suppress(OSError):  # Linux; `getrusage` counts what started the process too
        peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        return None if peak is None else int(peak[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _num_rows(labels: Path) -> int:
    """Rows of a Parquet file; 0 for one that cannot be read, which the reader says more of."""
    import pyarrow.parquet as pq

    from gtx_bayes.io.readers import UNREADABLE_PARQUET

    try:
        return int(pq.read_metadata(labels).num_rows)
    except UNREADABLE_PARQUET:
        return 0


@contextlib.contextmanager
def _stdout_kept_clean() -> Iterator[None]:
    """Send to stderr what libraries print: stdout is for results."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
