"""RGB in 4 bytes a pixel, as Pillow keeps it, is read and written as it is."""

import numpy as np
import pytest

from convtool import conv2d, engine
from convtool.engine.cpu.cutting import pixel_numbers
from convtool.errors import EngineError
from convtool.geometry import ConvSpec, plan
from convtool.terms import Combine, EngineName, MethodName, RangeMode

RNG = np.random.default_rng(7)

KERNELS = {
    "box 3": np.ones((1, 3, 3)) / 9,
    "two filters": RNG.integers(-3, 4, (2, 3, 3)).astype(float),
    "full rank 9": RNG.normal(size=(1, 9, 9)) / 9,
    "outer product 7": np.outer(np.hanning(9), np.hanning(9))[None, 1:-1, 1:-1] / 16,
    "box 15": np.ones((1, 15, 15)) / 225,
}


@pytest.mark.parametrize("method", [MethodName.DIRECT, MethodName.SEPARABLE, MethodName.FFT])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("name", KERNELS)
def test_padded_pixels_give_the_same(name, stride, method):
    weights = KERNELS[name]
    combine = Combine.MAGNITUDE if len(weights) > 1 else Combine.EACH
    finish = engine.Finish(
        bias=np.full(len(weights), 2.5, np.float32),
        combine=combine,
        range=RangeMode.CLIP,
        full_in=255,
        full_out=255,
        dtype="uint8",
        summarise=True,
    )
    for shape, border in (((1, 37, 61), "reflect"), ((2, 19, 130), "zero"), ((1, 6, 5), "edge")):
        padded = RNG.integers(0, 256, (*shape, 4)).astype(np.uint8)[..., :3]
        spec = ConvSpec.of(stride=stride, border=border)
        settled = plan(spec, padded.shape, weights.shape[1:], filters=len(weights))
        try:
            chosen = engine.choose(settled, EngineName.CPU, method, weights=weights, dtype="uint8")
        except EngineError:
            assert method is MethodName.SEPARABLE
            continue
        apart = {"dtype": np.uint8, "shape": (*settled.output_shape[:3], 4)}
        for out in (None, np.empty(**apart)[..., :3], np.empty((*apart["shape"][:3], 3), np.uint8)):
            found, summary = engine.finished(padded, weights, settled, chosen, finish, out=out)
            whole = np.ascontiguousarray(padded)
            expected, likewise = engine.finished(whole, weights, settled, chosen, finish)
            assert found.shape == expected.shape
            # Other code may sum in another order, and a sum of a half be rounded the other way.
            same_code = out is None or out.strides[2] == 4
            difference = np.abs(found.astype(int) - expected.astype(int)).max()
            assert difference <= (0 if same_code else 1), (shape, found.strides)
            assert summary.values == likewise.values
            assert (summary.below, summary.above) == (likewise.below, likewise.above)
            assert summary.least == pytest.approx(likewise.least, abs=1e-3)
            assert summary.greatest == pytest.approx(likewise.greatest, abs=1e-3)
            if out is None:
                assert found.strides[2] == 4


def test_pictures_of_one_row_column_or_frame():
    for shape in ((1, 1, 20), (1, 20, 1), (1, 7, 9), (2, 1, 1)):
        padded = RNG.integers(0, 256, (*shape, 4)).astype(np.uint8)[..., :3]
        kernel = RNG.integers(-4, 5, (3, 3))
        for one in (padded, padded[0][None]):  # of which the first axis has a stride of 0
            found = conv2d(one, kernel, engine="cpu")
            assert (found == conv2d(np.ascontiguousarray(one), kernel, engine="numpy")).all()


def test_memory_that_ends_with_the_last_colour_is_not_read_beyond():
    argb = RNG.integers(0, 256, (1, 9, 8, 4)).astype(np.uint8)
    colours = argb[..., 1:]
    assert pixel_numbers(colours) is None
    assert pixel_numbers(argb[..., :3]) == 4
    kernel = RNG.integers(-4, 5, (3, 3))
    found = conv2d(colours, kernel, engine="cpu")
    assert (found == conv2d(np.ascontiguousarray(colours), kernel, engine="numpy")).all()


def test_padded_pixels_through_the_door():
    padded = RNG.integers(0, 256, (1, 40, 50, 4)).astype(np.uint8)[..., :3]
    kernel = RNG.integers(-4, 5, (3, 3, 3, 5))
    for one in (kernel, kernel[:, :, 0, 0]):
        found = conv2d(padded, one, engine="cpu")
        assert (found == conv2d(np.ascontiguousarray(padded), one, engine="numpy")).all()
