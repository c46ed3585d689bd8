"""The formulas against integrals and known cases; parameters and their limits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loops import correlate

from convtool import kernels
from convtool.errors import KernelError


def taps_of(text):
    return kernels.load(text).weights[0]


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("gaussian:sigma=2", (13, 13)),
        ("gaussian:sigma=0.5", (5, 5)),
        ("gaussian:sigma=2,size=9", (9, 9)),
        ("gaussian: sigma=2, size=5x9 ", (5, 9)),
        ("gaussian:size=auto", (7, 7)),
        ("box:size=5x1", (5, 1)),
        ("box:size=4", (4, 4)),
        ("binomial:size=1x5", (1, 5)),
        ("motion:length=8", (1, 9)),
        ("motion:angle=90", (9, 1)),
        ("motion:angle=45", (7, 7)),
        ("motion:length=1", (1, 1)),
        ("motion:length=9,angle=180", (1, 9)),
        ("disk:radius=0.5", (1, 1)),
        ("disk:radius=2.5", (5, 5)),
        ("disk:radius=2.6", (7, 7)),
        ("unsharp:sigma=2", (13, 13)),
        ("log:sigma=2", (17, 17)),
        ("dog:sigma1=2,sigma2=1", (13, 13)),
        ("gabor:wavelength=8,gamma=1", (29, 29)),
        ("gabor:sigma=2,gamma=0.5", (25, 25)),
        ("bilinear:factor=1", (1, 1)),
        ("bilinear:factor=3", (5, 5)),
        ("bilinear:factor=8", (16, 16)),
    ],
)
def test_sizes_are_known_before_the_weights_and_are_theirs(text, shape):
    kernel = kernels.load(text)
    assert kernel.shape == shape
    assert kernel.weights.shape == (1, *shape)


@given(
    length=st.floats(1, 60),
    angle=st.one_of(st.floats(-360, 360), st.integers(-8, 8).map(lambda n: 45.0 * n)),
)
def test_motion_is_the_length_inside_each_pixel(length, angle):
    taps = taps_of(f"motion:length={length!r},angle={angle!r}")
    kh, kw = taps.shape
    assert taps.sum() == pytest.approx(1)
    assert taps == pytest.approx(taps[::-1, ::-1], abs=1e-9)
    # Walk along the path in small steps and count the pixel that each falls into.
    t = (np.arange(20000) + 0.5) / 20000 * length - length / 2
    x, y = t * np.cos(np.radians(angle)), -t * np.sin(np.radians(angle))
    i, j = np.rint(y).astype(int) + kh // 2, np.rint(x).astype(int) + kw // 2
    inside = (i >= 0) & (i < kh) & (j >= 0) & (j < kw)
    assert inside.mean() > 0.999
    walked = np.zeros((kh, kw))
    np.add.at(walked, (i[inside], j[inside]), 1 / 20000)
    # A path within rounding of a line between pixels may fall to either side.
    assert np.abs(walked - taps).max() < 2e-3 + 1 / length * (abs(angle) % 45 < 1e-6)


def test_motion_at_odd_lengths_is_a_box_and_at_even_ones_ends_in_halves():
    assert np.array_equal(taps_of("motion"), taps_of("box:size=1x9"))
    assert taps_of("motion:length=4")[0] * 4 == pytest.approx([0.5, 1, 1, 1, 0.5])
    assert taps_of("motion:length=5,angle=90")[:, 0] * 5 == pytest.approx(1)


def test_motion_angles_count_counter_clockwise_as_seen():
    taps = taps_of("motion:length=9,angle=45")
    assert np.count_nonzero(taps) == 7
    assert np.fliplr(taps).diagonal().min() > 0
    assert taps_of("motion:angle=30") == pytest.approx(np.flipud(taps_of("motion:angle=-30")))


@pytest.mark.parametrize("radius", [0.3, 0.5, 0.8, 1, 2.5, 3, 7.25])
def test_a_disk_is_the_exact_share_of_each_pixel(radius):
    taps = taps_of(f"disk:radius={radius}")
    k, fine = len(taps), 201
    points = (np.arange(k * fine) + 0.5) / fine - k / 2
    inside = points[:, None] ** 2 + points[None, :] ** 2 <= radius**2
    share = inside.reshape(k, fine, k, fine).mean(axis=(1, 3)) / (np.pi * radius**2)
    assert taps == pytest.approx(share, abs=2e-3 / (np.pi * radius**2))
    assert taps[0].max() > 0


def test_a_gaussian_is_what_it_says():
    taps = taps_of("gaussian:sigma=1.5")
    y, x = np.indices(taps.shape) - 5
    expected = np.exp(-(x**2 + y**2) / (2 * 1.5**2))
    assert taps == pytest.approx(expected / expected.sum())


def test_a_binomial_is_a_chain_of_pairs():
    taps = np.ones((1, 1))
    for _ in range(6):
        taps = correlate(np.pad(taps, 1), np.full((2, 2), 0.25))
    assert taps_of("binomial:size=7") == pytest.approx(taps)
    assert taps_of("binomial:size=2000x1").sum() == pytest.approx(1)


def test_unsharp_adds_what_the_blur_takes():
    blur, sharp = taps_of("gaussian:sigma=2"), taps_of("unsharp:sigma=2,amount=3")
    identity = np.zeros_like(blur)
    identity[6, 6] = 1
    assert sharp == pytest.approx(identity + 3 * (identity - blur))
    assert taps_of("unsharp:amount=0") == pytest.approx(
        taps_of("identity:filter=0").sum() * np.pad(np.ones((1, 1)), 3)
    )


def test_log_measures_curvature_and_ignores_slopes():
    taps = taps_of("log:sigma=2,size=25")
    y, x = np.indices(taps.shape) - 12
    assert (taps * (x * x + y * y)).sum() == pytest.approx(4, rel=1e-3)
    assert (taps * x).sum() == pytest.approx(0, abs=1e-12)


def test_dog_is_the_difference():
    assert taps_of("dog:sigma1=1,sigma2=2,size=13") == pytest.approx(
        taps_of("gaussian:sigma=1,size=13") - taps_of("gaussian:sigma=2,size=13")
    )
    assert taps_of("dog")[5, 5] > 0


@pytest.mark.parametrize("psi", [0, 90, 37])
def test_gabor_has_no_mean_and_answers_its_wave_with_at_most_1(psi):
    bank = kernels.load(f"gabor:psi={psi},orientations=4,wavelength=6")
    assert bank.filter_names == ("0deg", "45deg", "90deg", "135deg")
    assert bank.combine is None
    for taps in bank.weights:
        assert taps.sum() == pytest.approx(0, abs=1e-12)
        assert np.abs(taps).sum() == pytest.approx(2)
    # Theta is the way the wave goes: 0 has vertical stripes; 45 rises to the upper right.
    flat, slant, steep, _ = bank.weights
    assert flat == pytest.approx(flat[::-1], abs=1e-12)
    # A quarter turn counter-clockwise.
    assert steep == pytest.approx(np.rot90(flat), abs=1e-12)
    # Its crests lie along the other diagonal.
    assert np.abs(slant - np.flipud(np.fliplr(slant.T))).max() < 1e-12


def test_gabor_answers_its_own_direction_and_wavelength_best():
    taps = taps_of("gabor:wavelength=6,theta=30")
    y, x = np.indices(taps.shape) - len(taps) // 2

    def response(wavelength, theta):
        along = x * np.cos(np.radians(theta)) - y * np.sin(np.radians(theta))
        return (taps * np.cos(2 * np.pi * along / wavelength)).sum()

    own = response(6, 30)
    assert own > 0.5
    assert all(own > response(w, a) for w, a in [(12, 30), (3, 30), (6, 60), (6, -30), (6, 120)])


@pytest.mark.parametrize("f", [1, 2, 3, 4, 5])
def test_bilinear_enlarges_by_interpolation(f):
    taps = taps_of(f"bilinear:factor={f}")
    assert taps.sum() == pytest.approx(f * f)
    # Whatever the phase, the pixels that one output pixel sees weigh 1 together.
    for i in range(f):
        for j in range(f):
            assert taps[i::f, j::f].sum() == pytest.approx(1)
    if f == 2:
        assert taps[0] * 16 == pytest.approx([1, 3, 3, 1])


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("sobl", "no kernel is called 'sobl'", "did you mean sobel?"),
        ("qqqq", "no kernel is called 'qqqq'", "'convtool kernels list' names them all"),
        (
            "gaussian:sgima=2",
            "gaussian takes sigma, size, but 'sgima' is given",
            "did you mean sigma?",
        ),
        ("sobel:sigma=2", "sobel has no parameters, but 'sigma' is given", "choose from filter"),
        (
            "gaussian:sigma=0",
            "sigma must be between 0.1 and 2047, but 0 is given",
            "sigma: standard deviation in pixels",
        ),
        ("gaussian:sigma=-2", "sigma must be between 0.1 and 2047, but -2 is given", ""),
        ("gaussian:sigma=wide", "sigma must be a number, but 'wide' is given", ""),
        ("gaussian:sigma=nan", "sigma must be a number, but 'nan' is given", ""),
        ("gaussian:size=3.5", "size must be N or HxW or auto, but '3.5' is given", ""),
        ("gaussian:size=3x3x3", "size must be N or HxW or auto, but '3x3x3' is given", ""),
        ("box:size=auto", "size must be N or HxW, but 'auto' is given", ""),
        ("box:size=0", "size must be between 1 and 2047, but 0 is given", ""),
        ("box:size=3x4000", "size must be between 1 and 2047, but 3x4000 is given", ""),
        ("bilinear:factor=1.5", "factor must be a whole number, but '1.5' is given", ""),
        (
            "unsharp:size=4x5",
            "size must be odd, so that there is a centre, but 4x5 is given",
            "take 5",
        ),
        (
            "gaussian:sigma=500",
            "a kernel has at most 2047 taps a side, but 3001x3001 are asked for",
            "give the size, or smaller values",
        ),
        (
            "dog:sigma1=2,sigma2=2",
            "sigma1 and sigma2 must differ, but both are 2",
            "sigma2 = 1.6 sigma1 comes nearest to a Laplacian of Gaussian",
        ),
        (
            "gaussian:2",
            "parameters are written name=value, but gaussian is given '2'",
            "for example gaussian:sigma=1",
        ),
        (
            "gaussian:sigma=",
            "parameters are written name=value, but gaussian is given 'sigma='",
            "",
        ),
        ("gaussian:sigma=1,sigma=2", "sigma is given twice to gaussian: 1 and 2", ""),
        (
            "sobel:filter=z",
            "sobel has the filters 0 to 1 (x, y), but 'z' is asked for",
            "choose from x, y",
        ),
        (
            "kirsch:filter=8",
            "kirsch has the filters 0 to 7 (E, NE, N, NW, W, SW, S, SE), but '8' is asked for",
            "",
        ),
        ("box:filter=1", "box has the filters 0, but '1' is asked for", ""),
    ],
)
def test_what_cannot_be_is_said(text, message, hint):
    with pytest.raises(KernelError) as caught:
        kernels.load(text)
    assert caught.value.message == message
    assert hint in caught.value.hint


@pytest.mark.parametrize("text", ["gabor:wavelength=2,psi=90", "gabor:size=1"])
def test_a_gabor_without_room_for_its_wave_is_refused(text):
    with pytest.raises(KernelError, match="no wave is left of wavelength") as caught:
        _ = kernels.load(text).weights
    assert "larger size" in caught.value.hint


def test_one_filter_of_several():
    both, x = kernels.load("sobel"), kernels.load("sobel:filter=X")
    assert np.array_equal(x.weights, both.weights[:1])
    assert (x.name, x.filters, x.filter_names, x.combine) == ("sobel", 1, ("x",), None)
    assert np.array_equal(kernels.load("sobel:filter=1").weights, both.weights[1:])
    assert kernels.load("gabor:orientations=4,filter=90deg").filters == 1


def test_a_kernel_remembers_its_parameters():
    settings = {s.name: s.value for s in kernels.load("gaussian:sigma=2.50,size=5x7").parameters}
    assert settings == {"sigma": "2.5", "size": "5x7"}
