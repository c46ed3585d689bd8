"""convtool kernels: the kernel library, listed, shown, checked and exported."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from convtool.cli import help
from convtool.cli.help import Command, Group
from convtool.errors import UsageError

ABOUT = """List, show, check and export kernels.

A kernel is a preset with parameters (gaussian:sigma=2,size=9), one filter of a
preset (sobel:filter=x), a file (.toml .npy .npz .safetensors .csv .txt .mat, an
image), or the taps themselves ("3x3: -1,0,1 -2,0,2 -1,0,1"): what --kernel takes
elsewhere.
"""

NOTES = f"""\
Examples:
  convtool kernels list
  convtool kernels show sobel gaussian:sigma=2
  convtool kernels check my-filter.toml
  convtool kernels export gaussian:sigma=2,size=9 -o gauss.csv

A preset of your own, as my-edges.toml in the folder below:
  name = "my-edges"
  description = "Edges that run up and to the right"
  taps = [[-1, -1, 0], [-1, 0, 1], [0, 1, 1]]

{help.STATUS}
Environment:
{help.COLOUR}{help.OWN_KERNELS}
Files:
{help.KERNEL_FILES}"""

LIST_ABOUT = """List the presets with their parameters.

Each has a line with its size, the sum of its taps, how many filters it has and
how they are combined, and one with its parameters, their defaults, and the other
names it goes by. Kernels of your own are among them, and marked.
"""

LIST_NOTES = f"""\
Examples:
  convtool kernels list
  convtool kernels list --json

Exit status:
  0    done; a file that is no kernel is named on standard error

Environment:
{help.COLOUR}{help.OWN_KERNELS}
Files:
{help.KERNEL_FILES}"""

SHOW_ABOUT = """Draw the taps as a heat map, and say what they do.

With the taps come their sum and symmetry, whether the filter is separable and of
which rank, its frequency response, what its responses mean, and who says so.
Negative taps are blue and positive ones orange; without colour there are numbers,
or glyphs where the kernel is large.
"""

SHOW_NOTES = f"""\
Examples:
  convtool kernels show sobel
  convtool kernels show gaussian:sigma=2,size=9
  convtool kernels show "3x3: -1,0,1 -2,0,2 -1,0,1" my-kernel.csv

Exit status:
  0    done
  2    a name says no kernel, or a file is none

Environment:
{help.COLOUR}{help.OWN_KERNELS}
Files:
{help.KERNEL_FILES}"""

CHECK_ABOUT = """Say what is wrong with kernel files, by line.

Every problem of a file is found, not only the first. A .toml says taps, or a
column and a row, or a formula; the presets are examples of all that it may say
('convtool kernels export sobel').
"""

CHECK_NOTES = f"""\
Examples:
  convtool kernels check my-kernel.toml
  convtool kernels check kernels/*.toml

Exit status:
  0    every file is good
  1    some are not
  2    the command line is wrong

Environment:
{help.COLOUR}"""

EXPORT_ABOUT = """Write a kernel in another form, with every digit.

A preset with parameters becomes its taps. What is read again is what was
written, to the last digit. An existing FILE is overwritten.
"""

EXPORT_NOTES = f"""\
Examples:
  convtool kernels export gaussian:sigma=2 -o soft.toml
  convtool kernels export sobel:filter=x --format csv
  convtool kernels export laplacian -o laplacian.npy

Exit status:
  0    done
  1    the file cannot be written
  2    the name says no kernel, or the form cannot hold it

Environment:
{help.OWN_KERNELS}
Files:
{help.KERNEL_FILES}"""

app = typer.Typer(
    cls=Group,
    help=ABOUT,
    epilog=NOTES,
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]


@app.command("list", cls=Command, help=LIST_ABOUT, epilog=LIST_NOTES)
def list_kernels(as_json: Json = False) -> None:
    """List the presets with their parameters."""
    from convtool import kernels
    from convtool.report import kernels as report

    report.show_list(kernels.entries(), as_json=as_json)


@app.command("show", cls=Command, help=SHOW_ABOUT, epilog=SHOW_NOTES)
def show(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME...", help="Presets, kernel files or inline taps.")
    ],
    as_json: Json = False,
) -> None:
    """Draw the taps as a heat map, and say what they do."""
    from convtool import bank
    from convtool.report import kernels as report

    for number, name in enumerate(names):
        if number and not as_json:
            typer.echo()
        report.show(bank.load([name]), as_json=as_json)


@app.command("check", cls=Command, help=CHECK_ABOUT, epilog=CHECK_NOTES)
def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Kernel files.")],
) -> None:
    """Say what is wrong with kernel files, by line."""
    from convtool import bank
    from convtool.report import kernels as report

    checks = [(str(path), *bank.inspect(path)) for path in files]
    report.show_checks(checks)
    if any(problems for _, problems, _ in checks):
        raise typer.Exit(1)


@app.command("export", cls=Command, help=EXPORT_ABOUT, epilog=EXPORT_NOTES)
def export(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A preset, a kernel file or inline taps.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="Where to; standard output if left out."
        ),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="toml, csv, txt, mat (vips), npy, npz or inline; by default as the file's "
            "suffix says, else toml.",
        ),
    ] = None,
) -> None:
    """Write a kernel in another form, with every digit."""
    from convtool import bank, images
    from convtool.kernels import export as forms

    form = forms.format_for(format, output)
    if output is None and form in forms.BINARY and sys.stdout.isatty():
        raise UsageError(f"{form} is not text to show on a terminal", f"add -o kernel.{form}")
    data = forms.encode(bank.load([name]), form, output.stem if output else "")
    if output is None:
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
    else:
        images.write_atomically(output, data)
