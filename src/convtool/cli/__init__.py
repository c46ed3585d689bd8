"""The command line: parse, call one function, print, exit status. No arithmetic here."""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from convtool.cli import apply, bench, kernels, shape
from convtool.cli.help import Command
from convtool.errors import ConvtoolError
from convtool.version import __version__

app = typer.Typer(
    name="convtool",
    help="Convolve images, with the exact semantics of tf.nn.conv2d.",
    epilog=(
        "\b\nExamples:\n"
        "  convtool apply --kernel sobel --stride 2 --padding same photo.png\n"
        "  convtool shape 224x224x3 --kernel 7x7 --filters 64 --stride 2\n"
        "  convtool kernels show gaussian:sigma=2\n"
    ),
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("apply", cls=Command, epilog=apply.EXAMPLES)(apply.apply)
app.command("shape", cls=Command, epilog=shape.EXAMPLES)(shape.shape)
app.add_typer(kernels.app, name="kernels")
app.command("bench", cls=Command, epilog=bench.EXAMPLES)(bench.bench)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"convtool {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Take the options that stand before the command."""


def main(arguments: Sequence[str]) -> int:
    """Run one command line.

    Parameters
    ----------
    arguments : sequence of str
        Without the program's name.

    Returns
    -------
    int
        The exit status: 0 all done; 1 some inputs failed; 2 the command line is wrong;
        130 interrupted.
    """
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show an arrow gets a question mark, not a traceback.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        app(list(arguments), prog_name="convtool")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except ConvtoolError as error:
        typer.echo(f"error: {error.message}", err=True)
        if error.hint:
            typer.echo(f"\nhint: {error.hint}", err=True)
        return error.status
    return 0


def entry() -> None:
    """Run as the installed command."""
    sys.exit(main(sys.argv[1:]))
