"""The options that several commands share, each defined once."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convtool.errors import UsageError
from convtool.terms import EngineName, Op

if TYPE_CHECKING:
    from convtool.geometry import ConvSpec

# The headings under which a page lists them.
KERNEL, GEOMETRY, STACK = "Kernel", "Geometry", "Stack of layers"

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
StackFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="A TOML file of layers; those of --layer follow them.",
        rich_help_panel=STACK,
        show_default=False,
    ),
]
Layout = Annotated[
    str,
    typer.Option(
        metavar="AXES",
        help="The order of the four axes in a kernel file: PyTorch saves OIHW, and IOHW of its "
        "ConvTranspose2d.",
        rich_help_panel=KERNEL,
        show_default="HWIO, and HWOI for transpose",
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


def was_given(context: typer.Context, name: str) -> bool:
    """Whether an option was typed."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def see_that_layers_say_it(
    context: typer.Context, ways_out: Mapping[str, str], single: str
) -> None:
    """Refuse the options of a single kernel or layer beside those of a stack.

    Parameters
    ----------
    context : Context
        What was typed.
    ways_out : mapping of str to str
        For each parameter that has no place beside a stack, what to do instead.
    single : str
        What it is for: a kernel or a layer.

    Raises
    ------
    UsageError
        Where one of them was typed.
    """
    for parameter in context.command.params:
        name = str(parameter.name)
        if name in ways_out and was_given(context, name):
            option = max(parameter.opts, key=len)
            raise UsageError(
                f"{option} is for a single {single}, but a stack is given", ways_out[name]
            )


def numbers(text: str | None, name: str) -> tuple[float, ...] | None:
    """Read ``B`` or ``B,B,…``."""
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"{name} takes numbers separated by commas, not {text!r}") from None


# What people call the engine for GPUs.
GPUS = ("gpu", "nvidia")


def engine_name(text: str) -> EngineName:
    """Read --engine.

    Raises
    ------
    UsageError
        Where there is no such engine.
    """
    from convtool.geometry import choice

    if text.strip().lower() in GPUS:
        raise UsageError(
            f"--engine must be one of {', '.join(EngineName)}, not {text!r}", "did you mean cuda?"
        )
    return choice(EngineName, text, "--engine")
