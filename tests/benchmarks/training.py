"""A step of training EfficientNet-b0 against the same step in transformers and PyTorch.

    python -m tests.benchmarks.training [--torch PYTHON] [--side 224] [--batch 16] [--output FILE]

Prints one JSON object as `kernels` does. A step is augmentation (ours alone), forward and backward
pass, clipping and AdamW. PyTorch runs in an interpreter of its own, which must have `torch` and
`transformers` (their CPU builds have asked for CPython 3.11); the two take turns, and the fastest
step of each counts. `ratio` is their seconds over ours. On an accelerator PyTorch may be left out:
there the step in bfloat16 is set against that in float32.
"""

import argparse
import dataclasses
import subprocess
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from gtx_bayes.finetune import train as training
from gtx_bayes.finetune.efficientnet import EfficientNetConfig, initial_network
from gtx_bayes.finetune.targets import known_targets
from tests.benchmarks.kernels import publish, row

ROUNDS = 3
STEPS = 4

THEIRS = """
import time, torch, transformers
side, batch, steps = {side}, {batch}, {steps}
config = transformers.EfficientNetConfig(
    width_coefficient=1.0, depth_coefficient=1.0, hidden_dim=1280, dropout_rate=0.2,
    image_size=side, num_labels=2,
)
network = transformers.EfficientNetForImageClassification(config).train()
rule = torch.optim.AdamW(network.parameters(), 1e-3)
images, label = torch.randn(batch, 3, side, side), torch.arange(batch) % 2
taken = []
for _ in range(steps + 1):
    start = time.perf_counter()
    rule.zero_grad()
    torch.nn.functional.cross_entropy(network(images).logits, label).backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    rule.step()
    taken.append(time.perf_counter() - start)
print(min(taken[1:]))
"""


def ours(side, batch, compute_dtype):
    """A function that takes steps and returns the seconds of the fastest."""
    size = dataclasses.replace(EfficientNetConfig.of_size("b0", 2), compute_dtype=compute_dtype)
    network = initial_network(jax.random.key(0), size)
    config = training.TrainingConfig(batch_size=batch)
    numbers = config.optimiser, config.layer_decay
    graph, start = training._start(network, config)
    pixels = np.random.default_rng(0).integers(0, 256, (batch, side, side, 3), np.uint8)
    targets = known_targets(jnp.arange(batch) % 2, 2)
    state = [start]

    def fastest():
        taken = []
        for at in range(STEPS + 1):
            begun = time.perf_counter()
            key = jax.random.key(at)
            state[0], loss = training._step(
                graph, config, numbers, state[0], key, pixels, targets, STEPS + 1
            )
            loss.block_until_ready()
            taken.append(time.perf_counter() - begun)
        return min(taken[1:])

    return fastest


def theirs(python, side, batch):
    """Seconds of the fastest step in PyTorch."""
    program = THEIRS.format(side=side, batch=batch, steps=STEPS)
    done = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch", help="interpreter that has torch and transformers")
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    is_cpu = jax.default_backend() == "cpu"
    if is_cpu and not options.torch:
        parser.error("on a CPU there is nothing to compare with but PyTorch: --torch PYTHON")
    size = f"b0, {options.side} pixels, batch {options.batch}"
    rows = []
    step = ours(options.side, options.batch, "float32")
    mine, other = [], []
    for _ in range(ROUNDS):
        mine.append(step())
        if options.torch:
            other.append(theirs(options.torch, options.side, options.batch))
    if other:
        ratio = min(other) / min(mine)
        rows.append(row("training step", size, min(mine), "the same in PyTorch", ratio))
    if not is_cpu:
        half = ours(options.side, options.batch, "bfloat16")()
        ratio = min(mine) / half
        rows.append(row("training step, bfloat16", size, half, "the same in float32", ratio))
    publish(rows, options.output)


if __name__ == "__main__":
    main()
