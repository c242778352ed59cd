"""A confusion matrix per labeler: the model of Dawid and Skene (1979)."""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from gtx_bayes.labelers.confusion_matrix import ConfusionMatrix
from gtx_bayes.labels import Labels
from gtx_bayes.models.base import Params
from gtx_bayes.models.conjugate import AbstractConjugateModel
from gtx_bayes.models.hyperprior import HyperPrior
from gtx_bayes.models.priors import AbstractCohortPrior, ConfusionPrior


@dataclasses.dataclass(frozen=True)
class ConfusionModel(AbstractConjugateModel):
    r"""Labelers whose labels depend on the class in any way, partially pooled.

    .. math::
        m_y \sim \mathrm{Dirichlet}(8 c_y), \quad \log \kappa \sim \mathrm{Normal}, \quad
        \theta_{jy} \sim \mathrm{Dirichlet}(\kappa m_y)

    with :math:`c_y` half-way from chance to perfection, as in `ConfusionPrior.default`, and the
    `HyperPrior` for :math:`\log \kappa`. Sampled are the log odds of each wrong label against
    the right one: the probabilities of labelers who hardly err would run into 1.

    References:
        Dawid and Skene (1979), Applied Statistics 28; Paun et al. (2018), TACL 6, for the pooling.
    """

    name: ClassVar[str] = "confusion"
    description: ClassVar[str] = "a confusion matrix per labeler"
    words: ClassVar[str] = (
        "Every labeler takes each class for each other with a probability of their own, so that "
        "habits such as favouring one answer are seen through."
    )

    def cohort_prior(self, num_classes: int) -> AbstractCohortPrior:
        """Dirichlet, row by row."""
        return ConfusionPrior.default(num_classes)

    def parameters(self, num_labelers: int, num_classes: int) -> Params:
        """Log ratios of wrong labels to right ones."""
        import numpyro
        import numpyro.distributions as dist

        from gtx_bayes.models.distributions import (
            LogRatioDirichlet,
            better_than_chance_rows,
            in_class_order,
            log_simplex,
            right_first,
        )

        hyper = HyperPrior.for_classes(num_classes)
        classes = numpyro.plate("class", num_classes, dim=-1)
        with classes:
            mean = numpyro.sample("mean", dist.Dirichlet(better_than_chance_rows(num_classes)))
        log_concentration = numpyro.sample(
            "log_concentration", dist.Normal(hyper.log_concentration, hyper.log_concentration_sd)
        )
        concentration = numpyro.deterministic("concentration", jnp.exp(log_concentration))
        with numpyro.plate("labeler", num_labelers, dim=-2), classes:
            log_ratios = numpyro.sample(
                "log_ratios", LogRatioDirichlet(concentration * right_first(mean))
            )
        log_confusion = in_class_order(log_simplex(log_ratios))
        numpyro.deterministic("confusion", jnp.exp(log_confusion))
        return {"log_confusion": log_confusion}

    def log_prob(self, params: Params, labels: Labels) -> Float[Array, "num_labels num_classes"]:
        """Looked up."""
        label = jnp.clip(labels.label, 0, labels.num_classes - 1)
        return params["log_confusion"][labels.labeler, :, label]

    def labelers(self, params: Params, reference: Labels) -> ConfusionMatrix:
        """By their confusion matrices."""
        return ConfusionMatrix(jnp.exp(params["log_confusion"]), reference.num_classes)
