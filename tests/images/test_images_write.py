import io
import os
import stat
import sys

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
    read,
    write_atomically,
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
        assert error.hint.startswith("pip install 'convtool[deep]'")
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
