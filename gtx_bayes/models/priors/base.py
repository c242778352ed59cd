"""What a cohort's prior does with expected counts, and what all of them need for it."""

import abc
from collections.abc import Sequence
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Shaped

from gtx_bayes.labelers.base import AbstractLabelers
from gtx_bayes.labels import Labels
from gtx_bayes.models.hyperprior import HyperPrior
from gtx_bayes.models.priors.cohort import Cohort, CohortCounts


class AbstractCohortPrior(abc.ABC):
    """The prior of one kind of labeler model: a frozen pytree dataclass. A subclass is final.

    Attributes:
        num_classes: K.
        is_conjugate: whether it is refitted from counts.
    """

    is_conjugate: ClassVar[bool] = True

    num_classes: int

    @property
    def num_kinds(self) -> int:
        """M, how many kinds of examples there are within a class."""
        return 1

    @property
    def labeler_model(self) -> Any:
        """The labeler model, where it is not the registered one of its name."""
        return None

    def start_kinds(
        self, vote_shares: Float[Array, "num_examples num_classes"]
    ) -> Float[Array, "num_examples num_classes num_kinds"]:
        """Probability of each kind given each class, as far as shares of votes tell."""
        return jnp.ones((*vote_shares.shape, 1), vote_shares.dtype)

    def trusting_gold(self) -> "AbstractCohortPrior":
        """The prior where gold has shown that labelers may be worse than guesses on average."""
        return self

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
    def posterior_mean(self, counts: Float[Array, "num_labelers ..."]) -> AbstractLabelers:
        """The labelers at their posterior means."""

    @abc.abstractmethod
    def sample(
        self, key: Key[Array, ""], counts: Float[Array, "num_labelers ..."]
    ) -> AbstractLabelers:
        """A draw of the labelers from their posterior given the counts."""

    @abc.abstractmethod
    def log_density(self) -> Float[Array, ""]:
        """Of the prior's own parameters under their hyperprior, up to its constant."""

    @abc.abstractmethod
    def known(self, counts: Float[Array, "num_labelers ..."]) -> Float[Array, "num_labelers ..."]:
        """Counts without variance that leave as much to be known: see `share_known`."""

    @abc.abstractmethod
    def cohorts(
        self,
        counts: Float[Array, "num_labelers ..."],
        class_prior: Float[Array, " num_classes"],
    ) -> tuple[CohortCounts, ...]:
        """What labelers are right in: their accuracy is the weighted sum over all columns."""

    @abc.abstractmethod
    def hyperpriors(self) -> tuple[HyperPrior, ...]:
        """The hyperprior of every cohort."""

    @abc.abstractmethod
    def with_cohorts(self, drawn: Sequence[Cohort]) -> "AbstractCohortPrior":
        """The prior with other concentrations, and means of right answers."""


def answered(labels: Labels) -> Shaped[Array, " num_labels"]:
    """Which entries are answers, and not padding."""
    return labels.is_class


def prob_of_answer(
    labels: Labels, class_probs: Float[Array, "num_examples num_classes"]
) -> Float[Array, " num_labels"]:
    """Probability that each answer is right; 0 for padding."""
    found = class_probs.reshape(-1)[cell_of(labels)]
    return jnp.where(answered(labels), found, 0.0)


def cell_of(labels: Labels) -> Shaped[Array, " num_labels"]:
    """Index of each answer's example and class in flat class probabilities."""
    return labels.example * labels.num_classes + jnp.maximum(labels.label, 0).astype(jnp.int32)
