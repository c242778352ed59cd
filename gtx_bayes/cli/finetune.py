"""`gtx-bayes finetune`: images and a crowd's answers in; a classifier and its page out."""

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gtx_bayes.cli.tables import (
    AbstainOption,
    BlankChoice,
    BlankOption,
    ClassesOption,
    ClassPriorOption,
    DependenceOption,
    DuplicateChoice,
    DuplicatesOption,
    GoldLabelColumnOption,
    GoldOption,
    GoldTaskColumnOption,
    LabelColumnOption,
    MethodOption,
    MethodOptionsOption,
    ModelOption,
    TaskColumnOption,
    WorkerColumnOption,
    given,
    method_of,
    parse_abstain,
    parse_options,
    parse_prior,
)
from gtx_bayes.cli.terminal import (
    DebugOption,
    JsonOption,
    SeedOption,
    in_options,
    print_json,
    print_notes,
    print_record,
    progress,
    reports_errors,
    stage,
)
from gtx_bayes.cli.training import (
    BrokenChoice,
    BrokenOption,
    NetworkChoice,
    PrecisionChoice,
    TableOption,
    TargetsChoice,
    training_config,
)
from gtx_bayes.errors import InputError

if TYPE_CHECKING:
    from gtx_bayes.aggregation.base import AbstractMethod
    from gtx_bayes.classifier.imputed import Imputed
    from gtx_bayes.finetune.efficientnet import EfficientNet
    from gtx_bayes.finetune.images import ImageSet

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


@reports_errors
def finetune(
    images: Annotated[
        list[str],
        typer.Option(
            metavar="DIR|FILE.parquet|synthetic-drilling|paper",
            help="The images; Parquet files may be several.",
        ),
    ],
    labels: Annotated[
        Path,
        typer.Option(help="Answers: task, worker, label; or known labels: task, label."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory to write results to.")],
    gold: GoldOption = None,
    truth: Annotated[
        Path | None,
        typer.Option(help="True labels of images to judge by and never train on: task, label."),
    ] = None,
    table: TableOption = None,
    size: Annotated[
        int, typer.Option(min=16, help="Side in pixels that images are brought to.")
    ] = 224,
    network: Annotated[NetworkChoice, typer.Option(help="Size of the network.")] = NetworkChoice.b0,
    weights: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Pretrained weights (safetensors); may be several. "
            "[default: ImageNet's for b0, from the Hugging Face hub]",
        ),
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Draw at random what the weights lack.")
    ] = False,
    targets: Annotated[
        TargetsChoice | None,
        typer.Option(help="[default: soft where the method has a posterior, else hard]"),
    ] = None,
    head_only: Annotated[
        bool, typer.Option("--head-only", help="Train the last layer alone, in seconds.")
    ] = False,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1, help="How often every image is seen. [default: 3, with --head-only 30]"
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images of a step.")] = 16,
    learning_rate: Annotated[float, typer.Option(help="Learning rate at its peak.")] = 1e-3,
    average: Annotated[
        float | None,
        typer.Option(help="Return a running average of the weights; the share kept at each step."),
    ] = None,
    precision: Annotated[
        PrecisionChoice, typer.Option(help="Type of the network's products.")
    ] = PrecisionChoice.float32,
    broken: BrokenOption = BrokenChoice.refuse,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Put the training down in this file, and take it up from there after a kill; "
            "removed when the result is written.",
        ),
    ] = None,
    method: MethodOption = "gtx-bayes",
    method_option: MethodOptionsOption = None,
    model: ModelOption = "auto",
    dependence: DependenceOption = "learned",
    class_prior: ClassPriorOption = None,
    classes: ClassesOption = None,
    duplicates: DuplicatesOption = DuplicateChoice.error,
    abstain: AbstainOption = None,
    blank: BlankOption = BlankChoice.error,
    task_column: TaskColumnOption = None,
    worker_column: WorkerColumnOption = None,
    label_column: LabelColumnOption = None,
    gold_task_column: GoldTaskColumnOption = None,
    gold_label_column: GoldLabelColumnOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
    debug: DebugOption = False,
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
        from gtx_bayes.diagnostics.report.page import Origin
        from gtx_bayes.finetune.checkpoint import Checkpoint, remove_checkpoint
        from gtx_bayes.finetune.sources import read_images
        from gtx_bayes.io.readers import read_table
        from gtx_bayes.io.writers import OutputDirectory, refuse_inputs, write_summary

    files = [Path(source) for source in images if Path(source).is_file()]
    inputs = (labels, gold, truth, table, *(weights or ()), *files)
    directory = OutputDirectory(output, COMMAND, RESULT_FILES, inputs)
    config = training_config(head_only, epochs, batch_size, learning_rate, average)
    if checkpoint is not None:
        checkpoint = checkpoint.expanduser()
        _check_checkpoint(checkpoint, directory.target, head_only)
        refuse_inputs(checkpoint, inputs)
    tables: dict[str, Any] = {
        "columns": given(example=task_column, labeler=worker_column, label=label_column),
        "gold_columns": given(example=gold_task_column, label=gold_label_column),
        "classes": None if classes is None else classes.split(","),
        "duplicates": duplicates.value,
        "abstain": parse_abstain(abstain),
        "blank": blank.value,
    }
    chosen = method_of(method, method_option)
    with stage(f"Aggregating {labels}"):
        imputed = _impute(
            labels, gold, tables, chosen, parse_prior(class_prior), parse_options(model, dependence)
        )
    key_parts, key_weights, key_train = jax.random.split(jax.random.key(seed), 3)
    with stage(f"Reading {', '.join(images)}"):
        # One key for all seeds: the drawn scenes are one set, whose names tables can hold.
        pictures = read_images(jax.random.key(0), images, table, size=size, broken=broken.value)
        truth_frame, truth_source = (
            (None, None) if truth is None else read_table(truth, columns_for(TRUTH_ROLES))
        )
        parts = part_images(key_parts, pictures, imputed, truth_frame, truth_source=truth_source)
    with stage("Reading the weights"):
        start_network = _network(
            key_weights, pictures, imputed, network.value, precision.value, weights, allow_missing
        )
    with progress(f"Training on {int(parts.trains.sum())} images") as tell:
        tuning = fine_tune(
            key_train,
            start_network,
            pictures,
            imputed,
            parts,
            config,
            targets=None if targets is None else targets.value,
            checkpoint=None if checkpoint is None else Checkpoint(checkpoint),
            progress=tell,
        )
    with stage(f"Writing {output}"), directory:
        asked = {
            "images": ", ".join(Path(source).name for source in images),
            "labels": labels.name,
            "gold": None if gold is None else gold.name,
            "truth": None if truth is None else truth.name,
            "method": imputed.method,
            "network": network.value,
            "weights": ", ".join(path.name for path in weights or ()) or None,
            "epochs": str(config.num_epochs),
            "batch size": str(batch_size),
            "learning rate": f"{learning_rate:g}",
            "average": None if average is None else f"{average:g}",
            "precision": precision.value,
            "seed": str(seed),
        }
        origin = Origin(
            Path(images[0]).name, {k: v for k, v in asked.items() if v is not None}, start
        )
        found = write_result(tuning, directory.path, origin)
        summary = {"command": COMMAND, "network": network.value, **found}
        write_summary(summary, directory.path)
    if checkpoint is not None:
        remove_checkpoint(checkpoint)
    print_notes([*summary["notes"], *summary["warnings"]])
    if as_json:
        print_json({**summary, "output": str(output)})
        return
    print_record(f"{output / RESULT_FILES[0]}", _overview(summary))


def _check_checkpoint(checkpoint: Path, output: Path, head_only: bool) -> None:
    """Raise `InputError` for a checkpoint that this command could not keep."""
    if head_only:
        raise InputError(
            "a last layer alone is trained in seconds and is not put down.",
            where="--checkpoint",
            mend="Leave it out.",
        )
    if checkpoint.resolve().is_relative_to(output):
        raise InputError(
            f"{checkpoint} lies in the directory of results, which is replaced.",
            where="--checkpoint",
            mend="Name a file elsewhere.",
        )


def _impute(
    labels: Path,
    gold: Path | None,
    tables: dict[str, Any],
    method: "AbstractMethod",
    class_prior: list[float] | dict[str, float] | None,
    options: dict[str, Any],
) -> "Imputed":
    """Labels for the tasks: aggregated, or as a table without workers has them."""
    from gtx_bayes.aggregation.aggregate import aggregate
    from gtx_bayes.classifier.imputed import Imputed, has_labelers
    from gtx_bayes.columns import ANSWER_ROLES, TRUTH_COLUMNS, TRUTH_ROLES, Table, columns_for
    from gtx_bayes.crowd import Crowd
    from gtx_bayes.io.readers import read_table

    roles = {**ANSWER_ROLES, "label": TRUTH_COLUMNS}
    frame, source = read_table(labels, columns_for(roles, tables["columns"]))
    if not has_labelers(frame, tables["columns"]):
        if gold is not None:
            raise InputError(
                "the table of labels names no workers: all its labels are known already.",
                where=str(gold),
                mend="Leave --gold out (--truth names images to judge by), or name the column of "
                "the workers (`--worker-column`).",
            )
        known = {name: tables[name] for name in ("columns", "classes", "abstain")}
        return Imputed.known(frame, source=source, **known)
    wanted = columns_for(TRUTH_ROLES, tables["gold_columns"])
    of_gold = None if gold is None else read_table(gold, wanted)
    crowd = Crowd.from_frames(Table(frame, source), of_gold, **tables)
    crowd = dataclasses.replace(crowd, notes=tuple(in_options(note) for note in crowd.notes))
    return Imputed.by(aggregate(crowd, method, class_prior=class_prior, **options))


def _network(
    key: Any,
    images: "ImageSet",
    imputed: "Imputed",
    size: str,
    precision: Any,
    files: list[Path] | None,
    allow_missing: bool,
) -> "EfficientNet":
    """The network to start from, for images of the size they have."""
    from gtx_bayes.finetune.efficientnet import EfficientNetConfig
    from gtx_bayes.finetune.weights import download, load_backbone

    if not files and size != NetworkChoice.b0:
        raise InputError(
            f"no published weights of {size} are known here.",
            where="--network",
            mend="Give a safetensors file of them (`--weights FILE`), or use b0.",
        )
    config = dataclasses.replace(
        EfficientNetConfig.of_size(size, imputed.num_classes),
        resolution=images.pixels.shape[1],
        compute_dtype=precision,
    )
    found = load_backbone(key, config, files or [download()], allow_missing=allow_missing)
    return found.network


def _overview(summary: dict[str, Any]) -> dict[str, object]:
    scores = {
        f"accuracy, {part}": f"{found['accuracy']:.4f} of {found['num_examples']} images"
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
        "seconds": f"{summary['seconds']:.1f}",
    }
