import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.special
import scipy.stats

from gtx_bayes.aggregation.aggregate import aggregate
from gtx_bayes.aggregation.alarms import alarms
from gtx_bayes.aggregation.joint_method import TemperedPosterior
from gtx_bayes.crowd import Crowd
from gtx_bayes.errors import InputError
from gtx_bayes.inference import dependence, gibbs, joint, pool, variational, weighing
from gtx_bayes.inference.beta import BetaPosterior
from gtx_bayes.inference.dependence import GRID, Dependence, most_useful
from gtx_bayes.inference.gold_counts import GoldCounts
from gtx_bayes.inference.joint import Candidate
from gtx_bayes.inference.one_sided import one_sided
from gtx_bayes.labels import MISSING, Assessment, Labels, PaddedLabels, Prefixes
from gtx_bayes.models.confusion import ConfusionMatrix, ConfusionPrior
from gtx_bayes.models.one_coin import OneCoin, OneCoinPrior
from gtx_bayes.padding import bucket_size, padded
from gtx_bayes.posterior import batch_log_prob, inverse_design_effect
from gtx_bayes.registry import MODELS
from tests.crowds import drawn, rng_of

FLAT = jnp.array([0.5, 0.5])

CONJUGATE = [
    *("one-coin", "confusion"),
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("class-conditional", "difficulty")),
]
"""The fewest and the most parameters; the others take as long to compile."""


def simulated(key, accuracy, num_examples, num_gold, max_labels=None, num_classes=2):
    """Labels of labelers of such accuracies, the first examples gold; and the truth."""
    dense, truth = drawn(
        rng_of(key), accuracy, num_examples, each=max_labels, num_classes=num_classes
    )
    known = np.where(np.arange(num_examples) < num_gold, truth, MISSING)
    gold = Assessment(jnp.asarray(known, jnp.int8), num_classes)
    return Labels.from_dense(dense, num_classes=num_classes), gold, truth


def uniform(key, num_labelers):
    """Accuracies."""
    return rng_of(key).uniform(0.6, 0.9, num_labelers)


def fitted(labels, gold, prior, class_prior=FLAT):
    """One model's fit of a table padded to one size, so that all tests share its program."""
    longer = padded(labels, gold, class_prior, num_labels=4096, num_examples=512)
    fit = variational.fit(*longer[:2], prior, longer[2])
    size = labels.num_examples
    rows = ("class_probs", "subclass_probs", "evidence")
    return fit._replace(**{name: getattr(fit, name)[:size] for name in rows})


def log_loss(class_probs, truth, open_):
    of_truth = np.asarray(class_probs, np.float64)[np.arange(truth.size), truth][open_]
    return -np.log(np.maximum(of_truth, 1e-15)).mean()


def accuracies(fit):
    """Of the labelers of a fit to two classes, rho known."""
    counts = np.asarray(fit.counts)[..., None]
    moments = fit.prior.accuracy_moments(counts, np.ones((1, 2), counts.dtype), np.ones(1))
    return BetaPosterior.from_moments(*moments)


def named(labels, assessment):
    """A crowd whose names are numbers."""
    return Crowd(
        labels,
        assessment,
        np.array([f"i{i}" for i in range(labels.num_examples)]),
        np.array([f"j{j}" for j in range(labels.num_labelers)]),
        np.array([str(k) for k in range(labels.num_classes)]),
    )


class TestPriors:
    def test_confusion_counts_by_hand(self):
        """One labeler, answers 0 and 1 to examples that are class 1 with probability .3 and .8."""
        labels = Labels.from_arrays([0, 1], [0, 0], [0, 1], num_classes=2)
        probs = jnp.array([[0.7, 0.3], [0.2, 0.8]])
        confusion, one_coin = (
            jax.jit(type(prior).counts)(prior, labels, probs)
            for prior in (ConfusionPrior.default(2), OneCoinPrior.default(2))
        )
        rows = [[0.7, 0.2, 0.21, 0.16], [0.3, 0.8, 0.16, 0.21]]
        np.testing.assert_allclose(confusion[0], rows, rtol=1e-5)
        np.testing.assert_allclose(one_coin[0], [1.5, 0.5, 0.37], rtol=1e-5)

    @pytest.mark.parametrize("name", CONJUGATE)
    def test_padding_carries_no_evidence(self, name, key):
        labels, gold, _ = simulated(key, uniform(key, 4), 20, 5)
        prior = MODELS.build(name).cohort_prior(2)
        short, long = (fit(labels, gold, prior, FLAT) for fit in (variational.fit, fitted))
        np.testing.assert_allclose(long.class_probs, short.class_probs, atol=1e-5)
        np.testing.assert_allclose(long.evidence, short.evidence, atol=1e-4)

    def test_refit_finds_the_density_s_maximum(self, key):
        """Against SciPy's optimum of the same density for counts that are known."""
        right = np.random.default_rng(1).binomial(50, uniform(key, 40)).astype(float)
        counts = jnp.asarray(np.stack([right, 50 - right, 0 * right], axis=1), float)
        prior, m_step = OneCoinPrior.default(2), jax.jit(lambda prior: prior.m_step(counts))
        for _ in range(60):
            prior = m_step(prior)

        def negative(x):
            m, k = scipy.special.expit(x[0]), np.exp(x[1])
            a, b = m * k, (1 - m) * k
            found = scipy.special.betaln(a + right, b + 50 - right) - scipy.special.betaln(a, b)
            own = 6 * np.log(m) + 2 * np.log1p(-m) - (x[1] - np.log(15)) ** 2 / 2
            return -(found.sum() + own)

        best = scipy.optimize.minimize(negative, [1.0, 2.7], method="Nelder-Mead").x
        got = [float(prior.logit_mean), float(prior.log_concentration)]
        np.testing.assert_allclose(got, best, atol=0.02)


class TestVariational:
    @pytest.mark.parametrize("name", weighing.AUTO_MODELS)
    def test_recovers_labels_and_labelers_without_gold(self, name, key):
        """Ten labelers, all answer 400 examples: no worse than with accuracies known, up to
        the binomial spread of the difference."""
        accuracy = uniform(key, 10)
        labels, gold, truth = simulated(key, accuracy, 400, 0)
        fit = fitted(labels, gold, MODELS.build(name).cohort_prior(2))
        assert fit.converged
        known = scipy.special.logit(accuracy) @ (2 * np.asarray(labels.dense()) - 1)
        wrong = np.asarray(fit.class_probs).argmax(axis=1) != truth
        wrong_known = (known > 0) != truth
        different = (wrong != wrong_known).sum()
        assert wrong.sum() - wrong_known.sum() <= scipy.stats.binom.ppf(1 - 1e-6, different, 0.5)
        mean = np.asarray(accuracies(fit).mean)[:10]
        assert np.abs((mean - accuracy) / np.sqrt(mean * (1 - mean) / 400)).max() < 6

    def test_gold_is_kept_and_teaches(self, key):
        """Adversaries: the crowd alone takes the majority's word, gold turns it round."""
        labels, gold, truth = simulated(key, [0.15, 0.2, 0.1, 0.8], 300, 60)
        fit = fitted(labels, gold, OneCoinPrior.default(2))
        np.testing.assert_array_equal(fit.class_probs[:60, 1], truth[:60])
        assert (np.asarray(fit.class_probs).argmax(axis=1) == truth)[60:].mean() > 0.85
        fooled = fitted(labels, Assessment.none(300, 2), OneCoinPrior.default(2))
        assert (np.asarray(fooled.class_probs).argmax(axis=1) == truth).mean() < 0.15

    @pytest.mark.parametrize("name", CONJUGATE)
    def test_one_labeler_and_few_answers(self, name):
        """Proportions of the classes learnt, and given."""
        labels = Labels.from_arrays([0, 2, 2], [0, 0, 0], [1, 0, 1], num_classes=3, num_examples=4)
        prior = MODELS.build(name).cohort_prior(3)
        for class_prior in (None, jnp.full(3, 1 / 3)):
            fit = variational.fit(labels, Assessment.none(4, 3), prior, class_prior)
            probs = np.asarray(fit.class_probs)
            assert np.isfinite(probs).all()
            np.testing.assert_allclose(probs.sum(axis=1), 1, rtol=1e-5)
            assert probs[0].argmax() == 1
            assert np.isfinite(fit.log_evidence_bound())

    def test_spammers_weigh_nothing(self, key):
        labels, gold, _ = simulated(key, [0.9, 0.85, 0.9, 0.5, 0.5, 0.5], 500, 0)
        mean = np.asarray(accuracies(fitted(labels, gold, OneCoinPrior.default(2))).mean)
        assert (np.abs(mean[3:6] - 0.5) < 6 * np.sqrt(0.25 / 500)).all()

    def test_bound_is_below_the_exact_evidence(self):
        """Three examples, two labelers: all eight labelings summed, accuracies integrated."""
        answers = np.array([[1, 0, 1], [1, 1, 0]])
        labels = Labels.from_dense(answers, num_classes=2)
        prior = OneCoinPrior.default(2)
        fit = fitted(labels, Assessment.none(3, 2), prior)
        a, b = np.asarray(fit.prior.shape, np.float64)
        total = -np.inf
        for code in range(8):
            truth = (code >> np.arange(3)) & 1
            right = (answers == truth).sum(axis=1)
            each = scipy.special.betaln(a + right, b + 3 - right) - scipy.special.betaln(a, b)
            total = np.logaddexp(total, each.sum() + 3 * np.log(0.5))
        assert total - 0.5 < fit.log_evidence_bound() < total + 1e-5


class TestDependence:
    def test_effective_share_by_hand(self):
        """Four answers at rho .5 count as 4 / 2.5 = 1.6."""
        got = inverse_design_effect(jnp.array([0, 1, 4]), 0.5)
        np.testing.assert_allclose(got, [1.0, 1.0, 0.4])

    def test_most_useful_by_hand(self):
        """rho .5: the second answer adds 1/3, the third 1/6, the fourth 1/10, the fifth 1/15."""
        assert most_useful(0.5) == 4
        assert most_useful(0.5, least_worth=0.2) == 2
        assert most_useful(1.0) == 1
        assert most_useful(0.0) is None

    def test_prior_alone(self):
        """Logit-normal around a third: limits at 1.96 standard deviations."""
        found, log_evidence = dependence.learn(np.zeros(GRID.size))
        expected = scipy.special.expit(-0.75 + np.array([-1.96, 1.96]))
        np.testing.assert_allclose(found.credible_interval(), expected, atol=0.03)
        assert log_evidence == pytest.approx(0.0, abs=1e-9)

    def test_gold_moves_it(self):
        peak = -1e4 * (GRID - 0.05) ** 2
        found, _ = dependence.learn(peak)
        assert found.mean == pytest.approx(0.05, abs=0.01)
        assert found.is_shown_by_gold
        assert not dependence.learn(np.zeros(GRID.size))[0].is_shown_by_gold

    def test_independence_is_an_atom(self):
        """Of .9 at zero: in mean, interval and nodes; the rest keeps its form."""
        slab, _ = dependence.learn(np.zeros(GRID.size))
        found = slab.with_independence(0.9)
        assert found.prob_independent == pytest.approx(0.9)
        assert found.mean == pytest.approx(0.1 * slab.mean)
        assert found.mean_if_dependent == pytest.approx(slab.mean)
        assert found.credible_interval()[0] == 0.0
        values, weights = found.nodes()
        assert values[0] == 0.0
        assert weights.sum() == pytest.approx(1.0)
        assert values @ weights == pytest.approx(found.mean, abs=0.01)

    def test_class_posterior_is_the_mixture(self):
        evidence = jnp.array([[0.0, 3.0], [1.0, 0.0]])
        num_labels = jnp.array([5, 1])
        found = Dependence(np.array([0.0, 1.0]), np.array([0.25, 0.75]))
        got = found.class_posterior(evidence, num_labels, FLAT)
        expected = 0.25 * scipy.special.expit(3.0) + 0.75 * scipy.special.expit(3.0 / 5)
        np.testing.assert_allclose(got[0, 1], expected, rtol=1e-5)
        np.testing.assert_allclose(got[1, 0], scipy.special.expit(1.0), rtol=1e-5)

    @pytest.mark.end_to_end
    def test_is_learnt_from_gold(self, key):
        """Independent labelers: near none. A fifth of the examples hard for all: far above, and
        the log loss falls."""
        labels, gold, _ = simulated(key, uniform(key, 10), 800, 400, max_labels=5)
        found = pool.fit(labels, gold, FLAT, models=("one-coin",))
        assert found.dependence.mean < 0.1
        easy = rng_of(key).uniform(0.7, 0.95, (10, 1))
        together = np.where(np.arange(800) % 5, easy, 0.3)
        labels, gold, truth = simulated(key, together, 800, 400, max_labels=5)
        found = pool.fit(labels, gold, FLAT, models=("one-coin",))
        assert found.dependence.mean > 0.2
        open_ = ~np.asarray(gold.is_gold)
        alone = pool.fit(labels, gold, FLAT, models=("one-coin",), dependence=0.0)
        assert log_loss(found.class_probs, truth, open_) < log_loss(alone.class_probs, truth, open_)

    def test_none_is_the_independent_fit(self, key):
        labels, gold, _ = simulated(key, uniform(key, 5), 40, 8)
        found = pool.fit(labels, gold, FLAT, models=("one-coin",), dependence=0.0)
        alone = fitted(labels, gold, OneCoinPrior.default(2))
        np.testing.assert_allclose(found.class_probs, alone.class_probs, atol=1e-3)
        assert found.dependence.mean == 0.0


class_probs = jax.jit(lambda method, labels: method.class_probs(labels))


class TestConfusionPosterior:
    def test_every_form_against_the_definition(self):
        rng = np.random.default_rng(0)
        model = ConfusionMatrix(jnp.asarray(rng.dirichlet(np.ones(3), (4, 3)), float), 3)
        table = rng.integers(-1, 3, (4, 7)).astype(np.int8)
        expected = jax.jit(jax.vmap(model.log_prob, 1))(jnp.asarray(table))
        order = np.argsort(rng.random(table.shape), axis=0)
        answers = jnp.asarray(np.take_along_axis(table, order, axis=0))
        padded = PaddedLabels(jnp.asarray(order), answers, 4, 3)
        for form in (jnp.asarray(table), Labels.from_dense(table, num_classes=3), padded):
            np.testing.assert_allclose(batch_log_prob(model, form), expected, atol=1e-5)
        prefixes = batch_log_prob(model, Prefixes(padded)).reshape(5, 7, 3)
        for n in (0, 2, 4):
            np.testing.assert_allclose(
                prefixes[n], batch_log_prob(model, padded.first(n)), atol=1e-5
            )

    def test_answers_per_example_in_every_form(self):
        """rho acts by the number of answers, whichever form they are in."""
        table = jnp.array([[1, -1], [1, 0], [0, -1]], jnp.int8)
        labeler = jnp.tile(jnp.arange(3)[:, None], (1, 2))
        method = TemperedPosterior(OneCoin(jnp.array([0.9, 0.8, 0.7]), 2), FLAT, 0.5)
        padded = PaddedLabels(labeler, table, 3, 2)
        dense = class_probs(method, table)
        np.testing.assert_allclose(class_probs(method, padded), dense, rtol=1e-5)
        last = class_probs(method, Prefixes(padded)).reshape(4, 2, 2)[3]
        np.testing.assert_allclose(last, dense, rtol=1e-5)
        by_hand = (np.log(9) + np.log(4) - np.log(7 / 3)) / 2
        np.testing.assert_allclose(dense[0, 1], scipy.special.expit(by_hand), rtol=1e-5)

    def test_a_learnt_prior_is_tempered_with_the_answers_it_comes_from(self):
        """rho then says how sure the labels are, not which; a prior that is given stays whole."""
        model, prior = OneCoin(jnp.array([0.8, 0.8, 0.8]), 2), jnp.array([0.85, 0.15])
        table = jnp.array([[1, -1], [1, -1], [1, -1]], jnp.int8)
        log_odds = np.log(15 / 85) + 3 * np.log(4)
        learnt = TemperedPosterior(model, prior, 1.0, prior_is_learnt=True)
        learnt = class_probs(learnt, table)[:, 1]
        np.testing.assert_allclose(learnt[0], scipy.special.expit(log_odds / 3), rtol=1e-5)
        np.testing.assert_allclose(learnt[1], 0.15, rtol=1e-5)
        given = class_probs(TemperedPosterior(model, prior, 1.0), table)[0, 1]
        np.testing.assert_allclose(
            given, scipy.special.expit(np.log(15 / 85) + np.log(4)), rtol=1e-5
        )

    def test_no_example_tells_itself_how_common_its_class_is(self):
        """Learnt proportions of two examples: each takes those of the other."""
        labels = Labels.from_dense(jnp.array([[0, 1], [0, -1]], jnp.int8), num_classes=2)
        none = Assessment(jnp.full(2, MISSING, jnp.int8), 2)
        fit = variational.fit(labels, none, OneCoinPrior.default(2))

        @jax.jit
        def evidence_of(prior, *given):
            return prior.evidence(*given) + prior.shared_evidence(*given)[:, None]

        evidence = evidence_of(fit.prior, labels, fit.class_probs, fit.counts)
        of_other = (fit.class_probs[::-1] + 1.0) / 3.0
        np.testing.assert_allclose(fit.evidence, evidence + jnp.log(of_other), atol=1e-4)
        np.testing.assert_allclose(
            fit.proportions, (fit.class_probs.sum(axis=0) + 1.0) / 4.0, atol=1e-5
        )


@pytest.mark.end_to_end
class TestIntervals:
    def test_labelers_are_covered(self, key):
        """95 % intervals of 60 labelers, well specified: at least what the binomial law allows."""
        inside = 0
        for each in jax.random.split(key, 4):
            accuracy = uniform(each, 15)
            labels, gold, _ = simulated(each, accuracy, 800, 40, max_labels=5)
            found = pool.fit(labels, gold, FLAT, models=("one-coin",), dependence=0.0)
            low, high = found.accuracy.credible_interval(0.95)
            inside += np.count_nonzero((low <= accuracy) & (accuracy <= high))
        assert inside >= scipy.stats.binom.ppf(1e-4, 60, 0.95)

    @pytest.mark.slow
    def test_many_labelers_who_answered_little_are_covered(self, key):
        """Two crowds of a hundred labelers with fifteen answers each, no gold.

        A cohort fitted to expected counts as if they had been observed held 45 % of the labelers,
        and of the posteriors at the true labelers 47 %.
        """
        inside, held = 0, []
        for key_crowd in jax.random.split(key):
            accuracy = uniform(key_crowd, 100)
            labels, gold, _ = simulated(key_crowd, accuracy, 500, 0, max_labels=3)
            found = pool.fit(labels, gold, FLAT, models=("one-coin",), dependence=0.0)
            low, high = found.accuracy.credible_interval(0.95)
            inside += np.count_nonzero((low <= accuracy) & (accuracy <= high))
            low, high = found.credible_interval(key_crowd, labels)
            labelers = OneCoin(jnp.asarray(accuracy, float), 2)
            known = scipy.special.softmax(batch_log_prob(labelers, labels), axis=1)
            at_truth = known[np.arange(500), np.asarray(found.class_probs).argmax(axis=1)]
            held.append(np.mean((low <= at_truth) & (at_truth <= high)))
        assert inside >= scipy.stats.binom.ppf(1e-4, 200, 0.9)
        # A hundred labelers, three to an example: as uncertain as some thirty independent ones.
        assert np.mean(held) >= scipy.stats.binom.ppf(1e-4, 66, 0.9) / 66

    @pytest.mark.parametrize("name", CONJUGATE)
    @pytest.mark.parametrize(
        ("num_gold", "dependence"), [(0, None), (6, None), (6, 0.0), (60, None)]
    )
    def test_hold_their_own_point(self, name, dependence, num_gold, key):
        labels, gold, _ = simulated(key, uniform(key, 5), 60, num_gold, max_labels=4)
        found = aggregate(named(labels, gold), model=name, dependence=dependence)
        examples, labelers = found.examples(key), found.labelers()
        assert (examples["confidence_low"] <= examples["confidence"]).all()
        assert (examples["confidence"] <= examples["confidence_high"]).all()
        assert (labelers["ci_low"] <= labelers["accuracy"]).all()
        assert (labelers["accuracy"] <= labelers["ci_high"]).all()

    def test_of_an_example_s_confidence(self, key):
        """The more the labelers have answered, the narrower; the confidence lies inside."""
        widths = []
        for num_examples in (50, 800):
            labels, gold, _ = simulated(key, np.linspace(0.7, 0.9, 6), num_examples, 0, 4)
            found = pool.fit(labels, gold, FLAT, models=("one-coin",), dependence=0.0)
            low, high = found.credible_interval(key, labels)
            confidence = np.asarray(found.class_probs).max(axis=1)
            assert ((low <= confidence) & (confidence <= high)).all()
            widths.append((high - low).mean())
        # Sixteen times the labels, beside fifteen or so that the prior is worth: 3.4 times.
        assert widths[1] < widths[0] / 2


class TestGoldAgainstTheVotes:
    """Labelers who are right one time in ten: with gold they tell as much as good ones."""

    def test_gold_turns_the_fit_round(self, key):
        labels, gold, truth = simulated(key, np.full(6, 0.1), 200, 20, max_labels=5)
        found = aggregate(named(labels, gold))
        right = np.asarray(found.class_probs).argmax(axis=1) == truth
        # With accuracies known it is .99; the binomial law leaves 180 open examples this much.
        assert right[20:].sum() >= scipy.stats.binom.ppf(1e-6, 180, 0.98)
        assert (found.labelers()["ci_high"] < 0.5).all()
        assert any("fewer than guesses" in note for note in found.notes)

    @pytest.mark.slow
    def test_two_classes_of_three_are_swapped(self, key):
        labels, gold, truth = simulated(key, np.full(6, 0.8), 200, 30, 5, num_classes=3)
        swapped = jnp.array([1, 0, 2], jnp.int8)[labels.label]
        found = aggregate(
            named(dataclasses.replace(labels, label=swapped), gold), model="confusion"
        )
        right = np.asarray(found.class_probs).argmax(axis=1) == truth
        assert right[30:].sum() >= scipy.stats.binom.ppf(1e-6, 170, 0.94)

    @pytest.mark.parametrize("num_wrong", [4, 5])
    def test_a_start_from_gold_is_kept_only_if_it_explains_more(self, num_wrong, key):
        """Gold of one example, which most or all of five got wrong, does not turn the crowd."""
        labels, none, truth = simulated(key, np.full(6, 0.9), 200, 0, max_labels=5)
        at = np.flatnonzero(np.bincount(labels.example, labels.label) == num_wrong)[0]
        gold = Assessment(none.true_label.at[at].set(0), 2)
        assert variational.rows_from_gold(labels, gold) is not None
        fit = fitted(labels, gold, OneCoinPrior.default(2))
        assert np.mean(np.asarray(fit.class_probs).argmax(axis=1) == truth) > 0.9
        by_chunk, _ = joint.fit_chunks(labels, gold, Candidate.of("one-coin", 2, FLAT), None)
        assert np.mean(np.asarray(by_chunk.class_probs).argmax(axis=1) == truth) > 0.9

    @pytest.mark.slow
    def test_gibbs_starts_there_too(self, key):
        labels, gold, truth = simulated(key, np.full(6, 0.1), 60, 12, max_labels=5)
        found = gibbs.run_gibbs(
            key, labels, gold, OneCoinPrior.default(2), FLAT, num_warmup=20, num_draws=20
        )
        right = np.asarray(found.class_probs).argmax(axis=1) == truth
        assert right.sum() >= scipy.stats.binom.ppf(1e-6, 60, 0.97)


class TestOneClassSources:
    """Nine sources only ever say 0, one only ever 1; of what they say 85 of a hundred is right."""

    def crowd(self, num_gold=0):
        rng = np.random.default_rng(3)
        truth = rng.integers(0, 2, 240)
        gives = (np.arange(10) == 9).astype(int)
        speaks = rng.random((240, 10)) < np.where(truth[:, None] == gives, 0.68, 0.12)
        example, source = np.nonzero(speaks)
        labels = Labels.from_arrays(
            example, source, gives[source], num_classes=2, num_examples=240, num_labelers=10
        )
        known = np.where(np.arange(240) < num_gold, truth, MISSING)
        return named(labels, Assessment(jnp.asarray(known, jnp.int8), 2)), truth, speaks.any(axis=1)

    @pytest.mark.parametrize("num_gold", [0, 40])
    def test_no_worse_than_votes_and_said(self, num_gold):
        crowd, truth, asked = self.crowd(num_gold)
        asked &= np.arange(240) >= num_gold
        found, votes = aggregate(crowd), aggregate(crowd, "majority-vote")

        def right(result):
            probs = np.asarray(result.class_probs)[asked]
            return (
                np.where(probs[:, 0] == probs[:, 1], 0.5, probs.argmax(1) == truth[asked])
            ).sum()

        assert right(found) >= right(votes) - 4 * np.sqrt(asked.sum()) / 2
        assert log_loss(found.class_probs, truth, asked) <= np.log(2)
        assert any("10 of 10 labelers only ever give one class: j0 (0)" in n for n in found.notes)
        assert any("known from gold alone" in note for note in found.notes)

    def test_a_model_that_is_named_is_fitted(self):
        crowd, _, _ = self.crowd()
        assert aggregate(crowd, model="confusion").fit.model == "confusion"

    def test_few_answers_each_are_no_sources(self):
        """A thousand labelers with two answers: half of them are uniform by chance."""
        rng = np.random.default_rng(0)
        labels = Labels.from_arrays(
            np.arange(2000) // 4,
            rng.permutation(2000) // 2,
            rng.integers(0, 2, 2000),
            num_classes=2,
        )
        assert not one_sided(labels).any()

    def test_spammers_among_others_are_judged_by_these(self, key):
        """One labeler of six who always says 0 is no reason to forget what agreement tells."""
        labels, gold, truth = simulated(key, np.full(6, 0.85), 200, 0, max_labels=5)
        label = jnp.where(labels.labeler == 5, 0, labels.label).astype(labels.label.dtype)
        crowd = named(dataclasses.replace(labels, label=label), gold)
        assert one_sided(crowd.labels).tolist() == [False] * 5 + [True]
        found = aggregate(crowd)
        assert not found.fit.joint.trusts_gold_alone
        right = np.asarray(found.class_probs).argmax(axis=1) == truth
        # The majority of the others, ties by lot: .94 and more; binomial, 1e-6.
        assert right.sum() >= scipy.stats.binom.ppf(1e-6, 200, 0.93)


class TestClassesGivenTooOften:
    def test_is_noted(self):
        """Labels of class 2 come from gold alone, where all answers are wrong."""
        labels = Labels.from_arrays(
            np.repeat(np.arange(100), 2), np.tile([0, 1], 100), np.tile([0, 1], 100), num_classes=3
        )
        probs = np.tile([0.3, 0.3, 0.4], (100, 1))
        counts = GoldCounts(jnp.zeros(2, jnp.int32), jnp.zeros(2, jnp.int32))
        said = alarms(
            labels,
            counts,
            probs,
            np.ones(100, bool),
            labeler_names=np.array(["ann", "bob"]),
            class_names=np.array(["a", "b", "c"]),
        )
        assert any("Class 'c' is given to 100 of 100 examples" in note for note in said)
        assert not any("Class 'a'" in note for note in said)


class TestOptions:
    def frames(self, key):
        labels, assessment, _ = simulated(key, uniform(key, 4), 12, 4)
        return Crowd(
            labels,
            assessment,
            np.array([f"t{i}" for i in range(12)], object),
            np.array([f"w{j}" for j in range(4)], object),
            np.array([0, 1], object),
        )

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"model": "none"}, "there is no model 'none'"),
            ({"dependence": 1.5}, "the dependence is 1.5"),
        ],
    )
    def test_refused(self, options, message, key):
        with pytest.raises(InputError, match=message):
            aggregate(self.frames(key), "gtx-bayes", **options)

    def test_others_have_no_options(self, key):
        with pytest.raises(InputError, match="majority-vote has no dependence"):
            aggregate(self.frames(key), "majority-vote", dependence=0.0)

    def test_reported(self, key):
        result = aggregate(self.frames(key), "gtx-bayes", model="confusion", dependence=0.3)
        assert result.fit.model == "confusion"
        assert any("rho = 0.30: no number" in note for note in result.notes)
        table = result.examples(key)
        assert (table["confidence_low"] <= table["confidence_high"]).all()
        assert (table.loc[table["is_gold"], "confidence_low"] == 1).all()


def test_tables_that_grow_are_seldom_compiled_anew():
    sizes = {bucket_size(size, least=64) for size in range(1, 1001)}
    assert sizes == {64, 96, 128, 192, 256, 384, 512, 768, 1024}
    assert all(bucket_size(size, least=64) >= size for size in range(1, 1001))
