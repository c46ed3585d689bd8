"""Files ⇄ NHWC batches: reading, writing, colour and alpha, value ranges."""

from convtool.images.alpha import premultiply, sample, unpremultiply
from convtool.images.formats import FORMATS, Format, check, format_of, losses
from convtool.images.picture import MAX_PIXELS, Header, Metadata, Picture, full_scale
from convtool.images.ranges import summary, to_pixels
from convtool.images.read import probe, read
from convtool.images.write import encode, write_atomically

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "Format",
    "Header",
    "Metadata",
    "Picture",
    "check",
    "encode",
    "format_of",
    "full_scale",
    "losses",
    "premultiply",
    "probe",
    "read",
    "sample",
    "summary",
    "to_pixels",
    "unpremultiply",
    "write_atomically",
]
