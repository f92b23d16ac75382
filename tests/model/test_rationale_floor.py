"""The floor of a rationale, calibrated on images."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fgembed.backbones import make_backbone
from fgembed.images.preprocessing import Preprocessing, read_image
from fgembed.model.encoder import Encoder, PixelEncoder
from fgembed.model.pooling import FloorRationalePooling, RationalePooling
from fgembed.model.rationale_floor import calibrate_floor
from tests.conftest import TINY

CPU = torch.device("cpu")
SPEC = Preprocessing(size=64)


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    found = []
    for number in range(6):
        found.append(tmp_path / f"{number}.png")
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(found[-1])
    return found


def encoder_with(kind: type[RationalePooling]) -> Encoder:
    torch.manual_seed(0)
    backbone = make_backbone(TINY)
    encoder = Encoder(backbone, kind(backbone.channels))
    pooling = encoder.pooling
    assert isinstance(pooling, RationalePooling)
    torch.nn.init.constant_(pooling.norm.bias, 3.0)  # no response is zero
    return encoder


def test_the_floor_is_the_least_response_to_any_image(paths: list[Path]):
    encoder = encoder_with(FloorRationalePooling).train()
    pooling = encoder.pooling
    assert isinstance(pooling, FloorRationalePooling)
    statistics = pooling.norm.running_mean.clone()  # type: ignore[union-attr]
    paths[2].write_bytes(b"no image")
    calibrate_floor(encoder, paths, SPEC, CPU)
    assert encoder.training
    assert torch.equal(pooling.norm.running_mean, statistics)  # type: ignore[arg-type]
    encoder.eval()
    pixels = np.stack([read_image(p, SPEC) for n, p in enumerate(paths) if n != 2])
    with torch.no_grad():
        images = PixelEncoder(encoder, SPEC).normalised(torch.from_numpy(pixels))
        least = pooling.response(encoder.features(images)).min()
    assert least > 0
    torch.testing.assert_close(pooling.floor, least)


def test_without_an_image_the_floor_stays_and_other_poolings_have_none(paths: list[Path]):
    encoder = encoder_with(FloorRationalePooling)
    calibrate_floor(encoder, [Path("nowhere.png")], SPEC, CPU)
    assert isinstance(encoder.pooling, FloorRationalePooling)
    assert float(encoder.pooling.floor) == 0
    bare = encoder_with(RationalePooling)
    before = {name: value.clone() for name, value in bare.state_dict().items()}
    calibrate_floor(bare, paths, SPEC, CPU)
    assert all(torch.equal(value, before[name]) for name, value in bare.state_dict().items())
