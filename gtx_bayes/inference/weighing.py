"""What each model of a pool weighs, by leave-one-out scores of its fit: see `inference.pool`."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.special
from jaxtyping import Float

from gtx_bayes.inference import dependence as of_rho
from gtx_bayes.inference import joint
from gtx_bayes.inference.alike import Alike, LabelersAlike
from gtx_bayes.inference.dependence import GRID, Dependence
from gtx_bayes.inference.joint import Candidate
from gtx_bayes.inference.looks import Looks
from gtx_bayes.inference.loop import ChunksInMemory
from gtx_bayes.inference.stacking import stacking_weights
from gtx_bayes.inference.variational import VariationalFit
from gtx_bayes.labels import MISSING, Assessment, Labels
from gtx_bayes.padding import LEAST_LABELS, bucket_size, padded

AUTO_MODELS = ("one-coin", "confusion")
"""Names of the models of a pool where none is asked for."""

ORDINAL = "ordinal"
"""Name of the model that joins them where classes are in an order."""

DRIFT = "drift"
"""Name of the model that joins them where labelers change over time."""

SUBSAMPLE_SIZE = 300_000
"""Answers that models are weighed by where there are more than `MOST_AT_ONCE`."""

LEAST_WEIGHT = 1e-3
"""Models of less are left out."""

_PRIOR_OF_ONE_COIN = 0.18  # against a table for every labeler
_PRIOR_OF_OTHERS = 0.4  # of models for classes in an order and for change, where there are such
_PRIOR_LOGIT_EXPLAINED = -3.25  # of the dependence that is left where looks or a bloc explain it
_PRIOR_OF_LEARNT = 0.8  # that proportions of the classes are learnt, where none are given
_LEARNT_IF_INDEPENDENT = 0.05  # the same, where labelers are independent: the paper has them even
_LEAST = -1e300  # log-probability of what cannot be, finite so that differences are numbers
_EXAMPLES_OF_ANSWERS = 2.0  # how many examples' answers speak of which model is nearest
_PRIOR_OF_ALIKE = 0.1  # that labelers are alike, where there is gold
_PRIOR_LABELS = 1.0  # gold labels that the prior of the weights is worth


class Fitted(NamedTuple):
    """A model of a pool, fitted.

    Attributes:
        candidate: the model.
        fit: the fit, without looks.
        looks: looks on top of it; None where the candidate has none.
        chunks: what the fit went by; None where it was one table.
    """

    candidate: Candidate
    fit: VariationalFit
    looks: Looks | None = None
    chunks: ChunksInMemory | None = None


class Weighing(NamedTuple):
    """What is given where models are weighed.

    Attributes:
        dependence: rho; None to learn it.
        prior_independent: see `fit`.
        alike: labelers as if alike, in the size of the fits; None to leave that out.
    """

    dependence: float | None
    prior_independent: float
    alike: LabelersAlike | None = None

    @property
    def asks(self) -> bool:
        """Whether labelers may be independent."""
        return self.dependence is None and self.prior_independent > 0.0

    @property
    def grid(self) -> npt.NDArray[np.float64]:
        """The values of rho that gold is scored at."""
        return GRID if self.dependence is None else np.array([self.dependence])


class Weighed(NamedTuple):
    """What gold and answers say of some models.

    Attributes:
        weights: posterior weight of each, summing to one.
        dependence: posterior of rho under each, or the value that was given.
        alike: labelers as if alike, with the weight that the others leave.
    """

    weights: tuple[float, ...]
    dependence: tuple[Dependence, ...]
    alike: Alike | None = None

    @property
    def kept_alike(self) -> Alike | None:
        """Labelers as if alike; None where they weigh next to nothing."""
        is_light = self.alike is None or self.alike.weight < LEAST_WEIGHT
        return None if is_light else self.alike


def weigh(
    labels: Labels, assessment: Assessment, fitted: Sequence[Fitted], by: Weighing
) -> Weighed:
    """Weights of some models, and rho under each, by leave-one-out scores of their fits.

    The scores are those of a fit without the example but for what it has done to the prior of the
    labelers, the class posteriors of others, and the start: where a little gold contradicts the
    votes, several nats in favour of the gold.

    Args:
        labels: the answers, in the size of the fits.
        assessment: the gold.
        fitted: the models.
        by: what is given.
    """
    scores = [
        score(
            labels,
            assessment,
            each.candidate,
            np.asarray(joint.evidence_of(each.fit, each.looks)),
            np.asarray(each.fit.class_prior),
            by,
        )
        for each in fitted
    ]
    return weigh_scores([each.candidate for each in fitted], scores, by)


def weigh_scores(
    candidates: Sequence[Candidate], scores: Sequence["Scores"], by: Weighing
) -> Weighed:
    """`weigh`, by the scores alone."""
    centres = [
        _PRIOR_LOGIT_EXPLAINED if each.explains_dependence else of_rho.PRIOR_LOGIT
        for each in candidates
    ]
    of_gold = [each.gold for each in scores]
    if by.alike is not None:
        of_gold.append(by.alike.gold_scores(by.grid))
        centres.append(of_rho.PRIOR_LOGIT)
    if by.dependence is None:
        learnt = [
            of_rho.learn(each.sum(axis=0), centre)
            for each, centre in zip(of_gold, centres, strict=True)
        ]
        found, log_probs = zip(*learnt, strict=True)
    else:
        found = (Dependence.known(by.dependence),) * len(of_gold)
        log_probs = tuple(each.sum() for each in of_gold)
    log_prior = np.array([_log_prior(candidate) for candidate in candidates])
    gold = np.array(log_probs[: len(scores)])
    answers = np.array([each.answers for each in scores])
    of_answers = log_prior + _EXAMPLES_OF_ANSWERS * answers / max(
        each.num_answered for each in scores
    )
    if by.alike is None:
        weights = scipy.special.softmax(of_answers + gold)
    else:
        expected = (1.0 - _PRIOR_OF_ALIKE) * scipy.special.softmax(of_answers)
        predicted = [rho.predictive(each) for rho, each in zip(found, of_gold, strict=True)]
        weights = stacking_weights(
            np.stack(predicted, axis=1), _PRIOR_LABELS * np.append(expected, _PRIOR_OF_ALIKE)
        )
    paper, dependence = may_be_true(candidates), list(found[: len(scores)])
    if paper and len(candidates) > 1 and by.asks:
        # Among the others are the same models with dependent labelers, whom only gold can tell
        # apart.
        against = scipy.special.logsumexp(log_prior + gold + answers)
        against -= scipy.special.logsumexp(log_prior)
        own_scores = np.array([scores[at].gold[:, 0].sum() + answers[at] for at in paper])
        with np.errstate(divide="ignore"):
            against += np.log1p(-by.prior_independent)
            own_scores += np.log(by.prior_independent * _prior_if_independent(candidates, paper))
        *independent, others = scipy.special.softmax([*own_scores, against])
        weights = others * weights
        for at, prob in zip(paper, independent, strict=True):
            weights[at] += prob
            if prob > 0.0:
                dependence[at] = found[at].with_independence(prob / weights[at])
    if by.alike is None:
        return Weighed(tuple(weights.tolist()), tuple(dependence))
    shares = weights[:-1] / weights[:-1].sum()
    alike = Alike(by.alike, found[-1], float(weights[-1]))
    return Weighed(tuple(shares.tolist()), tuple(dependence), alike)


def _prior_if_independent(
    candidates: Sequence[Candidate], paper: Sequence[int]
) -> npt.NDArray[np.float64]:
    """Prior of those that may be true: each model as probable as one accuracy for every labeler."""
    is_learnt = np.array([candidates[at].class_prior is None for at in paper])
    is_other = np.array([candidates[at].model != AUTO_MODELS[0] for at in paper])
    shares = np.where(is_learnt, _LEARNT_IF_INDEPENDENT, 1.0 - _LEARNT_IF_INDEPENDENT)
    shares[~is_other] /= shares[~is_other].sum()
    shares[is_other] = 1.0
    return np.asarray(shares / shares.sum())


class Scores(NamedTuple):
    """Leave-one-out log-probabilities under a fit.

    Attributes:
        gold: of every gold label, given the answers, at every value of rho.
        answers: of all answers.
        num_answered: how many examples have answers; one if none has.
    """

    gold: Float[np.ndarray, "num_gold num_values"]
    answers: float
    num_answered: int

    @classmethod
    def least(cls, by: Weighing, num_gold: int) -> "Scores":
        """Those of a model that is out of the question."""
        return cls(np.full((num_gold, by.grid.size), of_rho.LEAST_SCORE), _LEAST, 1)


def score(
    labels: Labels,
    assessment: Assessment,
    candidate: Candidate,
    evidence: Float[np.ndarray, "num_examples num_classes"],
    class_prior: Float[np.ndarray, "*num_examples num_classes"],
    by: Weighing,
) -> Scores:
    """Leave-one-out scores of a fit.

    Args:
        labels: the answers.
        assessment: the gold.
        candidate: the model.
        evidence: as in `VariationalFit`, looks summed out if the model has any.
        class_prior: likewise.
        by: what is given.
    """
    of_gold = of_rho.gold_log_scores(labels, assessment, evidence, class_prior, by.grid)
    answers, num_answered = score_answers(labels, candidate, evidence, class_prior)
    return Scores(of_gold, answers, max(num_answered, 1))


def score_answers(
    labels: Labels,
    candidate: Candidate,
    evidence: Float[np.ndarray, "num_examples num_classes"],
    class_prior: Float[np.ndarray, "*num_examples num_classes"],
) -> tuple[float, int]:
    """Leave-one-out score of answers, and how many examples have any; arguments as for `score`."""
    prior = np.broadcast_to(class_prior, evidence.shape)
    answered = np.flatnonzero(labels.count_by_example() > 0)
    with np.errstate(divide="ignore"):
        is_learnt = candidate.class_prior is None
        log_prior = 0.0 if is_learnt else np.log(prior[answered], dtype=np.float64)
    of_answers = scipy.special.logsumexp(evidence[answered] + log_prior, axis=1)
    return float(of_answers.sum()), answered.size


def _log_prior(candidate: Candidate) -> float:
    """Log prior weight, up to what all share."""
    of_coin, of_tables = _PRIOR_OF_ONE_COIN, 1.0 - _PRIOR_OF_ONE_COIN
    of_model = dict(zip(AUTO_MODELS, (of_coin, of_tables), strict=True)).get(candidate.model)
    of_model = _PRIOR_OF_OTHERS if of_model is None else of_model
    of_learnt = _PRIOR_OF_LEARNT
    return float(np.log(of_model * (of_learnt if candidate.class_prior is None else 1 - of_learnt)))


def may_be_true(candidates: Sequence[Candidate]) -> list[int]:
    """The models of which it is asked whether the crowd is theirs, and labelers independent.

    The paper's, one accuracy for every labeler, the ordinal one, and that of accuracies that
    change; none with looks.
    """
    simple = (AUTO_MODELS[0], ORDINAL, DRIFT)
    return [k for k, each in enumerate(candidates) if each.model in simple and not each.has_looks]


def subsample(labels: Labels, assessment: Assessment) -> Labels:
    """All answers of about as many examples as have `SUBSAMPLE_SIZE` between them, scattered."""
    if labels.num_labels <= SUBSAMPLE_SIZE:
        return labels
    labels = labels.entries(np.flatnonzero(np.asarray(labels.label) != MISSING))
    example = np.asarray(labels.example)
    is_gold = np.asarray(assessment.is_gold)[example]
    share = subsample_share(int(np.count_nonzero(is_gold)), labels.num_labels)
    kept = labels.entries(np.flatnonzero(in_subsample(example, is_gold, share)))
    num_labels = bucket_size(kept.num_labels, LEAST_LABELS)
    return padded(kept, assessment, None, num_labels=num_labels, num_examples=labels.num_examples)[
        0
    ]


class SubsampleShare(NamedTuple):
    """How many of the answers models are chosen by, gold first: there may be little of it.

    Attributes:
        of_gold: share of those to gold examples.
        of_others: share of the others.
    """

    of_gold: float
    of_others: float


def subsample_share(num_to_gold: int, num_labels: int) -> SubsampleShare:
    """Gold takes up to half of the room, where there is not room for all."""
    if num_labels <= SUBSAMPLE_SIZE:
        return SubsampleShare(1.0, 1.0)
    of_gold = min(1.0, SUBSAMPLE_SIZE / 2 / max(num_to_gold, 1))
    left = SUBSAMPLE_SIZE - of_gold * num_to_gold
    return SubsampleShare(of_gold, min(1.0, left / max(num_labels - num_to_gold, 1)))


def in_subsample(
    example: npt.NDArray[np.integer], is_gold: npt.NDArray[np.bool_], share: SubsampleShare
) -> npt.NDArray[np.bool_]:
    """Which examples models are chosen by: multiples of the golden ratio, without any draw."""
    lot = (example * 0.6180339887498949) % 1.0
    return np.asarray(lot < np.where(is_gold, share.of_gold, share.of_others))
