"""What a --kernel text may be; inline kernels; no NumPy before weights."""

import os
import subprocess
import sys

import numpy as np
import pytest

from convtool import kernels
from convtool.errors import KernelError
from convtool.kernels import Kernel

SOBEL = [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("3x3: -1,0,1 -2,0,2 -1,0,1", SOBEL),
        ("3x3:-1 0 1;-2 0 2;-1 0 1", SOBEL),
        ("3: -1,0,1,-2,0,2,-1,0,1", SOBEL),
        ("3X3:\n-1 0 1\n-2 0 2\n-1 0 1\n", SOBEL),
        ("-1,0,1 -2,0,2 -1,0,1", SOBEL),
        ("-1 0 1; -2 0 2; -1 0 1", SOBEL),
        ("-1, 0, 1\n-2, 0, 2\n-1, 0, 1", SOBEL),
        ("1 -1", [[1, -1]]),
        ("1,-1", [[1, -1]]),
        ("1, -1", [[1, -1]]),
        ("1;-1", [[1], [-1]]),
        ("2x1: 1 -1", [[1], [-1]]),
        ("1x2: 1 -1", [[1, -1]]),
        ("1/4 1/2 1/4", [[0.25, 0.5, 0.25]]),
        (".5 +.5", [[0.5, 0.5]]),
        ("1e-1,2E0", [[0.1, 2]]),
        ("−1 1", [[-1, 1]]),
        ("7", [[7]]),
    ],
)
def test_inline(text, rows):
    kernel = kernels.load(text)
    assert (kernel.name, kernel.origin, kernel.filters) == ("kernel", "inline", 1)
    assert kernel.shape == np.shape(rows)
    assert kernel.weights.tolist() == [rows]


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (
            "3x3: 1 2 3 4 5 6 7 8",
            "inline kernel: 3x3 needs 9 taps, but 8 are given",
            "sizes are height x width",
        ),
        ("2: 1 2 3", "inline kernel: 2x2 needs 4 taps, but 3 are given", ""),
        ("3x3:", "inline kernel: 3x3 needs 9 taps, but 0 are given", ""),
        ("3x3: 1", "inline kernel: 3x3 needs 9 taps, but 1 is given", ""),
        (
            "1 2; 3",
            "inline kernel: rows must have one length, but row 2 has 1 taps and row 1 has 2",
            "say the size",
        ),
        ("1 2 three", "inline kernel: 'three' is not a number", "1/9"),
        ("1_0 2", "inline kernel: '1_0' is not a number", ""),
        ("1 nan", "inline kernel: taps must be finite, but one is nan", ""),
        ("1 1e999", "inline kernel: taps must be finite, but one is 1e999", ""),
        ("1/0 2", "inline kernel: '1/0' divides by zero", ""),
        ("0x3: ", "a kernel has at least 1x1 taps, but 0x3 are asked for", ""),
        (
            "99999x99999: 1",
            "a kernel has at most 2047 taps a side, but 99999x99999 are asked for",
            "",
        ),
        ("3x3", "3x3 is a size without taps", 'write the taps too: "3x3: …"'),
        ("", "a kernel's name is empty", "try sobel"),
        ("edges/sobel", "edges/sobel: no such file", "kernel files end in .toml"),
        ("kernel.xml", "kernel.xml: .xml is no kernel file's suffix", ".toml, .npy, .npz"),
        ("photo.png", "photo.png: .png is no kernel file's suffix", "a kernel is a preset"),
    ],
)
def test_what_names_nothing_is_said(text, message, hint):
    with pytest.raises(KernelError) as caught:
        kernels.load(text)
    assert caught.value.message == message
    assert hint in caught.value.hint


def test_a_file_of_another_suffix_is_refused_with_those_that_can_be_read(tmp_path):
    path = tmp_path / "kernel.xml"
    path.write_text("1 2")
    with pytest.raises(KernelError, match=r"ends in \.toml, .* but this one in \.xml") as caught:
        kernels.load(str(path))
    assert "inline" in caught.value.hint


def test_a_file_that_looks_like_taps_is_a_file_and_hides_no_preset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "1 2.csv").write_text("3,4")
    (tmp_path / "sobel").write_text("not a kernel")
    assert kernels.load("1 2.csv").weights.tolist() == [[[3, 4]]]
    assert kernels.load("sobel").filters == 2


@pytest.mark.parametrize(
    ("array", "shape", "filters"),
    [
        (np.eye(3), (3, 3), 1),
        (np.eye(3, dtype=bool), (3, 3), 1),
        (np.ones((3, 2, 4, 5), np.float16), (3, 2, 4, 5), 5),
        (np.arange(6).reshape(2, 3)[:, ::-1], (2, 3), 1),
    ],
)
def test_from_array(array, shape, filters):
    kernel = Kernel.from_array("k", array, "here")
    assert (kernel.shape, kernel.filters) == (shape, filters)
    assert np.array_equal(kernel.weights.reshape(shape), array)
    before = np.array(array)
    assert kernel.weights.base is None or not np.shares_memory(kernel.weights, array)
    assert np.array_equal(array, before)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones(3), r"rank 2 or 4, but the array has rank 1 \(3\)"),
        (np.ones((3, 3, 3)), r"rank 2 or 4, but the array has rank 3 \(3x3x3\)"),
        (np.float64(3), r"rank 2 or 4, but the array has rank 0 \(a single number\)"),
        (np.ones((0, 3)), "at least one tap, but the array is 0x3"),
        (np.ones((3, 3), complex), "must be real numbers, but the array's type is complex128"),
        (np.array([["a"]]), "must be real numbers, but the array's type is <U1"),
        (np.array([[1, np.nan, np.inf]]), "must be finite, but 2 of 3 are nan or infinite"),
        (np.ones((2048, 1)), "at most 2047 taps a side, but 2048x1"),
    ],
)
def test_arrays_that_are_no_kernels(array, message):
    with pytest.raises(KernelError, match=message):
        Kernel.from_array("k", array, "here")


def test_an_image_is_its_grey_values_over_their_sum():
    kernel = Kernel.from_grey("spot", np.array([[0, 10], [20, 10]], np.uint8), "spot.png")
    assert kernel.weights.tolist() == [[[0, 0.25], [0.5, 0.25]]]
    with pytest.raises(KernelError, match="grey values over their sum, but they sum to 0"):
        Kernel.from_grey("black", np.zeros((2, 2)), "black.png")
    with pytest.raises(KernelError, match="at most 2047 taps a side, but 1x3000") as caught:
        Kernel.from_grey("photo", np.ones((1, 3000)), "photo.png")
    assert caught.value.hint == "scale the image down first"


def test_weights_are_made_once_and_cannot_be_written():
    calls = []
    kernel = Kernel("k", (1, 1), 1, lambda: calls.append(1) or np.ones((1, 1, 1)))
    assert kernel.weights is kernel.weights
    assert len(calls) == 1
    with pytest.raises(ValueError, match="read-only"):
        kernel.weights[0] = 2


def test_names_and_shapes_do_not_import_numpy(tmp_path):
    (tmp_path / "a.csv").write_text("1,2\n3,4")
    (tmp_path / "a.txt").write_text("1 2\n3 4")
    (tmp_path / "a.mat").write_text("2 1 4\n3 4")
    code = """
import sys
from convtool import kernels
names = "sobel blur gaussian:sigma=4 motion:angle=30 disk gabor:orientations=4 sobel:filter=x"
for text in [*names.split(), "3x3: 1 2 1 2 4 2 1 2 1", "1 -1", "a.csv", "a.txt", "a.mat"]:
    kernel = kernels.load(text)
    print(kernel.name, *kernel.shape, kernel.filters)
kernels.entries()
heavy = {"numpy", "PIL", "numba", "rich", "typer"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "gaussian 25 25 1" in done.stdout
    assert "gabor 29 29 4" in done.stdout


def test_inline_taps_in_brackets_and_a_forgotten_colon():
    for text in ("[[1, 2], [3, 4]]", "[[1 2][3 4]]", "2x2: 1 2 3 4"):
        assert kernels.load(text).weights.tolist() == [[[1, 2], [3, 4]]]
    assert kernels.load("[1,-1]").shape == (1, 2)
    with pytest.raises(KernelError, match="a colon stands between the size and the taps, but 2x2"):
        kernels.load("2x2 1 2 3 4")


def test_parameters_without_a_colon_are_shown_with_one():
    for text in ("gaussian=2", "gaussian sigma=2", "gaussian(2)"):
        with pytest.raises(KernelError, match="parameters follow a colon") as caught:
            kernels.load(text)
        assert caught.value.hint == "for example gaussian:sigma=1"
