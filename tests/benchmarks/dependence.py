"""What the dependence does on real crowds: the same fits with and without it, and their checks.

    python -m tests.benchmarks.dependence DATA [--output docs/dependence_table.md]

DATA holds one folder per crowd, as for `real_crowds`. A tenth of the gold is known, drawn with seed
0; the scores are on the rest. The last columns are the posterior predictive check of agreement per
example before and after the design effect, and the correlation of errors that would match it.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from gtx_bayes import decisions, metrics
from gtx_bayes.aggregation.aggregate import aggregate
from gtx_bayes.crowd import Crowd
from gtx_bayes.diagnostics.predictive import matching_correlation, predictive_checks
from gtx_bayes.inference import pool
from gtx_bayes.io import read_table
from gtx_bayes.labels import MISSING
from tests.benchmarks.real_crowds import SETS
from tests.benchmarks.simulated import finish, head, row


def scores(folder):
    """The figures of one row, in the order of the table."""
    labels, _ = read_table(folder / "labels.csv")
    gold, _ = read_table(folder / "gold.csv")
    seen = gold.sample(frac=0.1, random_state=0)
    classes = classes_of(labels, gold)
    crowd = Crowd.from_frames(labels, seen, duplicates="first", classes=classes)
    whole = Crowd.from_frames(labels, gold, duplicates="first", classes=classes)
    truth = np.asarray(whole.assessment.true_label)
    scored = np.flatnonzero((truth != MISSING) & ~np.asarray(crowd.assessment.is_gold))
    result = aggregate(crowd, model="confusion")
    found = result.fit.joint
    fixed = pool.fit(
        crowd.labels, crowd.assessment, found.class_prior, models=(found.model,), dependence=0.0
    )
    figures = [float(np.mean(np.asarray(crowd.labels.labels_per_example())))]
    figures += [found.model, found.dependence.mean, *found.dependence.credible_interval()]
    known = jnp.asarray(truth[scored])
    for probs in (fixed.class_probs, found.class_probs):
        probs = jnp.asarray(probs)[scored]
        promised = float(jnp.mean(decisions.confidence(probs)))
        figures += [
            float(metrics.log_loss(probs, known).value),
            float(metrics.expected_calibration_error(probs, known).value),
            promised - float(metrics.accuracy(probs, known).value),
        ]
    key_checks, key_match = jax.random.split(jax.random.key(0))
    for correlation in (0.0, found.dependence.mean):
        checks = predictive_checks(key_checks, result, correlation=correlation)
        figures.append(checks.agreement_per_example.z)
    return [*figures, matching_correlation(key_match, result)]


def classes_of(labels, gold):
    return sorted(set(map(str, labels["label"])) | set(map(str, gold["label"])))


def from_to(of_rho):
    """Log loss, ECE and overconfidence without and with the dependence, as cells."""
    without, with_ = np.reshape(of_rho, (2, 3))
    return [f"{a:.3f} → {b:.3f}" for a, b in zip(without, with_, strict=True)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    lines = head(
        *("set", "answers per example", "model", "$\\rho$ (95 %)", "log loss", "ECE"),
        *("promised less right", "agreement per example, z", "correlation that matches"),
    )
    rows = [scores(options.data / name) for name in SETS]
    for name, (mean, model, rho, low, high, *figures) in zip(SETS, rows, strict=True):
        *of_rho, before, after, matching = figures
        dependence = f"{rho:.2f} ({low:.2f} to {high:.2f})"
        z = f"{before:.1f} → {after:.1f}"
        cells = (name, f"{mean:.1f}", model, dependence, *from_to(of_rho), z, f"{matching:.2f}")
        lines.append(row(*cells))
    means = from_to(np.mean([each[5:11] for each in rows], axis=0))
    lines.append(f"| **mean** | | | | {' | '.join(f'**{cell}**' for cell in means)} | | |")
    finish(lines, options.output)


if __name__ == "__main__":
    main()
