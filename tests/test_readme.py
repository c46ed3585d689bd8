"""What the README and the pages of the documentation show is what happens."""

import doctest
import importlib
import os
import re
import shlex
import shutil
from pathlib import Path

import pytest
from PIL import Image

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
    r"^(?:find .*?\| |cat \S+ \| )?convtool "
    r"((?:apply|transpose|shape|kernels) .*?)(?:\s+#.*| > \S+)?$",
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

    monkeypatch.chdir(tmp_path)
    photo = Image.open(samples / "coffee.png").resize((60, 40))
    for name in ("photo.jpg", "photo.png", "photo.tif", "photos/a/b.jpg"):
        os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
        photo.save(name)
    shutil.copytree(samples, "sample_images")
    shutil.copytree(ROOT / "docs" / "stacks", "docs/stacks")
    np.save("conv1.npy", np.random.default_rng(0).standard_normal((7, 7, 3, 16)))
    np.save("up1.npy", np.random.default_rng(0).standard_normal((3, 3, 8, 3)))
    toml, _ = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "my-filter.toml").write_text(toml.replace("my-edges", "my-filter"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    os.makedirs("convtool/kernels")
    (tmp_path / "convtool/kernels/my-edges.toml").write_text(toml)
    arguments = [a if a != "*.jpg" else "photo.jpg" for a in shlex.split(command)]
    given = b"photo.png\0" if "-0" in arguments else (tmp_path / "photo.png").read_bytes()
    ran = run(*arguments, stdin=given)
    expected = 1 if "--padding fit" in command else 0
    assert ran.code == expected, ran.err


def test_the_stack_of_the_readme(tmp_path, monkeypatch, samples):
    """The file as it stands there, with a checkpoint of the names that it uses."""
    import numpy as np

    safetensors = pytest.importorskip("safetensors.numpy", reason="an extra reads checkpoints")
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    arrays = {
        "conv1.weight": rng.standard_normal((8, 3, 7, 7)).astype(np.float32),
        "conv1.bias": rng.standard_normal(8).astype(np.float32),
    }
    safetensors.save_file(arrays, "net.safetensors")
    [text] = re.findall(r"<!-- stack -->\n```toml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "net.toml").write_text(text)
    ran = run("apply", "--stack", "net.toml", "-o", "maps.npy", str(samples / "coffee.png"))
    assert ran.code == 0, ran.err
    with Image.open(samples / "coffee.png") as image:
        pixels = np.asarray(image.convert("RGB"), np.float32)[None]
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = convtool.conv2d(
        (pixels / 255 - mean) / deviation,
        arrays["conv1.weight"].transpose(2, 3, 1, 0),
        stride=2,
        padding=3,
        bias=arrays["conv1.bias"],
    )
    np.testing.assert_allclose(np.load("maps.npy"), np.maximum(expected, 0), rtol=1e-3, atol=1e-3)


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
