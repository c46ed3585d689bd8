"""`convtool apply` as a person and a script use it: files are opened, pixels are checked."""

import json
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

import naive
from convtool import conv2d
from shell import run

RAMP = "1x3: -1 0 1"
SUM9 = "3x3: 1 1 1 1 1 1 1 1 1"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def save(path, pixels, **options):
    pixels = np.asarray(pixels)
    Image.fromarray(pixels).save(path, **options)
    return pixels


def noise(*shape, seed=0, low=0, high=256, dtype=np.uint8):
    return np.random.default_rng(seed).integers(low, high, shape).astype(dtype)


def applied(*arguments, code=0):
    ran = run("apply", *arguments)
    assert ran.code == code, ran.err + ran.out
    assert "Traceback" not in ran.err
    return ran


def reported(*arguments, code=0):
    ran = applied(*arguments, "--json", code=code)
    return [json.loads(line) for line in ran.out.splitlines()]


def pixels_of(path):
    with Image.open(path) as image:
        return np.asarray(image)


# What is written


def test_a_grey_image_is_what_conv2d_gives(here):
    image = save("a.png", noise(20, 30))
    applied("-k", "3x3: 0 -1 0 -1 5 -1 0 -1 0", "-o", "out.png", "a.png", "--stride", "2")
    expected = conv2d(
        image[None, :, :, None], [[0, -1, 0], [-1, 5, -1], [0, -1, 0]], stride=2, dtype="uint8"
    )
    np.testing.assert_array_equal(pixels_of("out.png"), expected[0, :, :, 0])


@pytest.mark.parametrize("engine", ["numpy", "cpu"])
def test_colour_flip_dilation_and_borders_against_plain_loops(here, engine):
    image = save("a.png", noise(9, 11, 3))
    kernel = np.array([[1, 2], [3, 0], [0, 1]])
    applied(
        *("-k", "3x2: 1 2 3 0 0 1", "--flip", "--dilation", "2x3", "--border", "symmetric"),
        *("-p", "3,4,2,1", "--bias", "-300", "--engine", engine, "-o", "out.npy", "a.png"),
    )
    expected = naive.conv2d(
        image[None],
        naive.depthwise(kernel[::-1, ::-1], 3),
        stride=(1, 1),
        pads=((3, 4), (2, 1)),
        dilation=(2, 3),
        groups=3,
        border="symmetric",
    )
    result = np.load("out.npy")
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, expected - 300)


def test_the_default_name_and_parent(here):
    os.mkdir("in")
    save("in/a.png", noise(5, 5))
    applied("-k", "identity", "in/a.png")
    np.testing.assert_array_equal(pixels_of("in/a.identity.png"), pixels_of("in/a.png"))


def test_sobel_with_stride_two_finds_the_edges_of_a_square(here):
    image = np.zeros((32, 32), np.uint8)
    image[8:24, 8:24] = 100
    save("a.png", image)
    [record] = reported("-k", "sobel", "--stride", "2", "--padding", "same", "a.png")
    assert record["output_shape"] == [1, 16, 16, 1]
    assert record["outputs"] == ["a.sobel.png"]
    edges = pixels_of("a.sobel.png")
    assert edges[8, 8] == 0  # inside
    assert edges[1, 1] == 0  # outside
    assert edges[8, 11] == 255  # on the right side: 4·100, saturated
    assert record["values"]["max"] == pytest.approx(300 * 2**0.5)  # at the corners


def test_sixteen_bits_stay_sixteen(here):
    image = save("a.png", noise(7, 9, high=65536, dtype=np.uint16))
    applied("-k", "identity", "a.png")
    np.testing.assert_array_equal(pixels_of("a.identity.png"), image)


def test_float_stays_float(here):
    image = save("a.tif", np.random.default_rng(0).standard_normal((7, 9)).astype(np.float32))
    [record] = reported("-k", "1x1: 3", "a.tif")
    assert record["range"] == "raw"
    np.testing.assert_array_equal(pixels_of("a.kernel.tif"), image * 3)


def test_an_integer_array_becomes_float_in_npy_and_eight_bits_in_png(here):
    np.save("a.npy", np.array([[0, 100], [200, 300]]))
    applied("-k", "1x1: 2", "a.npy")
    assert np.load("a.kernel.npy")[0, :, :, 0].tolist() == [[0, 200], [400, 600]]
    applied("-k", "1x1: 2", "-o", "a.png", "a.npy")
    assert pixels_of("a.png").tolist() == [[0, 200], [255, 255]]


def test_a_float_array_in_a_png_has_white_at_one_and_says_so(here):
    np.save("a.npy", np.array([[0.0, 0.5, 1.0]]))
    ran = applied("-k", "1x1: 1", "-o", "a.png", "a.npy")
    assert pixels_of("a.png").tolist() == [[0, 128, 255]]
    assert "1.0 is written as white" in ran.out


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("clip", [[0, 0, 200]]),
        ("abs", [[100, 0, 200]]),
        ("signed", [[78, 128, 228]]),
        ("stretch", [[0, 85, 255]]),
    ],
)
def test_ranges(here, how, expected):
    np.save("a.npy", np.array([[-100, 0, 200]]))
    applied("-k", "1x1: 1", "--range", how, "-o", "a.png", "a.npy")
    assert pixels_of("a.png").tolist() == expected


def test_raw_keeps_everything_in_a_float_tiff(here):
    save("a.png", np.array([[10, 20, 40]], np.uint8))
    applied("-k", RAMP, "--padding", "valid", "--range", "raw", "-o", "a.tif", "a.png")
    assert pixels_of("a.tif").tolist() == [[30.0]]


def test_depth_scales_between_eight_and_sixteen_bits(here):
    save("a.png", np.array([[0, 100, 255]], np.uint8))
    applied("-k", "1x1: 0.5", "--depth", "16", "-o", "b.png", "a.png")
    assert pixels_of("b.png").tolist() == [[0, 12850, 32768]]  # half of 65535, to even
    applied("-k", "1x1: 1", "--depth", "8", "-o", "c.png", "b.png")
    assert pixels_of("c.png").tolist() == [[0, 50, 128]]


# Several filters


def test_combinations(here):
    np.save("a.npy", np.array([[[3.0], [-4.0]]]))
    two = ("-k", "1x1: 1", "-k", "1x1: -2")
    expected = {
        "sum": [-3, 4],
        "mean": [-1.5, 2],
        "max": [3, 8],
        "absmax": [-6, 8],
        "magnitude": [np.sqrt(45), np.sqrt(80)],
    }
    for how, values in expected.items():
        applied(*two, "--combine", how, "-o", "out.npy", "a.npy")
        np.testing.assert_allclose(np.load("out.npy").ravel(), values, rtol=1e-6)


def test_a_bank_gives_channel_c_times_f_plus_f(here):
    image = noise(4, 5, 3).astype(int)
    np.save("a.npy", image)
    applied("-k", "1x1: 1", "-k", "1x1: 10", "-o", "out.npy", "a.npy")
    expected = np.stack([image[..., c] * f for c in range(3) for f in (1, 10)], axis=-1)
    np.testing.assert_array_equal(np.load("out.npy")[0], expected)


def test_smaller_kernels_of_a_bank_stay_centred(here):
    image = save("a.png", noise(8, 9))
    for small in ("1x1: 1", "2x2: 1 2 3 4", "3x1: 1 2 4"):
        applied("-k", small, "-o", "alone.npy", "a.png")
        applied("-k", small, "-k", "5x5: " + "1 " * 25, "-o", "bank.npy", "a.png")
        np.testing.assert_array_equal(np.load("bank.npy")[..., :1], np.load("alone.npy"))
    assert image.shape == (8, 9)


def test_every_filter_becomes_an_image(here):
    image = save("a.png", noise(4, 5, 3))
    two = ("-k", "1x1: 1", "-k", "1x1: 0.5")
    [record] = reported(*two, "a.png")
    assert record["outputs"] == ["a.kernel+kernel.0.png", "a.kernel+kernel.1.png"]
    assert record["output_shape"] == [1, 4, 5, 6]
    np.testing.assert_array_equal(pixels_of("a.kernel+kernel.0.png"), image)
    np.testing.assert_array_equal(pixels_of("a.kernel+kernel.1.png"), np.rint(image / 2))
    ran = applied(*two, "-o", "out.png", "a.png", code=2)
    assert "the responses make 2 images, but the output name out.png has no {filter}" in ran.err


def test_a_kernel_across_channels_gives_feature_maps(here):
    image = save("a.png", noise(6, 7, 3))
    weights = noise(3, 3, 3, 4, low=-3, high=4, dtype=np.int64)
    np.save("w.npy", weights)
    expected = conv2d(image[None], weights, bias=[1, 2, 3, 4])
    applied("-k", "w.npy", "--bias", "1,2,3,4", "-o", "maps.npy", "a.png")
    np.testing.assert_array_equal(np.load("maps.npy"), expected)
    applied("-k", "w.npy", "--bias", "1,2,3,4", "-o", "map{filter:02}.png", "a.png")
    for f in range(4):
        np.testing.assert_array_equal(
            pixels_of(f"map{f:02}.png"), np.clip(expected[0, :, :, f], 0, 255)
        )
    np.save("rgb.npy", weights[..., :3])
    applied("-k", "rgb.npy", "--activation", "relu", "-o", "rgb.png", "a.png")
    assert pixels_of("rgb.png").shape == (6, 7, 3)


def test_a_grid_lays_the_filters_out(here):
    image = save("a.png", noise(6, 7))
    filters = [part for f in (1, 2, 3) for part in ("-k", f"1x1: 0.{f}")]
    [record] = reported(*filters, "--combine", "grid", "-o", "sheet.npy", "a.png")
    assert record["output_shape"] == [1, 14, 16, 1]
    sheet = np.load("sheet.npy")[0, :, :, 0]
    np.testing.assert_allclose(sheet[:6, 9:], image * 0.2, rtol=1e-6)
    np.testing.assert_allclose(sheet[8:, :7], image * 0.3, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("relu", lambda v: np.maximum(v, 0)),
        ("abs", np.abs),
        ("tanh", np.tanh),
        ("sigmoid", lambda v: 1 / (1 + np.exp(-v))),
    ],
)
def test_activations(here, name, function):
    values = np.array([[-2.0, -0.5, 0.0, 0.25, 9.0]])
    np.save("a.npy", values)
    applied("-k", "1x1: 1", "--activation", name, "-o", "out.npy", "a.npy")
    np.testing.assert_allclose(np.load("out.npy")[0, :, :, 0], function(values), rtol=1e-5)


def test_normalize(here):
    image = save("a.png", noise(6, 7))
    applied("-k", SUM9, "--normalize", "-o", "out.npy", "a.png")
    expected = conv2d(image[None, :, :, None], np.ones((3, 3)) / 9)
    np.testing.assert_allclose(np.load("out.npy"), expected, rtol=1e-6)
    ran = applied("-k", RAMP, "--normalize", "a.png", code=2)
    assert "sum to zero, which no factor makes 1" in ran.err
    assert "hint: leave out --normalize" in ran.err


def test_an_image_is_a_kernel(here):
    save("k.png", np.array([[0, 1], [1, 2]], np.uint8))
    image = save("a.png", noise(6, 7))
    applied("-k", "k.png", "-o", "out.npy", "a.png")
    expected = conv2d(image[None, :, :, None], np.array([[0, 1], [1, 2]]) / 4)
    np.testing.assert_array_equal(np.load("out.npy"), expected)


# Alpha


def test_alpha_is_premultiplied_so_that_no_halo_appears(here):
    # Red, opaque, beside green that is fully transparent: no green may come in.
    image = np.zeros((8, 8, 4), np.uint8)
    image[:, :4] = (200, 0, 0, 255)
    image[:, 4:] = (0, 255, 0, 0)
    save("a.png", image)
    [record] = reported("-k", "box", "--border", "edge", "a.png")
    assert record["alpha"] == "premultiply"
    assert record["output_shape"] == [1, 8, 8, 4]
    result = pixels_of("a.box.png")
    assert result[..., 1].max() == 0
    assert result[0, 4].tolist() == [200, 0, 0, 85]
    assert result[0, 3].tolist() == [200, 0, 0, 170]


def test_alpha_is_kept_apart_under_edge_kernels_and_sampled_at_the_centres(here):
    image = noise(9, 9, 4)
    save("a.png", image)
    [record] = reported("-k", "sobel", "--stride", "2", "a.png")
    assert record["alpha"] == "keep"
    result = pixels_of("a.sobel.png")
    np.testing.assert_array_equal(result[..., 3], image[::2, ::2, 3])


def test_alpha_as_asked(here):
    image = noise(5, 6, 2)
    Image.fromarray(image, "LA").save("a.png")
    applied("-k", "1x1: 0.5", "--alpha", "filter", "-o", "f.png", "a.png")
    np.testing.assert_array_equal(pixels_of("f.png"), np.rint(image / 2))
    applied("-k", "1x1: 0.5", "--alpha", "keep", "-o", "k.png", "a.png")
    np.testing.assert_array_equal(pixels_of("k.png")[..., 1], image[..., 1])
    np.testing.assert_array_equal(pixels_of("k.png")[..., 0], np.rint(image[..., 0] / 2))
    applied("-k", "1x1: 0.5", "--alpha", "drop", "-o", "d.jpg", "a.png")
    assert pixels_of("d.jpg").shape == (5, 6)
    ran = applied("-k", "1x1: 0.5", "-o", "e.jpg", "a.png", code=1)
    assert "JPEG cannot hold alpha (hint: use --alpha drop" in ran.err


def test_alpha_of_each_filter(here):
    image = noise(5, 6, 4)
    save("a.png", image)
    applied("-k", "1x1: 1", "-k", "1x1: 0.5", "--alpha", "filter", "-o", "{filter}.png", "a.png")
    np.testing.assert_array_equal(pixels_of("0.png"), image)
    np.testing.assert_array_equal(pixels_of("1.png"), np.rint(image / 2))


def test_a_kernel_across_four_channels_takes_alpha_as_one_of_them(here):
    image = save("a.png", noise(5, 6, 4))
    np.save("w.npy", np.ones((1, 1, 4, 1)))
    applied("-k", "w.npy", "-o", "out.npy", "a.png")
    np.testing.assert_array_equal(np.load("out.npy")[0, :, :, 0], image.sum(axis=2))
    np.save("w3.npy", np.ones((1, 1, 3, 1)))
    applied("-k", "w3.npy", "-o", "out.png", "a.png", "--range", "stretch")
    np.testing.assert_array_equal(pixels_of("out.png")[..., 1], image[..., 3])
    for how in ("premultiply", "filter"):
        ran = applied("-k", "w3.npy", "--alpha", how, "a.png", code=2)
        assert "needs a kernel that filters every channel by itself" in ran.err
    ran = applied("-k", "sobel", "--alpha", "premultiply", "a.png", code=2)
    assert "needs filters whose taps do not sum to zero" in ran.err


# Frames


def test_frames_are_a_batch(here):
    frames = [Image.fromarray(noise(6, 7, 3, seed=n)) for n in range(3)]
    frames[0].save("a.tif", save_all=True, append_images=frames[1:])
    [record] = reported("-k", "identity", "a.tif")
    assert record["input_shape"] == record["output_shape"] == [3, 6, 7, 3]
    with Image.open("a.identity.tif") as image:
        for number, frame in enumerate(frames):
            image.seek(number)
            np.testing.assert_array_equal(np.asarray(image), np.asarray(frame))
    ran = applied("-k", "identity", "-o", "out.jpg", "a.tif", code=2)
    assert "has 3 frames and JPEG holds one picture" in ran.err
    [record] = reported("-k", "identity", "-o", "out{frame}.png", "a.tif")
    assert record["outputs"] == ["out0.png", "out1.png", "out2.png"]
    np.testing.assert_array_equal(pixels_of("out2.png"), np.asarray(frames[2]))


# The report


def test_json_has_the_keys_that_stay(here):
    save("a.png", noise(8, 9, 3))
    [record] = reported(
        *("-k", "2x2: 1 0 0 -1", "--stride", "2x3", "-p", "same-lower", "a.png", "--flip")
    )
    seconds = record.pop("seconds")
    assert set(seconds) == {"read", "compute", "write"}
    assert all(value >= 0 for value in seconds.values())
    values = record.pop("values")
    assert set(values) == {"min", "max", "clipped"}
    assert 0 < values["clipped"] < 1
    codes = {note["code"] for note in record.pop("notes")}
    assert "negative-clipped" in codes
    assert record.pop("reason").endswith("before the compiled engine is loaded")
    assert record == {
        "input": "a.png",
        "outputs": ["a.kernel.png"],
        "op": "conv2d",
        "kernel": {"name": "kernel", "shape": [2, 2], "filters": 1, "flipped": True},
        "linear": False,
        "input_shape": [1, 8, 9, 3],
        "output_shape": [1, 4, 3, 3],
        "stride": [2, 3],
        "dilation": [1, 1],
        "groups": 1,
        "padding": {"mode": "same-lower", "top": 0, "bottom": 0, "left": 0, "right": 0},
        "border": "zero",
        "dropped": {"rows": 0, "cols": 1},
        "combine": "each",
        "range": "clip",
        "alpha": None,
        "engine": "numpy",
        "method": "gemm",
    }


def test_the_block_for_people(here):
    save("a.png", noise(8, 8, 3))
    ran = applied("-k", "sobel", "--stride", "2", "a.png")
    for part in (
        "1x8x8x3 → 1x4x4x3",
        "sobel 3x3, magnitude of 2 filters",
        "cross-correlation (no flip), stride 2x2, padding same",
        "top 0, bottom 1, left 0, right 1; border zero\n            the odd row is at the bottom,",
        "dropped     nothing: every row and column is read",
        "engine      numpy, gemm",
        "done before the compiled engine is loaded",
        "a.png → a.sobel.png  values ",
        "clipped",
        "note: outside the image counts as black, so the rim shows an edge",
        "--border edge or reflect",
    ):
        assert part in ran.out, ran.out
    assert ran.err == ""


def test_the_plan_and_notes_are_told_once_for_images_of_one_shape(here):
    for number in range(3):
        save(f"{number}.png", noise(8, 8, seed=number))
    save("3.png", noise(9, 8))
    ran = applied("-k", "gaussian", "0.png", "1.png", "2.png", "3.png")
    assert ran.out.count("1x8x8x1 → 1x8x8x1") == 1
    assert ran.out.count("1x9x8x1 → 1x9x8x1") == 1
    assert ran.out.count("rim is darker") == 1
    assert ran.out.count("clipped") == 4
    assert "4 done in" in ran.out


@pytest.mark.parametrize(
    ("arguments", "said", "unsaid"),
    [
        (["-k", "gaussian"], "the rim is darker, up to 3 pixels deep", "negative"),
        (["-k", "sharpen"], "which falsifies the rim, up to 1 pixel deep", "darker"),
        (["-k", "laplacian"], "% of the responses are negative and became black", "darker"),
        (["-k", SUM9, "-p", "valid"], "--normalize (the taps sum to 9)", "negative"),
        (["-k", "1x1: 0.001"], "the picture shows next to nothing", "rim"),
        (["-k", "identity", "-p", "valid"], "values", "note:"),
        (["-k", "gaussian", "--border", "edge"], "values", "note:"),
        (["-k", "laplacian", "--border", "edge", "--range", "signed"], "values", "note:"),
    ],
)
def test_surprises_are_named_with_the_option_that_changes_them(here, arguments, said, unsaid):
    save("a.png", noise(32, 32, low=90, high=110))
    ran = applied(*arguments, "a.png")
    assert said in ran.out
    assert unsaid not in ran.out


def test_nan_is_counted_and_json_stays_json(here):
    np.save("a.npy", np.array([[1.0, np.nan, np.inf]]))
    [record] = reported("-k", "1x1: 1", "-o", "a.png", "a.npy")
    assert record["values"]["min"] == record["values"]["max"] == 1
    assert pixels_of("a.png").tolist() == [[255, 0, 255]]
    assert "2 responses are NaN or infinite" in str(record["notes"])
    np.save("b.npy", np.array([[np.nan]]))
    [record] = reported("-k", "1x1: 1", "b.npy")
    assert record["values"] == {"min": None, "max": None, "clipped": 0.0}


def test_quiet_and_colour(here, monkeypatch):
    save("a.png", noise(8, 8))
    ran = applied("-k", "identity", "-q", "a.png")
    assert (ran.out, ran.err) == ("", "")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[" in applied("-k", "identity", "a.png").out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in applied("-k", "identity", "a.png").out


# Streams


def test_from_standard_input_to_standard_output(here):
    image = save("a.png", noise(8, 9))
    data = (here / "a.png").read_bytes()
    ran = run("apply", "-k", "identity", "-", "-o", "-", stdin=data)
    assert ran.code == 0
    (here / "out.png").write_bytes(ran.raw)
    np.testing.assert_array_equal(pixels_of("out.png"), image)
    assert "- → -  values" in ran.err
    ran = run("apply", "-k", "identity", "-q", "-", "--format", "npy", stdin=data)
    (here / "out.npy").write_bytes(ran.raw)
    assert (np.load("out.npy").shape, ran.err) == ((1, 8, 9, 1), "")
    ran = run(
        "apply", "-k", "identity", "-", "-o", "named.tif", stdin=(here / "out.npy").read_bytes()
    )
    assert pixels_of("named.tif").dtype == np.float32


def test_names_from_a_file_and_from_standard_input(here):
    for name in ("a.png", "b c.png"):
        save(name, noise(4, 4))
    (here / "list").write_text("a.png\nb c.png\n")
    assert len(reported("-k", "identity", "--files-from", "list")) == 2
    ran = run(
        *("apply", "-k", "identity", "--files-from", "-", "-0", "--json"), stdin=b"a.png\0b c.png\0"
    )
    assert [json.loads(line)["input"] for line in ran.out.splitlines()] == ["a.png", "b c.png"]
    (here / "nul").write_bytes(b"a.png\0b c.png\0")
    ran = applied("-k", "identity", "--files-from", "nul", code=2)
    assert "the names in nul end with NUL\n\nhint: add -0" in ran.err
    ran = applied("-k", "identity", "--files-from", "none", code=2)
    assert "--files-from none: No such file" in ran.err


def test_folders(here):
    os.makedirs("in/deep")
    save("in/a.png", noise(4, 4))
    save("in/deep/b.jpg", noise(4, 4))
    (here / "in/notes.txt").write_text("no image")
    records = reported("-k", "identity", "-r", "in", "-o", "out/")
    assert [r["outputs"] for r in records] == [
        ["out/a.identity.png"],
        ["out/deep/b.identity.jpg"],
    ]
    for again in (False, True):  # a tree filtered in place is filtered in place again
        records = reported("-k", "identity", "-r", "in")
        assert [r["input"] for r in records if "outputs" in r] == ["in/a.png", "in/deep/b.jpg"]
        assert [r["input"] for r in records if r.get("left_out")] == [
            "in/a.identity.png",
            "in/deep/b.identity.jpg",
        ] * again
    for output in ("in/a.png", "{parent}/{stem}{ext}", "{parent}/a.png"):
        before = (here / "in/a.png").read_bytes()
        ran = applied("-k", "box", "-r", "in", "-o", output, code=2)
        assert "is the input" in ran.err
        assert (here / "in/a.png").read_bytes() == before
    [record] = reported("-k", "identity", "in", code=1)
    assert "folder" in record["error"]
    assert "--recursive" in record["hint"]


# Safety


def test_outputs_are_named_and_collisions_found_before_any_work(here):
    save("a.png", noise(4, 4))
    save("b.png", noise(4, 4))
    os.symlink("a.png", "link.png")
    os.link("a.png", "hard.png")
    before = (here / "a.png").read_bytes()
    for arguments, message in [
        (["-o", "out.png", "a.png", "b.png"], "two outputs would be written to out.png"),
        (["-o", "a.png", "a.png"], "the output a.png is the input a.png"),
        (["-o", "link.png", "a.png"], "the output link.png is the input a.png"),
        (["-o", "hard.png", "a.png"], "the output hard.png is the input a.png"),
        (["-o", "{stem}.png", "b.png", "link.png", "-r"], "is the input"),
        (["-o", "-", "a.png", "b.png"], "standard output takes one image"),
        (["-o", "{name}.png", "a.png"], "the output name has {name}, which is nothing"),
        (["-o", "{stem:xx}.png", "a.png"], "cannot be filled in"),
        (["-o", "out.xyz", "a.png"], "'.xyz'"),
        (["-o", "out", "a.png"], "no suffix"),
        (["-o", "out.png", "--format", "jpg", "a.png"], "--format is for standard output"),
        (["--format", "xyz", "-o", "-", "a.png"], "'xyz'"),
        (["--format", "jpg", "a.png"], "--format is for standard output"),
        (["-o", "{index:999999999}.png", "a.png"], "cannot be filled in"),
        (["-o", "{stem!r}.png", "a.png"], "cannot be filled in"),
        (["--depth", "float", "--range", "clip", "a.png"], "holds whole numbers only, not --depth"),
        (["--stride", "99999999999999999999", "a.png"], "stride must be at most 2147483647"),
        (["--bias", "1,2", "a.png"], "has 1 filters, but 2 numbers are given"),
        (["--bias", "x", "a.png"], "--bias takes numbers separated by commas"),
        (["--threads", "0", "a.png"], "threads must be a whole number of at least 1"),
        (["--range", "raw", "a.png"], "holds whole numbers only, not raw responses"),
        (["--range", "raw", "--depth", "8", "a.png"], "--range raw needs float output"),
        (["--depth", "float", "a.png"], "holds whole numbers only"),
        (["--range", "wide", "a.png"], "--range must be one of clip, abs"),
        (["--engine", "numpy", "--method", "direct", "a.png"], "does not have the method direct"),
        (["--no-clobber", "--skip-existing", "a.png"], "exclude each other"),
        (["--depth", "8", "-o", "a.npy", "a.png"], "a .npy output holds float32, not --depth 8"),
        (["-0", "a.png"], "-0 says how names end in --files-from"),
        (["--range", "strech", "a.png"], "did you mean stretch?"),
        (["--padding", "smae", "a.png"], "did you mean same?"),
        (["--stride", "0", "a.png"], "stride must be at least 1"),
        ([], "no input"),
        (["-", "-"], "standard input can be read only once"),
    ]:
        ran = applied("-k", "identity", *arguments, code=2)
        assert message in ran.err, (arguments, ran.err)
        assert ran.err.startswith("error: ")
    assert (here / "a.png").read_bytes() == before
    assert sorted(os.listdir()) == ["a.png", "b.png", "hard.png", "link.png"]
    assert "no kernel is given" in applied("a.png", code=2).err


def test_dry_run_writes_nothing_and_names_everything(here):
    save("a.png", noise(8, 9))
    ran = applied("-k", "sobel", "--stride", "2", "-n", "a.png")
    assert "a.png → a.sobel.png  not written: dry run" in ran.out
    assert "1x8x9x1 → 1x4x5x1" in ran.out
    [record] = reported("-k", "sobel", "-n", "a.png")
    assert record["planned"] is True
    assert os.listdir() == ["a.png"]


def test_existing_outputs(here):
    save("a.png", noise(8, 9))
    save("b.png", noise(8, 9))
    applied("-k", "identity", "a.png")
    stamp = os.stat("a.identity.png").st_mtime_ns
    records = reported("-k", "identity", "--skip-existing", "a.png", "b.png")
    assert [record.get("skipped") for record in records] == [True, None]
    assert os.stat("a.identity.png").st_mtime_ns == stamp
    ran = applied("-k", "identity", "--no-clobber", "a.png", code=1)
    assert "a.identity.png exists, and --no-clobber protects it" in ran.err
    applied("-k", "identity", "a.png")
    assert os.stat("a.identity.png").st_mtime_ns > stamp


def test_the_rest_is_done_when_one_fails(here):
    save("a.png", noise(8, 9))
    save("b.png", noise(8, 9))
    records = reported("-k", "identity", "a.png", "none.png", "b.png", code=1)
    assert [record["input"] for record in records] == ["a.png", "none.png", "b.png"]
    assert "error" in records[1]
    assert pixels_of("b.identity.png").shape == (8, 9)
    ran = applied("-k", "identity", "a.png", "none.png", "b.png", code=1)
    assert "2 done, 1 failed in" in ran.out
    ran = applied("-k", "identity", "--fail-fast", "none.png", "a.png", "b.png", code=1)
    assert "1 failed, 2 not begun" not in ran.err
    assert "1 failed, 2 not begun in" in ran.out


def bad_inputs(folder):
    """Every file that a batch may meet and cannot use, with what must be said of it."""
    save(folder / "good.png", noise(32, 32, 3))
    whole = (folder / "good.png").read_bytes()
    (folder / "empty.png").write_bytes(b"")
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "text.png").write_text("this is no picture\n")
    np.save(folder / "objects.npy", np.array([[{}, []]], dtype=object), allow_pickle=True)
    np.save(folder / "complex.npy", np.ones((4, 4), complex))
    (folder / "short.npy").write_bytes((folder / "complex.npy").read_bytes()[:-8])
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    chunks = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")]
    )
    (folder / "huge.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    return {
        "missing.png": "no such file",
        "empty.png": "empty",
        "cut.png": "",
        "text.png": "",
        "objects.npy": "object",
        "complex.npy": "complex",
        "short.npy": "",
        "huge.png": "60000x60000",
        ".": "folder",
    }


def test_bad_inputs_are_named_in_one_line_each_and_the_good_ones_done(here):
    bad = bad_inputs(here)
    ran = applied("-k", "identity", *bad, "good.png", "-o", "out/", code=1)
    lines = ran.err.splitlines()
    assert len(lines) == len(bad), ran.err
    for line, (name, words) in zip(lines, bad.items(), strict=True):
        assert line.startswith(f"error: {name}: "), line
        assert words.lower() in line.lower(), line
    assert f"1 done, {len(bad)} failed in" in ran.out
    assert os.listdir("out") == ["good.identity.png"]


def test_a_channel_mismatch_fails_that_image_alone(here):
    save("rgb.png", noise(8, 9, 3))
    save("rgba.png", noise(8, 9, 4))
    save("grey.png", noise(8, 9))
    np.save("w.npy", np.ones((3, 3, 3, 3)))
    records = reported("-k", "w.npy", "grey.png", "rgb.png", "rgba.png", code=1)
    assert "takes 3 input channels, but the images have 1" in records[0]["error"]
    assert records[1]["outputs"] == ["rgb.w.png"]
    assert records[2]["alpha"] == "keep"
    np.save("w2.npy", np.ones((3, 3, 5, 3)))
    [record] = reported("-k", "w2.npy", "rgb.png", code=1)
    assert "a kernel of 3x3x3x3 would fit" in record["hint"]


@pytest.mark.parametrize(
    ("kernel", "message", "hint"),
    [
        ("sobl", "sobl", "sobel"),
        ("none.toml", "none.toml", ""),
        ("gaussian:sgima=2", "sgima", "sigma"),
        ("3x3: 1 2 3", "3x3", ""),
        ("typo.toml", "typo.toml:3", ""),
        ("cut.png", "cut.png", ""),
    ],
)
def test_bad_kernels_are_usage_errors(here, kernel, message, hint):
    save("a.png", noise(8, 9))
    (here / "cut.png").write_bytes((here / "a.png").read_bytes()[:60])
    (here / "typo.toml").write_text('name = "typo"\ndescription = "x"\ntpas = [[1, 2]]\n')
    ran = applied("-k", kernel, "a.png", code=2)
    assert ran.err.startswith("error: ")
    assert message in ran.err
    assert hint in ran.err


def test_interrupting_ends_with_130(here, monkeypatch):
    from convtool import engine

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    save("a.png", noise(8, 9))
    monkeypatch.setattr(engine, "convolve", interrupt)
    assert run("apply", "-k", "identity", "a.png").code == 130
    assert os.listdir() == ["a.png"]


def test_version_and_help_in_a_module_run(capfd):
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-m", "convtool", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("convtool 0.")
    for command in (["apply"], ["shape"], ["kernels", "show"], ["kernels", "export"]):
        ran = run(*command, "--help")
        assert ran.code == 0
        assert "Examples:" in ran.out


def test_what_a_format_cannot_carry_is_said(here):
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    save("a.png", noise(8, 9, 3), icc_profile=profile)
    ran = applied("-k", "identity", "a.png")
    with Image.open("a.identity.png") as image:
        assert image.info["icc_profile"] == profile
    assert "profile" not in ran.out
    np.save("grey.npy", np.ones((1, 1, 3, 1)))
    ran = applied("-k", "grey.npy", "-o", "out.png", "a.png")
    assert "note: the RGB colour profile does not describe a grey picture" in ran.out


def test_a_file_that_cannot_be_read_is_not_overwritten_either(here):
    save("a.png", noise(4, 5))
    (here / "bad.png").write_text("precious")
    ran = applied("-k", "identity", "-o", "bad.png", "a.png", "bad.png", code=2)
    assert "the output bad.png is the input bad.png" in ran.err
    ran = applied("-k", "identity", "-o", "out.png", "a.png", "none.png", code=2)
    assert "two outputs would be written to out.png" in ran.err
    save("k.png", noise(3, 3))
    ran = applied("-k", "k.png", "-o", "k.png", "a.png", code=2)
    assert "the output k.png is the kernel k.png" in ran.err
    assert (here / "bad.png").read_text() == "precious"


@pytest.mark.parametrize("alpha", ["auto", "premultiply", "filter", "keep", "drop"])
@pytest.mark.parametrize("how", ["each", "magnitude", "mean", "max", "absmax", "sum", "grid"])
def test_every_combination_of_filters_with_every_alpha(here, alpha, how):
    image = noise(6, 7, 4, low=1)
    save("a.png", image)
    two = ("-k", "1x1: 1", "-k", "1x1: 0.5", "--combine", how, "--alpha", alpha)
    [record] = reported(*two, "-o", "{filter}.png", "a.png")
    channels = 3 if alpha == "drop" else 4
    size = (6, 16) if how == "grid" else (6, 7)
    # Two images of 3 colours each are reported together, and alpha is counted once.
    assert record["output_shape"] == [1, *size, channels + 3 * (how == "each")]
    result = pixels_of("0.png")
    assert result.shape == (*size, channels)
    if alpha in ("keep", "auto", "premultiply") and how in ("each", "grid"):
        np.testing.assert_array_equal(result[:, :7, 3], image[..., 3])


def test_rounding_is_not_reported_as_clipping(here):
    save("white.png", np.full((20, 20), 255, np.uint8))
    for engine in ("numpy", "cpu"):
        for kernel in ("disk", "unsharp", "log", "farid:filter=x"):
            ran = applied("-k", kernel, "--border", "edge", "--engine", engine, "white.png")
            assert "nothing clipped" in ran.out
            assert "note:" not in ran.out


def test_skip_existing_leaves_those_that_exist_and_writes_the_others(here):
    save("a.png", noise(4, 5))
    (here / "0.png").write_text("there")
    two = ("-k", "1x1: 1", "-k", "1x1: 2")
    [record] = reported(*two, "--skip-existing", "-o", "{filter}.png", "a.png")
    assert (here / "0.png").read_text() == "there"
    assert record["outputs"] == ["1.png"]
    assert pixels_of("1.png").shape == (4, 5)


def test_an_animation_does_not_become_one_picture_unasked(here):
    frames = [Image.fromarray(noise(6, 7, seed=n)) for n in range(3)]
    frames[0].save("a.gif", save_all=True, append_images=frames[1:])
    ran = applied("-k", "identity", "-o", "out.png", "a.gif", code=2)
    assert "has 3 frames and PNG holds one picture" in ran.err
    applied("-k", "identity", "-o", "out.apng", "a.gif")
    with Image.open("out.apng") as image:
        assert image.n_frames == 3


def test_braces_in_names(here):
    save("a.png", noise(4, 5))
    applied("-k", "identity", "-o", "b{{c}}.png", "a.png")
    assert pixels_of("b{c}.png").shape == (4, 5)
    ran = applied("-k", "identity", "-o", "b{.png", "a.png", code=2)
    assert "the output name b{.png cannot be read" in ran.err


def test_grouped_filters_are_images_of_their_own(here):
    save("a.png", noise(5, 6, 3))
    weights = noise(3, 3, 1, 6, low=-2, high=3, dtype=np.int64)
    np.save("w.npy", weights)
    [record] = reported("-k", "w.npy", "--groups", "3", "a.png")
    assert [name[-5:] for name in record["outputs"]] == [f"{f}.png" for f in range(6)]
    applied("-k", "w.npy", "--groups", "3", "--combine", "max", "-o", "max.npy", "a.png")
    applied("-k", "w.npy", "--groups", "3", "-o", "all.npy", "a.png")
    np.testing.assert_array_equal(np.load("max.npy")[..., 0], np.load("all.npy").max(axis=3))


def test_feature_maps_leave_alpha_out_and_say_so(here):
    save("a.png", noise(5, 6, 4))
    np.save("w.npy", np.ones((1, 1, 3, 7)))
    [record] = reported("-k", "w.npy", "-o", "maps.npy", "a.png")
    assert (record["alpha"], record["output_shape"]) == ("drop", [1, 5, 6, 7])
    assert "alpha-dropped" in [note["code"] for note in record["notes"]]
    assert np.load("maps.npy").shape == (1, 5, 6, 7)


def test_a_colour_image_as_a_kernel_weighs_as_its_grey(here):
    kernel = noise(3, 3, 3)
    save("k.png", kernel)
    image = save("a.png", noise(6, 7))
    applied("-k", "k.png", "-o", "out.npy", "a.png")
    grey = kernel @ (0.299, 0.587, 0.114)
    expected = conv2d(image[None, :, :, None], grey / grey.sum())
    np.testing.assert_allclose(np.load("out.npy"), expected, rtol=1e-6)
    for command in (["show", "k.png"], ["check", "k.png"], ["export", "k.png"]):
        assert run("kernels", *command).code == 0


def test_a_constant_border_of_an_opaque_image_is_opaque(here):
    save("a.png", np.full((9, 9, 4), (128, 128, 128, 255), np.uint8))
    applied("-k", "gaussian", "--border", "constant:128", "-o", "b.png", "a.png")
    np.testing.assert_array_equal(pixels_of("b.png"), pixels_of("a.png"))


def test_a_dry_run_foresees_what_exists(here):
    save("a.png", noise(4, 5))
    applied("-k", "identity", "a.png")
    [record] = reported("-k", "identity", "-n", "--skip-existing", "a.png")
    assert record["skipped"] is True
    ran = applied("-k", "identity", "-n", "--no-clobber", "a.png", code=1)
    assert "--no-clobber protects it" in ran.err


def test_values_beyond_float32_are_counted_without_warnings(here):
    save("a.png", noise(4, 5, 4))
    for options in (
        ["--bias", "1e40"],
        ["-k", "1x1: 1e300", "-k", "1x1: 1e-320", "--combine", "sum"],
        ["--stride", "2147483647", "--engine", "cpu"],
    ):
        ran = applied("-q", "-k", "identity", *options, "-o", "b.png", "a.png")
        assert ran.err == ""


def test_frames_that_become_equal_are_merged_and_said_so(here):
    frames = [Image.fromarray(noise(6, 7, seed=n)) for n in range(3)]
    frames[0].save("a.gif", save_all=True, append_images=frames[1:])
    ran = applied("-k", "1x1: 0", "-o", "b.gif", "a.gif")
    assert "note: equal neighbouring frames became one that lasts longer" in ran.out


@pytest.mark.parametrize(
    ("options", "deep"),
    [
        (["-k", "identity"], 0),
        (["-k", "gaussian", "--stride", "2"], 2),
        (["-k", "2x2: 1 1 1 1", "--normalize", "-p", "0,1,0,1", "--stride", "2"], 0),
        (["-k", "3x3: 0 0 0 0 1 1 0 0 0"], 1),
        (["-k", "gaussian", "--border", "constant:0"], 3),
    ],
)
def test_the_rim_is_as_deep_as_taps_reach_into_the_padding(here, options, deep):
    save("a.png", noise(20, 24, low=90, high=110))
    ran = applied(*options, "a.png")
    if deep:
        assert f"the rim is darker, up to {deep} pixel" in ran.out
    else:
        assert "rim" not in ran.out


def test_a_folder_that_cannot_be_looked_into_is_a_failure(here, monkeypatch):
    os.makedirs("in/shut")
    save("in/a.png", noise(4, 5))
    scandir = os.scandir

    def refuse(path):  # root may look into everything, so the system is made to say no
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    ran = applied("-k", "identity", "-r", "in", code=1)
    assert "error: in/shut: the folder cannot be looked into: Permission denied" in ran.err
    assert "1 done, 1 failed in" in ran.out
