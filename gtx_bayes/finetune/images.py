"""Sets of images with their names and what is known of them: from folders, Parquet, the hub."""

import contextlib
import dataclasses
import itertools
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import snapshot_download
from jaxtyping import Int, UInt8

from gtx_bayes.classes import (
    in_order,
    note_alike,
    number_names,
    numbered_classes,
    some_names,
)
from gtx_bayes.columns import (
    EXAMPLE_COLUMNS,
    TRUTH_COLUMNS,
    Column,
    Names,
    Source,
    as_names,
    columns_for,
    find_columns,
    read_columns,
)
from gtx_bayes.errors import InputError
from gtx_bayes.finetune.decoding import decode
from gtx_bayes.finetune.hub import fetched
from gtx_bayes.io.readers import UNREADABLE_PARQUET, read_table, unreadable_parquet
from gtx_bayes.labels import MISSING

Broken = Literal["refuse", "skip"]

FILE_COLUMNS: Final = ("file", "filename", "file_name", "path", "image", *EXAMPLE_COLUMNS)
IMAGE_COLUMNS: Final = ("image", "img")
GROUP_COLUMNS: Final = ("group",)
SPLIT_COLUMNS: Final = ("split",)

ENDINGS: Final = (
    *(".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp"),
    *(".gif", ".webp", ".ppm", ".pgm", ".pnm"),
)
"""Endings by which images are found in a folder when no table names them."""

PAPER_SET: Final = "sunildkumar/singlehole-part-tapping"
"""The set of the paper's section 4 on the Hugging Face hub: 1,050 frames of a video of drilling."""

_CONVERTED = "refs/convert/parquet"  # where the hub keeps every public set as Parquet
_ABOUT_IMAGES = {"label": TRUTH_COLUMNS, "group": GROUP_COLUMNS, "split": SPLIT_COLUMNS}
_BATCH = 256  # images whose files are held in memory at once

MOST_IN_MEMORY = 2**31
"""Bytes of pixels beyond which they are kept in a temporary file rather than in memory."""


@dataclasses.dataclass(frozen=True, eq=False)
class ImageSet:
    """Images, all of one size, and what is known of them.

    Attributes:
        pixels: RGB; of a large set a map of a temporary file, of which the system keeps in memory
            what it has room for. Take batches of it.
        names: name of each image: the task of a labels table.
        true_label: its class index, `MISSING` where it is not known.
        class_names: name of every class, in numeric order if all are numbers, else alphabetic,
            unless the order was given. Empty if no image has a label.
        group: number of the group of each image. Images of one group (of one thing, from one
            video) are alike, and never part when images are split.
        split: the part that a table puts each image in, such as "train" or "test", or None.
        notes: what a user should know about how the images were read.
    """

    pixels: UInt8[np.ndarray, "num_images size size 3"]
    names: Names
    true_label: Int[np.ndarray, " num_images"]
    class_names: Names
    group: Int[np.ndarray, " num_images"]
    split: Names | None = None
    notes: tuple[str, ...] = ()

    @property
    def num_images(self) -> int:
        """N."""
        return len(self.pixels)

    @property
    def num_classes(self) -> int:
        """K; less than two if labels do not tell classes apart."""
        return len(self.class_names)

    def take(self, index: Int[np.ndarray, " some"]) -> "ImageSet":
        """The images at these positions; classes and the numbers of groups stay."""
        return dataclasses.replace(
            self,
            pixels=self.pixels[index],
            names=self.names[index],
            true_label=self.true_label[index],
            group=self.group[index],
            split=None if self.split is None else self.split[index],
        )


def check_classes(images: ImageSet) -> None:
    """Raise `InputError` unless images of at least two classes are labelled."""
    known = images.true_label[images.true_label != MISSING]
    present = np.unique(known)
    if present.size < 2:
        what = (
            f"every label is '{images.class_names[present[0]]}'"
            if present.size
            else "no image has a label"
        )
        raise InputError(
            f"{what}: there is nothing to learn.",
            hint="Give a table with a label column, and labels of two classes or more.",
        )


def read_folder(
    folder: str | Path,
    table: str | Path | None = None,
    *,
    size: int = 224,
    broken: Broken = "refuse",
    classes: Sequence[object] | None = None,
    columns: Mapping[str, str] | None = None,
) -> ImageSet:
    """The images of a folder that a table names; without a table all of them, without labels.

    A cell of the table names an image by its path below the folder, with or without the ending;
    without it, only one image may fit. What the cell says becomes the image's name. Where there
    is no table names are paths below the folder. Hidden files are passed over.

    Args:
        folder: searched with all folders in it, but not those that are links.
        table: one row per image, in any format that `gtx_bayes.io.read_table` knows. The image's
            column is called as in `FILE_COLUMNS`. Columns `label` (or an alias as in a table of
            gold), `group` and `split` are optional; a label may be empty, and is then not known.
        size: side of the square that every image is resized and cropped to, in pixels.
        broken: refuse images that cannot be read or are smaller than
            `gtx_bayes.finetune.decoding.LEAST_SIDE`, or skip them and say so in `notes`.
        classes: every class there is, in the order wanted; found in the table when absent.
        columns: column of the table for "image", "label", "group" or "split", where no alias fits.

    Raises:
        InputError: for anything wrong with the folder, the table or the images, with a hint.
    """
    check_broken(broken)
    folder = Path(folder).expanduser()
    held = _files_below(folder)
    found = {name: path for name, path in held.items() if path.suffix.lower() in ENDINGS}
    if table is None:
        if not found:
            raise InputError(
                "there is no image in the folder.",
                where=str(folder),
                hint=f"Images are known by their endings: {', '.join(ENDINGS)}.",
            )
        names, files, about = as_names(found), list(found.values()), {}
        others, left = len(held) - len(found), "file(s) that are no images are left"
    else:
        roles = {"image": FILE_COLUMNS, **_ABOUT_IMAGES}
        frame, source = read_table(table, columns_for(roles, columns))
        about = read_columns(
            frame, roles, columns or {}, source, optional=[*_ABOUT_IMAGES], with_gaps=("label",)
        )
        named = about.pop("image")
        names, files = named.cells, _named_files(named, held, folder)
        others = len(set(found.values()) - set(files))
        left = "image(s) not in the table are left out"
    notes = [f"{folder}: {others} {left}."] if others else []
    batches = ((part, [f"'{file}'" for file in part]) for part in itertools.batched(files, _BATCH))
    read = _decoded(batches, len(files), size, broken)
    return _image_set(names, read, about, classes, notes)


def read_parquet(
    paths: str | Path | Sequence[str | Path],
    *,
    size: int = 224,
    broken: Broken = "refuse",
    classes: Sequence[object] | None = None,
    columns: Mapping[str, str] | None = None,
) -> ImageSet:
    """Images held in Parquet files, as the library `datasets` writes them.

    An image is a struct of its file's `bytes` and `path`, or bytes alone. If labels are whole
    numbers and the file says what they stand for (a `ClassLabel`), these are the classes, in that
    order, and -1 is a label that is not known; otherwise labels are read as in a table. An image
    is named by its path where all have different ones, else by its row, counted from 0 through
    all files.

    Args:
        paths: one file, or several with the same columns.
        size: as `read_folder` has it, as for the other arguments.
        broken: what to do with images that cannot be read.
        classes: every class there is, in the order wanted.
        columns: column for "image", "label", "group" or "split".

    Raises:
        InputError: for anything wrong with a file or its images, with a hint.
    """
    check_broken(broken)
    given = [paths] if isinstance(paths, str | Path) else paths
    files, layouts = [], []
    for path in (Path(path).expanduser() for path in given):
        file, layout = _opened(path, columns or {})
        files.append((path, file))
        layouts.append(layout)
        if layout != layouts[0]:
            raise InputError(
                f"it has other columns or classes than {files[0][0]}.",
                where=str(path),
                hint="Read it by itself.",
            )
    column, stated = layouts[0]
    about = _about_images(files, column, stated)
    names: list[str | None] = []
    batches = (_contents(path, file, column["image"], names) for path, file in files)
    num_images = sum(file.metadata.num_rows for _, file in files)
    read = _decoded(itertools.chain.from_iterable(batches), num_images, size, broken)
    notes = []
    if None in names or len(set(names)) < len(names):
        names = [str(row) for row in range(len(names))]
        notes.append("Images are named by their rows: not all have paths that differ.")
    return _image_set(as_names(names), read, about, classes or stated, notes)


def read_paper_set(
    *,
    size: int = 224,
    broken: Broken = "refuse",
    cache: str | Path | None = None,
    endpoint: str | None = None,
) -> ImageSet:
    """The images of the paper's section 4, fetched from the hub unless they were before.

    The paper draws the images that assess and evaluate itself: parts that the files may stand for
    are not kept apart.

    Args:
        size: as `read_folder` has it.
        broken: likewise.
        cache: folder of downloads; the hub's own (`HF_HOME`) when absent.
        endpoint: address of a mirror; the hub's own (`HF_ENDPOINT`) when absent.

    Raises:
        InputError: if they cannot be had, or are no images with labels.

    References:
        Kumar et al. (2024), section 4 and Figure 3.
    """
    check_broken(broken)
    by_hand = (
        f"Get the Parquet files of https://huggingface.co/datasets/{PAPER_SET}/tree/"
        f"{_CONVERTED.replace('/', '%2F')} where there is a network, put them anywhere on this "
        "machine, and give their paths: `read_parquet([FILE, ...])`."
    )
    folder = fetched(
        "the paper's images",
        PAPER_SET,
        by_hand,
        lambda: snapshot_download(
            PAPER_SET,
            repo_type="dataset",
            revision=_CONVERTED,
            allow_patterns="*.parquet",
            cache_dir=cache,
            endpoint=endpoint,
        ),
    )
    files = sorted(folder.rglob("*.parquet"))
    if not files:
        raise InputError("the hub has no Parquet file of it.", where=PAPER_SET, hint=by_hand)
    return read_parquet(files, size=size, broken=broken)


def check_broken(broken: str) -> None:
    """Raise `InputError` unless this says what becomes of images that cannot be read."""
    if broken not in get_args(Broken):
        raise InputError(f"broken is '{broken}'.", hint=f"Choose one of {get_args(Broken)}.")


def fitting(keys: Iterable[str], names: Sequence[str]) -> list[list[int]]:
    """Positions of the images that each key could name, with or without their endings.

    Args:
        keys: what images are called elsewhere.
        names: of the images.
    """
    exact = {name: [at] for at, name in enumerate(names)}
    by_stem: dict[str, list[int]] = {}
    for at, name in enumerate(names):
        by_stem.setdefault(name.removesuffix(Path(name).suffix), []).append(at)
    return [exact.get(key) or by_stem.get(key, []) for key in keys]


def numbered_labels(
    column: Column, classes: Sequence[object] | None, notes: list[str]
) -> tuple[npt.NDArray[np.int32], Names]:
    """Class index of every label, `MISSING` of an empty one, and the names of the classes.

    Args:
        column: labels.
        classes: every class there is, in the order wanted; found in the column when absent.
        notes: receives what a user should know.

    Raises:
        InputError: if the classes repeat one, or a label is none of them.
    """
    used: dict[str, object] = {}
    for key, cell in zip(column.keys, column.cells, strict=True):
        used.setdefault(key, cell)
    used.pop("", None)
    if classes is None:
        note_alike(list(used), notes)
        keys = in_order(list(used))
    else:
        keys = [str(name).strip() for name in classes]
    if len(set(keys)) < len(keys):
        raise InputError(f"the classes {keys} repeat one.", hint="Name each class once.")
    number, extra = numbered_classes(column, keys)
    for key in extra:
        if key:
            raise InputError(
                f"label '{key}' is none of the classes {keys}.",
                where=column.first(key),
                hint="Mend the label, or add it to the classes.",
            )
    index = np.where(column.keys == "", MISSING, number).astype(np.int32)
    return index, as_names(used.get(key, key) for key in keys)


class _Read(NamedTuple):
    """Pixels and positions of the images that can be read, and notes on the others."""

    pixels: npt.NDArray[np.uint8]
    kept: npt.NDArray[np.intp]
    notes: tuple[str, ...]


def _decoded(
    batches: Iterable[tuple[Sequence[Path | bytes], Sequence[str]]],
    num_images: int,
    size: int,
    broken: Broken,
) -> _Read:
    """Decode files, batch by batch; with each batch come the places of its files, for messages.

    Raises:
        InputError: if there are broken images and they are refused, or if all are broken; or if
            there is no room for the pixels.
    """
    if size < 1:
        raise ValueError(f"images of {size} x {size} pixels")
    kept: list[npt.NDArray[np.intp]] = []
    wrong: list[str] = []

    def readable() -> Iterator[npt.NDArray[np.uint8]]:
        num_seen = 0
        for files, places in batches:
            found = decode(files, size)
            kept.append(found.kept + num_seen)
            wrong.extend(f"{places[at]} ({what})" for at, what in found.broken.items())
            num_seen += len(files)
            yield found.pixels

    pixels = _stored(readable(), num_images, size)
    notes = []
    if wrong:
        named = ", ".join(wrong[:3]) + (", ..." if len(wrong) > 3 else "")
        what = f"{len(wrong)} of {num_images} images cannot be used: {named}."
        if broken == "refuse" or len(wrong) == num_images:
            skipping = ', or have them skipped (`broken="skip"`)' if broken == "refuse" else ""
            raise InputError(what, hint=f"Mend or remove them{skipping}.")
        notes.append(what)
    return _Read(pixels, np.concatenate(kept), tuple(notes))


def _stored(
    batches: Iterable[npt.NDArray[np.uint8]], most: int, size: int
) -> UInt8[np.ndarray, "num_images size size 3"]:
    """Batches of at most so many images in all, one after the other.

    They are put in memory, or in a file without a name, which goes when nobody uses it.
    """
    num_bytes, number = 3 * most * size**2, 0
    if num_bytes <= MOST_IN_MEMORY:
        pixels = np.zeros((most, size, size, 3), np.uint8)
        for batch in batches:
            pixels[number : number + len(batch)] = batch
            number += len(batch)
        return pixels[:number]
    with tempfile.TemporaryFile(buffering=0) as file:
        for batch in batches:
            number += len(batch)
            left = memoryview(batch.reshape(-1))
            try:
                while left:
                    left = left[file.write(left) :]
            except OSError as error:
                raise InputError(
                    f"{most} images of {size} x {size} pixels take {num_bytes / 2**30:.1f} GiB, "
                    f"and there is no room for them ({error.strerror}).",
                    where=tempfile.gettempdir(),
                    hint="Name another folder by the variable TMPDIR, or take smaller images.",
                ) from error
        if not number:
            return np.zeros((0, size, size, 3), np.uint8)
        return np.memmap(file, np.uint8, "r", shape=(number, size, size, 3))


def _image_set(
    names: Names,
    read: _Read,
    about: Mapping[str, Column],
    classes: Sequence[object] | None,
    notes: list[str],
) -> ImageSet:
    """The set of all images read, with what columns say of them."""
    notes = [*notes, *read.notes]
    empty = as_names([""] * len(names))
    column = about.get("label") or Column("label", empty, empty, Source(""))
    label, class_names = numbered_labels(column, classes, notes)
    group = number_names(about["group"].keys)[0] if "group" in about else np.arange(len(names))
    return ImageSet(
        pixels=read.pixels,
        names=names[read.kept],
        true_label=label[read.kept],
        class_names=class_names,
        group=group[read.kept].astype(np.int32),
        split=about["split"].keys[read.kept] if "split" in about else None,
        notes=tuple(notes),
    )


def _files_below(folder: Path) -> dict[str, Path]:
    """Every file below a folder that is not hidden, by its path from there."""
    if not folder.is_dir():
        what = "is no folder." if folder.exists() else "there is no such folder."
        raise InputError(what, where=str(folder), hint="Give the path of a folder of images.")
    files = {}
    for parent, folders, names in folder.walk():
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                files[(parent / name).relative_to(folder).as_posix()] = parent / name
    return files


def _named_files(column: Column, held: Mapping[str, Path], folder: Path) -> list[Path]:
    """The file that each cell names."""
    names = list(held)
    chosen = fitting(column.keys, names)
    absent = [key for key, found in zip(column.keys, chosen, strict=True) if not found]
    if absent:
        raise InputError(
            f"{len(absent)} of {len(chosen)} images are not in {folder}: {some_names(absent)}.",
            where=column.first(absent[0]),
            hint=f"Name paths below the folder, which holds {some_names(names) or 'no file'}.",
        )
    first_row: dict[int, int] = {}
    for row, found in enumerate(chosen):
        if len(found) > 1:
            raise InputError(
                f"'{column.keys[row]}' could be any of {some_names([names[at] for at in found])}.",
                where=column.source.row(row),
                hint="Name it with its ending.",
            )
        before = first_row.setdefault(found[0], row)
        if before != row:
            raise InputError(
                f"'{column.keys[row]}' is the image '{names[found[0]]}' of row "
                f"{column.source.number(before)} too.",
                where=column.source.row(row),
                hint="Give one row per image.",
            )
    return [held[names[at]] for (at,) in chosen]


def _opened(
    path: Path, given: Mapping[str, str]
) -> tuple[pq.ParquetFile, tuple[dict[str, str], tuple[str, ...] | None]]:
    """A Parquet file of images; names of its columns by role, and the classes that it states."""
    with _readable(path):
        file = pq.ParquetFile(path)
    schema, source = file.schema_arrow, Source(str(path))
    roles = {"image": IMAGE_COLUMNS, **_ABOUT_IMAGES}
    column = find_columns(schema.names, roles, given, source, optional=tuple(_ABOUT_IMAGES))
    kind = schema.field(column["image"]).type
    is_struct = pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0
    if not (is_struct or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise InputError(
            f"column '{column['image']}' holds no images but {kind}.",
            where=str(path),
            hint="Give the bytes of image files in a column called `image`, as the library "
            "`datasets` writes them.",
        )
    return file, (column, _stated_classes(schema, column.get("label")))


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Raise `InputError` for what goes wrong in reading a Parquet file."""
    try:
        yield
    except InputError:
        raise
    except UNREADABLE_PARQUET as error:
        raise unreadable_parquet(path, error) from error


def _stated_classes(schema: Any, label: str | None) -> tuple[str, ...] | None:
    """Names of the classes in the entry that `datasets` leaves in a file, if it has them."""
    try:
        entry = json.loads((schema.metadata or {})[b"huggingface"])
        feature = entry["info"]["features"][label]
        if feature["_type"] == "ClassLabel":
            return tuple(str(name).strip() for name in feature["names"])
    except (KeyError, TypeError, ValueError):
        pass  # files of other writers have no such entry, or one of their own
    return None


def _about_images(
    files: Sequence[tuple[Path, pq.ParquetFile]],
    column: Mapping[str, str],
    class_names: tuple[str, ...] | None,
) -> dict[str, Column]:
    """What all files say of their images."""
    others = {role: name for role, name in column.items() if role != "image"}
    frames, rows = [], []
    for path, file in files:
        with _readable(path):
            frames.append(file.read(columns=list(others.values())).to_pandas())
        rows += [f"{path}, row {row + 1}" for row in range(file.metadata.num_rows)]
    source = Source(", ".join(str(path) for path, _ in files), rows=tuple(rows))
    if not rows:
        raise InputError(
            "there is no image.",
            where=source.name,
            hint="Give Parquet files with at least one row.",
        )
    frame = pd.concat(frames, ignore_index=True)
    if class_names is not None:
        frame[column["label"]] = _spelt_out(frame[column["label"]], class_names, source)
    return {
        role: (Column.read_with_gaps if role == "label" else Column.read)(frame, name, source)
        for role, name in others.items()
    }


def _spelt_out(numbers: pd.Series, class_names: tuple[str, ...], source: Source) -> Names:
    """Labels by name; None where they are not known."""
    known = numbers.fillna(-1)
    beyond = np.flatnonzero(~known.between(-1, len(class_names) - 1))
    if beyond.size:
        raise InputError(
            f"label {known.iloc[beyond[0]]} is none of the {len(class_names)} classes of the file.",
            where=source.row(int(beyond[0])),
            hint="Write the set again.",
        )
    return as_names([*class_names, None])[known.astype(int)]


def _contents(
    path: Path, file: pq.ParquetFile, name: str, paths: list[str | None]
) -> Iterator[tuple[list[bytes], list[str]]]:
    """Bytes of a column's images and where they stand, by batches; `paths` receives their own."""
    row = 0
    with _readable(path):
        for batch in file.iter_batches(batch_size=_BATCH, columns=[name]):
            cells = batch.column(0).to_pylist()
            cells = [cell if isinstance(cell, dict) else {"bytes": cell} for cell in cells]
            rows = range(row + 1, row + 1 + len(cells))
            row += len(cells)
            for number, cell in zip(rows, cells, strict=True):
                if cell["bytes"] is None:
                    raise InputError(
                        f"column '{name}' has no bytes of an image.",
                        where=f"{path}, row {number}",
                        hint="Write the set again with the images in it.",
                    )
                paths.append(cell.get("path"))
            yield (
                [cell["bytes"] for cell in cells],
                [f"row {number} of {path.name}" for number in rows],
            )
