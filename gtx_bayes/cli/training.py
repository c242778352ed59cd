"""Options of the commands that read images, and how a network is to be trained."""

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gtx_bayes.errors import InputError

if TYPE_CHECKING:
    from gtx_bayes.finetune.head import HeadConfig
    from gtx_bayes.finetune.train import TrainingConfig


class BrokenChoice(enum.StrEnum):
    """What to do with images that cannot be read."""

    refuse = "refuse"
    skip = "skip"


class NetworkChoice(enum.StrEnum):
    """Published sizes of the network."""

    b0 = "b0"
    b1 = "b1"
    b2 = "b2"
    b3 = "b3"
    b4 = "b4"


class TargetsChoice(enum.StrEnum):
    """What to train towards."""

    hard = "hard"
    soft = "soft"
    weighted = "weighted"


class PrecisionChoice(enum.StrEnum):
    """Type of the network's products."""

    float32 = "float32"
    bfloat16 = "bfloat16"


BrokenOption = Annotated[
    BrokenChoice, typer.Option(help="What to do with images that cannot be read.")
]
TableOption = Annotated[
    Path | None,
    typer.Option(
        help="For a folder of images: their own table. Columns file; label, group, split if any."
    ),
]


def training_config(
    head_only: bool,
    epochs: int | None,
    batch_size: int,
    learning_rate: float,
    average: float | None,
) -> "TrainingConfig | HeadConfig":
    """How to train, the options checked."""
    from gtx_bayes.finetune.adamw import AdamW
    from gtx_bayes.finetune.head import HeadConfig
    from gtx_bayes.finetune.train import TrainingConfig

    if not 0.0 < learning_rate < float("inf"):
        raise InputError(
            f"the learning rate is {learning_rate:g}.",
            where="--learning-rate",
            mend="Give a positive number, such as 0.001.",
        )
    if average is not None and not 0.0 <= average < 1.0:
        raise InputError(
            f"the share kept is {average:g}.",
            where="--average",
            mend="Give a number from 0 to below 1, such as 0.99.",
        )
    optimiser = AdamW(learning_rate)
    if not head_only:
        return TrainingConfig(epochs or 3, batch_size, optimiser, average=average)
    if average is not None:
        raise InputError(
            "a last layer alone is not averaged.",
            where="--average",
            mend="Leave it out, or train the whole network.",
        )
    return HeadConfig(epochs or 30, batch_size, optimiser)
