"""Properties of filters that can be worked out by hand."""

from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from convtool import kernels
from convtool.kernels.analysis import FREQUENCIES, analyse


def taps_of(text):
    return kernels.load(text).weights[0]


def test_sobel():
    found = analyse(taps_of("sobel:filter=x"))
    assert (found.total, found.gain, found.low, found.high) == (0, 8, -4, 4)
    assert (found.least, found.greatest) == (-2, 2)
    assert found.noise_gain == pytest.approx(sqrt(12))
    assert found.symmetry == {
        "left-right": "odd",
        "up-down": "even",
        "half-turn": "odd",
        "transpose": "none",
    }
    assert (found.rank, found.column, found.row) == (1, (1, 2, 1), (-1, 0, 1))
    assert analyse(taps_of("sobel:filter=y")).column == (-1, 0, 1)


@pytest.mark.parametrize(
    ("text", "column", "row"),
    [
        ("box", [1 / 3] * 3, [1 / 3] * 3),
        ("3x3: 1 2 1 2 4 2 1 2 1", [1, 2, 1], [1, 2, 1]),
        ("2x2: -2 -4 -1 -2", [-2, -1], [1, 2]),
        ("bilinear", [0.5, 1.5, 1.5, 0.5], [0.125, 0.375, 0.375, 0.125]),
        ("difference", [-1], [-1, 1]),
        ("2x2: 0 0 0 1", [0, 1], [0, 1]),
    ],
)
def test_factors(text, column, row):
    found = analyse(taps_of(text))
    assert found.rank == 1
    assert found.column == pytest.approx(column)
    assert found.row == pytest.approx(row)


@given(
    column=hnp.arrays(float, st.integers(1, 6), elements=st.floats(-9, 9)),
    row=hnp.arrays(float, st.integers(1, 6), elements=st.floats(-9, 9)),
)
def test_the_factors_give_the_taps_back(column, row):
    taps = np.outer(column, row)
    if np.abs(taps).max() < 1e-6:
        return
    found = analyse(taps)
    assert found.rank == 1
    assert np.outer(found.column, found.row) == pytest.approx(taps, abs=1e-9 * np.abs(taps).max())


def test_rank():
    assert analyse(np.eye(5)).rank == 5
    assert analyse(np.zeros((3, 3))).rank == 0
    assert analyse(taps_of("laplacian-4")).rank == 2
    assert analyse(taps_of("laplacian-4")).column == ()


@given(taps=hnp.arrays(float, (3, 4), elements=st.floats(-9, 9)))
def test_the_frequency_response_is_that_of_waves(taps):
    found = analyse(taps)
    i, j = np.indices(taps.shape)
    for n, f in enumerate(np.linspace(0, 0.5, FREQUENCIES)):
        for direction, phase in (("horizontal", j), ("vertical", i), ("diagonal", i + j)):
            expected = abs((taps * np.exp(2j * np.pi * f * phase)).sum())
            assert found.response[direction][n] == pytest.approx(expected, abs=1e-9)


def test_known_responses():
    box = analyse(taps_of("box:size=1x2")).response
    assert box["horizontal"][0] == 1
    assert box["horizontal"][-1] == pytest.approx(0, abs=1e-12)
    assert box["vertical"] == pytest.approx([1] * FREQUENCIES)
    assert analyse(taps_of("laplacian-4")).response["diagonal"][-1] == pytest.approx(8)
