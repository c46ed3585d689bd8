"""convtool kernels: the kernel library, listed, shown, checked and exported."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from convtool.errors import UsageError

app = typer.Typer(
    help="List, show, check and export kernels.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_LIST_EXAMPLES = """\b
Examples:
  convtool kernels list
  convtool kernels list --json

\b
A file NAME.toml in ~/.config/convtool/kernels is listed too, and goes before
a preset of the same name.
"""

_SHOW_EXAMPLES = """\b
Examples:
  convtool kernels show sobel
  convtool kernels show gaussian:sigma=2,size=9
  convtool kernels show "3x3: -1,0,1 -2,0,2 -1,0,1" my-kernel.csv
"""

_CHECK_EXAMPLES = """\b
Examples:
  convtool kernels check my-kernel.toml
  convtool kernels check kernels/*.toml

\b
Exit status: 0 every file is good; 1 some are not.
"""

_EXPORT_EXAMPLES = """\b
Examples:
  convtool kernels export gaussian:sigma=2 -o soft.toml
  convtool kernels export sobel:filter=x --format csv
  convtool kernels export laplacian -o laplacian.npy
"""

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]


@app.command("list", epilog=_LIST_EXAMPLES)
def list_kernels(as_json: Json = False) -> None:
    """List the presets with their parameters."""
    from convtool import kernels
    from convtool.report import kernels as report

    report.show_list(kernels.entries(), as_json=as_json)


@app.command("show", epilog=_SHOW_EXAMPLES)
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


@app.command("check", epilog=_CHECK_EXAMPLES)
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


@app.command("export", epilog=_EXPORT_EXAMPLES)
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
