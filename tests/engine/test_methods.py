"""Every method of the cpu engine against the reference, over geometry, borders and types."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as tried
from hypothesis import strategies as st

from conftest import examples
from convtool import conv2d, engine
from convtool.engine.factors import factors, whole
from convtool.engine.finish import Finish
from convtool.errors import EngineError
from convtool.geometry import ConvSpec, plan
from convtool.terms import EngineName, MethodName, RangeMode

CPU = EngineName.CPU
BORDERS = ["zero", "constant:7", "constant:2.5", "edge", "reflect", "symmetric", "wrap"]

# For real numbers: |error| within so many float32 roundings of the sum of |products|.
ROUNDINGS = {"direct": 8, "gemm": 8, "separable": 8}


@st.composite
def cases(draw):
    """Draw images wide enough for several tiles and strips, and options that make windows fit."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    channels = draw(st.integers(1, 5))
    shape = (draw(st.integers(1, 2)), draw(st.integers(1, 40)), draw(st.integers(1, 200)))
    dtype = draw(st.sampled_from(["uint8", "uint16", "int16", "float32"]))
    images = rng.integers(0, 200, (*shape, channels)).astype(dtype)
    size = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    options = {
        "stride": draw(st.tuples(st.integers(1, 5), st.integers(1, 5))),
        "dilation": draw(st.tuples(st.integers(1, 4), st.integers(1, 4))),
        "padding": draw(st.sampled_from(["same", "full", "same-lower"])),
        "border": draw(st.sampled_from(BORDERS)),
    }
    return rng, images, size, options, draw(st.integers(1, 3))


def agree(images, kernel, options, method, threads):
    expected = conv2d(images, kernel, engine="numpy", **options)
    result = conv2d(images, kernel, engine="cpu", method=method, threads=threads, **options)
    np.testing.assert_array_equal(result, expected)


@tried(max_examples=examples(150))
@given(case=cases())
def test_direct_sums_whole_numbers_exactly(case):
    rng, images, size, options, threads = case
    agree(images, rng.integers(-9, 10, size), options, "direct", threads)


@tried(max_examples=examples(100))
@given(case=cases())
def test_separable_kernels_of_whole_numbers_are_exact(case):
    rng, images, (kh, kw), options, threads = case
    kernel = np.outer(rng.integers(-5, 6, kh), rng.integers(-5, 6, kw)) / 4
    agree(images, kernel, options, "separable", threads)


@tried(max_examples=examples(100))
@given(case=cases())
def test_boxes_are_exact_whatever_their_size(case):
    rng, images, (kh, kw), options, threads = case
    kernel = np.full((kh + rng.integers(30), kw + rng.integers(30)), rng.integers(1, 5))
    options = {**options, "dilation": 1}
    agree(images, kernel, {**options, "stride": 1}, "separable", threads)
    agree(images, kernel, options, "separable", threads)


@tried(max_examples=examples(100))
@given(case=cases(), groups=st.integers(1, 3), outputs=st.sampled_from([1, 3, 4, 9, 17, 33, 40]))
def test_products_across_channels_are_exact(case, groups, outputs):
    rng, images, size, options, threads = case
    kernel = rng.integers(-9, 10, (*size, images.shape[3], groups * outputs))
    images = np.repeat(images, groups, axis=3)
    agree(images, kernel, {**options, "groups": groups}, "gemm", threads)


@tried(max_examples=examples(100))
@given(case=cases(), several=st.integers(1, 3))
def test_filters_of_each_channel_alone_are_exact(case, several):
    rng, images, size, options, threads = case
    if several == 2:  # whole vectors of channels, and a kernel that is written out
        images, size = np.repeat(images, 16, axis=3), (min(size[0], 3), min(size[1], 3))
        options = {**options, "stride": 1, "dilation": (options["dilation"][0], 1)}
    channels = images.shape[3]
    kernel = rng.integers(-9, 10, (*size, 1, channels * several))
    agree(images, kernel, {**options, "groups": channels}, "direct", threads)


@pytest.mark.parametrize("method", ["direct", "separable"])
@pytest.mark.parametrize("size", [3, 5, 7, 9, 15, 31])
def test_real_kernels_are_as_good_as_float32(method, size):
    rng = np.random.default_rng(size)
    images = rng.standard_normal((1, 60, 150, 3)).astype(np.float32) * 100
    a, b = rng.standard_normal((2, 2, size))
    kernel = np.outer(a[0], b[0])
    if size > 5:
        kernel[: size // 2] = np.outer(a[1], b[1])[: size // 2]
    exact = conv2d_in_doubles(images, kernel)
    bound = conv2d_in_doubles(np.abs(images), np.abs(kernel))
    error = np.abs(conv2d(images, kernel, engine="cpu", method=method) - exact)
    assert (error <= ROUNDINGS[method] * np.finfo(np.float32).eps * bound).all()


def conv2d_in_doubles(images, kernel):
    """Sum shifted images in float64, the border zero."""
    kh, kw = kernel.shape
    around = [(0, 0), ((kh - 1) // 2, kh // 2), ((kw - 1) // 2, kw // 2), (0, 0)]
    padded = np.pad(images.astype(float), around)
    h, w = images.shape[1:3]
    return sum(kernel[a, b] * padded[:, a : a + h, b : b + w] for a in range(kh) for b in range(kw))


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("method", ["direct", "separable"])
def test_eight_bit_results_of_whole_kernels_are_the_same_bit_for_bit(channels, method):
    images = np.random.default_rng(0).integers(0, 256, (1, 50, 170, channels)).astype(np.uint8)
    for kernel in ([[1, 2, 1], [2, 4, 2], [1, 2, 1]], [[-1, 0, 1]] * 3, [[1] * 5] * 5):
        for bias in (None, 7):
            expected = conv2d(images, kernel, engine="numpy", dtype="uint8", bias=bias)
            result = conv2d(images, kernel, engine="cpu", method=method, dtype="uint8", bias=bias)
            np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("method", ["direct", "separable"])
def test_rounding_goes_to_even_and_stops_at_the_ends(method):
    images = np.arange(256, dtype=np.uint8).reshape(1, 4, 64, 1)
    for scale, dtype in ((0.5, "uint8"), (-1, "uint8"), (1.5, "uint8"), (300.5, "uint16")):
        result = conv2d(images, [[scale]], engine="cpu", method=method, dtype=dtype)
        top = np.iinfo(dtype).max
        expected = np.clip(np.rint(images * np.float64(scale)), 0, top).astype(dtype)
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("method", ["direct", "separable", "fft"])
@pytest.mark.parametrize("size", [(3, 3), (12, 5), (1, 40)])
def test_nan_and_infinity_reach_exactly_their_windows(method, size):
    images = np.ones((1, 40, 120, 3), np.float32)
    images[0, 20, 60, 1] = np.nan
    images[0, 5, 100, 2] = np.inf
    touched = ~np.isfinite(images)
    for kernel in (np.ones(size), np.outer(np.arange(size[0]) - 1, np.ones(size[1]))):
        result = conv2d(images, kernel, engine="cpu", method=method)
        reached = conv2d(touched, np.ones(size), engine="numpy") > 0
        np.testing.assert_array_equal(~np.isfinite(result), reached)


@pytest.mark.parametrize(
    ("kernel", "method"),
    [
        (np.random.default_rng(1).standard_normal((3, 3)), "direct"),
        (np.random.default_rng(1).standard_normal((9, 9)), "direct"),
        (np.outer(np.hanning(9), np.hanning(7)), "separable"),
        (np.full((9, 9), 1 / 81), "separable"),
        (np.random.default_rng(1).standard_normal((3, 3, 3, 20)), "gemm"),
        (np.random.default_rng(1).standard_normal((21, 21)), "fft"),
    ],
)
def test_results_do_not_depend_on_threads_or_on_how_the_work_is_cut(kernel, method, monkeypatch):
    images = np.random.default_rng(2).standard_normal((1, 120, 500, 3)).astype(np.float32)
    once = conv2d(images, kernel, engine="cpu", method=method, threads=1)
    for threads in (2, 3, 7):
        monkeypatch.setattr("convtool.engine.cpu.cores", lambda threads=threads: threads)
        for strip in (4_000, 30_000):
            monkeypatch.setattr("convtool.engine.cpu.walk.STRIP_BYTES", strip)
            monkeypatch.setattr("convtool.engine.cpu.fused.STRIP_BYTES", strip)
            again = conv2d(images, kernel, engine="cpu", method=method, threads=threads)
            np.testing.assert_array_equal(again, once)


def test_factors_of_whole_kernels_are_whole():
    for kernel in ([[1, 2, 1], [0, 0, 0], [-1, -2, -1]], [[6, 9], [4, 6]], [[0.25, 0.5]]):
        columns, rows = factors(np.array([kernel], float))
        assert whole(columns)
        assert whole(rows)
        np.testing.assert_array_equal(columns[0].T @ rows[0], kernel)
    assert factors(np.array([[[1.0, 2], [3, 4]]])) is None
    rng = np.random.default_rng(0)
    low = np.outer(rng.random(9), rng.random(7)) + np.outer(rng.random(9), rng.random(7))
    columns, rows = factors(low[None])
    assert columns.shape == (1, 2, 9)
    np.testing.assert_allclose(columns[0].T @ rows[0], low, rtol=1e-12)
    assert factors(low[None, :3, :3]) is None  # 2 · (3 + 3) multiplications are no fewer than 9
    # Many terms that cancel one another: rounding would show.
    many = rng.standard_normal((40, 15)) @ rng.standard_normal((15, 40))
    assert factors(many[None]) is None
    assert factors(rng.standard_normal((1, 20, 20))) is None


def test_products_that_were_rounded_to_float32_are_still_products():
    line = np.exp(-(np.linspace(-3, 3, 31) ** 2))
    kernel = np.outer(line, line).astype(np.float32).astype(float)
    columns, rows = factors(kernel[None])
    assert columns.shape == (1, 1, 31)
    np.testing.assert_allclose(columns[0].T @ rows[0], kernel, rtol=3e-7)


def settled(shape, kernel, **options):
    return plan(ConvSpec.of(**options), shape, np.shape(kernel))


def test_the_planner_takes_the_quickest_and_says_what_else_there_is():
    large, small = (1, 4000, 4000, 3), (1, 64, 64, 3)
    rng = np.random.default_rng(0)
    full, gauss = rng.standard_normal((1, 15, 15)), np.outer(np.hanning(31), np.hanning(31))[None]
    box = np.ones((1, 63, 63))
    chosen = {
        name: engine.choose(settled(shape, w[0]), weights=w, threads=2)
        for name, shape, w in (
            ("small", small, full),
            ("full", large, full),
            ("gauss", large, gauss),
            ("box", large, box),
        )
    }
    assert chosen["small"].engine is EngineName.NUMPY
    assert chosen["small"].reason == "done before the compiled engine is loaded"
    assert chosen["gauss"].method is MethodName.SEPARABLE
    assert chosen["gauss"].reason == "31 + 31 multiplications instead of 961"
    assert chosen["box"].reason == "a box: shared sums"
    seconds = [option.seconds for option in chosen["gauss"].options]
    assert len(seconds) >= 3
    assert seconds == sorted(seconds)
    # A transform would round what is exact.
    whole_taps = rng.integers(-9, 10, (1, 31, 31))
    planned = settled(large, whole_taps[0])
    assert engine.choose(planned, CPU, weights=whole_taps / 3).method is MethodName.FFT
    assert engine.choose(planned, CPU, weights=whole_taps).method is MethodName.DIRECT
    # Converting 8-bit pixels for every tap anew comes dearer than reading float32.
    seven = np.outer(np.hanning(9)[1:-1], np.hanning(9)[1:-1])[None]
    for dtype, method in (("uint8", MethodName.SEPARABLE), ("float32", MethodName.DIRECT)):
        small_one = engine.choose(settled(large, seven[0]), CPU, weights=seven, dtype=dtype)
        assert small_one.method is method
    across = rng.standard_normal((3, 3, 3, 8))
    many = engine.choose(settled(large, across), weights=across)
    assert (many.engine, many.method) == (CPU, MethodName.GEMM)
    # What is little work for one image is much for a thousand.
    thousand = engine.choose(settled(small, full[0]), weights=full, macs=10**11)
    assert thousand.engine is CPU


def test_a_method_that_cannot_do_a_case_names_those_that_can():
    x = np.ones((1, 8, 8, 3))
    full, across = np.random.default_rng(0).standard_normal((3, 3)), np.ones((3, 3, 3, 2))
    for kernel, options, message, hint in (
        (full, {"method": "separable"}, "the filters must be outer products", "--method direct"),
        (across, {"method": "direct"}, "it filters each channel by itself", "--method gemm"),
        (full, {"engine": "cpu", "method": "gemm"}, "it sums across channels", "--method direct"),
        (full, {"engine": "numpy", "method": "direct"}, "does not have the method", "leave one"),
    ):
        with pytest.raises(EngineError) as caught:
            conv2d(x, kernel, **options)
        assert message in caught.value.message
        assert hint in caught.value.hint


def test_results_can_be_written_into_given_memory():
    x = np.random.default_rng(0).integers(0, 256, (1, 30, 70, 3)).astype(np.uint8)
    w = np.ones((1, 3, 3)) / 9
    p = settled(x.shape, w[0])
    chosen = engine.choose(p, CPU, weights=w)
    out = np.empty((1, 30, 70, 3), np.uint8)
    finish = Finish(range=RangeMode.CLIP, full_in=255, full_out=255, dtype="uint8")
    result, summary = engine.finished(x, w, p, chosen, finish, out=out)
    assert result is out
    assert summary is None
    np.testing.assert_array_equal(out, conv2d(x, w[0], engine="numpy", dtype="uint8"))
