"""Who the labelers are: the best, those who know nothing, those who say the opposite, and pairs."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pandas as pd
from jaxtyping import Array, Float, Key

from gtx_bayes.aggregation.aggregate import Aggregation
from gtx_bayes.diagnostics.predictive import PredictiveChecks
from gtx_bayes.diagnostics.report.wording import counted, percent, shown
from gtx_bayes.inference.priors import AbstractCohortPrior
from gtx_bayes.labelers.accuracy import wrong_alike
from gtx_bayes.labelers.class_conditional import ClassConditional
from gtx_bayes.labelers.confusion_matrix import ConfusionMatrix
from gtx_bayes.labelers.hard_examples import HardExamples
from gtx_bayes.labelers.one_coin import OneCoin
from gtx_bayes.posterior import AnyModel
from gtx_bayes.programs import program
from gtx_bayes.standard_size import LEAST_LABELERS, standard_size, with_room

USELESS = 0.25
"""A labeler surely less informed than this tells next to nothing: with two classes and both answers
alike, an accuracy between 37.5 and 62.5 %."""

SURE = 0.95
"""Posterior probability beyond which a labeler counts as worse than chance."""

MOST_LISTED = 12
MOST_BEST = 6
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
    """

    name: str
    accuracy: float
    low: float
    high: float
    informed_low: float
    informed_high: float
    num_answers: int
    num_gold: int


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
        uninformed: whose answers hardly depend on the class.
        opposite: who are surely worse than chance, and yet informed.
        best: the best, by the lower limit of their interval.
        pairs: who agree more often than the model has it.
        num_unknown: how many have no accuracy, or none that is their own.
    """

    table: pd.DataFrame
    interval: str
    chance: float
    uninformed: Group
    opposite: Group
    best: Group
    pairs: tuple[PairRow, ...]
    num_unknown: int

    @property
    def verdict(self) -> str:
        """All of it in a sentence or two."""
        number = len(self.table)
        if self.num_unknown == number:
            return "Without gold this method says nothing of labelers."
        if not (self.uninformed.number or self.opposite.number):
            return (
                f"Of {counted(number, 'labeler')} none is caught telling next to nothing, or the "
                "opposite of the truth."
            )
        parts = []
        if self.uninformed.number:
            parts.append(
                f"{counted(self.uninformed.number, 'tells', 'tell')} next to nothing, with "
                f"{percent(self.uninformed.share_of_answers)} of the answers"
            )
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
) -> Labelers:
    """Sort the labelers into groups.

    Args:
        key: random key of the draws behind the intervals of informedness.
        result: any method's.
        table: its table of labelers.
        checks: its predictive checks, which name the pairs; None if there are none.
    """
    num_classes = result.crowd.labels.num_classes
    low, high = _informed(key, result, table)
    known = table["accuracy"].notna() & table["ci_low"].notna()
    uninformed = known & (high < USELESS)
    worse = table["prob_worse_than_chance"].to_numpy()
    surely = np.where(np.isnan(worse), table["ci_high"] < 1.0 / num_classes, worse > SURE)
    opposite = known & surely & ~uninformed
    best = known & ~uninformed & ~opposite
    rows = table.assign(informed_low=low, informed_high=high)
    return Labelers(
        table=table,
        interval=result.fit.labeler_accuracy.interval,
        chance=1.0 / num_classes,
        uninformed=_group(rows[uninformed].sort_values("num_labels", ascending=False), table),
        opposite=_group(rows[opposite].sort_values("accuracy"), table),
        best=_group(rows[best].sort_values("ci_low", ascending=False), table, MOST_BEST),
        pairs=() if checks is None else _pairs(checks),
        num_unknown=int((~known).sum()),
    )


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
) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]:
    """Limits of every labeler's informedness; from the accuracy's where nothing can be drawn."""
    joint = result.fit.joint
    if joint is not None:
        num_labelers = joint.counts.shape[0]
        counts = with_room(joint.counts, standard_size(num_labelers, LEAST_LABELERS))
        drawn = np.asarray(_informedness_drawn(key, joint.prior, counts))[:, :num_labelers]
        low, high = np.quantile(drawn, _TAILS, axis=0)
        return low, high
    num_classes = result.crowd.labels.num_classes
    ends = (table[["ci_low", "ci_high"]].to_numpy() * num_classes - 1.0) / (num_classes - 1.0)
    spans_chance = (ends[:, 0] <= 0.0) & (ends[:, 1] >= 0.0)
    return np.where(spans_chance, 0.0, np.abs(ends).min(axis=1)), np.abs(ends).max(axis=1)


@program
def _informedness_drawn(
    key: Key[Array, ""], prior: AbstractCohortPrior, counts: Float[Array, "num_labelers ..."]
) -> Float[Array, "num_draws num_labelers"]:
    def once(key: Key[Array, ""]) -> Float[Array, " num_labelers"]:
        model = prior.sample(key, counts)
        if isinstance(model, OneCoin | HardExamples):  # without tables of K x K
            num_classes = model.num_classes
            return jnp.abs(num_classes * prob_right(model) - 1.0) / (num_classes - 1)
        return informedness(confusion_of(model))

    return jax.lax.map(once, jax.random.split(key, _NUM_DRAWS))


def confusion_of(model: AnyModel) -> Float[Array, "num_labelers num_classes num_classes"]:
    """The labelers' confusion matrices, easy and hard examples together."""
    if isinstance(model, HardExamples):
        return wrong_alike(prob_right(model)[:, None], model.num_classes)
    assert isinstance(model, OneCoin | ClassConditional | ConfusionMatrix)
    return model.confusion


def prob_right(model: OneCoin | HardExamples) -> Float[Array, " num_labelers"]:
    """Probability of a right answer, easy and hard examples together."""
    if isinstance(model, OneCoin):
        return model.accuracy
    return (1.0 - model.hard_share) * model.accuracy + model.hard_share * model.hard_accuracy


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
            )
            for row in rows.head(most).to_dict("records")
        ),
        len(rows),
        int(rows["num_labels"].sum()) / max(total, 1),
    )


def _pairs(checks: PredictiveChecks) -> tuple[PairRow, ...]:
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
    )
