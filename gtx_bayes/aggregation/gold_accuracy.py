"""Accuracies measured on gold alone: the start of every plug-in method."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Array, Float

from gtx_bayes.aggregation.base import INTERVAL_PROB, AbstractAggregator, Fit, LabelerAccuracy
from gtx_bayes.errors import InputError
from gtx_bayes.inference.gold_counts import gold_counts
from gtx_bayes.inference.plug_in import PlugIn, accuracy_mle
from gtx_bayes.labels import Assessment, Labels


def fit_plug_in(
    method: str,
    labels: Labels,
    assessment: Assessment,
    rule: Callable[[Float[Array, " num_labelers"]], AbstractAggregator],
    model: str,
) -> Fit:
    """Accuracies from gold (Eq. 4), put into a rule.

    Args:
        method: name of the method, for messages.
        labels: the answers.
        assessment: the gold.
        rule: the aggregator with given accuracies.
        model: name of the labeler model behind it, or "votes".

    Raises:
        InputError: if no labeler answered a gold example, so that there is nothing to plug in.
    """
    found = accuracy_mle(gold_counts(labels, assessment))
    num_pooled = int(found.is_pooled.sum())
    if num_pooled == found.is_pooled.size:
        raise InputError(
            f"{method} takes the labelers' accuracies from gold, and there is none.",
            mend="Give gold labels, or use gtx-bayes or majority-vote.",
        )
    notes = (
        f"{num_pooled} of {found.is_pooled.size} labelers answered no gold example and get the "
        "pooled accuracy.",
    )
    return Fit(rule(found.accuracy), measured_accuracy(found), model, notes if num_pooled else ())


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
