"""The chunks of a table in files: its parts, and the tasks by which workers go through them.

A task is a function of a module. What it is given is plain: which run it is, the numbers of parts,
perhaps the number of a pass. All else a worker reads from the work directory, once for each run.
"""

import concurrent.futures
import dataclasses
import functools
import importlib.metadata
import pickle
import sys
import threading
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
from jaxtyping import Array, Float

from gtx_bayes.aggregation import joint_method
from gtx_bayes.aggregation.base import Fit
from gtx_bayes.aggregation.class_priors import check_class_prior
from gtx_bayes.aggregation.joint_method import AUTO, GtxBayes
from gtx_bayes.blocs import Blocs
from gtx_bayes.columns import Names, as_names
from gtx_bayes.devices import first_devices, precision
from gtx_bayes.errors import InputError, notes_from_json
from gtx_bayes.inference import alike, pool, variational, weighing
from gtx_bayes.inference.alike import Alike, LabelersAlike
from gtx_bayes.inference.dependence import Dependence
from gtx_bayes.inference.joint import Candidate, Choice
from gtx_bayes.inference.loop import AbstractChunks, Chunk, Pass, Start, Task
from gtx_bayes.inference.weighing import Weighed
from gtx_bayes.labels import MISSING, label_dtype
from gtx_bayes.models.base import AbstractCohortPrior, AbstractLabelerModel
from gtx_bayes.models.conjugate import AbstractConjugatePrior
from gtx_bayes.posterior import ClassPrior
from gtx_bayes.registry import USER_FILE, import_file
from gtx_bayes.streaming import subsample
from gtx_bayes.streaming.executor import Callback, Workers, silent
from gtx_bayes.streaming.ingest import AnswerFiles
from gtx_bayes.streaming.parts import (
    Numbers,
    Part,
    PartedTable,
    is_sorted,
    join_rows,
    sizes_of,
    sort_rows,
)
from gtx_bayes.streaming.request import Request
from gtx_bayes.streaming.work import ArraysOf, WorkDirectory
from gtx_bayes.sums import FixedPoint

NUMBERING, CHOICE, WEIGHTS, GOLD = "numbering.json", "choice.json", "weights.json", "gold.npz"
BLOCS, JOINED = "blocs.json", "joined.json"

_PACKAGES = ("gtx_bayes", "jax", "jaxlib", "numpy")


class Job(NamedTuple):
    """What is sent to a worker about a run.

    Attributes:
        run: a name that no other run has.
        work: the work directory.
        request: the `Request`, pickled; empty for threads, which know it.
        files: files of the user that define methods or models.
        num_devices: how many devices each process takes; all if None.
        is_x64: whether floats have 64 bits.
        versions: of the packages that results depend on.
    """

    run: str
    work: str
    request: bytes
    files: tuple[str, ...]
    num_devices: int | None
    is_x64: bool
    versions: tuple[str, ...]


class Numbered(NamedTuple):
    """The names in a table, in the order of their numbers, and what is to be said of them."""

    labelers: list[Any]
    of_labeler_cells: list[int]
    label_cells: list[str]
    class_keys: list[str]
    class_names: list[Any]
    notes: list[str]
    labeler_covariates: dict[str, list[float]]
    num_parts: int
    files: dict[str, Any]
    starts: list[float]
    gold_source: str
    groups: list[str] | None


class Fitted(NamedTuple):
    """A labeler model fitted to a table in parts.

    Attributes:
        prior: prior of the labelers, learnt; or what stands in its place.
        counts: their expected counts.
        class_prior: prior of the classes, given or learnt.
        num_passes: how many passes over the labels it took.
        converged: whether the last one changed little.
    """

    prior: AbstractCohortPrior
    counts: Float[Array, "num_labelers ..."]
    class_prior: ClassPrior
    num_passes: int
    converged: bool


class ChunksOnDisk:
    """The parts of a table.

    Whoever leads a run and whoever works for it have such an object each, which they need not send:
    what it knows comes from the request and the work directory.

    Attributes:
        request: what is to be computed.
        store: the work directory.
        workers: who computes; None where this is a worker.
        job: what is sent to workers.
    """

    def __init__(
        self, request: Request, work: WorkDirectory, workers: Workers | None, job: Job
    ) -> None:
        self.request, self.workers, self.job = request, workers, job
        self.store: WorkDirectory = work
        there = jax.local_devices()
        self.devices = there if job.num_devices is None else first_devices(there, job.num_devices)
        self._found: dict[str, Any] = {}
        self._lock = threading.RLock()

    @classmethod
    def led(
        cls,
        request: Request,
        work: WorkDirectory,
        executor: concurrent.futures.Executor,
        *,
        num_devices: int | None = None,
        callback: Callback = silent,
    ) -> "ChunksOnDisk":
        """Those of whoever leads a run.

        Raises:
            InputError: if the method or the model cannot be sent to workers.
        """
        workers = Workers(executor, callback)
        modules = [of for name, of in sys.modules.items() if name.startswith(USER_FILE)]
        job = Job(
            uuid.uuid4().hex,
            str(work.path.resolve()),
            b"" if workers.are_threads else _pickled(request),
            tuple(str(of.__file__) for of in modules),
            num_devices,
            bool(jax.config.jax_enable_x64),
            versions(),
        )
        return cls(request, work, workers, job)

    def once[T](self, name: str, make: Callable[[], T]) -> T:
        """What is found at the first call, by one thread, and then kept."""
        with self._lock:
            if name not in self._found:
                self._found[name] = make()
            found: T = self._found[name]
            return found

    @property
    def numbered(self) -> Numbered:
        """The names."""
        return self.once("numbered", self._numbered)

    def _numbered(self) -> Numbered:
        kept = self.store.read(NUMBERING)
        return Numbered(**(kept | {"notes": notes_from_json(kept["notes"])}))

    @property
    def class_names(self) -> Names:
        """Name of every class."""
        return as_names(self.numbered.class_names)

    @property
    def whole_table(self) -> PartedTable:
        """The table with all that its files hold."""
        return self.once("whole table", self._whole_table)

    def _whole_table(self) -> PartedTable:
        numbered, request = self.numbered, self.request
        return PartedTable(
            self.store,
            tuple(sizes_of(part, self.store) for part in range(numbered.num_parts)),
            len(numbered.labelers),
            len(numbered.class_keys),
            len(numbered.class_keys) + len(request.other_keys()),
            tuple(request.covariates),
            {name: np.array(values) for name, values in numbered.labeler_covariates.items()},
        )

    @property
    def singly(self) -> PartedTable:
        """The table with what the method takes of it, every labeler by itself."""
        whole = self.whole_table
        takes = self.request.configured.takes
        return self.once("singly", lambda: whole.keeping(**takes(whole.num_classes)))

    @property
    def table(self) -> PartedTable:
        """The same, once labelers in blocs count as one."""
        if not self.store.has(JOINED):
            return self.singly
        return self.once("table", lambda: self.singly.in_blocs(len(self.blocs.names)))

    @property
    def blocs(self) -> Blocs:
        """The labelers who count as one, where there are any."""
        return self.once("blocs", self._blocs)

    def _blocs(self) -> Blocs:
        of_labeler, names, note = self.store.read(BLOCS)
        return Blocs(np.array(of_labeler, np.int64), as_names(names), note)

    @property
    def labeler_names(self) -> Names:
        """Name of every labeler, or bloc."""
        is_joined = self.store.has(JOINED)
        return self.blocs.names if is_joined else as_names(self.numbered.labelers)

    @property
    def given_prior(self) -> ClassPrior | None:
        """Prior of each class, if one was given."""
        prior, names = self.request.class_prior, self.class_names
        if prior is None:
            return None
        return self.once("prior", lambda: check_class_prior(prior, names, -1))

    @property
    def class_prior(self) -> ClassPrior:
        """Prior of each class; uniform where it is learnt."""
        given = self.given_prior
        return variational.uniform(self.table.num_classes) if given is None else given

    @property
    def candidates(self) -> list[Candidate]:
        """The models that were weighed, once they have been."""
        return self.once("candidates", self._candidates)

    def _candidates(self) -> list[Candidate]:
        method, given = self.request.configured, self.class_prior
        assert isinstance(method, GtxBayes), "no other method chooses among models"
        return [
            Candidate.of(
                kept["model"] if method.model == AUTO else method.model,
                self.table.num_classes,
                None if kept["learns"] else given,
            )._replace(trusts_gold_alone=kept["trusts_gold_alone"], has_looks=kept["has_looks"])
            for kept in self.store.read(CHOICE)["candidates"]
        ]

    @property
    def fitted(self) -> list[int]:
        """Which are fitted to all labels: the others weigh next to nothing."""
        weights = self.weighed(CHOICE).weights
        return [k for k, weight in enumerate(weights) if weight >= weighing.LEAST_WEIGHT]

    def weighed(self, name: str) -> Weighed:
        """Their weights: of some labels (`CHOICE`), or of all (`WEIGHTS`)."""
        return self.once(name, lambda: self._weighed(name))

    def _weighed(self, name: str) -> Weighed:
        kept, found = self.store.read(name), None
        rho = [Dependence(*map(np.array, each)) for each in kept["dependence"]]
        if kept["alike"] is not None:
            of_alike, weight = kept["alike"]
            dependence = Dependence(*map(np.array, of_alike))
            found = Alike(self.labelers_alike, dependence, weight)
        return Weighed(tuple(kept["weights"]), tuple(rho), found)

    @property
    def labelers_alike(self) -> LabelersAlike:
        """What gold says of labelers as if alike."""
        return self.once("labelers alike", self._labelers_alike)

    def _labelers_alike(self) -> LabelersAlike:
        labels, assessment, _ = subsample.gold_of(self.table)
        found = alike.fit(labels, assessment, self.given_prior)
        assert found is not None, "there is gold, or they would have no weight"
        return found

    @property
    def alike(self) -> Alike | None:
        """Labelers as if alike, as a part of the mixture; None where they are none."""
        return self.weighed(WEIGHTS).kept_alike

    @property
    def components(self) -> list["Component"]:
        """The models that class probabilities are a mixture of, heaviest first."""
        return self.once("components", self._components)

    def _components(self) -> list["Component"]:
        weights, rho, _ = self.weighed(WEIGHTS)
        kept = [k for k, weight in enumerate(weights) if weight >= weighing.LEAST_WEIGHT]
        total = sum(weights[k] for k in kept)
        order = sorted(kept, key=lambda k: -weights[k])
        return [Component(self.model(k), weights[k] / total, rho[k]) for k in order]

    def model(self, number: int) -> "ModelOnDisk":
        """A candidate, by its number; the same object at every call."""
        return self.once(f"model {number}", lambda: ModelOnDisk(self, number))

    @property
    def rule(self) -> Fit | None:
        """What gold alone says of the labelers; None where the answers of all say it."""
        return self.once("rule", self._rule)

    def _rule(self) -> Fit | None:
        method = self.request.configured
        if isinstance(method, GtxBayes) and not self.candidates[0].trusts_gold_alone:
            return None
        labels, assessment, _ = subsample.gold_of(self.table)
        if not isinstance(method, GtxBayes):
            return method.fit(labels, assessment, self.given_prior)
        choice = Choice(self.candidates[0], self.weighed(CHOICE).dependence[0])
        fitted = pool.fit_one(labels, assessment, choice, self.store.read(CHOICE)["why"])
        return joint_method.report(fitted, labels, assessment)

    def read(self, part: int) -> Part:
        """A part, on a device; they take turns."""
        device = self.devices[part % len(self.devices)]
        return self.table.read(part, device, self.class_prior)

    @property
    def numbers(self) -> Numbers:
        """What the names in the files are called."""
        return self.once("numbers", self._numbers)

    def _numbers(self) -> Numbers:
        numbered, gold = self.numbered, self.store.read_arrays(GOLD)
        table = AnswerFiles(**numbered.files)
        keys = [*numbered.class_keys, *self.request.other_keys()]
        answer = {key: number for number, key in enumerate(keys)}
        is_whole = table.are_whole("example")
        names = [as_integer(name) if is_whole else name for name in gold["names"].tolist()]
        dtype = label_dtype(len(keys))
        is_possible = np.array([name is not None for name in names], bool)
        return Numbers(
            numbered.labelers,
            np.array(numbered.of_labeler_cells, np.int32),
            np.array([answer.get(key, MISSING) for key in numbered.label_cells], dtype),
            np.array([key == "" for key in numbered.label_cells], bool),
            len(numbered.class_keys),
            numbered.starts,
            pa.array(
                [name for name in names if name is not None],
                pa.int64() if is_whole else pa.large_string(),
            ),
            gold["true_label"][is_possible],
        )

    def sort(self) -> None:
        """Sort the parts that are not sorted yet."""
        numbered = self.numbered
        todo = [part for part in range(numbered.num_parts) if not is_sorted(part, self.store)]
        size = numbered.files["num_rows"] // numbered.num_parts
        self._do("Sorting", todo, [size] * len(todo), sort_part)

    def each(self, stage: str, task: Task, *arguments: Any) -> tuple[tuple[FixedPoint, ...], float]:
        """Sums of what `task(chunks, number, *arguments)` finds of every part."""
        sizes = self.table.sizes
        return self._do(
            stage, range(len(sizes)), [size.num_labels for size in sizes], task, *arguments
        )

    def _do(
        self,
        stage: str,
        numbers: Sequence[int],
        sizes: Sequence[int],
        task: Task,
        *arguments: Any,
    ) -> tuple[tuple[FixedPoint, ...], float]:
        """Do a task for the parts of these numbers, several together."""
        assert self.workers is not None
        groups = [
            (tuple(numbers[at] for at in group), size) for group, size in self.workers.groups(sizes)
        ]
        pieces = [((self.job, task, parts, arguments), size) for parts, size in groups]
        _led[self.job.run] = self
        try:
            whole: tuple[FixedPoint, ...] = ()
            largest = 0.0
            for found, change in self.workers.each(stage, pieces, do_parts):
                whole, largest = _sum([whole, found]), max(largest, change)
        finally:
            del _led[self.job.run]
        return whole, largest


class ModelOnDisk(AbstractChunks):
    """The parts of a table as the fit of one model has them; see `AbstractChunks`.

    Models that differ by looks alone have one fit.

    Attributes:
        chunks: the parts.
        number: of the candidate that it is.
        candidate: the model.
        store: what is kept of its fit.
        looks: what is kept of its looks.
    """

    def __init__(self, chunks: ChunksOnDisk, number: int) -> None:
        self.chunks, self.number = chunks, number
        self.candidate = chunks.candidates[number]
        self.store: ArraysOf = ArraysOf(chunks.store, f"models/{self.fitted}-")
        self.looks = ArraysOf(chunks.store, f"models/{number}-looks-")
        self.recent: dict[int, Pass] = {}

    @functools.cached_property
    def fitted(self) -> int:
        """Number of the candidate without looks that is fitted."""
        own = self.candidate._replace(has_looks=False)
        alike = (own.model, own.class_prior is None)
        all_candidates = enumerate(self.chunks.candidates)
        return next(k for k, of in all_candidates if (of.model, of.class_prior is None) == alike)

    @functools.cached_property
    def start(self) -> Start:
        """Where the fit starts."""
        rows = self.chunks.store.read(CHOICE)["rows"][self.fitted]
        assert isinstance(self.candidate.prior, AbstractConjugatePrior)
        rows = None if rows is None else jnp.asarray(np.array(rows), float)
        return Start(self.candidate.prior, rows, self.candidate.class_prior is None)

    @property
    def is_automatic(self) -> bool:
        """Whether the model has no conjugate prior."""
        return isinstance(self.candidate.prior, AbstractLabelerModel)

    @property
    def last_pass(self) -> Pass:
        """The last pass of the fit, once it has ended."""
        found = self.chunks.once(f"last pass {self.fitted}", lambda: Pass.last(self))
        assert found is not None
        return found

    def total(
        self, stage: str, task: Task, *arguments: Any
    ) -> tuple[tuple[FixedPoint, ...], float]:
        """Sums of what a task finds of every part, and the largest change."""
        if len(self.chunks.fitted) > 1:
            stage = f"Model {self.number + 1}, {self.candidate.model}: {stage}"
        return self.chunks.each(stage, _of_chunk, self.number, task, *arguments)

    def has(self, name: str) -> bool:
        """Whether the work directory has these arrays."""
        return self.store.has(name)


class Component(NamedTuple):
    """A model of a mixture.

    Attributes:
        model: the model.
        weight: its weight.
        dependence: posterior of rho under it.
    """

    model: ModelOnDisk
    weight: float
    dependence: Dependence


_led: dict[str, ChunksOnDisk] = {}  # by whoever leads a run in this process, for its threads
_opening = threading.Lock()


def do_parts(
    job: Job, task: Task, parts: tuple[int, ...], arguments: tuple[Any, ...]
) -> tuple[tuple[FixedPoint, ...], float]:
    """Do a task for some parts; may be done twice, by different workers even.

    Args:
        job: the run.
        task: what to do.
        parts: their numbers.
        arguments: further arguments of the task.

    Raises:
        InputError: if this worker has other versions of the packages, or another file system.
    """
    with _opening:
        chunks = _led.get(job.run) or _opened(job)
    with precision(job.is_x64):
        found = [task(chunks, part, *arguments) for part in parts]
    return _sum([whole for whole, _ in found]), max(change for _, change in found)


def versions() -> tuple[str, ...]:
    """Of the packages that results depend on."""
    return tuple(f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES)


def _absolute(value: Any) -> Any:
    """The same, or where it names a class in a file, that file by its full path."""
    if not isinstance(value, str) or ".py:" not in value:
        return value
    path, _, cls = value.rpartition(":")
    return f"{Path(path).expanduser().resolve()}:{cls}"


@functools.lru_cache(maxsize=1)
def _opened(job: Job) -> ChunksOnDisk:
    """The table as a worker sees it."""
    import platform

    where = f"worker on {platform.node()}"
    if job.versions != versions():
        here, there = (
            ", ".join(sorted({*one} - {*other}))
            for one, other in ((versions(), job.versions), (job.versions, versions()))
        )
        raise InputError(
            f"it has {here}, and this run {there}.",
            where=where,
            hint="Install the same versions everywhere.",
        )
    if not Path(job.work).is_dir():
        raise InputError(
            f"it does not see the work directory '{job.work}'.",
            where=where,
            hint="Name one on a file system that all workers share, by `work`.",
        )
    for file in job.files:
        import_file(Path(file), "model")
    with precision(job.is_x64):
        return ChunksOnDisk(pickle.loads(job.request), WorkDirectory(Path(job.work)), None, job)


def sort_part(chunks: ChunksOnDisk, part: int) -> tuple[tuple[FixedPoint, ...], float]:
    """A task: sort the rows of a part."""
    request, table = chunks.request, AnswerFiles(**chunks.numbered.files)
    sort_rows(part, table, chunks.numbers, request.duplicates, request.blank, chunks.store)
    return (), 0.0


def join_part(chunks: ChunksOnDisk, part: int) -> tuple[tuple[FixedPoint, ...], float]:
    """A task: put blocs in the place of their members."""
    return join_rows(part, chunks.singly, chunks.blocs), 0.0


def as_integer(key: str) -> int | None:
    """The number of 64 bits that this is the usual spelling of."""
    try:
        number = int(key)
    except ValueError:
        return None
    return number if str(number) == key and -(2**63) <= number < 2**63 else None


def _of_chunk(
    chunks: ChunksOnDisk, part: int, number: int, task: Callable[..., Any], *arguments: Any
) -> tuple[tuple[FixedPoint, ...], float]:
    chunk: Chunk = chunks.read(part).chunk
    model = chunks.model(number)
    found: tuple[tuple[FixedPoint, ...], float] = task(model, part, chunk, *arguments)
    return found


def _sum(found: Sequence[tuple[FixedPoint, ...]]) -> tuple[FixedPoint, ...]:
    """Sums, entry by entry, of those that have entries."""
    return tuple(np.asarray(np.sum(of, axis=0)) for of in zip(*filter(None, found), strict=True))


def _pickled(request: Request) -> bytes:
    """The request for other processes, whose working directory may be another."""
    options = {name: _absolute(value) for name, value in request.options.items()}
    request = dataclasses.replace(request, options=options, method=_absolute(request.method))
    try:
        return pickle.dumps(request)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise InputError(
            f"the method cannot be sent to the workers: {error}.",
            where="method",
            hint="Define it in a module or a file, and name that.",
        ) from error
