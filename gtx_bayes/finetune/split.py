"""Which images assess the labelers, which evaluate the network, and which train it."""

from typing import Any, NamedTuple

import jax
import numpy as np
import numpy.typing as npt
from jaxtyping import Array, Bool, Float, Int, Key

from gtx_bayes.classes import some_names
from gtx_bayes.errors import InputError
from gtx_bayes.finetune.images import ImageSet
from gtx_bayes.labels import MISSING


class Split(NamedTuple):
    """Positions of the images of each part, ascending; every image is in one part.

    Attributes:
        training: images to label and to learn from.
        assessment: images whose true labels assess the labelers.
        evaluation: images whose true labels judge the network, and nothing else.
    """

    training: Int[np.ndarray, " num_training"]
    assessment: Int[np.ndarray, " num_assessment"]
    evaluation: Int[np.ndarray, " num_evaluation"]


def split_images(
    key: Key[Array, ""],
    images: ImageSet,
    *,
    assessment: float = 0.1,
    evaluation: float = 0.1,
) -> Split:
    r"""Images parted at random: groups stay whole, and classes keep their shares if groups allow.

    Groups come in random order, and one joins a part if that takes the part nearer to its share
    of every class, :math:`\sum_k |c_k - t_k| / n_k` being the distance, with :math:`c_k` images of
    class :math:`k` in the part, :math:`n_k` in all and :math:`t_k` wanted: the share of
    :math:`n_k`, but at least one. A group of each class is left for every part to come. A part that
    is then without a class gets its best group all the same. If every group is of one class, no
    class is further from :math:`t_k` than half its largest group, but for these two rules. Groups
    in which a label is not known train.

    Args:
        key: random key.
        images: labelled, at least in part.
        assessment: share of the labelled images of each class that assess; none if zero.
        evaluation: share that evaluate; none if zero.

    Raises:
        InputError: if a class does not get into every part that is wanted.
        ValueError: if the shares are negative or leave nothing to train on.
    """
    _check_shares(assessment, evaluation)
    groups = Groups.of(images.group, images.true_label, images.num_classes)
    rng = generator(key)
    # Of what is rare evaluation has first, and one group of it stays for each part to come.
    evaluates = _drawn(rng, groups, groups.is_labelled, evaluation, 1 + (assessment > 0))
    assesses = _drawn(rng, groups, groups.is_labelled & ~evaluates, assessment, 1)
    return _checked(images, groups, assesses, evaluates, (assessment > 0, evaluation > 0))


def given_split(
    key: Key[Array, ""],
    images: ImageSet,
    *,
    evaluation: str = "test",
    assessment: float = 0.1,
) -> Split:
    """The evaluation images are those that the table says; of the others some assess.

    Args:
        key: random key of the images that assess.
        images: with a `split`.
        evaluation: what the table calls the part that evaluates; all other parts train.
        assessment: share, of the labelled images of each class outside that part, that assess, as
            `split_images` has it; none if zero.

    Raises:
        InputError: if there is no such part, it has images without labels, a group is in it and
            out of it, or a class does not get into every part.
        ValueError: if the share is negative or leaves nothing to train on.
    """
    _check_shares(assessment, 0.0)
    if images.split is None:
        raise InputError(
            "the images are not split.",
            hint="Give a table with a column `split`, or part them at random (`split_images`).",
        )
    evaluates = np.asarray(images.split == evaluation, bool)
    if not evaluates.any():
        raise InputError(
            f"no image is in a part called '{evaluation}'.",
            hint=f"Name one of {some_names(np.unique(images.split.astype(str)))}.",
        )
    unlabelled = images.names[evaluates & (images.true_label == MISSING)]
    if unlabelled.size:
        raise InputError(
            f"{unlabelled.size} images of '{evaluation}' have no label: {some_names(unlabelled)}.",
            hint="Label them, or put them in another part.",
        )
    groups = Groups.of(images.group, images.true_label, images.num_classes)
    inside = groups.any(evaluates)
    parted = inside[groups.number] & ~evaluates
    if parted.any():
        raise InputError(
            f"images of one group are in '{evaluation}' and out of it: "
            f"{some_names(images.names[parted])}, for example, are out.",
            hint="Keep groups whole; images of one group are too alike to judge by.",
        )
    remaining = groups._replace(counts=np.where(inside[:, None], 0, groups.counts))
    assesses = _drawn(generator(key), remaining, groups.is_labelled & ~inside, assessment, 1)
    return _checked(images, groups, assesses, inside, (assessment > 0, True))


class Groups(NamedTuple):
    """Groups of images by what they hold.

    Attributes:
        number: group of each image, counted from 0.
        counts: labelled images of each class.
        is_labelled: whether all images of the group are labelled.
    """

    number: npt.NDArray[np.intp]
    counts: Int[np.ndarray, "num_groups num_classes"]
    is_labelled: Bool[np.ndarray, " num_groups"]

    @classmethod
    def of(
        cls,
        group: Int[np.ndarray, " num_images"],
        label: Int[np.ndarray, " num_images"],
        num_classes: int,
    ) -> "Groups":
        """The groups of images with these class indices, of which some may be `MISSING`."""
        number = np.unique(group, return_inverse=True)[1]
        known = label != MISSING
        counts = np.zeros((int(number.max(initial=-1)) + 1, num_classes), np.intp)
        np.add.at(counts, (number[known], label[known]), 1)
        return cls(number, counts, np.bincount(number, ~known, len(counts)) == 0)

    def any(self, chosen: Bool[np.ndarray, " num_images"]) -> Bool[np.ndarray, " num_groups"]:
        """Groups with at least one of the images chosen."""
        return np.bincount(self.number, chosen, len(self.counts)) > 0


def generator(key: Key[Array, ""]) -> np.random.Generator:
    """NumPy's generator for a key; JAX would compile anew for every number of groups."""
    return np.random.default_rng(np.asarray(jax.random.key_data(key)))


def _drawn(
    rng: np.random.Generator,
    groups: Groups,
    free: Bool[np.ndarray, " num_groups"],
    share: float,
    reserve: int,
) -> Bool[np.ndarray, " num_groups"]:
    """Free groups that make up a share of every class, as nearly as they can.

    So many groups of each class as `reserve` says are left.
    """
    chosen = np.zeros(len(groups.counts), bool)
    order = rng.permutation(len(groups.counts))
    if not share:
        return chosen
    number = groups.counts.sum(axis=0)
    present = number > 0
    counts, number = groups.counts[:, present], number[present]
    wanted = np.maximum(share * number, 1.0)
    held = np.zeros(number.size)

    def distance(counts: Float[np.ndarray, "*some num_classes"]) -> Any:
        return (np.abs(counts - wanted) / number).sum(axis=-1)

    order = order[free[order]]
    num_free = (counts[order] > 0).sum(axis=0)
    for group in order:
        has = counts[group] > 0
        is_nearer = distance(held + counts[group]) < distance(held)
        if is_nearer and (num_free[has] > reserve).all():
            chosen[group] = True
            held += counts[group]
            num_free -= has
    for rare in np.argsort(number, kind="stable"):  # large groups may have been too large to join
        having = order[~chosen[order] & (counts[order, rare] > 0)]
        if held[rare] == 0 and having.size:
            best = having[distance(held + counts[having]).argmin()]
            chosen[best] = True
            held += counts[best]
    return chosen


def _checked(
    images: ImageSet,
    groups: Groups,
    assesses: Bool[np.ndarray, " num_groups"],
    evaluates: Bool[np.ndarray, " num_groups"],
    wanted: tuple[bool, bool],
) -> Split:
    """The split, if every wanted part has an image of each class."""
    parts = (~assesses & ~evaluates, assesses, evaluates)
    split = Split(*(np.flatnonzero(part[groups.number]) for part in parts))
    num_images = groups.counts.sum(axis=0)
    if not num_images.any():
        raise InputError(
            "no image has a label: there is nothing to assess or to evaluate by.",
            hint="Give a table with a label column.",
        )
    for name, part, is_wanted in zip(Split._fields, parts, (True, *wanted), strict=True):
        absent = np.flatnonzero((groups.counts[part].sum(axis=0) == 0) & (num_images > 0))
        if is_wanted and absent.size:
            at = int(absent[0])
            having = int((groups.counts[:, at] > 0).sum())
            raise InputError(
                f"no image of class '{images.class_names[at]}' is left for {name}: there are "
                f"{num_images[at]} images of it, in {having} group(s).",
                hint="Give more images of it, or smaller groups; a group is never parted.",
            )
    return split


def _check_shares(assessment: float, evaluation: float) -> None:
    if not (assessment >= 0 and evaluation >= 0 and assessment + evaluation < 1):
        raise ValueError(
            f"shares {assessment} and {evaluation} are negative or leave nothing to train on"
        )
