"""Encoders on a transformer's patch map: files, training with LCR, ONNX."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fgembed.backbones import Backbone, make_backbone
from fgembed.images.preprocessing import Preprocessing
from fgembed.methods.components.momentum import update_keys
from fgembed.methods.lcr import LCR
from fgembed.model.encoder import Encoder, PixelEncoder
from fgembed.model.encoder_files import load_encoder, save_encoder
from fgembed.model.pooling import RationalePooling, make_pooling
from tests.backbones.conftest import SIZE


@torch.no_grad()
@pytest.mark.parametrize("pooling", ["rationale", "class-token"])
def test_a_saved_encoder_embeds_bit_for_bit_the_same(
    vit: Backbone, pooling: str, images: Tensor, tmp_path: Path
):
    """At 64 px, which none of the models takes by itself."""
    encoder = Encoder(vit, make_pooling(pooling, vit.channels)).eval()
    save_encoder(tmp_path, encoder, Preprocessing(size=SIZE))
    loaded, spec = load_encoder(tmp_path)
    assert spec.size == SIZE
    assert loaded.backbone.name == vit.name
    assert torch.equal(loaded(images), encoder(images))
    assert torch.equal(loaded.rationale(images), encoder.rationale(images))


def test_lcr_learns_a_rationale_on_patches(vit: Backbone, images: Tensor):
    encoder = Encoder(vit, RationalePooling(vit.channels)).train()
    method = LCR(encoder, LCR.Config(queue_size=8, dimensions=16)).train()
    terms = method([images, images.flip(3)])
    torch.stack(list(terms.values())).sum().backward()  #
    assert all(bool(torch.isfinite(term)) for term in terms.values())
    without_gradient = [
        name
        for name, parameter in method.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.any())
    ]
    assert without_gradient == []
    pooling = encoder.pooling
    assert isinstance(pooling, RationalePooling)
    detectors = pooling.detectors.weight.grad
    assert detectors is not None
    assert float(detectors.norm()) > 1e-6
    assert encoder.eval().rationale(images).shape == (2, *vit.grid)


@torch.no_grad()
def test_rationale_pooling_weighs_the_patches(vit: Backbone, images: Tensor):
    pooling = RationalePooling(vit.channels).eval()
    encoder = Encoder(vit, pooling).eval()
    features, weights = encoder.features(images), encoder.rationale(images)
    expected = (features * weights[:, None]).sum(dim=(2, 3)) / weights.sum(dim=(1, 2))[:, None]
    torch.testing.assert_close(encoder(images), expected / expected.norm(dim=1, keepdim=True))
    torch.testing.assert_close(weights.amax(dim=(1, 2)), torch.ones(2))


@torch.no_grad()
def test_an_embedding_ignores_the_rest_of_its_batch(vit: Backbone):
    encoder = Encoder(vit, make_pooling("class-token", vit.channels)).eval()
    images = torch.randn(6, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2))
    alone = torch.cat([encoder(image[None]) for image in images])
    torch.testing.assert_close(encoder(images), alone, rtol=1e-4, atol=1e-5)


def test_keys_follow_a_transformer(vit: Backbone):
    key = copy.deepcopy(vit)
    with torch.no_grad():
        for parameter in vit.parameters():
            parameter.add_(1.0)
    before = [parameter.clone() for parameter in key.parameters()]
    update_keys([(vit, key)], 0.75)
    for old, new in zip(before, key.parameters(), strict=True):
        torch.testing.assert_close(new, old + 0.25)


@pytest.mark.parametrize("name", ["timm/test_resnet", "timm/mobilenetv3_small_050"])
def test_frozen_statistics_stay_in_a_timm_network(name: str, images: Tensor):
    backbone = make_backbone(name, freeze_statistics=True, size=SIZE).train()
    before = {key: value.clone() for key, value in backbone.named_buffers()}
    backbone(images).sum().backward()  #
    for key, value in backbone.named_buffers():
        assert torch.equal(value, before[key])
    assert all(parameter.grad is not None for parameter in backbone.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["rationale", "class-token"])
def test_the_exported_graph_equals_torch(vit: Backbone, pooling: str, tmp_path: Path):
    from fgembed.embedding.onnx_embedder import OnnxEmbedder
    from fgembed.export.parity import measure_parity
    from fgembed.export.to_onnx import write_onnx

    spec = Preprocessing(size=SIZE)
    encoder = Encoder(vit, make_pooling(pooling, vit.channels)).eval()
    write_onnx(encoder, spec, tmp_path / "model.onnx")
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (40, SIZE, SIZE, 3), dtype=torch.uint8, generator=generator)
    embedder = OnnxEmbedder(tmp_path / "model.onnx", spec, "cpu")
    measure_parity(PixelEncoder(encoder, spec).eval(), embedder, pixels.numpy()).enforce()
