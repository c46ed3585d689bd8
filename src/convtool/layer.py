"""One layer from words: the size of an input and the shape of a kernel become a plan.

Nothing heavy is imported for sizes and presets; an image's header needs Pillow.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from convtool.divisors import common_divisors
from convtool.errors import GeometryError, ImageError, UsageError
from convtool.geometry import (
    ConvPlan,
    ConvSpec,
    Pair,
    Shape,
    across_channels,
    image_shape,
    parse_pair,
    parse_size,
    plan,
)
from convtool.terms import Op

# The size of a kernel, and not its name.
_SIZE = re.compile(r"\d+(x\d+)*", re.IGNORECASE)


def settle(
    spec: ConvSpec, input: str, kernel: str, filters: int | None, layout: str = ""
) -> ConvPlan:
    """Plan one layer.

    Parameters
    ----------
    spec : ConvSpec
    input : str
        A size, the path of an image or array, or ``-``.
    kernel : str
        ``KHxKW``, all four sizes (HWIO; HWOI for conv2d_transpose), or any kernel.
    filters : int, optional
        With ``KHxKW``: so many filters, each across the channels of its group.
    layout : str
        The order of the axes in a kernel file, as in ``OIHW``; empty for HWIO, or HWOI.

    Raises
    ------
    ConvtoolError
        Where the input cannot be read, or nothing fits; names the input.
    """
    try:
        shape = _input_shape(input)
        return plan(spec, shape, *_kernel(spec, shape, kernel, filters, layout))
    except (GeometryError, ImageError) as error:
        raise error.within(input) from None


def kernel_size(text: str, layout: str = "", op: Op = Op.CONV2D) -> Pair:
    """Return the size (kh, kw) of a kernel: as it is written, or of any kernel that is named."""
    if _SIZE.fullmatch(text.strip()):
        size = parse_size(text)
    else:
        from convtool import bank

        size = bank.load([text], layout=layout, op=op).shape
    return size[0], size[min(1, len(size) - 1)]


def input_shape(text: str) -> Shape:
    """Return the NHWC shape that an INPUT stands for: a size, or an image by its header.

    Raises
    ------
    ConvtoolError
        Where there is none; names the input.
    """
    try:
        return _input_shape(text)
    except ImageError as error:
        raise error.within(text) from None


def _input_shape(text: str) -> Shape:
    if re.fullmatch(r"\d+([x×]\d+)*", text.lower()) and not Path(text).exists():
        size = parse_size(text.replace("×", "x"))
        return image_shape(size if len(size) > 1 else parse_pair(text, "the size", least=0))
    if re.fullmatch(r"[\d\sx×X,;*]+", text) and not Path(text).exists():
        parse_size(text)  # which says how a size is written
    from convtool import images

    # A header that claims too much is still a header: nothing is decoded here.
    source = sys.stdin.buffer.read() if text == "-" else Path(text)
    return images.probe(source, text, max_pixels=sys.maxsize).shape


def _kernel(
    spec: ConvSpec, shape: Shape, text: str, filters: int | None, layout: str
) -> tuple[tuple[int, ...], int]:
    """Return the kernel's shape, and how many filters a per-channel one has."""
    if not _SIZE.fullmatch(text.strip()):
        if filters is not None:
            raise UsageError(
                f"--filters goes with the size of a kernel, and {text} has filters of its own",
                "for example --kernel 3x3 --filters 32",
            )
        from convtool import bank

        loaded = bank.load([text], layout=layout, op=spec.op)
        return loaded.shape, loaded.filters
    if layout:
        raise UsageError(
            f"--layout {layout} is about a kernel in a file, and {text} is a size, HWIO or HWOI",
            "leave --layout out",
        )
    size = parse_size(text)
    size = size * 2 if len(size) == 1 else size
    if filters is None:
        return size, 1
    if filters < 1 or len(size) != 2:
        raise UsageError(
            f"--filters {filters} with --kernel {text}: filters are at least 1, and the kernel "
            "is KHxKW",
            "for example --kernel 3x3 --filters 32",
        )
    if spec.op is Op.CONV2D_TRANSPOSE:
        return _back_across_channels(size, shape[3], spec.groups, filters), 1
    return across_channels(size, shape[3], spec.groups, filters), 1


def _back_across_channels(size: Sequence[int], channels: int, groups: int, filters: int) -> Shape:
    """Return the HWOI shape that makes `filters` feature maps of so many channels."""
    if filters % groups:
        divisors = common_divisors(filters, channels)
        raise GeometryError(
            f"groups must divide the filters, but {groups} does not divide {filters}",
            f"groups that divide {filters} filters and {channels} channels: "
            f"{', '.join(map(str, divisors))}",
        )
    kh, kw = size
    return kh, kw, filters // groups, channels
