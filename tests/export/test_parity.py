"""Parity must fail on graphs that are not the encoder."""

import copy
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from fgembed.backbones import make_backbone
from fgembed.bundle import Bundle
from fgembed.checkpoint import load_encoder
from fgembed.encoder import Encoder, PixelEncoder
from fgembed.errors import FgembedError, IntegrityError
from fgembed.export import write_bundle
from fgembed.export.parity import compare_neighbours, measure_parity
from fgembed.export.to_onnx import OPSET, write_onnx
from fgembed.export.write_bundle import export_bundle, parity_pictures
from fgembed.images import Preprocessing
from fgembed.index.onnx_embedder import OnnxEmbedder
from fgembed.pooling import MeanPooling


@pytest.mark.slow
def test_attention_with_relative_positions_is_exported(tmp_path: Path):
    spec = Preprocessing(size=32)
    encoder = Encoder(make_backbone("timm/test_vit_relpos", size=32), MeanPooling()).eval()
    write_onnx(encoder, spec, tmp_path / "model.onnx")
    pixels = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    embedder = OnnxEmbedder(tmp_path / "model.onnx", spec, "cpu")
    measure_parity(PixelEncoder(encoder, spec).eval(), embedder, pixels).enforce()


def test_the_bundle_takes_any_batch_and_gives_torch_s_vectors(bundle: Path, run: Path):
    opened = Bundle.open(bundle, every_file=True)
    encoder, spec = load_encoder(run)
    pixels = np.random.default_rng(0).integers(0, 256, (33, 64, 64, 3), dtype=np.uint8)
    embedder = OnnxEmbedder(opened.model, spec, "cpu")
    with torch.inference_mode():
        expected, maps = PixelEncoder(encoder, spec).eval()(torch.from_numpy(pixels))
    for count in (1, 2, 7, 33):
        vectors, rationales = embedder.run(pixels[:count])
        np.testing.assert_allclose(vectors, expected[:count], atol=2e-5)
        np.testing.assert_allclose(rationales, maps[:count], atol=2e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_the_graph_says_what_it_takes_and_gives(bundle: Path):
    graph = onnx.load(bundle / "onnx" / "model.onnx")
    onnx.checker.check_model(graph, full_check=True)
    assert graph.opset_import[0].version == OPSET
    image = graph.graph.input[0]
    assert (image.name, image.type.tensor_type.elem_type) == ("image", onnx.TensorProto.UINT8)
    sizes = [side.dim_value or side.dim_param for side in image.type.tensor_type.shape.dim]
    assert sizes == ["batch", 64, 64, 3]
    assert [output.name for output in graph.graph.output] == ["embedding", "rationale"]


@pytest.mark.parametrize(
    "fault", ["pooling", "levels", "mirror", "mean", "swapped channels", "no whitening"]
)
def test_a_graph_that_is_not_torch_s_is_refused(fault: str, bundle: Path, run: Path, photos: Path):
    """The exported file against an encoder that differs in one way."""
    encoder, spec = load_encoder(run)
    pixels = parity_pictures(photos / "test", spec)
    embedder = OnnxEmbedder(Bundle.open(bundle).model, spec, "cpu")
    model = PixelEncoder(encoder, spec)
    if fault == "pooling":
        model = PixelEncoder(read_by_the_mean(encoder), spec)
    elif fault == "levels":
        assert encoder.levels is not None
        encoder.levels.centre.zero_()
    elif fault == "mirror":
        encoder.mirror = False
    elif fault == "mean":
        model = PixelEncoder(encoder, Preprocessing(size=64, mean=(0.5, 0.5, 0.5)))
    elif fault == "swapped channels":
        pixels_seen = pixels[..., ::-1].copy()
        broken = measure_parity(model.eval(), _Reads(embedder, pixels_seen), pixels)
        with pytest.raises(IntegrityError, match="does not agree with torch"):
            broken.enforce()
        return
    else:
        encoder.whitening = None
        with pytest.raises(ValueError, match="shapes"):
            measure_parity(model.eval(), embedder, pixels)
        return
    with pytest.raises(IntegrityError, match="does not agree with torch"):
        measure_parity(model.eval(), embedder, pixels).enforce()


def read_by_the_mean(encoder: Encoder) -> Encoder:
    """The same with another pooling of the last map."""
    other = copy.deepcopy(encoder)
    other.pooling = MeanPooling()
    return other


class _Reads(OnnxEmbedder):
    """An embedder that is given other pixels than it is asked for."""

    def __init__(self, embedder: OnnxEmbedder, pixels: np.ndarray) -> None:
        self.embedder, self.pixels, self.at = embedder, pixels, 0

    def run(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        first = self.at % len(self.pixels)
        self.at += len(pixels)
        return self.embedder.run(self.pixels[first : first + len(pixels)])


def test_a_swap_of_near_neighbours_counts_little_and_of_far_ones_much():
    def at(*degrees: float) -> np.ndarray:
        radians = np.radians(degrees)
        return np.stack([np.cos(radians), np.sin(radians)], axis=1)

    same = compare_neighbours(at(0, 10, 40), at(0, 10, 40))
    assert same == (1.0, 1.0, 0.0)
    top1, top10, gap = compare_neighbours(at(0, 10, 40), at(0, 50, 40))
    assert top1 == pytest.approx(1 / 3)
    assert top10 == 1.0
    assert gap == pytest.approx(np.cos(np.radians(10)) - np.cos(np.radians(40)))


def test_no_bundle_appears_when_parity_fails(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def other(encoder: Encoder, spec: Preprocessing) -> PixelEncoder:
        return PixelEncoder(read_by_the_mean(encoder), spec)

    monkeypatch.setattr(write_bundle, "PixelEncoder", other)
    with pytest.raises(IntegrityError, match="no bundle was written"):
        export_bundle(run, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_a_foreign_folder_is_not_replaced(run: Path, tmp_path: Path):
    (tmp_path / "photo.jpg").write_bytes(b"")
    with pytest.raises(FgembedError, match=r"holds 'photo\.jpg'"):
        export_bundle(run, tmp_path)


def test_the_model_card_shows_the_floor_beside_the_score(bundle: Path):
    card = (bundle / "README.md").read_text()
    table = [line for line in card.splitlines() if line.startswith("| untouched") or "run " in line]
    assert table[0].startswith("| untouched start, mean pooling | 64 |")
    assert table[1].startswith("| untouched start, GeM + whitening | 16 |")
    assert table[3].startswith("| untouched start, 2 levels + whitening + mirror | 16 |")
    assert table[4].startswith("| run tiny | 16 |")
