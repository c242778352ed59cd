r"""How far labelers err together, learnt: the posterior of the dependence :math:`\rho`.

The likelihood of an example with n answers counts as that of :math:`n / (1 + (n - 1) \rho)`
independent ones (`posterior.inverse_design_effect`). Two sources speak of :math:`\rho`: a prior,
logit-normal around a third, which is where crowds of people lie, and gold labels, each predicted
by a fit without the example's own part. Independence itself, :math:`\rho = 0`, has a probability
of its own: see `inference.pool`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jaxtyping import Array, Float, Int, ScalarLike

from gtx_bayes.labels import MISSING, Assessment, Labels
from gtx_bayes.log_space import softmax_over_classes
from gtx_bayes.posterior import inverse_design_effect

PRIOR_LOGIT = -0.75
PRIOR_LOGIT_SD = 1.0

_LOGITS = np.linspace(-7.0, 4.0, 56)
_FLOOR = float(np.finfo(np.float64).eps)

LEAST_SCORE = float(np.log(_FLOOR))
"""Log scores below count as this, as in the metrics."""

_MOST_ANSWERS = 100

NUM_NODES = 4
"""How many values of rho `Dependence.nodes` gives."""

GRID = np.concatenate([[0.0], 1.0 / (1.0 + np.exp(-_LOGITS))])
"""Independence, and values of rho where its density is worked out, evenly spaced in the logit."""


def _prior(centre: float) -> npt.NDArray[np.float64]:
    """Probabilities at the points of `GRID` above zero."""
    density = np.exp(-(((_LOGITS - centre) / PRIOR_LOGIT_SD) ** 2) / 2.0)
    return density / density.sum()


class Dependence(NamedTuple):
    """Posterior of rho on a grid.

    Attributes:
        values: rho at each point; a single one if it was given.
        probs: posterior probability of each.
    """

    values: npt.NDArray[np.float64]
    probs: npt.NDArray[np.float64]

    @classmethod
    def known(cls, rho: float) -> "Dependence":
        """A value given, 0 for independence."""
        return cls(np.array([rho]), np.ones(1))

    @property
    def is_learnt(self) -> bool:
        """Whether there is anything to be uncertain about."""
        return self.values.size > 1

    @property
    def mean(self) -> float:
        """Posterior mean."""
        return float(self.values @ self.probs)

    @property
    def prob_independent(self) -> float:
        """Probability that rho is zero."""
        return float(self.probs[self.values == 0.0].sum())

    @property
    def mean_if_dependent(self) -> float:
        """Posterior mean of rho if it is not zero; zero if it must be."""
        return self.mean / max(1.0 - self.prob_independent, _FLOOR)

    @property
    def is_shown_by_gold(self) -> bool:
        """Whether gold is 20 times as probable as if labelers were all but independent.

        The ratio of Savage and Dickey: of the density there after gold and before.
        """
        if not self.is_learnt:
            return False
        least = self.probs[1] / max(1.0 - self.prob_independent, _FLOOR)
        return bool(20.0 * least < _prior(PRIOR_LOGIT)[0])

    def credible_interval(self, prob: float = 0.95) -> tuple[float, float]:
        """Equal-tailed, between points of the grid; widened to the mean where that is outside."""
        if not self.is_learnt:
            return float(self.values[0]), float(self.values[0])
        above = np.cumsum(self.probs) - self.probs / 2.0
        tails = (1.0 - prob) / 2.0, (1.0 + prob) / 2.0
        low, high = map(float, np.interp(tails, above, self.values))
        return 0.0 if self.prob_independent > tails[0] else low, max(high, self.mean)

    def nodes(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Independence and three values, with the mean and variance of the logit of rho.

        The nodes of Gauss and Hermite; all are the value that was given.
        """
        weights = np.array([1.0, 4.0, 1.0]) / 6.0
        if not self.is_learnt:
            return np.repeat(self.values, NUM_NODES), np.array([0.0, *weights])
        independent = self.prob_independent
        probs = self.probs[1:] / max(1.0 - independent, _FLOOR)
        mean = probs @ _LOGITS
        sd = np.sqrt(probs @ (_LOGITS - mean) ** 2)
        logits = mean + np.sqrt(3.0) * sd * np.array([-1.0, 0.0, 1.0])
        values = 1.0 / (1.0 + np.exp(-logits))
        return np.array([0.0, *values]), np.array([independent, *(1.0 - independent) * weights])

    def with_independence(self, prob: float) -> "Dependence":
        """With another probability that rho is zero."""
        if not self.is_learnt:
            return self
        rest = self.probs[1:] / max(1.0 - self.prob_independent, _FLOOR)
        return Dependence(self.values, np.array([prob, *(1.0 - prob) * rest]))

    def predictive(
        self, log_scores: Float[np.ndarray, "num_labels num_values"]
    ) -> Float[np.ndarray, " num_labels"]:
        r"""Probability of each label whose scores this was learnt from, that label left out.

        .. math:: P(y_i \mid y_{-i}) = 1 / E[1 / P(y_i \mid \rho)]
        """
        is_there = self.probs > 0.0
        log_ratios = np.log(self.probs[is_there]) - log_scores[:, is_there]
        return np.asarray(np.exp(-np.logaddexp.reduce(log_ratios, axis=1)))

    def class_posterior(
        self,
        evidence: Float[Array, "num_examples num_classes"],
        num_labels: Int[Array, " num_examples"],
        class_prior: Float[Array, "..."],
    ) -> Float[Array, "num_examples num_classes"]:
        """Class posteriors, rho integrated out.

        Args:
            evidence: log-probability of the answers under each class, as if independent.
            num_labels: how many answers that is.
            class_prior: of each class, or of each class of each example.
        """
        return _mixture(
            jnp.asarray(self.values, evidence.dtype),
            jnp.asarray(self.probs, evidence.dtype),
            evidence,
            num_labels,
            class_prior,
        )


@jax.jit
def _mixture(
    values: Float[Array, " grid"],
    probs: Float[Array, " grid"],
    evidence: Float[Array, "num_examples num_classes"],
    num_labels: Int[Array, " num_examples"],
    class_prior: Float[Array, "..."],
) -> Float[Array, "num_examples num_classes"]:
    def add(
        total: Float[Array, "num_examples num_classes"],
        point: tuple[Float[Array, ""], Float[Array, ""]],
    ) -> tuple[Float[Array, "num_examples num_classes"], None]:
        rho, prob = point
        return total + prob * power_posterior(evidence, num_labels, class_prior, rho), None

    return jax.lax.scan(add, jnp.zeros_like(evidence), (values, probs))[0]


def power_posterior(
    evidence: Float[Array, "num_examples num_classes"],
    num_labels: Int[Array, " num_examples"],
    class_prior: Float[Array, "..."],
    rho: ScalarLike,
) -> Float[Array, "num_examples num_classes"]:
    """Class posteriors at one value of rho."""
    share = inverse_design_effect(num_labels, rho)
    return softmax_over_classes(jnp.log(class_prior) + share[:, None] * evidence)


def power_log_posterior(
    evidence: npt.NDArray[np.floating],
    num_labels: npt.NDArray[np.integer],
    class_prior: npt.NDArray[np.floating],
    rho: float,
) -> npt.NDArray[np.float64]:
    """Logarithm of `power_posterior`, on the host: nothing is compiled."""
    share = 1.0 / (1.0 + np.maximum(num_labels - 1, 0) * rho)  # as `inverse_design_effect`
    with np.errstate(divide="ignore"):
        log_probs = np.log(class_prior, dtype=np.float64) + share[:, None] * evidence
    log_probs -= log_probs.max(axis=1, keepdims=True)
    return np.asarray(log_probs - np.log(np.exp(log_probs).sum(axis=1, keepdims=True)))


def class_log_scores(
    evidence: npt.NDArray[np.floating],
    num_labels: npt.NDArray[np.integer],
    class_prior: npt.NDArray[np.floating],
    truth: npt.NDArray[np.integer],
    values: npt.NDArray[np.float64] = GRID,
) -> npt.NDArray[np.float64]:
    """Log-probability of true labels that a fit did not see, at some values of rho.

    Args:
        evidence: log-probability of each example's answers under each class, as if independent.
        num_labels: how many answers that is.
        class_prior: of each class, or of each class of each example.
        truth: the true classes.
        values: of rho.

    Returns:
        Shape (num_examples, num_values), in nats.
    """
    scores = np.empty((truth.size, values.size))
    for at, rho in enumerate(values):
        log_probs = power_log_posterior(evidence, num_labels, class_prior, rho)
        scores[:, at] = log_probs[np.arange(truth.size), truth]
    return np.maximum(scores, LEAST_SCORE)


def gold_log_scores(
    labels: Labels,
    assessment: Assessment,
    evidence: Float[np.ndarray, "num_examples num_classes"],
    class_prior: Float[np.ndarray, "*num_examples num_classes"],
    values: npt.NDArray[np.float64] = GRID,
) -> npt.NDArray[np.float64]:
    """Log-probability of every gold label with answers, given these, at some values of rho.

    Args:
        labels: the answers.
        assessment: the gold.
        evidence: as for `class_log_scores`, by a fit that has not seen the example.
        class_prior: of each class, or of each class of each example.
        values: of rho.

    Returns:
        Shape (num_gold, num_values), in nats.
    """
    num_labels = labels.count_by_example()
    truth = np.asarray(assessment.true_label)
    gold = np.flatnonzero((truth != MISSING) & (num_labels > 0))
    prior = np.broadcast_to(class_prior, evidence.shape)
    return class_log_scores(evidence[gold], num_labels[gold], prior[gold], truth[gold], values)


def learn(
    gold_log_score: npt.NDArray[np.float64], centre: float = PRIOR_LOGIT
) -> tuple[Dependence, float]:
    """The posterior on `GRID` of labelers who are dependent, and the log-probability of the gold.

    Args:
        gold_log_score: log-probability of the gold labels at each point, in nats; zeros where
            there is no gold.
        centre: of the prior, in log odds.
    """
    log_density = np.log(_prior(centre)) + gold_log_score[1:]
    log_evidence = np.logaddexp.reduce(log_density)
    return Dependence(GRID, np.array([0.0, *np.exp(log_density - log_evidence)])), log_evidence


def most_useful(rho: float, least_worth: float = 0.1) -> int | None:
    r"""How many answers to an example are worth buying from a crowd with this dependence.

    The n-th independent answer's worth is the growth of :math:`n / (1 + (n - 1) \rho)`, which is
    :math:`(1 - \rho) / ((1 + (n - 1) \rho)(1 + (n - 2) \rho))`.

    Args:
        rho: the dependence.
        least_worth: the least an answer should be worth, in independent answers.

    Returns:
        The last number of answers at which one more was worth that; None without dependence, or
        beyond a hundred answers: all count.
    """
    if rho <= 0.0:
        return None
    n = 1
    while (1.0 - rho) / ((1.0 + n * rho) * (1.0 + (n - 1) * rho)) >= least_worth:
        n += 1
        if n > _MOST_ANSWERS:
            return None
    return n
