r"""Does the model fit the crowd? Answers replicated from a fit against the answers there are.

A replicate draws the labelers from their posterior, every example's class from its class
posterior, and an answer for each pair of example and labeler that the table holds: what the fit
misses, replicates lack. The answers were used to fit, so p-values are conservative.

Unless told otherwise what is tested is the labeler model with independent answers, the fit at
:math:`\rho = 0`, whatever the dependence of the result. The design effect
:math:`1 + (n - 1) \rho` is that of answers whose errors correlate by :math:`\rho` (Kish, 1965),
and this law can be replicated too (`correlated_answers`); which correlation matches the crowd's
agreement `matching_correlation` finds. What :math:`\rho` itself claims is calibration, and that is
checked on hidden gold (`calibration.hold_out_gold`). What all labelers get wrong alike no check
here can see.

References:
    Gelman, Meng and Stern (1996), Posterior predictive assessment of model fitness via realized
    discrepancies. Statistica Sinica 6.
    Kish (1965), Survey Sampling, sec. 5.4.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import scipy.sparse
import scipy.sparse.linalg
from jaxtyping import Array, Float, Int, Key, ScalarLike

from gtx_bayes.aggregation.result import Aggregation
from gtx_bayes.aggregation.tables import names_of_answers
from gtx_bayes.inference import pool
from gtx_bayes.inference.dependence import GRID
from gtx_bayes.inference.pool import Pool
from gtx_bayes.labels import MISSING, Assessment, Labels
from gtx_bayes.models.base import AbstractCohortPrior
from gtx_bayes.models.labelers import AbstractLabelers
from gtx_bayes.models.looks import SharedLooks
from gtx_bayes.padding import pad_to

MAX_Z = 3.0
"""A statistic further than this from its replicates, in their standard deviations, is a misfit."""

MIN_COMMON = 10
"""Examples that two labelers must both have answered to be compared."""

MAX_PAIRS_NAMED = 10
"""How many pairs of labelers are named at most."""

_MOST_PAIRED = 4_000_000  # pairs of answers compared; more are thinned out by example
_MANY_CELLS = 8  # classes of an example for each of its answers: they are sorted, not tabulated
_MOST_PAIRS = 50_000  # pairs of labelers; of more those with most examples in common are taken


class Check(NamedTuple):
    """One statistic, in the answers and in their replicates. NaN where it is not defined.

    Attributes:
        statistic: what it measures.
        observed: its value in the crowd's answers.
        replicated: its value in every replicate.
        only_more: whether only a larger value than the replicates' speaks against the model.
    """

    statistic: str
    observed: float
    replicated: npt.NDArray[np.float64]
    only_more: bool = False

    @property
    def z(self) -> float:
        """Distance from the replicates' mean in their standard deviations."""
        distance, sd = self.observed - self.replicated.mean(), self.replicated.std(ddof=1)
        if sd == 0.0 and not np.isnan(distance):
            return float(np.sign(distance) * np.inf) if distance else 0.0
        return float(distance / sd)

    @property
    def p(self) -> float:
        """Posterior predictive p-value, two-sided unless only more counts.

        Beyond all R replicates 2 / (R + 1), or 1 / (R + 1) where only more counts.
        """
        if np.isnan(self.observed):
            return float("nan")
        above = int(np.sum(self.replicated >= self.observed))
        if self.only_more:
            return (1 + above) / (1 + self.replicated.size)
        below = int(np.sum(self.replicated <= self.observed))
        return min(1.0, 2.0 * (1 + min(above, below)) / (1 + self.replicated.size))

    @property
    def fits(self) -> bool:
        """Whether nothing speaks against the model, be it for want of answers."""
        return not (self.z if self.only_more else abs(self.z)) > MAX_Z

    @property
    def verdict(self) -> str:
        """The same in words."""
        if np.isnan(self.z):
            return f"{self.statistic}: too few answers to tell"
        figures = f"(z = {self.z:.1f}, p = {self.p:.2g})"
        if self.fits:
            as_much = "no more than" if self.only_more else "as"
            return f"{self.statistic}: {as_much} in the model {figures}"
        return f"{self.statistic}: {'more' if self.z > 0 else 'less'} than in the model {figures}"


class LabelerPair(NamedTuple):
    """Two labelers who agree more, or less, than the model has it.

    Attributes:
        labelers: their names.
        num_common: how many examples they were compared on.
        observed: share of those on which they agree.
        expected: the same in the replicates, plus what each of both agrees more or less than
            there with everybody.
        z: difference in standard deviations of the replicates.
        p: share of replicates in which any pair stands out as much: corrected for the number of
            pairs.
    """

    labelers: tuple[str, str]
    num_common: int
    observed: float
    expected: float
    z: float
    p: float


class PredictiveChecks(NamedTuple):
    """What the replicates say of a fit.

    Attributes:
        agreement_per_example: variance over examples of the share of agreeing pairs of answers,
            examples with at least two answers.
        agreement_per_pair: who agrees with whom: mean square over pairs of labelers of the
            difference between the share of examples on which they agree and its expectation, both
            labelers' agreement with everybody allowed for. Pairs with at least `MIN_COMMON`
            examples in common, weighted by their number; not defined unless there are more pairs
            than labelers. Only a large value is a misfit: the fit adapts to the answers, and
            leaves less in them than in replicates, whose labelers are drawn.
        class_shares: for every class the share of answers that name it.
        pairs: the pairs of labelers that stand out most, at most `MAX_PAIRS_NAMED`.
        correlation: by how much errors on an example correlate in the replicates.
    """

    agreement_per_example: Check
    agreement_per_pair: Check
    class_shares: tuple[Check, ...]
    pairs: tuple[LabelerPair, ...]
    correlation: float = 0.0

    @property
    def problems(self) -> tuple[str, ...]:
        """Verdicts of the checks that fail; empty when none does."""
        checks = (self.agreement_per_example, self.agreement_per_pair, *self.class_shares)
        return tuple(check.verdict for check in checks if not check.fits)

    @property
    def verdict(self) -> str:
        """All of it in a sentence or two."""
        if not self.problems:
            return "Nothing in these checks speaks against the model."
        return "The model does not fit. " + ". ".join(self.problems) + "."


def predictive_checks(
    key: Key[Array, ""],
    result: Aggregation,
    *,
    correlation: float = 0.0,
    num_replicates: int = 100,
) -> PredictiveChecks:
    """Posterior predictive checks of a result's labeler model.

    Where the examples hold more than four million pairs of answers, pairs of labelers are
    compared on a random part of the examples; of more than 50 000 pairs of labelers, those with
    most examples in common are.

    Args:
        key: random key.
        result: of a method with a joint posterior.
        correlation: of errors on an example in the replicates, in [0, 1]. At 0 labelers are
            independent, and of a result with a dependence the heaviest model is fitted once more
            without; otherwise replicates come from the result as it is, model by model: give the
            mean of its dependence for the check after the design effect.
        num_replicates: R, at least 2.

    Raises:
        ValueError: if the method has no joint posterior, for fewer than 2 replicates, or a
            correlation outside [0, 1].
    """
    joint_posterior = _joint(result)
    if num_replicates < 2:
        raise ValueError(f"{num_replicates} replicates have no spread: draw at least 2")
    if not 0.0 <= correlation <= 1.0:
        raise ValueError(f"the correlation is {correlation:g}, outside [0, 1]")
    key_examples, key_replicates = jax.random.split(key)
    crowd = result.crowd
    labels = _without_padding(crowd.labels)
    found = _independent(result, joint_posterior) if correlation == 0.0 else joint_posterior
    num_answers = found.labelers.num_answers
    answers = np.minimum(np.asarray(labels.label), num_answers - 1)
    labels = dataclasses.replace(labels, label=jax.device_put(answers), num_answers=num_answers)
    pairs = pairs_of_labelers(key_examples, labels)

    def statistics(answers: npt.NDArray[np.integer]) -> tuple[Any, ...]:
        return (
            variance_of_agreement(labels, answers),
            pairs.share_agreeing(answers),
            class_shares(labels, answers),
        )

    variance, agreeing, shares = statistics(answers)
    replicates = _replicates(key_replicates, num_replicates, labels, found, correlation)
    replicated = map(np.stack, zip(*map(statistics, replicates), strict=True))
    variances, all_agreeing, all_shares = replicated
    overall, named = _compare_pairs(pairs, agreeing, all_agreeing, crowd.labeler_names)
    names = names_of_answers(crowd.answer_names, num_answers)
    return PredictiveChecks(
        Check("variation of agreement from example to example", variance, variances),
        overall,
        tuple(
            Check(f"answers '{name}'", share, each)
            for name, share, each in zip(names, shares, all_shares.T, strict=True)
        ),
        named,
        correlation,
    )


def matching_correlation(
    key: Key[Array, ""], result: Aggregation, *, num_replicates: int = 10
) -> float:
    """Correlation of errors on an example with which agreement varies most nearly as in the crowd.

    One of 0 and the values at which rho is learnt (`dependence.GRID`); the same random numbers
    for each.

    Args:
        key: random key.
        result: of a method with a joint posterior.
        num_replicates: replicates whose mean is compared.

    Raises:
        ValueError: if the method has no joint posterior.
    """
    found, labels = _joint(result), _without_padding(result.crowd.labels)
    observed = variance_of_agreement(labels, np.asarray(labels.label))

    def distance(correlation: float) -> float:
        drawn = _replicates(key, num_replicates, labels, found, correlation)
        return abs(float(np.mean([variance_of_agreement(labels, d) for d in drawn])) - observed)

    return min((0.0, *map(float, GRID)), key=distance)


def variance_of_agreement(labels: Labels, answers: npt.NDArray[np.integer]) -> float:
    r"""Variance over examples of the share of agreeing pairs of answers.

    .. math:: \frac{\sum_y n_{iy} (n_{iy} - 1)}{n_i (n_i - 1)}, \qquad n_i \ge 2

    Args:
        labels: the examples answered, without padding.
        answers: the answers, those of `labels` or others in their place.
    """
    total = labels.count_by_example().astype(np.int64)
    cell = np.asarray(labels.example, np.int64) * labels.num_answers + answers
    if labels.num_examples * labels.num_answers > _MANY_CELLS * cell.size:
        cell, votes = np.unique(cell, return_counts=True)
        paired = np.bincount(
            cell // labels.num_answers, votes * (votes - 1), minlength=labels.num_examples
        )
    else:
        votes = np.bincount(cell, minlength=labels.num_examples * labels.num_answers)
        by_example = votes.reshape(labels.num_examples, labels.num_answers)
        paired = (by_example * (by_example - 1.0)).sum(axis=1)
    is_paired = total > 1
    if not is_paired.any():
        return float("nan")
    total = total[is_paired]
    return float(np.var(paired[is_paired] / (total * (total - 1))))


def class_shares(labels: Labels, answers: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """Share of the answers that name each class; NaN without answers."""
    counts = np.bincount(answers, minlength=labels.num_answers)
    return counts / counts.sum() if answers.size else np.full(labels.num_answers, np.nan)


class Pairs(NamedTuple):
    """Pairs of answers to one example, by two labelers with enough examples in common.

    Attributes:
        first: position of one answer of each pair of answers.
        second: position of the other.
        pair: index of the pair of labelers they come from.
        labelers: the two labelers of every pair, shape (num_pairs, 2).
        num_common: how many pairs of answers each pair of labelers has.
    """

    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]
    pair: npt.NDArray[np.int64]
    labelers: npt.NDArray[np.int64]
    num_common: npt.NDArray[np.int64]

    def share_agreeing(self, answers: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
        """For every pair of labelers the share of examples to which they give one answer."""
        agrees = self.pair[answers[self.first] == answers[self.second]]
        return np.bincount(agrees, minlength=self.num_common.size) / self.num_common

    def without_labelers(self, excess: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        r"""What is left of :math:`d_{jk}` after the best :math:`u_j + u_k`, weighted least squares.

        An accuracy that is drawn a little off moves all pairs of its labeler.
        """
        distinct, of_pair = np.unique(self.labelers, return_inverse=True)
        of_pair = of_pair.reshape(self.labelers.shape)
        pair = np.repeat(np.arange(self.num_common.size), 2)
        shape = (self.num_common.size, distinct.size)
        both = scipy.sparse.csr_array((np.ones(pair.size), (pair, of_pair.reshape(-1))), shape)
        root = np.sqrt(self.num_common)
        effects = scipy.sparse.linalg.lsqr(
            both * root[:, None], excess * root, atol=1e-8, btol=1e-8
        )
        return excess - both @ effects[0]


def pairs_of_labelers(
    key: Key[Array, ""],
    labels: Labels,
    *,
    min_common: int = MIN_COMMON,
    most_paired: int = _MOST_PAIRED,
    most_pairs: int = _MOST_PAIRS,
) -> Pairs:
    """The pairs of labelers with at least `min_common` examples in common.

    Args:
        key: decides which examples are left out where there are more than `most_paired` pairs of
            answers: they are taken in random order until the next would pass it.
        labels: the answers, without padding.
        min_common: how many examples both must have answered.
        most_paired: how many pairs of answers are looked at.
        most_pairs: how many pairs of labelers, those with most examples in common first.
    """
    example, labeler = np.asarray(labels.example), np.asarray(labels.labeler, np.int64)
    num_answers = np.bincount(example, minlength=labels.num_examples)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    order = rng.permutation(labels.num_examples)
    is_taken = np.zeros(labels.num_examples, bool)
    so_far = np.cumsum((num_answers * (num_answers - 1) // 2)[order])
    is_taken[order[so_far <= most_paired]] = True

    # Each answer is paired with those that follow it in its example.
    position = np.arange(example.size)
    num_after = np.where(is_taken[example], np.cumsum(num_answers)[example] - 1 - position, 0)
    first = np.repeat(position, num_after)
    start = np.repeat(np.cumsum(num_after) - num_after, num_after)
    second = first + 1 + np.arange(first.size) - start
    one, other = labeler[first], labeler[second]
    code = np.minimum(one, other) * labels.num_labelers + np.maximum(one, other)
    distinct, pair, num_common = np.unique(code, return_inverse=True, return_counts=True)
    both = np.stack(np.divmod(distinct, labels.num_labelers), axis=1)
    kept = np.flatnonzero((num_common >= min_common) & (both[:, 0] != both[:, 1]))
    kept = np.sort(kept[np.argsort(-num_common[kept], kind="stable")[:most_pairs]])
    number = np.full(distinct.size, -1)
    number[kept] = np.arange(kept.size)
    of_kept = number[pair] >= 0
    return Pairs(
        first[of_kept], second[of_kept], number[pair[of_kept]], both[kept], num_common[kept]
    )


def _compare_pairs(
    pairs: Pairs,
    observed: npt.NDArray[np.float64],
    replicated: npt.NDArray[np.float64],
    names: npt.NDArray[np.object_],
) -> tuple[Check, tuple[LabelerPair, ...]]:
    """The statistic of all pairs, and the pairs that stand out most.

    A replicate is compared with the mean of the others, as the answers are with that of all.
    """
    name = "excess agreement of pairs of labelers"
    num_replicates, num_pairs = replicated.shape
    if num_pairs <= np.unique(pairs.labelers).size:  # labelers' own terms could explain it all
        return Check(name, float("nan"), np.full(num_replicates, np.nan), only_more=True), ()
    mean = replicated.mean(axis=0)
    bessel = num_replicates / (num_replicates - 1.0)
    excess = pairs.without_labelers(observed - mean)
    by_chance = np.stack([pairs.without_labelers(x) for x in (replicated - mean) * bessel])

    # No less than if answers had differed once in all replicates.
    least = 1.0 / (num_replicates * pairs.num_common**2.0)
    sd = np.sqrt(np.maximum(by_chance.var(axis=0, ddof=1), least))
    z, largest = excess / sd, np.max(np.abs(by_chance) / sd, axis=1)
    shown = np.argsort(-np.abs(z), kind="stable")[:MAX_PAIRS_NAMED]
    named = tuple(
        LabelerPair(
            (str(names[pairs.labelers[at, 0]]), str(names[pairs.labelers[at, 1]])),
            int(pairs.num_common[at]),
            float(observed[at]),
            float(observed[at] - excess[at]),
            float(z[at]),
            float((1 + np.sum(largest >= abs(z[at]))) / (1 + num_replicates)),
        )
        for at in shown
    )
    weights = pairs.num_common / pairs.num_common.sum()
    overall = Check(name, float(excess**2 @ weights), by_chance**2 @ weights, only_more=True)
    return overall, named


def _independent(result: Aggregation, found: Pool) -> Pool:
    """The fit at rho = 0, class prior and model as found."""
    if found.dependence.mean == 0.0:
        return found
    crowd = result.crowd
    return pool.fit(
        crowd.labels,
        crowd.assessment,
        found.class_prior,
        models=(found.labeler_model,),
        dependence=0.0,
    )


def _without_padding(labels: Labels) -> Labels:
    return labels.entries(np.flatnonzero(np.asarray(labels.label) != MISSING))


def _joint(result: Aggregation) -> Pool:
    if result.fit.joint is None:
        raise ValueError(f"{result.method} has no joint posterior to replicate answers from")
    return result.fit.joint


def _replicates(
    key: Key[Array, ""], number: int, labels: Labels, found: Pool, correlation: float
) -> Iterator[npt.NDArray[np.integer]]:
    """So many tables of other answers in the place of those given, which are padded for all."""
    none = Assessment.none(labels.num_examples, labels.num_classes)
    uniform = 1.0 / labels.num_classes
    keys = jax.random.split(key, number)
    shares = found.shares(np.random.default_rng(np.asarray(jax.random.key_data(key))), number)
    ends = np.cumsum(shares)
    for each, share, end in zip(found.components, shares, ends, strict=True):
        padded, _, _ = each.prior.in_size(labels, none, None)
        counts = pad_to(each.counts, padded.num_labelers)
        class_probs = pad_to(each.class_probs, padded.num_examples, fill=uniform)
        log_shares = None if each.looks is None else each.looks.log_shares
        given = padded, each.prior, counts, class_probs, correlation or None, log_shares
        for at in range(end - share, end):
            yield np.asarray(_replicate(keys, at, *given))[: labels.num_labels]


@jax.jit
def _replicate(
    keys: Key[Array, " num_replicates"],
    at: ScalarLike,
    labels: Labels,
    prior: AbstractCohortPrior,
    counts: Float[Array, "num_labelers ..."],
    class_probs: Float[Array, "num_examples num_classes"],
    correlation: ScalarLike | None,
    log_shares: Float[Array, " num_groups"] | None,
) -> Int[Array, " num_labels"]:
    key_labelers, key_classes, key_answers = jax.random.split(keys[at], 3)
    # A random number per example, not per class as `jax.random.categorical` takes.
    bounds = jnp.cumsum(class_probs, axis=1)
    uniform = jax.random.uniform(key_classes, (bounds.shape[0], 1), bounds.dtype)
    true_label = jnp.sum(bounds[:, :-1] <= uniform * bounds[:, -1:], axis=1)
    model = prior.sample(key_labelers, counts)
    model = model if log_shares is None else SharedLooks(model, log_shares)
    key_latents, key_labels = jax.random.split(key_answers)
    latent = model.draw_latents(key_latents, true_label)
    if correlation is None:
        return model.draw_labels(key_labels, labels, latent)
    return correlated_answers(key_labels, model, labels, latent, correlation=correlation)


def correlated_answers(
    key: Key[Array, ""],
    model: AbstractLabelers,
    labels: Labels,
    latent: Int[Array, " num_examples"],
    *,
    correlation: ScalarLike,
) -> Int[Array, " num_labels"]:
    r"""Labels whose errors on an example correlate, every labeler's own probabilities unchanged.

    An example has a number :math:`u_i`, uniform on [0, 1], and a labeler goes by it with
    probability :math:`\sqrt\rho`, else by one of its own. Below the labeler's accuracy it gives
    the right label, and above it the wrong ones, in an order that the class decides: those who
    err by the example's number err alike. Between labelers of one accuracy errors correlate by
    :math:`\rho`.

    Args:
        key: random key.
        model: the labelers.
        labels: who labels which example.
        latent: latent state of each example.
        correlation: :math:`\rho`.
    """
    key_example, key_own, key_shared = jax.random.split(key, 3)
    of_entry = latent[labels.example]
    true = of_entry // model.num_subclasses
    right_first = (true[:, None] + jnp.arange(model.num_answers)) % model.num_answers
    log_probs = model.log_prob_of_answers(labels, of_entry)
    probs = jnp.exp(jnp.take_along_axis(log_probs, right_first, axis=1))
    shape, dtype = labels.labeler.shape, probs.dtype
    of_example = jax.random.uniform(key_example, (labels.num_examples,), dtype)[labels.example]
    is_shared = jax.random.bernoulli(key_shared, jnp.sqrt(correlation), shape)
    number = jnp.where(is_shared, of_example, jax.random.uniform(key_own, shape, dtype))
    place = jnp.sum(number[:, None] >= jnp.cumsum(probs[:, :-1], axis=1), axis=1)
    return (true + place) % model.num_answers
