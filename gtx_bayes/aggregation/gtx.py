"""GTX, the paper's method: the exact one-coin posterior at plug-in accuracies (sec. 2)."""

import dataclasses
from typing import ClassVar, Final

import jax
from jaxtyping import Array, Float

from gtx_bayes.aggregation.base import AbstractAggregator
from gtx_bayes.aggregation.gold_accuracy import AbstractPlugIn, Accuracy
from gtx_bayes.models.labelers import AbstractLabelers
from gtx_bayes.models.one_coin import OneCoin
from gtx_bayes.posterior import ClassPrior, batch_class_posterior
from gtx_bayes.votes import AnyLabels

NAME: Final = "gtx"


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ClassPosterior(AbstractAggregator):
    """The class posterior (Eq. 3) given labelers whose accuracies, or confusions, are known.

    Attributes:
        model: the labelers.
        class_prior: prior of each class, or of each class of each example; uniform when absent.
    """

    model: AbstractLabelers
    class_prior: ClassPrior | None = None

    @property
    def labelers(self) -> AbstractLabelers:
        """The labelers."""
        return self.model

    def class_probs(self, labels: AnyLabels) -> Float[Array, "num_examples num_classes"]:
        """The class posterior; the prior for an example without answers."""
        return batch_class_posterior(self.model, labels, self.class_prior)


@dataclasses.dataclass(frozen=True)
class Gtx(AbstractPlugIn):
    """The class posterior (Eq. 3) at the labelers' accuracies on gold (Eq. 4)."""

    name: ClassVar[str] = NAME
    description: ClassVar[str] = "the exact posterior at the accuracies on gold (the paper)"
    model: ClassVar[str] = "one-coin"

    def rule(self, accuracy: Accuracy, num_classes: int) -> ClassPosterior:
        """The class posterior, under a uniform prior."""
        return ClassPosterior(OneCoin(accuracy, num_classes))
