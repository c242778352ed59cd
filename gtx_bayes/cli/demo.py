"""`gtx-bayes demo`: a simulated crowd, aggregated every way."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from gtx_bayes.cli.options import JsonOption, SeedOption, output_option
from gtx_bayes.cli.terminal import command, print_json, print_next, print_table, stage

if TYPE_CHECKING:
    from gtx_bayes.experiments.demo import Result

COMMAND = "gtx-bayes demo"
RESULT_FILES = (
    "labels.csv",
    "gold.csv",
    "truth.csv",
    "comparison.csv",
    "summary.json",
    "labelers.png",
    "reliability.png",
    "comparison.png",
)


@command
def demo(
    *,
    output: Annotated[Path, output_option("Directory to write to.")] = Path("gtx-bayes-demo"),
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Simulate a crowd and compare the methods.

    Ten labelers of 60 to 90 % accuracy, with five gold answers each, label 2,000 examples. Writes
    the tables that `aggregate` and `evaluate` read, the comparison, and plots.
    """
    from gtx_bayes.io.writers import OutputDirectory, write_summary

    directory = OutputDirectory(output, COMMAND, RESULT_FILES)
    with stage("Simulating a crowd and aggregating it every way"):
        import jax

        from gtx_bayes.experiments.demo import run

        result = run(jax.random.key(seed))
    with stage(f"Writing {output}"), directory:
        labels, gold = result.crowd.to_frames()
        tables = {
            "labels.csv": labels,
            "gold.csv": gold,
            "truth.csv": result.truth,
            "comparison.csv": result.comparison,
        }
        for name, table in tables.items():
            table.to_csv(directory.path / name, index=False)
        _save_plots(result, directory.path)
        summary = {"command": COMMAND, "seed": seed, "rows": result.comparison.to_dict("records")}
        write_summary(summary, directory.path)
    columns = ["method", "error", "mae", "log_loss", "ece"]
    if as_json:
        print_json({**summary, "output": str(output)})
        return
    print_table("Against the truth", result.comparison[columns].to_dict("records"))
    print(f"Tables and plots are in {output}.")
    of_crowd = (output / "labels.csv", "--gold", output / "gold.csv")
    print_next(
        ("aggregate", *of_crowd, "--output", "result"),
        ("diagnose", *of_crowd, "--output", "report"),
    )


def _save_plots(result: "Result", path: Path) -> None:
    from gtx_bayes.diagnostics import plots

    ax = plots.plot_labeler_forest(result.best.labelers(), chance=0.5, truth=result.accuracy)
    plots.save_figure(ax, path / "labelers.png")
    shown = {name: result.reliability[name] for name in ("majority-vote", "gtx", "gtx-bayes")}
    plots.save_figure(plots.plot_reliability(shown), path / "reliability.png")
    ax = plots.plot_comparison(result.comparison, metric="log_loss")
    plots.save_figure(ax, path / "comparison.png")
