"""Models whose parameters can be integrated out: fitted in closed form, step by step."""

import abc

from gtx_bayes.models.base import AbstractLabelerModel
from gtx_bayes.models.priors.base import AbstractCohortPrior


class AbstractConjugateModel(AbstractLabelerModel):
    """A labeler model with a conjugate prior, which learns from expected counts."""

    @abc.abstractmethod
    def cohort_prior(self, num_classes: int) -> AbstractCohortPrior:
        """The prior of a cohort, where its own learning starts."""
