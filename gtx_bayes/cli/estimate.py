"""`gtx-bayes estimate`: the share of every class in a population, from a little gold."""

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gtx_bayes.cli.aggregate import SIZES, values_of
from gtx_bayes.cli.compilation_cache import compile_quickly
from gtx_bayes.cli.gates import NOT_REACHED, Checked, parse_gates
from gtx_bayes.cli.options import (
    CrowdOptions,
    JsonOption,
    LabelsArgument,
    MethodOptions,
    ModelOptions,
    SeedOption,
    named,
    output_option,
)
from gtx_bayes.cli.terminal import (
    command,
    in_options,
    print_json,
    print_next,
    print_notes,
    print_table,
    stage,
)
from gtx_bayes.errors import InputError, split_warnings

if TYPE_CHECKING:
    import pandas as pd

    from gtx_bayes.panels.estimate import ShareEstimate

COMMAND = "gtx-bayes estimate"
RESULT_FILES = ("shares.csv", "difference.csv", "summary.json", "shares.png")
_SHOWN = 24


@command
def estimate(
    *,
    labels: LabelsArgument,
    gold: Annotated[
        Path, typer.Option(help="Known labels of examples drawn at random: task, label.")
    ],
    by: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Shares of each slice too: a column of LABELS, or of --example-table, with one "
            "value a task, such as the system that made it.",
        ),
    ] = None,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="A B", help="Shares of slice A less those of slice B."),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Column with what tasks were drawn together, such as a document. With --compare, "
            "tasks of one cluster are paired, such as two systems' answers to one question.",
        ),
    ] = None,
    gold_weight: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Column of GOLD with one over the probability that the task was drawn, blank for "
            "certainty. [default: all were as probable]",
        ),
    ] = None,
    population: Annotated[
        Literal["finite", "infinite"],
        typer.Option(help="Shares of these tasks, or of what they are a random sample of."),
    ] = "finite",
    folds: Annotated[int, typer.Option(min=2, help="Fits, each without its part of the gold.")] = 5,
    fail_under: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CLASS=SHARE",
            help=f"Exit code {NOT_REACHED} unless the lower limit of the class is at least this; "
            "may be repeated.",
        ),
    ] = None,
    fail_over: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CLASS=SHARE",
            help=f"Exit code {NOT_REACHED} unless the upper limit of the class is at most this; "
            "may be repeated.",
        ),
    ] = None,
    output: Annotated[
        Path | None, output_option("Directory for shares.csv and summary.json.")
    ] = None,
    plots: Annotated[
        bool, typer.Option("--plots", help="Write shares.png, with --output.")
    ] = False,
    methods: MethodOptions,
    models: ModelOptions,
    tables: CrowdOptions,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Estimate the share of every class, with intervals valid whatever the model.

    What is known is counted, what is not is predicted by the crowd, and the predictions are
    corrected by gold that the fits behind them did not see. GOLD has to be a random sample of the
    tasks. Gold alone and the crowd alone stand beside. Nothing is drawn: --seed changes nothing.
    """
    start = time.perf_counter()
    if plots and output is None:
        raise InputError(
            "there is no directory to write a plot to.", where="--plots", hint="Name --output."
        )
    directory = None
    inputs = tables.inputs(labels, gold)
    if output is not None:
        from gtx_bayes.io.writers import OutputDirectory

        directory = OutputDirectory(output, COMMAND, RESULT_FILES, inputs)
    with stage(f"Reading {named(labels)}"):
        from gtx_bayes.panels.columns import of_examples, of_gold

        method = methods.build()
        crowd = tables.read_crowd(labels, gold)
        compile_quickly(crowd.labels.num_labels)
        of_columns = {"by": by, "cluster": cluster}
        columns: dict[str, Any] = {
            role: of_examples(
                crowd,
                name,
                labels,
                tables.example_table,
                tables.columns("example"),
                tables.reading().get("header"),
            )
            for role, name in of_columns.items()
            if name is not None
        }
        if gold_weight is not None:
            columns["gold_weight"] = of_gold(
                crowd, gold_weight, gold, tables.gold_columns(), tables.names_of_gold()
            )
        classes = [str(name) for name in crowd.class_names]
        parse = partial(
            parse_gates, names=classes, called="class and share", example="pass=0.9", most=1.0
        )
        gates = parse("--fail-under", "low", fail_under) + parse("--fail-over", "high", fail_over)
    with stage(f"Fitting {folds} times, each without a part of the gold"):
        from gtx_bayes.panels.estimate import estimate as apply

        found = apply(
            crowd,
            method,
            compare=compare,
            population=population,
            num_folds=folds,
            class_prior=models.prior(),
            finds_blocs=tables.finds_blocs,
            **columns,
            **models.arguments(),
        )
    limits = zip(found.overall.low.tolist(), found.overall.high.tolist(), strict=True)
    of_class = dict(zip(classes, limits, strict=True))
    checked = [gate.check(*of_class[gate.name]) for gate in gates]
    notes = [in_options(note, ("gold_weight",)) for note in found.notes]
    summary = {
        "command": COMMAND,
        "method": found.method,
        "population": found.population,
        **values_of(crowd.labels, *SIZES),
        "num_gold": found.overall.num_gold,
        "num_folds": found.num_folds,
        "worth": found.worth,
        "verdict": found.verdict,
        "shares": _records(found.table()),
        "compared": found.compared,
        "difference": None if found.difference is None else _records(found.comparison()),
        "residual_variance": _plain(found.overall.residual_variance),
        "gates": [{"label": each.gate.name, **each.record()} for each in checked],
        "seconds": round(time.perf_counter() - start, 3),
        **split_warnings(notes),
    }
    if directory is not None:
        from gtx_bayes.io.writers import write_csv, write_summary

        with stage(f"Writing {output}"), directory:
            write_csv(found.table(), directory.path / "shares.csv")
            if (taken := found.comparison()) is not None:
                write_csv(taken, directory.path / "difference.csv")
            if plots:
                from gtx_bayes.diagnostics.plots import plot_shares, save_figure

                save_figure(plot_shares(found.table()), directory.path / "shares.png")
            write_summary(summary, directory.path)
    print_notes(notes)
    if as_json:
        print_json({**summary, "output": None if output is None else str(output)})
    else:
        _print(found, checked)
        if output is not None:
            print(f"shares.csv and summary.json are in {output}.")
            pilot = ("--pilot", output / "summary.json", "--width", 0.1)
            print_next(("plan", *pilot, "--output", "plan"))
    if not all(each.holds for each in checked):
        raise typer.Exit(NOT_REACHED)


def _plain(values: Any) -> list[float | None]:
    """Numbers as JSON has them."""
    return [float(value) if value == value else None for value in values]


def _records(table: "pd.DataFrame | None") -> list[dict[str, Any]]:
    """Rows as JSON has them: what is no number is null, names are text."""
    assert table is not None
    rows = []
    for row in table.to_dict("records"):
        rows.append(
            {
                str(key): None if isinstance(value, float) and value != value else value
                for key, value in row.items()
            }
            | {"label": str(row["label"])}
        )
    return rows


def _print(found: "ShareEstimate", gates: list[Checked]) -> None:
    """The table, the difference, and what to trust."""
    table = found.table()
    rows = [
        {
            **({"slice": row["slice"]} if "slice" in row else {}),
            "class": str(row["label"]),
            "share": _number(row["share"]),
            "95 % interval": f"{row['low']:.3f} to {row['high']:.3f}",
            "gold alone": f"{row['gold_low']:.3f} to {row['gold_high']:.3f}",
            "gold": str(row["num_gold"]),
            "worth": _number(row["worth"], 0),
            "crowd": _number(row["crowd_share"]),
        }
        for row in table.to_dict("records")
    ]
    of = "these examples" if found.population == "finite" else "what these are a sample of"
    more = "" if len(rows) <= _SHOWN else f", the first {_SHOWN} of {len(rows)} rows"
    print_table(f"Shares of the classes among {of}{more}", rows[:_SHOWN])
    if (taken := found.comparison()) is not None and found.compared is not None:
        first, second = found.compared
        print_table(
            f"{first} less {second}",
            [
                {
                    "class": str(row["label"]),
                    "difference": f"{row['difference']:+.3f}",
                    "95 % interval": f"{row['low']:+.3f} to {row['high']:+.3f}",
                }
                for row in taken.to_dict("records")
            ],
        )
    print(found.verdict)
    for gate in gates:
        print(gate.words(f"The share of {gate.gate.name}"))


def _number(value: float, digits: int = 3) -> str:
    return "-" if value is None or value != value else f"{value:.{digits}f}"
