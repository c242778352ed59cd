"""What labelers with known parameters must be, whatever their kind."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from gtx_bayes.labelers import ClassConditional, ConfusionMatrix, HardExamples, OneCoin
from gtx_bayes.labelers.base import AbstractLabelers
from gtx_bayes.labels import MISSING, Labels, PaddedLabels, Prefixes
from gtx_bayes.posterior import (
    batch_class_posterior,
    batch_log_evidence,
    batch_log_odds,
    batch_log_prob,
    class_posterior,
    gather_evidence,
    update,
)

ACCURACY = jnp.array([0.9, 0.7, 0.55, 0.8])


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


class TestEveryForm:
    def test_equals_products(self, model, dense):
        labels = Labels.from_dense(dense, num_classes=model.num_classes)
        want = np.stack([by_hand(model, column) for column in dense.T])
        for form in (labels, jnp.asarray(dense, jnp.int8)):
            np.testing.assert_allclose(batch_log_prob(model, form), want, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(
                Derived(model).batch_log_prob(form), want, rtol=1e-4, atol=1e-5
            )
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
        np.testing.assert_allclose(
            class_posterior(model, jnp.asarray(dense[:, 0], jnp.int8), given),
            posterior[0],
            atol=1e-5,
        )
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
            Derived(model).confusion_matrix, model.confusion_matrix, atol=1e-6
        )

    def test_floored(self, model, dense):
        """Where nothing is certain, up to what the classes share."""
        labels = Labels.from_dense(dense, num_classes=model.num_classes)
        got, want = model.floored_log_prob(labels), batch_log_prob(model, labels)
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

    def test_draws(self, key, model):
        """Labels of two labelers to examples of one class, against their confusion rows."""
        num_examples, true = 4000, model.num_classes - 1
        labels = Labels.from_dense(np.zeros((4, num_examples), int), num_classes=model.num_classes)
        for kind in (model, Derived(model)):
            key_latents, key_labels = jax.random.split(key)
            latent = kind.draw_latents(key_latents, jnp.full(num_examples, true))
            drawn = np.asarray(kind.draw_labels(key_labels, labels, latent))
            for j in (0, 2):
                of_labeler = drawn[np.asarray(labels.labeler) == j]
                for label in range(model.num_classes):
                    prob = float(model.confusion_matrix[j, true, label])
                    low, high = scipy.stats.binom.interval(1 - 1e-7, num_examples, prob)
                    assert low <= np.sum(of_labeler == label) <= high


def test_certain_labelers_cancel_whatever_their_kind():
    """Two certain ones contradict each other, a third decides."""
    rows = jnp.array([[[1.0, 0.0], [0.0, 1.0]]] * 2 + [[[0.8, 0.2], [0.2, 0.8]]])
    labels = Labels.from_dense(np.array([[0], [1], [1]]), num_classes=2)
    found = batch_class_posterior(ConfusionMatrix(rows, 2), labels)
    np.testing.assert_allclose(found, [[0.2, 0.8]], atol=1e-6)
