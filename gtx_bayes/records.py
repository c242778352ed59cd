"""Which files we wrote and what they held: nothing else may be replaced or deleted.

A result of several files says so itself: the JSON file that describes it holds the checksum of
every file, its own among them. Beside a file that stands alone there is a hidden one with the
checksum of what was written.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

FILES = "files"
"""Key of the checksums in a JSON file that describes a result."""


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sign(folder: Path, name: str) -> None:
    """Put the checksums of all files of a folder into the JSON file there that describes them."""
    record = json.loads((folder / name).read_text(encoding="utf-8"))
    record[FILES] = {
        file.relative_to(folder).as_posix(): digest(file)
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file != folder / name
    }
    record[FILES][name] = _own_digest(record, name)
    text = json.dumps(record, indent=2, allow_nan=False)
    (folder / name).write_text(text + "\n", encoding="utf-8")


def read_record(path: Path) -> dict[str, Any] | None:
    """What is in a JSON file, if it is an object."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def files_of(path: Path) -> dict[str, str]:
    """Checksums of the files that a JSON file describes, by name; none unless it is as written."""
    record = read_record(path) or {}
    files = record.get(FILES)
    if not isinstance(files, dict) or files.get(path.name) != _own_digest(record, path.name):
        return {}
    return files


def is_as_written(path: Path, name: str, files: dict[str, str]) -> bool:
    """Whether a file is one of those described, under this name, and holds what it did then.

    The JSON file itself has been looked at by `files_of`.
    """
    if path.is_symlink() or not path.is_file() or name not in files:
        return False
    written = files_of(path).get(name) if name.endswith(".json") else None
    return files[name] in (written, digest(path))


def stranger(folder: Path, name: str) -> str | None:
    """The first entry of a folder that its JSON file does not know as it is; None if there is none.

    Args:
        folder: the folder.
        name: name of the JSON file.
    """
    files = files_of(folder / name)
    folders = {parent.as_posix() for file in files for parent in Path(file).parents}
    for entry in sorted(folder.rglob("*")):
        inside = entry.relative_to(folder).as_posix()
        is_folder = entry.is_dir() and not entry.is_symlink() and inside in folders
        if not is_folder and not is_as_written(entry, inside, files):
            return inside
    return None


def is_there(path: Path) -> bool:
    """Whether anything has that name, such as a link to nothing.

    Raises:
        OSError: where there is no telling. `Path.exists` says no, from Python 3.14 on.
    """
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def sidecar(path: Path) -> Path:
    """The hidden file that says what was written to a file that stands alone."""
    return path.with_name(f".{path.name}.gtx-bayes")


def read_sidecar(path: Path) -> list[str] | None:
    """The checksums there, of what was written last and before; None for a file of another kind."""
    place = sidecar(path)
    if not is_there(place):
        return []
    if place.is_symlink() or not place.is_file():
        return None
    lines = place.read_bytes().decode("utf-8", "surrogateescape").splitlines()
    found = [re.fullmatch(r"([0-9a-f]{64})  (.*)", line) for line in lines]
    if not all(match and match[2] == path.name for match in found):
        return None
    return [match[1] for match in found if match]


def _own_digest(record: dict[str, Any], name: str) -> str:
    """Checksum of what a record says, without this checksum; layout counts for nothing."""
    files = {file: found for file, found in record[FILES].items() if file != name}
    text = json.dumps({**record, FILES: files}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
