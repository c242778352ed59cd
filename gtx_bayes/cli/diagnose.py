"""`gtx-bayes diagnose`: one page that says what came of a crowd, and whether to believe it."""

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gtx_bayes.cli.aggregate import summarise, values_of
from gtx_bayes.cli.compilation_cache import compile_quickly
from gtx_bayes.cli.gates import NOT_REACHED, Checked, Gate, parse_gates
from gtx_bayes.cli.options import (
    CrowdOptions,
    EvidenceOptions,
    GoldOption,
    JsonOption,
    LabelsArgument,
    ModelOptions,
    SeedOption,
    named,
    output_option,
)
from gtx_bayes.cli.terminal import command, in_options, print_next, print_summary, stage, words_of
from gtx_bayes.errors import InputError

if TYPE_CHECKING:
    from gtx_bayes.crowd import Crowd
    from gtx_bayes.diagnostics.report.content import Content
    from gtx_bayes.diagnostics.report.judges import Prices
    from gtx_bayes.diagnostics.report.page import Origin

COMMAND = "gtx-bayes diagnose"
WRONG_BY_GOLD = ("num_hidden", "num_wrong", "expected", "low", "high")
RESULT_FILES = (
    "report.html",
    "examples.csv",
    "labelers.csv",
    "panel.csv",
    "confusion.csv",
    "summary.json",
)
MEASURES = ("accuracy", "effective", "advantage", "light")
_LIGHTS = ("red", "amber", "green")
_EXAMPLE = "accuracy=0.9 or light=amber"


@command
def diagnose(
    *,
    labels: LabelsArgument,
    output: Annotated[Path, output_option("Directory to write the report to.")],
    gold: GoldOption = None,
    models: ModelOptions,
    tables: CrowdOptions,
    evidence: EvidenceOptions,
    cost: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE",
            help="Prices of answers, for what a right label costs and whom a panel can spare: "
            "cost, by worker, by task, or by both.",
        ),
    ] = None,
    fail_under: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MEASURE=BOUND",
            help=f"Exit code {NOT_REACHED} unless this is shown: the lower 95 % limit of the "
            "accuracy of the labels by gold, of the effective number of labelers, or of the "
            "advantage of the panel over its best labeler; or the light, amber or green. May be "
            "repeated.",
        ),
    ] = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Say what came of a crowd, whether to believe it, and what to do next, on one page.

    Fits gtx-bayes as aggregate does, checks it, and writes report.html, a page that needs nothing
    but itself, with examples.csv, labelers.csv and summary.json. Of a panel, up to 40 labelers such
    as models that judge, panel.csv has a row and a sentence each, and confusion.csv how often each
    gives which class for which. The output directory appears whole or not at all and replaces an
    earlier report. Confidence is checked against the gold, hidden from the fit a fifth at a time:
    give 30 gold labels at the least.
    """
    start = time.perf_counter()
    from gtx_bayes.io.writers import OutputDirectory, write_summary

    gates = _gates(fail_under)
    inputs = tables.inputs(labels, gold, *evidence.files, cost)
    directory = OutputDirectory(output, COMMAND, RESULT_FILES, inputs)
    with stage(f"Reading {named(labels)}"):
        crowd = _without_folders(tables.read_crowd(labels, gold), *inputs)
        prices = None if cost is None else _prices(cost, crowd, tables)
    compile_quickly(crowd.labels.num_labels)
    with stage(f"Aggregating {crowd.labels.num_labels} answers"):
        from gtx_bayes.aggregation.aggregate import DEFAULT_METHOD, aggregate

        result = aggregate(
            crowd,
            DEFAULT_METHOD,
            class_prior=models.prior(),
            finds_blocs=tables.finds_blocs,
            **evidence.arguments(),
            **models.arguments(),
        )
        result = dataclasses.replace(result, crowd=_without_folders(result.crowd, *inputs))
    with stage("Checking the fit"), directory:
        import jax

        from gtx_bayes.diagnostics.report.page import write_report

        options = {
            "labels": ", ".join(path.name for path in labels),
            "gold": gold,
            "model": models.model,
            "model options": ", ".join(models.model_option or ()),
            "dependence": models.dependence,
            "prior of independence": models.prior_independent,
            "class prior": models.class_prior,
            "format": tables.format,
            "format options": ", ".join(tables.format_option or ()),
            "question": tables.question,
            "choice": tables.choice,
            "wide": tables.wide,
            "count column": tables.count_column,
            "counts": tables.counts,
            "classes": tables.classes,
            "duplicates": tables.duplicates,
            "abstain": tables.abstain,
            "blank": None if tables.blank == "error" else tables.blank,
            "keep abstentions": "yes" if tables.keep_abstentions else None,
            "covariates": ",".join(tables.covariate or ()),
            "labeler table": tables.labeler_table,
            "example table": tables.example_table,
            "groups": tables.groups,
            "cost": cost,
            "history": evidence.history,
            "opinions": ", ".join(name.partition("=")[0] for name in evidence.opinion or ()),
            "seed": seed,
        }
        origin = origin_of(labels[0], options, start)
        content = write_report(
            jax.random.key(seed), result, directory.path, origin=origin, prices=prices
        )
        checked = [gate.check(*_measured(content)[gate.name]) for gate in gates]
        summary = {
            **summarise(result, COMMAND, seconds=time.perf_counter() - start),
            **_findings(content),
            "gates": [{"measure": each.gate.name, **each.record()} for each in checked],
        }
        write_summary(summary, directory.path)
    print_summary(summary, output, _overview(summary), output / RESULT_FILES[0], as_json=as_json)
    if not as_json:
        from gtx_bayes.diagnostics.report.wording import plain

        of_panel = [] if content.judges is None else content.judges.words
        for words in (*of_panel, *(_describe(each) for each in checked)):
            print(plain(words))
        of_crowd = (labels, *(() if gold is None else ("--gold", gold)), *words_of(tables))
        more = (*words_of(models), "--batch", 20, "--output", "to_label.csv")
        print_next(("next", *of_crowd, *more))
    if not all(each.holds for each in checked):
        raise typer.Exit(NOT_REACHED)


def _prices(cost: Path, crowd: "Crowd", tables: CrowdOptions) -> "Prices":
    from gtx_bayes.collection.costs import COST_ROLES, read_costs
    from gtx_bayes.columns import columns_for
    from gtx_bayes.io.readers import read_table

    columns = tables.columns("example", "labeler")
    frame, source = read_table(cost, columns_for(COST_ROLES, columns))
    roles = {role: name for role, name in columns.items() if name in frame}
    return read_costs(frame, roles, source, crowd.labeler_names, crowd.example_names).price


def _gates(given: list[str] | None) -> list[Gate]:
    """What is asked for; of lights the number."""
    texts = []
    for text in given or ():
        name, _, value = text.rpartition("=")
        if name == "light" and value not in _LIGHTS[1:]:
            raise InputError(
                f"'{value}' is no light to reach.",
                where="--fail-under",
                hint="Say light=amber or light=green.",
            )
        texts.append(f"light={_LIGHTS.index(value)}" if name == "light" else text)
    found = parse_gates(
        "--fail-under",
        "low",
        texts,
        MEASURES,
        called="measure and bound",
        example=_EXAMPLE,
        least=-1.0,
    )
    for gate in found:
        if gate.name in ("accuracy", "advantage") and gate.bound > 1.0:
            what = f"no {gate.name} is {gate.bound:g}."
            raise InputError(what, where="--fail-under", hint="Give a proportion, such as 0.9.")
    return found


def _measured(content: "Content") -> dict[str, tuple[float, float]]:
    """The interval of everything that a gate can be about; NaN where it is not known."""
    by_gold, panel, judges = content.outcome.by_gold, content.labelers.panel, content.judges
    best = None if judges is None else judges.against_best
    light = float(_LIGHTS.index(content.trust.light))
    num_open, unknown = content.outcome.num_open, (float("nan"), float("nan"))
    return {
        "accuracy": unknown
        if by_gold is None or not num_open
        else (1.0 - by_gold.high / num_open, 1.0 - by_gold.low / num_open),
        "effective": unknown if panel is None else panel.interval,
        "advantage": unknown if best is None else (best.low, best.high),
        "light": (light, light),
    }


def _describe(checked: Checked) -> str:
    """A gate in a sentence."""
    if checked.gate.name == "light":
        light, wanted = (_LIGHTS[int(of)] for of in (checked.low, checked.gate.bound))
        return f"The light is {light}, {wanted} is asked for."
    what = {
        "accuracy": "The accuracy of the labels",
        "effective": "The effective number of labelers",
        "advantage": "The advantage of the panel over its best labeler",
    }
    return checked.words(what[checked.gate.name])


def origin_of(source: Path, options: Mapping[str, object], start: float) -> "Origin":
    """What a page says of where it comes from: files by their names alone, as it goes to others."""
    from gtx_bayes.diagnostics.report.page import Origin

    shown = {
        name: value.name if isinstance(value, Path) else str(value)
        for name, value in options.items()
        if value not in (None, "")
    }
    return Origin(source.name, shown, start)


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

    trust, labelers, by_gold = content.trust, content.labelers, content.outcome.by_gold
    return {
        "light": trust.light,
        "verdict": trust.verdict,
        "honesty": trust.honesty,
        "reasons": [reason.words for reason in trust.reasons],
        "actions": [action.words for action in content.actions],
        "expected_wrong": content.outcome.expected_wrong,
        "wrong_by_gold": by_gold and values_of(by_gold, *WRONG_BY_GOLD),
        "num_against_majority": content.outcome.num_differing,
        "calibration": _calibration(content),
        "model_problems": [] if trust.checks is None else list(trust.checks.problems),
        "num_gold_contradicted": trust.contradictions.number,
        "num_labelers_contradicted": len(labelers.contradicted),
        "num_uninformed": len(labelers.uninformed),
        "num_worse_than_chance": len(labelers.opposite),
        "panel": _panel(content),
        "next_examples": [shown(task) for task in content.buying.batch["task"]],
    }


def _panel(content: "Content") -> dict[str, Any] | None:
    """What the panel is worth, against its best labeler, and whom it can spare; None if it is none.

    What is not known is null.
    """
    from gtx_bayes.diagnostics.report.wording import plain

    panel, judges = content.labelers.panel, content.judges
    if judges is None:
        return None
    spared, best = judges.spared, judges.against_best
    return {
        "effective": None if panel is None else panel.effective,
        "effective_interval": None if panel is None else panel.interval,
        "if_independent": None if panel is None else panel.if_independent,
        "errs_together": None if panel is None else panel.errs_together,
        "against_best": None if best is None else {**best._asdict(), "worker": str(best.worker)},
        "spared": None if spared is None else [str(name) for name in spared.who],
        "accuracy_lost": None if spared is None else spared.total,
        "cost": None if judges.cost is None else float(judges.cost.sum()),
        "words": [plain(words) for words in judges.words],
    }


def _calibration(content: "Content") -> dict[str, Any] | None:
    """Scores on hidden gold; None where there was too little."""
    found = content.trust.calibration
    if found is None:
        return None
    scores = {name: float(estimate.value) for name, estimate in found.metrics.items()}
    low, high = found.ece_interval
    return {
        **scores,
        **values_of(found, "num_examples", "mean_confidence"),
        "ece_low": low,
        "ece_high": high,
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
    }
