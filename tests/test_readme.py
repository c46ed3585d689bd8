"""What the README and the pages of the documentation show is what happens."""

import doctest
import importlib
import os
import re
import shlex
import shutil
from pathlib import Path

import pytest

import convtool
from conftest import ROOT
from shell import run

README = (ROOT / "README.md").read_text()
SHAPES = (ROOT / "docs" / "shapes.md").read_text()
BLOCKS = [
    block
    for page in (README, SHAPES)
    for block in re.findall(r"```console\n\$ convtool (.*?)\n(.*?)```", page, re.DOTALL)
]
EXAMPLES = re.findall(
    r"^(?:find .*?\| |cat \S+ \| )?convtool ((?:apply|shape|kernels) .*?)(?:\s+#.*| > \S+)?$",
    README,
    re.MULTILINE,
)


def timeless(text: str) -> str:
    """Leave out what differs from run to run."""
    text = re.sub(r"note: compiling .*\n", "", text)  # the first time on a machine
    return re.sub(r"[\d.]+ m?s\b", "_ ms", text)


@pytest.mark.parametrize(("command", "expected"), BLOCKS, ids=[c for c, _ in BLOCKS])
def test_console_blocks(command, expected, tmp_path, monkeypatch):
    shutil.copytree(ROOT / "sample_images", tmp_path / "sample_images")
    shutil.copytree(ROOT / "docs" / "stacks", tmp_path / "docs" / "stacks")
    monkeypatch.chdir(tmp_path)
    ran = run(*shlex.split(command))
    assert timeless(ran.out + ran.err) == timeless(expected)


def test_there_are_blocks_and_examples():
    assert len(BLOCKS) >= 12
    assert len(EXAMPLES) >= 12


@pytest.mark.parametrize("command", EXAMPLES)
def test_every_command_line_works(command, tmp_path, monkeypatch, samples):
    """Each command of the README on files of the names that it uses."""
    import numpy as np
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    photo = Image.open(samples / "coffee.png").resize((60, 40))
    for name in ("photo.jpg", "photo.png", "photo.tif", "photos/a/b.jpg"):
        os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
        photo.save(name)
    shutil.copytree(samples, "sample_images")
    np.save("conv1.npy", np.random.default_rng(0).standard_normal((7, 7, 3, 16)))
    [toml] = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "my-filter.toml").write_text(toml.replace("my-edges", "my-filter"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    os.makedirs("convtool/kernels")
    (tmp_path / "convtool/kernels/my-edges.toml").write_text(toml)
    arguments = [a if a != "*.jpg" else "photo.jpg" for a in shlex.split(command)]
    given = b"photo.png\0" if "-0" in arguments else (tmp_path / "photo.png").read_bytes()
    ran = run(*arguments, stdin=given)
    expected = 1 if "--padding fit" in command else 0
    assert ran.code == expected, ran.err


def test_the_python_block():
    [block] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    test = doctest.DocTestParser().get_doctest(block, {}, "README", None, 0)
    assert doctest.DocTestRunner().run(test).failed == 0


SOURCE = Path(convtool.__file__).parent
WITH_EXAMPLES = sorted(
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
    for path in SOURCE.rglob("*.py")
    if re.search(r"^ *>>> ", path.read_text(), re.MULTILINE)
)


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_docstring_examples(name):
    found = doctest.testmod(importlib.import_module(f"convtool.{name}"))
    assert (found.failed, found.attempted > 0) == (0, True)


def test_the_changelog_knows_the_version():
    assert f"## {convtool.__version__}" in (ROOT / "CHANGELOG.md").read_text()
