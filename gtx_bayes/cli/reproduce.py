"""`gtx-bayes reproduce`: the paper's tables and figures, and studies beyond them."""

import enum
import importlib
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from gtx_bayes.cli.finetuning import Options
from gtx_bayes.cli.terminal import (
    DebugOption,
    DevicesOption,
    JsonOption,
    SeedOption,
    mesh_of,
    print_json,
    print_table,
    progress,
    reports_errors,
    stage,
)
from gtx_bayes.errors import InputError

COMMAND = "gtx-bayes reproduce"
LOG = "finetuning.jsonl"

_SETTINGS = {
    "highest_cost": "highest cost",
    "budget": "budget",
    "threshold": "threshold",
    "gold_per_labeler": "gold",
}
_SIMULATED = ("error", "mae", "num_examples", "ratio", "error_over_known")
_TRAINED = {
    "num_training_images": "images",
    "noise_rate": "noise",
    "balanced_error": "balanced error",
    "ece": "ece",
}


class StudyName(enum.StrEnum):
    """What can be reproduced: a module of `gtx_bayes.experiments` each."""

    table1 = "table1"
    table2 = "table2"
    figure1 = "figure1"
    figure2 = "figure2"
    figure4 = "figure4"
    figure5 = "figure5"
    assessment = "assessment"
    optimality = "optimality"
    policies = "policies"
    noise_surface = "noise_surface"
    efficiency = "efficiency"


TRAINED = (StudyName.figure4, StudyName.figure5)
"""Two views of one study, in which networks are trained."""

OF_FEATURES = (StudyName.noise_surface, StudyName.efficiency)
"""Studies of heads on features: drawn ones, or of images."""


@reports_errors
def reproduce(
    name: Annotated[StudyName, typer.Argument(help="The table, figure or study.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory to write to.")],
    runs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Simulated runs. [default: as in the paper, 100 for table1 and figure1, 10 for "
            "table2 and figure2, 5 for figure4 and figure5; 100 for assessment, 20 for optimality, "
            "500 for policies, 12 for noise_surface, 10 for efficiency]",
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="figure4, figure5: fewer budgets and trainings, 3 runs."),
    ] = False,
    images: Annotated[
        str | None,
        typer.Option(
            help="figure4, figure5, noise_surface, efficiency: a folder of images, a Parquet file, "
            "'paper' for the paper's from the hub, or 'synthetic-drilling'. [default: "
            "synthetic-drilling; for the last two features drawn without images]"
        ),
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(help="With --images: table of the images of a folder, with their classes."),
    ] = None,
    weights: Annotated[
        list[Path] | None,
        typer.Option(
            help="With --images: file of pretrained weights of EfficientNet-b0; repeat it for "
            "several. [default: fetched from the hub]"
        ),
    ] = None,
    allow_missing: Annotated[
        bool,
        typer.Option("--allow-missing", help="With --weights: draw what they lack at random."),
    ] = False,
    strategy: Annotated[
        list[str] | None,
        typer.Option(
            help="policies: compare this one too, by its name or as FILE.py:Class; repeat it for "
            "several."
        ),
    ] = None,
    devices: DevicesOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Repeat the paper's studies and put every figure beside the printed one.

    Writes NAME.json (every figure with mean, standard error, the paper's figure and the z-score
    of the difference), NAME.csv and NAME.png; other files in the directory stay. Trainings of
    figure4 and figure5 are kept in finetuning.jsonl as they end; the same command goes on after
    an interrupt, and the other figure needs no training of its own.
    """
    start = time.perf_counter()
    from gtx_bayes.io.writers import refuse_inputs, whole_files, write_summary

    options = Options(quick, images, table, tuple(weights or ()), allow_missing)
    if name in OF_FEATURES:
        options.refuse_for_features(name.value)
    elif name not in TRAINED:
        options.refuse(name.value)
    if devices is not None and name in (*TRAINED, *OF_FEATURES):
        raise InputError(
            f"{name.value} trains on one device.", where="--devices", mend="Leave it out."
        )
    if strategy and name is not StudyName.policies:
        raise InputError(
            f"{name.value} compares no strategies.", where="--strategy", mend="Leave it out."
        )
    files = [f"{name.value}.{ending}" for ending in ("json", "csv", "png")]
    inputs = [table, *(weights or ())]
    if images is not None and Path(images).is_file():
        inputs.append(Path(images))
    refuse_inputs(output / LOG, inputs)
    with whole_files(output, files, COMMAND, inputs) as partial:
        with stage(f"Starting {name.value}"):
            import jax

            mesh = mesh_of(devices)
            module: Any = importlib.import_module(f"gtx_bayes.experiments.{name.value}")
        if name in TRAINED:
            from gtx_bayes.cli import finetuning

            with progress("Training") as tell:
                study = finetuning.run(options, seed, runs, output.expanduser() / LOG, tell)
        elif name in OF_FEATURES:
            from gtx_bayes.cli import finetuning

            with stage("Looking at images"):
                source = finetuning.features(options, seed)
            with progress("Training") as tell:
                runs = runs or module.DEFAULT_RUNS
                study = module.run(jax.random.key(seed), runs=runs, progress=tell, source=source)
        else:
            with progress(f"Simulating {name.value}") as tell:
                runs = runs or module.DEFAULT_RUNS
                config = module.Config().comparing(strategy) if strategy else None
                study = module.run(
                    jax.random.key(seed), config, runs=runs, progress=tell, mesh=mesh
                )
        record: dict[str, Any] = {
            "command": COMMAND,
            "name": name.value,
            "runs": study.runs,
            "seed": seed,
            "outside": _outside(study.rows),
            "seconds": round(time.perf_counter() - start, 3),
            "rows": study.rows,
        }
        if name in TRAINED:
            record |= {"notes": list(study.notes), "tests": finetuning.significance(study)}
        if name in OF_FEATURES:
            record |= {"notes": list(study.notes), "findings": module.findings(study)}
        with stage("Writing"):
            write_summary(record, partial, files[0])
            of_points = name in (StudyName.figure2, StudyName.figure5)
            (study.points if of_points else study.to_frame()).to_csv(
                partial / files[1], index=False
            )
            module.plot(study).savefig(partial / files[2], dpi=150)
    if as_json:
        print_json(record)
        return
    if name in OF_FEATURES:
        for title, found in record["findings"].items():
            print_table(title.capitalize(), found)
    else:
        for cohort, rows in _overview(study.rows).items():
            print_table(f"{name.value}, {study.runs} runs, {cohort} labelers", rows)
    for cohort, rows in _tests_overview(record.get("tests", [])).items():
        print_table(f"Balanced error, {cohort} labelers: p-values", rows)
    if any("paper" in cell for row in study.rows for cell in _cells(row).values()):
        print("In brackets: what the paper prints.")
    for place in record["outside"]:
        print(f"More than 3 combined standard errors from the paper: {place}")
    for row in study.rows:
        _print_misprint(row)
    for note in study.notes:
        print(note)
    print(f"{', '.join(files)} are in {output}.")


def _outside(rows: list[dict[str, Any]]) -> list[str]:
    from gtx_bayes.experiments.study import outside

    return outside(rows)


def _overview(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, object]]]:
    """By cohort, the rows that the paper prints; all, where it prints none."""
    of_paper = [row for row in rows if any("paper" in cell for cell in _cells(row).values())]
    shown: dict[str, list[dict[str, object]]] = {}
    for row in of_paper or rows:
        cells = _cells(row)
        if any(isinstance(cell["mean"], list) for cell in cells.values()):
            return {}
        line: dict[str, object] = {"method": row["method"]}
        if len({other["strategy"] for other in rows} - {"fixed"}) > 1:
            line["strategy"] = row["strategy"]
        is_trained = "balanced_error" in cells
        for key, title in _SETTINGS.items():
            told_by_method = is_trained and key == "threshold"
            if len({other.get(key) for other in rows}) > 1 and not told_by_method:
                line[title] = "-" if row[key] is None else f"{row[key]:g}"
        figures = _TRAINED if is_trained else dict(zip(_SIMULATED, _SIMULATED, strict=True))
        for key, title in figures.items():
            if key in cells:
                line[title] = _cell_text(cells[key])
        shown.setdefault(row["cohort"].replace("_", " "), []).append(line)
    return shown


def _tests_overview(tests: list[dict[str, Any]]) -> dict[str, list[dict[str, object]]]:
    """By cohort, a line for each test."""
    shown: dict[str, list[dict[str, object]]] = {}
    for row in tests:
        of = " - ".join(row["pair"]) if "pair" in row else f"{row['num_blocks']} {row['blocks']}"
        line: dict[str, object] = {"test": row["test"], "of": of}
        line["difference, %"] = _cell_text(_percent(row["difference"])) if "pair" in row else "-"
        for key, title in (("p_value", "p"), ("p_value_holm", "Holm"), ("paper_p_value", "paper")):
            line[title] = "-" if row.get(key) is None else f"{row[key]:.2g}"
        shown.setdefault(row["cohort"].replace("_", " "), []).append(line)
    return shown


def _percent(cell: dict[str, Any]) -> dict[str, Any]:
    return {name: None if value is None else 100 * value for name, value in cell.items()}


def _cell_text(cell: dict[str, Any]) -> str:
    if cell["mean"] is None:
        return "-"
    spread = f" ± {_number(cell['se'], digits=1)}" if cell["se"] else ""
    paper = f" [{_number(cell['paper'])}]" if "paper" in cell else ""
    return _number(cell["mean"]) + spread + paper


def _number(value: float, digits: int = 3) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.{digits}g}"


def _cells(row: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {key: cell for key, cell in row.items() if isinstance(cell, dict)}


def _print_misprint(row: dict[str, Any]) -> None:
    for key, cell in _cells(row).items():
        if cell.get("paper_misprint"):
            print(
                f"The paper's {key} = {cell['paper']:g} ({row['cohort']}, {row['method']}) is a "
                f"misprint: its own row implies {cell['paper_implied']:.0f}; "
                f"here {cell['mean']:.0f} ± {cell['se'] or 0:.0f}."
            )
