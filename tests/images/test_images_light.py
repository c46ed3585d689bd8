import struct

import numpy as np
import pytest
import samples

from convtool.errors import ImageError
from convtool.images import curves, light
from convtool.terms import Depth

DTYPES = {Depth.EIGHT: np.uint8, Depth.SIXTEEN: np.uint16}
INTEGERS = list(DTYPES)


def profile(**tags):
    """A colour profile of these tags and nothing else."""
    table, data = b"", b""
    start = 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += struct.pack(">4sII", name.encode(), start + len(data), len(content))
        data += content
    return bytes(128) + struct.pack(">I", len(tags)) + table + data


def curv(*numbers):
    return b"curv" + struct.pack(f">II{len(numbers)}H", 0, len(numbers), *numbers)


def para(kind, *numbers):
    fixed = [round(number * 65536) for number in numbers]
    return b"para" + struct.pack(f">IHH{len(numbers)}i", 0, kind, 0, *fixed)


def colour(tag):
    return profile(rTRC=tag, gTRC=tag, bTRC=tag)


def every_code(depth, channels=1):
    codes = np.arange(np.iinfo(DTYPES[depth]).max + 1, dtype=DTYPES[depth])
    return np.repeat(codes.reshape(1, 16, -1, 1), channels, axis=3)


def srgb(x):
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


SRGB_PARA = para(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
CURVES = {
    "none": (None, "sRGB curve", srgb),
    "lcms": (samples.SRGB, "sRGB curve", srgb),
    "para 3": (colour(SRGB_PARA), "sRGB curve", srgb),
    "identity": (colour(curv()), "linear (profile)", lambda x: x),
    "gamma 1": (colour(curv(256)), "linear (profile)", lambda x: x),
    "Adobe RGB": (colour(curv(563)), "gamma 2.2 (profile)", lambda x: x ** (563 / 256)),
    "gamma 1.8": (colour(curv(461)), "gamma 1.8 (profile)", lambda x: x ** (461 / 256)),
    "table": (
        colour(curv(*np.rint(np.linspace(0, 1, 256) ** 1.5 * 65535).astype(int))),
        "curve of the profile",
        lambda x: np.interp(x * 255, np.arange(256), np.linspace(0, 1, 256) ** 1.5),
    ),
    "para 0": (colour(para(0, 2.5)), "gamma 2.5 (profile)", lambda x: x**2.5),
    "para 1": (
        colour(para(1, 2, 1.25, -0.25)),
        "curve of the profile",
        lambda x: np.where(x >= 0.2, np.maximum(1.25 * x - 0.25, 0) ** 2, 0),
    ),
    "para 2": (
        colour(para(2, 2, 0.75, 0.125, 0.234375)),
        "curve of the profile",
        lambda x: (0.75 * x + 0.125) ** 2 + 0.234375,
    ),
    "para 2, flat": (
        colour(para(2, 2, 1, -0.25, 0.4375)),
        "curve of the profile",
        lambda x: np.maximum(x - 0.25, 0) ** 2 + 0.4375,
    ),
    "para 4": (
        colour(para(4, 2, 0.75, 0.125, 0.25, 0.5, 0.234375, 0.25)),
        "curve of the profile",
        lambda x: np.where(x >= 0.5, (0.75 * x + 0.125) ** 2 + 0.234375, 0.25 * x + 0.25),
    ),
}
FLAT = ("para 1", "para 2, flat")  # several codes of one light


@pytest.mark.parametrize("depth", INTEGERS)
@pytest.mark.parametrize("name", CURVES)
def test_light_is_that_of_the_curve(name, depth):
    icc, words, formula = CURVES[name]
    found = curves(icc, 3)
    assert found.name == words
    codes = every_code(depth, 3)
    wanted = formula(codes / np.iinfo(codes.dtype).max)
    result = found.to_linear(codes)
    assert result.dtype == np.float32
    assert result.min() >= 0
    assert result.max() == 1
    np.testing.assert_allclose(result, wanted, atol=2e-4 if name == "lcms" else 2e-5)


@pytest.mark.parametrize("depth", INTEGERS)
@pytest.mark.parametrize("name", [name for name in CURVES if name not in FLAT])
def test_every_code_comes_back(name, depth):
    found = curves(CURVES[name][0], 3)
    codes = every_code(depth, 3)
    again = found.from_linear(found.to_linear(codes), depth)
    np.testing.assert_array_equal(again, codes)
    assert again.dtype == codes.dtype


@pytest.mark.parametrize("depth", INTEGERS)
def test_the_nearest_code_on_the_encoded_scale(depth):
    last = np.iinfo(DTYPES[depth]).max
    limits = srgb((np.arange(1, last + 1) - 0.5) / last)
    near = limits.astype(np.float32)
    found = curves(None, 1)
    for values in (np.nextafter(near, np.float32(0)), near, np.nextafter(near, np.float32(2))):
        # A code is reached where the light is that of half a code below it, in float64.
        wanted = np.searchsorted(limits, values.astype(np.float64), side="right")
        result = found.from_linear(values.reshape(1, 1, -1, 1), depth)
        np.testing.assert_array_equal(result.ravel(), wanted)


@pytest.mark.parametrize("depth", INTEGERS)
def test_random_light_by_the_formula_of_the_way_back(depth):
    values = np.random.default_rng(4).random((2, 50, 40, 3), np.float32)
    x = values.astype(np.float64)
    encoded = np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)
    wanted = np.rint(encoded * np.iinfo(DTYPES[depth]).max)
    found = curves(None, 3).from_linear(values, depth).astype(int)
    # The two formulas of the standard meet but nearly, at its 7th digit.
    assert (found != wanted).mean() < 1e-3
    assert np.abs(found - wanted).max() <= 1


@pytest.mark.parametrize("depth", INTEGERS)
def test_ends_and_what_is_beyond_them(depth):
    values = np.array([-np.inf, -1, -1e-30, -0.0, 0, 1e-30, 1, 1.5, np.inf], np.float32)
    found = curves(None, 1).from_linear(values.reshape(1, 1, -1, 1), depth).ravel()
    last = np.iinfo(DTYPES[depth]).max
    assert found.tolist() == [0] * 6 + [last] * 3


def test_codes_of_one_light():
    found = curves(CURVES["para 1"][0], 1)
    codes = every_code(Depth.EIGHT)
    again = found.from_linear(found.to_linear(codes), Depth.EIGHT).ravel()
    # Black up to 0.2 comes back as the last of its codes, as what is next to it should.
    assert again.tolist() == [max(code, 51) for code in range(256)]


def test_float_pixels_are_light_already():
    pixels = np.array([[[[0.25], [7.0]]]], np.float32)
    found = curves(None, 1)
    assert found.to_linear(pixels) is pixels
    assert found.from_linear(pixels, Depth.FLOAT) is pixels


def test_alpha_is_in_proportion_already():
    found = curves(None, 3)
    pixels = every_code(Depth.EIGHT, 4)
    result = found.to_linear(pixels)
    np.testing.assert_array_equal(result[..., :3], found.to_linear(pixels[..., :3]))
    np.testing.assert_array_equal(result[..., 3], (pixels[..., 3] / 255).astype(np.float32))
    np.testing.assert_array_equal(found.from_linear(result, Depth.EIGHT), pixels)


def test_a_curve_for_each_channel():
    icc = profile(rTRC=curv(256), gTRC=curv(512), bTRC=curv(512))
    found = curves(icc, 3)
    assert found.name == "curves of the profile"
    codes = every_code(Depth.SIXTEEN, 3)
    result = found.to_linear(codes)
    x = codes[..., 0] / 65535
    np.testing.assert_allclose(result, np.stack([x, x**2, x**2], -1), atol=1e-6)
    np.testing.assert_array_equal(found.from_linear(result, Depth.SIXTEEN), codes)


def test_bands_views_and_a_place_for_the_result(monkeypatch):
    monkeypatch.setattr(light, "_BAND", 50)
    found = curves(None, 3)
    wide = np.random.default_rng(6).integers(0, 256, (2, 20, 9, 4), np.uint8)
    pixels = wide[..., :3]
    values = found.to_linear(pixels)
    np.testing.assert_allclose(values, srgb(pixels / 255), atol=1e-6)
    out = np.zeros_like(wide)
    result = found.from_linear(values, Depth.EIGHT, out=out[..., :3])
    assert np.shares_memory(result, out)
    np.testing.assert_array_equal(out[..., :3], pixels)
    assert not out[..., 3].any()


def test_a_curve_too_steep_for_cells():
    # Two levels: all limits but one are the same.
    found = curves(colour(curv(0, 0, 65535)), 1)
    values = np.linspace(0, 1, 64, dtype=np.float32).reshape(1, 8, 8, 1)
    codes = found.from_linear(values, Depth.EIGHT)
    assert (np.diff(codes.ravel().astype(int)) >= 0).all()
    np.testing.assert_allclose(found.to_linear(codes), values, atol=1 / 255)


def test_white_is_white_though_the_numbers_of_a_profile_were_rounded():
    nearly = colour(para(3, 2.4, 0.9479, 0.0522, 0.0774, 0.0405))
    assert curves(nearly, 3).to_linear(every_code(Depth.EIGHT, 3)).max() == 1


# Which curve


def test_grey_pictures():
    grey, green = curv(461), curv(563)
    assert curves(profile(kTRC=grey), 1).name == "gamma 1.8 (profile)"
    assert curves(profile(rTRC=grey, gTRC=green, bTRC=grey), 1).name == "gamma 2.2 (profile)"
    assert curves(profile(kTRC=grey), 3).name == "gamma 1.8 (profile)"
    assert curves(None, 1).name == "sRGB curve"


TABLES = b"mft2" + bytes(40)


def test_what_calls_itself_srgb_is_srgb():
    for words in (b"desc....sRGB IEC61966", b"mluc" + "sRGB".encode("utf-16-be")):
        assert curves(profile(desc=words, A2B0=TABLES), 3).name == "sRGB curve"


def test_a_profile_of_tables_is_refused():
    with pytest.raises(ImageError) as found:
        curves(profile(desc=b"a scanner", A2B0=TABLES), 3)
    assert found.value.message == (
        "linear light needs a colour profile with transfer curves, but this one has tables "
        "(A2B0) alone"
    )
    assert found.value.hint == "convert the picture to sRGB first, or leave out --linear"


@pytest.mark.parametrize(
    ("icc", "channels", "count"),
    [
        (b"", 3, 0),
        (bytes(200), 1, 0),
        (profile(rTRC=curv(461), bTRC=curv(461)), 3, 2),
        (profile(rTRC=curv(461), gTRC=curv(461), bTRC=curv(461))[:-4], 3, 2),
        (colour(b"what" + bytes(8)), 3, 0),
        (colour(b"curv" + struct.pack(">II", 0, 99) + bytes(8)), 3, 0),
        (colour(b"curv" + struct.pack(">II", 0, 2**32 - 1)), 3, 0),
        (colour(para(5, 1, 1, 1, 1, 1, 1, 1)), 3, 0),
        (colour(para(3, 2.4)), 3, 0),
        (colour(para(1, 2, 0, 0)), 3, 0),
        (colour(para(0, 0)), 3, 0),
        (colour(curv(0)), 3, 0),
        (colour(curv(65535, 0)), 3, 0),
        (colour(para(1, -2, 1, 0)), 3, 0),
    ],
    ids=[
        "empty", "no tags", "one missing", "cut off", "type", "short", "huge", "function",
        "parameters", "no slope", "power 0", "gamma 0", "falling", "negative power",
    ],
)  # fmt: skip
def test_a_profile_without_curves_is_refused(icc, channels, count):
    with pytest.raises(ImageError) as found:
        curves(icc, channels)
    assert found.value.message == (
        f"linear light needs a colour profile with {channels} transfer curves, but {count} can "
        f"be read in this one of {len(icc)} bytes"
    )
    assert "--linear" in found.value.hint


@pytest.mark.parametrize("seed", range(300))
def test_damaged_profiles_never_show_a_traceback(seed):
    rng = np.random.default_rng(seed)
    damaged = bytearray(CURVES["para 4"][0] if seed % 2 else samples.SRGB)
    for at in rng.integers(128, len(damaged), 4):
        damaged[at] = rng.integers(256)
    try:
        found = curves(bytes(damaged), 3)
    except ImageError:
        return
    codes = every_code(Depth.EIGHT, 3)
    values = found.to_linear(codes)
    assert np.isfinite(values).all()
    assert found.from_linear(values, Depth.EIGHT).shape == codes.shape


def test_half_of_the_light_is_code_188():
    found = curves(None, 1)
    values = found.to_linear(np.array([[[[0], [188], [255]]]], np.uint8))
    assert values.ravel() == pytest.approx([0, 0.5029, 1], abs=1e-4)
    assert found.from_linear(np.full((1, 1, 1, 1), 0.5, np.float32), Depth.EIGHT).item() == 188
