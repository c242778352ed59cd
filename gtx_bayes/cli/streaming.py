"""`gtx-bayes aggregate` for tables larger than memory: part by part, by one process or many."""

import contextlib
import dataclasses
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from gtx_bayes.cli.terminal import in_options, print_notes, report, stages
from gtx_bayes.errors import InputError, LostProcessError, told_apart

if TYPE_CHECKING:
    from gtx_bayes.streaming.aggregate import Outcome, Request
    from gtx_bayes.streaming.team import AbstractTeam

MANY_ROWS = 5_000_000
"""Parquet files of more rows are streamed unless asked for otherwise."""

_GRACE_SECONDS = 2.0


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

    def is_wanted(self, labels: Path, processes: "Processes") -> bool:
        """Whether to stream the table; raises `InputError` for what cannot be streamed."""
        from gtx_bayes.io.readers import is_streamable

        can_be = is_streamable(labels)
        has_options = self.work is not None or self.resume or processes.coordinator is not None
        if (self.stream or has_options) and not can_be:
            raise InputError(
                "only Parquet is streamed.",
                where=str(labels),
                hint="Write the table as Parquet: a file, or a folder of files.",
            )
        if self.stream is False and has_options:
            raise InputError(
                "--work, --resume and --coordinator are for streaming.",
                where="--in-memory",
                hint="Leave one or the other out.",
            )
        if self.stream is not None or has_options or not can_be:
            return self.stream or has_options
        return labels.is_dir() or _num_rows(labels) > MANY_ROWS


@dataclasses.dataclass(frozen=True)
class Processes:
    """The processes of a run as the user names them.

    Attributes:
        coordinator: address of the first; "auto" to ask the cluster; None for one process.
        num_processes: how many there are.
        process_id: number of this one.
    """

    coordinator: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT|auto",
            envvar="GTX_BAYES_COORDINATOR",
            help="Stream with several processes: address of the first, the same for all; auto "
            "under Slurm or Open MPI.",
        ),
    ] = None
    num_processes: Annotated[
        int | None,
        typer.Option(min=1, envvar="GTX_BAYES_NUM_PROCESSES", help="How many processes."),
    ] = None
    process_id: Annotated[
        int | None,
        typer.Option(min=0, envvar="GTX_BAYES_PROCESS_ID", help="Number of this process, from 0."),
    ] = None

    def check(self) -> None:
        """Raise `InputError` unless all or none is named."""
        numbers = (self.num_processes, self.process_id)
        is_asked = self.coordinator in (None, "auto")
        if any((number is None) != is_asked for number in numbers):
            raise InputError(
                "the processes are told by half.",
                where="--coordinator",
                hint="Give --coordinator HOST:PORT with --num-processes and --process-id, or "
                "--coordinator auto without.",
            )
        if not is_asked and (self.process_id or 0) >= (self.num_processes or 1):
            raise InputError(
                f"there is no process {self.process_id} of {self.num_processes}.",
                where="--process-id",
                hint="Number the processes from 0.",
            )

    def join(self) -> "AbstractTeam":
        """Those who work together, once all have come."""
        from gtx_bayes.streaming.team import Alone, Together

        if self.coordinator is None:
            return Alone()
        address = None if self.coordinator == "auto" else self.coordinator
        return Together.joined(address, self.num_processes, self.process_id)


def stream(
    request: "Request",
    output: Path,
    work: Path | None,
    processes: Processes,
    *,
    resume: bool,
    devices: Literal["all"] | int = "all",
) -> dict[str, Any] | None:
    """Aggregate a table part by part into a directory of results.

    Args:
        request: what is to be computed.
        output: the directory.
        work: where to keep the work; beside `output` when absent.
        processes: who takes part.
        resume: whether to go on where an earlier run stopped.
        devices: all that each process has, or how many.

    Returns:
        The summary; None in all processes but the first.
    """
    start = time.perf_counter()
    from gtx_bayes.io.writers import refuse_inputs

    request.check()
    processes.check()
    target = output.expanduser().resolve()
    place = (work or target.with_name(f"{target.name}.work")).expanduser().resolve()
    refuse_inputs(place, (request.labels, request.gold, request.labeler_covariates))
    if place.is_relative_to(target) or target.is_relative_to(place):
        raise InputError(
            "work and results cannot lie in each other.",
            where="--work",
            hint="Name a directory elsewhere.",
        )
    with _stdout_kept_clean():
        team = processes.join()
        try:
            summary = _stream(
                request, output, place, team, resume=resume, devices=devices, start=start
            )
        except BaseException as error:
            said = _with_work_kept(error, place)
            if team.rank > 0 or isinstance(error, LostProcessError):
                _end_at_once(said)
            raise said from error
        if team.rank > 0:
            _end_at_once(None)
        return summary


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


def _end_at_once(error: BaseException | None) -> NoReturn:
    """End this process, and say why if there is something to say.

    JAX's own end takes leave of the first process, and aborts if that has gone before. The first
    one may not have heard the end of the last exchange yet.
    """
    code = 0 if error is None else report(error)
    sys.stdout.flush()
    sys.stderr.flush()
    time.sleep(_GRACE_SECONDS)
    os._exit(code)


def _stream(
    request: "Request",
    output: Path,
    place: Path,
    team: "AbstractTeam",
    *,
    resume: bool,
    devices: Literal["all"] | int,
    start: float,
) -> dict[str, Any] | None:
    import jax

    from gtx_bayes.cli.aggregate import COMMAND, RESULT_FILES
    from gtx_bayes.devices import first_devices
    from gtx_bayes.io.writers import OutputDirectory, write_csv, write_summary
    from gtx_bayes.streaming.aggregate import LABELERS, aggregate_table
    from gtx_bayes.streaming.crew import Crew
    from gtx_bayes.streaming.results import EXAMPLES
    from gtx_bayes.streaming.team import Watch
    from gtx_bayes.streaming.work import WorkDirectory

    is_first = team.rank == 0
    with contextlib.ExitStack() as stack:
        problem = None
        directory = work = None
        own: Sequence[jax.Device] = ()
        try:
            own = jax.local_devices()
            own = own if devices == "all" else first_devices(own, devices)
            if is_first:
                inputs = (request.labels, request.gold, request.labeler_covariates)
                directory = OutputDirectory(output, COMMAND, RESULT_FILES, inputs)
                work = WorkDirectory.begun(place, request.identity(), resume=resume)
        except InputError as error:
            problem = error
        team.meet(problem)
        work = work or WorkDirectory.begun(place, request.identity(), resume=True)
        callback = stack.enter_context(stages(is_shown=is_first))
        stack.enter_context(Watch(team, place))
        if directory is not None:
            stack.enter_context(directory)
        path = Path(team.gather(None if directory is None else str(directory.path))[0])
        crew = Crew(team, own, callback)
        found = aggregate_table(request, work, crew, path / EXAMPLES)
        summary = None
        if is_first:
            write_csv(found.labelers, path / LABELERS)
            seconds = time.perf_counter() - start
            summary = _summary(request, found, COMMAND, team.size, seconds)
            write_summary(summary, path)
    team.meet()  # somebody may still be reading
    if is_first and not work.clear():
        print_notes([f"{place}: what is there now was not written here, and stays."])
    return summary


def _summary(
    request: "Request", found: "Outcome", command: str, num_processes: int, seconds: float
) -> dict[str, Any]:
    """The keys of every summary.json of results, and some of streaming."""
    from gtx_bayes.cli.aggregate import SIZES, classes_record, dependence_record, values_of

    return {
        "command": command,
        "method": request.configured.name,
        "model": found.model,
        **values_of(found.table, *SIZES),
        "num_abstained": found.num_abstained,
        "num_gold": found.table.num_gold,
        **classes_record(found.class_names, found.class_prior),
        "dependence": None if found.dependence is None else dependence_record(found.dependence),
        "labeler_interval": found.interval,
        "mean_confidence": found.mean_confidence,
        "seconds": round(seconds, 3),
        "seconds_by_stage": found.seconds,
        "num_passes": found.num_passes,
        "num_parts": found.table.num_parts,
        "num_processes": num_processes,
        "peak_memory_bytes": _peak_memory(),
        **told_apart(in_options(note) for note in found.notes),
    }


def _peak_memory() -> int | None:
    """The most memory that this process had, where the system tells."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _num_rows(labels: Path) -> int:
    """Rows of a Parquet file; 0 for one that cannot be read, which the reader says more of."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return int(pq.read_metadata(labels).num_rows)
    except (pa.ArrowException, OSError):
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
