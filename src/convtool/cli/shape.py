"""`convtool shape`: sizes without pixels."""

from typing import Annotated

import typer

from convtool.cli import options

EXAMPLES = """\b
Examples:
  convtool shape 28x28x1 --kernel 3x3 --filters 32
  convtool shape 224x224x3 --kernel 7x7 --filters 64 --stride 2 --padding 3
  convtool shape photo.jpg --kernel gaussian:sigma=3 --padding valid
  convtool shape 28x28 --kernel 3x3 --stride 3 --padding fit --json
"""


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
    """Compute sizes, pads, parameters, multiply-adds and receptive field; read no pixels.

    The number of feature maps is your choice (--filters); height and width follow from the
    input, the kernel, the stride, the padding and the dilation.
    """
    from convtool import layer
    from convtool.report import plans

    spec = options.geometry(stride, padding, dilation, groups, border, flip)
    plans.show(layer.settle(spec, input, kernel, filters), as_json=json)
