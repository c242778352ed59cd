"""Weights of a mixture against the sum over all assignments of labels to predictors."""

import itertools

import numpy as np
import pytest
import scipy.special

from gtx_bayes.inference.stacking import stacking_weights


def exact(probs, concentration):
    """Posterior means, by every assignment of labels to predictors."""
    total, mean = 0.0, 0.0
    for assigned in itertools.product(range(probs.shape[1]), repeat=len(probs)):
        counts = concentration + np.bincount(assigned, minlength=probs.shape[1])
        weight = probs[np.arange(len(probs)), assigned].prod()
        weight *= np.exp(scipy.special.gammaln(counts).sum())
        total += weight
        mean += weight * counts / counts.sum()
    return mean / total


@pytest.mark.parametrize("seed", range(4))
def test_against_the_sum(seed):
    rng = np.random.default_rng(seed)
    probs = rng.beta(2.0, 1.0, size=(6, 3))
    concentration = rng.dirichlet(np.ones(3)) * rng.choice([1.0, 3.0])
    found = stacking_weights(probs, concentration)
    assert np.isclose(found.sum(), 1.0)
    # A quarter of what the means themselves are uncertain by: .2, as of six labels.
    np.testing.assert_allclose(found, exact(probs, concentration), atol=0.05)


def test_one_label_is_exact():
    concentration = np.array([0.2, 0.3, 0.5])
    probs = np.array([[0.9, 0.5, 0.1]])
    np.testing.assert_allclose(
        stacking_weights(probs, concentration), exact(probs, concentration), atol=1e-4
    )


def test_without_labels_the_prior():
    concentration = np.array([0.2, 0.6])
    np.testing.assert_allclose(stacking_weights(np.empty((0, 2)), concentration), [0.25, 0.75])


def test_what_nobody_predicts_changes_nothing():
    """A label that all predictors give the same probability tells nothing of them."""
    concentration = np.array([0.4, 0.6])
    same = np.full((5, 2), 1e-12)
    np.testing.assert_allclose(stacking_weights(same, concentration), concentration, atol=1e-4)


def test_a_mixture_is_found():
    """Labels of which three in ten are told by the one, the others by the other predictor."""
    is_first = np.arange(1_000) % 10 < 3
    probs = np.where(np.stack([is_first, ~is_first], axis=1), 0.9, 0.1)
    # The likelihood w -> (.1 + .8 w)^300 (.9 - .8 w)^700 has its maximum at w = .25; its posterior
    # standard deviation is .018.
    assert abs(stacking_weights(probs, np.ones(2))[0] - 0.25) < 0.01


def test_many_labels_and_predictors_that_hardly_differ():
    """All factors at once would run away; the weights of either are even but for chance."""
    rng = np.random.default_rng(1)
    probs = 0.5 * np.exp(0.1 * rng.standard_normal((20_000, 2)))
    # The information of 20,000 labels on the weight is their number times the variance of the
    # log ratio, .02: a standard deviation of .05 around a half.
    assert abs(stacking_weights(probs, np.full(2, 0.5))[0] - 0.5) < 0.2


def test_what_does_not_come_to_rest_has_weights():
    rng = np.random.default_rng(0)
    probs = np.clip(
        rng.beta(5, 1, (1_000, 1)) * np.exp(0.1 * rng.standard_normal((1_000, 9))), 0, 1
    )
    found = stacking_weights(probs, np.full(9, 1 / 9))
    assert np.isclose(found.sum(), 1.0)
    best = np.log(probs).mean(axis=0).max()
    assert np.log(probs @ found).mean() > best


def test_one_predictor_takes_all():
    assert stacking_weights(np.full((3, 1), 0.5), np.ones(1)) == pytest.approx([1.0])
