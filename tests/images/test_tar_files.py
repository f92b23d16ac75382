"""Tar files: what is no plain image in them is listed or passed over, never dropped."""

import io
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from fgembed.errors import FgembedError, NotFoundError
from fgembed.images.decoding import load_rgb
from fgembed.images.image_file import TarMember
from fgembed.images.sources import list_images


def png() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (32, 24), "red").save(stream, "PNG")
    return stream.getvalue()


def tar_of(file: Path, *names: str, links: dict[str, str] | None = None) -> Path:
    with tarfile.open(file, "w") as archive:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size = len(png())
            archive.addfile(entry, io.BytesIO(png()))
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)
    return file


def test_pictures_of_formats_that_are_not_read_are_listed(tmp_path: Path):
    tar = tar_of(tmp_path / "0.tar", "1.png", "a/2.psd", "3.svg", "inner.zip", "2.xmp", "2.cls")
    listing = list_images([tar])
    assert [str(image) for image in listing.images] == [f"{tar}/1.png"]
    assert [str(bad.path) for bad in listing.skipped] == [
        f"{tar}/a/2.psd", f"{tar}/3.svg", f"{tar}/inner.zip",
    ]  # fmt: skip
    assert not any(bad.is_bad for bad in listing.skipped)


def test_a_member_without_extension_is_read_by_its_content(tmp_path: Path):
    (member,) = list_images([tar_of(tmp_path / "0.tar", "photo")]).images
    assert isinstance(member, TarMember)
    assert load_rgb(member.open()).getpixel((0, 0)) == (255, 0, 0)


def test_clutter_is_passed_over_and_can_be_included(tmp_path: Path):
    names = ["./a/1.png", "__MACOSX/a/._1.png", "a/@eaDir/1.png/SYNOPHOTO_THUMB_M.jpg", ".photo"]
    tar = tar_of(tmp_path / "0.tar", *names)
    listing = list_images([tar])
    assert [str(image) for image in listing.images] == [f"{tar}/a/1.png"]
    assert listing.passed_over.counts == {"__MACOSX": 1, "@eaDir": 1}
    assert len(list_images([tar], include_clutter=True).images) == 4


def test_links_and_large_members_are_listed_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    tar = tar_of(tmp_path / "0.tar", "1.png", links={"2.png": "1.png", "readme": "1.png"})
    (link,) = list_images([tar]).skipped
    assert (link.path, link.is_bad) == (tar / "2.png", False)
    assert link.reason == "a link in a tar file is not read; unpack 2.png and give the folder"
    monkeypatch.setattr("fgembed.images.tar_files.MAX_MEMBER_BYTES", 10)
    large, _ = list_images([tar]).skipped
    assert large.path == tar / "1.png"
    assert "at most 10 are read; unpack it" in large.reason


def test_tar_files_beside_images_are_listed(tmp_path: Path):
    tar_of(tmp_path / "0.tar", "1.png")
    (tmp_path / "2.png").write_bytes(png())
    listing = list_images([tmp_path])
    assert listing.images == [tmp_path / "2.png"]
    assert [bad.path for bad in listing.skipped] == [tmp_path / "0.tar"]
    assert '"fgembed embed" alone' in listing.skipped[0].reason


def test_a_folder_of_tar_files_also_lists_what_else_lies_in_it(tmp_path: Path):
    tar_of(tmp_path / "0.tar", "1.png")
    tar_of(tmp_path / "1.TAR", "2.png")
    (tmp_path / "a").mkdir()
    for name in ("more.zip", "poster.psd", "a/2.tar"):
        (tmp_path / name).write_bytes(b"")
    listing = list_images([tmp_path])
    assert [str(image) for image in listing.images] == [
        f"{tmp_path}/0.tar/1.png", f"{tmp_path}/1.TAR/2.png",
    ]  # fmt: skip
    listed = {bad.path.relative_to(tmp_path).as_posix() for bad in listing.skipped}
    assert listed == {"more.zip", "poster.psd", "a/2.tar"}


def test_nothing_but_clutter_in_a_tar_file_is_refused(tmp_path: Path):
    tar = tar_of(tmp_path / "0.tar", "__MACOSX/1.png")
    with pytest.raises(NotFoundError, match=r"passed over 1 image .*--include-clutter reads it"):
        list_images([tar])


@pytest.mark.parametrize("name", ["a.psd", "A.SVG"])
def test_a_picture_that_is_not_read_is_no_source(tmp_path: Path, name: str):
    (tmp_path / name).write_bytes(png())
    with pytest.raises(FgembedError, match=r" is not read; save it as JPEG or PNG"):
        list_images([tmp_path / name])
