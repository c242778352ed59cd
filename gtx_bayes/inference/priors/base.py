"""What a cohort's prior does with expected counts, and what all of them need for it."""

import abc
from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Shaped

from gtx_bayes.inference.beta import BetaPosterior
from gtx_bayes.labels import MISSING, Labels
from gtx_bayes.posterior import AnyModel

_LARGEST_STEP = 1.0  # of a Newton step, on the scale of logits and logarithms
_NEARBY = 0.05  # where slopes are compared for a curvature, on the same scale


class AbstractCohortPrior(abc.ABC):
    """The prior of one kind of labeler model: a frozen pytree dataclass. A subclass is final.

    Attributes:
        num_classes: K.
    """

    num_classes: int

    @property
    def num_kinds(self) -> int:
        """M, how many kinds of examples there are within a class."""
        return 1

    def start_kinds(
        self, vote_shares: Float[Array, "num_examples num_classes"]
    ) -> Float[Array, "num_examples num_classes num_kinds"]:
        """Probability of each kind given each class, as far as shares of votes tell."""
        return jnp.ones((*vote_shares.shape, 1), vote_shares.dtype)

    @abc.abstractmethod
    def counts(
        self, labels: Labels, latent_probs: Float[Array, "num_examples num_latents"]
    ) -> Float[Array, "num_labelers ..."]:
        """Expected counts of every labeler, given the latent classes' probabilities."""

    @abc.abstractmethod
    def evidence(
        self,
        labels: Labels,
        latent_probs: Float[Array, "num_examples num_latents"],
        counts: Float[Array, "num_labelers ..."],
    ) -> Float[Array, "num_examples num_latents"]:
        """Log-probability of each example's answers under each latent class, up to what all share.

        That of the kind within the class is part of it. Every answer is judged by what its
        labeler's other answers say of the labeler: its own part of the counts is left out.
        """

    @abc.abstractmethod
    def refit(self, counts: Float[Array, "num_labelers ..."]) -> "AbstractCohortPrior":
        """One step towards the most probable prior given the cohort's counts."""

    @abc.abstractmethod
    def log_marginal(self, counts: Float[Array, "num_labelers ..."]) -> Float[Array, ""]:
        """Log-probability of the counts, labelers integrated out."""

    @abc.abstractmethod
    def posterior_mean(self, counts: Float[Array, "num_labelers ..."]) -> AnyModel:
        """The labelers at their posterior means."""

    @abc.abstractmethod
    def sample(self, key: Key[Array, ""], counts: Float[Array, "num_labelers ..."]) -> AnyModel:
        """A draw of the labelers from their posterior given the counts."""

    @abc.abstractmethod
    def accuracy(
        self,
        counts: Float[Array, "num_labelers ..."],
        class_prior: Float[Array, " num_classes"],
    ) -> BetaPosterior:
        """Posterior of each labeler's probability of a right answer."""


def answered(labels: Labels) -> Shaped[Array, " num_labels"]:
    """Which entries are answers, and not padding."""
    return labels.label != MISSING


def prob_of_answer(
    labels: Labels, class_probs: Float[Array, "num_examples num_classes"]
) -> Float[Array, " num_labels"]:
    """Probability that each answer is right; 0 for padding."""
    found = class_probs.reshape(-1)[cell_of(labels)]
    return jnp.where(answered(labels), found, 0.0)


def cell_of(labels: Labels) -> Shaped[Array, " num_labels"]:
    """Index of each answer's example and class in flat class probabilities."""
    return labels.example * labels.num_classes + jnp.maximum(labels.label, 0).astype(jnp.int32)


def weighted_mean(each: BetaPosterior, weights: Float[Array, " num_parts"]) -> BetaPosterior:
    """The Beta law with the mean and variance of weighted sums, a labeler's parts in a row."""
    total = each.a + each.b
    mean = each.mean @ weights
    variance = (each.mean * (1.0 - each.mean) / (total + 1.0)) @ weights**2
    concentration = mean * (1.0 - mean) / variance - 1.0
    return BetaPosterior(mean * concentration, (1.0 - mean) * concentration)


def newton_step(
    slope: Callable[[Float[Array, "*shape"]], Float[Array, "*shape"]], x: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """One guarded Newton step uphill, entry by entry, each slope depending on its own entry.

    The curvature is a difference of slopes: derivatives of digamma take seconds to compile.
    """
    curvature = (slope(x + _NEARBY) - slope(x - _NEARBY)) / (2.0 * _NEARBY)
    step = slope(x) / jnp.maximum(jnp.abs(curvature), 1e-3)
    return x + jnp.clip(step, -_LARGEST_STEP, _LARGEST_STEP)
