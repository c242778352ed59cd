"""Measure on the accelerator at hand: `tests/accelerator/run.sh` says what and how.

Prints progress, and writes one JSON object {machine, seconds, results: [...], left_out: [...]}.
A result is {part, name, size, seconds, and what follows from it}. Seconds are the fastest of
several calls after one that does not count. Each part has a share of the time: what does not fit
is left out with a reason, never cut short in silence.
"""

import argparse
import dataclasses
import functools
import json
import platform
import subprocess
import sys
import time
import traceback
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

MOST_SECONDS = 560.0  # of the ten minutes


@dataclasses.dataclass
class Report:
    """What was measured so far, written down after every part.

    Attributes:
        folder: where the file goes.
        small: whether sizes are for a trial.
        most_seconds: when to begin nothing more.
    """

    folder: Path
    small: bool
    most_seconds: float
    begun: float = dataclasses.field(default_factory=time.monotonic)
    results: list = dataclasses.field(default_factory=list)
    left_out: list = dataclasses.field(default_factory=list)

    @property
    def left(self):
        return self.most_seconds - (time.monotonic() - self.begun)

    def add(self, part, name, size, seconds, **more):
        row = {"part": part, "name": name, "size": size, "seconds": seconds} | more
        self.results.append(row)
        print(json.dumps(row), flush=True)

    def leave_out(self, part, why):
        self.left_out.append({"part": part, "why": why})
        print(f"{part}: left out, {why}", flush=True)

    def write(self):
        device = jax.devices()[0]
        record = {
            "machine": {
                "device": f"{device.platform}: {device.device_kind}",
                "devices": jax.device_count(),
                "jax": jax.__version__,
                "python": platform.python_version(),
            },
            "small": self.small,
            "seconds": round(time.monotonic() - self.begun, 1),
            "results": self.results,
            "left_out": self.left_out,
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "accelerator.json").write_text(json.dumps(record, indent=1) + "\n")


def fastest(call, rounds=5):
    """Seconds of the fastest call, after one that does not count."""
    jax.block_until_ready(call())
    taken = []
    for _ in range(rounds):
        begun = time.perf_counter()
        jax.block_until_ready(call())
        taken.append(time.perf_counter() - begun)
    return min(taken)


def copy_bandwidth(report):
    """Bytes a second of a copy on the device: what kernels are measured against."""
    size = 10**6 if report.small else 2**28
    source = jnp.ones(size, jnp.float32)
    copy = jax.jit(lambda x: x * 1.0000001)
    seconds = fastest(lambda: copy(source))
    report.add("copy", "copy", f"{4 * size} bytes", seconds, bytes_per_second=8 * size / seconds)


def bandwidth(report):
    return next(row["bytes_per_second"] for row in report.results if row["part"] == "copy")


def kernels(report):
    """Tables and the long form, 10^6 to 10^9 labels, against the copy."""
    from gtx_bayes.labels import Labels
    from gtx_bayes.models.one_coin import OneCoin
    from gtx_bayes.posterior import batch_class_posterior, batch_log_odds

    key = jax.random.key(0)
    sizes = (10**4, 10**5) if report.small else (10**6, 10**7, 10**8, 10**9)
    calls = ((batch_log_odds, 2), (batch_class_posterior, 4))
    for num_labels in sizes:
        num_examples = num_labels // 10
        for call, num_classes in calls:
            model = OneCoin(jnp.linspace(0.6, 0.95, 10), num_classes)
            draw = jax.jit(
                lambda key, n=num_examples, k=num_classes: jax.random.randint(
                    key, (10, n), -1, k, jnp.int8
                )
            )
            labels = draw(key)
            seconds = fastest(lambda c=call, m=model, x=labels: c(m, x))
            width = 1 if num_classes == 2 else num_classes
            moved = num_labels + 4 * width * num_examples
            share = moved / seconds / bandwidth(report)
            size = f"{num_labels} labels, K = {num_classes}"
            report.add("kernels", "table", size, seconds, of_copy=share)
            del labels
    for num_labels in sizes:
        num_examples = num_labels // 5
        for call, num_classes in calls:
            model = OneCoin(jnp.linspace(0.6, 0.95, 1000), num_classes)

            def draw(key, n=num_labels, k=num_classes):
                key_labeler, key_label = jax.random.split(key)
                labeler = jax.random.randint(key_labeler, (n,), 0, 1000, jnp.int32)
                label = jax.random.randint(key_label, (n,), 0, k, jnp.int8)
                return jnp.arange(n, dtype=jnp.int32) // 5, labeler, label

            labels = Labels(*jax.jit(draw)(key), num_examples, 1000, num_classes)
            seconds = fastest(lambda c=call, m=model, x=labels: c(m, x), rounds=3)
            width = 1 if num_classes == 2 else num_classes
            moved = 9 * num_labels + 4 * width * num_examples
            share = moved / seconds / bandwidth(report)
            size = f"{num_labels} labels, 1,000 labelers, K = {num_classes}"
            report.add("kernels", "long form", size, seconds, of_copy=share)
            del labels


def scatters(report):
    """Whether it pays to promise sorted indices to the scatter of the long form."""
    size = 10**5 if report.small else 10**8
    example, value = jnp.arange(size, dtype=jnp.int32) // 5, jnp.ones(size, jnp.int32)
    for is_sorted in (False, True):

        def add(example, value, promise=is_sorted):
            none = jnp.zeros(size // 5, jnp.int32)
            return none.at[example].add(value, mode="drop", indices_are_sorted=promise)

        compiled = jax.jit(add)
        seconds = fastest(lambda add=compiled: add(example, value), rounds=3)
        share = (8 * size + 4 * size // 5) / seconds / bandwidth(report)
        name = "scatter-add, sorted" if is_sorted else "scatter-add"
        report.add("scatters", name, f"{size} values", seconds, of_copy=share)


def cohorts(report):
    """A batch of cohorts against the plain product."""
    from gtx_bayes.models.one_coin import OneCoin
    from gtx_bayes.posterior import batch_log_odds

    num_cohorts, num_examples = (50, 500) if report.small else (1000, 100_000)
    accuracy = jax.random.uniform(jax.random.key(1), (num_cohorts, 20), minval=0.6, maxval=0.95)
    labels = jax.random.randint(jax.random.key(2), (20, num_examples), -1, 2, jnp.int8)
    labels = jnp.where(jnp.arange(20)[:, None] % 7 == jnp.arange(num_examples) % 7, labels, -1)
    labels = labels.astype(jnp.int8)
    signs = (labels == 1).astype(jnp.float32) - (labels == 0).astype(jnp.float32)
    product = jax.jit(functools.partial(jnp.matmul, precision="highest"))
    plain = fastest(lambda: product(accuracy, signs))
    ours = fastest(lambda: batch_log_odds(OneCoin(accuracy, 2), labels))
    size = f"{num_cohorts} cohorts, 20 labelers, {num_examples} examples"
    report.add("cohorts", "log odds", size, ours, against_product=ours / plain)


def tables(report):
    """Runs of the paper's Tables 1 and 2."""
    from gtx_bayes.experiments import table1, table2

    for module in (table1, table2):
        runs = 2 if report.small else 5000
        module.run(jax.random.key(3), runs=2)
        begun = time.perf_counter()
        module.run(jax.random.key(3), runs=runs)
        seconds = time.perf_counter() - begun
        size = f"{2 * runs} runs"
        report.add("tables", module.NAME, size, seconds, runs_per_second=2 * runs / seconds)


def fits(report):
    """Steps of the variational fit, and Gibbs sampling."""
    from gtx_bayes.inference import gibbs, variational
    from gtx_bayes.labels import Assessment, Labels
    from gtx_bayes.models.one_coin import OneCoinModel

    def crowd(num_labels):
        key_labeler, key_right = jax.random.split(jax.random.key(4))
        example = jnp.arange(num_labels, dtype=jnp.int32) // 5
        labeler = jax.random.randint(key_labeler, (num_labels,), 0, 1000, jnp.int32)
        right = jax.random.uniform(key_right, (num_labels,)) < 0.6 + 0.35 * labeler / 1000
        label = jnp.where(right, example % 2, 1 - example % 2).astype(jnp.int8)
        num_examples = num_labels // 5
        labels = Labels(example, labeler, label, num_examples, 1000, 2)
        return labels, Assessment.none(num_examples, 2)

    prior = OneCoinModel().cohort_prior(2)
    for num_labels in (10**4,) if report.small else (10**6, 10**7, 10**8):
        labels, gold = crowd(num_labels)
        state = variational.start(labels, gold, prior)
        even = variational.uniform(2)

        def step(labels=labels, gold=gold, state=state, even=even):
            return variational.step(labels, gold, state, even, True)

        seconds = fastest(step, rounds=3)
        size = f"{num_labels} labels"
        report.add(
            "fits", "variational step", size, seconds, labels_per_second=num_labels / seconds
        )
    labels, gold = crowd(10**3 if report.small else 10**6)
    keys, num_draws = jax.random.split(jax.random.key(5), 4), 10 if report.small else 100

    def sample():
        return gibbs.sample_chains(keys, labels, gold, prior, None, 0, num_draws)

    seconds = fastest(sample, rounds=1)
    size = f"4 chains of {num_draws}, {labels.num_labels} labels"
    report.add("fits", "Gibbs", size, seconds, sweeps_per_second=4 * num_draws / seconds)


PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "TPU v5 lite": 197e12}
"""Floating-point operations a second in bfloat16, without sparsity, by what devices call
themselves (their makers' data sheets)."""

FLOP_PER_IMAGE = 3 * 2 * 0.39e9
"""Of a training step of EfficientNet-b0 at 224 pixels: 0.39 G multiplications and additions
forward (Tan and Le, 2019), twice as many backward."""


def network(report):
    """Training steps of EfficientNet-b0, head and full training on drawn scenes."""
    from gtx_bayes.finetune import train as training
    from gtx_bayes.finetune.efficientnet import EfficientNetConfig, initial_network
    from gtx_bayes.finetune.targets import known_targets

    side, batch = (32, 4) if report.small else (224, 128)
    kind = jax.devices()[0].device_kind
    peak = next((flops for name, flops in PEAKS.items() if name in kind), None)
    pixels = np.random.default_rng(0).integers(0, 256, (batch, side, side, 3), np.uint8)
    targets = known_targets(jnp.arange(batch) % 2, 2)
    for dtype in ("float32", "bfloat16"):
        size = dataclasses.replace(EfficientNetConfig.of_size("b0", 2), compute_dtype=dtype)
        config = training.TrainingConfig(batch_size=batch)
        numbers = config.optimiser, config.layer_decay
        graph, start = training._start(initial_network(jax.random.key(0), size), config)
        held = [start]

        def step(graph=graph, config=config, numbers=numbers, held=held):
            held[0], loss = training._step(
                graph, config, numbers, held[0], jax.random.key(1), pixels, targets, 100
            )
            return loss

        seconds = fastest(step, rounds=2 if report.small else 10)
        more = {"images_per_second": batch / seconds}
        if peak and side == 224:
            more["of_peak"] = batch * FLOP_PER_IMAGE / seconds / peak
        report.add("network", f"step, {dtype}", f"{batch} images of {side} pixels", seconds, **more)


def scenes(report):
    """The grid of trainings behind Figure 4, as far as five minutes go; --small: its quick one."""
    folder = report.folder / "figure4"
    command = [sys.executable, "-m", "gtx_bayes", "reproduce", "figure4", "--output", str(folder)]
    command += ["--quick"] if report.small else []
    most, begun = min(300.0, report.left), time.perf_counter()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=most, check=False)
        if done.returncode:
            report.leave_out("scenes", done.stderr.strip()[-300:])
            return
    except subprocess.TimeoutExpired:
        pass  # what ended is counted
    log = folder / "finetuning.jsonl"
    ended = len(log.read_text().splitlines()) if log.exists() else 0
    seconds = time.perf_counter() - begun
    report.add("scenes", "Figure 4", f"{ended} trainings ended", seconds)


def tests(report):
    """The tests marked gpu and kernel, before this process holds memory of the device."""
    try:
        import beartype
        import chex
        import hypothesis
        import pytest
        import scipy
    except ModuleNotFoundError as error:
        report.leave_out("tests", f"{error.name} is not here")
        return
    del beartype, chex, hypothesis, scipy, pytest
    one = "tests/test_kernels.py::test_padding_at_the_end_is_no_long_run"
    chosen, marks = [one] if report.small else ["tests"], "gpu or kernel"
    command = [sys.executable, "-m", "pytest", "-q", "-m", marks, *chosen]
    command += ["-p", "no:cacheprovider", "--continue-on-collection-errors"]
    begun = time.perf_counter()
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=min(report.left, 150.0), check=False
        )
    except subprocess.TimeoutExpired:
        report.leave_out("tests", "they did not end in time")
        return
    tail = done.stdout.strip().splitlines()[-1:] or [done.stderr[-300:]]
    seconds = time.perf_counter() - begun
    report.add("tests", marks, tail[0], seconds, passed=done.returncode == 0)


PARTS = (tests, copy_bandwidth, kernels, scatters, cohorts, tables, fits, network, scenes)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="small sizes, to try it")
    parser.add_argument("--output", type=Path, default=Path("build/accelerator"))
    parser.add_argument("--parts", nargs="*", choices=[part.__name__ for part in PARTS])
    parser.add_argument("--seconds", type=float, default=MOST_SECONDS, help="in all")
    options = parser.parse_args()
    if jax.default_backend() == "cpu" and not options.small:
        parser.error("there is no accelerator: --small tries the script on a CPU")
    report = Report(options.output, options.small, options.seconds)
    for part in PARTS:
        name = part.__name__
        if options.parts and name not in options.parts:
            continue
        if report.left < 20:
            report.leave_out(name, "no time was left")
            continue
        try:
            part(report)
        except ModuleNotFoundError as error:
            report.leave_out(name, f"{error.name} is not here")
        except Exception as error:  # the other parts are worth having
            traceback.print_exc()
            report.leave_out(name, f"{type(error).__name__}: {str(error)[:300]}")
        report.write()
    report.write()


if __name__ == "__main__":
    main()
