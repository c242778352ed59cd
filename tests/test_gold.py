"""Accuracies from gold: counts, the plug-in estimate, Beta posteriors and their NumPyro twins."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
import scipy.special
import scipy.stats

from gtx_bayes.diagnostics.checks import MAX_RHAT, measure_convergence
from gtx_bayes.diagnostics.to_arviz import to_datatree
from gtx_bayes.inference import models
from gtx_bayes.inference.beta import BetaPosterior, CohortPrior
from gtx_bayes.inference.gold_counts import GoldCounts, gold_counts
from gtx_bayes.inference.nuts import run_nuts
from gtx_bayes.inference.plug_in import accuracy_mle
from gtx_bayes.labels import MISSING, Assessment, Labels
from gtx_bayes.models.distributions import LogitBeta
from gtx_bayes.models.hyperprior import HyperPrior
from gtx_bayes.models.one_coin import OneCoin
from gtx_bayes.posterior import class_posterior

COUNTS = GoldCounts(jnp.array([5, 4, 5, 3, 0, 20]), jnp.array([5, 5, 5, 5, 0, 30]))


def test_counts():
    dense = np.array([[0, 1, 1, MISSING], [1, 1, MISSING, 0], [MISSING, MISSING, 0, 1]])
    labels = Labels.from_dense(dense, num_classes=2)
    gold = Assessment.from_arrays([0, 1, 3], [0, 1, 1], num_examples=4, num_classes=2)
    counts = gold_counts(labels, gold)
    np.testing.assert_array_equal(counts.num_correct, [2, 1, 1])
    np.testing.assert_array_equal(counts.num_gold, [2, 3, 1])


class TestPlugIn:
    def test_proportions_and_the_pooled_estimate(self, rtol):
        found = accuracy_mle(COUNTS)
        np.testing.assert_allclose(found.accuracy, [1, 0.8, 1, 0.6, 37 / 50, 2 / 3], rtol=rtol)
        np.testing.assert_array_equal(found.is_pooled, [0, 0, 0, 0, 1, 0])

    def test_without_any_gold_it_is_unknown(self):
        found = accuracy_mle(GoldCounts(jnp.zeros(2, int), jnp.zeros(2, int)))
        assert np.isnan(found.accuracy).all()
        assert bool(found.is_pooled.all())

    def test_interval_needs_a_level(self):
        with pytest.raises(ValueError, match="not between 0 and 1"):
            accuracy_mle(COUNTS).confidence_interval(95.0)

    def test_interval_against_scipy(self):
        low, high = accuracy_mle(COUNTS).confidence_interval(0.9)
        for j, (right, total) in enumerate(zip(*map(np.asarray, COUNTS), strict=True)):
            if total == 0:
                assert (low[j], high[j]) == (0, 1)
                continue
            expected = scipy.stats.binomtest(int(right), int(total)).proportion_ci(0.9)
            np.testing.assert_allclose([low[j], high[j]], [expected.low, expected.high], atol=1e-9)


class TestBetaPosterior:
    posterior = BetaPosterior(jnp.array([5.0, 1.5, 0.6, 30.0]), jnp.array([2.0, 1.5, 3.0, 0.9]))

    def test_conjugate_update(self, rtol):
        got = BetaPosterior.from_counts(COUNTS, CohortPrior(0.75, 8.0))
        np.testing.assert_allclose(got.a, [11, 10, 11, 9, 6, 26], rtol=rtol)
        np.testing.assert_allclose(got.b, [2, 3, 2, 4, 2, 12], rtol=rtol)
        np.testing.assert_allclose(
            got.mean, [11 / 13, 10 / 13, 11 / 13, 9 / 13, 0.75, 26 / 38], rtol=rtol
        )

    @pytest.mark.parametrize("prob", [0.5, 0.9, 0.99])
    def test_equal_tails(self, prob):
        low, high = self.posterior.credible_interval(prob)
        law = scipy.stats.beta(
            np.asarray(self.posterior.a, float), np.asarray(self.posterior.b, float)
        )
        np.testing.assert_allclose(law.cdf(low), (1 - prob) / 2, rtol=1e-6)
        np.testing.assert_allclose(law.sf(high), (1 - prob) / 2, rtol=1e-6)

    @pytest.mark.parametrize("prob", [0.5, 0.9, 0.99])
    def test_hdi_is_the_shortest(self, prob):
        """Against a search over 20,000 placements of the interval."""
        low, high = self.posterior.credible_interval(prob, "hdi")
        a, b = np.asarray(self.posterior.a, float), np.asarray(self.posterior.b, float)
        below = np.linspace(0, 1 - prob, 20_001)[:, None]
        widths = scipy.stats.beta.ppf(below + prob, a, b) - scipy.stats.beta.ppf(below, a, b)
        np.testing.assert_allclose(high - low, widths.min(axis=0), rtol=1e-5)
        law = scipy.stats.beta(a, b)
        np.testing.assert_allclose(law.cdf(high) - law.cdf(low), prob, rtol=1e-6)

    def test_hdi_of_a_density_with_two_peaks(self):
        """Infinite at both ends: the shortest interval starts at the fatter end."""
        posterior = BetaPosterior(jnp.array([0.5, 0.8]), jnp.array([0.8, 0.5]))
        low, high = posterior.credible_interval(0.5, "hdi")
        assert low[0] == 0
        assert high[1] == pytest.approx(1)
        np.testing.assert_allclose(high[0] - low[0], high[1] - low[1], rtol=1e-6)

    def test_refuses_nonsense(self):
        with pytest.raises(ValueError, match="not between 0 and 1"):
            self.posterior.credible_interval(95.0)
        with pytest.raises((ValueError, jaxtyping.TypeCheckError)):  # the latter in tests alone
            self.posterior.credible_interval(0.9, "HDI")

    def test_probabilities_of_being_poor(self):
        a, b = np.asarray(self.posterior.a, float), np.asarray(self.posterior.b, float)
        for target in (0.25, 0.8):
            expected = scipy.integrate.quad_vec(
                lambda x: scipy.stats.beta.pdf(x, a, b), 1e-12, target, epsabs=1e-10, limit=2000
            )[0]
            np.testing.assert_allclose(self.posterior.prob_below(target), expected, atol=2e-6)
        np.testing.assert_allclose(
            self.posterior.prob_worse_than_chance(4), self.posterior.prob_below(0.25)
        )

    def test_samples_follow_the_law(self, key):
        """Kolmogorov-Smirnov at a level of 1e-6 for each of four labelers."""
        draws = np.asarray(self.posterior.sample(key, (5000,)), float)
        for j in range(4):
            law = scipy.stats.beta(float(self.posterior.a[j]), float(self.posterior.b[j]))
            assert scipy.stats.kstest(np.clip(draws[:, j], 1e-7, 1 - 1e-7), law.cdf).pvalue > 1e-6


def test_integrating_accuracies_out_gives_the_posterior_at_their_means():
    """Exact: each labeler answers once, so each accuracy enters the product linearly.

    Reference: the class posterior averaged over a grid of all three accuracies (Gauss-Jacobi,
    exact for polynomials), likelihoods averaged before normalising.
    """
    a, b, labels = np.array([3.0, 1.5, 6.0]), np.array([1.2, 2.0, 1.0]), np.array([1, 0, 2])
    nodes, weights = [], []
    for shape_a, shape_b in zip(a, b, strict=True):
        x, w = scipy.special.roots_jacobi(8, shape_b - 1, shape_a - 1)
        nodes.append((x + 1) / 2)
        weights.append(w / w.sum())
    likelihood = np.zeros(3)
    for index in np.ndindex(8, 8, 8):
        alpha = np.array([nodes[j][index[j]] for j in range(3)])
        weight = np.prod([weights[j][index[j]] for j in range(3)])
        for y in range(3):
            likelihood[y] += weight * np.prod(np.where(labels == y, alpha, (1 - alpha) / 2))
    posterior = BetaPosterior(jnp.asarray(a), jnp.asarray(b))
    got = class_posterior(OneCoin(posterior.mean, 3), jnp.asarray(labels))
    np.testing.assert_allclose(got, likelihood / likelihood.sum(), rtol=1e-5)


def log_density(mean, log_concentration, counts, num_classes):
    """Log density of mean and log concentration given the counts, by SciPy, over a grid."""
    hyper = HyperPrior.for_classes(num_classes)
    total = scipy.stats.beta.logpdf(mean, hyper.mean_a, hyper.mean_b)
    total = total + scipy.stats.norm.logpdf(
        log_concentration, hyper.log_concentration, hyper.log_concentration_sd
    )
    a, b = mean * np.exp(log_concentration), (1 - mean) * np.exp(log_concentration)
    for right, gold in zip(*map(np.asarray, counts), strict=True):
        total = total + scipy.stats.betabinom.logpmf(right, gold, a, b)
    return total


class TestCohortPrior:
    @pytest.mark.parametrize("num_classes", [2, 5])
    @pytest.mark.parametrize(
        "counts",
        [
            COUNTS,
            GoldCounts(jnp.full(10, 50), jnp.full(10, 50)),
            GoldCounts(jnp.array([0, 1]), jnp.array([20, 20])),
        ],
    )
    def test_is_the_most_probable(self, counts, num_classes):
        """No point of a fine grid around or far away is more probable."""
        prior = CohortPrior.fit(counts, num_classes)
        mean, log_concentration = np.meshgrid(
            np.linspace(0.001, 0.999, 400), np.linspace(-4, 9, 400)
        )
        density = log_density(mean, log_concentration, counts, num_classes)
        best = (density + np.log(mean) + np.log1p(-mean)).max()  # over the logit of the mean
        found = log_density(prior.mean, np.log(prior.concentration), counts, num_classes)
        assert found + np.log(prior.mean) + np.log1p(-prior.mean) >= best - 1e-6

    def test_without_gold_it_is_the_middle_of_the_hyperprior(self):
        none = GoldCounts(jnp.zeros(3, int), jnp.zeros(3, int))
        prior = CohortPrior.fit(none, 2)
        assert prior.mean == pytest.approx(0.75, abs=1e-4)
        assert prior.concentration == pytest.approx(15, rel=1e-3)

    def test_recovers_a_cohort(self):
        """400 labelers of 100 gold answers: mean within 5 standard errors, by the binomial law."""
        rng = np.random.default_rng(0)
        accuracy = rng.beta(18, 6, 400)
        right = rng.binomial(100, accuracy)
        prior = CohortPrior.fit(GoldCounts(jnp.asarray(right), jnp.full(400, 100)), 2)
        variance = 0.75 * 0.25 * (1 / 25 + (1 - 1 / 25) / 100)
        assert prior.mean == pytest.approx(0.75, abs=5 * np.sqrt(variance / 400))
        # A variance from 400 draws has a relative error of about sqrt(2 / 400), the excess of
        # the variance over the binomial part is 4 / 5 of it.
        assert prior.concentration == pytest.approx(24, rel=5 * np.sqrt(2 / 400) * 5 / 4)

    def test_needs_two_classes(self):
        with pytest.raises(ValueError, match="not at least 2"):
            CohortPrior.fit(COUNTS, 1)


class TestNuts:
    """Against closed forms, within five Monte Carlo standard errors per mean: one in a million."""

    def test_conjugate(self, key):
        prior = CohortPrior(0.75, 8.0)
        draws = run_nuts(key, models.conjugate, COUNTS, prior, num_warmup=500, num_draws=1000)
        tree = to_datatree(draws, list("abcdef"))
        found = measure_convergence(tree)
        assert found.converged, found.problems
        accuracy = draws.posterior["accuracy"]
        exact = BetaPosterior.from_counts(COUNTS, prior)
        sd = np.sqrt(np.asarray(exact.mean * (1 - exact.mean) / (exact.a + exact.b + 1)))
        error = np.abs(accuracy.mean(axis=(0, 1)) - np.asarray(exact.mean))
        assert (error < 5 * sd / np.sqrt(found.min_ess_bulk)).all()

    @pytest.mark.slow
    def test_partial_pooling(self, key):
        """Reference: the two shared parameters on a grid, accuracies conjugate given them."""
        draws = run_nuts(
            key,
            models.partial_pooling,
            COUNTS,
            2,
            num_warmup=500,
            num_draws=2000,
            target_accept_prob=0.95,
        )
        found = measure_convergence(to_datatree(draws, list("abcdef")))
        assert found.max_rhat <= MAX_RHAT, found.problems
        assert found.min_ess_bulk >= 400, found.problems
        mean, log_concentration = np.meshgrid(
            np.linspace(0.0025, 0.9975, 200), np.linspace(-2, 8, 200)
        )
        weight = log_density(mean, log_concentration, COUNTS, 2)
        weight = np.exp(weight - weight.max())
        weight /= weight.sum()
        concentration = np.exp(log_concentration)
        for j, (right, gold) in enumerate(zip(*map(np.asarray, COUNTS), strict=True)):
            a = mean * concentration + right
            total = concentration + gold
            exact = (weight * a / total).sum()
            second = (weight * a * (a + 1) / (total * (total + 1))).sum()
            sd = np.sqrt(second - exact**2)
            got = draws.posterior["accuracy"][..., j].mean()
            assert abs(got - exact) < 5 * sd / np.sqrt(found.min_ess_bulk)

    @pytest.mark.slow
    def test_labelers_without_a_mistake(self, key):
        """Beta(207.35, 0.15): a fifth of it lies where a float32 cannot tell from 1."""
        prior = CohortPrior(0.98, 7.5)
        counts = GoldCounts(jnp.full(4, 200), jnp.full(4, 200))
        draws = run_nuts(key, models.conjugate, counts, prior, num_warmup=500, num_draws=2000)
        found = measure_convergence(to_datatree(draws, list("abcd")))
        assert found.min_ess_bulk >= 400, found.problems
        wrong = scipy.special.expit(-draws.posterior["log_odds"].astype(float))
        a, b = prior.a + 200, prior.b
        exact, sd = b / (a + b), np.sqrt(a * b / ((a + b) ** 2 * (a + b + 1)))
        assert abs(wrong.mean() - exact) < 5 * sd / np.sqrt(found.min_ess_bulk)

    def test_log_odds_of_a_beta_variable(self, key):
        """Density integrates to one; draws follow it, by Kolmogorov-Smirnov at 1e-6."""
        law = LogitBeta(jnp.array(3.0), jnp.array(0.5))
        grid = np.linspace(-20, 60, 80_001)
        density = np.exp(np.asarray(law.log_prob(jnp.asarray(grid)), float))
        assert scipy.integrate.trapezoid(density, grid) == pytest.approx(1, rel=1e-4)
        draws = scipy.special.expit(np.asarray(law.sample(key, (5000,)), float))
        assert scipy.stats.kstest(draws, scipy.stats.beta(3, 0.5).cdf).pvalue > 1e-6

    @pytest.mark.slow
    def test_chains_without_devices_of_their_own(self, key):
        """More chains than devices: vectorised, and still the same law."""
        num_chains = jax.local_device_count() + 1
        with pytest.warns(UserWarning, match="set_host_device_count"):
            draws = run_nuts(
                key,
                models.conjugate,
                COUNTS,
                CohortPrior(0.75, 8.0),
                num_warmup=300,
                num_draws=300,
                num_chains=num_chains,
            )
        assert draws.posterior["accuracy"].shape == (num_chains, 300, 6)
        assert set(draws.sample_stats) >= {"diverging", "energy", "num_steps", "step_size"}
