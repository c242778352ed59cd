"""Probabilities of right and wrong answers as factors of a product, certainty included."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from gtx_bayes.log_space import LogNumber, divide


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
