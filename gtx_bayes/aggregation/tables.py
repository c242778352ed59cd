"""Results as tables by name: labelers, confusion matrices, and a page for notebooks."""

import html
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
import numpy.typing as npt
import pandas as pd
from jaxtyping import Array, Float

from gtx_bayes.abstentions import rate_interval
from gtx_bayes.aggregation.base import INTERVAL_PROB, Fit, LabelerAccuracy
from gtx_bayes.columns import Names, as_names
from gtx_bayes.errors import InputError
from gtx_bayes.labels import MISSING, Assessment, Labels, has_repeats
from gtx_bayes.models.labelers import AbstractLabelers
from gtx_bayes.padding import LEAST_LABELERS, bucket_size

MOST_CELLS = 2**20
"""Rows that a table of confusion matrices has at most: one for each labeler, class and answer."""

MOST_CONFUSION_ROWS = 2**17
"""Larger tables of confusion matrices are not written: they would take longer than the rest."""

_TIE = 1e-6  # class probabilities this close to the best share a hard label
_SHOWN_ROWS, _SHOWN_NOTES = 5, 5  # in a notebook


def labeler_table(
    names: Names,
    found: LabelerAccuracy,
    num_labels: npt.NDArray[np.integer],
    num_abstained: npt.NDArray[np.integer] | None = None,
) -> pd.DataFrame:
    """What a fit says of every labeler, one row each; with abstentions where they are counted."""
    table = pd.DataFrame(
        {
            "worker": names,
            "accuracy": found.accuracy,
            "ci_low": found.ci_low,
            "ci_high": found.ci_high,
            "num_gold": np.asarray(found.counts.num_gold),
            "num_correct": np.asarray(found.counts.num_correct),
            "num_labels": num_labels,
            "prob_worse_than_chance": found.prob_worse_than_chance,
        }
    )
    if num_abstained is None:
        return table
    share, low, high = rate_interval(num_abstained, num_labels)
    return table.assign(
        num_abstained=num_abstained,
        abstention_rate=share,
        abstention_low=low,
        abstention_high=high,
    )


def parameter_table(
    drawn: Mapping[str, Float[np.ndarray, "num_draws ..."]],
    of_labelers: Collection[str],
    labeler_names: Names,
) -> pd.DataFrame:
    """One row for every number of some parameters, by its draws; see `Aggregation.parameters`.

    Args:
        drawn: draws by name.
        of_labelers: names of those whose first axis, after that of the draws, is the labelers.
        labeler_names: names of the labelers.
    """
    tables = []
    for name, values in drawn.items():
        places = list(np.ndindex(values.shape[1:]))
        flat = values.reshape(len(values), -1).astype(np.float64)
        low, high = np.quantile(flat, [0.5 - INTERVAL_PROB / 2, 0.5 + INTERVAL_PROB / 2], axis=0)
        is_own = name in of_labelers
        first, rest = ([place[:1] for place in places], [place[1:] for place in places])
        tables.append(
            pd.DataFrame(
                {
                    "parameter": name,
                    "worker": [str(labeler_names[at[0]]) if is_own else "" for at in first],
                    "entry": [
                        ", ".join(map(str, after if is_own else place))
                        for after, place in zip(rest, places, strict=True)
                    ],
                    "mean": flat.mean(axis=0),
                    "sd": flat.std(axis=0, ddof=1),
                    "ci_low": low,
                    "ci_high": high,
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def overlap_counts(
    labels: Labels, class_probs: npt.NDArray[np.floating]
) -> Float[np.ndarray, "4 num_labelers"]:
    """What `overlaps` takes shares of: of some examples, which add up."""
    example, by, label = (np.asarray(x) for x in (labels.example, labels.labeler, labels.label))
    kept = (label != MISSING) & (label < labels.num_classes)
    example, by, label = example[kept].astype(np.int64), by[kept].astype(np.int64), label[kept]
    is_best = class_probs >= class_probs.max(axis=1, keepdims=True) - _TIE
    agrees = (is_best / is_best.sum(axis=1, keepdims=True))[example, label]
    in_all = np.bincount(example, minlength=labels.num_examples)[example]
    cell = example * labels.num_classes + label
    is_alike = np.bincount(cell, minlength=class_probs.size)[cell] == in_all
    is_first = np.ones(label.size, bool)  # of the answers of a labeler to an example
    if has_repeats(example, by, labels.num_labelers):
        pair = example * labels.num_labelers + by
        is_first = np.zeros(label.size, bool)
        is_first[np.unique(pair, return_index=True)[1]] = True
    counted = agrees, is_first, is_first & (in_all > 1), is_first & ~is_alike
    # Of no answers NumPy counts in whole numbers.
    return np.stack([np.bincount(by, of, labels.num_labelers) for of in counted]).astype(np.float64)


def overlaps(
    counts: Float[np.ndarray, "4 num_labelers"],
    num_labels: npt.NDArray[np.integer],
    num_examples: int,
) -> dict[str, npt.NDArray[np.floating]]:
    """How each labeler's answers stand to those of others, by the name of the column.

    `agreement`: the share of the answers that are the most probable class of their example, classes
    that tie sharing it; NaN for a labeler without answers. Shares of all examples: `coverage`,
    those the labeler answered; `overlap`, those another answer was given to as well; `conflict`,
    those of them with another answer that is not the same.

    Args:
        counts: see `overlap_counts`.
        num_labels: answers of each labeler.
        num_examples: N.

    References:
        Coverage, overlap and conflict as snorkel's `LFAnalysis` has them (Ratner et al., 2017).
    """
    agreeing, *others = counts
    agreement = np.where(num_labels > 0, agreeing / np.maximum(num_labels, 1), np.nan)
    shares = (count / max(num_examples, 1) for count in others)
    names = ("coverage", "overlap", "conflict")
    return {"agreement": agreement, **dict(zip(names, shares, strict=True))}


class Confusion(NamedTuple):
    """Confusion matrices of some labelers.

    Attributes:
        source: what `probability` comes from: "model", the labeler model of the fit; "gold", the
            shares of the answers to gold; or "hard labels", those of the answers to everything,
            each example having its most probable class.
        probability: of every answer, given the true class; NaN where nothing is known of a row.
        num_labels: how many answers these are: an example counts for a class by its probability
            with "model", and by its label otherwise.
    """

    source: str
    probability: npt.NDArray[np.floating]
    num_labels: npt.NDArray[np.floating]


def confusion_of(
    fit: Fit,
    labels: Labels,
    assessment: Assessment,
    class_probs: Float[Array, "num_examples num_classes"],
    labeler: int | None = None,
) -> Confusion:
    """Confusion matrices of all labelers, or of one: shape (1, num_classes, num_answers).

    Raises:
        InputError: if the matrices have more than `MOST_CELLS` cells together.
    """
    num_labelers = labels.num_labelers if labeler is None else 1
    if num_labelers * labels.num_classes**2 > MOST_CELLS:
        raise InputError(
            f"the confusion matrices of {num_labelers:,} labelers have "
            f"{num_labelers * labels.num_classes**2:,} cells, more than {MOST_CELLS:,}.",
            hint="Ask for those of one labeler at a time, by `confusion_matrix`, or join classes.",
        )
    model = fit.aggregator.labelers
    source = source_of(fit, assessment.num_gold)
    weight = weight_by(source, np.asarray(class_probs), assessment.which_gold())
    num_answers = labels.num_classes if model is None else model.num_answers
    num_labels = expected_counts(labels, weight, num_answers, labeler)
    return confusion_by(fit, source, num_labels, labeler)


def source_of(fit: Fit, num_gold: int) -> str:
    """What confusion matrices come from, see `Confusion`."""
    if fit.aggregator.labelers is not None:
        return "model"
    return "gold" if num_gold else "hard labels"


def weight_by(
    source: str, class_probs: npt.NDArray[np.floating], is_gold: npt.NDArray[np.bool_]
) -> npt.NDArray[np.floating]:
    """By how much each class of each example counts, by what `Confusion` comes from."""
    if source == "gold":
        return class_probs * is_gold[:, None]
    return _hard(class_probs) if source == "hard labels" else class_probs


def confusion_by(
    fit: Fit, source: str, num_labels: npt.NDArray[np.floating], labeler: int | None = None
) -> Confusion:
    """Confusion matrices by `expected_counts`."""
    model = fit.aggregator.labelers
    if source == "model":
        assert model is not None
        probability = np.zeros(num_labels.shape)
        for each, share in _models(fit, model):
            found = _matrices(each, num_labels.shape[0] if labeler is None else each.num_labelers)
            probability += share * (found if labeler is None else found[[labeler]])
        return Confusion(source, probability, num_labels)
    total = num_labels.sum(axis=2, keepdims=True)
    probability = np.where(total > 0, num_labels / np.where(total > 0, total, 1.0), np.nan)
    return Confusion(source, probability, num_labels)


def no_confusion(num_labelers: int, num_classes: int) -> str:
    """Why there is no table of confusion matrices."""
    return (
        f"confusion.csv is left out: it would have {num_labelers * num_classes**2:,} rows, more "
        f"than {MOST_CONFUSION_ROWS:,}."
    )


def names_of_answers(crowd_names: Names, num_answers: int) -> Names:
    """A name for each of so many answers; the last stands for all that have none."""
    named, others = list(crowd_names[:num_answers]), list(crowd_names[num_answers:])
    if len(named) < num_answers:  # labels that are no class did not occur
        named.append("no class")
    elif others:
        named[-1] = " or ".join(map(str, (named[-1], *others)))
    return as_names(named)


def confusion_table(
    found: Confusion, labeler_names: Names, class_names: Names, answer_names: Names
) -> pd.DataFrame:
    """Confusion matrices in long form: one row for each labeler, true class and answer."""
    shape = found.probability.shape
    labeler, true_class, answer = (axis.ravel() for axis in np.indices(shape))
    return pd.DataFrame(
        {
            "worker": labeler_names[labeler],
            "true_label": class_names[true_class],
            "label": names_of_answers(answer_names, shape[2])[answer],
            "probability": found.probability.ravel(),
            "num_labels": found.num_labels.ravel(),
            "source": found.source,
        }
    )


def _hard(probs: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """One at each example's most probable class; classes that tie share it."""
    is_best = probs >= probs.max(axis=1, keepdims=True) - _TIE
    return is_best / is_best.sum(axis=1, keepdims=True)


def expected_counts(
    labels: Labels,
    weight: npt.NDArray[np.floating],
    num_answers: int,
    labeler: int | None = None,
) -> npt.NDArray[np.floating]:
    """How many answers of each kind labelers gave to each class, examples having weights.

    Args:
        labels: the answers.
        weight: weight of each class of each example, shape (num_examples, num_classes).
        num_answers: how many kinds of answers there are: the classes, and those that are none.
        labeler: whose answers; everybody's when absent.

    Returns:
        Shape (num_labelers, num_classes, num_answers); one labeler in the first axis if one is
        asked for.
    """
    num_classes = labels.num_classes
    by, example, label = (np.asarray(x) for x in (labels.labeler, labels.example, labels.label))
    kept = (label != MISSING) & ((label < num_classes) | (num_answers > num_classes))
    num_labelers = labels.num_labelers
    if labeler is not None:
        kept &= by == labeler
        by, num_labelers = np.zeros_like(by), 1
    cell = by[kept].astype(np.int64) * num_answers + np.minimum(label[kept], num_answers - 1)
    counts = [
        np.bincount(cell, weight[example[kept], true], num_labelers * num_answers)
        for true in range(num_classes)
    ]
    # NumPy counts nothing in whole numbers, weights or not.
    total = np.stack(counts).astype(float)
    return total.reshape(num_classes, num_labelers, num_answers).swapaxes(0, 1)


def _models(fit: Fit, model: AbstractLabelers) -> list[tuple[AbstractLabelers, float]]:
    """The labelers under each model of a fit, and its weight."""
    if fit.joint is None:
        return [(model, 1.0)]
    return [(each.labelers, weight) for each, weight in fit.joint.weighted]


def _matrices(model: AbstractLabelers, num_labelers: int) -> npt.NDArray[np.floating]:
    """The confusion matrices of a model, compiled for few sizes."""
    padded = model.padded(bucket_size(num_labelers, LEAST_LABELERS))
    return np.asarray(_confusion(padded))[:num_labelers]


@jax.jit
def _confusion(model: AbstractLabelers) -> Float[Array, "num_labelers num_classes num_answers"]:
    return model.confusion_matrix


def page(
    title: str, facts: str, tables: Sequence[tuple[str, pd.DataFrame]], notes: Sequence[str]
) -> str:
    """A short page of HTML: the first rows of each table, and the first notes, all escaped."""
    parts = [f"<p><b>{html.escape(title)}</b><br>{html.escape(facts)}</p>"]
    for what, table in tables:
        shown = table.head(_SHOWN_ROWS).to_html(index=False, border=0, float_format="{:.3f}".format)
        of_all = f"{min(len(table), _SHOWN_ROWS)} of {len(table):,} {html.escape(what)}"
        parts.append(f"{shown}<p>{of_all}</p>")
    listed = [f"<li>{html.escape(note)}</li>" for note in notes[:_SHOWN_NOTES]]
    if len(notes) > _SHOWN_NOTES:
        listed.append(f"<li>and {len(notes) - _SHOWN_NOTES} more in <code>notes</code></li>")
    if listed:
        parts.append(f"<ul>{''.join(listed)}</ul>")
    return f"<div>{''.join(parts)}</div>"
