r"""What several proxies say of an example's class, weighed on gold.

A proxy gives every example a number for each class: the log of a class posterior, the log of a
share of votes, whether one judge named the class. The working model is a conditional logit,

.. math:: m_{ik} = \frac{\exp(a_k + \sum_s b_s x_{iks})}{\sum_l \exp(a_l + \sum_s b_s x_{ils})},

with one slope a proxy, shared by the classes, and one intercept a class. Slopes have a normal
prior around what the proxy would be worth if it were right (1 for a class posterior, 0 for the
others), so that few gold labels change little, and a proxy that gold contradicts loses its weight.

Nothing that is estimated with it relies on its being true: see `panels.shares`.

References:
    McFadden (1974), Conditional logit analysis of qualitative choice behavior.
    Lehtonen and Veijanen (1998), Logistic generalized regression estimators. Survey Methodology 24.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.special
from jaxtyping import Float, Int

SCALE_OF_INTERCEPTS = 0.3
"""Standard deviation of the prior of the intercepts."""

_MAX_STEPS = 50
_TOLERANCE = 1e-8  # nats


class Proxies(NamedTuple):
    """Numbers that speak for each class of each example.

    Attributes:
        values: of each example, class and proxy.
        centre: prior mean of each proxy's slope.
        scale: prior standard deviation of each.
    """

    values: Float[np.ndarray, "num_examples num_classes num_proxies"]
    centre: Float[np.ndarray, " num_proxies"]
    scale: Float[np.ndarray, " num_proxies"]


class WorkingModel(NamedTuple):
    """A fitted conditional logit.

    Attributes:
        intercepts: of each class.
        slopes: of each proxy.
    """

    intercepts: Float[np.ndarray, " num_classes"]
    slopes: Float[np.ndarray, " num_proxies"]

    def probs(
        self, values: Float[np.ndarray, "num_examples num_classes num_proxies"]
    ) -> Float[np.ndarray, "num_examples num_classes"]:
        """Probability of each class of each example."""
        return scipy.special.softmax(self.intercepts + values @ self.slopes, axis=1)


def fit(proxies: Proxies, truth: Int[np.ndarray, " num_examples"]) -> WorkingModel:
    """The mode of the posterior, by Newton's method.

    Args:
        proxies: of examples whose class is known.
        truth: the class of each.
    """
    num_examples, num_classes, _ = proxies.values.shape
    ones = np.broadcast_to(np.eye(num_classes), (num_examples, num_classes, num_classes))
    design = np.concatenate([ones, proxies.values], axis=2)
    centre = np.concatenate([np.zeros(num_classes), proxies.centre])
    scale = np.concatenate([np.full(num_classes, SCALE_OF_INTERCEPTS), proxies.scale])
    precision = scale**-2.0
    is_true = np.eye(num_classes)[truth]

    def loss(coefficients: npt.NDArray[np.float64]) -> float:
        logits = design @ coefficients
        fitted = np.logaddexp.reduce(logits, axis=1).sum() - (logits * is_true).sum()
        return float(fitted + 0.5 * (precision * (coefficients - centre) ** 2).sum())

    at, lowest = centre, loss(centre)
    for _ in range(_MAX_STEPS):
        probs = scipy.special.softmax(design @ at, axis=1)
        gradient = np.einsum("nkd,nk->d", design, probs - is_true) + precision * (at - centre)
        mean = np.einsum("nkd,nk->nd", design, probs)
        weighted = (design * probs[:, :, None]).reshape(-1, at.size)
        hessian = design.reshape(-1, at.size).T @ weighted - mean.T @ mean + np.diag(precision)
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        while (found := loss(at - size * step)) > lowest and size > 1e-4:
            size /= 2.0
        if found >= lowest - _TOLERANCE:
            break
        at, lowest = at - size * step, found
    return WorkingModel(at[:num_classes], at[num_classes:])
