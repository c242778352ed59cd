"""Who the labelers are: the best, those who know nothing, those who say the opposite, and pairs.

What the fit says of a labeler is said again here only where the labeler's own gold does not
contradict it (`gold.compare_labelers`).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pandas as pd
from jaxtyping import Array, Float, Key
from scipy.stats import beta

from gtx_bayes.aggregation.aggregate import Aggregation
from gtx_bayes.diagnostics.calibration import MIN_P
from gtx_bayes.diagnostics.predictive import PredictiveChecks
from gtx_bayes.diagnostics.report.gold import DOUBT, compare_labelers, err_together
from gtx_bayes.diagnostics.report.wording import counted, percent, shown
from gtx_bayes.labels import MISSING
from gtx_bayes.models.base import AbstractCohortPrior

USELESS = 0.25
"""A labeler surely less informed than this, and not surely better or worse than guesses, tells next
to nothing: with two classes and both answers alike, an accuracy between 37.5 and 62.5 % whose
interval holds 50 %."""

SURE = 0.95
"""Posterior probability beyond which a labeler counts as worse than chance."""

MUCH_GOLD = 20
"""Labelers who agree in groups are judged by gold alone if half of them answered so many."""

MOST_LISTED = 12
MOST_BEST = 6
"""The best are at most so many, and at most a third of all."""

_MAX_P_OF_PAIR = 0.05
_NUM_DRAWS = 128
_TAILS = (0.025, 0.975)


class LabelerRow(NamedTuple):
    """One labeler.

    Attributes:
        name: the name.
        accuracy: share of right answers; NaN where it is not known.
        low: lower limit of its interval.
        high: upper limit.
        informed_low: lower limit of how far the answers depend on the class, from 0 to 1.
        informed_high: upper limit.
        num_answers: how many answers the labeler gave.
        num_gold: how many of them to gold.
        num_right: how many of those are right.
    """

    name: str
    accuracy: float
    low: float
    high: float
    informed_low: float
    informed_high: float
    num_answers: int
    num_gold: int
    num_right: int


class Group(NamedTuple):
    """Labelers with something in common.

    Attributes:
        rows: the first of them.
        number: how many there are.
        share_of_answers: their share of all answers.
    """

    rows: tuple[LabelerRow, ...]
    number: int
    share_of_answers: float


class PairRow(NamedTuple):
    """Two labelers who agree more often than the model has it.

    Attributes:
        first: one name.
        second: the other.
        num_common: examples that both answered.
        observed: share of those on which they agree.
        expected: the share that the model expects.
        p: how often chance alone shows any pair as far out.
    """

    first: str
    second: str
    num_common: int
    observed: float
    expected: float
    p: float


class Labelers(NamedTuple):
    """The labelers.

    Attributes:
        table: one row per labeler, as `Aggregation.labelers` returns it.
        interval: which kind of interval it holds, in words.
        chance: accuracy of a uniform guess.
        contradicted: right on gold less, or more, often than their interval has it.
        num_below: how many of those are right less often.
        uninformed: whose answers hardly depend on the class.
        constant: who give one class only, more often than by chance, so that what they leave
            unanswered is all they could tell.
        opposite: who are surely worse than chance, and yet informed; or are by their gold.
        best: the best, by the lower limit of their interval.
        is_by_gold: whether labelers are judged by gold alone, because gold refutes the fit, or
            because they agree in groups, which the fit takes for accuracy, and gold is plenty.
        agree_in_groups: whether pairs agree more than in the model.
        pairs: who agree more often than the model has it; where labelers are judged by gold, only
            who give one wrong answer to it more often than by chance too.
        num_unknown: how many have no accuracy, or none that is their own.
    """

    table: pd.DataFrame
    interval: str
    chance: float
    contradicted: Group
    num_below: int
    uninformed: Group
    constant: Group
    opposite: Group
    best: Group
    is_by_gold: bool
    agree_in_groups: bool
    pairs: tuple[PairRow, ...]
    num_unknown: int

    @property
    def verdict(self) -> str:
        """All of it in a sentence or two."""
        number = len(self.table)
        if self.num_unknown == number:
            return "Without gold this method says nothing of labelers."
        groups = (self.uninformed, self.constant, self.opposite, self.contradicted)
        if not any(group.number for group in groups):
            return (
                f"Of {counted(number, 'labeler')} none is caught telling next to nothing, or the "
                "opposite of the truth."
            )
        parts = []
        if self.contradicted.number:
            parts.append(
                f"{counted(self.contradicted.number, 'is', 'are')} contradicted by gold: it does "
                "not bear out the accuracy that the fit gives"
            )
        if self.uninformed.number:
            parts.append(
                f"{counted(self.uninformed.number, 'tells', 'tell')} next to nothing, with "
                f"{percent(self.uninformed.share_of_answers)} of the answers"
            )
        if self.constant.number:
            parts.append(f"{counted(self.constant.number, 'gives', 'give')} one class only")
        if self.opposite.number:
            parts.append(
                f"{counted(self.opposite.number, 'is', 'are')} wrong more often than by guessing"
            )
        return f"Of {counted(number, 'labeler')}, " + "; ".join(parts) + "."


def describe_labelers(
    key: Key[Array, ""],
    result: Aggregation,
    table: pd.DataFrame,
    checks: PredictiveChecks | None,
    *,
    is_refuted: bool = False,
) -> Labelers:
    """Sort the labelers into groups.

    Args:
        key: random key of the draws behind the intervals of informedness.
        result: any method's.
        table: its table of labelers.
        checks: its predictive checks, which name the pairs; None if there are none.
        is_refuted: whether gold refutes the fit: then labelers are judged by gold alone.
    """
    chance = 1.0 / result.crowd.labels.num_classes
    informed = _informed(key, result, table)
    on_gold = compare_labelers(result, table)
    contradicted = on_gold.is_below | on_gold.is_above
    agree_in_groups = checks is not None and not checks.agreement_per_pair.fits
    right, num_gold = table["num_correct"], table["num_gold"]
    is_by_gold = is_refuted or (agree_in_groups and bool(num_gold.median() >= MUCH_GOLD))
    known = table["accuracy"].notna() & table["ci_low"].notna()
    says_nothing = (informed.high < USELESS) & informed.spans_chance
    only_one = _give_one_class(result)
    constant = known & only_one
    uninformed = known & says_nothing & ~only_one & ~contradicted & (on_gold.p_guess > DOUBT)
    worse = table["prob_worse_than_chance"].to_numpy()
    surely = np.where(np.isnan(worse), table["ci_high"] < chance, worse > SURE)
    wrong_way = (informed.excess_low + informed.excess_high < 0.0) & (informed.high >= USELESS)
    by_fit = known & surely & wrong_way & ~contradicted
    by_fit &= right <= chance * num_gold
    opposite = on_gold.is_opposite | (by_fit & (not is_by_gold))
    is_doubtful = on_gold.is_below | (on_gold.p_below < DOUBT)
    rows = table.assign(informed_low=informed.low, informed_high=informed.high)
    judged = _by_gold(rows) if is_by_gold else rows
    best = known & ~uninformed & ~constant & ~opposite & ~is_doubtful & (judged["ci_low"] > chance)
    return Labelers(
        table=table,
        interval=result.fit.labeler_accuracy.interval,
        chance=chance,
        contradicted=_group(rows[contradicted].sort_values("num_gold", ascending=False), table),
        num_below=int(on_gold.is_below.sum()),
        uninformed=_group(rows[uninformed].sort_values("num_labels", ascending=False), table),
        constant=_group(rows[constant].sort_values("num_labels", ascending=False), table),
        opposite=_group(rows[opposite].sort_values("accuracy"), table),
        best=_group(
            judged[best].sort_values("ci_low", ascending=False, kind="stable"),
            table,
            min(MOST_BEST, max(len(table) // 3, 1)),
        ),
        is_by_gold=is_by_gold,
        agree_in_groups=agree_in_groups,
        pairs=() if checks is None else _pairs(result, checks, is_by_gold=is_by_gold),
        num_unknown=int((~known).sum()),
    )


def _give_one_class(result: Aggregation) -> npt.NDArray[np.bool_]:
    """Whose answers are all of one class, which as many of everybody's would not be by chance.

    With a probability below `MIN_P`, that is, corrected for the number of labelers.
    """
    labels = result.crowd.labels.of_classes()
    label, labeler = np.asarray(labels.label), np.asarray(labels.labeler)
    label, labeler = label[label != MISSING], labeler[label != MISSING]
    lowest = np.full(labels.num_labelers, labels.num_classes)
    highest = np.full(labels.num_labelers, -1)
    np.minimum.at(lowest, labeler, label)
    np.maximum.at(highest, labeler, label)
    share = np.bincount(label, minlength=labels.num_classes) / max(label.size, 1)
    by_chance = share[highest] ** np.bincount(labeler, minlength=labels.num_labelers)
    return (lowest == highest) & (by_chance < MIN_P / labels.num_labelers)


def _by_gold(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the share right on gold and its Clopper-Pearson interval; NaN without gold."""
    right, num = table["num_correct"].to_numpy(np.float64), table["num_gold"].to_numpy(np.float64)
    low = np.nan_to_num(beta.ppf(_TAILS[0], right, num - right + 1.0), nan=0.0)
    high = np.nan_to_num(beta.ppf(_TAILS[1], right + 1.0, num - right), nan=1.0)
    share = np.divide(right, num, out=np.full(num.size, np.nan), where=num > 0)
    return table.assign(accuracy=share, ci_low=low, ci_high=high)


def informedness(
    confusion: Float[Array, "*cohorts num_labelers num_classes num_classes"],
) -> Float[Array, "*cohorts num_labelers"]:
    r"""How far answers depend on the class: 0 not at all, 1 completely.

    .. math:: \frac{1}{K - 1} \sum_y \frac{1}{2} \sum_l \left| \theta_{jyl} - \bar\theta_{jl}
        \right|, \qquad \bar\theta_{jl} = \frac{1}{K} \sum_y \theta_{jyl}

    With two classes the absolute value of sensitivity plus specificity minus one (Youden's
    index); with one coin :math:`|K \alpha_j - 1| / (K - 1)`. Who always errs is as informed as
    who never does.

    References:
        Youden (1950), Index for rating diagnostic tests. Cancer 3.
        Raykar and Yu (2012), JMLR 13, rank annotators by the squares of such differences.
    """
    num_classes = confusion.shape[-1]
    distance = jnp.abs(confusion - confusion.mean(axis=-2, keepdims=True)).sum(axis=-1) / 2.0
    return distance.sum(axis=-1) / (num_classes - 1)


class _Informed(NamedTuple):
    """How informed the labelers are.

    Attributes:
        low: lower limit of informedness.
        high: upper limit.
        excess_low: lower limit of what they do better than guesses; below 0 worse.
        excess_high: upper limit.
    """

    low: npt.NDArray[np.floating]
    high: npt.NDArray[np.floating]
    excess_low: npt.NDArray[np.floating]
    excess_high: npt.NDArray[np.floating]

    @property
    def spans_chance(self) -> npt.NDArray[np.bool_]:
        """Who may do no better, and no worse, than guesses."""
        return (self.excess_low <= 0.0) & (self.excess_high >= 0.0)


def _informed(key: Key[Array, ""], result: Aggregation, table: pd.DataFrame) -> _Informed:
    """Limits of every labeler's informedness; from the accuracy's where nothing can be drawn."""
    joint = result.fit.joint
    if joint is not None:
        num_labelers = joint.counts.shape[0]
        counts = joint.prior.counts_in_size(joint.counts)
        drawn, excess = (
            np.quantile(np.asarray(of)[:, :num_labelers], _TAILS, axis=0)
            for of in _informedness_drawn(key, joint.prior, counts)
        )
        return _Informed(*drawn, *excess)
    num_classes = result.crowd.labels.num_classes
    ends = (table[["ci_low", "ci_high"]].to_numpy() * num_classes - 1.0) / (num_classes - 1.0)
    spans_chance = (ends[:, 0] <= 0.0) & (ends[:, 1] >= 0.0)
    low = np.where(spans_chance, 0.0, np.abs(ends).min(axis=1))
    return _Informed(low, np.abs(ends).max(axis=1), *ends.T)


@jax.jit
def _informedness_drawn(
    key: Key[Array, ""], prior: AbstractCohortPrior, counts: Float[Array, "num_labelers ..."]
) -> tuple[Float[Array, "num_draws num_labelers"], Float[Array, "num_draws num_labelers"]]:
    """Informedness, and by how much the mean accuracy of the classes exceeds that of guesses."""

    def once(key: Key[Array, ""]) -> tuple[Float[Array, " num_labelers"], ...]:
        model = prior.sample(key, counts)
        if model.prob_right is not None:  # without tables of K x K
            excess = model.num_classes * model.prob_right - 1.0
            return jnp.abs(excess) / (model.num_classes - 1), excess
        confusion = model.confusion_matrix
        excess = jnp.trace(confusion, axis1=-2, axis2=-1) - 1.0
        return informedness(confusion), excess

    return jax.lax.map(once, jax.random.split(key, _NUM_DRAWS))


def _group(rows: pd.DataFrame, everybody: pd.DataFrame, most: int = MOST_LISTED) -> Group:
    total = int(everybody["num_labels"].sum())
    return Group(
        tuple(
            LabelerRow(
                name=shown(row["worker"]),
                accuracy=float(row["accuracy"]),
                low=float(row["ci_low"]),
                high=float(row["ci_high"]),
                informed_low=float(row["informed_low"]),
                informed_high=float(row["informed_high"]),
                num_answers=int(row["num_labels"]),
                num_gold=int(row["num_gold"]),
                num_right=int(row["num_correct"]),
            )
            for row in rows.head(most).to_dict("records")
        ),
        len(rows),
        int(rows["num_labels"].sum()) / max(total, 1),
    )


def _pairs(
    result: Aggregation, checks: PredictiveChecks, *, is_by_gold: bool
) -> tuple[PairRow, ...]:
    return tuple(
        PairRow(
            first=shown(pair.labelers[0]),
            second=shown(pair.labelers[1]),
            num_common=pair.num_common,
            observed=pair.observed,
            expected=pair.expected,
            p=pair.p,
        )
        for pair in checks.pairs
        if pair.z > 0 and pair.p < _MAX_P_OF_PAIR
        if not is_by_gold or err_together(result, *pair.labelers)
    )
