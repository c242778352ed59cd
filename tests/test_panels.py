"""Shares of a population: closed forms, published examples, enumeration, coverage, and the door."""

import itertools

import jax
import numpy as np
import pandas as pd
import pytest
import scipy.optimize
import scipy.special
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from gtx_bayes import Crowd, aggregate, estimate
from gtx_bayes.errors import InputError, WarningNote
from gtx_bayes.labels import scattered_parts
from gtx_bayes.panels import working_model
from gtx_bayes.panels.active import draw_gold, inclusion_probabilities, systematic
from gtx_bayes.panels.estimate import judges_of, proxies_of, vote_shares
from gtx_bayes.panels.intervals import difference_interval, wilson_interval
from gtx_bayes.panels.shares import (
    CERTAIN,
    CrossFit,
    Gold,
    cross_fit,
    difference,
    gold_for_width,
    shares,
)
from gtx_bayes.panels.working_model import Proxies
from tests.crowds import crowd_of, simulated, voted

Z = scipy.stats.norm.ppf(0.975)


def binary_proxies(noise, truth, strength=2.0):
    """One proxy of two classes, the better the stronger; its slope may be anything."""
    signal = strength * (2.0 * truth - 1.0) + noise
    logs = np.stack([-signal / 2.0, signal / 2.0], axis=1)[:, :, None]
    return Proxies(logs, np.array([1.0]), np.array([0.5]))


def plain(example, truth, num_folds=5):
    return Gold(example, truth[example], scattered_parts(example.size, num_folds))


class TestIntervals:
    @pytest.mark.parametrize(
        ("count", "number", "low", "high"),
        [
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0, 0.1611),
            (1, 29, 0.0061, 0.1718),
        ],
    )
    def test_wilson_as_published(self, count, number, low, high):
        """Newcombe (1998), Statistics in Medicine 17: 857-872, table I, method 3."""
        found = wilson_interval(count / number, float(number), Z)
        np.testing.assert_allclose(found, [low, high], atol=5e-5)

    def test_of_everything_it_is_a_point(self):
        assert wilson_interval(0.2, np.inf, Z) == (0.2, 0.2)

    @pytest.mark.parametrize(
        ("first", "second", "low", "high"),
        [
            ((56, 70), (48, 80), 0.0524, 0.3339),
            ((9, 10), (3, 10), 0.1705, 0.8090),
            ((10, 10), (0, 20), 0.6791, 1.0),
        ],
    )
    def test_difference_as_published(self, first, second, low, high):
        """Newcombe (1998), Statistics in Medicine 17: 873-890, table II, method 10."""
        of_each = [(c / n, *wilson_interval(c / n, float(n), Z)) for c, n in (first, second)]
        estimate, *limits = difference_interval(*of_each)
        assert estimate == pytest.approx(first[0] / first[1] - second[0] / second[1])
        np.testing.assert_allclose(limits, [low, high], atol=5e-5)

    def test_difference_of_one_thing_with_itself(self):
        _, low, high = difference_interval((0.5, 0.4, 0.6), (0.5, 0.4, 0.6), correlation=1.0)
        np.testing.assert_allclose([low, high], 0.0, atol=1e-9)


class TestWorkingModel:
    def example(self, num_classes=3, number=40):
        rng = np.random.default_rng(3)
        truth = rng.integers(num_classes, size=number)
        values = rng.normal(size=(number, num_classes, 2))
        values[np.arange(number), truth, 0] += 1.5
        return Proxies(values, np.array([1.0, 0.0]), np.array([0.5, 2.0])), truth

    def test_is_the_mode_of_the_posterior(self):
        """Against a general minimiser of the same function, written out anew."""
        proxies, truth = self.example()

        def loss(x):
            logits = x[:3] + proxies.values @ x[3:]
            fitted = -scipy.special.log_softmax(logits, axis=1)[np.arange(truth.size), truth].sum()
            return (
                fitted
                + 0.5 * ((x[:3] / working_model.SCALE_OF_INTERCEPTS) ** 2).sum()
                + 0.5 * (((x[3:] - [1, 0]) / [0.5, 2]) ** 2).sum()
            )

        best = scipy.optimize.minimize(loss, np.zeros(5), tol=1e-10).x
        found = working_model.fit(proxies, truth)
        np.testing.assert_allclose(found.intercepts, best[:3], atol=1e-4)
        np.testing.assert_allclose(found.slopes, best[3:], atol=1e-4)

    @given(st.permutations(range(3)))
    def test_names_of_classes_do_not_matter(self, order):
        proxies, truth = self.example()
        order = np.array(order)
        moved = proxies._replace(values=proxies.values[:, order])
        found = working_model.fit(moved, np.argsort(order)[truth])
        expected = working_model.fit(proxies, truth)
        np.testing.assert_allclose(found.slopes, expected.slopes, atol=1e-5)
        np.testing.assert_allclose(found.intercepts, expected.intercepts[order], atol=1e-5)

    def test_without_gold_it_believes_the_proxies(self):
        proxies, truth = self.example()
        none = working_model.fit(proxies._replace(values=proxies.values[:0]), truth[:0])
        np.testing.assert_allclose([*none.intercepts, *none.slopes], [0, 0, 0, 1, 0], atol=1e-12)


class TestShares:
    def test_has_no_bias_over_all_samples(self):
        """Four of six as gold, in two folds: the mean over all ways is the share, exactly."""
        truth = np.array([0, 1, 1, 0, 1, 0])
        proxies = binary_proxies(np.array([0.3, -0.2, 0.5, 0.1, -0.6, 0.2]), truth, 0.4)
        found = []
        for first in itertools.combinations(range(6), 2):
            for second in itertools.combinations(set(range(6)) - set(first), 2):
                example = np.array([*first, *second])
                gold = Gold(example, truth[example], np.array([0, 0, 1, 1]))
                one = shares(gold, cross_fit(gold, [proxies, proxies]))
                assert ((one.share > 0.0) & (one.share < 1.0)).all()
                assert ((one.low <= one.share) & (one.share <= one.high)).all()
                found.append(one.share)
        assert len(found) == 90
        np.testing.assert_allclose(np.mean(found, axis=0), 0.5, rtol=1e-12)

    def test_regression_estimator_by_hand(self):
        """Cochran's difference estimator: mean prediction of the unknown, plus mean residuals."""
        truth, probs = np.array([1, 0, 1, 1, 0]), np.array([0.9, 0.2, 0.6, 0.7, 0.4])
        gold = Gold(np.array([0, 1]), truth[:2], np.array([0, 1]))
        both = np.stack([1.0 - probs, probs], axis=1)
        found = CrossFit(both, np.eye(2)[truth[:2]] - both[:2], both[:2])
        one = shares(gold, found)
        by_hand = (1 + (0.6 + 0.7 + 0.4) + 1.5 * (0.1 - 0.2)) / 5
        np.testing.assert_allclose(one.share, [1.0 - by_hand, by_hand], rtol=1e-12)

    def told(self, truth, probs, population=400):
        """Intervals by gold whose model has some probabilities of the second class."""
        gold = plain(np.arange(truth.size), np.pad(truth, (0, population - truth.size)))
        own = np.stack([1.0 - probs, probs], axis=1)
        both = np.full((population, 2), 0.5)
        both[:, 1] = truth.mean()
        both[:, 0] = 1.0 - truth.mean()
        return shares(gold, CrossFit(both, np.eye(2)[truth] - own, own))

    @pytest.mark.parametrize("count", [0, 1, 12, 30])
    def test_without_proxies_it_is_the_interval_of_gold_alone(self, count):
        """The proxies give every example the same probability, and errors are as large."""
        truth = (np.arange(60) < count).astype(int)
        one = self.told(truth, np.full(60, count / 60))
        np.testing.assert_allclose(one.share, one.gold_share)
        np.testing.assert_allclose(one.low, one.gold_low, atol=0.005)
        np.testing.assert_allclose(one.high, one.gold_high, atol=0.005)
        assert (one.high - one.low <= one.gold_high - one.gold_low + 1e-12).all()

    def test_surer_proxies_make_it_narrower_and_wrong_ones_no_wider_than_gold_alone(self):
        truth = np.repeat([0, 1], 30)
        said = [np.where(truth, p, 1.0 - p) for p in (0.6, 0.8, 0.95, 0.02)]
        widths = [
            np.ptp([one.low, one.high], axis=0)[1] for one in map(self.told, [truth] * 4, said)
        ]
        assert widths[0] > widths[1] > widths[2] > 0.0
        one = self.told(truth, said[3])
        np.testing.assert_allclose(widths[3], (one.gold_high - one.gold_low)[1])

    def test_what_gold_has_hardly_shown_is_not_believed(self):
        """Sure and right proxies narrow a class that half of gold has, and none that it lacks."""
        often, never = np.repeat([0, 1], 10), np.zeros(20, int)
        ratio = []
        for truth in (often, never):
            one = self.told(truth, np.where(truth == 1, 0.99, 0.01))
            ratio.append(((one.high - one.low) / (one.gold_high - one.gold_low))[1])
        assert ratio[0] < 0.6
        assert ratio[1] > 0.9

    def test_of_a_sample_the_variance_of_the_population_is_added(self):
        """Without proxies the interval of a sample is that of gold alone, as from anywhere."""
        truth = np.repeat([0, 1], 30)
        gold = plain(np.arange(60), np.pad(truth, (0, 40)))
        even = np.full((100, 2), 0.5)
        one = shares(gold, CrossFit(even, np.eye(2)[truth] - 0.5, even[:60]), is_sample=True)
        np.testing.assert_allclose(
            [one.gold_low[1], one.gold_high[1]], wilson_interval(0.5, 60.0, Z), rtol=1e-6
        )
        np.testing.assert_allclose([one.low, one.high], [one.gold_low, one.gold_high], atol=0.005)

    def test_weights_without_proxies_are_those_of_hajek(self):
        truth = np.repeat([0, 1], [30, 10])
        example = np.array([0, 1, 2, 35, 36])
        weight = np.array([10.0, 10.0, 10.0, 5.0, 5.0])
        gold = Gold(example, truth[example], scattered_parts(5, 5), weight)
        even = np.full((40, 2), 0.5)
        found = CrossFit(even, np.eye(2)[truth[example]] - 0.5, even[:5])
        one = shares(gold, found)
        np.testing.assert_allclose(one.share, [30 / 40, 10 / 40])
        np.testing.assert_allclose(one.gold_share, [30 / 40, 10 / 40])

    def test_all_known_is_certain(self):
        truth = np.array([0, 1, 1, 0, 1])
        gold = Gold(np.arange(5), truth, np.full(5, CERTAIN), np.ones(5))
        one = shares(gold, cross_fit(gold, [binary_proxies(np.zeros(5), truth)]))
        for value in (one.share, one.low, one.high, one.gold_low, one.gold_high):
            np.testing.assert_allclose(value, [0.4, 0.6], atol=1e-9)

    def test_a_part_without_gold_may_be_anything(self):
        truth = np.array([0, 1, 1, 0, 1, 0])
        gold = plain(np.arange(4), truth, 2)
        fit = cross_fit(gold, [binary_proxies(np.zeros(6), truth)] * 2)
        one = shares(gold, fit, among=np.arange(6) >= 4)
        assert np.isnan(one.share).all()
        np.testing.assert_array_equal([one.low, one.high], [[0, 0], [1, 1]])

    def test_clusters_of_copies_count_once(self):
        """Every gold example twice, in one cluster: as many as there are clusters."""
        rng = np.random.default_rng(5)
        truth = np.repeat(rng.integers(2, size=400), 2)
        noise = np.repeat(rng.normal(size=400), 2)
        proxies = [binary_proxies(noise, truth, 0.5)] * 5
        example = np.arange(80)
        gold = plain(example, truth)._replace(fold=np.repeat(scattered_parts(40, 5), 2))
        found = cross_fit(gold, proxies)
        single = shares(gold, found)
        together = shares(gold._replace(cluster=np.repeat(np.arange(400), 2)), found)
        np.testing.assert_allclose(together.se / single.se, np.sqrt(2 * 40 / 39), rtol=1e-6)
        assert (
            together.gold_high - together.gold_low > 1.3 * (single.gold_high - single.gold_low)
        ).all()

    def test_pairs_sharpen_a_difference(self):
        """Two systems answer the same questions, and err on the same ones."""
        rng = np.random.default_rng(6)
        question = np.concatenate([np.arange(300), np.arange(300)])
        truth = np.tile(rng.random(300) < 0.6, 2).astype(int)
        gold_questions = rng.choice(300, 40, replace=False)
        example = np.concatenate([gold_questions, gold_questions + 300])
        gold = plain(example, truth)._replace(fold=np.tile(scattered_parts(40, 5), 2))
        found = cross_fit(gold, [binary_proxies(rng.normal(size=600), truth, 0.3)] * 5)
        of_a, of_b = (np.arange(600) < 300, np.arange(600) >= 300)
        apart = difference(gold, *(shares(gold, found, among=part) for part in (of_a, of_b)))
        gold = gold._replace(cluster=question)
        paired = difference(gold, *(shares(gold, found, among=part) for part in (of_a, of_b)))
        assert (paired.correlation > 0.5).all()
        assert (paired.high - paired.low < 0.75 * (apart.high - apart.low)).all()
        np.testing.assert_allclose(paired.difference, apart.difference)

    def test_gold_for_a_width(self):
        """The interval of so much gold has that width, where a share is not near 0 or 1."""
        number = gold_for_width(0.1, 0.25, 10_000)
        scale = 1.0 / number - 1.0 / 10_000
        assert 2 * Z * np.sqrt(0.25 * scale) == pytest.approx(0.1)
        assert gold_for_width(0.1, 0.25, 10_000, is_sample=True) > number
        assert gold_for_width(0.1, 0.0, 100) == 0.0
        assert np.isinf(gold_for_width(0.1, 0.1, 300, is_sample=True))

    def coverage(self, draw, seed):
        """How often, of 200 times, the interval of a class of one in six holds its share.

        The probabilities are wrong in places, and sure of it; nothing is fitted, for speed.
        """
        rng, count = np.random.default_rng(seed), 0
        truth = (np.arange(300) % 6 == 0).astype(np.int64)
        probs = scipy.special.expit(3.0 * (2 * truth - 1) + rng.normal(size=300) + 2.0)
        turned = rng.random(300) < 0.08
        probs[turned] = 1.0 - probs[turned]
        for _ in range(200):
            gold, probs_of_gold = draw(rng, truth, probs)
            both, own = (np.stack([1.0 - p, p], axis=1) for p in (probs, probs_of_gold))
            found = CrossFit(both, np.eye(2)[gold.truth] - own, own)
            one = shares(gold, found)
            count += bool(one.low[1] <= truth.mean() <= one.high[1])
        return count

    LEAST = scipy.stats.binom.ppf(1e-6, 200, 0.93)
    """Coverage of .93 gives fewer once in a million times."""

    def test_holds_with_little_gold_and_a_rare_class(self):
        def draw(rng, truth, probs):
            example = rng.choice(300, 25, replace=False)
            return plain(example, truth), probs[example]

        assert self.coverage(draw, 1) >= self.LEAST

    def test_does_not_hold_where_the_model_has_seen_the_gold(self):
        """So the test above can fail: residuals of a model that is certain of gold."""

        def draw(rng, truth, probs):
            example = rng.choice(300, 60, replace=False)
            return plain(example, truth), np.clip(truth[example], 0.01, 0.99)

        assert self.coverage(draw, 1) < self.LEAST

    def test_holds_where_gold_is_drawn_with_known_probabilities(self):
        def draw(rng, truth, probs):
            unsure = 0.1 + np.sqrt(probs * (1.0 - probs))
            chance = np.minimum(30 * unsure / unsure.sum(), 1.0)
            example = np.flatnonzero(rng.random(300) < chance)
            return plain(example, truth)._replace(weight=1.0 / chance[example]), probs[example]

        assert self.coverage(draw, 2) >= self.LEAST


class TestProxies:
    def test_votes_and_judges(self):
        crowd = crowd_of([[0, 1, 1, 0], [1, -1, -1, -1], [0, 0, -1, 1]])
        np.testing.assert_allclose(vote_shares(crowd.labels)[0], [2.5 / 4, 1.5 / 4])
        judges = judges_of(crowd.labels)
        assert judges.shape == (4, 2, 2)  # the second answered less than half
        np.testing.assert_array_equal(judges[:, :, 1], [[1, 0], [1, 0], [0, 0], [0, 1]])
        probs = np.array([[1.0, 0.0]] * 4)
        proxies = proxies_of(probs, vote_shares(crowd.labels), judges)
        assert np.isfinite(proxies.values).all()
        np.testing.assert_array_equal(proxies.centre, [1, 0, 0, 0])


class TestEstimate:
    def crowd(self, num_gold=30):
        return simulated(jax.random.key(4), num_gold, num_examples=90)

    @pytest.mark.slow
    def test_of_a_crowd(self):
        crowd = self.crowd()
        found = estimate(crowd)
        assert found.num_folds == 5
        table = found.table()
        assert table["share"].sum() == pytest.approx(1.0)
        assert table["crowd_share"].sum() == pytest.approx(1.0)
        assert (table["low"] <= table["share"]).all()
        assert (table["share"] <= table["high"]).all()
        gold = np.asarray(crowd.assessment.true_label)[:30]
        np.testing.assert_allclose(table["gold_share"], [1 - gold.mean(), gold.mean()], rtol=1e-6)
        ratio = (table["high"] - table["low"]) / (table["gold_high"] - table["gold_low"])
        assert (ratio < 0.9).all()
        assert found.worth > 33
        assert "30 gold labels are worth" in found.verdict
        assert "from 30 gold labels" in repr(found)
        more = estimate(crowd, population="infinite").table()
        assert (more["high"] - more["low"] > table["high"] - table["low"]).all()
        np.testing.assert_allclose(more["share"], table["share"])

    def test_each_fit_has_not_seen_what_it_is_checked_on(self, monkeypatch):
        """Gold labels turned one by one change no proxy of their own residual."""
        from gtx_bayes.panels import estimate as module

        seen = []
        original = module.aggregate

        def listening(crowd, *args, **options):
            seen.append(crowd.assessment.which_gold())
            return original(crowd, *args, **options)

        monkeypatch.setattr(module, "aggregate", listening)
        estimate(self.crowd(), "majority-vote")
        hidden = np.array([~each[:30] for each in seen])
        np.testing.assert_array_equal(hidden.sum(axis=0), 1)
        np.testing.assert_array_equal(hidden.sum(axis=1), 6)

    def test_the_order_of_the_tables_and_names_of_classes_do_not_matter(self):
        answers, gold = self.crowd().to_frames()
        expected = estimate(Crowd.from_frames(answers, gold), "majority-vote").table()
        mixed = (frame.sample(frac=1.0, random_state=1) for frame in (answers, gold))
        found = estimate(Crowd.from_frames(*mixed), "majority-vote").table()
        pd.testing.assert_frame_equal(found, expected, rtol=1e-6)
        swap = {"c0": "yes", "c1": "no"}
        other = (frame.assign(label=frame["label"].map(swap)) for frame in (answers, gold))
        found = estimate(Crowd.from_frames(*other), "majority-vote").table()
        turned = expected.iloc[::-1].reset_index(drop=True).drop(columns="label")
        pd.testing.assert_frame_equal(found.drop(columns="label"), turned, rtol=1e-5)

    def test_slices_and_a_difference(self):
        crowd = self.crowd()
        system = np.where(np.arange(90) % 2 == 0, "A", "B")
        found = estimate(crowd, "majority-vote", by=system, compare=("A", "B"))
        table = found.table()
        assert list(table["slice"]) == ["(all)", "(all)", "A", "A", "B", "B"]
        assert list(table["num_gold"]) == [30, 30, 15, 15, 15, 15]
        parts = {name: found.slices[name].share for name in "AB"}
        taken = found.comparison()
        np.testing.assert_allclose(taken["difference"], parts["A"] - parts["B"])
        assert (taken["low"] < taken["difference"]).all()
        assert (taken["difference"] < taken["high"]).all()
        whole = estimate(crowd, "majority-vote", by=dict.fromkeys(crowd.example_names, "x"))
        np.testing.assert_allclose(whole.slices["x"].low, whole.overall.low)

    def test_weights_by_name_and_gold_that_is_certain(self):
        crowd = self.crowd()
        names = crowd.example_names[:30]
        even = estimate(crowd, "majority-vote", gold_weight=dict.fromkeys(names, 3.0))
        expected = estimate(crowd, "majority-vote")
        np.testing.assert_allclose(even.overall.share, expected.overall.share)
        np.testing.assert_allclose(even.overall.gold_low, expected.overall.gold_low)
        weights = pd.Series([np.nan] * 10 + [4.0] * 20, index=names)
        found = estimate(crowd, "majority-vote", gold_weight=weights)
        assert found.overall.num_gold == 30
        assert found.overall.share.sum() == pytest.approx(1.0)

    def test_warnings(self):
        few = estimate(self.crowd(8), "majority-vote")
        assert any("8 gold labels are few" in note for note in few.notes)
        votes = [(3, 0)] * 40 + [(0, 3)] * 200
        odd = estimate(voted(votes, truth=[0] * 40), "majority-vote")
        assert any(
            "picked and not drawn" in note for note in odd.notes if isinstance(note, WarningNote)
        )
        system = ["A"] * 30 + ["B"] * 60
        found = estimate(self.crowd(), "majority-vote", by=system)
        assert any("No gold among the examples of 'B'" in note for note in found.notes)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"num_folds": 1}, "num_folds: 1 fold"),
            ({"compare": ("A", "B")}, "compare: there are no slices"),
            ({"by": ["A"]}, "by: there are 1 values for 90 examples"),
            ({"by": {"e0": "A"}}, "by: there is no value for 89 example"),
            ({"by": ["A"] * 90, "compare": ("A", "C")}, "compare: no example is of 'C'"),
            ({"by": ["A"] * 90, "compare": ("A", "A")}, "compare: 'A' is compared with itself"),
            ({"gold_weight": {"e0": 0.5}}, "gold_weight: the weight of gold example 'e0' is '0.5'"),
            ({"gold_weight": {"e0": "x"}}, "gold_weight: the weight of gold example 'e0' is 'x'"),
            ({"cluster": ["one"] * 90}, "cluster: all gold that was drawn at random is of one"),
        ],
    )
    def test_errors(self, options, message):
        with pytest.raises(InputError, match="^" + message.replace("(", r"\(")):
            estimate(self.crowd(), "majority-vote", **options)

    def test_needs_gold(self):
        with pytest.raises(InputError, match=r"there are 0 gold label\(s\)"):
            estimate(self.crowd(0), "majority-vote")


class TestActive:
    def test_probabilities_sum_and_none_is_above_one(self):
        size = np.array([0.0, 0.1, 0.2, 5.0, 0.0])
        chance = inclusion_probabilities(size, 3)
        assert chance.sum() == pytest.approx(3.0)
        assert chance.max() == 1.0
        assert (chance > 0.0).all()
        assert chance[2] > chance[1] > chance[0]
        np.testing.assert_allclose(inclusion_probabilities(np.zeros(4), 2), 0.5)
        np.testing.assert_allclose(inclusion_probabilities(size, 5), 1.0)

    def test_each_is_drawn_as_often_as_it_says(self):
        rng = np.random.default_rng(8)
        chance = inclusion_probabilities(rng.random(12), 4)
        drawn = np.array([systematic(rng, chance) for _ in range(2000)])
        np.testing.assert_array_equal(drawn.sum(axis=1), 4)
        low, high = scipy.stats.binom.interval(1 - 1e-6, 2000, chance)
        assert (low <= drawn.sum(axis=0)).all()
        assert (drawn.sum(axis=0) <= high).all()

    def test_gold_is_drawn_from_what_is_open(self):
        crowd = simulated(jax.random.key(4), 30, num_examples=90)
        found = draw_gold(0, aggregate(crowd, "majority-vote"), 20)
        assert found.num_open == 60
        assert len(found.examples) == 20
        assert not set(found.examples["task"]) & set(crowd.example_names[:30])
        product = found.examples["probability"] * found.examples["weight"]
        np.testing.assert_allclose(product, 1.0)
        with pytest.raises(InputError, match="batch: 61 of 60 examples"):
            draw_gold(0, aggregate(crowd, "majority-vote"), 61)
