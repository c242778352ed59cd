"""The cohort's prior where some examples are hard for everybody."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.scipy.special import betaln
from jaxtyping import Array, Float, Key

from gtx_bayes.labelers.hard_examples import HardExamples
from gtx_bayes.labels import Labels
from gtx_bayes.models.hyperprior import HyperPrior
from gtx_bayes.models.priors.base import AbstractCohortPrior, answered, share_known
from gtx_bayes.models.priors.cohort import Cohort, CohortCounts
from gtx_bayes.models.priors.one_coin import OneCoinPrior, column

HARD_SHARE = (2.0, 18.0)
"""Beta prior of the share of hard examples: a tenth, give or take 0.065."""

_HARD_SKILL = 0.25  # on hard examples, from chance to perfection; on easy ones a half


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DifficultyPrior(AbstractCohortPrior):
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
        easy, hard = (
            OneCoinPrior.default(num_classes),
            OneCoinPrior.default(num_classes, _HARD_SKILL),
        )
        return cls(easy, hard, num_classes)

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

    def counts(
        self, labels: Labels, latent_probs: Float[Array, "num_examples num_latents"]
    ) -> Float[Array, "num_labelers two five"]:
        """Expected answers, parts of examples and variances, by labeler and kind."""
        own = self._own(labels, latent_probs)
        part = own.sum(axis=2) / labels.labels_per_example()[labels.example, None]
        found = jnp.concatenate([own, part[:, :, None], own * (1.0 - own)], axis=2)
        found = jnp.where(answered(labels)[:, None, None], found, 0.0)
        return jnp.zeros((labels.num_labelers, 2, 5), found.dtype).at[labels.labeler].add(found)

    def evidence(
        self,
        labels: Labels,
        latent_probs: Float[Array, "num_examples num_latents"],
        counts: Float[Array, "num_labelers two five"],
    ) -> Float[Array, "num_examples num_latents"]:
        """Log-probabilities of the kind and of the answers under each latent class.

        An example without answers counts as easy, so that it tells nothing about h.
        """
        own = self._own(labels, latent_probs)
        others = jnp.maximum(counts[labels.labeler, :, :2] - own, 0.0)
        shape = others + jnp.stack([self.easy.shape, self.hard.shape])
        log_prob = jnp.log(shape) - jnp.log(shape.sum(axis=2, keepdims=True))
        is_answered = answered(labels)
        right, wrong = log_prob[..., 0], log_prob[..., 1] - jnp.log(self.num_classes - 1.0)
        none = jnp.zeros((labels.num_examples, self.num_classes, 2), right.dtype)
        of_wrong = jnp.where(is_answered[:, None], wrong, 0.0)
        found = none.at[labels.example].add(of_wrong[:, None, :])
        of_right = jnp.where(is_answered[:, None], right - wrong, 0.0)
        found = found.at[labels.example, jnp.maximum(labels.label, 0)].add(of_right)
        return (found + self._log_shares(labels, latent_probs, counts)[:, None]).reshape(
            labels.num_examples, -1
        )

    def refit(self, counts: Float[Array, "num_labelers two five"]) -> "DifficultyPrior":
        """A step for each of both priors."""
        easy, hard = (
            prior.refit(_answers(self.known(counts), kind))
            for kind, prior in enumerate((self.easy, self.hard))
        )
        return dataclasses.replace(self, easy=easy, hard=hard)

    def log_marginal(self, counts: Float[Array, "num_labelers two five"]) -> Float[Array, ""]:
        """That of easy answers, of hard answers, and of the examples' kinds."""
        of_kinds = betaln(*self.share_shape(counts)) - betaln(*jnp.array(HARD_SHARE))
        of_easy = self.easy.log_marginal(_answers(counts, 0))
        return of_easy + self.hard.log_marginal(_answers(counts, 1)) + of_kinds

    def log_density(self) -> Float[Array, ""]:
        """Of both hyperpriors."""
        return self.easy.log_density() + self.hard.log_density()

    def share_shape(self, counts: Float[Array, "num_labelers two five"]) -> Float[Array, " two"]:
        """Both shape parameters of the Beta posterior of h."""
        num_easy, num_hard = counts[:, :, 2].sum(axis=0)
        return jnp.stack([num_hard, num_easy]) + jnp.array(HARD_SHARE)

    def posterior_mean(self, counts: Float[Array, "num_labelers two five"]) -> HardExamples:
        """Accuracies and the share at their posterior means."""
        hard, easy = self.share_shape(counts)
        return HardExamples(
            self.easy.posterior_mean(_answers(counts, 0)).accuracy,
            self.hard.posterior_mean(_answers(counts, 1)).accuracy,
            hard / (hard + easy),
            self.num_classes,
        )

    def sample(
        self, key: Key[Array, ""], counts: Float[Array, "num_labelers two five"]
    ) -> HardExamples:
        """Accuracies and the share from their Beta posteriors."""
        key_easy, key_hard, key_share = jax.random.split(key, 3)
        known = self.known(counts)
        return HardExamples(
            self.easy.sample(key_easy, _answers(known, 0)).accuracy,
            self.hard.sample(key_hard, _answers(known, 1)).accuracy,
            jax.random.beta(key_share, *self.share_shape(counts)),
            self.num_classes,
        )

    def known(
        self, counts: Float[Array, "num_labelers two five"]
    ) -> Float[Array, "num_labelers two five"]:
        """Right and wrong answers by kind, as many as are known."""
        shape = jnp.stack([self.easy.shape, self.hard.shape])
        rows = counts[:, :, :2] + shape
        right, wrong = rows[:, :, 0], rows[:, :, 1]
        mean = right / (right + wrong)
        lost = counts[:, :, 3] * (1.0 - mean) ** 2 + counts[:, :, 4] * mean**2
        share = share_known(right, wrong, lost, shape.sum(axis=1))
        left = jnp.maximum(share[:, :, None] * rows - shape, 0.0)
        return jnp.concatenate([left, counts[:, :, 2:3], jnp.zeros_like(left)], axis=2)

    def cohorts(
        self,
        counts: Float[Array, "num_labelers two five"],
        class_prior: Float[Array, " num_classes"],
    ) -> tuple[CohortCounts, ...]:
        r"""Two cohorts, of easy and of hard examples: :math:`(1 - h) \alpha_j + h \beta_j`."""
        known = self.known(counts)
        shares = self.share_shape(counts)[::-1]
        shares = shares / shares.sum()
        return tuple(column(known[:, kind], shares[kind]) for kind in range(2))

    def hyperpriors(self) -> tuple[HyperPrior, ...]:
        """Of easy and of hard examples."""
        return (*self.easy.hyperpriors(), *self.hard.hyperpriors())

    def with_cohorts(self, drawn: Sequence[Cohort]) -> "DifficultyPrior":
        """Other means and concentrations on easy and on hard examples."""
        easy, hard = self.easy.with_cohorts(drawn[:1]), self.hard.with_cohorts(drawn[1:])
        return dataclasses.replace(self, easy=easy, hard=hard)

    def _own(
        self, labels: Labels, latent_probs: Float[Array, "num_examples num_latents"]
    ) -> Float[Array, "num_labels two two"]:
        """Probability that the example is of each kind and the answer right, or wrong."""
        by_kind = latent_probs.reshape(labels.num_examples, self.num_classes, 2)
        right = by_kind[labels.example, jnp.maximum(labels.label, 0)]
        either = by_kind.sum(axis=1)[labels.example]
        return jnp.stack([right, either - right], axis=2)

    def _log_shares(
        self,
        labels: Labels,
        latent_probs: Float[Array, "num_examples num_latents"],
        counts: Float[Array, "num_labelers two five"],
    ) -> Float[Array, "num_examples two"]:
        """Logarithms of the shares of easy and hard examples among the others."""
        own = latent_probs.reshape(labels.num_examples, self.num_classes, 2).sum(axis=1)
        others = jnp.maximum(self.share_shape(counts)[::-1] - own, 0.0)
        log_shares = jnp.log(others) - jnp.log(others.sum(axis=1, keepdims=True))
        has_answers = (labels.labels_per_example() > 0)[:, None]
        return jnp.where(has_answers, log_shares, jnp.array([0.0, -jnp.inf]))


def _answers(
    counts: Float[Array, "num_labelers two five"], kind: int
) -> Float[Array, "num_labelers three"]:
    """Right and wrong answers to one kind of examples, as the prior of one coin counts them."""
    return jnp.pad(counts[:, kind, :2], ((0, 0), (0, 1)))
