"""Portable pixmaps of more than 8 bits, which Pillow cuts down in colour."""

import re
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from convtool.errors import ImageError

_SPACE = rb"(?:[ \t\r\n\v\f]|#[^\r\n]*[\r\n])+"
_HEADER = re.compile(rb"P([36])" + (_SPACE + rb"(\d{1,10})") * 3 + rb"[ \t\r\n\v\f]")
_COMMENT = re.compile(rb"#[^\r\n]*")


class Deep(NamedTuple):
    """The header of a 16-bit PPM; `at` is where its samples begin."""

    plain: bool
    width: int
    height: int
    greatest: int
    at: int


def deep(fp: BinaryIO) -> Deep | None:
    """Return the header of a PPM file with more than 8 bits a channel, None of any other file."""
    fp.seek(0)
    match = _HEADER.match(fp.read(1 << 16))
    if match is None or not 255 < int(match[4]) < 65536:
        return None
    return Deep(match[1] == b"3", int(match[2]), int(match[3]), int(match[4]), match.end())


def read(fp: BinaryIO, head: Deep) -> NDArray[np.uint16]:
    """Return (1, H, W, 3) pixels, scaled to 65535 where the file's white is another value."""
    count = head.width * head.height * 3
    fp.seek(head.at)
    if head.plain:
        words = _COMMENT.sub(b"", fp.read()).split()[:count]
        samples = np.fromiter(map(int, words), np.int64, len(words))
    else:
        data = fp.read(2 * count)
        samples = np.frombuffer(data, ">u2", len(data) // 2)
    if samples.size < count:
        raise ImageError(
            f"the file is truncated: its header claims {count} samples, but "
            f"{samples.size} are there"
        )
    if head.greatest != 65535:
        samples = samples.astype(np.uint32)
        samples = (samples * 65535 + head.greatest // 2) // head.greatest
    scaled = np.minimum(samples, 65535).astype(np.uint16)
    return scaled.reshape(1, head.height, head.width, 3)


def encode(pixels: NDArray[Any]) -> bytes:
    """Return a binary PGM or PPM file of (H, W, 1 or 3) pixels, 8 or 16 bits."""
    height, width, channels = pixels.shape
    kind, greatest = ("P5" if channels == 1 else "P6"), (1 << 8 * pixels.itemsize) - 1
    samples = pixels.astype(pixels.dtype.newbyteorder(">"), copy=False)
    return f"{kind}\n{width} {height}\n{greatest}\n".encode() + samples.tobytes()
