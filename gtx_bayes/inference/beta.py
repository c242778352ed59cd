"""Beta posteriors of labeler accuracy in closed form, with a prior shared by the cohort."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import scipy.special
from jaxtyping import Array, Float, Key

from gtx_bayes.inference.gold_counts import GoldCounts
from gtx_bayes.models.hyperprior import HyperPrior
from gtx_bayes.padding import on_device

IntervalKind = Literal["equal-tailed", "hdi"]
Interval = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class BetaPosterior:
    r"""Independent Beta distributions of accuracies, one per labeler.

    Attributes:
        a: first shape parameter: prior plus right answers, positive.
        b: second shape parameter: prior plus wrong answers, positive.
    """

    a: Float[Array, "*cohorts num_labelers"]
    b: Float[Array, "*cohorts num_labelers"]

    @classmethod
    def from_counts(cls, counts: GoldCounts, prior: "CohortPrior") -> "BetaPosterior":
        r"""Conjugate update, :math:`\alpha_j \sim \mathrm{Beta}(a + c_j, b + n_j - c_j)`."""
        num_correct = jnp.asarray(counts.num_correct, float)
        num_wrong = jnp.asarray(counts.num_gold, float) - num_correct
        return cls(prior.a + num_correct, prior.b + num_wrong)

    @property
    def mean(self) -> Float[Array, "*cohorts num_labelers"]:
        r"""Posterior mean, :math:`a / (a + b)`.

        Integrating the accuracies out of one example's posterior gives Eq. 3 at this value, as
        long as no labeler answered the example twice.
        """
        return self.a / (self.a + self.b)

    @classmethod
    def from_moments(
        cls, mean: npt.NDArray[np.floating], variance: npt.NDArray[np.floating]
    ) -> "BetaPosterior":
        """The distributions of these means and variances, worked out on the host.

        Args:
            mean: in (0, 1).
            variance: below mean (1 - mean).
        """
        concentration = mean * (1.0 - mean) / variance - 1.0
        a, b = mean * concentration, (1.0 - mean) * concentration
        return cls(on_device(a), on_device(b))

    def credible_interval(
        self, prob: float = 0.95, kind: IntervalKind = "equal-tailed"
    ) -> Interval:
        """Limits of the credible interval of each accuracy.

        Args:
            prob: posterior probability inside, in (0, 1).
            kind: "equal-tailed" leaves (1 - prob) / 2 on both sides; "hdi" is the shortest
                interval, which holds the highest densities wherever the density has one peak.

        Returns:
            Lower and upper limits, float64, each of shape `(num_labelers,)`.

        Raises:
            ValueError: for a level outside (0, 1) or an unknown kind.
        """
        if not 0.0 < prob < 1.0:
            raise ValueError(f"prob is {prob}, not between 0 and 1")
        if kind not in ("equal-tailed", "hdi"):
            raise ValueError(f"kind is {kind!r}, neither 'equal-tailed' nor 'hdi'")
        a, b = np.asarray(self.a, np.float64), np.asarray(self.b, np.float64)
        below = (1.0 - prob) / 2.0 if kind == "equal-tailed" else _mass_below_hdi(a, b, prob)
        return scipy.special.betaincinv(a, b, below), scipy.special.betaincinv(a, b, below + prob)

    def prob_below(self, target: float) -> npt.NDArray[np.float64]:
        """Posterior probability that each accuracy is below `target`."""
        a, b = np.asarray(self.a, np.float64), np.asarray(self.b, np.float64)
        return np.asarray(scipy.special.betainc(a, b, np.clip(target, 0.0, 1.0)))

    def prob_worse_than_chance(self, num_classes: int) -> npt.NDArray[np.float64]:
        """Posterior probability that each labeler is right less often than a uniform guess."""
        return self.prob_below(1.0 / num_classes)

    def sample(
        self, key: Key[Array, ""], shape: tuple[int, ...] = ()
    ) -> Float[Array, "*shape num_labelers"]:
        """Independent draws of all accuracies."""
        return jax.random.beta(key, self.a, self.b, (*shape, *self.a.shape))


@dataclasses.dataclass(frozen=True)
class CohortPrior:
    """The Beta prior that the labelers of a cohort share.

    Attributes:
        mean: prior mean accuracy, in (0, 1).
        concentration: how many answers the prior is worth, positive.
    """

    mean: float
    concentration: float

    @property
    def a(self) -> float:
        """First shape parameter."""
        return self.mean * self.concentration

    @property
    def b(self) -> float:
        """Second shape parameter."""
        return (1.0 - self.mean) * self.concentration

    @classmethod
    def fit(cls, counts: GoldCounts, num_classes: int) -> "CohortPrior":
        r"""Empirical Bayes: the most probable prior given the cohort's counts.

        Maximises the marginal likelihood of the counts, accuracies integrated out,

        .. math:: \prod_j \binom{n_j}{c_j} \frac{B(c_j + a, n_j - c_j + b)}{B(a, b)},

        times the density of the `HyperPrior`, which alone decides where there is no gold, and
        keeps the maximum finite where the counts do not tell (all answers right; one per labeler).
        The density is that of the logit of the mean and of the log-concentration, so that without
        gold the mean is the hyperprior's own.

        Intervals under the prior found take it for certain. With few labelers or few gold answers
        they are too narrow; `models.partial_pooling` keeps the prior uncertain.
        """
        import scipy.optimize  # takes as long to import as pandas, and most fits do without

        hyper = HyperPrior.for_classes(num_classes)
        right = np.asarray(counts.num_correct, np.float64)
        total = np.asarray(counts.num_gold, np.float64)
        pairs, repeats = np.unique(
            np.stack([right[total > 0], total[total > 0]]), axis=1, return_counts=True
        )
        hyper_mean = hyper.mean_a / (hyper.mean_a + hyper.mean_b)
        found = scipy.optimize.minimize(
            _negative_log_density,
            np.array([scipy.special.logit(hyper_mean), hyper.log_concentration]),
            args=(pairs[0], pairs[1] - pairs[0], repeats, hyper),
            jac=True,
            method="L-BFGS-B",
        )
        return cls(float(scipy.special.expit(found.x[0])), float(np.exp(found.x[1])))


def _negative_log_density(
    parameters: npt.NDArray[np.float64],
    num_right: npt.NDArray[np.float64],
    num_wrong: npt.NDArray[np.float64],
    repeats: npt.NDArray[np.int64],
    hyper: HyperPrior,
) -> tuple[float, npt.NDArray[np.float64]]:
    """Minus the log posterior density of (logit mean, log concentration), and its gradient."""
    logit, log_concentration = parameters
    mean, concentration = scipy.special.expit(logit), np.exp(log_concentration)
    a, b = mean * concentration, (1.0 - mean) * concentration
    psi = scipy.special.digamma
    log_marginal = scipy.special.betaln(a + num_right, b + num_wrong) - scipy.special.betaln(a, b)
    of_total = psi(concentration) - psi(concentration + num_right + num_wrong)
    slope_a = np.sum(repeats * (psi(a + num_right) - psi(a) + of_total))
    slope_b = np.sum(repeats * (psi(b + num_wrong) - psi(b) + of_total))

    z = (log_concentration - hyper.log_concentration) / hyper.log_concentration_sd
    value = np.sum(repeats * log_marginal) - z**2 / 2.0
    value -= hyper.mean_a * np.logaddexp(0.0, -logit)
    value -= hyper.mean_b * np.logaddexp(0.0, logit)
    d_logit = mean * (1.0 - mean) * concentration * (slope_a - slope_b)
    d_logit += hyper.mean_a * (1.0 - mean) - hyper.mean_b * mean
    d_log_concentration = a * slope_a + b * slope_b - z / hyper.log_concentration_sd
    return -float(value), -np.array([d_logit, d_log_concentration])


def _mass_below_hdi(
    a: npt.NDArray[np.float64], b: npt.NDArray[np.float64], prob: float
) -> npt.NDArray[np.float64]:
    """Probability below the shortest interval: bisection on the densities at its two ends.

    With one inner peak the density at the lower limit rises past that at the upper limit as the
    interval moves right; with the peak at 0 or 1 the bisection runs to that end by itself.
    """
    low, high = np.zeros_like(a), np.full_like(a, 1.0 - prob)
    for _ in range(60):
        middle = (low + high) / 2.0
        lower = scipy.special.betaincinv(a, b, middle)
        upper = scipy.special.betaincinv(a, b, middle + prob)
        too_low = _log_density(lower, a, b) < _log_density(upper, a, b)
        low, high = np.where(too_low, middle, low), np.where(too_low, high, middle)
    middle = (low + high) / 2.0
    two_peaks = (a < 1.0) & (b < 1.0)  # shortest at the end with the higher peak
    return np.where(two_peaks, np.where(a < b, 0.0, 1.0 - prob), middle)


def _log_density(
    accuracy: npt.NDArray[np.float64], a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]
) -> npt.NDArray[np.floating]:
    """Of the Beta distribution, up to its constant; `scipy.stats` takes long to import."""
    return scipy.special.xlogy(a - 1.0, accuracy) + scipy.special.xlog1py(b - 1.0, -accuracy)
