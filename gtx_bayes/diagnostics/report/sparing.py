r"""Whom a panel can spare, and whether it is better than its best labeler alone.

**Sparing.** Every example is judged anew without a labeler, at the posterior means of the fit.
First all but one of every bloc, then those who are missed least one by one are left out, as long as
the labels are right as often, by the posterior of the whole panel, to within
`MOST_LOST_BY_COPIES` and `MOST_LOST`:

.. math:: \frac{1}{N} \sum_i p_{i \hat y_i} - p_{i \hat y_i^{S}}

with the labels :math:`\hat y` of all and :math:`\hat y^S` of those who are left, which a fit of
those alone has to bear out. Where labels have prices, what is missed is divided by them.

**Alone or together.** On every part of the gold the labels of a fit without it are compared with
those of the labeler who is best on the other parts, so that neither has seen it. The interval of
the difference is that of Agresti and Min.

References:
    Agresti and Min (2005), Simple improved confidence intervals for comparing matched proportions.
        Statistics in Medicine 24: half a pair is added to each of the four kinds.
"""

import dataclasses
import itertools
from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np
import numpy.typing as npt
import pandas as pd
from jaxtyping import Array, Float
from scipy.stats import norm

from gtx_bayes.aggregation.aggregate import aggregate
from gtx_bayes.aggregation.base import AbstractAggregator
from gtx_bayes.aggregation.result import Aggregation
from gtx_bayes.blocs import Blocs, join
from gtx_bayes.columns import Names
from gtx_bayes.diagnostics.calibration import HeldOut, as_fitted
from gtx_bayes.diagnostics.report.wording import counted, percent, quoted
from gtx_bayes.labels import MISSING, Labels
from gtx_bayes.padding import (
    LEAST_EXAMPLES,
    LEAST_LABELERS,
    LEAST_LABELS,
    bucket_size,
    padded,
)

MOST_LOST = 0.005
"""Accuracy that a panel may lose by labelers whom it spares one by one."""

MOST_LOST_BY_COPIES = 0.01
"""Accuracy that it may lose where of every bloc one is left: copies promise more than they add."""

FEWEST_COMPARED = 20
"""With less gold than this a panel is not compared with a labeler alone."""

_FEWEST_EXAMPLES = 50  # of fewer, half a point of accuracy says nothing
_MOST_EXAMPLES = 4000  # that labels are compared on; of more some, scattered
_MOST_NAMED = 8
_MOST_BLOCS = 4  # the largest; of each there are three ways


class Spared(NamedTuple):
    """Whom a panel can spare.

    Attributes:
        loss: what accuracy each labeler is missed by, the others being there.
        is_spared: who can go, all of them together.
        total: what accuracy is lost without all of those.
        same: the share of the labels that stay as they are.
        saved: the share of all labels, or of what they cost, that is theirs.
        has_prices: whether that is of what they cost.
        names: the labelers' names.
    """

    loss: npt.NDArray[np.float64]
    is_spared: npt.NDArray[np.bool_]
    total: float
    same: float
    saved: float
    has_prices: bool
    names: Names

    @property
    def who(self) -> Names:
        """Whom."""
        return self.names[self.is_spared]

    @property
    def words(self) -> str:
        """All of it in a sentence or two."""
        who = self.who
        if not who.size:
            return (
                "Nobody can be spared for sure: fits of fewer labelers would lose more than "
                f"{points(MOST_LOST)} of accuracy, by the posterior of all."
            )
        more = f" and {who.size - _MOST_NAMED} more" if who.size > _MOST_NAMED else ""
        listed = ", ".join(quoted(name) for name in who[:_MOST_NAMED])
        return (
            f"The panel can spare {counted(who.size, 'labeler')} of {self.names.size}: {listed}"
            f"{more}. A fit without them leaves {percent(self.same)} of the labels the same and "
            f"loses {points(self.total)} of accuracy, by the posterior of all; they take "
            f"{percent(self.saved)} of {'what is paid' if self.has_prices else 'the labels'}."
        )


def find_spared(result: Aggregation, cost: npt.NDArray[np.float64] | None = None) -> Spared | None:
    """Find whom a panel can spare.

    Args:
        result: of a method with a joint posterior.
        cost: what each labeler's labels cost; what counts is their number when absent.

    Returns:
        Who; None for other methods, fewer than three labelers, and fewer than 50 examples that are
        not gold.
    """
    crowd = result.answered
    names, is_open = crowd.labeler_names, np.flatnonzero(~crowd.assessment.which_gold())
    if result.fit.joint is None or names.size < 3 or is_open.size < _FEWEST_EXAMPLES:
        return None
    panel = _Panel.of(result, is_open[:: -(-is_open.size // _MOST_EXAMPLES)])
    number = crowd.labels.of_classes().count_by_labeler()
    worth = (number if cost is None else cost).astype(np.float64)
    everybody = np.ones(names.size, bool)
    of_all = panel.lost(everybody)  # not 0: the fit leaves out what an answer says of its labeler
    loss = np.array([panel.lost(is_left) - of_all for is_left in ~np.eye(names.size, dtype=bool)])
    is_left, compared = everybody, panel.compared(panel.whole)
    for fewer in panel.without_copies(worth):
        if panel.lost(fewer) - of_all <= MOST_LOST_BY_COPIES:
            anew = panel.compared(panel.fitted_label(fewer))
            if anew.lost <= MOST_LOST_BY_COPIES:
                is_left, compared = fewer, anew
                break
    fewer = is_left.copy()
    least = worth[worth > 0.0].min(initial=np.inf)
    for at in np.lexsort((-worth, loss / np.maximum(worth, least))):
        if is_left[at] and not panel.is_copy(is_left)[at]:
            fewer[at] = False
            fewer[at] = not fewer.any() or panel.lost(fewer) - of_all > MOST_LOST
    if (fewer != is_left).any():
        anew = panel.compared(panel.fitted_label(fewer))
        if anew.lost <= MOST_LOST_BY_COPIES:
            is_left, compared = fewer, anew
    saved = float(worth[~is_left].sum() / max(worth.sum(), 1e-12))
    return Spared(loss, ~is_left, *compared, saved, cost is not None, names)


class _Compared(NamedTuple):
    """Labels against those of the whole panel: accuracy lost, and the share that stay."""

    lost: float
    same: float


class _Panel(NamedTuple):
    """A fit whose examples are judged by some of the labelers.

    Attributes:
        result: the fit.
        judged: which examples.
        probs: their class posterior by everybody.
        labels: the labels to them.
        blocs: the blocs of the fit.
    """

    result: Aggregation
    judged: npt.NDArray[np.intp]
    probs: npt.NDArray[np.float64]
    labels: Labels
    blocs: Blocs

    @classmethod
    def of(cls, result: Aggregation, judged: npt.NDArray[np.intp]) -> "_Panel":
        """Everybody, for some of the examples."""
        crowd, names = result.answered, result.crowd.labeler_names
        labels = crowd.labels
        if judged.size < labels.num_examples:
            labels = labels.entries(np.flatnonzero(np.isin(np.asarray(labels.example), judged)))
        of_labeler = np.arange(names.size)
        if result.blocs is not None:
            at = {str(name): place for place, name in enumerate(names)}
            of_bloc = dict(zip(result.blocs["worker"], result.blocs["bloc"], strict=True))
            places = [at[str(of_bloc.get(name, name))] for name in crowd.labeler_names]
            of_labeler = np.array(places)
        probs = np.asarray(result.class_probs, np.float64)[judged]
        return cls(result, judged, probs, labels, Blocs(of_labeler, names, ""))

    @property
    def whole(self) -> npt.NDArray[np.intp]:
        """The labels of the whole panel."""
        return self.probs.argmax(axis=1)

    def compared(self, label: npt.NDArray[np.intp]) -> _Compared:
        """Other labels, by the posterior of the whole panel."""
        rows, whole = np.arange(label.size), self.whole
        lost = self.probs[rows, whole] - self.probs[rows, label]
        return _Compared(float(lost.mean()), float(np.mean(label == whole)))

    def lost(self, is_left: npt.NDArray[np.bool_]) -> float:
        """The accuracy lost where some are left, labelers as the fit has them."""
        labels = _of_some(self.labels, is_left)
        if self.result.blocs is not None:
            crowd = dataclasses.replace(self.result.answered, labels=labels)
            labels = join(crowd, self.blocs).crowd.labels
        rule, prior = self.result.fit.aggregator, self.result.class_prior
        rule = rule.padded(bucket_size(labels.num_labelers, LEAST_LABELERS))
        num_labelers, num_examples = labels.num_labelers, labels.num_examples
        if rule.labelers is not None:
            num_labelers = rule.labelers.num_labelers
        if prior is None or prior.ndim == 1:
            num_examples = bucket_size(num_examples, LEAST_EXAMPLES)
        labels, _, _ = padded(
            labels,
            self.result.crowd.assessment,
            None,
            num_labels=bucket_size(self.labels.num_labels, LEAST_LABELS),
            num_examples=num_examples,
            num_labelers=num_labelers,
        )
        # Part by part: pools differ in their models, which are of few kinds.
        probs = np.zeros((num_examples, labels.num_classes))
        for part, weight in rule.weighted_parts():
            probs += np.asarray(weight) * np.asarray(_class_probs(part, labels))
        return self.compared(probs[self.judged].argmax(axis=1)).lost

    def fitted_label(self, is_left: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
        """The labels by a fit of those who are left."""
        crowd = self.result.answered
        prior, options = as_fitted(self.result)
        crowd = dataclasses.replace(crowd, labels=_of_some(crowd.labels, is_left))
        fitted = aggregate(crowd, self.result.method, class_prior=prior, **options)
        return np.asarray(fitted.class_probs)[self.judged].argmax(axis=1)

    def is_copy(self, is_left: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Who is left beside others of the bloc."""
        of = self.blocs.of_labeler
        return is_left & (np.bincount(of, is_left)[of] > 1)

    def without_copies(self, worth: npt.NDArray[np.float64]) -> Iterator[npt.NDArray[np.bool_]]:
        """Who is left where blocs are whole, or one of them is left, or none: most saved first.

        Never some of a bloc, who might no longer be known for copies.
        """
        everybody = np.ones(worth.size, bool)
        blocs = [
            np.flatnonzero(self.blocs.of_labeler == bloc)
            for bloc in np.unique(self.blocs.of_labeler[self.is_copy(everybody)])
        ]
        blocs.sort(key=lambda members: -worth[members].sum())
        ways = []
        for members in blocs[:_MOST_BLOCS]:
            alone = [everybody & ~np.isin(np.arange(worth.size), members) for _ in members]
            for at, is_left in zip(members, alone, strict=True):
                is_left[at] = True
            best = alone[int(np.argmin([self.lost(is_left) for is_left in alone]))]
            none = everybody & ~np.isin(np.arange(worth.size), members)
            ways.append((everybody, best, none))
        found = [np.logical_and.reduce(each) for each in itertools.product(*ways)] if ways else []
        yield from sorted((each for each in found if each.any()), key=lambda each: worth @ each)


def _of_some(labels: Labels, is_left: npt.NDArray[np.bool_]) -> Labels:
    """The labels of those who are left; others are there and say nothing."""
    label = np.asarray(labels.label)
    kept = is_left[np.asarray(labels.labeler)]
    label = np.where(kept, label, np.asarray(MISSING, label.dtype))
    return dataclasses.replace(labels, label=jax.device_put(label))


@jax.jit
def _class_probs(
    rule: AbstractAggregator, labels: Labels
) -> Float[Array, "num_examples num_classes"]:
    return rule.class_probs(labels)


class AgainstBest(NamedTuple):
    """A panel against its best labeler, on gold that neither has seen.

    Attributes:
        worker: who is best on most parts of the gold.
        number: how many gold examples both labelled.
        panel_right: how many of them the panel has right.
        best_right: how many the labeler who is best on the rest of the gold has right.
        difference: the panel's accuracy less the labeler's.
        low: lower limit of its 95 % confidence interval.
        high: upper limit.
    """

    worker: object
    number: int
    panel_right: int
    best_right: int
    difference: float
    low: float
    high: float

    @property
    def words(self) -> str:
        """All of it in a sentence or two."""
        found = (
            f"On {counted(self.number, 'hidden gold label')} the panel is right "
            f"{self.panel_right:,} times, and whoever is best on the rest of the gold, mostly "
            f"{quoted(self.worker)}, {self.best_right:,} times: {100 * self.difference:+.0f} "
            f"points (95 %: {100 * self.low:+.0f} to {100 * self.high:+.0f})"
        )
        if self.low > 0.0:
            return f"{found}. The panel is better than any one of its labelers."
        if self.high < 0.0:
            return f"{found}. One labeler alone is better than the panel."
        return f"{found}: so little gold does not say which is better."


def compare_with_best(result: Aggregation, held_out: HeldOut | None) -> AgainstBest | None:
    """Compare a panel with its best labeler; None with fewer than `FEWEST_COMPARED` to compare on.

    Args:
        result: any method's.
        held_out: its gold, hidden from the fit.
    """
    if held_out is None:
        return None
    crowd = result.answered
    truth = np.asarray(held_out.true_label).astype(np.int64)
    place = np.full(crowd.labels.num_examples, -1)
    place[held_out.example] = np.arange(truth.size)
    labels = crowd.labels.of_classes()
    example, labeler, label = (
        np.asarray(x) for x in (labels.example, labels.labeler, labels.label)
    )
    rows = np.flatnonzero((place[example] >= 0) & (label != MISSING))
    given = np.full((labels.num_labelers, truth.size), MISSING)
    given[labeler[rows], place[example[rows]]] = label[rows]
    is_there, is_right = given != MISSING, given == truth
    panel = np.asarray(held_out.class_probs).argmax(axis=1) == truth
    best = np.zeros(truth.size, np.int64)
    for part in np.unique(held_out.part):
        rest = held_out.part != part
        right, number = (of[:, rest].sum(axis=1) for of in (is_right, is_there))
        share = right.sum() / max(number.sum(), 1)  # of all, worth one label of each
        best[~rest] = np.argmax((right + share) / (number + 1.0))
    each = np.arange(truth.size)
    both = is_there[best, each]
    if both.sum() < FEWEST_COMPARED:
        return None
    panel, alone = panel[both], is_right[best, each][both]
    gained, given_up = int(np.sum(panel & ~alone)), int(np.sum(alone & ~panel))
    size = both.sum() + 2.0
    middle = (gained - given_up) / size
    variance = (gained + given_up + 1.0) / size - middle**2
    reach = float(norm.ppf(0.975)) * float(np.sqrt(variance / size))
    who = pd.Series(best).mode()[0]
    return AgainstBest(
        crowd.labeler_names[who],
        int(both.sum()),
        int(panel.sum()),
        int(alone.sum()),
        float(panel.mean() - alone.mean()),
        max(middle - reach, -1.0),
        min(middle + reach, 1.0),
    )


def points(share: float) -> str:
    """A share of accuracy in points of a hundred."""
    return f"{100.0 * share:.1f} points" if share >= 5e-4 else "under 0.1 points"
