"""Labelers with a confusion matrix each: the model of Dawid and Skene (1979)."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from gtx_bayes.labelers.accuracy import check_probs
from gtx_bayes.labelers.base import AbstractConfusionMatrices, check_labels
from gtx_bayes.log_space import LogNumber


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ConfusionMatrix(AbstractConfusionMatrices):
    r"""Labelers whose answers depend on the true class in any way at all.

    .. math:: P(\mathcal{L}(i) \mid Y_i = y) = \prod_{j \in \mathcal{J}(i)} \theta_{j, y, y_i^j}

    For two classes this is the two-coin model: a sensitivity and a specificity per labeler.

    Attributes:
        confusion: :math:`\theta_{jyl}`, the probability that labeler j answers l to an example of
            class y, in [0, 1]; rows sum to one. Leading axes hold cohorts.
        num_classes: K.

    References:
        Dawid and Skene (1979), Applied Statistics 28; Kumar et al. (2024), sec. 6.
    """

    confusion: Float[Array, "*cohorts num_labelers num_classes num_classes"]
    num_classes: int = dataclasses.field(metadata={"static": True})

    def __post_init__(self) -> None:
        """Refuse what is no probability where arrays are at hand."""
        check_probs("confusion", self.confusion)

    @property
    def num_labelers(self) -> int:
        """Number of labelers."""
        return self.confusion.shape[0]

    @property
    def confusion_matrix(self) -> Float[Array, "*cohorts num_labelers num_classes num_classes"]:
        """As they are."""
        return self.confusion

    def likelihood(self, labels: Int[Array, " num_labelers"]) -> LogNumber:
        """Probability of one example's labels under each true class: a product over labelers."""
        check_labels(labels, self.num_labelers)
        answered = ((labels >= 0) & (labels < self.num_classes))[:, None]
        column = jnp.clip(labels, 0, self.num_classes - 1)[:, None, None]
        of_answer = jnp.take_along_axis(self.confusion, column, axis=2)[..., 0]
        per_label = LogNumber.from_log(jnp.log(of_answer))
        return LogNumber(*(jnp.sum(part, axis=0, where=answered) for part in per_label))

    def answer(
        self,
        key: Key[Array, ""],
        labeler: Int[Array, "num_places num_examples"],
        true_label: Int[Array, " num_examples"],
    ) -> Int[Array, "num_places num_examples"]:
        """Answers to every example, one from each labeler asked."""
        rows = self.confusion[labeler, true_label]
        return jax.random.categorical(key, jnp.log(rows), axis=-1)
