r"""Do labels follow two verdicts? Panels whose members copy one judge, seen without gold.

Where some of a panel's labelers copy one judge and the others look for themselves, what is common
to the copies and what is common to the others are two verdicts, and the labels of each side are
independent given its own. The same labels come from either side being the copies: only gold, or
somebody who knows, can tell which verdict is the class.

Three models are fitted by maximum likelihood to at most `MOST_EXAMPLES` examples: one verdict with
a confusion matrix for every labeler (Dawid and Skene, 1979), the same with two subclasses,
hard and easy for everybody alike or not, and two verdicts with a joint distribution of their own,

.. math::
    P(\mathcal{L}(i)) = \sum_{y, v} \pi_{yv} \prod_{j \in A} \theta_{j y l_{ij}}
        \prod_{j \in B} \theta_{j v l_{ij}}.

Sides are first clusters of what pairs agree beyond the first model, and labelers then move to the
side that makes their labels more probable. Two verdicts are evident where their Bayesian
information criterion (Schwarz, 1978), with a factor of two a labeler for the choice of the sides,
is ahead of both other models by `LEAST_EVIDENCE` nats.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from gtx_bayes.labels import MISSING, Labels

LEAST_EVIDENCE = 10.0
"""Nats: one in twenty thousand of chances that were even."""

MOST_EXAMPLES, MOST_LABELERS, MOST_CLASSES = 2000, 100, 20
FEWEST_LABELERS, FEWEST_LABELS = 5, 50
"""Labelers that a panel has, and labels of each."""

LEAST_COVERAGE = 0.5
"""Share of all cells that labels of a panel fill: most labelers label most examples."""

_MOST_STEPS, _TOLERANCE = 100, 1e-6
_MOST_CLUSTERS, _MOST_MOVES = 5, 4
_PSEUDO_COUNT = 0.5
_LEAST_Z = 4.0  # a pair that agrees so much beyond the first model; else there is nothing to ask

_Probs = npt.NDArray[np.float64]


class _Panel(NamedTuple):
    """Labels of some labelers to some examples.

    Attributes:
        is_given: whether a labeler gave a class to an example, by labeler, example and class.
        labeler: index of each labeler.
    """

    is_given: npt.NDArray[np.float64]
    labeler: npt.NDArray[np.int64]

    def of(self, kept: npt.NDArray[np.bool_]) -> "_Panel":
        return _Panel(self.is_given[kept], self.labeler[kept])

    def shares(self) -> _Probs:
        """Shares of the labels to each example, by class, with one vote spread over all."""
        votes = self.is_given.sum(axis=0) + 1.0 / self.is_given.shape[2]
        return np.asarray(votes / votes.sum(axis=1, keepdims=True))

    def rows(self, class_probs: _Probs) -> _Probs:
        """Probability of every label given each state, by labeler, state and label."""
        flat = self.is_given.transpose(1, 0, 2).reshape(class_probs.shape[0], -1)
        counts = (class_probs.T @ flat).reshape(class_probs.shape[1], len(self.labeler), -1)
        counts = counts.transpose(1, 0, 2) + _PSEUDO_COUNT
        return np.asarray(counts / counts.sum(axis=2, keepdims=True))

    def log_probs(self, rows: _Probs) -> _Probs:
        """Log-probability of all labels to each example given each state."""
        return np.asarray(np.einsum("jnl,jsl->ns", self.is_given, np.log(rows), optimize=True))


class _Fit(NamedTuple):
    criterion: float  # log-likelihood less half the parameters times log N
    probs: _Probs  # of each state of each example, a column a state


def two_verdicts(labels: Labels) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """The labelers of either side, the larger first; None where labels do not show two verdicts.

    Labelers of few labels belong to no side.

    Args:
        labels: the answers; what is no class says nothing.
    """
    panel = _panel(labels)
    if panel is None:
        return None
    num_classes = panel.is_given.shape[2]
    one = _one_side(panel, panel.shares())
    correlation, largest = _residuals(panel, one.probs)
    if largest < _LEAST_Z:
        return None
    found = [_two_sides(panel, side) for side in _clusters(correlation)]
    if not found:
        return None
    both, side = max(found, key=lambda each: each[0].criterion)
    of_choice = len(side) * np.log(2.0)
    hard = _one_side(panel, _hard_and_easy(panel.shares()))
    if both.criterion - of_choice - max(one.criterion, hard.criterion) < LEAST_EVIDENCE:
        return None
    assert both.probs.shape[1] == num_classes**2
    sides = [tuple(int(j) for j in panel.labeler[side == at]) for at in (False, True)]
    return (sides[0], sides[1]) if len(sides[0]) >= len(sides[1]) else (sides[1], sides[0])


def _panel(labels: Labels) -> _Panel | None:
    """The labels as a table, if they are those of a panel."""
    label = np.asarray(labels.label).astype(np.int64)
    kept = (label != MISSING) & (label < labels.num_classes)
    example, labeler = (np.asarray(of)[kept] for of in (labels.example, labels.labeler))
    many = np.flatnonzero(np.bincount(labeler, minlength=labels.num_labelers) >= FEWEST_LABELS)
    is_small = FEWEST_LABELERS <= many.size <= MOST_LABELERS
    if not is_small or not 2 <= labels.num_classes <= MOST_CLASSES:
        return None
    place = np.full(labels.num_labelers, -1)
    place[many] = np.arange(many.size)
    answered = np.unique(example)
    if np.count_nonzero(place[labeler] >= 0) < LEAST_COVERAGE * many.size * answered.size:
        return None
    answered = answered[:: -(-answered.size // MOST_EXAMPLES)]
    row = np.full(labels.num_examples, -1)
    row[answered] = np.arange(answered.size)
    is_in = (place[labeler] >= 0) & (row[example] >= 0)
    is_given = np.zeros((many.size, answered.size, labels.num_classes))
    is_given[place[labeler[is_in]], row[example[is_in]], label[kept][is_in]] = 1.0
    return _Panel(is_given, many)


def _one_side(panel: _Panel, probs: _Probs) -> _Fit:
    """Expectation maximisation from class probabilities on, one verdict or kind a column."""
    return _maximise([panel], [np.arange(probs.shape[1])], probs)


def _two_sides(panel: _Panel, side: npt.NDArray[np.bool_]) -> tuple[_Fit, npt.NDArray[np.bool_]]:
    """The same with a verdict for each of two sides; and the sides once nobody moves."""
    num_classes = panel.is_given.shape[2]
    of_state = [np.repeat(np.arange(num_classes), num_classes)]
    of_state.append(np.tile(np.arange(num_classes), num_classes))
    for move in range(_MOST_MOVES):
        parts = [panel.of(~side), panel.of(side)]
        of_first, of_second = (part.shares() for part in parts)
        start = (of_first[:, :, None] * of_second[:, None, :]).reshape(len(of_first), -1)
        fit = _maximise(parts, of_state, start)
        likely = []
        for column in of_state:
            probs = _marginal(fit.probs, column)
            rows = panel.rows(probs)
            counts = np.einsum("jnl,ns->jsl", panel.is_given, probs, optimize=True)
            likely.append((counts * np.log(rows)).sum(axis=(1, 2)))
        moved = likely[1] > likely[0]
        if move == _MOST_MOVES - 1 or (moved == side).all() or not _is_split(moved):
            break
        side = moved
    return fit, side


def _maximise(parts: list[_Panel], of_state: list[npt.NDArray[np.int64]], probs: _Probs) -> _Fit:
    """Labelers of each part know a state by a row of their own, `of_state`."""
    size, last = len(probs), -np.inf
    for _ in range(_MOST_STEPS):
        weights = probs.sum(axis=0) + _PSEUDO_COUNT
        log_probs = np.log(weights / weights.sum()) + np.zeros((size, 1))
        for part, column in zip(parts, of_state, strict=True):
            log_probs += part.log_probs(part.rows(_marginal(probs, column)))[:, column]
        of_example = logsumexp(log_probs, axis=1)
        probs = np.exp(log_probs - of_example[:, None])
        total = float(of_example.sum())
        if total - last < _TOLERANCE * abs(total):
            break
        last = total
    num_free = probs.shape[1] - 1
    for part, column in zip(parts, of_state, strict=True):
        num_labelers, _, num_labels = part.is_given.shape
        num_free += num_labelers * (int(column.max()) + 1) * (num_labels - 1)
    return _Fit(total - num_free * np.log(size) / 2.0, probs)


def _marginal(probs: _Probs, column: npt.NDArray[np.int64]) -> _Probs:
    """Probabilities of the rows that states belong to."""
    found = np.zeros((len(probs), int(column.max()) + 1))
    np.add.at(found.T, column, probs.T)
    return found


def _residuals(panel: _Panel, class_probs: _Probs) -> tuple[_Probs, float]:
    """What pairs agree beyond one verdict, as a correlation; and the largest in standard errors."""
    proportions = class_probs.mean(axis=0)
    rows = panel.rows(class_probs)
    num_labelers = len(panel.labeler)
    flat = panel.is_given.reshape(num_labelers, -1)
    is_there = panel.is_given.sum(axis=2)
    common = np.maximum(is_there @ is_there.T, 1.0)
    weighted = (rows * proportions[:, None]).reshape(num_labelers, -1)
    expected = np.clip(weighted @ rows.reshape(num_labelers, -1).T, 1e-9, 1.0 - 1e-9)
    excess = flat @ flat.T / common - expected
    z = excess / np.sqrt(expected * (1.0 - expected) / common)
    np.fill_diagonal(z, 0.0)
    correlation = excess / (1.0 - expected)
    np.fill_diagonal(correlation, 0.0)
    return correlation, float(z.max(initial=0.0))


def _clusters(correlation: _Probs) -> list[npt.NDArray[np.bool_]]:
    """Sides to begin with: clusters by average linkage, few large ones to more small ones."""
    from scipy.cluster.hierarchy import fcluster, linkage  # which few crowds need
    from scipy.spatial.distance import squareform

    distance = np.clip(1.0 - correlation, 0.0, 2.0)
    np.fill_diagonal(distance, 0.0)
    tree = linkage(squareform(distance, checks=False), "average")
    found: dict[bytes, npt.NDArray[np.bool_]] = {}
    for number in range(2, _MOST_CLUSTERS + 1):
        at = fcluster(tree, number, "maxclust")
        for cluster in np.unique(at):
            side = at == cluster
            if _is_split(side):
                found[side.tobytes()] = side
    return list(found.values())


def _is_split(side: npt.NDArray[np.bool_]) -> bool:
    """Whether there are two labelers or more on either side."""
    return bool(2 <= side.sum() <= side.size - 2)


def _hard_and_easy(shares: _Probs) -> _Probs:
    """Two subclasses of every class to begin with: examples of little and of much agreement."""
    certainty = shares.max(axis=1)
    is_easy = np.where(certainty > np.median(certainty), 0.8, 0.2)[:, None]
    return np.concatenate([shares * is_easy, shares * (1.0 - is_easy)], axis=1)
