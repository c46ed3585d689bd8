"""What may stand where the cursor is, when the Tab key is pressed.

The words are kept here and not with the options: a command that is merely run imports none of it.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Set
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import typer
from typer._click.shell_completion import _resolve_context, _resolve_incomplete

from convtool import kernels, terms
from convtool.errors import ConvtoolError
from convtool.kernels.definition import Definition
from convtool.kernels.families import value_text


class Word(NamedTuple):
    """What may be typed.

    Parameters
    ----------
    text : str
    help : str
        In a few words, for shells that show it.
    done : bool
        Whether a space follows; else more of the same word does.
    """

    text: str
    help: str = ""
    done: bool = True


Complete = Callable[[str], Iterable[Word]]


def _choice(options: type[StrEnum], *, without: tuple[str, ...] = ()) -> Complete:
    return _words(*(option for option in options if option not in without))


def _words(*texts: str) -> Complete:
    return lambda _: [Word(text) for text in texts]


def _several(*texts: str, alone: tuple[str, ...] = ()) -> Complete:
    """Complete words of which several may be given, with commas between."""

    def complete(incomplete: str) -> list[Word]:
        given, comma, _ = incomplete.rpartition(",")
        rest = [
            text for text in (texts if comma else (*alone, *texts)) if text not in given.split(",")
        ]
        return [Word(given + comma + text) for text in rest]

    return complete


def _border(_: str) -> list[Word]:
    return [
        Word("constant:", "a number follows", done=False)
        if mode is terms.BorderMode.CONSTANT
        else Word(mode)
        for mode in terms.BorderMode
    ]


def kernel_words(incomplete: str) -> list[Word]:
    """Complete a kernel: a preset, then its parameters; or a file."""
    name, colon, _ = incomplete.partition(":")
    if not colon:
        return [*_presets(incomplete), *_files(incomplete)]
    try:
        found = kernels.find(name)
    except ConvtoolError:
        return []
    return _parameters(found, incomplete)


def _presets(incomplete: str) -> list[Word]:
    """Name the presets; their other names only where no first one begins like that."""
    known = [entry.definition for entry in kernels.entries() if entry.definition]
    names = [(found.name, found) for found in known]
    if not any(name.startswith(incomplete) for name, _ in names):
        names = [(alias, found) for found in known for alias in found.aliases]
    words = []
    for name, found in names:
        if name.startswith(incomplete):
            # A space after what is mostly used as it is; none after what is mostly given numbers.
            words.append(Word(name, found.description, done=not found.parameters))
        if name == incomplete:
            words += _parameters(found, f"{name}:")
    return words


def _takes(found: Definition) -> list[tuple[str, str]]:
    """Return what a preset takes after its colon, and what that means."""
    taken = [(p.name, f"{p.help}; {value_text(p.default)} if left out") for p in found.parameters]
    if found.kernel().filters > 1:
        taken.append(("filter", "one of its filters alone"))
    return taken


def _parameters(found: Definition, incomplete: str) -> list[Word]:
    """Complete ``name:param=value,…``: what is not given yet, and values where they are few."""
    start, given = re.fullmatch(r"([^:]*:)(.*)", incomplete, re.DOTALL).groups()  # type: ignore[union-attr]
    before, comma, last = given.rpartition(",")
    start += before + comma
    name, equals, _ = last.partition("=")
    if equals:
        values = _filters(found) if name == "filter" else []
        return [Word(f"{start}{name}={value}") for value in values]
    used = {part.partition("=")[0] for part in before.split(",")}
    return [Word(f"{start}{n}=", h, done=False) for n, h in _takes(found) if n not in used]


def _filters(found: Definition) -> list[str]:
    kernel = found.kernel()
    return list(kernel.filter_names) or [str(index) for index in range(kernel.filters)]


def _layer(incomplete: str) -> list[Word]:
    """Complete the kind of a layer, which is its first word."""
    from convtool.stack.layers import LayerKind

    return [] if " " in incomplete else [Word(f"{kind} ", done=False) for kind in LayerKind]


def _toml_files(incomplete: str) -> list[Word]:
    return _named(incomplete, frozenset({".toml"}))


def _files(incomplete: str) -> list[Word]:
    """List kernel files and folders that begin like that."""
    # An image may be a kernel, but a folder of photographs is not a folder of kernels.
    _, start = os.path.split(incomplete)
    return _named(incomplete, {*kernels.SUFFIXES, *(terms.IMAGE_SUFFIXES if start else ())})


def _named(incomplete: str, endings: Set[str]) -> list[Word]:
    """List folders, and files with one of these endings, that begin like that."""
    folder, start = os.path.split(incomplete)
    try:
        entries = sorted(os.scandir(Path(folder or ".").expanduser()), key=lambda e: e.name)
    except OSError:
        return []
    hidden = start.startswith(".")
    found = []
    for entry in entries:
        if not entry.name.startswith(start) or entry.name.startswith(".") > hidden:
            continue
        path = os.path.join(folder, entry.name)
        if entry.is_dir():
            found.append(Word(f"{path}/", "folder", done=False))
        elif Path(entry.name).suffix.lower() in endings:
            found.append(Word(path, "file"))
    return found


_PADDINGS = _choice(terms.PaddingMode, without=(terms.PaddingMode.EXPLICIT,))
_METHODS = _choice(terms.MethodName)
_IMAGE_FORMATS = _words("png", "jpg", "tif", "webp", "bmp", "ppm", "gif", "npy")
_GEOMETRY = {"padding": _PADDINGS, "border": _border}
_FILTERING: Mapping[str, Complete] = {
    **_GEOMETRY,
    "kernel": kernel_words,
    "activation": _choice(terms.Activation),
    "combine": _choice(terms.Combine),
    "range": _choice(terms.RangeMode),
    "alpha": _choice(terms.AlphaMode),
    "depth": _choice(terms.Depth),
    "format": _IMAGE_FORMATS,
    "engine": _choice(terms.EngineName),
    "method": _METHODS,
}
_TRANSPOSED_PADDINGS = _choice(
    terms.PaddingMode, without=(terms.PaddingMode.EXPLICIT, terms.PaddingMode.FIT)
)

# For every command, by the names of its parameters.
WORDS: Mapping[str, Mapping[str, Complete]] = {
    "apply": {
        **_FILTERING,
        "layout": _words("HWIO", "OIHW"),
        "layers": _layer,
        "stack": _toml_files,
        "scale": _words("each", "all"),
    },
    "transpose": {
        **_FILTERING,
        "layout": _words("HWOI", "IOHW"),
        "padding": _TRANSPOSED_PADDINGS,
    },
    "shape": {
        "layout": _words("HWIO", "OIHW", "HWOI", "IOHW"),
        **_GEOMETRY,
        "kernel": kernel_words,
        "layers": _layer,
        "stack": _toml_files,
    },
    "show": {"names": kernel_words},
    "export": {
        "name": kernel_words,
        "format": _words("toml", "csv", "txt", "mat", "npy", "npz", "inline"),
    },
    "bench": {
        "group": _words(
            *("small", "full-rank", "gaussian", "box"),
            *("stride", "dilation", "network", "transposed", "gpu", "none"),
        ),
        "engine": _words("cpu", "cuda"),
        "channels": _several("1", "3"),
        "dtype": _several("uint8", "float32"),
        "method": _METHODS,
        "peers": _several(
            *("opencv", "libvips", "scipy", "pillow", "torch", "cupy"), alone=("all", "none")
        ),
    },
}

# Parameters whose values are none of ours to know; any other one without words is a file.
_FREE = frozenset(
    "stride dilation groups filters bias quality threads device max_pixels size repeat seconds "
    "jobs compress_level output_shape output_padding at want limit show".split()
)


def complete(app: typer.Typer, given: list[str], incomplete: str) -> list[Word] | None:
    """Return what may stand in place of an incomplete word.

    Parameters
    ----------
    app : Typer
    given : list of str
        The words before it, without the program's name.
    incomplete : str

    Returns
    -------
    list of Word or None
        None where the names of files may.
    """
    context = _resolve_context(typer.main.get_command(app), {}, "convtool", list(given))
    place, rest = _resolve_incomplete(context, list(given), incomplete)
    # In --kernel=gau the option is a part of the word.
    before = incomplete[: len(incomplete) - len(rest)] if incomplete.endswith(rest) else ""
    if place is context.command:
        commands = getattr(place, "commands", {})
        return [
            Word(item.value, _short((commands.get(item.value) or item).help))
            for item in place.shell_complete(context, rest)
        ]
    name = str(place.name)
    words = WORDS.get(str(context.info_name), {}).get(name)
    if words is None:
        return [] if name in _FREE else None
    found = [word for word in words(rest) if word.text.startswith(rest)]
    return [word._replace(text=before + word.text) for word in found]


def _short(help: str | None) -> str:
    """Return the first sentence, or what of it goes beside a word."""
    text = re.split(r"[.:;]\s|[.:;]$|\n", help or "", maxsplit=1)[0]
    return text if len(text) <= 72 else text[:71] + "…"
