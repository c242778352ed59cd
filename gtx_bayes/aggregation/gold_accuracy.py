"""Accuracies measured on gold alone: the start of every plug-in method."""

import abc
import dataclasses
from typing import ClassVar

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float

from gtx_bayes.aggregation.base import (
    INTERVAL_PROB,
    VOTES,
    AbstractAggregator,
    AbstractMethod,
    Fit,
    LabelerAccuracy,
    refuse_class_prior,
)
from gtx_bayes.errors import InputError
from gtx_bayes.inference.gold_counts import gold_counts
from gtx_bayes.inference.plug_in import PlugIn, accuracy_mle
from gtx_bayes.labels import Assessment, Labels
from gtx_bayes.posterior import ClassPrior


@dataclasses.dataclass(frozen=True)
class AbstractPlugIn(AbstractMethod):
    """Accuracies from gold (Eq. 4), put into a rule.

    Attributes:
        model: name of the labeler model behind the rule, or "votes".
    """

    learns_from_gold_alone: ClassVar[bool] = True
    model: ClassVar[str] = VOTES

    @abc.abstractmethod
    def rule(
        self,
        accuracy: Float[Array, " num_labelers"],
        num_classes: int,
        class_prior: ClassPrior | None,
    ) -> AbstractAggregator:
        """The rule with given accuracies."""

    def fit(
        self,
        labels: Labels,
        assessment: Assessment,
        class_prior: ClassPrior | None = None,
        *,
        mesh: Mesh | None = None,
    ) -> Fit:
        """The accuracies, and the rule.

        Raises:
            InputError: if no labeler answered a gold example, so that there is nothing to plug in,
                or a class prior is given to a method of votes.
        """
        if self.model == VOTES:
            refuse_class_prior(self.name, class_prior)
        found = accuracy_mle(gold_counts(labels, assessment))
        num_pooled = int(found.is_pooled.sum())
        if num_pooled == found.is_pooled.size:
            raise InputError(
                f"{self.name} takes the labelers' accuracies from gold, and there is none.",
                mend="Give gold labels, or use gtx-bayes or majority-vote.",
            )
        notes = (
            f"{num_pooled} of {found.is_pooled.size} labelers answered no gold example and get the "
            "pooled accuracy.",
        )
        return Fit(
            self.rule(found.accuracy, labels.num_classes, class_prior),
            measured_accuracy(found),
            self.model,
            notes if num_pooled else (),
            class_prior=class_prior,
        )


def measured_accuracy(found: PlugIn) -> LabelerAccuracy:
    """The report on accuracies measured on gold; no interval for labelers without any."""
    low, high = found.confidence_interval(INTERVAL_PROB)
    without = np.asarray(found.is_pooled)
    accuracy = np.asarray(found.accuracy, np.float64)
    return LabelerAccuracy(
        accuracy=accuracy,
        ci_low=np.where(without, np.nan, low),
        ci_high=np.where(without, np.nan, high),
        interval=f"confidence interval (Clopper-Pearson), {INTERVAL_PROB:.0%}",
        counts=found.counts,
        prob_worse_than_chance=np.full(accuracy.shape, np.nan),
    )
