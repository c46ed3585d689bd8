"""Help pages: complete, correct, and fit for a terminal of 80 columns."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
import typer

from convtool import bank
from convtool.cli import program
from convtool.cli.help import Command, Group, definition, tidy
from shell import run

STACKS = Path(__file__).parent.parent.parent / "docs" / "stacks"

ROOT = typer.main.get_command(program())


def pages(command=ROOT, path=()):
    """Yield every command with the words that lead to it."""
    yield path, command
    for name, inner in sorted(getattr(command, "commands", {}).items()):
        yield from pages(inner, (*path, name))


PAGES = list(pages())
NAMES = [" ".join(path) or "convtool" for path, _ in PAGES]


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def page_of(path):
    ran = run(*path, "--help")
    assert (ran.code, ran.err) == (0, "")
    return ran.out


def section(page, heading):
    """Return the lines of a section, whose heading stands at the margin."""
    [found] = re.findall(rf"^{heading}:\n((?:  .*\n|\n(?=  ))*)", page, re.MULTILINE)
    return [line.strip() for line in found.splitlines() if line.strip()]


def examples():
    """Yield every example, as a shell would hand it over."""
    for path, _ in PAGES:
        for line in section(page_of(path), "Examples"):
            # What comes from a pipe or goes into a file is the shell's.
            yield line, shlex.split(re.sub(r"^.*\| (?=convtool)| > \S+$", "", line))


def test_there_is_a_page_for_every_command():
    assert [
        *("convtool", "apply", "bench", "doctor"),
        *("kernels", "kernels check", "kernels export", "kernels list", "kernels show"),
        *("shape", "transpose"),
    ] == NAMES
    for _, command in PAGES:
        assert isinstance(command, Command | Group)


@pytest.mark.parametrize("path", [path for path, _ in PAGES], ids=NAMES)
def test_a_page_is_complete_and_fits(path):
    page = page_of(path)
    assert page.startswith(" ".join(["Usage: convtool", *path, ""]))
    assert "{" not in page.splitlines()[0]
    assert len(section(page, "Examples")) >= 1
    for line in section(page, "Exit status"):
        # Text that goes on has no number.
        assert re.match(r"(0|1|2|130|141)  +\S|[a-z]", line)
    assert len(section(page, "Environment")) >= 1
    assert [line for line in page.splitlines() if len(line) > 80] == []
    assert "default: (" not in page
    assert "\x1b" not in page
    assert "\b" not in page


@pytest.mark.parametrize("path", [path for path, _ in PAGES], ids=NAMES)
def test_every_option_is_explained(path):
    command = dict(PAGES)[path]
    context = command.make_context("convtool", [], resilient_parsing=True)
    for parameter in command.get_params(context):
        assert parameter.help, parameter.name
        if parameter.param_type_name == "option":
            assert max(parameter.opts, key=len) in page_of(path)


@pytest.mark.parametrize("command", ["apply", "shape"])
def test_weights_of_layers_are_explained(command):
    page = page_of([command])
    for word in (
        *("weights.npz:name", "net.safetensors:conv1.weight", "pip install safetensors"),
        *("HWIO", "HWOI", "OIHW", "IOHW", "FILE:name", "scale =", "mean =", "deviation"),
    ):
        assert word in page
    page = page_of(["transpose"])
    assert "--layout IOHW" in page


def test_lists_of_commands_are_not_cut_off():
    for path in [(), ("kernels",)]:
        for line in section(page_of(path), "Commands"):
            assert line.endswith("."), line
            assert not line.endswith(".."), line


def parsed(words):
    """Parse a command line without running it; return the context of the last command."""
    program, *rest = words
    assert program == "convtool"
    context = ROOT.make_context(program, rest)
    while hasattr(context.command, "commands"):
        name, command, rest = context.command.resolve_command(
            context, [*context._protected_args, *context.args]
        )
        context = command.make_context(name, rest, parent=context)
    return context


def test_every_example_can_be_parsed():
    lines = list(examples())
    assert len(lines) >= 30
    for line, words in lines:
        context = parsed(words)
        for kernel in context.params.get("kernel") or []:
            if context.info_name in ("apply", "transpose") and not kernel.endswith(".npy"):
                assert bank.load([kernel]).filters, line


def test_every_example_of_apply_and_transpose_would_run(tmp_path, monkeypatch):
    import numpy as np
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for name in ("photo.png", "photo.jpg", "photo.tif", "photos/a.png"):
        Image.new("RGB", (30, 20)).save(name)
    np.save("weights.npy", np.ones((3, 3, 3, 3)))
    shutil.copy(STACKS / "edges.toml", tmp_path)
    tried = 0
    for line, (_, command, *words) in examples():
        if command not in ("apply", "transpose"):
            continue
        given = b"photo.png\0" if "-0" in words else (tmp_path / "photo.png").read_bytes()
        words = ["photo.jpg" if word == "*.jpg" else word for word in words]
        ran = run(command, *words, "--dry-run", stdin=given)
        assert ran.code == 0, (line, ran.err)
        tried += 1
    assert tried >= 15


def test_every_example_of_shape_and_kernels_works(tmp_path, monkeypatch, samples):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (300, 200)).save("photo.jpg")
    (tmp_path / "kernels").mkdir()
    toml = run("kernels", "export", "sobel").out
    for name in ("my-kernel", "my-filter", "kernels/one"):
        (tmp_path / f"{name}.toml").write_text(toml)
    (tmp_path / "my-kernel.csv").write_text("1,2\n3,4\n")
    (tmp_path / "net.toml").write_text('[[layer]]\nop = "pool"\nsize = 2\n')
    for line, (_, command, *words) in examples():
        if command in ("shape", "kernels"):
            words = ["kernels/one.toml" if "*" in word else word for word in words]
            ran = run(command, *words)
            assert ran.code == 0, (line, ran.err)


def test_defaults_and_limits_are_tidy():
    assert tidy("Of JPEG.  [default: (92); 1<=x<=100]") == "Of JPEG.  [default: 92]"
    assert tidy("A.  [default: (x (y))]") == "A.  [default: x (y)]"
    assert tidy("Level.  [0<=x<=9]") == "Level."
    assert tidy("A.  [default: 5; x>=1]") == "A.  [default: 5]"
    assert tidy("A.  [required]") == "A.  [required]"


def test_definitions_keep_words_whole():
    text = definition("--padding MODE", "one of them: same-lower", 40)
    assert text.splitlines() == [
        "  --padding MODE          one of them:",
        " " * 26 + "same-lower",
    ]
    assert definition("-p, --padding MODE|N|HxW|T,B", "how much", 80).splitlines() == [
        "  -p, --padding MODE|N|HxW|T,B",
        " " * 26 + "how much",
    ]
