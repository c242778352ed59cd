r"""The joint fit over chunks of examples: in memory, on several devices, or in files.

Given the labelers' expected counts and the classes' totals, examples know nothing of each other:
the steps of `variational` divide there. A pass updates the class posteriors of every chunk, given
what all examples add up to, and adds up the totals for the next, as whole numbers. So neither who
computes a chunk nor in which order makes a difference. What is done to a chunk is a function of a
module with plain arguments, which an executor can hand to another process: there `jax.jit` compiles
it once.

The class posteriors of a pass are kept until the second next, and its totals are kept last: a pass
has been done or has not, and a fit whose passes are kept in files goes on where it was stopped.
"""

import abc
import concurrent.futures
import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, ScalarLike, Shaped

from gtx_bayes.devices import as_here
from gtx_bayes.inference import variational
from gtx_bayes.inference.variational import Rows, State, Totals, VariationalFit
from gtx_bayes.labels import MISSING, Assessment, Labels
from gtx_bayes.models.conjugate import AbstractConjugatePrior
from gtx_bayes.padding import bucket_size, pad_to, padded
from gtx_bayes.posterior import ClassPrior
from gtx_bayes.sums import FixedPoint, Segments, from_fixed_point, further_segments, to_fixed_point

LEAST_CHUNKS = 8
"""Of a table in memory: the same for 1, 2, 4 and 8 devices, so that these find the same."""

_LEAST_SIZE = 16  # of the arrays of a chunk in memory
_RECORD = "pass.npz"
_FOLDER = "class_probs"


class Chunk(NamedTuple):
    """All answers to some examples, on one device.

    Attributes:
        labels: the answers, padded.
        assessment: the gold.
        class_prior: prior of each class, or of each class of each example; uniform where the
            proportions of the classes are learnt.
        segments: what labelers are counted by.
    """

    labels: Labels
    assessment: Assessment
    class_prior: ClassPrior
    segments: Segments

    def put[T](self, shared: T) -> T:
        """What all chunks share, on this one's device."""
        return jax.device_put(shared, next(iter(self.labels.label.devices())))

    def by_labeler(self, counted: Float[Array, "num_segments ..."]) -> FixedPoint:
        """Counts of segments put together."""
        return self.segments.by_labeler(counted, self.labels.num_labelers)


@runtime_checkable
class Store(Protocol):
    """Arrays by name."""

    def write_arrays(self, name: str, **arrays: Any) -> None:
        """Keep arrays."""

    def read_arrays(self, name: str) -> dict[str, Any]:
        """What was kept."""

    def remove(self, name: str) -> None:
        """Let go of arrays, if there are any."""


class MemoryStore(dict[str, dict[str, Any]]):
    """A store in memory."""

    def read_arrays(self, name: str) -> dict[str, Any]:
        """What was kept."""
        return self[name]

    def write_arrays(self, name: str, **arrays: Any) -> None:
        """Keep arrays."""
        self[name] = arrays

    def remove(self, name: str) -> None:
        """Let go of arrays, if there are any."""
        self.pop(name, None)


class Start(NamedTuple):
    """Where a fit starts, and what it learns.

    Attributes:
        prior: prior of the labelers; its parameters are where their learning starts.
        rows: see `variational.start`.
        learns: whether the proportions of the classes are learnt.
    """

    prior: AbstractConjugatePrior
    rows: Rows | None
    learns: bool


Task = Callable[..., tuple[tuple[FixedPoint, ...], float]]
"""Does something to a chunk: `task(chunks, number, chunk, *arguments)`.

Returns what the chunk adds to the totals, and by how much its class probabilities changed. It is a
function of a module, and the arguments are plain, so that a task can be sent to a process which has
the chunks too; it may run there twice.
"""


class AbstractChunks(abc.ABC):
    """A table in chunks, and whoever computes them. A subclass is final.

    Attributes:
        store: where the passes of a fit are kept.
        recent: the pass that was read last, by its number.
    """

    store: Store
    recent: dict[int, "Pass"]

    @property
    @abc.abstractmethod
    def start(self) -> Start:
        """Where the fit starts."""

    @abc.abstractmethod
    def total(
        self, stage: str, task: Task, *arguments: Any
    ) -> tuple[tuple[FixedPoint, ...], float]:
        """Sums of what a task finds of every chunk, entry by entry, and the largest change.

        Args:
            stage: what is being done, for whoever watches.
            task: takes these chunks, the number of a chunk, and the chunk.
            arguments: further ones, plain.
        """

    @abc.abstractmethod
    def has(self, name: str) -> bool:
        """Whether the store has these arrays."""


@dataclasses.dataclass(frozen=True)
class ChunksInMemory(AbstractChunks):
    """Chunks of a table in memory; example i is in chunk i mod their number.

    Round robin, because neighbours in a table are often alike in how many answers they have.

    Attributes:
        chunks: the chunks, of one size, on their devices by turns.
        num_examples: N.
        store: where the passes of a fit are kept.
        fits_from: where the fit starts, while there is one.
        recent: see `AbstractChunks`.
    """

    chunks: Sequence[Chunk]
    num_examples: int
    store: MemoryStore = dataclasses.field(default_factory=MemoryStore)
    fits_from: Start | None = None
    recent: dict[int, "Pass"] = dataclasses.field(default_factory=dict)

    @classmethod
    def cut(
        cls,
        labels: Labels,
        assessment: Assessment | None,
        class_prior: ClassPrior | None,
        devices: Sequence[jax.Device],
    ) -> "ChunksInMemory":
        """Cut up a table, as many chunks for every device.

        Args:
            labels: the answers.
            assessment: the gold, where anybody asks for it.
            class_prior: prior of each class, or of each class of each example; uniform if absent.
            devices: where to put the chunks.
        """
        num_examples, num_classes = labels.num_examples, labels.num_classes
        assessment = assessment or Assessment.none(num_examples, num_classes)
        class_prior = variational.uniform(num_classes) if class_prior is None else class_prior
        number = -(-LEAST_CHUNKS // len(devices)) * len(devices)
        answers = labels.entries(np.flatnonzero(np.asarray(labels.label) != MISSING))
        rows = [np.arange(at, num_examples, number) for at in range(number)]
        tables = [answers.of_examples(at) for at in rows]
        further = [further_segments(np.asarray(table.labeler)) for table in tables]
        num_labels, num_rows, num_further = (
            bucket_size(max(sizes), _LEAST_SIZE)
            for sizes in (
                [table.num_labels for table in tables],
                [at.size for at in rows],
                [segment.size for _, segment in further],
            )
        )
        chunks: list[Chunk] = []
        for at, table, found in zip(rows, tables, further, strict=True):
            num_labelers = labels.num_labelers
            segments = Segments.of(
                np.asarray(table.labeler),
                *found,
                num_labelers=num_labelers,
                num_labels=num_labels,
                num_further=num_further,
            )
            gold = Assessment(jax.device_put(np.asarray(assessment.true_label)[at]), num_classes)
            longer, gold, _ = padded(
                table,
                gold,
                None,
                num_labels=num_labels,
                num_examples=num_rows,
                num_labelers=num_labelers,
            )
            of_chunk = class_prior
            if class_prior.ndim == 2:
                of_chunk = pad_to(np.asarray(class_prior)[at], num_rows, 1.0 / num_classes)
            device = devices[len(chunks) % len(devices)]
            chunks.append(jax.device_put(Chunk(longer, gold, of_chunk, segments), device))
        return cls(chunks, num_examples)

    def split(
        self, values: Shaped[Array, "num_examples ..."], fill: float
    ) -> list[Shaped[Array, "num_rows ..."]]:
        """Values of examples by chunk, on its device, padded with `fill`."""
        rows, number = np.asarray(values), len(self.chunks)
        return [
            chunk.put(pad_to(rows[at::number], chunk.labels.num_examples, fill))
            for at, chunk in enumerate(self.chunks)
        ]

    def join(
        self, parts: Sequence[Shaped[ArrayLike, "num_rows ..."]]
    ) -> Shaped[np.ndarray, "num_examples ..."]:
        """The reverse, in the order of the examples, on the host."""
        by_row = np.stack([np.asarray(part) for part in parts], axis=1)
        return by_row.reshape(-1, *by_row.shape[2:])[: self.num_examples]

    def map[R](self, stage: str, one: Callable[[int, Chunk], R]) -> list[R]:
        """What a function finds of every chunk, in their order."""
        with concurrent.futures.ThreadPoolExecutor(len(self.chunks)) as pool:
            return list(pool.map(as_here(one), range(len(self.chunks)), self.chunks))

    def add_up(self, found: Sequence[tuple[FixedPoint, ...]]) -> tuple[FixedPoint, ...]:
        """Sums, entry by entry."""
        return tuple(np.sum(values, axis=0) for values in zip(*found, strict=True))

    @property
    def start(self) -> Start:
        """Where the fit starts."""
        assert self.fits_from is not None, "no fit has begun"
        return self.fits_from

    def total(
        self, stage: str, task: Task, *arguments: Any
    ) -> tuple[tuple[FixedPoint, ...], float]:
        """Sums of what a task finds of every chunk, and the largest change."""
        found = self.map(stage, lambda at, chunk: task(self, at, chunk, *arguments))
        return self.add_up([whole for whole, _ in found]), max(change for _, change in found)

    def has(self, name: str) -> bool:
        """Whether the store has these arrays."""
        return name in self.store


_Known = tuple[
    Float[Array, "num_examples num_classes"],
    Float[Array, "num_examples num_classes num_subclasses"] | None,
]
"""Class posteriors, and subclass probabilities where there is more than one subclass."""


class Pass(NamedTuple):
    """Where a fit stands after a pass.

    Attributes:
        number: of the pass, from 0 for the votes.
        totals: what the examples add up to after it.
        prior: the labelers' prior that it was made with.
        change: largest change of a class probability.
        next_prior: the labelers' prior for the next one.
    """

    number: int
    totals: Totals
    prior: AbstractConjugatePrior
    change: float
    next_prior: AbstractConjugatePrior

    @classmethod
    def last(cls, chunks: AbstractChunks) -> "Pass | None":
        """The last one that is kept; None before the first."""
        if not chunks.has(_RECORD):
            return None
        kept = chunks.store.read_arrays(_RECORD)
        leaves, form = jax.tree.flatten(chunks.start.prior)
        prior, following = (
            jax.tree.unflatten(
                form, [jnp.asarray(kept[f"{name}_{at}"]) for at in range(len(leaves))]
            )
            for name in ("prior", "next_prior")
        )
        totals = Totals(*(_from_fixed_point(kept[name]) for name in ("counts", "class_total")))
        return cls(int(kept["number"]), totals, prior, float(kept["change"]), following)

    def known(self, store: Store, number: int, chunk: Chunk) -> _Known:
        """What a chunk's examples know after it."""
        kept = chunk.put(store.read_arrays(_after(self.number, number)))
        return kept["class_probs"], kept.get("subclass_probs")


def run(
    chunks: AbstractChunks,
    *,
    max_steps: int = variational.MAX_STEPS,
    tolerance: float = variational.TOLERANCE,
) -> Pass:
    """Passes, from the last one kept, until little changes; the last one.

    Args:
        chunks: the table, and where the fit starts.
        max_steps: the most passes after that of the votes.
        tolerance: stop when no probability changes by more.
    """
    prior = _first_prior(chunks.start)
    done = Pass.last(chunks) or _pass(chunks, "Votes", 0, prior, vote_chunk)
    while done.change > tolerance and done.number < max_steps:
        so_far = f", last change {done.change:.4f}" if done.number else ""
        stage = f"Pass {done.number + 1} (ends below {tolerance:g}{so_far})"
        done = _pass(chunks, stage, done.number + 1, done.next_prior, e_step_chunk)
    return done


def _first_prior(start: Start) -> AbstractConjugatePrior:
    return start.prior if start.rows is None else start.prior.trusting_gold()


def _pass(
    chunks: AbstractChunks, stage: str, number: int, prior: AbstractConjugatePrior, task: Task
) -> Pass:
    """A task for every chunk; kept last is what they add up to."""
    (counts, class_total), change = chunks.total(stage, task, number)
    following = _m_step(prior, _from_fixed_point(counts))
    leaves = {
        f"{name}_{at}": np.asarray(leaf)
        for name, of in (("prior", prior), ("next_prior", following))
        for at, leaf in enumerate(jax.tree.leaves(of))
    }
    chunks.store.write_arrays(
        _RECORD,
        number=np.array(number),
        change=np.array(change),
        counts=counts,
        class_total=class_total,
        **leaves,
    )
    done = Pass.last(chunks)
    assert done is not None
    return done


def vote_chunk(
    chunks: AbstractChunks, number: int, chunk: Chunk, of_pass: int
) -> tuple[tuple[FixedPoint, ...], float]:
    """The task of the first pass: class posteriors by the votes."""
    start = chunks.start
    state, totals = _start(chunk, *chunk.put((_first_prior(start), start.rows)))
    return _kept(chunks.store, number, chunk, of_pass, state, totals), np.inf


def e_step_chunk(
    chunks: AbstractChunks, number: int, chunk: Chunk, of_pass: int
) -> tuple[tuple[FixedPoint, ...], float]:
    """The task of every other pass: class posteriors updated, given what all examples add up to."""
    last = chunks.recent.get(of_pass - 1)
    if last is None:
        last = Pass.last(chunks)
        if last is None or last.number != of_pass - 1:
            raise RuntimeError(f"pass {of_pass} is over: this task was begun twice")
        chunks.recent.clear()
        chunks.recent[last.number] = last
    known = last.known(chunks.store, number, chunk)
    shared = chunk.put((last.next_prior, last.totals))
    state, totals, change = e_step_of(chunk, known, *shared, chunks.start.learns)
    return _kept(chunks.store, number, chunk, of_pass, state, totals), float(change)


def _kept(
    store: Store, number: int, chunk: Chunk, of_pass: int, state: State, totals: Totals
) -> tuple[FixedPoint, ...]:
    """Keep what a chunk's examples know after a pass; what they add up to."""
    arrays = {"class_probs": state.class_probs}
    if state.prior.num_subclasses > 1:
        arrays["subclass_probs"] = state.subclass_probs
    store.write_arrays(_after(of_pass, number), **arrays)
    # What the pass before last left: to replace it would wait for the disk.
    store.remove(_after(of_pass - 2, number))
    return chunk.by_labeler(totals.counts), to_fixed_point(totals.class_total)


def fit(
    chunks: ChunksInMemory,
    prior: AbstractConjugatePrior,
    class_prior: ClassPrior | None,
    rows: Rows | None,
    score: Callable[[VariationalFit], float],
    *,
    max_steps: int = variational.MAX_STEPS,
    tolerance: float = variational.TOLERANCE,
) -> VariationalFit:
    """`variational.fit` of a table that is cut up, in the order of its examples.

    Args:
        chunks: answers, gold and prior of the classes.
        prior: prior of the labelers; its parameters are where their learning starts.
        class_prior: prior of the classes; when absent their proportions are learnt.
        rows: what `variational.rows_from_gold` found.
        score: `variational.gold_log_score` of a fit.
        max_steps: the most passes over the answers.
        tolerance: stop when no probability changes by more.
    """
    learns = class_prior is None
    given = variational.uniform(prior.num_classes) if class_prior is None else class_prior

    def fit_from(rows: Rows | None) -> VariationalFit:
        start = Start(prior, rows, learns)
        restarted = dataclasses.replace(chunks, store=MemoryStore(), fits_from=start, recent={})
        done = run(restarted, max_steps=max_steps, tolerance=tolerance)

        found = zip(*restarted.map("Evidence", partial(at_end, restarted, done)), strict=True)
        class_probs, subclass_probs, evidence = (
            jax.device_put(chunks.join(parts)) for parts in found
        )
        return VariationalFit(
            class_probs,
            subclass_probs,
            evidence,
            given,
            variational.proportions_at_end(done.totals.class_total, given, learns),
            done.totals.counts,
            done.prior,
            done.number,
            done.change <= tolerance,
        )

    return variational.best_start(fit_from, rows, score)[0]


def at_end(
    chunks: AbstractChunks, done: Pass, number: int, chunk: Chunk
) -> tuple[Array, Array, Array]:
    """Class posteriors, subclass probabilities and evidence of a chunk, as in `VariationalFit`."""
    known = done.known(chunks.store, number, chunk)
    shared = chunk.put((done.prior, done.totals))
    evidence, subclass_probs = _evidence_at_end(chunk.labels, known, *shared, chunks.start.learns)
    return known[0], subclass_probs, evidence


@jax.jit
def _start(chunk: Chunk, prior: AbstractConjugatePrior, rows: Rows | None) -> tuple[State, Totals]:
    state = variational.start(chunk.labels, chunk.assessment, prior, rows)
    return state, Totals.of(chunk.labels, state, chunk.segments)


@partial(jax.jit, donate_argnames="known")
def e_step_of(
    chunk: Chunk,
    known: _Known,
    prior: AbstractConjugatePrior,
    totals: Totals,
    learns: ScalarLike,
) -> tuple[State, Totals, Float[Array, ""]]:
    """A chunk after a step, what it adds to the totals, and its largest change."""
    labels, assessment, class_prior, segments = chunk
    state = _as_state(known, prior)
    state, change = variational.e_step(labels, assessment, state, totals, class_prior, learns)
    return state, Totals.of(labels, state, segments), change


@jax.jit
def _evidence_at_end(
    labels: Labels,
    known: _Known,
    prior: AbstractConjugatePrior,
    totals: Totals,
    learns: ScalarLike,
) -> tuple[Array, Array]:
    return variational.evidence_at_end(labels, _as_state(known, prior), totals, learns)


def _as_state(known: _Known, prior: AbstractConjugatePrior) -> State:
    class_probs, subclass_probs = known
    if subclass_probs is None:
        subclass_probs = jnp.ones_like(class_probs)[:, :, None]
    return State(class_probs, subclass_probs, prior)


@jax.jit
def _m_step(
    prior: AbstractConjugatePrior, counts: Float[Array, "num_labelers ..."]
) -> AbstractConjugatePrior:
    return prior.m_step(counts)


def _from_fixed_point(values: FixedPoint) -> Array:
    """The numbers, in JAX's default precision."""
    return jnp.asarray(from_fixed_point(values), float)


def _after(number: int, chunk: int) -> str:
    """Where a chunk's class posteriors after a pass are."""
    return f"{_FOLDER}/pass-{number:03d}-part-{chunk:05d}.npz"
