"""`convtool shape` with several layers, as a person and a script use it."""

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from convtool.cli import program
from convtool.cli.completion import complete
from convtool.report.stacks import short, table
from convtool.stack.chain import chain
from convtool.stack.layers import parse_layer
from shell import run

STACKS = Path(__file__).parent.parent.parent / "docs" / "stacks"

AUTOENCODER = (
    *("--layer", "conv 3x3 x16 stride=2 relu", "--layer", "conv 3x3 x32 stride=2 relu name=code"),
    *("--layer", "transpose 4x4 x16 stride=2 relu", "--layer", "transpose 4x4 x1 stride=2"),
)


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def test_the_table_as_it_is():
    ran = run("shape", "28x28x1", *AUTOENCODER, "--at", "3,0")
    assert (ran.code, ran.err) == (0, "")
    assert (
        ran.out
        == """\
   layer      name  kernel  stride     pads    output
   input                                      28x28x1
1  conv             3x3          2  0,1,0,1  14x14x16
2  conv       code  3x3          2  0,1,0,1    7x7x32
3  transpose        4x4          2        1  14x14x16
4  transpose        4x4          2        1   28x28x1

   layer      name  parameters    macs   memory  field  jump  start  padded
   input                                3.14 kB      1     1      0
1  conv                    144  28.2 k  12.5 kB      3     2      1     14%
2  conv       code       4,608   226 k  6.27 kB      7     4      3     27%
3  transpose             8,192   401 k  12.5 kB     11     2      1     49%
4  transpose               256  50.2 k  3.14 kB  11-15     1      1     59%

pads: pixels at top, bottom, left, right. dropped: rows x columns at the end,
pads included, that no window comes to. memory: the output as float32. field:
pixels of the input that one output sees; jump: how far the next output's is;
start: the first one's centre, where 0 is the first pixel. padded: outputs that
would differ if the image went on beyond its edge.

stack       4 layers: 1x28x28x1 → 1x28x28x1
parameters  13,200   13,265 with 65 biases, one for each filter
macs        705,600 multiply-adds
memory      34.5 kB for all outputs, 53.1 kB for the parameters, in float32
            18.8 kB for input and output of one layer at a time, at most: layer 2
receptive   field 11x11 to 15x15, jump 1x1, first centre at 1, 1
            it varies from output to output, and repeats every 4x4
padded      59% of the outputs would differ if the image went on
sees        output 3,0 of layer 4 sees rows 0 to 10 and columns 0 to 6 of the image
            beyond the image: 4 columns left
note: layers 1, 2: the odd row is at the bottom, the odd column is at the right
"""
    )


def test_columns_add_up():
    ran = run("shape", "28x28x1", *AUTOENCODER)
    rows = [line.split() for line in ran.out.split("\n\n")[1].splitlines()[2:]]
    parameters = [int(next(w for w in row[2:] if w[0].isdigit()).replace(",", "")) for row in rows]
    assert sum(parameters) == 13_200
    assert ran.out.count("13,200") == 1


def test_a_single_bias():
    out = run("shape", "6x6x1", "--layer", "conv 3x3 x1").out
    assert "parameters  9   10 with 1 bias, of the one filter\n" in out


def test_a_wide_terminal_gets_one_table(monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    out = run("shape", "--stack", STACKS / "dcgan.toml").out
    assert re.search(r"^5  transpose  to64 .* 64x64x3 +3,072 +3\.15 M", out, re.MULTILINE)
    assert out.count("to64") == 1


@pytest.mark.parametrize("name", ["vgg16", "resnet50-trunk", "dcgan", "autoencoder"])
def test_stacks_of_the_documents_fit_a_terminal(name):
    ran = run("shape", "--stack", STACKS / f"{name}.toml")
    assert ran.code == 0
    too_long = [x for x in ran.out.splitlines() if len(x) > 82 and not x.startswith("note: ")]
    assert too_long == []


def test_a_long_name_is_cut_in_the_table():
    long = "conv 3 x8 name=the-first-layer-of-the-encoder"
    out = run("shape", "28x28x1", "--layer", long).out
    assert out.count("the-first-layer-of-…") == 1  # the second table has its number alone
    assert max(map(len, out.splitlines())) <= 82
    record = json.loads(run("shape", "28x28x1", "--layer", long, "--json").out)
    assert record["layers"][0]["name"] == "the-first-layer-of-the-encoder"


def test_json():
    ran = run("shape", "28x28x1", *AUTOENCODER, "--layer", "upsample 2", "--at", "3,0", "--json")
    assert ran.code == 0
    [line] = ran.out.splitlines()
    record = json.loads(line)
    assert {key: record[key] for key in record if key != "layers"} == {
        "name": "",
        "input_shape": [1, 28, 28, 1],
        "output_shape": [1, 56, 56, 1],
        "parameters": 13_200,
        "biases": 65,
        "macs": 705_600,
        "activation_bytes": 34_496 + 4 * 56 * 56,
        "sees": {
            "output": [3, 0],
            "layer": 5,
            "rows": {"field": [-4, 10], "image": [0, 10], "pixels": 11},
            "cols": {"field": [-4, 6], "image": [0, 6], "pixels": 7},
        },
    }
    assert record["layers"][1] == {
        "op": "conv2d",
        "name": "code",
        "written": "conv 3x3 x32 stride=2 relu",
        "input_shape": [1, 14, 14, 16],
        "output_shape": [1, 7, 7, 32],
        "kernel_shape": [3, 3, 16, 32],
        "stride": [2, 2],
        "dilation": [1, 1],
        "groups": 1,
        "padding": {"mode": "same", "top": 0, "bottom": 1, "left": 0, "right": 1},
        "border": "zero",
        "dropped": {"rows": 0, "cols": 0},
        "activation": "relu",
        "parameters": 4608,
        "biases": 32,
        "macs": 225_792,
        "activation_bytes": 6272,
        "receptive_field": {
            "size": [7, 7],
            "least": [7, 7],
            "jump": [4.0, 4.0],
            "start": [3.0, 3.0],
            "period": [1, 1],
        },
        "padded_share": 1 - 36 / 49,
        "notes": [
            {
                "code": "odd-padding",
                "message": "the odd row is at the bottom, the odd column is at the right",
                "hint": "",
            }
        ],
    }
    upsample = record["layers"][4]
    assert upsample.keys() == record["layers"][1].keys()
    assert (upsample["op"], upsample["stride"], upsample["padding"]) == ("upsample", None, None)
    assert upsample["kernel_shape"] is None


def test_the_tab_key_knows_kinds_and_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("net.toml", "net.png"):
        (tmp_path / name).touch()
    (tmp_path / "nets").mkdir()

    def offered(*words):
        *given, incomplete = words
        return [word.text for word in complete(program("shape"), ["shape", *given], incomplete)]

    assert offered("--layer", "d") == ["depthwise ", "dense "]
    assert offered("--layer", "conv 3") == []
    assert offered("--stack", "n") == ["net.toml", "nets/"]
    assert offered("--at", "") == []


def test_colours_do_not_break_rows(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    coloured = run("shape", "--stack", STACKS / "vgg16.toml").out
    monkeypatch.delenv("FORCE_COLOR")
    plain = run("shape", "--stack", STACKS / "vgg16.toml").out
    rows = [line.rstrip() for line in re.sub(r"\x1b\[[\d;]*m", "", coloured).splitlines()]
    assert rows[:48] == plain.splitlines()[:48]


def test_layers_follow_those_of_a_file():
    ran = run("shape", "--stack", STACKS / "autoencoder.toml", "--layer", "pool 7", "--json")
    record = json.loads(ran.out)
    assert record["name"] == "autoencoder"
    assert [layer["op"] for layer in record["layers"]][-2:] == ["conv2d_transpose", "max_pool2d"]
    assert record["output_shape"] == [1, 4, 4, 1]
    ran = run("shape", "32x20x3", "--stack", STACKS / "autoencoder.toml", "--json")
    assert json.loads(ran.out)["output_shape"] == [1, 32, 20, 1]


def test_the_input_may_be_an_image(tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    ran = run("shape", tmp_path / "a.png", "--layer", "pool 2", "--json")
    assert json.loads(ran.out)["output_shape"] == [1, 10, 15, 3]


def test_what_is_not_usual_is_said():
    out = run(
        *("shape", "5x20x20x4", "--layer", "conv 3x5 x8 dilation=2 groups=2 valid stride=3"),
        *("--layer", "depthwise 3x3", "--layer", "conv kernel=sobel", "--layer", "avgpool 2x1"),
        *("--layer", "flatten"),
    ).out
    first = r"^1  conv +3x5, dilation 2, 2 groups +3 +0 +0x2 +5x6x4x8 *$"
    assert re.search(first, out, re.MULTILINE)
    assert re.search(r"^3  conv +sobel  3x3 ", out, re.MULTILINE)
    assert re.search(r"^4  average pool +2x1 +2x1 ", out, re.MULTILINE)
    assert "5x20x20x4" in out.splitlines()[1]
    assert "multiply-adds for the 5 images" in out
    assert "of layer 4" in out
    assert "note: layer 1: " in out


def test_the_field_may_exceed_the_image_or_see_nothing():
    out = run("shape", "4x4", "--layer", "conv 9 x1", "--at", "0,0").out
    assert "that is more than the image of 4x4: it is counted without edges\n" in out
    assert "padded      all of the outputs would differ if the image went on\n" in out
    assert "sees rows 0 to 3 and columns 0 to 3 of the image" in out
    assert "beyond the image: 4 rows above, 1 row below, 4 columns left, 1 column right" in out
    out = run("shape", "4x4", "--layer", "transpose 1 x1 stride=2", "--at", "1,0").out
    assert "output 1,0 of layer 1 sees no pixel of the image" in out
    out = run("shape", "9x9", "--layer", "conv 3 x1 dilation=2 valid", "--at", "0,1").out
    assert "sees rows 0 to 4 (3 of these 5) and columns 1 to 5 (3 of these 5) of the image" in out
    out = run("shape", "4x4", "--layer", "pool 4", "--at", "0,0").out
    assert "stack       1 layer: 1x4x4x1 → 1x1x1x1" in out
    assert "padded    " not in out
    out = run("shape", "4x4", "--layer", "conv 1 x1", "--at", "2,3").out
    assert "sees row 2 and column 3 of the image" in out


def test_figures_of_an_earlier_layer_say_why():
    layers = ("--layer", "transpose 1 x1 stride=2", "--layer", "flatten", "--layer", "dense x1")
    out = run("shape", "4x4", *layers).out
    assert "field 0x0 to 1x1, jump 0.5x0.5, first centre at 0, 0 of layer 1\n" in out
    assert "            at the least nothing: some outputs have no taps\n" in out
    assert "            behind layer 2 (flatten) nothing has a place in the image\n" in out
    out = run("shape", "4x4", *layers[:2]).out
    assert "of layer 1" not in out
    assert "nothing has a place" not in out


def test_without_pads_a_larger_image_would_still_change_a_transposed_layer():
    out = run("shape", "1x1x100", "--layer", "transpose 4x4 x512 valid").out
    assert re.search(r"^1  transpose +4x4 +1 +0 +4x4x512$", out, re.MULTILINE)
    assert re.search(r"^1  transpose .* 100%$", out, re.MULTILINE)
    assert "padding " not in out
    assert "would differ if the image went on" in out


def test_what_is_not_followed_is_said():
    out = run(
        "shape", "1x1x3", *["--layer", "transpose 3 x3 stride=2"] * 13, "--layer", "flatten"
    ).out
    assert re.search(r"^13  transpose .* 805 MB +[?] +[?] +[?] +>99%$", out, re.MULTILINE)
    assert "\n?           unknown: the layers are too large, or too many, to follow" in out
    assert "note: layers 1 to 13: windows overlap unevenly" in out
    # What has no place in the image is no question.
    assert re.search(r"^14  flatten +805 MB *$", out, re.MULTILINE)
    out = run("shape", "28x28", "--layer", "conv 3 x1 stride=1000000000").out
    assert re.search(r"^1  conv .* 3 +1e\+09 +1 +[?]$", out, re.MULTILINE)
    assert "\n?           unknown: " in out
    assert "unknown" not in run("shape", "4x4", "--layer", "pool 2", "--layer", "flatten").out


def test_numbers_of_layers_are_told_in_runs():
    even, odd = ("--layer", "conv 2 x1"), ("--layer", "conv 3 x1")
    out = run("shape", "9x9", *even, *even, *odd, *even, *odd, *even * 3).out
    assert "note: layers 1, 2, 4, 6 to 8: the odd row" in out


def test_ten_thousand_layers_are_a_table():
    [layer] = chain([parse_layer("conv 3 x1")], (1, 9, 9, 1))
    lines = table([layer._replace(number=number) for number in range(1, 10_001)], 200)
    texts = ["".join(text for text, _ in line) for line in lines]
    assert len(texts) == 10_002
    assert {len(text) for text in texts} == {len(texts[0])}
    assert texts[-1].startswith("10000  conv ")


@pytest.mark.parametrize(
    ("size", "layer", "at", "sees"),
    [
        (
            "2000000000x1x3",
            "conv 3 x3",
            "1999999999,0",
            "sees rows 1999999998 to 1999999999 and column 0 of",
        ),
        ("28x28", "conv 3 x3 stride=2147483647", "0,0", "sees rows 0 to 2 and columns 0 to 2 of"),
    ],
)
def test_far_outputs_are_seen_as_quickly(size, layer, at, sees):
    assert sees in run("shape", size, "--layer", layer, "--at", at).out


def test_numbers_that_round_to_the_next_prefix():
    assert [short(n) for n in (0, 999, 1000, 9996, 99_960, 999_499, 999_500, 10**30)] == [
        *("0", "999", "1.00 k", "10.0 k", "100 k", "999 k", "1.00 M", "1000000 Y")
    ]
    assert short(1, "B") == "1 B"


@pytest.mark.parametrize(
    ("arguments", "code", "message", "hint"),
    [
        (
            ["28x28", "--layer", "pool 2", "--stride", "2"],
            2,
            "--stride is for a single layer",
            "--layer",
        ),
        (["28x28", "--layer", "pool 2", "-k", "3"], 2, "--kernel is for a single layer", ""),
        (["28x28", "--layer", "pool 2", "--flip"], 2, "--flip is for a single layer", ""),
        *(
            (
                ["28x28", "--layer", "pool 2", *question],
                2,
                f"{question[0]} is for a single layer, but a stack is given",
                "ask about one layer: -k 3x3",
            )
            for question in (["--want", "14"], ["--fit"], ["--undo"], ["--frameworks"])
        ),
        (["28x28", "-k", "3", "--at", "0,0"], 2, "--at goes with a stack", "--layer"),
        (["28x28"], 2, "the kernel is missing", "--kernel 3x3, or several --layer"),
        ([], 2, "INPUT, a size or an image, is missing", "28x28x1"),
        (["--layer", "pool 2"], 2, "INPUT, a size or an image, is missing", "224x224x3"),
        (
            ["28x28", "--layer", "pool 2", "--at", "1"],
            2,
            "--at takes a row and a column, Y,X",
            "0,0",
        ),
        (
            ["28x28", "--layer", "pool 2", "--at", "14,0"],
            2,
            "there is no output 14,0",
            "rows are 0 to 13",
        ),
        (
            ["28x28", "--layer", "conv 3 x1 dilation=2000000000", "--at", "0,0"],
            2,
            "what an output sees is followed over at most 1,048,576 pixels",
            "leave out --at",
        ),
        (["28x28", "--layer", "pol 2"], 2, "there is no layer 'pol'", "did you mean pool?"),
        (
            ["28x28", "--layer", "pool 29"],
            1,
            "layer 1 (pool 29x29), input 1x28x28x1: no window",
            "works with",
        ),
        (["none.png", "--layer", "pool 2"], 1, "none.png", ""),
        (["28x28", "--stack", "none.toml"], 2, "none.toml: the stack cannot be read", ""),
        (["28x28", "--layer", "conv kernel=sobl"], 2, "no kernel is called 'sobl'", "sobel"),
    ],
)
def test_what_cannot_be(arguments, code, message, hint):
    ran = run("shape", *arguments, "--json")
    assert (ran.code, ran.out) == (code, "")
    assert ran.err.startswith("error: ")
    assert message in ran.err
    assert hint in ran.err


def test_a_file_without_a_size_says_where_it_would_stand(tmp_path):
    (tmp_path / "net.toml").write_text('[[layer]]\nop = "flatten"\n')
    ran = run("shape", "--stack", tmp_path / "net.toml")
    assert ran.code == 2
    assert 'the lines [input] and size = "224x224x3"' in ran.err
