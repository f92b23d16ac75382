"""Labels as people give them: folders, tables and pairs; and each way in which they are wrong."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from fgembed.config import RunConfig
from fgembed.errors import ConfigError, FgembedError
from fgembed.resolve import resolve
from fgembed.training.labels.label_groups import LabelGroups
from tests.conftest import Command


def read(labels: Path, tiny_settings: dict[str, Any], **extra: Any) -> LabelGroups:
    config: RunConfig = resolve(tiny_settings, {"labels": str(labels)} | extra, "tests")
    groups = LabelGroups.of(config)
    assert groups is not None
    return groups


def by_class(photos: Path, count: int = 2) -> dict[str, list[str]]:
    """Names of some training images of every class, below the folder of training images."""
    train = photos / "train"
    folders = sorted(folder for folder in train.iterdir() if folder.is_dir())
    return {
        folder.name: [f"{folder.name}/{path.name}" for path in sorted(folder.iterdir())[:count]]
        for folder in folders
    }


def table(folder: Path, *lines: str) -> Path:
    file = folder / "labels.csv"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def test_folders_and_a_table_with_a_mark_give_the_same_groups(
    photos: Path, tmp_path: Path, tiny_settings: dict[str, Any]
):
    rows = [f"{name};{label}" for label, names in by_class(photos).items() for name in names]
    file = tmp_path / "labels.csv"
    file.write_text("\r\n".join(["Path;Label", *rows]), encoding="utf-16")
    from_table = read(file, tiny_settings)
    for names in by_class(photos).values():
        for name in names:
            (tmp_path / "few" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(photos / "train" / name, tmp_path / "few" / name)
    from_folder = read(tmp_path / "few", tiny_settings)
    from_rows, from_files = (
        [[path.name for path in group] for group in labels.groups]
        for labels in (from_table, from_folder)
    )
    assert from_rows == from_files
    assert from_table.counts == from_folder.counts
    assert from_table.counts.sentence() == "labels: 6 images in 3 classes"


def test_a_path_counts_from_the_table_first_and_then_from_the_training_images(
    photos: Path, tmp_path: Path, tiny_settings: dict[str, Any]
):
    names = by_class(photos)
    beside = next(iter(names.values()))[0]
    (tmp_path / beside).parent.mkdir()
    shutil.copy(photos / "train" / beside, tmp_path / beside)
    rows = [f"{name},{label}" for label, group in names.items() for name in group]
    groups = read(table(tmp_path, "path,label", *rows), tiny_settings).groups
    assert groups[0][0] == (tmp_path / beside).resolve()
    assert groups[0][1].is_relative_to(photos.resolve())


def test_pairs_of_the_same_thing_join_their_images(
    photos: Path, tmp_path: Path, tiny_settings: dict[str, Any]
):
    (a, b, c), (d, e, _), _ = by_class(photos, 3).values()
    rows = [f"{a},{b},1", f"{c},{b},yes", f"{d},{e},TRUE", f"{a},{d},0"]
    labels = read(table(tmp_path, "first,second,same", *rows), tiny_settings)
    joined = {frozenset(path.name for path in group) for group in labels.groups}
    assert joined == {frozenset(Path(name).name for name in n) for n in ([a, b, c], [d, e])}
    assert labels.counts.sentence() == (
        "labels: 3 pairs of the same thing join 5 images; 1 pairs of different things are only "
        "checked"
    )


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["path,label", "nowhere.jpg,x"], r"1 of 1 images are missing, the first in row 1.*write"),
        (["path,class", "{0},x"], r"has the columns path, class; give class folders"),
        (["path,label", "{0},x", "{1},"], r"row 2 has no label; add it"),
        (["path,label", "{0},x", "{1},x"], r"of one class.*; give two images or more"),
        (["path,label", "{0},x", "{2},y"], r"no two of one class differ; give two images"),
        (["path,label", "{0},x", "{0},x", "{2},y"], r"no two of one class differ; give two images"),
        (["path,label", "{0},x", "{1},x", "{0},y"], r"is also labelled 'x'.*; keep it in one"),
        (["first,second,same", "{0},{1},perhaps"], r"row 1 has 'perhaps' as `same`; write 1 or 0"),
        (["first,second,same", "{0},{1},0"], r"no pair of two images of the same thing.*; add"),
        (["first,second,same", "{0},{0},1"], r"no pair of two images of the same thing.*; add"),
        (
            ["first,second,same", "{0},{1},1", "{1},{2},1", "{2},{0},0"],
            r"a pair of different things, and the pairs of the same thing join them; correct",
        ),
        (["path,label"], r"of one class, or no two of one class differ; give"),
    ],
)
def test_labels_that_cannot_be_used_say_why(
    photos: Path,
    tmp_path: Path,
    tiny_settings: dict[str, Any],
    lines: list[str],
    expected: str,
):
    (a, b), (c, _), _ = by_class(photos).values()
    file = table(tmp_path, *[line.format(a, b, c) for line in lines])
    with pytest.raises(FgembedError, match=expected) as caught:
        read(file, tiny_settings)
    assert "\n" not in str(caught.value)


def test_a_missing_source_and_one_of_another_kind_are_refused(
    photos: Path, tmp_path: Path, tiny_settings: dict[str, Any]
):
    with pytest.raises(FgembedError, match=r"no labels at .*nowhere; give class folders, or"):
        read(tmp_path / "nowhere", tiny_settings)
    with pytest.raises(FgembedError, match=r"is no folder and no table of labels; give"):
        read(next((photos / "train").rglob("*.jpg")), tiny_settings)
    (tmp_path / "empty.csv").touch()
    with pytest.raises(FgembedError, match=r"empty.csv is empty; begin it with"):
        read(tmp_path / "empty.csv", tiny_settings)


def test_labelled_images_that_cannot_be_read_are_counted(
    photos: Path, tmp_path: Path, tiny_settings: dict[str, Any]
):
    shutil.copytree(photos / "train", tmp_path / "few")
    broken = sorted((tmp_path / "few").rglob("*.jpg"))[0]
    broken.write_bytes(b"no image")
    labels = read(tmp_path / "few", tiny_settings)
    assert labels.counts.sentence() == "labels: 23 images in 3 classes; 1 cannot be read"
    assert [bad.path for bad in labels.skipped] == [broken]
    with pytest.raises(FgembedError, match=r"1 of 24 images cannot be read, allowed are 1%"):
        read(tmp_path / "few", tiny_settings, max_bad=0.01)


def test_labels_that_are_also_queries_are_refused(
    photos: Path, tmp_path: Path, tiny_settings: dict[str, Any]
):
    shutil.copytree(photos / "train", tmp_path / "few")
    query = sorted((photos / "test").rglob("*.jpg"))[0]
    shutil.copy(query, tmp_path / "few" / query.parent.name / "copy.jpg")
    with pytest.raises(ConfigError, match=r"^1 labelled images are among the queries .*copy.jpg"):
        read(tmp_path / "few", tiny_settings)


def test_labels_need_a_last_layer(photos: Path, tiny_settings: dict[str, Any]):
    with pytest.raises(ConfigError, match=r"pooling.whitening is 0; set pooling.whitening to its"):
        read(photos / "train", tiny_settings, pooling={"whitening": 0})


def test_the_command_refuses_wrong_labels_before_it_makes_a_folder(
    command: Command, photos: Path, tmp_path: Path
):
    outcome = command("train", "--images", photos / "train", "--labels", tmp_path / "nowhere")
    assert outcome.code != 0
    assert f"no labels at {tmp_path / 'nowhere'}" in outcome.err
    assert not (tmp_path / "runs").exists() or not any((tmp_path / "runs").iterdir())
