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

from gtx_bayes.aggregation.result import Aggregation
from gtx_bayes.diagnostics.calibration import MIN_P
from gtx_bayes.diagnostics.panel import Panel, panel_of
from gtx_bayes.diagnostics.predictive import LabelerPair, PredictiveChecks
from gtx_bayes.diagnostics.report.gold import DOUBT, compare_labelers, err_together
from gtx_bayes.diagnostics.report.wording import counted, percent
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

MOST_BEST = 6
"""The best are at most so many, and at most a third of all."""

_MAX_P_OF_PAIR = 0.05
_NUM_DRAWS = 128
_TAILS = (0.025, 0.975)


class Labelers(NamedTuple):
    """The labelers. Groups are rows of `table` with the limits of informedness added.

    Attributes:
        table: one row per labeler, as `Aggregation.labelers` returns it.
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
        panel: how many independent labelers they are worth; None where gold is too little.
        agreement: coefficients of agreement, as `Crowd.agreement` returns them, those with a value.
    """

    table: pd.DataFrame
    chance: float
    contradicted: pd.DataFrame
    num_below: int
    uninformed: pd.DataFrame
    constant: pd.DataFrame
    opposite: pd.DataFrame
    best: pd.DataFrame
    is_by_gold: bool
    agree_in_groups: bool
    pairs: tuple[LabelerPair, ...]
    num_unknown: int
    panel: Panel | None
    agreement: pd.DataFrame

    @property
    def verdict(self) -> str:
        """All of it in a sentence or two."""
        if self.num_unknown == len(self.table):
            return "Without gold this method says nothing of labelers."
        everybody = f"Of {counted(len(self.table), 'labeler')}"
        share = self.uninformed["num_labels"].sum() / max(int(self.table["num_labels"].sum()), 1)
        groups = (
            (
                self.contradicted,
                ("is", "are"),
                "contradicted by gold: it does not bear out the accuracy that the fit gives",
            ),
            (
                self.uninformed,
                ("tells", "tell"),
                f"next to nothing, with {percent(share)} of the answers",
            ),
            (self.constant, ("gives", "give"), "one class only"),
            (self.opposite, ("is", "are"), "wrong more often than by guessing"),
        )
        parts = [
            f"{counted(len(group), *verb)} {words}" for group, verb, words in groups if len(group)
        ]
        if parts:
            return f"{everybody}, " + "; ".join(parts) + "."
        return f"{everybody} none is caught telling next to nothing, or the opposite of the truth."


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
    on_gold = compare_labelers(result, table)
    agree_in_groups = checks is not None and not checks.agreement_per_pair.fits
    right, num_gold = table["num_correct"], table["num_gold"]
    is_by_gold = is_refuted or (agree_in_groups and bool(num_gold.median() >= MUCH_GOLD))

    low, high, excess_low, excess_high = _informed(key, result, table)
    rows = table.assign(informed_low=low, informed_high=high)
    known = table["accuracy"].notna() & table["ci_low"].notna()
    contradicted = on_gold.is_below | on_gold.is_above
    only_one = _give_one_class(result)
    spans_chance = (excess_low <= 0.0) & (excess_high >= 0.0)
    uninformed = known & (high < USELESS) & spans_chance & ~only_one
    uninformed &= ~contradicted & (on_gold.p_guess > DOUBT)
    worse = table["prob_worse_than_chance"]
    surely = (worse > SURE) | (worse.isna() & (table["ci_high"] < chance))
    by_fit = known & surely & (excess_low + excess_high < 0.0) & (high >= USELESS) & ~contradicted
    by_fit &= right <= chance * num_gold
    opposite = on_gold.is_opposite | (by_fit & (not is_by_gold))
    judged = _by_gold(rows) if is_by_gold else rows
    is_doubtful = on_gold.is_below | (on_gold.p_below < DOUBT)
    best = known & ~uninformed & ~only_one & ~opposite & ~is_doubtful & (judged["ci_low"] > chance)
    ranked = judged[best].sort_values("ci_low", ascending=False, kind="stable")
    return Labelers(
        table=table,
        chance=chance,
        contradicted=rows[contradicted].sort_values("num_gold", ascending=False),
        num_below=int(on_gold.is_below.sum()),
        uninformed=rows[uninformed].sort_values("num_labels", ascending=False),
        constant=rows[known & only_one].sort_values("num_labels", ascending=False),
        opposite=rows[opposite].sort_values("accuracy"),
        best=ranked.head(min(MOST_BEST, max(len(table) // 3, 1))),
        is_by_gold=is_by_gold,
        agree_in_groups=agree_in_groups,
        pairs=tuple(
            pair
            for pair in ([] if checks is None else checks.pairs)
            if pair.z > 0 and pair.p < _MAX_P_OF_PAIR
            if not is_by_gold or err_together(result, *pair.labelers)
        ),
        num_unknown=int((~known).sum()),
        panel=panel_of(result.answered, result.blocs),
        agreement=result.answered.agreement().dropna(subset="value"),
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


def _informed(
    key: Key[Array, ""], result: Aggregation, table: pd.DataFrame
) -> tuple[npt.NDArray[np.floating], ...]:
    """Limits of every labeler's informedness, and of what answers do better than guesses.

    From the accuracy's limits where nothing can be drawn.
    """
    joint = result.fit.joint
    if joint is not None:
        num_labelers = result.crowd.labels.num_labelers
        shares = joint.shares(
            np.random.default_rng(np.asarray(jax.random.key_data(key))), _NUM_DRAWS
        )
        drawn = [
            [
                np.asarray(of)[:share, :num_labelers]
                for of in _informedness_drawn(
                    key, each.prior, each.prior.counts_in_size(each.counts)
                )
            ]
            for each, share in zip(joint.components, shares, strict=True)
            if share
        ]
        informed, excess = (
            np.quantile(np.concatenate(of), _TAILS, axis=0) for of in zip(*drawn, strict=True)
        )
        return *informed, *excess
    num_classes = result.crowd.labels.num_classes
    ends = (table[["ci_low", "ci_high"]].to_numpy() * num_classes - 1.0) / (num_classes - 1.0)
    spans_chance = (ends[:, 0] <= 0.0) & (ends[:, 1] >= 0.0)
    low = np.where(spans_chance, 0.0, np.abs(ends).min(axis=1))
    return low, np.abs(ends).max(axis=1), *ends.T


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
