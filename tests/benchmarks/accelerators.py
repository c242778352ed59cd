"""What XLA makes of our programs for an H100 and a TPU v5e, neither of which is needed.

    python -m tests.benchmarks.accelerators [--only NAME ...] [--json FILE] [--output TABLE]

Compiles ahead of time, each platform in a process of its own, and reads what the compilers say.
For a TPU that is the bytes that its cost analysis counts as accessed; it counts nothing that a
scatter reads and nothing of a kernel in Pallas, whose operands and results are added. For a GPU,
whose analysis is empty, it is the number of fusions, scatters and loops and the memory for
temporaries. The least possible is every argument read once and every result written once. Exit
code 1 where one of the bars falls that are set in `programs`.

Needs `libtpu`, `jax-cuda12-plugin`, `jax-cuda12-pjrt` and `nvidia-cuda-nvcc-cu12`: `make
accelerators` has them in an environment of its own. A platform whose packages are absent is left
out, and said to be.
"""

import argparse
import dataclasses
import functools
import importlib.util
import json
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PLATFORMS = {"tpu": "TPU v5e", "cuda": "H100"}

H100 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
  shared_memory_per_core: 233472 shared_memory_per_block_optin: 232448
  threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000 l2_cache_size: 52428800 clock_rate_ghz: 1.98
  device_memory_size: 84978434048 cuda_compute_capability { major: 9 }
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 8 }
runtime_version { major: 12 minor: 9 }
"""

BAR_CPU_SECONDS = 40.0  # of compiling: 20 s on two idle cores, whatever else the machine does
STATED_CPU_SECONDS = {
    ("Gibbs sweeps, confusion, K = 4", "tpu"): 70.0,
    ("EfficientNet-b0 step", "tpu"): 400.0,
    ("EfficientNet-b0 step", "cuda"): 140.0,
}
"""By program and platform: what is held where the bar is not reached, with the account of it in
docs/accelerators.md. On a machine with much else to do, CPU time too is
several times as long."""
ONE_PASS = 0.01  # temporaries on a GPU, as a share of the arguments


@dataclasses.dataclass(frozen=True)
class Program:
    """A function to compile, and what must hold.

    Attributes:
        name: of the row.
        call: the function.
        arguments: arrays, or their shapes.
        size: in words.
        accessed: on a TPU at most so many times the least bytes; None without a bar.
        one_pass: whether a GPU may need no memory for temporaries to speak of.
        no_loops: whether a GPU may need no while loop.
    """

    name: str
    call: Callable[..., Any]
    arguments: tuple[Any, ...]
    size: str
    accessed: float | None = None
    one_pass: bool = False
    no_loops: bool = False


def programs():
    """Every program, in the order of the table."""
    yield from kernels()
    yield from fits()
    yield from studies()
    yield network_step()


def kernels():
    import jax
    import jax.numpy as jnp

    from gtx_bayes import posterior
    from gtx_bayes.labels import Labels
    from gtx_bayes.models.one_coin import OneCoin
    from gtx_bayes.votes import class_votes

    def array(shape, dtype):
        return jax.ShapeDtypeStruct(shape, dtype)

    def coins(num_labelers, num_classes):
        return OneCoin(array((num_labelers,), jnp.float32), num_classes)

    def long(num_labels, num_examples, num_labelers, num_classes):
        index = array((num_labels,), jnp.int32)
        label = array((num_labels,), jnp.int8)
        return Labels(index, index, label, num_examples, num_labelers, num_classes)

    table = array((10, 10**7), jnp.int8)
    yield Program(
        "dense, log odds",
        posterior.batch_log_odds,
        (coins(10, 2), table),
        "10 x 10^7",
        accessed=1.5,
        one_pass=True,
    )
    small = array((10, 10**6), jnp.int8)
    for num_classes, bar in ((2, 1.5), (4, 2.0)):
        yield Program(
            f"dense, class posterior, K = {num_classes}",
            posterior.batch_class_posterior,
            (coins(10, num_classes), small),
            "10 x 10^6",
            accessed=bar,
            one_pass=True,
        )
    answers = 10**7, 2 * 10**6, 1000
    words = "10^7 answers, 2 x 10^6 examples, 1,000 labelers"
    yield Program(
        "long, log odds",
        posterior.batch_log_odds,
        (coins(1000, 2), long(*answers, 2)),
        words,
        accessed=2.0,
        no_loops=True,
    )
    for num_classes in (2, 4):
        yield Program(
            f"long, class posterior, K = {num_classes}",
            posterior.batch_class_posterior,
            (coins(1000, num_classes), long(*answers, num_classes)),
            words,
            accessed=2.0,
            no_loops=True,
        )
    weight = array((1000,), jnp.float32)
    for num_classes in (2, 4):
        labels = long(*answers, num_classes)
        call = functools.partial(class_votes, num_classes=num_classes)
        yield Program(
            f"long, votes, K = {num_classes}", call, (labels, weight), words, no_loops=True
        )
    few = long(1000, 10**7, 1000, 2)
    state = jax.eval_shape(lambda: posterior.no_evidence(10**7, 2))
    yield Program(
        "update",
        lambda state, model, labels: posterior.update(state, model, labels),
        (state, coins(1000, 2), few),
        "10^3 answers more, 10^7 examples",
        no_loops=True,
    )
    cohorts = OneCoin(array((1000, 20), jnp.float32), 2)
    yield Program(
        "cohorts, dense, log odds",
        posterior.batch_log_odds,
        (cohorts, array((20, 5000), jnp.int8)),
        "1,000 cohorts, 20 x 5,000",
        no_loops=True,
    )
    yield Program(
        "cohorts, long, log odds",
        posterior.batch_log_odds,
        (cohorts, long(15_000, 5000, 20, 2)),
        "1,000 cohorts, 15,000 answers, 5,000 examples",
    )


def fits():
    import jax
    import jax.numpy as jnp

    from gtx_bayes.inference import gibbs, variational
    from gtx_bayes.labels import Assessment, Labels
    from gtx_bayes.models.confusion import ConfusionModel
    from gtx_bayes.models.one_coin import OneCoinModel

    num_labels, num_examples, num_labelers = 10**6, 2 * 10**5, 1000
    index = jax.ShapeDtypeStruct((num_labels,), jnp.int32)
    label = jax.ShapeDtypeStruct((num_labels,), jnp.int8)
    size = "10^6 answers, 2 x 10^5 examples, 1,000 labelers"
    for model, num_classes in ((OneCoinModel(), 2), (ConfusionModel(), 4)):
        labels = Labels(index, index, label, num_examples, num_labelers, num_classes)
        gold = Assessment(jax.ShapeDtypeStruct((num_examples,), jnp.int8), num_classes)
        prior = model.cohort_prior(num_classes)
        state = jax.eval_shape(variational.start, labels, gold, prior, None)
        yield Program(
            f"variational step, {model.name}, K = {num_classes}",
            lambda labels, gold, state: variational.step(
                labels,
                gold,
                state,
                variational.uniform(num_classes=state.class_probs.shape[1]),
                True,
            ),
            (labels, gold, state),
            size,
        )
        yield Program(
            f"Gibbs sweeps, {model.name}, K = {num_classes}",
            lambda keys, labels, gold, prior: gibbs.sample_chains(
                jax.random.wrap_key_data(keys), labels, gold, prior, None, 1, 1
            ),
            (jax.ShapeDtypeStruct((4, 2), jnp.uint32), labels, gold, prior),
            f"{size}, 4 chains",
        )


def studies():
    import jax
    import jax.numpy as jnp

    from gtx_bayes.experiments import table1, table2

    keys = jax.ShapeDtypeStruct((64, 2), jnp.uint32)
    limit = jax.ShapeDtypeStruct((), jnp.float32)
    for module in (table1, table2):

        def runs(keys, low, high, module=module):
            one = functools.partial(module.simulate_run, config=module.Config())
            return jax.vmap(lambda key: one(jax.random.wrap_key_data(key), low, high))(keys)

        name = module.NAME.replace("table", "Table ")
        yield Program(name, runs, (keys, limit, limit), "64 runs side by side")


def network_step():
    import jax
    import jax.numpy as jnp

    from gtx_bayes.finetune import train as training
    from gtx_bayes.finetune.efficientnet import EfficientNetConfig, initial_network
    from gtx_bayes.finetune.targets import known_targets

    config = training.TrainingConfig(batch_size=32)
    numbers = config.optimiser, config.layer_decay
    size = dataclasses.replace(EfficientNetConfig.of_size("b0", 2), compute_dtype="bfloat16")
    graph, state = training._start(initial_network(jax.random.key(0), size), config)
    targets = known_targets(jnp.arange(32) % 2, 2)

    def step(state, key, pixels, targets):
        key = jax.random.wrap_key_data(key)
        return training._step(graph, config, numbers, state, key, pixels, targets, 100)

    shapes = jax.eval_shape(lambda *given: given, state)
    pixels = jax.ShapeDtypeStruct((32, 224, 224, 3), jnp.uint8)
    arguments = (shapes[0], jax.ShapeDtypeStruct((2,), jnp.uint32), pixels, targets)
    return Program("EfficientNet-b0 step", step, arguments, "32 images of 224 pixels, bfloat16")


def prepare(platform):
    """Environment of a process that compiles for the platform, before JAX is imported."""
    os.environ |= {
        "JAX_PLATFORMS": "cpu,cuda" if platform == "cuda" else "cpu",
        "JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TPU_SKIP_MDS_QUERY": "1",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # there is no chip to share
        "TPU_WORKER_HOSTNAMES": "localhost",
    }
    if platform == "cuda":
        spec = importlib.util.find_spec("nvidia.cuda_nvcc")
        toolkit = Path(next(iter(spec.submodule_search_locations)))
        os.environ["PATH"] += f"{os.pathsep}{toolkit / 'bin'}"
        os.environ["XLA_FLAGS"] = (
            f"--xla_gpu_cuda_data_dir={toolkit} --xla_gpu_autotune_level=0 "
            + os.environ.get("XLA_FLAGS", "")
        )


def is_there(platform):
    """Whether the packages are there that compile for the platform."""
    wanted = {"tpu": ("libtpu",), "cuda": ("jax_plugins.xla_cuda12", "nvidia.cuda_nvcc")}
    try:
        return all(importlib.util.find_spec(name) for name in wanted[platform])
    except ModuleNotFoundError:
        return False


def device_of(platform):
    """A device that there is none of."""
    from jax.experimental import topologies

    if platform == "tpu":
        return topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x2").devices[0]
    return topologies.get_topology_desc(
        platform="cuda", topology_name="", target_config=H100, topology="1x1x1"
    ).devices[0]


def measure(program, device):
    """What the compiler makes of a program."""
    import jax

    sharding = jax.sharding.SingleDeviceSharding(device)
    arguments = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), program.arguments
    )
    result = jax.eval_shape(program.call, *arguments)
    least = sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves((arguments, result)))
    begun, cpu = time.perf_counter(), time.process_time()
    compiled = jax.jit(program.call).lower(*arguments).compile()
    text, memory = compiled.as_text(), compiled.memory_analysis()
    found = {
        "name": program.name,
        "size": program.size,
        "seconds": round(time.perf_counter() - begun, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "least_bytes": least,
        "argument_bytes": memory.argument_size_in_bytes,
        "temporary_bytes": memory.temp_size_in_bytes,
    }
    kinds = ("fusion", "scatter", "while", "conditional")
    found |= {kind: len(re.findall(rf"[ )]{kind}\(", text)) for kind in kinds}
    if device.platform == "tpu":
        counted = compiled.cost_analysis()["bytes accessed"]
        found["accessed_bytes"] = counted + uncounted(text)
    return found


ITEM = {"pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "bf16": 2, "s32": 4, "u32": 4, "f32": 4}
SHAPE = re.compile(r"(\w+)\[([\d,]*)\](?:\{([\d,]+)(?::T\((\d+)(?:,(\d+))?\))?)?")


def in_memory(shape):
    """Bytes of arrays in an instruction's text, the padding of their tiles included."""
    total = 0
    for dtype, dims, order, rows, columns in SHAPE.findall(shape):
        if dtype not in ITEM:
            continue
        sizes = [int(d) for d in dims.split(",") if d]
        minor = [int(d) for d in order.split(",")] if order else []
        tile = [int(t) for t in (columns, rows) if t] if columns else [int(t) for t in (rows,) if t]
        for dim, to in zip(minor, tile, strict=False):
            sizes[dim] = -(-sizes[dim] // to) * to
        total += math.prod(sizes) * ITEM[dtype]
    return total


INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%([\w.\-]+) = (.*?) ([a-z][\w\-]*)\((.*?)\)", re.MULTILINE)


def uncounted(text):
    """Bytes that kernels in Pallas read and write, and that scatters read."""
    found = INSTRUCTION.findall(text)
    shapes = {name: shape for name, shape, _, _ in found}
    total = 0
    for (_, shape, kind, operands), whole in zip(found, INSTRUCTION.finditer(text), strict=True):
        line = text[whole.start() : text.find("\n", whole.end())]
        is_kernel = kind == "custom-call" and "tpu_custom_call" in line
        if kind == "scatter" or is_kernel:
            read = re.findall(r"%([\w.\-]+)", operands)
            total += sum(in_memory(shapes.get(operand, "")) for operand in read)
            total += in_memory(shape) if is_kernel else 0
    return total


def fallen(program, found, platform):
    """The bars that a program does not reach, in words."""
    most = STATED_CPU_SECONDS.get((program.name, platform), BAR_CPU_SECONDS)
    if found["cpu_seconds"] > most:
        yield f"compiles in {found['cpu_seconds']:.0f} s of CPU time, not {most:.0f}"
    if platform == "tpu" and program.accessed is not None:
        ratio = found["accessed_bytes"] / found["least_bytes"]
        if ratio > program.accessed:
            yield f"accesses {ratio:.1f} times the least, not {program.accessed}"
    if platform == "cuda" and program.one_pass:
        share = found["temporary_bytes"] / found["argument_bytes"]
        if share > ONE_PASS:
            yield f"temporaries are {share:.0%} of the arguments, not {ONE_PASS:.0%}"
    if platform == "cuda" and program.no_loops and found["while"]:
        yield f"has {found['while']} while loops, not 0"


def one_platform(platform, only):
    """Print a JSON line for every program."""
    prepare(platform)
    device = device_of(platform)
    for program in programs():
        if only and not any(word in program.name for word in only):
            continue
        found = measure(program, device)
        found["fallen"] = list(fallen(program, found, platform))
        print(json.dumps(found), flush=True)


def table(rows):
    """The table of the documentation."""
    lines = [
        "| program | size | TPU v5e: bytes / least, temporaries, compiling | "
        "H100: fusions / scatters / loops, temporaries, compiling |",
        "|---|---|---|---|",
    ]
    by_name = {}
    for row in rows:
        by_name.setdefault((row["name"], row["size"]), {})[row["platform"]] = row
    for (name, size), found in by_name.items():
        tpu, cuda = (found.get(platform) for platform in PLATFORMS)
        there = there_gpu = "not compiled"
        if tpu:
            ratio = tpu["accessed_bytes"] / tpu["least_bytes"]
            # A simulation takes a key and returns means: the least says nothing.
            accessed = f"{ratio:.1f}" if ratio < 1000 else f"{tpu['accessed_bytes'] / 1e6:,.0f} MB"
            there = f"{accessed}, {memory_of(tpu)}, {tpu['cpu_seconds']:.1f} s"
        if cuda:
            counts = " / ".join(str(cuda[kind]) for kind in ("fusion", "scatter", "while"))
            there_gpu = f"{counts}, {memory_of(cuda)}, {cuda['cpu_seconds']:.1f} s"
        lines.append(f"| {name} | {size} | {there} | {there_gpu} |")
    short = [
        f"- {row['name']}, {PLATFORMS[row['platform']]}: {what}."
        for row in rows
        for what in row["fallen"]
    ]
    bars = ["", "Bars that fall:", "", *short] if short else ["", "What is stated holds."]
    slow = [
        f"- {row['name']}, {PLATFORMS[row['platform']]}: compiles in {row['cpu_seconds']:.0f} s of "
        f"CPU time; asked {BAR_CPU_SECONDS:.0f}, stated {most:.0f}."
        for row in rows
        if (most := STATED_CPU_SECONDS.get((row["name"], row["platform"])))
        and BAR_CPU_SECONDS < row["cpu_seconds"] <= most
    ]
    if slow:
        bars += ["", "Short of what is asked:", "", *slow]
    return "\n".join(lines + bars) + "\n"


def memory_of(row):
    return f"{row['temporary_bytes'] / 1e6:,.1f} MB"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--platform", choices=PLATFORMS, help=argparse.SUPPRESS)
    parser.add_argument("--only", nargs="*", default=[], help="programs with these in their names")
    parser.add_argument("--json", type=Path, help="where to put the figures")
    parser.add_argument("--output", type=Path, help="where to put the table")
    options = parser.parse_args()
    if options.platform:
        one_platform(options.platform, options.only)
        return
    rows, missing = [], []
    for platform, name in PLATFORMS.items():
        if not is_there(platform):
            print(f"{name}: left out, its compiler is not installed", file=sys.stderr)
            missing.append(platform)
            continue
        command = [sys.executable, "-m", "tests.benchmarks.accelerators", "--platform", platform]
        if options.only:
            command += ["--only", *options.only]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout:
                if line.startswith("{"):
                    rows.append({"platform": platform} | json.loads(line))
                    print(f"{name}: {rows[-1]}", file=sys.stderr, flush=True)
        if process.returncode:
            raise SystemExit(f"compiling for {name} ended with {process.returncode}")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    if options.output:
        options.output.write_text(table(rows))
    print(table(rows))
    raise SystemExit(1 if missing or any(row["fallen"] for row in rows) else 0)


if __name__ == "__main__":
    main()
