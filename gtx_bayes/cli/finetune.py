"""`gtx-bayes finetune`: images and a crowd's answers in; a classifier and its page out."""

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gtx_bayes.cli.aggregate import refuse_in_results
from gtx_bayes.cli.diagnose import origin_of
from gtx_bayes.cli.options import (
    AnswerOptions,
    GoldOption,
    ImageOptions,
    JsonOption,
    MethodOptions,
    ModelOptions,
    SeedOption,
    output_option,
    read_if_given,
)
from gtx_bayes.cli.terminal import (
    command,
    in_options,
    number_text,
    print_next,
    print_summary,
    progress,
    stage,
    words_of,
)
from gtx_bayes.errors import InputError

if TYPE_CHECKING:
    from gtx_bayes.classifier.fine_tune import HeadOrAll
    from gtx_bayes.classifier.imputed import Imputed
    from gtx_bayes.finetune.efficientnet import EfficientNet
    from gtx_bayes.finetune.head import HeadConfig
    from gtx_bayes.finetune.images import ImageSet
    from gtx_bayes.finetune.train import TrainingConfig

COMMAND = "gtx-bayes finetune"
RESULT_FILES = (
    "report.html",
    "model.safetensors",
    "predictions.csv",
    "disagreements.csv",
    "training.csv",
    "epochs.csv",
    "summary.json",
)


@dataclasses.dataclass(frozen=True)
class TrainingOptions:
    """How the network is trained."""

    train: Annotated[
        Literal["auto", "head", "all"],
        typer.Option(
            help="The last layer alone, all weights from there, or what is better on gold held out."
        ),
    ] = "auto"
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1, help="How often every image is seen. [default: 3, with --train head 30]"
        ),
    ] = None
    batch_size: Annotated[int, typer.Option(min=1, help="Images of a step.")] = 16
    learning_rate: Annotated[
        float | None,
        typer.Option(help="Learning rate at its peak. [default: 0.0001, with --train head 0.001]"),
    ] = None
    statistics: Annotated[
        Literal["kept", "batch"] | None,
        typer.Option(
            help="What norms go by while all weights are trained: the statistics that the network "
            "came with, or those of each batch. [default: kept]"
        ),
    ] = None
    average: Annotated[
        float | None,
        typer.Option(help="Return a running average of the weights; the share kept at each step."),
    ] = None

    def config(self) -> "TrainingConfig | HeadConfig | HeadOrAll":
        """How to train, the options checked."""
        from gtx_bayes.classifier.fine_tune import HeadOrAll
        from gtx_bayes.finetune.adamw import AdamW
        from gtx_bayes.finetune.head import HeadConfig
        from gtx_bayes.finetune.train import TrainingConfig

        rate = self.learning_rate
        if rate is not None and not 0.0 < rate < float("inf"):
            raise InputError(
                f"the learning rate is {rate:g}.",
                where="--learning-rate",
                hint="Give a positive number, such as 0.001.",
            )
        if self.average is not None and not 0.0 <= self.average < 1.0:
            raise InputError(
                f"the share kept is {self.average:g}.",
                where="--average",
                hint="Give a number from 0 to below 1, such as 0.99.",
            )
        if self.train == "head":
            self._refuse_for_a_head()
            return HeadConfig(self.epochs or 30, self.batch_size, AdamW(rate or 1e-3))
        whole = TrainingConfig(
            self.epochs or 3,
            self.batch_size,
            AdamW(rate or 1e-4),
            statistics=self.statistics or "kept",
            average=self.average,
        )
        return whole if self.train == "all" else HeadOrAll(whole=whole)

    def _refuse_for_a_head(self) -> None:
        what = {
            "average": "a last layer alone is not averaged.",
            "statistics": "norms keep their statistics where a last layer alone is trained.",
        }
        for name, text in what.items():
            if getattr(self, name) is not None:
                raise InputError(
                    text, where=f"--{name}", hint="Leave it out, or train the whole network."
                )


@dataclasses.dataclass(frozen=True)
class NetworkOptions:
    """The network to start from."""

    network: Annotated[
        Literal["b0", "b1", "b2", "b3", "b4"], typer.Option(help="Size of the network.")
    ] = "b0"
    weights: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Pretrained weights (safetensors); may be several. "
            "[default: ImageNet's for b0, from the Hugging Face hub]",
        ),
    ] = None
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Draw at random what the weights lack.")
    ] = False
    precision: Annotated[
        Literal["float32", "bfloat16"], typer.Option(help="Type of the network's products.")
    ] = "float32"

    def load(self, key: Any, images: "ImageSet", num_classes: int) -> "EfficientNet":
        """The network, for images of the size they have."""
        from gtx_bayes.finetune.efficientnet import EfficientNetConfig
        from gtx_bayes.finetune.weights import download, load_backbone

        if not self.weights and self.network != "b0":
            raise InputError(
                f"no published weights of {self.network} are known here.",
                where="--network",
                hint="Give a safetensors file of them (`--weights FILE`), or use b0.",
            )
        config = dataclasses.replace(
            EfficientNetConfig.of_size(self.network, num_classes),
            resolution=images.pixels.shape[1],
            compute_dtype=self.precision,
        )
        files = self.weights or [download()]
        return load_backbone(key, config, files, allow_missing=self.allow_missing).network


@command
def finetune(
    *,
    images: Annotated[
        list[str],
        typer.Option(
            metavar="DIR|FILE.parquet|synthetic-drilling|paper",
            help="The images; Parquet files may be several.",
        ),
    ],
    labels: Annotated[
        Path,
        typer.Option(
            metavar="TABLE", help="Answers: task, worker, label; or known labels: task, label."
        ),
    ],
    output: Annotated[Path, output_option("Directory to write results to.")],
    gold: GoldOption = None,
    truth: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE",
            help="True labels of images to judge by and never train on: task, label.",
        ),
    ] = None,
    sources: ImageOptions,
    size: Annotated[
        int, typer.Option(min=16, help="Side in pixels that images are brought to.")
    ] = 224,
    networks: NetworkOptions,
    targets: Annotated[
        Literal["hard", "soft", "weighted"] | None,
        typer.Option(help="[default: soft where the method has a posterior, else hard]"),
    ] = None,
    training: TrainingOptions,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Put the training down in this file, and take it up from there after a kill; "
            "removed when the result is written.",
        ),
    ] = None,
    methods: MethodOptions,
    models: ModelOptions,
    tables: AnswerOptions,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Fine-tune a classifier of images on what a crowd said of them.

    Aggregates the answers, matches tasks with images by name, trains, and writes the model, its
    predictions, the labels it disputes and report.html to the output directory, which appears
    whole or not at all and replaces an earlier result. Gold sets the temperature of the
    confidence, where there are at least 20 images of each class. Needs the extra 'finetune'.
    """
    start = time.perf_counter()
    with stage("Starting"):
        import jax

        from gtx_bayes.classifier.fine_tune import fine_tune
        from gtx_bayes.classifier.parts import part_images
        from gtx_bayes.classifier.result import write_result
        from gtx_bayes.columns import TRUTH_ROLES, columns_for
        from gtx_bayes.finetune.checkpoint import Checkpoint, remove_checkpoint
        from gtx_bayes.finetune.sources import read_images
        from gtx_bayes.io.writers import OutputDirectory, refuse_inputs, write_summary

    files = [Path(source) for source in images if Path(source).is_file()]
    weights = networks.weights or []
    inputs = (labels, gold, truth, sources.table, *weights, *files)
    directory = OutputDirectory(output, COMMAND, RESULT_FILES, inputs)
    config = training.config()
    if checkpoint is not None:
        checkpoint = checkpoint.expanduser()
        if training.train == "head":
            raise InputError(
                "a last layer alone is trained in seconds and is not put down.",
                where="--checkpoint",
                hint="Leave it out.",
            )
        refuse_in_results(checkpoint, directory.target, "--checkpoint")
        refuse_inputs(checkpoint, inputs)
    with stage(f"Aggregating {labels}"):
        imputed = _impute(labels, gold, tables, methods, models)
    key_parts, key_weights, key_train = jax.random.split(jax.random.key(seed), 3)
    with stage(f"Reading {', '.join(images)}"):
        # One key for all seeds: the drawn scenes are one set, whose names tables can hold.
        pictures = read_images(
            jax.random.key(0), images, sources.table, size=size, broken=sources.broken
        )
        of_truth = read_if_given(truth, columns_for(TRUTH_ROLES))
        truth_frame, truth_source = of_truth or (None, None)
        parts = part_images(key_parts, pictures, imputed, truth_frame, truth_source=truth_source)
    with stage("Reading the weights"):
        start_network = networks.load(key_weights, pictures, imputed.num_classes)
    with progress(f"Training on {int(parts.trains.sum())} images") as advance:
        tuning = fine_tune(
            key_train,
            start_network,
            pictures,
            imputed,
            parts,
            config,
            targets=targets,
            checkpoint=None if checkpoint is None else Checkpoint(checkpoint),
            progress=advance,
        )
    with stage(f"Writing {output}"), directory:
        options = {
            "images": ", ".join(Path(source).name for source in images),
            "labels": labels,
            "gold": gold,
            "truth": truth,
            "method": imputed.method,
            "network": networks.network,
            "weights": ", ".join(path.name for path in weights),
            "train": training.train,
            "epochs": training.epochs,
            "batch size": training.batch_size,
            "learning rate": training.learning_rate,
            "statistics": training.statistics,
            "average": None if training.average is None else f"{training.average:g}",
            "precision": networks.precision,
            "seed": seed,
        }
        origin = origin_of(Path(images[0]), options, start)
        found = write_result(tuning, directory.path, origin)
        summary = {"command": COMMAND, "network": networks.network, **found}
        write_summary(summary, directory.path)
    if checkpoint is not None:
        remove_checkpoint(checkpoint)
    print_summary(summary, output, _overview(summary), output / RESULT_FILES[0], as_json=as_json)
    if not as_json:
        of_crowd = (labels, *(() if gold is None else ("--gold", gold)), *words_of(tables))
        opinion = output / "disagreements.csv"
        print_next(
            ("predict", output / "model.safetensors", "IMAGES", "--output", "predictions.csv"),
            ("next", *of_crowd, "--batch", 20, "--second-opinion", opinion),
        )


def _impute(
    labels: Path,
    gold: Path | None,
    tables: AnswerOptions,
    methods: MethodOptions,
    models: ModelOptions,
) -> "Imputed":
    """Labels for the tasks: aggregated, or as a table without workers has them."""
    from gtx_bayes.aggregation.aggregate import aggregate
    from gtx_bayes.classifier.imputed import Imputed, has_labelers
    from gtx_bayes.columns import ANSWER_ROLES, TRUTH_COLUMNS, Table, columns_for
    from gtx_bayes.crowd import Crowd
    from gtx_bayes.io.readers import read_table

    method, prior, options = methods.build(), models.prior(), models.arguments()
    columns = tables.columns()
    roles = {**ANSWER_ROLES, "label": TRUTH_COLUMNS}
    frame, source = read_table(labels, columns_for(roles, columns))
    if not has_labelers(frame, columns):
        if gold is not None:
            raise InputError(
                "the table of labels names no workers: all its labels are known already.",
                where=str(gold),
                hint="Leave --gold out (--truth names images to judge by), or name the column of "
                "the workers (`--worker-column`).",
            )
        return Imputed.known(
            frame,
            source=source,
            columns=columns,
            classes=tables.class_names(),
            abstain=tables.abstentions(),
        )
    of_gold = tables.read_gold(gold)
    crowd = Crowd.from_frames(Table(frame, source), of_gold, **tables.crowd_arguments())
    crowd = dataclasses.replace(crowd, notes=tuple(in_options(note) for note in crowd.notes))
    return Imputed.by(aggregate(crowd, method, class_prior=prior, **options))


def _overview(summary: dict[str, Any]) -> dict[str, object]:
    scores = {
        f"accuracy, {part}": f"{number_text(found['accuracy'])} of {found['num_examples']} images"
        for part, found in summary["scores"].items()
    }
    return {
        "images": f"{summary['num_images']}, {summary['num_trained']} of them trained on",
        "labels": f"{summary['method']}, targets {summary['targets']}",
        **scores,
        "temperature": summary["temperature"],
        "labels disputed": summary["num_disputed"],
        "labels overruled": summary["num_overruled"],
        "wrong labels expected": summary["expected_wrong"],
    }
