"""Networks small enough to test with, and the real one, at the weights of the golden recipe."""

import numpy as np
from safetensors.numpy import load_file, save_file

from gtx_bayes.finetune.adamw import AdamW
from gtx_bayes.finetune.efficientnet import EfficientNetConfig, Stage, from_tensors, tensor_shapes
from gtx_bayes.finetune.train import TrainingConfig
from gtx_bayes.finetune.weights import save
from tests.golden import efficientnet as golden

TINY = EfficientNetConfig(
    golden.NUM_CLASSES,
    width=0.25,
    dropout=0.0,
    drop_path=0.0,
    stages=(Stage(3, 2, 64, 1, 1), Stage(5, 1, 96, 4, 2)),
)
B0 = EfficientNetConfig(golden.NUM_CLASSES, dropout=0.0, drop_path=0.0)
TWO_BLOCKS = EfficientNetConfig(  # compiled soonest: for tests that train
    2,
    width=0.25,
    resolution=16,
    dropout=0.1,
    drop_path=0.1,
    stages=(Stage(3, 1, 32, 1, 1), Stage(3, 1, 64, 4, 2)),
    top_channels=256,
)
QUICK = TrainingConfig(num_epochs=2, batch_size=8, optimiser=AdamW(1e-2), average=0.5)
"""Of `TWO_BLOCKS`: trainings of both, on images of 16 x 16 pixels, are compiled once."""


def recipe_file(config, path):
    """A file of the recipe's weights, named as transformers names them."""
    zeros = {at: np.zeros(shape, "float32") for at, shape in tensor_shapes(config).items()}
    save(from_tensors(config, zeros), path, range(config.num_classes))
    shapes = {name: tensor.shape for name, tensor in load_file(path).items()}
    save_file(golden.recipe(shapes), path)
    return path
