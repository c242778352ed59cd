"""Posterior predictive checks: tables by hand, crowds of the model, crowds that are not."""

import dataclasses

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
import scipy.stats

from gtx_bayes.aggregation.aggregate import aggregate
from gtx_bayes.crowd import Crowd
from gtx_bayes.diagnostics import plots, predictive
from gtx_bayes.diagnostics.predictive import (
    MAX_Z,
    Check,
    PredictiveChecks,
    class_shares,
    matching_correlation,
    pairs_of_labelers,
    predictive_checks,
    variance_of_agreement,
)
from gtx_bayes.labels import MISSING, Labels
from gtx_bayes.models.difficulty import HardExamples
from gtx_bayes.models.one_coin import OneCoin
from gtx_bayes.simulation import uniform_cohort
from tests.crowds import crowd_of, drawn, rng_of
from tests.test_aggregation import FRAME, GOLD

DENSE = np.array([[0, 1, 2, MISSING], [0, 2, 2, 1], [1, MISSING, 2, MISSING]])
"""Three labelers, four examples, three classes."""
LABELS = Labels.from_dense(DENSE, num_classes=3)
ANSWERS = np.asarray(LABELS.label)


def simulated(key, accuracy):
    return crowd_of(drawn(rng_of(key), accuracy, 300)[0])


def fitted(crowd, model="one-coin", dependence=0.0):
    return aggregate(crowd, model=model, dependence=dependence, class_prior=[0.5, 0.5])


class TestStatistics:
    def test_variance_of_agreement(self):
        """Agreeing pairs: 1 of 3, 0 of 1, 3 of 3; the example answered once is left out."""
        expected = np.var([1 / 3, 0.0, 1.0])
        np.testing.assert_allclose(variance_of_agreement(LABELS, ANSWERS), expected)
        once = Labels.from_arrays([0, 1], [0, 0], [0, 1], num_classes=2)
        assert np.isnan(variance_of_agreement(once, np.array([0, 1])))

    def test_class_shares(self):
        np.testing.assert_allclose(class_shares(LABELS, ANSWERS), [2 / 9, 3 / 9, 4 / 9])

    def test_pairs_against_loops(self, key):
        """A sparse table of six labelers, one of whom answers everything twice."""
        rng = np.random.default_rng(3)
        example, labeler = np.nonzero(rng.random((40, 6)) < 0.5)
        example, labeler = np.append(example, np.arange(40)), np.append(labeler, np.zeros(40, int))
        label = rng.integers(0, 2, example.size)
        labels = Labels.from_arrays(example, labeler, label, num_classes=2)
        common, agree = np.zeros((6, 6), int), np.zeros((6, 6), int)
        rows = list(zip(example, labeler, label, strict=True))
        for i, a, first in rows:
            for k, b, second in rows:
                if i == k and a < b:
                    common[a, b] += 1
                    agree[a, b] += first == second
        pairs = pairs_of_labelers(key, labels, min_common=10)
        expected = np.argwhere(common >= 10)
        np.testing.assert_array_equal(pairs.labelers, expected)
        np.testing.assert_array_equal(pairs.num_common, common[tuple(expected.T)])
        found = pairs.share_agreeing(np.asarray(labels.label))
        np.testing.assert_allclose(found, (agree / np.maximum(common, 1))[tuple(expected.T)])

    def test_work_is_bounded(self, key):
        labels = Labels.from_dense(np.zeros((5, 100), int), num_classes=2)
        pairs = pairs_of_labelers(key, labels, most_paired=305)
        assert (pairs.num_common == 30).all()
        assert pairs.first.size == 300
        few = pairs_of_labelers(key, LABELS, min_common=1, most_pairs=1)
        np.testing.assert_array_equal(few.labelers, [[0, 1]])
        np.testing.assert_allclose(few.share_agreeing(ANSWERS), [2 / 3])

    def test_labelers_own_terms_are_taken_out(self, key):
        """Against dense least squares; what is a sum of two terms leaves nothing."""
        labels = Labels.from_dense(np.zeros((6, 20), int), num_classes=2)
        pairs = pairs_of_labelers(key, labels)
        weight = np.arange(1, 16)
        pairs = pairs._replace(num_common=weight)
        both = np.zeros((15, 6))
        both[np.arange(15)[:, None], pairs.labelers] = 1.0
        excess = np.random.default_rng(0).normal(size=15)
        root = np.sqrt(weight)
        own = np.linalg.lstsq(both * root[:, None], excess * root)[0]
        np.testing.assert_allclose(pairs.without_labelers(excess), excess - both @ own, atol=1e-6)
        np.testing.assert_allclose(pairs.without_labelers(both @ own), np.zeros(15), atol=1e-6)


class TestCheck:
    def test_by_hand(self):
        check = Check("x", 4.0, np.array([1.0, 2.0, 3.0]))
        assert check.z == 2.0
        assert check.p == 0.5
        assert check.verdict == "x: as in the model (z = 2.0, p = 0.5)"
        assert Check("x", 9.0, check.replicated).verdict.startswith("x: more than in the model")
        less = Check("x", -9.0, check.replicated)
        assert less.verdict.startswith("x: less than in the model")
        one_sided = less._replace(only_more=True)
        assert one_sided.verdict.startswith("x: no more than in the model")
        assert one_sided.p == 1.0

    def test_edges(self):
        same = np.ones(4)
        assert Check("x", 1.0, same).z == 0.0
        assert Check("x", 2.0, same).z == np.inf
        nothing = Check("x", float("nan"), np.full(4, np.nan))
        assert nothing.fits
        assert np.isnan(nothing.p)
        assert nothing.verdict == "x: too few answers to tell"


class TestReplicates:
    def test_hard_examples_are_hard_for_all(self, key):
        """Certain labelers who are always wrong on hard examples: all agree, a third wrong."""
        model = HardExamples(jnp.ones(5), jnp.zeros(5), jnp.asarray(1 / 3), 2)
        labels = Labels.from_dense(np.zeros((5, 600), int), num_classes=2)
        key_latents, key_labels = jax.random.split(key)
        latent = model.draw_latents(key_latents, jnp.zeros(600, int))
        answers = model.draw_labels(key_labels, labels, latent).reshape(600, 5)
        assert (answers == answers[:, :1]).all()
        low, high = scipy.stats.binom.interval(1 - 1e-6, 600, 1 / 3)
        assert low <= int(answers[:, 0].sum()) <= high

    @pytest.mark.parametrize("correlation", [0.0, 0.3, 1.0])
    def test_correlated_answers(self, key, correlation):
        """Two labelers, right with .7 each: both wrong with .09 + rho .21. Alike, if by one luck.

        The wrong answers of three classes are even on the margin.
        """
        num_examples = 8000
        model = OneCoin(jnp.array([0.7, 0.7]), 3)
        labels = Labels.from_dense(np.zeros((2, num_examples), int), num_classes=3)
        true_label = jnp.ones(num_examples, int)
        answers = np.asarray(
            predictive.correlated_answers(key, model, labels, true_label, correlation=correlation)
        ).reshape(num_examples, 2)

        def check(count, prob):
            low, high = scipy.stats.binom.interval(1 - 1e-6, num_examples, prob)
            assert low <= count <= high

        check(np.sum(answers[:, 0] == 1), 0.7)
        check(np.sum(answers[:, 1] == 2), 0.15)
        wrong = answers != 1
        both = 0.09 + correlation * 0.21
        check(np.sum(wrong.all(axis=1)), both)
        alike = correlation * 0.3 + (1 - correlation) * 0.09 / 2
        check(np.sum(wrong.all(axis=1) & (answers[:, 0] == answers[:, 1])), alike)

    def test_padding_is_not_answered(self):
        padded = dataclasses.replace(
            LABELS,
            example=jnp.append(LABELS.example, 0),
            labeler=jnp.append(LABELS.labeler, 0),
            label=jnp.append(LABELS.label, MISSING),
        )
        np.testing.assert_array_equal(predictive._without_padding(padded).label, LABELS.label)


class TestErrors:
    def test_method_without_a_joint_posterior(self, key):
        result = aggregate(Crowd.from_frames(FRAME, GOLD), "gtx")
        with pytest.raises(ValueError, match="gtx has no joint posterior"):
            predictive_checks(key, result)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"correlation": -0.1}, "outside"),
            ({"correlation": 1.1}, "outside"),
            ({"num_replicates": 1}, "at least 2"),
        ],
    )
    def test_bad_arguments(self, key, options, message):
        with pytest.raises(ValueError, match=message):
            predictive_checks(key, fitted(crowd_of([[0, 1], [0, 0]])), **options)


@pytest.mark.end_to_end
class TestCrowds:
    @pytest.mark.slow
    def test_crowds_of_the_model_pass(self, key):
        """P-values of a true model are conservative: below 0.1 no more often than in a tenth."""
        p = []
        for one in jax.random.split(key, 8):
            crowd = simulated(one, rng_of(one).uniform(0.6, 0.9, 12))
            checks = predictive_checks(one, fitted(crowd))
            p.append([checks.agreement_per_example.p, checks.class_shares[0].p, checks.pairs[0].p])
            assert checks.agreement_per_pair.z < MAX_Z
        most = scipy.stats.binom.ppf(1 - 1e-4, 8, 0.1)
        assert (np.sum(np.array(p) < 0.1, axis=0) <= most).all()

    @pytest.mark.slow
    def test_hard_examples_show(self, key):
        """A fifth of the examples hard: one coin fails, and the model that knows of them does not.

        The dependence of the result changes nothing.
        """
        easy = rng_of(key).uniform(0.85, 0.98, (12, 1))
        crowd = simulated(key, np.where(np.arange(300) % 5, easy, 0.3))
        checks = predictive_checks(key, fitted(crowd))
        assert checks.agreement_per_example.z > MAX_Z
        assert "variation of agreement from example to example: more" in checks.verdict
        tempered = predictive_checks(key, fitted(crowd, dependence=0.3))
        np.testing.assert_allclose(
            tempered.agreement_per_example.z, checks.agreement_per_example.z, rtol=1e-3
        )
        knows = predictive_checks(key, fitted(crowd, "difficulty"))
        assert knows.agreement_per_example.fits

    @pytest.mark.slow
    def test_design_effect_repairs_agreement(self, key):
        """Errors that correlate by a quarter: independence fails, a quarter passes and is found."""
        key_cohort, key_answers, key_checks = jax.random.split(key, 3)
        labels = Labels.from_dense(np.zeros((12, 600), int), num_classes=2)
        answers = predictive.correlated_answers(
            key_answers,
            uniform_cohort(key_cohort, 12, 0.7, 0.9),
            labels,
            jnp.arange(600) % 2,
            correlation=0.25,
        )
        dense = np.zeros((12, 600), int)
        dense[np.asarray(labels.labeler), np.asarray(labels.example)] = np.asarray(answers)
        result = fitted(crowd_of(dense), dependence=0.4)
        before = predictive_checks(key_checks, result)
        assert before.agreement_per_example.z > MAX_Z
        after = predictive_checks(key_checks, result, correlation=0.25)
        assert after.agreement_per_example.fits
        assert after.correlation == 0.25
        assert 0.1 < matching_correlation(key_checks, result, num_replicates=3) < 0.4

    def test_copies_stand_out(self, key):
        dense, _ = drawn(rng_of(key), rng_of(key).uniform(0.7, 0.8, 12), 300)
        dense[7] = dense[2]
        checks = predictive_checks(key, fitted(crowd_of(dense)))
        first = checks.pairs[0]
        assert first.labelers == ("w2", "w7")
        assert first.observed == 1.0
        assert first.num_common == 300
        assert first.z > MAX_Z
        assert first.p == 1 / 101
        assert not checks.agreement_per_pair.fits
        assert len(checks.pairs) == predictive.MAX_PAIRS_NAMED

    @pytest.mark.slow
    def test_biased_answers_show_in_class_shares(self, key):
        """One coin cannot have a class named twice as often as its prior allows for."""
        rng = np.random.default_rng(5)
        truth = rng.integers(0, 2, 300)
        prob_one = np.where(truth == 1, 0.95, 0.45)
        dense = (rng.random((6, 300)) < prob_one).astype(int)
        checks = predictive_checks(key, fitted(crowd_of(dense)))
        observed = [check.observed for check in checks.class_shares]
        np.testing.assert_allclose(observed, [1 - dense.mean(), dense.mean()], rtol=1e-6)
        assert checks.class_shares[1].z > MAX_Z

    def test_too_few_labelers_to_compare(self, key):
        rng = np.random.default_rng(5)
        dense = np.full((12, 300), MISSING)
        dense[:3, :40] = rng.integers(0, 2, (3, 40))
        checks = predictive_checks(key, fitted(crowd_of(dense)))
        assert checks.pairs == ()
        assert "too few" in checks.agreement_per_pair.verdict


def test_plot(tmp_path):
    replicated = np.linspace(0.0, 1.0, 40)
    fits, fails = Check("answers 'a'", 0.5, replicated), Check("answers '$b'", 9.0, replicated)
    nothing = Check("pairs", float("nan"), np.full(40, np.nan))
    axes = plots.plot_predictive_checks(PredictiveChecks(fails, nothing, (fits, fails), ()))
    observed = [line.get_xdata()[0] for line in axes[0].get_lines()]
    assert observed == [9.0]
    assert "not defined" in axes[1].get_title(loc="left")
    fine, alarm = axes[2].collections[1].get_facecolors()
    assert not np.array_equal(fine, alarm)
    number = axes[0].figure.number
    plots.save_figure(axes[0], tmp_path / "x.png")
    assert number not in plt.get_fignums()
