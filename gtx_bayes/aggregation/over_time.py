r"""Who changes over time: an alarm with a stated rate of false alarms, and accuracies by period.

An answer is held against what all others and gold say of its example, q. How much better than
constant the labeler was there is the score of its accuracy,

.. math:: s = \frac{\sum_y q_y D_{yl}}{\sum_y q_y \theta_{yl}}, \qquad
    D_{yl} = I[l = y] - I[l \neq y] \frac{\theta_{yl}}{1 - \theta_{yy}},

which has mean zero as long as nothing changes. Examples that get harder lower the scores of all:
each is taken less the mean score of the other labelers on the same example and its neighbours in
the order of time. For a labeler's n differences d in the order of time, with standard deviation
:math:`\sigma`, the largest excess

.. math:: T = \max_k \frac{1}{\sigma \sqrt n} \sum_{i \le k} (d_i - \bar d)

of earlier over later ones is that of a Brownian bridge, :math:`P(T > x) \approx e^{-2 x^2}`
(Page, 1954, and Kolmogorov, for cumulative sums); k is where the time changes. The score counts a
change in log odds, the score times :math:`\theta (1 - \theta)` one of the probability of being
right; since harder examples may cost all labelers as much on either scale, the smaller of both
excesses is taken. Over all J labelers of a crowd falls are named at a level of .05 by Holm's rule:
the rarest change is one if :math:`J e^{-2 T^2}` is at most .05; the labeler then counts as two,
before and after, so that what it says late no longer speaks against others, and the rest are looked
at again. Likewise those who get better, beside whom others would seem to fall; they are not named.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.special

from gtx_bayes.aggregation.joint_method import DRIFT_COVARIATE
from gtx_bayes.columns import Table
from gtx_bayes.errors import WarningNote
from gtx_bayes.labels import MISSING, Assessment, Labels

LEVEL = 0.05
"""Probability of any false alarm in a crowd in which nobody changes against others."""

FEWEST = 40
"""Answers below which nobody is looked at."""

_MOST_CHANGES = 20
_NUM_NEAR = 60  # answers by others, about, that a score is held against
_PRIOR_ANSWERS = 6.0  # that the accuracy of a part starts with, at that of the whole
_STEPS = 3  # of that accuracy and of the classes
_NUM_PERIODS = 6
_GRID = np.linspace(0.005, 0.995, 199)


class Known(NamedTuple):
    """A fit as it is needed here.

    Attributes:
        confusion: of every labeler, classes by row.
        class_prior: of each class, or of each class of each example.
        rho: how far labelers err together.
    """

    confusion: npt.NDArray[np.float64]
    class_prior: npt.NDArray[np.float64]
    rho: float


class Fall(NamedTuple):
    """A labeler who gets worse.

    Attributes:
        labeler: index.
        when: time of the first answer after the fall.
        before: accuracy up to there.
        after: accuracy from there on.
        p_value: of the fall, for this labeler alone.
    """

    labeler: int
    when: float
    before: float
    after: float
    p_value: float


class _Answers(NamedTuple):
    """Answers that are classes, and gold."""

    example: npt.NDArray[np.int64]
    labeler: npt.NDArray[np.int64]
    label: npt.NDArray[np.int64]
    when: npt.NDArray[np.float64]
    truth: npt.NDArray[np.int64]

    @classmethod
    def of(cls, labels: Labels, assessment: Assessment, when: npt.ArrayLike) -> "_Answers":
        label = np.asarray(labels.label).astype(np.int64)
        kept = (label != MISSING) & (label < labels.num_classes)
        return cls(
            np.asarray(labels.example)[kept].astype(np.int64),
            np.asarray(labels.labeler)[kept].astype(np.int64),
            label[kept],
            np.asarray(when, np.float64)[kept],
            np.asarray(assessment.true_label).astype(np.int64),
        )

    def leave_one_out_probs(self, known: Known) -> npt.NDArray[np.float64]:
        """Probability of each class of the example of every answer, by all but that answer."""
        num_classes = known.confusion.shape[1]
        tiny = np.finfo(np.float32).tiny
        log_prob = np.log(np.maximum(known.confusion[self.labeler, :, self.label], tiny))
        total = np.zeros((self.truth.size, num_classes))
        np.add.at(total, self.example, log_prob)
        number = np.bincount(self.example, minlength=self.truth.size)[self.example]
        share = 1.0 / (1.0 + np.maximum(number - 2, 0) * known.rho)
        log_prior = np.log(np.maximum(known.class_prior, tiny))
        log_prior = log_prior if log_prior.ndim == 1 else log_prior[self.example]
        evidence = (total[self.example] - log_prob) * share[:, None] + log_prior
        found = scipy.special.softmax(evidence, axis=1)
        truth = self.truth[self.example]
        found[truth != MISSING] = np.eye(num_classes)[truth[truth != MISSING]]
        return np.asarray(found)


def find_falls(
    labels: Labels, assessment: Assessment, when: npt.ArrayLike, known: Known
) -> list[Fall]:
    """Labelers who get worse than others; none in 19 of 20 crowds in which nobody does.

    Whoever gets worse when most do is not told from harder examples.

    Args:
        labels: the answers.
        assessment: the gold.
        when: time of each answer.
        known: the fit, for which nobody changes.
    """
    answers = _Answers.of(labels, assessment, when)
    num_labelers = labels.num_labelers
    order = np.lexsort((answers.when, answers.labeler))
    ends = np.cumsum(np.bincount(answers.labeler, minlength=num_labelers))
    of_each = np.split(order, ends[:-1])
    place = _places(answers)
    steady = np.ones(answers.label.size, bool)
    left = [j for j in range(num_labelers) if of_each[j].size >= FEWEST]
    found: list[Fall] = []
    for _ in range(_MOST_CHANGES):
        if not left:
            break
        score = _against_others(answers, known, place, steady)
        tested = [
            (*_change(score[of_each[j]], answers.when[of_each[j]], sign), j, sign)
            for j in left
            for sign in (1.0, -1.0)
        ]
        p_value, at, labeler, sign = min(tested)
        if p_value * len(left) > LEVEL:
            break
        left.remove(labeler)
        steady[of_each[labeler]] = False
        later = of_each[labeler][at:]
        answers, known, before, after = _split(answers, known, labeler, later)
        if sign > 0.0:
            found.append(Fall(labeler, float(answers.when[later[0]]), before, after, p_value))
    return found


def _places(answers: _Answers) -> npt.NDArray[np.int64]:
    """Place of the example of every answer in the order of the mean times of examples."""
    size = answers.truth.size
    number = np.bincount(answers.example, minlength=size)
    mean = np.bincount(answers.example, answers.when, size) / np.maximum(number, 1)
    place = np.empty(size, np.int64)
    place[np.argsort(np.where(number > 0, mean, np.inf), kind="stable")] = np.arange(size)
    return place[answers.example]


def _against_others(
    answers: _Answers,
    known: Known,
    place: npt.NDArray[np.int64],
    steady: npt.NDArray[np.bool_],
) -> npt.NDArray[np.float64]:
    """Scores less the mean of steady others nearby, in log odds and in probability.

    Shape (answers, 3); last is by how much neighbours in time share their reference: the variance
    of a long sum over what it were if they did not.
    """
    score = _scores(answers, known)
    accuracy = np.diagonal(known.confusion, axis1=1, axis2=2).mean(axis=1)
    scale = (accuracy * (1.0 - accuracy))[answers.labeler]
    both = np.stack([score, score * scale, np.ones_like(score)], axis=1)
    reach = int(_NUM_NEAR * np.unique(place).size / max(2 * score.size, 1))
    size = answers.truth.size + 2 * reach + 1

    def near(group: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        key = group * size + place  # so far apart that no window has two groups
        used = np.flatnonzero(steady)
        used = used[np.argsort(key[used], kind="stable")]
        total = np.concatenate([np.zeros((1, 3)), np.cumsum(both[used], axis=0)])
        first = np.searchsorted(key[used], key - reach, side="left")
        last = np.searchsorted(key[used], key + reach, side="right")
        return np.asarray(total[last] - total[first])

    of_labeler = near(answers.labeler)
    others = near(np.zeros_like(place)) - of_labeler
    number = np.maximum(others[:, 2:], 1.0)
    shared = (number + of_labeler[:, 2:]) / (number + 1.0)
    has_others = others[:, 2:] > 0.5
    mean = np.where(has_others, others[:, :2] / number, 0.0)
    return np.concatenate([both[:, :2] - mean, np.where(has_others, shared, 1.0)], axis=1)


def _scores(answers: _Answers, known: Known) -> npt.NDArray[np.float64]:
    """How much better than its accuracy the labeler of every answer was."""
    others = answers.leave_one_out_probs(known)
    column = known.confusion[answers.labeler, :, answers.label]
    right = np.diagonal(known.confusion, axis1=1, axis2=2)[answers.labeler]
    is_label = np.arange(others.shape[1]) == answers.label[:, None]
    tiny = np.finfo(np.float32).tiny
    change = np.where(is_label, 1.0, -column / np.maximum(1.0 - right, 1e-6))
    return np.asarray((others * change).sum(axis=1) / np.maximum((others * column).sum(1), tiny))


def _change(
    score: npt.NDArray[np.float64], when: npt.NDArray[np.float64], sign: float
) -> tuple[float, int]:
    """How rare the largest excess of earlier scores over later ones is, and where it ends.

    With sign -1 of later ones over earlier ones.
    """
    score, shared = sign * score[:, :2], score[:, 2].mean()
    scale = score.std(axis=0) * np.sqrt(shared)
    changes = np.flatnonzero(np.diff(when) > 0.0)
    if not changes.size or (scale == 0.0).any():
        return 1.0, 0
    excess = np.cumsum(score - score.mean(axis=0), axis=0)[changes] / scale
    smaller = excess.min(axis=1)
    at = int(smaller.argmax())
    largest = max(smaller[at] / np.sqrt(len(score)), 0.0)
    return float(np.exp(-2.0 * largest**2)), int(changes[at]) + 1


def _split(
    answers: _Answers, known: Known, labeler: int, later: npt.NDArray[np.int64]
) -> tuple[_Answers, Known, float, float]:
    """The later answers of a labeler as those of another, and the accuracies of both."""
    confusion = known.confusion
    new, num_classes = len(confusion), confusion.shape[1]
    who = answers.labeler.copy()
    who[later] = new
    answers = answers._replace(labeler=who)
    whole = confusion[labeler]
    mean = float(np.diagonal(whole).mean())
    confusion = np.concatenate([confusion, whole[None]])
    accuracy = [mean, mean]
    for _ in range(_STEPS):
        others = answers.leave_one_out_probs(known._replace(confusion=confusion))
        for place, part in enumerate((labeler, new)):
            of_labeler = np.flatnonzero(who == part)
            column = confusion[part][:, answers.label[of_labeler]].T
            both = others[of_labeler] * column
            right = both[np.arange(of_labeler.size), answers.label[of_labeler]] / both.sum(axis=1)
            share = (right.sum() + _PRIOR_ANSWERS * mean) / (of_labeler.size + _PRIOR_ANSWERS)
            accuracy[place] = float(share)
            # Errors go where they went; their number is that of the part.
            off = whole * (1.0 - np.eye(num_classes))
            off = off / np.maximum(off.sum(axis=1, keepdims=True), 1e-12) * (1.0 - share)
            confusion[part] = off + np.eye(num_classes) * share
    return answers, known._replace(confusion=confusion), accuracy[0], accuracy[1]


def by_period(
    labels: Labels,
    assessment: Assessment,
    when: npt.ArrayLike,
    known: Known,
    num_periods: int = _NUM_PERIODS,
) -> pd.DataFrame:
    """Accuracy of every labeler in periods with as many of its answers each.

    Columns `labeler` (index), `start` and `end` (times), `num_labels`, `accuracy`, `ci_low` and
    `ci_high`: mean and 95 % credible interval under a flat prior, given what the other labelers and
    gold say of each example. One labeler's errors are taken to fall on the other classes alike.
    """
    answers = _Answers.of(labels, assessment, when)
    others = answers.leave_one_out_probs(known)
    right = others[np.arange(answers.label.size), answers.label]
    order = np.lexsort((answers.when, answers.labeler))
    ends = np.cumsum(np.bincount(answers.labeler, minlength=labels.num_labelers))
    rows = []
    for labeler, of_labeler in enumerate(np.split(order, ends[:-1])):
        for part in np.array_split(of_labeler, min(num_periods, max(of_labeler.size, 1))):
            if not part.size:
                continue
            wrong = (1.0 - right[part]) / (labels.num_classes - 1)
            likelihood = np.log(np.outer(_GRID, right[part]) + np.outer(1.0 - _GRID, wrong))
            probs = scipy.special.softmax(likelihood.sum(axis=1))
            low, high = np.interp([0.025, 0.975], np.cumsum(probs), _GRID)
            time = answers.when[part]
            rows.append(
                (labeler, time.min(), time.max(), part.size, float(probs @ _GRID), low, high)
            )
    names = ("labeler", "start", "end", "num_labels", "accuracy", "ci_low", "ci_high")
    return pd.DataFrame(rows, columns=pd.Index(names))


@dataclasses.dataclass(frozen=True, eq=False)
class OverTime:
    """How labelers do over time.

    Attributes:
        falls: those who get worse: `worker`, `when`, `before` and `after` (accuracies), `p_value`.
        periods: see `by_period`, with `worker` in the place of the index.
        start: what times are counted from, in words; None where they are numbers.
        column: the covariate of time, as it was called.
    """

    falls: pd.DataFrame
    periods: pd.DataFrame
    start: str | None = None
    column: str = DRIFT_COVARIATE

    def renamed(self, table: Table) -> Table:
        """A table of further answers with its times called as the drift model calls them."""
        frame = table.frame
        if self.column == DRIFT_COVARIATE or self.column not in frame:
            return table
        frame = frame.drop(columns=DRIFT_COVARIATE, errors="ignore")
        renamed = frame.rename(columns={self.column: DRIFT_COVARIATE})
        return dataclasses.replace(table, frame=renamed)

    @property
    def notes(self) -> tuple[str, ...]:
        """Who gets worse."""
        days = "" if self.start is None else f" (days since {self.start})"
        falls = [
            f"{row.worker} from {row.before:.2f} to {row.after:.2f} at {row.when:g}{days}"
            for row in self.falls.itertuples()
        ]
        if not falls:
            return ()
        return (
            WarningNote(
                f"Labelers who get worse over time than others: {'; '.join(falls)}. In a crowd in "
                f"which nobody does, anybody is named with a probability of about {LEVEL:g}."
            ),
        )
