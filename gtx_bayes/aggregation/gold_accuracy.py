"""Accuracies measured on gold alone: the start of every plug-in method."""

import numpy as np

from gtx_bayes.aggregation.base import INTERVAL_PROB, LabelerAccuracy
from gtx_bayes.errors import InputError
from gtx_bayes.inference.gold_counts import gold_counts
from gtx_bayes.inference.plug_in import PlugIn, accuracy_mle
from gtx_bayes.labels import Assessment, Labels


def plug_in_accuracy(method: str, labels: Labels, assessment: Assessment) -> PlugIn:
    """Eq. 4 for every labeler.

    Raises:
        InputError: if no labeler answered a gold example, so that there is nothing to plug in.
    """
    found = accuracy_mle(gold_counts(labels, assessment))
    if bool(found.is_pooled.all()):
        raise InputError(
            f"{method} takes the labelers' accuracies from gold, and there is none.",
            mend="Give gold labels, or use gtx-bayes or majority-vote.",
        )
    return found


def labeler_accuracy(found: PlugIn, *, pooled: bool) -> LabelerAccuracy:
    """The report on accuracies measured on gold.

    Args:
        found: the estimates.
        pooled: whether labelers without gold are shown with the pooled estimate the method uses
            for them, or without any.
    """
    low, high = found.confidence_interval(INTERVAL_PROB)
    without = np.asarray(found.is_pooled)
    accuracy = np.asarray(found.accuracy, np.float64)
    return LabelerAccuracy(
        accuracy=accuracy if pooled else np.where(without, np.nan, accuracy),
        ci_low=np.where(without, np.nan, low),
        ci_high=np.where(without, np.nan, high),
        interval=f"confidence interval (Clopper-Pearson), {INTERVAL_PROB:.0%}",
        counts=found.counts,
        prob_worse_than_chance=np.full(accuracy.shape, np.nan),
    )


def pooled_note(found: PlugIn) -> tuple[str, ...]:
    """A note on the labelers whose accuracy is not their own, if there are any."""
    count = int(found.is_pooled.sum())
    if not count:
        return ()
    return (
        f"{count} of {found.is_pooled.size} labelers answered no gold example and get the pooled "
        "accuracy.",
    )
