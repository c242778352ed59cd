"""The cohort's prior of accuracies."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import betaln, digamma
from jaxtyping import Array, Float, Key

from gtx_bayes.labelers.one_coin import OneCoin
from gtx_bayes.labels import Labels
from gtx_bayes.models.hyperprior import HyperPrior
from gtx_bayes.models.priors.base import (
    AbstractCohortPrior,
    answered,
    cell_of,
    newton_step,
    prob_of_answer,
    share_known,
)
from gtx_bayes.models.priors.cohort import Cohort, CohortCounts
from gtx_bayes.standard_size import on_device


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class OneCoinPrior(AbstractCohortPrior):
    r"""Accuracies :math:`\alpha_j \sim \mathrm{Beta}(m \kappa, (1 - m) \kappa)`.

    Counts have shape (num_labelers, 3): right answers, wrong ones, and the variance of their
    number.

    Attributes:
        logit_mean: log odds of the mean m.
        log_concentration: logarithm of :math:`\kappa`.
        num_classes: K.
        skill: where the hyperprior has m, from 0 for chance to 1 for perfection.
    """

    logit_mean: Float[Array, ""]
    log_concentration: Float[Array, ""]
    num_classes: int = dataclasses.field(metadata={"static": True})
    skill: float = dataclasses.field(default=0.5, metadata={"static": True})

    @classmethod
    def default(cls, num_classes: int, skill: float = 0.5) -> "OneCoinPrior":
        """The centre of the hyperprior: half-way from chance to perfection, worth 15 answers."""
        hyper = HyperPrior.for_classes(num_classes, skill)
        return cls(
            on_device(np.log(hyper.mean_a / hyper.mean_b)),
            on_device(hyper.log_concentration),
            num_classes,
            skill,
        )

    @property
    def shape(self) -> Float[Array, " two"]:
        """Both shape parameters of the Beta distribution."""
        mean = jax.nn.sigmoid(jnp.stack([self.logit_mean, -self.logit_mean]))
        return mean * jnp.exp(self.log_concentration)

    def counts(
        self, labels: Labels, class_probs: Float[Array, "num_examples num_classes"]
    ) -> Float[Array, "num_labelers three"]:
        """Expected right and wrong answers, and the variance of their number."""
        right = prob_of_answer(labels, class_probs)
        none = jnp.zeros(labels.num_labelers, right.dtype)
        num_right = none.at[labels.labeler].add(right)
        variance = none.at[labels.labeler].add(right * (1.0 - right))
        total = none.at[labels.labeler].add(answered(labels).astype(right.dtype))
        return jnp.stack([num_right, total - num_right, variance], axis=1)

    def evidence(
        self,
        labels: Labels,
        class_probs: Float[Array, "num_examples num_classes"],
        counts: Float[Array, "num_labelers three"],
    ) -> Float[Array, "num_examples num_classes"]:
        """Weighted votes: the log-likelihood ratio of right and wrong, per answer."""
        own = prob_of_answer(labels, class_probs)
        right, wrong = (counts[labels.labeler, part] for part in range(2))
        odds = (self.shape[0] + jnp.maximum(right - own, 0.0)) / (
            self.shape[1] + jnp.maximum(wrong - (1.0 - own), 0.0)
        )
        weight = jnp.log(odds * (self.num_classes - 1.0))
        cells = labels.num_examples * self.num_classes
        cell = jnp.where(answered(labels), cell_of(labels), cells)
        votes = jnp.zeros(cells, weight.dtype).at[cell].add(weight, mode="drop")
        return votes.reshape(labels.num_examples, self.num_classes)

    def refit(self, counts: Float[Array, "num_labelers three"]) -> "OneCoinPrior":
        """A Newton step for each parameter on the posterior density of `CohortPrior.fit`."""
        hyper = HyperPrior.for_classes(self.num_classes, self.skill)
        right, wrong, _ = self.known(counts).T
        total = right + wrong

        def slopes(
            logit_mean: Float[Array, ""], log_concentration: Float[Array, ""]
        ) -> tuple[Float[Array, ""], Float[Array, ""]]:
            mean, concentration = jax.nn.sigmoid(logit_mean), jnp.exp(log_concentration)
            a, b = mean * concentration, (1.0 - mean) * concentration
            of_total = digamma(concentration) - digamma(concentration + total)
            slope_a = jnp.sum(digamma(a + right) - digamma(a) + of_total)
            slope_b = jnp.sum(digamma(b + wrong) - digamma(b) + of_total)
            z = (log_concentration - hyper.log_concentration) / hyper.log_concentration_sd
            d_mean = mean * (1.0 - mean) * concentration * (slope_a - slope_b)
            d_mean = d_mean + hyper.mean_a * (1.0 - mean) - hyper.mean_b * mean
            d_concentration = a * slope_a + b * slope_b - z / hyper.log_concentration_sd
            return d_mean, d_concentration

        logit_mean = newton_step(lambda x: slopes(x, self.log_concentration)[0], self.logit_mean)
        log_concentration = newton_step(lambda x: slopes(logit_mean, x)[1], self.log_concentration)
        return dataclasses.replace(self, logit_mean=logit_mean, log_concentration=log_concentration)

    def log_marginal(self, counts: Float[Array, "num_labelers three"]) -> Float[Array, ""]:
        """Beta-binomial, wrong answers alike."""
        a, b = self.shape
        found = betaln(a + counts[:, 0], b + counts[:, 1]) - betaln(a, b)
        return jnp.sum(found) - jnp.sum(counts[:, 1]) * jnp.log(self.num_classes - 1.0)

    def log_density(self) -> Float[Array, ""]:
        """Of the hyperprior at the mean and the concentration, up to its constant."""
        hyper = HyperPrior.for_classes(self.num_classes, self.skill)
        z = (self.log_concentration - hyper.log_concentration) / hyper.log_concentration_sd
        of_mean = hyper.mean_a * jax.nn.log_sigmoid(self.logit_mean)
        return of_mean + hyper.mean_b * jax.nn.log_sigmoid(-self.logit_mean) - z**2 / 2.0

    def posterior_mean(self, counts: Float[Array, "num_labelers three"]) -> OneCoin:
        """Accuracies at their posterior means."""
        right, wrong = (self.shape + counts[:, :2]).T
        return OneCoin(right / (right + wrong), self.num_classes)

    def sample(self, key: Key[Array, ""], counts: Float[Array, "num_labelers three"]) -> OneCoin:
        """Accuracies from their Beta posteriors, whose concentration is of known answers."""
        a, b = (self.shape + self.known(counts)[:, :2]).T
        return OneCoin(jax.random.beta(key, a, b), self.num_classes)

    def known(
        self, counts: Float[Array, "num_labelers three"]
    ) -> Float[Array, "num_labelers three"]:
        """Right and wrong answers, as many as are known."""
        concentration = jnp.exp(self.log_concentration)
        right, wrong = (self.shape + counts[:, :2]).T
        share = share_known(right, wrong, counts[:, 2], concentration)
        left = share[:, None] * jnp.stack([right, wrong], axis=1) - self.shape
        return jnp.pad(jnp.maximum(left, 0.0), ((0, 0), (0, 1)))

    def cohorts(
        self, counts: Float[Array, "num_labelers three"], class_prior: Float[Array, " num_classes"]
    ) -> tuple[CohortCounts, ...]:
        """One cohort, and its only column."""
        return (column(self.known(counts), jnp.ones((), counts.dtype)),)

    def hyperpriors(self) -> tuple[HyperPrior, ...]:
        """Its only one."""
        return (HyperPrior.for_classes(self.num_classes, self.skill),)

    def with_cohorts(self, drawn: Sequence[Cohort]) -> "OneCoinPrior":
        """Another mean and concentration."""
        mean = drawn[0].mean[..., 0]
        return dataclasses.replace(
            self,
            logit_mean=jnp.log(mean) - jnp.log1p(-mean),
            log_concentration=jnp.log(drawn[0].concentration),
        )


def column(
    known: Float[Array, "num_labelers num_counts"], weight: Float[Array, ""]
) -> CohortCounts:
    """A cohort of one column, from counts whose first two are right and wrong answers."""
    uncoupled = jnp.zeros((known.shape[0], 1, 1), known.dtype)
    return CohortCounts(known[:, :1], known[:, 1:2], weight[None], uncoupled)
