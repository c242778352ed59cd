"""Files of images to squares of RGB pixels, decoded once, side by side in threads."""

import io
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

LEAST_SIDE = 16
"""Images with a side of fewer pixels are refused: they show nothing, or are no photographs."""

# Readers of others are left out: that of EPS starts another program.
_FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "GIF", "WEBP", "PPM")
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
_WITHOUT_A_RANGE = ("I", "F")  # numbers of 32 bits: nothing says which of them is white


class Decoded(NamedTuple):
    """Images that could be read, and those that could not.

    Attributes:
        pixels: RGB, the images that could be read, in their order.
        kept: positions of these.
        broken: what is wrong with each of the others, by position.
    """

    pixels: UInt8[np.ndarray, "num_images size size 3"]
    kept: npt.NDArray[np.intp]
    broken: dict[int, str]


def decode(files: Sequence[Path | bytes], size: int) -> Decoded:
    """Images resized on their shorter side and cropped about their centre to a square.

    They are turned as their EXIF entry says. Grey and palette images become RGB, those of 16 bits
    keep the upper eight, transparent parts show white, and of several frames the first counts.

    Args:
        files: paths, or what is in the files.
        size: side of the square in pixels.
    """
    squares = np.zeros((len(files), size, size, 3), np.uint8)
    broken: dict[int, str] = {}

    def read(position: int) -> None:
        try:
            squares[position] = _square(files[position], size)
        except Exception as error:  # Pillow's readers raise whatever a malformed file leads to
            broken[position] = _message(error)

    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
        # Pillow warns above its limit of pixels and raises above twice that: here one limit.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for _ in pool.map(read, range(len(files))):
            pass
    kept = np.array([at for at in range(len(files)) if at not in broken], np.intp)
    pixels = squares[kept] if broken else squares
    return Decoded(pixels, kept, dict(sorted(broken.items())))


def resized(
    pixels: UInt8[np.ndarray, "num_images side side 3"], size: int
) -> UInt8[np.ndarray, "num_images size size 3"]:
    """Square images brought to another size."""
    shape = (size, size)
    return np.stack(
        [
            np.asarray(Image.fromarray(image).resize(shape, Image.Resampling.BICUBIC))
            for image in pixels
        ]
    )


def as_jpeg(pixels: UInt8[np.ndarray, "height width 3"], side: int) -> bytes:
    """A small picture of an image: a JPEG file no larger than a square of this side."""
    image = Image.fromarray(pixels)
    image.thumbnail((side, side), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80)
    return file.getvalue()


def as_png(pixels: UInt8[np.ndarray, "height width 3"]) -> bytes:
    """A PNG file of an image, every pixel as it is."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _square(file: Path | bytes, size: int) -> UInt8[np.ndarray, "size size 3"]:
    with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file, "r", _FORMATS) as image:
        if min(image.size) < LEAST_SIDE:
            raise ValueError(f"{image.width} x {image.height} pixels, fewer than {LEAST_SIDE}")
        image.draft(None, (2 * size, 2 * size))  # large JPEGs: a half, quarter or eighth is enough
        turned = ImageOps.exif_transpose(image)
        fitted = ImageOps.fit(_to_rgb(turned), (size, size), Image.Resampling.BICUBIC)
    return np.asarray(fitted)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in _WITHOUT_A_RANGE:
        raise ValueError("its values have 32 bits and no range is stated")
    if image.mode in _SIXTEEN_BITS:
        upper = np.asarray(image) >> 8
        return Image.fromarray(upper.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        white = Image.new("RGBA", coloured.size, "white")
        return Image.alpha_composite(white, coloured).convert("RGB")
    return image.convert("RGB")


def _message(error: Exception) -> str:
    """What is wrong, without the path or the address of a stream."""
    if isinstance(error, UnidentifiedImageError):
        return f"no image in a known format ({', '.join(_FORMATS)})"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"more than {Image.MAX_IMAGE_PIXELS} pixels"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
