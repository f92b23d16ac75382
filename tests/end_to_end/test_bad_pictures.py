"""Bad pictures in a folder: skipped, counted, listed, and no row shifts."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from fgembed.bundle import Bundle
from fgembed.index.changes.build import build_index
from tests.conftest import Command
from tests.end_to_end.bad_pictures import BAD, GOOD, ODD, encoded, write_bad_pictures
from tests.end_to_end.refusals import checked_picture, refused, vectors_by_path, within


@dataclass(frozen=True)
class Mixed:
    pictures: Path
    index: Path
    clean_index: Path


@pytest.fixture(scope="module")
def mixed(bundle: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Mixed:
    """Good pictures in one folder; the same, odd and bad ones in another; an index of each."""
    place = tmp_path_factory.mktemp("mixed")
    clean, pictures = place / "clean", place / "mixed"
    clean.mkdir()
    for name, photo in zip(GOOD, sorted((photos / "train").rglob("*.jpg")), strict=False):
        shutil.copy(photo, clean / name)
    shutil.copytree(clean, pictures)
    (pictures / ODD[0]).write_bytes(encoded(checked_picture(), "PNG"))
    checked_picture((80, 64)).save(pictures / ODD[1])
    write_bad_pictures(pictures)
    opened = Bundle.open(bundle)
    build_index(clean, opened, place / "clean.index")
    build_index(pictures, opened, place / "mixed.index")
    return Mixed(pictures, place / "mixed.index", place / "clean.index")


def test_no_row_shifts_where_pictures_are_skipped(mixed: Mixed) -> None:
    expected = vectors_by_path(mixed.clean_index)
    actual = vectors_by_path(mixed.index)
    assert sorted(actual) == sorted(GOOD + ODD)
    assert sorted(expected) == GOOD
    for name in GOOD:
        np.testing.assert_allclose(actual[name], expected[name], atol=1e-5)
    apart = np.stack([expected[name] for name in GOOD])
    assert np.sort(np.linalg.norm(apart[:, None] - apart, axis=2), axis=1)[:, 1].min() > 1e-3


def test_the_skipped_are_all_listed(mixed: Mixed) -> None:
    lines = (mixed.index / "skipped.jsonl").read_text(encoding="utf-8").splitlines()
    listed = {Path(json.loads(line)["path"]).name for line in lines}
    assert len(lines) == len(BAD)
    assert listed == set(BAD)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_picture_is_listed_with_its_reason(mixed: Mixed, name: str) -> None:
    lines = (mixed.index / "skipped.jsonl").read_text(encoding="utf-8").splitlines()
    reasons = {Path(line["path"]).name: line["reason"] for line in map(json.loads, lines)}
    assert BAD[name] in reasons[name]


@pytest.mark.parametrize("name", [name for name in BAD if "\udcff" not in name])
def test_a_bad_query_is_one_line(command: Command, mixed: Mixed, name: str) -> None:
    with within(30):
        done = command("search", mixed.pictures / name, "--index", mixed.index)
    refused(done, 1, f"cannot read image '{mixed.pictures / name}'", BAD[name])


def test_a_folder_is_no_query(command: Command, mixed: Mixed) -> None:
    refused(
        command("search", mixed.pictures, "--index", mixed.index), 1, "is a folder", "--queries DIR"
    )


def test_a_query_may_have_a_name_that_is_not_utf8(command: Command, mixed: Mixed) -> None:
    done = command("search", mixed.pictures / "23-\udcff.jpg", "--index", mixed.index, "--json")
    assert done.code == 0
    assert Path(json.loads(done.out)[0]["path"]).name in ODD  # the same picture


def test_a_line_feed_in_a_name_is_escaped_in_the_table(command: Command, mixed: Mixed) -> None:
    done = command("search", mixed.pictures / ODD[1], "--index", mixed.index, "-k", 1)
    assert done.code == 0
    assert len(done.out.splitlines()) == 2
    assert done.out.splitlines()[1].endswith("14-new\\nline.jpg")


def test_a_line_feed_in_a_name_is_exact_in_json(command: Command, mixed: Mixed) -> None:
    done = command("search", mixed.pictures / ODD[1], "--index", mixed.index, "-k", 1, "--json")
    assert json.loads(done.out)[0]["path"] == str(mixed.pictures / ODD[1])


def test_more_bad_pictures_than_allowed_is_exit_3(
    command: Command, bundle: Path, mixed: Mixed
) -> None:
    folder = mixed.pictures
    done = command("index", "build", folder, "--bundle", bundle, "--out", "i", "--max-bad", 0.4)
    refused(done, 3, f"{len(BAD)} of 27 images cannot be read, allowed are 40%", "--max-bad")
    assert len(Path("i/skipped.jsonl").read_text().splitlines()) == len(BAD)
    assert not Path("i/manifest.json").exists()


def test_as_many_bad_pictures_as_allowed_are_reported(
    command: Command, bundle: Path, mixed: Mixed
) -> None:
    folder = mixed.pictures
    done = command("index", "build", folder, "--bundle", bundle, "--out", "i", "--max-bad", 0.5)
    assert done.code == 0
    assert "15 images" in done.out
    assert f"{len(BAD)} skipped, listed in i/skipped.jsonl" in done.out
