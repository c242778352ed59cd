"""The fit, and the last pass: class posteriors written as they come, and sums over them."""

import re
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Array, Float, Int, Key

from gtx_bayes import decisions
from gtx_bayes.aggregation.base import INTERVAL_PROB, AbstractAggregator
from gtx_bayes.columns import PROB_PREFIX, Names
from gtx_bayes.errors import InputError
from gtx_bayes.inference import joint, loop, variational
from gtx_bayes.inference.joint import Asked, Described
from gtx_bayes.inference.loop import Chunk, Pass
from gtx_bayes.inference.pool import NUM_DRAWS, equal_tailed, generator
from gtx_bayes.inference.variational import clamp
from gtx_bayes.io.writers import whole_file
from gtx_bayes.labels import MISSING, Assessment, Labels
from gtx_bayes.models.base import AbstractCohortPrior
from gtx_bayes.padding import pad_to
from gtx_bayes.posterior import batch_log_prob
from gtx_bayes.streaming import automatic
from gtx_bayes.streaming.chunks import ChunksOnDisk, Fitted
from gtx_bayes.streaming.parts import names_of
from gtx_bayes.sums import FixedPoint, to_fixed_point

EXAMPLES = "examples.parquet"
"""Name of the folder of results, one file for every part of the table."""


def fit(chunks: ChunksOnDisk) -> Fitted:
    """The model that was chosen, fitted to the whole table: by `automatic` or `inference.loop`."""
    if chunks.is_automatic:
        return automatic.fit_parts(chunks)
    done = loop.run(chunks)
    return Fitted(
        done.prior,
        variational.proportions_at_end(
            done.totals.class_total, chunks.class_prior, chunks.start.learns
        ),
        done.number,
        done.change <= variational.TOLERANCE,
    )


class _Posterior(NamedTuple):
    """What class probabilities of a part are drawn from.

    Attributes:
        prior: prior of the labelers, learnt.
        counts: expected counts of the labelers.
        evidence: log-probability of each example's labels under each class.
    """

    prior: AbstractCohortPrior
    counts: Float[Array, "num_labelers ..."]
    evidence: Float[Array, "num_examples num_classes"]


def _judge(chunks: ChunksOnDisk, number: int, chunk: Chunk) -> tuple[Described, _Posterior | None]:
    """Class probabilities of a part, dependence and all, as `joint.report` has them."""
    rule, dependence = chunks.rule, chunks.choice_of_rho
    if rule is not None:
        padded = chunks.once("padded rule", lambda: _padded(rule.aggregator, chunks))
        own = chunk.put(padded)
        probs = _rule_scores(own, chunk.labels, chunk.assessment)
        nothing = np.zeros(0, np.int64)
        described = Described(probs, nothing, nothing)
        if rule.joint is None or not chunks.request.intervals:
            return described, None
        evidence = batch_log_prob(own.labelers, chunk.labels)
        lead = rule.joint.lead
        counts = pad_to(lead.independent.counts, chunks.table.padded_labelers)
        return described, _Posterior(lead.prior, counts, evidence)
    assert dependence is not None
    if chunks.is_automatic:
        evidence, subclass_probs, prior = automatic.describe_part(chunks, chunk)
        described = joint.describe_chunk(chunk, evidence, subclass_probs, prior, dependence)
        return described, _Posterior(prior, jnp.zeros((chunks.table.padded_labelers, 2)), evidence)
    done = chunks.once("last pass", lambda: Pass.last(chunks))
    assert done is not None
    _, subclass_probs, evidence = loop.at_end(chunks, done, number, chunk)
    described = joint.describe_chunk(chunk, evidence, subclass_probs, done.prior, dependence)
    return described, _Posterior(done.prior, done.totals.counts, evidence)


def _interval(
    chunks: ChunksOnDisk, chunk: Chunk, described: Described, posterior: _Posterior
) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]:
    """Limits of the confidence of each example, as `Pool.credible_interval` of one model has them.

    Every part has the same draws of labelers and rho, which are drawn anew for each: they are not
    held together.
    """
    class_probs = np.asarray(described.class_probs)
    best = class_probs.argmax(axis=1).astype(np.int32)
    prior, counts, evidence = chunk.put(posterior)
    own = chunk.labels, chunk.class_prior, evidence, chunk.put(jnp.asarray(best))
    asked = Asked(prior, counts, *own)
    rng = generator(jax.random.key(chunks.request.seed))
    rng.multinomial(NUM_DRAWS, (1.0,))  # the draws of one component
    assert chunks.choice_of_rho is not None
    draws = asked.draws(rng, chunks.choice_of_rho, NUM_DRAWS)
    drawn = asked.drawn_probs(map(chunk.put, draws))
    return equal_tailed(drawn, class_probs.max(axis=1), INTERVAL_PROB)


def _padded(aggregator: AbstractAggregator, chunks: ChunksOnDisk) -> AbstractAggregator:
    """A rule with room for labelers to spare."""
    table = chunks.table
    spare = table.padded_labelers - table.num_labelers
    return jax.tree.map(
        lambda values: (
            jnp.pad(values, (0, spare), mode="edge")
            if np.shape(values) == (table.num_labelers,)
            else values
        ),
        aggregator,
    )


class Sums(NamedTuple):
    """What the examples of some parts add up to, in whole numbers.

    Attributes:
        counts: see `joint.Described`.
        class_total: likewise.
        confidence: total confidence of the examples that are not gold.
        answers: how many answers each labeler gave.
        abstained: how often each labeler abstained.
    """

    counts: FixedPoint
    class_total: FixedPoint
    confidence: FixedPoint
    answers: FixedPoint
    abstained: FixedPoint


def write_examples(chunks: ChunksOnDisk, folder: Path) -> Sums:
    """Write every example's class posterior, part by part, into a folder of nothing else.

    Raises:
        InputError: if the folder holds anything that is no part.
    """
    folder.mkdir(exist_ok=True)
    for file in folder.iterdir():
        if not re.fullmatch(r"part-\d{5,}\.parquet", file.name):
            raise InputError(
                f"the folder holds '{file.name}', which is no part of a result.",
                where=str(folder),
                hint="Name another folder.",
            )
    return Sums(*chunks.each("Writing", write_part, str(folder.resolve()))[0])


def write_part(chunks: ChunksOnDisk, part: int, folder: str) -> tuple[Sums, float]:
    """A task: write the examples of a part; the hard label where classes tie is by the seed."""
    table, class_names = chunks.table, chunks.class_names
    rows = chunks.read(part)
    labels, assessment, *_ = rows.chunk
    scores, posterior = _judge(chunks, part, rows.chunk)
    key = jax.random.fold_in(jax.random.key(chunks.request.seed), part)
    decided = _decide(rows.chunk.put(key), labels, scores.class_probs)
    hard_label, confidence, num_labels, num_tied = (
        np.asarray(column)[: rows.num_examples] for column in decided
    )
    is_gold = np.asarray(assessment.true_label)[: rows.num_examples] != MISSING
    probs = np.asarray(scores.class_probs)[: rows.num_examples]
    columns = {
        "task": names_of(part, table.work),
        "label": _as_cells(class_names).take(pa.array(hard_label)),
        "confidence": confidence,
        "num_labels": num_labels,
        "num_tied": num_tied,
        "is_gold": is_gold,
    }
    if chunks.request.intervals and posterior is not None:
        low, high = (
            np.where(is_gold, 1.0, limit[: rows.num_examples]).astype(confidence.dtype)
            for limit in _interval(chunks, rows.chunk, scores, posterior)
        )
        columns |= {"confidence_low": low, "confidence_high": high}
    columns |= {f"{PROB_PREFIX}{name}": probs[:, k] for k, name in enumerate(class_names)}
    # As a whole: the part may be written twice, by a worker that was given up for lost.
    with whole_file(Path(folder) / f"part-{part:05d}.parquet") as partial:
        pq.write_table(pa.table(columns), partial)
    labeler = np.asarray(labels.labeler)[: rows.num_labels]
    is_other = np.asarray(labels.label)[: rows.num_labels] >= labels.num_classes
    abstained = np.concatenate([rows.abstained, labeler[is_other]])
    sums = Sums(
        scores.counts,
        scores.class_total,
        to_fixed_point(confidence[~is_gold].sum(dtype=np.float64)),
        to_fixed_point(np.bincount(labeler[~is_other], minlength=table.padded_labelers)),
        to_fixed_point(np.bincount(abstained, minlength=table.padded_labelers)),
    )
    return sums, 0.0


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
