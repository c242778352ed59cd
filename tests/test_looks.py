"""Examples that look like a class to everybody."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from gtx_bayes.aggregation import tables
from gtx_bayes.inference import looks, pool, variational, weighing
from gtx_bayes.labels import MISSING, Assessment, Labels, PaddedLabels, Prefixes
from gtx_bayes.models.confusion import ConfusionMatrix, ConfusionPrior
from gtx_bayes.models.looks import NUM_GROUPS, PRIOR_SHARES, PULLS, SharedLooks
from gtx_bayes.simulation import simulate_queue


def labelers_of(key, num_labelers=6, num_classes=2, right=0.8):
    """Labelers who are right with some probability, and confuse as they like."""
    off = (1.0 - right) / (num_classes - 1)
    mean = jnp.where(jnp.eye(num_classes, dtype=bool), right, off)
    rows = jax.random.dirichlet(key, 30.0 * mean, (num_labelers, num_classes))
    return ConfusionMatrix(rows, num_classes)


def shares(misleading=0.2, plain=0.7, pull=4):
    """Plain examples, easy ones and misleading ones of one pull."""
    found = np.full(NUM_GROUPS, 1e-6)
    found[0], found[1 + pull] = plain, 1.0 - plain - misleading
    found[1 + PULLS.size + pull] = misleading
    return jnp.log(jnp.asarray(found / found.sum(), float))


def simulated(key, model, num_examples, num_gold, max_labels=5):
    queue = simulate_queue(key, model, num_examples, max_labels=max_labels)
    labels = Labels.from_dense(queue.labels, num_classes=model.num_classes)
    truth = np.asarray(queue.true_label)
    known = np.where(np.arange(num_examples) < num_gold, truth, MISSING)
    return labels, Assessment(jnp.asarray(known, jnp.int8), model.num_classes), truth


def log_loss(evidence, truth, open_):
    log_probs = jax.nn.log_softmax(evidence, axis=1)
    return -float(jnp.mean(log_probs[np.arange(truth.size), truth][open_]))


class TestModel:
    def test_labels_that_are_impossible_but_for_a_look(self):
        """All triples of labels by labelers who never give some: no NaN, and the definition."""
        rows = [
            [[1.0, 0.0, 0.0], [0.2, 0.8, 0.0], [0.0, 0.0, 1.0]],
            [[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.1, 0.1, 0.8]],
            [[0.0, 1.0, 0.0], [0.3, 0.3, 0.4], [0.2, 0.0, 0.8]],
        ]
        base = ConfusionMatrix(jnp.asarray(rows, float), 3)
        model = SharedLooks(base, jnp.log(jnp.asarray(PRIOR_SHARES, float)))
        triples = np.array(list(itertools.product(range(3), repeat=3)), np.int8)
        labels = Labels.from_dense(triples.T, num_classes=3)
        per_label = np.asarray(model.log_prob_of_labels(labels), np.float64)
        sums = np.zeros((27, per_label.shape[1]))
        np.add.at(sums, np.asarray(labels.example), per_label)
        of_look = np.asarray(model.log_subclass_probs, np.float64)
        expected = np.exp(sums.reshape(27, 3, -1) + of_look).sum(axis=2)
        found = np.exp(np.asarray(model.batch_log_prob(labels), np.float64))
        np.testing.assert_allclose(found, expected, rtol=1e-4)
        assert (found == 0.0).sum() == 17

    @pytest.mark.slow
    def test_groups_are_the_sum_over_states(self, key):
        """The closed form is what the definition gives state by state, in every form of a table."""
        table = np.random.default_rng(0).integers(-1, 3, (6, 7)).astype(np.int8)
        log_shares = jnp.log(jax.random.dirichlet(key, jnp.ones(NUM_GROUPS)))
        model = SharedLooks(labelers_of(key, num_classes=3), log_shares)
        assert model.num_subclasses == 1 + 3 * PULLS.size
        labels = Labels.from_dense(table, num_classes=3)
        per_label = model.log_prob_of_labels(labels)
        sums = jnp.zeros((7, per_label.shape[1])).at[labels.example].add(per_label)
        expected = model.sum_out_subclasses(sums)
        np.testing.assert_allclose(jnp.exp(model.log_subclass_probs).sum(axis=1), 1.0, rtol=1e-5)
        padded = PaddedLabels(
            jnp.broadcast_to(jnp.arange(6)[:, None], (6, 7)), jnp.asarray(table), 6, 3
        )
        for form in (labels, jnp.asarray(table), padded):
            np.testing.assert_allclose(model.batch_log_prob(form), expected, atol=1e-4)
        last = model.batch_log_prob(Prefixes(padded)).reshape(7, 7, 3)[-1]
        np.testing.assert_allclose(last, expected, atol=1e-4)

    def test_two_answers_by_hand(self):
        """A quarter misleading with pull .9, of two who are right four times in five."""
        base = ConfusionMatrix(jnp.tile(jnp.array([[0.8, 0.2], [0.2, 0.8]]), (2, 1, 1)), 2)
        model = SharedLooks(base, shares(misleading=0.25, plain=0.75))
        found = model.batch_log_prob(jnp.array([[1], [1]]))[0]
        right = 0.75 * 0.8**2 + 0.25 * (0.1 * 0.8) ** 2
        wrong = 0.75 * 0.2**2 + 0.25 * (0.9 + 0.1 * 0.2) ** 2
        np.testing.assert_allclose(jnp.exp(found), [wrong, right], rtol=1e-3)

    def test_answers_are_drawn_by_it(self, key):
        """Labelers who are always right but for a misleading look of pull .9, one in four."""
        base = ConfusionMatrix(jnp.tile(jnp.eye(2), (4, 1, 1)), 2)
        labels, _, truth = simulated(
            key, SharedLooks(base, shares(misleading=0.25, plain=0.75)), 2000, 0, max_labels=4
        )
        wrong = np.asarray(labels.label) != truth[np.asarray(labels.example)]
        number = np.bincount(np.asarray(labels.example), wrong, minlength=2000)
        low, high = scipy.stats.binom.ppf([1e-4, 1 - 1e-4], 2000, 0.25 * 0.9**4)
        assert low <= np.sum(number == 4) <= high
        low, high = scipy.stats.binom.ppf([1e-4, 1 - 1e-4], 2000, 0.75 + 0.25 * 0.1**4)
        assert low <= np.sum(number == 0) <= high


def test_confusion_of_as_many_labelers_as_groups(key):
    """Thirteen of either: shares of groups are no labelers."""
    model = SharedLooks(labelers_of(key, num_labelers=NUM_GROUPS), shares())
    found = tables._matrices(model, NUM_GROUPS)
    np.testing.assert_allclose(found, model.confusion_matrix, rtol=1e-5)


@pytest.fixture(scope="module")
def crowd():
    """A fifth misleading, by pull .9, half of them gold."""
    key = jax.random.key(20241210)
    return simulated(key, SharedLooks(labelers_of(key), shares()), 1500, 750)


class TestOnTopOfAFit:
    def fitted(self, labels, gold):
        flat = variational.uniform(labels.num_classes)
        return variational.fit(labels, gold, ConfusionPrior.default(labels.num_classes), flat)

    def test_shares_are_found(self, crowd):
        """The part that gold shows, and the log loss falls."""
        labels, gold, truth = crowd
        fit = self.fitted(labels, gold)
        found = looks.learn(labels, gold, fit, learns=False)
        misleading = np.exp(found.log_shares)[1 + PULLS.size :]
        # Neighbouring pulls share it; a misleading look with a small pull hardly misleads.
        assert misleading[2:].sum() == pytest.approx(0.2, abs=0.08)
        open_ = ~np.asarray(gold.is_gold)
        assert log_loss(found.evidence, truth, open_) < log_loss(fit.evidence, truth, open_) - 0.1

    def test_without_gold_misleading_ones_are_as_rare_as_they_were(self, crowd):
        labels, none = crowd[0], Assessment.none(1500, 2)
        found = looks.learn(labels, none, self.fitted(labels, none), learns=False)
        easy, misleading = np.exp(found.log_shares)[1:].reshape(2, -1)
        prior = PRIOR_SHARES[1:].reshape(2, -1)
        np.testing.assert_allclose(misleading / easy, prior[1] / prior[0], rtol=1e-3)

    @pytest.mark.slow
    def test_plain_examples_leave_the_evidence(self, key):
        """With few looks it is that of the fit; own parts are off, and classes' proportions in."""
        labels, gold, _ = simulated(key, labelers_of(key, num_classes=3), 300, 60)
        prior = ConfusionPrior.default(3)
        for given in (variational.uniform(3), None):
            fit = variational.fit(labels, gold, prior, given)
            found = looks.learn(labels, gold, fit, learns=given is None)
            assert np.exp(found.log_shares[0]) > 0.6
            moved = np.asarray(found.evidence) - np.asarray(fit.evidence)
            # Never below what plain examples alone leave of it.
            assert (moved > float(found.log_shares[0]) - 1e-3).all()

    def test_many_classes_do_without(self):
        labels = Labels.from_arrays(
            np.arange(10_000), np.zeros(10_000, int), np.arange(10_000) % 2000, num_classes=2000
        )
        assert not looks.can_be_learnt(labels)
        none = Assessment.none(labels.num_examples, labels.num_classes)
        names = [each.name for each in pool._candidates(weighing.AUTO_MODELS, None, labels, none)]
        assert not any("looks" in name for name in names)
