"""Labels in what a distilled run learns, and labels that change before it is resumed."""

import shutil
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from fgembed.config import RunConfig
from fgembed.demo.drawing import draw_set
from fgembed.disk.files import sha256
from fgembed.errors import ConfigError
from fgembed.images.finding import find_images
from fgembed.methods.distill import Distill
from fgembed.model.reading.label_whitening import label_layer
from fgembed.progress import silent
from fgembed.training import calibration
from fgembed.training.labels.label_groups import LabelCounts, LabelGroups
from fgembed.training.preparation import prepare
from fgembed.training.run import run_training
from fgembed.training.teachers.labelled import LabelledTargets
from fgembed.training.teachers.targets import give_targets
from tests.training.labels.projections import projection
from tests.training.teachers.small_runs import settings


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 drawn images of three species."""
    folder = tmp_path_factory.mktemp("drawn")
    draw_set(folder, species=3, train=8, test=1, size=64)
    return folder / "train"


@pytest.fixture
def few(images: Path, tmp_path: Path) -> Path:
    """Four images of each of two species, copies of training images."""
    folder = tmp_path / "few"
    for species in sorted(images.iterdir())[:2]:
        (folder / species.name).mkdir(parents=True)
        for path in sorted(species.iterdir())[:4]:
            shutil.copy(path, folder / species.name)
    return folder


def with_labels(images: Path, few: Path, **method: object) -> RunConfig:
    return settings(
        images,
        labels=str(few),
        method={"neighbours": 10, "sizes": [1.0]} | method,
        optimiser={"epochs": 1},
    )


def test_labelled_images_are_known_by_content_and_others_come_after_them(tmp_path: Path):
    names = ("a", "b", "copy of b", "c", "d", "sub/b", "sub/e")
    a, b, copy, c, d, again, e = (tmp_path / name for name in names)
    again.parent.mkdir()
    for path in (a, b, copy, c, d, again, e):
        path.write_text(path.name[-1])
    checksums = {path: sha256(path) for path in (again, c, a, e)}
    labels = LabelGroups([[again, e], [c, a]], [], LabelCounts(4, 2, 0), checksums)
    found = LabelledTargets.of(labels, [a, b, copy, c, d])
    assert found.paths == [a, b, copy, c, d, e]
    assert found.numbers is not None
    assert found.numbers.tolist() == [1, 0, -1, 1, -1, 0]
    assert LabelledTargets.of(None, [a, b]) == LabelledTargets([a, b], None)


def test_targets_take_the_layer_of_the_labels():
    vectors = F.normalize(torch.randn(60, 6, generator=torch.Generator().manual_seed(0)), dim=1)
    vectors[50] = 0  # an image that cannot be read any more, labelled
    numbers = torch.tensor([0, 0, 0, 1, 1, 1, *[-1] * 44, 1, *[-1] * 9])
    targets = LabelledTargets([], numbers).by_labels(vectors)
    read = [number for number in range(60) if number != 50]
    layer = label_layer(vectors[:6], numbers[:6], vectors[read])
    expected = F.normalize(vectors[read].double() @ layer, dim=1).float()
    torch.testing.assert_close(targets[read], expected, atol=1e-5, rtol=0)
    assert not targets[50].any()
    assert (targets[:6] - vectors[:6]).abs().max() > 1e-3


def test_one_image_of_each_class_changes_no_vector():
    vectors = F.normalize(torch.randn(60, 6, generator=torch.Generator().manual_seed(0)), dim=1)
    for numbers in (None, torch.tensor([0, 1, *[-1] * 58])):
        assert torch.equal(LabelledTargets([], numbers).by_labels(vectors), vectors)


def test_a_distilled_run_learns_the_labels(images: Path, few: Path):
    taught = []
    for config in (settings(images, method={"neighbours": 10, "sizes": [1.0]}),
                   with_labels(images, few)):  # fmt: skip
        prepared = prepare(config, Distill)
        give_targets(prepared, [], prepared.paths, silent)
        assert prepared.method.targets is not None
        taught.append(prepared.method.targets)
    plain, labelled = taught
    assert len(plain) == len(labelled) == 24
    names = [path.parent.name for path in find_images(images)[0]]
    first, second = (torch.tensor([n == name for n in names]) for name in sorted(set(names))[:2])

    def apart(vectors: torch.Tensor) -> float:
        cosines = vectors @ vectors.T
        within = cosines[first][:, first].mean() + cosines[second][:, second].mean()
        return float(within / 2 - cosines[first][:, second].mean())

    assert apart(labelled) > apart(plain)
    numbers = LabelledTargets.of(prepared.labels, prepared.paths).numbers
    expected = LabelledTargets([], numbers).by_labels(plain)  # no neighbours below 200 images
    torch.testing.assert_close(labelled @ labelled.T, expected @ expected.T, atol=1e-4, rtol=0)
    assert (labelled @ labelled.T - plain @ plain.T).abs().max() > 1e-3


def test_the_digest_tells_groups_and_not_where_their_files_lie():
    a, b, c, d = (Path(name) for name in "abcd")
    checksums, counts = dict(zip((a, b, c, d), "1234", strict=True)), LabelCounts(4, 2, 0)
    content = LabelGroups([[a, b], [c, d]], [], counts, checksums).content
    assert LabelGroups([[d, c], [b, a]], [], counts, checksums).content == content
    assert LabelGroups([[a, c], [b, d]], [], counts, checksums).content != content


def test_labelled_images_that_are_not_trained_on_come_in_the_order_of_their_content(tmp_path: Path):
    names = ("x", "y", "z")
    for name in names:
        (tmp_path / name).write_text(name)
    checksums = {tmp_path / name: sha256(tmp_path / name) for name in names}
    orders = []
    for first, second in ((["x", "y"], ["z"]), (["z"], ["y", "x"])):
        groups = [[tmp_path / name for name in part] for part in (first, second)]
        labels = LabelGroups(groups, [], LabelCounts(3, 2, 0), checksums)
        orders.append(LabelledTargets.of(labels, []).paths)
    assert orders[0] == orders[1]
    assert [checksums[path] for path in orders[0]] == sorted(checksums.values())


@pytest.mark.slow
def test_a_distilled_run_takes_the_layer_of_the_labels_once(
    images: Path, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """In its targets: `fit_labels`, which other runs go through, is not called."""

    def refuse(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(calibration, "fit_labels", refuse)
    config = with_labels(images, few)
    run_training(config, Distill, tmp_path / "labelled", lambda progress: None)
    plain = config.model_copy(update={"labels": None})
    run_training(plain, Distill, tmp_path / "plain", lambda progress: None)
    layers = [projection(tmp_path / name) for name in ("labelled", "plain")]
    assert (layers[0] - layers[1]).abs().max() > 0.004 * layers[1].abs().max()


@pytest.mark.slow
def test_labels_of_images_that_are_not_trained_on_are_learned(images: Path, tmp_path: Path):
    draw_set(tmp_path / "other", species=3, train=4, test=1, size=64, seed=1)
    prepared = prepare(with_labels(images, tmp_path / "other" / "train"), Distill)
    give_targets(prepared, [], prepared.paths, silent)
    labelled = LabelledTargets.of(prepared.labels, prepared.paths)
    assert len(labelled.paths) == 24 + 12
    assert prepared.method.targets is not None
    assert len(prepared.method.targets) == 24
    plain = prepare(settings(images, method={"neighbours": 10, "sizes": [1.0]}), Distill)
    give_targets(plain, [], plain.paths, silent)
    assert plain.method.targets is not None
    cosines = [t @ t.T for t in (plain.method.targets, prepared.method.targets)]
    assert (cosines[0] - cosines[1]).abs().max() > 1e-3


@pytest.mark.slow
def test_a_distilled_run_goes_on_with_the_same_labels_alone(
    images: Path, few: Path, tmp_path: Path
):
    run = tmp_path / "run"
    run_training(with_labels(images, few), Distill, run, lambda progress: None)
    few.rename(tmp_path / "moved")  # the same images elsewhere
    moved = with_labels(images, tmp_path / "moved")
    run_training(moved, Distill, run, lambda progress: None)
    next(path for path in (tmp_path / "moved").rglob("*.jpg")).unlink()
    message = r"labels are not those up to the checkpoint .*/run, .*learns them"
    with pytest.raises(ConfigError, match=message):
        run_training(moved, Distill, run, lambda progress: None)
    with pytest.raises(ConfigError, match=message):
        without = moved.model_copy(update={"labels": None})
        run_training(without, Distill, run, lambda progress: None)
