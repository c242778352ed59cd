import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from gtx_bayes import decisions

PROBS = jnp.array([[0.2, 0.8], [0.5, 0.5], [0.9, 0.1]])


def test_confidence_and_uncertainty(rtol):
    np.testing.assert_allclose(decisions.confidence(PROBS), [0.8, 0.5, 0.9], rtol=rtol)
    np.testing.assert_allclose(decisions.uncertainty(PROBS), [0.2, 0.5, 0.1], rtol=1e-6)


def test_ties_are_seen():
    np.testing.assert_array_equal(decisions.num_tied(PROBS), [1, 2, 1])
    eps = float(jnp.finfo(PROBS.dtype).eps)
    rounded = jnp.array([[0.5 + eps, 0.5 - eps], [0.5 + 50 * eps, 0.5 - 50 * eps]])
    np.testing.assert_array_equal(decisions.num_tied(rounded), [2, 1])


def test_credit():
    probs = jnp.array([[0.2, 0.8], [0.5, 0.5], [0.9, 0.1], [0.9, 0.1]])
    np.testing.assert_allclose(decisions.credit(probs, jnp.array([1, 0, 0, 1])), [1, 0.5, 1, 0])


def test_tied_labels_are_fair(key):
    """Of three classes two tie: each is drawn half of the time, the third never."""
    probs = jnp.tile(jnp.array([0.4, 0.2, 0.4]), (10_000, 1))
    drawn = np.bincount(decisions.hard_label(key, probs), minlength=3)
    assert drawn[1] == 0
    low, high = scipy.stats.binom.interval(1 - 1e-6, 10_000, 0.5)
    assert low <= drawn[0] <= high


def test_hard_label_without_ties_is_the_best_class():
    for seed in range(3):
        np.testing.assert_array_equal(
            decisions.hard_label(jax.random.key(seed), PROBS[jnp.array([0, 2])]), [1, 0]
        )


def test_a_whole_table_is_decided_as_by_the_kernels(key):
    """With classes that tie up to rounding, few classes and many."""
    rng = np.random.default_rng(0)
    eps = float(jnp.finfo(PROBS.dtype).eps)
    for num_classes in (2, 3, 11):
        probs = rng.dirichlet(np.ones(num_classes), 300).astype(PROBS.dtype)
        probs[:100, 1] = probs[:100, 0] * (1.0 - 3.0 * eps)
        found = decisions.decide(rng, probs)
        np.testing.assert_array_equal(found.confidence, decisions.confidence(jnp.asarray(probs)))
        np.testing.assert_array_equal(found.num_tied, decisions.num_tied(jnp.asarray(probs)))
        tied = np.asarray(decisions.tied_classes(jnp.asarray(probs)))
        assert tied[np.arange(300), found.hard_label].all()
        alone = found.num_tied == 1
        kernel = np.asarray(decisions.hard_label(key, jnp.asarray(probs)))
        np.testing.assert_array_equal(found.hard_label[alone], kernel[alone])


def test_tied_labels_of_a_table_are_fair():
    probs = np.tile(np.array([0.4, 0.2, 0.4]), (10_000, 1))
    drawn = np.bincount(decisions.decide(np.random.default_rng(0), probs).hard_label, minlength=3)
    assert drawn[1] == 0
    low, high = scipy.stats.binom.interval(1 - 1e-6, 10_000, 0.5)
    assert low <= drawn[0] <= high
