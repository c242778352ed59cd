r"""Shares of the classes in a population, from a little gold and proxies for everybody.

The regression estimator of survey sampling: what is known is counted, what is not is predicted, and
the predictions are corrected by what gold shows they are wrong by,

.. math:: \hat\theta_k = \frac{1}{N} \Big( \sum_{i \in G} y_{ik} + \sum_{i \notin G} \bar m_{ik}
    + \sum_{i \in G} (w_i - 1) (y_{ik} - m^{-}_{ik}) \Big),

with gold G, weights :math:`w_i`, one over the probability of being drawn (N/n for a plain sample),
:math:`m^{-}_i` the working model's probabilities of a gold example by fits that saw neither its
gold label nor those of its fold, and :math:`\bar m_i` the mean over the folds. Given the gold of
the other folds, each fold is a random sample of the rest, so the estimate has no bias whatever the
proxies and the model are; how good they are decides the width of its interval alone.

Shares of a population that the examples are themselves a sample of have the same estimate; the
variance :math:`\theta (1 - \theta) / N` is added. With one proxy and a linear working model that
is PPI++ with its weight tuned and not clipped.

References:
    Cochran (1977), Sampling Techniques, ch. 7.
    Saerndal, Swensson and Wretman (1992), Model Assisted Survey Sampling, ch. 6.
    Angelopoulos, Duchi and Zrnic (2023), PPI++: Efficient prediction-powered inference.
    Zrnic and Candes (2024), Cross-prediction-powered inference. PNAS 121.
    Zrnic and Candes (2024), Active statistical inference, for gold drawn where it tells most.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.stats
from jaxtyping import Bool, Float, Int

from gtx_bayes.panels import working_model
from gtx_bayes.panels.intervals import difference_interval, wilson_interval
from gtx_bayes.panels.working_model import Proxies

INTERVAL_PROB = 0.95
"""Level of the intervals."""

PRIOR_VARIANCE = 2.0
"""Squared residuals taken to be as the model promises, added to those seen."""

CERTAIN = -1
"""The fold of gold that was drawn with certainty: it corrects nothing, and always teaches."""


class Gold(NamedTuple):
    """Examples whose class is known, and how they were drawn.

    Attributes:
        example: which.
        truth: class of each.
        fold: part of the gold that is hidden together, `CERTAIN` for none.
        weight: one over the probability that the example was drawn; None for a plain random sample.
        cluster: of every example of the population, which were drawn together; None for single
            ones.
    """

    example: Int[np.ndarray, " num_gold"]
    truth: Int[np.ndarray, " num_gold"]
    fold: Int[np.ndarray, " num_gold"]
    weight: Float[np.ndarray, " num_gold"] | None = None
    cluster: Int[np.ndarray, " num_examples"] | None = None


class CrossFit(NamedTuple):
    """What the working model says without the gold that it is checked on.

    Attributes:
        probs: of every example, the mean over the folds.
        residuals: of every gold example, indicator less probability, by the model without its
            fold; zero where it was drawn with certainty.
        gold_probs: the probabilities of gold examples in that model.
    """

    probs: Float[np.ndarray, "num_examples num_classes"]
    residuals: Float[np.ndarray, "num_gold num_classes"]
    gold_probs: Float[np.ndarray, "num_gold num_classes"]


class Shares(NamedTuple):
    """Shares of the classes in some examples, each array by class.

    Attributes:
        share: the estimate; NaN where no gold is among the examples.
        low: lower limit of its interval.
        high: upper limit.
        gold_share: share in gold alone, weighed; NaN without.
        gold_low: lower limit of its interval (Wilson).
        gold_high: upper limit.
        worth: how many gold labels would give gold alone as narrow an interval.
        num_examples: how many examples there are.
        num_gold: how many of them are gold.
        se: standard error of the estimate.
        residual_variance: what the proxies leave of the variance of each class's indicator.
        influence: what each gold example adds to the error of the estimate, zero outside.
    """

    share: Float[np.ndarray, " num_classes"]
    low: Float[np.ndarray, " num_classes"]
    high: Float[np.ndarray, " num_classes"]
    gold_share: Float[np.ndarray, " num_classes"]
    gold_low: Float[np.ndarray, " num_classes"]
    gold_high: Float[np.ndarray, " num_classes"]
    worth: Float[np.ndarray, " num_classes"]
    num_examples: int
    num_gold: int
    se: Float[np.ndarray, " num_classes"]
    residual_variance: Float[np.ndarray, " num_classes"]
    influence: Float[np.ndarray, "num_gold num_classes"]


def cross_fit(gold: Gold, proxies: Sequence[Proxies]) -> CrossFit:
    """The working model without each fold of the gold, on proxies that have not seen it either.

    Args:
        gold: the gold.
        proxies: of all examples, for each fold by fits without it.
    """
    num_folds = len(proxies)
    num_examples, num_classes, _ = proxies[0].values.shape
    is_true = np.eye(num_classes)[gold.truth]
    residuals, gold_probs = np.zeros(is_true.shape), is_true.copy()
    probs = np.zeros((num_examples, num_classes))
    # A gold example teaches by proxies that have not seen its own label.
    taught = np.stack(
        [
            proxies[fold if fold != CERTAIN else at % num_folds].values[example]
            for at, (fold, example) in enumerate(zip(gold.fold, gold.example, strict=True))
        ]
    )
    for fold, each in enumerate(proxies):
        hidden = gold.fold == fold
        seen = each._replace(values=taught[~hidden])
        found = working_model.fit(seen, gold.truth[~hidden]).probs(each.values)
        probs += found * (hidden.sum() / max((gold.fold != CERTAIN).sum(), 1))
        gold_probs[hidden] = found[gold.example[hidden]]
        residuals[hidden] = is_true[hidden] - gold_probs[hidden]
    return CrossFit(probs, residuals, gold_probs)


def shares(
    gold: Gold,
    found: CrossFit,
    *,
    among: Bool[np.ndarray, " num_examples"] | None = None,
    is_sample: bool = False,
    prob: float = INTERVAL_PROB,
) -> Shares:
    """Estimates and intervals for some of the examples.

    Args:
        gold: the gold of all examples.
        found: what the working model says of all.
        among: which examples; all when absent.
        is_sample: whether they are a sample of a larger population, whose shares are wanted.
        prob: level of the intervals.
    """
    num_all, num_classes = found.probs.shape
    among = np.ones(num_all, bool) if among is None else among
    in_domain = among[gold.example]
    number, num_gold = int(among.sum()), int(in_domain.sum())
    drawn = in_domain & (gold.fold != CERTAIN)
    weight = _weights(gold, in_domain, number)
    influence = np.zeros(found.residuals.shape)
    if not drawn.any() and num_gold < number:
        return _nothing(num_classes, number, num_gold, influence)
    is_true = np.eye(num_classes)[gold.truth]
    unknown = among.copy()
    unknown[gold.example] = False
    corrections = ((weight - 1.0)[:, None] * found.residuals)[drawn].sum(axis=0)
    total = is_true[in_domain].sum(axis=0) + found.probs[unknown].sum(axis=0) + corrections
    share = np.clip(total / number, 0.0, None)
    share = share / share.sum()
    gold_share = (weight[:, None] * is_true)[in_domain].sum(axis=0) / weight[in_domain].sum()
    design = _Design.of(gold, found, drawn, weight, number)
    of_population = 1.0 / number if is_sample else 0.0
    normal = float(scipy.stats.norm.ppf((1.0 + prob) / 2.0))
    quantile = float(scipy.stats.t.ppf((1.0 + prob) / 2.0, design.degrees))
    of_gold = quantile if gold.cluster is not None else normal
    left, unexplained = design.unexplained(share, (of_gold / quantile) ** 2)
    alone = np.full(num_classes, design.of_gold)
    (low, high), (gold_low, gold_high) = (
        _limits(of, variance + of_population, reach)
        for of, variance, reach in (
            (share, design.scale * unexplained, quantile),
            (gold_share, alone, of_gold),
        )
    )
    free = share * (1.0 - share)
    se = np.sqrt(free * (design.scale * unexplained + of_population))
    return Shares(
        share=share,
        low=low,
        high=high,
        gold_share=gold_share,
        gold_low=gold_low,
        gold_high=gold_high,
        worth=_worth(se, free, number, of_population),
        num_examples=number,
        num_gold=num_gold,
        se=se,
        residual_variance=left,
        influence=design.influence,
    )


def _limits(
    share: npt.NDArray[np.float64], variance: npt.NDArray[np.float64], quantile: float
) -> npt.NDArray[np.float64]:
    """Lower and upper limits, given the variance of an estimate over that of one observation."""
    with np.errstate(divide="ignore"):
        number = 1.0 / variance
    found = [wilson_interval(*of, quantile) for of in zip(share.tolist(), number, strict=True)]
    return np.array(found).T


def _nothing(
    num_classes: int,
    number: int,
    num_gold: int,
    influence: Float[np.ndarray, "num_gold num_classes"],
) -> Shares:
    """Where there is no gold to go by, a share may be anything."""
    unknown, zeros, ones = np.full(num_classes, np.nan), np.zeros(num_classes), np.ones(num_classes)
    limits = (zeros, ones)
    return Shares(
        unknown, *limits, unknown, *limits, zeros, number, num_gold, unknown, unknown, influence
    )


class Difference(NamedTuple):
    """Shares of one part of the examples less those of another, each array by class.

    Attributes:
        difference: the estimate.
        low: lower limit of its interval.
        high: upper limit.
        correlation: of the two estimates, from gold that is drawn together.
    """

    difference: Float[np.ndarray, " num_classes"]
    low: Float[np.ndarray, " num_classes"]
    high: Float[np.ndarray, " num_classes"]
    correlation: Float[np.ndarray, " num_classes"]


def difference(gold: Gold, first: Shares, second: Shares) -> Difference:
    """Shares of the first less those of the second.

    Examples of one cluster, such as two systems' answers to one question, are paired: what the
    estimates share of their errors is taken off.

    Args:
        gold: the gold of all examples.
        first: shares of some examples.
        second: shares of others.
    """
    num_classes = first.share.size
    correlation = np.zeros(num_classes)
    if gold.cluster is not None:
        a, b = (_by_cluster(each.influence, gold) for each in (first, second))
        product = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
        positive = product > 0.0
        correlation[positive] = (a * b).sum(axis=0)[positive] / product[positive]
    found = [
        difference_interval(
            (first.share[k], first.low[k], first.high[k]),
            (second.share[k], second.low[k], second.high[k]),
            float(correlation[k]),
        )
        for k in range(num_classes)
    ]
    estimate, low, high = np.array(found).T
    return Difference(estimate, low, high, correlation)


def gold_for_width(
    width: float, variance: float, num_examples: int, *, is_sample: bool = False, share: float = 0.5
) -> float:
    r"""How much gold gives an interval of some width.

    .. math:: n = \frac{v}{(w / 2z)^2 - s + v / N}, \qquad
        s = \theta (1 - \theta) / N \text{ of a sample, else } 0

    Args:
        width: of the interval, from its lower to its upper limit, above 0.
        variance: of an indicator given the proxies; `share (1 - share)` where they say nothing.
        num_examples: how many examples there are.
        is_sample: whether these are a sample of the population that is meant.
        share: the share, for the variance of a sample.

    Returns:
        The number; infinity where a sample of this size cannot give the width.
    """
    half = width / (2.0 * float(scipy.stats.norm.ppf((1.0 + INTERVAL_PROB) / 2.0)))
    left = half**2 - (share * (1.0 - share) / num_examples if is_sample else 0.0)
    return np.inf if left <= 0.0 else variance / (left + variance / num_examples)


class _Design(NamedTuple):
    """What the way gold was drawn makes of a variance.

    Attributes:
        scale: sampling variance of a mean of unit variance, by class.
        of_gold: the same of gold alone.
        residual_variance: that of residuals, by class.
        degrees: of freedom of the t distribution.
        influence: see `Shares`.
    """

    scale: Float[np.ndarray, " num_classes"]
    of_gold: float
    residual_variance: Float[np.ndarray, " num_classes"]
    degrees: int
    influence: Float[np.ndarray, "num_gold num_classes"]

    @classmethod
    def of(
        cls,
        gold: Gold,
        found: CrossFit,
        drawn: Bool[np.ndarray, " num_gold"],
        weight: Float[np.ndarray, " num_gold"],
        number: int,
    ) -> "_Design":
        """Of the gold among some examples.

        Args:
            gold: all gold.
            found: what the working model says.
            drawn: the gold among these examples that was drawn by chance.
            weight: of all gold, those among the examples summing to their number.
            number: how many examples these are.
        """
        residuals, probs = found.residuals[drawn], found.gold_probs[drawn]
        design_weight = weight[drawn]
        counts = design_weight * (design_weight - 1.0)
        scale = np.full(probs.shape[1], counts.sum() / number**2)
        importance = (
            np.ones(design_weight.size)
            if counts.sum() == 0.0
            else counts * design_weight.size / counts.sum()
        )
        promised = probs * (1.0 - probs)
        squared = importance @ residuals**2
        expected = importance @ promised
        overall = (squared.sum() + PRIOR_VARIANCE) / (expected.sum() + PRIOR_VARIANCE)
        dispersion = (squared + PRIOR_VARIANCE * overall) / (expected + PRIOR_VARIANCE)
        centred = residuals - (design_weight @ residuals) / max(design_weight.sum(), 1e-12)
        influence = np.zeros(found.residuals.shape)
        influence[drawn] = design_weight[:, None] * centred / number
        of_gold, degrees = float(counts.sum() / number**2), max(design_weight.size - 1, 1)
        if gold.cluster is not None and design_weight.size:
            is_true = np.eye(probs.shape[1])[gold.truth[drawn]]
            alone = np.zeros(influence.shape)
            alone[drawn] = design_weight[:, None] * (
                is_true - (design_weight @ is_true) / design_weight.sum()
            )
            scale = scale * _design_effect(influence, gold)
            of_gold *= _design_effect(alone, gold)
            degrees = max(np.unique(gold.cluster[gold.example[drawn]]).size - 1, 1)
        residual_variance = dispersion * expected / max(design_weight.size, 1)
        return cls(scale, of_gold, residual_variance, degrees, influence)

    def unexplained(
        self, share: Float[np.ndarray, " num_classes"], most: float
    ) -> tuple[Float[np.ndarray, " num_classes"], Float[np.ndarray, " num_classes"]]:
        """Variance that the proxies leave, and what part of all that is, as an interval takes it.

        The part is one with the probability that gold would show none of the class.

        Args:
            share: of each class.
            most: upper bound of the part, at which the interval is as wide as that of gold alone.
        """
        free = share * (1.0 - share)
        left = np.minimum(self.residual_variance, free)
        part = np.divide(left, free, out=np.ones(free.size), where=free > 0.0)
        has_none = (1.0 - np.minimum(share, 1.0 - share)) ** (self.degrees + 1)
        part = has_none + (1.0 - has_none) * part
        return left, np.minimum(part, most)


def _weights(
    gold: Gold, is_gold: Bool[np.ndarray, " num_gold"], number: int
) -> Float[np.ndarray, " num_gold"]:
    """One over the probabilities, so scaled that the gold drawn stands for all that is unknown."""
    certain = gold.fold == CERTAIN
    drawn = is_gold & ~certain
    weight = np.ones(is_gold.size) if gold.weight is None else gold.weight.astype(np.float64)
    weight = np.where(certain, 1.0, weight)
    if drawn.any():
        weight[drawn] *= (number - (is_gold & certain).sum()) / weight[drawn].sum()
        weight[drawn] = np.maximum(weight[drawn], 1.0)
    return weight


def _by_cluster(
    values: Float[np.ndarray, "num_gold num_classes"], gold: Gold
) -> Float[np.ndarray, "num_clusters num_classes"]:
    """Sums over the clusters of the gold."""
    assert gold.cluster is not None
    names, at = np.unique(gold.cluster[gold.example], return_inverse=True)
    sums = np.zeros((names.size, values.shape[1]))
    np.add.at(sums, at, values)
    return sums


def _design_effect(values: Float[np.ndarray, "num_gold num_classes"], gold: Gold) -> float:
    """How many times the variance is that of single examples, all classes together; at least 1."""
    single = float((values**2).sum())
    sums = _by_cluster(values, gold)
    size = int((sums != 0.0).any(axis=1).sum())
    if single == 0.0 or size < 2:
        return 1.0
    return max(float((sums**2).sum()) / single * size / (size - 1), 1.0)


def _worth(
    se: npt.NDArray[np.float64],
    free: npt.NDArray[np.float64],
    number: int,
    of_population: float,
) -> npt.NDArray[np.float64]:
    """How much gold alone has such a standard error."""
    of_gold = np.maximum(se**2 - of_population * free, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = free / (of_gold + free / number)
    return np.where(free > 0.0, found, np.nan)
