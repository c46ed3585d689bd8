"""conv2d_transpose: the definition, the adjoint of conv2d, and what it shares with conv2d."""

import itertools
import os

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from convtool import ConvtoolError, conv2d, conv2d_transpose, geometry
from convtool.engine import Finish, choose, convolve, finished, phases
from convtool.errors import ArrayError, EngineError, GeometryError, UsageError
from convtool.geometry import ConvSpec, plan, transposed_sizes
from convtool.terms import Activation, EngineName, MethodName, Op, RangeMode
from naive import conv2d_transpose as by_definition

EXAMPLES = int(os.environ.get("CONVTOOL_TEST_EXAMPLES", "0")) or 150
ENGINES = ("numpy", "cpu")
PAPER = np.array([[4.5, 5.4], [8.1, 9.0]], np.float32)[None, :, :, None]
ONES = np.ones((3, 3))
PADDINGS = ("valid", "same", "same-lower", "full", ((1, 0), (0, 2)), 1)
BORDERS = ("zero", "constant", "edge", "reflect", "symmetric", "wrap")


@pytest.mark.parametrize("engine", ENGINES)
def test_the_worked_example_at_strides_1_and_2(engine):
    def run(**settings):
        return conv2d_transpose(PAPER, ONES, padding="valid", engine=engine, **settings)[0, ..., 0]

    np.testing.assert_allclose(
        run(),
        [
            [4.5, 9.9, 9.9, 5.4],
            [12.6, 27, 27, 14.4],
            [12.6, 27, 27, 14.4],
            [8.1, 17.1, 17.1, 9],
        ],
        rtol=1e-6,
    )
    five = np.array(
        [
            [4.5, 4.5, 9.9, 5.4, 5.4],
            [4.5, 4.5, 9.9, 5.4, 5.4],
            [12.6, 12.6, 27, 14.4, 14.4],
            [8.1, 8.1, 17.1, 9, 9],
            [8.1, 8.1, 17.1, 9, 9],
        ]
    )
    np.testing.assert_allclose(run(stride=2), five, rtol=1e-6)
    six = np.zeros((6, 6))
    six[:5, :5] = five
    for asked in ({"output_shape": 6}, {"output_padding": 1}, {"output_shape": (6, 6)}):
        np.testing.assert_allclose(run(stride=2, **asked), six, rtol=1e-6)
    with pytest.raises(GeometryError, match=r"7.*5 to 6"):
        run(stride=2, output_shape=7)


@st.composite
def cases(draw, integers=True):
    """Draw a legal transposed convolution: images, kernel, settings, and the plan."""
    size = st.integers(1, 6)
    height, width, kh, kw = draw(size), draw(size), draw(st.integers(1, 5)), draw(st.integers(1, 5))
    groups, per_channel = draw(st.integers(1, 3)), draw(st.booleans())
    channels = groups * draw(st.integers(1, 3))
    shape = (kh, kw) if per_channel else (kh, kw, draw(st.integers(1, 3)), channels)
    settings = {
        "stride": (draw(st.integers(1, 4)), draw(st.integers(1, 4))),
        "dilation": (draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        "padding": draw(st.sampled_from(PADDINGS)),
        "groups": 1 if per_channel else groups,
    }
    asked = tuple(draw(st.integers(0, s - 1)) for s in settings["stride"])
    settings["output_padding"] = asked
    images_shape = (draw(st.integers(1, 2)), height, width, channels)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if integers:
        x, w = rng.integers(-9, 10, images_shape), rng.integers(-9, 10, shape)
    else:
        x, w = rng.standard_normal(images_shape), rng.standard_normal(shape)
    try:
        settled = plan(ConvSpec.of(Op.CONV2D_TRANSPOSE, **settings), x.shape, w.shape)
    except GeometryError:
        assume(False)
    return x.astype(np.float32), w.astype(np.float32), settings, settled


def definition(x, w, settled, border="zero", value=0.0):
    """Compute by the definition, a kernel of 2 axes as one with as many groups as channels."""
    groups = settled.spec.groups
    if w.ndim == 2:
        groups = x.shape[3]
        w = np.repeat(w[:, :, None, None], groups, axis=3)
    rows, cols = settled.rows, settled.cols
    return by_definition(
        x.astype(float),
        w.astype(float),
        stride=settled.spec.stride,
        pads=((rows.before, rows.after), (cols.before, cols.after)),
        dilation=settled.spec.dilation,
        groups=groups,
        size=(rows.i, cols.i),
        border=border,
        value=value,
    )


@settings(max_examples=EXAMPLES)
@given(cases(), st.sampled_from(BORDERS))
def test_every_engine_and_method_computes_the_definition_exactly(case, border):
    x, w, asked, settled = case
    expected = definition(x, w, settled, border, 3.0 if border == "constant" else 0.0)
    name = "constant:3" if border == "constant" else border
    seen = set()
    for engine, method in (
        ("numpy", "auto"),
        ("cpu", "auto"),
        ("cpu", "direct"),
        ("cpu", "gemm"),
        ("cpu", "separable"),
    ):
        try:
            y = conv2d_transpose(x, w, **asked, border=name, engine=engine, method=method)
        except EngineError:  # a method for other kernels
            continue
        seen.add((engine, method))
        np.testing.assert_array_equal(y, expected, f"{engine} {method}")
    own = "direct" if settled.per_channel else "gemm"
    assert seen >= {("numpy", "auto"), ("cpu", "auto"), ("cpu", own)}


def test_outer_products_are_separable_in_every_phase():
    rng = np.random.default_rng(12)
    x = rng.integers(0, 256, (1, 9, 40, 3)).astype(np.uint8)
    w = np.outer([1, 3, 3, 1, 2, 5, 5, 2], [1, 2, 4, 4, 2, 1, 3, 3])
    asked = {"stride": 2, "padding": "same", "border": "edge"}
    y = conv2d_transpose(x, w, **asked, engine="cpu", method="separable")
    np.testing.assert_array_equal(y, conv2d_transpose(x, w, **asked, engine="numpy"))


@settings(max_examples=EXAMPLES // 3)
@given(cases(integers=False))
def test_real_numbers_stay_within_rounding(case):
    x, w, asked, settled = case
    expected = definition(x, w, settled)
    sizes = definition(np.abs(x), np.abs(w), settled)
    for engine in ENGINES:
        y = conv2d_transpose(x, w, **asked, engine=engine)
        assert (np.abs(y - expected) <= 8 * 2.0**-24 * sizes + 1e-30).all()
    if settled.per_channel:
        y = conv2d_transpose(x, w, **asked, engine="cpu", method="fft")
        largest = np.abs(x).max(initial=0) * np.abs(w).sum()
        assert np.abs(y - expected).max(initial=0) <= 2e-6 * largest


def legal_sizes_everywhere():
    """Every geometry of a box on one axis, with another drawn for the other axis."""
    rng = np.random.default_rng(5)
    box = list(itertools.product(range(1, 6), range(1, 6), range(1, 5), range(1, 4), PADDINGS[:4]))
    for o, k, s, d, padding in box:
        for size in transposed_sizes(o, k, s, d, ConvSpec.of(padding=padding).padding.axes[0]):
            o2, k2 = (int(n) for n in rng.integers(1, 6, 2))
            s2, d2 = int(rng.integers(1, 5)), int(rng.integers(1, 4))
            sizes = transposed_sizes(o2, k2, s2, d2, ConvSpec.of(padding=padding).padding.axes[0])
            if len(sizes):
                size2 = int(rng.choice(sizes))
                yield (o, o2), (k, k2), (s, s2), (d, d2), padding, (size, size2)


@pytest.mark.parametrize("engine", ENGINES)
def test_it_is_the_adjoint_of_conv2d_for_every_legal_output_size(engine):
    rng = np.random.default_rng(11)
    count = 0
    for (oh, ow), (kh, kw), stride, dilation, padding, size in legal_sizes_everywhere():
        groups, inputs, outputs = (int(n) for n in rng.integers(1, 3, 3))
        w = rng.integers(-9, 10, (kh, kw, inputs, groups * outputs)).astype(np.float32)
        x = rng.integers(-9, 10, (1, *size, groups * inputs)).astype(np.float32)
        y = rng.integers(-9, 10, (1, oh, ow, groups * outputs)).astype(np.float32)
        geometry = {"stride": stride, "dilation": dilation, "padding": padding, "groups": groups}
        forth = conv2d(x, w, **geometry, engine="numpy")
        assert forth.shape == y.shape
        back = conv2d_transpose(y, w, **geometry, output_shape=size, engine=engine)
        assert back.shape == x.shape
        assert np.vdot(forth, y) == np.vdot(x, back), geometry
        count += 1
    assert count > 2000


def test_every_output_of_a_transposed_axis_is_in_one_phase_with_the_taps_that_reach_it():
    for o, k, s, d in itertools.product(range(1, 6), range(1, 6), range(1, 5), range(1, 4)):
        for padding in PADDINGS[:5]:
            spec = ConvSpec.of(Op.CONV2D_TRANSPOSE, stride=s, dilation=d, padding=padding)
            try:
                axis = plan(spec, (1, o, o, 1), (k, k)).rows
            except GeometryError:
                continue
            seen = {}
            taps = dict.fromkeys(range(min(s, axis.i)), 0)
            taps |= {rows.first: len(rows.taps) for rows in geometry.phases(axis)}
            assert geometry.overlaps(axis) == tuple(taps.values())
            assert 0 not in [len(rows.taps) for rows in geometry.phases(axis)]
            for rows in geometry.phases(axis):
                for u in range(rows.axis.o):
                    places = [u - rows.axis.before + r * rows.axis.d for r in range(rows.axis.k)]
                    seen[rows.first + u * s] = {
                        (rows.reads[place], tap)
                        for place, tap in zip(places, rows.taps, strict=False)
                        if 0 <= place < len(rows.reads)
                    }
            expected = {
                t: {(j, a) for j in range(o) for a in range(k) if t + axis.before == j * s + a * d}
                for t in range(axis.i)
            }
            assert seen == {t: taps for t, taps in expected.items() if t in seen}
            reached = {
                t for t in range(axis.i) for a in range(k) if (t + axis.before - a * d) % s == 0
            }
            assert set(seen) == reached


def test_no_product_with_an_inserted_zero_is_planned():
    spec = ConvSpec.of(Op.CONV2D_TRANSPOSE, stride=2, padding="valid")
    settled = plan(spec, (1, 64, 64, 8), (4, 4, 16, 8))
    parts = phases.parts(settled)
    assert [part.plan.kernel_shape for part in parts] == [(2, 2, 8, 16)] * 4
    # The products at the rim, with the padding of the parts, are all that is more.
    assert sum(part.plan.macs for part in parts) == 65 * 65 * 4 * 4 * 8 * 16
    assert settled.macs == 64 * 64 * 16 * 8 * 16


@pytest.mark.parametrize("engine", ENGINES)
def test_nan_reaches_the_outputs_whose_windows_hold_it_and_no_other(engine):
    x = np.ones((1, 4, 4, 1), np.float32)
    x[0, 1, 2] = np.nan
    w = np.zeros((3, 3), np.float32)  # taps of zero touch, too
    y = conv2d_transpose(x, w, stride=2, padding="valid", engine=engine)[0, ..., 0]
    expected = np.zeros((9, 9), bool)
    expected[2:5, 4:7] = True
    np.testing.assert_array_equal(np.isnan(y), expected)


@pytest.mark.parametrize("engine", ENGINES)
def test_outputs_that_no_tap_reaches_are_the_bias(engine):
    x = np.full((1, 2, 2, 1), np.inf, np.float32)
    y = conv2d_transpose(x, [[2.0]], stride=3, padding="valid", bias=5, engine=engine)
    assert y.shape == (1, 4, 4, 1)
    expected = np.full((4, 4), 5.0)
    expected[::3, ::3] = np.inf
    np.testing.assert_array_equal(y[0, ..., 0], expected)


def test_results_do_not_depend_on_threads_or_on_how_images_lie():
    rng = np.random.default_rng(2)
    x = rng.standard_normal((2, 40, 37, 6)).astype(np.float32)
    w = rng.standard_normal((4, 5, 7, 6)).astype(np.float32)
    one = conv2d_transpose(x, w, stride=(2, 3), engine="cpu", threads=1)
    two = conv2d_transpose(x, w, stride=(2, 3), engine="cpu", threads=2)
    apart = np.zeros((2, 80, 37, 12), np.float32)[:, ::2, :, ::2]
    apart[...] = x
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(
        one, conv2d_transpose(apart, w, stride=(2, 3), engine="cpu", threads=2)
    )
    np.testing.assert_allclose(
        one, conv2d_transpose(x, w, stride=(2, 3), engine="numpy"), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_whole_numbers_are_rounded_and_saturated_alike(dtype, channels):
    rng = np.random.default_rng(3)
    x = rng.integers(0, 256, (1, 9, 50, channels)).astype(np.uint8)
    w = np.array([[0.25, 0.75, 0.75, 0.25]]).T * [0.25, 0.75, 0.75, 0.25]
    w *= 1.5 if dtype == "uint8" else 300
    results = [
        conv2d_transpose(x, w, stride=2, dtype=dtype, bias=-7, engine=engine) for engine in ENGINES
    ]
    assert results[0].dtype == results[1].dtype == dtype
    assert results[0].max() == np.iinfo(dtype).max, "nothing is saturated"
    np.testing.assert_array_equal(*results)


def test_the_finish_sums_up_all_phases():
    rng = np.random.default_rng(4)
    x = rng.integers(0, 256, (1, 12, 12, 3)).astype(np.uint8)
    w = rng.integers(-3, 4, (1, 3, 3)).astype(np.float64)
    settled = plan(ConvSpec.of(Op.CONV2D_TRANSPOSE, stride=2), x.shape, (3, 3))
    chosen = choose(settled, EngineName.CPU, MethodName.DIRECT, weights=w)
    finish = Finish(
        activation=Activation.ABS,
        range=RangeMode.CLIP,
        full_in=255,
        full_out=255,
        dtype="uint8",
        summarise=True,
    )
    y, summary = finished(x, w, settled, chosen, finish)
    plain = np.abs(convolve(x, w, settled, chosen._replace(engine=EngineName.NUMPY)))
    np.testing.assert_array_equal(y, np.clip(plain, 0, 255).astype(np.uint8))
    assert (summary.least, summary.greatest) == (plain.min(), plain.max())
    assert (summary.above, summary.below) == ((plain > 255).sum(), 0)
    assert summary.values == plain.size


def test_a_method_that_cannot_do_it_is_an_error_that_names_those_that_can():
    x, w = np.ones((1, 4, 4, 2)), np.ones((3, 3, 5, 2))
    with pytest.raises(ConvtoolError, match="the method fft cannot do this") as caught:
        conv2d_transpose(x, w, stride=2, method="fft")
    assert "gemm" in caught.value.hint


def test_a_kernel_for_other_channels_is_refused():
    with pytest.raises(GeometryError, match=r"the kernel takes 5 input channels.* have 2"):
        conv2d_transpose(np.ones((1, 4, 4, 2)), np.ones((3, 3, 4, 5)))


def test_output_shape_and_padding_that_disagree_are_refused():
    with pytest.raises(GeometryError, match="disagree on the height"):
        conv2d_transpose(PAPER, ONES, stride=2, output_shape=4, output_padding=0)
    with pytest.raises(UsageError, match="fit has no meaning"):
        conv2d_transpose(PAPER, ONES, padding="fit")


def test_an_empty_batch_stays_one():
    for engine in ENGINES:
        y = conv2d_transpose(np.ones((0, 4, 4, 2)), ONES, stride=2, engine=engine)
        assert y.shape == (0, 8, 8, 2)
        assert y.dtype == np.float32


def test_uneven_overlaps_and_gaps_are_noted_with_their_counts():
    def notes(k, s, d=1):
        spec = ConvSpec.of(Op.CONV2D_TRANSPOSE, stride=s, dilation=d, padding="valid")
        return {note.code: note for note in plan(spec, (1, 8, 8, 1), (k, k)).notes}

    uneven = notes(3, 2)["uneven-overlap"]
    assert "1, 2 or 4 taps, in a pattern of 2x2" in uneven.message
    assert "a kernel of 4" in uneven.hint
    assert notes(4, 2) == notes(3, 1) == notes(6, 3) == {}
    assert "2 of every 3 rows and 2 of every 3 columns" in notes(1, 3)["unreached"].message
    assert "1 of every 2 rows" in notes(3, 2, d=2)["unreached"].message
    assert "a kernel of 6" in notes(5, 3)["uneven-overlap"].hint


def test_a_large_stride_costs_what_its_taps_cost():
    # 3x3 of 256x256 residues are reached; no work is laid out for the others.
    x = np.arange(1.0, 5).reshape(1, 2, 2, 1)
    for engine in ENGINES:
        y = conv2d_transpose(x, ONES, stride=256, bias=7, engine=engine)[0, ..., 0]
        expected = np.full((512, 512), 7.0)
        for i, j in np.ndindex(2, 2):
            expected[256 * i : 256 * i + 3, 256 * j : 256 * j + 3] += x[0, i, j, 0]
        np.testing.assert_array_equal(y, expected)


def test_taps_far_beyond_the_outputs_need_no_memory():
    x = np.ones((1, 10, 10, 1))
    y = conv2d_transpose(x, ONES, dilation=10**6, padding=10**6, engine="numpy")
    np.testing.assert_array_equal(y, x)  # the centre alone is near


def test_a_result_beyond_all_memory_is_refused_at_once():
    with pytest.raises(ArrayError, match="the result would be 1x2000000000x2000000000x1: more"):
        conv2d_transpose(np.ones((1, 2, 2, 1)), ONES, stride=10**9)


@pytest.mark.parametrize("per_channel", [True, False])
def test_parts_beyond_those_that_are_remembered(per_channel):
    rng = np.random.default_rng(6)
    x = rng.integers(-5, 6, (1, 4, 5, 2)).astype(np.float32)
    w = rng.integers(-5, 6, (20, 19) if per_channel else (20, 19, 3, 2)).astype(np.float32)
    asked = {"stride": (9, 10), "padding": (3, 2)}
    settled = plan(ConvSpec.of(Op.CONV2D_TRANSPOSE, **asked), x.shape, w.shape)
    assert phases.count(settled) == 90 > phases.FEW
    assert sum(number for _, number in phases.alike(settled)) == 90
    y = conv2d_transpose(x, w, **asked, engine="cpu")
    np.testing.assert_array_equal(y, conv2d_transpose(x, w, **asked, engine="numpy"))
    np.testing.assert_array_equal(y, definition(x, w, settled))


def test_the_summary_counts_what_no_tap_reaches():
    x = np.full((2, 3, 3, 1), 300, np.uint16)
    settled = plan(ConvSpec.of(Op.CONV2D_TRANSPOSE, stride=2, padding="valid"), x.shape, (1, 1))
    w = np.ones((1, 1, 1))
    chosen = choose(settled, EngineName.CPU, weights=w)
    finish = Finish(
        bias=np.array([-4.0], np.float32),
        range=RangeMode.CLIP,
        full_in=255,
        full_out=255,
        dtype="uint8",
        summarise=True,
    )
    y, summary = finished(x, w, settled, chosen, finish)
    assert y.shape == (2, 5, 5, 1)
    assert (y[:, ::2, ::2] == 255).all()
    assert y.sum() == 2 * 9 * 255
    assert (summary.least, summary.greatest) == (-4, 296)
    assert (summary.below, summary.above, summary.values) == (2 * 16, 2 * 9, 2 * 25)
