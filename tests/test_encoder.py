"""The encoder and the pixel graph around it, by value."""

import torch
import torch.nn.functional as F

from fgembed.backbones import make_backbone
from fgembed.encoder import Encoder, PixelEncoder, best_untouched, mean_pooled
from fgembed.images import Preprocessing
from fgembed.methods.lcr import LCR
from fgembed.methods.moco import MoCo
from fgembed.pooling import MeanPooling, Whitening
from tests.conftest import TINY, TINY_VIT


def encoder(whitened: bool) -> Encoder:
    torch.manual_seed(0)
    backbone = make_backbone(TINY)
    whitening = None
    if whitened:
        whitening = Whitening(backbone.channels, 8)
        whitening.mean.normal_()
        whitening.projection.normal_()
    return Encoder(backbone, MeanPooling(), whitening).eval()


PICTURES = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_an_embedding_is_the_normalised_mean_of_the_features():
    model = encoder(whitened=False)
    expected = model.backbone(PICTURES).mean(dim=(2, 3))
    torch.testing.assert_close(model(PICTURES), expected / expected.norm(dim=1, keepdim=True))
    assert model.dimensions == model.backbone.channels == 64


@torch.no_grad()
def test_whitening_takes_unit_vectors_and_gives_unit_vectors():
    model = encoder(whitened=True)
    assert model.whitening is not None
    unit = F.normalize(model.backbone(PICTURES).mean(dim=(2, 3)), dim=1)
    expected = F.normalize((unit - model.whitening.mean) @ model.whitening.projection, dim=1)
    torch.testing.assert_close(model(PICTURES), expected)
    torch.testing.assert_close(model(PICTURES).norm(dim=1), torch.ones(5))
    assert model.dimensions == 8


@torch.no_grad()
def test_pixels_are_normalised_inside_as_torchvision_does_outside():
    spec = Preprocessing(size=32)
    pixels = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    outside = pixels.permute(0, 3, 1, 2) / 255
    outside = (outside - torch.tensor(spec.mean).view(3, 1, 1)) / torch.tensor(spec.std).view(
        3, 1, 1
    )
    model = encoder(whitened=True)
    vectors, rationale = PixelEncoder(model, spec)(pixels)
    torch.testing.assert_close(vectors, model(outside), rtol=1e-4, atol=1e-5)
    expected = model.rationale(outside)
    torch.testing.assert_close(rationale, expected, rtol=1e-4, atol=1e-5)


def test_the_floors_share_the_backbone_and_have_no_whitening():
    model = encoder(whitened=True)
    for floor, kind in ((mean_pooled(model), "mean"), (best_untouched(model.backbone), "gem")):
        assert floor.backbone is model.backbone
        assert floor.whitening is None
        assert floor.pooling.kind == kind


def test_a_transformer_s_second_floor_is_its_class_token():
    """GeM would take the half of its features that is negative as zero."""
    backbone = make_backbone(TINY_VIT, size=32).eval()
    floor = best_untouched(backbone)
    assert floor.pooling.kind == "class-token"
    token = backbone.read(PICTURES[..., :32, :32])[1]
    expected = torch.nn.functional.normalize(token, dim=1)
    torch.testing.assert_close(floor(PICTURES[..., :32, :32]), expected)


def test_a_signed_map_is_averaged_where_gem_would_clamp_it():
    signed, plain = make_backbone("timm/test_convnext", size=32), make_backbone(TINY)
    assert (signed.signed, plain.signed) == (True, False)
    assert best_untouched(signed).pooling.kind == "mean"
    assert MoCo.pooling_for(signed) == "mean"
    assert (LCR.pooling_for(signed), LCR.pooling_for(plain)) == ("rationale", "rationale-gem")


def test_frozen_statistics_stay_in_training_mode_and_weights_still_learn():
    backbone = make_backbone(TINY, freeze_statistics=True).train()
    before = backbone.trunk.bn1.running_mean.clone()  # type: ignore[union-attr, operator]
    backbone(PICTURES).sum().backward()
    torch.testing.assert_close(backbone.trunk.bn1.running_mean, before)  # type: ignore[union-attr]
    assert all(parameter.grad is not None for parameter in backbone.parameters())
