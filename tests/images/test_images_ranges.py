import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from convtool.errors import UsageError
from convtool.images import (
    full_scale,
    premultiply,
    ranges,
    sample,
    summary,
    to_pixels,
    unpremultiply,
)
from convtool.terms import Depth, RangeMode

LIMITING = [mode for mode in RangeMode if mode is not RangeMode.RAW]


def pixels(values, mode, depth=Depth.EIGHT, full_in=255.0):
    array = np.array(values, np.float32).reshape(1, 1, -1, 1)
    result, clipped = to_pixels(array, RangeMode(mode), depth, full_in, full_scale(depth))
    return result.ravel().tolist(), clipped.share


@pytest.mark.parametrize(
    ("mode", "values", "wanted", "clipped"),
    [
        ("clip", [-3, 0, 0.5, 1.5, 2.5, 255, 255.4, 300], [0, 0, 0, 2, 2, 255, 255, 255], 2 / 8),
        ("abs", [-3, 3, -300], [3, 3, 255], 1 / 3),
        ("signed", [-255, 0, 255, 300, -10], [0, 128, 255, 255, 122], 1 / 5),
        ("stretch", [-2, 0, 2, 6], [0, 64, 128, 255], 0),
        ("stretch", [7, 7], [0, 0], 0),
    ],
)
def test_rules(mode, values, wanted, clipped):
    assert pixels(values, mode) == (wanted, clipped)


@pytest.mark.parametrize("mode", LIMITING)
def test_what_is_not_finite(mode):
    found, clipped = pixels([np.nan, np.inf, -np.inf, 0, 255], mode)
    assert found[:3] == [0, 255, 255 if mode is RangeMode.ABS else 0]
    assert clipped == pytest.approx(3 / 5)
    assert pixels([np.nan, np.inf], mode)[0][0] == 0


@pytest.mark.parametrize("value", range(0, 65536, 257))
def test_a_change_of_depth_is_exact(value):
    assert pixels([value], "clip", Depth.EIGHT, 65535.0)[0] == [value // 257]
    assert pixels([value // 257], "clip", Depth.SIXTEEN, 255.0)[0] == [value]


def test_float_pixels():
    assert pixels([-1, 127.5, 300], "clip", Depth.FLOAT) == ([0, 0.5, 1], 2 / 3)


def test_raw_is_the_argument_itself():
    array = np.array([[[[np.nan], [-7.25]]]], np.float32)
    found, clipped = to_pixels(array, RangeMode.RAW, Depth.FLOAT, 255.0, 1.0)
    assert found is array
    assert clipped.share == 0


@pytest.mark.parametrize(("depth", "white"), [(Depth.EIGHT, 255), (Depth.SIXTEEN, 65535)])
def test_raw_into_integers(depth, white):
    with pytest.raises(UsageError) as found:
        pixels([0], "raw", depth)
    assert found.value.message == (
        f"--range raw leaves values as they are, but {depth}-bit pixels hold only whole numbers "
        f"from 0 to {white}"
    )
    assert "--range clip" in found.value.hint


def test_an_empty_batch():
    empty = np.zeros((0, 4, 4, 3), np.float32)
    for mode in LIMITING:
        found, clipped = to_pixels(empty, mode, Depth.EIGHT, 255.0, 255.0)
        assert (found.shape, found.dtype, clipped.share) == (empty.shape, np.uint8, 0)


def formula(values, mode, depth, full_in, full_out):
    """The rules again, plainly, in float64."""
    v = values.astype(np.float64)
    finite = v[np.isfinite(v)]
    if mode is RangeMode.ABS:
        v = np.abs(v)
    elif mode is RangeMode.SIGNED:
        v = full_in / 2 + v / 2
    elif mode is RangeMode.STRETCH:
        low, high = (finite.min(), finite.max()) if finite.size else (0, 0)
        infinite = ~np.isfinite(v)
        with np.errstate(invalid="ignore", divide="ignore"):
            v = (v - low) / (high - low) * full_in if high > low else v * 0.0
        limited = np.clip(np.where(np.isnan(v), 0, v), 0, full_in)
        return limited * full_out / full_in, infinite.mean()
    scaled = v * (full_out / full_in)
    # What rounding brings onto the limit, or falls short of it by one in a million, is not cut.
    slack = 0.5 if depth is not Depth.FLOAT else full_out * 1e-6
    changed = np.isnan(v) | (scaled < -slack) | (scaled > full_out + slack)
    return np.clip(np.where(np.isnan(v), 0, scaled), 0, full_out), changed.mean()


@given(
    values=hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=4, max_dims=4, max_side=4),
        elements=st.one_of(
            st.floats(width=32), st.floats(-600, 600, width=32), st.integers(-600, 600)
        ),
    ),
    mode=st.sampled_from(LIMITING),
    depth=st.sampled_from(Depth),
    full_in=st.sampled_from([255.0, 65535.0, 1.0]),
)
def test_ranges_are_the_plain_formula(values, mode, depth, full_in):
    before = values.copy()
    full_out = full_scale(depth)
    found, clipped = to_pixels(values, mode, depth, full_in, full_out)
    wanted, share = formula(values, mode, depth, full_in, full_out)
    np.testing.assert_array_equal(values, before)
    if depth is Depth.FLOAT:
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)
    else:
        # float32 may fall on the other side of a tie, never further.
        assert np.abs(found - wanted).max() <= 0.5 + 1e-6 * full_out
    if mode is not RangeMode.SIGNED:  # where float32 may round onto the limit
        assert clipped.share == pytest.approx(share)


def test_rounding_is_not_clipping_and_ties_go_to_even():
    assert pixels([255.49, -0.5, 255.00002], "clip")[1] == 0
    assert pixels([255.5, -0.51, 0], "clip")[1] == 2 / 3
    found = to_pixels(np.array([[[[-1, 300, np.nan, 5]]]], "f"), "clip", Depth.EIGHT, 255, 255)
    assert found[1] == (0.25, 0.25, 0.25)


def test_bands_do_not_show(monkeypatch):
    values = np.random.default_rng(3).normal(0, 300, (2, 9, 7, 3)).astype(np.float32)
    whole = [to_pixels(values, mode, Depth.EIGHT, 255.0, 255.0) for mode in LIMITING]
    least = summary(values)
    monkeypatch.setattr(ranges, "_BAND", 10)
    assert summary(values) == least
    for mode, (wanted, share) in zip(LIMITING, whole, strict=True):
        found, clipped = to_pixels(values, mode, Depth.EIGHT, 255.0, 255.0)
        np.testing.assert_array_equal(found, wanted)
        assert clipped == share


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([1, -2, 3], (-2, 3, 0)),
        ([np.nan, 1, np.inf, -np.inf], (1, 1, 3)),
        ([np.nan], (None, None, 1)),
        ([], (None, None, 0)),
    ],
)
def test_summary(values, wanted):
    assert summary(np.array(values, np.float32)) == wanted


def test_full_scale():
    assert [full_scale(depth) for depth in Depth] == [255, 65535, 1]
    assert full_scale(np.uint16) == 65535
    assert {full_scale(t) for t in (bool, np.uint8, np.int8, np.int16, np.int64)} == {255}
    assert {full_scale(t) for t in (np.float16, np.float32, "f8")} == {1}


# Alpha


def test_premultiply_and_back():
    rng = np.random.default_rng(5)
    colour = rng.integers(0, 256, (2, 4, 5, 3)).astype(np.float32)
    alpha = rng.integers(0, 256, (2, 4, 5, 1)).astype(np.float32)
    alpha[0, 0] = 0
    weighted = premultiply(colour, alpha, 255.0)
    np.testing.assert_allclose(weighted, colour * alpha / 255, rtol=1e-6)
    assert weighted.dtype == np.float32
    back = unpremultiply(weighted, alpha / 255)
    np.testing.assert_allclose(back, np.where(alpha > 0, colour, 0), rtol=1e-5)
    assert back.dtype == np.float32


def test_unpremultiply_of_next_to_nothing_is_nothing():
    alpha = np.array([0, 1e-9, -0.25, 0.5], np.float32).reshape(1, 1, 4, 1)
    assert unpremultiply(np.ones_like(alpha), alpha).ravel().tolist() == [0, 0, 0, 2]


def test_sample_takes_the_nearest_pixel_outside():
    alpha = np.arange(12, dtype=np.uint8).reshape(1, 3, 4, 1)
    found = sample(alpha, np.array([-2, 1, 9]), np.array([-1, 2, 4]))
    np.testing.assert_array_equal(found[0, ..., 0], [[0, 2, 3], [4, 6, 7], [8, 10, 11]])
    assert found.dtype == np.uint8
