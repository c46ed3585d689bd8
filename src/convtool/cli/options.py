"""The options that several commands share, each defined once."""

from typing import TYPE_CHECKING, Annotated

import typer

from convtool.errors import UsageError
from convtool.terms import Op

if TYPE_CHECKING:
    from convtool.geometry import ConvSpec

# The headings under which a page lists them.
KERNEL, GEOMETRY = "Kernel", "Geometry"

Stride = Annotated[
    str,
    typer.Option(metavar="N|HxW", help="Step of the window in pixels.", rich_help_panel=GEOMETRY),
]
PaddingOption = Annotated[
    str,
    typer.Option(
        "-p",
        "--padding",
        metavar="MODE|N|HxW|T,B,L,R",
        help="How much is added around the image: same, same-lower, valid, full, fit, or pixels.",
        rich_help_panel=GEOMETRY,
    ),
]
Dilation = Annotated[
    str,
    typer.Option(
        metavar="N|HxW",
        help="Distance between neighbouring taps in pixels.",
        rich_help_panel=GEOMETRY,
    ),
]
Groups = Annotated[
    int,
    typer.Option(metavar="N", help="Split the channels into N groups.", rich_help_panel=GEOMETRY),
]
BorderOption = Annotated[
    str,
    typer.Option(
        metavar="MODE",
        help="What stands in the padding: zero, constant:V, edge, reflect, symmetric, wrap.",
        rich_help_panel=GEOMETRY,
    ),
]
Flip = Annotated[
    bool,
    typer.Option(
        "--flip",
        help="Rotate the kernel by 180° first: true convolution instead of correlation.",
        rich_help_panel=GEOMETRY,
    ),
]
OutputShape = Annotated[
    str | None,
    typer.Option(
        metavar="HxW",
        help="Which of the legal sizes a transposed convolution makes.",
        rich_help_panel=GEOMETRY,
        show_default="padding same: the largest; others: the smallest",
    ),
]
OutputPadding = Annotated[
    str | None,
    typer.Option(
        metavar="N|HxW",
        help="The same as a distance in pixels from the smallest legal size.",
        rich_help_panel=GEOMETRY,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]


def geometry(
    stride: str,
    padding: str,
    dilation: str,
    groups: int,
    border: str,
    flip: bool,
    *,
    op: Op = Op.CONV2D,
    output_shape: str | None = None,
    output_padding: str | None = None,
) -> "ConvSpec":
    """Build the spec that the geometry options say."""
    from convtool.geometry import ConvSpec

    return ConvSpec.of(
        op,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        border=border,
        flip=flip,
        output_shape=output_shape,
        output_padding=output_padding,
    )


def numbers(text: str | None, name: str) -> tuple[float, ...] | None:
    """Read ``B`` or ``B,B,…``."""
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"{name} takes numbers separated by commas, not {text!r}") from None
