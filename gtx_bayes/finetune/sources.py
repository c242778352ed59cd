"""Images by what a user calls them: a folder, Parquet files, the paper's set, drawn scenes."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from jaxtyping import Array, Key

from gtx_bayes.errors import InputError
from gtx_bayes.finetune import synthetic_drilling
from gtx_bayes.finetune.decoding import resized
from gtx_bayes.finetune.images import (
    Broken,
    ImageSet,
    check_broken,
    read_folder,
    read_paper_set,
    read_parquet,
)

PAPER: Final = "paper"
NUM_DRAWN: Final = 1_050
"""Number of drawn scenes: as many as the paper has images."""

_PARQUET = (".parquet", ".pq")


def read_images(
    key: Key[Array, ""],
    sources: Sequence[str | Path],
    table: str | Path | None = None,
    *,
    size: int = 224,
    broken: Broken = "refuse",
) -> ImageSet:
    """The images of a source named on the command line.

    Args:
        key: random key of the scenes, where they are drawn.
        sources: a folder, Parquet files, "paper" or "synthetic-drilling"; a folder of such a name
            is meant by "./paper".
        table: says more of the images of a folder, as `read_folder` has it.
        size: side in pixels.
        broken: what to do with images that cannot be read.

    Raises:
        InputError: for a source that is none of these, or anything wrong with it.
    """
    check_broken(broken)
    first = str(sources[0])
    is_parquet = all(Path(source).suffix.lower() in _PARQUET for source in sources)
    if len(sources) > 1 and not is_parquet:
        raise InputError(
            f"{len(sources)} sources of images, not all of them Parquet files.",
            hint="Name one folder, or Parquet files alone.",
        )
    is_folder = not is_parquet and first not in (PAPER, synthetic_drilling.NAME)
    if table is not None and not is_folder:
        raise InputError(
            f"'{first}' says itself what is known of its images.",
            where=str(table),
            hint="Leave the table out, or name a folder of images.",
        )
    if is_parquet:
        return read_parquet(sources, size=size, broken=broken)
    if first == PAPER:
        return read_paper_set(size=size, broken=broken)
    if first == synthetic_drilling.NAME:
        drawn = synthetic_drilling.render(key, NUM_DRAWN)
        # Drawn at another size they would be other scenes, and tables of labels would not fit.
        return dataclasses.replace(drawn, pixels=resized(drawn.pixels, size))
    return read_folder(first, table, size=size, broken=broken)
