"""Accuracies measured on gold alone: the start of every plug-in method."""

import abc
import dataclasses
from typing import ClassVar

import jax.numpy as jnp
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
from gtx_bayes.inference.gold_counts import GoldCounts, gold_counts
from gtx_bayes.inference.plug_in import accuracy_mle
from gtx_bayes.labels import Assessment, Labels
from gtx_bayes.padding import LEAST_LABELERS, bucket_size, first, pad_to
from gtx_bayes.posterior import ClassPrior

Accuracy = Float[Array, " num_labelers"]


@dataclasses.dataclass(frozen=True)
class AbstractPlugIn(AbstractMethod):
    """Accuracies from gold (Eq. 4), put into a rule.

    Attributes:
        model: name of the labeler model behind the rule, or "votes".
        needs_gold: whether the rule is nothing without accuracies.
    """

    learns_from_gold_alone: ClassVar[bool] = True
    model: ClassVar[str] = VOTES
    needs_gold: ClassVar[bool] = True

    def takes_earlier(self) -> bool:
        """History is gold, where the rule needs that."""
        return self.needs_gold

    @abc.abstractmethod
    def rule(self, accuracy: Accuracy, num_classes: int) -> AbstractAggregator:
        """The rule with given accuracies."""

    def fit(
        self,
        labels: Labels,
        assessment: Assessment,
        class_prior: ClassPrior | None = None,
        *,
        mesh: Mesh | None = None,
    ) -> Fit:
        """The accuracies, with no interval for labelers without gold, and the rule.

        Raises:
            InputError: if no labeler answered a gold example, so that there is nothing to plug in,
                or a class prior is given to a method of votes.
        """
        if self.model == VOTES:
            refuse_class_prior(self, class_prior)
        counts = gold_counts(labels, assessment)
        size = bucket_size(labels.num_labelers, LEAST_LABELERS)  # few are compiled
        padded = GoldCounts(*(pad_to(of, size) for of in _with_earlier(counts, assessment)))
        found = first(labels.num_labelers, accuracy_mle(padded))
        is_pooled, accuracy = np.asarray(found.is_pooled), np.asarray(found.accuracy, np.float64)
        if self.needs_gold and is_pooled.all():
            raise InputError(
                f"{self.name} takes the labelers' accuracies from gold, and there is none.",
                hint="Give gold labels, or use gtx-bayes or majority-vote.",
            )
        notes: tuple[str, ...] = ()
        if self.needs_gold and is_pooled.any():
            notes = (
                f"{is_pooled.sum()} of {is_pooled.size} labelers answered no gold example and get "
                "the pooled accuracy.",
            )
        low, high = found.confidence_interval(INTERVAL_PROB)
        report = LabelerAccuracy(
            accuracy=accuracy if self.needs_gold else np.where(is_pooled, np.nan, accuracy),
            ci_low=np.where(is_pooled, np.nan, low),
            ci_high=np.where(is_pooled, np.nan, high),
            interval=f"confidence interval (Clopper-Pearson), {INTERVAL_PROB:.0%}",
            counts=counts,
            prob_worse_than_chance=np.full(accuracy.shape, np.nan),
        )
        rule = self.rule(found.accuracy, labels.num_classes)
        if class_prior is not None:
            rule = rule.with_class_prior(class_prior)
        return Fit(rule, report, self.model, notes, class_prior=class_prior)


def _with_earlier(counts: GoldCounts, assessment: Assessment) -> GoldCounts:
    """Counts on gold, and those of other tasks."""
    earlier = assessment.earlier
    if earlier is None or earlier.confusion is None:
        return counts
    right = jnp.trace(earlier.confusion, axis1=1, axis2=2)
    total = earlier.confusion.sum(axis=(1, 2))
    return GoldCounts(counts.num_correct + right, counts.num_gold + total)
