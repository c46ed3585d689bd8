"""`convtool apply` with a stack: sheets are opened, arrays equal the layers done by hand."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from convtool import conv2d
from convtool.batch import stacked
from convtool.cli.completion import complete
from convtool.images.sheet import MARGIN
from convtool.stack import files
from convtool.stack.run import run as run_stack
from program import noise, pixels_of, program, save
from shell import run

EDGES = Path(__file__).parent.parent.parent / "docs" / "stacks" / "edges.toml"

SOBEL = ("--layer", "conv kernel=sobel relu")
POOL = ("--layer", "pool 2")

NET = """\
name = "tiny net"

[input]
size = "9x10x3"

[[layer]]
op = "conv"
name = "first"
kernel = "first.npy"
padding = "valid"
activation = "relu"

[[layer]]
op = "pool"
size = 2

[[layer]]
op = "conv"
name = "last"
kernel = "net.safetensors:last.weight"
bias = "net.safetensors:last.bias"
layout = "OIHW"
stride = 2
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working folder with a picture in RGB and one in grey."""
    monkeypatch.chdir(tmp_path)
    save("a.png", noise(12, 15, 3))
    save("grey.png", noise(12, 15))
    return tmp_path


@pytest.fixture
def net(here):
    """A stack of whole numbers, from a .npy and a .safetensors; returns both kernels and a bias."""
    rng = np.random.default_rng(5)
    first = rng.integers(-2, 3, (3, 3, 3, 4)).astype(np.float32)
    last = rng.integers(-2, 3, (5, 4, 3, 2)).astype(np.float32)  # OIHW
    bias = np.arange(5, dtype=np.float32)
    np.save("first.npy", first)
    save_file({"last.weight": last, "last.bias": bias}, "net.safetensors")
    (here / "net.toml").write_text(NET)
    return first, last.transpose(2, 3, 1, 0), bias


def applied(*arguments, code=0, **options):
    ran = run("apply", *arguments, **options)
    assert ran.code == code, ran.err + ran.out
    assert "Traceback" not in ran.err
    return ran


def refused(*arguments):
    ran = applied(*arguments, code=2)
    assert ran.out == ""
    return ran.err


def reported(*arguments, code=0):
    return [json.loads(line) for line in applied(*arguments, "--json", code=code).out.splitlines()]


def by_hand(image, first, last, bias):
    """Do the layers of NET one by one."""
    x = np.maximum(conv2d(image[None], first, padding="valid", engine="numpy"), 0)
    h, w = x.shape[1] // 2, x.shape[2] // 2
    x = x[:, : 2 * h, : 2 * w].reshape(1, h, 2, w, 2, -1).max(axis=(2, 4))
    return conv2d(x, last, stride=2, bias=bias, engine="numpy")


# ---------------------------------------------------------------- arrays


@pytest.mark.parametrize("engine", ["auto", "numpy", "cpu"])
def test_an_array_is_the_layers_done_by_hand(net, engine):
    applied("--stack", "net.toml", "--engine", engine, "-o", "maps.npy", "a.png")
    maps = np.load("maps.npy")
    assert (maps.dtype, maps.shape) == (np.float32, (1, 3, 3, 5))
    np.testing.assert_array_equal(maps, by_hand(pixels_of("a.png"), *net))


def test_an_array_is_what_the_library_computes(net):
    stack = files.read_stack(Path("net.toml"))
    expected = [c.values for c in run_stack(stack, pixels_of("a.png")[None])]
    for show, number in (("first", 1), ("2", 2), ("last", 3)):
        applied("--stack", "net.toml", "--show", show, "-o", "maps.npy", "a.png")
        np.testing.assert_array_equal(np.load("maps.npy"), expected[number - 1])


def test_layers_of_the_command_line_follow_those_of_the_file(net, here):
    (here / "sub").mkdir()
    (here / "net.toml").rename("sub/net.toml")
    for name in ("first.npy", "net.safetensors"):
        (here / name).rename(f"sub/{name}")
    np.save("more.npy", np.ones((1, 1, 5, 1)))
    layers = ("--stack", "sub/net.toml", "--layer", "conv kernel=more.npy")
    applied(*layers, "-o", "maps.npy", "a.png")
    expected = by_hand(pixels_of("a.png"), *net).sum(axis=3, keepdims=True)
    np.testing.assert_array_equal(np.load("maps.npy"), expected)


def test_input_is_scaled_as_the_file_says(here):
    (here / "net.toml").write_text(
        '[input]\nscale = 2\nmean = [1, 2, 3]\n[[layer]]\nop = "pool"\nsize = 1\n'
    )
    applied("--stack", "net.toml", "-o", "maps.npy", "a.png")
    expected = 2.0 * pixels_of("a.png") - [1, 2, 3]
    np.testing.assert_array_equal(np.load("maps.npy")[0], expected)
    # Sixteen bits and float values are taken as they are stored, too.
    save("deep.png", np.array([[0, 1000], [65535, 7]], np.uint16))
    applied("--layer", "pool 1", "-o", "maps.npy", "deep.png")
    assert np.load("maps.npy")[0, :, :, 0].tolist() == [[0, 1000], [65535, 7]]


def test_an_array_becomes_an_array_or_a_sheet_of_several_layers(here):
    np.save("x.npy", np.arange(32, dtype=np.float32).reshape(1, 4, 4, 2))
    [record] = reported(*POOL, "x.npy")
    assert record["outputs"] == ["x.stack.npy"]
    assert np.load("x.stack.npy").tolist() == [[[[10, 11], [14, 15]], [[26, 27], [30, 31]]]]
    [record] = reported(*POOL, *POOL, "--show", "1,2", "x.npy")
    assert record["outputs"] == ["x.stack.png"]
    # Where nothing is said of the name, neither is it of the type.
    data = Path("x.npy").read_bytes()
    assert applied(*POOL, "-", "-o", "-", stdin=data).raw.startswith(b"\x93NUMPY")


# ---------------------------------------------------------------- pictures


def test_a_sheet_of_every_layer(net, monkeypatch):
    from convtool import images

    drawn = []
    original = images.contact_sheet
    monkeypatch.setattr(
        images, "contact_sheet", lambda s, **k: drawn.append((s, k)) or original(s, **k)
    )
    applied("--stack", "net.toml", "--show", "all", "--scale", "all", "-o", "maps.png", "a.png")
    [(sections, options)] = drawn
    assert options == {"scale": "all"}
    assert [(section.title, section.maps.shape) for section in sections] == [
        ("1 first: conv kernel=first.npy valid relu", (10, 13, 4)),
        ("2 pool 2x2", (5, 6, 4)),
        (
            "3 last: conv kernel=net.safetensors:last.weight layout=OIHW stride=2 "
            "bias=net.safetensors:last.bias",
            (3, 3, 5),
        ),
    ]
    with Image.open("maps.png") as picture:
        assert (picture.mode, picture.format) == ("L", "PNG")
        sheet = np.asarray(picture)
    assert np.array_equal(sheet[..., None], original(sections, scale="all"))
    # Words stand above the first map, in ink on paper.
    words = sheet[MARGIN : MARGIN + 40, MARGIN : MARGIN + 200]
    assert words.min() < 60
    assert words.max() == 255


def test_maps_have_the_names_of_their_filters(here, monkeypatch):
    from convtool import images

    labels = []
    original = images.contact_sheet
    monkeypatch.setattr(
        images, "contact_sheet", lambda s, **k: labels.append(s[0].labels) or original(s, **k)
    )
    applied(*SOBEL, "grey.png")
    applied(*SOBEL, "-o", "rgb.png", "a.png")
    assert labels == [("x", "y"), ("0 x", "0 y", "1 x", "1 y", "2 x", "2 y")]


@pytest.mark.parametrize(
    ("given", "output", "expected"),
    [
        ("a.jpg", (), "a.stack.png"),
        ("a.tif", ("-o", "sheets/"), "sheets/a.stack.png"),
        ("a.png", ("-o", "{stem}-{kernel}{ext}"), "a-stack.png"),
        ("a.jpg", ("-o", "{stem}-maps{ext}"), "a-maps.jpg"),
        ("a.jpg", ("-o", "b.tif"), "b.tif"),
    ],
)
def test_names(here, given, output, expected):
    Image.fromarray(noise(8, 8, 3)).save(given)
    [record] = reported(*SOBEL, *output, given)
    assert record["outputs"] == [expected]
    assert pixels_of(expected).ndim == 2
    endings = {".jpg": "JPEG", ".png": "PNG", ".tif": "TIFF"}
    with Image.open(expected) as picture:
        assert picture.format == endings[Path(expected).suffix]


def test_the_stack_is_named_by_its_file(net, here):
    [record] = reported("--stack", "net.toml", "a.png")
    assert record["outputs"] == ["a.tiny-net.png"]
    (here / "other.toml").write_text('[[layer]]\nop = "pool"\nsize = 2\n')
    [record] = reported("--stack", "other.toml", "a.png")
    assert (record["outputs"], record["stack"]) == (["a.other.png"], "other")


def test_a_sheet_is_not_the_photograph(here):
    exif = Image.Exif()
    exif[0x010E] = "a description"
    Image.fromarray(noise(8, 8, 3)).save("a.jpg", exif=exif, dpi=(300, 300))
    [record] = reported(*SOBEL, "-o", "maps.jpg", "a.jpg")
    with Image.open("maps.jpg") as sheet:
        assert not sheet.getexif()
        assert sheet.info.get("dpi") != (300, 300)
    assert record["notes"] == []


def test_single_maps_are_pictures_where_the_name_tells_them_apart(here):
    save("grey.png", np.array([[0, 1], [3, 9]], np.uint8))
    name = ("-o", "map{filter}.png", "grey.png")
    bank = ("--layer", "conv kernel=two.npy")
    np.save("two.npy", np.array([1.0, -2]).reshape(1, 1, 1, 2))
    [record] = reported(*bank, *name)
    assert record["outputs"] == ["map0.png", "map1.png"]
    assert pixels_of("map0.png").tolist() == [[0, 28], [85, 255]]
    assert pixels_of("map1.png").tolist() == [[255, 227], [170, 0]]
    applied(*bank, "--scale", "all", *name)
    assert pixels_of("map0.png").tolist() == [[170, 179], [198, 255]]
    assert pixels_of("map1.png").tolist() == [[170, 151], [113, 0]]
    applied(*bank, "-o", "map{filter}.npy", "grey.png")
    assert np.load("map1.npy").tolist() == [[[[0], [-2]], [[-6], [-18]]]]


def test_frames_have_sheets_of_one_size(here):
    frames = [Image.fromarray(noise(8, 8, seed=n)) for n in range(3)]
    frames[0].save("a.tif", save_all=True, append_images=frames[1:])
    applied(*SOBEL, "-o", "maps.tif", "a.tif")
    with Image.open("maps.tif") as sheets:
        assert sheets.n_frames == 3
    [record] = reported(*SOBEL, "-o", "maps{frame}.png", "a.tif")
    assert record["outputs"] == ["maps0.png", "maps1.png", "maps2.png"]
    err = refused(*SOBEL, "a.tif")
    assert "a.tif has 3 frames and PNG holds one picture" in err
    # Of several inputs a later one fails alone, and its name is said once.
    err = applied(*SOBEL, "-o", "{stem}-maps.png", "grey.png", "a.tif", code=1).err
    assert err.startswith("error: a.tif has 3 frames and PNG holds one picture")


def test_no_frames_make_no_picture(here):
    np.save("none.npy", np.zeros((0, 4, 4, 1)))
    ran = applied(*SOBEL, "-o", "maps.png", "none.npy", code=1)
    assert "PNG cannot hold a picture of 0x0x0 pixels" in ran.err
    applied(*SOBEL, "none.npy")
    assert np.load("none.stack.npy").shape == (0, 4, 4, 2)


# ---------------------------------------------------------------- channels


def test_alpha_is_left_out_unless_the_first_kernel_counts_it(here):
    image = save("rgba.png", noise(6, 7, 4))
    for inputs in (3, 4):
        np.save("k.npy", np.ones((1, 1, inputs, 1)))
        for before in ((), ("--layer", "pool 1")):
            layers = (*before, "--layer", "conv kernel=k.npy")
            [record] = reported(*layers, "-o", "maps.npy", "rgba.png")
            expected = image[..., :inputs].sum(axis=2, dtype=np.float32)
            np.testing.assert_array_equal(np.load("maps.npy")[0, :, :, 0], expected)
            codes = [note["code"] for note in record["notes"]]
            assert (record["alpha"], codes) == (
                ("drop", ["alpha-dropped"]) if inputs == 3 else (None, [])
            )
    # A grey picture has none, whatever the kernel is.
    np.save("k.npy", np.ones((1, 1, 1, 2)))
    assert reported("--layer", "depthwise kernel=k.npy", "grey.png")[0]["alpha"] is None
    # Depthwise kernels count channels as well; presets and pools take what they get.
    np.save("k.npy", np.ones((1, 1, 1, 8)))
    assert reported("--layer", "depthwise kernel=k.npy", "rgba.png")[0]["alpha"] is None
    np.save("k.npy", np.ones((1, 1, 5, 4)))
    assert reported("--layer", "transpose kernel=k.npy", "rgba.png")[0]["alpha"] is None
    assert reported(*SOBEL, "rgba.png")[0]["alpha"] == "drop"
    assert reported(*POOL, "rgba.png")[0]["alpha"] == "drop"
    out = applied(*SOBEL, "rgba.png").out
    assert "shown: layer 1, alpha left out\n" in out


def test_a_grey_image_where_the_kernel_takes_three_channels(net):
    ran = applied("--stack", "net.toml", "-o", "maps/", "grey.png", "a.png", code=1)
    assert ran.err == (
        "error: grey.png: layer 1 of net.toml, first (conv kernel=first.npy valid relu), input "
        "1x12x15x1: the kernel takes 3 input channels, but the images have 1 (images 1x12x15x1, "
        "kernel 3x3x3x4) (hint: a kernel of 3x3x1x4 would fit; or save the image as RGB, three "
        "equal channels)\n"
    )
    assert [path.name for path in Path("maps").iterdir()] == ["a.tiny-net.png"]
    assert "1 done, 1 failed" in ran.out


def test_a_colour_image_where_the_kernel_takes_one_channel(here):
    np.save("k.npy", np.ones((1, 1, 1, 2)))
    err = applied(*POOL, "--layer", "conv kernel=k.npy", "a.png", code=1).err
    assert "the kernel takes 1 input channels, but the images have 3" in err
    assert "or save the image as grey)" in err
    # It is not the image's colours where a bank stands before it.
    err = applied(*SOBEL, "--layer", "conv kernel=k.npy", "a.png", code=1).err
    assert "the kernel takes 1 input channels, but the images have 6" in err
    assert "save the image" not in err


def test_axes_in_another_order_are_still_told(here):
    np.save("k.npy", np.ones((8, 3, 5, 5)))
    err = applied("--layer", "conv kernel=k.npy", "a.png", code=1).err
    assert 'hint: the axes would fit as OIHW: layout = "OIHW")' in err


def test_a_mean_for_other_channels_is_the_images_failure(here):
    (here / "net.toml").write_text(
        '[input]\nmean = [1, 2, 3]\n[[layer]]\nop = "conv"\nkernel = "sobel"\n'
    )
    ran = applied("--stack", "net.toml", "grey.png", "a.png", code=1)
    assert ran.err == (
        "error: grey.png: the mean of the input has one number for each channel, but there are 3 "
        "for 1 channel (hint: give one number for all channels, or images of 3)\n"
    )


# ---------------------------------------------------------------- batches


def test_one_bad_input_does_not_stop_the_others(net):
    save("small.png", noise(2, 2, 3))
    Path("broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    records = reported("--stack", "net.toml", "a.png", "small.png", "broken.png", code=1)
    assert [record["input"] for record in records] == ["a.png", "small.png", "broken.png"]
    assert ["error" in record for record in records] == [False, True, True]
    assert "layer 1 of net.toml, first" in records[1]["error"]
    assert "no window fits the height" in records[1]["error"]
    assert "the stack works with" in records[1]["hint"]
    assert pixels_of("a.tiny-net.png").ndim == 2


def test_weights_are_loaded_once(net, monkeypatch):
    from convtool.stack import weights

    calls = []
    original = weights.load
    monkeypatch.setattr(weights, "load", lambda *a: calls.append(a) or original(*a))
    for n in range(4):
        save(f"{n}.png", noise(12 + n, 15, 3, seed=n))
    applied(
        "--stack",
        "net.toml",
        "--jobs",
        "3",
        "-o",
        "out/{stem}.npy",
        *map("{}.png".format, range(4)),
    )
    assert len(calls) == 1
    for n in range(4):
        expected = by_hand(noise(12 + n, 15, 3, seed=n), *net)
        np.testing.assert_array_equal(np.load(f"out/{n}.npy"), expected)


def test_a_dry_run_writes_nothing(net, here):
    before = sorted(here.iterdir())
    ran = applied("--stack", "net.toml", "-n", "a.png")
    assert ran.out.endswith("a.png → a.tiny-net.png  not written: dry run\n" + OTHER_SIZE)
    [record] = reported("--stack", "net.toml", "-n", "a.png")
    assert (record["planned"], record["outputs"]) == (True, ["a.tiny-net.png"])
    assert sorted(here.iterdir()) == before


OTHER_SIZE = "note: the stack is written for 9x10x3, and runs on 12x15x3\n"


def test_existing_outputs(net):
    applied("--stack", "net.toml", "a.png")
    ran = applied("--stack", "net.toml", "--skip-existing", "a.png")
    assert ran.out == "a.png skipped: its output exists\n"
    [record] = reported("--stack", "net.toml", "--skip-existing", "a.png")
    assert record == {
        "input": "a.png",
        "outputs": ["a.tiny-net.png"],
        "op": "stack",
        "stack": "tiny net",
        "skipped": True,
    }
    ran = applied("--stack", "net.toml", "--no-clobber", "a.png", code=1)
    assert "the output a.tiny-net.png exists, and --no-clobber protects it" in ran.err
    # Its own sheets are no inputs of a second run over the folder.
    applied("--stack", "net.toml", "-o", "out/", "-r", ".", code=1)
    assert "→ out/a.tiny-net.stack.png" in applied(*SOBEL, "-r", "out").out
    assert "left out: an earlier output" in applied(*SOBEL, "-r", "out").out


def test_no_output_falls_on_what_the_stack_is_read_from(net):
    err = refused("--stack", "net.toml", "-o", "first.npy", "a.png")
    assert "the output first.npy is the kernel" in err
    np.save("bias.npy", np.zeros(2))
    err = refused("--layer", "conv kernel=sobel bias=bias.npy", "-o", "bias.npy", "a.png")
    assert "the output bias.npy is the kernel" in err
    err = refused(*SOBEL, "-o", "a.png", "grey.png", "a.png")
    assert "the output a.png is the input a.png" in err


def test_standard_input_and_output(net, here):
    ran = applied(
        *("--stack", "net.toml", "-", "-o", "-", "--format", "png"),
        stdin=(here / "a.png").read_bytes(),
    )
    applied("--stack", "net.toml", "a.png")
    assert ran.raw == (here / "a.tiny-net.png").read_bytes()
    assert "- → -  values" in ran.err
    ran = applied("--stack", "net.toml", "a.png", "-o", "-", "--format", "npy")
    np.testing.assert_array_equal(np.load(io.BytesIO(ran.raw)), by_hand(pixels_of("a.png"), *net))
    assert applied(*SOBEL, "a.png", "-o", "-").raw.startswith(b"\x89PNG")


def test_a_process_of_its_own(net):
    ended = program("apply", "--stack", "net.toml", "--show", "all", "a.png")
    assert ended.code == 0
    assert "shown: layers 1, 2, 3" in ended.out


# ---------------------------------------------------------------- the report


def timeless(text):
    return re.sub(r"[\d.]+ m?s\b", "_ ms", text)


def test_the_report_for_people(net):
    save("b.png", noise(12, 15, 3, seed=1))
    options = ("--stack", "net.toml", "--show", "first,3", "--engine", "numpy", "-o", "out/")
    out = timeless(applied(*options, "a.png", "b.png").out)
    low, high = (f"{end:.6g}" for end in span("a.png", *net))
    lines = out.splitlines()
    assert lines[:6] == [
        "stack       1x12x15x3 → 1x3x3x5   tiny net, shown: layers 1, 3",
        "* 1 first  conv kernel=first.npy valid relu  10x13x4  numpy, gemm",
        "  2        pool 2x2                            5x6x4  drops 0x1",
        "* 3 last   conv kernel=net.safetensors:last.weight layout=OIHW stride=2",
        "           bias=net.safetensors:last.bias      3x3x5  numpy, gemm",
        f"a.png → out/a.tiny-net.png  values {low} to {high}  _ ms (read _ ms, compute _ ms, "
        "write _ ms)",
    ]
    assert lines[6] + "\n" == OTHER_SIZE
    # The same layers, notes included, are not told again.
    assert lines[7].startswith("b.png → out/b.tiny-net.png  values ")
    assert lines[8].startswith("2 done in ")
    assert len(lines) == 9


def span(name, first, last, bias):
    """Return the least and the greatest value of the first layer and the last."""
    image = pixels_of(name)
    one = np.maximum(conv2d(image[None], first, padding="valid"), 0)
    both = np.concatenate([one.reshape(-1), by_hand(image, first, last, bias).reshape(-1)])
    return float(both.min()), float(both.max())


def test_long_words_give_way(here):
    folder = here / ("long" * 20)
    folder.mkdir()
    np.save(folder / "k.npy", np.ones((1, 1, 3, 2)))
    out = applied("--layer", f"conv kernel={folder}/k.npy stride=2 relu", "a.png").out
    first, path, last = out.splitlines()[1:4]
    assert (first, path[:12]) == ("  1 conv", "    kernel=/")
    assert "…" in path
    assert path.endswith("longlong/k.npy")
    assert len(path) == 80
    assert last.split()[:5] == ["stride=2", "relu", "6x8x2", "numpy,", "gemm"]


@pytest.mark.parametrize("columns", [72, 80, 132])
def test_layers_fit_into_the_width(here, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    (here / "nets").mkdir()
    arrays = {"net.0.weight": np.ones((4, 3, 5, 5)), "net.0.bias": np.ones(4)}
    save_file(arrays, "nets/w.safetensors")
    words = (
        "conv kernel=nets/w.safetensors:net.0.weight layout=OIHW stride=2 padding=2 "
        "bias=nets/w.safetensors:net.0.bias relu"
    )
    named = "name=a-name-of-more-than-twenty-letters"
    layers = ("--layer", f"{words} {named}", *POOL, *SOBEL)
    out = applied(*layers, "--show", "all", "--engine", "numpy", "a.png").out
    lines = out[: out.index("a.png →")].splitlines()
    assert max(map(len, lines)) <= columns
    # Outputs stand below each other, and nothing that was written is lost.
    starts = [match.start() for line in lines[1:] if (match := re.search(r" [63]x[84]x[48]", line))]
    assert len(starts) == 3
    assert len(set(starts)) == 1
    told = " ".join(line[26:] for line in lines[1:])
    assert [word for word in words.split() if word not in told.split()] == []


def test_notes_name_their_layers_and_come_once(here):
    layers = (
        "--layer",
        "conv kernel=gaussian",
        "--layer",
        "transpose kernel='3x3: 1 1 1 1 1 1 1 1 1' stride=2",
    )
    save("b.png", noise(20, 15, 3))
    out = applied(*layers, "-o", "out/", "a.png", "b.png").out
    told = [line for line in out.splitlines() if line.startswith("note: layer 2: ")]
    assert len(told) == 1
    # Taps that make up for it leave no pattern.
    assert "note:" not in applied("--layer", "transpose kernel=bilinear stride=2", "a.png").out


def test_the_record_for_programs(net):
    [record] = reported("--stack", "net.toml", "--show", "1,last", "--engine", "numpy", "a.png")
    assert record["op"] == "stack"
    assert record["stack"] == "tiny net"
    assert record["input"] == "a.png"
    assert record["outputs"] == ["a.tiny-net.png"]
    assert record["input_shape"] == [1, 12, 15, 3]
    assert record["output_shape"] == [1, 3, 3, 5]
    assert record["shown"] == [1, 3]
    assert record["scale"] == "each"
    assert record["alpha"] is None
    low, high = span("a.png", *net)
    assert record["values"] == {"min": low, "max": high}
    assert set(record["seconds"]) == {"read", "compute", "write"}
    keys = (
        "op",
        "name",
        "input_shape",
        "output_shape",
        "kernel_shape",
        "stride",
        "engine",
        "method",
    )
    assert [[layer[key] for key in keys] for layer in record["layers"]] == [
        ["conv2d", "first", [1, 12, 15, 3], [1, 10, 13, 4], [3, 3, 3, 4], [1, 1], "numpy", "gemm"],
        ["max_pool2d", "", [1, 10, 13, 4], [1, 5, 6, 4], [2, 2], [2, 2], None, None],
        ["conv2d", "last", [1, 5, 6, 4], [1, 3, 3, 5], [3, 2, 4, 5], [2, 2], "numpy", "gemm"],
    ]
    assert record["layers"][0]["padding"]["mode"] == "valid"
    assert record["layers"][0]["dilation"] == [1, 1]
    assert [note["code"] for note in record["notes"]][-1] == "other-size"
    assert "estimates" not in record["layers"][0]


def test_estimates(net):
    options = ("--stack", "net.toml", "--verbose", "a.png")
    [record] = reported(*options)
    first, pool, _ = (layer["estimates"] for layer in record["layers"])
    assert {(e["engine"], e["method"]) for e in first} == {("numpy", "gemm"), ("cpu", "gemm")}
    assert pool == []
    out = timeless(applied(*options, "--engine", "numpy").out)
    assert "estimates    1  numpy, gemm _ ms; cpu, gemm _ ms\n" in out
    assert "             3  numpy, gemm _ ms; cpu, gemm _ ms\n" in out


def test_estimates_fit_into_the_width(here, monkeypatch):
    monkeypatch.setenv("COLUMNS", "64")
    out = applied("--layer", "conv kernel=gaussian:sigma=3", "--verbose", "a.png").out
    lines = out[out.index("estimates") : out.index("a.png →")].splitlines()
    assert len(lines) > 1
    assert max(map(len, lines)) <= 64
    assert all(line.endswith(";") for line in lines[:-1])
    assert not lines[-1].endswith(";")
    assert all(line.startswith(" " * 16) for line in lines[1:])


def test_every_layer_runs_as_it_is_told(net, monkeypatch):
    computed = []
    original = stacked.run.run

    def spy(*arguments, **options):
        for result in original(*arguments, **options):
            computed.append(result.choice and (result.choice.engine, result.choice.method))
            yield result

    save("large.png", noise(300, 400, 3))
    layers = ("--layer", "conv kernel=gaussian:sigma=9", *SOBEL, *POOL)
    for threads in (1, 2):
        computed.clear()
        monkeypatch.setattr(stacked.run, "run", spy)
        [record] = reported(*layers, "--threads", threads, "large.png", "-o", "x.npy")
        told = [
            (layer["engine"], layer["method"]) if layer["engine"] else None
            for layer in record["layers"]
        ]
        assert computed == told
        # One engine for all: once it is loaded nothing else is quicker.
        assert {way[0] for way in told if way} == {"cpu"}


@pytest.mark.parametrize("engine", ["numpy", "cpu"])
def test_verify(net, engine):
    for output in ("maps.npy", "maps.png"):
        options = ("--stack", "net.toml", "--engine", engine, "--verify", "-o", output, "a.png")
        out = applied(*options).out
        high = np.abs(by_hand(pixels_of("a.png"), *net)).max()
        assert f"verified    largest error 0 of values up to {high:.6g}\n" in out
        [record] = reported(*options)
        assert record["verified"] == {"error": 0, "largest": float(high), "pixels": None}


def test_verify_sees_a_difference(net, monkeypatch):
    original = stacked._results

    def wrong(ready, job, picture, who, threads):
        for result in original(ready, job, picture, who, threads):
            yield result._replace(values=result.values + (who == "cpu"))

    monkeypatch.setattr(stacked, "_results", wrong)
    options = ("--stack", "net.toml", "--engine", "cpu", "--show", "1,3", "--verify", "-o", "m.png")
    out = applied(*options, "a.png").out
    assert "verified    largest error 1 of values up to" in out
    assert "beyond rounding" in out


def test_what_is_not_finite_is_counted(here):
    np.save("x.npy", np.array([[1, np.nan], [np.inf, 2]], np.float32))
    [record] = reported("--layer", "pool 1", "-o", "maps.png", "x.npy")
    assert record["values"] == {"min": 1, "max": 2}
    [note] = record["notes"]
    assert note["message"] == (
        "2 responses are NaN or infinite; NaN is drawn as zero, infinities as black and white"
    )
    [record] = reported("--layer", "pool 1", "x.npy")
    assert record["notes"][0]["message"].endswith("they are written as they are")


def test_a_stack_of_vectors(here):
    np.save("fc.npy", np.ones((12 * 15, 6)))
    layers = ("--layer", "flatten name=flat", "--layer", "dense x6 kernel=fc.npy")
    applied(*layers, "-o", "v.npy", "grey.png")
    total = float(pixels_of("grey.png").sum())
    assert np.load("v.npy").tolist() == [[[[total] * 6]]]
    # `all` are those with maps; of none the last.
    assert reported(*layers, "--show", "all", "grey.png")[0]["shown"] == [2]
    assert reported("--layer", "pool 1", *layers, "--show", "all", "grey.png")[0]["shown"] == [1]
    assert reported(*layers, "--show", "flat,2", "grey.png")[0]["shown"] == [1, 2]


def test_layers_behind_the_last_one_shown_need_no_weights(here):
    layers = (*SOBEL, "--layer", "conv 3x3 x8")
    [record] = reported(*layers, "--show", "1", "a.png")
    assert len(record["layers"]) == 1


# ---------------------------------------------------------------- what cannot be


def test_a_layer_without_weights_is_named():
    err = refused(*SOBEL, "--layer", "conv 3x3 x32 relu", "a.png")
    assert err == (
        "error: layer 2 (conv 3x3 x32 relu): to run, a layer needs weights, and this one says only "
        "how large they are\n\n"
        "hint: say which: kernel=sobel, kernel=weights.npy or kernel=net.safetensors:conv1.weight "
        "instead of size and filters; 'convtool shape' needs none\n"
    )


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        (("-k", "sobel"), '--layer "conv kernel=sobel"; in a file by the same key'),
        (("--stride", "1"), '--layer "conv kernel=sobel stride=2"'),
        (("--padding", "valid"), '--layer "conv kernel=sobel valid"'),
        (("--dilation", "2"), '--layer "conv kernel=sobel dilation=2"'),
        (("--groups", "2"), '--layer "conv kernel=weights.npy groups=2"'),
        (("--border", "edge"), '--layer "conv kernel=sobel border=edge"'),
        (("--flip",), '--layer "conv kernel=sobel flip"'),
        (("--bias", "1"), '--layer "conv kernel=weights.npy bias=bias.npy"'),
        (("--activation", "relu"), '--layer "conv kernel=sobel relu"'),
        (("--normalize",), "leave it out: a layer takes its kernel as it is"),
        (("--combine", "sum"), "leave it out: a contact sheet shows the maps of a layer side"),
        (("--range", "abs"), "leave it out: a contact sheet stretches its maps (--scale each or"),
        (("--alpha", "keep"), "leave it out: alpha takes part only where the first kernel counts"),
        (("--linear",), "leave it out: a stack gets colours as they are stored, scaled as its"),
        (("--depth", "16"), "leave it out: a contact sheet is 8-bit grey, a .npy float32"),
        (("--method", "fft"), "leave it out: each layer is computed in the quickest way; --engine"),
    ],
)
def test_options_of_a_single_kernel_are_refused(here, option, hint):
    err = refused(*SOBEL, *option, "a.png")
    name = "--kernel" if option[0] == "-k" else option[0]
    assert f"error: {name} is for a single kernel, but a stack is given\n" in err
    assert hint in err


def test_examples_in_those_hints_are_layers():
    from convtool.cli.filtering import IN_A_LAYER
    from convtool.stack.layers import parse_layer

    for text in IN_A_LAYER.values():
        assert parse_layer(text).kernel


@pytest.mark.parametrize("option", [("--show", "1"), ("--scale", "each")])
def test_options_of_a_stack_need_one(here, option):
    err = refused("-k", "sobel", *option, "a.png")
    assert f"error: {option[0]} is about the layers of a stack, but none is given" in err
    assert 'use --stack net.toml, or --layer "conv kernel=sobel relu"' in err


def test_wrong_words(net):
    err = refused(*SOBEL, "--scale", "some", "a.png")
    assert "error: --scale is each or all, not 'some'" in err
    err = refused("--stack", "net.toml", "--show", "1,firts", "a.png")
    assert "--show 1,firts: the stack has layers 1 to 3, but none is 'firts'" in err
    assert "hint: did you mean first?" in err
    err = refused("--stack", "none.toml", "a.png")
    assert "none.toml: the stack cannot be read: No such file or directory" in err
    err = refused("--layer", "conv kernel=nothing", "a.png")
    assert "layer 1 (conv kernel=nothing): " in err


def test_several_layers_in_one_array(net):
    err = refused("--stack", "net.toml", "--show", "1,3", "-o", "maps.npy", "a.png")
    assert err == (
        "error: a .npy output holds the maps of one layer, but 2 are shown: 1, 3\n\n"
        "hint: choose one, as in --show 3; -o maps.png draws all of them on one sheet\n"
    )
    err = refused("--stack", "net.toml", "--show", "all", "-o", "{filter}.png", "a.png")
    assert "a name with {filter} holds the maps of one layer, but 3 are shown: 1, 2, 3" in err


def test_a_stack_that_is_wrong_for_every_image(here):
    np.save("three.npy", np.ones((1, 1, 3, 8)))
    two = ("--layer", "conv kernel=three.npy")
    err = refused(*two, *POOL, *two, "a.png")
    assert "layer 3 (conv kernel=three.npy), input 1x6x7x8: the kernel takes 3 input chan" in err
    err = refused("--layer", "conv kernel=sobel bias=1,2,3", "a.png")
    assert "layer 1 (conv kernel=sobel bias=1,2,3): bias must be one number or one per fil" in err
    err = refused("--layer", "pool 2", "--layer", "conv 3x3", "a.png")
    assert err.startswith("error: layer 2 (conv 3x3): a conv layer needs size and filters, or a")
    err = refused(*POOL, *two, "--layer", "pool 2 name=a", "--layer", "pool 2 name=a", "a.png")
    assert "every name means one layer, but layers 3 and 4 are both called 'a'" in err
    err = refused("--layer", "transpose kernel=sobel", "a.png")
    assert "conv2d_transpose takes one filter of 2 axes, not a bank of 2" in err
    err = refused("--layer", "transpose kernel=bilinear fit", "a.png")
    assert "layer 1 (transpose kernel=bilinear fit)" in err


def test_a_matrix_that_does_not_fit_is_the_images_failure(here):
    np.save("fc.npy", np.ones((5, 2)))
    layers = ("--layer", "flatten", "--layer", "dense x2 kernel=fc.npy")
    err = applied(*layers, "a.png", code=1).err
    assert "error: a.png: layer 2 (dense kernel=fc.npy x2): " in err
    assert "makes 2 values of 540, but its kernel is 5x2" in err


def test_results_of_a_size_that_is_hardly_meant(here):
    err = applied("--layer", "upsample 9", "--max-pixels", "1000", "a.png", code=1).err
    assert err == (
        "error: a.png: layer 1 (upsample 9x9): its output 1x108x135x3 would have 14580 pixels, but "
        "at most 1000 are made (hint: use a smaller stride or factor, or --max-pixels 14580 if it "
        "is meant)\n"
    )


def test_too_little_memory(here, monkeypatch):
    def hungry(*arguments, **options):
        raise MemoryError

    monkeypatch.setattr(stacked, "compute", hungry)
    err = applied(*SOBEL, "a.png", code=1).err
    assert "not enough memory for 1x12x15x3 to 1x12x15x6 (hint: apply it to parts of the" in err
    assert "or show fewer layers (--show))" in err


def test_memory_is_counted_by_the_largest_layer_and_what_is_shown(here):
    from convtool import batch
    from convtool.geometry import ConvSpec

    def footprint(show):
        ready = stacked.load(None, ["upsample 2", "pool 4"], show=show)
        request = batch.Request(ConvSpec(), ready.kernel, output="m.png", stack=ready)
        [task] = batch.prepare(request, batch.expand(["a.png"]))
        return stacked.footprint(request, task.job)

    image, large, last = 12 * 15 * 3, 24 * 30 * 3, 6 * 7 * 3
    assert footprint("2") == 4 * (image + large + last)
    assert footprint("1") == 4 * (image + large + large)
    assert footprint("all") == 4 * (image + large + large + last)


# ---------------------------------------------------------------- the whole


def test_the_example_runs(samples, tmp_path):
    output = tmp_path / "sheet.png"
    ran = applied("--stack", EDGES, "--show", "all", "-o", output, samples / "astronaut.png")
    assert "note:" not in ran.out
    assert "edges, shown: layers 1 to 4" in ran.out
    sheet = pixels_of(output)
    assert 800 < sheet.shape[1] <= 1280
    assert 0.02 < (sheet < 60).mean() < 0.9


def test_completion(here, net):
    def offered(*words):
        from convtool.cli import program as commands

        *given, incomplete = words
        found = complete(commands(), ["apply", *given], incomplete)
        return None if found is None else [word.text for word in found]

    assert offered("--stack", "ne") == ["net.toml"]
    assert offered("--layer", "po") == ["pool "]
    assert offered("--scale", "") == ["each", "all"]
    assert offered("--show", "") == []


def test_without_a_stack_nothing_of_it_is_imported(here):
    code = (
        "import sys\n"
        "from convtool.cli import main\n"
        "status = main(['apply', '-k', 'sobel', 'a.png', '-o', 'b.png'])\n"
        "print('LOADED', status, *sorted(n for n in sys.modules if 'stack' in n and 'conv' in n))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED 0"
