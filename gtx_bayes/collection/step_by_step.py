"""Collecting one label at a time: the definition of a policy's run, and what a live crowd uses."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt32

from gtx_bayes.aggregation.base import AbstractAggregator
from gtx_bayes.collection.base import NEVER, AbstractPolicy
from gtx_bayes.collection.whole_run import Collection
from gtx_bayes.labels import MISSING
from gtx_bayes.programs import program
from gtx_bayes.simulation import AnswerQueue


@program(static_argnames=("batch",))
def next_examples(
    policy: AbstractPolicy,
    class_probs: Float[Array, "num_examples num_classes"],
    num_labels: Int[Array, " num_examples"],
    batch: int = 1,
) -> Int[Array, " batch"]:
    """The examples to label next, most urgent first; `MISSING` where no more want a label.

    A batch asks for one label of each of several examples, before the answers are known.

    Args:
        policy: the rule.
        class_probs: probability of each class given the labels so far.
        num_labels: how many labels that is.
        batch: how many examples to name.
    """
    return _most_urgent(policy.priority(class_probs, num_labels), batch)


def _most_urgent(priority: UInt32[Array, " num_examples"], batch: int) -> Int[Array, " batch"]:
    found = min(batch, priority.shape[0])
    if batch == 1:
        best = jnp.argmax(priority)[None]
    else:
        place = jnp.arange(priority.shape[0], dtype=jnp.int32)
        best = jax.lax.sort((~priority, place), num_keys=1, is_stable=True)[1][:found]
    wanted = jnp.where(priority[best] == NEVER, MISSING, best).astype(jnp.int32)
    return jnp.pad(wanted, (0, batch - found), constant_values=MISSING)


@jax.jit
def step(
    policy: AbstractPolicy,
    aggregator: AbstractAggregator,
    queue: AnswerQueue,
    num_labels: Int[Array, " num_examples"],
) -> tuple[Int[Array, " num_examples"], Int[Array, ""]]:
    """Buy one label: numbers of labels in, and out with the example chosen, or `MISSING`.

    An example at the end of its queue gets no more, whatever the policy wants.
    """
    example = _most_urgent(_urgency(policy, aggregator, queue, num_labels), batch=1)[0]
    bought = jnp.arange(num_labels.shape[0]) == example
    return num_labels + bought, example


@partial(jax.jit, static_argnames="budget")
def collect(
    policy: AbstractPolicy, aggregator: AbstractAggregator, queue: AnswerQueue, budget: int
) -> tuple[Collection, Int[Array, " budget"]]:
    """Spend a budget label by label, scoring every example afresh each time.

    Returns:
        What was bought, and the example of each label in order; `MISSING` once none is wanted.
    """
    start = jnp.zeros(queue.answers.num_examples, jnp.int32)

    def buy(
        num_labels: Int[Array, " num_examples"], _: None
    ) -> tuple[Int[Array, " num_examples"], Int[Array, ""]]:
        return step(policy, aggregator, queue, num_labels)

    num_labels, order = jax.lax.scan(buy, start, length=budget)
    counted = jnp.ones_like(num_labels, bool)
    if policy.is_streaming:
        counted = _urgency(policy, aggregator, queue, num_labels) == NEVER
    return Collection(num_labels, counted), order


def _urgency(
    policy: AbstractPolicy,
    aggregator: AbstractAggregator,
    queue: AnswerQueue,
    num_labels: Int[Array, " num_examples"],
) -> UInt32[Array, " num_examples"]:
    class_probs = aggregator.class_probs(queue.answers.first(num_labels))
    priority = policy.priority(class_probs, num_labels)
    return jnp.where(num_labels < queue.max_labels, priority, jnp.uint32(NEVER))
