"""Labelers with known parameters, whatever their kind: what labels say, and how they are drawn."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from gtx_bayes.labels import MISSING, Labels, PaddedLabels, Prefixes
from gtx_bayes.models.class_conditional import ClassConditional
from gtx_bayes.models.confusion import ConfusionMatrix
from gtx_bayes.models.difficulty import HardExamples
from gtx_bayes.models.labelers import AbstractLabelers
from gtx_bayes.models.one_coin import OneCoin
from gtx_bayes.posterior import (
    batch_class_posterior,
    batch_log_evidence,
    batch_log_odds,
    batch_log_prob,
    class_posterior,
    gather_evidence,
    update,
)
from tests.reference import product_form

ACCURACY = jnp.array([0.9, 0.7, 0.55, 0.8])
NUM_DRAWS = 8000


def labelers(num_classes):
    rows = jax.random.dirichlet(jax.random.key(3), jnp.ones(num_classes) * 2.0, (4, num_classes))
    by_class = jnp.linspace(0.5, 0.95, 4 * num_classes).reshape(4, num_classes)
    return {
        "one coin": OneCoin(ACCURACY, num_classes),
        "class-conditional": ClassConditional(by_class, num_classes),
        "confusion": ConfusionMatrix(rows, num_classes),
        "hard examples": HardExamples(ACCURACY, 1 - ACCURACY, jnp.asarray(0.2), num_classes),
    }


KINDS = [*((name, 3) for name in labelers(3)), ("confusion", 2)]


@pytest.fixture(params=KINDS, ids=lambda of: f"{of[0]}-{of[1]}")
def model(request):
    name, num_classes = request.param
    return labelers(num_classes)[name]


@pytest.fixture
def dense(model):
    rng = np.random.default_rng(0)
    table = rng.integers(0, model.num_classes, (4, 7))
    return np.where(rng.random((4, 7)) < 0.3, MISSING, table)


def by_hand(model, column):
    """Log-likelihood of one example's labels: products of confusion rows, subclass by subclass."""
    if isinstance(model, HardExamples):
        shares = np.array([1 - float(model.hard_share), float(model.hard_share)])
        parts = [np.asarray(each.confusion_matrix, np.float64) for each in (model.easy, model.hard)]
    else:
        shares, parts = np.ones(1), [np.asarray(model.confusion_matrix, np.float64)]
    found = np.zeros(model.num_classes)
    for share, rows in zip(shares, parts, strict=True):
        product = np.full(model.num_classes, share)
        for j, label in enumerate(column):
            if label != MISSING:
                product *= rows[j, :, label]
        found += product
    return np.log(found)


class Derived(AbstractLabelers):
    """The same labelers with nothing but what a subclass must write."""

    def __init__(self, of):
        self.of, self.num_classes = of, of.num_classes

    num_labelers = property(lambda self: self.of.num_labelers)
    num_subclasses = property(lambda self: self.of.num_subclasses)
    log_subclass_probs = property(lambda self: self.of.log_subclass_probs)

    def log_prob_of_labels(self, labels):
        return self.of.log_prob_of_labels(labels)


THREE = ClassConditional(jnp.array([[0.9, 0.6, 0.7], [0.5, 0.8, 0.4]]), 3)
WORKED = {
    "one coin": (OneCoin(jnp.array([0.9, 0.8, 0.7]), 2), [1, 1, 0], [0.014, 0.216]),
    "wrong labels of one coin share": (OneCoin(jnp.array([0.8]), 3), [2], [0.1, 0.1, 0.8]),
    "one certain coin": (OneCoin(jnp.array([1.0, 0.0, 0.6]), 2), [1, MISSING, 1], [0.0, 0.6]),
    "one coin never right": (OneCoin(jnp.array([1.0, 0.0, 0.6]), 2), [MISSING, 0, 1], [0.0, 0.6]),
    "class-conditional": (
        ClassConditional(jnp.array([[0.9, 0.6], [0.7, 0.8]]), 2),
        [1, 0],
        [0.1 * 0.7, 0.6 * 0.2],
    ),
    "wrong labels by class share": (THREE, [2, MISSING], [0.05, 0.2, 0.7]),
    "hard examples": (
        HardExamples(jnp.array([0.9, 0.8]), jnp.array([0.3, 0.4]), jnp.asarray(0.25), 2),
        [1, 1],
        [0.75 * 0.1 * 0.2 + 0.25 * 0.7 * 0.6, 0.75 * 0.9 * 0.8 + 0.25 * 0.3 * 0.4],
    ),
}


@pytest.mark.parametrize("name", WORKED)
def test_log_prob_worked_by_hand(name, rtol):
    model, label, expected = WORKED[name]
    with np.errstate(divide="ignore"):
        found = jax.jit(model.log_prob)(jnp.array(label))
        np.testing.assert_allclose(found, np.log(expected), rtol=rtol)


class TestEveryForm:
    def test_equals_products(self, model, dense):
        labels = Labels.from_dense(dense, num_classes=model.num_classes)
        want = np.stack([by_hand(model, column) for column in dense.T])
        for form in (labels, jnp.asarray(dense, jnp.int8)):
            for kind in (model, Derived(model)):
                found = jax.jit(kind.batch_log_prob)(form)
                np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)
        column = jnp.asarray(dense[:, 0], jnp.int8)
        np.testing.assert_allclose(jax.jit(model.log_prob)(column), want[0], rtol=1e-4, atol=1e-5)
        prior = np.linspace(1.0, 2.0, model.num_classes)
        prior /= prior.sum()
        joint = want + np.log(prior)
        evidence = np.logaddexp.reduce(joint, axis=1)
        posterior = np.exp(joint - evidence[:, None])
        given = jnp.asarray(prior, float)
        np.testing.assert_allclose(
            batch_class_posterior(model, labels, given), posterior, atol=1e-5
        )
        np.testing.assert_allclose(
            batch_log_evidence(model, labels, given), evidence, rtol=1e-4, atol=1e-5
        )
        found = jax.jit(class_posterior)(model, column, given)
        np.testing.assert_allclose(found, posterior[0], atol=1e-5)
        if model.num_classes == 2:
            np.testing.assert_allclose(
                batch_log_odds(model, labels, given), joint[:, 1] - joint[:, 0], atol=1e-4
            )

    def test_by_place(self, model, dense):
        place = PaddedLabels(
            jnp.broadcast_to(jnp.arange(4)[:, None], dense.shape),
            jnp.asarray(dense, jnp.int8),
            4,
            model.num_classes,
        )
        whole = batch_log_prob(model, place)
        np.testing.assert_allclose(whole, batch_log_prob(model, jnp.asarray(dense)), atol=1e-5)
        steps = batch_log_prob(model, Prefixes(place)).reshape(5, 7, -1)
        np.testing.assert_allclose(steps[-1], whole, atol=1e-5)
        np.testing.assert_allclose(steps[0], np.zeros_like(whole), atol=1e-6)
        np.testing.assert_allclose(steps[2], batch_log_prob(model, place.first(2)), atol=1e-5)

    def test_grows(self, model, dense):
        labels = Labels.from_dense(dense, num_classes=model.num_classes)
        at = labels.num_labels // 2
        first = labels.entries(np.arange(at))
        rest = labels.entries(np.arange(at, labels.num_labels))
        if model.num_subclasses > 1:
            with pytest.raises(ValueError, match="gather them anew"):
                update(gather_evidence(model, first), model, rest)
            return
        grown = update(gather_evidence(model, first), model, rest)
        np.testing.assert_allclose(
            grown.log_prob(), gather_evidence(model, labels).log_prob(), rtol=1e-5, atol=1e-5
        )


class TestDerived:
    def test_confusion(self, model):
        np.testing.assert_allclose(
            jax.jit(lambda: Derived(model).confusion_matrix)(), model.confusion_matrix, atol=1e-6
        )

    def test_floored(self, model, dense):
        """Where nothing is certain, up to what the classes share."""
        labels = Labels.from_dense(dense, num_classes=model.num_classes)
        want = batch_log_prob(model, labels)
        for got in (model.floored_log_prob(labels), model.floored_evidence(labels)):
            np.testing.assert_allclose(got - got[:, :1], want - want[:, :1], atol=1e-5)

    def test_answers(self, model, dense):
        """Probabilities of all that an entry may be sum to one, and hold what it is."""
        labels = Labels.from_dense(dense, num_classes=model.num_classes)
        latent = jnp.full(labels.num_labels, model.num_classes * model.num_subclasses - 1)
        found = model.log_prob_of_answers(labels, latent)
        np.testing.assert_allclose(jnp.exp(found).sum(axis=1), 1.0, atol=1e-5)
        own = jnp.take_along_axis(found, labels.label[:, None].astype(int), axis=1)[:, 0]
        np.testing.assert_allclose(own, model.log_prob_of_labels(labels)[:, -1], atol=1e-5)
        np.testing.assert_allclose(
            found, Derived(model).log_prob_of_answers(labels, latent), atol=1e-5
        )


class TestDraws:
    def test_labels_follow_the_confusion_matrix(self, key, model):
        """Labels of two labelers to examples of one class: binomial intervals, label by label."""
        true = model.num_classes - 1
        labels = Labels.from_dense(np.zeros((4, NUM_DRAWS), int), num_classes=model.num_classes)
        rows = np.asarray(model.confusion_matrix)
        for kind in (model, Derived(model)):
            key_latents, key_labels = jax.random.split(key)
            latent = jax.jit(kind.draw_latents)(key_latents, jnp.full(NUM_DRAWS, true))
            drawn = np.asarray(jax.jit(kind.draw_labels)(key_labels, labels, latent))
            for j in (0, 2):
                number = np.bincount(drawn[np.asarray(labels.labeler) == j], minlength=len(rows[j]))
                low, high = scipy.stats.binom.interval(1 - 1e-7, NUM_DRAWS, rows[j, true])
                assert ((low <= number) & (number <= high)).all()

    def test_patterns_follow_log_prob(self, key, model):
        """Whole patterns of labels by two of the labelers, errors together: chi-square."""
        every = np.array(list(itertools.product(range(model.num_classes), repeat=2)))
        alone = np.full((len(every), 4), MISSING)
        alone[:, :2] = every
        log_prob = jax.jit(jax.vmap(model.log_prob))(jnp.asarray(alone))
        expected = NUM_DRAWS * np.exp(np.asarray(log_prob))
        np.testing.assert_allclose(expected.sum(axis=0), NUM_DRAWS, rtol=1e-5)
        true = model.num_classes - 1
        everybody = jnp.tile(jnp.arange(4)[:, None], (1, NUM_DRAWS))
        drawn = [jax.jit(model.answer)(key, everybody, jnp.full(NUM_DRAWS, true)).T]
        if isinstance(model, HardExamples):  # one example at a time, by the same draws
            keys = jax.random.split(key, NUM_DRAWS)
            drawn.append(jax.jit(jax.vmap(model.sample, (0, None)))(keys, jnp.array(true)))
        for labels in drawn:
            pattern = np.asarray(labels)[:, :2] @ np.array([model.num_classes, 1])
            observed, wanted = np.bincount(pattern, minlength=len(every)), expected[:, true]
            statistic = ((observed - wanted) ** 2 / wanted).sum()
            assert scipy.stats.chi2.sf(statistic, df=len(every) - 1) > 1e-6


def test_no_labels_carry_no_evidence(model):
    found = jax.jit(model.log_prob)(jnp.full(4, MISSING))
    np.testing.assert_allclose(found, np.zeros(model.num_classes), atol=1e-6)


@pytest.mark.parametrize("num_classes", [2, 3, 7])
def test_one_coin_against_products(num_classes):
    rng = np.random.default_rng(num_classes)
    accuracy = rng.uniform(0.02, 0.98, 200).astype(np.float32)
    labels = rng.integers(MISSING, num_classes, 200)
    model = OneCoin(jnp.asarray(accuracy, float), num_classes)
    expected = np.log(product_form(labels, accuracy, np.ones(num_classes)))
    got = model.log_prob(jnp.asarray(labels))
    # Each of 200 logarithms is rounded once; the sum of their coarse parts is exact.
    eps = float(jnp.finfo(got.dtype).eps)
    np.testing.assert_allclose(got, expected.astype(float), atol=200 * 4 * eps, rtol=4 * eps)


def test_class_conditional_with_equal_accuracies_is_one_coin(rtol):
    accuracy = jnp.array([0.9, 0.55, 1.0])
    labels = jnp.array([2, 0, 2])
    by_class = ClassConditional(jnp.tile(accuracy[:, None], (1, 3)), 3)
    np.testing.assert_allclose(
        class_posterior(by_class, labels),
        class_posterior(OneCoin(accuracy, 3), labels),
        rtol=rtol,
        atol=1e-9,
    )


def test_certain_labelers_cancel_whatever_their_kind():
    """Two certain ones contradict each other, a third decides."""
    rows = jnp.array([[[1.0, 0.0], [0.0, 1.0]]] * 2 + [[[0.8, 0.2], [0.2, 0.8]]])
    labels = Labels.from_dense(np.array([[0], [1], [1]]), num_classes=2)
    found = batch_class_posterior(ConfusionMatrix(rows, 2), labels)
    np.testing.assert_allclose(found, [[0.2, 0.8]], atol=1e-6)


def test_gradient_is_finite_at_certainty():
    def loss(accuracy):
        return OneCoin(accuracy, 2).likelihood(jnp.array([1, 0])).fine.sum()

    assert np.isfinite(jax.grad(loss)(jnp.array([1.0, 0.0]))).all()


def test_is_a_pytree_and_compiles_once():
    @jax.jit
    @chex.assert_max_traces(n=1)
    def run(model, labels):
        return model.log_prob(labels)

    for accuracy in (0.6, 0.7):
        run(OneCoin(jnp.array([accuracy]), 2), jnp.array([1]))
