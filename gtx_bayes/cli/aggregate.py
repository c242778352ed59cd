"""`gtx-bayes aggregate`: tables in; labels, confidences and labelers out."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gtx_bayes.cli.streaming import (
    CoordinatorOption,
    NumProcessesOption,
    Processes,
    ProcessIdOption,
    ResumeOption,
    StreamOption,
    WorkOption,
    is_streamed,
    stream,
)
from gtx_bayes.cli.tables import (
    AbstainOption,
    BlankChoice,
    BlankOption,
    ClassesOption,
    ClassPriorOption,
    CovariateOption,
    DependenceOption,
    DuplicateChoice,
    DuplicatesOption,
    ExampleTableOption,
    GoldLabelColumnOption,
    GoldOption,
    GoldTaskColumnOption,
    KeepAbstentionsOption,
    LabelColumnOption,
    LabelerTableOption,
    LabelsArgument,
    MethodOption,
    MethodOptionsOption,
    ModelOption,
    ModelSettingsOption,
    TaskColumnOption,
    WorkerColumnOption,
    given,
    method_of,
    parse_abstain,
    parse_options,
    parse_prior,
)
from gtx_bayes.cli.terminal import (
    DebugOption,
    JsonOption,
    SeedOption,
    in_options,
    mesh_of,
    num_devices,
    print_json,
    print_notes,
    print_record,
    reports_errors,
    stage,
)
from gtx_bayes.errors import InputError, told_apart

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from gtx_bayes.aggregation.aggregate import Aggregation
    from gtx_bayes.inference.dependence import Dependence
    from gtx_bayes.io.writers import OutputFile

COMMAND = "gtx-bayes aggregate"
MOST_CONFUSION_ROWS = 2**17
"""Larger tables of confusion matrices are not written: they would take longer than the rest."""

RESULT_FILES = (
    "examples.csv",
    "examples.parquet",
    "labelers.csv",
    "confusion.csv",
    "summary.json",
    "posterior.nc",
    "confidence.png",
    "labelers.png",
    "confusion.png",
)


@reports_errors
def aggregate(
    labels: LabelsArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory to write results to.")],
    gold: GoldOption = None,
    method: MethodOption = "gtx-bayes",
    method_option: MethodOptionsOption = None,
    model: ModelOption = "auto",
    model_option: ModelSettingsOption = None,
    dependence: DependenceOption = "learned",
    class_prior: ClassPriorOption = None,
    classes: ClassesOption = None,
    duplicates: DuplicatesOption = DuplicateChoice.error,
    abstain: AbstainOption = None,
    blank: BlankOption = BlankChoice.error,
    keep_abstentions: KeepAbstentionsOption = False,
    covariate: CovariateOption = None,
    labeler_table: LabelerTableOption = None,
    example_table: ExampleTableOption = None,
    state: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Keep the gtx-bayes fit in this file. Where it exists, continue from it and learn "
            "from what is new in LABELS and GOLD.",
        ),
    ] = None,
    draws: Annotated[
        int,
        typer.Option(min=0, help="Write posterior.nc with 4 chains of this many posterior draws."),
    ] = 0,
    plots: Annotated[bool, typer.Option("--plots", help="Write plots as PNG.")] = False,
    task_column: TaskColumnOption = None,
    worker_column: WorkerColumnOption = None,
    label_column: LabelColumnOption = None,
    gold_task_column: GoldTaskColumnOption = None,
    gold_label_column: GoldLabelColumnOption = None,
    streamed: StreamOption = None,
    work: WorkOption = None,
    resume: ResumeOption = False,
    coordinator: CoordinatorOption = None,
    num_processes: NumProcessesOption = None,
    process_id: ProcessIdOption = None,
    devices: Annotated[
        str | None,
        typer.Option(
            metavar="all|N",
            help="Spread the work over all devices, or over so many. [default: one; all that a "
            "process has for LABELS that are streamed]",
        ),
    ] = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Turn answers into labels with confidence and labelers with accuracies.

    Writes examples.csv, labelers.csv, confusion.csv and summary.json to the output directory,
    which appears whole or not at all and replaces an earlier result. Columns called example or
    item, labeler, rater or annotator, and rating are recognised; others need the column options.
    LABELS that do not fit into memory are streamed: a Parquet file, or a folder of them, gone
    through part by part; the examples are then a folder of Parquet files, examples.parquet.
    """
    start = time.perf_counter()
    from gtx_bayes.io.writers import OutputDirectory, OutputFile, write_summary

    labels = labels.expanduser()
    chosen = method_of(method, method_option)
    processes = Processes(coordinator, num_processes, process_id)
    needs_streaming = work is not None or resume or coordinator is not None
    if is_streamed(labels, streamed, needs_streaming=needs_streaming):
        _refuse_in_memory_options(
            {
                "--state": state,
                "--draws": draws,
                "--plots": plots,
                "--example-table": example_table,
            }
        )
        from gtx_bayes.streaming.aggregate import Request

        request = Request(
            labels=labels,
            gold=gold,
            method=chosen,
            options=parse_options(model, dependence, model_option),
            class_prior=parse_prior(class_prior),
            classes=None if classes is None else classes.split(","),
            duplicates=duplicates.value,
            abstain=parse_abstain(abstain),
            blank=blank.value,
            keep_abstentions=keep_abstentions,
            covariates=covariate or (),
            labeler_covariates=labeler_table,
            columns=given(example=task_column, labeler=worker_column, label=label_column),
            gold_columns=given(example=gold_task_column, label=gold_label_column),
            seed=seed,
        )
        wanted = "all" if devices is None else num_devices(devices)  # of each process
        summary = stream(request, output, work, processes, resume=resume, devices=wanted)
        if summary is not None:
            _tell(summary, output, as_json=as_json)
        return
    inputs = (labels, gold, labeler_table, example_table)
    directory = OutputDirectory(output, COMMAND, RESULT_FILES, inputs)
    state_file = None
    if state is not None:
        state = state.expanduser()
        _check_state(state, directory.target, chosen.name)
        state_file = OutputFile(state, inputs, tells_itself=True)
    wanted_classes = None if classes is None else classes.split(",")
    options, prior = parse_options(model, dependence, model_option), parse_prior(class_prior)
    mesh = mesh_of(devices)
    tables: dict[str, Any] = {
        "duplicates": duplicates.value,
        "abstain": parse_abstain(abstain),
        "blank": blank.value,
        "columns": given(example=task_column, labeler=worker_column, label=label_column),
        "gold_columns": given(example=gold_task_column, label=gold_label_column),
    }
    is_resumed = state is not None and state.exists()
    if state is not None and is_resumed:
        with stage(f"Reading {state}"):
            from gtx_bayes.aggregation.aggregate import configured
            from gtx_bayes.aggregation.state import check_options, read_state

            asked: Any = configured(chosen, **options)
            kept = read_state(state, model=None if asked.model == "auto" else asked.model)
            check_options(
                kept,
                where=str(state),
                classes=wanted_classes,
                class_prior=prior,
                model=asked.model,
                dependence=asked.dependence,
            )
        with stage(f"Learning from what is new in {labels}"):
            if covariate or keep_abstentions:
                _check_kept(kept, covariate or [], keep_abstentions=keep_abstentions)
            result, new = _grow(kept, labels, gold, labeler_table, example_table, tables)
    else:
        with stage(f"Reading {labels}"):
            from gtx_bayes.io.readers import read_crowd

            crowd = read_crowd(
                labels,
                gold,
                classes=wanted_classes,
                keep_abstentions=keep_abstentions,
                covariates=covariate or (),
                labeler_covariates=labeler_table,
                example_covariates=example_table,
                **tables,
            )
        with stage(f"Aggregating {crowd.labels.num_labels} answers by {chosen.name}"):
            from gtx_bayes.aggregation.aggregate import aggregate as apply

            result = apply(crowd, chosen, class_prior=prior, mesh=mesh, **options)
            new = _all_new(result)
    if draws and result.fit.posterior is None:
        raise InputError(
            f"{chosen.name} has no posterior to draw from.",
            where="--draws",
            mend="Leave it out, or use gtx-bayes.",
        )
    # Left in turn: the directory takes its place first, the state last of all.
    with stage(f"Writing {output}"), _state_to_come(result, state_file), directory:
        told = _write(result, directory.path, seed=seed, draws=draws, plots=plots, mesh=mesh)
        summary = summarise(result, COMMAND, seconds=time.perf_counter() - start, more=told)
        if state is not None:
            summary |= {"state": str(state), "resumed": is_resumed, **new}
        write_summary(summary, directory.path)
    _tell(summary, output, as_json=as_json)


def _tell(summary: dict[str, Any], output: Path, *, as_json: bool) -> None:
    """Say what was found."""
    print_notes([*summary["notes"], *summary["warnings"]])
    if as_json:
        print_json({**summary, "output": str(output)})
        return
    print_record(f"{summary['method']} → {output}", _overview(summary))


def _refuse_in_memory_options(given: dict[str, Any]) -> None:
    """Raise `InputError` for what needs the whole table in memory."""
    for name, is_wanted in given.items():
        if is_wanted:
            raise InputError(
                "a streamed table is never in memory as a whole, which this needs.",
                where=name,
                mend="Leave it out, or say --in-memory.",
            )


def _check_state(state: Path, output: Path, method: str) -> None:
    """Raise `InputError` for a state that this command could not keep."""
    from gtx_bayes.aggregation.joint_method import NAME

    if method != NAME:
        raise InputError(
            f"{method} has no state to keep.", where="--state", mend=f"Leave it out, or use {NAME}."
        )
    if state.resolve().is_relative_to(output):
        raise InputError(
            f"{state} lies in the directory of results, which is replaced.",
            where="--state",
            mend="Name a file elsewhere.",
        )


def _check_kept(kept: "Aggregation", covariates: list[str], *, keep_abstentions: bool) -> None:
    """Raise `InputError` for what the state's model does not use."""
    crowd = kept.crowd
    unknown = [name for name in covariates if name not in crowd.labels.covariates]
    where = "--covariate" if unknown else "--keep-abstentions"
    if unknown or (keep_abstentions and not crowd.other_names.size):
        raise InputError(
            "the state was made without.", where=where, mend="Leave it out, or fit all anew."
        )


def _grow(
    kept: "Aggregation",
    labels: Path,
    gold: Path | None,
    labeler_table: Path | None,
    example_table: Path | None,
    tables: dict[str, Any],
) -> tuple["Aggregation", dict[str, int]]:
    """The result with what is new in the tables, and how much that is."""
    from gtx_bayes.aggregation.grow import grow
    from gtx_bayes.columns import TRUTH_ROLES, columns_for
    from gtx_bayes.io.readers import read_covariate_tables, read_labels, read_table

    covariates = list(kept.crowd.labels.covariates)
    wanted = columns_for(TRUTH_ROLES, tables["gold_columns"])
    grown = grow(
        kept,
        read_labels(labels, tables["columns"], covariates),
        None if gold is None else read_table(gold, wanted),
        **tables,
        **read_covariate_tables(labeler_table, example_table),
    )
    new = {name: value for name, value in grown._asdict().items() if name.startswith("num_")}
    return grown.result, new


def _all_new(result: "Aggregation") -> dict[str, int]:
    """How much is new in a fresh fit, in the words of `_grow`."""
    labels = result.crowd.labels
    return {
        "num_new_labels": labels.num_labels,
        "num_new_examples": labels.num_examples,
        "num_new_labelers": labels.num_labelers,
        "num_new_gold": result.crowd.assessment.num_gold,
        "num_recomputed": labels.num_examples,
    }


@contextlib.contextmanager
def _state_to_come(result: "Aggregation", state: "OutputFile | None") -> Iterator[None]:
    """Write the state at once, and let it take its name when the block ends without an error."""
    if state is None:
        yield
        return
    from gtx_bayes.aggregation.state import write_state

    with state.written() as partial:
        write_state(result, partial)
        yield


def _write(
    result: "Aggregation", path: Path, *, seed: int, draws: int, plots: bool, mesh: "Mesh | None"
) -> list[str]:
    """Write all but the summary; what is left out and why."""
    import jax
    import numpy as np

    from gtx_bayes.io.writers import write_csv

    split = jax.jit(lambda seed: tuple(jax.random.split(jax.random.key(seed))))  # all at once
    key_ties, key_draws = split(np.uint32(seed))
    write_csv(result.examples(key_ties, mesh=mesh), path / "examples.csv")
    write_csv(result.labelers(), path / "labelers.csv")
    told = []
    num_cells = result.crowd.labels.num_labelers * result.crowd.labels.num_classes**2
    if num_cells <= MOST_CONFUSION_ROWS:
        write_csv(result.confusion(), path / "confusion.csv")
    else:
        told.append(
            f"confusion.csv is left out: it would have {num_cells:,} rows, more than "
            f"{MOST_CONFUSION_ROWS:,}."
        )
    if draws:
        from gtx_bayes.diagnostics.to_arviz import draw_labelers, write_netcdf

        tree = draw_labelers(key_draws, result, num_draws=draws)
        write_netcdf(tree, path / "posterior.nc")
    if plots:
        from gtx_bayes.diagnostics.plots import save_result_plots

        save_result_plots(result, path)
    return told


def summarise(
    result: "Aggregation", command: str, *, seconds: float, more: Sequence[str] = ()
) -> dict[str, Any]:
    """What a summary.json says of a result, whichever command wrote it."""
    crowd = result.crowd
    confidence, num_abstained = result.open_confidence(), crowd.num_abstained()
    return {
        "command": command,
        "method": result.method,
        "model": result.fit.model,
        "num_examples": crowd.labels.num_examples,
        "num_labelers": crowd.labels.num_labelers,
        "num_classes": crowd.labels.num_classes,
        "num_labels": crowd.labels.num_labels,
        "num_abstained": 0 if num_abstained is None else int(num_abstained.sum()),
        "num_gold": crowd.assessment.num_gold,
        "classes": [str(name) for name in crowd.class_names],
        "class_prior": _class_prior(result),
        "dependence": _dependence(result),
        "labeler_interval": result.fit.labeler_accuracy.interval,
        "mean_confidence": float(confidence.mean()) if confidence.size else None,
        "seconds": round(seconds, 3),
        **told_apart(in_options(note) for note in (*result.notes, *more)),
    }


def _dependence(result: "Aggregation") -> dict[str, Any] | None:
    """Posterior of rho, and how many answers to an example it leaves worth buying."""
    if result.fit.joint is None:
        return None
    return dependence_record(result.fit.joint.dependence)


def dependence_record(found: "Dependence") -> dict[str, Any]:
    """Posterior of rho as a summary has it."""
    from gtx_bayes.inference.dependence import most_useful

    low, high = found.credible_interval()
    return {
        "mean": found.mean,
        "ci_low": low,
        "ci_high": high,
        "most_useful_labels": most_useful(found.mean),
    }


def _class_prior(result: "Aggregation") -> dict[str, float]:
    names = [str(name) for name in result.crowd.class_names]
    if result.class_prior is None:
        return dict.fromkeys(names, 1.0 / len(names))
    return dict(zip(names, result.class_prior.tolist(), strict=True))


def _overview(summary: dict[str, Any]) -> dict[str, object]:
    more = ", ..." if summary["num_classes"] > 6 else ""
    return {
        "examples": f"{summary['num_examples']}, {summary['num_gold']} of them gold",
        "labelers": summary["num_labelers"],
        "answers": summary["num_labels"],
        "classes": ", ".join(summary["classes"][:6]) + more,
        "mean confidence": summary["mean_confidence"],
        "model": summary["model"],
        "seconds": f"{summary['seconds']:.1f}",
    }
