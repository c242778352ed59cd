"""Crowds whose labelers mostly give one class, whatever they see."""

import math

import numpy as np
import numpy.typing as npt

from gtx_bayes.labels import MISSING, Labels


def one_sided(labels: Labels) -> npt.NDArray[np.bool_]:
    """Which labelers only ever give one class, and hardly by chance.

    Chance is that all answer in the crowd's own proportions: a labeler alone must then be as
    uniform with a probability of a thousandth at most, over all labelers; or all the others who
    are uniform must be so many, over all sets of that size.
    """
    label = np.asarray(labels.label).astype(np.int64)
    is_answer = label != MISSING
    label, labeler = label[is_answer], np.asarray(labels.labeler)[is_answer]
    lowest = np.full(labels.num_labelers, labels.num_classes)
    highest = np.full(labels.num_labelers, -1)
    np.minimum.at(lowest, labeler, label)
    np.maximum.at(highest, labeler, label)
    number = np.bincount(labeler, minlength=labels.num_labelers)
    share = np.bincount(label, minlength=labels.num_classes) / max(1, int(label.size))
    distinct, place = np.unique(number, return_inverse=True)
    log_share = np.log(share[share > 0])
    # Of so many answers being all alike, whichever class it is.
    log_prob = np.array([np.logaddexp.reduce(n * log_share) if n else 0.0 for n in distinct])[place]
    rarely = np.log(1e-3)
    has_labels = number > 0
    is_uniform = has_labels & (lowest == highest)
    alone = is_uniform & (log_prob < rarely - np.log(max(1, int(np.count_nonzero(has_labels)))))
    others, rest = int(np.count_nonzero(has_labels & ~alone)), is_uniform & ~alone
    num_rest = int(np.count_nonzero(rest))
    num_sets = math.lgamma(others + 1) - math.lgamma(num_rest + 1)
    num_sets -= math.lgamma(others - num_rest + 1)
    return alone | rest if log_prob[rest].sum() + num_sets < rarely else alone


def mostly_one_sided(labels: Labels) -> bool:
    """Whether more than half of the answers come from such labelers."""
    is_answer = np.asarray(labels.label) != MISSING
    of_them = one_sided(labels)[np.asarray(labels.labeler)] & is_answer
    return bool(2 * np.count_nonzero(of_them) > np.count_nonzero(is_answer))
