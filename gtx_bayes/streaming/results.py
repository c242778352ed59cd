"""The last pass: class posteriors written as they come, and what is said of the labelers."""

import abc
import dataclasses
from functools import partial
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
from gtx_bayes.inference import joint, variational
from gtx_bayes.inference.dependence import Dependence
from gtx_bayes.inference.variational import State, Totals
from gtx_bayes.labels import MISSING, Assessment, Labels
from gtx_bayes.posterior import ClassPrior
from gtx_bayes.standard_size import on_device
from gtx_bayes.streaming.crew import Crew
from gtx_bayes.streaming.fit import Pass, StreamedFit
from gtx_bayes.streaming.parts import Part, PartedTable, names_of
from gtx_bayes.streaming.totals import StretchedSums, Whole, as_whole

EXAMPLES = "examples.parquet"
"""Name of the folder of results, one file for every part of the table."""


class Scores(NamedTuple):
    """What a part's answers say, and what that adds up to, labelers not yet put together.

    Attributes:
        class_probs: probability of each class of each example.
        counts: expected counts of the labelers at some values of rho, which the last axis is;
            empty for methods that have none.
        class_total: expected number of answered examples of each class, by value of rho.
    """

    class_probs: Float[Array, "num_examples num_classes"]
    counts: Float[Array, "num_labelers ..."]
    class_total: Float[Array, "num_nodes num_classes"]


class AbstractScorer(abc.ABC):
    """What gives a part's examples their class probabilities. A subclass is final."""

    @abc.abstractmethod
    def scores(self, number: int, part: Part, device: jax.Device) -> Scores:
        """Of a part of the table, whose number this is."""


@dataclasses.dataclass(frozen=True)
class JointScorer(AbstractScorer):
    """A joint fit, dependence and all.

    Attributes:
        fit: the fit.
        done: its last pass.
        totals: what the examples add up to after it.
    """

    fit: StreamedFit
    done: Pass
    totals: Totals

    def scores(self, number: int, part: Part, device: jax.Device) -> Scores:
        """As `joint.report` has them."""
        state = self.fit.state(number, self.done, device)
        given = (state, self.totals, self.fit.class_prior)
        return _joint_scores(
            part.labels,
            part.assessment,
            part.sums,
            *jax.device_put(given, device),
            self.fit.choice.dependence,
            on_device(self.fit.choice.dependence.nodes()[0]),
            learns=self.fit.learns_class_prior,
        )


@dataclasses.dataclass(frozen=True)
class RuleScorer(AbstractScorer):
    """A method that judges every example by itself.

    Attributes:
        aggregator: the method, with the numbers found from gold.
    """

    aggregator: AbstractAggregator

    def scores(self, number: int, part: Part, device: jax.Device) -> Scores:
        """Class probabilities alone."""
        return _rule_scores(jax.device_put(self.aggregator, device), part.labels, part.assessment)


class Sums(NamedTuple):
    """What the examples of some parts add up to, in whole numbers.

    Attributes:
        counts: see `Scores`.
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
    table: PartedTable,
    class_names: Names,
    scorer: AbstractScorer,
    crew: Crew,
    folder: Path,
) -> Sums:
    """Write every example's class posterior, part by part.

    Args:
        key: decides the hard label where classes tie, part by part.
        table: the table.
        class_names: name of every class.
        scorer: what is written.
        crew: who does it.
        folder: where to.
    """
    names = _as_cells(class_names)

    def one(part: int, device: jax.Device) -> Sums:
        rows = table.read(part, device)
        scores = scorer.scores(part, rows, device)
        own_key = jax.device_put(jax.random.fold_in(key, part), device)
        decided = _decide(own_key, rows.labels, scores.class_probs)
        hard_label, confidence, num_labels, num_tied = (
            np.asarray(column)[: rows.num_examples] for column in decided
        )
        is_gold = np.asarray(rows.assessment.true_label)[: rows.num_examples] != MISSING
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
        labeler = np.asarray(rows.labels.labeler)[: rows.num_labels]
        is_other = np.asarray(rows.labels.label)[: rows.num_labels] >= rows.labels.num_classes
        abstained = np.concatenate([rows.abstained, labeler[is_other]])
        return Sums(
            rows.by_labeler(scores.counts),
            as_whole(scores.class_total),
            as_whole(confidence[~is_gold].sum(dtype=np.float64)),
            as_whole(np.bincount(labeler[~is_other], minlength=table.room_for_labelers)),
            as_whole(np.bincount(abstained, minlength=table.room_for_labelers)),
        )

    if crew.team.rank == 0:
        folder.mkdir()
    crew.team.meet()
    found = crew.do(
        "Writing", range(table.num_parts), lambda part: table.sizes[part].num_labels, one
    )
    return Sums(*crew.add_up(found))


@partial(jax.jit, static_argnames="learns")
def _joint_scores(
    labels: Labels,
    assessment: Assessment,
    sums: StretchedSums,
    state: State,
    totals: Totals,
    class_prior: ClassPrior,
    dependence: Dependence,
    nodes: Float[Array, " num_nodes"],
    *,
    learns: bool,
) -> Scores:
    evidence, kind_probs = variational.evidence_of(labels, state, totals)
    if learns:
        of_others, _ = variational.proportions_of(labels, state.class_probs, totals.class_total)
        evidence = evidence + jnp.log(of_others)
    return Scores(
        *joint.describe(
            labels,
            assessment,
            evidence,
            kind_probs,
            class_prior,
            state.prior,
            dependence,
            nodes,
            sums,
        )
    )


@jax.jit
def _rule_scores(aggregator: AbstractAggregator, labels: Labels, assessment: Assessment) -> Scores:
    probs = variational.clamp(aggregator.class_probs(labels), assessment)
    nothing = jnp.zeros(0)
    return Scores(probs, nothing, nothing)


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
