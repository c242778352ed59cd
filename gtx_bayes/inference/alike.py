r"""All labelers taken for alike: one confusion matrix, counted on gold.

.. math::
    P(Y_i = y \mid \mathcal{L}(i)) \propto
        \pi_y \Big( \prod_{j \in \mathcal{J}(i)} \theta_{y, y_i^j} \Big)^{1 / (1 + (n_i - 1) \rho)}

with :math:`\theta` and the proportions :math:`\pi` of the classes at their posterior means given
the gold, and :math:`\rho` as everywhere else (`inference.dependence`). It learns nothing from
agreement, and so is not misled where agreement is not about the truth. Nothing is compiled.

References:
    The multinomial, or pooled, model of Paun et al. (2018), TACL 6, with the gold in the place of
    its sampled classes.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.special
from jaxtyping import Float, Int

from gtx_bayes.agreement import label_counts
from gtx_bayes.inference.dependence import (
    GRID,
    Dependence,
    class_log_scores,
    power_log_posterior,
)
from gtx_bayes.labels import MISSING, Assessment, Labels
from gtx_bayes.models.confusion import ConfusionMatrix
from gtx_bayes.models.hyperprior import HyperPrior, better_than_chance
from gtx_bayes.padding import on_device
from gtx_bayes.posterior import ClassPrior

_LEAST_PROB = 1e-6  # of a value of rho that is not left out
_MOST_ROWS = 100_000  # examples that are worked on at the same time


class LabelersAlike(NamedTuple):
    """What gold says of labelers who are alike.

    Attributes:
        counts: gold labels by true class and answer, with the pseudo-counts of the prior.
        class_total: gold examples of each class, those known from elsewhere, and one more.
        given_prior: prior of each class, or of each class of each example, if it was given.
        counts_by_example: how many labels of each class each gold example has.
        prior_by_example: prior of each class of each gold example, if a prior was given.
        truth: the classes of the gold examples.
    """

    counts: Float[np.ndarray, "num_classes num_classes"]
    class_total: Float[np.ndarray, " num_classes"]
    given_prior: Float[np.ndarray, "*num_examples num_classes"] | None
    counts_by_example: Int[np.ndarray, "num_gold num_classes"]
    prior_by_example: Float[np.ndarray, "num_gold num_classes"] | None
    truth: Int[np.ndarray, " num_gold"]

    @property
    def class_prior(self) -> Float[np.ndarray, "*num_examples num_classes"]:
        """Prior of the classes: as given, or counted."""
        return _rows(self.class_total) if self.given_prior is None else self.given_prior

    def gold_scores(
        self, values: npt.NDArray[np.float64] = GRID
    ) -> Float[np.ndarray, "num_gold num_values"]:
        """Log-probability of every gold label, itself left out, at some values of rho."""
        evidence = self.counts_by_example @ np.log(_rows(self.counts)).T
        leave_one_out = _rows(self.counts[self.truth] - self.counts_by_example)
        evidence[np.arange(self.truth.size), self.truth] = (
            self.counts_by_example * np.log(leave_one_out)
        ).sum(1)
        prior = self.prior_by_example
        if prior is None:
            prior = _rows(self.class_total - np.eye(len(self.counts))[self.truth])
        return class_log_scores(
            evidence, self.counts_by_example.sum(axis=1), prior, self.truth, values
        )

    def class_probs(
        self, labels: Labels, assessment: Assessment, dependence: Dependence
    ) -> Float[np.ndarray, "num_examples num_classes"]:
        """Class posteriors, rho integrated out; one at gold."""
        num_labels, log_rows = label_counts(labels), np.log(_rows(self.counts))
        found = np.zeros(num_labels.shape)
        for begin in range(0, len(found), _MOST_ROWS):
            rows = slice(begin, begin + _MOST_ROWS)
            for rho, prob in zip(dependence.values, dependence.probs, strict=True):
                if prob > _LEAST_PROB:
                    found[rows] += prob * self._posterior(num_labels[rows], log_rows, rho, begin)
        gold = np.flatnonzero(assessment.which_gold())
        found[gold] = np.eye(len(self.counts))[np.asarray(assessment.true_label)[gold]]
        return _rows(found)

    def draw_probs(
        self,
        rng: np.random.Generator,
        labels: Labels,
        dependence: Dependence,
        of_class: Int[np.ndarray, " num_examples"],
        num_draws: int,
    ) -> Float[np.ndarray, "num_draws num_examples"]:
        """Probabilities of one class of each example, at draws of the matrix and of rho.

        Logarithms of the matrix are drawn around those of its mean, which `class_probs` takes.
        """
        num_labels, drawn = label_counts(labels), np.empty((num_draws, of_class.size))
        of_rows = scipy.special.digamma(self.counts.sum(axis=1, keepdims=True))
        off = np.log(_rows(self.counts)) - scipy.special.digamma(self.counts) + of_rows
        least = np.finfo(np.float32).tiny
        for at in range(num_draws):
            rho = rng.choice(dependence.values, p=_rows(dependence.probs))
            rows = np.array([rng.dirichlet(row) for row in self.counts])
            probs = self._posterior(num_labels, np.log(np.maximum(rows, least)) + off, rho)
            drawn[at] = np.take_along_axis(probs, of_class[:, None], axis=1)[:, 0]
        return drawn

    def labelers(self, num_labelers: int) -> ConfusionMatrix:
        """So many labelers at the posterior mean."""
        rows = np.broadcast_to(_rows(self.counts), (num_labelers, *self.counts.shape))
        return ConfusionMatrix(on_device(rows), len(self.counts))

    def _posterior(
        self,
        num_labels: Int[np.ndarray, "num_rows num_classes"],
        log_rows: Float[np.ndarray, "num_classes num_classes"],
        rho: float,
        begin: int = 0,
    ) -> Float[np.ndarray, "num_rows num_classes"]:
        """Class posteriors of examples one after the other, from that of number `begin` on."""
        prior = self.class_prior
        prior = prior if prior.ndim == 1 else prior[begin : begin + len(num_labels)]
        evidence = num_labels @ log_rows.T
        return np.exp(power_log_posterior(evidence, num_labels.sum(axis=1), prior, rho))


class Alike(NamedTuple):
    """Labelers alike as a part of a pool.

    Attributes:
        labelers: what gold says of them.
        dependence: posterior of rho.
        weight: posterior weight in the pool.
    """

    labelers: LabelersAlike
    dependence: Dependence
    weight: float

    def class_probs(
        self, labels: Labels, assessment: Assessment
    ) -> Float[np.ndarray, "num_examples num_classes"]:
        """Class posteriors, one at gold."""
        return self.labelers.class_probs(labels, assessment, self.dependence)


def fit(
    labels: Labels, assessment: Assessment, class_prior: ClassPrior | None = None
) -> LabelersAlike | None:
    """Count the gold; None where no gold example has labels.

    Args:
        labels: the labels.
        assessment: the gold, and how many other tasks are known to be of each class.
        class_prior: prior of each class, or of each class of each example; when absent their
            proportions are counted.
    """
    num_classes, truth = labels.num_classes, np.asarray(assessment.true_label)
    gold = np.flatnonzero((truth != MISSING) & (labels.count_by_example() > 0))
    if not gold.size:
        return None
    counts_by_example, of_gold = label_counts(labels)[gold], truth[gold]
    given = prior_by_example = None
    concentration = np.exp(HyperPrior.for_classes(num_classes).log_concentration)
    counts = concentration * better_than_chance(num_classes)
    np.add.at(counts, of_gold, counts_by_example)
    class_total = np.bincount(of_gold, minlength=num_classes) + 1.0
    class_total += np.asarray(assessment.known_class_total, np.float64)
    if class_prior is not None:
        given = np.asarray(class_prior, np.float64)
        prior_by_example = (
            given[gold] if given.ndim == 2 else np.broadcast_to(given, counts_by_example.shape)
        )
    return LabelersAlike(counts, class_total, given, counts_by_example, prior_by_example, of_gold)


def _rows(counts: Float[np.ndarray, "*axes cells"]) -> Float[np.ndarray, "*axes cells"]:
    return counts / counts.sum(axis=-1, keepdims=True)
