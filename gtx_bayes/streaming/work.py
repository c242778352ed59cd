"""The work directory of a streamed run: what is done so far, so that an end can be a pause."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gtx_bayes.errors import InputError
from gtx_bayes.io.writers import whole_file

_MANIFEST = "manifest.json"
_FORMAT = 1


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
            entries = list(path.iterdir()) if path.exists() else []
        except OSError as error:
            raise _no_work_there(path, error) from error
        if entries and not work.has(_MANIFEST):
            raise InputError(
                f"the directory holds '{entries[0].name}', which is no work of gtx-bayes.",
                where=str(path),
                mend="Name a new or empty directory for the work.",
            )
        if entries and resume:
            _check_same(work.read(_MANIFEST), record, path)
            return work
        try:
            shutil.rmtree(path, ignore_errors=not entries)
            path.mkdir(parents=True, exist_ok=True)
            work.write(_MANIFEST, record)
        except OSError as error:
            raise _no_work_there(path, error) from error
        return work

    def has(self, name: str) -> bool:
        """Whether there is a file of that name."""
        return (self.path / name).exists()

    def write(self, name: str, record: object) -> None:
        """Keep plain numbers and texts as JSON."""
        with whole_file(self.path / name) as partial:
            partial.write_text(json.dumps(record), encoding="utf-8")

    def read(self, name: str) -> Any:
        """What `write` kept."""
        return json.loads((self.path / name).read_text(encoding="utf-8"))

    def write_arrays(self, name: str, **arrays: npt.NDArray[Any]) -> None:
        """Keep arrays by name."""
        with whole_file(self.path / name) as partial:
            np.savez(partial, **arrays)  # type: ignore[arg-type]

    def read_arrays(self, name: str) -> dict[str, npt.NDArray[Any]]:
        """What `write_arrays` kept."""
        with np.load(self.path / name, allow_pickle=False) as kept:
            return dict(kept)

    def remove(self, name: str) -> None:
        """Let go of a file or a folder of files."""
        path = self.path / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _check_same(kept: Mapping[str, Any], now: Mapping[str, Any], path: Path) -> None:
    begin_anew = "Leave out --resume to begin anew, or give the same as then."
    if kept.get("format") != now["format"]:
        raise InputError(
            "the work was begun by another version of gtx-bayes.", where=str(path), mend=begin_anew
        )
    differing = [name for name in now["run"] if kept["run"].get(name) != now["run"][name]]
    if differing:
        raise InputError(
            f"the work was begun with another {' and '.join(differing)}.",
            where=str(path),
            mend=begin_anew,
        )


def _no_work_there(path: Path, error: OSError) -> InputError:
    return InputError(
        f"cannot work there: {error.strerror}.",
        where=str(path),
        mend="Name a directory you may write to, with --work.",
    )
