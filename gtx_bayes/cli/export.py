"""`gtx-bayes export`: a result as other tools take it."""

import time
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from gtx_bayes.cli.options import JsonOption, output_option
from gtx_bayes.cli.terminal import command, print_summary, stage

COMMAND = "gtx-bayes export"
RESULT_FILES = ("data.parquet", "README.md", "summary.json")


@command
def export(
    *,
    examples: Annotated[
        Path,
        typer.Argument(metavar="EXAMPLES", help="An examples.csv, or the directory it is in."),
    ],
    to: Annotated[
        Literal["label-studio", "fiftyone", "hugging-face"],
        typer.Option(
            help="Predictions to import into Label Studio; labels and confidences for FiftyOne; or "
            "a dataset with soft labels and a card."
        ),
    ],
    output: Annotated[
        Path, output_option("File to write (JSON), or for hugging-face the directory.")
    ],
    from_name: Annotated[
        str, typer.Option(help="Label Studio: name of the Choices tag.")
    ] = "choice",
    to_name: Annotated[
        str, typer.Option(help="Label Studio: name of the tag that is labelled.")
    ] = "text",
    as_json: JsonOption = False,
) -> None:
    """Write class probabilities as another tool takes them."""
    start = time.perf_counter()
    from gtx_bayes import exporters
    from gtx_bayes.io.readers import read_table
    from gtx_bayes.io.writers import OutputDirectory, OutputFile, refuse_results, write_summary

    path = examples / "examples.csv" if examples.is_dir() else examples
    if to != "hugging-face":
        refuse_results(output)
    with stage(f"Reading {path}"):
        table = read_table(path)
    summary: dict[str, Any] = {
        "command": COMMAND,
        "to": to,
        "num_examples": len(table.frame),
        "classes": exporters.class_names(table),
        "seconds": 0.0,
        "notes": [],
        "warnings": [],
    }
    if to == "hugging-face":
        with OutputDirectory(output, COMMAND, RESULT_FILES, [path]) as directory:
            frame = exporters.soft_labels(table)
            frame.to_parquet(directory.path / "data.parquet", index=False)
            card = exporters.card(table, {"made by": "gtx-bayes aggregate"})
            (directory.path / "README.md").write_text(card, encoding="utf-8")
            summary["seconds"] = round(time.perf_counter() - start, 3)
            write_summary(summary, directory.path)
    else:
        names = {"from_name": from_name, "to_name": to_name} if to == "label-studio" else {}
        found = exporters.IN_JSON[to](table, **names)
        with OutputFile(output, [path]).written() as partial:
            partial.write_text(exporters.as_text(found), encoding="utf-8")
        summary["seconds"] = round(time.perf_counter() - start, 3)
    overview = {"examples": summary["num_examples"], "classes": ", ".join(summary["classes"][:6])}
    print_summary(summary, output, overview, f"{to} → {output}", as_json=as_json)
