"""Images as they might have been taken: mirrored, moved, lighter or darker, while training."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, UInt8


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How much images are changed; all zero leaves them as they are.

    Attributes:
        flip: probability that an image is mirrored, left for right. Zero where the sides matter.
        shift: largest move in each direction, as a share of the side, below a half. What comes in
            at the edge is the image's mirror.
        brightness: largest change of all values, as a share of them.
        contrast: largest change of the distances to the image's mean, as a share of them.
    """

    flip: float = 0.5
    shift: float = 0.1
    brightness: float = 0.1
    contrast: float = 0.1


NO_AUGMENTATION = Augmentation(0.0, 0.0, 0.0, 0.0)
"""Images as they are."""


def augment(
    key: Key[Array, ""],
    images: UInt8[Array, "batch height width 3"],
    augmentation: Augmentation,
) -> Float[Array, "batch height width 3"]:
    """The images changed, each in its own way; values from 0 to 255 as before, but not rounded.

    Changes that the augmentation leaves out cost nothing.

    Args:
        key: random key.
        images: RGB.
        augmentation: what to change; static under `jax.jit`.
    """
    keys = jax.random.split(key, images.shape[0])
    return jax.vmap(lambda key, image: _augmented(key, image, augmentation))(keys, images)


def _augmented(
    key: Key[Array, ""], image: UInt8[Array, "height width 3"], augmentation: Augmentation
) -> Float[Array, "height width 3"]:
    key_flip, key_rows, key_columns, key_light = jax.random.split(key, 4)
    height, width, _ = image.shape
    if augmentation.shift:
        image = image[_moved(key_rows, height, augmentation.shift)]
    columns = jnp.arange(width)
    if augmentation.shift:
        columns = _moved(key_columns, width, augmentation.shift)
    if augmentation.flip:
        is_flipped = jax.random.bernoulli(key_flip, augmentation.flip)
        columns = jnp.where(is_flipped, columns[::-1], columns)
    if augmentation.shift or augmentation.flip:
        image = image[:, columns]
    return _lit(key_light, image.astype(jnp.float32), augmentation)


def _moved(key: Key[Array, ""], side: int, shift: float) -> Int[Array, " side"]:
    """Where each row, or column, of a moved image comes from."""
    most = round(shift * side)
    source = jnp.arange(side) + jax.random.randint(key, (), -most, most + 1)
    source = jnp.abs(source)  # the mirror stands on the first row, and on the last
    return jnp.minimum(source, 2 * (side - 1) - source)


def _lit(
    key: Key[Array, ""], image: Float[Array, "height width 3"], augmentation: Augmentation
) -> Float[Array, "height width 3"]:
    """The image in another light: all values times one factor, distances to the mean another."""
    if not (augmentation.brightness or augmentation.contrast):
        return image
    change = jax.random.uniform(key, (2,), image.dtype, -1.0, 1.0)
    brightness = 1 + augmentation.brightness * change[0]
    contrast = 1 + augmentation.contrast * change[1]
    mean = image.mean()
    return jnp.clip(brightness * (mean + contrast * (image - mean)), 0, 255)
