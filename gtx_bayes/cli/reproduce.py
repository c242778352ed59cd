"""`gtx-bayes reproduce`: the paper's tables and figures, and studies beyond them."""

import importlib
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from gtx_bayes.cli import finetuning
from gtx_bayes.cli.options import DevicesOption, JsonOption, SeedOption, mesh_of, output_option
from gtx_bayes.cli.terminal import (
    command,
    print_json,
    print_next,
    print_table,
    progress,
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


SIMULATED = ("table1", "table2", "figure1", "figure2", "assessment", "optimality", "policies")
"""Studies of simulated crowds, in the order to read them."""

TRAINED = ("figure4", "figure5")
"""Two views of one study, in which networks are trained."""

OF_FEATURES = ("noise_surface", "efficiency")
"""Studies of heads on features: drawn ones, or of images."""

OF_CROWDS = ("gold_curve",)
"""Studies of real crowds."""


@command
def reproduce(
    *,
    name: Annotated[  # a module of `gtx_bayes.experiments` each
        Literal[
            "table1",
            "table2",
            "figure1",
            "figure2",
            "figure4",
            "figure5",
            "assessment",
            "optimality",
            "policies",
            "noise_surface",
            "efficiency",
            "gold_curve",
        ],
        typer.Argument(
            metavar="NAME",
            help="The table, figure or study: table1, table2, figure1, figure2, figure4, figure5, "
            "assessment, optimality, policies, noise_surface, efficiency or gold_curve.",
        ),
    ],
    output: Annotated[Path, output_option("Directory to write to.")],
    runs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Simulated runs. [default: as in the paper, 100 for table1 and figure1, 10 for "
            "table2 and figure2, 5 for figure4 and figure5; 100 for assessment, 20 for optimality, "
            "500 for policies, 12 for noise_surface, 10 for efficiency, 3 draws of gold for "
            "gold_curve]",
        ),
    ] = None,
    options: finetuning.Options,
    crowds: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="gold_curve: a folder with a folder for each crowd, labels.csv and gold.csv in "
            "it.",
        ),
    ] = None,
    strategy: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|FILE.py:Class",
            help="policies: compare this one too, by its name or as FILE.py:Class; repeat it for "
            "several.",
        ),
    ] = None,
    devices: DevicesOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Repeat the paper's studies and put every figure beside the printed one.

    Writes NAME.json (every figure with mean, standard error, the paper's figure and the z-score
    of the difference), NAME.csv and NAME.png; other files in the directory stay. Trainings of
    figure4 and figure5 are kept in finetuning.jsonl as they end; the same command goes on after
    an interrupt, and the other figure needs no training of its own.
    """
    start = time.perf_counter()
    from gtx_bayes.io.writers import refuse_inputs, whole_files, write_summary

    is_trained, is_of_features = name in TRAINED, name in OF_FEATURES
    if not is_trained:
        options.refuse(name, is_of_features=is_of_features)
    is_of_crowds = name in OF_CROWDS
    if devices is not None and (is_trained or is_of_features or is_of_crowds):
        raise InputError(f"{name} works on one device.", where="--devices", hint="Leave it out.")
    if is_of_crowds != (crowds is not None):
        raise InputError(
            f"{name} is of {'real crowds' if is_of_crowds else 'no crowds that are given'}.",
            where="--crowds",
            hint="Name a folder of crowds." if is_of_crowds else "Leave it out.",
        )
    if strategy and name != "policies":
        raise InputError(
            f"{name} compares no strategies.", where="--strategy", hint="Leave it out."
        )
    files = [f"{name}.{ending}" for ending in ("json", "csv", "png")]
    inputs = [options.table, *(options.weights or ())]
    if options.images is not None and Path(options.images).is_file():
        inputs.append(Path(options.images))
    refuse_inputs(output / LOG, inputs)
    with whole_files(output, files, COMMAND, inputs) as partial:
        with stage(f"Starting {name}"):
            import jax

            mesh = mesh_of(devices)
            module: Any = importlib.import_module(f"gtx_bayes.experiments.{name}")
        if is_trained:
            with progress("Training") as advance:
                log = output.expanduser() / LOG
                study = finetuning.run(options, seed, runs, log, advance)
        else:
            given: dict[str, Any] = {"runs": runs or module.DEFAULT_RUNS}
            if is_of_crowds:
                given["crowds"] = module.find_crowds(crowds)
            elif is_of_features:
                with stage("Looking at images"):
                    given["source"] = finetuning.features(options, seed)
            else:
                given["mesh"] = mesh
                given["config"] = module.Config().comparing(strategy) if strategy else None
            with progress("Training" if is_of_features else f"Simulating {name}") as advance:
                study = module.run(jax.random.key(seed), progress=advance, **given)
        from gtx_bayes.experiments.study import outside

        record: dict[str, Any] = {
            "command": COMMAND,
            "name": name,
            "runs": study.runs,
            "seed": seed,
            "outside": outside(study.rows),
            "seconds": round(time.perf_counter() - start, 3),
            "rows": study.rows,
        }
        if is_trained or is_of_features:
            record["notes"] = list(study.notes)
        if is_trained:
            from gtx_bayes.experiments.finetuning import significance

            record["tests"] = significance(study)
        if is_of_features or is_of_crowds:
            record["findings"] = module.findings(study)
        with stage("Writing"):
            write_summary(record, partial, files[0])
            of_points = name in ("figure2", "figure5")
            (study.points if of_points else study.to_frame()).to_csv(
                partial / files[1], index=False
            )
            module.plot(study).savefig(partial / files[2], dpi=150)
    if as_json:
        print_json(record)
        return
    shown: dict[str, list[dict[str, object]]] = {}
    if is_of_features or is_of_crowds:
        for title, found in record["findings"].items():
            print_table(title.capitalize(), found)
    else:
        shown = _drawn(module, study) or _overview(study.rows)
        for cohort, rows in shown.items():
            print_table(f"{name}, {study.runs} runs, {cohort} labelers", rows)
    for cohort, rows in _tests_overview(record.get("tests", [])).items():
        print_table(f"Balanced error, {cohort} labelers: p-values", rows)
    if "[" in str(shown):
        print("In brackets: what the paper prints.")
    for place in record["outside"]:
        print(f"More than 3 combined standard errors from the paper: {place}")
    for row in study.rows:
        _print_misprint(row)
    for note in study.notes:
        print(note)
    print(f"{', '.join(files)} are in {output}.")
    alike = next(group for group in (SIMULATED, TRAINED, OF_FEATURES, OF_CROWDS) if name in group)
    other = alike[(alike.index(name) + 1) % len(alike)]
    if other == name:
        other = SIMULATED[0]
    print_next(("reproduce", other, "--output", output))


def _drawn(module: Any, study: Any) -> dict[str, list[dict[str, object]]]:
    """By cohort, what a figure draws; nothing for a table."""
    if not hasattr(module, "table"):
        return {}
    return {
        cohort.replace("_", " "): [
            {key: _cell_text(v) if isinstance(v, dict) else v for key, v in line.items()}
            for line in lines
        ]
        for cohort, lines in module.table(study).items()
    }


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
    if value >= 10:
        return f"{value:.0f}"
    return f"{value:#.3g}" if digits == 3 else f"{value:.{digits}g}"


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
