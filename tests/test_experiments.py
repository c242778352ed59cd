"""The studies that simulate, in small."""

import os
from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from matplotlib import pyplot as plt

from gtx_bayes import InputError
from gtx_bayes.experiments import (
    assessment,
    demo,
    figure1,
    figure2,
    optimality,
    plan,
    policies,
    table1,
    table2,
)
from gtx_bayes.experiments.runs import map_runs
from gtx_bayes.experiments.setting import AGGREGATORS, COHORTS, map_cohorts
from gtx_bayes.experiments.study import Printed, figure, outside, ratio, z_score
from gtx_bayes.models.one_coin import OneCoin
from gtx_bayes.registry import METHODS
from gtx_bayes.simulation import simulate_queue

pytestmark = pytest.mark.end_to_end

SMALL1 = table1.Config(budget=150, thresholds=(0.9, 0.99))
SMALL2 = table2.Config(num_examples=60, budget=180)


@pytest.mark.slow
def test_demo_in_small():
    config = demo.Config(num_labelers=4, num_examples=30, labels_per_example=3, gold_per_labeler=2)
    result, again = (demo.run(jax.random.key(3), config) for _ in range(2))
    assert list(result.comparison["method"]) == [*METHODS, demo.KNOWN_ACCURACY]
    assert len(result.truth) == 32
    assert result.crowd.labels.num_labels == 2 * 4 + 30 * 3
    assert result.accuracy.shape == (4,)
    assert ((result.accuracy >= 0.6) & (result.accuracy <= 0.9)).all()
    assert int(result.reliability["gtx-bayes"].num_examples.sum()) == 30
    np.testing.assert_array_equal(result.best.class_probs, again.best.class_probs)


class TestFigures:
    def test_worked_by_hand(self):
        """Mean 2, standard deviation 1, three runs; the paper's 1 +- 0.5."""
        got = figure([1.0, 2.0, 3.0], Printed(1.0, 0.5))
        se = 1 / 3**0.5
        assert got["mean"] == 2.0
        assert got["se"] == pytest.approx(se)
        assert got["z"] == pytest.approx(1.0 / (se**2 + 0.25) ** 0.5)
        assert "paper_misprint" not in got

    @pytest.mark.parametrize(
        ("values", "printed", "is_outside"),
        [
            ([1.0, 1.1], Printed(3.0, 0.1), True),
            ([10.0, 12.0], Printed(5.0, 0.1, implied=11.0), False),  # a misprint
            ([5.0, 5.0], Printed(5.0, 0.0), False),
            ([5.0, 5.0], Printed(4.0, 0.0), True),
            ([2.0], Printed(1.0, 0.1), False),  # a single run says nothing
        ],
    )
    def test_cells_far_off_are_named(self, values, printed, is_outside):
        cell = figure(values, printed)
        found = outside([{"cohort": "c", "method": "m", "n": cell}])
        assert found == (["c, m: n"] if is_outside else [])
        if printed.implied:
            assert cell["paper_misprint"]
            assert cell["z"] > 3
            assert cell["z_implied"] == pytest.approx(0.0)
        if len(values) == 1:
            assert cell["se"] is None

    def test_without_spread(self):
        assert z_score(1.0, 0.0, 1.0, 0.0) == 0.0
        assert z_score(1.0, 0.0, 2.0, 0.0) is None
        assert z_score(1.0, None, 2.0, 0.1) is None

    def test_ratio(self):
        assert ratio([0.0, 1.0], [0.0, 0.0]) == {"mean": None, "se": None}
        got = ratio([1.0, 2.0, 4.0], [2.0, 4.0, 8.0])
        assert got["mean"] == pytest.approx(0.5)
        assert got["se"] == pytest.approx(0.0, abs=1e-12)


class TestRuns:
    @pytest.mark.parametrize("num_runs", [5, 16 * 4 * (os.cpu_count() or 1) + 7])
    def test_maps_and_stacks(self, num_runs, key):
        """Also runs that fill no whole number of calls: each in its place, progress to the end."""
        keys = jax.random.split(key, num_runs)
        steps = []
        got = map_runs(
            lambda k, x: {"draw": jax.random.uniform(k), "square": x * x},
            keys,
            jnp.arange(num_runs),
            progress=lambda done, total: steps.append((done, total)),
        )
        np.testing.assert_allclose(got["draw"], jax.vmap(jax.random.uniform)(keys), rtol=1e-6)
        np.testing.assert_array_equal(got["square"], np.arange(num_runs) ** 2)
        assert steps == sorted(steps)
        assert steps[-1] == (num_runs, num_runs)

    def test_first_runs_do_not_depend_on_how_many_follow(self, key):
        def run(key, low, high):
            return jax.random.uniform(key, minval=low, maxval=high)

        few, many = (map_cohorts(run, key, runs) for runs in (2, 4))
        one = map_cohorts(run, key, 2, cohorts=("less_accurate",))
        for cohort, (low, high) in COHORTS.items():
            np.testing.assert_array_equal(few[cohort], many[cohort][:2])
            assert ((many[cohort] >= low) & (many[cohort] <= high)).all()
        np.testing.assert_array_equal(one["less_accurate"], few["less_accurate"])


class TestTable1:
    def test_in_small_and_as_figure_1(self, key):
        study = table1.run(key, SMALL1, runs=2)
        assert len(study.rows) == 2 * (5 + 5 + 2 + 2)
        for cohort in COHORTS:
            for method in AGGREGATORS:
                rows = study.where(cohort=cohort, method=method)
                (best,) = study.where(cohort=cohort, method=method, best=True)
                assert best["error"]["mean"] == min(row["error"]["mean"] for row in rows)
        for row in study.where(strategy="fixed"):
            assert row["num_examples"]["mean"] == 150 // row["max_labels"]
        assert not any("paper" in row["error"] for row in study.rows)  # another setting
        assert {"error", "error_se", "threshold"} <= set(study.to_frame().columns)
        plt.close(table1.plot(study))
        of_figure = figure1.run(key, SMALL1, runs=2)
        assert of_figure.rows == study.where(cohort="accurate")
        assert len(of_figure.points) == 2 * 14
        plt.close(figure1.plot(of_figure))

    def test_majority_of_five_against_its_closed_form(self, key):
        """Given the accuracies, a majority of five of ten is wrong with a known probability."""
        accuracy, config = jnp.linspace(0.6, 0.9, 10), table1.Config(budget=5000)
        subsets = np.array(list(combinations(np.asarray(accuracy, np.float64), 5)))
        right = np.zeros((len(subsets), 6))
        right[:, 0] = 1.0
        for column in subsets.T:  # number right among the five
            right[:, 1:] = right[:, 1:] * (1 - column[:, None]) + right[:, :-1] * column[:, None]
            right[:, 0] *= 1 - column
        expected = right[:, :3].sum(axis=1).mean()
        queue = simulate_queue(key, OneCoin(accuracy, 2), 5000, max_labels=5)
        scores = table1.collect_all(
            AGGREGATORS["majority-vote"](accuracy), queue, "majority-vote", config
        )
        wrong = round(float(scores.error[-1]) * 1000)
        assert int(scores.num_examples[-1]) == 1000
        low, high = scipy.stats.binom.interval(1 - 1e-6, 1000, expected)
        assert low <= wrong <= high


@pytest.mark.slow
def test_figure2_ends_where_table2_does(key):
    table, study = (each.run(key, SMALL2, runs=2) for each in (table2, figure2))
    for row, curve in zip(table.rows, study.rows, strict=True):
        assert (row["cohort"], row["method"]) == (curve["cohort"], curve["method"])
        assert curve["num_labels"] == list(range(60, 181))
        for name in ("error", "mae"):
            assert curve[name]["mean"][-1] == pytest.approx(row[name]["mean"], abs=2e-6)
            assert len(curve[name]["mean"]) == 121
    assert len(study.points) == 8 * 121
    plt.close(table2.plot(table))
    plt.close(figure2.plot(study))


class TestAssessment:
    config = assessment.Config(
        gold_per_labeler=(0, 2, 400), budget=600, num_examples=200, num_labelers=5
    )

    @pytest.mark.slow
    def test_in_small(self, key):
        study = assessment.run(key, self.config, runs=2)
        assert len(study.rows) == 2 * 2 * (1 + 4 * 3)
        empty = [row for row in study.rows if row["error"]["mean"] is None]
        assert {(row["method"], row["gold_per_labeler"]) for row in empty} == {("gtx", 0)}
        for row in study.where(method=assessment.KNOWN):
            assert row["error_over_known"]["mean"] == 1.0
        plt.close(assessment.plot(study))

    def test_a_larger_assessment_contains_the_smaller(self, key):
        accuracy, right = assessment.draw_gold(key, 0.6, 0.9, self.config)
        right = np.asarray(right)
        assert right.shape == (3, 5)
        np.testing.assert_array_equal(right[0], np.zeros(5))
        assert (right[1] <= right[2]).all()
        assert (right[1] <= 2).all()
        low, high = scipy.stats.binom.interval(1 - 1e-6, 400, np.asarray(accuracy))
        assert ((low <= right[2]) & (right[2] <= high)).all()

    def test_estimates_worked_by_hand(self):
        """One of two right: 1/2 by proportion, (1 + 1) / (2 + 2) under a flat prior."""
        accuracy = np.array([0.7, 0.8, 0.9, 0.6, 0.65], np.float32)
        right = np.array([[0] * 5, [1, 2, 2, 0, 1], [280, 320, 360, 240, 260]])
        got = assessment.estimate(accuracy, right, self.config)
        settings = self.config.settings
        assert len(got) == len(settings) - 3  # those that learn
        for setting, expected in {
            (assessment.KNOWN, None): accuracy,
            ("gtx", 0): np.full(5, 0.5),
            ("gtx", 2): [0.5, 1.0, 1.0, 0.0, 0.5],
            ("beta", 2): [0.5, 0.75, 0.75, 0.25, 0.5],
        }.items():
            np.testing.assert_allclose(got[settings.index(setting)], expected)


@pytest.mark.slow
def test_optimality_in_small(key):
    config = optimality.Config(num_labelers=4, num_examples=2000, labels_per_example=2)
    study = optimality.run(key, config, runs=3)
    assert len(study.rows) == 2 * len(optimality.POLICIES)
    for row in study.rows:
        assert row["ratio"]["mean"] > 1 - 5 * row["ratio"]["se"] - 1e-3
        if row["strategy"] != "confidence-threshold":
            assert row["labels_per_example"]["mean"] == pytest.approx(2.0)
    for row in study.where(strategy="uncertainty", method="gtx"):
        assert row["ratio"]["mean"] < 1.1
    plt.close(optimality.plot(study))


@pytest.mark.slow
def test_policies_in_small(key):
    config = policies.Config(
        num_labelers=4, num_examples=200, labels_per_example=(2,), highest_costs=(4,)
    )
    study = policies.run(key, config.comparing(["uncertainty"]), runs=4)
    assert len(study.rows) == 2 * 3
    for row in study.rows:
        assert row["ratio"]["mean"] > 1 - 5 * row["ratio"]["se"]
        assert row["budget"] == 1000
    for row in study.where(strategy="knowledge-gradient"):
        # With seven labelers .83 and .87 in hundreds of runs; the spread over four is .02.
        assert row["over_uncertainty"]["mean"] < 0.95
    plt.close(policies.plot(study))
    with pytest.raises(InputError, match="confidence-threshold serves a stream"):
        config.policy("confidence-threshold")


class TestPlan:
    config = plan.Config(
        target_error=0.15,
        num_examples=1000,
        num_labelers=5,
        gold_per_labeler=(0, 5, 40),
        thresholds=(0.8, 0.95),
        num_simulated=400,
    )

    def test_in_small(self, key):
        found = plan.run(key, self.config, runs=4)
        rows = found.study.rows
        assert [row["gold_per_labeler"] for row in rows] == [0, 5, 40]
        width = [row["interval_width"] for row in rows]
        assert width == sorted(width, reverse=True)
        law = scipy.stats.beta(0.75 * 24, 0.25 * 24)  # without gold the prior's
        assert width[0] == pytest.approx(law.ppf(0.975) - law.ppf(0.025), rel=1e-5)
        assert found.best in rows
        assert found.best["error"] <= 0.15
        assert found.best["cost"] == min(r["cost"] for r in rows if r["reaches_target"])
        assert found.confirmed["se"] > 0
        points = found.study.points
        assert len(points) == 3 * 2 * 5
        expected = 5 * points["gold_per_labeler"] + 1000 * points["labels_per_example"]
        np.testing.assert_allclose(points["cost"], expected)
        assert (points["labels_per_example"] <= points["max_labels"] + 1e-6).all()
        plt.close(plan.plot(found, self.config))

    def test_an_impossible_target(self, key):
        hopeless = plan.Config(1e-6, 1000, 2, gold_per_labeler=(0, 3), thresholds=(0.9,))
        found = plan.run(key, hopeless, runs=2)
        assert len(found.study.points) == 2 * 2
        assert found.best is None
        assert found.confirmed is None
        assert found.lowest["error"] == found.study.points["error"].min()
        plt.close(plan.plot(found, hopeless))

    def test_many_labelers_give_up_to_twelve_labels_each(self):
        assert plan.Config(0.1, 10, 14).most_labels == 12

    def test_prior_of_a_range(self):
        prior = plan.prior_of_range(0.6, 0.9)
        law = scipy.stats.beta(prior.a, prior.b)
        assert law.mean() == pytest.approx(0.75)
        assert law.var() == pytest.approx(0.3**2 / 12)
        with pytest.raises(InputError, match="no range of accuracies"):
            plan.prior_of_range(0.9, 0.6)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"target_error": 0.0}, "the target error is out of range"),
            ({"num_examples": 0}, "the number of examples"),
            ({"mean": 1.0}, "the mean accuracy"),
            ({"concentration": 0.0}, "the concentration"),
            ({"cost_per_label": 0.0}, "the cost per label"),
            ({"cost_per_gold": -1.0}, "the cost per gold"),
        ],
    )
    def test_bad_input(self, options, message):
        with pytest.raises(InputError, match=message):
            plan.Config(**{"target_error": 0.1, "num_examples": 10, **options})


@pytest.mark.slow
@pytest.mark.parametrize("study", [table1, table2])
def test_every_printed_cell_is_within_three_standard_errors(study):
    """The paper's tables at its own numbers of runs, but for the misprint."""
    assert outside(study.run(jax.random.key(0)).rows) == []
