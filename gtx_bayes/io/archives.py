"""Named arrays and a JSON record in one file, without pickle: NumPy's npz, whole or not at all."""

import json
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gtx_bayes.errors import InputError
from gtx_bayes.io.writers import whole_file

_RECORD = "record"
_ZIP = b"PK"  # what every zip file, and so every npz file, begins with


class Archive(NamedTuple):
    """What such a file holds.

    Attributes:
        record: what is no array.
        arrays: arrays of numbers by name.
    """

    record: dict[str, Any]
    arrays: dict[str, npt.NDArray[Any]]


def write_archive(
    path: str | Path,
    kind: str,
    version: int,
    record: Mapping[str, Any],
    arrays: Mapping[str, npt.NDArray[Any]],
) -> None:
    """Write an archive; the file appears whole or not at all.

    Args:
        path: where to; any name will do.
        kind: what the file is, in words.
        version: of the layout of record and arrays.
        record: whatever JSON can hold.
        arrays: arrays of numbers.

    Raises:
        InputError: if there is no writing there.
    """
    text = json.dumps({"kind": kind, "version": version, **record})
    about = np.frombuffer(text.encode("utf-8"), np.uint8)
    with whole_file(Path(path).expanduser()) as partial, partial.open("wb") as file:
        np.savez(file, allow_pickle=False, **{_RECORD: about, **arrays})


def read_archive(path: str | Path, kind: str, version: int) -> Archive:
    """Read an archive of this kind and version; arrays only once these are known.

    Nothing in such a file is compressed, so that it takes no more memory than disk.

    Raises:
        InputError: if the file is absent, unreadable, damaged or something else.
    """
    path = Path(path).expanduser()
    record: dict[str, Any] = {}
    arrays: dict[str, npt.NDArray[Any]] = {}
    try:
        with path.open("rb") as file:
            if file.read(len(_ZIP)) == _ZIP:
                file.seek(0)
                with np.load(file, allow_pickle=False) as found:
                    if _is_plain(found.zip) and _RECORD in found.files:
                        record = _record(found[_RECORD])
                    if (record.get("kind"), record.get("version")) == (kind, version):
                        arrays = {name: found[name] for name in found.files if name != _RECORD}
    except FileNotFoundError as error:
        raise InputError(
            "there is no such file.", where=str(path), hint=f"Give the path of a {kind}."
        ) from error
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        ValueError,
        TypeError,
        SyntaxError,
        tokenize.TokenError,
        OverflowError,
        RuntimeError,  # also NotImplementedError, and what is encrypted
        struct.error,
        MemoryError,
    ) as error:
        raise InputError(
            f"the file is damaged or cut short: {error}.",
            where=str(path),
            hint="Take a copy of it, or make it anew.",
        ) from error
    except OSError as error:
        raise InputError(
            f"the file cannot be read: {error.strerror or error}.",
            where=str(path),
            hint=f"Give the path of a {kind} that you may read.",
        ) from error
    if record.get("kind") != kind:
        raise InputError(
            f"the file is no {kind}.", where=str(path), hint="Name the right file, or a new one."
        )
    if record.get("version") != version:
        raise InputError(
            f"the {kind} has version {record.get('version')}, and this program reads {version}.",
            where=str(path),
            hint="Make it anew, or use the program that wrote it.",
        )
    return Archive(record, arrays)


def _is_plain(archive: zipfile.ZipFile | None) -> bool:
    return archive is not None and all(
        member.compress_type == zipfile.ZIP_STORED for member in archive.infolist()
    )


def _record(about: npt.NDArray[Any]) -> dict[str, Any]:
    """The record; empty for an array that holds none."""
    if about.dtype != np.uint8:
        return {}
    try:
        record = json.loads(about.tobytes().decode("utf-8"))
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}
