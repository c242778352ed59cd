"""Speed of joint inference against NumPy, crowd-kit and NUTS, in one run.

    python -m tests.benchmarks.joint [--labels 1000000] [--peers PYTHON] [--output FILE]

Prints one JSON object as `kernels` does. `ratio` is ours over theirs in speed, for samplers in
effective samples per second. Compilation is not counted; a pass is a twentieth of what twenty more
of them add to a fit. PYTHON is the interpreter of an environment that holds crowd-kit.
"""

import argparse
import functools
import time
from pathlib import Path

import arviz as az
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import scipy.special
from numpyro import handlers
from numpyro.infer import MCMC, NUTS, init_to_mean

from gtx_bayes.inference import gibbs, variational
from gtx_bayes.inference.beta import CohortPrior
from gtx_bayes.inference.crowd_models import crowd_model
from gtx_bayes.labels import MISSING, Assessment, Labels
from gtx_bayes.models.confusion import ConfusionPrior
from gtx_bayes.models.one_coin import OneCoinModel, OneCoinPrior
from tests.benchmarks.kernels import crowd_kit, fastest, publish, row

NUM_STEPS = 10


def simulate(num_labels, num_examples, num_labelers, rng):
    """Two classes, answers right with accuracies U(.6, .95); and the arrays behind them."""
    example = np.sort(rng.integers(0, num_examples, num_labels))
    labeler = rng.integers(0, num_labelers, num_labels)
    truth = rng.integers(0, 2, num_examples)
    right = rng.random(num_labels) < rng.uniform(0.6, 0.95, num_labelers)[labeler]
    label = np.where(right, truth[example], 1 - truth[example])
    labels = Labels.from_arrays(
        example,
        labeler,
        label,
        num_classes=2,
        num_examples=num_examples,
        num_labelers=num_labelers,
    )
    none = Assessment(jnp.full(num_examples, MISSING, jnp.int8), 2)
    return labels, none, (example, labeler, label)


def numpy_pass(arrays, class_probs, shape, num_examples, num_labelers):
    """The pass of `variational.step` but for the prior, which takes no time: counts, evidence."""
    example, labeler, label = arrays
    right = class_probs[example, label]
    counts = np.bincount(labeler, right, num_labelers)
    total = np.bincount(labeler, minlength=num_labelers)
    others = counts[labeler] - right
    wrong = total[labeler] - 1 - others
    weight = np.log(shape[0] + others) - np.log(shape[1] + wrong)
    odds = np.bincount(example, weight * (2 * label - 1), num_examples)
    positive = scipy.special.expit(odds)
    return np.stack([1 - positive, positive], axis=1)


def variational_rows(num_labels, rng, peers):
    num_examples, num_labelers = num_labels // 5, 1000
    labels, none, arrays = simulate(num_labels, num_examples, num_labelers, rng)
    size = f"{num_labels} labels, {num_examples} examples, {num_labelers} labelers"
    prior, uniform = OneCoinPrior.default(2), jnp.full(2, 0.5)
    state = variational.start(labels, none, prior)
    by_numpy = functools.partial(
        numpy_pass,
        arrays,
        np.asarray(state.class_probs, np.float64),
        np.asarray(prior.m_step(prior.counts(labels, state.class_probs)).shape),
        num_examples,
        num_labelers,
    )
    one_pass, _ = variational.step(labels, none, state, uniform, False)
    assert np.abs(np.asarray(one_pass.class_probs) - by_numpy()).max() < 1e-4

    def fit(num_steps):
        return variational.fit(
            labels, none, prior, uniform, max_steps=num_steps, tolerance=0.0
        ).class_probs

    short, long, theirs = fastest(
        lambda: fit(NUM_STEPS), lambda: fit(3 * NUM_STEPS), lambda: by_numpy()
    )
    ours = (long - short) / (2 * NUM_STEPS)
    yield row("variational pass, one coin", size, ours, "NumPy bincount", theirs / ours)
    if peers:
        call = f"OneCoinDawidSkene(n_iter={NUM_STEPS}, tol=0.0).fit_predict_proba(frame)"
        theirs, _ = crowd_kit(peers, *arrays, call)
        what = f"crowd-kit 1.4.2 OneCoinDawidSkene, {NUM_STEPS} iterations each"
        yield row("variational fit, one coin", size, short, what, theirs / short)


def sampler_rows(rng):
    """Effective samples of the accuracies per second, the least over labelers; warm-up counts."""
    num_examples, num_labelers, num_chains = 1000, 20, 4
    labels, none, _ = simulate(5 * num_examples, num_examples, num_labelers, rng)
    size = f"{labels.num_labels} labels, {num_examples} examples, {num_labelers} labelers"
    prior, uniform = OneCoinPrior.default(2), jnp.full(2, 0.5)
    cohort = CohortPrior(float(jax.nn.sigmoid(prior.logit_mean)), float(prior.shape.sum()))

    def by_gibbs():
        fit = gibbs.run_gibbs(jax.random.key(0), labels, none, prior, uniform)
        return fit.draws.posterior["accuracy"]

    given = {
        "mean": cohort.a / (cohort.a + cohort.b),
        "log_concentration": jnp.log(cohort.a + cohort.b),
    }
    model = functools.partial(
        handlers.condition(crowd_model(OneCoinModel(), uniform), given), labels, none
    )
    nuts = MCMC(
        NUTS(model, init_strategy=init_to_mean),
        num_warmup=200,
        num_samples=500,
        num_chains=num_chains,
        chain_method="vectorized",
        progress_bar=False,
    )

    def by_nuts():
        nuts.run(jax.random.key(1))
        return np.asarray(nuts.get_samples(group_by_chain=True)["accuracy"])

    (ours, seconds), (theirs, _) = (ess_per_second(run) for run in (by_gibbs, by_nuts))
    np.testing.assert_allclose(ours.mean, theirs.mean, atol=0.02)
    name = "Gibbs, one coin, 4 chains of 200 + 500 draws"
    yield row(name, size, seconds, "NUTS, same model and draws", ours.ess / theirs.ess)


def dawid_skene(example, labeler, label, num_examples, num_labelers):
    """Dawid and Skene's model as users of NumPyro write it, the classes summed out."""
    proportions = numpyro.sample("proportions", dist.Dirichlet(jnp.ones(2)))
    towards_right = jnp.ones((2, 2)) + 2.0 * jnp.eye(2)
    with numpyro.plate("labelers", num_labelers):
        confusion = numpyro.sample("confusion", dist.Dirichlet(towards_right).to_event(1))
    of_answer = jnp.log(confusion)[labeler, :, label]
    of_example = jax.ops.segment_sum(of_answer, example, num_examples, indices_are_sorted=True)
    evidence = jax.nn.logsumexp(jnp.log(proportions) + of_example, axis=1)
    numpyro.factor("answers", evidence.sum())


def annotation_rows(rng):
    """Effective samples of right answers' probabilities per second, the least over labelers."""
    num_examples, num_labelers, num_chains = 200, 10, 4
    labels, none, arrays = simulate(5 * num_examples, num_examples, num_labelers, rng)
    size = f"{labels.num_labels} labels, {num_examples} examples, {num_labelers} labelers"

    def right(confusion):
        return np.diagonal(np.asarray(confusion), axis1=-2, axis2=-1).mean(axis=-1)

    def by_gibbs():
        prior = ConfusionPrior.default(2)
        fit = gibbs.run_gibbs(jax.random.key(0), labels, none, prior)
        return right(fit.draws.posterior["confusion"])

    columns = [jnp.asarray(column) for column in arrays]
    nuts = MCMC(
        NUTS(
            functools.partial(dawid_skene, *columns, num_examples, num_labelers),
            init_strategy=init_to_mean,  # else a chain may swap the classes and stay so
        ),
        num_warmup=200,
        num_samples=500,
        num_chains=num_chains,
        chain_method="vectorized",
        progress_bar=False,
    )

    def by_nuts():
        nuts.run(jax.random.key(1))
        return right(nuts.get_samples(group_by_chain=True)["confusion"])

    (ours, seconds), (theirs, _) = (ess_per_second(run) for run in (by_gibbs, by_nuts))
    # Other priors, nearly the same answer.
    np.testing.assert_allclose(ours.mean, theirs.mean, atol=0.1)
    name = "Gibbs, confusion matrices, 4 chains of 200 + 500 draws"
    yield row(name, size, seconds, "NumPyro, Dawid-Skene by NUTS", ours.ess / theirs.ess)


class Sampled:
    """Effective samples a second, the least, and the posterior means."""

    def __init__(self, draws, seconds):
        ess = az.ess(az.from_dict({"posterior": {"accuracy": draws}})).to_dataset()
        self.ess = float(np.min(ess["accuracy"])) / seconds
        self.mean = draws.mean(axis=(0, 1))


def ess_per_second(run):
    run()
    start = time.perf_counter()
    draws = np.asarray(run())
    seconds = time.perf_counter() - start
    return Sampled(draws, seconds), seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--labels", type=int, default=1_000_000)
    parser.add_argument("--peers", help="interpreter of an environment with crowd-kit")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    results = [*variational_rows(options.labels, rng, options.peers), *sampler_rows(rng)]
    publish(results, options.output)


if __name__ == "__main__":
    main()
