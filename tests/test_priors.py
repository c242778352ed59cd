"""Class-conditional labelers, and easy and hard examples, in inference with unknown labels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from gtx_bayes.inference import variational
from gtx_bayes.labels import MISSING, Assessment, Labels
from gtx_bayes.models.class_conditional import ClassConditionalPrior
from gtx_bayes.models.cohort import CohortCounts, CohortPosterior
from gtx_bayes.models.confusion import ConfusionPrior
from gtx_bayes.models.difficulty import HARD_SHARE, DifficultyPrior
from gtx_bayes.models.hyperprior import HyperPrior
from gtx_bayes.models.one_coin import OneCoinPrior
from tests import exact
from tests.crowds import drawn, rng_of

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


@jax.jit
def labelers_of(prior, counts):
    """The labelers at their posterior means, and what is known of their accuracies."""
    return prior.posterior_mean(counts), prior.cohorts(counts, jnp.full(prior.num_classes, 0.5))


def prob_hard(found):
    return np.einsum("ny,ny->n", found.class_probs, found.subclass_probs[:, :, 1])


class TestClassConditional:
    @pytest.mark.slow
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
        (one, (of_class,)), (other, (of_answer,)) = (
            labelers_of(found.prior, found.counts) for found in (of_class, of_answer)
        )
        np.testing.assert_allclose(one.confusion_matrix, other.confusion_matrix, rtol, rtol)
        for of_two, of_all in zip(of_class, of_answer, strict=True):
            np.testing.assert_allclose(of_two, of_all, 10 * rtol, 10 * rtol)

    def test_against_exact(self):
        """Twelve crowds of five examples, three classes: off by at most .0014 when measured."""
        class_prior = np.array([0.2, 0.5, 0.3])
        for seed in range(NUM_CROWDS):
            table, gold = small_crowd(seed, 5, 3)
            found = fit(table, gold, ClassConditionalPrior.default(3), jnp.asarray(class_prior))
            expected = exact.exact(table, gold, found.prior.shape, 3, class_prior)
            np.testing.assert_allclose(found.class_probs, expected.class_probs, atol=0.004)
            mean = labelers_of(found.prior, found.counts)[0].accuracy
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

    @pytest.mark.slow
    def test_finds_hard_examples(self, key):
        """A fifth of 800 examples hard, where ten labelers guess; no gold.

        In 24 such crowds the log loss fell by .08 to .26, and the share found was .165 to .25.
        Accuracies on hard examples come out high, .6 at most: the majority is taken for right.
        """
        rng = rng_of(key)
        easy = rng.uniform(0.75, 0.95, (10, 1))
        dense, truth = drawn(rng, np.where(rng.random(800) < 0.2, 0.5, easy), 800)
        labels = Labels.from_dense(dense, num_classes=2)
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
        model, _ = labelers_of(two_levels.prior, two_levels.counts)
        assert float(model.hard_share) == pytest.approx(0.2, abs=0.08)
        assert float(model.hard_accuracy.mean()) < 0.65 < 0.75 < float(model.accuracy.mean())

    def test_accuracy_of_both_kinds(self):
        """Shares .9 and .1 of two cohorts that are known well: mean and variance by hand."""
        prior = DifficultyPrior.default(2)
        counts = np.zeros((200, 2, 5))
        counts[:, :, 2] = [0.9, 0.1]  # of 200 examples in all, beside 18 and 2 of the prior
        counts[:, 0, :2], counts[:, 1, :2] = [75.0, 25.0], [60.0, 40.0]
        found = prior.accuracy_moments(counts[..., None], np.ones((1, 2)), np.ones(1))
        mean = np.array([0.75, 0.6])
        np.testing.assert_allclose(found[0][0], mean @ [0.9, 0.1], rtol=0.01)
        # All alike, so that the cohort's concentration is large and leaves no more than this.
        most = np.sqrt(mean * (1 - mean) / 100) @ [0.9, 0.1]
        assert 0 < np.sqrt(found[1][0]) < most


class TestWhatIsKnown:
    def test_of_answers_that_may_be_right(self):
        """One labeler, the others' word for its answers given: value, slope and curvature of

        log P(answers | accuracy) at the posterior mean are those of the counts as if known.
        """
        of_others = jnp.array([0.9, 0.9, 0.8, 0.85, 0.3, 0.6, 0.95, 0.1])
        prior = OneCoinPrior.default(2)
        labels = Labels.from_arrays(
            range(of_others.size), [0] * of_others.size, [0] * of_others.size, num_classes=2
        )

        @jax.jit
        def step(accuracy):
            right = accuracy * of_others / (accuracy * of_others + (1 - accuracy) * (1 - of_others))
            counts = prior.counts(labels, jnp.stack([right, 1 - right], axis=1))
            return counts, prior.posterior_mean(counts).accuracy[0]

        accuracy = jnp.array(0.75)
        for _ in range(200):
            counts, accuracy = step(accuracy)
        known_right, known_wrong, left = map(float, prior.known(counts)[0])
        assert left == 0

        def log_prob(accuracy):
            return jnp.sum(jnp.log(accuracy * of_others + (1 - accuracy) * (1 - of_others)))

        def as_if_known(accuracy):
            return known_right * jnp.log(accuracy) + known_wrong * jnp.log1p(-accuracy)

        for order in (jax.grad, lambda f: jax.grad(jax.grad(f))):
            of_answers, of_counts = (
                float(jax.jit(order(f))(accuracy)) for f in (log_prob, as_if_known)
            )
            assert abs(of_answers - of_counts) < 2e-3 * (abs(of_counts) + 1.0)
        assert 0 < known_right + known_wrong < of_others.size


class TestCohort:
    RIGHT = np.array([3.0, 5.0, 4.0, 9.0, 2.0, 10.0, 7.0, 1.0])
    WRONG = np.array([2.0, 0.0, 1.0, 1.0, 3.0, 2.0, 7.0, 0.0])

    def test_against_quadrature(self):
        """Mean and standard deviation of every accuracy, by a grid over mean and concentration."""
        hyper = HyperPrior.for_classes(2)
        m = (np.arange(400) + 0.5)[:, None] / 400
        log_kappa = np.linspace(-3, 3, 121) + hyper.log_concentration
        kappa = np.exp(log_kappa)
        a, b = m * kappa, (1 - m) * kappa
        log_density = scipy.stats.beta(hyper.mean_a, hyper.mean_b).logpdf(m)
        log_density = log_density + scipy.stats.norm(hyper.log_concentration, 1).logpdf(log_kappa)
        for r, w in zip(self.RIGHT, self.WRONG, strict=True):
            log_density = (
                log_density + scipy.special.betaln(a + r, b + w) - scipy.special.betaln(a, b)
            )
        weight = np.exp(log_density - log_density.max())
        weight /= weight.sum()
        total = kappa + (self.RIGHT + self.WRONG)[:, None, None]
        first = (a + self.RIGHT[:, None, None]) / total
        second = first * (a + self.RIGHT[:, None, None] + 1) / (total + 1)
        mean = (weight * first).sum(axis=(1, 2))
        sd = np.sqrt((weight * second).sum(axis=(1, 2)) - mean**2)

        counts = CohortCounts(
            self.RIGHT[:, None], self.WRONG[:, None], np.ones(1), np.zeros((8, 1, 1))
        )
        found_mean, variance = CohortPosterior.find(counts, hyper).moments(counts)
        np.testing.assert_allclose(found_mean, mean, atol=0.01)
        np.testing.assert_allclose(np.sqrt(variance), sd, rtol=0.06)

    def test_draws_have_its_moments(self):
        """The mean of a labeler without answers: within 6 standard errors."""
        hyper = HyperPrior.for_classes(2)
        counts = CohortCounts(
            self.RIGHT[:, None], self.WRONG[:, None], np.ones(1), np.zeros((8, 1, 1))
        )
        found = CohortPosterior.find(counts, hyper)
        drawn = found.draw(np.random.default_rng(0), 20_000)
        mean = np.asarray(drawn.mean)[:, 0]
        assert abs(mean.mean() - found.probs @ found.mean[:, 0]) < 6 * mean.std() / np.sqrt(20_000)

    def test_coupled_columns_vary_together(self):
        """Two accuracies whose information has correlation -c: covariance by the inverse."""
        right, wrong = np.array([[80.0, 80.0]]), np.array([[20.0, 20.0]])
        alone, coupled = (
            CohortCounts(right, wrong, np.array([0.5, 0.5]), -c * (1 - np.eye(2))[None])
            for c in (0.0, 0.6)
        )
        cohort = CohortPosterior(np.ones(1), np.ones(1), np.full((1, 2), 0.8), np.zeros((1, 2)))
        (mean, variance), (same, more) = cohort.moments(alone), cohort.moments(coupled)
        np.testing.assert_allclose(mean, same)
        np.testing.assert_allclose(more / variance, 1 / (1 - 0.6), rtol=1e-6)


class TestRareClass:
    def test_mean_rows_are_no_worse_than_guesses(self):
        """Nobody names the third class: its mean row keeps a third for itself."""
        rows = np.array([[30.0, 2.0, 0, 0, 0], [2, 30, 0, 0, 0], [6, 6, 0, 0, 0]])
        counts = jnp.asarray(np.tile(rows, (60, 1, 1)), float)
        prior, m_step = ConfusionPrior.default(3), jax.jit(lambda prior: prior.m_step(counts))
        for _ in range(30):
            prior = m_step(prior)
        np.testing.assert_allclose(prior.mean.sum(axis=1), 1.0, rtol=1e-5)
        assert float(prior.mean[2, 2]) == pytest.approx(1 / 3, rel=1e-5)
        assert float(prior.mean[0, 0]) > 0.8
