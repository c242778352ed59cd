"""Networks small enough to test with, and the real one, at the weights of the golden recipe."""

from safetensors.numpy import save_file

from gtx_bayes.finetune import weights
from gtx_bayes.finetune.efficientnet import EfficientNetConfig, Stage, tensor_shapes
from tests.golden import efficientnet as golden

TINY = EfficientNetConfig(
    golden.NUM_CLASSES,
    width=0.25,
    dropout=0.0,
    drop_path=0.0,
    stages=(Stage(3, 2, 64, 1, 1), Stage(5, 1, 96, 4, 2)),
)
B0 = EfficientNetConfig(golden.NUM_CLASSES, dropout=0.0, drop_path=0.0)


def recipe_file(config, path):
    """A file of the recipe's weights, named as transformers names them."""
    names = weights._names(config, weights._TRANSFORMERS)
    shapes = tensor_shapes(config)
    wanted = {name: weights._file_shape(at, shapes[at]) for at, name in names.items()}
    save_file(golden.recipe(wanted), path)
    return path
