"""`gtx-bayes plan`: how much gold and how many labels reach a target error."""

import time
from pathlib import Path
from typing import Annotated

import typer

from gtx_bayes.cli.options import DevicesOption, JsonOption, SeedOption, mesh_of, output_option
from gtx_bayes.cli.terminal import (
    command,
    number_text,
    print_json,
    print_next,
    print_table,
    progress,
    stage,
)
from gtx_bayes.errors import InputError

COMMAND = "gtx-bayes plan"
RESULT_FILES = ("plan.json", "plan.csv", "plan.png")


@command
def plan(
    *,
    target_error: Annotated[float, typer.Option(help="Error rate to reach.")],
    num_examples: Annotated[int, typer.Option(min=1, help="Examples to label.")],
    num_labelers: Annotated[int, typer.Option(min=1, help="Labelers.")] = 10,
    accuracy: Annotated[
        str, typer.Option(metavar="LOW,HIGH", help="Range of their accuracies.")
    ] = "0.6,0.9",
    prior: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="In place of the range: Beta(A, B) of their accuracies."),
    ] = None,
    cost_per_gold: Annotated[
        float, typer.Option(min=0.0, help="Price of one labeler's answer to one gold example.")
    ] = 1.0,
    cost_per_label: Annotated[float, typer.Option(help="Price of one label.")] = 1.0,
    output: Annotated[Path | None, output_option("Directory for plan.json, .csv, .png.")] = None,
    runs: Annotated[int, typer.Option(min=2, help="Simulated cohorts.")] = 100,
    devices: DevicesOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Find the cheapest gold, threshold and cap that reach a target error, by simulation.

    Two classes; labelers come in random order and are collected by confidence threshold, with
    accuracies learnt from the gold under the prior of the cohort.
    """
    start = time.perf_counter()
    with stage("Starting"):
        import contextlib

        import jax

        from gtx_bayes.experiments import plan as study
        from gtx_bayes.inference.beta import CohortPrior
        from gtx_bayes.io.writers import whole_files, write_summary

        mesh = mesh_of(devices)
        if prior is None:
            cohort = study.prior_of_range(*_two_numbers(accuracy, "--accuracy", "0.6,0.9"))
        else:
            a, b = _two_numbers(prior, "--prior", "18,6")
            if not (a > 0 and b > 0):
                raise InputError("a and b must be above 0.", where="--prior")
            cohort = CohortPrior(a / (a + b), a + b)
        config = study.Config(
            target_error=target_error,
            num_examples=num_examples,
            num_labelers=num_labelers,
            mean=cohort.mean,
            concentration=cohort.concentration,
            cost_per_gold=cost_per_gold,
            cost_per_label=cost_per_label,
        )
    with contextlib.ExitStack() as stack:
        partial = None
        if output is not None:
            partial = stack.enter_context(whole_files(output, RESULT_FILES, COMMAND))
        with progress("Simulating") as advance:
            key = jax.random.key(seed)
            found = study.run(key, config, runs=runs, progress=advance, mesh=mesh)
        record = {
            "command": COMMAND,
            "name": "plan",
            "runs": runs,
            "seed": seed,
            "target_error": target_error,
            "num_examples": num_examples,
            "num_labelers": num_labelers,
            "prior": {"a": cohort.a, "b": cohort.b},
            "cost_per_gold": cost_per_gold,
            "cost_per_label": cost_per_label,
            "reachable": found.best is not None,
            "best": found.best,
            "confirmed_error": found.confirmed,
            "confirmed_reaches_target": found.confirmed is not None
            and found.confirmed["mean"] <= target_error,
            "lowest_error": found.lowest,
            "interval_prob": study.INTERVAL_PROB,
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
    rows = [
        {
            "gold": row["gold_per_labeler"],
            f"{study.INTERVAL_PROB:.0%} width": row["interval_width"],
            "threshold": f"{row['threshold']:g}",
            "cap": row["max_labels"],
            "error": row["error"],
            "cost": f"{row['cost']:.0f}",
            "reached": "yes" if row["reaches_target"] else "no",
        }
        for row in found.study.rows
    ]
    print_table(f"Cheapest way to an error of {target_error:g}, by gold", rows)
    if found.best is None or found.confirmed is None:
        low = found.lowest
        print(
            f"No setting reaches it. The lowest error is {number_text(low['error'])}, with "
            f"{low['gold_per_labeler']} gold answers per labeler, threshold {low['threshold']:g} "
            f"and up to {low['max_labels']} labels."
        )
    else:
        best = found.best
        print(
            f"Cheapest: {best['gold_per_labeler']} gold answers per labeler, threshold "
            f"{best['threshold']:g}, up to {best['max_labels']} labels per example: cost "
            f"{best['cost']:.0f}, error {number_text(found.confirmed['mean'])} ± "
            f"{number_text(found.confirmed['se'])} on fresh simulations."
        )
        if found.confirmed["mean"] > target_error:
            print("The fresh simulations miss the target; more --runs choose better.")
    if output is not None:
        print(f"{', '.join(RESULT_FILES)} are in {output}.")
    if found.best is not None:
        policy = ("--strategy", "confidence-threshold", "--threshold", f"{best['threshold']:g}")
        cap = ("--max-labels", best["max_labels"])
        print_next(("next", "LABELS", "--gold", "GOLD", *policy, *cap, "--batch", 20))


def _two_numbers(text: str, where: str, example: str) -> tuple[float, float]:
    try:
        first, second = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(
            f"'{text}' is no pair of numbers.", where=where, hint=f"Give two, such as {example}."
        ) from error
    return first, second
