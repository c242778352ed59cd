"""Which labeler model fits a crowd: judged by labels and answers that the fit did not see.

Gold is hidden in parts, and so are answers, by position, without any draw. Every candidate is
fitted without the hidden part and asked for it: for the class of hidden gold, and for hidden
answers given the example's others.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jaxtyping import Array, Float, Int

from gtx_bayes.inference import automatic, dependence, variational
from gtx_bayes.inference.automatic import AutomaticPrior
from gtx_bayes.inference.dependence import GRID, Dependence
from gtx_bayes.labels import MISSING, Assessment, Labels
from gtx_bayes.models.base import AbstractLabelerModel
from gtx_bayes.models.conjugate import AbstractConjugateModel, AbstractConjugatePrior
from gtx_bayes.posterior import ClassPrior
from gtx_bayes.registry import MODELS
from gtx_bayes.standard_size import on_device, with_room

NUM_PARTS = 4
_PART_OF_ANSWERS = 10  # a tenth of the answers is hidden at a time
_FEWEST_DECIDING = 30  # labels that a standard error is trusted with


class Candidate(NamedTuple):
    """A model to try.

    Attributes:
        model: name of the labeler model.
        prior: its cohort prior to start from, or the model itself where it has none.
        class_prior: prior of the classes; None to learn their proportions.
        trusts_gold_alone: whether labelers are known from gold and not from their agreement.
        start: of a model without cohort prior a fit to labels like these, to start from.
    """

    model: str
    prior: AbstractConjugatePrior | AbstractLabelerModel
    class_prior: ClassPrior | None
    trusts_gold_alone: bool = False
    start: AutomaticPrior | None = None

    @classmethod
    def of(
        cls, named: str | AbstractLabelerModel, num_classes: int, class_prior: ClassPrior | None
    ) -> "Candidate":
        """A registered model, or one of the user's own."""
        model: AbstractLabelerModel = MODELS.build(named)
        prior: AbstractConjugatePrior | AbstractLabelerModel = model
        if isinstance(model, AbstractConjugateModel):
            prior = model.cohort_prior(num_classes)
        return cls(model.name, prior, class_prior)

    @property
    def is_padded(self) -> bool:
        """Whether it is fitted to tables of standard size: labelers to spare cost nothing."""
        return isinstance(self.prior, AbstractConjugatePrior)

    def fit(
        self, labels: Labels, assessment: Assessment, *, spread: bool = True
    ) -> variational.VariationalFit:
        """The model fitted to a crowd; without `spread` with less known of its uncertainty."""
        if isinstance(self.prior, AbstractLabelerModel):
            return automatic.fit(
                self.prior, labels, assessment, self.class_prior, start=self.start, spread=spread
            )
        fit = variational.fit_from_gold if self.trusts_gold_alone else variational.fit
        return fit(labels, assessment, self.prior, self.class_prior)

    @property
    def name(self) -> str:
        """How the model is called in reports."""
        return self.model + (", proportions of classes learnt" if self.class_prior is None else "")


class Judgement(NamedTuple):
    """How a candidate did, rho at its posterior mean.

    Attributes:
        candidate: the model.
        gold_log_scores: log-probability of every hidden gold label.
        answer_log_scores: mean log-probability of the hidden answers of every example that has
            any, and others to predict them from.
        dependence: posterior of rho under this model.
    """

    candidate: Candidate
    gold_log_scores: npt.NDArray[np.float64]
    answer_log_scores: npt.NDArray[np.float64]
    dependence: Dependence


def judge(labels: Labels, assessment: Assessment, candidate: Candidate) -> Judgement:
    """Fit a candidate without parts of the gold and of the answers, and score those."""
    near = candidate
    if isinstance(candidate.prior, AbstractLabelerModel):  # slow from afar, and quick from near by
        whole = candidate.fit(labels, assessment, spread=False).prior
        assert isinstance(whole, AutomaticPrior)
        near = candidate._replace(start=whole)
    gold = _gold_scores(labels, assessment, near)
    hidden = [_hidden_answers(labels, assessment, near, part) for part in range(NUM_PARTS)]
    grid = np.sum([part.total() for part in hidden], axis=0)
    found = dependence.learn(gold.sum(axis=0), grid * _PART_OF_ANSWERS / NUM_PARTS)
    at = int(np.argmin(np.abs(GRID - found.mean)))
    times_asked = np.sum([part.is_asked for part in hidden], axis=0)
    answers = np.sum([part.by_example(at) for part in hidden], axis=0)
    asked = times_asked > 0
    return Judgement(candidate, gold[:, at], answers[asked] / times_asked[asked], found)


def choose(judgements: Sequence[Judgement]) -> tuple[Judgement, str]:
    """The best candidate, and why in words.

    Hidden gold decides first, if there are at least 30 labels of it, then hidden answers.
    Candidates within one standard error of the best score (of the difference, label by label)
    count as equals, and of those that are left in the end the first is taken: list simple models
    first.
    """
    by_gold = _equals_of_best(judgements, lambda j: j.gold_log_scores)
    by_answers = _equals_of_best(by_gold, lambda j: j.answer_log_scores)
    chosen = by_answers[0]
    if len(by_gold) == 1 < len(judgements):
        why = f"it predicts hidden gold best, {_mean(chosen.gold_log_scores)} nats a label"
    elif len(by_answers) == 1 < len(by_gold):
        why = f"it predicts hidden answers best, {_mean(chosen.answer_log_scores)} nats an answer"
    else:
        why = "no other predicts hidden gold and answers better by a standard error"
    return chosen, why


def _equals_of_best(
    judgements: Sequence[Judgement], scores: Callable[[Judgement], npt.NDArray[np.float64]]
) -> list[Judgement]:
    size = min(scores(judgement).size for judgement in judgements)
    if size < _FEWEST_DECIDING:
        return list(judgements)
    best = max(judgements, key=lambda judgement: scores(judgement).mean())

    def is_equal(other: Judgement) -> bool:
        difference = scores(best) - scores(other)
        return bool(difference.mean() <= difference.std(ddof=1) / np.sqrt(size))

    return [judgement for judgement in judgements if is_equal(judgement)]


def _mean(scores: npt.NDArray[np.float64]) -> str:
    return f"{scores.mean():.3f}"


def _gold_scores(
    labels: Labels, assessment: Assessment, candidate: Candidate
) -> npt.NDArray[np.float64]:
    """Log-probability of every hidden gold label at every rho, shape (num_gold, grid)."""
    truth = np.asarray(assessment.true_label)
    gold = np.flatnonzero(truth != MISSING)
    num_labels = labels.count_by_example()
    gold = gold[num_labels[gold] > 0]
    if gold.size < 2:
        return np.zeros((0, GRID.size))
    parts = scattered_parts(gold.size, min(NUM_PARTS, gold.size))
    scores = np.zeros((gold.size, GRID.size))
    for part in range(parts.max() + 1):
        hidden = truth.copy()
        hidden[gold[parts == part]] = MISSING
        seen = Assessment(jax.device_put(hidden), assessment.num_classes)
        fit = candidate.fit(labels, seen, spread=False)
        mine = gold[parts == part]
        class_prior = np.asarray(fit.class_prior)
        scores[parts == part] = dependence.class_log_scores(
            np.asarray(fit.evidence)[mine],
            num_labels[mine],
            class_prior if class_prior.ndim == 1 else class_prior[mine],
            truth[mine],
        )
    return scores


class _Hidden(NamedTuple):
    """Hidden answers that there are others to predict from, their log-probabilities on `GRID`."""

    example: npt.NDArray[np.integer]
    log_scores: npt.NDArray[np.float64]
    num_examples: int

    @property
    def is_asked(self) -> npt.NDArray[np.bool_]:
        """Which examples have hidden answers to predict."""
        return self._asked > 0

    def by_example(self, at: int) -> npt.NDArray[np.float64]:
        """Log-probability of the hidden answers of every example, an answer's worth in all."""
        weighted = self.log_scores[at] * self._weight
        found = np.bincount(self.example, weighted, minlength=self.num_examples)
        return found.astype(np.float64)  # integers if there are none

    def total(self) -> npt.NDArray[np.float64]:
        """The same, all examples together, at every point of the grid."""
        return self.log_scores @ self._weight

    @property
    def _asked(self) -> npt.NDArray[np.integer]:
        return np.bincount(self.example, minlength=self.num_examples)

    @property
    def _weight(self) -> npt.NDArray[np.float64]:
        return 1.0 / self._asked[self.example]


def _hidden_answers(
    labels: Labels, assessment: Assessment, candidate: Candidate, part: int
) -> _Hidden:
    """Fit a candidate without a part of the answers, and score those."""
    example, label = np.asarray(labels.example), np.asarray(labels.label)
    answers = np.flatnonzero(label != MISSING)
    hidden = answers[scattered_parts(answers.size, _PART_OF_ANSWERS) == part]
    left = label.copy()
    left[hidden] = MISSING
    kept = dataclasses.replace(labels, label=jax.device_put(left))
    fit = candidate.fit(kept, assessment, spread=False)
    # Where nothing is left to predict from, there is nothing to learn of rho.
    asked = hidden[kept.count_by_example()[example[hidden]] > 0]
    # As many places as any table of this size can need: one program for all.
    places = with_room(asked.astype(np.int32), labels.num_labels // _PART_OF_ANSWERS + 1)
    log_scores = np.asarray(_log_scores(labels, kept, fit, places, on_device(GRID)), np.float64)
    return _Hidden(example[asked], log_scores[:, : asked.size], labels.num_examples)


@jax.jit
def _log_scores(
    labels: Labels,
    kept: Labels,
    fit: variational.VariationalFit,
    asked: Int[Array, " num_asked"],
    grid: Float[Array, " grid"],
) -> Float[Array, "grid num_asked"]:
    """Log-probability of some entries at every rho, given those `kept` for the fit."""
    example = labels.example[asked]
    num_left = kept.labels_per_example()[example]
    evidence, kind_probs = fit.evidence[example], fit.kind_probs[example]
    class_prior = fit.class_prior if fit.class_prior.ndim == 1 else fit.class_prior[example]
    hidden = dataclasses.replace(
        labels,
        example=labels.example[asked],
        labeler=labels.labeler[asked],
        label=labels.label[asked],
        covariates={name: values[asked] for name, values in labels.covariates.items()},
    )
    log_answer = fit.prior.posterior_mean(fit.counts).log_prob_of_labels(hidden)

    def at_rho(rho: Float[Array, ""]) -> Float[Array, " num_asked"]:
        probs = dependence.tempered(evidence, num_left, class_prior, rho)
        probs = variational.latent_probs(probs, kind_probs)
        return jax.nn.logsumexp(jnp.log(probs) + log_answer, axis=1)

    return jax.lax.map(at_rho, grid)


def scattered_parts(size: int, num_parts: int) -> npt.NDArray[np.int64]:
    """Parts of nearly equal size, scattered over the positions without any draw.

    Multiples of the golden ratio, fractions only: neighbours fall into different parts, and no
    period of the table is met.
    """
    place = np.argsort(np.argsort((np.arange(size) * 0.6180339887498949) % 1.0))
    return place * num_parts // max(size, 1)
