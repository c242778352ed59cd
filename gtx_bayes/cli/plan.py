"""`gtx-bayes plan`: how much gold and how many labels reach a target error, or a width."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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

if TYPE_CHECKING:
    from gtx_bayes.inference.beta import CohortPrior

COMMAND = "gtx-bayes plan"
RESULT_FILES = ("plan.json", "plan.csv", "plan.png")
_RANGE = "0.6,0.9"


@command
def plan(
    *,
    target_error: Annotated[float | None, typer.Option(help="Error rate to reach.")] = None,
    width: Annotated[
        float | None,
        typer.Option(
            metavar="W",
            help="In place of an error: the width that the 95 % interval of a share is to have, "
            "from end to end.",
        ),
    ] = None,
    pilot: Annotated[
        Path | None,
        typer.Option(
            metavar="SUMMARY",
            help="For --width: a summary.json of estimate, for what the crowd is worth.",
        ),
    ] = None,
    share: Annotated[
        float, typer.Option(help="For --width without --pilot: the share to expect.")
    ] = 0.5,
    num_examples: Annotated[
        int | None, typer.Option(min=1, help="Examples to label. [default: those of --pilot]")
    ] = None,
    num_labelers: Annotated[int | None, typer.Option(min=1, help="Labelers. [default: 10]")] = None,
    accuracy: Annotated[
        str | None,
        typer.Option(metavar="LOW,HIGH", help=f"Range of their accuracies. [default: {_RANGE}]"),
    ] = None,
    prior: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="In place of the range: Beta(A, B) of their accuracies."),
    ] = None,
    cost_per_gold: Annotated[
        float, typer.Option(min=0.0, help="Price of one labeler's answer to one gold example.")
    ] = 1.0,
    cost_per_label: Annotated[float, typer.Option(help="Price of one label.")] = 1.0,
    costs: Annotated[
        Path | None,
        typer.Option(
            "--cost",
            metavar="TABLE",
            help="Labelers by name, each with a price: worker, cost, and where it is known "
            "accuracy. Then also who is to answer is planned, and gold answers cost that price.",
        ),
    ] = None,
    output: Annotated[Path | None, output_option("Directory for plan.json, .csv, .png.")] = None,
    runs: Annotated[int, typer.Option(min=2, help="Simulated cohorts.")] = 100,
    devices: DevicesOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Find the cheapest gold, threshold and cap that reach a target error, by simulation.

    Two classes; labelers come in random order and are collected by confidence threshold, with
    accuracies learnt from the gold under the prior of the cohort. With --cost, what the labelers
    of a table take where it is chosen who answers, and where it is not. With --width, how much
    gold gives an interval of a share that width, without any simulation.
    """
    start = time.perf_counter()
    if width is not None:
        if target_error is not None:
            raise InputError("there is a target error too.", where="--width", hint="Give one.")
        for option, beside in {
            "--cost": costs,
            "--prior": prior,
            "--accuracy": accuracy,
            "--num-labelers": num_labelers,
        }.items():
            if beside is not None:
                what = "says nothing of the gold that an interval takes."
                raise InputError(what, where=option, hint="Leave it out, or --width.")
        record = _plan_width(width, pilot, share, num_examples)
        record["seconds"] = round(time.perf_counter() - start, 3)
        _write_width(record, output, pilot)
        _print_width(record, output, as_json=as_json)
        return
    for option, given in {"--target-error": target_error, "--num-examples": num_examples}.items():
        if given is None:
            raise InputError("is missing.", where=option, hint="Give it, or --width.")
    if pilot is not None:
        raise InputError("is for --width.", where="--pilot", hint="Leave it out, or give --width.")
    assert target_error is not None
    assert num_examples is not None
    if costs is not None:
        if num_labelers is not None or (cost_per_label, cost_per_gold) != (1.0, 1.0):
            raise InputError(
                "the table says who there is and what they cost.",
                where="--cost",
                hint="Leave out --num-labelers, --cost-per-gold and --cost-per-label.",
            )
        from gtx_bayes.cli.plan_panel import plan_panel

        plan_panel(
            costs,
            _cohort(accuracy, prior),
            says_accuracies=(accuracy, prior) != (None, None),
            target_error=target_error,
            num_examples=num_examples,
            output=output,
            runs=runs,
            devices=devices,
            seed=seed,
            as_json=as_json,
        )
        return
    with stage("Starting"):
        import contextlib

        import jax

        from gtx_bayes.experiments import plan as study
        from gtx_bayes.io.writers import whole_files, write_summary

        mesh = mesh_of(devices)
        cohort = _cohort(accuracy, prior)
        config = study.Config(
            target_error=target_error,
            num_examples=num_examples,
            num_labelers=10 if num_labelers is None else num_labelers,
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
            "num_labelers": config.num_labelers,
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


def _cohort(accuracy: str | None, prior: str | None) -> "CohortPrior":
    """The prior of the labelers' accuracies."""
    from gtx_bayes.experiments.plan import prior_of_range
    from gtx_bayes.inference.beta import CohortPrior

    if prior is None:
        low, high = _two_numbers(_RANGE if accuracy is None else accuracy, "--accuracy", _RANGE)
        return prior_of_range(low, high)
    a, b = _two_numbers(prior, "--prior", "18,6")
    if not (a > 0 and b > 0):
        raise InputError("a and b must be above 0.", where="--prior")
    return CohortPrior(a / (a + b), a + b)


def _two_numbers(text: str, where: str, example: str) -> tuple[float, float]:
    try:
        first, second = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(
            f"'{text}' is no pair of numbers.", where=where, hint=f"Give two, such as {example}."
        ) from error
    return first, second


def _plan_width(
    width: float, pilot: Path | None, share: float, num_examples: int | None
) -> dict[str, Any]:
    """How much gold each class needs, with the crowd and by gold alone."""
    from gtx_bayes.panels.shares import INTERVAL_PROB, gold_for_width

    if not 0.0 < width < 1.0:
        raise InputError(f"the width is {width:g}.", where="--width", hint="Give one up to 1.")
    if not 0.0 < share < 1.0:
        raise InputError(f"the share is {share:g}.", where="--share", hint="Give one up to 1.")
    population, classes = "finite", [("any", share, share * (1.0 - share))]
    if pilot is not None:
        found = _read_pilot(pilot)
        population = found["population"]
        num_examples = found["num_examples"] if num_examples is None else num_examples
        classes = [
            (row["label"], row["share"], variance)
            for row, variance in zip(found["shares"], found["residual_variance"], strict=False)
        ]
    if num_examples is None:
        raise InputError("is missing.", where="--num-examples", hint="Give it, or --pilot.")

    def needed(variance: float, at: float) -> int | None:
        number = gold_for_width(
            width, variance, num_examples, is_sample=population == "infinite", share=at
        )
        return None if number == float("inf") else min(-int(-number // 1), num_examples)

    rows = [
        {
            "label": label,
            "share": at,
            "num_gold": None if pilot is None else needed(variance, at),
            "num_gold_alone": needed(at * (1.0 - at), at),
        }
        for label, at, variance in classes
    ]
    numbers = [needed(variance, at) for _, at, variance in classes]
    known = [number for number in numbers if number is not None]
    return {
        "command": COMMAND,
        "name": "width",
        "width": width,
        "interval_prob": INTERVAL_PROB,
        "population": population,
        "num_examples": num_examples,
        "reachable": len(known) == len(numbers),
        "num_gold": max(known) if len(known) == len(numbers) else None,
        "rows": rows,
    }


def _read_pilot(pilot: Path) -> dict[str, Any]:
    """The summary of an estimate."""
    path = pilot.expanduser()
    path = path / "summary.json" if path.is_dir() else path
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        is_one = found["command"] == "gtx-bayes estimate" and None not in found["residual_variance"]
    except FileNotFoundError as error:
        raise InputError(
            "there is no such file.", where=str(pilot), hint="Give a summary.json of estimate."
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            "this is no summary of estimate.", where=str(pilot), hint="Give its summary.json."
        ) from error
    if not is_one:
        raise InputError(
            "this is no summary of estimate.", where=str(pilot), hint="Give its summary.json."
        )
    return found


def _write_width(record: dict[str, Any], output: Path | None, pilot: Path | None) -> None:
    if output is None:
        return
    import pandas as pd

    from gtx_bayes.io.writers import whole_files, write_summary

    with whole_files(output, RESULT_FILES, COMMAND, [pilot]) as partial:
        write_summary(record, partial, RESULT_FILES[0])
        pd.DataFrame(record["rows"]).to_csv(partial / RESULT_FILES[1], index=False)


def _print_width(record: dict[str, Any], output: Path | None, *, as_json: bool) -> None:
    if as_json:
        print_json(record)
        return
    rows = [
        {
            "class": str(row["label"]),
            "share": f"{row['share']:.3f}",
            "gold with the crowd": row["num_gold"],
            "gold alone": row["num_gold_alone"],
        }
        for row in record["rows"]
    ]
    print_table(f"Gold for an interval of width {record['width']:g}", rows)
    if not record["reachable"]:
        print(f"A sample of {record['num_examples']} examples is too small for that width.")
    elif record["rows"][0]["num_gold"] is None:
        print(
            f"{record['num_gold']} gold labels without a crowd. With one it may be fewer: estimate "
            "with 20 or more, and give its summary.json as --pilot."
        )
    else:
        print(f"{record['num_gold']} gold labels in all, drawn at random.")
    if output is not None:
        print(f"{', '.join(RESULT_FILES[:2])} are in {output}.")
