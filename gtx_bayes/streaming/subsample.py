"""The answers that everybody has to see: those to gold, and some to choose a model by."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from gtx_bayes.inference.weighing import SubsampleShare, in_subsample, subsample_share
from gtx_bayes.labels import MISSING, Assessment, Labels
from gtx_bayes.streaming.parts import PartedTable, is_of_answers
from gtx_bayes.sums import FixedPoint

if TYPE_CHECKING:
    from gtx_bayes.streaming.chunks import ChunksOnDisk

_FOLDER = "survey"

Pairs = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""Indices of examples and of labelers."""


class Subsample(NamedTuple):
    """Answers of few examples, all labelers counted.

    Attributes:
        labels: the answers.
        assessment: the gold.
        weight: how many examples each stands for.
    """

    labels: Labels
    assessment: Assessment
    weight: npt.NDArray[np.floating]


def take_subsamples(chunks: "ChunksOnDisk") -> None:
    """Take from every part its gold, and examples to compare models by."""
    (num_to_gold,), _ = chunks.each("Counting gold", count_to_gold)
    share = subsample_share(num_to_gold.item(), chunks.table.num_labels)
    chunks.each("Choosing examples to compare models by", subsample_part, share)


def count_to_gold(chunks: "ChunksOnDisk", part: int) -> tuple[tuple[FixedPoint, ...], float]:
    """A task: how many answers of a part are to gold."""
    rows = chunks.table.rows(part)
    is_gold = (rows["truth"] != MISSING)[rows["example"]]
    return (np.count_nonzero(is_gold, keepdims=True),), 0.0


def subsample_part(
    chunks: "ChunksOnDisk", part: int, share: SubsampleShare
) -> tuple[tuple[FixedPoint, ...], float]:
    """A task: keep the gold of a part, and some of its examples."""
    table = chunks.table
    rows = table.rows(part)
    is_gold = rows["truth"] != MISSING
    number = sum(size.num_examples for size in table.sizes[:part]) + np.arange(is_gold.size)
    in_sample = in_subsample(number, is_gold, share)
    weight = 1.0 / np.where(is_gold, share.of_gold, share.of_others)
    for name, is_taken in (("gold", is_gold), ("some", in_sample)):
        kept = {"taken": np.flatnonzero(is_taken), "weight": weight[is_taken]}
        table.work.write_arrays(_name(name, part), **_subsample(rows, is_taken), **kept)
    return (), 0.0


def gold_of(table: PartedTable) -> Subsample:
    """All answers to gold examples."""
    return _survey(table, "gold")


def some_of(table: PartedTable) -> Subsample:
    """Answers to choose a model by."""
    return _survey(table, "some")


def all_of(table: PartedTable) -> tuple[Labels, Assessment, Pairs]:
    """All answers, part after part; and who abstained on what."""
    parts = [table.rows(part) for part in range(table.num_parts)]
    labels, assessment, begins, together = _joined(table, parts)
    at = np.repeat(begins, [part["abstained_example"].size for part in parts])
    pairs = together["abstained_example"] + at, together["abstained"].astype(np.int64)
    return labels, assessment, pairs


def taken_of(table: PartedTable, part: int) -> npt.NDArray[np.intp]:
    """Which examples of a part are among those of `some_of`."""
    return table.work.read_arrays(_name("some", part))["taken"]


def _subsample(
    rows: dict[str, npt.NDArray[Any]], is_taken: npt.NDArray[np.bool_]
) -> dict[str, npt.NDArray[Any]]:
    """Some examples of a part, numbered anew, with their answers and covariates."""
    number = (np.cumsum(is_taken) - 1).astype(np.int32)
    kept = is_taken[rows["example"]]
    found = {name: rows[name][kept] for name in rows if is_of_answers(name)}
    return {**found, "example": number[found["example"]], "truth": rows["truth"][is_taken]}


def _survey(table: PartedTable, name: str) -> Subsample:
    parts = [table.work.read_arrays(_name(name, part)) for part in range(table.num_parts)]
    labels, assessment, _, together = _joined(table, parts)
    return Subsample(labels, assessment, together["weight"].astype(jnp.result_type(float)))


def _joined(
    table: PartedTable, parts: Sequence[dict[str, npt.NDArray[Any]]]
) -> tuple[Labels, Assessment, npt.NDArray[np.intp], dict[str, npt.NDArray[Any]]]:
    """Arrays of parts, one part after the other; and where the examples of each begin."""
    sizes = [part["truth"].size for part in parts]
    begins = np.cumsum(sizes) - sizes
    together = {of: np.concatenate([e[of] for e in parts]) for of in parts[0]}
    labels = Labels.from_arrays(
        together["example"] + np.repeat(begins, [e["example"].size for e in parts]),
        together["labeler"],
        together["label"],
        num_classes=table.num_classes,
        num_examples=int(sum(sizes)),
        num_labelers=table.num_labelers,
        num_answers=table.num_answers,
        covariates=table.by_name(together),
        labeler_covariates=table.labeler_covariates,
    )
    gold = Assessment(jax.device_put(together["truth"]), table.num_classes)
    return labels, gold, begins, together


def _name(name: str, part: int) -> str:
    return f"{_FOLDER}/{name}-{part:05d}.npz"
