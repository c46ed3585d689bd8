"""`convtool apply`: convolve images and write the results."""

from typing import Annotated

import typer

from convtool.cli import help, options
from convtool.errors import UsageError
from convtool.terms import MAX_PIXELS

# What a shell says of a program whose reader went away: 128 + SIGPIPE.
PIPE_CLOSED = 141

RESPONSES, OUTPUT, INPUTS, RUN = "Responses", "Output", "Inputs", "Run and report"

SYNOPSIS = "-k KERNEL [OPTIONS]"

ABOUT = """Convolve images and write the results.

Every INPUT is convolved with the kernel, and a report says what became of its
shape, its edges and its values. The operator is cross-correlation, as in
tf.nn.conv2d; --flip makes it a true convolution. Shapes are NHWC: images,
height, width, channels.

A kernel of a height and a width filters each channel by itself; one of four
axes (HWIO) sums across channels, as a layer of a network does. Without -o the
result for photo.png is photo.KERNEL.png beside it.
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

Examples:
  convtool apply --kernel sobel --stride 2 --padding same photo.png
  convtool apply -k gaussian:sigma=3 --border reflect -o blurred/ *.jpg
  convtool apply -k "3x3: 0,-1,0 -1,5,-1 0,-1,0" -o sharp.png photo.png
  convtool apply -k laplacian --range signed -o '{{stem}}-edges{{ext}}' photo.tif
  convtool apply -k kirsch --combine grid -o directions.png photo.png
  convtool apply -k weights.npy --activation relu -o maps.npy photo.jpg
  convtool apply -k disk:radius=8 --linear --border reflect photo.jpg
  convtool apply -k sharpen -r --skip-existing -o sharp/ photos
  find . -name '*.png' -print0 | convtool apply -k blur --files-from - -0
  cat photo.png | convtool apply -k sharpen - -o - > sharp.png

Exit status:
  0    all done
  1    some inputs failed, the others are done
  2    the command line is wrong, and nothing was done
  130  interrupted; what is written is whole
  141  who read the report or the image has gone away; likewise

Environment:
{help.COLOUR}{help.OWN_KERNELS}{help.CACHE}
Files:
{help.KERNEL_FILES}
Kernels are listed by 'convtool kernels list'; sizes without pixels are told by
'convtool shape'.
"""


def apply(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT...",
            help="Image files, .npy arrays (HW, HWC or NHWC), folders with --recursive, "
            "or - for standard input.",
            show_default=False,
        ),
    ] = None,
    kernel: Annotated[
        list[str],
        typer.Option(
            "-k",
            "--kernel",
            metavar="KERNEL",
            help="A preset (sobel, gaussian:sigma=2), a file (.toml .npy .npz .csv .txt .mat, an "
            'image), or inline "3x3: -1,0,1 …". May be repeated: a filter bank.',
            rich_help_panel=options.KERNEL,
            show_default=False,
        ),
    ] = [],  # noqa: B006
    normalize: Annotated[
        bool,
        typer.Option(
            "--normalize", help="Scale the kernel to sum 1.", rich_help_panel=options.KERNEL
        ),
    ] = False,
    flip: options.Flip = False,
    stride: options.Stride = "1",
    padding: options.PaddingOption = "same",
    dilation: options.Dilation = "1",
    groups: options.Groups = 1,
    border: options.BorderOption = "zero",
    bias: Annotated[
        str | None,
        typer.Option(
            metavar="B[,B...]",
            help="Added to the responses: one number, or one per filter.",
            rich_help_panel=RESPONSES,
        ),
    ] = None,
    activation: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Applied to each response: none, relu, abs, sigmoid, tanh.",
            rich_help_panel=RESPONSES,
        ),
    ] = "none",
    combine: Annotated[
        str | None,
        typer.Option(
            metavar="HOW",
            help="What becomes of several filters' responses: each, magnitude, sum, mean, max, "
            "absmax (keeps the sign), grid.",
            rich_help_panel=RESPONSES,
            show_default="what the preset says, else each",
        ),
    ] = None,
    range: Annotated[
        str | None,
        typer.Option(
            metavar="HOW",
            help="How responses become pixels: clip, abs, signed (zero at mid-grey), stretch, "
            "raw (float outputs only).",
            rich_help_panel=RESPONSES,
            show_default="clip; raw for float outputs",
        ),
    ] = None,
    alpha: Annotated[
        str,
        typer.Option(
            metavar="HOW",
            help="What becomes of alpha: premultiply (weights the colours by it), filter (like a "
            "colour), keep (as it is), drop. auto: premultiply, or keep where the taps sum to 0.",
            rich_help_panel=RESPONSES,
        ),
    ] = "auto",
    linear: Annotated[
        bool,
        typer.Option(
            "--linear",
            help="Compute in linear light, by the curve of the ICC profile or sRGB's; white is 1 "
            "for --bias and constant:V.",
            rich_help_panel=RESPONSES,
        ),
    ] = False,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="PATH",
            help="A path, a folder (ending in /), - for standard output, or a name with {stem} "
            "{ext} {parent} {kernel} {index} {frame} {filter}.",
            rich_help_panel=OUTPUT,
            show_default="{parent}/{stem}.{kernel}{ext}",
        ),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The type for standard output: png, jpg, tif, webp, bmp, ppm, gif, npy.",
            rich_help_panel=OUTPUT,
            show_default="the input's",
        ),
    ] = None,
    depth: Annotated[
        str | None,
        typer.Option(
            metavar="8|16|float",
            help="How a channel is stored.",
            rich_help_panel=OUTPUT,
            show_default="the input's",
        ),
    ] = None,
    quality: Annotated[
        int | None,
        typer.Option(
            metavar="1-100",
            min=1,
            max=100,
            help="Of JPEG, and of WebP, which is lossless if none is given.",
            rich_help_panel=OUTPUT,
            show_default="the input's own for JPEG, else 92",
        ),
    ] = None,
    compress_level: Annotated[
        int | None,
        typer.Option(
            metavar="0-9",
            min=0,
            max=9,
            help="zlib's level for PNG, 9 the smallest.",
            rich_help_panel=OUTPUT,
            show_default="quick: run lengths only",
        ),
    ] = None,
    no_clobber: Annotated[
        bool,
        typer.Option(
            "--no-clobber",
            help="An existing output is an error, not overwritten.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing",
            help="Pass over inputs whose outputs exist.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    recursive: Annotated[
        bool,
        typer.Option(
            "-r",
            "--recursive",
            help="Look for images in folders; -o FOLDER/ keeps the tree.",
            rich_help_panel=INPUTS,
        ),
    ] = False,
    files_from: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|-",
            help="Read names of inputs from a file, one a line.",
            rich_help_panel=INPUTS,
        ),
    ] = None,
    null: Annotated[
        bool,
        typer.Option(
            "-0",
            "--null",
            help="Names in --files-from end with NUL, as from find -print0.",
            rich_help_panel=INPUTS,
        ),
    ] = False,
    max_pixels: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            help="Refuse images that claim to be larger.",
            rich_help_panel=INPUTS,
        ),
    ] = MAX_PIXELS,
    engine: Annotated[
        str,
        typer.Option(metavar="NAME", help="Who computes: auto, numpy, cpu.", rich_help_panel=RUN),
    ] = "auto",
    method: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="How: auto, direct, separable, gemm, fft.", rich_help_panel=RUN
        ),
    ] = "auto",
    jobs: Annotated[
        int | None,
        typer.Option(
            "-j",
            "--jobs",
            metavar="N",
            min=1,
            help="How many images at a time; fewer where memory is short.",
            rich_help_panel=RUN,
            show_default="cores + 2",
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Threads of the cpu engine.",
            rich_help_panel=RUN,
            show_default="all cores",
        ),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Compute again with the reference engine; print the largest error.",
            rich_help_panel=RUN,
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "-n",
            "--dry-run",
            help="Say what would be written, and write nothing.",
            rich_help_panel=RUN,
        ),
    ] = False,
    fail_fast: Annotated[
        bool,
        typer.Option("--fail-fast", help="Stop at the first failure.", rich_help_panel=RUN),
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option("-q", "--quiet", help="Print errors only.", rich_help_panel=RUN),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "-v",
            "--verbose",
            help="Say what the other engines and methods would have cost.",
            rich_help_panel=RUN,
        ),
    ] = False,
    json: options.Json = False,
) -> None:
    """Convolve images and write the results, with a report of shapes, padding and values."""
    if not kernel:
        raise UsageError(
            "no kernel is given", "use --kernel sobel, for example; see 'convtool kernels list'"
        )
    spec = options.geometry(stride, padding, dilation, groups, border, flip)
    if quiet and verbose:
        raise UsageError("--quiet and --verbose exclude each other")
    if no_clobber and skip_existing:
        raise UsageError("--no-clobber and --skip-existing exclude each other")

    if inputs and not (dry_run or skip_existing or no_clobber):
        from convtool.images import ahead

        ahead.begin_large(inputs[0], max_pixels)

    # Here and not above: --help and usage errors need none of it.
    from convtool import bank, batch, terms
    from convtool.geometry import choice
    from convtool.report import events

    request = batch.Request(
        spec=spec,
        kernel=bank.load(kernel, normalize=normalize),
        bias=options.numbers(bias, "--bias"),
        activation=choice(terms.Activation, activation, "--activation"),
        combine=choice(terms.Combine, combine, "--combine") if combine else None,
        range=choice(terms.RangeMode, range, "--range") if range else None,
        alpha=choice(terms.AlphaMode, alpha, "--alpha"),
        depth=choice(terms.Depth, depth, "--depth") if depth else None,
        engine=choice(terms.EngineName, engine, "--engine"),
        method=choice(terms.MethodName, method, "--method"),
        threads=threads,
        output=output,
        format=format,
        quality=quality,
        compress_level=compress_level,
        linear=linear,
        max_pixels=max_pixels,
        verify=verify,
        kernel_files=bank.files_of(kernel),
        no_clobber=no_clobber,
        skip_existing=skip_existing,
    )
    sources = batch.expand(inputs or [], recursive=recursive, files_from=files_from, null=null)
    prepared = batch.prepare(request, sources)
    report = events.Report(
        request,
        len(prepared),
        quiet=quiet,
        verbose=verbose,
        as_json=json,
        to_stderr=prepared.to_stdout,
        dry_run=dry_run,
    )
    if prepared.to_stdout and not dry_run:
        batch.refuse_terminal()
    work = (
        batch.pretend(request, prepared)
        if dry_run
        else batch.run(request, prepared, fail_fast=fail_fast, jobs=jobs)
    )
    try:
        status = report.follow(work)
    except BrokenPipeError:
        status = PIPE_CLOSED
    raise typer.Exit(status)
