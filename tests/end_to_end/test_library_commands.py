"""The commands by which an index follows its library: what they say and what they change."""

import json
import shutil
from pathlib import Path

import pytest

from fgembed.images.finding import find_images
from tests.conftest import Command
from tests.end_to_end.refusals import refused


@pytest.fixture
def gallery(command: Command, bundle: Path, photos: Path, tmp_path: Path) -> Path:
    """`photos/` with its index, in the current folder."""
    shutil.copytree(photos / "train", tmp_path / "photos")
    shutil.copytree(bundle, tmp_path / "bundle")
    assert command("index", "build", "photos").code == 0
    return tmp_path / "photos"


def test_a_dry_run_shows_counts_and_names_and_changes_nothing(command: Command, gallery: Path):
    first, second, third = sorted(gallery.iterdir())
    second.rename(gallery / "renamed")
    shutil.rmtree(third)
    find_images(first)[0][0].unlink()
    state = Path("gallery.index/manifest.json").read_bytes()
    told = command("index", "add", "--sync", "photos", "--dry-run")
    assert told.code == 0, told.err
    lines = told.out.splitlines()
    assert lines[0] == "would be moved: 8"
    assert lines[1].startswith(f"  {second}/") and f" -> {gallery}/renamed/" in lines[1]
    assert lines[6:8] == ["  and 3 more", "would be removed: 1"]
    assert lines[8].startswith(f"  {first}/")
    assert f"8 of 8 images in {third} are missing and stay: it is missing" in lines
    answer = command("index", "add", "--sync", "photos", "--dry-run", "--json").answer()
    assert (len(answer["moved"]), len(answer["removed"]), answer["unchanged"]) == (8, 1, 7)
    assert answer["kept"] == [
        {"folder": str(third), "missing": 8, "indexed": 8, "reason": "missing"}
    ]
    assert Path("gallery.index/manifest.json").read_bytes() == state
    told = command("index", "add", "--sync", "photos", "--gone", third)
    assert told.out.splitlines()[0] == "8 moved, 9 removed, 7 unchanged"


def test_a_dry_run_does_not_promise_to_add_what_cannot_be_read(command: Command, gallery: Path):
    (gallery / "broken.jpg").write_bytes(b"")
    lines = command("index", "add", "photos", "--dry-run").out.splitlines()
    assert lines[:2] == [
        "would be added, if they can be read: 1", f"  {gallery}/broken.jpg",
    ]  # fmt: skip
    told = command("index", "add", "photos", "--max-bad", 1).out.splitlines()
    assert told[0] == "24 unchanged, 1 skipped"
    assert "  photos/broken.jpg: not an image of a supported format" in told


def test_a_dry_run_names_the_image_whose_place_a_moved_one_takes(command: Command, gallery: Path):
    first, second, *_ = find_images(gallery)[0]
    first.replace(second)
    told = command("index", "add", "--sync", "photos", "--dry-run").out.splitlines()
    assert told == [
        "would be moved: 1", f"  {first} -> {second}",
        "would be removed: 1", f"  {second}",
        "unchanged: 22",
    ]  # fmt: skip
    done = command("index", "add", "--sync", "photos").out
    assert done.splitlines()[0] == "1 moved, 1 removed, 22 unchanged"


def test_a_moved_project_is_told_and_mended_by_either_command(
    command: Command, gallery: Path, tmp_path: Path
):
    query = find_images(gallery)[0][0]
    before = command("search", query, "-k", 30, "--json").answer()
    new = gallery.rename(tmp_path / "new")
    query = new / query.relative_to(gallery)
    told = command("search", query, "-k", 3)
    assert told.out.count("(missing)") == 3
    assert "3 of 3 files are missing; say where they are now with" in told.out
    assert all(h["exists"] is False for h in command("search", query, "--json").answer())
    assert "24 of 24 image files looked for are missing" in command("index", "info").out
    verified = command("index", "verify", "--json").answer()
    assert verified["missing_files"] == 24
    state = Path("gallery.index/manifest.json").read_bytes()
    assert command("index", "relocate", gallery, "new", "--dry-run", "--json").answer() == {
        "index": "gallery.index", "dry_run": True, "images": 24, "found": 24, "compared": 24,
        "differ": 0, "twice": 0,
    }  # fmt: skip
    assert Path("gallery.index/manifest.json").read_bytes() == state
    assert command("index", "relocate", gallery, "new").out == (
        "24 images relocated, 24 of them are there; 24 compared by content\n"
    )
    after = command("search", query, "-k", 30, "--json").answer()
    assert [(h["id"], h["metadata"]) for h in after] == [(h["id"], h["metadata"]) for h in before]
    assert {h["path"] for h in after} == set(map(str, find_images(new)[0]))
    new.rename(tmp_path / "newer")
    assert command("index", "add", "--sync", "newer").out.splitlines()[0] == "24 moved"
    assert "missing" not in command("index", "info").out


def test_a_page_and_a_sheet_keep_the_rank_of_a_missing_hit(command: Command, gallery: Path):
    query = find_images(gallery)[0][0]
    hits = command("search", query, "-k", 3, "--json").answer()
    Path(hits[1]["path"]).unlink()
    Path(hits[2]["path"]).write_bytes(b"no image")
    told = command("search", query, "-k", 3, "--html", "h.html", "--png", "h.png", "--explain")
    assert told.code == 0, told.err
    page = Path("h.html").read_text()
    assert page.count("<li>") == 3
    assert f"{Path(hits[1]['path']).name} (missing)" in page
    assert f"{Path(hits[2]['path']).name} (cannot be read)" in page
    command(
        "search", "--queries", gallery.parent / "photos" / query.parent.name, "--out", "h.jsonl"
    )


def test_duplicates_show_a_copy_whose_file_is_missing(command: Command, gallery: Path):
    first = find_images(gallery)[0][0]
    shutil.copy(first, gallery / "copy.jpg")
    command("index", "add", "photos")
    (gallery / "copy.jpg").unlink()
    told = command("index", "duplicates", "--html", "copies.html")
    assert f"{gallery}/copy.jpg  (missing)" in told.out
    assert "copy.jpg (missing)" in Path("copies.html").read_text()


def test_changed_content_fails_a_verification_that_reads_every_image(
    command: Command, gallery: Path
):
    first, second = find_images(gallery)[0][:2]
    told = command("index", "verify", "--checksums")
    assert f", {len(find_images(gallery)[0])} images with the content indexed" in told.out
    shutil.copy(second, first)
    assert command("index", "verify").code == 0
    refused(
        command("index", "verify", "--checksums"),
        5,
        f"1 images have other content than was indexed, {first} for one",
        'bring it up to date with "fgembed index add --checksums --sync DIR"',
    )


def test_a_list_that_names_an_image_twice_gives_it_once(command: Command, gallery: Path):
    first, second = find_images(gallery)[0][:2]
    spelled = f"{first}\n{second.parent}/./{second.name}\n{first.parent}/../{first.parent.name}/"
    Path("list.txt").write_text(f"{spelled}{first.name}\n{second}\n")
    told = command("index", "build", "list.txt", "--out", "i")
    assert "2 repeated: they name a file listed before; the first:" in told.out
    assert told.out.startswith("i: 2 images")
    assert command("index", "build", "list.txt", "--out", "i", "--json").answer()["repeated"] == 2


def test_options_that_do_not_belong_together_are_refused(command: Command, gallery: Path):
    refused(
        command("index", "add", "photos", "--gone", "photos"), 2, "--gone needs --sync", "--sync"
    )
    refused(
        command("index", "add", "--sync", "photos", "--gone", "elsewhere"), 2,
        "--gone 'elsewhere' is not in", "give a folder that --sync DIR holds",
    )  # fmt: skip
    refused(
        command("index", "relocate", "photos", "elsewhere"), 1,
        "none of the 24 images below", "the same subfolders",
    )  # fmt: skip
    assert json.loads(command("index", "info", "--json").out)["missing_files"] == 0


def test_many_queries_say_how_many_files_of_their_hits_are_missing(
    command: Command, gallery: Path, photos: Path
):
    find_images(gallery)[0][0].unlink()
    arguments = ("search", "--queries", photos / "test", "--out", "h.jsonl", "-k", 24)
    assert "1 files of the hits are missing; say where they are now with" in command(*arguments).out
    assert command(*arguments, "--json").answer()["missing"] == 1
