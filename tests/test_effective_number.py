"""What labellings are worth, by hand, and that it tells of the first step of a training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gtx_bayes.finetune.effective_number import (
    effective_number,
    num_trained_on,
    prob_better,
    share_of_signal,
)
from gtx_bayes.finetune.targets import (
    Targets,
    hard_targets,
    known_targets,
    only,
    soft_targets,
    weighted_targets,
)
from gtx_bayes.labels import MISSING

POSTERIOR = jnp.array([[0.9, 0.1], [0.3, 0.7], [0.5, 0.5]])


def test_hard_labels_by_hand(rtol):
    """Expected errors .1, .3, .5 and shares .8, .4, 0: q is their mean, 0.4."""
    targets = known_targets(jnp.array([0, 1, 0]), 2)
    assert float(share_of_signal(targets, POSTERIOR)) == pytest.approx(0.4, rel=rtol)
    assert float(effective_number(targets, POSTERIOR, exponent=2.0)) == pytest.approx(
        3 * 0.16, rel=rtol
    )
    at_three = effective_number(targets, POSTERIOR, exponent=3.0)
    assert float(at_three) == pytest.approx(3 * 0.064, rel=rtol)


def test_three_classes_by_hand(rtol):
    """q = 1 - 3/2 times the error, as errors are even: .85 and .4 of it right."""
    posterior = jnp.array([[0.1, 0.85, 0.05], [0.4, 0.3, 0.3]])
    q = float(share_of_signal(known_targets(jnp.array([1, 0]), 3), posterior))
    assert q == pytest.approx(1 - 1.5 * (0.15 + 0.6) / 2, rel=rtol)


def test_soft_and_weighted_targets_by_hand(rtol):
    """Shares .8, .4, 0: the sum of their squares, .8, against .48 of hard labels."""
    assert float(
        effective_number(soft_targets(POSTERIOR), POSTERIOR, exponent=2.0)
    ) == pytest.approx(0.8, rel=rtol)
    weighted = weighted_targets(POSTERIOR)
    assert int(num_trained_on(weighted)) == 2
    assert float(effective_number(weighted, POSTERIOR, exponent=2.0)) == pytest.approx(
        0.8, rel=rtol
    )
    # Hard labels with a tie shared between its classes: 1.2^2 / 2.
    assert float(share_of_signal(hard_targets(POSTERIOR), POSTERIOR) ** 2 * 3) == pytest.approx(
        0.72, rel=rtol
    )


def test_labels_judged_by_another_posterior(rtol):
    """A vote of 2:1 that the posterior reverses takes from what the others teach."""
    votes = jnp.array([[1.0, 0.0], [2 / 3, 1 / 3], [1.0, 0.0]])
    posterior = jnp.array([[1.0, 0.0], [0.2, 0.8], [1.0, 0.0]])
    found = share_of_signal(hard_targets(votes), posterior)
    assert float(found) == pytest.approx((1 + 1 - 0.6) / 3, rel=rtol)
    wrong = hard_targets(posterior[:, ::-1])
    assert float(share_of_signal(wrong, posterior)) == 0.0


def test_images_without_weight_say_nothing(rtol):
    targets = only(soft_targets(POSTERIOR), jnp.array([True, False, True]))
    some = jnp.array([0, 2])
    alone = effective_number(soft_targets(POSTERIOR[some]), POSTERIOR[some])
    empty = Targets(targets.probs.at[1].set(jnp.nan), targets.weight)
    assert float(effective_number(empty, POSTERIOR)) == pytest.approx(float(alone), rel=rtol)
    nothing = known_targets(jnp.full(3, MISSING), 2)
    assert float(share_of_signal(nothing, POSTERIOR)) == 0.0
    assert float(effective_number(nothing, POSTERIOR)) == 0.0


@pytest.mark.parametrize("make", [hard_targets, soft_targets, weighted_targets])
def test_neither_the_unit_of_weights_nor_the_names_of_classes_matter(make):
    posterior = np.random.default_rng(1).dirichlet(np.ones(4), 30)
    targets = make(jnp.asarray(posterior, float))
    q = float(share_of_signal(targets, jnp.asarray(posterior, float)))
    assert 0.0 < q < 1.0
    turned = Targets(targets.probs[:, ::-1], 7.0 * targets.weight)
    found = share_of_signal(turned, jnp.asarray(posterior[:, ::-1], float))
    assert float(found) == pytest.approx(q, rel=1e-5)


def test_labels_without_error_are_worth_their_number(rtol):
    label = jnp.arange(30) % 4
    found = effective_number(known_targets(label, 4), jax.nn.one_hot(label, 4))
    assert float(found) == pytest.approx(30.0, rel=rtol)


@pytest.mark.parametrize("make", [hard_targets, soft_targets, weighted_targets])
def test_it_is_the_signal_of_the_first_step(make):
    r"""Of :math:`G = \sum_i w_i x_i c(t_i)^\top`, with true classes drawn from the posterior.

    A feature is plus or minus one by class, with noise of standard deviation 20: of N labels
    without error the mean of G over its standard deviation is the root of N / 400.
    """
    rng = np.random.default_rng(5)
    num_images, draws = 40, 4000
    right = rng.uniform(0.5, 1.0, num_images)
    up = rng.random(num_images) < 0.5
    posterior = np.where(
        up[:, None], np.stack([right, 1 - right], 1), np.stack([1 - right, right], 1)
    )
    truth = (rng.random((draws, num_images)) > posterior[:, 0]).astype(int)
    x = (2 * truth - 1) + 20.0 * rng.standard_normal((draws, num_images))

    def signal_over_noise(probs, weight):
        centred = (np.asarray(probs)[..., 1] - 0.5) * np.asarray(weight)
        return (x * centred).sum(axis=1)

    targets = make(jnp.asarray(posterior, float))
    step = signal_over_noise(targets.probs, targets.weight)
    ratio = step.mean() ** 2 / step.var(ddof=1)
    expected = float(effective_number(targets, jnp.asarray(posterior, float), exponent=2.0)) / 400.0
    # step.mean() / step.std() has standard error 1 / sqrt(draws); five of them.
    assert abs(np.sqrt(ratio) - np.sqrt(expected)) < 5 * np.sqrt((1 + expected / 2) / draws)


def test_probability_by_hand(rtol):
    assert float(prob_better(300.0, 100.0, slope=1.0)) == pytest.approx(0.75, rel=rtol)
    assert float(prob_better(100.0, 300.0, slope=2.0)) == pytest.approx(0.1, rel=rtol)
    assert float(prob_better(0.0, 0.0)) == 0.5
    assert float(prob_better(1.0, 0.0)) == 1.0
