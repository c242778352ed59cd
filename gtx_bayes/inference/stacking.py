"""Weights of a mixture of predictions by how well they predicted labels they had not seen."""

import numpy as np
from jaxtyping import Float

_MOST_STEPS = 200
_DAMPING = 0.2  # of the approximate factors, all renewed at the same time
_TOLERANCE = 1e-6  # of the weights
_LEAST = 1e-9  # pseudo-count


def stacking_weights(
    probs: Float[np.ndarray, "num_labels num_predictors"],
    concentration: Float[np.ndarray, " num_predictors"],
) -> Float[np.ndarray, " num_predictors"]:
    r"""Posterior means of the weights w of a mixture.

    .. math:: w \sim \mathrm{Dirichlet}(a), \quad P(y_i \mid w) = \sum_k w_k p_{ik}

    By expectation propagation: each label's factor is approximated by a Dirichlet density, such
    that the first moments of w, and the sum of its second ones, are those under the label itself
    and the approximations of all others.

    Args:
        probs: :math:`p_{ik}`, what predictor k gave to label i, without having seen it; positive.
        concentration: :math:`a`, positive pseudo-counts; their shares are the weights without
            labels.

    References:
        Yao et al. (2018), Bayesian Analysis 13, for stacking; Minka (2001), UAI 17, for
        expectation propagation and the mixture's weights.
    """
    factors = np.zeros(probs.shape)
    total = concentration.astype(np.float64)
    for _ in range(_MOST_STEPS):
        others = np.maximum(total - factors, _LEAST)
        size = others.sum(axis=1, keepdims=True)
        share = probs * others
        share /= share.sum(axis=1, keepdims=True)
        mean = (others + share) / (size + 1.0)
        square = (others + 1.0) * (others + 2.0 * share) / ((size + 1.0) * (size + 2.0))
        matched = (mean - square).sum(axis=1, keepdims=True)
        matched /= np.maximum((square - mean**2).sum(axis=1, keepdims=True), _LEAST)
        factors += _DAMPING * (matched * mean - others - factors)
        before, total = total, np.maximum(concentration + factors.sum(axis=0), _LEAST)
        if np.abs(total / total.sum() - before / before.sum()).max() < _TOLERANCE:
            break
    return np.asarray(total / total.sum())
