"""One accuracy per labeler (Dawid and Skene, 1979; Eq. 1 of the GTX paper)."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gtx_bayes.labelers.one_coin import OneCoin
from gtx_bayes.labels import Labels
from gtx_bayes.models.base import Params
from gtx_bayes.models.conjugate import AbstractConjugateModel
from gtx_bayes.models.priors import OneCoinPrior


@dataclasses.dataclass(frozen=True)
class OneCoinModel(AbstractConjugateModel):
    r"""Labelers who are right with one probability each, partially pooled.

    .. math::
        m \sim \mathrm{Beta}, \quad \log \kappa \sim \mathrm{Normal}, \quad
        \alpha_j \sim \mathrm{Beta}(m \kappa, (1 - m) \kappa)

    with the `HyperPrior` for m and :math:`\log \kappa`; wrong labels are all alike.
    """

    name: ClassVar[str] = "one-coin"
    description: ClassVar[str] = "one accuracy per labeler"
    words: ClassVar[str] = (
        "Every labeler is right with a probability of their own, whatever the class."
    )

    def cohort_prior(self, num_classes: int) -> OneCoinPrior:
        """Beta."""
        return OneCoinPrior.default(num_classes)

    def parameters(self, num_labelers: int, num_classes: int) -> Params:
        """Log odds of a right label."""
        import numpyro

        from gtx_bayes.models.distributions import LogitBeta, learn_cohort

        a, b = learn_cohort(num_classes)
        with numpyro.plate("labeler", num_labelers):
            log_odds = numpyro.sample("log_odds", LogitBeta(a, b))
        accuracy = numpyro.deterministic("accuracy", jax.nn.sigmoid(log_odds))
        return {"log_odds": log_odds, "accuracy": accuracy}

    def log_prob(self, params: Params, labels: Labels) -> Float[Array, "num_labels num_classes"]:
        """Right or wrong."""
        return log_prob_of_coin(params["log_odds"][:, None], labels)

    def labelers(self, params: Params, reference: Labels) -> OneCoin:
        """By the exact kernels."""
        return OneCoin(params["accuracy"], reference.num_classes)


def log_prob_of_coin(
    log_odds: Float[Array, "num_labelers one_or_num_classes"], labels: Labels
) -> Float[Array, "num_labels num_classes"]:
    r"""Log-probability of labels that are right with their labeler's log odds, wrong ones alike.

    .. math:: I[y_i^j = y] \log \alpha_j + I[y_i^j \neq y] \log \frac{1 - \alpha_j}{K - 1}

    Args:
        log_odds: of a right label, for all classes or each.
        labels: the labels.
    """
    return _right_or_wrong(labels, *(part[labels.labeler] for part in _both(log_odds, labels)))


def log_prob_given_odds(
    log_odds: Float[Array, "num_labels one_or_num_classes"], labels: Labels
) -> Float[Array, "num_labels num_classes"]:
    """The same with log odds for every label."""
    return _right_or_wrong(labels, *_both(log_odds, labels))


def _both(log_odds: Float[Array, "rows columns"], labels: Labels) -> tuple[Array, Array]:
    """Log-probability of a right label and of each wrong one."""
    wrong = jax.nn.log_sigmoid(-log_odds) - jnp.log(labels.num_classes - 1.0)
    return jax.nn.log_sigmoid(log_odds), wrong


def _right_or_wrong(
    labels: Labels,
    right: Float[Array, "num_labels one_or_num_classes"],
    wrong: Float[Array, "num_labels one_or_num_classes"],
) -> Float[Array, "num_labels num_classes"]:
    is_right = labels.label[:, None] == jnp.arange(labels.num_classes)
    return jnp.where(is_right, right, wrong)
