"""Kernels written on the command line: ``"3x3: -1,0,1 -2,0,2 -1,0,1"``, ``"1 -1"``."""

import re

from convtool.errors import KernelError
from convtool.kernels.kernel import Kernel, check_sides
from convtool.kernels.reading import LineError, number

_HEADER = re.compile(r"\s*(\d+)(?:\s*[x×]\s*(\d+))?\s*:", re.IGNORECASE)
_SIZE = re.compile(r"\s*(\d+[x×]\d+)\s", re.IGNORECASE)
_FIRST = re.compile(r"\s*[-+\N{MINUS SIGN}.]*\d")
_SEPARATOR = re.compile(r"[\s,;]+")


def is_inline(text: str) -> bool:
    """Tell whether a text is meant as taps: a size and a colon, or numbers from the start on."""
    if _HEADER.match(text) or text.lstrip().startswith("["):
        return True
    return bool(_FIRST.match(text)) and (bool(_SEPARATOR.search(text.strip())) or _single(text))


def _single(text: str) -> bool:
    try:
        number(text.strip())
    except LineError:
        return False
    return True


def parse(text: str) -> Kernel:
    """Read an inline kernel.

    Parameters
    ----------
    text : str
        ``HxW:`` (or ``N:``) and the taps in reading order; or the taps alone, rows parted by
        ``;`` or line ends, or by spaces where commas part the taps.

    Raises
    ------
    KernelError
        Where a tap is no number, or their count is not what the size or the first row says.
    """
    try:
        text = _without_brackets(text)
        header = _HEADER.match(text)
        if not header and (size := _SIZE.match(text)):
            raise LineError(
                f"a colon stands between the size and the taps, but {size[1]} has none",
                f'"{size[1]}: …"',
            )
        rows = _sized(text, header) if header else _matrix(text)
    except LineError as error:
        raise KernelError(f"inline kernel: {error.message}", error.hint) from None
    return Kernel.from_rows("kernel", rows, "inline")


def _without_brackets(text: str) -> str:
    """Turn ``[[1, 2], [3, 4]]``, as Python and JSON write it, into ``1, 2; 3, 4``."""
    if not text.lstrip().startswith("["):
        return text
    return re.sub(r"\]\s*,?\s*\[", ";", text).replace("[", "").replace("]", "")


def _sized(text: str, header: re.Match[str]) -> list[list[float]]:
    height, width = int(header[1]), int(header[2] or header[1])
    check_sides(height, width)
    taps = _numbers(text[header.end() :])
    if len(taps) != height * width:
        raise LineError(
            f"{height}x{width} needs {height * width} taps, but {len(taps)} "
            f"{'is' if len(taps) == 1 else 'are'} given",
            "sizes are height x width",
        )
    return [taps[i * width : (i + 1) * width] for i in range(height)]


def _matrix(text: str) -> list[list[float]]:
    lines = [line for line in re.split(r"[;\n]", text) if line.strip()]
    if len(lines) == 1:
        tight = re.sub(r"\s*,\s*", ",", text.strip().rstrip(";"))
        lines = tight.split() if "," in tight else [tight]
    rows = [_numbers(line) for line in lines]
    for r, row in enumerate(rows):
        if len(row) != len(rows[0]):
            raise LineError(
                f"rows must have one length, but row {r + 1} has {len(row)} taps and row 1 has "
                f"{len(rows[0])}",
                'say the size, as in "3x3: …", or part the rows with ;',
            )
    return rows


def _numbers(text: str) -> list[float]:
    return [number(token) for token in _SEPARATOR.split(text) if token]
