"""Weights of a mixture of predictions by how well they predicted labels they had not seen."""

import numpy as np
from jaxtyping import Float

_MOST_STEPS = 200
_LONGEST_STEP = 0.2  # of all approximate factors, which are renewed at the same time
_LARGEST_FALL = 0.3  # of a pseudo-count in a step
_LIGHT = 1e-3  # weight of what may fall faster
_TOLERANCE = 1e-4  # of the weights, for a whole step
_LEAST = 1e-9  # pseudo-count

Weights = Float[np.ndarray, " num_predictors"]


def stacking_weights(
    probs: Float[np.ndarray, "num_labels num_predictors"], concentration: Weights
) -> Weights:
    r"""Weights w of a mixture, about their posterior means.

    .. math:: w \sim \mathrm{Dirichlet}(a), \quad P(y_i \mid w) = \sum_k w_k p_{ik}

    By expectation propagation: each label's factor is approximated by a Dirichlet density, such
    that the first moments of w, and the sum of its second ones, are those under the label itself
    and the approximations of all others. Where that does not come to rest, as with hundreds of
    labels and predictors that hardly differ, what it goes round: the mean over the later steps.

    Args:
        probs: :math:`p_{ik}`, what predictor k gave to label i, without having seen it; positive.
        concentration: :math:`a`, pseudo-counts; their shares are the weights without labels.

    References:
        Yao et al. (2018), Bayesian Analysis 13, for stacking; Minka (2001), UAI 17, for
        expectation propagation and the mixture's weights.
    """
    total = np.maximum(concentration, _LEAST)
    factors, found = np.zeros(probs.shape), [total / total.sum()]
    for _ in range(_MOST_STEPS):
        others = np.maximum(total - factors, _LEAST)
        size = others.sum(axis=1, keepdims=True)
        share = probs * others
        share /= share.sum(axis=1, keepdims=True)
        mean = (others + share) / (size + 1.0)
        square = (others + 1.0) * (others + 2.0 * share) / ((size + 1.0) * (size + 2.0))
        matched = (mean - square).sum(axis=1, keepdims=True)
        matched /= np.maximum((square - mean**2).sum(axis=1, keepdims=True), _LEAST)
        moves = matched * mean - others - factors
        move = moves.sum(axis=0)
        is_heavy = total > _LIGHT * total.sum()  # those that are next to nothing may fall at will
        falls = np.maximum(-move[is_heavy] / total[is_heavy], 0.0)
        step = min(_LONGEST_STEP, _LARGEST_FALL / max(falls.max(), _LEAST))
        factors += step * moves
        total = np.maximum(concentration + factors.sum(axis=0), _LEAST)
        found.append(total / total.sum())
        if np.abs(found[-1] - found[-2]).max() < _TOLERANCE * step:
            return np.asarray(found[-1])
    return np.asarray(np.mean(found[_MOST_STEPS // 2 :], axis=0))
