"""First pass: read the table once, number labelers and classes, and scatter answers by example."""

import functools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gtx_bayes.abstentions import BLANK_HINT
from gtx_bayes.columns import Column, Source
from gtx_bayes.errors import InputError
from gtx_bayes.io.writers import whole_file
from gtx_bayes.streaming.hashing import hash_names, part_of
from gtx_bayes.streaming.request import MOST_PER_PART
from gtx_bayes.streaming.table import Batch, ParquetTable, Piece, not_utf8, plain_cells
from gtx_bayes.streaming.work import WorkDirectory

_MOST_PARTS = 2**14
_FOLDER = "scattered"


class Classes:
    """The classes that were answered, numbered in the order of their first appearance.

    Attributes:
        cells: their names as given, text without surrounding blanks.
        rows: the place where each appeared first.
        counts: how often each was answered.
    """

    def __init__(self) -> None:
        self._code_of: dict[str, int] = {}
        self.cells: list[Any] = []
        self.rows: list[str] = []
        self.counts: list[int] = []

    @property
    def keys(self) -> list[str]:
        """The names as text."""
        return list(self._code_of)

    def add(self, key: str, cell: Any, row: str, count: int) -> int:
        """The number of a class, which may be new."""
        code = self._code_of.setdefault(key, len(self._code_of))
        if code == len(self.cells):
            self.cells.append(cell)
            self.rows.append(row)
            self.counts.append(0)
        self.counts[code] += count
        return code

    def codes(
        self, cells: pa.DictionaryArray, name: str, source: Source, *, with_gaps: bool = False
    ) -> npt.NDArray[np.int32]:
        """Numbers of a column's classes; a gap is called by the empty text, where there may be one.

        Raises:
            InputError: for a class without a name.
        """
        indices = cells.indices.to_numpy()
        times = np.bincount(indices, minlength=len(cells.dictionary))
        column = _as_column(cells.dictionary, name, source)
        codes = np.empty(len(column.keys), np.int32)
        _, first = np.unique(indices, return_index=True)
        named = zip(column.keys, column.cells, first, strict=True)
        for at, (key, cell, row_at) in enumerate(named):
            row = source.row(int(row_at))
            if key == "" and not with_gaps:
                raise InputError(
                    f"column '{name}' has no value.",
                    where=row,
                    hint=f"Fill it in or delete the row{BLANK_HINT}.",
                )
            is_plain = isinstance(cell, (str, int, float))
            codes[at] = self.add(key, cell if is_plain else key, row, int(times[at]))
        return codes[indices]

    def record(self) -> dict[str, list[Any]]:
        """Everything, as plain texts and numbers."""
        columns = {"cells": self.cells, "rows": self.rows, "counts": self.counts}
        return {"keys": self.keys, **columns}

    def merge(self, record: dict[str, list[Any]]) -> npt.NDArray[np.int32]:
        """Add another's classes, after a `record` of it; the numbers that they have here."""
        rows = zip(*(record[name] for name in self.record()), strict=True)
        return np.array([self.add(*row) for row in rows], np.int32)


class Scattered(NamedTuple):
    """The answers of a piece that belong to one part of the table, in the order of rows.

    Attributes:
        example: names of the examples.
        labeler: numbers of the labelers among the chunk's own.
        label: numbers of the classes among the piece's own.
        covariates: of the answers, in the order of the table's.
    """

    example: pa.Array
    labeler: npt.NDArray[np.int32]
    label: npt.NDArray[np.int32]
    covariates: list[npt.NDArray[np.float64]]


def number_of_parts(num_rows: int, most_per_part: int = MOST_PER_PART) -> int:
    """How many parts a table is divided into: a power of two."""
    num_parts = 1
    while num_rows > num_parts * most_per_part and num_parts < _MOST_PARTS:
        num_parts *= 2
    return num_parts


def scatter(
    table: ParquetTable,
    piece: Piece,
    number: int,
    num_parts: int,
    work: WorkDirectory,
) -> None:
    """Read a piece of the table, and keep its answers by part.

    Args:
        table: the table.
        piece: the piece.
        number: its number.
        num_parts: how many parts there are.
        work: where to keep them.

    Raises:
        InputError: for anything wrong with the rows.
    """
    classes = Classes()
    chunks = num_rows = 0
    lowest = np.full(len(table.covariates), np.inf)
    for batch in table.batches(piece):
        own_lowest = [values.min(initial=np.inf) for values in batch.covariates]
        lowest = np.minimum(lowest, own_lowest)
        _keep(batch, table, num_parts, classes, _chunk(work, number, chunks))
        chunks += 1
        num_rows += len(batch.example)
    found = {
        "chunks": chunks,
        "num_dropped": piece.num_rows - num_rows,
        "lowest": lowest.tolist(),
        "classes": classes.record(),
    }
    work.write(_record(number), found)


def is_scattered(number: int, work: WorkDirectory) -> bool:
    """Whether a piece has been read."""
    return work.has(_record(number))


def record_of(number: int, work: WorkDirectory) -> dict[str, Any]:
    """What was found in a piece.

    Its numbers of chunks and of rows dropped, its classes, and the lowest of each covariate.
    """
    found: dict[str, Any] = work.read(_record(number))
    return found


def labelers_of(number: int, chunk: int, work: WorkDirectory) -> pa.Array:
    """Names of the labelers in a chunk of a piece, by number."""
    _, batch = _open_chunk(_chunk(work, number, chunk))
    return batch.column("labeler").dictionary


def scattered(number: int, chunk: int, part: int, work: WorkDirectory) -> Scattered:
    """What a chunk of a piece holds of one part."""
    offsets, batch = _open_chunk(_chunk(work, number, chunk))
    rows = batch.slice(offsets[part], offsets[part + 1] - offsets[part])
    example, labeler, label, *covariates = rows.columns
    return Scattered(
        example,
        labeler.indices.to_numpy(),
        label.to_numpy(),
        [values.to_numpy() for values in covariates],
    )


def remove_scattered(work: WorkDirectory) -> None:
    """Let go of what the first pass kept."""
    _opened.cache_clear()
    work.remove(_FOLDER)


def _keep(
    batch: Batch,
    table: ParquetTable,
    num_parts: int,
    classes: Classes,
    path: Path,
) -> None:
    label = classes.codes(
        batch.label, table.columns["label"], batch.place, with_gaps=table.blank == "abstain"
    )
    part = part_of(hash_names(batch.example), num_parts)
    order = np.argsort(part, kind="stable")
    offsets = np.concatenate([[0], np.cumsum(np.bincount(part, minlength=num_parts))])
    example = batch.example if num_parts == 1 else batch.example.take(pa.array(order))
    labeler = pa.DictionaryArray.from_arrays(
        pa.array(batch.labeler.indices.to_numpy()[order]), batch.labeler.dictionary
    )
    covariates = [pa.array(values[order]) for values in batch.covariates]
    rows = pa.record_batch(
        [example, labeler, pa.array(label[order]), *covariates],
        names=["example", "labeler", "label", *map(str, range(len(covariates)))],
    )
    rows = rows.replace_schema_metadata({"offsets": offsets.astype(np.int64).tobytes()})
    with (
        whole_file(path) as partial,
        pa.OSFile(str(partial), "wb") as sink,
        pa.ipc.new_file(sink, rows.schema) as writer,
    ):
        writer.write_batch(rows)


def _open_chunk(path: Path) -> tuple[npt.NDArray[np.int64], pa.RecordBatch]:
    """Where the parts of a chunk begin, and its columns, left on the disk."""
    return _opened(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=512)
def _opened(path: Path, written: int) -> tuple[npt.NDArray[np.int64], pa.RecordBatch]:
    """The same; `written` tells a file from another that had its name."""
    reader = pa.ipc.open_file(pa.memory_map(str(path)))
    offsets = np.frombuffer(reader.schema.metadata[b"offsets"], np.int64)
    return offsets, reader.get_batch(0)


def _as_column(names: pa.Array, name: str, source: Source) -> Column:
    """Distinct names as texts and as they were given."""
    try:
        return Column.of_cells(plain_cells(names), name, source)
    except InputError as error:  # its row counts the distinct names
        raise InputError(error.what, where=source.name, hint=error.hint) from error
    except UnicodeDecodeError as error:
        raise not_utf8(name, source) from error


def _record(number: int) -> str:
    return f"{_FOLDER}/piece-{number:06d}.json"


def _chunk(work: WorkDirectory, number: int, chunk: int) -> Path:
    return work.path / _FOLDER / f"piece-{number:06d}-{chunk:04d}.arrow"
