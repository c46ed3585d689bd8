"""Contact sheets: what is drawn where, in which grey, and what is written above it."""

import numpy as np
import pytest
from PIL import ImageDraw, ImageFont

from convtool.errors import ArrayError
from convtool.images import sheet
from convtool.images.sheet import GREATEST, LEAST, MARGIN, PAPER, Section, contact_sheet


@pytest.fixture
def written(monkeypatch):
    """Collect the texts that are drawn."""
    texts = []
    draw = ImageDraw.ImageDraw.text

    def spy(self, place, text, *rest, **options):
        texts.append(text)
        return draw(self, place, text, *rest, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", spy)
    return texts


def section(*rows, labels=()):
    """A section of one map for each list of rows."""
    maps = np.stack([np.array(r, np.float32) for r in rows], axis=-1)
    return Section("layer", maps, labels)


def tile(picture, height, width):
    """Return the tile in the lower left corner."""
    bottom = picture.shape[0] - MARGIN - 1
    return picture[bottom - height : bottom, MARGIN : MARGIN + width, 0]


def greys(picture, rows, columns, side):
    """Read the lower left tile of a map drawn with squares of `side`; each must be of one grey."""
    squares = tile(picture, rows * side, columns * side).reshape(rows, side, columns, side)
    assert (squares.min(axis=(1, 3)) == squares.max(axis=(1, 3))).all()
    return squares[:, 0, :, 0].tolist()


# ---------------------------------------------------------------- greys


def test_values_that_are_not_negative_start_at_black():
    picture = contact_sheet([section([[0, 1], [2, 4]])])
    assert (picture.dtype, picture.shape[2]) == (np.uint8, 1)
    assert greys(picture, 2, 2, GREATEST // 2) == [[0, 64], [128, 255]]


def test_zero_is_mid_grey_where_there_are_both_signs():
    picture = contact_sheet([section([[0, 1], [-4, 2]])])
    assert greys(picture, 2, 2, GREATEST // 2) == [[128, 159], [0, 191]]
    # Also in a map without negative values: greys mean the same in all of a layer.
    picture = contact_sheet([section([[0, 4], [2, 4]], [[0, 0], [0, -1]])])
    assert greys(picture, 2, 2, GREATEST // 2) == [[128, 255], [191, 255]]


def test_each_map_by_itself_or_all_by_one_scale():
    weak, strong = [[0, 1], [1, 0]], [[0, 10], [10, 0]]
    each = contact_sheet([section(weak, strong)])
    assert greys(each, 2, 2, GREATEST // 2) == [[0, 255], [255, 0]]
    together = contact_sheet([section(weak, strong)], scale="all")
    assert greys(together, 2, 2, GREATEST // 2) == [[0, 26], [26, 0]]


def test_a_map_of_one_value_and_one_of_zeros():
    assert greys(contact_sheet([section([[3, 3]])]), 1, 2, GREATEST // 2) == [[255, 255]]
    assert greys(contact_sheet([section([[0, 0]])]), 1, 2, GREATEST // 2) == [[0, 0]]


def test_seldom_strong_responses_do_not_darken_the_rest():
    plane = np.ones((100, 100), np.float32)
    plane[50, 50] = 1000
    assert tile(contact_sheet([section(plane)]), 300, 300)[0, 0] == 255
    assert tile(contact_sheet([section(plane)], scale="all"), 300, 300)[0, 0] == 0
    # Where there is nothing else, they are what is shown.
    only = np.zeros((100, 100), np.float32)
    only[0, 0] = 5
    corner = tile(contact_sheet([section(only)]), 300, 300)
    assert (corner[:3, :3].min(), corner[3:, 3:].max()) == (255, 0)


def test_what_is_not_finite_is_drawn(written):
    picture = contact_sheet([section([[np.nan, np.inf], [-np.inf, 2]])])
    assert greys(picture, 2, 2, GREATEST // 2) == [[0, 255], [0, 255]]
    assert written[1] == "2x2x1, shown at 320x320, values 2 to 2, 3 not finite"
    assert written[-1] == "2 to 2"
    contact_sheet([section([[np.nan, np.nan]])])
    assert written[-1] == "0 to 0"


# ---------------------------------------------------------------- sizes


def test_small_maps_are_enlarged_by_whole_factors_and_large_ones_averaged():
    rng = np.random.default_rng(1)
    small = rng.random((7, 7, 64)).astype(np.float32)
    picture = contact_sheet([Section("layer", small)])
    room = (sheet.WIDTH - 7 * sheet.GAP) // 8
    side = room // 7
    assert side * 7 >= LEAST
    assert np.array(greys(picture, 7, 7, side)).shape == (7, 7)
    checks = np.indices((2 * GREATEST, 2 * GREATEST)).sum(axis=0) % 2
    averaged = tile(contact_sheet([section(checks)]), GREATEST, GREATEST)
    assert set(averaged.ravel()) <= {127, 128}


@pytest.mark.parametrize(
    ("maps", "columns"), [(1, 1), (3, 3), (5, 5), (8, 4), (16, 4), (32, 8), (64, 8), (96, 12)]
)
def test_rows_are_full(maps, columns):
    assert sheet._columns(maps, 1.0) == columns


def test_a_layer_of_64_maps_is_as_wide_as_a_page():
    for side in (2, 3, 7, 14, 28, 56, 112, 224):
        height, width, _ = contact_sheet([Section("layer", np.ones((side, side, 64)))]).shape
        assert 900 <= width <= 1400, side
        assert 1000 <= height <= 1500, side


@pytest.mark.parametrize("shape", [(1, 300, 2), (300, 1, 2), (3, 1000, 5), (1000, 700, 1)])
def test_maps_of_any_shape_have_a_place(shape):
    picture = contact_sheet([Section("layer", np.ones(shape))])
    assert picture.shape[1] <= sheet.WIDTH + 3 * MARGIN
    assert picture.min() < PAPER


def test_wide_maps_stand_in_fewer_columns():
    assert sheet._columns(16, 0.25) == 2
    assert sheet._columns(16, 4.0) == 8


def test_a_layer_of_too_many_maps_is_cut_and_says_so(written):
    contact_sheet([Section("layer", np.ones((2, 2, 70)))], most=64)
    assert written[1] == "2x2x70, shown at 146x146, values 1 to 1, the first 64 maps of 70"
    assert "63" in written
    assert "64" not in written


def test_a_vector_is_a_map_of_its_own(written):
    vector = np.arange(10, dtype=np.float32).reshape(1, 1, 10)
    picture = contact_sheet([Section("dense", vector)])
    side = GREATEST // 4
    expected = [[0, 28, 57, 85], [113, 142, 170, 198], [227, 255, 0, 0]]
    assert np.abs(np.subtract(greys(picture, 3, 4, side), expected)).max() <= 1
    assert written[1:3] == ["1x1x10, values 0 to 9, 10% zero", "0 to 9, row by row"]
    contact_sheet([Section("one", np.ones((1, 1, 1)))])
    assert written[-2:] == ["0", "1 to 1"]


# ---------------------------------------------------------------- words


def test_headings_labels_and_ranges(written):
    maps = np.zeros((4, 4, 2))
    maps[..., 0] = 0.12345
    maps[0, 0, 1] = -1234.5
    contact_sheet([Section("1 edges: conv kernel=sobel", maps, ("x", "y"))])
    assert written == [
        "1 edges: conv kernel=sobel",
        "4x4x2, shown at 320x320, values -1234 to 0.123, 47% zero",
        *("x", "0.123 to 0.123"),
        *("y", "-1234 to 0"),
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (-0.01234, "-0.0123"),
        (999.4, "999"),
        (999.6, "1000"),
        (-1310.4, "-1310"),
        (99999, "99999"),
        (99999.4, "99999"),
        (123456, "1.23e+05"),
        (1.5e-7, "1.5e-07"),
    ],
)
def test_numbers_are_plain_up_to_five_digits(value, text):
    assert sheet._number(value) == text


def test_maps_drawn_at_another_size_say_so(written):
    contact_sheet([Section("large", np.ones((400, 800, 1)))])
    contact_sheet([Section("small", np.ones((100, 40, 1)))])
    contact_sheet([Section("as it is", np.ones((GREATEST, GREATEST, 1)))])
    assert written[1] == "400x800x1, shown at 160x320, values 1 to 1"
    assert written[5] == "100x40x1, shown at 300x120, values 1 to 1"
    assert written[9] == "320x320x1, values 1 to 1"


def test_several_layers_stand_below_each_other(written):
    one, two = section([[1]]), Section("next", np.ones((8, 8, 12)))
    both = contact_sheet([one, two])
    # Eight of twelve maps fill a row, and squares of 18 pixels their 146.
    side = (sheet.WIDTH - 7 * sheet.GAP) // 8 // 8 * 8
    # The last one has the right line of its frame beside it.
    assert both.shape[1] == 8 * side + 7 * sheet.GAP + 1 + 2 * MARGIN
    alone = contact_sheet([one]).shape[0] - GREATEST + (sheet.WIDTH - 7 * sheet.GAP) // 8
    again = contact_sheet([one, one]).shape[0]
    assert again == 2 * alone - 2 * MARGIN + sheet.SECTION_GAP
    assert (both[: MARGIN - 1] == PAPER).all()
    assert written.count("next") == 1


def test_labels_too_long_for_a_line_stand_above_their_range():
    wide = sheet._Tiles.of((1, 4, 4), [("short", "0 to 1")], 1000)
    long = sheet._Tiles.of(
        (4, 4, 1), [("a label that goes on and on", "-1.2e-05 to 3.4e+10 " * 3)], 1
    )
    assert long.label == 2 * wide.label


def test_a_pillow_without_freetype_writes_too(monkeypatch, written):
    def fail(size):
        raise ImportError("The _imagingft C module is not installed")

    monkeypatch.setattr(ImageFont, "load_default", fail)
    sheet._font.cache_clear()
    try:
        picture = contact_sheet([section([[0, 1], [1, 0]], labels=["one"])])
    finally:
        sheet._font.cache_clear()
    assert written[2] == "one"
    assert greys(picture, 2, 2, GREATEST // 2) == [[0, 255], [255, 0]]
    assert (picture[MARGIN : MARGIN + 20, :, 0] < 128).any()  # the title


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    "maps",
    [np.ones((2, 2)), np.ones((1, 2, 2, 3)), np.ones((0, 2, 3)), np.ones((2, 2, 1), complex)],
)
def test_arrays_that_are_no_maps(maps):
    with pytest.raises(ArrayError, match=r"real numbers \(H, W, F\) .*, but layer has") as caught:
        contact_sheet([Section("layer", maps)])
    assert caught.value.hint == "of a batch (N, H, W, F) take one image"


def test_labels_that_do_not_go_with_the_maps():
    with pytest.raises(ArrayError, match="layer has 2 maps and 1 labels"):
        contact_sheet([section([[1]], [[2]], labels=["one"])])
