"""How often the 95 % credible intervals from gold alone hold the true accuracy.

    python -m tests.benchmarks.coverage [--cohorts 1000]

Cohorts of J labelers answer n gold examples each; intervals as in `labelers.csv`, which take the
cohort's fitted prior for certain. Prints a Markdown table with the share of intervals that cover.
"""

import argparse

import jax.numpy as jnp
import numpy as np

from gtx_bayes.inference.beta import BetaPosterior, CohortPrior, HyperPrior
from gtx_bayes.inference.gold_counts import GoldCounts

SIZES = [(3, 5), (10, 0), (10, 5), (10, 20), (50, 5), (200, 5)]


def hyperprior_cohort(rng, num_labelers):
    hyper = HyperPrior.for_classes(2)
    mean = rng.beta(hyper.mean_a, hyper.mean_b)
    concentration = np.exp(rng.normal(hyper.log_concentration, hyper.log_concentration_sd))
    return rng.beta(mean * concentration, (1 - mean) * concentration, num_labelers)


COHORTS = {
    "U(.6, .9)": lambda rng, size: rng.uniform(0.6, 0.9, size),
    "U(.8, 1)": lambda rng, size: rng.uniform(0.8, 1.0, size),
    "the hyperprior itself": hyperprior_cohort,
}


def coverage(rng, draw, num_labelers, num_gold, num_cohorts):
    hits = []
    for _ in range(num_cohorts):
        accuracy = draw(rng, num_labelers)
        right = rng.binomial(num_gold, accuracy)
        counts = GoldCounts(jnp.asarray(right), jnp.full(num_labelers, num_gold))
        posterior = BetaPosterior.from_counts(counts, CohortPrior.fit(counts, 2))
        low, high = posterior.credible_interval(0.95)
        hits.append(((low <= accuracy) & (accuracy <= high)).mean())
    return np.mean(hits)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cohorts", type=int, default=1000)
    options = parser.parse_args()
    print("| accuracies from | " + " | ".join(f"J = {j}, n = {n}" for j, n in SIZES) + " |")
    print("|---|" + "---|" * len(SIZES))
    for name, draw in COHORTS.items():
        rng = np.random.default_rng(0)
        cells = [f"{coverage(rng, draw, j, n, options.cohorts):.3f}" for j, n in SIZES]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
