"""What was made before the preprocessing had versions is still read the way it was made."""

import json
import shutil
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tomli_w
from PIL import Image

from fgembed.bundle import Bundle
from fgembed.config import RunConfig, read_config
from fgembed.disk.files import digest, read_toml
from fgembed.errors import IntegrityError
from fgembed.images.decoding import load_rgb
from fgembed.images.preprocessing import Preprocessing, read_image
from fgembed.index.changes.build import build_index
from fgembed.index.search.searcher import Searcher
from fgembed.training.resuming.fingerprint import trajectory_settings
from fgembed.workspace import RunFolder
from tests.images.photographs import encoded, scene
from tests.images.test_colour import PROFILES, in_space

EARLIER = {  # as the commit before wrote it
    "size": 224,
    "fit": "squash",
    "resample": "bilinear",
    "draft": 2,
    "crop_ratio": 0.875,
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
}


def test_a_specification_without_a_version_is_the_first_and_keeps_its_digest():
    spec = Preprocessing.from_json(EARLIER)
    assert spec == Preprocessing(version=1)
    assert spec.to_json() == EARLIER
    assert spec.digest() == digest(EARLIER)
    assert Preprocessing().to_json() == EARLIER | {"version": 2}
    assert Preprocessing().digest() != spec.digest()
    with pytest.raises(IntegrityError, match="'version' is 3"):
        Preprocessing.from_json(EARLIER | {"version": 3})


def test_the_first_version_reads_as_before():
    image = scene(1)
    profile = PROFILES["ProPhoto"]
    stored = in_space(image, profile)
    content = encoded(stored, "PNG", icc_profile=profile)
    np.testing.assert_array_equal(np.asarray(load_rgb(BytesIO(content), reading=1)), stored)
    grey = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    deep = np.asarray(load_rgb(BytesIO(encoded(grey, "TIFF")), reading=1))
    np.testing.assert_array_equal(deep[..., 0], np.asarray(image.convert("L")))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_plain_picture_is_the_same_in_both_versions(kind: str):
    content = encoded(scene(2, (1000, 700)), kind)
    for fit in ("squash", "crop", "pad"):
        spec = Preprocessing(size=64, fit=fit)
        first, second = (
            read_image(BytesIO(content), replace(spec, version=version)) for version in (1, 2)
        )
        np.testing.assert_array_equal(first, second)


def test_a_run_from_before_goes_on_with_the_first_version(run: Path, tmp_path: Path):
    settings = read_toml(RunFolder(run).config)
    assert settings["preprocessing"].pop("version") == 2
    RunFolder(tmp_path).config.write_text(tomli_w.dumps(settings))
    config = read_config(RunFolder(tmp_path).config)
    assert config.preprocessing.version == 1
    assert not any("version" in key for key in trajectory_settings(config))
    assert trajectory_settings(RunConfig())["preprocessing.version"] == 2


def test_a_bundle_from_before_searches_its_own_index_alone(
    bundle: Path, photos: Path, tmp_path: Path
):
    """The bundle without the key is another model than the one with it, and says so."""

    earlier = tmp_path / "bundle"
    shutil.copytree(bundle, earlier)
    for name in ("config.json", "encoder.json"):
        content = json.loads((earlier / name).read_text())
        assert content["preprocessing"].pop("version") == 2
        del content["file_sha256"]
        content["format"] = 1
        (earlier / name).write_text(json.dumps(content))
    opened = Bundle.open(earlier)
    assert opened.preprocessing.version == 1
    build_index(photos / "test", opened, tmp_path / "earlier.index")
    query = next((photos / "test").rglob("*.jpg"))
    searcher = Searcher.open(tmp_path / "earlier.index", earlier)
    assert searcher.search(query, 1)[0].path == query
    with pytest.raises(IntegrityError, match="was made with another model"):
        Searcher.open(tmp_path / "earlier.index", bundle)
