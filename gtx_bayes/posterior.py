"""The exact class posterior given a labeler model (Eq. 1 to 3), one example or a whole crowd.

`class_posterior` is the definition, for one example. The `batch_` functions are the fast path for
the one-coin model, on any form of the answers; for many cohorts give the model leading axes, or
`vmap` them over models, and over priors for prior draws. `Evidence` is the same as a state to
which answers are added as they arrive.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, ScalarLike

from gtx_bayes.evidence import ClassPrior as ClassPrior
from gtx_bayes.evidence import Evidence as Evidence
from gtx_bayes.evidence import log_prior
from gtx_bayes.evidence import no_evidence as no_evidence
from gtx_bayes.kernels import class_probs, log_odds, of_votes
from gtx_bayes.labels import Labels
from gtx_bayes.log_space import LogNumber, normalise
from gtx_bayes.models.labelers import AbstractLabelers
from gtx_bayes.votes import AnyLabels, check_sizes


def inverse_design_effect(
    num_labels: Int[Array, " num_examples"], rho: ScalarLike
) -> Float[Array, " num_examples"]:
    r"""What each of n answers counts where labelers err together: :math:`1 / (1 + (n - 1) \rho)`.

    The design effect of cluster sampling (Kish, 1965): n answers to an example tell as much as
    :math:`n / (1 + (n - 1) \rho)` independent ones, never more than :math:`1 / \rho`. The
    likelihood of the example's answers is raised to this power; :math:`\rho = 0` is Eq. 3.
    """
    return 1.0 / (1.0 + jnp.maximum(num_labels - 1, 0) * rho)


def class_posterior(
    model: AbstractLabelers,
    labels: Int[Array, " num_labelers"],
    class_prior: Float[Array, " num_classes"] | None = None,
) -> Float[Array, " num_classes"]:
    r"""Posterior of one example's class given its labels.

    .. math:: P(Y_i = y \mid \mathcal{L}(i)) \propto \pi_y \, P(\mathcal{L}(i) \mid Y_i = y)

    Args:
        model: the labelers.
        labels: class of each labeler's answer, `MISSING` where there is none.
        class_prior: :math:`\pi_y`; uniform when absent.

    References:
        Kumar et al. (2024), Eq. 2 and 3.
    """
    prior = log_prior(class_prior, model.num_classes)[0]
    return normalise(model.likelihood(labels), prior, axis=0)


@jax.jit
def batch_class_posterior(
    model: AbstractLabelers, labels: AnyLabels, class_prior: ClassPrior | None = None
) -> Float[Array, "*cohorts num_examples num_classes"]:
    """`class_posterior` of every example, for one coin by the fast kernels.

    Args:
        model: the labelers; those of one coin may have leading axes of cohorts.
        labels: their answers, in either form.
        class_prior: uniform when absent.
    """
    prior = log_prior(class_prior, model.num_classes)
    if model.vote_weight is None:
        return normalise(model.evidence(labels).likelihood, prior, axis=1)
    check_sizes(labels, model.num_labelers, model.num_classes)
    if model.num_classes > 2:
        return of_votes(class_probs, model.vote_weight, labels, prior)
    return jax.lax.platform_dependent(
        model.vote_weight, labels, prior, cpu=_by_log_odds, default=partial(of_votes, class_probs)
    )


def _by_log_odds(
    weight: LogNumber, labels: AnyLabels, prior: Float[Array, "*cohorts one_or_num_examples 2"]
) -> Float[Array, "*cohorts num_examples 2"]:
    """Of two classes: a CPU takes all its cores for what is outside of the kernel's conditions."""
    odds = of_votes(log_odds, weight, labels, prior)
    return jnp.swapaxes(jax.nn.sigmoid(jnp.stack([-odds, odds], axis=-2)), -1, -2)


@jax.jit
def batch_log_odds(
    model: AbstractLabelers, labels: AnyLabels, class_prior: ClassPrior | None = None
) -> Float[Array, "*cohorts num_examples"]:
    r"""Posterior log odds of class 1 against class 0 of every example: two classes only.

    .. math:: \log \frac{P(Y_i = 1 \mid \mathcal{L}(i))}{P(Y_i = 0 \mid \mathcal{L}(i))}

    One number per example instead of two, and no exponential: the form to keep when memory counts.

    Raises:
        ValueError: if the model has more than two classes.
    """
    if model.num_classes != 2:
        raise ValueError(f"log odds need two classes, not {model.num_classes}")
    prior = log_prior(class_prior, 2)
    if model.vote_weight is None:
        found = model.evidence(labels).likelihood
        return log_odds(LogNumber(*(part.T for part in found)), prior)
    check_sizes(labels, model.num_labelers, 2)
    return of_votes(log_odds, model.vote_weight, labels, prior)


@jax.jit
def batch_log_evidence(
    model: AbstractLabelers, labels: AnyLabels, class_prior: ClassPrior | None = None
) -> Float[Array, "*cohorts num_examples"]:
    r"""Log-probability of every example's labels, in nats; -inf where they are impossible.

    .. math:: \log P(\mathcal{L}(i)) = \log \sum_y \pi_y \, P(\mathcal{L}(i) \mid Y_i = y)
    """
    prior = log_prior(class_prior, model.num_classes)
    return jax.nn.logsumexp(batch_log_prob(model, labels) + prior, axis=-1)


@jax.jit
def batch_log_prob(
    model: AbstractLabelers, labels: AnyLabels
) -> Float[Array, "*cohorts rows num_classes"]:
    """`model.log_prob` of every example: the log-likelihood under each class, in nats."""
    return model.batch_log_prob(labels)


@jax.jit
def gather_evidence(model: AbstractLabelers, labels: AnyLabels) -> Evidence:
    """The state after all of `labels`."""
    return model.evidence(labels)


@partial(jax.jit, donate_argnums=0)
def update(evidence: Evidence, model: AbstractLabelers, labels: Labels) -> Evidence:
    """The state after `labels` more; equal to gathering all answers afresh.

    Takes time in proportion to the new answers, whatever the number of examples, because the old
    state's memory is reused: the `evidence` passed in must not be used again. A batch of another
    size is compiled anew, so pad batches with `MISSING` entries to a few sizes.

    Args:
        evidence: the state so far, consumed.
        model: the labelers, with the accuracies that were used so far.
        labels: the new answers, with the state's `num_examples`.

    Raises:
        ValueError: if the numbers of examples, labelers or classes differ.
    """
    if labels.num_examples != evidence.common.coarse.shape[0]:
        raise ValueError(
            f"the new labels speak of {labels.num_examples} examples, "
            f"the evidence of {evidence.common.coarse.shape[0]}"
        )
    check_sizes(labels, model.num_labelers, model.num_classes)
    return model.add_evidence(evidence, labels)
