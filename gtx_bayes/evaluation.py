"""Score a table of results against a table of true labels."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import numpy.typing as npt
import pandas as pd
from jaxtyping import Array, Float, Int

from gtx_bayes import metrics
from gtx_bayes.classes import numbered_classes
from gtx_bayes.columns import (
    EXAMPLE_ROLE,
    TRUTH_COLUMNS,
    TRUTH_ROLES,
    AnyTable,
    Names,
    Source,
    Table,
    as_names,
    check_one_row_each,
    distinct_examples,
    positions,
    read_class_probs,
    read_columns,
)
from gtx_bayes.crowd_tables import read_truths
from gtx_bayes.errors import InputError, WarningNote
from gtx_bayes.inference.model_size import FREE_PROBS
from gtx_bayes.labels import MISSING
from gtx_bayes.losses import Risk, least_loss, read_loss, risk_by_class, within_risk
from gtx_bayes.metrics import Estimate
from gtx_bayes.padding import LEAST_EXAMPLES, bucket_size, pad_to

_SHOWN = 10  # classes in a note

METRICS = {
    "accuracy": metrics.accuracy,
    "error": metrics.error_rate,
    "balanced_error": metrics.balanced_error,
    "mae": metrics.mean_absolute_error,
    "log_loss": metrics.log_loss,
    "brier": metrics.brier,
    "ece": metrics.expected_calibration_error,
}
"""Every metric by the name it has in results."""

ORDINAL_METRICS = {
    "rps": metrics.ranked_probability_score,
    "grade_error": metrics.mean_absolute_grade_error,
}
"""Those of classes in an order."""


class Scored(NamedTuple):
    """The examples that can be scored.

    Attributes:
        class_probs: their class probabilities.
        true_label: their true classes.
        notes: what a user should know about the match of the tables.
        class_names: the classes, those of the truth alone last.
    """

    class_probs: Float[Array, "num_examples num_classes"]
    true_label: Int[Array, " num_examples"]
    notes: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()


def match_truth(examples: AnyTable, truth: AnyTable, exclude: AnyTable | None = None) -> Scored:
    """Bring results and true labels together.

    Args:
        examples: columns task (or an alias) and prob_<class> for every class.
        truth: columns task and label (or aliases).
        exclude: a table with a task column (or an alias): examples not to score, such as the gold
            that the method has seen.

    Raises:
        InputError: if columns are absent, values are no probabilities, an example has two true
            labels, or nothing matches.
    """
    frame, source = Table.of(examples, "examples")
    names = read_columns(frame, EXAMPLE_ROLE, {}, source)["example"]
    classes, probs = read_class_probs(frame, source)
    notes: list[str] = []
    truths = read_truths(Table.of(truth, "truth"), None, notes)
    check_one_row_each(names)
    kept = distinct_examples(truths["example"], truths["label"])
    keys = truths["example"].keys[kept]
    seen: npt.NDArray[np.bool_] = np.zeros(keys.size, bool)
    if exclude is not None:
        excluded = _excluded(*Table.of(exclude, "exclude"))
        seen = positions(as_names(dict.fromkeys(excluded)), keys) >= 0
    row = positions(names.keys, keys)
    scored = (row >= 0) & ~seen
    if not scored.any():
        raise truths["example"].source.error(
            "no example of the results has a true label that is not excluded.",
            "Use the same names for the examples in both tables.",
        )
    absent = int(np.sum((row < 0) & ~seen))
    if absent:
        notes.append(f"{absent} example(s) with a true label are not among the results.")
    label, extra = numbered_classes(truths["label"], classes)
    num_probs = int(scored.sum()) * (len(classes) + len(extra))
    if len(extra) > len(classes) and num_probs > FREE_PROBS:
        raise InputError(
            f"the results give no probability to {len(extra)} of the true classes, such as "
            f"'{extra[0]}'.",
            where=truths["label"].first(extra[0]),
            hint="Use the same names for the classes in both tables.",
        )
    if extra:
        more = [f"and {len(extra) - _SHOWN} more"] if len(extra) > _SHOWN else []
        shown = [*extra[:_SHOWN], *more]
        text = f"The results give no probability to the true class(es) {shown}: taken as 0."
        notes.append(WarningNote(text))
        probs = np.pad(probs, ((0, 0), (0, len(extra))))
    return Scored(
        jax.device_put(probs[row[scored]]),
        jax.device_put(label[kept][scored]),
        tuple(notes),
        (*classes, *extra),
    )


def _excluded(exclude: pd.DataFrame, source: Source) -> Names:
    """Examples named by a table; without those whose label it has a column for and leaves open."""
    labels = [name for name in exclude.columns if str(name).strip().lower() in TRUTH_COLUMNS]
    roles = TRUTH_ROLES if len(labels) == 1 else EXAMPLE_ROLE
    found = read_columns(exclude, roles, {}, source, with_gaps=("label",))
    keys = found["example"].keys
    return keys[found["label"].keys != ""] if "label" in found else keys


def evaluate(
    examples: AnyTable,
    truth: AnyTable | None = None,
    exclude: AnyTable | None = None,
    *,
    ordered: bool | None = None,
) -> dict[str, Estimate]:
    """Every metric of `METRICS`, and where classes are in an order those of `ORDINAL_METRICS`.

    By name; of arrays also within a function that JAX compiles.

    Args:
        examples: a table with a task column and prob_<class> columns, such as
            `Aggregation.examples` returns; or class probabilities as an array of shape
            (num_examples, num_classes); or what `match_truth` returns.
        truth: a table with columns task and label (or aliases), a Series or a dictionary of labels
            by task; or an array of the true classes of the same examples by number, `MISSING`
            where one is not known.
        exclude: with tables, one with a task column: examples not to score, such as the gold that
            the method has seen.
        ordered: whether the classes are in an order, that of the columns or of numbers; when
            absent they are where there are three or more and all are called by numbers.

    Raises:
        InputError: for tables that `match_truth` refuses, a table beside an array, and arrays of
            unequal length.
    """
    names: tuple[str, ...] = ()
    if isinstance(examples, Scored) and truth is None and exclude is None:
        probs, true_label, _, names = examples
    elif _is_table(examples) and _is_table(truth):
        probs, true_label, _, names = match_truth(examples, truth, exclude)
    else:
        probs, true_label = _checked_arrays(examples, truth, exclude)
    grades = _grades(names)
    is_ordinal = ordered if ordered is not None else grades is not None
    every = {**METRICS, **(ORDINAL_METRICS if is_ordinal else {})}
    if isinstance(probs, jax.core.Tracer):
        return _every_metric(probs, true_label, tuple(every))
    if is_ordinal and grades is not None:
        order = np.argsort(grades, kind="stable")
        place = np.append(np.argsort(order), MISSING)  # the last for a label not known
        probs, true_label = probs[:, order], jax.device_put(place[np.asarray(true_label)])
    size = bucket_size(true_label.size, LEAST_EXAMPLES)
    padded = pad_to(probs, size), pad_to(true_label, size, fill=MISSING)
    found = _every_metric(*padded, tuple(every))
    return {name: found[name] for name in every}  # JAX puts keys in alphabetical order


def _grades(class_names: Sequence[str]) -> npt.NDArray[np.float64] | None:
    """The numbers that classes are called by; None where some are not, or there are two."""
    try:
        grades = np.array([float(name) for name in class_names])
    except ValueError:
        return None
    return grades if len(grades) > 2 and np.isfinite(grades).all() else None


class ScoredDecisions(NamedTuple):
    """What decisions come to.

    Attributes:
        losses: mean loss of the decisions of least expected loss, `loss`; of deciding for the most
            probable class, `loss_of_labels`; and the mean that is expected, `expected_loss`.
        risk: of each class the target, how many decisions are accepted, how many of these are
            wrong, its standard error, and whether the target lies within two of these: the standard
            error that an error rate at the target would have.
    """

    losses: dict[str, Estimate]
    risk: list[dict[str, Any]]


def score_decisions(
    scored: Scored, *, loss: AnyTable | None = None, risk: Risk | None = None
) -> ScoredDecisions:
    """Decisions against the truth; arguments as for `decide`, but by what `match_truth` returns.

    Raises:
        InputError: for losses and risks that are not of the classes.
    """
    probs, truth = np.asarray(scored.class_probs, np.float64), np.asarray(scored.true_label)
    names = as_names(scored.class_names)
    decision, losses = probs.argmax(axis=1), {}
    if loss is not None:
        table = read_loss(loss, names)
        label = decision
        decision, expected = least_loss(probs, table)
        of_each = {
            "loss": table[truth, decision],
            "loss_of_labels": table[truth, label],
            "expected_loss": expected,
        }
        losses = {
            name: Estimate(
                jax.device_put(v.mean()), jax.device_put(v.std(ddof=1) / np.sqrt(v.size))
            )
            for name, v in of_each.items()
            if v.size > 1
        }
    rows: list[dict[str, Any]] = []
    if risk is not None:
        targets = risk_by_class(risk, names)
        accepted = within_risk(probs, decision, targets)
        for k, (name, target) in enumerate(zip(names, targets, strict=True)):
            wrong = truth[accepted & (decision == k)] != k
            error = float(wrong.mean()) if wrong.size else None
            at_target = float(np.sqrt(target * (1.0 - target) / max(wrong.size, 1)))
            rows.append(
                {
                    "label": str(name),
                    "target": float(target),
                    "num_accepted": int(wrong.size),
                    "error": error,
                    "se_at_target": at_target,
                    "is_kept": bool(error is None or error <= target + 2.0 * at_target),
                }
            )
    return ScoredDecisions(losses, rows)


def _is_table(given: object) -> bool:
    return given is not None and not isinstance(given, jax.Array | np.ndarray | Scored)


def _checked_arrays(examples: Any, truth: Any, exclude: Any) -> tuple[Array, Array]:
    is_table = _is_table(examples) or _is_table(truth)
    if is_table or isinstance(examples, Scored) or truth is None or exclude is not None:
        raise InputError(
            "the results and the truth are not of one kind.",
            where="truth",
            hint="Give two tables, with a third of what to leave out, or two arrays.",
        )
    if np.shape(examples)[:1] != np.shape(truth):
        raise InputError(
            f"the class probabilities have shape {np.shape(examples)}, the truth "
            f"{np.shape(truth)}.",
            where="truth",
            hint="Give one true class for each example.",
        )
    probs, true_label = (
        x if isinstance(x, jax.Array) else jax.device_put(x) for x in (examples, truth)
    )
    return probs, true_label


@partial(jax.jit, static_argnames="names")
def _every_metric(
    class_probs: metrics.Probs, true_label: metrics.Truth, names: tuple[str, ...]
) -> dict[str, Estimate]:
    every = METRICS | ORDINAL_METRICS
    return {name: every[name](class_probs, true_label) for name in names}


def as_record(estimates: Mapping[str, Estimate]) -> dict[str, float | None]:
    """Metrics as plain numbers: `name` and `name_se`, None where a number is not finite."""
    record: dict[str, float | None] = {}
    for name, estimate in estimates.items():
        for key, value in ((name, float(estimate.value)), (f"{name}_se", float(estimate.se))):
            record[key] = value if np.isfinite(value) else None
    return record
