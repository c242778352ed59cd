r"""Log-likelihood of every example given every draw, the classes summed out.

.. math::
    \log p(\mathcal{L}(i) \mid \theta_s, \pi_s) =
    \log \sum_y \pi_{sy} \, P(\mathcal{L}(i) \mid Y_i = y, \theta_s)

The term of the known class alone where an example is gold. What cross-validation leaves out is an
example with all its labels: left out one by one, others of the example would predict them.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped
from numpyro import handlers

from gtx_bayes.inference.crowd_models import CrowdModel
from gtx_bayes.labels import MISSING, Assessment, Labels
from gtx_bayes.models.labelers import AbstractLabelers
from gtx_bayes.posterior import ClassPrior

Sites = Mapping[str, Shaped[Any, "num_chains num_draws *shape"]]
"""Draws of the parameters by name, as in `Draws.posterior`."""


def of_crowd_model(
    model: CrowdModel, labels: Labels, assessment: Assessment, posterior: Sites
) -> Float[Array, "num_chains num_draws num_examples"]:
    """Of draws from a NumPyro model of `crowd_models`.

    Args:
        model: what was fitted, with what it was given besides answers and gold bound by
            `functools.partial`.
        labels: the answers.
        assessment: the gold.
        posterior: draws of every sample site.
    """

    def of_draw(draw: dict[str, Array]) -> Float[Array, " num_examples"]:
        return jax.nn.logsumexp(handlers.substitute(model, draw)(labels, assessment), axis=1)

    return _map_draws(of_draw, posterior)


def of_labelers(
    labelers: AbstractLabelers,
    labels: Labels,
    assessment: Assessment,
    posterior: Sites,
    class_prior: ClassPrior | None = None,
) -> Float[Array, "num_chains num_draws num_examples"]:
    """Of draws of the labelers' own parameters, as `gibbs` makes them.

    Probabilities that round to zero count as the smallest number, as they did in the draws.

    Args:
        labelers: of the kind drawn, with any parameters.
        labels: the answers.
        assessment: the gold.
        posterior: draws of their parameters, and of "class_prior" where that is learnt.
        class_prior: the prior of the classes, where it is given.

    Raises:
        ValueError: if the draws hold no class prior and none is given.
    """
    if class_prior is None and "class_prior" not in posterior:
        raise ValueError("the draws hold no class_prior: give the one they were made with")
    return _of_labelers(labelers, labels, assessment, dict(posterior), class_prior)


@jax.jit
def _of_labelers(
    labelers: AbstractLabelers,
    labels: Labels,
    assessment: Assessment,
    posterior: Sites,
    class_prior: ClassPrior | None,
) -> Float[Array, "num_chains num_draws num_examples"]:
    known = assessment.true_label[:, None]
    possible = (known == MISSING) | (known == jnp.arange(labels.num_classes))

    def of_draw(draw: dict[str, Array]) -> Float[Array, " num_examples"]:
        sampled = dict(draw)
        prior = sampled.pop("class_prior") if class_prior is None else class_prior
        drawn = dataclasses.replace(labelers, **sampled)  # type: ignore[type-var]
        log_prob = drawn.floored_log_prob(labels)
        joint = jnp.where(possible, jnp.log(prior) + log_prob, -jnp.inf)
        return jax.nn.logsumexp(joint, axis=1)

    return _map_draws(of_draw, posterior)


def _map_draws(of_draw: Any, posterior: Sites) -> Float[Array, "num_chains num_draws num_examples"]:
    """A draw at a time: memory for the answers is needed once, not once per draw."""
    sites = {name: jnp.asarray(site) for name, site in posterior.items()}
    num_chains, num_draws = next(iter(sites.values())).shape[:2]
    flat = {name: site.reshape(-1, *site.shape[2:]) for name, site in sites.items()}
    return jax.lax.map(of_draw, flat).reshape(num_chains, num_draws, -1)
