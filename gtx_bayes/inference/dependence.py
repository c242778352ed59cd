r"""How far labelers err together, learnt: the posterior of the dependence :math:`\rho`.

The likelihood of an example with n answers counts as that of :math:`n / (1 + (n - 1) \rho)`
independent ones (`posterior.effective_share`). Three sources speak of :math:`\rho`:

- a prior, logit-normal around 1/4, which is where crowds of people lie;
- gold labels that the fit did not see: the log score of their classes at every :math:`\rho`;
- the crowd's own answers, each predicted from the example's others by a fit that did not see it.
  They show dependence, but not its absence: what the whole crowd gets wrong together, no answer
  contradicts. So the crowd speaks against values below the one that predicts its answers best,
  and says nothing of those above. An example counts once, however many answers it has.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jaxtyping import Array, Float, Int, ScalarLike

from gtx_bayes.log_space import softmax_over_classes
from gtx_bayes.posterior import effective_share
from gtx_bayes.standard_size import on_device, standard_size

PRIOR_CENTRE = 0.25
PRIOR_LOGIT_SD = 0.7

_MOST_USUAL = 64  # answers to an example; more are compiled for

_LOGITS = np.linspace(-5.0, 4.0, 46)
_FLOOR = float(np.finfo(np.float64).eps)
"""Probabilities below count as this in log scores, as in the metrics."""

NUM_NODES = 3
"""How many values of rho `Dependence.nodes` gives."""

GRID = 1.0 / (1.0 + np.exp(-_LOGITS))
"""Values of rho at which its density is worked out, evenly spaced in the logit."""


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

    def credible_interval(self, prob: float = 0.95) -> tuple[float, float]:
        """Equal-tailed, between points of the grid."""
        if not self.is_learnt:
            return float(self.values[0]), float(self.values[0])
        above = np.cumsum(self.probs) - self.probs / 2.0
        low, high = np.interp([(1.0 - prob) / 2.0, (1.0 + prob) / 2.0], above, self.values)
        return float(low), float(high)

    def nodes(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Three values and their weights, with the mean and variance of the logit of rho.

        The nodes of Gauss and Hermite; all three are the value that was given.
        """
        weights = np.array([1.0, 4.0, 1.0]) / 6.0
        if not self.is_learnt:
            return np.repeat(self.values, NUM_NODES), weights
        mean = self.probs @ _LOGITS
        sd = np.sqrt(self.probs @ (_LOGITS - mean) ** 2)
        logits = mean + np.sqrt(3.0) * sd * np.array([-1.0, 0.0, 1.0])
        return 1.0 / (1.0 + np.exp(-logits)), weights

    def with_gold(self, gold_log_score: npt.NDArray[np.float64]) -> "Dependence":
        """After gold more, by its log-probability at each point; as it was if it was given."""
        if not self.is_learnt:
            return self
        with np.errstate(divide="ignore"):  # far from all gold the density is zero already
            log_density = np.log(self.probs) + gold_log_score
        density = np.exp(log_density - log_density.max())
        return Dependence(self.values, density / density.sum())

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
        return total + prob * tempered(evidence, num_labels, class_prior, rho), None

    return jax.lax.scan(add, jnp.zeros_like(evidence), (values, probs))[0]


def tempered(
    evidence: Float[Array, "num_examples num_classes"],
    num_labels: Int[Array, " num_examples"],
    class_prior: Float[Array, "..."],
    rho: ScalarLike,
) -> Float[Array, "num_examples num_classes"]:
    """Class posteriors at one value of rho."""
    share = effective_share(num_labels, rho)
    return softmax_over_classes(jnp.log(class_prior) + share[:, None] * evidence)


def class_log_scores(
    evidence: npt.NDArray[np.floating],
    num_labels: npt.NDArray[np.integer],
    class_prior: npt.NDArray[np.floating],
    truth: npt.NDArray[np.integer],
) -> npt.NDArray[np.float64]:
    """Log-probability of true labels that a fit did not see, at every point of `GRID`.

    Args:
        evidence: log-probability of each example's answers under each class, as if independent.
        num_labels: how many answers that is.
        class_prior: of each class, or of each class of each example.
        truth: the true classes.

    Returns:
        Shape (num_examples, grid), in nats.
    """
    log_prior, evidence = np.log(class_prior, dtype=np.float64), evidence.astype(np.float64)
    shares = _shares(num_labels)
    scores = np.empty((truth.size, GRID.size))
    for g, share in enumerate(shares):
        log_probs = log_prior + share[:, None] * evidence
        log_probs = log_probs - np.logaddexp.reduce(log_probs, axis=1, keepdims=True)
        scores[:, g] = log_probs[np.arange(truth.size), truth]
    return np.maximum(scores, np.log(_FLOOR))


def _shares(num_labels: npt.NDArray[np.integer]) -> npt.NDArray[np.floating]:
    """`effective_share` at every point of `GRID`, shape (grid, num_examples).

    Worked out for the numbers there can be, rather than compiled for the number of examples.
    """
    possible = np.arange(standard_size(int(num_labels.max(initial=0)) + 1, _MOST_USUAL))
    return np.asarray(_shares_on_grid(jax.device_put(possible), on_device(GRID)))[:, num_labels]


@jax.jit
def _shares_on_grid(
    possible: Int[Array, " num_possible"], grid: Float[Array, " grid"]
) -> Float[Array, "grid num_possible"]:
    return jax.vmap(effective_share, (None, 0))(possible, grid)


def learn(
    gold_log_score: npt.NDArray[np.float64], crowd_log_score: npt.NDArray[np.float64]
) -> Dependence:
    """The posterior on `GRID`.

    Args:
        gold_log_score: log-probability of the held-out gold labels at each point, in nats; zeros
            where there is no gold.
        crowd_log_score: the same of held-out answers, one answer's worth per example.
    """
    z = (_LOGITS - np.log(PRIOR_CENTRE / (1.0 - PRIOR_CENTRE))) / PRIOR_LOGIT_SD
    best = int(np.argmax(crowd_log_score))
    lower_bound = np.minimum(crowd_log_score - crowd_log_score[best], 0.0)
    lower_bound[best:] = 0.0
    log_density = -(z**2) / 2.0 + gold_log_score + lower_bound
    density = np.exp(log_density - log_density.max())
    return Dependence(GRID, density / density.sum())


def most_useful(rho: float, least_worth: float = 0.1) -> int | None:
    r"""How many answers to an example are worth buying from a crowd with this dependence.

    The n-th independent answer's worth is the growth of :math:`n / (1 + (n - 1) \rho)`, which is
    :math:`(1 - \rho) / ((1 + (n - 1) \rho)(1 + (n - 2) \rho))`.

    Args:
        rho: the dependence.
        least_worth: the least an answer should be worth, in independent answers.

    Returns:
        The last number of answers at which one more was worth that; None without dependence.
    """
    if rho <= 0.0:
        return None
    n = 1
    while (1.0 - rho) / ((1.0 + n * rho) * (1.0 + (n - 1) * rho)) >= least_worth:
        n += 1
    return n
