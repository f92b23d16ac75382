"""Whatever a command is asked to write, the user's own files stay."""

import json
import shutil
from pathlib import Path

import pytest

from fgembed.images.finding import find_images
from tests.children import NO_FLUSH, NO_LINKS, NO_LOCKS, ended, started
from tests.conftest import Command
from tests.end_to_end.refusals import refused

OURS = "that fgembed wrote"


@pytest.fixture
def shots(command: Command, gallery: Path) -> list[str]:
    """Photographs below the current folder, where `gallery.index` is their index."""
    return [str(path) for path in find_images(Path("photos"))[0]]


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and "index" not in str(path)]
    return {str(path): path.read_bytes() for path in files}


def names(folder: str) -> list[str]:
    return [path.name for path in Path(folder).iterdir()]


def test_no_page_sheet_plot_or_table_replaces_a_photograph(
    command: Command, shots: list[str], tmp_path: Path
) -> None:
    first, second = Path(shots[0]), Path(shots[1])
    for ending in (".html", ".htm", ".png", ".svg", ".jsonl", ".parquet", ".hdf5"):
        shutil.copy(second, f"mine{ending}")  # a photograph by any name
    Path("link.html").symlink_to(second)
    Path("link.png").symlink_to("away.png")
    before = contents(tmp_path)
    search = ("search", first)
    attempts: list[tuple[tuple[object, ...], str]] = [
        ((*search, "--png", first), "is no .png file"),
        ((*search, "--html", second), "is neither .html nor .htm"),
        ((*search, "--html", "mine.html"), OURS),
        ((*search, "--html", "mine.htm"), OURS),
        ((*search, "--png", "mine.png"), OURS),
        ((*search, "--html", "link.html"), OURS),
        ((*search, "--png", "link.png"), OURS),
        ((*search, "--html", "fgembed.html/hits.png"), "is neither .html nor .htm"),
        ((*search, "--html", "gallery.index/hits.html"), "which is an index"),
        ((*search, "--html", "good.html", "--png", "mine.png"), OURS),
        (("index", "duplicates", "--threshold", 0.5, "--html", shots[2]), "neither .html nor .htm"),
        (("index", "duplicates", "--threshold", 0.5, "--html", "mine.html"), OURS),
        (("index", "tune", "--plot", "mine.png"), OURS),
        (("index", "tune", "--plot", "mine.svg"), OURS),
        (("search", "--queries", "photos", "--out", "mine.jsonl"), OURS),
        (("search", "--queries", "photos", "--out", "mine.parquet"), OURS),
        (("index", "export", "mine.hdf5"), "exists already"),
        (("index", "export", "mine.hdf5", "--overwrite"), OURS),
        (("index", "export", shots[0], "--as", "hdf5", "--overwrite"), OURS),
    ]
    for arguments, words in attempts:
        refused(command(*arguments), 1, words)
    assert contents(tmp_path) == before
    assert Path("link.html").readlink() == second


def test_what_a_command_wrote_it_writes_again(command: Command, shots: list[str]) -> None:
    commands: list[tuple[object, ...]] = [
        ("search", shots[0], "--html", "new/hits.html", "--png", "hits.png", "--explain"),
        ("index", "duplicates", "--threshold", 0.5, "--html", "new/hits.html"),
        ("search", "--queries", "photos", "--out", "hits.jsonl"),
        ("search", "--queries", "photos", "--out", "hits.parquet"),
        ("index", "export", "set.hdf5", "--overwrite"),
        ("index", "export", "plain", "--overwrite"),
    ]
    for arguments in commands + commands[:4]:
        done = command(*arguments)
        assert done.code == 0, (arguments, done.err)
    for arguments in commands[4:]:
        assert command(*arguments).code == 0, arguments


def test_a_folder_is_replaced_only_if_all_of_it_is_an_export(
    command: Command, shots: list[str]
) -> None:
    assert command("index", "export", "plain").code == 0
    shutil.copy(shots[0], "plain/metadata/1.jpg")
    done = command("index", "export", "plain", "--overwrite")
    refused(done, 1, "plain holds 'metadata/1.jpg', which is no part of an export")
    Path("plain/metadata/1.jpg").unlink()
    infos = Path("plain/index_infos.json")
    infos.write_text(json.dumps(json.loads(infos.read_text()) | {"metric": "ip"}))
    refused(command("index", "export", "plain", "--overwrite"), 1, "an export of another tool")


@pytest.mark.parametrize("name", ["pending", "seg-photos", "seg-000001", "removed-1.npy.jpg"])
def test_an_index_is_not_built_over_folders_of_the_user_s(
    command: Command, shots: list[str], bundle: Path, name: str
) -> None:
    Path("mine", name).mkdir(parents=True)
    shutil.copy(shots[0], Path("mine", name, "1.jpg"))
    done = command("index", "build", "photos", "--bundle", bundle, "--out", "mine")
    refused(done, 1, "mine holds", "choose another folder")
    assert names("mine") == [name] and names(f"mine/{name}") == ["1.jpg"]


def test_embeddings_of_another_tool_are_not_written_over(
    command: Command, shots: list[str], bundle: Path
) -> None:
    Path("clip/img_emb").mkdir(parents=True)
    Path("clip/img_emb/img_emb_0000.npy").write_bytes(b"mine")
    done = command("embed", "photos", "--bundle", bundle, "--out", "clip")
    refused(done, 1, "clip holds 'img_emb', which is no part of a folder of embeddings")
    assert Path("clip/img_emb/img_emb_0000.npy").read_bytes() == b"mine"


@pytest.mark.slow
def test_a_report_replaces_its_own_files_only(command: Command, run: Path, photos: Path) -> None:
    assert command("evaluate", run, "--report", "report").code == 0
    assert command("evaluate", run, "--report", "report").code == 0
    for name in ("maps.png", "report.md", "report.json", "method.png"):
        Path("mine").mkdir(exist_ok=True)
        shutil.copy(next((photos / "train").rglob("*.jpg")), f"mine/{name}")
        refused(command("evaluate", run, "--report", "mine"), 1, f"mine/{name}", OURS)
        assert names("mine") == [name]
        Path("mine", name).unlink()


@pytest.mark.slow
@pytest.mark.parametrize("on", [NO_LINKS, NO_FLUSH.format(name="EINVAL")])
def test_the_job_is_done_on_a_disk_without_links_or_flushes_of_folders(
    tmp_path: Path, tiny_settings: dict[str, object], photos: Path, on: str
) -> None:
    import tomli_w

    learning = {"epochs": 1, "batch_size": 8}
    method = {"name": "moco", "queue_size": 16}
    settings = tomli_w.dumps(tiny_settings | {"optimiser": learning, "method": method})
    (tmp_path / "fgembed.toml").write_text(settings)
    query = next((photos / "test").rglob("*.jpg"))
    for arguments in (
        ("train",), ("train", "--resume"), ("evaluate", "latest"), ("export",),
        ("index", "build", photos / "train"), ("search", query, "--html", "hits.html"),
        ("embed", photos / "test"),
    ):  # fmt: skip
        done = ended(started(tmp_path, *arguments, on=on))
        assert done.code == 0, (arguments, done.err)
    assert (tmp_path / "runs" / "latest").is_symlink() == (on != NO_LINKS)
    assert (tmp_path / "runs" / "moco-1" / "report.json").is_file()


@pytest.mark.parametrize("name", ["ENOLCK", "ENOSYS"])
def test_a_disk_without_locks_is_named_before_the_work_and_searched_all_the_same(
    command: Command, shots: list[str], bundle: Path, tmp_path: Path, name: str
) -> None:
    on = NO_LOCKS.format(name=name)
    for arguments in (
        ("index", "build", "photos", "--bundle", bundle, "--out", "new"),
        ("index", "compact"),
        ("embed", "photos", "--bundle", bundle, "--out", "vectors"),
    ):
        done = ended(started(tmp_path, *arguments, on=on))
        assert (done.code, done.out) == (1, "")
        assert "has no file locks" in done.err and len(done.err.splitlines()) == 1, done.err
    done = ended(started(tmp_path, "search", shots[0], "--bundle", bundle, on=on))
    assert done.code == 0, done.err


def test_a_search_imports_no_lock(command: Command, shots: list[str], tmp_path: Path) -> None:
    on = "import atexit, sys; sys.modules['filelock'] = None"
    done = ended(started(tmp_path, "search", shots[0], "--html", "hits.html", on=on))
    assert done.code == 0, done.err
