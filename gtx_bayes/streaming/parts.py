"""A part of the table as arrays of numbers, sorted by example."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gtx_bayes.abstentions import Blank, unanswered
from gtx_bayes.blocs import Blocs, verdicts
from gtx_bayes.covariates import no_finite_value
from gtx_bayes.crowd_tables import Duplicates, contradiction, find_repeats
from gtx_bayes.inference.loop import Chunk
from gtx_bayes.io.writers import whole_file
from gtx_bayes.labels import MISSING, Assessment, Labels, distinct, has_repeats
from gtx_bayes.padding import LEAST_EXAMPLES, LEAST_LABELERS, LEAST_LABELS, fine_bucket_size
from gtx_bayes.posterior import ClassPrior
from gtx_bayes.streaming.ingest import AnswerFiles, rows_of
from gtx_bayes.streaming.work import WorkDirectory
from gtx_bayes.sums import FixedPoint, Segments, further_segments, to_fixed_point

_OUTSIZED = 1.5  # times the mean size: padding all parts to the largest would cost too much
_SHOWN = 3  # names in a message

Kind = Literal["part", "joined"]
"""A part as it was read, or with blocs in the place of labelers."""

_FOLDER = "parts"
_COVARIATE = "covariate_"  # and its place among them: name of its array


class Sizes(NamedTuple):
    """What a part holds, and what was mended in it.

    Attributes:
        num_labels: answers.
        num_examples: examples.
        num_gold: gold examples.
        num_repeats: answers of a labeler to an example beyond the first.
        num_dropped: how many of those were left out.
        num_pairs: pairs of labeler and example that contradict themselves.
        num_alone: examples that have abstentions and no answer.
        num_others: answers that are no class.
    """

    num_labels: int
    num_examples: int
    num_gold: int
    num_repeats: int
    num_dropped: int
    num_pairs: int
    num_alone: int
    num_others: int


class Part(NamedTuple):
    """All answers to some examples.

    Attributes:
        chunk: answers and gold, padded: see `fine_bucket_size`.
        num_examples: how many examples there are without the padding.
        num_labels: how many answers.
        abstained: who abstained, an entry for every time.
    """

    chunk: Chunk
    num_examples: int
    num_labels: int
    abstained: npt.NDArray[np.integer]


class Numbers(NamedTuple):
    """What the names in a table's files are called, once all of it was read.

    Attributes:
        labelers: names of the labelers.
        of_labeler: number of the labeler of each cell that `ingest.distinct` found.
        of_label: class of each label; then come abstentions that are kept, others are `MISSING`.
        is_blank: which labels are blank.
        num_classes: how many classes there are.
        starts: what each covariate is counted from.
        gold: names of gold examples.
        true_label: class of each.
    """

    labelers: Sequence[Any]
    of_labeler: npt.NDArray[np.int32]
    of_label: npt.NDArray[np.signedinteger]
    is_blank: npt.NDArray[np.bool_]
    num_classes: int
    starts: Sequence[float]
    gold: pa.Array
    true_label: npt.NDArray[np.intp]


def sort_rows(
    part: int,
    table: AnswerFiles,
    numbers: Numbers,
    duplicates: Duplicates,
    blank: Blank,
    work: WorkDirectory,
) -> None:
    """Number a part's examples, sort its answers by example, and keep them.

    Raises:
        InputError: for a cell without a value, and if a labeler contradicts itself and nothing was
            said of what counts then.
    """
    rows = rows_of(part, work)
    place = np.zeros(0, np.int64) if rows is None else rows["place"].to_numpy()
    names, example = _numbered_examples(None if rows is None else rows["example"], place, table)
    cells = [
        np.zeros(0, np.int32) if rows is None else rows[role].to_numpy()
        for role in ("labeler", "label")
    ]
    labeler, label = numbers.of_labeler[cells[0]], numbers.of_label[cells[1]]
    covariates = [
        np.zeros(0) if rows is None else rows[_covariate(at)].to_numpy() - start
        for at, start in enumerate(numbers.starts)
    ]
    for name, values in zip(table.covariates, covariates, strict=True):
        missing = place[~np.isfinite(values)]
        if missing.size:
            raise no_finite_value(name, table.row(int(missing.min())), missing.size)
    columns: list[npt.NDArray[Any]] = [example, labeler, label, place, *covariates]
    if blank == "drop":
        is_given = ~numbers.is_blank[cells[1]]
        columns = [column[is_given] for column in columns]
        # Examples that are left with nothing are none.
        kept, columns[0] = np.unique(columns[0], return_inverse=True)
        columns[0] = columns[0].astype(np.int32)
        names = names.take(pa.array(kept))

    order = np.argsort(columns[3], kind="stable")
    order = order[stable_order(columns[0][order])]
    columns = [column[order] for column in columns]
    is_answer = columns[2] != MISSING
    abstentions = columns[0][~is_answer], columns[1][~is_answer]
    if not is_answer.all():
        columns = [column[is_answer] for column in columns]
    example, labeler, label, place, *covariates = columns
    num_repeats = num_dropped = num_pairs = 0
    num_labelers = len(numbers.labelers)
    if has_repeats(example, labeler, num_labelers):
        repeats = find_repeats(example, labeler, label, duplicates)
        if duplicates == "error" and repeats.contradicting.size:
            at = int(repeats.contradicting[0])
            of_pair = (example == example[at]) & (labeler == labeler[at])
            places = [table.row(int(one)) for one in place[of_pair]]
            raise contradiction(
                str(numbers.labelers[int(labeler[at])]),
                str(names[int(example[at])]),
                f"in different ways, also in {'; '.join(places[:-1][:_SHOWN])}",
                places[-1],
            )
        num_repeats, num_pairs = repeats.num_repeats, repeats.num_pairs
        num_dropped = example.size - repeats.kept.size
        example, labeler, label = (of[repeats.kept] for of in (example, labeler, label))
        covariates = [values[repeats.kept] for values in covariates]
    abstained_example, abstained = unanswered(*abstentions, example, labeler, num_labelers)
    is_other = label >= numbers.num_classes
    num_examples = len(names)
    truth = np.full(num_examples, MISSING, label.dtype)
    gold = pc.index_in(names, value_set=numbers.gold)
    is_gold = gold.is_valid().to_numpy(zero_copy_only=False)
    gold = gold.drop_null().to_numpy()
    truth[is_gold] = numbers.true_label[gold]

    with whole_file(_names(work, part)) as partial:
        _write_names(names, partial)
    arrays = {"example": example, "labeler": labeler, "label": label, "truth": truth, "gold": gold}
    arrays["abstained"] = abstained.astype(np.int32)
    arrays["abstained_example"] = abstained_example.astype(np.int32)
    arrays |= {_covariate(at): values for at, values in enumerate(covariates)}
    arrays["further"], arrays["owner"] = further_segments(labeler)
    work.write_arrays(_arrays(part), **arrays)
    sizes = Sizes(
        example.size,
        num_examples,
        gold.size,
        num_repeats,
        num_dropped,
        num_pairs,
        num_examples - distinct(example[~is_other]).size,
        int(np.count_nonzero(is_other)),
    )
    work.write(_record(part), sizes._asdict())


def _numbered_examples(
    column: pa.ChunkedArray | None, place: npt.NDArray[np.int64], table: AnswerFiles
) -> tuple[pa.Array, npt.NDArray[np.int32]]:
    """Names of the examples, in the order of their first rows, and which each row is about."""
    if column is None:
        return pa.array([], pa.large_string()), np.zeros(0, np.int32)
    encoded = column.dictionary_encode(null_encoding="encode").combine_chunks()
    cell = encoded.indices.to_numpy()
    first = np.full(len(encoded.dictionary), np.iinfo(np.int64).max)
    np.minimum.at(first, cell, place)
    order = np.argsort(first)
    rank = np.empty(order.size, np.int32)
    rank[order] = np.arange(order.size)
    names = table.names("example", encoded.dictionary.take(pa.array(order)), first[order].tolist())
    if names.null_count:
        gap = names.is_null().to_numpy(zero_copy_only=False).argmax()
        raise table.no_value("example", int(first[order[gap]]))
    # Cells that differ may be one name: by blanks around them, or by how they are written.
    again = names.dictionary_encode()
    return again.dictionary, again.indices.to_numpy().astype(np.int32)[rank][cell]


def join_rows(part: int, table: "PartedTable", blocs: Blocs) -> tuple[FixedPoint, FixedPoint]:
    """Keep a part with blocs in the place of their members; counts of `Verdicts`, and ties."""
    work, rows, num_blocs = table.work, table.rows(part), len(blocs.names)
    example, labeler, label = (
        rows[name].astype(np.int64) for name in ("example", "labeler", "label")
    )
    truth = rows["truth"].astype(np.int64)[rows["example"]]
    found = verdicts(example, labeler, label, truth, blocs, num_answers=table.num_answers)
    pairs = rows["abstained_example"], blocs.of_labeler[rows["abstained"]]
    example, labeler, label = found.example, found.bloc, found.label
    abstained_example, abstained = unanswered(*pairs, example, labeler, num_blocs)
    further, owner = further_segments(labeler.astype(np.int32))
    work.write_arrays(
        _arrays(part, "joined"),
        example=example.astype(np.int32),
        labeler=labeler.astype(np.int32),
        label=label.astype(rows["label"].dtype),
        truth=rows["truth"],
        gold=rows["gold"],
        abstained=abstained.astype(np.int32),
        abstained_example=abstained_example.astype(np.int32),
        further=further,
        owner=owner,
    )
    is_other = int(np.count_nonzero(label >= table.num_classes))
    sizes = table.sizes[part]._replace(num_labels=label.size, num_others=is_other)
    work.write(_record(part, "joined"), sizes._asdict())
    return to_fixed_point(found.counts), to_fixed_point(np.array(found.num_tied))


def is_sorted(part: int, work: WorkDirectory) -> bool:
    """Whether a part is there."""
    return work.has(_record(part))


def gold_found(part: int, work: WorkDirectory) -> npt.NDArray[np.integer]:
    """Which of the gold examples are in a part."""
    return work.read_arrays(_arrays(part))["gold"]


def sizes_of(part: int, work: WorkDirectory, kind: Kind = "part") -> Sizes:
    """What a part holds."""
    return Sizes(**work.read(_record(part, kind)))


def names_of(part: int, work: WorkDirectory) -> pa.Array:
    """Names of a part's examples."""
    with pa.OSFile(str(_names(work, part))) as source:  # mapped, it counts against a worker's limit
        return pa.ipc.open_file(source).get_batch(0).column(0)


@dataclasses.dataclass(frozen=True)
class PartedTable:
    """A table in parts.

    Attributes:
        work: where the parts are kept.
        sizes: what each of them holds.
        num_labelers: J.
        num_classes: K.
        num_answers: what an answer can be; what lies beyond are abstentions.
        covariates: names of the covariates of answers.
        labeler_covariates: those of labelers.
        kind: which arrays are read: of single labelers, or of blocs.
    """

    work: WorkDirectory
    sizes: tuple[Sizes, ...]
    num_labelers: int
    num_classes: int
    num_answers: int
    covariates: tuple[str, ...] = ()
    labeler_covariates: Mapping[str, npt.NDArray[np.floating]] = dataclasses.field(
        default_factory=dict
    )
    kind: Kind = "part"

    def in_blocs(self, num_blocs: int) -> "PartedTable":
        """The table with blocs in the place of labelers, which `join_rows` wrote."""
        sizes = tuple(sizes_of(part, self.work, "joined") for part in range(self.num_parts))
        return dataclasses.replace(self, num_labelers=num_blocs, sizes=sizes, kind="joined")

    @property
    def covariate_names(self) -> list[str]:
        """Names of all covariates: of answers and of labelers."""
        return [*self.covariates, *self.labeler_covariates]

    def keeping(self, *, abstentions: bool = False, covariates: bool = False) -> "PartedTable":
        """The table with no more than a model takes; see `Crowd.keeping`."""
        found = self
        if not abstentions:
            found = dataclasses.replace(found, num_answers=self.num_classes)
        if not covariates:
            found = dataclasses.replace(found, covariates=(), labeler_covariates={})
        return found

    @property
    def num_parts(self) -> int:
        """How many parts there are."""
        return len(self.sizes)

    @property
    def num_labels(self) -> int:
        """How many answers there are in all."""
        has_others = self.num_answers > self.num_classes
        return sum(s.num_labels - (0 if has_others else s.num_others) for s in self.sizes)

    @property
    def num_examples(self) -> int:
        """N."""
        return sum(size.num_examples for size in self.sizes)

    @property
    def num_gold(self) -> int:
        """How many of the examples are gold."""
        return sum(size.num_gold for size in self.sizes)

    @property
    def padded_labelers(self) -> int:
        """The number of labelers in padded size."""
        return fine_bucket_size(self.num_labelers, LEAST_LABELERS)

    def read(self, part: int, device: jax.Device, class_prior: ClassPrior) -> Part:
        """A part on a device, padded."""
        kept = self.rows(part)
        num_labels, num_examples = kept["example"].size, kept["truth"].size
        padding = self._padding([size.num_labels for size in self.sizes], part, LEAST_LABELS)
        padding += self.sizes[part].num_labels - num_labels
        spare = self._padding([size.num_examples for size in self.sizes], part, LEAST_EXAMPLES)
        num_labelers, num_further = self.padded_labelers, kept["owner"].size
        dtype = jnp.result_type(float)
        padded = {
            "example": np.pad(kept["example"], (0, padding)),
            "labeler": np.pad(kept["labeler"], (0, padding)),
            "label": np.pad(kept["label"], (0, padding), constant_values=MISSING),
            "truth": np.pad(kept["truth"], (0, spare), constant_values=MISSING),
            "covariates": {
                name: np.pad(values, (0, padding)).astype(dtype)
                for name, values in self.by_name(kept).items()
            },
            "labeler_covariates": {
                name: np.pad(values, (0, num_labelers - values.size)).astype(dtype)
                for name, values in self.labeler_covariates.items()
            },
            "class_prior": class_prior,
        }
        there = jax.device_put(padded, device)
        labels = Labels(
            there["example"],
            there["labeler"],
            there["label"],
            num_examples + spare,
            num_labelers,
            self.num_classes,
            there["covariates"],
            there["labeler_covariates"],
            num_answers=self.num_answers,
        )
        segments = Segments.of(
            kept["labeler"],
            kept["further"],
            kept["owner"],
            num_labelers=num_labelers,
            num_labels=num_labels + padding,
            num_further=fine_bucket_size(num_further, LEAST_EXAMPLES) if num_further else 0,
            device=device,
        )
        gold = Assessment(there["truth"], self.num_classes)
        chunk = Chunk(labels, gold, there["class_prior"], segments)
        return Part(chunk, num_examples, num_labels, kept["abstained"])

    def rows(self, part: int) -> dict[str, npt.NDArray[Any]]:
        """A part's answers, sorted by example, and the true label of each example.

        Answers that are none to this table are among those who "abstained".
        """
        found = self.work.read_arrays(_arrays(part, self.kind))
        is_answer = found["label"] < self.num_answers
        if not is_answer.all():
            others = found["labeler"][~is_answer]
            found["abstained"] = np.concatenate([found["abstained"], others])
            for name in found:
                if is_of_answers(name) or name == "further":
                    found[name] = found[name][is_answer]
        return found

    def by_name(self, rows: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[np.floating]]:
        """The covariates among a part's arrays."""
        return {name: rows[_covariate(at)] for at, name in enumerate(self.covariates)}

    def _padding(self, sizes: Sequence[int], part: int, least: int) -> int:
        """What to add to a part's size, so that all but outsized parts are of one size.

        Each size is a program to compile.
        """
        usual = _OUTSIZED * sum(sizes) / len(sizes)
        common = fine_bucket_size(max((size for size in sizes if size <= usual), default=0), least)
        own = sizes[part]
        return (common if own <= common else fine_bucket_size(own, least)) - own


def stable_order(codes: npt.NDArray[np.int32]) -> npt.NDArray[np.intp]:
    """Like a stable `argsort`, for numbers from 0: half by half, which NumPy sorts by digits."""
    order = np.argsort((codes & 0xFFFF).astype(np.uint16), kind="stable")
    if codes.max(initial=0) > 0xFFFF:
        order = order[np.argsort((codes >> 16).astype(np.uint16)[order], kind="stable")]
    return order


def _write_names(names: pa.Array, path: Path) -> None:
    batch = pa.record_batch([names], names=["example"])
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)


def _record(part: int, kind: Kind = "part") -> str:
    return f"{_FOLDER}/{kind}-{part:05d}.json"


def _arrays(part: int, kind: Kind = "part") -> str:
    return f"{_FOLDER}/{kind}-{part:05d}.npz"


def is_of_answers(name: str) -> bool:
    """Whether a part's array has an entry for every answer, which is kept with it."""
    return name in ("example", "labeler", "label") or name.startswith(_COVARIATE)


def _covariate(at: int) -> str:
    """Name of the array of a covariate, by its place among them."""
    return f"{_COVARIATE}{at}"


def _names(work: WorkDirectory, part: int) -> Path:
    return work.path / _FOLDER / f"part-{part:05d}.arrow"
