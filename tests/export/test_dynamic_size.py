"""Graphs for images of any size: proved at two, and refused for backbones of a single size."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from fgembed.backbones import make_backbone
from fgembed.bundle import MODEL_FILES, Bundle
from fgembed.embedding.onnx_embedder import OnnxEmbedder
from fgembed.errors import ConfigError, IntegrityError
from fgembed.export import write_bundle
from fgembed.export.run_source import Source
from fgembed.export.to_onnx import write_onnx
from fgembed.export.write_bundle import export_bundle
from fgembed.images.preprocessing import Preprocessing
from fgembed.model.encoder import Encoder, PixelEncoder
from fgembed.model.pooling import MeanPooling
from tests.conftest import TINY_VIT


def test_a_graph_of_dynamic_size_gives_torch_s_vectors_at_every_size(run: Path, tmp_path: Path):
    source = Source.open(run)
    export_bundle(source, tmp_path / "b", precisions=("int8",), max_drop=100, dynamic_size=True)
    graph = onnx.load(tmp_path / "b" / MODEL_FILES["fp32"]).graph
    sides = [side.dim_param or side.dim_value for side in graph.input[0].type.tensor_type.shape.dim]
    assert sides == ["batch", "side", "side", 3]
    random = np.random.default_rng(0)
    for precision, least in (("fp32", 0.99999), ("int8", 0.9)):
        embedder = OnnxEmbedder.of(Bundle.open(tmp_path / "b", precision), "cpu")
        for size in (48, 64, 101):
            pixels = random.integers(0, 256, (3, size, size, 3), dtype=np.uint8)
            model = PixelEncoder(source.encoder, replace(source.spec, size=size)).eval()
            with torch.inference_mode():
                expected = model(torch.from_numpy(pixels))[0].numpy()
            assert (embedder.vectors(pixels) * expected).sum(axis=1).min() > least


def test_a_graph_that_is_right_at_a_single_size_is_refused(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fixed(encoder: Encoder, spec: Preprocessing, file: Path, *, dynamic_size: bool) -> None:
        write_onnx(encoder, spec, file)

    monkeypatch.setattr(write_bundle, "write_onnx", fixed)
    with pytest.raises(IntegrityError, match="does not run"):
        export_bundle(Source.open(run), tmp_path / "b", dynamic_size=True)
    assert not (tmp_path / "b").exists()


def test_a_transformer_is_not_exported_with_dynamic_size(tmp_path: Path):
    encoder = Encoder(make_backbone(TINY_VIT, size=64), MeanPooling()).eval()
    with pytest.raises(ConfigError, match=r"test_vit is a transformer.*without --dynamic-size"):
        write_onnx(encoder, Preprocessing(size=64), tmp_path / "m.onnx", dynamic_size=True)
