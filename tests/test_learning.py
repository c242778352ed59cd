import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gtx_bayes.aggregation.gtx import ClassPosterior
from gtx_bayes.collection import learning, offline
from gtx_bayes.collection.confidence_threshold import ConfidenceThreshold
from gtx_bayes.collection.uncertainty_sampling import UncertaintySampling
from gtx_bayes.inference.gold_counts import GoldCounts
from gtx_bayes.models.one_coin import OneCoin
from gtx_bayes.simulation import simulate_queue, uniform_cohort

pytestmark = pytest.mark.end_to_end

POLICIES = {
    "confidence-threshold": ConfidenceThreshold(0.97, 5),
    "uncertainty": UncertaintySampling(5),
}


def queue_of(key, num_examples=400):
    key_cohort, key_queue = jax.random.split(key)
    labelers = uniform_cohort(key_cohort, 8, 0.6, 0.9)
    return labelers, simulate_queue(key_queue, labelers, num_examples, max_labels=5)


def gold_of(labelers, num_gold):
    right = jnp.round(labelers.accuracy * num_gold).astype(jnp.int32)
    return GoldCounts(right, jnp.full(right.shape, num_gold, jnp.int32))


@pytest.mark.parametrize(
    "policy", [pytest.param("confidence-threshold", marks=pytest.mark.slow), "uncertainty"]
)
@pytest.mark.parametrize("budget", [401, pytest.param(1900, marks=pytest.mark.slow)])
def test_with_accuracies_known_it_is_the_whole_run(policy, budget, key):
    """A million gold answers of each labeler: answers teach nothing more, and going in rounds buys
    the same labels as going at once, but for what the sixth digit of an accuracy decides."""
    labelers, queue = queue_of(key)
    found = learning.collect(POLICIES[policy], gold_of(labelers, 1_000_000), queue, budget)
    np.testing.assert_allclose(found.accuracy, labelers.accuracy, atol=1e-3)
    path = offline.class_prob_path(ClassPosterior(OneCoin(found.accuracy, 2)), queue)
    expected = offline.collect(POLICIES[policy], path, budget)
    different = np.asarray(found.bought.num_labels) != np.asarray(expected.num_labels)
    assert different.mean() <= 0.01
    assert int(found.bought.num_labels.sum()) <= budget
    agrees = np.asarray(found.bought.counted) == np.asarray(expected.counted)
    assert agrees.mean() >= 0.99


@pytest.mark.parametrize("policy", POLICIES)
def test_learns_the_labelers_from_little_gold(policy, key):
    """Two gold answers each, then 1,900 of the crowd: nearer the truth than gold alone came."""
    labelers, queue = queue_of(key)
    found = learning.collect(POLICIES[policy], gold_of(labelers, 2), queue, 1900)
    assert int(found.bought.num_labels.max()) <= 5
    distance = np.abs(np.asarray(found.accuracy) - np.asarray(labelers.accuracy))
    per_labeler = 1900 / 8
    assert distance.max() < 6 * np.sqrt(0.25 / per_labeler)


def test_unlucky_gold_does_not_turn_the_classes_over(key):
    """One gold answer each, two of eight right, of labelers who are right with .6 to .9."""
    labelers, queue = queue_of(key)
    gold = GoldCounts(jnp.array([1, 1, 0, 0, 0, 0, 0, 0]), jnp.ones(8, jnp.int32))
    found = learning.collect(POLICIES["uncertainty"], gold, queue, 1900)
    distance = np.abs(np.asarray(found.accuracy) - np.asarray(labelers.accuracy))
    assert distance.max() < 6 * np.sqrt(0.25 / (1900 / 8))


@pytest.mark.slow
def test_a_budget_of_nothing():
    _, queue = queue_of(jax.random.key(1), num_examples=10)
    gold = GoldCounts(jnp.zeros(8, jnp.int32), jnp.zeros(8, jnp.int32))
    for policy in POLICIES.values():
        found = learning.collect(policy, gold, queue, 0)
        assert int(found.bought.num_labels.sum()) == 0
        assert np.isfinite(np.asarray(found.accuracy)).all()
