"""What each file format that is written can hold: one table, and the checks that read it."""

from dataclasses import dataclass

from convtool.errors import ImageError
from convtool.terms import Depth

_8 = frozenset({Depth.EIGHT})
_8_16 = frozenset({Depth.EIGHT, Depth.SIXTEEN})
_ALL = frozenset(Depth)


@dataclass(frozen=True)
class Format:
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
    note : str
        What is lost in it, for the report.
    """

    name: str
    suffixes: tuple[str, ...]
    depths: frozenset[Depth] = _8
    colours: frozenset[int] = frozenset({1, 3})
    alpha: bool = False
    frames: bool = False
    largest: int = 2**31 - 1
    widens: bool = False
    note: str = ""


FORMATS = (
    Format("PNG", (".png", ".apng"), depths=_8_16, alpha=True, frames=True),
    Format("JPEG", (".jpg", ".jpeg", ".jpe", ".jfif"), largest=65500),
    Format("TIFF", (".tif", ".tiff"), depths=_ALL, alpha=True, frames=True),
    Format("WEBP", (".webp",), alpha=True, frames=True, largest=16383, widens=True),
    Format("BMP", (".bmp", ".dib")),
    Format("PGM", (".pgm",), depths=_8_16, colours=frozenset({1})),
    Format("PPM", (".ppm",), depths=_8_16, widens=True),
    Format("PNM", (".pnm",), depths=_8_16),
    Format(
        "GIF",
        (".gif",),
        alpha=True,
        frames=True,
        largest=65535,
        note="a GIF frame holds 256 colours, and alpha as all or nothing",
    ),
    Format("NPY", (".npy",), depths=_ALL, colours=frozenset(), alpha=True, frames=True),
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
