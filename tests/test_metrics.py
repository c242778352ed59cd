import itertools

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from gtx_bayes import metrics
from gtx_bayes.labels import MISSING

PROBS = jnp.array([[0.1, 0.9], [0.4, 0.6], [0.7, 0.3], [0.5, 0.5]])
TRUTH = jnp.array([1, 0, 0, 1])


def approx(expected):
    return pytest.approx(expected, rel=1e-5)


def test_worked_by_hand():
    """Right, wrong, right, tied; probabilities of the truth .9, .4, .7, .5."""
    assert float(metrics.accuracy(PROBS, TRUTH).value) == approx(2.5 / 4)
    assert float(metrics.error_rate(PROBS, TRUTH).value) == approx(1.5 / 4)
    assert float(metrics.mean_absolute_error(PROBS, TRUTH).value) == approx(1.5 / 4)
    assert float(metrics.brier(PROBS, TRUTH).value) == approx((0.02 + 0.72 + 0.18 + 0.5) / 4)
    expected = -np.log([0.9, 0.4, 0.7, 0.5]).mean()
    assert float(metrics.log_loss(PROBS, TRUTH).value) == approx(expected)
    # Class 0: wrong, right; class 1: right, tied.
    assert float(metrics.balanced_error(PROBS, TRUTH).value) == approx((0.5 + 0.25) / 2)


def test_mae_is_the_papers_for_two_classes():
    paper = jnp.mean(jnp.abs(TRUTH - PROBS[:, 1]))
    assert float(metrics.mean_absolute_error(PROBS, TRUTH).value) == approx(float(paper))


def test_standard_error_is_that_of_a_mean():
    loss = -np.log(np.array([0.9, 0.4, 0.7, 0.5]))
    expected = loss.std(ddof=1) / np.sqrt(4)
    assert float(metrics.log_loss(PROBS, TRUTH).se) == approx(expected)
    within = [np.std([1, 0], ddof=1) / np.sqrt(2), np.std([0, 0.5], ddof=1) / np.sqrt(2)]
    assert float(metrics.balanced_error(PROBS, TRUTH).se) == approx(np.hypot(*within) / 2)


def test_balanced_error_leaves_out_absent_classes():
    probs = jnp.array([[0.8, 0.1, 0.1], [0.8, 0.1, 0.1]])
    assert float(metrics.balanced_error(probs, jnp.array([0, 1])).value) == approx(0.5)


def test_a_certain_error_costs_the_floor():
    probs, truth = jnp.array([[1.0, 0.0]] * 2), jnp.array([1, 0])
    assert float(metrics.log_loss(probs, truth).value) == approx(52 * np.log(2) / 2)
    assert float(metrics.log_loss(probs, truth, floor=0.0).value) == np.inf


@pytest.mark.parametrize("name", ["accuracy", "log_loss", "brier", "balanced_error", "auroc"])
def test_where_equals_leaving_out(name):
    metric = getattr(metrics, name)
    where = jnp.array([True, False, True, True])
    got = metric(PROBS, TRUTH, where)
    np.testing.assert_allclose(got, metric(PROBS[where], TRUTH[where]), rtol=1e-6)


@pytest.mark.parametrize("name", ["accuracy", "error_rate", "log_loss", "brier", "balanced_error"])
def test_unknown_truths_never_count(name):
    """MISSING is -1, which as an index would be the last class."""
    metric = getattr(metrics, name)
    got = metric(PROBS, jnp.array([1, MISSING, 0, 1]))
    known = jnp.array([0, 2, 3])
    np.testing.assert_allclose(got, metric(PROBS[known], TRUTH[known]), rtol=1e-6)


def ece_by_loops(confidence, credit, edges):
    """The textbook sum over bins, one example at a time."""
    total = 0.0
    for low, high in itertools.pairwise(edges):
        inside = [
            i
            for i, c in enumerate(confidence)
            if (low <= c < high) or (high == edges[-1] and c == high)
        ]
        if inside:
            total += abs(np.sum(credit[inside]) - np.sum(confidence[inside]))
    return total / len(confidence)


def simulated(num_examples=500, num_classes=3):
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.ones(num_classes), num_examples)
    truth = (rng.uniform(size=(num_examples, 1)) > probs.cumsum(axis=1)).sum(axis=1)
    return jnp.asarray(probs, jnp.float32), jnp.asarray(truth)


def test_ece_equal_width():
    probs, truth = simulated()
    confidence = np.asarray(probs, float).max(axis=1)
    credit = (np.asarray(probs).argmax(axis=1) == np.asarray(truth)).astype(float)
    expected = ece_by_loops(confidence, credit, np.linspace(0, 1, 16))
    got = metrics.expected_calibration_error(probs, truth)
    assert float(got.value) == pytest.approx(expected, rel=1e-4)


def test_ece_equal_mass():
    probs, truth = simulated()
    confidence = np.asarray(probs, float).max(axis=1)
    credit = (np.asarray(probs).argmax(axis=1) == np.asarray(truth)).astype(float)
    ordered = np.sort(confidence)
    edges = np.concatenate([[0.0], ordered[np.arange(1, 10) * 500 // 10], [1.0]])
    expected = ece_by_loops(confidence, credit, edges)
    got = metrics.expected_calibration_error(probs, truth, num_bins=10, binning="equal-mass")
    assert float(got.value) == pytest.approx(expected, rel=1e-4)
    curve = metrics.reliability_curve(probs, truth, num_bins=10, binning="equal-mass")
    np.testing.assert_array_equal(curve.num_examples, np.full(10, 50))


def test_equal_confidences_share_a_bin():
    """However many examples say .8, they are one bin, so their order cannot matter."""
    probs = jnp.array([[0.8, 0.2]] * 9 + [[0.6, 0.4]])
    truth = jnp.array([0] * 6 + [1] * 3 + [0])
    got = metrics.expected_calibration_error(probs, truth, num_bins=5, binning="equal-mass")
    assert float(got.value) == approx((9 * abs(6 / 9 - 0.8) + abs(1 - 0.6)) / 10)


def test_ece_standard_error_against_resampling():
    """Delta method against 2,000 bootstrap samples of the same estimator, large gaps in all bins.

    Bins hardly change sign here; the bootstrap's own standard error is 1/sqrt(2 x 2000) = 1.6 %,
    five of which are 8 %.
    """
    rng = np.random.default_rng(1)
    top = rng.uniform(0.5, 1.0, 1500)
    right = rng.uniform(size=1500) < top - 0.15
    probs = jnp.asarray(np.stack([top, 1 - top], axis=1), jnp.float32)
    truth = jnp.asarray(np.where(right, 0, 1))
    got = metrics.expected_calibration_error(probs, truth)

    @jax.jit
    @jax.vmap
    def again(sample):
        return metrics.expected_calibration_error(probs[sample], truth[sample]).value

    values = again(jnp.asarray(rng.integers(0, 1500, (2000, 1500))))
    assert float(got.se) == pytest.approx(float(jnp.std(values)), rel=0.08)


def test_reliability_curve():
    probs = jnp.array([[0.55, 0.45], [0.55, 0.45], [0.95, 0.05]])
    curve = metrics.reliability_curve(probs, jnp.array([0, 1, 0]), num_bins=10)
    np.testing.assert_array_equal(curve.num_examples, [0, 0, 0, 0, 0, 2, 0, 0, 0, 1])
    assert float(curve.accuracy[5]) == approx(0.5)
    assert float(curve.confidence[9]) == approx(0.95)
    assert np.isnan(curve.accuracy[0])
    masked = metrics.reliability_curve(
        probs, jnp.array([0, 1, 0]), jnp.array([True, True, False]), num_bins=10
    )
    assert int(masked.num_examples.sum()) == 2


def test_vmaps_over_runs():
    probs, truth = simulated(60)
    many = jax.vmap(metrics.expected_calibration_error)(
        jnp.stack([probs, probs[::-1]]), jnp.stack([truth, truth[::-1]])
    )
    one = metrics.expected_calibration_error(probs, truth)
    np.testing.assert_allclose(many.value, np.full(2, one.value), rtol=1e-5)


def test_auroc_by_pairs(key):
    """Against all pairs counted one by one, with ties; and DeLong's variance from placements."""
    score = np.asarray(jax.random.randint(key, (60,), 0, 12)) / 11
    truth = np.asarray(jax.random.bernoulli(jax.random.fold_in(key, 1), 0.3, (60,))).astype(int)
    probs = jnp.stack([1 - jnp.asarray(score), jnp.asarray(score)], axis=1)
    got = metrics.auroc(probs, jnp.asarray(truth))
    inside, outside = score[truth == 1], score[truth == 0]
    wins = (inside[:, None] > outside) + 0.5 * np.isclose(inside[:, None], outside)
    assert float(got.value) == approx(wins.mean())
    parts = [wins.mean(axis=at).var(ddof=1) / wins.shape[1 - at] for at in (0, 1)]
    assert float(got.se) == approx(np.sqrt(sum(parts)))


def test_auroc_is_the_mean_over_classes_one_against_the_rest(key):
    key_probs, key_truth = jax.random.split(key)
    probs = jax.random.dirichlet(key_probs, jnp.ones(3), (40,))
    truth = jax.random.randint(key_truth, (40,), 0, 3)
    singly = [
        metrics.auroc(jnp.stack([1 - probs[:, k], probs[:, k]], axis=1), (truth == k).astype(int))
        for k in range(3)
    ]
    got = metrics.auroc(probs, truth).value
    assert float(got) == approx(float(np.mean([one.value for one in singly])))
    missing = metrics.auroc(probs, jnp.where(truth == 2, MISSING, truth)).value
    known = np.asarray(truth != 2)
    assert float(missing) == approx(float(metrics.auroc(probs[known], truth[known]).value))


def test_auroc_of_one_class_is_unknown():
    assert np.isnan(float(metrics.auroc(PROBS, jnp.ones(4, int)).value))


def test_confusion_counts_by_hand():
    """True 1 said 1; 0 said 1; 0 said 0; 1 tied."""
    np.testing.assert_allclose(metrics.confusion_counts(PROBS, TRUTH), [[1, 1], [0.5, 1.5]])
    np.testing.assert_allclose(
        metrics.confusion_counts(PROBS, TRUTH.at[0].set(MISSING)), [[1, 1], [0.5, 0.5]]
    )


@pytest.mark.parametrize("num_classes", [3, 12])
def test_a_true_class_without_probability_counts_as_wrong(num_classes):
    """Few classes and many go different ways to the same number."""
    probs = jnp.full((2, num_classes), 1 / num_classes)
    got = metrics.mean_absolute_error(probs, jnp.array([num_classes, num_classes + 5]))
    assert float(got.value) == 1.0


def test_true_labels_that_are_no_integers():
    with pytest.raises((ValueError, jaxtyping.TypeCheckError)):
        metrics.brier(jnp.full((2, 2), 0.5), jnp.array([0.0, jnp.nan]))
