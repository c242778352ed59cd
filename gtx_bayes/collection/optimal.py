r"""The least error that any policy can reach on a budget, by dynamic programming.

Accuracies are known, and labelers come in an order nobody can choose. An example is then in one
of :math:`3^J` states s: each labeler has not come, said class 0, or said class 1. With a price
:math:`\lambda` per label the best expected cost from a state on is

.. math:: W(s) = \min \Big\{ \min_y \pi_y L_y(s), \;
    \lambda P(s) + \frac{1}{J - |s|} \sum_{j \notin s} \sum_a W(s + (j, a)) \Big\},

where :math:`L_y(s)` is the likelihood of the state's answers, :math:`P(s) = \sum_y \pi_y L_y(s)`,
and everything is weighted by the probability of the answers, so that no posterior is needed: stop
and err, or pay for the answer of a labeler who is as likely to be any of those left. For any
price, error plus :math:`\lambda` times labels of every policy is at least :math:`W(\emptyset)`,
also of policies that move labels between examples; the price that makes the bound on the error
highest spends the budget exactly, mixing two stopping rules where need be.
"""

import functools
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, ScalarLike

from gtx_bayes.collection.confidence_threshold import TOLERANCE_ULPS

MAX_LABELERS = 12
"""Above this the states no longer fit."""

_NUM_BISECTIONS = 28  # a price to 2e-9: the bound holds at any price, and is flat at the best


class Bound(NamedTuple):
    """A lower bound on the error rate.

    Attributes:
        error: no policy has a lower expected error with so many labels.
        price: errors that one more label per example, or unit of money, saves at the bound.
        labels_per_example: the budget the bound is for, or money per example.
    """

    error: Float[Array, ""]
    price: Float[Array, ""]
    labels_per_example: Float[Array, ""]


class _Level(NamedTuple):
    """The states with one number of answers.

    Attributes:
        state: their numbers, the answers as digits to base 3: 0 for a labeler who has not come, 1
            and 2 for one who said class 0 or 1.
        following: for each, every labeler who has not come and either answer: where the state
            this leads to stands in the next level.
    """

    state: Int[Array, " size"]
    following: Int[Array, "size num_left two"]


class _Value(NamedTuple):
    """What a stopping rule makes of the states of a level, weighted by their probability."""

    error: Float[Array, "*size"]
    labels: Float[Array, "*size"]


GoesOn = Callable[[_Value, Float[Array, "two size"], int], Bool[Array, " size"]]
"""Whether to go on, from the value of that, the probabilities with each class, and the answers."""


def least_error(
    accuracy: Float[Array, " num_labelers"],
    labels_per_example: ScalarLike,
    costs: Float[Array, " num_kinds"] | None = None,
) -> Bound:
    """The lowest error of two even classes that so many labels per example can buy.

    Args:
        accuracy: true accuracy of each labeler, at most `MAX_LABELERS`; map over cohorts.
        labels_per_example: k = B / N, the mean; from 0 to the number of labelers. With costs
            money per example.
        costs: price of a label of each kind of example, of which there are equally many; when
            absent every label costs 1.

    Raises:
        ValueError: for more labelers than the states fit.
    """
    return _least_error(accuracy, labels_per_example, _lattice(accuracy.shape[0]), costs)


def stopping_curve(
    accuracy: Float[Array, " num_labelers"],
    threshold: Float[Array, " num_thresholds"],
    max_labels: int,
) -> tuple[Float[Array, " num_thresholds"], Float[Array, " num_thresholds"]]:
    """Exact error rate and mean number of labels of strategy 1, without simulation.

    Args:
        accuracy: true accuracy of each labeler, which the posterior knows.
        threshold: the confidences to exceed.
        max_labels: the most labels an example gets.

    Raises:
        ValueError: for more labelers than the states fit.
    """
    return _stopping_curve(accuracy, threshold, max_labels, _lattice(accuracy.shape[0]))


@jax.jit
def _least_error(
    accuracy: Float[Array, " num_labelers"],
    labels_per_example: ScalarLike,
    lattice: tuple[_Level, ...],
    costs: Float[Array, " num_kinds"] | None,
) -> Bound:
    joint = _joint(accuracy, lattice)
    cheapest = 1.0 if costs is None else jnp.min(costs)

    def of_kind(price: Float[Array, ""]) -> _Value:
        return _backwards(
            joint,
            lattice,
            lambda go, here, _: go.error + price * go.labels < jnp.min(here, axis=0),
        )

    def at_price(price: Float[Array, ""]) -> _Value:
        if costs is None:
            return of_kind(price)
        found = jax.lax.map(of_kind, price * costs)
        return _Value(jnp.mean(found.error), jnp.mean(costs * found.labels))

    def halve(
        _: Int[Array, ""], ends: tuple[Float[Array, ""], Float[Array, ""]]
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        cheap, dear = ends
        price = (cheap + dear) / 2
        buys_more = at_price(price).labels > labels_per_example
        return jnp.where(buys_more, price, cheap), jnp.where(buys_more, dear, price)

    # For nothing all labels are bought; for half an error none is.
    ends = jax.lax.fori_loop(
        0, _NUM_BISECTIONS, halve, (jnp.zeros(()), jnp.asarray(0.5) / cheapest)
    )
    bounds = []
    for price in ends:
        value = at_price(price)
        bounds.append(value.error + price * (value.labels - labels_per_example))
    return Bound(jnp.maximum(*bounds), ends[1], jnp.asarray(labels_per_example, float))


@partial(jax.jit, static_argnames="max_labels")
def _stopping_curve(
    accuracy: Float[Array, " num_labelers"],
    threshold: Float[Array, " num_thresholds"],
    max_labels: int,
    lattice: tuple[_Level, ...],
) -> tuple[Float[Array, " num_thresholds"], Float[Array, " num_thresholds"]]:
    joint = _joint(accuracy, lattice)
    tolerance = TOLERANCE_ULPS * jnp.finfo(joint[0].dtype).eps

    def run(threshold: Float[Array, ""]) -> tuple[Float[Array, ""], Float[Array, ""]]:
        def goes_on(_: _Value, here: Float[Array, "two size"], count: int) -> Bool[Array, " size"]:
            most = (1.0 - threshold - tolerance) * jnp.sum(here, axis=0)
            return (jnp.min(here, axis=0) >= most) & (count < max_labels)

        found = _backwards(joint, lattice, goes_on)
        return found.error, found.labels

    return jax.lax.map(run, threshold)


def _backwards(
    joint: list[Float[Array, "two _"]], lattice: tuple[_Level, ...], goes_on: GoesOn
) -> _Value:
    """From the states with all answers down to the one with none, which is returned."""
    least = jnp.min(joint[-1], axis=0)
    value = _Value(least, jnp.zeros_like(least))
    for count in reversed(range(len(lattice) - 1)):
        here, level = joint[count], lattice[count]
        num_left = level.following.shape[1]
        after = _Value(*(jnp.sum(part[level.following], axis=(1, 2)) / num_left for part in value))
        go = _Value(after.error, after.labels + jnp.sum(here, axis=0))
        # One decision for error and labels: worked out twice, it could round either way.
        chosen = jax.lax.optimization_barrier(goes_on(go, here, count))
        value = _Value(
            jnp.where(chosen, go.error, jnp.min(here, axis=0)),
            jnp.where(chosen, go.labels, 0.0),
        )
    return _Value(value.error[0], value.labels[0])


def _joint(
    accuracy: Float[Array, " num_labelers"], lattice: tuple[_Level, ...]
) -> list[Float[Array, "two _"]]:
    """Probability of each state's answers together with each class, level by level."""
    joint = jnp.full((2, 1), 0.5)
    for alpha in accuracy:
        answer = jnp.stack(
            [jnp.stack([1.0, alpha, 1.0 - alpha]), jnp.stack([1.0, 1.0 - alpha, alpha])]
        )
        joint = (answer[:, :, None] * joint[:, None, :]).reshape(2, -1)
    return [joint[:, level.state] for level in lattice]


@functools.cache
def _lattice(num_labelers: int) -> tuple[_Level, ...]:
    if num_labelers > MAX_LABELERS:
        raise ValueError(
            f"{num_labelers} labelers have 3**{num_labelers} states; "
            f"the bound is for at most {MAX_LABELERS}"
        )
    power = 3 ** np.arange(num_labelers, dtype=np.int32)
    state = np.arange(3**num_labelers, dtype=np.int32)
    open_ = state[:, None] // power % 3 == 0
    count = num_labelers - open_.sum(axis=1)
    place = np.empty(state.size, np.int32)
    for n in range(num_labelers + 1):
        place[count == n] = np.arange((count == n).sum())
    levels = []
    for n in range(num_labelers + 1):
        here = state[count == n]
        step = power[np.nonzero(open_[count == n])[1]].reshape(here.size, num_labelers - n)
        following = place[here[:, None, None] + step[:, :, None] * np.array([1, 2])]
        levels.append(_Level(here, following if n < num_labelers else following[:, :0]))
    return tuple(levels)
