"""AdamW with warm-up and cosine; its numbers are arguments: one compilation for all of them."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree, ScalarLike


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019), clipped gradients.

    Attributes:
        learning_rate: at its peak.
        weight_decay: of matrices and kernels; biases and the scales of norms do not decay.
        warmup: share of the steps, below one, in which the rate climbs from zero to its peak; over
            the rest it falls to zero along half a cosine.
        clip_norm: the longest gradient, all weights together; a longer one is shortened to it.
    """

    learning_rate: ScalarLike = 1e-3
    weight_decay: ScalarLike = 1e-2
    warmup: ScalarLike = 0.1
    clip_norm: ScalarLike = 1.0

    def transformation(
        self, num_steps: ScalarLike, share: PyTree | None = None
    ) -> optax.GradientTransformation:
        """Gradients to updates, over a training of so many steps.

        Args:
            num_steps: of the whole training.
            share: of the learning rate, for each of the weights; all of it when absent.
        """
        updates = optax.chain(
            optax.clip_by_global_norm(self.clip_norm),
            optax.adamw(
                partial(self.rate, num_steps=num_steps),
                weight_decay=self.weight_decay,
                mask=lambda weights: jax.tree.map(lambda weight: weight.ndim > 1, weights),
            ),
        )
        if share is None:
            return updates
        return optax.chain(
            updates, optax.stateless(lambda each, _: jax.tree.map(jnp.multiply, each, share))
        )

    def rate(self, at: ScalarLike, num_steps: ScalarLike) -> Float[Array, ""]:
        """The learning rate of a step, at its middle: neither the first nor the last is zero."""
        warmup = jnp.asarray(self.warmup, float)
        done = (jnp.asarray(at, float) + 0.5) / num_steps
        falling = jnp.clip((done - warmup) / (1.0 - warmup), 0.0, 1.0)
        climbing = done / jnp.where(warmup > 0, warmup, 1.0)
        share = jnp.where(done < warmup, climbing, 0.5 + 0.5 * jnp.cos(jnp.pi * falling))
        return jnp.asarray(self.learning_rate, float) * share
