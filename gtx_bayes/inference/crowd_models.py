r"""A crowd's answers as NumPyro models, the unknown classes summed out exactly.

.. math::
    P(\mathcal{L} \mid \theta, \pi) = \prod_i \sum_y \pi_y \, P(\mathcal{L}(i) \mid Y_i = y, \theta)

The parameters and their prior are a labeler model's (`models.base`). Gold examples contribute the
term of their known class only. The prior of the classes is learnt under a flat Dirichlet prior
(site "class_prior") when absent. A model returns the logarithm of
:math:`\pi_y P(\mathcal{L}(i) \mid Y_i = y, \theta)`, which samplers ignore and
`mean_class_posterior` reads. The factor "answers" holds one log-likelihood per example, times
`scale`: N / B if the answers are those of B examples drawn from N.

Without gold the classes can swap names. With labelers at least as good as chance these swaps are
improbable, but a chain that starts in one may stay: start at the prior's mean,
`NUTS(model, init_strategy=init_to_mean)`, or give some gold.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float, ScalarLike, Shaped
from numpyro import handlers

from gtx_bayes.evidence import joint_with_gold
from gtx_bayes.labels import Assessment, Labels
from gtx_bayes.models.base import AbstractLabelerModel, ModelLabelers

CrowdModel = Callable[..., Float[Array, "num_examples num_classes"]]
"""A model of `labels` and `assessment`, and what else it takes by keyword."""


def crowd_model(
    model: AbstractLabelerModel, class_prior: Float[Array, " num_classes"] | None = None
) -> CrowdModel:
    """A labeler model as a NumPyro model of `labels` and `assessment`, and of `scale`.

    Args:
        model: the labeler model.
        class_prior: probability of each class; learnt when absent.
    """
    if class_prior is None:
        return partial(_of_model, model)
    return partial(_of_model, model, class_prior=class_prior)


def _of_model(
    model: AbstractLabelerModel,
    labels: Labels,
    assessment: Assessment,
    class_prior: Float[Array, " num_classes"] | None = None,
    *,
    scale: ScalarLike = 1.0,
) -> Float[Array, "num_examples num_classes"]:
    params = model.parameters(labels.num_labelers, labels.num_classes)
    log_prob = ModelLabelers(params, labels, model).batch_log_prob(labels)
    return observe(log_prob, assessment, class_prior, scale)


def observe(
    log_prob: Float[Array, "num_examples num_classes"],
    assessment: Assessment,
    class_prior: Float[Array, " num_classes"] | None = None,
    scale: ScalarLike = 1.0,
) -> Float[Array, "num_examples num_classes"]:
    r"""The end of every crowd model: the classes summed out into the factor "answers".

    .. math::
        \log \sum_y \pi_y \, P(\mathcal{L}(i) \mid Y_i = y, \theta)

    for every example i, the term of the known class alone where it is gold.

    Args:
        log_prob: log-likelihood of every example's answers under each class.
        assessment: the gold.
        class_prior: probability of each class; learnt when absent, as site "class_prior".
        scale: what each example counts.

    Returns:
        The terms of the sums, in logarithms; what the model returns.
    """
    if class_prior is None:
        class_prior = numpyro.sample(
            "class_prior", dist.Dirichlet(jnp.ones(assessment.num_classes))
        )
    joint = joint_with_gold(log_prob, class_prior, assessment)
    numpyro.factor("answers", scale * jax.nn.logsumexp(joint, axis=1))
    return joint


def mean_class_posterior(
    model: CrowdModel,
    labels: Labels,
    assessment: Assessment,
    posterior: Mapping[str, Shaped[Any, "num_chains num_draws *shape"]],
) -> Float[Array, "num_examples num_classes"]:
    r"""Class posterior of every example, the parameters integrated out.

    .. math::
        P(Y_i = y \mid \mathcal{L}) \approx \frac{1}{S} \sum_s
        P(Y_i = y \mid \mathcal{L}(i), \theta_s, \pi_s)

    Exact given each draw, rare classes included. Memory does not grow with the draws.

    Args:
        model: what was fitted, with what it was given besides answers and gold bound by
            `functools.partial`.
        labels: the answers to score, of the same labelers; they may be others than those fitted.
        assessment: the gold; one at its known class.
        posterior: draws of every sample site, as in `Draws.posterior`.
    """
    draws = {
        name: jnp.asarray(site).reshape(-1, *site.shape[2:]) for name, site in posterior.items()
    }
    num_draws = next(iter(draws.values())).shape[0]

    def add(
        total: Float[Array, "num_examples num_classes"], draw: dict[str, Array]
    ) -> tuple[Float[Array, "num_examples num_classes"], None]:
        joint = handlers.substitute(model, draw)(labels, assessment)
        return total + jax.nn.softmax(joint, axis=1), None

    none = jnp.zeros((labels.num_examples, labels.num_classes))
    return jax.lax.scan(add, none, draws)[0] / num_draws
