r"""How far opinions from outside count: class probabilities of classifiers, calibrated.

With :math:`q_{ki}` what opinion k says of example i, the class prior of the example is

.. math:: \log q_i(y) = \log \pi_y + b_y + \sum_k w_k \left(\log q_{ki}(y) -
    \overline{\log q_k(y)}\right) + \text{const},

the bar a mean over the examples that k says anything of; others it leaves alone. The weights w are
inverse temperatures: 1 takes an opinion at its word, 0 leaves it out. They and the biases b are
the most probable ones given

.. math:: \sum_{i} \log \sum_y q_i(y) \, P(\mathcal{L}(i) \mid Y_i = y)
    - \tfrac12 \sum_k w_k^2 - \tfrac12 \sum_y b_y^2, \qquad w_k \ge 0,

where the likelihood of a gold example is one at its class and zero elsewhere, and that of any
other is what the crowd's answers say of it. So gold counts in full, answers as far as they tell,
and an opinion of which nothing is known has a weight of 0.

References:
    Temperature scaling: Guo et al. (2017). Logarithmic pools: Genest and Zidek (1986),
    Statistical Science 1.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.special
from jaxtyping import Float

_LEAST_PROB = 1e-9  # tables round, and nobody is that sure
_MOST_WEIGHT = 10.0

ClassProbs = Float[np.ndarray, "num_examples num_classes"]


class Calibration(NamedTuple):
    """What opinions are worth.

    Attributes:
        weights: of each opinion; 1 is its word, 0 leaves it out.
        biases: added to the log-probability of each class.
        means: mean log-probability of each class by each opinion.
    """

    weights: Float[np.ndarray, " num_opinions"]
    biases: Float[np.ndarray, " num_classes"]
    means: Float[np.ndarray, "num_opinions num_classes"]

    def class_prior(
        self, opinions: Sequence[ClassProbs], class_prior: Float[np.ndarray, "..."]
    ) -> ClassProbs:
        """A class prior for each example, from that of all and what opinions say of it.

        Args:
            opinions: class probabilities by each; NaN for examples that it does not speak of.
            class_prior: of each class, or of each class of each example, without the opinions.
        """
        terms = _less(_log_probs(opinions), self.means)
        return np.exp(_log_prior(self.weights, self.biases, terms, _log(class_prior)))


def calibrate(
    opinions: Sequence[ClassProbs], likelihood: ClassProbs, class_prior: Float[np.ndarray, "..."]
) -> Calibration:
    """The most probable weights and biases.

    Args:
        opinions: class probabilities by each; NaN for examples that it does not speak of.
        likelihood: of each example's answers under each class, up to a factor; one at the known
            class of gold and zero elsewhere.
        class_prior: of each class, or of each class of each example, without the opinions.
    """
    import scipy.optimize  # which takes a while, and few commands need

    log_probs = _log_probs(opinions)
    means = np.nanmean(log_probs, axis=1)
    terms, log_prior, log_likelihood = _less(log_probs, means), _log(class_prior), _log(likelihood)
    num_opinions, num_classes = means.shape

    def loss(at: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        log_probs = _log_prior(at[:num_opinions], at[num_opinions:], terms, log_prior)
        both = log_probs + log_likelihood
        total = scipy.special.logsumexp(both, axis=1)
        is_possible = np.isfinite(total)  # gold of a class that the prior excludes says nothing
        slope = np.exp(both - np.where(is_possible, total, 0.0)[:, None]) - np.exp(log_probs)
        slope *= is_possible[:, None]
        gradient = np.concatenate([np.einsum("iy,kiy->k", slope, terms), slope.sum(axis=0)])
        return float(at @ at / 2.0 - total[is_possible].sum()), at - gradient

    start = np.concatenate([np.full(num_opinions, 0.5 / num_opinions), np.zeros(num_classes)])
    bounds = [(0.0, _MOST_WEIGHT)] * num_opinions + [(None, None)] * num_classes
    found = scipy.optimize.minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
    return Calibration(found.x[:num_opinions], found.x[num_opinions:], means)


def _log_prior(
    weights: npt.NDArray[np.float64],
    biases: npt.NDArray[np.float64],
    terms: Float[np.ndarray, "num_opinions num_examples num_classes"],
    log_prior: npt.NDArray[np.float64],
) -> ClassProbs:
    logits = log_prior + biases + np.tensordot(weights, terms, axes=1)
    return np.asarray(scipy.special.log_softmax(logits, axis=1))


def _log_probs(
    opinions: Sequence[ClassProbs],
) -> Float[np.ndarray, "num_opinions num_examples num_classes"]:
    return np.log(np.maximum(np.stack(opinions).astype(np.float64), _LEAST_PROB))


def _less(
    log_probs: Float[np.ndarray, "num_opinions num_examples num_classes"],
    means: Float[np.ndarray, "num_opinions num_classes"],
) -> Float[np.ndarray, "num_opinions num_examples num_classes"]:
    """Differences to the means; zero where nothing is said."""
    return np.nan_to_num(log_probs - means[:, None])


def _log(values: Float[np.ndarray, "..."]) -> npt.NDArray[np.float64]:
    with np.errstate(divide="ignore"):
        return np.log(np.asarray(values, np.float64))
