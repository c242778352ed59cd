"""Many devices of one CPU: what they find, and what cutting costs. Not speed.

    JAX_PLATFORMS=cpu python -m tests.benchmarks.devices [--labels 1000000] [--output FILE]

Virtual devices share the cores of the CPU, so that eight of them are no faster than one; `ratio`
is the time of a pass without a mesh over that of a pass on one. `difference` is the largest one of
a class probability from the fit without a mesh. Prints one JSON object as `kernels` does.
"""

import argparse
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from gtx_bayes.inference import loop, variational
from gtx_bayes.inference.loop import ChunksInMemory
from gtx_bayes.registry import MODELS
from tests.benchmarks.joint import simulate
from tests.benchmarks.kernels import fastest, publish, row

SHORT, LONG = 5, 15


def rows(num_labels, rng):
    """A pass of the fit on 1, 2, 4 and 8 devices, by model."""
    num_examples, num_labelers = num_labels // 5, 1000
    labels, none, _ = simulate(num_labels, num_examples, num_labelers, rng)
    size = f"{num_labels} labels, {num_examples} examples, {num_labelers} labelers"
    uniform = jnp.full(2, 0.5)
    for model in ("one-coin", "confusion"):
        prior = MODELS.build(model).cohort_prior(2)

        def whole(num_steps, prior=prior):
            return variational.fit(
                labels, none, prior, uniform, max_steps=num_steps, tolerance=0.0
            ).class_probs

        expected = np.asarray(whole(SHORT))
        for number in (1, 2, 4, 8):
            start = time.perf_counter()
            chunks = ChunksInMemory.cut(labels, none, uniform, jax.devices()[:number])
            cutting = time.perf_counter() - start

            def spread(num_steps, chunks=chunks, prior=prior):
                return loop.fit(
                    chunks, prior, uniform, None, lambda _: 0.0, max_steps=num_steps, tolerance=0.0
                ).class_probs

            times = fastest(
                lambda whole=whole: whole(SHORT),
                lambda whole=whole: whole(LONG),
                lambda spread=spread: spread(SHORT),
                lambda spread=spread: spread(LONG),
            )
            plain, ours = ((times[at + 1] - times[at]) / (LONG - SHORT) for at in (0, 2))
            found = row(
                f"variational pass, {model}, {number} virtual devices",
                size,
                ours,
                "the same without a mesh",
                plain / ours,
            )
            difference = float(np.abs(np.asarray(spread(SHORT)) - expected).max())
            yield found | {"difference": difference, "cutting_seconds": cutting}


def main():
    """Measure, print, and write if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=int, default=1_000_000)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", 8)  # before JAX looks for devices
    publish(list(rows(options.labels, np.random.default_rng(0))), options.output)


if __name__ == "__main__":
    main()
