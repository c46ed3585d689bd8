"""Files ⇄ NHWC batches: reading, writing, colour and alpha, value ranges.

The names are imported when they are first used: a header is looked at without NumPy.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convtool.images.alpha import premultiply, sample, unpremultiply
    from convtool.images.disk import write_atomically
    from convtool.images.formats import FORMATS, Format, check, format_of, losses
    from convtool.images.light import Light, curves
    from convtool.images.picture import MAX_PIXELS, Header, Metadata, Picture, full_scale
    from convtool.images.ranges import Clipped, summary, to_pixels
    from convtool.images.reader import Opened, opened, probe, read
    from convtool.images.sheet import Section, contact_sheet
    from convtool.images.storage import canvas, recycling
    from convtool.images.write import encode

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "Clipped",
    "Format",
    "Header",
    "Light",
    "Metadata",
    "Opened",
    "Picture",
    "Section",
    "canvas",
    "check",
    "contact_sheet",
    "curves",
    "encode",
    "format_of",
    "full_scale",
    "losses",
    "opened",
    "premultiply",
    "probe",
    "read",
    "recycling",
    "sample",
    "summary",
    "to_pixels",
    "unpremultiply",
    "write_atomically",
]

_PLACES = {
    "alpha": ("premultiply", "sample", "unpremultiply"),
    "disk": ("write_atomically",),
    "formats": ("FORMATS", "Format", "check", "format_of", "losses"),
    "light": ("Light", "curves"),
    "picture": ("MAX_PIXELS", "Header", "Metadata", "Picture", "full_scale"),
    "ranges": ("Clipped", "summary", "to_pixels"),
    "reader": ("Opened", "opened", "probe", "read"),
    "sheet": ("Section", "contact_sheet"),
    "storage": ("canvas", "recycling"),
    "write": ("encode",),
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    for module, names in _PLACES.items():
        if name in names:
            return getattr(import_module(f"convtool.images.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
