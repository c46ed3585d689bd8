"""The command line: parse, call one function, print, exit status. No arithmetic here."""

import errno
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated

import typer

from convtool.cli import help
from convtool.cli.help import Command, Group
from convtool.errors import ConvtoolError
from convtool.version import __version__

ABOUT = """Convolve images, with the exact semantics of tf.nn.conv2d.

Strides, SAME, VALID and explicit padding, dilation, groups, batches and filter
banks. Every command has a page of its own: convtool COMMAND --help.
"""

NOTES = f"""\
Examples:
  convtool apply --kernel sobel --stride 2 --padding same photo.png
  convtool transpose --kernel bilinear --stride 2 --border edge photo.png
  convtool shape 224x224x3 --kernel 7x7 --filters 64 --stride 2
  convtool kernels show gaussian:sigma=2
  convtool doctor

Streams:
  Reports go to standard output, progress, warnings and errors to standard
  error. With -o - standard output holds the image alone.

Exit status:
  0    all done
  1    an input failed, the others are done
  2    the command line is wrong
  130  interrupted

Environment:
{help.COLOUR}{help.OWN_KERNELS}{help.CACHE}
Files:
{help.KERNEL_FILES}"""

COMMANDS = ("apply", "transpose", "shape", "kernels", "bench", "doctor")


def program(*names: str) -> typer.Typer:
    """Put the program together, of all commands or of those named.

    Each command's module is imported here: one command pays for itself alone.
    """
    made = typer.Typer(
        name="convtool",
        cls=Group,
        help=ABOUT,
        epilog=NOTES,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        add_completion=False,  # see `_options`: ours knows kernels, and what bash makes of : and =
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    made.callback()(_options)
    for name in names or COMMANDS:
        module = import_module(f"convtool.cli.{name}")
        if name == "kernels":
            made.add_typer(module.app, name=name)
            continue
        made.command(
            name,
            cls=Command,
            help=module.ABOUT,
            epilog=module.NOTES,
            options_metavar=getattr(module, "SYNOPSIS", "[OPTIONS]"),
        )(getattr(module, name))
    return made


def _print_version(context: typer.Context, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        typer.echo(f"convtool {__version__}")
        raise typer.Exit


def _install_completion(context: typer.Context, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from convtool.cli import shells

        name = shells.here()
        typer.echo(f"completion for {name} is in {shells.install(name)}")
        typer.echo("it works in every terminal that is opened from now on")
        raise typer.Exit


def _show_completion(context: typer.Context, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from convtool.cli import shells

        typer.echo(shells.SHELLS[shells.here()].script.strip())
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
    install_completion: Annotated[
        bool,
        typer.Option(
            "--install-completion",
            callback=_install_completion,
            help="Let the Tab key complete options, kernels and their parameters in this shell "
            "(bash, zsh, fish, PowerShell).",
        ),
    ] = False,
    show_completion: Annotated[
        bool,
        typer.Option(
            "--show-completion",
            callback=_show_completion,
            help="Print the script that does so, to put it elsewhere.",
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
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by the shell: nothing is there, or nobody listens
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show an arrow gets a question mark, not a traceback.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        if question := os.environ.get("_CONVTOOL_COMPLETE"):
            from convtool.cli import shells

            return shells.answer(program(), question)
        named = [name for name in arguments[:1] if name in COMMANDS]
        program(*named)(list(arguments), prog_name="convtool")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except ConvtoolError as error:
        return _told(error)
    except OSError as error:
        # Of files it is known which; without a name it is standard output that is full.
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or error.filename:
            raise
        return _told(ConvtoolError(f"standard output cannot be written: {error.strerror}"), 1)
    return 0


def _told(error: ConvtoolError, status: int | None = None) -> int:
    """Say what is wrong, and return the exit status."""
    typer.echo(f"error: {error.message}", err=True)
    if error.hint:
        typer.echo(f"\nhint: {error.hint}", err=True)
    return error.status if status is None else status


def entry() -> None:
    """Run as the installed command."""
    status = main(sys.argv[1:])
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        status = status or 1
    if (disk := sys.modules.get("convtool.images.disk")) is not None:
        disk.remove_parts()  # of threads that were broken off
    # Nothing else is left to be tidied up, and taking the interpreter apart takes as long as
    # importing NumPy does.
    os._exit(status)
