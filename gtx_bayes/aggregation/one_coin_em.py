"""One accuracy for every labeler, by expectation maximisation (Dawid and Skene, 1979)."""

import dataclasses
from typing import ClassVar, Final

from gtx_bayes.aggregation.expectation_maximisation import AbstractEM
from gtx_bayes.inference.em import OneCoinStep
from gtx_bayes.models.one_coin import OneCoinPrior

NAME: Final = "one-coin-em"


@dataclasses.dataclass(frozen=True)
class OneCoinEM(AbstractEM):
    """Accuracies that make the answers most probable, and the class posterior there.

    References:
        Dawid and Skene (1979), Applied Statistics 28; Zhang et al. (2016), JMLR 17.
    """

    name: ClassVar[str] = NAME
    description: ClassVar[str] = "an accuracy for every labeler, the most probable ones"
    model: ClassVar[str] = "one-coin"

    def m_step(self, num_classes: int) -> OneCoinStep:
        """Accuracies as shares of right answers."""
        if self.estimate == "map":
            return OneCoinStep.posterior_mode(OneCoinPrior.default(num_classes))
        return OneCoinStep.smoothed(num_classes, self.smoothing)
