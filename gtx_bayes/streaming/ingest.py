"""A table of answers in files, read by DuckDB: names numbered, answers partitioned by example.

Whatever the files are, the rest is done on Parquet, whose rows DuckDB numbers; other files are
converted first, each to a Parquet file of its own. So every row has a place: its file and its row.
"""

import concurrent.futures
import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gtx_bayes.abstentions import BLANK_HINT
from gtx_bayes.columns import ANSWER_ROLES, Column, Source, find_columns
from gtx_bayes.covariates import MICROSECONDS_PER_DAY, not_one_column
from gtx_bayes.errors import InputError
from gtx_bayes.io.contents import files_below
from gtx_bayes.io.readers import EXACT, UNREADABLE_PARQUET
from gtx_bayes.scratch import lacks_room
from gtx_bayes.streaming.request import address_of, is_remote
from gtx_bayes.streaming.work import WorkDirectory

if TYPE_CHECKING:
    import duckdb

MEMORY = "2GB"
"""What DuckDB's buffers may take unless told otherwise."""

SCATTERED, CONVERTED, SPILLED = "scattered", "converted", "duckdb"
"""Folders of the work directory."""

_KINDS = {
    ".csv": ",",
    ".tsv": "\t",
    ".tab": "\t",
    ".jsonl": "",
    ".ndjson": "",
    ".parquet": "",
    ".pq": "",
}
_PARQUET, _JSON = (".parquet", ".pq"), (".jsonl", ".ndjson")
_COMPRESSED = (".gz", ".zst")
_ROW_BITS = 40  # of a place: the file's number stands before them
_MOST_PARTS = 2**14
_ROW_GROUPS = "COMPRESSION snappy, ROW_GROUP_SIZE 32768"  # small: each is held as a whole
_LOOK_SECONDS = 0.5  # between looks at how much is done
_GAPS = pa.array(["", "nan", "NaN", "<NA>"], pa.large_string())
_WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER")
_NO_NAMES = re.compile(r"BLOB|STRUCT|MAP|UNION|INTERVAL|BIT|.*\]$")
_TIMES = re.compile(r"TIMESTAMP|DATE")
# What str.strip takes away, for names that DuckDB has to compare without.
_BLANKS = [*range(9, 14), *range(28, 33), 133, 160, 5760, *range(8192, 8203), 8232, 8233, 8239]
_BLANKS += [8287, 12288]


class AnswerFiles(NamedTuple):
    """Where the answers are, and how they are read: plain texts and numbers.

    Attributes:
        path: the table as it was given.
        files: its files, in order.
        first_row: number of the first row of each, as users count: 2 under a header.
        read: the Parquet files to read in their stead, or the same.
        columns: name of the column of each role.
        types: DuckDB's type of each.
        all_columns: names of all columns of the first file.
        covariates: columns of numbers or times that go with the answers.
        times: those of them that are times.
        num_rows: how many answers there are.
        has_whole_examples: whether all names of examples are whole numbers of 64 bits.
        durations: roles whose numbers are durations, by Arrow's unit.
    """

    path: str
    files: list[str]
    first_row: int
    read: list[str]
    columns: dict[str, str]
    types: dict[str, str]
    all_columns: list[str]
    covariates: list[str]
    times: list[str]
    num_rows: int
    has_whole_examples: bool
    durations: dict[str, str]

    def row(self, place: int) -> str:
        """File and row of a place, for a message."""
        file, row = place >> _ROW_BITS, place & ((1 << _ROW_BITS) - 1)
        return f"{self.files[file]}, row {row + self.first_row}"

    def no_value(self, role: str, place: int) -> InputError:
        """What to say of an empty cell."""
        otherwise = BLANK_HINT if role == "label" else ""
        return InputError(
            f"column '{self.columns[role]}' has no value.",
            where=self.row(place),
            hint=f"Fill it in or delete the row{otherwise}.",
        )

    def names(self, role: str, cells: pa.Array, places: Sequence[int]) -> pa.Array:
        """Distinct cells as names: `int64`, or text without surrounding blanks; null for a gap.

        Args:
            role: whose names they are.
            cells: the cells, as the file has them.
            places: a place of each, for errors.
        """
        if self.are_whole(role):
            return cells.cast(pa.int64())
        if pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type):
            text = pc.utf8_trim_whitespace(cells.cast(pa.large_string()))
            has_nul = pc.match_substring(text, "\0").fill_null(False)
            if pc.any(has_nul).as_py():
                raise InputError(
                    f"column '{self.columns[role]}' holds a NUL character.",
                    where=self.row(int(places[pc.index(has_nul, True).as_py()])),
                    hint="Remove it; the file may be damaged.",
                )
        else:
            keys = self.cells(role, cells, places).keys
            text = pa.array([str(key) for key in keys], pa.large_string())
        return pc.if_else(pc.is_in(text, _GAPS), None, text)

    def cells(self, role: str, cells: pa.Array, places: Sequence[int]) -> Column:
        """Distinct cells as a column, whose texts are those of a table in memory."""
        if role in self.durations:
            cells = cells.cast(pa.duration(self.durations[role]))
        rows = tuple(self.row(int(place)) for place in places)
        plain = pa.types.is_string(cells.type) or pa.types.is_integer(cells.type)
        values = cells.to_pylist() if plain else cells.to_pandas(types_mapper=EXACT.get)
        return Column.of_cells(values, self.columns[role], Source(self.path, rows=rows))

    def are_whole(self, role: str) -> bool:
        """Whether the names of a role are whole numbers of 64 bits."""
        if role in self.durations:
            return False
        return self.types[role] == "BIGINT" or (role == "example" and self.has_whole_examples)


@contextlib.contextmanager
def database(work: WorkDirectory, memory: str | None) -> Iterator["duckdb.DuckDBPyConnection"]:
    """DuckDB, which spills into the work directory and fetches nothing that it was not told to."""
    import duckdb

    with duckdb.connect(config={"autoinstall_known_extensions": False}) as connection:
        try:
            connection.execute("SET memory_limit = ?", [memory or MEMORY])
        except duckdb.Error as error:
            raise InputError(
                f"'{memory}' is no size of memory.", where="memory", hint="Say 4GB for four."
            ) from error
        connection.execute("SET temp_directory = ?", [str(work.path / SPILLED)])
        connection.execute("SET preserve_insertion_order = false")
        connection.execute("SET TimeZone = 'UTC'")
        with contextlib.suppress(duckdb.Error):  # in a notebook it needs ipywidgets
            connection.execute("SET enable_progress_bar = true")
            connection.execute("SET enable_progress_bar_print = false")
        try:
            yield connection
        except duckdb.OutOfMemoryException as error:
            raise InputError(
                f"{memory or MEMORY} of memory are too few to read the table.",
                where="memory",
                hint="Allow more.",
            ) from error


def open_table(
    connection: "duckdb.DuckDBPyConnection",
    path: Path,
    columns: Mapping[str, str],
    covariates: Sequence[str],
    work: WorkDirectory,
    callback: Callable[[str, int, int], object],
    groups: str | None = None,
) -> AnswerFiles:
    """Look at the files, and convert what is not Parquet.

    Args:
        connection: see `database`.
        path: a file, a folder, a pattern of names, or an address.
        columns: name of the column of a role, where no alias fits.
        covariates: columns of numbers or times that go with the answers.
        work: where converted files are kept.
        callback: called with how many files are converted.
        groups: column of the groups of the labelers, if there is one.

    Raises:
        InputError: if there is no file, one cannot be read, or they differ in their columns.
    """
    files = _files(connection, path)
    kind = _kind(files[0])
    read, first_row = list(files), 1 if kind in (*_PARQUET, *_JSON) else 2
    described: list[dict[str, str]] = []
    for number, file in enumerate(files):
        if kind not in _PARQUET:
            callback("Converting", number, len(files))
            read[number] = str(work.path / CONVERTED / f"file-{number:05d}.parquet")
            wanted = (*covariates, groups or "")
            _convert(connection, file, kind, columns, wanted, Path(read[number]))
        elif not is_remote(file):
            with _said_of([file]):
                _check_names(_names_in(file), file)
        described.append(_describe(connection, _scan([read[number]]), file))
    if kind not in _PARQUET:
        callback("Converting", len(files), len(files))
    found = find_columns(described[0], ANSWER_ROLES, columns, Source(files[0], 1))
    types = {role: _plain_type(described[0][name]) for role, name in found.items()}
    for file, schema in zip(files, described, strict=True):
        names = find_columns(schema, ANSWER_ROLES, columns, Source(file, 1))
        for role, name in names.items():
            given = _plain_type(schema[name])
            if _NO_NAMES.match(given):
                raise InputError(
                    f"column '{name}' holds {given}, neither text nor numbers.",
                    where=file,
                    hint="Write names as text or numbers.",
                )
            if (found[role], types[role]) != (name, given):
                raise _differing(files[0], found[role], types[role], file, name, given)
        if groups is not None and groups not in schema:
            raise InputError(
                f"there is no column '{groups}' with the groups of the labelers.",
                where=file,
                hint="Name a column of the table of answers, as it is spelt there.",
            )
        for name in covariates:
            if name not in schema or list(covariates).count(name) != 1:
                raise not_one_column(name, schema, file)
            if schema[name] != described[0][name]:
                first = described[0][name]
                raise _differing(files[0], name, first, file, name, schema[name])
    source = _scan(read)
    with _said_of(files, connection, read):
        num_rows = int(_value(connection, f"SELECT count(*) FROM {source}"))
        times = _times(connection, source, covariates, described[0], files[0])
        has_whole = types["example"] == "BIGINT" or (
            types["example"] in ("UBIGINT", "DOUBLE")
            and _are_whole(connection, source, found["example"])
        )
    if not num_rows:
        raise InputError(
            "the table has no rows.", where=str(path), hint="Give at least one row of data."
        )
    return AnswerFiles(
        address_of(path),
        list(files),
        first_row,
        read,
        found,
        types,
        list(described[0]),
        list(covariates),
        times,
        num_rows,
        bool(has_whole),
        _durations(files[0], kind, found),
    )


class Found(NamedTuple):
    """The distinct cells of a column, in the order of their first rows.

    Attributes:
        cells: the cells.
        places: where each is first.
        counts: how often each is there.
    """

    cells: pa.Array
    places: list[int]
    counts: list[int]


def distinct(connection: "duckdb.DuckDBPyConnection", table: AnswerFiles) -> dict[str, Found]:
    """The distinct cells of labelers and labels, by role; `partition` knows them by their order."""
    labeler, label = (_quoted(table.columns[role]) for role in ("labeler", "label"))
    query = (
        f"CREATE OR REPLACE TEMP TABLE cells AS SELECT {labeler} AS labeler, {label} AS label, "
        f"grouping({labeler}) = 1 AS is_label, min({_PLACE}) AS place, count(*) AS times, "
        "row_number() OVER (PARTITION BY is_label ORDER BY place) - 1 AS number "
        f"FROM {_scan(table.read)} GROUP BY GROUPING SETS (({labeler}), ({label}))"
    )
    with _said_of(table.files, connection, table.read):
        _run(connection, lambda: connection.execute(query))
    groups = {}
    for role, which in (("labeler", "NOT is_label"), ("label", "is_label")):
        query = f"SELECT {role} AS cell, place, times FROM cells WHERE {which} ORDER BY number"
        rows: pa.Table = connection.sql(query).to_arrow_table()
        places, counts = rows["place"].to_pylist(), rows["times"].to_pylist()
        groups[role] = Found(_one(rows["cell"]), places, counts)
    return groups


def groups_of(
    connection: "duckdb.DuckDBPyConnection", table: AnswerFiles, column: str
) -> dict[str, str]:
    """The group of every labeler, by name; the empty text for none.

    Raises:
        InputError: if a labeler is in two groups.
    """
    labeler = _quoted(table.columns["labeler"])
    query = (
        f"SELECT {labeler} AS labeler, {_trimmed(f'CAST({_quoted(column)} AS VARCHAR)')} AS bloc, "
        f"min({_PLACE}) AS place FROM {_scan(table.read)} GROUP BY 1, 2 ORDER BY place"
    )
    with _said_of(table.files, connection, table.read):
        rows: pa.Table = _run(connection, lambda: connection.sql(query).to_arrow_table())
    places = rows["place"].to_pylist()
    names = table.names("labeler", _one(rows["labeler"]), places).to_pylist()
    found: dict[str, str] = {}
    for name, bloc, place in zip(names, rows["bloc"].to_pylist(), places, strict=True):
        now = "" if bloc is None or bloc in _GAPS.to_pylist() else bloc
        if (first := found.setdefault(str(name), now)) != now:
            raise InputError(
                f"labeler '{name}' is in the groups '{first}' and '{now}'.",
                where=table.row(place),
                hint="Give every labeler one group.",
            )
    return found


def lowest(connection: "duckdb.DuckDBPyConnection", table: AnswerFiles) -> list[float]:
    """The lowest value of each covariate, times in days since 1970."""
    if not table.covariates:
        return []
    values = ", ".join(f"min({_number(name, table.times)})" for name in table.covariates)
    with _said_of(table.files, connection, table.read):
        (row,) = _all(connection, f"SELECT {values} FROM {_scan(table.read)}")
    return [np.nan if value is None else float(value) for value in row]


def partition(
    connection: "duckdb.DuckDBPyConnection",
    table: AnswerFiles,
    num_parts: int,
    work: WorkDirectory,
    callback: Callable[[str, int, int], object],
) -> None:
    """Write the rows by part, so that a part has all answers to its examples.

    Labelers and labels are numbers of what `distinct` found; examples are names.
    """
    name = _quoted(table.columns["example"])
    example = name
    if table.has_whole_examples and not table.durations.get("example"):
        example = f"CAST({name} AS BIGINT)"
    elif table.types["example"] == "VARCHAR":
        # Few names have blanks around them, and to look for them takes long.
        is_plain = " AND ".join(f"{name}[{at}] BETWEEN '!' AND '~'" for at in (1, -1))
        example = f"CASE WHEN {is_plain} THEN {name} ELSE {_trimmed(name)} END"
    covariates = "".join(
        f", CAST({_number(name, table.times)} AS DOUBLE) AS covariate_{at}"
        for at, name in enumerate(table.covariates)
    )
    labeler, label = (_quoted(table.columns[role]) for role in ("labeler", "label"))
    query = (
        f"COPY (SELECT answers.* REPLACE (who.number::INTEGER AS labeler, what.number::INTEGER AS "
        f"label) FROM (SELECT hash({example}) % {num_parts} AS part, {_PLACE} AS place, "
        f"{example} AS example, {labeler} AS labeler, {label} AS label{covariates} "
        f"FROM {_scan(table.read)}) AS answers "
        "LEFT JOIN (FROM cells WHERE NOT is_label) AS who "
        "ON answers.labeler IS NOT DISTINCT FROM who.labeler "
        "LEFT JOIN (FROM cells WHERE is_label) AS what "
        "ON answers.label IS NOT DISTINCT FROM what.label) "
        f"TO {_text(str(work.path / SCATTERED))} "
        f"(FORMAT parquet, PARTITION_BY (part), {_ROW_GROUPS})"
    )
    callback("Reading", 0, table.num_rows)

    def progress(share: float) -> None:
        callback("Reading", int(share * table.num_rows), table.num_rows)

    with _said_of(table.files, connection, table.read):
        _run(connection, lambda: connection.execute(query), progress)
    callback("Reading", table.num_rows, table.num_rows)


def rows_of(part: int, work: WorkDirectory) -> pa.Table | None:
    """What `partition` wrote of a part, in any order; None if it has no rows."""
    files = sorted((work.path / SCATTERED / f"part={part}").glob("data_*.parquet"))
    if not files:
        return None
    return pa.concat_tables([pq.read_table(file, partitioning=None) for file in files])


def number_of_parts(num_rows: int, most_per_part: int) -> int:
    """How many parts a table is divided into: a power of two."""
    num_parts = 1
    while num_rows > num_parts * most_per_part and num_parts < _MOST_PARTS:
        num_parts *= 2
    return num_parts


_OWN_COLUMNS = ("file_index", "file_row_number")
_PLACE = f"((file_index::BIGINT << {_ROW_BITS}) + file_row_number)"


def _files(connection: "duckdb.DuckDBPyConnection", path: Path) -> list[str]:
    """The files of a table, all of one kind."""
    address = address_of(path)
    if is_remote(address):
        with _said_of([address]):
            _load_httpfs(connection)
            names = [name for (name,) in _all(connection, f"FROM glob({_text(address)})")]
    elif path.is_dir():
        try:
            names = list(map(str, files_below(path)))
        except OSError as error:
            raise InputError(
                f"the folder cannot be read: {error.strerror}.",
                where=str(path),
                hint="Give a folder you may read.",
            ) from error
    elif path.is_file():
        names = [str(path)]
    else:
        found = sorted(name for (name,) in _all(connection, f"FROM glob({_text(address)})"))
        names = [name for name in found if not Path(name).name.startswith(".")]
    kinds = {_kind(name) for name in names} & _KINDS.keys()
    kind = min(kinds.intersection(_PARQUET) or kinds, default="")
    kept = [name for name in names if _kind(name) == kind]
    if not kept:
        raise InputError(
            "the folder holds no Parquet file." if path.is_dir() else "there is no such table.",
            where=address,
            hint=f"Give files that end in {', '.join(_KINDS)}, perhaps compressed: .gz or .zst.",
        )
    return kept


def _kind(name: str) -> str:
    """The ending of a file's name that says how it is read."""
    suffixes = [suffix.lower() for suffix in Path(name).suffixes]
    kept = suffixes[:-1] if suffixes[-1:] and suffixes[-1] in _COMPRESSED else suffixes
    return kept[-1] if kept else ""


def _load_httpfs(connection: "duckdb.DuckDBPyConnection") -> None:
    import duckdb

    try:
        connection.execute("LOAD httpfs")
    except duckdb.Error as error:
        raise InputError(
            "to read from there DuckDB needs its extension httpfs, which is not installed.",
            where="labels",
            hint="Install it once: python -c \"import duckdb; duckdb.sql('INSTALL httpfs')\".",
        ) from error


def _convert(
    connection: "duckdb.DuckDBPyConnection",
    file: str,
    kind: str,
    columns: Mapping[str, str],
    covariates: Sequence[str],
    target: Path,
) -> None:
    """Write what is needed of a file of text as Parquet, rows in their order."""
    given = _literal(file)
    as_json = "format = 'newline_delimited', hive_partitioning = false"
    if kind in _JSON:
        source = f"read_json({given}, {as_json})"
    else:
        # Nothing is guessed, and no line left out.
        as_text = (
            f"{given}, delim = {_text(_KINDS[kind])}, quote = '\"', escape = '\"', comment = '', "
            "skip = 0, all_varchar = true, hive_partitioning = false"
        )
        source = f"read_csv({as_text}, header = true)"
        with _said_of([file]):
            first = _all(connection, f"FROM read_csv({as_text}, header = false) LIMIT 1")
        _check_names([str(name) for name in first[0] if name is not None] if first else [], file)
    schema = _describe(connection, source, file)
    roles = find_columns(schema, ANSWER_ROLES, columns, Source(file, 1))
    wanted = [name for name in schema if name in {*roles.values(), *covariates}]
    if kind in _JSON:
        fields = ", ".join(f"{_text(name)}: 'VARCHAR'" for name in wanted)
        source = f"read_json({given}, {as_json}, columns = {{{fields}}})"
    target.parent.mkdir(parents=True, exist_ok=True)
    cells = ", ".join(map(_quoted, wanted))
    with _said_of([file]):
        connection.execute("SET preserve_insertion_order = true")
        query = (
            f"COPY (SELECT {cells} FROM {source}) TO {_text(str(target))} "
            f"(FORMAT parquet, {_ROW_GROUPS}, USE_TMP_FILE false)"
        )
        _run(connection, lambda: connection.execute(query))
        connection.execute("SET preserve_insertion_order = false")


def _names_in(file: str) -> list[str]:
    """The columns of a Parquet file; none where it cannot be read, of which DuckDB says more."""
    try:
        return list(pq.read_schema(file).names)
    except UNREADABLE_PARQUET:
        return []


def _check_names(names: Sequence[str], file: str) -> None:
    """Raise `InputError` for columns that DuckDB would take for one another, or for its own."""
    seen: dict[str, str] = {}
    for name in names:
        if name.lower() in _OWN_COLUMNS:
            raise InputError(
                f"a column is called '{name}', which is what rows are numbered by.",
                where=file,
                hint="Rename it.",
            )
        if seen.setdefault(name.lower(), name) != name or names.count(name) > 1:
            raise InputError(
                f"two columns are called '{seen[name.lower()]}' and '{name}'.",
                where=file,
                hint="Rename one of them, by more than the case of its letters.",
            )


def _times(
    connection: "duckdb.DuckDBPyConnection",
    source: str,
    covariates: Sequence[str],
    schema: Mapping[str, str],
    file: str,
) -> list[str]:
    """Which covariates are times; raises `InputError` for what is neither times nor numbers."""
    found = []
    for name in covariates:
        given, cell = schema[name], _quoted(name)
        is_time = _TIMES.match(given) is not None
        is_number = _plain_type(given) in ("BIGINT", "UBIGINT", "DOUBLE", "BOOLEAN")
        if given == "VARCHAR":
            is_number, is_time = (
                bool(_value(connection, f"SELECT count(*) FILTER ({kind}) = 0 FROM {source}"))
                for kind in (
                    f"trim({cell}) <> '' AND TRY_CAST({cell} AS DOUBLE) IS NULL",
                    f"trim({cell}) <> '' AND TRY_CAST({cell} AS TIMESTAMPTZ) IS NULL",
                )
            )
        if is_time and not is_number:
            found.append(name)
        elif not is_number and not given.startswith("DECIMAL"):
            raise InputError(
                f"covariate '{name}' holds {given}, neither numbers nor times.",
                where=file,
                hint="Write it as numbers, or as timestamps.",
            )
    return found


def _number(name: str, times: Sequence[str]) -> str:
    """A covariate as a number, times as days since 1970."""
    if name in times:
        return f"epoch_us(TRY_CAST({_quoted(name)} AS TIMESTAMPTZ)) / {MICROSECONDS_PER_DAY}.0"
    return f"TRY_CAST({_quoted(name)} AS DOUBLE)"


def _are_whole(connection: "duckdb.DuckDBPyConnection", source: str, name: str) -> bool:
    cell = _quoted(name)
    query = (
        f"SELECT bool_and({cell} = trunc({cell}) AND abs({cell}::DOUBLE) < 2.0^63) FROM {source}"
    )
    return bool(_value(connection, query))


def _durations(file: str, kind: str, columns: Mapping[str, str]) -> dict[str, str]:
    """Roles whose column Arrow calls a duration, which Parquet has no type for, and the unit."""
    if kind not in _PARQUET or is_remote(file):
        return {}
    schema = pq.read_schema(file)
    types = {role: schema.field(name).type for role, name in columns.items()}
    return {role: of.unit for role, of in types.items() if pa.types.is_duration(of)}


def _plain_type(given: str) -> str:
    """The type of the values, however wide numbers are."""
    if given.startswith("ENUM"):
        return "VARCHAR"
    if given in _WHOLE:
        return "BIGINT"
    return "DOUBLE" if given == "FLOAT" else given


def _describe(connection: "duckdb.DuckDBPyConnection", source: str, file: str) -> dict[str, str]:
    """DuckDB's type of every column of a file."""
    with _said_of([file]):
        rows = _all(connection, f"DESCRIBE SELECT * FROM {source}")
    return {name: of for name, of, *_ in rows}


def _differing(
    first: str, name: str, given: str, file: str, other_name: str, other: str
) -> InputError:
    return InputError(
        f"column '{name}' of {Path(first).name} holds {given}, column '{other_name}' here {other}.",
        where=file,
        hint="Give all files of a table the same columns, of the same types.",
    )


@contextlib.contextmanager
def _said_of(
    files: Sequence[str],
    connection: "duckdb.DuckDBPyConnection | None" = None,
    read: Sequence[str] = (),
) -> Iterator[None]:
    """Say what DuckDB cannot read, and in which file.

    Args:
        files: as users know them.
        connection: to try the files with, where there are several.
        read: what was read in their stead.
    """
    import duckdb

    try:
        yield
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        if lacks_room(error) is not None:
            raise
        named = [file for file in files if file in str(error)]
        if connection is not None and not named:
            pairs = zip(files, read, strict=True)
            named = [file for file, of in pairs if not _is_readable(connection, of)]
        lines = [line for line in str(error).splitlines() if line.strip()]
        said = re.sub(r"^\w[\w ]* Error: ", "", lines[0]).rstrip(".")
        kind = "Parquet" if _kind(files[0]) in _PARQUET else "table"
        raise InputError(
            f"the file is no readable {kind}: {said}.",
            where=(named or files)[0] if len(files) == 1 or named else str(Path(files[0]).parent),
            hint="Write it again; it may be cut short.",
        ) from error


def _is_readable(connection: "duckdb.DuckDBPyConnection", file: str) -> bool:
    """Whether all of a file can be read."""
    import duckdb

    try:
        connection.execute(f"SELECT max(hash(rows)) FROM {_scan([file])} AS rows")
    except duckdb.Error:
        return False
    return True


def _scan(files: Sequence[str]) -> str:
    names = ", ".join(map(_literal, files))
    return f"read_parquet([{names}], hive_partitioning = false, union_by_name = true)"


def _literal(name: str) -> str:
    """A file's name, of which DuckDB is to take no character for a pattern."""
    return _text(name if is_remote(name) else re.sub(r"([*?\[])", r"[\1]", name))


def _run[R](
    connection: "duckdb.DuckDBPyConnection",
    query: Callable[[], R],
    progress: Callable[[float], object] = lambda share: None,
) -> R:
    """Run a query beside this thread, which hears signals and tells how much is done."""
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        running = thread.submit(query)
        try:
            while not concurrent.futures.wait([running], _LOOK_SECONDS).done:
                progress(min(max(connection.query_progress(), 0.0), 99.0) / 100.0)
            return running.result()
        except BaseException:
            connection.interrupt()
            raise


def _all(connection: "duckdb.DuckDBPyConnection", query: str) -> list[tuple[Any, ...]]:
    return _run(connection, lambda: connection.execute(query).fetchall())


def _value(connection: "duckdb.DuckDBPyConnection", query: str) -> Any:
    return _all(connection, query)[0][0]


def _one(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _trimmed(text: str) -> str:
    """Without surrounding blanks, as `str.strip` has them."""
    return f"trim({text}, {' || '.join(f'chr({code})' for code in _BLANKS)})"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
