"""Majority voting (MV): every labeler has one vote (paper, sec. 3.1)."""

import dataclasses
from typing import ClassVar, Final

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float

from gtx_bayes.aggregation.base import (
    VOTES,
    AbstractAggregator,
    AbstractMethod,
    Fit,
    refuse_class_prior,
    vote_shares,
)
from gtx_bayes.aggregation.gold_accuracy import measured_accuracy
from gtx_bayes.inference.gold_counts import gold_counts
from gtx_bayes.inference.plug_in import accuracy_mle
from gtx_bayes.labels import Assessment, Labels
from gtx_bayes.posterior import ClassPrior
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
class MajorityVote(AbstractMethod):
    """Every answer counts alike, gold or none."""

    name: ClassVar[str] = NAME
    description: ClassVar[str] = "one labeler, one vote"
    learns_from_gold_alone: ClassVar[bool] = True

    def fit(
        self,
        labels: Labels,
        assessment: Assessment,
        class_prior: ClassPrior | None = None,
        *,
        mesh: Mesh | None = None,
    ) -> Fit:
        """Nothing to learn; accuracies on gold are reported where there is any.

        Raises:
            InputError: if a class prior is given.
        """
        refuse_class_prior(NAME, class_prior)
        found = accuracy_mle(gold_counts(labels, assessment))
        report = measured_accuracy(found)
        own = np.where(found.is_pooled, np.nan, report.accuracy)
        return Fit(VoteShares(labels.num_classes), report._replace(accuracy=own), VOTES)
