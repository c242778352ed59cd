"""Labels and labelers jointly, by one model: fit it, and say how sure, given the dependence."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, ScalarLike

from gtx_bayes.inference import automatic, loop, variational
from gtx_bayes.inference.beta import BetaPosterior
from gtx_bayes.inference.dependence import Dependence, power_log_posterior, power_posterior
from gtx_bayes.inference.looks import Looks
from gtx_bayes.inference.loop import Chunk, ChunksInMemory
from gtx_bayes.inference.variational import VariationalFit
from gtx_bayes.labels import Assessment, Labels
from gtx_bayes.models.base import AbstractCohortPrior, AbstractLabelerModel
from gtx_bayes.models.conjugate import AbstractConjugateModel, AbstractConjugatePrior
from gtx_bayes.models.labelers import AbstractLabelers
from gtx_bayes.models.looks import SharedLooks
from gtx_bayes.padding import first, on_device, pad_to
from gtx_bayes.posterior import ClassPrior
from gtx_bayes.registry import MODELS
from gtx_bayes.sums import (
    FixedPoint,
    Segments,
    count_by_segment,
    from_fixed_point,
    over_examples,
    to_fixed_point,
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


class Candidate(NamedTuple):
    """A model to try.

    Attributes:
        model: name of the labeler model.
        prior: its cohort prior to start from, or the model itself where it has none.
        class_prior: prior of the classes; None to learn their proportions.
        trusts_gold_alone: whether labelers are known from gold and not from their agreement.
        has_looks: whether examples have looks that all labelers share, see `inference.looks`.
    """

    model: str
    prior: AbstractConjugatePrior | AbstractLabelerModel
    class_prior: ClassPrior | None
    trusts_gold_alone: bool = False
    has_looks: bool = False

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
        """Whether it is fitted to tables of padded size: labelers to spare cost nothing."""
        return isinstance(self.prior, AbstractConjugatePrior)

    @property
    def explains_dependence(self) -> bool:
        """Whether it says why labelers err together."""
        if isinstance(self.prior, AbstractLabelerModel):
            return self.prior.explains_dependence
        return self.has_looks

    def fit(self, labels: Labels, assessment: Assessment) -> VariationalFit:
        """The model fitted to a crowd."""
        if isinstance(self.prior, AbstractLabelerModel):
            return automatic.fit(self.prior, labels, assessment, self.class_prior)
        fit = variational.fit_from_gold if self.trusts_gold_alone else variational.fit
        return fit(labels, assessment, self.prior, self.class_prior)

    @property
    def name(self) -> str:
        """How the model is called in reports."""
        looks = " with looks" if self.has_looks else ""
        learnt = ", proportions of classes learnt" if self.class_prior is None else ""
        title = self.prior.title if isinstance(self.prior, AbstractLabelerModel) else self.model
        return title + looks + learnt


class Choice(NamedTuple):
    """What is fitted to a crowd.

    Attributes:
        candidate: the model.
        dependence: posterior of rho, or the value given.
    """

    candidate: Candidate
    dependence: Dependence


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
        converged: whether the fit came to rest.
        trusts_gold_alone: whether labelers are known from gold and not from their agreement.
        independent: the fit behind it, answers taken for independent.
        looks: looks on top of the fit, if examples have any.
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
    converged: bool
    trusts_gold_alone: bool
    independent: VariationalFit
    looks: Looks | None
    passed_on: PassedOn

    @property
    def choice(self) -> Choice:
        """What was fitted."""
        prior = self.prior
        start = prior if isinstance(prior, AbstractConjugatePrior) else self.labeler_model
        candidate = Candidate(
            self.model,
            start,
            self.given_class_prior,
            self.trusts_gold_alone,
            self.looks is not None,
        )
        return Choice(candidate, self.dependence)

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

    def with_looks(self, labelers: AbstractLabelers) -> AbstractLabelers:
        """Labelers among examples that look like those of the fit."""
        return labelers if self.looks is None else SharedLooks(labelers, self.looks.log_shares)

    def probs_by_rho(
        self, labels: Labels, assessment: Assessment
    ) -> Iterator[tuple[float, Float[np.ndarray, "num_examples num_classes"]]]:
        """Class posteriors at a few values of rho, each after its weight; one at gold.

        Args:
            labels: the answers.
            assessment: the gold.
        """
        evidence = np.asarray(evidence_of(self.independent, self.looks))
        given = evidence, labels.count_by_example(), np.asarray(self.independent.class_prior)
        gold = np.flatnonzero(assessment.which_gold())
        of_gold = np.eye(labels.num_classes)[np.asarray(assessment.true_label)[gold]]
        for rho, weight in zip(*self.dependence.nodes(), strict=True):
            if weight > 0.0:
                probs = np.exp(power_log_posterior(*given, rho))
                probs[gold] = of_gold
                yield float(weight), probs

    def draw_probs(
        self,
        rng: np.random.Generator,
        labels: Labels,
        of_class: Int[np.ndarray, " num_examples"],
        num_draws: int,
        *,
        mesh: Mesh | None = None,
    ) -> Float[np.ndarray, "num_draws num_examples"]:
        """Probabilities of one class of each example, at draws of all that is uncertain.

        That is the labelers, what their cohort shares, and rho. Each draw moves an example's
        evidence from where the fit has it by what its answers' log-probabilities differ from
        those at the posterior means. Gold examples are not treated apart.

        Args:
            rng: what to draw by.
            labels: the answers.
            of_class: the class of each example.
            num_draws: how many draws.
            mesh: devices to work on; one where it is absent.
        """
        num_examples = labels.num_examples
        fit = self.independent
        labels, _, class_prior = self.prior.in_size(
            labels, Assessment.none(num_examples, labels.num_classes), fit.class_prior
        )
        assert class_prior is not None
        of = DrawRequest(
            fit.prior,
            pad_to(fit.counts, labels.num_labelers),
            labels,
            class_prior,
            pad_to(evidence_of(fit, self.looks), labels.num_examples),
            pad_to(of_class, labels.num_examples),
        )
        draws = of.draws(rng, self.dependence, num_draws)
        found = of.drawn_probs(draws) if mesh is None else _drawn_by_chunk(of, list(draws), mesh)
        return found[:, :num_examples]


def evidence_of(
    independent: VariationalFit, looks: Looks | None
) -> Float[Array, "num_examples num_classes"]:
    """Evidence of a fit, looks summed out if there are any."""
    return independent.evidence if looks is None else looks.evidence


Draw = tuple[Any, float]
"""A draw of `AbstractCohortPrior.draw`, and a value of rho."""


class DrawRequest(NamedTuple):
    """Some examples of a fit in padded size, and the class of each whose probability is drawn.

    Attributes:
        prior: prior of the labelers, learnt.
        counts: expected counts of the labelers.
        labels: the answers to the examples.
        class_prior: prior of the classes; uniform where it is learnt.
        evidence: what the fit says of the examples.
        best: the class of each.
    """

    prior: AbstractCohortPrior
    counts: Float[Array, "num_labelers ..."]
    labels: Labels
    class_prior: ClassPrior
    evidence: Float[Array, "num_examples num_classes"]
    best: Int[Array, " num_examples"]

    def draws(
        self, rng: np.random.Generator, dependence: Dependence, num_draws: int
    ) -> Iterator[Draw]:
        """The labelers, after what their cohort shares, and rho."""
        rho = rng.choice(dependence.values, num_draws, p=dependence.probs)
        return zip(self.prior.draw(rng, self.counts, num_draws), rho, strict=True)

    def drawn_probs(self, draws: Iterable[Draw]) -> Float[np.ndarray, "num_draws num_examples"]:
        """Probability of the class of each example at some draws."""
        return np.stack([np.asarray(_prob_drawn(self, *draw), np.float32) for draw in draws])


@jax.jit
def _prob_drawn(of: DrawRequest, drawn: Any, rho: ScalarLike) -> Float[Array, " num_examples"]:
    """Probability of each example's class `best`, given the labelers and the rho of a draw."""
    evidence = of.prior.drawn_evidence(drawn, of.counts, of.labels, of.class_prior, of.evidence)
    probs = power_posterior(evidence, of.labels.labels_per_example(), of.class_prior, rho)
    return jnp.take_along_axis(probs, of.best[:, None], axis=1)[:, 0]


def _drawn_by_chunk(
    of: DrawRequest, draws: Sequence[Draw], mesh: Mesh
) -> Float[np.ndarray, "num_draws num_examples"]:
    """`Asked.drawn_probs`, every device for its own examples."""
    chunks = ChunksInMemory.cut(of.labels, None, of.class_prior, list(mesh.devices.flat))
    evidence, best = chunks.split(of.evidence, 0.0), chunks.split(of.best, 0)

    def one(at: int, chunk: Chunk) -> Float[np.ndarray, "num_rows num_draws"]:
        prior, counts = chunk.put((of.prior, of.counts))
        labels, class_prior = chunk.labels, chunk.class_prior
        request = DrawRequest(prior, counts, labels, class_prior, evidence[at], best[at])
        return request.drawn_probs(map(chunk.put, draws)).T

    return chunks.join(chunks.map("Intervals", one)).T


@jax.jit
def posterior_mean(
    prior: AbstractCohortPrior, counts: Float[Array, "num_labelers ..."]
) -> AbstractLabelers:
    """The labelers at their posterior means, by one program."""
    return prior.posterior_mean(counts)


def fit_chunks(
    labels: Labels, assessment: Assessment, chosen: Candidate, mesh: Mesh | None
) -> tuple[VariationalFit, ChunksInMemory]:
    """A model with a conjugate prior fitted chunk by chunk, over all devices of a mesh.

    Args:
        labels: the answers, in padded size.
        assessment: the gold, likewise.
        chosen: the model.
        mesh: devices to fit on; one where it is absent.
    """
    assert isinstance(chosen.prior, AbstractConjugatePrior)
    devices = jax.local_devices()[:1] if mesh is None else list(mesh.devices.flat)
    chunks = ChunksInMemory.cut(labels, assessment, chosen.class_prior, devices)
    rows = variational.rows_from_gold(labels, assessment)
    score = partial(variational.gold_log_score, labels, assessment)
    return loop.fit(chunks, chosen.prior, chosen.class_prior, rows, score), chunks


def report(
    labels: Labels,
    assessment: Assessment,
    choice: Choice,
    independent: VariationalFit,
    looks: Looks | None,
    passed_on: PassedOn,
    *,
    size: Labels,
    chunks: ChunksInMemory | None = None,
) -> JointPosterior:
    """What a fit says once the dependence is known: class posteriors under it, and the labelers.

    Args:
        labels: the answers, in padded size as all that follows.
        assessment: the gold.
        choice: what was fitted, and the dependence.
        independent: the fit, answers taken for independent.
        looks: looks on top of it, if examples have any.
        passed_on: what its examples were computed with.
        size: the answers without the padding.
        chunks: the tables cut up, where this is done chunk by chunk.
    """
    found = choice.dependence
    evidence = evidence_of(independent, looks)
    if chunks is None:
        class_probs, counts, class_total = describe(
            labels,
            assessment,
            evidence,
            independent.subclass_probs,
            independent.class_prior,
            independent.prior,
            found,
            on_device(found.nodes()[0]),
        )
    else:
        class_probs, counts, class_total = _describe_by_chunk(chunks, independent, evidence, found)
    sums = np.asarray(counts), np.asarray(class_total)
    return report_sums(*sums, class_probs, choice, independent, looks, passed_on, size=size)


def report_sums(
    by_rho: Float[np.ndarray, "num_labelers ..."],
    class_total: Float[np.ndarray, "num_nodes num_classes"],
    class_probs: Float[Array, "num_examples num_classes"],
    choice: Choice,
    independent: VariationalFit,
    looks: Looks | None,
    passed_on: PassedOn,
    *,
    size: Labels,
) -> JointPosterior:
    """`report`, by what `describe` found.

    Args:
        by_rho: expected counts of the labelers, with a last axis for rho.
        class_total: expected numbers of answered examples of each class, with a first axis for rho.
        class_probs: class posteriors.
        choice: as for `report`, like what follows; examples may have been let go.
        independent: the fit.
        looks: looks on top of it.
        passed_on: what its examples were computed with.
        size: the answers without the padding.
    """
    chosen, found = choice.candidate, choice.dependence
    weights = found.nodes()[1]
    if chosen.trusts_gold_alone:  # counts stay those of the fit
        by_rho = np.repeat(np.asarray(independent.counts)[..., None], weights.size, axis=-1)
    moments = independent.prior.accuracy_moments(by_rho, class_total, weights)
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
        independent.converged,
        chosen.trusts_gold_alone,
        independent._replace(
            class_probs=of_examples(independent.class_probs),
            subclass_probs=of_examples(independent.subclass_probs),
            evidence=of_examples(independent.evidence),
            class_prior=of_classes(independent.class_prior),
            proportions=of_classes(independent.proportions),
            counts=of_labelers(independent.counts),
        ),
        None if looks is None else looks._replace(evidence=of_examples(looks.evidence)),
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
    subclass_probs: Float[Array, "num_examples num_classes num_subclasses"],
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
    num_labels, earlier = labels.labels_per_example(), assessment.earlier
    class_probs = found.class_posterior(evidence, num_labels, class_prior)

    def at(rho: Float[Array, ""]) -> tuple[Array, Array]:
        probs = power_posterior(evidence, num_labels, class_prior, rho)
        probs = variational.clamp(probs, assessment)
        latent_probs = variational.latent_probs(probs, subclass_probs)
        counts = count_by_segment(
            lambda labels: prior.counts(labels, latent_probs), labels, segments
        )
        if earlier is not None and earlier.confusion is not None:
            assert isinstance(prior, AbstractConjugatePrior)
            counts = counts + prior.known_counts(earlier.confusion)
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
    counts: FixedPoint
    class_total: FixedPoint


def describe_chunk(
    chunk: Chunk,
    evidence: Float[Array, "num_examples num_classes"],
    subclass_probs: Float[Array, "num_examples num_classes num_subclasses"],
    prior: AbstractCohortPrior,
    found: Dependence,
) -> Described:
    """`describe` of a chunk."""
    labels, assessment, class_prior, segments = chunk
    shared = chunk.put((prior, found, on_device(found.nodes()[0])))
    class_probs, counts, class_total = describe(
        labels, assessment, evidence, subclass_probs, class_prior, *shared, segments
    )
    return Described(class_probs, chunk.by_labeler(counts), to_fixed_point(class_total))


def _describe_by_chunk(
    chunks: ChunksInMemory,
    independent: VariationalFit,
    evidence: Float[Array, "num_examples num_classes"],
    found: Dependence,
) -> tuple[Array, Array, Array]:
    """`describe` chunk by chunk."""
    evidence_by_chunk = chunks.split(evidence, 0.0)
    subclass_probs = chunks.split(independent.subclass_probs, 1.0)

    def one(at: int, chunk: Chunk) -> Described:
        return describe_chunk(
            chunk, evidence_by_chunk[at], subclass_probs[at], independent.prior, found
        )

    parts = chunks.map("Dependence", one)
    sums = chunks.add_up([(part.counts, part.class_total) for part in parts])
    counts, class_total = (jnp.asarray(from_fixed_point(values), float) for values in sums)
    class_probs = jax.device_put(chunks.join([part.class_probs for part in parts]))
    return class_probs, counts, class_total
