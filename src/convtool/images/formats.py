"""What each file format that is written can hold: one table, and the checks that read it."""

from typing import NamedTuple

from convtool.errors import ImageError
from convtool.images import deep
from convtool.images.picture import Metadata
from convtool.terms import Depth

_8 = frozenset({Depth.EIGHT})
_8_16 = frozenset({Depth.EIGHT, Depth.SIXTEEN})
_ALL = frozenset(Depth)

JPEG_EXIF = 65533 - 6  # bytes that fit into one marker behind its prefix
_SPACES = {b"RGB ": "RGB", b"GRAY": "grey"}  # in the header of a colour profile


class Format(NamedTuple):
    """A file format as an output.

    Parameters
    ----------
    name : str
        As in `Metadata.format`.
    suffixes : tuple of str
        What file names end with, the usual one first.
    depths : frozenset of Depth
        How it can store a channel.
    colours : frozenset of int
        How many colour channels it stores: 1 for grey, 3 for RGB; empty when any number goes.
    alpha : bool
        Whether it holds alpha.
    frames : bool
        Whether it holds several pictures: an animation, pages, a batch.
    largest : int
        The greatest height and width, in pixels.
    widens : bool
        Whether grey is written as RGB of three equal channels.
    timed : bool
        Whether it keeps how long each frame is shown.
    described : bool
        Whether it has a place for EXIF and a colour profile.
    """

    name: str
    suffixes: tuple[str, ...]
    depths: frozenset[Depth] = _8
    colours: frozenset[int] = frozenset({1, 3})
    alpha: bool = False
    frames: bool = False
    largest: int = 2**31 - 1
    widens: bool = False
    timed: bool = False
    described: bool = False


FORMATS = (
    Format("PNG", (".png", ".apng"), _8_16, alpha=True, frames=True, timed=True, described=True),
    Format("JPEG", (".jpg", ".jpeg", ".jpe", ".jfif"), largest=65500, described=True),
    Format("TIFF", (".tif", ".tiff"), _ALL, alpha=True, frames=True, described=True),
    Format(
        "WEBP",
        (".webp",),
        alpha=True,
        frames=True,
        largest=16383,
        widens=True,
        timed=True,
        described=True,
    ),
    Format("BMP", (".bmp", ".dib")),
    Format("PGM", (".pgm",), _8_16, colours=frozenset({1})),
    Format("PPM", (".ppm",), _8_16, widens=True),
    Format("PNM", (".pnm",), _8_16),
    Format("GIF", (".gif",), alpha=True, frames=True, largest=65535, timed=True),
    Format("NPY", (".npy",), _ALL, colours=frozenset(), alpha=True, frames=True),
)


def format_of(suffix_or_name: str) -> Format:
    """Return the format that a suffix or a name stands for.

    Parameters
    ----------
    suffix_or_name : str
        ``".png"``, ``"png"``, ``"JPEG"``, … in any case.

    Raises
    ------
    ImageError
        When nothing of that name can be written.

    Examples
    --------
    >>> format_of(".JPG").name
    'JPEG'
    """
    wanted = suffix_or_name.lower().removeprefix(".")
    for one in FORMATS:
        if wanted == one.name.lower() or f".{wanted}" in one.suffixes:
            return one
    known = ", ".join(one.suffixes[0] for one in FORMATS)
    if wanted == "pbm":
        raise ImageError("PBM holds only black and white, not the greys of a response", "use .pgm")
    what = f"{suffix_or_name!r} is not one" if wanted else "the name has no suffix"
    raise ImageError(f"the output must be a format that can be written, but {what}", f"use {known}")


def check(format: Format, *, channels: int, alpha: bool, depth: Depth, frames: int) -> None:
    """Raise an ImageError unless `format` can hold such a picture.

    Parameters
    ----------
    format : Format
        As `format_of` returns it.
    channels : int
        Channels of a pixel, alpha counted.
    alpha : bool
        Whether the last channel is alpha.
    depth : Depth
        How a channel is stored.
    frames : int
        How many pictures go into one file.
    """
    name = format.name
    colours = channels - alpha
    if format.colours and colours not in (1, 3):
        raise ImageError(
            f"a picture has 1 or 3 colour channels, but this has {colours}",
            "write a .npy file, put {filter} into the output name, or use --combine grid",
        )
    if alpha and not format.alpha:
        raise ImageError(f"{name} cannot hold alpha", "use --alpha drop, or write a .png file")
    if format.colours and colours not in format.colours:
        raise ImageError(f"{name} holds grey alone, but this has {colours} channels", "use .ppm")
    if depth not in format.depths:
        held = " or ".join(one for one in Depth if one in format.depths)
        if depth is Depth.FLOAT:
            what, way = "float values", f"write a .tif or .npy file, or use --depth {held}"
        else:
            what, way = depth, "write a .png or .tif file, or use --depth 8"
        raise ImageError(f"{name} holds {held} bits a channel, not {what}", way)
    if frames > 1 and not format.frames:
        raise ImageError(
            f"{name} holds one picture, but there are {frames} frames",
            "put {frame} into the output name, or write a .png, .tif, .webp or .gif file",
        )
    if frames > 1 and name == "PNG" and depth is Depth.SIXTEEN:
        # Pillow compares frames in 8 bits, and would drop what differs below.
        raise ImageError(
            f"a PNG animation holds 8 bits a channel, not 16, but there are {frames} frames",
            "write a .tif file, put {frame} into the output name, or use --depth 8",
        )
    if by_libvips(format, channels, depth):
        deep.require("written", name, channels, depth)


def by_libvips(format: Format, channels: int, depth: Depth) -> bool:
    """Whether libvips writes it: of more than 8 bits Pillow writes grey alone."""
    return format.name in ("PNG", "TIFF") and channels > 1 and depth is not Depth.EIGHT


def describes(icc: bytes | None, format: Format, channels: int) -> bool:
    """Whether a colour profile is for the channels that are written."""
    grey = channels <= 2 and not format.widens
    return icc is not None and icc[16:20] == (b"GRAY" if grey else b"RGB ")


def losses(
    format: Format,
    metadata: Metadata,
    *,
    channels: int,
    frames: int,
    depth: Depth = Depth.EIGHT,
) -> tuple[str, ...]:
    """Return what the format cannot carry of a picture, a sentence each.

    Parameters
    ----------
    format : Format
        As `format_of` returns it.
    metadata : Metadata
        The input's.
    channels : int
        Channels of a pixel, alpha counted.
    frames : int
        How many pictures go into one file.
    depth : Depth
        How a channel is stored.

    Examples
    --------
    >>> losses(format_of("bmp"), Metadata("PNG", exif=b"MM"), channels=3, frames=1)
    ('BMP has no place for EXIF, which is left out',)
    """
    name, block, icc = format.name, metadata.exif, metadata.icc
    found = []
    if name == "GIF" and channels > 1:
        found.append("a GIF frame holds at most 256 colours")
    if name == "GIF" and channels in (2, 4):
        found.append("a GIF holds alpha as all or nothing")
    if icc and not format.described:
        found.append(f"{name} has no place for a colour profile, which is left out")
    elif icc and not describes(icc, format, channels):
        space = _SPACES.get(icc[16:20]) or icc[16:20].decode("ascii", "replace").strip()
        what = "a grey" if channels <= 2 and not format.widens else "an RGB"
        found.append(f"the {space} colour profile does not describe {what} picture and is left out")
    if block and not format.described:
        found.append(f"{name} has no place for EXIF, which is left out")
    elif block and name == "JPEG" and len(block) > JPEG_EXIF:
        found.append(f"EXIF of {len(block)} bytes is left out: a JPEG holds at most {JPEG_EXIF}")
    elif block and name == "TIFF" and by_libvips(format, channels, depth):
        found.append("EXIF is left out: libvips does not write it into a TIFF")
    if metadata.durations and frames > 1 and not format.timed:
        found.append(f"{name} has no place for the timing of an animation, which is left out")
    elif len(metadata.durations) > 1 and frames == 1:
        found.append("the timing of the animation is left out, as each frame is a file by itself")
    return tuple(found)
