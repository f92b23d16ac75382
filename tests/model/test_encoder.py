"""The encoder and the pixel graph around it, by value."""

import torch
import torch.nn.functional as F

from fgembed.backbones import make_backbone
from fgembed.images.preprocessing import Preprocessing
from fgembed.methods.lcr import LCR
from fgembed.methods.moco import MoCo
from fgembed.model.encoder import Encoder, PixelEncoder, best_pooling, mean_pooled
from fgembed.model.pooling import GeMPooling, MeanPooling
from fgembed.model.reading.multi_level import Reading
from fgembed.model.reading.whitening import Whitening
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


IMAGES = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_an_embedding_is_the_normalised_mean_of_the_features():
    model = encoder(whitened=False)
    expected = model.backbone(IMAGES).mean(dim=(2, 3))
    torch.testing.assert_close(model(IMAGES), expected / expected.norm(dim=1, keepdim=True))
    assert model.dimensions == model.backbone.channels == 64


@torch.no_grad()
def test_whitening_takes_unit_vectors_and_gives_unit_vectors():
    model = encoder(whitened=True)
    assert model.whitening is not None
    unit = F.normalize(model.backbone(IMAGES).mean(dim=(2, 3)), dim=1)
    expected = F.normalize((unit - model.whitening.mean) @ model.whitening.projection, dim=1)
    torch.testing.assert_close(model(IMAGES), expected)
    torch.testing.assert_close(model(IMAGES).norm(dim=1), torch.ones(5))
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


def test_the_lowest_floor_shares_the_backbone_and_has_no_whitening():
    model = encoder(whitened=True)
    floor = mean_pooled(model)
    assert floor.backbone is model.backbone
    assert floor.whitening is None
    assert floor.pooling.kind == "mean"
    assert best_pooling(model.backbone).kind == "gem"


@torch.no_grad()
def test_levels_are_read_at_their_depths_and_joined_with_the_last_map():
    """resnet18 to layer 1 as blocks: the stem to its max pooling, two residual blocks."""
    backbone = make_backbone(TINY).eval()
    model = Encoder(backbone, GeMPooling(), reading=Reading((0.0, 0.8))).eval()
    trunk = backbone.trunk
    first = trunk.bn1(trunk.conv1(IMAGES))  # type: ignore[operator]
    first = trunk.maxpool(trunk.relu(first))  # type: ignore[operator]
    inner = trunk.layer1[0](first)  # type: ignore[index, operator]
    gem = backbone(IMAGES).clamp(min=1e-6).pow(3).mean(dim=(2, 3)).pow(1 / 3)
    parts = [
        torch.cat([level.mean(dim=(2, 3)), level.std(dim=(2, 3), correction=0)], dim=1)
        for level in (first, inner)
    ]
    joined = [0.5 * F.normalize(part, dim=1) for part in parts] + [F.normalize(gem, dim=1)]
    expected = F.normalize(torch.cat(joined, dim=1), dim=1)
    torch.testing.assert_close(model(IMAGES), expected, rtol=1e-4, atol=1e-5)
    assert model.dimensions == 2 * (64 + 64) + 64
    beside = Encoder(backbone, GeMPooling(), reading=Reading((0.0, 0.8), mean_beside=True)).eval()
    mean = backbone(IMAGES).mean(dim=(2, 3))
    expected = F.normalize(torch.cat([*joined, F.normalize(mean, dim=1)], dim=1), dim=1)
    torch.testing.assert_close(beside(IMAGES), expected, rtol=1e-4, atol=1e-5)
    assert beside.dimensions == 2 * (64 + 64) + 64 + 64


@torch.no_grad()
def test_a_mirrored_encoder_averages_the_pooled_vectors_of_both_images():
    plain = encoder(whitened=True)
    model = Encoder(plain.backbone, plain.pooling, plain.whitening, Reading(mirror=True)).eval()
    features = plain.backbone(IMAGES), plain.backbone(IMAGES.flip(3))
    pooled = torch.stack([maps.mean(dim=(2, 3)) for maps in features]).mean(dim=0)
    torch.testing.assert_close(model(IMAGES), plain.finish(pooled), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model(IMAGES), model(IMAGES.flip(3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.pooled(IMAGES)[1], features[0], rtol=1e-4, atol=1e-5)


def test_a_transformer_is_read_by_its_class_token():
    """GeM would take the half of its features that is negative as zero."""
    backbone = make_backbone(TINY_VIT, size=32).eval()
    floor = Encoder(backbone, best_pooling(backbone))
    assert floor.pooling.kind == "class-token"
    token = backbone.read(IMAGES[..., :32, :32])[1]
    expected = torch.nn.functional.normalize(token, dim=1)
    torch.testing.assert_close(floor(IMAGES[..., :32, :32]), expected)


def test_a_signed_map_is_averaged_where_gem_would_clamp_it():
    signed, plain = make_backbone("timm/test_convnext", size=32), make_backbone(TINY)
    assert (signed.signed, plain.signed) == (True, False)
    assert best_pooling(signed).kind == "mean"
    assert MoCo.pooling_for(signed) == "mean"
    assert LCR.pooling_for(signed) == "rationale-bare"
    assert LCR.pooling_for(plain) == "rationale-bare-gem"


def test_frozen_statistics_stay_in_training_mode_and_weights_still_learn():
    backbone = make_backbone(TINY, freeze_statistics=True).train()
    before = backbone.trunk.bn1.running_mean.clone()  # type: ignore[operator, union-attr]
    backbone(IMAGES).sum().backward()
    torch.testing.assert_close(backbone.trunk.bn1.running_mean, before)  # type: ignore[union-attr]
    assert all(parameter.grad is not None for parameter in backbone.parameters())
