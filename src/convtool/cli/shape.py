"""`convtool shape`: sizes without pixels."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convtool.cli import help, options
from convtool.errors import UsageError
from convtool.terms import Op

if TYPE_CHECKING:
    from convtool.frameworks import View
    from convtool.geometry import ConvPlan, Pair
    from convtool.search import Fixed

SYNOPSIS = "-k KERNEL|--layer LAYER|--stack FILE [OPTIONS]"

QUESTIONS = "Questions about one layer"

# What may stand beside the layers of a stack; the rest is for a single layer.
BESIDE_A_STACK = ("input", "layers", "stack", "at", "json")

ABOUT = """Compute sizes, pads, costs and receptive field; read no pixels.

How many feature maps there are is your choice (--filters); height and width
follow from the input, the kernel, the stride, the padding and the dilation. The
formula is shown with its numbers, and where no window fits, or a padding has no
solution, what would fit.

In the table pads are pixels at the top, bottom, left and right; dropped are rows
and columns at the end that no window reads.

Several layers, by --layer or in a file, are a stack: each works on what the one
before it gives. Where a layer does not fit, the error says what would repair the
stack.
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

A transposed convolution has several legal sizes, as many as the stride has
pixels: those which the convolution turns back into the i pixels that go in.
  valid, numbers   from (i - 1) stride + e - before - after on
  same             from (i - 1) stride + 1 to i stride
--output-shape or --output-padding takes one; its pads are the convolution's.

A layer of a stack is its kind, and then in any order:
  conv             a size and filters, xN: conv 3x3 x32
  transpose        the same, from output to input: transpose 4x4 x16 stride=2
  depthwise        a size; x2 for two filters on each channel
  pool             a window, which steps by its own size; max or average
  upsample         a factor: upsample 2 repeats each pixel 2x2 times
  flatten          nothing more
  dense            a number of units: dense x10
  reshape          height, width and channels: reshape 7x7x64
beside these a padding (same), an activation (relu), or key=value with one of
the keys size, filters, stride, padding, dilation, groups, border, flip,
output_shape, output_padding, pooling, activation, name, bias, layout, and
kernel instead of size and filters:
{help.LAYER_WEIGHTS}
The TOML file of a stack has a table [[layer]] for each, with op = "conv" and
the same keys; under [input] it may have size = "28x28x1", and for 'convtool
apply --stack':
{help.STACK_INPUT}
Questions about one layer:
  --frameworks     the padding that people write in each framework beside this
                   one: its size, its pads, and whether its grid is shifted
                   although the sizes agree; then the code of exactly this layer
  --want 112x112   kernels 1 to 11, strides 1 to 8, dilations 1 to 3 and up
                   to 64 paddings below the kernel, simplest first; ends with 1
                   where nothing leads there
  --fit            what valid and same leave unread, the equal paddings that
                   leave nothing unread, and the least one of all
  --undo           the layer that leads back, in each framework's words

Examples:
  convtool shape 28x28x1 --kernel 3x3 --filters 32
  convtool shape 224x224x3 --kernel 7x7 --filters 64 --stride 2 --padding 3
  convtool shape photo.jpg --kernel gaussian:sigma=3 --padding valid
  convtool shape 28x28 --kernel 3x3 --stride 3 --padding fit --json
  convtool shape 14x14x64 -k 4x4 --filters 32 --stride 2 --transpose
  convtool shape 2x2 -k 3x3 --stride 2 -p valid --transpose --output-shape 6x6
  convtool shape 224x224x3 -k 7x7 --filters 64 --stride 2 --frameworks
  convtool shape 224x224x3 -k 7x7 --want 112x112
  convtool shape 7x7 --want 28x28 --transpose --limit 5
  convtool shape 28x28 -k 3x3 --stride 2 --fit
  convtool shape 224x224x3 -k 7x7 --filters 64 --stride 2 --undo
  convtool shape 28x28x1 --layer "conv 3x3 x32 relu" --layer "pool 2"
  convtool shape 8x8x1 --layer "transpose 4x4 x1 stride=2" --at 5,5
  convtool shape 64x64x3 --stack net.toml

{help.STATUS}
Environment:
{help.COLOUR}{help.OWN_KERNELS}
Files:
{help.KERNEL_FILES}"""


def shape(
    context: typer.Context,
    input: Annotated[
        str | None,
        typer.Argument(
            metavar="INPUT",
            help="A size (HxW, HxWxC or NxHxWxC), or an image, of which only the header is read; "
            "- for standard input. May be left out where --stack says it.",
            show_default=False,
        ),
    ] = None,
    kernel: Annotated[
        str | None,
        typer.Option(
            "-k",
            "--kernel",
            metavar="KHxKW|KERNEL",
            help="A size (KHxKW, or KHxKWxINxOUT), or any kernel that apply takes.",
            rich_help_panel=options.KERNEL,
            show_default=False,
        ),
    ] = None,
    filters: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Number of filters, each across all channels: the number of feature maps.",
            rich_help_panel=options.KERNEL,
            show_default="one for each channel by itself",
        ),
    ] = None,
    layout: options.Layout = "",
    stride: options.Stride = "1",
    padding: options.PaddingOption = "same",
    dilation: options.Dilation = "1",
    groups: options.Groups = 1,
    border: options.BorderOption = "zero",
    flip: options.Flip = False,
    transpose: Annotated[
        bool,
        typer.Option(
            "--transpose",
            help="A transposed convolution: the gradient of the one that is described.",
            rich_help_panel=options.GEOMETRY,
        ),
    ] = False,
    output_shape: options.OutputShape = None,
    output_padding: options.OutputPadding = None,
    frameworks: Annotated[
        bool,
        typer.Option(
            "--frameworks",
            help="Also how TensorFlow, Keras, PyTorch, ONNX and JAX see it, and its code there.",
            rich_help_panel=QUESTIONS,
        ),
    ] = False,
    want: Annotated[
        str | None,
        typer.Option(
            metavar="N|HxW",
            help="List layers that give this size; what else is said on the line is held.",
            rich_help_panel=QUESTIONS,
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, help="How many layers --want lists.", rich_help_panel=QUESTIONS
        ),
    ] = 10,
    fit: Annotated[
        bool,
        typer.Option(
            "--fit",
            help="Say which paddings leave no row and no column unread.",
            rich_help_panel=QUESTIONS,
        ),
    ] = False,
    undo: Annotated[
        bool,
        typer.Option(
            "--undo",
            help="Say which layer leads back to the size of the input: transposed, or with "
            "--transpose the convolution that it is the gradient of.",
            rich_help_panel=QUESTIONS,
        ),
    ] = False,
    layers: Annotated[
        list[str],
        typer.Option(
            "--layer",
            metavar="LAYER",
            help='One layer of several, such as "conv 3x3 x32 stride=2 relu"; see below. '
            "May be repeated: a stack.",
            rich_help_panel=options.STACK,
            show_default=False,
        ),
    ] = [],  # noqa: B006
    stack: options.StackFile = None,
    at: Annotated[
        str | None,
        typer.Option(
            metavar="Y,X",
            help="Say which pixels this output of the stack sees: row and column, from 0.",
            rich_help_panel=options.STACK,
            show_default=False,
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Compute sizes, pads, parameters, multiply-adds and receptive field; read no pixels."""
    if layers or stack:
        _see_that_layers_say_it(context)
        _stack(input, stack, layers, at, json)
        return
    if at:
        raise UsageError("--at goes with a stack", 'for example --layer "conv 3x3 x32" --at 0,0')
    _see_that_they_go_together(want=want, fit=fit, undo=undo, frameworks=frameworks and not undo)
    if (output_shape or output_padding) and not transpose:
        raise UsageError(
            "--output-shape and --output-padding choose among the sizes of a transposed "
            "convolution",
            "add --transpose",
        )
    if want is not None and output_shape is not None:
        raise UsageError("--want and --output-shape are both the output's size", "give --want")
    from convtool import layer

    if input is not None and want is not None:
        op = Op.CONV2D_TRANSPOSE if transpose else Op.CONV2D
        size = None if kernel is None else layer.kernel_size(kernel, layout, op)
        held = _held(context, size, stride, dilation, padding, output_padding)
        _wanted(input, want, held, transpose, limit, json)
        return
    if input is None or kernel is None:
        missing = "INPUT, a size or an image," if input is None else "the kernel"
        raise UsageError(
            f"{missing} is missing",
            "for example convtool shape 28x28x1 --kernel 3x3, or several --layer",
        )
    if fit:
        _fit(input, layer.kernel_size(kernel, layout), stride, dilation, transpose, json)
        return
    spec = options.geometry(
        *(stride, padding, dilation, groups, border, flip),
        op=Op.CONV2D_TRANSPOSE if transpose else Op.CONV2D,
        output_shape=output_shape,
        output_padding=output_padding,
    )
    settled = layer.settle(spec, input, kernel, filters, layout)
    if undo:
        _undo(settled, frameworks, json)
        return
    from convtool.report import plans

    plans.show(settled, _views(settled) if frameworks else (), as_json=json)


def _see_that_they_go_together(**asked: object) -> None:
    """Refuse two questions at once."""
    questions = [f"--{name}" for name, given in asked.items() if given]
    if len(questions) > 1:
        raise UsageError(
            f"{questions[0]} and {questions[1]} are two questions", "ask one after the other"
        )


def _held(
    context: typer.Context,
    kernel: "Pair | None",
    stride: str,
    dilation: str,
    padding: str,
    output_padding: str | None,
) -> "Fixed":
    """Gather what was said of the layer that --want looks for."""
    from convtool.geometry import Padding, parse_pair
    from convtool.search import Fixed

    return Fixed(
        kernel=kernel,
        stride=parse_pair(stride, "stride") if options.was_given(context, "stride") else None,
        dilation=parse_pair(dilation, "dilation")
        if options.was_given(context, "dilation")
        else None,
        padding=Padding.parse(padding) if options.was_given(context, "padding") else None,
        output_padding=None
        if output_padding is None
        else parse_pair(output_padding, "output_padding", least=0),
    )


def _wanted(
    input: str, want: str, held: "Fixed", transpose: bool, limit: int, as_json: bool
) -> None:
    """List the layers that give a size."""
    from convtool import layer, search
    from convtool.geometry import parse_pair
    from convtool.report import search as report

    shape, size = layer.input_shape(input), parse_pair(want, "want")
    answer = search.wanted(shape[1:3], size, held, transpose=transpose)
    report.show_wanted(shape, size, answer, held, transpose=transpose, limit=limit, as_json=as_json)
    if not answer.options:
        raise typer.Exit(1)


def _fit(
    input: str, kernel: "Pair", stride: str, dilation: str, transpose: bool, as_json: bool
) -> None:
    """Say which paddings waste nothing."""
    if transpose:
        raise UsageError(
            "--fit is about what a convolution leaves unread, and a transposed one reads all",
            "leave out --transpose",
        )
    from convtool import layer, search
    from convtool.geometry import parse_pair
    from convtool.report import search as report

    shape = layer.input_shape(input)
    fits = search.fit(
        shape[1:3],
        kernel,
        parse_pair(stride, "stride"),
        parse_pair(dilation, "dilation"),
    )
    report.show_fit(shape, fits, as_json=as_json)


def _undo(settled: "ConvPlan", code: bool, as_json: bool) -> None:
    """Say which layer leads back."""
    from convtool import search
    from convtool.report import search as report

    back = search.undo(settled)
    report.show_undo(settled, back, _views(back), code=code, as_json=as_json)


def _views(settled: "ConvPlan") -> "tuple[View, ...]":
    from convtool.frameworks import compare

    return compare(settled)


def _see_that_layers_say_it(context: typer.Context) -> None:
    """Refuse the options of a single layer beside those of a stack."""
    names = {str(parameter.name) for parameter in context.command.params}
    way_out = 'say it in the layer: --layer "conv 3x3 x32 stride=2"'
    ways_out = dict.fromkeys(names.difference(BESIDE_A_STACK), way_out)
    # What no layer can say.
    ask = "ask about one layer: -k 3x3 --stride 2 in place of --layer and --stack"
    ways_out.update(dict.fromkeys(("frameworks", "want", "limit", "fit", "undo"), ask))
    options.see_that_layers_say_it(context, ways_out, "layer")


def _stack(
    input: str | None, path: Path | None, texts: list[str], at: str | None, as_json: bool
) -> None:
    """Settle a stack and print it."""
    from convtool import layer
    from convtool.report import stacks
    from convtool.stack import chain, files, sight

    stack = files.joined(path, texts)
    size = layer.input_shape(input) if input is not None else stack.input_shape
    if size is None:
        raise UsageError(
            "INPUT, a size or an image, is missing",
            "for example 224x224x3"
            + (f', or in {path} the lines [input] and size = "224x224x3"' if path else ""),
        )
    place = None if at is None else _place(at)
    settled = chain.chain(stack.layers, size, folder=stack.folder)
    seen = None if place is None else (place, *sight.sight(settled, place))
    stacks.show(settled, name=stack.name, at=seen, as_json=as_json)


def _place(text: str) -> tuple[int, int]:
    """Read ``Y,X``."""
    row, _, column = text.partition(",")
    if not (row.strip().isdecimal() and column.strip().isdecimal()):
        raise UsageError(
            f"--at takes a row and a column, Y,X, not {text!r}", "0,0 is the first output"
        )
    return int(row), int(column)
