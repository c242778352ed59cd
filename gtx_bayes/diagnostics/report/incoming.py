"""What came in: the size of a crowd, and what there is too little of."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gtx_bayes.crowd import Crowd
from gtx_bayes.diagnostics.report.wording import counted, quoted, visible
from gtx_bayes.labels import MISSING

FEW_ANSWERS = 5
"""A labeler with fewer is known from the cohort rather than from answers."""

_MOST_NAMED = 10


class Incoming(NamedTuple):
    """The tables of a crowd, counted.

    Attributes:
        num_answers: number of answers, `MISSING` ones left out.
        num_examples: number of examples.
        num_labelers: number of labelers.
        num_classes: number of classes.
        num_gold: number of gold labels.
        answers_per_example: how many answers each example has.
        answers_per_labeler: how many answers each labeler gave.
        notes: what was noticed when the tables were read.
        problems: what there is too little of, in words; empty when there is nothing.
    """

    num_answers: int
    num_examples: int
    num_labelers: int
    num_classes: int
    num_gold: int
    answers_per_example: npt.NDArray[np.integer]
    answers_per_labeler: npt.NDArray[np.integer]
    notes: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def spread(self) -> str:
        """How the answers are spread over examples and labelers, in a sentence."""
        return (
            f"An example has {_range(self.answers_per_example)} answers, a labeler gave "
            f"{_range(self.answers_per_labeler)}."
        )

    @property
    def verdict(self) -> str:
        """All of it in a sentence or two."""
        known = f"the true class of {self.num_gold:,}" if self.num_gold else "no true class"
        sizes = (
            f"{counted(self.num_labelers, 'labeler')} gave {counted(self.num_answers, 'answer')} "
            f"to {counted(self.num_examples, 'example')}; {known} is known."
        )
        if not self.problems:
            return sizes
        return f"{sizes} In {counted(len(self.problems), 'respect')} there are few answers."


def count_incoming(crowd: Crowd) -> Incoming:
    """Count a crowd, and say what there is too little of."""
    labels = crowd.labels
    per_example, per_labeler = labels.count_by_example(), labels.count_by_labeler()
    return Incoming(
        int(per_labeler.sum()),
        labels.num_examples,
        labels.num_labelers,
        labels.num_classes,
        crowd.assessment.num_gold,
        per_example,
        per_labeler,
        notes=tuple(visible(note) for note in crowd.notes),
        problems=_problems(crowd, per_example, per_labeler),
    )


def _problems(
    crowd: Crowd, per_example: npt.NDArray[np.integer], per_labeler: npt.NDArray[np.integer]
) -> tuple[str, ...]:
    few, alone, without = (
        int(np.sum(which))
        for which in (per_labeler < FEW_ANSWERS, per_example == 1, per_example == 0)
    )
    answers = np.asarray(crowd.labels.of_classes().label)
    votes = np.bincount(answers[answers != MISSING], minlength=crowd.labels.num_classes)
    never = crowd.class_names[votes == 0]
    named = ", ".join(quoted(name) for name in never[:_MOST_NAMED])
    more = f" and {never.size - _MOST_NAMED} more" if never.size > _MOST_NAMED else ""
    examples = "example has", "examples have"
    problems = {
        f"{counted(few, 'labeler')} gave fewer than {FEW_ANSWERS} answers: what is said of them is "
        "mostly what is true of the others.": few,
        f"{counted(alone, *examples)} a single answer, which nothing confirms.": alone,
        f"{counted(without, *examples)} no answer at all.": without,
        f"Nobody ever answered {named}{more}.": never.size,
    }
    return tuple(words for words, number in problems.items() if number)


def _range(counts: npt.NDArray[np.integer]) -> str:
    low, high = counts.min(initial=counts.max(initial=0)), counts.max(initial=0)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}, the median {np.median(counts):,g}"
