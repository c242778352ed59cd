"""Collecting while the labelers are being learnt: the whole run of `gtx-bayes` in a simulation.

A collection goes in rounds. In each the policy buys as it would with the accuracies known so far;
then gold and all answers bought teach about the labelers, by `inference.variational`'s updates for
the one-coin model. What was bought stays bought.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, ScalarLike

from gtx_bayes.aggregation.gtx import ClassPosterior
from gtx_bayes.collection import offline
from gtx_bayes.collection.base import AbstractPolicy
from gtx_bayes.collection.offline import Collection
from gtx_bayes.inference.gold_counts import GoldCounts
from gtx_bayes.models.one_coin import OneCoin, OneCoinPrior
from gtx_bayes.simulation import AnswerQueue

NUM_ROUNDS = 10
_FIRST_ROUND = 50  # examples finished before the labelers are looked at again; then twice as many
_PASSES = 4  # over the answers in a round
_PASSES_AT_LAST = 12


class Learnt(NamedTuple):
    """Where a collection stands.

    Attributes:
        bought: what the policy bought.
        accuracy: posterior mean of every labeler's accuracy, given gold and all that was bought.
    """

    bought: Collection
    accuracy: Float[Array, " num_labelers"]


class _State(NamedTuple):
    """Between rounds: labels of each example, class posteriors, the labelers' prior and counts."""

    num_labels: Int[Array, " num_examples"]
    class_probs: Float[Array, "num_examples num_classes"]
    prior: OneCoinPrior
    counts: Float[Array, "num_labelers three"]

    @property
    def accuracy(self) -> Float[Array, " num_labelers"]:
        return self.prior.posterior_mean(self.counts).accuracy


def collect(
    policy: AbstractPolicy, gold: GoldCounts, queue: AnswerQueue, budget: int | Int[Array, ""]
) -> Learnt:
    """Spend a budget under accuracies that are learnt on the way.

    A stream is learnt from after 50 examples, 100, 200 and so on; other policies ten times in the
    course of the budget, first when there is a label for every example.

    Args:
        policy: one whose priorities depend on an example's own labels alone.
        gold: how the labelers fared on gold, before.
        queue: the answers to be bought.
        budget: B; a number known to Python unless the policy is a stream's, whose rounds do not
            depend on it.
    """
    right = jnp.asarray(gold.num_correct, float)
    wrong = jnp.asarray(gold.num_gold, float) - right
    from_gold = jnp.stack([right, wrong, jnp.zeros_like(right)], axis=1)
    num_examples, num_classes = queue.answers.num_examples, queue.answers.num_classes
    start = _State(
        jnp.zeros(num_examples, jnp.int32),
        jnp.full((num_examples, num_classes), 1.0 / num_classes),
        OneCoinPrior.default(num_classes),  # by itself a little gold is too often wrong by luck
        from_gold,
    )
    buy = _buy_in_stream if policy.is_streaming else _buy_most_urgent
    ends = _ends(policy, num_examples, budget)

    def play(state: _State, end: Int[Array, ""]) -> tuple[_State, None]:
        bought = buy(policy, state, queue, end, budget)
        return _learn(state._replace(num_labels=bought), queue, from_gold, _PASSES), None

    state, _ = jax.lax.scan(play, start, jnp.asarray(ends, jnp.int32))
    state = _learn(state, queue, from_gold, _PASSES_AT_LAST)
    counted = jnp.ones(num_examples, bool)
    if policy.is_streaming:
        path = offline.class_prob_path(ClassPosterior(OneCoin(state.accuracy, num_classes)), queue)
        in_order = jnp.cumsum(state.num_labels)
        # The example at which the budget ended may want more; whatever follows was never seen.
        wants_more = state.num_labels < offline.num_wanted(policy, path)
        last = jnp.argmax(in_order >= budget)
        cut_short = (in_order[-1] >= budget) & wants_more & (jnp.arange(num_examples) == last)
        counted = (state.num_labels > 0) & ~cut_short
    return Learnt(Collection(state.num_labels, counted), state.accuracy)


def _ends(policy: AbstractPolicy, num_examples: int, budget: int | Int[Array, ""]) -> list[int]:
    """Where each round ends: a number of examples in a stream, else a number of labels."""
    if not policy.is_streaming:
        last = int(budget)
        return [int(end) for end in np.linspace(min(num_examples, last), last, NUM_ROUNDS)]
    ends = [min(_FIRST_ROUND, num_examples)]
    while ends[-1] < num_examples:
        ends.append(min(2 * ends[-1], num_examples))
    return ends


def _buy_in_stream(
    policy: AbstractPolicy,
    state: _State,
    queue: AnswerQueue,
    end: Int[Array, ""],
    budget: int | Int[Array, ""],
) -> Int[Array, " num_examples"]:
    """Examples not yet begun, up to `end`, each until the policy is content."""
    model = OneCoin(state.accuracy, queue.answers.num_classes)
    wanted = offline.num_wanted(policy, offline.class_prob_path(ClassPosterior(model), queue))
    is_new = (state.num_labels == 0) & (jnp.arange(wanted.shape[0]) < end)
    wanted = jnp.where(is_new, wanted.astype(jnp.int32), state.num_labels)
    return offline.serve_in_order(wanted, budget)


def _buy_most_urgent(
    policy: AbstractPolicy,
    state: _State,
    queue: AnswerQueue,
    end: Int[Array, ""],
    budget: int | Int[Array, ""],
) -> Int[Array, " num_examples"]:
    """The labels that make up `end`, those bought before among them."""
    model = OneCoin(state.accuracy, queue.answers.num_classes)
    plan = offline.schedule(policy, offline.class_prob_path(ClassPosterior(model), queue))
    is_bought = jnp.arange(plan.shape[0])[:, None] < state.num_labels
    return offline.within(jnp.where(is_bought, jnp.uint32(2**32 - 1), plan), end)


def _learn(
    state: _State,
    queue: AnswerQueue,
    from_gold: Float[Array, "num_labelers three"],
    num_passes: int,
) -> _State:
    labels = queue.answers.first(state.num_labels).long()

    def step(_: ScalarLike, state: _State) -> _State:
        counts = state.prior.counts(labels, state.class_probs) + from_gold
        prior = state.prior.m_step(counts)
        evidence = prior.evidence(labels, state.class_probs, counts)
        return _State(state.num_labels, jax.nn.softmax(evidence, axis=1), prior, counts)

    known = OneCoin(state.accuracy, queue.answers.num_classes)
    class_probs = jax.nn.softmax(known.batch_log_prob(labels), axis=1)
    state = jax.lax.fori_loop(0, num_passes, step, state._replace(class_probs=class_probs))
    return state._replace(counts=state.prior.counts(labels, state.class_probs) + from_gold)
