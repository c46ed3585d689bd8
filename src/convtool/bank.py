"""What the --kernel options said, as one kernel: a single one, or a bank of filters.

Only the standard library is imported until weights are asked for.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from convtool import kernels
from convtool.errors import ConvtoolError, KernelError
from convtool.geometry import size_text
from convtool.kernels import Kernel, Problem
from convtool.terms import IMAGE_SUFFIXES, Op

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Make = Callable[[], NDArray[np.float64]]

# What a colour weighs in grey, R, G, B: Rec. ITU-R BT.601, as in Pillow and ImageMagick.
LUMA = (0.299, 0.587, 0.114)


def load(
    texts: Sequence[str], *, normalize: bool = False, layout: str = "", op: Op = Op.CONV2D
) -> Kernel:
    """Load every kernel named, merge them into one bank, and scale it if wanted.

    Parameters
    ----------
    texts : sequence of str
        Each a preset, ``name:param=value``, a file, an image, or an inline kernel.
    normalize : bool
        Scale every filter to sum 1.
    layout : str
        The order of the axes of files' arrays of rank 4, as in ``OIHW``; empty for the order that
        `op` takes, HWIO or HWOI.
    op : Op

    Raises
    ------
    KernelError
        Where one cannot be found or read, or they do not go together.
    """
    bank = merge([_load_one(text, layout, op) for text in texts])
    return normalized(bank) if normalize else bank


def _load_one(text: str, layout: str = "", op: Op = Op.CONV2D) -> Kernel:
    path = Path(text)
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        return kernels.load(text, layout=layout, op=op)
    from convtool import images

    try:
        picture = images.read(path)
    except ConvtoolError as error:
        raise KernelError(error.message, error.hint).within(text) from None
    frames = picture.header.shape[0]
    if frames > 1:
        raise KernelError(
            f"{text}: an image as a kernel is one picture, but this has {frames}",
            "take one of them out",
        )
    pixels = picture.pixels[0, :, :, : -1 if picture.header.alpha else None]
    grey = pixels @ LUMA if pixels.shape[2] == 3 else pixels[..., 0]
    return Kernel.from_grey(path.stem, grey, str(path))


def inspect(path: Path) -> tuple[list[Problem], Kernel | None]:
    """Return the problems of a kernel file, an image included, and its kernel if there are none."""
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        return kernels.inspect(path)
    try:
        return [], _load_one(str(path))
    except KernelError as error:
        return [Problem(0, error.message.removeprefix(f"{path}: "), error.hint)], None


def files_of(texts: Sequence[str]) -> tuple[Path, ...]:
    """Return the files among what --kernel got, which no output may overwrite."""
    named = (Path(part) for text in texts for part in (text, text.rpartition(":")[0]) if part)
    # os.path: a text that is too long for a name is none, and no error.
    return tuple(path for path in named if os.path.isfile(path))


def merge(bank: Sequence[Kernel]) -> Kernel:
    """Make one bank of several kernels.

    Smaller per-channel kernels are set into the largest one's window so that their centres, and
    with them their responses at stride 1, stay where they were.
    """
    if len(bank) == 1:
        return bank[0]
    shapes = ", ".join(f"{kernel.name} {size_text(kernel.shape)}" for kernel in bank)
    if len({len(kernel.shape) for kernel in bank}) > 1:
        raise KernelError(
            f"kernels that filter each channel and kernels across channels make no bank: {shapes}",
            "apply them one by one",
        )
    shape, make = _merged_weights(bank, shapes)
    biases = [kernel.bias or (0.0,) * kernel.filters for kernel in bank]
    return Kernel(
        name="+".join(kernel.name for kernel in bank),
        shape=shape,
        filters=sum(kernel.filters for kernel in bank),
        make=make,
        filter_names=tuple(name for kernel in bank for name in _names(kernel)),
        bias=tuple(b for bias in biases for b in bias) if any(k.bias for k in bank) else None,
        origin="bank",
    )


def _names(kernel: Kernel) -> list[str]:
    if kernel.filters == 1:
        return [kernel.name]
    inner = kernel.filter_names or tuple(map(str, range(kernel.filters)))
    return [f"{kernel.name} {name}" for name in inner]


def _merged_weights(bank: Sequence[Kernel], shapes: str) -> "tuple[tuple[int, ...], Make]":
    if len(bank[0].shape) == 4:
        if len({kernel.shape[:3] for kernel in bank}) > 1:
            raise KernelError(
                f"kernels across channels make a bank only if they agree in kh, kw and input "
                f"channels: {shapes}",
                "apply them one by one",
            )

        def joined() -> "NDArray[np.float64]":
            import numpy as np

            return np.concatenate([kernel.weights for kernel in bank], axis=3)

        return (*bank[0].shape[:3], sum(kernel.filters for kernel in bank)), joined
    height = max(kernel.shape[0] for kernel in bank)
    width = max(kernel.shape[1] for kernel in bank)

    def framed() -> "NDArray[np.float64]":
        import numpy as np

        filters = np.zeros((sum(kernel.filters for kernel in bank), height, width))
        first = 0
        for kernel in bank:
            kh, kw = kernel.shape
            top, left = (height - 1) // 2 - (kh - 1) // 2, (width - 1) // 2 - (kw - 1) // 2
            after = first + kernel.filters
            filters[first:after, top : top + kh, left : left + kw] = kernel.weights
            first = after
        return filters

    return (height, width), framed


def normalized(kernel: Kernel) -> Kernel:
    """Scale every filter to sum 1.

    Raises
    ------
    KernelError
        Where a filter's taps sum to zero.
    """
    import numpy as np

    for f, total in enumerate(kernel.sums):
        if total == 0:
            raise KernelError(
                f"the taps of filter {f} of {kernel.name} sum to zero, which no factor makes 1",
                "leave out --normalize; --range signed or stretch shows such responses",
            )
    sums = np.array(kernel.sums)
    scaled = kernel.weights / (sums[:, None, None] if len(kernel.shape) == 2 else sums)
    return replace(kernel, make=lambda: scaled)
