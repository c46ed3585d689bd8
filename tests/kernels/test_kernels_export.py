"""What is exported can be read again and is the same kernel."""

import numpy as np
import pytest

from convtool import kernels
from convtool.errors import KernelError, UsageError
from convtool.images import write_atomically
from convtool.kernels import Kernel, export

ONE = [
    "gaussian:sigma=1.7,size=5x7",
    "farid:filter=x",
    "difference",
    "motion:angle=30",
    "7",
    "2x1: 1/3 -2e-300",
]


@pytest.mark.parametrize("format", export.FORMATS)
@pytest.mark.parametrize("text", ONE)
def test_round_trip_of_one_filter(tmp_path, text, format):
    kernel = kernels.load(text)
    data = export.encode(kernel, format, "k")
    if format == "inline":
        again = kernels.load(data.decode())
    else:
        path = tmp_path / f"k.{format}"
        write_atomically(path, data)
        assert kernels.check(path) == []
        again = kernels.load(str(path))
    assert again.shape == kernel.shape
    assert np.array_equal(again.weights, kernel.weights)


@pytest.mark.parametrize("entry", kernels.entries(), ids=lambda entry: entry.path.stem)
def test_round_trip_of_every_preset_through_toml(tmp_path, entry):
    kernel = entry.definition.kernel()
    path = tmp_path / f"{kernel.name}.toml"
    write_atomically(path, export.encode(kernel, "toml"))
    again = kernels.load(str(path))
    assert np.array_equal(again.weights, kernel.weights)
    for key in (
        "name",
        "shape",
        "filters",
        "filter_names",
        "combine",
        "bias",
        "description",
        "source",
        "meaning",
    ):
        assert getattr(again, key) == getattr(kernel, key), key


def test_several_filters_go_into_an_npz_under_their_names(tmp_path):
    path = tmp_path / "sobel.npz"
    write_atomically(path, export.encode(kernels.load("sobel"), "npz"))
    assert np.array_equal(kernels.load(f"{path}:y").weights, kernels.load("sobel:filter=y").weights)


def test_names_that_are_arguments_of_savez_are_kept(tmp_path):
    kernel = Kernel("file", (1, 1), 1, lambda: np.ones((1, 1, 1)))
    write_atomically(tmp_path / "a.npz", export.encode(kernel, "npz"))
    assert kernels.load(f"{tmp_path / 'a.npz'}:file").weights.tolist() == [[[1]]]


@pytest.mark.parametrize("format", ["npy", "npz"])
def test_round_trip_across_channels(tmp_path, format):
    weights = np.random.default_rng(3).normal(size=(3, 2, 4, 5))
    kernel = Kernel.from_array("k", weights, "here")
    path = tmp_path / f"k.{format}"
    write_atomically(path, export.encode(kernel, format))
    again = kernels.load(str(path))
    assert again.shape == (3, 2, 4, 5)
    assert np.array_equal(again.weights, weights)


@pytest.mark.parametrize("format", ["toml", "mat"])
def test_a_bias_is_kept_where_the_form_can(tmp_path, format):
    kernel = Kernel.from_rows("k", [[1.0, 2.0]], "here", offset=0.1)
    path = tmp_path / f"k.{format}"
    write_atomically(path, export.encode(kernel, format))
    assert kernels.load(str(path)).bias == (0.1,)


def test_strings_are_escaped(tmp_path):
    text = 'a "quoted" \\ back\tslash \x7f \u00e9'
    kernel = Kernel("k", (1, 1), 1, lambda: np.ones((1, 1, 1)), description=text)
    write_atomically(tmp_path / "k.toml", export.encode(kernel, "toml"))
    assert kernels.load(str(tmp_path / "k.toml")).description == text


@pytest.mark.parametrize("format", ["csv", "txt", "mat", "npy", "inline"])
def test_forms_of_one_filter_refuse_several(format):
    with pytest.raises(KernelError, match=f"{format} holds one filter, but sobel has 2") as caught:
        export.encode(kernels.load("sobel"), format)
    assert "sobel:filter=x" in caught.value.hint


@pytest.mark.parametrize("format", ["toml", "csv", "txt", "mat", "inline"])
def test_text_forms_refuse_kernels_across_channels(format):
    kernel = Kernel.from_array("k", np.ones((3, 3, 2, 1)), "here")
    with pytest.raises(KernelError, match=r"holds \[kh, kw\], but k is HWIO 3x3x2x1") as caught:
        export.encode(kernel, format)
    assert caught.value.hint == "export it as npy or npz"


@pytest.mark.parametrize("format", ["csv", "txt", "npy", "npz", "inline"])
def test_forms_without_a_bias_refuse_one(format):
    kernel = Kernel.from_rows("k", [[1.0]], "here", offset=3)
    with pytest.raises(KernelError, match=f"{format} holds no bias, but k has one") as caught:
        export.encode(kernel, format)
    assert caught.value.hint == "export toml or mat"


def test_the_form_is_asked_for_or_the_suffix(tmp_path):
    assert export.format_for(None, None) == "toml"
    assert export.format_for(None, tmp_path / "a.CSV") == "csv"
    assert export.format_for("npy", tmp_path / "a.csv") == "npy"
    with pytest.raises(UsageError, match=r"one of toml, csv, .* but 'xml' is asked for"):
        export.format_for("xml", None)
    with pytest.raises(UsageError, match=r"one of toml, csv, .* says none"):
        export.format_for(None, tmp_path / "a")
