import jax.numpy as jnp
import numpy as np
import pytest

from gtx_bayes.log_space import FixedPoint, LogNumber, divide, multiply, normalise


def test_parts_make_up_the_whole():
    log = jnp.array([-1.2345678, 16.5, 0.0, -88.0])
    number = LogNumber.from_log(log)
    np.testing.assert_array_equal(number.log(), log)
    assert (jnp.abs(number.fine) <= 1 / 1024).all()
    np.testing.assert_array_equal(number.coarse * 512 % 1, 0)


def test_coarse_sums_are_exact_in_any_order():
    """Up to 32,768 nats: the sum of 2,000 terms equals that in whole numbers of grid steps."""
    log = np.random.default_rng(0).uniform(-15, 15, 2000).astype(np.float32)
    coarse = LogNumber.from_log(jnp.asarray(log)).coarse.astype(jnp.float32)
    steps = np.round(np.asarray(coarse, np.float64) * 512).astype(int).sum()
    for order in (np.arange(2000), np.argsort(log), np.argsort(-log)):
        total = np.float32(0)
        for term in np.asarray(coarse)[order]:
            total += term
        assert total * 512 == steps


def test_zeros_multiply_and_cancel():
    zero, half = (LogNumber.from_log(jnp.log(jnp.array([p]))) for p in (0.0, 0.5))
    assert multiply(zero, half).log()[0] == -jnp.inf
    np.testing.assert_allclose(divide(multiply(zero, half), zero).log(), np.log([0.5]), rtol=1e-6)


def test_normalise_drops_all_but_the_fewest_zeros():
    weight = LogNumber(jnp.array([1.0, 1.0, 2.0]), jnp.array([0.0, 1.0, 50.0]), jnp.zeros(3))
    got = normalise(weight, jnp.log(jnp.array([0.25, 0.25, 0.5])), axis=0)
    np.testing.assert_allclose(got, [1 / (1 + np.e), np.e / (1 + np.e), 0.0], rtol=1e-6)


def test_normalise_respects_an_impossible_class():
    """The class without zeros is excluded by its prior: the others do not lose to it."""
    weight = LogNumber(jnp.array([0.0, 1.0, 1.0]), jnp.zeros(3), jnp.zeros(3))
    got = normalise(weight, jnp.log(jnp.array([0.0, 0.25, 0.75])), axis=0)
    np.testing.assert_allclose(got, [0.0, 0.25, 0.75], rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 15.9])
def test_whole_sums_keep_within_a_unit_each_and_never_overflow(scale):
    """64 logarithms of one sign: their sum is the bound itself, the most that must fit."""
    log = scale * jnp.asarray(np.random.default_rng(0).uniform(0.5, 1, 64))
    whole = FixedPoint.from_log(log, jnp.sum(log))
    steps, unit = np.asarray(whole.steps), float(whole.unit)
    assert np.log2(unit) % 1 == 0
    assert not (steps % 2).any()
    np.testing.assert_array_less(np.abs(steps * unit - np.asarray(log, float)), 1.001 * unit)
    assert int(steps.sum(dtype=steps.dtype)) == sum(steps.tolist())
    assert whole.fits


def test_too_much_for_whole_sums():
    assert FixedPoint.from_log(jnp.ones(3), jnp.asarray(1023.0)).fits
    assert not FixedPoint.from_log(jnp.ones(3), jnp.asarray(1024.0)).fits
    assert not FixedPoint.from_log(jnp.ones(3), jnp.asarray(jnp.nan)).fits
