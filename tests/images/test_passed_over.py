"""Clutter is passed over and counted, unless it is asked for."""

from pathlib import Path

import pytest
from PIL import Image

from fgembed.errors import NotFoundError
from fgembed.images.finding import scan
from fgembed.images.sources import list_images
from fgembed.pages.cards import Card, ResultRow
from fgembed.pages.contact_sheet import write_png
from tests.images.folders import fill, names


def test_clutter_is_passed_over_and_counted(tmp_path: Path):
    fill(tmp_path, "a/1.jpg", "b/2.jpg", "a/._1.jpg", "a/.2.jpg", "a/3.jpg~")
    fill(tmp_path, "@eaDir/1.jpg", "a/@eaDir/1.jpg/x/SYNOPHOTO_THUMB_M.jpg", ".git/objects/pack")
    found = scan(tmp_path)
    assert names(found, tmp_path) == ["a/1.jpg", "b/2.jpg"]
    assert found.passed_over.counts == {"@eaDir": 2, "._*": 1, ".*": 1, "*~": 1}
    assert found.skipped == []


def test_a_folder_with_a_common_name_is_clutter_if_a_program_has_marked_it(tmp_path: Path):
    fill(tmp_path, "thumbs/a/1.webp", "thumbs/.immich", "up/thumbs/1.jpg", "Recycled/INFO2")
    fill(tmp_path, "Recycled/Dc1.jpg", "plastic/recycled/1.jpg")
    found = scan(tmp_path)
    assert names(found, tmp_path) == ["plastic/recycled/1.jpg", "up/thumbs/1.jpg"]
    assert found.passed_over.counts == {"thumbs": 1, "Recycled": 1}


def test_counting_ends_where_clutter_is_endless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fgembed.images.walk.MAX_COUNTED", 12)
    fill(tmp_path, "1.jpg", *(f".snapshots/{day}/{n}.jpg" for day in range(9) for n in range(4)))
    passed_over = scan(tmp_path).passed_over
    assert "passed over more than 4 images" in passed_over.sentence()
    for source in ([tmp_path], [tmp_path, tmp_path]):
        assert "more than" in list_images(source).passed_over.sentence()


def test_clutter_can_be_included(tmp_path: Path):
    fill(tmp_path, "1.jpg", "@eaDir/2.jpg", ".hidden/3.jpg", "4.jpg~")
    found = scan(tmp_path, include_clutter=True)
    assert names(found, tmp_path) == [".hidden/3.jpg", "1.jpg", "4.jpg~", "@eaDir/2.jpg"]
    assert found.passed_over.images == 0


def test_a_folder_that_is_given_is_read_whatever_its_name(tmp_path: Path):
    fill(tmp_path, "@eaDir/.x/1.jpg")
    assert len(scan(tmp_path / "@eaDir" / ".x").paths) == 1


def test_a_link_with_a_plain_name_leads_into_clutter(tmp_path: Path):
    fill(tmp_path, ".store/1.jpg", "b/2.jpg")
    (tmp_path / "z").symlink_to(tmp_path / ".store")
    found = scan(tmp_path)
    assert names(found, tmp_path) == ["b/2.jpg", "z/1.jpg"]
    assert found.passed_over.images == 0


def test_links_in_clutter_are_not_followed(tmp_path: Path):
    fill(tmp_path, "photos/1.jpg", "elsewhere/2.jpg", "photos/.Trash/3.jpg")
    (tmp_path / "photos" / ".Trash" / "out").symlink_to(tmp_path / "elsewhere")
    assert scan(tmp_path / "photos").passed_over.images == 1


def test_nothing_but_clutter_is_refused_with_the_way_to_read_it(tmp_path: Path):
    fill(tmp_path, "__MACOSX/1.jpg", "__MACOSX/2.jpg")
    with pytest.raises(NotFoundError, match=r"passed over 2 images .*\(__MACOSX\); --include-clu"):
        scan(tmp_path)


def test_pages_and_plots_of_fgembed_are_passed_over(tmp_path: Path):
    fill(tmp_path, "1.png")
    card = Card(title="1", caption="", image=Image.new("RGB", (32, 24)))
    write_png(tmp_path / "hits.png", [ResultRow(card, [card])])
    report = [f"report/{name}" for name in ("recall_curves.png", "maps.png", "report.md")]
    fill(tmp_path, *report, "report/report.json", "report/mine.png")
    found = scan(tmp_path)
    assert names(found, tmp_path) == ["1.png", "report/mine.png"]
    assert found.passed_over.counts == {"pages and plots of fgembed": 3}
