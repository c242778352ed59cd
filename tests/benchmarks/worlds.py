"""Simulated crowds whose truth is known, each one way in which real crowds leave the paper's.

    python -m tests.benchmarks.worlds FOLDER [--seeds 2 3 4] [--output docs/worlds_table.md]

FOLDER holds worlds.py, whose `make(name, seed, gold)` returns tables of labels, gold and truth.
Scores are on the examples that are not gold, means over the seeds: the default of `gtx-bayes`, the
shares of votes with one more vote spread over all classes, and majority voting.
"""

import argparse
import importlib.util
from pathlib import Path

import jax
import numpy as np

from gtx_bayes.aggregation.aggregate import aggregate
from gtx_bayes.crowd import Crowd
from gtx_bayes.evaluation import as_record, evaluate, match_truth
from tests.benchmarks.simulated import finish, head, row

WORLDS = {
    "independent": (0, 20, 50),
    "demo": (20,),
    "many-labelers": (0, 20, 50),
    "uneven": (0, 50),
    "two-coins": (0, 50),
    "looks": (0, 50),
    "bloc": (0, 20, 50),
    "two-blocs": (50,),
    "swapped": (20, 50),
    "adversarial": (20, 50),
    "rare-class": (0, 50),
    "one-class-sources": (0, 50),
    "unsure": (20,),
    "ordinal": (0,),
    "drift": (50,),
}
READING = {"unsure": {"abstain": ("unsure",)}, "drift": {"covariates": ("when",)}}
METRICS = ("accuracy", "log_loss", "ece")


def scores(worlds, name, num_gold, seed):
    """Metrics of the fit, of vote shares and of the majority; and P(independent)."""
    labels, gold, truth = worlds.make(name, seed, num_gold)
    seen = gold if len(gold) else None
    crowd = Crowd.from_frames(labels, seen, **READING.get(name, {}))
    result = aggregate(crowd)
    found = [metrics_of(result.examples(0), truth, seen)]
    votes = aggregate(crowd, "majority-vote").examples(0)
    found.append(metrics_of(smoothed(votes), truth, seen))
    found.append(metrics_of(votes, truth, seen))
    return np.ravel(found), result.fit.joint.dependence.prob_independent


def metrics_of(examples, truth, seen):
    record = as_record(evaluate(match_truth(examples, truth, seen)))
    return [record[metric] for metric in METRICS]


def smoothed(examples):
    """Shares of votes with one more vote spread over all classes."""
    probs = [name for name in examples if name.startswith("prob_")]
    number = examples["num_labels"].to_numpy()[:, None]
    shares = (examples[probs].to_numpy() * number + 1.0 / len(probs)) / (number + 1.0)
    return examples.assign(**dict(zip(probs, shares.T, strict=True)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[2, 3, 4])
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    spec = importlib.util.spec_from_file_location("worlds", options.folder / "worlds.py")
    worlds = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(worlds)
    methods = ("gtx-bayes", "vote shares, smoothed", "majority vote")
    lines = head("world", "gold", *methods, "P(independent)")
    for name, golds in WORLDS.items():
        for num_gold in golds:
            found = [scores(worlds, name, num_gold, seed) for seed in options.seeds]
            mean = np.mean([of for of, _ in found], axis=0).reshape(len(methods), -1)
            independent = np.mean([prob for _, prob in found])
            cells = [" / ".join(f"{value:.3f}" for value in of) for of in mean]
            covariates = READING.get(name, {}).get("covariates")
            shown = f"{name}, `--covariate {covariates[0]}`" if covariates else name
            lines.append(row(shown, num_gold, *cells, f"{independent:.2f}"))
            print(lines[-1], flush=True)
        jax.clear_caches()
    finish(lines, options.output)


if __name__ == "__main__":
    main()
