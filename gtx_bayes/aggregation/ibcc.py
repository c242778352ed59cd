"""Independent Bayesian classifier combination (Kim and Ghahramani, 2012), by mean field."""

import dataclasses
import functools
from typing import ClassVar, Final, NamedTuple

import jax
import numpy as np
import scipy.special
from jax.sharding import Mesh
from jaxtyping import Array, Float

from gtx_bayes.aggregation.base import (
    NOT_CONVERGED,
    AbstractAggregator,
    AbstractMethod,
    Fit,
    LabelerAccuracy,
    check_option,
)
from gtx_bayes.aggregation.expectation_maximisation import mean_accuracy
from gtx_bayes.aggregation.host_answers import ClassProbs, HostAnswers, add_up, iterate
from gtx_bayes.inference.gold_counts import gold_counts
from gtx_bayes.inference.model_size import check_model_size
from gtx_bayes.labels import Assessment, Labels
from gtx_bayes.models.confusion import ConfusionMatrix
from gtx_bayes.padding import on_device
from gtx_bayes.posterior import ClassPrior, batch_class_posterior
from gtx_bayes.registry import MODELS
from gtx_bayes.votes import AnyLabels

NAME: Final = "ibcc"
MODEL: Final = "confusion"


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class MeanField(AbstractAggregator):
    r"""The class posterior given the factors of the labelers and of the class proportions.

    .. math:: q_i(y) \propto \exp \Big( E[\log \pi_y] + \sum_j E[\log \theta_{j, y, y_i^j}] \Big)

    Attributes:
        mean: :math:`E[\theta]`, which results report.
        geometric_mean: :math:`\exp E[\log \theta]`; rows sum to less than one.
        class_prior: :math:`\exp E[\log \pi]`, normalised, or a prior that was given.
    """

    mean: ConfusionMatrix
    geometric_mean: ConfusionMatrix
    class_prior: ClassPrior

    @property
    def labelers(self) -> ConfusionMatrix:
        """The labelers at the posterior mean."""
        return self.mean

    def class_probs(self, labels: AnyLabels) -> Float[Array, "num_examples num_classes"]:
        """The mean-field class posterior; the prior for an example without answers."""
        return batch_class_posterior(self.geometric_mean, labels, self.class_prior)


class _Factors(NamedTuple):
    """Dirichlet weights, shape (num_labelers, true, answer), and what they give."""

    weights: np.ndarray
    geometric_mean: np.ndarray
    class_prior: np.ndarray


@dataclasses.dataclass(frozen=True)
class Ibcc(AbstractMethod):
    r"""Confusion matrices and class proportions with Dirichlet priors, by variational Bayes.

    .. math::
        \theta_{jy} \sim \mathrm{Dirichlet}(b + (a - b) e_y), \quad
        \pi \sim \mathrm{Dirichlet}(c, \ldots, c), \quad
        q_i(y) \propto \exp \Big( E[\log \pi_y] + \sum_j E[\log \theta_{j, y, y_i^j}] \Big)

    The posterior is taken for a product of :math:`q(\theta) q(\pi) \prod_i q_i`. The first two
    factors are Dirichlet distributions, with expected counts added to the weights of the prior,

    .. math::
        w_{jyl} = b + (a - b) I[l = y] + \sum_i q_i(y) I[y_i^j = l], \quad
        E[\log \theta_{jyl}] = \psi(w_{jyl}) - \psi \Big( \sum_m w_{jym} \Big)

    and likewise :math:`c + \sum_i q_i(y)` for :math:`\pi`. The steps start from the vote shares;
    gold keeps its class in q and teaches. Labelers are reported at the posterior mean; there are
    no intervals, since the mean field takes the counts for known and would make them too short.

    Attributes:
        right: a, the prior weight of the right answer in each row of a confusion matrix.
        wrong: b, that of every other answer.
        proportions: c, that of every class in the class proportions; 1 is a flat prior. Without
            effect where a class prior is given.
        num_steps: the most passes over the answers.
        tolerance: stop when no class probability changes by more.

    References:
        Kim and Ghahramani (2012), Bayesian classifier combination, AISTATS; Simpson et al. (2013)
        for the mean field; the default prior is that of the code of Li, Rubinstein and Cohn (2019).
    """

    name: ClassVar[str] = NAME
    description: ClassVar[str] = "a confusion matrix for every labeler, by variational Bayes"

    right: float = 4.0
    wrong: float = 1.0
    proportions: float = 1.0
    num_steps: int = 500
    tolerance: float = 1e-4

    def fit(
        self,
        labels: Labels,
        assessment: Assessment,
        class_prior: ClassPrior | None = None,
        *,
        mesh: Mesh | None = None,
    ) -> Fit:
        """The labelers and, where no prior is given, the proportions of the classes; on the host.

        Raises:
            InputError: for options outside their range, or tables of confusion out of all
                proportion to the answers.
        """
        for name in ("right", "wrong", "proportions"):
            check_option(self, name, 0 < getattr(self, name) < np.inf, "a positive number")
        check_option(self, "num_steps", self.num_steps >= 1, "a whole number from 1")
        check_option(self, "tolerance", self.tolerance >= 0, "a number from 0")
        check_model_size(
            MODELS.build(MODEL),
            num_labels=labels.num_labels,
            num_labelers=labels.num_labelers,
            num_classes=labels.num_classes,
        )
        answers = HostAnswers.of(labels, assessment)
        given = None if class_prior is None else np.asarray(class_prior, float)
        found, _, converged = iterate(
            functools.partial(self._step, answers, given),
            answers.vote_shares(),
            max_steps=self.num_steps,
            tolerance=self.tolerance,
        )
        mean = found.weights / found.weights.sum(axis=2, keepdims=True)
        prior = on_device(found.class_prior)
        report = LabelerAccuracy.without_interval(
            mean_accuracy(mean, prior),
            "the mean field takes counts for known",
            gold_counts(labels, assessment),
        )
        rule = MeanField(
            ConfusionMatrix(on_device(mean), labels.num_classes),
            ConfusionMatrix(on_device(found.geometric_mean), labels.num_classes),
            prior,
        )
        notes = () if converged else (NOT_CONVERGED,)
        return Fit(rule, report, MODEL, notes, class_prior=prior)

    def _step(
        self, answers: HostAnswers, class_prior: np.ndarray | None, class_probs: ClassProbs
    ) -> tuple[_Factors, ClassProbs]:
        """The factors of labelers and proportions, then those of the classes."""
        num_labelers, num_classes = answers.num_labelers, answers.num_classes
        cell, size = answers.cell, answers.num_labelers * answers.num_classes
        counts = add_up(class_probs, answers.example, cell, size)
        weights = counts.reshape(num_labelers, num_classes, num_classes).swapaxes(1, 2)
        weights = weights + self.wrong + (self.right - self.wrong) * np.eye(num_classes)
        log_mean = scipy.special.digamma(weights)
        log_mean -= scipy.special.digamma(weights.sum(axis=2, keepdims=True))
        if class_prior is None:
            totals = self.proportions + class_probs.sum(axis=0)
            class_prior = scipy.special.softmax(scipy.special.digamma(totals))
        by_answer = log_mean.swapaxes(1, 2).reshape(size, num_classes)
        joint = add_up(by_answer, cell, answers.example, answers.gold.size)
        with np.errstate(divide="ignore"):
            joint += np.log(class_prior)  # minus infinity for a class that is excluded
        found = scipy.special.softmax(joint, axis=1)
        return _Factors(weights, np.exp(log_mean), class_prior), answers.clamp(found)
