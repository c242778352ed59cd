"""`gtx-bayes diagnose`: one page that says what came of a crowd, and whether to believe it."""

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gtx_bayes.cli.aggregate import summarise
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
    ModelOption,
    ModelSettingsOption,
    TaskColumnOption,
    WorkerColumnOption,
    given,
    parse_abstain,
    parse_options,
    parse_prior,
)
from gtx_bayes.cli.terminal import (
    DebugOption,
    JsonOption,
    SeedOption,
    in_options,
    print_json,
    print_notes,
    print_record,
    reports_errors,
    stage,
)

if TYPE_CHECKING:
    from gtx_bayes.crowd import Crowd
    from gtx_bayes.diagnostics.report.content import Content

COMMAND = "gtx-bayes diagnose"
RESULT_FILES = ("report.html", "examples.csv", "labelers.csv", "summary.json")


@reports_errors
def diagnose(
    labels: LabelsArgument,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Directory to write the report to.")
    ],
    gold: GoldOption = None,
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
    task_column: TaskColumnOption = None,
    worker_column: WorkerColumnOption = None,
    label_column: LabelColumnOption = None,
    gold_task_column: GoldTaskColumnOption = None,
    gold_label_column: GoldLabelColumnOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Say what came of a crowd, whether to believe it, and what to do next, on one page.

    Fits gtx-bayes as aggregate does, checks it, and writes report.html, a page that needs nothing
    but itself, with examples.csv, labelers.csv and summary.json. The output directory appears
    whole or not at all and replaces an earlier report. Confidence is checked against the gold,
    hidden from the fit a fifth at a time: give 30 gold labels at the least.
    """
    start = time.perf_counter()
    from gtx_bayes.io.writers import OutputDirectory, write_summary

    inputs = (labels, gold, labeler_table, example_table)
    directory = OutputDirectory(output, COMMAND, RESULT_FILES, inputs)
    with stage(f"Reading {labels}"):
        from gtx_bayes.io.readers import read_crowd

        crowd = read_crowd(
            labels,
            gold,
            duplicates=duplicates.value,
            classes=None if classes is None else classes.split(","),
            abstain=parse_abstain(abstain),
            blank=blank.value,
            keep_abstentions=keep_abstentions,
            covariates=covariate or (),
            labeler_covariates=labeler_table,
            example_covariates=example_table,
            columns=given(example=task_column, labeler=worker_column, label=label_column),
            gold_columns=given(example=gold_task_column, label=gold_label_column),
        )
        crowd = _without_folders(crowd, *inputs)
    with stage(f"Aggregating {crowd.labels.num_labels} answers"):
        from gtx_bayes.aggregation.aggregate import DEFAULT_METHOD, aggregate

        options = parse_options(model, dependence, model_option)
        result = aggregate(crowd, DEFAULT_METHOD, class_prior=parse_prior(class_prior), **options)
    with stage("Checking the fit"), directory:
        import jax

        from gtx_bayes.diagnostics.report.page import Origin, write_report

        asked = {
            "labels": labels.name,
            "gold": None if gold is None else gold.name,
            "model": model,
            "model options": ", ".join(model_option) if model_option else None,
            "dependence": dependence,
            "class prior": class_prior,
            "classes": classes,
            "duplicates": duplicates.value,
            "abstain": abstain,
            "blank": None if blank is BlankChoice.error else blank.value,
            "keep abstentions": "yes" if keep_abstentions else None,
            "covariates": ",".join(covariate) if covariate else None,
            "labeler table": None if labeler_table is None else labeler_table.name,
            "example table": None if example_table is None else example_table.name,
            "seed": str(seed),
        }
        origin = Origin(labels.name, {k: v for k, v in asked.items() if v is not None}, start)
        content = write_report(jax.random.key(seed), result, directory.path, origin=origin)
        summary = {
            **summarise(result, COMMAND, seconds=time.perf_counter() - start),
            **_findings(content),
        }
        write_summary(summary, directory.path)
    print_notes([*summary["notes"], *summary["warnings"]])
    if as_json:
        print_json({**summary, "output": str(output)})
        return
    print_record(f"{output / RESULT_FILES[0]}", _overview(summary))


def _without_folders(crowd: "Crowd", *files: Path | None) -> "Crowd":
    """The crowd with files in its notes by their names alone: the page goes to others."""
    notes = tuple(in_options(note) for note in crowd.notes)
    for file in files:
        if file is not None:
            notes = tuple(type(note)(note.replace(str(file), file.name)) for note in notes)
    return dataclasses.replace(crowd, notes=notes)


def _findings(content: "Content") -> dict[str, Any]:
    """The verdicts, and the numbers behind them."""
    from gtx_bayes.diagnostics.report.wording import shown

    trust, labelers = content.trust, content.labelers
    return {
        "light": trust.light,
        "verdict": trust.verdict,
        "honesty": trust.honesty,
        "reasons": [reason.words for reason in trust.reasons],
        "actions": [action.words for action in content.actions],
        "expected_wrong": content.outcome.expected_wrong,
        "wrong_by_gold": _wrong_by_gold(content),
        "num_against_majority": content.outcome.num_differing,
        "calibration": _calibration(content),
        "model_problems": [] if trust.checks is None else list(trust.checks.problems),
        "num_gold_contradicted": trust.contradictions.number,
        "num_labelers_contradicted": len(labelers.contradicted),
        "num_uninformed": len(labelers.uninformed),
        "num_worse_than_chance": len(labelers.opposite),
        "next_examples": [shown(task) for task in content.buying.batch["task"]],
    }


def _wrong_by_gold(content: "Content") -> dict[str, Any] | None:
    """How many labels are wrong by hidden gold; None without two gold labels."""
    found = content.outcome.by_gold
    if found is None:
        return None
    return {
        "num_hidden": found.num_hidden,
        "num_wrong": found.num_wrong,
        "expected": found.expected,
        "low": found.low,
        "high": found.high,
    }


def _calibration(content: "Content") -> dict[str, Any] | None:
    """Scores on hidden gold; None where there was too little."""
    found = content.trust.calibration
    if found is None:
        return None
    scores = {name: float(estimate.value) for name, estimate in found.metrics.items()}
    return {
        **scores,
        "num_examples": found.num_examples,
        "mean_confidence": found.mean_confidence,
        "ece_low": found.ece_interval[0],
        "ece_high": found.ece_interval[1],
        "ece_if_honest": found.ece_if_honest,
        "problems": list(found.problems),
    }


def _overview(summary: dict[str, Any]) -> dict[str, object]:
    by_gold = summary["wrong_by_gold"]
    words = by_gold and f"{by_gold['expected']:.1f} ({by_gold['low']:,} to {by_gold['high']:,})"
    return {
        "light": f"{summary['light']}: {summary['verdict']}",
        "examples": f"{summary['num_examples']}, {summary['num_gold']} of them gold",
        "labelers": f"{summary['num_labelers']}, {summary['num_uninformed']} tell next to nothing",
        "answers": summary["num_labels"],
        "mean confidence": summary["mean_confidence"],
        "wrong labels, by confidence": summary["expected_wrong"],
        "wrong labels, by gold": words,
        "seconds": f"{summary['seconds']:.1f}",
    }
