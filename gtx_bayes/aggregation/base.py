"""What every aggregation method is and what fitting one returns."""

import abc
import dataclasses
from collections.abc import Iterable
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax.sharding import Mesh
from jaxtyping import Array, Float, ScalarLike

from gtx_bayes.errors import InputError, WarningNote
from gtx_bayes.inference.beta import BetaPosterior
from gtx_bayes.inference.gold_counts import GoldCounts
from gtx_bayes.inference.pool import Pool
from gtx_bayes.labels import Assessment, Labels
from gtx_bayes.models.labelers import AbstractLabelers
from gtx_bayes.posterior import ClassPrior
from gtx_bayes.votes import AnyLabels, sum_over_classes

NOT_CONVERGED = WarningNote("The fit was stopped before it converged.")
"""What is said of a fit that did not come to rest."""

VOTES = "votes"
"""What stands for a labeler model where there is none."""

INTERVAL_PROB = 0.95
"""Level of the intervals in results."""


class AbstractAggregator(abc.ABC):
    """A rule from answers to class probabilities: a frozen pytree dataclass, its numbers known.

    A subclass is final.
    """

    @abc.abstractmethod
    def class_probs(self, labels: AnyLabels) -> Float[Array, "num_examples num_classes"]:
        """Probability of every class of every example; examples without answers included.

        JAX traces it, and labels may be padded.
        """

    @property
    def labelers(self) -> AbstractLabelers | None:
        """The labeler model behind the rule; None for votes, which have none."""
        return None

    def weighted_parts(self) -> Iterable[tuple["AbstractAggregator", ScalarLike]]:
        """Rules whose weighted sum it is; itself where it is none."""
        return ((self, 1.0),)

    def padded(self, num_labelers: int) -> "AbstractAggregator":
        """The rule for so many labelers, these first, so that few sizes are compiled; or for these.

        A class prior of each example is left as it is.
        """
        return self

    def with_class_prior(self, class_prior: ClassPrior | None) -> "AbstractAggregator":
        """The rule under another prior, where it has one."""
        return dataclasses.replace(self, class_prior=class_prior)  # type: ignore[type-var]


class LabelerAccuracy(NamedTuple):
    """What a fit says of every labeler.

    Attributes:
        accuracy: the accuracy the method works with; NaN where it has none.
        ci_low: lower limit of its interval at `INTERVAL_PROB`; NaN where there is none.
        ci_high: upper limit.
        interval: which kind of interval it is, in words.
        counts: right answers and answers to gold.
        prob_worse_than_chance: posterior probability of guessing better; NaN without a posterior.
    """

    accuracy: npt.NDArray[np.floating]
    ci_low: npt.NDArray[np.floating]
    ci_high: npt.NDArray[np.floating]
    interval: str
    counts: GoldCounts
    prob_worse_than_chance: npt.NDArray[np.floating]

    @classmethod
    def without_interval(
        cls, accuracy: npt.NDArray[np.floating], why: str, counts: GoldCounts
    ) -> "LabelerAccuracy":
        """Accuracies of a method that has no posterior of them, and why there is none."""
        unknown = np.full(accuracy.shape, np.nan)
        return cls(accuracy, unknown, unknown, f"none: {why}", counts, unknown)


class Fit(NamedTuple):
    """A method fitted to a crowd.

    Attributes:
        aggregator: the rule, with the numbers found.
        labeler_accuracy: what was found of the labelers.
        model: name of the labeler model behind it, or `VOTES`.
        notes: what a user should know about the fit.
        posterior: posterior of the labelers' accuracies, for methods that have one.
        joint: posterior of labels and labelers together, for methods that have one. Its class
            probabilities are those of the examples fitted, by leave-one-out counts, which the
            aggregator cannot know of.
        class_prior: prior of the classes, given or estimated; None stands for a uniform one, and
            for methods of votes, which have none.
    """

    aggregator: AbstractAggregator
    labeler_accuracy: LabelerAccuracy
    model: str
    notes: tuple[str, ...] = ()
    posterior: BetaPosterior | None = None
    joint: Pool | None = None
    class_prior: ClassPrior | None = None


class AbstractMethod(abc.ABC):
    """A way from answers and gold to class probabilities: a frozen dataclass, its fields options.

    A subclass is final. `gtx_bayes.register` makes it known by its name.

    Attributes:
        name: what `aggregate` and `--method` take.
        description: what it does, in a line.
        learns_from_gold_alone: whether `fit` looks at nothing but gold examples and the answers to
            them. Such a method goes through tables larger than memory.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    learns_from_gold_alone: ClassVar[bool] = False

    def takes(self, num_classes: int) -> dict[str, bool]:
        """Whether it takes labels that are no class, and covariates, for `Crowd.keeping`."""
        return {"abstentions": False, "covariates": False}

    def tells_labelers_apart(self) -> bool:
        """Whether it weighs labelers against each other: counts of answers are then refused."""
        return False

    def takes_earlier(self) -> bool:
        """Whether `Assessment.earlier` counts for it."""
        return False

    @abc.abstractmethod
    def fit(
        self,
        labels: Labels,
        assessment: Assessment,
        class_prior: ClassPrior | None = None,
        *,
        mesh: Mesh | None = None,
    ) -> Fit:
        """The aggregator that was fitted, and what was found of the labelers.

        Args:
            labels: the answers.
            assessment: the gold.
            class_prior: prior of each class, or of each class of each example.
            mesh: devices to fit on; one where it is absent. The rule itself is applied to the
                examples by `aggregate`, over all of them.

        Raises:
            InputError: for options or tables that the method cannot work with.
        """


def check_option(method: AbstractMethod, name: str, is_right: bool, wanted: str) -> None:
    """Raise `InputError` for an option of a method that is not right, saying what is wanted."""
    if not is_right:
        raise InputError(
            f"{name} of {method.name} is {getattr(method, name)}.", hint=f"Give {wanted}."
        )


def refuse_class_prior(method: AbstractMethod, class_prior: ClassPrior | None) -> None:
    """Raise `InputError` if a class prior is given to a method of votes."""
    if class_prior is not None:
        raise InputError(
            f"{method.name} counts votes and takes no class prior.",
            hint="Leave the prior and opinions out, or use gtx or gtx-bayes.",
        )


def vote_shares(
    votes: Float[Array, "num_classes num_examples"],
) -> Float[Array, "num_examples num_classes"]:
    """Votes over their sum, per example; uniform where nobody voted with any weight."""
    # Without the barrier a CPU counts the votes anew for every use of them.
    votes = jax.lax.optimization_barrier(votes)
    total = sum_over_classes(votes)
    shares = votes / jnp.where(total != 0, total, 1.0)
    return jnp.where(total != 0, shares, 1.0 / votes.shape[0]).T


def checked_weight(accuracy: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Accuracies as weights; NaN for what is none, so that votes show it as posteriors do."""
    return jnp.where((accuracy >= 0) & (accuracy <= 1), accuracy, jnp.nan)
