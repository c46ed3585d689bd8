"""`convtool transpose` as a person and a script use it: files are opened, pixels are checked."""

import json
import os
from importlib import import_module

import numpy as np
import pytest
from PIL import Image

import naive
from convtool import conv2d_transpose
from program import noise, pixels_of, save
from shell import run

ONES = "3x3: 1 1 1 1 1 1 1 1 1"
BLOCK = "2x2: 1 1 1 1"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def transposed(*arguments, code=0):
    ran = run("transpose", *arguments)
    assert ran.code == code, ran.err + ran.out
    assert "Traceback" not in ran.err
    return ran


def reported(*arguments, code=0):
    ran = transposed(*arguments, "--json", code=code)
    return [json.loads(line) for line in ran.out.splitlines()]


def codes(record):
    return [note["code"] for note in record["notes"]]


def summed(x, w, *, stride, before, size, dilation=(1, 1), groups=1, border="zero", value=0.0):
    """Sum for every output (N, *size, O) what reaches it: x is NHWC, w HWOI, all by loops."""
    n_, h_, w_, c_ = x.shape
    kh, kw, outputs, _ = w.shape
    inputs = c_ // groups
    y = np.zeros((n_, *size, outputs * groups))
    for n, t, u, a, b in np.ndindex(n_, *size, kh, kw):
        i, down = divmod(t + before[0] - a * dilation[0], stride[0])
        j, across = divmod(u + before[1] - b * dilation[1], stride[1])
        if down or across:
            continue
        i, j = naive.border_index(i, h_, border), naive.border_index(j, w_, border)
        outside = i is None or j is None
        pixel = np.full(c_, value) if outside else x[n, i, j].astype(float)
        for g in range(groups):
            part = slice(g * inputs, (g + 1) * inputs)
            y[n, t, u, g * outputs : (g + 1) * outputs] += w[a, b, :, part] @ pixel[part]
    return y


def per_channel(taps, channels):
    """Write (kh, kw) as the HWOI kernel with as many groups as channels."""
    return np.repeat(np.asarray(taps, float)[:, :, None, None], channels, axis=3)


# What is written


def test_every_pixel_lays_down_a_copy_of_the_kernel(here):
    save("a.png", np.array([[1, 10], [100, 0]], np.uint8))
    [record] = reported("-k", "2x2: 1 2 0 1", "--stride", "2", "a.png")
    assert record["outputs"] == ["a.kernel.png"]
    assert pixels_of("a.kernel.png").tolist() == [
        [1, 2, 10, 20],
        [0, 1, 0, 10],
        [100, 200, 0, 0],
        [0, 100, 0, 0],
    ]


@pytest.mark.parametrize("engine", ["numpy", "cpu"])
@pytest.mark.parametrize("border", ["zero", "constant:7", "edge", "reflect", "symmetric", "wrap"])
def test_colour_flip_dilation_and_borders_against_plain_loops(here, engine, border):
    image = save("a.png", noise(4, 5, 3))
    taps = np.array([[1, 2], [3, 0], [0, 1]])
    transposed(
        *("-k", "3x2: 1 2 3 0 0 1", "--flip", "--stride", "3x2", "--dilation", "2x3"),
        *("-p", "1,2,1,0", "--output-padding", "2x1", "--border", border, "--bias", "-300"),
        *("--engine", engine, "-o", "out.npy", "a.png"),
    )
    mode, _, number = border.partition(":")
    expected = summed(
        image[None],
        per_channel(taps[::-1, ::-1], 3),
        stride=(3, 2),
        before=(1, 1),
        size=(3 * 3 + 5 - 3 + 2, 4 * 2 + 4 - 1 + 1),
        dilation=(2, 3),
        groups=3,
        border=mode,
        value=float(number or 0),
    )
    result = np.load("out.npy")
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, expected - 300)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_bilinear_is_the_enlargement_that_pillow_makes(here, factor):
    image = save("a.png", noise(9, 12))
    transposed(
        *("-k", f"bilinear:factor={factor}", "--stride", factor, "--border", "edge"),
        *("-o", "out.npy", "a.png"),
    )
    exact = Image.fromarray(image.astype(np.float32))
    exact = np.asarray(exact.resize((12 * factor, 9 * factor), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(np.load("out.npy")[0, :, :, 0], exact, rtol=0, atol=1e-4)


@pytest.mark.parametrize("factor", [2, 3, 5])
@pytest.mark.parametrize("engine", ["numpy", "cpu"])
def test_what_is_even_stays_exactly_even(here, factor, engine):
    save("a.png", np.full((6, 7, 3), (1, 128, 255), np.uint8))
    [record] = reported(
        *("-k", f"bilinear:factor={factor}", "--stride", factor, "--border", "edge"),
        *("--engine", engine, "-o", "b.png", "a.png"),
    )
    expected = np.full((6 * factor, 7 * factor, 3), (1, 128, 255))
    np.testing.assert_array_equal(pixels_of("b.png"), expected)
    assert codes(record) == []


def test_light_is_interpolated_if_asked_for(here):
    save("a.png", np.array([[0, 255]], np.uint8))
    options = ("-k", "bilinear", "--stride", "2", "--border", "edge", "--linear")
    transposed(*options, "-o", "b.png", "a.png")
    # A quarter and three quarters of the light, by the curve of sRGB: 136.96 and 224.63.
    assert pixels_of("b.png").tolist() == [[0, 137, 225, 255]] * 2


def test_streams(here):
    save("a.png", np.array([[1, 2]], np.uint8))
    given = (here / "a.png").read_bytes()
    ran = run("transpose", "-k", BLOCK, "--stride", "2", "-", "-o", "-", stdin=given)
    assert ran.code == 0
    assert "1x1x2x1 → 1x2x4x1" in ran.err
    (here / "b.png").write_bytes(ran.raw)
    assert pixels_of("b.png").tolist() == [[1, 1, 2, 2]] * 2


def test_depths_stay_and_arrays_are_read_and_written(here):
    image = save("a.png", noise(3, 4).astype(np.uint16) * 257)
    transposed("-k", BLOCK, "--stride", "2", "a.png")
    np.testing.assert_array_equal(
        pixels_of("a.kernel.png"), image.repeat(2, axis=0).repeat(2, axis=1)
    )
    array = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    np.save("b.npy", array)
    [record] = reported("-k", BLOCK, "--stride", "1x2", "-p", "valid", "b.npy")
    assert record["input_shape"] == [2, 3, 4, 5]
    assert record["output_shape"] == [2, 4, 8, 5]
    wide = array.repeat(2, axis=2)
    padded = np.pad(wide, ((0, 0), (1, 1), (0, 0), (0, 0)))
    np.testing.assert_allclose(
        np.load("b.kernel.npy"), padded[:, 1:] + padded[:, :-1], rtol=0, atol=1e-6
    )


def test_frames_are_a_batch(here):
    frames = [noise(4, 5, seed=n) for n in range(3)]
    first, *others = [Image.fromarray(frame) for frame in frames]
    first.save("a.tif", save_all=True, append_images=others)
    [record] = reported("-k", BLOCK, "--stride", "2", "-o", "{stem}-{frame}.png", "a.tif")
    assert record["output_shape"] == [3, 8, 10, 1]
    for n, frame in enumerate(frames):
        expected = frame.repeat(2, axis=0).repeat(2, axis=1)
        np.testing.assert_array_equal(pixels_of(f"a-{n}.png"), expected)


# Kernels across channels: HWOI


def layer(*shape):
    return np.random.default_rng(1).integers(-3, 4, shape).astype(float)


@pytest.mark.parametrize("engine", ["numpy", "cpu"])
@pytest.mark.parametrize(("groups", "shape"), [(1, (3, 3, 5, 4)), (2, (2, 3, 3, 4))])
def test_a_layer_gives_its_output_channels(here, engine, groups, shape):
    weights = layer(*shape)
    np.save("w.npy", weights)
    x = noise(2, 4, 5, 4)
    np.save("x.npy", x)
    outputs = shape[2] * groups
    bias = np.arange(outputs) * 10.0
    [record] = reported(
        *("-k", "w.npy", "--stride", "2", "--groups", groups, "-p", "valid", "--engine", engine),
        *("--bias", ",".join(map(str, bias)), "-o", "y.npy", "x.npy"),
    )
    size = (3 * 2 + shape[0], 4 * 2 + shape[1])
    expected = summed(x, weights, stride=(2, 2), before=(0, 0), size=size, groups=groups) + bias
    np.testing.assert_array_equal(np.load("y.npy"), expected)
    assert record["kernel"] == {
        "name": "w",
        "shape": list(shape),
        "filters": outputs,
        "flipped": False,
    }
    assert record["output_shape"] == [2, *size, outputs]


def test_feature_maps_are_images_of_their_own_or_one_sheet(here):
    weights = layer(2, 2, 2, 3)
    np.save("w.npy", weights)
    image = save("a.png", noise(3, 4, 3))
    expected = summed(image[None], weights, stride=(2, 2), before=(0, 0), size=(6, 8))
    [record] = reported("-k", "w.npy", "--stride", "2", "a.png")
    assert record["outputs"] == ["a.w.0.png", "a.w.1.png"]
    for n in range(2):
        np.testing.assert_array_equal(
            pixels_of(f"a.w.{n}.png"), np.clip(expected[0, ..., n], 0, 255)
        )
    transposed("-k", "w.npy", "--stride", "2", "--combine", "max", "-o", "max.npy", "a.png")
    np.testing.assert_array_equal(np.load("max.npy")[..., 0], expected.max(axis=3))
    [record] = reported("-k", "w.npy", "--stride", "2", "--combine", "grid", "-o", "g.png", "a.png")
    assert record["output_shape"] == [1, 6, 8 + 2 + 8, 1]
    ran = transposed("-k", "w.npy", "--bias", "1,2,3", "a.png", code=2)
    assert "w has 2 filters, but 3 numbers are given" in ran.err


def test_a_layer_is_scaled_for_every_output(here):
    np.save("w.npy", np.ones((1, 1, 2, 3)) * [[[[1.0], [3.0]]]])
    np.save("x.npy", np.ones((1, 2, 2, 3)))
    transposed("-k", "w.npy", "--normalize", "-o", "y.npy", "x.npy")
    np.testing.assert_allclose(np.load("y.npy"), np.ones((1, 2, 2, 2)), rtol=1e-6)


def test_a_layer_across_four_channels_takes_alpha_as_one_of_them(here):
    image = save("a.png", noise(3, 4, 4))
    np.save("w.npy", np.ones((1, 1, 1, 4)))
    [record] = reported("-k", "w.npy", "-o", "out.npy", "a.png")
    assert record["alpha"] is None
    np.testing.assert_array_equal(np.load("out.npy")[0, :, :, 0], image.sum(axis=2))
    # Across three, the colours: alpha is kept beside the one channel that comes out.
    np.save("w3.npy", np.ones((2, 2, 1, 3)))
    transposed("-k", "w3.npy", "--stride", "2", "--range", "stretch", "-o", "out.png", "a.png")
    alpha = image[..., 3].repeat(2, axis=0).repeat(2, axis=1)
    np.testing.assert_array_equal(pixels_of("out.png")[..., 1], alpha)


# Sizes


def test_sizes_are_chosen_among_the_legal_ones(here):
    save("a.png", noise(5, 6))
    for options, size in (
        ([], [10, 12]),
        (["--output-shape", "9x12"], [9, 12]),
        (["--output-padding", "0"], [9, 11]),
        (["--output-padding", "0x1", "--output-shape", "9x12"], [9, 12]),
        (["-p", "valid"], [12, 14]),
        (["-p", "valid", "--output-padding", "1"], [13, 15]),
        (["-p", "1"], [10, 12]),
        (["-p", "1", "--output-shape", "11x12"], [11, 12]),
        (["-p", "full"], [6, 8]),
    ):
        [record] = reported("-k", "bilinear", "--stride", "2", *options, "-o", "b.png", "a.png")
        assert record["output_shape"] == [1, *size, 1], options
        assert list(pixels_of("b.png").shape) == size
        assert [low for low, _ in record["legal_sizes"]] <= size


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--output-shape", "12x12"], "a.png: the height cannot become 12: from 5, kernel 4"),
        (["--output-padding", "2"], "output_padding must be below the stride 2"),
        (
            ["--output-padding", "0", "--output-shape", "10x12"],
            "output_shape and output_padding disagree on the height: 10, and 9 + 0 = 9",
        ),
    ],
)
def test_sizes_that_are_not_legal_fail_that_image_alone(here, options, said):
    save("a.png", noise(5, 6))
    ran = transposed("-k", "bilinear", "--stride", "2", *options, "a.png", code=1)
    assert said in ran.err
    assert not os.path.exists("a.bilinear.png")


def test_a_result_beyond_the_limit_is_refused(here):
    save("a.png", noise(5, 6))
    ran = transposed("-k", BLOCK, "--stride", "2", "--max-pixels", "119", "a.png", code=1)
    assert ran.err == (
        "error: a.png: the result 1x10x12x1 would have 120 pixels, but at most 119 are made "
        "(hint: use a smaller --stride, or --max-pixels 120 if it is meant)\n"
    )
    transposed("-k", BLOCK, "--stride", "2", "--max-pixels", "120", "a.png")


# Alpha


def test_no_halo_appears_whatever_the_phase(here):
    # Red, opaque, beside green that is fully transparent: no green may come in.
    image = np.zeros((6, 6, 4), np.uint8)
    image[:, :3] = (200, 0, 0, 255)
    image[:, 3:] = (0, 255, 0, 0)
    save("a.png", image)
    [record] = reported("-k", "bilinear", "--stride", "2", "--border", "edge", "a.png")
    assert record["alpha"] == "premultiply"
    assert record["output_shape"] == [1, 12, 12, 4]
    result = pixels_of("a.bilinear.png")
    red = np.where(result[..., 3] > 0, 200, 0)
    np.testing.assert_array_equal(result[..., 0], red)
    assert result[..., 1:3].max() == 0
    # Between opaque and transparent a quarter and three quarters.
    assert result[0, :, 3].tolist() == [255] * 5 + [191, 64] + [0] * 5


def test_alpha_is_what_reaches_an_output_of_what_could(here):
    # The sums of the four phases are 1, 2, 2, 4: opaque stays opaque everywhere nonetheless.
    save("a.png", np.full((4, 5, 4), (10, 20, 30, 255), np.uint8))
    transposed("-k", ONES, "--stride", "2", "--border", "edge", "-o", "b.png", "a.png")
    result = pixels_of("b.png")
    assert (result[..., 3] == 255).all()
    assert {tuple(p) for p in result[..., :3].reshape(-1, 3)} == {
        (10, 20, 30),
        (20, 40, 60),
        (40, 80, 120),
    }
    # Beyond the image is nothing, so that the rim is half there, the corner a quarter.
    transposed("-k", "2x2: 1 1 1 1", "-p", "valid", "-o", "c.png", "a.png")
    assert pixels_of("c.png")[:2, :2, 3].tolist() == [[64, 128], [128, 255]]


@pytest.mark.parametrize("taps", ["3x3: -1 0 1 -2 0 2 -1 0 1", "1x1: 1", "2x2: 1 1 1 0"])
def test_alpha_is_that_of_the_nearest_input_where_some_sum_is_nothing(here, taps):
    image = save("a.png", noise(4, 5, 4))
    [record] = reported("-k", taps, "--stride", "2", "-o", "b.png", "a.png")
    assert record["alpha"] == "keep"
    alpha = pixels_of("b.png")[..., 3]
    if taps.startswith("2x2"):
        expected = image[..., 3].repeat(2, axis=0).repeat(2, axis=1)
        np.testing.assert_array_equal(alpha, expected)
    else:  # input j lies at output 2j or 2j + 1
        inner = alpha[int(taps.startswith("3")) :: 2, int(taps.startswith("3")) :: 2]
        np.testing.assert_array_equal(inner, image[..., 3])
    ran = transposed("-k", taps, "--stride", "2", "--alpha", "premultiply", "a.png", code=2)
    assert "needs filters whose taps do not sum to zero for each output" in ran.err


def test_alpha_as_asked(here):
    image = save("a.png", noise(3, 4, 4))
    twice = image.repeat(2, axis=0).repeat(2, axis=1)
    transposed("-k", BLOCK, "--stride", "2", "--alpha", "filter", "-o", "f.png", "a.png")
    np.testing.assert_array_equal(pixels_of("f.png"), twice)
    transposed("-k", BLOCK, "--stride", "2", "--alpha", "drop", "-o", "d.png", "a.png")
    np.testing.assert_array_equal(pixels_of("d.png"), twice[..., :3])
    save("b.png", np.full((5, 5, 4), (128, 128, 128, 255), np.uint8))
    transposed(
        "-k", "bilinear", "--stride", "2", "--border", "constant:128", "-o", "c.png", "b.png"
    )
    np.testing.assert_array_equal(pixels_of("c.png"), np.full((10, 10, 4), (128, 128, 128, 255)))


# The report


def test_json_has_the_keys_that_stay(here):
    save("a.png", noise(4, 5, 3))
    [record] = reported(
        *("-k", "2x3: 1 0 0 0 0 -1", "--stride", "2x3", "-p", "same-lower", "--flip", "a.png")
    )
    assert set(record.pop("seconds")) == {"read", "compute", "write"}
    assert set(record.pop("values")) == {"min", "max", "clipped"}
    record.pop("notes")
    assert record.pop("reason")
    for key in ("legal_sizes", "output_padding", "overlaps"):
        record.pop(key)
    assert record == {
        "input": "a.png",
        "outputs": ["a.kernel.png"],
        "op": "conv2d_transpose",
        "kernel": {"name": "kernel", "shape": [2, 3], "filters": 1, "flipped": True},
        "linear": False,
        "input_shape": [1, 4, 5, 3],
        "output_shape": [1, 8, 15, 3],
        "stride": [2, 3],
        "dilation": [1, 1],
        "groups": 1,
        "padding": {"mode": "same-lower", "top": 0, "bottom": 0, "left": 0, "right": 0},
        "border": "zero",
        "dropped": {"rows": 0, "cols": 0},
        "combine": "each",
        "range": "clip",
        "alpha": None,
        "engine": "numpy",
        "method": "gemm",
    }


def test_the_block_for_people(here):
    save("a.png", noise(8, 9, 3))
    ran = transposed("-k", "bilinear", "--stride", "2", "a.png")
    for part in (
        "shape       1x8x9x3 → 1x16x18x3   bilinear 4x4\n",
        "conv2d_transpose (no flip), stride 2x2, padding same\n",
        "legal       15x17 to 16x18, output_padding 0 to 1; taken 1\n"
        "            --output-shape or --output-padding takes another\n"
        "padding     top 1, bottom 1, left 1, right 1\n"
        "  cut off   here; added by the conv2d that turns 16x18 into 8x9\n"
        "overlap     4 taps reach every output: 2 down, 2 across\n",
        "unreached   nothing: every row and column is reached\n",
        "engine      numpy, gemm",
        "a.png → a.bilinear.png  values ",
        "the rim is darker, up to 1 pixel deep (--border edge or reflect)\n",
    ):
        assert part in ran.out, ran.out
    assert ran.err == ""
    ran = transposed("-k", ONES, "-p", "valid", "--stride", "1x2", "a.png")
    for part in (
        "legal       10x19 to 10x20, output_padding 0x0 to 0x1; taken 0x0\n",
        "padding     none\noverlap     taps by turns: rows get 3, columns get 2 1\n",
    ):
        assert part in ran.out, ran.out
    options = ("-k", ONES, "--stride", "2", "--output-padding", "1", "a.png")
    out = transposed(*options, "-p", "valid").out
    assert (
        "unreached   the last row and the last column are reached by no pixel of the input" in out
    )
    # With padding of 1 that row is the last of a window.
    assert (
        "unreached   nothing: every row and column is reached"
        in transposed(*options, "-p", "1").out
    )


@pytest.mark.parametrize(
    ("options", "said", "unsaid"),
    [
        (["-k", "bilinear"], "rim is darker, up to 1 pixel deep (--border edge", "checkerboard"),
        (["-k", "bilinear", "--border", "edge"], "values", "note:"),
        (["-k", "2x2: 1 1 1 1"], "values", "note:"),
        (["-k", ONES, "--border", "edge"], "outputs get 1, 2 or 4 taps", "rim"),
        (
            ["-k", "2x2: .25 .25 .25 .25"],
            "the taps that meet in an output sum to 0.25: the picture is darker (a kernel with "
            "the sum 4 is as bright as the input, such as --kernel bilinear:factor=2)",
            "rim",
        ),
        (["-k", "gaussian"], "sum to 0.243 to 0.257: the picture is darker", "as they"),
        (["-k", "2x2: .25 .2501 .25 .25"], "sum to 0.25: the picture is darker", "0.25 to 0.25"),
        # Gaps are black: that they are there is said, and not that the whole is darker.
        (
            ["-k", "2x2: .5 .5 .5 .5", "--stride", "3"],
            "1 of every 3 rows and 1 of every 3 columns of the output are reached by no tap",
            "the picture is darker",
        ),
        (["-k", "2x2: 1 2 3 4"], "sum to between 1 and 4, in a pattern of 2x2", "overlap unevenly"),
        (["-k", "2x2: 9 9 9 9"], "(a kernel with the sum 4 is as bright as the input", "--norm"),
        (["-k", "2x2: .1 .1 .1 .1", "--stride", "1"], "darker (--normalize)", "checkerboard"),
        (["-k", "2x2: 9 9 9 9", "--stride", "1"], "--normalize (the taps sum to 36), or", "grid"),
        (["-k", "2x1: .5 .5", "--stride", "2x1"], "a kernel with the sum 2 is as bright", "such"),
        (["-k", "2x2: 1 -1 -1 1", "--border", "edge"], "pattern of 2x2", "the picture is darker"),
        (["-k", "laplacian"], "the rim shows an edge that is not there (--border edge", "valid"),
    ],
)
def test_surprises_are_named_with_the_option_that_changes_them(here, options, said, unsaid):
    save("a.png", noise(16, 16) // 8 + 90)
    stride = [] if "--stride" in options else ["--stride", "2"]
    ran = transposed(*options, *stride, "a.png")
    assert said in ran.out, ran.out
    assert unsaid not in ran.out


def test_a_dry_run_says_the_same_and_writes_nothing(here):
    save("a.png", noise(4, 5))
    [record] = reported("-k", ONES, "--stride", "2", "--dry-run", "a.png")
    assert record["planned"] is True
    assert record["output_shape"] == [1, 8, 10, 1]
    ran = transposed("-k", ONES, "--stride", "2", "-n", "a.png")
    assert "outputs get 1, 2 or 4 taps" in ran.out
    assert os.listdir() == ["a.png"]


@pytest.mark.parametrize("engine", ["numpy", "cpu"])
@pytest.mark.parametrize("channels", [1, 4])
def test_results_are_verified_with_the_reference(here, engine, channels):
    save("a.png", noise(6, 7, *([channels] if channels > 1 else [])))
    [record] = reported(
        *("-k", BLOCK, "--stride", "2", "--engine", engine, "--verify", "a.png"),
    )
    assert record["engine"] == engine
    assert record["verified"]["error"] <= 1e-3
    assert record["verified"]["pixels"] == 0


def test_estimates_are_told(here):
    save("a.png", noise(6, 7))
    ran = transposed("-k", "bilinear", "--stride", "2", "--verbose", "a.png")
    assert "estimates   " in ran.out
    assert "numpy, gemm" in ran.out


# What cannot be


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        ([], "no kernel is given", "use --kernel bilinear, for example"),
        (
            ["-k", "bilinear", "-k", "box"],
            "conv2d_transpose takes one kernel, but --kernel is given 2 times",
            "one kernel of four axes (HWOI)",
        ),
        (
            ["-k", "sobel"],
            "conv2d_transpose takes one filter for every channel, but sobel is a bank of 2",
            "--kernel sobel:filter=x",
        ),
        (["-k", "box", "-p", "fit"], "padding fit has no meaning for conv2d_transpose", "valid"),
        (["-k", "box", "--output-shape", "0"], "output_shape must be at least 1, but is 0", ""),
        (["-k", "box", "--output-padding", "x"], "output_padding must be a whole number", "2x1"),
        (["-k", "box", "-q", "-v"], "--quiet and --verbose exclude each other", ""),
    ],
)
def test_what_is_wrong_is_said_before_any_work(here, options, message, hint):
    save("a.png", noise(4, 5))
    ran = transposed(*options, "a.png", code=2)
    error, _, way_out = ran.err.partition("hint: ")
    assert message in error
    assert hint in way_out


def test_a_layer_for_other_channels_says_what_would_fit(here):
    save("a.png", noise(4, 5, 3))
    np.save("w.npy", np.ones((3, 3, 2, 4)))
    ran = transposed("-k", "w.npy", "a.png", code=1)
    assert "the kernel takes 4 input channels, but the images have 3" in ran.err
    assert "a kernel of 3x3x2x3 would fit" in ran.err


@pytest.mark.parametrize(("command", "stride"), [("apply", "larger"), ("transpose", "smaller")])
def test_too_little_memory_is_that_image_s_failure(here, monkeypatch, command, stride):
    def exhausted(*_, **__):
        raise MemoryError

    # The package has a function of the module's name.
    monkeypatch.setattr(import_module("convtool.batch.run"), "compute", exhausted)
    save("a.png", noise(4, 5))
    ran = run(command, "-k", "2x2: 1 1 1 1", "a.png")
    assert ran.code == 1
    assert "a.png: not enough memory for 1x4x5x1 to 1x4x5x1" in ran.err
    assert f"or with a {stride} --stride" in ran.err


def test_weights_in_pytorchs_order(here):
    rng = np.random.default_rng(8)
    save("a.png", noise(8, 9, 3))
    x = rng.integers(-4, 5, (1, 8, 9, 3)).astype(np.float32)
    np.save("x.npy", x)
    w = rng.integers(-4, 5, (3, 3, 2, 3)).astype(np.float32)  # HWOI
    np.save("iohw.npy", w.transpose(3, 2, 0, 1))
    transposed("-k", "iohw.npy", "--layout", "IOHW", "-o", "y.npy", "x.npy")
    np.testing.assert_array_equal(np.load("y.npy"), conv2d_transpose(x, w))
    refused = run("transpose", "-k", "bilinear", "--layout", "IOHW", "a.png")
    assert refused.code == 2
    assert "--layout IOHW names the four axes of a kernel across channels" in refused.err
    assert "bilinear has 2" in refused.err
    refused = run("transpose", "-k", "iohw.npy", "--layout", "NCHW", "x.npy")
    assert refused.code == 2
    assert "a layout names the axes H, W, O, I, each once, but 'NCHW' does not" in refused.err


@pytest.mark.parametrize("engine", ["numpy", "cpu"])
def test_an_empty_batch_gives_an_empty_one(here, engine):
    np.save("none.npy", np.zeros((0, 4, 4, 3), np.float32))
    transposed("-k", "bilinear", "--stride", "2", "--engine", engine, "-o", "y.npy", "none.npy")
    assert np.load("y.npy").shape == (0, 8, 8, 3)
    for options in (["sobel"], ["sobel:filter=x"], ["kirsch", "--combine", "grid"]):
        ran = run("apply", "-k", *options, "--engine", engine, "-o", "z.npy", "none.npy")
        assert (ran.code, ran.err) == (0, "")
        assert np.load("z.npy").shape[0] == 0
