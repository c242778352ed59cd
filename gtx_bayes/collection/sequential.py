"""Collecting one label at a time: the definition of a policy's run, and what a live crowd uses."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, UInt32

from gtx_bayes.aggregation.base import AbstractAggregator
from gtx_bayes.collection.base import NEVER, AbstractPolicy, Seen
from gtx_bayes.collection.market import Market
from gtx_bayes.collection.offline import Collection
from gtx_bayes.labels import MISSING
from gtx_bayes.simulation import AnswerQueue


@partial(jax.jit, static_argnames="batch")
def next_examples(policy: AbstractPolicy, seen: Seen, batch: int = 1) -> Int[Array, " batch"]:
    """The examples to label next, most urgent first; `MISSING` where no more want a label.

    A batch asks for one label of each of several examples, before the answers are known.

    Args:
        policy: the rule.
        seen: the collection so far.
        batch: how many examples to name.
    """
    return _most_urgent(policy.priority(seen), batch)


def _most_urgent(priority: UInt32[Array, " num_examples"], batch: int) -> Int[Array, " batch"]:
    found = min(batch, priority.shape[0])
    if batch == 1:
        best = jnp.argmax(priority)[None]
    else:
        place = jnp.arange(priority.shape[0], dtype=jnp.int32)
        best = jax.lax.sort((~priority, place), num_keys=1, is_stable=True)[1][:found]
    wanted = jnp.where(priority[best] == NEVER, MISSING, best).astype(jnp.int32)
    return jnp.pad(wanted, (0, batch - found), constant_values=MISSING)


@partial(jax.jit, static_argnames="budget")
def collect(
    policy: AbstractPolicy,
    aggregator: AbstractAggregator,
    queue: AnswerQueue,
    budget: int,
    market: Market | None = None,
) -> tuple[Collection, Int[Array, " num_steps"]]:
    """Spend a budget label by label, scoring every example afresh each time.

    An example at the end of its queue gets no more, whatever the policy wants.

    Args:
        policy: the rule.
        aggregator: the method that scores the examples.
        queue: the answers to be bought.
        budget: the number of labels, or money where the market has costs. The run then ends at
            the first label that what is left does not pay for.
        market: who answers and at which price; without prices when absent.

    Returns:
        What was bought, and the example of each label in order, as many as the budget can buy;
        `MISSING` once none is wanted or paid for.
    """
    market = market or Market.of(aggregator, queue)
    price = market.prices()
    num_steps = budget
    if price is None:
        price = jnp.ones(queue.answers.label.shape, jnp.int32)
    else:
        num_steps = min(budget, price.size)  # no label costs less than 1
    places = jnp.arange(queue.answers.num_examples)

    def buy(
        state: tuple[Int[Array, " num_examples"], Int[Array, ""]], _: None
    ) -> tuple[tuple[Int[Array, " num_examples"], Int[Array, ""]], Int[Array, ""]]:
        num_labels, left = state
        urgency = _urgency(policy, aggregator, queue, num_labels, market)
        example = _most_urgent(urgency, batch=1)[0]
        cost = jnp.where(example == MISSING, 0, price[num_labels[example], example])
        is_paid = cost <= left
        bought = is_paid & (places == example)
        left = left - jnp.where(is_paid, cost, 0)
        return (num_labels + bought, left), jnp.where(is_paid, example, MISSING)

    start = (jnp.zeros_like(places, jnp.int32), jnp.asarray(budget, jnp.int32))
    (num_labels, _), order = jax.lax.scan(buy, start, length=num_steps)
    counted = jnp.ones_like(num_labels, bool)
    if policy.is_streaming:
        counted = _urgency(policy, aggregator, queue, num_labels, market) == NEVER
    return Collection(num_labels, counted), order


def _urgency(
    policy: AbstractPolicy,
    aggregator: AbstractAggregator,
    queue: AnswerQueue,
    num_labels: Int[Array, " num_examples"],
    market: Market,
) -> UInt32[Array, " num_examples"]:
    class_probs = aggregator.class_probs(queue.answers.first(num_labels))
    priority = policy.priority(market.seen(policy, Seen(class_probs, num_labels)))
    return jnp.where(num_labels < queue.max_labels, priority, jnp.uint32(NEVER))
