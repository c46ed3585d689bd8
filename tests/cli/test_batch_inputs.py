"""What a batch is given: good pictures among bad ones, names of every kind, colliding outputs."""

import os
import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest

from program import (
    IDENTITY,
    JOBS,
    SHARPEN,
    Ended,
    contents,
    noise,
    pixels_of,
    program,
    save,
)

# The middle tap of five by five alone: with --padding valid, the image less a rim of two pixels.
MIDDLE = ("-k", "5x5: " + "0 " * 12 + "1" + " 0" * 12, "--padding", "valid")
RIM = (slice(2, -2), slice(2, -2))


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def claiming(height: int, width: int) -> bytes:
    """Return a PNG that claims to be so large, and holds next to nothing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )


def bad_among_good() -> tuple[dict[str, np.ndarray], dict[str, str], list[str]]:
    """Make good and bad files.

    Returns
    -------
    good : dict of str to ndarray
        Pixels by name.
    bad : dict of str to str
        What must be said of each name.
    names : list of str
        All of them, mixed.
    """
    suffixes = (".png", ".tif", ".bmp", ".npy", ".ppm", ".webp")
    good = {f"good{n}{s}": noise(30, 40 + n, 3, seed=n) for n, s in enumerate(suffixes)}
    for name, pixels in good.items():
        save(name, pixels)
    os.mkdir("folder.png")
    Path("empty.png").touch()
    Path("text.png").write_text("this is no picture\n")
    save("cut.png", noise(60, 60, 3))
    save("cut.jpg", noise(60, 60, 3))
    save("cut.npy", noise(60, 60, 3))
    for name in ("cut.png", "cut.jpg", "cut.npy"):
        whole = Path(name).read_bytes()
        Path(name).write_bytes(whole[: len(whole) // 2])
    Path("claims.png").write_bytes(claiming(3000, 2000))
    save("small.png", noise(4, 30, 3))
    bad = {
        "missing.png": "no such file",
        "empty.png": "the file is empty",
        "text.png": "not an image",
        "cut.png": "truncated",
        "cut.jpg": "truncated",
        "cut.npy": "truncated",
        "folder.png": "it is a folder",
        "claims.png": "6000000 in all, but at most 5000000",
        "small.png": "no window fits",
    }
    names = [*bad, *good]
    names[::2], names[1::2] = names[: len(names[::2])], names[len(names[::2]) :]
    return good, bad, names


def assert_each_is_named(ran: Ended, bad: dict[str, str], names: list[str]) -> None:
    """Check that each bad input, in order, has one line with a reason, and the others have none."""
    assert ran.code == 1
    assert [line.split(": ")[1] for line in ran.errors] == [name for name in names if name in bad]
    for line in ran.errors:
        assert bad[line.split(": ")[1]] in line.lower()


def test_the_good_are_done_and_the_bad_are_named(here):
    good, bad, names = bad_among_good()
    limit = ("--max-pixels", "5000000")
    for number, jobs in enumerate(JOBS):
        ran = program("apply", *MIDDLE, *limit, *jobs, "-o", f"out{number}/{{stem}}{{ext}}", *names)
        assert_each_is_named(ran, bad, names)
        assert f"{len(good)} done, {len(bad)} failed in" in ran.out
        assert sorted(contents(here / f"out{number}")) == sorted(good)
        for name, pixels in good.items():
            found = pixels_of(f"out{number}/{name}")
            np.testing.assert_array_equal(found.reshape(found.shape[-3:]), pixels[RIM])


def test_the_bad_among_the_good_in_json(here):
    good, bad, names = bad_among_good()
    for jobs in JOBS:
        arguments = (*jobs, "--json", "--max-pixels", "5000000", "-o", "out/{stem}{ext}", *names)
        ran = program("apply", *MIDDLE, *arguments)
        assert_each_is_named(ran, bad, names)
        assert [record["input"] for record in ran.records] == names
        for record in ran.records:
            assert ("error" in record) == (record["input"] in bad)
            assert ("outputs" in record) == (record["input"] in good)


def test_a_format_that_cannot_hold_a_picture_fails_that_one_alone(here):
    save("a.png", noise(20, 30, 3))
    save("alpha.png", noise(20, 30, 4))
    save("b.png", noise(20, 30))
    names = ["a.png", "alpha.png", "b.png"]
    ran = program("apply", *IDENTITY, "-o", "out/{stem}.jpg", *names)
    assert_each_is_named(ran, {"alpha.png": "jpeg cannot hold alpha"}, names)
    assert sorted(os.listdir("out")) == ["a.jpg", "b.jpg"]


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read every file"
)
def test_a_file_that_may_not_be_read(here):
    for name in ("a.png", "shut.png", "b.png"):
        save(name, noise(20, 30))
    os.chmod("shut.png", 0)
    names = ["a.png", "shut.png", "b.png"]
    ran = program("apply", *IDENTITY, "-o", "out/{stem}{ext}", *names)
    assert_each_is_named(ran, {"shut.png": "permission denied"}, names)
    assert sorted(os.listdir("out")) == ["a.png", "b.png"]


@pytest.mark.parametrize("bad", ["missing.png", "cut.png"])
def test_fail_fast_stops_soon(here, bad):
    save("good.png", noise(30, 30, 3))
    Path("cut.png").write_bytes(Path("good.png").read_bytes()[:1000])
    names = ["good.png", bad, *["good.png"] * 300]
    for number, jobs in enumerate(JOBS):
        ran = program(
            "apply", *IDENTITY, "--fail-fast", *jobs, *names, "-o", f"{number}/{{index}}.png"
        )
        assert ran.code == 1
        [line] = ran.errors
        assert line.startswith(f"error: {bad}: ")
        # Those that had been begun at the same time may be done.
        made = len(os.listdir(f"{number}")) if os.path.exists(f"{number}") else 0
        assert made < 100
        last = ran.out.splitlines()[-1]
        assert f"{made} done, " in last or made == 0
        assert "1 failed" in last
        assert f"{len(names) - made - 1} not begun" in last


# Names


def test_a_glob_that_no_shell_has_expanded(here):
    for name in ("b.png", "a.png", "c.jpg"):
        save(name, noise(9, 8))
    ran = program("apply", *IDENTITY, "-o", "out/", "--json", "*.png")
    assert (ran.code, ran.errors) == (0, [])
    assert [record["input"] for record in ran.records] == ["a.png", "b.png"]


def test_a_glob_that_matches_nothing_is_a_file_that_is_missing(here):
    ran = program("apply", *IDENTITY, "-o", "out/", "*.png")
    assert ran.code in (1, 2)
    [line] = ran.errors
    assert "*.png" in line


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(here):
    for name in ("a[1].png", "a1.png", "what?.png", "whatx.png", "star*.png", "starry.png"):
        save(name, noise(9, 8))
    names = ["a[1].png", "what?.png", "star*.png"]
    ran = program("apply", *IDENTITY, "-o", "out/", "--json", *names)
    assert (ran.code, ran.errors) == (0, [])
    assert [record["input"] for record in ran.records] == names
    assert sorted(os.listdir("out")) == sorted(n.replace(".png", ".identity.png") for n in names)


def test_a_tree_keeps_its_shape(here):
    inside = ["a.png", "deep/a.png", "deep/deeper/a.png", "deep/deeper/b.jpg", "wide/{x}/a.png"]
    for number, name in enumerate(inside):
        Path("in", name).parent.mkdir(parents=True, exist_ok=True)
        save(Path("in", name), noise(9, 8 + number))
    Path("in/deep/notes.txt").write_text("no picture")
    for jobs in JOBS:
        ran = program("apply", *IDENTITY, "-r", "in", "-o", "out/", *jobs)
        assert (ran.code, ran.errors) == (0, [])
        made = [str(path.relative_to("out")) for path in Path("out").rglob("*") if path.is_file()]
        assert sorted(made) == sorted(f"{n[:-4]}.identity{n[-4:]}" for n in inside)
        for name in inside:
            assert (
                pixels_of(f"out/{name[:-4]}.identity{name[-4:]}").shape
                == pixels_of(f"in/{name}").shape
            )


ODD_NAMES = (
    "with space.png",
    "two\nlines.png",
    "tab\there.png",
    "größe-写真-📷.png",
    "'quoted\".png",
    "{braces}.png",
    "100%.png",
    "-dash.png",
    "a" * 200 + ".png",
    os.fsdecode(b"not-utf8-\xff.png"),
)


def write_odd_pictures() -> dict[str, np.ndarray]:
    return {name: save(name, noise(9, 8, seed=number)) for number, name in enumerate(ODD_NAMES)}


def assert_all_are_there(pictures: dict[str, np.ndarray]) -> None:
    assert len(os.listdir("out")) == len(pictures)
    for name, pixels in pictures.items():
        found = pixels_of(Path("out", name.replace(".png", ".identity.png")))
        np.testing.assert_array_equal(found, pixels)


def test_odd_names_after_two_dashes(here):
    pictures = write_odd_pictures()
    ran = program("apply", *IDENTITY, "-o", "out/", "--json", "--", *pictures)
    assert (ran.code, ran.errors) == (0, [])
    assert [record["input"] for record in ran.records] == list(pictures)
    assert_all_are_there(pictures)
    ran = program("apply", *IDENTITY, "-o", "out/", "--", *pictures)
    assert (ran.code, ran.errors) == (0, [])


@pytest.mark.parametrize("where", ["file", "stdin"])
def test_odd_names_from_a_list(here, where):
    pictures = write_odd_pictures()
    listed = b"".join(os.fsencode(name) + b"\0" for name in pictures)
    Path("list").write_bytes(listed)
    source = "list" if where == "file" else "-"
    ran = program("apply", *IDENTITY, "-o", "out/", "--files-from", source, "-0", stdin=listed)
    assert (ran.code, ran.errors) == (0, [])
    assert_all_are_there(pictures)


def test_names_in_lines(here):
    pictures = write_odd_pictures()
    del pictures["two\nlines.png"]
    # The last line need not end, lines may end as on Windows, and empty ones are passed over.
    listed = b"\n\n".join(os.fsencode(name) for name in pictures).replace(b"\n\n", b"\r\n", 1)
    ran = program("apply", *IDENTITY, "-o", "out/", "--files-from", "-", stdin=listed)
    assert (ran.code, ran.errors) == (0, [])
    assert_all_are_there(pictures)


def test_the_index_counts_the_inputs_in_order(here):
    names = [f"{number}.png" for number in (7, 3, 11, 0, 5, 2)]
    for name in names:
        save(name, np.full((9, 8), int(name[:-4]), np.uint8))
    given = ["7.png", "3.png", "missing.png", "11.png", "0.png", "5.png", "2.png"]
    for jobs in JOBS:
        ran = program("apply", *IDENTITY, "-o", "out/{index:04}.png", *jobs, *given)
        assert ran.code == 1
        found = {name: int(pixels_of(f"out/{name}")[0, 0]) for name in sorted(os.listdir("out"))}
        # One that fails keeps its number, so that the others' do not depend on it.
        assert found == {
            f"{index:04}.png": int(name[:-4]) for index, name in enumerate(given) if index != 2
        }


# What would be lost


def refused(*arguments: str) -> str:
    """Run what must be refused before any work; return the message."""
    before = everything()
    ran = program("apply", *SHARPEN, *arguments)
    assert (ran.code, ran.raw) == (2, b"")
    assert everything() == before
    [line] = ran.errors
    return line


def everything() -> dict[str, bytes | None]:
    """Return all paths below the working folder, with the bytes of files."""
    return {str(path): path.read_bytes() if path.is_file() else None for path in Path().rglob("*")}


@pytest.fixture
def long_list(here):
    """Three hundred pictures; the last two differ in their folders alone."""
    save("first.png", noise(9, 8))
    names = [f"in/{number:03}.png" for number in range(298)]
    for name in [*names, "in/same.png", "other/same.png"]:
        Path(name).parent.mkdir(exist_ok=True)
        os.link("first.png", name)
    return [*names, "in/same.png", "other/same.png"]


def test_two_outputs_on_one_path_at_the_end_of_a_long_list(long_list):
    message = refused("-o", "out/{stem}{ext}", *long_list)
    assert "two outputs would be written to out/same.png" in message
    assert "in/same.png and from other/same.png" in message


def test_an_output_on_the_last_input_of_a_long_list(here):
    inputs = [f"{number:03}.png" for number in range(200)]
    for name in inputs:
        save(name, noise(9, 8))
    # All outputs but the first have names of their own.
    message = refused("-o", "{index:03}.png", *inputs[1:], "elsewhere.png")
    assert "the output 001.png is the input 001.png" in message
    os.mkdir("out")
    os.symlink("../150.png", "out/150.png")
    message = refused("-o", "out/{stem}{ext}", *inputs)
    assert "the output out/150.png is the input 150.png" in message
    os.remove("out/150.png")
    os.link("150.png", "out/199.png")
    message = refused("-o", "out/{stem}{ext}", *inputs)
    assert "the output out/199.png is the input 150.png" in message


def test_an_output_folder_that_is_the_inputs_folder(here):
    os.mkdir("in")
    save("in/a.png", noise(9, 8))
    os.symlink("in", "out")
    message = refused("-o", "out/{stem}{ext}", "in/a.png")
    assert "the output out/a.png is the input in/a.png" in message
    assert "the output" in refused("-o", "./in/../out/a.png", "in/a.png")


def test_two_outputs_through_links_to_one_file(here):
    os.mkdir("out")
    for name in ("a.png", "b.png"):
        save(name, noise(9, 8))
    os.symlink("target.png", "out/a.png")
    os.symlink("target.png", "out/b.png")
    # The links' target is not there yet: what they stand for is one path all the same.
    assert "two outputs would be written to" in refused("-o", "out/{stem}{ext}", "a.png", "b.png")


def test_a_batch_named_by_hand_goes_on_where_it_stopped(here):
    """What find or the shell names the second time are results of the first."""
    for name in ("a.png", "b.png"):
        save(name, noise(9, 8))
    assert program("apply", *SHARPEN, "a.png").code == 0
    names = sorted(str(path) for path in Path().glob("*.png"))
    again = program("apply", *SHARPEN, *names)
    assert again.code == 2
    assert "the output a.kernel.png is the input a.kernel.png, where the result of a" in again.err
    assert "--skip-existing passes over what an earlier run has written" in again.err
    ran = program("apply", *SHARPEN, "--skip-existing", *names)
    assert (ran.code, ran.errors) == (0, [])
    assert "1 done, 1 skipped, 1 left out" in ran.out
    assert sorted(contents(here)) == ["a.kernel.png", "a.png", "b.kernel.png", "b.png"]


def test_results_in_a_folder_of_the_tree_are_left_out(here):
    Path("tree").mkdir()
    save("tree/a.png", noise(9, 8))
    for said in ("tree/a.png → tree/out/a.kernel.png", "1 done, 1 left out"):
        ran = program("apply", *SHARPEN, "-r", "tree", "-o", "tree/out/")
        assert (ran.code, ran.errors) == (0, [])
        assert said in ran.out
    assert sorted(p.name for p in Path("tree").rglob("*.png")) == ["a.kernel.png", "a.png"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_pipes_by_name_are_read_once(here):
    pixels = save("a.png", noise(9, 8))
    os.mkfifo("pipe")
    with subprocess.Popen(["cp", "a.png", "pipe"]):
        ran = program("apply", "-k", "identity", "pipe", "-o", "out.png")
    assert (ran.code, ran.err) == (0, "")
    assert (pixels_of("out.png") == pixels).all()
    ran = program(
        "apply", "-k", "identity", "/dev/stdin", "-o", "b.png", stdin=(here / "a.png").read_bytes()
    )
    assert (ran.code, ran.err) == (0, "")
    assert (pixels_of("b.png") == pixels).all()


def test_a_folder_that_is_a_file_and_one_without_its_slash(here):
    for name in ("a.png", "b.png", "file"):
        save(name if name != "file" else "file.png", noise(9, 8))
    ran = program("apply", *SHARPEN, "a.png", "-o", "file.png/")
    assert ran.code == 2
    assert "-o file.png/ is meant as a folder, but file.png is a file" in ran.err
    ran = program("apply", *SHARPEN, "a.png", "b.png", "-o", "new")
    assert ran.code == 2
    assert "or -o new/ for a folder" in ran.err


def test_a_long_kernel_typed_in(here):
    save("a.png", noise(20, 20))
    taps = " ".join(["1.25"] * 225)
    ran = program("apply", "-k", f"15x15: {taps}", "a.png", "-o", "out.png")
    assert (ran.code, ran.errors) == (0, [])
