import dataclasses

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
from tests.networks import QUICK, TWO_BLOCKS

pytestmark = pytest.mark.end_to_end

NUM_IMAGES, SIDE = 40, 16


@pytest.fixture(scope="module")
def network():
    return initial_network(jax.random.key(3), TWO_BLOCKS)


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
def run(network, images):
    """Trains on the first images, as many as are used."""

    def run(seed=0, config=QUICK, num_used=30, **options):
        pixels, label = images
        used = jnp.arange(NUM_IMAGES) < num_used
        targets = only(known_targets(jnp.asarray(label), 2), used)
        return train(jax.random.key(seed), network, pixels, targets, config, **options)

    return run


@pytest.fixture(scope="module")
def watched(images):
    return Watched(*(part[30:] for part in images))


@pytest.fixture(scope="module")
def trained(run, watched):
    return run(watched=watched)


def _same(one, other):
    tensors = to_tensors(other)
    return all(np.array_equal(value, tensors[name]) for name, value in to_tensors(one).items())


def test_training_learns(run, watched):
    """From a loss of about log 2 to a fifth of it, and fresh images told apart."""
    found = run(config=dataclasses.replace(QUICK, num_epochs=12))
    assert np.mean(found.history.loss[-4:]) < np.mean(found.history.loss[:4]) / 5
    logits = network_logits(found.network, watched.pixels)
    assert score(class_probs(logits), watched.true_label).error == 0.0


def test_history_counts_steps_and_epochs(trained, watched):
    """30 images in batches of 8: four steps an epoch."""
    assert len(trained.history.loss) == 8
    assert [found["num_examples"] for found in trained.history.watched] == [10, 10]
    last = score(class_probs(network_logits(trained.network, watched.pixels)), watched.true_label)
    assert trained.history.watched[-1] == last._asdict()


def test_the_same_key_gives_the_same_network(run, trained):
    assert _same(run().network, trained.network)
    assert not _same(run(seed=1).network, trained.network)


def test_killed_and_resumed_equals_uninterrupted(run, watched, trained, tmp_path):
    """Killed after the second, then after the fifth step: bit for bit what one run gives."""
    checkpoint = Checkpoint(tmp_path / "training.safetensors", seconds=0.0)

    def stop_after(last):
        def stop(done, total):
            if done == last:
                raise KeyboardInterrupt

        return {"watched": watched, "checkpoint": checkpoint, "progress": stop}

    for last in (2, 5):
        with pytest.raises(KeyboardInterrupt):
            run(**stop_after(last))
    resumed = run(**stop_after(None))
    assert _same(resumed.network, trained.network)
    assert resumed.history == trained.history


def test_checkpoint_of_another_training_is_refused(run, tmp_path):
    checkpoint = Checkpoint(tmp_path / "training.safetensors")
    short = {"config": dataclasses.replace(QUICK, num_epochs=1), "num_used": 8}
    run(**short, checkpoint=checkpoint)
    with pytest.raises(InputError, match="no checkpoint of this training"):
        run(seed=1, **short, checkpoint=checkpoint)
    whole = checkpoint.path.read_bytes()
    checkpoint.path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cannot be read"):
        run(**short, checkpoint=checkpoint)


def test_compiled_once_for_all_budgets_rates_and_decays(run, trained):
    before = train_module._step._cache_size()
    for num_used, rate in ((3, 1e-2), (20, 1e-4)):
        numbers = {"num_epochs": 1, "optimiser": AdamW(rate), "layer_decay": 10 * rate}
        run(config=dataclasses.replace(QUICK, **numbers), num_used=num_used)
    assert train_module._step._cache_size() == before


@pytest.mark.slow
def test_layers_far_from_the_classifier_move_less_and_statistics_are_kept(run, network, trained):
    """Adam's first step is the rate itself: each layer's is its share of the classifier's."""
    rule = AdamW(1e-3, weight_decay=0.0, warmup=0.0, clip_norm=1e9)
    config = TrainingConfig(1, 8, rule, layer_decay=0.5, statistics="kept")
    moved = run(config=config, num_used=8).network
    before, after, learnt = (to_tensors(each) for each in (network, moved, trained.network))
    rate = float(rule.rate(0, 1))
    depth = {
        "classifier.kernel": 0,
        "top.kernel": 1,
        "blocks.1.project.kernel": 2,
        "blocks.0.project.kernel": 3,
        "stem.kernel": 4,
    }
    for path, layers in depth.items():
        largest = np.abs(after[path] - before[path]).max()
        assert largest == pytest.approx(rate * 0.5**layers, rel=1e-2)
    statistics = [name for name in before if name.endswith((".mean", ".var"))]
    assert statistics
    for name in statistics:
        np.testing.assert_array_equal(after[name], before[name])
        assert not np.allclose(learnt[name], before[name], rtol=1e-3)


def test_nothing_to_train_on(run):
    with pytest.raises(ValueError, match="no image has a weight"):
        run(num_used=0)
