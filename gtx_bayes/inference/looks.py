r"""Looks on top of a fit: how often a crowd is pulled one way, its labelers held.

The model is `models.looks`, with labelers as a fit without looks has them, by leave-one-out
counts. What is learnt, by EM over the examples, are the shares of the
groups: of plain examples and of each pull from all answers, and the misleading part of each pull
from gold alone, since a unanimous wrong look and a unanimous right one give the same answers.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, ScalarLike

from gtx_bayes.inference import variational
from gtx_bayes.inference.variational import Totals, VariationalFit
from gtx_bayes.labels import MISSING, Assessment, Labels
from gtx_bayes.models.base import AbstractCohortPrior, Counts
from gtx_bayes.models.conjugate import AbstractConjugatePrior
from gtx_bayes.models.looks import (
    NUM_GROUPS,
    PRIOR_EXAMPLES,
    PRIOR_MISLEADING,
    PRIOR_SHARES,
    PULLS,
    log_prob_by_group,
)
from gtx_bayes.posterior import ClassPrior
from gtx_bayes.sums import over_examples

MAX_STEPS = 40
TOLERANCE = 1e-4

_MOST_TERMS = 2**27  # examples times classes times groups, which are held at once
_MOST_WORK = 2**31  # answers times squared classes times pulls
_PART_OF_EXAMPLES = 0.05  # what the prior of the pulls is worth more


class Looks(NamedTuple):
    """Looks of a crowd.

    Attributes:
        log_shares: log of the share of each group of examples.
        evidence: as in `VariationalFit`, looks summed out.
    """

    log_shares: Float[Array, " num_groups"]
    evidence: Float[Array, "num_examples num_classes"]


def can_be_learnt(labels: Labels) -> bool:
    """Whether there is room and time for them: classes may be too many."""
    return has_room(labels.num_examples, labels.num_labels, labels.num_classes)


def has_room(num_examples: int, num_labels: int, num_classes: int) -> bool:
    """`can_be_learnt` of a table, or a part of one, of this size."""
    terms = num_examples * num_classes * NUM_GROUPS
    return terms <= _MOST_TERMS and num_labels * num_classes**2 * PULLS.size <= _MOST_WORK


def learn(labels: Labels, assessment: Assessment, fit: VariationalFit, *, learns: bool) -> Looks:
    """Looks of a crowd whose labelers are known from a fit without.

    Args:
        labels: the answers, in the size of the fit.
        assessment: the gold.
        fit: a fit whose prior is conjugate, without subclasses.
        learns: whether the fit learnt the proportions of the classes.
    """
    log_probs = _log_probs(labels, fit.prior, fit.class_probs, fit.counts)
    return _learn(labels, assessment, log_probs, fit.class_probs, fit.class_prior, learns)


def learn_from_some(
    labels: Labels,
    assessment: Assessment,
    class_probs: Float[Array, "num_examples num_classes"],
    prior: AbstractConjugatePrior,
    totals: Totals,
    class_prior: ClassPrior,
    *,
    learns: bool,
    weight: Float[Array, " num_examples"],
) -> Float[Array, " num_groups"]:
    """Log of the groups' shares, of which some examples of a larger crowd speak for all.

    Args:
        labels: the answers to these examples.
        assessment: their gold.
        class_probs: class posteriors of these examples, by the fit.
        prior: prior of the labelers, learnt.
        totals: what all examples add up to.
        class_prior: prior of the classes; uniform where it is learnt.
        learns: whether the fit learnt the proportions of the classes.
        weight: how many examples each stands for.
    """
    log_probs = _log_probs(labels, prior, class_probs, totals.counts)
    known = labels, assessment, log_probs, class_probs, class_prior, learns
    return _learn(*known, totals.class_total, weight).log_shares


def evidence(
    labels: Labels,
    class_probs: Float[Array, "num_examples num_classes"],
    prior: AbstractConjugatePrior,
    totals: Totals,
    log_shares: Float[Array, " num_groups"],
    *,
    learns: bool,
) -> Float[Array, "num_examples num_classes"]:
    """Evidence of some examples of a crowd with looks; arguments as for `learn_from_some`."""
    log_probs = _log_probs(labels, prior, class_probs, totals.counts)
    return _evidence(labels, log_probs, class_probs, totals.class_total, learns, log_shares)


@jax.jit
def _log_probs(
    labels: Labels,
    prior: AbstractCohortPrior,
    class_probs: Float[Array, "num_examples num_classes"],
    counts: Counts,
) -> Float[Array, "num_labels num_classes"]:
    """Log-probability of every label given each class, by leave-one-out counts."""
    assert isinstance(prior, AbstractConjugatePrior)
    alone = dataclasses.replace(
        labels, example=jnp.arange(labels.num_labels), num_examples=labels.num_labels
    )
    given = alone, class_probs[labels.example], counts
    return prior.evidence(*given) + prior.shared_evidence(*given)[:, None]


@jax.jit
def _learn(
    labels: Labels,
    assessment: Assessment,
    log_probs: Float[Array, "num_labels num_classes"],
    class_probs: Float[Array, "num_examples num_classes"],
    class_prior: ClassPrior,
    learns: ScalarLike,
    class_total: Float[Array, " num_classes"] | None = None,
    weight: Float[Array, " num_examples"] | None = None,
) -> Looks:
    # Not of any prior: compiled once for all models.
    by_group = log_prob_by_group(labels, log_probs, labels.is_class)

    is_answered = labels.labels_per_example() > 0
    stands_for = is_answered.astype(log_probs.dtype) * (1.0 if weight is None else weight)
    if class_total is None:
        class_total = over_examples(variational.of_answered(labels, class_probs))
        class_total = class_total + assessment.known_class_total
    proportions = _log_proportions(labels, class_probs, class_total, learns)
    log_prior = proportions + jnp.where(learns, 0.0, jnp.log(class_prior))

    is_gold = assessment.true_label != MISSING
    is_excluded = is_gold[:, None] & (
        assessment.true_label[:, None] != jnp.arange(assessment.num_classes)
    )
    joint = jnp.where(is_excluded[:, :, None], -jnp.inf, by_group + log_prior[:, :, None])
    mean = jnp.asarray(PRIOR_SHARES, joint.dtype)
    worth = PRIOR_EXAMPLES + _PART_OF_EXAMPLES * jnp.sum(stands_for)

    def step(
        at: tuple[Float[Array, " num_groups"], Array, Array],
    ) -> tuple[Float[Array, " num_groups"], Array, Array]:
        shares, num_steps, _ = at
        log_probs = joint + jnp.log(shares)
        total = jax.nn.logsumexp(log_probs, axis=(1, 2), keepdims=True)
        # Gold of a class that the prior excludes says nothing.
        counted = jnp.where(jnp.isfinite(total[:, 0, 0]), stands_for, 0.0)
        probs = jnp.where((counted > 0)[:, None, None], jnp.exp(log_probs - total), 0.0)
        answered = probs.sum(axis=1) * counted[:, None]
        all_counts = over_examples(answered) + worth * mean
        gold_counts = over_examples(jnp.where(is_gold[:, None], answered, 0.0))
        renewed = _shares(all_counts, gold_counts, mean)
        return renewed, num_steps + 1, jnp.max(jnp.abs(renewed - shares))

    far = jnp.full((), jnp.inf, joint.dtype)
    shares, *_ = jax.lax.while_loop(
        lambda at: (at[1] < MAX_STEPS) & (at[2] > TOLERANCE), step, (mean, jnp.int32(0), far)
    )
    evidence = jax.nn.logsumexp(by_group + jnp.log(shares), axis=2) + proportions
    return Looks(jnp.log(shares), evidence)


@jax.jit
def _evidence(
    labels: Labels,
    log_probs: Float[Array, "num_labels num_classes"],
    class_probs: Float[Array, "num_examples num_classes"],
    class_total: Float[Array, " num_classes"],
    learns: ScalarLike,
    log_shares: Float[Array, " num_groups"],
) -> Float[Array, "num_examples num_classes"]:
    by_group = log_prob_by_group(labels, log_probs, labels.is_class)
    proportions = _log_proportions(labels, class_probs, class_total, learns)
    return jax.nn.logsumexp(by_group + log_shares, axis=2) + proportions


def _log_proportions(
    labels: Labels,
    class_probs: Float[Array, "num_examples num_classes"],
    class_total: Float[Array, " num_classes"],
    learns: ScalarLike,
) -> Float[Array, "num_examples num_classes"]:
    """Log of the classes' proportions by all other examples, zero where they are not learnt."""
    leave_one_out = variational.leave_one_out_proportions(labels, class_probs, class_total)
    return jnp.where(learns, jnp.log(leave_one_out), 0.0)


def _shares(
    all_counts: Float[Array, " num_groups"],
    gold_counts: Float[Array, " num_groups"],
    mean: Float[Array, " num_groups"],
) -> Float[Array, " num_groups"]:
    """Pulls by all examples, and what of each is misleading by gold."""
    pulls = all_counts[1:].reshape(2, -1).sum(axis=0)
    easy, misleading = gold_counts[1:].reshape(2, -1)
    prior = mean[1:].reshape(2, -1)
    part = misleading + PRIOR_MISLEADING * prior[1] / prior.sum(axis=0)
    part = part / (easy + misleading + PRIOR_MISLEADING)
    found = jnp.concatenate([all_counts[:1], pulls * (1.0 - part), pulls * part])
    return found / found.sum()
