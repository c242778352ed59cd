"""What the methods share that find labelers by expectation maximisation (`inference.em`)."""

import abc
import dataclasses
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from jax.sharding import Mesh

from gtx_bayes.aggregation.base import (
    NOT_CONVERGED,
    AbstractMethod,
    Fit,
    LabelerAccuracy,
    check_option,
)
from gtx_bayes.aggregation.gtx import ClassPosterior
from gtx_bayes.inference import em
from gtx_bayes.inference.gold_counts import gold_counts
from gtx_bayes.inference.model_size import check_model_size
from gtx_bayes.labels import Assessment, Labels
from gtx_bayes.posterior import ClassPrior
from gtx_bayes.registry import MODELS

ESTIMATES = ("ml", "map")


@dataclasses.dataclass(frozen=True)
class AbstractEM(AbstractMethod):
    """Labelers as one estimate, which makes the answers most probable; gold keeps its labels.

    Attributes:
        num_steps: the most passes over the answers.
        tolerance: stop when no class probability changes by more.
        smoothing: how often every answer is counted more to every class; with "ml".
        estimate: "ml", maximum likelihood, or "map", the mode given the cohort's default prior.
        model: name of the labeler model.
    """

    model: ClassVar[str]

    num_steps: int = em.MAX_STEPS
    tolerance: float = em.TOLERANCE
    smoothing: float = em.SMOOTHING
    estimate: str = "ml"

    @abc.abstractmethod
    def m_step(self, num_classes: int) -> em.AbstractMStep:
        """The labeler model, and what is added to its counts."""

    def fit(
        self,
        labels: Labels,
        assessment: Assessment,
        class_prior: ClassPrior | None = None,
        *,
        mesh: Mesh | None = None,
    ) -> Fit:
        """Labelers and, where no prior is given, proportions of the classes; on one device.

        Raises:
            InputError: for options outside their range, or tables of confusion out of all
                proportion to the answers.
        """
        self._check(labels)
        found = em.fit(
            labels,
            assessment,
            self.m_step(labels.num_classes),
            class_prior,
            max_steps=self.num_steps,
            tolerance=self.tolerance,
        )
        report = LabelerAccuracy.without_interval(
            mean_accuracy(np.asarray(found.model.confusion_matrix), found.class_prior),
            "an estimate without a posterior",
            gold_counts(labels, assessment),
        )
        notes = () if found.converged else (NOT_CONVERGED,)
        return Fit(
            ClassPosterior(found.model, found.class_prior),
            report,
            self.model,
            notes,
            class_prior=found.class_prior,
        )

    def _check(self, labels: Labels) -> None:
        for name, is_right, wanted in (
            ("num_steps", self.num_steps >= 1, "a whole number from 1"),
            ("tolerance", self.tolerance >= 0, "a number from 0"),
            ("smoothing", self.smoothing >= 0, "a number from 0"),
            ("estimate", self.estimate in ESTIMATES, " or ".join(ESTIMATES)),
        ):
            check_option(self, name, is_right, wanted)
        check_model_size(
            MODELS.build(self.model),
            num_labels=labels.num_labels,
            num_labelers=labels.num_labelers,
            num_classes=labels.num_classes,
        )


def mean_accuracy(
    confusion: npt.NDArray[np.floating], class_prior: ClassPrior
) -> npt.NDArray[np.floating]:
    """Probability of a right answer to an example of the crowd, per labeler."""
    proportions = np.atleast_2d(np.asarray(class_prior)).mean(axis=0)
    return np.diagonal(confusion, axis1=1, axis2=2) @ proportions
