"""Any input → a picture: files and standard input, told apart by their first bytes."""

import io
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import BinaryIO

from PIL import UnidentifiedImageError

from convtool.errors import ImageError
from convtool.images import ahead, survey
from convtool.images.guard import guarded
from convtool.images.picture import MAX_PIXELS, Header, Picture

_NPY = b"\x93NUMPY"

_MAGICS = {
    "PNG": rb"\x89PNG",
    "JPEG": rb"\xff\xd8\xff",
    "GIF": rb"GIF8[79]a",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "WebP": rb"RIFF....WEBP",
    "AVIF": rb"....ftypavi[fs]",
    "PNM": rb"P[1-6]\s",
}


class Opened:
    """A picture's file, open, with its header looked at.

    Parameters
    ----------
    header : Header
        What the file will give.
    seconds : float
        How long `begin` took.
    """

    __slots__ = ("_begin", "_decoding", "_load", "header", "seconds")

    def __init__(
        self,
        header: Header,
        load: Callable[[], Picture],
        decoding: Callable[[], AbstractContextManager[None]],
        begin: Callable[[], None] = lambda: None,
    ) -> None:
        self.header = header
        self._load = load
        self._decoding = decoding
        self._begin = begin
        self.seconds = 0.0

    def begin(self) -> None:
        """Do as much of `load` as takes no NumPy, with the same errors."""
        started = perf_counter()
        with self._decoding():
            self._begin()
        self.seconds += perf_counter() - started

    def load(self) -> Picture:
        """Decode the pixels: all frames, the right way up, of the depth that the file has.

        Raises
        ------
        ImageError
            When it cannot be read whole. The message does not begin with the name.
        """
        with self._decoding():
            return self._load()


@contextmanager
def opened(
    source: Path | bytes, name: str = "", *, max_pixels: int = MAX_PIXELS
) -> Iterator[Opened]:
    """Open a picture once, for its header now and its pixels while it is open.

    Parameters
    ----------
    source : Path or bytes
        A file, or what was read from standard input.
    name : str, optional
        What messages call it; by default its path.
    max_pixels : int
        The most pixels, over all frames, that a header may claim.

    Yields
    ------
    Opened
        Its `load` must be called before the block is left.

    Raises
    ------
    ImageError
        When it cannot be read. The message does not begin with the name. What else is raised in
        the block passes through.
    """
    begun = ahead.take(source, max_pixels)
    if begun is not None and begun.opened is not None:
        with begun.stack:
            yield begun.opened
        return
    with open_now(source, name, max_pixels) as found:
        yield found


@contextmanager
def open_now(source: Path | bytes, name: str, max_pixels: int) -> Iterator[Opened]:
    """Open a picture that is not on its way yet; the parameters are those of `opened`."""
    with _file(source) as fp:
        start = fp.read(16)
        fp.seek(0)
        if not start:
            raise ImageError("the file is empty, 0 bytes")
        name = name or ("standard input" if isinstance(source, bytes) else str(source))
        decoding = partial(_decoding, start, name)
        with decoding():
            if start.startswith(_NPY):
                found = _opened_array(fp, max_pixels, decoding)
            else:
                plan = survey.survey(fp, max_pixels)
                begin = partial(survey.begin, plan, fp)
                found = Opened(plan.header, partial(_decoded, plan, fp), decoding, begin)
        yield found


def probe(source: Path | bytes, name: str = "", *, max_pixels: int = MAX_PIXELS) -> Header:
    """Return what a file's header says, no pixels decoded; the parameters are those of `opened`."""
    on_its_way = ahead.look(source, max_pixels)
    if on_its_way is not None:
        return on_its_way.header
    with opened(source, name, max_pixels=max_pixels) as found:
        return found.header


def read(source: Path | bytes, name: str = "", *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read a picture: all frames, the right way up, as grey or RGB with or without alpha.

    The parameters and errors are those of `opened`.
    """
    with opened(source, name, max_pixels=max_pixels) as found:
        return found.load()


# NumPy is imported in these: what reads no pixels starts without it.


def _opened_array(
    fp: BinaryIO, max_pixels: int, decoding: Callable[[], AbstractContextManager[None]]
) -> Opened:
    from convtool.images import npy

    header = npy.probe(fp)
    survey.limit(*header.shape[:3], max_pixels)
    fp.seek(0)
    return Opened(header, partial(npy.read, fp), decoding)


def _decoded(plan: survey.Survey, fp: BinaryIO) -> Picture:
    from convtool.images import decode

    return decode.load(plan, fp)


@contextmanager
def _file(source: Path | bytes) -> Iterator[BinaryIO]:
    """Open the source at its start, for reading to and fro."""
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
        yield fp


@contextmanager
def _decoding(start: bytes, name: str) -> Iterator[None]:
    """Turn every failure into an ImageError; `start` is how the file begins."""
    try:
        with guarded("it cannot be decoded"):
            yield
    except UnidentifiedImageError:
        for kind, magic in _MAGICS.items():
            if re.match(magic, start, re.DOTALL):
                raise ImageError(
                    f"it begins as a {kind} file, but its header is damaged or cut off",
                    "get a whole copy of it",
                ) from None
        raise ImageError(
            f"it is not an image of a known kind: it begins with {start!r:.60}",
            f"what is inside decides, not the name {name}; PNG, JPEG, TIFF, WebP, BMP, PNM, "
            "GIF and .npy are read",
        ) from None
