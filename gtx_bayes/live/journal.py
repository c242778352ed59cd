"""The folder of a loop: who owns it, and every decision in it, in the order they were taken."""

import contextlib
import hashlib
import json
import os
import sys
import time
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gtx_bayes.errors import InputError
from gtx_bayes.io.writers import whole_file
from gtx_bayes.records import read_record
from gtx_bayes.scratch import is_left_over, locked, no_writing

_HERE = ("localhost", "127.0.0.1", "::1", "0.0.0.0")

OWNER, DECISIONS = "loop.json", "decisions.jsonl"

_SAME = ("action", "reason", "num_labels")  # what makes of two rows of a task one decision


class Journal:
    """Every decision of a loop, one line of JSON each, written before it is carried out.

    A decision is written once: one that a run before this one wrote, and did not live to carry
    out, is not written again.

    Attributes:
        folder: where the loop keeps what it knows.
    """

    def __init__(self, folder: Path, project: Mapping[str, object]) -> None:
        """Look into the folder; nothing is made or changed.

        Args:
            folder: the folder; absent or empty at the first time.
            project: what the loop is about; the folder is kept for it alone.

        Raises:
            InputError: if the folder holds something else.
        """
        self.folder, self._project = folder, dict(project)
        owner, holds = read_record(folder / OWNER), "something else"
        if owner is not None:
            holds = f"the loop of project {owner.get('project')} at {owner.get('url')}"
        is_used = folder.exists() and (
            not folder.is_dir() or not all(map(is_left_over, folder.iterdir()))
        )
        if owner != self._project and is_used:
            raise InputError(
                f"it holds {holds}.", where=str(folder), hint="Name a folder for this project."
            )
        for path in sorted(folder.iterdir()) if is_used else ():
            if path.is_symlink():
                raise InputError("is a link.", where=str(path), hint="Put the file itself there.")
        self._is_held = False
        self._last: dict[tuple[str, int], tuple[Any, ...]] | None = None

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Own the folder and, for this user, the project until the block ends; again if need be.

        Raises:
            InputError: if another process does, or if there is no writing there.
        """
        if self._is_held:
            yield
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise no_writing(self.folder, error) from error
        of_user = _place_of(self._project)
        try:
            of_user.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise no_writing(of_user, error) from error
        with contextlib.ExitStack() as stack:
            for place in (self.folder, of_user):
                descriptor = locked(place)
                if descriptor is None and sys.platform != "win32":
                    raise InputError(
                        f"another gtx-bayes decides for project {self._project['project']} now.",
                        where=str(self.folder),
                        hint="End that one first; two would undo what the other does.",
                    )
                if descriptor is not None:
                    stack.callback(os.close, descriptor)
            if not (self.folder / OWNER).exists():
                with whole_file(self.folder / OWNER) as partial:
                    text = json.dumps(self._project, sort_keys=True) + "\n"
                    partial.write_text(text, encoding="utf-8")
            self._is_held, self._last = True, None  # who held it before may have gone on
            stack.callback(setattr, self, "_is_held", False)
            yield

    def rows(self) -> list[dict[str, Any]]:
        """All decisions; a line that was cut off by the end of a run, or spoilt, is none."""
        rows = []
        with contextlib.suppress(FileNotFoundError):
            for line in (self.folder / DECISIONS).read_bytes().splitlines(keepends=True):
                with contextlib.suppress(ValueError, RecursionError):
                    if line.endswith(b"\n") and _is_decision(row := json.loads(line)):
                        rows.append(row)
        return rows

    def new(self, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Those that say something else than the last of their task."""
        if self._last is None:
            self._last = dict(map(_in_brief, self.rows()))
        return [row for row in rows if self._last.get((key := _in_brief(row))[0]) != key[1]]

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write decisions, to stay before anything is done about them."""
        if not rows:
            return
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        text = "".join(json.dumps({"time": now, **row}, ensure_ascii=False) + "\n" for row in rows)
        with (self.folder / DECISIONS).open("ab+") as file:
            file.seek(max(0, file.tell() - 1))
            is_cut = file.read() not in (b"", b"\n")
            file.write(("\n" if is_cut else "").encode() + text.encode())
            file.flush()
            os.fsync(file.fileno())
        assert self._last is not None
        self._last |= dict(map(_in_brief, rows))


def _place_of(project: Mapping[str, object]) -> Path:
    """What stands for a project in the user's cache, however its server is called."""
    parts = urllib.parse.urlsplit(str(project["url"]))
    is_here = parts.hostname in _HERE
    server = (_HERE[0] if is_here else parts.hostname, parts.port, parts.path.rstrip("/"))
    text = json.dumps([*server, project["project"]])
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    caches = named if named.is_absolute() else Path.home() / ".cache"
    return caches / "gtx_bayes" / "live" / hashlib.sha256(text.encode()).hexdigest()[:16]


def _is_decision(row: object) -> bool:
    """Whether this has all that `_in_brief` reads."""
    return (
        isinstance(row, dict)
        and all(name in row for name in _SAME)
        and isinstance(row.get("question"), str)
        and isinstance(row.get("task"), int)
    )


def _in_brief(row: Mapping[str, Any]) -> tuple[tuple[str, int], tuple[Any, ...]]:
    """Whose decision it is, and what makes it another than the last."""
    return (row["question"], row["task"]), tuple(row[of] for of in _SAME)
