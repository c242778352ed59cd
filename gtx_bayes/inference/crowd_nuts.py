"""NUTS on the crowd models: exact but for the number of draws, and no prior is held fixed."""

from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Key
from numpyro.infer import init_to_mean

from gtx_bayes.inference.crowd_models import crowd_model, mean_class_posterior
from gtx_bayes.inference.nuts import Draws, run_nuts
from gtx_bayes.labels import Assessment, Labels
from gtx_bayes.models.base import AbstractLabelerModel


class NutsFit(NamedTuple):
    """What the chains found.

    Attributes:
        draws: of every site of the model.
        class_probs_by_chain: class posterior of each example, one at the known label of gold.
    """

    draws: Draws
    class_probs_by_chain: Float[Array, "num_chains num_examples num_classes"]


def fit_nuts(
    key: Key[Array, ""],
    model: AbstractLabelerModel,
    labels: Labels,
    assessment: Assessment,
    class_prior: Float[Array, " num_classes"] | None = None,
    *,
    num_warmup: int = 500,
    num_draws: int = 500,
    num_chains: int = 4,
    target_accept_prob: float = 0.9,
) -> NutsFit:
    """Draw labelers and what their cohort shares, classes summed out; chains start at the means.

    Args:
        key: random key.
        model: the labeler model.
        labels: the answers.
        assessment: the gold.
        class_prior: probability of each class; learnt when absent.
        num_warmup: warm-up draws per chain, not kept.
        num_draws: draws kept per chain.
        num_chains: number of chains.
        target_accept_prob: higher takes smaller steps.

    Warns:
        UserWarning: on a CPU with fewer devices than chains; they are vectorised then.
    """
    bound = crowd_model(model, class_prior)
    draws = run_nuts(
        key,
        partial(bound, labels, assessment),
        num_warmup=num_warmup,
        num_draws=num_draws,
        num_chains=num_chains,
        target_accept_prob=target_accept_prob,
        init_strategy=init_to_mean,
    )
    by_chain = [
        mean_class_posterior(
            bound,
            labels,
            assessment,
            {name: site[chain, None] for name, site in draws.posterior.items()},
        )
        for chain in range(num_chains)
    ]
    return NutsFit(draws, jnp.stack(by_chain))
