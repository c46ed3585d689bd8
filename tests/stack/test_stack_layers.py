"""Layers in words and in TOML."""

from pathlib import Path

import pytest

from convtool.errors import UsageError
from convtool.geometry import Border, ConvSpec, Padding
from convtool.stack.files import joined, read_stack
from convtool.stack.layers import KEYS, Layer, LayerKind, Pooling, make_layer, parse_layer
from convtool.terms import Activation, Op, PaddingMode

VALID = Padding(PaddingMode.VALID)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "conv 3x3 x32 stride=2 same relu",
            Layer(
                LayerKind.CONV,
                ConvSpec(stride=(2, 2)),
                (3, 3),
                32,
                activation=Activation.RELU,
            ),
        ),
        (
            "Conv 3×5 ×8 VALID dilation=2x1 groups=4 border=constant:7 flip name=first",
            Layer(
                LayerKind.CONV,
                ConvSpec.of(
                    padding="valid", dilation="2x1", groups=4, border="constant:7", flip=True
                ),
                (3, 5),
                8,
                name="first",
            ),
        ),
        (
            "transpose 4 x16 stride=2 output-padding=1 padding=1,0,2,1",
            Layer(
                LayerKind.TRANSPOSE,
                ConvSpec.of(
                    Op.CONV2D_TRANSPOSE, stride=2, padding=((1, 0), (2, 1)), output_padding=1
                ),
                (4, 4),
                16,
            ),
        ),
        ("depthwise 3x3", Layer(LayerKind.DEPTHWISE, size=(3, 3))),
        (
            "depthwise 3x3 x2 tanh",
            Layer(LayerKind.DEPTHWISE, ConvSpec(), (3, 3), 2, activation=Activation.TANH),
        ),
        ("pool 2", Layer(LayerKind.POOL, ConvSpec(stride=(2, 2), padding=VALID), (2, 2))),
        (
            "avgpool 3x2 stride=1 same",
            Layer(LayerKind.POOL, ConvSpec(), (3, 2), pooling=Pooling.AVERAGE),
        ),
        (
            "max_pool2d 3 avg",
            None,
        ),
        ("upsample 2x3", Layer(LayerKind.UPSAMPLE, size=(2, 3))),
        ("flatten", Layer(LayerKind.FLATTEN)),
        ("dense 10", Layer(LayerKind.DENSE, filters=10)),
        (
            "dense x10 sigmoid bias=0.5",
            Layer(LayerKind.DENSE, filters=10, activation=Activation.SIGMOID, bias="0.5"),
        ),
        ("reshape 7x6x64", Layer(LayerKind.RESHAPE, target=(7, 6, 64))),
        (
            'conv kernel="3x3: 1 2 3 4 5 6 7 8 9" layout=oihw',
            Layer(LayerKind.CONV, kernel="3x3: 1 2 3 4 5 6 7 8 9", layout="OIHW"),
        ),
        (
            "conv2d kernel=gaussian:sigma=2,size=5 full",
            Layer(
                LayerKind.CONV,
                ConvSpec(padding=Padding(PaddingMode.FULL)),
                kernel="gaussian:sigma=2,size=5",
            ),
        ),
    ],
)
def test_words(text, expected):
    if expected is None:
        with pytest.raises(UsageError, match="pooling is given twice: max and avg"):
            parse_layer(text)
        return
    assert parse_layer(text) == expected._replace(written=text)


@pytest.mark.parametrize(
    "text",
    [
        "conv 3x3 x32 stride=2 relu",
        "conv 3x5 x8 dilation=2x1 valid groups=4 border=constant:7 flip",
        "transpose 4x4 x16 stride=2 padding=1,0,2,1 output_shape=8x9",
        "depthwise 3x3 x2 padding=1",
        "pool 2x2",
        "pool 3x3 average stride=2 padding=1x0",
        "upsample 2x3",
        "flatten",
        "dense x10 sigmoid",
        "reshape 7x6x64",
        "conv kernel='3x3: 1 2 3 4 5 6 7 8 9' stride=2",
        "conv kernel=net.safetensors:w layout=OIHW stride=2 bias=net.safetensors:b relu",
        "transpose kernel=net.npz:w layout=IOHW stride=2",
        "dense kernel=net.npz:fc layout=OI x10 bias=0.5,1,-2,0",
    ],
)
def test_a_layer_writes_itself_as_it_is_read(text):
    layer = parse_layer(text)
    assert layer.text == text
    assert parse_layer(layer.text) == layer


def test_of_many_biases_the_first_stand_for_all():
    layer = parse_layer("conv 3x3 x5 bias=1,2,3,4,5 relu")
    assert layer.text == "conv 3x3 x5 bias=1,2,3,4,… relu"


@pytest.mark.parametrize(
    ("bias", "numbers"),
    [
        ("0.5", ("0.5",)),
        ("'1, -2e3 3'", ("1", "-2e3", "3")),
        ("net.npz:b", ()),
        ("''", ()),
    ],
)
def test_biases_that_are_written_as_numbers(bias, numbers):
    assert parse_layer(f"conv 3x3 x3 bias={bias}").biases == numbers


@pytest.mark.parametrize("name", ["2", "007", "' 3 '"])
def test_a_name_is_no_number(name):
    with pytest.raises(UsageError) as caught:
        parse_layer(f"pool 2 name={name}")
    assert "a name is no whole number, as that is the place of a layer, but" in caught.value.message
    assert caught.value.hint.startswith("for example name=conv")
    assert parse_layer("pool 2 name=2a").name == "2a"


@pytest.mark.parametrize(
    ("text", "op"),
    [
        ("conv 1 x1", "conv2d"),
        ("convtranspose 1 x1", "conv2d_transpose"),
        ("depthwise 1", "depthwise_conv2d"),
        ("maxpool 2", "max_pool2d"),
        ("pool 2 average", "avg_pool2d"),
        ("upsample 2", "upsample"),
        ("flatten", "flatten"),
        ("dense 1", "dense"),
        ("reshape 1x1x1", "reshape"),
    ],
)
def test_operators_in_json(text, op):
    layer = parse_layer(text)
    assert layer.op == op
    # What JSON calls an operator, a layer may be called too.
    if op not in ("flatten",):
        assert parse_layer(text.replace(text.split()[0], op).replace(" average", "")).op == op


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "layer '': a layer starts with its kind", "choose from conv, transpose,"),
        ("cnv 3x3", "layer 'cnv 3x3': there is no layer 'cnv'", "did you mean conv?"),
        ("batchnorm", "there is no layer 'batchnorm'", "choose from conv, transpose, depthwise"),
        (
            "Batch_Norm",
            "there is no layer 'Batch_Norm'",
            "; a batch normalization goes into the kernel and bias before it",
        ),
        ("softmax", "there is no layer 'softmax'", "reshape; no size depends on softmax"),
        (
            "dropout 0.5",
            "there is no layer 'dropout'",
            "reshape; dropout does nothing in a network",
        ),
        ("concat", "there is no layer 'concat'", "reshape; layers stand in one row"),
        ("relu", "there is no layer 'relu'", "an activation is a word of the layer before it"),
        (
            "leaky_relu",
            "there is no layer 'leaky_relu'",
            "of the layer before it: conv 3x3 x32 relu",
        ),
        (
            "conv 3x3 x8 leaky_relu",
            "there is no activation 'leaky_relu'",
            "choose from none, relu, abs, sigmoid, tanh",
        ),
        (
            "conv 3x3 x8 activation=relu6",
            "there is no activation 'relu6'",
            "choose from none, relu, abs, sigmoid, tanh",
        ),
        (
            "dense 3x3",
            "a dense layer has units and no size, but '3x3' is a size",
            "for example dense x10",
        ),
        ("upsample 2 x3", "an upsample layer takes name, size, but not filters", ""),
        ("upsample 2 relu", "'relu' is no word of an upsample layer", "only name=… goes with it"),
        ("deconv 3x3", "'deconv' is the name of an inverse", "for example transpose 4x4 x32"),
        ("conv 3x3 x8 smae", "'smae' is no word of a conv layer", "did you mean same?"),
        ("conv 3x3 x8 softmax", "there is no activation 'softmax'", "relu, abs, sigmoid, tanh"),
        ("flatten 3", "a flatten layer takes name, but not size", ""),
        ("flatten now", "'now' is no word of a flatten layer", "only name=… goes with it"),
        ("conv 3x3 x8 strid=2", "but not strid", "did you mean stride?"),
        (
            "pool 2 x8",
            "a pool layer takes name, size, stride, padding, dilation, pooling, but not",
            "",
        ),
        ("conv 3x3 x8 5x5", "size is given twice: 3x3 and 5x5", ""),
        ("conv 3x3 x8 'same", "a quotation mark is not closed", ""),
        (
            "conv 3x3",
            "a conv layer needs size and filters, or a kernel; filters are missing",
            "x32, in a file filters = 32, makes 32 feature maps: conv 3x3 x32; depthwise filters "
            "each channel by itself",
        ),
        ("transpose x3", "size is missing", "for example transpose 4x4 x32 stride=2"),
        ("conv", "size and filters are missing", "for example conv 3x3 x32"),
        (
            "depthwise",
            "a depthwise layer needs size, or a kernel; size is missing",
            "depthwise 3x3",
        ),
        ("pool", "a pool layer needs size; size is missing", "for example pool 2x2"),
        ("dense", "a dense layer needs filters; filters are missing", "for example dense x10"),
        ("reshape", "a reshape layer needs size; size is missing", "for example reshape 7x7x64"),
        ("reshape 7x7", "a reshape needs height, width and channels, each at least 1, not 7x7", ""),
        ("reshape 7x7x0", "each at least 1, not 7x7x0", "for example reshape 7x7x64"),
        (
            "conv kernel=sobel 3x3",
            "a kernel has a size and filters of its own, but size is",
            "leave out size",
        ),
        ("conv kernel=sobel x3", "but filters is given too", "leave out filters, or the kernel"),
        (
            "conv 3x3 x8 layout=OIHW",
            "layout says how a kernel is stored, but there is no kernel",
            "leave it out, or say kernel=",
        ),
        (
            "conv kernel=a.npy layout=NCHW",
            "the layout of a conv kernel is HWIO or OIHW or OHWI, not 'NCHW'",
            "",
        ),
        (
            "transpose kernel=a.npy layout=OIHW",
            "the layout of a transpose kernel is HWOI or IOHW",
            "",
        ),
        ("conv 3x3 x0", "filters must be at least 1, but is 0", ""),
        ("conv 3x3 filters=many", "filters must be a whole number, not 'many'", ""),
        ("conv 3x3 x8 groups=0", "groups must be at least 1, but is 0", ""),
        ("conv 3x3 x8 stride=0", "stride must be at least 1, but is 0", ""),
        ("conv 3x3x3 x8", "size must be a whole number or HxW, not '3x3x3'", ""),
        ("conv 3x3 x8 flip=maybe", "flip must be true or false, not 'maybe'", ""),
        (
            "conv 3x3 x8 activation=rleu",
            "activation must be one of none, relu",
            "did you mean relu?",
        ),
        ("pool 2 pooling=min", "pooling must be one of max, average, not 'min'", ""),
    ],
)
def test_words_that_mean_nothing(text, message, hint):
    with pytest.raises(UsageError) as caught:
        parse_layer(text)
    assert message in caught.value.message
    assert caught.value.message.startswith(f"layer {text.strip()!r}: ")
    assert hint in caught.value.hint


def test_values_of_toml_are_numbers_and_lists():
    layer = make_layer(
        {
            "op": "conv",
            "size": [3, 5],
            "filters": 8,
            "stride": 2,
            "padding": [[1, 0], [2, 1]],
            "flip": True,
            "bias": [0.5, 1],
        }
    )
    assert layer == parse_layer("conv 3x5 x8 stride=2 padding=1,0,2,1 flip bias=0.5,1")._replace(
        written=""
    )
    assert make_layer({"op": "reshape", "size": [7, 6, 64]}).target == (7, 6, 64)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "a layer needs an op"),
        ({"op": "conv", "size": 3, "filters": True}, "filters must be a whole number, not True"),
        ({"op": "conv", "size": 3, "filters": 2.0}, "filters must be a whole number, not 2.0"),
        ({"op": "conv", "size": 3, "filters": 2, "flip": 1}, "flip must be true or false, not 1"),
        ({"op": "conv", "size": 3, "filters": 2, "name": 1}, "name must be a text, not 1"),
        ({"op": "conv", "size": 3, "filters": 2, "bias": [True]}, "bias must be a number, a list"),
        ({"op": "conv", "size": 3, "filters": 2, "bias": []}, "bias must be a number, a list"),
        ({"op": "reshape", "size": 7}, "a reshape needs height, width and channels"),
        (
            {"op": "reshape", "size": [7, 7, 1.0]},
            "a reshape needs height, width and channels, each at least 1, not [7, 7, 1.0]",
        ),
        ({"op": 7}, "there is no layer 7"),
    ],
)
def test_values_that_cannot_be(values, message):
    with pytest.raises(UsageError) as caught:
        make_layer(values)
    assert caught.value.message.startswith(message)


def test_every_kind_has_its_keys():
    assert set(KEYS) == set(LayerKind)


# Files


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "net.toml"
    path.write_text(text)
    return path


def test_a_file(tmp_path):
    path = written(
        tmp_path,
        """
        name = "small"
        [input]
        size = "28x27x3"
        scale = "1/255"
        mean = [0.485, 0.456, 0.406]
        deviation = 0.25
        [[layer]]
        op = "conv"
        size = "3x3"
        filters = 32
        activation = "relu"
        [[layer]]
        op = "maxpool"
        size = 2
        name = "half"
        """,
    )
    stack = read_stack(path)
    assert (stack.name, stack.input_shape, stack.folder) == ("small", (1, 28, 27, 3), tmp_path)
    assert (stack.scale, stack.mean, stack.deviation) == (1 / 255, (0.485, 0.456, 0.406), (0.25,))
    assert [layer.text for layer in stack.layers] == ["conv 3x3 x32 relu", "pool 2x2"]
    assert [layer.written for layer in stack.layers] == [
        "layer 1 of net.toml",
        "layer 2 of net.toml",
    ]
    assert stack.layers[1].name == "half"


@pytest.mark.parametrize(
    ("size", "shape"),
    [
        ('"28"', (1, 28, 28, 1)),
        ("28", (1, 28, 28, 1)),
        ("[28, 27]", (1, 28, 27, 1)),
        ('"5x28x27x3"', (5, 28, 27, 3)),
    ],
)
def test_sizes_in_a_file(tmp_path, size, shape):
    path = written(tmp_path, f'[input]\nsize = {size}\n[[layer]]\nop = "flatten"')
    assert read_stack(path).input_shape == shape


LAYER = '[[layer]]\nop = "flatten"\n'
CONV = '[[layer]]\nop = "conv"\nsize = "3x3"\nfilters = 8\n'


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("a = ", ": not TOML: Invalid value (at end of document)", ""),
        (f'titel = "x"\n{LAYER}', ":1: a stack takes name, input, layer, but not titel", ""),
        (f"layers = 2\n{LAYER}", "but not layers", "did you mean layer?"),
        (f"name = 3\n{LAYER}", ":1: name must be a text, not 3", ""),
        (f"input = 3\n{LAYER}", ":1: input must be a table, not 3", "[input]"),
        (
            f"[input]\nsise = 3\n{LAYER}",
            ":2: [input] takes size, scale, mean, deviation, but not sise",
            "did you mean size?",
        ),
        (f"[input]\nsize = 2.5\n{LAYER}", ":2: size must be a text or a list of whole numbers", ""),
        (
            f'[input]\nsize = "a"\n{LAYER}',
            ":2: a size is written HxW, HxWxC or NxHxWxC, not 'a'",
            "",
        ),
        (f'[input]\nscale = "1/0"\n{LAYER}', ":2: scale must be a number, not '1/0'", "1/255"),
        (f"[input]\nscale = true\n{LAYER}", ":2: scale must be a number, not True", ""),
        (f"[input]\nscale = nan\n{LAYER}", ":2: scale must be a number, not nan", ""),
        (f'[input]\nmean = [1, "x"]\n{LAYER}', ":2: mean must be a number, not 'x'", ""),
        (
            f"[input]\n\ndeviation = [1, 0]\n{LAYER}",
            ":3: deviation divides, but one of its numbers is 0",
            "",
        ),
        ("", ":1: a stack needs layers, but there is none", "[[layer]]"),
        ("layer = 1", ":1: layers must be tables, each under a line [[layer]]", ""),
        (
            f'{LAYER}[[layer]]\nop = "pool"\n',
            ":3: layer 2: a pool layer needs size; size is missing",
            "pool 2x2",
        ),
        (f'{LAYER}[[layer]]\nname = "a"\n', ":3: layer 2: a layer needs an op", "one of conv"),
        (
            '[[layer]]\nop = "pool"\nsise = 2',
            ":3: layer 1: a pool layer takes",
            "did you mean size?",
        ),
        # The line of the key, and not that of its table.
        (f"{CONV}stride = 2\n\nflip = 3", ":7: layer 1: flip must be true or false, not 3", ""),
        (f"{CONV}padding = 1\nstride = 0", ":6: layer 1: stride must be at least 1, but is 0", ""),
        (f'{CONV}activation = "elu"', ":5: layer 1: there is no activation 'elu'", "relu"),
        (f"{CONV}bias = [true]", ":5: layer 1: bias must be a number, a list of them", ""),
        (f"{CONV}groups = 0", ":5: layer 1: groups must be at least 1, but is 0", ""),
        (f'{CONV}layout = "OIHW"', ":5: layer 1: layout says how a kernel is stored", ""),
        (f"{CONV}kernel = 'a.npy'", ":3: layer 1: a kernel has a size and filters of its own", ""),
        (f"{CONV}name = 7", ":5: layer 1: name must be a text, not 7", ""),
        (f"{CONV}name = '7'", ":5: layer 1: a name is no whole number", "for example name=conv7"),
        ("[[layer]]\n\nop = 'cnv'", ":3: layer 1: there is no layer 'cnv'", "did you mean conv?"),
        ("layer = [\n{op = 'pool', size = 'x'}]", ":2: layer 1: size must be", ""),
        (
            f"{CONV}name = 'a'\n{LAYER}{CONV}name = 'a'",
            ":12: layer 3: every name means one layer, but layers 1 and 3 are both called 'a'",
            "rename one of them",
        ),
    ],
)
def test_files_that_say_what_cannot_be(tmp_path, text, message, hint):
    path = written(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        read_stack(path)
    assert caught.value.message.startswith(f"{path}:")
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UsageError, match="the stack cannot be read: No such file"):
        read_stack(tmp_path / "none.toml")
    (tmp_path / "net.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="a stack is TOML, which is UTF-8, but this is not"):
        read_stack(tmp_path / "net.toml")


def test_words_that_are_wrong_name_their_place(tmp_path):
    path = written(tmp_path, LAYER)
    for given, place in ((None, 2), (path, 3)):
        with pytest.raises(UsageError) as caught:
            joined(given, ["pool 2", "conv 3x3"])
        assert caught.value.message.startswith(f"layer {place} (conv 3x3): a conv layer needs size")
        with pytest.raises(UsageError) as caught:
            joined(given, ["pool 2", " "])
        assert caught.value.message == f"layer {place}: a layer starts with its kind"


def test_names_are_those_of_one_layer_in_a_file_and_words(tmp_path):
    path = written(tmp_path, f'{LAYER}name = "a"\n')
    with pytest.raises(UsageError) as caught:
        joined(path, ["pool 2", "pool 2 name=a"])
    assert caught.value.message == (
        "every name means one layer, but layers 1 and 3 are both called 'a'"
    )
    assert caught.value.hint == "rename one of them"
    assert len(joined(path, ["pool 2", "pool 2"]).layers) == 3


def test_a_file_and_words(tmp_path, monkeypatch):
    path = written(tmp_path, LAYER)
    assert joined(None, ["pool 2"]).layers == (parse_layer("pool 2"),)
    monkeypatch.chdir(tmp_path.parent)
    stack = joined(path, ["conv kernel=a.npy bias=b.npz:x", "conv kernel=sobel bias=1"])
    assert stack.folder == tmp_path
    assert [layer.kernel for layer in stack.layers] == ["", str(tmp_path.parent / "a.npy"), "sobel"]
    assert [layer.bias for layer in stack.layers] == ["", str(tmp_path.parent / "b.npz:x"), "1"]
    assert Border() == stack.layers[1].spec.border
