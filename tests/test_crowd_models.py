"""Crowd models in NumPyro: against sums over every labeling, closed forms and known parameters."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from numpyro import handlers
from numpyro.infer import init_to_uniform, log_likelihood
from numpyro.infer.util import log_density

from gtx_bayes.diagnostics.checks import measure_convergence
from gtx_bayes.diagnostics.to_arviz import to_datatree
from gtx_bayes.inference.beta import BetaPosterior, CohortPrior
from gtx_bayes.inference.crowd_models import crowd_model, mean_class_posterior
from gtx_bayes.inference.gold_counts import gold_counts
from gtx_bayes.inference.nuts import run_nuts
from gtx_bayes.inference.svi import Batches, fit_svi
from gtx_bayes.labels import MISSING, Assessment, Labels
from gtx_bayes.models.class_conditional import ClassConditionalModel
from gtx_bayes.models.communities import CommunitiesModel
from gtx_bayes.models.confusion import ConfusionModel
from gtx_bayes.models.difficulty import DifficultyModel, HardExamples
from gtx_bayes.models.distributions import LogitBeta, LogRatioDirichlet, log_simplex
from gtx_bayes.models.hyperprior import HyperPrior
from gtx_bayes.models.looks import LooksModel
from gtx_bayes.models.one_coin import OneCoin, OneCoinModel
from gtx_bayes.simulation import simulate_crowd

MODELS = {
    "one_coin": crowd_model(OneCoinModel()),
    "class_conditional": crowd_model(ClassConditionalModel()),
    "confusion": crowd_model(ConfusionModel()),
    "difficulty": crowd_model(DifficultyModel()),
    "communities": crowd_model(CommunitiesModel(num_communities=2)),
}
LOOKS = crowd_model(LooksModel())
pytestmark = pytest.mark.end_to_end

ALL_MODELS = pytest.mark.parametrize("name", MODELS)

DENSE = np.array(
    [
        [0, 1, 2, 0, MISSING],
        [0, 2, 2, 1, MISSING],
        [1, MISSING, 2, 2, MISSING],
        [0, 1, MISSING, 0, MISSING],
    ]
)
"""Three classes, four labelers, five examples, the last of them without an answer."""

LABELS = Labels.from_dense(DENSE, num_classes=3)
GOLD = Assessment.from_arrays([1, 3], [2, 0], num_examples=5, num_classes=3)
CLASS_PRIOR = np.array([0.5, 0.2, 0.3])


def given_cohort(cohort, class_prior):
    """One coin with the prior of the accuracies given."""
    concentration = jnp.asarray(cohort.a + cohort.b, float)
    given = {"mean": cohort.a / concentration, "log_concentration": jnp.log(concentration)}
    return handlers.condition(crowd_model(OneCoinModel(), class_prior), given)


def some_parameters(key, model, *args):
    """A value of every site, between -2 and 2 on its unconstrained scale; and what follows."""
    anywhere = handlers.substitute(handlers.seed(model, key), substitute_fn=init_to_uniform)
    return parameters_of(handlers.trace(anywhere).get_trace(*args))


def parameters_of(trace):
    return {
        name: site["value"]
        for name, site in trace.items()
        if site["type"] in ("sample", "deterministic") and name != "answers"
    }


def log_likelihood_of(model, labels, assessment, class_prior, parameters):
    """What the answers and the gold add to the log density."""
    nothing = Labels(
        labels.example,
        labels.labeler,
        jnp.full_like(labels.label, MISSING),
        labels.num_examples,
        labels.num_labelers,
        labels.num_classes,
    )
    no_gold = Assessment.none(labels.num_examples, labels.num_classes)
    there, _ = log_density(model, (labels, assessment, class_prior), {}, parameters)
    prior, _ = log_density(model, (nothing, no_gold, class_prior), {}, parameters)
    return float(there - prior)


def one_coin_tables(accuracy, num_classes):
    """The confusion matrices that one accuracy per labeler (and class) amounts to."""
    accuracy = np.asarray(accuracy, float)
    if accuracy.ndim == 1:
        accuracy = np.repeat(accuracy[:, None], num_classes, axis=1)
    wrong = (1 - accuracy) / (num_classes - 1)
    eye = np.eye(num_classes)
    return accuracy[:, :, None] * eye + wrong[:, :, None] * (1 - eye)


def tables_by_kind(name, parameters):
    """(share, confusion matrices) of each kind of example."""
    if name == "difficulty":
        h = float(parameters["hard_share"])
        return [
            (1 - h, one_coin_tables(parameters["accuracy"], 3)),
            (h, one_coin_tables(parameters["hard_accuracy"], 3)),
        ]
    if name == "communities":
        of_community = np.asarray(parameters["community_confusion"], float)
        membership = np.asarray(parameters["membership"], float)
        mixed = [sum(w * matrix for w, matrix in zip(row, of_community)) for row in membership]  # noqa: B905
        return [(1.0, np.array(mixed))]
    if name == "confusion":
        return [(1.0, np.asarray(parameters["confusion"], float))]
    return [(1.0, one_coin_tables(parameters["accuracy"], 3))]


def sum_over_labelings(kinds, class_prior):
    """P(answers, gold): every labeling, every example of every kind, product by product.

    Also the probability of each class of each example, given all of it.
    """
    num_examples = DENSE.shape[1]
    known = np.asarray(GOLD.true_label)
    total, by_class = 0.0, np.zeros((num_examples, 3))
    for labeling in itertools.product(range(3), repeat=num_examples):
        if any(gold not in (MISSING, y) for gold, y in zip(known, labeling, strict=True)):
            continue
        for choice in itertools.product(kinds, repeat=num_examples):
            weight = 1.0
            for i, (y, (share, table)) in enumerate(zip(labeling, choice, strict=True)):
                weight *= class_prior[y] * share
                for j, label in enumerate(DENSE[:, i]):
                    weight *= table[j, y, label] if label != MISSING else 1.0
            total += weight
            by_class[np.arange(num_examples), labeling] += weight
    return total, by_class / total


class TestSummedOut:
    @ALL_MODELS
    def test_against_all_labelings(self, key, name, rtol):
        """Float32 sums of 30 logarithms: a few roundings of the largest partial sum."""
        model = MODELS[name]
        parameters = some_parameters(key, model, LABELS, GOLD, jnp.asarray(CLASS_PRIOR))
        total, by_class = sum_over_labelings(tables_by_kind(name, parameters), CLASS_PRIOR)
        got = log_likelihood_of(model, LABELS, GOLD, jnp.asarray(CLASS_PRIOR), parameters)
        assert got == pytest.approx(np.log(total), abs=40 * rtol)
        draws = {site: np.asarray(value)[None, None] for site, value in parameters.items()}
        posterior = mean_class_posterior(
            partial(model, class_prior=jnp.asarray(CLASS_PRIOR)), LABELS, GOLD, draws
        )
        np.testing.assert_allclose(posterior, by_class, atol=20 * rtol)

    @ALL_MODELS
    def test_learnt_class_prior(self, key, name, rtol):
        """At a value of the site the same as with that value given."""
        model = MODELS[name]
        parameters = some_parameters(key, model, LABELS, GOLD)
        given = {site: value for site, value in parameters.items() if site != "class_prior"}
        learnt = log_likelihood_of(model, LABELS, GOLD, None, parameters)
        fixed = log_likelihood_of(model, LABELS, GOLD, parameters["class_prior"], given)
        assert learnt == pytest.approx(fixed, abs=40 * rtol)

    @ALL_MODELS
    def test_padding_carries_no_evidence(self, key, name, rtol):
        model = MODELS[name]
        padded = Labels.from_arrays(
            np.concatenate([LABELS.example, [0, 4, 4]]),
            np.concatenate([LABELS.labeler, [3, 0, 1]]),
            np.concatenate([LABELS.label, [MISSING] * 3]),
            num_classes=3,
            num_examples=5,
            num_labelers=4,
        )
        parameters = some_parameters(key, model, LABELS, GOLD)
        want = log_likelihood_of(model, LABELS, GOLD, None, parameters)
        assert log_likelihood_of(model, padded, GOLD, None, parameters) == pytest.approx(
            want, abs=40 * rtol
        )

    @ALL_MODELS
    def test_gold_is_clamped(self, key, name):
        model = MODELS[name]
        parameters = some_parameters(key, model, LABELS, GOLD)
        joint = handlers.substitute(model, parameters)(LABELS, GOLD)
        free = handlers.substitute(model, parameters)(LABELS, Assessment.none(5, 3))
        known = np.asarray(GOLD.true_label)[:, None]
        possible = (known == MISSING) | (known == np.arange(3))
        np.testing.assert_array_equal(joint, np.where(possible, free, -np.inf))

    @ALL_MODELS
    def test_one_log_likelihood_per_example(self, key, name, rtol):
        """And `scale` multiplies it, not the prior."""
        model = MODELS[name]
        parameters = some_parameters(key, model, LABELS, GOLD)
        draws = {site: value[None] for site, value in parameters.items()}
        found = log_likelihood(model, draws, LABELS, GOLD)["answers"][0]
        joint = handlers.substitute(model, parameters)(LABELS, GOLD)
        np.testing.assert_allclose(found, jax.nn.logsumexp(joint, axis=1), rtol=rtol)
        once, _ = log_density(model, (LABELS, GOLD), {}, parameters)
        thrice, _ = log_density(model, (LABELS, GOLD), {"scale": 3.0}, parameters)
        assert float(thrice - once) == pytest.approx(2 * float(found.sum()), rel=10 * rtol)

    @pytest.mark.parametrize(
        "model",
        [MODELS["difficulty"], MODELS["communities"], LOOKS],
        ids=["difficulty", "communities", "looks"],
    )
    def test_gradients_are_finite(self, key, model):
        """Gold leaves classes of probability zero, whose logarithm must not enter the gradient."""
        parameters = some_parameters(key, model, LABELS, GOLD)
        trace = handlers.trace(handlers.substitute(model, parameters)).get_trace(LABELS, GOLD)
        free = {site: parameters[site] for site in parameters if trace[site]["type"] == "sample"}
        density = jax.grad(lambda sites: log_density(model, (LABELS, GOLD), {}, sites)[0])
        slope = jax.jit(density)(free)
        assert all(np.isfinite(value).all() for value in jax.tree.leaves(slope))


class TestPriors:
    def test_one_coin_by_hand(self, rtol):
        """The prior density, term by term."""
        log_odds = np.array([0.3, 1.0, 2.0, -0.5])
        sites = {
            "mean": jnp.array(0.7),
            "log_concentration": jnp.array(2.0),
            "log_odds": jnp.asarray(log_odds),
            "class_prior": jnp.asarray(CLASS_PRIOR),
        }
        nothing = Labels.from_dense(np.full((4, 1), MISSING), num_classes=3)
        got, _ = log_density(MODELS["one_coin"], (nothing, Assessment.none(1, 3)), {}, sites)
        hyper = HyperPrior.for_classes(3)
        accuracy, kappa = scipy.special.expit(log_odds), np.exp(2.0)
        want = scipy.stats.beta.logpdf(0.7, hyper.mean_a, hyper.mean_b)
        want += scipy.stats.norm.logpdf(2.0, hyper.log_concentration, hyper.log_concentration_sd)
        want += scipy.stats.beta.logpdf(accuracy, 0.7 * kappa, 0.3 * kappa).sum()
        want += np.log(accuracy * (1 - accuracy)).sum() + np.log(2.0)
        assert float(got) == pytest.approx(want, abs=40 * rtol)

    def test_log_ratios_of_two_entries_are_log_odds(self, rtol):
        """The first entry is the denominator."""
        x = jnp.linspace(-6.0, 6.0, 13)
        of_two = LogRatioDirichlet(jnp.array([1.5, 4.0]))
        log_odds = LogitBeta(4.0, 1.5)
        np.testing.assert_allclose(of_two.mean[0], log_odds.mean, rtol=10 * rtol)
        of_two, want = of_two.log_prob(x[:, None]), log_odds.log_prob(x)
        np.testing.assert_allclose(of_two, want, rtol=10 * rtol, atol=10 * rtol)

    def test_log_ratios_against_scipy(self, rtol):
        """The density of the simplex times the Jacobian, the product of all entries."""
        shape, x = np.array([0.4, 2.0, 3.0]), np.array([0.3, -1.2])
        probs = scipy.special.softmax(np.concatenate([[0.0], x]))
        want = scipy.stats.dirichlet.logpdf(probs, shape) + np.log(probs).sum()
        got = LogRatioDirichlet(jnp.asarray(shape)).log_prob(jnp.asarray(x))
        assert float(got) == pytest.approx(want, abs=20 * rtol)

    def test_draws_of_log_ratios(self, key):
        """Each entry of a Dirichlet vector is a Beta variable: Kolmogorov-Smirnov at 1e-6.

        And the mean is that of the draws, within five standard errors.
        """
        shape = np.array([0.8, 2.0, 3.0])
        law = LogRatioDirichlet(jnp.asarray(shape))
        draws = law.sample(key, (5000,))
        assert (np.abs(draws.mean(axis=0) - law.mean) < 5 * draws.std(axis=0) / 5000**0.5).all()
        probs = np.exp(np.asarray(log_simplex(draws), float))
        for entry, a in enumerate(shape):
            marginal = scipy.stats.beta(a, shape.sum() - a)
            assert scipy.stats.kstest(probs[:, entry], marginal.cdf).pvalue > 1e-6

    def test_rows_scatter_around_the_mean(self, key):
        """Statistical: rows of 4000 labelers, mean and variance those of the Dirichlet law."""
        labels = Labels.from_dense(np.full((4000, 1), MISSING), num_classes=3)
        mean = jnp.array([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.05, 0.15, 0.8]])
        given = {"mean": mean, "log_concentration": jnp.log(20.0)}
        model = handlers.substitute(MODELS["confusion"], given)
        trace = handlers.trace(handlers.seed(model, key)).get_trace(labels, Assessment.none(1, 3))
        rows = trace["confusion"]["value"]
        np.testing.assert_allclose(rows.sum(axis=2), 1.0, rtol=1e-5)
        sd = np.sqrt(np.asarray(mean * (1 - mean)) / 21.0)
        assert (np.abs(rows.mean(axis=0) - mean) < 5 * sd / np.sqrt(4000)).all()
        # A variance of 4000 draws has a relative error of sqrt((kurtosis - 1) / 4000).
        kurtosis = scipy.stats.beta(20 * mean, 20 * (1 - mean)).stats("k") + 3.0
        error = np.abs(rows.var(axis=0) / sd**2 - 1)
        assert (error < 5 * np.sqrt((kurtosis - 1) / 4000)).all()


class TestDifficulty:
    """Two classes, n labelers of accuracy 0.8 who all say 1, a tenth of the examples hard."""

    ODDS = float(np.log(4.0))

    MOST = 1000

    def confidence(self, num_labels, shift):
        """Of a table of one size, which is compiled once."""
        every = np.arange(self.MOST)
        label = np.where(every < num_labels, 1, MISSING)
        labels = Labels.from_arrays(np.zeros(self.MOST, int), every, label, num_classes=2)
        draws = {
            "mean": 0.8,
            "log_concentration": 3.0,
            "hard_share": 0.1,
            "shift": shift,
            "log_odds": np.full(self.MOST, self.ODDS),
        }
        draws = {name: np.asarray(value, float)[None, None] for name, value in draws.items()}
        return float(self.posterior(labels, draws)[0, 1])

    @staticmethod
    @jax.jit
    def posterior(labels, draws):
        model = crowd_model(DifficultyModel(), jnp.array([0.5, 0.5]))
        return mean_class_posterior(model, labels, Assessment.none(1, 2), draws)

    @pytest.mark.parametrize("num_labels", [1, 3, 10, 100])
    def test_confidence_stops_at_the_share_of_easy_examples(self, num_labels, rtol):
        """With misleading as strong as informing, 0.9 (.8^n) + 0.1 (.2^n) out of .8^n + .2^n."""
        ratio = 0.25**num_labels
        want = (0.9 + 0.1 * ratio) / (1 + ratio)
        got = self.confidence(num_labels, 2 * self.ODDS)
        assert got == pytest.approx(want, rel=10 * rtol)
        assert got < 0.9 + 10 * rtol

    @pytest.mark.parametrize(("shift", "limit"), [(1.9, 1.0), (2.0, 0.9), (2.1, 0.0)])
    def test_what_many_agreeing_answers_tend_to(self, shift, limit):
        """Per answer, a shift 5 % off costs log(.8 / sigmoid(1.9 or 2.1 - 1)) = -+0.03 nats: e^-20
        is left of the losing side after 1000, whose float32 sums are good to 1e-3.
        """
        assert self.confidence(1000, shift * self.ODDS) == pytest.approx(limit, abs=1e-3)

    def test_draws_average_the_limits(self):
        """The posterior probability of a shift below twice the log odds."""
        shifts = np.array([0.5, 1.0, 1.5, 4.0]) * self.ODDS
        mean = np.mean([self.confidence(300, shift) for shift in shifts])
        assert mean == pytest.approx(0.75, abs=1e-6)

    @pytest.mark.slow
    def test_answers_alone_do_not_tell_misleading_from_uninformative(self, rtol):
        """Likelihoods under s and 2 logit(accuracy) - s, with even classes."""
        dense = np.array([[0, 1, 1, 0], [1, 1, 0, 0], [0, 1, 1, 1]])
        labels = Labels.from_dense(dense, num_classes=2)
        log_odds, h = jnp.full(3, self.ODDS), jnp.array(0.1)

        def evidence(shift):
            easy, hard = jax.nn.sigmoid(log_odds), jax.nn.sigmoid(log_odds - shift)
            return jax.nn.logsumexp(HardExamples(easy, hard, h, 2).batch_log_prob(labels), axis=1)

        same = evidence(2 * self.ODDS - 0.5)
        np.testing.assert_allclose(evidence(0.5), same, rtol=10 * rtol)


class TestNuts:
    def test_against_every_labeling(self, key):
        """Given a labeling accuracies are conjugate, so 64 labelings give the posterior exactly.

        Five Monte Carlo standard errors per mean; the draws of a class posterior scatter no more
        than the class itself would.
        """
        dense = np.array(
            [[1, 0, 1, 1, 0, 0], [1, 0, 1, 0, 0, 1], [0, 0, 1, 1, MISSING, 1], [1, 1, 0, 1, 0, 0]]
        )
        labels = Labels.from_dense(dense, num_classes=2)
        gold = Assessment.from_arrays([0], [1], num_examples=6, num_classes=2)
        cohort, class_prior = CohortPrior(0.75, 6.0), np.array([0.4, 0.6])
        model = given_cohort(cohort, jnp.asarray(class_prior))
        draws = run_nuts(
            key, partial(model, labels, gold), num_warmup=300, num_draws=500, num_chains=2
        )
        found = measure_convergence(to_datatree(draws, list("abcd")))
        assert found.converged, found.problems

        labelings = np.array([y for y in itertools.product((0, 1), repeat=6) if y[0] == 1])
        right = (dense[None] == labelings[:, None, :]).sum(axis=2)
        wrong = (dense != MISSING).sum(axis=1) - right
        a, b = cohort.a + right, cohort.b + wrong
        log_weight = scipy.special.betaln(a, b).sum(axis=1) + np.log(class_prior)[labelings].sum(1)
        weight = scipy.special.softmax(log_weight)
        mean = weight @ (a / (a + b))
        second = weight @ (a * (a + 1) / ((a + b) * (a + b + 1)))
        num_independent = found.min_ess_bulk
        error = np.abs(draws.posterior["accuracy"].mean(axis=(0, 1)) - mean)
        assert (error < 5 * np.sqrt((second - mean**2) / num_independent)).all()

        exact = weight @ labelings
        got = mean_class_posterior(model, labels, gold, draws.posterior)[:, 1]
        assert (np.abs(got - exact) <= 5 * np.sqrt(exact * (1 - exact) / num_independent)).all()

    @pytest.mark.slow
    @pytest.mark.parametrize("name", ["one_coin", "class_conditional", "confusion", "difficulty"])
    def test_recovers_accuracies(self, key, name):
        """One-coin labelers, which all of these contain: true values within five posterior
        standard deviations, one in a million each.
        """
        accuracy = np.array([0.95, 0.9, 0.85, 0.75, 0.65, 0.55])
        labels, gold, true_label = crowd(key, accuracy, num_examples=150, num_gold=40)
        model = MODELS[name]
        draws = run_nuts(
            key, partial(model, labels, gold), num_warmup=500, num_draws=300, num_chains=2
        )
        posterior = draws.posterior
        if name == "confusion":
            found = np.diagonal(posterior["confusion"], axis1=3, axis2=4)
        else:
            found = posterior["accuracy"]
        found = found.reshape(600, 6, -1)  # all draws, labelers, one or both classes
        error = np.abs(found.mean(axis=0) - accuracy[:, None])
        assert (error < 5 * found.std(axis=0)).all()
        probs = np.asarray(mean_class_posterior(model, labels, gold, posterior))
        # Errors in number as expected of calibrated posteriors: their sum has this variance.
        confidence, wrong = probs.max(axis=1), probs.argmax(axis=1) != true_label
        sd = np.sqrt((confidence * (1 - confidence)).sum())
        assert abs(wrong.sum() - (1 - confidence).sum()) < 5 * sd


def crowd(key, accuracy, *, num_examples, num_gold):
    """Labelers who all answered all examples of two classes, the first of which are gold."""
    model = OneCoin(jnp.asarray(accuracy), num_classes=2)
    queue = simulate_crowd(key, model, num_examples, len(accuracy))
    true_label = np.asarray(queue.true_label)
    gold = Assessment.from_arrays(
        np.arange(num_gold), true_label[:num_gold], num_examples=num_examples, num_classes=2
    )
    return Labels.from_dense(queue.labels, num_classes=2), gold, true_label


class TestSvi:
    def test_every_example_is_in_as_many_batches(self, key, rtol):
        """So the mean over all batches, scaled, is the whole sum: unbiased, exactly."""
        model = MODELS["confusion"]
        parameters = some_parameters(key, model, LABELS, GOLD)
        batches = Batches.shuffled(key, LABELS, GOLD, 2)
        assert batches.most_labels == 4

        def log_likelihoods(labels, assessment):
            joint = handlers.substitute(model, parameters)(labels, assessment)
            return jax.nn.logsumexp(joint, axis=1)

        totals = [log_likelihoods(*batches.batch(jnp.array(i))).sum() * 5 / 2 for i in range(5)]
        want = float(log_likelihoods(LABELS, GOLD).sum())
        assert float(np.mean(totals)) == pytest.approx(want, rel=10 * rtol)

    def test_a_batch_of_all_is_the_table(self, key):
        batches = Batches.shuffled(key, LABELS, GOLD, 5)
        labels, gold = batches.batch(jnp.array(0))
        order = np.asarray(jax.random.permutation(key, 5))
        np.testing.assert_array_equal(labels.dense(), DENSE[:, order])
        np.testing.assert_array_equal(gold.true_label, np.asarray(GOLD.true_label)[order])
        assert (np.diff(labels.example) >= 0).all()

    def test_batches_of_impossible_size(self, key):
        for size in (0, 6):
            with pytest.raises(ValueError, match="cannot fill batches"):
                Batches.shuffled(key, LABELS, GOLD, size)

    @pytest.mark.slow
    def test_all_gold_has_the_conjugate_means(self, key):
        """At the best normal guide E[accuracy] is a / (a + b): its location's slope is zero there.

        What is left: Monte Carlo error of the draws, and the wobble of the last steps, allowed
        a fifth of a posterior standard deviation.
        """
        accuracy = np.array([0.9, 0.8, 0.7, 0.6])
        labels, gold, _ = crowd(key, accuracy, num_examples=200, num_gold=200)
        cohort, num_draws = CohortPrior(0.75, 8.0), 4000
        model = given_cohort(cohort, jnp.array([0.5, 0.5]))
        fit = fit_svi(key, model, labels, gold, batch_examples=50, num_steps=3000)
        draws = fit.sample(key, num_draws).posterior
        exact = BetaPosterior.from_counts(gold_counts(labels, gold), cohort)
        a, b = np.asarray(exact.a), np.asarray(exact.b)
        sd = np.sqrt(a * b / ((a + b) ** 2 * (a + b + 1)))
        error = np.abs(draws["accuracy"].mean(axis=(0, 1)) - a / (a + b))
        assert (error < (0.2 + 5 / np.sqrt(num_draws)) * sd).all()

    @pytest.mark.parametrize(
        "name",
        [
            "one_coin",
            "confusion",
            "class_conditional",
            "difficulty",
            "communities",
        ],
    )
    @pytest.mark.slow
    def test_recovers_a_crowd(self, key, name):
        """Hardly any gold; labels as good as with the true accuracies, within binomial error.

        The optimal posterior's errors number E; fits differ from it in fewer than sqrt(E) terms.
        """
        accuracy = np.array([0.95, 0.9, 0.85, 0.75, 0.65, 0.6])
        labels, gold, true_label = crowd(key, accuracy, num_examples=400, num_gold=20)
        fit = fit_svi(key, MODELS[name], labels, gold, batch_examples=64, num_steps=600)
        assert fit.losses.shape == (600,)
        assert np.isfinite(fit.losses).all()
        assert fit.losses[-50:].mean() < fit.losses[:50].mean()
        draws = fit.sample(key, 100).posterior
        probs = np.asarray(mean_class_posterior(MODELS[name], labels, gold, draws))
        log_odds = scipy.special.logit(accuracy)
        best = (2 * np.asarray(labels.dense()) - 1).T @ log_odds
        num_best = ((best > 0) != true_label).sum()
        num_wrong = (probs.argmax(axis=1) != true_label).sum()
        assert num_wrong <= num_best + 5 * np.sqrt(num_best)
