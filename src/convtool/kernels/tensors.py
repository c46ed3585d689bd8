"""Arrays out of files: ``.npy``, ``file.npz:name`` and ``file.safetensors:name``.

A file of several arrays is often a checkpoint, the weights of a whole network, so what it holds is
named with shapes, and an array may stand in the order of axes of the framework that saved it.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convtool.errors import KernelError, UsageError, did_you_mean
from convtool.geometry import size_text
from convtool.kernels.reading import number, read_bytes
from convtool.terms import Op

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SUFFIXES = (".npy", ".npz", ".safetensors")
HOLDERS = (".npz", ".safetensors")  # of several arrays: the name follows a colon
INSTALL = "pip install safetensors"

# The order of a kernel's axes that the engines read.
ORDERS = {Op.CONV2D: "HWIO", Op.CONV2D_TRANSPOSE: "HWOI"}

# The orders that kernels are saved in: TensorFlow's and JAX's; PyTorch's and ONNX's. Everywhere the
# kernel of a transposed convolution is that of the convolution which it is the gradient of.
LAYOUTS = {Op.CONV2D: ("HWIO", "OIHW"), Op.CONV2D_TRANSPOSE: ("HWOI", "IOHW")}

# What safetensors stores and NumPy has a type for; bfloat16 is read here.
_PLAIN = frozenset("F64 F32 F16 I64 I32 I16 I8 U64 U32 U16 U8 BOOL".split())
_LISTED = 12


def split(text: str) -> tuple[Path, str]:
    """Split ``file.npz:name`` and ``file.safetensors:name``; other texts are paths as they stand.

    Examples
    --------
    >>> split("net.safetensors:conv1.weight")[1], split("edge.npy")[1]
    ('conv1.weight', '')
    """
    path, colon, member = text.rpartition(":")
    if colon and path.lower().endswith(HOLDERS):
        return Path(path), member
    return Path(text), ""


def read(path: Path, member: str = "") -> "NDArray[Any]":
    """Read an array of any rank.

    Parameters
    ----------
    path : Path
        Ends in one of `SUFFIXES`.
    member : str
        Which array of a file of several; may be left out where there is but one.

    Returns
    -------
    ndarray
        In the type that it is stored in; bfloat16 as float32.

    Raises
    ------
    KernelError
        Where it cannot be read; the message does not name the file.

    Source
    ------
    NumPy's NEP 1; huggingface/safetensors, "Format".
    """
    match path.suffix.lower():
        case ".npy":
            return _npy(path)
        case ".npz":
            return _npz(path, member)
        case _:
            return _safetensors(path, member)


def vector(text: str, folder: Path = Path()) -> "NDArray[np.float64]":
    """Read numbers in one row, as the biases of a layer are.

    Parameters
    ----------
    text : str
        ``0.1,0.2``, or a file's array: ``net.safetensors:conv1.bias``.
    folder : Path
        What a file's relative name begins at.

    Returns
    -------
    ndarray (n,), float64

    Raises
    ------
    KernelError
        Where it cannot be read, or is not one row of finite real numbers; names the file.
    """
    import numpy as np

    path, member = split(text)
    if path.suffix.lower() not in SUFFIXES:
        return np.array([number(token) for token in re.split(r"[,\s]+", text.strip())])
    try:
        array = read(folder / path, member)
    except KernelError as error:
        raise error.within(str(folder / path)) from None
    if array.dtype.kind not in "biuf" or array.size != max(array.shape, default=1):
        raise KernelError(
            f"{text}: one row of real numbers is needed, but the array is {array.dtype} of shape "
            f"{_shape_text(array.shape)}"
        )
    row = array.astype(np.float64).reshape(-1)
    bad = int(row.size - np.isfinite(row).sum())
    if bad:
        raise KernelError(f"{text}: {bad} of {row.size} numbers are nan or infinite")
    return row


def arranged(array: "NDArray[Any]", layout: str, order: str) -> "NDArray[Any]":
    """Bring an array's axes into the order wanted.

    Parameters
    ----------
    array : ndarray
        One of another rank than `order` has letters is returned as it is: a filter of two axes
        stands the same way everywhere.
    layout : str
        A letter for each axis as it is stored, as in ``OIHW`` (PyTorch's Conv2d) or ``IOHW`` (its
        ConvTranspose2d); empty where it is in order.
    order : str
        The same letters as wanted: ``HWIO``, ``HWOI``, or ``IO`` for a matrix.

    Returns
    -------
    ndarray
        A view.

    Raises
    ------
    UsageError
        Where the layout does not name those axes.
    """
    letters = layout.strip().upper()
    if letters and sorted(letters) != sorted(order):
        raise UsageError(
            f"a layout names the axes {', '.join(order)}, each once, but {layout!r} does not",
            f"{order} as it is used here; PyTorch saves "
            + {"HWIO": "OIHW", "HWOI": "IOHW"}.get(order, order[::-1]),
        )
    if not letters or array.ndim != len(order):
        return array
    return array.transpose([letters.index(letter) for letter in order])


def fitting_layout(
    shape: Sequence[int], layout: str, op: Op, channels: int, groups: int = 1
) -> str:
    """Return the order of axes in which a kernel would take an image's channels.

    Parameters
    ----------
    shape : sequence of int
        Of a kernel that does not fit, in the order of the engines.
    layout : str
        The order that it was read in.
    op : Op
    channels, groups : int

    Returns
    -------
    str
        The first of the frameworks' orders that fits and looks like a kernel, or nothing.

    Examples
    --------
    >>> fitting_layout((64, 3, 7, 7), "", Op.CONV2D, 3)
    'OIHW'
    """
    if len(shape) != 4:
        return ""
    order = ORDERS[op]
    taken = layout.strip().upper() or order
    stored = {letter: shape[order.index(letter)] for letter in order}
    sizes = [stored[letter] for letter in taken]
    for other in LAYOUTS[op]:
        size = dict(zip(other, sizes, strict=True))
        takes = size["I"] if op is Op.CONV2D_TRANSPOSE else size["I"] * groups
        split_evenly = (size["I"] if op is Op.CONV2D_TRANSPOSE else size["O"]) % groups == 0
        # A 3x3 kernel of 64 channels is not taken for one of 64x64 taps and 3 channels.
        likely = max(size["H"], size["W"]) <= max(size["I"], size["O"])
        # But where that makes the taps square, and they were not.
        likely |= size["H"] == size["W"] and shape[0] != shape[1]
        if other != taken and takes == channels and split_evenly and likely:
            return other
    return ""


def advice(suffix: str) -> str:
    """Say how the weights in a file that is not read here are saved so that they are."""
    if suffix.lower() in (".pt", ".pth", ".ckpt", ".bin"):
        return (
            "in PyTorch, safetensors.torch.save_file(model.state_dict(), 'weights.safetensors') "
            "saves them so that they can be read"
        )
    if suffix.lower() in (".h5", ".keras", ".weights"):
        return (
            "in Keras, numpy.save('kernel.npy', layer.get_weights()[0]) saves one that can be read"
        )
    return ""


def _npy(path: Path) -> "NDArray[Any]":
    import numpy as np

    if read_bytes(path, 6) != b"\x93NUMPY":
        raise KernelError("this is not a .npy file", "numpy.save writes one")
    try:
        # A map of the file: a header that claims more than the file holds costs no memory.
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (ValueError, EOFError, OSError) as error:
        raise _array_fault(error) from None


def _npz(path: Path, member: str) -> "NDArray[Any]":
    import zipfile

    import numpy as np

    if read_bytes(path, 2) != b"PK":
        raise KernelError("this is not a .npz file", "numpy.savez writes one")
    try:
        # Opened here, because np.load leaves a file open that it cannot read.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            names = list(archive.files)
            return np.asarray(archive[_chosen(path, member, names, lambda n: _npz_shape(file, n))])
    except KernelError:
        raise
    except (ValueError, EOFError, OSError, MemoryError, zipfile.BadZipFile) as error:
        raise _array_fault(error) from None


def _npz_shape(file: Any, name: str) -> tuple[int, ...]:
    """Return the shape of an array of a .npz file, of which only the header is read."""
    import zipfile

    from numpy.lib import format as npy

    with zipfile.ZipFile(file) as archive, archive.open(f"{name}.npy") as stream:
        read_header = {(1, 0): npy.read_array_header_1_0}.get(
            npy.read_magic(stream), npy.read_array_header_2_0
        )
        return tuple(read_header(stream)[0])


def _array_fault(error: Exception) -> KernelError:
    """Say in our words what NumPy found wrong."""
    if re.search("python object|object arrays|pickle", str(error), re.IGNORECASE):
        return KernelError(
            "arrays of Python objects are never opened, as that can run any code",
            "save the taps as float64",
        )
    return KernelError("the file is damaged, or cut short", "save it again")


def _safetensors(path: Path, member: str) -> "NDArray[Any]":
    read_bytes(path, 1)  # which says in our words what keeps it from being read
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:
        raise KernelError(
            "a .safetensors file is read by safetensors, which is not installed", INSTALL
        ) from None
    try:
        with safe_open(path, "numpy") as file:
            name = _chosen(path, member, list(file.keys()), lambda n: file.get_slice(n).get_shape())
            stored = file.get_slice(name).get_dtype()
            if stored in _PLAIN:
                return file.get_tensor(name)
    except (SafetensorError, OSError) as error:
        raise KernelError(f"this is no .safetensors file, or it is damaged: {error}") from None
    if stored == "BF16":
        return _bfloat16(path, name)
    raise KernelError(
        f"the numbers of {name} are stored as {stored}, which NumPy has no type for",
        "save it as float32",
    )


def _bfloat16(path: Path, name: str) -> "NDArray[np.float32]":
    """Read what NumPy has no type for: the upper halves of float32 numbers.

    The file is one that safetensors has found sound: the length of a header in eight bytes, the
    header in JSON, and the arrays.
    """
    import json

    import numpy as np

    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(length))[name]
        first, end = entry["data_offsets"]
        file.seek(8 + length + first)
        halves = np.frombuffer(file.read(end - first), "<u2")
    return (halves.astype(np.uint32) << 16).view(np.float32).reshape(entry["shape"])


def _chosen(
    path: Path, member: str, names: Sequence[str], shape_of: Callable[[str], Sequence[int]]
) -> str:
    """Return the name of the array that is meant, or say what there is."""
    if not names:
        suffix = path.suffix.lower()
        raise KernelError(
            f"this {suffix} file holds no array", "numpy.savez writes one" * (suffix == ".npz")
        )
    if member in names:
        return member
    if not member and len(names) == 1:
        return names[0]
    shapes = {name: tuple(shape_of(name)) for name in names[:_LISTED]}
    held = ", ".join(f"{name} ({_shape_text(shape)})" for name, shape in shapes.items())
    if len(names) > _LISTED:
        held += f" and {len(names) - _LISTED} more"
    if member:
        raise KernelError(f"it holds {held}, but no {member!r}", _meant(member, names))
    likely = next((name for name, shape in shapes.items() if len(shape) == 4), names[0])
    raise KernelError(
        f"one array must be chosen of the {len(names)} in it: {held}", f"write {path}:{likely}"
    )


def _meant(member: str, names: Sequence[str]) -> str:
    """Return a hint: the arrays of the layer that was named, or what is spelt most like it."""
    of_layer = [name for name in names if name.startswith(f"{member}.")][:3]
    if of_layer:
        return f"did you mean {' or '.join(of_layer)}?"
    near = did_you_mean(member, names)
    return near if near.startswith("did") else ""


def _shape_text(shape: Sequence[int]) -> str:
    return size_text(shape) or "a single number"
