"""The answers that everybody has to see: those to gold, and some to choose a model by."""

from typing import NamedTuple

import jax
import numpy as np
import numpy.typing as npt

from gtx_bayes.inference.joint import is_judged, judged_share
from gtx_bayes.labels import MISSING, Assessment, Labels
from gtx_bayes.streaming.crew import Crew
from gtx_bayes.streaming.parts import PartedTable, read_rows

_FOLDER = "survey"


class Survey(NamedTuple):
    """Answers of few examples, all labelers counted.

    Attributes:
        labels: the answers.
        assessment: the gold.
    """

    labels: Labels
    assessment: Assessment


class _Excerpt(NamedTuple):
    """Some examples of a part, with their answers.

    Attributes:
        example: number of each answer's example among those of the excerpt.
        labeler: who answered.
        label: what.
        truth: true label of every example, `MISSING` where it is not known.
    """

    example: npt.NDArray[np.int32]
    labeler: npt.NDArray[np.int32]
    label: npt.NDArray[np.integer]
    truth: npt.NDArray[np.integer]


def take_survey(table: PartedTable, crew: Crew) -> None:
    """Take from every part its gold, and examples to judge models by."""
    begins = np.concatenate([[0], np.cumsum([size.num_examples for size in table.sizes])])
    num_to_gold = crew.do(
        "Counting gold",
        range(table.num_parts),
        lambda part: table.sizes[part].num_labels,
        lambda part, _: _num_to_gold(table, part),
    )
    in_all = int(crew.team.total(np.array([sum(num_to_gold)], np.int64))[0])
    share = judged_share(in_all, table.num_labels)

    def take(part: int, device: jax.Device) -> None:
        rows = read_rows(part, table.work)
        is_gold = rows["truth"] != MISSING
        number = begins[part] + np.arange(is_gold.size)
        for name, is_taken in (("gold", is_gold), ("some", is_judged(number, is_gold, share))):
            table.work.write_arrays(_name(name, part), **_excerpt(rows, is_taken)._asdict())

    crew.do(
        "Choosing examples to judge by",
        range(table.num_parts),
        lambda part: table.sizes[part].num_labels,
        take,
    )


def gold_of(table: PartedTable) -> Survey:
    """All answers to gold examples."""
    return _survey(table, "gold")


def some_of(table: PartedTable) -> Survey:
    """Answers to choose a model by."""
    return _survey(table, "some")


def _num_to_gold(table: PartedTable, part: int) -> int:
    rows = read_rows(part, table.work)
    return int(np.count_nonzero((rows["truth"] != MISSING)[rows["example"]]))


def _excerpt(rows: dict[str, npt.NDArray[np.integer]], is_taken: npt.NDArray[np.bool_]) -> _Excerpt:
    number = (np.cumsum(is_taken) - 1).astype(np.int32)
    kept = is_taken[rows["example"]]
    return _Excerpt(
        number[rows["example"][kept]],
        rows["labeler"][kept],
        rows["label"][kept],
        rows["truth"][is_taken],
    )


def _survey(table: PartedTable, name: str) -> Survey:
    """The excerpts of all parts, one after the other."""
    excerpts = [
        _Excerpt(**table.work.read_arrays(_name(name, part))) for part in range(table.num_parts)
    ]
    sizes = [excerpt.truth.size for excerpt in excerpts]
    begins = np.cumsum(sizes) - sizes
    labels = Labels.from_arrays(
        np.concatenate([e.example + begin for e, begin in zip(excerpts, begins, strict=True)]),
        np.concatenate([e.labeler for e in excerpts]),
        np.concatenate([e.label for e in excerpts]),
        num_classes=table.num_classes,
        num_examples=int(sum(sizes)),
        num_labelers=table.num_labelers,
    )
    truth = np.concatenate([e.truth for e in excerpts])
    return Survey(labels, Assessment(jax.device_put(truth), table.num_classes))


def _name(name: str, part: int) -> str:
    return f"{_FOLDER}/{name}-{part:05d}.npz"
