"""A Parquet table of answers, one file or a folder of them, read piece by piece."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gtx_bayes.abstentions import BLANK_HINT, Blank
from gtx_bayes.columns import ANSWER_ROLES, Column, Source, find_columns
from gtx_bayes.covariates import MICROSECONDS_PER_DAY, no_finite_value, not_one_column
from gtx_bayes.errors import InputError
from gtx_bayes.io.readers import EXACT, is_parquet, unreadable_parquet
from gtx_bayes.streaming.hashing import text_buffers

MOST_ROWS = 2**20
"""The most rows that are held at a time while a table is read."""

_NO_NAMES = (
    *(pa.types.is_nested, pa.types.is_binary, pa.types.is_large_binary, pa.types.is_interval),
    *(pa.types.is_binary_view, pa.types.is_fixed_size_binary),
)
_GAPS = pa.array(["", "nan", "NaN", "<NA>"], pa.large_string())
_LONGEST_GAP = 4


class Piece(NamedTuple):
    """A few row groups of a file: what is read, or read again, at a time.

    Attributes:
        file: path of the file.
        row_groups: which of its row groups.
        first_row: number of the first of its rows, counted from 1.
        num_rows: how many there are.
    """

    file: str
    row_groups: tuple[int, ...]
    first_row: int
    num_rows: int


class Batch(NamedTuple):
    """Some rows of a piece.

    Attributes:
        example: names of the examples, `large_string` without surrounding blanks or `int64`.
        labeler: names of the labelers, of the same types, encoded by a dictionary of those that
            occur, in the order of their first appearance.
        label: the classes answered, encoded likewise, as they are in the file.
        place: where the rows are.
        covariates: numbers that go with each row, times as days since 1970.
    """

    example: pa.Array
    labeler: pa.DictionaryArray
    label: pa.DictionaryArray
    place: Source
    covariates: tuple[npt.NDArray[np.float64], ...] = ()


@dataclasses.dataclass(frozen=True)
class ParquetTable:
    """Where the answers are, and how they are read.

    Attributes:
        path: the file or the folder.
        pieces: what there is to read, in the order of the files' names.
        columns: name of the column of each role.
        example_type: type of the examples' names: `int64` where all are whole numbers of 64 bits
            and none of them is text, else `large_string`.
        all_columns: names of all columns of the first file.
        blank: what a blank answer is.
        covariates: columns of numbers or times that go with the answers.
        times: those of them that are times.
    """

    path: Path
    pieces: tuple[Piece, ...]
    columns: dict[str, str]
    example_type: pa.DataType
    all_columns: tuple[str, ...] = ()
    blank: Blank = "error"
    covariates: tuple[str, ...] = ()
    times: tuple[str, ...] = ()

    @classmethod
    def open(
        cls,
        path: Path,
        columns: Mapping[str, str],
        blank: Blank = "error",
        covariates: Sequence[str] = (),
    ) -> "ParquetTable":
        """Look at what the files say of themselves.

        Args:
            path: a file, or a folder whose Parquet files hold one table.
            columns: name of the column of a role, where no alias fits.
            blank: what a blank answer is.
            covariates: columns of numbers or times that go with the answers.

        Raises:
            InputError: if there is no file, one cannot be read, or they differ in their columns.
        """
        files = _files(path)
        first: dict[str, pa.DataType] = {}
        found: dict[str, str] = {}
        all_columns: tuple[str, ...] = ()
        times: tuple[str, ...] = ()
        pieces: list[Piece] = []
        for file in files:
            try:
                parquet = pq.ParquetFile(file)
                schema, metadata = parquet.schema_arrow, parquet.metadata
            except (pa.ArrowException, OSError) as error:
                raise unreadable_parquet(file, error) from error
            names = find_columns(schema.names, ANSWER_ROLES, columns, Source(str(file), 1))
            types = {role: _plain_type(schema.field(name).type) for role, name in names.items()}
            _check_types(types, names, file)
            own_times = _times(schema, covariates, file)
            if not first:
                first, found, all_columns = types, names, tuple(schema.names)
                times = own_times
            if own_times != times:
                raise InputError(
                    f"the covariates that are times are {list(own_times)} here and {list(times)} "
                    f"in {files[0].name}.",
                    where=str(file),
                    hint="Give all files of a table the same columns, of the same types.",
                )
            for role, name in found.items():
                if names != found or types[role] != first[role]:
                    raise InputError(
                        f"column '{name}' of {files[0].name} holds {first[role]}, column "
                        f"'{names[role]}' here {types[role]}.",
                        where=str(file),
                        hint="Give all files of a table the same columns, of the same types.",
                    )
            pieces.extend(_pieces(file, metadata))
        if not pieces:
            raise InputError(
                "the table has no rows.", where=str(path), hint="Give at least one row of data."
            )
        is_whole = first["example"] == pa.int64() or (
            first["example"] in (pa.uint64(), pa.float64())
            and _are_whole_numbers(files, found["example"])
        )
        example_type = pa.int64() if is_whole else pa.large_string()
        return cls(
            path, tuple(pieces), found, example_type, all_columns, blank, tuple(covariates), times
        )

    @property
    def num_rows(self) -> int:
        """How many answers there are."""
        return sum(piece.num_rows for piece in self.pieces)

    def batches(self, piece: Piece) -> Iterator[Batch]:
        """The rows of a piece, at most `MOST_ROWS` at a time; without those to drop.

        Raises:
            InputError: if the file is damaged, or a cell is empty or no name.
        """
        at = {role: self.columns[role] for role in ("labeler", "label")}
        row = piece.first_row
        try:
            # Names of few labelers and classes come as a dictionary: half the time.
            parquet = pq.ParquetFile(piece.file, read_dictionary=list(at.values()))
            batches = parquet.iter_batches(
                MOST_ROWS, list(piece.row_groups), [*self.columns.values(), *self.covariates]
            )
            by_key = dict(self.columns) | {_key(name): name for name in self.covariates}
            for batch in batches:
                cells = {key: batch.column(name) for key, name in by_key.items()}
                place = Source(piece.file, row)
                row += len(batch)
                label, _ = _encoded(
                    cells["label"],
                    at["label"],
                    place,
                    with_gaps=self.blank != "error",
                    otherwise=BLANK_HINT,
                )
                if self.blank == "drop":
                    kept = _rows_with_name(label, at["label"], place)
                    if not kept.size:
                        continue
                    if kept.size < len(batch):
                        place = dataclasses.replace(place, kept=kept)
                        cells = {key: column.take(pa.array(kept)) for key, column in cells.items()}
                        label, _ = _encoded(cells["label"], at["label"], place)
                yield Batch(
                    _example_names(
                        cells["example"], self.example_type, self.columns["example"], place
                    ),
                    _labeler_names(cells["labeler"], at["labeler"], place),
                    label,
                    place,
                    tuple(_as_floats(cells[_key(name)], name, place) for name in self.covariates),
                )
        except (pa.ArrowException, OSError) as error:
            raise unreadable_parquet(Path(piece.file), error) from error

    def rows_of(self, **wanted: str) -> list[str]:
        """The places of the rows with these names, by role: a search, for messages."""
        return [
            batch.place.row(int(at))
            for piece in self.pieces
            for batch in self.batches(piece)
            for at in np.flatnonzero(_matches(batch, wanted))
        ]


def _matches(batch: Batch, wanted: Mapping[str, str]) -> npt.NDArray[np.bool_]:
    is_match = np.ones(len(batch.example), bool)
    for role, name in wanted.items():
        cells = getattr(batch, role)
        if isinstance(cells, pa.DictionaryArray):
            cells = cells.dictionary_decode()
        text = pc.utf8_trim_whitespace(cells.cast(pa.large_string()))
        is_match &= pc.equal(text, name).to_numpy(zero_copy_only=False)
    return is_match


def _files(path: Path) -> list[Path]:
    try:
        if not path.is_dir():
            return [path]
        files = sorted(
            file
            for file in path.rglob("*")
            if is_parquet(file)
            and file.is_file()
            and not any(part[0] in "._" for part in file.relative_to(path).parts)
        )
    except OSError as error:
        raise InputError(
            f"the folder cannot be read: {error.strerror}.",
            where=str(path),
            hint="Give a folder you may read.",
        ) from error
    if not files:
        raise InputError(
            "the folder holds no Parquet file.",
            where=str(path),
            hint="Give a folder of files called *.parquet.",
        )
    return files


def _pieces(file: Path, metadata: pq.FileMetaData) -> Iterator[Piece]:
    """Row groups, small ones together."""
    groups: list[int] = []
    row, num_rows = 1, 0
    for group in range(metadata.num_row_groups):
        more = metadata.row_group(group).num_rows
        if groups and num_rows + more > MOST_ROWS:
            yield Piece(str(file), tuple(groups), row, num_rows)
            row, num_rows, groups = row + num_rows, 0, []
        groups.append(group)
        num_rows += more
    if num_rows:
        yield Piece(str(file), tuple(groups), row, num_rows)


def _plain_type(given: pa.DataType) -> pa.DataType:
    """The type of the values, however they are encoded and however wide numbers are."""
    if pa.types.is_dictionary(given):
        given = given.value_type
    if pa.types.is_integer(given):
        return given if given == pa.uint64() else pa.int64()
    if pa.types.is_floating(given):
        return pa.float64()
    is_text = pa.types.is_string(given) or pa.types.is_large_string(given)
    is_text = is_text or pa.types.is_string_view(given)
    return pa.large_string() if is_text else given


def _check_types(types: Mapping[str, pa.DataType], names: Mapping[str, str], file: Path) -> None:
    for role, given in types.items():
        if isinstance(given, pa.BaseExtensionType) or any(is_it(given) for is_it in _NO_NAMES):
            raise InputError(
                f"column '{names[role]}' holds {given}, neither text nor numbers.",
                where=str(file),
                hint="Write names as text or numbers.",
            )


def _key(name: str) -> str:
    """What a covariate is called among the roles."""
    return f"covariate {name}"


def _times(schema: pa.Schema, covariates: Sequence[str], file: Path) -> tuple[str, ...]:
    """Which of the covariates are times.

    Raises:
        InputError: for a column that is not there, or holds neither numbers nor times.
    """
    found = []
    for name in covariates:
        if schema.names.count(name) != 1 or list(covariates).count(name) != 1:
            raise not_one_column(name, schema.names, str(file))
        given = _plain_type(schema.field(name).type)
        is_number = pa.types.is_boolean(given) or pa.types.is_decimal(given)
        if pa.types.is_timestamp(given) or pa.types.is_date(given):
            found.append(name)
        elif not (is_number or pa.types.is_integer(given) or pa.types.is_floating(given)):
            raise InputError(
                f"covariate '{name}' holds {given}, neither numbers nor times.",
                where=str(file),
                hint="Write it as numbers, or as timestamps.",
            )
    return tuple(found)


def _as_floats(cells: pa.Array, name: str, place: Source) -> npt.NDArray[np.float64]:
    """A covariate's cells as numbers, times as days since 1970."""
    if isinstance(cells, pa.DictionaryArray):
        cells = cells.dictionary_decode()
    if pa.types.is_float16(cells.type):
        cells = cells.cast(pa.float32())
    unit = 1.0
    if pa.types.is_timestamp(cells.type) or pa.types.is_date(cells.type):
        zone = cells.type.tz if pa.types.is_timestamp(cells.type) else None
        cells = cells.cast(pa.timestamp("us", zone), safe=False).cast(pa.int64())
        unit = MICROSECONDS_PER_DAY
    values = cells.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False) / unit
    missing = np.flatnonzero(~np.isfinite(values))
    if missing.size:
        raise no_finite_value(name, place.row(int(missing[0])), missing.size)
    return np.asarray(values, np.float64)


def _are_whole_numbers(files: Sequence[Path], name: str) -> bool:
    """Whether a column of floating-point or of unsigned numbers holds `int64` alone."""
    for file in files:
        try:
            for batch in pq.ParquetFile(file).iter_batches(MOST_ROWS, columns=[name]):
                cells = batch.column(0)
                if isinstance(cells, pa.DictionaryArray):
                    cells = cells.dictionary_decode()
                cells.cast(pa.int64())
        except pa.ArrowInvalid:
            return False
        except (pa.ArrowException, OSError) as error:
            raise unreadable_parquet(file, error) from error
    return True


def _example_names(
    cells: pa.Array, example_type: pa.DataType, name: str, place: Source
) -> pa.Array:
    """Names of examples as text or whole numbers."""
    if isinstance(cells, pa.DictionaryArray):
        cells = cells.dictionary_decode()
    _refuse_gaps(cells.is_null().to_numpy(zero_copy_only=False), name, place)
    if _plain_type(cells.type) == pa.large_string():
        return _trimmed(cells.cast(pa.large_string()), name, place)
    if example_type == pa.int64():
        return _as_whole_numbers(cells, name, place)
    return _as_text(cells, name, place)


def plain_cells(cells: pa.Array) -> Iterable[object]:
    """Values as pandas has them, whose texts are those of a table in memory."""
    if _plain_type(cells.type) in (pa.large_string(), pa.int64()):
        return cells.to_pylist()
    return cells.to_pandas(types_mapper=EXACT.get)


def _as_text(
    cells: pa.Array, name: str, place: Source, rows: npt.NDArray[np.integer] | None = None
) -> pa.Array:
    """Names of any other type as text; `rows` if these are not all rows."""
    codes, distinct = pd.factorize(cells.to_pandas(types_mapper=EXACT.get))
    column = Column.of_cells(distinct, name, Source(place.name))
    keys = np.append(column.keys, [""])[codes]
    _refuse_gaps(keys == "", name, place, rows)
    return pa.array(list(keys), pa.large_string())


def _encoded(
    cells: pa.Array, name: str, place: Source, *, with_gaps: bool = False, otherwise: str = ""
) -> tuple[pa.DictionaryArray, npt.NDArray[np.integer]]:
    """Names by a dictionary of those that occur, and the rows where each comes first.

    Where there may be gaps these are a null in the dictionary.
    """
    if pa.types.is_float16(cells.type):  # which Arrow does not encode
        cells = cells.cast(pa.float32())
    if not isinstance(cells, pa.DictionaryArray):
        cells = cells.dictionary_encode()
    if not with_gaps:
        _refuse_gaps(
            cells.is_null().to_numpy(zero_copy_only=False), name, place, otherwise=otherwise
        )
    elif cells.indices.null_count:
        known = cells.dictionary
        indices = cells.indices.cast(pa.int32()).fill_null(len(known))
        known = pa.concat_arrays([known, pa.nulls(1, known.type)])
        cells = pa.DictionaryArray.from_arrays(indices, known)
    indices = cells.indices.to_numpy()
    first = np.full(len(cells.dictionary), indices.size)
    first[indices[::-1]] = np.arange(indices.size)[::-1]  # of several the last one counts
    order = np.argsort(first, kind="stable")[: np.count_nonzero(first < indices.size)]
    place_of = np.empty(first.size, np.int32)
    place_of[order] = np.arange(order.size, dtype=np.int32)
    names = cells.dictionary.take(pa.array(order))
    return pa.DictionaryArray.from_arrays(pa.array(place_of[indices]), names), first[order]


def _rows_with_name(encoded: pa.DictionaryArray, name: str, place: Source) -> npt.NDArray[np.intp]:
    """Which rows hold a name and no gap."""
    column = Column.of_cells(encoded.dictionary.to_pylist(), name, Source(place.name))
    return np.flatnonzero((column.keys != "")[encoded.indices.to_numpy()])


def _labeler_names(cells: pa.Array, name: str, place: Source) -> pa.DictionaryArray:
    """Names of labelers as text or whole numbers, encoded."""
    encoded, first = _encoded(cells, name, place)
    names = encoded.dictionary
    if _plain_type(names.type) == pa.large_string():
        names = _trimmed(names.cast(pa.large_string()), name, place, first)
    elif _plain_type(names.type) == pa.int64():
        names = _as_whole_numbers(names, name, place)
    else:
        names = _as_text(names, name, place, first)
    return pa.DictionaryArray.from_arrays(encoded.indices, names)


def _as_whole_numbers(names: pa.Array, name: str, place: Source) -> pa.Array:
    try:
        return names.cast(pa.int64())
    except pa.ArrowInvalid as error:
        raise InputError(
            f"column '{name}' holds a number that is no whole one of 64 bits: {error}.",
            where=place.name,
            hint="Give names as text or as whole numbers.",
        ) from error


def not_utf8(name: str, place: Source) -> InputError:
    """What to say of a column whose text cannot be read."""
    return InputError(
        f"column '{name}' holds text that is not UTF-8.",
        where=place.name,
        hint="Write the table again as UTF-8.",
    )


def _trimmed(
    names: pa.Array, name: str, place: Source, rows: npt.NDArray[np.integer] | None = None
) -> pa.Array:
    """Texts without surrounding blanks, none of them empty; `rows` if these are not all rows."""
    try:
        names.validate(full=True)
    except pa.ArrowInvalid as error:
        raise not_utf8(name, place) from error
    offsets, text = text_buffers(names)
    length = np.diff(offsets)
    if text.size and (text == 0).any():
        at = int(np.searchsorted(offsets, np.flatnonzero(text == 0)[0], side="right")) - 1
        raise InputError(
            f"column '{name}' holds a NUL character.",
            where=place.row(at if rows is None else int(rows[at])),
            hint="Remove it; the file may be damaged.",
        )
    _refuse_gaps(length == 0, name, place, rows)
    ends = np.concatenate([text[offsets[:-1]], text[offsets[1:] - 1]])
    if ((ends <= ord(" ")) | (ends >= 0x80)).any():  # blanks beyond ASCII have high bytes
        names = pc.utf8_trim_whitespace(names)
        length = np.diff(text_buffers(names)[0])
    if length.min(initial=_LONGEST_GAP + 1) <= _LONGEST_GAP:
        is_gap = pc.is_in(names, _GAPS).to_numpy(zero_copy_only=False)
        _refuse_gaps(is_gap, name, place, rows)
    return names


def _refuse_gaps(
    is_gap: npt.NDArray[np.bool_],
    name: str,
    place: Source,
    rows: npt.NDArray[np.integer] | None = None,
    *,
    otherwise: str = "",
) -> None:
    gaps = np.flatnonzero(is_gap)
    if gaps.size:
        at = gaps[0] if rows is None else rows[gaps[0]]
        others = f" ({gaps.size} such row(s) among the next {len(is_gap)})" if rows is None else ""
        raise InputError(
            f"column '{name}' has no value.",
            where=place.row(int(at)),
            hint=f"Fill it in or delete the row{others}{otherwise}.",
        )
