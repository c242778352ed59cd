"""A small network to start from, for drawn images and where no pretrained weights are at hand.

The paper starts from weights of ImageNet. A network that has learnt nothing hardly learns from the
few images of a small budget. This one was shown some other scenes first, with true labels: what
ImageNet cannot give, namely the very question, in exchange for what it gives, images by the
million.
"""

import jax
from jaxtyping import Array, Key

from gtx_bayes.experiments.trainings import FullFineTuning
from gtx_bayes.finetune.adamw import AdamW
from gtx_bayes.finetune.augment import Augmentation
from gtx_bayes.finetune.efficientnet import EfficientNet, EfficientNetConfig, Stage, initial_network
from gtx_bayes.finetune.synthetic_drilling import render
from gtx_bayes.finetune.targets import known_targets
from gtx_bayes.finetune.train import TrainingConfig, train

SIZE = 48
"""Side of the images in pixels."""

NUM_SHOWN = 600
"""Scenes shown before."""

_AUGMENTATION = Augmentation(flip=0.0, shift=0.05)  # the guide is on the left: sides matter

NETWORK = EfficientNetConfig(
    2,
    width=0.5,
    resolution=SIZE,
    dropout=0.0,
    drop_path=0.0,
    stages=(Stage(3, 1, 32, 1, 2), Stage(3, 2, 64, 3, 2)),
    top_channels=256,
)

FINE_TUNING = FullFineTuning(
    TrainingConfig(
        num_epochs=6,
        optimiser=AdamW(learning_rate=5e-3),
        layer_decay=1.0,
        augmentation=_AUGMENTATION,
    )
)
"""How it is trained on imputed labels; in the paper's three epochs it would learn little."""

_TEACHING = TrainingConfig(
    num_epochs=15,
    optimiser=AdamW(learning_rate=1e-2),
    layer_decay=1.0,
    augmentation=_AUGMENTATION,
)

DESCRIBED = (
    f"Network: a small one, first taught on {NUM_SHOWN} other drawn images with true labels; the "
    "paper's is EfficientNet-b0 taught on ImageNet."
)


def taught_network(key: Key[Array, ""]) -> EfficientNet:
    """The network after it was shown scenes of its own: a quarter of a minute on two cores."""
    key_images, key_network, key_training = jax.random.split(key, 3)
    images = render(key_images, NUM_SHOWN, size=SIZE)
    network = initial_network(key_network, NETWORK)
    targets = known_targets(jax.device_put(images.true_label), images.num_classes)
    return train(key_training, network, images.pixels, targets, _TEACHING).network
