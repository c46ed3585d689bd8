"""From what ``--kernel`` got to a kernel: inline, a file, or a preset."""

import os
import re
from pathlib import Path

from convtool.errors import KernelError
from convtool.kernels import files, inline, presets, tensors
from convtool.kernels.definition import Definition
from convtool.kernels.families import value_text
from convtool.kernels.kernel import Kernel
from convtool.terms import IMAGE_SUFFIXES, Op


def load(text: str, *, layout: str = "", op: Op = Op.CONV2D) -> Kernel:
    """Return the kernel that a text names.

    Parameters
    ----------
    text : str
        Taps (``"3x3: -1,0,1 -2,0,2 -1,0,1"``, ``"1 -1"``), a kernel file (``edge.csv``,
        ``bank.npz:name``, ``net.safetensors:conv1.weight``), or a preset (``sobel``,
        ``gaussian:sigma=2,size=9``, ``sobel:filter=x``).
    layout : str
        The order of the axes of a file's array of rank 4, as in ``OIHW``; empty for the order that
        `op` takes, HWIO or HWOI.
    op : Op

    Raises
    ------
    KernelError
        Where it names nothing, or what it names is broken.

    Examples
    --------
    >>> load("gaussian:sigma=2").shape
    (13, 13)
    """
    if not text.strip():
        raise KernelError("a kernel's name is empty", "try sobel, or see 'convtool kernels list'")
    path, member = tensors.split(text)
    # A file without a suffix hides no preset: `sobel` stays sobel wherever it is typed.
    if path.suffix.lower() in files.SUFFIXES or (os.path.isfile(path) and not presets.exists(text)):
        return files.load(path, member, layout, op)
    if inline.is_inline(text):
        return inline.parse(text)
    if re.fullmatch(r"\s*\d+([x×]\d+)+\s*", text, re.IGNORECASE):
        raise KernelError(
            f"{text.strip()} is a size without taps", f'write the taps too: "{text.strip()}: …"'
        )
    name, _, arguments = text.partition(":")
    if os.sep in name or "/" in name:
        raise KernelError(f"{text}: no such file", f"kernel files end in {_endings()}")
    if Path(name).suffix and not presets.exists(name):
        raise KernelError(
            f"{text}: {Path(name).suffix} is no kernel file's suffix",
            tensors.advice(Path(name).suffix)
            or f'a kernel is a preset, taps as in "1 -1", or a file that ends in {_endings()}',
        )
    found = presets.find(_preset(name))
    return found.kernel(_arguments(found, arguments))


def from_folder(text: str, folder: Path) -> str:
    """Return a text that names a kernel so that a file's relative name begins at `folder`.

    Examples
    --------
    >>> from_folder("net.npz:conv1", Path("nets")), from_folder("sobel", Path("nets"))
    ('nets/net.npz:conv1', 'sobel')
    """
    path, _ = tensors.split(text)
    is_file = path.suffix.lower() in (*files.SUFFIXES, *IMAGE_SUFFIXES)
    return str(folder / text) if is_file else text


def _preset(text: str) -> str:
    """Return a preset's name, or say how parameters are written where they follow wrongly."""
    name, *rest = re.split(r"[\s=(]+", text.strip(), maxsplit=1)
    if rest and presets.exists(name):
        raise KernelError(
            f"parameters follow a colon, but {text!r} has none",
            f"for example {_example(presets.find(name))}",
        )
    return text


def _example(found: Definition) -> str:
    """Show how a parameter of this preset is written."""
    for parameter in found.parameters:
        return f"{found.name}:{parameter.name}={value_text(parameter.default)}"
    return f"{found.name}:filter=0"


def _endings() -> str:
    return ", ".join(files.SUFFIXES)


def _arguments(found: Definition, text: str) -> dict[str, str]:
    """Read ``sigma=2,size=9``."""
    name = found.name
    given: dict[str, str] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        key, equals, value = part.partition("=")
        key = key.strip().lower()
        if not equals or not value.strip():
            raise KernelError(
                f"parameters are written name=value, but {name} is given {part!r}",
                f"for example {_example(found)}",
            )
        if key in given:
            raise KernelError(f"{key} is given twice to {name}: {given[key]} and {value.strip()}")
        given[key] = value.strip()
    return given
