"""The cohort's priors of confusion matrices: rows of any shape, or with wrong answers alike."""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, ScalarLike

from gtx_bayes.labelers.base import AbstractLabelers
from gtx_bayes.labelers.class_conditional import ClassConditional
from gtx_bayes.labelers.confusion_matrix import ConfusionMatrix
from gtx_bayes.models.hyperprior import HyperPrior
from gtx_bayes.models.priors.cohort import Cohort
from gtx_bayes.models.priors.conjugate import AbstractMeanRows, Cells, Counts
from gtx_bayes.standard_size import on_device


@dataclasses.dataclass(frozen=True)
class AbstractRowsPrior[Model: AbstractLabelers](AbstractMeanRows[Model]):
    r"""A row for each class, drawn around the cohort's: :math:`\mathrm{Dirichlet}(\kappa m_y)`.

    Attributes:
        mean: mean rows :math:`m_y`.
        log_concentration: logarithm of :math:`\kappa`.
        num_classes: K.
        least_right: what the mean rows' right answers are at least: 1 / K by default, or 0.
    """

    mean: Float[Array, "num_classes num_cells"]
    log_concentration: Float[Array, ""]
    num_classes: int = dataclasses.field(metadata={"static": True})
    least_right: ScalarLike = 0.0

    @classmethod
    def default(cls, num_classes: int) -> "AbstractRowsPrior[Model]":
        """The centre of the hyperprior: half-way from chance to perfection, worth 15 answers."""
        hyper = HyperPrior.for_classes(num_classes)
        return cls(
            on_device(cls.cells(num_classes).mean(hyper)),
            on_device(hyper.log_concentration),
            num_classes,
            on_device(1.0 / num_classes),
        )

    @property
    def hyper(self) -> HyperPrior:
        """The hyperprior, one for all rows."""
        return HyperPrior.for_classes(self.num_classes)

    @property
    def shape(self) -> Float[Array, "num_classes num_cells"]:
        """Parameters of the Dirichlet distributions, one row per class."""
        return self.weights

    def trusting_gold(self) -> "AbstractRowsPrior[Model]":
        """Without a floor of the mean rows."""
        return dataclasses.replace(self, least_right=on_device(0.0))

    @property
    def mean_rows(self) -> Float[Array, "num_classes num_cells"]:
        """The mean rows."""
        return self.mean

    def refit(self, counts: Counts) -> "AbstractRowsPrior[Model]":
        """Mean rows from the labelers' counts, none worth more than the prior; then a Newton step.

        A labeler's rows enter the mean with weight n / (n + kappa), as if drawn around it. Right
        answers are no rarer than `least_right`: a rare class would else learn rows worse than
        chance, and take in all doubtful examples.
        """
        by_cell, _ = self.split(self.known(counts))
        concentration = jnp.exp(self.log_concentration)
        worth = 1.0 + by_cell.sum(axis=2, keepdims=True) / concentration
        pooled = jnp.sum(by_cell / worth, axis=0) / concentration + self.hyper_weights
        prior = dataclasses.replace(self, mean=pooled / pooled.sum(axis=1, keepdims=True))
        prior = prior._with_right(jnp.maximum(self._right(prior.mean), self.least_right))
        log_concentration = self.concentration_step(prior.mean, by_cell)
        return dataclasses.replace(prior, log_concentration=log_concentration)

    def with_cohorts(self, drawn: Sequence[Cohort]) -> "AbstractRowsPrior[Model]":
        """Other means of right answers."""
        log_concentration = jnp.log(drawn[0].concentration)
        prior = dataclasses.replace(self, log_concentration=log_concentration)
        return prior._with_right(jnp.asarray(drawn[0].mean))

    def _with_right(self, right: Float[Array, " num_classes"]) -> "AbstractRowsPrior[Model]":
        """Other means of right answers, the wrong ones in proportion as before."""
        is_right = self.cells(self.num_classes).is_right
        scale = (1.0 - right) / (1.0 - self._right(self.mean))
        mean = jnp.where(is_right, right[:, None], self.mean * scale[:, None])
        return dataclasses.replace(self, mean=mean)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ConfusionPrior(AbstractRowsPrior[ConfusionMatrix]):
    """Rows of confusion matrices: a cell for each answer.

    Counts have shape (num_labelers, K, K + 2): by true class, then answer, and the variances of
    the numbers of right and of wrong answers.
    """

    @staticmethod
    @functools.cache
    def cells(num_classes: int) -> Cells:
        """A row for each class, a cell for each answer."""
        each = np.arange(num_classes)
        return Cells(each, right=each, wrong=np.tile(each, (num_classes, 1)))

    def labelers(
        self, rows: Float[Array, "num_labelers num_classes num_classes"]
    ) -> ConfusionMatrix:
        """Labelers of these confusion matrices."""
        return ConfusionMatrix(rows, self.num_classes)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ClassConditionalPrior(AbstractRowsPrior[ClassConditional]):
    r"""Accuracies by class :math:`\alpha_{jy} \sim \mathrm{Beta}(m_y \kappa, (1 - m_y) \kappa)`.

    `ConfusionPrior` with wrong answers alike: the same for two classes. Counts have shape
    (num_labelers, K, 4): right and wrong answers by true class, and the variances of both numbers.
    """

    @staticmethod
    @functools.cache
    def cells(num_classes: int) -> Cells:
        """A row for each class, right and wrong."""
        right, wrong = np.zeros(num_classes, int), np.ones((num_classes, num_classes), int)
        return Cells(np.arange(num_classes), right, wrong)

    def labelers(self, rows: Float[Array, "num_labelers num_classes two"]) -> ClassConditional:
        """Labelers of these accuracies."""
        return ClassConditional(rows[:, :, 0], self.num_classes)


def better_than_chance(num_classes: int) -> Float[np.ndarray, "num_classes num_classes"]:
    """Rows of labelers half-way from chance to perfection, wrong answers alike."""
    return ConfusionPrior.cells(num_classes).mean(HyperPrior.for_classes(num_classes))
