"""Damaged, foreign and missing bundles, indexes and encoders: refused in one line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fgembed.disk.files import sha256
from fgembed.index.format.manifest import REQUIRED_FILES
from tests.conftest import Command, Outcome
from tests.end_to_end.refusals import Damage, flipped, garbage, refused, truncated
from tests.sealing import write_with_checksum

Search = Callable[[], Outcome]


def edited(**changes: Any) -> Damage:
    """Changes top-level keys of a JSON file; None drops one."""

    def edit(file: Path) -> None:
        content = json.loads(file.read_text()) | changes
        dropped = {key for key, value in changes.items() if value is None}
        write_with_checksum(file, {k: v for k, v in content.items() if k not in dropped})

    return edit


def segment_edited(**changes: Any) -> Damage:
    """Changes keys of a manifest's one segment."""

    def edit(file: Path) -> None:
        content = json.loads(file.read_text())
        content["segments"][0] |= changes
        write_with_checksum(file, content)

    return edit


def file_named(name: str) -> Damage:
    """Adds a file to the list of checksums."""

    def edit(file: Path) -> None:
        content = json.loads(file.read_text())
        content["files"][name] = "0" * 64
        write_with_checksum(file, content)

    return edit


@pytest.fixture
def query(photos: Path) -> Path:
    return next((photos / "test").rglob("*.jpg"))


@pytest.fixture
def search(command: Command, bundle: Path, index: Path, query: Path, tmp_path: Path) -> Search:
    """A search in a copy of the workspace, which a test may damage first."""
    shutil.copytree(bundle, tmp_path / "bundle")
    shutil.copytree(index, tmp_path / "gallery.index")
    return lambda: command("search", query)


@pytest.mark.parametrize("damage", [truncated, flipped, garbage, Path.unlink])
@pytest.mark.parametrize(
    "file",
    [
        "bundle/onnx/model.onnx",
        "gallery.index/seg-000001/vectors.npy",
        "gallery.index/seg-000001/ids.npy",
        "gallery.index/seg-000001/items.sqlite",
    ],
)
def test_a_damaged_file_is_exit_5(search: Search, file: str, damage: Damage) -> None:
    damage(Path(file))
    place, _, name = file.partition("/")
    refused(search(), 5, place, name)


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (truncated, "not valid JSON"),
        (garbage, "not valid JSON"),
        (lambda file: file.write_text("[1]"), "expected a JSON object"),
        (lambda file: file.write_text("[" * 100_000), "not valid JSON"),
        (edited(format=99), "format 99, this fgembed reads 2"),
        (edited(model_type="bert"), "no fgembed bundle"),
        (edited(dimensions=None), "missing key 'dimensions'"),
        (edited(colour="red"), "unknown key 'colour'"),
        (edited(dimensions="16"), "'dimensions' is '16', expected int"),
        (edited(dimensions=True), "'dimensions' is True, expected int"),
        (edited(dimensions=0), "dimensions 0"),
        (edited(files=[]), "'files' is []"),
        (edited(files={}), "no checksum of onnx/model.onnx"),
        (edited(files={"onnx/model.onnx": 5}), "'files.onnx/model.onnx' is 5, expected str"),
        (edited(source_run=7), "'source_run' is 7, expected str"),
        (edited(preprocessing=[]), "'preprocessing' is []"),
        (edited(preprocessing={}), "missing key 'crop_ratio'"),
    ],
)
def test_a_damaged_bundle_description_is_exit_5(search: Search, damage: Damage, word: str) -> None:
    damage(Path("bundle/config.json"))
    refused(search(), 5, "bundle", word)


@pytest.mark.parametrize(
    ("key", "value"),
    [("size", 64.5), ("size", 8), ("resample", 5), ("resample", "sinc"), ("fit", None),
     ("mean", [0.5]), ("std", [0.1, 0.1, "x"]), ("draft", 99), ("crop_ratio", 0)],
)  # fmt: skip
def test_a_damaged_preprocessing_is_exit_5(search: Search, key: str, value: Any) -> None:
    file = Path("bundle/config.json")
    preprocessing = json.loads(file.read_text())["preprocessing"] | {key: value}
    edited(preprocessing=preprocessing)(file)
    refused(search(), 5, "preprocessing", key)


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "onnx/../../outside", "a\0b"])
def test_a_bundle_that_names_a_file_outside_itself_is_exit_5(
    search: Search, command: Command, photos: Path, name: str
) -> None:
    file_named(name)(Path("bundle/config.json"))
    refused(command("index", "build", photos), 5, "names a file outside itself", "bundle")


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (truncated, "not valid JSON"),
        (garbage, "not valid JSON"),
        (lambda file: file.write_text("[1]"), "expected a JSON object"),
        (edited(format=99), "format 99, this fgembed reads 4"),
        (edited(model_type="web"), "no fgembed index"),
        (edited(model=None), "missing key 'model'"),
        (edited(model=5), "expected an object, got 5"),
        (edited(model={}), "missing key 'bundle'"),
        (edited(store="float8"), "'float8'"),
        (edited(removed={"file": "../x.npy", "count": 1, "sha256": ""}), "do not add up"),
        (edited(count=23, removed={"file": "../x.npy", "count": 1, "sha256": ""}),
         "outside itself"),
        (edited(count=23, removed={"file": "removed-1.npy", "count": 1, "sha256": ""}),
         "removed-1.npy is missing"),
        (edited(count="24"), "'count' is '24', expected int"),
        (edited(count=23), "counts do not add up"),
        (edited(dimensions=17), "17"),
        (edited(recall="high"), "'recall' is 'high', expected float"),
        (edited(segments=[]), "do not add up"),
        (segment_edited(parameters={"nprobe": "x"}), "'parameters.nprobe' is 'x', expected int"),
        (segment_edited(parameters=[]), "'parameters' is []"),
        (segment_edited(measured={}), "missing key 'queries'"),
        (segment_edited(factory="IVF1,Flat"), "checksums of seg-000001"),
        (segment_edited(count=0), "no vectors"),
        (edited(segments=[5]), "expected an object"),
        (edited(segments={}), "'segments' is {}"),
        (segment_edited(name=5), "'name' is 5, expected str"),
        (segment_edited(root=None), "'root' is None, expected str"),
        (segment_edited(files={}), "checksums of"),
        (segment_edited(name="../bundle"), "checksums of"),
        (segment_edited(name="x", files={f"x/{n}": "" for n in REQUIRED_FILES}), "is missing"),
        (
            segment_edited(name="../x", files={f"../x/{n}": "" for n in REQUIRED_FILES}),
            "outside itself",
        ),
    ],
)  # fmt: skip
def test_a_damaged_manifest_is_exit_5(search: Search, damage: Damage, word: str) -> None:
    damage(Path("gallery.index/manifest.json"))
    refused(search(), 5, "gallery.index", word)


def test_what_faiss_cannot_read_is_exit_5_though_the_checksum_is_right(
    search: Search, command: Command
) -> None:
    assert command("index", "compact", "--kind", "hnsw").code == 0
    Path("gallery.index/seg-000002").rename("gallery.index/seg-000001")
    file = Path("gallery.index/manifest.json")
    write_with_checksum(file, json.loads(file.read_text().replace("seg-000002", "seg-000001")))
    assert search().code == 0
    truncated(Path("gallery.index/seg-000001/vectors.faiss"))
    files = json.loads(file.read_text())["segments"][0]["files"]
    files["seg-000001/vectors.faiss"] = sha256(Path("gallery.index/seg-000001/vectors.faiss"))
    segment_edited(files=files)(file)
    refused(search(), 5, "FAISS cannot read gallery.index/seg-000001/vectors.faiss")


def test_an_unlisted_items_file_is_not_trusted(search: Search) -> None:
    file = Path("gallery.index/manifest.json")
    files = json.loads(file.read_text())["segments"][0]["files"]
    del files["seg-000001/items.sqlite"]
    segment_edited(files=files)(file)
    refused(search(), 5, "checksums of seg-000001")


def test_an_index_of_another_model_is_exit_5_with_the_remedy(search: Search) -> None:
    file = Path("gallery.index/manifest.json")
    edited(model=json.loads(file.read_text())["model"] | {"fingerprint": "0" * 64})(file)
    refused(search(), 5, "another model", '"fgembed index build"', "--bundle")


def test_a_missing_index_names_the_command_that_makes_one(command: Command, query: Path) -> None:
    refused(command("search", query), 1, "no index at gallery.index", '"fgembed index build"')


def test_a_missing_bundle_names_the_command_that_makes_one(command: Command, photos: Path) -> None:
    done = command("index", "build", photos)
    refused(done, 1, "no bundle at bundle", '"fgembed export --onnx"')


def test_a_bundle_that_was_moved_can_be_given(
    search: Search, command: Command, query: Path
) -> None:
    Path("bundle").rename("elsewhere")
    refused(search(), 1, f"is not at {Path('bundle').resolve()}", "--bundle")
    assert command("search", query, "--bundle", "elsewhere").code == 0


@pytest.mark.parametrize("option", ["--bundle", "--index"])
def test_another_tools_folder_is_exit_5(
    search: Search, command: Command, query: Path, option: str
) -> None:
    Path("foreign").mkdir()
    Path("foreign/model.onnx").write_bytes(b"")
    refused(command("search", query, option, "foreign"), 5, "foreign is no fgembed")


@pytest.mark.parametrize(
    "damage",
    [truncated, garbage, edited(format=1), edited(sha256=None), edited(backbone="nobody/none"),
     edited(pooling="max"), edited(depths=[0.1, 0.2, 0.3]), edited(mirror=None),
     edited(whitening=[3, 3]), edited(whitening=[1]), edited(backbone=5)],
)  # fmt: skip
def test_a_damaged_encoder_description_is_exit_5(
    command: Command, run: Path, tmp_path: Path, damage: Damage
) -> None:
    copied = tmp_path / "copy"
    shutil.copytree(run, copied)
    damage(copied / "encoder.json")
    refused(command("export", "copy"), 5, "copy")
    assert not Path("bundle").exists()
