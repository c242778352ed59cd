"""How often credible intervals hold the truth: of labelers' accuracies and of examples.

    python -m tests.benchmarks.coverage [--scale 1.0] [--output docs/coverage_table.md]

Crowds of ten labelers and 120 examples of two classes, five answers each, a quarter of the
examples gold, at 90 %. Prints Markdown tables: labelers and examples by crowd and fit, labelers by
the size of the cohort where gold is all there is, and 95 % intervals in worlds of other sizes.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gtx_bayes import metrics
from gtx_bayes.experiments.runs import map_runs
from gtx_bayes.inference import gibbs, pool
from gtx_bayes.inference.beta import BetaPosterior, CohortPrior
from gtx_bayes.inference.gold_counts import GoldCounts
from gtx_bayes.labels import MISSING, Assessment, Labels
from gtx_bayes.models.class_conditional import ClassConditional
from gtx_bayes.models.difficulty import HardExamples
from gtx_bayes.models.hyperprior import HyperPrior
from gtx_bayes.models.one_coin import OneCoin, OneCoinPrior
from gtx_bayes.posterior import batch_log_prob
from gtx_bayes.simulation import (
    adversarial_cohort,
    class_conditional_cohort,
    hard_examples_cohort,
    simulate_queue,
    uniform_cohort,
)
from tests.benchmarks.simulated import crowd_of, finish, head, hyperprior_shape, percent, row

PROB = 0.9
NUM_LABELERS, NUM_EXAMPLES, PER_EXAMPLE, GOLD_EVERY = 10, 120, 5, 4
HALF = np.array([0.5, 0.5])
GIBBS_DRAWS = 400
WITH_EXAMPLES = 50  # crowds whose examples' intervals are drawn, a slow thing


class Crowd(NamedTuple):
    """One simulated crowd, for the inference and against it."""

    labels: Labels
    gold: Assessment  # a quarter of the true labels
    true_label: Any
    accuracy: Any  # of each labeler, the classes being uniform
    probs: Any  # class posteriors at the true labelers


def hyperprior_cohort(key):
    key_mean, key_concentration, key_labelers = jax.random.split(key, 3)
    mean, log_concentration = hyperprior_shape(key_mean, key_concentration, 2)
    concentration = jnp.exp(log_concentration)
    shape = mean * concentration, (1.0 - mean) * concentration
    return OneCoin(jax.random.beta(key_labelers, *shape, (NUM_LABELERS,)), 2)


def prior_cohort(key):
    return OneCoinPrior.default(2).sample(key, jnp.zeros((NUM_LABELERS, 3)))


def by_class(key):
    return class_conditional_cohort(
        key, NUM_LABELERS, jnp.array([0.75, 0.5]), jnp.array([0.95, 0.75])
    )


def hard_examples(key):
    return hard_examples_cohort(key, NUM_LABELERS, 0.7, 0.95, hard_share=0.2, hard_accuracy=0.4)


class Setting(NamedTuple):
    """What is true of a row."""

    name: str
    cohort: Callable[..., Any]  # the labelers from a key
    num_copying: int = 0  # so many labelers give the first one's answer four times out of five
    num_crowds: int = 100  # at full size


SETTINGS = (
    Setting("cohort from the hyperprior", hyperprior_cohort, num_crowds=200),
    Setting("cohort from the default prior", prior_cohort, num_crowds=200),
    Setting("U(.6, .9)", lambda key: uniform_cohort(key, NUM_LABELERS, 0.6, 0.9)),
    Setting("**wrong**: a fifth of the examples hard, accuracy .4", hard_examples),
    Setting("**wrong**: accuracies differ by class", by_class),
    Setting(
        "**wrong**: three of U(.6, .9) copy a fourth",
        lambda key: uniform_cohort(key, NUM_LABELERS, 0.6, 0.9),
        num_copying=3,
    ),
    Setting(
        "**wrong**: U(.6, .9), adversaries with probability .2",
        lambda key: adversarial_cohort(key, NUM_LABELERS, 0.6, 0.9, 0.2),
    ),
)


def draw_crowd(setting, key):
    """Answers from everybody, copied where they are, of which five an example are kept."""
    key_cohort, key_truth, key_answers, key_copies, key_kept = jax.random.split(key, 5)
    labelers = setting.cohort(key_cohort)
    true_label = jax.random.randint(key_truth, (NUM_EXAMPLES,), 0, 2)
    everybody = jnp.tile(jnp.arange(NUM_LABELERS)[:, None], (1, NUM_EXAMPLES))
    answers = labelers.answer(key_answers, everybody, true_label)
    accuracy = mean_accuracy(labelers)
    is_copied = jax.random.bernoulli(key_copies, 0.8, answers.shape)
    copies = (jnp.arange(NUM_LABELERS) > 0) & (jnp.arange(NUM_LABELERS) <= setting.num_copying)
    answers = jnp.where(copies[:, None] & is_copied, answers[0], answers)
    accuracy = jnp.where(copies, 0.8 * accuracy[0] + 0.2 * accuracy, accuracy)
    lots = jax.random.uniform(key_kept, answers.shape)
    labeler = jnp.argsort(lots, axis=0)[:PER_EXAMPLE]
    kept = jnp.take_along_axis(answers, labeler, axis=0)
    is_gold = jnp.arange(NUM_EXAMPLES) % GOLD_EVERY == 0
    labels, gold = crowd_of(labeler, kept, true_label, is_gold, NUM_LABELERS, 2)
    probs = jax.nn.softmax(batch_log_prob(labelers, labels), axis=1)
    return Crowd(labels, gold, true_label, accuracy, probs)


def mean_accuracy(labelers):
    if isinstance(labelers, HardExamples):
        h = labelers.hard_share
        return (1.0 - h) * labelers.accuracy + h * labelers.hard_accuracy
    accuracy = labelers.accuracy
    return accuracy.mean(axis=1) if isinstance(labelers, ClassConditional) else accuracy


def fit_gibbs(setting, key):
    """A crowd, and limits of its accuracies by Gibbs sampling under the default prior."""
    key_crowd, key_chain = jax.random.split(key)
    crowd = draw_crowd(setting, key_crowd)
    sites, _, probs = gibbs.sample_chains(
        key_chain[None],
        crowd.labels,
        crowd.gold,
        OneCoinPrior.default(2),
        jnp.asarray(HALF, float),
        100,
        GIBBS_DRAWS,
    )
    limits = jnp.quantile(sites["accuracy"][0], jnp.array([0.5 - PROB / 2, 0.5 + PROB / 2]), axis=0)
    return crowd, limits, probs[0]


class Found(NamedTuple):
    """What a fit says of a crowd: limits of the accuracies, and class posteriors."""

    low: Any
    high: Any
    class_probs: Any
    example_low: Any = None  # limits of the probability of each example's most probable class
    example_high: Any = None


def fit_joint(crowd, dependence, draws_examples):
    found = pool.fit(
        crowd.labels,
        crowd.gold,
        jnp.asarray(HALF, float),
        models=("one-coin",),
        dependence=dependence,
    )
    limits = found.accuracy.credible_interval(PROB)
    if not draws_examples:
        return Found(*limits, found.class_probs)
    of_examples = found.credible_interval(jax.random.key(0), crowd.labels, prob=PROB)
    return Found(*limits, found.class_probs, *of_examples)


def measure(setting, scale):
    """Every fit of every crowd of a setting: the crowds, and what was found, by fit."""
    keys = jax.random.split(jax.random.key(0), max(4, round(setting.num_crowds * scale)))
    stacked, limits, probs = map_runs(lambda key: fit_gibbs(setting, key), keys)
    crowds = [jax.tree.map(lambda part, i=i: part[i], stacked) for i in range(len(keys))]
    found = {
        "Gibbs": [Found(*pair, each) for pair, each in zip(limits, probs, strict=True)],
        "joint, $\\rho = 0$": [
            fit_joint(crowd, 0.0, at < WITH_EXAMPLES) for at, crowd in enumerate(crowds)
        ],
        "joint, $\\rho$ learnt": [
            fit_joint(crowd, None, at < WITH_EXAMPLES) for at, crowd in enumerate(crowds)
        ],
    }
    return crowds, found


def describe(setting, crowds, found):
    """Figures of one fit, means over crowds with their standard errors."""
    inside, width, off, over, brier, of_examples = [], [], [], [], [], []
    for crowd, fit in zip(crowds, found, strict=True):
        inside.append(np.mean((fit.low <= crowd.accuracy) & (crowd.accuracy <= fit.high)))
        width.append(np.mean(fit.high - fit.low))
        off.append(np.mean((fit.low + fit.high) / 2 - crowd.accuracy))
        is_open = np.arange(NUM_EXAMPLES) % GOLD_EVERY != 0
        probs = np.asarray(fit.class_probs)[is_open]
        truth = np.asarray(crowd.true_label)[is_open]
        over.append(np.mean(probs.max(axis=1)) - np.mean(probs.argmax(axis=1) == truth))
        brier.append(float(metrics.brier(jnp.asarray(probs), jnp.asarray(truth)).value))
        if fit.example_low is not None and not setting.num_copying:
            best = np.asarray(fit.class_probs).argmax(axis=1)
            at_truth = np.asarray(crowd.probs)[np.arange(NUM_EXAMPLES), best]
            held = (fit.example_low <= at_truth) & (at_truth <= fit.example_high)
            of_examples.append(held[is_open].mean())
    cells = [percent(inside), f"{np.mean(width):.2f}", signed(off), signed(over)]
    return [*cells, f"{np.mean(brier):.3f}", percent(of_examples) if of_examples else ""]


def signed(values):
    return f"{np.mean(values):+.3f} ± {np.std(values, ddof=1) / np.sqrt(len(values)):.3f}"


SIZES = [(3, 5), (10, 0), (10, 5), (10, 20), (50, 5), (200, 5)]


def numpy_hyperprior_cohort(rng, num_labelers):
    hyper = HyperPrior.for_classes(2)
    mean = rng.beta(hyper.mean_a, hyper.mean_b)
    concentration = np.exp(rng.normal(hyper.log_concentration, hyper.log_concentration_sd))
    return rng.beta(mean * concentration, (1 - mean) * concentration, num_labelers)


COHORTS = {
    "U(.6, .9)": lambda rng, size: rng.uniform(0.6, 0.9, size),
    "U(.8, 1)": lambda rng, size: rng.uniform(0.8, 1.0, size),
    "the hyperprior itself": numpy_hyperprior_cohort,
}


def gold_alone(rng, draw, num_labelers, num_gold, num_cohorts):
    """Share of intervals that cover where labelers are known by gold, the prior fitted to it."""
    hits = []
    for _ in range(num_cohorts):
        accuracy = draw(rng, num_labelers)
        right = rng.binomial(num_gold, accuracy)
        counts = GoldCounts(jnp.asarray(right), jnp.full(num_labelers, num_gold))
        posterior = BetaPosterior.from_counts(counts, CohortPrior.fit(counts, 2))
        low, high = posterior.credible_interval(PROB)
        hits.append(((low <= accuracy) & (accuracy <= high)).mean())
    return percent(hits)


class World(NamedTuple):
    """Crowds of independent labelers, and the model that is true of them."""

    name: str
    cohort: Callable[..., Any]  # the labelers from a key
    num_examples: int
    per_example: int
    model: str


def two_coins(key):
    return class_conditional_cohort(key, 10, jnp.array([0.55, 0.55]), jnp.array([0.95, 0.95]))


def one_coin(num_labelers):
    return lambda key: uniform_cohort(key, num_labelers, 0.6, 0.9)


WORLDS = (
    World("independent: 10 labelers", one_coin(10), 2000, 5, "one-coin"),
    World("demo: 3 answers", one_coin(10), 2000, 3, "one-coin"),
    World("many labelers: 100, 15 answers each", one_coin(100), 500, 3, "one-coin"),
    World("two coins", two_coins, 1000, 5, "class-conditional"),
)
IN_WORLDS = 0.95
FITS = {"model given, $\\rho = 0$": True, "as by default": False}


def fit_world(world, key, num_gold, is_given):
    """Shares of labelers and of open examples that their intervals hold."""
    key_cohort, key_answers, key_draws = jax.random.split(key, 3)
    labelers = world.cohort(key_cohort)
    queue = simulate_queue(key_answers, labelers, world.num_examples, max_labels=world.per_example)
    labels = Labels.from_dense(queue.labels, num_classes=2)
    is_gold = np.arange(world.num_examples) < num_gold
    known = np.where(is_gold, np.asarray(queue.true_label), MISSING)
    gold = Assessment(jnp.asarray(known, jnp.int8), 2)
    options = {"models": (world.model,), "dependence": 0.0} if is_given else {}
    found = pool.fit(labels, gold, **options)
    low, high = found.accuracy.credible_interval(IN_WORLDS)
    accuracy = np.asarray(mean_accuracy(labelers))
    of_labelers = np.mean((low <= accuracy) & (accuracy <= high))
    low, high = found.credible_interval(key_draws, labels, prob=IN_WORLDS)
    best = np.asarray(found.class_probs).argmax(axis=1)
    at_truth = np.asarray(jax.nn.softmax(batch_log_prob(labelers, labels), axis=1))
    at_truth = at_truth[np.arange(world.num_examples), best]
    held = (low - 1e-6 <= at_truth) & (at_truth <= high + 1e-6)
    return of_labelers, held[~is_gold].mean()


def in_worlds(num_crowds):
    """Rows of the table of worlds."""
    for world in WORLDS:
        for fit, is_given in FITS.items():
            cells = [world.name, fit]
            for num_gold in (0, 20, 50):
                keys = jax.random.split(jax.random.key(num_gold), num_crowds)
                shares = [fit_world(world, key, num_gold, is_given) for key in keys]
                cells += [percent(each) for each in zip(*shares, strict=True)]
            yield row(*cells)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=float, default=1.0, help="of the numbers of crowds")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    lines = head(
        *("crowd", "fit", "labelers", "accuracy inside", "width", "middle, off"),
        *("confidence, off", "Brier", "examples inside"),
    )
    for setting in SETTINGS:
        start = time.perf_counter()
        crowds, found = measure(setting, options.scale)
        for fit, each in found.items():
            figures = describe(setting, crowds, each)
            lines.append(row(setting.name, fit, len(crowds) * NUM_LABELERS, *figures))
            print(lines[-1], file=sys.stderr)
        print(f"{time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    lines += ["", "Labelers known by gold alone, J labelers with n gold answers each:", ""]
    lines += head("accuracies from", *(f"J = {j}, n = {n}" for j, n in SIZES))
    for name, draw in COHORTS.items():
        rng, num_cohorts = np.random.default_rng(0), max(10, round(500 * options.scale))
        lines.append(row(name, *(gold_alone(rng, draw, j, n, num_cohorts) for j, n in SIZES)))
    lines += ["", "95 % intervals, twenty crowds each, by the number of gold labels:", ""]
    gold = ("20 gold", "examples", "50 gold", "examples")
    lines += head("world", "fit", "labelers, no gold", "examples", *gold)
    for each in in_worlds(max(4, round(20 * options.scale))):
        lines.append(each)
        print(each, file=sys.stderr, flush=True)
    finish(lines, options.output)


if __name__ == "__main__":
    main()
