"""`gtx-bayes simulate`: input for other commands where there is none, its truth known."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gtx_bayes.cli.options import JsonOption, SeedOption, output_option
from gtx_bayes.cli.terminal import command, print_next, print_summary, stage
from gtx_bayes.cli.usage import Command, Program
from gtx_bayes.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from gtx_bayes.finetune.images import ImageSet
    from gtx_bayes.finetune.split import Split

COMMAND = "gtx-bayes simulate images"
RESULT_FILES = ("images.parquet", "labels.csv", "gold.csv", "truth.csv", "summary.json")

_GOLD = _WITHHELD = 0.15  # shares of the images, as nearly as whole videos allow

app = typer.Typer(
    cls=Program,
    help="Draw input for other commands, with its truth.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def _group() -> None:
    """Draw input for other commands, with its truth."""


@command
def images(
    *,
    output: Annotated[Path, output_option("Directory to write to.")],
    num_images: Annotated[int, typer.Option(min=40, help="Number of scenes.")] = 1050,
    num_labelers: Annotated[int, typer.Option(min=1, help="Number of labelers.")] = 10,
    accuracy: Annotated[
        str, typer.Option(metavar="LOW,HIGH", help="Accuracies are drawn evenly between these.")
    ] = "0.6,0.9",
    labels_per_image: Annotated[int, typer.Option(min=1, help="Answers to each image.")] = 3,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Draw scenes of a drill press, the answers of simulated labelers, and the truth.

    Writes images.parquet (with the video of each image as its group), labels.csv, gold.csv and
    truth.csv, the last of images that nobody labels, for `finetune`. The scenes are the first of
    `--images synthetic-drilling`; the seed draws labelers, answers, and which videos are gold.
    Needs the extra 'finetune'.
    """
    start = time.perf_counter()
    from gtx_bayes.io.writers import OutputDirectory, write_summary

    directory = OutputDirectory(output, COMMAND, RESULT_FILES)
    low, high = _accuracies(accuracy)
    if labels_per_image > num_labelers:
        raise InputError(
            f"{num_labelers} labelers cannot give {labels_per_image} answers to an image.",
            where="--labels-per-image",
            hint="Each answers once: ask for fewer, or for more labelers.",
        )
    with stage("Drawing scenes and answers"):
        import jax

        from gtx_bayes.finetune.split import split_images
        from gtx_bayes.finetune.synthetic_drilling import render
        from gtx_bayes.simulation import simulate_answers, uniform_cohort

        key_split, key_cohort, key_answers = jax.random.split(jax.random.key(seed), 3)
        scenes = render(jax.random.key(0), num_images)
        split = split_images(key_split, scenes, assessment=_GOLD, evaluation=_WITHHELD)
        labelers = uniform_cohort(key_cohort, num_labelers, low, high)
        queue = simulate_answers(
            key_answers, labelers, scenes.true_label, max_labels=labels_per_image
        )
    with stage(f"Writing {output}"), directory:
        _write_images(scenes, directory.path / RESULT_FILES[0])
        tables = _tables(scenes, split, queue.labels)
        for name, table in tables.items():
            table.to_csv(directory.path / name, index=False)
        summary = {
            "command": COMMAND,
            "seed": seed,
            "num_images": num_images,
            "num_labels": len(tables["labels.csv"]),
            "num_gold": len(tables["gold.csv"]),
            "num_withheld": len(tables["truth.csv"]),
            "accuracy": [round(float(each), 4) for each in labelers.accuracy],
            "seconds": round(time.perf_counter() - start, 3),
            "notes": ["Everything is drawn: scenes, labelers and answers."],
            "warnings": [],
        }
        write_summary(summary, directory.path)
    counts = ("num_images", "num_labels", "num_gold", "num_withheld")
    overview = {name.removeprefix("num_"): summary[name] for name in counts}
    print_summary(summary, output, overview, output, as_json=as_json)
    if not as_json:
        files = [output / name for name in RESULT_FILES]
        words = ("--images", files[0], "--labels", files[1], "--gold", files[2])
        print_next(("finetune", *words, "--truth", files[3], "--output", "tuned"))


app.command("images", cls=Command)(images)


def _accuracies(text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(","))
        if 0.0 <= low <= high <= 1.0:
            return low, high
    except ValueError:
        pass
    raise InputError(
        f"'{text}' are no two accuracies.",
        where="--accuracy",
        hint="Give the lowest and the highest, from 0 to 1, such as 0.6,0.9.",
    )


def _tables(scenes: "ImageSet", split: "Split", labels: object) -> "dict[str, pd.DataFrame]":
    """Answers to all but the images withheld, gold, and the truth of those withheld."""
    import numpy as np
    import pandas as pd

    by_image = np.asarray(labels).T.copy()  # one row per image
    by_image[split.evaluation] = -1
    image, labeler = np.nonzero(by_image >= 0)
    answers = {
        "task": scenes.names[image],
        "worker": [f"w{number}" for number in labeler],
        "label": scenes.class_names[by_image[image, labeler]],
    }
    known = pd.DataFrame({"task": scenes.names, "label": scenes.class_names[scenes.true_label]})
    return {
        "labels.csv": pd.DataFrame(answers),
        "gold.csv": known.iloc[split.assessment],
        "truth.csv": known.iloc[split.evaluation],
    }


def _write_images(scenes: "ImageSet", path: Path) -> None:
    """As the library `datasets` writes images, with the group of each."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from gtx_bayes.finetune.decoding import as_png

    held = [
        {"bytes": as_png(pixels), "path": f"{name}.png"}
        for name, pixels in zip(scenes.names, scenes.pixels, strict=True)
    ]
    videos = [str(name).partition("-")[0] for name in scenes.names]
    pq.write_table(pa.table({"image": held, "group": videos}), path, compression="none")
