"""One layer from words: the size of an input and the shape of a kernel become a plan.

Nothing heavy is imported for sizes and presets; an image's header needs Pillow.
"""

import re
from pathlib import Path

from convtool.errors import UsageError
from convtool.geometry import ConvPlan, ConvSpec, Shape, image_shape, parse_size, plan


def input_shape(text: str) -> Shape:
    """Return NHWC of a bare size, or of the image or array at a path.

    Raises
    ------
    ImageError
        Where the file cannot be read.
    """
    if re.fullmatch(r"\d+(x\d+)+", text.lower()):
        return image_shape(parse_size(text))
    from convtool import images

    return images.probe(Path(text)).shape


def settle(spec: ConvSpec, shape: Shape, kernel: str, filters: int | None) -> ConvPlan:
    """Plan one layer.

    Parameters
    ----------
    spec : ConvSpec
    shape : (N, H, W, C)
    kernel : str
        ``KHxKW``, ``KHxKWxINxOUT``, or any kernel.
    filters : int, optional
        With ``KHxKW``: so many filters, each across the channels of its group.
    """
    if not re.fullmatch(r"\d+(x\d+)*", kernel.strip().lower()):
        if filters is not None:
            raise UsageError(
                f"--filters goes with the size of a kernel, and {kernel} has filters of its own",
                "for example --kernel 3x3 --filters 32",
            )
        from convtool import bank

        loaded = bank.load([kernel])
        return plan(spec, shape, loaded.shape, filters=loaded.filters)
    size = parse_size(kernel)
    size = size * 2 if len(size) == 1 else size
    if filters is None:
        return plan(spec, shape, size)
    if filters < 1 or len(size) != 2:
        raise UsageError(
            f"--filters {filters} with --kernel {kernel}: filters are at least 1, and the kernel "
            "is KHxKW",
            "for example --kernel 3x3 --filters 32",
        )
    if shape[3] % spec.groups:
        return plan(spec, shape, (*size, shape[3], filters))
    return plan(spec, shape, (*size, shape[3] // spec.groups, filters))
