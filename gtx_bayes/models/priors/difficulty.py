"""The cohort's prior where some examples are hard for everybody."""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import betaln
from jaxtyping import Array, Float, Key

from gtx_bayes.labelers.hard_examples import HardExamples
from gtx_bayes.labels import MISSING, Labels
from gtx_bayes.models.hyperprior import HyperPrior
from gtx_bayes.models.priors.cohort import Cohort, CohortCounts
from gtx_bayes.models.priors.conjugate import (
    AbstractConjugatePrior,
    ByCell,
    Cells,
    Counts,
    LatentProbs,
)
from gtx_bayes.models.priors.one_coin import OneCoinPrior

HARD_SHARE = (2.0, 18.0)
"""Beta prior of the share of hard examples: a tenth, give or take 0.065."""

_HARD_SKILL = 0.25  # on hard examples, from chance to perfection; on easy ones a half


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DifficultyPrior(AbstractConjugatePrior):
    r"""Easy and hard examples, on which labelers have another accuracy.

    .. math::
        h \sim \mathrm{Beta}(2, 18), \qquad
        \alpha_j \sim \mathrm{Beta}(m \kappa, (1 - m) \kappa), \qquad
        \beta_j \sim \mathrm{Beta}(m' \kappa', (1 - m') \kappa')

    with the share h of hard examples, accuracies :math:`\alpha_j` on easy and :math:`\beta_j` on
    hard ones. The hyperprior has m half-way from chance to perfection, and m' a quarter of the
    way: hard examples are those that tell little, and labelers who would mislead there have to
    show it. Kinds are easy, hard. Counts have shape (num_labelers, 2, 5): for each kind right
    answers, wrong answers, the labeler's part of the examples, 1 / n each where n answered, and
    the variances of the numbers of right and of wrong answers.

    Attributes:
        easy: prior of :math:`\alpha_j`.
        hard: prior of :math:`\beta_j`.
        num_classes: K.
    """

    easy: OneCoinPrior
    hard: OneCoinPrior
    num_classes: int = dataclasses.field(metadata={"static": True})

    @classmethod
    def default(cls, num_classes: int) -> "DifficultyPrior":
        """The centre of the hyperprior."""
        hard = OneCoinPrior.default(num_classes, _HARD_SKILL)
        return cls(OneCoinPrior.default(num_classes), hard, num_classes)

    @staticmethod
    @functools.cache
    def cells(num_classes: int) -> Cells:
        """A row for easy and one for hard examples, right and wrong."""
        row = np.tile([0, 1], num_classes)
        return Cells(row, right=np.zeros(2, int), wrong=np.ones((2, num_classes), int))

    @property
    def weights(self) -> Float[Array, "two two"]:
        """Shape parameters of both Beta distributions."""
        return jnp.concatenate([self.easy.weights, self.hard.weights])

    @property
    def num_kinds(self) -> int:
        """Easy and hard."""
        return 2

    def start_kinds(
        self, vote_shares: Float[Array, "num_examples num_classes"]
    ) -> Float[Array, "num_examples num_classes two"]:
        """By disagreement: hard for sure where votes are even, easy where they are unanimous.

        Whatever the class: were examples taken for hard where votes contradict a class, hard
        ones would be those with most votes wrong.
        """
        chance = 1.0 / self.num_classes
        hard = (1.0 - vote_shares.max(axis=1)) / (1.0 - chance)
        by_kind = jnp.stack([1.0 - hard, hard], axis=1)
        return jnp.broadcast_to(by_kind[:, None], (*vote_shares.shape, 2))

    def split(self, counts: Counts) -> tuple[ByCell, ByCell]:
        """What is counted of right and wrong answers."""
        return counts[:, :, :2], counts[:, :, 3:]

    def counts(self, labels: Labels, latent_probs: LatentProbs) -> Counts:
        """Expected answers, parts of examples and variances, by labeler and kind."""
        share = self._prob_of_kinds(latent_probs) / labels.labels_per_example()[:, None]
        share = jnp.where((labels.label != MISSING)[:, None], share[labels.example], 0.0)
        part = jnp.zeros((labels.num_labelers, 2), share.dtype).at[labels.labeler].add(share)
        return jnp.insert(super().counts(labels, latent_probs), 2, part, axis=2)

    def evidence(self, labels: Labels, latent_probs: LatentProbs, counts: Counts) -> LatentProbs:
        """Log-probabilities of the kind and of the answers under each latent class.

        The shares of kinds are those of the other examples. An example without answers counts as
        easy, so that it tells nothing about h.
        """
        own = self._prob_of_kinds(latent_probs)
        others = jnp.maximum(self.share_shape(counts)[::-1] - own, 0.0)
        log_shares = jnp.log(others) - jnp.log(others.sum(axis=1, keepdims=True))
        has_answers = (labels.labels_per_example() > 0)[:, None]
        log_shares = jnp.where(has_answers, log_shares, jnp.array([0.0, -jnp.inf]))
        found = super().evidence(labels, latent_probs, counts)
        return found + jnp.tile(log_shares, self.num_classes)

    def known(self, counts: Counts) -> Counts:
        """Right and wrong answers by kind, as many as are known; parts of examples as they are."""
        return jnp.insert(super().known(counts), 2, counts[:, :, 2], axis=2)

    def refit(self, counts: Counts) -> "DifficultyPrior":
        """A step for each of both priors."""
        by_cell, spread = self.split(self.known(counts))
        easy, hard = (
            prior.refit(prior.join(by_cell[:, [kind]], spread[:, [kind], :1]))
            for kind, prior in enumerate((self.easy, self.hard))
        )
        return dataclasses.replace(self, easy=easy, hard=hard)

    def log_marginal(self, counts: Counts) -> Float[Array, ""]:
        """That of the answers, and of the examples' kinds."""
        of_kinds = betaln(*self.share_shape(counts)) - betaln(*jnp.array(HARD_SHARE))
        return super().log_marginal(counts) + of_kinds

    def log_density(self) -> Float[Array, ""]:
        """Of both hyperpriors."""
        return self.easy.log_density() + self.hard.log_density()

    def share_shape(self, counts: Counts) -> Float[Array, " two"]:
        """Both shape parameters of the Beta posterior of h."""
        num_easy, num_hard = counts[:, :, 2].sum(axis=0)
        return jnp.stack([num_hard, num_easy]) + jnp.array(HARD_SHARE)

    def posterior_mean(self, counts: Counts) -> HardExamples:
        """Accuracies and the share at their posterior means."""
        hard, easy = self.share_shape(counts)
        share, accuracy = hard / (hard + easy), self.expected_rows(counts)[:, :, 0]
        return HardExamples(accuracy[:, 0], accuracy[:, 1], share, self.num_classes)

    def sample(self, key: Key[Array, ""], counts: Counts) -> HardExamples:
        """Accuracies and the share from their Beta posteriors."""
        key_rows, key_share = jax.random.split(key)
        accuracy = self.drawn_rows(key_rows, counts)[:, :, 0]
        share = jax.random.beta(key_share, *self.share_shape(counts))
        return HardExamples(accuracy[:, 0], accuracy[:, 1], share, self.num_classes)

    def cohorts(
        self, counts: Counts, class_prior: Float[Array, " num_classes"]
    ) -> tuple[CohortCounts, ...]:
        r"""Two cohorts, of easy and of hard examples: :math:`(1 - h) \alpha_j + h \beta_j`."""
        (both,) = super().cohorts(counts, class_prior)
        shares = self.share_shape(counts)[::-1] / self.share_shape(counts).sum()
        return tuple(both.column(kind, shares[kind]) for kind in range(2))

    def hyperpriors(self) -> tuple[HyperPrior, ...]:
        """Of easy and of hard examples."""
        return (*self.easy.hyperpriors(), *self.hard.hyperpriors())

    def with_cohorts(self, drawn: Sequence[Cohort]) -> "DifficultyPrior":
        """Other means and concentrations on easy and on hard examples."""
        easy, hard = self.easy.with_cohorts(drawn[:1]), self.hard.with_cohorts(drawn[1:])
        return dataclasses.replace(self, easy=easy, hard=hard)

    def _prob_of_kinds(self, latent_probs: LatentProbs) -> Float[Array, "num_examples two"]:
        """Probability of each kind of example, whatever the class."""
        return latent_probs.reshape(-1, self.num_classes, 2).sum(axis=1)
