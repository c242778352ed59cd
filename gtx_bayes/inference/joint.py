"""Labels and labelers jointly: choose a model, fit it, learn the dependence, say how sure."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, Key, PyTree, ScalarLike

from gtx_bayes.devices import examples_mesh, on_parts
from gtx_bayes.inference import by_parts, selection, variational
from gtx_bayes.inference.beta import BetaPosterior
from gtx_bayes.inference.by_parts import DealtCrowd
from gtx_bayes.inference.dependence import Dependence, tempered
from gtx_bayes.inference.priors import PRIORS, AbstractCohortPrior, prob_of_answer
from gtx_bayes.inference.selection import Candidate, Judgement
from gtx_bayes.inference.variational import VariationalFit
from gtx_bayes.labels import Assessment, Labels
from gtx_bayes.posterior import AnyModel, ClassPrior, batch_log_prob
from gtx_bayes.programs import program
from gtx_bayes.standard_size import (
    LEAST_LABELERS,
    LEAST_LABELS,
    first,
    in_standard_size,
    padded,
    standard_size,
    with_room,
)
from gtx_bayes.sums import AbstractSums, PlainSums

AUTO_MODELS = ("one-coin", "confusion")
"""Names of the models to choose from where none is asked for, simple ones first."""

MOST_JUDGED = 300_000
"""Answers that models are chosen by; more are thinned out by example."""

MOST_AT_ONCE = 4_000_000
"""Answers beyond which a fit goes by parts: float32 loses counts of more from one labeler."""

_PLAIN = PlainSums()


class PassedOn(NamedTuple):
    """What the examples of a fit know of the labelers and of the classes.

    The fit's evidence was computed with these, or with what differs from them by less than the
    tolerance of `incremental`.

    Attributes:
        labelers: the labelers at their posterior means.
        proportions: prior of the classes.
    """

    labelers: AnyModel
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
    independent: VariationalFit
    passed_on: PassedOn

    @property
    def choice(self) -> Choice:
        """What was fitted."""
        candidate = Candidate(self.model, self.prior, self.given_class_prior)
        return Choice(candidate, self.dependence, self.why)

    @property
    def given_class_prior(self) -> ClassPrior | None:
        """The prior of the classes if it was given; None if it is learnt."""
        return None if self.learns_class_prior else self.class_prior

    @property
    def log_evidence_bound(self) -> float:
        """Lower bound on the log-probability of all answers, labelers independent, in nats.

        Worked out when asked for: its gamma functions take longer to compile than all else here.
        """
        return self.independent.log_evidence_bound()

    @property
    def labelers(self) -> AnyModel:
        """The labelers at their posterior means."""
        num_labelers = self.counts.shape[0]
        room = with_room(self.counts, standard_size(num_labelers, LEAST_LABELERS))
        return first(num_labelers, posterior_mean(self.prior, room))

    def credible_interval(
        self,
        key: Key[Array, ""],
        labels: Labels,
        *,
        prob: float = 0.95,
        num_draws: int = 64,
        mesh: Mesh | None = None,
    ) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]:
        """Limits of the probability of each example's most probable class.

        Equal-tailed, over draws of the labelers and of rho: how far the confidence would move if
        both were known. Gold examples are not treated apart. Drawn over all devices of the mesh,
        on one where it is absent.
        """
        num_examples = labels.num_examples
        labels, _, class_prior = in_standard_size(
            labels, Assessment.none(num_examples, labels.num_classes), self.class_prior
        )
        assert class_prior is not None
        best = np.asarray(self.class_probs).argmax(axis=1).astype(np.int32)
        of = _Asked(
            self.prior,
            with_room(self.counts, labels.num_labelers),
            labels,
            class_prior,
            with_room(best, labels.num_examples),
        )
        prob_drawn: Callable[..., Float[Array, " num_examples"]]
        prob_drawn = partial(_prob_drawn, of) if mesh is None else _prob_drawn_dealt(of, mesh)
        draws = _draw_rho(key, self.dependence, num_draws)
        drawn = np.stack(
            [
                np.asarray(prob_drawn(at, draws, self.learns_class_prior), np.float32)
                for at in range(num_draws)
            ]
        )[:, :num_examples]
        low, high = np.quantile(drawn, [(1.0 - prob) / 2.0, (1.0 + prob) / 2.0], axis=0)
        return low, high


class _Asked(NamedTuple):
    """What class probabilities are drawn from, in standard size, and the class asked for."""

    prior: AbstractCohortPrior
    counts: Float[Array, "num_labelers ..."]
    labels: Labels
    class_prior: ClassPrior
    best: Int[Array, " num_examples"]


@program(static_argnames=("num_draws",))
def _draw_rho(
    key: Key[Array, ""], found: Dependence, num_draws: int
) -> tuple[Key[Array, " num_draws"], Float[Array, " num_draws"]]:
    """Draws of rho, and a key for the labelers that go with each."""
    key_rho, key_labelers = jax.random.split(key)
    values, probs = (jnp.asarray(part, float) for part in found)
    rho = jax.random.choice(key_rho, values, (num_draws,), p=probs)
    return jax.random.split(key_labelers, num_draws), rho


@program
def _prob_drawn(
    of: _Asked,
    at: ScalarLike,
    draws: tuple[Key[Array, " num_draws"], Float[Array, " num_draws"]],
    learns_class_prior: ScalarLike,
) -> Float[Array, " num_examples"]:
    """Probability of each example's class `best`, given the labelers and the rho of a draw."""
    key, rho = (part[at] for part in draws)
    # A prior that is learnt is part of the evidence, and tempered with it.
    even = jnp.full_like(of.class_prior, 1.0 / of.labels.num_classes)
    learnt = jnp.where(learns_class_prior, of.class_prior, 1.0)
    class_prior = jnp.where(learns_class_prior, even, of.class_prior)
    evidence = batch_log_prob(of.prior.sample(key, of.counts), of.labels) + jnp.log(learnt)
    probs = tempered(evidence, of.labels.labels_per_example(), class_prior, rho)
    return jnp.take_along_axis(probs, of.best[:, None], axis=1)[:, 0]


def _prob_drawn_dealt(of: _Asked, mesh: Mesh) -> Callable[..., Float[Array, " num_examples"]]:
    """The same as a function of what differs between draws, every device for its own examples."""
    crowd = by_parts.deal_crowd(of.labels, None, of.class_prior, mesh)
    of_examples = (crowd.dealt.spread(of.best, 0), crowd.own_prior)

    def prob_drawn(*of_draw: PyTree) -> Float[Array, " num_examples"]:
        shared = (of.prior, of.counts, crowd.class_prior, of_draw)
        found, _ = on_parts(_prob_drawn_share, crowd.dealt, shared, of_examples)
        return crowd.dealt.collect(found)

    return prob_drawn


def _prob_drawn_share(
    labels: Labels, sums: AbstractSums, shared: PyTree, of_examples: PyTree
) -> tuple[Float[Array, " num_examples"], None]:
    prior, counts, class_prior, of_draw = shared
    best, own_prior = of_examples
    given = class_prior if own_prior is None else own_prior
    return _prob_drawn(_Asked(prior, counts, labels, given, best), *of_draw), None


@program
def posterior_mean(
    prior: AbstractCohortPrior, counts: Float[Array, "num_labelers ..."]
) -> AnyModel:
    """The labelers at their posterior means, by one program."""
    return prior.posterior_mean(counts)


def fit(
    labels: Labels,
    assessment: Assessment,
    class_prior: ClassPrior | None = None,
    *,
    models: Sequence[str] = AUTO_MODELS,
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
        models: names in `PRIORS`, simple ones first; the only one is fitted unasked.
        dependence: rho, if it is given instead of learnt; 0 for independence.
        mesh: devices to fit on, from `devices.examples_mesh`; one where it is absent.
    """
    size = labels
    if mesh is None and labels.num_labels > MOST_AT_ONCE:
        mesh = examples_mesh(1)
    labels, assessment, class_prior = in_standard_size(labels, assessment, class_prior)
    found = choose(labels, assessment, class_prior, models=models, dependence=dependence)
    chosen = found.candidate
    dealt = None
    if mesh is None:
        independent = variational.fit(labels, assessment, chosen.prior, chosen.class_prior)
    else:
        dealt = by_parts.deal_crowd(labels, assessment, chosen.class_prior, mesh)
        independent = by_parts.fit(dealt, chosen.prior)
    return report(
        labels,
        assessment,
        independent,
        PassedOn(posterior_mean(independent.prior, independent.counts), independent.proportions),
        found.dependence,
        model=chosen.model,
        why=found.why,
        learns_class_prior=chosen.class_prior is None,
        size=size,
        dealt=dealt,
    )


def choose(
    labels: Labels,
    assessment: Assessment,
    class_prior: ClassPrior | None,
    *,
    models: Sequence[str],
    dependence: float | None,
) -> Choice:
    """The best of the models, and the dependence; arguments as for `fit`, in standard size."""
    candidates = _candidates(models, class_prior, labels.num_classes)
    known = None if dependence is None else Dependence.known(dependence)
    if len(candidates) == 1 and known is not None:
        return Choice(candidates[0], known, "")
    best, why = selection.choose(_judge(labels, assessment, candidates))
    return Choice(best.candidate, known or best.dependence, why if len(candidates) > 1 else "")


def report(
    labels: Labels,
    assessment: Assessment,
    independent: VariationalFit,
    passed_on: PassedOn,
    found: Dependence,
    *,
    model: str,
    why: str,
    learns_class_prior: bool,
    size: Labels,
    dealt: DealtCrowd | None = None,
) -> JointPosterior:
    """What a fit says once the dependence is known: class posteriors tempered, and the labelers.

    Args:
        labels: the answers, in standard size as all that follows.
        assessment: the gold.
        independent: the fit, answers taken for independent.
        passed_on: what its examples were computed with.
        found: the dependence.
        model: name of the labeler model.
        why: why this model, in words.
        learns_class_prior: whether the prior of the classes is learnt.
        size: the answers without the room to spare.
        dealt: the crowd dealt out to devices, which then do the work.
    """
    if dealt is None:
        class_probs, counts, accuracy = _describe(
            labels,
            assessment,
            independent.evidence,
            independent.kind_probs,
            independent.class_prior,
            independent.prior,
            found,
        )
    else:
        class_probs, counts, accuracy = _describe_dealt(dealt, independent, found)
    of_examples, of_labelers = partial(first, size.num_examples), partial(first, size.num_labelers)

    def of_classes(prior: Array) -> Array:
        return prior if prior.ndim == 1 else of_examples(prior)

    return JointPosterior(
        of_examples(class_probs),
        independent.prior,
        of_labelers(counts),
        of_labelers(accuracy),
        of_classes(independent.proportions),
        learns_class_prior,
        found,
        model,
        why,
        independent.converged,
        independent._replace(
            class_probs=of_examples(independent.class_probs),
            kind_probs=of_examples(independent.kind_probs),
            evidence=of_examples(independent.evidence),
            class_prior=of_classes(independent.class_prior),
            proportions=of_classes(independent.proportions),
            counts=of_labelers(independent.counts),
        ),
        PassedOn(of_labelers(passed_on.labelers), of_classes(passed_on.proportions)),
    )


@program
def _describe(
    labels: Labels,
    assessment: Assessment,
    evidence: Float[Array, "num_examples num_classes"],
    kind_probs: Float[Array, "num_examples num_classes num_kinds"],
    class_prior: ClassPrior,
    prior: AbstractCohortPrior,
    found: Dependence,
    sums: AbstractSums = _PLAIN,
) -> tuple[Array, Array, BetaPosterior]:
    """Class posteriors with the gold, and the labelers given them: counts and accuracies."""
    class_probs = found.class_posterior(evidence, labels.labels_per_example(), class_prior)
    class_probs = variational.clamp(class_probs, assessment)
    probs = variational.latent_probs(class_probs, kind_probs)
    counts = sums.of_labelers(lambda labels: prior.counts(labels, probs), labels)
    return class_probs, counts, _accuracy(labels, class_probs, prior, counts, sums)


def _describe_dealt(
    crowd: DealtCrowd, independent: VariationalFit, found: Dependence
) -> tuple[Array, Array, BetaPosterior]:
    """The same by parts."""
    dealt = crowd.dealt
    of_examples = (
        crowd.true_label,
        dealt.spread(independent.evidence, 0.0),
        dealt.spread(independent.kind_probs, 1.0),
        crowd.own_prior,
    )
    class_prior = independent.class_prior if crowd.own_prior is None else None
    shared = (class_prior, independent.prior, found)
    class_probs, (counts, accuracy) = on_parts(_describe_share, dealt, shared, of_examples)
    return dealt.collect(class_probs), counts, accuracy


def _describe_share(
    labels: Labels, sums: AbstractSums, shared: PyTree, of_examples: PyTree
) -> tuple[Array, tuple[Array, BetaPosterior]]:
    true_label, evidence, kind_probs, own_prior = of_examples
    class_prior, prior, found = shared
    class_probs, counts, accuracy = _describe(
        labels,
        Assessment(true_label, labels.num_classes),
        evidence,
        kind_probs,
        class_prior if own_prior is None else own_prior,
        prior,
        found,
        sums,
    )
    return class_probs, (counts, accuracy)


def _candidates(
    models: Sequence[str], class_prior: ClassPrior | None, num_classes: int
) -> list[Candidate]:
    if class_prior is not None:
        return [Candidate(model, PRIORS[model](num_classes), class_prior) for model in models]
    uniform = variational.even(num_classes)
    return [
        Candidate(model, PRIORS[model](num_classes), prior)
        for model in models
        for prior in (uniform, None)
    ]


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


def _accuracy(
    labels: Labels,
    class_probs: Float[Array, "num_examples num_classes"],
    prior: AbstractCohortPrior,
    counts: Float[Array, "num_labelers ..."],
    sums: AbstractSums = _PLAIN,
) -> BetaPosterior:
    class_total = sums.of_examples(variational.of_answered(labels, class_probs))
    uncertain = sums.of_labelers(lambda labels: uncertain_answers(labels, class_probs), labels)
    return accuracy(prior, counts, class_total, uncertain)


def uncertain_answers(
    labels: Labels, class_probs: Float[Array, "num_examples num_classes"]
) -> Float[Array, " num_labelers"]:
    r"""Variance of each labeler's number of right answers, :math:`\sum_a q_a (1 - q_a)`."""
    right = prob_of_answer(labels, class_probs)
    return jnp.zeros(labels.num_labelers).at[labels.labeler].add(right * (1.0 - right))


def accuracy(
    prior: AbstractCohortPrior,
    counts: Float[Array, "num_labelers ..."],
    class_total: Float[Array, " num_classes"],
    uncertain: Float[Array, " num_labelers"],
) -> BetaPosterior:
    """Posterior of accuracies, counts taken for uncertain.

    To the variance given the expected counts comes that of the count of right answers, over the
    square of their number with the prior's.

    Args:
        prior: prior of the labelers.
        counts: expected counts of the labelers.
        class_total: expected number of answered examples of each class.
        uncertain: see `uncertain_answers`.
    """
    shares = class_total + 1.0
    given = prior.accuracy(counts, shares / shares.sum())
    return given.widened(uncertain / (given.a + given.b) ** 2)
