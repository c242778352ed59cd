r"""A fit that grows: new answers and new gold are learnt where they matter, and the rest is held.

The steps are those of `variational`, by blocks of examples. A block is solved with the class
posteriors of all other examples held, whose part of the labelers' expected counts stays,

.. math::
    \bar n_j = \bar n_j^{\text{before}} - \sum_{i \in B} \bar n_{ij}^{\text{before}}
        + \sum_{i \in B} \bar n_{ij}.

The first block holds the examples with new answers or new gold. The labelers who moved by it pass
the news on: the next block holds the examples that they answered, and so on until nobody moved. A
labeler's movement is counted from the parameters that all of these examples were last computed
with, not from the last update, so that many small updates do not add up to a large error unseen.
On the scale :math:`2 \sqrt{\theta}`, where the sampling error of a probability :math:`\theta` is
the same everywhere, no parameter stays off by more than twice the tolerance.

Every model of a pool grows so; their weights and the posterior of rho are those of `weighing.weigh`
for all that is known now. Models that were left out stay out.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jaxtyping import Array, Bool, Float

from gtx_bayes.inference import alike, joint, pool, variational, weighing
from gtx_bayes.inference.joint import Choice, JointPosterior, PassedOn
from gtx_bayes.inference.pool import Pool
from gtx_bayes.inference.variational import State, Totals, VariationalFit
from gtx_bayes.labels import MISSING, Assessment, Labels
from gtx_bayes.log_space import softmax_over_classes
from gtx_bayes.models.base import AbstractCohortPrior, AbstractLabelerModel
from gtx_bayes.models.conjugate import AbstractConjugatePrior
from gtx_bayes.models.labelers import AbstractLabelers
from gtx_bayes.padding import (
    LEAST_EXAMPLES,
    LEAST_LABELS,
    bucket_size,
    pad_to,
    padded,
)
from gtx_bayes.posterior import ClassPrior, batch_log_prob

TOLERANCE = 0.01
"""How far a labeler may move, on the scale of twice the root of a probability, unnoticed."""

MAX_ROUNDS = 30
_GROWTH = 4  # from one size of blocks to the next

Indices = npt.NDArray[np.integer]


class Update(NamedTuple):
    """A fit that has grown.

    Attributes:
        joint: the fit.
        num_recomputed: how many class posteriors were computed for it, an example counting as
            often as it was in a block, once for every model of the pool.
    """

    joint: Pool
    num_recomputed: int


class _Grown(NamedTuple):
    """A model of the pool that has grown."""

    fit: VariationalFit
    passed_on: PassedOn
    num_recomputed: int


class _Whole(NamedTuple):
    """The fit of the whole crowd between two blocks, padded.

    Attributes:
        fit: the fit, its arrays of examples and its counts on the host.
        num_labels: number of each example's answers that it knows of.
        class_total: expected number of answered examples of each class.
        learns: whether the proportions of the classes are learnt.
    """

    fit: VariationalFit
    num_labels: npt.NDArray[np.integer]
    class_total: npt.NDArray[np.float64]
    learns: bool

    @property
    def proportions(self) -> ClassPrior:
        """The prior of the classes given, or the proportions learnt."""
        total = jnp.asarray(self.class_total, float)
        return variational.proportions_at_end(total, self.fit.class_prior, self.learns)

    @property
    def labelers(self) -> AbstractLabelers:
        """The labelers at their posterior means."""
        return joint.posterior_mean(self.fit.prior, jnp.asarray(self.fit.counts))

    def block_prior(self, block: Indices) -> ClassPrior | None:
        """Prior of the classes of some examples; None where it is learnt."""
        prior = self.fit.class_prior
        if self.learns:
            return None
        return prior if prior.ndim == 1 else jax.device_put(np.asarray(prior)[block])

    def finished(self, num_examples: int) -> VariationalFit:
        """The fit on the device; padding is examples without answers."""
        fit, proportions = self.fit, self.proportions
        class_probs = np.array(fit.class_probs)
        if proportions.ndim == 1:
            class_probs[num_examples:] = proportions
        return fit._replace(
            class_probs=jnp.asarray(class_probs),
            subclass_probs=jnp.asarray(fit.subclass_probs),
            evidence=jnp.asarray(fit.evidence),
            counts=jnp.asarray(fit.counts),
            proportions=proportions,
        )


def update(
    old: Pool,
    before: Labels,
    labels: Labels,
    assessment: Assessment,
    changed: Indices,
    new_gold: Indices,
    *,
    tolerance: float = TOLERANCE,
) -> Update:
    """Learn from new answers and new gold.

    Args:
        old: the fit so far.
        before: the answers it was made from.
        labels: all answers now. Examples and labelers keep their indices, new ones follow.
        assessment: all gold now.
        changed: examples whose answers are not those they were, in ascending order.
        new_gold: examples that are gold and were not, likewise.
        tolerance: how far a labeler may move before the examples it answered are computed anew.

    Raises:
        ValueError: if there are new examples, and the prior of the classes was given example by
            example.
    """
    given = old.lead.independent.class_prior
    if given.ndim == 2 and labels.num_examples > before.num_examples:
        raise ValueError("new examples have no class prior, which was given example by example")
    if len({each.choice.candidate.is_padded for each in old.components}) > 1:
        return _refitted(old, labels, assessment)
    in_size, gold, _ = old.prior.in_size(labels, assessment, None)
    grown: list[_Grown] = []
    # Those that differ by looks alone grow once.
    once: dict[tuple[str | AbstractLabelerModel, bool], _Grown] = {}
    for each in old.components:
        key = (each.prior.labeler_model or each.model, each.learns_class_prior)
        if key not in once:
            once[key] = _update(each, before, labels, assessment, changed, new_gold, tolerance)
        grown.append(once[key])
    rho = old.dependence
    candidates = [each.choice.candidate for each in old.components]
    fitted = [
        weighing.Fitted(candidate, each.fit, pool.learn_looks(in_size, gold, candidate, each.fit))
        for candidate, each in zip(candidates, grown, strict=True)
    ]
    # Where nothing else is left to hold independence against, it stays as probable as it was.
    is_settled = len(weighing.may_be_true(candidates)) == len(candidates)
    prior_independent = rho.prob_independent if is_settled else old.prior_independent
    labelers_alike = None
    if old.takes_alike:
        labelers_alike = alike.fit(labels, assessment, old.given_class_prior)
    known = None if rho.is_learnt else rho.mean
    by = weighing.Weighing(known, prior_independent, labelers_alike)
    weighed = weighing.weigh(in_size, gold, fitted, by)
    if len(candidates) == 1:
        prob = old.lead.dependence.prob_independent
        settled = weighed.dependence[0].with_independence(prob)
        weighed = weighed._replace(dependence=(settled,))
    components = [
        joint.report(
            in_size,
            gold,
            Choice(own.candidate, rho),
            own.fit,
            own.looks,
            each.passed_on,
            size=labels,
        )
        for own, each, rho in zip(fitted, grown, weighed.dependence, strict=True)
    ]
    num_recomputed = sum(each.num_recomputed for each in once.values())
    return Update(old.reweighed(components, weighed, labels, assessment), num_recomputed)


def _refitted(old: Pool, labels: Labels, assessment: Assessment) -> Update:
    """All models fitted anew, where some have no conjugate prior: these know no blocks."""
    models = tuple(dict.fromkeys((*weighing.AUTO_MODELS, *(each.model for each in old.components))))
    rho = old.dependence
    found = pool.fit(
        labels,
        assessment,
        old.given_class_prior,
        models=models,
        dependence=None if rho.is_learnt else rho.mean,
        prior_independent=old.prior_independent,
    )
    return Update(found, labels.num_examples * len(models))


def _update(
    old: JointPosterior,
    before: Labels,
    labels: Labels,
    assessment: Assessment,
    changed: Indices,
    new_gold: Indices,
    tolerance: float,
) -> _Grown:
    """`update` of one model."""
    in_size, gold, class_prior = old.prior.in_size(labels, assessment, old.independent.class_prior)
    assert class_prior is not None
    if old.trusts_gold_alone or old.prior.labeler_model:  # what is new touches all at once
        given_prior = None if old.learns_class_prior else class_prior
        candidate = old.choice.candidate._replace(class_prior=given_prior)
        fit = candidate.fit(in_size, gold)
        labelers = joint.posterior_mean(fit.prior, fit.counts)
        return _Grown(fit, PassedOn(labelers, fit.proportions), labels.num_examples)
    whole = _padded(old, before, in_size, class_prior)
    passed_on = PassedOn(
        _rows_replaced(whole.labelers, old.passed_on.labelers), old.passed_on.proportions
    )
    known = np.asarray(gold.true_label)
    block = np.union1d(changed, new_gold)
    whole = _solve(whole, before, labels, known, block)
    num_recomputed = block.size
    for _ in range(MAX_ROUNDS):
        now = PassedOn(whole.labelers, whole.proportions)
        stale, passed_on = _pass_on(labels, passed_on, now, tolerance)
        block = np.setdiff1d(stale, block, assume_unique=True)
        if not block.size:
            break
        whole = _solve(whole, labels, labels, known, block)
        num_recomputed += block.size
    else:
        whole = whole._replace(fit=whole.fit._replace(converged=False))
    return _Grown(whole.finished(labels.num_examples), passed_on, num_recomputed)


def _padded(
    old: JointPosterior, before: Labels, in_size: Labels, class_prior: ClassPrior
) -> _Whole:
    """The fit so far, in the size to come."""
    fit = old.independent
    examples = (0, in_size.num_examples - before.num_examples)
    labelers = (0, in_size.num_labelers - before.num_labelers)
    subclass_probs = np.pad(fit.subclass_probs, (examples, (0, 0), (0, 0)))
    subclass_probs[before.num_examples :, :, 0] = 1.0
    counts = np.asarray(fit.counts)
    num_labels = np.bincount(
        np.asarray(before.example)[np.asarray(before.label) != MISSING],
        minlength=in_size.num_examples,
    )
    uniform = 1.0 / in_size.num_classes
    on_host: dict[str, Any] = {
        "class_probs": np.pad(fit.class_probs, (examples, (0, 0)), constant_values=uniform),
        "subclass_probs": subclass_probs,
        "evidence": np.pad(fit.evidence, (examples, (0, 0))),
        "counts": np.pad(counts, (labelers, *((0, 0) for _ in counts.shape[1:]))),
    }
    padded_fit = fit._replace(class_prior=class_prior, **on_host)
    class_total = _total(np.asarray(fit.class_probs), num_labels[: before.num_examples])
    return _Whole(padded_fit, num_labels, class_total, old.learns_class_prior)


def _solve(
    whole: _Whole,
    before: Labels,
    labels: Labels,
    known: npt.NDArray[np.integer],
    block: Indices,
) -> _Whole:
    """Class posteriors of some examples, all others held; `whole` knows the answers `before`."""
    if not block.size:
        return whole
    old = whole.fit
    num_labelers = old.counts.shape[0]
    gold = Assessment(jax.device_put(known[block]), labels.num_classes)
    was, now = (_of_block(table, block, num_labelers) for table in (before, labels))
    most = (bucket_size(labels.num_labels, LEAST_LABELS), old.class_probs.shape[0])
    num_labels, num_examples = _block_size(max(was.num_labels, now.num_labels), block.size, most)
    was, _, _ = padded(was, gold, None, num_labels=num_labels, num_examples=num_examples)
    now, gold, class_prior = padded(
        now, gold, whole.block_prior(block), num_labels=num_labels, num_examples=num_examples
    )
    class_probs, subclass_probs, is_answered = (
        pad_to(of[block], num_examples)
        for of in (old.class_probs, old.subclass_probs, whole.num_labels > 0)
    )
    of_block = np.asarray(_counts(old.prior, was, class_probs, subclass_probs))
    others_total = whole.class_total - _total(
        np.asarray(old.class_probs)[block], whole.num_labels[block]
    )
    others = Totals(
        jnp.asarray(
            np.maximum(old.counts - of_block, 0.0)
        ),  # zero but for rounding, if all are own
        jnp.asarray(np.maximum(others_total, 0.0), float),
    )
    counts = jnp.asarray(old.counts)
    start = _start(now, gold, old.prior, counts, class_probs, subclass_probs, is_answered)
    fit = variational.fit_state(now, gold, start, class_prior, others)

    def put(old: Any, new: Array) -> Any:
        renewed = old.copy()
        renewed[block] = np.asarray(new)[: block.size]
        return renewed

    counts_now: Any = np.asarray(fit.counts)
    num_labels_now = put(whole.num_labels, now.labels_per_example())
    found = old._replace(
        class_probs=put(old.class_probs, fit.class_probs),
        subclass_probs=put(old.subclass_probs, fit.subclass_probs),
        evidence=put(old.evidence, fit.evidence),
        counts=counts_now,
        prior=fit.prior,
        num_steps=old.num_steps + fit.num_steps,
        converged=old.converged and fit.converged,
    )
    own_total = _total(np.asarray(found.class_probs)[block], num_labels_now[block])
    return whole._replace(
        fit=found, num_labels=num_labels_now, class_total=others_total + own_total
    )


def _total(
    class_probs: npt.NDArray[np.floating], num_labels: npt.NDArray[np.integer]
) -> npt.NDArray[np.float64]:
    """Expected number of answered examples of each class."""
    is_answered = (num_labels > 0).astype(class_probs.dtype)
    return np.asarray(is_answered @ class_probs, np.float64)


def _of_block(labels: Labels, block: Indices, num_labelers: int) -> Labels:
    of_labelers = jax.tree.map(lambda x: pad_to(x, num_labelers), labels.labeler_covariates)
    return dataclasses.replace(
        labels.of_examples(block), num_labelers=num_labelers, labeler_covariates=of_labelers
    )


def _block_size(num_labels: int, num_examples: int, most: tuple[int, int]) -> tuple[int, int]:
    """Sizes that a block is padded to, of few; `most` are those of the whole crowd."""
    times = 1
    while num_labels > times * LEAST_LABELS or num_examples > times * LEAST_EXAMPLES:
        times *= _GROWTH
    return min(times * LEAST_LABELS, most[0]), min(times * LEAST_EXAMPLES, most[1])


@jax.jit
def _counts(
    prior: AbstractCohortPrior,
    labels: Labels,
    class_probs: Float[Array, "num_examples num_classes"],
    subclass_probs: Float[Array, "num_examples num_classes num_subclasses"],
) -> Float[Array, "num_labelers ..."]:
    return prior.counts(labels, variational.latent_probs(class_probs, subclass_probs))


@jax.jit
def _start(
    labels: Labels,
    assessment: Assessment,
    prior: AbstractCohortPrior,
    counts: Float[Array, "num_labelers ..."],
    class_probs: Float[Array, "num_examples num_classes"],
    subclass_probs: Float[Array, "num_examples num_classes num_subclasses"],
    is_answered: Bool[Array, " num_examples"],
) -> State:
    """Where the fit stands; for examples that are new to it what it says of their labelers."""
    assert isinstance(prior, AbstractConjugatePrior)
    by_votes = variational.start(labels, assessment, prior)
    evidence = batch_log_prob(prior.posterior_mean(counts), labels)
    class_probs = jnp.where(is_answered[:, None], class_probs, softmax_over_classes(evidence))
    subclass_probs = jnp.where(is_answered[:, None, None], subclass_probs, by_votes.subclass_probs)
    return State(variational.clamp(class_probs, assessment), subclass_probs, prior)


def _pass_on(
    labels: Labels, then: PassedOn, now: PassedOn, tolerance: float
) -> tuple[Indices, PassedOn]:
    """The examples that have to hear of a movement, and what all examples know once they have.

    Where something moved that all examples share, the classes' proportions or the share of hard
    examples, all have to.
    """
    movements = [
        _movement(*pair)
        for pair in zip(jax.tree.leaves(now.labelers), jax.tree.leaves(then.labelers), strict=True)
    ]
    shared = [found for found in movements if found.ndim == 0]
    if now.proportions.ndim == 1:
        shared.append(_movement(now.proportions, then.proportions))
    if any(found.max() > tolerance for found in shared):
        return np.arange(labels.num_examples), now
    by_labeler = [
        found.reshape(found.shape[0], -1).max(axis=1) for found in movements if found.ndim
    ]
    moved = np.max(by_labeler, axis=0) > tolerance
    is_informed = moved[np.asarray(labels.labeler)] & (np.asarray(labels.label) != MISSING)
    stale = np.zeros(labels.num_examples, bool)
    stale[np.asarray(labels.example)[is_informed]] = True

    def known(new: Array, old: Array) -> Array:
        if not new.ndim:
            return old
        is_row = moved.reshape(-1, *(1 for _ in new.shape[1:]))
        return jnp.asarray(np.where(is_row, new, old))

    labelers = jax.tree.map(known, now.labelers, then.labelers)
    return np.flatnonzero(stale), PassedOn(labelers, then.proportions)


def _movement(new: Array, old: Array) -> npt.NDArray[np.float64]:
    r"""Distance of probabilities on the scale :math:`2 \sqrt{\theta}`, or of their complements."""
    to, start = np.asarray(new, np.float64), np.asarray(old, np.float64)
    of_probs = np.abs(np.sqrt(to) - np.sqrt(start))
    of_complements = np.abs(np.sqrt(1.0 - to) - np.sqrt(1.0 - start))
    return np.asarray(2.0 * np.maximum(of_probs, of_complements))


def _rows_replaced(model: AbstractLabelers, first: AbstractLabelers) -> AbstractLabelers:
    """The model, with the first labelers as they are in another."""

    def replace(rows: Array, first: Array) -> Array:
        if not rows.ndim:
            return first
        return jnp.asarray(np.concatenate([first, np.asarray(rows)[first.shape[0] :]]))

    return jax.tree.map(replace, model, first)
