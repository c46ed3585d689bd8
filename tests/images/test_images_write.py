import io
import os
import stat

import numpy as np
import pytest
import samples
from PIL import Image
from samples import oriented

from convtool.errors import ImageError
from convtool.images import FORMATS, Metadata, check, encode, format_of, read, write_atomically
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
    except ImageError:
        return False
    return True


CASES = [
    (format.name, channels, depth, frames)
    for format in FORMATS
    for channels in (1, 2, 3, 4)
    for depth in Depth
    for frames in (1, 3)
    if holds(format, channels, depth, frames)
]


def is_deep(name, channels, depth):
    return name in ("PNG", "TIFF") and channels > 1 and depth is not Depth.EIGHT


@pytest.mark.parametrize(("name", "channels", "depth", "frames"), CASES)
def test_what_is_written_is_read_back(name, channels, depth, frames):
    if is_deep(name, channels, depth):
        pytest.importorskip("pyvips", reason="16-bit colour is read by pyvips")
        if name == "PNG" and frames > 1:
            pytest.skip("nothing here reads a 16-bit colour animation")
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
    pyvips = pytest.importorskip("pyvips", reason="a second opinion on our own writer")
    pixels = batch(channels, depth, frames=2, height=300, width=401)  # several strips
    file = encode(pixels, format_of("tif"), PLAIN)
    for page in range(2):
        seen = pyvips.Image.tiffload_buffer(file, page=page).numpy()
        np.testing.assert_array_equal(seen.reshape(pixels[page].shape), pixels[page])


def test_sixteen_bit_animation_holds_its_frames():
    pixels = batch(1, Depth.SIXTEEN, frames=3)
    found = read(encode(pixels, format_of("png"), Metadata("GIF", durations=(10, 20, 30))))
    np.testing.assert_array_equal(found.pixels, pixels)
    assert found.metadata.durations == (10, 20, 30)
    assert found.metadata.loop == 1


@pytest.mark.parametrize("name", ["png", "gif", "tif"])
def test_equal_neighbours_stay_frames(name):
    pixels = np.repeat(batch(3, Depth.EIGHT), 4, axis=0)
    metadata = Metadata("GIF", durations=(40, 80, 120, 160), loop=0)
    found = read(encode(pixels, format_of(name), metadata))
    np.testing.assert_array_equal(found.pixels, pixels)
    if name != "tif":
        assert found.metadata.durations == metadata.durations


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


@pytest.mark.parametrize("name", ["png", "jpg", "tif", "webp"])
@pytest.mark.parametrize("depth", [Depth.EIGHT, Depth.SIXTEEN, Depth.FLOAT])
def test_profile_exif_and_resolution_are_carried(name, depth):
    format = format_of(name)
    if depth not in format.depths:
        pytest.skip(f"{name} does not hold it")
    if depth is not Depth.EIGHT:
        pytest.importorskip("pyvips", reason="16-bit colour is read by pyvips")
    exif = Image.Exif()
    exif[0x010E] = "a cat"
    exif.get_ifd(0x8769)[0x9003] = "2020:01:02 03:04:05"
    exif.get_ifd(0x8825)[1] = "N"
    block = exif.tobytes().removeprefix(b"Exif\0\0")
    metadata = Metadata("PNG", icc=samples.SRGB, exif=block, dpi=(300.0, 150.0))
    found = read(encode(batch(3, depth), format, metadata)).metadata
    assert found.icc == samples.SRGB
    again = Image.Exif()
    again.load(found.exif)
    assert again[0x010E] == "a cat"
    assert again.get_ifd(0x8769)[0x9003] == "2020:01:02 03:04:05"
    assert again.get_ifd(0x8825)[1] == "N"
    if name != "tif":
        assert found.exif == block
    if name != "webp":
        assert found.dpi == pytest.approx((300, 150), rel=1e-3)


def test_maker_notes_pass_through_byte_for_byte():
    block = oriented(1) + bytes(range(256))
    for name in ("png", "jpg", "webp"):
        found = read(encode(batch(3, Depth.EIGHT), format_of(name), Metadata("PNG", exif=block)))
        assert found.metadata.exif == block


def test_structural_tags_never_reach_a_tiff():
    block = samples.tiff(samples.GREY, 0, (274, 3, [6]))
    found = read(encode(batch(3, Depth.EIGHT), format_of("tif"), Metadata("JPEG", exif=block)))
    assert found.header.shape == (1, 5, 7, 3)


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


def test_jpeg_quality_and_full_colour():
    pixels = batch(3, Depth.EIGHT, height=64, width=64)
    sizes = [
        len(encode(pixels, format_of("jpg"), PLAIN, quality=quality)) for quality in (20, 92, 98)
    ]
    assert sizes == sorted(sizes)
    file = encode(pixels, format_of("jpg"), PLAIN)
    assert len(file) == sizes[1]
    with Image.open(io.BytesIO(file)) as image:
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3


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


# The disk


def test_written_whole_with_the_modes_of_the_umask(tmp_path):
    path = tmp_path / "a" / "b" / "x.png"
    old = os.umask(0o027)
    try:
        write_atomically(path, b"one")
    finally:
        os.umask(old)
    assert path.read_bytes() == b"one"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("trouble", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_nothing_is_left_behind(tmp_path, monkeypatch, trouble):
    path = tmp_path / "x.png"
    path.write_bytes(b"old")

    def fail(*_):
        raise trouble

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises((ImageError, KeyboardInterrupt)) as found:
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    if isinstance(trouble, OSError):
        assert found.value.message == f"{path} cannot be written: No space left on device"


def test_a_folder_or_a_file_in_the_way(tmp_path):
    (tmp_path / "x.png").mkdir()
    with pytest.raises(ImageError, match=r"x\.png cannot be written: Is a directory"):
        write_atomically(tmp_path / "x.png", b"")
    (tmp_path / "file").touch()
    with pytest.raises(ImageError, match="cannot be written: "):
        write_atomically(tmp_path / "file" / "x.png", b"")
    assert {p.name for p in tmp_path.iterdir()} == {"x.png", "file"}


def test_a_link_is_followed(tmp_path):
    (tmp_path / "there").mkdir()
    link = tmp_path / "x.png"
    link.symlink_to(tmp_path / "there" / "y.png")
    write_atomically(link, b"one")
    assert link.is_symlink()
    assert (tmp_path / "there" / "y.png").read_bytes() == b"one"


def test_a_device_is_not_replaced():
    from pathlib import Path

    write_atomically(Path(os.devnull), b"gone")
    assert not Path(os.devnull).is_file()
