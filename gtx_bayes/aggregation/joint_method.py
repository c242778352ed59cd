"""GTX with uncertain labelers who err together: gold and the crowd's own answers, jointly."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, Final

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, ScalarLike

from gtx_bayes.aggregation.base import (
    INTERVAL_PROB,
    NOT_CONVERGED,
    AbstractAggregator,
    AbstractMethod,
    Fit,
    LabelerAccuracy,
)
from gtx_bayes.errors import InputError
from gtx_bayes.inference import joint
from gtx_bayes.inference.beta import BetaPosterior
from gtx_bayes.inference.dependence import most_useful, tempered
from gtx_bayes.inference.gold_counts import GoldCounts, gold_counts
from gtx_bayes.inference.joint import AUTO_MODELS, Choice, JointPosterior
from gtx_bayes.inference.model_size import Bearable, bearable, check_model_size
from gtx_bayes.labels import Assessment, Labels
from gtx_bayes.models.base import AbstractLabelerModel
from gtx_bayes.models.labelers import AbstractLabelers
from gtx_bayes.posterior import ClassPrior, batch_log_prob
from gtx_bayes.registry import MODELS
from gtx_bayes.standard_size import first, in_standard_size
from gtx_bayes.votes import AnyLabels, answers_per_example

NAME: Final = "gtx-bayes"
AUTO: Final = "auto"


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TemperedPosterior(AbstractAggregator):
    r"""The class posterior given labelers who err together.

    .. math:: P(Y_i = y \mid \mathcal{L}(i)) \propto
        \pi_y \, P(\mathcal{L}(i) \mid Y_i = y)^{1 / (1 + (n_i - 1) \rho)}

    A prior :math:`\pi` learnt from the crowd's answers is raised to the same power.

    Attributes:
        model: the labelers at their posterior means.
        class_prior: prior of each class, or of each class of each example.
        rho: dependence; 0 is Eq. 3.
        prior_is_learnt: whether the prior comes from the crowd's answers.
    """

    model: AbstractLabelers
    class_prior: ClassPrior
    rho: ScalarLike
    prior_is_learnt: bool = dataclasses.field(default=False, metadata={"static": True})

    @property
    def labelers(self) -> AbstractLabelers:
        """The labelers."""
        return self.model

    def class_probs(self, labels: AnyLabels) -> Float[Array, "num_examples num_classes"]:
        """The class posterior; the prior for an example without answers."""
        evidence = batch_log_prob(self.model, labels)
        class_prior = self.class_prior
        if self.prior_is_learnt:
            evidence = evidence + jnp.log(class_prior)
            class_prior = jnp.ones(self.model.num_classes)
        return tempered(evidence, answers_per_example(labels), class_prior, self.rho)


@dataclasses.dataclass(frozen=True)
class GtxBayes(AbstractMethod):
    """Labels, labelers and their dependence from gold and from the crowd's own answers.

    Attributes:
        model: how labelers err: a registered name, `FILE.py:Class`, a model, or "auto" for the one
            of `AUTO_MODELS` that predicts hidden labels best, of those that the crowd can bear
            (`model_size.bearable`).
        dependence: rho, if it is not to be learnt; 0 for independence.
    """

    name: ClassVar[str] = NAME
    description: ClassVar[str] = "labels and labelers jointly, from gold and the answers themselves"

    model: str | AbstractLabelerModel = AUTO
    dependence: float | None = None

    def takes(self, num_classes: int) -> dict[str, bool]:
        """What the model takes."""
        return taken_by(self.model, num_classes)

    def fit(
        self,
        labels: Labels,
        assessment: Assessment,
        class_prior: ClassPrior | None = None,
        *,
        mesh: Mesh | None = None,
    ) -> Fit:
        """The joint posterior; when no prior is given it is learnt where that does better.

        Raises:
            InputError: for an unknown model, one whose tables are out of all proportion to the
                answers, or a dependence outside [0, 1].
        """
        check_options(self.model, self.dependence)
        among = models_for(
            self.model,
            num_labels=labels.num_labels,
            num_labelers=labels.num_labelers,
            num_classes=labels.num_classes,
        )
        found = joint.fit(
            labels,
            assessment,
            class_prior,
            models=among.models,
            dependence=self.dependence,
            mesh=mesh,
        )
        return report(found._replace(why=among.why(found.why)), labels, assessment)


def models_for(
    model: str | AbstractLabelerModel, *, num_labels: int, num_labelers: int, num_classes: int
) -> Bearable:
    """The models to choose from in a crowd of this size; arguments as for `bearable`.

    Raises:
        InputError: if the model is asked for by name, and too large.
    """
    size = {
        "num_labels": num_labels,
        "num_labelers": num_labelers,
        "num_classes": num_classes,
    }
    if model == AUTO:
        return bearable(AUTO_MODELS, **size)
    found: AbstractLabelerModel = MODELS.build(model)
    check_model_size(found, **size)
    return Bearable((found,), "")


def taken_by(model: str | AbstractLabelerModel, num_classes: int) -> dict[str, bool]:
    """Whether a model takes answers that are no class, and covariates, for `Crowd.keeping`."""
    if model == AUTO:
        return {"abstentions": False, "covariates": False}
    found: AbstractLabelerModel = MODELS.build(model)
    return {
        "abstentions": found.num_answers(num_classes) > num_classes,
        "covariates": bool(found.covariates),
    }


def check_covariates(model: str | AbstractLabelerModel, there: Sequence[str]) -> None:
    """Raise `InputError` if a table lacks a covariate that the model asked for needs."""
    if model != AUTO:
        MODELS.build(model).check_covariates(there)


def report(found: JointPosterior, labels: Labels, assessment: Assessment) -> Fit:
    """The joint posterior as a method that is fitted, with what a user should know of it."""
    in_size, gold, _ = in_standard_size(labels.of_classes(), assessment, None)
    counts = first(labels.num_labelers, gold_counts(in_size, gold))
    return Fit(
        TemperedPosterior(
            found.labelers, found.class_prior, found.dependence.mean, found.learns_class_prior
        ),
        posterior_accuracy(found.accuracy, counts, labels.num_classes),
        found.model,
        notes(found.choice, num_gold=assessment.num_gold, converged=found.converged),
        found.accuracy,
        found,
        found.class_prior,
    )


def check_options(model: str | AbstractLabelerModel, dependence: float | None) -> None:
    """Raise `InputError` for a model there is not, or a dependence that is none."""
    if model != AUTO:
        MODELS.build(model)
    if dependence is not None and not 0.0 <= dependence <= 1.0:
        raise InputError(
            f"the dependence is {dependence:g}.", hint="Give a number from 0 (none) to 1."
        )


def notes(found: Choice, *, num_gold: int, converged: bool) -> tuple[str, ...]:
    """What a user should know of a joint fit."""
    said: list[str] = []
    if found.why:
        said.append(f"Model {found.candidate.model}: {found.why}.")
    rho = found.dependence.mean
    if rho > 0:
        low, high = found.dependence.credible_interval(INTERVAL_PROB)
        limits = f" ({low:.2f} to {high:.2f})" if high > low else ""
        said.append(
            f"Labelers err together, rho = {rho:.2f}{limits}: no number of answers to an example "
            f"tells more than {1 / rho:.1f} independent ones, and after {most_useful(rho)} the "
            "next adds less than a tenth of one."
        )
    if num_gold == 0:
        said.append(
            "Without gold the labelers are known from their agreement alone, taken for better "
            "than chance on average."
        )
        if found.dependence.is_learnt:
            said.append("Without gold rho is known from its prior, and answers only raise it.")
    if not converged:
        said.append(NOT_CONVERGED)
    return tuple(said)


def posterior_accuracy(
    posterior: BetaPosterior, counts: GoldCounts, num_classes: int
) -> LabelerAccuracy:
    """The report on accuracies with a posterior."""
    low, high = posterior.credible_interval(INTERVAL_PROB)
    # `BetaPosterior.mean` on the host: nothing is compiled for the number of labelers.
    a, b = np.asarray(posterior.a, np.float64), np.asarray(posterior.b, np.float64)
    mean = a / (a + b)
    return LabelerAccuracy(
        accuracy=mean,
        ci_low=np.minimum(low, mean),  # the mean of a very skew law can lie outside
        ci_high=np.maximum(high, mean),
        interval=f"credible interval (equal-tailed), {INTERVAL_PROB:.0%}, given the cohort prior",
        counts=counts,
        prob_worse_than_chance=posterior.prob_worse_than_chance(num_classes),
    )
