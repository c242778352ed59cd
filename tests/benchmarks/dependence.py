"""What the dependence does to confidence on real crowds: the same fits with and without it.

    python -m tests.benchmarks.dependence DATA [--output docs/dependence_table.md]

DATA holds one folder per crowd, as for `real_crowds`. A tenth of the gold is known, drawn with seed
0; the scores are on the rest. The last column is a posterior predictive check of independence: how
much the share of agreeing pairs varies from example to example, over that in answers drawn anew
from the fit at rho = 0, in standard deviations of those draws.
"""

import argparse
from pathlib import Path

import jax
import numpy as np

from gtx_bayes import metrics
from gtx_bayes.crowd import Crowd
from gtx_bayes.diagnostics.predictive import variance_of_agreement
from gtx_bayes.inference import joint
from gtx_bayes.io import read_table
from gtx_bayes.labels import MISSING
from tests.benchmarks.real_crowds import SETS

NUM_REPLICATES = 100


def scores(folder):
    """Answers per example, rho with its interval, and log loss and ECE without and with it."""
    labels, _ = read_table(folder / "labels.csv")
    gold, _ = read_table(folder / "gold.csv")
    seen = gold.sample(frac=0.1, random_state=0)
    crowd = Crowd.from_frames(labels, seen, duplicates="first", classes=classes_of(labels, gold))
    whole = Crowd.from_frames(labels, gold, duplicates="first", classes=classes_of(labels, gold))
    truth = np.asarray(whole.assessment.true_label)
    scored = np.flatnonzero((truth != MISSING) & ~np.asarray(crowd.assessment.is_gold))
    found = joint.fit(crowd.labels, crowd.assessment)
    fixed = joint.fit(
        crowd.labels, crowd.assessment, found.class_prior, models=(found.model,), dependence=0.0
    )
    row = [float(np.mean(np.asarray(crowd.labels.labels_per_example())))]
    row += [found.model, found.dependence.mean, *found.dependence.credible_interval()]
    for probs in (fixed.class_probs, found.class_probs):
        probs, known = jax.numpy.asarray(probs)[scored], jax.numpy.asarray(truth[scored])
        row += [
            float(metrics.log_loss(probs, known).value),
            float(metrics.expected_calibration_error(probs, known).value),
        ]
    return [
        *row,
        excess_agreement(jax.random.key(0), crowd.labels, fixed.class_probs, fixed.labelers),
    ]


def excess_agreement(key, labels, class_probs, labelers):
    """z of the variance over examples of the share of agreeing pairs of answers."""
    key_classes, key_answers = jax.random.split(key)

    @jax.jit
    def replicate(key_class, key_answer):
        classes = jax.random.categorical(key_class, jax.numpy.log(class_probs))
        drawn = labelers.answer(key_answer, labels.labeler[None], classes[labels.example])
        return drawn[0]

    keys = zip(
        jax.random.split(key_classes, NUM_REPLICATES),
        jax.random.split(key_answers, NUM_REPLICATES),
        strict=True,
    )
    replicated = [variance_of_agreement(labels, np.asarray(replicate(*pair))) for pair in keys]
    observed = variance_of_agreement(labels, np.asarray(labels.label))
    return (observed - np.mean(replicated)) / np.std(replicated, ddof=1)


def classes_of(labels, gold):
    return sorted(set(map(str, labels["label"])) | set(map(str, gold["label"])))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    lines = [
        "| set | answers per example | model | $\\rho$ (95 %) | log loss, $\\rho = 0$ → learnt |"
        " ECE, $\\rho = 0$ → learnt | excess agreement, z |",
        "|---|---|---|---|---|---|---|",
    ]
    rows = [scores(options.data / name) for name in SETS]
    for name, (mean, model, rho, low, high, *figures) in zip(SETS, rows, strict=True):
        loss, ece, loss_rho, ece_rho, excess = figures
        lines.append(
            f"| {name} | {mean:.1f} | {model} | {rho:.2f} ({low:.2f} to {high:.2f}) | "
            f"{loss:.3f} → {loss_rho:.3f} | {ece:.3f} → {ece_rho:.3f} | {excess:.1f} |"
        )
    loss, ece, loss_rho, ece_rho, _ = np.mean([row[5:] for row in rows], axis=0)
    lines.append(
        f"| **mean** | | | | **{loss:.3f} → {loss_rho:.3f}** | **{ece:.3f} → {ece_rho:.3f}** | |"
    )
    text = "\n".join(lines)
    if options.output:
        options.output.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
