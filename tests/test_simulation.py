import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from gtx_bayes.labelers import OneCoin
from gtx_bayes.labels import MISSING
from gtx_bayes.simulation import simulate_crowd, uniform_cohort


def test_every_example_gets_its_answers(key):
    crowd = simulate_crowd(key, OneCoin(jnp.full(7, 0.8), 3), num_examples=50, labels_per_example=4)
    np.testing.assert_array_equal((crowd.labels != MISSING).sum(axis=0), np.full(50, 4))
    assert int(crowd.labels.max()) <= 2
    assert crowd.labels.dtype == jnp.int8
    with pytest.raises(ValueError, match="7 labelers cannot give 8"):
        simulate_crowd(key, OneCoin(jnp.full(7, 0.8), 3), 50, 8)


def test_labelers_are_asked_evenly_and_answer_as_told(key):
    accuracy = jnp.array([0.6, 0.75, 0.9, 1.0])
    crowd = simulate_crowd(key, OneCoin(accuracy, 2), num_examples=20_000, labels_per_example=2)
    asked = np.asarray((crowd.labels != MISSING).sum(axis=1))
    low, high = scipy.stats.binom.interval(1 - 1e-6, 20_000, 0.5)
    assert ((low <= asked) & (asked <= high)).all()
    right = np.asarray((crowd.labels == crowd.true_label).sum(axis=1))
    for j in range(3):
        low, high = scipy.stats.binom.interval(1 - 1e-6, asked[j], float(accuracy[j]))
        assert low <= right[j] <= high
    assert right[3] == asked[3]


def test_cohort_within_its_limits(key):
    labelers = uniform_cohort(key, 5000, 0.6, 0.9, num_classes=4)
    assert labelers.num_classes == 4
    law = scipy.stats.uniform(0.6, 0.3)
    assert scipy.stats.kstest(np.asarray(labelers.accuracy), law.cdf).pvalue > 1e-6


def test_vmaps_over_runs(key):
    labelers = OneCoin(jnp.full(5, 0.8), 2)
    crowds = jax.vmap(lambda k: simulate_crowd(k, labelers, 10, 3))(jax.random.split(key, 4))
    assert crowds.labels.shape == (4, 5, 10)
    assert not (crowds.labels[0] == crowds.labels[1]).all()
