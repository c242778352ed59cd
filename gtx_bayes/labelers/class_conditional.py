"""Labelers with an accuracy for each class: the paper's extension (sec. 6), two coins for two."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from gtx_bayes.labelers.accuracy import check_probs, right_factor, wrong_alike, wrong_factor
from gtx_bayes.labelers.base import AbstractConfusionMatrices, check_labels, right_or_other
from gtx_bayes.log_space import LogNumber


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

    def likelihood(self, labels: Int[Array, " num_labelers"]) -> LogNumber:
        """Probability of one example's labels under each true class: a product over labelers."""
        check_labels(labels, self.num_labelers)
        matches = labels[:, None] == jnp.arange(self.num_classes)[None, :]
        answered = ((labels >= 0) & (labels < self.num_classes))[:, None]
        per_label = jax.tree.map(
            lambda right, wrong: jnp.where(matches, right, wrong),
            right_factor(self.accuracy),
            wrong_factor(self.accuracy, self.num_classes),
        )
        return LogNumber(*(jnp.sum(part, axis=0, where=answered) for part in per_label))

    def answer(
        self,
        key: Key[Array, ""],
        labeler: Int[Array, "num_places num_examples"],
        true_label: Int[Array, " num_examples"],
    ) -> Int[Array, "num_places num_examples"]:
        """Answers to every example, one from each labeler asked."""
        prob_right = self.accuracy[labeler, true_label]
        return right_or_other(key, prob_right, true_label, self.num_classes)
