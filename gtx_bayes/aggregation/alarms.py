"""What a user has to hear of before believing a result, whatever the method and the fit say."""

import numpy as np
import numpy.typing as npt

from gtx_bayes.columns import Names
from gtx_bayes.errors import WarningNote
from gtx_bayes.inference.gold_counts import GoldCounts
from gtx_bayes.inference.one_sided import one_sided
from gtx_bayes.labels import MISSING, Labels

_TIMES_AS_OFTEN = 3
_FEWEST_GIVEN = 5  # examples of a class, below which its share says little
_MOST_NAMED = 5


def alarms(
    labels: Labels,
    counts: GoldCounts,
    class_probs: npt.NDArray[np.floating] | None,
    is_open: npt.NDArray[np.bool_],
    *,
    labeler_names: Names,
    class_names: Names,
) -> tuple[str, ...]:
    """All that there is to say.

    Args:
        labels: the answers.
        counts: how the labelers fared on gold.
        class_probs: probability of each class of each example; None where it is not at hand.
        is_open: which examples are not gold.
        labeler_names: name of every labeler.
        class_names: name of every class.
    """
    found = [
        _below_chance(counts, len(class_names)),
        _one_class_alone(labels, labeler_names, class_names),
    ]
    if class_probs is not None:
        found += _given_too_often(labels, class_probs, is_open, class_names)
    return tuple(WarningNote(note) for note in found if note)


def _below_chance(counts: GoldCounts, num_classes: int) -> str:
    """Whether fewer answers to gold are right than guesses would be."""
    right, total = (int(np.sum(np.asarray(part))) for part in (counts.num_correct, counts.num_gold))
    if right * num_classes >= total:
        return ""
    return (
        f"Only {right} of {total} answers to gold are right, fewer than guesses among "
        f"{num_classes} classes would be: check that gold and answers name the classes alike."
    )


def _one_class_alone(labels: Labels, labeler_names: Names, class_names: Names) -> str:
    """Labelers who only ever give one class."""
    which = np.flatnonzero(one_sided(labels))
    if not which.size:
        return ""
    is_answer = np.asarray(labels.label) != MISSING
    given = np.full(labels.num_labelers, MISSING)
    given[np.asarray(labels.labeler)[is_answer]] = np.asarray(labels.label)[is_answer]
    named = [f"{labeler_names[j]} ({class_names[given[j]]})" for j in which[:_MOST_NAMED]]
    more = f" and {which.size - _MOST_NAMED} more" if which.size > _MOST_NAMED else ""
    return (
        f"{which.size} of {labels.num_labelers} labelers only ever give one class: "
        f"{', '.join(named)}{more}. What they are silent on is not used, and whether they are "
        "right, gold must tell."
    )


def _given_too_often(
    labels: Labels,
    class_probs: npt.NDArray[np.floating],
    is_open: npt.NDArray[np.bool_],
    class_names: Names,
) -> list[str]:
    """Classes that many more examples are given than the answers name."""
    is_labeled = is_open & (labels.count_by_example() > 0)
    label = np.asarray(labels.label)
    label = label[(label != MISSING) & is_open[np.asarray(labels.example)]]
    num_classes = len(class_names)
    given = np.bincount(class_probs[is_labeled].argmax(axis=1), minlength=num_classes)
    named = np.bincount(label, minlength=num_classes) / max(1, label.size)
    return [
        f"Class '{class_names[k]}' is given to {given[k]:,} of {given.sum():,} examples, though "
        f"{named[k]:.1%} of the answers name it: look at some of them."
        for k in np.flatnonzero(
            given >= np.maximum(_FEWEST_GIVEN, _TIMES_AS_OFTEN * named * given.sum())
        )
    ]
