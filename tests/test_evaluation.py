import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from jaxtyping import TypeCheckError

from gtx_bayes import metrics
from gtx_bayes.columns import Source, Table
from gtx_bayes.errors import InputError
from gtx_bayes.evaluation import METRICS, as_record, evaluate, match_truth

EXAMPLES = pd.DataFrame(
    {
        "task": ["a", "b", "c"],
        "label": ["no", "yes", "yes"],
        "prob_no": [0.7, 0.2, 0.5],
        "prob_yes": [0.3, 0.8, 0.5],
    }
)
TRUTH = pd.DataFrame({"task": ["c", "a", "b"], "label": ["yes", "no", "no"]})


def test_matches_by_name():
    scored = match_truth(EXAMPLES, TRUTH)
    np.testing.assert_allclose(scored.class_probs[:, 1], [0.5, 0.3, 0.8], rtol=1e-6)
    np.testing.assert_array_equal(scored.true_label, [1, 0, 0])
    found = evaluate(scored)
    assert set(found) == set(METRICS)
    assert float(found["accuracy"].value) == pytest.approx(1.5 / 3)
    assert float(found["log_loss"].value) == pytest.approx(-np.log([0.5, 0.7, 0.2]).mean())


def test_excluded_examples_are_not_scored():
    scored = match_truth(EXAMPLES, TRUTH, pd.DataFrame({"task": ["a", "zzz"]}))
    np.testing.assert_array_equal(scored.true_label, [1, 0])


def test_repeated_truths_count_once():
    scored = match_truth(EXAMPLES, pd.concat([TRUTH, TRUTH]))
    assert scored.true_label.shape == (3,)


def test_blanks_around_class_names():
    scored = match_truth(EXAMPLES.rename(columns={"prob_no": "prob_ no"}), TRUTH)
    assert scored.notes == ()


def test_of_tables_and_of_arrays():
    """The same scores, however the results and the truth are given."""
    exclude = TRUTH.head(1)
    scored = match_truth(EXAMPLES, TRUTH, exclude)
    expected = evaluate(scored)
    arrays = (np.asarray(scored.class_probs), np.asarray(scored.true_label))
    for found in (evaluate(EXAMPLES, TRUTH, exclude), evaluate(*arrays), evaluate(*scored[:2])):
        assert list(found) == list(METRICS)
        for name, estimate in found.items():
            np.testing.assert_array_equal(estimate, expected[name])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((EXAMPLES,), "are not of one kind"),
        ((EXAMPLES, np.array([0, 1, 1])), "are not of one kind"),
        ((np.full((3, 2), 0.5), TRUTH), "are not of one kind"),
        ((np.full((3, 2), 0.5), np.array([0, 1, 1]), TRUTH), "are not of one kind"),
        ((np.full((3, 2), 0.5), np.array([0, 1])), r"truth \(2,\)|i64\[2\]"),
    ],
)
def test_results_and_truth_of_two_kinds(given, message):
    with pytest.raises((InputError, TypeCheckError), match=message):
        evaluate(*given)


def test_absent_examples_are_noted():
    truth = pd.concat([TRUTH, pd.DataFrame({"task": ["x"], "label": ["no"]})])
    scored = match_truth(EXAMPLES, truth)
    assert scored.notes == ("1 example(s) with a true label are not among the results.",)
    assert scored.true_label.shape == (3,)


def test_a_class_the_results_do_not_know_has_probability_zero():
    truth = TRUTH.assign(label=["yes", "maybe", "no"])
    scored = match_truth(EXAMPLES, truth)
    assert "['maybe']" in scored.notes[0]
    assert scored.class_probs.shape == (3, 3)
    loss = evaluate(scored)["log_loss"].value
    assert float(loss) == pytest.approx((np.log(2) + 52 * np.log(2) - np.log(0.2)) / 3, rel=1e-5)


def test_record_is_plain_and_finite():
    one = metrics.accuracy(match_truth(EXAMPLES, TRUTH.head(1)).class_probs, jnp.array([1]))
    assert as_record({"accuracy": one}) == {"accuracy": 0.5, "accuracy_se": None}


@pytest.mark.parametrize(
    ("examples", "truth", "message"),
    [
        (EXAMPLES.drop(columns="prob_no"), TRUTH, "no two columns are called prob_"),
        (EXAMPLES.assign(prob_no=[0.7, "x", 0.5]), TRUTH, "out.csv, row 3: the probabilities"),
        (EXAMPLES.assign(prob_no=[0.7, 0.2, 1.5]), TRUTH, "out.csv, row 4: the probabilities"),
        (EXAMPLES.assign(prob_no=[0.1, 0.2, 0.5]), TRUTH, "out.csv, row 2: the probabilities"),
        (EXAMPLES.assign(task=["a", "b", "a"]), TRUTH, "row 4: example 'a' has more than one row"),
        (EXAMPLES, TRUTH.assign(task=["x", "y", "z"]), "no example of the results has a true"),
        (EXAMPLES, TRUTH.assign(label=["YES", "no", "no"]), "label 'YES' is spelt 'yes'"),
        (EXAMPLES, TRUTH.drop(columns="label"), "no column holds the label"),
        (EXAMPLES, TRUTH.assign(task=["a", "a", "b"]), "'a' is 'yes' in an earlier row and 'no'"),
    ],
)
def test_broken_tables(examples, truth, message):
    with pytest.raises(InputError, match=message):
        match_truth(Table(examples, Source("out.csv", 2)), truth)
