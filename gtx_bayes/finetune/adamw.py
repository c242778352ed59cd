"""AdamW with warm-up and cosine, its length an argument: one program, however long the training."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree, ScalarLike


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

    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    warmup: float = 0.1
    clip_norm: float = 1.0

    def start(self, weights: PyTree) -> Any:
        """State of the optimiser before the first step."""
        return self._transformation().init(weights)

    def step(
        self,
        gradient: PyTree,
        state: Any,
        weights: PyTree,
        *,
        at: ScalarLike,
        num_steps: ScalarLike,
        share: PyTree | None = None,
    ) -> tuple[PyTree, Any]:
        """Weights and state after one step.

        Args:
            gradient: of the loss by the weights.
            state: of the optimiser.
            weights: before the step.
            at: number of steps before this one.
            num_steps: of the whole training.
            share: of the learning rate, for each of the weights; all of it when absent.
        """
        direction, state = self._transformation().update(gradient, state, weights)
        rate = self.rate(at, num_steps)
        if share is None:
            share = jax.tree.map(lambda _: 1.0, weights)

        def move(weight: Array, towards: Array, part: ScalarLike) -> Array:
            return weight - (rate * part).astype(weight.dtype) * towards

        return jax.tree.map(move, weights, direction, share), state

    def rate(self, at: ScalarLike, num_steps: ScalarLike) -> Float[Array, ""]:
        """The learning rate of a step, at its middle: neither the first nor the last is zero."""
        done = (jnp.asarray(at, float) + 0.5) / num_steps
        falling = jnp.clip((done - self.warmup) / (1.0 - self.warmup), 0.0, 1.0)
        share = 0.5 + 0.5 * jnp.cos(jnp.pi * falling)
        if self.warmup > 0:
            share = jnp.where(done < self.warmup, done / self.warmup, share)
        return self.learning_rate * share

    def _transformation(self) -> optax.GradientTransformation:
        return optax.chain(
            optax.clip_by_global_norm(self.clip_norm),
            optax.scale_by_adam(),
            optax.add_decayed_weights(
                self.weight_decay, lambda weights: jax.tree.map(lambda w: w.ndim > 1, weights)
            ),
        )
