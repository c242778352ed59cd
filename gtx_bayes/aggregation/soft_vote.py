"""Soft voting (SV): every vote spread over the classes by accuracy (paper, sec. 3.1)."""

import dataclasses
from typing import ClassVar, Final

import jax
from jaxtyping import Array, Float

from gtx_bayes.aggregation.base import AbstractAggregator, checked_weight, vote_shares
from gtx_bayes.aggregation.gold_accuracy import AbstractPlugIn, Accuracy
from gtx_bayes.votes import AnyLabels, class_votes, sum_over_classes

NAME: Final = "soft-vote"


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SoftVoteShares(AbstractAggregator):
    r"""Each answer gives its accuracy to its class and shares the rest among the others.

    .. math:: \frac{1}{|\mathcal{J}(i)|} \sum_j \left( \hat\alpha_j I[y_i^j = y] +
        \frac{1 - \hat\alpha_j}{K - 1} I[y_i^j \neq y] \right)

    Attributes:
        accuracy: accuracy of each labeler.
        num_classes: number of classes.
    """

    accuracy: Float[Array, "*cohorts num_labelers"]
    num_classes: int = dataclasses.field(metadata={"static": True})

    def class_probs(self, labels: AnyLabels) -> Float[Array, "num_examples num_classes"]:
        """Mean of the answers' soft votes; uniform for an example without answers.

        NaN for examples with an answer whose accuracy is not in [0, 1].
        """
        accuracy = checked_weight(self.accuracy)
        to_others = (1.0 - accuracy) / (self.num_classes - 1)
        right = class_votes(labels, accuracy, self.num_classes)
        wrong = class_votes(labels, to_others, self.num_classes)
        return vote_shares(right + (sum_over_classes(wrong) - wrong))


@dataclasses.dataclass(frozen=True)
class SoftVote(AbstractPlugIn):
    """Votes shared among the classes by the labelers' accuracies on gold (Eq. 4)."""

    name: ClassVar[str] = NAME
    description: ClassVar[str] = "votes shared among the classes by accuracy on gold"

    def rule(self, accuracy: Accuracy, num_classes: int) -> SoftVoteShares:
        """Means of the soft votes."""
        return SoftVoteShares(accuracy, num_classes)
