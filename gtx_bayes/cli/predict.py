"""`gtx-bayes predict`: a model that `finetune` saved, applied to images."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gtx_bayes.cli.options import ImageOptions, JsonOption
from gtx_bayes.cli.terminal import command, print_next, print_summary, stage
from gtx_bayes.errors import split_warnings

if TYPE_CHECKING:
    from gtx_bayes.evaluation import Scored
    from gtx_bayes.finetune.images import ImageSet

COMMAND = "gtx-bayes predict"


@command
def predict(
    *,
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="model.safetensors, as finetune wrote it.")
    ],
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGES", help="A folder, Parquet files, synthetic-drilling or paper."
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Table to write (.csv, .tsv, .jsonl, .parquet).")
    ],
    batch_size: Annotated[int, typer.Option(min=1, help="Images at once.")] = 32,
    sources: ImageOptions,
    as_json: JsonOption = False,
) -> None:
    """Say of every image its label, its confidence and the probability of each class.

    Where labels of the images are known, the predictions are scored against them.
    """
    start = time.perf_counter()
    with stage(f"Reading {model}"):
        import jax

        from gtx_bayes.classifier.fine_tune import predictions_table
        from gtx_bayes.finetune.predictions import class_probs, network_logits
        from gtx_bayes.finetune.sources import read_images
        from gtx_bayes.finetune.weights import load
        from gtx_bayes.io.writers import OutputFile, check_ending, fill_table

        check_ending(output)
        inputs = (model, sources.table, *(source for source in images if Path(source).is_file()))
        predictions = OutputFile(output, inputs)
        tuned = load(model)
    with stage(f"Reading {', '.join(images)}"):
        pictures = read_images(
            jax.random.key(0),
            images,
            sources.table,
            size=tuned.network.config.resolution,
            broken=sources.broken,
        )
    with stage(f"Looking at {pictures.num_images} images"):
        logits = network_logits(tuned.network, pictures.pixels, batch_size=batch_size)
        probs = class_probs(logits, tuned.temperature)
        found = predictions_table(pictures.names, tuned.class_names, probs)
        scored = _scored(found, pictures)
        with predictions.written() as partial:
            fill_table(found, partial)
    notes = [*pictures.notes, *(scored.notes if scored is not None else ())]
    record: dict[str, Any] = {
        "command": COMMAND,
        "num_images": pictures.num_images,
        "classes": [str(name) for name in tuned.class_names],
        "temperature": tuned.temperature,
        "mean_confidence": float(found["confidence"].mean()),
        "scores": _scores(scored),
        "seconds": round(time.perf_counter() - start, 3),
        **split_warnings(notes),
    }
    overview = {
        "images": record["num_images"],
        "classes": ", ".join(record["classes"][:6]),
        "mean confidence": record["mean_confidence"],
        **(record["scores"] or {}),
    }
    print_summary(record, output, overview, output, as_json=as_json)
    if not as_json:
        print_next(("evaluate", output, "--truth", "TRUTH.csv"))


def _scored(predictions: Any, images: "ImageSet") -> "Scored | None":
    """The images whose labels are known, if there are any."""
    import pandas as pd

    from gtx_bayes.columns import Source, Table
    from gtx_bayes.evaluation import match_truth
    from gtx_bayes.labels import MISSING

    known = images.true_label != MISSING
    if not known.any():
        return None
    truth = pd.DataFrame(
        {"task": images.names[known], "label": images.class_names[images.true_label[known]]}
    )
    return match_truth(predictions, Table(truth, Source("the images' labels")))


def _scores(scored: "Scored | None") -> dict[str, Any] | None:
    from gtx_bayes.evaluation import as_record, evaluate

    if scored is None:
        return None
    return {"num_examples": int(scored.true_label.size), **as_record(evaluate(scored))}
