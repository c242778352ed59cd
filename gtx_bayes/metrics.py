"""How good class probabilities are against true labels: arrays in, an estimate and its error out.

Every metric takes `class_probs`, the `true_label` of each example, and optionally `where`, the
examples that count; an example whose true label is `MISSING` never counts. All are pure functions
of arrays: jit and vmap them over simulation runs. Accuracy credits a tie between m classes with
1/m when the true class is among them, the expected value under `decisions.hard_label`.
"""

from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from gtx_bayes import decisions
from gtx_bayes.labels import MISSING, check_whole

LOG_LOSS_FLOOR = 2.0**-52
"""Probabilities below this count as this in `log_loss`: float64's epsilon, as in scikit-learn."""

Binning = Literal["equal-width", "equal-mass"]

Probs = Float[Array, "num_examples num_classes"]
Truth = Int[Array, " num_examples"]
Values = Float[Array, " num_examples"]
Mask = Bool[Array, " num_examples"]
Where = Mask | None


class Estimate(NamedTuple):
    """A mean over examples and its standard error.

    Attributes:
        value: the metric, a fraction or, for the log loss, nats.
        se: standard error of `value` over the sampling of examples; NaN for fewer than two.
    """

    value: Float[Array, ""]
    se: Float[Array, ""]


def accuracy(class_probs: Probs, true_label: Truth, where: Where = None) -> Estimate:
    """Proportion of examples whose hard label is right."""
    return _mean(decisions.credit(class_probs, true_label), _counted(true_label, where))


def error_rate(class_probs: Probs, true_label: Truth, where: Where = None) -> Estimate:
    r""":math:`\mathrm{Err} = \frac{1}{N} \sum_i I(\hat y_i \neq y_i)` (paper, sec. 3.2)."""
    return _mean(1.0 - decisions.credit(class_probs, true_label), _counted(true_label, where))


def mean_absolute_error(class_probs: Probs, true_label: Truth, where: Where = None) -> Estimate:
    r""":math:`\frac{1}{N} \sum_i |y_i - \hat P(y_i = 1 \mid \mathcal{L}(i))|` (paper, sec. 3.2).

    For two classes this is one minus the probability of the true class, which is the definition
    used for any number of classes.
    """
    wrong = 1.0 - decisions.prob_of_truth(class_probs, true_label)
    return _mean(wrong, _counted(true_label, where))


def balanced_error(class_probs: Probs, true_label: Truth, where: Where = None) -> Estimate:
    """Mean over the classes of the error rate within each; empty classes are left out.

    The standard error is NaN where a class has a single example, whose spread is unknown.
    """
    wrong = 1.0 - decisions.credit(class_probs, true_label)
    member = true_label[:, None] == jnp.arange(class_probs.shape[1])
    member &= _counted(true_label, where)[:, None]
    by_class = jax.vmap(_mean, in_axes=(None, 1))(wrong, member)
    present = jnp.any(member, axis=0)
    variance = jnp.sum(by_class.se**2, where=present)
    return Estimate(jnp.mean(by_class.value, where=present), jnp.sqrt(variance) / jnp.sum(present))


def log_loss(
    class_probs: Probs,
    true_label: Truth,
    where: Where = None,
    floor: float = LOG_LOSS_FLOOR,
) -> Estimate:
    """Mean of minus the log-probability of the true class, in nats.

    Args:
        class_probs: class probabilities.
        true_label: true classes.
        where: the examples that count.
        floor: probabilities below it count as it, so that one certain error (a raw vote share of
            zero, a plug-in accuracy of one) costs 36 nats and not infinity; 0 for no floor.
    """
    prob = jnp.maximum(decisions.prob_of_truth(class_probs, true_label), floor)
    return _mean(-jnp.log(prob), _counted(true_label, where))


def ranked_probability_score(
    class_probs: Probs, true_label: Truth, where: Where = None
) -> Estimate:
    r"""Squared distance of cumulative probabilities, for classes in the order of their grades.

    .. math:: \frac{1}{N} \sum_i \frac{1}{K - 1} \sum_{k < K - 1}
        \big(P(Y_i \le k) - I(y_i \le k)\big)^2

    From 0, for certainty of the true class, to 1, for certainty of the one at the other end.

    References:
        Epstein (1969), J. Appl. Meteorol. 8; divided by K - 1 as by Murphy (1971).
    """
    below = jnp.cumsum(class_probs, axis=1)[:, :-1]
    is_below = true_label[:, None] <= jnp.arange(below.shape[1])
    return _mean(jnp.mean((below - is_below) ** 2, axis=1), _counted(true_label, where))


def mean_absolute_grade_error(
    class_probs: Probs, true_label: Truth, where: Where = None
) -> Estimate:
    """By how many grades the hard label is off, for classes in the order of their grades.

    Classes that tie share the hard label.
    """
    is_best = decisions.tied_classes(class_probs)
    distance = jnp.abs(jnp.arange(class_probs.shape[1]) - true_label[:, None])
    off = jnp.mean(distance.astype(class_probs.dtype), axis=1, where=is_best)
    return _mean(off, _counted(true_label, where))


def brier(class_probs: Probs, true_label: Truth, where: Where = None) -> Estimate:
    """Mean squared distance to the indicator of the true class, summed over classes: 0 to 2."""
    indicator = true_label[:, None] == jnp.arange(class_probs.shape[1])
    return _mean(jnp.sum((class_probs - indicator) ** 2, axis=1), _counted(true_label, where))


def auroc(class_probs: Probs, true_label: Truth, where: Where = None) -> Estimate:
    """Area under the curve of true against false positives; for many classes one against the rest.

    The proportion of pairs of an example of the class and one that is not in which the first has
    the higher probability of it, equal ones counting a half; the mean over the classes that have
    both. NaN if none has.

    References:
        DeLong, DeLong and Clarke-Pearson (1988), Biometrics 44, for the standard error, here of
        the mean over classes: every example moves the areas of all classes at once.
    """
    where = _counted(true_label, where)
    member = true_label[:, None] == jnp.arange(class_probs.shape[1])
    area, influence = jax.vmap(_area, in_axes=(1, 1, None))(class_probs, member, where)
    present = ~jnp.isnan(area)
    moved = jnp.mean(influence, axis=0, where=present[:, None])
    return Estimate(jnp.mean(area, where=present), jnp.sqrt(jnp.sum(moved**2)))


def confusion_counts(
    class_probs: Probs, true_label: Truth, where: Where = None
) -> Float[Array, "num_classes num_classes"]:
    """Number of examples of each true class (rows) by hard label; ties share their example."""
    tied = decisions.tied_classes(class_probs).astype(class_probs.dtype)
    prob = tied / decisions.num_tied(class_probs)[:, None]
    member = true_label[:, None] == jnp.arange(class_probs.shape[1])
    member &= _counted(true_label, where)[:, None]
    return member.T.astype(prob.dtype) @ prob


class ReliabilityCurve(NamedTuple):
    """How often labels of like confidence are right.

    Attributes:
        num_examples: number of examples per bin.
        confidence: their mean confidence; NaN in an empty bin.
        accuracy: their accuracy; NaN in an empty bin.
        accuracy_se: its standard error; NaN in a bin of fewer than two.
    """

    num_examples: Int[Array, " num_bins"]
    confidence: Float[Array, " num_bins"]
    accuracy: Float[Array, " num_bins"]
    accuracy_se: Float[Array, " num_bins"]


def reliability_curve(
    class_probs: Probs,
    true_label: Truth,
    where: Where = None,
    *,
    num_bins: int = 15,
    binning: Binning = "equal-width",
) -> ReliabilityCurve:
    """Confidence against accuracy, bin by bin.

    Args:
        class_probs: class probabilities.
        true_label: true classes.
        where: the examples that count.
        num_bins: number of bins.
        binning: "equal-width" cuts [0, 1] evenly; "equal-mass" cuts at quantiles of the
            confidence, equal confidences staying together.
    """
    where = _counted(true_label, where)
    score = decisions.confidence(class_probs)
    right = decisions.credit(class_probs, true_label)
    member = _bin_of(score, where, num_bins, binning)[:, None] == jnp.arange(num_bins)
    member &= where[:, None]
    right_by_bin = jax.vmap(_mean, in_axes=(None, 1))(right, member)
    return ReliabilityCurve(
        num_examples=jnp.sum(member, axis=0),
        confidence=jax.vmap(_mean, in_axes=(None, 1))(score, member).value,
        accuracy=right_by_bin.value,
        accuracy_se=right_by_bin.se,
    )


def expected_calibration_error(
    class_probs: Probs,
    true_label: Truth,
    where: Where = None,
    *,
    num_bins: int = 15,
    binning: Binning = "equal-width",
) -> Estimate:
    r"""Mean over examples of the gap between confidence and accuracy in the example's bin.

    .. math:: \mathrm{ECE} = \sum_b \frac{n_b}{N}
        \left| \mathrm{accuracy}_b - \mathrm{confidence}_b \right|

    The standard error takes bins and the signs of their gaps as given, which makes it too large
    (by half or so) where confidence is honest and the signs are chance. The estimate itself is
    biased upwards, by about :math:`\sqrt{B / N}` times a constant below one half.

    References:
        Guo et al. (2017), On calibration of modern neural networks, Eq. 3.
    """
    where = _counted(true_label, where)
    score = decisions.confidence(class_probs)
    gap = decisions.credit(class_probs, true_label) - score
    bins = _bin_of(score, where, num_bins, binning)
    gap_by_bin = jax.ops.segment_sum(jnp.where(where, gap, 0.0), bins, num_bins)
    return _mean(jnp.sign(gap_by_bin)[bins] * gap, where)


def _counted(true_label: Truth, where: Where) -> Mask:
    check_whole("true_label", true_label)
    known = true_label != MISSING
    return known if where is None else known & where


def _area(score: Values, member: Mask, where: Mask) -> tuple[Float[Array, ""], Values]:
    """Area under a curve, and by how much each example moves it."""
    inside, outside = member & where, ~member & where
    beaten = _share_below(score, outside)  # of the others, for an example of the class
    beating = 1.0 - _share_below(score, inside)  # of the class, for one that is not of it
    area = jnp.mean(beaten, where=inside)

    def moves(won: Values, among: Mask) -> Values:
        count = jnp.sum(among)
        return jnp.where(among, (won - area) / jnp.sqrt(count * (count - 1.0)), 0.0)

    return area, moves(beaten, inside) + moves(beating, outside)


def _share_below(score: Values, among: Mask) -> Values:
    """Share of the examples `among` with a lower score, equal ones counting a half."""
    ordered = jnp.sort(jnp.where(among, score, jnp.inf))
    below = jnp.searchsorted(ordered, score, side="left")
    upto = jnp.searchsorted(ordered, score, side="right")
    return (below + upto) / (2.0 * jnp.sum(among))


def _mean(values: Values, where: Mask) -> Estimate:
    count = jnp.sum(where)
    mean = jnp.mean(values, where=where)
    variance = jnp.sum((values - mean) ** 2, where=where) / (count - 1)
    return Estimate(mean, jnp.sqrt(variance / count))


def _bin_of(
    score: Values, where: Mask, num_bins: int, binning: Binning
) -> Int[Array, " num_examples"]:
    if binning not in get_args(Binning):
        raise ValueError(f"binning is {binning!r}, none of {get_args(Binning)}")
    if binning == "equal-width":
        return jnp.clip((score * num_bins).astype(jnp.int32), 0, num_bins - 1)
    ordered = jnp.sort(jnp.where(where, score, jnp.inf))
    ranks = jnp.arange(1, num_bins) * jnp.sum(where) // num_bins
    return jnp.searchsorted(ordered[ranks], score, side="right")
