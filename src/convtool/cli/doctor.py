"""`convtool doctor`: what this machine has."""

from typing import Annotated

import typer

from convtool.cli import help, options

COMPILED = "Compiled code"

ABOUT = """Show what this machine has, and make its code ready.

Versions, processor, engines, the cache of compiled code, the formats of images,
your own kernels, and what of the environment matters. The cpu engine is tried on
a small image, and the cuda engine where there is an NVIDIA GPU. What should be
mended is a warning with a way out.

The cpu engine compiles itself for a processor: a few seconds when a kind of
kernel is first used, never again. --warm does so for all presets ahead of time,
which takes a minute or less and may be interrupted; and it measures every GPU
that computes as it should, so that --engine auto knows when that pays.
"""

NOTES = f"""\
Examples:
  convtool doctor
  convtool doctor --json
  convtool doctor --warm
  convtool doctor --clear --warm

Fine print:
  --warm     is for 8-bit pictures, grey and RGB with and without alpha, at
             strides 1 and 2, by the method that is taken for photographs. Other
             kinds are compiled when they are first asked for. A GPU should have
             nothing else to do meanwhile: by what comes of it auto chooses.
  --clear    removes what convtool put there, and nothing else.

Exit status:
  0    all works, perhaps with warnings
  1    the cpu engine does not work here, or its code cannot be kept, or a GPU
       that is there does not work (--warm)
  2    the command line is wrong
  130  interrupted; what was compiled is kept

Environment:
{help.COLOUR}{help.OWN_KERNELS}{help.CACHE}"""


def doctor(
    warm: Annotated[
        bool,
        typer.Option(
            "--warm",
            help="Compile what the presets need now, so that no later command has to.",
            rich_help_panel=COMPILED,
        ),
    ] = False,
    clear: Annotated[
        bool,
        typer.Option(
            "--clear",
            help="Remove all compiled code; with --warm, before it is made anew.",
            rich_help_panel=COMPILED,
        ),
    ] = False,
    json: options.Json = False,
) -> None:
    """Show what this machine has: versions, processor, engines, formats, folders."""
    if not warm and not clear:
        from convtool.doctor import facts
        from convtool.report import doctor as report

        found = facts.examine()
        report.show(found, as_json=json)
        raise typer.Exit(1 if found.failure else 0)

    from pathlib import Path
    from tempfile import TemporaryDirectory

    from convtool.doctor import warm as warming
    from convtool.report import doctor as report

    if clear:
        report.show_cleared(warming.clear(), as_json=json)
    if warm:
        with TemporaryDirectory(prefix="convtool-") as folder:
            errands = warming.prepare(Path(folder))
            pictures = sum(len(errand.names) for errand in errands)
            events = warming.warm(errands)
            status = report.follow_warming(events, pictures, as_json=json)
        status |= report.show_rates(warming.measure(), as_json=json)
        raise typer.Exit(status)
