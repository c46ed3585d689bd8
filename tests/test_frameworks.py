"""Sizes, pads and grids as the documents of the frameworks give them, and the code for each.

The documents' formulas are written out here as they stand there, and each is compared with
windows that are put down one after the other. Where a framework is installed, the code that is
shown for it is run, and must give the numbers of the plain loops.
"""

import itertools
import random
from math import ceil, floor

import numpy as np
import pytest

import naive
from convtool.errors import ConvtoolError, GeometryError
from convtool.frameworks import compare
from convtool.frameworks.writing import literal
from convtool.geometry import (
    ConvSpec,
    effective_kernel,
    forward_axis,
    overlaps,
    plan,
    transposed_axis,
    transposed_sizes,
)
from convtool.terms import Op, PaddingMode

SIZES, KERNELS, STRIDES, DILATIONS = range(1, 13), range(1, 6), range(1, 5), range(1, 4)
BOX = list(itertools.product(SIZES, KERNELS, STRIDES, DILATIONS))
PAIRS = [(b, a) for b in range(4) for a in range(4)]
SAME, LOWER = PaddingMode.SAME, PaddingMode.SAME_LOWER


def placed(i, k_eff, s, before, after):
    """Put windows down until one does not fit; return where each starts in the image."""
    starts, start = [], -before
    while start + k_eff <= i + after:
        starts.append(start)
        start += s
    return starts


# The documents: tf.nn.convolution, tf.nn.conv2d_transpose; torch.nn.Conv2d, ConvTranspose2d;
# ONNX operators Conv and ConvTranspose.


def tensorflow_size(i, k_eff, s, padding):
    return ceil(i / s) if padding == "SAME" else ceil((i - k_eff + 1) / s)


def tensorflow_pads(i, k_eff, s):
    total = max(k_eff - s, 0) if i % s == 0 else max(k_eff - i % s, 0)
    return total // 2, total - total // 2


def pytorch_size(i, k, s, d, p):
    return floor((i + 2 * p - d * (k - 1) - 1) / s + 1)


def pytorch_back(i, k, s, d, p, output_padding):
    return (i - 1) * s - 2 * p + d * (k - 1) + output_padding + 1


def onnx_auto_pad(i, k_eff, s, word):
    o = ceil(i / s)
    total = max((o - 1) * s + k_eff - i, 0)
    half, rest = total // 2, total - total // 2
    return o, *((half, rest) if word == "SAME_UPPER" else (rest, half))


def onnx_back(i, k_eff, s, before, after, output_padding):
    return s * (i - 1) + output_padding + k_eff - before - after


def onnx_back_pads(i, k_eff, s, size, word):
    total = s * (i - 1) + k_eff - size
    half, rest = total // 2, total - total // 2
    return (half, rest) if word == "SAME_UPPER" else (rest, half)


def test_words_are_those_of_tensorflow_and_onnx_over_a_box():
    for i, k, s, d in BOX:
        k_eff = effective_kernel(k, d)
        for mode, word in ((SAME, "SAME_UPPER"), (LOWER, "SAME_LOWER")):
            axis = forward_axis(i, k, s, d, mode)
            assert (axis.o, axis.before, axis.after) == onnx_auto_pad(i, k_eff, s, word)
            assert axis.o == len(placed(i, k_eff, s, axis.before, axis.after))
        axis = forward_axis(i, k, s, d, SAME)
        assert axis.o == tensorflow_size(i, k_eff, s, "SAME")
        assert (axis.before, axis.after) == tensorflow_pads(i, k_eff, s)
        starts = placed(i, k_eff, s, 0, 0)
        if starts:
            axis = forward_axis(i, k, s, d, PaddingMode.VALID)
            assert axis.o == tensorflow_size(i, k_eff, s, "VALID") == len(starts)


def test_numbers_and_full_are_those_of_pytorch_and_onnx_over_a_box():
    for i, k, s, d in BOX:
        k_eff = effective_kernel(k, d)
        for before, after in [*PAIRS, (k_eff - 1, k_eff - 1)]:
            starts = placed(i, k_eff, s, before, after)
            if not starts:
                with pytest.raises(GeometryError, match="no window fits"):
                    forward_axis(i, k, s, d, (before, after))
                continue
            axis = forward_axis(i, k, s, d, (before, after))
            # ONNX, Conv with pads.
            assert axis.o == len(starts) == (i + before + after - k_eff) // s + 1
            if before == after:
                assert axis.o == pytorch_size(i, k, s, d, before)
        full = forward_axis(i, k, s, d, PaddingMode.FULL)
        assert full.o == pytorch_size(i, k, s, d, k_eff - 1)


def test_transposed_ranges_are_those_of_the_documents_over_a_box():
    for i, k, s, d in BOX:
        k_eff = effective_kernel(k, d)
        # TensorFlow: output_shape must be a size that the convolution brings back to the input.
        for padding, word in ((SAME, "SAME"), (PaddingMode.VALID, "VALID")):
            brought_back = [
                n
                for n in range(1, i * s + k_eff + 1)
                if tensorflow_size(n, k_eff, s, word) == i
                and len(placed(n, k_eff, s, *_pads(word, n, k_eff, s))) == i
            ]
            assert list(transposed_sizes(i, k, s, d, padding)) == brought_back
        for before, after in PAIRS:
            sizes = [onnx_back(i, k_eff, s, before, after, extra) for extra in range(s)]
            legal = transposed_sizes(i, k, s, d, (before, after))
            assert list(legal) == [n for n in sizes if n >= 1]
            assert all(len(placed(n, k_eff, s, before, after)) == i for n in legal)
            if before == after:
                assert sizes == [pytorch_back(i, k, s, d, before, extra) for extra in range(s)]


def _pads(word, n, k_eff, s):
    return tensorflow_pads(n, k_eff, s) if word == "SAME" else (0, 0)


def test_transposed_pads_are_those_of_tensorflow_and_onnx_over_a_box():
    for i, k, s, d in BOX:
        k_eff = effective_kernel(k, d)
        for mode, word in ((SAME, "SAME_UPPER"), (LOWER, "SAME_LOWER")):
            for n in transposed_sizes(i, k, s, d, mode):
                axis = transposed_axis(i, k, s, d, mode, size=n)
                pads = axis.before, axis.after
                if mode is SAME:
                    assert pads == tensorflow_pads(n, k_eff, s)
                if s * (i - 1) + k_eff >= n:  # ONNX cuts off; TensorFlow adds nothing below 0
                    assert pads == onnx_back_pads(i, k_eff, s, n, word)


def test_overlaps_are_the_taps_that_land_there_over_a_box():
    for k, s, d in itertools.product(KERNELS, STRIDES, DILATIONS):
        axis = transposed_axis(40, k, s, d, PaddingMode.VALID)
        landed = [0] * axis.i
        for j, a in itertools.product(range(40), range(k)):
            landed[j * s + a * d] += 1
        middle = 20 * s
        assert overlaps(axis) == tuple(landed[middle : middle + s])


# Side by side


def views(op=Op.CONV2D, shape=(1, 224, 224, 3), kernel=(7, 7, 3, 64), **options):
    settled = plan(ConvSpec.of(op, **options), shape, kernel)
    return {view.framework: view for view in compare(settled)}


def test_the_first_layer_of_resnet_is_one_pixel_off_in_pytorch():
    seen = views(stride=2)
    assert list(seen) == ["TensorFlow", "Keras", "PyTorch", "ONNX", "JAX"]
    torch = seen.pop("PyTorch")
    assert (torch.size, torch.pads, torch.shift) == ((112, 112), (3, 3, 3, 3), (-1, -1))
    assert (torch.agrees, torch.idiom) == (False, "padding=3")
    assert torch.refuses == 'padding="same" takes stride 1 only'
    for view in seen.values():
        assert (view.size, view.pads, view.shift) == ((112, 112), (2, 3, 2, 3), (0, 0))
        assert view.agrees
        assert view.refuses == ""
    assert torch.code == (
        "conv = nn.Conv2d(3, 64, 7, stride=2, bias=False)",
        "conv.weight.data = torch.tensor(w.transpose(3, 2, 0, 1))  # HWIO to OIHW",
        "y = conv(F.pad(x, (2, 3, 2, 3)))  # left, right, top, bottom",
    )
    assert seen["TensorFlow"].code == ('y = tf.nn.conv2d(x, w, strides=[2, 2], padding="SAME")',)
    assert seen["Keras"].code == (
        'conv = keras.layers.Conv2D(64, 7, strides=2, padding="same", use_bias=False)',
        "conv.build((None, None, None, 3))",
        "conv.set_weights([w])",
        "y = conv(x)",
    )
    assert seen["ONNX"].code == (
        "w = w.transpose(3, 2, 0, 1)  # HWIO to OIHW",
        "conv = onnx.helper.make_node(",
        '    "Conv", ["x", "w"], ["y"], strides=[2, 2], pads=[2, 2, 3, 3])',
    )
    assert seen["JAX"].code == (
        "y = lax.conv_general_dilated(",
        "    x, w, window_strides=(2, 2), padding=((2, 3), (2, 3)),",
        '    dimension_numbers=("NHWC", "HWIO", "NHWC"))',
    )


def test_an_enlargement_by_two_is_one_pixel_off_in_pytorch():
    seen = views(Op.CONV2D_TRANSPOSE, (1, 14, 14, 64), (3, 3, 32, 64), stride=2)
    torch = seen.pop("PyTorch")
    assert (torch.size, torch.pads, torch.shift) == ((28, 28), (1, 1, 1, 1), (-1, -1))
    assert torch.idiom == "padding=1, output_padding=1"
    assert torch.code[0] == "conv = nn.ConvTranspose2d(64, 32, 3, stride=2, bias=False)"
    assert torch.code[-1] == "y = conv(x)[:, :, :28, :28]"
    assert all(view.agrees and view.pads == (0, 1, 0, 1) for view in seen.values())
    assert seen["TensorFlow"].code == (
        "y = tf.nn.conv2d_transpose(",
        '    x, w, output_shape=[1, 28, 28, 32], strides=[2, 2], padding="SAME")',
    )
    assert "transpose_kernel=True" in seen["JAX"].code[-1]
    assert "odd pixel is cut at the start" in seen["ONNX"].note
    # With a kernel of 4 nothing is odd, and all agree.
    even = views(Op.CONV2D_TRANSPOSE, (1, 14, 14, 64), (4, 4, 32, 64), stride=2)
    assert all(view.agrees for view in even.values())
    assert even["PyTorch"].idiom == "padding=1"
    assert even["PyTorch"].code[-1] == "y = conv(x)"


def test_what_frameworks_refuse_is_said_and_written_otherwise():
    seen = views(stride=2, dilation=2)
    assert seen["Keras"].size is None
    assert seen["Keras"].refuses == "strides and dilation_rate above 1 at the same time"
    assert "dilated[::2, ::2] = w" in seen["Keras"].code[1]
    assert seen["ONNX"].refuses.startswith("ONNX Runtime takes no dilation with auto_pad")
    back = views(Op.CONV2D_TRANSPOSE, (1, 5, 5, 4), (3, 3, 2, 4), groups=2, stride=2)
    assert back["TensorFlow"].refuses == "on the CPU conv2d_transpose takes no groups"
    assert "tf.split" in back["TensorFlow"].code[0]
    assert "Conv2DTranspose has no groups" in "\n".join(back["Keras"].code)
    back = views(Op.CONV2D_TRANSPOSE, (1, 5, 5, 4), (3, 3, 2, 4), dilation=2)
    assert back["TensorFlow"].refuses == "on the CPU conv2d_transpose takes no dilation"
    # An even kernel at stride 1 would need output_padding where PyTorch takes none.
    back = views(Op.CONV2D_TRANSPOSE, (1, 5, 5, 4), (2, 2, 2, 4))
    assert back["PyTorch"].refuses == "output_padding 1x1 is not below the stride or the dilation"
    assert back["PyTorch"].size == (4, 4)
    tiny = views(shape=(1, 1, 1, 1), kernel=(2, 2), stride=2)["PyTorch"]
    assert (tiny.size, tiny.refuses) == (None, "no window fits with padding 0x0")
    gone = views(Op.CONV2D_TRANSPOSE, (1, 1, 1, 1), (2, 2))["PyTorch"]
    assert (gone.size, gone.idiom) == (None, "padding=1")
    extra = views(Op.CONV2D_TRANSPOSE, (1, 5, 5, 1), (4, 4), stride=2, output_shape=(10, 9))
    assert extra["Keras"].refuses == "output_padding 2x1 is not from 0 to stride - 1"


def test_keras_and_jax_widen_small_kernels_to_a_whole_stride():
    seen = views(Op.CONV2D_TRANSPOSE, (1, 5, 5, 4), (2, 2, 2, 4), stride=3, padding="valid")
    assert seen["TensorFlow"].size == seen["PyTorch"].size == seen["ONNX"].size == (14, 14)
    assert seen["Keras"].size == seen["JAX"].size == (15, 15)
    assert not seen["Keras"].agrees
    assert not seen["JAX"].agrees
    assert "output_padding=0" in seen["Keras"].code[1]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (128.0, "128"),
        (-0.5, "-0.5"),
        (123.456789, "123.456789"),
        (16777215.0, "16777215.0"),
        (float("nan"), 'float("nan")'),
        (float("inf"), 'float("inf")'),
        (float("-inf"), 'float("-inf")'),
    ],
)
def test_the_value_of_a_border_is_written_in_full(value, written):
    assert literal(value) == written
    read = eval(written)
    assert read == value or (np.isnan(read) and np.isnan(value))
    for view in views(border=f"constant:{value!r}", shape=(1, 9, 9, 3), kernel=(3, 3)).values():
        assert any(f"{written})" in line for line in view.code), view.code


def test_a_border_is_put_on_by_hand():
    seen = views(border="symmetric", shape=(1, 9, 9, 3), kernel=(3, 3, 3, 4))
    assert not any(view.agrees for view in seen.values())
    assert "SYMMETRIC" in seen["TensorFlow"].code[0]
    assert seen["PyTorch"].code[0] == 'rows = np.pad(np.arange(9), (1, 1), mode="symmetric")'
    seen = views(border="edge", shape=(1, 9, 9, 3), kernel=(3, 3, 3, 4))
    assert seen["PyTorch"].code[-1] == 'y = conv(F.pad(x, (1, 1, 1, 1), mode="replicate"))'
    # PyTorch's reflect reaches as far as the image and no further.
    wide = views(border="reflect", shape=(1, 3, 9, 3), kernel=(7, 7, 3, 4))
    assert "np.pad(np.arange(3), (3, 3)" in wide["PyTorch"].code[0]
    # Without padding there is no border to speak of.
    assert all(view.agrees for view in views(border="edge", padding="valid").values())


def cases(count, seed):
    """Yield plans of all kinds, small enough for plain loops."""
    draw = random.Random(seed)
    while count:
        try:
            yield _case(draw)
            count -= 1
        except ConvtoolError:
            continue


def _case(draw):
    def pair(least, most):
        one = draw.randint(least, most)
        return (one, one) if draw.random() < 0.5 else (one, draw.randint(least, most))

    op = draw.choice([Op.CONV2D, Op.CONV2D_TRANSPOSE])
    kernel, stride = pair(1, 5), pair(1, 4)
    uneven = (pair(0, 3), pair(0, 3))
    options = {
        "stride": stride,
        "dilation": pair(1, 3) if draw.random() < 0.4 else 1,
        "padding": draw.choice(["same", "same", "valid", "same-lower", "full", "fit", 1, uneven]),
        "border": draw.choice(
            ["zero"] * 5 + ["edge", "reflect", "symmetric", "wrap", "constant:3"]
        ),
        "flip": draw.random() < 0.2,
    }
    if op is Op.CONV2D_TRANSPOSE and draw.random() < 0.4:
        options["output_padding"] = tuple(draw.randint(0, s - 1) for s in stride)
    shape = (draw.randint(1, 2), draw.randint(1, 8), draw.randint(1, 8))
    groups = draw.choice([0, 0, 1, 1, 2, 3])
    filters = 1
    if groups:
        each, out = draw.randint(1, 2), draw.randint(1, 2)
        channels = groups * each
        layout = (each, groups * out) if op is Op.CONV2D else (out, channels)
        kernel = (*kernel, *layout)
        options["groups"] = groups
    else:
        channels = draw.randint(1, 4)
        filters = draw.randint(1, 2) if op is Op.CONV2D else 1
    return plan(ConvSpec.of(op, **options), (*shape, channels), kernel, filters)


def test_shifts_are_where_the_windows_stand():
    for settled in cases(400, seed=1):
        for view in compare(settled):
            assert view.code
            assert max(map(len, view.code)) <= 84
            if view.size is None:
                assert view.refuses
                continue
            top, _, left, _ = view.pads
            mine = settled.rows.before, settled.cols.before
            assert view.shift == (mine[0] - top, mine[1] - left)
            if view.agrees:
                assert view.size == settled.output_shape[1:3]
                assert (top, left) == mine


# The code, run where its framework is installed


def truth(settled, x, w):
    """Return what the plain loops make of it."""
    channels = settled.input_shape[3]
    if settled.per_channel:
        bank = w.reshape(-1, *settled.kernel_shape)
        w = np.tile(np.moveaxis(bank, 0, -1)[:, :, None], (1, 1, 1, channels))
    if settled.spec.flip:
        w = w[::-1, ::-1]
    border = settled.spec.border
    if settled.op is Op.CONV2D:
        top, bottom, left, right = settled.pads
        return naive.conv2d(
            x,
            w,
            stride=settled.spec.stride,
            pads=((top, bottom), (left, right)),
            dilation=settled.spec.dilation,
            groups=settled.groups,
            border=str(border.mode),
            value=border.value,
        )
    return _gathered(settled, x, w)


def _gathered(settled, x, w):
    """Sum what reaches each output of a transposed convolution, term by term."""
    y = np.zeros(settled.output_shape)
    rows, cols, groups = settled.rows, settled.cols, settled.groups
    each, out = x.shape[3] // groups, y.shape[3] // groups
    for t, u, a, b in itertools.product(range(rows.i), range(cols.i), range(rows.k), range(cols.k)):
        p, q = t + rows.before - a * rows.d, u + cols.before - b * cols.d
        if p % rows.s or q % cols.s:
            continue
        pixel = _pixel(settled, x, p // rows.s, q // cols.s)
        for g in range(groups):
            taken = slice(g * each, (g + 1) * each)
            y[:, t, u, g * out : (g + 1) * out] += pixel[:, taken] @ w[a, b, :, taken].T
    return y


def _pixel(settled, x, j, i):
    border = settled.spec.border
    j = naive.border_index(j, x.shape[1], str(border.mode))
    i = naive.border_index(i, x.shape[2], str(border.mode))
    if j is None or i is None:
        return np.full((x.shape[0], x.shape[3]), border.value)
    return x[:, j, i].astype(float)


def judge(framework, count, run):
    """Run the code of `framework` for many layers and compare with the plain loops."""
    draw = np.random.default_rng(3)
    for settled in cases(count, seed=2):
        x = draw.integers(-9, 10, settled.input_shape).astype(np.float32)
        shape = settled.kernel_shape
        if settled.per_channel and settled.filters > 1:
            shape = (settled.filters, *shape)
        w = draw.integers(-9, 10, shape).astype(np.float32)
        [view] = [view for view in compare(settled) if view.framework == framework]
        code = "\n".join(view.code)
        np.testing.assert_array_equal(
            run(code, x, w), truth(settled, x, w), err_msg=f"{settled}\n{code}"
        )


def executed(code, **names):
    space = {"np": np, **names}
    exec(code, space)
    return space


def test_the_code_of_pytorch_gives_these_numbers():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")

    def run(code, x, w):
        images = torch.tensor(x.transpose(0, 3, 1, 2).copy())
        functional = torch.nn.functional
        space = executed(code, torch=torch, nn=torch.nn, F=functional, x=images, w=w)
        return space["y"].detach().numpy().transpose(0, 2, 3, 1)

    judge("PyTorch", 120, run)


def test_the_code_of_tensorflow_gives_these_numbers():
    tensorflow = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    judge("TensorFlow", 40, lambda code, x, w: executed(code, tf=tensorflow, x=x, w=w)["y"])


def test_the_code_of_keras_gives_these_numbers():
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    judge("Keras", 30, lambda code, x, w: executed(code, keras=keras, x=x, w=w)["y"])


def test_the_code_of_jax_gives_these_numbers():
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    names = {"jnp": jax.numpy, "lax": jax.lax}
    judge("JAX", 40, lambda code, x, w: executed(code, **names, x=x, w=w)["y"])


def test_the_code_of_onnx_gives_these_numbers():
    onnx = pytest.importorskip("onnx", reason="ONNX is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")

    def run(code, x, w):
        space = executed(code, onnx=onnx, w=w)
        nodes = [item for item in space.values() if isinstance(item, onnx.NodeProto)]
        names = [name for name in ("w", "pads", "value", "rows", "cols") if name in space]
        images = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
        real = onnx.TensorProto.FLOAT
        graph = onnx.helper.make_graph(
            nodes,
            "layer",
            [onnx.helper.make_tensor_value_info("x", real, images.shape)],
            [onnx.helper.make_tensor_value_info("y", real, None)],
            [onnx.numpy_helper.from_array(np.ascontiguousarray(space[n]), n) for n in names],
        )
        opset = [onnx.helper.make_opsetid("", 22)]
        model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=10)
        session = runtime.InferenceSession(model.SerializeToString())
        return session.run(None, {"x": images})[0].transpose(0, 2, 3, 1)

    judge("ONNX", 120, run)
