"""Many classes and few answers: what is computed, left out or refused."""

import json

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from gtx_bayes.aggregation.aggregate import aggregate
from gtx_bayes.cli.commands import app
from gtx_bayes.crowd import Crowd
from gtx_bayes.diagnostics.predictive import variance_of_agreement
from gtx_bayes.diagnostics.report.buying import plan_buying, value_of_answer, value_of_coin
from gtx_bayes.diagnostics.report.labelers import describe_labelers
from gtx_bayes.errors import InputError
from gtx_bayes.labels import Labels
from gtx_bayes.models.one_coin import OneCoin

pytestmark = pytest.mark.end_to_end


def table(num_examples, num_classes, num_labelers, answers_per_example):
    """Every class in turn; of the answers to an example the first is right, the last wrong."""
    place = np.arange(num_examples * answers_per_example)
    example, turn = place // answers_per_example, place % answers_per_example
    is_wrong = (turn == answers_per_example - 1) & (example % 3 == 0)
    return pd.DataFrame(
        {
            "task": example,
            "worker": (example + turn) % num_labelers,
            "label": [f"c{k}" for k in (example + is_wrong) % num_classes],
        }
    )


def crowd(*sizes):
    return Crowd.from_frames(table(*sizes))


MANY_CLASSES = (300, 300, 10, 3)
"""A table of 300 x 300 for ten labelers, and 900 answers."""


class TestAuto:
    def test_leaves_confusion_out_and_says_so(self):
        result = aggregate(crowd(*MANY_CLASSES), dependence=0.0)
        assert result.fit.model == "one-coin"
        (note,) = (note for note in result.notes if note.startswith("Pool of models"))
        assert "confusion is left out" in note
        assert "10 tables of 300 x 300" in note

    @pytest.mark.slow
    def test_keeps_confusion_where_answers_fill_its_tables(self):
        result = aggregate(crowd(60, 3, 10, 3), dependence=0.0)
        assert not any("left out" in note for note in result.notes)

    def test_streamed(self, tmp_path):
        table(*MANY_CLASSES).to_parquet(tmp_path / "answers.parquet")
        arguments = ["aggregate", str(tmp_path / "answers.parquet"), "-o", str(tmp_path / "out")]
        run = CliRunner().invoke(app, [*arguments, "--stream", "--dependence", "0"])
        assert run.exit_code == 0, run.output
        summary = json.loads((tmp_path / "out" / "summary.json").read_text())
        assert summary["model"] == "one-coin"
        assert any("confusion is left out" in note for note in summary["notes"])


class TestByName:
    @pytest.mark.parametrize("model", ["confusion", "class-conditional"])
    def test_refused_with_the_size(self, model):
        """1,000 labelers and classes: tables of 4 GB."""
        with pytest.raises(InputError, match=r"1,000,000,000 numbers, 4\.0 GB") as error:
            aggregate(crowd(1000, 1000, 1000, 3), model=model)
        assert "one-coin" in error.value.hint

    def test_command_line(self, tmp_path):
        table(1500, 1500, 50, 2).to_csv(tmp_path / "answers.csv", index=False)
        arguments = ["aggregate", str(tmp_path / "answers.csv"), "-o", str(tmp_path / "out")]
        run = CliRunner().invoke(app, [*arguments, "--model", "confusion"])
        assert run.exit_code == 2
        assert "112,500,000 numbers" in " ".join(run.output.split())
        assert not (tmp_path / "out").exists()

    @pytest.mark.slow
    def test_small_tables_are_fitted_however_few_the_answers(self):
        result = aggregate(crowd(30, 30, 4, 2), model="confusion", dependence=0.0)
        assert result.fit.model == "confusion"


def free_text():
    """5,000 answers to 2,500 examples, no two alike."""
    answers = table(2500, 2, 10, 2)
    return answers.assign(label=[f"text {number}" for number in range(5000)])


class TestClassProbs:
    @pytest.mark.parametrize("method", ["majority-vote", "gtx-bayes"])
    def test_more_classes_than_answers_bear(self, method):
        with pytest.raises(InputError, match="5,000 answers name 5,000 classes") as error:
            aggregate(Crowd.from_frames(free_text()), method)
        assert "labels are classes" in error.value.hint

    def test_streamed(self, tmp_path):
        free_text().to_parquet(tmp_path / "answers.parquet")
        arguments = ["aggregate", str(tmp_path / "answers.parquet"), "-o", str(tmp_path / "out")]
        run = CliRunner().invoke(app, [*arguments, "--stream", "--method", "majority-vote"])
        assert run.exit_code == 2
        assert "5,000 classes" in " ".join(run.output.split())


class TestValueOfCoin:
    @pytest.mark.parametrize("probs", [[0.5, 0.5], [0.7, 0.3], [0.2, 0.5, 0.3], [0.25] * 4])
    @pytest.mark.parametrize("worth", [1.0, 0.4])
    def test_as_by_tables(self, probs, worth, rtol):
        coin = OneCoin(jnp.array([0.1, 0.4, 0.75, 1.0]), num_classes=len(probs))
        expected = value_of_answer(jnp.array(probs), coin.confusion_matrix, worth)
        found = value_of_coin(jnp.array(probs), coin.accuracy, worth)
        np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol)


def test_agreement_is_the_same_sorted_or_tabulated():
    """Classes that nobody names change nothing."""
    answers = np.random.default_rng(7).integers(0, 3, 60)
    few, many = (
        Labels.from_arrays(np.arange(60) // 4, np.arange(60) % 4, answers, num_classes=num_classes)
        for num_classes in (3, 500)
    )
    found = [variance_of_agreement(labels, np.asarray(answers)) for labels in (few, many)]
    assert found[0] == pytest.approx(found[1], rel=1e-12)
    assert found[0] > 0.0


def test_labelers_and_purchases_of_many_classes(key):
    """Nothing on the page needs a table of K x K for every labeler."""
    result = aggregate(crowd(*MANY_CLASSES), model="one-coin", dependence=0.0)
    found = describe_labelers(key, result, result.labelers(), None)
    assert all(
        0.0 <= row.informed_low <= row.informed_high <= 1.0 for row in found.best.itertuples()
    )
    assert plan_buying(key, result).batch["gain"].notna().all()
