"""Worker agreement with aggregate (Wawa): votes weighted by agreement with the majority."""

import dataclasses
from typing import ClassVar, Final

import numpy as np
from jax.sharding import Mesh

from gtx_bayes.aggregation.base import (
    VOTES,
    AbstractMethod,
    Fit,
    LabelerAccuracy,
    refuse_class_prior,
)
from gtx_bayes.aggregation.host_answers import HostAnswers
from gtx_bayes.aggregation.weighted_majority_vote import WeightedVoteShares
from gtx_bayes.inference.gold_counts import gold_counts
from gtx_bayes.labels import Assessment, Labels
from gtx_bayes.padding import on_device
from gtx_bayes.posterior import ClassPrior

NAME: Final = "wawa"


@dataclasses.dataclass(frozen=True)
class Wawa(AbstractMethod):
    r"""A vote, and a second one weighted by agreement with the first.

    .. math::
        \hat\alpha_j = \frac{1}{N_j} \sum_{i \in \mathcal{I}(j)} I[y_i^j = \hat y_i], \qquad
        P_i(y) = \frac{\sum_j \hat\alpha_j I[y_i^j = y]}{\sum_j \hat\alpha_j}

    with :math:`\hat y_i` the class with most votes, or the known class of gold. Classes that tie
    share the agreement. A labeler without answers gets the agreement of all answers together.

    References:
        Appen's "worker agreement with aggregate", as `Wawa` in crowd-kit (Ustalov et al., 2024).
    """

    name: ClassVar[str] = NAME
    description: ClassVar[str] = "votes weighted by agreement with the majority"

    def tells_labelers_apart(self) -> bool:
        """It does."""
        return True

    def fit(
        self,
        labels: Labels,
        assessment: Assessment,
        class_prior: ClassPrior | None = None,
        *,
        mesh: Mesh | None = None,
    ) -> Fit:
        """The rates of agreement, and votes with these weights.

        Raises:
            InputError: if a class prior is given, which votes do not have.
        """
        refuse_class_prior(self, class_prior)
        answers = HostAnswers.of(labels, assessment)
        shares = answers.vote_shares()
        winner = (shares == shares.max(axis=1, keepdims=True)).astype(float)
        winner /= winner.sum(axis=1, keepdims=True)
        rate = answers.mean_prob(winner)
        if answers.label.size:
            rate = np.nan_to_num(rate, nan=winner[answers.example, answers.label].mean())
        return Fit(
            WeightedVoteShares(on_device(rate), labels.num_classes),
            LabelerAccuracy.without_interval(
                rate, "agreement with the majority", gold_counts(labels, assessment)
            ),
            VOTES,
        )
