"""Kernel files of every form → kernels; and what is wrong with one, by line."""

from pathlib import Path

from convtool.errors import KernelError
from convtool.kernels import definition, presets, tensors
from convtool.kernels.kernel import Kernel
from convtool.kernels.reading import LineError, Problem, number, read_bytes, read_text
from convtool.terms import Op

SUFFIXES = (".toml", *tensors.SUFFIXES, ".csv", ".txt", ".mat")


def load(path: Path, member: str = "", layout: str = "", op: Op = Op.CONV2D) -> Kernel:
    """Read a kernel file by its suffix.

    Parameters
    ----------
    path : Path
    member : str
        Which array of a ``.npz`` or ``.safetensors`` file.
    layout : str
        The order of the axes of an array of rank 4, as in ``OIHW``; empty for the order that `op`
        takes, HWIO or HWOI.
    op : Op

    Raises
    ------
    KernelError
        With the file, the line where there is one, and the first of its problems.
    """
    kernel, problems = _read(path, member, layout, op)
    if kernel is None:
        raise problems[0].error(path)
    return kernel


def check(path: Path) -> list[Problem]:
    """Return every problem of a kernel file; none means that it can be used."""
    return inspect(path)[0]


def inspect(path: Path) -> tuple[list[Problem], Kernel | None]:
    """Return a file's problems, and its kernel where it has none; weights are computed as well."""
    kernel, problems = _read(path)
    if kernel is not None:
        try:
            _ = kernel.weights
        except KernelError as error:
            return [Problem(0, error.message, error.hint)], None
    return problems, kernel


def _read(
    path: Path, member: str = "", layout: str = "", op: Op = Op.CONV2D
) -> tuple[Kernel | None, list[Problem]]:
    try:
        if path.suffix.lower() == ".toml":
            preset = path.resolve().parent in presets.folders()
            found, problems = definition.read(read_text(path), path, preset=preset)
            return (found.kernel() if found else None), problems
        return _other(path, member, layout, op), []
    except LineError as error:
        return None, [Problem(error.line, error.message, error.hint)]
    except KernelError as error:
        return None, [Problem(0, error.message, error.hint)]


def _other(path: Path, member: str, layout: str, op: Op) -> Kernel:
    name, origin = path.stem, str(path)
    match path.suffix.lower():
        case ".csv" | ".txt":
            return Kernel.from_rows(name, table(read_text(path)), origin)
        case ".mat":
            rows, offset = vips_matrix(read_text_or_matlab(path))
            return Kernel.from_rows(name, rows, origin, offset)
        case suffix if suffix in tensors.SUFFIXES:
            array = tensors.arranged(tensors.read(path, member), layout, tensors.ORDERS[op])
            return Kernel.from_array(name, array, origin)
        case suffix:
            read_bytes(path, 1)
            raise KernelError(
                f"a kernel file ends in {', '.join(SUFFIXES)}, but this one in "
                f"{suffix or 'nothing'}",
                tensors.advice(suffix) or 'rename it, or write the taps inline: "3x3: …"',
            )


def _rows(text: str) -> list[tuple[int, list[str]]]:
    """Return the line number and cells of each line that is not blank or a comment."""
    rows = []
    for line, content in enumerate(text.split("\n"), 1):
        if content := content.partition("#")[0].strip():
            separator = next((s for s in ";," if s in content), None)
            rows.append((line, [cell.strip() for cell in content.split(separator)]))
    return rows


def _numbers(cells: list[str], line: int) -> list[float]:
    for c, cell in enumerate(cells):
        if not cell:
            raise LineError(f"cell {c + 1} is empty", "write 0 for a tap that is zero", line)
    return [number(cell, line) for cell in cells]


def _grid(rows: list[tuple[int, list[str]]]) -> list[list[float]]:
    """Read rows of numbers, all as long as the first."""
    for line, cells in rows:
        if len(cells) != len(rows[0][1]):
            raise LineError(
                f"rows must have one length, but this one has {len(cells)} taps and the first "
                f"has {len(rows[0][1])}",
                line=line,
            )
    return [_numbers(cells, line) for line, cells in rows]


def table(text: str) -> list[list[float]]:
    """Read rows of numbers, parted by semicolons, commas, or white space; # begins a comment.

    Raises
    ------
    LineError
        For an empty text, a cell that is no number, or rows of several lengths.
    """
    rows = _rows(text)
    if not rows:
        raise LineError("there are no taps in the file", "write one row of numbers a line")
    return _grid(rows)


def vips_matrix(text: str) -> tuple[list[list[float]], float]:
    """Read vips' text matrix, ``width height [scale [offset]]`` and the rows.

    Returns
    -------
    rows : list of list of float
        Already over the scale.
    offset : float
        What vips adds to each response.

    Raises
    ------
    LineError
        Where the first line is no such header, or the rows are not what it says.
    """
    rows = _rows(text)
    form = "the first line is: width height scale offset"
    if not rows:
        raise LineError("there is no matrix in the file", form)
    line, cells = rows[0]
    head = _numbers(cells, line)
    if not 2 <= len(head) <= 4 or any(n < 1 or n != int(n) for n in head[:2]):
        raise LineError(
            f"a matrix begins with its size, but here stands {' '.join(cells)}", form, line
        )
    width, height = int(head[0]), int(head[1])
    scale, offset = [*head[2:], *(1.0, 0.0)[len(head) - 2 :]]
    if scale == 0:
        raise LineError("the scale must not be zero", form, line)
    body = rows[1:]
    for place, row in body:
        if len(row) != width:
            raise LineError(
                f"the first line says {width} columns, but this row has {len(row)} taps",
                form,
                place,
            )
    if len(body) != height:
        raise LineError(f"the first line says {height} rows, but {len(body)} follow", form, line)
    return [[tap / scale for tap in row] for row in _grid(body)], offset


def read_text_or_matlab(path: Path) -> str:
    """Read a text matrix; tell MATLAB's binary file of the same suffix from it."""
    if read_bytes(path, 6) == b"MATLAB":
        raise KernelError(
            "this is a MATLAB data file, and .mat means vips' text matrix here",
            "in MATLAB, writematrix(kernel, 'kernel.csv') saves one that can be read",
        )
    return read_text(path)
