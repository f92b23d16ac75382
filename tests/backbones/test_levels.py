"""Inner levels of every family of backbones, and freezing the first of them."""

import pytest
import torch

from fgembed.backbones import make_backbone
from fgembed.backbones.levels import at_depths
from tests.conftest import TINY, TINY_VIT


def test_frozen_blocks_and_all_before_them_take_no_gradient_and_the_rest_learns():
    """resnet18 to layer 1 as blocks: conv, norm, ReLU, max pooling, two residual blocks."""
    backbone = make_backbone(TINY, frozen=0.8)
    learned = {name for name, p in backbone.named_parameters() if p.requires_grad}
    assert learned == {name for name, _ in backbone.named_parameters() if "layer1.1" in name}
    vit = make_backbone(TINY_VIT, size=32, frozen=0.5)
    learned = {name for name, p in vit.named_parameters() if p.requires_grad}
    assert {name.split(".")[3] for name in learned if ".blocks." in name} == {"3", "4", "5"}
    assert not any("pos_embed" in name or "patch_embed" in name for name in learned)
    assert any(".norm." in name for name in learned)


@pytest.mark.parametrize(
    ("name", "size", "channels"),
    [
        ("torchvision/mobilenet_v2", 64, [96, 160]),
        ("torchvision/resnet50", 64, [1024, 2048]),
        ("torchvision/vit_b_16", 64, [768, 768]),
        ("timm/resnet18", 64, [256, 512]),
        ("timm/swin_tiny_patch4_window7_224", 224, [384, 768]),
        ("timm/cait_xxs24_224", 224, []),
        ("open_clip/RN50", 224, [1024, 2048]),
    ],
)
def test_inner_levels_are_maps_of_every_family(name: str, size: int, channels: list[int]):
    backbone = make_backbone(name, size=size).eval()
    assert backbone.inner_channels((0.72, 0.89)) == channels
    with torch.no_grad():
        images = torch.randn(2, 3, size, size)
        reading = backbone.read_levels(images, (0.72, 0.89))
        torch.testing.assert_close(reading.features, backbone(images))
    assert [level.shape[:2] for level in reading.inner] == [(2, count) for count in channels]
    assert all(level.ndim == 4 for level in reading.inner)


@pytest.mark.parametrize(
    ("name", "blocks", "inner"),
    [
        ("torchvision/mobilenet_v2", 19, ["features.13", "features.16"]),
        ("timm/mobilenetv2_050", 19, ["model.blocks.4.2", "model.blocks.5.2"]),  # the same two
        ("torchvision/efficientnet_b0", 18, ["features.6.0", "features.6.3"]),
        ("timm/efficientnet_lite0", 18, ["model.blocks.5.0", "model.blocks.5.3"]),
        ("torchvision/convnext_tiny", 22, ["features.5.6", "features.7.0"]),
        ("torchvision/resnet18", 9, ["layer3.1", "layer4.0"]),
        ("torchvision/mnasnet0_5", 20, ["layers.12.0", "layers.12.3"]),
        ("torchvision/regnet_y_400mf", 17, [f"trunk_output.block4.block4-{i}" for i in (1, 3)]),
        ("torchvision/vgg11_bn", 8, ["features.21", "features.24"]),  # ReLUs
        ("timm/test_vit", 6, ["model.blocks.4"]),
    ],
)
def test_levels_are_complete_blocks(name: str, blocks: int, inner: list[str]):
    backbone = make_backbone(name, size=64)
    names = {id(module): name for name, module in backbone.trunk.named_modules()}
    assert len(backbone.level_blocks) == blocks
    levels = at_depths(backbone._levels, (0.72, 0.89))
    assert [names[id(level.block)] for level in levels] == inner


def test_the_first_blocks_of_a_network_of_lone_layers_can_be_frozen():
    backbone = make_backbone("torchvision/vgg11_bn", size=64, frozen=0.25)  # 2 of 8
    fixed = [name for name, p in backbone.trunk.named_parameters() if not p.requires_grad]
    assert fixed == [f"features.{i}.{kind}" for i in (0, 1, 4, 5) for kind in ("weight", "bias")]


@torch.no_grad()
def test_mobilenet_s_levels_are_its_features_13_and_16():
    backbone = make_backbone("torchvision/mobilenet_v2").eval()
    images = torch.randn(1, 3, 64, 64)
    reading = backbone.read_levels(images, (0.72, 0.89))
    features = backbone.trunk.features
    for level, end in zip(reading.inner, (13, 16), strict=True):
        torch.testing.assert_close(level, features[: end + 1](images))  # type: ignore[index, operator]
