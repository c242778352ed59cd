"""Labeler accuracy as NumPyro models: the closed forms of `inference.beta`, to build upon.

Accuracies are sampled on the scale of their log odds, where those of labelers who make hardly any
mistake do not run into the end of the float format.
"""

import jax
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float

from gtx_bayes.inference.beta import CohortPrior
from gtx_bayes.inference.gold_counts import GoldCounts
from gtx_bayes.models.distributions import LogitBeta, learn_cohort


def conjugate(counts: GoldCounts, prior: CohortPrior) -> None:
    r"""Accuracies under a given prior; the posterior is `BetaPosterior.from_counts`.

    .. math::
        \alpha_j \sim \mathrm{Beta}(a, b), \qquad c_j \sim \mathrm{Binomial}(n_j, \alpha_j)
    """
    with numpyro.plate("labeler", counts.num_gold.shape[0]):
        _observe(counts, prior.a, prior.b)


def partial_pooling(counts: GoldCounts, num_classes: int) -> None:
    r"""Accuracies that share a mean and a concentration, both learnt from the cohort.

    .. math::
        m \sim \mathrm{Beta}, \quad \log \kappa \sim \mathrm{Normal}, \quad
        \alpha_j \sim \mathrm{Beta}(m \kappa, (1 - m) \kappa), \quad
        c_j \sim \mathrm{Binomial}(n_j, \alpha_j)

    with the `HyperPrior` for m and :math:`\log \kappa`. `CohortPrior.fit` finds the most probable
    values of these two; here their uncertainty enters the accuracies.
    """
    a, b = learn_cohort(num_classes)
    with numpyro.plate("labeler", counts.num_gold.shape[0]):
        _observe(counts, a, b)


def _observe(counts: GoldCounts, a: float | Float[Array, ""], b: float | Float[Array, ""]) -> None:
    log_odds = numpyro.sample("log_odds", LogitBeta(a, b))
    numpyro.deterministic("accuracy", jax.nn.sigmoid(log_odds))
    numpyro.sample(
        "num_correct", dist.Binomial(counts.num_gold, logits=log_odds), obs=counts.num_correct
    )
