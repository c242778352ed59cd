"""Which images train the classifier, which set its temperature, and which only judge it."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from jaxtyping import Array, Bool, Int, Key

from gtx_bayes.classes import some_names
from gtx_bayes.classifier.imputed import Imputed
from gtx_bayes.columns import (
    Column,
    Names,
    Source,
    Table,
    as_names,
    distinct_examples,
)
from gtx_bayes.crowd_tables import read_truths
from gtx_bayes.errors import InputError
from gtx_bayes.finetune.images import ImageSet, fitting, numbered_labels
from gtx_bayes.finetune.split import Groups, generator
from gtx_bayes.labels import MISSING

LEAST_GOLD = 20
"""Held-out gold of every class without which gold is not held out at all."""

WANTED_GOLD = 50
"""Held-out gold of a class beyond which no more of it is held out."""

MOST_HELD_OUT = 0.2
"""Share of the images with a label that are not trained on, to have an assessment, at most."""

EVALUATION = "test"
"""What a table of images calls the part that only judges."""


class Parts(NamedTuple):
    """What becomes of each image.

    Attributes:
        task: position of the image's task among those imputed, -1 where it has none.
        true_label: its class where it is known and may judge, else `MISSING`.
        trains: whether it is trained on.
        assesses: whether it is gold held out, for the temperature, the curves, and the choice
            between the last layer and all weights.
        evaluates: whether its true label judges the classifier; it may refute the temperature, and
            has no other use.
        notes: what a user should know about it.
    """

    task: Int[np.ndarray, " num_images"]
    true_label: Int[np.ndarray, " num_images"]
    trains: Bool[np.ndarray, " num_images"]
    assesses: Bool[np.ndarray, " num_images"]
    evaluates: Bool[np.ndarray, " num_images"]
    notes: tuple[str, ...] = ()

    def names(self) -> Names:
        """Part of each image: "training", "assessment", "evaluation" or "unused"."""
        conditions = [self.trains, self.assesses, self.evaluates]
        named = np.select(conditions, ["training", "assessment", "evaluation"], "unused")
        return as_names(named.tolist())


def part_images(
    key: Key[Array, ""],
    images: ImageSet,
    imputed: Imputed,
    truth: pd.DataFrame | None = None,
    *,
    truth_source: Source | None = None,
) -> Parts:
    """Match images with tasks by name, and part them; images of one group never part.

    An image that judges is never trained on, and neither are others of its group. Those that
    evaluate are named by `truth`; without it they are those that the images' own table puts in
    the part `EVALUATION`, or, if it has no parts, labels without asking anybody. Of the gold among
    the others groups are held out, those first that hold most of it for their size, until each
    class has `WANTED_GOLD`, as long as no more than `MOST_HELD_OUT` of the images are lost to
    training. If that leaves a class with fewer than `LEAST_GOLD`, all gold is trained on instead,
    as known labels.

    Args:
        key: random key of the gold held out.
        images: with names, and groups if there are.
        imputed: labels for tasks that name images, with or without their endings.
        truth: columns `task` and `label` or aliases: images to evaluate by.
        truth_source: where it comes from, for messages.

    Raises:
        InputError: if no image matches, a name could mean several, a true class is unknown, or
            nothing of two classes is left to train on.
    """
    names = as_names(map(str, images.names))
    at, notes = _match(names, imputed)
    keys = as_names(map(str, images.class_names))
    source = Source("the images' labels", rows=("the images' labels",) * keys.size)
    number, _ = numbered_labels(
        Column("label", keys, keys, source), list(imputed.class_names), notes
    )
    true_label = np.append(number, MISSING)[images.true_label]
    if truth is None:
        may_judge = at < 0 if images.split is None else images.split == EVALUATION
        evaluates = np.asarray(may_judge & (true_label != MISSING), bool)
    else:
        table = Table(truth, truth_source or Source("truth"))
        true_label = _true_labels(table, names, imputed, notes)
        evaluates = true_label != MISSING
    idle = names[(at < 0) & ~evaluates]
    if idle.size:
        notes.append(f"{idle.size} image(s) have no label: {some_names(idle)}.")
    groups = Groups.of(images.group, true_label, imputed.num_classes)
    could_train = (at >= 0) & ~groups.any(evaluates)[groups.number]
    gold = could_train & imputed.is_known[at]
    if imputed.is_known.all():
        gold[:] = False  # a table of known labels, not gold beside a crowd
    known = np.where(gold, imputed.class_probs[at].argmax(axis=1), MISSING)
    held = _held_out(key, known, images.group, could_train, imputed, notes)
    assesses, trains = held & gold, could_train & ~held
    lost = int(((at >= 0) & ~trains & ~evaluates & ~assesses).sum())
    if lost:
        notes.append(f"{lost} image(s) are not trained on: others of their groups are held out.")
    true_label = np.where(assesses, known, np.where(evaluates, true_label, MISSING))
    parts = Parts(at, true_label, trains, assesses, evaluates, tuple(notes))
    _check_training(parts, imputed)
    return parts


def _match(names: Names, imputed: Imputed) -> tuple[npt.NDArray[np.intp], list[str]]:
    """Position of every image's task, and notes on what has no partner."""
    tasks = as_names(map(str, imputed.names))
    of_task = _located(tasks, names)
    found = of_task >= 0
    if not found.any():
        raise InputError(
            f"no task has an image: tasks are called {some_names(tasks)}, images "
            f"{some_names(names)}.",
            hint="Call tasks as images are called: by their paths below the folder, with or "
            "without the ending, or by the file column of `table=`.",
        )
    at = np.full(len(names), -1)
    at[of_task[found]] = np.flatnonzero(found)
    notes = []
    if not found.all():
        absent = tasks[~found]
        notes.append(f"{absent.size} task(s) have no image and are left out: {some_names(absent)}.")
    return at, notes


def _located(keys: Names, names: Names) -> npt.NDArray[np.intp]:
    """Position of the image that each key names, with or without its ending; -1 for none."""
    places = fitting(keys, list(names))
    seen: set[int] = set()
    for key, found in zip(keys, places, strict=True):
        if len(found) > 1:
            raise InputError(
                f"'{key}' could be any of the images {some_names(names[found])}.",
                hint="Name images with their endings.",
            )
        if seen.intersection(found):
            raise InputError(
                f"'{key}' and '{names[found[0]]}' name one image.",
                hint="Name every image in one way.",
            )
        seen.update(found)
    return np.array([found[0] if found else -1 for found in places], np.intp)


def _true_labels(
    truth: Table, names: Names, imputed: Imputed, notes: list[str]
) -> npt.NDArray[np.intp]:
    """Class of every image that a table of true labels names."""
    read = read_truths(truth, None, notes)
    kept = distinct_examples(read["example"], read["label"])
    number, _ = numbered_labels(read["label"], list(imputed.class_names), notes)
    keys = read["example"].keys[kept]
    at = _located(keys, names)
    if (at < 0).all():
        raise InputError(
            f"no image has a true label: it names {some_names(keys)}, images are called "
            f"{some_names(names)}.",
            where=truth.source.name,
            hint="Name images as the table of labels does.",
        )
    if (at < 0).any():
        absent = keys[at < 0]
        notes.append(
            f"{truth.source.name}: {absent.size} name(s) of no image are left out: "
            f"{some_names(absent)}."
        )
    true_label = np.full(len(names), MISSING)
    true_label[at[at >= 0]] = number[kept][at >= 0]
    return true_label


def _held_out(
    key: Key[Array, ""],
    known: npt.NDArray[np.intp],
    group: npt.NDArray[np.integer],
    could_train: npt.NDArray[np.bool_],
    imputed: Imputed,
    notes: list[str],
) -> npt.NDArray[np.bool_]:
    """Images of the groups of the gold held out, `known` being the class of gold alone."""
    groups = Groups.of(group, known, imputed.num_classes)
    counts, size = groups.counts, np.bincount(groups.number, could_train, len(groups.counts))
    most = MOST_HELD_OUT * could_train.sum()
    chosen = np.zeros(len(counts), bool)
    held, lost = np.zeros(imputed.num_classes, np.intp), 0.0
    order = generator(key).permutation(np.flatnonzero(counts.any(axis=1)))
    cheapest = np.argsort(-counts.sum(axis=1)[order] / np.maximum(size[order], 1), kind="stable")
    for number in order[cheapest]:
        is_wanted = (held[counts[number] > 0] < WANTED_GOLD).any()
        if is_wanted and lost + size[number] <= most:
            chosen[number] = True
            held += counts[number]
            lost += size[number]
    if held.min() < LEAST_GOLD:
        if counts.any():
            rarest = imputed.class_names[held.argmin()]
            notes.append(
                f"No gold is held out: of class '{rarest}' there would be {held.min()}, fewer than "
                f"{LEAST_GOLD}. All {counts.sum()} gold images are trained on."
            )
        chosen[:] = False
    return chosen[groups.number]


def _check_training(parts: Parts, imputed: Imputed) -> None:
    if not parts.trains.any():
        raise InputError(
            "every image with a label is held out: nothing is left to train on.",
            hint="Name fewer images in the table of true labels, or label more.",
        )
    probs = imputed.class_probs[parts.task[parts.trains]]
    label = probs.argmax(axis=1)
    if (label == label[0]).all():
        raise InputError(
            f"all {label.size} images to train on are labelled '{imputed.class_names[label[0]]}'.",
            hint="Give labels of images of two classes or more.",
        )
