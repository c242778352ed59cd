"""Sets of images with their names and what is known of them: from folders, Parquet, the hub."""

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, cast, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError
from jaxtyping import Int, UInt8

from gtx_bayes.classes import in_order, note_alike, number_names, some_names
from gtx_bayes.columns import (
    EXAMPLE_COLUMNS,
    TRUTH_COLUMNS,
    Column,
    Names,
    Source,
    as_names,
    columns_for,
    find_columns,
    positions,
    read_columns,
)
from gtx_bayes.errors import InputError
from gtx_bayes.finetune.decoding import decode
from gtx_bayes.io.readers import read_table
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

# From the HTTP library under the hub's client, which lets it through when a transfer breaks.
_HTTP_ERROR = cast("type[Exception]", HfHubHTTPError.__bases__[0])


@dataclasses.dataclass(frozen=True, eq=False)
class ImageSet:
    """Images, all of one size, and what is known of them.

    Attributes:
        pixels: RGB.
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
            mend="Give a table with a label column, and labels of two classes or more.",
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
        InputError: for anything wrong with the folder, the table or the images, with the mend.
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
                mend=f"Images are known by their endings: {', '.join(ENDINGS)}.",
            )
        notes = []
        if len(held) > len(found):
            notes.append(f"{folder}: {len(held) - len(found)} file(s) that are no images are left.")
        return _image_set(as_names(found), list(found.values()), {}, classes, size, broken, notes)
    roles = {"image": FILE_COLUMNS, **_ABOUT_IMAGES}
    frame, source = read_table(table, columns_for(roles, columns))
    about = read_columns(
        frame, roles, columns or {}, source, optional=tuple(_ABOUT_IMAGES), with_gaps=("label",)
    )
    named = about.pop("image")
    files = _named_files(named, held, folder)
    others = set(found.values()) - set(files)
    notes = [f"{folder}: {len(others)} image(s) not in the table are left out."] if others else []
    return _image_set(named.cells, files, about, classes, size, broken, notes)


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
        InputError: for anything wrong with a file or its images, with the mend.
    """
    check_broken(broken)
    paths = [paths] if isinstance(paths, str | Path) else paths
    tables = [_ParquetTable.open(Path(path).expanduser(), columns or {}) for path in paths]
    about, stated = _joined(tables)
    notes: list[str] = []
    read = _Reading(size, broken)
    own_names: list[str | None] = []
    for table in tables:
        for row, contents, names in table.images():
            read.add(contents, [_of_row(table.path, row + at) for at in range(len(contents))])
            own_names += names
    if None in own_names or len(set(own_names)) < len(own_names):
        own_names = [str(row) for row in range(len(own_names))]
        notes.append("Images are named by their rows: not all have paths that differ.")
    return _finished(as_names(own_names), read, about, classes or stated, notes)


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
        "machine, and give their paths: `--images FILE`, or `read_parquet([FILE, ...])`."
    )
    try:
        folder = snapshot_download(
            PAPER_SET,
            repo_type="dataset",
            revision=_CONVERTED,
            allow_patterns="*.parquet",
            cache_dir=cache,
            endpoint=endpoint,
        )
    except (OSError, _HTTP_ERROR) as error:
        raise InputError(
            f"the paper's images could not be downloaded ({error.__cause__ or error}).",
            where=PAPER_SET,
            mend=by_hand,
        ) from error
    files = sorted(Path(str(folder)).rglob("*.parquet"))
    if not files:
        raise InputError("the hub has no Parquet file of it.", where=PAPER_SET, mend=by_hand)
    return read_parquet(files, size=size, broken=broken)


def check_broken(broken: str) -> None:
    """Raise `InputError` unless this says what becomes of images that cannot be read."""
    if broken not in get_args(Broken):
        raise InputError(f"broken is '{broken}'.", mend=f"Choose one of {get_args(Broken)}.")


class _Reading:
    """Images on their way in: decoded batch by batch, the broken ones refused or left out."""

    def __init__(self, size: int, broken: Broken) -> None:
        if size < 1:
            raise ValueError(f"images of {size} x {size} pixels")
        self.size, self.policy = size, broken
        self.pixels: list[npt.NDArray[np.uint8]] = []
        self.kept: list[npt.NDArray[np.intp]] = []
        self.broken: list[str] = []
        self.num_images = 0

    def add(self, files: Sequence[Path | bytes], places: Sequence[str]) -> None:
        """Decode some more; the places are for messages."""
        decoded = decode(files, self.size)
        self.pixels.append(decoded.pixels)
        self.kept.append(decoded.kept + self.num_images)
        self.broken += [f"{places[at]} ({what})" for at, what in decoded.broken.items()]
        self.num_images += len(files)

    def judge(self) -> list[str]:
        """Notes on images left out.

        Raises:
            InputError: if there are broken images and they are refused, or if all are broken.
        """
        if not self.broken:
            return []
        told = ", ".join(self.broken[:3]) + (", ..." if len(self.broken) > 3 else "")
        what = f"{len(self.broken)} of {self.num_images} images cannot be used: {told}."
        if self.policy == "skip" and len(self.broken) < self.num_images:
            return [what]
        mend = "Mend or remove them"
        if self.policy == "refuse":
            mend += ', or have them skipped (`broken="skip"`)'
        raise InputError(what, mend=f"{mend}.")


def _image_set(
    names: Names,
    files: list[Path],
    about: Mapping[str, Column],
    classes: Sequence[object] | None,
    size: int,
    broken: Broken,
    notes: list[str],
) -> ImageSet:
    read = _Reading(size, broken)
    read.add(files, [f"'{file}'" for file in files])
    return _finished(names, read, about, classes, notes)


def _finished(
    names: Names,
    read: _Reading,
    about: Mapping[str, Column],
    classes: Sequence[object] | None,
    notes: list[str],
) -> ImageSet:
    """The set of all images read, with what columns say of them."""
    notes = notes + read.judge()
    label, class_names = _numbered_labels(about.get("label"), classes, len(names), notes)
    group = number_names(about["group"].keys)[0] if "group" in about else np.arange(len(names))
    split = about["split"].keys if "split" in about else None
    kept = np.concatenate(read.kept)
    return ImageSet(
        pixels=read.pixels[0] if len(read.pixels) == 1 else np.concatenate(read.pixels),
        names=names[kept],
        true_label=label[kept],
        class_names=class_names,
        group=group[kept].astype(np.int32),
        split=None if split is None else split[kept],
        notes=tuple(notes),
    )


def _numbered_labels(
    column: Column | None, classes: Sequence[object] | None, num_images: int, notes: list[str]
) -> tuple[npt.NDArray[np.int32], Names]:
    """Class index of every image, and the names of the classes."""
    keys = as_names([""] * num_images) if column is None else column.keys
    _, first = number_names(keys)
    used = {} if column is None else dict(zip(keys[first], column.cells[first], strict=True))
    used.pop("", None)
    if classes is None:
        note_alike(list(used), notes)
        wanted = in_order(list(used))
    else:
        wanted = [str(name).strip() for name in classes]
        if len(set(wanted)) < len(wanted):
            raise InputError(f"the classes {wanted} repeat one.", mend="Name each class once.")
        for key in used:
            if column is not None and key not in wanted:
                raise InputError(
                    f"label '{key}' is none of the classes {wanted}.",
                    where=column.first(key),
                    mend="Mend the label, or add it to the classes.",
                )
    class_names = as_names(used.get(key, key) for key in wanted)
    return np.where(keys == "", MISSING, positions(wanted, keys)).astype(np.int32), class_names


def _files_below(folder: Path) -> dict[str, Path]:
    """Every file below a folder that is not hidden, by its path from there."""
    if not folder.is_dir():
        what = "is no folder." if folder.exists() else "there is no such folder."
        raise InputError(what, where=str(folder), mend="Give the path of a folder of images.")
    files = {}
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(parent) / name
            if not name.startswith("."):
                files[path.relative_to(folder).as_posix()] = path
    return files


def _named_files(column: Column, held: Mapping[str, Path], folder: Path) -> list[Path]:
    """The file that each cell names."""
    by_stem: dict[str, list[str]] = {}
    for name in held:
        by_stem.setdefault(name.removesuffix(Path(name).suffix), []).append(name)
    chosen = [[key] if key in held else by_stem.get(key, []) for key in column.keys]
    absent = [key for key, names in zip(column.keys, chosen, strict=True) if not names]
    if absent:
        raise InputError(
            f"{len(absent)} of {len(chosen)} images are not in {folder}: {some_names(absent)}.",
            where=column.first(absent[0]),
            mend=f"Name paths below the folder, which holds {some_names(list(held)) or 'no file'}.",
        )
    first_row: dict[str, int] = {}
    for row, names in enumerate(chosen):
        if len(names) > 1:
            raise InputError(
                f"'{column.keys[row]}' could be any of {some_names(names)}.",
                where=column.source.row(row),
                mend="Name it with its ending.",
            )
        before = first_row.setdefault(names[0], row)
        if before != row:
            raise InputError(
                f"'{column.keys[row]}' is the image '{names[0]}' of row "
                f"{before + column.source.first_row} too.",
                where=column.source.row(row),
                mend="Give one row per image.",
            )
    return [held[names[0]] for names in chosen]


class _ParquetTable(NamedTuple):
    """A Parquet file of images, open.

    Attributes:
        path: where it lies.
        file: the file.
        column: names of its columns by role.
        class_names: what its whole numbers stand for, where it says so.
        about: what it says of its images.
    """

    path: Path
    file: Any
    column: dict[str, str]
    class_names: tuple[str, ...] | None
    about: dict[str, Column]

    @classmethod
    def open(cls, path: Path, given: Mapping[str, str]) -> "_ParquetTable":
        """Open it and read all but the images."""
        source = Source(str(path), first_row=1)
        try:
            file = pq.ParquetFile(path)
            roles = {"image": IMAGE_COLUMNS, **_ABOUT_IMAGES}
            schema = file.schema_arrow
            column = find_columns(schema.names, roles, given, source, optional=tuple(_ABOUT_IMAGES))
            others = [name for role, name in column.items() if role != "image"]
            frame = file.read(columns=others).to_pandas()
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(path, error) from error
        class_names = None
        if "label" in column:
            class_names = _stated_classes(schema, column["label"])
            if class_names is not None:
                frame[column["label"]] = _spelt_out(frame[column["label"]], class_names, source)
        about = {
            role: (Column.read_with_gaps if role == "label" else Column.read)(frame, name, source)
            for role, name in column.items()
            if role != "image"
        }
        return cls(path, file, column, class_names, about)

    def images(self) -> Iterator[tuple[int, list[bytes], list[str | None]]]:
        """Row of the first, contents of the files, and their paths, batch by batch."""
        name = self.column["image"]
        kind = self.file.schema_arrow.field(name).type
        is_struct = pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0
        if not (is_struct or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
            raise InputError(
                f"column '{name}' holds no images but {kind}.",
                where=str(self.path),
                mend='Name the column of images (`columns={"image": NAME}`).',
            )
        row = 0
        try:
            for batch in self.file.iter_batches(batch_size=_BATCH, columns=[name]):
                cells = batch.column(0).to_pylist()
                structs = [
                    cell if isinstance(cell, dict) else {"bytes": cell, "path": None}
                    for cell in cells
                ]
                for at, struct in enumerate(structs):
                    if struct["bytes"] is None:
                        raise InputError(
                            f"column '{name}' has no bytes of an image.",
                            where=f"{self.path}, row {row + at + 1}",
                            mend="Write the set again with the images in it.",
                        )
                contents = [struct["bytes"] for struct in structs]
                yield row, contents, [struct.get("path") for struct in structs]
                row += len(structs)
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(self.path, error) from error


def _of_row(path: Path, row: int) -> str:
    return f"row {row + 1} of {path.name}"


def _unreadable(path: Path, error: Exception) -> InputError:
    told = str(error).splitlines()[0] if str(error) else type(error).__name__
    return InputError(
        f"the file is no readable Parquet: {told}.",
        where=str(path),
        mend="Give the path of a Parquet file; get it again if it was cut short.",
    )


def _stated_classes(schema: Any, label: str) -> tuple[str, ...] | None:
    """Names of the classes in the entry that `datasets` leaves in a file, if it has them."""
    try:
        entry = json.loads((schema.metadata or {})[b"huggingface"])
        feature = entry["info"]["features"][label]
        if feature["_type"] == "ClassLabel":
            return tuple(str(name).strip() for name in feature["names"])
    except (KeyError, TypeError, ValueError):
        pass  # files of other writers have no such entry, or one of their own
    return None


def _spelt_out(numbers: pd.Series, class_names: tuple[str, ...], source: Source) -> Names:
    """Labels by name; None where they are not known."""
    spelt: list[str | None] = []
    for row, number in enumerate(numbers):
        if pd.isna(number) or number == -1:
            spelt.append(None)
        elif 0 <= number < len(class_names):
            spelt.append(class_names[int(number)])
        else:
            raise InputError(
                f"label {number} is none of the {len(class_names)} classes of the file.",
                where=source.row(row),
                mend="Write the set again.",
            )
    return as_names(spelt)


def _joined(
    tables: Sequence[_ParquetTable],
) -> tuple[dict[str, Column], tuple[str, ...] | None]:
    """What all files say of their images, and the classes that they state."""
    if not sum(table.file.metadata.num_rows for table in tables):
        raise InputError(
            "there is no image.",
            where=", ".join(str(table.path) for table in tables),
            mend="Give Parquet files with at least one row.",
        )
    first = tables[0]
    for table in tables:
        if (table.column, table.class_names) != (first.column, first.class_names):
            raise InputError(
                f"it has other columns or classes than {first.path}.",
                where=str(table.path),
                mend="Read it by itself.",
            )
    source = Source(", ".join(str(table.path) for table in tables), first_row=1)
    about = {
        role: Column(
            column.name,
            np.concatenate([table.about[role].cells for table in tables]),
            np.concatenate([table.about[role].keys for table in tables]),
            source,
        )
        for role, column in first.about.items()
    }
    return about, first.class_names
