"""Texts of one byte a character as UTF-8, whole columns at once.

Belongs here: which encodings there are, and reading a column of bytes as another. Does not belong here: encodings of several
bytes a character, such as UTF-16, in which a line end is not one byte.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

UTF_8 = "utf-8"
ENCODINGS = (
    UTF_8,
    *(f"iso-8859-{number}" for number in range(1, 17) if number != 12),
    *(f"windows-{number}" for number in range(1250, 1259)),
    *("cp437", "cp850", "cp852", "cp866", "koi8-r", "koi8-u", "macintosh"),
)
"""By Python's names. In all of them the bytes below 128 are ASCII."""

_NO_CHARACTER = b"\xff"
"""What a byte becomes that stands for nothing in its encoding: no UTF-8 either, so that the text is refused as such."""


def to_utf8(values: pa.Array, encoding: str) -> pa.Array:
    """A column of binary texts of another encoding in UTF-8, nulls as they are.

    A byte that stands for no character makes its text one that is no UTF-8.
    """
    if len(values) == values.null_count:
        return values
    table, lengths = _table(encoding)
    offsets = np.frombuffer(values.buffers()[1], np.int32)[values.offset : values.offset + len(values) + 1]
    raw = np.frombuffer(values.buffers()[2], np.uint8)[offsets[0] : offsets[-1]]
    if not (raw >= 128).any():
        return values
    ends = np.concatenate(([0], np.cumsum(lengths[raw], dtype=np.int64)))
    if ends[-1] > np.iinfo(np.int32).max:
        raise pa.ArrowCapacityError("a batch of texts is larger than 2 GiB in UTF-8")
    # Each byte's characters stand in one row of three bytes; those that are not used are left out.
    wide = table[raw]
    used = np.arange(wide.shape[1]) < lengths[raw][:, None]
    data = wide[used].tobytes()
    moved = ends[offsets - offsets[0]].astype(np.int32)
    validity = None if values.null_count == 0 else values.is_valid().buffers()[1]
    return pa.Array.from_buffers(
        pa.binary(), len(values), [validity, pa.py_buffer(moved.tobytes()), pa.py_buffer(data)]
    )


@lru_cache(maxsize=len(ENCODINGS))
def _table(encoding: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """(256, 3) bytes of UTF-8 for each byte, and how many of them count."""
    found = [_character(bytes([byte]), encoding) for byte in range(256)]
    table = np.zeros((256, 3), np.uint8)
    for byte, character in enumerate(found):
        table[byte, : len(character)] = list(character)
    return table, np.array([len(character) for character in found], np.int64)


def _character(byte: bytes, encoding: str) -> bytes:
    try:
        return byte.decode(encoding).encode()
    except UnicodeDecodeError:
        return _NO_CHARACTER
