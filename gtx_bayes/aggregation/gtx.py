"""GTX, the paper's method: the exact one-coin posterior at plug-in accuracies (sec. 2)."""

import dataclasses
from typing import Final

import jax
from jaxtyping import Array, Float

from gtx_bayes.aggregation.base import AbstractAggregator, Fit
from gtx_bayes.aggregation.gold_accuracy import fit_plug_in
from gtx_bayes.labelers.one_coin import OneCoin
from gtx_bayes.labels import Assessment, Labels
from gtx_bayes.posterior import ClassPrior, batch_class_posterior
from gtx_bayes.votes import AnyLabels

NAME: Final = "gtx"


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Gtx(AbstractAggregator):
    """The class posterior (Eq. 3) given labelers with known accuracies.

    Attributes:
        model: the one-coin model of the labelers.
        class_prior: prior of each class, or of each class of each example; uniform when absent.
    """

    model: OneCoin
    class_prior: ClassPrior | None = None

    def class_probs(self, labels: AnyLabels) -> Float[Array, "num_examples num_classes"]:
        """The class posterior; the prior for an example without answers."""
        return batch_class_posterior(self.model, labels, self.class_prior)


def fit(labels: Labels, assessment: Assessment, class_prior: ClassPrior | None = None) -> Fit:
    """Accuracies from gold (Eq. 4).

    Raises:
        InputError: if there is no gold.
    """
    return fit_plug_in(
        NAME,
        labels,
        assessment,
        lambda accuracy: Gtx(OneCoin(accuracy, labels.num_classes), class_prior),
        model="one-coin",
    )
