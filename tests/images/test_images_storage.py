import gc
import io

import numpy as np
import pytest
import samples
from PIL import Image
from samples import GREY, GREY16, RGB, RGBA

from convtool.images import Metadata, canvas, encode, format_of, guard, read, recycling, storage
from convtool.images.guard import settings
from convtool.images.storage import picture_of, view

PLAIN = Metadata("PNG")
WITH_PIXELS = {
    "L": GREY,
    "LA": RGBA[..., :2],
    "RGB": RGB,
    "RGBA": RGBA,
    "I;16": GREY16,
    "I": GREY16.astype(np.int32) - 30_000,
    "F": samples.FLOAT,
}
BETWEEN_PIXELS = {"L": 1, "LA": 4, "RGB": 4, "RGBA": 4, "I;16": 2, "I": 4, "F": 4}
LARGE = (2200, 2100, 3)  # more than 16 MB in Pillow's memory


def large():
    return np.random.default_rng(1).integers(0, 256, LARGE, np.uint8)


def with_channels(pixels):
    return pixels if pixels.ndim == 3 else pixels[..., None]


@pytest.mark.parametrize("mode", WITH_PIXELS)
def test_a_view_shows_the_pixels(mode):
    image = Image.fromarray(WITH_PIXELS[mode]).copy()
    assert image.mode == mode
    found = view(image)
    np.testing.assert_array_equal(found, with_channels(WITH_PIXELS[mode]))
    assert found.dtype == WITH_PIXELS[mode].dtype
    assert found.strides[:2] == (7 * BETWEEN_PIXELS[mode], BETWEEN_PIXELS[mode])


@pytest.mark.parametrize("mode", WITH_PIXELS)
def test_a_view_is_the_memory_itself(mode):
    image = Image.fromarray(WITH_PIXELS[mode]).copy()
    view(image)[2, 3] = 77
    np.testing.assert_array_equal(np.ravel(image.getpixel((3, 2))), 77)


def test_a_view_keeps_the_memory():
    found = view(Image.new("RGB", (700, 500), (1, 2, 3)))[100:, 100:]
    gc.collect()
    others = [Image.new("RGB", (700, 500), (9, 9, 9)) for _ in range(8)]
    assert (found == (1, 2, 3)).all()
    assert others


@pytest.mark.parametrize("mode", ["1", "P", "CMYK", "YCbCr", "LAB", "PA"])
def test_there_is_no_view_of_other_modes(mode):
    assert view(Image.new(mode, (4, 3))) is None


def test_there_is_no_view_of_several_blocks():
    assert view(Image.new("RGB", LARGE[1::-1])) is None
    with settings:
        assert view(Image.new("RGB", LARGE[1::-1])).shape == LARGE


def test_there_is_no_view_of_mapped_files(tmp_path):
    path = tmp_path / "x.bmp"
    Image.fromarray(GREY).save(path)
    with Image.open(path) as image:
        image.load()
        assert image.readonly
        assert view(image) is None


def test_there_is_no_view_of_rows_that_are_aligned(monkeypatch):
    monkeypatch.setattr(Image.core, "get_alignment", lambda: 16)
    assert view(Image.new("L", (7, 5))) is None
    np.testing.assert_array_equal(read(samples.FILES["png rgb"]).pixels[0], RGB)


def test_there_is_no_view_of_nothing():
    assert view(Image.new("RGB", (0, 5))) is None


# Reading


@pytest.mark.parametrize("turn", range(1, 9))
def test_what_is_read_is_a_view(turn):
    file = samples.picture(large(), "BMP") if turn == 1 else None
    if file is None:
        file = samples.picture(RGB, "PNG", exif=samples.oriented(turn))
    pixels = read(file).pixels
    assert pixels.strides[1:] == (4 * pixels.shape[2], 4, 1)


@pytest.mark.parametrize("name", ["png grey", "png 16-bit grey", "tiff float", "jpeg cmyk"])
def test_frames_in_several_blocks_are_read_all_the_same(name, monkeypatch):
    wanted = read(samples.FILES[name])
    monkeypatch.setattr(storage, "view", lambda _: None)
    found = read(samples.FILES[name])
    np.testing.assert_array_equal(found.pixels, wanted.pixels)
    assert found.pixels.dtype == wanted.pixels.dtype


def test_a_picture_larger_than_a_block_is_read_all_the_same(monkeypatch):
    monkeypatch.setattr(guard, "BLOCK", 1 << 20)
    pixels = large()
    found = read(samples.picture(pixels, "PPM")).pixels
    np.testing.assert_array_equal(found[0], pixels)


def test_pillow_is_left_as_it_was():
    before = Image.core.get_block_size()
    with settings, settings:
        assert Image.core.get_block_size() > before
    assert Image.core.get_block_size() == before


def test_memory_is_used_again():
    core = Image.core
    before = core.get_blocks_max(), core.get_block_size()
    file = samples.picture(large(), "BMP")
    with recycling(2):
        core.reset_stats()
        for _ in range(3):
            assert read(file).pixels.shape == (1, *LARGE)
        assert core.get_stats()["reused_blocks"] >= 2
        np.testing.assert_array_equal(read(file).pixels[0], large())
        assert (canvas(*LARGE) == 0).all()
    assert (core.get_blocks_max(), core.get_block_size()) == before


# Writing


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_canvas_is_black_and_can_be_written_to(channels):
    pixels = canvas(5, 7, channels)
    assert pixels.shape == (1, 5, 7, channels)
    assert pixels.dtype == np.uint8
    assert not pixels.any()
    pixels[...] = 9
    assert (np.asarray(picture_of(pixels[0])) == 9).all()


@pytest.mark.parametrize("shape", [(5, 7, 5), (5, 7, 0), (0, 7, 3), (5, 0, 3)])
def test_there_is_no_canvas_for_other_channels_or_for_nothing(shape):
    assert canvas(*shape) is None


CASES = [
    (name, channels)
    for name in ("png", "jpg", "tif", "webp", "bmp", "pnm", "gif", "npy")
    for channels in (1, 2, 3, 4)
    if channels in (1, 3) or name in ("png", "tif", "webp", "gif", "npy")
]


@pytest.mark.parametrize(("name", "channels"), CASES)
def test_a_canvas_makes_the_file_that_a_plain_array_makes(name, channels):
    plain = np.ascontiguousarray(RGBA[None, ..., 4 - channels :])
    pixels = canvas(5, 7, channels)
    pixels[...] = plain
    assert pixels.base is not None
    if channels == 3:
        pixels.base[..., 3] = 123  # between the pixels, and no one's business
    whole = encode(plain, format_of(name), PLAIN)
    assert encode(pixels, format_of(name), PLAIN) == whole
    assert encode(pixels, format_of(name), PLAIN) == whole  # nothing is left of the first time


@pytest.mark.parametrize("part", [np.s_[:, ::-1], np.s_[:, 1:], np.s_[:, :, :5], np.s_[..., :2]])
def test_a_part_of_a_canvas_is_written_as_that_part(part):
    pixels = canvas(5, 7, 3)
    pixels[...] = RGB
    wanted = np.ascontiguousarray(RGB[None][part])
    file = encode(pixels[part], format_of("png"), PLAIN)
    np.testing.assert_array_equal(read(file).pixels, wanted)


@pytest.mark.parametrize("name", ["png", "jpg", "tif"])
def test_a_canvas_is_written_without_a_copy(name, monkeypatch):
    pixels = canvas(5, 7, 3)

    def refuse(*_):
        raise AssertionError("the pixels were copied")

    monkeypatch.setattr(Image, "fromarray", refuse)
    assert encode(pixels, format_of(name), PLAIN)


def test_only_whole_pictures_are_found_again():
    pixels = canvas(5, 7, 3)[0]
    assert picture_of(pixels).mode == "RGB"
    for other in (pixels[1:], pixels[:, ::-1], pixels[..., :1], pixels.copy(), RGB):
        assert picture_of(other) is None


def test_a_picture_that_was_read_carries_nothing_into_the_file():
    comment = samples.picture(RGB, "JPEG", comment=b"a cat")
    pixels = read(comment).pixels
    assert picture_of(pixels[0]) is not None
    for name in ("jpg", "png", "tif"):
        plain = np.ascontiguousarray(pixels)
        file = encode(pixels, format_of(name), PLAIN)
        assert file == encode(plain, format_of(name), PLAIN)
        with Image.open(io.BytesIO(file)) as image:
            assert "comment" not in image.info
