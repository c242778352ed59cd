"""Which images a step of training sees: fixed shapes, however many images are trained on."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, ScalarLike


def steps_per_epoch(weight: Float[Array, " num_images"], batch_size: int) -> Int[Array, ""]:
    """Steps until every image with a weight was seen; none if there is no such image."""
    return -(-jnp.sum(weight > 0, dtype=jnp.int32) // batch_size)


def epoch_order(
    key: Key[Array, ""], weight: Float[Array, " num_images"]
) -> Int[Array, " num_images"]:
    """The images with a weight in random order, then the others."""
    priority = jax.random.uniform(key, weight.shape)
    return jnp.argsort(jnp.where(weight > 0, priority, 2.0))


def batch_of(
    order: Int[Array, " num_images"],
    weight: Float[Array, " num_images"],
    at: ScalarLike,
    batch_size: int,
) -> Int[Array, " batch"]:
    """The images of one step of an epoch.

    The last step is filled up from the start of the order: every image is seen at least once in
    an epoch, a few twice, and norms over the batch see images alone.
    """
    place = at * batch_size + jnp.arange(batch_size)
    return order[place % jnp.sum(weight > 0)]
