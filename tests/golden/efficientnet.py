"""What Hugging Face's EfficientNet gives at weights drawn by a recipe, kept in `efficientnet.npz`.

To make it anew, in an environment with torch 2.13 and transformers 5.23:
`python tests/golden/efficientnet.py`. The recipe needs NumPy alone.
"""

import zlib
from pathlib import Path

import numpy as np

FILE = Path(__file__).with_suffix(".npz")
NUM_CLASSES = 10
SIZE = 64  # a multiple of 32: elsewhere transformers pads as for the size it was built for
BATCH = 4
MOMENTUM = 0.9  # share of the old running statistics that a step of training keeps
NORMS = (
    "efficientnet.embeddings.batchnorm",
    "efficientnet.encoder.blocks.2.expansion.expand_bn",
    "efficientnet.encoder.top_bn",
)
TINY = {  # three blocks: without expansion, with a residual, with expansion and a stride
    "width_coefficient": 0.25,
    "depth_coefficient": 1.0,
    "hidden_dim": 320,
    "kernel_sizes": [3, 5],
    "in_channels": [32, 64],
    "out_channels": [64, 96],
    "strides": [1, 2],
    "num_block_repeats": [2, 1],
    "expand_ratios": [1, 4],
}


def images():
    """As they come from standardisation: centred, of order one."""
    return np.random.default_rng(2019).standard_normal((BATCH, SIZE, SIZE, 3)).astype("float32")


def recipe(shapes):
    """A state dict from its names and shapes: each tensor's numbers depend on its name alone.

    Kernels are normal with variance 2 / fan-in, running variances uniform on (0.5, 1.5), running
    means and biases normal with sd 0.1. Scales are uniform on (0.8, 1.6), those of projections on
    (0.5, 1): so what is in an image reaches the logits of b0, neither lost nor blown up on its way
    through sixteen blocks.
    """
    return {name: _draw(name, tuple(shape)) for name, shape in shapes.items()}


def _draw(name, shape):
    random = np.random.default_rng(zlib.crc32(name.encode()))
    if len(shape) > 1:
        sd = np.sqrt(2 / np.prod(shape[1:]))
        return (sd * random.standard_normal(shape)).astype("float32")
    if name.endswith("running_var"):
        return random.uniform(0.5, 1.5, shape).astype("float32")
    if name.endswith("weight"):
        low, high = (0.5, 1.0) if "project_bn" in name else (0.8, 1.6)
        return random.uniform(low, high, shape).astype("float32")
    return (0.1 * random.standard_normal(shape)).astype("float32")


def oracle(settings):
    """Logits in eval mode, then in train mode, and what training leaves in some norms.

    Worked out in double precision.
    """
    import torch
    from transformers import EfficientNetConfig, EfficientNetForImageClassification

    config = EfficientNetConfig(
        **settings,
        num_labels=NUM_CLASSES,
        image_size=SIZE,
        depthwise_padding=[],
        dropout_rate=0.0,
        drop_connect_rate=0.0,
    )
    network = EfficientNetForImageClassification(config)
    wanted = {
        name: value.shape
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    drawn = {name: torch.from_numpy(value) for name, value in recipe(wanted).items()}
    network.load_state_dict(drawn, strict=False)
    network.double()
    pixels = torch.from_numpy(images().transpose(0, 3, 1, 2).copy()).double()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0 - MOMENTUM  # transformers has 0.99 in most and 0.1 in some
    with torch.no_grad():
        network.eval()
        found = {"eval": network(pixels).logits.numpy()}
        network.train()
        found["train"] = network(pixels).logits.numpy()
    state = network.state_dict()
    for norm in NORMS:
        for what in ("running_mean", "running_var"):
            found[f"{norm}.{what}"] = state[f"{norm}.{what}"].numpy()
    return {key: value.astype("float32") for key, value in found.items()}


def main():
    b0 = {"width_coefficient": 1.0, "depth_coefficient": 1.0, "hidden_dim": 1280}
    arrays = {}
    for name, settings in {"b0": b0, "tiny": TINY}.items():
        found = oracle(settings)
        arrays |= {f"{name}/{key}": value for key, value in found.items()}
    np.savez_compressed(FILE, **arrays)
    for key, value in arrays.items():
        print(key, value.shape, "spread", float(value.std(axis=0).mean()))


if __name__ == "__main__":
    main()
