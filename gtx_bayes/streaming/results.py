"""The fit, and the last pass: class posteriors written as they come, and sums over them."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Array, Float, Int, Key

from gtx_bayes import decisions
from gtx_bayes.aggregation.base import AbstractAggregator
from gtx_bayes.columns import PROB_PREFIX, Names
from gtx_bayes.inference import joint, loop, variational
from gtx_bayes.inference.joint import Choice, Described
from gtx_bayes.inference.loop import Chunk
from gtx_bayes.inference.variational import Rows, clamp
from gtx_bayes.labels import MISSING, Assessment, Labels
from gtx_bayes.models.base import AbstractCohortPrior
from gtx_bayes.models.conjugate import AbstractConjugatePrior
from gtx_bayes.posterior import ClassPrior
from gtx_bayes.streaming.chunks import ChunksOnDisk
from gtx_bayes.streaming.parts import names_of
from gtx_bayes.sums import Whole, as_whole

EXAMPLES = "examples.parquet"
"""Name of the folder of results, one file for every part of the table."""


Scorer = Callable[[int, Chunk], Described]
"""Class probabilities of a part's examples, given its number and its chunk."""


class Fitted(NamedTuple):
    """A labeler model fitted to a table in parts.

    Attributes:
        prior: prior of the labelers, learnt; or what stands in its place.
        class_prior: prior of the classes, given or learnt.
        num_passes: how many passes over the labels it took.
        converged: whether the last one changed little.
        scorer: class probabilities, dependence and all, as `joint.report` has them.
    """

    prior: AbstractCohortPrior
    class_prior: ClassPrior
    num_passes: int
    converged: bool
    scorer: Scorer


def fit_conjugate(
    chunks: ChunksOnDisk, prior: AbstractConjugatePrior, choice: Choice, rows: Rows | None
) -> Fitted:
    """The fit of `inference.loop`."""
    learns = choice.candidate.class_prior is None
    done = loop.run(chunks, prior, learns=learns, rows=rows)

    def scorer(number: int, chunk: Chunk) -> Described:
        _, kind_probs, evidence = loop.at_end(chunks.store, done, learns, number, chunk)
        return joint.describe_chunk(chunk, evidence, kind_probs, done.prior, choice.dependence)

    class_total = done.totals.class_total
    return Fitted(
        done.prior,
        variational.proportions_at_end(class_total, chunks.class_prior, learns),
        done.number,
        done.change <= variational.TOLERANCE,
        scorer,
    )


def rule_scorer(aggregator: AbstractAggregator) -> Scorer:
    """By a method that judges every example by itself, with the numbers found from gold."""

    def scores(number: int, chunk: Chunk) -> Described:
        probs = _rule_scores(chunk.put(aggregator), chunk.labels, chunk.assessment)
        nothing = np.zeros(0, np.int64)
        return Described(probs, nothing, nothing)

    return scores


class Sums(NamedTuple):
    """What the examples of some parts add up to, in whole numbers.

    Attributes:
        counts: see `joint.Described`.
        class_total: likewise.
        confidence: total confidence of the examples that are not gold.
        answers: how many answers each labeler gave.
        abstained: how often each labeler abstained.
    """

    counts: Whole
    class_total: Whole
    confidence: Whole
    answers: Whole
    abstained: Whole


def write_examples(
    key: Key[Array, ""],
    chunks: ChunksOnDisk,
    class_names: Names,
    scorer: Scorer,
    folder: Path,
) -> Sums:
    """Write every example's class posterior, part by part.

    Args:
        key: decides the hard label where classes tie, part by part.
        chunks: the table.
        class_names: name of every class.
        scorer: what is written.
        folder: where to.
    """
    names, table = _as_cells(class_names), chunks.table

    def one(part: int, device: jax.Device) -> Sums:
        rows = table.read(part, device, chunks.class_prior)
        labels, assessment, *_ = rows.chunk
        scores = scorer(part, rows.chunk)
        own_key = rows.chunk.put(jax.random.fold_in(key, part))
        decided = _decide(own_key, labels, scores.class_probs)
        hard_label, confidence, num_labels, num_tied = (
            np.asarray(column)[: rows.num_examples] for column in decided
        )
        is_gold = np.asarray(assessment.true_label)[: rows.num_examples] != MISSING
        probs = np.asarray(scores.class_probs)[: rows.num_examples]
        columns = {
            "task": names_of(part, table.work),
            "label": names.take(pa.array(hard_label)),
            "confidence": confidence,
            "num_labels": num_labels,
            "num_tied": num_tied,
            "is_gold": is_gold,
            **{f"{PROB_PREFIX}{name}": probs[:, k] for k, name in enumerate(class_names)},
        }
        pq.write_table(pa.table(columns), folder / f"part-{part:05d}.parquet")
        labeler = np.asarray(labels.labeler)[: rows.num_labels]
        is_other = np.asarray(labels.label)[: rows.num_labels] >= labels.num_classes
        abstained = np.concatenate([rows.abstained, labeler[is_other]])
        return Sums(
            scores.counts,
            scores.class_total,
            as_whole(confidence[~is_gold].sum(dtype=np.float64)),
            as_whole(np.bincount(labeler[~is_other], minlength=table.room_for_labelers)),
            as_whole(np.bincount(abstained, minlength=table.room_for_labelers)),
        )

    if chunks.crew.team.rank == 0:
        folder.mkdir()
    chunks.crew.team.meet()
    return Sums(*chunks.add_up(chunks.each("Writing", one)))


@jax.jit
def _rule_scores(
    aggregator: AbstractAggregator, labels: Labels, assessment: Assessment
) -> Float[Array, "num_examples num_classes"]:
    return clamp(aggregator.class_probs(labels), assessment)


@jax.jit
def _decide(
    key: Key[Array, ""], labels: Labels, class_probs: Float[Array, "num_examples num_classes"]
) -> tuple[
    Int[Array, " num_examples"],
    Float[Array, " num_examples"],
    Int[Array, " num_examples"],
    Int[Array, " num_examples"],
]:
    """Hard label, confidence, number of answers and number of tied classes."""
    return (
        decisions.hard_label(key, class_probs),
        decisions.confidence(class_probs),
        jnp.zeros(labels.num_examples, jnp.int32).at[labels.example].add(labels.is_class),
        decisions.num_tied(class_probs),
    )


def _as_cells(names: Names) -> pa.Array:
    """Names as numbers if all are, else as text."""
    cells = list(names)
    if all(type(cell) is int and -(2**63) <= cell < 2**63 for cell in cells):
        return pa.array(cells, pa.int64())
    return pa.array([str(cell) for cell in cells])
