"""The cohort's prior of accuracies."""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import digamma
from jaxtyping import Array, Float

from gtx_bayes.labelers.one_coin import OneCoin
from gtx_bayes.labels import Labels
from gtx_bayes.models.hyperprior import HyperPrior
from gtx_bayes.models.priors.base import answered, cell_of, prob_of_answer
from gtx_bayes.models.priors.cohort import Cohort
from gtx_bayes.models.priors.conjugate import AbstractMeanRows, Cells, newton_step
from gtx_bayes.standard_size import on_device


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class OneCoinPrior(AbstractMeanRows[OneCoin]):
    r"""Accuracies :math:`\alpha_j \sim \mathrm{Beta}(m \kappa, (1 - m) \kappa)`.

    One row, right and wrong, for all classes. Counts have shape (num_labelers, 3): right answers,
    wrong ones, and the variance of their number.

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

    @staticmethod
    @functools.cache
    def cells(num_classes: int) -> Cells:
        """Right and wrong."""
        row = np.zeros(num_classes, int)
        return Cells(row, right=np.array([0]), wrong=np.ones((1, num_classes), int))

    @property
    def hyper(self) -> HyperPrior:
        """The hyperprior."""
        return HyperPrior.for_classes(self.num_classes, self.skill)

    @property
    def mean_rows(self) -> Float[Array, "one two"]:
        """The mean of right answers and of wrong ones."""
        return jax.nn.sigmoid(jnp.stack([self.logit_mean, -self.logit_mean]))[None]

    @property
    def shape(self) -> Float[Array, " two"]:
        """Both shape parameters of the Beta distribution."""
        return self.weights[0]

    def counts(
        self, labels: Labels, class_probs: Float[Array, "num_examples num_classes"]
    ) -> Float[Array, "num_labelers three"]:
        """As by the cells, in half the time: right answers need no sum of their own."""
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
        """As by the cells, in half the time: weighted votes."""
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
        by_cell, _ = self.split(self.known(counts))
        concentration, weights = jnp.exp(self.log_concentration), self.hyper_weights[0]

        def slope(logit_mean: Float[Array, ""]) -> Float[Array, ""]:
            mean = jax.nn.sigmoid(jnp.stack([logit_mean, -logit_mean]))
            shape = mean * concentration
            of_cells = jnp.sum(digamma(shape[:, None] + by_cell[:, 0].T), axis=1)
            of_cells = of_cells - by_cell.shape[0] * digamma(shape)
            of_right, of_wrong = mean[::-1] * (shape * of_cells + weights)
            return of_right - of_wrong

        prior = dataclasses.replace(self, logit_mean=newton_step(slope, self.logit_mean))
        log_concentration = self.concentration_step(prior.mean_rows, by_cell)
        return dataclasses.replace(prior, log_concentration=log_concentration)

    def with_cohorts(self, drawn: Sequence[Cohort]) -> "OneCoinPrior":
        """Another mean and concentration."""
        mean = drawn[0].mean[..., 0]
        return dataclasses.replace(
            self,
            logit_mean=jnp.log(mean) - jnp.log1p(-mean),
            log_concentration=jnp.log(drawn[0].concentration),
        )

    def labelers(self, rows: Float[Array, "num_labelers one two"]) -> OneCoin:
        """Labelers of these accuracies."""
        return OneCoin(rows[:, 0, 0], self.num_classes)
