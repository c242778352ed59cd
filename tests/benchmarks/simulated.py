"""Simulated crowds of the benchmarks of calibration and coverage, and how tables are written."""

import jax
import jax.numpy as jnp
import numpy as np

from gtx_bayes.labels import MISSING, Assessment, Labels
from gtx_bayes.models.hyperprior import HyperPrior


def crowd_of(labeler, label, true_label, is_gold, num_labelers, num_classes):
    """Labels and gold from arrays of shape (answers per example, num_examples)."""
    per_example, num_examples = labeler.shape
    labels = Labels(
        jnp.repeat(jnp.arange(num_examples, dtype=jnp.int32), per_example),
        labeler.T.reshape(-1).astype(jnp.int32),
        label.T.reshape(-1).astype(jnp.int8),
        num_examples,
        num_labelers,
        num_classes,
    )
    known = jnp.where(is_gold, true_label, MISSING).astype(jnp.int8)
    return labels, Assessment(known, num_classes)


def hyperprior_shape(key_mean, key_concentration, num_classes):
    """Mean and log concentration of a cohort's accuracies."""
    hyper = HyperPrior.for_classes(num_classes)
    mean = jax.random.beta(key_mean, hyper.mean_a, hyper.mean_b)
    noise = hyper.log_concentration_sd * jax.random.normal(key_concentration)
    return mean, hyper.log_concentration + noise


def percent(values):
    """Mean of shares with its standard error."""
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    return f"{100 * np.mean(values):.1f} ± {100 * error:.1f} %"


def row(*cells):
    """A row of a Markdown table."""
    return "| " + " | ".join(map(str, cells)) + " |"


def head(*cells):
    """Its head, with the line below."""
    return [row(*cells), "|" + "---|" * len(cells)]


def finish(lines, output):
    """Print the table, and write it where it is asked for."""
    text = "\n".join(lines)
    if output:
        output.write_text(text + "\n")
    print(text)
