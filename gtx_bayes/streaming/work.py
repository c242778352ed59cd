"""The work directory of a streamed run: what is done so far, so that an end can be a pause."""

import contextlib
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gtx_bayes.errors import InputError
from gtx_bayes.io.writers import whole_file
from gtx_bayes.records import read_record
from gtx_bayes.scratch import is_left_over

_MANIFEST = "manifest.json"
_KIND = "work of gtx-bayes aggregate"
_FORMAT = 6

_OURS = re.compile(
    r"(manifest|numbering|sorted|surveyed|blocs|joined|choice|weights)\.json|gold\.npz"
    r"|converted/file-\d{5,}\.parquet|scattered/part=\d+/data_\d+\.parquet"
    r"|duckdb/duckdb_temp_[\w-]+(\.(tmp|block))?|parts/(part|joined)-\d{5,}\.(json|npz|arrow)"
    r"|survey/(gold|some|scores)-\d{5,}\.npz"
    r"|models/\d+-(pass|automatic|asked|looks-shares|(looks-some|pass-\d+-part)-\d{5,})\.npz"
)
"""Every file that is written here, by its name; only these are ever deleted.

Those that are JSON say besides what they are.
"""

_FOLDERS = ("converted", "scattered", "duckdb", "parts", "survey", "models")
_SUBFOLDER = re.compile(r"scattered/part=\d+")


class WorkDirectory:
    """A directory of files, each of which is whole or absent.

    Attributes:
        path: the directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def begun(cls, path: Path, run: Mapping[str, Any], *, resume: bool) -> "WorkDirectory":
        """The directory of a run, made anew or as the last one left it.

        Args:
            path: the directory.
            run: what the run computes and from what, as plain numbers and texts by name.
            resume: whether to go on where an earlier run stopped; without one this is a new run.

        Raises:
            InputError: if the directory holds something else, or to resume a different run.
        """
        work = cls(path)
        record = {"format": _FORMAT, "run": json.loads(json.dumps(run))}
        try:
            entries = sorted(path.iterdir()) if path.exists() else []
            kept = read_record(path / _MANIFEST) or {}
            foreign = work._foreign()
        except OSError as error:
            raise _no_work_there(path, error) from error
        if entries and kept.keys() == {"format", "run"}:
            raise InputError(
                "the work was begun by another version of gtx-bayes.",
                where=str(path),
                hint="Delete it if nothing in it is yours, or name another directory.",
            )
        if foreign or (entries and kept.get("kind") != _KIND):
            raise InputError(
                f"the directory holds '{(foreign or [entries[0].name])[0]}', which is no work of "
                "gtx-bayes.",
                where=str(path),
                hint="Name a new or empty directory for the work.",
            )
        if entries and resume:
            _check_same(kept["record"], record, path)
            return work
        try:
            work.clear()
            path.mkdir(parents=True, exist_ok=True)
            work.write(_MANIFEST, record)
        except OSError as error:
            raise _no_work_there(path, error) from error
        return work

    def clear(self) -> bool:
        """Delete what a run wrote, and the directory if nothing else is in it; whether it is gone.

        What tells that it is ours goes last.
        """
        for folder in (*_FOLDERS, ""):
            self._delete(folder)
        return not self.path.exists()

    def _delete(self, folder: str) -> None:
        """Delete our files in a folder, and the folder if nothing else is in it."""
        place = self.path / folder
        if place.is_symlink() or not place.is_dir():
            return
        names = [f"{folder}/{path.name}".lstrip("/") for path in place.iterdir()]
        for name in names:
            if _SUBFOLDER.fullmatch(name):
                self._delete(name)
        for name in sorted(names, key=lambda name: name == _MANIFEST):
            if self._is_ours(name):
                (self.path / name).unlink(missing_ok=True)
            elif is_left_over(self.path / name):
                shutil.rmtree(self.path / name, ignore_errors=True)
        with contextlib.suppress(OSError):  # what else is there stays
            place.rmdir()

    def _is_ours(self, name: str) -> bool:
        path = self.path / name
        if not _OURS.fullmatch(name) or path.is_symlink() or not path.is_file():
            return False
        return path.suffix != ".json" or (read_record(path) or {}).get("kind") == _KIND

    def _foreign(self) -> list[str]:
        """What is here and no run wrote."""
        found = []
        for path in sorted(self.path.rglob("*")):
            name = path.relative_to(self.path).as_posix()
            is_folder = name in _FOLDERS or _SUBFOLDER.fullmatch(name) is not None
            is_folder = is_folder and path.is_dir() and not path.is_symlink()
            is_partial = any(is_left_over(part) for part in (path, *path.parents))
            if not (is_folder or self._is_ours(name) or is_partial):
                found.append(name)
        return found

    def has(self, name: str) -> bool:
        """Whether there is a file of that name."""
        return (self.path / name).exists()

    def write(self, name: str, record: object) -> None:
        """Keep plain numbers and texts as JSON."""
        with whole_file(self.path / name) as partial:
            partial.write_text(json.dumps({"kind": _KIND, "record": record}), encoding="utf-8")

    def read(self, name: str) -> Any:
        """What `write` kept."""
        return json.loads((self.path / name).read_text(encoding="utf-8"))["record"]

    def write_arrays(self, name: str, **arrays: Any) -> None:
        """Keep arrays by name."""
        with whole_file(self.path / name) as partial:
            np.savez(partial, **arrays)

    def read_arrays(self, name: str) -> dict[str, npt.NDArray[Any]]:
        """What `write_arrays` kept."""
        with np.load(self.path / name, allow_pickle=False) as kept:
            return dict(kept)

    def remove(self, name: str) -> None:
        """Let go of a file or a folder of files."""
        if (self.path / name).is_dir():
            self._delete(name)
        elif self._is_ours(name):
            (self.path / name).unlink(missing_ok=True)


class ArraysOf(NamedTuple):
    """Arrays of a work directory whose names begin alike, as a store of their own.

    Attributes:
        work: the directory.
        prefix: what the names begin with.
    """

    work: WorkDirectory
    prefix: str

    def _name(self, name: str) -> str:
        return self.prefix + name.rpartition("/")[2]

    def has(self, name: str) -> bool:
        """Whether there are any of that name."""
        return self.work.has(self._name(name))

    def write_arrays(self, name: str, **arrays: Any) -> None:
        """Keep arrays."""
        self.work.write_arrays(self._name(name), **arrays)

    def read_arrays(self, name: str) -> dict[str, npt.NDArray[Any]]:
        """What was kept."""
        return self.work.read_arrays(self._name(name))

    def remove(self, name: str) -> None:
        """Let go of arrays, if there are any."""
        self.work.remove(self._name(name))


def _check_same(kept: Mapping[str, Any], now: Mapping[str, Any], path: Path) -> None:
    begin_anew = "Leave out `resume=True` to begin anew, or give the same as then."
    if kept.get("format") != now["format"]:
        raise InputError(
            "the work was begun by another version of gtx-bayes.", where=str(path), hint=begin_anew
        )
    differing = [name for name in now["run"] if kept["run"].get(name) != now["run"][name]]
    if differing:
        raise InputError(
            f"the work was begun with another {' and '.join(differing)}.",
            where=str(path),
            hint=begin_anew,
        )


def _no_work_there(path: Path, error: OSError) -> InputError:
    return InputError(
        f"cannot work there: {error.strerror}.",
        where=str(path),
        hint="Name a directory you may write to.",
    )
