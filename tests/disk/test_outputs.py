"""No output takes the place of a file that fgembed did not write."""

import io
import json
import os
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from fgembed.disk.outputs import Output, is_our_png
from fgembed.errors import FgembedError
from fgembed.index.search.hits import Hit
from fgembed.index.search.hits_file import HITS, write_hits
from fgembed.index.tools.hdf5_export import DATA_SET
from fgembed.pages.cards import Card, ResultRow
from fgembed.pages.contact_sheet import BACKGROUND, CONTACT_SHEET, write_png
from fgembed.pages.html_page import RESULTS_PAGE, write_html

matplotlib.use("Agg")

ROW = ResultRow(Card("q.jpg", Image.new("RGB", (40, 30), "red")), [])
HIT = Hit(rank=1, score=0.5, path=Path("/p/a.jpg"), id=7, metadata={})
MARKED = Output("a note", (".txt",), lambda file: file.read_text().startswith("ours"))
FOREIGN = "is there and is not .* that fgembed wrote; choose another path, or move that file away"


def photograph(file: Path, kind: str = "JPEG") -> bytes:
    stream = io.BytesIO()
    Image.effect_noise((64, 48), 60).convert("RGB").save(stream, kind)
    file.write_bytes(stream.getvalue())
    return stream.getvalue()


def test_a_photograph_is_never_replaced_whatever_it_is_called(tmp_path: Path) -> None:
    for name in ("a.html", "b.htm", "c.HTML"):
        content = photograph(tmp_path / name)
        with pytest.raises(FgembedError, match=FOREIGN):
            write_html(tmp_path / name, [ROW], "Cats", {})
        assert (tmp_path / name).read_bytes() == content
    for name, kind in (("d.png", "PNG"), ("e.PNG", "JPEG")):
        content = photograph(tmp_path / name, kind)
        with pytest.raises(FgembedError, match=FOREIGN):
            write_png(tmp_path / name, [ROW])
        assert (tmp_path / name).read_bytes() == content
    for name in ("f.jsonl", "g.parquet"):
        content = photograph(tmp_path / name)
        with pytest.raises(FgembedError, match=FOREIGN):
            write_hits(tmp_path / name, [("q", [HIT])])
        assert (tmp_path / name).read_bytes() == content
    assert len(list(tmp_path.iterdir())) == 7


def test_what_fgembed_wrote_before_is_replaced(tmp_path: Path) -> None:
    for _ in range(2):
        write_html(tmp_path / "hits.html", [ROW], "Cats", {})
        write_png(tmp_path / "hits.png", [ROW])
        write_hits(tmp_path / "hits.jsonl", [("q", [HIT])])
        write_hits(tmp_path / "hits.parquet", [("q", [HIT])])
    write_hits(tmp_path / "hits.jsonl", [])
    write_hits(tmp_path / "hits.jsonl", [("again", [HIT])])
    assert json.loads((tmp_path / "hits.jsonl").read_text())["query"] == "again"


def test_pages_and_sheets_of_the_release_before_are_known(tmp_path: Path) -> None:
    """Their pages began as today's do, and their sheets had no mark."""
    page = '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    page += '<meta http-equiv="Content-Security-Policy" content="'
    (tmp_path / "old.html").write_text(page + "default-src 'none'; style-src 'sha256-abc'\">")
    write_html(tmp_path / "old.html", [ROW], "Cats", {})
    assert "Cats" in (tmp_path / "old.html").read_text()
    write_png(tmp_path / "old.png", [ROW])
    with Image.open(tmp_path / "old.png") as image:
        image.save(tmp_path / "old.png", pnginfo=PngInfo())
    assert not is_our_png(tmp_path / "old.png")
    write_png(tmp_path / "old.png", [ROW])
    assert is_our_png(tmp_path / "old.png")


@pytest.mark.parametrize("size", [(276, 300), (496, 300), (500, 300)])
def test_a_picture_as_wide_as_a_sheet_is_no_sheet(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.fromarray(np.full((size[1], size[0], 3), 7, np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(FgembedError, match=FOREIGN):
        CONTACT_SHEET.check(tmp_path / "a.png")
    image = Image.new("RGB", size, BACKGROUND)
    image.putpixel((3, 3), (0, 0, 0))
    image.save(tmp_path / "a.png")
    with pytest.raises(FgembedError, match=FOREIGN):
        CONTACT_SHEET.check(tmp_path / "a.png")


def test_other_pages_tables_and_plots_are_not_ours(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text("<!DOCTYPE html>\n<html lang='en'>my page")
    (tmp_path / "a.jsonl").write_text('{"query": "q", "answer": 42}\n')
    (tmp_path / "b.jsonl").write_text("query, rank")
    (tmp_path / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n and more")
    from matplotlib import pyplot

    pyplot.figure().savefig(tmp_path / "a.png")
    pyplot.close()
    for output, name in (
        (RESULTS_PAGE, "a.html"), (HITS, "a.jsonl"), (HITS, "b.jsonl"), (DATA_SET, "a.h5"),
        (CONTACT_SHEET, "a.png"),
    ):  # fmt: skip
        with pytest.raises(FgembedError, match=FOREIGN):
            output.check(tmp_path / name)


def test_a_wrong_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FgembedError, match=r"a\.jpg is neither \.html nor \.htm; give a results"):
        RESULTS_PAGE.check(tmp_path / "a.jpg")
    with pytest.raises(FgembedError, match=r"a\.html is no \.png file; give a contact sheet"):
        CONTACT_SHEET.check(tmp_path / "a.html")


def test_links_are_followed_and_those_to_nothing_are_refused(tmp_path: Path) -> None:
    photograph(tmp_path / "photo.jpg")
    (tmp_path / "a.html").symlink_to("photo.jpg")
    (tmp_path / "b.html").symlink_to("on-a-disk-that-is-away.jpg")
    os.link(tmp_path / "photo.jpg", tmp_path / "c.html")
    for name in ("a.html", "b.html", "c.html"):
        with pytest.raises(FgembedError, match=FOREIGN):
            RESULTS_PAGE.check(tmp_path / name)


def test_what_is_no_ordinary_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.html")
    (tmp_path / "b.html").mkdir()
    (tmp_path / "c.html").symlink_to("/dev/null")
    for name in ("a.html", "b.html", "c.html"):
        with pytest.raises(FgembedError, match=FOREIGN):
            RESULTS_PAGE.check(tmp_path / name)


def test_an_empty_file_may_be_written(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    with MARKED.write(tmp_path / "a.txt") as file:
        file.write(b"ours")
    assert (tmp_path / "a.txt").read_text() == "ours"


def test_what_appears_while_a_file_is_written_stays(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    MARKED.check(file)
    with pytest.raises(FgembedError, match=FOREIGN), MARKED.write(file) as stream:
        stream.write(b"ours")
        file.write_text("mine")
    assert (file.read_text(), [path.name for path in tmp_path.iterdir()]) == ("mine", ["a.txt"])


def test_an_input_is_no_output(tmp_path: Path) -> None:
    write_png(tmp_path / "sheet.png", [ROW])
    (tmp_path / "link.png").symlink_to("sheet.png")
    for query in (tmp_path / "sheet.png", tmp_path / "link.png"):
        with pytest.raises(FgembedError, match=r"sheet\.png is what the command reads"):
            CONTACT_SHEET.check(tmp_path / "sheet.png", [query])


@pytest.mark.parametrize(
    ("name", "model_type", "kind"),
    [
        ("manifest.json", "fgembed-index", "an index"),
        ("config.json", "fgembed", "a bundle"),
        ("embed.json", "fgembed-embeddings", "embeddings"),
    ],
)
def test_our_own_folders_get_no_foreign_files(
    tmp_path: Path, name: str, model_type: str, kind: str
) -> None:
    (tmp_path / name).write_text(json.dumps({"model_type": model_type}))
    with pytest.raises(FgembedError, match=f"lies in {tmp_path}, which is {kind}"):
        RESULTS_PAGE.check(tmp_path / "new" / "hits.html")
    (tmp_path / name).write_text(json.dumps({"model_type": "bert"}))
    RESULTS_PAGE.check(tmp_path / "new" / "hits.html")


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    photograph(tmp_path / "photo.jpg")
    with pytest.raises(NotADirectoryError) as error:
        RESULTS_PAGE.check(tmp_path / "photo.jpg" / "hits.html")
    assert error.value.filename == str(tmp_path / "photo.jpg")
