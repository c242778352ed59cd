r"""Collapsed variational inference: class posteriors and labelers jointly, by coordinate ascent.

The labelers' parameters are integrated out; what remains is a distribution over labels that is
taken to factorise over examples, :math:`q(Y) = \prod_i q_i(Y_i)`. Each factor is renewed given the
expected counts of all others,

.. math::
    q_i(y) \propto \pi_y \prod_{j \in \mathcal{J}(i)}
        \frac{\beta_{y l} + \bar n^{\neg i}_{j y l}}{\beta_{y} + \bar n^{\neg i}_{j y}},
    \qquad l = y_i^j,

the zeroth-order form of collapsed variational Bayes (Asuncion et al., 2009). For one example and
known counts this is Eq. 3 at the posterior means, exactly; a labeler who answered one example
only counts there as the cohort does, not by that answer.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, ScalarLike

from gtx_bayes.inference.dependence import PRIOR_LOGIT, gold_log_scores
from gtx_bayes.labels import MISSING, Assessment, Labels
from gtx_bayes.log_space import softmax_over_classes
from gtx_bayes.models.base import AbstractCohortPrior
from gtx_bayes.models.conjugate import AbstractConjugatePrior
from gtx_bayes.models.hyperprior import better_than_chance
from gtx_bayes.padding import on_device
from gtx_bayes.posterior import ClassPrior, batch_log_prob
from gtx_bayes.sums import Segments, count_by_segment, over_examples
from gtx_bayes.votes import class_votes, sum_over_classes

MAX_STEPS = 100
TOLERANCE = 1e-3

_LOG_ODDS_OF_VOTES = float(np.log(99.0))  # that a crowd names classes as gold does
_MISLEADING = 0.05  # share of examples that everybody gets wrong, whatever the labelers are
_TYPICAL_RHO = 1.0 / (1.0 + np.exp(-np.array([PRIOR_LOGIT])))

Rows = Float[Array, "num_classes num_classes"]
"""Log-probability of each answer given each true class."""


class VariationalFit(NamedTuple):
    """What was found, the examples taken for independent given their classes.

    Attributes:
        class_probs: class posterior of each example; one at the known label of gold.
        subclass_probs: probability of each latent subclass given each class.
        evidence: log-probability of each example's answers under each class, by
            leave-one-out counts. Proportions of the classes that are learnt
            come from the same answers and are part of it: those of the other examples.
        class_prior: the prior of the classes that goes with it: as given, or uniform.
        proportions: the prior given, or the proportions learnt from all examples.
        counts: expected counts of the labelers.
        prior: the labelers' prior, its parameters learnt.
        num_steps: how many passes over the answers were made.
        converged: whether the last ones changed no probability by more than the tolerance.
    """

    class_probs: Float[Array, "num_examples num_classes"]
    subclass_probs: Float[Array, "num_examples num_classes num_subclasses"]
    evidence: Float[Array, "num_examples num_classes"]
    class_prior: ClassPrior
    proportions: ClassPrior
    counts: Float[Array, "num_labelers ..."]
    prior: AbstractCohortPrior
    num_steps: int
    converged: bool

    def log_evidence_bound(self) -> float:
        r"""Lower bound on the log-probability of all answers, given the priors, in nats.

        .. math:: \sum_i \left(H(q_i) + \sum_y q_i(y) \log \pi_y\right) + \log \int \prod
            p(\text{expected counts} \mid \theta) \, p(\theta) \, d\theta

        The best mean-field bound for this distribution over labels, and over latent
        subclasses where there are several.
        """
        of_classes = _of_classes(self.class_probs, self.subclass_probs, self.proportions)
        return self.prior.log_evidence_bound(of_classes, self.counts)


class State(NamedTuple):
    """What a step starts from.

    Attributes:
        class_probs: class posterior so far.
        subclass_probs: probability of each kind of example given each class, so far.
        prior: the labelers' prior so far.
    """

    class_probs: Float[Array, "num_examples num_classes"]
    subclass_probs: Float[Array, "num_examples num_classes num_subclasses"]
    prior: AbstractConjugatePrior


class Totals(NamedTuple):
    """What examples add up to, all of a crowd or some: all that one of them knows of the others.

    Attributes:
        counts: expected counts of the labelers on them.
        class_total: expected number of those of each class that somebody answered.
    """

    counts: Float[Array, "num_labelers ..."]
    class_total: Float[Array, " num_classes"]

    @classmethod
    def nothing(cls, labels: Labels, state: State) -> "Totals":
        """Those of no example."""
        probs = jax.eval_shape(latent_probs, state.class_probs, state.subclass_probs)
        counts = jax.eval_shape(state.prior.counts, labels, probs)
        return cls(jnp.zeros(counts.shape, counts.dtype), jnp.zeros(labels.num_classes))

    @classmethod
    def of(cls, labels: Labels, state: State, segments: Segments | None = None) -> "Totals":
        """Those of the examples in a table; counts by segment if there are any."""
        return cls(*_totals(labels, state, segments))

    @classmethod
    def earlier(cls, labels: Labels, assessment: Assessment, state: State) -> "Totals | None":
        """Those of other tasks, as `Assessment.earlier` has them; None if nothing is known."""
        known = assessment.earlier
        if known is None:
            return None
        found = cls.nothing(labels, state)
        if known.confusion is not None:
            found = found._replace(counts=state.prior.known_counts(known.confusion))
        return found._replace(class_total=found.class_total + assessment.known_class_total)

    def plus(self, others: "Totals | None") -> "Totals":
        """Those of both, where there are others."""
        if others is None:
            return self
        return Totals(self.counts + others.counts, self.class_total + others.class_total)


def fit(
    labels: Labels,
    assessment: Assessment,
    prior: AbstractConjugatePrior,
    class_prior: ClassPrior | None = None,
    *,
    max_steps: int = MAX_STEPS,
    tolerance: float = TOLERANCE,
) -> VariationalFit:
    """Class posteriors and labelers from gold and from the crowd's own answers.

    Starts from the votes; where gold speaks against them (see `rows_from_gold`) from gold as
    well. Of the two fits the one from gold is kept if it has the higher bound, the priors' own
    density included, and says the gold labels so much better from the other examples as a crowd
    that names classes otherwise than gold is rare. The bound alone takes the answers to a few
    hard gold examples for as many proofs. Gold examples keep their known label and teach like the
    others.

    Args:
        labels: the answers.
        assessment: the gold.
        prior: prior of the labelers; its parameters are where their learning starts.
        class_prior: prior of each class, or of each class of each example; when absent the
            proportions of the classes are learnt, with a flat prior.
        max_steps: the most passes over the answers.
        tolerance: stop when no probability changes by more.
    """
    steps = {"max_steps": max_steps, "tolerance": tolerance}
    return fit_and_start(labels, assessment, prior, class_prior, **steps)[0]


def fit_and_start(
    labels: Labels,
    assessment: Assessment,
    prior: AbstractConjugatePrior,
    class_prior: ClassPrior | None = None,
    **steps: Any,
) -> tuple[VariationalFit, Rows | None]:
    """`fit`, and the rows that it started from; None for the votes."""
    return best_start(
        lambda rows: fit_from(labels, assessment, prior, class_prior, rows, **steps),
        rows_from_gold(labels, assessment),
        partial(gold_log_score, labels, assessment),
    )


def gold_log_score(labels: Labels, assessment: Assessment, fit: VariationalFit) -> float:
    """Log-probability of the gold labels by the other examples, at a typical dependence.

    None is less than that of an example that everybody gets wrong: one such, or one mistake in the
    gold, does not show that a crowd names classes otherwise.
    """
    evidence, prior = np.asarray(fit.evidence), np.asarray(fit.class_prior)
    found = gold_log_scores(labels, assessment, evidence, prior, _TYPICAL_RHO)
    return float(np.logaddexp(np.log1p(-_MISLEADING) + found, np.log(_MISLEADING)).sum())


def fit_from(
    labels: Labels,
    assessment: Assessment,
    prior: AbstractConjugatePrior,
    class_prior: ClassPrior | None,
    rows: Rows | None,
    *,
    max_steps: int = MAX_STEPS,
    tolerance: float = TOLERANCE,
) -> VariationalFit:
    """`fit` from one start: from the votes without `rows`, from gold with them."""
    prior = prior if rows is None else prior.trusting_gold()
    rows = rows_or_nan(rows, labels.num_classes)
    learns = class_prior is None
    class_prior = uniform(labels.num_classes) if class_prior is None else class_prior
    return _on_host(
        _fit_from(labels, assessment, prior, class_prior, learns, max_steps, tolerance, rows)
    )


def best_start(
    fitted: Callable[[Rows | None], VariationalFit],
    rows: Rows | None,
    score: Callable[[VariationalFit], float],
) -> tuple[VariationalFit, Rows | None]:
    """The better of two fits, and where it started: from the votes, or from gold.

    Args:
        fitted: the fit from a start.
        rows: what `rows_from_gold` found.
        score: `gold_log_score` of a fit.
    """
    by_votes = fitted(None)
    if rows is None:
        return by_votes, None
    by_gold = fitted(rows)
    # The score first: it is the host's, and bounds take long to compile.
    if not is_turned(score(by_votes), score(by_gold)):
        return by_votes, None
    is_better = _log_density(by_gold) > _log_density(by_votes)
    return (by_gold, rows) if is_better else (by_votes, None)


def is_turned(by_votes: float, by_gold: float) -> bool:
    """Whether `gold_log_score` of a fit from gold is so much more than of one from the votes."""
    return by_gold - by_votes > _LOG_ODDS_OF_VOTES


def _log_density(fit: VariationalFit) -> float:
    """The bound, with the density of the labelers' prior under its own."""
    assert isinstance(fit.prior, AbstractConjugatePrior)
    return fit.log_evidence_bound() + float(_density_of_prior(fit.prior))


@jax.jit
def _density_of_prior(prior: AbstractConjugatePrior) -> Float[Array, ""]:
    return prior.log_density()


@jax.jit
def _of_classes(
    class_probs: Float[Array, "num_examples num_classes"],
    subclass_probs: Float[Array, "num_examples num_classes num_subclasses"],
    proportions: ClassPrior,
) -> Float[Array, ""]:
    """Expected log-prior of the classes, and the entropy of classes and subclasses."""
    probs = latent_probs(class_probs, subclass_probs)
    xlogy = jax.scipy.special.xlogy
    return jnp.sum(xlogy(class_probs, proportions)) - jnp.sum(xlogy(probs, probs))


def rows_from_gold(labels: Labels, assessment: Assessment) -> Rows | None:
    """Log-probabilities of answers to each class, all labelers pooled, where votes mislead.

    One answer of the kind that labelers better than chance give is added to every class.

    Returns:
        None unless the gold of some class is named as another class more often than rightly:
        then the votes are a poor place to start from.
    """
    num_classes = labels.num_classes
    label = np.asarray(labels.label).astype(np.int64)
    truth = np.asarray(assessment.true_label)[np.asarray(labels.example)].astype(np.int64)
    is_known = (label >= 0) & (label < num_classes) & (truth != MISSING)
    cell = truth[is_known] * num_classes + label[is_known]
    counts = np.bincount(cell, minlength=num_classes**2).reshape(num_classes, num_classes)
    if (counts.max(axis=1) == np.diagonal(counts)).all():
        return None
    rows = counts + better_than_chance(num_classes)
    return on_device(np.log(rows / rows.sum(axis=1, keepdims=True)))


def rows_or_nan(rows: Rows | None, num_classes: int) -> Rows:
    """NaN in the place of rows that are absent: a fit from either start is one program."""
    return on_device(np.full((num_classes, num_classes), np.nan)) if rows is None else rows


def fit_from_gold(
    labels: Labels,
    assessment: Assessment,
    prior: AbstractConjugatePrior,
    class_prior: ClassPrior | None = None,
) -> VariationalFit:
    """Class posteriors at what gold alone says of the labelers.

    Args:
        labels: the answers.
        assessment: the gold.
        prior: prior of the labelers; its parameters are where their learning starts.
        class_prior: prior of each class, or of each class of each example; uniform when absent.
    """
    class_prior = uniform(labels.num_classes) if class_prior is None else class_prior
    return _on_host(_fit_from_gold(labels, assessment, prior, class_prior))


@jax.jit
def _fit_from_gold(
    labels: Labels, assessment: Assessment, prior: AbstractConjugatePrior, class_prior: ClassPrior
) -> VariationalFit:
    is_gold = assessment.true_label != MISSING
    label = jnp.where(is_gold[labels.example], labels.label, MISSING)
    to_gold = dataclasses.replace(labels, label=label)
    class_probs = jnp.broadcast_to(class_prior, (labels.num_examples, labels.num_classes))
    class_probs = clamp(class_probs, assessment)
    subclass_probs = prior.start_subclasses(class_probs)
    probs = latent_probs(class_probs, subclass_probs)
    counts = prior.counts(to_gold, probs)
    earlier = Totals.earlier(labels, assessment, State(class_probs, subclass_probs, prior))
    counts = counts if earlier is None else counts + earlier.counts
    prior = jax.lax.fori_loop(0, MAX_STEPS, lambda _, prior: prior.m_step(counts), prior)
    of_gold = prior.evidence(to_gold, probs, counts)
    of_gold = of_gold + prior.shared_evidence(to_gold, probs, counts)[:, None]
    leave_one_out = batch_log_prob(prior.posterior_mean(counts), labels)
    evidence = jnp.where(is_gold[:, None], _sum_out_subclasses(prior, of_gold)[0], leave_one_out)
    class_probs = clamp(softmax_over_classes(jnp.log(class_prior) + evidence), assessment)
    return VariationalFit(
        class_probs, subclass_probs, evidence, class_prior, class_prior, counts, prior, 1, True
    )


def fit_state(
    labels: Labels,
    assessment: Assessment,
    state: State,
    class_prior: ClassPrior | None = None,
    others: Totals | None = None,
    *,
    max_steps: int = MAX_STEPS,
    tolerance: float = TOLERANCE,
) -> VariationalFit:
    """Steps from a state until little changes, as in `fit`.

    Args:
        labels: the answers: all there are, or all those to some examples.
        assessment: the gold.
        state: where to start from.
        class_prior: prior of the classes; when absent their proportions are learnt.
        others: the crowd's other examples, held as they are; None if there are no others. The
            counts of the result are those of all.
        max_steps: the most passes over the answers.
        tolerance: stop when no probability changes by more.
    """
    learns = class_prior is None
    class_prior = uniform(labels.num_classes) if class_prior is None else class_prior
    return _on_host(
        _fit_state(labels, assessment, state, class_prior, learns, others, max_steps, tolerance)
    )


def uniform(num_classes: int) -> Float[Array, " num_classes"]:
    """The uniform prior of the classes."""
    return on_device(np.full(num_classes, 1.0 / num_classes))


def _on_host(fit: VariationalFit) -> VariationalFit:
    """The fit, which says how it went in plain numbers."""
    return fit._replace(num_steps=int(fit.num_steps), converged=bool(fit.converged))


@jax.jit
def _fit_from(
    labels: Labels,
    assessment: Assessment,
    prior: AbstractConjugatePrior,
    class_prior: ClassPrior,
    learns: ScalarLike,
    max_steps: ScalarLike,
    tolerance: ScalarLike,
    rows: Rows,
) -> VariationalFit:
    # Jitted as one: start, fit and what lies between would take three times as long to compile.
    state = start(labels, assessment, prior, rows)
    earlier = Totals.earlier(labels, assessment, state)
    return _fit_state(labels, assessment, state, class_prior, learns, earlier, max_steps, tolerance)


@jax.jit
def _fit_state(
    labels: Labels,
    assessment: Assessment,
    state: State,
    class_prior: ClassPrior,
    learns: ScalarLike,
    others: Totals | None,
    max_steps: ScalarLike,
    tolerance: ScalarLike,
) -> VariationalFit:
    def goes_on(at: tuple[State, Int[Array, ""], Float[Array, ""]]) -> Bool[Array, ""]:
        _, num_steps, change = at
        return (num_steps < max_steps) & (change > tolerance)

    def go_on(
        at: tuple[State, Int[Array, ""], Float[Array, ""]],
    ) -> tuple[State, Int[Array, ""], Float[Array, ""]]:
        state, num_steps, _ = at
        state, change = step(labels, assessment, state, class_prior, learns, others)
        return state, num_steps + 1, change

    far = jnp.full((), jnp.inf, state.class_probs.dtype)
    state, num_steps, change = jax.lax.while_loop(goes_on, go_on, (state, jnp.int32(0), far))
    totals = Totals.of(labels, state).plus(others)
    evidence, subclass_probs = evidence_at_end(labels, state, totals, learns)
    return VariationalFit(
        state.class_probs,
        subclass_probs,
        evidence,
        class_prior,
        proportions_at_end(totals.class_total, class_prior, learns),
        totals.counts,
        state.prior,
        num_steps,  # type: ignore[arg-type]  # a plain number on the host
        change <= tolerance,  # type: ignore[arg-type]
    )


@jax.jit
def start(
    labels: Labels,
    assessment: Assessment,
    prior: AbstractConjugatePrior,
    rows: Rows | None = None,
) -> State:
    """Where a fit starts from: gold as known, and the votes.

    Args:
        labels: the answers.
        assessment: the gold.
        prior: prior of the labelers.
        rows: log-probability of each answer given each class, if examples start at the posterior
            that these give, as if all labelers were alike; at shares of votes, one more vote
            spread over all classes, if absent or NaN.
    """
    shares = vote_shares(labels, rows)
    return State(clamp(shares, assessment), prior.start_subclasses(shares), prior)


def vote_shares(labels: Labels, rows: Rows | None) -> Float[Array, "num_examples num_classes"]:
    """Where examples start, as in `start`."""
    votes = class_votes(labels, jnp.ones(labels.num_labelers), labels.num_classes)
    and_one = votes + 1.0 / labels.num_classes
    by_votes = (and_one / sum_over_classes(and_one)).T
    if rows is None:
        return by_votes
    by_gold = softmax_over_classes(votes.T @ rows.T.astype(votes.dtype))
    return jnp.where(jnp.isnan(rows[0, 0]), by_votes, by_gold)


@jax.jit
def step(
    labels: Labels,
    assessment: Assessment,
    state: State,
    class_prior: ClassPrior,
    learns: ScalarLike,
    others: Totals | None = None,
) -> tuple[State, Float[Array, ""]]:
    """One pass over the answers: counts, prior, class posteriors; and the largest change.

    Args:
        labels: the answers.
        assessment: the gold.
        state: where to start from.
        class_prior: prior of the classes.
        learns: whether the proportions of the classes are learnt instead.
        others: the examples that are not in the table; None if there are none.
    """
    totals = Totals.of(labels, state).plus(others)
    state = state._replace(prior=state.prior.m_step(totals.counts))
    return e_step(labels, assessment, state, totals, class_prior, learns)


@jax.jit
def e_step(
    labels: Labels,
    assessment: Assessment,
    state: State,
    totals: Totals,
    class_prior: ClassPrior,
    learns: ScalarLike,
) -> tuple[State, Float[Array, ""]]:
    """Class posteriors given all that examples add up to; and the largest change.

    Args:
        labels: the answers: all there are, or all those to some examples.
        assessment: the gold.
        state: where to start from, its prior the one for these totals.
        totals: of all examples, as they are in the state.
        class_prior: prior of the classes.
        learns: whether the proportions of the classes are learnt instead.
    """
    probs = latent_probs(state.class_probs, state.subclass_probs)
    evidence, subclass_probs = evidence_of(labels, state, totals)
    # No `cond`: how many labels an example has would be counted anew in every pass.
    learnt = leave_one_out_proportions(labels, state.class_probs, totals.class_total)
    log_probs = jnp.log(jnp.where(learns, learnt, class_prior)) + evidence
    class_probs = clamp(softmax_over_classes(log_probs), assessment)
    largest = jnp.max(jnp.abs(latent_probs(class_probs, subclass_probs) - probs))
    return State(class_probs, subclass_probs, state.prior), largest


@jax.jit
def _totals(labels: Labels, state: State, segments: Segments | None) -> tuple[Array, Array]:
    probs = latent_probs(state.class_probs, state.subclass_probs)
    counts = count_by_segment(lambda labels: state.prior.counts(labels, probs), labels, segments)
    return counts, over_examples(of_answered(labels, state.class_probs))


@jax.jit
def evidence_of(
    labels: Labels, state: State, totals: Totals
) -> tuple[
    Float[Array, "num_examples num_classes"],
    Float[Array, "num_examples num_classes num_subclasses"],
]:
    """Log-probability of each example's answers under each class, and the subclasses given it."""
    probs = latent_probs(state.class_probs, state.subclass_probs)
    return _sum_out_subclasses(state.prior, state.prior.evidence(labels, probs, totals.counts))


def evidence_at_end(
    labels: Labels, state: State, totals: Totals, learns: ScalarLike
) -> tuple[
    Float[Array, "num_examples num_classes"],
    Float[Array, "num_examples num_classes num_subclasses"],
]:
    """`evidence_of`, complete: what classes share, and proportions that are learnt."""
    evidence, subclass_probs = evidence_of(labels, state, totals)
    probs = latent_probs(state.class_probs, state.subclass_probs)
    evidence = evidence + state.prior.shared_evidence(labels, probs, totals.counts)[:, None]
    leave_one_out = leave_one_out_proportions(labels, state.class_probs, totals.class_total)
    return evidence + jnp.where(learns, jnp.log(leave_one_out), 0.0), subclass_probs


def proportions_at_end(
    class_total: Float[Array, " num_classes"], class_prior: ClassPrior, learns: ScalarLike
) -> ClassPrior:
    """The prior of the classes given, or the proportions learnt."""
    if class_prior.ndim == 2:  # given example by example, and never learnt
        return class_prior
    total = class_total + 1.0
    return jnp.where(learns, total / total.sum(), class_prior)


def latent_probs(
    class_probs: Float[Array, "num_examples num_classes"],
    subclass_probs: Float[Array, "num_examples num_classes num_subclasses"],
) -> Float[Array, "num_examples num_latents"]:
    """Probabilities of pairs of class and kind, in the order of `priors`."""
    if subclass_probs.shape[2] == 1:
        return class_probs
    return (class_probs[:, :, None] * subclass_probs).reshape(class_probs.shape[0], -1)


def _sum_out_subclasses(
    prior: AbstractConjugatePrior, evidence: Float[Array, "num_examples num_latents"]
) -> tuple[
    Float[Array, "num_examples num_classes"],
    Float[Array, "num_examples num_classes num_subclasses"],
]:
    """Evidence for each class, and the subclasses' probabilities given it."""
    by_kind = evidence.reshape(evidence.shape[0], -1, prior.num_subclasses)
    if prior.num_subclasses == 1:
        return evidence, jnp.ones_like(by_kind)
    return jax.nn.logsumexp(by_kind, axis=2), jax.nn.softmax(by_kind, axis=2)


@jax.jit
def leave_one_out_proportions(
    labels: Labels,
    class_probs: Float[Array, "num_examples num_classes"],
    class_total: Float[Array, " num_classes"],
) -> Float[Array, "num_examples num_classes"]:
    """Posterior mean of the classes' proportions under a flat prior, by all other examples.

    Of those that anybody answered. As with labelers, no example tells itself how probable its
    class is.
    """
    leave_one_out = jnp.maximum(class_total + 1.0 - of_answered(labels, class_probs), 0.0)
    return leave_one_out / leave_one_out.sum(axis=1, keepdims=True)


def of_answered(
    labels: Labels, class_probs: Float[Array, "num_examples num_classes"]
) -> Float[Array, "num_examples num_classes"]:
    """The probabilities, zero for examples that nobody answered."""
    return jnp.where((labels.labels_per_example() > 0)[:, None], class_probs, 0.0)


def clamp(
    class_probs: Float[Array, "num_examples num_classes"], assessment: Assessment
) -> Float[Array, "num_examples num_classes"]:
    """Gold examples keep their known label, with probability one."""
    known = jax.nn.one_hot(assessment.true_label, assessment.num_classes, dtype=class_probs.dtype)
    return jnp.where((assessment.true_label != MISSING)[:, None], known, class_probs)
