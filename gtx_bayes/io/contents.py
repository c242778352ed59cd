"""What files hold: out of gzip, zstd and zip, off standard input, in UTF-8 whatever they were."""

import codecs
import collections
import gzip
import io
import stat
import sys
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from gtx_bayes.columns import Source
from gtx_bayes.errors import InputError, WarningNote

STANDARD_INPUT = "-"
"""The path that stands for it."""

SEPARATORS = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".txt": "\t"}
JSON_LINES = (".jsonl", ".ndjson")
JSON = (".json",)
XML = (".xml",)
PARQUET = (".parquet", ".pq")
WORKBOOKS = (".xlsx", ".xlsm")
ENDINGS = (*SEPARATORS, *JSON_LINES, *JSON, *XML, *PARQUET, *WORKBOOKS)
"""Of the files that are read as they are."""

COMPRESSED = (".gz", ".zst", ".zip", ".eval")
"""Of files that hold another, or several."""

_SHOWN = 5  # names in a message
_BINARY = (*PARQUET, *WORKBOOKS)
_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_MOST_BYTES = 2**31  # of what comes out of a packed file, so that a small one fills no memory
_MOST_LAYERS = 4  # of packing, one in the other
_AT_ONCE = 2**24  # bytes that are unpacked


class Content(NamedTuple):
    """What one file holds.

    Attributes:
        name: what messages call it.
        file: the file, unpacked: in an archive the member.
        ending: of the file itself, lower case, such as ".csv".
        raw: its bytes; text is UTF-8 without a mark.
        notes: what a user should know of the files beside it.
        header: names of the columns of a delimited file that has no line with them.
        header_option: the argument that gives them, if there is one.
    """

    name: str
    file: Path
    ending: str
    raw: bytes
    notes: tuple[str, ...] = ()
    header: tuple[str, ...] = ()
    header_option: str = ""

    def error(self, what: str, hint: str, row: int | None = None) -> InputError:
        """What is wrong with the file, or in a row of it, counted from 1."""
        return Source(self.name).error(what, hint, row)

    def check_header(self, columns: Sequence[str]) -> None:
        """Raise `InputError` for a header that is blank or names a column twice."""
        header = [name.strip() for name in columns]
        if not any(header):
            raise self.error("the first line is blank.", "Begin the file with a header.")
        times = collections.Counter(header)
        twice = sorted(name for name in times if times[name] > 1)
        if twice:
            more = f" and {len(twice) - _SHOWN} more" if len(twice) > _SHOWN else ""
            option = self.header_option
            by = f"; if this line is a row already, name them all by `{option}=`" if option else ""
            what = f"the header names {twice[:_SHOWN]}{more} more than once."
            raise self.error(what, f"Give every column its own name{by}.")

    def text(self) -> str:
        """The bytes as text; raises `InputError` for what is no UTF-8."""
        try:
            return self.raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.error(
                f"byte {error.object[error.start]:#04x} is not UTF-8 text.",
                "Save the table as UTF-8, or as UTF-16 with its mark.",
            ) from error


def open_contents(path: str | Path) -> list[Content]:
    """The contents of a file, of each file in a zip archive or a folder, or of standard input.

    Raises:
        InputError: if there is nothing to read, or nothing that can be read.
    """
    path = Path(path).expanduser()
    if str(path) == STANDARD_INPUT:
        raw = sys.stdin.buffer.read()
        if not raw:
            raise InputError("it is empty.", where="standard input", hint="Pipe a table into it.")
        return list(_unpacked("standard input", Path(), raw, _Room()))
    if _is_folder(path):
        files, notes = tables_in(path)
        contents = [content for file in files for content in open_contents(file)]
        return [contents[0]._replace(notes=notes), *contents[1:]]
    check_file(path)
    ending = ending_of(path)
    if ending not in (*ENDINGS, *COMPRESSED):
        raise _unknown(str(path), path.suffix)
    return list(_unpacked(str(path), path, path.read_bytes(), _Room()))


def tables_in(folder: Path) -> tuple[list[Path], tuple[str, ...]]:
    """The tables in a folder and those below, and notes on the files that are passed over.

    Where some are Parquet they are the table. Files and folders whose name begins with a dot or an
    underscore count for nothing.

    Raises:
        InputError: if there is none.
    """
    inside = files_below(folder)
    files = [file for file in inside if ending_of(file) in (*ENDINGS, *COMPRESSED)]
    if not files:
        hint = "Give the path of a table, or of a folder with tables."
        raise Source(str(folder)).error("is a directory that holds no table.", hint)
    parquet = [file for file in files if ending_of(file) in PARQUET]
    files = parquet or files
    left = collections.Counter(ending_of(file) for file in inside if file not in set(files))
    endings = [f"{number} '{ending}'" for ending, number in left.most_common(_SHOWN)]
    endings += [f"{len(left) - _SHOWN} other kinds"] if len(left) > _SHOWN else []
    if not left:
        return files, ()
    note = f"{folder}: {left.total()} file(s) are not read ({', '.join(endings)})"
    if parquet and set(left) & {*ENDINGS, *COMPRESSED}:
        return files, (WarningNote(f"{note}: its Parquet files are the table."),)
    return files, (f"{note}: they are no tables by their endings.",)


def files_below(folder: Path) -> list[Path]:
    """The files in a folder and those below, but for names with a dot or an underscore first."""
    found: list[Path] = []
    for place, folders, names in folder.walk():
        folders[:] = [name for name in folders if name[0] not in "._"]  # nothing below is looked at
        found += [place / name for name in names if name[0] not in "._"]
    return sorted(file for file in found if file.is_file())


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # such as a name that is too long
        return False


def ending_of(path: Path) -> str:
    """The ending of a file, lower case."""
    return path.suffix.lower()


def check_file(path: Path) -> None:
    """Raise `InputError` unless there is a file that can be read and is not empty."""
    source = Source(str(path))
    try:
        status = path.stat()
        if stat.S_ISREG(status.st_mode):  # opening a pipe would wait for somebody to write
            path.open("rb").close()
    except FileNotFoundError as error:
        raise source.error("there is no such file.", "Give the path of a table.") from error
    except OSError as error:
        what = f"the file cannot be read: {error.strerror}."
        raise source.error(what, "Give the path of a table you may read.") from error
    if not stat.S_ISREG(status.st_mode):
        what = "is a directory." if path.is_dir() else "is no regular file."
        raise source.error(what, "Give the path of a table.")
    if status.st_size == 0:
        raise source.error("the file is empty.", "Give a header and rows.")


class _Room:
    """How much may come out of a packed file yet, all that is in it taken together."""

    def __init__(self) -> None:
        self._left = _MOST_BYTES

    def take(self, name: str, number: int) -> None:
        """Count bytes; raises `InputError` where there are too many."""
        self._left -= number
        if self._left < 0:
            what = f"it holds more than {_MOST_BYTES >> 30} GiB."
            hint = "Write the table as Parquet, which is read part by part."
            raise Source(name).error(what, hint)

    def read(self, name: str, file: gzip.GzipFile | pa.NativeFile) -> bytes:
        """All of a file that is unpacked meanwhile."""
        found = []
        while some := file.read(_AT_ONCE):
            self.take(name, len(some))
            found.append(some)
        return b"".join(found)


def _unpacked(name: str, file: Path, raw: bytes, room: _Room, layer: int = 0) -> Iterator[Content]:
    """The contents, unpacked as often as the bytes say, whatever the endings."""
    inner = file.with_suffix("") if ending_of(file) in COMPRESSED else file
    is_archive = raw[:4] == b"PK\x03\x04" and ending_of(file) not in WORKBOOKS
    unpack = next((one for mark, one in _UNPACKERS.items() if raw.startswith(mark)), None)
    if layer == _MOST_LAYERS and (is_archive or unpack):
        what = f"it is packed more than {_MOST_LAYERS} times, one in the other."
        raise Source(name).error(what, "Unpack it first.")
    if unpack:
        yield from _unpacked(name, inner, unpack(name, raw, room), room, layer + 1)
    elif is_archive:
        yield from _members(name, raw, room, layer + 1)
    else:
        yield _as_content(name, file, raw)


def _as_content(name: str, file: Path, raw: bytes) -> Content:
    ending = ending_of(file) or _sniffed(raw)
    if ending not in ENDINGS:
        raise _unknown(name, ending)
    if ending not in _BINARY:
        raw = _in_utf8(name, raw)
    if not raw:
        raise Source(name).error("the file is empty.", "Give a header and rows.")
    return Content(name, file, ending, raw)


def _sniffed(raw: bytes) -> str:
    """The ending that goes with bytes of a nameless file."""
    if raw[:4] == b"PAR1":
        return ".parquet"
    start = raw[:4096].lstrip(codecs.BOM_UTF8 + b" \r\n\t")
    if start[:1] == b"<":
        return ".xml"
    if start[:1] == b"[":
        return ".json"
    if start[:1] == b"{":
        is_one_line = raw.strip().count(b"\n") == 0
        is_lines = start.splitlines()[0].rstrip().endswith(b"}")
        return ".jsonl" if is_lines and not is_one_line else ".json"
    first = start.splitlines()[0] if start else b""
    return ".tsv" if b"\t" in first else ".csv"


def _in_utf8(name: str, raw: bytes) -> bytes:
    """Text of another encoding that says so by its mark, as UTF-8 without one."""
    for mark, encoding in _MARKS.items():
        if raw.startswith(mark):
            if encoding == "utf-8":
                return raw[len(mark) :]
            try:
                return raw.decode(encoding).encode("utf-8", "surrogatepass")
            except UnicodeDecodeError as error:
                what = f"the file has the mark of UTF-16 and is none: {error.reason}."
                raise Source(name).error(what, "Save the table as UTF-8.") from error
    return raw


def _gunzip(name: str, raw: bytes, room: _Room) -> bytes:
    try:
        with gzip.open(io.BytesIO(raw)) as file:
            return room.read(name, file)
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(name, "gzip", error) from error


def _unzstd(name: str, raw: bytes, room: _Room) -> bytes:
    try:
        with pa.CompressedInputStream(pa.BufferReader(raw), "zstd") as file:
            return room.read(name, file)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(name, "zstd", error) from error


_UNPACKERS = {b"\x1f\x8b": _gunzip, b"\x28\xb5\x2f\xfd": _unzstd}
"""By what packed files begin with."""


def _members(name: str, raw: bytes, room: _Room, layer: int) -> Iterator[Content]:
    """The tables in a zip archive; folders, hidden files and images are passed over."""
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            names = [one for one in archive.namelist() if is_table_name(one)]
            samples = [one for one in names if one.startswith("samples/")]
            if "header.json" in names:  # a log of Inspect: a file a sample, and digests of them
                names = ["header.json", *samples]
            if not names:
                what = (
                    f"the archive holds no table: {', '.join(archive.namelist()[:5]) or 'nothing'}."
                )
                raise Source(name).error(what, f"Put in files that end in {', '.join(ENDINGS)}.")
            room.take(name, sum(archive.getinfo(one).file_size for one in names))
            if names[0] == "header.json" and samples:  # as the log in one file has them
                header = archive.read("header.json").rstrip().removesuffix(b"}")
                inside = b",".join(map(archive.read, samples))
                yield Content(
                    name, Path(name), ".json", header + b', "samples": [' + inside + b"]}"
                )
                return
            for one in names:
                shown = name if len(names) == 1 else f"{name}: {one}"
                yield from _unpacked(shown, Path(one), archive.read(one), room, layer)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise _damaged(name, "zip", error) from error


def is_table_name(name: str) -> bool:
    """Whether a member of an archive may be a table, by its name."""
    path = Path(name)
    parts = [part for part in path.parts if part != ".."]
    is_hidden = any(part.startswith((".", "__MACOSX")) for part in parts)
    return not is_hidden and ending_of(path) in (*ENDINGS, ".gz", ".zst")


def _damaged(name: str, kind: str, error: Exception) -> InputError:
    reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
    return Source(name).error(
        f"the {kind} file cannot be unpacked: {reason}.", "Pack it again; it may be cut short."
    )


def _unknown(name: str, ending: str) -> InputError:
    known = f"{', '.join(ENDINGS)}, or one of these in {', '.join(COMPRESSED)}"
    return Source(name).error(
        f"the ending '{ending}' names no known format.", f"Use one of {known}."
    )


def names_of(paths: str | Path | Sequence[str | Path]) -> list[Path]:
    """One path or several, as a list; raises `InputError` for anything else."""
    given = [paths] if isinstance(paths, str | Path) else paths
    if (
        not isinstance(given, list | tuple)
        or not given
        or not all(isinstance(path, str | Path) for path in given)
    ):
        raise InputError(
            f"the paths are {paths!r}.", where="labels", hint="Give a path, or a list of paths."
        )
    return [Path(path) for path in given]
