"""Majority voting (MV): every labeler has one vote (paper, sec. 3.1)."""

import dataclasses
from typing import ClassVar, Final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gtx_bayes.aggregation.base import AbstractAggregator, vote_shares
from gtx_bayes.aggregation.gold_accuracy import AbstractPlugIn, Accuracy
from gtx_bayes.votes import AnyLabels, class_votes, num_answering

NAME: Final = "majority-vote"


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class VoteShares(AbstractAggregator):
    """The proportion of votes for each class.

    Attributes:
        num_classes: number of classes.
    """

    num_classes: int = dataclasses.field(metadata={"static": True})

    def class_probs(self, labels: AnyLabels) -> Float[Array, "num_examples num_classes"]:
        """Vote shares; uniform for an example without answers."""
        one_each = jnp.ones(num_answering(labels))
        return vote_shares(class_votes(labels, one_each, self.num_classes))


@dataclasses.dataclass(frozen=True)
class MajorityVote(AbstractPlugIn):
    """Every answer counts alike; accuracies on gold are reported where there is any."""

    name: ClassVar[str] = NAME
    description: ClassVar[str] = "one labeler, one vote"
    needs_gold: ClassVar[bool] = False

    def rule(self, accuracy: Accuracy, num_classes: int) -> VoteShares:
        """Shares of the votes, whatever the accuracies."""
        return VoteShares(num_classes)
