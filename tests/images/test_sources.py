"""Folders, tar files, manifests and lists, read image by image; and what is refused."""

import io
import os
import tarfile
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from fgembed.errors import FgembedError, ImageError, NotFoundError
from fgembed.images.decoding import load_rgb
from fgembed.images.image_file import TarMember
from fgembed.images.sources import Listing, labels_of, list_images


def png(colour: str = "red") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (32, 24), colour).save(stream, "PNG")
    return stream.getvalue()


def tar_of(file: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(file, "w") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return file


def names(listing: Listing) -> list[str]:
    return [str(image) for image in listing.images]


def test_a_folder_gives_its_images_sorted(tmp_path: Path):
    for name in ("b/2.png", "a/1.png", "notes.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(png())
    assert names(list_images([tmp_path])) == [f"{tmp_path}/a/1.png", f"{tmp_path}/b/2.png"]


def test_a_member_of_a_tar_file_is_the_image_that_went_in(tmp_path: Path):
    tar = tar_of(
        tmp_path / "0.tar", {"red.png": png("red"), "a.json": b"{}", "x/b.PNG": png("blue")}
    )
    listing = list_images([tar])
    assert names(listing) == [f"{tar}/red.png", f"{tar}/x/b.PNG"]
    colours = []
    for member in listing.images:
        assert isinstance(member, TarMember)
        colours.append(load_rgb(member.open()).getpixel((0, 0)))
    assert colours == [(255, 0, 0), (0, 0, 255)]


def test_a_folder_of_tar_files_is_read_in_their_order(tmp_path: Path):
    tar_of(tmp_path / "01.tar", {"b.png": png()})
    tar_of(tmp_path / "00.tar", {"z.png": png()})
    assert names(list_images([tmp_path])) == [
        f"{tmp_path}/00.tar/z.png",
        f"{tmp_path}/01.tar/b.png",
    ]


def test_a_tar_file_that_was_cut_short_after_listing_is_one_bad_image(tmp_path: Path):
    tar = tar_of(tmp_path / "0.tar", {"a.png": png()})
    (member,) = list_images([tar]).images
    os.truncate(tar, 520)
    assert isinstance(member, TarMember)
    with pytest.raises(ImageError, match="ends before it"):
        member.open()


@pytest.mark.parametrize("name", ["list.csv", "list.tsv", "list.parquet"])
def test_a_manifest_names_images_beside_itself_and_keeps_its_columns(tmp_path: Path, name: str):
    file = tmp_path / name
    if name.endswith("parquet"):
        table = pyarrow.table({"label": ["kiwi", "pear"], "path": ["a.png", "/x/b.png"]})
        pyarrow.parquet.write_table(table, file)
    else:
        separator = "," if name.endswith("csv") else "\t"
        file.write_text(f"label{separator}path\nkiwi{separator}a.png\npear{separator}/x/b.png\n")
    listing = list_images([file])
    assert names(listing) == [f"{tmp_path}/a.png", "/x/b.png"]
    assert listing.columns == {"label": ["kiwi", "pear"]}


def test_labels_of_a_manifest_are_spelt_as_those_of_folders(tmp_path: Path):
    file = tmp_path / "list.csv"
    file.write_text("path,label,note\n1.png,Rose\u0301,e\u0301\n2.png,Ros\u00e9 ,\n")
    columns = list_images([file]).columns
    assert columns == {"label": ["Ros\u00e9", "Ros\u00e9"], "note": ["e\u0301", ""]}


def test_folders_that_look_alike_are_one_label():
    paths = [Path("r/Rose\u0301/1.png"), Path("r/Ros\u00e9/2.png"), Path("r/3.png")]
    assert labels_of(paths, Path("r")) == {"label": ["Ros\u00e9", "Ros\u00e9", None]}


def test_a_list_is_a_path_a_line(tmp_path: Path):
    file = tmp_path / "list.txt"
    file.write_text("a b.png\n\n/x/ü.png\n")
    assert names(list_images([file])) == [f"{tmp_path}/a b.png", "/x/ü.png"]
    assert names(list_images([Path("-")], ["one.png\n", "two.png\r\n"])) == ["one.png", "two.png"]


def test_several_sources_follow_one_another_without_columns(tmp_path: Path):
    (tmp_path / "1.csv").write_text("path,label\na.png,kiwi\n")
    (tmp_path / "2.txt").write_text("b.png\n")
    listing = list_images([tmp_path / "1.csv", tmp_path / "2.txt"])
    assert names(listing) == [f"{tmp_path}/a.png", f"{tmp_path}/b.png"]
    assert listing.columns == {}


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.csv", "", "is empty; begin it with a line of column names"),
        ("a.csv", "\n\n", "is empty"),
        (
            "a.csv",
            "label,year\nkiwi,1\n",
            "none of the columns image_path, path, filename: its columns are label, year; name ",
        ),
        ("a.csv", "path,label\na.png\n", "row 1 has 1 values, expected 2; correct the row"),
        (
            "a.csv",
            "path,label\na.png,x\n,kiwi\n",
            "names no image in row 2 of column 'path'; add its path, or remove the row",
        ),
        ("a.parquet", "no parquet", "cannot be read as Parquet"),
        ("a.tar", "no tar file at all", "cannot be read as an uncompressed tar file: "),
        (
            "a.zip",
            "x",
            "is no source of images that fgembed can read; give a folder of images, a .tar",
        ),
    ],
)
def test_what_cannot_be_understood_is_named(tmp_path: Path, name: str, content: str, expected: str):
    (tmp_path / name).write_text(content)
    with pytest.raises(FgembedError) as refusal:
        list_images([tmp_path / name])
    assert expected in str(refusal.value)


def test_nothing_is_no_listing(tmp_path: Path):
    for source in (tmp_path / "none", tmp_path):
        with pytest.raises(NotFoundError):
            list_images([source])
    with pytest.raises(
        NotFoundError, match=r"no images in -; give a folder of images, a \.tar file"
    ):
        list_images([Path("-")], ["\n"])


def test_names_that_are_no_utf_8_are_left_out(tmp_path: Path):
    file = tmp_path / "list.txt"
    file.write_bytes(b"a.png\nb\xff.png\r\nc.png\n")
    listing = list_images([file])
    assert names(listing) == [f"{tmp_path}/a.png", f"{tmp_path}/c.png"]
    assert [bad.reason for bad in listing.skipped] == ["file name is not valid UTF-8"]
    with pytest.raises(FgembedError, match=r"standard input is not UTF-8: .*; convert it"):
        list_images([Path("-")], io.TextIOWrapper(io.BytesIO(b"b\xff.png\n"), "utf-8"))
