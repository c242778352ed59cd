"""Class-conditional labelers, and easy and hard examples, in inference with unknown labels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from gtx_bayes.inference import variational
from gtx_bayes.inference.priors import (
    HARD_SHARE,
    ClassConditionalPrior,
    ConfusionPrior,
    DifficultyPrior,
    OneCoinPrior,
)
from gtx_bayes.labels import MISSING, Assessment, Labels
from gtx_bayes.simulation import hard_examples_cohort, simulate_queue
from tests import exact

NUM_CROWDS = 12


def small_crowd(seed, num_examples, num_classes):
    """Answers of four labelers, a fifth missing, the last example hard; the first is gold."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, num_classes, num_examples)
    accuracy = rng.beta(8, 2, (4, 1)) * np.ones(num_examples)
    accuracy[:, -1] = 1 / num_classes
    right = rng.random(accuracy.shape) < accuracy
    other = (truth + rng.integers(1, num_classes, right.shape)) % num_classes
    table = np.where(right, truth, other)
    table[rng.random(table.shape) < 0.2] = MISSING
    return table, np.where(np.arange(num_examples) == 0, truth, MISSING)


def fit(table, gold, prior, class_prior):
    labeler, example = np.indices(table.shape).reshape(2, -1)
    # Missing answers too, so that tables of one size are compiled once.
    labels = Labels.from_arrays(example, labeler, table.ravel(), num_classes=prior.num_classes)
    assessment = Assessment(jnp.asarray(gold, jnp.int8), prior.num_classes)
    return variational.fit(labels, assessment, prior, class_prior, tolerance=1e-5)


def prob_hard(found):
    return np.einsum("ny,ny->n", found.class_probs, found.kind_probs[:, :, 1])


class TestClassConditional:
    def test_of_two_classes_is_confusion(self):
        table, gold = small_crowd(0, 12, 2)
        of_class, of_answer = (
            fit(table, gold, prior.default(2), None)
            for prior in (ClassConditionalPrior, ConfusionPrior)
        )
        rtol = 1e3 * float(jnp.finfo(of_class.evidence.dtype).eps)  # of some twenty passes
        np.testing.assert_allclose(of_class.class_probs, of_answer.class_probs, rtol, rtol)
        np.testing.assert_allclose(of_class.evidence, of_answer.evidence, rtol, rtol)
        bounds = [found.log_evidence_bound() for found in (of_class, of_answer)]
        np.testing.assert_allclose(bounds[0], bounds[1], rtol)
        labelers = [found.prior.posterior_mean(found.counts) for found in (of_class, of_answer)]
        np.testing.assert_allclose(labelers[0].confusion, labelers[1].confusion, rtol, rtol)
        half = jnp.array([0.5, 0.5])
        accuracy = [found.prior.accuracy(found.counts, half).a for found in (of_class, of_answer)]
        np.testing.assert_allclose(accuracy[0], accuracy[1], rtol)

    def test_against_exact(self):
        """Twelve crowds of five examples, three classes: off by at most .0014 when measured."""
        class_prior = np.array([0.2, 0.5, 0.3])
        for seed in range(NUM_CROWDS):
            table, gold = small_crowd(seed, 5, 3)
            found = fit(table, gold, ClassConditionalPrior.default(3), jnp.asarray(class_prior))
            expected = exact.exact(table, gold, found.prior.shape, 3, class_prior)
            np.testing.assert_allclose(found.class_probs, expected.class_probs, atol=0.004)
            mean = found.prior.posterior_mean(found.counts).accuracy
            np.testing.assert_allclose(mean, expected.parameters, atol=0.004)
            gap = expected.log_evidence - found.log_evidence_bound()
            assert -1e-4 < gap < 0.5


class TestDifficulty:
    def test_against_exact(self):
        """Classes and hardness of twelve crowds: off by at most .004 when measured."""
        class_prior = np.array([0.4, 0.6])
        for seed in range(NUM_CROWDS):
            table, gold = small_crowd(seed, 5, 2)
            found = fit(table, gold, DifficultyPrior.default(2), jnp.asarray(class_prior))
            easy, hard = (np.asarray(each.shape) for each in (found.prior.easy, found.prior.hard))
            expected = exact.difficulty(table, gold, easy, hard, HARD_SHARE, 2, class_prior)
            np.testing.assert_allclose(found.class_probs, expected.class_probs, atol=0.01)
            np.testing.assert_allclose(prob_hard(found), expected.prob_hard, atol=0.01)
            assert -1e-4 < expected.log_evidence - found.log_evidence_bound() < 0.8

    def test_gold_leaves_the_kind_open(self):
        """Two gold examples, on one of which everybody errs."""
        truth = np.array([1, 0, 1, 0, 1])
        table = np.tile(truth, (4, 1))
        table[:, 0] = 0
        gold = np.where(np.arange(5) < 2, truth, MISSING)
        found = fit(table, gold, DifficultyPrior.default(2), jnp.array([0.4, 0.6]))
        np.testing.assert_array_equal(found.class_probs[:2], [[0.0, 1.0], [1.0, 0.0]])
        hard = prob_hard(found)
        assert 0 < 3 * hard[1] < hard[0] < 1

    def test_finds_hard_examples(self, key):
        """A fifth of 800 examples hard, where ten labelers guess; no gold.

        In 24 such crowds the log loss fell by .08 to .26, and the share found was .165 to .25.
        Accuracies on hard examples come out high, .6 at most: the majority is taken for right.
        """
        key_cohort, key_answers = jax.random.split(key)
        labelers = hard_examples_cohort(
            key_cohort, 10, 0.75, 0.95, hard_share=0.2, hard_accuracy=0.5
        )
        queue = simulate_queue(key_answers, labelers, 800)
        labels, truth = Labels.from_dense(queue.labels, num_classes=2), np.asarray(queue.true_label)
        half = jnp.array([0.5, 0.5])
        plain, two_levels = (
            variational.fit(labels, Assessment.none(800, 2), prior.default(2), half)
            for prior in (OneCoinPrior, DifficultyPrior)
        )
        loss = [
            -np.log(np.asarray(found.class_probs)[np.arange(800), truth]).mean()
            for found in (plain, two_levels)
        ]
        assert loss[1] < loss[0] - 0.05
        model = two_levels.prior.posterior_mean(two_levels.counts)
        assert float(model.hard_share) == pytest.approx(0.2, abs=0.08)
        assert float(model.hard_accuracy.mean()) < 0.65 < 0.75 < float(model.accuracy.mean())

    def test_accuracy_of_both_kinds(self):
        """Shares .9 and .1 of Beta(12, 4) and Beta(10, 6): mean and variance by hand."""
        prior = DifficultyPrior.default(2)
        of_kinds = [np.array([12.0, 4.0]), np.array([10.0, 6.0])]
        counts = np.zeros((1, 2, 3))
        for kind, each in enumerate((prior.easy, prior.hard)):
            counts[0, kind, :2] = of_kinds[kind] - np.asarray(each.shape)
        found = prior.accuracy(jnp.asarray(counts, float), jnp.array([0.5, 0.5]))
        law = scipy.stats.beta(float(found.a[0]), float(found.b[0]))
        easy, hard = (scipy.stats.beta(*shape) for shape in of_kinds)
        assert law.mean() == pytest.approx(0.9 * easy.mean() + 0.1 * hard.mean(), rel=1e-5)
        assert law.var() == pytest.approx(0.81 * easy.var() + 0.01 * hard.var(), rel=1e-4)
