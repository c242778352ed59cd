"""Probabilities of right and wrong answers as factors of a product, certainty included."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gtx_bayes.errors import InputError
from gtx_bayes.log_space import LogNumber, divide


def check_probs(name: str, values: Any) -> None:
    """Raise `InputError` for values below 0 or above 1 of an array at hand; NaN stays what it is.

    Within a trace values are not known: there what is no probability comes out as NaN.
    """
    if isinstance(values, jax.core.Tracer) or not isinstance(values, np.ndarray | jax.Array):
        return  # traced, or one of JAX's placeholders
    if isinstance(values, jax.Array) and not values.is_fully_addressable:
        return
    flat = np.asarray(values).reshape(-1)
    rounding = 8 * np.finfo(flat.dtype).eps if np.issubdtype(flat.dtype, np.floating) else 0.0
    outside = (flat < -rounding) | (flat > 1.0 + rounding)
    if outside.any():
        at = int(np.argmax(outside))
        raise InputError(
            f"{name} holds {flat[at]:g}, which is no probability.",
            where=f"{name}{list(map(int, np.unravel_index(at, np.shape(values))))}",
            mend="Give values in [0, 1].",
        )


def right_factor(accuracy: Float[Array, "*shape"]) -> LogNumber:
    """Probability of the correct label."""
    return LogNumber.from_log(_safe_log(jnp.log, accuracy, impossible_at=0.0))


def wrong_factor(accuracy: Float[Array, "*shape"], num_classes: int) -> LogNumber:
    """Probability of each single wrong label, the others being alike."""
    log_any_wrong = _safe_log(lambda a: jnp.log1p(-a), accuracy, impossible_at=1.0)
    choices = jnp.full(accuracy.shape, jnp.log(num_classes - 1.0))
    return divide(LogNumber.from_log(log_any_wrong), LogNumber.from_log(choices))


def wrong_alike(
    accuracy: Float[Array, "*cohorts num_labelers one_or_num_classes"], num_classes: int
) -> Float[Array, "*cohorts num_labelers num_classes num_classes"]:
    """Confusion matrices with accuracies on the diagonal, the rest of each row spread evenly."""
    right = accuracy[..., None]
    wrong = (1.0 - right) / (num_classes - 1)
    return jnp.where(jnp.eye(num_classes, dtype=bool), right, wrong)


def _safe_log(
    log: Callable[[Float[Array, "*shape"]], Float[Array, "*shape"]],
    accuracy: Float[Array, "*shape"],
    impossible_at: float,
) -> Float[Array, "*shape"]:
    """`log(accuracy)`, -inf at one end of [0, 1].

    There the gradient is zero: finite, so that it spoils no other labeler's, but no derivative.
    """
    impossible = accuracy == impossible_at
    return jnp.where(impossible, -jnp.inf, log(jnp.where(impossible, 0.5, accuracy)))
