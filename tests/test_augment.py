"""Images changed while training: each change by hand, its range, and none at all."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from gtx_bayes.finetune.augment import NO_AUGMENTATION, Augmentation, augment
from gtx_bayes.finetune.efficientnet import standardise

FLIP = dataclasses.replace(NO_AUGMENTATION, flip=0.5)
SHIFT = dataclasses.replace(NO_AUGMENTATION, shift=0.25)


@pytest.fixture
def images():
    """Every value differs from those around it."""
    values = np.arange(6 * 8 * 8 * 3).reshape(6, 8, 8, 3) * 37 % 256
    return jnp.asarray(values, jnp.uint8)


def test_none_changes_nothing(key, images):
    same = augment(key, images, NO_AUGMENTATION)
    np.testing.assert_array_equal(same, images)
    np.testing.assert_array_equal(standardise(same), standardise(images))


def test_flips(key):
    """About half of the images are mirrored, all others untouched."""
    num_images = 200
    image = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)
    given = jnp.broadcast_to(jnp.asarray(image), (num_images, 4, 4, 3))
    changed = np.asarray(augment(key, given, FLIP))
    flipped = (changed == image[:, ::-1]).all(axis=(1, 2, 3))
    assert ((changed == image).all(axis=(1, 2, 3)) | flipped).all()
    low, high = scipy.stats.binom.interval(1 - 1e-6, num_images, 0.5)
    assert low <= flipped.sum() <= high


def test_shifts(key):
    """Two rows and columns at most, every move among them: 25 of 25, each missed 0.96 ** 400."""
    image = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode="reflect")
    moves = {
        padded[row : row + 8, column : column + 8].tobytes()
        for row in range(5)
        for column in range(5)
    }
    given = jnp.broadcast_to(jnp.asarray(image), (400, 8, 8, 3))
    found = np.asarray(augment(key, given, SHIFT)).astype(np.uint8)
    assert {one.tobytes() for one in found} == moves


def test_brightness_is_one_factor(key, images):
    light = dataclasses.replace(NO_AUGMENTATION, brightness=0.2)
    small = images // 2  # so that nothing is cut off at 255
    changed = augment(key, small, light)
    ratio = np.asarray(changed).sum((1, 2, 3)) / np.asarray(small).sum((1, 2, 3))
    assert (np.abs(ratio - 1) <= 0.2).all()
    assert len(set(np.round(ratio, 6))) == len(ratio)  # to each its own
    np.testing.assert_allclose(changed, np.asarray(small) * ratio[:, None, None, None], rtol=1e-5)


def test_contrast_keeps_the_mean(key, images):
    contrast = dataclasses.replace(NO_AUGMENTATION, contrast=0.2)
    given = np.asarray(images // 2 + 64).astype(float)
    changed = np.asarray(augment(key, images // 2 + 64, contrast)).astype(float)
    np.testing.assert_allclose(changed.mean((1, 2, 3)), given.mean((1, 2, 3)), rtol=1e-5)
    ratio = changed.std((1, 2, 3)) / given.std((1, 2, 3))
    assert (np.abs(ratio - 1) <= 0.2 + 1e-6).all()
    assert ratio.min() < 1 < ratio.max()


def test_values_stay_in_their_range(key):
    extremes = jnp.asarray([0, 255] * 24, jnp.uint8).reshape(1, 4, 4, 3)
    given = jnp.broadcast_to(extremes, (50, 4, 4, 3))
    changed = augment(key, given, Augmentation(brightness=0.5, contrast=0.5))
    assert changed.min() == 0
    assert changed.max() == 255
