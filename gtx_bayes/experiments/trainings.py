"""How a network is trained on imputed labels: all of it, or a linear head on its features."""

import abc
import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Key

from gtx_bayes.finetune.efficientnet import EfficientNet
from gtx_bayes.finetune.head import HeadConfig, cached_features, train_head
from gtx_bayes.finetune.images import ImageSet
from gtx_bayes.finetune.predictions import network_logits
from gtx_bayes.finetune.split import Split
from gtx_bayes.finetune.targets import Targets
from gtx_bayes.finetune.train import TrainingConfig, train


class Logits(NamedTuple):
    """What a trained network says.

    Attributes:
        evaluation: of the images withheld.
        assessment: of those that assessed the labelers, whose classes are known.
    """

    evaluation: Float[np.ndarray, "num_evaluation num_classes"]
    assessment: Float[np.ndarray, "num_assessment num_classes"]


Trainer = Callable[[Key[Array, ""], Targets], Logits]
"""Trains on the images of the pool towards targets, from the same start each time."""


class AbstractTraining(abc.ABC):
    """How a network is trained on imputed labels: a frozen dataclass; a subclass is final."""

    @abc.abstractmethod
    def prepare(self, network: EfficientNet, images: ImageSet, split: Split) -> Trainer:
        """What is common to all trainings, done once."""

    @abc.abstractmethod
    def described(self) -> str:
        """One sentence for the notes of the study."""


@dataclasses.dataclass(frozen=True)
class FullFineTuning(AbstractTraining):
    """All weights of the network move, for three epochs by default, as in the paper."""

    config: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)

    def prepare(self, network: EfficientNet, images: ImageSet, split: Split) -> Trainer:
        """The pixels, part by part."""
        pool = images.pixels[split.training]
        others = images.pixels[split.evaluation], images.pixels[split.assessment]

        def trained(key: Key[Array, ""], targets: Targets) -> Logits:
            found = train(key, network, pool, targets, self.config).network
            return Logits(*(network_logits(found, part) for part in others))

        return trained

    def described(self) -> str:
        """What is trained, and how long."""
        return f"All weights of the network are trained, for {self.config.num_epochs} epochs."


@dataclasses.dataclass(frozen=True)
class HeadOnly(AbstractTraining):
    """The network stays as it is and its features are computed once; a linear head is trained."""

    config: HeadConfig = dataclasses.field(default_factory=HeadConfig)

    def prepare(self, network: EfficientNet, images: ImageSet, split: Split) -> Trainer:
        """Features of every image."""
        features = cached_features(network, images.pixels)
        parts = split.training, split.evaluation, split.assessment
        pool, *others = (jax.device_put(features[part]) for part in parts)

        def trained(key: Key[Array, ""], targets: Targets) -> Logits:
            head = train_head(key, pool, targets, self.config)
            return Logits(*(np.asarray(head.logits(part)) for part in others))

        return trained

    def described(self) -> str:
        """What is trained."""
        return (
            "Only a linear head on the features of the network is trained, for "
            f"{self.config.num_epochs} epochs; the paper trains all weights for 3."
        )
