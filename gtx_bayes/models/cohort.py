r"""Posteriors of labelers' accuracies whose cohort is itself uncertain, and whose counts are.

Two things make a labeler less known than expected counts of right answers suggest.

- The true labels are uncertain. By Louis (1982) the information that answers hold of an accuracy
  is that of known labels less the variance of the score: a count of right answers with variance v
  is worth :math:`v / (\alpha (1 - \alpha))` answers less. Priors keep v beside the counts.
- The cohort's mean and concentration are estimates. Here the concentration is integrated out over
  a grid, under its hyperprior, and at each point of the grid the mean is as uncertain as the
  labelers leave it: the Beta-binomial empirical Bayes of Kass and Steffey (1989).
"""

from typing import NamedTuple

import jax
import numpy as np
import numpy.typing as npt
import scipy.special
from jaxtyping import Array, Float

from gtx_bayes.models.hyperprior import HyperPrior
from gtx_bayes.padding import on_device

_GRID = np.linspace(-3.0, 3.0, 25)  # standard deviations of the log-concentration
_MOST_FITTED = 10_000  # labelers, times columns, that a cohort is fitted to: enough to know it

_MOST_SHARED = 0.95  # of the information on an accuracy, with those for other classes

Floats = npt.NDArray[np.floating]


class CohortCounts(NamedTuple):
    """Answers whose accuracies come from cohorts of one concentration, as far as they are known.

    Attributes:
        right: number of right answers of each labeler, by column.
        wrong: number of wrong ones.
        weights: of each column in a labeler's accuracy.
        coupling: information that columns share, over the root of the product of their own: where
            an answer may be right about one class or wrong about another, both go up together.
            Zero on the diagonal; None where they share none.
    """

    right: Float[Array, "num_labelers num_columns"]
    wrong: Float[Array, "num_labelers num_columns"]
    weights: Float[Array, " num_columns"]
    coupling: Float[Array, "num_labelers num_columns num_columns"] | None

    def column(self, at: int, weight: Float[Array, ""]) -> "CohortCounts":
        """A column of several as the only one of its cohort."""
        return CohortCounts(self.right[:, [at]], self.wrong[:, [at]], weight[None], None)

    def at(self, place: int) -> "CohortCounts":
        """One of several that are stacked, on the host."""
        return jax.tree.map(lambda part: np.asarray(part)[place], self)


class Cohort(NamedTuple):
    """A draw of what the labelers of a cohort share.

    Attributes:
        concentration: how many answers the prior of a labeler is worth.
        mean: mean accuracy in each column.
    """

    concentration: Float[Array, "*draws"]
    mean: Float[Array, "*draws num_columns"]


class CohortPosterior(NamedTuple):
    """The cohort's means and concentration, point by point of a grid of concentrations.

    Attributes:
        concentration: at each point, shape (grid,).
        probs: posterior probability of each point.
        mean: mean accuracy at each point, shape (grid, num_columns).
        mean_variance: how uncertain that mean is.
    """

    concentration: Floats
    probs: Floats
    mean: Floats
    mean_variance: Floats

    @classmethod
    def find(cls, counts: CohortCounts, hyper: HyperPrior) -> "CohortPosterior":
        """From all labelers' answers.

        Args:
            counts: the answers.
            hyper: prior of means and concentration.
        """
        step = max(1, -(-counts.right.size // _MOST_FITTED))
        right, wrong = (np.asarray(part, np.float64)[None, ::step] for part in counts[:2])
        kappa = np.exp(hyper.log_concentration + hyper.log_concentration_sd * _GRID)
        # A labeler's answers say of the mean what so many answers of different labelers would.
        worth = (kappa[:, None, None] + 1.0) / (kappa[:, None, None] + right + wrong)
        of_right = (worth * right).sum(axis=1) + hyper.mean_a
        total = of_right + (worth * wrong).sum(axis=1) + hyper.mean_b
        mean = of_right / total
        mean_variance = mean * (1.0 - mean) / (total + 1.0)
        a = (mean * kappa[:, None])[:, None]
        b = ((1.0 - mean) * kappa[:, None])[:, None]
        betaln = scipy.special.betaln
        log_density = np.sum(betaln(a + right, b + wrong) - betaln(a, b), axis=(1, 2))
        # The means integrated out on the scale of their logits, around their best values.
        of_mean = hyper.mean_a * np.log(mean) + hyper.mean_b * np.log1p(-mean)
        of_mean += 0.5 * np.log(mean_variance) - np.log(mean * (1.0 - mean))
        log_density += of_mean.sum(axis=1) - _GRID**2 / 2.0
        probs = np.exp(log_density - log_density.max())
        return cls(kappa, probs / probs.sum(), mean, mean_variance)

    def moments(self, counts: CohortCounts) -> tuple[Floats, Floats]:
        """Posterior mean and variance of every labeler's weighted sum of accuracies."""
        right, wrong = (np.asarray(part, np.float64) for part in counts[:2])
        weights = np.asarray(counts.weights, np.float64)
        covariance = _unit_covariance(counts)
        first, second = np.zeros(len(right)), np.zeros(len(right))
        for kappa, prob, of_cohort, variance in zip(*self, strict=True):
            total = kappa + right + wrong
            mean = (kappa * of_cohort + right) / total
            variances = mean * (1.0 - mean) / (total + 1.0) + (kappa / total) ** 2 * variance
            first += prob * (mean @ weights)
            weighted = np.sqrt(variances) * weights
            variance_of_sum = np.einsum("jp,jpq,jq->j", weighted, covariance, weighted)
            second += prob * (variance_of_sum + (mean @ weights) ** 2)
        return first, second - first**2

    def draw(self, rng: np.random.Generator, num_draws: int) -> Cohort:
        """Independent draws of what the labelers share."""
        at = rng.choice(self.probs.size, num_draws, p=self.probs)
        mean, variance = self.mean[at], self.mean_variance[at]
        concentration = mean * (1.0 - mean) / variance - 1.0
        drawn = rng.beta(mean * concentration, (1.0 - mean) * concentration)
        return Cohort(on_device(self.concentration[at]), on_device(drawn))


def _unit_covariance(counts: CohortCounts) -> Floats:
    """Covariance of columns whose information about themselves is one.

    The coupling is damped to where the matrix of information is diagonally dominant.
    """
    if counts.coupling is None:
        return np.eye(counts.right.shape[1])[None]
    coupling = np.asarray(counts.coupling, np.float64)
    shared = np.abs(coupling).sum(axis=2).max(axis=1, initial=0.0)
    damped = (
        coupling * np.minimum(1.0, _MOST_SHARED / np.maximum(shared, _MOST_SHARED))[:, None, None]
    )
    return np.linalg.inv(np.eye(coupling.shape[1]) + damped)
