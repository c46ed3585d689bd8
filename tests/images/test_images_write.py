import io
import os
import subprocess
import sys
import zlib

import numpy as np
import pytest
import samples
from PIL import Image
from samples import oriented

from convtool.errors import ImageError
from convtool.images import (
    FORMATS,
    Metadata,
    check,
    deep,
    encode,
    format_of,
    losses,
    png,
    read,
)
from convtool.images.formats import by_libvips
from convtool.terms import Depth

RNG = np.random.default_rng(7)
PLAIN = Metadata("PNG")


def batch(channels, depth, frames=1, height=5, width=7):
    shape = (frames, height, width, channels)
    if depth is Depth.FLOAT:
        return RNG.normal(size=shape).astype(np.float32)
    dtype = np.uint8 if depth is Depth.EIGHT else np.uint16
    return RNG.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def holds(format, channels, depth, frames):
    try:
        check(format, channels=channels, alpha=channels in (2, 4), depth=depth, frames=frames)
    except ImageError as error:
        return "pyvips" in error.message  # such a case is to be skipped, not forgotten
    return True


CASES = [
    (format.name, channels, depth, frames)
    for format in FORMATS
    for channels in (1, 2, 3, 4)
    for depth in Depth
    for frames in (1, 3)
    if holds(format, channels, depth, frames)
]


def needs_pyvips(name, channels, depth):
    if by_libvips(format_of(name), channels, depth):
        pytest.importorskip("pyvips", reason="pyvips writes it, the extra `deep`")


@pytest.mark.parametrize(("name", "channels", "depth", "frames"), CASES)
def test_what_is_written_is_read_back(name, channels, depth, frames):
    needs_pyvips(name, channels, depth)
    pixels = batch(channels, depth, frames)
    before = pixels.copy()
    found = read(encode(pixels, format_of(name), PLAIN))
    np.testing.assert_array_equal(pixels, before)
    if format_of(name).widens or name == "GIF":
        widened = [0, 0, 0, 1] if channels == 2 else [0, 0, 0]
        pixels = pixels if channels >= 3 else pixels[..., widened]
    if name == "JPEG":
        assert found.pixels.shape == pixels.shape
    elif name == "GIF" and channels in (2, 4):
        seen = pixels[..., 3] >= 128
        np.testing.assert_array_equal(found.pixels[..., 3] == 255, seen)
        np.testing.assert_array_equal(found.pixels[seen][:, :3], pixels[seen][:, :3])
    elif name == "WEBP" and channels in (2, 4) and frames > 1:
        # Its animations have no word for keeping the colour under full transparency.
        seen = pixels[..., 3] > 0
        np.testing.assert_array_equal(found.pixels[seen], pixels[seen])
    else:
        np.testing.assert_array_equal(found.pixels, pixels)
        if name != "NPY":
            assert found.pixels.dtype == pixels.dtype
            assert found.header.alpha == (channels in (2, 4))


@pytest.mark.parametrize("depth", Depth)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_tiff_is_understood_by_libvips(channels, depth):
    pyvips = pytest.importorskip("pyvips", reason="a second opinion on what Pillow wrote")
    pixels = batch(channels, depth, frames=2, height=300, width=401)  # several strips
    file = encode(pixels, format_of("tif"), PLAIN)
    for page in range(2):
        seen = pyvips.Image.tiffload_buffer(file, page=page).numpy()
        np.testing.assert_array_equal(seen.reshape(pixels[page].shape), pixels[page])


@pytest.mark.parametrize("name", ["png", "gif", "webp", "tif"])
def test_equal_neighbours_become_one_longer_frame(name):
    once = batch(3, Depth.EIGHT, 2)
    pixels = once[[0, 0, 1, 1, 1]]
    metadata = Metadata("GIF", durations=(40, 80, 120, 160, 200), loop=0)
    found = read(encode(pixels, format_of(name), metadata))
    if name == "tif":  # pages are no animation
        np.testing.assert_array_equal(found.pixels, pixels)
    else:
        np.testing.assert_array_equal(found.pixels, once)
        assert found.metadata.durations == (120, 480)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("name", ["png", "gif"])
def test_frames_that_share_parts_are_exact(name, channels):
    colours = RNG.integers(0, 256, (40, channels), np.uint8)
    if channels in (2, 4):
        colours[:, -1] = np.where(np.arange(40) < 9, 0, 255)
    pixels = colours[RNG.integers(0, 40, (4, 20, 30))]
    pixels[1:, :9] = pixels[0, :9]
    pixels[2, :, :20] = pixels[1, :, :20]
    found = read(encode(pixels, format_of(name), PLAIN)).pixels
    if name == "gif":
        pixels = pixels if channels >= 3 else pixels[..., [0, 0, 0, *range(1, channels)]]
        if channels in (2, 4):  # what is clear has no colour
            found[found[..., 3] == 0] = pixels[pixels[..., 3] == 0] = 0
    np.testing.assert_array_equal(found, pixels)


@pytest.mark.parametrize("name", ["png", "gif", "webp"])
@pytest.mark.parametrize("loop", [0, 1, 5])
def test_timing_is_carried(name, loop):
    metadata = Metadata("GIF", durations=(40, 80, 120), loop=loop)
    found = read(encode(batch(3, Depth.EIGHT, 3), format_of(name), metadata)).metadata
    assert (found.durations, found.loop) == (metadata.durations, loop)


@pytest.mark.parametrize("name", ["png", "gif", "webp"])
def test_frames_without_timing_run_for_ever(name):
    found = read(encode(batch(3, Depth.EIGHT, 2), format_of(name), PLAIN)).metadata
    assert (found.durations, found.loop) == ((100, 100), 0)


def test_a_gif_without_a_word_on_loops_plays_once():
    metadata = Metadata("GIF", durations=(40, 80))
    assert read(encode(batch(3, Depth.EIGHT, 2), format_of("gif"), metadata)).metadata.loop is None


def test_a_gif_of_many_colours_is_close():
    y, x = np.mgrid[:64, :64]
    pixels = np.stack([x * 4, y * 4, (x + y) * 2], -1).astype(np.uint8)[None]
    found = read(encode(pixels, format_of("gif"), PLAIN)).pixels
    assert np.abs(found.astype(int) - pixels).mean() < 12
    assert len(np.unique(found.reshape(-1, 3), axis=0)) > 200
    clear = np.concatenate([pixels, np.where(x < 5, 0, 255).astype(np.uint8)[None, ..., None]], -1)
    found = read(encode(clear, format_of("gif"), PLAIN)).pixels
    np.testing.assert_array_equal(found[..., 3], clear[..., 3])


@pytest.mark.parametrize(
    ("name", "depth"),
    [
        (name, depth)
        for name in ("png", "jpg", "tif", "webp")
        for depth in Depth
        if depth in format_of(name).depths
    ],
)
def test_profile_exif_and_resolution_are_carried(name, depth):
    format = format_of(name)
    needs_pyvips(name, 3, depth)
    exif = Image.Exif()
    exif[0x010E] = "a cat"
    exif.get_ifd(0x8769)[0x9003] = "2020:01:02 03:04:05"
    exif.get_ifd(0x8825)[1] = "N"
    block = exif.tobytes().removeprefix(b"Exif\0\0")
    metadata = Metadata("PNG", icc=samples.SRGB, exif=block, dpi=(300.0, 150.0))
    found = read(encode(batch(3, depth), format, metadata)).metadata
    assert found.icc == samples.SRGB
    if name != "webp":
        assert found.dpi == pytest.approx((300, 150), rel=1e-3)
    if name == "tif" and depth is not Depth.EIGHT:
        assert found.exif is None  # libvips has no EXIF for TIFF; `losses` tells
        return
    again = Image.Exif()
    again.load(found.exif)
    assert again[0x010E] == "a cat"
    assert again.get_ifd(0x8769)[0x9003] == "2020:01:02 03:04:05"
    assert again.get_ifd(0x8825)[1] == "N"
    if name != "tif" and depth is Depth.EIGHT:  # libvips writes the same tags anew
        assert found.exif == block


@pytest.mark.parametrize("name", ["png", "tif"])
@pytest.mark.parametrize("depth", [Depth.EIGHT, Depth.SIXTEEN])
def test_nothing_is_made_up(name, depth):
    needs_pyvips(name, 3, depth)
    found = read(encode(batch(3, depth), format_of(name), PLAIN)).metadata
    assert (found.icc, found.exif) == (None, None)
    # libvips cannot leave out the resolution; its own is a pixel a millimetre.
    assert found.dpi == (None if depth is Depth.EIGHT else pytest.approx((25.4, 25.4)))


def test_maker_notes_pass_through_byte_for_byte():
    block = oriented(1) + bytes(range(256))
    for name in ("png", "jpg", "webp"):
        found = read(encode(batch(3, Depth.EIGHT), format_of(name), Metadata("PNG", exif=block)))
        assert found.metadata.exif == block


def test_structural_tags_never_reach_a_tiff():
    block = samples.tiff(samples.GREY, 0, (274, 3, [6]))
    found = read(encode(batch(3, Depth.EIGHT), format_of("tif"), Metadata("JPEG", exif=block)))
    assert found.header.shape == (1, 5, 7, 3)


@pytest.mark.parametrize("block", [b"nonsense", b"II*\0\xff\xff\xff\xff", oriented(9)])
def test_useless_exif_spoils_no_tiff(block):
    pixels = batch(3, Depth.EIGHT)
    found = read(encode(pixels, format_of("tif"), Metadata("PNG", exif=block)))
    np.testing.assert_array_equal(found.pixels, pixels)


def test_tiff_is_compressed_unless_exif_forbids_it():
    pixels = np.zeros((2, 50, 50, 3), np.uint8)
    assert len(encode(pixels, format_of("tif"), PLAIN)) < 2000
    exif = Image.Exif()
    exif[0x010E] = "a cat"
    plain = Metadata("PNG", exif=exif.tobytes()[6:])
    assert len(encode(pixels, format_of("tif"), plain)) < 2000
    exif.get_ifd(0x8769)[0x9003] = "2020:01:02 03:04:05"
    full = Metadata("PNG", exif=exif.tobytes()[6:])
    assert len(encode(pixels, format_of("tif"), full)) > pixels.size


@pytest.mark.parametrize(("channels", "depth"), [(3, Depth.EIGHT), (3, Depth.SIXTEEN)])
def test_a_large_tiff_has_wide_offsets(channels, depth, monkeypatch):
    needs_pyvips("TIFF", channels, depth)
    monkeypatch.setattr(deep, "CLASSIC_TIFF", 10)
    pixels = batch(channels, depth, 2)
    file = encode(pixels, format_of("tif"), PLAIN)
    assert file[:4] == b"II+\0"
    np.testing.assert_array_equal(read(file).pixels, pixels)


def test_exif_too_long_for_a_jpeg_marker_is_left_out():
    metadata = Metadata("PNG", exif=oriented(1) + bytes(70000))
    assert read(encode(batch(3, Depth.EIGHT), format_of("jpg"), metadata)).metadata.exif is None


@pytest.mark.parametrize("name", ["png", "jpg", "tif", "webp"])
def test_a_profile_of_another_colour_space_is_left_out(name):
    grey = b"\0" * 16 + b"GRAY" + b"\0" * 108
    colour = Metadata("PNG", icc=grey)
    assert read(encode(batch(3, Depth.EIGHT), format_of(name), colour)).metadata.icc is None
    rgb = Metadata("PNG", icc=samples.SRGB)
    found = read(encode(batch(1, Depth.EIGHT), format_of(name), rgb)).metadata.icc
    assert found == (samples.SRGB if name == "webp" else None)  # WebP's grey is RGB
    if name != "webp":
        assert read(encode(batch(1, Depth.EIGHT), format_of(name), colour)).metadata.icc == grey


# JPEG


def jpeg(shape=(48, 64, 3), **options):
    smooth = np.linspace(0, 255, int(np.prod(shape))).reshape(shape)
    return samples.picture((smooth + RNG.normal(0, 9, shape)).clip(0, 255).astype(np.uint8), "JPEG",
                           **options)  # fmt: skip


def coding_of(file):
    with Image.open(io.BytesIO(file)) as image:
        return image.quantization, [layer[1:3] for layer in image.layer]


FULL, HALF, QUARTER = (
    [(across, down), (1, 1), (1, 1)] for across, down in [(1, 1), (2, 1), (2, 2)]
)


def test_jpeg_quality_and_full_colour():
    pixels = batch(3, Depth.EIGHT, height=64, width=64)
    sizes = [
        len(encode(pixels, format_of("jpg"), PLAIN, quality=quality)) for quality in (20, 92, 98)
    ]
    assert sizes == sorted(sizes)
    file = encode(pixels, format_of("jpg"), PLAIN)
    assert len(file) == sizes[1]
    assert coding_of(file)[1] == FULL


@pytest.mark.parametrize("quality", [30, 75, 98])
@pytest.mark.parametrize(("subsampling", "layers"), [(0, FULL), (1, HALF), (2, QUARTER)])
def test_a_jpeg_that_comes_from_a_jpeg_is_coded_as_that_was(quality, subsampling, layers):
    file = jpeg(quality=quality, subsampling=subsampling)
    found = read(file)
    again = encode(found.pixels, format_of("jpg"), found.metadata)
    assert coding_of(again) == coding_of(file)
    assert coding_of(again)[1] == layers
    assert len(again) == pytest.approx(len(file), rel=0.06)


def test_a_grey_jpeg_that_comes_from_a_grey_one():
    file = jpeg((48, 64), quality=40)
    found = read(file)
    assert coding_of(encode(found.pixels, format_of("jpg"), found.metadata)) == coding_of(file)


def test_a_quality_that_is_asked_for_keeps_the_subsampling_alone():
    found = read(jpeg(quality=30, subsampling=2))
    tables, layers = coding_of(encode(found.pixels, format_of("jpg"), found.metadata, quality=80))
    assert tables == coding_of(jpeg(quality=80))[0]
    assert layers == QUARTER


def test_where_the_channels_differ_nothing_is_taken_over():
    colour, grey = (read(jpeg(shape, quality=30)) for shape in ((48, 64, 3), (48, 64)))
    usual = coding_of(jpeg(quality=92, subsampling=0))
    assert coding_of(encode(colour.pixels, format_of("jpg"), grey.metadata)) == usual
    tables, _ = coding_of(encode(grey.pixels, format_of("jpg"), colour.metadata))
    assert tables == {0: usual[0][0]}
    cmyk = read(samples.FILES["jpeg cmyk"])
    assert cmyk.metadata.jpeg is None
    assert coding_of(encode(cmyk.pixels, format_of("jpg"), cmyk.metadata)) == usual


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_other_inputs_say_nothing_of_jpeg(kind):
    assert read(samples.picture(samples.RGB, kind)).metadata.jpeg is None


def test_tables_of_any_number_for_any_channel():
    with Image.open(io.BytesIO(jpeg())) as image:
        image.load()
        tables = [[n] * 64 for n in (3, 5, 9)]
        file = samples.saved(image, "JPEG", qtables=tables)
    coding = read(file).metadata.jpeg
    assert [table[0] for table in coding.tables] == [3, 5, 9]
    # The frame's header gives number 1 to the luma's table, and 0 to both others.
    at = file.index(b"\xff\xc0") + 10
    turned = bytearray(file)
    turned[at + 2], turned[at + 5], turned[at + 8] = 1, 0, 0
    coding = read(bytes(turned)).metadata.jpeg
    assert [table[0] for table in coding.tables] == [5, 3]
    found = read(bytes(turned))
    tables, _ = coding_of(encode(found.pixels, format_of("jpg"), found.metadata))
    assert {number: table[0] for number, table in tables.items()} == {0: 5, 1: 3}


def test_a_subsampling_that_cannot_be_written_becomes_none():
    file = bytearray(jpeg(subsampling=0))
    at = file.index(b"\xff\xc0") + 10
    file[at + 1] = 0x12  # as many columns, half as many rows
    assert coding_of(bytes(file))[1][0] == (1, 2)
    assert read(bytes(file)).metadata.jpeg.subsampling == 0


@pytest.mark.parametrize("how", ["none", "refused"])
def test_without_files_in_memory_a_jpeg_is_the_same(how, monkeypatch):
    pixels = batch(3, Depth.EIGHT, height=300, width=400)
    wanted = encode(pixels, format_of("jpg"), PLAIN)

    def refuse(*_):
        raise OSError(38, "Function not implemented")

    if how == "none":
        monkeypatch.delattr(os, "memfd_create", raising=False)
    else:
        monkeypatch.setattr(os, "memfd_create", refuse, raising=False)
    assert encode(pixels, format_of("jpg"), PLAIN) == wanted


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
@pytest.mark.parametrize("spare", [-10_000, -1, 0, 1])
def test_a_limit_of_the_size_of_files_does_not_cut_a_jpeg_short(spare):
    code = (
        "import resource, sys, numpy as np\n"
        "from convtool.images import Metadata, encode, format_of\n"
        "pixels = np.random.default_rng(3).integers(0, 256, (1, 300, 400, 3), np.uint8)\n"
        "whole = encode(pixels, format_of('jpg'), Metadata('PNG'))\n"
        "limit = len(whole) + int(sys.argv[1])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))\n"
        "assert encode(pixels, format_of('jpg'), Metadata('PNG')) == whole\n"
    )
    subprocess.run([sys.executable, "-c", code, str(spare)], check=True)


# PNG


def noise(height, width, channels=3):
    smooth = np.linspace(40, 200, width)[None, :, None]
    noisy = smooth + np.random.default_rng(5).normal(0, 6, (height, width, channels))
    return noisy.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("pixels", "wanted"),
    [
        (noise(1250, 1000), zlib.Z_HUFFMAN_ONLY),
        (np.kron(noise(25, 20), np.ones((50, 50, 1), np.uint8)), zlib.Z_RLE),
        (noise(500, 400), zlib.Z_RLE),  # too small for a trial
        (noise(2, 600_000, 1)[..., 0], zlib.Z_HUFFMAN_ONLY),
    ],
    ids=["photograph", "chart", "small", "flat"],
)
def test_the_strategy_that_is_smaller_on_some_rows(pixels, wanted):
    assert png.strategy(Image.fromarray(pixels), None) == (1, wanted)


def test_the_default_png_is_no_larger_than_that_of_level_6():
    pixels = noise(1250, 1000)[None]
    default = encode(pixels, format_of("png"), PLAIN)
    assert len(default) <= 1.01 * len(encode(pixels, format_of("png"), PLAIN, compress_level=6))
    np.testing.assert_array_equal(read(default).pixels, pixels)


@pytest.mark.parametrize(
    ("channels", "depth", "frames"),
    [(3, Depth.EIGHT, 1), (1, Depth.SIXTEEN, 1), (4, Depth.EIGHT, 2), (3, Depth.SIXTEEN, 1)],
)
def test_png_levels(channels, depth, frames):
    needs_pyvips("PNG", channels, depth)
    pixels = batch(channels, depth, frames, height=60, width=50) % 16
    files = [
        encode(pixels, format_of("png"), PLAIN, compress_level=level) for level in (0, 1, 9, None)
    ]
    for file in files:
        np.testing.assert_array_equal(read(file).pixels, pixels)
    stored, fast, small, _ = map(len, files)
    # Pillow 11 compresses the frames of an animation as it likes.
    assert stored > fast >= small or (frames > 1 and stored == fast == small)


def test_webp_is_lossless_until_a_quality_is_asked_for():
    pixels = batch(3, Depth.EIGHT, height=32, width=32)
    lossy = read(encode(pixels, format_of("webp"), PLAIN, quality=50)).pixels
    assert (lossy != pixels).any()


def test_not_contiguous_and_foreign_byte_order():
    pixels = batch(3, Depth.SIXTEEN, height=6, width=8)[:, ::2, ::-1].astype(">u2")
    file = encode(pixels, format_of("ppm"), PLAIN)
    np.testing.assert_array_equal(read(file).pixels, pixels)


@pytest.mark.parametrize("shape", [(0, 4, 4, 3), (1, 0, 4, 3), (1, 4, 0, 3)])
def test_nothing_cannot_be_a_picture(shape):
    with pytest.raises(ImageError, match=r"PNG cannot hold a picture of \d+x\d+x\d+ pixels") as e:
        encode(np.zeros(shape, np.uint8), format_of("png"), PLAIN)
    assert e.value.hint == "write a .npy file, which may be empty"
    assert read(encode(np.zeros(shape), format_of("npy"), PLAIN)).header.shape == shape


def test_too_large_for_the_format():
    with pytest.raises(ImageError) as found:
        encode(np.zeros((1, 1, 16384, 3), np.uint8), format_of("webp"), PLAIN)
    assert found.value.message == (
        "WEBP holds at most 16383 pixels a side, but the picture is 1x16384 (height x width)"
    )


# Formats


@pytest.mark.parametrize(
    ("word", "name"),
    [
        (".png", "PNG"), ("PNG", "PNG"), ("jpg", "JPEG"), (".JPEG", "JPEG"), ("TIFF", "TIFF"),
        (".tif", "TIFF"), ("PNM", "PNM"), (".pgm", "PGM"), (".webp", "WEBP"), ("npy", "NPY"),
    ],
)  # fmt: skip
def test_names_of_formats(word, name):
    assert format_of(word).name == name


def test_every_kind_that_is_read_and_written_has_one_name():
    for file in samples.FILES.values():
        kind = read(file).metadata.format
        assert kind == "TGA" or format_of(kind).name == kind


@pytest.mark.parametrize(
    ("word", "message", "hint"),
    [
        (".xyz", "a format that can be written, but '.xyz' is not one", "use .png, .jpg, .tif"),
        ("", "but the name has no suffix", ".npy"),
        (".pbm", "PBM holds only black and white, not the greys of a response", "use .pgm"),
    ],
)
def test_unknown_formats(word, message, hint):
    with pytest.raises(ImageError) as found:
        format_of(word)
    assert message in found.value.message
    assert hint in found.value.hint


@pytest.mark.parametrize(
    ("name", "channels", "alpha", "depth", "frames", "message", "hint"),
    [
        ("jpg", 4, True, "8", 1, "JPEG cannot hold alpha", "--alpha drop"),
        ("bmp", 2, True, "8", 1, "BMP cannot hold alpha", ".png"),
        ("ppm", 4, True, "16", 1, "PPM cannot hold alpha", "--alpha drop"),
        ("jpg", 3, False, "16", 1, "JPEG holds 8 bits a channel, not 16", ".tif file, or use --d"),
        ("gif", 1, False, "16", 1, "GIF holds 8 bits a channel, not 16", "--depth 8"),
        ("png", 1, False, "float", 1, "PNG holds 8 or 16 bits a channel, not float", "--depth 8 o"),
        ("webp", 3, False, "float", 1, "WEBP holds 8 bits a channel, not float values", ".npy"),
        ("jpg", 3, False, "8", 4, "JPEG holds one picture, but there are 4 frames", "{frame}"),
        ("pgm", 1, False, "8", 2, "PGM holds one picture, but there are 2 frames", "{frame}"),
        ("pgm", 3, False, "8", 1, "PGM holds grey alone, but this has 3 channels", "use .ppm"),
        ("png", 1, False, "16", 3, "animation holds 8 bits a channel, not 16", "write a .tif"),
        ("png", 2, False, "8", 1, "has 1 or 3 colour channels, but this has 2", "{filter}"),
        ("png", 5, True, "8", 1, "has 1 or 3 colour channels, but this has 4", "--combine grid"),
    ],
)
def test_what_formats_cannot_hold(name, channels, alpha, depth, frames, message, hint):
    with pytest.raises(ImageError) as found:
        check(format_of(name), channels=channels, alpha=alpha, depth=Depth(depth), frames=frames)
    assert message in found.value.message
    assert hint in found.value.hint


def test_npy_holds_anything():
    check(format_of("npy"), channels=17, alpha=False, depth=Depth.SIXTEEN, frames=9)


# Without libvips


@pytest.fixture(params=["not installed", "without its libvips"])
def no_pyvips(request, monkeypatch, tmp_path):
    if request.param == "not installed":
        monkeypatch.setitem(sys.modules, "pyvips", None)
    else:
        (tmp_path / "pyvips.py").write_text("raise OSError('no library called libvips')")
        monkeypatch.delitem(sys.modules, "pyvips", raising=False)
        monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize(
    ("name", "channels", "depth", "message", "hint"),
    [
        ("png", 3, "16", "a 16-bit PNG of 3 channels is written by pyvips", ""),
        ("png", 2, "16", "a 16-bit PNG of 2 channels is written by pyvips", ""),
        ("tif", 4, "16", "a 16-bit TIFF of 4 channels is written by pyvips", ""),
        ("tif", 3, "float", "a float TIFF of 3 channels is written by pyvips", "write a .npy file"),
    ],
)
def test_what_libvips_writes_is_refused_early(no_pyvips, name, channels, depth, message, hint):
    format, depth = format_of(name), Depth(depth)
    with pytest.raises(ImageError) as early:
        check(format, channels=channels, alpha=channels != 3, depth=depth, frames=1)
    with pytest.raises(ImageError) as late:
        encode(batch(channels, depth), format, PLAIN)
    for error in (early.value, late.value):
        assert error.message.startswith(f"{message}, which is not installed; Pillow alone")
        assert error.hint.startswith("pip install 'pyvips[binary]'")
        assert hint in error.hint


@pytest.mark.parametrize(
    ("name", "channels", "depth"),
    [("png", 3, "8"), ("png", 1, "16"), ("tif", 4, "8"), ("tif", 1, "float"), ("ppm", 3, "16")],
)
def test_what_pillow_writes_needs_no_libvips(no_pyvips, name, channels, depth):
    format, depth = format_of(name), Depth(depth)
    check(format, channels=channels, alpha=channels == 4, depth=depth, frames=1)
    pixels = batch(channels, depth)
    np.testing.assert_array_equal(read(encode(pixels, format, PLAIN)).pixels, pixels)


# What formats cannot carry

GREY_PROFILE = b"\0" * 16 + b"GRAY" + b"\0" * 108
LONG = oriented(1) + bytes(70000)


@pytest.mark.parametrize(
    ("name", "metadata", "channels", "frames", "depth", "wanted"),
    [
        ("jpg", {"exif": LONG}, 3, 1, "8",
         f"EXIF of {len(LONG)} bytes is left out: a JPEG holds at most 65527"),
        ("png", {"icc": samples.SRGB}, 1, 1, "8",
         "the RGB colour profile does not describe a grey picture and is left out"),
        ("tif", {"icc": GREY_PROFILE}, 3, 1, "8",
         "the grey colour profile does not describe an RGB picture and is left out"),
        ("webp", {"icc": GREY_PROFILE}, 1, 1, "8",  # WebP's grey is RGB
         "the grey colour profile does not describe an RGB picture and is left out"),
        ("bmp", {"icc": samples.SRGB}, 3, 1, "8",
         "BMP has no place for a colour profile, which is left out"),
        ("npy", {"exif": LONG}, 3, 1, "float", "NPY has no place for EXIF, which is left out"),
        ("tif", {"exif": LONG}, 3, 1, "16",
         "EXIF is left out: libvips does not write it into a TIFF"),
        ("gif", {}, 3, 1, "8", "a GIF frame holds at most 256 colours"),
        ("tif", {"durations": (40, 80)}, 3, 2, "8",
         "TIFF has no place for the timing of an animation, which is left out"),
        ("png", {"durations": (40, 80)}, 3, 1, "8",
         "the timing of the animation is left out, as each frame is a file by itself"),
    ],
)  # fmt: skip
def test_losses(name, metadata, channels, frames, depth, wanted):
    found = losses(
        format_of(name),
        Metadata("PNG", **metadata),
        channels=channels,
        frames=frames,
        depth=Depth(depth),
    )
    assert found == (wanted,)


def test_losses_add_up():
    metadata = Metadata("PNG", icc=samples.SRGB, exif=LONG)
    assert losses(format_of("gif"), metadata, channels=4, frames=1) == (
        "a GIF frame holds at most 256 colours",
        "a GIF holds alpha as all or nothing",
        "GIF has no place for a colour profile, which is left out",
        "GIF has no place for EXIF, which is left out",
    )


@pytest.mark.parametrize("name", ["png", "tif", "webp", "jpg"])
def test_nothing_is_lost_where_all_fits(name):
    metadata = Metadata("PNG", icc=samples.SRGB, exif=oriented(1), dpi=(72, 72))
    assert losses(format_of(name), metadata, channels=3, frames=1) == ()
    assert losses(format_of("gif"), PLAIN, channels=1, frames=1) == ()
