"""Decisions of least expected loss, and risk targets by class."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest

from gtx_bayes.columns import as_names
from gtx_bayes.errors import InputError
from gtx_bayes.evaluation import match_truth, score_decisions
from gtx_bayes.losses import decide, least_loss, read_loss, risk_by_class, within_risk
from tests.test_cli import call

CLASSES = as_names(["no", "yes"])
LOSS = pd.DataFrame({"true_label": ["yes", "no"], "no": [5.0, 0.0], "yes": [0.0, 1.0]})
EXAMPLES = pd.DataFrame(
    {
        "task": list("abcdef"),
        "label": ["no", "no", "yes", "yes", "yes", "no"],
        "prob_no": [0.95, 0.8, 0.3, 0.02, 0.45, 1.0],
        "prob_yes": [0.05, 0.2, 0.7, 0.98, 0.55, 0.0],
        "is_gold": [False, False, False, False, False, True],
    }
)
TRUTH = pd.DataFrame({"task": list("abcde"), "label": ["no", "yes", "yes", "yes", "no"]})


class TestLoss:
    def test_by_hand(self):
        """To take a yes for a no costs 5: yes from a probability of 1/6 on."""
        found = decide(EXAMPLES, loss=LOSS)
        assert list(found["decision"]) == ["no", "yes", "yes", "yes", "yes", "no"]
        np.testing.assert_allclose(found["expected_loss"], [0.25, 0.8, 0.3, 0.02, 0.45, 0.0])
        pd.testing.assert_frame_equal(found[list(EXAMPLES)], EXAMPLES)

    def test_no_decision_has_a_lower_expected_loss(self):
        rng = np.random.default_rng(0)
        probs, loss = rng.dirichlet(np.ones(4), 50), rng.normal(size=(4, 4))
        decision, expected = least_loss(probs, loss)
        for other in range(4):
            assert (expected <= probs @ loss[:, other] + 1e-12).all()
        np.testing.assert_allclose(
            expected, [p @ loss[:, d] for p, d in zip(probs, decision, strict=True)]
        )

    def test_rows_and_columns_in_any_order(self):
        np.testing.assert_array_equal(read_loss(LOSS, CLASSES), [[0.0, 1.0], [5.0, 0.0]])
        named = LOSS.rename(columns={"true_label": "truth"})
        np.testing.assert_array_equal(read_loss(named, CLASSES), read_loss(LOSS, CLASSES))

    def test_labels_keep_their_kind(self):
        table = pd.DataFrame({"label": [0, 1], "prob_0": [0.9, 0.1], "prob_1": [0.1, 0.9]})
        zero_one = pd.DataFrame({"true_label": [0, 1], "0": [0, 1], "1": [1, 0]})
        assert list(decide(table, loss=zero_one)["decision"]) == [0, 1]

    @pytest.mark.parametrize(
        ("table", "message"),
        [
            (LOSS.iloc[:1], "'no' has 0 rows"),
            (LOSS[["true_label", "no"]], "'yes' has 0 columns"),
            (LOSS.assign(maybe=1), "'maybe' has a column and is no class"),
            (LOSS.assign(yes=["x", 1]), "the loss of 'yes' where 'yes' is true is no number"),
            (LOSS.iloc[[0, 1, 1]], "'no' has 2 rows"),
            (LOSS.iloc[:0], "no square table"),
        ],
    )
    def test_bad_tables(self, table, message):
        with pytest.raises(InputError, match=message):
            decide(EXAMPLES, loss=table)


class TestRisk:
    def test_by_hand(self):
        """Of the noes .05 and .2 may be wrong, of the yeses .02, .3 and .45; f is gold."""
        assert list(decide(EXAMPLES, risk=0.05)["accepted"]) == [
            *(True, False, False, True, False, True)
        ]
        found = decide(EXAMPLES, risk={"no": 0.125, "yes": 0.02})["accepted"]
        assert list(found) == [True, True, False, True, False, True]
        assert decide(EXAMPLES, risk={"no": 0.01})["accepted"].sum() == 4  # yes has no limit
        # By the decisions of least loss, where there are losses: b is taken for a yes.
        found = decide(EXAMPLES, loss=LOSS, risk={"yes": 0.16, "no": 0.0})["accepted"]
        assert list(found) == [False, False, True, True, False, True]

    def test_as_many_as_the_target_allows(self):
        """No larger set of the surest keeps it, and what is accepted does."""
        rng = np.random.default_rng(1)
        probs = rng.dirichlet([0.4, 0.4, 0.4], 300)
        decision, targets = probs.argmax(axis=1), np.array([0.02, 0.1, 0.3])
        accepted = within_risk(probs, decision, targets)
        for k, target in enumerate(targets):
            wrong = np.sort(1.0 - probs[decision == k, k])
            number = accepted[decision == k].sum()
            assert wrong[:number].mean() <= target
            assert all(wrong[: n + 1].mean() > target for n in range(number, wrong.size))

    @pytest.mark.parametrize(
        ("risk", "message"),
        [({"maybe": 0.1}, "'maybe', which is no class"), (1.5, "no probability")],
    )
    def test_bad_targets(self, risk, message):
        with pytest.raises(InputError, match=message):
            risk_by_class(risk, CLASSES)


class TestScores:
    def test_against_the_truth(self):
        found = score_decisions(match_truth(EXAMPLES, TRUTH), loss=LOSS, risk={"no": 0.125})
        # d and e: yes, though e is no; b: yes, which is right, its label is not.
        assert float(found.losses["loss"].value) == pytest.approx(1 / 5)
        assert float(found.losses["loss_of_labels"].value) == pytest.approx((5 + 1) / 5)
        assert float(found.losses["expected_loss"].value) == pytest.approx(1.82 / 5)
        of_no, of_yes = found.risk
        assert (of_no["num_accepted"], of_no["error"], of_no["is_kept"]) == (1, 0.0, True)
        assert (of_yes["num_accepted"], of_yes["error"], of_yes["target"]) == (4, 0.25, 1.0)

    def test_two_standard_errors(self):
        """Of 100 accepted at a target of .1 up to .16 may be wrong."""
        for wrong, is_kept in ((16, True), (17, False)):
            table = pd.DataFrame(
                {"task": np.arange(100), "prob_no": 0.95, "prob_yes": 0.05}, index=range(100)
            )
            truth = pd.DataFrame({"task": np.arange(100), "label": "no"})
            truth.loc[: wrong - 1, "label"] = "yes"
            row = score_decisions(match_truth(table, truth), risk=0.1).risk[0]
            assert row["is_kept"] is is_kept


@pytest.mark.end_to_end
def test_from_the_command_line(tmp_path):
    """Aggregated, decided, scored, and collected further."""
    votes = list(itertools.product("abcdefgh", ["u", "v", "w"]))
    labels = pd.DataFrame(votes, columns=["task", "worker"])
    labels["label"] = ["yes" if i % 5 else "no" for i in range(len(labels))]
    labels.to_csv(tmp_path / "labels.csv", index=False)
    LOSS.to_csv(tmp_path / "loss.csv", index=False)
    words = ("--loss", tmp_path / "loss.csv", "--risk", "yes=0.3,no=0.05")
    run = call(
        *("aggregate", tmp_path / "labels.csv", "--method", "majority-vote", *words),
        *("--output", tmp_path / "out", "--json"),
    )
    assert run.exit_code == 0, run.output
    summary = json.loads(run.stdout)
    table = pd.read_csv(tmp_path / "out" / "examples.csv")
    assert summary["num_accepted"] == table["accepted"].sum()
    assert summary["risk"] == {"yes": 0.3, "no": 0.05}
    assert summary["mean_expected_loss"] == pytest.approx(table["expected_loss"].mean())
    table[["task", "label"]].to_csv(tmp_path / "truth.csv", index=False)
    run = call(
        *("evaluate", tmp_path / "out" / "examples.csv", "--truth", tmp_path / "truth.csv"),
        *(*words, "--json"),
    )
    record = json.loads(run.stdout)
    assert record["loss_of_labels"] == 0.0
    assert [row["label"] for row in record["risk"]] == ["no", "yes"]
    run = call(
        *("next", tmp_path / "labels.csv", "--method", "majority-vote", "--json"),
        *("--risk", "yes=0.3,no=0.05"),
    )
    by_label = decide(table.assign(is_gold=False), risk={"yes": 0.3, "no": 0.05})
    assert json.loads(run.stdout)["num_done"] == by_label["accepted"].sum()
    for given, message in (("yes", "no list of numbers"), ("0.1,0.2", "does not say which")):
        run = call("next", tmp_path / "labels.csv", "--risk", given)
        assert run.exit_code == 2
        assert message in run.stderr
