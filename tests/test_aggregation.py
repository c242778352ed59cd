"""One contract for every method, then each by hand."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pandas as pd
import pytest

from gtx_bayes import decisions
from gtx_bayes.aggregation.aggregate import aggregate
from gtx_bayes.aggregation.base import AbstractAggregator, AbstractMethod, vote_shares
from gtx_bayes.aggregation.dawid_skene import DawidSkene
from gtx_bayes.aggregation.gtx import ClassPosterior, Gtx
from gtx_bayes.aggregation.joint_method import GtxBayes
from gtx_bayes.aggregation.majority_vote import MajorityVote, VoteShares
from gtx_bayes.aggregation.one_coin_em import OneCoinEM
from gtx_bayes.aggregation.soft_vote import SoftVoteShares
from gtx_bayes.aggregation.weighted_majority_vote import WeightedVoteShares
from gtx_bayes.crowd import Crowd
from gtx_bayes.errors import InputError
from gtx_bayes.inference import em
from gtx_bayes.inference.gold_counts import gold_counts
from gtx_bayes.inference.variational import clamp
from gtx_bayes.labels import MISSING, Assessment, Labels
from gtx_bayes.models.confusion import ConfusionMatrix, ConfusionPrior
from gtx_bayes.models.one_coin import OneCoin, OneCoinPrior
from gtx_bayes.registry import METHODS
from gtx_bayes.votes import class_votes
from tests.crowds import drawn, rng_of

NEED_GOLD = {"weighted-majority-vote", "soft-vote", "gtx"}
WITHOUT_INTERVALS = {"dawid-skene", "one-coin-em", "wawa", "bwa", "ibcc"}
OF_ONE_MODEL = {"gtx-bayes": GtxBayes("one-coin")}  # its choice of a model is tested elsewhere


def crowd_of(key, num_classes=3, gold=20):
    """Four labels of six labelers for each of sixty examples, the first of them gold."""
    rng = rng_of(key)
    accuracy = rng.uniform(0.5, 0.95, 6)
    dense, truth = drawn(rng, accuracy, 60, each=4, num_classes=num_classes)
    known = np.where(np.arange(60) < gold, truth, MISSING)
    gold = Assessment(jnp.asarray(known, jnp.int8), num_classes)
    return Labels.from_dense(dense, num_classes=num_classes), gold, truth


@functools.cache
def fitted(name, num_classes=3):
    labels, assessment, truth = crowd_of(jax.random.key(20241210), num_classes)
    method = METHODS.build(OF_ONE_MODEL.get(name, name))
    return method.fit(labels, assessment), labels, truth


@pytest.mark.parametrize("name", METHODS.names())
class TestContract:
    """What every method keeps to."""

    @pytest.mark.parametrize("num_classes", [pytest.param(2, marks=pytest.mark.slow), 3])
    def test_probabilities(self, name, num_classes):
        """Far above guessing: four labelers of accuracy .5 and more, 60 examples."""
        fit, labels, truth = fitted(name, num_classes)
        probs = np.asarray(fit.aggregator.class_probs(labels))
        assert probs.shape == (60, num_classes)
        assert ((probs >= 0) & (probs <= 1)).all()
        np.testing.assert_allclose(probs.sum(axis=1), 1, rtol=1e-6)
        if num_classes == 3:
            assert (probs.argmax(axis=1) == truth).mean() > 1 / 3 + 5 * np.sqrt(2 / 9 / 60)

    def test_dense_in_any_order_equals_long_and_jit(self, name):
        fit, labels, _ = fitted(name)
        expected, dense = fit.aggregator.class_probs(labels), labels.dense()
        np.testing.assert_allclose(fit.aggregator.class_probs(dense), expected, atol=2e-6)
        turned = fit.aggregator.class_probs(dense[:, ::-1])
        np.testing.assert_allclose(turned, expected[::-1], atol=2e-6)
        compiled = jax.jit(lambda method, answers: method.class_probs(answers))
        np.testing.assert_allclose(compiled(fit.aggregator, labels), expected, atol=1e-6)

    def test_no_answers_no_opinion(self, name):
        """They have the prior of the classes; votes, which know of none, are uniform."""
        fit, _, _ = fitted(name)
        nothing = jnp.full((6, 2), MISSING, jnp.int8)
        prior = np.full(3, 1 / 3) if fit.class_prior is None else np.asarray(fit.class_prior)
        np.testing.assert_allclose(
            fit.aggregator.class_probs(nothing), np.stack([prior, prior]), rtol=1e-5
        )

    def test_report_on_labelers(self, name):
        fit, labels, _ = fitted(name)
        found = fit.labeler_accuracy
        assert found.accuracy.shape == (labels.num_labelers,)
        assert int(found.counts.num_gold.sum()) == 20 * 4
        if name in WITHOUT_INTERVALS:
            assert np.isnan(found.ci_low).all()
            assert np.isnan(found.ci_high).all()
            assert "none" in found.interval
        else:
            assert (found.ci_low <= found.accuracy).all()
            assert (found.accuracy <= found.ci_high).all()
            assert "95%" in found.interval

    def test_without_gold(self, name, key):
        labels, assessment, _ = crowd_of(key, gold=0)
        method = METHODS.build(OF_ONE_MODEL.get(name, name))
        if name in NEED_GOLD:
            with pytest.raises(InputError, match=f"{name} takes .* from gold"):
                method.fit(labels, assessment)
        else:
            probs = method.fit(labels, assessment).aggregator.class_probs(labels)
            assert np.isfinite(probs).all()


# Labelers of accuracy .9, .8 and .6 answer 1, 1 and 0; nobody answers the second example.
ACCURACY = jnp.array([0.9, 0.8, 0.6])
ANSWERS = Labels.from_dense([[1, -1], [1, -1], [0, -1]], num_classes=2)


class TestByHand:
    def test_majority_vote(self):
        got = VoteShares(2).class_probs(ANSWERS)
        np.testing.assert_allclose(got, [[1 / 3, 2 / 3], [0.5, 0.5]], rtol=1e-6)

    def test_weighted_majority_vote(self):
        """1.7 of 2.3 for class 1."""
        got = WeightedVoteShares(ACCURACY, 2).class_probs(ANSWERS)
        np.testing.assert_allclose(got[0], [0.6 / 2.3, 1.7 / 2.3], rtol=1e-6)

    def test_soft_vote(self):
        """.9 + .8 + .4 = 2.1 of 3 for class 1."""
        got = SoftVoteShares(ACCURACY, 2).class_probs(ANSWERS)
        np.testing.assert_allclose(got[0], [0.9 / 3, 2.1 / 3], rtol=1e-6)

    def test_soft_vote_of_three_classes(self):
        """A vote of .8 leaves .1 to each other class."""
        answers = Labels.from_dense([[2], [0]], num_classes=3)
        got = SoftVoteShares(jnp.array([0.8, 0.5]), 3).class_probs(answers)
        np.testing.assert_allclose(got[0], [0.6 / 2, 0.35 / 2, 1.05 / 2], rtol=1e-6)

    def test_gtx(self):
        """.9 x .8 x .4 against .1 x .2 x .6."""
        got = ClassPosterior(OneCoin(ACCURACY, 2)).class_probs(ANSWERS)
        np.testing.assert_allclose(got[0], [0.012 / 0.3, 0.288 / 0.3], rtol=1e-5)

    def test_weightless_votes_decide_nothing(self):
        got = WeightedVoteShares(jnp.zeros(3), 2).class_probs(ANSWERS)
        np.testing.assert_array_equal(got, np.full((2, 2), 0.5))


class TestByEM:
    """Dawid and Skene's algorithm, which `test_em` holds to account."""

    @pytest.mark.parametrize(
        ("method", "m_step"),
        [
            (OneCoinEM(), em.OneCoinStep.smoothed(3)),
            (DawidSkene(), em.ConfusionStep.smoothed(3)),
            (
                OneCoinEM(estimate="map"),
                em.OneCoinStep.posterior_mode(OneCoinPrior.default(3)),
            ),
            (
                DawidSkene(estimate="map"),
                em.ConfusionStep.posterior_mode(ConfusionPrior.default(3)),
            ),
        ],
    )
    def test_is_the_estimate_and_its_posterior(self, key, method, m_step):
        labels, assessment, _ = crowd_of(key)
        expected = em.fit(labels, assessment, m_step)
        fit = method.fit(labels, assessment)
        judged = clamp(fit.aggregator.class_probs(labels), assessment)
        np.testing.assert_allclose(judged, expected.class_probs, atol=1e-5)
        np.testing.assert_allclose(fit.class_prior, expected.class_prior, atol=1e-6)
        mean = np.einsum("jyy,y->j", expected.model.confusion_matrix, expected.class_prior)
        np.testing.assert_allclose(fit.labeler_accuracy.accuracy, mean, rtol=1e-5)

    def test_certain_labelers_who_contradict_cancel(self):
        """Without smoothing matrices have zeros; the posterior of one such vote each is even."""
        sure = ConfusionMatrix(jnp.stack([jnp.eye(2), jnp.eye(2)]), 2)
        got = ClassPosterior(sure).class_probs(Labels.from_dense([[0, 1], [1, 1]], num_classes=2))
        np.testing.assert_allclose(got, [[0.5, 0.5], [0.0, 1.0]])

    def test_says_where_it_was_stopped(self, key):
        labels, assessment, _ = crowd_of(key)
        assert (
            "stopped before it converged"
            in DawidSkene(num_steps=1).fit(labels, assessment).notes[0]
        )

    @pytest.mark.parametrize(
        "options",
        [{"num_steps": 0}, {"tolerance": -1.0}, {"smoothing": -0.1}, {"estimate": "best"}],
    )
    def test_bad_options(self, key, options):
        labels, assessment, _ = crowd_of(key)
        (name,) = options
        with pytest.raises(InputError, match=f"{name} of one-coin-em is"):
            OneCoinEM(**options).fit(labels, assessment)

    def test_tables_out_of_proportion(self):
        labels = Labels.from_arrays([0, 1], [0, 1], [0, 1], num_classes=3000)
        with pytest.raises(InputError, match="has a table of 3,000 x 3,000"):
            DawidSkene().fit(labels, Assessment.none(2, 3000))


@dataclasses.dataclass(frozen=True)
class Favourite(AbstractMethod):
    """A method of one's own: everybody's votes, one class favoured."""

    name = "favourite"
    description = "a vote more for one class"
    votes: float = 1.0

    def fit(self, labels, assessment, class_prior=None, *, mesh=None):
        """Nothing to learn."""
        found = MajorityVote().fit(labels, assessment)
        return found._replace(aggregator=FavouriteRule(self.votes, labels.num_classes))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class FavouriteRule(AbstractAggregator):
    """Shares of the votes, the first class having some more."""

    votes: float
    num_classes: int = dataclasses.field(metadata={"static": True})

    def class_probs(self, labels):
        """Vote shares."""
        votes = class_votes(labels, jnp.ones(labels.num_labelers), self.num_classes)
        return vote_shares(votes + self.votes * jnp.eye(self.num_classes)[:, :1])


class TestMethodsByName:
    def test_an_instance_is_its_name_with_options(self, key):
        crowd = Crowd.from_frames(FRAME, GOLD)
        by_name = aggregate(crowd, "gtx-bayes", model="one-coin", dependence=0.0)
        by_class = aggregate(crowd, GtxBayes("one-coin", 0.0))
        assert by_name.method == by_class.method == "gtx-bayes"
        np.testing.assert_array_equal(by_name.class_probs, by_class.class_probs)

    @pytest.mark.parametrize("options", [{"model": "one-coin"}, {"dependence": 0.0}])
    @pytest.mark.parametrize("method", [Gtx(), "dawid-skene", "majority-vote"])
    def test_options_that_a_method_lacks(self, method, options):
        (option,) = options
        with pytest.raises(InputError, match=f"has no {option}.*or use gtx-bayes"):
            aggregate(Crowd.from_frames(FRAME, GOLD), method, **options)

    def test_of_ones_own(self):
        """Two votes of three for "yes" and one for "no" that four more outweigh."""
        crowd = Crowd.from_frames(FRAME)
        result = aggregate(crowd, Favourite(votes=4.0))
        assert result.method == "favourite"
        np.testing.assert_allclose(result.class_probs[0], [5 / 7, 2 / 7], rtol=1e-6)

    def test_something_else(self):
        with pytest.raises((InputError, jaxtyping.TypeCheckError)):
            aggregate(Crowd.from_frames(FRAME), 3)


def test_gtx_plugs_in_what_gold_says(key):
    labels, assessment, _ = crowd_of(key)
    counts = gold_counts(labels, assessment)
    fit = Gtx().fit(labels, assessment)
    alpha = counts.num_correct / counts.num_gold
    np.testing.assert_allclose(fit.aggregator.model.accuracy, alpha, rtol=1e-6)


def test_gtx_bayes_judges_every_answer_by_the_labelers_others(key):
    """The fixed point: Eq. 3 at posterior means without the answer's own part, class by class."""
    labels, assessment, _ = crowd_of(key)
    flat = jnp.full(3, 1 / 3)
    fit = GtxBayes("one-coin", dependence=0.0).fit(labels, assessment, flat)
    probs = np.asarray(fit.joint.class_probs, np.float64)
    a, b = np.asarray(fit.joint.prior.shape, np.float64)
    example, labeler, label = (
        np.asarray(x) for x in (labels.example, labels.labeler, labels.label)
    )
    own = probs[example, label]
    right = np.bincount(labeler, own, minlength=6)
    wrong = np.bincount(labeler, 1 - own, minlength=6)
    odds = np.log((a + right[labeler] - own) / (b + wrong[labeler] - (1 - own)) * 2)
    expected = np.zeros((60, 3))
    np.add.at(expected, (example, label), odds)
    expected = np.exp(expected) / np.exp(expected).sum(axis=1, keepdims=True)
    is_gold = np.asarray(assessment.is_gold)
    np.testing.assert_allclose(probs[~is_gold], expected[~is_gold], atol=5e-3)
    assert (probs[is_gold].max(axis=1) == 1).all()


def test_gtx_bayes_without_gold_says_what_it_rests_on(key):
    labels, assessment, _ = crowd_of(key, gold=0)
    notes = GtxBayes("one-coin").fit(labels, assessment).notes
    assert any("Without gold the labelers are known from their agreement" in note for note in notes)


FRAME = pd.DataFrame(
    {
        "task": ["a", "a", "a", "b", "b", "c", "c", "g", "g", "g"],
        "worker": ["u", "v", "w", "u", "v", "u", "w", "u", "v", "w"],
        "label": ["yes", "yes", "no", "yes", "no", "no", "no", "yes", "yes", "no"],
    }
)
GOLD = pd.DataFrame({"task": ["g"], "label": ["yes"]})


class TestAggregate:
    def test_tables(self, key):
        result = aggregate(Crowd.from_frames(FRAME, GOLD))
        examples = result.examples(key)
        assert list(examples["task"]) == ["a", "b", "c", "g"]
        assert list(examples["num_labels"]) == [3, 2, 2, 3]
        assert list(examples["is_gold"]) == [False, False, False, True]
        assert list(examples.columns[-2:]) == ["prob_no", "prob_yes"]
        assert tuple(examples.loc[3, ["label", "confidence"]]) == ("yes", 1.0)
        np.testing.assert_allclose(
            examples[["prob_no", "prob_yes"]].max(axis=1), examples["confidence"]
        )
        labelers = result.labelers()
        assert list(labelers["worker"]) == ["u", "v", "w"]
        assert list(labelers["num_correct"]) == [1, 1, 0]
        assert list(labelers["num_labels"]) == [4, 3, 3]
        assert result.open_confidence().shape == (3,)

    def test_ties_are_visible_and_drawn(self):
        """Example b has one vote each way: its label is a coin flip that says so."""
        result = aggregate(Crowd.from_frames(FRAME), "majority-vote")
        tables = [result.examples(jax.random.key(seed)).set_index("task") for seed in range(20)]
        assert all(list(table["num_tied"]) == [1, 2, 1, 1] for table in tables)
        assert {table.loc["b", "label"] for table in tables} == {"yes", "no"}
        assert {table.loc["a", "label"] for table in tables} == {"yes"}

    def test_unseen_labelers_have_no_accuracy_in_votes(self):
        gold = pd.DataFrame({"task": ["b"], "label": ["yes"]})
        result = aggregate(Crowd.from_frames(FRAME, gold), "majority-vote")
        assert np.isnan(result.labelers().set_index("worker").loc["w", "accuracy"])

    def test_pooled_labelers_are_flagged(self):
        gold = pd.DataFrame({"task": ["b"], "label": ["yes"]})
        result = aggregate(Crowd.from_frames(FRAME, gold), "gtx")
        assert "1 of 3 labelers answered no gold example" in result.notes[0]
        assert result.labelers().set_index("worker").loc["w", "accuracy"] == 0.5

    def test_class_prior(self):
        crowd = Crowd.from_frames(FRAME, GOLD)
        neutral = aggregate(crowd, "gtx").class_probs
        tilted = aggregate(crowd, "gtx", class_prior=[0.2, 0.8]).class_probs
        odds = (tilted[:3, 1] / tilted[:3, 0]) / (neutral[:3, 1] / neutral[:3, 0])
        np.testing.assert_allclose(odds[1:], np.full(2, 4.0), rtol=1e-4)  # of a, u is certain

    @pytest.mark.parametrize(
        "by_name", [{"yes": 0.8, "no": 0.2}, pd.Series({"yes": 0.8, "no": 0.2})]
    )
    def test_class_prior_by_name(self, by_name):
        """The classes are "no" and "yes", in this order; what has names is matched by them."""
        crowd = Crowd.from_frames(FRAME, GOLD)
        expected = aggregate(crowd, "gtx", class_prior=[0.2, 0.8])
        found = aggregate(crowd, "gtx", class_prior=by_name)
        np.testing.assert_array_equal(found.class_probs, expected.class_probs)
        np.testing.assert_array_equal(found.class_prior, expected.class_prior)

    def test_class_prior_by_name_where_names_are_numbers(self):
        """A frequency table of answers held as floats names the classes too."""
        frame = FRAME.assign(label=[0 if label == "no" else 1 for label in FRAME["label"]])
        crowd = Crowd.from_frames(frame, classes=[1, 0])
        shares = pd.Series([0.0, 0.0, 0.0, 1.0]).value_counts(normalize=True)
        found = aggregate(crowd, class_prior=shares, model="one-coin", dependence=0.0)
        np.testing.assert_array_equal(found.class_prior, [0.25, 0.75])

    @pytest.mark.parametrize(
        ("method", "prior", "message"),
        [
            ("gtx", {"yes": 0.5, "maybe": 0.5}, "names 'maybe', and the classes are"),
            ("gtx", {"yes": 1.0}, "gives no probability to 'no'"),
            ("gtx", pd.Series([0.2, 0.8]), "names '0', '1', and the classes are"),
            ("gtx", pd.Series([0.5, 0.3, 0.2], ["no", "yes", "no"]), "names a class twice"),
            ("gtx", pd.DataFrame({"no": [0.2], "yes": [0.8]}), "is a data frame"),
            ("gtx", {"yes": 0.8, "no": 0.3}, "sums to 1.1"),
            ("gtx-bayse", None, "no method 'gtx-bayse'.*majority-vote"),
            ("majority-vote", [0.5, 0.5], "takes no class prior"),
            ("gtx", [0.5, 0.3, 0.2], "shape"),
            ("gtx", [0.5, 0.6], "sums to 1.1"),
            ("gtx", [-0.5, 1.5], "no probabilities"),
        ],
    )
    def test_bad_requests(self, method, prior, message):
        with pytest.raises(InputError, match=message):
            aggregate(Crowd.from_frames(FRAME, GOLD), method, class_prior=prior)

    def test_a_table_of_answers_alone(self):
        found, expected = aggregate(FRAME, "majority-vote"), Crowd.from_frames(FRAME)
        np.testing.assert_array_equal(
            found.class_probs, aggregate(expected, "majority-vote").class_probs
        )

    def test_gold_keeps_its_label(self):
        gold = Assessment.from_arrays([1], [0], num_examples=2, num_classes=2)
        got = clamp(jnp.array([[0.2, 0.8], [0.1, 0.9]]), gold)
        np.testing.assert_allclose(got, [[0.2, 0.8], [1.0, 0.0]])


@pytest.mark.parametrize("num_classes", [2, 12])
@pytest.mark.parametrize(
    "rule", [WeightedVoteShares, SoftVoteShares, lambda *args: ClassPosterior(OneCoin(*args))]
)
def test_an_accuracy_that_is_none_gives_no_label(key, rule, num_classes):
    """Probabilities are NaN and labels MISSING for examples with its answers, and for no others."""
    dense = jnp.array([[0, 1, MISSING], [0, 0, 1], [1, 1, 1]])
    labels = Labels.from_dense(dense, num_classes=num_classes)
    traced = jax.jit(lambda accuracy: rule(accuracy, num_classes).class_probs(labels))
    for bad in (np.nan, np.inf, -np.inf, 1.5, -0.2):
        probs = traced(jnp.array([bad, 0.8, 0.7]))
        assert np.isnan(probs[:2]).all(), bad
        np.testing.assert_allclose(probs[2].sum(), 1.0, rtol=1e-5)
        label = decisions.hard_label(key, probs)
        np.testing.assert_array_equal(label, [MISSING, MISSING, 1])
        np.testing.assert_array_equal(np.isnan(decisions.confidence(probs)), [True, True, False])


@pytest.mark.parametrize("bad", [np.inf, -np.inf, 1.2, -0.2])
def test_an_accuracy_that_is_none_is_refused_where_it_is_known(bad):
    """Where it is traced, as above, nobody can ask for its value."""
    with pytest.raises(InputError, match="no probability"):
        OneCoin(jnp.array([0.8, bad]), 2)
    with pytest.raises(InputError, match="no probability"):
        ConfusionMatrix(jnp.array([[[bad, 1.0 - bad], [0.5, 0.5]]]), 2)
