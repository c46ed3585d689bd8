"""Arrays out of files of several: what is read, in which order of axes, and what is said."""

import json
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

from convtool import bank, kernels
from convtool.errors import KernelError, UsageError
from convtool.kernels import tensors
from convtool.terms import Op

# Every element tells its place: o, i, h, w of a kernel with 4 filters over 3 channels, 2x5 taps.
OIHW = np.arange(4 * 3 * 2 * 5, dtype=np.float32).reshape(4, 3, 2, 5)
HWIO = np.einsum("oihw->hwio", OIHW)


def checkpoint(path, **arrays):
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)
    return path


def raw_checkpoint(path, entries):
    """Write a file of any types: name → (dtype, shape, bytes)."""
    header, data = {}, b""
    for name, (dtype, shape, content) in entries.items():
        header[name] = {
            "dtype": dtype,
            "shape": shape,
            "data_offsets": [len(data), len(data) + len(content)],
        }
        data += content
    head = json.dumps(header).encode()
    path.write_bytes(len(head).to_bytes(8, "little") + head + data)
    return path


# ---------------------------------------------------------------- reading


def test_a_layer_of_a_checkpoint_is_a_kernel(tmp_path):
    path = checkpoint(tmp_path / "net.safetensors", **{"conv1.weight": HWIO, "fc": np.eye(2)})
    kernel = bank.load([f"{path}:conv1.weight"])
    assert (kernel.name, kernel.shape, kernel.filters) == ("net", (2, 5, 3, 4), 4)
    assert kernel.weights.dtype == np.float64
    assert np.array_equal(kernel.weights, HWIO)
    assert kernels.load(f"{path}:fc").weights.tolist() == [[[1, 0], [0, 1]]]


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int8", "uint8", "int64"])
def test_types(tmp_path, dtype):
    array = np.array([[-1, 2], [3, 1]]).astype(dtype)
    path = checkpoint(tmp_path / "a.safetensors", only=array)
    found = tensors.read(path)
    assert found.dtype == dtype
    assert np.array_equal(found, array)


def test_bfloat16_is_the_upper_half_of_float32(tmp_path):
    # 1, -2, 0.15625 and infinity, of which the lower halves are 0.
    halves = np.array([0x3F80, 0xC000, 0x3E20, 0x7F80], "<u2").tobytes()
    entries = {
        "a": ("F32", [1], b"\0\0\0\0"),
        "b": ("BF16", [2, 2], halves),
        "c": ("F16", [1], b"\0<"),
    }
    path = raw_checkpoint(tmp_path / "a.safetensors", entries)
    found = tensors.read(path, "b")
    assert found.dtype == np.float32
    assert found.tolist() == [[1, -2], [0.15625, np.inf]]
    assert tensors.read(path, "c").tolist() == [1]


def test_a_type_that_numpy_lacks(tmp_path):
    path = raw_checkpoint(tmp_path / "a.safetensors", {"w": ("F8_E4M3", [2], b"\1\2")})
    with pytest.raises(KernelError, match="numbers of w are stored as F8_E4M3, which") as caught:
        tensors.read(path, "w")
    assert caught.value.hint == "save it as float32"


@pytest.mark.parametrize("name", ["net.safetensors", "net.npz"])
def test_what_a_file_holds_is_listed(tmp_path, name):
    arrays = {f"layer{n:02}": np.zeros((2, n + 1), np.float32) for n in range(14)}
    arrays["layer03"] = np.zeros((3, 3, 1, 8), np.float32)
    path = tmp_path / name
    if name.endswith(".npz"):
        np.savez(path, **arrays)
    else:
        checkpoint(path, **arrays)
    with pytest.raises(KernelError) as caught:
        kernels.load(f"{path}:layer3")
    assert caught.value.message.startswith(f"{path}: it holds layer00 (2x1), layer01 (2x2), ")
    assert caught.value.message.endswith("layer11 (2x12) and 2 more, but no 'layer3'")
    assert caught.value.hint in [f"did you mean {other}?" for other in ("layer03", "layer13")]
    with pytest.raises(KernelError, match="one array must be chosen of the 14 in it") as caught:
        kernels.load(str(path))
    assert caught.value.hint == f"write {path}:layer03"  # the first that can be a layer


def test_a_layer_is_not_yet_one_of_its_arrays(tmp_path):
    arrays = {"conv1.bias": np.zeros(2), "conv1.weight": HWIO, "conv10.bias": np.zeros(2)}
    path = checkpoint(tmp_path / "net.safetensors", **arrays)
    with pytest.raises(KernelError, match="but no 'conv1'") as caught:
        kernels.load(f"{path}:conv1")
    assert caught.value.hint == "did you mean conv1.bias or conv1.weight?"
    with pytest.raises(KernelError, match="but no 'zzz'") as caught:
        kernels.load(f"{path}:zzz")
    assert caught.value.hint == ""


def test_a_file_without_arrays_and_one_that_is_damaged(tmp_path):
    path = checkpoint(tmp_path / "a.safetensors")
    with pytest.raises(KernelError, match=r"a\.safetensors: this \.safetensors file holds no arr"):
        kernels.load(str(path))
    path.write_bytes(b"\xff" * 40)
    with pytest.raises(KernelError, match=r"this is no \.safetensors file, or it is damaged: Err"):
        kernels.load(str(path))
    with pytest.raises(KernelError, match=r"ab\.safetensors: no such file") as caught:
        kernels.load(str(tmp_path / "ab.safetensors"))
    assert caught.value.hint == "did you mean a.safetensors?"
    # The type alone makes no two names alike.
    with pytest.raises(KernelError, match=r"net\.safetensors: no such file") as caught:
        kernels.load(str(tmp_path / "net.safetensors"))
    assert caught.value.hint == ""


def test_without_the_library_it_is_said_what_to_install(tmp_path, monkeypatch):
    path = checkpoint(tmp_path / "a.safetensors", only=np.eye(2))
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(KernelError, match="read by safetensors, which is not installed") as caught:
        kernels.load(str(path))
    assert caught.value.hint == "pip install safetensors"


def test_the_library_is_imported_for_its_files_alone():
    code = "import sys; from convtool import bank; bank.load(['sobel']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "convtool.kernels.tensors" in done.stdout.split()
    assert not {"safetensors", "numpy"} & set(done.stdout.split())


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("net.pth:conv1.weight", "safetensors.torch.save_file(model.state_dict(), 'wei"),
        ("net.pt", "safetensors.torch.save_file"),
        ("net.h5", "numpy.save('kernel.npy', layer.get_weights()[0])"),
    ],
)
def test_other_checkpoints_are_told_how_to_come_in(tmp_path, monkeypatch, text, hint):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(KernelError, match="is no kernel file's suffix") as caught:
        kernels.load(text)
    assert hint in caught.value.hint
    path = text.partition(":")[0]
    (tmp_path / path).write_bytes(b"PK")
    with pytest.raises(KernelError, match="a kernel file ends in") as caught:
        kernels.load(path)
    assert hint in caught.value.hint


# ---------------------------------------------------------------- layouts


@pytest.mark.parametrize("layout", ["", "HWIO", "OIHW", "oihw", "OHWI", "IOHW"])
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors"])
def test_axes_are_brought_into_order(tmp_path, layout, suffix):
    stored = np.einsum(f"hwio->{layout.lower() or 'hwio'}", HWIO)
    path = tmp_path / f"net{suffix}"
    match suffix:
        case ".npy":
            np.save(path, stored)
        case ".npz":
            np.savez(path, only=stored)
        case _:
            checkpoint(path, only=stored)
    kernel = bank.load([str(path)], layout=layout)
    assert kernel.shape == (2, 5, 3, 4)
    assert np.array_equal(kernel.weights, HWIO)


def test_a_kernel_of_a_transposed_convolution(tmp_path):
    # PyTorch's ConvTranspose2d holds [in, out/groups, kh, kw].
    iohw = np.einsum("hwio->iohw", HWIO)
    path = checkpoint(tmp_path / "net.safetensors", up=iohw)
    kernel = bank.load([f"{path}:up"], layout="IOHW", op=Op.CONV2D_TRANSPOSE)
    assert kernel.shape == (2, 5, 4, 3)
    assert np.array_equal(kernel.weights, np.einsum("hwio->hwoi", HWIO))


def test_a_filter_of_two_axes_stands_the_same_way_everywhere(tmp_path):
    np.save(tmp_path / "a.npy", [[1, 2, 3]])
    for text in (str(tmp_path / "a.npy"), "1 2 3"):
        assert bank.load([text], layout="OIHW").weights.tolist() == [[[1, 2, 3]]]


@pytest.mark.parametrize(
    ("layout", "op", "hint"),
    [
        ("NCHW", Op.CONV2D, "HWIO as it is used here; PyTorch saves OIHW"),
        ("OIH", Op.CONV2D_TRANSPOSE, "HWOI as it is used here; PyTorch saves IOHW"),
    ],
)
def test_a_layout_that_is_none(tmp_path, layout, op, hint):
    np.save(tmp_path / "a.npy", HWIO)
    with pytest.raises(UsageError, match=f"each once, but '{layout}' does not") as caught:
        bank.load([str(tmp_path / "a.npy")], layout=layout, op=op)
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("shape", "layout", "op", "channels", "groups", "fits"),
    [
        ((64, 3, 7, 7), "", Op.CONV2D, 3, 1, "OIHW"),
        ((64, 3, 7, 7), "HWIO", Op.CONV2D, 3, 1, "OIHW"),
        ((7, 7, 3, 64), "", Op.CONV2D, 1, 1, ""),  # one channel more or less: no layout's fault
        ((7, 7, 3, 64), "", Op.CONV2D, 3, 1, ""),  # it fits as it is
        ((32, 1, 3, 3), "", Op.CONV2D, 32, 32, "OIHW"),
        ((32, 1, 3, 3), "", Op.CONV2D, 24, 24, ""),  # 32 filters make no 24 groups
        # An HWIO kernel said to be OIHW: h w i o → "o i h w" → [h', w', i', o'] = (3, 64, 7, 7).
        ((3, 64, 7, 7), "OIHW", Op.CONV2D, 3, 1, "HWIO"),
        ((3, 3, 64, 128), "", Op.CONV2D, 3, 1, ""),  # a 3x3 kernel, and not one of 64x128
        ((100, 64, 4, 4), "", Op.CONV2D_TRANSPOSE, 100, 1, "IOHW"),
        ((4, 4), "", Op.CONV2D, 3, 1, ""),
    ],
)
def test_which_layout_would_fit(shape, layout, op, channels, groups, fits):
    assert tensors.fitting_layout(shape, layout, op, channels, groups) == fits


# ---------------------------------------------------------------- rows of numbers


def test_biases(tmp_path):
    path = checkpoint(tmp_path / "net.safetensors", bias=np.float32([0.5, -1]), one=np.float32(3))
    np.save(tmp_path / "b.npy", np.ones((1, 1, 1, 3), np.float16))
    assert tensors.vector("0.5, -1 1/4").tolist() == [0.5, -1, 0.25]
    found = tensors.vector("net.safetensors:bias", tmp_path)
    assert found.dtype == np.float64
    assert found.tolist() == [0.5, -1]
    assert tensors.vector(f"{path}:one").tolist() == [3]
    assert tensors.vector("b.npy", tmp_path).tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 3)), "one row of real numbers is needed, but the array is float64 of shape"),
        (np.array([1j]), "but the array is complex128 of shape 1"),
        (np.array([1, np.nan]), "1 of 2 numbers are nan or infinite"),
    ],
)
def test_arrays_that_are_no_biases(tmp_path, array, message):
    np.save(tmp_path / "b.npy", array)
    with pytest.raises(KernelError, match=message):
        tensors.vector("b.npy", tmp_path)


def test_biases_that_are_missing(tmp_path):
    with pytest.raises(KernelError, match=r"b\.npy: no such file"):
        tensors.vector("b.npy", tmp_path)
    with pytest.raises(KernelError, match="'none' is not a number"):
        tensors.vector("none")


def test_a_kernels_file_begins_at_the_folder_given():
    from pathlib import Path

    nets = Path("nets")
    for text, expected in {
        "net.safetensors:a.weight": "nets/net.safetensors:a.weight",
        "k.npz:a": "nets/k.npz:a",
        "k.csv": "nets/k.csv",
        "spot.PNG": "nets/spot.PNG",
        "/far/k.npy": "/far/k.npy",
        "gaussian:sigma=1.5": "gaussian:sigma=1.5",
        "1x2: .5 .5": "1x2: .5 .5",
    }.items():
        assert kernels.from_folder(text, nets) == expected
