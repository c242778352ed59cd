"""Classes in an order: seen in the answers, in the pool of models, and in what is scored."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from gtx_bayes import (
    Crowd,
    InputError,
    aggregate,
    evaluate,
    metrics,
    read_state,
    update,
    write_state,
)
from gtx_bayes.inference import automatic, pool, weighing
from gtx_bayes.inference.order import keeps_order
from gtx_bayes.labels import MISSING, Earlier, Labels
from gtx_bayes.registry import MODELS
from tests.test_cli import call

GRADES = ["poor", "fair", "good", "fine"]


def graded(num_examples=150, num_labelers=6, each=4, seed=0, num_classes=4):
    """Labelers see a grade through noise of their own, and round it."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, num_classes, num_examples)
    who = np.argsort(rng.random((num_examples, num_labelers)), axis=1)[:, :each]
    seen = truth[:, None] + rng.normal(0.0, rng.uniform(0.4, 0.9, num_labelers)[who])
    labels = pd.DataFrame(
        {
            "task": np.repeat(np.arange(num_examples), each),
            "worker": [f"w{j}" for j in who.ravel()],
            "label": np.clip(np.rint(seen), 0, num_classes - 1).astype(int).ravel(),
        }
    )
    return labels, truth


@pytest.fixture(scope="module")
def crowd():
    labels, _ = graded()
    return Crowd.from_frames(labels)


@pytest.fixture(scope="module")
def result(crowd):
    return aggregate(crowd)


def shuffled(crowd, order):
    """The same answers, classes numbered otherwise."""
    labels = crowd.labels
    return Labels.from_arrays(
        np.asarray(labels.example),
        np.asarray(labels.labeler),
        np.asarray(order)[np.asarray(labels.label)],
        num_classes=len(order),
    )


class TestOrder:
    def test_grades_keep_it(self, crowd):
        assert keeps_order(crowd.labels)
        assert keeps_order(shuffled(crowd, [3, 2, 1, 0]))  # backwards is an order as well

    @pytest.mark.parametrize("order", [[0, 2, 1, 3], [2, 0, 3, 1]])
    def test_numbers_that_stand_for_names_do_not(self, crowd, order):
        assert not keeps_order(shuffled(crowd, order))

    def test_errors_that_fall_anywhere(self):
        """Ten crowds whose wrong answers are any class alike: none passes by more than chance."""
        rng = np.random.default_rng(0)
        found = 0
        for _ in range(10):
            truth = np.repeat(rng.integers(0, 4, 200), 3)
            label = np.where(rng.random(600) < 0.7, truth, rng.integers(0, 4, 600))
            labels = Labels.from_arrays(
                np.repeat(np.arange(200), 3), np.tile(np.arange(3), 200), label, num_classes=4
            )
            found += keeps_order(labels)
        assert found == 0

    def test_too_little_to_tell(self):
        labels = Labels.from_arrays([0, 0, 1], [0, 1, 0], [0, 1, 2], num_classes=3)
        assert not keeps_order(labels)


class TestPool:
    @pytest.mark.slow
    def test_the_ordinal_model_leads(self, crowd, result):
        assert result.fit.model == "ordinal"
        assert any("one spread and bias" in note for note in result.notes)
        table = result.fit.joint.table()
        assert {"one-coin", "confusion"} & set(table["model"]) or table["weight"].iloc[0] > 0.99
        examples = result.examples()
        assert (examples["confidence_low"] <= examples["confidence"] + 1e-6).all()

    @pytest.mark.slow
    def test_better_than_without_order(self, crowd, result):
        _, truth = graded()
        named = pd.DataFrame({"task": np.arange(truth.size), "label": truth})
        plain = aggregate(
            Crowd.from_frames(graded()[0], ordered=False)  # classes are names
        )
        assert "ordinal" not in set(plain.fit.joint.table()["model"])
        with_order, without = (evaluate(each.examples(), named) for each in (result, plain))
        assert float(with_order["log_loss"].value) < float(without["log_loss"].value)
        assert float(with_order["rps"].value) < float(without["rps"].value)

    @pytest.mark.slow
    def test_names_in_an_order_given(self, crowd):
        labels = graded()[0].assign(label=lambda table: np.array(GRADES)[table["label"]])
        by_name = Crowd.from_frames(labels, classes=GRADES, ordered=True)
        assert by_name.has_ordered_classes
        assert not Crowd.from_frames(labels).has_ordered_classes
        assert not Crowd.from_frames(graded()[0], ordered=False).has_ordered_classes
        found = aggregate(by_name)
        assert found.fit.model == "ordinal"
        with pytest.raises(InputError, match="their order is not said"):
            Crowd.from_frames(labels, ordered=True)

    @pytest.mark.slow
    def test_kept_and_grown(self, crowd, result, tmp_path):
        """A state keeps the order; new answers are learnt by fitting all models anew."""
        write_state(result, tmp_path / "state.gtx")
        kept = read_state(tmp_path / "state.gtx")
        np.testing.assert_allclose(kept.class_probs, result.class_probs, atol=1e-6)
        more = pd.DataFrame({"task": [0], "worker": ["new"], "label": [1]})
        grown = update(kept, more)
        again = aggregate(Crowd.from_frames(pd.concat([graded()[0], more])))
        np.testing.assert_allclose(grown.result.class_probs, again.class_probs, atol=1e-3)


class TestWithoutTheExample:
    """What the others say of an example's answers, which models are weighed by."""

    @staticmethod
    def fit(crowd, but=None):
        """The ordinal model, one example's answers taken away."""
        label = np.asarray(crowd.labels.label)
        left = np.where(np.asarray(crowd.labels.example) == but, np.int8(MISSING), label)
        labels = dataclasses.replace(crowd.labels, label=jnp.asarray(left, label.dtype))
        return automatic.fit(MODELS.build("ordinal"), labels, crowd.assessment)

    @staticmethod
    def scores(fit):
        return np.logaddexp.reduce(np.asarray(fit.evidence, np.float64), axis=1)

    @pytest.mark.slow
    def test_as_if_fitted_anew(self, crowd):
        """By the ratio of the probability of all answers with it and without."""
        whole = self.fit(crowd)
        scores, total = self.scores(whole), whole.prior.posterior.log_evidence()
        for but in range(0, 150, 30):
            rest = self.fit(crowd, but)
            assert scores[but] == pytest.approx(
                total - rest.prior.posterior.log_evidence(), abs=0.4
            )
            others = np.arange(150) != but  # one example more changes little of the others' score
            assert scores[others].sum() == pytest.approx(self.scores(rest)[others].sum(), abs=3.0)

    def test_nodes_have_no_bearing(self, crowd):
        """It is worked out, not drawn."""
        fit = self.fit(crowd)
        posterior, scale = fit.prior.posterior, fit.prior.scale
        given = automatic.Crowd(
            crowd.labels, crowd.assessment, fit.class_prior, fit.prior.reference
        )
        half = np.random.default_rng(1).standard_normal((16, posterior.location.size))
        nodes = jnp.asarray(np.concatenate([half, -half]), posterior.location.dtype)
        again = automatic._as_fit(scale, given, posterior, nodes)
        np.testing.assert_allclose(self.scores(again), self.scores(fit), atol=1e-4)


class TestCountsOfClasses:
    """How many other tasks were of each class."""

    COUNTS = jnp.array([9000.0, 500.0, 400.0, 100.0])

    def known(self, crowd):
        return dataclasses.replace(crowd.assessment, earlier=Earlier(None, self.COUNTS))

    @pytest.mark.slow
    def test_proportions_are_learnt_from_them_too(self, crowd):
        found = automatic.fit(MODELS.build("ordinal"), crowd.labels, self.known(crowd))
        total = np.asarray(self.COUNTS)
        low, high = total / 10150.0, (total + 151.0) / 10150.0
        assert ((found.proportions > low - 0.002) & (found.proportions < high + 0.002)).all()

    def test_leave_independence_alone(self, crowd):
        """One accuracy for every labeler is as probable as a spread for every one."""
        for assessment in (crowd.assessment, self.known(crowd)):
            candidates = pool._candidates(("one-coin", "ordinal"), None, crowd.labels, assessment)
            paper = weighing.may_be_true(candidates)
            shares = weighing._prior_if_independent(candidates, paper)
            is_ordinal = np.array([candidates[at].model == "ordinal" for at in paper])
            np.testing.assert_allclose(shares[is_ordinal].sum(), 0.5)


class TestScores:
    PROBS = jnp.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.4, 0.4, 0.2]])
    TRUTH = jnp.array([0, 0, 2])

    def test_by_hand(self):
        found = metrics.ranked_probability_score(self.PROBS, self.TRUTH)
        by_example = [(0.3**2 + 0.1**2) / 2, (0.9**2 + 0.6**2) / 2, (0.4**2 + 0.8**2) / 2]
        assert float(found.value) == pytest.approx(np.mean(by_example))
        found = metrics.mean_absolute_grade_error(self.PROBS, self.TRUTH)
        assert float(found.value) == pytest.approx((0 + 2 + 1.5) / 3)

    def test_of_two_classes_half_the_brier_score(self):
        probs, truth = self.PROBS[:, :2] / self.PROBS[:, :2].sum(axis=1, keepdims=True), [0, 1, 1]
        truth = jnp.array(truth)
        assert float(metrics.ranked_probability_score(probs, truth).value) == pytest.approx(
            float(metrics.brier(probs, truth).value) / 2
        )

    def test_tables(self):
        """By the numbers of the classes, whatever the order of the columns; of names if asked."""
        table = pd.DataFrame(np.asarray(self.PROBS), columns=["prob_1", "prob_2", "prob_10"])
        table["task"] = ["a", "b", "c"]
        truth = pd.DataFrame({"task": ["a", "b", "c"], "label": [1, 1, 10]})
        wanted = float(metrics.ranked_probability_score(self.PROBS, self.TRUTH).value)
        for order in (["prob_1", "prob_2", "prob_10"], ["prob_10", "prob_1", "prob_2"]):
            found = evaluate(table[["task", *order]], truth)
            assert float(found["rps"].value) == pytest.approx(wanted, rel=1e-5)
        assert "rps" not in evaluate(table, truth, ordered=False)
        found = evaluate(self.PROBS, self.TRUTH, ordered=True)
        assert float(found["rps"].value) == pytest.approx(wanted, rel=1e-5)
        assert "rps" not in evaluate(self.PROBS, self.TRUTH)

    @pytest.mark.slow
    @pytest.mark.end_to_end
    def test_from_the_command_line(self, tmp_path):
        labels = graded()[0].assign(label=lambda table: np.array(GRADES)[table["label"]])
        labels.to_csv(tmp_path / "labels.csv", index=False)
        words = ("--classes", ",".join(GRADES), "--ordered")
        run = call(
            *("aggregate", tmp_path / "labels.csv", *words, "--output", tmp_path / "out", "--json")
        )
        assert run.exit_code == 0, run.output
        assert json.loads(run.stdout)["model"] == "ordinal"
        truth = pd.DataFrame({"task": np.arange(150), "label": np.array(GRADES)[graded()[1]]})
        truth.to_csv(tmp_path / "truth.csv", index=False)
        scored = ("evaluate", tmp_path / "out" / "examples.csv", "--truth", tmp_path / "truth.csv")
        record = json.loads(call(*scored, "--ordered", "--json").stdout)
        assert 0.0 < record["rps"] < record["grade_error"] < 1.0
        assert "rps" not in json.loads(call(*scored, "--json").stdout)
