"""What `convtool apply` and `convtool transpose` have in common: most options, and the work."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convtool import terms
from convtool.cli import options
from convtool.errors import UsageError
from convtool.terms import Op

if TYPE_CHECKING:
    from convtool.batch import Crew, Event, Prepared, Request
    from convtool.batch.stacked import Stacked
    from convtool.kernels import Kernel

RESPONSES, OUTPUT, INPUTS, RUN = "Responses", "Output", "Inputs", "Run and report"

# A section of the help pages.
STATUS = """\
Exit status:
  0    all done
  1    some inputs failed, the others are done
  2    the command line is wrong, and nothing was done
  130  interrupted; what is written is whole
  141  who read the report or the image has gone away; likewise
"""

# What is said of one kernel, and how a layer of a stack says it.
IN_A_LAYER: Mapping[str, str] = {
    "kernel": "conv kernel=sobel",
    "stride": "conv kernel=sobel stride=2",
    "padding": "conv kernel=sobel valid",
    "dilation": "conv kernel=sobel dilation=2",
    "groups": "conv kernel=weights.npy groups=2",
    "border": "conv kernel=sobel border=edge",
    "flip": "conv kernel=sobel flip",
    "layout": "conv kernel=weights.npy layout=OIHW",
    "bias": "conv kernel=weights.npy bias=bias.npy",
    "activation": "conv kernel=sobel relu",
}

# What has no place in a stack, and what happens instead.
INSTEAD: Mapping[str, str] = {
    "normalize": "a layer takes its kernel as it is",
    "combine": "a contact sheet shows the maps of a layer side by side",
    "range": "a contact sheet stretches its maps (--scale each or all), a .npy holds them as "
    "they are",
    "alpha": "alpha takes part only where the first kernel counts it",
    "linear": "a stack gets colours as they are stored, scaled as its [input] says",
    "depth": "a contact sheet is 8-bit grey, a .npy float32",
    "method": "each layer is computed in the quickest way; --engine says by whom",
}

# What a shell says of a program whose reader went away: 128 + SIGPIPE.
PIPE_CLOSED = 141

# Kernel

Normalize = Annotated[
    bool,
    typer.Option("--normalize", help="Scale the kernel to sum 1.", rich_help_panel=options.KERNEL),
]

# Responses

Bias = Annotated[
    str | None,
    typer.Option(
        metavar="B[,B...]",
        help="Added to the responses: one number, or one per filter.",
        rich_help_panel=RESPONSES,
    ),
]
ActivationOption = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Applied to each response: none, relu, abs, sigmoid, tanh.",
        rich_help_panel=RESPONSES,
    ),
]
CombineOption = Annotated[
    str | None,
    typer.Option(
        metavar="HOW",
        help="What becomes of several filters' responses: each, magnitude, sum, mean, max, "
        "absmax (keeps the sign), grid.",
        rich_help_panel=RESPONSES,
        show_default="what the preset says, else each",
    ),
]
Range = Annotated[
    str | None,
    typer.Option(
        metavar="HOW",
        help="How responses become pixels: clip, abs, signed (zero at mid-grey), stretch, "
        "raw (float outputs only).",
        rich_help_panel=RESPONSES,
        show_default="clip; raw for float outputs",
    ),
]
Alpha = Annotated[
    str,
    typer.Option(
        metavar="HOW",
        help="What becomes of alpha: premultiply (weights the colours by it), filter (like a "
        "colour), keep (as it is), drop. auto: premultiply, or keep where the taps sum to 0.",
        rich_help_panel=RESPONSES,
    ),
]
Linear = Annotated[
    bool,
    typer.Option(
        "--linear",
        help="Compute in linear light, by the curve of the ICC profile or sRGB's; white is 1 "
        "for --bias and constant:V.",
        rich_help_panel=RESPONSES,
    ),
]

# Output

Output = Annotated[
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
]
Format = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The type for standard output: png, jpg, tif, webp, bmp, ppm, gif, npy.",
        rich_help_panel=OUTPUT,
        show_default="the input's",
    ),
]
DepthOption = Annotated[
    str | None,
    typer.Option(
        metavar="8|16|float",
        help="How a channel is stored.",
        rich_help_panel=OUTPUT,
        show_default="the input's",
    ),
]
Quality = Annotated[
    int | None,
    typer.Option(
        metavar="1-100",
        min=1,
        max=100,
        help="Of JPEG, and of WebP, which is lossless if none is given.",
        rich_help_panel=OUTPUT,
        show_default="the input's own for JPEG, else 92",
    ),
]
CompressLevel = Annotated[
    int | None,
    typer.Option(
        metavar="0-9",
        min=0,
        max=9,
        help="zlib's level for PNG, 9 the smallest.",
        rich_help_panel=OUTPUT,
        show_default="quick: run lengths only",
    ),
]
NoClobber = Annotated[
    bool,
    typer.Option(
        "--no-clobber",
        help="An existing output is an error, not overwritten.",
        rich_help_panel=OUTPUT,
    ),
]
SkipExisting = Annotated[
    bool,
    typer.Option(
        "--skip-existing", help="Pass over inputs whose outputs exist.", rich_help_panel=OUTPUT
    ),
]

# Inputs

Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="INPUT...",
        help="Image files, .npy arrays (HW, HWC or NHWC), folders with --recursive, "
        "or - for standard input.",
        show_default=False,
    ),
]
Recursive = Annotated[
    bool,
    typer.Option(
        "-r",
        "--recursive",
        help="Look for images in folders; -o FOLDER/ keeps the tree.",
        rich_help_panel=INPUTS,
    ),
]
FilesFrom = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|-",
        help="Read names of inputs from a file, one a line.",
        rich_help_panel=INPUTS,
    ),
]
Null = Annotated[
    bool,
    typer.Option(
        "-0",
        "--null",
        help="Names in --files-from end with NUL, as from find -print0.",
        rich_help_panel=INPUTS,
    ),
]
MaxPixels = Annotated[
    int,
    typer.Option(
        metavar="N", min=1, help="Refuse images that claim to be larger.", rich_help_panel=INPUTS
    ),
]

# Run and report

Engine = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Who computes: auto, numpy, cpu, cuda (an NVIDIA GPU).",
        rich_help_panel=RUN,
    ),
]
Method = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="How: auto, direct, separable, gemm, fft (which cuda does not have).",
        rich_help_panel=RUN,
    ),
]
Jobs = Annotated[
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
]
Threads = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Threads of the cpu engine; the others do not heed it.",
        rich_help_panel=RUN,
        show_default="all cores",
    ),
]
Device = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=0,
        help="Which GPU, where the cuda engine computes; 'convtool doctor' lists them.",
        rich_help_panel=RUN,
        show_default="0, the first",
    ),
]
Verify = Annotated[
    bool,
    typer.Option(
        "--verify",
        help="Compute again with the reference engine; print the largest error.",
        rich_help_panel=RUN,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "-n",
        "--dry-run",
        help="Say what would be written, and write nothing.",
        rich_help_panel=RUN,
    ),
]
FailFast = Annotated[
    bool,
    typer.Option("--fail-fast", help="Stop at the first failure.", rich_help_panel=RUN),
]
Quiet = Annotated[
    bool,
    typer.Option("-q", "--quiet", help="Print errors only.", rich_help_panel=RUN),
]
Verbose = Annotated[
    bool,
    typer.Option(
        "-v",
        "--verbose",
        help="Say what the other engines and methods would have cost.",
        rich_help_panel=RUN,
    ),
]


def run(
    op: Op,
    *,
    inputs: Sequence[str] | None,
    kernel: Sequence[str],
    layout: str,
    normalize: bool,
    flip: bool,
    stride: str,
    padding: str,
    dilation: str,
    groups: int,
    border: str,
    output_shape: str | None = None,
    output_padding: str | None = None,
    context: typer.Context | None = None,
    stack: Path | None = None,
    layers: Sequence[str] = (),
    show: str | None = None,
    scale: str | None = None,
    bias: str | None,
    activation: str,
    combine: str | None,
    range: str | None,
    alpha: str,
    linear: bool,
    output: str | None,
    format: str | None,
    depth: str | None,
    quality: int | None,
    compress_level: int | None,
    no_clobber: bool,
    skip_existing: bool,
    recursive: bool,
    files_from: str | None,
    null: bool,
    max_pixels: int,
    engine: str,
    method: str,
    jobs: int | None,
    threads: int | None,
    device: int | None,
    verify: bool,
    dry_run: bool,
    fail_fast: bool,
    quiet: bool,
    verbose: bool,
    json: bool,
) -> None:
    """Put images through an operator, write the results and report; ends with the exit status.

    Parameters
    ----------
    op : Op
    inputs, kernel, …
        The command's parameters, under their own names and as they were written.
    """
    stacks = bool(stack or layers)
    if stacks and context:
        options.see_that_layers_say_it(context, _ways_out(), "kernel")
    if not stacks:
        _check_kernels(op, kernel)
        _see_that_nothing_is_shown(show=show, scale=scale)
    from convtool.geometry import choice

    spec = options.geometry(
        *(stride, padding, dilation, groups, border, flip),
        op=op,
        output_shape=output_shape,
        output_padding=output_padding,
    )
    if quiet and verbose:
        raise UsageError("--quiet and --verbose exclude each other")
    if no_clobber and skip_existing:
        raise UsageError("--no-clobber and --skip-existing exclude each other")
    who = options.engine_name(engine)
    _see_to_the_device(who, device)

    if inputs and not (dry_run or skip_existing or no_clobber):
        from convtool.images import ahead

        ahead.begin_large(inputs[0], max_pixels)

    # Here and not above: --help and usage errors need none of it.
    from convtool import bank, batch

    ready, files = _stacked(stack, layers, show, scale) if stacks else (None, bank.files_of(kernel))
    request = batch.Request(
        spec=spec,
        kernel=ready.kernel
        if ready
        else batch.kernel_for(spec, _loaded(op, kernel, layout), normalize=normalize),
        bias=options.numbers(bias, "--bias"),
        activation=choice(terms.Activation, activation, "--activation"),
        combine=choice(terms.Combine, combine, "--combine") if combine else None,
        range=choice(terms.RangeMode, range, "--range") if range else None,
        alpha=choice(terms.AlphaMode, alpha, "--alpha"),
        depth=choice(terms.Depth, depth, "--depth") if depth else None,
        engine=who,
        method=choice(terms.MethodName, method, "--method"),
        threads=threads,
        device=device or 0,
        output=output,
        format=format,
        quality=quality,
        compress_level=compress_level,
        linear=linear,
        max_pixels=max_pixels,
        verify=verify,
        kernel_files=files,
        no_clobber=no_clobber,
        skip_existing=skip_existing,
        stack=ready,
    )
    sources = batch.expand(inputs or [], recursive=recursive, files_from=files_from, null=null)
    prepared = batch.prepare(request, sources)
    if prepared.to_stdout and not dry_run:
        batch.refuse_terminal()
    work = (
        batch.pretend(request, prepared)
        if dry_run
        else batch.run(request, prepared, fail_fast=fail_fast, jobs=jobs)
    )
    _report(request, prepared, work, quiet=quiet, verbose=verbose, json=json, dry_run=dry_run)


def _see_to_the_device(engine: terms.EngineName, device: int | None) -> None:
    """Refuse --device where no GPU computes, and cuda where there is none: no file is opened."""
    if device is not None and engine in (terms.EngineName.NUMPY, terms.EngineName.CPU):
        raise UsageError(
            f"--device {device} chooses a GPU, but the engine {engine} uses none",
            "leave --device out, or use --engine cuda",
        )
    if engine is terms.EngineName.CUDA:
        from convtool.engine.cuda.device import require

        require(device or 0)


def _loaded(op: Op, texts: Sequence[str], layout: str) -> "Kernel":
    """Load the kernels, with the axes of files in the order that is said."""
    from convtool import bank

    kernel = bank.load(texts, layout=layout, op=op)
    if layout and len(kernel.shape) != 4:
        raise UsageError(
            f"--layout {layout} names the four axes of a kernel across channels, but {kernel.name} "
            f"has {len(kernel.shape)}",
            "leave --layout out",
        )
    return kernel


def _check_kernels(op: Op, kernels: Sequence[str]) -> None:
    transposed = op is Op.CONV2D_TRANSPOSE
    if not kernels:
        example = "bilinear" if transposed else "sobel"
        raise UsageError(
            "no kernel is given",
            f"use --kernel {example}, for example; see 'convtool kernels list'",
        )
    if transposed and len(kernels) > 1:
        raise UsageError(
            f"conv2d_transpose takes one kernel, but --kernel is given {len(kernels)} times",
            "run it once for each, or give one kernel of four axes (HWOI)",
        )


def _ways_out() -> dict[str, str]:
    """Say where the options of a single kernel belong beside a stack."""
    in_a_layer = {
        name: f'say it in a layer: --layer "{layer}"; in a file by the same key'
        for name, layer in IN_A_LAYER.items()
    }
    return in_a_layer | {name: f"leave it out: {instead}" for name, instead in INSTEAD.items()}


def _see_that_nothing_is_shown(**asked: str | None) -> None:
    """Refuse the options of a stack beside a single kernel."""
    for name, value in asked.items():
        if value is not None:
            raise UsageError(
                f"--{name} is about the layers of a stack, but none is given",
                'use --stack net.toml, or --layer "conv kernel=sobel relu"',
            )


def _stacked(
    path: Path | None, layers: Sequence[str], show: str | None, scale: str | None
) -> "tuple[Stacked, tuple[Path, ...]]":
    """Load a stack; return it, and the files that it is read from."""
    from convtool.batch import stacked

    ready = stacked.load(path, layers, show=show, scale=scale)
    return ready, stacked.files_of(ready, path)


def _report(
    request: "Request",
    prepared: "Prepared",
    work: "Crew[Event]",
    *,
    quiet: bool,
    verbose: bool,
    json: bool,
    dry_run: bool,
) -> None:
    from convtool.report import events

    report = events.Report(
        request,
        len(prepared),
        quiet=quiet,
        verbose=verbose,
        as_json=json,
        to_stderr=prepared.to_stdout,
        dry_run=dry_run,
    )
    try:
        status = report.follow(work)
    except BrokenPipeError:
        status = PIPE_CLOSED
    raise typer.Exit(status)
