"""Files are found by name, and their class folders label them."""

import io
import os
from pathlib import Path

import pytest
from PIL import Image

from fgembed.errors import FgembedError, NotFoundError
from fgembed.images.finding import class_names, find_images, scan
from fgembed.images.kinds.formats import EXTENSIONS, NOT_READ
from fgembed.images.kinds.signatures import format_of
from fgembed.images.sources import list_images
from fgembed.images.walk import Scan
from fgembed.pages.cards import Card, ResultRow
from fgembed.pages.contact_sheet import write_png


def test_images_are_found_by_extension_sorted_and_through_links(tmp_path: Path):
    (tmp_path / "b").mkdir()
    for name in ("b/2.PNG", "a.jpg", "notes.txt", "b/1.webp"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "c").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    paths, skipped = find_images(tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in paths] == ["a.jpg", "b/1.webp", "b/2.PNG"]
    assert skipped == []


def test_labels_are_the_first_folder_below_the_root():
    root = Path("root")
    assert class_names([root / "kiwi" / "x" / "1.jpg", root / "pear" / "2.jpg"], root) == [
        "kiwi",
        "pear",
    ]
    with pytest.raises(
        FgembedError, match=r"root/1\.jpg is in no class folder; move it to root/<class>/1\.jpg"
    ):
        class_names([root / "1.jpg"], root)


def png() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (32, 24), "red").save(stream, "PNG")
    return stream.getvalue()


def fill(root: Path, *names: str, content: bytes | None = None) -> None:
    for name in names:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png() if content is None else content)


def names(found: Scan, root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in found.paths]


def left_out(found: Scan, root: Path) -> dict[str, str]:
    assert not any(bad.is_bad for bad in found.skipped)
    return {bad.path.relative_to(root).as_posix(): bad.reason for bad in found.skipped}


@pytest.mark.parametrize("extension", sorted(EXTENSIONS))
def test_every_extension_of_a_format_that_is_read_is_an_image(tmp_path: Path, extension: str):
    fill(tmp_path, f"1{extension}", f"2{extension.upper()}", content=b"")
    found = scan(tmp_path)
    assert names(found, tmp_path) == [f"1{extension}", f"2{extension.upper()}"]


@pytest.mark.parametrize("extension", [e for names in NOT_READ.values() for e in names.split()])
def test_a_picture_of_a_format_that_is_not_read_is_listed_with_what_to_do(
    tmp_path: Path, extension: str
):
    fill(tmp_path, "1.jpg", f"a/2.{extension.upper()}")
    reason = left_out(scan(tmp_path), tmp_path)[f"a/2.{extension.upper()}"]
    assert reason.endswith(" is not read; save it as JPEG or PNG")


def test_archives_are_listed(tmp_path: Path):
    archives = ["1.zip", "a/2.tar", "3.tar.gz", "4.TGZ", "5.7z", "6.jpg.gz", "7.rar"]
    fill(tmp_path, "1.jpg", "notes.txt.gz", *archives, content=b"")
    reasons = left_out(scan(tmp_path), tmp_path)
    assert sorted(reasons) == sorted(archives)
    assert all("unpack it" in reason for reason in reasons.values())


def test_text_videos_and_sidecars_are_no_pictures(tmp_path: Path):
    fill(tmp_path, "1.jpg")
    others = ["1.xmp", "1.AAE", "1.json", "1.mov", "1.MP4", "1.thm", "notes", "notes.unheard", "db"]
    fill(tmp_path, *others, content=b"no picture")
    found = scan(tmp_path)
    assert (names(found, tmp_path), found.skipped) == (["1.jpg"], [])


@pytest.mark.parametrize(
    "name", ["photo", "photo (1)", "1.jpg_large", "1.jpeg:large", "1.jpg?w=100", "1.jpg.1", "a.x"]
)
def test_a_file_whose_name_says_nothing_is_an_image_if_it_begins_like_one(
    tmp_path: Path, name: str
):
    fill(tmp_path, name)
    assert names(scan(tmp_path), tmp_path) == [name]


@pytest.mark.parametrize(
    ("head", "format_"),
    [
        (b"8BPS\0\1" + bytes(20), "Photoshop"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(20), "JPEG 2000"),
        (b'<?xml version="1.0"?>\n<svg width="8">', "SVG"),
        (b"v/1\x01" + bytes(20), "OpenEXR"),
    ],
)
def test_a_picture_that_is_not_read_is_known_by_its_content(
    tmp_path: Path, head: bytes, format_: str
):
    fill(tmp_path, "1.jpg")
    fill(tmp_path, "poster", content=head)
    reasons = left_out(scan(tmp_path), tmp_path)
    assert reasons == {"poster": f"{format_} is not read; save it as JPEG or PNG"}


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"\0\0\0\x1cftypheic", "HEIC"),
        (b"\0\0\0\x1cftypmif1", "HEIC"),
        (b"\0\0\0\x1cftypavif", "AVIF"),
        (b"\0\0\0\x18ftypcrx ", "camera raw"),
        (b"\0\0\0\x18ftypqt  ", None),  # a video
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "WebP"),
        (b"RIFF\x10\0\0\0WAVEfmt ", None),
        (b"MM\0*\0\0\0\x08", "TIFF"),
        (b"BM are these, in text", None),
        (b"", None),
        (b"MZ\x90\0", None),
    ],
)
def test_first_bytes_tell_the_format(head: bytes, expected: str | None):
    assert format_of(head) == expected


def test_a_bitmap_is_known_by_its_first_bytes():
    stream = io.BytesIO()
    Image.new("RGB", (32, 24)).save(stream, "BMP")
    assert format_of(stream.getvalue()[:128]) == "BMP"


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


def test_nothing_but_archives_is_refused(tmp_path: Path):
    fill(tmp_path, "1.zip", "2.zip")
    with pytest.raises(NotFoundError, match=r"but 2 archives, the first 1\.zip; unpack them"):
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


def test_images_that_are_still_in_a_cloud_and_links_to_nothing_are_listed(tmp_path: Path):
    fill(tmp_path, "1.jpg", ".IMG_2.HEIC.icloud", "3.jpg.nextcloud", content=b"")
    (tmp_path / "nas").symlink_to(tmp_path / "away")
    reasons = left_out(scan(tmp_path), tmp_path)
    assert sorted(reasons) == [".IMG_2.HEIC.icloud", "3.jpg.nextcloud", "nas"]
    assert "download it" in reasons["3.jpg.nextcloud"]
    assert "mount" in reasons["nas"]


def test_a_pipe_without_extension_is_not_opened(tmp_path: Path):
    fill(tmp_path, "1.jpg")
    os.mkfifo(tmp_path / "pipe")
    assert names(scan(tmp_path), tmp_path) == ["1.jpg"]


def test_ten_thousand_files_are_found_in_order(tmp_path: Path):
    for folder in range(20):
        fill(tmp_path, *(f"{folder:02}/{n:03}.jpg" for n in range(490)), content=b"")
        fill(tmp_path, *(f"{folder:02}/@eaDir/{n}.jpg" for n in range(10)), content=b"")
    found = scan(tmp_path)
    assert names(found, tmp_path) == [f"{f:02}/{n:03}.jpg" for f in range(20) for n in range(490)]
    assert found.passed_over.images == 200


def test_names_that_look_alike_are_one_label():
    forms = ["Ros\u00e9", "Rose\u0301", "Ros\u00e9 ", "Ros\u00e9\u200b"]
    paths = [Path("r") / name / "1.jpg" for name in forms]
    assert class_names(paths, Path("r")) == ["Ros\u00e9"] * 4
    assert class_names([Path("r/a\u00a0b/1.jpg"), Path("r/A b/1.jpg")], Path("r")) == ["a b", "A b"]
