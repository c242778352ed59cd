"""How large a labeler model and class probabilities become, and what a crowd can bear."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from gtx_bayes.errors import InputError
from gtx_bayes.models.base import AbstractLabelerModel
from gtx_bayes.registry import MODELS

_FEW_CELLS = 2**16  # of all tables: fitted in a second or two, however few the answers
_FREE_CELLS, _CELLS_PER_ANSWER = 2**20, 4  # where a model is to be chosen
_FREE_CELLS_ASKED, _CELLS_PER_ANSWER_ASKED = 2**22, 32  # where it is asked for by name
FREE_PROBS = 2**22
"""Class probabilities that are always computed, whatever they are of."""

_FEWEST_PER_CLASS = 4  # answers, of more class probabilities
_MOST_PROBS, _PROBS_PER_ANSWER = 2**25, 400
_BYTES = 4  # of a number, and several copies are needed


class Bearable(NamedTuple):
    """The models that a crowd can bear.

    Attributes:
        models: their names, in the order given, or the only one itself.
        left_out: which are left out and why, in words; empty if none is.
    """

    models: tuple[Any, ...]
    left_out: str

    def why(self, why: str) -> str:
        """The reason for a choice among these models, with that for the ones left out."""
        return "; ".join(reason for reason in (why, self.left_out) if reason)


def bearable(
    models: Sequence[str], *, num_labels: int, num_labelers: int, num_classes: int
) -> Bearable:
    """Leave out models with larger tables than the answers can fill or the fit can afford.

    A model with a table of K x K for every labeler is left out where the answers are fewer than
    the cells of one table (and all tables have more than 65 thousand), and where all tables have
    more than a million cells and more than four for every answer.

    Args:
        models: names to choose from.
        num_labels: number of answers.
        num_labelers: J.
        num_classes: K.
    """
    cells = num_labelers * num_classes**2
    is_thin = cells > _FEW_CELLS and num_classes**2 > num_labels
    is_large = cells > max(_FREE_CELLS, _CELLS_PER_ANSWER * num_labels)
    left = [name for name in models if (is_thin or is_large) and MODELS.find(name).has_tables]
    if not left:
        return Bearable(tuple(models), "")
    return Bearable(
        tuple(name for name in models if name not in left),
        f"{' and '.join(left)} {'is' if len(left) == 1 else 'are'} left out, {num_labels:,} "
        f"answers being too few for {num_labelers:,} tables of {num_classes:,} x {num_classes:,}",
    )


def check_model_size(
    model: AbstractLabelerModel, *, num_labels: int, num_labelers: int, num_classes: int
) -> None:
    """Raise `InputError` if a model asked for by name has tables out of all proportion.

    Args:
        model: the model.
        num_labels: number of labels.
        num_labelers: J.
        num_classes: K.
    """
    cells = num_labelers * num_classes**2
    most = max(_FREE_CELLS_ASKED, _CELLS_PER_ANSWER_ASKED * num_labels)
    if model.has_tables and cells > most:
        raise InputError(
            f"the model {model.name} has a table of {num_classes:,} x {num_classes:,} for each of "
            f"{num_labelers:,} labelers: {cells:,} numbers, {_size(cells)} in every copy, for "
            f"{num_labels:,} answers.",
            hint="Use the model one-coin, or join classes.",
        )


def check_num_class_probs(*, num_examples: int, num_labels: int, num_classes: int) -> None:
    """Raise `InputError` if the class probabilities are out of all proportion to the answers.

    Four million are always computed. More are where there are four answers to a class on average;
    more than 32 million where they are at most 400 to an answer.

    Args:
        num_examples: N.
        num_labels: number of answers.
        num_classes: K.
    """
    probs = num_examples * num_classes
    hardly_named = probs > FREE_PROBS and num_labels < _FEWEST_PER_CLASS * num_classes
    if hardly_named or probs > max(_MOST_PROBS, _PROBS_PER_ANSWER * num_labels):
        raise InputError(
            f"{num_labels:,} answers name {num_classes:,} classes: the probability of each for "
            f"each of {num_examples:,} examples is {probs:,} numbers, {_size(probs)} in every "
            "copy.",
            hint="Check that the labels are classes, or split the examples over several tables.",
        )


def _size(cells: int) -> str:
    megabytes = cells * _BYTES / 1e6
    return f"{megabytes / 1e3:,.1f} GB" if megabytes >= 1e3 else f"{megabytes:,.0f} MB"
