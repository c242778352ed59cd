r"""How every member of a panel answers: its shares of right labels by class, with intervals.

With the probability :math:`p_{iy}` of every class of every example, one at gold, labeler j gave
:math:`n_{jyl} = \sum_i p_{iy} [a_{ij} = l]` labels l to :math:`n_{jy}` examples of class y. The
posterior of the share :math:`\theta_{jyl}` is a Beta distribution with the mean of Jeffreys' prior
and the variance

.. math:: \frac{\theta (1 - \theta)}{n_{jy} + K / 2 + 1}
    + \frac{1}{n_{jy}^2} \sum_i p_{iy} (1 - p_{iy}) ([a_{ij} = l] - \theta)^2 ,

the second part for classes that are not known; of an accuracy likewise, where the number of labels
is known. How far labelers err together, and by which model, is the same for all examples: what the
mean varies by over those (`Pool.probs_by_rho`) is added. Members of blocs are told apart here.
Where gold speaks against the fit, or against what the fit says of a labeler, gold alone is counted.

References:
    Brown, Cai and DasGupta (2001), Interval estimation for a binomial proportion. Statistical
        Science 16, for the prior of Jeffreys.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import numpy as np
import numpy.typing as npt
import pandas as pd
from jaxtyping import Float
from scipy.stats import norm

from gtx_bayes.aggregation.result import Aggregation
from gtx_bayes.aggregation.tables import Confusion, confusion_table, expected_counts
from gtx_bayes.columns import Names
from gtx_bayes.diagnostics.calibration import MIN_P
from gtx_bayes.diagnostics.report.gold import outside
from gtx_bayes.inference.beta import BetaPosterior
from gtx_bayes.labels import Labels

MOST_MEMBERS = 40
"""A panel has no more labelers than this; of more, each is one of a crowd."""

MOST_CLASSES = 20
"""With more classes than this confusion matrices are too large for their labels."""

_Z = float(norm.ppf(0.975))
_PRIOR = 0.5  # Jeffreys


class Shares(NamedTuple):
    """Shares with their 95 % credible intervals, of every labeler in the first axis.

    Attributes:
        mean: posterior mean.
        low: lower limit.
        high: upper limit.
        number: how many labels it is the share of.
    """

    mean: Float[np.ndarray, "num_labelers ..."]
    low: Float[np.ndarray, "num_labelers ..."]
    high: Float[np.ndarray, "num_labelers ..."]
    number: Float[np.ndarray, "num_labelers ..."]

    @classmethod
    def of(
        cls,
        mean: npt.NDArray[np.floating],
        number: npt.NDArray[np.floating],
        unknown: npt.NDArray[np.floating],
        prior: float,
        common: npt.NDArray[np.floating] | float = 0.0,
    ) -> "Shares":
        """Of posterior means; see the module.

        Args:
            mean: the means.
            number: of how many labels.
            unknown: variance of how many of those are of the kind, as far as classes are not known.
            prior: pseudo-counts of all kinds together.
            common: variance by what is not known and common to all labels.
        """
        variance = mean * (1.0 - mean) / (number + prior + 1.0)
        variance = variance + unknown / np.maximum(number, 1.0) ** 2 + common
        # No interval is wider than one of the prior alone.
        variance = np.minimum(variance, mean * (1.0 - mean) / (prior + 1.0))
        low, high = BetaPosterior.from_moments(mean, variance).credible_interval()
        return cls(mean, low, high, number)


class Answering(NamedTuple):
    """How labelers answer.

    Attributes:
        right: how many labels are right.
        accuracy: the share of those.
        confusion: the share of every label among those to examples of every class.
        bias: by how much larger the share of a class is among the labels than among the examples.
    """

    right: Float[np.ndarray, " num_labelers"]
    accuracy: Shares
    confusion: Shares
    bias: Shares

    @classmethod
    def of(
        cls,
        labels: Labels,
        class_probs: npt.NDArray[np.floating],
        readings: Iterable[tuple[float, npt.NDArray[np.floating]]] = (),
    ) -> "Answering":
        """Of all labelers; examples without any probability are not counted.

        Args:
            labels: their answers.
            class_probs: of every example.
            readings: what else these may be, each after its weight; all weights sum to one.
        """
        num_classes = labels.num_classes
        counts, unknown = (
            expected_counts(labels, each, num_classes)
            for each in (class_probs, class_probs * (1.0 - class_probs))
        )
        means = _means(counts)
        common = [np.zeros(each.shape) for each in means]
        for weight, probs in readings:
            for at, other in enumerate(_means(expected_counts(labels, probs, num_classes))):
                common[at] += weight * (other - means[at]) ** 2
        accuracy, share, bias = means
        right, right_unknown = (np.trace(of, axis1=1, axis2=2) for of in (counts, unknown))
        number = counts.sum(axis=2, keepdims=True)
        total = number.sum(axis=(1, 2))
        others = unknown.sum(axis=2, keepdims=True) - unknown
        return cls(
            right,
            Shares.of(accuracy, total, right_unknown, 2 * _PRIOR, common[0]),
            Shares.of(
                share,
                np.broadcast_to(number, share.shape),
                unknown * (1.0 - share) ** 2 + others * share**2,
                num_classes * _PRIOR,
                common[1],
            ),
            _bias(counts, unknown, bias, common[2]),
        )

    def where(self, is_own: npt.NDArray[np.bool_], other: "Answering") -> "Answering":
        """This, and another's for labelers who are not meant."""
        return jax.tree.map(
            lambda one, two: np.where(is_own.reshape(-1, *(1,) * (one.ndim - 1)), one, two),
            self,
            other,
        )


def _means(counts: npt.NDArray[np.floating]) -> tuple[npt.NDArray[np.floating], ...]:
    """Accuracy, shares of labels by class, and bias by class, of expected counts."""
    right, number = np.trace(counts, axis1=1, axis2=2), counts.sum(axis=2, keepdims=True)
    total = number.sum(axis=(1, 2))
    return (
        (right + _PRIOR) / (total + 2 * _PRIOR),
        (counts + _PRIOR) / (number + counts.shape[1] * _PRIOR),
        (counts.sum(axis=1) - counts.sum(axis=2)) / np.maximum(total, 1.0)[:, None],
    )


def _bias(
    counts: npt.NDArray[np.floating],
    unknown: npt.NDArray[np.floating],
    mean: npt.NDArray[np.floating],
    common: npt.NDArray[np.floating],
) -> Shares:
    """By class, with limits of the normal law."""
    total = np.maximum(counts.sum(axis=(1, 2)), 1.0)[:, None]
    off = counts.sum(axis=1) + counts.sum(axis=2) - 2.0 * np.diagonal(counts, axis1=1, axis2=2)
    variance = off / total - mean**2 + unknown.sum(axis=2) / total
    reach = _Z * np.sqrt(np.maximum(variance, 0.0) / total + common)
    return Shares(mean, mean - reach, mean + reach, np.broadcast_to(total, mean.shape))


class Members(NamedTuple):
    """Every member of a panel.

    Attributes:
        table: one row per labeler, those of blocs too: worker, bloc, num_labels, num_abstained,
            num_gold and num_correct; `source`, what is counted ("model", all labels by the
            posterior of the fit, or "gold"); accuracy with ci_low and ci_high; `leans_to`, the
            class that is given too often beyond doubt, if any, and by how much: the share of the
            labels that should be another, less that of those that should be it, `bias`, with
            bias_low and bias_high.
        confusion: one row per labeler, class and label, as `Aggregation.confusion` returns it, with
            ci_low and ci_high.
    """

    table: pd.DataFrame
    confusion: pd.DataFrame

    def recall(self) -> pd.DataFrame:
        """The rows of `confusion` whose label is the class: sensitivity and specificity of two."""
        is_same = self.confusion["true_label"].astype(str) == self.confusion["label"].astype(str)
        return self.confusion[is_same]


def describe_members(result: Aggregation, *, is_by_gold: bool = False) -> Members | None:
    """How every labeler answers.

    Args:
        result: any method's.
        is_by_gold: whether gold alone is to be counted.

    Returns:
        The members; None where there are one or more than `MOST_MEMBERS`, or more than
        `MOST_CLASSES` classes.
    """
    crowd = result.answered
    names, classes = crowd.labeler_names, crowd.class_names
    if not 2 <= names.size <= MOST_MEMBERS or classes.size > MOST_CLASSES:
        return None
    labels, is_gold = crowd.labels.of_classes(), crowd.assessment.which_gold()
    probs = np.asarray(result.class_probs, np.float64)
    joint, fitted = result.fit.joint, result.crowd
    readings = () if joint is None else joint.probs_by_rho(fitted.labels, fitted.assessment)
    by_fit = Answering.of(labels, probs, readings)
    by_gold = Answering.of(labels, probs * is_gold[:, None])
    right, num_gold = (
        np.rint(of).astype(np.int64) for of in (by_gold.right, by_gold.accuracy.number)
    )
    p = np.minimum(*outside(right, num_gold, by_fit.accuracy.low, by_fit.accuracy.high))
    is_fit = (p >= MIN_P / (2 * names.size)) & (not is_by_gold)
    found = by_fit.where(is_fit, by_gold)
    bloc = {} if result.blocs is None else result.blocs.set_index("worker")["bloc"].to_dict()
    abstained = crowd.num_abstained()
    table = pd.DataFrame(
        {
            "worker": names,
            "bloc": [str(bloc.get(name, "")) for name in names],
            "num_labels": labels.count_by_labeler(),
            "num_abstained": 0 if abstained is None else abstained,
            "num_gold": num_gold,
            "num_correct": right,
            "source": np.where(is_fit, "model", "gold"),
            "accuracy": found.accuracy.mean,
            "ci_low": found.accuracy.low,
            "ci_high": found.accuracy.high,
            **_leaning(found.bias, classes),
        }
    )
    of = found.confusion
    confusion = confusion_table(Confusion("", of.mean, of.number), names, classes, classes)
    confusion["source"] = np.repeat(table["source"].to_numpy(), classes.size**2)
    return Members(table, confusion.assign(ci_low=of.low.ravel(), ci_high=of.high.ravel()))


def _leaning(bias: Shares, classes: Names) -> dict[str, npt.NDArray[Any]]:
    """The class given too often by most; named where that is beyond chance, all tests together."""
    most = bias.mean.argmax(axis=1)
    mean, low, high = (of[np.arange(most.size), most] for of in bias[:3])
    z = np.divide(_Z * mean, high - mean, out=np.zeros(most.size), where=high > mean)
    is_beyond = norm.sf(z) < MIN_P / bias.mean.size
    return {
        "leans_to": np.where(is_beyond, classes[most].astype(str), ""),
        "bias": mean,
        "bias_low": low,
        "bias_high": high,
    }
