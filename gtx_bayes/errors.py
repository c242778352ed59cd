"""What went wrong outside this package: in the input, with the hint; or with the workers."""

from collections.abc import Iterable
from typing import Any


class InputError(ValueError):
    """Something is wrong with what was given: what it is, where it stands, and the hint.

    Attributes:
        what: what is wrong, one sentence.
        where: file, row or argument at fault; empty when there is no such place.
        hint: what to do about it, one sentence.
    """

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        self.what, self.where, self.hint = what, where, hint
        place = f"{where}: " if where else ""
        super().__init__(f"{place}{what} {hint}".rstrip())

    def __reduce__(self) -> tuple[Any, ...]:
        return _input_error, (type(self), self.what, self.where, self.hint)


def _input_error(cls: type[InputError], what: str, where: str, hint: str) -> InputError:
    """An error that comes from another process."""
    return cls(what, where=where, hint=hint)


class WarningNote(str):
    """A note that asks its reader for something; other notes, plain texts, inform."""

    __slots__ = ()


def split_warnings(notes: Iterable[str]) -> dict[str, list[str]]:
    """Notes as a summary has them: "notes", which inform, and "warnings", which ask."""
    by_severity: dict[str, list[str]] = {"notes": [], "warnings": []}
    for note in notes:
        by_severity["warnings" if isinstance(note, WarningNote) else "notes"].append(note)
    return by_severity


def notes_as_json(notes: Iterable[str]) -> list[str | dict[str, str]]:
    """Notes for a file, from which `notes_from_json` has them again."""
    return [{"warning": str(n)} if isinstance(n, WarningNote) else n for n in notes]


def notes_from_json(found: object) -> list[str]:
    """The notes of `notes_as_json`.

    Raises:
        TypeError: for anything else.
    """
    if not isinstance(found, list):
        raise TypeError(f"{found!r} is no list of notes")
    notes: list[str] = []
    for entry in found:
        match entry:
            case str():
                notes.append(entry)
            case {"warning": str(text)}:
                notes.append(WarningNote(text))
            case _:
                raise TypeError(f"{entry!r} is no note")
    return notes


class LostWorkersError(RuntimeError):
    """Nobody is left to do the work."""
