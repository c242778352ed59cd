r"""Confidence intervals for shares: within [0, 1], and of some width where no error is seen.

Wilson's interval holds every share :math:`\theta_0` whose own standard error puts the estimate
within reach, :math:`(\hat\theta - \theta_0)^2 \le z^2 \theta_0 (1 - \theta_0) / n`. Where proxies
leave the part r of the variance, and the mean of a sample has the variance :math:`\kappa` of one
observation, it is as if n were :math:`1 / (\kappa r)`.

References:
    Wilson (1927), Probable inference, the law of succession, and statistical inference. Journal of
        the American Statistical Association 22.
    Newcombe (1998), Interval estimation for the difference between independent proportions.
        Statistics in Medicine 17, for differences (method 10), with the correlation of paired ones.
"""

import numpy as np


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
