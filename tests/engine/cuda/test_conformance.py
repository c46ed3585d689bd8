"""The cuda engine computes what the other engines compute.

Runs in Numba's simulator, where there is no GPU, with few of the random cases; on a GPU
(CONVTOOL_TEST_GPU=1) with as many as the cpu engine.
"""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as tried
from hypothesis import strategies as st

pytest.importorskip("numba_cuda", reason="the extra convtool[cuda] is not installed")

import test_engines
import test_finish
import test_methods
import test_transposed
from test_finish import BYTES, EDGES, both, image, same

from convtool import conv2d, conv2d_transpose, engine
from convtool.engine import cuda
from convtool.engine.cuda import device, launches, layout, pipeline
from convtool.engine.finish import Finish
from convtool.errors import EngineError
from convtool.geometry import ConvSpec, plan
from convtool.terms import Activation, Combine, EngineName, MethodName, Op, RangeMode

# The simulator's threads do not know that infinity times nothing is a result here.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

GPU = not device.simulated()
if not GPU:
    import lockstep

    lockstep.install()
DIRECT, SEPARABLE, GEMM = MethodName.DIRECT, MethodName.SEPARABLE, MethodName.GEMM


def some(few, many):
    """How many random cases: few in the simulator."""
    return int(os.environ.get("CONVTOOL_TEST_EXAMPLES", many if GPU else few))


# Against plain loops, on the cases that the other engines are held to


@tried(max_examples=some(12, 600))
@given(case=test_engines.cases())
def test_integers_are_exact(case):
    images, kernel, options = case
    before = images.copy()
    expected, _ = test_engines.truth(images, kernel, options)
    result = conv2d(images, kernel, engine="cuda", **options)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, expected)
    np.testing.assert_array_equal(images, before)


@tried(max_examples=some(6, 500))
@given(case=test_engines.cases(integers=False))
def test_real_numbers_are_as_good_as_float32(case):
    images, kernel, options = case
    expected, size = test_engines.truth(images, kernel, options)
    result = conv2d(images, kernel, engine="cuda", **options)
    assert (np.abs(result - expected) <= test_engines.ROUNDINGS * 2.0**-24 * size).all()


@tried(max_examples=some(5, 150))
@given(test_transposed.cases(), st.sampled_from(test_transposed.BORDERS))
def test_transposed_by_every_method(case, border):
    x, w, asked, settled = case
    expected = test_transposed.definition(x, w, settled, border, 3.0 * (border == "constant"))
    name = "constant:3" if border == "constant" else border
    seen = set()
    for method in ("auto", "direct", "gemm", "separable"):
        try:
            y = conv2d_transpose(x, w, **asked, border=name, engine="cuda", method=method)
        except EngineError:  # a method for other kernels
            continue
        seen.add(method)
        np.testing.assert_array_equal(y, expected, method)
    assert seen >= {"auto", "direct" if settled.per_channel else "gemm"}


# Every method over images of several blocks


def agree(images, kernel, options, method):
    expected = conv2d(images, kernel, engine="numpy", **options)
    result = conv2d(images, kernel, engine="cuda", method=method, **options)
    np.testing.assert_array_equal(result, expected)


@tried(max_examples=some(5, 150))
@given(case=test_methods.cases())
def test_direct(case):
    rng, images, size, options, _ = case
    agree(images, rng.integers(-9, 10, size), options, "direct")


@tried(max_examples=some(5, 150))
@given(case=test_methods.cases(), size=st.tuples(st.integers(1, 7), st.integers(1, 7)))
def test_direct_with_every_tap_written_out(case, size):
    rng, images, _, options, _ = case
    agree(images, rng.integers(-9, 10, size), {**options, "stride": 1, "dilation": 1}, "direct")


@tried(max_examples=some(5, 100))
@given(case=test_methods.cases())
def test_separable(case):
    rng, images, (kh, kw), options, _ = case
    kernel = np.outer(rng.integers(-5, 6, kh), rng.integers(-5, 6, kw)) / 4
    agree(images, kernel, options, "separable")


@tried(max_examples=some(4, 100))
@given(
    case=test_methods.cases(),
    groups=st.integers(1, 3),
    outputs=st.sampled_from([1, 3, 4, 9, 17, 33, 70]),
)
def test_products_across_channels(case, groups, outputs):
    rng, images, (kh, kw), options, _ = case
    images = images[:, :12, :12]
    kernel = rng.integers(-9, 10, (min(kh, 4), min(kw, 4), images.shape[3], groups * outputs))
    images = np.repeat(images, groups, axis=3)
    agree(images, kernel, {**options, "groups": groups}, "gemm")


@pytest.mark.parametrize("inputs", [4, 16, 20])
def test_products_of_channels_that_are_loaded_as_vectors(inputs):
    rng = np.random.default_rng(inputs)
    x = rng.integers(-9, 10, (2, 9, 8, 2 * inputs)).astype(np.float32)
    kernel = rng.integers(-9, 10, (3, 2, inputs, 2 * 36))
    agree(x, kernel, {"groups": 2, "stride": (1, 2), "dilation": (2, 1)}, "gemm")


@tried(max_examples=some(4, 100))
@given(case=test_methods.cases(), several=st.integers(1, 3), times=st.sampled_from([1, 7]))
def test_filters_of_each_channel_alone(case, several, times):
    rng, images, size, options, _ = case
    images = np.repeat(images[:, :, :30], times, axis=3)
    channels = images.shape[3]
    kernel = rng.integers(-9, 10, (*size, 1, channels * several))
    agree(images, kernel, {**options, "groups": channels}, "direct")


def test_a_channel_count_that_no_block_holds():
    rng = np.random.default_rng(8)
    x = rng.integers(0, 9, (1, 20, 9, 21)).astype(np.uint8)
    kernel = np.outer([1, 2, 1], [1, 0, -1])
    agree(x, kernel, {"border": "edge"}, "separable")
    agree(x, kernel, {"border": "edge"}, "direct")


def test_large_kernels_go_through_shared_memory_in_pieces():
    rng = np.random.default_rng(31)
    x = rng.integers(0, 9, (1, 12, 30, 3)).astype(np.float32)
    kernel = rng.integers(-3, 4, (41, 31))
    case = plan(ConvSpec.of(), x.shape, kernel.shape)
    part = layout.parts_of(case, kernel[None].astype(float))[0]
    laid = layout.lay_out(case, (part,), 3)
    chunk = layout.chunk_of(laid, (0, 1), (0, 12))
    launch = launches.ready(part, DIRECT, Finish(), 4).launch(laid, chunk, chunk.bands[0])
    assert dict(launch.constants)["SHARED"] == 1
    assert launch.numbers[-2] < 41, "not all kernel rows fit at once"
    agree(x, kernel, {}, "direct")


def test_rows_too_wide_for_shared_memory_come_from_memory():
    rng = np.random.default_rng(5)
    x = rng.integers(0, 9, (1, 12, 300, 3)).astype(np.float32)
    kernel = rng.integers(-3, 4, (5, 5))
    agree(x, kernel, {"stride": 40, "dilation": (1, 60), "padding": "full"}, "direct")


# The finish


@pytest.mark.parametrize("combine", test_finish.COMBINES)
@pytest.mark.parametrize("method", [DIRECT, SEPARABLE])
@pytest.mark.parametrize("stride", [1, 2])
def test_filters_are_combined(combine, method, stride):
    finish = BYTES._replace(combine=combine, bias=np.array([3, -5], np.float32))
    x = image()[:, :10, :50]
    same(*both(x, EDGES, finish, method, EngineName.CUDA, stride=stride))


@pytest.mark.parametrize("activation", list(Activation))
@pytest.mark.parametrize("mode", test_finish.RANGES)
@pytest.mark.parametrize(("dtype", "full"), [("uint8", 255.0), ("uint16", 65535.0)])
def test_activations_and_ranges(activation, mode, dtype, full):
    finish = BYTES._replace(
        activation=activation, range=mode, full_in=full, full_out=full, dtype=dtype
    )
    same(*both(image(dtype)[:, :9, :40], EDGES[:1], finish, DIRECT, EngineName.CUDA))


@pytest.mark.parametrize("combine", [Combine.MAGNITUDE, Combine.MAX, Combine.MEAN])
def test_one_filter_alone_is_combined_with_none(combine):
    finish = BYTES._replace(combine=combine)
    x = image()[:, :9, :40]
    for method in (DIRECT, SEPARABLE):
        same(*both(x, EDGES[:1], finish, method, EngineName.CUDA))


@pytest.mark.parametrize(
    ("full_in", "dtype", "full_out"),
    [(255, "uint16", 65535), (65535, "uint8", 255), (1.0, "uint8", 255), (255, "float32", 1.0)],
)
def test_units_are_scaled(full_in, dtype, full_out):
    finish = BYTES._replace(full_in=full_in, full_out=full_out, dtype=dtype)
    x = image("uint16" if full_in > 255 else "uint8")[:, :9, :40]
    kernel = [[[0, 0, 0], [0, 1, 1], [0, 0, 0]]]
    same(*both(x, kernel, finish, DIRECT, EngineName.CUDA), exact=dtype != "float32")


def test_what_is_no_number_is_counted():
    x = image("float32")[:, :12, :40]
    x[0, 4, 30, 1], x[0, 9, 9, 0], x[0, 10, 30, 2] = np.nan, np.inf, -np.inf
    for method in (DIRECT, SEPARABLE):
        same(*both(x, EDGES[:1], BYTES, method, EngineName.CUDA))
    raw = Finish(summarise=True)
    found, plain = both(x, EDGES[:1], raw, DIRECT, EngineName.CUDA)
    same(found, plain, exact=False)
    assert found[1].others > 0


def test_counts_at_the_very_ends():
    x = np.arange(256, dtype=np.uint8).reshape(1, 2, 128, 1)
    for bias in (-0.5, 0.5, 0.4999):
        finish = BYTES._replace(bias=np.array([bias], np.float32))
        same(*both(x, [[[1.0]]], finish, DIRECT, EngineName.CUDA))


def test_biases_of_filters_across_channels():
    kernel = np.random.default_rng(0).integers(-3, 4, (3, 3, 3, 5))
    finish = BYTES._replace(bias=np.arange(5, dtype=np.float32) * 10, activation=Activation.RELU)
    same(*both(image()[:, :9, :20], kernel, finish, GEMM, EngineName.CUDA))


@pytest.mark.parametrize("each", [1, 4])
@pytest.mark.parametrize("operator", [conv2d, conv2d_transpose])
def test_every_output_channel_has_its_own_bias(operator, each):
    rng = np.random.default_rng(9)
    x = rng.integers(-5, 6, (1, 7, 12, 2)).astype(np.float32)
    shape = (3, 3, 1, 2 * each) if operator is conv2d else (3, 3, each, 2)
    w = rng.integers(-3, 4, shape).astype(np.float32)
    bias = 100 * np.arange(2 * each)
    without = operator(x, w, groups=2, engine="numpy")
    for method in ("auto", "direct", "gemm"):
        found = operator(x, w, groups=2, bias=bias, engine="cuda", method=method)
        np.testing.assert_array_equal(found, without + bias, method)


def test_outputs_that_no_tap_reaches_are_finished_too():
    finish = Finish(
        bias=np.array([7], np.float32),
        range=RangeMode.CLIP,
        full_in=255,
        full_out=255,
        dtype="uint8",
        summarise=True,
    )
    x = np.arange(1, 25, dtype=np.uint8).reshape(1, 2, 4, 3)
    spec = ConvSpec.of(Op.CONV2D_TRANSPOSE, stride=3, padding="valid")
    settled = plan(spec, x.shape, (2, 2))
    weights = np.ones((1, 2, 2))
    y, summary = cuda.convolve(x, weights, settled, DIRECT, finish)
    expected = engine.Choice(EngineName.CPU, DIRECT, "")
    z, told = engine.finished(x, weights, settled, expected, finish)
    np.testing.assert_array_equal(y, z)
    assert summary == told
    assert summary.least == 7
    assert (y[0, 2] == 7).all()


@pytest.mark.parametrize("value", [300, -1, 0.5, 1e300, float("inf"), float("nan")])
def test_a_border_that_is_no_pixel(value):
    x = np.arange(300).reshape(1, 10, 10, 3).astype(np.uint8)
    kernel = [[0, 1, 0], [1, -3, 1], [0, 1, 0]]
    found, expected = (
        conv2d(x, kernel, border=f"constant:{value}", engine=name) for name in ("cuda", "numpy")
    )
    np.testing.assert_array_equal(found, expected)


# Chunks


@pytest.mark.parametrize("border", ["zero", "reflect", "wrap"])
@pytest.mark.parametrize("options", [{}, {"stride": 2, "dilation": (2, 1)}])
def test_results_do_not_depend_on_how_the_work_is_cut(monkeypatch, border, options):
    rng = np.random.default_rng(2)
    x = rng.integers(0, 99, (3, 25, 12, 3)).astype(np.uint8)
    kernel = rng.integers(-9, 10, (5, 3))
    asked = {"border": border, **options}
    expected = conv2d(x, kernel, engine="numpy", **asked)
    cuts = []
    for most in (1 << 12, 1 << 13, 1 << 25):
        staged = []
        monkeypatch.setattr(layout, "CHUNK", most)
        monkeypatch.setattr(pipeline, "room", lambda _lent, most=most: most)
        monkeypatch.setattr(
            pipeline, "stage", lambda *to, did=staged: did.append(layout.stage(*to))
        )
        np.testing.assert_array_equal(conv2d(x, kernel, engine="cuda", **asked), expected)
        cuts.append(len(staged))
    assert cuts[0] > cuts[1] > 1
    assert cuts[0] > len(x)
    assert cuts[2] == 1


def test_bands_of_a_transposed_convolution(monkeypatch):
    rng = np.random.default_rng(2)
    x = rng.integers(0, 99, (2, 9, 7, 3)).astype(np.float32)
    kernel = rng.integers(-9, 10, (5, 4))
    asked = {"stride": (3, 2), "border": "edge"}
    expected = conv2d_transpose(x, kernel, engine="numpy", **asked)
    monkeypatch.setattr(layout, "CHUNK", 6000)
    np.testing.assert_array_equal(conv2d_transpose(x, kernel, engine="cuda", **asked), expected)
    settled = plan(ConvSpec.of(Op.CONV2D_TRANSPOSE, **asked), x.shape, kernel.shape)
    parts = layout.parts_of(settled, kernel[None].astype(float))
    cut = list(layout.chunks(layout.lay_out(settled, parts, 3), 4, 4, 1 << 20))
    assert len(cut) > 2
    assert any(start % 3 for start, _ in (chunk.rows for chunk in cut))


def test_a_row_that_does_not_fit_is_refused(monkeypatch):
    monkeypatch.setattr(pipeline, "room", lambda _lent: 1000)
    x = np.zeros((1, 5, 5000, 1), np.float32)
    with pytest.raises(EngineError, match=r"a row of results .* the GPU has 1,000") as caught:
        conv2d(x, np.ones((3, 3)), engine="cuda")
    assert "--engine cpu" in caught.value.hint


def test_images_of_four_bytes_a_pixel_are_read_as_they_lie():
    rng = np.random.default_rng(4)
    kept = rng.integers(0, 256, (1, 9, 30, 4)).astype(np.uint8)
    x = kept[..., :3]
    agree(x, [[1, 2, 1]], {}, "direct")


def test_no_images_and_no_pixels():
    kernel = np.ones((3, 3))
    assert conv2d(np.zeros((0, 5, 5, 3)), kernel, engine="cuda").shape == (0, 5, 5, 3)
    empty = np.zeros((1, 0, 0, 2), np.uint8)
    y = conv2d(empty, kernel, padding=2, border="constant:5", engine="cuda")
    assert y.tolist() == np.full((1, 2, 2, 2), 45.0).tolist()


def test_results_go_into_given_memory():
    x = image()[:, :9, :40]
    settled = plan(ConvSpec.of(), x.shape, (3, 3))
    out = np.zeros(settled.output_shape, np.float32)
    weights = np.ones((1, 3, 3))
    found, _ = cuda.convolve(x, weights, settled, DIRECT, Finish(), out)
    assert found is out
    np.testing.assert_array_equal(out, conv2d(x, weights[0], engine="numpy"))


def test_separable_takes_fewer_rows_where_windows_are_wide_and_is_refused_where_none_fit():
    rng = np.random.default_rng(6)
    x = rng.integers(0, 9, (1, 12, 200, 3)).astype(np.float32)
    kernel = np.outer([1, 2, 1], [1, 0, -1])
    for stride, rows in (((1, 2), 16), ((2, 1), 8), ((1, 20), 2)):
        options = {"stride": stride, "dilation": (1, 2)}
        settled = plan(ConvSpec.of(**options), x.shape, kernel.shape)
        assert launches.separable_tile(settled).rows == rows
        agree(x, kernel, options, "separable")
    asked = {"stride": (1, 200), "padding": "full", "engine": "cuda"}
    with pytest.raises(EngineError, match="must fit the GPU's shared memory") as caught:
        conv2d(x, kernel, **asked, method="separable")
    assert "--method direct" in caught.value.hint
    expected = conv2d(x, kernel, **asked | {"engine": "numpy"})
    np.testing.assert_array_equal(conv2d(x, kernel, **asked), expected)


def test_methods_that_there_are_not_are_refused():
    x = np.zeros((1, 5, 5, 3), np.float32)
    with pytest.raises(EngineError, match="the engine cuda does not have the method fft"):
        conv2d(x, np.ones((3, 3)), engine="cuda", method="fft")


@pytest.mark.parametrize("results", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("images", ["uint8", "uint16", "float32"])
def test_every_type_to_every_type(images, results):
    """Three rows of a kernel and more are as wide as the types allow."""
    rng = np.random.default_rng(3)
    x = rng.integers(0, 200, (1, 5, 43, 3)).astype(images)
    for kernel in (rng.integers(-9, 10, (3, 3)), rng.integers(-9, 10, (5, 3))):
        for padding in ("same", "valid", ((0, 0), (3, 0))):
            found, expected = (
                conv2d(x, kernel, padding=padding, dtype=results, engine=name)
                for name in ("cuda", "numpy")
            )
            np.testing.assert_array_equal(found, expected)
