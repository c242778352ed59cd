"""When fine-tuning benefits: drawn features, noise put in directly, how rules are judged."""

import itertools
import json

import jax
import numpy as np
import pandas as pd
import pytest
import scipy.stats
from matplotlib import pyplot as plt

from gtx_bayes.experiments import efficiency, noise_surface
from gtx_bayes.experiments.efficiency import (
    accuracy_of_rules,
    compare,
    fit_slope,
    reliability,
)
from gtx_bayes.experiments.features import DrawnFeatures, FrozenFeatures
from gtx_bayes.experiments.noise_surface import LearningCurve
from gtx_bayes.experiments.study import Study
from gtx_bayes.finetune.effective_number import EXPONENT
from gtx_bayes.finetune.head import HeadConfig
from gtx_bayes.finetune.split import Split
from tests.test_cli import call

SMALL = DrawnFeatures(num_features=8, separation=4.0, num_gold=20, num_evaluation=200)
HEAD = HeadConfig(num_epochs=2)
SURFACE = noise_surface.Config((10, 60, 300), (0.0, 0.5), HEAD)


class TestFeatures:
    def test_drawn_are_what_they_say(self, key):
        """Shares exactly; the means of the classes differ by root sum of squares.

        Turned features keep lengths: the squared distance of class means is the sum over k of
        a / k^1.5. Of n images in each class its estimate adds 2 / n for each unit of variance.
        """
        source = DrawnFeatures(num_features=8, separation=4.0, share=0.25, num_gold=40)
        found = source.draw(key, 4000)
        assert int(found.pool_label.sum()) == 1000
        assert int(found.gold_label.sum()) == 10
        assert found.evaluation.shape == (4000, 8)
        parts = [np.asarray(found.pool)[np.asarray(found.pool_label) == k] for k in (0, 1)]
        rank = np.arange(1, 9)
        step = parts[1].mean(axis=0) - parts[0].mean(axis=0)
        noise = (1 / 3000 + 1 / 1000) / rank
        expected = (4.0 * rank**-1.5).sum() + noise.sum()
        spread = np.sqrt(4 * (4.0 * rank**-1.5 * noise).sum() + 2 * (noise**2).sum())
        assert abs((step**2).sum() - expected) < 5 * spread
        centred = parts[0] - parts[0].mean(axis=0)
        total = (centred**2).sum() / (len(centred) - 1)
        spread = np.sqrt(2 * (rank**-2.0).sum() / (len(centred) - 1))
        assert abs(total - (1 / rank).sum()) < 5 * spread

    def test_frozen_keep_their_parts(self, key):
        features = np.arange(20.0)[:, None]
        split = Split(np.arange(12), np.arange(12, 15), np.arange(15, 20))
        source = FrozenFeatures(features, np.arange(20) % 2, split, 2, "numbers")
        assert (source.most, source.num_classes) == (12, 2)
        found = source.draw(key, 7)
        drawn = np.asarray(found.pool)[:, 0].astype(int)
        assert len(set(drawn)) == 7
        assert set(drawn) <= set(range(12))
        np.testing.assert_array_equal(found.pool_label, drawn % 2)
        np.testing.assert_array_equal(found.gold_label, [0, 1, 0])
        np.testing.assert_array_equal(found.evaluation[:, 0], np.arange(15, 20))


class TestNoiseSurface:
    def test_finds_the_curve_behind_points(self):
        """Errors made by the formula itself are explained without rest, at their exponent."""
        curve = LearningCurve(floor=0.08, half=60.0, rate=0.7)
        grid = itertools.product(range(3), (50, 200, 800), (0.0, 0.1, 0.3))
        points = pd.DataFrame(grid, columns=["run", "num_images", "noise_rate"])
        number = points["num_images"] * (1 - 1.5 * points["noise_rate"]) ** 2.5
        points = points.assign(balanced_error=curve.error(number, 3), num_classes=3)
        found = noise_surface.fit(points)
        assert found.exponent == pytest.approx(2.5, rel=1e-4)
        assert found.curve == pytest.approx(curve, rel=1e-3)
        assert found.explained == pytest.approx(1.0, abs=1e-6)
        assert found.noise == pytest.approx(0.0, abs=1e-12)
        assert found.exponent_se == pytest.approx(0.0, abs=1e-3)
        other = noise_surface.fit(points, exponent=1.0)
        assert other.exponent == 1.0
        assert np.isnan(other.exponent_se)
        assert other.explained < 0.99

    def test_curve_by_hand(self):
        curve = LearningCurve(floor=0.1, half=50.0, rate=1.0)
        np.testing.assert_allclose(curve.error([0.0, 50.0, 150.0]), [0.5, 0.3, 0.2])
        assert curve.error(np.zeros(1), num_classes=4) == pytest.approx(0.75)

    @pytest.mark.slow
    def test_study(self, key):
        """Without labels' errors and with many images a head is better than guessing from noise."""
        found = noise_surface.run(key, SURFACE, runs=2, source=SMALL)
        assert len(found.rows) == 6
        assert len(found.points) == 12
        frame = found.to_frame().set_index(["num_images", "noise_rate"])["balanced_error"]
        assert frame[300, 0.0] < frame[300, 0.5]
        mine = found.points.query("num_images == 60 and noise_rate == 0")["balanced_error"]
        assert frame[60, 0.0] == pytest.approx(mine.mean())
        again = noise_surface.run(key, SURFACE, runs=1, source=SMALL)
        pd.testing.assert_frame_equal(again.points, found.points.query("run == 0"))
        rows = noise_surface.findings(found)["one effective number"]
        assert [row["exponent"] for row in rows][1:] == [EXPONENT, 2.0]
        plt.close(noise_surface.plot(found))


def trained(**errors):
    """Points of one setting of 100 labels, runs down, candidates by name: N, q and errors."""
    rows = [
        {
            "cohort": "U(0, 1)",
            "num_pool": 50,
            "budget": 100,
            "method": name.replace("_", "-"),
            "run": at,
            "num_images": count,
            "share_of_signal": share,
            "expected_noise_rate": (1 - share) / 2,
            "noise_rate": (1 - share) / 2,
            "balanced_error": error,
        }
        for name, (count, share, each) in errors.items()
        for at, error in enumerate(each)
    ]
    return pd.DataFrame(rows)


POINTS = trained(
    majority_vote=(20, 1.0, (0.30, 0.31, 0.32)),
    soft_vote=(40, 0.5, (0.40, 0.41, 0.42)),
    gtx=(30, 0.9, (0.20, 0.31, 0.25)),
)
STUDY = Study("efficiency", 3, [], POINTS)


class TestJudgement:
    def test_pairs_by_hand(self):
        """Effective numbers 20, 5 and 21.87 at an exponent of three."""
        pairs = compare(POINTS, 3.0).query("run == 1").set_index(["first", "second"])
        votes = pairs.loc["majority-vote", "soft-vote"]
        assert votes["rule"] == pytest.approx(np.log(4.0))
        assert votes["images"] == pytest.approx(np.log(0.5))
        assert votes["noise"] == pytest.approx(0.25)
        assert votes["gtx"] == 0
        assert votes["difference"] == pytest.approx(-0.1)
        assert pairs.loc["soft-vote", "gtx"]["gtx"] == -1

    def test_rules_by_hand(self):
        """gtx is the best by .05 or more, on average: decided against soft-vote alone by t."""
        rows = {(r["pairs"], r["decided"], r["rule"]): r for r in accuracy_of_rules(STUDY, 3.0)}
        assert rows["all", False, "rule"]["num_pairs"] == 3
        assert rows["all", False, "rule"]["right"] == 1.0
        assert rows["all", False, "images"]["right"] == pytest.approx(1 / 3)
        assert rows["gtx", False, "gtx"]["right"] == 1.0
        low, high = scipy.stats.binomtest(3, 3).proportion_ci(0.95, "wilson")
        assert rows["all", False, "rule"]["ci_low"] == pytest.approx(low)
        assert rows["all", False, "rule"]["ci_high"] == pytest.approx(high)
        # Differences from soft-vote .2, .1, .17 with standard error .03; 4.3 of them are wanted.
        assert rows["gtx", True, "rule"]["num_pairs"] == 1
        assert rows["all", True, "rule"]["num_pairs"] == 2

    def test_labellings_alike_are_no_trial(self):
        alike = trained(majority_vote=(20, 1.0, (0.3, 0.2)), gtx=(20, 1.0, (0.3, 0.2)))
        rows = accuracy_of_rules(Study("efficiency", 2, [], alike))
        assert all(row["num_pairs"] == 0 and row["right"] is None for row in rows)

    def test_a_rule_without_an_opinion_is_half_right(self):
        equal = trained(majority_vote=(20, 1.0, (0.3, 0.2)), gtx=(20, 1.0, (0.2, 0.1)))
        rows = {
            (r["pairs"], r["rule"]): r["right"]
            for r in accuracy_of_rules(Study("e", 2, [], equal))[7:]
        }
        assert rows["gtx", "rule"] == rows["gtx", "images"] == 0.5
        assert rows["gtx", "gtx"] == 1.0

    def test_nothing_known_where_nothing_is_learnt(self):
        """Neither teaches: no warning, no opinion; one that teaches is ahead without end."""
        none = trained(majority_vote=(5, 0.0, (0.5,)), gtx=(6, 0.0, (0.4,)))
        assert compare(none)["rule"].item() == 0.0
        one = trained(majority_vote=(5, 0.0, (0.5,)), gtx=(6, 0.1, (0.4,)))
        assert compare(one)["rule"].item() == -np.inf

    def test_slope_and_reliability(self):
        """Pairs drawn with slope two: found again within four standard errors, and reliable."""
        rng = np.random.default_rng(3)
        ahead = rng.normal(0.0, 1.0, 4000)
        prob = 1 / (1 + np.exp(-2 * ahead))
        better = rng.random(4000) < prob
        pairs = pd.DataFrame({"rule": ahead, "difference": np.where(better, -0.1, 0.1)})
        error = 1 / np.sqrt(np.sum(prob * (1 - prob) * ahead**2))  # Fisher's information
        slope = fit_slope(pairs)
        assert abs(slope - 2.0) < 4 * error
        rows = reliability(pairs, 2.0)
        assert sum(row["num_pairs"] for row in rows) == 4000
        for row in rows:
            spread = np.sqrt(row["stated"] * (1 - row["stated"]) / row["num_pairs"])
            assert abs(row["right"] - row["stated"]) < 4.5 * spread

    def test_reliability_by_hand(self):
        pairs = pd.DataFrame(
            {"rule": np.log([3.0, 1 / 3.0, 3.0, 1.0]), "difference": [-0.1, 0.1, 0.1, 0.1]}
        )
        rows = reliability(pairs, 1.0)
        assert [row["num_pairs"] for row in rows] == [1, 3]
        assert rows[0] == {"from": 0.5, "to": 0.6, "num_pairs": 1, "stated": 0.5, "right": 0.5}
        assert rows[1]["stated"] == pytest.approx(0.75)
        assert rows[1]["right"] == pytest.approx(2 / 3)


CONFIG = efficiency.Config(
    cohorts=((0.6, 0.9),),
    pools=(60,),
    labels_per_image=(0.5, 6.0),
    candidates=("majority-vote", "gtx", "gtx-bayes-soft"),
    num_labelers=6,
    head=HEAD,
)


@pytest.fixture(scope="module")
def study():
    return efficiency.run(jax.random.key(2), CONFIG, runs=2, source=SMALL)


@pytest.mark.slow
class TestStudy:
    def test_every_training_has_a_line(self, study):
        assert len(study.points) == 2 * 3 * 2
        votes = study.points.query("method == 'majority-vote'")
        assert set(votes["num_images"][votes["budget"] == 30]) == {6}
        assert set(votes["num_images"][votes["budget"] == 360]) == {60}

    def test_what_is_told_before_the_training_is_of_the_posterior(self, study):
        """For hard labels of two classes q = 1 - 2 eps, the posterior's."""
        points = study.points.query("method != 'gtx-bayes-soft'")
        q = 1 - 2 * points["expected_noise_rate"]
        np.testing.assert_allclose(points["share_of_signal"], q, rtol=1e-4, atol=1e-6)
        soft = study.points.query("method == 'gtx-bayes-soft'")["share_of_signal"]
        assert ((soft > 0) & (soft < 1)).all()

    def test_rows_are_means(self, study):
        row = next(r for r in study.rows if (r["method"], r["budget"]) == ("gtx", 360))
        mine = study.points.query("method == 'gtx' and budget == 360")
        assert row["balanced_error"]["mean"] == pytest.approx(mine["balanced_error"].mean())
        number = (mine["num_images"] * mine["share_of_signal"] ** EXPONENT).mean()
        assert row["effective_number"]["mean"] == pytest.approx(number)
        assert (row["threshold"], row["max_labels"]) == (0.95, 5)

    def test_runs_do_not_depend_on_how_many_follow(self, study):
        one = efficiency.run(jax.random.key(2), CONFIG, runs=1, source=SMALL)
        pd.testing.assert_frame_equal(one.points, study.points.query("run == 0"))

    def test_findings_are_plain_and_plots_are_drawn(self, study):
        assert json.dumps(efficiency.findings(study), allow_nan=False)
        plt.close(efficiency.plot(study))

    def test_a_pool_beyond_the_images_is_left_out(self, key):
        split = Split(np.arange(50), np.arange(50, 60), np.arange(60, 80))
        source = FrozenFeatures(np.ones((80, 2)), np.arange(80) % 2, split, 2, "ones")
        with pytest.raises(ValueError, match=r"no pool of \(60,\) is within 50 images"):
            efficiency.run(key, CONFIG, runs=1, source=source)
        with pytest.raises(ValueError, match="is within 50 images"):
            noise_surface.run(key, noise_surface.Config((60,)), runs=1, source=source)


@pytest.mark.end_to_end
def test_the_command_in_small(monkeypatch, tmp_path):
    """The whole command but for the size."""
    monkeypatch.setattr(noise_surface, "Config", lambda: SURFACE)
    monkeypatch.setattr(noise_surface, "DrawnFeatures", lambda: SMALL)
    run = call("reproduce", "noise_surface", "--runs", 2, "--output", tmp_path)
    assert run.exit_code == 0, run.output
    assert "exponent" in run.stdout
    record = json.loads((tmp_path / "noise_surface.json").read_text())
    assert len(record["rows"]) == 6
    assert len(record["findings"]["one effective number"]) == 3
