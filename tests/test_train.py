import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gtx_bayes.errors import InputError
from gtx_bayes.finetune import train as train_module
from gtx_bayes.finetune.adamw import AdamW
from gtx_bayes.finetune.checkpoint import Checkpoint
from gtx_bayes.finetune.efficientnet import initial_network, to_tensors
from gtx_bayes.finetune.predictions import class_probs, network_logits, score
from gtx_bayes.finetune.targets import known_targets, only
from gtx_bayes.finetune.train import TrainingConfig, Watched, train
from tests.networks import TINY

pytestmark = pytest.mark.end_to_end

CONFIG = TrainingConfig(num_epochs=2, batch_size=8, optimiser=AdamW(3e-3), average=0.5)
NUM_IMAGES, SIDE = 40, 16


@pytest.fixture(scope="module")
def network():
    config = dataclasses.replace(TINY, num_classes=2, dropout=0.1, drop_path=0.1)
    return initial_network(jax.random.key(3), config)


@pytest.fixture(scope="module")
def images():
    """Noise with a bright patch in the upper or the lower half, and which it is."""
    rng = np.random.default_rng(4)
    pixels = rng.integers(0, 120, (NUM_IMAGES, SIDE, SIDE, 3)).astype(np.uint8)
    label = rng.integers(0, 2, NUM_IMAGES)
    for image, low in zip(pixels, label, strict=True):
        image[2 + 8 * low : 6 + 8 * low, 4:12] += 120
    return pixels, label


@pytest.fixture(scope="module")
def trained(network, images):
    pixels, label = images
    watched = Watched(pixels[30:], label[30:])
    return train(jax.random.key(0), network, pixels, _targets(label, 30), CONFIG, watched=watched)


def _targets(label, num_used):
    return only(known_targets(jnp.asarray(label), 2), jnp.arange(NUM_IMAGES) < num_used)


def _same(one, other):
    tensors = to_tensors(other)
    return all(np.array_equal(value, tensors[name]) for name, value in to_tensors(one).items())


def test_training_learns(network, images):
    """From a loss of about log 2 to a fifth of it, and fresh images told apart."""
    pixels, label = images
    longer = dataclasses.replace(CONFIG, num_epochs=12)
    found = train(jax.random.key(0), network, pixels, _targets(label, 30), longer)
    assert np.mean(found.history.loss[-4:]) < np.mean(found.history.loss[:4]) / 5
    logits = network_logits(found.network, pixels[30:])
    assert score(class_probs(logits), label[30:]).error == 0.0


def test_history_counts_steps_and_epochs(trained, images):
    """30 images in batches of 8: four steps an epoch."""
    assert len(trained.history.loss) == 8
    assert [found["num_examples"] for found in trained.history.watched] == [10, 10]
    pixels, label = images
    last = score(class_probs(network_logits(trained.network, pixels[30:])), label[30:])
    assert trained.history.watched[-1] == last._asdict()


def test_the_same_key_gives_the_same_network(network, images, trained):
    pixels, label = images
    again = train(jax.random.key(0), network, pixels, _targets(label, 30), CONFIG)
    assert _same(again.network, trained.network)
    other = train(jax.random.key(1), network, pixels, _targets(label, 30), CONFIG)
    assert not _same(other.network, trained.network)


def test_killed_and_resumed_equals_uninterrupted(network, images, trained, tmp_path):
    """Killed after the second, then after the fifth step: bit for bit what one run gives."""
    pixels, label = images
    checkpoint = Checkpoint(tmp_path / "training.safetensors", seconds=0.0)
    watched = Watched(pixels[30:], label[30:])

    def run(last):
        def stop(done, total):
            if done == last:
                raise KeyboardInterrupt

        return train(
            jax.random.key(0),
            network,
            pixels,
            _targets(label, 30),
            CONFIG,
            watched=watched,
            checkpoint=checkpoint,
            progress=stop,
        )

    for last in (2, 5):
        with pytest.raises(KeyboardInterrupt):
            run(last)
    resumed = run(None)
    assert _same(resumed.network, trained.network)
    assert resumed.history == trained.history


def test_checkpoint_of_another_training_is_refused(network, images, tmp_path):
    pixels, label = images
    checkpoint = Checkpoint(tmp_path / "training.safetensors")
    short = dataclasses.replace(CONFIG, num_epochs=1)
    arguments = (network, pixels, _targets(label, 8), short)
    train(jax.random.key(0), *arguments, checkpoint=checkpoint)
    with pytest.raises(InputError, match="no checkpoint of this training"):
        train(jax.random.key(1), *arguments, checkpoint=checkpoint)
    whole = checkpoint.path.read_bytes()
    checkpoint.path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cannot be read"):
        train(jax.random.key(0), *arguments, checkpoint=checkpoint)


def test_one_program_for_all_budgets(network, images, monkeypatch):
    pixels, label = images
    counted = jax.jit(
        chex.assert_max_traces(train_module._step.__wrapped__, n=1),
        static_argnames=("graph", "config"),
    )
    monkeypatch.setattr(train_module, "_step", counted)
    for num_used in (3, 20):
        config = dataclasses.replace(CONFIG, num_epochs=1)
        train(jax.random.key(0), network, pixels, _targets(label, num_used), config)


def test_layers_far_from_the_classifier_move_less(network, images):
    """Adam's first step is the rate itself: each layer's is its share of the classifier's."""
    pixels, label = images
    rule = AdamW(1e-3, weight_decay=0.0, warmup=0.0, clip_norm=1e9)
    config = TrainingConfig(1, NUM_IMAGES, rule, layer_decay=0.5)
    moved = train(jax.random.key(0), network, pixels, _targets(label, NUM_IMAGES), config).network
    before, after = to_tensors(network), to_tensors(moved)

    def largest(path):
        return np.abs(after[path] - before[path]).max()

    rate = float(rule.rate(0, 1))
    depth = {
        "classifier.kernel": 0,
        "top.kernel": 1,
        "blocks.2.project.kernel": 2,
        "stem.kernel": 5,
    }
    for path, layers in depth.items():
        assert largest(path) == pytest.approx(rate * 0.5**layers, rel=1e-2)
    assert largest("blocks.0.project.kernel") == pytest.approx(rate * 0.5**4, rel=1e-2)


def test_statistics_are_learnt_or_kept(network, images, trained):
    pixels, label = images
    config = dataclasses.replace(CONFIG, num_epochs=1, statistics="kept")
    kept = train(jax.random.key(0), network, pixels, _targets(label, 30), config).network
    before, after, learnt = (to_tensors(each) for each in (network, kept, trained.network))
    statistics = [name for name in before if name.endswith((".mean", ".var"))]
    assert statistics
    for name in statistics:
        # An average of equal numbers rounds.
        np.testing.assert_allclose(after[name], before[name], rtol=1e-6)
        assert not np.allclose(learnt[name], before[name], rtol=1e-3)
    assert not np.array_equal(after["stem.kernel"], before["stem.kernel"])


def test_nothing_to_train_on(network, images):
    pixels, label = images
    with pytest.raises(ValueError, match="no image has a weight"):
        train(jax.random.key(0), network, pixels, _targets(label, 0), CONFIG)
