"""What is said of a stack that breaks, and that what is proposed does repair it."""

import re

import pytest

from convtool.errors import GeometryError
from convtool.geometry import image_shape, parse_size
from convtool.stack import repair
from convtool.stack.chain import BrokenLayer, chain
from convtool.stack.layers import parse_layer


def broken(size, *texts):
    with pytest.raises(GeometryError) as caught:
        chain([parse_layer(text) for text in texts], image_shape(parse_size(size)))
    return caught.value


def test_a_window_that_does_not_fit():
    error = broken("12x12x3", "conv 3x3 x8 stride=2 valid", "pool 2", "conv 5x5 x8 valid name=deep")
    assert isinstance(error, BrokenLayer)
    assert (error.number, error.status) == (3, 1)
    assert error.message == (
        "layer 3, deep (conv 5x5 x8 valid), input 1x2x2x8: no window fits the height: a kernel of "
        "5 at dilation 1 covers 5 rows, but there are 2 (2 + padding 0 + 0); "
        "floor((2 + 0 + 0 - 5) / 1) + 1 = -2"
    )
    assert error.hint == (
        "the stack works with padding same there; or with a kernel of 2x2 there; or with an input "
        "of at least 21x21x3"
    )


@pytest.mark.parametrize(
    ("size", "texts", "message", "hint"),
    [
        (
            "9x30",
            ["pool 3", "pool 3 padding=1", "pool 4"],
            "layer 3 (pool 4x4), input 1x1x4x1: no window fits the height",
            "padding same there; or with a window of 1x1 there; or with an input of at least "
            "30x30x1",
        ),
        (
            "9x9",
            ["conv 3 x1 dilation=3 valid", "conv kernel=gaussian:size=5 dilation=2 valid"],
            "layer 2 (conv kernel=gaussian:size=5 dilation=2 valid), input 1x3x3x1: no window fits",
            "padding same there; or with an input of at least 15x15x1",
        ),
        (
            "8x8x4",
            ["conv 3 x9 groups=2"],
            "groups must divide the filters, but 2 does not divide 9",
            "groups 1 there; or with 10 filters there",
        ),
        (
            "8x8x4",
            ["transpose 3 x9 groups=3"],
            "groups must divide the input channels, but 3 does not divide 4",
            "the stack works with groups 1 there",
        ),
        (
            "8x8x6",
            ["conv 3 x4 groups=4"],
            "groups must divide the input channels, but 4 does not divide 6",
            "the stack works with groups 2 there",
        ),
        (
            "2x2x3",
            ["transpose 3 x8 stride=2 valid output_shape=7x6", "conv 3 x1"],
            "the height cannot become 7",
            "output_shape 6x6 there; or with an input of 3x2x3",
        ),
        (
            "2x2x3",
            ["transpose 3 x8 stride=2 valid output_padding=2"],
            "output_padding must be below the stride 2",
            "the stack works with output_padding 1x1 there",
        ),
        (
            "28x28",
            ["conv 3 x8 fit stride=2"],
            "padding fit has no solution for the height",
            "padding same there; or with a kernel of 2x2 there; or with an input of 29x29x1",
        ),
        (
            "8x8x3",
            ["dense 10"],
            "a dense layer takes one row of values, but there are 8x8 pixels of 3",
            "the stack works with flatten and then dense there",
        ),
        (
            "1x1x100",
            ["dense 1000", "reshape 4x4x64"],
            "a reshape keeps the number of values, but 1x1x1000 are 1,000 and 4x4x64 are 1,024",
            "the stack works with 1024 units in layer 1 (dense x1000)",
        ),
        (
            "8x8x3",
            ["reshape 4x4x10"],
            "but 8x8x3 are 192 and 4x4x10 are 160",
            "the stack works with 4x4x12 there",
        ),
        (
            "8x8x3",
            ["transpose 3 x1 stride=2 fit"],
            "padding fit has no meaning for conv2d_transpose",
            "the stack works with padding same there",
        ),
        (
            "8x8",
            ["conv 3 x1 stride=2", "conv 3 x1 stride=2 valid", "conv kernel=1,2,3 valid"],
            "layer 3 (conv kernel=1,2,3 valid), input 1x1x1x1: no window fits the width",
            "padding same there; or with stride 1 in layer 1 (conv 3x3 x1 stride=2); or with an "
            "input of at least 13x13x1",
        ),
        (
            "20x20",
            ["conv 3 x1 stride=2 valid"] * 8,
            "layer 4 (conv 3x3 x1 stride=2 valid), input 1x1x1x1: no window fits the height",
            "the stack works with padding same in all layers; or with an input of at least 511x511",
        ),
        # A border that repeats pixels has none to repeat in an image of no height.
        (
            "0x4",
            ["conv 1 x1 padding=1 border=edge"],
            "the height is 0: there are no pixels for the border edge to repeat",
            "the stack works with an input of at least 1x4x1",
        ),
    ],
)
def test_what_would_repair_it(size, texts, message, hint):
    error = broken(size, *texts)
    assert message in error.message
    assert hint in error.hint


@pytest.mark.parametrize(
    ("size", "texts", "hint"),
    [
        (
            "28x28x3",
            [f"conv {10**9} x3 valid"],
            "padding same there; or with a kernel of 28x28 there",
        ),
        ("28x28x3", [f"pool {10**8}x3"], "padding same there; or with a window of 28x3 there"),
        # The kernel that leaves the pool its 100 lines, and not just any smaller one.
        ("1000x1000", [f"conv {10**9} x1 valid", "pool 100"], "a kernel of 901x901 there"),
        ("28x28", ["conv 3x3 x1 valid dilation=2000000000"], "or with a kernel of 1x1 there"),
        (
            "9x9",
            ["conv kernel=gaussian:size=3 dilation=2000000000 valid"],
            "padding same there; or with dilation 4x4 there",
        ),
        (
            f"28x28x{10**9}",
            ["conv 3 x1000000000 groups=999999999"],
            "the stack works with groups 500000000 there",
        ),
    ],
)
def test_numbers_far_too_large(size, texts, hint):
    assert hint in broken(size, *texts).hint


def test_a_long_stack_is_not_settled_for_ever(monkeypatch):
    settled = []
    settle = repair.settle

    def counted(layers, *rest):
        settled.append(len(layers))
        return settle(layers, *rest)

    monkeypatch.setattr(repair, "settle", counted)
    error = broken("28x28", *["conv 3 x1 stride=2"] * 500, "conv kernel=gaussian:size=3 valid")
    assert error.hint == "the stack works with padding same there"
    # The layers before, what was tried of changes and of inputs, each ending with a whole stack.
    assert sum(settled) <= 500 + 2 * (repair.MOST_SETTLED + 501)


def test_the_input_of_a_very_long_stack_is_one_that_works(monkeypatch):
    texts = ["conv 3 x1 valid"] * 20 + ["pool 9"]
    assert "an input of at least 49x49x1" in broken("9x9", *texts).hint
    # Trials with 1, 2, 4, 8, 16 and 32 pixels break soon, and that with 64 is the last.
    monkeypatch.setattr(repair, "MOST_SETTLED", 60)
    hint = broken("9x9", *texts).hint
    assert hint.endswith("an input of 64x64x1")
    chain([parse_layer(text) for text in texts], (1, 64, 64, 1))
    monkeypatch.setattr(repair, "MOST_SETTLED", 0)
    assert "what fits: " in broken("9x9", *texts).hint


def test_what_comes_before_a_change_is_settled_once():
    asked = []

    def kernel_of(layer):
        asked.append(layer.kernel)
        return (3, 3), 1

    layers = [parse_layer("conv kernel=a"), parse_layer("conv kernel=b valid")]
    before = chain(layers[:1], (1, 2, 2, 1), kernel_of)
    trials = repair.Trials(before, (1, 2, 2, 1), kernel_of)
    assert [trials.shape_at(index) for index in (0, 1)] == [(1, 2, 2, 1), (1, 2, 2, 1)]
    asked.clear()
    assert repair._found_changes(1, layers, trials) == ["padding same there"]
    assert "b" in asked
    assert asked.index("b") == 0


def test_what_nothing_repairs_keeps_the_advice_of_the_layer():
    shape = image_shape((8, 8, 3))
    with pytest.raises(GeometryError) as caught:
        chain([parse_layer("conv kernel=w")], shape, lambda layer: ((3, 3, 4, 8), 1))
    assert caught.value.message.startswith(
        "layer 1 (conv kernel=w), input 1x8x8x3: the kernel takes 4 input channels"
    )
    assert caught.value.hint == "a kernel of 3x3x3x8 would fit"


def test_layers_of_a_file_are_named_by_it():
    layer = parse_layer("pool 9")._replace(written="layer 4 of net.toml")
    with pytest.raises(GeometryError, match=r"^layer 4 of net\.toml \(pool 9x9\), input 1x8x8x3: "):
        chain([layer], image_shape((8, 8, 3)))


@pytest.mark.parametrize("height", range(1, 13, 3))
def test_the_input_that_is_named_is_the_smallest_that_works(height):
    texts = ["conv 5x3 x4 valid stride=2", "pool 2", "conv 3x3 x4 valid"]
    error = broken(f"{height}x40", *texts)
    [size] = re.findall(r"at least (\d+)x40x1", error.hint)
    layers = [parse_layer(text) for text in texts]
    assert chain(layers, (1, int(size), 40, 1))
    with pytest.raises(BrokenLayer):
        chain(layers, (1, int(size) - 1, 40, 1))
