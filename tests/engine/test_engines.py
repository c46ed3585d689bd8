"""Both engines against plain loops, and the laws that a convolution obeys."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as tried
from hypothesis import strategies as st

import naive
from conftest import examples
from convtool import ConvtoolError, conv2d
from convtool.engine import METHODS
from convtool.errors import ArrayError, UsageError
from convtool.geometry import ConvSpec, plan
from convtool.terms import EngineName

# The cuda engine needs a GPU, or its simulator: it has tests of its own.
ENGINES = [str(engine) for engine in METHODS if engine is not EngineName.CUDA]
BORDERS = ["zero", "constant:7", "edge", "reflect", "symmetric", "wrap"]
DTYPES = ["uint8", "uint16", "int16", "int64", "float16", "float32", "float64", "bool"]

# For real numbers: |error| within this many float32 roundings of the sum of |products|.
ROUNDINGS = 8


def one(kernel, image, engine="numpy", **options):
    """Convolve one grey image, given as rows."""
    image = np.asarray(image)[None, :, :, None]
    return conv2d(image, np.asarray(kernel), engine=engine, **options)[0, :, :, 0]


# The literature


@pytest.mark.parametrize("engine", ENGINES)
def test_the_four_by_four_example(engine):
    image = [[4, 3, 1, 0], [2, 1, 0, 1], [1, 2, 4, 1], [3, 1, 0, 2]]
    kernel = [[1, 0, 1], [2, 1, 0], [0, 0, 1]]
    assert one(kernel, image, engine, padding="valid").tolist() == [[14, 6], [6, 12]]


@pytest.mark.parametrize("engine", ENGINES)
def test_the_three_by_three_example(engine):
    result = one([[0, 1], [2, 3]], np.arange(9).reshape(3, 3), engine, padding="valid")
    assert result.tolist() == [[19, 25], [37, 43]]


@pytest.mark.parametrize("engine", ENGINES)
def test_the_edge_detector_on_the_six_by_eight_image(engine):
    image = np.ones((6, 8))
    image[:, 2:6] = 0
    result = one([[1, -1]], image, engine, padding="valid")
    assert result.tolist() == [[0, 1, 0, 0, 0, -1, 0]] * 6


@pytest.mark.parametrize("engine", ENGINES)
def test_dtypes_of_the_result_round_to_even_and_saturate(engine):
    image = np.array([[1, 3, 5, 600, -7]]) / 2
    result = one([[1]], image, engine, dtype="uint8")
    assert result.dtype == np.uint8
    assert result.tolist() == [[0, 2, 2, 255, 0]]
    assert one([[1]], image * 1e3, engine, dtype="uint16").tolist() == [[500, 1500, 2500, 65535, 0]]
    strange = np.array([[np.nan, np.inf, -np.inf]])
    assert one([[1]], strange, engine, dtype="uint8").tolist() == [[0, 255, 0]]


# Against plain loops


@st.composite
def cases(draw, integers=True):
    """Draw images, a kernel and options that make a window fit."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    groups = draw(st.integers(1, 3))
    inputs = draw(st.integers(1, 3))
    outputs = groups * draw(st.integers(1, 3))
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 9)), draw(st.integers(1, 9)))
    dtype = draw(st.sampled_from(DTYPES))
    pixels = rng.integers(0, 2 if dtype == "bool" else 100, (*shape, inputs * groups))
    if not integers:
        dtype = draw(st.sampled_from(["float32", "float64"]))
        pixels = rng.standard_normal(pixels.shape) * 10.0 ** draw(st.integers(-2, 3))
    images = pixels.astype(dtype)
    if draw(st.booleans()):  # not contiguous, and with a negative stride
        images = np.repeat(images, 2, axis=2)[:, ::-1, ::2]
    kh, kw = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    rank = draw(st.sampled_from([2, 4]))
    kernel_shape = (kh, kw) if rank == 2 else (kh, kw, inputs, outputs)
    kernel = rng.integers(-9, 10, kernel_shape) if integers else rng.standard_normal(kernel_shape)
    options = {
        "stride": draw(st.tuples(st.integers(1, 4), st.integers(1, 4))),
        "dilation": draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        "padding": draw(
            st.sampled_from(["same", "same-lower", "full", "valid"])
            | st.tuples(*[st.tuples(st.integers(0, 12), st.integers(0, 12))] * 2)
        ),
        "border": draw(st.sampled_from(BORDERS)),
    }
    if rank == 4:
        options["groups"] = groups
    try:
        plan(ConvSpec.of(**options), images.shape, kernel.shape)
    except ConvtoolError:
        options["padding"] = "full"
    return images, kernel, options


def truth(images, kernel, options):
    """Compute in float64, and with it the sum of the products' sizes."""
    padding = options["padding"]
    each = [padding] * 2 if isinstance(padding, str) else padding
    pads = [
        naive.pads(images.shape[1 + a], kernel.shape[a], s, d, each[a])
        for a, s, d in zip((0, 1), options["stride"], options["dilation"], strict=True)
    ]
    w = naive.depthwise(kernel, images.shape[3]) if kernel.ndim == 2 else kernel
    word, _, value = options["border"].partition(":")
    arguments = {
        "stride": options["stride"],
        "dilation": options["dilation"],
        "pads": pads,
        "groups": images.shape[3] if kernel.ndim == 2 else options["groups"],
        "border": word,
    }
    value = float(value or 0)
    expected = naive.conv2d(images, w, **arguments, value=value)
    size = naive.conv2d(np.abs(images.astype(float)), np.abs(w), **arguments, value=abs(value))
    return expected, size


@pytest.mark.parametrize("engine", ENGINES)
@tried(max_examples=examples(600))
@given(case=cases())
def test_integers_are_exact(engine, case):
    images, kernel, options = case
    before = images.copy()
    expected, _ = truth(images, kernel, options)
    result = conv2d(images, kernel, engine=engine, **options)
    assert result.dtype == np.float32
    assert result.shape == expected.shape
    np.testing.assert_array_equal(result, expected)
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize("engine", ENGINES)
@tried(max_examples=examples(500))
@given(case=cases(integers=False))
def test_real_numbers_are_as_good_as_float32(engine, case):
    images, kernel, options = case
    expected, size = truth(images, kernel, options)
    error = np.abs(conv2d(images, kernel, engine=engine, **options) - expected)
    assert (error <= ROUNDINGS * np.finfo(np.float32).eps * size + 1e-30).all()


def test_a_large_image_is_the_same_in_every_engine_and_with_every_number_of_threads():
    # Larger than a block of sums and than a band of patches, so that their seams are crossed.
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (2, 70, 2500, 3)).astype(np.uint8)
    for kernel, options in [
        (rng.integers(-9, 10, (3, 3)), {}),
        (rng.integers(-9, 10, (5, 4, 3, 4)), {"stride": (1, 2), "border": "reflect"}),
        (rng.integers(-9, 10, (3, 3, 1, 6)), {"groups": 3, "dilation": (3, 2)}),
    ]:
        expected = conv2d(images, kernel, engine="numpy", **options)
        for threads in (None, 1, 2, 50):
            result = conv2d(images, kernel, engine="cpu", threads=threads, **options)
            np.testing.assert_array_equal(result, expected)


# Laws


def images_and_kernel(channels=3):
    rng = np.random.default_rng(7)
    return rng.integers(0, 256, (2, 11, 13, channels)), rng.integers(-9, 10, (3, 4))


@pytest.mark.parametrize("engine", ENGINES)
class TestLaws:
    def test_identity(self, engine):
        x, _ = images_and_kernel()
        np.testing.assert_array_equal(conv2d(x, [[1]], engine=engine), x)

    def test_each_tap_is_in_its_place(self, engine):
        # Correlation with an impulse gives the kernel, rotated by 180°.
        image = np.zeros((5, 5))
        image[2, 2] = 1
        kernel = 2.0 ** np.arange(9).reshape(3, 3)
        assert one(kernel, image, engine)[1:4, 1:4].tolist() == kernel[::-1, ::-1].tolist()

    def test_linearity(self, engine):
        x, k = images_and_kernel()
        y = x[::-1, ::-1]
        both = conv2d(2 * x + 3 * y, k, engine=engine)
        apart = 2 * conv2d(x, k, engine=engine) + 3 * conv2d(y, k, engine=engine)
        np.testing.assert_array_equal(both, apart)

    def test_a_shifted_image_gives_a_shifted_result(self, engine):
        x, k = images_and_kernel()
        result = conv2d(np.roll(x, (2, 3), (1, 2)), k, engine=engine, border="wrap")
        straight = conv2d(x, k, engine=engine, border="wrap")
        np.testing.assert_array_equal(result, np.roll(straight, (2, 3), (1, 2)))

    def test_stride_is_every_nth_window(self, engine):
        x, k = images_and_kernel()
        every = conv2d(x, k, engine=engine, padding=2)
        strided = conv2d(x, k, engine=engine, padding=2, stride=(3, 2))
        np.testing.assert_array_equal(strided, every[:, ::3, ::2])

    def test_dilation_is_a_kernel_with_zeros_between(self, engine):
        x, k = images_and_kernel()
        stuffed = np.zeros((5, 10))
        stuffed[::2, ::3] = k
        np.testing.assert_array_equal(
            conv2d(x, k, engine=engine, dilation=(2, 3)), conv2d(x, stuffed, engine=engine)
        )

    def test_groups_are_convolutions_side_by_side(self, engine):
        x, _ = images_and_kernel(6)
        k = np.random.default_rng(3).integers(-9, 10, (3, 3, 2, 9))
        together = conv2d(x, k, engine=engine, groups=3)
        apart = [
            conv2d(x[..., 2 * g : 2 * g + 2], k[..., 3 * g : 3 * g + 3], engine=engine)
            for g in range(3)
        ]
        np.testing.assert_array_equal(together, np.concatenate(apart, axis=3))

    def test_two_axes_are_a_depthwise_kernel(self, engine):
        x, k = images_and_kernel()
        depthwise = np.repeat(k[:, :, None, None], 3, axis=3)
        np.testing.assert_array_equal(
            conv2d(x, k, engine=engine), conv2d(x, depthwise, engine=engine, groups=3)
        )

    def test_bias(self, engine):
        x, k = images_and_kernel()
        plain = conv2d(x, k, engine=engine)
        np.testing.assert_array_equal(conv2d(x, k, engine=engine, bias=5), plain + 5)
        across = np.random.default_rng(3).integers(-9, 10, (3, 3, 3, 2))
        np.testing.assert_array_equal(
            conv2d(x, across, engine=engine, bias=[5, -6]),
            conv2d(x, across, engine=engine) + np.array([5, -6]),
        )

    def test_nan_and_infinity_reach_exactly_the_windows_that_hold_them(self, engine):
        image = np.ones((9, 9))
        image[4, 4] = np.nan
        kernel = np.zeros((2, 2))  # taps of zero touch what they lie on, too
        reached = np.isnan(one(kernel, image, engine, dilation=(2, 3), padding="full"))
        expected = np.zeros_like(reached)
        for a in (0, 2):
            for b in (0, 3):
                expected[4 + a, 4 + b] = True
        np.testing.assert_array_equal(reached, expected)
        image[4, 4] = np.inf
        assert one([[1, 1]], image, engine)[4].tolist() == [2, 2, 2, np.inf, np.inf, 2, 2, 2, 1]

    def test_a_border_wider_than_the_image_repeats_as_numpy_pads(self, engine):
        image = np.arange(6).reshape(2, 3)
        for border in ("edge", "reflect", "symmetric", "wrap"):
            padded = np.pad(image, ((7, 8), (9, 5)), mode=border)
            result = one([[1]], image, engine, padding=((7, 8), (9, 5)), border=border)
            np.testing.assert_array_equal(result, padded)

    def test_no_images_give_no_images(self, engine):
        result = conv2d(np.zeros((0, 5, 6, 2)), np.ones((3, 3)), engine=engine, stride=2)
        assert result.shape == (0, 3, 3, 2)

    def test_an_empty_image_with_padding_holds_the_border(self, engine):
        result = conv2d(
            np.zeros((1, 0, 2, 1)), np.ones((2, 2)), engine=engine, padding=1, border="constant:3"
        )
        assert result[0, :, :, 0].tolist() == [[12, 12, 12]]


# What cannot be


def refused(kind, *arguments, **options):
    with pytest.raises(kind) as caught:
        conv2d(*arguments, **options)
    assert isinstance(caught.value, ValueError)
    return caught.value.message


def test_arrays_that_are_none():
    x, k = np.ones((1, 4, 4, 1)), np.ones((3, 3))
    assert "4 axes (NHWC), not 2: shape (4, 4)" in refused(ArrayError, x[0, :, :, 0], k)
    assert "images must hold real numbers, not complex128" in refused(ArrayError, x + 1j, k)
    assert "kernel must hold real numbers, not <U1" in refused(ArrayError, x, [["a"]])
    assert "kernel is no array of numbers" in refused(ArrayError, x, [[1, 2], [3]])
    assert "one per filter, 1 in all, but has shape (3,)" in refused(ArrayError, x, k, bias=[1] * 3)
    assert "one per filter" in refused(ArrayError, x, k, bias=[[1]])
    assert "images must have 4 axes" in refused(ArrayError, 3, k)


def test_names_that_are_none():
    x, k = np.ones((1, 4, 4, 1)), np.ones((3, 3))
    assert "engine must be one of auto, numpy, cpu" in refused(UsageError, x, k, engine="gpu")
    assert "method must be one of auto, direct, separable, gemm, fft" in refused(
        UsageError, x, k, method="fast"
    )
    for dtype in ("int8", "what", None, int):
        assert "dtype must be float32, uint8" in refused(UsageError, x, k, dtype=dtype)
    assert conv2d(x, k, dtype=np.uint8).dtype == np.uint8
    for threads in (0, 1.5):
        message = refused(UsageError, x, k, threads=threads)
        assert message == f"threads must be a whole number of at least 1, but is {threads}"
    for device in (-1, 0.5, True):
        message = refused(UsageError, x, k, device=device)
        assert message == f"device must be a whole number of at least 0, but is {device}"
    assert "engine must be a word, not None" in refused(UsageError, x, k, engine=None)
