"""Labelers as if alike: counts of gold, themselves and in the pool."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import scipy.special

from gtx_bayes.aggregation.aggregate import aggregate
from gtx_bayes.aggregation.state import read_state, write_state
from gtx_bayes.aggregation.update import update
from gtx_bayes.crowd import Crowd
from gtx_bayes.inference import alike
from gtx_bayes.inference.dependence import GRID, learn
from gtx_bayes.labels import MISSING, Assessment, Earlier
from gtx_bayes.models.confusion import ConfusionPrior

NUM_EXAMPLES, NUM_GOLD = 300, 60


def frames(seed=0):
    """Nine in ten are of class "no", and the whole crowd takes four in ten of these for "yes"."""
    rng = np.random.default_rng(seed)
    truth = (rng.random(NUM_EXAMPLES) < 0.1).astype(int)
    verdict = np.where(rng.random(NUM_EXAMPLES) < 0.4, 1, truth)
    copies = rng.random((NUM_EXAMPLES, 5)) < 0.9
    label = np.where(copies, verdict[:, None], 1 - verdict[:, None])
    names = np.array(["no", "yes"])
    table = pd.DataFrame(
        {
            "task": [f"t{i}" for i in range(NUM_EXAMPLES) for _ in range(5)],
            "worker": [f"w{j}" for _ in range(NUM_EXAMPLES) for j in range(5)],
            "label": names[label.ravel()],
        }
    )
    known = pd.DataFrame({"task": [f"t{i}" for i in range(NUM_EXAMPLES)], "label": names[truth]})
    return table, known, truth


@pytest.fixture(scope="module")
def crowd():
    table, known, _ = frames()
    return Crowd.from_frames(table, known[:NUM_GOLD])


@pytest.fixture(scope="module")
def result(crowd):
    return aggregate(crowd)


class TestByItself:
    def test_counts_are_those_of_gold(self, crowd):
        found = alike.fit(crowd.labels, crowd.assessment)
        prior = np.asarray(ConfusionPrior.default(2).weights)
        assert np.isclose((found.counts - prior).sum(), 5 * NUM_GOLD)
        truth = np.asarray(crowd.assessment.true_label)[:NUM_GOLD]
        share = (np.bincount(truth, minlength=2) + 1) / (NUM_GOLD + 2)
        np.testing.assert_allclose(found.class_prior, share)

    @pytest.mark.parametrize("class_prior", [None, jnp.array([0.7, 0.3])])
    def test_gold_is_predicted_without_itself(self, crowd, class_prior):
        found = alike.fit(crowd.labels, crowd.assessment, class_prior)
        rho = np.array([0.0, 0.4])
        scores = found.gold_scores(rho)
        for at in (0, 7, 31):
            known = np.asarray(crowd.assessment.true_label).copy()
            label, known[at] = known[at], MISSING
            others = alike.fit(crowd.labels, Assessment(jnp.asarray(known), 2), class_prior)
            for k, value in enumerate(rho):
                given = alike.Dependence.known(value)
                probs = others.class_probs(crowd.labels, Assessment(jnp.asarray(known), 2), given)
                prob = probs[at, label]
                assert np.isclose(scores[at, k], np.log(prob), atol=1e-6)

    def test_class_probs(self, crowd):
        found = alike.fit(crowd.labels, crowd.assessment)
        dependence, _ = learn(found.gold_scores().sum(axis=0))
        assert dependence.values.shape == GRID.shape
        probs = found.class_probs(crowd.labels, crowd.assessment, dependence)
        np.testing.assert_allclose(probs.sum(axis=1), 1.0)
        truth = np.asarray(crowd.assessment.true_label)[:NUM_GOLD]
        np.testing.assert_array_equal(probs[:NUM_GOLD], np.eye(2)[truth])

    def test_draws_are_around_the_mean(self, crowd):
        found = alike.fit(crowd.labels, crowd.assessment)
        known = alike.Dependence.known(0.5)
        asked = np.zeros(NUM_EXAMPLES, int)
        rng, tables = np.random.default_rng(0), (crowd.labels, crowd.assessment)
        drawn = found.draw_probs(rng, crowd.labels, known, asked, 400)[:, NUM_GOLD:]
        confidence = found.class_probs(*tables, known)[NUM_GOLD:, 0]
        log_odds = scipy.special.logit(drawn)
        off = log_odds.mean(axis=0) - scipy.special.logit(confidence)
        assert (np.abs(off) < 5 * log_odds.std(axis=0) / 20).all()

    def test_classes_known_from_elsewhere_count(self, crowd):
        earlier = np.array([9_000.0, 1_000.0])
        gold = dataclasses.replace(crowd.assessment, earlier=Earlier(None, earlier))
        found = alike.fit(crowd.labels, gold)
        truth = np.asarray(crowd.assessment.true_label)[:NUM_GOLD]
        total = np.bincount(truth, minlength=2) + 1.0 + earlier
        np.testing.assert_allclose(found.class_prior, total / total.sum())

    def test_none_without_gold(self, crowd):
        assert alike.fit(crowd.labels, Assessment.none(NUM_EXAMPLES, 2)) is None


class TestInThePool:
    def test_gold_gives_it_the_weight(self, result):
        """Agreement is about what misleads all; the best single guess is "no"."""
        part = result.fit.joint.alike
        assert part.weight > 0.5
        truth = frames()[2][NUM_GOLD:]
        probs = np.asarray(result.class_probs)[NUM_GOLD:]
        votes = np.asarray(aggregate(result.crowd, "majority-vote").class_probs)[NUM_GOLD:]
        right, of_votes = ((of.argmax(axis=1) == truth).mean() for of in (probs, votes))
        assert right > 0.85 > 0.75 > of_votes

    def test_table(self, result):
        table = result.fit.joint.table()
        assert np.isclose(table["weight"].sum(), 1.0)
        assert list(table["weight"]) == sorted(table["weight"], reverse=True)
        weight = table.set_index("model")["weight"]["alike"]
        assert np.isclose(weight, result.fit.joint.alike.weight)
        assert "one confusion matrix for all labelers" in " ".join(result.notes)

    def test_class_probs_are_the_mixture(self, result):
        pool = result.fit.joint
        labelers, rho, weight = pool.alike
        rest = sum(share * np.asarray(each.class_probs) for each, share in pool.weighted)
        of_alike = labelers.class_probs(result.crowd.labels, result.crowd.assessment, rho)
        expected = (1 - weight) * rest + weight * of_alike
        np.testing.assert_allclose(pool.class_probs, expected, atol=1e-6)

    def test_intervals_hold_the_confidence(self, result):
        low, high = result.fit.joint.credible_interval(jax.random.key(0), result.crowd.labels)
        confidence = np.asarray(result.class_probs).max(axis=1)
        assert (low <= confidence).all()
        assert (confidence <= high).all()
        assert (high - low)[NUM_GOLD:].mean() > 0.01

    def test_judges_new_labels(self, result):
        """As those of the crowd, but for the mean of rho in the place of its distribution."""
        found = np.asarray(result.fit.aggregator.class_probs(result.crowd.labels))[NUM_GOLD:]
        assert np.abs(found - np.asarray(result.class_probs)[NUM_GOLD:]).max() < 0.1

    def test_says_nothing_of_single_labelers(self, result):
        pool = result.fit.joint
        means = [np.asarray(each.accuracy.mean) for each in pool.components]
        np.testing.assert_allclose(pool.accuracy.mean, np.array(pool.weights) @ means, atol=1e-5)

    def test_comes_back(self, result, tmp_path):
        write_state(result, tmp_path / "state.npz")
        again = read_state(tmp_path / "state.npz")
        assert again.fit.joint.alike.weight == result.fit.joint.alike.weight
        np.testing.assert_allclose(again.class_probs, result.class_probs, atol=1e-6)

    @pytest.mark.slow
    def test_grows(self, crowd, result):
        """Ten more gold labels, as if all had been there."""
        _, known, _ = frames()
        grown = update(result, None, known[NUM_GOLD : NUM_GOLD + 10]).result
        whole = aggregate(Crowd.from_frames(frames()[0], known[: NUM_GOLD + 10]))
        one, other = (each.fit.joint.alike for each in (grown, whole))
        np.testing.assert_allclose(one.labelers.counts, other.labelers.counts)
        assert abs(one.weight - other.weight) < 0.02

    @pytest.mark.slow
    def test_grows_under_a_prior_of_each_example(self, crowd):
        """In padded size and without."""
        prior = np.tile([0.8, 0.2], (NUM_EXAMPLES, 1))
        prior[:100] = [0.6, 0.4]
        whole, known, _ = frames()
        found = aggregate(crowd, class_prior=prior)
        grown = update(found, None, known[NUM_GOLD : NUM_GOLD + 10]).result.fit.joint
        again = aggregate(Crowd.from_frames(whole, known[: NUM_GOLD + 10]), class_prior=prior)
        assert abs(grown.alike.weight - again.fit.joint.alike.weight) < 0.02

    @pytest.mark.slow
    def test_is_not_brought_in_by_growth(self):
        """Forty classes are too many for confusion matrices of sixty labelers, and for this."""
        rng = np.random.default_rng(0)
        truth = rng.integers(0, 40, 80)
        example, labeler = np.divmod(np.arange(400), 5)
        label = np.where(rng.random(400) < 0.7, truth[example], rng.integers(0, 40, 400))
        table = pd.DataFrame({"task": example, "worker": labeler + 5 * (example % 12)})
        table["label"] = [f"c{k}" for k in label]
        known = pd.DataFrame({"task": range(80), "label": [f"c{k}" for k in truth]})
        classes = [f"c{k}" for k in range(40)]
        found = aggregate(Crowd.from_frames(table, known[:20], classes=classes))
        assert "confusion" not in {each.model for each in found.fit.joint.components}
        assert found.fit.joint.alike is None
        assert update(found, None, known[20:30]).result.fit.joint.alike is None

    def test_independence_is_as_probable_as_in_the_whole_pool(self, result):
        pool = result.fit.joint
        probs = [each.dependence.prob_independent for each in pool.components]
        expected = (1.0 - pool.alike.weight) * np.dot(pool.weights, probs)
        assert np.isclose(pool.dependence.prob_independent, expected)

    @pytest.mark.parametrize("options", [{"model": "one-coin"}, {"model": "confusion"}])
    def test_only_where_no_model_is_asked_for(self, crowd, options):
        assert aggregate(crowd, **options).fit.joint.alike is None
