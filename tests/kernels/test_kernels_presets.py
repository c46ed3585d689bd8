"""Every preset's properties: sum, symmetry, rank, responses."""

from math import sqrt

import numpy as np
import pytest
from loops import correlate, impulse, ramp, step

from convtool import kernels
from convtool.errors import KernelError
from convtool.kernels import presets
from convtool.kernels.analysis import analyse
from convtool.terms import Combine

R2 = sqrt(2)

# name: shape, filters, combine, sum, ranks, then for each filter its symmetry under
# left-right, up-down, half-turn, transpose: e(ven), o(dd) or n(one).
EVEN = ("eeee",)
XY = ("oeon", "eoon")
COMPASS = ("oeon", "nnno", "eoon", "nnne") * 2
TABLE = {
    "identity": ((3, 3), 1, None, 1, [1], EVEN),
    "box": ((3, 3), 1, None, 1, [1], EVEN),
    "gaussian": ((7, 7), 1, None, 1, [1], EVEN),
    "binomial": ((3, 3), 1, None, 1, [1], EVEN),
    "motion": ((1, 9), 1, None, 1, [1], ("eeen",)),
    "disk": ((7, 7), 1, None, 1, [4], EVEN),
    "sharpen": ((3, 3), 1, None, 1, [2], EVEN),
    "unsharp": ((7, 7), 1, None, 1, [2], EVEN),
    "emboss": ((3, 3), 1, None, 1, [3], ("nnne",)),
    "outline": ((3, 3), 1, None, 0, [2], EVEN),
    "sobel": ((3, 3), 2, Combine.MAGNITUDE, 0, [1, 1], XY),
    "scharr": ((3, 3), 2, Combine.MAGNITUDE, 0, [1, 1], XY),
    "prewitt": ((3, 3), 2, Combine.MAGNITUDE, 0, [1, 1], XY),
    "frei-chen": ((3, 3), 2, Combine.MAGNITUDE, 0, [1, 1], XY),
    "farid": ((5, 5), 2, Combine.MAGNITUDE, 0, [1, 1], XY),
    "roberts": ((2, 2), 2, Combine.MAGNITUDE, 0, [2, 2], ("nnoe", "nnoo")),
    "kirsch": ((3, 3), 8, Combine.MAX, 0, [2, 3] * 4, None),
    "robinson": ((3, 3), 8, Combine.MAX, 0, [1, 2] * 4, None),
    "frei-chen-basis": ((3, 3), 9, Combine.EACH, [0] * 8 + [3], None, None),
    "laplacian-4": ((3, 3), 1, None, 0, [2], EVEN),
    "laplacian-8": ((3, 3), 1, None, 0, [2], EVEN),
    "laplacian-5x5": ((5, 5), 1, None, 0, [3], EVEN),
    "laplacian-9x9": ((9, 9), 1, None, 0, [5], EVEN),
    "log": ((13, 13), 1, None, 0, [3], EVEN),
    "dog": ((11, 11), 1, None, 0, [2], EVEN),
    "gabor": ((29, 29), 1, None, 0, [1], ("eeen",)),
    "difference": ((1, 2), 1, None, 0, [1], ("oeon",)),
    "bilinear": ((4, 4), 1, None, 4, [1], EVEN),
}


def taps_of(name):
    return kernels.load(name).weights


EVERY_FILTER = [(name, index) for name in TABLE for index in range(TABLE[name][1])]


def test_the_table_holds_every_preset():
    assert {entry.path.stem for entry in kernels.entries()} == set(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_properties(name):
    shape, filters, combine, total, ranks, symmetry = TABLE[name]
    kernel = kernels.load(name)
    assert (kernel.name, kernel.shape, kernel.filters) == (name, shape, filters)
    assert kernel.combine == combine
    assert kernel.weights.shape == (filters, *shape)
    assert kernel.weights.dtype == np.float64
    assert not kernel.weights.flags.writeable
    assert kernel.weights.sum(axis=(1, 2)) == pytest.approx(
        np.broadcast_to(total, filters), abs=1e-12
    )
    assert kernel.filter_names == () or len(set(kernel.filter_names)) == filters
    found = [analyse(taps) for taps in kernel.weights]
    if ranks:
        assert [a.rank for a in found] == ranks
    if symmetry:
        assert tuple("".join(p[0] for p in a.symmetry.values()) for a in found) == symmetry


@pytest.mark.parametrize("name", TABLE)
def test_a_preset_says_what_it_is(name):
    definition = presets.find(name)
    assert 0 < len(definition.description) <= 37
    assert definition.source
    assert len(definition.meaning) > 20
    assert "\n" not in definition.meaning


@pytest.mark.parametrize(("name", "index"), EVERY_FILTER)
def test_an_impulse_gives_the_kernel_turned_by_180_degrees(name, index):
    taps = taps_of(name)[index]
    assert np.array_equal(correlate(impulse(taps), taps), taps[::-1, ::-1])


@pytest.mark.parametrize(("name", "index"), EVERY_FILTER)
def test_a_constant_gives_the_sum_and_a_step_the_sums_of_columns(name, index):
    taps = taps_of(name)[index]
    kh, kw = taps.shape
    assert correlate(np.full((kh, kw), 3.0), taps)[0, 0] == pytest.approx(3 * taps.sum(), abs=1e-9)
    # The window's last columns are over the step's bright side: first one of them, then two, …
    columns = taps.sum(axis=0)
    expected = np.concatenate([[0], np.cumsum(columns[::-1])])
    assert correlate(step(taps), taps)[0] == pytest.approx(expected, abs=1e-12)


# The response to a step from 0 to 1 to the right, by the number of columns on the bright side.
STEPS = {
    "sobel:filter=x": [0, 4, 4, 0],
    "sobel:filter=y": [0, 0, 0, 0],
    "scharr:filter=x": [0, 16, 16, 0],
    "prewitt:filter=x": [0, 3, 3, 0],
    "roberts:filter=SE": [0, 1, 0],
    "roberts:filter=NE": [0, 1, 0],
    "kirsch:filter=E": [0, 15, 9, 0],
    "robinson:filter=E": [0, 4, 4, 0],
    "robinson:filter=W": [0, -4, -4, 0],
    "frei-chen:filter=x": [0, (2 + R2) / (2 * R2), (2 + R2) / (2 * R2), 0],
    "farid:filter=x": [0, 0.1096038, 0.3862948, 0.3862948, 0.1096038, 0],
    "laplacian-4": [0, 1, -1, 0],
    "laplacian-8": [0, 3, -3, 0],
    "laplacian-5x5": [0, 1, 5, -5, -1, 0],
    "laplacian-9x9": [0, 10, 39, 65, 37, -37, -65, -39, -10, 0],
    "outline": [0, -3, 3, 0],
    "sharpen": [0, -1, 2, 1],
    "difference": [0, -1, 0],
    "identity": [0, 0, 1, 1],
    "box": [0, 1 / 3, 2 / 3, 1],
    "binomial": [0, 0.25, 0.75, 1],
    "emboss": [0, 3, 4, 1],
}


@pytest.mark.parametrize("name", STEPS)
def test_the_response_to_a_step_is_known(name):
    taps = taps_of(name)[0]
    assert correlate(step(taps), taps)[0] == pytest.approx(STEPS[name], abs=1e-7)


@pytest.mark.parametrize(
    ("name", "gain"),
    [
        ("sobel", 8),
        ("scharr", 32),
        ("prewitt", 6),
        ("frei-chen", 1 + R2),
        ("farid", 0.991797),
    ],
)
def test_gradients_measure_a_ramp(name, gain):
    x, y = taps_of(name)
    k = len(x)
    assert correlate(ramp(k, k), x)[0, 0] == pytest.approx(gain, rel=1e-6)
    assert correlate(ramp(k, k), y)[0, 0] == pytest.approx(0, abs=1e-12)
    assert correlate(ramp(k, k, 0, 1), y)[0, 0] == pytest.approx(gain, rel=1e-6)
    assert np.array_equal(x, y.T)


def test_roberts_measures_the_diagonals():
    south_east, north_east = taps_of("roberts")
    assert correlate(ramp(2, 2, 1, 1), south_east)[0, 0] == 2
    assert correlate(ramp(2, 2, 1, -1), north_east)[0, 0] == 2


@pytest.mark.parametrize(("name", "gain"), [("laplacian-4", 1), ("laplacian-8", 3)])
def test_laplacians_measure_curvature(name, gain):
    taps = taps_of(name)[0]
    y, x = np.indices((3, 3)) - 1
    assert correlate((x * x + y * y).astype(float), taps)[0, 0] == 4 * gain
    assert taps[1, 1] < 0


@pytest.mark.parametrize("name", ["laplacian-5x5", "laplacian-9x9", "log"])
def test_the_centre_of_a_laplacian_is_negative_and_its_least(name):
    taps = taps_of(name)[0]
    assert taps[len(taps) // 2, len(taps) // 2] == taps.min() < 0


def test_frei_chen_is_an_orthonormal_basis():
    basis = taps_of("frei-chen-basis").reshape(9, 9)
    assert basis @ basis.T == pytest.approx(np.eye(9), abs=1e-12)
    assert basis.T @ basis == pytest.approx(np.eye(9), abs=1e-12)


def test_frei_chen_has_none_of_the_errors_of_others():
    basis = dict(
        zip(kernels.load("frei-chen-basis").filter_names, taps_of("frei-chen-basis"), strict=True)
    )
    # 1/(2 sqrt 2), not sqrt 2 / 2; signs that sum to zero; 1 -2 1 in the last row.
    assert basis["gradient-x"][0, 2] == pytest.approx(1 / (2 * R2))
    assert basis["ripple-1"].sum() == pytest.approx(0, abs=1e-15)
    assert basis["laplacian-1"][2] * 6 == pytest.approx([1, -2, 1])
    assert np.array_equal(taps_of("frei-chen"), taps_of("frei-chen-basis")[:2])


@pytest.mark.parametrize("name", ["kirsch", "robinson"])
def test_compass_filters_are_turns_of_each_other(name):
    kernel = kernels.load(name)
    assert kernel.filter_names == ("E", "NE", "N", "NW", "W", "SW", "S", "SE")
    ring = [(1, 2), (0, 2), (0, 1), (0, 0), (1, 0), (2, 0), (2, 1), (2, 2)]  # from E on
    east = [kernel.weights[0][place] for place in ring]
    for turn, taps in enumerate(kernel.weights):
        assert [taps[place] for place in ring] == east[8 - turn :] + east[: 8 - turn]
        assert taps[1, 1] == 0
        # Each is strongest on the ramp that grows in its direction.
        angle = np.radians(45 * turn)
        slope = ramp(3, 3, np.cos(angle), -np.sin(angle))
        responses = [correlate(slope, other)[0, 0] for other in kernel.weights]
        assert int(np.argmax(responses)) == turn


def test_robinson_begins_with_sobel():
    assert np.array_equal(taps_of("robinson:filter=E"), taps_of("sobel:filter=x"))
    assert np.array_equal(taps_of("robinson:filter=S"), taps_of("sobel:filter=y"))


def test_the_tables_of_the_literature_stand_as_printed():
    assert taps_of("laplacian-9x9")[0, 4].tolist() == [2, 5, 0, -24, -40, -24, 0, 5, 2]
    assert taps_of("laplacian-5x5")[0, 2].tolist() == [1, 2, -16, 2, 1]
    assert taps_of("kirsch")[0].tolist() == [[-3, -3, 5], [-3, 0, 5], [-3, -3, 5]]
    assert taps_of("difference").tolist() == [[[1, -1]]]
    assert taps_of("binomial:size=5")[0, 2] * 256 == pytest.approx([6, 24, 36, 24, 6])


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("blur", "gaussian"),
        ("laplacian", "laplacian-4"),
        ("BLUR", "gaussian"),
        ("Frei_Chen", "frei-chen"),
        ("SOBEL", "sobel"),
        ("mean", "box"),
        ("defocus", "disk"),
    ],
)
def test_names_in_any_case_and_aliases(alias, name):
    assert kernels.load(alias).name == name


def test_no_two_presets_share_a_name_or_an_alias():
    definitions = [entry.definition for entry in kernels.entries()]
    words = [word for d in definitions for word in (d.name, *d.aliases)]
    assert len(words) == len(set(words))


def test_the_project_folder_is_found_in_a_wheel_and_in_a_source_tree(tmp_path):
    package = tmp_path / "src" / "convtool"
    package.mkdir(parents=True)
    assert presets.project_folder(package) == tmp_path / "kernels"
    (package / "presets").mkdir()
    assert presets.project_folder(package) == package / "presets"
    assert presets.project_folder().is_dir()


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    folder = tmp_path / "convtool" / "kernels"
    folder.mkdir(parents=True)
    return folder


def test_a_file_in_the_own_folder_is_a_preset_and_goes_first(own):
    (own / "my-blur.toml").write_text(
        'name = "my-blur"\ndescription = "Mine"\nformula = "gaussian"\n[parameters]\nsigma = 5\n'
    )
    (own / "sobel.toml").write_text('name = "sobel"\ndescription = "Mine"\ntaps = [[1, 2]]\n')
    assert kernels.load("my_blur").shape == (31, 31)
    assert kernels.load("my-blur:sigma=1").shape == (7, 7)
    assert kernels.load("sobel").weights.tolist() == [[[1, 2]]]
    listed = {entry.path.stem: entry.own for entry in kernels.entries()}
    assert listed["my-blur"]
    assert listed["sobel"]
    assert not listed["gaussian"]


def test_a_broken_file_in_the_own_folder_harms_nobody_else(own):
    (own / "broken.toml").write_text("name = 3")
    assert kernels.load("blur").name == "gaussian"
    with pytest.raises(KernelError, match=r"broken\.toml:1: name must be a string"):
        kernels.load("broken")


def test_looking_up_a_name_opens_that_file_alone(monkeypatch):
    opened = []
    monkeypatch.setattr(
        presets, "read_text", lambda path: opened.append(path.name) or path.read_text()
    )
    kernels.load("sobel")
    assert opened == ["sobel.toml"]
