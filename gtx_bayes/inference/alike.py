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

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from jaxtyping import Float, Int

from gtx_bayes.inference.dependence import (
    GRID,
    Dependence,
    class_log_scores,
    power_log_posterior,
)
from gtx_bayes.labels import MISSING, Assessment, Labels
from gtx_bayes.models.confusion import ConfusionMatrix, ConfusionPrior
from gtx_bayes.padding import on_device
from gtx_bayes.posterior import ClassPrior

_LEAST_PROB = 1e-6  # of a value of rho that is not left out
_MOST_ROWS = 100_000  # examples that are worked on at the same time


class LabelersAlike(NamedTuple):
    """What gold says of labelers who are alike.

    Attributes:
        counts: gold labels by true class and answer, with the pseudo-counts of the prior.
        class_prior: proportions of the classes, given or counted.
        num_labels: how many labels of each class each example has.
        gold: the gold examples that have labels.
        truth: their classes.
        is_given: whether the prior of the classes was given.
    """

    counts: Float[np.ndarray, "num_classes num_classes"]
    class_prior: Float[np.ndarray, "*num_examples num_classes"]
    num_labels: Int[np.ndarray, "num_examples num_classes"]
    gold: Int[np.ndarray, " num_gold"]
    truth: Int[np.ndarray, " num_gold"]
    is_given: bool

    def first(self, num_examples: int) -> "LabelersAlike":
        """Without padding."""
        prior = self.class_prior if self.class_prior.ndim == 1 else self.class_prior[:num_examples]
        return self._replace(class_prior=prior, num_labels=self.num_labels[:num_examples])

    def among(self, labels: Labels, assessment: Assessment) -> "LabelersAlike":
        """The same, and other examples with the classes of those that are gold."""
        num_classes, label = len(self.counts), np.asarray(labels.label)
        is_there = (label != MISSING) & (label < num_classes)
        cell = np.asarray(labels.example)[is_there].astype(np.int64) * num_classes + label[is_there]
        of_cell = np.bincount(cell, minlength=labels.num_examples * num_classes)
        num_labels = of_cell.reshape(labels.num_examples, num_classes)
        truth = np.asarray(assessment.true_label)
        gold = np.flatnonzero((truth != MISSING) & (num_labels.sum(axis=1) > 0))
        return self._replace(num_labels=num_labels, gold=gold, truth=truth[gold])

    def gold_scores(
        self, values: npt.NDArray[np.float64] = GRID
    ) -> Float[np.ndarray, "num_gold num_values"]:
        """Log-probability of every gold label, itself left out, at some values of rho."""
        own = self.num_labels[self.gold]
        evidence = own @ np.log(_rows(self.counts)).T
        of_others = _rows(self.counts[self.truth] - own)
        evidence[np.arange(self.gold.size), self.truth] = (own * np.log(of_others)).sum(axis=1)
        prior = np.broadcast_to(self.class_prior, self.num_labels.shape)[self.gold]
        if not self.is_given:
            total = self.counted
            prior = total - np.eye(total.size)[self.truth]
            prior = prior / prior.sum(axis=1, keepdims=True)
        return class_log_scores(evidence, own.sum(axis=1), prior, self.truth, values)

    @property
    def counted(self) -> Float[np.ndarray, " num_classes"]:
        """Gold examples of each class, and one more."""
        return np.bincount(self.truth, minlength=len(self.counts)) + 1.0

    def class_probs(self, dependence: Dependence) -> Float[np.ndarray, "num_examples num_classes"]:
        """Class posteriors, rho integrated out; one at gold."""
        found = np.zeros(self.num_labels.shape)
        for begin in range(0, len(found), _MOST_ROWS):
            rows = slice(begin, begin + _MOST_ROWS)
            at_rho = self._at_rho(self.counts, rows)
            for rho, prob in zip(dependence.values, dependence.probs, strict=True):
                if prob > _LEAST_PROB:
                    found[rows] += prob * at_rho(rho)
        found[self.gold] = np.eye(len(self.counts))[self.truth]
        return found / found.sum(axis=1, keepdims=True)

    def draw_probs(
        self,
        rng: np.random.Generator,
        dependence: Dependence,
        asked: Int[np.ndarray, " num_examples"],
        num_draws: int,
    ) -> Float[np.ndarray, "num_draws num_examples"]:
        """Probabilities of one class of each example, at draws of the matrix and of rho."""
        drawn = np.empty((num_draws, asked.size))
        for at in range(num_draws):
            rho = rng.choice(dependence.values, p=dependence.probs / dependence.probs.sum())
            rows = np.array([rng.dirichlet(row) for row in self.counts])
            probs = self._at_rho(np.maximum(rows, np.finfo(np.float32).tiny), slice(None))(rho)
            drawn[at] = np.take_along_axis(probs, asked[:, None], axis=1)[:, 0]
        return drawn

    def labelers(self, num_labelers: int) -> ConfusionMatrix:
        """So many labelers at the posterior mean."""
        rows = np.broadcast_to(_rows(self.counts), (num_labelers, *self.counts.shape))
        return ConfusionMatrix(on_device(rows), len(self.counts))

    def _at_rho(
        self,
        counts: Float[np.ndarray, "num_classes num_classes"],
        rows: slice,
    ) -> Callable[[float], Float[np.ndarray, "num_rows num_classes"]]:
        """Class posteriors of some examples, for any rho."""
        labels, prior = self.num_labels[rows], self.class_prior
        of_rows = prior if prior.ndim == 1 else prior[rows]
        num_labels, evidence = labels.sum(axis=1), labels @ np.log(_rows(counts)).T
        return lambda rho: np.exp(power_log_posterior(evidence, num_labels, of_rows, rho))


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


def fit(
    labels: Labels, assessment: Assessment, class_prior: ClassPrior | None = None
) -> LabelersAlike | None:
    """Count the gold; None where no gold example has labels.

    Args:
        labels: the labels.
        assessment: the gold.
        class_prior: prior of each class, or of each class of each example; when absent their
            proportions are counted on gold.
    """
    num_classes = labels.num_classes
    nothing = np.zeros(0, np.int64)
    empty = LabelersAlike(
        np.array(ConfusionPrior.default(num_classes).weights, np.float64),
        np.zeros(num_classes),
        np.zeros((0, num_classes), np.int64),
        nothing,
        nothing,
        class_prior is not None,
    )
    found = empty.among(labels, assessment)
    if not found.gold.size:
        return None
    np.add.at(found.counts, found.truth, found.num_labels[found.gold])
    proportions = found.counted / found.counted.sum() if class_prior is None else class_prior
    return found._replace(class_prior=np.asarray(proportions, np.float64))


def _rows(counts: Float[np.ndarray, "*axes cells"]) -> Float[np.ndarray, "*axes cells"]:
    return counts / counts.sum(axis=-1, keepdims=True)
