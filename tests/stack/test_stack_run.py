"""Stacks on arrays: every layer against plain loops, whole networks against PyTorch."""

import numpy as np
import pytest
from safetensors.numpy import save_file

import naive
from convtool.errors import ConvtoolError
from convtool.geometry import ConvSpec, plan
from convtool.stack.layers import Pooling, Stack, parse_layer
from convtool.stack.pooling import pool
from convtool.stack.run import number_of, preprocessed, run
from convtool.stack.weights import load, settle
from convtool.terms import EngineName, MethodName

ENGINES = ("numpy", "cpu")


def stack_of(*layers, folder=None, **settings):
    """Make a stack of layers as the command line writes them."""
    if folder is not None:
        settings["folder"] = folder
    return Stack(tuple(parse_layer(layer) for layer in layers), **settings)


def whole(rng, *shape):
    return rng.integers(-3, 4, shape).astype(np.float32)


def values_of(stack, images, **options):
    return [computed.values for computed in run(stack, images, **options)]


@pytest.fixture
def rng():
    return np.random.default_rng(7)


# ---------------------------------------------------------------- layers against loops


def naive_pool(x, size, stride, dilation, pads, pooling):
    """Go through the pixels of each window that are on the image."""
    n, h, w, c = x.shape
    (top, bottom), (left, right) = pads
    oh = (h + top + bottom - (size[0] - 1) * dilation[0] - 1) // stride[0] + 1
    ow = (w + left + right - (size[1] - 1) * dilation[1] - 1) // stride[1] + 1
    y = np.empty((n, oh, ow, c))
    for i in range(oh):
        for j in range(ow):
            rows = [i * stride[0] - top + a * dilation[0] for a in range(size[0])]
            cols = [j * stride[1] - left + b * dilation[1] for b in range(size[1])]
            seen = [x[:, u, v] for u in rows if 0 <= u < h for v in cols if 0 <= v < w]
            y[:, i, j] = np.max(seen, axis=0) if pooling is Pooling.MAX else np.mean(seen, axis=0)
    return y


@pytest.mark.parametrize("pooling", list(Pooling))
@pytest.mark.parametrize(
    ("size", "options"),
    [
        ((2, 2), {"stride": 2, "padding": "valid"}),
        ((3, 3), {"stride": 2, "padding": "same"}),
        ((3, 2), {"stride": (1, 3), "padding": "same-lower"}),
        ((3, 3), {"stride": 2, "padding": 1}),
        ((2, 3), {"stride": (3, 1), "padding": (0, 1), "dilation": (2, 3)}),
        ((2, 2), {"stride": 5, "padding": "valid"}),
        ((7, 9), {"stride": (7, 9), "padding": "valid"}),
        ((1, 4), {"stride": 2, "padding": "same", "dilation": (1, 2)}),
    ],
)
def test_pools_equal_loops(rng, pooling, size, options):
    x = rng.normal(size=(2, 7, 9, 3)).astype(np.float32)
    settled = plan(ConvSpec.of(**options), x.shape, size)
    before = x.copy()
    y = pool(x, settled, pooling)
    pads = (settled.rows.before, settled.rows.after), (settled.cols.before, settled.cols.after)
    spec = settled.spec
    expected = naive_pool(x, size, spec.stride, spec.dilation, pads, pooling)
    assert y.dtype == np.float32
    assert y.shape == settled.output_shape
    if pooling is Pooling.MAX:
        assert np.array_equal(y, expected.astype(np.float32))
    else:
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    assert np.array_equal(x, before)


def test_the_rim_of_a_mean_is_no_darker():
    x = np.full((1, 5, 5, 1), 8, np.uint8)
    (y,) = values_of(stack_of("pool 3x3 average stride=1 same"), x)
    assert y.dtype == np.float32
    assert np.array_equal(y, np.full((1, 5, 5, 1), 8))


def test_a_window_without_pixels_is_refused():
    x = np.zeros((1, 3, 9, 1), np.float32)
    with pytest.raises(ConvtoolError) as caught:
        run(stack_of("pool 2x2 stride=1 padding=0,0,3,0"), x)
    assert caught.value.message == (
        "layer 1 (pool 2x2 stride=1 padding=0,0,3,0): every window of a pool must hold a pixel, "
        "but along the width 2 of 11 lie in the padding of 3 + 0 altogether"
    )
    assert caught.value.hint == "use padding of at most 1, or padding same"


@pytest.mark.parametrize("engine", ENGINES)
def test_convolutions_equal_loops(rng, tmp_path, engine):
    x = whole(rng, 2, 9, 8, 4)
    first, second, third = whole(rng, 3, 2, 2, 6), whole(rng, 3, 3, 1, 12), whole(rng, 2, 3, 5, 6)
    mix = whole(rng, 1, 1, 12, 6)
    np.savez(tmp_path / "net.npz", first=first, second=second, third=third, mix=mix)
    stack = stack_of(
        "conv kernel=net.npz:first groups=2 stride=2x1 relu bias=1,-2,3,0,-1,2",
        "depthwise kernel=net.npz:second dilation=2 same-lower",
        "conv kernel=net.npz:mix",
        "transpose kernel=net.npz:third stride=2 valid bias=5 output_padding=1x0",
        folder=tmp_path,
    )
    one, two, three, four = (c.values for c in run(stack, x, engine=engine))

    pads = [naive.pads(9, 3, 2, 1, "same"), naive.pads(8, 2, 1, 1, "same")]
    expected = naive.conv2d(x, first, stride=(2, 1), pads=pads, dilation=(1, 1), groups=2)
    expected = np.maximum(expected + np.array([1, -2, 3, 0, -1, 2]), 0)
    assert np.array_equal(one, expected)
    pads = [naive.pads(n, 3, 1, 2, "same-lower") for n in (5, 8)]
    expected = naive.conv2d(expected, second, stride=(1, 1), pads=pads, dilation=(2, 2), groups=6)
    assert np.array_equal(two, expected)
    expected = expected @ mix[0, 0]
    assert np.array_equal(three, expected)
    options = {"stride": (2, 2), "pads": [(0, 0), (0, 0)], "dilation": (1, 1), "groups": 1}
    expected = naive.conv2d_transpose(expected, third, size=(11, 17), **options) + 5
    assert np.array_equal(four, expected)


def test_layers_that_only_move_values():
    x = np.arange(12, dtype=np.uint8).reshape(1, 2, 3, 2)
    up, flat, back = values_of(stack_of("upsample 2x1", "flatten", "reshape 2x3x4"), x)
    assert up[0, :, :, 0].tolist() == [[0, 2, 4], [0, 2, 4], [6, 8, 10], [6, 8, 10]]
    assert flat.shape == (1, 1, 1, 24)
    assert np.array_equal(flat.reshape(-1), up.reshape(-1))
    assert np.array_equal(back, up.reshape(1, 2, 3, 4))
    assert {y.dtype for y in (up, flat, back)} == {np.dtype(np.float32)}


def test_a_dense_layer(rng, tmp_path):
    x, matrix = whole(rng, 2, 1, 1, 5), whole(rng, 5, 3)
    np.savez(tmp_path / "net.npz", fc=matrix, bias=np.array([1.0, 2, 3]))
    stack = stack_of("dense x3 kernel=net.npz:fc bias=net.npz:bias relu", folder=tmp_path)
    (y,) = values_of(stack, x)
    assert np.array_equal(y, np.maximum(x @ matrix + [1, 2, 3], 0))


@pytest.mark.parametrize("activation", ["none", "relu", "abs", "sigmoid", "tanh"])
@pytest.mark.parametrize("engine", ENGINES)
def test_activations_come_after_the_bias(activation, engine):
    x = np.array([-3, -1, 0, 2], np.float32).reshape(1, 2, 2, 1)
    (y,) = values_of(stack_of(f"conv kernel='1x1: 2' bias=1 {activation}"), x, engine=engine)
    z = 2 * x.astype(float) + 1
    expected = {
        "none": z,
        "relu": np.maximum(z, 0),
        "abs": np.abs(z),
        "sigmoid": 1 / (1 + np.exp(-z)),
        "tanh": np.tanh(z),
    }[activation]
    np.testing.assert_allclose(y, expected, rtol=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_preset_filters_each_channel(rng, engine):
    x = rng.integers(0, 256, (1, 6, 7, 3)).astype(np.uint8)
    (computed,) = run(stack_of("conv kernel=sobel valid bias=1,-1", name="edges"), x, engine=engine)
    sobel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    options = {"stride": (1, 1), "pads": [(0, 0), (0, 0)], "dilation": (1, 1), "groups": 3}
    for f, (taps, bias) in enumerate(((sobel, 1), (sobel.T, -1))):
        expected = naive.conv2d(x, naive.depthwise(taps, 3), **options) + bias
        assert np.array_equal(computed.values[..., f::2], expected)
    assert computed.labels == ("0 x", "0 y", "1 x", "1 y", "2 x", "2 y")
    assert computed.title == "1 conv kernel=sobel valid bias=1,-1"
    assert (computed.choice.engine, computed.choice.method) in {
        (EngineName.NUMPY, MethodName.GEMM),
        (EngineName.CPU, MethodName.DIRECT),
        (EngineName.CPU, MethodName.SEPARABLE),
    }


def test_a_kernels_own_bias_is_used_unless_another_is_given(tmp_path):
    (tmp_path / "k.mat").write_text("1 1 1 128\n1\n")  # vips' offset is a bias
    x = np.ones((1, 1, 1, 1), np.float32)
    assert values_of(stack_of("conv kernel=k.mat", folder=tmp_path), x)[0] == 129
    assert values_of(stack_of("conv kernel=k.mat bias=2", folder=tmp_path), x)[0] == 3


# ---------------------------------------------------------------- the whole


LAYERS = (
    "conv kernel=sobel stride=2 relu",
    "pool 2x2",
    "upsample 3",
    "transpose kernel=bilinear stride=2",
    "depthwise kernel=gaussian:sigma=1 padding=1",
    "flatten",
)


def test_shapes_are_the_plans(rng):
    x = rng.integers(0, 256, (2, 17, 14, 3)).astype(np.uint8)
    stack = stack_of(*LAYERS)
    computed = list(run(stack, x))
    assert [c.settled for c in computed] == list(settle(stack, x.shape, load(stack)))
    assert [c.values.shape for c in computed] == [c.settled.output_shape for c in computed]
    assert computed[-1].values.shape == (2, 1, 1, 20 * 14 * 6)
    assert [c.choice is None for c in computed] == [False, True, True, False, False, True]


def test_a_part_of_a_stack(rng):
    x = rng.normal(size=(1, 12, 12, 1))
    stack = stack_of(*LAYERS, "dense x4")  # which could not run
    part = list(run(stack, x, upto=2))
    assert [c.settled.number for c in part] == [1, 2]
    assert np.array_equal(part[1].values, values_of(stack_of(*LAYERS[:2]), x)[1])
    for upto in (0, 8):
        with pytest.raises(ConvtoolError, match=f"layers 1 to 7, but {upto} is asked for"):
            run(stack, x, upto=upto)


def test_the_images_are_left_as_they_are(rng):
    x = rng.normal(size=(1, 8, 8, 2)).astype(np.float32)
    before = x.copy()
    values_of(stack_of("conv kernel='1x1: 1' relu", "flatten"), x)
    values_of(stack_of("flatten", scale=2.0, mean=(1.0, 2.0)), x)
    assert np.array_equal(x, before)


def test_weights_may_be_loaded_once(tmp_path):
    np.save(tmp_path / "k.npy", np.ones((1, 1, 1, 2)))
    stack = stack_of("conv kernel=k.npy", "conv kernel='1x1: 3'", folder=tmp_path)
    weights = load(stack)
    assert sorted(weights) == [1, 2]
    (tmp_path / "k.npy").unlink()
    for size in (2, 3):
        x = np.full((1, size, size, 1), 2.0)
        assert np.array_equal(
            values_of(stack, x, weights=weights)[1], np.full((1, size, size, 2), 6)
        )


def test_layers_are_found_by_name_and_number():
    stack = stack_of("conv kernel=sobel name=edges", "flatten", "reshape 1x1x8 name=conv2")
    assert [number_of(stack, text) for text in ("edges", "1", "2", "conv2")] == [1, 1, 2, 3]
    with pytest.raises(ConvtoolError, match="layers 1 to 3, but none is 'edge'") as caught:
        number_of(stack, "edge")
    assert caught.value.hint == "did you mean edges?"
    for text in ("0", "4", "", "-1"):
        with pytest.raises(ConvtoolError, match=f"none is '{text}'"):
            number_of(stack, text)
    with pytest.raises(ConvtoolError, match="the stack has layer 1 alone, but none is '2'"):
        number_of(stack_of("flatten"), "2")


# ---------------------------------------------------------------- pixels


def test_pixels_are_scaled_then_normalized():
    x = np.array([[[[0, 51], [255, 102]]]], np.uint8)
    stack = stack_of("flatten", scale=1 / 255, mean=(0.5, 0.2), deviation=(0.5, 0.1))
    np.testing.assert_allclose(preprocessed(x, stack), [[[[-1, 0], [1, 2]]]], atol=1e-6)
    only_mean = stack_of("flatten", mean=(1.0,))
    assert preprocessed(x, only_mean).tolist() == [[[[-1, 50], [254, 101]]]]
    assert preprocessed(x, stack_of("flatten")) is x
    (y,) = values_of(only_mean, x)
    assert y.reshape(-1).tolist() == [-1, 50, 254, 101]


@pytest.mark.parametrize("name", ["mean", "deviation"])
def test_one_number_for_each_channel(name):
    stack = stack_of("flatten", **{name: (1.0, 2.0)})
    with pytest.raises(ConvtoolError) as caught:
        run(stack, np.zeros((1, 4, 4, 3)))
    assert caught.value.message == (
        f"the {name} of the input has one number for each channel, but there are 2 for 3 channels"
    )
    assert caught.value.hint == "give one number for all channels, or images of 2"
    with pytest.raises(ConvtoolError, match=r"there are 2 for 1 channel \(hint"):
        run(stack, np.zeros((1, 4, 4, 1)))


def test_images_have_four_axes():
    with pytest.raises(ConvtoolError, match=r"images must have 4 axes \(NHWC\), not 2") as caught:
        run(stack_of("flatten"), np.zeros((4, 4)))
    assert "image[None, :, :, None]" in caught.value.hint


# ---------------------------------------------------------------- what cannot run


def test_a_layer_without_weights_is_named_before_anything_runs():
    stack = stack_of("conv kernel=sobel", "conv 3x3 x32 name=encode1")
    with pytest.raises(ConvtoolError) as caught:
        run(stack, np.zeros((1, 4, 4, 3)))
    assert caught.value.message == (
        "layer 2, encode1 (conv 3x3 x32): to run, a layer needs weights, and this one says only "
        "how large they are"
    )
    assert caught.value.hint == (
        "say kernel=sobel, kernel=weights.npy or kernel=net.safetensors:conv1.weight; "
        "'convtool shape' needs none"
    )


def test_a_missing_array_names_layer_and_file(tmp_path):
    np.savez(tmp_path / "net.npz", conv1=np.ones((3, 3, 1, 2)))
    x = np.zeros((1, 4, 4, 1))
    with pytest.raises(ConvtoolError) as caught:
        run(stack_of("conv kernel=net.npz:conv2", folder=tmp_path), x)
    assert caught.value.message == (
        f"layer 1 (conv kernel=net.npz:conv2): {tmp_path / 'net.npz'}: it holds conv1 (3x3x1x2), "
        "but no 'conv2'"
    )
    assert caught.value.hint == "did you mean conv1?"
    where = r"^layer 1 \(conv kernel=sobel bias=b\.npy\): .*b\.npy: no such"
    with pytest.raises(ConvtoolError, match=where):
        run(stack_of("conv kernel=sobel bias=b.npy", folder=tmp_path), x)


def test_biases_of_the_wrong_number():
    with pytest.raises(ConvtoolError) as caught:
        run(stack_of("conv kernel=sobel bias=1,2,3"), np.zeros((1, 4, 4, 3)))
    assert caught.value.message == (
        "layer 1 (conv kernel=sobel bias=1,2,3): bias must be one number or one per filter, 2 in "
        "all, but there are 3"
    )


def test_biases_out_of_a_file_of_the_wrong_number(tmp_path):
    np.save(tmp_path / "b.npy", np.ones(3))
    with pytest.raises(ConvtoolError) as caught:
        run(stack_of("conv kernel=sobel bias=b.npy", folder=tmp_path), np.zeros((1, 4, 4, 3)))
    assert caught.value.message == (
        "layer 1 (conv kernel=sobel bias=b.npy): bias must be one number or one per filter, 2 in "
        "all, but has shape (3,)"
    )


def test_a_layout_has_an_axis_for_each_letter(tmp_path):
    np.save(tmp_path / "k.npy", np.ones((10, 20)))
    for kernel, size in (("k.npy", "10x20"), ("sobel", "3x3")):
        stack = stack_of(f"conv kernel={kernel} layout=oihw", folder=tmp_path)
        with pytest.raises(ConvtoolError) as caught:
            run(stack, np.zeros((1, 40, 40, 3)))
        assert caught.value.message == (
            f"layer 1 (conv kernel={kernel} layout=OIHW): layout OIHW names the four axes of a "
            f"kernel across channels, but {kernel} has 2: {size}"
        )
        assert caught.value.hint == "leave the layout out"


@pytest.mark.parametrize(
    ("layers", "labels"),
    [
        (("conv kernel=sobel", "pool 2"), ("0 x", "0 y", "1 x", "1 y")),
        (("conv kernel=sobel", "upsample 2"), ("0 x", "0 y", "1 x", "1 y")),
        (("conv kernel=sobel", "conv kernel=gaussian"), ("0 x", "0 y", "1 x", "1 y")),
        (("conv kernel=sobel", "depthwise kernel=one.npy"), ("0 x", "0 y", "1 x", "1 y")),
        (
            ("conv kernel=sobel:filter=x", "pool 2", "conv kernel=sobel"),
            ("0 x x", "0 x y", "1 x x", "1 x y"),
        ),
        (
            ("conv kernel=sobel", "transpose kernel=bilinear stride=2"),
            ("0 x", "0 y", "1 x", "1 y"),
        ),
        (("conv kernel=sobel", "conv kernel=mixed.npy", "pool 2"), ()),
        (("conv kernel=sobel", "flatten"), ()),
        (("pool 2",), ()),
    ],
)
def test_labels_stay_with_channels_that_stay_in_place(tmp_path, layers, labels):
    np.save(tmp_path / "one.npy", np.ones((1, 1, 1, 4)))
    np.save(tmp_path / "mixed.npy", np.ones((1, 1, 4, 4)))
    *_, last = run(stack_of(*layers, folder=tmp_path), np.ones((1, 8, 8, 2)))
    assert last.labels == labels


def test_filters_on_labelled_channels_say_both(tmp_path):
    np.save(tmp_path / "two.npy", np.ones((1, 1, 1, 4)))
    stack = stack_of("conv kernel=sobel", "depthwise kernel=two.npy", folder=tmp_path)
    *_, last = run(stack, np.ones((1, 8, 8, 1)))
    assert last.labels == ("x 0", "x 1", "y 0", "y 1")
    *_, last = run(stack_of("conv kernel=sobel", "conv kernel=prewitt"), np.ones((1, 8, 8, 1)))
    assert last.labels == ("x x", "x y", "y x", "y y")


@pytest.mark.parametrize(
    ("kind", "shape", "layout", "fits"),
    [
        ("conv", (8, 3, 5, 5), "", "OIHW"),
        ("conv", (5, 5, 3, 8), "OIHW", "HWIO"),
        ("depthwise", (6, 1, 5, 5), "", "OIHW"),
        ("transpose", (3, 8, 4, 4), "", "IOHW"),
    ],
)
def test_axes_in_another_order_are_recognized(tmp_path, kind, shape, layout, fits):
    np.save(tmp_path / "k.npy", np.ones(shape))
    x = np.zeros((1, 9, 9, 3))
    given = f" layout={layout}" if layout else ""
    with pytest.raises(ConvtoolError, match=r"^layer 2") as caught:
        run(stack_of("pool 1", f"{kind} kernel=k.npy{given}", folder=tmp_path), x)
    assert caught.value.hint == f'the axes would fit as {fits}: layout = "{fits}"'
    (_, y) = values_of(stack_of("pool 1", f"{kind} kernel=k.npy layout={fits}", folder=tmp_path), x)
    assert y.shape == (1, 9, 9, 6 if kind == "depthwise" else 8)


def test_a_kernel_that_fits_in_no_order_keeps_its_hint(tmp_path):
    np.save(tmp_path / "k.npy", np.ones((3, 3, 7, 8)))
    with pytest.raises(ConvtoolError, match="the kernel takes 7 input channels") as caught:
        run(stack_of("conv kernel=k.npy", folder=tmp_path), np.zeros((1, 9, 9, 3)))
    assert "layout" not in caught.value.hint


@pytest.mark.parametrize(
    ("array", "layer", "message", "hint"),
    [
        (np.ones((2, 4)), "dense x4 kernel=k.npy", "4 values of 3, but its kernel is 2x4", ""),
        (
            np.ones((4, 3)),
            "dense x4 kernel=k.npy",
            "its kernel is 4x3",
            'layout = "OI" would fit',
        ),
        (
            np.ones((3, 4)),
            "dense x4 kernel=k.npy layout=OI",
            "its kernel is 3x4, units first",
            'layout = "IO" would fit',
        ),
        (np.ones((1, 3, 4)), "dense x4 kernel=k.npy", "a matrix of real numbers, but k.npy is", ""),
        (np.ones((3, 4)), "dense x4 kernel=sobel", "an array in a file, but 'sobel' is none", ""),
        (np.ones((3, 4)), "dense x4 kernel=kl.npy", r"kl\.npy: no such file", "k.npy?"),
        (
            np.ones((3, 4)),
            "dense x4 kernel=k.npy bias=1,2",
            "per unit, 4 in all, but there are 2",
            "",
        ),
    ],
)
def test_matrices_that_do_not_fit(tmp_path, array, layer, message, hint):
    np.save(tmp_path / "k.npy", array)
    with pytest.raises(ConvtoolError, match=rf"^layer 1 \(.*{message}") as caught:
        run(stack_of(layer, folder=tmp_path), np.zeros((1, 1, 1, 3)))
    assert hint in caught.value.hint


# ---------------------------------------------------------------- other libraries


def test_tensorflows_depthwise_kernels(rng, tmp_path):
    # tf.nn.depthwise_conv2d: [kh, kw, channels, multiplier], output channel c * multiplier + m.
    x, kernel = whole(rng, 1, 4, 5, 3), whole(rng, 2, 3, 3, 2)
    np.save(tmp_path / "k.npy", kernel)
    (y,) = values_of(stack_of("depthwise kernel=k.npy valid", folder=tmp_path), x)
    options = {"stride": (1, 1), "pads": [(0, 0), (0, 0)], "dilation": (1, 1), "groups": 1}
    for c in range(3):
        expected = naive.conv2d(x[..., c : c + 1], kernel[:, :, c : c + 1], **options)
        assert np.array_equal(y[..., 2 * c : 2 * c + 2], expected)


TORCH_LAYERS = (
    "conv kernel=net.safetensors:c1.weight bias=net.safetensors:c1.bias layout=OIHW stride=2 "
    "padding=3 relu",
    "pool 3x3 stride=2 padding=1",
    "conv kernel=net.safetensors:c2.weight layout=OIHW groups=2 dilation=2 padding=2 tanh",
    "depthwise kernel=net.safetensors:c3.weight layout=OIHW padding=1 sigmoid",
    "pool 3x3 average stride=2 padding=1",
    "transpose kernel=net.safetensors:t1.weight bias=net.safetensors:t1.bias layout=IOHW stride=2 "
    "padding=1 output_padding=1 groups=2 relu",
    "upsample 2",
    "pool 3x3",
    "flatten",
    "dense x36 kernel=net.safetensors:f1.weight bias=net.safetensors:f1.bias layout=OI tanh",
    "reshape 3x3x4",
    "transpose kernel=net.safetensors:t2.weight layout=IOHW stride=3 padding=0",
)


def test_a_network_equals_pytorch(rng, tmp_path):
    """The layers that PyTorch has, with weights as it stores them, and in its order of values."""
    torch = pytest.importorskip("torch", reason="PyTorch is no part of the test environment")
    from torch.nn import functional as f

    shapes = {
        "c1.weight": (8, 3, 7, 7),
        "c1.bias": (8,),
        "c2.weight": (12, 4, 3, 3),
        "c3.weight": (24, 1, 3, 3),
        "t1.weight": (24, 3, 3, 3),
        "t1.bias": (6,),
        "f1.weight": (36, 6 * 5 * 4),
        "f1.bias": (36,),
        "t2.weight": (4, 5, 3, 3),
    }
    arrays = {name: rng.normal(size=shape) / 4 for name, shape in shapes.items()}
    save_file(
        {name: array.astype(np.float32) for name, array in arrays.items()},
        tmp_path / "net.safetensors",
    )
    w = {name: torch.from_numpy(array) for name, array in arrays.items()}
    x = rng.integers(0, 256, (2, 29, 24, 3)).astype(np.uint8)
    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    t = torch.from_numpy(x.transpose(0, 3, 1, 2) / 255.0)
    t = (t - torch.tensor(mean)[:, None, None]) / torch.tensor(deviation)[:, None, None]
    expected = [t := f.conv2d(t, w["c1.weight"], w["c1.bias"], stride=2, padding=3).relu()]
    expected.append(t := f.max_pool2d(t, 3, 2, 1))
    expected.append(t := f.conv2d(t, w["c2.weight"], padding=2, dilation=2, groups=2).tanh())
    expected.append(t := f.conv2d(t, w["c3.weight"], padding=1, groups=12).sigmoid())
    expected.append(t := f.avg_pool2d(t, 3, 2, 1, count_include_pad=False))
    options = {"stride": 2, "padding": 1, "output_padding": 1, "groups": 2}
    expected.append(t := f.conv_transpose2d(t, w["t1.weight"], w["t1.bias"], **options).relu())
    expected.append(t := f.interpolate(t, scale_factor=2, mode="nearest"))
    expected.append(t := f.max_pool2d(t, 3))
    flat = t.flatten(1)
    fc = f.linear(flat, w["f1.weight"], w["f1.bias"]).tanh()
    t = fc.reshape(2, 4, 3, 3)
    last = f.conv_transpose2d(t, w["t2.weight"], stride=3)

    stack = stack_of(*TORCH_LAYERS, folder=tmp_path, scale=1 / 255, mean=mean, deviation=deviation)
    for engine in ENGINES:
        computed = values_of(stack, x, engine=engine)
        for number, theirs in [*enumerate(expected), (10, t), (11, last)]:
            ours = computed[number].transpose(0, 3, 1, 2)
            np.testing.assert_allclose(ours, theirs.numpy(), atol=2e-5, err_msg=str(number + 1))
