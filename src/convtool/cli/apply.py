"""`convtool apply`: convolve images and write the results."""

from typing import Annotated

import typer

from convtool.cli import filtering, help, options
from convtool.terms import MAX_PIXELS, Op

Kernels = Annotated[
    list[str],
    typer.Option(
        "-k",
        "--kernel",
        metavar="KERNEL",
        help="A preset (sobel, gaussian:sigma=2), a file (.toml .npy .npz .safetensors .csv .txt "
        '.mat, an image), or inline "3x3: -1,0,1 …". May be repeated: a filter bank.',
        rich_help_panel=options.KERNEL,
        show_default=False,
    ),
]

Layers = Annotated[
    list[str],
    typer.Option(
        "--layer",
        metavar="LAYER",
        help='One layer, such as "conv kernel=sobel stride=2 relu" or "pool 2"; \'convtool shape '
        "--help' lists what can stand in one. May be repeated: a stack.",
        rich_help_panel=options.STACK,
        show_default=False,
    ),
]
Show = Annotated[
    str | None,
    typer.Option(
        metavar="LAYER[,LAYER...]",
        help="Which layers to show, by number or name; or all.",
        rich_help_panel=options.STACK,
        show_default="the last",
    ),
]
Scale = Annotated[
    str | None,
    typer.Option(
        metavar="each|all",
        help="Stretch each map to its own greys, or all maps of a layer alike.",
        rich_help_panel=options.STACK,
        show_default="each",
    ),
]

SYNOPSIS = "-k KERNEL|--layer LAYER|--stack FILE [OPTIONS]"

ABOUT = """Convolve images and write the results.

Every INPUT is convolved with the kernel, and a report says what became of its
shape, its edges and its values. The operator is cross-correlation, as in
tf.nn.conv2d; --flip makes it a true convolution. Shapes are NHWC: images,
height, width, channels.

A kernel of a height and a width filters each channel by itself; one of four
axes (HWIO) sums across channels, as a layer of a network does. Without -o the
result for photo.png is photo.KERNEL.png beside it.

Several layers, by --layer or in a file, are a stack: the first works on the
image, each other one on the feature maps of the one before it. What it makes is
a contact sheet of the maps, labelled, or the maps themselves in a .npy.
"""

NOTES = f"""\
Fine print:
  edges      Outside the image counts as black, as in every network, so that a
             blur has a dark rim: --border edge or reflect has none. --padding
             valid leaves out the windows that reach beyond the image.
  values     8-bit stays 8-bit, 16-bit 16-bit, float float. What is below black
             or above white is clipped, and the report says how much of it;
             --range abs, signed or stretch shows it. A .npy holds float32,
             neither rounded nor clipped. Numbers are taken as they are stored;
             --linear computes with the light that they stand for.
  alpha      weights the colours, so that there is no halo; where the taps sum
             to 0 it is kept as it is.
  channels   One channel of responses is a grey image, three are RGB. Others are
             an image for each filter, which {{filter}} in the name tells apart,
             or one picture (--combine), or one .npy.
  carried    ICC profile, EXIF and resolution; the EXIF orientation is applied.
  patterns   '*.png' or '**/*.png' in quotes is matched by convtool itself,
             unless a file is called just that.
  names      {{stem}} {{ext}} {{parent}} are the input's, {{kernel}} is the preset or
             the kernel file; {{index}} {{frame}} {{filter}} count from 0 and take a
             width: {{index:04}}. Missing folders are made.
  existing   An output that exists is overwritten, unless --no-clobber or
             --skip-existing says otherwise. No output falls on an input, and no
             two on one path: that is refused before any work. A file is written
             whole or not at all.
  batches    Several images are done at a time (--jobs), and reported in the
             order of the inputs. One that fails does not stop the others,
             unless --fail-fast says so.
  streams    The type of standard input is told by its first bytes. With -o -
             the report goes to standard error.
  stacks     Every layer that multiplies needs a kernel. A stack gets colours as
             they are stored, 0 to 255, unless its file scales them by [input].
             In a sheet a map's greys go up to its strongest values; zero is
             black, or mid-grey in a layer that has values below zero. The
             sheet of photo.jpg is photo.STACK.png, that of an array an array.
             A .npy holds one layer, float32; so do pictures of single maps,
             which {{filter}} in the name asks for: least black, greatest white.

Weights of a layer, in --layer as key=value, in a file as key = "value":
{help.LAYER_WEIGHTS}and in the file of a stack:
{help.STACK_INPUT}
Examples:
  convtool apply --kernel sobel --stride 2 --padding same photo.png
  convtool apply -k gaussian:sigma=3 --border reflect -o blurred/ *.jpg
  convtool apply -k "3x3: 0,-1,0 -1,5,-1 0,-1,0" -o sharp.png photo.png
  convtool apply -k laplacian --range signed -o '{{stem}}-edges{{ext}}' photo.tif
  convtool apply -k kirsch --combine grid -o directions.png photo.png
  convtool apply -k weights.npy --activation relu -o maps.npy photo.jpg
  convtool apply -k disk:radius=8 --linear --border reflect photo.jpg
  convtool apply -k sharpen -r --skip-existing -o sharp/ photos
  convtool apply --stack edges.toml --show all -o sheets/ *.jpg
  convtool apply --stack edges.toml --show smooth -o smooth.npy photo.jpg
  convtool apply --layer "conv kernel=sobel relu" --layer "pool 4" photo.jpg
  find . -name '*.png' -print0 | convtool apply -k blur --files-from - -0
  cat photo.png | convtool apply -k sharpen - -o - > sharp.png

{filtering.STATUS}
Environment:
{help.COLOUR}{help.OWN_KERNELS}{help.CACHE}
Files:
{help.KERNEL_FILES}
Kernels are listed by 'convtool kernels list'; sizes without pixels are told by
'convtool shape'.
"""


def apply(
    context: typer.Context,
    inputs: filtering.Inputs = None,
    kernel: Kernels = [],  # noqa: B006
    layout: options.Layout = "",
    normalize: filtering.Normalize = False,
    flip: options.Flip = False,
    stride: options.Stride = "1",
    padding: options.PaddingOption = "same",
    dilation: options.Dilation = "1",
    groups: options.Groups = 1,
    border: options.BorderOption = "zero",
    layers: Layers = [],  # noqa: B006
    stack: options.StackFile = None,
    show: Show = None,
    scale: Scale = None,
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
    max_pixels: filtering.MaxPixels = MAX_PIXELS,
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
    """Convolve images and write the results, with a report of shapes, padding and values."""
    filtering.run(Op.CONV2D, **locals())
