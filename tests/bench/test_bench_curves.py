"""Curves, where they cross, and their picture."""

import io

import pytest
from PIL import Image

from convtool.bench import curves, picture
from convtool.bench.cases import Image as Kind
from convtool.bench.curves import Crossing, Point
from convtool.bench.machine import Machine
from convtool.bench.run import Settings

HERE = Machine("A processor", "Linux", 2, 2, {})


def points(**times):
    """Return curves of ours from their times at 4, 8 and 16 rows."""
    return [
        Point(name, True, 4 * 2**n, seconds)
        for name, each in times.items()
        for n, seconds in enumerate(each)
    ]


def test_methods_cross_on_straight_lines_in_logarithms():
    [crossing] = curves.crossings(points(direct=(1, 4, 16), fft=(4, 4, 4)))
    assert crossing == Crossing("direct", "fft", pytest.approx(8), pytest.approx(4))
    [crossing] = curves.crossings(points(direct=(1, 4, 16), fft=(8, 8, 8)))
    assert crossing.size == pytest.approx(8 * 2**0.5)
    assert crossing.seconds == pytest.approx(8)


def test_only_the_quickest_of_ours_cross():
    assert curves.crossings(points(direct=(1, 2, 3), fft=(4, 5, 6))) == []
    three = curves.crossings(points(direct=(1, 4, 16), gemm=(3, 3, 12), fft=(5, 5, 5)))
    assert [(each.before, each.after) for each in three] == [("direct", "gemm"), ("gemm", "fft")]
    other = [Point("OpenCV", False, size, 0.01) for size in (4, 8, 16)]
    rank_one = [Point("separable (rank 1)", True, size, 0.01) for size in (4, 8, 16)]
    assert curves.crossings(points(direct=(1, 2, 3)) + other + rank_one) == []


def test_a_curve_that_ends_does_not_cross():
    assert curves.crossings(points(direct=(1,), fft=(5, 5, 5))) == []


def test_curves_come_ours_first_and_in_order():
    given = [Point("z", False, 5, 1), Point("b", True, 7, 1), Point("b", True, 3, 2)]
    found = curves.lines(given)
    assert list(found) == ["b", "z"]
    assert [point.size for point in found["b"]] == [3, 7]


def test_every_method_of_ours_is_measured():
    settings = Settings(repeat=1, turn=0)
    found = list(curves.measure(Kind((30, 26), 1, "uint8"), settings, (3, 13)))
    assert [{point.size for point in each} for each in found] == [{3}, {13}]
    names = {point.curve for point in found[1]}
    assert {"direct", "separable (rank 1)"} <= names
    assert "gemm" not in names
    assert all(point.ours and point.seconds > 0 for each in found for point in each)


def test_what_is_slow_is_left_out_from_there_on():
    settings = Settings(repeat=1, turn=0, seconds=0)
    first, *others = curves.measure(Kind((30, 26), 1, "uint8"), settings, (3, 5))
    assert first
    assert others == [[]]


@pytest.mark.parametrize("sizes", [(3, 5, 127), (3,)])
def test_the_picture(sizes):
    many = [Point("direct", True, k, k * k * 1e-4) for k in sizes]
    many += [Point("fft", True, k, 0.03) for k in sizes]
    many += [Point(f"Peer {n}", False, k, 0.01 * n + 1e-3 * k) for k in sizes for n in range(5)]
    data = picture.png(many, Kind((512, 512), 3, "uint8"), HERE, 1e-4)
    with Image.open(io.BytesIO(data)) as drawn:
        assert (drawn.format, drawn.size) == ("PNG", (1200, 800))
        assert len(drawn.convert("RGB").getcolors(1 << 20)) > 50
        assert picture.COLOURS["direct"].lower() in colours(drawn)


def colours(image):
    found = image.convert("RGB").getcolors(1 << 20)
    return {f"#{r:02x}{g:02x}{b:02x}" for count, (r, g, b) in found if count > 3}
