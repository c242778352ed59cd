"""What labelers did on other tasks whose truth was known: counts, accuracies, confusion tables."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pandas as pd
from jax.sharding import Mesh
from jaxtyping import Float

from gtx_bayes.aggregation.base import AbstractMethod
from gtx_bayes.classes import some_names
from gtx_bayes.columns import (
    LABELER_COLUMNS,
    AnyTable,
    Column,
    Table,
    fits,
    positions,
    read_columns,
)
from gtx_bayes.crowd import Crowd
from gtx_bayes.errors import InputError
from gtx_bayes.inference.pool import MOST_AT_ONCE
from gtx_bayes.labels import Earlier
from gtx_bayes.models.labelers import wrong_alike
from gtx_bayes.padding import on_device

MOST_CELLS = 2**24
"""Numbers that the counts of all labelers have at most: one for each labeler, class and answer."""

_RIGHT = ("num_correct", "right", "correct")
_WRONG = ("num_wrong", "wrong", "incorrect")
_TOTAL = ("num_gold", "total", "answered")
_ACCURACY = ("accuracy", "skill")
_STRENGTH = ("strength", "num_labels", "n")
_NUMBER = ("num_labels", "count", "n", "number")
_HINT = (
    "Give worker, num_correct and num_gold; or worker, accuracy and strength, the number of "
    "answers that the accuracy is worth; or worker, true_label, label and num_labels."
)

Counts = Float[np.ndarray, "num_labelers num_classes num_classes"]


def with_earlier(
    crowd: Crowd,
    method: AbstractMethod,
    history: AnyTable | None,
    class_total: npt.NDArray[np.float64] | None,
    blocs: pd.DataFrame | None,
    mesh: Mesh | None,
) -> Crowd:
    """The crowd with what is known from other tasks.

    Args:
        crowd: the answers and the gold.
        method: what is to learn from it.
        history: as for `read_history`; None for none.
        class_total: how many other tasks were of each class; None where that is not known.
        blocs: as for `read_history`.
        mesh: devices that the fit is to be spread over.

    Raises:
        InputError: for a method that has no use for it, several devices, very many answers, and
            what is wrong in the table.
    """
    if not method.takes_earlier():
        raise InputError(
            f"{method.name} learns nothing from the history of labelers.",
            where="history",
            hint="Leave it out, or use gtx, or gtx-bayes with the model auto, one-coin, "
            "class-conditional or confusion.",
        )
    if mesh is not None or crowd.labels.num_labels > MOST_AT_ONCE:
        raise InputError(
            "a fit by chunks takes no history and no counts of classes.",
            where="history",
            hint=f"Use one device, and at most {MOST_AT_ONCE:,} answers.",
        )
    confusion, notes = None, crowd.notes
    if history is not None:
        found, note = read_history(crowd, history, blocs)
        confusion, notes = on_device(found), (*notes, note)
    earlier = Earlier(confusion, None if class_total is None else on_device(class_total))
    assessment = dataclasses.replace(crowd.assessment, earlier=earlier)
    return dataclasses.replace(crowd, assessment=assessment, notes=notes)


def read_history(crowd: Crowd, table: AnyTable, blocs: pd.DataFrame | None) -> tuple[Counts, str]:
    """How often each labeler gave each answer to each class, and a note that says so.

    Accuracies, and counts of right and wrong answers, say the same of every class: right answers
    are spread evenly over the classes, and wrong ones over the other answers.

    Args:
        crowd: whose labelers they are; others in the table are left out.
        table: one row a labeler, columns `worker` and `num_correct` with `num_gold` or
            `num_wrong`, or `accuracy` with `strength`, the number of answers that it is worth; or
            one row a labeler, class and answer: `worker`, `true_label`, `label`, `num_labels`. So
            `labelers.csv` and `confusion.csv` of other tasks are histories.
        blocs: labelers of the crowd who count as one, as in `Aggregation`: a bloc has the mean of
            its members' counts.

    Raises:
        InputError: for anything wrong in the table, no common labeler, and too many counts.
    """
    frame, source = Table.of(table, "history")
    shape = (crowd.labels.num_labelers, crowd.labels.num_classes, crowd.labels.num_classes)
    if np.prod(shape, dtype=float) > MOST_CELLS:
        raise InputError(
            f"the history of {shape[0]:,} labelers has {shape[1]:,} classes.",
            where=source.name,
            hint="Leave it out, or join classes.",
        )
    roles = {"labeler": LABELER_COLUMNS}
    worker = read_columns(frame, roles, {}, source)["labeler"]
    bloc_of = {} if blocs is None else dict(zip(blocs["worker"], blocs["bloc"], strict=True))
    bloc_of = {str(labeler): str(bloc) for labeler, bloc in bloc_of.items()}
    names = [str(name) for name in crowd.labeler_names]
    at = positions(names, np.array([bloc_of.get(key, key) for key in worker.keys], object))
    known = np.flatnonzero(at >= 0)
    if not known.size:
        raise source.error(
            f"it names none of the crowd's labelers: {some_names(worker.keys)}, answers are of "
            f"{some_names(names)}.",
            "Use the same names for the labelers in both tables.",
        )
    members = pd.DataFrame({"at": at[known], "key": worker.keys[known]}).drop_duplicates()
    num_members = np.bincount(members["at"], minlength=shape[0])
    counts, passed_over = np.zeros(shape), ""
    if fits(frame.columns, "true_label", {"true_label": ("true_label",)}):
        true, label, number = _of_cells(crowd, Table(frame, source))
        kept = known[(true[known] >= 0) & (label[known] >= 0)]
        if left := known.size - kept.size:
            passed_over = f" {left} row(s) name an answer that is no class, and are left out."
        np.add.at(counts, (at[kept], true[kept], label[kept]), number[kept])
    else:
        if len(members) < known.size:
            raise source.error("a labeler has two rows.", "Give each labeler one row.")
        right, total = _right_and_total(frame, Table(frame, source))
        accuracy = right / np.maximum(total, np.finfo(float).tiny)
        rows = np.asarray(wrong_alike(jnp.asarray(accuracy)[:, None], shape[1]))
        rows = rows * (total / shape[1])[:, None, None]
        np.add.at(counts, at[known], rows[known])
    counts /= np.maximum(num_members, 1)[:, None, None]
    has_some = int((counts.sum(axis=(1, 2)) > 0).sum())
    note = (
        f"{source.name}: the history of {has_some} of {shape[0]} labelers counts as "
        f"{counts.sum():,.0f} answers whose truth is known.{passed_over}"
    )
    return counts, note


def _of_cells(
    crowd: Crowd, table: Table
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """Class, answer and number of every row; -1 for an answer that is no class."""
    classes = [str(name) for name in crowd.class_names]
    roles = {"true_label": ("true_label",), "label": ("label",), "number": _NUMBER}
    found = read_columns(table.frame, roles, {}, table.source)
    true, label = (positions(classes, found[role].keys) for role in ("true_label", "label"))
    if (true < 0).any():
        row = int(np.argmax(true < 0))
        what = f"'{found['true_label'].keys[row]}' is none of the classes {classes}."
        raise table.source.error(what, "Name the classes as the answers do.", row)
    return true, label, _numbers(found["number"], table)


def _right_and_total(
    frame: pd.DataFrame, table: Table
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """How many answers of each row are right, and how many there are."""

    def numbers(names: tuple[str, ...]) -> npt.NDArray[np.float64] | None:
        if not fits(frame.columns, "number", {"number": names}):
            return None
        return _numbers(read_columns(frame, {"number": names}, {}, table.source)["number"], table)

    right, wrong, total = numbers(_RIGHT), numbers(_WRONG), numbers(_TOTAL)
    if right is None and wrong is None:
        accuracy, total = numbers(_ACCURACY), numbers(_STRENGTH)
        if accuracy is None or total is None:
            raise table.source.error("it has no columns of a history.", _HINT)
        if (accuracy > 1.0).any():
            row = int(np.argmax(accuracy > 1.0))
            what = f"the accuracy {accuracy[row]:g} is no share."
            raise table.source.error(what, "Give shares from 0 to 1, .77 for 77.", row)
        return accuracy * total, total
    if right is None or (wrong is None and total is None):
        raise table.source.error("it has no columns of a history.", _HINT)
    if total is None:
        assert wrong is not None
        total = right + wrong
    if (right > total).any():
        row = int(np.argmax(right > total))
        what = f"{right[row]:g} of {total[row]:g} answers are right."
        raise table.source.error(what, "Mend the row.", row)
    return right, total


def _numbers(column: Column, table: Table) -> npt.NDArray[np.float64]:
    found = pd.to_numeric(pd.Series(column.cells, dtype=object), errors="coerce").to_numpy(float)
    bad = np.flatnonzero(~(np.isfinite(found) & (found >= 0)))
    if bad.size:
        what = f"'{column.keys[bad[0]]}' in '{column.name}' is no number of at least 0."
        raise table.source.error(what, "Mend the row, or leave it out.", int(bad[0]))
    return found
