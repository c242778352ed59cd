"""A log of trainings, a line each, that outlives an interrupt: what is done is not done again."""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from gtx_bayes.errors import InputError

Record = dict[str, Any]
"""A training: its setting, and what came out."""


class Setting(NamedTuple):
    """Which training.

    Attributes:
        cohort: of the labelers.
        method: how their answers became targets.
        budget: B.
        seed: which labelers and answers.
        repetition: which training on the same labels.
    """

    cohort: str
    method: str
    budget: int
    seed: int
    repetition: int


class Kept(NamedTuple):
    """What a log holds: records by setting, and what a user should know of the file."""

    records: dict[Setting, Record]
    notes: tuple[str, ...]


def recover(path: Path, configuration: str) -> Kept:
    """The trainings in a log, none if there is no such file.

    A last line without an end was being written when the program stopped. It is cut off, and that
    training is done again.

    Args:
        path: the log.
        configuration: fingerprint of everything that the results depend on.

    Raises:
        InputError: if a line is of another configuration or of another program.
    """
    content = path.read_bytes() if path.exists() else b""
    whole, _, torn = content.rpartition(b"\n")
    records = {}
    for number, line in enumerate(whole.splitlines(), start=1):
        where = f"{path}, line {number}"
        try:
            record = json.loads(line)
            found = record.pop("configuration")
            setting = Setting(*(record[field] for field in Setting._fields))
            hash(setting)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise _no_log(where) from error
        if found != configuration:
            raise InputError(
                "it is of another configuration: other images, weights, seed or options.",
                where=where,
                hint="Go on with the same options, name another directory, or remove the file.",
            )
        records[setting] = record
    if not torn:
        return Kept(records, ())
    begins = _line(configuration, {})[: -len(b"}")]
    if not begins.startswith(torn[: len(begins)]):
        raise _no_log(f"{path}, last line")
    with path.open("r+b") as file:
        file.truncate(len(content) - len(torn))
    return Kept(records, (f"{path.name}: the last line was torn; that training was done again.",))


def append(path: Path, configuration: str, record: Record) -> None:
    """Add a training; when this returns, the line is on the disk."""
    with path.open("ab") as file:
        file.write(_line(configuration, record) + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _line(configuration: str, record: Record) -> bytes:
    return json.dumps({"configuration": configuration, **record}, allow_nan=False).encode()


def _no_log(where: str) -> InputError:
    return InputError(
        "this is no line of a log of trainings.",
        where=where,
        hint="Name another directory, or remove the file.",
    )
