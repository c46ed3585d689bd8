"""Sizes, costs and fields of stacks: against formulas, against probes, against the literature."""

import random
from pathlib import Path

import numpy as np
import pytest

import convtool
from convtool.errors import ArrayError, KernelError, UsageError
from convtool.fields import MOST_PHASES, Field
from convtool.stack.chain import chain
from convtool.stack.files import read_stack
from convtool.stack.layers import Stack, parse_layer
from convtool.stack.run import run
from convtool.stack.sight import sight

STACKS = Path(__file__).parent.parent.parent / "docs" / "stacks"


def chained(shape, *texts):
    return chain([parse_layer(text) for text in texts], shape)


@pytest.mark.parametrize(
    ("text", "shape", "output", "kernel", "parameters", "biases", "macs"),
    [
        ("conv 3x3 x32", (1, 28, 28, 1), (1, 28, 28, 32), (3, 3, 1, 32), 288, 32, 225792),
        ("conv 3x5 x8 groups=2 stride=2", (2, 9, 9, 4), (2, 5, 5, 8), (3, 5, 2, 8), 240, 8, 12000),
        (
            "transpose 4x4 x6 stride=2 groups=2",
            (1, 5, 5, 4),
            (1, 10, 10, 6),
            (4, 4, 3, 4),
            192,
            6,
            4800,
        ),
        ("depthwise 3x3", (1, 8, 8, 5), (1, 8, 8, 5), (3, 3, 1, 5), 45, 5, 2880),
        ("depthwise 3x3 x2", (1, 8, 8, 5), (1, 8, 8, 10), (3, 3, 1, 10), 90, 10, 5760),
        ("conv kernel=sobel", (1, 8, 8, 5), (1, 8, 8, 10), (3, 3), 18, 2, 5760),
        ("pool 3 stride=2", (1, 8, 8, 5), (1, 3, 3, 5), (3, 3), 0, 0, 0),
        ("pool 3 stride=2 same average", (1, 8, 7, 5), (1, 4, 4, 5), (3, 3), 0, 0, 0),
        ("upsample 2x3", (1, 8, 7, 5), (1, 16, 21, 5), (), 0, 0, 0),
        ("flatten", (2, 8, 7, 5), (2, 1, 1, 280), (), 0, 0, 0),
        ("dense 10", (2, 1, 1, 280), (2, 1, 1, 10), (280, 10), 2800, 10, 5600),
        ("reshape 7x8x5", (2, 1, 1, 280), (2, 7, 8, 5), (), 0, 0, 0),
    ],
)
def test_sizes_and_costs(text, shape, output, kernel, parameters, biases, macs):
    [settled] = chained(shape, text)
    assert settled.output_shape == output
    assert settled.kernel_shape == kernel
    assert (settled.parameters, settled.biases, settled.macs) == (parameters, biases, macs)
    assert settled.activation_bytes == 4 * np.prod(output)


def test_a_layer_works_on_what_the_one_before_gives():
    layers = chained((1, 28, 28, 1), "conv 3x3 x8 stride=2", "pool 2", "flatten", "dense 10")
    assert [layer.number for layer in layers] == [1, 2, 3, 4]
    assert [layer.input_shape for layer in layers[1:]] == [x.output_shape for x in layers[:-1]]
    assert layers[0].padded_share == pytest.approx(1 - 13 * 13 / 14**2)
    assert layers[1].padded_share == pytest.approx(1 - 6 * 6 / 7**2)
    assert layers[1].field == Field((5, 5), (5, 5), (4.0, 4.0), (2.0, 2.0), (1, 1))
    assert [layer.field for layer in layers[2:]] == [None, None]
    assert [layer.padded_share for layer in layers[2:]] == [None, None]
    assert layers[0].notes[0].code == "odd-padding"
    assert layers[2].notes == ()


def test_a_kernel_is_asked_for_once():
    asked = []

    def kernel_of(layer):
        asked.append(layer.kernel)
        return (3, 3, 1, 4), 1

    layers = [parse_layer("depthwise kernel=a"), parse_layer("depthwise kernel=a")]
    [first, second] = chain(layers, (1, 8, 8, 4), kernel_of)
    assert asked == ["a"]
    assert second.plan.groups == 4
    assert first.parameters == 36


def test_kernels_of_a_folder(tmp_path):
    np.save(tmp_path / "w.npy", np.ones((8, 3, 5, 5)))
    [settled] = chain([parse_layer("conv kernel=w.npy layout=OIHW")], (1, 9, 9, 3), folder=tmp_path)
    assert settled.kernel_shape == (5, 5, 3, 8)


@pytest.mark.parametrize(
    ("text", "what", "count"),
    [
        ("conv 3x3 x8 bias=1,2", "filter", 8),
        ("transpose 3x3 x3 bias=1,2", "filter", 3),
        ("depthwise 3x3 x2 bias=1,2", "filter", 6),
        ("dense x4 bias=1,2", "unit", 4),
    ],
)
def test_a_bias_in_numbers_has_one_for_each_filter(text, what, count):
    with pytest.raises(ArrayError) as caught:
        chained((1, 1, 1, 3), "pool 1", text)
    assert caught.value.message == (
        f"layer 2 ({parse_layer(text).text}): bias must be one number or one per {what}, {count} "
        "in all, but there are 2"
    )
    right = text.replace("1,2", ",".join("1" * count))
    for bias in (right, text.replace("1,2", "5"), text.replace("1,2", "net.npz:b")):
        assert chained((1, 1, 1, 3), bias)[0].biases == count


def test_a_kernel_that_there_is_not():
    with pytest.raises(KernelError) as caught:
        chained((1, 9, 9, 3), "flatten", "conv kernel=sobl")
    assert caught.value.message == "layer 2 (conv kernel=sobl): no kernel is called 'sobl'"


def test_what_would_take_too_long_is_left_out():
    layers = chained((1, 1, 1, 1), "upsample 300", "upsample 300", "pool 90000")
    assert [layer.field is None for layer in layers] == [False, True, True]
    assert MOST_PHASES < 300 * 300
    [wide] = chained((1, 3, 2**21, 1), "conv 3 x1")
    assert (wide.field.size, wide.padded_share) == ((3, 3), None)
    [jump] = chained((1, 3, 3, 1), f"conv 3 x1 stride={2**30}")
    assert jump.padded_share is None


def test_gaps_between_millions_of_outputs():
    layers = chained((1, 1000, 1000, 1), "transpose 1 x1 stride=1000", "conv 3 x1")
    assert layers[0].padded_share == 0
    # The first and the last line of both axes.
    assert layers[1].padded_share == (10**12 - 999_998**2) / 10**12
    # What would take too long is left out: it grows with the square of the number of layers.
    layers = chained((1, 1000, 1000, 1), "transpose 1 x1 stride=1000", *["conv 3 x1"] * 9)
    assert [layer.padded_share is None for layer in layers] == [False] * 4 + [True] * 6


def test_fields_of_many_phases_through_many_layers():
    layers = chained((1, 1, 1, 3), *["transpose 3 x3 stride=2"] * 16, *["conv 3 x3"] * 30)
    assert [layer.field is None for layer in layers] == [False] * 12 + [True] * 34
    assert layers[11].field.period == (4096, 4096)
    layers = chained((1, 1, 1, 3), *["transpose 3 x3 stride=2"] * 12, *["conv 3 x3"] * 300)
    followed = sum(layer.field is not None for layer in layers)
    assert 12 + 10 < followed < 12 + 30
    assert layers[-1].field is None
    [wide] = chained((1, 28, 28, 3), f"pool {10**8}x3 same")
    assert wide.field.size == (10**8, 3)


def test_rows_and_columns_may_differ_in_what_they_see():
    [first, second] = chained((1, 9, 9, 1), "conv 3x5 x1", "conv 3 x1")
    assert (first.field.size, second.field.size) == ((3, 5), (5, 7))


# Against probes: real layers run on real numbers


def ones(text, size):
    """Give a layer a kernel of ones, so that whatever it reads moves what comes out."""
    taps = " ".join(["1"] * (size[0] * size[1]))
    return f'{text} kernel="{size[0]}x{size[1]}: {taps}"'


def random_stack(draw, *, pads_in_pools):
    """Return the texts of layers that settle on a small image, and that image's size."""
    height, width = draw.randint(5, 9), draw.randint(5, 9)
    texts: list[str] = []
    for _ in range(draw.randint(2, 4)):
        kernel = draw.randint(1, 4), draw.randint(1, 4)
        stride = f"stride={draw.randint(1, 3)}x{draw.randint(1, 3)}"
        padding = draw.choice(["valid", "same", "same-lower", "padding=1", "padding=0,1,2,0"])
        dilation = f"dilation={draw.randint(1, 2)}x{draw.randint(1, 2)}"
        pool = f"pool {draw.randint(1, 3)} average" + (" same" if pads_in_pools else "")
        text = draw.choice(
            [
                ones(f"conv {stride} {padding} {dilation} border=BORDER", kernel),
                ones(f"transpose {stride} {padding} {dilation} border=BORDER", kernel),
                pool,
                f"upsample {draw.randint(1, 2)}x{draw.randint(1, 3)}",
            ]
        )
        try:
            last = chained((1, height, width, 1), *as_border([*texts, text], "zero"))[-1]
        except ValueError:
            continue
        if last.output_shape[1] * last.output_shape[2] <= 3000:
            texts.append(text)
    return texts or [ones("conv border=BORDER", (3, 3))], (height, width)


def as_border(texts, border):
    return [text.replace("BORDER", border) for text in texts]


def outputs(texts, images):
    stack = Stack(tuple(map(parse_layer, texts)))
    return list(run(stack, images, engine="numpy"))[-1].values


@pytest.mark.parametrize("seed", range(40))
def test_a_pixel_moves_the_outputs_that_see_it(seed):
    """Each pixel alone is lit, and the outputs that it reaches are compared with `sight`."""
    draw = random.Random(seed)
    texts, (height, width) = random_stack(draw, pads_in_pools=True)
    texts = as_border(texts, "zero")
    layers = chained((1, height, width, 1), *texts)
    lit = np.eye(height * width, dtype=np.float32).reshape(-1, height, width, 1)
    moved = outputs(texts, lit)[..., 0] > 0
    _, rows, cols, _ = layers[-1].output_shape
    for _ in range(20):
        at = draw.randrange(rows), draw.randrange(cols)
        seen = np.argwhere(moved[:, at[0], at[1]].reshape(height, width))
        layer, down, across = sight(layers, at)
        assert layer is layers[-1]
        assert len(seen) == down.pixels * across.pixels
        if len(seen):
            (top, left), (bottom, right) = seen.min(axis=0), seen.max(axis=0)
            assert (down.first, down.last) == (top, bottom)
            assert (across.first, across.last) == (left, right)
            assert bottom - top < layer.field.size[0]
            assert right - left < layer.field.size[1]


@pytest.mark.parametrize("seed", range(40))
def test_the_share_of_padding_is_what_another_border_changes(seed):
    draw = random.Random(seed)
    texts, (height, width) = random_stack(draw, pads_in_pools=False)
    layers = chained((1, height, width, 1), *as_border(texts, "zero"))
    # Small whole numbers: sums are exact in float32.
    image = np.random.default_rng(seed).integers(1, 4, (1, height, width, 1))
    one, other = (outputs(as_border(texts, f"constant:{v}"), image) for v in (8, 16))
    assert layers[-1].padded_share == pytest.approx(np.mean(one != other))


# Against the literature


def test_vgg16():
    """Simonyan & Zisserman, ICLR 2015: "138M" parameters; to the unit in Keras' and torchvision's
    summaries. Fields: google-research/receptive_field, RECEPTIVE_FIELD_TABLE.md (vgg_16)."""
    stack = read_stack(STACKS / "vgg16.toml")
    layers = chain(stack.layers, stack.input_shape)
    top = next(n for n, layer in enumerate(layers) if layer.op == "flatten")
    assert sum(layer.parameters + layer.biases for layer in layers) == 138_357_544
    assert sum(layer.parameters + layer.biases for layer in layers[:top]) == 14_714_688
    assert layers[top - 1].output_shape == (1, 7, 7, 512)
    assert layers[-1].output_shape == (1, 1, 1, 1000)
    # 30.71 thousand million operations in that table: two for each multiply-add, with the
    # convolutions alone.
    convolutions = sum(layer.macs for layer in layers[:top])
    assert convolutions == 15_346_630_656
    last = layers[top - 1].field
    assert (last.size, last.jump, last.start) == published(212, 32, 90)


def published(size, stride, padding):
    """Return size, jump and start as that table says them: stride and padding in effect."""
    start = (size - 1) / 2 - padding
    return (size, size), (float(stride), float(stride)), (start, start)


def test_resnet50_trunk():
    """He, Zhang, Ren & Sun, CVPR 2016; 483 in google-research/receptive_field (resnet_v1_50)."""
    stack = read_stack(STACKS / "resnet50-trunk.toml")
    layers = chain(stack.layers, stack.input_shape)
    assert layers[-1].output_shape == (1, 7, 7, 2048)
    assert (layers[-1].field.size, layers[-1].field.jump) == ((483, 483), (32.0, 32.0))
    # Its 25,557,032 parameters are these, the shortcuts', those of 53 batch normalizations, and
    # the 1000 classes'.
    shortcuts = 64 * 256 + 256 * 512 + 512 * 1024 + 1024 * 2048
    normalization = 2 * (sum(layer.biases for layer in layers) + 256 + 512 + 1024 + 2048)
    trunk = sum(layer.parameters for layer in layers)
    assert trunk + shortcuts + normalization + 2048 * 1000 + 1000 == 25_557_032


def test_resnet101_alexnet_and_mobilenet():
    """google-research/receptive_field, README: alexnet_v2, mobilenet_v1, resnet_v1_101 at 224."""
    alexnet = chained(
        (1, 224, 224, 3),
        *("conv 11 x64 stride=4 valid", "pool 3 stride=2", "conv 5 x192", "pool 3 stride=2"),
        *("conv 3 x384", "conv 3 x384", "conv 3 x256", "pool 3 stride=2"),
    )
    sizes = [(11, 4, 0), (19, 8, 0), (51, 8, 16), (67, 16, 16)]
    sizes += [(99, 16, 32), (131, 16, 48), (163, 16, 64), (195, 32, 64)]
    assert [layer.field[:1] + layer.field[2:4] for layer in alexnet] == [
        published(*numbers) for numbers in sizes
    ]
    strides = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1]
    mobilenet = chained(
        (1, 224, 224, 3),
        "conv 3 x32 stride=2",
        *(text for s in strides for text in (f"depthwise 3 stride={s}", "conv 1 x64")),
    )
    assert mobilenet[-1].field[:1] + mobilenet[-1].field[2:4] == published(315, 32, 126)
    # A stage's stride is in its last block there, and the pool is padded like TensorFlow's.
    blocks = [s for n, last in ((3, 2), (4, 2), (23, 2), (3, 1)) for s in [1] * (n - 1) + [last]]
    resnet = chained(
        (1, 224, 224, 3),
        *("conv 7 x64 stride=2 padding=3", "pool 3 stride=2 same"),
        *(f"conv 3 x64 stride={s} padding=1" for s in blocks),
    )
    assert resnet[-1].field[:1] + resnet[-1].field[2:4] == published(1027, 32, 511)


def probed_heights(rows, *, layers, kernel, stride, padding):
    """Light one row after the other, and return how many rows outputs far from the ends see."""
    seen = []
    for row in range(rows):
        x = np.zeros((1, rows, 1, 1))
        x[0, row] = 1
        for _ in range(layers):
            x = convtool.conv2d_transpose(
                x,
                np.ones((kernel, 1)),
                stride=(stride, 1),
                padding=((padding, padding), (0, 0)),
                engine="numpy",
            )
        seen.append(x[0, :, 0, 0] != 0)
    heights = np.sum(seen, axis=0)
    return set(heights[len(heights) // 4 : -len(heights) // 4].tolist())


def test_dcgan_generator():
    """PyTorch's dcgan example has 3,576,704 parameters, those of batch normalization included."""
    stack = read_stack(STACKS / "dcgan.toml")
    layers = chain(stack.layers, stack.input_shape)
    assert [layer.output_shape[1:] for layer in layers] == [
        *((4, 4, 512), (8, 8, 256), (16, 16, 128), (32, 32, 64), (64, 64, 3)),
    ]
    normalization = 2 * (512 + 256 + 128 + 64)
    assert sum(layer.parameters for layer in layers) + normalization == 3_576_704
    # A value of the picture sees up to 3x3 of the first map, and none of it more than the map has.
    behind = chain(stack.layers[1:], layers[0].output_shape)
    assert behind[-1].field == Field((3, 3), (2, 2), (1 / 16,) * 2, (-0.5, -0.5), (16, 16))
    assert probed_heights(16, layers=4, kernel=4, stride=2, padding=1) == {2, 3}
    # A single pixel has no neighbours, and every output of the first layer would see some.
    assert layers[0].padded_share == 1
    assert all(note.code != "uneven-overlap" for layer in layers for note in layer.notes)


def test_the_autoencoder_comes_back_to_its_size():
    stack = read_stack(STACKS / "autoencoder.toml")
    layers = chain(stack.layers, stack.input_shape)
    assert layers[-1].output_shape == stack.input_shape == (1, 28, 28, 1)
    assert (layers[-1].field.least, layers[-1].field.size) == ((11, 11), (15, 15))
    assert layers[-1].field.jump == (1.0, 1.0)


# Which pixels an output sees


def test_sight_stops_at_the_last_map():
    layers = chained((1, 9, 9, 1), "conv 3 x2 stride=2", "pool 2", "flatten", "dense 3")
    layer, rows, cols = sight(layers, (0, 1))
    assert layer.number == 2
    assert (rows.first, rows.last, rows.pixels, rows.field, rows.beyond) == (
        0,
        3,
        4,
        (-1, 3),
        (1, 0),
    )
    assert (cols.first, cols.last, cols.pixels, cols.field, cols.beyond) == (
        3,
        7,
        5,
        (3, 7),
        (0, 0),
    )


def test_sight_through_gaps():
    layers = chained((1, 9, 9, 1), "conv 3 x2 dilation=2 valid")
    _, rows, _ = sight(layers, (1, 1))
    assert (rows.first, rows.last, rows.pixels) == (1, 5, 3)
    layers = chained((1, 3, 3, 1), "transpose 1 x1 stride=3")
    _, rows, cols = sight(layers, (1, 0))
    assert (rows.field, rows.pixels, rows.beyond, cols.field) == (None, 0, (0, 0), (0, 0))


@pytest.mark.parametrize(
    ("texts", "at", "message"),
    [
        (["flatten"], (0, 0), "no layer keeps the rows and columns of the image"),
        (["pool 2"], (4, 0), "there is no output 4,0: the height of layer 1 is 4"),
        (["pool 2"], (0, 5), "there is no output 0,5: the width of layer 1 is 4"),
    ],
)
def test_outputs_that_there_are_not(texts, at, message):
    with pytest.raises(UsageError) as caught:
        sight(chained((1, 8, 8, 1), *texts), at)
    assert caught.value.message.startswith(message)
