"""Several encoders on one backbone: passes, vectors and memory."""

import gc
import weakref
from pathlib import Path

import pytest
import torch

from fgembed.backbones import make_backbone
from fgembed.images.finding import find_images
from fgembed.images.preprocessing import Preprocessing
from fgembed.model.encoder import Encoder
from fgembed.model.pooling import GeMPooling, MeanPooling
from fgembed.model.reading.fitting import FitSettings
from fgembed.model.shared_backbone import SharedPass
from tests.conftest import TINY

SPEC = Preprocessing(size=32)


@pytest.fixture
def shared() -> SharedPass:
    torch.manual_seed(0)
    backbone = make_backbone(TINY).eval()
    encoders = {"mean": Encoder(backbone, MeanPooling()), "gem": Encoder(backbone, GeMPooling())}
    return SharedPass(encoders, SPEC, torch.device("cpu"))


def test_gallery_and_queries_of_a_table_are_embedded_once_for_all_encoders(
    shared: SharedPass, photos: Path, monkeypatch: pytest.MonkeyPatch
):
    gallery, queries = find_images(photos / "train")[0], find_images(photos / "test")[0]
    passes: list[int] = []
    read_levels = shared._backbone.read_levels
    monkeypatch.setattr(
        shared._backbone,
        "read_levels",
        lambda images, depths: passes.append(len(images)) or read_levels(images, depths),  # type: ignore[func-returns-value]
    )
    for embed in shared.embedders.values():
        embed(gallery)
        embed(queries)
    assert sum(passes) == len(gallery) + len(queries)


def test_the_vectors_of_two_sets_stay_in_memory_and_those_of_a_third_are_released(
    shared: SharedPass, photos: Path
):
    paths, _ = find_images(photos / "train")
    sets = [paths[:2], paths[2:4], paths[4:6]]
    embed = shared.embedders["gem"]
    vectors = [weakref.ref(embed(images).vectors) for images in sets]
    gc.collect()
    assert [reference() is not None for reference in vectors] == [False, True, True]
    assert embed(sets[1]).vectors is vectors[1]()


def test_calibration_releases_vectors_without_the_whitening(shared: SharedPass, photos: Path):
    paths, _ = find_images(photos / "train")
    embed = shared.embedders["mean"]
    assert embed(paths).vectors.shape[1] == 64
    shared.calibrate(paths, FitSettings(dimensions=4))
    assert embed(paths).vectors.shape[1] == 4
