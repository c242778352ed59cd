import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from gtx_bayes import simulation
from gtx_bayes.labels import MISSING
from gtx_bayes.models.one_coin import OneCoin
from gtx_bayes.simulation import (
    assess,
    simulate,
    simulate_answers,
    simulate_crowd,
    simulate_queue,
    uniform_cohort,
)


def within(count, total, share):
    low, high = scipy.stats.binom.interval(1 - 1e-6, total, share)
    return ((low <= np.asarray(count)) & (np.asarray(count) <= high)).all()


def test_every_example_gets_its_answers(key):
    crowd = simulate_crowd(key, OneCoin(jnp.full(7, 0.8), 3), num_examples=50, labels_per_example=4)
    np.testing.assert_array_equal((crowd.labels != MISSING).sum(axis=0), np.full(50, 4))
    assert int(crowd.labels.max()) <= 2
    assert crowd.labels.dtype == jnp.int8
    with pytest.raises(ValueError, match="7 labelers cannot give 8"):
        simulate_crowd(key, OneCoin(jnp.full(7, 0.8), 3), 50, 8)


def test_a_crowd_by_names(key):
    """The answers of `simulate_crowd`, the first examples gold, and the truth beside them."""
    model = OneCoin(jnp.full(7, 0.8), 3)
    crowd, truth = simulate(key, model, 50, 4, num_gold=5)
    queue = simulate_crowd(key, model, 50, 4)
    np.testing.assert_array_equal(crowd.labels.dense(), queue.labels)
    np.testing.assert_array_equal(truth["label"], queue.true_label)
    np.testing.assert_array_equal(crowd.assessment.true_label[:5], queue.true_label[:5])
    assert crowd.assessment.num_gold == 5
    assert list(truth["task"]) == list(crowd.example_names) == [f"e{i}" for i in range(50)]
    assert list(crowd.labeler_names) == [f"w{j}" for j in range(7)]


@pytest.mark.parametrize("num_labelers", [1, 3, 4, 25])
def test_queues_are_permutations(num_labelers, key):
    queue = simulate_queue(key, OneCoin(jnp.full(num_labelers, 0.8), 2), 300)
    expected = np.tile(np.arange(num_labelers)[:, None], (1, 300))
    np.testing.assert_array_equal(np.sort(queue.answers.labeler, axis=0), expected)
    assert (np.asarray(queue.labels) != MISSING).all()


def test_every_order_of_the_labelers_is_as_likely(key):
    num_examples = 24_000
    queue = simulate_queue(key, OneCoin(jnp.full(4, 0.8), 2), num_examples)
    code = np.asarray(queue.answers.labeler, int).T @ (4 ** np.arange(4))
    orders = [np.array(p) @ (4 ** np.arange(4)) for p in itertools.permutations(range(4))]
    counts = np.array([(code == order).sum() for order in orders])
    assert counts.sum() == num_examples
    assert scipy.stats.chisquare(counts).pvalue > 1e-6


@pytest.mark.slow
def test_places_in_long_queues_are_even(key):
    """Ten labelers, whose orders take two random words; thirty, sorted; the first of a hundred."""
    for num_labelers, num_places in ((10, 10), (30, 30), (100, 3)):
        model = OneCoin(jnp.full(num_labelers, 0.8), 2)
        queue = simulate_queue(key, model, 12_000, max_labels=num_places)
        for place in (0, num_places // 2, num_places - 1):
            labeler = np.asarray(queue.answers.labeler[place], int)
            counts = np.bincount(labeler, minlength=num_labelers)
            assert scipy.stats.chisquare(counts).pvalue > 1e-6


def test_answers_come_in_the_order_of_the_queue(key):
    queue = simulate_queue(key, OneCoin(jnp.full(6, 0.8), 2), 40, max_labels=4)
    before = np.asarray(queue.answers.first(0).dense())
    assert (before == MISSING).all()
    for n in range(1, 5):
        now = np.asarray(queue.answers.first(n).dense())
        labeler, example = np.nonzero((now != MISSING) & (before == MISSING))
        place = np.asarray(queue.answers.labeler[n - 1])
        np.testing.assert_array_equal(labeler[np.argsort(example)], place)
        np.testing.assert_array_equal(now[place, np.arange(40)], queue.answers.label[n - 1])
        assert (now[before != MISSING] == before[before != MISSING]).all()
        before = now
    np.testing.assert_array_equal(queue.answers.first(200).dense(), queue.labels)
    counts = jnp.arange(40) % 5
    some = queue.answers.first(counts).dense()
    np.testing.assert_array_equal((some != MISSING).sum(axis=0), counts)


def test_who_is_right_does_not_depend_on_the_place(key):
    """Two independent draws: a labeler's accuracy is the same at every place in the queue."""
    queue = simulate_queue(key, OneCoin(jnp.array([0.6, 0.9, 0.75]), 2), 30_000)
    right = np.asarray(queue.answers.label == queue.true_label)
    for j, accuracy in enumerate([0.6, 0.9, 0.75]):
        for place in range(3):
            there = np.asarray(queue.answers.labeler[place] == j)
            assert within(right[place][there].sum(), there.sum(), accuracy)


def test_answers_to_true_labels_that_are_given(key):
    """Accuracies hold within each class, though one class is rare; the truth comes back."""
    truth = jnp.where(jnp.arange(20_000) % 10 == 0, 1, 0)
    queue = simulate_answers(key, OneCoin(jnp.array([0.6, 0.9, 1.0]), 2), truth, max_labels=2)
    np.testing.assert_array_equal(queue.true_label, truth)
    answers = np.asarray(queue.labels)
    np.testing.assert_array_equal((answers != MISSING).sum(axis=0), np.full(20_000, 2))
    for y in (0, 1):
        mine = answers[:, np.asarray(truth) == y]
        asked = (mine != MISSING).sum(axis=1)
        assert within(asked, mine.shape[1], 2 / 3)
        right = (mine == y).sum(axis=1)
        assert within(right[0], asked[0], 0.6)
        assert within(right[1], asked[1], 0.9)
        assert right[2] == asked[2]
    with pytest.raises(ValueError, match="3 labelers cannot give 4"):
        simulate_answers(key, OneCoin(jnp.full(3, 0.8), 2), truth, max_labels=4)


def test_class_balance(key):
    balance = jnp.array([0.7, 0.2, 0.1])
    queue = simulate_queue(key, OneCoin(jnp.full(2, 0.8), 3), 20_000, class_balance=balance)
    counts = np.bincount(np.asarray(queue.true_label, int), minlength=3)
    assert scipy.stats.chisquare(counts, 20_000 * np.array([0.7, 0.2, 0.1])).pvalue > 1e-6
    even = simulate_queue(key, OneCoin(jnp.full(2, 0.8), 3), 20_000)
    counts = np.bincount(np.asarray(even.true_label, int), minlength=3)
    assert scipy.stats.chisquare(counts).pvalue > 1e-6


def test_assessment_counts(key):
    """Everybody answers all gold; the counts follow the binomial law."""
    accuracy = jnp.array([0.6, 0.9, 1.0])
    sizes = (0, 5, 20)
    counts = jax.vmap(lambda k: assess(k, OneCoin(accuracy, 2), sizes))(jax.random.split(key, 500))
    right, total = np.asarray(counts.num_correct), np.asarray(counts.num_gold)
    assert (total == np.array(sizes)[None, :, None]).all()
    for at, size in enumerate(sizes):
        for j in range(3):
            assert within(right[:, at, j].sum(), 500 * size, float(accuracy[j]))
    grown = right[:, 2] - right[:, 1]  # a larger assessment contains the smaller
    assert grown.min() >= 0
    assert grown.max() <= 15


class TestCohorts:
    def test_uniform(self, key):
        labelers = uniform_cohort(key, 5000, 0.6, 0.9, num_classes=4)
        assert labelers.num_classes == 4
        law = scipy.stats.uniform(0.6, 0.3)
        assert scipy.stats.kstest(np.asarray(labelers.accuracy), law.cdf).pvalue > 1e-6

    def test_beta(self, key):
        labelers = simulation.beta_cohort(key, 5000, 8.0, 2.0)
        assert scipy.stats.kstest(labelers.accuracy, scipy.stats.beta(8, 2).cdf).pvalue > 1e-6

    def test_hammers_and_spammers(self, key):
        labelers = simulation.hammer_spammer_cohort(key, 5000, 0.3, num_classes=4)
        assert set(np.unique(labelers.accuracy)) == {0.25, 1.0}
        assert within((np.asarray(labelers.accuracy) == 1.0).sum(), 5000, 0.3)

    def test_adversaries(self, key):
        labelers = simulation.adversarial_cohort(key, 5000, 0.7, 0.9, 0.2)
        hostile = np.asarray(labelers.accuracy) < 0.5
        assert within(hostile.sum(), 5000, 0.2)
        mirrored = np.where(hostile, 1 - np.asarray(labelers.accuracy), labelers.accuracy)
        assert scipy.stats.kstest(mirrored, scipy.stats.uniform(0.7, 0.2).cdf).pvalue > 1e-6

    def test_class_conditional(self, key):
        low, high = jnp.array([0.5, 0.8]), jnp.array([0.7, 1.0])
        labelers = simulation.class_conditional_cohort(key, 3000, low, high)
        for y in range(2):
            law = scipy.stats.uniform(float(low[y]), 0.2)
            assert scipy.stats.kstest(labelers.accuracy[:, y], law.cdf).pvalue > 1e-6

    def test_hard_examples(self, key):
        labelers = simulation.hard_examples_cohort(
            key, 5, 0.8, 0.9, hard_share=0.1, hard_accuracy=0.4, num_classes=3
        )
        np.testing.assert_allclose(labelers.hard_accuracy, np.full(5, 0.4), rtol=1e-6)
        assert float(labelers.hard_share) == pytest.approx(0.1)
        assert ((labelers.accuracy >= 0.8) & (labelers.accuracy <= 0.9)).all()


def test_vmaps_over_runs(key):
    def run(key):
        key_cohort, key_queue = jax.random.split(key)
        return simulate_queue(key_queue, uniform_cohort(key_cohort, 5, 0.6, 0.9), 10, max_labels=3)

    queues = jax.jit(jax.vmap(run))(jax.random.split(key, 4))
    assert queues.answers.label.shape == (4, 3, 10)
    assert not (queues.answers.label[0] == queues.answers.label[1]).all()
    one = run(jax.random.split(key, 4)[2])
    np.testing.assert_array_equal(queues.answers.label[2], one.answers.label)
    np.testing.assert_array_equal(queues.answers.labeler[2], one.answers.labeler)
