"""Any input → a picture: files and standard input, told apart by their first bytes."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from PIL import UnidentifiedImageError

from convtool.errors import ImageError
from convtool.images import survey
from convtool.images.guard import guarded
from convtool.images.picture import MAX_PIXELS, Header, Picture

_NPY = b"\x93NUMPY"

_MAGICS = {
    "PNG": re.compile(rb"\x89PNG"),
    "JPEG": re.compile(rb"\xff\xd8\xff"),
    "GIF": re.compile(rb"GIF8[79]a"),
    "TIFF": re.compile(rb"II[*+]\0|MM\0[*+]"),
    "WebP": re.compile(rb"RIFF....WEBP", re.DOTALL),
    "AVIF": re.compile(rb"....ftypavi[fs]", re.DOTALL),
    "PNM": re.compile(rb"P[1-6]\s"),
}

_DOING = "it cannot be decoded"


def probe(source: Path | bytes, name: str = "", *, max_pixels: int = MAX_PIXELS) -> Header:
    """Return what a file's header says, no pixels decoded.

    Parameters
    ----------
    source : Path or bytes
        A file, or what was read from standard input.
    name : str, optional
        What messages call it; by default its path.
    max_pixels : int
        The most pixels, over all frames, that a header may claim.

    Returns
    -------
    Header
        The same that `read` gives with the pixels.

    Raises
    ------
    ImageError
        When it cannot be read. The message does not begin with the name.
    """
    with _opened(source, name) as fp:
        if _is_npy(fp):
            from convtool.images import npy

            header = npy.probe(fp)
            survey.limit(*header.shape[:3], max_pixels)
            return header
        return survey.survey(fp, max_pixels).header


def read(source: Path | bytes, name: str = "", *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read a picture: all frames, the right way up, as grey or RGB with or without alpha.

    Parameters
    ----------
    source : Path or bytes
        A file, or what was read from standard input.
    name : str, optional
        What messages call it; by default its path.
    max_pixels : int
        The most pixels, over all frames, that a header may claim.

    Returns
    -------
    Picture
        Pixels of the depth that the file has.

    Raises
    ------
    ImageError
        When it cannot be read whole. The message does not begin with the name.
    """
    # Only here: what reads no pixels starts without NumPy.
    from convtool.images import decode, npy

    with _opened(source, name) as fp:
        if _is_npy(fp):
            survey.limit(*npy.probe(fp).shape[:3], max_pixels)
            fp.seek(0)
            return npy.read(fp)
        return decode.load(survey.survey(fp, max_pixels), fp)


def _is_npy(fp: BinaryIO) -> bool:
    found = fp.read(len(_NPY)) == _NPY
    fp.seek(0)
    return found


@contextmanager
def _opened(source: Path | bytes, name: str) -> Iterator[BinaryIO]:
    """Open the source at its start; inside, every failure is an ImageError."""
    name = name or ("standard input" if isinstance(source, bytes) else str(source))
    fp: BinaryIO
    try:
        fp = io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")
        if not fp.seekable():
            with fp:
                fp = io.BytesIO(fp.read())
    except FileNotFoundError:
        raise ImageError("there is no such file") from None
    except IsADirectoryError:
        raise ImageError(
            "it is a folder, not an image", "use --recursive to take the images inside"
        ) from None
    except PermissionError:
        raise ImageError("it may not be read: permission denied") from None
    except OSError as error:
        raise ImageError(f"it cannot be opened: {error.strerror or error}") from None
    with fp:
        start = fp.read(16)
        fp.seek(0)
        if not start:
            raise ImageError("the file is empty, 0 bytes")
        try:
            with guarded(_DOING):
                yield fp
        except UnidentifiedImageError:
            for kind, magic in _MAGICS.items():
                if magic.match(start):
                    raise ImageError(
                        f"it begins as a {kind} file, but its header is damaged or cut off",
                        "get a whole copy of it",
                    ) from None
            raise ImageError(
                f"it is not an image of a known kind: it begins with {start!r:.60}",
                f"what is inside decides, not the name {name}; PNG, JPEG, TIFF, WebP, BMP, PNM, "
                "GIF and .npy are read",
            ) from None
