"""A panel, member by member: how each answers, whom it can spare, and against its best labeler."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from gtx_bayes.aggregation.aggregate import aggregate
from gtx_bayes.crowd import Crowd
from gtx_bayes.diagnostics.calibration import HeldOut
from gtx_bayes.diagnostics.report import members
from gtx_bayes.diagnostics.report.judges import Judges
from gtx_bayes.diagnostics.report.members import Answering, describe_members
from gtx_bayes.diagnostics.report.sparing import compare_with_best, find_spared
from gtx_bayes.diagnostics.report.wording import quoted
from gtx_bayes.labels import Labels
from tests.crowds import crowd_of
from tests.test_blocs import FAMILY, panel


@pytest.fixture(scope="module")
def with_copies():
    """Four copies of a judge, who are known for it, and three people; one model, for speed."""
    labels, gold, _ = panel()
    crowd = Crowd.from_frames(labels, gold, groups="family")
    return aggregate(crowd, model="one-coin", class_prior=[0.5, 0.5])


def labels_of(dense, num_classes):
    return Labels.from_dense(np.asarray(dense), num_classes=num_classes)


class TestShares:
    def test_known_classes_by_hand(self):
        """Three of class 0 and one of class 1: Beta distributions with Jeffreys' prior."""
        found = Answering.of(labels_of([[0, 0, 1, 1]], 2), np.eye(2)[[0, 0, 0, 1]])
        assert found.right[0] == 3.0
        np.testing.assert_allclose(found.accuracy.mean[0], 3.5 / 5.0)
        expected = scipy.stats.beta.ppf([0.025, 0.975], 3.5, 1.5)
        np.testing.assert_allclose(
            [found.accuracy.low[0], found.accuracy.high[0]], expected, rtol=1e-5
        )
        np.testing.assert_allclose(found.confusion.mean[0], [[2.5 / 4, 1.5 / 4], [0.25, 0.75]])
        np.testing.assert_allclose(found.bias.mean[0], [-0.25, 0.25])

    def test_unknown_classes_widen(self):
        """Moments of draws of the classes, and of the shares given those."""
        rng = np.random.default_rng(0)
        size, num_draws = 60, 4000
        probs = rng.dirichlet([0.6, 0.6, 0.6], size)
        label = np.array([rng.choice(3, p=each) for each in probs])
        found = Answering.of(labels_of([label], 3), probs).accuracy
        truth = (rng.random((num_draws, size, 1)) > probs.cumsum(axis=1)).sum(axis=2)
        right = (truth == label).sum(axis=1)
        drawn = rng.beta(right + 0.5, size - right + 0.5)
        np.testing.assert_allclose(found.mean[0], drawn.mean(), atol=4 * drawn.std() / 60)
        np.testing.assert_allclose(
            [found.low[0], found.high[0]], np.quantile(drawn, [0.025, 0.975]), atol=0.015
        )

    def test_what_all_examples_have_in_common_widens(self):
        """Two ways to read all classes, as likely: draws of the way, the classes and the shares."""
        rng = np.random.default_rng(1)
        size, num_draws = 400, 20_000
        label = np.zeros(size, int)
        sure = 0.5 + 0.5 * rng.random(size)
        ways = [np.stack([p, 1.0 - p], axis=1) for p in (sure, 0.6 * sure + 0.4)]
        labels, readings = labels_of([label], 2), [(0.5, way) for way in ways]
        found = Answering.of(labels, (ways[0] + ways[1]) / 2.0, readings).accuracy
        which = rng.integers(2, size=num_draws)
        spread = np.array([np.sqrt((way[:, 0] * way[:, 1]).sum()) for way in ways])
        mean = np.array([way[:, 0].sum() for way in ways])
        right = rng.normal(mean[which], spread[which])
        drawn = rng.beta(right + 0.5, size - right + 0.5)
        half = (found.high[0] - found.low[0]) / 2.0
        assert half == pytest.approx(scipy.stats.norm.ppf(0.975) * drawn.std(), rel=0.05)
        alone = Answering.of(labels, (ways[0] + ways[1]) / 2.0).accuracy
        assert half > 1.2 * (alone.high[0] - alone.low[0]) / 2.0

    def test_readings_of_a_fit_have_its_class_probabilities_as_their_mean(self, with_copies):
        crowd = with_copies.crowd
        readings = list(with_copies.fit.joint.probs_by_rho(crowd.labels, crowd.assessment))
        assert sum(weight for weight, _ in readings) == pytest.approx(1.0, abs=1e-5)
        mean = sum(weight * probs for weight, probs in readings)
        np.testing.assert_allclose(mean, with_copies.class_probs, atol=0.02)

    def test_nothing_known_is_the_prior(self):
        """Of a class that nobody saw, and of a labeler without labels."""
        found = Answering.of(labels_of([[0, 0], [-1, -1]], 2), np.eye(2)[[0, 0]])
        prior = scipy.stats.beta.ppf([0.025, 0.975], 0.5, 0.5)
        for at in ((0, 1, 0), (1, 0, 0)):
            ends = [found.confusion.low[at], found.confusion.high[at]]
            np.testing.assert_allclose(ends, prior, atol=1e-4)


class TestMembers:
    def test_members_of_a_bloc_are_told_apart(self, with_copies):
        result = with_copies
        found = describe_members(result)
        table = found.table.set_index("worker")
        assert list(table.index) == [*FAMILY, *(f"person{j}" for j in range(3))]
        assert list(table["bloc"]) == ["machine"] * 4 + [""] * 3
        assert set(table["source"]) == {"model"}
        right = [0.725] * 4 + [0.85] * 3
        # Seven intervals of 95 %; that more than two miss has a probability of .004.
        assert ((table["ci_low"] <= right) & (right <= table["ci_high"])).sum() >= 5
        assert len(found.recall()) == 14
        sums = found.confusion.groupby(["worker", "true_label"])["probability"].sum()
        np.testing.assert_allclose(sums, 1.0)

    def test_gold_that_contradicts_the_fit_is_counted_alone(self):
        """Three who are always wrong outvote one who is right; gold knows better."""
        truth = np.arange(60) % 2
        crowd = crowd_of(np.stack([truth, 1 - truth, 1 - truth, 1 - truth]), truth[:20])
        found = describe_members(aggregate(crowd, "majority-vote")).table
        assert set(found["source"]) == {"gold"}
        np.testing.assert_allclose(found["accuracy"], np.array([20.5, 0.5, 0.5, 0.5]) / 21.0)

    def test_who_leans_is_named(self):
        rng = np.random.default_rng(0)
        truth = rng.integers(0, 2, 200)
        yes = np.where(rng.random(200) < 0.4, 1, truth)
        crowd = crowd_of(np.stack([truth, yes]), truth)
        found = describe_members(aggregate(crowd, "majority-vote")).table
        assert list(found["leans_to"]) == ["", "c1"]
        np.testing.assert_allclose(found["bias"][1], np.mean(yes == 1) - np.mean(truth == 1))

    def test_a_crowd_is_no_panel(self, with_copies, monkeypatch):
        monkeypatch.setattr(members, "MOST_MEMBERS", 6)
        assert describe_members(with_copies) is None


class TestSentences:
    def test_many_classes_and_prices(self):
        """The class found least, what it is taken for, and the price of a right label."""
        truth = np.repeat(np.arange(3), 20)
        confused = np.where(truth == 2, 0, truth)
        confused[-2:] = 2
        crowd = crowd_of(np.stack([truth, confused]), truth, num_classes=3)
        found = describe_members(aggregate(crowd, "majority-vote"))
        cost = np.array([6.0, 3.0])
        judges = Judges(
            found, np.full(2, np.nan), "gold speaks against the fit", None, None, cost, 40.0, ""
        )
        words = judges.table()["words"][1]
        assert f"finds {quoted('c2')} least, in 12 %" in words  # 2.5 of 21.5
        assert f"takes it most for {quoted('c0')}" in words
        assert f"gives {quoted('c0')} 30.0 points too often" in words
        assert f"costs {3.0 / (60 * 42.5 / 61):.3g} for each right label" in words
        assert "gold speaks against the fit" in judges.words[0]
        assert "All labels cost 9, 0.225 for each right label of the panel" in judges.words[1]

    def test_classes_called_like_limits(self):
        labels = pd.DataFrame([(t, w, "a_low" if t else "a") for t in (0, 1) for w in "xy"])
        labels.columns = ["task", "worker", "label"]
        found = describe_members(aggregate(labels, "majority-vote"))
        judges = Judges(found, np.full(2, np.nan), "", None, None, None, 2.0, "")
        table, recall = judges.table(), found.recall()
        for name, low in (("a", "recall_a_low_"), ("a_low", "recall_a_low_low")):
            own = recall[recall["true_label"] == name]
            assert list(table[f"recall_{name}"]) == list(own["probability"])
            assert list(table[low]) == list(own["ci_low"])


class TestSparing:
    def test_copies_first(self, with_copies):
        """All but one of them, or all; people are missed more than copies."""
        result = with_copies
        found = find_spared(result)
        assert set(FAMILY) >= set(found.who)
        assert len(found.who) >= 3
        assert found.loss[:4].max() < found.loss[4:].min()
        assert 0.0 <= found.total <= 0.01
        np.testing.assert_allclose(found.saved, len(found.who) / 7)
        assert "can spare" in found.words
        free = find_spared(result, np.array([0.0] * 4 + [1.0] * 3))
        assert free.saved == 0.0

    def test_votes_do_not_say(self):
        crowd = crowd_of(np.zeros((3, 9), int), [0])
        assert find_spared(aggregate(crowd, "majority-vote")) is None


class TestAgainstBest:
    def test_by_hand(self):
        """The best elsewhere is compared where he is not known: here the panel is better."""
        truth = np.zeros(40, int)
        one, other = truth.copy(), truth.copy()
        one[:8] = 1  # wrong on 8 of 40
        other[20:] = 1
        result = aggregate(crowd_of(np.stack([one, other]), truth), "majority-vote")
        probs = np.stack([np.ones(40), np.zeros(40)], axis=1)
        probs[:2] = [0.0, 1.0]
        part = np.arange(40) % 4
        held_out = HeldOut(probs, truth, np.arange(40), part)
        found = compare_with_best(result, held_out)
        assert (found.worker, found.number) == ("w0", 40)
        assert (found.panel_right, found.best_right) == (38, 32)
        # Agresti and Min: 6 pairs for the panel, none against, of 42 with half a pair each.
        middle = 6 / 42
        reach = scipy.stats.norm.ppf(0.975) * np.sqrt((7 / 42 - middle**2) / 42)
        np.testing.assert_allclose([found.low, found.high], [middle - reach, middle + reach])
        assert "panel is better" in found.words
        few = HeldOut(probs[:19], truth[:19], np.arange(19), part[:19])
        assert compare_with_best(result, few) is None
