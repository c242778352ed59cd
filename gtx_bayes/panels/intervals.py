r"""Confidence intervals for shares: within [0, 1], and of some width where no error is seen.

Wilson's interval holds every share :math:`\theta_0` whose own standard error puts the estimate
within reach, :math:`(\hat\theta - \theta_0)^2 \le z^2 \theta_0 (1 - \theta_0) / n`. The interval
here is the same with the variance that is left when proxies are known,

.. math:: (\hat\theta - \theta_0)^2 \le q^2 \left(\kappa \, \phi V(\theta_0)
    + \lambda \, \theta_0 (1 - \theta_0)\right), \qquad
    V(\theta_0) = \frac{1}{N} \sum_i m_i(\theta_0) (1 - m_i(\theta_0)),

where :math:`m_i(\theta_0)` are the probabilities of the working model, all shifted by one number
on the logit scale until their mean is :math:`\theta_0`; :math:`\kappa` is the sampling variance of
a mean of unit variance under the design; :math:`\phi V(\hat\theta)` is the variance of residuals
that gold shows; and :math:`\lambda` is 1/N where the population itself is a sample, else 0. Where
the proxies say nothing it is Wilson's. The variance of a share is never taken for larger than
without proxies.

References:
    Wilson (1927), Probable inference, the law of succession, and statistical inference. Journal of
        the American Statistical Association 22.
    Newcombe (1998), Interval estimation for the difference between independent proportions.
        Statistics in Medicine 17, for differences (method 10), with the correlation of paired ones.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.optimize
import scipy.special
from jaxtyping import Float

_MOST_EXAMPLES = 256  # quantiles that stand for the probabilities of a population
_LARGEST_SHIFT, _NUM_SHIFTS = 16.0, 161
_NEAR = 1e-9


class VarianceCurve(NamedTuple):
    """Variance of an indicator given the proxies, if its share were another one.

    Attributes:
        share: shares, ascending from 0 to 1.
        variance: mean variance at each.
    """

    share: Float[np.ndarray, " num_shifts"]
    variance: Float[np.ndarray, " num_shifts"]

    @classmethod
    def of(cls, probs: Float[np.ndarray, " num_examples"]) -> "VarianceCurve":
        """Of probabilities, shifted together on the logit scale."""
        logits = scipy.special.logit(np.clip(probs, 1e-9, 1.0 - 1e-9))
        if logits.size > _MOST_EXAMPLES:
            places = (np.arange(_MOST_EXAMPLES) + 0.5) / _MOST_EXAMPLES
            logits = np.quantile(logits, places)
        shifts = np.linspace(-_LARGEST_SHIFT, _LARGEST_SHIFT, _NUM_SHIFTS)
        shifted = scipy.special.expit(logits + shifts[:, None])
        share = np.concatenate([[0.0], shifted.mean(axis=1), [1.0]])
        variance = (shifted * (1.0 - shifted)).mean(axis=1)
        return cls(share, np.concatenate([[0.0], variance, [0.0]]))

    @classmethod
    def without_proxies(cls) -> "VarianceCurve":
        """That of an indicator of which nothing is known."""
        share = np.linspace(0.0, 1.0, 2001)
        return cls(share, share * (1.0 - share))

    def at(self, share: float | npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The variance at some shares."""
        return np.asarray(np.interp(share, self.share, self.variance))


def score_interval(
    estimate: float,
    curve: VarianceCurve,
    *,
    scale: float,
    dispersion: float = 1.0,
    of_population: float = 0.0,
    quantile: float,
) -> tuple[float, float]:
    """Limits of a share: see the module.

    Args:
        estimate: the estimated share, in [0, 1].
        curve: the variance that the proxies leave.
        scale: sampling variance of a mean of unit variance.
        dispersion: variance of residuals over that of the curve, at the estimate.
        of_population: one over the size of the population where it is a sample itself.
        quantile: of the normal or t distribution.
    """

    def beyond(share: float) -> float:
        without = share * (1.0 - share)
        left = min(dispersion * float(curve.at(share)), without)
        variance = scale * left + of_population * without
        return (share - estimate) ** 2 - quantile**2 * variance

    inside = min(max(estimate, _NEAR), 1.0 - _NEAR)  # at 0 and 1 there is no variance
    if beyond(inside) >= 0.0:
        return estimate, estimate
    low, high = (scipy.optimize.brentq(beyond, end, inside) for end in (0.0, 1.0))
    return min(float(low), estimate), max(float(high), estimate)


def wilson_interval(share: float, effective_number: float, quantile: float) -> tuple[float, float]:
    r"""Wilson's limits of a share.

    .. math:: \frac{n p + z^2 / 2}{n + z^2} \pm \frac{z}{n + z^2} \sqrt{n p (1 - p) + z^2 / 4}

    Args:
        share: the share found.
        effective_number: how many independent observations it is worth; infinity where all are
            known.
        quantile: of the normal or t distribution.
    """
    if np.isinf(effective_number):
        return share, share
    n, z2 = effective_number, quantile**2
    middle = (n * share + z2 / 2.0) / (n + z2)
    half = quantile / (n + z2) * np.sqrt(n * share * (1.0 - share) + z2 / 4.0)
    return min(max(middle - half, 0.0), share), max(min(middle + half, 1.0), share)


def difference_interval(
    first: tuple[float, float, float], second: tuple[float, float, float], correlation: float = 0.0
) -> tuple[float, float, float]:
    r"""The difference of two shares and its limits, from the limits of each.

    .. math:: d_l = \hat a - \hat b - \sqrt{x^2 - 2 r x y + y^2}, \qquad
        x = \hat a - l_a, \quad y = u_b - \hat b

    and the upper limit with the roles of lower and upper limits exchanged.

    Args:
        first: estimate, low and high of the one.
        second: of the one to take off.
        correlation: of the two estimates, from examples that they share.
    """
    (a, a_low, a_high), (b, b_low, b_high) = first, second

    def reach(down: float, up: float) -> float:
        return float(np.sqrt(max(down**2 - 2.0 * correlation * down * up + up**2, 0.0)))

    return a - b, a - b - reach(a - a_low, b_high - b), a - b + reach(a_high - a, b - b_low)
