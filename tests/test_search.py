"""The questions that run backwards, against trying everything."""

import itertools
import re
from math import ceil

import pytest

from convtool.errors import GeometryError, UsageError
from convtool.geometry import ConvSpec, Padding, effective_kernel, forward_axis, plan
from convtool.search import (
    DILATIONS,
    KERNELS,
    PADDINGS,
    STRIDES,
    Fixed,
    fit,
    gaps,
    lost,
    undo,
    wanted,
)
from convtool.terms import Op, PaddingMode

VALID, SAME, LOWER = PaddingMode.VALID, PaddingMode.SAME, PaddingMode.SAME_LOWER


def planned(option, size, transpose):
    """Plan an option as a person would type it."""
    op = Op.CONV2D_TRANSPOSE if transpose else Op.CONV2D
    spec = ConvSpec.of(
        op,
        stride=option.stride,
        dilation=option.dilation,
        padding=option.padding,
        output_padding=option.output_padding,
    )
    return plan(spec, (1, *size, 1), option.kernel)


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize(
    ("size", "want"),
    [
        ((224, 224), (112, 112)),
        ((14, 14), (28, 28)),
        ((13, 13), (13, 13)),
        ((28, 31), (10, 11)),
        ((7, 7), (1, 1)),
        ((9, 12), (28, 25)),
    ],
)
def test_every_option_gives_the_size_that_is_wanted(size, want, transpose):
    answer = wanted(size, want, transpose=transpose)
    for option in answer.options:
        settled = planned(option, size, transpose)
        assert settled.output_shape[1:3] == want
        assert (settled.rows, settled.cols) == (option.rows, option.cols)
    costs = [option.cost for option in answer.options]
    assert costs == sorted(costs)
    assert len({(option.rows, option.cols) for option in answer.options}) == len(costs)


def by_trying(size, want):
    """Return the numbers of every square layer within the limits that gives a size."""
    found = set()
    for k, s, d in itertools.product(KERNELS, STRIDES, DILATIONS):
        if k == 1 and d > 1:
            continue
        for padding in (VALID, SAME, LOWER, *((p, p) for p in range(effective_kernel(k, d)))):
            try:
                axis = forward_axis(size, k, s, d, padding)
            except GeometryError:
                continue
            if axis.o == want:
                found.add(axis)
    return found


@pytest.mark.parametrize(("size", "want"), [(28, 14), (28, 26), (9, 4), (5, 1), (6, 9), (30, 29)])
def test_nothing_within_the_limits_is_left_out(size, want):
    answer = wanted((size, size), (want, want))
    assert {option.rows for option in answer.options} == by_trying(size, want)
    assert all(option.rows == option.cols for option in answer.options)
    assert not answer.apart


def test_large_numbers_are_answered_at_once():
    far = wanted((6000, 6000), (1, 1))
    assert far.options[0].rows.o == 1
    assert wanted((1, 1), (6000, 6000), transpose=True).options[0].stride[0] <= 6001
    huge = wanted((10**6, 10**6), (10**6, 10**6), Fixed(kernel=(99_999, 99_999))).options
    assert settings(huge[0]) == ((99_999, 99_999), (1, 1), (1, 1), "same")
    assert wanted((5, 5), (10**6, 10**6), Fixed(kernel=(99_999, 99_999))).options == ()


def settings(option):
    return option.kernel, option.stride, option.dilation, str(option.padding)


def test_the_simplest_come_first():
    first, second, *_ = wanted((224, 224), (112, 112)).options
    assert settings(first) == ((3, 3), (2, 2), (1, 1), "same")
    assert settings(second) == ((3, 3), (2, 2), (1, 1), "1,1,1,1")
    assert settings(wanted((28, 28), (26, 26)).options[0]) == ((3, 3), (1, 1), (1, 1), "valid")
    assert settings(wanted((28, 28), (28, 28)).options[0]) == ((3, 3), (1, 1), (1, 1), "same")
    assert settings(wanted((7, 7), (1, 1)).options[0]) == ((7, 7), (1, 1), (1, 1), "valid")


def test_the_simplest_enlargements_overlap_evenly():
    two = wanted((14, 14), (28, 28), transpose=True).options
    assert [option.kernel for option in two[:3]] == [(2, 2), (4, 4), (3, 3)]
    assert all(option.output_padding is None for option in two[:3])
    assert settings(wanted((7, 7), (28, 28), transpose=True).options[0])[:2] == ((4, 4), (4, 4))
    chosen = wanted((14, 14), (27, 27), Fixed(kernel=(4, 4)), transpose=True).options
    assert chosen[0].output_padding == (0, 0)


def test_what_was_said_is_held():
    fixed = Fixed((7, 7), None, (1, 1), Padding.parse(3))
    [only] = wanted((224, 224), (112, 112), fixed).options
    assert settings(only) == ((7, 7), (2, 2), (1, 1), "3,3,3,3")
    oblong = wanted((28, 28), (26, 24), Fixed(kernel=(3, 5)))
    assert settings(oblong.options[0]) == ((3, 5), (1, 1), (1, 1), "valid")
    assert not oblong.apart
    held = Fixed(stride=(2, 2), output_padding=(1, 1))
    options = wanted((14, 14), (28, 28), held, transpose=True).options
    assert options
    for option in options:
        assert option.stride == (2, 2)
        exact = planned(option._replace(output_padding=(1, 1)), (14, 14), True)
        assert exact.output_shape[1:3] == (28, 28)


def test_axes_that_need_settings_of_their_own_get_them():
    answer = wanted((28, 30), (14, 10))
    assert answer.apart
    assert settings(answer.options[0]) == ((3, 3), (2, 3), (1, 1), "same")
    # 30 rows are thirds without padding, 28 columns are not: one word does for both.
    both = wanted((30, 28), (10, 10)).options[0]
    assert settings(both) == ((3, 3), (3, 3), (1, 1), "same")
    assert both.rows.before == both.rows.after == 0
    assert (both.cols.before, both.cols.after) == (1, 1)


def test_uneven_numbers_are_the_last_resort():
    # 2p + 4 - 3 is odd: no equal padding makes 3 windows of stride 1 into 4 … 5 needs 3 in all.
    fixed = Fixed(kernel=(4, 4), stride=(1, 1), dilation=(1, 1))
    options = wanted((4, 4), (6, 6), fixed).options
    assert {str(option.padding) for option in options} == {"2,3,2,3", "3,2,3,2"}


def test_where_nothing_is_found_the_nearest_sizes_are_named():
    answer = wanted((28, 28), (300, 14))
    assert answer.options == ()
    reachable = {o for o in range(40, 70) if by_trying(28, o)}
    assert answer.nearest == ((max(reachable),), ())
    fixed = Fixed(kernel=(3, 3), stride=(2, 2), dilation=(1, 1), padding=Padding.parse("valid"))
    assert wanted((28, 28), (20, 20), fixed).nearest == ((13,), (13,))
    answer = wanted((5, 5), (12, 12), fixed, transpose=True)
    assert answer.options[0].output_padding == (1, 1)
    answer = wanted((5, 5), (13, 10), fixed, transpose=True)
    assert answer.nearest == ((12,), (11,))
    fixed = fixed._replace(stride=(4, 4), output_padding=(0, 0))
    assert wanted((5, 5), (20, 20), fixed, transpose=True).nearest == ((19,), (19,))


def test_fit_over_a_box():
    for i, k, s, d in itertools.product(range(1, 13), range(1, 6), range(1, 5), range(1, 4)):
        rows, cols = fit((i, i), (k, k), (s, s), (d, d))
        assert rows._replace(axis="") == cols._replace(axis="", why=rows.why, hint=rows.hint)
        k_eff = effective_kernel(k, d)
        wasteless = {
            (before, after): (i + before + after - k_eff) // s + 1
            for before in range(12 + k_eff)
            for after in range(12 + k_eff)
            if i + before + after >= k_eff and (i + before + after - k_eff) % s == 0
        }
        equal = {p: o for (p, after), o in wasteless.items() if p == after and p < k_eff}
        assert {p: rows.settled(p).o for p in rows.equal} == equal
        assert all(rows.settled(p).dropped == 0 for p in rows.equal)
        assert bool(rows.why) == bool(rows.hint) == (not equal)
        least = min(sum(pads) for pads in wasteless)
        assert rows.total == least
        assert (rows.least is None) == (ceil(least / 2) >= k_eff)
        if rows.least:
            assert rows.least.before + rows.least.after == least
            assert 0 <= rows.least.after - rows.least.before <= 1
            assert rows.least.dropped == 0
        assert (rows.valid is None) == (i < k_eff)
        assert rows.same == forward_axis(i, k, s, d, SAME)


def test_fit_says_why_there_is_none():
    rows, cols = fit((28, 2), (3, 1), (2, 3), (1, 1))
    assert rows.why == "28 + 2p - 3 is odd for every p, and the stride 2 is even"
    assert rows.hint.startswith("what fits: a kernel of 2 or 4, a stride of 1 or 3, a height of")
    assert cols.why == "the least is 1, where whole windows lie in the padding"
    assert cols.hint == "what fits: a kernel of 3 or a stride of 1"
    assert (cols.least, cols.total) == (None, 2)
    rows, _ = fit((2, 2), (1, 1), (7, 7), (1, 1))
    assert rows.why == "the least is 3, where whole windows lie in the padding"
    assert rows.hint == "what fits: a kernel of 7 or a stride of 1"
    assert forward_axis(2, 1, 7, 1, (3, 3)).dropped == 0


def read(axis):
    """Return the lines of an image that windows read."""
    starts = range(-axis.before, -axis.before + axis.o * axis.s, axis.s)
    lines = {start + a * axis.d for start in starts for a in range(axis.k)}
    return lines.intersection(range(axis.i))


def test_what_is_lost_over_a_box():
    box = itertools.product(range(1, 13), range(1, 6), range(1, 5), range(1, 4))
    for i, k, s, d in box:
        for before, after in itertools.product(range(effective_kernel(k, d)), repeat=2):
            if i + before + after < effective_kernel(k, d):
                continue
            axis = forward_axis(i, k, s, d, (before, after))
            unread = set(range(i)) - read(axis)
            assert set(range(i - lost(axis), i)) <= unread
            if d == 1 and not gaps(axis):
                assert len(unread) == lost(axis)
            if axis.o > 1:
                assert gaps(axis) == s - len({a * d % s for a in range(k)})


def test_what_fits_reads_every_line():
    for i, k, s, d in itertools.product(range(1, 13), range(1, 6), range(1, 9), (1, 2)):
        hint = fit((i, i), (k, k), (s, s), (d, d))[0].hint
        for what, numbers in re.findall(r"a (kernel|stride|height) of (\d+(?: or \d+)?)", hint):
            for n in map(int, numbers.split(" or ")):
                name = {"height": "i", "kernel": "k", "stride": "s"}[what]
                changed = {"i": i, "k": k, "s": s, "d": d} | {name: n}
                axes = fit(*((changed[letter],) * 2 for letter in "iksd"))[0]
                found = axes.settled(axes.equal[0])
                assert (found.dropped, gaps(found)) == (0, 0)
        if "same" in hint and d == 1:
            assert read(forward_axis(i, k, s, d, SAME)) == set(range(i))


def test_gaps_and_dilation_come_last():
    options = wanted((100, 75), (12, 9)).options
    assert settings(options[0]) == ((9, 9), (9, 9), (1, 1), "same")
    loses = [any(map(gaps, (option.rows, option.cols))) for option in options]
    assert loses == sorted(loses)
    assert loses.index(True) > 0
    same = [option for option in options if settings(option)[1::2] == ((9, 9), "same")]
    dilations = [option.dilation for option in same if not gaps(option.rows)]
    assert dilations == sorted(dilations)
    assert len(set(dilations)) > 1
    enlarged = wanted((7, 7), (29, 28), transpose=True)
    assert enlarged.apart
    assert settings(enlarged.options[0]) == ((5, 4), (4, 4), (1, 1), "valid")
    assert not any(map(lost, (enlarged.options[0].rows, enlarged.options[0].cols)))


def test_few_of_many_paddings_are_tried():
    fixed = Fixed(kernel=(10**8, 10**8), stride=(10**6, 10**6), dilation=(1, 1))
    options = wanted((28, 28), (14, 14), fixed).options
    assert [str(option.padding) for option in options[:2]] == [
        *(f"{p},{p},{p},{p}" for p in (56_499_986, 56_499_987)),
    ]
    assert len(options) <= PADDINGS + 3
    assert wanted((28, 28), (10**6, 1), fixed).nearest[0] == (101,)
    far = Fixed(kernel=(3, 3), stride=(2 * 10**9, 2 * 10**9), dilation=(1, 1))
    nearest = wanted((28, 28), (9, 9), far, transpose=True).nearest
    assert nearest == ((27 * 2 * 10**9 - 1,),) * 2


def test_billions_of_paddings_are_a_range():
    rows, cols = fit((28, 28), (3, 3), (1, 6), (10**9, 10**9))
    assert rows.equal == range(10**9 - 13, 2 * 10**9 + 1)
    assert rows.settled(rows.equal[-1]).o == 2 * 10**9 + 28
    assert cols.equal == range(0)
    odd = fit((29, 29), (3, 3), (6, 7), (10**9, 10**9))
    assert [axis.equal.step for axis in odd] == [3, 7]
    for axis in odd:
        first = axis.equal[0]
        assert axis.settled(first).dropped == axis.settled(axis.equal[-1]).dropped == 0
        assert first - axis.equal.step < (2 * 10**9 + 1 - 29) / 2 <= first


@pytest.mark.parametrize("padding", ["same", "same-lower", "valid", "full", "1", "0,1,2,1"])
def test_undo_brings_the_size_back_over_a_box(padding):
    for i, k, s, d in itertools.product(range(1, 9), range(1, 5), range(1, 4), range(1, 3)):
        spec = ConvSpec.of(stride=s, dilation=d, padding=padding)
        try:
            settled = plan(spec, (2, i, i + 3, 4), (k, k, 4, 6))
        except GeometryError:
            continue
        back = undo(settled)
        assert back.op is Op.CONV2D_TRANSPOSE
        assert back.input_shape == settled.output_shape
        assert back.output_shape == settled.input_shape
        assert (back.rows, back.cols) == (settled.rows, settled.cols)
        again = undo(back)
        assert again.op is Op.CONV2D
        assert again.output_shape == settled.output_shape
        assert (again.rows, again.cols) == (settled.rows, settled.cols)


def test_undo_asks_for_a_size_only_where_the_default_is_another():
    def back(size):
        settled = plan(ConvSpec.of(stride=2), (1, size, size, 3), (3, 3, 3, 8))
        return undo(settled).spec.output_shape

    assert back(28) is None
    assert back(27) == (27, 27)


def test_undo_of_fit_takes_its_numbers():
    settled = plan(ConvSpec.of(stride=3, padding="fit"), (1, 28, 28, 2), (3, 3))
    back = undo(settled)
    assert back.spec.padding == Padding.parse(1)
    assert back.output_shape == settled.input_shape


def test_undo_of_a_bank_on_every_channel_says_why_not():
    settled = plan(ConvSpec.of(), (1, 28, 28, 3), (3, 3), 2)
    with pytest.raises(UsageError) as caught:
        undo(settled)
    assert caught.value.message == (
        "a bank of 2 filters on every channel by itself has no transposed layer of its own"
    )
    assert caught.value.hint == "one filter has (--kernel 3x3), or --filters"
