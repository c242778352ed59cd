"""An accuracy per labeler and class: the paper's extension (sec. 6), two coins for two classes."""

import dataclasses
from typing import ClassVar

import jax
from jaxtyping import Array, Float

from gtx_bayes.labelers.class_conditional import ClassConditional
from gtx_bayes.labels import Labels
from gtx_bayes.models.base import Params
from gtx_bayes.models.conjugate import AbstractConjugateModel
from gtx_bayes.models.one_coin import log_prob_of_coin
from gtx_bayes.models.priors import AbstractCohortPrior, ClassConditionalPrior


@dataclasses.dataclass(frozen=True)
class ClassConditionalModel(AbstractConjugateModel):
    r"""Labelers who are right with a probability for each class, partially pooled by class.

    .. math::
        m_y \sim \mathrm{Beta}, \quad \log \kappa_y \sim \mathrm{Normal}, \quad
        \alpha_{jy} \sim \mathrm{Beta}(m_y \kappa_y, (1 - m_y) \kappa_y)

    Wrong labels are all alike.

    References:
        Kumar et al. (2024), sec. 6; Raykar et al. (2010), JMLR 11, for two classes.
    """

    name: ClassVar[str] = "class-conditional"
    description: ClassVar[str] = "an accuracy per labeler and class"
    words: ClassVar[str] = "Every labeler is right with a probability for each class."

    def cohort_prior(self, num_classes: int) -> AbstractCohortPrior:
        """Beta, for each class."""
        return ClassConditionalPrior.default(num_classes)

    def parameters(self, num_labelers: int, num_classes: int) -> Params:
        """Log odds of a right label, by class."""
        import numpyro

        from gtx_bayes.models.distributions import LogitBeta, learn_cohort

        classes = numpyro.plate("class", num_classes, dim=-1)
        with classes:
            a, b = learn_cohort(num_classes)
        with numpyro.plate("labeler", num_labelers, dim=-2), classes:
            log_odds = numpyro.sample("log_odds", LogitBeta(a, b))
        accuracy = numpyro.deterministic("accuracy", jax.nn.sigmoid(log_odds))
        return {"log_odds": log_odds, "accuracy": accuracy}

    def log_prob(self, params: Params, labels: Labels) -> Float[Array, "num_labels num_classes"]:
        """Right or wrong."""
        return log_prob_of_coin(params["log_odds"], labels)

    def labelers(self, params: Params, reference: Labels) -> ClassConditional:
        """By their accuracies."""
        return ClassConditional(params["accuracy"], reference.num_classes)
