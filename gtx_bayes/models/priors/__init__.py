r"""Conjugate priors that a cohort of labelers shares, and what expected counts make of them.

Where true labels are unknown, inference works with expected counts: how often a labeler is
believed to have been right (one coin), or to have answered l to examples of class y (confusion
matrices). A prior turns counts into posteriors of the labelers, says how probable answers are
given everybody's other answers, and learns its own mean and concentration from the cohort
(empirical Bayes) under a hyperprior that labelers are better than chance.

Examples of a class may be of several kinds, easy and hard ones say, that nobody names. Inference
then goes over latent classes, pairs of a class and a kind: latent class c is of class c // M and
of kind c % M, with M kinds. Where there is one kind, latent classes are the classes themselves.
"""

from collections.abc import Callable

from gtx_bayes.models.priors.base import AbstractCohortPrior as AbstractCohortPrior
from gtx_bayes.models.priors.confusion import ClassConditionalPrior as ClassConditionalPrior
from gtx_bayes.models.priors.confusion import ConfusionPrior as ConfusionPrior
from gtx_bayes.models.priors.confusion import better_than_chance as better_than_chance
from gtx_bayes.models.priors.difficulty import HARD_SHARE as HARD_SHARE
from gtx_bayes.models.priors.difficulty import DifficultyPrior as DifficultyPrior
from gtx_bayes.models.priors.one_coin import OneCoinPrior as OneCoinPrior

PRIORS: dict[str, Callable[[int], AbstractCohortPrior]] = {
    "one-coin": OneCoinPrior.default,
    "class-conditional": ClassConditionalPrior.default,
    "confusion": ConfusionPrior.default,
    "difficulty": DifficultyPrior.default,
}
"""Default prior of every labeler model that inference with unknown labels knows, by name."""
