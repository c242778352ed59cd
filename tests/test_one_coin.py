import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from gtx_bayes.labelers import OneCoin
from gtx_bayes.labels import MISSING
from tests.reference import product_form


def test_log_prob_worked_by_hand(rtol):
    """Labels (1, 1, 0), accuracies (.9, .8, .7): .1 x .2 x .7 against .9 x .8 x .3."""
    model = OneCoin(jnp.array([0.9, 0.8, 0.7]), num_classes=2)
    got = model.log_prob(jnp.array([1, 1, 0]))
    np.testing.assert_allclose(got, np.log([0.014, 0.216]), rtol=rtol)


def test_three_classes_share_the_error(rtol):
    """A wrong answer is one of two: (1 - .8) / 2 each."""
    model = OneCoin(jnp.array([0.8]), num_classes=3)
    np.testing.assert_allclose(model.log_prob(jnp.array([2])), np.log([0.1, 0.1, 0.8]), rtol=rtol)


def test_missing_labels_carry_no_evidence(rtol):
    model = OneCoin(jnp.array([0.9, 0.7]), num_classes=3)
    np.testing.assert_array_equal(model.log_prob(jnp.array([MISSING, MISSING])), jnp.zeros(3))
    alone = OneCoin(jnp.array([0.9]), num_classes=3).log_prob(jnp.array([1]))
    np.testing.assert_allclose(model.log_prob(jnp.array([1, MISSING])), alone, rtol=rtol)


def test_certain_labelers_make_labels_impossible():
    model = OneCoin(jnp.array([1.0, 0.0, 0.6]), num_classes=2)
    got = model.log_prob(jnp.array([1, MISSING, 1]))
    np.testing.assert_allclose(got, [-np.inf, np.log(0.6)], rtol=1e-6)
    got = model.log_prob(jnp.array([MISSING, 0, 1]))
    np.testing.assert_allclose(got, [-np.inf, np.log(0.6)], rtol=1e-6)


@pytest.mark.parametrize("num_classes", [2, 3, 7])
def test_log_prob_against_products(num_classes):
    rng = np.random.default_rng(num_classes)
    accuracy = rng.uniform(0.02, 0.98, 200).astype(np.float32)
    labels = rng.integers(MISSING, num_classes, 200)
    model = OneCoin(jnp.asarray(accuracy, float), num_classes)
    expected = np.log(product_form(labels, accuracy, np.ones(num_classes)))
    got = model.log_prob(jnp.asarray(labels))
    # Each of 200 logarithms is rounded once; the sum of their coarse parts is exact.
    eps = float(jnp.finfo(got.dtype).eps)
    np.testing.assert_allclose(got, expected.astype(float), atol=200 * 4 * eps, rtol=4 * eps)


def test_gradient_is_finite_at_certainty():
    def loss(accuracy):
        return OneCoin(accuracy, 2).likelihood(jnp.array([1, 0])).fine.sum()

    assert np.isfinite(jax.grad(loss)(jnp.array([1.0, 0.0]))).all()


def test_sampled_accuracy(key):
    """Statistical: the accepted range comes from the binomial law, not from taste."""
    model, num_draws = OneCoin(jnp.array([0.8]), num_classes=3), 20_000
    labels = jax.vmap(model.sample, (0, None))(jax.random.split(key, num_draws), jnp.array(2))
    low, high = scipy.stats.binom.interval(1 - 1e-6, num_draws, 0.8)
    assert low <= int((labels == 2).sum()) <= high


def test_sampled_errors_are_even(key):
    """Wrong answers fall on the other classes alike: a binomial law given their number."""
    model, num_draws = OneCoin(jnp.array([0.4]), num_classes=3), 20_000
    labels = jax.vmap(model.sample, (0, None))(jax.random.split(key, num_draws), jnp.array(1))
    wrong = np.asarray(labels[labels != 1])
    low, high = scipy.stats.binom.interval(1 - 1e-6, wrong.size, 0.5)
    assert low <= int((wrong == 0).sum()) <= high


def test_samples_follow_log_prob(key):
    """Frequencies of whole answer patterns against exp(log_prob), by a chi-square test."""
    model, num_draws = OneCoin(jnp.array([0.9, 0.6]), num_classes=3), 20_000
    labels = jax.vmap(model.sample, (0, None))(jax.random.split(key, num_draws), jnp.array(0))
    pattern = np.asarray(labels) @ np.array([3, 1])
    every = jnp.array([[a, b] for a in range(3) for b in range(3)])
    expected = num_draws * np.exp(np.asarray(jax.vmap(model.log_prob)(every), np.float64)[:, 0])
    observed = np.bincount(pattern, minlength=9)
    statistic = ((observed - expected) ** 2 / expected).sum()
    assert scipy.stats.chi2.sf(statistic, df=8) > 1e-6


def test_is_a_pytree_and_compiles_once():
    @jax.jit
    @chex.assert_max_traces(n=1)
    def run(model, labels):
        return model.log_prob(labels)

    for accuracy in (0.6, 0.7):
        run(OneCoin(jnp.array([accuracy]), 2), jnp.array([1]))
