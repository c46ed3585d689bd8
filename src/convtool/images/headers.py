"""What headers say that Pillow does not tell, and what protects from being cut down in silence."""

import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from PIL.ImageFile import ImageFile

from convtool.images.picture import JpegCoding

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
TIFF_MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


class PngFacts(NamedTuple):
    """What is found without decoding a pixel; `channels` as stored, tRNS not counted.

    `cut` is the size in bytes of a file that ends too early, else 0.
    """

    bits: int
    channels: int
    transparent: bool
    exif: bytes | None
    cut: int


def png_facts(fp: BinaryIO) -> PngFacts:
    """Walk over the chunks, which also shows whether the file is whole.

    Pillow reads EXIF that stands behind the pixels only after decoding them, and accepts a file
    that lacks its end.
    """
    bits, channels, transparent, block, kind = 8, 3, False, None, b""
    for kind, at, length in _png_chunks(fp):
        if kind == b"IHDR":
            fp.seek(at + 8)
            bits, colour_type = fp.read(2)
            channels = _PNG_CHANNELS.get(colour_type, 3)
        elif kind == b"tRNS":
            transparent = True
        elif kind == b"eXIf":
            fp.seek(at)
            block = fp.read(length)
    cut = 0 if kind == b"IEND" else fp.seek(0, 2)
    return PngFacts(bits, channels, transparent, block, cut)


def deep_ppm(image: ImageFile) -> tuple[int, int] | None:
    """Return the greatest sample of a colour PNM file, and where its samples begin.

    None of any other file, and of one that needs only 8 bits.
    """
    tile = image.tile[0]
    greatest = tile.args[-1] if isinstance(tile.args, tuple) else 255
    return (greatest, tile.offset) if image.mode == "RGB" and greatest > 255 else None


def jpeg_coding(image: ImageFile) -> JpegCoding | None:
    """Return how a JPEG file of 1 or 3 channels stores them; None of other files.

    Kinds of subsampling that Pillow cannot write count as none, so that nothing gets lost.
    """
    if image.format not in ("JPEG", "MPO"):
        return None
    from PIL.JpegImagePlugin import JpegImageFile, get_sampling

    if not isinstance(image, JpegImageFile) or image.layers not in (1, 3):
        return None
    tables = [tuple(image.quantization.get(number, ())) for *_, number in image.layer]
    if not all(tables):
        return None  # damaged
    while len(tables) > 1 and tables[-1] == tables[-2]:
        del tables[-1]
    return JpegCoding(image.layers, tuple(tables), max(get_sampling(image), 0))


def webp_size(head: bytes) -> tuple[int, int] | None:
    """Return width and height of a WebP file's canvas."""
    if head[:4] != b"RIFF" or head[8:12] != b"WEBP" or len(head) < 30:
        return None
    if head[12:16] == b"VP8X":
        across, down = head[24:27] + b"\0", head[27:30] + b"\0"
        return struct.unpack("<I", across)[0] + 1, struct.unpack("<I", down)[0] + 1
    if head[12:16] == b"VP8L":
        (bits,) = struct.unpack_from("<I", head, 21)
        return (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1
    across, down = struct.unpack_from("<HH", head, 26)
    return across & 0x3FFF, down & 0x3FFF


def _png_chunks(fp: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, place and length of each whole chunk, to IEND or to where the file is cut."""
    end = fp.seek(0, 2)
    at = len(PNG_MAGIC)
    while at + 12 <= end:
        fp.seek(at)
        length, kind = struct.unpack(">I4s", fp.read(8))
        if at + 12 + length > end:
            return
        yield kind, at + 8, length
        if kind == b"IEND":
            return
        at += 12 + length
