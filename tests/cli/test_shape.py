"""`convtool shape` as a person and a script use it."""

import json
import re

import numpy as np
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
        "dropped     the last row and the last column are read by no window",
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


# Transposed, across frameworks, and backwards


def lines(*arguments):
    ran = run("shape", *arguments)
    assert (ran.code, ran.err) == (0, "")
    assert max(len(line) for line in ran.out.splitlines() if "note: " not in line) <= 100
    return ran.out


def record(*arguments):
    ran = run("shape", *arguments, "--json")
    assert (ran.code, ran.err) == (0, "")
    [line] = ran.out.splitlines()
    return json.loads(line)


@pytest.mark.parametrize(
    ("arguments", "kernel", "output"),
    [
        (["14x14x64", "-k", "4x4", "--filters", "32"], [4, 4, 32, 64], [1, 28, 28, 32]),
        (["14x14x64", "-k", "4x4x32x64"], [4, 4, 32, 64], [1, 28, 28, 32]),
        (["14x14x6", "-k", "3", "--filters", "4", "--groups", "2"], [3, 3, 2, 6], [1, 28, 28, 4]),
        (["14x14x3", "-k", "bilinear"], [4, 4], [1, 28, 28, 3]),
        (["14x14", "-k", "3x3", "-p", "valid", "--output-padding", "1"], [3, 3], [1, 30, 30, 1]),
        (["14x14", "-k", "3x3", "--output-shape", "27x28"], [3, 3], [1, 27, 28, 1]),
    ],
)
def test_transposed_shapes(arguments, kernel, output):
    found = layer(*arguments, "--stride", "2", "--transpose")
    assert found["op"] == "conv2d_transpose"
    assert (found["kernel_shape"], found["output_shape"]) == (kernel, output)


def test_a_file_of_weights_is_hwoi_for_a_transposed_layer(tmp_path):
    import numpy as np

    np.save(tmp_path / "w.npy", np.ones((3, 3, 5, 2)))
    found = layer("4x4x2", "-k", tmp_path / "w.npy", "--stride", "2", "--transpose")
    assert found["output_shape"] == [1, 8, 8, 5]


def test_the_json_of_a_transposed_layer():
    found = layer("2x2", "-k", "3x3", "--stride", "2", "-p", "valid", "--transpose")
    assert found["legal_sizes"] == [[5, 6], [5, 6]]
    assert found["output_padding"] == [0, 0]
    assert found["overlaps"] == [[2, 1], [2, 1]]
    assert found["macs"] == 4 * 9
    assert found["receptive_field"] == {
        "size": [2, 2],
        "least": [1, 1],
        "jump": [0.5, 0.5],
        "start": [-0.5, -0.5],
    }
    assert [note["code"] for note in found["notes"]] == ["uneven-overlap"]


def test_the_table_of_a_transposed_layer():
    out = lines("14x14x64", "-k", "4x4", "--filters", "32", "--stride", "2", "--transpose")
    for part in (
        "transpose   conv2d_transpose (no flip), stride 2x2, padding same",
        "4x4x32x64   32 filters across 64 channels",
        "  height    (14 - 1)·2 + 4 - 1 - 1 = 28",
        "legal       27x27 to 28x28, output_padding 0 to 1; taken 1",
        "padding     top 1, bottom 1, left 1, right 1\n",
        "  cut off   here; added by the conv2d that turns 28x28 into 14x14",
        "overlap     4 taps reach every output: 2 down, 2 across",
        "unreached   nothing: every row and column is reached",
        "windows     14x14 = 196 in each image, one for each pixel of the input",
        "32,768   32,800 with a bias",
        "6,422,528 multiply-adds",
        "field 2x2, jump 0.5x0.5, first centre at -0.5, -0.5",
    ):
        assert part in out, out
    out = lines("14x15", "-k", "3", "--stride", "2x3", "-p", "1", "--transpose", "--border", "edge")
    assert "legal       27x43 to 28x45, output_padding 0x0 to 1x2; taken 0x0" in out
    assert "border      edge beyond the input: top 0, bottom 0, left 0, right 0" not in out
    assert "taps by turns: rows get 1 2, columns get 1" in out
    assert "field 1x1 to 2x1 by turns" in out
    out = lines("2x2", "-k", "2", "--stride", "3", "--transpose", "--output-padding", "2x1")
    assert "unreached   the last row is reached by no pixel of the input" in out
    assert "jump 0.3333x0.3333" in out
    out = lines("4x4", "-k", "5", "--transpose", "--border", "constant:2")
    assert "border      constant:2 beyond the input: top 2, bottom 2, left 2, right 2" in out
    assert "legal       4x4 alone" in out
    assert "field 5x5, jump 1x1, first centre at 0, 0" in out


@pytest.mark.parametrize(
    ("arguments", "code", "message", "hint"),
    [
        (["2x2", "-k", "3", "--output-shape", "4"], 2, "choose among the sizes", "--transpose"),
        (
            ["2x2", "-k", "3", "--stride", "2", "-p", "valid", "--transpose", "--output-shape=7"],
            1,
            "2x2: the height cannot become 7: from 2, kernel 3, stride 2, dilation 1 and padding "
            "valid lead to 5 to 6",
            "what fits: an output of 6 (output_padding 1); an input of 3, which leads to 7 to 8; "
            "a stride of 3",
        ),
        (
            ["4x4x4", "-k", "3", "--filters", "3", "--groups", "2", "--transpose"],
            1,
            "groups must divide the filters, but 2 does not divide 3",
            "groups that divide 3 filters and 4 channels: 1",
        ),
        (
            ["4x4x6", "-k", "3", "--filters", "1000000000", "--groups", "7", "--transpose"],
            1,
            "groups must divide the filters, but 7 does not divide 1000000000",
            "groups that divide 1000000000 filters and 6 channels: 1, 2",
        ),
        (["4x4", "-k", "3", "--fit", "--undo"], 2, "--fit and --undo are two questions", "one"),
        (["4x4", "-k", "3", "--want", "2", "--frameworks"], 2, "--want and --frameworks", "one"),
        (["4x4", "-k", "3", "--fit", "--transpose"], 2, "--fit is about what a conv", "leave out"),
        (
            ["4x4", "--want", "2", "--transpose", "--output-shape", "8"],
            2,
            "--want and --output-shape are both the output's size",
            "give --want",
        ),
        (["4x4", "--want", "0"], 2, "want must be at least 1, but is 0", ""),
        (["4x4", "--fit"], 2, "the kernel is missing", "--kernel 3x3"),
        (["4x4", "-k", "sobel", "--undo"], 2, "a bank of 2 filters", "--kernel 3x3"),
    ],
)
def test_what_cannot_be_asked(arguments, code, message, hint):
    ran = run("shape", *arguments)
    assert (ran.code, ran.out) == (code, "")
    assert message in ran.err
    assert hint in ran.err


def test_frameworks_side_by_side():
    arguments = ("224x224x3", "-k", "7x7", "--filters", "64", "--stride", "2", "--frameworks")
    out = lines(*arguments)
    rows = [" ".join(line.split()) for line in out.splitlines()]
    assert 'TensorFlow 112x112 2,3 2,3 same padding="SAME"' in rows
    assert "PyTorch 112x112 3,3 3,3 1 px up and left padding=3" in rows
    assert 'padding="same" takes stride 1 only' in rows
    assert "w the kernel 7x7x3x64, HWIO, a NumPy array" in rows
    assert '  y = tf.nn.conv2d(x, w, strides=[2, 2], padding="SAME")' in out.splitlines()
    views = {view["framework"]: view for view in record(*arguments)["frameworks"]}
    assert list(views) == ["TensorFlow", "Keras", "PyTorch", "ONNX", "JAX"]
    torch = views["PyTorch"]
    assert torch["size"] == [112, 112]
    assert torch["padding"] == {"top": 3, "bottom": 3, "left": 3, "right": 3}
    assert (torch["shift"], torch["agrees"]) == ([-1, -1], False)
    assert torch["code"][0] == "conv = nn.Conv2d(3, 64, 7, stride=2, bias=False)"


def test_frameworks_where_sizes_and_borders_differ():
    out = lines("5x5x4", "-k", "2", "--stride", "3", "-p", "valid", "--transpose", "--frameworks")
    rows = [" ".join(line.split()) for line in out.splitlines()]
    assert 'Keras 15x15 0,0 0,0 another size padding="valid"' in rows
    assert "w the kernel 2x2, on every channel by itself, a NumPy array" in rows
    out = lines("9x8x3", "-k", "sobel", "--border", "wrap", "--stride", "2", "--frameworks")
    rows = [" ".join(line.split()) for line in out.splitlines()]
    assert 'JAX 5x4 1,1 0,1 same, other border padding="SAME"' in rows
    assert "what is written there pads with zeros, not wrap" in rows
    assert "PyTorch 5x4 1,1 1,1 1 px left padding=1" in rows
    assert "w the kernel 2x3x3, on every channel by itself, a NumPy array" in rows
    out = lines("9x9", "-k", "3", "--stride", "2", "--dilation", "2", "--frameworks")
    rows = [" ".join(line.split()) for line in out.splitlines()]
    assert 'Keras refused - - padding="same"' in rows


def test_a_wanted_size():
    out = lines("224x224x3", "-k", "7x7", "--want", "112x112")
    rows = [" ".join(line.split()) for line in out.splitlines()]
    assert rows[0] == "wanted 224x224 to 112x112 by one conv2d"
    assert rows[1].startswith("tried strides 1 to 8 (and the ratio), dilations 1 to 3, paddings")
    assert "held kernel 7x7" in rows
    assert "found 9" in rows
    assert "-k 7x7 --stride 2 -p same pads 2,3 2,3" in rows
    assert "-k 7x7 --stride 2 -p 3 padding unused 1x1" in rows
    out = lines("7x7", "--want", "28", "--transpose", "--limit", "2")
    assert "the 2 simplest first" in out
    assert [line for line in out.splitlines() if "-k" in line] == [
        "  -k 4x4 --stride 4 -p valid --transpose",
        "  -k 5x5 --stride 4 -p same  --transpose   pads 0,1 0,1",
    ]
    assert "found       260, the simplest\n" in lines(
        "7x7", "--want", "28", "--transpose", "--limit=1"
    )
    out = lines("28x30", "--want", "14x10", "--limit", "1")
    assert "height and width differ: pairs of the simplest 32 of each" in out
    assert "-k 3x3 --stride 2x3 -p same" in out


def test_what_a_wanted_size_leaves_over_is_said():
    out = lines("28x28", "-k", "3", "--stride", "6", "--want", "5", "-p", "valid", "--limit", "1")
    assert "unread 1x1; 3 of every 6 rows and columns unread" in out
    out = lines("7x7", "--transpose", "--want", "1000x1000", "--limit", "1")
    assert (
        "  -k 3x3 --stride 143 -p valid --transpose --output-padding 139\n"
        "      unreached 139x139; 140 of every 143 rows and columns unreached\n"
    ) in out
    held = ("-k", "2", "--stride", "3x2", "--dilation", "1", "-p", "valid")
    [option] = record("9x12", *held, "--want", "3x6")["options"]
    assert (option["gaps"], option["dropped"]) == ({"rows": 1, "cols": 0}, {"rows": 1, "cols": 0})


def test_wide_options_are_folded():
    pads = ("-p", "100000,200000,300000,400000")
    asked = ("28x28", "-k", "700001x900001", *pads, "--stride", "2000x3000", "--transpose")
    size = layer(*asked)["output_shape"]
    out = lines(*asked, "--want", f"{size[1]}x{size[2] + 1}", "--limit", "1")
    first, second, *_ = out.partition("\n\n")[2].splitlines()
    assert first == "  -k 700001x900001 --stride 2000x3000 -p 100000,200000,300000,400000 \\"
    assert second == "    --transpose --output-padding 0x1"


def test_few_of_many_paddings_are_tried():
    out = lines("28x28", "-k", "100000000x3", "--stride", "1000000", "--want", "14x1")
    assert "same-lower and up to 64\n            equal below the window" in out


def test_a_wanted_size_that_cannot_be_had():
    arguments = ("28x28", "-k", "gaussian:sigma=1", "--stride", "2", "-p", "same", "--want", "20")
    ran = run("shape", *arguments)
    assert (ran.code, ran.err) == (1, "")
    assert "held        kernel 7x7, stride 2x2, padding same" in ran.out
    assert "no height of 20; the nearest is 14" in ran.out
    assert "--transpose" not in ran.out
    ran = run("shape", *arguments, "--json")
    assert (ran.code, ran.err) == (1, "")
    assert json.loads(ran.out) == {
        "op": "conv2d",
        "input_shape": [1, 28, 28, 1],
        "want": [20, 20],
        "found": 0,
        "apart": False,
        "options": [],
        "nearest": {"height": [14], "width": [14]},
    }
    ran = run("shape", "7x7", "--want", "1000x1000")
    assert ran.code == 1
    assert ran.out.endswith("            a transposed layer enlarges: add --transpose\n")
    ran = run("shape", "20x20", "--want", "2", "--transpose", "--stride", "9")
    assert ran.code == 1
    assert ran.out.endswith("            a conv2d makes smaller: leave out --transpose\n")


def test_what_is_listed_can_be_typed():
    for transpose, want in ((False, [12, 9]), (True, [40, 39])):
        more = ["--transpose"] if transpose else []
        found = record("20x20x2", "--want", "x".join(map(str, want)), "--limit", "30", *more)
        assert len(found["options"]) == 30
        for option in found["options"]:
            typed = layer("20x20x2", *option["flags"].split())
            assert typed["output_shape"][1:3] == want
            assert typed["dropped"] == option["dropped"]
            pads = {key: typed["padding"][key] for key in ("top", "bottom", "left", "right")}
            assert pads.items() <= option["padding"].items()


def test_fit_screens():
    out = lines("28x28", "-k", "3x3", "--stride", "2", "--fit")
    for part in (
        "fit         both axes of 28, kernel 3, stride 2",
        "  valid     pads 0,0: 13 windows, 1 unread at the end",
        "  same      pads 0,1: 14 windows, nothing unread",
        "  equal     none: 28 + 2p - 3 is odd for every p, and the stride 2 is even",
        "what fits: a kernel of 2 or 4, a stride of 1 or 3, a height of 27 or\n            29 or",
        "  least     0 before, 1 after: 14 windows, nothing unread",
    ):
        assert part in out, out
    out = lines("28x2", "-k", "3x9", "--dilation", "3x1", "--fit")
    assert "height of 28, kernel 3 (covers 7), stride 1" in out
    assert "  equal     --padding 5   32 windows, nothing unread" in out
    assert "and 1 more, up to 6" in out
    assert "width of 2, kernel 9, stride 1\n  valid     no window fits" in out
    found = record("28x28", "-k", "3x3", "--stride", "3", "--fit")
    assert found["height"]["equal"] == [{"before": 1, "after": 1, "output": 10, "dropped": 0}]
    assert found["width"]["valid"] == {"before": 0, "after": 0, "output": 9, "dropped": 1}
    assert (found["height"]["found"], found["height"]["gaps"]) == (1, 0)


def test_what_does_not_fit_is_never_called_fitting():
    out = lines("4x4", "-k", "3x3", "--stride", "20", "--fit")
    assert "nothing unread" not in out
    assert "  least     none: it takes 19 in all, and whole windows lie in them\n" in out
    assert "what fits: a kernel of 20 or a stride of 3\n" in out
    out = lines("28x28", "-k", "3x3", "--stride", "6", "--fit")
    assert "  gaps      3 of every 6 rows and columns are never read, whatever the padding\n" in out
    assert "  same      pads 0,0: 5 windows, 1 unread at the end\n" in out
    assert "what fits: a kernel of 6 or a stride of 3\n" in out
    out = lines("100x10", "-k", "3x3", "--stride", "9x1", "--fit")
    assert "  gaps      6 of every 9 rows are never read, whatever the padding\n" in out
    assert "  equal     --padding 1   12 windows, nothing unread at the end\n" in out
    assert out.count("  gaps") == 1
    found = record("10x10", "-k", "3x3", "--stride", "15", "--fit")["height"]
    assert (found["least"], found["equal"], found["gaps"]) == (None, [], 0)


def test_fit_with_billions_of_paddings():
    far = ("28x28", "-k", "99999999999x3", "--dilation", "1000000000", "--fit")
    out = lines(*far)
    assert "  equal     --padding 999999987 2 windows, nothing unread" in out
    assert "and 1000000008 more, up to 2000000000" in out
    found = record(*far)["width"]
    assert (len(found["equal"]), found["found"]) == (1000, 1000000014)
    first = {"before": 999999987, "after": 999999987, "output": 2, "dropped": 0}
    assert found["equal"][0] == first


def test_undo_screens():
    arguments = ("224x224x3", "-k", "7x7", "--filters", "64", "--stride", "2", "--undo")
    out = lines(*arguments)
    for part in (
        "conv2d      1x224x224x3 to 1x112x112x64   kernel 7x7x3x64",
        "transpose   1x112x112x64 to 1x224x224x3   kernel 7x7x3x64",
        "command     convtool shape 112x112x64 -k 7x7x3x64 --stride 2 --transpose\n",
        "legal       223x223 to 224x224, output_padding 0 to 1; taken 1",
        "is the gradient (adjoint) of the other",
        "does not bring the values back",
        "padding=3, output_padding=1",
    ):
        assert part in out, out
    out = lines("14x14x8", "-k", "4x4", "--dilation", "2", "-p", "1,2,3,4", "--undo")
    assert max(map(len, out.splitlines())) <= 80
    command = "convtool shape 11x15x8 -k 4x4 -p 1,2,3,4 --dilation 2 --transpose"
    assert f"command     {command}\n" in out
    out = lines(
        "14x14x8", "-k", "4", "--stride", "2", "--dilation", "3x2", "-p", "1,2,3,4", "--undo"
    )
    assert re.search(
        r"^command     convtool shape 4x8x8 .* \\\n              --transpose", out, re.MULTILINE
    )
    out = lines(*arguments)
    assert "nn.ConvTranspose2d" not in out
    assert "nn.ConvTranspose2d(64, 3, 7" in lines(*arguments, "--frameworks")
    found = record("28x28x64", "-k", "4x4x32x64", "--stride", "2", "--undo", "--transpose")
    assert found["layers"][0]["op"] == "conv2d"


@pytest.mark.parametrize(
    "arguments",
    [
        ["223x224x3", "-k", "7x7", "--filters", "64", "--stride", "2"],
        ["2x28x28x4", "-k", "3x3", "--filters", "8", "--groups", "2", "--dilation", "2"],
        ["28x28x4", "-k", "gaussian", "--stride", "3", "-p", "fit"],
        ["14x14x8", "-k", "3x5", "--filters", "4", "--stride", "2x3", "-p", "1x2", "--transpose"],
    ],
)
def test_the_command_that_undoes_can_be_typed(arguments):
    before = layer(*arguments)
    undone = record(*arguments, "--undo")
    back = layer(*undone["flags"].split())
    assert back == undone["layers"][0]
    assert back["input_shape"] == before["output_shape"]
    assert back["output_shape"] == before["input_shape"]
    assert undone["undoes"]["op"] == before["op"] != back["op"]


def test_kernels_in_pytorchs_order(tmp_path, monkeypatch):
    np.save(tmp_path / "oihw.npy", np.ones((8, 3, 11, 11)))
    monkeypatch.chdir(tmp_path)
    ran = run("shape", "64x64x3", "-k", "oihw.npy", "--layout", "OIHW", "--json")
    assert json.loads(ran.out)["layers"][0]["kernel_shape"] == [11, 11, 3, 8]
    ran = run("shape", "64x64x3", "-k", "oihw.npy")
    assert (ran.code, "--layout OIHW, or in a stack layout=OIHW" in ran.err) == (1, True)
    ran = run("shape", "64x64x3", "--layer", "conv kernel=oihw.npy")
    assert (ran.code, "layout" in ran.err.split("hint:")[1]) == (1, True)
    ran = run("shape", "64x64x3", "-k", "3x3", "--layout", "OIHW")
    assert ran.code == 2
    assert "--layout OIHW is about a kernel in a file, and 3x3 is a size" in ran.err
    ran = run("shape", "64x64x3", "-k", "oihw.npy", "--layout", "OIHW", "--fit")
    assert (ran.code, "kernel 11" in ran.out) == (0, True), ran.out
    ran = run("shape", "64x64x3", "-k", "oihw.npy", "--layout", "OIHW", "--want", "32", "--json")
    assert {tuple(one["kernel_shape"]) for one in json.loads(ran.out)["options"]} == {(11, 11)}
