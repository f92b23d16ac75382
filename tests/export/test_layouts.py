"""Exports for other tools: what they compute from files alone are the encoder's vectors."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from fgembed.bundle import Bundle
from fgembed.embedding.onnx_embedder import OnnxEmbedder
from fgembed.errors import ConfigError, IntegrityError, NotFoundError
from fgembed.export.layouts import preprocessor_config, write_layout
from fgembed.images.preprocessing import Preprocessing, read_image
from fgembed.model.encoder import PixelEncoder
from fgembed.model.encoder_files import load_bundle_encoder, load_encoder
from tests.conftest import Command
from tests.end_to_end.refusals import refused
from tests.sealing import write_with_checksum


def vectors_of(model: Path, images: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (image,) = session.get_inputs()
    assert (image.name, image.type, image.shape[1:]) == ("image", "tensor(float)", [3, 64, 64])
    embeddings: np.ndarray = session.run(None, {"image": images})[0]
    return embeddings


def test_immich_normalises_and_resizes_as_the_layout_states(
    command: Command, run: Path, bundle: Path, photos: Path
):
    done = command("export", run, "--layout", "immich", "--out", "model")
    assert done.code == 0, done.err
    assert "for immich" in done.out and "cosine >= 0.99999" in done.out
    config = json.loads(Path("model/visual/preprocess_cfg.json").read_text())
    assert json.loads(Path("model/config.json").read_text())["embed_dim"] == 16
    # What immich does with an image, from the exported description alone.
    resample = Image.Resampling[config["interpolation"].upper()]
    assert config["resize_mode"] == "squash"
    paths = sorted((photos / "test").rglob("*.jpg"))
    small = [Image.open(p).convert("RGB").resize(tuple(config["size"]), resample) for p in paths]
    pixels = np.stack([np.asarray(image, dtype=np.float32) for image in small]) / 255
    normalised = (pixels - np.float32(config["mean"])) / np.float32(config["std"])
    vectors = vectors_of(Path("model/visual/model.onnx"), normalised.transpose(0, 3, 1, 2))
    opened = Bundle.open(bundle)
    ours = OnnxEmbedder.of(opened, "cpu")
    expected = ours.vectors(np.stack([read_image(p, opened.preprocessing) for p in paths]))
    assert (vectors * expected).sum(axis=1).min() > 0.9999


def test_fastembed_has_to_normalise_and_readers_of_a_bundle_must_not(run: Path, tmp_path: Path):
    encoder, spec = load_encoder(run)
    write_layout("fastembed", encoder, spec, tmp_path)
    config = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert config["do_rescale"] and config["do_normalize"] and config["resample"] == 2
    assert config["size"] == {"height": 64, "width": 64} and not config["do_center_crop"]
    assert config["image_processor_type"] == "CLIPImageProcessor"  # a class that both tools know
    noise = np.random.default_rng(0).normal(size=(3, 3, 64, 64)).astype(np.float32)
    with torch.inference_mode():
        expected = encoder(torch.from_numpy(noise)).numpy()
    np.testing.assert_allclose(vectors_of(tmp_path / "model.onnx", noise), expected, atol=2e-5)
    inside = preprocessor_config(spec, normalise=False)
    assert not inside["do_rescale"] and not inside["do_normalize"]
    cropped = preprocessor_config(replace(spec, fit="crop", crop_ratio=0.5), normalise=True)
    assert cropped["size"] == {"shortest_edge": 128} and cropped["do_center_crop"]


@pytest.mark.parametrize(
    ("layout", "changes"),
    [
        ("immich", {"fit": "pad"}),
        ("fastembed", {"fit": "pad"}),
        ("immich", {"fit": "crop", "crop_ratio": 0.875}),
    ],
)
def test_a_preprocessing_that_a_tool_lacks_is_refused(
    layout: str, changes, run: Path, tmp_path: Path
):
    encoder, spec = load_encoder(run)
    with pytest.raises(ConfigError, match=f"{layout} cannot fit images by '{changes['fit']}'"):
        write_layout(layout, encoder, replace(spec, **changes), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_layout_replaces_nothing_but_the_same_layout(command: Command, run: Path, bundle: Path):
    refused(command("export", run, "--layout", "immich"), 2, "needs a folder of its own")
    refused(
        command("export", run, "--layout", "immich", "--out", "m", "--precision", "int8"),
        2,
        "is fp32 and of one size",
    )
    assert command("export", run, "--layout", "immich", "--out", "m").code == 0
    assert command("export", run, "--layout", "immich", "--out", "m", "--json").code == 0
    refused(command("export", run, "--layout", "fastembed", "--out", "m"), 1, "holds 'config.json'")
    refused(command("export", run, "--layout", "immich", "--out", bundle), 1, "is no part of")
    assert Bundle.open(bundle, every_file=True)


def test_foreign_folders_with_the_same_file_names_are_kept(command: Command, run: Path):
    for layout, theirs in (("immich", "mine/visual/holiday.jpg"), ("fastembed", "own/model.onnx")):
        Path(theirs).parent.mkdir(parents=True)
        Path(theirs).write_text("theirs")
        done = command("export", run, "--layout", layout, "--out", theirs.split("/")[0])
        refused(done, 1, "which is no part of")
        assert Path(theirs).read_text() == "theirs"


def test_a_bundle_goes_back_to_torch(bundle: Path, run: Path):
    encoder, spec = load_bundle_encoder(bundle)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)
    with torch.inference_mode():
        vectors = PixelEncoder(encoder, spec).eval()(torch.from_numpy(pixels))[0].numpy()
    expected = OnnxEmbedder.of(Bundle.open(bundle), "cpu").vectors(pixels)
    np.testing.assert_allclose(vectors, expected, atol=2e-5)
    assert spec == load_encoder(run)[1]


def test_a_damaged_or_older_bundle_does_not(bundle: Path, tmp_path: Path):
    import shutil

    shutil.copytree(bundle, tmp_path / "b")
    (tmp_path / "b" / "encoder.json").unlink()
    with pytest.raises(IntegrityError, match=r"encoder\.json is missing"):
        load_bundle_encoder(tmp_path / "b")
    config = json.loads((tmp_path / "b" / "config.json").read_text())
    del config["files"]["encoder.json"]
    write_with_checksum(tmp_path / "b" / "config.json", config)
    with pytest.raises(NotFoundError, match=r"has no encoder\.json; export it again"):
        load_bundle_encoder(tmp_path / "b")


def test_sizes_of_a_crop_are_whole_pixels():
    spec = Preprocessing(size=100, fit="crop", crop_ratio=0.875)
    assert preprocessor_config(spec, normalise=True)["size"] == {"shortest_edge": 114}
