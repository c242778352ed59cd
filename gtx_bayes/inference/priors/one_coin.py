"""The cohort's prior of accuracies."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import betaln, digamma
from jaxtyping import Array, Float, Key

from gtx_bayes.inference.beta import BetaPosterior, HyperPrior
from gtx_bayes.inference.priors.base import (
    AbstractCohortPrior,
    answered,
    cell_of,
    newton_step,
    prob_of_answer,
)
from gtx_bayes.labelers.one_coin import OneCoin
from gtx_bayes.labels import Labels
from gtx_bayes.standard_size import on_device


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class OneCoinPrior(AbstractCohortPrior):
    r"""Accuracies :math:`\alpha_j \sim \mathrm{Beta}(m \kappa, (1 - m) \kappa)`.

    Counts have shape (num_labelers, 2): right and wrong answers.

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
    ) -> Float[Array, "num_labelers two"]:
        """Expected right and wrong answers."""
        right = prob_of_answer(labels, class_probs)
        none = jnp.zeros(labels.num_labelers, right.dtype)
        num_right = none.at[labels.labeler].add(right)
        total = none.at[labels.labeler].add(answered(labels).astype(right.dtype))
        return jnp.stack([num_right, total - num_right], axis=1)

    def evidence(
        self,
        labels: Labels,
        class_probs: Float[Array, "num_examples num_classes"],
        counts: Float[Array, "num_labelers two"],
    ) -> Float[Array, "num_examples num_classes"]:
        """Weighted votes: the log-likelihood ratio of right and wrong, per answer."""
        own = prob_of_answer(labels, class_probs)
        right, wrong = (part[labels.labeler] for part in counts.T)
        odds = (self.shape[0] + jnp.maximum(right - own, 0.0)) / (
            self.shape[1] + jnp.maximum(wrong - (1.0 - own), 0.0)
        )
        weight = jnp.log(odds * (self.num_classes - 1.0))
        cells = labels.num_examples * self.num_classes
        cell = jnp.where(answered(labels), cell_of(labels), cells)
        votes = jnp.zeros(cells, weight.dtype).at[cell].add(weight, mode="drop")
        return votes.reshape(labels.num_examples, self.num_classes)

    def refit(self, counts: Float[Array, "num_labelers two"]) -> "OneCoinPrior":
        """A Newton step for each parameter on the posterior density of `CohortPrior.fit`."""
        hyper = HyperPrior.for_classes(self.num_classes, self.skill)
        total = counts.sum(axis=1)

        def slopes(
            logit_mean: Float[Array, ""], log_concentration: Float[Array, ""]
        ) -> tuple[Float[Array, ""], Float[Array, ""]]:
            mean, concentration = jax.nn.sigmoid(logit_mean), jnp.exp(log_concentration)
            a, b = mean * concentration, (1.0 - mean) * concentration
            of_total = digamma(concentration) - digamma(concentration + total)
            slope_a = jnp.sum(digamma(a + counts[:, 0]) - digamma(a) + of_total)
            slope_b = jnp.sum(digamma(b + counts[:, 1]) - digamma(b) + of_total)
            z = (log_concentration - hyper.log_concentration) / hyper.log_concentration_sd
            d_mean = mean * (1.0 - mean) * concentration * (slope_a - slope_b)
            d_mean = d_mean + hyper.mean_a * (1.0 - mean) - hyper.mean_b * mean
            d_concentration = a * slope_a + b * slope_b - z / hyper.log_concentration_sd
            return d_mean, d_concentration

        logit_mean = newton_step(lambda x: slopes(x, self.log_concentration)[0], self.logit_mean)
        log_concentration = newton_step(lambda x: slopes(logit_mean, x)[1], self.log_concentration)
        return dataclasses.replace(self, logit_mean=logit_mean, log_concentration=log_concentration)

    def log_marginal(self, counts: Float[Array, "num_labelers two"]) -> Float[Array, ""]:
        """Beta-binomial, wrong answers alike."""
        a, b = self.shape
        found = betaln(a + counts[:, 0], b + counts[:, 1]) - betaln(a, b)
        return jnp.sum(found) - jnp.sum(counts[:, 1]) * jnp.log(self.num_classes - 1.0)

    def posterior_mean(self, counts: Float[Array, "num_labelers two"]) -> OneCoin:
        """Accuracies at their posterior means."""
        return OneCoin(BetaPosterior(*(self.shape + counts).T).mean, self.num_classes)

    def sample(self, key: Key[Array, ""], counts: Float[Array, "num_labelers two"]) -> OneCoin:
        """Accuracies from their Beta posteriors."""
        return OneCoin(BetaPosterior(*(self.shape + counts).T).sample(key), self.num_classes)

    def accuracy(
        self, counts: Float[Array, "num_labelers two"], class_prior: Float[Array, " num_classes"]
    ) -> BetaPosterior:
        """The conjugate posterior."""
        return BetaPosterior(*(self.shape + counts).T)
