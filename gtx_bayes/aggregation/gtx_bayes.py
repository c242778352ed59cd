"""GTX with uncertain accuracies: a prior shared by the cohort, integrated out."""

from typing import Final

import numpy as np

from gtx_bayes.aggregation.base import INTERVAL_PROB, Fit, LabelerAccuracy
from gtx_bayes.aggregation.gtx import Gtx
from gtx_bayes.inference.beta import BetaPosterior, CohortPrior
from gtx_bayes.inference.gold_counts import GoldCounts, gold_counts
from gtx_bayes.labelers.one_coin import OneCoin
from gtx_bayes.labels import Assessment, Labels
from gtx_bayes.posterior import ClassPrior

NAME: Final = "gtx-bayes"


def fit(labels: Labels, assessment: Assessment, class_prior: ClassPrior | None = None) -> Fit:
    """The posterior-mean rule under an empirical-Bayes prior.

    Integrating Beta posteriors of the accuracies out of one example's class posterior gives Eq. 3
    at their means, exactly, as long as nobody answered the example twice. A labeler without gold
    has the cohort's prior, and so has everybody where there is no gold at all.
    """
    counts = gold_counts(labels, assessment)
    prior = CohortPrior.fit(counts, labels.num_classes)
    accuracy = BetaPosterior.from_counts(counts, prior)
    notes: tuple[str, ...] = ()
    if int(counts.num_gold.sum()) == 0:
        notes = (
            "Without gold every labeler has the same accuracy, "
            f"{prior.mean:.3f} by the default prior"
            + ("." if class_prior is not None else ": the labels are those of majority-vote."),
            "Without gold the labelers' intervals are the default prior's, not knowledge of them.",
        )
    return Fit(
        Gtx(OneCoin(accuracy.mean, labels.num_classes), class_prior),
        posterior_accuracy(accuracy, counts, labels.num_classes),
        "one-coin",
        notes,
        accuracy,
    )


def posterior_accuracy(
    posterior: BetaPosterior, counts: GoldCounts, num_classes: int
) -> LabelerAccuracy:
    """The report on accuracies with a posterior."""
    low, high = posterior.credible_interval(INTERVAL_PROB)
    return LabelerAccuracy(
        accuracy=np.asarray(posterior.mean, np.float64),
        ci_low=low,
        ci_high=high,
        interval=f"credible interval (equal-tailed), {INTERVAL_PROB:.0%}, given the cohort prior",
        counts=counts,
        prob_worse_than_chance=posterior.prob_worse_than_chance(num_classes),
    )
