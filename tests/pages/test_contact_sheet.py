"""The sheet by its pixels: where images lie, and that text is drawn where it belongs."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fgembed.errors import FgembedError
from fgembed.pages import contact_sheet
from fgembed.pages.cards import Card, ResultRow
from fgembed.pages.contact_sheet import write_png

Colour = tuple[int, int, int]
RED, GREEN, BLUE = (200, 40, 40), (40, 160, 60), (50, 80, 200)
BACKGROUND, TEXT_COLOUR = contact_sheet.BACKGROUND, contact_sheet.TEXT_COLOUR

# Margin 32, thumbnails 200, 44 after the query, 20 between hits, 10 above three lines of 19.
QUERY_X, HITS_X, TOP = 32, (276, 496), 32
TEXT = slice(242, 299)


def card(
    title: str, colour: Colour = RED, size: tuple[int, int] = (300, 300), **attributes: Any
) -> Card:
    return Card(title, Image.new("RGB", size, colour), **attributes)


def row(**first_hit: Any) -> ResultRow:
    first = card("first.jpg", GREEN, score=0.9, **first_hit)
    return ResultRow(card("query.jpg"), [first, card("second.jpg", BLUE, score=0.5)])


@pytest.fixture
def draw(tmp_path):
    def draw(rows, **options):
        write_png(tmp_path / "sheet.png", rows, **options)
        with Image.open(tmp_path / "sheet.png") as sheet:
            assert sheet.format == "PNG"
            return np.asarray(sheet)

    return draw


def test_query_and_hits_lie_side_by_side(draw):
    sheet = draw([row()])
    assert sheet.shape == (2 * 32 + 200 + 10 + 3 * 19, 496 + 200 + 32, 3)
    for left, colour in zip((QUERY_X, *HITS_X), (RED, GREEN, BLUE), strict=True):
        assert (sheet[TOP : TOP + 200, left : left + 200] == colour).all()


def test_only_the_query_has_a_border(draw):
    sheet = draw([row()])
    assert (sheet[29:32, 29:235] == TEXT_COLOUR).all() and (
        sheet[29:235, 232:235] == TEXT_COLOUR
    ).all()
    assert (sheet[100, 26:29] == BACKGROUND).all() and (sheet[100, 235:238] == BACKGROUND).all()
    assert (sheet[100, 273:276] == BACKGROUND).all()


def test_low_images_stand_on_the_common_baseline(draw):
    sheet = draw([ResultRow(card("query.jpg", size=(400, 100)), [])])
    assert (sheet[182:232, 32:232] == RED).all()
    assert (sheet[TOP:179, 32:232] == BACKGROUND).all()


def test_each_query_starts_a_line(draw):
    sheet = draw([row(), ResultRow(card("other.jpg", BLUE), [card("third.jpg", RED, score=0.1)])])
    second = TOP + 267 + 36
    assert (sheet[second : second + 200, QUERY_X : QUERY_X + 200] == BLUE).all()
    assert (sheet[second : second + 200, HITS_X[0] : HITS_X[0] + 200] == RED).all()
    assert (sheet[second : second + 200, HITS_X[1] :] == BACKGROUND).all()


def test_hits_beyond_ten_continue_on_the_next_line(draw):
    hits = [card(f"{rank}.jpg", GREEN, score=0.5) for rank in range(1, 12)]
    sheet = draw([ResultRow(card("query.jpg"), hits)])
    second = TOP + 267 + 36
    assert sheet.shape[1] == 276 + 10 * 220 - 20 + 32
    assert (sheet[second : second + 200, HITS_X[0] : HITS_X[0] + 200] == GREEN).all()
    assert (sheet[second : second + 200, : HITS_X[0]] == BACKGROUND).all()


def test_heat_maps_form_a_second_line_of_thumbnails(draw):
    sheet = draw([row(heat=np.ones((4, 4)))], heat=True)
    assert sheet.shape[0] == 2 * 32 + 200 + 20 + 200 + 10 + 3 * 19
    below = slice(TOP + 220, TOP + 420)
    # 0.45 of green and 0.55 of the hottest colour, (255, 225, 30).
    assert (sheet[below, HITS_X[0] : HITS_X[0] + 200] == (158, 196, 44)).all()
    assert (sheet[TOP : TOP + 200, HITS_X[0] : HITS_X[0] + 200] == GREEN).all()
    assert (sheet[below, HITS_X[1] :] == BACKGROUND).all()


def test_the_score_is_written_under_its_hit(draw):
    low, high = draw([row()]), draw([ResultRow(row().query, [card("first.jpg", GREEN, score=0.1)])])
    first_line = slice(242, 261)
    assert (low[first_line, 276:476] != BACKGROUND).any()
    assert (low[first_line, 276:476] != high[first_line, 276:476]).any()
    np.testing.assert_array_equal(low[261:, 276:476], high[261:, 276:476])


def test_the_rank_is_written_under_its_hit(draw):
    twice = card("same.jpg", GREEN, score=0.5)
    sheet = draw([ResultRow(card("query.jpg"), [twice, twice])])
    assert (sheet[242:261, 276:300] != sheet[242:261, 496:520]).any()
    np.testing.assert_array_equal(sheet[261:, 276:476], sheet[261:, 496:696])


def test_captions_take_a_line_and_decide_the_mark(draw):
    def text(query: str, hit: str) -> Any:
        row = ResultRow(card("query.jpg", caption=query), [card("hit.jpg", score=0.5, caption=hit)])
        return draw([row])[TEXT, 276:476]

    same, different, unknown = text("cat", "cat"), text("dog", "cat"), text("", "cat")
    assert (same[:19] != different[:19]).any()
    assert (same[:19] != unknown[:19]).any()
    np.testing.assert_array_equal(same[19:], different[19:])


def test_long_names_stay_under_their_image(draw):
    hit = card("W" * 300 + "\n\udcff.jpg", GREEN, score=0.5)
    sheet = draw([ResultRow(card("query.jpg"), [hit, card("b.jpg", BLUE, score=0.4)])])
    assert (sheet[TEXT, 276:476] != BACKGROUND).any()
    assert (sheet[TEXT, 477:495] == BACKGROUND).all()


def test_names_are_cut_in_the_middle():
    font = contact_sheet._font()
    short = contact_sheet._shortened("Orange-Red-Grapefruit-Juice-of-God-Morgon_0042.jpg", font)
    head, tail = short.split("…")
    assert "Orange-Red-Grapefruit".startswith(head) and "God-Morgon_0042.jpg".endswith(tail)
    assert len(head) - len(tail) in (0, 1)
    assert 185 < font.getlength(short) <= 200
    assert contact_sheet._shortened("pear.jpg", font) == "pear.jpg"


def test_a_failure_halfway_leaves_the_old_sheet_and_nothing_else(tmp_path):
    file = tmp_path / "sheet.png"
    file.write_bytes(b"old")
    encoded = io.BytesIO()
    Image.effect_noise((300, 300), 50).convert("RGB").save(encoded, "JPEG")
    broken = Card("broken.jpg", Image.open(io.BytesIO(encoded.getvalue()[:5000])))
    with pytest.raises(OSError, match="truncated"):
        write_png(file, [row(), ResultRow(broken, [])])
    assert file.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]


def test_a_sheet_too_large_for_viewers_is_refused(tmp_path):
    with pytest.raises(
        FgembedError, match=r"the sheet would be 508 x 909028 pixels, .*; show fewer hits, or write"
    ):
        write_png(tmp_path / "sheet.png", [ResultRow(card("q.jpg"), [card("h.jpg")])] * 3000)


def test_a_sheet_of_no_rows_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no rows to show"):
        write_png(tmp_path / "sheet.png", [])


@pytest.mark.parametrize(
    ("name", "drawn"),
    [
        ("größe Ångström.jpg", "größe Ångström.jpg"),
        ("Rose\u0301.jpg", "Rosé.jpg"),
        ("東京.jpg", r"\u6771\u4eac.jpg"),
        ("\u0c05.jpg", r"\u0c05.jpg"),
        ("🦜.jpg", r"\U0001f99c.jpg"),
        ("\udcff\n.jpg", r"\udcff\n.jpg"),
    ],
)
def test_letters_that_the_typeface_lacks_are_escaped(name: str, drawn: str):
    assert contact_sheet._shortened(name, contact_sheet._font()) == drawn


def test_names_in_letters_that_the_typeface_lacks_are_told_apart(draw):
    hits = [card("東.jpg", GREEN, score=0.5), card("西.jpg", GREEN, score=0.5)]
    sheet = draw([ResultRow(card("query.jpg"), hits)])
    assert (sheet[261:, 276:476] != sheet[261:, 496:696]).any()
