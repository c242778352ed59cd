"""GTX with uncertain labelers who err together: gold and the crowd's own answers, jointly."""

import dataclasses
from collections.abc import Iterable, Sequence
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
from gtx_bayes.errors import InputError, WarningNote
from gtx_bayes.inference import pool
from gtx_bayes.inference.beta import BetaPosterior
from gtx_bayes.inference.dependence import Dependence, most_useful, power_posterior
from gtx_bayes.inference.gold_counts import GoldCounts, gold_counts
from gtx_bayes.inference.joint import Choice
from gtx_bayes.inference.model_size import Bearable, bearable, check_model_size
from gtx_bayes.inference.pool import PRIOR_INDEPENDENT, Pool
from gtx_bayes.inference.two_verdicts import two_verdicts
from gtx_bayes.inference.weighing import AUTO_MODELS, DRIFT, ORDINAL
from gtx_bayes.labels import Assessment, Labels
from gtx_bayes.models.base import AbstractLabelerModel
from gtx_bayes.models.conjugate import AbstractConjugateModel
from gtx_bayes.models.labelers import AbstractLabelers
from gtx_bayes.padding import on_device
from gtx_bayes.posterior import ClassPrior, batch_log_prob
from gtx_bayes.registry import MODELS
from gtx_bayes.votes import AnyLabels, answers_per_example

NAME: Final = "gtx-bayes"
AUTO: Final = "auto"
MOST_STEPS: Final = 300_000
"""Answers beyond which the ordinal and the drift model are no part of the pool: both are fitted
step by step."""
DRIFT_COVARIATE: Final = "when"
"""The covariate over which the drift model has labelers change."""


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

    def padded(self, num_labelers: int) -> "TemperedPosterior":
        """For so many labelers, where the model can be padded."""
        return dataclasses.replace(self, model=self.model.padded(num_labelers))

    def class_probs(self, labels: AnyLabels) -> Float[Array, "num_examples num_classes"]:
        """The class posterior; the prior for an example without answers."""
        evidence = batch_log_prob(self.model, labels)
        class_prior = self.class_prior
        if self.prior_is_learnt:
            evidence = evidence + jnp.log(class_prior)
            class_prior = jnp.ones(self.model.num_classes)
        return power_posterior(evidence, answers_per_example(labels), class_prior, self.rho)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PooledPosterior(AbstractAggregator):
    """The mixture of several models' class posteriors.

    Attributes:
        parts: each model, heaviest first.
        weights: weight of each, summing to one.
    """

    parts: tuple[AbstractAggregator, ...]
    weights: tuple[ScalarLike, ...]

    @property
    def labelers(self) -> AbstractLabelers | None:
        """Those of the heaviest model."""
        return self.parts[0].labelers

    def weighted_parts(self) -> Iterable[tuple[AbstractAggregator, ScalarLike]]:
        """The models."""
        return zip(self.parts, self.weights, strict=True)

    def padded(self, num_labelers: int) -> "PooledPosterior":
        """For so many labelers, where all models can be padded."""
        parts = tuple(part.padded(num_labelers) for part in self.parts)
        sizes = {each.labelers.num_labelers for each in parts if each.labelers is not None}
        return dataclasses.replace(self, parts=parts) if sizes == {num_labelers} else self

    def class_probs(self, labels: AnyLabels) -> Float[Array, "num_examples num_classes"]:
        """The mixture; that of the priors for an example without answers."""
        found = [part.class_probs(labels) for part in self.parts]
        return jnp.tensordot(jnp.array(self.weights), jnp.stack(found), axes=1)

    def with_class_prior(self, class_prior: ClassPrior | None) -> "PooledPosterior":
        """Every model under another prior."""
        parts = tuple(part.with_class_prior(class_prior) for part in self.parts)
        return dataclasses.replace(self, parts=parts)


@dataclasses.dataclass(frozen=True)
class GtxBayes(AbstractMethod):
    """Labels, labelers and their dependence from gold and from the crowd's own answers.

    Attributes:
        model: how labelers err: a registered name, `FILE.py:Class`, a model, or "auto" for a pool
            of `AUTO_MODELS`, of those that the crowd can bear (`model_size.bearable`).
        dependence: rho, if it is not to be learnt; 0 for independence.
        prior_independent: probability, before any answer, that the crowd is that of the paper:
            one accuracy for every labeler, labelers independent, classes as given or in any
            proportions. From
            0 to less than 1; a question only where the model is "auto" and rho is learnt.
        finds_verdicts: whether to look for two verdicts in the labels of a panel, see
            `inference.two_verdicts`; likewise.
        ordered: whether classes are in an order, so that the ordinal model is of the pool of
            "auto", too, unless labelers have a history.
        drifts: whether labelers change over the covariate `DRIFT_COVARIATE`, so that the drift
            model is; `aggregate` finds that out where there are times, and takes True at its word.
    """

    name: ClassVar[str] = NAME
    description: ClassVar[str] = "labels and labelers jointly, from gold and the answers themselves"

    model: str | AbstractLabelerModel = AUTO
    dependence: float | None = None
    prior_independent: float = PRIOR_INDEPENDENT
    finds_verdicts: bool = True
    ordered: bool = False
    drifts: bool = False

    @property
    def prior_asked(self) -> float:
        """The prior of independence: zero for a model asked for, which takes it for no question."""
        return self.prior_independent if self.model == AUTO else 0.0

    def takes(self, num_classes: int) -> dict[str, bool]:
        """What the model takes."""
        found = taken_by(self.model, num_classes)
        return found | {"covariates": True} if self.drifts else found

    def tells_labelers_apart(self) -> bool:
        """Whether the model does."""
        return self.model != AUTO and bool(MODELS.build(self.model).tells_labelers_apart)

    def takes_earlier(self) -> bool:
        """Conjugate models do whose classes have no subclasses."""
        if self.model == AUTO:
            return True
        model = MODELS.build(self.model)
        return isinstance(model, AbstractConjugateModel) and model.num_subclasses(2) == 1

    def fit(
        self,
        labels: Labels,
        assessment: Assessment,
        class_prior: ClassPrior | None = None,
        *,
        mesh: Mesh | None = None,
    ) -> Fit:
        """The joint posterior; when no prior is given, classes even and learnt are weighed.

        Raises:
            InputError: for an unknown model, one whose tables are out of all proportion to the
                answers, a dependence outside [0, 1], or a prior outside [0, 1).
        """
        check_options(self.model, self.dependence, self.prior_independent)
        # Models without conjugate prior learn nothing from other tasks.
        has_history = assessment.earlier is not None and assessment.earlier.confusion is not None
        among = models_for(
            self.model,
            num_labels=labels.num_labels,
            num_labelers=labels.num_labelers,
            num_classes=labels.num_classes,
            ordered=self.ordered and not has_history and labels.num_classes > 2,
            drifts=self.drifts and not has_history and DRIFT_COVARIATE in labels.covariates,
        )
        is_wanted = self.finds_verdicts and self.model == AUTO and self.dependence is None
        is_wanted = is_wanted and not self.drifts and labels.num_labels <= MOST_STEPS
        sides = two_verdicts(labels) if is_wanted and assessment.earlier is None else None
        models = among.models
        if sides is not None:
            models = tuple(dataclasses.replace(MODELS.build("bloc"), members=s) for s in sides)
        found = pool.fit(
            labels,
            assessment,
            class_prior,
            models=models,
            dependence=self.dependence,
            prior_independent=self.prior_asked,
            mesh=mesh,
        )
        if sides is None:
            return report(found._replace(why=among.why(found.why)), labels, assessment)
        return report(found, labels, assessment)


LEAST_NAMED = 0.005
"""Weight from which notes name a model."""

_TWO_VERDICTS = WarningNote(
    "Labels follow two verdicts, each shared by some labelers, and do not say which is the class. "
    "Label a few of the examples with the lowest confidence as gold, or name who belongs together "
    "by a column of groups."
)


def models_for(
    model: str | AbstractLabelerModel,
    *,
    num_labels: int,
    num_labelers: int,
    num_classes: int,
    ordered: bool = False,
    drifts: bool = False,
) -> Bearable:
    """The models of a crowd of this size; arguments as for `bearable`.

    Raises:
        InputError: if the model is asked for by name, and too large.
    """
    size = {
        "num_labels": num_labels,
        "num_labelers": num_labelers,
        "num_classes": num_classes,
    }
    if model == AUTO:
        optional = {ORDINAL: ordered, DRIFT: drifts}
        more = [
            name for name, is_wanted in optional.items() if is_wanted and num_labels <= MOST_STEPS
        ]
        return bearable((*AUTO_MODELS, *more), **size)
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


def report(found: Pool, labels: Labels, assessment: Assessment) -> Fit:
    """The joint posterior as a method that is fitted, with what a user should know of it."""
    counts = gold_counts(labels.of_classes(), assessment)
    return Fit(
        _as_rule(found),
        posterior_accuracy(found.accuracy, counts, labels.num_classes),
        found.model,
        notes(found, num_gold=assessment.num_gold + _num_earlier(assessment)),
        found.accuracy,
        found,
        found.class_prior,
    )


def _num_earlier(assessment: Assessment) -> int:
    """Answers to other tasks whose truth is known."""
    earlier = assessment.earlier
    if earlier is None or earlier.confusion is None:
        return 0
    return int(np.ceil(np.asarray(earlier.confusion).sum()))


def _as_rule(found: Pool) -> AbstractAggregator:
    """The posterior for answers that the fit has not seen: rho at its means, zero and otherwise."""
    parts: list[TemperedPosterior] = []
    weights: list[float] = []
    for each, weight in found.weighted:
        rho = each.dependence
        atom = rho.prob_independent
        for at, share in ((rho.mean_if_dependent, 1.0 - atom), (0.0, atom)):
            if share > 0.0:
                rule = TemperedPosterior(
                    each.with_looks(each.labelers), each.class_prior, at, each.learns_class_prior
                )
                parts.append(rule)
                weights.append(weight * share)
    if found.alike is not None:
        of_labelers, dependence, weight = found.alike
        alike = of_labelers.labelers(parts[0].model.num_labelers)
        prior = on_device(of_labelers.class_prior)
        parts.append(TemperedPosterior(alike, prior, dependence.mean_if_dependent))
        weights = [*((1.0 - weight) * each for each in weights), weight]
    return parts[0] if len(parts) == 1 else PooledPosterior(tuple(parts), tuple(weights))


def check_options(
    model: str | AbstractLabelerModel,
    dependence: float | None,
    prior_independent: float = PRIOR_INDEPENDENT,
) -> None:
    """Raise `InputError` for a model there is not, and for numbers that are no probabilities."""
    if model != AUTO:
        MODELS.build(model)
    if dependence is not None and not 0.0 <= dependence <= 1.0:
        raise InputError(
            f"the dependence is {dependence:g}.", hint="Give a number from 0 (none) to 1."
        )
    if not 0.0 <= prior_independent < 1.0:
        raise InputError(
            f"the prior probability of independence is {prior_independent:g}.",
            hint="Give a number from 0 to less than 1; dependence 0 takes it for certain.",
        )


def notes(found: Pool, *, num_gold: int) -> tuple[str, ...]:
    """What a user should know of a joint fit."""
    if len(found.components) == 1 and found.alike is None:
        return notes_of_one(
            found.lead.choice,
            found.why,
            prior_independent=found.prior_independent if found.asks_independence else 0.0,
            num_gold=num_gold,
            converged=found.converged,
        )
    rho = found.dependence
    prior = found.prior_independent if found.asks_independence else 0.0
    in_pool = {each.model for each in found.components}
    or_else = [word for name, word in _OTHERWISE.items() if name in in_pool]
    notes = [_in_words(found), *_of_dependence(rho, prior, or_else=or_else)]
    if found.is_undecided:
        notes.append(_TWO_VERDICTS)
    return (*notes, *_of_the_rest(rho, num_gold=num_gold, converged=found.converged))


def notes_of_one(
    found: Choice, why: str, *, prior_independent: float = 0.0, num_gold: int, converged: bool
) -> tuple[str, ...]:
    """What a user should know of a fit by one model."""
    notes = [f"Model {found.candidate.name}: {why}."] if why else []
    notes += _of_dependence(found.dependence, prior_independent)
    return (*notes, *_of_the_rest(found.dependence, num_gold=num_gold, converged=converged))


def _in_words(found: Pool) -> str:
    """The pool, by name and weight."""
    rest = found.weight_of_models
    named = [(rest * weight, each.choice.candidate.name) for each, weight in found.weighted]
    if found.alike is not None:
        named.append((found.alike.weight, _ALIKE))
    names = [
        f"{weight:.2f} {name}"
        for weight, name in sorted(named, reverse=True)
        if weight >= LEAST_NAMED
    ]
    return f"Pool of models: {'; '.join(names)}. They are weighed {found.why}."


_ALIKE = "one confusion matrix for all labelers, counted on gold"

_OTHERWISE = {ORDINAL: " or one spread and bias", DRIFT: " or one that changes over time"}
"""What labelers may have in the place of one accuracy, by the model of the pool."""


def _of_dependence(
    rho: Dependence, prior_independent: float, *, or_else: Sequence[str] = ()
) -> list[str]:
    """Whether labelers err together, and how far."""
    notes = []
    if prior_independent > 0.0 and rho.is_learnt:
        notes.append(
            "That labelers are independent, each with one accuracy"
            f"{''.join(or_else)}, has a probability of "
            f"{_as_prob(rho.prob_independent)} ({prior_independent:g} before any answer)."
        )
    if rho.mean > 0.0 and rho.prob_independent < 0.5:
        mean = rho.mean_if_dependent
        low, high = rho.credible_interval(INTERVAL_PROB)
        limits = f" ({low:.2f} to {high:.2f})" if high > low else ""
        how = (
            "Gold shows that labelers err together"
            if rho.is_shown_by_gold
            else ("Confidence allows for labelers who err together")
        )
        most = most_useful(mean)
        notes.append(
            f"{how}, rho = {mean:.2f}{limits}"
            + (
                "."
                if most is None
                else ": no number of answers to an example tells more than "
                f"{1 / mean:.1f} independent ones, and after {most} the next adds less than a "
                "tenth of one."
            )
        )
    return notes


def _of_the_rest(rho: Dependence, *, num_gold: int, converged: bool) -> list[str]:
    """What only gold can tell, and whether the fit came to rest."""
    notes: list[str] = []
    if num_gold == 0:
        notes.append(
            "Without gold the labelers are known from their agreement alone, taken for better than "
            "chance on average."
        )
        if rho.is_learnt and rho.prob_independent < 0.5:
            notes.append("Without gold rho is known from its prior alone.")
    return notes if converged else [*notes, NOT_CONVERGED]


def _as_prob(prob: float) -> str:
    """Two decimals, or a bound."""
    return "less than 0.01" if prob < 0.005 else "more than 0.99" if prob > 0.995 else f"{prob:.2f}"


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
