"""What to do with class probabilities: decisions of least expected loss, labels within a risk."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from jaxtyping import Float, Int

from gtx_bayes.classes import some_names
from gtx_bayes.columns import (
    AnyTable,
    Column,
    Names,
    Source,
    Table,
    as_names,
    positions,
    read_class_probs,
)
from gtx_bayes.errors import InputError

Risk = float | Mapping[Any, float]
"""The largest proportion of errors among accepted labels: of every class, or by class."""


def read_loss(table: AnyTable, classes: Names) -> Float[np.ndarray, "num_classes num_classes"]:
    """A table of losses as an array: true classes by row, decisions by column.

    Args:
        table: one row for each true class, which the column `true_label` names, or else the first;
            one column for each decision, called by its class.
        classes: the classes in order.

    Raises:
        InputError: for a class without a row or a column, one that is none, and losses that are no
            numbers.
    """
    frame, source = Table.of(table, "loss")
    names = [str(name) for name in frame.columns]
    if not len(frame) or len(names) < 2:
        raise source.error("it is no square table.", "Give a row and a column for each class.")
    of_truth = names.index("true_label") if "true_label" in names else 0
    truth = Column.of_cells(frame.iloc[:, of_truth], names[of_truth], source).keys
    rest = [at for at in range(len(names)) if at != of_truth]
    decided = as_names(names[at].strip() for at in rest)
    wanted = as_names(str(name) for name in classes)
    for given, what in ((truth, "row"), (decided, "column")):
        _check_each_once(given, wanted, what, source)
    cells = frame.iloc[positions(truth, wanted), [rest[at] for at in positions(decided, wanted)]]
    loss = cells.apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    if not np.isfinite(loss).all():
        row, column = np.argwhere(~np.isfinite(loss))[0]
        raise source.error(
            f"the loss of '{wanted[column]}' where '{wanted[row]}' is true is no number.",
            "Give a finite number.",
        )
    return loss


def _check_each_once(given: Names, wanted: Names, what: str, source: Source) -> None:
    """Raise `InputError` unless these are the classes, each of them once."""
    at = positions(wanted, given)
    if (at < 0).any():
        raise source.error(
            f"'{given[at < 0][0]}' has a {what} and is no class.",
            f"The classes are {some_names(wanted)}.",
        )
    number = np.bincount(at, minlength=len(wanted))
    if (number != 1).any():
        name, many = wanted[number != 1][0], number[number != 1][0]
        raise source.error(f"'{name}' has {many} {what}s.", f"Give each class one {what}.")


def risk_by_class(risk: Risk, classes: Names) -> Float[np.ndarray, " num_classes"]:
    """The target of each class; one, which accepts all, for classes that are not named.

    Raises:
        InputError: for a name that is no class, and a target that is no probability.
    """
    if not isinstance(risk, Mapping):
        risk = dict.fromkeys(map(str, classes), risk)
    hint = "Give one value from 0 to 1, or one for each class by name."
    if not all(isinstance(target, int | float | np.number) for target in risk.values()):
        raise InputError("a target is no number.", where="risk", hint=hint)
    given = {str(name).strip(): target for name, target in risk.items()}
    unknown = [name for name in given if name not in set(map(str, classes))]
    if unknown:
        raise InputError(
            f"a risk is given of '{unknown[0]}', which is no class.",
            where="risk",
            hint=f"The classes are {some_names(classes)}.",
        )
    targets = np.array([given.get(str(name), 1.0) for name in classes], np.float64)
    if not ((targets >= 0.0) & (targets <= 1.0)).all():
        raise InputError("a target is no probability.", where="risk", hint=hint)
    return targets


def least_loss(
    class_probs: Float[np.ndarray, "num_examples num_classes"],
    loss: Float[np.ndarray, "num_classes num_classes"],
) -> tuple[Int[np.ndarray, " num_examples"], Float[np.ndarray, " num_examples"]]:
    r"""The decision of the least expected loss of each example, and that loss.

    .. math:: d_i = \arg\min_d \sum_y P(Y_i = y \mid \mathcal{L}(i)) \, L_{yd}

    Of equal ones the first class.
    """
    expected = class_probs.astype(np.float64) @ loss
    decision = expected.argmin(axis=1)
    return decision, expected[np.arange(decision.size), decision]


def within_risk(
    class_probs: Float[np.ndarray, "num_examples num_classes"],
    decision: Int[np.ndarray, " num_examples"],
    targets: Float[np.ndarray, " num_classes"],
    where: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.bool_]:
    """Which decisions to accept if so many of each class may be wrong.

    Of the examples decided to be of a class the surest are accepted, as many as keep the mean
    probability of being wrong within its target; see `collection.risk.threshold_for_risk`.

    Args:
        class_probs: probability of each class.
        decision: what each example is taken for.
        targets: the largest proportion of errors among those accepted, by class.
        where: the examples that count; all when absent. Others are accepted.
    """
    probs = class_probs.astype(np.float64)
    is_other = np.arange(probs.shape[1]) != decision[:, None]
    wrong = probs.sum(axis=1, where=is_other)
    counts = np.ones(decision.size, bool) if where is None else where
    accepted = ~counts
    for k, target in enumerate(targets):
        at = np.flatnonzero(counts & (decision == k))
        at = at[np.argsort(wrong[at], kind="stable")]
        mean = np.cumsum(wrong[at]) / (1 + np.arange(at.size))
        accepted[at[: np.flatnonzero(mean <= target).max(initial=-1) + 1]] = True
    return accepted


def decide(
    examples: AnyTable, *, loss: AnyTable | None = None, risk: Risk | None = None
) -> pd.DataFrame:
    """A table of results with what to decide, and which decisions to accept.

    Args:
        examples: columns `prob_<class>` for every class, such as `Aggregation.examples` returns;
            with a column `is_gold` gold does not count for the risk, and is accepted.
        loss: what a decision costs, by true class: see `read_loss`. Adds `decision` and
            `expected_loss`.
        risk: the largest expected proportion of errors among accepted decisions, one for all
            classes or by class; without losses the decision is the most probable class. Adds
            `accepted`.

    Raises:
        InputError: for a table without class probabilities, and as `read_loss`.
    """
    frame, source = Table.of(examples, "examples")
    classes, probs = read_class_probs(frame, source)
    names = as_names(classes)
    decision = probs.argmax(axis=1)
    found = frame.copy()
    if loss is not None:
        decision, expected = least_loss(probs, read_loss(loss, names))
        cells = {str(cell): cell for cell in frame["label"]} if "label" in frame else {}
        as_given = as_names(cells.get(name, name) for name in names)
        found = found.assign(decision=as_given[decision], expected_loss=expected)
    if risk is not None:
        is_open = None
        if "is_gold" in frame:
            is_open = (
                ~frame["is_gold"].astype(str).str.lower().isin(("true", "1", "1.0")).to_numpy()
            )
        targets = risk_by_class(risk, names)
        found = found.assign(accepted=within_risk(probs, decision, targets, is_open))
    return found
