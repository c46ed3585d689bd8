import errno
import os
import stat
import subprocess
import sys

import pytest

from convtool.errors import ImageError
from convtool.images import disk, write_atomically


def test_written_whole_with_the_modes_of_the_umask(tmp_path):
    path = tmp_path / "a" / "b" / "x.png"
    old = os.umask(0o027)
    try:
        write_atomically(path, b"one")
    finally:
        os.umask(old)
    assert path.read_bytes() == b"one"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]


@pytest.fixture(params=["nameless", "no such files", "no such system", "no names"])
def way(request, monkeypatch):
    """Each way that a file can take to its place."""
    if request.param == "nameless" and not hasattr(os, "O_TMPFILE"):
        pytest.skip("this system has no files without a name")
    if request.param == "no such files":
        really = os.open

        def refuse(path, flags, *rest, **options):
            if flags & getattr(os, "O_TMPFILE", 0) == getattr(os, "O_TMPFILE", -1):
                raise OSError(errno.EOPNOTSUPP, "Operation not supported")
            return really(path, flags, *rest, **options)

        monkeypatch.setattr(os, "open", refuse)
    elif request.param == "no such system":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    elif request.param == "no names":

        def unnamed(*_, **__):
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")

        monkeypatch.setattr(os, "link", unnamed)


@pytest.mark.parametrize("data", [b"new", bytearray(b"new"), memoryview(b"-new-")[1:4]])
def test_every_way_writes_and_replaces(way, tmp_path, data):
    path = tmp_path / "x.png"
    old = os.umask(0o027)
    try:
        for _ in range(2):
            write_atomically(path, data)
            assert path.read_bytes() == b"new"
            assert stat.S_IMODE(path.stat().st_mode) == 0o640
    finally:
        os.umask(old)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("trouble", [OSError(5, "Input/output error"), KeyboardInterrupt()])
def test_nothing_is_left_behind(way, tmp_path, monkeypatch, trouble):
    path = tmp_path / "x.png"
    path.write_bytes(b"old")

    def fail(*_):
        raise trouble

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises((ImageError, KeyboardInterrupt)) as found:
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    if isinstance(trouble, OSError):
        assert found.value.message == f"{path} cannot be written: Input/output error"
        assert found.value.hint == "choose another place with --output"


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="this system has no files without a name")
def test_a_kill_before_the_name_is_given_leaves_nothing(tmp_path):
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from convtool.images import write_atomically\n"
        "os.link = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_atomically(Path(sys.argv[1]), bytes(1 << 20))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "x.png")], check=False)
    assert done.returncode == -9
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "wanted"),
    [
        (errno.ENOSPC, "no space left on {} for its 3 bytes"),
        (errno.EDQUOT, "no space left in the quota on {} for its 3 bytes"),
        (errno.EFBIG, "file too large: its 3 bytes are more than a file may have on {}"),
    ],
)
def test_a_full_disk(tmp_path, monkeypatch, number, wanted):
    def full(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(disk, "_write_unnamed", full)
    with pytest.raises(ImageError) as found:
        write_atomically(tmp_path / "x.png", b"new")
    assert found.value.message == f"{tmp_path / 'x.png'} cannot be written: " + wanted.format(
        tmp_path
    )
    assert found.value.hint == "make room, or choose another place with --output"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device that is always full")
def test_a_full_device():
    from pathlib import Path

    with pytest.raises(ImageError, match="no space left on /dev for its 3 bytes"):
        write_atomically(Path("/dev/full"), b"new")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
@pytest.mark.parametrize("exists", [True, False])
def test_a_file_over_the_limit_is_no_half_file(tmp_path, exists):
    path = tmp_path / "x.png"
    if exists:
        path.write_bytes(b"old")
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from convtool.errors import ImageError\n"
        "from convtool.images import write_atomically\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n"
        "    write_atomically(Path(sys.argv[1]), bytes(3000))\n"
        "except ImageError as error:\n"
        "    print(error.message)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True
    )
    assert "x.png cannot be written: file too large: its 3000 bytes" in done.stdout
    assert list(tmp_path.iterdir()) == [path] * exists
    if exists:
        assert path.read_bytes() == b"old"


def test_a_folder_or_a_file_in_the_way(tmp_path):
    (tmp_path / "x.png").mkdir()
    with pytest.raises(ImageError, match=r"x\.png cannot be written: Is a directory"):
        write_atomically(tmp_path / "x.png", b"")
    (tmp_path / "file").touch()
    with pytest.raises(ImageError, match="cannot be written: "):
        write_atomically(tmp_path / "file" / "x.png", b"")
    assert {p.name for p in tmp_path.iterdir()} == {"x.png", "file"}


def test_a_link_is_followed(tmp_path):
    (tmp_path / "there").mkdir()
    link = tmp_path / "x.png"
    link.symlink_to(tmp_path / "there" / "y.png")
    write_atomically(link, b"one")
    assert link.is_symlink()
    assert (tmp_path / "there" / "y.png").read_bytes() == b"one"


def test_a_device_is_not_replaced():
    from pathlib import Path

    write_atomically(Path(os.devnull), b"gone")
    assert not Path(os.devnull).is_file()


def test_a_link_to_itself_is_replaced_or_refused(tmp_path):
    path = tmp_path / "loop.png"
    path.symlink_to(path)
    try:
        write_atomically(path, b"one")
    except ImageError as error:
        assert "loop.png cannot be written" in error.message  # noqa: PT017
    else:
        assert path.read_bytes() == b"one"


def test_parts_are_removed_when_the_program_ends_while_they_are_written(tmp_path):
    found = []

    def make(part):
        part.write_bytes(b"half")
        found.append(part.exists())
        disk.remove_parts()
        found.append(part.exists())

    with pytest.raises(FileNotFoundError):
        disk._replace(tmp_path / "x.png", make)
    assert found == [True, False]
    assert list(tmp_path.iterdir()) == []
    disk.remove_parts()
