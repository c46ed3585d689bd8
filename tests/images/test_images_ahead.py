"""A picture that is decoded before it is asked for is the same, and goes wrong in the same way."""

import numpy as np
import pytest
from PIL import Image

from convtool import images
from convtool.errors import ImageError
from convtool.images import ahead


@pytest.fixture(autouse=True)
def nothing_begun():
    ahead._begun.clear()
    yield
    ahead._begun.clear()


def save(path, *shape, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.gif", "a.webp"])
def test_it_is_read_as_if_nothing_had_begun(tmp_path, name):
    path = tmp_path / name
    save(path, 30, 40, 3)
    expected = images.read(path)
    ahead.begin(path, images.MAX_PIXELS)
    assert images.probe(path) == expected.header
    begun = ahead._begun[path]
    with images.opened(path) as file:
        assert file is begun.opened
        assert file.header == expected.header
        found = file.load()
    assert (found.pixels == expected.pixels).all()
    assert found.metadata == expected.metadata
    assert not ahead._begun
    assert (images.read(path).pixels == expected.pixels).all()


def test_only_large_files_are_worth_it(tmp_path, monkeypatch):
    save(tmp_path / "a.png", 30, 40, 3)
    ahead.begin_large(str(tmp_path / "a.png"), images.MAX_PIXELS)
    ahead.begin_large(str(tmp_path / "none.png"), images.MAX_PIXELS)
    ahead.begin_large(str(tmp_path), images.MAX_PIXELS)
    assert not ahead._begun
    monkeypatch.setattr(ahead, "LARGE", 100)
    ahead.begin_large(str(tmp_path / "a.png"), images.MAX_PIXELS)
    assert list(ahead._begun) == [tmp_path / "a.png"]


def test_pixels_are_decoded_before_anybody_asks(tmp_path):
    save(tmp_path / "a.png", 30, 40, 3)
    ahead.begin(tmp_path / "a.png", images.MAX_PIXELS)
    begun = ahead._begun[tmp_path / "a.png"]
    begun.join()
    assert begun.stack._exit_callbacks
    (tmp_path / "a.png").chmod(0o600)  # which is no change
    with images.opened(tmp_path / "a.png") as file:
        assert file is begun.opened


@pytest.mark.parametrize("content", [b"", b"no picture", None])
def test_what_is_wrong_is_said_by_whoever_opens_it(tmp_path, content):
    path = tmp_path / "a.png"
    if content is None:
        save(path, 30, 40)
        content = path.read_bytes()[:-200]
    path.write_bytes(content)
    with pytest.raises(ImageError) as plain:
        images.read(path)
    ahead.begin(path, images.MAX_PIXELS)
    with pytest.raises(ImageError) as begun:
        images.read(path)
    assert begun.value.message == plain.value.message
    assert not ahead._begun


def test_another_file_or_limit_is_not_mistaken_for_it(tmp_path):
    path = tmp_path / "a.png"
    save(path, 30, 40)
    ahead.begin(path, images.MAX_PIXELS)
    ahead._begun[path].join()
    path.unlink()
    expected = save(path, 9, 8, seed=1)
    assert images.probe(path).shape == (1, 9, 8, 1)
    assert (images.read(path).pixels[0, :, :, 0] == expected).all()
    ahead.begin(path, images.MAX_PIXELS)
    with pytest.raises(ImageError, match="at most 5 are read"):
        images.read(path, max_pixels=5)
