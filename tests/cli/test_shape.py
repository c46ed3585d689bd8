"""`convtool shape` as a person and a script use it."""

import json

import pytest
from PIL import Image

from shell import run


def layer(*arguments):
    ran = run("shape", *arguments, "--json")
    assert ran.code == 0, ran.err
    [line] = ran.out.splitlines()
    record = json.loads(line)
    assert record["output_shape"] == record["layers"][-1]["output_shape"]
    [only] = record["layers"]
    return only


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["5x5x5", "-k", "3x3x5x7"], [1, 5, 5, 7]),
        (["5x5x5", "-k", "3x3", "--filters", "7", "--stride", "2"], [1, 3, 3, 7]),
        (["10x5x5x5", "-k", "3x3x5x7", "--stride", "2"], [10, 3, 3, 7]),
        (["4x4x3", "-k", "3x3", "--filters", "1", "--stride", "2"], [1, 2, 2, 1]),
        (["6x6x3", "-k", "3", "--filters", "1", "--stride", "2"], [1, 3, 3, 1]),
        (["4x4x3", "-k", "3x3", "--stride", "2", "--padding", "valid"], [1, 1, 1, 3]),
        (["6x6x3", "-k", "3x3", "--stride", "2", "-p", "VALID"], [1, 2, 2, 3]),
        (["28x28x1", "-k", "3x3", "--filters", "32"], [1, 28, 28, 32]),
        (["28x28", "-k", "3x3", "--stride", "3", "-p", "fit"], [1, 10, 10, 1]),
        (["28x28x4", "-k", "3x3", "--filters", "8", "--groups", "2"], [1, 28, 28, 8]),
        (["28x28x3", "-k", "sobel"], [1, 28, 28, 6]),
        (["28x28x3", "-k", "gaussian:sigma=2", "-p", "valid"], [1, 16, 16, 3]),
        (["28x28x1", "-k", "2x2: 1 2 3 4", "-p", "full"], [1, 29, 29, 1]),
    ],
)
def test_output_shapes(arguments, expected):
    assert layer(*arguments)["output_shape"] == expected


def test_the_keys_that_stay():
    found = layer("224x224x3", "-k", "7x7", "--filters", "64", "--stride", "2")
    assert found == {
        "op": "conv2d",
        "input_shape": [1, 224, 224, 3],
        "output_shape": [1, 112, 112, 64],
        "kernel_shape": [7, 7, 3, 64],
        "filters": 64,
        "stride": [2, 2],
        "dilation": [1, 1],
        "groups": 1,
        "padding": {"mode": "same", "top": 2, "bottom": 3, "left": 2, "right": 3},
        "border": "zero",
        "dropped": {"rows": 0, "cols": 0},
        "windows": 112 * 112,
        "parameters": 7 * 7 * 3 * 64,
        "macs": 112 * 112 * 7 * 7 * 3 * 64,
        "receptive_field": {"size": [7, 7], "jump": [2, 2], "start": [1.0, 1.0]},
        "notes": [
            {
                "code": "odd-padding",
                "message": "the odd row is at the bottom, the odd column is at the right",
                "hint": "",
            }
        ],
    }


def test_the_table():
    ran = run("shape", "28x28x1", "-k", "3x3", "--filters", "32", "--stride", "2", "-p", "valid")
    assert ran.code == 0
    for part in (
        "1x28x28x1",
        "3x3x1x32",
        "1x13x13x32",
        "floor((28 + 0 + 0 - 3) / 2) + 1 = 13",
        "dropped     the last 1 row and 1 column are read by no window",
        "13x13 = 169 in each image",
        "288   320 with a bias",
        "48,672 multiply-adds",
        "field 3x3, jump 2x2, first centre at 1, 1",
    ):
        assert part in ran.out, ran.out
    assert max(map(len, ran.out.splitlines())) <= 100


def test_an_image_is_read_by_its_header(tmp_path):
    Image.new("RGBA", (30, 20)).save(tmp_path / "a.png")
    assert layer(tmp_path / "a.png", "-k", "3x3")["input_shape"] == [1, 20, 30, 4]


@pytest.mark.parametrize(
    ("arguments", "code", "message", "hint"),
    [
        (["28x28", "-k", "3x3", "--stride", "0"], 2, "stride must be at least 1, but is 0", ""),
        (["28x28", "-k", "3x3", "--stride", "2", "-p", "fit"], 1, "no solution", "27 or 29"),
        (["5x5", "-k", "7x7", "-p", "valid"], 1, "no window fits the height", "padding same"),
        (["5x5x4", "-k", "3x3x3x8"], 1, "takes 3 input channels, but the images have 4", "3x3x4x8"),
        (["5x5x4", "-k", "3x3", "--filters", "8", "--groups", "3"], 1, "3 does not divide 4", "2"),
        (["none.png", "-k", "3x3"], 1, "none.png", ""),
        (["5x5", "-k", "sobl"], 2, "sobl", "sobel"),
        (["5x5", "-k", "sobel", "--filters", "3"], 2, "has filters of its own", "--filters 32"),
        (["5x5", "-k", "3x3", "--filters", "0"], 2, "filters are at least 1", ""),
        (["3,28,28", "-k", "3x3"], 2, "a size is written HxW", "480x640x3"),
        (["5x5x5x5x5", "-k", "3x3"], 2, "2, 3 or 4 numbers", "480x640x3"),
    ],
)
def test_what_cannot_be(arguments, code, message, hint):
    ran = run("shape", *arguments)
    assert (ran.code, ran.out) == (code, "")
    assert ran.err.startswith("error: ")
    assert message in ran.err
    assert hint in ran.err
    assert "Traceback" not in ran.err


def test_standard_input_and_one_number(tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    ran = run("shape", "-", "-k", "3x3", "--json", stdin=data[:100])
    assert json.loads(ran.out)["output_shape"] == [1, 20, 30, 3]
    assert layer("28", "-k", "3x3")["input_shape"] == [1, 28, 28, 1]


def test_the_formula_holds_as_it_stands():
    ran = run("shape", "14x14", "-k", "3x3", "--dilation", "2")
    assert "floor((14 + 2 + 2 - ((3 - 1)·2 + 1)) / 1) + 1 = 14" in ran.out
    ran = run("shape", "224x224x3", "-k", "7x7", "--stride", "2", "-p", "3")
    assert "dropped     1 row and 1 column of padding at the end are unused" in ran.out
    ran = run("shape", "28x28", "-k", "3x3", "--stride", "5", "-p", "valid")
    assert "dropped     nothing at the end, but the stride leaves gaps" in ran.out
