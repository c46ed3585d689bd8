"""EXIF: which way up a picture is, and the part of it that may travel to another file.

A block is held as the bare TIFF structure, without the ``Exif\\0\\0`` that JPEG puts before it.
"""

import struct
from typing import TYPE_CHECKING, Any

from PIL import Image
from PIL.ExifTags import IFD, Base

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PREFIX = b"Exif\0\0"
_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}

# Tags of a TIFF file that describe the picture. All others (strips, tiles, bits, compression, …)
# describe that one file and would be lies in another.
DESCRIPTIVE = (
    Base.ImageDescription,
    Base.Make,
    Base.Model,
    Base.Software,
    Base.DateTime,
    Base.Artist,
    Base.HostComputer,
    Base.Copyright,
)
BLOCKS = (IFD.Exif, IFD.GPSInfo)

_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def bare(block: bytes | None) -> bytes | None:
    """Return the block without its JPEG prefix, None when nothing is in it."""
    return (block or b"").removeprefix(_PREFIX) or None


def orientation(block: bytes | None) -> int:
    """Return the orientation 1 … 8 that the block asks for; 1 when it says nothing usable."""
    if block is None or (slot := _slot(block)) is None:
        return 1
    value: int = struct.unpack_from(slot[0] + "H", block, slot[1])[0]
    return value if 1 <= value <= 8 else 1


def upright(block: bytes | None) -> bytes | None:
    """Return the block with orientation 1 and every other byte as it was.

    Writing the two bytes in place keeps maker notes whole; they hold offsets that any rewriting
    of the block would break.
    """
    if block is None or (slot := _slot(block)) is None:
        return block
    patched = bytearray(block)
    struct.pack_into(slot[0] + "H", patched, slot[1], 1)
    return bytes(patched)


def without_thumbnail(block: bytes | None) -> bytes | None:
    """Return the block without its preview of the picture, and every other byte where it was.

    The preview shows what the picture was before it was filtered, which may be what somebody
    wanted to hide. Its bytes become zeros, and the directory that tells of it is unhooked.
    """
    if block is None or (order := _ORDERS.get(block[:4])) is None:
        return block
    patched = bytearray(block)
    try:
        (start,) = struct.unpack_from(order + "I", block, 4)
        (count,) = struct.unpack_from(order + "H", block, start)
        hook = start + 2 + 12 * count
        (second,) = struct.unpack_from(order + "I", block, hook)
        if not second:
            return block
        struct.pack_into(order + "I", patched, hook, 0)
        (count,) = struct.unpack_from(order + "H", block, second)
        told = {}
        for at in range(second + 2, second + 2 + 12 * count, 12):
            tag, _, _, value = struct.unpack_from(order + "HHII", block, at)
            told[tag] = value
        at, size = told.get(Base.JpegIFOffset, 0), told.get(Base.JpegIFByteCount, 0)
        if at and at + size <= len(patched):
            patched[at : at + size] = bytes(size)
    except struct.error:
        pass  # damaged behind what was unhooked
    return bytes(patched)


def turned_shape(height: int, width: int, turn: int) -> tuple[int, int]:
    """Return the height and width after `turn` is applied."""
    return (width, height) if turn >= 5 else (height, width)


def turned(pixels: "NDArray[Any]", turn: int) -> "NDArray[Any]":
    """Return (H, W, C) pixels the right way up, as a view.

    ::

        1 a b   2 b a   3 d c   4 c d   5 a c   6 c a   7 d b   8 b d
          c d     d c     b a     a b     b d     d b     c a     a c
    """
    if turn >= 5:
        pixels = pixels.swapaxes(0, 1)
    # After the transposition 5, the flips of 6, 7 and 8 are those of 2, 3 and 4.
    rows = -1 if turn in (3, 4, 7, 8) else 1
    columns = -1 if turn in (2, 3, 6, 7) else 1
    return pixels[::rows, ::columns]


def turned_image(image: Image.Image, turn: int) -> Image.Image:
    """Return the picture the right way up, as `turned` does.

    Pillow turns in tiles that stay in the cache, which is faster than a copy of `turned`'s view.
    """
    return image.transpose(_TRANSPOSES[turn]) if turn in _TRANSPOSES else image


def descriptive(exif: Image.Exif) -> dict[int, Any]:
    """Return the tags of a block that may travel: texts, and the Exif and GPS blocks as dicts."""
    kept: dict[int, Any] = {tag: exif[tag] for tag in DESCRIPTIVE if tag in exif}
    for tag in BLOCKS:
        # The interoperability block is an offset into the old file.
        inner = {k: v for k, v in exif.get_ifd(tag).items() if k != IFD.Interop}
        if inner:
            kept[tag] = inner
    return kept


def packed(tags: dict[int, Any]) -> bytes | None:
    """Return a block that holds `tags`, as `descriptive` gives them."""
    exif = Image.Exif()
    for tag, value in tags.items():
        if isinstance(value, dict):
            exif.get_ifd(tag).update(value)
        else:
            exif[tag] = value
    return bare(exif.tobytes()) if tags else None


def for_tiff(block: bytes | None) -> Image.Exif:
    """Return the descriptive tags of a block as Pillow's TIFF writer wants them.

    What cannot be understood counts as empty.
    """
    exif = Image.Exif()
    try:
        exif.load(_PREFIX + (block or b""))
        kept = packed(descriptive(exif))
    except (OSError, SyntaxError, ValueError, LookupError, struct.error):
        kept = None
    found = Image.Exif()
    if kept:
        found.load(_PREFIX + kept)
    return found


def for_jpeg(block: bytes) -> bytes:
    """Return the block as JPEG wants it."""
    return _PREFIX + block


def _slot(block: bytes) -> tuple[str, int] | None:
    """Return the byte order and the place of the orientation in the first directory."""
    order = _ORDERS.get(block[:4])
    if order is None:
        return None
    try:
        (start,) = struct.unpack_from(order + "I", block, 4)
        (count,) = struct.unpack_from(order + "H", block, start)
        for at in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, _ = struct.unpack_from(order + "HHI", block, at)
            if tag == Base.Orientation:
                struct.unpack_from(order + "H", block, at + 8)
                return (order, at + 8) if kind == 3 else None
    except struct.error:
        pass
    return None
