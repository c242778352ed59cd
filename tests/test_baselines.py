"""Wawa, BWA and IBCC: by hand, against plain loops, and what they make of gold and gaps."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import digamma

from gtx_bayes.aggregation.aggregate import aggregate
from gtx_bayes.aggregation.base import NOT_CONVERGED
from gtx_bayes.aggregation.bwa import Bwa
from gtx_bayes.aggregation.ibcc import Ibcc
from gtx_bayes.errors import InputError
from gtx_bayes.labels import MISSING, Assessment, Labels
from gtx_bayes.registry import METHODS
from tests.crowds import crowd_of

SHAPE = (5, 24)  # labelers, examples: one shape, since each is compiled
NO_GOLD = np.full(SHAPE[1], MISSING)
SOME_GOLD = np.where(np.arange(SHAPE[1]) < 6, np.arange(SHAPE[1]) % 2, MISSING)
NAMES = ("wawa", "bwa", "ibcc")


def answers(num_classes=3, seed=0):
    """A dense table with gaps; nobody answers the last example."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, num_classes, SHAPE[1])
    right = rng.random(SHAPE) < rng.uniform(0.5, 0.95, (SHAPE[0], 1))
    other = (truth + rng.integers(1, num_classes, SHAPE)) % num_classes
    table = np.where(rng.random(SHAPE) < 0.8, np.where(right, truth, other), MISSING)
    table[:, -1] = MISSING
    return table


def result(method, table, gold=NO_GOLD, num_classes=3, **options):
    return aggregate(crowd_of(table, gold, num_classes), method, **options)


def probs(method, table, gold=NO_GOLD, num_classes=3, **options):
    return np.asarray(result(method, table, gold, num_classes, **options).class_probs)


def clamped(class_probs, gold):
    known = np.eye(class_probs.shape[1])[gold]
    return np.where((gold != MISSING)[:, None], known, class_probs)


def shares(table, gold, num_classes):
    votes = np.stack([(table == k).sum(axis=0) for k in range(num_classes)], axis=1)
    total = votes.sum(axis=1, keepdims=True)
    return clamped(np.where(total > 0, votes / np.maximum(total, 1), 1 / num_classes), gold)


class TestWawa:
    # Two examples: everybody says 1 to the second, two of three to the first.
    TABLE = np.array([[1, 1], [1, 1], [0, 1]])

    def test_by_hand(self):
        """Agreement 1, 1 and one half: 2 of 2.5 votes for class 1."""
        found = result("wawa", self.TABLE, num_classes=2, gold=())
        np.testing.assert_allclose(found.class_probs, [[0.2, 0.8], [0, 1]], rtol=1e-6)
        np.testing.assert_allclose(found.labelers()["accuracy"], [1, 1, 0.5])

    def test_gold_stands_for_the_majority(self):
        """Who contradicts it agreed in one of two."""
        found = result("wawa", self.TABLE, gold=[0], num_classes=2)
        np.testing.assert_allclose(found.labelers()["accuracy"], [0.5, 0.5, 1])
        np.testing.assert_array_equal(found.class_probs[0], [1, 0])

    def test_a_tie_is_shared_and_who_is_silent_has_the_mean(self):
        table = np.array([[0, 1], [1, 1], [MISSING, MISSING]])
        found = result("wawa", table, num_classes=2, gold=())
        np.testing.assert_allclose(found.labelers()["accuracy"], [0.75, 0.75, 0.75])

    def test_no_class_prior(self):
        with pytest.raises(InputError, match="wawa counts votes and takes no class prior"):
            probs("wawa", answers(), class_prior=[0.2, 0.3, 0.5])


def plain_bwa(table, gold, num_classes, class_prior, num_steps, a=15.0, precision=1.0):
    """Class by class and in loops, with the precisions as the paper has them."""
    answered = table != MISSING
    start, averages = shares(table, gold, num_classes), []
    known = answered.any(axis=0) | (gold != MISSING)
    for k in range(num_classes):
        z, y = start[:, k], (table == k).astype(float)
        square = np.where(answered, (y - z) ** 2, 0)
        b = a * square.sum() / answered.sum() * 4 * (1 - 1 / num_classes)
        for _ in range(num_steps):
            v = (a + answered.sum(axis=1)) / (b + np.where(answered, (y - z) ** 2, 0).sum(axis=1))
            mean = z[known].mean() if class_prior is None else class_prior[k]
            new = z.copy()
            for i in np.flatnonzero(gold == MISSING):
                on = answered[:, i]
                new[i] = (precision * mean + v[on] @ y[on, i]) / (precision + v[on].sum())
            z = new
        averages.append(z)
    averages = np.stack(averages, axis=1)
    return averages / averages.sum(axis=1, keepdims=True)


class TestBwa:
    def test_one_step_by_hand(self):
        """Shares 2/3 and 1; mean square 1/9, twice that in units; squares 1/2, 1/2 and 2."""
        found = probs(Bwa(num_steps=1), TestWawa.TABLE, num_classes=2, gold=())
        v, pull = 17 / 15.5, 2 / 9
        first = (pull * 5 / 6 + 2 * v) / (pull + 2 * v + 1)
        second = (pull * 5 / 6 + 2 * v + 1) / (pull + 2 * v + 1)
        np.testing.assert_allclose(found[:, 1], [first, second], rtol=1e-5)
        np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)

    @pytest.mark.parametrize("num_classes", [2, 3])
    @pytest.mark.parametrize("gold", [NO_GOLD, SOME_GOLD], ids=["no gold", "gold"])
    @pytest.mark.parametrize("has_prior", [False, True])
    def test_against_plain_loops(self, num_classes, gold, has_prior):
        table = answers(num_classes)
        prior = np.arange(1, num_classes + 1) / np.arange(1, num_classes + 1).sum()
        prior = prior if has_prior else None
        found = probs(Bwa(num_steps=6, tolerance=0.0), table, gold, num_classes, class_prior=prior)
        expected = plain_bwa(table, gold, num_classes, prior, num_steps=6)
        np.testing.assert_allclose(found, expected, atol=1e-5)

    def test_other_options_against_plain_loops(self):
        found = probs(Bwa(2.0, 5.0, num_steps=4, tolerance=0.0), answers())
        expected = plain_bwa(answers(), NO_GOLD, 3, None, num_steps=4, a=2.0, precision=5.0)
        np.testing.assert_allclose(found, expected, atol=1e-5)

    def test_a_class_that_all_agree_on(self):
        """No square is left to divide by: as the limit of small ones, the votes stand."""
        table = np.tile(np.arange(SHAPE[1]) % 2, (SHAPE[0], 1))  # nobody ever names class 2
        table[:, -1] = MISSING
        found = probs("bwa", table)
        np.testing.assert_allclose(found[:-1], np.eye(3)[table[0, :-1]], atol=1e-6)
        np.testing.assert_allclose(found[-1], [12 / 23, 11 / 23, 0], rtol=1e-6)

    def test_accuracy_is_the_mean_probability_of_the_answers(self):
        found = result("bwa", answers())
        class_probs = np.asarray(found.class_probs, float)
        for j, row in enumerate(answers()):
            own = class_probs[row != MISSING, row[row != MISSING]]
            np.testing.assert_allclose(found.labelers()["accuracy"][j], own.mean(), atol=1e-4)


def plain_ibcc(table, gold, num_classes, class_prior, num_steps, right=4.0, wrong=1.0, flat=1.0):
    """The mean-field updates in loops over labelers and examples."""
    q = shares(table, gold, num_classes)
    for _ in range(num_steps):
        totals = flat + q.sum(axis=0)
        log_prior = digamma(totals) - digamma(totals.sum())
        log_prior = log_prior if class_prior is None else np.log(class_prior)
        joint = np.tile(log_prior, (table.shape[1], 1))
        means = []
        for row in table:
            weights = np.where(np.eye(num_classes, dtype=bool), right, wrong)
            for i in np.flatnonzero(row != MISSING):
                weights[:, row[i]] += q[i]
            log_rows = digamma(weights) - digamma(weights.sum(axis=1, keepdims=True))
            for i in np.flatnonzero(row != MISSING):
                joint[i] += log_rows[:, row[i]]
            means.append(weights / weights.sum(axis=1, keepdims=True))
        q = np.exp(joint)
        q = clamped(q / q.sum(axis=1, keepdims=True), gold)
    return q, np.array(means)


class TestIbcc:
    def test_one_step_by_hand(self):
        """One labeler, gold 0 and 1 both right, and a third answer, 0.

        Rows (4 + 2, 1) and (1, 4 + 1), proportions (1 + 2, 1 + 1). Differences of digamma are
        sums of reciprocals: 1/2 for the classes, -1/6 and -137/60 for the answer.
        """
        found = result(Ibcc(num_steps=1), [[0, 1, 0]], gold=[0, 1], num_classes=2)
        odds = np.exp(1 / 2 - 1 / 6 + 137 / 60)
        np.testing.assert_allclose(found.class_probs[2], [odds, 1] / (1 + odds), rtol=1e-5)
        np.testing.assert_allclose(
            found.confusion_matrix("w0"), [[6 / 7, 1 / 7], [1 / 6, 5 / 6]], rtol=1e-6
        )

    @pytest.mark.parametrize("num_classes", [2, 3])
    @pytest.mark.parametrize("gold", [NO_GOLD, SOME_GOLD], ids=["no gold", "gold"])
    @pytest.mark.parametrize("has_prior", [False, True])
    def test_against_plain_loops(self, num_classes, gold, has_prior):
        table = answers(num_classes)
        prior = np.arange(1, num_classes + 1) / np.arange(1, num_classes + 1).sum()
        prior = prior if has_prior else None
        found = result(
            Ibcc(num_steps=6, tolerance=0.0), table, gold, num_classes, class_prior=prior
        )
        expected, mean = plain_ibcc(table, gold, num_classes, prior, num_steps=6)
        np.testing.assert_allclose(found.class_probs, expected, atol=1e-5)
        np.testing.assert_allclose(found.fit.aggregator.labelers.confusion, mean, atol=1e-6)

    def test_other_options_against_plain_loops(self):
        found = probs(Ibcc(3.0, 0.5, 7.0, num_steps=4, tolerance=0.0), answers())
        expected, _ = plain_ibcc(answers(), NO_GOLD, 3, None, 4, right=3.0, wrong=0.5, flat=7.0)
        np.testing.assert_allclose(found, expected, atol=1e-5)

    def test_accuracy_is_the_mean_diagonal(self):
        fit = result("ibcc", answers()).fit
        rows = np.asarray(fit.aggregator.labelers.confusion)
        mean = np.einsum("jyy,y->j", rows, np.asarray(fit.class_prior))
        np.testing.assert_allclose(fit.labeler_accuracy.accuracy, mean, rtol=1e-5)

    def test_a_class_excluded_by_the_prior(self):
        found = probs("ibcc", answers(), class_prior=[0.5, 0.5, 0.0])
        np.testing.assert_array_equal(found[:, 2], np.zeros(SHAPE[1]))


@pytest.mark.parametrize("name", NAMES)
class TestAllThree:
    def test_gold_keeps_its_class_and_teaches(self, name):
        """Whoever gold proves right against the others is believed more where there is none."""
        alone = np.arange(SHAPE[1]) % 2
        table = np.tile(1 - alone, (SHAPE[0], 1))
        table[0] = alone
        with_gold = probs(name, table, SOME_GOLD, 2)
        np.testing.assert_array_equal(with_gold[:6], np.eye(2)[SOME_GOLD[:6]])
        gain = (with_gold - probs(name, table, num_classes=2))[np.arange(SHAPE[1]), alone]
        assert (gain[6:] > 1e-3).all()

    def test_padding_and_abstentions_are_no_evidence(self, name):
        """The entries of a dense table with gaps, those without an answer as either."""
        table = answers()
        labeler, example = np.indices(table.shape).reshape(2, -1)
        gold = Assessment(jnp.asarray(SOME_GOLD, jnp.int8), 3)
        method = METHODS.build(name)
        expected = method.fit(Labels.from_dense(table, num_classes=3), gold)
        for gap, num_answers in ((MISSING, 3), (3, 4)):
            label = np.where(table == MISSING, gap, table).ravel()
            labels = Labels.from_arrays(
                example, labeler, label, num_classes=3, num_answers=num_answers
            )
            found = method.fit(labels, gold)
            np.testing.assert_allclose(
                found.labeler_accuracy.accuracy, expected.labeler_accuracy.accuracy, rtol=1e-5
            )
            np.testing.assert_allclose(
                found.aggregator.class_probs(labels.of_classes()),
                expected.aggregator.class_probs(jnp.asarray(table, jnp.int8)),
                atol=1e-5,
            )

    def test_an_example_without_answers(self, name):
        found = result(name, answers(), SOME_GOLD)
        prior = np.full(3, 1 / 3) if found.class_prior is None else found.class_prior
        np.testing.assert_allclose(found.class_probs[-1], prior, rtol=1e-5)

    def test_nobody_answers(self, name):
        found = probs(name, np.full(SHAPE, MISSING))
        np.testing.assert_allclose(found, np.full((SHAPE[1], 3), 1 / 3), rtol=1e-6)

    def test_the_same_twice_and_whatever_the_classes_are_called(self, name):
        table, order = answers(), np.array([2, 0, 1])
        expected = probs(name, table)
        np.testing.assert_array_equal(probs(name, table), expected)
        turned = probs(name, np.where(table == MISSING, MISSING, order[table]))
        np.testing.assert_allclose(turned[:, order], expected, atol=1e-5)

    def test_predictions_are_those_of_the_fit(self, name):
        """Answers judged anew by the rule found."""
        found = result(name, answers())
        again = found.fit.aggregator.class_probs(jnp.asarray(answers(), jnp.int8))
        np.testing.assert_allclose(again, found.class_probs, atol=1e-5)


@pytest.mark.parametrize("name", ["bwa", "ibcc"])
def test_a_prior_for_each_example(name):
    """One row for all and the same row for each give the same."""
    row = np.array([0.2, 0.3, 0.5])
    one = probs(name, answers(), class_prior=row)
    each = probs(name, answers(), class_prior=np.tile(row, (SHAPE[1], 1)))
    np.testing.assert_allclose(each, one, atol=1e-6)


@pytest.mark.parametrize("method", [Bwa(num_steps=1), Ibcc(num_steps=1)])
def test_says_that_it_was_stopped(method):
    assert NOT_CONVERGED in result(method, answers()).notes
    assert NOT_CONVERGED not in result(method.name, answers()).notes


@pytest.mark.parametrize(
    "method",
    [
        Bwa(prior_labels=0.0),
        Bwa(prior_labels=np.inf),
        Bwa(prior_precision=-1.0),
        Bwa(num_steps=0),
        Bwa(tolerance=-0.1),
        Ibcc(right=0.0),
        Ibcc(wrong=np.nan),
        Ibcc(proportions=-1.0),
        Ibcc(num_steps=0),
        Ibcc(tolerance=-0.1),
    ],
    ids=repr,
)
def test_bad_options(method):
    with pytest.raises(InputError, match=rf"of {method.name} is .*Give a "):
        probs(method, answers())


def test_tables_out_of_proportion():
    labels = Labels.from_arrays([0, 1], [0, 1], [0, 1], num_classes=3000)
    with pytest.raises(InputError, match="has a table of 3,000 x 3,000"):
        Ibcc().fit(labels, Assessment.none(2, 3000))
