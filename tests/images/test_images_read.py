import contextlib
import io
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import samples
from PIL import Image, ImageCms
from PIL.ExifTags import IFD
from samples import DEEP, FILES, GREY, GREY16, RGB, RGB16, RGBA, chunk, npy, oriented, picture

from convtool.errors import ImageError
from convtool.images import exif, opened, probe, read
from convtool.terms import Depth


def failure(source, **options):
    """The error that both probe and read give."""
    with pytest.raises(ImageError) as found:
        read(source, **options)
    return found.value


def needs_pyvips():
    pytest.importorskip("pyvips", reason="16-bit colour is read by pyvips, the extra `deep`")


@pytest.mark.parametrize("name", FILES)
def test_the_header_is_what_is_read(name):
    found = read(FILES[name])
    assert probe(FILES[name]) == found.header
    assert found.pixels.shape == found.header.shape
    assert found.header.format == found.metadata.format


@pytest.mark.parametrize("name", DEEP)
def test_the_deep_header_is_what_is_read(name):
    needs_pyvips()
    found = read(DEEP[name])
    assert probe(DEEP[name]) == found.header
    assert found.pixels.shape == found.header.shape


@pytest.mark.parametrize("name", FILES)
def test_a_path_reads_as_its_bytes_do(name, tmp_path):
    path = tmp_path / "no suffix that says anything"
    path.write_bytes(FILES[name])
    there, here = read(path), read(FILES[name])
    np.testing.assert_array_equal(there.pixels, here.pixels)
    # LittleCMS writes the time into the profiles that it makes.
    if not here.notes:
        assert there.metadata == here.metadata
    assert (there.header, there.notes) == (here.header, here.notes)


@pytest.mark.parametrize("name", ["png rgb", "jpeg rgb", "gif animation", "tiff rgb", "npy"])
def test_a_file_is_opened_once_for_header_and_pixels(name, tmp_path, monkeypatch):
    path = tmp_path / "x"
    path.write_bytes(FILES[name])
    really, times = Path.open, []

    def count(self, *arguments):
        times.append(self)
        return really(self, *arguments)

    monkeypatch.setattr(Path, "open", count)
    with opened(path) as found:
        header, picture = found.header, found.load()
    assert times == [path]
    assert picture.header == header == probe(FILES[name])
    np.testing.assert_array_equal(picture.pixels, read(FILES[name]).pixels)


def test_errors_of_an_opened_file_are_the_same():
    cut = FILES["jpeg rgb"][:-20]
    with opened(cut) as found:
        assert found.header == probe(FILES["jpeg rgb"])
        with pytest.raises(ImageError) as error:
            found.load()
    assert error.value.message == failure(cut).message
    with pytest.raises(ImageError, match="it is not an image"), opened(b"hello, world"):
        pass
    with pytest.raises(ImageError, match="at most 34 are read"), opened(npy(GREY), max_pixels=34):
        pass


def test_what_else_goes_wrong_while_a_file_is_open_passes_through():
    with pytest.raises(ZeroDivisionError), opened(FILES["png rgb"]):
        _ = 1 / 0


def test_pixels_outlive_the_file_that_they_came_from():
    with opened(FILES["png rgb"]) as found:
        picture = found.load()
    np.testing.assert_array_equal(picture.pixels[0], RGB)


def test_a_file_that_was_left_gives_no_pixels():
    with opened(FILES["npy"]) as found:
        pass
    with pytest.raises(ImageError, match="it cannot be decoded: I/O operation on closed file"):
        found.load()


EXACT = {
    "png grey": GREY,
    "png grey+alpha": RGBA[..., :2],
    "png rgb": RGB,
    "png rgba": RGBA,
    "png 1 bit": (GREY > 99) * 255,
    "png palette": np.eye(3)[GREY % 3] * 255,
    "png rgb, one colour clear": np.dstack([RGB, 255 * (RGB[1, 2] != RGB).any(-1)]),
    "png 16-bit grey": GREY16,
    "png 16-bit grey, one clear": np.dstack([GREY16, 65535 * (GREY16[1, 2] != GREY16)]),
    "tiff grey": GREY,
    "tiff rgb": RGB,
    "tiff rgba": RGBA,
    "tiff rgb and spare": RGBA[..., :3],
    "tiff 16-bit grey": GREY16,
    "tiff 16-bit grey, white is zero": 65535 - GREY16,
    "tiff signed 16-bit": GREY16.astype(np.int16),
    "tiff 32-bit": GREY16.astype(np.uint32) << 16,
    "tiff float": samples.FLOAT,
    "tiff turned": np.rot90(RGB),
    "webp rgb": RGB,
    "webp rgba": RGBA,
    "bmp grey": GREY,
    "bmp rgb": RGB,
    "pbm": (GREY > 99) * 255,
    "pgm": GREY,
    "ppm": RGB,
    "pgm 16-bit": GREY16,
    "ppm 16-bit": RGB16,
    "ppm 16-bit plain": RGB16,
    "pfm": samples.FLOAT,
    "tga": RGB,
    "npy": RGB,
    "npy fortran": RGB16,
}
EXACT_DEEP = {
    "png 16-bit rgb": RGB16,
    "png 16-bit rgb, one clear": np.dstack([RGB16, 65535 * (RGB16[1, 2] != RGB16).any(-1)]),
    "png 16-bit rgba": np.dstack([RGB16, GREY16]),
    "png 16-bit grey+alpha": RGB16[..., :2],
    "png 16-bit rgb, exif": np.rot90(RGB16, -1),
    "tiff 16-bit rgb": RGB16,
    "tiff 16-bit rgba": np.dstack([RGB16, GREY16]),
    "tiff 16-bit grey+alpha": RGB16[..., :2],
    "tiff 16-bit rgb turned": RGB16.swapaxes(0, 1),
    "tiff 16-bit rgb and spare": RGB16,
    "tiff float rgb": RGB16,
}


@pytest.mark.parametrize("name", EXACT)
def test_pixels_are_exact(name):
    wanted = EXACT[name] if EXACT[name].ndim == 3 else EXACT[name][..., None]
    np.testing.assert_array_equal(read(FILES[name]).pixels[0], wanted)


@pytest.mark.parametrize("name", EXACT_DEEP)
def test_deep_pixels_are_exact(name):
    needs_pyvips()
    np.testing.assert_array_equal(read(DEEP[name]).pixels[0], EXACT_DEEP[name])


@pytest.mark.parametrize(
    ("name", "depth", "dtype"),
    [
        ("png grey", Depth.EIGHT, np.uint8),
        ("png 16-bit grey", Depth.SIXTEEN, np.uint16),
        ("pgm 16-bit", Depth.SIXTEEN, np.uint16),
        ("tiff float", Depth.FLOAT, np.float32),
        ("tiff 32-bit", Depth.FLOAT, np.float32),
        ("npy", Depth.EIGHT, np.uint8),
        ("npy float", Depth.FLOAT, np.float64),
        ("npy fortran", Depth.SIXTEEN, np.uint16),
    ],
)
def test_depth(name, depth, dtype):
    found = read(FILES[name])
    assert found.header.depth is depth
    assert found.pixels.dtype == dtype


def test_palette_transparency():
    hard = read(FILES["png palette, one colour clear"]).pixels[0]
    np.testing.assert_array_equal(hard[..., 3], np.where(GREY % 3 == 1, 0, 255))
    soft = read(FILES["png palette, soft"]).pixels[0]
    np.testing.assert_array_equal(soft[..., 3], np.array([16, 128, 255])[GREY % 3])


def test_transparent_grey_of_few_bits_is_compared_in_the_scale_of_the_file():
    # 4 grey pixels of 2 bits, 0 1 2 3, of which 2 is clear.
    file = samples.png(
        np.array([[0b00011011]], np.uint8),
        chunk(b"tRNS", struct.pack(">H", 2)),
        bits=2,
        colour_type=0,
        width=4,
    )
    np.testing.assert_array_equal(
        read(file).pixels[0, 0], [[0, 255], [85, 255], [170, 0], [255, 255]]
    )


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_orientation(turn, kind):
    # A bright corner tells the eight apart; JPEG keeps it well enough.
    image = np.full((16, 24, 3), 40, np.uint8)
    image[:8, :8] = 220
    stored = {
        1: image, 2: image[:, ::-1], 3: image[::-1, ::-1], 4: image[::-1],
        5: image.swapaxes(0, 1), 6: np.rot90(image, 1), 7: np.rot90(image, 2).swapaxes(0, 1),
        8: np.rot90(image, -1),
    }[turn]  # fmt: skip
    block = oriented(turn, "<" if turn % 2 else ">")
    prefix = b"Exif\0\0" if kind == "JPEG" else b""
    file = picture(np.ascontiguousarray(stored), kind, exif=prefix + block)
    found = read(file)
    assert probe(file).shape == (1, 16, 24, 3)
    assert np.abs(found.pixels[0].astype(int) - image).max() < 12
    # All bytes as they were, but for the orientation.
    assert found.metadata.exif == oriented(1, "<" if turn % 2 else ">")


def test_orientation_that_stands_behind_the_pixels():
    whole = samples.png(RGB)
    late = whole[:-12] + chunk(b"eXIf", oriented(3)) + whole[-12:]
    np.testing.assert_array_equal(read(late).pixels[0], RGB[::-1, ::-1])
    assert probe(late) == read(late).header


@pytest.mark.parametrize("block", [b"", b"nonsense", b"II*\0\xff\xff\xff\xff", oriented(9)])
def test_useless_exif_is_carried_but_turns_nothing(block):
    found = read(samples.png(RGB, chunk(b"eXIf", block)))
    np.testing.assert_array_equal(found.pixels[0], RGB)
    assert found.metadata.exif == (block or None)


def test_profile_resolution_and_exif_are_carried():
    for kind in ("PNG", "JPEG", "TIFF", "WEBP"):
        exif = Image.Exif()
        exif[0x010E] = "a cat"
        exif.get_ifd(0x8769)[0x9003] = "2020:01:02 03:04:05"
        exif[0x8769] = 0  # else Pillow's TIFF writer leaves the block out
        found = read(picture(RGB, kind, icc_profile=samples.SRGB, dpi=(300, 150), exif=exif))
        assert found.metadata.icc == samples.SRGB, kind
        if kind != "WEBP":  # which has no place for it
            assert found.metadata.dpi == pytest.approx((300, 150), rel=1e-3), kind
        again = Image.Exif()
        again.load(found.metadata.exif)
        assert again[0x010E] == "a cat"
        assert again.get_ifd(0x8769)[0x9003] == "2020:01:02 03:04:05"


def test_of_a_tiff_only_descriptive_tags_travel():
    exif = Image.Exif()
    exif[0x010E] = "a cat"
    exif[0x8298] = "somebody"
    found = read(picture(RGB, "TIFF", exif=exif, compression="tiff_lzw"))
    kept = Image.Exif()
    kept.load(found.metadata.exif)
    assert dict(kept) == {0x010E: "a cat", 0x8298: "somebody"}


def test_a_tiff_without_resolution_has_none():
    assert read(FILES["tiff grey"]).metadata.dpi is None


@pytest.mark.parametrize("name", ["apng", "apng rgba", "gif animation", "webp animation"])
def test_animations(name):
    found = read(FILES[name])
    np.testing.assert_array_equal(found.pixels[:, 0, 0, :3], np.eye(3) * 255)
    assert found.metadata.durations == (40, 80, 120)
    assert found.metadata.loop == 3


def test_an_apng_picture_outside_the_animation_is_left_out():
    found = read(FILES["apng with another default picture"])
    np.testing.assert_array_equal(found.pixels[:, 0, 0], np.eye(3)[1:] * 255)
    outside, frame = (Image.new("RGB", (4, 3), colour) for colour in ("red", "lime"))
    alone = samples.saved(
        outside, "PNG", save_all=True, append_images=[frame], default_image=True, duration=[40]
    )
    np.testing.assert_array_equal(read(alone).pixels[:, 0, 0], [[0, 255, 0]])


def test_tiff_pages():
    found = read(FILES["tiff pages"])
    np.testing.assert_array_equal(found.pixels[..., 0], [GREY, 255 - GREY])
    assert found.metadata.durations == ()


def test_tiff_thumbnails_are_no_pages():
    page = Image.fromarray(RGB)
    small = Image.fromarray(RGB[::2, ::2])
    small.encoderinfo = {"tiffinfo": {254: 1}}
    file = samples.saved(page, "TIFF", save_all=True, append_images=[small])
    with Image.open(io.BytesIO(file)) as check:
        assert check.n_frames == 2
    np.testing.assert_array_equal(read(file).pixels, [RGB])


def test_gif_transparency_is_alpha_in_every_frame():
    frames = [Image.fromarray(np.roll(RGBA, n, axis=1)) for n in range(3)]
    found = read(
        samples.saved(frames[0], "GIF", save_all=True, append_images=frames[1:], disposal=2)
    )
    assert found.header.alpha
    for n in range(3):
        assert (found.pixels[n, ..., 3] == 0)[np.roll(RGBA, n, axis=1)[..., 3] == 0].all()


def test_cmyk_without_a_profile():
    found = read(FILES["tiff cmyk"])
    np.testing.assert_array_equal(found.pixels[0], RGB)
    assert found.notes == (
        "CMYK was converted to RGB by the plain formula, as it has no ICC profile",
    )
    assert found.metadata.icc is None


def test_cmyk_through_its_profile(monkeypatch):
    # No CMYK profile is at hand to be shipped; the transform itself is LittleCMS's business.
    def transform(image, source, target, **options):
        assert options["outputMode"] == "RGB"
        return Image.new("RGB", image.size, (1, 2, 3))

    monkeypatch.setattr(ImageCms, "profileToProfile", transform)
    monkeypatch.setattr(ImageCms.ImageCmsProfile, "__init__", lambda *_: None)
    monkeypatch.setattr(ImageCms.ImageCmsProfile, "tobytes", lambda _: b"the sRGB profile")
    profile = b"\0" * 16 + b"CMYK" + b"\0" * 108
    file = samples.saved(Image.fromarray(RGB).convert("CMYK"), "JPEG", icc_profile=profile)
    found = read(file)
    assert found.pixels[0, 0, 0].tolist() == [1, 2, 3]
    assert found.notes == ("CMYK was converted to RGB through its ICC profile",)
    assert found.metadata.icc == b"the sRGB profile"


def test_cmyk_of_a_real_press():
    pyvips = pytest.importorskip("pyvips", reason="libvips brings a CMYK profile")
    patches = np.zeros((16, 32, 3), np.uint8)
    patches[:, :16], patches[:, 16:] = (200, 90, 60), (90, 120, 160)
    press = pyvips.Image.new_from_array(patches, interpretation="srgb").icc_export(
        output_profile="cmyk", intent="relative"
    )
    for file in (press.jpegsave_buffer(Q=98), press.tiffsave_buffer()):
        found = read(file)
        assert np.abs(found.pixels[0].astype(int) - patches)[:, [4, 28]].max() < 16
        assert found.notes == ("CMYK was converted to RGB through its ICC profile",)
        assert found.metadata.icc[16:20] == b"RGB "


def test_lab_becomes_srgb():
    found = read(FILES["tiff lab"])
    assert np.ptp(found.pixels, axis=-1).max() <= 2  # a = b = 0 is grey
    assert found.metadata.icc[16:20] == b"RGB "
    assert found.notes == ("LAB was converted to RGB",)


def test_premultiplied_colour_is_set_free():
    found = read(FILES["tiff premultiplied"]).pixels[0]
    strong = RGBA[..., 3] > 200
    wanted = np.minimum(RGBA[..., :3].astype(float) * 255 / RGBA[..., 3:].clip(1), 255)
    assert np.abs(found[..., :3] - wanted)[strong].max() <= 1


def test_deep_premultiplied_colour_is_set_free():
    needs_pyvips()
    found = read(DEEP["tiff 16-bit premultiplied"]).pixels[0]
    alpha = GREY16[..., None].astype(float)
    wanted = np.minimum(np.rint(RGB16 * 65535.0 / alpha), 65535)
    assert np.abs(found[..., :3] - wanted).max() <= 1


@pytest.mark.parametrize("name", DEEP)
def test_without_pyvips_nothing_is_degraded(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyvips", None)
    error = failure(DEEP[name])
    assert "is read by pyvips, which is not installed" in error.message
    assert error.hint == "pip install 'pyvips[binary]'"
    assert probe(DEEP[name]).shape[0] == 1  # the header needs no help


def test_notes_on_integers():
    assert read(FILES["tiff signed 16-bit"]).notes == (
        "integers of more than 8 bits were read as float32",
    )
    assert read(FILES["tiff 32-bit"]).notes == (
        "32-bit integers were read as float32, those above 2^24 rounded",
    )


def test_spare_samples_are_spoken_of():
    notes = ("1 of 4 samples a pixel, no colour or alpha, were dropped",)
    assert read(FILES["tiff rgb and spare"]).notes == notes
    needs_pyvips()
    assert read(DEEP["tiff 16-bit rgb and spare"]).notes == notes


def test_only_the_first_picture_of_an_mpo_is_read():
    first, second = Image.fromarray(RGB), Image.fromarray(RGB[:3])
    file = samples.saved(first, "MPO", save_all=True, append_images=[second])
    found = read(file)
    assert found.header.shape == (1, 5, 7, 3)
    assert found.header.format == "JPEG"
    assert found.notes == ("only the first of the 2 pictures in the file was read",)


# What cannot be read


def test_missing_file(tmp_path):
    assert failure(tmp_path / "x.png").message == "there is no such file"


def test_folder(tmp_path):
    error = failure(tmp_path)
    assert error.message == "it is a folder, not an image"
    assert "--recursive" in error.hint


def test_permission(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert failure(tmp_path / "x.png").message == "it may not be read: permission denied"


def test_other_trouble_at_opening(tmp_path):
    assert "it cannot be opened: File name too long" in failure(tmp_path / ("x" * 300)).message


def test_empty_file(tmp_path):
    path = tmp_path / "x.png"
    path.touch()
    assert failure(path).message == "the file is empty, 0 bytes"


def test_text_named_png(tmp_path):
    path = tmp_path / "x.png"
    path.write_text("hello, world")
    error = failure(path)
    assert error.message == "it is not an image of a known kind: it begins with b'hello, world'"
    assert str(path) in error.hint
    assert "GIF and .npy are read" in error.hint
    assert "the name standard input" in failure(b"hello").hint


@pytest.mark.parametrize("name", ["png rgb", "jpeg rgb", "apng"])
def test_no_partial_pixels(name):
    """Wherever the file is cut: an error, or (the last bytes of a JPEG) all the pixels."""
    whole = FILES[name]
    wanted = read(whole).pixels
    for cut in range(1, len(whole)):
        try:
            found = read(whole[:cut])
        except ImageError:
            continue
        assert name == "jpeg rgb"
        np.testing.assert_array_equal(found.pixels, wanted)


def test_truncated_messages():
    png = FILES["png rgb"]
    error = failure(png[:-20])
    assert error.message == (
        f"the file is truncated: it ends after {len(png) - 20} bytes, "
        "before its closing chunk (IEND)"
    )
    assert error.hint == "get a whole copy of it"
    assert "image file is truncated" in failure(FILES["jpeg rgb"][:-20]).message
    assert "truncated" in failure(FILES["ppm 16-bit"][:-1]).message
    damaged = FILES["tiff turned"].replace(struct.pack("<HH", 257, 4), struct.pack("<HH", 255, 4))
    assert "a page does not say its width and height" in failure(damaged).message
    assert "no page of the TIFF" in failure(b"II*\0\0\0\0\0").message


@pytest.mark.parametrize("name", [*FILES, *DEEP])
def test_damage_never_shows_a_traceback(name):
    whole = (FILES | DEEP)[name]
    for seed in range(12):
        rng = np.random.default_rng(seed)
        damaged = bytearray(whole[: len(whole) if seed % 2 else int(rng.integers(1, len(whole)))])
        for at in rng.integers(0, len(damaged), 6):
            damaged[at] = rng.integers(256)
        with contextlib.suppress(ImageError):
            read(bytes(damaged), max_pixels=1_000_000)


def huge(kind):
    if kind == "png":
        head = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
        return samples.PNG_MAGIC + chunk(b"IHDR", head) + samples.png(RGB)[33:]
    if kind == "webp":
        head = b"WEBPVP8X\x0a\0\0\0\x10\0\0\0" + (16382).to_bytes(3, "little") * 2
        return b"RIFF" + struct.pack("<I", len(head)) + head + bytes(20)
    if kind == "npy":
        return npy(GREY.astype(bool)).replace(b"(5, 7), }        ", b"(60000, 60000), }")
    return samples.tiff(GREY, 1, (256, 4, [60000]), (257, 4, [60000]))


@pytest.mark.parametrize("look", [probe, read])
@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_a_header_that_claims_too_much(kind, look):
    with pytest.raises(ImageError) as found:
        look(huge(kind))
    assert found.value.message == (
        "the header claims 60000x60000 pixels, 3600000000 in all, but at most 500000000 are read"
    )
    assert "--max-pixels 3600000000" in found.value.hint


def test_a_webp_canvas_is_checked_before_its_decoder_takes_the_memory():
    error = failure(huge("webp"), max_pixels=1000)
    assert "claims 16383x16383 pixels" in error.message
    for name in ("webp rgb", "webp rgba", "webp animation"):
        assert "at most 1 are read" in failure(FILES[name], max_pixels=1).message


def test_an_array_that_claims_too_much_is_refused_for_what_it_lacks():
    assert "claims 3600000000 bytes" in failure(huge("npy")).message
    assert "at most 34 are read" in failure(npy(GREY), max_pixels=34).message


def test_the_limit_counts_all_frames():
    assert read(FILES["gif animation"], max_pixels=36).header.shape == (3, 3, 4, 3)
    assert (
        "3 frames of 4x3 pixels, 36 in all"
        in failure(FILES["gif animation"], max_pixels=35).message
    )


def test_pillows_own_limit_is_left_as_it_was():
    before = Image.MAX_IMAGE_PIXELS
    read(FILES["png rgb"])
    failure(b"hello")
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([[{}]], object), "pickled Python objects, which are never loaded"),
        (np.ones((2, 2), complex), "must hold real numbers, but it holds complex numbers"),
        (np.array([["a"]]), "must hold real numbers, but it holds values of type <U1"),
        (np.ones(3), "4 (NHWC), but it has 1: 3"),
        (np.float64(3), "4 (NHWC), but it has 0: a single number"),
        (np.ones((1, 2, 3, 4, 5)), "4 (NHWC), but it has 5: 1x2x3x4x5"),
    ],
)
def test_arrays_that_are_no_images(array, message):
    assert message in failure(npy(array)).message


def test_an_array_shorter_than_its_header_claims():
    error = failure(npy(RGB)[:-5])
    assert "claims 105 bytes of values (5x7x3 uint8), but 100 are there" in error.message


def test_a_damaged_array_header():
    damaged = npy(RGB).replace(b"(5, 7, 3)", b"(-5, 7,3)")
    assert "it claims the shape (-5, 7, 3)" in failure(damaged).message
    version = bytearray(npy(RGB))
    version[6] = 3
    assert "but this is 3.0" in failure(bytes(version)).message
    assert failure(b"\x93NUMPY").message.startswith("it cannot be decoded: ")


@pytest.mark.parametrize("dtype", [bool, np.int8, np.int64, ">u2", np.float16, ">f8"])
def test_arrays_keep_their_type(dtype):
    array = GREY16.astype(dtype)
    found = read(npy(array)).pixels
    np.testing.assert_array_equal(found[0, ..., 0], array)
    assert found.dtype == np.dtype(dtype).newbyteorder("=")


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [((2, 3), (1, 2, 3, 1)), ((2, 3, 4), (1, 2, 3, 4)), ((5, 2, 3, 4), (5, 2, 3, 4))],
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_axes_of_arrays(shape, wanted, order):
    array = np.arange(np.prod(shape)).reshape(shape)
    found = read(npy(np.asarray(array, order=order)))
    np.testing.assert_array_equal(found.pixels, array.reshape(wanted))
    assert found.header.alpha is False


def test_an_empty_batch_of_arrays():
    assert read(npy(np.zeros((0, 4, 4, 3)))).header.shape == (0, 4, 4, 3)


def test_pages_of_different_sizes():
    file = samples._pages(Image.fromarray(RGB), Image.fromarray(RGB[:4]))
    assert failure(file).message == (
        "the frames of a file must be of one size, but frame 0 is 5x7 and frame 1 4x7 "
        "(height x width)"
    )


def test_pages_of_different_kinds():
    file = samples._pages(Image.fromarray(RGB), Image.fromarray(GREY))
    assert failure(file).message == (
        "the pages must be of one kind, but page 0 has 3 samples of 8 bits and page 1 "
        "1 samples of 8 bits"
    )


def test_kinds_of_tiff_that_nobody_reads():
    assert (
        "up to 32 bits a sample can be read, but this has 1 samples of 64 bits"
        in failure(samples.tiff(samples.FLOAT.astype(np.float64), 1)).message
    )
    assert "must be grey, RGB or CMYK to be read" in failure(samples.tiff(RGB16, 8)).message


def test_sixteen_bit_colour_animations_are_refused():
    control = struct.pack(">IIIIHHBB", 7, 5, 0, 0, 1, 10, 0, 0)
    first = chunk(b"acTL", struct.pack(">II", 2, 0)), chunk(b"fcTL", bytes(4) + control)
    file = samples.png(RGB16, *first)
    at = file.index(b"IDAT") + 4
    again = struct.pack(">I", 2) + file[at:-16]
    second = chunk(b"fcTL", struct.pack(">I", 1) + control) + chunk(b"fdAT", again)
    file = file[:-12] + second + file[-12:]
    assert "a 16-bit colour animation of 2 frames" in failure(file).message


@pytest.mark.parametrize("greatest", [256, 1000, 4095, 65535])
@pytest.mark.parametrize("plain", [False, True])
def test_the_white_of_a_deep_pixmap_becomes_65535(greatest, plain):
    values = np.minimum(RGB16, greatest)
    values[0, :2] = (greatest, 0, greatest // 2), (1, 2, 3)
    head = f"P{3 if plain else 6}\n# by hand\n7 5\n{greatest}\n".encode()
    words = " ".join(map(str, values.ravel())).encode()
    found = read(head + (words if plain else values.astype(">u2").tobytes()))
    np.testing.assert_array_equal(found.pixels[0], np.rint(values * (65535.0 / greatest)))
    assert found.pixels[0, 0, 0].tolist()[:2] == [65535, 0]
    assert found.header.depth is Depth.SIXTEEN


@pytest.mark.parametrize("name", ["ppm 16-bit", "ppm 16-bit plain"])
def test_a_deep_pixmap_cut_off(name):
    assert failure(FILES[name][:-9]).message.startswith("it cannot be decoded: ")


def test_other_formats_that_pillow_cuts_down_are_refused():
    sgi = bytearray(struct.pack(">hBBHHHH", 474, 0, 2, 3, 7, 5, 3).ljust(512, b"\0"))
    sgi += RGB16.astype(">u2").transpose(2, 0, 1)[:, ::-1].tobytes()
    assert "a SGI of 16 bits a channel would be cut down" in failure(bytes(sgi)).message
    if Image.registered_extensions().get(".jp2"):
        file = bytearray(picture(RGB, "JPEG2000"))
        at = file.find(b"\xff\x4f\xff\x51") + 42
        file[at] = file[at + 3] = file[at + 6] = 15
        assert "a JPEG2000 of 16 bits a channel" in failure(bytes(file)).message


def test_ten_bit_avif_is_refused():
    pyvips = pytest.importorskip("pyvips", reason="pyvips writes the 10-bit file")
    try:
        file = pyvips.Image.new_from_array(RGB16).heifsave_buffer(compression="av1", bitdepth=10)
    except pyvips.Error:
        pytest.skip("this libvips has no AV1")
    assert "a AVIF of 10 bits a channel would be cut" in failure(file).message


def test_a_header_cut_off_is_not_called_unknown():
    for name, kind in (("gif rgb", "GIF"), ("webp rgb", "WebP")):
        error = failure(FILES[name][:12])
        assert error.message == f"it begins as a {kind} file, but its header is damaged or cut off"
        assert error.hint == "get a whole copy of it"


def test_postscript_is_not_run():
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"
    assert failure(eps).message == "PostScript is a program, not a picture"


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_preview_in_exif_is_not_carried(order):
    """It would show what the picture was before it was filtered."""
    preview = b"\xff\xd8 a preview \xff\xd9"
    mark = b"II*\0" if order == "<" else b"MM\0*"
    first = struct.pack(order + "HHHII", 1, 0x0112, 3, 1, 6 << (0 if order == "<" else 16))
    second_at = 8 + len(first) + 4
    entries = ((0x0201, second_at + 2 + 24 + 4), (0x0202, len(preview)))
    second = struct.pack(order + "H", 2)
    second += b"".join(struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in entries)
    block = mark + struct.pack(order + "I", 8) + first + struct.pack(order + "I", second_at)
    block += second + bytes(4) + preview
    found = Image.Exif()
    found.load(b"Exif\0\0" + block)
    assert found.get_ifd(IFD.IFD1)[0x0202] == len(preview)
    clean = exif.without_thumbnail(block)
    assert len(clean) == len(block)
    assert b"preview" not in clean
    assert exif.orientation(clean) == 6
    found.load(b"Exif\0\0" + clean)
    assert not found.get_ifd(IFD.IFD1)
    for cut in range(len(block)):
        exif.without_thumbnail(block[:cut])  # damaged, but no error
    assert exif.without_thumbnail(None) is None
    assert exif.without_thumbnail(clean) == clean
