"""The temperature of a classifier's confidence: fitted on gold, and left out where refuted."""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.special
from jaxtyping import Float, Int

from gtx_bayes.classifier.parts import LEAST_GOLD, Parts
from gtx_bayes.errors import WarningNote
from gtx_bayes.finetune.near_duplicates import near_duplicates
from gtx_bayes.finetune.predictions import fit_temperature

MOST_COPIES: Final = 1 / 3
"""Share of the gold held out that may nearly be copies of images trained on."""

_BEYOND_NOISE = 2.0  # standard errors
_NAME_GROUPS = (
    "Name the groups of images that are alike, such as frames of one video or photographs of one "
    "thing, in a column `group` of the images' own table: whole groups are then held out."
)


class Temperature(NamedTuple):
    """What logits are divided by, and what was found of it.

    Attributes:
        value: what logits are divided by; 1 where nothing was fitted, or what was is refuted.
        fitted: what the gold held out asks for; None without any.
        notes: what a user should know.
    """

    value: float
    fitted: float | None
    notes: tuple[str, ...]


def has_copies(
    features: Float[np.ndarray, "num_images num_features"],
    parts: Parts,
    group: Int[np.ndarray, " num_images"],
) -> bool:
    """Whether the gold held out is easier than other images, as nearly copies were trained on.

    Where groups are named they are held out whole, and nothing is asked.

    Args:
        features: of a network that was not trained on the images.
        parts: what became of each image.
        group: number of each image's group.
    """
    if not parts.assesses.any() or np.unique(group).size < len(group):
        return False
    copied = near_duplicates(features[parts.assesses], features[parts.trains])
    return bool(copied.mean() > MOST_COPIES)


def checked_temperature(
    logits: Float[np.ndarray, "num_images num_classes"],
    parts: Parts,
    group: Int[np.ndarray, " num_images"],
    *,
    is_copied: bool,
) -> Temperature:
    """The temperature that the gold held out asks for, unless something refutes it.

    Two things do. Gold of which nearly copies were trained on is easier than other images, so that
    an honest temperature is higher than it asks for: one below 1 is left out. And images that
    evaluate refute a temperature that makes their log loss higher than no temperature does, by two
    standard errors of the difference, groups taken whole.

    Args:
        logits: of every image.
        parts: what became of each image.
        group: number of each image's group.
        is_copied: what `has_copies` says.
    """
    if not parts.assesses.any():
        return Temperature(1.0, None, ("The confidence of the model was not checked.",))
    fitted = fit_temperature(logits[parts.assesses], parts.true_label[parts.assesses])
    notes, value = [], fitted
    if is_copied:
        left = "The temperature it asks for is left out. " if fitted < 1 else ""
        value = max(fitted, 1.0)
        notes.append(
            "Many of the images of the gold held out are nearly copies of images trained on: their "
            f"scores and confidence say too much good of other images. {left}{_NAME_GROUPS}"
        )
    losses = [_log_losses(logits, parts, at) for at in (1.0, value)]
    number = np.unique(group[parts.evaluates], return_inverse=True)[1]
    if value != 1.0 and number.max(initial=-1) + 1 >= LEAST_GOLD:
        change = losses[1] - losses[0]
        off = np.bincount(number, change - change.mean())
        if change.mean() > _BEYOND_NOISE * np.sqrt((off**2).sum()) / change.size:
            value = 1.0
            notes.append(
                f"The temperature {fitted:.2f} that the gold held out asks for is left out: with "
                f"it the log loss of the images that evaluate is {losses[1].mean():.3f} instead of "
                f"{losses[0].mean():.3f}."
                + ("" if is_copied or np.unique(group).size < len(group) else f" {_NAME_GROUPS}")
            )
    return Temperature(value, fitted, tuple(map(WarningNote, notes)))


def _log_losses(
    logits: Float[np.ndarray, "num_images num_classes"], parts: Parts, temperature: float
) -> npt.NDArray[np.float64]:
    """Of each image that evaluates, in nats."""
    truth = parts.true_label[parts.evaluates]
    scaled = np.asarray(logits[parts.evaluates], np.float64) / temperature
    log_probs = scipy.special.log_softmax(scaled, axis=1)
    return np.asarray(-log_probs[np.arange(truth.size), truth])
