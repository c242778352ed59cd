"""What to buy next for a real crowd, from its tables alone: a policy's next batch by name."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pandas as pd
from jaxtyping import Array, Key

from gtx_bayes import decisions
from gtx_bayes.aggregation.aggregate import Aggregation
from gtx_bayes.collection.base import AbstractPolicy
from gtx_bayes.collection.confidence_threshold import ConfidenceThreshold
from gtx_bayes.collection.fixed import Fixed
from gtx_bayes.collection.random_sampling import RandomSampling
from gtx_bayes.collection.risk import threshold_for_risk
from gtx_bayes.collection.step_by_step import next_examples
from gtx_bayes.collection.uncertainty_sampling import UncertaintySampling
from gtx_bayes.columns import EXAMPLE_COLUMNS, Source, as_names, positions, read_columns
from gtx_bayes.errors import InputError
from gtx_bayes.labels import MISSING

DEFAULT_STRATEGY = "uncertainty"
PAPER_THRESHOLD = 0.95
"""Threshold of strategy 1 where none is given: the paper's for real images (sec. 4)."""
PAPER_MAX_LABELS = 5
"""The most labels of strategy 1 where none is given (sec. 3.3 and 4)."""


class _Pool(NamedTuple):
    """The examples on offer, in the order of the policy.

    Attributes:
        class_probs: probability of each class.
        num_labels: how many labels each has.
        max_labels: the most an example gets.
        threshold: the confidence from which on an example gets no more.
        place: place of each example in the user's order.
    """

    class_probs: npt.NDArray[np.floating]
    num_labels: npt.NDArray[np.int32]
    max_labels: int
    threshold: float
    place: npt.NDArray[np.intp]


def _random(key: Key[Array, ""], pool: _Pool) -> AbstractPolicy:
    num_rings = min(pool.max_labels, int(pool.num_labels.max(initial=0)) + 1)
    clocks = RandomSampling.draw(
        key, pool.place.size, max_labels=max(num_rings, 1), threshold=pool.threshold
    )
    return RandomSampling(clocks.ring[:, pool.place], pool.max_labels, pool.threshold)


STRATEGIES: dict[str, Callable[[Key[Array, ""], _Pool], AbstractPolicy]] = {
    "uncertainty": lambda key, pool: UncertaintySampling(pool.max_labels, pool.threshold),
    "confidence-threshold": lambda key, pool: ConfidenceThreshold(pool.threshold, pool.max_labels),
    "random": _random,
    "fixed": lambda key, pool: Fixed(pool.max_labels),
}
"""Every strategy by name."""

_BY_LOT = ("uncertainty",)
"""Strategies whose ties are broken at random; streams go in the order of the table."""


class NextLabels(NamedTuple):
    """What to buy next, and how far the collection is.

    Attributes:
        examples: the batch, most valuable first: task, num_labels, label, confidence. Empty when
            every example has reached the stop rule.
        strategy: name of the strategy.
        threshold: the confidence from which on examples get no more; None if none.
        max_labels: the most labels an example gets.
        num_open: examples that still want a label, those of the batch included.
        num_done: examples that do not, gold included.
    """

    examples: pd.DataFrame
    strategy: str
    threshold: float | None
    max_labels: int
    num_open: int
    num_done: int


def next_labels(
    key: Key[Array, ""],
    result: Aggregation | None,
    *,
    batch: int,
    strategy: str = DEFAULT_STRATEGY,
    threshold: float | None = None,
    risk: float | None = None,
    max_labels: int | None = None,
    tasks: pd.DataFrame | None = None,
    tasks_source: Source | None = None,
) -> NextLabels:
    """The examples whose next label is worth most; gold examples never want one.

    Nothing but the tables is needed to go on: the draws that break ties and choose at random
    belong to an example's place in `tasks` (or in order of first appearance) and to the key.

    Args:
        key: random key; keep it the same throughout a collection.
        result: the answers so far, aggregated by any method; None before the first.
        batch: how many different examples to name, one label for each.
        strategy: a name in `STRATEGIES`.
        threshold: stop rule: the confidence to exceed. For "confidence-threshold" .95 when
            absent, none for the others, which then stop at `max_labels`.
        risk: stop rule in place of a threshold: accept the most confident labels as long as the
            expected proportion of errors among them is at most this.
        max_labels: the most labels an example gets. When absent 5 for "confidence-threshold" and
            "fixed", for the others the number of labelers seen.
        tasks: every task there is, unlabelled ones included, in the order wanted; column `task`.
            When absent only tasks with an answer are known. Others are not offered.
        tasks_source: where `tasks` comes from, for messages.

    Raises:
        InputError: for an unknown strategy, options that do not go together, values out of range,
            or neither answers nor tasks.
    """
    _check(batch, strategy, threshold, risk, max_labels)
    names, probs, counts, is_gold = _offered(result, tasks, tasks_source or Source("tasks"))
    streams = strategy in ("confidence-threshold", "fixed")
    num_labelers = 0 if result is None else result.crowd.labels.num_labelers
    most = max_labels or (PAPER_MAX_LABELS if streams else max(num_labelers, 1))
    if threshold is None and risk is None and strategy == "confidence-threshold":
        threshold = PAPER_THRESHOLD
    if risk is not None:
        threshold = float(threshold_for_risk(jnp.asarray(probs), risk, jnp.asarray(~is_gold)))

    key_order, key_policy = jax.random.split(key)
    order = np.flatnonzero(~is_gold)
    if strategy in _BY_LOT:
        order = order[np.argsort(_lots(key_order, is_gold.size)[order], stable=True)]
    limit = 1.0 if threshold is None else threshold
    pool = _Pool(probs[order], counts[order], most, limit, order)
    chosen, num_open = np.zeros(0, np.intp), 0
    if order.size:
        policy = STRATEGIES[strategy](key_policy, pool)
        # All open examples in order; the batch is the head of them.
        ranked = np.asarray(
            next_examples(
                policy, jnp.asarray(pool.class_probs), jnp.asarray(pool.num_labels), order.size
            )
        )
        ranked = ranked[ranked != MISSING]
        chosen, num_open = order[ranked[:batch]], ranked.size
    return NextLabels(
        _table(result, names, probs, counts, chosen),
        strategy,
        threshold,
        most,
        num_open,
        is_gold.size - num_open,
    )


def _check(
    batch: int,
    strategy: str,
    threshold: float | None,
    risk: float | None,
    max_labels: int | None,
) -> None:
    if strategy not in STRATEGIES:
        raise InputError(
            f"there is no strategy '{strategy}'.",
            mend=f"The strategies are {', '.join(STRATEGIES)}.",
        )
    if batch < 1:
        raise InputError(f"the batch is {batch}.", mend="Ask for at least one example.")
    if max_labels is not None and max_labels < 1:
        raise InputError(f"max_labels is {max_labels}.", mend="Allow at least one label.")
    if threshold is not None and risk is not None:
        raise InputError(
            "there are a threshold and a risk target.", mend="Give one stop rule of the two."
        )
    if strategy == "fixed" and (threshold is not None or risk is not None):
        raise InputError(
            "the strategy fixed gives every example the same number of labels.",
            mend="Leave the threshold and the risk out, or take another strategy.",
        )
    for name, value in (("threshold", threshold), ("risk", risk)):
        if value is not None and not 0.0 <= value <= 1.0:
            raise InputError(f"the {name} is {value}.", mend="Give a value from 0 to 1.")


def _offered(
    result: Aggregation | None, tasks: pd.DataFrame | None, source: Source
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    """Names of the examples on offer, their class probabilities, counts, and which are gold."""
    if tasks is None:
        if result is None:
            raise InputError(
                "there are neither answers nor tasks.", mend="Give a table of all the tasks."
            )
        crowd = result.crowd
        return (
            crowd.example_names,
            np.asarray(result.class_probs),
            np.asarray(crowd.labels.labels_per_example()),
            np.asarray(crowd.assessment.is_gold),
        )
    column = read_columns(tasks, {"example": EXAMPLE_COLUMNS}, {}, source)["example"]
    first = np.flatnonzero(~pd.Series(column.keys).duplicated().to_numpy())
    names, keys = column.cells[first], column.keys[first]
    if result is None:
        uniform = np.full((names.size, 2), 0.5, np.float32)
        return names, uniform, np.zeros(names.size, np.int32), np.zeros(names.size, bool)
    crowd = result.crowd
    seen = as_names(str(name) for name in crowd.example_names)
    at = positions(seen, keys)
    known = at >= 0
    if not known.any():
        raise InputError(
            f"none of the {names.size} tasks has an answer (answered are '{seen[0]}', ...).",
            where=source.name,
            mend="Use the same names for the tasks in both tables.",
        )
    blank = _without_answers(result)
    return (
        names,
        np.where(known[:, None], np.asarray(result.class_probs)[at], blank),
        np.where(known, np.asarray(crowd.labels.labels_per_example())[at], 0).astype(np.int32),
        known & np.asarray(crowd.assessment.is_gold)[at],
    )


def _lots(key: Key[Array, ""], num_examples: int) -> npt.NDArray[np.float64]:
    """A random number for each example, whatever the number of examples after it."""
    keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(num_examples))
    return np.asarray(jax.vmap(jax.random.uniform)(keys), np.float64)


def _without_answers(result: Aggregation) -> npt.NDArray[np.floating]:
    """Class probabilities of an example that nobody has answered."""
    num_classes = result.crowd.labels.num_classes
    if result.class_prior is not None and result.class_prior.ndim == 1:
        return np.asarray(result.class_prior)
    return np.full(num_classes, 1.0 / num_classes, np.asarray(result.class_probs).dtype)


def _table(
    result: Aggregation | None,
    names: npt.NDArray[Any],
    probs: npt.NDArray[np.floating],
    counts: npt.NDArray[np.int32],
    chosen: npt.NDArray[np.intp],
) -> pd.DataFrame:
    label = np.full(chosen.size, None, object)
    if result is not None:
        answered = counts[chosen] > 0
        best = probs[chosen].argmax(axis=1)
        label[answered] = result.crowd.class_names[best[answered]]
    return pd.DataFrame(
        {
            "task": names[chosen],
            "num_labels": counts[chosen],
            "label": pd.Series(label, dtype=object),  # None where there is none
            "confidence": np.asarray(decisions.confidence(jnp.asarray(probs[chosen]))),
        }
    )
