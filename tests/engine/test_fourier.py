"""Sums by Fourier transform against float64: geometry, seams, accuracy, and what is not finite."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as tried
from hypothesis import strategies as st

from conftest import examples
from convtool.engine import cpu, tiles
from convtool.engine.cpu import fourier
from convtool.engine.finish import Finish
from convtool.engine.tiles import Tiles
from convtool.geometry import ConvSpec, plan
from convtool.terms import Activation, Combine, RangeMode

BORDERS = ["zero", "constant:7", "constant:-2.5", "edge", "reflect", "symmetric", "wrap"]

# Of the largest number in the padded image times the sum of the weights' sizes.
BOUND = 2e-6
TYPICAL = 3e-7


def settle(x, w, **options):
    return plan(ConvSpec.of(**options), x.shape, w.shape[1:], len(w))


def cut_of(settled, rows, columns):
    """Cut into tiles of that size, however small the share of them is that counts."""
    counts = [
        -(-axis.o // ((length - axis.window) // axis.s + 1))
        for axis, length in ((settled.rows, rows), (settled.cols, columns))
    ]
    return Tiles(rows, columns, *counts)


def convolved(x, w, finish=None, threads=2, cut=None, lanes=None, **options):
    """Filter by Fourier transform; `cut` is the size of a tile."""
    finish = finish or Finish()
    settled = settle(x, w, **options)
    together = finish.combine is not Combine.EACH
    shape = (*settled.output_shape[:3], x.shape[3] * (1 if together else len(w)))
    out = np.full(shape, 77, finish.dtype)
    size = cut and cut_of(settled, *cut)
    piece = fourier.piece(x, w.astype(float), settled, finish, out, threads, cut=size, lanes=lanes)
    cpu.run([piece], threads)
    return (out, piece.summary()) if finish.summarise else out


def padded(x, settled):
    border, (top, bottom, left, right) = settled.spec.border, settled.pads
    around = ((0, 0), (top, bottom), (left, right), (0, 0))
    if border.is_fill:
        return np.pad(x.astype(float), around, constant_values=np.float32(border.value))
    return np.pad(x.astype(float), around, mode=border.mode.value)


def truth(x, w, **options):
    """Return the sums in float64 (N, OH, OW, C·F), and the bound on them all."""
    settled = settle(x, w, **options)
    rows, cols = settled.rows, settled.cols
    image = padded(x, settled)
    views = np.lib.stride_tricks.sliding_window_view(image, (rows.window, cols.window), (1, 2))
    views = views[:, : rows.o * rows.s : rows.s, : cols.o * cols.s : cols.s]
    views = views[..., :: rows.d, :: cols.d]
    with np.errstate(invalid="ignore"):
        sums = np.einsum("nijcab,fab->nijcf", views, w.astype(float), optimize=True)
    size = np.abs(image[np.isfinite(image)]).max(initial=0) * np.abs(w).sum((1, 2)).max()
    return sums.reshape(settled.output_shape), size


def truth_of_large(x, w):
    """Return the sums of the windows that fit, by NumPy's transform in float64."""
    shape = [n + k for n, k in zip(x.shape[1:3], w.shape[1:], strict=True)]
    spectrum = np.conj(np.fft.rfft2(w[0].astype(float), shape))[None, :, :, None]
    image = np.fft.rfft2(x.astype(float), shape, axes=(1, 2))
    sums = np.fft.irfft2(image * spectrum, shape, axes=(1, 2))
    return sums[:, : x.shape[1] - w.shape[1] + 1, : x.shape[2] - w.shape[2] + 1]


def agree(result, expected, size):
    """Compare the values, and where they are not finite what they are instead."""
    assert result.shape == expected.shape
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(np.isnan(result), np.isnan(expected))
    np.testing.assert_array_equal(result[~finite], expected[~finite])
    assert np.abs(result[finite] - expected[finite]).max(initial=0) <= BOUND * size + 1e-37


# Geometry


@st.composite
def cases(draw):
    """Draw images and kernels of any proportion, and tiles small enough for many seams."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    channels = draw(st.integers(1, 4) | st.just(6))
    shape = draw(st.integers(1, 3)), draw(st.integers(1, 50)), draw(st.integers(1, 90)), channels
    dtype = draw(st.sampled_from(["uint8", "uint16", "float32"]))
    images = (rng.standard_normal(shape) * 50 + 100).clip(0).astype(dtype)
    size = draw(st.integers(1, 13)), draw(st.integers(1, 13))
    weights = rng.standard_normal((draw(st.integers(1, 2)), *size))
    options = {
        "stride": draw(st.just(1) | st.tuples(st.integers(1, 5), st.integers(1, 5))),
        "dilation": draw(st.just(1) | st.tuples(st.integers(1, 3), st.integers(1, 3))),
        "padding": draw(st.sampled_from(["same", "full", "same-lower", 40])),
        "border": draw(st.sampled_from(BORDERS)),
    }
    cut = draw(st.none() | st.sampled_from([(48, 64), (48, 96), (64, 128), (60, 160), (128, 64)]))
    return images, weights, options, cut, draw(st.integers(1, 3))


@tried(max_examples=examples(80))
@given(case=cases())
def test_any_geometry(case):
    images, weights, options, cut, threads = case
    before = images.copy()
    expected, size = truth(images, weights, **options)
    agree(convolved(images, weights, threads=threads, cut=cut, **options), expected, size)
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("shape", [(1, 3, 5, 3), (2, 1, 40, 1), (1, 33, 2, 2)])
def test_a_kernel_larger_than_the_image(border, shape):
    rng = np.random.default_rng(1)
    x, w = rng.random(shape, np.float32), rng.standard_normal((1, 41, 52))
    for padding in ("same", "full"):
        options = {"border": border, "padding": padding}
        agree(convolved(x, w, **options), *truth(x, w, **options))


def test_an_empty_image_with_padding_holds_the_border():
    options = {"padding": 9, "border": "constant:3"}
    result = convolved(np.zeros((1, 0, 2, 1), np.float32), np.ones((1, 17, 19)), **options)
    np.testing.assert_allclose(result, np.full((1, 2, 2, 1), 3 * 17 * 19), rtol=1e-6)


@pytest.mark.parametrize("lanes", [4, 16])
def test_vectors_of_any_length(lanes):
    rng = np.random.default_rng(2)
    x, w = rng.random((1, 70, 300, 3), np.float32), rng.standard_normal((1, 17, 21))
    expected, size = truth(x, w)
    for vectors in (2, 4, 6, 8, 10, 12, 16, 18, 20, 24, 30, 32):
        if vectors * lanes >= 21:
            cut = (48, vectors * lanes)
            agree(convolved(x, w, cut=cut, lanes=lanes), expected, size)


@pytest.mark.parametrize("rows", [20, 24, 32, 36, 40, 48, 60, 64, 72, 96, 128, 144, 180, 256, 300])
def test_tiles_of_any_height(rows):
    rng = np.random.default_rng(3)
    x, w = rng.random((1, 90, 40, 1), np.float32), rng.standard_normal((1, 15, 9))
    agree(convolved(x, w, cut=(rows, 64)), *truth(x, w))


# Accuracy


@pytest.mark.parametrize("k", [31, 63, 127])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_large_kernels_are_accurate(k, dtype):
    rng = np.random.default_rng(k)
    x = (rng.random((1, 330, 420, 3)) * 255).astype(dtype)
    for w in (rng.random((1, k, k)), rng.standard_normal((1, k, k)), np.ones((1, k, k))):
        error = np.abs(convolved(x, w, padding="valid") - truth_of_large(x, w))
        assert error.max() <= TYPICAL * 255 * np.abs(w).sum()


@pytest.mark.parametrize("size", [1e-30, 1e-12, 1e20])
def test_no_size_of_weights_or_numbers_is_lost(size):
    rng = np.random.default_rng(4)
    x, w = rng.random((1, 60, 70, 2), np.float32), rng.standard_normal((1, 21, 21))
    expected, most = truth(x, w)
    agree(convolved(x, w * size) / np.float32(size), expected, most)
    agree(convolved((x * size).astype(np.float32), w) / np.float32(size), expected, most)


def test_each_tap_is_in_its_place():
    x = np.zeros((1, 90, 90, 1), np.float32)
    x[0, 45, 45] = 1
    w = np.random.default_rng(5).standard_normal((1, 31, 33))
    result = convolved(x, w)[0, 30:61, 29:62, 0]
    assert np.abs(result - w[0, ::-1, ::-1]).max() <= 1e-6 * np.abs(w).sum()


# What is not finite


@pytest.mark.parametrize("dilation", [1, (2, 3)])
@pytest.mark.parametrize("stride", [1, (2, 3)])
@pytest.mark.parametrize("cut", [None, (64, 96)])
def test_nan_and_infinity_reach_exactly_the_windows_that_hold_them(dilation, stride, cut):
    rng = np.random.default_rng(6)
    x = rng.standard_normal((1, 70, 120, 3)).astype(np.float32)
    for value in (np.nan, np.inf, -np.inf, 3e38, -1e33):
        for place in rng.integers(0, (70, 120, 3), (3, 3)):
            x[0, *place] = value
    w = rng.standard_normal((2, 11, 9))
    w[:, ::3, ::2] = 0  # taps of zero touch what they lie on, too
    options = {"dilation": dilation, "stride": stride, "border": "wrap"}
    with np.errstate(over="ignore"):
        expected, _ = truth(x, w, **options)
        expected = expected.astype(np.float32)
    # Large numbers are as exact as they are alone, and others as exact as without them.
    result = convolved(x, w, cut=cut, **options)
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(np.isnan(result), np.isnan(expected))
    np.testing.assert_array_equal(result[~finite], expected[~finite])
    small = finite & (np.abs(expected) < 1e6)
    assert small.sum() > 100
    assert np.abs(result[small] - expected[small]).max() <= BOUND * 5 * np.abs(w).sum()
    large = finite & ~small
    assert large.sum() > 100
    np.testing.assert_allclose(result[large], expected[large], rtol=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("sign", [1, -1, 0])
@pytest.mark.parametrize("stride", [1, (2, 3)])
def test_an_image_of_which_half_is_not_finite(value, sign, stride):
    rng = np.random.default_rng(7)
    x = rng.random((1, 90, 120, 2), np.float32)
    x[0, 30:, 50:] = value
    x[0, 10, 100:, 0] = np.inf
    x[0, 20, 110, 1] = 3e37
    w = rng.random((2, 9, 7)) + 0.5
    w *= sign or rng.choice([-1, 1], w.shape)
    for cut in (None, (32, 64)):
        result = convolved(x, w, cut=cut, stride=stride)
        expected, _ = truth(x, w, stride=stride)
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "1e38"])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_border_that_is_not_finite(value, dtype):
    rng = np.random.default_rng(8)
    x, w = (rng.random((1, 40, 50, 3)) * 99).astype(dtype), rng.random((1, 7, 5))
    w /= w.sum()
    options = {"border": f"constant:{value}"}
    expected, _ = truth(x, w, **options)
    result = convolved(x, w, **options)
    inside = np.s_[:, 3:-3, 2:-2]
    assert np.abs(result[inside] - expected[inside]).max() <= BOUND * 99
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=BOUND * 99)


def test_weights_that_are_not_finite():
    rng = np.random.default_rng(9)
    x, w = rng.random((1, 30, 40, 2), np.float32), rng.random((1, 5, 5))
    w[0, 1, 2], w[0, 3, 3] = np.inf, np.nan
    result = convolved(x, w)
    assert np.isnan(result[0, 2:-2, 2:-2]).all()
    w[0, 3, 3] = 0
    assert (convolved(x, w)[0, 2:-2, 2:-2] == np.inf).all()


# Threads, batches, and what becomes of sums


def test_results_do_not_depend_on_the_number_of_threads():
    rng = np.random.default_rng(10)
    x, w = rng.random((2, 150, 260, 3), np.float32), rng.standard_normal((2, 19, 23))
    x[1, 70, 70, 1] = np.nan
    one = convolved(x, w, threads=1)
    for threads in (2, 3, 16):
        np.testing.assert_array_equal(convolved(x, w, threads=threads), one)


def test_images_of_a_batch_do_not_know_each_other():
    rng = np.random.default_rng(11)
    x, w = rng.random((3, 50, 60, 3), np.float32), rng.random((1, 21, 21))
    x[1] *= 1e6
    together = convolved(x, w)
    for image, result in zip(x, together, strict=True):
        np.testing.assert_array_equal(convolved(image[None], w)[0], result)


def test_filters_are_combined_and_finished():
    rng = np.random.default_rng(12)
    x, w = rng.random((1, 60, 90, 3), np.float32), rng.standard_normal((3, 15, 15)) / 15
    bias = np.array([0.5, -0.25, 1], np.float32)
    sums = truth(x, w)[0].reshape(1, 60, 90, 3, 3) + bias
    finish = Finish(bias, Activation.RELU, Combine.MAX)
    expected = sums.clip(0).max(4)
    assert np.abs(convolved(x, w, finish) - expected).max() <= 1e-5
    result, summary = convolved(x, w, finish._replace(summarise=True))
    assert (summary.least, summary.greatest) == (result.min(), result.max())
    each = convolved(x, w, Finish(bias))
    assert np.abs(each - sums.reshape(each.shape)).max() <= 1e-5


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("cut", [None, (64, 64)])
def test_results_are_rounded_and_saturated(dtype, cut):
    rng = np.random.default_rng(13)
    full = np.iinfo(dtype).max
    x = rng.integers(0, full + 1, (1, 100, 140, 3)).astype(dtype)
    w = rng.standard_normal((1, 25, 25)) / 25
    finish = Finish(range=RangeMode.CLIP, full_in=full, full_out=full, dtype=dtype)
    expected = np.rint(truth(x, w)[0]).clip(0, full)
    result = convolved(x, w, finish, cut=cut)
    assert result.dtype == dtype
    assert np.abs(result - expected).max() <= 1


# Tiles


def test_tiles_suit_the_kernel_and_the_image():
    def chosen(shape, k, **options):
        return tiles.choose(plan(ConvSpec.of(**options), shape, (k, k)))

    small = chosen((1, 40, 50, 3), 21)
    assert small.rows <= 64
    assert small.columns <= 96
    for channels in (1, 3, 4):
        for k in (31, 63, 127):
            found = chosen((1, 4096, 4096, channels), k)
            assert tiles.memory(found.rows, found.columns, channels) <= tiles.MOST_MEMORY
            share = (found.rows - k + 1) * (found.columns - k + 1) / found.rows / found.columns
            assert share > 0.3
    large = chosen((1, 700, 800, 1), 601)
    assert large.rows >= 601
    assert large.columns >= 601


def test_the_scratch_memory_of_a_thread_is_little():
    x, w = np.zeros((1, 1500, 1500, 3), np.float32), np.ones((1, 127, 127))
    settled = settle(x, w)
    piece = fourier.piece(x, w, settled, Finish(), np.empty_like(x), 2)
    assert piece.scratch < 4_000_000


@pytest.mark.parametrize("lasts", [tiles.LAST_OF_COLUMNS, tiles.LAST_OF_ROWS])
def test_passes_make_the_length(lasts):
    for length in range(1, 1000):
        steps = tiles.passes(length, lasts)
        if steps is not None:
            assert np.prod(steps) == length
            assert steps[-1] in lasts
            assert set(steps[:-1]) <= set(tiles.RADICES)
    assert tiles.passes(7 * 64, lasts) is None
    assert tiles.passes(256, tiles.LAST_OF_COLUMNS) == (8, 4, 8)
