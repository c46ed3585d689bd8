"""Receptive fields against probes: a pixel is changed, and what moves is looked at."""

import random

import numpy as np
import pytest

from convtool.errors import GeometryError, UsageError
from convtool.fields import (
    LONGEST_AXIS,
    MOST_PHASES,
    Field,
    GappedInfluence,
    Reach,
    Step,
    field,
    has_gaps,
    interval,
    reach,
    seen,
    untouched,
)
from convtool.geometry import ConvSpec, PaddingMode, forward_axis, plan, transposed_axis

PADDINGS = (PaddingMode.VALID, PaddingMode.SAME, PaddingMode.SAME_LOWER, PaddingMode.FULL)


def random_chain(draw):
    """Return steps with the sizes before and behind them, pools and upsampling among them."""
    while True:
        steps, sizes = perhaps_a_chain(draw, longest=120)
        if steps:
            return steps, sizes


def perhaps_a_chain(draw, longest):
    steps, sizes = [], [draw.randint(4, 24)]
    for _ in range(draw.randint(1, 5)):
        k, s, d = draw.randint(1, 5), draw.randint(1, 4), draw.randint(1, 3)
        padding = draw.choice([*PADDINGS, (draw.randint(0, 4), draw.randint(0, 4))])
        kind = draw.choice(["conv", "conv", "pool", "transpose", "upsample"])
        try:
            if kind == "conv":
                axis = forward_axis(sizes[-1], k, s, d, padding)
            elif kind == "pool":
                axis = forward_axis(sizes[-1], k, k, 1, PaddingMode.VALID)
            elif kind == "transpose":
                axis = transposed_axis(sizes[-1], k, s, d, padding)
            else:
                steps.append(Step.nearest(s))
                sizes.append(sizes[-1] * s)
                continue
        except GeometryError:
            continue
        turned = kind == "transpose"
        size = axis.i if turned else axis.o
        if size > longest:
            break
        steps.append(Step.of(axis, transposed=turned))
        sizes.append(size)
    return steps, sizes


def through(step, x, o, outside=0.0):
    """Run one layer of ones along an axis; what lies beyond its input has the value `outside`."""
    y = np.zeros(o)
    i = len(x)

    def value(j):
        return x[j] if 0 <= j < i else outside

    if not step.transposed:
        for u in range(o):
            y[u] = sum(value(u * step.s - step.before + a * step.d) for a in range(step.k))
        return y
    # Scattered, as the gradient of a convolution is: another formulation than the one tested.
    around = step.k * step.d // step.s + o
    for j in range(-around, i + around):
        for a in range(step.k):
            t = j * step.s + a * step.d - step.before
            if 0 <= t < o:
                y[t] += value(j)
    return y


def run(steps, sizes, x, outside=()):
    for number, step in enumerate(steps):
        x = through(step, x, sizes[number + 1], outside[number] if outside else 0.0)
    return x


@pytest.mark.parametrize("seed", range(120))
def test_what_an_output_sees_is_what_moves_it(seed):
    steps, sizes = random_chain(random.Random(seed))
    n = sizes[0]
    moved = [run(steps, sizes, np.eye(n)[p]) > 0 for p in range(n)]
    for u in range(sizes[-1]):
        assert seen(steps, sizes, u) == [p for p in range(n) if moved[p][u]]


@pytest.mark.parametrize("seed", range(120))
def test_the_interval_far_from_the_borders(seed):
    """In a wide image the field of an output in its middle is what the probe finds."""
    steps, _ = random_chain(random.Random(seed))
    found = reach(steps)
    # Outputs of one period, moved so far inwards that nothing beyond the image is in reach.
    inwards = 200 // found.move + 1
    low = min((s[0] for s in found.spans if s), default=0) + inwards * found.move
    high = max((s[1] for s in found.spans if s), default=0) + inwards * found.move
    outputs = range(inwards * found.period, (inwards + 1) * found.period)
    sizes = [high + low + 200]
    for step in steps:
        sizes.append(sizes[-1] * step.s if step.transposed else sizes[-1] // step.s + 1)
    sizes = [max(size, 1) for size in sizes]
    assert outputs[-1] < sizes[-1]
    for u in outputs:
        pixels = seen(steps, sizes, u)
        assert interval(steps, u) == ((pixels[0], pixels[-1]) if pixels else None)


@pytest.mark.parametrize("seed", range(120))
def test_padding_influences_what_differs_when_the_outside_does(seed):
    draw = random.Random(seed)
    steps, sizes = random_chain(draw)
    x = np.array([draw.random() for _ in range(sizes[0])])
    one = run(steps, sizes, x, [draw.uniform(1, 2) for _ in steps])
    other = run(steps, sizes, x, [draw.uniform(3, 4) for _ in steps])
    assert untouched(steps, sizes) == [bool(a == b) for a, b in zip(one, other, strict=True)]


@pytest.mark.parametrize("seed", range(60))
def test_forward_chains_follow_the_formula(seed):
    """Araujo, Norris & Sim: r += (k_eff - 1)j, start += ((k_eff - 1)/2 - p)j, j *= s."""
    draw = random.Random(seed)
    size, jump, start, steps = 1, 1, 0.0, []
    for _ in range(draw.randint(1, 8)):
        step = Step(draw.randint(1, 7), draw.randint(1, 3), draw.randint(1, 3), draw.randint(0, 3))
        covers = (step.k - 1) * step.d
        size += covers * jump
        start += (covers / 2 - step.before) * jump
        jump *= step.s
        steps.append(step)
    expected = Field((size, size), (size, size), (jump, jump), (start, start), (1, 1))
    assert field(steps, steps) == expected


def test_one_layer_as_its_plan_has_it():
    settled = plan(ConvSpec.of(stride=(2, 3), dilation=(1, 2)), (1, 30, 40, 3), (3, 5))
    found = field([Step.of(settled.rows)], [Step.of(settled.cols)])
    assert found[0] == settled.receptive_field.size
    assert found.jump == settled.receptive_field.jump
    assert found.start == settled.receptive_field.start


def test_transposed_layers_vary_by_phase():
    # Kernel 3, stride 2: even outputs get taps 0 and 2, odd ones tap 1 alone.
    found = reach([Step(3, 2, transposed=True)])
    assert found == Reach(2, 1, ((-1, 0), (0, 0)))
    assert [found.span(t) for t in range(4)] == [(-1, 0), (0, 0), (0, 1), (1, 1)]
    assert found.span(-1) == (-1, -1)


def test_upsampling_repeats_pixels():
    found = reach([Step.nearest(3)])
    assert [found.span(t) for t in range(6)] == [(0, 0)] * 3 + [(1, 1)] * 3
    assert field([Step.nearest(2)], [Step.nearest(1)]).jump == (0.5, 1.0)


def test_outputs_that_see_nothing():
    # Kernel 1, stride 2: every other output has no tap; a stride of 2 behind it keeps those alone.
    zeros = Step(1, 2, before=1, transposed=True)
    assert reach([zeros]) == Reach(2, 1, (None, (1, 1)))
    assert field([zeros], [zeros])[:2] == ((1, 1), (0, 0))
    assert field([zeros], [zeros]).start == (0.5, 0.5)
    nothing = [zeros, Step(1, 2)]
    assert interval(nothing, 5) is None
    assert field(nothing, nothing) == Field((0, 0), (0, 0), (1.0, 1.0), (0.0, 0.0), (1, 1))
    assert untouched(nothing, [4, 8, 4]) == [True] * 4


def test_which_steps_have_gaps():
    for k in range(1, 6):
        for s in range(1, 5):
            for d in range(1, 4):
                empty = [t for t in range(s) if all((t - a * d) % s for a in range(k))]
                assert has_gaps(Step(k, s, d, transposed=True)) == bool(empty)
                assert not has_gaps(Step(k, s, d))


def test_up_and_down_again_is_one_phase():
    steps = [Step.nearest(4), Step(4, 4)]
    assert reach(steps) == Reach(1, 1, ((0, 0),))
    # Two down and two up: a pattern of four that moves by four pixels.
    unet = [Step(3, 2), Step(3, 2), Step(4, 2, 1, 1, True), Step(4, 2, 1, 1, True)]
    assert reach(unet).period == reach(unet).move == 4


def test_wide_kernels_cost_no_more_than_their_phases():
    # 65 dilated taps over a pattern of 64 phases: the hull of all is that of the outermost.
    steps = [Step(4, 64, transposed=True), Step(1001, 1, 3)]
    for u in (0, 7, 63):
        read = [p for a in range(1001) for p in [(u + 3 * a) // 64] if (u + 3 * a) % 64 < 4]
        assert interval(steps, u) == (min(read), max(read))


def test_a_pattern_too_long():
    steps = [Step(2, 300, transposed=True), Step(2, 300, transposed=True)]
    with pytest.raises(GeometryError) as caught:
        reach(steps)
    assert caught.value.message == (
        "the pattern of receptive fields repeats only after 90,000 outputs, and at most "
        f"{MOST_PHASES:,} are told apart"
    )


def test_work_is_the_spans_that_are_put_together():
    wide = Step(10**9, 1, 2)
    assert [Reach().work(step) for step in (Step(3, 2), wide)] == [2, 2]
    twice = Reach().through(Step.nearest(64))
    assert twice.work(Step(3)) == 64 * 3
    assert twice.work(wide) == 64 * 128
    assert twice.work(Step(64, 64)) == 64
    # Of eight taps at stride 4 and dilation 2 an output gets every second one.
    assert twice.work(Step(8, 4, 2, transposed=True)) == 256 * 4


def test_the_far_end_of_an_image_is_as_near_as_its_start():
    steps, sizes = [Step(3, 1, 1, 1), Step(2, 2)], [2 * 10**9, 2 * 10**9, 10**9]
    assert seen(steps, sizes, 10**9 - 1) == [2 * 10**9 - 3, 2 * 10**9 - 2, 2 * 10**9 - 1]
    assert seen([Step(3, 10**9, before=1)], [28, 1], 0) == [0, 1]
    up = [Step(4, 2, 1, 1, transposed=True)]
    assert seen(up, [10**9, 2 * 10**9], 2 * 10**9 - 1) == [10**9 - 1]
    assert seen(up, [10**9, 2 * 10**9], 10**9) == [10**9 // 2 - 1, 10**9 // 2]


def test_what_is_spread_too_wide_is_refused():
    with pytest.raises(UsageError) as caught:
        seen([Step(3, 1, 2 * 10**9, 2 * 10**9)], [28, 28], 0)
    assert caught.value.message == (
        f"what an output sees is followed over at most {LONGEST_AXIS:,} pixels, but a kernel of 3 "
        "at stride 1 and dilation 2000000000 spreads it over 4,000,000,001"
    )
    assert caught.value.hint.startswith("leave out --at")
    assert len(seen([Step(LONGEST_AXIS)], [LONGEST_AXIS], 0)) == LONGEST_AXIS


def test_influence_through_gaps():
    # Every third row and column has a tap; behind it a kernel of 3 leaves the map at its rim.
    gaps, conv = Step(1, 3, transposed=True), Step(3, 1, 1, 1)
    influence = (
        GappedInfluence.on((2, 1)).through((gaps, gaps), (6, 3)).through((conv, Step(1)), (6, 3))
    )
    # (last layer left or 0, first layer reached): row 0 and row 5 leave; row 5 reads no tap.
    assert influence.rows.kinds == {(0, 1): 4, (2, 1): 1, (2, 2): 1}
    assert influence.cols.kinds == {(0, 1): 1, (0, 2): 2}
    assert influence.share == 2 * 3 / 18


def test_a_photograph_through_fifty_layers_is_a_matter_of_shifts():
    steps = [Step(3, 1, 1, 1)] * 50
    clean = untouched(steps, [6000] * 51)
    assert clean == [False] * 50 + [True] * 5900 + [False] * 50
    assert seen(steps, [6000] * 51, 10) == list(range(61))
