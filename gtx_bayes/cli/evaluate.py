"""`gtx-bayes evaluate`: how good a result is against true labels."""

from pathlib import Path
from typing import Annotated

import typer

from gtx_bayes.cli.options import (
    JsonOption,
    LossOption,
    RiskOption,
    SeedOption,
    parse_risk,
    read_if_given,
)
from gtx_bayes.cli.terminal import command, print_json, print_next, print_notes, print_table, stage
from gtx_bayes.errors import InputError

IMAGE_ENDINGS = (".png", ".svg", ".pdf")


@command
def evaluate(
    *,
    examples: Annotated[
        Path,
        typer.Argument(metavar="EXAMPLES", help="An examples.csv: task and prob_<class> columns."),
    ],
    truth: Annotated[Path, typer.Option(metavar="TABLE", help="True labels: task, label.")],
    exclude: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE", help="A table of tasks not to score, such as the gold that was used."
        ),
    ] = None,
    plots: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a reliability diagram as an image.")
    ] = None,
    ordered: Annotated[
        bool | None,
        typer.Option(
            "--ordered/--unordered",
            help="Whether classes are in the order of their columns: then also the ranked "
            "probability score, and by how many grades labels are off. [default: where three or "
            "more are numbers]",
        ),
    ] = None,
    loss: LossOption = None,
    risk: RiskOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Score class probabilities against true labels.

    Every metric comes with its standard error. Nothing here is random: tied classes are credited
    with their expected accuracy. With --loss also what decisions of the least expected loss cost,
    and labels; with --risk how many of the accepted labels of each class are wrong.
    """
    diagram, targets = None, parse_risk(risk)
    if plots is not None:
        if plots.suffix.lower() not in IMAGE_ENDINGS:
            raise InputError(
                f"the ending '{plots.suffix}' names no image format.",
                where="--plots",
                hint=f"Use one of {', '.join(IMAGE_ENDINGS)}.",
            )
        from gtx_bayes.io.writers import OutputFile

        diagram = OutputFile(plots, (examples, truth, exclude))
    with stage("Scoring"):
        from gtx_bayes.columns import TRUTH_ROLES, columns_for, columns_of_probs
        from gtx_bayes.evaluation import as_record, match_truth, score_decisions
        from gtx_bayes.evaluation import evaluate as score
        from gtx_bayes.io.readers import read_table

        of_truth = columns_for(TRUTH_ROLES)
        scored = match_truth(
            read_table(examples, columns_of_probs),
            read_table(truth, of_truth),
            read_if_given(exclude, of_truth),
        )
        found = {
            **as_record(score(scored, ordered=ordered)),
            "num_examples": int(scored.true_label.shape[0]),
        }
        losses = read_if_given(loss, lambda _: True)
        decided = score_decisions(scored, loss=losses, risk=targets)
        found |= as_record(decided.losses)
        record = {**found, **({} if targets is None else {"risk": decided.risk})}
    if diagram is not None:
        from gtx_bayes import metrics
        from gtx_bayes.diagnostics.plots import plot_reliability, save_figure

        curve = metrics.reliability_curve(*scored[:2], num_bins=10, binning="equal-mass")
        with diagram.written() as partial:
            save_figure(plot_reliability(curve), partial)
    print_notes(scored.notes)
    if as_json:
        print_json(record)
        return
    rows = [
        {"metric": name, "value": found[name], "standard error": found[f"{name}_se"]}
        for name in found
        if f"{name}_se" in found
    ]
    print_table(f"{record['num_examples']} examples", rows)
    if targets is not None:
        print_table("Accepted labels", decided.risk)
    if diagram is None:
        again = ("evaluate", examples, "--truth", truth)
        more = () if exclude is None else ("--exclude", exclude)
        print_next((*again, *more, "--plots", "reliability.png"))
    else:
        print(f"The reliability diagram is in {plots}.")
        print_next(("diagnose", "LABELS", "--gold", truth, "--output", "report"))
