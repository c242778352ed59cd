"""`gtx-bayes plan --cost`: what a panel with prices takes to reach a target error."""

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gtx_bayes.cli.options import mesh_of
from gtx_bayes.cli.terminal import number_text, print_json, print_next, print_table, progress, stage
from gtx_bayes.errors import InputError

if TYPE_CHECKING:
    from gtx_bayes.experiments.panel_plan import PanelPlan
    from gtx_bayes.inference.beta import CohortPrior

COMMAND = "gtx-bayes plan"
RESULT_FILES = ("plan.json", "plan.csv", "plan.png")


class Panel(NamedTuple):
    """Labelers of a table.

    Attributes:
        names: who they are.
        costs: price of an answer of each.
        accuracy: of each; None where the table does not say.
    """

    names: tuple[str, ...]
    costs: tuple[float, ...]
    accuracy: tuple[float, ...] | None


def read_panel(path: Path) -> Panel:
    """The labelers of a table with the columns worker, cost and, if known, accuracy.

    Raises:
        InputError: for a table without them, and for values that are no prices or probabilities.
    """
    import pandas as pd

    from gtx_bayes.collection.costs import COST_ROLES, read_costs
    from gtx_bayes.columns import as_names, columns_for, read_columns
    from gtx_bayes.io.readers import read_table

    of_accuracy = {"accuracy": ("accuracy",)}
    frame, source = read_table(path, columns_for({**COST_ROLES, **of_accuracy}))
    found = read_costs(frame, {}, source, None, as_names([]))
    if found.labelers is None or found.price.shape[1] != 1:
        raise source.error("it does not price workers.", "Give a column worker and a column cost.")
    accuracy = None
    column = read_columns(frame, of_accuracy, {}, source, optional=("accuracy",)).get("accuracy")
    if column is not None:
        values = pd.to_numeric(pd.Series(column.cells, dtype=object), errors="coerce").to_numpy()
        for at in range(len(values)):
            if not 0.0 <= values[at] <= 1.0:
                raise InputError(
                    f"'{column.keys[at]}' is no accuracy.",
                    where=source.row(at),
                    hint="Give a number from 0 to 1.",
                )
        accuracy = tuple(values.tolist())
    names = tuple(str(name) for name in found.labelers)
    return Panel(names, tuple(found.price[:, 0].tolist()), accuracy)


def plan_panel(
    costs: Path,
    cohort: "CohortPrior",
    *,
    says_accuracies: bool,
    target_error: float,
    num_examples: int,
    output: Path | None,
    runs: int,
    devices: str | None,
    seed: int,
    as_json: bool,
) -> None:
    """Simulate, write and print; refuse accuracies that are said beside those of the table."""
    start = time.perf_counter()
    with stage(f"Reading {costs}"):
        import jax

        from gtx_bayes.experiments import panel_plan as study
        from gtx_bayes.io.writers import whole_files, write_summary

        mesh = mesh_of(devices)
        panel = read_panel(costs)
        if says_accuracies and panel.accuracy is not None:
            raise InputError(
                "the table says the accuracies.",
                where="--cost",
                hint="Leave out --accuracy and --prior, or that column.",
            )
        config = study.Config(
            target_error,
            num_examples,
            panel.costs,
            panel.accuracy,
            mean=cohort.mean,
            concentration=cohort.concentration,
        )
    with contextlib.ExitStack() as stack:
        partial = None
        if output is not None:
            partial = stack.enter_context(
                whole_files(output, RESULT_FILES, COMMAND, inputs=(costs,))
            )
        with progress("Simulating") as advance:
            found = study.run(jax.random.key(seed), config, runs=runs, progress=advance, mesh=mesh)
        record = {
            "command": COMMAND,
            "name": study.NAME,
            "runs": runs,
            "seed": seed,
            "target_error": target_error,
            "num_examples": num_examples,
            "labelers": panel.names,
            "costs": panel.costs,
            "accuracy": panel.accuracy,
            "prior": {"a": cohort.a, "b": cohort.b},
            "reachable": found.best is not None,
            "best": found.best,
            "lowest_error": float(found.study.points["error"].min()),
            "seconds": round(time.perf_counter() - start, 3),
            "rows": found.study.rows,
        }
        if partial is not None:
            write_summary(record, partial, RESULT_FILES[0])
            found.study.points.to_csv(partial / RESULT_FILES[1], index=False)
            study.plot(found, config).savefig(partial / RESULT_FILES[2], dpi=150)
    if as_json:
        print_json(record)
        return
    _print(found, record, costs)
    if output is not None:
        print(f"{', '.join(RESULT_FILES)} are in {output}.")
    if found.best is not None:
        buy = ("--cost", costs, "--strategy", found.best["strategy"])
        print_next(("next", "LABELS", "--gold", "GOLD", *buy, "--risk", target_error))


def _print(found: "PanelPlan", record: dict[str, Any], costs: Path) -> None:
    from gtx_bayes.experiments.panel_plan import BASELINE

    rows = []
    for row in found.study.rows:
        share = row[f"over_{BASELINE}"]
        shown = "" if share["mean"] is None else f"{share['mean']:.2f}"
        if share["se"]:
            shown = f"{shown} ± {share['se']:.2f}"
        rows.append(
            {
                "gold": row["gold_per_labeler"],
                "strategy": row["strategy"],
                "cost": "not reached" if row["cost"] is None else f"{row['cost']:.0f}",
                "of it gold": f"{row['cost_of_gold']:.0f}",
                f"labels, over {BASELINE}": shown,
            }
        )
    target = record["target_error"]
    print_table(f"An error of {target:g} by {len(record['costs'])} labelers of {costs}", rows)
    best = found.best
    if best is None:
        print(f"No strategy reaches it. The lowest error is {number_text(record['lowest_error'])}.")
        return
    print(
        f"Cheapest: {best['strategy']} with {best['gold_per_labeler']} gold answers per labeler: "
        f"cost {best['cost']:.0f}, {number_text(best['cost_per_example'])} for the labels of an "
        "example."
    )
