"""Weighted majority voting (WMV): votes weighted by accuracy (paper, sec. 3.1)."""

import dataclasses
from typing import ClassVar, Final

import jax
from jax.sharding import Mesh
from jaxtyping import Array, Float

from gtx_bayes.aggregation.base import (
    AbstractAggregator,
    AbstractMethod,
    Fit,
    checked_weight,
    refuse_class_prior,
    vote_shares,
)
from gtx_bayes.aggregation.gold_accuracy import fit_plug_in
from gtx_bayes.labels import Assessment, Labels
from gtx_bayes.posterior import ClassPrior
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
class WeightedMajorityVote(AbstractMethod):
    """Votes weighted by the labelers' accuracies on gold (Eq. 4)."""

    name: ClassVar[str] = NAME
    description: ClassVar[str] = "votes weighted by accuracy on gold"
    learns_from_gold_alone: ClassVar[bool] = True

    def fit(
        self,
        labels: Labels,
        assessment: Assessment,
        class_prior: ClassPrior | None = None,
        *,
        mesh: Mesh | None = None,
    ) -> Fit:
        """Accuracies from gold.

        Raises:
            InputError: if there is no gold, or a class prior is given.
        """
        refuse_class_prior(NAME, class_prior)
        return fit_plug_in(
            NAME,
            labels,
            assessment,
            lambda accuracy: WeightedVoteShares(accuracy, labels.num_classes),
            model="votes",
        )
