"""What becomes of sums while they are in the cache, against the plain way in NumPy."""

import numpy as np
import pytest

from convtool import conv2d, conv2d_transpose, engine
from convtool.engine.finish import Finish, Summary
from convtool.geometry import ConvSpec, plan
from convtool.images import summary, to_pixels
from convtool.responses import activate, combine
from convtool.terms import Activation, Combine, Depth, EngineName, MethodName, RangeMode

COMBINES = [way for way in Combine if way is not Combine.GRID]
RANGES = [RangeMode.CLIP, RangeMode.ABS, RangeMode.SIGNED]


def image(dtype="uint8", channels=3):
    rng = np.random.default_rng(5)
    if dtype == "float32":
        pixels = rng.random((1, 23, 90, channels)) * 300
    else:
        pixels = rng.integers(0, np.iinfo(dtype).max, (1, 23, 90, channels), endpoint=True)
    return pixels.astype(dtype)


def both(x, weights, finish, method=MethodName.DIRECT, who=EngineName.CPU, **options):
    """Return the results and summaries of a compiled engine and of the plain way."""
    weights = np.asarray(weights, float)
    shape = weights.shape[1:] if weights.ndim == 3 else weights.shape
    settled = plan(ConvSpec.of(**options), x.shape, shape, len(weights) if weights.ndim == 3 else 1)
    chosen = engine.choose(settled, who, method, weights=weights)
    found = engine.finished(x, weights, settled, chosen, finish, threads=2)
    plain = engine.choose(settled, EngineName.NUMPY, weights=weights)
    sums = engine.convolve(x, weights, settled, plain)
    return found, apply(sums, finish, settled.filters)


DEPTHS = {"uint8": Depth.EIGHT, "uint16": Depth.SIXTEEN, "float32": Depth.FLOAT}


def apply(sums, finish, filters):
    """Finish sums the plain way: (N, H, W, K·F), of F filters on each of K channels."""
    y = sums.reshape(*sums.shape[:3], -1, filters)
    if finish.bias is not None:
        y = y + finish.bias
    responses = combine(activate(y, finish.activation), finish.combine)
    depth = DEPTHS[finish.dtype]
    results, clipped = to_pixels(responses, finish.range, depth, finish.full_in, finish.full_out)
    if not finish.summarise:
        return results, None
    size = responses.size
    least, greatest, others = summary(responses)
    counts = [round(share * size) for share in (clipped.below, clipped.above, clipped.nan)]
    return results, Summary(least, greatest, others, *counts, size)


def same(found, expected, exact=True):
    results, summary = found
    plain, told = expected
    assert results.dtype == plain.dtype
    assert results.shape == plain.shape
    if exact:
        np.testing.assert_array_equal(results, plain)
    else:
        np.testing.assert_allclose(results, plain, rtol=1e-5, atol=1e-5)
    if told is None:
        assert summary is None
        return
    assert (summary.below, summary.above, summary.nan) == (told.below, told.above, told.nan)
    assert (summary.others, summary.values) == (told.others, told.values)
    assert summary.least == pytest.approx(told.least, rel=1e-6)
    assert summary.greatest == pytest.approx(told.greatest, rel=1e-6)


EDGES = [[[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], [[-1, -2, -1], [0, 0, 0], [1, 2, 1]]]
BYTES = Finish(range=RangeMode.CLIP, full_in=255, full_out=255, dtype="uint8", summarise=True)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("combine", COMBINES)
@pytest.mark.parametrize("method", [MethodName.DIRECT, MethodName.SEPARABLE])
def test_filters_are_combined(combine, method, stride):
    finish = BYTES._replace(combine=combine, bias=np.array([3, -5], np.float32))
    same(*both(image(), EDGES, finish, method, stride=stride))


@pytest.mark.parametrize("activation", list(Activation))
@pytest.mark.parametrize("mode", RANGES)
def test_activations_and_ranges(activation, mode):
    for channels in (1, 3):
        finish = BYTES._replace(activation=activation, range=mode)
        same(*both(image(channels=channels), EDGES[:1], finish))
        wide = finish._replace(full_in=65535.0, full_out=65535.0, dtype="uint16")
        same(*both(image("uint16", channels), EDGES[:1], wide, border="edge"))


@pytest.mark.parametrize(
    ("full_in", "dtype", "full_out"),
    [
        (255, "uint16", 65535),
        (65535, "uint8", 255),
        (1.0, "uint8", 255),
        (255, "float32", 1.0),
    ],
)
def test_units_are_scaled(full_in, dtype, full_out):
    finish = BYTES._replace(full_in=full_in, full_out=full_out, dtype=dtype)
    x = image("uint16" if full_in > 255 else "uint8")
    same(*both(x, [[[0, 0, 0], [0, 1, 1], [0, 0, 0]]], finish), exact=dtype != "float32")


def test_raw_floats_keep_all_their_values():
    finish = Finish(summarise=True)
    same(*both(image("float32"), EDGES[:1], finish), exact=False)
    same(*both(image(), EDGES[:1], finish))


def test_what_is_no_number_is_counted():
    x = image("float32")
    x[0, 4, 50, 1], x[0, 9, 9, 0], x[0, 20, 80, 2] = np.nan, np.inf, -np.inf
    same(*both(x, EDGES[:1], BYTES))
    nothing = np.full((1, 5, 40, 1), np.nan, np.float32)
    found, _ = both(nothing, EDGES[:1], BYTES)
    assert (found[1].least, found[1].greatest) == (None, None)
    assert found[1].others == found[1].nan == found[1].values == 200


def test_biases_of_filters_across_channels():
    kernel = np.random.default_rng(0).integers(-3, 4, (3, 3, 3, 5))
    finish = BYTES._replace(bias=np.arange(5, dtype=np.float32) * 10, activation=Activation.RELU)
    same(*both(image(), kernel, finish, MethodName.GEMM))


def test_several_filters_of_several_images():
    x = np.concatenate([image(), image()[:, ::-1], image()[:, :, ::-1]])
    bank = np.random.default_rng(1).integers(-4, 5, (3, 3, 3))
    for how in (Combine.EACH, Combine.MAX, Combine.ABSMAX):
        same(*both(x, bank, BYTES._replace(combine=how), dilation=2, border="reflect"))


def test_counts_at_the_very_ends():
    # Half a step beyond an end rounds to the end or beyond it, as rounding to even has it.
    x = np.arange(256, dtype=np.uint8).reshape(1, 2, 128, 1)
    for bias in (-0.5, 0.5, 0.4999):
        same(*both(x, [[[1.0]]], BYTES._replace(bias=np.array([bias], np.float32))))


@pytest.mark.parametrize("value", [300, -1, 0.5, 1e300, float("inf"), float("nan")])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_border_that_is_no_pixel(value, dtype):
    x = np.arange(1200).reshape(1, 20, 20, 3).astype(dtype)
    kernel = [[0, 1, 0], [1, -3, 1], [0, 1, 0]]
    found, expected = (
        conv2d(x, kernel, border=f"constant:{value}", engine=name) for name in ("cpu", "numpy")
    )
    assert np.array_equal(found, expected, equal_nan=True)


@pytest.mark.parametrize("bias", [np.nan, np.inf, -np.inf, 3e38])
def test_a_bias_that_is_no_number_is_counted(bias):
    x = np.full((1, 20, 30, 3), 9, np.uint8)
    weights = np.full((1, 3, 3), 1.0)
    settled = plan(ConvSpec.of(), x.shape, (3, 3))
    chosen = engine.choose(settled, EngineName.CPU, weights=weights, dtype="uint8")
    finish = BYTES._replace(bias=np.array([bias], np.float32), summarise=True)
    _, summary = engine.finished(x, weights, settled, chosen, finish)
    if np.isfinite(bias):
        assert summary.others == 0
        assert summary.least == pytest.approx(bias)
    else:
        assert (summary.least, summary.greatest, summary.others) == (None, None, x.size)


def test_squares_beyond_float32_are_counted():
    x = np.full((1, 20, 30, 1), 9, np.uint8)
    weights = np.full((2, 3, 3), 1e25)
    settled = plan(ConvSpec.of(), x.shape, (3, 3), filters=2)
    chosen = engine.choose(settled, EngineName.CPU, weights=weights, dtype="uint8")
    finish = BYTES._replace(combine=Combine.MAGNITUDE, summarise=True)
    _, summary = engine.finished(x, weights, settled, chosen, finish)
    assert summary.others == x.size


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("each", [1, 2, 4])
@pytest.mark.parametrize("operator", [conv2d, conv2d_transpose])
def test_every_output_channel_has_its_own_bias(operator, channels, each):
    """Also where every input channel has filters of its own, and a grey picture has several."""
    rng = np.random.default_rng(9)
    x = rng.integers(-5, 6, (1, 11, 20, channels)).astype(np.float32)
    outputs = channels * each
    shape = (3, 3, 1, outputs) if operator is conv2d else (3, 3, each, channels)
    w = rng.integers(-3, 4, shape).astype(np.float32)
    bias = 100 * np.arange(outputs)
    without = operator(x, w, groups=channels, engine="numpy")
    for method in ("auto", "direct", "gemm"):
        found = operator(x, w, groups=channels, bias=bias, engine="cpu", method=method)
        np.testing.assert_array_equal(found, without + bias, method)
