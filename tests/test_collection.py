import heapq

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from gtx_bayes.aggregation.gtx import ClassPosterior
from gtx_bayes.aggregation.majority_vote import VoteShares
from gtx_bayes.aggregation.soft_vote import SoftVoteShares
from gtx_bayes.collection import offline, sequential
from gtx_bayes.collection.base import NEVER, Seen, largest_first
from gtx_bayes.collection.confidence_threshold import ConfidenceThreshold, exceeds
from gtx_bayes.collection.offline import at_count, class_prob_path
from gtx_bayes.collection.random_sampling import RandomSampling
from gtx_bayes.collection.risk import (
    RiskTarget,
    streaming_threshold_for_risk,
    threshold_for_risk,
)
from gtx_bayes.collection.uncertainty_sampling import UncertaintySampling
from gtx_bayes.labels import MISSING, PaddedLabels
from gtx_bayes.models.one_coin import OneCoin
from gtx_bayes.simulation import AnswerQueue, simulate_queue, uniform_cohort

AGGREGATORS = {
    "majority-vote": lambda accuracy: VoteShares(2),
    "soft-vote": lambda accuracy: SoftVoteShares(accuracy, 2),
    "gtx": lambda accuracy: ClassPosterior(OneCoin(accuracy, 2)),
    "gtx, three classes": lambda accuracy: ClassPosterior(OneCoin(accuracy, 3)),
}
POLICIES = {
    "confidence-threshold": lambda key, n: ConfidenceThreshold(0.85, 3),
    "uncertainty": lambda key, n: UncertaintySampling(4),
    "uncertainty with a stop": lambda key, n: UncertaintySampling(3, 0.9),
    "random with a stop": lambda key, n: RandomSampling(3, 0.9).drawn(key, n),
}


def small_case(key, aggregator, policy, num_examples=6, num_labelers=4):
    """A crowd whose accuracies take few values, so that scores tie, 0 and 1 among them."""
    key_accuracy, key_queue, key_policy = jax.random.split(key, 3)
    values = jnp.array([0.0, 0.5, 0.6, 0.75, 0.75, 0.9, 1.0])
    accuracy = jax.random.choice(key_accuracy, values, (num_labelers,))
    num_classes = 3 if "three" in aggregator else 2
    queue = simulate_queue(key_queue, OneCoin(accuracy, num_classes), num_examples)
    return AGGREGATORS[aggregator](accuracy), POLICIES[policy](key_policy, num_examples), queue


@pytest.mark.parametrize(
    ("aggregator", "policy"),
    [
        ("majority-vote", "uncertainty"),
        ("gtx", "uncertainty"),
        pytest.param("gtx, three classes", "uncertainty", marks=pytest.mark.slow),
        ("gtx", "uncertainty with a stop"),
        ("soft-vote", "confidence-threshold"),
        pytest.param("majority-vote", "random with a stop", marks=pytest.mark.slow),
    ],
)
def test_the_engines_agree_exactly(aggregator, policy, key):
    """200 crowds each: the same labels in the same order, and the same counts at every budget.

    Each policy that is registered is held to it in `test_policies`.
    """

    @jax.jit
    @jax.vmap
    def run(key):
        method, rule, queue = small_case(key, aggregator, policy)
        path = class_prob_path(method, queue)
        budgets = jnp.arange(26)
        at_once = jax.vmap(lambda budget: offline.collect(rule, path, budget))(budgets)
        last, order = sequential.collect(rule, method, queue, 25)
        return at_once, offline.purchases(offline.schedule(rule, path)).example, order, last

    at_once, whole_order, order, last = run(jax.random.split(key, 200))
    np.testing.assert_array_equal(whole_order, order[:, :24])
    assert (order[:, 24] == MISSING).all()
    bought = np.cumsum(np.asarray(order)[:, :, None] == np.arange(6), axis=1)
    np.testing.assert_array_equal(at_once.num_labels[:, 1:], bought)
    np.testing.assert_array_equal(at_once.num_labels[:, 0], np.zeros((200, 6)))
    np.testing.assert_array_equal(at_once.num_labels[:, 25], last.num_labels)
    np.testing.assert_array_equal(at_once.counted[:, 25], last.counted)
    assert (np.asarray(order) >= 0).sum(axis=1).min() >= 6


def test_counted_in_a_stream_are_the_finished_at_every_budget(key):
    method, rule, queue = small_case(key, "gtx", "confidence-threshold")
    path = class_prob_path(method, queue)
    for budget in (1, 4, 9, 19):
        by_steps, _ = sequential.collect(rule, method, queue, budget)
        at_once = offline.collect(rule, path, budget)
        np.testing.assert_array_equal(at_once.counted, by_steps.counted)
        assert (np.diff(np.asarray(at_once.counted).astype(int)) <= 0).all()
        assert budget > 4 or not at_once.counted.all()


@pytest.mark.parametrize("policy", ["confidence-threshold", "uncertainty"])
def test_the_engines_agree_on_queues_shorter_than_the_cap(policy, key):
    queue = simulate_queue(key, OneCoin(jnp.array([0.6, 0.7, 0.75, 0.8]), 2), 5, max_labels=2)
    method, rule = VoteShares(2), POLICIES[policy](key, 5)
    path = class_prob_path(method, queue)
    for budget in (3, 20):
        by_steps, _ = sequential.collect(rule, method, queue, budget)
        at_once = offline.collect(rule, path, budget)
        np.testing.assert_array_equal(at_once.num_labels, by_steps.num_labels)
        np.testing.assert_array_equal(at_once.counted, by_steps.counted)
    assert int(at_once.num_labels.max()) <= 2


def by_heap(path, budget, max_labels):
    """Uncertainty sampling with a heap, in plain Python: the textbook loop."""
    uncertainty = 1.0 - path.max(axis=2)
    heap = [(-round(float(u), 5), 0, i) for i, u in enumerate(uncertainty[0])]
    heapq.heapify(heap)
    order = []
    while heap and len(order) < budget:
        _, n, i = heapq.heappop(heap)
        order.append(i)
        if n + 1 < max_labels:
            heapq.heappush(heap, (-round(float(uncertainty[n + 1, i]), 5), n + 1, i))
    return order


def test_uncertainty_sampling_against_a_heap(key):
    key_cohort, key_queue = jax.random.split(key)
    labelers = uniform_cohort(key_cohort, 7, 0.6, 0.9)
    queue = simulate_queue(key_queue, labelers, 200)
    path = class_prob_path(VoteShares(2), queue)
    plan = offline.schedule(UncertaintySampling(7), path)
    expected = by_heap(np.asarray(path, np.float64), 900, 7)
    np.testing.assert_array_equal(offline.purchases(plan).example[:900], expected)
    np.testing.assert_array_equal(
        offline.collect(UncertaintySampling(7), path, 900).num_labels,
        np.bincount(expected, minlength=200),
    )


def test_uncertainty_sampling_worked_by_hand():
    """Votes of equal labelers: ties at one half first, the least labelled example before others."""
    table = jnp.array([[0, 0, 0], [0, 1, 0], [1, 1, 0], [0, 1, 0]], jnp.int8)
    labeler = jnp.tile(jnp.arange(4, dtype=jnp.int8)[:, None], (1, 3))
    queue = AnswerQueue(PaddedLabels(labeler, table, 4, 2), jnp.zeros(3, jnp.int8))
    method = ClassPosterior(OneCoin(jnp.full(4, 0.8), 2))
    _, order = sequential.collect(UncertaintySampling(4), method, queue, 12)
    # One label each, all at .2. Second labels: 0 agrees (.06); 1 does not (.5) and goes on to .2
    # with three; 2, at .2 with one, comes before it and agrees (.06). 1 ends at .06 with four. 0,
    # at .06 with two, gets a contradiction (.2) and the last at once, then 2 its last two.
    np.testing.assert_array_equal(order, [0, 1, 2, 0, 1, 1, 2, 1, 0, 0, 2, 2])


def test_stops_at_the_threshold_worked_by_hand():
    """Accuracies .9 and .8: agreement gives .973, a first answer .9 or .8, contradiction .69."""
    labeler = jnp.array([[0, 0, 1], [1, 1, 0]], jnp.int8)
    label = jnp.array([[0, 1, 0], [0, 0, 0]], jnp.int8)
    queue = AnswerQueue(PaddedLabels(labeler, label, 2, 2), jnp.zeros(3, jnp.int8))
    path = class_prob_path(ClassPosterior(OneCoin(jnp.array([0.9, 0.8]), 2)), queue)

    def counts(threshold, budget=6):
        return offline.collect(ConfidenceThreshold(threshold, 2), path, budget)

    np.testing.assert_array_equal(counts(0.7).num_labels, [1, 1, 1])
    np.testing.assert_array_equal(counts(0.85).num_labels, [1, 1, 2])
    np.testing.assert_array_equal(counts(0.9).num_labels, [2, 2, 2])  # to be exceeded, not met
    np.testing.assert_array_equal(counts(0.9, budget=5).counted, [True, True, False])
    np.testing.assert_array_equal(counts(0.9, budget=4).num_labels, [2, 2, 0])


def test_random_sampling_is_fair_at_every_step(key):
    """The next label goes to each example that may have one alike: chi-square over first labels
    and over labels after an example has been served twice."""
    num_runs = 4000

    @jax.jit
    @jax.vmap
    def orders(key):
        rule = RandomSampling(2).drawn(key, 4)
        path = jnp.full((3, 4, 2), 0.5)
        return offline.purchases(offline.schedule(rule, path)).example

    order = np.asarray(orders(jax.random.split(key, num_runs)))
    first = np.bincount(order[:, 0], minlength=4)
    assert scipy.stats.chisquare(first).pvalue > 1e-6
    again = order[order[:, 0] == order[:, 1]]  # example used up: three are left
    third = np.bincount(((again[:, 2] - again[:, 0]) % 4) - 1, minlength=3)
    assert third.sum() == len(again) > 800
    assert scipy.stats.chisquare(third).pvalue > 1e-6
    same = int((order[:, 0] == order[:, 1]).sum())
    low, high = scipy.stats.binom.interval(1 - 1e-6, num_runs, 0.25)
    assert low <= same <= high


def test_arrival_times_of_an_example_do_not_depend_on_the_others(key):
    few, many = (RandomSampling(3).drawn(key, n) for n in (5, 9))
    np.testing.assert_array_equal(few.arrival_time, many.arrival_time[:, :5])
    with pytest.raises(ValueError, match="give it max_labels"):
        RandomSampling().drawn(key, 5)


def test_priorities_order_values_and_counts():
    value = jnp.array([0.5, 0.5, 0.25, 0.2500001, 1e-30, 0.0])
    count = jnp.array([3, 1, 2, 1, 0, 300])
    priority = np.asarray(largest_first(value, count), np.int64)
    assert list(np.argsort(-priority)) == [1, 0, 3, 2, 4, 5]
    assert priority[5] > NEVER


def test_next_examples_in_batches():
    probs = jnp.array([[0.9, 0.1], [0.5, 0.5], [0.7, 0.3], [0.5, 0.5]])
    seen = Seen(probs, jnp.array([1, 2, 1, 1]))
    rule = UncertaintySampling(2)
    np.testing.assert_array_equal(
        sequential.next_examples(rule, seen, 5), [3, 2, 0, MISSING, MISSING]
    )
    np.testing.assert_array_equal(sequential.next_examples(rule, seen), [3])
    done = sequential.next_examples(UncertaintySampling(1), seen, 2)
    np.testing.assert_array_equal(done, [MISSING, MISSING])


class TestRisk:
    probs = jnp.array([[0.99, 0.01], [0.02, 0.98], [0.9, 0.1], [0.4, 0.6]])

    def test_worked_by_hand(self):
        """Uncertainties .01, .02, .1, .4: their running means are .01, .015, .0433, .1325."""
        for target, accepted in [(0.005, 0), (0.012, 1), (0.02, 2), (0.05, 3), (0.2, 4)]:
            threshold = threshold_for_risk(self.probs, target)
            assert int(exceeds(self.probs, threshold).sum()) == accepted

    def test_examples_left_out(self):
        where = jnp.array([False, True, True, True])
        threshold = threshold_for_risk(self.probs, 0.03, where)
        assert list(np.asarray(exceeds(self.probs, threshold))) == [True, True, False, False]

    def test_equal_confidences_are_accepted_together_or_not_at_all(self):
        probs = jnp.array([[0.99, 0.01], [0.9, 0.1], [0.9, 0.1], [0.9, 0.1]])
        threshold = threshold_for_risk(probs, 0.06)  # two could be accepted, were they told apart
        assert int(exceeds(probs, threshold).sum()) == 1

    def test_pool_policy_asks_for_what_is_not_accepted(self):
        seen = Seen(self.probs, jnp.array([1, 1, 1, 1]))
        got = sequential.next_examples(RiskTarget(0.02, 5), seen, 4)
        np.testing.assert_array_equal(got, [3, 2, MISSING, MISSING])
        with pytest.raises(ValueError, match="RiskTarget looks at all examples"):
            offline.collect(RiskTarget(0.02, 5), jnp.full((3, 4, 2), 0.5), 4)

    @pytest.mark.slow
    def test_pool_policy_meets_its_target(self, key):
        """The realised errors of what it accepts follow the binomial law at the target."""
        labelers = OneCoin(jnp.linspace(0.7, 0.9, 6), 2)
        queue = simulate_queue(key, labelers, 300)
        method = ClassPosterior(labelers)
        found, _ = sequential.collect(RiskTarget(0.05, 6), method, queue, 300 * 6)
        probs = method.class_probs(queue.answers.first(found.num_labels))
        accepted = np.asarray(exceeds(probs, threshold_for_risk(probs, 0.05)))
        wrong = np.asarray(probs.argmax(axis=1) != queue.true_label)[accepted].sum()
        assert int(found.num_labels.sum()) < 300 * 6
        assert (np.asarray(found.num_labels)[~accepted] == 6).all()
        assert accepted.mean() > 0.8
        assert wrong <= scipy.stats.binom.ppf(1 - 1e-6, accepted.sum(), 0.05)

    def test_streaming_threshold_meets_its_target(self, key):
        key_threshold, key_queue = jax.random.split(key)
        labelers = OneCoin(jnp.array([0.6, 0.7, 0.75, 0.8, 0.85, 0.9]), 2)
        method, target = ClassPosterior(labelers), 0.03
        threshold = streaming_threshold_for_risk(
            key_threshold, method, labelers, target, max_labels=6
        )
        queue = simulate_queue(key_queue, labelers, 20_000)
        path = class_prob_path(method, queue)
        rule = ConfidenceThreshold(threshold, 6)
        got = offline.collect(rule, path, 10**6)
        accepted = np.asarray(at_count(exceeds(path, threshold), got.num_labels))
        label = np.asarray(at_count(path.argmax(axis=2), got.num_labels))
        wrong = (label != np.asarray(queue.true_label))[accepted].sum()
        assert wrong <= scipy.stats.binom.ppf(1 - 1e-6, accepted.sum(), target)
        assert float(threshold) < 1 - target / 2  # lower than the threshold it would naively be
        assert accepted.mean() > 0.5

    def test_impossible_targets(self, key):
        guess = OneCoin(jnp.full(3, 0.5), 2)
        found = streaming_threshold_for_risk(
            key, ClassPosterior(guess), guess, 0.1, max_labels=3, num_examples=50
        )
        assert float(found) == 1.0
        assert float(threshold_for_risk(jnp.full((4, 2), 0.5), 0.1)) == 1.0


def test_a_sweep_over_thresholds_compiles_once(key):
    method, _, queue = small_case(key, "gtx", "uncertainty")
    path = class_prob_path(method, queue)

    @jax.jit
    @chex.assert_max_traces(n=1)
    def run(threshold, budget):
        return offline.collect(ConfidenceThreshold(threshold, 3), path, budget)

    for threshold, budget in [(0.8, 5), (0.9, 7)]:
        run(threshold, budget)
