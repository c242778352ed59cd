"""What to buy next for a real crowd, from its tables alone: a policy's next batch."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pandas as pd
from jaxtyping import Array, Float, Int, Key

from gtx_bayes.aggregation.result import Aggregation
from gtx_bayes.collection.asking import Asked, whom_to_ask
from gtx_bayes.collection.base import UNLIMITED, AbstractPolicy, Seen
from gtx_bayes.collection.costs import read_costs
from gtx_bayes.collection.risk import threshold_for_risk
from gtx_bayes.collection.sequential import next_examples
from gtx_bayes.columns import (
    EXAMPLE_COLUMNS,
    Source,
    as_names,
    positions,
    read_columns,
)
from gtx_bayes.errors import InputError
from gtx_bayes.labels import MISSING, Labels
from gtx_bayes.losses import Risk, risk_by_class, within_risk
from gtx_bayes.padding import LEAST_EXAMPLES, LEAST_LABELS, bucket_size, pad_to
from gtx_bayes.registry import POLICIES

DEFAULT_STRATEGY = "uncertainty"


class NextLabels(NamedTuple):
    """What to buy next, and how far the collection is.

    Attributes:
        examples: the batch, most valuable first: task, num_labels, label, confidence, and where
            there are costs the price to expect. Where the strategy chooses labelers, or some count
            as one, also `worker`: whom to ask. Of a bloc that is its cheapest member without an
            answer to the example; without prices the most accurate of those who have not answered
            and are of no bloc that has. None where there is nobody. Empty when every example has
            reached the stop rule.
        strategy: name of the strategy.
        threshold: examples more confident than this get no more; None if none.
        max_labels: the most labels an example gets; None if there is no limit.
        num_open: examples that still want a label, those of the batch included.
        num_done: examples that do not, gold included.
        notes: what a user should know about the tables.
    """

    examples: pd.DataFrame
    strategy: str
    threshold: float | None
    max_labels: int | None
    num_open: int
    num_done: int
    notes: tuple[str, ...] = ()


def next_labels(
    key: Key[Array, ""],
    result: Aggregation | None,
    *,
    batch: int,
    strategy: str | AbstractPolicy = DEFAULT_STRATEGY,
    threshold: float | None = None,
    risk: Risk | None = None,
    max_labels: int | None = None,
    tasks: pd.DataFrame | None = None,
    tasks_columns: Mapping[str, str] | None = None,
    tasks_source: Source | None = None,
    gold_tasks: Iterable[object] = (),
    num_classes: int = 2,
    costs: pd.DataFrame | None = None,
    costs_columns: Mapping[str, str] | None = None,
    costs_source: Source | None = None,
) -> NextLabels:
    """The examples whose next label is worth most; gold examples never want one.

    Nothing but the tables is needed to go on: the draws that break ties and choose at random
    belong to an example's place in `tasks` (or in order of first appearance) and to the key.

    Args:
        key: random key; keep it the same throughout a collection.
        result: the answers so far, aggregated by any method; None before the first.
        batch: how many different examples to name, one label for each.
        strategy: a policy, the name of one in `registry.POLICIES`, or `FILE.py:Class`.
        threshold: stop rule: the confidence to exceed, in place of the policy's own.
        risk: stop rule in place of a threshold: accept the most confident labels as long as the
            expected proportion of errors among them is at most this; or by class, whatever the
            strategy: of the labels of each class named, as in `decide`.
        max_labels: the most labels an example gets, in place of the policy's own.
        tasks: every task there is, unlabelled ones included, in the order wanted; column `task`.
            When absent only tasks with an answer are known. Others are not offered.
        tasks_columns: column of `tasks` for "example", where no alias fits.
        tasks_source: where `tasks` comes from, for messages.
        gold_tasks: names of gold tasks besides those of `result`, where nobody has answered them.
        num_classes: number of classes, where `result` does not tell.
        costs: price of an answer, column `cost`, by `worker`, by `task`, or by both; for policies
            that look at it. When absent every answer costs the same. A policy that chooses
            labelers asks those as well who have a price and no answer yet.
        costs_columns: columns of `costs` for "example" and "labeler", where no alias fits.
        costs_source: where `costs` comes from, for messages.

    Raises:
        InputError: for an unknown strategy, options that it does not have or that do not go
            together, values out of range, or neither answers nor tasks.
    """
    if batch < 1:
        raise InputError(f"the batch is {batch}.", hint="Ask for at least one example.")
    policy = POLICIES.build(strategy)
    name = getattr(policy, "name", type(policy).__name__)
    _check(policy, name, threshold, risk, max_labels)
    offer = _offered(
        result, tasks, tasks_columns or {}, tasks_source or Source("tasks"), gold_tasks, num_classes
    )
    done = offer.is_gold
    if isinstance(risk, Mapping):
        done = _accepted(result, offer, risk)
    elif risk is not None:
        size = bucket_size(offer.is_gold.size, LEAST_EXAMPLES)
        probs, wanted = pad_to(offer.class_probs, size), pad_to(~offer.is_gold, size)
        threshold = float(threshold_for_risk(probs, risk, wanted))
    given = {"threshold": threshold, "max_labels": max_labels}
    policy = dataclasses.replace(policy, **{of: v for of, v in given.items() if v is not None})

    order = np.flatnonzero(~done)
    if not policy.is_streaming:
        redrawn = offer.num_labels if policy.is_random else np.zeros_like(offer.num_labels)
        order = order[np.argsort(_random_priorities(key, redrawn)[order], stable=True)]
    chosen, num_open = np.zeros(0, np.intp), 0
    cost = whom = None
    if order.size:
        seen = _seen(policy, result, offer, order)
        prices = None
        if costs is not None:
            known = None
            if result is not None and seen.labels is not None:
                chooses = policy.chooses_labelers
                known = (result.answered if chooses else result.crowd).labeler_names
            prices = read_costs(
                costs,
                costs_columns or {},
                costs_source or Source("costs"),
                known,
                offer.names[order],
                with_others=policy.chooses_labelers,
            )
        asked = Asked.of(result, offer.place[order], prices) if policy.chooses_labelers else None
        if asked is not None:
            price = asked.price
        elif prices is not None:
            price = prices.price
        if asked is not None or prices is not None:
            padding = (0, seen.num_labels.shape[0] - order.size if price.shape[1] > 1 else 0)
            price = np.pad(price, ((0, 0), padding), constant_values=1.0)
            seen = dataclasses.replace(seen, costs=jax.device_put(price))
        # All open examples in order; the batch is the head of them. Padding is no example.
        ranked = np.asarray(next_examples(policy, seen, seen.num_labels.shape[0]))
        ranked = ranked[(ranked != MISSING) & (ranked < order.size)]
        chosen, num_open = order[ranked[:batch]], ranked.size
        if asked is not None:
            whom, cost = asked.named(np.asarray(_whom(policy, seen)), ranked[:batch])
        elif prices is not None:
            cost = np.asarray(_expected_cost(seen))[ranked[:batch]].astype(np.float64)
    return NextLabels(
        _table(result, offer, chosen, cost, whom),
        name,
        _limit(policy, "threshold", none=None if threshold is not None else 1.0),
        _limit(policy, "max_labels", none=UNLIMITED),
        num_open,
        offer.is_gold.size - num_open,
        offer.notes,
    )


def _check(
    policy: AbstractPolicy,
    name: str,
    threshold: float | None,
    risk: Risk | None,
    max_labels: int | None,
) -> None:
    if jax.tree_util.all_leaves([policy]):
        raise InputError(
            f"the strategy {name} is no pytree.",
            hint="Decorate its class with jax.tree_util.register_dataclass.",
        )
    if max_labels is not None and max_labels < 1:
        raise InputError(f"max_labels is {max_labels}.", hint="Allow at least one label.")
    if threshold is not None and risk is not None:
        raise InputError(
            "there are a threshold and a risk target.", hint="Give one stop rule of the two."
        )
    one = None if isinstance(risk, Mapping) else risk
    for option, value in (("threshold", threshold), ("risk", one)):
        if value is not None and not 0.0 <= value <= 1.0:
            raise InputError(f"the {option} is {value}.", hint="Give a value from 0 to 1.")
    fields = {field.name for field in dataclasses.fields(policy)}  # type: ignore[arg-type]
    for option, value in (("threshold", threshold), ("risk", one), ("max_labels", max_labels)):
        if value is not None and option.replace("risk", "threshold") not in fields:
            raise InputError(
                f"the strategy {name} has no {option}.",
                hint="Leave it out, or take another strategy.",
            )


def _accepted(
    result: Aggregation | None, offer: "_Offer", risk: Mapping[Any, float]
) -> npt.NDArray[np.bool_]:
    """Which examples want no more: gold, and what targets by class accept."""
    if result is None:
        return offer.is_gold
    targets = risk_by_class(risk, result.crowd.class_names)
    decision = offer.class_probs.argmax(axis=1)
    is_open = ~offer.is_gold & (offer.num_labels > 0)
    accepted = within_risk(offer.class_probs, decision, targets, is_open)
    return accepted & (offer.is_gold | is_open)


def _limit(policy: AbstractPolicy, option: str, none: int | float | None) -> Any:
    """The policy's limit as a number; None where it has none."""
    value = getattr(policy, option, None)
    return None if value == none else value


def _seen(
    policy: AbstractPolicy, result: Aggregation | None, offer: "_Offer", order: npt.NDArray[np.intp]
) -> Seen:
    """What the policy sees of these examples, padded where others do not matter to it."""
    size = bucket_size(order.size, LEAST_EXAMPLES) if policy.own_labels_only else order.size
    uniform = 1.0 / offer.class_probs.shape[1]
    probs = pad_to(offer.class_probs[order], size, uniform)
    seen = Seen(probs, pad_to(offer.num_labels[order], size))
    if result is None or not policy.sees_labelers:
        return seen
    of_offer = result.crowd.labels.of_examples(offer.place[order])
    most = bucket_size(of_offer.num_labels, LEAST_LABELS)
    labels = Labels(
        pad_to(of_offer.example, most),
        pad_to(of_offer.labeler, most),
        pad_to(of_offer.label, most, MISSING),
        size,
        of_offer.num_labelers,
        of_offer.num_classes,
    )
    labelers = result.fit.aggregator.labelers
    return dataclasses.replace(seen, labels=labels, labelers=labelers)


_expected_cost = jax.jit(Seen.expected_cost)


@jax.jit
def _whom(policy: AbstractPolicy, seen: Seen) -> Int[Array, " num_examples"]:
    return policy.whom(seen)


class _Offer(NamedTuple):
    """The examples on offer, in the user's order.

    Attributes:
        names: their names.
        class_probs: probability of each class.
        num_labels: how many labels each has.
        is_gold: whether its label is known, so that it wants none.
        place: its place among the examples of the crowd, after the last of them where none.
        notes: what a user should know about the tables.
    """

    names: npt.NDArray[Any]
    class_probs: npt.NDArray[np.floating]
    num_labels: npt.NDArray[np.int32]
    is_gold: npt.NDArray[np.bool_]
    place: npt.NDArray[np.intp]
    notes: tuple[str, ...] = ()


def _offered(
    result: Aggregation | None,
    tasks: pd.DataFrame | None,
    columns: Mapping[str, str],
    source: Source,
    gold_tasks: Iterable[object],
    num_classes: int,
) -> _Offer:
    if tasks is None:
        if result is None:
            raise InputError(
                "there are neither answers nor tasks.", hint="Give a table of all the tasks."
            )
        crowd = result.crowd
        return _Offer(
            crowd.example_names,
            np.asarray(result.class_probs),
            crowd.labels.count_by_example(),
            crowd.assessment.which_gold(),
            np.arange(crowd.labels.num_examples),
        )
    column = read_columns(tasks, {"example": EXAMPLE_COLUMNS}, columns, source)["example"]
    first = np.flatnonzero(~pd.Series(column.keys).duplicated().to_numpy())
    names, keys = column.cells[first], column.keys[first]
    is_gold = positions(as_names(dict.fromkeys(str(name) for name in gold_tasks)), keys) >= 0
    if result is None:
        uniform = np.full((names.size, num_classes), 1.0 / num_classes, np.float32)
        return _Offer(names, uniform, np.zeros(names.size, np.int32), is_gold, first)
    crowd = result.crowd
    seen = as_names(str(name) for name in crowd.example_names)
    at = positions(seen, keys)
    known = at >= 0
    notes: tuple[str, ...] = ()
    if not known.any():
        notes = (
            f"{source.name}: none of the {names.size} tasks has an answer yet "
            f"(answered is '{seen[0]}', for one).",
        )
    return _Offer(
        names,
        np.where(known[:, None], np.asarray(result.class_probs)[at], _without_answers(result)),
        np.where(known, crowd.labels.count_by_example()[at], 0).astype(np.int32),
        is_gold | (known & crowd.assessment.which_gold()[at]),
        np.where(known, at, crowd.labels.num_examples),
        notes,
    )


def _random_priorities(
    key: Key[Array, ""], redrawn: npt.NDArray[np.int32]
) -> npt.NDArray[np.float64]:
    """A random number for each example and number of redraws, whatever examples follow it."""
    size = bucket_size(redrawn.size, LEAST_EXAMPLES)
    return np.asarray(_draw_priorities(key, pad_to(redrawn, size)), np.float64)[: redrawn.size]


@jax.jit
def _draw_priorities(
    key: Key[Array, ""], redrawn: Int[Array, " num_examples"]
) -> Float[Array, " num_examples"]:
    def priority(example: Int[Array, ""], count: Int[Array, ""]) -> Float[Array, ""]:
        return jax.random.uniform(jax.random.fold_in(jax.random.fold_in(key, example), count))

    return jax.vmap(priority)(jnp.arange(redrawn.size), redrawn)


def _without_answers(result: Aggregation) -> npt.NDArray[np.floating]:
    """Class probabilities of an example that nobody has answered: the prior if it was given.

    Proportions that were learnt do not count: a little gold of one class would say that examples
    are as good as labelled before anybody has seen them.
    """
    num_classes = result.crowd.labels.num_classes
    joint = result.fit.joint
    is_learnt = joint is not None and not joint.has_given_class_prior
    if not is_learnt and result.class_prior is not None and result.class_prior.ndim == 1:
        return np.asarray(result.class_prior)
    return np.full(num_classes, 1.0 / num_classes, np.asarray(result.class_probs).dtype)


def _table(
    result: Aggregation | None,
    offer: _Offer,
    chosen: npt.NDArray[np.intp],
    cost: npt.NDArray[np.float64] | None,
    whom: npt.NDArray[np.object_] | None,
) -> pd.DataFrame:
    probs, counts = offer.class_probs[chosen], offer.num_labels[chosen]
    label = np.full(chosen.size, None, object)
    if result is not None:
        answered = counts > 0
        label[answered] = result.crowd.class_names[probs.argmax(axis=1)[answered]]
    table = pd.DataFrame(
        {
            "task": offer.names[chosen],
            "num_labels": counts,
            "label": pd.Series(label, dtype=object),  # None where there is none
            "confidence": probs.max(axis=1, initial=0.0),
        }
    )
    if cost is not None:
        table = table.assign(cost=cost)
    if whom is not None:
        table = table.assign(worker=whom)
    elif result is not None and result.blocs is not None:
        table = table.assign(worker=whom_to_ask(result, result.blocs, offer.place[chosen]))
    return table
