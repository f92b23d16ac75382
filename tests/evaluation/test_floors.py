"""The floors: readings of one start, fitted and embedded in one common pass, kept on disk."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fgembed.backbones import Backbone, make_backbone
from fgembed.config import PoolingSettings
from fgembed.errors import IntegrityError
from fgembed.evaluation.floors import (
    calibrate_floors,
    calibrated_start,
    floor_encoders,
    load_floors,
    save_floors,
)
from fgembed.images.batches import ImageBatches
from fgembed.images.finding import find_images
from fgembed.images.preprocessing import Preprocessing
from fgembed.model.batch_norm_folding import folded
from fgembed.model.encoder import Encoder
from fgembed.model.shared_backbone import SharedPass
from fgembed.model.tensor_files import read_note, read_tensors, write_tensors
from fgembed.model.torch_embedder import TorchEmbedder
from fgembed.workspace import RunFolder
from tests.conftest import TINY, TINY_VIT

CPU = torch.device("cpu")
SPEC = Preprocessing(size=32)
SETTINGS = PoolingSettings(whitening=8)


@pytest.fixture
def floors(photos: Path) -> dict[str, Encoder]:
    torch.manual_seed(0)
    start = calibrated_start(make_backbone(TINY), SETTINGS).eval()
    return calibrate_floors(start, find_images(photos / "train")[0], SPEC, CPU, SETTINGS)


def test_the_readings_are_named_lowest_first_and_end_with_the_start_itself():
    start = calibrated_start(make_backbone(TINY), PoolingSettings())
    rows = floor_encoders(start)
    assert list(rows) == [
        "untouched start, mean pooling",
        "untouched start, GeM + whitening",
        "untouched start, GeM + whitening + mirror",
        "untouched start, 2 levels + whitening + mirror",
    ]
    assert list(rows.values())[-1] is start


def test_without_mirror_no_floor_is_mirrored_and_a_transformer_reads_its_class_token():
    start = calibrated_start(make_backbone(TINY_VIT, size=32), PoolingSettings(mirror=False))
    assert list(floor_encoders(start))[1:] == [
        "untouched start, class token + whitening",
        "untouched start, 2 levels + whitening",
    ]


def test_a_run_that_reads_no_levels_is_measured_against_the_default_reading():
    published = PoolingSettings(kind="mean", levels=(), mirror=False, whitening=0)
    assert published.of_the_floor() == PoolingSettings()
    own = PoolingSettings(levels=(0.5,), mirror=False, whitening=0)
    assert own.of_the_floor() == PoolingSettings(levels=(0.5,), mirror=False, whitening=512)


def test_a_common_pass_gives_what_each_encoder_gives_alone(
    floors: dict[str, Encoder], photos: Path
):
    paths, _ = find_images(photos / "test")
    for name, embed in SharedPass(floors, SPEC, CPU).embedders.items():
        alone = TorchEmbedder(floors[name], SPEC, CPU)(paths)
        together = embed(paths)
        assert together.paths == alone.paths
        np.testing.assert_allclose(together.vectors, alone.vectors, atol=1e-5)


@torch.inference_mode()
def test_a_whitening_is_fitted_on_the_joined_vectors_of_all_pictures(
    floors: dict[str, Encoder], photos: Path
):
    *_, start = floors.values()
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
    assert floors["untouched start, mean pooling"].whitening is None


def test_floors_come_back_from_disk_as_they_were(
    floors: dict[str, Encoder], photos: Path, tmp_path: Path
):
    save_floors(tmp_path, floors, SPEC)
    loaded = load_floors(tmp_path)
    assert list(loaded) == list(floors)
    paths, _ = find_images(photos / "test")
    for name, encoder in floors.items():
        kept = TorchEmbedder(loaded[name].eval(), SPEC, CPU)(paths)
        np.testing.assert_allclose(
            kept.vectors, TorchEmbedder(encoder, SPEC, CPU)(paths).vectors, atol=1e-6
        )


def test_whitenings_of_another_start_are_refused(floors: dict[str, Encoder], tmp_path: Path):
    save_floors(tmp_path, floors, SPEC)
    start = read_note(RunFolder(tmp_path).whitenings)
    other = {"1.mean": torch.zeros(3), "1.projection": torch.zeros(3, 2)}
    for tensors, note in (
        ({}, start),
        (other, start),
        (read_tensors(RunFolder(tmp_path).whitenings), {}),
    ):
        write_tensors(RunFolder(tmp_path).whitenings, tensors, note)
        with pytest.raises(IntegrityError, match="of another start"):
            load_floors(tmp_path)


def test_a_flipped_bit_in_the_whitenings_is_found(floors: dict[str, Encoder], tmp_path: Path):
    save_floors(tmp_path, floors, SPEC)
    content = bytearray((RunFolder(tmp_path).whitenings).read_bytes())
    content[-5] ^= 1
    (RunFolder(tmp_path).whitenings).write_bytes(content)
    with pytest.raises(IntegrityError, match="differs from its checksum"):
        load_floors(tmp_path)


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
    twin = folded(backbone, 32)
    assert backbone.training
    assert (twin is backbone) == (name == TINY_VIT)
    pictures = torch.randn(2, 3, 32, 32)
    expected = backbone.eval().read_levels(pictures, (0.72, 0.89))
    found = twin.eval().read_levels(pictures, (0.72, 0.89))
    torch.testing.assert_close(found.features, expected.features, rtol=1e-3, atol=1e-4)
    for level, other in zip(found.inner, expected.inner, strict=True):
        torch.testing.assert_close(level, other, rtol=1e-3, atol=1e-4)


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
    assert folded(backbone, 32) is backbone
