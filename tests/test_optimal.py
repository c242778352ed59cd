import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from gtx_bayes.aggregation.gtx import ClassPosterior
from gtx_bayes.collection import offline
from gtx_bayes.collection.confidence_threshold import ConfidenceThreshold
from gtx_bayes.collection.offline import at_count, class_prob_path
from gtx_bayes.collection.optimal import MAX_LABELERS, least_error, stopping_curve
from gtx_bayes.models.one_coin import OneCoin
from gtx_bayes.simulation import simulate_queue


def every_stopping_rule(accuracy):
    """(error, labels) of each of the 2**19 rules for three labelers, state by state in NumPy.

    A state is a tuple of answers, None for a labeler who has not come; a rule says for every
    state without all answers whether to go on.
    """
    states = list(itertools.product([None, 0, 1], repeat=3))
    joint = {
        s: np.array(
            [
                0.5
                * np.prod(
                    [
                        1.0 if a is None else (p if a == y else 1 - p)
                        for a, p in zip(s, accuracy, strict=True)
                    ]
                )
                for y in range(2)
            ]
        )
        for s in states
    }
    undecided = [s for s in states if None in s]
    rules = np.arange(2 ** len(undecided))
    error, labels = {}, {}
    for s in sorted(states, key=lambda s: s.count(None)):
        stop = np.full(rules.size, joint[s].min())
        if None not in s:
            error[s], labels[s] = stop, np.zeros(rules.size)
            continue
        left = [j for j in range(3) if s[j] is None]
        after = [(*s[:j], a, *s[j + 1 :]) for j in left for a in (0, 1)]
        go = (rules >> undecided.index(s)) & 1 == 1
        error[s] = np.where(go, sum(error[t] for t in after) / len(left), stop)
        more = sum(labels[t] for t in after) / len(left) + joint[s].sum()
        labels[s] = np.where(go, more, 0.0)
    return error[None, None, None], labels[None, None, None]


@pytest.mark.parametrize("accuracy", [(0.6, 0.75, 0.9), (0.8, 0.8, 0.8), (0.3, 0.55, 1.0)])
def test_bound_is_the_lower_hull_of_every_rule(accuracy):
    """Mixing rules reaches exactly the lower convex hull of their (labels, error)."""
    error, labels = every_stopping_rule(accuracy)
    labels, at = np.unique(labels.round(9), return_inverse=True)
    lowest = np.full(labels.size, np.inf)
    np.minimum.at(lowest, at, error)
    for budget in (0.0, 0.4, 1.0, 1.7, 3.0):
        # A hull is the highest of its supporting lines: concave in the slope.
        def support(slope, budget=budget):
            return -((lowest + slope * labels).min() - slope * budget)

        found = scipy.optimize.minimize_scalar(
            support, bounds=(0.0, 0.5), method="bounded", options={"xatol": 1e-9}
        )
        expected = max(-found.fun, -support(0.0), -support(0.5))
        got = float(least_error(jnp.array(accuracy), budget).error)
        assert got == pytest.approx(expected, rel=2e-6, abs=2e-7)


def test_ends_worked_by_hand():
    """No label: a coin. All three: the majority's error where accuracies are equal."""
    accuracy = jnp.full(3, 0.8)
    assert float(least_error(accuracy, 0.0).error) == pytest.approx(0.5, abs=1e-6)
    assert float(least_error(accuracy, 3.0).error) == pytest.approx(
        0.2**3 + 3 * 0.2**2 * 0.8, abs=1e-6
    )
    assert float(least_error(accuracy, 1.0).error) == pytest.approx(0.2, abs=1e-6)


def test_no_threshold_beats_the_bound(key):
    accuracy = jax.random.uniform(key, (6,), minval=0.55, maxval=0.95)
    error, labels = stopping_curve(accuracy, jnp.linspace(0.5, 0.999, 30), 6)
    bound = jax.vmap(lambda k: least_error(accuracy, k).error)(labels)
    assert (np.asarray(error) >= np.asarray(bound) - 1e-6).all()


def test_stopping_curve_against_simulation(key):
    """The exact curve lies within the simulation's error, and the cap is kept."""
    accuracy, num_examples = jnp.array([0.6, 0.7, 0.8, 0.9, 0.95]), 40_000
    thresholds = jnp.array([0.8, 0.95])
    queue = simulate_queue(key, OneCoin(accuracy, 2), num_examples)
    path = class_prob_path(ClassPosterior(OneCoin(accuracy, 2)), queue)
    for cap in (2, 5):
        error, labels = stopping_curve(accuracy, thresholds, cap)
        for at, threshold in enumerate(thresholds):
            n = offline.num_wanted(ConfidenceThreshold(threshold, cap), path)
            wrong = at_count(path.argmax(axis=2) != queue.true_label, n)
            se = np.sqrt(float(error[at]) / num_examples)
            assert float(jnp.mean(wrong)) == pytest.approx(float(error[at]), abs=5 * se)
            assert float(jnp.mean(n)) == pytest.approx(
                float(labels[at]), abs=5 * float(jnp.std(n)) / num_examples**0.5
            )


def test_too_many_labelers():
    with pytest.raises(ValueError, match="13 labelers have 3\\*\\*13 states"):
        least_error(jnp.full(MAX_LABELERS + 1, 0.8), 3.0)


def test_bound_with_costs(key):
    """Two kinds of examples: the best split of the money between them, each at its own bound."""
    accuracy, money = jnp.array([0.6, 0.75, 0.9]), 2.0
    costs = jnp.array([1.0, 3.0])
    got = least_error(accuracy, money, costs)
    of_first = jnp.linspace(0.0, 3.0, 301)  # labels of each cheap example
    of_second = (2 * money - of_first * costs[0]) / costs[1]
    error = jax.vmap(lambda k: least_error(accuracy, k).error)
    split = jnp.where((of_second >= 0) & (of_second <= 3), error(of_first) + error(of_second), 2.0)
    # Piecewise linear: a grid of .01 labels misses the best by no more than its steepest slope.
    best = float(jnp.min(split)) / 2
    slope = float(least_error(accuracy, 0.0).price)
    assert best - 0.01 * slope - 1e-5 <= float(got.error) <= best + 1e-5
    alike = least_error(accuracy, 2 * money, jnp.array([2.0, 2.0]))
    assert float(alike.error) == pytest.approx(float(least_error(accuracy, money).error), rel=1e-4)
