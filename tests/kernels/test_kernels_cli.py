"""convtool kernels list, show, check, export: what a person and a program see."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from convtool import kernels
from convtool.cli.kernels import app
from convtool.errors import ConvtoolError


def run(*arguments, **environment):
    result = CliRunner().invoke(app, [str(a) for a in arguments], env=environment)
    if isinstance(result.exception, ConvtoolError):
        raise result.exception
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_list_names_every_preset_within_80_columns():
    lines = run("list").stdout.splitlines()
    assert lines[0].split() == ["NAME", "SIZE", "SUM", "FILTERS", "DESCRIPTION"]
    assert max(map(len, lines)) <= 80
    names = {line.split()[0] for line in lines[1:] if line[0] != " "}
    assert names == {entry.path.stem for entry in kernels.entries()}
    (sobel,) = (line for line in lines if line.startswith("sobel "))
    assert sobel.split() == [
        "sobel",
        "3x3",
        "0",
        "2",
        "magnitude",
        "Gradient,",
        "smoothed",
        "1",
        "2",
        "1",
    ]
    assert "  sigma=1  size=auto  (also blur)" in lines


def test_list_as_json():
    records = [json.loads(line) for line in run("list", "--json").stdout.splitlines()]
    (basis,) = (r for r in records if r["name"] == "frei-chen-basis")
    assert (basis["shape"], basis["filters"], basis["combine"]) == ([3, 3], 9, "each")
    assert basis["sum"] == pytest.approx([0] * 8 + [3])
    assert basis["filter_names"][8] == "average"
    (gaussian,) = (r for r in records if r["name"] == "gaussian")
    assert gaussian["parameters"][0]["name"] == "sigma"
    assert gaussian["aliases"] == ["blur"]
    assert gaussian["own"] is False


def test_list_marks_own_files_and_warns_of_broken_ones(tmp_path):
    folder = tmp_path / "convtool" / "kernels"
    folder.mkdir(parents=True)
    (folder / "mine.toml").write_text(
        f'name = "mine"\ndescription = "{"long " * 20}"\ntaps = [[1]]\n'
    )
    (folder / "bad.toml").write_text('name = "bad"\ndescription = "x"\ntaps = [[1], [2, 3]]\n')
    result = run("list", XDG_CONFIG_HOME=str(tmp_path))
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("mine "))
    assert lines[at].endswith("…")
    assert len(lines[at]) <= 80
    assert lines[at + 1] == "  (your own)"
    assert f"{folder / 'bad.toml'}:3: rows must have one length" in result.stderr


def test_show_says_what_a_kernel_is():
    out = run("show", "sobel").stdout
    for text in (
        "sobel  Gradient, smoothed 1 2 1",
        "filters     2: x, y",
        "combine     magnitude",
        "   -2   0   2",
        "gain        8   -4 to 4 for inputs in 0..1; noise x 3.464",
        "symmetry    left-right odd, up-down even, half-turn odd",
        "rank        1   separable: 3 + 3 multiplications instead of 9",
        "  column    [1, 2, 1]",
        "  row       [-1, 0, 1]",
        "Nyquist",
        "I. Sobel and G. Feldman",
    ):
        assert text in out


@pytest.mark.parametrize(
    "name",
    [
        "sobel",
        "frei-chen-basis",
        "gabor:wavelength=20,orientations=2",
        "motion:length=200",
        "motion:length=200,angle=90",
        "box:size=1x300",
        "gaussian:sigma=3",
        "1 -1",
        "laplacian-9x9",
        "gaussian:sigma=300,size=3",
        "7",
        "2x2: 0 0 0 0",
        "1x3: 1e-9 123456789 0.5",
    ],
)
@pytest.mark.parametrize("colour", ["", "1"])
def test_show_fits_into_80_columns(name, colour):
    import re

    out = run("show", name, FORCE_COLOR=colour, COLORTERM="truecolor", COLUMNS="80").stdout
    assert ("\x1b[" in out) == bool(colour)
    for line in re.sub(r"\x1b\[[0-9;]*m", "", out).splitlines():
        assert len(line) <= 80 or line.startswith(("origin", " " * 12 + "/"))


def test_show_draws_negative_taps_blue_and_positive_ones_orange():
    out = run("show", "1 -1", FORCE_COLOR="1", COLORTERM="truecolor").stdout
    assert "48;2;230;97;1m  1 " in out
    assert "48;2;33;102;172m -1 " in out
    assert "\x1b[" not in run("show", "1 -1", FORCE_COLOR="1", NO_COLOR="1").stdout


def test_show_of_several_and_as_json():
    out = run("show", "sobel:filter=x", "1 -1", "--json").stdout
    sobel, inline = map(json.loads, out.splitlines())
    (x,) = sobel["weights"]
    assert (x["sum"], x["gain"], x["rank"], x["separable"]) == (0, 8, 1, True)
    assert x["taps"] == [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]
    assert (x["column"], x["row"]) == ([1, 2, 1], [-1, 0, 1])
    assert x["symmetry"]["left-right"] == "odd"
    assert len(x["frequency_response"]["diagonal"]) == 33
    assert (inline["name"], inline["shape"], inline["origin"]) == ("kernel", [1, 2], "inline")
    assert run("show", "sobel", "1 -1").stdout.count("origin") == 2


def test_show_of_a_kernel_across_channels(tmp_path):
    import numpy as np

    np.save(tmp_path / "k.npy", np.ones((2, 3, 2, 4)))
    out = run("show", tmp_path / "k.npy").stdout
    assert "2x3x2x4 HWIO, across the channels" in out
    assert "filter 3, input channel 1" in out


def test_show_of_an_unknown_name():
    with pytest.raises(ConvtoolError, match="no kernel is called 'sobl'"):
        run("show", "sobl")


def test_check(tmp_path):
    (tmp_path / "good.csv").write_text("1,2")
    (tmp_path / "bad.toml").write_text('name = "bad"\ntap = 1\n\ntaps = [[1]]\ncombine = "all"\n')
    good = run("check", tmp_path / "good.csv")
    assert good.exit_code == 0
    assert good.stdout == f"ok {tmp_path / 'good.csv'}: good, 1x2, 1 filter, sum 3\n"
    both = run("check", tmp_path / "good.csv", tmp_path / "bad.toml", tmp_path / "missing.npy")
    assert both.exit_code == 1
    lines = both.stdout.splitlines()
    bad = tmp_path / "bad.toml"
    assert lines[0].startswith("ok ")
    assert lines[1] == f"{bad}:2: 'tap' is not a key of a kernel (did you mean taps?)"
    assert lines[2].startswith(f"{bad}:5: combine must be one of each,")
    assert lines[3] == f"{tmp_path / 'missing.npy'}: no such file"


def test_every_preset_passes_check():
    result = run("check", *(entry.path for entry in kernels.entries()))
    assert result.exit_code == 0
    assert all(line.startswith("ok ") for line in result.stdout.splitlines())


def test_export(tmp_path):
    assert run("export", "1 -1", "--format", "inline").stdout == "1x2: 1,-1\n"
    assert run("export", "sobel:filter=x", "--format", "csv").stdout == "-1,0,1\n-2,0,2\n-1,0,1\n"
    assert run("export", "sobel").stdout.startswith('name = "sobel"\n')
    path = tmp_path / "soft.toml"
    assert run("export", "gaussian:sigma=2", "-o", path).stdout == ""
    assert path.read_text().startswith('name = "soft"\n')
    assert "# gaussian: sigma=2, size=auto" in path.read_text()
    assert kernels.load(str(path)).shape == (13, 13)
    run("export", "laplacian", "-o", tmp_path / "l.npy")
    assert kernels.load(str(tmp_path / "l.npy")).weights.min() == -4
    assert run("export", "1 2", "--format", "npy").stdout_bytes.startswith(b"\x93NUMPY")
    with pytest.raises(ConvtoolError, match="csv holds one filter, but sobel has 2"):
        run("export", "sobel", "--format", "csv")


def test_binary_forms_do_not_go_to_a_terminal(monkeypatch):
    from convtool.cli import kernels as command

    class Terminal:
        def isatty(self):
            return True

    monkeypatch.setattr(command.sys, "stdout", Terminal())
    with pytest.raises(ConvtoolError, match="npy is not text to show on a terminal") as caught:
        command.export("sobel:filter=x", None, "npy")
    assert caught.value.hint == "add -o kernel.npy"


@pytest.mark.parametrize("command", ["list", "show", "check", "export"])
def test_help_has_examples_as_written(command):
    out = run(command, "--help").stdout
    assert "Examples:" in out
    assert f"  convtool kernels {command}" in out
    assert max(map(len, out.splitlines())) <= 80


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom convtool.cli import kernels\n"
        "heavy = {'numpy', 'PIL', 'numba', 'rich'} & set(sys.modules)\nassert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
