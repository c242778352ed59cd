"""Pools of models: their weights, independence, and what is made of them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import scipy.special

from gtx_bayes.aggregation.aggregate import aggregate
from gtx_bayes.aggregation.state import check_options, read_state, write_state
from gtx_bayes.aggregation.update import update
from gtx_bayes.crowd import Crowd
from gtx_bayes.errors import InputError
from gtx_bayes.inference import pool, variational, weighing
from gtx_bayes.inference.dependence import GRID, power_posterior
from gtx_bayes.inference.joint import Candidate
from gtx_bayes.inference.weighing import AUTO_MODELS, Fitted, Weighing, weigh
from gtx_bayes.labels import MISSING, Assessment, Labels
from gtx_bayes.metrics import expected_calibration_error
from gtx_bayes.models.one_coin import OneCoinModel
from gtx_bayes.padding import padded_to_bucket
from gtx_bayes.registry import MODELS
from tests.crowds import drawn, rng_of

CONJUGATE = ("one-coin", "class-conditional", "confusion")


NUM_EXAMPLES = 1000


def with_gold(dense, truth, num_gold):
    """Labels of two classes, the first examples gold; and the truth."""
    known = np.where(np.arange(truth.size) < num_gold, truth, MISSING)
    return (
        Labels.from_dense(dense, num_classes=2),
        Assessment(jnp.asarray(known, jnp.int8), 2),
        truth,
    )


def of_the_paper(seed, **options):
    """Ten labelers of one coin each, five labels an example, twenty gold."""
    rng = np.random.default_rng(seed)
    accuracy = rng.uniform(0.6, 0.9, 10)
    return with_gold(*drawn(rng, accuracy, NUM_EXAMPLES, each=5, **options), 20)


def named(labels, assessment):
    """A crowd whose names are numbers."""
    return Crowd(
        labels,
        assessment,
        np.array([f"i{i}" for i in range(labels.num_examples)]),
        np.array([f"j{j}" for j in range(labels.num_labelers)]),
        np.array([str(k) for k in range(labels.num_classes)]),
    )


@pytest.fixture(scope="module")
def independent():
    return of_the_paper(3)


@pytest.fixture(scope="module")
def pooled(independent):
    labels, gold, _ = independent
    return aggregate(named(labels, gold))


class TestEvidence:
    @pytest.mark.parametrize("name", CONJUGATE)
    def test_is_a_probability_of_the_labels(self, name, key):
        """Over all labels that one entry can be it sums to one, given each class."""
        rng = rng_of(key)
        rest = Labels.from_dense(rng.integers(0, 3, (5, 20)), num_classes=3)
        prior = MODELS.build(name).cohort_prior(3)
        probs = jnp.asarray(rng.dirichlet(np.ones(3), 20), float)

        @jax.jit
        def evidence(one):
            given = one, probs[:1], prior.counts(rest, probs) + prior.counts(one, probs[:1])
            return prior.evidence(*given)[0] + prior.shared_evidence(*given)

        total = np.zeros(3)
        for label in range(3):
            one = Labels.from_arrays([0], [2], [label], num_classes=3, num_labelers=5)
            total += np.exp(np.asarray(evidence(one), np.float64))
        np.testing.assert_allclose(total, 1.0, rtol=1e-4)

    def test_gold_is_predicted_without_itself(self, key):
        """Of a labeler whose only gold is one example, gold says nothing about that example."""
        labels = Labels.from_arrays([0, 1, 1], [0, 1, 2], [1, 0, 1], num_classes=2)
        gold = Assessment(jnp.array([1, MISSING], jnp.int8), 2)
        candidate = pool._from_gold_alone(None, gold)
        fit = candidate.fit(labels, gold)
        mean = np.asarray(fit.prior.shape, np.float64)
        expected = np.log(mean[::-1] / mean.sum())  # the cohort's own mean, wrong and right
        np.testing.assert_allclose(fit.evidence[0], expected, rtol=1e-4)


class TestWeights:
    def fits(self, labels, gold):
        labels, gold, _ = padded_to_bucket(labels, gold, None)
        priors = (None, variational.uniform(2))
        candidates = [Candidate.of(name, 2, prior) for name in AUTO_MODELS for prior in priors]
        return labels, gold, candidates, [each.fit(labels, gold) for each in candidates]

    def test_by_hand(self, independent):
        """Prior, probability of the gold with rho integrated out, and of two examples' answers."""
        labels, gold, candidates, fits = self.fits(*independent[:2])
        weighed = weigh(labels, gold, list(map(Fitted, candidates, fits)), Weighing(None, 0.0))
        truth = np.asarray(independent[1].true_label)[:20]
        logits = np.log(GRID[1:]) - np.log1p(-GRID[1:])
        prior_of_rho = scipy.special.softmax(-((logits + 0.75) ** 2) / 2.0)
        log_weights = []
        for candidate, fit in zip(candidates, fits, strict=True):
            evidence = np.asarray(fit.evidence, np.float64)[:1000]
            by_rho = np.stack(
                [power_posterior(jnp.asarray(evidence[:20]), jnp.full(20, 5), jnp.full(2, 0.5), rho)
                 for rho in GRID[1:]]
            )  # fmt: skip
            of_gold = np.log(by_rho[:, np.arange(20), truth].astype(np.float64)).sum(axis=1)
            log_prior = np.log(1.0 if candidate.class_prior is None else 0.5)
            answers = np.logaddexp.reduce(evidence + log_prior, axis=1)
            prior = {"one-coin": 0.18, "confusion": 0.82}[candidate.model]
            prior *= 0.8 if candidate.class_prior is None else 0.2
            log_weights.append(
                np.log(prior)
                + scipy.special.logsumexp(of_gold, b=prior_of_rho)
                + 2.0 * answers.mean()
            )
        np.testing.assert_allclose(weighed.weights, scipy.special.softmax(log_weights), rtol=1e-3)
        assert not any(rho.prob_independent for rho in weighed.dependence)

    def test_the_crowd_of_the_paper_is_recognised(self, pooled, independent):
        """And is as honest as if that were known: its confidence is its accuracy."""
        found, truth = pooled.fit.joint, independent[2]
        assert found.dependence.prob_independent > 0.9
        assert any("has a probability of" in note for note in pooled.notes)
        assert not any("err together" in note for note in pooled.notes)
        open_ = slice(20, None)
        probs = pooled.class_probs[open_]
        # Of 980 independent labels in ten bins it is .02 by chance.
        assert expected_calibration_error(probs, jnp.asarray(truth[open_])).value < 0.035

    def test_so_it_is_with_uneven_classes(self):
        """One accuracy for every labeler, and a class of nine tenths, with twenty gold labels."""
        labels, gold, truth = of_the_paper(5, class_balance=[0.9, 0.1])
        found = aggregate(named(labels, gold))
        rho, lead = found.fit.joint.dependence, found.fit.joint.lead
        assert rho.prob_independent > 0.5
        assert lead.model == "one-coin"
        assert lead.choice.candidate.class_prior is None
        # Of 980 independent labels in ten bins it is .02 by chance.
        open_ = slice(20, None)
        probs = found.class_probs[open_]
        assert expected_calibration_error(probs, jnp.asarray(truth[open_])).value < 0.035

    def test_another_crowd_is_not(self, key):
        """Labelers biased towards class 0 alike, whom tables explain and one coin does not."""
        dense, truth = drawn(rng_of(key), np.ones(10), NUM_EXAMPLES, each=5)
        says_one = rng_of(key).random(dense.shape) < np.where(truth, 0.55, 0.05)
        dense = np.where(dense == MISSING, MISSING, says_one)
        found = pool.fit(*with_gold(dense, truth, 60)[:2])
        assert found.model == "confusion"
        assert found.dependence.prob_independent < 0.01
        assert "gold" in found.why

    def test_only_gold_tells_the_same_model_with_dependent_labelers(self, independent):
        """Nothing else in the pool, and answers that are as probable: what the priors say."""
        labels, _, candidates, fits = self.fits(*independent[:2])
        none = Assessment.none(labels.num_examples, 2)
        at = [1, 0]  # one coin, classes even and learnt
        weighed = weigh(
            labels,
            none,
            [Fitted(candidates[k], fits[k]._replace(evidence=fits[1].evidence)) for k in at],
            Weighing(None, 0.8),
        )
        independent = sum(
            weight * rho.prob_independent
            for weight, rho in zip(weighed.weights, weighed.dependence, strict=True)
        )
        # With learnt proportions, which are likelier by far: .04 for independence, .16 against.
        np.testing.assert_allclose(independent, 0.2, rtol=1e-3)

    def test_a_prior_of_zero_asks_no_question(self, independent):
        labels, gold, _ = independent
        crowd = named(labels, gold)
        found = aggregate(crowd, prior_independent=0.0)
        assert found.fit.joint.dependence.prob_independent == 0.0
        assert not any("has a probability of" in note for note in found.notes)
        for prior in (1.0, -0.1, float("nan")):
            with pytest.raises(InputError, match="the prior probability of independence"):
                aggregate(crowd, prior_independent=prior)
        with pytest.raises(InputError, match="has no prior_independent"):
            aggregate(crowd, "soft-vote", prior_independent=0.5)
        for other in ({"model": "confusion"}, {"dependence": 0.0}):
            with pytest.raises(InputError, match="asked of a pool of models alone"):
                aggregate(crowd, prior_independent=0.5, **other)

    @pytest.mark.slow
    def test_large_tables_take_the_heaviest(self, independent, monkeypatch):
        monkeypatch.setattr(pool, "MOST_AT_ONCE", 4_000)
        monkeypatch.setattr(weighing, "SUBSAMPLE_SIZE", 2_000)
        labels, gold, truth = independent
        found = pool.fit(labels, gold)
        assert [each.model for each in found.components] == ["one-coin"]
        assert "which alone is fitted" in found.why
        assert np.mean(np.asarray(found.class_probs).argmax(axis=1) == truth) > 0.85


class TestMixture:
    def test_is_that_of_its_components(self, pooled, independent):
        found = pooled.fit.joint
        weights = np.array(found.weights)
        assert weights.sum() == pytest.approx(1.0)
        assert (np.diff(weights) <= 0).all()
        assert len(weights) > 1
        parts = np.array([each.class_probs for each in found.components], np.float64)
        np.testing.assert_allclose(
            found.class_probs, np.tensordot(weights, parts, axes=1), atol=1e-6
        )
        np.testing.assert_array_equal(
            np.asarray(found.class_probs)[:20].argmax(axis=1), independent[2][:20]
        )
        means = np.array([each.accuracy.mean for each in found.components])
        np.testing.assert_allclose(found.accuracy.mean, weights @ means, atol=1e-5)
        draws = [each.accuracy.sample(jax.random.key(0), (4000,)) for each in found.components]
        second = weights @ np.array([(each**2).mean(axis=0) for each in draws])
        a, b = np.asarray(found.accuracy.a), np.asarray(found.accuracy.b)
        variance = a * b / (a + b) ** 2 / (a + b + 1.0)
        np.testing.assert_allclose(variance + (a / (a + b)) ** 2, second, atol=0.005)

    def test_table(self, pooled):
        table = pooled.fit.joint.table()
        assert list(table) == ["model", "has_looks", "learns_class_prior", "weight", "rho"]
        assert table["weight"].sum() == pytest.approx(1.0)
        assert table["model"][0] == pooled.fit.model == "one-coin"

    def test_judges_new_answers(self, pooled):
        """By every model, independent or at its mean rho, as they are weighed."""
        answers = pd.DataFrame({"task": ["x"] * 2, "worker": ["j0", "j1"], "label": ["1", "1"]})
        expected = 0.0
        for each, weight in zip(pooled.fit.joint.components, pooled.fit.joint.weights, strict=True):
            rows = np.asarray(each.labelers.confusion_matrix, np.float64)[:2, :, 1]
            log_odds = np.log(rows[:, 1] / rows[:, 0]).sum()
            prior = np.log(np.asarray(each.class_prior, np.float64))
            atom, rho = each.dependence.prob_independent, each.dependence.mean_if_dependent
            for share, at in ((atom, 0.0), (1.0 - atom, rho)):
                of_prior = (prior[1] - prior[0]) / (1.0 + at)
                expected += weight * share * scipy.special.expit(log_odds / (1.0 + at) + of_prior)
        found = pooled.predict(answers)["prob_1"][0]
        assert found == pytest.approx(expected, abs=1e-3)

    def test_intervals_hold_the_confidence(self, pooled):
        table = pooled.examples(0)
        assert (table["confidence_low"] <= table["confidence"]).all()
        assert (table["confidence"] <= table["confidence_high"]).all()
        is_open = ~table["is_gold"]
        assert (table["confidence_high"] - table["confidence_low"])[is_open].mean() > 0.01

    def test_confusion_is_the_mixture(self, pooled):
        table = pooled.confusion()
        joint = pooled.fit.joint
        expected = sum(
            weight * np.asarray(each.labelers.confusion_matrix)
            for each, weight in zip(joint.components, joint.weights, strict=True)
        )
        np.testing.assert_allclose(table["probability"], expected.ravel(), atol=1e-6)


class TestState:
    def test_comes_back_and_grows(self, pooled, independent, tmp_path):
        write_state(pooled, tmp_path / "fit")
        back = read_state(tmp_path / "fit")
        for a, b in zip(*(jax.tree.leaves(of.fit.joint) for of in (pooled, back)), strict=True):
            if np.asarray(a).dtype == np.float64:  # weights are normalised again
                np.testing.assert_allclose(a, b, rtol=1e-12)
            else:
                np.testing.assert_array_equal(a, b)
        label = [str(y) for y in independent[2][20:40]]
        grown = update(
            back, None, pd.DataFrame({"task": back.crowd.example_names[20:40], "label": label})
        )
        crowd = dataclasses.replace(pooled.crowd, assessment=grown.result.crowd.assessment)
        fresh, found = aggregate(crowd), grown.result
        np.testing.assert_allclose(found.class_probs, fresh.class_probs, atol=0.05)
        assert found.fit.joint.dependence.prob_independent == pytest.approx(
            fresh.fit.joint.dependence.prob_independent, abs=0.05
        )

    def test_what_was_asked_for_is_known(self, pooled):
        check_options(pooled, where="x", prior_independent=0.8)
        for asked in (
            {"prior_independent": 0.5},
            {"model": "one-coin"},
            {"class_prior": [0.5] * 2},
        ):
            with pytest.raises(InputError, match=next(iter(asked)).replace("_", " ")[:5]):
                check_options(pooled, where="x", **asked)


class Unregistered(OneCoinModel):
    """A model of one's own with a conjugate prior, known to no registry."""

    name = "unregistered"


def test_a_conjugate_model_need_not_be_registered(independent):
    labels, gold, _ = independent
    result = aggregate(named(labels, gold), model=Unregistered(), dependence=0.0)
    assert "unregistered" in result.notes[0]
    worker = result.crowd.labeler_names[0]
    more = pd.DataFrame({"task": ["new"], "worker": [worker], "label": ["0"]})
    assert update(result, more).result.fit.model == "unregistered"
    assert not result.fit.joint.is_of_verdicts
