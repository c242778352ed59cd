r"""How many independent labelers a panel is worth, and how it would be without each member.

Labelers who err on the same examples tell less than their number. With the errors
:math:`e_{ij}` of labeler j on gold example i, less its error rate among gold of that class, the
mean correlation of a panel of k labelers and its effective number (Kish, 1965) are

.. math::
    \bar r = \frac{\sum_{j \ne l} \sum_i e_{ij} e_{il}}
        {\sum_{j \ne l} \sqrt{\sum_i e_{ij}^2 \sum_i e_{il}^2}}, \qquad
    k_\mathrm{eff} = \frac{k}{1 + (k - 1) \bar r},

sums over i being over the gold that both labelled. Chance correlates errors where gold is little
and panels have gaps; so the number is shown beside that of labelers who err by themselves, whose
errors are dealt anew among the gold examples of each class that they labelled.

References:
    Kish (1965), Survey Sampling, the design effect of clusters of k with correlation r.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from gtx_bayes.blocs import (
    FEWEST_COMMON,
    MOST_LABELERS,
    OnGold,
    labels_on_gold,
    permuted_within_classes,
)
from gtx_bayes.crowd import Crowd
from gtx_bayes.labels import MISSING

_NUM_DRAWS = 200
_TAILS = (0.025, 0.975)


class Panel(NamedTuple):
    """What a panel is worth.

    Attributes:
        table: one row per labeler: `worker`, the `bloc` that it counts in, if any, `num_gold`, and
            `effective_without`, the effective number of the others.
        correlation: of the errors of every pair given the class, in the order of `table`; NaN
            where it is not known.
        effective: the effective number of labelers, between 1 and their number.
        interval: its 95 % confidence interval, by bootstrap over gold examples.
        if_independent: where it lies in 95 % of panels that err independently, with the same gaps.
    """

    table: pd.DataFrame
    correlation: npt.NDArray[np.float64]
    effective: float
    interval: tuple[float, float]
    if_independent: tuple[float, float]

    def in_blocs(self) -> "Panel":
        """The same with members of a bloc side by side, largest blocs first."""
        bloc = self.table["bloc"]
        size = bloc.map(bloc.value_counts()).where(bloc != "", 0)
        order = np.lexsort((np.arange(bloc.size), bloc.to_numpy(str), -size.to_numpy()))
        table = self.table.iloc[order].reset_index(drop=True)
        return self._replace(table=table, correlation=self.correlation[np.ix_(order, order)])

    @property
    def errs_together(self) -> bool:
        """Whether independent labelers would hardly be worth so little."""
        return self.effective < self.if_independent[0]

    @property
    def words(self) -> str:
        """All of it in a sentence or two."""
        low, high = self.if_independent
        worth = (
            f"By their errors on gold these {len(self.table)} labelers are worth "
            f"{self.effective:.1f} who err independently (95 %: {self.interval[0]:.1f} to "
            f"{self.interval[1]:.1f})."
        )
        if self.errs_together:
            return f"{worth} As many who do would show {low:.1f} to {high:.1f}."
        return (
            f"{worth} As many who do would show as much ({low:.1f} to {high:.1f}): nothing says "
            "that they err together."
        )


def panel_of(crowd: Crowd, blocs: pd.DataFrame | None = None, *, seed: int = 0) -> Panel | None:
    """What the labelers of a crowd who have enough gold in common are worth.

    Args:
        crowd: the crowd, every labeler by itself.
        blocs: the labelers who count as one, as in `Aggregation.blocs`.
        seed: of the draws behind the intervals.

    Returns:
        The panel; None where fewer than two labelers, or more than a panel's, have enough gold.
    """
    gold = labels_on_gold(crowd)
    is_there = (gold.label != MISSING).astype(float)
    candidates = np.flatnonzero(is_there.sum(axis=1) >= FEWEST_COMMON)
    if not 2 <= candidates.size <= MOST_LABELERS:
        return None
    gold = gold._replace(label=gold.label[candidates])
    common = is_there[candidates] @ is_there[candidates].T
    is_known = (common >= FEWEST_COMMON) & ~np.eye(candidates.size, dtype=bool)
    if not is_known.any():
        return None
    errors = _errors(gold)
    shared, scale = _products(errors, np.ones(gold.truth.size))
    effective = _effective(shared, scale, is_known)
    rng = np.random.default_rng(seed)
    again = [_resampled(rng, errors, is_known) for _ in range(_NUM_DRAWS)]
    alone = [
        _effective(
            *_products(_errors(permuted_within_classes(rng, gold)), np.ones(gold.truth.size)),
            is_known,
        )
        for _ in range(_NUM_DRAWS)
    ]
    low, high = np.quantile(again, _TAILS)
    least, most = np.quantile(alone, _TAILS)
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = np.where(is_known, shared / scale, np.nan)
    return Panel(
        _table(crowd, blocs, candidates, is_there, _without_each(shared, scale, is_known)),
        correlation,
        effective,
        (min(float(low), effective), max(float(high), effective)),
        (float(least), float(most)),
    )


def _table(
    crowd: Crowd,
    blocs: pd.DataFrame | None,
    candidates: npt.NDArray[np.intp],
    is_there: npt.NDArray[np.float64],
    without: npt.NDArray[np.float64],
) -> pd.DataFrame:
    worker = crowd.labeler_names[candidates]
    of_bloc = {} if blocs is None else dict(zip(blocs["worker"], blocs["bloc"], strict=True))
    return pd.DataFrame(
        {
            "worker": worker,
            "bloc": [str(of_bloc.get(name, "")) for name in worker],
            "num_gold": is_there[candidates].sum(axis=1).astype(np.int64),
            "effective_without": without,
        }
    )


def _errors(gold: OnGold) -> npt.NDArray[np.float64]:
    """Errors less each labeler's rate among gold of the class; zero where it gave no label."""
    is_there = gold.label != MISSING
    errors = (is_there & (gold.label != gold.truth)).astype(float)
    for truth in np.unique(gold.truth):
        of_class = gold.truth == truth
        number = np.maximum(is_there[:, of_class].sum(axis=1), 1)
        rate = errors[:, of_class].sum(axis=1) / number
        errors[:, of_class] -= rate[:, None] * is_there[:, of_class]
    return np.where(is_there, errors, np.nan)


def _products(
    errors: npt.NDArray[np.float64], weight: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Sums of products of every pair's errors, and the most that they could be."""
    is_there = (~np.isnan(errors)).astype(float)
    errors = np.nan_to_num(errors)
    squares = (errors**2 * weight) @ is_there.T  # of the first, where the second is there too
    return (errors * weight) @ errors.T, np.sqrt(squares * squares.T)


def _effective(
    shared: npt.NDArray[np.float64],
    scale: npt.NDArray[np.float64],
    is_known: npt.NDArray[np.bool_],
) -> float:
    """Kish's number, from 1 to that of the labelers."""
    number, most = is_known.shape[0], scale[is_known].sum()
    mean = shared[is_known].sum() / most if most > 0.0 else 0.0
    return float(number / (1.0 + (number - 1) * np.clip(mean, 0.0, 1.0)))


def _resampled(
    rng: np.random.Generator,
    errors: npt.NDArray[np.float64],
    is_known: npt.NDArray[np.bool_],
) -> float:
    """The number with gold examples drawn anew, with replacement."""
    size = errors.shape[1]
    weight = rng.multinomial(size, np.full(size, 1.0 / size)).astype(float)
    return _effective(*_products(errors, weight), is_known)


def _without_each(
    shared: npt.NDArray[np.float64],
    scale: npt.NDArray[np.float64],
    is_known: npt.NDArray[np.bool_],
) -> npt.NDArray[np.float64]:
    """The effective number of the other labelers; NaN where there is one alone."""
    number = is_known.shape[0]
    if number < 3:
        return np.full(number, np.nan)
    of_all = [np.where(is_known, each, 0.0) for each in (shared, scale)]
    left = [each.sum() - each.sum(axis=0) - each.sum(axis=1) for each in of_all]
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(left[1] > 0.0, left[0] / left[1], 0.0)
    return (number - 1) / (1.0 + (number - 2) * np.clip(mean, 0.0, 1.0))
