"""Speed of the kernels against the machine's copy bandwidth, NumPy and crowd-kit, in one run.

    python -m tests.benchmarks.kernels [--examples 10000000] [--peers PYTHON] [--output FILE]

Prints one JSON object {machine, results: [{name, size, seconds, against, ratio}]}. `ratio` is ours
over theirs in speed; for kernels against a copy it is bytes per second over bytes per second,
where a kernel's bytes are its labels read once and one float32 per example written once.
Every pair is timed in turn, the fastest of several rounds counts. PYTHON is the interpreter of an
environment that holds crowd-kit.
"""

import argparse
import concurrent.futures
import functools
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from gtx_bayes.aggregation.majority_vote import VoteShares
from gtx_bayes.labels import Labels
from gtx_bayes.models.one_coin import OneCoin
from gtx_bayes.posterior import (
    batch_class_posterior,
    batch_log_odds,
    gather_evidence,
    no_evidence,
    update,
)

ROUNDS = 7


def fastest(*runs, rounds=ROUNDS):
    """Fewest seconds of each run, all of them in turn, after one round that does not count."""
    seconds = [[] for _ in runs]
    for counted in range(rounds + 1):
        for run, taken in zip(runs, seconds, strict=True):
            start = time.perf_counter()
            jax.block_until_ready(run())
            if counted:
                taken.append(time.perf_counter() - start)
    return [min(taken) for taken in seconds]


COPY_SIZES = (70_000_000, 140_000_000, 280_000_000)


def copies():
    """Copies into memory already in use, by the bytes they move: what this machine can do."""
    if jax.default_backend() != "cpu":
        return {(2 * size, device_copy(size)) for size in COPY_SIZES}
    every_core = os.cpu_count()
    return {
        (2 * size, host_copy(size, threads)) for size in COPY_SIZES for threads in (1, every_core)
    }


def host_copy(num_bytes, threads):
    source = np.ones(num_bytes // 8, np.float64)
    target = np.zeros_like(source)
    parts = list(zip(np.array_split(target, threads), np.array_split(source, threads), strict=True))
    pool = concurrent.futures.ThreadPoolExecutor(threads)
    return lambda: list(pool.map(lambda part: np.copyto(*part), parts))


def device_copy(num_bytes):
    """Copy on the default device into memory it already holds."""
    source = jnp.ones(num_bytes // 4, jnp.float32)
    held = [jnp.zeros_like(source)]
    copy = jax.jit(lambda out, x: x * 1.0000001, donate_argnums=0, keep_unused=True)

    def run():
        held[0] = copy(held[0], source)
        return held[0]

    return run


def copy_row(name, size, kernel, num_bytes, rounds):
    """The kernel's bytes per second over those of the fastest copy, timed in turn."""
    every = list(copies())
    ours, *theirs = fastest(kernel, *(copy for _, copy in every), rounds=rounds)
    best = max(moved / seconds for (moved, _), seconds in zip(every, theirs, strict=True))
    return row(name, size, ours, f"fastest copy, {best / 1e9:.1f} GB/s", num_bytes / ours / best)


def into_held_memory(model, labels, num_examples):
    """The log odds, each time into the memory of the last."""
    into = jax.jit(lambda out, m, x: batch_log_odds(m, x), donate_argnums=0, keep_unused=True)
    held = [jnp.zeros(num_examples)]

    def kernel():
        held[0] = into(held[0], model, labels)
        return held[0]

    return kernel


def dense_rows(num_labelers, num_examples, rng):
    table = rng.integers(-1, 2, (num_labelers, num_examples), dtype=np.int8)
    labels = jnp.asarray(table)
    accuracy = rng.uniform(0.6, 0.95, num_labelers).astype(np.float32)
    model = OneCoin(jnp.asarray(accuracy), 2)
    num_bytes = num_labelers * num_examples + 4 * num_examples
    size = f"{num_labelers} labelers x {num_examples} examples"

    kernel = into_held_memory(model, labels, num_examples)
    yield copy_row("dense log odds, output memory reused", size, kernel, num_bytes, rounds=ROUNDS)

    small = jnp.ones(num_bytes // 8, jnp.float32)
    fresh_copy = jax.jit(lambda x: x * 1.0000001)
    ours, theirs = fastest(lambda: batch_log_odds(model, labels), lambda: fresh_copy(small))
    yield row("dense log odds, new output", size, ours, "XLA copy, new output", theirs / ours)

    def by_numpy():
        weight = np.log(accuracy) - np.log1p(-accuracy)
        odds = np.zeros(num_examples, np.float32)
        for answers, w in zip(table, weight, strict=True):
            odds += w * (answers == 1)
            odds -= w * (answers == 0)
        positive = 1 / (1 + np.exp(-odds))
        return np.stack([1 - positive, positive], axis=1)

    ours, theirs = fastest(lambda: batch_class_posterior(model, labels), by_numpy, rounds=3)
    assert np.abs(np.asarray(batch_class_posterior(model, labels)) - by_numpy()).max() < 1e-5
    yield row("dense posterior", size, ours, "NumPy", theirs / ours)


def long_rows(num_labels, rng, peers):
    num_examples, num_labelers = max(num_labels // 5, 1), 1000
    example = np.sort(rng.integers(0, num_examples, num_labels))
    labeler = rng.integers(0, num_labelers, num_labels)
    label = rng.integers(0, 2, num_labels)
    labels = Labels.from_arrays(
        example,
        labeler,
        label,
        num_classes=2,
        num_examples=num_examples,
        num_labelers=num_labelers,
    )
    accuracy = rng.uniform(0.6, 0.95, num_labelers)
    model = OneCoin(jnp.asarray(accuracy, jnp.float32), 2)
    size = f"{num_labels} labels, {num_examples} examples, {num_labelers} labelers"
    num_bytes = 9 * num_labels + 4 * num_examples
    kernel = functools.partial(batch_log_odds, model, labels)
    yield copy_row("long log odds", size, kernel, num_bytes, rounds=3)

    def posterior_by_numpy():
        weight = np.log(accuracy) - np.log1p(-accuracy)
        odds = np.bincount(
            example, weights=weight[labeler] * (2 * label - 1), minlength=num_examples
        )
        positive = 1 / (1 + np.exp(-odds))
        return np.stack([1 - positive, positive], axis=1)

    ours, theirs = fastest(
        lambda: batch_class_posterior(model, labels), posterior_by_numpy, rounds=3
    )
    assert (
        np.abs(np.asarray(batch_class_posterior(model, labels)) - posterior_by_numpy()).max() < 1e-5
    )
    yield row("long posterior", size, ours, "NumPy bincount", theirs / ours)

    def votes_by_numpy():
        votes = np.bincount(2 * example + label, minlength=2 * num_examples).reshape(-1, 2)
        return votes / np.maximum(votes.sum(axis=1, keepdims=True), 1)

    vote = jax.jit(VoteShares(2).class_probs)
    ours, theirs = fastest(lambda: vote(labels), votes_by_numpy, rounds=3)
    yield row("majority vote", size, ours, "NumPy bincount", theirs / ours)
    if peers:
        ours = fastest(lambda: vote(labels), rounds=3)[0]
        call = "MajorityVote().fit_predict_proba(frame)"
        theirs, shares = crowd_kit(peers, example, labeler, label, call)
        assert np.abs(np.asarray(vote(labels))[np.unique(example)] - shares).max() < 1e-6
        yield row("majority vote", size, ours, "crowd-kit 1.4.2 MajorityVote", theirs / ours)


def crowd_kit(python, example, labeler, label, call):
    """Seconds and result of a `call` on the data frame `frame`, in crowd-kit's own environment."""
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "answers.npz", task=example, worker=labeler, label=label)
        code = (
            "import sys, time, numpy, pandas\n"
            "from crowdkit.aggregation import MajorityVote, OneCoinDawidSkene\n"
            "frame = pandas.DataFrame(dict(numpy.load(sys.argv[1])))\n"
            "start = time.perf_counter()\n"
            f"probs = {call}\n"
            "print(time.perf_counter() - start)\n"
            "numpy.save(sys.argv[2], probs.sort_index()[[0, 1]].to_numpy())\n"
        )
        run = subprocess.run(
            [python, "-c", code, f"{folder}/answers.npz", f"{folder}/probs.npy"],
            capture_output=True,
            text=True,
            check=True,
        )
        return float(run.stdout), np.load(Path(folder) / "probs.npy")


def cohort_rows(rng, num_cohorts=1000, num_labelers=20, num_examples=5000, labels_per_example=3):
    """Log odds of many cohorts on the same labels, against the product that they are."""
    accuracy = rng.uniform(0.6, 0.95, (num_cohorts, num_labelers)).astype(np.float32)
    who = rng.permuted(np.tile(np.arange(num_labelers), (num_examples, 1)), axis=1)
    who = who[:, :labels_per_example]
    table = np.full((num_labelers, num_examples), -1, np.int8)
    table[who, np.arange(num_examples)[:, None]] = rng.integers(0, 2, who.shape)
    signs = np.where(table == 1, 1, np.where(table == 0, -1, 0)).astype(np.float32)
    weight = np.log(accuracy) - np.log1p(-accuracy)
    expected = weight.astype(float) @ signs.astype(float)
    product, cohorts = jax.jit(jnp.matmul), OneCoin(jnp.asarray(accuracy), 2)
    weight, signs = jnp.asarray(weight), jnp.asarray(signs)
    mapped = jax.jit(jax.vmap(lambda one, x: batch_log_odds(OneCoin(one, 2), x), (0, None)))
    forms = {"dense": jnp.asarray(table), "long": Labels.from_dense(table, num_classes=2)}
    size = f"{num_cohorts} cohorts x {num_examples} examples x {labels_per_example} labels"
    for form, labels in forms.items():
        calls = {
            f"cohorts, {form}": functools.partial(batch_log_odds, cohorts, labels),
            f"cohorts, {form}, by vmap": functools.partial(mapped, cohorts.accuracy, labels),
        }
        for name, call in calls.items():
            assert np.abs(np.asarray(call()) - expected).max() < 1e-5
            ours, theirs = fastest(call, functools.partial(product, weight, signs))
            yield row(name, size, ours, "the plain matrix product", theirs / ours)


def update_rows(num_examples, rng):
    model = OneCoin(jnp.asarray(rng.uniform(0.6, 0.95, 1000), jnp.float32), 2)

    def answers(count):
        return Labels.from_arrays(
            rng.integers(0, num_examples, count),
            rng.integers(0, 1000, count),
            rng.integers(0, 2, count),
            num_classes=2,
            num_examples=num_examples,
            num_labelers=1000,
        )

    whole, few = answers(num_examples), answers(1000)
    held = [no_evidence(num_examples, 2)]

    def add():
        held[0] = update(held[0], model, few)
        return held[0]

    ours, theirs = fastest(add, lambda: gather_evidence(model, whole), rounds=3)
    size = f"1000 new answers to {num_examples} examples with {num_examples} answers"
    yield row("update", size, ours, "gathering all answers afresh", theirs / ours)


def row(name, size, seconds, against, ratio):
    found = {
        "name": name,
        "size": size,
        "seconds": round(seconds, 6),
        "against": against,
        "ratio": round(ratio, 3),
    }
    print(
        f"{name:40} {seconds * 1e3:10.3f} ms {ratio:8.3f} x {against}", file=sys.stderr, flush=True
    )
    return found


def machine():
    """What the figures depend on: nothing that tells whose machine it is."""
    device = jax.devices()[0]
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory("MemTotal") / 2**30, 1),
        "os": f"{platform.system()} {platform.machine()}",
        "device": f"{device.platform}: {device.device_kind}",
        "python": platform.python_version(),
        "jax": jax.__version__,
        "numpy": np.__version__,
    }


def cpu_model():
    facts = Path("/proc/cpuinfo")
    if facts.exists():
        for line in facts.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def memory(name):
    """A figure of the machine's memory in bytes, by Linux's name for it; 0 where it is not told."""
    facts = Path("/proc/meminfo")
    if facts.exists():
        for line in facts.read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return 0


def publish(results, output):
    """Print the results with the machine's name, and write them to a file if one is given."""
    text = json.dumps({"machine": machine(), "results": results}, indent=2)
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text + "\n")
    print(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=10_000_000)
    parser.add_argument("--peers", help="interpreter of an environment with crowd-kit")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    results = [
        *dense_rows(10, options.examples, rng),
        *long_rows(options.examples, rng, options.peers),
        *update_rows(options.examples, rng),
        *cohort_rows(rng),
    ]
    publish(results, options.output)


if __name__ == "__main__":
    main()
