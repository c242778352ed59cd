import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats

from gtx_bayes.finetune.adamw import AdamW
from gtx_bayes.finetune.batches import batch_of, epoch_order, steps_per_epoch
from gtx_bayes.finetune.efficientnet import initial_network
from gtx_bayes.finetune.head import Head, cached_features, train_head, with_head
from gtx_bayes.finetune.predictions import (
    class_probs,
    fit_temperature,
    network_logits,
    score,
    temperature_towards,
)
from gtx_bayes.finetune.targets import (
    cross_entropy,
    hard_targets,
    known_targets,
    normalised,
    only,
    soft_targets,
    weighted_targets,
)
from gtx_bayes.labels import MISSING
from tests.networks import TWO_BLOCKS

PROBS = jnp.array([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]])
NUM_IMAGES = 400


def test_targets_by_hand():
    np.testing.assert_allclose(hard_targets(PROBS).probs, [[1, 0], [0.5, 0.5], [0, 1]])
    np.testing.assert_array_equal(soft_targets(PROBS).probs, PROBS)
    np.testing.assert_allclose(weighted_targets(PROBS).weight, [0.8, 0.0, 0.6], atol=1e-6)
    known = known_targets(jnp.array([1, MISSING, 0]), 2)
    np.testing.assert_array_equal(known.weight, [1, 0, 1])
    np.testing.assert_array_equal(known.probs[jnp.array([0, 2])], [[0, 1], [1, 0]])
    np.testing.assert_array_equal(only(known, jnp.array([False, True, True])).weight, [0, 0, 1])


def test_cross_entropy_by_hand():
    """Weights 0.8, 0, 0.6 have a mean of 0.7 over the images that count."""
    logits = jnp.log(jnp.array([[0.7, 0.3], [0.1, 0.9], [0.4, 0.6]]))
    targets = normalised(weighted_targets(PROBS))
    np.testing.assert_allclose(targets.weight, [0.8 / 0.7, 0.0, 0.6 / 0.7], atol=1e-6)
    expected = -(0.8 * np.log(0.7) + 0.6 * np.log(0.6)) / 0.7 / 3
    assert float(cross_entropy(logits, targets)) == pytest.approx(expected, rel=1e-5)
    # Soft targets are the loss expected under them, class by class.
    log_probs = np.log(np.array([[0.7, 0.3], [0.1, 0.9], [0.4, 0.6]]))
    expected = -np.mean(np.sum(np.asarray(PROBS) * log_probs, axis=1))
    found = float(cross_entropy(logits, soft_targets(PROBS)))
    assert found == pytest.approx(expected, rel=1e-5)


def test_an_epoch_sees_every_image_with_a_weight(key):
    weight = jnp.array([0.0, 1.0, 0.2, 0.0, 1.0, 1.0, 3.0])
    num_steps = int(steps_per_epoch(weight, 2))
    assert num_steps == 3
    order = epoch_order(key, weight)
    seen = np.concatenate([batch_of(order, weight, at, 2) for at in range(num_steps)])
    assert set(seen) == {1, 2, 4, 5, 6}
    other = epoch_order(jax.random.fold_in(key, 1), weight)
    assert set(np.asarray(other)[:5]) == set(np.asarray(order)[:5])
    assert list(other) != list(order)


def test_rate_climbs_then_falls_and_is_never_zero():
    rates = np.asarray(jax.vmap(lambda at: AdamW(0.5, warmup=0.2).rate(at, 10))(jnp.arange(10)))
    assert np.argmax(rates) == 2
    assert (np.diff(rates[:3]) > 0).all()
    assert (np.diff(rates[2:]) < 0).all()
    assert rates[0] == pytest.approx(0.5 * 0.05 / 0.2)
    assert rates[-1] == pytest.approx(0.5 * (0.5 + 0.5 * np.cos(np.pi * 0.75 / 0.8)), rel=1e-5)
    flat = AdamW(0.5, warmup=0.0).rate(0, 10)
    assert float(flat) == pytest.approx(0.5 * (0.5 + 0.5 * np.cos(np.pi * 0.05)))


def test_a_step_moves_by_the_rate_and_decays_matrices_alone():
    """Adam's first direction is the gradient's sign; a share of zero stands still."""
    rule = AdamW(0.1, weight_decay=0.5, warmup=0.0, clip_norm=1e9)
    weights = {"kernel": jnp.full((1, 2), 2.0), "bias": jnp.ones(2), "still": jnp.ones(2)}
    gradient = {
        "kernel": jnp.array([[3.0, -1.0]]),
        "bias": jnp.array([1.0, -4.0]),
        "still": jnp.ones(2),
    }
    adamw = rule.transformation(1, {"kernel": 1.0, "bias": 0.5, "still": 0.0})

    @jax.jit
    def moved(gradient, weights):
        updates, _ = adamw.update(gradient, adamw.init(weights), weights)
        return optax.apply_updates(weights, updates)

    found, rate = moved(gradient, weights), 0.1 * 0.5  # the middle of the cosine
    np.testing.assert_allclose(found["kernel"], [[2 - rate * 2, 2]], rtol=1e-4)
    np.testing.assert_allclose(found["bias"], [1 - rate / 2, 1 + rate / 2], rtol=1e-4)
    np.testing.assert_array_equal(found["still"], [1, 1])


def _clouds(key, num_images=NUM_IMAGES):
    """Two clouds whose centres are 2 standard deviations apart along the first of 5 features."""
    key_class, key_noise = jax.random.split(key)
    label = jax.random.bernoulli(key_class, 0.5, (num_images,)).astype(int)
    features = jax.random.normal(key_noise, (num_images, 5)) * 3.0 + 10.0
    return features.at[:, 0].add(6.0 * label), label


def test_a_head_reaches_the_least_error_possible(key):
    """Phi(-1) = 15.9 %: the binomial range for 4,000 fresh images, plus what 400 leave open.

    A linear rule learnt from n images of p features at a distance of D standard deviations errs
    phi(D / 2) (p - 1) (1 + D^2 / 4) / (n D) = 0.24 % more on average, in proportion to a
    chi-square of p - 1 degrees, which stays within eight times its mean: 2 %.
    """
    features, label = _clouds(jax.random.fold_in(key, 0))
    head = train_head(key, features, known_targets(label, 2))
    fresh, truth = _clouds(jax.random.fold_in(key, 1), 4000)
    wrong = int((np.argmax(head.logits(fresh), axis=1) != truth).sum())
    low, high = scipy.stats.binom.interval(1 - 1e-6, 4000, scipy.stats.norm.cdf(-1.0))
    assert low <= wrong <= high + 4000 * 0.02


def test_images_without_a_weight_teach_nothing(key):
    """And trainings on any number of images are compiled once."""
    features, label = _clouds(key)
    counted = jnp.arange(NUM_IMAGES) < 150
    targets = only(known_targets(label, 2), counted)
    lied = only(known_targets(jnp.where(counted, label, 1 - label), 2), counted)
    expected = train_head(key, features, targets)
    compiled = train_head._cache_size()
    for got, wanted in zip(train_head(key, features, lied), expected, strict=True):
        np.testing.assert_array_equal(got, wanted)
    nothing = train_head(key, features, only(targets, jnp.zeros(NUM_IMAGES, bool)))
    np.testing.assert_array_equal(nothing.logits(features), jnp.zeros((NUM_IMAGES, 2)))
    assert train_head._cache_size() == compiled


def test_head_takes_features_as_they_are(key):
    """Scaling is folded in: other units, the same probabilities; a constant feature is let be."""
    features, label = _clouds(key)
    features = features.at[:, 4].set(7.0)
    targets = known_targets(label, 2)
    plain = train_head(key, features, targets).logits(features)
    scaled = train_head(key, features * 8.0, targets).logits(features * 8.0)
    np.testing.assert_allclose(plain, scaled, rtol=1e-3, atol=1e-3)
    assert np.isfinite(plain).all()


@pytest.mark.end_to_end
def test_batches_agree_with_all_at_once(key):
    network = initial_network(key, TWO_BLOCKS)
    pixels = np.random.default_rng(2).integers(0, 256, (5, 16, 16, 3), np.uint8)
    features = cached_features(network, pixels, batch_size=2)
    whole = cached_features(network, pixels)
    np.testing.assert_allclose(features, whole, rtol=1e-4, atol=1e-5)
    head = Head(network.classifier.kernel[...], network.classifier.bias[...])
    for each in (head, Head(head.kernel[:, ::-1], 1.0 - head.bias)):
        np.testing.assert_allclose(
            network_logits(with_head(network, each), pixels),
            each.logits(jnp.asarray(features)),
            rtol=1e-4,
            atol=1e-5,
        )


def test_temperature_is_found(key):
    """Labels drawn at the temperature 3; its standard error follows from the curvature."""
    key_logits, key_label = jax.random.split(key)
    honest = 2.0 * jax.random.normal(key_logits, (4000, 3))
    truth = np.asarray(jax.random.categorical(key_label, honest))
    got = fit_temperature(np.asarray(3.0 * honest), truth)
    probs = np.asarray(jax.nn.softmax(honest, axis=1), np.float64)
    values = np.asarray(honest, np.float64)
    spread = (probs * values**2).sum(axis=1) - (probs * values).sum(axis=1) ** 2
    se = 1.0 / np.sqrt(spread.sum())  # of log T: Fisher's information is the variance of the logit
    assert abs(np.log(got / 3.0)) < 5 * se + 0.5 * np.log(3.0) * se**2 * 2
    np.testing.assert_allclose(
        class_probs(np.asarray(3.0 * honest), 3.0), probs, rtol=1e-4, atol=1e-6
    )


def test_temperature_towards_probabilities(key):
    """The expected loss is least at 3; the prior's slope there is log 3, its pull that by se^2."""
    honest = np.asarray(2.0 * jax.random.normal(key, (400, 3)), np.float64)
    probs = class_probs(honest)
    spread = (probs * honest**2).sum(axis=1) - (probs * honest).sum(axis=1) ** 2
    got = temperature_towards(3.0 * honest, probs)
    assert 0 < np.log(3.0 / got) < 2 * np.log(3.0) / spread.sum()


def test_few_images_do_not_make_certain():
    logits = np.array([[2.0, 0.0], [0.0, 3.0], [1.0, 0.0]])
    assert fit_temperature(logits, np.array([0, 1, 0])) > 0.1
    assert fit_temperature(logits[:0], np.array([], int)) == pytest.approx(1.0, abs=1e-4)


def test_scores_by_hand():
    probs = np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.8, 0.2]])
    found = score(probs, np.array([0, 0, 1, MISSING]))
    assert found.num_examples == 3
    assert found.error == pytest.approx(1 / 3)
    assert found.balanced_error == pytest.approx(0.25)
    assert found.auroc == pytest.approx(1.0)
    assert found.log_loss == pytest.approx(-np.log([0.9, 0.4, 0.7]).mean(), rel=1e-5)
    assert found.ece == pytest.approx((0.1 + 0.6 + 0.3) / 3, rel=1e-5)
