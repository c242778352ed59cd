"""What weighted votes say of the classes: of one cohort, or of a batch of cohorts as a product.

A labeler's vote counts the log-likelihood ratio of the class voted for, so that the posterior is a
function of weighted votes. Each platform has the form that its compiler makes one pass of; a batch
of cohorts, by leading axes or by `jax.vmap`, is a matrix product of weights and votes.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Bool, Float, Int, Shaped

from gtx_bayes.dense_tpu import MOST_LABELERS, dense_on_tpu
from gtx_bayes.labels import Labels, PaddedLabels, Prefixes
from gtx_bayes.log_space import FixedPoint, LogNumber, normalise
from gtx_bayes.long_tpu import long_on_tpu, suits_tpu
from gtx_bayes.votes import (
    FEW_CLASSES,
    AnyLabels,
    Weight,
    balance_of_votes,
    class_votes,
    cohort_balance,
    cohort_votes,
    most_answers,
    most_known,
    most_voted,
    runs_longer_than,
)

_SHORT_SUM = 16  # so few float32 weights sum to 1e-5 without `fine`, accuracies up to 0.99
_WHOLE_SUM = 64  # labelers; each weight is off by at most what float32 rounds off 16 nats
_FEW_PAIRED = 4  # classes up to which a GPU compares them in pairs
_WHOLE_RUN = 32  # answers to an example in the long form, where their weights are not known
_LEAST_ON_TPU = 2**16  # answers; of fewer a kernel saves less than its tracing costs, everywhere

LogPrior = Float[Array, "*cohorts one_or_num_examples num_classes"]
Result = Float[Array, "*shape"]
Finish = Callable[[LogNumber, LogPrior], Result]
"""From votes, of shape (..., num_classes, num_examples), and a log prior to what is asked for."""


def log_odds(votes: LogNumber, log_prior: LogPrior) -> Float[Array, "*cohorts num_examples"]:
    """Log odds of class 1 against class 0, in nats; infinite where certain labelers decide.

    Args:
        votes: likelihood ratios of shape (..., 2, num_examples).
        log_prior: of shape (..., 1 or num_examples, 2). A class that it excludes stays excluded.
    """
    prior_odds = log_prior[..., 1] - log_prior[..., 0]
    zeros, coarse, fine = ((part[..., 0, :], part[..., 1, :]) for part in votes)
    finite = coarse[1] - coarse[0] + (fine[1] - fine[0] + prior_odds)
    overruled = jnp.isfinite(prior_odds) & (zeros[1] != zeros[0])
    return jnp.where(overruled, jnp.where(zeros[1] < zeros[0], jnp.inf, -jnp.inf), finite)


def class_probs(
    votes: LogNumber, log_prior: LogPrior
) -> Float[Array, "*cohorts num_examples num_classes"]:
    """Probability of every class, under the same prior.

    Args:
        votes: likelihood ratios of shape (..., num_classes, num_examples).
        log_prior: of shape (..., 1 or num_examples, num_classes).
    """
    # Without the barriers a CPU works the votes out anew for every class.
    if log_prior.shape[-1] == 2:
        odds = _computed_once(log_odds(votes, log_prior))
        return jnp.swapaxes(jax.nn.sigmoid(jnp.stack([-odds, odds], axis=-2)), -1, -2)
    found = normalise(_computed_once(votes), jnp.swapaxes(log_prior, -1, -2), axis=-2)
    return jnp.swapaxes(found, -1, -2)


def of_votes(finish: Finish, weight: LogNumber, labels: AnyLabels, log_prior: LogPrior) -> Result:
    """Apply `finish` to the votes that labels give, up to a factor that the classes share.

    Under `jax.vmap` over weights and priors it is one product for the whole batch; where the
    labels differ too, a loop on a CPU and side by side elsewhere.

    Args:
        finish: `log_odds` or `class_probs`.
        weight: what a vote of each labeler counts, of shape (..., num_labelers).
        labels: the answers in any form, the same for all cohorts.
        log_prior: of shape (..., 1 or num_examples, num_classes).
    """
    if not isinstance(labels, jax.Array | Prefixes):  # covariates say nothing here
        labels = dataclasses.replace(
            labels, covariates={}, labeler_covariates={}, example_covariates={}
        )
    columns, structure = jax.tree.flatten(labels)
    return _with_slope(finish, structure)(weight, columns, log_prior)


def _with_slope(finish: Finish, structure: Any) -> Callable[..., Result]:
    """`of_votes`, whose slope is that of the sums of floats: whole numbers have none."""
    found = jax.custom_jvp(_with_batches(finish, structure))

    def slope(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Result, Result]:
        weight, columns, log_prior = primals
        labels = structure.unflatten(columns)
        _, tangent = jax.jvp(
            lambda weight, prior: _of_split(finish, weight, labels, prior),
            (weight, log_prior),
            (tangents[0], tangents[2]),
        )
        return found(*primals), tangent

    found.defjvp(slope)
    return found


def _with_batches(finish: Finish, structure: Any) -> Callable[..., Result]:
    """`of_votes` without slopes, with a rule for batches."""

    @custom_vmap
    def call(weight: LogNumber, columns: list[Array], log_prior: LogPrior) -> Result:
        labels = structure.unflatten(columns)
        one = weight.coarse.ndim == 1 and log_prior.ndim == 2
        return (_of_cohort if one else _of_cohorts)(finish, weight, labels, log_prior)

    @call.def_vmap
    def _rule(size: int, batched: list[Any], *given: Any) -> tuple[Result, bool]:
        weight, columns, log_prior = given
        if any(batched[1]) or isinstance(structure.unflatten(columns), Prefixes):
            return _of_crowds(finish, structure, batched, given), True

        def spread(part: Array, is_batched: bool) -> Array:
            return part if is_batched else jnp.broadcast_to(part, (size, *part.shape))

        weight = jax.tree.map(spread, weight, batched[0])
        log_prior = spread(log_prior, batched[2])
        return call(weight, columns, _of_as_many_axes(log_prior, weight)), True

    return call


def _of_as_many_axes(log_prior: LogPrior, weight: LogNumber) -> LogPrior:
    """The prior with axes for the cohorts that weights have and it has not."""
    missing = weight.coarse.ndim - (log_prior.ndim - 1)
    batch, rest = log_prior.shape[:-2], log_prior.shape[-2:]
    return log_prior.reshape(*batch, *(1,) * missing, *rest)


def _of_crowds(
    finish: Finish, structure: Any, batched: list[Any], given: tuple[Any, ...]
) -> Result:
    """Crowds with labels of their own: one after the other on a CPU, whose caches one fills."""
    leaves, of_given = jax.tree.flatten(given)
    has_axis = jax.tree.leaves(batched)

    def crowd(own: tuple[Array, ...]) -> tuple[LogNumber, AnyLabels, LogPrior]:
        moving = iter(own)
        every = [next(moving) if m else leaf for leaf, m in zip(leaves, has_axis, strict=True)]
        weight, columns, log_prior = jax.tree.unflatten(of_given, every)
        return weight, structure.unflatten(columns), log_prior

    def one(own: tuple[Array, ...]) -> Result:
        return of_votes(finish, *crowd(own))

    def side_by_side(*own: Array) -> Result:
        usual = jax.vmap(lambda *each: _usual(*crowd(each)[:2])[0])(*own)
        return jax.lax.cond(
            jnp.all(usual),
            lambda: jax.vmap(lambda *each: _of_usual(finish, *crowd(each)))(*own),
            lambda: jax.vmap(lambda *each: _of_split(finish, *crowd(each)))(*own),
        )

    moving = tuple(leaf for leaf, moves in zip(leaves, has_axis, strict=True) if moves)
    weight, _, log_prior = crowd(tuple(part[0] for part in moving))
    if weight.coarse.ndim > 1 or log_prior.ndim > 2:
        return jax.lax.map(one, moving)
    return jax.lax.platform_dependent(
        *moving, cpu=lambda *own: jax.lax.map(one, own), default=side_by_side
    )


def _of_cohort(finish: Finish, weight: LogNumber, labels: AnyLabels, log_prior: LogPrior) -> Result:
    """The usual case has a branch of its own, with half of the work or less.

    No labeler is certain and, in the forms that allow it, one sum of whole numbers serves.
    """

    def by_case(weight: LogNumber, labels: AnyLabels, log_prior: LogPrior) -> Result:
        return jax.lax.cond(
            _usual(weight, labels)[0],
            lambda: _of_usual(finish, weight, labels, log_prior),
            lambda: _of_split(finish, weight, labels, log_prior),
        )

    num_examples, num_classes = log_prior.shape
    if log_prior.dtype != jnp.float32 or num_examples > 1 or num_classes > FEW_CLASSES:
        return by_case(weight, labels, log_prior)
    on_tpu: Callable[..., Result]
    if isinstance(labels, jax.Array) and labels.size >= _LEAST_ON_TPU:
        if labels.shape[0] > MOST_LABELERS:
            return by_case(weight, labels, log_prior)
        on_tpu = functools.partial(dense_on_tpu, in_log_odds=finish is log_odds)
    elif isinstance(labels, Labels) and labels.num_labels >= _LEAST_ON_TPU and suits_tpu(labels):
        on_tpu = functools.partial(long_on_tpu, in_log_odds=finish is log_odds)
    else:
        return by_case(weight, labels, log_prior)
    return jax.lax.platform_dependent(weight, labels, log_prior, tpu=on_tpu, default=by_case)


def _usual(weight: LogNumber, labels: AnyLabels) -> tuple[Bool[Array, ""], FixedPoint | None]:
    """Whether no labeler is certain and a single sum serves; the weights as whole numbers."""
    usual = jnp.all(weight.zeros == 0)
    whole = _whole_weights(weight.coarse + weight.fine, labels)
    return (usual, None) if whole is None else (usual & whole.fits, whole)


def _of_usual(finish: Finish, weight: LogNumber, labels: AnyLabels, log_prior: LogPrior) -> Result:
    """By a single sum of whole numbers, or by as few sums of floats as are precise."""
    num_classes = log_prior.shape[-1]
    _, whole = _usual(weight, labels)
    if whole is None:
        no_zeros = weight._replace(zeros=jnp.zeros_like(weight.zeros))
        return finish(_split_votes(no_zeros, labels, num_classes), log_prior)

    def by_sum(whole: FixedPoint, labels: AnyLabels, log_prior: LogPrior) -> Result:
        return finish(_without_zeros(_whole_votes(whole, labels, num_classes)), log_prior)

    def by_pairs(whole: FixedPoint, labels: Array, log_prior: LogPrior) -> Result:
        return probs_by_pairs(whole.steps, whole.unit, None, labels, log_prior)

    if isinstance(labels, jax.Array) and _is_small(finish, labels, num_classes):
        return jax.lax.platform_dependent(
            whole, labels, log_prior, cpu=by_sum, tpu=by_sum, default=by_pairs
        )
    return by_sum(whole, labels, log_prior)


def _of_split(finish: Finish, weight: LogNumber, labels: AnyLabels, log_prior: LogPrior) -> Result:
    """By sums of every part of the weights: for any weights and any number of labels."""
    num_classes = log_prior.shape[-1]

    def by_sums(weight: LogNumber, labels: AnyLabels, log_prior: LogPrior) -> Result:
        return finish(_split_votes(weight, labels, num_classes), log_prior)

    def by_pairs(weight: LogNumber, labels: Array, log_prior: LogPrior) -> Result:
        log = weight.coarse + weight.fine
        return probs_by_pairs(log, jnp.ones((), log.dtype), weight.zeros, labels, log_prior)

    if isinstance(labels, jax.Array) and _is_small(finish, labels, num_classes):
        return jax.lax.platform_dependent(
            weight, labels, log_prior, cpu=by_sums, tpu=by_sums, default=by_pairs
        )
    return by_sums(weight, labels, log_prior)


def _is_small(finish: Finish, labels: Array, num_classes: int) -> bool:
    """Whether a GPU compares every pair of classes sooner than it writes their votes down."""
    return finish is class_probs and labels.shape[0] <= _SHORT_SUM and num_classes <= _FEW_PAIRED


def probs_by_pairs(
    weight: Weight,
    unit: Float[Array, ""],
    zeros: Float[Array, " num_labelers"] | None,
    labels: Int[Array, "num_labelers num_examples"],
    log_prior: LogPrior,
) -> Float[Array, "num_examples num_classes"]:
    r"""Class probabilities from differences of votes, none of which is used twice.

    .. math:: p_y = 1 / \sum_k e^{v_k - v_y}

    So a GPU's compiler makes one kernel of it, which writes nothing but the result.
    """
    num_classes = log_prior.shape[1]
    own = jnp.arange(num_classes, dtype=labels.dtype)[None, :]
    total = jnp.where(jnp.isfinite(log_prior), 1.0, jnp.inf).astype(unit.dtype)
    for step in range(1, num_classes):
        other = (own + step) % num_classes

        def lead(of: Weight, other: Array = other) -> Shaped[Array, "num_examples num_classes"]:
            """Votes for the other class less those for one's own."""
            value, answers = of[:, None, None], labels[:, :, None]
            voted = jnp.where(answers == other, value, jnp.where(answers == own, -value, 0))
            return jnp.sum(voted, axis=0, dtype=of.dtype)

        of_other = jnp.roll(log_prior, -step, axis=1)
        term = jnp.exp(lead(weight) * unit + (of_other - log_prior))
        if zeros is not None:
            more_zeros = lead(zeros)
            term = jnp.where(more_zeros > 0, 0.0, jnp.where(more_zeros < 0, jnp.inf, term))
        total = total + jnp.where(jnp.isfinite(of_other), term, 0.0)
    return 1.0 / total


def _split_votes(weight: LogNumber, labels: AnyLabels, num_classes: int) -> LogNumber:
    def votes(part: Float[Array, " num_labelers"]) -> Float[Array, "num_classes num_examples"]:
        return class_votes(labels, part, num_classes)

    most = most_answers(labels)
    if most is not None and most <= _SHORT_SUM:
        found = _without_zeros(votes(weight.coarse + weight.fine))
    else:
        found = _without_zeros(votes(weight.coarse))._replace(fine=votes(weight.fine))
    return found._replace(zeros=votes(weight.zeros))


def _whole_weights(log: Float[Array, " num_labelers"], labels: AnyLabels) -> FixedPoint | None:
    """The weights as whole numbers, which fit if their sums do; None in forms without such sums."""
    if isinstance(labels, Labels) and labels.num_labelers:
        whole = FixedPoint.from_log(log, _WHOLE_RUN * jnp.max(jnp.abs(log)))
        return whole._replace(fits=whole.fits & ~runs_longer_than(labels, _WHOLE_RUN))
    if isinstance(labels, jax.Array) and labels.shape[0] <= _WHOLE_SUM:
        return FixedPoint.from_log(log, jnp.sum(jnp.abs(log)))
    return None


def _whole_votes(
    whole: FixedPoint, labels: AnyLabels, num_classes: int
) -> Float[Array, "num_classes num_examples"]:
    """Logarithms of the votes' likelihood ratios, up to a summand that the classes share."""
    assert not isinstance(labels, PaddedLabels | Prefixes)
    if num_classes == 2:
        balance = balance_of_votes(labels, whole.steps) * whole.unit
        return jnp.stack([jnp.zeros_like(balance), balance])
    total = class_votes(labels, whole.steps, num_classes)
    # Differences are small where they decide: take them before anything is rounded.
    return (total - most_voted(total)) * whole.unit


def _of_cohorts(
    finish: Finish, weight: LogNumber, labels: AnyLabels, log_prior: LogPrior
) -> Result:
    """A batch of cohorts on the same labels, with one condition over all of them.

    Where no labeler of any cohort is certain, and no example has more answers than float32 adds
    up to 1e-5, a single product serves, the prior in one more column; else one for each part.
    """
    num_classes = log_prior.shape[-1]
    cohorts = jnp.broadcast_shapes(weight.coarse.shape[:-1], log_prior.shape[:-2])
    log_prior = jnp.broadcast_to(log_prior, cohorts + log_prior.shape[-2:])
    log = weight.coarse + weight.fine
    short = most_known(labels, num_classes) <= _SHORT_SUM
    usual = jnp.all(weight.zeros == 0) & jnp.all(jnp.isfinite(log)) & short

    def each(part: Float[Array, "*some num_labelers"]) -> Float[Array, "*cohorts num_labelers"]:
        return jnp.broadcast_to(part, (*cohorts, part.shape[-1]))

    def votes(part: Float[Array, "*some num_labelers"]) -> Result:
        if num_classes > 2:
            return cohort_votes(labels, each(part), num_classes)
        balance = cohort_balance(labels, each(part))
        return jnp.stack([jnp.zeros_like(balance), balance], axis=-2)

    def by_one_product() -> Result:
        if finish is log_odds and log_prior.shape[-2] == 1:
            return cohort_balance(labels, each(log), log_prior[..., 0, 1] - log_prior[..., 0, 0])
        return finish(_without_zeros(votes(log)), log_prior)

    return jax.lax.cond(
        usual, by_one_product, lambda: finish(LogNumber(*map(votes, weight)), log_prior)
    )


def _without_zeros(total: Float[Array, "*cohorts num_classes num_examples"]) -> LogNumber:
    nothing = jnp.zeros_like(total)
    return LogNumber(nothing, total, nothing)


def _computed_once[T](values: T) -> T:
    return jax.lax.platform_dependent(
        values, cpu=jax.lax.optimization_barrier, default=lambda values: values
    )
