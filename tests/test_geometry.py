"""The geometry against counting windows, and the worked examples of the literature."""

import itertools
import subprocess
import sys
from math import ceil

import numpy as np
import pytest

from convtool.errors import GeometryError, UsageError
from convtool.geometry import (
    Axis,
    Border,
    ConvSpec,
    Padding,
    ReceptiveField,
    effective_kernel,
    fit_pad,
    forward_axis,
    image_shape,
    parse_pair,
    parse_size,
    plan,
    same_pads,
    transposed_axis,
    transposed_sizes,
)
from convtool.terms import BorderMode, Op, PaddingMode

SIZES, KERNELS, STRIDES, DILATIONS = range(1, 13), range(1, 6), range(1, 5), range(1, 4)
BOX = list(itertools.product(SIZES, KERNELS, STRIDES, DILATIONS))


def count_windows(i, k, s, d, before, after):
    """Put windows down one after the other until one does not fit."""
    covered, count = (k - 1) * d + 1, 0
    while count * s + covered <= before + i + after:
        count += 1
    return count


def check_axis(axis: Axis):
    assert axis.o == count_windows(axis.i, axis.k, axis.s, axis.d, axis.before, axis.after)
    last = (axis.o - 1) * axis.s + axis.window
    assert axis.dropped == axis.i + axis.before + axis.after - last
    assert 0 <= axis.dropped < axis.s
    assert len(axis.centres) == axis.o


@pytest.mark.parametrize("mode", [PaddingMode.SAME, PaddingMode.SAME_LOWER])
def test_same_pads_follow_tensorflow_and_onnx_over_a_box(mode):
    for i, k, s, d in BOX:
        axis = forward_axis(i, k, s, d, mode)
        check_axis(axis)
        # TensorFlow, "Neural network" guide: two cases by the remainder.
        k_eff = (k - 1) * d + 1
        total = max(k_eff - s, 0) if i % s == 0 else max(k_eff - i % s, 0)
        small, large = total // 2, total - total // 2
        assert axis.o == ceil(i / s)
        lower = mode is PaddingMode.SAME_LOWER
        assert (axis.before, axis.after) == ((large, small) if lower else (small, large))


def test_valid_over_a_box():
    for i, k, s, d in BOX:
        expected = count_windows(i, k, s, d, 0, 0)
        if expected == 0:
            with pytest.raises(GeometryError, match="no window fits the height"):
                forward_axis(i, k, s, d, PaddingMode.VALID)
        else:
            axis = forward_axis(i, k, s, d, PaddingMode.VALID)
            check_axis(axis)
            assert (axis.o, axis.before, axis.after) == (expected, 0, 0)
            # TensorFlow writes it so: ceil((i - k_eff + 1) / s).
            assert axis.o == ceil((i - effective_kernel(k, d) + 1) / s)


def test_full_and_explicit_over_a_box():
    for i, k, s, d in BOX:
        axis = forward_axis(i, k, s, d, PaddingMode.FULL)
        check_axis(axis)
        assert axis.before == axis.after == (k - 1) * d
        for before, after in ((0, 0), (1, 0), (0, 2), (3, 1)):
            expected = count_windows(i, k, s, d, before, after)
            if expected:
                axis = forward_axis(i, k, s, d, (before, after))
                check_axis(axis)
                assert (axis.o, axis.before, axis.after) == (expected, before, after)
                if before == after:  # PyTorch's formula
                    assert axis.o == (i + 2 * before - d * (k - 1) - 1) // s + 1
            else:
                with pytest.raises(GeometryError):
                    forward_axis(i, k, s, d, (before, after))


def test_fit_is_the_smallest_pad_that_ends_on_the_border_over_a_box():
    for i, k, s, d in BOX:
        works = [
            p
            for p in range(i)
            if count_windows(i, k, s, d, p, p)
            and (count_windows(i, k, s, d, p, p) - 1) * s + (k - 1) * d + 1 == i + 2 * p
        ]
        assert fit_pad(i, k, s, d) == (works[0] if works else None)
        if works:
            axis = forward_axis(i, k, s, d, PaddingMode.FIT)
            check_axis(axis)
            assert axis.dropped == 0
            assert axis.before == axis.after == works[0]
        else:
            with pytest.raises(GeometryError, match="padding fit has no solution"):
                forward_axis(i, k, s, d, PaddingMode.FIT)


def test_fit_of_a_large_stride_is_answered_at_once():
    for i, k, s in ((1000, 3, 100_000), (1000, 4, 100_001), (10**8, 2, 10**9 + 1)):
        with pytest.raises(GeometryError, match="no solution"):
            forward_axis(i, k, s, 1, PaddingMode.FIT)


def test_transposed_sizes_are_those_that_the_convolution_brings_back_over_a_box():
    paddings = (
        PaddingMode.SAME,
        PaddingMode.SAME_LOWER,
        PaddingMode.VALID,
        PaddingMode.FULL,
        (0, 0),
        (1, 0),
        (2, 1),
    )
    for (o, k, s, d), padding in itertools.product(BOX, paddings):
        brought_back = []
        for i in range(1, o * s + k * d + 8):
            try:
                if forward_axis(i, k, s, d, padding).o == o:
                    brought_back.append(i)
            except GeometryError:
                continue
        legal = transposed_sizes(o, k, s, d, padding)
        assert list(legal) == brought_back, (o, k, s, d, padding)
        for i in legal:
            axis = transposed_axis(o, k, s, d, padding, size=i)
            assert axis == forward_axis(i, k, s, d, padding)
            chosen = transposed_axis(o, k, s, d, padding, output_padding=i - (legal.stop - s))
            assert chosen.i == i


def test_transposed_defaults():
    assert transposed_axis(5, 3, 2, 1, PaddingMode.SAME).i == 10
    assert transposed_axis(5, 3, 2, 1, PaddingMode.VALID).i == 11
    assert transposed_axis(5, 3, 2, 1, (1, 1)).i == 9  # PyTorch: (5-1)·2 - 2·1 + (3-1) + 0 + 1
    assert transposed_axis(5, 3, 2, 1, PaddingMode.FULL).i == 7


def test_transposed_plan_of_the_textbook():
    for extra, size in (({}, 5), ({"output_shape": 6}, 6), ({"output_padding": 1}, 6)):
        spec = ConvSpec.of(Op.CONV2D_TRANSPOSE, stride=2, padding="valid", **extra)
        settled = plan(spec, (1, 2, 2, 4), (3, 3, 7, 4))
        assert settled.output_shape == (1, size, size, 7)
        assert settled.receptive_field is None
        assert settled.macs == 4 * 9 * 4 * 7
    assert plan(ConvSpec.of(Op.CONV2D_TRANSPOSE), (1, 2, 2, 4), (3, 3)).output_shape == (1, 2, 2, 4)


WORKED = [
    # input, kernel, stride, padding, output
    ((1, 5, 5, 5), (3, 3, 5, 7), 1, "same", (1, 5, 5, 7)),
    ((1, 5, 5, 5), (3, 3, 5, 7), 2, "same", (1, 3, 3, 7)),
    ((10, 5, 5, 5), (3, 3, 5, 7), 2, "same", (10, 3, 3, 7)),
    ((1, 4, 4, 3), (3, 3, 3, 1), 2, "same", (1, 2, 2, 1)),
    ((1, 6, 6, 3), (3, 3, 3, 1), 2, "same", (1, 3, 3, 1)),
    ((1, 4, 4, 3), (3, 3, 3, 1), 2, "valid", (1, 1, 1, 1)),
    ((1, 6, 6, 3), (3, 3, 3, 1), 2, "valid", (1, 2, 2, 1)),
    ((1, 28, 28, 1), (3, 3, 1, 32), 1, "same", (1, 28, 28, 32)),
    ((1, 28, 28, 1), (3, 3), 3, "fit", (1, 10, 10, 1)),
    ((1, 224, 224, 3), (7, 7, 3, 64), 2, 3, (1, 112, 112, 64)),
]


@pytest.mark.parametrize(("shape", "kernel", "stride", "padding", "expected"), WORKED)
def test_worked_examples(shape, kernel, stride, padding, expected):
    spec = ConvSpec.of(stride=stride, padding=padding)
    assert plan(spec, shape, kernel).output_shape == expected


def test_fit_of_28_with_3_at_stride_3_pads_1():
    settled = plan(ConvSpec.of(stride=3, padding="fit"), (1, 28, 28, 1), (3, 3))
    assert settled.pads == (1, 1, 1, 1)
    assert settled.dropped == (0, 0)


def test_numbers_of_a_plan():
    settled = plan(ConvSpec.of(stride=(2, 1), dilation=(1, 2)), (2, 9, 10, 4), (3, 2, 4, 6))
    assert settled.output_shape == (2, 5, 10, 6)
    assert settled.parameters == 3 * 2 * 4 * 6
    assert settled.windows == 50
    assert settled.macs == 2 * 50 * 3 * 2 * 4 * 6
    bank = plan(ConvSpec.of(), (2, 9, 10, 4), (3, 3), filters=5)
    assert bank.output_shape == (2, 9, 10, 20)
    assert (bank.parameters, bank.macs, bank.groups) == (45, 2 * 90 * 45 * 4, 4)


def test_receptive_field_of_a_chain():
    # Two 3x3 at stride 2 see 7 pixels: Araujo et al. 2019, closed form Σ(k-1)Πs + 1.
    axis = forward_axis(9, 3, 2, 1, (1, 1))
    field = ReceptiveField().through(axis, axis)
    assert (field.size, field.jump, field.start) == ((3, 3), (2, 2), (0.0, 0.0))
    field = field.through(axis, axis)
    assert (field.size, field.jump, field.start) == ((7, 7), (4, 4), (0.0, 0.0))


def test_receptive_field_is_where_the_windows_are_over_a_box():
    for i, k, s, d in BOX:
        axis = forward_axis(i, k, s, d, PaddingMode.SAME)
        field = ReceptiveField().through(axis, axis)
        for j in range(axis.o):
            first = j * s - axis.before
            last = first + (k - 1) * d
            assert field.start[0] + j * field.jump[0] == (first + last) / 2
            assert field.size[0] == last - first + 1
            assert axis.centres[j] == (first + last) // 2


# What is said


def notes(spec, shape, kernel):
    return {note.code: note.message for note in plan(spec, shape, kernel).notes}


def test_notes_name_the_odd_pixel():
    even = (1, 4, 5, 1), (3, 3)
    said = notes(ConvSpec.of(stride=2), *even)["odd-padding"]
    assert said == "the odd row is at the bottom"
    said = notes(ConvSpec.of(stride=2, padding="SAME_LOWER"), *even)["odd-padding"]
    assert said == "the odd row is at the top"
    assert "odd-padding" not in notes(ConvSpec.of(), *even)


def test_notes_name_what_is_dropped_and_stepped_over():
    said = notes(ConvSpec.of(stride=2, padding="valid"), (1, 4, 5, 1), (3, 3))
    assert said == {"dropped": "the last row is read by no window"}
    said = notes(ConvSpec.of(stride=2, padding=1), (1, 4, 6, 1), (3, 3))
    assert said == {"unused-padding": "1 row and 1 column of padding at the end are unused"}
    said = notes(ConvSpec.of(stride=3, padding=((0, 1), (0, 0))), (1, 7, 6, 1), (3, 3))
    assert said == {
        "unused-padding": "1 row of padding at the end is unused",
        "dropped": "the last row is read by no window",
    }
    said = notes(ConvSpec.of(stride=3, padding="valid"), (1, 8, 8, 1), (3, 3))
    assert said == {"dropped": "the last 2 rows and the last 2 columns are read by no window"}
    said = notes(ConvSpec.of(stride=(3, 1)), (1, 9, 9, 1), (2, 2))
    assert said["gaps"] == (
        "the stride 3 steps over the window of 2: 1 of every 3 rows are never read"
    )


# What cannot be


def refused(kind=GeometryError, shape=(1, 28, 28, 3), kernel=(3, 3), filters=1, **options):
    with pytest.raises(kind) as caught:
        plan(ConvSpec.of(**options), shape, kernel, filters=filters)
    return caught.value.message, caught.value.hint


def test_a_window_that_does_not_fit_shows_the_numbers_and_what_fits():
    message, hint = refused(shape=(1, 7, 9, 1), kernel=(3, 3), padding="valid", dilation=4)
    assert message == (
        "no window fits the height: a kernel of 3 at dilation 4 covers 9 rows, but there are 7 "
        "(7 + padding 0 + 0); floor((7 + 0 + 0 - 9) / 1) + 1 = -1"
    )
    assert hint == (
        "what fits: padding same, padding of 1 on each side, a dilation of at most 3 or "
        "a kernel of at most 2"
    )
    assert plan(ConvSpec.of(padding="valid", dilation=3), (1, 7, 9, 1), (3, 3)).rows.o == 1
    assert plan(ConvSpec.of(padding=1, dilation=4), (1, 7, 9, 1), (3, 3)).rows.o == 1
    assert plan(ConvSpec.of(padding="valid", dilation=4), (1, 7, 9, 1), (2, 2)).rows.o == 3
    message, _ = refused(shape=(1, 9, 7, 1), kernel=(3, 9), padding="valid")
    assert message.startswith("no window fits the width: a kernel of 9 at dilation 1 covers 9 col")


def test_fit_without_a_solution_says_why_and_what_is_near():
    message, hint = refused(shape=(1, 28, 28, 1), padding="fit", stride=2)
    assert message == (
        "padding fit has no solution for the height: i + 2p - k_eff must be a multiple of s, but "
        "28 + 2p - 3 is odd for every p, and the stride 2 is even"
    )
    assert hint == (
        "what fits: a kernel of 2 or 4, a stride of 1 or 3, a height of 27 or 29 or padding same"
    )
    message, _ = refused(shape=(1, 2, 2, 1), padding="fit", stride=7, kernel=(1, 1))
    assert message.endswith("but no p below 2 makes 2 + 2p - 1 a multiple of the stride 7")


def test_an_empty_axis_is_legal_only_where_padding_makes_a_window():
    assert plan(ConvSpec.of(padding=2), (1, 0, 5, 1), (3, 3)).output_shape == (1, 2, 7, 1)
    message, hint = refused(shape=(1, 0, 5, 1))
    assert message.startswith("no window fits the height")
    assert hint == "what fits: padding of 2 on each side or a kernel of at most 2"
    message, hint = refused(shape=(1, 0, 5, 1), padding=2, border="edge")
    assert message == "the height is 0: there are no pixels for the border edge to repeat"
    assert hint == "use border zero or constant:V"
    assert plan(ConvSpec.of(), (0, 5, 5, 1), (3, 3)).output_shape == (0, 5, 5, 1)


def test_channels_and_groups_that_do_not_go_together():
    message, hint = refused(shape=(1, 480, 640, 4), kernel=(3, 3, 3, 8))
    assert message == (
        "the kernel takes 3 input channels, but the images have 4 "
        "(images 1x480x640x4, kernel 3x3x3x8)"
    )
    assert hint == "a kernel of 3x3x4x8 would fit"
    message, hint = refused(shape=(1, 8, 8, 4), kernel=(3, 3, 2, 8))
    assert hint == "groups 2 would fit"
    assert plan(ConvSpec.of(groups=2), (1, 8, 8, 4), (3, 3, 2, 8)).output_shape[3] == 8
    message, hint = refused(shape=(1, 8, 8, 4), kernel=(3, 3, 2, 8), groups=3)
    assert message.startswith("groups must divide the input channels, but 3 does not divide 4 (im")
    assert hint == "groups that divide both: 1, 2 or 4; this kernel goes with 2"
    message, hint = refused(shape=(1, 8, 8, 6), kernel=(3, 3, 2, 8), groups=3)
    assert message.startswith("groups must divide the filters, but 3 does not divide 8")
    assert hint == "groups that divide both: 1 or 2"
    message, hint = refused(shape=(1, 8, 8, 6), kernel=(1, 1, 2, 6), groups=4)
    assert hint == "groups that divide both: 1, 2, 3 or 6; this kernel goes with 3"
    message, hint = refused(kernel=(3, 3), groups=2)
    assert "groups must be 1 or 3, not 2" in message
    assert "4 axes (HWIO)" in hint
    message, hint = refused(kernel=(16, 3, 7, 7))
    assert hint == (
        "the kernel looks like PyTorch's OIHW: --layout OIHW, or in a stack layout=OIHW, reads it "
        "as such; in Python transpose(2, 3, 1, 0) makes it HWIO"
    )
    message, hint = refused(shape=(1, 3, 28, 28), kernel=(7, 5, 3, 16))
    assert hint == "the images look like NCHW: transpose(0, 2, 3, 1) makes them NHWC"
    message, hint = refused(shape=(1, 8, 8, 5), kernel=(3, 3, 2, 8), groups=1)
    assert hint == "a kernel of 3x3x5x8 would fit"
    message, hint = refused(op=Op.CONV2D_TRANSPOSE, shape=(1, 8, 8, 5), kernel=(3, 3, 2, 8))
    assert hint == "a kernel of 3x3x2x5 would fit"
    message, _ = refused(op=Op.CONV2D_TRANSPOSE, filters=2)
    assert "one filter of 2 axes, not a bank of 2" in message


def test_shapes_that_are_none():
    assert "4 axes (NHWC), not 3" in refused(shape=(5, 5, 1))[0]
    assert "2 axes (kh, kw) or 4 (HWIO), not 3" in refused(kernel=(3, 3, 3))[0]
    assert "(HWOI), not 1" in refused(op=Op.CONV2D_TRANSPOSE, kernel=(3,))[0]
    assert "at least 1: 3x0" in refused(kernel=(3, 0))[0]
    assert "at least 1 channel: 1x5x5x0" in refused(shape=(1, 5, 5, 0))[0]


def test_transposed_sizes_that_cannot_be_name_the_legal_range():
    def transposed(**options):
        return refused(op=Op.CONV2D_TRANSPOSE, shape=(1, 2, 2, 1), stride=2, **options)

    message, hint = transposed(padding="valid", output_shape=7)
    assert message == (
        "the height cannot become 7: from 2, kernel 3, stride 2, dilation 1 and padding valid "
        "lead to 5 to 6"
    )
    assert hint == (
        "what fits: an output of 6 (output_padding 1); an input of 3, which leads to 7 to 8; "
        "a stride of 3"
    )
    assert 7 in transposed_sizes(3, 3, 2, 1, PaddingMode.VALID)
    assert 7 in transposed_sizes(2, 3, 3, 1, PaddingMode.VALID)
    _, hint = transposed(padding="valid", output_shape=2)
    assert hint == (
        "no input at all leads to 2 with padding valid; what fits: an output of 5 "
        "(output_padding 0)"
    )
    _, hint = transposed(padding="same", output_shape=100)
    assert hint == (
        "what fits: an output of 4 (output_padding 1); an input of 50, which leads to 99 to 100"
    )
    message, hint = transposed(padding="valid", output_padding=2)
    assert "2 makes the height 7; legal are 5 to 6" in message
    assert hint == "what fits: output_padding 0 to 1; an input of 3, which leads to 7 to 8"
    message, _ = transposed(padding="valid", output_padding=1, output_shape=5)
    assert message.startswith("output_shape and output_padding disagree on the height: 5, and 5 +")
    message, hint = transposed(padding=9)
    assert message == (
        "the padding takes away the whole height: (2 - 1)·2 + 3 - 9 - 9 leaves at most -12 pixels"
    )
    assert hint == "what fits: padding of at most 5 in all; an input of at least 9"
    assert list(transposed_sizes(9, 3, 2, 1, (9, 9))) == [1, 2]
    assert not transposed_sizes(8, 3, 2, 1, (9, 9))
    assert list(transposed_sizes(2, 3, 2, 1, (3, 2))) == [1]
    assert not transposed_sizes(2, 3, 2, 1, (3, 3))
    message, hint = transposed(padding="full", kernel=(9, 9))
    assert message.endswith("(2 - 1)·2 + 9 - 8 - 8 leaves at most -4 pixels")
    message, _ = refused(op=Op.CONV2D_TRANSPOSE, shape=(1, 0, 2, 1))
    assert message == "conv2d_transpose needs at least 1 pixel, but the height is 0"
    message, hint = refused(UsageError, op=Op.CONV2D_TRANSPOSE, padding="fit")
    assert message.startswith("padding fit has no meaning for conv2d_transpose")
    assert transposed_axis(2, 3, 2, 1, (3, 2), size=1).i == 1
    with pytest.raises(GeometryError, match=r"0 \+ 1 lead to 1 \("):
        transposed_axis(1, 1, 2, 1, (0, 1), size=5)


# What the caller may write


def test_paddings_are_read_from_text_and_from_numbers():
    explicit = PaddingMode.EXPLICIT
    for given, mode, amounts in [
        ("Same", PaddingMode.SAME, (0, 0, 0, 0)),
        ("SAME_LOWER", PaddingMode.SAME_LOWER, (0, 0, 0, 0)),
        ("2", explicit, (2, 2, 2, 2)),
        ("2x1", explicit, (2, 2, 1, 1)),
        ("1,2,3,4", explicit, (1, 2, 3, 4)),
        (2, explicit, (2, 2, 2, 2)),
        ((2, 1), explicit, (2, 2, 1, 1)),
        (((1, 2), (3, 4)), explicit, (1, 2, 3, 4)),
        ((1, 2, 3, 4), explicit, (1, 2, 3, 4)),
        (np.array([[1, 2], [3, 4]]), explicit, (1, 2, 3, 4)),
        (np.array([2, 1]), explicit, (2, 2, 1, 1)),
    ]:
        assert Padding.parse(given) == Padding(mode, amounts)
    assert str(Padding.parse("1,2,3,4")) == "1,2,3,4"
    assert str(Padding.parse("Fit")) == "fit"
    assert Padding.parse(Padding()) == Padding()


def test_borders_are_read():
    assert Border.parse("Edge") == Border(BorderMode.EDGE)
    assert Border.parse("constant:12.5") == Border(BorderMode.CONSTANT, 12.5)
    assert str(Border.parse("constant:12.5")) == "constant:12.5"
    assert Border.parse(Border()) == Border()
    assert Border.parse("zero").is_fill
    assert not Border.parse("wrap").is_fill


def test_sizes_and_pairs_are_read():
    assert parse_size("480x640X3") == (480, 640, 3)
    assert image_shape((4, 5)) == (1, 4, 5, 1)
    assert image_shape((4, 5, 3)) == (1, 4, 5, 3)
    assert image_shape((2, 4, 5, 3)) == (2, 4, 5, 3)
    assert parse_pair("2x1", "stride") == (2, 1)
    assert parse_pair(2, "stride") == parse_pair((2, 2), "stride") == (2, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stride": 0}, "stride must be at least 1, but is 0"),
        ({"stride": np.array([0, 2])}, "stride must be at least 1, but is 0x2"),
        ({"border": 0}, "border must be a word such as edge, not 0"),
        ({"stride": "0x2"}, "stride must be at least 1, but is 0x2"),
        ({"stride": "2x"}, "stride must be a whole number or HxW, not '2x'"),
        ({"stride": (1, 2, 3)}, "stride must be one number or two (height, width), not 3 numbers"),
        ({"stride": 1.5}, "stride must be made of whole numbers, not [1.5]"),
        ({"dilation": True}, "dilation must be made of whole numbers, not [True]"),
        ({"dilation": -1}, "dilation must be at least 1, but is -1"),
        ({"stride": 10**20}, "stride must be at most 2147483647, but is 1000000000000000000"),
        ({"groups": 0}, "groups must be at least 1, but is 0"),
        ({"padding": "smae"}, "'smae' is no padding"),
        ({"padding": "explicit"}, "'explicit' is no padding"),
        ({"padding": "1,2,3"}, "'1,2,3' is no padding"),
        ({"padding": -1}, "padding must be at least 0, but is -1"),
        (
            {"padding": "0,0,0,-1"},
            "padding must be at least 0 and at most 2147483647, but is 0,0,0,-1",
        ),
        ({"padding": ((1, 2), 3)}, "padding must be ((top, bottom), (left, right)), not ((1,"),
        ({"border": "mirror"}, "border must be one of zero, constant, edge, reflect, symmetric,"),
        ({"border": "constant"}, "the border constant needs a number, not ''"),
        ({"border": "edge:3"}, "only the border constant takes a number, not 'edge:3'"),
        ({"output_shape": 0}, "output_shape must be at least 1, but is 0"),
        ({"output_padding": -1}, "output_padding must be at least 0, but is -1"),
    ],
)
def test_what_no_image_could_make_right(options, message):
    with pytest.raises(UsageError) as caught:
        ConvSpec.of(**options)
    assert caught.value.message.startswith(message)


def test_sizes_that_are_none():
    with pytest.raises(UsageError, match="a size is written HxW"):
        parse_size("28x")
    with pytest.raises(UsageError, match="2, 3 or 4 numbers"):
        image_shape((1, 2, 3, 4, 5))


def test_same_pads_of_the_first_layer_of_resnet():
    # 224, kernel 7, stride 2: TensorFlow pads (2, 3) where PyTorch's layer has 3.
    assert same_pads(224, 7, 2, 1) == (2, 3)


def test_geometry_imports_nothing_heavy():
    code = (
        "import sys, convtool.geometry; "
        "print([m for m in ('numpy', 'PIL', 'numba', 'rich', 'typer') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_windows_that_lie_in_the_padding_alone_are_counted():
    def note(i, k, **options):
        notes = plan(ConvSpec.of(**options), (1, i, i, 1), (k, k)).notes
        return {note.code: note.message for note in notes}.get("padding-alone")

    for i, k, s, d in itertools.product(range(1, 6), range(1, 4), (1, 2, 7), (1, 2)):
        for before, after in itertools.product(range(7), repeat=2):
            axis = forward_axis(i, k, s, d, (before, after)) if i + before + after > 4 else None
            if axis is None:
                continue
            starts = [j * s - before for j in range(axis.o)]
            idle = sum(start + axis.window <= 0 or start >= i for start in starts)
            said = note(i, k, stride=s, dilation=d, padding=((before, after), (before, after)))
            if idle:
                which = f"{idle} of {axis.o}"
                assert said == (
                    f"{which} rows and {which} columns of windows lie wholly in the padding"
                )
            else:
                assert said is None
    assert note(10, 3, stride=15, padding="fit") == (
        "2 of 2 rows and 2 of 2 columns of windows lie wholly in the padding"
    )


def test_padding_same_is_no_way_out_where_it_drops_something():
    _, hint = refused(shape=(1, 28, 28, 1), kernel=(3, 3), stride=6, padding="fit")
    assert "same" not in hint
    assert hint.startswith("what fits: a kernel of 2 or 4, a stride of 5 or 7")
    notes = plan(ConvSpec.of(stride=6, padding="valid"), (1, 28, 28, 1), (3, 3)).notes
    assert [note.hint for note in notes if note.code == "dropped"] == [""]


def test_what_pytorch_takes_and_its_kernels_are_recognized():
    options = {"stride": 2, "dilation": 3, "padding": 1, "output_padding": 2}
    message, hint = refused(op=Op.CONV2D_TRANSPOSE, shape=(1, 5, 5, 1), kernel=(5, 5), **options)
    assert message.startswith("output_padding must be below the stride 2")
    assert "PyTorch takes what is below the dilation 3, too" in hint
    _, hint = refused(op=Op.CONV2D_TRANSPOSE, shape=(1, 5, 5, 6), kernel=(6, 3, 4, 4))
    assert hint.startswith(
        "the kernel looks like PyTorch's IOHW: --layout IOHW, or in a stack layout=IOHW"
    )


def test_lines_that_are_never_read_are_counted_with_the_dilation():
    for k, s, d in itertools.product(range(1, 5), range(1, 6), range(1, 5)):
        settled = plan(ConvSpec.of(stride=s, dilation=d, padding="valid"), (1, 60, 60, 1), (k, k))
        read = {j * s + a * d for j in range(settled.rows.o) for a in range(k)}
        # Far from both ends, over one period of the stride.
        missed = sum(line not in read for line in range(24, 24 + s))
        said = [note.message for note in settled.notes if note.code == "gaps"]
        if missed:
            assert f"{missed} of every {s} rows are never read" in said[0]
            assert len(said) == 2
        else:
            assert said == []
