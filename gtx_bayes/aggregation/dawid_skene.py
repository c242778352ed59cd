"""Dawid and Skene (1979): a confusion matrix for every labeler, by expectation maximisation."""

import dataclasses
import typing
from typing import ClassVar, Final

from gtx_bayes.aggregation.expectation_maximisation import AbstractEM
from gtx_bayes.inference.em import ConfusionStep
from gtx_bayes.models.confusion import ConfusionPrior

NAME: Final = "dawid-skene"


@dataclasses.dataclass(frozen=True)
class DawidSkene(AbstractEM):
    """Confusion matrices that make the answers most probable, and the class posterior there.

    References:
        Dawid and Skene (1979), Applied Statistics 28.
    """

    name: ClassVar[str] = NAME
    description: ClassVar[str] = "a confusion matrix for every labeler, the most probable ones"
    model: ClassVar[str] = "confusion"

    def m_step(self, num_classes: int) -> ConfusionStep:
        """Rows of confusion matrices as shares of answers."""
        if self.estimate == "map":
            return ConfusionStep.posterior_mode(
                typing.cast(ConfusionPrior, ConfusionPrior.default(num_classes))
            )
        return ConfusionStep.smoothed(num_classes, self.smoothing)
