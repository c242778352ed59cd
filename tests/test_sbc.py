"""Simulation-based calibration: ranks and bands by hand, right inferences and wrong ones."""

import functools
import itertools
from collections import Counter

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
import scipy.stats

from gtx_bayes.diagnostics import plots, sbc
from gtx_bayes.diagnostics.sbc import (
    ecdf_band,
    holm,
    rank_among,
    simulation_based_calibration,
    uniformity_p,
)
from gtx_bayes.experiments.runs import map_runs
from gtx_bayes.inference import gibbs, models, pool
from gtx_bayes.inference.beta import CohortPrior
from gtx_bayes.inference.gold_counts import GoldCounts
from gtx_bayes.inference.nuts import sample_chain
from gtx_bayes.labels import MISSING, Assessment, Labels
from gtx_bayes.models.one_coin import OneCoinPrior
from gtx_bayes.simulation import beta_cohort, simulate_queue
from tests.benchmarks.simulated import crowd_of, hyperprior_shape

RARE = 1e-6
"""A right inference has a smaller p-value once in a million keys; a wrong one must have."""


class TestRanks:
    def test_by_hand(self, key):
        draws = jnp.array([[0.1, 5.0], [0.3, 7.0], [0.2, 6.0]])
        rank = rank_among(key, jnp.array([0.25, 4.0]), draws)
        np.testing.assert_array_equal(rank, [2, 0])

    def test_ties_are_broken_evenly(self, key):
        """One draw below, three equal, one above: ranks 1 to 4 alike, by the binomial law."""
        draws = jnp.array([0, 1, 1, 1, 2])
        ranks = jax.vmap(lambda one: rank_among(one, jnp.array(1), draws))(
            jax.random.split(key, 4000)
        )
        assert set(np.unique(ranks)) == {1, 2, 3, 4}
        low, high = scipy.stats.binom.interval(1 - RARE / 4, 4000, 0.25)
        counts = np.bincount(ranks)[1:]
        assert ((low <= counts) & (counts <= high)).all()

    def test_holm_by_hand(self):
        """0.01 times 3, 0.02 times 2, and never less than the one before."""
        np.testing.assert_allclose(holm([0.03, 0.01, 0.02]), [0.04, 0.03, 0.04])
        assert holm([0.9, 0.8]) == [1.0, 1.0]


def every_outcome(num_simulations, num_draws):
    """Cumulative counts of all sets of even ranks, with their probabilities."""
    outcomes = itertools.product(range(num_draws + 1), repeat=num_simulations)
    weights = Counter(tuple(sorted(ranks)) for ranks in outcomes)
    total = (num_draws + 1) ** num_simulations
    return {ranks: number / total for ranks, number in weights.items()}


class TestUniformity:
    @pytest.mark.parametrize(("num_simulations", "num_draws"), [(5, 3), (7, 2), (4, 1)])
    def test_p_is_exact(self, num_simulations, num_draws):
        """A value of p or less has probability p, summed over every outcome."""
        outcomes = every_outcome(num_simulations, num_draws)
        p = {ranks: uniformity_p(np.array(ranks), num_draws) for ranks in outcomes}
        for value in p.values():
            as_small = sum(weight for r, weight in outcomes.items() if p[r] <= value + 1e-9)
            np.testing.assert_allclose(as_small, value, atol=1e-9)

    @pytest.mark.parametrize("prob", [0.5, 0.9])
    def test_band_holds_as_promised(self, prob):
        """With at least its probability, and the next narrower one with less."""
        num_simulations, num_draws = 6, 3
        low, high = ecdf_band(num_simulations, num_draws, prob)
        inside, narrower = 0.0, 0.0
        tails = sbc._tails(num_simulations, num_draws)
        at = np.arange(num_draws)
        least = min(tails[at, low].min(), tails[at, high].min())
        for ranks, weight in every_outcome(num_simulations, num_draws).items():
            counts = np.cumsum(np.bincount(ranks, minlength=num_draws + 1))[:-1]
            inside += weight * bool(((low <= counts) & (counts <= high)).all())
            narrower += weight * bool((tails[at, counts] > least * (1 + 1e-9)).all())
        assert narrower < prob <= inside

    def test_band_at_full_size(self):
        """Known counts: the band of one thousand ranks keeps 95 % of a hundred thousand sets."""
        low, high = ecdf_band(1000, 19, 0.95)
        rng, num_sets = np.random.default_rng(0), 100_000
        counts = np.cumsum(rng.multinomial(1000, np.full(20, 0.05), num_sets), axis=1)[:, :-1]
        inside = int(((low <= counts) & (counts <= high)).all(axis=1).sum())
        share = sbc._prob_inside(low, high, 1000)
        assert 0.95 <= share < 0.96
        least, most = scipy.stats.binom.interval(1 - RARE, num_sets, share)
        assert least <= inside <= most


def normal_mean(key):
    """A mean with a standard normal prior, seen once with as much noise."""
    key_mean, key_noise = jax.random.split(key)
    mean = jax.random.normal(key_mean)
    return {"right": mean}, mean + jax.random.normal(key_noise)


def posterior(key, data):
    return {"right": data / 2.0 + jnp.sqrt(0.5) * jax.random.normal(key, (99,))}


def many_truths(key):
    """The same mean by many names, to be inferred in many ways."""
    truth, data = normal_mean(key)
    names = ("right", *WRONG, "prior")
    return dict.fromkeys(names, truth["right"]), data


WRONG = {
    "too narrow": {"width": 0.5},
    "too wide": {"width": 2.0},
    "too high": {"shift": 0.6},
    "too low": {"shift": -0.6},
}
"""Posteriors so much wider, or shifted by so many standard deviations."""


def many_ways(key, data):
    keys = jax.random.split(key, len(WRONG) + 2)
    draws = {"right": posterior(keys[0], data)["right"], "prior": jax.random.normal(keys[1], (99,))}
    for one, (name, off) in zip(keys[2:], WRONG.items(), strict=True):
        noise = off.get("shift", 0.0) + off.get("width", 1.0) * jax.random.normal(one, (99,))
        draws[name] = data / 2.0 + jnp.sqrt(0.5) * noise
    return draws


def log_likelihood(parameters, data):
    """Of the data, under the right posterior and under the prior."""
    return {
        f"log_likelihood {name}": -((data - parameters[name]) ** 2) / 2.0
        for name in ("right", "prior")
    }


calibrate = functools.partial(simulation_based_calibration, map_keys=map_runs)


@pytest.fixture(scope="module")
def found():
    """All ways at once, since each compiles for a second."""
    return calibrate(
        jax.random.key(3), many_truths, many_ways, num_simulations=400, quantities=log_likelihood
    )


class TestNormalMean:
    def test_right(self, found):
        for name in ("right", "log_likelihood right"):
            assert found.named(name).corrected_p > RARE
        right = found.named("right")
        low, high = scipy.stats.binom.interval(1 - RARE, 400, 0.9)
        assert low <= 400 * right.coverage(0.9) <= high
        # The sum of 400 squared normal errors has a chi-squared law; the draws' own adds little.
        low, high = np.sqrt(400 / np.array(scipy.stats.chi2.interval(1 - RARE, 400))[::-1])
        assert 0.98 * low <= right.sd_ratio <= 1.02 * high
        assert right.verdict.startswith("right: nothing speaks against")

    @pytest.mark.parametrize("shape", WRONG)
    def test_wrong_is_named(self, found, shape):
        quantity = found.named(shape)
        assert quantity.corrected_p < RARE
        assert shape in quantity.shape
        assert f"the posterior is {' and '.join(quantity.shape)} (corrected" in quantity.verdict

    def test_what_parameters_cannot_see(self, found):
        """Draws from the prior are even in every parameter; the likelihood of the data is not."""
        assert found.named("prior").p > RARE
        assert found.named("log_likelihood prior").corrected_p < RARE

    def test_verdict(self, found):
        """Worst first; and nothing to say of what passes."""
        assert not found.fits
        assert found.verdict.startswith("The inference is not right. " + found.worst.name)
        assert len(found.problems) == 5
        fine = sbc.InferenceChecks((found.named("right"),))
        assert fine.fits
        assert fine.verdict == "Nothing in these ranks speaks against the inference."
        table = found.table().set_index("quantity")
        assert table.loc["too narrow", "coverage_90"] == found.named("too narrow").coverage(0.9)

    def test_loops_agree(self, key):
        """Compiled and in a loop of Python the same ranks, but for a rounding at a tie."""
        compiled, looped = (
            calibrate(key, normal_mean, posterior, num_simulations=8, map_keys=way).quantities[0]
            for way in (map_runs, sbc.one_by_one)
        )
        np.testing.assert_allclose(compiled.ranks, looped.ranks, atol=1)
        np.testing.assert_allclose(compiled.mean, looped.mean, atol=1e-5)

    def test_draws_in_a_chain(self, key):
        """A right posterior, draws with autocorrelation 0.95; every 60th of them will do."""

        def chain(key, data):
            noise = jax.random.normal(key, (99 * 60 + 1,))

            def step(state, noise):
                state = 0.95 * state + jnp.sqrt(1 - 0.95**2) * noise
                return state, state

            _, states = jax.lax.scan(step, noise[0], noise[1:])
            draws = data / 2.0 + jnp.sqrt(0.5) * states
            return {"thick": draws[:99], "thin": draws[59::60]}

        def simulate(key):
            truth, data = normal_mean(key)
            return dict.fromkeys(("thick", "thin"), truth["right"]), data

        found = calibrate(key, simulate, chain, num_simulations=400)
        thick, thin = found.named("thick"), found.named("thin")
        assert thick.spread > 3
        assert not thick.is_thin_enough
        assert "thick: successive draws correlate" in found.verdict
        # Estimated around the draws' own mean it is low by about (1 + 3 r) / L.
        assert abs(thick.autocorrelation - 0.95 + 0.04) < 0.03
        assert thin.is_thin_enough
        assert thin.corrected_p > RARE

    def test_rounding_does_not_tell_equal_values_apart(self, key):
        """A draw that equals the truth ties with it in every quantity; the other's is larger."""

        def simulate(key):
            values = jax.random.normal(key, (51,))
            return {"mean": values[0]}, (values[1:], values[0])

        def sums(parameters, given):
            return {"sum": jnp.sum(jnp.exp(given[0] - parameters["mean"]))}

        def infer(key, given):
            return {"mean": jnp.stack([given[1], jnp.array(-9.0)])}

        found = calibrate(key, simulate, infer, num_simulations=200, quantities=sums)
        ranks = np.bincount(found.named("sum").ranks, minlength=3)
        low, high = scipy.stats.binom.interval(1 - RARE, 200, 0.5)
        assert ranks[2] == 0
        assert low <= ranks[0] <= high

    @pytest.mark.parametrize(
        ("draws", "message"),
        [
            ({"other": jnp.zeros(9)}, "draws no right"),
            ({"right": jnp.zeros((9, 3))}, r"shape \(9, 3\)"),
            ({"right": jnp.full(9, jnp.nan)}, "right is NaN in 4 of 4 simulations"),
        ],
    )
    def test_refusals(self, key, draws, message):
        few = {"num_simulations": 4, "map_keys": sbc.one_by_one}
        with pytest.raises(ValueError, match=message):
            calibrate(key, normal_mean, lambda key, data: draws, **few)

    def test_entries_have_names(self, key):
        """Every entry of an array on its own, those of one simulation never pooled."""

        def simulate(key):
            return {"table": jax.random.normal(key, (2, 2)), "one": jnp.array(0.0)}, None

        def infer(key, data):
            table = jax.random.normal(key, (9, 2, 2))
            return {"table": table, "one": jnp.zeros(9), "further": jnp.zeros(9)}

        found = calibrate(key, simulate, infer, num_simulations=30)
        names = ["one", "table[0, 0]", "table[0, 1]", "table[1, 0]", "table[1, 1]"]
        assert [q.name for q in found.quantities] == names
        assert all(q.ranks.shape == (30,) and q.num_draws == 9 for q in found.quantities)

    @pytest.mark.parametrize(
        ("name", "colour"), [("right", plots.INK), ("too narrow", plots.ALARM)]
    )
    def test_plots(self, found, name, colour):
        """What the histogram counts, and the colours that tell."""
        quantity, as_hex = found.named(name), plt.matplotlib.colors.to_hex
        _, (left, other) = plt.subplots(1, 2)
        assert plots.plot_rank_histogram(quantity, ax=left) is left
        heights = [bar.get_height() for bar in left.containers[0]]
        np.testing.assert_array_equal(heights, np.histogram(quantity.ranks, 20, (0, 100))[0])
        assert as_hex(left.containers[0][0].get_facecolor()) == colour
        assert plots.plot_ecdf_difference(quantity, ax=other) is other
        line = other.lines[-1]
        assert as_hex(line.get_color()) == colour
        below = [np.mean(quantity.ranks <= k) - (k + 1) / 100 for k in range(99)]
        np.testing.assert_allclose(line.get_ydata(), below, atol=1e-12)
        plt.close(left.figure)


PRIOR = OneCoinPrior.default(2)
NUM_LABELERS, NUM_EXAMPLES = 5, 20


def crowd(key, labelers):
    """Everybody answers everything; a quarter is gold."""
    queue = simulate_queue(key, labelers, NUM_EXAMPLES)
    everybody = jnp.tile(jnp.arange(NUM_LABELERS)[:, None], (1, NUM_EXAMPLES))
    is_gold = jnp.arange(NUM_EXAMPLES) % 4 == 0
    return crowd_of(everybody, queue.labels, queue.true_label, is_gold, NUM_LABELERS, 2)


def two_crowds(key):
    """Labelers from the prior, and from one with 25 right answers more."""
    truth, data = {}, []
    keys = jax.random.split(key)
    for one, (name, more) in zip(keys, {"right": 0.0, "wrong": 25.0}.items(), strict=True):
        key_labelers, key_answers = jax.random.split(one)
        shape = PRIOR.shape + jnp.array([more, 0.0])
        labelers = beta_cohort(key_labelers, NUM_LABELERS, *shape)
        truth[name] = labelers.accuracy
        data.append(crowd(key_answers, labelers))
    return truth, jax.tree.map(lambda *both: jnp.stack(both), *data)


def gibbs_draws(key, data):
    """Of both crowds side by side, compiled as one."""

    def of_one(key, data):
        sites, _, _ = gibbs.sample_chains(key[None], *data, PRIOR, jnp.full(2, 0.5), 50, 5 * 99)
        return sites["accuracy"][0, 4::5]

    right, wrong = jax.vmap(of_one)(jax.random.split(key), data)
    return {"right": right, "wrong": wrong}


@pytest.mark.slow
def test_gibbs(key, compile_fast):
    """Right from its own prior, and 90 % intervals cover; wrong if labelers are better."""
    found = calibrate(key, two_crowds, gibbs_draws, num_simulations=60)
    low, high = scipy.stats.binom.interval(1 - RARE, 60, 0.9)
    for j in range(NUM_LABELERS):
        right, wrong = found.named(f"right[{j}]"), found.named(f"wrong[{j}]")
        assert right.corrected_p > RARE
        assert low <= 60 * right.coverage(0.9) <= high
        assert wrong.corrected_p < RARE
        assert "too low" in wrong.shape


@pytest.mark.slow
def test_one_chain_of_nuts(key, compile_fast):
    """`sample_chain` on gold alone: Beta posteriors known in closed form."""
    cohort = CohortPrior(0.75, 8.0)

    def simulate(key):
        key_accuracy, key_right = jax.random.split(key)
        accuracy = jax.random.beta(key_accuracy, cohort.a, cohort.b, (2,))
        right = jax.random.binomial(key_right, 12, accuracy).astype(jnp.int32)
        return {"accuracy": accuracy}, GoldCounts(right, jnp.full(2, 12))

    def infer(key, counts):
        draws, diverging = sample_chain(
            key,
            lambda counts: models.conjugate(counts, cohort),
            counts,
            num_warmup=100,
            num_draws=49,
            thinning=2,
        )
        return {**draws, "diverging": diverging}

    found = calibrate(key, simulate, infer, num_simulations=100)
    assert found.worst.corrected_p > RARE
    for quantity in found.quantities:
        # The mean of the posterior means is that of the truth: a z-test over simulations.
        error = quantity.mean - quantity.truth
        z = error.mean() / (error.std(ddof=1) / 10.0)
        assert abs(z) < scipy.stats.t.isf(RARE / 4, 99)


@pytest.mark.slow
def test_coverage_of_the_joint_fit(key):
    """Of 30 cohorts from the hyperprior, labelers independent and known to be: 90 % intervals.

    The share covered within a cohort of ten varies with the cohort, so the bound is that of
    Student's t over cohorts; a nominal level of 0.9 takes the cohort's prior for certain, for
    which up to five points are allowed.
    """
    num_cohorts, half = 30, jnp.array([0.5, 0.5])
    shares = []
    for one in jax.random.split(key, num_cohorts):
        key_mean, key_concentration, key_labelers, key_answers = jax.random.split(one, 4)
        mean, log_concentration = hyperprior_shape(key_mean, key_concentration, 2)
        concentration = jnp.exp(log_concentration)
        labelers = beta_cohort(key_labelers, 10, mean * concentration, (1 - mean) * concentration)
        queue = simulate_queue(key_answers, labelers, 60, max_labels=5)
        true_label = np.asarray(queue.true_label)
        gold = np.where(np.arange(60) < 20, true_label, MISSING)
        found = pool.fit(
            Labels.from_dense(np.asarray(queue.labels), num_classes=2),
            Assessment(jnp.asarray(gold), 2),
            half,
            models=("one-coin",),
            dependence=0.0,
        )
        low, high = found.accuracy.credible_interval(0.9)
        shares.append(np.mean((low <= labelers.accuracy) & (labelers.accuracy <= high)))
    error = np.std(shares, ddof=1) / np.sqrt(num_cohorts)
    assert error < 0.04
    most = scipy.stats.t.isf(RARE / 2, num_cohorts - 1) * error
    assert 0.85 - most < np.mean(shares) < 0.9 + most
