"""A hash of names, that says which part of a table an example belongs to."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Hashes = npt.NDArray[np.uint64]

_WORD = 8  # bytes mixed in at a time
_MULTIPLIERS = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9))


def hash_names(names: pa.Array) -> Hashes:
    """A hash of every name, the same in every process and on every machine.

    Args:
        names: `large_string` or `int64`, without nulls.
    """
    if pa.types.is_integer(names.type):
        return _mixed(names.to_numpy().astype(np.uint64))
    offsets, text = text_buffers(names)
    length = np.diff(offsets)
    # Eight bytes beginning at every byte; those behind the end of a name are masked away.
    text = np.concatenate([text, np.zeros(_WORD, np.uint8)])
    at_byte: npt.NDArray[np.uint64] = np.ndarray((len(text) - 7,), "<u8", text, strides=(1,))
    hashes = length.astype(np.uint64)
    for begin in range(0, int(length.max(initial=0)), _WORD):
        left = np.clip(length - begin, 0, _WORD)
        mask = _MASKS[left]
        word = at_byte[np.minimum(offsets[:-1] + begin, len(at_byte) - 1)] & mask
        hashes = np.where(left > 0, _mixed(hashes ^ word), hashes)
    return _mixed(hashes)


def part_of(hashes: Hashes, num_parts: int) -> npt.NDArray[np.uint16]:
    """Which of `num_parts` parts, a power of two up to 65,536, by the leading bits."""
    bits = num_parts.bit_length() - 1
    if bits == 0:
        return np.zeros(hashes.size, np.uint16)
    return (hashes >> np.uint64(64 - bits)).astype(np.uint16)


def text_buffers(names: pa.Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Where each of the texts begins, with the end of the last, and the bytes of all of them."""
    _, offsets, text = names.buffers()
    begin = np.frombuffer(offsets, np.int64)[names.offset : names.offset + len(names) + 1]
    found = np.zeros(0, np.uint8) if text is None else np.frombuffer(text, np.uint8)
    return begin - begin[0], found[begin[0] : begin[-1]]


def _mixed(values: Hashes) -> Hashes:
    """Every bit of a number made to depend on every other."""
    values = (values ^ (values >> np.uint64(31))) * _MULTIPLIERS[0]
    values = (values ^ (values >> np.uint64(29))) * _MULTIPLIERS[1]
    return values ^ (values >> np.uint64(32))


_MASKS = np.array([(1 << (8 * kept)) - 1 for kept in range(_WORD + 1)], np.uint64)
