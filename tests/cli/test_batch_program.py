"""What a batch of pictures becomes, in what order it is told, and what a dry run promises."""

import os
from pathlib import Path

import pytest

from program import JOBS, SHARPEN, SUFFIXES, album, contents, noise, program, save


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return album(tmp_path_factory.mktemp("batch") / "in", 2 * len(SUFFIXES))


def test_report_and_json_come_in_the_order_of_the_inputs(here, pictures):
    # Large and small ones by turns, so that several at a time would end in another order.
    save("large.bmp", noise(400, 400, 3))
    given = [name for picture in pictures for name in ("large.bmp", picture)]
    for jobs in JOBS:
        names = ("-o", "out/{index}{ext}", *jobs)
        ran = program("apply", *SHARPEN, *given, *names, "--json")
        assert (ran.code, ran.errors) == (0, [])
        assert [record["input"] for record in ran.records] == given
        assert [record["outputs"] for record in ran.records] == [
            [f"out/{index}{Path(name).suffix}"] for index, name in enumerate(given)
        ]
        ran = program("apply", *SHARPEN, *given, *names)
        lines = [line.split(" → ")[0] for line in ran.out.splitlines() if " → out/" in line]
        assert lines == given
        assert ran.out.splitlines()[-1].startswith(f"{len(given)} done in ")


def test_results_do_not_depend_on_threads_or_jobs(here, pictures):
    program("apply", *SHARPEN, "-q", "--engine", "numpy", "-o", "expected/", *pictures)
    expected = contents(here / "expected")
    assert len(expected) == len(pictures)
    for engine in ("numpy", "cpu"):
        for number, more in enumerate([*JOBS, ("--threads", "1")]):
            folder = f"{engine}{number}"
            arguments = ("--engine", engine, "-o", f"{folder}/", *more, *pictures)
            ran = program("apply", *SHARPEN, *arguments)
            assert ran.code == 0
            assert contents(here / folder) == expected


def test_quiet_prints_nothing(here, pictures):
    ran = program("apply", *SHARPEN, "--quiet", "-o", "out/", *pictures)
    assert (ran.code, ran.raw, ran.err) == (0, b"", "")
    assert len(contents(here / "out")) == len(pictures)


def test_a_dry_run_names_what_a_run_writes(here, pictures):
    def planned(*more: str) -> list[dict]:
        bank = (*SHARPEN, "-k", "sobel:filter=x", "--combine", "each")
        names = ("-o", "out/{index:03}.{filter}{ext}", "--stride", "2x3", "--padding", "valid")
        ran = program("apply", *bank, *names, "--json", *pictures, *more)
        assert (ran.code, ran.errors) == (0, [])
        return ran.records

    foreseen = planned("--dry-run")
    assert os.listdir(here) == []
    happened = planned()
    for before, after in zip(foreseen, happened, strict=True):
        assert before.pop("planned") is True
        for known_only_then in ("values", "seconds", "notes"):
            del after[known_only_then]
        assert before == after
    named = [name for record in happened for name in record["outputs"]]
    assert sorted(named) == sorted(f"out/{name}" for name in contents(here / "out"))
    assert len(named) == 2 * len(pictures)
