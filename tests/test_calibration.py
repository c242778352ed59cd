"""Honest confidence: decomposition by hand, labels drawn from their probabilities, hidden gold."""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
import scipy.stats

from gtx_bayes import metrics
from gtx_bayes.aggregation.aggregate import aggregate
from gtx_bayes.diagnostics import plots
from gtx_bayes.diagnostics.calibration import (
    FEWEST_LABELS,
    MIN_P,
    HeldOut,
    calibration,
    decompose_brier,
    hold_out_gold,
)
from gtx_bayes.labels import MISSING
from tests.crowds import simulated, with_gold

SIZE = 150  # and three classes, wherever any size would do: one shape is compiled


def held_out(probs, truth):
    probs = jnp.asarray(probs, float)
    return HeldOut(
        probs, jnp.asarray(truth, jnp.int32), np.arange(len(probs)), np.arange(len(probs))
    )


def drawn(key, power=1.0):
    """Probabilities, and labels drawn from them raised to a power: 1 for honest confidence."""
    key_probs, key_truth = jax.random.split(key)
    log_probs = jax.nn.log_softmax(2.0 * jax.random.normal(key_probs, (SIZE, 3)))
    return held_out(jnp.exp(log_probs), jax.random.categorical(key_truth, power * log_probs))


class TestDecomposition:
    @pytest.mark.parametrize(
        ("of_class_1", "truth", "expected"),
        [
            # Half are true whatever is said: a class scores (2 * .04 + 2 * .64) / 4 = .34,
            # recalibrated and by its share .25. Two classes.
            ([0.2, 0.2, 0.8, 0.8], [0, 1, 0, 1], [2 * 0.09, 0.0, 2 * 0.25]),
            ([0.0, 1.0, 0.0, 1.0], [0, 1, 0, 1], [0.0, 2 * 0.25, 2 * 0.25]),
            # The best non-decreasing function of a forecast that is upside down is a constant.
            ([0.9, 0.7, 0.3, 0.1], [0, 0, 1, 1], [2 * 0.65 - 2 * 0.25, 0.0, 2 * 0.25]),
        ],
    )
    def test_by_hand(self, of_class_1, truth, expected):
        one = np.array(of_class_1)
        found = decompose_brier(np.stack([1 - one, one], 1), np.array(truth))
        np.testing.assert_allclose(found, expected, atol=1e-6)

    def test_sums_to_the_brier_score(self, key):
        probs, truth, *_ = drawn(key)
        found = decompose_brier(probs, truth)
        np.testing.assert_allclose(found.brier, metrics.brier(probs, truth).value, rtol=1e-4)
        assert found.miscalibration >= 0.0
        assert found.discrimination >= 0.0


class TestCalibration:
    @pytest.mark.slow
    def test_honest_confidence_is_seldom_blamed(self, key):
        """Each p-value is below .1 in no more than a tenth of 20 crowds, by the binomial law."""
        found = [calibration(one, drawn(two)) for one, two in jax.random.split(key, (20, 2))]
        most = scipy.stats.binom.ppf(1 - 1e-5, 20, 0.1)
        for name in ("p_overconfident", "p_underconfident", "p_log_loss", "p_ece"):
            assert sum(getattr(one, name) < 0.1 for one in found) <= most
        assert any("speaks against confidence" in one.verdict for one in found)

    def test_overconfidence_is_found(self, key):
        """Labels are drawn from probabilities flattened to a third of the logits."""
        found = calibration(key, drawn(key, power=1 / 3))
        assert found.p_overconfident < MIN_P
        assert found.p_log_loss < MIN_P
        assert found.p_underconfident > 0.5
        assert found.ece_interval[0] > 0.0
        assert found.metrics["log_loss"].value > found.promised_log_loss
        assert found.verdict.startswith("Confidence is not honest. It promises too much")
        ax = plots.plot_calibration(found)
        assert f"by chance up to {found.ece_if_honest:.3f}" in ax.get_title(loc="left")
        plt.close(ax.figure)

    def test_modesty_is_found(self, key):
        found = calibration(key, drawn(key, power=3.0))
        assert found.p_underconfident < MIN_P
        assert "too little" in found.verdict

    @pytest.mark.slow
    def test_interval_of_the_calibration_error(self, key):
        """Confidence .9, accuracy .75: the error is .15. Covered as .95 of intervals have it."""
        probs = np.tile([0.9, 0.05, 0.05], (SIZE, 1))
        hits = 0
        for one, two in jax.random.split(key, (40, 2)):
            truth = jax.random.bernoulli(one, 0.25, (SIZE,)).astype(jnp.int32)
            low, high = calibration(two, held_out(probs, truth)).ece_interval
            hits += low <= 0.15 <= high
        assert hits >= scipy.stats.binom.ppf(1e-5, 40, 0.95)

    def test_what_is_promised(self, key):
        """All labels .8: accuracy .8 is promised, and the entropy as log loss."""
        found = calibration(key, held_out(np.tile([0.8, 0.1, 0.1], (SIZE, 1)), np.zeros(SIZE)))
        np.testing.assert_allclose(found.mean_confidence, 0.8, rtol=1e-5)
        entropy = -(0.8 * np.log(0.8) + 0.2 * np.log(0.1))
        sd = np.sqrt(0.16) * np.log(8) / np.sqrt(SIZE * 2000)
        assert abs(found.promised_log_loss - entropy) < 5 * sd
        assert found.num_examples == SIZE

    def test_few_labels_say_nothing(self, key):
        probs = np.tile([0.99, 0.01], (FEWEST_LABELS - 1, 1))
        found = calibration(key, held_out(probs, np.ones(FEWEST_LABELS - 1)))
        assert found.problems == ()
        assert "cannot be checked" in found.verdict

    def test_unknown_labels_are_left_out(self, key):
        probs = np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]])
        assert calibration(key, held_out(probs, [0, MISSING, 1])).num_examples == 2
        with pytest.raises(ValueError, match="no true label"):
            calibration(key, held_out(probs, [MISSING] * 3))


@pytest.mark.end_to_end
class TestHiddenGold:
    @pytest.mark.parametrize("method", ["gtx-bayes", "gtx", "majority-vote"])
    def test_no_example_is_told_its_own_label(self, key, method):
        """Another true label for one gold example changes nothing that is said of its part."""
        crowd = simulated(key, 12, num_labelers=6, max_labels=4)
        options = {"model": "one-coin", "dependence": 0.2} if method == "gtx-bayes" else {}
        changed = np.array(crowd.assessment.true_label)
        changed[0] = 1 - changed[0]
        other = with_gold(crowd, changed)
        found, again = (
            hold_out_gold(aggregate(one, method, **options), num_parts=3) for one in (crowd, other)
        )
        np.testing.assert_array_equal(found.example, np.arange(12))
        np.testing.assert_array_equal(found.true_label, crowd.assessment.true_label[:12])
        assert (np.asarray(found.class_probs).max(axis=1) < 1.0).all() or method != "gtx-bayes"
        same = (np.asarray(found.class_probs) == np.asarray(again.class_probs)).all(axis=1)
        assert same[0]
        assert same.all() == (method == "majority-vote")

    def test_is_the_fit_without_the_part(self, key):
        crowd = simulated(key, 2, num_labelers=6, max_labels=4)
        options = {"model": "one-coin", "dependence": 0.0, "class_prior": [0.5, 0.5]}
        found = hold_out_gold(aggregate(crowd, **options))
        for example in (0, 1):
            truth = np.array(crowd.assessment.true_label)
            truth[example] = MISSING
            fit = aggregate(with_gold(crowd, truth), **options)
            np.testing.assert_array_equal(found.class_probs[example], fit.class_probs[example])

    def test_needs_gold_to_hide(self, key):
        result = aggregate(simulated(key, 1), "majority-vote")
        with pytest.raises(ValueError, match="give at least 2"):
            hold_out_gold(result)
        with pytest.raises(ValueError, match="at least 2 in turn"):
            hold_out_gold(aggregate(simulated(key, 5), "majority-vote"), num_parts=1)
