"""A stack from a TOML file, from words, or from both.

::

    name = "autoencoder"

    [input]
    size = "28x28x1"      # all of [input] may be left out
    scale = "1/255"       # pixel values are multiplied by it …
    mean = 0.13           # … then this is taken away, one number or one per channel …
    deviation = 0.31      # … and the rest divided by this

    [[layer]]
    op = "conv"           # and the keys of `convtool.stack.layers.KEYS`
    size = "3x3"
    filters = 32
"""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import NamedTuple

from convtool.errors import UsageError, did_you_mean
from convtool.geometry import Shape, image_shape, parse_pair, parse_size
from convtool.stack.layers import (
    Layer,
    Stack,
    WrongValue,
    check_name,
    make_layer,
    parse_layer,
)

_TOP = ("name", "input", "layer")
_INPUT = ("size", "scale", "mean", "deviation")


def read_stack(path: Path) -> Stack:
    """Read a stack's TOML file.

    Raises
    ------
    UsageError
        Where it cannot be read, or says what cannot be; names the file, the line and the layer.
    """
    text = _text(path)
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: not TOML: {error}") from None
    reader = _Reader(path, text)
    _check_keys(table, _TOP, "a stack", reader)
    given = table.get("input", {})
    with reader.at("input"):
        if not isinstance(given, dict):
            raise UsageError(f"input must be a table, not {given!r}", "a line [input] starts it")
    _check_keys(given, _INPUT, "[input]", reader, "input")
    name = table.get("name", "")
    with reader.at("name"):
        if not isinstance(name, str):
            raise UsageError(f"name must be a text, not {name!r}")
    with reader.at("input", "size"):
        shape = None if "size" not in given else _shape(given["size"])
    with reader.at("input", "scale"):
        scale = _number(given.get("scale", 1.0), "scale")
    with reader.at("input", "mean"):
        mean = _numbers(given.get("mean", []), "mean")
    with reader.at("input", "deviation"):
        deviation = _numbers(given.get("deviation", []), "deviation")
        if 0 in deviation:
            raise UsageError("deviation divides, but one of its numbers is 0")
    layers = tuple(_layers(table.get("layer", []), reader))
    return Stack(layers, shape, scale, mean, deviation, path.parent, name)


def joined(path: Path | None, texts: Sequence[str]) -> Stack:
    """Read the layers of a file, if there is one, and put those of a command line behind them.

    Parameters
    ----------
    path : Path, optional
    texts : sequence of str
        Each as `parse_layer` takes it. Names of files in them start from the working folder.
    """
    if path is None:
        stack = Stack(_parsed(texts, 1))
    else:
        stack = read_stack(path)
        more = map(_from_here, _parsed(texts, len(stack.layers) + 1))
        stack = stack._replace(layers=(*stack.layers, *more))
    names: dict[str, int] = {}
    for number, layer in enumerate(stack.layers, 1):
        check_name(layer, number, names)
    return stack


def _parsed(texts: Sequence[str], first: int) -> tuple[Layer, ...]:
    """Read layers, of which the first one has this number."""
    return tuple(parse_layer(text, number) for number, text in enumerate(texts, first))


def _from_here(layer: Layer) -> Layer:
    """Make names of files absolute, which a stack's folder then leaves alone."""
    from convtool import kernels

    here = Path.cwd()
    return layer._replace(
        kernel=layer.kernel and kernels.from_folder(layer.kernel, here),
        bias=layer.bias and kernels.from_folder(layer.bias, here),
    )


class _Reader(NamedTuple):
    """The file, so that what is wrong in it gets its name and line."""

    path: Path
    text: str

    @contextmanager
    def at(self, *where: str | int) -> Iterator[None]:
        """Add the place to what is found wrong: a key, or the number of a layer."""
        try:
            yield
        except UsageError as error:
            from convtool.kernels.positions import Positions  # only a file with a fault needs it

            if isinstance(error, WrongValue) and error.key:
                where = *where, error.key
            line = Positions(self.text).line(*where)
            layer = f"layer {int(where[1]) + 1}: " if where[:1] == ("layer",) and where[1:] else ""
            raise error.within(f"{self.path}:{line}: {layer}".removesuffix(": ")) from None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"{path}: the stack cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: a stack is TOML, which is UTF-8, but this is not") from None


def _layers(tables: object, reader: _Reader) -> Iterator[Layer]:
    with reader.at("layer"):
        if not isinstance(tables, list) or not all(isinstance(t, dict) for t in tables):
            raise UsageError("layers must be tables, each under a line [[layer]]")
        if not tables:
            raise UsageError(
                "a stack needs layers, but there is none",
                'each starts with a line [[layer]], below it for example op = "flatten"',
            )
    names: dict[str, int] = {}
    for index, table in enumerate(tables):
        with reader.at("layer", index):
            layer = make_layer(table, f"layer {index + 1} of {reader.path.name}")
            check_name(layer, index + 1, names)
        yield layer


def _check_keys(
    table: Mapping[str, object], known: Sequence[str], what: str, reader: _Reader, *where: str
) -> None:
    for key in table:
        with reader.at(*where, key):
            if key not in known:
                near = did_you_mean(key, known)
                raise UsageError(f"{what} takes {', '.join(known)}, but not {key}", near)


def _shape(value: object) -> Shape:
    """Read a size as the command line's INPUT has it; one number stands for both axes."""
    if type(value) is int:
        return image_shape(parse_pair(value, "size"))
    if isinstance(value, list) and all(type(n) is int for n in value):
        return image_shape(value)
    if not isinstance(value, str):
        raise UsageError(f"size must be a text or a list of whole numbers, not {value!r}")
    size = parse_size(value)
    return image_shape(size if len(size) > 1 else size * 2)


def _number(value: object, name: str) -> float:
    """Read a number, or a fraction as a text: ``"1/255"``."""
    try:
        if isinstance(value, str):
            above, slash, below = value.partition("/")
            number = float(above) / float(below) if slash else float(above)
        elif type(value) in (int, float):
            number = float(value)  # type: ignore[arg-type]
        else:
            raise ValueError
        if not isfinite(number):
            raise ValueError
    except (ValueError, ArithmeticError):
        raise UsageError(
            f"{name} must be a number, not {value!r}", 'or a fraction: "1/255"'
        ) from None
    return number


def _numbers(value: object, name: str) -> tuple[float, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(_number(number, name) for number in values)
