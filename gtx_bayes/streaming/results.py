"""The fit, and the last pass: class posteriors written as they come, and sums over them."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Array, Float

from gtx_bayes import decisions
from gtx_bayes.aggregation.aggregate import clamped_class_probs
from gtx_bayes.aggregation.base import INTERVAL_PROB, AbstractAggregator
from gtx_bayes.aggregation.tables import (
    MOST_CONFUSION_ROWS,
    expected_counts,
    overlap_counts,
    source_of,
    weight_by,
)
from gtx_bayes.columns import PROB_PREFIX, Names
from gtx_bayes.errors import InputError
from gtx_bayes.inference import joint, looks, loop, variational, weighing
from gtx_bayes.inference.alike import Alike
from gtx_bayes.inference.dependence import Dependence
from gtx_bayes.inference.joint import Described, DrawRequest
from gtx_bayes.inference.loop import Chunk
from gtx_bayes.inference.pool import NUM_DRAWS, equal_tailed, generator, mixture
from gtx_bayes.inference.weighing import Scores, Weighing
from gtx_bayes.io.writers import whole_file
from gtx_bayes.labels import Labels
from gtx_bayes.models.base import AbstractCohortPrior
from gtx_bayes.padding import LEAST_EXAMPLES, LEAST_LABELS, bucket_size, pad_to, padded
from gtx_bayes.posterior import batch_log_prob
from gtx_bayes.streaming import automatic, subsample
from gtx_bayes.streaming.chunks import ChunksOnDisk, Fitted, ModelOnDisk
from gtx_bayes.streaming.parts import names_of
from gtx_bayes.sums import FixedPoint, from_fixed_point, to_fixed_point

EXAMPLES = "examples.parquet"
"""Name of the folder of results, one file for every part of the table."""

_SHARES = "shares.npz"


def fit(model: ModelOnDisk) -> Fitted:
    """A model fitted to the whole table: by `automatic` or `inference.loop`."""
    if model.is_automatic:
        return automatic.fit_parts(model)
    done = loop.run(model)
    return Fitted(
        done.prior,
        done.totals.counts,
        variational.proportions_at_end(
            done.totals.class_total, model.chunks.class_prior, model.start.learns
        ),
        done.number,
        done.change <= variational.TOLERANCE,
    )


def learn_looks(model: ModelOnDisk) -> None:
    """Shares of the looks on top of a fit, by the subsample; kept."""
    if model.looks.has(_SHARES):
        return
    model.total("Looks", _keep_known)
    some, done = subsample.some_of(model.chunks.table), model.last_pass
    parts = range(model.chunks.table.num_parts)
    class_probs = np.concatenate(
        [model.looks.read_arrays(_some(part))["class_probs"] for part in parts]
    )
    num_examples = bucket_size(some.labels.num_examples, LEAST_EXAMPLES)
    labels, assessment, _ = padded(
        some.labels,
        some.assessment,
        None,
        num_labels=bucket_size(some.labels.num_labels, LEAST_LABELS),
        num_examples=num_examples,
        num_labelers=model.chunks.table.padded_labelers,
    )
    found = looks.learn_from_some(
        labels,
        assessment,
        pad_to(class_probs, num_examples, 1.0 / labels.num_classes),
        done.prior,
        done.totals,
        model.chunks.class_prior,
        learns=model.start.learns,
        weight=pad_to(some.weight, num_examples),
    )
    model.looks.write_arrays(_SHARES, log_shares=np.asarray(found))


def log_shares(model: ModelOnDisk) -> Float[Array, " num_groups"]:
    """What `learn_looks` found."""
    return jnp.asarray(model.looks.read_arrays(_SHARES)["log_shares"], float)


def _keep_known(
    model: ModelOnDisk, part: int, chunk: Chunk
) -> tuple[tuple[FixedPoint, ...], float]:
    """A task: what the fit says of the examples of a part that are in the subsample."""
    class_probs, _ = model.last_pass.known(model.store, part, chunk)
    taken = subsample.taken_of(model.chunks.table, part)
    model.looks.write_arrays(_some(part), class_probs=np.asarray(class_probs)[taken])
    return (), 0.0


class Found(NamedTuple):
    """What a fit finds of the examples of a part, and by what.

    Attributes:
        evidence: log-probability of each example's labels under each class.
        subclass_probs: probabilities of the latent subclasses.
        prior: prior of the labelers, learnt.
        counts: expected counts of the labelers.
    """

    evidence: Float[Array, "num_examples num_classes"]
    subclass_probs: Float[Array, "num_examples num_classes num_subclasses"]
    prior: AbstractCohortPrior
    counts: Float[Array, "num_labelers ..."]


def _find(model: ModelOnDisk, part: int, chunk: Chunk) -> Found:
    if model.is_automatic:
        evidence, subclass_probs, prior = automatic.describe_part(model, chunk)
        counts = jnp.zeros((chunk.labels.num_labelers, 2))
        return Found(evidence, subclass_probs, prior, counts)
    done = model.last_pass
    class_probs, subclass_probs, evidence = loop.at_end(model, done, part, chunk)
    if model.candidate.has_looks:
        evidence = looks.evidence(
            chunk.labels,
            class_probs,
            *chunk.put((done.prior, done.totals, log_shares(model))),
            learns=model.start.learns,
        )
    return Found(evidence, subclass_probs, done.prior, done.totals.counts)


def score(chunks: ChunksOnDisk, numbers: Sequence[int], by: Weighing) -> list[Scores]:
    """Leave-one-out scores of some candidates by all labels: sums over parts."""
    sums, _ = chunks.each("Weighing models", score_part, tuple(numbers))
    (num_answered, *answers) = (from_fixed_point(of) for of in sums)
    gold, parts = subsample.gold_of(chunks.table), range(chunks.table.num_parts)
    kept = [chunks.store.read_arrays(_scores(part)) for part in parts]
    found = []
    for number, of_answers in zip(numbers, answers, strict=True):
        evidence = np.concatenate([each[f"evidence_{number}"] for each in kept])
        prior = np.asarray(chunks.class_prior)
        of_gold = weighing.score(*gold[:2], chunks.candidates[number], evidence, prior, by)
        found.append(
            of_gold._replace(answers=float(of_answers), num_answered=max(int(num_answered), 1))
        )
    return found


def score_part(
    chunks: ChunksOnDisk, part: int, numbers: tuple[int, ...]
) -> tuple[tuple[FixedPoint, ...], float]:
    """A task: scores of the answers of a part under each model; the evidence of gold is kept."""
    chunk = chunks.read(part).chunk
    is_gold = chunk.assessment.which_gold()
    prior, kept = np.asarray(chunk.class_prior), {}
    num_answered, answers = 0, []
    for number in numbers:
        model = chunks.model(number)
        evidence = np.asarray(_find(model, part, chunk).evidence)
        own, num_answered = weighing.score_answers(chunk.labels, model.candidate, evidence, prior)
        answers.append(to_fixed_point(np.array(own)))
        kept[f"evidence_{number}"] = evidence[is_gold]
    chunks.store.write_arrays(_scores(part), **kept)
    return (to_fixed_point(np.array(num_answered)), *answers), 0.0


class ModelPosterior(NamedTuple):
    """What one model says of a part.

    Attributes:
        described: class probabilities, and what the examples add up to.
        found: what is behind them; None where there is no posterior.
        weight: weight of the model.
        dependence: posterior of rho; None where there is none.
    """

    described: Described
    found: Found | None
    weight: float
    dependence: Dependence | None


def model_posteriors(chunks: ChunksOnDisk, part: int, chunk: Chunk) -> list[ModelPosterior]:
    """Class probabilities of a part by every model, dependence and all, heaviest first."""
    rule = chunks.rule
    if rule is None:
        posteriors = []
        for model, weight, rho in chunks.components:
            found = _find(model, part, chunk)
            described = joint.describe_chunk(
                chunk, found.evidence, found.subclass_probs, found.prior, rho
            )
            posteriors.append(ModelPosterior(described, found, weight, rho))
        return posteriors
    own = chunk.put(chunks.once("padded rule", lambda: _padded(rule.aggregator, chunks)))
    probs = clamped_class_probs(own, chunk.labels, chunk.assessment)
    described = Described(probs, *(np.zeros(0, np.int64),) * 2)
    if rule.joint is None or not chunks.request.intervals:
        return [ModelPosterior(described, None, 1.0, None)]
    lead = rule.joint.lead
    evidence = batch_log_prob(own.labelers, chunk.labels)
    counts = pad_to(lead.independent.counts, chunks.table.padded_labelers)
    return [
        ModelPosterior(described, Found(evidence, probs, lead.prior, counts), 1.0, lead.dependence)
    ]


class Known(NamedTuple):
    """What a model of the mixture knows of all examples.

    Attributes:
        class_probs: class posteriors, dependence and all.
        independent: class posteriors of the fit.
        subclass_probs: probabilities of the latent subclasses, by the fit.
        evidence: that of the fit.
        with_looks: evidence with looks summed out, where the model has any.
    """

    class_probs: Float[Array, "num_examples num_classes"]
    independent: Float[Array, "num_examples num_classes"]
    subclass_probs: Float[Array, "num_examples num_classes num_subclasses"]
    evidence: Float[Array, "num_examples num_classes"]
    with_looks: Float[Array, "num_examples num_classes"]

    @classmethod
    def nothing(cls, num_classes: int, num_subclasses: int) -> "Known":
        """Of no example."""
        none = jnp.zeros((0, num_classes))
        return cls(none, none, jnp.zeros((0, num_classes, num_subclasses)), none, none)


def _interval(
    chunks: ChunksOnDisk,
    chunk: Chunk,
    class_probs: npt.NDArray[np.floating],
    posteriors: Sequence[ModelPosterior],
    alike: Alike | None,
) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]:
    """Limits of the confidence of each example, as `Pool.credible_interval` has them.

    Every part has the same draws of labelers and rho, which are drawn anew for each: they are not
    held together.
    """
    best = chunk.put(jnp.asarray(class_probs.argmax(axis=1).astype(np.int32)))
    rng = generator(jax.random.key(chunks.request.seed))
    num_alike = 0 if alike is None else int(rng.binomial(NUM_DRAWS, alike.weight))
    shares = rng.multinomial(NUM_DRAWS - num_alike, [each.weight for each in posteriors])
    drawn = []
    for each, share in zip(posteriors, shares.tolist(), strict=True):
        assert each.found is not None
        assert each.dependence is not None
        if share:
            evidence, _, prior, counts = chunk.put(each.found)
            request = DrawRequest(prior, counts, chunk.labels, chunk.class_prior, evidence, best)
            draws = request.draws(rng, each.dependence, share)
            drawn.append(request.drawn_probs(map(chunk.put, draws)))
    if alike is not None and num_alike:
        labelers, rho, _ = alike
        drawn.append(labelers.draw_probs(rng, chunk.labels, rho, np.asarray(best), num_alike))
    return equal_tailed(np.concatenate(drawn), class_probs.max(axis=1), INTERVAL_PROB)


def _padded(aggregator: AbstractAggregator, chunks: ChunksOnDisk) -> AbstractAggregator:
    """A rule with labelers padded."""
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
        confidence: total confidence of the examples that are not gold.
        answers: how many answers each labeler gave.
        abstained: how often each labeler abstained.
        overlaps: see `tables.overlap_counts`.
        confusion: how many answers of each kind labelers gave to each class, see
            `tables.expected_counts`; empty where there are too many cells.
        by_model: of every model of the mixture what `joint.Described` has of sums, in turn.
    """

    confidence: FixedPoint
    answers: FixedPoint
    abstained: FixedPoint
    overlaps: FixedPoint
    confusion: FixedPoint
    by_model: tuple[FixedPoint, ...]


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
    found, _ = chunks.each("Writing", write_part, str(folder.resolve()))
    confidence, answers, abstained, overlaps, confusion, *by_model = found
    return Sums(confidence, answers, abstained, overlaps, confusion, tuple(by_model))


def write_part(
    chunks: ChunksOnDisk, part: int, folder: str
) -> tuple[tuple[FixedPoint, ...], float]:
    """A task: write the examples of a part; the hard label where classes tie is by the seed."""
    table, class_names = chunks.table, chunks.class_names
    rows = chunks.read(part)
    labels, assessment, *_ = rows.chunk
    posteriors = model_posteriors(chunks, part, rows.chunk)
    alike = chunks.alike if chunks.rule is None else None
    weights = np.array([each.weight for each in posteriors])
    parts = [each.described.class_probs for each in posteriors]
    mixed = rows.chunk.put(mixture(weights, parts, alike, (labels, assessment)))
    probs = np.asarray(mixed)[: rows.num_examples]
    rng = np.random.default_rng([chunks.request.seed, part])
    hard_label, confidence, num_tied = decisions.decide(rng, probs)
    example, labeler, label = (
        np.asarray(of)[: rows.num_labels] for of in (labels.example, labels.labeler, labels.label)
    )
    is_other = label >= labels.num_classes
    is_gold = assessment.which_gold()[: rows.num_examples]
    columns = {
        "task": names_of(part, table.work),
        "label": _as_cells(class_names).take(pa.array(hard_label)),
        "confidence": confidence,
        "num_labels": np.bincount(example[~is_other], minlength=rows.num_examples),
        "num_tied": num_tied,
        "is_gold": is_gold,
    }
    if chunks.request.intervals and posteriors[0].found is not None:
        low, high = (
            np.where(is_gold, 1.0, limit[: rows.num_examples]).astype(confidence.dtype)
            for limit in _interval(chunks, rows.chunk, np.asarray(mixed), posteriors, alike)
        )
        columns |= {"confidence_low": low, "confidence_high": high}
    columns |= {f"{PROB_PREFIX}{name}": probs[:, k] for k, name in enumerate(class_names)}
    # As a whole: the part may be written twice, by a worker that was given up for lost.
    with whole_file(Path(folder) / f"part-{part:05d}.parquet") as partial:
        pq.write_table(pa.table(columns), partial)
    abstained = np.concatenate([rows.abstained, labeler[is_other]])
    sums = (
        to_fixed_point(confidence[~is_gold].sum(dtype=np.float64)),
        to_fixed_point(np.bincount(labeler[~is_other], minlength=table.padded_labelers)),
        to_fixed_point(np.bincount(abstained, minlength=table.padded_labelers)),
        to_fixed_point(overlap_counts(labels, np.asarray(mixed))),
        _confusion(chunks, labels, np.asarray(mixed), assessment.which_gold()),
        *(of for each in posteriors for of in each.described[1:]),
    )
    return sums, 0.0


def open_confidence(folder: Path) -> npt.NDArray[np.floating]:
    """Confidence of the examples that are not gold, as `write_examples` wrote them."""
    table = pq.read_table(folder, columns=["confidence", "is_gold"])
    return np.asarray(table["confidence"].to_numpy()[~table["is_gold"].to_numpy()])


def confusion_source(chunks: ChunksOnDisk) -> str:
    """What confusion matrices come from, see `tables.Confusion`."""
    rule = chunks.rule
    return "model" if rule is None else source_of(rule, chunks.table.num_gold)


def _confusion(
    chunks: ChunksOnDisk,
    labels: Labels,
    class_probs: npt.NDArray[np.floating],
    is_gold: npt.NDArray[np.bool_],
) -> FixedPoint:
    if chunks.table.num_labelers * labels.num_classes**2 > MOST_CONFUSION_ROWS:
        return np.zeros(0, np.int64)
    weight = weight_by(confusion_source(chunks), class_probs, is_gold)
    return to_fixed_point(expected_counts(labels, weight, labels.num_answers))


def _as_cells(names: Names) -> pa.Array:
    """Names as numbers if all are, else as text."""
    cells = list(names)
    if all(type(cell) is int and -(2**63) <= cell < 2**63 for cell in cells):
        return pa.array(cells, pa.int64())
    return pa.array([str(cell) for cell in cells])


def _some(part: int) -> str:
    """Where class posteriors of a part's examples in the subsample are."""
    return f"some-{part:05d}.npz"


def _scores(part: int) -> str:
    """Where the evidence of a part's gold is."""
    return f"survey/scores-{part:05d}.npz"
