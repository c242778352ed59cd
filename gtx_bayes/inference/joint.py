"""Labels and labelers jointly: choose a model, fit it, learn the dependence, say how sure."""

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, Key, ScalarLike

from gtx_bayes.inference import loop, selection, variational
from gtx_bayes.inference.beta import BetaPosterior
from gtx_bayes.inference.dependence import Dependence, tempered
from gtx_bayes.inference.loop import Chunk, ChunksInMemory
from gtx_bayes.inference.selection import Candidate, Judgement
from gtx_bayes.inference.variational import VariationalFit
from gtx_bayes.labels import MISSING, Assessment, Labels
from gtx_bayes.models.base import AbstractCohortPrior, AbstractLabelerModel
from gtx_bayes.models.cohort import Cohort
from gtx_bayes.models.conjugate import AbstractConjugatePrior
from gtx_bayes.models.labelers import AbstractLabelers
from gtx_bayes.posterior import ClassPrior
from gtx_bayes.registry import MODELS
from gtx_bayes.standard_size import (
    LEAST_LABELS,
    first,
    in_standard_size,
    on_device,
    padded,
    standard_size,
    with_room,
)
from gtx_bayes.sums import Segments, Whole, as_whole, count_by_segment, from_whole, over_examples

AUTO_MODELS = ("one-coin", "confusion")
"""Names of the models to choose from where none is asked for, simple ones first."""

MOST_JUDGED = 300_000
"""Answers that models are chosen by; more are thinned out by example."""

MOST_AT_ONCE = 4_000_000
"""Answers beyond which a fit goes by chunks: float32 loses counts of more from one labeler."""

_WHY_GOLD_ALONE = (
    "most answers come from labelers who only ever give one class, so that agreement does not tell "
    "who is right; labelers are known from gold alone, and else taken for better than chance"
)


class PassedOn(NamedTuple):
    """What the examples of a fit know of the labelers and of the classes.

    The fit's evidence was computed with these, or with what differs from them by less than the
    tolerance of `incremental`.

    Attributes:
        labelers: the labelers at their posterior means.
        proportions: prior of the classes.
    """

    labelers: AbstractLabelers
    proportions: ClassPrior


class Choice(NamedTuple):
    """What is fitted to a crowd.

    Attributes:
        candidate: the model.
        dependence: posterior of rho, or the value given.
        why: why this model, in words; empty if it was asked for.
    """

    candidate: Candidate
    dependence: Dependence
    why: str


class JointPosterior(NamedTuple):
    """What gold and answers say of labels and labelers together.

    Attributes:
        class_probs: class posterior of each example, dependence and all; one at gold.
        prior: prior of the labelers, learnt.
        counts: expected counts of the labelers, given `class_probs`.
        accuracy: posterior of each labeler's accuracy, the labels' uncertainty included.
        class_prior: prior of the classes, given or learnt.
        learns_class_prior: whether it is learnt.
        dependence: posterior of rho.
        model: name of the labeler model.
        why: why this model, in words; empty if it was asked for.
        converged: whether the fit came to rest.
        trusts_gold_alone: whether labelers are known from gold and not from their agreement.
        independent: the fit behind it, answers taken for independent.
        passed_on: what the examples of that fit were computed with.
    """

    class_probs: Float[Array, "num_examples num_classes"]
    prior: AbstractCohortPrior
    counts: Float[Array, "num_labelers ..."]
    accuracy: BetaPosterior
    class_prior: ClassPrior
    learns_class_prior: bool
    dependence: Dependence
    model: str
    why: str
    converged: bool
    trusts_gold_alone: bool
    independent: VariationalFit
    passed_on: PassedOn

    @property
    def choice(self) -> Choice:
        """What was fitted."""
        prior = self.prior
        start = prior if isinstance(prior, AbstractConjugatePrior) else self.labeler_model
        candidate = Candidate(self.model, start, self.given_class_prior, self.trusts_gold_alone)
        return Choice(candidate, self.dependence, self.why)

    @property
    def labeler_model(self) -> AbstractLabelerModel:
        """The labeler model."""
        found: AbstractLabelerModel = self.prior.labeler_model or MODELS.build(self.model)
        return found

    @property
    def given_class_prior(self) -> ClassPrior | None:
        """The prior of the classes if it was given; None if it is learnt."""
        return None if self.learns_class_prior else self.class_prior

    @property
    def log_evidence_bound(self) -> float:
        """Lower bound on the log-probability of all answers, labelers independent, in nats.

        Of a model without conjugate prior Laplace's approximation to it.
        Worked out when asked for: its gamma functions take longer to compile than all else here.
        """
        return self.independent.log_evidence_bound()

    @property
    def labelers(self) -> AbstractLabelers:
        """The labelers at their posterior means."""
        found = posterior_mean(self.prior, self.prior.counts_in_size(self.counts))
        return self.prior.first_labelers(self.counts.shape[0], found)

    def credible_interval(
        self,
        key: Key[Array, ""],
        labels: Labels,
        *,
        prob: float = 0.95,
        num_draws: int = 64,
        mesh: Mesh | None = None,
    ) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]:
        """Limits for the probability of each example's most probable class.

        Equal-tailed, over draws of the labelers, of what their cohort shares and of rho: how far
        the confidence would move if all were known. Each draw moves an example's evidence from
        where the fit has it by what its answers' log-probabilities differ from those at the
        posterior means. The confidence is the mean of what is drawn; where that is so skew that
        its mean lies outside, the interval is widened to hold it. Gold examples are not treated
        apart. Drawn on all devices of the mesh, on one where it is absent.
        """
        num_examples = labels.num_examples
        fit = self.independent
        labels, _, class_prior = self.prior.in_size(
            labels, Assessment.none(num_examples, labels.num_classes), fit.class_prior
        )
        assert class_prior is not None
        class_probs = np.asarray(self.class_probs)
        best = class_probs.argmax(axis=1).astype(np.int32)
        of = _Asked(
            fit.prior,
            with_room(fit.counts, labels.num_labelers),
            labels,
            class_prior,
            with_room(fit.evidence, labels.num_examples),
            with_room(best, labels.num_examples),
        )
        # Drawn by NumPy where it can be: every compiled function with random numbers takes long to
        # trace and lower.
        words = np.asarray(jax.random.key_data(key))
        rng = np.random.default_rng(words)
        rho = on_device(rng.choice(self.dependence.values, num_draws, p=self.dependence.probs))
        keys = jax.random.wrap_key_data(
            jax.device_put(rng.integers(2**32, size=(num_draws, *words.shape), dtype=np.uint32)),
            impl=jax.random.key_impl(key),
        )
        cohorts = of.prior.draw_cohorts(rng, of.counts, num_draws)
        draws = keys, rho, cohorts
        drawn = _drawn(of, draws) if mesh is None else _drawn_by_chunk(of, draws, mesh)
        drawn = drawn[:, :num_examples]
        low, high = np.quantile(drawn, [(1.0 - prob) / 2.0, (1.0 + prob) / 2.0], axis=0)
        confidence = class_probs.max(axis=1)
        return np.minimum(low, confidence), np.maximum(high, confidence)


class _Asked(NamedTuple):
    """What class probabilities are drawn from, in standard size, and the class asked for."""

    prior: AbstractCohortPrior
    counts: Float[Array, "num_labelers ..."]
    labels: Labels
    class_prior: ClassPrior
    evidence: Float[Array, "num_examples num_classes"]
    best: Int[Array, " num_examples"]


_Draws = tuple[Key[Array, " num_draws"], Float[Array, " num_draws"], tuple[Cohort, ...]]
"""Keys to draw labelers with, values of rho, and what cohorts share."""


@jax.jit
def _prob_drawn(of: _Asked, at: ScalarLike, draws: _Draws) -> Float[Array, " num_examples"]:
    """Probability of each example's class `best`, given the labelers and the rho of a draw."""
    key, rho, cohorts = jax.tree.map(lambda part: part[at], draws)
    evidence = of.prior.drawn_evidence(
        key, cohorts, of.counts, of.labels, of.class_prior, of.evidence
    )
    probs = tempered(evidence, of.labels.labels_per_example(), of.class_prior, rho)
    return jnp.take_along_axis(probs, of.best[:, None], axis=1)[:, 0]


def _drawn(of: _Asked, draws: _Draws) -> Float[np.ndarray, "num_draws num_examples"]:
    """`_prob_drawn` of every draw."""
    keys, *_ = draws
    return np.stack([np.asarray(_prob_drawn(of, at, draws), np.float32) for at in range(keys.size)])


def _drawn_by_chunk(
    of: _Asked, draws: _Draws, mesh: Mesh
) -> Float[np.ndarray, "num_draws num_examples"]:
    """The same, every device for its own examples."""
    chunks = ChunksInMemory.cut(of.labels, None, of.class_prior, list(mesh.devices.flat))
    evidence, best = chunks.split(of.evidence, 0.0), chunks.split(of.best, 0)

    def one(at: int, chunk: Chunk) -> Float[np.ndarray, "num_rows num_draws"]:
        prior, counts, own_draws = chunk.put((of.prior, of.counts, draws))
        labels, class_prior = chunk.labels, chunk.class_prior
        own = _Asked(prior, counts, labels, class_prior, evidence[at], best[at])
        return _drawn(own, own_draws).T

    return chunks.join(chunks.map("Intervals", one)).T


@jax.jit
def posterior_mean(
    prior: AbstractCohortPrior, counts: Float[Array, "num_labelers ..."]
) -> AbstractLabelers:
    """The labelers at their posterior means, by one program."""
    return prior.posterior_mean(counts)


def fit(
    labels: Labels,
    assessment: Assessment,
    class_prior: ClassPrior | None = None,
    *,
    models: Sequence[str | AbstractLabelerModel] = AUTO_MODELS,
    dependence: float | None = None,
    mesh: Mesh | None = None,
) -> JointPosterior:
    """Choose among models, fit the best, and learn the dependence.

    Models are compared on one device, on part of a large crowd; the fit itself goes over all
    devices of the mesh.

    Args:
        labels: the answers.
        assessment: the gold.
        class_prior: prior of each class, or of each class of each example; when absent uniform or
            learnt, whichever does better.
        models: registered names or models, simple ones first; the only one is fitted unasked.
        dependence: rho, if it is given instead of learnt; 0 for independence.
        mesh: devices to fit on, from `devices.examples_mesh`; one where it is absent.
    """
    size = labels
    start = [Candidate.of(model, labels.num_classes, class_prior) for model in models]
    if all(candidate.is_padded for candidate in start):
        labels, assessment, class_prior = in_standard_size(
            labels.of_classes(), assessment, class_prior
        )
    found = choose(labels, assessment, class_prior, models=models, dependence=dependence)
    return fit_chosen(labels, assessment, found, size, mesh)


def fit_chosen(
    labels: Labels, assessment: Assessment, found: Choice, size: Labels, mesh: Mesh | None = None
) -> JointPosterior:
    """`fit` with the model chosen.

    Args:
        labels: the answers, in standard size.
        assessment: the gold, likewise.
        found: the model and the dependence.
        size: the answers without the room to spare.
        mesh: devices to fit on.
    """
    chosen = found.candidate
    prior = chosen.prior
    is_cut = mesh is not None or size.num_labels > MOST_AT_ONCE
    chunks = None
    if chosen.trusts_gold_alone or isinstance(prior, AbstractLabelerModel) or not is_cut:
        independent = chosen.fit(labels, assessment)
    else:
        devices = jax.local_devices()[:1] if mesh is None else list(mesh.devices.flat)
        chunks = ChunksInMemory.cut(labels, assessment, chosen.class_prior, devices)
        rows = variational.rows_from_gold(labels, assessment)
        independent = loop.fit(chunks, prior, chosen.class_prior, rows)
    labelers = posterior_mean(independent.prior, independent.counts)
    passed_on = PassedOn(labelers, independent.proportions)
    return report(labels, assessment, found, independent, passed_on, size=size, chunks=chunks)


def choose(
    labels: Labels,
    assessment: Assessment,
    class_prior: ClassPrior | None,
    *,
    models: Sequence[str | AbstractLabelerModel],
    dependence: float | None,
) -> Choice:
    """The best of the models, and the dependence; arguments as for `fit`, in standard size."""
    if tuple(models) == AUTO_MODELS and mostly_one_sided(labels):
        candidates = [_from_gold_alone(class_prior, labels.num_classes)]
    else:
        candidates = _candidates(models, class_prior, labels.num_classes)
    known = None if dependence is None else Dependence.known(dependence)
    why = _WHY_GOLD_ALONE if candidates[0].trusts_gold_alone else ""
    if len(candidates) == 1 and known is not None:
        return Choice(candidates[0], known, why)
    best, comparison = selection.choose(_judge(labels, assessment, candidates))
    if len(candidates) > 1:
        why = comparison
    return Choice(best.candidate, known or best.dependence, why)


def one_sided(labels: Labels) -> npt.NDArray[np.bool_]:
    """Which labelers only ever give one class, and hardly by chance.

    Chance is that all answer in the crowd's own proportions: a labeler alone must then be as
    uniform with a probability of a thousandth at most, over all labelers; or all the others who
    are uniform must be so many, over all sets of that size.
    """
    label = np.asarray(labels.label).astype(np.int64)
    is_answer = label != MISSING
    label, labeler = label[is_answer], np.asarray(labels.labeler)[is_answer]
    lowest = np.full(labels.num_labelers, labels.num_classes)
    highest = np.full(labels.num_labelers, -1)
    np.minimum.at(lowest, labeler, label)
    np.maximum.at(highest, labeler, label)
    number = np.bincount(labeler, minlength=labels.num_labelers)
    share = np.bincount(label, minlength=labels.num_classes) / max(1, int(label.size))
    distinct, place = np.unique(number, return_inverse=True)
    log_share = np.log(share[share > 0])
    # Of so many answers being all alike, whichever class it is.
    log_prob = np.array([np.logaddexp.reduce(n * log_share) if n else 0.0 for n in distinct])[place]
    rarely = np.log(1e-3)
    asked = number > 0
    is_uniform = asked & (lowest == highest)
    alone = is_uniform & (log_prob < rarely - np.log(max(1, int(np.count_nonzero(asked)))))
    others, rest = int(np.count_nonzero(asked & ~alone)), is_uniform & ~alone
    num_rest = int(np.count_nonzero(rest))
    num_sets = math.lgamma(others + 1) - math.lgamma(num_rest + 1)
    num_sets -= math.lgamma(others - num_rest + 1)
    return alone | rest if log_prob[rest].sum() + num_sets < rarely else alone


def mostly_one_sided(labels: Labels) -> bool:
    """Whether more than half of the answers come from such labelers."""
    is_answer = np.asarray(labels.label) != MISSING
    of_them = one_sided(labels)[np.asarray(labels.labeler)] & is_answer
    return bool(2 * np.count_nonzero(of_them) > np.count_nonzero(is_answer))


def _from_gold_alone(class_prior: ClassPrior | None, num_classes: int) -> Candidate:
    prior = variational.even(num_classes) if class_prior is None else class_prior
    return Candidate.of(AUTO_MODELS[0], num_classes, prior)._replace(trusts_gold_alone=True)


def report(
    labels: Labels,
    assessment: Assessment,
    choice: Choice,
    independent: VariationalFit,
    passed_on: PassedOn,
    *,
    size: Labels,
    chunks: ChunksInMemory | None = None,
) -> JointPosterior:
    """What a fit says once the dependence is known: class posteriors tempered, and the labelers.

    Args:
        labels: the answers, in standard size as all that follows.
        assessment: the gold.
        choice: what was fitted, and the dependence.
        independent: the fit, answers taken for independent.
        passed_on: what its examples were computed with.
        size: the answers without the padding.
        chunks: the tables cut up, where this is done chunk by chunk.
    """
    chosen, found = choice.candidate, choice.dependence
    values, weights = found.nodes()
    if chunks is None:
        class_probs, counts, class_total = describe(
            labels,
            assessment,
            independent.evidence,
            independent.kind_probs,
            independent.class_prior,
            independent.prior,
            found,
            on_device(values),
        )
    else:
        class_probs, counts, class_total = _describe_by_chunk(chunks, independent, found)
    by_rho = np.asarray(counts)
    if chosen.trusts_gold_alone:  # counts stay those of the fit
        by_rho = np.repeat(np.asarray(independent.counts)[..., None], weights.size, axis=-1)
    moments = independent.prior.accuracy_moments(by_rho, np.asarray(class_total), weights)
    accuracy = BetaPosterior.from_moments(*moments)
    counts = jax.device_put((by_rho @ weights).astype(by_rho.dtype))
    of_examples, of_labelers = partial(first, size.num_examples), partial(first, size.num_labelers)

    def of_classes(prior: Array) -> Array:
        return prior if prior.ndim == 1 else of_examples(prior)

    return JointPosterior(
        of_examples(class_probs),
        independent.prior,
        of_labelers(counts),
        of_labelers(accuracy),
        of_classes(independent.proportions),
        chosen.class_prior is None,
        found,
        chosen.model,
        choice.why,
        independent.converged,
        chosen.trusts_gold_alone,
        independent._replace(
            class_probs=of_examples(independent.class_probs),
            kind_probs=of_examples(independent.kind_probs),
            evidence=of_examples(independent.evidence),
            class_prior=of_classes(independent.class_prior),
            proportions=of_classes(independent.proportions),
            counts=of_labelers(independent.counts),
        ),
        PassedOn(
            independent.prior.first_labelers(size.num_labelers, passed_on.labelers),
            of_classes(passed_on.proportions),
        ),
    )


@jax.jit
def describe(
    labels: Labels,
    assessment: Assessment,
    evidence: Float[Array, "num_examples num_classes"],
    kind_probs: Float[Array, "num_examples num_classes num_kinds"],
    class_prior: ClassPrior,
    prior: AbstractCohortPrior,
    found: Dependence,
    nodes: Float[Array, " num_nodes"],
    segments: Segments | None = None,
) -> tuple[Array, Array, Array]:
    """Class posteriors with the gold; and at some values of rho what they add up to.

    Returns:
        The class posteriors, rho integrated out; expected counts of the labelers, or of segments if
        there are any, with a last axis for rho; expected numbers of answered examples of each
        class, with a first axis for rho.
    """
    num_labels = labels.labels_per_example()
    class_probs = found.class_posterior(evidence, num_labels, class_prior)

    def at(rho: Float[Array, ""]) -> tuple[Array, Array]:
        probs = tempered(evidence, num_labels, class_prior, rho)
        probs = variational.clamp(probs, assessment)
        latent_probs = variational.latent_probs(probs, kind_probs)
        counts = count_by_segment(
            lambda labels: prior.counts(labels, latent_probs), labels, segments
        )
        return counts, over_examples(variational.of_answered(labels, probs))

    by_rho, class_total = jax.lax.map(at, nodes)
    return variational.clamp(class_probs, assessment), jnp.moveaxis(by_rho, 0, -1), class_total


class Described(NamedTuple):
    """What `describe` finds of a chunk, sums as whole numbers.

    Attributes:
        class_probs: probability of each class of each example.
        counts: expected counts of the labelers at some values of rho, which the last axis is.
        class_total: expected number of answered examples of each class, by value of rho.
    """

    class_probs: Float[Array, "num_examples num_classes"]
    counts: Whole
    class_total: Whole


def describe_chunk(
    chunk: Chunk,
    evidence: Float[Array, "num_examples num_classes"],
    kind_probs: Float[Array, "num_examples num_classes num_kinds"],
    prior: AbstractCohortPrior,
    found: Dependence,
) -> Described:
    """`describe` of a chunk."""
    labels, assessment, class_prior, segments = chunk
    shared = chunk.put((prior, found, on_device(found.nodes()[0])))
    class_probs, counts, class_total = describe(
        labels, assessment, evidence, kind_probs, class_prior, *shared, segments
    )
    return Described(class_probs, chunk.by_labeler(counts), as_whole(class_total))


def _describe_by_chunk(
    chunks: ChunksInMemory, independent: VariationalFit, found: Dependence
) -> tuple[Array, Array, Array]:
    """`describe` chunk by chunk."""
    evidence = chunks.split(independent.evidence, 0.0)
    kind_probs = chunks.split(independent.kind_probs, 1.0)

    def one(at: int, chunk: Chunk) -> Described:
        return describe_chunk(chunk, evidence[at], kind_probs[at], independent.prior, found)

    parts = chunks.map("Dependence", one)
    sums = chunks.add_up([(part.counts, part.class_total) for part in parts])
    counts, class_total = (jnp.asarray(from_whole(values), float) for values in sums)
    class_probs = jax.device_put(chunks.join([part.class_probs for part in parts]))
    return class_probs, counts, class_total


def _candidates(
    models: Sequence[str | AbstractLabelerModel], class_prior: ClassPrior | None, num_classes: int
) -> list[Candidate]:
    priors = (variational.even(num_classes), None) if class_prior is None else (class_prior,)
    return [Candidate.of(model, num_classes, prior) for model in models for prior in priors]


def _judge(
    labels: Labels, assessment: Assessment, candidates: Sequence[Candidate]
) -> list[Judgement]:
    some = _thinned(labels, assessment)
    return [selection.judge(some, assessment, candidate) for candidate in candidates]


def _thinned(labels: Labels, assessment: Assessment) -> Labels:
    """All answers of about as many examples as have `MOST_JUDGED` between them, scattered."""
    if labels.num_labels <= MOST_JUDGED:
        return labels
    example = np.asarray(labels.example)
    is_gold = np.asarray(assessment.is_gold)[example]
    share = judged_share(int(np.count_nonzero(is_gold)), labels.num_labels)
    kept = labels.entries(np.flatnonzero(is_judged(example, is_gold, share)))
    num_labels = standard_size(kept.num_labels, LEAST_LABELS)
    return padded(kept, assessment, None, num_labels=num_labels, num_examples=labels.num_examples)[
        0
    ]


class JudgedShare(NamedTuple):
    """How many of the answers models are chosen by, gold first: there may be little of it.

    Attributes:
        of_gold: share of those to gold examples.
        of_others: share of the others.
    """

    of_gold: float
    of_others: float


def judged_share(num_to_gold: int, num_labels: int) -> JudgedShare:
    """Gold takes up to half of the room, where there is not room for all."""
    if num_labels <= MOST_JUDGED:
        return JudgedShare(1.0, 1.0)
    of_gold = min(1.0, MOST_JUDGED / 2 / max(num_to_gold, 1))
    room = MOST_JUDGED - of_gold * num_to_gold
    return JudgedShare(of_gold, min(1.0, room / max(num_labels - num_to_gold, 1)))


def is_judged(
    example: npt.NDArray[np.integer], is_gold: npt.NDArray[np.bool_], share: JudgedShare
) -> npt.NDArray[np.bool_]:
    """Which examples models are chosen by: multiples of the golden ratio, without any draw."""
    lot = (example * 0.6180339887498949) % 1.0
    return np.asarray(lot < np.where(is_gold, share.of_gold, share.of_others))
