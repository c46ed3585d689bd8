"""One layer from words: the size of an input and the shape of a kernel become a plan.

Nothing heavy is imported for sizes and presets; an image's header needs Pillow.
"""

import re
import sys
from pathlib import Path

from convtool.errors import GeometryError, ImageError, UsageError
from convtool.geometry import (
    ConvPlan,
    ConvSpec,
    Shape,
    across_channels,
    image_shape,
    parse_pair,
    parse_size,
    plan,
)


def settle(spec: ConvSpec, input: str, kernel: str, filters: int | None) -> ConvPlan:
    """Plan one layer.

    Parameters
    ----------
    spec : ConvSpec
    input : str
        A size, the path of an image or array, or ``-``.
    kernel : str
        ``KHxKW``, ``KHxKWxINxOUT``, or any kernel.
    filters : int, optional
        With ``KHxKW``: so many filters, each across the channels of its group.

    Raises
    ------
    ConvtoolError
        Where the input cannot be read, or nothing fits; names the input.
    """
    try:
        shape = _input_shape(input)
        return plan(spec, shape, *_kernel(spec, shape, kernel, filters))
    except (GeometryError, ImageError) as error:
        raise error.within(input) from None


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
    spec: ConvSpec, shape: Shape, text: str, filters: int | None
) -> tuple[tuple[int, ...], int]:
    """Return the kernel's shape, and how many filters a per-channel one has."""
    if not re.fullmatch(r"\d+(x\d+)*", text.strip().lower()):
        if filters is not None:
            raise UsageError(
                f"--filters goes with the size of a kernel, and {text} has filters of its own",
                "for example --kernel 3x3 --filters 32",
            )
        from convtool import bank

        loaded = bank.load([text])
        return loaded.shape, loaded.filters
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
    return across_channels(size, shape[3], spec.groups, filters), 1
