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
from jaxtyping import Array, Float, Int, ScalarLike

from gtx_bayes.inference import dependence, variational
from gtx_bayes.inference.dependence import GRID, Dependence
from gtx_bayes.inference.priors import AbstractCohortPrior
from gtx_bayes.labelers.hard_examples import HardExamples
from gtx_bayes.labels import MISSING, Assessment, Labels
from gtx_bayes.posterior import ClassPrior

NUM_PARTS = 4
_PART_OF_ANSWERS = 10  # a tenth of the answers is hidden at a time
_FEWEST_DECIDING = 30  # labels that a standard error is trusted with


class Candidate(NamedTuple):
    """A model to try.

    Attributes:
        model: name of the labeler model.
        prior: its cohort prior to start from.
        class_prior: prior of the classes; None to learn their proportions.
    """

    model: str
    prior: AbstractCohortPrior
    class_prior: ClassPrior | None

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
    gold = _gold_scores(labels, assessment, candidate)
    hidden = [_without_answers(labels, assessment, candidate, part) for part in range(NUM_PARTS)]
    grid = np.array([sum(part.total(rho) for part in hidden) for rho in GRID])
    found = dependence.learn(gold.sum(axis=0), grid * _PART_OF_ANSWERS / NUM_PARTS)
    at = int(np.argmin(np.abs(GRID - found.mean)))
    times_asked = np.sum([part.is_asked for part in hidden], axis=0)
    answers = np.sum([part.by_example(float(GRID[at])) for part in hidden], axis=0)
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
    num_labels = np.asarray(labels.labels_per_example())
    gold = gold[num_labels[gold] > 0]
    if gold.size < 2:
        return np.zeros((0, GRID.size))
    parts = scattered_parts(gold.size, min(NUM_PARTS, gold.size))
    scores = np.zeros((gold.size, GRID.size))
    for part in range(parts.max() + 1):
        hidden = truth.copy()
        hidden[gold[parts == part]] = MISSING
        seen = Assessment(jnp.asarray(hidden), assessment.num_classes)
        fit = variational.fit(labels, seen, candidate.prior, candidate.class_prior)
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
    """A fit without some answers, and what it needs to be asked for them."""

    labels: Labels
    num_left: Int[Array, " num_examples"]
    weight: Float[Array, " num_labels"]
    log_table: Float[Array, "num_labelers num_latents num_classes"]
    evidence: Float[Array, "num_examples num_classes"]
    kind_probs: Float[Array, "num_examples num_classes num_kinds"]
    class_prior: ClassPrior

    @property
    def is_asked(self) -> npt.NDArray[np.bool_]:
        """Which examples have hidden answers to predict."""
        example = np.asarray(self.labels.example)[np.asarray(self.weight) > 0]
        return np.bincount(example, minlength=self.labels.num_examples) > 0

    def by_example(self, rho: float) -> npt.NDArray[np.float64]:
        """Log-probability of the hidden answers of every example, an answer's worth in all."""
        return np.asarray(_hidden_answers(self, rho), np.float64)

    def total(self, rho: float) -> float:
        """The same, all examples together."""
        return float(self.by_example(rho).sum())


def _without_answers(
    labels: Labels, assessment: Assessment, candidate: Candidate, part: int
) -> _Hidden:
    label = np.asarray(labels.label)
    answers = np.flatnonzero(label != MISSING)
    is_hidden = np.zeros(label.size, bool)
    is_hidden[answers] = scattered_parts(answers.size, _PART_OF_ANSWERS) == part
    kept = dataclasses.replace(
        labels, label=jnp.asarray(np.where(is_hidden, MISSING, label).astype(label.dtype))
    )
    fit = variational.fit(kept, assessment, candidate.prior, candidate.class_prior)
    num_left = kept.labels_per_example()
    # Where nothing is left to predict from, there is nothing to learn of rho.
    asked = jnp.asarray(is_hidden) & (num_left[labels.example] > 0)
    per_example = jnp.zeros(labels.num_examples).at[labels.example].add(asked)
    weight = jnp.where(asked, 1.0 / jnp.maximum(per_example[labels.example], 1.0), 0.0)
    log_table = jnp.log(_answer_probs(fit))
    return _Hidden(
        labels, num_left, weight, log_table, fit.evidence, fit.kind_probs, fit.class_prior
    )


def _answer_probs(
    fit: variational.VariationalFit,
) -> Float[Array, "num_labelers num_latents num_classes"]:
    """Posterior mean probability of every labeler's answers, by latent class."""
    model = fit.prior.posterior_mean(fit.counts)
    if isinstance(model, HardExamples):
        by_kind = jnp.stack([model.easy.confusion, model.hard.confusion], axis=2)
        return by_kind.reshape(model.num_labelers, -1, model.num_classes)
    return model.confusion


@jax.jit
def _hidden_answers(hidden: _Hidden, rho: ScalarLike) -> Float[Array, " num_examples"]:
    labels = hidden.labels
    probs = dependence.tempered(hidden.evidence, hidden.num_left, hidden.class_prior, rho)
    probs = variational.latent_probs(probs, hidden.kind_probs)
    log_answer = hidden.log_table[labels.labeler, :, jnp.maximum(labels.label, 0)]
    log_probs = jax.nn.logsumexp(jnp.log(probs)[labels.example] + log_answer, axis=1)
    weighted = jnp.where(hidden.weight > 0, hidden.weight * log_probs, 0.0)
    return jnp.zeros(labels.num_examples).at[labels.example].add(weighted)


def scattered_parts(size: int, num_parts: int) -> npt.NDArray[np.int64]:
    """Parts of nearly equal size, scattered over the positions without any draw.

    Multiples of the golden ratio, fractions only: neighbours fall into different parts, and no
    period of the table is met.
    """
    place = np.argsort(np.argsort((np.arange(size) * 0.6180339887498949) % 1.0))
    return place * num_parts // max(size, 1)
