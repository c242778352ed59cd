"""A training put down on disk and taken up again, to the last bit."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from gtx_bayes.errors import InputError
from gtx_bayes.io.writers import whole_file

_RECORD = "gtx_bayes_checkpoint"


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Where a training is put down, and how often.

    Attributes:
        path: the file, in safetensors; it is replaced whole each time.
        seconds: the least time between two writings; the end of an epoch is written in any case.
    """

    path: Path
    seconds: float = 60.0


def fingerprint(parts: Iterable[object]) -> str:
    """Checksum of everything that determines a training: arrays by their bytes, others as text."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype}{part.shape}".encode())
            digest.update(np.ascontiguousarray(part).data)
        else:
            digest.update(repr(part).encode())
        digest.update(b"\0")
    return digest.hexdigest()


def write_checkpoint(path: Path, state: PyTree, record: dict[str, Any]) -> None:
    """Write arrays and what belongs to them; a whole file or none.

    An earlier checkpoint of the same training, known by its fingerprint, is replaced.

    Raises:
        InputError: if there is no writing there, or another file stands there; then the checkpoint
            is kept beside it.
    """

    def check(_: Path) -> None:
        if path.exists() and _record_of(path).get("fingerprint") != record.get("fingerprint"):
            raise InputError(
                "it is no checkpoint of this training.",
                where=str(path),
                hint="Name another file, or move that one away.",
            )

    leaves = jax.device_get(jax.tree.leaves(state))
    tensors = {str(at): np.asarray(leaf, order="C") for at, leaf in enumerate(leaves)}
    with whole_file(path, check) as partial:
        save_file(tensors, partial, {_RECORD: json.dumps(record)})


def remove_checkpoint(path: Path) -> None:
    """Delete a checkpoint that is no longer needed; any other file stays."""
    if "fingerprint" in _record_of(path):
        path.unlink()


def _record_of(path: Path) -> dict[str, Any]:
    """What is said in a checkpoint; nothing for any other file."""
    try:
        with safe_open(path, framework="numpy") as file:
            record = json.loads((file.metadata() or {}).get(_RECORD, "{}"))
    except (SafetensorError, OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def read_checkpoint(path: Path, like: PyTree, wanted: str) -> tuple[Any, dict[str, Any]] | None:
    """Arrays in the structure asked for, and the record written with them; None without a file.

    Args:
        path: the file.
        like: arrays of the structure and shapes that it must have.
        wanted: fingerprint of the training that is to go on.

    Raises:
        InputError: if the file is broken, no checkpoint, or that of another training.
    """
    if not path.exists():
        return None
    leaves, structure = jax.tree.flatten(like)
    try:
        with safe_open(path, framework="numpy") as file:
            record = json.loads((file.metadata() or {}).get(_RECORD, "{}"))
            is_wanted = record.get("fingerprint") == wanted
            read = [file.get_tensor(str(at)) for at in range(len(leaves) if is_wanted else 0)]
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(
            f"this checkpoint cannot be read ({error}).",
            where=str(path),
            hint="Delete it; training then starts anew.",
        ) from error
    if not is_wanted:
        raise InputError(
            "it is no checkpoint of this training: images, labels, network, settings or seed "
            "differ.",
            where=str(path),
            hint="Delete it to start anew, or name another file.",
        )
    return jax.tree.unflatten(structure, jax.device_put(read)), record
