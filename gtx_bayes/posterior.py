"""The exact class posterior given a labeler model (Eq. 1 to 3), one example or a whole crowd.

`class_posterior` is the definition, for one example. The `batch_` functions are the fast path for
the one-coin model, on any form of the answers; `vmap` them over
models for cohorts and over priors for prior draws. `Evidence` is the same as a state to which
answers are added as they arrive.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import PyTreeDef
from jaxtyping import Array, Float, Int, ScalarLike

from gtx_bayes.evidence import ClassPrior as ClassPrior
from gtx_bayes.evidence import Evidence as Evidence
from gtx_bayes.evidence import log_prior
from gtx_bayes.evidence import no_evidence as no_evidence
from gtx_bayes.labels import Labels
from gtx_bayes.log_space import FixedPoint, LogNumber, normalise
from gtx_bayes.models.labelers import AbstractLabelers
from gtx_bayes.votes import (
    AnyLabels,
    balance_of_votes,
    check_sizes,
    class_votes,
    most_answers,
    most_voted,
    runs_longer_than,
)

_SHORT_SUM = 16  # so few float32 weights sum to 1e-5 without `fine`, accuracies up to 0.99
_WHOLE_SUM = 64  # labelers; each weight is off by at most what float32 rounds off 16 nats
_WHOLE_RUN = 32  # answers to an example in the long form, where their weights are not known


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
) -> Float[Array, "num_examples num_classes"]:
    """`class_posterior` of every example, for one coin by the fast kernels.

    Args:
        model: the labelers.
        labels: their answers, in either form.
        class_prior: uniform when absent.
    """
    if model.num_classes == 2 and model.vote_weight is not None:
        log_odds = batch_log_odds(model, labels, class_prior)
        return jax.nn.sigmoid(jnp.stack([-log_odds, log_odds])).T
    if model.vote_weight is None:
        prior = log_prior(class_prior, model.num_classes)
        return normalise(model.evidence(labels).likelihood, prior, axis=1)
    prior = log_prior(class_prior, model.num_classes).T

    def finish(votes: LogNumber) -> Float[Array, "num_examples num_classes"]:
        # Without the barrier a CPU recomputes the votes for every reduction of the softmax.
        return normalise(jax.lax.optimization_barrier(votes), prior, axis=0).T

    return _by_certainty(model, labels, finish)


@jax.jit
def batch_log_odds(
    model: AbstractLabelers, labels: AnyLabels, class_prior: ClassPrior | None = None
) -> Float[Array, " num_examples"]:
    r"""Posterior log odds of class 1 against class 0 of every example: two classes only.

    .. math:: \log \frac{P(Y_i = 1 \mid \mathcal{L}(i))}{P(Y_i = 0 \mid \mathcal{L}(i))}

    One number per example instead of two, and no exponential: the form to keep when memory counts.

    Raises:
        ValueError: if the model has more than two classes.
    """
    if model.num_classes != 2:
        raise ValueError(f"log odds need two classes, not {model.num_classes}")
    prior = log_prior(class_prior, 2)
    prior_odds = prior[:, 1] - prior[:, 0]

    def odds(votes: LogNumber) -> Float[Array, " num_examples"]:
        finite = votes.coarse[1] - votes.coarse[0] + (votes.fine[1] - votes.fine[0] + prior_odds)
        # A class excluded by its prior stays excluded, whatever certain labelers say.
        overruled = jnp.isfinite(prior_odds) & (votes.zeros[1] != votes.zeros[0])
        certain = jnp.where(votes.zeros[1] < votes.zeros[0], jnp.inf, -jnp.inf)
        return jnp.where(overruled, certain, finite)

    if model.vote_weight is None:
        return odds(LogNumber(*(part.T for part in model.evidence(labels).likelihood)))
    return _by_certainty(model, labels, odds)


@jax.jit
def batch_log_evidence(
    model: AbstractLabelers, labels: AnyLabels, class_prior: ClassPrior | None = None
) -> Float[Array, " num_examples"]:
    r"""Log-probability of every example's labels, in nats; -inf where they are impossible.

    .. math:: \log P(\mathcal{L}(i)) = \log \sum_y \pi_y \, P(\mathcal{L}(i) \mid Y_i = y)
    """
    prior = log_prior(class_prior, model.num_classes)
    return jax.nn.logsumexp(batch_log_prob(model, labels) + prior, axis=1)


@jax.jit
def batch_log_prob(model: AbstractLabelers, labels: AnyLabels) -> Float[Array, "rows num_classes"]:
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


def _by_certainty[T](
    model: AbstractLabelers, labels: AnyLabels, finish: Callable[[LogNumber], T]
) -> T:
    """Apply `finish` to the votes' likelihood ratios, up to a factor that the classes share.

    The usual case has a branch of its own, with half of the work or less: no labeler is certain
    and, in the forms that allow it, one sum of whole numbers serves.
    """
    weight = model.vote_weight
    assert weight is not None
    usual = jnp.all(weight.zeros == 0)

    def votes(part: Float[Array, " num_labelers"]) -> Float[Array, "num_classes num_examples"]:
        return class_votes(labels, part, model.num_classes)

    def split() -> LogNumber:
        if _rounds_little(labels):
            return _without_zeros(votes(weight.coarse + weight.fine))
        return _without_zeros(votes(weight.coarse))._replace(fine=votes(weight.fine))

    def always() -> T:
        return finish(split()._replace(zeros=votes(weight.zeros)))

    log = weight.coarse + weight.fine
    whole = _whole_weights(log, labels)
    if whole is None:
        return jax.lax.cond(usual, lambda: finish(split()), always)
    return jax.lax.cond(
        usual & whole.fits,
        lambda: finish(_without_zeros(_sum_whole(log, whole, labels, model.num_classes))),
        always,
    )


def _without_zeros(total: Float[Array, "num_classes num_examples"]) -> LogNumber:
    nothing = jnp.zeros_like(total)
    return LogNumber(nothing, total, nothing)


def _whole_weights(log: Float[Array, " num_labelers"], labels: AnyLabels) -> FixedPoint | None:
    """The weights as whole numbers, which fit if their sums do; None in forms without such sums."""
    if isinstance(labels, Labels) and labels.num_labelers:
        whole = FixedPoint.from_log(log, _WHOLE_RUN * jnp.max(jnp.abs(log)))
        return whole._replace(fits=whole.fits & ~runs_longer_than(labels, _WHOLE_RUN))
    if isinstance(labels, jax.Array) and labels.shape[0] <= _WHOLE_SUM:
        return FixedPoint.from_log(log, jnp.sum(jnp.abs(log)))
    return None


def _sum_whole(
    log: Float[Array, " num_labelers"], whole: FixedPoint, labels: AnyLabels, num_classes: int
) -> Float[Array, "num_classes num_examples"]:
    """Logarithms of the votes' likelihood ratios, up to a summand that the classes share."""
    if isinstance(labels, Labels):  # the covariates are no whole numbers, and say nothing here
        labels = dataclasses.replace(
            labels, covariates={}, labeler_covariates={}, example_covariates={}
        )
    columns, structure = jax.tree.flatten(labels)
    return _sum_columns(log, whole, columns, structure, num_classes)


@partial(jax.custom_jvp, nondiff_argnums=(3, 4))
def _sum_columns(
    log: Float[Array, " num_labelers"],
    whole: FixedPoint,
    columns: list[Int[Array, "..."]],
    structure: PyTreeDef,
    num_classes: int,
) -> Float[Array, "num_classes num_examples"]:
    labels = structure.unflatten(columns)
    if num_classes == 2:
        balance = balance_of_votes(labels, whole.steps) * whole.unit
        return jnp.stack([jnp.zeros_like(balance), balance])
    total = class_votes(labels, whole.steps, num_classes)
    # Differences are small where they decide: take them before anything is rounded.
    return (total - most_voted(total)) * whole.unit


@_sum_columns.defjvp
def _slope_of_sum(
    structure: PyTreeDef,
    num_classes: int,
    primals: tuple[Float[Array, " num_labelers"], FixedPoint, list[Int[Array, "..."]]],
    tangents: tuple[Any, ...],
) -> tuple[Float[Array, "num_classes num_examples"], Float[Array, "num_classes num_examples"]]:
    """Whole numbers have no slope: that of the sum which they stand for."""
    log, whole, columns = primals
    slope = class_votes(structure.unflatten(columns), tangents[0], num_classes)
    return _sum_columns(log, whole, columns, structure, num_classes), slope


def _rounds_little(labels: AnyLabels) -> bool:
    most = most_answers(labels)
    return most is not None and most <= _SHORT_SUM
