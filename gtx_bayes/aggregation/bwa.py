"""Bayesian weighted average (Li, Rubinstein and Cohn, 2019): a precision for every labeler."""

import dataclasses
import functools
from typing import ClassVar, Final

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float

from gtx_bayes.aggregation.base import (
    NOT_CONVERGED,
    VOTES,
    AbstractAggregator,
    AbstractMethod,
    Fit,
    LabelerAccuracy,
    check_option,
)
from gtx_bayes.aggregation.host_answers import ClassProbs, HostAnswers, add_up, iterate
from gtx_bayes.inference.gold_counts import gold_counts
from gtx_bayes.labels import Assessment, Labels
from gtx_bayes.padding import on_device
from gtx_bayes.posterior import ClassPrior
from gtx_bayes.votes import AnyLabels, class_votes, sum_over_classes

NAME: Final = "bwa"

Weight = Float[np.ndarray, "num_labelers num_classes"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class WeightedAverage(AbstractAggregator):
    r"""Weighted averages of the one-hot answers, normalised over the classes.

    .. math:: z_{ik} = \frac{\lambda_k \mu_k + \sum_j v_{jk} I[y_i^j = k]}
        {\lambda_k + \sum_j v_{jk}}, \qquad P_i(k) = \frac{z_{ik}}{\sum_l z_{il}}

    Attributes:
        weight: :math:`v_{jk}`, of each labeler for each class.
        class_prior: :math:`\mu_k`, for all examples or for each.
        prior_weight: :math:`\lambda_k`.
    """

    weight: Float[Array, "*runs num_labelers num_classes"]
    class_prior: ClassPrior
    prior_weight: Float[Array, "*runs num_classes"]

    def class_probs(self, labels: AnyLabels) -> Float[Array, "num_examples num_classes"]:
        """Normalised weighted averages; the prior for an example without answers."""
        return _normalised_average(self, labels)


@jax.jit
def _normalised_average(
    rule: WeightedAverage, labels: AnyLabels
) -> Float[Array, "num_examples num_classes"]:
    num_classes = rule.weight.shape[1]

    def of_class(given: tuple[Array, Array]) -> tuple[Array, Array]:
        votes = class_votes(labels, given[1], num_classes)
        return votes[given[0]], sum_over_classes(votes)

    for_class, total = jax.lax.map(of_class, (jnp.arange(num_classes), rule.weight.T))
    total = total.T + rule.prior_weight
    average = (rule.prior_weight * rule.class_prior + for_class.T) / jnp.where(total > 0, total, 1)
    average = jnp.where(total > 0, average, rule.class_prior)
    return average / average.sum(axis=1, keepdims=True)


@dataclasses.dataclass(frozen=True)
class Bwa(AbstractMethod):
    r"""A normal model of the one-hot answers, each class on its own, by EM.

    .. math::
        I[y_i^j = k] \sim \mathrm{Normal}(z_{ik}, 1 / v_{jk}), \quad
        z_{ik} \sim \mathrm{Normal}(\mu_k, 1 / \lambda), \quad
        v_{jk} \sim \mathrm{Gamma}(a / 2, b_k / 2)

    With the precisions :math:`v_{jk}` latent, an E-step and an M-step are

    .. math::
        v_{jk} = \frac{a + N_j}{b_k + \sum_i (I[y_i^j = k] - z_{ik})^2}, \qquad
        z_{ik} = \frac{\lambda \mu_k + \sum_j v_{jk} I[y_i^j = k]}{\lambda + \sum_j v_{jk}}, \qquad
        \mu_k = \frac{1}{N} \sum_i z_{ik}

    from the vote shares on, with :math:`b_k / a` their mean square
    :math:`(I[y_i^j = k] - z_{ik})^2` over all answers, times :math:`4 (1 - 1 / K)`. Gold keeps its
    class in z throughout; :math:`\mu` is a class prior where one is given, and else the mean over
    the examples that have an answer or are gold. The precisions are kept in units of
    :math:`a / b_k`, so that a class on which all agree needs no case of its own.

    A labeler's accuracy is reported as the mean class probability of the labeler's answers; NaN
    without answers.

    Attributes:
        prior_labels: a, how many answers the prior of a precision is worth; 15 in the authors'
            code.
        prior_precision: :math:`\lambda`, precision of z around its mean; 1 there.
        num_steps: the most passes over the answers.
        tolerance: stop when no z changes by more.

    References:
        Li, Rubinstein and Cohn (2019), Truth Inference at Scale, WWW.
    """

    name: ClassVar[str] = NAME
    description: ClassVar[str] = "answers averaged by the labelers' precisions, learnt (BWA)"

    prior_labels: float = 15.0
    prior_precision: float = 1.0
    num_steps: int = 500
    tolerance: float = 1e-4

    def tells_labelers_apart(self) -> bool:
        """It does."""
        return True

    def fit(
        self,
        labels: Labels,
        assessment: Assessment,
        class_prior: ClassPrior | None = None,
        *,
        mesh: Mesh | None = None,
    ) -> Fit:
        """Precisions, and where no prior is given means of the classes; on the host.

        Raises:
            InputError: for options outside their range.
        """
        for name, is_right, wanted in (
            ("prior_labels", 0 < self.prior_labels < np.inf, "a positive number"),
            ("prior_precision", 0 <= self.prior_precision < np.inf, "a number from 0"),
            ("num_steps", self.num_steps >= 1, "a whole number from 1"),
            ("tolerance", self.tolerance >= 0, "a number from 0"),
        ):
            check_option(self, name, is_right, wanted)
        answers = HostAnswers.of(labels, assessment)
        start = answers.vote_shares()
        scale = 4 * (1 - 1 / labels.num_classes) * _squares(answers, start).sum(axis=0)
        scale /= max(answers.label.size, 1)
        given = None if class_prior is None else np.asarray(class_prior, float)
        (weight, mean), averages, converged = iterate(
            functools.partial(self._step, answers, scale, given),
            start,
            max_steps=self.num_steps,
            tolerance=self.tolerance,
        )
        report = LabelerAccuracy.without_interval(
            answers.mean_prob(averages / averages.sum(axis=1, keepdims=True)),
            "the mean class probability of the answers",
            gold_counts(labels, assessment),
        )
        prior_weight = self.prior_precision * scale
        return Fit(
            WeightedAverage(on_device(weight), on_device(mean), on_device(prior_weight)),
            report,
            VOTES,
            () if converged else (NOT_CONVERGED,),
            class_prior=on_device(mean / mean.sum(axis=-1, keepdims=True)),
        )

    def _step(
        self,
        answers: HostAnswers,
        scale: Float[np.ndarray, " num_classes"],
        class_prior: Float[np.ndarray, "*examples num_classes"] | None,
        averages: ClassProbs,
    ) -> tuple[tuple[Weight, Float[np.ndarray, "*examples num_classes"]], ClassProbs]:
        """Precisions in units of their prior mean, means of the classes, and the averages."""
        mean = answers.mean_of_known(averages) if class_prior is None else class_prior
        # Without scale all answers agree on the class, and stay so: there are no squares.
        squares = _squares(answers, averages) / np.where(scale > 0, scale, np.inf)
        number = np.bincount(answers.labeler, minlength=answers.num_labelers)[:, None]
        weight = (self.prior_labels + number) / (self.prior_labels + squares)
        total = add_up(weight, answers.labeler, answers.example, answers.gold.size)
        total += self.prior_precision * scale
        found = answers.votes(weight[answers.labeler, answers.label])
        found += self.prior_precision * scale * mean
        found = np.where(total > 0, found / np.where(total > 0, total, 1.0), mean)
        return (weight, mean), answers.clamp(found)


def _squares(answers: HostAnswers, averages: ClassProbs) -> Weight:
    """Squared distances of each labeler's one-hot answers from the averages, summed."""
    shape = answers.num_labelers, answers.num_classes
    size, cell = shape[0] * shape[1], answers.cell
    from_labels = np.bincount(cell, 1 - 2 * averages[answers.example, answers.label], size).reshape(
        shape
    )
    return from_labels + add_up(averages**2, answers.example, answers.labeler, answers.num_labelers)
