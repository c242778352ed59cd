"""Speed and memory from ten thousand labels to a thousand million, and of other programs.

    python -m tests.benchmarks.scale [--largest 1e9] [--largest-fit 1e8] [--largest-runs 1000]
        [--peers PYTHON] [--output FILE]

Prints one JSON object {machine, results: [...]} as `kernels` does. Every size is measured in a
process of its own, so that its peak memory is its own. A kernel's `ratio` is its bytes per second
over those of the fastest copy timed in turn with it: labels read once, in the long form 9 bytes an
answer, and one float32 written per example. The `ratio` of a growth is the exponent e in seconds
proportional to size to the power e, by least squares on logarithms. A size whose memory the
machine has not free is left out, and a row says so: `seconds` and `ratio` are null there.
PYTHON is the interpreter of an environment that holds crowd-kit.
"""

import argparse
import functools
import json
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from gtx_bayes.cli.streaming import peak_memory
from gtx_bayes.experiments import table1
from gtx_bayes.inference import variational
from gtx_bayes.labels import Assessment, Labels
from gtx_bayes.models.one_coin import OneCoin, OneCoinPrior
from tests.benchmarks import kernels
from tests.benchmarks.collection import every_run
from tests.benchmarks.kernels import copies, fastest, into_held_memory, memory

NUM_LABELERS = {"dense": 10, "long": 1000, "fit": 1000}
PER_EXAMPLE = 5  # answers, in the long form
BYTES_NEEDED = {"dense": 3, "long": 20, "fit": 60}  # per label, the making of the table included
FIXED_BYTES = 3 * 2**30  # interpreter, compiler, and the arrays copied beside a kernel
SMALLEST_FIT = 100_000
NUM_STEPS = 10  # passes of a fit: as many at every size
LONG_RUN = 10_000_000  # labels: from here on fewer rounds


def kernel(what, num_labels):
    """Log odds into memory held already, against copies; the memory is that before copying."""
    rng = np.random.default_rng(0)
    num_labelers = NUM_LABELERS[what]
    num_examples = num_labels // (num_labelers if what == "dense" else PER_EXAMPLE)
    if what == "dense":
        labels = jnp.asarray(rng.integers(-1, 2, (num_labelers, num_examples), dtype=np.int8))
        num_bytes = labels.size + 4 * num_examples
    else:
        labels = long_table(num_labels, rng)
        num_bytes = 9 * labels.num_labels + 4 * num_examples
    accuracy = jnp.asarray(rng.uniform(0.6, 0.95, num_labelers), jnp.float32)
    run = into_held_memory(OneCoin(accuracy, 2), labels, num_examples)
    run().block_until_ready()
    held = peak_memory()
    every = list(copies())
    rounds = 3 if num_labels > LONG_RUN else 15
    seconds, *theirs = fastest(run, *(copy for _, copy in every), rounds=rounds)
    best = max(moved / taken for (moved, _), taken in zip(every, theirs, strict=True))
    return {
        "seconds": seconds,
        "ratio": num_bytes / seconds / best,
        "against": f"fastest copy, {best / 1e9:.1f} GB/s",
        "peak_bytes": held,
    }


def long_table(num_labels, rng):
    """Five answers to each example, right with accuracies U(.6, .95); in few bytes on the way."""

    num_examples, num_labelers = num_labels // PER_EXAMPLE, NUM_LABELERS["long"]
    num_labels = num_examples * PER_EXAMPLE
    accuracy = rng.uniform(0.6, 0.95, num_labelers).astype(np.float32)
    labeler = rng.integers(0, num_labelers, num_labels, dtype=np.int32)
    label = np.repeat(rng.integers(0, 2, num_examples, dtype=np.int8), PER_EXAMPLE)
    for part in np.array_split(np.arange(0, num_labels, 2**20), max(num_labels >> 20, 1)):
        at = slice(part[0], part[-1] + 2**20)
        wrong = rng.random(label[at].size, np.float32) >= accuracy[labeler[at]]
        label[at] ^= wrong
    return Labels(
        jnp.arange(num_labels, dtype=jnp.int32) // PER_EXAMPLE,
        jnp.asarray(labeler),
        jnp.asarray(label),
        num_examples=num_examples,
        num_labelers=num_labelers,
        num_classes=2,
    )


def fit(_, num_labels):
    """Some passes of the variational fit, one coin."""

    labels = long_table(num_labels, np.random.default_rng(0))
    none = Assessment.none(labels.num_examples, 2)
    run = functools.partial(
        variational.fit,
        labels,
        none,
        OneCoinPrior.default(2),
        jnp.full(2, 0.5),
        max_steps=NUM_STEPS,
        tolerance=0.0,
    )
    seconds = fastest(lambda: run().class_probs, rounds=1 if num_labels > LONG_RUN else 5)[0]
    return {"seconds": seconds, "peak_bytes": peak_memory()}


def simulations(_, runs):
    """So many runs of each cohort of Table 1."""

    seconds = fastest(every_run(table1, runs), rounds=1 if runs >= 1000 else 3)[0]
    return {"seconds": seconds, "peak_bytes": peak_memory()}


MEASURES = {"dense": kernel, "long": kernel, "fit": fit, "table1": simulations}


def in_own_process(what, size):
    """Seconds of one size and the most memory held, of a new process."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.scale", "--measure", what, str(size)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(run.stdout)


def sizes(smallest, largest):
    """Powers of ten."""
    low, high = (round(float(np.log10(size))) for size in (smallest, largest))
    return [10**power for power in range(low, high + 1)]


def kernel_rows(what, largest):
    for size in sizes(10_000, largest):
        name = f"{what} log odds, output memory reused"
        labels = f"{size:.0e} labels, {NUM_LABELERS[what]} labelers"
        lacking = memory_lacking(what, size)
        if lacking:
            yield left_out(name, labels, lacking)
            continue
        yield described(name, labels, in_own_process(what, size))


def fit_rows(largest):
    """Each size, and how time grows with it."""
    name, found = "variational fit, one coin", {}
    against = f"{NUM_STEPS} passes"
    for size in sizes(SMALLEST_FIT, largest):
        labels = f"{size:.0e} labels, {NUM_LABELERS['fit']} labelers"
        lacking = memory_lacking("fit", size)
        if lacking:
            yield left_out(name, labels, lacking)
            continue
        found[size] = in_own_process("fit", size)
        yield described(name, labels, found[size] | {"against": against})
    yield from growth(name, found, "labels")


def table1_rows(largest):
    name, found = "Table 1", {}
    for runs in sizes(10, largest):
        found[runs] = in_own_process("table1", runs)
        yield described(name, f"{runs} runs of each cohort", found[runs])
    yield from growth(name, found, "runs")


def growth(name, found, unit):
    """The exponent over all sizes; none of a single size."""
    if len(found) < 2:
        return
    seconds = [each["seconds"] for each in found.values()]
    exponent = np.polyfit(np.log(list(found)), np.log(seconds), 1)[0]
    yield described(
        f"{name}, growth",
        f"{min(found):.0e} to {max(found):.0e} {unit}",
        {"seconds": seconds[-1], "ratio": float(exponent), "against": "linear growth: 1.0"},
    )


def memory_lacking(what, size):
    """Why a size is left out; nothing if it is not, or if the machine does not tell."""

    needed, free = BYTES_NEEDED[what] * size + FIXED_BYTES, memory("MemAvailable")
    if not free or needed <= free:
        return ""
    return f"left out: needs about {needed / 1e9:.0f} GB of memory, {free / 1e9:.0f} GB are free"


def left_out(name, size, why):
    print(f"{name:40} {size}: {why}", file=sys.stderr, flush=True)
    return {"name": name, "size": size, "seconds": None, "against": why, "ratio": None}


def described(name, size, found):
    """A row as in `kernels`, the peak memory beside it."""
    ratio = found.get("ratio")
    row = {
        "name": name,
        "size": size,
        "seconds": round(found["seconds"], 6),
        "against": found.get("against"),
        "ratio": None if ratio is None else round(ratio, 3),
    }
    peak = found.get("peak_bytes")
    print(
        f"{name:40} {size:32} {row['seconds'] * 1e3:12.3f} ms  {row['ratio']}  "
        f"{'' if peak is None else f'{peak / 1e6:.0f} MB'}",
        file=sys.stderr,
        flush=True,
    )
    return row if peak is None else row | {"peak_bytes": peak}


def peer_rows(num_labels, peers):
    """NumPy and crowd-kit as in `kernels` and `joint`; NumPyro's sampler on a small table."""

    from tests.benchmarks import joint  # ArviZ and NumPyro would count in every size's memory

    rng = np.random.default_rng(0)
    yield from kernels.long_rows(num_labels, rng, peers)
    yield from joint.variational_rows(num_labels, rng, peers)
    yield from joint.annotation_rows(rng)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--largest", type=float, default=1e9, help="labels of a kernel")
    parser.add_argument("--largest-fit", type=float, default=1e8, help="labels of a fit")
    parser.add_argument("--largest-runs", type=float, default=1000, help="of each cohort, Table 1")
    parser.add_argument("--peer-labels", type=float, default=1e6, help="0: no other programs")
    parser.add_argument("--peers", help="interpreter of an environment with crowd-kit")
    parser.add_argument("--measure", nargs=2, metavar=("WHAT", "SIZE"), help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    if options.measure:
        what, size = options.measure
        print(json.dumps(MEASURES[what](what, int(size))))
        return
    results = [  # the sizes first: a process starts from the peak memory of its parent
        *kernel_rows("dense", options.largest),
        *kernel_rows("long", options.largest),
        *fit_rows(options.largest_fit),
        *table1_rows(options.largest_runs),
    ]
    if options.peer_labels:
        results.extend(peer_rows(int(options.peer_labels), options.peers))

    kernels.publish(results, options.output)


if __name__ == "__main__":
    main()
