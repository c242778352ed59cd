"""Labelers over time: who falls, who does not, and how that is drawn and written."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import scipy.stats

from gtx_bayes import Crowd, aggregate, update, write_state
from gtx_bayes.aggregation.joint_method import GtxBayes
from gtx_bayes.aggregation.majority_vote import MajorityVote
from gtx_bayes.aggregation.over_time import LEVEL, Known, OverTime, by_period, find_falls
from gtx_bayes.aggregation.time_covariate import time_covariate
from gtx_bayes.diagnostics.plots import plot_over_time
from gtx_bayes.errors import InputError
from gtx_bayes.labels import Assessment, Labels
from tests.crowds import over_time
from tests.test_cli import call

NUM_LABELERS = 6


def answers(
    seed=0, num_examples=600, fall=0.0, num_classes=2, each=4, accuracy=0.85, everybody=0.0
):
    """Answers in the order of time; after half of the examples labeler 0 is worse by `fall`."""
    right = np.full((num_examples, NUM_LABELERS), accuracy)
    right[num_examples // 2 :, 0] -= fall
    right[num_examples // 2 :] -= everybody
    return over_time(np.random.default_rng(seed), right, each=each, num_classes=num_classes)


def arrays(table, num_classes=2):
    labels = Labels.from_arrays(
        table["task"].to_numpy(),
        table["worker"].to_numpy(),
        table["label"].to_numpy(),
        num_classes=num_classes,
    )
    wrong = 0.15 / (num_classes - 1)
    one = np.where(np.eye(num_classes, dtype=bool), 0.85, wrong)
    known = Known(np.tile(one, (NUM_LABELERS, 1, 1)), np.full(num_classes, 1 / num_classes), 0.0)
    return labels, Assessment.none(labels.num_examples, num_classes), known


class TestAlarm:
    @pytest.mark.parametrize("num_classes", [2, 4])
    def test_stationary_crowds_are_left_alone(self, num_classes):
        """Of 100 no more have an alarm than one in twenty would, at odds of a million to one."""
        alarms = 0
        for seed in range(100):
            table, _ = answers(seed, num_examples=300, num_classes=num_classes)
            labels, gold, known = arrays(table, num_classes)
            alarms += bool(find_falls(labels, gold, table["when"], known))
        assert alarms <= scipy.stats.binom.ppf(1 - 1e-6, 100, LEVEL)

    def test_who_falls_is_named_and_nobody_else(self):
        table, _ = answers(1, fall=0.35)
        labels, gold, known = arrays(table)
        (fall,) = find_falls(labels, gold, table["when"], known)
        assert fall.labeler == 0
        assert 240 < fall.when < 360
        assert fall.before > 0.75 > 0.65 > fall.after

    def test_two_who_fall_are_named_and_do_not_speak_against_others(self):
        right = np.full((600, NUM_LABELERS), 0.85)
        right[300:, :2] -= 0.35
        table, _ = over_time(np.random.default_rng(4), right, each=4)
        labels, gold, known = arrays(table)
        falls = find_falls(labels, gold, table["when"], known)
        assert {fall.labeler for fall in falls} == {0, 1}
        assert all(fall.before > 0.75 > 0.65 > fall.after for fall in falls)

    def test_whoever_improves_is_not_named(self):
        table, _ = answers(1, fall=0.35)
        labels, gold, known = arrays(table)
        assert not find_falls(labels, gold, -table["when"].to_numpy(), known)

    def test_gold_counts_for_what_it_is(self):
        """One labeler alone on gold: nobody else says anything of its answers."""
        rng = np.random.default_rng(0)
        right = rng.random(400) < np.where(np.arange(400) < 200, 0.9, 0.6)
        labels = Labels.from_arrays(
            np.arange(400), np.zeros(400, int), np.where(right, 1, 0), num_classes=2
        )
        gold = Assessment.from_arrays(
            np.arange(400), np.ones(400, int), num_examples=400, num_classes=2
        )
        known = Known(np.array([[[0.75, 0.25], [0.25, 0.75]]]), np.array([0.5, 0.5]), 0.0)
        (fall,) = find_falls(labels, gold, np.arange(400), known)
        assert fall.before == pytest.approx(right[: int(fall.when)].mean(), abs=0.02)
        assert fall.after == pytest.approx(right[int(fall.when) :].mean(), abs=0.02)
        periods = by_period(labels, gold, np.arange(400), known, num_periods=2)
        shares = np.array([right[:200].mean(), right[200:].mean()])
        np.testing.assert_allclose(periods["accuracy"], (200 * shares + 1) / 202, atol=0.003)
        law = scipy.stats.beta(200 * shares + 1, 200 * (1 - shares) + 1)
        np.testing.assert_allclose(periods["ci_low"], law.ppf(0.025), atol=0.006)
        np.testing.assert_allclose(periods["ci_high"], law.ppf(0.975), atol=0.006)

    def test_harder_examples_accuse_nobody(self):
        """Half of them harder for all labelers by .2; as for stationary crowds."""
        alarms = 0
        for seed in range(60):
            table, _ = answers(seed, num_examples=300, each=6, everybody=0.2)
            labels, gold, known = arrays(table)
            alarms += bool(find_falls(labels, gold, table["when"], known))
        assert alarms <= scipy.stats.binom.ppf(1 - 1e-6, 60, LEVEL)

    def test_nobody_changes_within_a_time(self):
        table, _ = answers(1, fall=0.35)
        labels, gold, known = arrays(table)
        assert find_falls(labels, gold, np.full(len(table), 5.0), known) == []
        (fall,) = find_falls(labels, gold, table["when"] // 200, known)
        assert (fall.labeler, fall.when) in {(0, 1.0), (0, 2.0)}

    def test_few_answers_are_not_looked_at(self):
        table, _ = answers(1, num_examples=40, fall=0.35)
        labels, gold, known = arrays(table)
        assert find_falls(labels, gold, table["when"], known) == []


class TestTimeCovariate:
    @pytest.mark.parametrize(
        ("columns", "method", "expected"),
        [
            (["when"], GtxBayes(), "when"),
            (["given"], GtxBayes(), "given"),
            (["given", "read"], GtxBayes(), None),  # which of two times, nobody says
            (["when", "given", "read"], GtxBayes(), "when"),
            (["length"], GtxBayes(), None),
            (["when"], GtxBayes(model="one-coin"), None),
            (["when"], GtxBayes(drifts=True), None),
            (["when"], MajorityVote(), None),
        ],
    )
    def test_which_column_it_is(self, columns, method, expected):
        table, _ = answers(num_examples=20)
        day = pd.Timestamp("2026-01-01") + pd.to_timedelta(table["when"], unit="D")
        table = table.assign(given=day, read=day, length=table["when"] % 7)
        crowd = Crowd.from_frames(table, covariates=columns)
        assert time_covariate(crowd, method) == expected


@pytest.fixture(scope="module")
def result():
    """Of a small crowd in which nobody falls."""
    table, _ = answers(5, num_examples=60)
    return aggregate(Crowd.from_frames(table, covariates=["when"]))


@pytest.mark.slow
class TestResult:
    def test_further_answers_repeat_what_the_first_fit_said(self, result):
        more = pd.DataFrame({"task": ["new", "new"], "worker": [0, 1], "label": [1, 1]})
        grown = update(result, more).result
        assert grown.over_time is result.over_time
        assert any("as of the first fit" in note for note in grown.notes)

    def test_is_not_kept(self, result, tmp_path):
        with pytest.raises(InputError, match="who gets worse over time is not kept"):
            write_state(result, tmp_path / "state.npz")
        assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
class TestPool:
    def test_it_is_not_asked_where_labelers_count_as_one(self):
        table, _ = answers(2, num_examples=60)
        table["family"] = np.where(table["worker"] < 2, "twins", "")
        result = aggregate(Crowd.from_frames(table, covariates=["when"], groups="family"))
        assert result.over_time is None
        assert any("nobody asks whether one gets worse" in note for note in result.notes)

    def test_the_drift_model_joins_where_answers_ask_for_it(self):
        table, _ = answers(2, fall=0.35)
        result = aggregate(Crowd.from_frames(table, covariates=["when"]))
        assert list(result.over_time.falls["worker"]) == [0]
        assert "drift" in set(result.fit.joint.table()["model"])
        assert any("0 from 0." in note and "get worse" in note for note in result.notes)

    def test_and_nowhere_else(self):
        table, _ = answers(2)
        timed = aggregate(Crowd.from_frames(table, covariates=["when"]))
        plain = aggregate(Crowd.from_frames(table.drop(columns="when")))
        assert not len(timed.over_time.falls)
        np.testing.assert_array_equal(timed.class_probs, plain.class_probs)
        assert timed.notes == plain.notes
        assert plain.over_time is None


@pytest.mark.end_to_end
def test_from_the_command_line(tmp_path):
    """Times as dates; a table, a plot and a list in the summary."""
    table, _ = answers(3, num_examples=60)
    days = pd.Timestamp("2026-01-01") + pd.to_timedelta(table["when"], unit="D")
    table.assign(when=days.dt.strftime("%Y-%m-%d")).to_csv(tmp_path / "labels.csv", index=False)
    command = ("aggregate", tmp_path / "labels.csv", "--covariate", "when")
    run = call(*command, "--output", tmp_path / "kept", "--state", tmp_path / "state.npz")
    assert run.exit_code == 2
    assert "--covariate: a state takes further answers without asking who gets worse" in run.output
    run = call(*command, "--plots", "--json", "--output", tmp_path / "out")
    assert run.exit_code == 0, run.output
    assert json.loads(run.stdout)["falls"] == []
    periods = pd.read_csv(tmp_path / "out" / "over_time.csv")
    assert set(periods["worker"]) == set(range(NUM_LABELERS))
    assert periods["num_labels"].sum() == len(table)
    assert periods["end"].max() == 59  # days since the first
    assert (tmp_path / "out" / "over_time.png").stat().st_size > 10_000


def test_who_falls_is_drawn_first():
    table, _ = answers(1, fall=0.35)
    labels, gold, known = arrays(table)
    falls = pd.DataFrame(
        [fall._asdict() for fall in find_falls(labels, gold, table["when"], known)]
    )
    periods = by_period(labels, gold, table["when"], known)
    found = OverTime(*(each.rename(columns={"labeler": "worker"}) for each in (falls, periods)))
    ax = plot_over_time(found, chance=0.5)
    assert ax.get_title() == "0"
    assert len(ax.figure.axes) >= NUM_LABELERS
    plt.close(ax.figure)
