"""The cohort's priors of confusion matrices: rows of any shape, or with wrong answers alike."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import digamma, gammaln
from jaxtyping import Array, Float, Key

from gtx_bayes.inference.beta import BetaPosterior, HyperPrior
from gtx_bayes.inference.priors.base import (
    AbstractCohortPrior,
    answered,
    newton_step,
    prob_of_answer,
    weighted_mean,
)
from gtx_bayes.labelers.class_conditional import ClassConditional
from gtx_bayes.labelers.confusion_matrix import ConfusionMatrix
from gtx_bayes.labels import Labels
from gtx_bayes.standard_size import on_device

_HYPER_LABELERS = 8.0  # labelers whose rows the hyperprior of a mean row is worth


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ConfusionPrior(AbstractCohortPrior):
    r"""Rows of confusion matrices :math:`\theta_{jy} \sim \mathrm{Dirichlet}(\kappa m_y)`.

    Counts have shape (num_labelers, K, K): by true class, then answer.

    Attributes:
        mean: mean rows :math:`m_y`, the cohort's confusion matrix.
        log_concentration: logarithm of :math:`\kappa`, one for all classes: those of their own
            run off where a class is rare.
        num_classes: K.
    """

    mean: Float[Array, "num_classes num_classes"]
    log_concentration: Float[Array, ""]
    num_classes: int = dataclasses.field(metadata={"static": True})

    @classmethod
    def default(cls, num_classes: int) -> "ConfusionPrior":
        """The centre of the hyperprior: half-way from chance to perfection, worth 15 answers."""
        log_concentration = on_device(HyperPrior.for_classes(num_classes).log_concentration)
        return cls(on_device(_better_than_chance(num_classes)), log_concentration, num_classes)

    @property
    def shape(self) -> Float[Array, "num_classes num_classes"]:
        """Parameters of the Dirichlet distributions, one row per class."""
        return self.mean * jnp.exp(self.log_concentration)

    def counts(
        self, labels: Labels, class_probs: Float[Array, "num_examples num_classes"]
    ) -> Float[Array, "num_labelers num_classes num_classes"]:
        """Expected answers by labeler, true class and answer."""
        none = jnp.zeros((labels.num_labelers, self.num_classes, self.num_classes), float)
        found = class_probs[labels.example] * answered(labels)[:, None]
        return none.at[labels.labeler, :, jnp.maximum(labels.label, 0)].add(found)

    def evidence(
        self,
        labels: Labels,
        class_probs: Float[Array, "num_examples num_classes"],
        counts: Float[Array, "num_labelers num_classes num_classes"],
    ) -> Float[Array, "num_examples num_classes"]:
        """Log-probabilities of the answers under each class."""
        label = jnp.maximum(labels.label, 0).astype(jnp.int32)
        answer = labels.labeler * self.num_classes + label
        example = jnp.where(answered(labels), labels.example, labels.num_examples)

        def of_class(
            given: tuple[Float[Array, "..."], ...],
        ) -> Float[Array, " num_examples"]:
            probs, shape, cells = given
            own = probs[labels.example]
            cell = shape[label] + jnp.maximum(cells.reshape(-1)[answer] - own, 0.0)
            row = shape.sum() + jnp.maximum(cells.sum(axis=1)[labels.labeler] - own, 0.0)
            none = jnp.zeros(labels.num_examples, probs.dtype)
            return none.at[example].add(jnp.log(cell / row), mode="drop")

        # Class by class a CPU takes a third of the time: arrays with a short last axis are slow.
        by_class = (class_probs.T, self.shape, jnp.swapaxes(counts, 0, 1))
        return jax.lax.map(of_class, by_class).T

    def refit(
        self, counts: Float[Array, "num_labelers num_classes num_classes"]
    ) -> "ConfusionPrior":
        """Mean rows from the labelers' counts, none worth more than the prior; then a Newton step.

        A labeler's rows enter the mean with weight n / (n + kappa), as if drawn around it.
        """
        mean, log_concentration = _refit_rows(
            self.log_concentration, counts, jnp.asarray(_better_than_chance(self.num_classes))
        )
        return dataclasses.replace(self, mean=mean, log_concentration=log_concentration)

    def log_marginal(
        self, counts: Float[Array, "num_labelers num_classes num_classes"]
    ) -> Float[Array, ""]:
        """Dirichlet-multinomial rows."""
        return _log_marginal_of_rows(self.shape, counts)

    def posterior_mean(
        self, counts: Float[Array, "num_labelers num_classes num_classes"]
    ) -> ConfusionMatrix:
        """Rows at their posterior means."""
        rows = self.shape + counts
        return ConfusionMatrix(rows / rows.sum(axis=2, keepdims=True), self.num_classes)

    def sample(
        self, key: Key[Array, ""], counts: Float[Array, "num_labelers num_classes num_classes"]
    ) -> ConfusionMatrix:
        """Rows from their Dirichlet posteriors."""
        return ConfusionMatrix(jax.random.dirichlet(key, self.shape + counts), self.num_classes)

    def accuracy(
        self,
        counts: Float[Array, "num_labelers num_classes num_classes"],
        class_prior: Float[Array, " num_classes"],
    ) -> BetaPosterior:
        r"""The Beta law with the mean and variance of :math:`\sum_y \pi_y \theta_{jyy}`."""
        rows = self.shape + counts
        right = jnp.diagonal(rows, axis1=1, axis2=2)
        return weighted_mean(BetaPosterior(right, rows.sum(axis=2) - right), class_prior)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ClassConditionalPrior(AbstractCohortPrior):
    r"""Accuracies by class :math:`\alpha_{jy} \sim \mathrm{Beta}(m_y \kappa, (1 - m_y) \kappa)`.

    `ConfusionPrior` with wrong answers alike: the same for two classes. Counts have shape
    (num_labelers, K, 2): right and wrong answers by true class.

    Attributes:
        mean: :math:`m_y` and :math:`1 - m_y`, the cohort's right and wrong answers.
        log_concentration: logarithm of :math:`\kappa`, one for all classes.
        num_classes: K.
    """

    mean: Float[Array, "num_classes two"]
    log_concentration: Float[Array, ""]
    num_classes: int = dataclasses.field(metadata={"static": True})

    @classmethod
    def default(cls, num_classes: int) -> "ClassConditionalPrior":
        """The centre of the hyperprior: half-way from chance to perfection, worth 15 answers."""
        log_concentration = on_device(HyperPrior.for_classes(num_classes).log_concentration)
        return cls(on_device(_right_or_wrong(num_classes)), log_concentration, num_classes)

    @property
    def shape(self) -> Float[Array, "num_classes two"]:
        """Parameters of the Beta distributions, one row per class."""
        return self.mean * jnp.exp(self.log_concentration)

    def counts(
        self, labels: Labels, class_probs: Float[Array, "num_examples num_classes"]
    ) -> Float[Array, "num_labelers num_classes two"]:
        """Expected right and wrong answers by labeler and true class."""
        none = jnp.zeros((labels.num_labelers, self.num_classes), float)
        of_class = class_probs[labels.example] * answered(labels)[:, None]
        total = none.at[labels.labeler].add(of_class)
        label = jnp.maximum(labels.label, 0)
        right = none.at[labels.labeler, label].add(prob_of_answer(labels, class_probs))
        return jnp.stack([right, total - right], axis=2)

    def evidence(
        self,
        labels: Labels,
        class_probs: Float[Array, "num_examples num_classes"],
        counts: Float[Array, "num_labelers num_classes two"],
    ) -> Float[Array, "num_examples num_classes"]:
        """Log-probabilities of the answers under each class."""
        is_right = labels.label[:, None] == jnp.arange(self.num_classes)
        own = class_probs[labels.example]
        of_answer = jnp.where(is_right, counts[labels.labeler, :, 0], counts[labels.labeler, :, 1])
        shape = jnp.where(is_right, self.shape[:, 0], self.shape[:, 1])
        cell = jnp.maximum(of_answer - own, 0.0) + shape
        row = jnp.maximum(counts.sum(axis=2)[labels.labeler] - own, 0.0)
        log_prob = jnp.log(cell) - jnp.log(row + jnp.exp(self.log_concentration))
        log_prob = log_prob - jnp.where(is_right, 0.0, jnp.log(self.num_classes - 1.0))
        log_prob = jnp.where(answered(labels)[:, None], log_prob, 0.0)
        return jnp.zeros_like(class_probs).at[labels.example].add(log_prob)

    def refit(
        self, counts: Float[Array, "num_labelers num_classes two"]
    ) -> "ClassConditionalPrior":
        """As `ConfusionPrior.refit`."""
        mean, log_concentration = _refit_rows(
            self.log_concentration, counts, jnp.asarray(_right_or_wrong(self.num_classes))
        )
        return dataclasses.replace(self, mean=mean, log_concentration=log_concentration)

    def log_marginal(
        self, counts: Float[Array, "num_labelers num_classes two"]
    ) -> Float[Array, ""]:
        """Beta-binomial, wrong answers alike."""
        num_wrong = jnp.sum(counts[:, :, 1])
        return _log_marginal_of_rows(self.shape, counts) - num_wrong * jnp.log(
            self.num_classes - 1.0
        )

    def posterior_mean(
        self, counts: Float[Array, "num_labelers num_classes two"]
    ) -> ClassConditional:
        """Accuracies at their posterior means."""
        return ClassConditional(self._posterior(counts).mean, self.num_classes)

    def sample(
        self, key: Key[Array, ""], counts: Float[Array, "num_labelers num_classes two"]
    ) -> ClassConditional:
        """Accuracies from their Beta posteriors."""
        return ClassConditional(self._posterior(counts).sample(key), self.num_classes)

    def accuracy(
        self,
        counts: Float[Array, "num_labelers num_classes two"],
        class_prior: Float[Array, " num_classes"],
    ) -> BetaPosterior:
        r"""The Beta law with the mean and variance of :math:`\sum_y \pi_y \alpha_{jy}`."""
        return weighted_mean(self._posterior(counts), class_prior)

    def _posterior(self, counts: Float[Array, "num_labelers num_classes two"]) -> BetaPosterior:
        rows = self.shape + counts
        return BetaPosterior(rows[..., 0], rows[..., 1])


def _better_than_chance(num_classes: int) -> Float[np.ndarray, "num_classes num_classes"]:
    hyper = HyperPrior.for_classes(num_classes)
    right = hyper.mean_a / (hyper.mean_a + hyper.mean_b)
    wrong = (1.0 - right) / (num_classes - 1)
    return np.where(np.eye(num_classes, dtype=bool), right, wrong)


def _right_or_wrong(num_classes: int) -> Float[np.ndarray, "num_classes two"]:
    right = np.diagonal(_better_than_chance(num_classes))
    return np.stack([right, 1.0 - right], axis=1)


def _refit_rows(
    log_concentration: Float[Array, ""],
    counts: Float[Array, "num_labelers num_classes num_cells"],
    hyper_mean: Float[Array, "num_classes num_cells"],
) -> tuple[Float[Array, "num_classes num_cells"], Float[Array, ""]]:
    """Mean rows and log-concentration of Dirichlet distributions, a step further."""
    hyper = HyperPrior.for_classes(hyper_mean.shape[0])
    concentration = jnp.exp(log_concentration)
    total = counts.sum(axis=2)
    pooled = jnp.sum(counts / (1.0 + total / concentration)[..., None], axis=0)
    pooled = pooled / concentration + _HYPER_LABELERS * hyper_mean
    mean = pooled / pooled.sum(axis=1, keepdims=True)

    def slope(log_concentration: Float[Array, ""]) -> Float[Array, ""]:
        concentration = jnp.exp(log_concentration)
        shape = mean * concentration
        of_cells = jnp.sum(shape * (digamma(shape + counts) - digamma(shape)))
        of_rows = jnp.sum(digamma(concentration) - digamma(concentration + total))
        z = (log_concentration - hyper.log_concentration) / hyper.log_concentration_sd
        return of_cells + concentration * of_rows - z / hyper.log_concentration_sd

    return mean, newton_step(slope, log_concentration)


def _log_marginal_of_rows(
    shape: Float[Array, "num_classes num_cells"],
    counts: Float[Array, "num_labelers num_classes num_cells"],
) -> Float[Array, ""]:
    total = shape.sum(axis=1)
    of_cells = jnp.sum(gammaln(shape + counts) - gammaln(shape))
    return of_cells + jnp.sum(gammaln(total) - gammaln(total + counts.sum(axis=2)))
