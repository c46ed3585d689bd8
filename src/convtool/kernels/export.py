"""Kernels → files of every form that can be read again, with every digit."""

import io
import json
import zipfile
from pathlib import Path

from convtool.errors import KernelError, UsageError
from convtool.kernels.kernel import Kernel

FORMATS = ("toml", "csv", "txt", "mat", "npy", "npz", "inline")
BINARY = ("npy", "npz")


def format_for(format: str | None, path: Path | None) -> str:
    """Return the form asked for, else the one that a path's suffix says, else TOML.

    Raises
    ------
    UsageError
        Where there is no such form.
    """
    word = format.lower() if format else path.suffix.lower().lstrip(".") if path else "toml"
    if word in FORMATS:
        return word
    given = f"{format!r} is asked for" if format else f"{path} says {word or 'none'}"
    raise UsageError(
        f"the form must be one of {', '.join(FORMATS)}, but {given}", "choose one with --format"
    )


def encode(kernel: Kernel, format: str, name: str = "") -> bytes:
    """Return a file that holds a kernel.

    Parameters
    ----------
    kernel : Kernel
    format : str
        One of `FORMATS`.
    name : str, optional
        What a TOML file calls it, which must be its stem; by default the kernel's own name.

    Raises
    ------
    KernelError
        Where the form cannot hold the kernel: several filters, a bias, or taps across channels.
    """
    _check(kernel, format)
    if format in BINARY:
        return _binary(kernel, format)
    if format == "toml":
        return _toml(kernel, name or kernel.name).encode()
    rows = [[_digits(tap) for tap in row] for row in kernel.weights[0].tolist()]
    height, width = kernel.shape
    match format:
        case "csv":
            text = "\n".join(",".join(row) for row in rows)
        case "mat":
            offset = _digits(kernel.bias[0]) if kernel.bias else "0"
            text = "\n".join([f"{width} {height} 1 {offset}", *(" ".join(row) for row in rows)])
        case "inline":
            text = f"{height}x{width}: " + " ".join(",".join(row) for row in rows)
        case _:
            text = "\n".join(_aligned(rows, " "))
    return f"{text}\n".encode()


def _check(kernel: Kernel, format: str) -> None:
    if len(kernel.shape) == 4:
        if format not in BINARY:
            raise KernelError(
                f"a {format} file holds [kh, kw], but {kernel.name} is HWIO "
                f"{'x'.join(map(str, kernel.shape))}",
                "export it as npy or npz",
            )
    elif kernel.filters > 1 and format not in ("toml", "npz"):
        first = (*kernel.filter_names, "0")[0]
        raise KernelError(
            f"{format} holds one filter, but {kernel.name} has {kernel.filters}",
            f"pick one, as in {kernel.name}:filter={first}, or export toml or npz",
        )
    if kernel.bias and format not in ("toml", "mat"):
        raise KernelError(
            f"{format} holds no bias, but {kernel.name} has one", "export toml or mat"
        )


def _binary(kernel: Kernel, format: str) -> bytes:
    import numpy as np

    weights = kernel.weights
    if weights.ndim == 4 or kernel.filters == 1:
        arrays = {kernel.name: weights if weights.ndim == 4 else weights[0]}
    else:
        names = kernel.filter_names or tuple(map(str, range(kernel.filters)))
        arrays = dict(zip(names, weights, strict=True))
    members = {}
    for name, array in arrays.items():
        stream = io.BytesIO()
        np.save(stream, array, allow_pickle=False)
        members[name] = stream.getvalue()
    if format == "npy":
        return next(iter(members.values()))
    # numpy.savez would take some names for its own arguments.
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return stream.getvalue()


def _toml(kernel: Kernel, name: str) -> str:
    used = ", ".join(f"{s.name}={s.value}" for s in kernel.parameters)
    lines = [f"name = {_string(name)}"]
    lines.append(f"description = {_string(kernel.description or f'Exported from {kernel.name}')}")
    for key in ("source", "meaning"):
        if value := getattr(kernel, key):
            lines.append(f"{key} = {_string(value)}")
    if kernel.combine:
        lines.append(f"combine = {_string(kernel.combine)}")
    if kernel.bias:
        lines.append(f"bias = [{', '.join(map(_digits, kernel.bias))}]")
    if used:
        lines.append(f"# {kernel.name}: {used}")
    for f, taps in enumerate(kernel.weights.tolist()):
        if kernel.filters > 1 or kernel.filter_names:
            lines += ["", "[[filters]]"]
        if kernel.filter_names:
            lines.append(f"name = {_string(kernel.filter_names[f])}")
        rows = _aligned([[_digits(tap) for tap in row] for row in taps], ", ")
        lines += ["taps = [", *(f"  [{row}]," for row in rows), "]"]
    return "\n".join(lines) + "\n"


def _string(text: str) -> str:
    # JSON's escapes are a subset of TOML's, but for DEL, which TOML wants escaped as well.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _digits(value: float) -> str:
    """Write a number so that reading it gives the same number."""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def _aligned(rows: list[list[str]], separator: str) -> list[str]:
    width = max(len(cell) for row in rows for cell in row)
    return [separator.join(cell.rjust(width) for cell in row) for row in rows]
