"""Weighted majority voting (WMV): votes weighted by accuracy (paper, sec. 3.1)."""

import dataclasses
from typing import ClassVar, Final

import jax
from jaxtyping import Array, Float

from gtx_bayes.aggregation.base import AbstractAggregator, checked_weight, vote_shares
from gtx_bayes.aggregation.gold_accuracy import AbstractPlugIn, Accuracy
from gtx_bayes.votes import AnyLabels, class_votes

NAME: Final = "weighted-majority-vote"


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class WeightedVoteShares(AbstractAggregator):
    r"""Total accuracy behind each class over the total accuracy of all who answered.

    .. math:: \frac{\sum_j \hat\alpha_j I[y_i^j = y]}{\sum_j \hat\alpha_j}

    Attributes:
        accuracy: accuracy of each labeler.
        num_classes: number of classes.
    """

    accuracy: Float[Array, "*cohorts num_labelers"]
    num_classes: int = dataclasses.field(metadata={"static": True})

    def class_probs(self, labels: AnyLabels) -> Float[Array, "num_examples num_classes"]:
        """Weighted vote shares; uniform where the total weight is zero.

        NaN for examples with an answer whose accuracy is not in [0, 1].
        """
        return vote_shares(class_votes(labels, checked_weight(self.accuracy), self.num_classes))


@dataclasses.dataclass(frozen=True)
class WeightedMajorityVote(AbstractPlugIn):
    """Votes weighted by the labelers' accuracies on gold (Eq. 4)."""

    name: ClassVar[str] = NAME
    description: ClassVar[str] = "votes weighted by accuracy on gold"

    def rule(self, accuracy: Accuracy, num_classes: int) -> WeightedVoteShares:
        """Shares of the votes, weighted."""
        return WeightedVoteShares(accuracy, num_classes)

    def tells_labelers_apart(self) -> bool:
        """It does."""
        return True
