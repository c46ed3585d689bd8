"""`convtool bench`: speed on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from convtool.cli import help, options
from convtool.errors import UsageError

CASES, MEASURING, OUTPUT = "Cases", "Measuring", "Output"

# What can be measured, and on images of which size.
ENGINES = ("cpu", "cuda")
IMAGE = (4096, 4096)

ABOUT = """Measure speed on this machine, beside other libraries.

Standard cases are timed side by side, round after round, with every library that
is installed and can do them: OpenCV, libvips (pyvips), SciPy, Pillow, PyTorch.
None of them is needed. Ours is the cpu engine; images are in memory.

With --engine cuda it is an NVIDIA GPU, images lie in its memory, what is timed is
its own work, and the others are CuPy, PyTorch and OpenCV on that GPU.

Results are compared first. A library whose results differ from ours by more than
rounding is named at the end and not counted. Every case has a floor, which no
method can be below: a copy of as many bytes, and for the layers of networks the
peak of the processor, or of the GPU.
"""

NOTES = f"""\
Columns:
  floor      how near it comes to the floor; 100% is as fast as can be
  ratio      the time of the fastest other library over ours: above 1 ours is
             ahead
  whole      --engine cuda: ours with the transfers to the GPU and back

Fine print:
  time       About ten minutes for all cases, half a minute with --quick. Ctrl-C
             ends with what there is.
  layouts    Each library gets its input in the layout it likes best; bringing
             it there is not timed, nor is the first call.

Examples:
  convtool bench --quick
  convtool bench --group small --group gaussian --channels 3 --dtype uint8
  convtool bench --size 2048x2048 --peers opencv,torch --json speed.json
  convtool bench --group full-rank --method direct --peers none
  convtool bench --group none --size 1024x1024 --picture crossings.png
  convtool bench --engine cuda --group gpu --json gpu.json

Exit status:
  0    done
  1    no GPU for --engine cuda, or a case failed on it
  2    the command line is wrong, or every case is left out by it
  130  interrupted

Environment:
{help.COLOUR}{help.CACHE}"""


def bench(
    context: typer.Context,
    group: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="small, full-rank, gaussian, box, stride, dilation, network, transposed, gpu "
            "(what a GPU is worth), or none for --picture alone. May be repeated.",
            rich_help_panel=CASES,
            show_default="all but gpu; with cuda, all",
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="HxW",
            help="Of the images; layers of networks have sizes of their own.",
            rich_help_panel=CASES,
            show_default="4096x4096, for gpu 8192x8192",
        ),
    ] = None,
    channels: Annotated[
        str,
        typer.Option(metavar="N[,N...]", help="Of the images.", rich_help_panel=CASES),
    ] = "1,3",
    dtype: Annotated[
        str,
        typer.Option(metavar="NAME[,NAME]", help="Of images and results.", rich_help_panel=CASES),
    ] = "uint8,float32",
    engine: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Ours: cpu, or cuda (an NVIDIA GPU).",
            rich_help_panel=MEASURING,
        ),
    ] = "cpu",
    device: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            help="Which GPU; 'convtool doctor' lists them.",
            rich_help_panel=MEASURING,
            show_default="0, the first",
        ),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Ours, for every case; those that it cannot do are left out. "
            "auto: as apply chooses within the engine.",
            rich_help_panel=MEASURING,
        ),
    ] = "auto",
    threads: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="For us and for every peer that can be told; the GPU's do not heed it.",
            rich_help_panel=MEASURING,
            show_default="all cores",
        ),
    ] = None,
    peers: Annotated[
        str,
        typer.Option(
            metavar="all|none|NAME[,NAME...]",
            help="opencv, libvips, scipy, pillow, torch; with --engine cuda cupy, torch, opencv; "
            "all: those installed.",
            rich_help_panel=MEASURING,
        ),
    ] = "all",
    repeat: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Rounds for each case, in which all take turns.",
            rich_help_panel=MEASURING,
            show_default="5",
        ),
    ] = None,
    seconds: Annotated[
        float,
        typer.Option(
            metavar="S",
            min=0,
            help="Begin no further round of a case after so long.",
            rich_help_panel=MEASURING,
        ),
    ] = 8.0,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="512x512, one round of short turns, and no peers that are slow.",
            rich_help_panel=MEASURING,
        ),
    ] = False,
    json: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|-",
            help="Write everything as JSON; with - instead of the table.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    picture: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.png",
            help="Measure kernels from 3x3 to 127x127 with every method and peer, on the first "
            "kind of image, and draw their times.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    quiet: Annotated[
        bool,
        typer.Option("-q", "--quiet", help="Print nothing.", rich_help_panel=OUTPUT),
    ] = False,
) -> None:
    """Measure speed on this machine, against its floors and against other libraries."""
    for path in (json, picture):
        if path is not None and path != "-" and Path(path).is_dir():
            raise UsageError(f"{path} is a folder", f"name a file, such as {Path(path) / 'bench'}")

    # Here and not above: --help and usage errors need none of it.
    from dataclasses import replace

    from convtool import images
    from convtool.bench import cases, curves, machine, run
    from convtool.bench import peers as others
    from convtool.engine import check_threads
    from convtool.geometry import choice, parse_pair
    from convtool.report.bench import Report
    from convtool.terms import EngineName, MethodName

    check_threads(threads)
    who = options.engine_name(engine)
    _see_that_they_fit(who, device=device, picture=picture)
    on_gpu = who is EngineName.CUDA
    known: tuple[others.Peer, ...] = others.PEERS
    if on_gpu:
        from convtool.bench import gpu, gpu_peers

        known = gpu_peers.PEERS
    taking_part = others.chosen(peers, known)
    base = run.QUICK if quick else run.STANDARD
    settings = replace(
        base,
        repeat=repeat or base.repeat,
        seconds=seconds,
        threads=threads,
        method=choice(MethodName, method, "--method"),
        peers=tuple(taking_part),
        device=device or 0 if on_gpu else None,
    )
    asked = parse_pair(size or "512", "--size") if size or quick else None
    kinds = cases.kinds(asked or IMAGE, channels.split(","), dtype.split(","))
    default = cases.EVERY if on_gpu else cases.GROUPS
    groups = default if group is None else [name for name in group if name != "none"]
    wanted = cases.standard(groups, kinds, asked or cases.LARGE_IMAGE)
    sizes = curves.SIZES if picture else ()
    found = gpu.Gpu(device or 0) if on_gpu else None
    report = Report(
        machine.describe(settings.count),
        found.floors if found else run.find_floors(wanted, kinds[0], settings),
        {peer.title: others.version(peer) or "" for peer in taking_part},
        len(wanted) + len(sizes),
        quiet=quiet,
        to_stderr=json == "-",
        device=found.facts if found else None,
        absent=others.absent(known) if on_gpu and peers == "all" else None,
    )
    results = run.run(wanted, settings, found.measure if found else run.measure)
    status = report.follow(results, curves.measure(kinds[0], settings, sizes))
    if refused := report.refused:
        raise UsageError(f"every case is left out: {refused.message}", refused.hint)
    if json == "-":
        typer.echo(report.json(_command(context)), nl=False)
    elif json:
        images.write_atomically(Path(json), report.json(_command(context)).encode())
    if picture and report.points:
        from convtool.bench.picture import png

        copy = run.copy_seconds(kinds[0], settings)
        images.write_atomically(Path(picture), png(report.points, kinds[0], report.machine, copy))
    raise typer.Exit(status)


def _see_that_they_fit(name: str, *, device: int | None, picture: str | None) -> None:
    """Refuse what the engine has no use for."""
    if name not in ENGINES:
        why = "auto chooses among them" if name == "auto" else f"{name} is the reference"
        raise UsageError(f"--engine must be one of {', '.join(ENGINES)}, not {str(name)!r}", why)
    if name == "cpu" and device is not None:
        raise UsageError(
            f"--device {device} chooses a GPU, but the engine cpu uses none",
            "leave --device out, or use --engine cuda",
        )
    if name == "cuda" and picture is not None:
        raise UsageError(
            f"--picture {picture} is for the engine cpu, not for cuda",
            "leave --picture out, or use --engine cpu",
        )


def _command(context: typer.Context) -> str:
    """Return the command line: the options that were given, in one form for each."""
    import shlex

    words = ["convtool", "bench"]
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if source is None or source.name != "COMMANDLINE":
            continue
        value = context.params[parameter.name or ""]
        for each in value if isinstance(value, list | tuple) else [value]:
            words += [parameter.opts[-1]] if each is True else [parameter.opts[-1], str(each)]
    return shlex.join(words)
