"""`gtx-bayes aggregate`: tables in; labels, confidences and labelers out."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gtx_bayes.cli.compilation_cache import compile_quickly
from gtx_bayes.cli.options import (
    CrowdOptions,
    EvidenceOptions,
    GoldOption,
    JsonOption,
    LabelsArgument,
    LossOption,
    MethodOptions,
    ModelOptions,
    RiskOption,
    SeedOption,
    mesh_of,
    named,
    num_devices,
    output_option,
    parse_risk,
    read_if_given,
)
from gtx_bayes.cli.streaming import StreamOptions, stream
from gtx_bayes.cli.terminal import command, in_options, print_next, print_summary, stage, words_of
from gtx_bayes.errors import InputError, split_warnings

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from gtx_bayes.aggregation.base import AbstractMethod
    from gtx_bayes.aggregation.result import Aggregation
    from gtx_bayes.columns import Table
    from gtx_bayes.crowd import Crowd
    from gtx_bayes.inference.dependence import Dependence
    from gtx_bayes.io.writers import OutputFile

COMMAND = "gtx-bayes aggregate"
RESULT_FILES = (
    "examples.csv",
    "examples.parquet",
    "labelers.csv",
    "confusion.csv",
    "parameters.csv",
    "blocs.csv",
    "over_time.csv",
    "summary.json",
    "posterior.nc",
    "confidence.png",
    "labelers.png",
    "confusion.png",
    "over_time.png",
)


SIZES = ("num_examples", "num_labelers", "num_classes", "num_labels")


@command
def aggregate(
    *,
    labels: LabelsArgument,
    output: Annotated[Path, output_option("Directory to write results to.")],
    gold: GoldOption = None,
    methods: MethodOptions,
    models: ModelOptions,
    tables: CrowdOptions,
    evidence: EvidenceOptions,
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
    loss: LossOption = None,
    risk: RiskOption = None,
    streaming: StreamOptions,
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
) -> None:
    """Turn answers into labels with confidence and labelers with accuracies.

    Writes examples.csv, labelers.csv, confusion.csv and summary.json to the output directory,
    which appears whole or not at all and replaces an earlier result. Columns called example or
    item, labeler, rater or annotator, and rating are recognised; others need the column options.
    LABELS that do not fit into memory are streamed: a file, a folder, a pattern of names or an
    address, gone through part by part; the examples are then a folder of Parquet files,
    examples.parquet.
    """
    start = time.perf_counter()
    from gtx_bayes.io.writers import OutputDirectory, OutputFile, write_summary

    method = methods.build()
    targets = parse_risk(risk)
    if streaming.is_wanted(labels[0].expanduser()):
        for name, wanted in {
            "LABELS": labels[1:],
            **{f"--{name.replace('_', '-')}": True for name in tables.reading()},
            "--draws": draws,
            "--example-table": tables.example_table,
            "--opinion": evidence.opinion,
            "--history": evidence.history,
            "--gold-header": tables.gold_header is not None,
            "--loss": loss,
            "--risk": risk,
            "--ordered": tables.ordered,
        }.items():
            if wanted:
                raise InputError(
                    "a streamed table is never in memory as a whole, which this needs.",
                    where=name,
                    hint="Leave it out, or say --in-memory.",
                )
        from gtx_bayes.streaming.request import Request

        request = Request(
            labels=labels[0].expanduser(),
            gold=gold,
            method=method,
            options=models.arguments(),
            class_prior=models.prior(),
            labeler_covariates=tables.labeler_table,
            seed=seed,
            intervals=streaming.intervals,
            pool=streaming.pool,
            groups=tables.group_column,
            # A state is to take further answers of single workers, which a bloc cannot.
            finds_blocs=tables.finds_blocs and state is None,
            **{k: v for k, v in tables.crowd_arguments().items() if k != "ordered"},
        )
        if state is not None:
            state = state.expanduser()
            _check_state(state, output.expanduser().resolve(), method.name, tables, evidence)
        summary = stream(
            request,
            output,
            streaming,
            devices="all" if devices is None else num_devices(devices),
            state=state,
            plots=plots,
        )
        _print(summary, output, as_json=as_json)
        if not as_json:
            folder = output / "examples.parquet"
            print_next(("evaluate", folder, "--truth", "TRUTH.csv"))
        return
    inputs = tables.inputs(labels, gold, *evidence.files, loss)
    directory = OutputDirectory(output, COMMAND, RESULT_FILES, inputs)
    state_file = None
    if state is not None:
        state = state.expanduser()
        _check_state(state, directory.target, method.name, tables, evidence)
        state_file = OutputFile(state, inputs, tells_itself=True)
    prior, arguments = models.prior(), models.arguments()
    mesh = mesh_of(devices)
    losses = read_if_given(loss, lambda _: True)
    is_resumed = state is not None and state.exists()
    warned: list[str] = []
    if state is not None and is_resumed:
        with stage(f"Reading {state}"):
            kept = _read_state(state, method, models, tables)
        with stage(f"Learning from what is new in {named(labels)}"):
            result, new = _update(kept, labels, gold, tables)
    else:
        with stage(f"Reading {named(labels)}"):
            crowd = tables.read_crowd(labels, gold)
            _check_decisions(crowd, losses, targets)
        if not draws:
            compile_quickly(crowd.labels.num_labels)
        with stage(f"Aggregating {crowd.labels.num_labels} answers by {method.name}"):
            from gtx_bayes.aggregation.aggregate import aggregate as apply
            from gtx_bayes.aggregation.aggregate import configured
            from gtx_bayes.aggregation.time_covariate import time_covariate

            when = time_covariate(crowd, configured(method, **arguments))
            if state is not None and when is not None:
                raise InputError(
                    f"a state takes further answers without asking who gets worse over '{when}'.",
                    where="--covariate",
                    hint="Leave it out, or --state; or say --model drift, of a column 'when'.",
                )
            # A state is to take further answers of single workers, which a bloc cannot.
            finds = tables.finds_blocs and state is None
            if tables.finds_blocs and state is not None and method.name == "gtx-bayes":
                warned = _blocs_counted_singly(crowd)
            result = apply(
                crowd,
                method,
                class_prior=prior,
                finds_blocs=finds,
                finds_verdicts=tables.finds_blocs,
                mesh=mesh,
                **evidence.arguments(),
                **arguments,
            )
        new = {
            "num_new_labels": crowd.labels.num_labels,
            "num_new_examples": crowd.labels.num_examples,
            "num_new_labelers": crowd.labels.num_labelers,
            "num_new_gold": crowd.assessment.num_gold,
            "num_recomputed": crowd.labels.num_examples,
        }
    if draws and result.fit.posterior is None:
        raise InputError(
            f"{method.name} has no posterior to draw from.",
            where="--draws",
            hint="Leave it out, or use gtx-bayes.",
        )
    # Left in turn: the directory takes its place first, the state last of all.
    with stage(f"Writing {output}"), _state_to_come(result, state_file), directory:
        notes, decided = _write(
            result,
            directory.path,
            seed=seed,
            draws=draws,
            plots=plots,
            mesh=mesh,
            loss=losses,
            risk=targets,
        )
        seconds = time.perf_counter() - start
        summary = summarise(result, COMMAND, seconds=seconds, more=(*warned, *notes)) | decided
        if state is not None:
            summary |= {"state": str(state), "resumed": is_resumed, **new}
        write_summary(summary, directory.path)
    _print(summary, output, as_json=as_json)
    if not as_json:
        of_crowd = (labels, *(() if gold is None else ("--gold", gold)), *words_of(tables))
        print_next(
            ("diagnose", *of_crowd, *words_of(models), "--output", "report"),
            ("next", *of_crowd, *words_of(models), "--batch", 20, "--output", "to_label.csv"),
        )


def _blocs_counted_singly(crowd: "Crowd") -> list[str]:
    """A warning where labelers copy each other that a state keeps apart."""
    from gtx_bayes.blocs import find_blocs
    from gtx_bayes.errors import WarningNote

    if crowd.covariate_names or (found := find_blocs(crowd)) is None:
        return []
    number = crowd.labels.num_labelers - len(found.names)
    return [
        WarningNote(
            f"Gold shows labelers who copy each other, {number} more than there are judges: with "
            "--state each counts singly. Without --state they count as one."
        )
    ]


def _print(summary: dict[str, Any], output: Path, *, as_json: bool) -> None:
    more = ", ..." if summary["num_classes"] > 6 else ""
    overview = {
        "examples": f"{summary['num_examples']}, {summary['num_gold']} of them gold",
        "labelers": summary["num_labelers"],
        "answers": summary["num_labels"],
        "classes": ", ".join(summary["classes"][:6]) + more,
        "mean confidence": summary["mean_confidence"],
        **{
            name.replace("num_", "").replace("_", " "): summary[name]
            for name in ("num_accepted", "mean_expected_loss")
            if name in summary
        },
        "model": summary["model"],
    }
    print_summary(summary, output, overview, f"{summary['method']} → {output}", as_json=as_json)


def _check_state(
    state: Path, output: Path, method: str, tables: CrowdOptions, evidence: EvidenceOptions
) -> None:
    """Raise `InputError` for a state that this command could not keep."""
    from gtx_bayes.aggregation.joint_method import NAME

    if method != NAME:
        raise InputError(
            f"{method} has no state to keep.", where="--state", hint=f"Leave it out, or use {NAME}."
        )
    refuse_in_results(state, output, "--state")
    for option, is_given, why in (
        ("--groups", tables.group_column, "of single workers, and groups count as one"),
        ("--opinion", evidence.opinion, "without opinions of their tasks"),
        ("--history", evidence.history, "without a history of their workers"),
    ):
        if is_given:
            what = f"a state takes further answers {why}."
            raise InputError(what, where=option, hint="Leave it out, or --state.")


def refuse_in_results(file: Path, output: Path, option: str) -> None:
    """Raise `InputError` for a file to keep that lies in the directory of results."""
    if file.resolve().is_relative_to(output):
        raise InputError(
            f"{file} lies in the directory of results, which is replaced.",
            where=option,
            hint="Name a file elsewhere.",
        )


def _read_state(
    state: Path, method: "AbstractMethod", models: ModelOptions, tables: CrowdOptions
) -> "Aggregation":
    """The fit that was kept; raises `InputError` where it has not what is asked for."""
    from gtx_bayes.aggregation.aggregate import configured
    from gtx_bayes.aggregation.state import check_options, read_state

    options: Any = configured(method, **models.arguments())
    kept = read_state(state, model=None if options.model == "auto" else options.model)
    check_options(
        kept,
        where=str(state),
        classes=tables.class_names(),
        class_prior=models.prior(),
        model=options.model,
        dependence=options.dependence,
        prior_independent=models.prior_independent,
        ordered=tables.ordered,
    )
    is_unknown = not set(tables.covariate or ()) <= set(kept.crowd.labels.covariates)
    if is_unknown or (tables.keep_abstentions and not kept.crowd.other_names.size):
        raise InputError(
            "the state was made without.",
            where="--covariate" if is_unknown else "--keep-abstentions",
            hint="Leave it out, or fit all anew.",
        )
    return kept


def _update(
    kept: "Aggregation", labels: list[Path], gold: Path | None, tables: CrowdOptions
) -> tuple["Aggregation", dict[str, int]]:
    """The result with what is new in the tables, and how much that is."""
    from gtx_bayes.aggregation.update import update
    from gtx_bayes.io.readers import read_covariate_tables

    covariates = list(kept.crowd.labels.covariates)
    grown = update(
        kept,
        tables.read_labels(labels, covariates),
        tables.read_gold(gold),
        **tables.arguments(),
        **read_covariate_tables(tables.labeler_table, tables.example_table),
    )
    new = {name: value for name, value in grown._asdict().items() if name.startswith("num_")}
    return grown.result, new


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


def _check_decisions(
    crowd: "Crowd", loss: "Table | None", risk: float | dict[str, float] | None
) -> None:
    """Raise `InputError` for losses and risks that are not of the crowd's classes."""
    from gtx_bayes.losses import read_loss, risk_by_class

    if loss is not None:
        read_loss(loss, crowd.class_names)
    if risk is not None:
        risk_by_class(risk, crowd.class_names)


def _write(
    result: "Aggregation",
    path: Path,
    *,
    seed: int,
    draws: int,
    plots: bool,
    mesh: "Mesh | None",
    loss: "Table | None",
    risk: float | dict[str, float] | None,
) -> tuple[list[str], dict[str, Any]]:
    """Write all but the summary; what is left out and why, and what the summary says besides."""
    import jax

    from gtx_bayes.io.writers import write_csv

    key = jax.random.key(seed)
    examples = result.examples(key, mesh=mesh)
    decided: dict[str, Any] = {}
    if loss is not None or risk is not None:
        from gtx_bayes.losses import decide

        examples = decide(examples, loss=loss, risk=risk)
        if loss is not None:
            decided["mean_expected_loss"] = float(examples["expected_loss"].mean())
        if risk is not None:
            decided |= {"risk": risk, "num_accepted": int(examples["accepted"].sum())}
    write_csv(examples, path / "examples.csv")
    write_csv(result.labelers(), path / "labelers.csv")
    joint = result.fit.joint
    if joint is not None and not joint.is_auto:
        parameters = result.in_pandas.parameters()
        if parameters is not None:
            write_csv(parameters, path / "parameters.csv")
    if result.blocs is not None:
        write_csv(result.blocs, path / "blocs.csv")
    if result.over_time is not None:
        write_csv(result.over_time.periods, path / "over_time.csv")
    from gtx_bayes.aggregation import tables

    notes = []
    labels = result.crowd.labels
    if labels.num_labelers * labels.num_classes**2 <= tables.MOST_CONFUSION_ROWS:
        write_csv(result.confusion(), path / "confusion.csv")
    else:
        notes.append(tables.no_confusion(labels.num_labelers, labels.num_classes))
    if draws:
        from gtx_bayes.diagnostics.to_arviz import draw_labelers, write_netcdf

        tree = draw_labelers(jax.random.fold_in(key, 1), result, num_draws=draws)
        write_netcdf(tree, path / "posterior.nc")
    if plots:
        from gtx_bayes.diagnostics.plots import save_result_plots

        save_result_plots(result, path)
    return notes, decided


def summarise(
    result: "Aggregation", command: str, *, seconds: float, more: Sequence[str] = ()
) -> dict[str, Any]:
    """What a summary.json says of a result, whichever command wrote it."""
    crowd, joint = result.crowd, result.fit.joint
    confidence, num_abstained = result.open_confidence(), crowd.num_abstained()
    over_time = result.over_time
    return {
        "command": command,
        "method": result.method,
        "model": result.fit.model,
        **values_of(crowd.labels, *SIZES),
        "num_abstained": 0 if num_abstained is None else int(num_abstained.sum()),
        "num_gold": crowd.assessment.num_gold,
        **classes_record(crowd.class_names, result.class_prior),
        "dependence": None if joint is None else dependence_record(joint.dependence),
        "opinions": None if result.opinions is None else result.opinions.to_dict("records"),
        "num_blocs": 0 if result.blocs is None else int(result.blocs["bloc"].nunique()),
        "falls": None if over_time is None else over_time.falls.to_dict("records"),
        "pool": None if joint is None else joint.table().to_dict("records"),
        "labeler_interval": result.fit.labeler_accuracy.interval,
        "agreement": agreement_record(crowd),
        "mean_confidence": float(confidence.mean()) if confidence.size else None,
        "seconds": round(seconds, 3),
        **split_warnings(in_options(note) for note in (*result.notes, *more)),
    }


def agreement_record(crowd: "Crowd") -> dict[str, dict[str, float | None]]:
    """Coefficients of agreement by name, None where a number is not finite."""
    import math

    rows = crowd.agreement().to_dict("records")
    names = ("value", "ci_low", "ci_high")
    return {
        str(row["coefficient"]): {
            name: float(row[name]) if math.isfinite(row[name]) else None for name in names
        }
        for row in rows
    }


def values_of(found: object, *names: str) -> dict[str, Any]:
    """Attributes by name, as a summary has them."""
    return {name: getattr(found, name) for name in names}


def classes_record(class_names: Any, class_prior: Any) -> dict[str, Any]:
    """The classes and their prior by name, the mean over examples; uniform where there is none."""
    import numpy as np

    names = [str(name) for name in class_names]
    if class_prior is None:
        prior = [1.0 / len(names)] * len(names)
    else:
        prior = np.asarray(class_prior).reshape(-1, len(names)).mean(axis=0).tolist()
    return {"classes": names, "class_prior": dict(zip(names, prior, strict=True))}


def dependence_record(found: "Dependence") -> dict[str, Any]:
    """Posterior of rho, and how many answers to an example it leaves worth buying."""
    from gtx_bayes.inference.dependence import most_useful

    low, high = found.credible_interval()
    return {
        "prob_independent": found.prob_independent,
        "mean": found.mean,
        "ci_low": low,
        "ci_high": high,
        "most_useful_labels": most_useful(found.mean),
    }
