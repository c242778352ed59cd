"""An accuracy per labeler and class: the paper's extension (sec. 6), two coins for two classes."""

import dataclasses
import functools
from typing import ClassVar

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Key

from gtx_bayes.labels import Labels
from gtx_bayes.log_space import LogNumber
from gtx_bayes.models.base import Params
from gtx_bayes.models.conjugate import (
    AbstractConjugateModel,
    AbstractConjugatePrior,
    AbstractRowsPrior,
    Cells,
)
from gtx_bayes.models.labelers import (
    AbstractConfusionMatrices,
    check_probs,
    right_or_other,
    wrong_alike,
)
from gtx_bayes.models.one_coin import OneCoin, log_prob_of_coin


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ClassConditional(AbstractConfusionMatrices):
    r"""Labelers who are right with a probability that depends on the true class.

    .. math::
        P(\mathcal{L}(i) \mid Y_i = y) = \prod_{j \in \mathcal{J}(i)} \alpha_{jy}^{I[y_i^j = y]}
        \left(\frac{1 - \alpha_{jy}}{K - 1}\right)^{I[y_i^j \neq y]}

    Attributes:
        accuracy: probability :math:`\alpha_{jy}` of the correct label to an example of class y,
            in [0, 1]; for two classes specificity and sensitivity. Leading axes hold cohorts.
        num_classes: K; wrong labels are uniform over the other classes.

    References:
        Kumar et al. (2024), sec. 6; Raykar et al. (2010), JMLR 11, for two classes.
    """

    accuracy: Float[Array, "*cohorts num_labelers num_classes"]
    num_classes: int = dataclasses.field(metadata={"static": True})

    def __post_init__(self) -> None:
        """Refuse what is no probability where arrays are at hand."""
        check_probs("accuracy", self.accuracy)

    @property
    def num_labelers(self) -> int:
        """Number of labelers."""
        return self.accuracy.shape[0]

    @property
    def confusion_matrix(self) -> Float[Array, "*cohorts num_labelers num_classes num_classes"]:
        """The same labelers' confusion matrices."""
        return wrong_alike(self.accuracy, self.num_classes)

    def label_factors(self, labels: Labels) -> LogNumber:
        """Those of one coin, with accuracies by class."""
        return OneCoin(self.accuracy, self.num_classes).label_factors(labels)

    def answer(
        self,
        key: Key[Array, ""],
        labeler: Int[Array, "num_places num_examples"],
        true_label: Int[Array, " num_examples"],
    ) -> Int[Array, "num_places num_examples"]:
        """Labels for every example, one from each labeler asked."""
        prob_right = self.accuracy[labeler, true_label]
        return right_or_other(key, prob_right, true_label, self.num_classes)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ClassConditionalPrior(AbstractRowsPrior[ClassConditional]):
    r"""Accuracies by class :math:`\alpha_{jy} \sim \mathrm{Beta}(m_y \kappa, (1 - m_y) \kappa)`.

    `ConfusionPrior` with wrong labels alike: the same for two classes. Counts have shape
    (num_labelers, K, 4): right and wrong labels by true class, and the variances of both numbers.
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


@dataclasses.dataclass(frozen=True)
class ClassConditionalModel(AbstractConjugateModel):
    r"""Labelers who are right with a probability for each class, partially pooled by class.

    .. math::
        m_y \sim \mathrm{Beta}, \quad \log \kappa_y \sim \mathrm{Normal}, \quad
        \alpha_{jy} \sim \mathrm{Beta}(m_y \kappa_y, (1 - m_y) \kappa_y)

    Wrong labels are all alike.

    References:
        Kumar et al. (2024), sec. 6; Raykar et al. (2010), JMLR 11, for two classes.
    """

    name: ClassVar[str] = "class-conditional"
    description: ClassVar[str] = "an accuracy per labeler and class"
    words: ClassVar[str] = "Every labeler is right with a probability for each class."

    def cohort_prior(self, num_classes: int) -> AbstractConjugatePrior:
        """Beta, for each class."""
        return ClassConditionalPrior.default(num_classes)

    def parameters(self, num_labelers: int, num_classes: int) -> Params:
        """Log odds of a right label, by class."""
        import numpyro

        from gtx_bayes.models.distributions import LogitBeta, learn_cohort

        classes = numpyro.plate("class", num_classes, dim=-1)
        with classes:
            a, b = learn_cohort(num_classes)
        with numpyro.plate("labeler", num_labelers, dim=-2), classes:
            log_odds = numpyro.sample("log_odds", LogitBeta(a, b))
        accuracy = numpyro.deterministic("accuracy", jax.nn.sigmoid(log_odds))
        return {"log_odds": log_odds, "accuracy": accuracy}

    def log_prob(self, params: Params, labels: Labels) -> Float[Array, "num_labels num_classes"]:
        """Right or wrong."""
        return log_prob_of_coin(params["log_odds"], labels)

    def labelers(self, params: Params, reference: Labels) -> ClassConditional:
        """By their accuracies."""
        return ClassConditional(params["accuracy"], reference.num_classes)
