"""The standard cases and the floors under them."""

import numpy as np
import pytest

from convtool.bench import cases, floors
from convtool.bench.cases import GROUPS, LARGE, OUTER, SMALL, Case, Image, Taps
from convtool.errors import UsageError

KINDS = cases.kinds((40, 30), ["1", "3"], ["uint8", "float32"])


@pytest.mark.parametrize("k", SMALL + LARGE)
def test_random_kernels_have_full_rank_and_lose_nothing(k):
    taps = Taps("random", (k, k))
    assert np.linalg.matrix_rank(taps.weights()) == k
    whole, divisor = taps.whole
    np.testing.assert_array_equal(taps.weights().astype(float) * divisor, whole)
    assert 0.5 < taps.weights().sum() <= 1


@pytest.mark.parametrize("kind", ["gaussian", "box"])
@pytest.mark.parametrize("k", OUTER)
def test_outer_products(kind, k):
    taps = Taps(kind, (k, k))
    assert np.linalg.matrix_rank(taps.weights()) == 1
    assert taps.weights().sum() == pytest.approx(1)
    whole, divisor = taps.whole
    np.testing.assert_allclose(whole / divisor, taps.weights(), atol=2e-3)
    factor, divisor = taps.whole_factor
    np.testing.assert_allclose(factor / divisor, taps.factor, atol=2e-3)


def test_names_and_plans():
    found = cases.standard(GROUPS, KINDS)
    keys = [(case.group, case.name) for case in found]
    assert len(set(keys)) == len(keys) == 106
    assert {case.group for case in found} == set(GROUPS)
    for case in found:
        height = -(-case.shape[1] // case.stride)
        if case.group == "transposed":
            height = case.shape[1] * case.stride
        assert case.plan().output_shape[1] == height
        assert case.per_channel == (len(case.kernel.shape) == 2)


def test_groups_come_in_their_order_and_layers_are_float32():
    found = cases.standard(["network", "small"], KINDS[:1])
    assert [case.name for case in found] == ["3x3 grey uint8", "5x5 grey uint8"]
    names = [case.name for case in cases.standard(["network"], KINDS)]
    assert names[0] == "3x3x64x64, 8x56x56"
    assert names[3] == "5x5x3x16 stride 2, 512x512"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cases.standard(["smal"], KINDS), "--group must be one of small, full-rank"),
        (lambda: cases.kinds((4, 4), ["1"], ["int8"]), "--dtype must be one of uint8, float32"),
        (lambda: cases.kinds((4, 4), ["0"], ["uint8"]), "--channels must be numbers of at least 1"),
        (lambda: cases.kinds((4, 4), ["x"], ["uint8"]), "not 'x'"),
    ],
)
def test_what_there_is_not(call, message):
    with pytest.raises(UsageError, match=message):
        call()


def test_images_are_the_same_every_time_and_not_flat():
    x = cases.images((2, 70, 50, 3), "uint8")
    assert (x.shape, x.dtype) == ((2, 70, 50, 3), np.uint8)
    cases.images.cache_clear()
    np.testing.assert_array_equal(cases.images((2, 70, 50, 3), "uint8"), x)
    y = cases.images((2, 70, 50, 3), "float32")
    np.testing.assert_allclose(y * 255, x, rtol=1e-6)
    assert x[:, :32, :32].mean() != pytest.approx(x[:, 32:64, :32].mean(), abs=1)


def test_bytes_leave_out_what_a_stride_passes_over():
    def moved(stride, dilation=1):
        kind = Image((40, 30), 3, "uint8")
        case = Case("small", "", kind.shape, "uint8", Taps("random", (3, 3)), stride, dilation)
        return floors.bytes_moved(case.plan(), 1)

    assert moved(1) == 2 * 40 * 30 * 3
    assert moved(2) == 40 * 30 * 3 + 20 * 15 * 3
    assert moved(4) == 30 * 30 * 3 + 10 * 8 * 3
    assert moved(1, 2) == moved(1)


def test_the_floor_of_an_image_is_a_copy_and_of_a_layer_what_is_later(monkeypatch):
    monkeypatch.setattr(floors, "copy_bandwidth", lambda size, threads: 1e6)
    monkeypatch.setattr(floors, "multiply_peak", lambda threads: 1e12)
    [image] = cases.standard(["small"], KINDS[:1])[:1]
    assert floors.floor_seconds(image.plan(), 1, 2) == pytest.approx(2 * 40 * 30 / 1e6)
    layer = cases.standard(["network"], KINDS)[0]
    size = 4 * (2 * 8 * 56 * 56 * 64 + 3 * 3 * 64 * 64)
    assert floors.floor_seconds(layer.plan(), 4, 2) == pytest.approx(size / 1e6)
    monkeypatch.setattr(floors, "multiply_peak", lambda threads: 1e6)
    macs = 8 * 56 * 56 * 64 * 64 * 9
    assert floors.floor_seconds(layer.plan(), 4, 2) == pytest.approx(2 * macs / 1e6)


def test_floors_are_found(monkeypatch):
    monkeypatch.setattr(floors, "TRY_FOR", 0)
    monkeypatch.setattr(floors, "ROUND_SECONDS", 0.001)
    for threads in (1, 2):
        assert floors.copy_bandwidth.__wrapped__(10_001, threads) > 0
        assert floors.multiply_peak.__wrapped__(threads) > 1e8
