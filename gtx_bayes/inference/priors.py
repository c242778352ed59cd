r"""Conjugate priors that a cohort of labelers shares, and what expected counts make of them.

Where true labels are unknown, inference works with expected counts: how often a labeler is
believed to have been right (one coin), or to have answered l to examples of class y (confusion
matrices). A prior turns counts into posteriors of the labelers, says how probable answers are
given everybody's other answers, and learns its own mean and concentration from the cohort
(empirical Bayes) under a hyperprior that labelers are better than chance.
"""

import abc
import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import betaln, digamma, gammaln
from jaxtyping import Array, Float, Key, Shaped

from gtx_bayes.inference.beta import BetaPosterior, HyperPrior
from gtx_bayes.labelers.confusion_matrix import ConfusionMatrix
from gtx_bayes.labelers.one_coin import OneCoin
from gtx_bayes.labels import MISSING, Labels

_LARGEST_STEP = 1.0  # of a Newton step, on the scale of logits and logarithms
_NEARBY = 0.05  # where slopes are compared for a curvature, on the same scale
_HYPER_LABELERS = 8.0  # labelers whose rows the hyperprior of a mean row is worth


class AbstractCohortPrior(abc.ABC):
    """The prior of one kind of labeler model: a frozen pytree dataclass. A subclass is final.

    Attributes:
        num_classes: K.
    """

    num_classes: int

    @abc.abstractmethod
    def counts(
        self, labels: Labels, class_probs: Float[Array, "num_examples num_classes"]
    ) -> Float[Array, "num_labelers ..."]:
        """Expected counts of every labeler, given the classes' probabilities."""

    @abc.abstractmethod
    def evidence(
        self,
        labels: Labels,
        class_probs: Float[Array, "num_examples num_classes"],
        counts: Float[Array, "num_labelers ..."],
    ) -> Float[Array, "num_examples num_classes"]:
        """Log-probability of each example's answers under each class, up to what classes share.

        Every answer is judged by what its labeler's other answers say of the labeler: its own
        part of the counts is left out.
        """

    @abc.abstractmethod
    def refit(self, counts: Float[Array, "num_labelers ..."]) -> "AbstractCohortPrior":
        """One step towards the most probable prior given the cohort's counts."""

    @abc.abstractmethod
    def log_marginal(self, counts: Float[Array, "num_labelers ..."]) -> Float[Array, ""]:
        """Log-probability of the counts, labelers integrated out."""

    @abc.abstractmethod
    def posterior_mean(self, counts: Float[Array, "num_labelers ..."]) -> OneCoin | ConfusionMatrix:
        """The labelers at their posterior means."""

    @abc.abstractmethod
    def sample(
        self, key: Key[Array, ""], counts: Float[Array, "num_labelers ..."]
    ) -> OneCoin | ConfusionMatrix:
        """A draw of the labelers from their posterior given the counts."""

    @abc.abstractmethod
    def accuracy(
        self,
        counts: Float[Array, "num_labelers ..."],
        class_prior: Float[Array, " num_classes"],
    ) -> BetaPosterior:
        """Posterior of each labeler's probability of a right answer."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class OneCoinPrior(AbstractCohortPrior):
    r"""Accuracies :math:`\alpha_j \sim \mathrm{Beta}(m \kappa, (1 - m) \kappa)`.

    Counts have shape (num_labelers, 2): right and wrong answers.

    Attributes:
        logit_mean: log odds of the mean m.
        log_concentration: logarithm of :math:`\kappa`.
        num_classes: K.
    """

    logit_mean: Float[Array, ""]
    log_concentration: Float[Array, ""]
    num_classes: int = dataclasses.field(metadata={"static": True})

    @classmethod
    def default(cls, num_classes: int) -> "OneCoinPrior":
        """The centre of the hyperprior: half-way from chance to perfection, worth 15 answers."""
        hyper = HyperPrior.for_classes(num_classes)
        return cls(
            jnp.asarray(np.log(hyper.mean_a / hyper.mean_b), float),
            jnp.asarray(hyper.log_concentration, float),
            num_classes,
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
        right = prob_of_answer(labels, class_probs)
        own = jnp.stack([right, 1.0 - right], axis=1)
        others = jnp.maximum(counts[labels.labeler] - own, 0.0)
        log_shape = jnp.log(self.shape + others)
        weight = log_shape[:, 0] - log_shape[:, 1] + jnp.log(self.num_classes - 1.0)
        cells = labels.num_examples * self.num_classes
        cell = jnp.where(answered(labels), _cell(labels), cells)
        votes = jnp.zeros(cells, weight.dtype).at[cell].add(weight, mode="drop")
        return votes.reshape(labels.num_examples, self.num_classes)

    def refit(self, counts: Float[Array, "num_labelers two"]) -> "OneCoinPrior":
        """A Newton step for each parameter on the posterior density of `CohortPrior.fit`."""
        hyper = HyperPrior.for_classes(self.num_classes)
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

        logit_mean = _newton(lambda x: slopes(x, self.log_concentration)[0], self.logit_mean)
        log_concentration = _newton(lambda x: slopes(logit_mean, x)[1], self.log_concentration)
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
        log_concentration = jnp.asarray(
            HyperPrior.for_classes(num_classes).log_concentration, float
        )
        return cls(_better_than_chance(num_classes), log_concentration, num_classes)

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
        label = jnp.maximum(labels.label, 0)
        own = class_probs[labels.example]
        cell = jnp.maximum(counts[labels.labeler, :, label] - own, 0.0) + self.shape.T[label]
        row = jnp.maximum(counts.sum(axis=2)[labels.labeler] - own, 0.0)
        log_prob = jnp.log(cell) - jnp.log(row + jnp.exp(self.log_concentration))
        log_prob = jnp.where(answered(labels)[:, None], log_prob, 0.0)
        return jnp.zeros_like(class_probs).at[labels.example].add(log_prob)

    def refit(
        self, counts: Float[Array, "num_labelers num_classes num_classes"]
    ) -> "ConfusionPrior":
        """Mean rows from the labelers' counts, none worth more than the prior; then a Newton step.

        A labeler's rows enter the mean with weight n / (n + kappa), as if drawn around it.
        """
        hyper = HyperPrior.for_classes(self.num_classes)
        concentration = jnp.exp(self.log_concentration)
        total = counts.sum(axis=2)
        pooled = jnp.sum(counts / (1.0 + total / concentration)[..., None], axis=0)
        pooled = pooled / concentration + _HYPER_LABELERS * _better_than_chance(self.num_classes)
        mean = pooled / pooled.sum(axis=1, keepdims=True)

        def slope(log_concentration: Float[Array, ""]) -> Float[Array, ""]:
            concentration = jnp.exp(log_concentration)
            shape = mean * concentration
            of_cells = jnp.sum(shape * (digamma(shape + counts) - digamma(shape)))
            of_rows = jnp.sum(digamma(concentration) - digamma(concentration + total))
            z = (log_concentration - hyper.log_concentration) / hyper.log_concentration_sd
            return of_cells + concentration * of_rows - z / hyper.log_concentration_sd

        return dataclasses.replace(
            self, mean=mean, log_concentration=_newton(slope, self.log_concentration)
        )

    def log_marginal(
        self, counts: Float[Array, "num_labelers num_classes num_classes"]
    ) -> Float[Array, ""]:
        """Dirichlet-multinomial rows."""
        shape, concentration = self.shape, jnp.exp(self.log_concentration)
        of_cells = jnp.sum(gammaln(shape + counts) - gammaln(shape))
        of_rows = jnp.sum(gammaln(concentration) - gammaln(concentration + counts.sum(axis=2)))
        return of_cells + of_rows

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
        total = rows.sum(axis=2)
        mean_by_class = jnp.diagonal(rows, axis1=1, axis2=2) / total
        mean = mean_by_class @ class_prior
        variance = (mean_by_class * (1.0 - mean_by_class) / (total + 1.0)) @ class_prior**2
        concentration = mean * (1.0 - mean) / variance - 1.0
        return BetaPosterior(mean * concentration, (1.0 - mean) * concentration)


PRIORS: dict[str, Callable[[int], AbstractCohortPrior]] = {
    "one-coin": OneCoinPrior.default,
    "confusion": ConfusionPrior.default,
}
"""Default prior of every labeler model that inference with unknown labels knows, by name."""


def answered(labels: Labels) -> Shaped[Array, " num_labels"]:
    """Which entries are answers, and not padding."""
    return labels.label != MISSING


def prob_of_answer(
    labels: Labels, class_probs: Float[Array, "num_examples num_classes"]
) -> Float[Array, " num_labels"]:
    """Probability that each answer is right; 0 for padding."""
    found = class_probs.reshape(-1)[_cell(labels)]
    return jnp.where(answered(labels), found, 0.0)


def _cell(labels: Labels) -> Shaped[Array, " num_labels"]:
    return labels.example * labels.num_classes + jnp.maximum(labels.label, 0).astype(jnp.int32)


def _better_than_chance(num_classes: int) -> Float[Array, "num_classes num_classes"]:
    hyper = HyperPrior.for_classes(num_classes)
    right = hyper.mean_a / (hyper.mean_a + hyper.mean_b)
    wrong = (1.0 - right) / (num_classes - 1)
    return jnp.full((num_classes, num_classes), wrong) + (right - wrong) * jnp.eye(num_classes)


def _newton(
    slope: Callable[[Float[Array, "*shape"]], Float[Array, "*shape"]], x: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """One guarded Newton step uphill, entry by entry, each slope depending on its own entry.

    The curvature is a difference of slopes: derivatives of digamma take seconds to compile.
    """
    curvature = (slope(x + _NEARBY) - slope(x - _NEARBY)) / (2.0 * _NEARBY)
    step = slope(x) / jnp.maximum(jnp.abs(curvature), 1e-3)
    return x + jnp.clip(step, -_LARGEST_STEP, _LARGEST_STEP)
