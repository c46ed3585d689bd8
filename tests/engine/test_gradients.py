"""The gradients of conv2d against finite differences in float64, and against each other."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from convtool import ConvtoolError, conv2d, conv2d_input_gradient, conv2d_kernel_gradient
from convtool.engine import numpy_engine
from convtool.geometry import ConvSpec, plan

PADDINGS = ("valid", "same", "same-lower", "full", ((1, 0), (0, 2)), 2)
BORDERS = ("zero", "constant:2.5", "edge", "reflect", "symmetric", "wrap")


@st.composite
def cases(draw):
    """Draw a conv2d in float64: images, kernel, settings, plan, and weights of the loss."""
    size = st.one_of(st.integers(2, 6), st.integers(0, 1))
    shape = (draw(st.integers(0, 2)), draw(size), draw(size))
    groups, per_channel = draw(st.integers(1, 2)), draw(st.booleans())
    channels = groups * draw(st.integers(1, 2))
    kernel = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    if not per_channel:
        kernel = (*kernel, channels // groups, groups * draw(st.integers(1, 2)))
    settings = {
        "stride": (draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        "dilation": (draw(st.integers(1, 2)), draw(st.integers(1, 2))),
        "padding": draw(st.sampled_from(PADDINGS)),
        "groups": 1 if per_channel else groups,
        "border": draw(st.sampled_from(BORDERS)),
    }
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x, w = rng.standard_normal((*shape, channels)), rng.standard_normal(kernel)
    try:
        settled = plan(ConvSpec.of(**settings), x.shape, w.shape)
    except ConvtoolError:
        assume(False)
    return x, w, settings, settled, rng.standard_normal(settled.output_shape)


def loss(x, w, settled, g):
    """Return the sum of what conv2d gives, weighted by `g`, and half its squares: in float64."""
    taps = w[None] if w.ndim == 2 else w
    y = numpy_engine.convolve(x, taps, settled)
    return float(np.vdot(y, g) + np.vdot(y, y) / 2), y + g


def finite_differences(array, value, step=1e-6):
    """Change each number of `array` a little both ways, and see what becomes of the value."""
    found = np.empty_like(array)
    for place in np.ndindex(array.shape):
        here = array[place]
        array[place] = here + step
        more = value()
        array[place] = here - step
        found[place] = (more - value()) / (2 * step)
        array[place] = here
    return found


@settings(max_examples=60)
@given(cases())
def test_both_gradients_are_what_finite_differences_say(case):
    x, w, asked, settled, g = case
    _, upstream = loss(x, w, settled, g)
    by_input = conv2d_input_gradient(upstream, w, x.shape, **asked, dtype="float64")
    by_kernel = conv2d_kernel_gradient(x, upstream, w.shape, **asked, dtype="float64")
    assert by_input.dtype == by_kernel.dtype == np.float64
    for found, array in ((by_input, x), (by_kernel, w)):
        expected = finite_differences(array, lambda: loss(x, w, settled, g)[0])
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@settings(max_examples=60)
@given(cases())
def test_single_precision_agrees_with_double_in_both_engines(case):
    x, w, asked, _, g = case
    expected = conv2d_input_gradient(g, w, x.shape, **asked, dtype="float64")
    for engine in ("numpy", "cpu"):
        found = conv2d_input_gradient(g, w, x.shape, **asked, engine=engine)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    expected = conv2d_kernel_gradient(x, g, w.shape, **asked, dtype="float64")
    found = conv2d_kernel_gradient(x, g, w.shape, **asked)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_a_step_against_the_gradient_finds_the_edge_kernel():
    # Zhang et al., Dive into Deep Learning, 7.2.4: [1, -1] from a 6×8 image and its edges.
    x = np.ones((1, 6, 8, 1))
    x[:, :, 2:6] = 0
    wanted = conv2d(x, [[1.0, -1.0]], padding="valid")
    kernel = np.array([[0.3, 0.2]])
    for _ in range(10):
        y = conv2d(x, kernel, padding="valid")
        gradient = conv2d_kernel_gradient(x, 2 * (y - wanted), (1, 2), padding="valid")
        kernel = kernel - 3e-2 * gradient
    np.testing.assert_allclose(kernel, [[1, -1]], atol=0.1)


def test_shapes_that_do_not_go_together_are_named():
    with pytest.raises(ConvtoolError, match=r"must have the shape .*1x2x2x1, but has 1x3x3x1"):
        conv2d_input_gradient(np.ones((1, 3, 3, 1)), np.ones((2, 2)), (1, 3, 3, 1), padding="valid")
    with pytest.raises(ConvtoolError, match=r"must have the shape .*1x3x3x1, but has 1x3x2x1"):
        conv2d_kernel_gradient(np.ones((1, 3, 3, 1)), np.ones((1, 3, 2, 1)), (2, 2))
    with pytest.raises(ConvtoolError, match="dtype must be float32 or float64, not 'int8'"):
        conv2d_kernel_gradient(np.ones((1, 3, 3, 1)), np.ones((1, 3, 3, 1)), (2, 2), dtype="int8")
    for engine in ("cpu", "cuda"):
        refused = f"float64 gradients are the NumPy engine's, not {engine}'s"
        with pytest.raises(ConvtoolError, match=refused):
            conv2d_input_gradient(
                np.ones((1, 3, 3, 1)), [[1.0]], (1, 3, 3, 1), dtype="float64", engine=engine
            )
