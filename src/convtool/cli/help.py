"""Help pages as plain text: like a man page, with the options under headings."""

import re
from typing import Any

from typer.core import TyperCommand, TyperGroup

# The widest name of an option that has its explanation beside it, not below.
COLUMN = 22

# Sections that several pages share.
STATUS = """\
Exit status:
  0    done
  1    an input is at fault
  2    the command line is wrong
"""

COLOUR = """\
  NO_COLOR         if set, nothing is coloured
  FORCE_COLOR      if set, colours are used in a pipe, too
"""

OWN_KERNELS = """\
  XDG_CONFIG_HOME  where the folder convtool/kernels is looked for, which holds
                   kernels of your own; ~/.config if not set
"""

KERNEL_FILES = """\
  ~/.config/convtool/kernels/NAME.toml
                   kernels of your own, known by NAME; they go before presets of
                   the same name
"""

LAYER_WEIGHTS = """\
  kernel     what --kernel takes: sobel, weights.npy, and of several arrays one:
             weights.npz:name, net.safetensors:conv1.weight (that type needs
             pip install safetensors); in a file from its folder on
  layout     how the kernel's axes are ordered where that is not as TensorFlow
             saves them, HWIO, and of a transpose HWOI: PyTorch saves OIHW, and
             IOHW (H and W of the kernel, I input and O output channels); of a
             dense layer IO, or PyTorch's OI
  bias       a number, or one for each filter: 0.1,0.2; or an array: FILE:name
"""

STACK_INPUT = """\
  [input]    scale = "1/255" multiplies the pixel values; then mean is taken
             away and deviation divides, each a number or one for each channel,
             mean = [0.485, 0.456, 0.406], as in torchvision's Normalize
"""

CACHE = """\
  XDG_CACHE_HOME   where the folder convtool/machine-code is made, which holds
                   compiled code; ~/.cache if not set (on Linux)
"""


class Page:
    """What a command's page and a group's have in common."""

    epilog: str | None

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Write arguments that must be given without braces, which shells would take for theirs."""
        pieces: list[str] = super().collect_usage_pieces(ctx)  # type: ignore[misc]
        return [piece.strip("{}") for piece in pieces]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write one section for each panel, in the order in which the panels first appear.

        Typer itself shows panels only through rich, which costs a start of its own.
        """
        sections: dict[str, list[tuple[str, str]]] = {}
        loose: list[tuple[str, str]] = []
        for parameter in self.get_params(ctx):  # type: ignore[attr-defined]
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            kind = "Arguments" if parameter.param_type_name == "argument" else None
            panel = getattr(parameter, "rich_help_panel", None) or kind
            name, text = record
            rows = sections.setdefault(panel, []) if panel else loose
            rows.append((name, tidy(text)))
        sections["Options" if sections.keys() <= {"Arguments"} else "Other options"] = loose
        for panel, rows in sections.items():
            with formatter.section(panel):
                for name, text in rows:
                    formatter.write(definition(name, text, formatter.width))

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the sections after the options as they stand."""
        if self.epilog:
            formatter.write_paragraph()
            formatter.write(self.epilog)


class Command(Page, TyperCommand):
    """A command with a page of its own."""


class Group(Page, TyperGroup):
    """A group of commands with a page of its own."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options, then the commands."""
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


def definition(name: str, text: str, width: int) -> str:
    """Set a name beside its explanation, in columns that are the same under every heading.

    Unlike Click's own this does not break words at their hyphens: they may be values to type.
    """
    from textwrap import wrap

    margin = " " * (COLUMN + 4)
    lines = wrap(text, max(width - len(margin), 20), break_on_hyphens=False) or [""]
    head = f"  {name:<{COLUMN}}  " if len(name) <= COLUMN else f"  {name}\n{margin}"
    return head + f"\n{margin}".join(lines) + "\n"


def tidy(text: str) -> str:
    """Take limits away, which the name of a value says, and brackets within brackets.

    Examples
    --------
    >>> tidy("Of JPEG.  [default: (92); 1<=x<=100]")
    'Of JPEG.  [default: 92]'
    """
    text = re.sub(r"; [\d.]*[<=]*x[<>=]+[\d.]+\]$", "]", text)
    text = re.sub(r"  \[[\d.]*[<=]*x[<>=]+[\d.]+\]$", "", text)
    return re.sub(r"\[default: \((.*)\)\]$", r"[default: \1]", text)
