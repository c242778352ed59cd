r"""The paper's estimate of labeler accuracy: the proportion right on gold (Eq. 4)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import scipy.special
from jaxtyping import Array, Bool, Float

from gtx_bayes.inference.gold_counts import GoldCounts


class PlugIn(NamedTuple):
    """Maximum-likelihood accuracies and the counts behind them.

    Attributes:
        accuracy: estimate per labeler; exactly 0 or 1 for labelers never or always right.
        counts: right answers and answers to gold, per labeler.
        is_pooled: whether the labeler answered no gold example and got the pooled estimate.
    """

    accuracy: Float[Array, " num_labelers"]
    counts: GoldCounts
    is_pooled: Bool[Array, " num_labelers"]

    def confidence_interval(
        self, prob: float = 0.95
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Clopper-Pearson (exact binomial) limits at level `prob`; (0, 1) without gold."""
        if not 0.0 < prob < 1.0:
            raise ValueError(f"prob is {prob}, not between 0 and 1")
        tail = (1.0 - prob) / 2.0
        right = np.asarray(self.counts.num_correct, np.float64)
        wrong = np.asarray(self.counts.num_gold, np.float64) - right
        with np.errstate(invalid="ignore"):
            low = scipy.special.betaincinv(right, wrong + 1.0, tail)
            high = scipy.special.betaincinv(right + 1.0, wrong, 1.0 - tail)
        return np.where(right > 0, low, 0.0), np.where(wrong > 0, high, 1.0)


@jax.jit
def accuracy_mle(counts: GoldCounts) -> PlugIn:
    r"""Proportion of gold answers that are right, per labeler.

    .. math:: \hat\alpha_j = \frac{1}{|\mathcal{D}_j|} \sum_{i \in \mathcal{D}_j} I[y_i^j = y_i]

    where :math:`\mathcal{D}_j` are the gold examples that labeler j answered (in the paper
    everybody answers all of them). Labelers who answered none get the proportion over all
    labelers' gold answers and are flagged; without any gold answer every accuracy is NaN.

    References:
        Kumar et al. (2024), Eq. 4.
    """
    num_correct = jnp.asarray(counts.num_correct, float)
    num_gold = jnp.asarray(counts.num_gold, float)
    is_pooled = num_gold == 0
    pooled = jnp.sum(num_correct) / jnp.sum(num_gold)
    accuracy = num_correct / jnp.where(is_pooled, 1.0, num_gold)
    return PlugIn(jnp.where(is_pooled, pooled, accuracy), counts, is_pooled)
