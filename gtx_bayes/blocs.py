r"""Labelers in blocs: those who copy one judge count as one labeler.

Copies agree far beyond what their accuracies explain, and as independent labelers they outvote the
rest. A bloc stands as one labeler, whose label is its verdict: the label that most of its members
give, none where they tie. Blocs are given by a column of the table, or found where gold shows them.

Given the class, two labelers who err by themselves agree as often as their confusions on gold have
it. By how much more they do, relative to the most it could be, is a correlation,

.. math:: r_{jk} = \frac{A_{jk} - \sum_i \sum_l \theta_{j y_i l} \theta_{k y_i l} / n}
    {1 - \sum_i \sum_l \theta_{j y_i l} \theta_{k y_i l} / n},

with the share :math:`A_{jk}` of the n gold examples on which both agree. Hard examples correlate
everybody, so what is typical of the crowd's pairs is taken off. Clusters of labelers with a mean
correlation of at least 0.45 are blocs if it is rarer than one in a hundred where every labeler's
labels are dealt anew among the gold examples of each class that it labelled.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from gtx_bayes.columns import Names, as_names
from gtx_bayes.crowd import Crowd
from gtx_bayes.errors import InputError
from gtx_bayes.labels import MISSING, Labels

LEAST_CORRELATION = 0.45
FEWEST_COMMON = 20
"""Gold examples that two labelers must have in common to be compared."""

MOST_LABELERS = 100
"""Labelers with so much gold beyond whom none are compared: a panel has fewer."""

MOST_GOLD = 400
"""Gold examples that labelers are compared on; of more some, scattered."""

_NUM_DEALS = 299
_RARE_DEALS = 3  # how many of those, or by chance, one in a hundred is
_TYPICAL = 0.25  # quantile of the pairs' correlations: blocs make up many of a panel's pairs
_MOST_NAMED = 10


class Blocs(NamedTuple):
    """Which labelers count as one.

    Attributes:
        of_labeler: index of each labeler's bloc; of a labeler alone too.
        names: name of every bloc; of a labeler alone its own.
        note: what there is to say of them.
    """

    of_labeler: npt.NDArray[np.int64]
    names: Names
    note: str


class Joined(NamedTuple):
    """A crowd whose blocs count as one labeler each.

    Attributes:
        crowd: the crowd.
        members: one row for every labeler in a bloc of several: `bloc`, `worker`, how many
            labels it gave, the share that are what most of the other members said, where they did,
            and how many gold examples it labelled, and rightly.
    """

    crowd: Crowd
    members: pd.DataFrame


def given_blocs(crowd: Crowd) -> Blocs | None:
    """The blocs that the crowd's table gives; None where it gives none."""
    return None if crowd.groups is None else group_blocs(crowd.groups, crowd.labeler_names)


def group_blocs(groups: Names, labeler_names: Names) -> Blocs | None:
    """The groups of labelers as blocs, the empty text for none; None where nobody shares one."""
    has_group = groups != ""
    alone = [f"\0{name}" for name in labeler_names]
    key = np.where(has_group, groups, alone)
    of_labeler, names = pd.factorize(key.astype(str))
    size = np.bincount(of_labeler)
    if size.max(initial=0) < 2:
        return None
    first = [labeler_names[np.argmax(of_labeler == at)] for at in range(names.size)]
    of_all = [name if many > 1 else one for name, many, one in zip(names, size, first, strict=True)]
    taken = {str(one) for one, many in zip(first, size, strict=True) if many == 1}
    for name in (name for name, many in zip(names, size, strict=True) if many > 1):
        if name in taken:
            raise InputError(
                f"'{name}' is the name of a group and of a labeler outside it.",
                hint="Call one of them otherwise.",
            )
    number = int((size > 1).sum())
    note = (
        f"{int(size[size > 1].sum())} labelers of {number} group{'s' if number > 1 else ''} count "
        "as one labeler each, by the label that most of a group give."
    )
    return Blocs(of_labeler, as_names(of_all), note)


def find_blocs(crowd: Crowd) -> Blocs | None:
    """The blocs that gold shows; None where it shows none."""
    gold = labels_on_gold(crowd)
    candidates = np.flatnonzero((gold.label != MISSING).sum(axis=1) >= FEWEST_COMMON)
    if not 2 <= candidates.size <= MOST_LABELERS:
        return None
    gold = gold._replace(label=gold.label[candidates])
    correlation = _correlation(gold, crowd.labels.num_classes)
    clusters = _clusters(correlation)
    if not clusters:
        return None
    weights = [_weight(correlation, each) for each in clusters]
    rng = np.random.default_rng(0)  # the same each time: part of the method
    by_chance: list[float] = []
    for _ in range(_NUM_DEALS):
        permuted = _correlation(permuted_within_classes(rng, gold), crowd.labels.num_classes)
        by_chance.append(
            max((_weight(permuted, each) for each in _clusters(permuted)), default=0.0)
        )
        if sum(weight >= max(weights) for weight in by_chance) >= _RARE_DEALS:
            return None
    least = sorted(by_chance)[-_RARE_DEALS]
    blocs = [each for each, weight in zip(clusters, weights, strict=True) if weight > least]
    if not blocs:
        return None
    of_labeler = np.arange(crowd.labels.num_labelers)
    names, descriptions = list(crowd.labeler_names), []
    for members in blocs:
        among = _among(correlation, members)
        members = candidates[members]
        of_labeler[members] = members[0]
        listed = ", ".join(str(names[j]) for j in members[:_MOST_NAMED])
        more = f" and {members.size - _MOST_NAMED} more" if members.size > _MOST_NAMED else ""
        descriptions.append(f"{listed}{more} (correlation {among.mean():.2f} given the class)")
        names[members[0]] = f"{names[members[0]]} and {members.size - 1} more"
    first, of_labeler = np.unique(of_labeler, return_inverse=True)
    listed = "; ".join(descriptions)
    note = f"Labelers who copy each other, as gold shows, count as one labeler each: {listed}."
    return Blocs(of_labeler, as_names([names[j] for j in first]), note)


def join(crowd: Crowd, blocs: Blocs) -> Joined:
    """The crowd with blocs in the place of their labelers, without covariates."""
    labels = crowd.labels
    example, labeler, label = (
        np.asarray(part)[np.asarray(labels.label) != MISSING].astype(np.int64)
        for part in (labels.example, labels.labeler, labels.label)
    )
    truth = np.asarray(crowd.assessment.true_label).astype(np.int64)[example]
    found = verdicts(example, labeler, label, truth, blocs, num_answers=labels.num_answers)
    joined = Labels.from_arrays(
        found.example,
        found.bloc,
        found.label,
        num_classes=labels.num_classes,
        num_examples=labels.num_examples,
        num_labelers=len(blocs.names),
        num_answers=labels.num_answers,
    )
    abstentions = crowd.abstentions
    if abstentions is not None:
        abstentions = abstentions.beside(
            joined, abstentions.example, blocs.of_labeler[abstentions.labeler]
        )
    in_blocs = Crowd(
        joined,
        crowd.assessment,
        crowd.example_names,
        blocs.names,
        crowd.class_names,
        notes=(*crowd.notes, note_of(blocs, found.num_tied)),
        abstentions=abstentions,
        other_names=crowd.other_names,
        library=crowd.library,
        ordered=crowd.ordered,
    )
    return Joined(in_blocs, member_table(blocs, crowd.labeler_names, found.counts))


class Verdicts(NamedTuple):
    """What blocs say of examples.

    Attributes:
        example: index of the example of each verdict, in ascending order.
        bloc: whose it is.
        label: what most of the members say.
        num_tied: how many there are not, because members tie.
        counts: of every labeler the labels, those where the other members of its bloc say
            something, those of them that it gave too, those to gold, and those that are right.
    """

    example: npt.NDArray[np.int64]
    bloc: npt.NDArray[np.int64]
    label: npt.NDArray[np.int64]
    num_tied: int
    counts: npt.NDArray[np.int64]


def verdicts(
    example: npt.NDArray[np.int64],
    labeler: npt.NDArray[np.int64],
    label: npt.NDArray[np.int64],
    truth: npt.NDArray[np.int64],
    blocs: Blocs,
    *,
    num_answers: int,
) -> Verdicts:
    """Labels of blocs in the place of those of their members.

    Args:
        example: index of the example of each label.
        labeler: who gave it.
        label: the label.
        truth: the true class of its example, `MISSING` where it is not known.
        blocs: the blocs.
        num_answers: how many labels there can be.
    """
    num_blocs = len(blocs.names)
    bloc = blocs.of_labeler[labeler]
    pair, place = np.unique(example * num_blocs + bloc, return_inverse=True)
    votes = np.zeros((pair.size, num_answers), np.int64)
    np.add.at(votes, (place, label), 1)
    best = votes.max(axis=1, initial=0)
    is_one = (votes == best[:, None]).sum(axis=1) == 1
    # What the others say, label by label.
    rest = votes[place]
    rest[np.arange(label.size), label] -= 1
    most = rest.max(axis=1, initial=0)
    decided = (most > 0) & ((rest == most[:, None]).sum(axis=1) == 1)
    is_gold = truth != MISSING
    counts = [
        np.bincount(labeler[rows], minlength=blocs.of_labeler.size)
        for rows in (
            np.ones(label.size, bool),
            decided,
            decided & (rest.argmax(axis=1) == label),
            is_gold,
            is_gold & (truth == label),
        )
    ]
    pair, verdict = pair[is_one], votes.argmax(axis=1)[is_one]
    num_tied = int(np.count_nonzero(~is_one))
    return Verdicts(pair // num_blocs, pair % num_blocs, verdict, num_tied, np.stack(counts))


def note_of(blocs: Blocs, num_tied: int) -> str:
    """What there is to say of blocs whose members tied so often."""
    if not num_tied:
        return blocs.note
    tied = f"On {num_tied:,} example(s) the members of a bloc tie, and it says nothing."
    return f"{blocs.note} {tied}"


def with_members(crowd: Crowd, members: pd.DataFrame) -> tuple[Crowd, Blocs]:
    """A crowd of blocs, without examples, with their members instead; and how to join them again.

    Args:
        crowd: the crowd.
        members: as in `Joined`.
    """
    at = {str(name): place for place, name in enumerate(crowd.labeler_names)}
    is_bloc = np.isin(crowd.labeler_names.astype(str), members["bloc"].astype(str))
    alone = np.flatnonzero(~is_bloc)
    names = np.concatenate([crowd.labeler_names[alone], members["worker"].to_numpy(object)])
    of_labeler = np.concatenate([alone, [at[str(bloc)] for bloc in members["bloc"]]])
    labels = dataclasses.replace(crowd.labels, num_labelers=len(names))
    found = dataclasses.replace(crowd, labels=labels, labeler_names=as_names(list(names)))
    return found, Blocs(of_labeler.astype(np.int64), crowd.labeler_names, "")


def member_table(
    blocs: Blocs, labeler_names: Names, counts: npt.NDArray[np.integer]
) -> pd.DataFrame:
    """The table of `Joined.members`; counts as in `Verdicts`."""
    num_labels, num_compared, num_agreed, num_gold, num_correct = counts
    with np.errstate(invalid="ignore"):
        agreement = num_agreed / num_compared
    table = pd.DataFrame(
        {
            "bloc": blocs.names[blocs.of_labeler],
            "worker": labeler_names,
            "num_labels": num_labels,
            "agreement": agreement,
            "num_gold": num_gold,
            "num_correct": num_correct,
        }
    )
    is_several = np.bincount(blocs.of_labeler)[blocs.of_labeler] > 1
    return table[is_several].sort_values("bloc", kind="stable").reset_index(drop=True)


class OnGold(NamedTuple):
    """Labels to gold as a table.

    Attributes:
        label: of every labeler, shape (num_labelers, num_gold); `MISSING` where there is none or
            none that is a class.
        truth: the class of every gold example.
    """

    label: npt.NDArray[np.int64]
    truth: npt.NDArray[np.int64]


def labels_on_gold(crowd: Crowd) -> OnGold:
    """The labels to at most `MOST_GOLD` gold examples."""
    truth = np.asarray(crowd.assessment.true_label).astype(np.int64)
    gold = np.flatnonzero(truth != MISSING)
    gold = gold[:: -(-gold.size // MOST_GOLD)] if gold.size else gold
    place = np.full(truth.size, -1)
    place[gold] = np.arange(gold.size)
    labels = crowd.labels
    label = np.asarray(labels.label).astype(np.int64)
    row = place[np.asarray(labels.example)]
    rows = np.flatnonzero((row >= 0) & (label >= 0) & (label < labels.num_classes))
    table = np.full((labels.num_labelers, gold.size), MISSING)
    table[np.asarray(labels.labeler)[rows], row[rows]] = label[rows]
    return OnGold(table, truth[gold])


def permuted_within_classes(rng: np.random.Generator, gold: OnGold) -> OnGold:
    """Every labeler's labels dealt anew among the examples of each class that it labelled."""
    label = gold.label.copy()
    for truth in np.unique(gold.truth):
        of_class = np.flatnonzero(gold.truth == truth)
        for row in label:
            given = of_class[row[of_class] != MISSING]
            row[given] = rng.permutation(row[given])
    return gold._replace(label=label)


def _correlation(gold: OnGold, num_classes: int) -> npt.NDArray[np.float64]:
    """That of every pair given the class, above what is typical; zero where it is not known."""
    is_given = (gold.label[:, :, None] == np.arange(num_classes)).astype(float)
    is_class = (gold.truth[:, None] == np.arange(num_classes)).astype(float)
    counts = np.einsum("jil,iy->jyl", is_given, is_class, optimize=True)
    pooled = counts.sum(axis=0) + 1.0 / num_classes
    rows = counts + pooled / pooled.sum(axis=1, keepdims=True)
    rows /= rows.sum(axis=2, keepdims=True)
    is_there = (gold.label != MISSING).astype(float)
    probs = rows[:, gold.truth] * is_there[:, :, None]  # of what each would say
    flat = (is_there.shape[0], -1)
    common = is_there @ is_there.T
    agree, expected = (of.reshape(flat) @ of.reshape(flat).T for of in (is_given, probs))
    is_known = (common >= FEWEST_COMMON) & ~np.eye(is_there.shape[0], dtype=bool)
    number = np.where(is_known, common, 1.0)
    by_chance = np.clip(expected / number, 0.0, 1.0 - 1e-9)
    found = (agree / number - by_chance) / (1.0 - by_chance)
    if not is_known.any():
        return np.zeros_like(found)
    typical = max(0.0, float(np.quantile(found[is_known], _TYPICAL)))
    return np.where(is_known, found - typical, 0.0)


def _clusters(correlation: npt.NDArray[np.float64]) -> list[npt.NDArray[np.intp]]:
    """Labelers whose mean correlation is at least `LEAST_CORRELATION`, by average linkage."""
    if correlation.max(initial=0.0) < LEAST_CORRELATION:
        return []
    from scipy.cluster.hierarchy import fcluster, linkage  # which few crowds need
    from scipy.spatial.distance import squareform

    distance = np.clip(1.0 - correlation, 0.0, 2.0)
    np.fill_diagonal(distance, 0.0)
    tree = linkage(squareform(distance, checks=False), "average")
    at = fcluster(tree, 1.0 - LEAST_CORRELATION, "distance")
    clusters = [np.flatnonzero(at == number) for number in np.unique(at)]
    return [members for members in clusters if members.size > 1]


def _among(
    correlation: npt.NDArray[np.float64], members: npt.NDArray[np.intp]
) -> npt.NDArray[np.float64]:
    """That of every pair of a cluster."""
    return correlation[np.ix_(members, members)][np.triu_indices(members.size, 1)]


def _weight(correlation: npt.NDArray[np.float64], members: npt.NDArray[np.intp]) -> float:
    """Mean correlation in a cluster, times the root of its number of pairs."""
    among = _among(correlation, members)
    return float(among.mean() * np.sqrt(among.size))
