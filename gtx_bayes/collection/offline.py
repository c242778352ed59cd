r"""A whole collection at once: what a policy buys, without going step by step.

Where the priority of an example depends on its own labels alone, the t-th label of example i is
bought at a priority known from the labels before it. A policy that always takes the highest
priority merges these sequences, and an entry leaves its sequence only after those before it.
Hence label (i, t) is bought before label (k, s) if its running minimum

.. math:: m_{i,t} = \min_{s \le t} p_{i,s}

is larger, and in the order of the table where they are equal: the run is one sort by m, and what
a budget buys is the top of it, which selection finds without sorting. With prices the budget is
money, and the run ends at the first label that what is left does not pay for.
"""

import dataclasses
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, ScalarLike, Shaped, UInt32

from gtx_bayes.aggregation.base import AbstractAggregator
from gtx_bayes.collection.base import NEVER, AbstractPolicy, Seen
from gtx_bayes.collection.market import Market
from gtx_bayes.labels import MISSING, PaddedLabels, Prefixes
from gtx_bayes.simulation import AnswerQueue

_BLOCK = 128


class Collection(NamedTuple):
    """What a policy bought.

    Attributes:
        num_labels: number of labels of each example.
        counted: whether the example counts as labelled: all do, but in a stream only those that
            were finished within the budget.
    """

    num_labels: Int[Array, " num_examples"]
    counted: Bool[Array, " num_examples"]


class Purchases(NamedTuple):
    """Labels in the order of buying; `MISSING` fills the end, after the last one wanted.

    Attributes:
        example: whose label it is.
        place: its place in the example's queue: how many labels the example had before.
    """

    example: Int[Array, " num_purchases"]
    place: Int[Array, " num_purchases"]


@partial(jax.jit, static_argnames="num_places")
def in_chosen_order(
    policy: AbstractPolicy,
    aggregator: AbstractAggregator,
    queue: AnswerQueue,
    market: Market | None = None,
    num_places: int | None = None,
) -> AnswerQueue:
    """The queue as a policy that chooses labelers makes it: whom it asks next comes next.

    Whom it asks of an example depends on the answers to that example alone, so that the order
    can be told before it is known when they are bought.

    Args:
        policy: one with `chooses_labelers` and `own_labels_only`.
        aggregator: the method that scores the examples.
        queue: all answers of all labelers, in any order.
        market: what the policy sees of labelers and prices; without prices when absent.
        num_places: the length of the queues; one place for each labeler when absent.

    Raises:
        ValueError: for another policy, and a queue that has not every labeler.
    """
    if not (policy.chooses_labelers and policy.own_labels_only):
        raise ValueError(f"{type(policy).__name__} does not choose labelers example by example")
    answers = queue.answers
    if answers.num_places != answers.num_labelers:
        raise ValueError("not every labeler stands in the queue")
    market = market or Market.of(aggregator, queue)
    table = answers.dense()
    most = answers.num_labelers if num_places is None else num_places
    shape = (most, answers.num_examples)
    empty = dataclasses.replace(
        answers,
        labeler=jnp.zeros(shape, answers.labeler.dtype),
        label=jnp.full(shape, MISSING, answers.label.dtype),
    )

    def ask(place: Int[Array, ""], answers: PaddedLabels) -> PaddedLabels:
        num_labels = jnp.full(answers.num_examples, place, jnp.int32)
        seen = Seen(aggregator.class_probs(answers), num_labels)
        so_far = market._replace(answers=answers)
        whom = policy.whom(so_far.seen(policy, seen))
        label = jnp.take_along_axis(table, whom[None], axis=0)[0]
        return dataclasses.replace(
            answers,
            labeler=answers.labeler.at[place].set(whom.astype(answers.labeler.dtype)),
            label=answers.label.at[place].set(label.astype(answers.label.dtype)),
        )

    return dataclasses.replace(queue, answers=jax.lax.fori_loop(0, most, ask, empty))


Schedule = UInt32[Array, "num_steps num_examples"]
"""Running minimum of the priority at which each label would be bought, by place in the queue and
example; `NEVER` beyond the stop."""


@jax.jit
def class_prob_path(
    aggregator: AbstractAggregator, queue: AnswerQueue
) -> Float[Array, "num_steps_and_one num_examples num_classes"]:
    """Class probabilities of every example after each number of labels, from none to all."""
    class_probs = aggregator.class_probs(Prefixes(queue.answers))
    by_class = class_probs.T.reshape(-1, queue.max_labels + 1, queue.answers.num_examples)
    # Kept class-major, so that examples run over contiguous vectors, and computed once.
    return jnp.moveaxis(jax.lax.optimization_barrier(by_class), 0, 2)


@jax.jit
def schedule(
    policy: AbstractPolicy,
    path: Float[Array, "num_steps_and_one num_examples num_classes"],
    market: Market | None = None,
) -> Schedule:
    """When each label would be bought.

    Args:
        policy: one whose priorities depend on an example's own labels alone.
        path: class probabilities after each number of labels, as `class_prob_path` gives them.
        market: who answers, and at which price, for policies that look at it.

    Raises:
        ValueError: for any other policy.
    """
    rows = list(_running_minimum(policy, path, market))
    return jnp.stack(rows) if rows else jnp.zeros((0, path.shape[1]), jnp.uint32)


def purchases(plan: Schedule) -> Purchases:
    """Every label in the order in which it is bought: one sort."""
    num_steps, num_examples = plan.shape
    flat = jnp.arange(num_examples * num_steps, dtype=jnp.int32)
    in_order, flat = jax.lax.sort((~plan.T.reshape(-1), flat), num_keys=1, is_stable=True)
    wanted = in_order != ~jnp.uint32(NEVER)
    return Purchases(
        jnp.where(wanted, flat // max(num_steps, 1), MISSING),
        jnp.where(wanted, flat % max(num_steps, 1), MISSING),
    )


def within(
    plan: Schedule, budget: ScalarLike, price: Int[Array, "num_steps num_examples"] | None = None
) -> Int[Array, " num_examples"]:
    """How many labels of each example a budget buys: a selection.

    Args:
        plan: when each label would be bought.
        budget: number of labels, or money.
        price: of every label, whole numbers from 1; 1 each when absent.
    """
    if price is None:
        least = _kth_largest(plan, budget)
        above = jnp.sum(plan > least, axis=0, dtype=jnp.int32)
        equal = jnp.sum((plan == least) & (least != NEVER), axis=0, dtype=jnp.int32)
        return above + serve_in_order(equal, budget - jnp.sum(above))
    least = _kth_largest(plan, budget + 1, price)
    is_above = plan > least
    is_equal = (plan == least) & (least != NEVER)
    left = budget - jnp.sum(price, where=is_above)
    return jnp.sum(is_above, axis=0, dtype=jnp.int32) + _pay_in_order(is_equal, price, left)


@jax.jit
def num_wanted(
    policy: AbstractPolicy,
    path: Float[Array, "num_steps_and_one num_examples num_classes"],
    market: Market | None = None,
) -> Int[Array, " num_examples"]:
    """How many labels each example gets if the budget has no end; arguments as for `schedule`.

    Raises:
        ValueError: for a policy whose priorities depend on other examples.
    """
    num_steps = path.shape[0] - 1
    narrow = jnp.int8 if num_steps <= jnp.iinfo(jnp.int8).max else jnp.int32
    count = jnp.zeros(path.shape[1], narrow)
    for lowest in _running_minimum(policy, path, market):
        count = count + (lowest != NEVER).astype(narrow)
    return count


def _running_minimum(
    policy: AbstractPolicy,
    path: Float[Array, "num_steps_and_one num_examples num_classes"],
    market: Market | None,
) -> Iterator[UInt32[Array, " num_examples"]]:
    if not policy.own_labels_only:
        raise ValueError(
            f"{type(policy).__name__} looks at all examples at once: collect step by step"
        )
    num_examples = path.shape[1]
    lowest = jnp.full(num_examples, jnp.uint32(2**32 - 1))
    by_class = jnp.moveaxis(path, 2, 0)  # as it lies in memory
    for n in range(path.shape[0] - 1):
        seen = Seen(by_class[:, n].T, jnp.full(num_examples, n, jnp.int32))
        now = policy.priority(seen if market is None else market.seen(policy, seen))
        lowest = jnp.minimum(lowest, now)
        yield lowest


@jax.jit
def collect(
    policy: AbstractPolicy,
    path: Float[Array, "num_steps_and_one num_examples num_classes"],
    budget: ScalarLike,
    market: Market | None = None,
) -> Collection:
    """What a policy buys for a budget; equal to `sequential.collect` at any budget.

    Args:
        policy: one whose priorities depend on an example's own labels alone.
        path: class probabilities after each number of labels.
        budget: B, the number of labels, or money where the market has costs.
        market: who answers, and at which price; a policy that looks at neither needs none.

    Raises:
        ValueError: for any other policy.
    """
    price = None if market is None else market.prices()
    if policy.is_streaming:
        # Without the barrier a CPU works it out anew for every use of the result.
        wanted = jax.lax.optimization_barrier(num_wanted(policy, path, market))
        if price is None:
            bought = serve_in_order(wanted, budget)
        else:
            bought = _pay_in_order(jnp.arange(len(price))[:, None] < wanted, price, budget)
        return Collection(bought, bought == wanted)
    bought = within(schedule(policy, path, market), budget, price)
    return Collection(bought, jnp.ones_like(bought, bool))


def at_count(
    path: Shaped[Array, "num_steps_and_one num_examples"],
    num_labels: Int[Array, " num_examples"],
) -> Shaped[Array, " num_examples"]:
    """The value on each example's path after its number of labels."""
    value = path[0]
    for n in range(1, path.shape[0]):  # faster on a CPU than a gather
        value = jnp.where(num_labels == n, path[n], value)
    return value


def _kth_largest(
    values: UInt32[Array, "num_steps num_examples"],
    k: ScalarLike,
    weight: Int[Array, "num_steps num_examples"] | None = None,
) -> UInt32[Array, ""]:
    """The k-th largest value, bit by bit from the top; `NEVER` if there are fewer.

    With weights the largest value such that those not below it weigh k.
    """

    def next_bit(at: Int[Array, ""], found: UInt32[Array, ""]) -> UInt32[Array, ""]:
        candidate = found | (jnp.uint32(1) << (31 - at).astype(jnp.uint32))
        if weight is None:
            by_column = jnp.sum(values >= candidate, axis=0, dtype=jnp.int32)
        else:
            by_column = jnp.sum(weight, axis=0, where=values >= candidate)
        # Down the columns first: a CPU sums a flat array four times as slowly.
        enough = jnp.sum(jax.lax.optimization_barrier(by_column)) >= k
        return jnp.where(enough, candidate, found)

    return jax.lax.fori_loop(0, 32, next_bit, jnp.uint32(0))


def _pay_in_order(
    wanted: Bool[Array, "num_steps num_examples"],
    price: Int[Array, "num_steps num_examples"],
    money: ScalarLike,
) -> Int[Array, " num_examples"]:
    """How many of the labels wanted are bought, example after example, until one is too dear."""
    spending = jnp.where(wanted, price, 0)
    paid = serve_in_order(jnp.sum(spending, axis=0), money)
    return jnp.sum(wanted & (jnp.cumsum(spending, axis=0) <= paid), axis=0, dtype=jnp.int32)


def serve_in_order(
    wanted: Int[Array, " num_examples"], budget: ScalarLike
) -> Int[Array, " num_examples"]:
    """What each example gets if all are served in order until the budget is spent.

    At most one is cut short. Block sums tell its block, a cumulative sum within tells which it
    is: one over all examples is slow on a CPU.
    """
    num_examples = wanted.shape[0]
    size = min(_BLOCK, num_examples)
    in_blocks = num_examples - num_examples % size
    blocks = wanted[:in_blocks].reshape(-1, size)
    total = jnp.sum(blocks, axis=1, dtype=jnp.int32)
    rest = jnp.sum(wanted[in_blocks:], dtype=jnp.int32)
    total = jnp.concatenate([total, rest[None]])
    left = budget - (jnp.cumsum(total) - total)
    block = jnp.argmax(total > left)  # the first that exceeds what is left; 0 if none does
    start = jnp.minimum(block * size, num_examples - size)
    place = start + jnp.arange(size)
    spending = jax.lax.dynamic_slice_in_dim(wanted, start, size)
    spent = jnp.cumsum(jnp.where(place < block * size, 0, spending), dtype=jnp.int32)
    num_whole = jnp.sum(spent <= left[block])
    partly = left[block] - jnp.max(spent, initial=0, where=spent <= left[block])
    cut = jnp.where(jnp.any(total > left), start + num_whole, num_examples)
    cut, partly = jax.lax.optimization_barrier((cut, partly.astype(wanted.dtype)))
    place = jnp.arange(num_examples)
    return jnp.where(place < cut, wanted, jnp.where(place == cut, partly, 0))
