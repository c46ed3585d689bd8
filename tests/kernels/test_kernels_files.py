"""Kernel files of every form, and what is wrong with them, by line."""

import io
import os
import zipfile

import numpy as np
import pytest

from convtool import kernels
from convtool.errors import KernelError
from convtool.kernels.positions import Positions


@pytest.mark.parametrize(
    ("name", "text", "rows"),
    [
        ("a.csv", "1,2\n3,4\n", [[1, 2], [3, 4]]),
        ("a.csv", "1;2\r\n3;4\r\n", [[1, 2], [3, 4]]),
        ("a.csv", "\ufeff1,-2", [[1, -2]]),
        ("a.txt", "# a comment\n1 2 # another\n\n  3\t4\n", [[1, 2], [3, 4]]),
        ("A.TXT", "1/4 1/2 1/4", [[0.25, 0.5, 0.25]]),
        ("a.mat", "3 2\n1 2 3\n4 5 6\n", [[1, 2, 3], [4, 5, 6]]),
        ("a.mat", "2 1 4\n1 2\n", [[0.25, 0.5]]),
        ("a.mat", "2 1 4 0\n1,2\n", [[0.25, 0.5]]),
    ],
)
def test_text_files(tmp_path, name, text, rows):
    path = tmp_path / name
    path.write_bytes(text.encode())
    kernel = kernels.load(str(path))
    assert (kernel.name, kernel.shape, kernel.origin) == (path.stem, np.shape(rows), str(path))
    assert kernel.weights.tolist() == [rows]
    assert kernel.bias is None


def test_the_offset_of_a_vips_matrix_is_a_bias(tmp_path):
    (tmp_path / "a.mat").write_text("1 1 2 128\n3")
    kernel = kernels.load(str(tmp_path / "a.mat"))
    assert kernel.weights.tolist() == [[[1.5]]]
    assert kernel.bias == (128,)


def npy(array, **options):
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def npz(**arrays):
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def test_arrays(tmp_path):
    (tmp_path / "a.npy").write_bytes(npy(np.arange(6, dtype=np.int16).reshape(2, 3)))
    (tmp_path / "b.npy").write_bytes(npy(np.ones((3, 3, 2, 4), np.float32)))
    (tmp_path / "one.npz").write_bytes(npz(only=np.eye(2)))
    (tmp_path / "two.npz").write_bytes(npz(first=np.eye(2), second=2 * np.eye(3)))
    assert kernels.load(str(tmp_path / "a.npy")).weights.tolist() == [[[0, 1, 2], [3, 4, 5]]]
    hwio = kernels.load(str(tmp_path / "b.npy"))
    assert (hwio.shape, hwio.filters, hwio.weights.shape) == ((3, 3, 2, 4), 4, (3, 3, 2, 4))
    assert kernels.load(str(tmp_path / "one.npz")).shape == (2, 2)
    second = kernels.load(f"{tmp_path / 'two.npz'}:second")
    assert (second.name, second.weights.max()) == ("two", 2)


OBJECTS = npy(np.array([[1, "a"]], dtype=object), allow_pickle=True)
# A header that claims 60000 x 60000 float64 in a file of 128 bytes.
HUGE = npy(np.zeros((1, 1))).replace(b"(1, 1), }    ", b"(60000, 60000)}")[:128]


@pytest.mark.parametrize(
    ("name", "data", "message", "hint"),
    [
        ("a.csv", b"", "there are no taps in the file", "one row of numbers a line"),
        ("a.csv", b"# 1,2\n", "there are no taps in the file", ""),
        (
            "a.csv",
            b"1,2\n\n3\n",
            "3: rows must have one length, but this one has 1 taps and the first has 2",
            "",
        ),
        ("a.csv", b"1,2\n3,x\n", "2: 'x' is not a number", "1/9"),
        ("a.csv", b"1,2\n3,\n", "2: cell 2 is empty", "write 0 for a tap that is zero"),
        ("a.csv", b"0,5;1\n", "1: '0,5' is not a number", ""),
        ("a.txt", b"1 inf\n", "1: taps must be finite, but one is inf", ""),
        ("a.txt", b"1\n1/0\n", "2: '1/0' divides by zero", ""),
        ("a.txt", b"1 2\n\xff\xfe\n", "2: byte 0xff is not UTF-8 text", "save the file as UTF-8"),
        (
            "a.txt",
            b"1 " * 2048,
            "a kernel has at most 2047 taps a side, but 1x2048 are asked for",
            "",
        ),
        (
            "a.mat",
            b"",
            "there is no matrix in the file",
            "the first line is: width height scale offset",
        ),
        (
            "a.mat",
            b"MATLAB 5.0 MAT-file\0\xff",
            "this is a MATLAB data file, and .mat means vips' text matrix here",
            "kernel.csv",
        ),
        ("a.mat", b"1 2 3\n", "1: the first line says 2 rows, but 0 follow", ""),
        ("a.mat", b"0 2\n", "1: a matrix begins with its size, but here stands 0 2", ""),
        ("a.mat", b"1\n1\n", "1: a matrix begins with its size, but here stands 1", ""),
        ("a.mat", b"3 1\n1 2\n", "2: the first line says 3 columns, but this row has 2 taps", ""),
        ("a.mat", b"2 2\n1 2\n", "1: the first line says 2 rows, but 1 follow", ""),
        ("a.mat", b"2 1 0\n1 2\n", "1: the scale must not be zero", ""),
        ("a.npy", b"", "this is not a .npy file", "numpy.save writes one"),
        ("a.npy", b"1,2\n", "this is not a .npy file", ""),
        ("a.npy", npy(np.eye(9))[:200], "the file is damaged, or cut short", "save it again"),
        ("a.npy", HUGE, "the file is damaged, or cut short", ""),
        (
            "a.npy",
            OBJECTS,
            "arrays of Python objects are never opened, as that can run any code",
            "save the taps as float64",
        ),
        (
            "a.npy",
            npy(np.ones((2, 2, 2))),
            "a kernel has rank 2 or 4, but the array has rank 3 (2x2x2)",
            "HWIO",
        ),
        (
            "a.npy",
            npy(np.ones((0, 2))),
            "a kernel needs at least one tap, but the array is 0x2",
            "",
        ),
        ("a.npz", b"PK\x03\x04 nothing", "the file is damaged, or cut short", ""),
        ("a.npz", b"", "this is not a .npz file", "numpy.savez writes one"),
        ("a.npz", npz(), "this .npz file holds no array", "numpy.savez writes one"),
        ("a.npz", npy(np.eye(2)), "this is not a .npz file", ""),
        (
            "a.npz",
            npz(x=np.array([None])),
            "arrays of Python objects are never opened, as that can run any code",
            "",
        ),
        (
            "a.npz",
            npz(x=np.eye(2), y=np.eye(2)),
            "one array must be chosen of the 2 in it: x (2x2), y (2x2)",
            "a.npz:x",
        ),
    ],
)
def test_what_is_wrong_with_a_file(tmp_path, name, data, message, hint):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(KernelError) as caught:
        kernels.load(str(path))
    place = f"{path}:" if message[0].isdigit() else f"{path}: "
    assert caught.value.message == place + message
    assert hint in caught.value.hint
    (problem,) = kernels.check(path)
    assert problem.error(path).message == caught.value.message


def test_a_missing_member_is_named(tmp_path):
    path = tmp_path / "a.npz"
    path.write_bytes(npz(x=np.eye(2)))
    with pytest.raises(KernelError, match=r"it holds x \(2x2\), but no 'y'"):
        kernels.load(f"{path}:y")


def test_a_member_with_a_damaged_checksum(tmp_path):
    path = tmp_path / "a.npz"
    data = bytearray(npz(x=np.eye(2)))
    data[data.index(b"\x93NUMPY") + 130] ^= 255
    path.write_bytes(data)
    assert zipfile.is_zipfile(path)
    with pytest.raises(KernelError, match="damaged, or cut short"):
        kernels.load(str(path))


def test_a_missing_file_and_a_name_one_letter_off(tmp_path):
    (tmp_path / "edges.csv").write_text("1")
    with pytest.raises(KernelError, match=r"edge\.csv: no such file") as caught:
        kernels.load(str(tmp_path / "edge.csv"))
    assert caught.value.hint == "did you mean edges.csv?"
    with pytest.raises(KernelError, match="no such file") as caught:
        kernels.load(str(tmp_path / "nowhere" / "edge.npy"))
    assert caught.value.hint == ""


def test_a_file_that_cannot_be_read(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(KernelError, match="the file cannot be read: Is a directory"):
        kernels.load(str(tmp_path / "folder.csv"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read(tmp_path):
    path = tmp_path / "secret.csv"
    path.write_text("1")
    path.chmod(0)
    with pytest.raises(KernelError, match="the file cannot be read: Permission denied"):
        kernels.load(str(path))


# ---------------------------------------------------------------- TOML

HEAD = 'name = "k"\ndescription = "A kernel"\n'


def write(tmp_path, text, name="k.toml"):
    path = tmp_path / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("taps = [[1, 2], [3, 4]]", [[[1, 2], [3, 4]]]),
        ("taps = [[1, 2], [3, 4]]\ndivide = 4", [[[0.25, 0.5], [0.75, 1]]]),
        ("column = [1, 2]\nrow = [-1, 0, 1]", [[[-1, 0, 1], [-2, 0, 2]]]),
        ("[[filters]]\ntaps = [[1]]\n[[filters]]\ntaps = [[2]]\ndivide = 4", [[[1]], [[0.5]]]),
        ("filters = [{taps = [[1]]}, {column = [2], row = [3]}]", [[[1]], [[6]]]),
        ('formula = "box"\nparameters.size = "1x2"', [[[0.5, 0.5]]]),
        ('formula = "box"\n[parameters]\nsize = 2', [[[0.25, 0.25], [0.25, 0.25]]]),
    ],
)
def test_toml(tmp_path, text, weights):
    kernel = kernels.load(str(write(tmp_path, HEAD + text)))
    assert kernel.weights.tolist() == weights
    assert kernel.filters == len(weights)
    assert (kernel.name, kernel.description) == ("k", "A kernel")


def test_all_that_a_toml_file_may_say(tmp_path):
    text = HEAD + (
        'source = "me"\nmeaning = """\ntwo\nlines"""\ncombine = "absmax"\nbias = [1, -2]\n'
        'aliases = ["kay"]\n[[filters]]\nname = "a"\ntaps = [[1]]\n'
        '[[filters]]\nname = "b"\ntaps = [[2]]\n'
    )
    kernel = kernels.load(str(write(tmp_path, text)))
    assert (kernel.combine, kernel.bias, kernel.filter_names) == ("absmax", (1, -2), ("a", "b"))
    assert (kernel.source, kernel.meaning) == ("me", "two lines")
    assert kernel.pick("b").bias == (-2,)


def test_one_bias_serves_every_filter(tmp_path):
    text = HEAD + 'bias = 3\nformula = "gabor"\n[parameters]\norientations = 3\nsize = 9\n'
    assert kernels.load(str(write(tmp_path, text))).bias == (3, 3, 3)


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        (HEAD + "taps = [[1, 2]", ["3: not TOML: Unclosed array, at the end of the file"]),
        (HEAD + "taps = ]", ["3: not TOML: Invalid value, at column 8"]),
        (
            "",
            ["1: a kernel needs taps, [[filters]] or a formula, but there is none of them"],
        ),
        (
            "\ndescription = 3\nname = 'q'\ntaps = [[1]]",
            ["2: description must be a string, but is an integer"],
        ),
        (
            HEAD + "tap = [[1]]\n\nsuorce = 'x'\ntaps = [[1]]",
            ["3: 'tap' is not a key of a kernel", "5: 'suorce' is not a key of a kernel"],
        ),
        (
            'name = "k"\ndescription = """\na\nb"""\ntaps = [[1]]',
            ["2: the description must be one line"],
        ),
        (
            HEAD + "taps = [\n  [1, 2, 3],\n  # a comment, [1]\n  [1, 2],\n]",
            ["6: rows must have one length, but row 2 has 2 taps and row 1 has 3"],
        ),
        (
            HEAD + "taps = [\n  [1, 'a'],\n  [nan, 2],\n]",
            [
                "4: taps must be finite numbers, but row 1 has 'a'",
                "5: taps must be finite numbers, but row 2 has nan",
            ],
        ),
        (HEAD + "taps = [[true]]", ["3: taps must be finite numbers, but row 1 has True"]),
        (HEAD + "taps = [1, -1]", ["3: taps must be a list of rows, but is a list"]),
        (HEAD + "taps = []", ["3: taps must be a list of rows, but is empty"]),
        (HEAD + "taps = [[]]", ["3: row 1 must be a list of numbers, but is empty"]),
        (HEAD + "taps = 3.5", ["3: taps must be a list of rows, but is a float"]),
        (HEAD + "taps = [[1e308]]\ndivide = 1e-9", ["4: taps must be finite, but one overflows"]),
        (
            HEAD + "taps = [[1]]\ndivide = 0",
            ["4: divide must be a number that is not zero, but is 0"],
        ),
        (
            HEAD + "column = [1]",
            ["1: a filter has taps, or a column and a row, but row is missing"],
        ),
        (HEAD + "row = 3\ncolumn = [1]", ["3: row must be a list of numbers, but is an integer"]),
        (HEAD + "taps = [[1]]\nrow = [1]", ["4: taps say it all, but there is a row too"]),
        (
            HEAD + f"row = {[1] * 2048}\ncolumn = [1]",
            ["1: a kernel has at most 2047 taps a side, but 1x2048 are asked for"],
        ),
        (
            HEAD + "taps = [[1]]\n[[filters]]\ntaps = [[1]]",
            ["3: a file has [[filters]] or taps at the top, but not both"],
        ),
        (HEAD + "filters = 3", ["3: filters must be tables, each under a line [[filters]]"]),
        (
            HEAD + "[[filters]]\ntaps = [[1]]\n\n[[filters]]\ntaps = [[1, 2]]",
            ["6: filters must have one size, but filter 1 is 1x2 and the first is 1x1"],
        ),
        (
            HEAD + "[[filters]]\nname = 3\ntaps = [[1]]\n[[filters]]\ntap = [[1]]",
            [
                "4: name must be a string, but is an integer",
                "6: a filter has taps, or a column and a row, but column is missing",
                "6: a filter has taps, or a column and a row, but row is missing",
                "6: either every filter has a name or none has",
                "7: 'tap' is not a key of a kernel",
            ],
        ),
        (
            HEAD + "[[filters]]\nname = 'a'\ntaps = [[1]]\n[[filters]]\nname = 'a'\ntaps = [[1]]",
            ["7: two filters are called 'a'"],
        ),
        (
            HEAD + "[[filters]]\nname = 'a'\ntaps = [[1]]\n[[filters]]\ntaps = [[1]]",
            ["6: either every filter has a name or none has"],
        ),
        (
            HEAD + 'combine = "magnitud"\ntaps = [[1]]',
            [
                "3: combine must be one of each, magnitude, sum, mean, max, absmax, grid, but is "
                "'magnitud'"
            ],
        ),
        (
            HEAD + 'aliases = "x"\ntaps = [[1]]',
            ['3: aliases must be a list of strings, as in ["blur"]'],
        ),
        (
            HEAD + 'bias = "x"\ntaps = [[1]]',
            ["3: bias must be a number or a list of them, but is 'x'"],
        ),
        (HEAD + "bias = [1, 2]\ntaps = [[1]]", ["3: bias has one number per filter, but 2 for 1"]),
        (HEAD + 'formula = "gausian"', ["3: there is no formula 'gausian'"]),
        (
            HEAD + 'formula = "box"\ntaps = [[1]]',
            ["4: a kernel has a formula or taps, but not both"],
        ),
        (HEAD + "taps = [[1]]\n[parameters]\nsize = 3", ["4: parameters need a formula"]),
        (
            HEAD + 'formula = "box"\nparameters = 3',
            ["4: parameters must be a table, but is an integer"],
        ),
        (
            HEAD + 'formula = "gaussian"\n[parameters]\nsigma = 0\nsgima = 2\nsize = 2020-01-01',
            [
                "5: sigma must be between 0.1 and 2047, but 0 is given",
                "6: gaussian takes sigma, size, but 'sgima' is given",
                "7: size must be N or HxW or auto, but datetime.date(2020, 1, 1) is given",
            ],
        ),
        (
            HEAD + 'formula = "gaussian"\n[parameters]\nsigma = 2000',
            ["4: a kernel has at most 2047 taps a side, but 12001x12001 are asked for"],
        ),
    ],
)
def test_every_problem_of_a_toml_file_is_found_with_its_line(tmp_path, text, problems):
    path = write(tmp_path, text)
    found = kernels.check(path)
    assert [f"{p.line}: {p.message}" for p in found] == problems
    with pytest.raises(KernelError) as caught:
        kernels.load(str(path))
    assert caught.value.message == f"{path}:{problems[0]}"


def test_a_file_by_path_needs_taps_alone_and_is_called_by_its_stem(tmp_path):
    for text in ("taps = [[1, 2]]", 'name = "sobel"\ntaps = [[1, 2]]'):
        path = write(tmp_path, text)
        assert kernels.load(str(path)).name == path.stem


def test_a_preset_is_called_as_its_file(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    folder = tmp_path / "convtool" / "kernels"
    folder.mkdir(parents=True)
    (folder / "mine.toml").write_text('name = "other"\ntaps = [[1]]')
    message = "the name must equal the file's, but 'other' is in mine.toml"
    (problem,) = kernels.check(folder / "mine.toml")
    assert (problem.line, problem.message) == (1, message)
    with pytest.raises(KernelError, match="the name must equal"):
        kernels.load("mine")


def test_hints_of_a_toml_file(tmp_path):
    text = 'nmae = "k"\ndescription = "x"\ncombine = "maximum"\nformula = "gausian"\n'
    hints = {p.message.split()[0]: p.hint for p in kernels.check(write(tmp_path, text))}
    assert hints["'nmae'"] == "did you mean name?"
    assert hints["there"] == "did you mean gaussian?"
    assert "max" in hints["combine"]


def test_a_weight_that_cannot_be_made_is_a_problem_of_the_file(tmp_path):
    text = HEAD + 'formula = "gabor"\n[parameters]\nsize = 1\n'
    (problem,) = kernels.check(write(tmp_path, text))
    assert problem.message.startswith("no wave is left")


def test_positions():
    text = (
        '"name" = "a # [b]"  # = [[c]]\n'
        "text = '''\n[[no]]\nx = 1\n'''\n"
        "[ parameters ]\nsigma = 1\n"
        "[[filters]]\n\ntaps = [ # one\n [1, 2],\n\n [3, 4] ]\n"
        '[[filters]]\nname = "]"\na . b = { c = [1] }\nlast = 1'
    )
    places = Positions(text)
    assert places.line("name") == 1
    assert places.line("text") == 2
    assert places.line("parameters", "sigma") == 7
    assert places.line("filters", 0) == 8
    assert places.line("filters", 0, "taps") == 10
    assert places.line("filters", 0, "taps", 0) == 11
    assert places.line("filters", 0, "taps", 1) == 13
    assert places.line("filters", 1, "name") == 15
    assert places.line("filters", 1, "a", "b") == 16
    assert places.line("filters", 1, "last") == 17
    assert places.line("filters", 1, "missing") == 14
    assert places.line("filters", 1, "a") == 16
    assert places.line("filters") == 8
    assert places.line("missing") == 1
