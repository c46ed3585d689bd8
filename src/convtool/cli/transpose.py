"""`convtool transpose`: enlarge images by transposed convolution and write the results."""

from typing import Annotated

import typer

from convtool.cli import filtering, help, options
from convtool.terms import MAX_PIXELS, Op

# These say what they mean for the other direction.
Kernel = Annotated[
    list[str],
    typer.Option(
        "-k",
        "--kernel",
        metavar="KERNEL",
        help="One filter: a preset (bilinear:factor=4, sobel:filter=x), a file (.toml .npy .npz "
        '.csv .txt .mat, an image), or inline "2x2: 1,1 1,1".',
        rich_help_panel=options.KERNEL,
        show_default=False,
    ),
]
Flip = Annotated[
    bool,
    typer.Option(
        "--flip",
        help="Rotate the kernel by 180° first: the gradient of true convolution.",
        rich_help_panel=options.GEOMETRY,
    ),
]
Stride = Annotated[
    str,
    typer.Option(
        metavar="N|HxW",
        help="How far apart the copies of the kernel lie, and so about how many times larger the "
        "image becomes.",
        rich_help_panel=options.GEOMETRY,
    ),
]
PaddingOption = Annotated[
    str,
    typer.Option(
        "-p",
        "--padding",
        metavar="MODE|N|HxW|T,B,L,R",
        help="That of the convolution which is transposed, here taken away at the rim: same, "
        "same-lower, valid, full, or pixels.",
        rich_help_panel=options.GEOMETRY,
    ),
]
BorderOption = Annotated[
    str,
    typer.Option(
        metavar="MODE",
        help="What stands beyond the image: zero, constant:V, edge, reflect, symmetric, wrap.",
        rich_help_panel=options.GEOMETRY,
    ),
]
MaxPixels = Annotated[
    int,
    typer.Option(
        metavar="N",
        min=1,
        help="Refuse images that claim to be larger, and results that would be.",
        rich_help_panel=filtering.INPUTS,
    ),
]

SYNOPSIS = "-k KERNEL [OPTIONS]"

ABOUT = """Enlarge images by transposed convolution and write the results.

The operator is conv2d_transpose: every pixel of the INPUT lays down a copy of
the kernel, stride pixels from the next one, and where copies overlap they are
summed. It is the gradient of the convolution with the same options, as in
tf.nn.conv2d_transpose, and makes an image about stride times as large. Shapes are
NHWC: images, height, width, channels.

A kernel of a height and a width enlarges each channel by itself; one of four axes
(HWOI) sums across channels, as a layer of a network does. Without -o the result
for photo.png is photo.KERNEL.png beside it.
"""

NOTES = f"""\
Sizes: --stride, --padding and --dilation are those of the convolution that is
transposed. It drops rows and columns, so that several sizes lead to one: all of
them are legal here, and the report names them. For i pixels, and windows that
cover e = (kernel - 1) dilation + 1, they are:
  same, same-lower (i - 1) stride + 1 to i stride, which is the default
  valid            (i - 1) stride + e, the default, to i stride + e - 1
  N, HxW, T,B,L,R  (i - 1) stride + e - before - after, the default, and up to
                   stride - 1 more
  full             the same with e - 1 pixels before and after

Fine print:
  brightness One pixel becomes s x s pixels at stride s: the result is as bright
             as the input if the taps sum to s x s, as in bilinear:factor=s, and
             darker if they sum to 1.
  pattern    A kernel whose size is no multiple of the stride overlaps unevenly,
             which draws a checkerboard, unless its taps make up for it. The
             report says so.
  edges      Beyond the image there is nothing to lay down, so that the rim gets
             less and is darker: --border edge or reflect has no such rim. Only
             the default, zero, is the exact gradient.
  values     8-bit stays 8-bit, 16-bit 16-bit, float float. What is below black
             or above white is clipped, and the report says how much of it. A
             .npy holds float32, neither rounded nor clipped.
  alpha      weights the colours, so that there is no halo; where the taps of
             some outputs sum to 0 it is that of the nearest input.
  channels   One channel of responses is a grey image, three are RGB. Others are
             an image for each, which {{filter}} in the name tells apart, or one
             picture (--combine), or one .npy.
  weights    A kernel of four axes is HWOI, as TensorFlow saves it: height,
             width, output and input channels. PyTorch's ConvTranspose2d is
             --layout IOHW: -k net.safetensors:up1.weight --layout IOHW, for
             which pip install safetensors is needed.
Names, metadata, batches and streams are as 'convtool apply --help' says.

Examples:
  convtool transpose -k bilinear --stride 2 --border edge photo.jpg
  convtool transpose -k bilinear:factor=4 --stride 4 --border edge photo.png
  convtool transpose -k "2x2: 1,1 1,1" --stride 2 -o large.png photo.png
  convtool transpose -k bilinear --stride 2 --output-shape 39x59 photo.png
  convtool transpose -k weights.npy -p 1 --output-padding 1 --stride 2 photo.jpg
  convtool transpose -k weights.npy --combine grid -o maps.png photo.jpg
  convtool transpose -k bilinear --stride 2 -r -o large/ photos

{filtering.STATUS}
Environment:
{help.COLOUR}{help.OWN_KERNELS}{help.CACHE}
Files:
{help.KERNEL_FILES}
Kernels are listed by 'convtool kernels list'; sizes without pixels are told by
'convtool shape --transpose'.
"""


def transpose(
    inputs: filtering.Inputs = None,
    kernel: Kernel = [],  # noqa: B006
    layout: options.Layout = "",
    normalize: filtering.Normalize = False,
    flip: Flip = False,
    stride: Stride = "1",
    padding: PaddingOption = "same",
    dilation: options.Dilation = "1",
    output_shape: options.OutputShape = None,
    output_padding: options.OutputPadding = None,
    groups: options.Groups = 1,
    border: BorderOption = "zero",
    bias: filtering.Bias = None,
    activation: filtering.ActivationOption = "none",
    combine: filtering.CombineOption = None,
    range: filtering.Range = None,
    alpha: filtering.Alpha = "auto",
    linear: filtering.Linear = False,
    output: filtering.Output = None,
    format: filtering.Format = None,
    depth: filtering.DepthOption = None,
    quality: filtering.Quality = None,
    compress_level: filtering.CompressLevel = None,
    no_clobber: filtering.NoClobber = False,
    skip_existing: filtering.SkipExisting = False,
    recursive: filtering.Recursive = False,
    files_from: filtering.FilesFrom = None,
    null: filtering.Null = False,
    max_pixels: MaxPixels = MAX_PIXELS,
    engine: filtering.Engine = "auto",
    method: filtering.Method = "auto",
    jobs: filtering.Jobs = None,
    threads: filtering.Threads = None,
    device: filtering.Device = None,
    verify: filtering.Verify = False,
    dry_run: filtering.DryRun = False,
    fail_fast: filtering.FailFast = False,
    quiet: filtering.Quiet = False,
    verbose: filtering.Verbose = False,
    json: options.Json = False,
) -> None:
    """Enlarge images and write the results, with a report of shapes, padding and values."""
    filtering.run(Op.CONV2D_TRANSPOSE, **locals())
