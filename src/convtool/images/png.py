"""PNG at the level of chunks: what Pillow does not tell, and what it does not write."""

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from convtool.errors import ImageError

MAGIC = b"\x89PNG\r\n\x1a\n"

_COLOUR_TYPE = {1: 0, 2: 4, 3: 2, 4: 6}
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


class Facts(NamedTuple):
    """What is found without decoding a pixel; `channels` as stored, tRNS not counted."""

    bits: int
    channels: int
    transparent: bool
    exif: bytes | None


def facts(fp: BinaryIO) -> Facts:
    """Walk over the chunks, which also shows whether the file is whole.

    Pillow reads EXIF that stands behind the pixels only after decoding them, and accepts a file
    that lacks its end.
    """
    bits, channels, transparent, exif = 8, 3, False, None
    for kind, at, length in _chunks(fp):
        if kind == b"IHDR":
            fp.seek(at + 8)
            bits, colour_type = fp.read(2)
            channels = _CHANNELS.get(colour_type, 3)
        elif kind == b"tRNS":
            transparent = True
        elif kind == b"eXIf":
            fp.seek(at)
            exif = fp.read(length)
    return Facts(bits, channels, transparent, exif)


def encode16(pixels: NDArray[np.uint16]) -> list[tuple[bytes, bytes]]:
    """Return the IHDR and IDAT chunks of (H, W, C) pixels; Pillow writes 16 bits in grey alone."""
    height, width, channels = pixels.shape
    rows = pixels.astype(">u2").reshape(height, -1).view(np.uint8)
    # Filter 2, the difference to the row above: one subtraction for the whole picture, and a
    # third of a photograph's bytes are saved.
    data = np.empty((height, 1 + rows.shape[1]), np.uint8)
    data[:, 0] = 2
    data[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=data[1:, 1:])
    head = struct.pack(">IIBBBBB", width, height, 16, _COLOUR_TYPE[channels], 0, 0, 0)
    return [(b"IHDR", head), (b"IDAT", zlib.compress(data.tobytes()))]


def chunks_of(file: bytes) -> list[tuple[bytes, bytes]]:
    """Return the chunks of a whole PNG file, as (kind, content), without the closing IEND."""
    found, at = [], len(MAGIC)
    while at < len(file):
        length, kind = struct.unpack_from(">I4s", file, at)
        if kind != b"IEND":
            found.append((kind, file[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def assemble(
    frames: list[list[tuple[bytes, bytes]]],
    extra: list[tuple[bytes, bytes]],
    durations: tuple[int, ...],
    loop: int,
) -> bytes:
    """Put encoded frames into one file, an animation when there are several.

    Pillow's own APNG writer merges equal neighbours, so that a batch of N frames would come back
    with fewer; here each frame stays a frame.

    Parameters
    ----------
    frames : list
        The chunks of each frame, IHDR first, all of one size and type.
    extra : list
        Chunks that belong before the pixels.
    durations : tuple of int
        Milliseconds for each frame.
    loop : int
        How often it plays, 0 for ever.
    """
    head = frames[0][0]
    out = [MAGIC, _chunk(*head), *(_chunk(*one) for one in extra)]
    if len(frames) > 1:
        out.append(_chunk(b"acTL", struct.pack(">II", len(frames), loop)))
    sequence = 0
    for index, chunks in enumerate(frames):
        if len(frames) > 1:
            # Width and height, no offset, the delay in 1/1000 s, disposal none, blending source.
            control = head[1][:8] + struct.pack(">IIHHBB", 0, 0, durations[index], 1000, 0, 0)
            out.append(_chunk(b"fcTL", struct.pack(">I", sequence) + control))
            sequence += 1
        for kind, content in chunks[1:]:
            if kind == b"IDAT" and index > 0:
                out.append(_chunk(b"fdAT", struct.pack(">I", sequence) + content))
                sequence += 1
            elif kind == b"IDAT":
                out.append(_chunk(kind, content))
    return b"".join([*out, _chunk(b"IEND", b"")])


def about(
    icc: bytes | None, exif: bytes | None, dpi: tuple[float, float] | None
) -> list[tuple[bytes, bytes]]:
    """Return the chunks that carry profile, resolution and EXIF."""
    extra = []
    if icc:
        extra.append((b"iCCP", b"ICC profile\0\0" + zlib.compress(icc)))
    if dpi:
        extra.append((b"pHYs", struct.pack(">IIB", *(round(d / 0.0254) for d in dpi), 1)))
    if exif:
        extra.append((b"eXIf", exif))
    return extra


def _chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(content, zlib.crc32(kind))
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def _chunks(fp: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, place and length of each chunk; an error when IEND is not reached."""
    end = fp.seek(0, 2)
    at = len(MAGIC)
    while at + 12 <= end:
        fp.seek(at)
        length, kind = struct.unpack(">I4s", fp.read(8))
        if at + 12 + length > end:
            break
        yield kind, at + 8, length
        if kind == b"IEND":
            return
        at += 12 + length
    raise ImageError(
        f"the file is truncated: it ends after {end} bytes, before its closing chunk (IEND)",
        "get a whole copy of it",
    )
