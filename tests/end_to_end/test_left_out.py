"""What is no photograph is passed over by every command, what cannot be read is told once."""

import json
import shutil
import tarfile
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from fgembed.index import Searcher
from fgembed.index.search.snapshot import open_vectors
from tests.conftest import Command
from tests.end_to_end.refusals import refused

CLUTTER = [
    ".ipynb_checkpoints", "@eaDir", ".Trash-1000/files", ".thumbnails", "#recycle", "__MACOSX",
    ".stversions", "$RECYCLE.BIN", "lost+found", "@Recycle/sub/sub",
]  # fmt: skip
UNREAD = ["1.psd", "2.SVG", "a/3.xcf", "4.zip", "a/5.jp2", "6.tga", "7.exr", "8.tar.gz"]


@pytest.fixture
def littered(photos: Path, tmp_path: Path) -> Path:
    """Two classes of six images, each with all clutter at its root, in it and beside its files."""
    root = tmp_path / "photos"
    for name, folder in zip("ab", sorted((photos / "train").iterdir()), strict=False):
        (root / name).mkdir(parents=True)
        for file in sorted(folder.iterdir())[:6]:
            shutil.copy(file, root / name)
    for clutter in CLUTTER:
        for place in (root, root / "a"):
            shutil.copytree(root / "b", place / clutter)
    for file in [*(root / "a").glob("*.jpg")]:
        (root / "a" / f"._{file.name}").write_bytes(b"\0\x05\x16\x07" + bytes(60))
        shutil.copy(file, root / "a" / f"{file.name}~")
    return root


LITTER = 6 * 2 * len(CLUTTER) + 6 * 2


def littered_with(photos: Path, names: list[str]) -> None:
    for name in names:
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        (photos / name).write_bytes(b"a picture of another kind")


def test_an_index_holds_photographs_only(command: Command, bundle: Path, littered: Path) -> None:
    done = command("index", "build", "photos", "--bundle", bundle, "--max-bad", 0)
    assert done.code == 0, done.err
    assert done.out.startswith("gallery.index: 12 images")
    assert done.out.count(f"passed over {LITTER} images that systems and programs left (") == 1
    items = open_vectors(Path("gallery.index")).items(range(12))
    assert {item.values[0] for _, item, _ in items.values()} == {"a", "b"}
    assert Path("gallery.index/skipped.jsonl").read_text() == ""


def test_clutter_can_be_indexed(command: Command, bundle: Path, littered: Path) -> None:
    done = command(
        "index", "build", "photos", "--bundle", bundle, "--include-clutter", "--json"
    ).answer()
    assert (done["count"], done["skipped"], done["passed_over"]) == (12 + LITTER - 6, 6, 0)


def test_add_and_sync_pass_over_clutter(
    command: Command, bundle: Path, littered: Path, photos: Path
) -> None:
    command("index", "build", photos / "test", "--bundle", bundle)
    for arguments in (["photos"], ["--sync", "photos"]):
        report = command("index", "add", *arguments, "--max-bad", 0, "--json").answer()
        assert (report["skipped"], report["passed_over"]) == (0, LITTER)
        assert report["state"]["count"] == 9 + 12


def test_the_settings_of_the_workspace_include_clutter(
    command: Command, bundle: Path, littered: Path
) -> None:
    Path("fgembed.toml").write_text('images = "photos"\ninclude_clutter = true\n')
    done = command("index", "build", "--bundle", bundle, "--json").answer()
    assert done["count"] == 12 + LITTER - 6


def test_scores_are_those_of_the_photographs(
    command: Command, bundle: Path, littered: Path
) -> None:
    def scores() -> dict[str, Any]:
        folders = "--gallery", "photos", "--queries", "photos"
        table: dict[str, Any] = command(
            "evaluate", bundle, *folders, "--max-bad", 0, "--json"
        ).answer()
        return table

    with_clutter = scores()
    assert any(f"passed over {LITTER} images" in note for note in with_clutter["notes"])
    for clutter in (*CLUTTER, *(f"a/{name}" for name in CLUTTER)):
        shutil.rmtree(littered / clutter)
    for file in (*(littered / "a").glob("._*"), *(littered / "a").glob("*~")):
        file.unlink()
    without = scores()
    assert (without["classes"], with_clutter["classes"]) == (2, 2)
    assert with_clutter["rows"] == without["rows"]


def test_an_evaluation_names_what_it_leaves_out(
    command: Command, bundle: Path, littered: Path
) -> None:
    (littered / "a" / "1.psd").write_bytes(b"8BPS")
    (littered / "a" / "broken.jpg").write_bytes(b"")
    told = command("evaluate", bundle, "--gallery", "photos", "--queries", "photos")
    assert ", 2 that are not read left out; " in told.out
    assert "left out for one: photos/a/broken.jpg, not an image of a supported format." in told.out


def test_the_next_command_names_the_index_that_was_built(
    command: Command, bundle: Path, littered: Path
) -> None:
    for out, following in (("gallery.index", ""), ("mine", " --index mine")):
        done = command("index", "build", "photos", "--bundle", bundle, "--out", out)
        assert done.out.endswith(f'next: "fgembed search query.jpg{following}"\n')


@pytest.mark.slow
def test_a_training_sees_photographs_only(command: Command, littered: Path) -> None:
    littered_with(littered, UNREAD)
    arguments = ("train", "--images", "photos", "--weights", "random",
                 "--backbone", "torchvision/resnet18:layer1", "--method", "none",
                 "--set", "preprocessing.size=64",
                 "--set", "pooling.whitening=4", "--set", "max_bad=0")  # fmt: skip
    dry = command(*arguments, "--dry-run")
    assert "12, not yet checked" in dry.out
    assert f"passed over {LITTER} images" in dry.out
    done = command(*arguments, "--run", "r", "--json").answer()
    assert (done["images"], done["skipped"], done["passed_over"]) == (12, len(UNREAD), LITTER)
    listed = Path("runs/r/skipped.jsonl").read_text().splitlines()
    assert {json.loads(line)["path"] for line in listed} == {f"photos/{name}" for name in UNREAD}


def test_embed_passes_over_clutter_in_folders_and_tar_files(
    command: Command, bundle: Path, littered: Path
) -> None:
    littered_with(littered, UNREAD)
    with tarfile.open("photos.tar", "w") as archive:
        archive.add("photos")
    for source in ("photos", "photos.tar"):
        out = f"embeddings of {source}"
        done = command("embed", source, "--bundle", bundle, "--out", out, "--max-bad", 0, "--json")
        answer = done.answer()
        assert (answer["embedded"], answer["skipped"]) == (12, len(UNREAD))
        assert answer["passed_over"] == LITTER
    again = command("embed", "photos", "--bundle", bundle, "--out", "embeddings of photos")
    assert f"{len(UNREAD)} skipped; the first:" in again.out
    assert f"passed over {LITTER} images" in again.out


def test_init_and_queries_pass_over_clutter(
    command: Command, bundle: Path, littered: Path, photos: Path
) -> None:
    done = command("init", "photos")
    assert "fgembed.toml: 12 images in photos" in done.out
    assert "include_clutter = true in fgembed.toml reads them" in done.out
    command("index", "build", photos / "test", "--bundle", bundle)
    done = command("search", "--queries", "photos", "--out", "hits.jsonl", "--json").answer()
    assert (done["queries"], done["skipped"], done["passed_over"]) == (12, 0, LITTER)


def test_pictures_that_are_not_read_are_counted_named_and_listed(
    command: Command, bundle: Path, photos: Path
) -> None:
    shutil.copytree(photos / "test", "photos")
    littered_with(Path("photos"), UNREAD)
    done = command("index", "build", "photos", "--bundle", bundle, "--max-bad", 0)
    assert done.code == 0, done.err
    assert f"{len(UNREAD)} skipped, listed in gallery.index/skipped.jsonl; the first:" in done.out
    assert "  photos/1.psd: Photoshop is not read; save it as JPEG or PNG" in done.out.splitlines()
    assert "of formats that are not read: 1 .psd, 1 .svg, 1 .zip, 1 .tga" in done.out
    listed = [
        json.loads(line) for line in Path("gallery.index/skipped.jsonl").read_text().splitlines()
    ]
    assert {entry["path"] for entry in listed} == {f"{Path.cwd()}/photos/{n}" for n in UNREAD}
    assert all(entry["is_bad"] is False and ";" in entry["reason"] for entry in listed)
    again = command("index", "add", "photos")
    assert "9 unchanged, 8 skipped" in again.out


def test_a_folder_of_nothing_that_is_read_is_refused_with_what_to_do(
    command: Command, bundle: Path
) -> None:
    littered_with(Path("photos"), ["1.psd", "a/2.psd"])
    done = command("index", "build", "photos", "--bundle", bundle, "--max-bad", 1)
    refused(done, 3, "none of 2 images can be read", "Photoshop is not read; save it as JPEG")


def test_a_manifest_that_names_a_picture_that_is_not_read_lists_it(
    command: Command, bundle: Path, photos: Path
) -> None:
    shutil.copytree(photos / "test", "photos")
    littered_with(Path("photos"), ["1.psd"])
    rows = [str(path.relative_to("photos")) for path in Path("photos").rglob("*.*")]
    Path("photos/list.csv").write_text("path\n" + "\n".join(rows) + "\n")
    done = command("index", "build", "photos/list.csv", "--bundle", bundle, "--max-bad", 0)
    assert done.code == 0, done.err
    assert "1 skipped" in done.out
    assert "1 .psd" in done.out


def test_classes_that_look_alike_are_one(command: Command, bundle: Path, photos: Path) -> None:
    names = dict(
        zip(sorted(p.name for p in (photos / "test").iterdir()), ("Rosé", "Çà"), strict=False)
    )
    for form in ("NFC", "NFD"):
        for folder, name in names.items():
            shutil.copytree(
                photos / "test" / folder, Path(form) / unicodedata.normalize(form, name)
            )
    table = command("evaluate", bundle, "--gallery", "NFC", "--queries", "NFD", "--json").answer()
    assert table["classes"] == 2
    assert table["rows"][0]["scores"]["recall@1"]["value"] == 1
    shutil.copytree("NFC", "both")
    shutil.copytree("NFD", "both", dirs_exist_ok=True)
    assert len(list(Path("both").iterdir())) == 4
    done = command("index", "build", "both", "--bundle", bundle, "--json").answer()
    assert done["count"] == 12
    query = next(Path("both").rglob("*.jpg"))
    hits = Searcher.open(Path("gallery.index"), bundle).search(query, k=12, where="label = 'Rosé'")
    assert len(hits) == 6


def test_a_workspace_among_photographs_is_not_indexed(
    command: Command, bundle: Path, photos: Path
) -> None:
    shutil.copytree(photos / "test", "birds")
    shutil.copytree(bundle, "bundle")
    query = next(Path("birds").rglob("*.jpg"))
    for _ in range(2):
        assert command("index", "build", ".", "--json").answer()["count"] == 9
        done = command("search", query, "--png", "birds/hits.png", "--html", "hits.html")
        assert done.code == 0, done.err
