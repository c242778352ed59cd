"""The cohort's priors of confusion matrices: rows of any shape, or with wrong answers alike."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import digamma, gammaln
from jaxtyping import Array, Float, Key, ScalarLike

from gtx_bayes.labelers.class_conditional import ClassConditional
from gtx_bayes.labelers.confusion_matrix import ConfusionMatrix
from gtx_bayes.labels import Labels
from gtx_bayes.models.hyperprior import HyperPrior
from gtx_bayes.models.priors.base import (
    AbstractCohortPrior,
    answered,
    newton_step,
    prob_of_answer,
    share_known,
)
from gtx_bayes.models.priors.cohort import Cohort, CohortCounts
from gtx_bayes.standard_size import on_device

_HYPER_LABELERS = 8.0  # labelers whose rows the hyperprior of a mean row is worth


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ConfusionPrior(AbstractCohortPrior):
    r"""Rows of confusion matrices :math:`\theta_{jy} \sim \mathrm{Dirichlet}(\kappa m_y)`.

    Counts have shape (num_labelers, K, K + 2): by true class, then answer, and the variances of
    the numbers of right and of wrong answers.

    Attributes:
        mean: mean rows :math:`m_y`, the cohort's confusion matrix.
        log_concentration: logarithm of :math:`\kappa`, one for all classes: those of their own
            run off where a class is rare.
        num_classes: K.
        least_right: what the mean rows' right answers are at least: 1 / K by default, or 0.
    """

    mean: Float[Array, "num_classes num_classes"]
    log_concentration: Float[Array, ""]
    num_classes: int = dataclasses.field(metadata={"static": True})
    least_right: ScalarLike = 0.0

    @classmethod
    def default(cls, num_classes: int) -> "ConfusionPrior":
        """The centre of the hyperprior: half-way from chance to perfection, worth 15 answers."""
        log_concentration = on_device(HyperPrior.for_classes(num_classes).log_concentration)
        mean = on_device(better_than_chance(num_classes))
        return cls(mean, log_concentration, num_classes, on_device(1.0 / num_classes))

    def trusting_gold(self) -> "ConfusionPrior":
        """Without a floor of the mean rows."""
        return dataclasses.replace(self, least_right=on_device(0.0))

    @property
    def shape(self) -> Float[Array, "num_classes num_classes"]:
        """Parameters of the Dirichlet distributions, one row per class."""
        return self.mean * jnp.exp(self.log_concentration)

    def counts(
        self, labels: Labels, class_probs: Float[Array, "num_examples num_classes"]
    ) -> Float[Array, "num_labelers num_classes num_cells"]:
        """Expected answers by labeler, true class and answer, and how uncertain they are."""
        none = jnp.zeros((labels.num_labelers, self.num_classes, self.num_classes), float)
        found = class_probs[labels.example] * answered(labels)[:, None]
        cells = none.at[labels.labeler, :, jnp.maximum(labels.label, 0)].add(found)
        return jnp.concatenate([cells, variances(labels, class_probs)], axis=2)

    def evidence(
        self,
        labels: Labels,
        class_probs: Float[Array, "num_examples num_classes"],
        counts: Float[Array, "num_labelers num_classes num_cells"],
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
        cells = counts[:, :, : self.num_classes]
        by_class = (class_probs.T, self.shape, jnp.swapaxes(cells, 0, 1))
        return jax.lax.map(of_class, by_class).T

    def refit(self, counts: Float[Array, "num_labelers num_classes num_cells"]) -> "ConfusionPrior":
        """Mean rows from the labelers' counts, none worth more than the prior; then a Newton step.

        A labeler's rows enter the mean with weight n / (n + kappa), as if drawn around it.
        """
        mean, log_concentration = _refit_rows(
            self.log_concentration,
            self.known(counts)[:, :, : self.num_classes],
            jnp.asarray(better_than_chance(self.num_classes)),
            self.least_right,
        )
        return dataclasses.replace(self, mean=mean, log_concentration=log_concentration)

    def log_marginal(
        self, counts: Float[Array, "num_labelers num_classes num_cells"]
    ) -> Float[Array, ""]:
        """Dirichlet-multinomial rows."""
        return _log_marginal_of_rows(self.shape, counts[:, :, : self.num_classes])

    def log_density(self) -> Float[Array, ""]:
        """Of the hyperprior of mean rows and concentration."""
        return _log_density_of_rows(
            self.mean, self.log_concentration, jnp.asarray(better_than_chance(self.num_classes))
        )

    def posterior_mean(
        self, counts: Float[Array, "num_labelers num_classes num_cells"]
    ) -> ConfusionMatrix:
        """Rows at their posterior means."""
        rows = self.shape + counts[:, :, : self.num_classes]
        return ConfusionMatrix(rows / rows.sum(axis=2, keepdims=True), self.num_classes)

    def sample(
        self, key: Key[Array, ""], counts: Float[Array, "num_labelers num_classes num_cells"]
    ) -> ConfusionMatrix:
        """Rows from their Dirichlet posteriors, whose concentration is of known answers."""
        known = self.known(counts)[:, :, : self.num_classes]
        return ConfusionMatrix(jax.random.dirichlet(key, self.shape + known), self.num_classes)

    def known(
        self, counts: Float[Array, "num_labelers num_classes num_cells"]
    ) -> Float[Array, "num_labelers num_classes num_cells"]:
        """Rows of answers, as many as are known by whether they are right."""
        rows = self.shape + counts[:, :, : self.num_classes]
        right = jnp.diagonal(rows, axis1=1, axis2=2)
        share = _share_of_rows(
            right,
            rows.sum(axis=2) - right,
            counts[:, :, self.num_classes :],
            self.shape.sum(axis=1),
        )
        left = jnp.maximum(share[:, :, None] * rows - self.shape, 0.0)
        return jnp.pad(left, ((0, 0), (0, 0), (0, 2)))

    def cohorts(
        self,
        counts: Float[Array, "num_labelers num_classes num_cells"],
        class_prior: Float[Array, " num_classes"],
    ) -> tuple[CohortCounts, ...]:
        """A column for each true class."""
        known = self.known(counts)
        right = jnp.diagonal(known, axis1=1, axis2=2)
        wrong = known.sum(axis=2) - right
        spread = counts[:, :, self.num_classes :]
        coupling = _coupling(right, wrong, spread, self.shape.sum(axis=1), jnp.diagonal(self.mean))
        return (CohortCounts(right, wrong, class_prior, coupling),)

    def hyperpriors(self) -> tuple[HyperPrior, ...]:
        """One for all classes."""
        return (HyperPrior.for_classes(self.num_classes),)

    def with_cohorts(self, drawn: Sequence[Cohort]) -> "ConfusionPrior":
        """Other means of right answers, the wrong ones shared out as before."""
        mean = drawn[0].mean[..., None]
        is_right = jnp.eye(self.num_classes, dtype=bool)
        right = jnp.diagonal(self.mean)[:, None]
        rows = jnp.where(is_right, mean, self.mean * (1.0 - mean) / (1.0 - right))
        return dataclasses.replace(
            self, mean=rows, log_concentration=jnp.log(drawn[0].concentration)
        )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ClassConditionalPrior(AbstractCohortPrior):
    r"""Accuracies by class :math:`\alpha_{jy} \sim \mathrm{Beta}(m_y \kappa, (1 - m_y) \kappa)`.

    `ConfusionPrior` with wrong answers alike: the same for two classes. Counts have shape
    (num_labelers, K, 4): right and wrong answers by true class, and the variances of both numbers.

    Attributes:
        mean: :math:`m_y` and :math:`1 - m_y`, the cohort's right and wrong answers.
        log_concentration: logarithm of :math:`\kappa`, one for all classes.
        num_classes: K.
        least_right: as for confusion matrices.
    """

    mean: Float[Array, "num_classes two"]
    log_concentration: Float[Array, ""]
    num_classes: int = dataclasses.field(metadata={"static": True})
    least_right: ScalarLike = 0.0

    @classmethod
    def default(cls, num_classes: int) -> "ClassConditionalPrior":
        """The centre of the hyperprior: half-way from chance to perfection, worth 15 answers."""
        log_concentration = on_device(HyperPrior.for_classes(num_classes).log_concentration)
        mean = on_device(_right_or_wrong(num_classes))
        return cls(mean, log_concentration, num_classes, on_device(1.0 / num_classes))

    def trusting_gold(self) -> "ClassConditionalPrior":
        """Without a floor of the mean rows."""
        return dataclasses.replace(self, least_right=on_device(0.0))

    @property
    def shape(self) -> Float[Array, "num_classes two"]:
        """Parameters of the Beta distributions, one row per class."""
        return self.mean * jnp.exp(self.log_concentration)

    def counts(
        self, labels: Labels, class_probs: Float[Array, "num_examples num_classes"]
    ) -> Float[Array, "num_labelers num_classes four"]:
        """Expected right and wrong answers by labeler and true class."""
        none = jnp.zeros((labels.num_labelers, self.num_classes), float)
        of_class = class_probs[labels.example] * answered(labels)[:, None]
        total = none.at[labels.labeler].add(of_class)
        label = jnp.maximum(labels.label, 0)
        right = none.at[labels.labeler, label].add(prob_of_answer(labels, class_probs))
        counts = jnp.stack([right, total - right], axis=2)
        return jnp.concatenate([counts, variances(labels, class_probs)], axis=2)

    def evidence(
        self,
        labels: Labels,
        class_probs: Float[Array, "num_examples num_classes"],
        counts: Float[Array, "num_labelers num_classes four"],
    ) -> Float[Array, "num_examples num_classes"]:
        """Log-probabilities of the answers under each class."""
        is_right = labels.label[:, None] == jnp.arange(self.num_classes)
        own = class_probs[labels.example]
        of_answer = jnp.where(is_right, counts[labels.labeler, :, 0], counts[labels.labeler, :, 1])
        shape = jnp.where(is_right, self.shape[:, 0], self.shape[:, 1])
        cell = jnp.maximum(of_answer - own, 0.0) + shape
        row = jnp.maximum(counts[:, :, :2].sum(axis=2)[labels.labeler] - own, 0.0)
        log_prob = jnp.log(cell) - jnp.log(row + jnp.exp(self.log_concentration))
        log_prob = log_prob - jnp.where(is_right, 0.0, jnp.log(self.num_classes - 1.0))
        log_prob = jnp.where(answered(labels)[:, None], log_prob, 0.0)
        return jnp.zeros_like(class_probs).at[labels.example].add(log_prob)

    def refit(
        self, counts: Float[Array, "num_labelers num_classes four"]
    ) -> "ClassConditionalPrior":
        """As for confusion matrices."""
        mean, log_concentration = _refit_rows(
            self.log_concentration,
            self.known(counts)[:, :, :2],
            jnp.asarray(_right_or_wrong(self.num_classes)),
            self.least_right,
        )
        return dataclasses.replace(self, mean=mean, log_concentration=log_concentration)

    def log_marginal(
        self, counts: Float[Array, "num_labelers num_classes four"]
    ) -> Float[Array, ""]:
        """Beta-binomial, wrong answers alike."""
        num_wrong = jnp.sum(counts[:, :, 1])
        return _log_marginal_of_rows(self.shape, counts[:, :, :2]) - num_wrong * jnp.log(
            self.num_classes - 1.0
        )

    def log_density(self) -> Float[Array, ""]:
        """As for confusion matrices."""
        return _log_density_of_rows(
            self.mean, self.log_concentration, jnp.asarray(_right_or_wrong(self.num_classes))
        )

    def posterior_mean(
        self, counts: Float[Array, "num_labelers num_classes four"]
    ) -> ClassConditional:
        """Accuracies at their posterior means."""
        rows = self.shape + counts[:, :, :2]
        return ClassConditional(rows[:, :, 0] / rows.sum(axis=2), self.num_classes)

    def sample(
        self, key: Key[Array, ""], counts: Float[Array, "num_labelers num_classes four"]
    ) -> ClassConditional:
        """Accuracies from their Beta posteriors, whose concentration is of known answers."""
        rows = self.shape + self.known(counts)[:, :, :2]
        return ClassConditional(
            jax.random.beta(key, rows[:, :, 0], rows[:, :, 1]), self.num_classes
        )

    def known(
        self, counts: Float[Array, "num_labelers num_classes four"]
    ) -> Float[Array, "num_labelers num_classes four"]:
        """Right and wrong answers, as many as are known."""
        rows = self.shape + counts[:, :, :2]
        share = _share_of_rows(
            rows[:, :, 0], rows[:, :, 1], counts[:, :, 2:], self.shape.sum(axis=1)
        )
        left = jnp.maximum(share[:, :, None] * rows - self.shape, 0.0)
        return jnp.pad(left, ((0, 0), (0, 0), (0, 2)))

    def cohorts(
        self,
        counts: Float[Array, "num_labelers num_classes four"],
        class_prior: Float[Array, " num_classes"],
    ) -> tuple[CohortCounts, ...]:
        """A column for each true class."""
        right, wrong, *_ = jnp.moveaxis(self.known(counts), 2, 0)
        coupling = _coupling(
            right, wrong, counts[:, :, 2:], self.shape.sum(axis=1), self.mean[:, 0]
        )
        return (CohortCounts(right, wrong, class_prior, coupling),)

    def hyperpriors(self) -> tuple[HyperPrior, ...]:
        """One for all classes."""
        return (HyperPrior.for_classes(self.num_classes),)

    def with_cohorts(self, drawn: Sequence[Cohort]) -> "ClassConditionalPrior":
        """Other means of right answers."""
        mean = jnp.asarray(drawn[0].mean)
        return dataclasses.replace(
            self,
            mean=jnp.stack([mean, 1.0 - mean], axis=1),
            log_concentration=jnp.log(drawn[0].concentration),
        )


def variances(
    labels: Labels, class_probs: Float[Array, "num_examples num_classes"]
) -> Float[Array, "num_labelers num_classes two"]:
    """Variances of each labeler's numbers of right and of wrong answers, by true class."""
    probs = class_probs[labels.example]
    spread = probs * (1.0 - probs) * answered(labels)[:, None]
    is_right = labels.label[:, None] == jnp.arange(labels.num_classes)
    none = jnp.zeros((labels.num_labelers, labels.num_classes), spread.dtype)
    right = none.at[labels.labeler].add(jnp.where(is_right, spread, 0.0))
    return jnp.stack([right, none.at[labels.labeler].add(spread) - right], axis=2)


def _share_of_rows(
    right: Float[Array, "num_labelers num_classes"],
    wrong: Float[Array, "num_labelers num_classes"],
    spread: Float[Array, "num_labelers num_classes two"],
    concentration: Float[Array, " num_classes"],
) -> Float[Array, "num_labelers num_classes"]:
    """`share_known` of rows, an answer's score being that of one class alone."""
    mean = right / (right + wrong)
    lost = spread[:, :, 0] * (1.0 - mean) ** 2 + spread[:, :, 1] * mean**2
    return share_known(right, wrong, lost, concentration)


def _coupling(
    right: Float[Array, "num_labelers num_classes"],
    wrong: Float[Array, "num_labelers num_classes"],
    spread: Float[Array, "num_labelers num_classes two"],
    concentration: Float[Array, " num_classes"],
    mean: Float[Array, " num_classes"],
) -> Float[Array, "num_labelers num_classes num_classes"]:
    """Information that accuracies of two classes share, see `CohortCounts`.

    It comes from answers that name one of both while the other is as possible. What the answers
    to a class are uncertain of is shared out among the other classes in proportion to theirs.
    """
    total = concentration + right + wrong
    accuracy = (concentration * mean + right) / total
    of_others = spread[:, :, 1]
    num_classes = mean.shape[0]
    is_other = ~jnp.eye(num_classes, dtype=bool)
    sums = jnp.where(is_other, of_others[:, None, :], 0.0).sum(axis=2)
    share = of_others[:, None, :] / jnp.where(sums > 0, sums, 1.0)[:, :, None]
    named = jnp.where(is_other, spread[:, :, :1] * share, 0.0)
    of_named = named / (accuracy[:, :, None] * (1.0 - accuracy)[:, None, :])
    own = jnp.sqrt(total / (accuracy * (1.0 - accuracy)))
    return -(of_named + jnp.swapaxes(of_named, 1, 2)) / (own[:, :, None] * own[:, None, :])


def _floored(
    mean: Float[Array, "num_classes num_cells"],
    hyper_mean: Float[Array, "num_classes num_cells"],
    least_right: ScalarLike,
) -> Float[Array, "num_classes num_cells"]:
    """Mean rows whose right answers are no rarer than this, the wrong ones in proportion.

    A rare class would else learn rows worse than chance, and take in all doubtful examples. The
    right answer is the one that the hyperprior has as the most frequent.
    """
    is_right = hyper_mean == hyper_mean.max(axis=1, keepdims=True)
    right = jnp.sum(jnp.where(is_right, mean, 0.0), axis=1, keepdims=True)
    floored = jnp.maximum(right, least_right)
    return jnp.where(is_right, floored, mean * (1.0 - floored) / (1.0 - right))


def _log_density_of_rows(
    mean: Float[Array, "num_classes num_cells"],
    log_concentration: Float[Array, ""],
    hyper_mean: Float[Array, "num_classes num_cells"],
) -> Float[Array, ""]:
    hyper = HyperPrior.for_classes(hyper_mean.shape[0])
    z = (log_concentration - hyper.log_concentration) / hyper.log_concentration_sd
    return _HYPER_LABELERS * jnp.sum(hyper_mean * jnp.log(mean)) - z**2 / 2.0


def better_than_chance(num_classes: int) -> Float[np.ndarray, "num_classes num_classes"]:
    """Rows of labelers half-way from chance to perfection, wrong answers alike."""
    hyper = HyperPrior.for_classes(num_classes)
    right = hyper.mean_a / (hyper.mean_a + hyper.mean_b)
    wrong = (1.0 - right) / (num_classes - 1)
    return np.where(np.eye(num_classes, dtype=bool), right, wrong)


def _right_or_wrong(num_classes: int) -> Float[np.ndarray, "num_classes two"]:
    right = np.diagonal(better_than_chance(num_classes))
    return np.stack([right, 1.0 - right], axis=1)


def _refit_rows(
    log_concentration: Float[Array, ""],
    counts: Float[Array, "num_labelers num_classes num_cells"],
    hyper_mean: Float[Array, "num_classes num_cells"],
    least_right: ScalarLike,
) -> tuple[Float[Array, "num_classes num_cells"], Float[Array, ""]]:
    """Mean rows and log-concentration of Dirichlet distributions, a step further."""
    hyper = HyperPrior.for_classes(hyper_mean.shape[0])
    concentration = jnp.exp(log_concentration)
    total = counts.sum(axis=2)
    pooled = jnp.sum(counts / (1.0 + total / concentration)[..., None], axis=0)
    pooled = pooled / concentration + _HYPER_LABELERS * hyper_mean
    mean = _floored(pooled / pooled.sum(axis=1, keepdims=True), hyper_mean, least_right)

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
