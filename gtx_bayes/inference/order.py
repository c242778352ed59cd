"""Whether answers keep to the order of the classes."""

import itertools

import numpy as np
import numpy.typing as npt

from gtx_bayes.labels import MISSING, Labels

_LEAST_PAIRS = 30  # answers that differ, in pairs of one example
_MOST_DISTANCE = 0.9  # of that expected: disagreements of classes without an order have 1
_MOST_ORDERS = 1000


def keeps_order(labels: Labels) -> bool:
    r"""Whether labelers who disagree choose classes that stand near each other.

    Of the pairs of answers to an example that differ, :math:`o_{ab}` of classes a and b (as
    Krippendorff's coincidences count them), the mean distance :math:`|a - b|` is at most 0.9 of
    what it would be if only their margins mattered (quasi-independence), and no other order of
    the classes has a smaller one. Numbers that stand for names do not pass.

    Args:
        labels: the answers, of three classes or more.

    References:
        Krippendorff (2004), Content Analysis, ch. 11, for coincidences; Goodman (1968), JASA 63,
        for quasi-independence.
    """
    observed = _coincidences(labels)
    num_classes, total = len(observed), observed.sum()
    if num_classes < 3 or total < _LEAST_PAIRS:
        return False
    place = np.arange(num_classes)
    distance = np.abs(place[:, None] - place)
    mean = (observed * distance).sum() / total
    expected = _off_diagonal(observed.sum(axis=1))
    if mean > _MOST_DISTANCE * (expected * distance).sum() / expected.sum():
        return False
    rng = np.random.default_rng(0)  # the same each time: part of the method
    orders = [rng.permutation(num_classes) for _ in range(_MOST_ORDERS)]
    if num_classes <= 6:
        orders = [np.array(order) for order in itertools.permutations(place)]
    others = [(observed[np.ix_(order, order)] * distance).sum() / total for order in orders]
    return bool(mean <= min(others) + 1e-9)


def _coincidences(labels: Labels) -> npt.NDArray[np.float64]:
    """Pairs of answers that differ, by class; an example counts for one less than its answers."""
    label = np.asarray(labels.label)
    is_class = (label != MISSING) & (label < labels.num_classes)
    votes = np.zeros((labels.num_examples, labels.num_classes))
    np.add.at(votes, (np.asarray(labels.example)[is_class], label[is_class]), 1.0)
    votes = votes[votes.sum(axis=1) > 1.0]
    found = (votes / (votes.sum(axis=1, keepdims=True) - 1.0)).T @ votes
    np.fill_diagonal(found, 0.0)
    return found


def _off_diagonal(margin: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """A table with an empty diagonal, else independent, with these margins, by proportions."""
    found = np.outer(margin, margin)
    np.fill_diagonal(found, 0.0)
    for _ in range(100):
        for axis in (0, 1):
            total = np.maximum(found.sum(axis=axis, keepdims=True), np.finfo(float).tiny)
            found *= (margin if axis == 0 else margin[:, None]) / total
    return found
