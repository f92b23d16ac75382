"""The floors: readings of one start, fitted and embedded in one common pass, saved to disk."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from fgembed.backbones import Backbone, make_backbone
from fgembed.config import PoolingSettings
from fgembed.errors import IntegrityError
from fgembed.evaluation.floors import Floors, uncalibrated_start
from fgembed.images.batches import ImageBatches
from fgembed.images.finding import find_images
from fgembed.images.preprocessing import Preprocessing
from fgembed.model.batch_norm_folding import fold_batch_norms
from fgembed.model.encoder import Encoder
from fgembed.model.reading.multi_level import Reading
from fgembed.model.tensor_files import read_note, read_tensors, write_tensors
from fgembed.model.torch_embedder import TorchEmbedder
from fgembed.workspace import RunFolder
from tests.conftest import TINY, TINY_VIT
from tests.sealing import write_with_checksum

CPU = torch.device("cpu")
SPEC = Preprocessing(size=32)
SETTINGS = PoolingSettings(whitening=8)


@pytest.fixture
def floors(photos: Path) -> Floors:
    torch.manual_seed(0)
    floors = Floors(uncalibrated_start(make_backbone(TINY), SETTINGS).eval(), SPEC)
    floors.calibrate(find_images(photos / "train")[0], CPU, SETTINGS)
    return floors


def names(floors: Floors) -> list[str]:
    return [floor.name for floor in floors.readings]


def test_the_readings_are_named_lowest_first_and_end_with_the_start_itself():
    start = uncalibrated_start(make_backbone(TINY), PoolingSettings())
    floors = Floors(start, SPEC)
    assert names(floors) == [
        "untouched start, mean pooling",
        "untouched start, mean pooling + mirror",
        "untouched start, GeM + whitening",
        "untouched start, GeM + whitening + mirror",
        "untouched start, fitted reading + mirror",
    ]
    assert floors.readings[-1] is floors.calibrated_start
    assert floors.calibrated_start.encoder is start
    assert floors.readings == [*floors.unwhitened, *floors.whitened, floors.calibrated_start]


def test_without_mirror_no_floor_is_mirrored_and_a_transformer_reads_its_class_token():
    start = uncalibrated_start(make_backbone(TINY_VIT, size=32), PoolingSettings(mirror=False))
    assert names(Floors(start, SPEC))[1:] == [
        "untouched start, class token + whitening",
        "untouched start, fitted reading",
    ]


def test_where_the_mirror_image_is_another_thing_no_floor_of_any_run_is_mirrored():
    published = PoolingSettings(kind="mean", levels=(), mirror=False, whitening=0)
    for settings in (PoolingSettings(), published):
        start = uncalibrated_start(make_backbone(TINY), settings, may_mirror=False)
        assert names(Floors(start, SPEC)) == [
            "untouched start, mean pooling",
            "untouched start, GeM + whitening",
            "untouched start, fitted reading",
        ]


def test_a_run_that_reads_no_levels_is_measured_against_the_default_reading():
    published = PoolingSettings(kind="mean", levels=(), mirror=False, whitening=0)
    assert published.of_the_floor() == PoolingSettings()
    whitened_alone = {"shrinkage": 1.0, "mean_weight": 0.0, "larger": 1.0, "ridge": 0.5}
    of_earlier = PoolingSettings(levels=(), mirror=False, whitening=128, **whitened_alone)
    assert of_earlier.of_the_floor() == PoolingSettings(**whitened_alone)
    with_levels = PoolingSettings(levels=(0.5,), mirror=False, whitening=0)
    assert with_levels.of_the_floor() == PoolingSettings(levels=(0.5,), mirror=False, whitening=512)


def test_a_common_pass_gives_what_each_encoder_gives_alone(floors: Floors, photos: Path):
    paths, _ = find_images(photos / "test")
    embedders = floors.shared_pass(CPU).embedders
    assert list(embedders) == names(floors)
    for floor in floors.readings:
        alone = TorchEmbedder(floor.encoder, SPEC, CPU)(paths)
        together = embedders[floor.name](paths)
        assert together.paths == alone.paths
        np.testing.assert_allclose(together.vectors, alone.vectors, atol=1e-5)


@torch.inference_mode()
def test_a_whitening_is_fitted_on_the_joined_vectors_of_all_images(floors: Floors, photos: Path):
    start = floors.calibrated_start.encoder
    assert start.levels is not None
    assert start.whitening is not None
    model = TorchEmbedder(start, SPEC, CPU)
    pixels = np.concatenate(
        [batch for _, batch in ImageBatches(find_images(photos / "train")[0], SPEC)]
    )
    pooled = start.pooled(model.normalised(pixels))[0]
    torch.testing.assert_close(start.levels.centre, pooled.mean(dim=0), rtol=1e-4, atol=1e-5)
    joined = start.levels(pooled)
    joined = joined / joined.norm(dim=1, keepdim=True)
    torch.testing.assert_close(start.whitening.mean, joined.mean(dim=0), rtol=1e-3, atol=1e-5)
    assert [floor.encoder.whitening for floor in floors.unwhitened] == [None, None]


def test_loaded_floors_embed_as_the_saved_ones(floors: Floors, photos: Path, tmp_path: Path):
    floors.save(tmp_path)
    loaded = Floors.load(tmp_path)
    assert names(loaded) == names(floors)
    assert loaded.spec == SPEC
    paths, _ = find_images(photos / "test")
    for before, after in zip(floors.readings, loaded.readings, strict=True):
        np.testing.assert_allclose(
            TorchEmbedder(after.encoder.eval(), SPEC, CPU)(paths).vectors,
            TorchEmbedder(before.encoder, SPEC, CPU)(paths).vectors,
            atol=1e-6,
        )


def test_the_floors_of_a_run_from_before_the_fitted_reading_are_read(photos: Path, tmp_path: Path):
    settings = PoolingSettings(whitening=8, mean_weight=0, larger=1)
    torch.manual_seed(0)
    floors = Floors(uncalibrated_start(make_backbone(TINY), settings).eval(), SPEC)
    paths = find_images(photos / "train")[0]
    floors.calibrate(paths, CPU, settings)
    floors.save(tmp_path)
    file = RunFolder(tmp_path).start.description
    content = json.loads(file.read_text())
    del content["mean_beside"]
    write_with_checksum(file, content | {"format": 3})
    loaded = Floors.load(tmp_path)
    assert names(loaded) == [
        "untouched start, mean pooling",
        "untouched start, mean pooling + mirror",
        "untouched start, GeM + whitening",
        "untouched start, GeM + whitening + mirror",
        "untouched start, 2 levels + whitening + mirror",
    ]
    for before, after in zip(floors.readings, loaded.readings, strict=True):
        expected = TorchEmbedder(before.encoder, SPEC, CPU)(paths[:4]).vectors
        found = TorchEmbedder(after.encoder.eval(), SPEC, CPU)(paths[:4]).vectors
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_whitenings_are_numbered_by_their_reading_on_disk(floors: Floors, tmp_path: Path):
    floors.save(tmp_path)
    tensors = read_tensors(RunFolder(tmp_path).whitenings)
    assert sorted(tensors) == ["1.mean", "1.projection", "2.mean", "2.projection"]
    for number, floor in enumerate(floors.whitened, start=1):
        assert floor.encoder.whitening is not None
        torch.testing.assert_close(tensors[f"{number}.mean"], floor.encoder.whitening.mean)


def test_a_start_without_inner_levels_is_one_floor_and_not_two(floors: Floors, tmp_path: Path):
    start = floors.calibrated_start.encoder
    plain = Encoder(start.backbone, start.pooling, reading=Reading(mirror=True))
    assert names(Floors(plain, SPEC)) == [
        "untouched start, mean pooling",
        "untouched start, mean pooling + mirror",
        "untouched start, GeM + whitening",
        "untouched start, GeM + whitening + mirror",
    ]
    assert Floors(plain, SPEC).calibrated_start.encoder is plain


def test_whitenings_of_another_start_are_refused(floors: Floors, tmp_path: Path):
    floors.save(tmp_path)
    file = RunFolder(tmp_path).whitenings
    start = read_note(file)
    other = {"1.mean": torch.zeros(3), "1.projection": torch.zeros(3, 2)}
    for tensors, note in (
        ({}, start),
        (other, start),
        (read_tensors(RunFolder(tmp_path).whitenings), {}),
    ):
        write_tensors(RunFolder(tmp_path).whitenings, tensors, note)
        with pytest.raises(
            IntegrityError,
            match=r'is of another start; restore it .* "fgembed train --resume --run \S+"$',
        ):
            Floors.load(tmp_path)


def test_a_flipped_bit_in_the_whitenings_is_detected(floors: Floors, tmp_path: Path):
    floors.save(tmp_path)
    content = bytearray((RunFolder(tmp_path).whitenings).read_bytes())
    content[-5] ^= 1
    (RunFolder(tmp_path).whitenings).write_bytes(content)
    with pytest.raises(IntegrityError, match="differs from its checksum"):
        Floors.load(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "torchvision/mobilenet_v2",
        "torchvision/mnasnet0_5",
        "torchvision/shufflenet_v2_x0_5",
        "timm/resnet18",
        "timm/test_resnet",
        "timm/vgg11_bn",
        TINY_VIT,
    ],
)
@torch.inference_mode()
def test_a_folded_backbone_gives_the_same_maps_and_levels(name: str):
    torch.manual_seed(0)
    backbone = make_backbone(name, size=32).train()
    for module in backbone.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    without_norms = fold_batch_norms(backbone, 32)
    assert backbone.training
    assert (without_norms is backbone) == (name == TINY_VIT)
    images = torch.randn(2, 3, 32, 32)
    expected = backbone.eval().read_levels(images, (0.72, 0.89))
    actual = without_norms.eval().read_levels(images, (0.72, 0.89))
    torch.testing.assert_close(actual.features, expected.features, rtol=1e-3, atol=1e-4)
    for level, expected_level in zip(actual.inner, expected.inner, strict=True):
        torch.testing.assert_close(level, expected_level, rtol=1e-3, atol=1e-4)


def test_a_network_that_computes_in_another_order_is_not_folded():
    class NormFirst(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 3, 1)
            self.norm = torch.nn.BatchNorm2d(3)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            maps: torch.Tensor = self.conv(self.norm(images))
            return maps

    torch.manual_seed(0)
    backbone = Backbone("own/norm-first", NormFirst(), size=32)
    backbone.trunk.norm.running_mean.fill_(1.0)  # type: ignore[union-attr, operator]
    assert fold_batch_norms(backbone, 32) is backbone
