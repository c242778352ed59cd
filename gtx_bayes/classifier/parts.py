"""Which images train the classifier, which set its temperature, and which only judge it."""

from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import numpy.typing as npt
import pandas as pd
from jaxtyping import Array, Bool, Int, Key

from gtx_bayes.classes import numbered_classes, some_names
from gtx_bayes.classifier.imputed import Imputed
from gtx_bayes.columns import (
    Column,
    Names,
    Source,
    Table,
    as_names,
    distinct_examples,
    positions,
)
from gtx_bayes.crowd_tables import read_truths
from gtx_bayes.errors import InputError
from gtx_bayes.finetune.images import ImageSet
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
        assesses: whether it is gold held out, for the temperature and the curves.
        evaluates: whether its true label judges the classifier, and nothing else.
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
    image_names = as_names(str(name) for name in images.names)
    at, notes = _match(image_names, imputed)
    own = _own_labels(images, imputed)
    if truth is None:
        true_label, evaluates = own, _evaluates(images, own, at)
    else:
        read = read_truths(Table(truth, truth_source or Source("truth")), None, notes)
        true_label = _true_labels(read, image_names, imputed, notes)
        evaluates = true_label != MISSING
    group = np.unique(images.group, return_inverse=True)[1]
    barred = _in_groups(group, evaluates)
    gold = (at >= 0) & imputed.is_known[at] & ~barred
    if imputed.is_known.all():
        gold[:] = False  # a table of known labels, not gold beside a crowd
    known = np.where(gold, imputed.class_probs[at].argmax(axis=1), MISSING)
    held, assesses = _held_out(key, known, group, (at >= 0) & ~barred, imputed, notes)
    trains = (at >= 0) & ~barred & ~held
    lost = int(((at >= 0) & ~trains & ~evaluates & ~assesses).sum())
    if lost:
        notes.append(f"{lost} image(s) are not trained on: others of their groups are held out.")
    true_label = np.where(assesses, known, np.where(evaluates, true_label, MISSING))
    parts = Parts(at, true_label, trains, assesses, evaluates, tuple(notes))
    _check_training(parts, imputed)
    return parts


def _match(names: Names, imputed: Imputed) -> tuple[npt.NDArray[np.intp], list[str]]:
    """Position of every image's task, and notes on what has no partner."""
    tasks = as_names(str(name) for name in imputed.names)
    of_task = _located(tasks, names)
    found = of_task >= 0
    if not found.any():
        raise InputError(
            f"no task has an image: tasks are called {some_names(tasks)}, images "
            f"{some_names(names)}.",
            mend="Call tasks as images are called: by their paths below the folder, with or "
            "without the ending, or by the file column of `table=`.",
        )
    at = np.full(len(names), -1)
    at[of_task[found]] = np.flatnonzero(found)
    notes = []
    if not found.all():
        absent = tasks[~found]
        notes.append(f"{absent.size} task(s) have no image and are left out: {some_names(absent)}.")
    unasked = names[at < 0]
    if unasked.size:
        notes.append(f"{unasked.size} image(s) have no label: {some_names(unasked)}.")
    return at, notes


def _located(keys: Names, names: Names) -> npt.NDArray[np.intp]:
    """Position of the image that each key names, with or without its ending; -1 for none."""
    by_stem: dict[str, list[int]] = {}
    for at, name in enumerate(names):
        by_stem.setdefault(name.removesuffix(Path(name).suffix), []).append(at)
    exact = positions(names, keys)
    found = exact.copy()
    for row in np.flatnonzero(exact < 0):
        fitting = by_stem.get(keys[row], [])
        if len(fitting) > 1:
            raise InputError(
                f"'{keys[row]}' could be any of the images {some_names(names[fitting])}.",
                mend="Name images with their endings.",
            )
        if fitting:
            found[row] = fitting[0]
    order = np.flatnonzero(found >= 0)
    again = order[pd.Series(found[order]).duplicated().to_numpy()]
    if again.size:
        raise InputError(
            f"'{keys[again[0]]}' and '{names[found[again[0]]]}' name one image.",
            mend="Name every image in one way.",
        )
    return found


def _own_labels(images: ImageSet, imputed: Imputed) -> npt.NDArray[np.intp]:
    """What the images' own table says, by the classes imputed."""
    keys = as_names(str(name) for name in images.class_names)
    column = Column("label", keys, keys, Source("the images' labels"))
    number = _known_classes(column, imputed)
    return np.append(number, MISSING)[images.true_label]


def _known_classes(column: Column, imputed: Imputed) -> npt.NDArray[np.intp]:
    """Index of each label among the classes imputed."""
    classes = [str(name) for name in imputed.class_names]
    number, extra = numbered_classes(column, classes)
    if extra:
        raise InputError(
            f"label '{extra[0]}' is none of the classes {classes} to be learnt.",
            where=column.source.name,
            mend="Name all classes (`classes=`), or mend the label.",
        )
    return number


def _evaluates(
    images: ImageSet, own: npt.NDArray[np.intp], at: npt.NDArray[np.intp]
) -> npt.NDArray[np.bool_]:
    """Images whose own labels judge."""
    part = at < 0 if images.split is None else images.split == EVALUATION
    return np.asarray(part & (own != MISSING), bool)


def _true_labels(
    read: dict[str, Column], names: Names, imputed: Imputed, notes: list[str]
) -> npt.NDArray[np.intp]:
    """Class of every image that a table of true labels names."""
    kept = distinct_examples(read["example"], read["label"])
    number = _known_classes(read["label"], imputed)
    keys = read["example"].keys[kept]
    at = _located(keys, names)
    if (at < 0).all():
        raise InputError(
            f"no image has a true label: it names {some_names(keys)}, images are called "
            f"{some_names(names)}.",
            where=read["example"].source.name,
            mend="Name images as the table of labels does.",
        )
    if (at < 0).any():
        absent = keys[at < 0]
        notes.append(
            f"{read['example'].source.name}: {absent.size} name(s) of no image are left out: "
            f"{some_names(absent)}."
        )
    true_label = np.full(len(names), MISSING)
    true_label[at[at >= 0]] = number[kept][at >= 0]
    return true_label


def _in_groups(group: npt.NDArray[np.intp], chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """All images of the groups of those chosen."""
    return (np.bincount(group, chosen) > 0)[group]


def _held_out(
    key: Key[Array, ""],
    known: npt.NDArray[np.intp],
    group: npt.NDArray[np.intp],
    could_train: npt.NDArray[np.bool_],
    imputed: Imputed,
    notes: list[str],
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Images that gold held out bars from training, and the gold itself.

    Args:
        key: random key of the order of groups that are alike.
        known: class of the gold, `MISSING` of other images.
        group: number of each image's group.
        could_train: images with a label that evaluation leaves.
        imputed: names of the classes.
        notes: receives what a user should know.
    """
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    is_gold = known != MISSING
    counts = np.zeros((group.max(initial=-1) + 1, imputed.num_classes), np.intp)
    np.add.at(counts, (group[is_gold], known[is_gold]), 1)
    size = np.bincount(group, could_train, len(counts))
    most = MOST_HELD_OUT * could_train.sum()
    chosen = np.zeros(len(counts), bool)
    held, lost = np.zeros(imputed.num_classes, np.intp), 0.0
    order = rng.permutation(np.flatnonzero(counts.any(axis=1)))
    cheapest = np.argsort(-counts.sum(axis=1)[order] / np.maximum(size[order], 1), kind="stable")
    for number in order[cheapest]:
        is_wanted = (held[counts[number] > 0] < WANTED_GOLD).any()
        if is_wanted and lost + size[number] <= most:
            chosen[number] = True
            held += counts[number]
            lost += size[number]
    if held.min() < LEAST_GOLD:
        if is_gold.any():
            rarest = imputed.class_names[held.argmin()]
            notes.append(
                f"No gold is held out: of class '{rarest}' there would be {held.min()}, fewer than "
                f"{LEAST_GOLD}. All {is_gold.sum()} gold images are trained on."
            )
        chosen[:] = False
    barred = chosen[group]
    return barred, barred & is_gold


def _check_training(parts: Parts, imputed: Imputed) -> None:
    if not parts.trains.any():
        raise InputError(
            "every image with a label is held out: nothing is left to train on.",
            mend="Name fewer images in the table of true labels, or label more.",
        )
    probs = imputed.class_probs[parts.task[parts.trains]]
    label = probs.argmax(axis=1)
    if (label == label[0]).all():
        raise InputError(
            f"all {label.size} images to train on are labelled '{imputed.class_names[label[0]]}'.",
            mend="Give labels of images of two classes or more.",
        )
