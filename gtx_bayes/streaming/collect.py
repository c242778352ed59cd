"""A streamed fit with its examples in memory, where there is room for them: what a state keeps."""

import jax
import numpy as np
import numpy.typing as npt

from gtx_bayes.abstentions import Abstentions
from gtx_bayes.columns import as_names
from gtx_bayes.crowd import Crowd
from gtx_bayes.errors import InputError
from gtx_bayes.inference import loop
from gtx_bayes.streaming import subsample
from gtx_bayes.streaming.chunks import JOINED, ChunksOnDisk
from gtx_bayes.streaming.parts import names_of
from gtx_bayes.streaming.results import Known, model_posteriors

MOST_KEPT = 20_000_000
"""Answers that a state of a streamed run holds at most: it is read into memory as a whole."""


def check_kept(chunks: ChunksOnDisk) -> None:
    """Raise `InputError` for a run of which no state can be kept."""
    if chunks.table.num_labels > MOST_KEPT:
        raise InputError(
            f"a state holds all answers in memory, and {chunks.table.num_labels:,} are more than "
            f"{MOST_KEPT:,}.",
            where="state",
            hint="Leave it out.",
        )
    for is_so, why in (
        (chunks.candidates[0].trusts_gold_alone, "labelers known from gold alone"),
        (chunks.model(0).is_automatic, "a model without conjugate prior"),
        (bool(chunks.request.other_keys()), "abstentions kept as answers"),
        (chunks.store.has(JOINED), "labelers who count as one"),
    ):
        if is_so:
            raise InputError(
                f"a streamed run keeps no state of {why}.",
                where="state",
                hint="Leave it out, or aggregate in memory.",
            )


def known_examples(chunks: ChunksOnDisk) -> list[Known]:
    """What each model of the mixture knows of all examples, part after part."""
    by_model: list[list[tuple[npt.NDArray[np.floating], ...]]] = [[] for _ in chunks.components]
    for part in range(chunks.table.num_parts):
        rows = chunks.read(part)
        for each, posterior, found in zip(
            chunks.components, model_posteriors(chunks, part, rows.chunk), by_model, strict=True
        ):
            model = each.model
            fitted = loop.at_end(model, model.last_pass, part, rows.chunk)
            assert posterior.found is not None
            arrays = posterior.described.class_probs, *fitted, posterior.found.evidence
            found.append(tuple(np.asarray(values)[: rows.num_examples] for values in arrays))
    return [
        Known(*(jax.device_put(np.concatenate(parts)) for parts in zip(*found, strict=True)))
        for found in by_model
    ]


def crowd_of(chunks: ChunksOnDisk, notes: tuple[str, ...]) -> Crowd:
    """The crowd of a table in parts, examples in their order there."""
    table, work = chunks.table, chunks.store
    labels, assessment, abstentions = subsample.all_of(table)
    names = [name for part in range(table.num_parts) for name in names_of(part, work).to_pylist()]
    return Crowd(
        labels,
        assessment,
        as_names(names),
        as_names(chunks.numbered.labelers),
        chunks.class_names,
        notes=notes,
        abstentions=Abstentions(*abstentions) if chunks.request.has_abstentions() else None,
    )
