"""Pictures through pipes, and what a terminal shows."""

import io
import os
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from program import (
    IDENTITY,
    PATIENCE,
    SHARPEN,
    Ended,
    assert_no_traceback,
    command,
    environment,
    noise,
    pixels_of,
    program,
    save,
)

SOBEL = ("-k", "sobel")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def piped(*stages: str) -> Ended:
    """Run a pipeline, as a shell does."""
    done = subprocess.run(
        ["bash", "-c", "set -o pipefail; " + " | ".join(stages)],
        capture_output=True,
        timeout=PATIENCE,
        env=environment(),
    )
    ended = Ended(done.returncode, done.stdout, done.stderr.decode())
    assert_no_traceback(ended.err)
    return ended


def stage(*arguments: str) -> str:
    return shlex.join(command("apply", *arguments))


def test_two_filters_in_a_pipe_are_two_filters_through_a_file(here):
    save("a.png", noise(60, 70, 3))
    through_pipe = piped(
        "cat a.png", stage(*SHARPEN, "-", "-o", "-"), stage(*SOBEL, "-", "-o", "-")
    )
    assert (through_pipe.code, through_pipe.errors) == (0, [])
    program("apply", *SHARPEN, "-o", "b.png", "a.png")
    program("apply", *SOBEL, "-o", "c.png", "b.png")
    # The image alone: not a byte before it or after it.
    assert through_pipe.raw == (here / "c.png").read_bytes()
    assert through_pipe.err.count("- → -") == 2


def test_arrays_through_pipes_stay_exact(here):
    # Through pixels, what is negative or beyond white would be lost between the two.
    save("a.npy", noise(20, 30, 3).astype(np.float32))
    twice = (stage("-q", *SHARPEN, "-", "-o", "-"), stage("-q", *SOBEL, "-", "-o", "-"))
    ran = piped("cat a.npy", *twice)
    assert (ran.code, ran.err) == (0, "")
    program("apply", *SHARPEN, "-o", "b.npy", "a.npy")
    program("apply", *SOBEL, "-o", "c.npy", "b.npy")
    np.testing.assert_array_equal(np.load(io.BytesIO(ran.raw)), np.load("c.npy"))
    assert np.load("b.npy").min() < 0


@pytest.mark.parametrize(
    ("name", "kind"),
    [("png", "PNG"), ("jpg", "JPEG"), ("tif", "TIFF"), ("webp", "WEBP"), ("bmp", "BMP")],
)
def test_the_format_of_standard_output(here, name, kind):
    pixels = save("a.bmp", noise(20, 30, 3))
    ran = program("apply", *IDENTITY, "-q", "a.bmp", "-o", "-", "--format", name)
    assert (ran.code, ran.err) == (0, "")
    with Image.open(io.BytesIO(ran.raw)) as image:
        assert image.format == kind
        if kind != "JPEG":
            np.testing.assert_array_equal(np.asarray(image), pixels)
    assert os.listdir() == ["a.bmp"]


@pytest.mark.parametrize("form", [[], ["--json"], ["--verbose"], ["--verify"]])
def test_standard_output_holds_the_image_alone(here, form):
    pixels = save("a.png", noise(20, 30, 3))
    program("apply", *IDENTITY, "-o", "b.png", "a.png")
    ran = program("apply", *IDENTITY, "-o", "-", "a.png", *form)
    assert ran.code == 0
    assert ran.raw == (here / "b.png").read_bytes()
    assert ran.err.strip()
    np.testing.assert_array_equal(pixels_of("b.png"), pixels)


def test_two_inputs_into_standard_output_are_refused_before_work(here):
    for name in ("a.png", "b.png"):
        save(name, noise(20, 30, 3))
    ran = program("apply", *IDENTITY, "-o", "-", "a.png", "b.png")
    assert (ran.code, ran.raw) == (2, b"")
    assert ran.errors == [
        "error: standard output takes one image, but there are 2 inputs",
    ]


@pytest.mark.parametrize(
    ("data", "words"), [(b"", "empty"), (b"no picture", "not an image"), (None, "truncated")]
)
def test_what_is_no_picture_in_a_pipe(here, data, words):
    save("a.png", noise(40, 40, 3))
    stdin = (here / "a.png").read_bytes()[:2000] if data is None else data
    ran = program("apply", *IDENTITY, "-", "-o", "-", stdin=stdin)
    assert (ran.code, ran.raw) == (1, b"")
    [line] = ran.errors
    assert line.startswith("error: -: ")
    assert words in line


# Terminals

UP, ERASE_LINE = re.compile(r"\x1b\[(\d*)A"), "\x1b[2K"
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COLOUR = re.compile(r"\x1b\[(?:[0-9;]*;)?(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])(?:;[0-9;]*)?m")
BAR = "━"

# No note that something is compiled first.
AT_ONCE = ("--engine", "numpy")


def on_terminal(*arguments: str, err_only: bool = True, **variables: str) -> tuple[int, str]:
    """Run ``convtool apply`` with a terminal as standard error, or as both outputs.

    Returns
    -------
    int
        The exit status.
    str
        All that the terminal was sent.
    """
    import pty

    ours, theirs = pty.openpty()
    with open(ours, "rb", buffering=0) as screen:
        process = subprocess.Popen(
            command("apply", *arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if err_only else theirs,
            stderr=theirs,
            env=environment(TERM="xterm-256color", COLUMNS="100", LINES="40", **variables),
        )
        os.close(theirs)
        sent = b""
        try:
            while part := screen.read(4096):
                sent += part
        except OSError:
            pass  # Linux says so when the last writer has closed it
        code = process.wait(PATIENCE)
    text = sent.decode()
    assert_no_traceback(text)
    return code, text


def shown(sent: str) -> list[str]:
    """Return the lines that stand on a terminal at the end: as much of one as the bar needs."""
    lines, row, column = [""], 0, 0
    for part in re.split(r"(\x1b\[[0-9;?]*[A-Za-z]|\r|\n)", sent):
        if part == "\r":
            column = 0
        elif part == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif up := UP.fullmatch(part):
            row = max(row - int(up[1] or 1), 0)
        elif part == ERASE_LINE:
            lines[row] = ""
        elif not ESCAPE.fullmatch(part):
            line = lines[row].ljust(column)
            lines[row] = line[:column] + part + line[column + len(part) :]
            column += len(part)
    return [line for line in lines if line.strip()]


@pytest.fixture
def many(here):
    """Enough pictures that the bar has something to show."""
    save("a.bmp", noise(200, 200, 3))
    return ["a.bmp"] * 150


posix = pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")


def test_the_terminal_of_these_tests_forgets_what_is_erased():
    assert shown("one\r\ntwo\r\n\x1b[1A\x1b[2Kthree") == ["one", "three"]
    assert shown(f"{BAR * 3} 1/2\r\x1b[2Kdone\r\n") == ["done"]
    assert shown("12345\rab") == ["ab345"]


@posix
def test_a_bar_shows_how_far_a_batch_is_and_goes_away(many):
    code, sent = on_terminal(*IDENTITY, *AT_ONCE, "-o", "out/{index}{ext}", *many)
    assert code == 0
    assert BAR in sent
    assert f"/{len(many)}" in ESCAPE.sub("", sent)
    assert shown(sent) == []
    # The cursor was hidden as often as it was shown again.
    assert sent.rfind("\x1b[?25h") >= sent.rfind("\x1b[?25l")
    assert len(os.listdir("out")) == len(many)


@posix
def test_errors_stay_when_the_bar_goes_away(many):
    names = [*many[:50], "missing.png", *many[50:]]
    code, sent = on_terminal(*IDENTITY, *AT_ONCE, "-o", "out/{index}{ext}", *names)
    assert code == 1
    [line] = shown(sent)
    assert line.startswith("error: missing.png: ")


@posix
def test_a_note_is_not_written_into_the_bar(many):
    # With nothing kept from earlier runs, the engine says that it compiles.
    arguments = ("--engine", "cpu", "-o", "out/{index}{ext}", *many[:30])
    code, sent = on_terminal(*IDENTITY, *arguments, XDG_CACHE_HOME=os.path.abspath("cache"))
    assert code == 0
    assert BAR in sent
    [line] = shown(sent)
    assert line.startswith("note: compiling")


@posix
@pytest.mark.parametrize("silent", [["--quiet"], ["--dry-run"]])
def test_no_bar_where_none_is_wanted(many, silent):
    code, sent = on_terminal(*IDENTITY, "-o", "out/{index}{ext}", *silent, *many)
    assert (code, sent) == (0, "")


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_no_bar_in_a_pipe(many, form):
    ran = program("apply", *IDENTITY, "-o", "out/{index}{ext}", *form, *many)
    assert ran.code == 0
    assert BAR not in ran.err
    assert "\x1b" not in ran.err + ran.out


@posix
def test_no_color(many):
    arguments = (*SOBEL, "-o", "out/{index}{ext}", *many[:20], "missing.png")
    _, coloured = on_terminal(*arguments, err_only=False)
    _, plain = on_terminal(*arguments, err_only=False, NO_COLOR="1")
    assert COLOUR.search(coloured)
    assert not COLOUR.search(plain)
    for sent in (coloured, plain):
        assert any(line.startswith("error: missing.png") for line in shown(sent))
        assert any(line.startswith("20 done, 1 failed in") for line in shown(sent))
