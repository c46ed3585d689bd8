"""`convtool shape`: sizes without pixels."""

from typing import Annotated

import typer

from convtool.cli import help, options

SYNOPSIS = "-k KERNEL [OPTIONS]"

ABOUT = """Compute sizes, pads, costs and receptive field; read no pixels.

How many feature maps there are is your choice (--filters); height and width
follow from the input, the kernel, the stride, the padding and the dilation. The
formula is shown with its numbers, and where no window fits, or a padding has no
solution, what would fit.

In the table pads are pixels at the top, bottom, left and right; dropped are rows
and columns at the end that no window reads.
"""

NOTES = f"""\
Padding, and the size it gives for an axis of i pixels and windows that cover
e = (kernel - 1) dilation + 1 pixels:
  valid            floor((i - e) / stride) + 1; no padding
  same             ceil(i / stride); the odd pixel of padding is at the end
  same-lower       the same with the odd pixel at the start
  full             every window that touches the image
  fit              the least equal padding with which the last window ends on
                   the border
  N, HxW, T,B,L,R  floor((i + before + after - e) / stride) + 1

Examples:
  convtool shape 28x28x1 --kernel 3x3 --filters 32
  convtool shape 224x224x3 --kernel 7x7 --filters 64 --stride 2 --padding 3
  convtool shape photo.jpg --kernel gaussian:sigma=3 --padding valid
  convtool shape 28x28 --kernel 3x3 --stride 3 --padding fit --json

{help.STATUS}
Environment:
{help.COLOUR}{help.OWN_KERNELS}
Files:
{help.KERNEL_FILES}"""


def shape(
    input: Annotated[
        str,
        typer.Argument(
            metavar="INPUT",
            help="A size (HxW, HxWxC or NxHxWxC), or an image, of which only the header is read; "
            "- for standard input.",
            show_default=False,
        ),
    ],
    kernel: Annotated[
        str,
        typer.Option(
            "-k",
            "--kernel",
            metavar="KHxKW|KERNEL",
            help="A size (KHxKW, or KHxKWxINxOUT), or any kernel that apply takes.",
            rich_help_panel=options.KERNEL,
            show_default=False,
        ),
    ],
    filters: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Number of filters, each across all channels: the number of feature maps.",
            rich_help_panel=options.KERNEL,
            show_default="one for each channel by itself",
        ),
    ] = None,
    stride: options.Stride = "1",
    padding: options.PaddingOption = "same",
    dilation: options.Dilation = "1",
    groups: options.Groups = 1,
    border: options.BorderOption = "zero",
    flip: options.Flip = False,
    json: options.Json = False,
) -> None:
    """Compute sizes, pads, parameters, multiply-adds and receptive field; read no pixels."""
    from convtool import layer
    from convtool.report import plans

    spec = options.geometry(stride, padding, dilation, groups, border, flip)
    plans.show(layer.settle(spec, input, kernel, filters), as_json=json)
