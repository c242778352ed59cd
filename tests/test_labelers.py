"""Class-conditional labelers, and labelers who err together on hard examples."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from gtx_bayes.labelers import ClassConditional, HardExamples, OneCoin
from gtx_bayes.labels import MISSING, Labels, PaddedLabels, Prefixes
from gtx_bayes.posterior import batch_log_prob, class_posterior

MODELS = {
    "class-conditional": ClassConditional(jnp.array([[0.9, 0.6], [0.7, 0.8]]), 2),
    "class-conditional, three classes": ClassConditional(
        jnp.array([[0.9, 0.6, 0.7], [0.5, 0.8, 0.4]]), 3
    ),
    "hard examples": HardExamples(
        jnp.array([0.9, 0.8]), jnp.array([0.3, 0.4]), jnp.asarray(0.25), 2
    ),
    "hard examples, three classes": HardExamples(
        jnp.array([0.9, 0.8]), jnp.array([0.2, 0.3]), jnp.asarray(0.25), 3
    ),
    "one-coin": OneCoin(jnp.array([0.9, 0.6]), 3),
}


def test_class_conditional_worked_by_hand(rtol):
    """Answers 1 and 0: under class 0 .1 x .7, under class 1 .6 x .2."""
    got = MODELS["class-conditional"].log_prob(jnp.array([1, 0]))
    np.testing.assert_allclose(got, np.log([0.1 * 0.7, 0.6 * 0.2]), rtol=rtol)


def test_class_conditional_wrong_answers_share(rtol):
    """Answer 2 of the first labeler: a wrong one has (1 - alpha_y) / 2."""
    model = MODELS["class-conditional, three classes"]
    got = model.log_prob(jnp.array([2, MISSING]))
    np.testing.assert_allclose(got, np.log([0.05, 0.2, 0.7]), rtol=rtol)


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


def test_hard_examples_worked_by_hand(rtol):
    """Answers 1 and 1: .75 x .1 x .2 + .25 x .7 x .6 under class 0."""
    got = MODELS["hard examples"].log_prob(jnp.array([1, 1]))
    expected = [0.75 * 0.1 * 0.2 + 0.25 * 0.7 * 0.6, 0.75 * 0.9 * 0.8 + 0.25 * 0.3 * 0.4]
    np.testing.assert_allclose(got, np.log(expected), rtol=rtol)


@pytest.mark.parametrize("name", MODELS)
def test_no_answers_carry_no_evidence(name, rtol):
    got = MODELS[name].log_prob(jnp.array([MISSING, MISSING]))
    np.testing.assert_allclose(got, np.zeros(MODELS[name].num_classes), atol=rtol)


@pytest.mark.parametrize(
    "name", ["class-conditional, three classes", "hard examples, three classes"]
)
def test_batch_log_prob_against_the_definition(name):
    """In every form of the answers."""
    model = MODELS[name]
    table = np.random.default_rng(0).integers(-1, 3, (2, 7)).astype(np.int8)
    expected = jax.vmap(model.log_prob, 1)(jnp.asarray(table))
    padded = PaddedLabels(jnp.tile(jnp.array([[1], [0]]), (1, 7)), jnp.asarray(table[::-1]), 2, 3)
    for form in (jnp.asarray(table), Labels.from_dense(table, num_classes=3), padded):
        np.testing.assert_allclose(batch_log_prob(model, form), expected, atol=1e-5)
    prefixes = batch_log_prob(model, Prefixes(padded)).reshape(3, 7, 3)
    first = jnp.asarray(np.where(np.arange(2)[:, None] == 1, table, MISSING))
    np.testing.assert_allclose(prefixes[0], np.zeros((7, 3)), atol=1e-5)
    np.testing.assert_allclose(prefixes[1], jax.vmap(model.log_prob, 1)(first), atol=1e-5)
    np.testing.assert_allclose(prefixes[2], expected, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_probabilities_of_all_answers_sum_to_one(name, rtol):
    model = MODELS[name]
    every = jnp.array(list(itertools.product(range(model.num_classes), repeat=2)))
    total = jnp.exp(jax.vmap(model.log_prob)(every)).sum(axis=0)
    np.testing.assert_allclose(total, np.ones(model.num_classes), rtol=rtol)


@pytest.mark.parametrize("name", MODELS)
def test_samples_follow_log_prob(name, key):
    """Frequencies of whole answer patterns against exp(log_prob), for every class: chi-square."""
    model, num_draws = MODELS[name], 20_000
    every = jnp.array(list(itertools.product(range(model.num_classes), repeat=2)))
    expected = num_draws * np.exp(np.asarray(jax.vmap(model.log_prob)(every), np.float64))
    for true_label in range(model.num_classes):
        keys = jax.random.split(jax.random.fold_in(key, true_label), num_draws)
        labels = np.asarray(jax.vmap(model.sample, (0, None))(keys, jnp.array(true_label)))
        pattern = labels @ np.array([model.num_classes, 1])
        observed = np.bincount(pattern, minlength=len(every))
        wanted = expected[:, true_label]
        statistic = ((observed - wanted) ** 2 / wanted).sum()
        assert scipy.stats.chi2.sf(statistic, df=len(every) - 1) > 1e-6


@pytest.mark.parametrize("name", MODELS)
def test_answers_of_many_examples_are_samples(name, key):
    """The batched draw that simulations use has the law of `sample`: by class, share right."""
    model, num_examples = MODELS[name], 20_000
    everybody = jnp.tile(jnp.arange(model.num_labelers)[:, None], (1, num_examples))
    for true_label, key_class in enumerate(jax.random.split(key, model.num_classes)):
        truth = jnp.full(num_examples, true_label)
        labels = np.asarray(model.answer(key_class, everybody, truth))
        assert labels.min() >= 0
        assert labels.max() < model.num_classes
        for j in range(model.num_labelers):
            alone = jnp.full(model.num_labelers, MISSING).at[j].set(true_label)
            share = float(jnp.exp(model.log_prob(alone))[true_label])
            low, high = scipy.stats.binom.interval(1 - 1e-6, num_examples, share)
            assert low <= int((labels[j] == true_label).sum()) <= high


def test_errors_on_hard_examples_are_correlated(key):
    """Both wrong together more often than the product of their error rates, as the model says."""
    model, num_examples = MODELS["hard examples"], 40_000
    truth = jnp.zeros(num_examples, jnp.int32)
    both_labelers = jnp.tile(jnp.arange(2)[:, None], (1, num_examples))
    both = int((model.answer(key, both_labelers, truth) == 1).all(axis=0).sum())
    share = 0.75 * 0.1 * 0.2 + 0.25 * 0.7 * 0.6
    low, high = scipy.stats.binom.interval(1 - 1e-6, num_examples, share)
    assert low <= both <= high
    independent = (0.75 * 0.1 + 0.25 * 0.7) * (0.75 * 0.2 + 0.25 * 0.6)
    assert low > independent * num_examples
