"""Second pass: a part of the table as arrays of numbers, sorted by example."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gtx_bayes.abstentions import unanswered
from gtx_bayes.columns import Names
from gtx_bayes.crowd_tables import Duplicates, contradiction, find_repeats
from gtx_bayes.errors import InputError
from gtx_bayes.inference.loop import Chunk
from gtx_bayes.io.writers import whole_file
from gtx_bayes.labels import MISSING, Assessment, Labels, label_dtype
from gtx_bayes.posterior import ClassPrior
from gtx_bayes.standard_size import LEAST_EXAMPLES, LEAST_LABELERS, LEAST_LABELS, close_size
from gtx_bayes.streaming.hashing import hash_names, part_of
from gtx_bayes.streaming.scatter import scattered
from gtx_bayes.streaming.table import ParquetTable
from gtx_bayes.streaming.work import WorkDirectory
from gtx_bayes.sums import Segments, further_segments

_OUTSIZED = 1.5  # times the mean size: padding all parts to the largest would cost too much
_SHOWN = 3  # names in a message
_FOLDER = "parts"
_COVARIATE = "covariate_"  # and its place among them: name of its array


@dataclasses.dataclass(frozen=True)
class Numbering:
    """What the numbers of labelers and classes mean, once the whole table was read.

    Attributes:
        chunks: piece and number of every chunk, in the order of the table.
        labeler_codes: for every chunk, the number of each of its labelers.
        class_codes: for every chunk, the number of each of its piece's answers: classes first,
            then abstentions that are kept; `MISSING` for others.
        labeler_names: name of every labeler.
        class_names: name of every class.
        num_answers: how many answers there can be.
        starts: what each covariate is counted from.
    """

    chunks: Sequence[tuple[int, int]]
    labeler_codes: Sequence[npt.NDArray[np.int32]]
    class_codes: Sequence[npt.NDArray[np.int32]]
    labeler_names: npt.NDArray[Any]
    class_names: npt.NDArray[Any]
    num_answers: int
    starts: Sequence[float] = ()


@dataclasses.dataclass(frozen=True)
class Gold:
    """Known labels by name.

    Attributes:
        example: names of the examples, of the type that the table has.
        true_label: class of each.
        part: the part of the table that each belongs to.
    """

    example: pa.Array
    true_label: npt.NDArray[np.intp]
    part: npt.NDArray[np.uint16]

    @classmethod
    def of_names(
        cls,
        example: Names,
        true_label: npt.NDArray[np.intp],
        example_type: pa.DataType,
        num_parts: int,
    ) -> "Gold":
        """Gold as read from a table; names that cannot be the table's are left out."""
        is_possible = np.ones(len(true_label), bool)
        names: list[Any] = list(example)
        if pa.types.is_integer(example_type):
            numbers = [_as_integer(key) for key in names]
            is_possible = np.array([number is not None for number in numbers], bool)
            names = [number for number in numbers if number is not None]
        found = pa.array(names, example_type)
        part = part_of(hash_names(found), num_parts)
        return cls(found, true_label[is_possible], part)

    def of_part(self, part: int) -> tuple[pa.Array, npt.NDArray[np.intp]]:
        """Names and classes of the gold that belongs to a part."""
        mine = np.flatnonzero(self.part == part)
        return self.example.take(pa.array(mine)), self.true_label[mine]


class Sizes(NamedTuple):
    """What a part holds, and what was mended in it.

    Attributes:
        num_labels: answers.
        num_examples: examples.
        num_gold: gold examples.
        num_repeats: answers of a labeler to an example beyond the first.
        num_dropped: how many of those were left out.
        num_pairs: pairs of labeler and example that contradict themselves.
        unlabelled: names of the first gold examples that nobody labelled.
        num_alone: examples that have abstentions and no answer.
        num_others: answers that are no class.
    """

    num_labels: int
    num_examples: int
    num_gold: int
    num_repeats: int
    num_dropped: int
    num_pairs: int
    unlabelled: list[str]
    num_alone: int
    num_others: int


class Part(NamedTuple):
    """All answers to some examples.

    Attributes:
        chunk: answers and gold, padded: see `close_size`.
        num_examples: how many examples there are without the padding.
        num_labels: how many answers.
        abstained: who abstained, an entry for every time.
    """

    chunk: Chunk
    num_examples: int
    num_labels: int
    abstained: npt.NDArray[np.integer]


def sort_part(
    part: int,
    table: ParquetTable,
    numbering: Numbering,
    gold: Gold | None,
    duplicates: Duplicates,
    work: WorkDirectory,
) -> None:
    """Bring a part's answers together from all pieces, number its examples, and keep it.

    Raises:
        InputError: if a labeler contradicts itself, and nothing was said of what counts then.
    """
    found = [scattered(piece, chunk, part, work) for piece, chunk in numbering.chunks]
    names = pa.chunked_array([rows.example for rows in found], table.example_type)
    encoded = names.dictionary_encode().combine_chunks()
    example = encoded.indices.to_numpy().astype(np.int32)
    num_classes = numbering.class_names.size
    labeler = _renumbered(numbering.labeler_codes, [rows.labeler for rows in found])
    label = _renumbered(numbering.class_codes, [rows.label for rows in found])
    label = label.astype(label_dtype(numbering.num_answers))
    covariates = [
        np.concatenate([rows.covariates[at] for rows in found]) - start
        for at, start in enumerate(numbering.starts)
    ]

    order = stable_order(example)
    columns = [column[order] for column in (example, labeler, label, *covariates)]
    is_answer = columns[2] != MISSING
    abstentions = columns[0][~is_answer], columns[1][~is_answer]
    if not is_answer.all():
        columns = [column[is_answer] for column in columns]
    example, labeler, label, *covariates = columns
    num_repeats = num_dropped = num_pairs = 0
    if _has_repeats(example, labeler, numbering.labeler_names.size):
        repeats = find_repeats(example, labeler, label, duplicates)
        if duplicates == "error" and repeats.contradicting.size:
            at = int(repeats.contradicting[0])
            raise _contradiction(
                table,
                str(encoded.dictionary[int(example[at])].as_py()),
                str(numbering.labeler_names[labeler[at]]),
            )
        num_repeats, num_pairs = repeats.num_repeats, repeats.num_pairs
        num_dropped = example.size - repeats.kept.size
        example, labeler, label, *covariates = (
            column[repeats.kept] for column in (example, labeler, label, *covariates)
        )
    num_labelers = numbering.labeler_names.size
    _, abstained = unanswered(*abstentions, example, labeler, num_labelers)
    is_other = label >= num_classes
    num_alone = len(encoded.dictionary) - np.unique(example[~is_other]).size
    truth = np.full(len(encoded.dictionary), MISSING, label.dtype)
    unlabelled: list[str] = []
    if gold is not None:
        gold_names, gold_classes = gold.of_part(part)
        at = pc.index_in(encoded.dictionary, value_set=gold_names)
        is_gold = at.is_valid().to_numpy(zero_copy_only=False)
        truth[is_gold] = gold_classes[at.drop_null().to_numpy()]
        is_known = pc.is_in(gold_names, value_set=encoded.dictionary)
        unlabelled = [
            str(name) for name in gold_names.filter(pc.invert(is_known))[:_SHOWN].to_pylist()
        ]

    with whole_file(_names(work, part)) as partial:
        _write_names(encoded.dictionary, partial)
    arrays = {"example": example, "labeler": labeler, "label": label, "truth": truth}
    arrays["abstained"] = abstained.astype(np.int32)
    arrays |= {_covariate(at): values for at, values in enumerate(covariates)}
    arrays["further"], arrays["owner"] = further_segments(labeler)
    work.write_arrays(_arrays(part), **arrays)
    num_gold = int(np.count_nonzero(truth != MISSING))
    sizes = Sizes(
        example.size,
        truth.size,
        num_gold,
        num_repeats,
        num_dropped,
        num_pairs,
        unlabelled,
        num_alone,
        int(np.count_nonzero(is_other)),
    )
    work.write(_record(part), sizes._asdict())


def is_sorted(part: int, work: WorkDirectory) -> bool:
    """Whether a part is there."""
    return work.has(_record(part))


def sizes_of(part: int, work: WorkDirectory) -> Sizes:
    """What a part holds."""
    return Sizes(**work.read(_record(part)))


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
    def room_for_labelers(self) -> int:
        """The number of labelers in standard size."""
        return close_size(self.num_labelers, LEAST_LABELERS)

    def read(self, part: int, device: jax.Device, class_prior: ClassPrior) -> Part:
        """A part on a device, padded."""
        kept = self.rows(part)
        num_labels, num_examples = kept["example"].size, kept["truth"].size
        room = self._room([size.num_labels for size in self.sizes], part, LEAST_LABELS)
        room += self.sizes[part].num_labels - num_labels
        spare = self._room([size.num_examples for size in self.sizes], part, LEAST_EXAMPLES)
        num_labelers, num_further = self.room_for_labelers, kept["owner"].size
        dtype = jnp.result_type(float)
        padded = {
            "example": np.pad(kept["example"], (0, room)),
            "labeler": np.pad(kept["labeler"], (0, room)),
            "label": np.pad(kept["label"], (0, room), constant_values=MISSING),
            "truth": np.pad(kept["truth"], (0, spare), constant_values=MISSING),
            "covariates": {
                name: np.pad(values, (0, room)).astype(dtype)
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
            num_labels=num_labels + room,
            num_further=close_size(num_further, LEAST_EXAMPLES) if num_further else 0,
            device=device,
        )
        gold = Assessment(there["truth"], self.num_classes)
        chunk = Chunk(labels, gold, there["class_prior"], segments)
        return Part(chunk, num_examples, num_labels, kept["abstained"])

    def rows(self, part: int) -> dict[str, npt.NDArray[Any]]:
        """A part's answers, sorted by example, and the true label of each example.

        Answers that are none to this table are among those who "abstained".
        """
        found = self.work.read_arrays(_arrays(part))
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

    def _room(self, sizes: Sequence[int], part: int, least: int) -> int:
        """What to add to a part's size, so that all but outsized parts are of one size.

        Each size is a program to compile.
        """
        usual = _OUTSIZED * sum(sizes) / len(sizes)
        common = close_size(max((size for size in sizes if size <= usual), default=0), least)
        own = sizes[part]
        return (common if own <= common else close_size(own, least)) - own


def stable_order(codes: npt.NDArray[np.int32]) -> npt.NDArray[np.intp]:
    """Like a stable `argsort`, for numbers from 0: half by half, which NumPy sorts by digits."""
    order = np.argsort((codes & 0xFFFF).astype(np.uint16), kind="stable")
    if codes.max(initial=0) > 0xFFFF:
        order = order[np.argsort((codes >> 16).astype(np.uint16)[order], kind="stable")]
    return order


def _renumbered(
    codes: Sequence[npt.NDArray[np.int32]], columns: Sequence[npt.NDArray[np.int32]]
) -> npt.NDArray[np.int32]:
    return np.concatenate([of[column] for of, column in zip(codes, columns, strict=True)])


def _has_repeats(
    example: npt.NDArray[np.int32], labeler: npt.NDArray[np.int32], num_labelers: int
) -> bool:
    pair = np.sort(example.astype(np.int64) * num_labelers + labeler)
    return bool((pair[1:] == pair[:-1]).any())


def _contradiction(table: ParquetTable, example: str, labeler: str) -> InputError:
    rows = table.rows_of(example=example, labeler=labeler)
    how = f"in different ways, also in {'; '.join(rows[:-1][:3])}"
    return contradiction(labeler, example, how, rows[-1])


def _as_integer(key: str) -> int | None:
    """The number that this is the usual spelling of."""
    try:
        number = int(key)
    except ValueError:
        return None
    return number if str(number) == key and -(2**63) <= number < 2**63 else None


def _write_names(names: pa.Array, path: Path) -> None:
    batch = pa.record_batch([names], names=["example"])
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)


def _record(part: int) -> str:
    return f"{_FOLDER}/part-{part:05d}.json"


def _arrays(part: int) -> str:
    return f"{_FOLDER}/part-{part:05d}.npz"


def is_of_answers(name: str) -> bool:
    """Whether a part's array has an entry for every answer, which is kept with it."""
    return name in ("example", "labeler", "label") or name.startswith(_COVARIATE)


def _covariate(at: int) -> str:
    """Name of the array of a covariate, by its place among them."""
    return f"{_COVARIATE}{at}"


def _names(work: WorkDirectory, part: int) -> Path:
    return work.path / _FOLDER / f"part-{part:05d}.arrow"
