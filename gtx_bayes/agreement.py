"""How far labelers agree: Krippendorff's alpha, Fleiss' and Cohen's kappa, pairs that agree.

Arrays in, coefficients with bootstrap intervals over examples out. None of them says who is right:
they are highest where the crowd is wrong together.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gtx_bayes.errors import InputError
from gtx_bayes.labels import MISSING, Labels

Floats = npt.NDArray[np.float64]

MOST_CELLS = 2**25
"""Cells of the table of counts, example by class, beyond which nothing is worked out."""

_MOST_ORDERED = 64  # classes, for the ordinal coefficient
_MOST_PAIRS = 2**22  # pairs of answers to an example, for Cohen's kappa
_MOST_WORK = 2**24  # resamples times what each goes through: a tenth of a second
_LEAST_RESAMPLES = 100


class Agreement(NamedTuple):
    """A coefficient of agreement.

    Attributes:
        name: which one.
        value: the coefficient; NaN where it is not defined, as where there is one class alone.
        low: lower limit of its interval; NaN with the value, or where it would take too long.
        high: upper limit.
        num_examples: examples with two answers or more, which it is about.
    """

    name: str
    value: float
    low: float
    high: float
    num_examples: int


def agreement(
    labels: Labels,
    *,
    is_ordinal: bool = False,
    num_resamples: int = 1000,
    prob: float = 0.95,
    seed: int = 0,
) -> list[Agreement]:
    """Every coefficient, its interval from resampled examples (percentiles of the bootstrap).

    Args:
        labels: the answers; those that are no class are left out.
        is_ordinal: whether classes are in order, so that alpha is worked out for that too.
        num_resamples: how many resamples.
        prob: level of the intervals.
        seed: of the resamples.

    Raises:
        InputError: for a level that is none, and a number of resamples below 2.
    """
    if not 0.0 < prob < 1.0 or num_resamples < 2:
        raise InputError(
            f"the level is {prob}, of {num_resamples} resamples.",
            hint="Give a level between 0 and 1, and 2 resamples or more.",
        )
    if labels.num_examples * labels.num_classes > MOST_CELLS:
        return []
    counts = label_counts(labels)
    rows, times = np.unique(counts[counts.sum(axis=1) > 1], axis=0, return_counts=True)
    number = int(times.sum())
    draws = _resamples(number, times, num_resamples, seed)
    found = [
        _with_interval("percent_agreement", percent_agreement, rows, times, draws, prob),
        _with_interval("fleiss_kappa", fleiss_kappa, rows, times, draws, prob),
        _with_interval("krippendorff_alpha", krippendorff_alpha, rows, times, draws, prob),
    ]
    if is_ordinal and labels.num_classes <= _MOST_ORDERED:
        name = "krippendorff_alpha_ordinal"
        found.append(_with_interval(name, _ordinal_alpha, rows, times, draws, prob))
    pairs = _pairs(labels)
    if pairs is not None:
        found.append(_cohen(*pairs, labels.num_classes, number, num_resamples, prob, seed))
    return found


def label_counts(labels: Labels) -> npt.NDArray[np.int64]:
    """How often each class was answered: shape (num_examples, num_classes)."""
    example, label = np.asarray(labels.example), np.asarray(labels.label)
    kept = (label != MISSING) & (label < labels.num_classes)
    cell = example[kept].astype(np.int64) * labels.num_classes + label[kept]
    shape = (labels.num_examples, labels.num_classes)
    return np.bincount(cell, minlength=shape[0] * shape[1]).reshape(shape)


def percent_agreement(counts: npt.ArrayLike, times: npt.ArrayLike | None = None) -> Floats:
    """The share of pairs of answers to an example that agree, all pairs together.

    Args:
        counts: how often each class was answered, shape (num_examples, num_classes).
        times: how often each example counts, shape (..., num_examples); once when absent.
    """
    counts, times = _checked(counts, times)
    num = counts.sum(axis=1)
    agreeing = (counts * (counts - 1)).sum(axis=1)
    return _ratio(times @ agreeing, times @ (num * (num - 1)))


def fleiss_kappa(counts: npt.ArrayLike, times: npt.ArrayLike | None = None) -> Floats:
    r"""Fleiss' kappa; examples may have different numbers of answers, 2 at the least.

    .. math:: \kappa = \frac{\bar P - \bar P_e}{1 - \bar P_e}, \qquad
        P_i = \frac{\sum_k n_{ik} (n_{ik} - 1)}{n_i (n_i - 1)}, \qquad
        \bar P_e = \sum_k \Big( \frac{\sum_i n_{ik}}{\sum_i n_i} \Big)^2

    with :math:`\bar P` the mean over examples. Arguments as for `percent_agreement`.

    References:
        Fleiss (1971), Measuring nominal scale agreement among many raters. Psychological
            Bulletin 76.
    """
    counts, times = _checked(counts, times)
    num = counts.sum(axis=1)
    per_example = (counts * (counts - 1)).sum(axis=1) / np.maximum(num * (num - 1), 1)
    is_paired = (num > 1).astype(np.float64)
    observed = _ratio(times @ (per_example * is_paired), times @ is_paired)
    totals = times @ (counts * is_paired[:, None])
    shares = _ratio(totals, totals.sum(axis=-1, keepdims=True))
    by_chance = (shares**2).sum(axis=-1)
    return _ratio(observed - by_chance, 1.0 - by_chance)


def krippendorff_alpha(
    counts: npt.ArrayLike, times: npt.ArrayLike | None = None, metric: str = "nominal"
) -> Floats:
    r"""Krippendorff's alpha, for any number of labelers and with answers missing.

    .. math:: \alpha = 1 - \frac{(n - 1) \sum_u \frac{1}{m_u - 1} \sum_{c, k} n_{uc} n_{uk}
        \delta^2_{ck}}{\sum_{c, k} n_c n_k \delta^2_{ck}}

    over examples u with :math:`m_u \ge 2` answers, of n in all. The difference is 1 between
    classes that are not the same (nominal), or, with classes in order,

    .. math:: \delta_{ck} = \sum_{g=c}^{k} n_g - \frac{n_c + n_k}{2} .

    Arguments as for `percent_agreement`, and the metric, "nominal" or "ordinal".

    References:
        Krippendorff (2011), Computing Krippendorff's alpha-reliability. University of
            Pennsylvania.
    """
    counts, times = _checked(counts, times)
    num = counts.sum(axis=1)
    kept = num > 1
    counts, times, num = counts[kept], times[..., kept], num[kept]
    totals = times @ counts
    number = totals.sum(axis=-1)
    if metric == "nominal":
        disagreeing = num * num - (counts**2).sum(axis=1)
        observed = times @ (disagreeing / (num - 1))
        expected = number**2 - (totals**2).sum(axis=-1)
    elif metric == "ordinal":
        below = np.cumsum(totals, axis=-1)
        middle = below - totals / 2.0
        difference = (middle[..., :, None] - middle[..., None, :]) ** 2
        num_classes = counts.shape[1]
        together = counts[:, :, None] * counts[:, None, :] / (num - 1)[:, None, None]
        each = times @ together.reshape(len(counts), -1)
        observed = (each * difference.reshape(*each.shape)).sum(axis=-1)
        of_both = totals[..., :, None] * totals[..., None, :]
        expected = (of_both * difference).reshape(*number.shape, num_classes**2).sum(axis=-1)
    else:
        raise InputError(f"the metric is '{metric}'.", hint="Choose nominal or ordinal.")
    return np.asarray(1.0 - _ratio((number - 1.0) * observed, expected))


def cohen_kappa(tables: npt.ArrayLike) -> Floats:
    r"""Cohen's kappa of pairs of labelers, weighted by how many examples a pair shares.

    .. math:: \kappa = \frac{p_o - p_e}{1 - p_e}

    with :math:`p_o` the share of examples that two labelers agree on and :math:`p_e` what their
    own shares of the classes come to. Pairs for whom it is not defined are left out.

    Args:
        tables: how often one said a class and the other another, shape
            (..., num_pairs, num_classes, num_classes).

    References:
        Cohen (1960), A coefficient of agreement for nominal scales. Educational and Psychological
            Measurement 20. For more than two labelers Light (1971), Psychological Bulletin 76.
    """
    tables = np.asarray(tables, np.float64)
    number = tables.sum(axis=(-2, -1))
    observed = _ratio(np.trace(tables, axis1=-2, axis2=-1), number)
    shares = [_ratio(tables.sum(axis=axis), number[..., None]) for axis in (-2, -1)]
    by_chance = (shares[0] * shares[1]).sum(axis=-1)
    kappa = _ratio(observed - by_chance, 1.0 - by_chance)
    weight = np.where(np.isnan(kappa), 0.0, number)
    return _ratio((np.nan_to_num(kappa) * weight).sum(axis=-1), weight.sum(axis=-1))


def _ordinal_alpha(counts: npt.ArrayLike, times: npt.ArrayLike) -> Floats:
    return krippendorff_alpha(counts, times, "ordinal")


def _checked(counts: npt.ArrayLike, times: npt.ArrayLike | None) -> tuple[Floats, Floats]:
    counts = np.asarray(counts, np.float64)
    return counts, np.ones(len(counts)) if times is None else np.asarray(times, np.float64)


def _ratio(above: npt.ArrayLike, below: npt.ArrayLike) -> Floats:
    """A quotient, NaN where there is nothing to divide by."""
    above, below = np.asarray(above, np.float64), np.asarray(below, np.float64)
    is_any = below > 1e-12
    return np.where(is_any, above / np.where(is_any, below, 1.0), np.nan)


def _resamples(
    number: int, times: npt.NDArray[np.int64], num_resamples: int, seed: int
) -> npt.NDArray[np.int64]:
    """How often each kind of example is drawn, in as many draws as there are examples.

    Examples with the same counts are of one kind: drawing kinds is drawing examples.
    """
    if not number or len(times) * num_resamples > _MOST_WORK:
        return np.zeros((0, len(times)), np.int64)
    return np.random.default_rng(seed).multinomial(number, times / number, num_resamples)


def _with_interval(
    name: str,
    coefficient: Callable[[npt.ArrayLike, npt.ArrayLike], Floats],
    rows: npt.NDArray[np.int64],
    times: npt.NDArray[np.int64],
    draws: npt.NDArray[np.int64],
    prob: float,
) -> Agreement:
    value = float(coefficient(rows, times)) if len(rows) else np.nan
    is_too_much = coefficient is _ordinal_alpha and draws.shape[0] * rows.size > _MOST_WORK
    low, high = _interval(coefficient(rows, draws) if len(draws) and not is_too_much else [], prob)
    return Agreement(name, value, low, high, int(times.sum()))


def _interval(values: npt.ArrayLike, prob: float) -> tuple[float, float]:
    """Limits between which the middle of the values lies; NaN where there are none."""
    values = np.asarray(values, np.float64)
    values = values[np.isfinite(values)]
    if not values.size:
        return np.nan, np.nan
    low, high = np.quantile(values, [(1.0 - prob) / 2.0, (1.0 + prob) / 2.0])
    return float(low), float(high)


def _pairs(
    labels: Labels,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]] | None:
    """Example, pair of labelers and pair of classes of every two answers; None if too many.

    A labeler who answers an example twice is no pair with itself.
    """
    example, labeler, label = (
        np.asarray(part).astype(np.int64) for part in (labels.example, labels.labeler, labels.label)
    )
    kept = (label != MISSING) & (label < labels.num_classes)
    order = np.lexsort((labeler[kept], example[kept]))
    example, labeler, label = (part[kept][order] for part in (example, labeler, label))
    size = np.unique(example, return_counts=True)[1]
    if int((size * (size - 1) // 2).sum()) > _MOST_PAIRS:
        return None
    first, second = [], []
    for gap in range(1, int(size.max(initial=0))):
        at = np.flatnonzero(example[:-gap] == example[gap:])
        first.append(at)
        second.append(at + gap)
    one, other = (np.concatenate([np.zeros(0, np.int64), *parts]) for parts in (first, second))
    different = labeler[one] != labeler[other]
    one, other = one[different], other[different]
    pair = np.unique(labeler[one] * labels.num_labelers + labeler[other], return_inverse=True)[1]
    both = label[one] * labels.num_classes + label[other]
    return example[one], pair.ravel(), both


def _cohen(
    example: npt.NDArray[np.int64],
    pair: npt.NDArray[np.int64],
    both: npt.NDArray[np.int64],
    num_classes: int,
    num_examples: int,
    num_resamples: int,
    prob: float,
    seed: int,
) -> Agreement:
    """Cohen's kappa with its interval, examples drawn with all pairs that answered them."""
    num_pairs = int(pair.max(initial=-1)) + 1
    shape = (num_pairs, num_classes, num_classes)
    size = num_pairs * num_classes**2
    name = "cohen_kappa"
    if not pair.size or size > MOST_CELLS:
        return Agreement(name, np.nan, np.nan, np.nan, num_examples)
    cell = pair * num_classes**2 + both
    value = float(cohen_kappa(np.bincount(cell, minlength=size).reshape(shape)))
    which, drawn = np.unique(example, return_inverse=True)[1], np.random.default_rng(seed)
    num = int(which.max()) + 1
    times = min(num_resamples, _MOST_WORK // max(4 * size, 4 * cell.size))
    values = []
    for _ in range(times if times >= min(_LEAST_RESAMPLES, num_resamples) else 0):
        weight = np.bincount(drawn.integers(num, size=num), minlength=num)[which.ravel()]
        values.append(cohen_kappa(np.bincount(cell, weight, size).reshape(shape)))
    return Agreement(name, value, *_interval(values, prob), num_examples)
