import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gtx_bayes.inference import em
from gtx_bayes.labels import MISSING, Assessment, Labels
from gtx_bayes.models.confusion import ConfusionPrior
from gtx_bayes.models.one_coin import OneCoinPrior

SHAPE = (4, 12)  # labelers, examples: one shape, since each is compiled
NO_GOLD = np.full(12, MISSING)
SOME_GOLD = np.where(np.arange(12) < 4, np.arange(12) % 2, MISSING)
ALTERNATE = np.array([0, 1] * 6)
NOBODY = np.full(12, MISSING)


def crowd(seed=0, num_classes=2, share_missing=0.2):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, num_classes, SHAPE[1])
    right = rng.random(SHAPE) < rng.uniform(0.5, 0.95, (SHAPE[0], 1))
    other = (truth + rng.integers(1, num_classes, SHAPE)) % num_classes
    answered = rng.random(SHAPE) >= share_missing
    return np.where(answered, np.where(right, truth, other), MISSING)


def inputs(table, gold=NO_GOLD, num_classes=2):
    """Every cell an entry, answered or not: tables of one size are compiled once."""
    labeler, example = np.indices(table.shape).reshape(2, -1)
    labels = Labels.from_arrays(example, labeler, table.ravel(), num_classes=num_classes)
    return labels, Assessment(jnp.asarray(gold, jnp.int8), num_classes)


def votes(table, gold, num_classes):
    counts = np.stack([(table == y).sum(axis=0) for y in range(num_classes)], axis=1)
    total = counts.sum(axis=1, keepdims=True)
    return clamped(np.where(total > 0, counts / np.maximum(total, 1), 1 / num_classes), gold)


def clamped(class_probs, gold):
    known = np.eye(class_probs.shape[1])[gold]
    return np.where((gold >= 0)[:, None], known, class_probs)


def plain_em(model, table, gold, pseudo_counts, class_prior, num_classes, num_steps):
    """Dawid and Skene's algorithm in loops over examples and labelers, products not logarithms."""
    class_probs = votes(table, gold, num_classes)
    for _ in range(num_steps):
        proportions = class_probs.mean(axis=0) if class_prior is None else class_prior
        confusion = np.zeros((len(table), num_classes, num_classes))
        for j, i in zip(*np.nonzero(table >= 0), strict=True):
            confusion[j, :, table[j, i]] += class_probs[i]
        if model == "one-coin":
            right = np.trace(confusion, axis1=1, axis2=2) + pseudo_counts[0]
            accuracy = right / (confusion.sum(axis=(1, 2)) + np.sum(pseudo_counts))
            confusion[:] = ((1 - accuracy) / (num_classes - 1))[:, None, None]
            confusion[:, range(num_classes), range(num_classes)] = accuracy[:, None]
        else:
            confusion += pseudo_counts
            confusion /= confusion.sum(axis=2, keepdims=True)
        joint = np.tile(proportions, (table.shape[1], 1))
        for j, i in zip(*np.nonzero(table >= 0), strict=True):
            joint[i] *= confusion[j, :, table[j, i]]
        joint = np.where((gold >= 0)[:, None], clamped(joint, gold) * joint, joint)
        class_probs = joint / joint.sum(axis=1, keepdims=True)
    parameters = accuracy if model == "one-coin" else confusion
    return class_probs, parameters, proportions, np.log(joint.sum(axis=1)).sum()


def parameters_of(model):
    return np.asarray(model.accuracy if hasattr(model, "accuracy") else model.confusion, float)


def test_vote_shares_stay_where_they_are_a_fixed_point(rtol):
    """Everybody says "yes" to two tasks of three, and every task has two of three.

    Given shares of 1/3 and 2/3 a "yes" is as probable from either class, so nothing moves.
    """
    worker, task = np.indices((3, 3))
    labels, assessment = inputs(((worker - task) % 3 != 0).astype(int), np.full(3, MISSING))
    got = em.fit(labels, assessment, em.ConfusionStep.smoothed(2, 0.0))
    np.testing.assert_allclose(got.class_probs, [[1 / 3, 2 / 3]] * 3, rtol=rtol)
    np.testing.assert_allclose(got.class_prior, [1 / 3, 2 / 3], rtol=rtol)
    assert got.converged


def test_one_step_by_hand():
    """Two examples, gold 0 and 1; the first labeler right once of two, the second always."""
    labels, assessment = inputs(np.array([[0, 0], [0, 1]]), np.array([0, 1]))
    got = em.fit(labels, assessment, em.OneCoinStep.smoothed(2, 0.0))
    np.testing.assert_allclose(got.model.accuracy, [0.5, 1.0])
    np.testing.assert_allclose(got.log_likelihood, 4 * np.log(0.5), rtol=1e-6)
    got = em.fit(labels, assessment, em.OneCoinStep.smoothed(2, 1.0))
    np.testing.assert_allclose(got.model.accuracy, [2 / 4, 3 / 4], rtol=1e-6)
    got = em.fit(labels, assessment, em.ConfusionStep.smoothed(2, 0.5))
    expected = [[[0.75, 0.25], [0.75, 0.25]], [[0.75, 0.25], [0.25, 0.75]]]
    np.testing.assert_allclose(got.model.confusion, expected, rtol=1e-6)


@pytest.mark.parametrize("num_classes", [2, 3])
@pytest.mark.parametrize("gold", [NO_GOLD, SOME_GOLD], ids=["no gold", "gold"])
@pytest.mark.parametrize("model", em.M_STEPS)
def test_against_plain_loops(model, gold, num_classes):
    """Estimates, class posteriors and log-likelihood after seven steps."""
    table = crowd(num_classes=num_classes)
    given = np.arange(1.0, num_classes + 1) / np.arange(1, num_classes + 1).sum()
    for smoothing in (0.0, 0.01):
        m_step = em.M_STEPS[model].smoothed(num_classes, smoothing)
        for class_prior in (None, given):
            class_probs, parameters, proportions, log_likelihood = plain_em(
                model,
                table,
                gold,
                np.asarray(m_step.pseudo_counts, float),
                class_prior,
                num_classes,
                num_steps=7,
            )
            got = em.fit(
                *inputs(table, gold, num_classes),
                m_step,
                None if class_prior is None else jnp.asarray(class_prior, float),
                max_steps=7,
                tolerance=0.0,
            )
            assert got.num_steps == 7
            np.testing.assert_allclose(got.class_probs, class_probs, atol=1e-4)
            np.testing.assert_allclose(parameters_of(got.model), parameters, atol=1e-4)
            np.testing.assert_allclose(got.class_prior, proportions, atol=1e-4)
            np.testing.assert_allclose(got.log_likelihood, log_likelihood, rtol=1e-5)


@pytest.mark.parametrize("model", em.M_STEPS)
@given(
    table=hnp.arrays(np.int8, SHAPE, elements=st.integers(-1, 1)),
    gold=hnp.arrays(np.int8, SHAPE[1], elements=st.sampled_from([-1, -1, -1, 0, 1])),
)
@settings(max_examples=30)
def test_no_step_loses_height(model, table, gold):
    """Maximum likelihood without smoothing, certain labelers included."""
    labels, assessment = inputs(table, gold)
    m_step = em.M_STEPS[model].smoothed(2, 0.0)
    class_probs = jnp.asarray(votes(table, gold, 2), float)
    heights = []
    for _ in range(8):
        state, _ = em.step(labels, assessment, class_probs, m_step, None)
        class_probs = state.class_probs
        assert np.isfinite(class_probs).all()
        assert np.isfinite(parameters_of(state.model)).all()
        heights.append(float(state.log_likelihood))
    assert np.isfinite(heights).all()
    assert np.diff(heights).min() >= -1e-4


@pytest.mark.parametrize("model", em.M_STEPS)
def test_the_end_is_a_top(model):
    """None of 300 neighbours of the estimate is likelier, gold included."""
    labels, assessment = inputs(crowd(share_missing=0.0), SOME_GOLD)
    got = em.fit(labels, assessment, em.M_STEPS[model].smoothed(2, 0.0), tolerance=1e-6)
    assert got.converged
    rng = np.random.default_rng(1)
    pi, at = np.asarray(got.class_prior, float), parameters_of(got.model)
    at = at if model == "confusion" else np.stack([[[a, 1 - a], [1 - a, a]] for a in at])
    best = height(at, pi, SOME_GOLD)
    np.testing.assert_allclose(best, got.log_likelihood, rtol=1e-5)
    for _ in range(300):
        to = rng.dirichlet([1, 1], at.shape[:2])
        if model == "one-coin":
            to = np.stack([[[a, 1 - a], [1 - a, a]] for a in to[:, 0, 0]])
        share = 10 ** rng.uniform(-3, -1)
        near = (1 - share) * at + share * to
        near_pi = (1 - share) * pi + share * rng.dirichlet([1, 1])
        assert height(near, near_pi, SOME_GOLD) <= best + 1e-5


def height(confusion, class_prior, gold):
    table = crowd(share_missing=0.0)
    total = 0.0
    for i, known in enumerate(gold):
        joint = class_prior * np.prod([confusion[j, :, table[j, i]] for j in range(4)], axis=0)
        total += np.log(joint.sum() if known < 0 else joint[known])
    return total


class TestPosteriorMode:
    def test_known_labels_give_the_mode_of_the_beta(self):
        table, gold = crowd(), ALTERNATE
        prior = OneCoinPrior(jnp.log(jnp.array(3.0)), jnp.log(jnp.array(8.0)), 2)
        got = em.fit(*inputs(table, gold), em.OneCoinStep.posterior_mode(prior))
        right = (table == gold).sum(axis=1)
        total = (table >= 0).sum(axis=1)
        np.testing.assert_allclose(got.model.accuracy, (right + 5) / (total + 6), rtol=1e-5)

    def test_known_labels_give_the_mode_of_the_dirichlet(self):
        table, gold = crowd(), ALTERNATE
        shape = np.array([[3.0, 1.0], [2.0, 2.0]])
        prior = ConfusionPrior(jnp.asarray(shape / 4, float), jnp.log(jnp.array(4.0)), 2)
        got = em.fit(*inputs(table, gold), em.ConfusionStep.posterior_mode(prior))
        for j, y in np.ndindex(4, 2):
            rows = np.bincount(table[j, (table[j] >= 0) & (gold == y)], minlength=2) + shape[y] - 1
            np.testing.assert_allclose(got.model.confusion[j, y], rows / rows.sum(), atol=1e-6)

    def test_no_step_loses_posterior_density(self):
        labels, assessment = inputs(crowd(seed=3))
        prior = OneCoinPrior(jnp.log(jnp.array(3.0)), jnp.log(jnp.array(8.0)), 2)
        m_step = em.OneCoinStep.posterior_mode(prior)
        class_probs = jnp.asarray(votes(crowd(seed=3), NO_GOLD, 2), float)
        heights = []
        for _ in range(20):
            state, _ = em.step(labels, assessment, class_probs, m_step, None)
            class_probs = state.class_probs
            log_prior = scipy.stats.beta(6, 2).logpdf(np.asarray(state.model.accuracy)).sum()
            heights.append(float(state.log_likelihood) + log_prior)
        assert np.diff(heights).min() >= -1e-4

    def test_shapes_below_one_make_certain_labelers_whose_contradiction_cancels(self):
        """Two sure labelers disagree on an example: probability zero, the third decides."""
        table = np.stack([ALTERNATE, ALTERNATE, np.zeros(12, int), NOBODY])
        table[1, -1] = 0
        gold = np.where(np.arange(12) < 11, ALTERNATE, MISSING)
        prior = ConfusionPrior(jnp.array([[0.9, 0.1], [0.1, 0.9]]), jnp.log(jnp.array(1.5)), 2)
        given = jnp.array([0.5, 0.5])
        got = em.fit(*inputs(table, gold), em.ConfusionStep.posterior_mode(prior), given)
        assert np.isfinite(got.class_probs).all()
        assert np.isfinite(parameters_of(got.model)).all()


@pytest.mark.parametrize("model", em.M_STEPS)
def test_certain_labelers(model):
    """Accuracy exactly one: whatever others answer, every class stays what it was, without gold."""
    table = np.stack([ALTERNATE, 1 - ALTERNATE, np.zeros(12, int), NOBODY])
    known = jnp.asarray(np.eye(2)[ALTERNATE], float)
    got, change = em.step(*inputs(table), known, em.M_STEPS[model].smoothed(2, 0.0), None)
    assert change == 0.0
    np.testing.assert_array_equal(got.class_probs, known)
    sure, opposite, *_, idle = parameters_of(got.model)
    if model == "one-coin":
        assert (sure, opposite, idle) == (1.0, 0.0, 0.5)
    else:
        np.testing.assert_array_equal(sure, np.eye(2))
        np.testing.assert_array_equal(opposite, 1 - np.eye(2))
        np.testing.assert_array_equal(idle, np.full((2, 2), 0.5))
    expected = 12 * np.log(0.5) * (2 if model == "one-coin" else 1)  # the third labeler's coin
    np.testing.assert_allclose(got.log_likelihood, expected, rtol=1e-6)


@pytest.mark.parametrize("model", em.M_STEPS)
@pytest.mark.parametrize("smoothing", [0.0, 0.01])
@pytest.mark.parametrize(
    "table",
    [
        np.stack([ALTERNATE, NOBODY, NOBODY, NOBODY]),
        np.stack([NOBODY] * 4),
        np.zeros(SHAPE, int),
        np.stack([ALTERNATE, 1 - ALTERNATE] * 2),
        np.stack([ALTERNATE] + [1 - ALTERNATE] * 3),
    ],
    ids=["one labeler", "no answers", "spammers", "contradiction", "adversaries"],
)
def test_nothing_is_nan(model, smoothing, table):
    m_step = em.M_STEPS[model].smoothed(2, smoothing)
    got = em.fit(*inputs(table), m_step)
    assert np.isfinite(got.log_likelihood)
    for values in (got.class_probs, parameters_of(got.model), got.class_prior):
        assert np.isfinite(values).all()
    np.testing.assert_allclose(got.class_probs.sum(axis=1), 1.0, rtol=1e-5)


def test_gold_turns_adversaries_round():
    """Three of four answer the wrong class; four gold examples tell."""
    table = np.stack([ALTERNATE] + [1 - ALTERNATE] * 3)
    got = em.fit(*inputs(table, SOME_GOLD), em.OneCoinStep.smoothed(2))
    np.testing.assert_array_equal(got.class_probs.argmax(axis=1), ALTERNATE)
    np.testing.assert_array_equal(got.class_probs[:4], np.eye(2)[ALTERNATE[:4]])


def test_a_prior_for_each_example():
    """One row for all and the same row for each give the same."""
    row = jnp.array([0.3, 0.7])
    labels, assessment = inputs(crowd())
    m_step = em.ConfusionStep.smoothed(2)
    one = em.fit(labels, assessment, m_step, row, max_steps=9)
    each = em.fit(labels, assessment, m_step, jnp.tile(row, (12, 1)), max_steps=9)
    np.testing.assert_allclose(one.class_probs, each.class_probs, atol=1e-6)
    np.testing.assert_allclose(one.log_likelihood, each.log_likelihood, rtol=1e-6)


def test_compiles_once_per_shape():
    em.fit(*inputs(crowd(1)), em.OneCoinStep.smoothed(2))
    compiled = em.step._cache_size()
    em.fit(*inputs(crowd(2), SOME_GOLD), em.OneCoinStep.smoothed(2, 0.0))
    assert em.step._cache_size() == compiled > 0
