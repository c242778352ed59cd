r"""Expectation maximisation after Dawid and Skene (1979): one loop, an M-step per labeler model.

The loop climbs the log-likelihood of the answers, true labels summed out,

.. math:: \log P(\mathcal{L}) = \sum_i \log \sum_y \pi_y \prod_{j \in \mathcal{J}(i)}
    P(y_i^j \mid Y_i = y, \theta_j),

plus, where pseudo-counts c are added, the log-density :math:`\sum c \log \theta` up to a constant.
An E-step gives the class posterior of every example at the labelers' parameters; an M-step counts
answers in proportion to it and takes their shares. Neither step can lose height as long as no
pseudo-count is negative. The top found is the one above the votes, not always the highest.
"""

import abc
import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, ScalarLike

from gtx_bayes.inference import variational
from gtx_bayes.labels import MISSING, Assessment, Labels
from gtx_bayes.models.confusion import ConfusionMatrix, ConfusionPrior
from gtx_bayes.models.one_coin import OneCoin, OneCoinPrior
from gtx_bayes.posterior import ClassPrior
from gtx_bayes.votes import class_votes, sum_over_classes

MAX_STEPS = 500
TOLERANCE = 1e-4
SMOOTHING = 0.01
_CHECK_EVERY = 4  # steps between looks at the change, which wait for the device


class AbstractMStep(abc.ABC):
    """Labelers from expected counts: a frozen pytree dataclass. A subclass is final."""

    @classmethod
    @abc.abstractmethod
    def smoothed(cls, num_classes: int, smoothing: ScalarLike = SMOOTHING) -> "AbstractMStep":
        """Maximum likelihood, as if every answer had been given so often more to every class.

        Args:
            num_classes: K.
            smoothing: how often, from 0; at 0 labelers can come out as certain.
        """

    @abc.abstractmethod
    def __call__(
        self, labels: Labels, class_probs: Float[Array, "num_examples num_classes"]
    ) -> OneCoin | ConfusionMatrix:
        """The labelers who make the answers most probable, given the classes' probabilities."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class OneCoinStep(AbstractMStep):
    """Accuracies as shares of right answers; chance for who gave none.

    Attributes:
        pseudo_counts: right and wrong answers added to everybody's; a sum below zero counts
            as zero.
        num_classes: K.
    """

    pseudo_counts: Float[Array, " two"]
    num_classes: int = dataclasses.field(metadata={"static": True})

    @classmethod
    def smoothed(cls, num_classes: int, smoothing: ScalarLike = SMOOTHING) -> "OneCoinStep":
        """Maximum likelihood, every answer given so often more to every class."""
        return cls(jnp.asarray(smoothing) * jnp.array([1.0, num_classes - 1.0]), num_classes)

    @classmethod
    def posterior_mode(cls, prior: OneCoinPrior) -> "OneCoinStep":
        r"""The mode of :math:`\mathrm{Beta}(a + c, b + w)`: a share of c + a - 1 to w + b - 1.

        A shape below one draws the mode to the end of [0, 1] where counts do not outweigh it. Such
        labelers are certain, and the density at the mode is infinite: prefer shapes from one.
        """
        return cls(prior.shape - 1.0, prior.num_classes)

    def __call__(
        self, labels: Labels, class_probs: Float[Array, "num_examples num_classes"]
    ) -> OneCoin:
        """Shares of right answers."""
        counts = OneCoinPrior.default(self.num_classes).counts(labels, class_probs)[:, :2]
        chance = jnp.array([1.0, self.num_classes - 1.0]) / self.num_classes
        return OneCoin(_shares(counts + self.pseudo_counts, chance)[:, 0], self.num_classes)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ConfusionStep(AbstractMStep):
    """Rows of confusion matrices as shares of answers; all alike for a class without any.

    Attributes:
        pseudo_counts: answers added to everybody's, by true class, then answer; a sum below zero
            counts as zero.
        num_classes: K.
    """

    pseudo_counts: Float[Array, "num_classes num_classes"]
    num_classes: int = dataclasses.field(metadata={"static": True})

    @classmethod
    def smoothed(cls, num_classes: int, smoothing: ScalarLike = SMOOTHING) -> "ConfusionStep":
        """Maximum likelihood, every answer given so often more to every class."""
        return cls(jnp.full((num_classes, num_classes), smoothing, float), num_classes)

    @classmethod
    def posterior_mode(cls, prior: ConfusionPrior) -> "ConfusionStep":
        """The mode of the Dirichlet posteriors: counts + shape - 1, floored at zero.

        The floor is the mode's limit for rows with one shape below one, and as with
        `OneCoinStep.posterior_mode` makes for certain labelers. The default prior of eight and more
        classes has such shapes.
        """
        return cls(prior.shape - 1.0, prior.num_classes)

    def __call__(
        self, labels: Labels, class_probs: Float[Array, "num_examples num_classes"]
    ) -> ConfusionMatrix:
        """Shares of each answer to each class."""
        counts = ConfusionPrior.default(self.num_classes).counts(labels, class_probs)
        counts = counts[:, :, : self.num_classes]
        chance = jnp.full(self.num_classes, 1.0 / self.num_classes)
        return ConfusionMatrix(_shares(counts + self.pseudo_counts, chance), self.num_classes)


M_STEPS: dict[str, type[AbstractMStep]] = {"one-coin": OneCoinStep, "confusion": ConfusionStep}
"""M-step of every labeler model, by name."""


class EmFit(NamedTuple):
    """The estimate, and what it says of the classes.

    Attributes:
        class_probs: class posterior of each example at the estimate; one at the known label of
            gold.
        model: the labelers at the estimate.
        class_prior: the prior of the classes that goes with it, given or estimated.
        log_likelihood: log-probability of all answers and of the gold at the estimate, in nats;
            the labels that are not known are summed out, pseudo-counts not counted.
        num_steps: how many passes over the answers were made.
        converged: whether the last one changed no probability by more than the tolerance.
    """

    class_probs: Float[Array, "num_examples num_classes"]
    model: OneCoin | ConfusionMatrix
    class_prior: ClassPrior
    log_likelihood: float
    num_steps: int
    converged: bool


class State(NamedTuple):
    """An estimate and its E-step.

    Attributes:
        class_probs: class posterior at the estimate.
        model: the labelers.
        class_prior: prior of the classes.
        log_likelihood: of the answers, at the estimate.
    """

    class_probs: Float[Array, "num_examples num_classes"]
    model: OneCoin | ConfusionMatrix
    class_prior: ClassPrior
    log_likelihood: Float[Array, ""]


def fit(
    labels: Labels,
    assessment: Assessment,
    m_step: AbstractMStep,
    class_prior: ClassPrior | None = None,
    *,
    max_steps: int = MAX_STEPS,
    tolerance: float = TOLERANCE,
) -> EmFit:
    """The most probable labelers, and the class posteriors they give.

    Starts from the shares of the votes, even where nobody answered. Gold examples keep their known
    label and teach like the others.

    Args:
        labels: the answers.
        assessment: the gold.
        m_step: the labeler model, and what is added to its counts.
        class_prior: prior of each class, or of each class of each example; when absent the
            proportions of the classes are estimated too, by maximum likelihood.
        max_steps: the most passes over the answers, at least one.
        tolerance: stop when no probability changes by more.
    """
    votes = _vote_shares(labels, assessment)
    state, largest = step(labels, assessment, votes, m_step, class_prior)
    change, num_steps = np.inf, 1
    while num_steps < max_steps and change > tolerance:
        for _ in range(min(_CHECK_EVERY, max_steps - num_steps)):
            state, largest = step(labels, assessment, state.class_probs, m_step, class_prior)
            num_steps += 1
        change = float(largest)
    return EmFit(
        state.class_probs,
        state.model,
        state.class_prior,
        float(state.log_likelihood),
        num_steps,
        change <= tolerance,
    )


@jax.jit
def _vote_shares(
    labels: Labels, assessment: Assessment
) -> Float[Array, "num_examples num_classes"]:
    """Share of each example's answers that name each class; one at the known label of gold."""
    votes = class_votes(labels, jnp.ones(labels.num_labelers), labels.num_classes)
    total = sum_over_classes(votes)
    shares = jnp.where(total > 0, votes / jnp.where(total > 0, total, 1.0), 1.0 / len(votes))
    return variational.clamp(shares.T, assessment)


@jax.jit
def step(
    labels: Labels,
    assessment: Assessment,
    class_probs: Float[Array, "num_examples num_classes"],
    m_step: AbstractMStep,
    class_prior: ClassPrior | None,
) -> tuple[State, Float[Array, ""]]:
    """M-step, then E-step; and the largest change of a class probability.

    Args:
        labels: the answers.
        assessment: the gold.
        class_probs: class posterior so far.
        m_step: the labeler model.
        class_prior: prior of the classes; when absent their mean probabilities.
    """
    model = m_step(labels, class_probs)
    proportions = class_probs.mean(axis=0) if class_prior is None else class_prior
    evidence = model.evidence(labels)
    found = variational.clamp(evidence.class_posterior(proportions), assessment)
    is_possible = jnp.arange(labels.num_classes)[None, :] == assessment.true_label[:, None]
    is_possible = is_possible | (assessment.true_label == MISSING)[:, None]
    joint = evidence.log_prob() + jnp.log(jnp.atleast_2d(proportions))
    log_likelihood = jnp.sum(jax.nn.logsumexp(joint, axis=1, where=is_possible))
    state = State(found, model, proportions, log_likelihood)
    return state, jnp.max(jnp.abs(found - class_probs), initial=0.0)


def _shares(
    counts: Float[Array, "*cells num_answers"], unknown: Float[Array, " num_answers"]
) -> Float[Array, "*cells num_answers"]:
    """Shares of the counts along the last axis; `unknown` where there are none."""
    counts = jnp.maximum(counts, 0.0)
    total = counts.sum(axis=-1, keepdims=True)
    return jnp.where(total > 0.0, counts / jnp.where(total > 0.0, total, 1.0), unknown)
