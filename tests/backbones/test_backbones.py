"""Backbones by name, and weights from files of every kind a user may have."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision import models

from fgembed.backbones import make_backbone
from fgembed.backbones.from_torchvision import TRUNKS
from fgembed.backbones.levels import at_depths
from fgembed.errors import ConfigError, IntegrityError, NotFoundError
from tests.conftest import TINY, TINY_VIT

SMALL = [
    "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "squeezenet1_1", "mnasnet0_5",
    "shufflenet_v2_x0_5", "regnet_y_400mf", "resnet18",
]  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
def test_a_trunk_gives_the_features_that_the_classifier_is_fed(name: str):
    """The mean of the map through the model's own classifier equals the model's output."""
    torch.manual_seed(0)
    model = models.get_model(name, weights=None).eval()
    backbone = make_backbone(f"torchvision/{name}").eval()
    state = model.state_dict()
    backbone.trunk.load_state_dict({key: state[key] for key in backbone.trunk.state_dict()})
    pictures = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        features = backbone(pictures)
        head = getattr(model, "classifier", None) or model.fc
        if name == "squeezenet1_1":
            output = head(features).flatten(1)
        else:
            output = head(features.mean(dim=(2, 3)))
        torch.testing.assert_close(output, model(pictures), rtol=1e-4, atol=1e-5)
    assert features.shape[1] == backbone.channels


def test_the_table_covers_what_it_names():
    classes = {type(models.get_model(name)).__name__ for name in SMALL}
    assert classes <= set(TRUNKS)


def test_a_backbone_may_end_at_a_layer():
    assert make_backbone("torchvision/resnet18:layer3").channels == 256
    assert make_backbone("torchvision/mobilenet_v2:features.13").channels == 96


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet18", "expected <library>/<name>"),
        ("timmm/resnet18", "one of torchvision"),
        ("torchvision/resnet19", "did you mean 'resnet1"),
        ("torchvision/swin_t", "gives no feature map"),
        ("torchvision/resnet18:layer9", "did you mean 'layer"),
    ],
)
def test_an_unknown_backbone_is_refused(name: str, message: str):
    with pytest.raises(ConfigError, match=message):
        make_backbone(name)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", "wrapped.pt"])
def test_weights_load_from_files_with_a_classifier(suffix: str, tmp_path: Path):
    state = models.get_model("resnet18", weights=None).state_dict()
    file = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(state, file)
    else:
        wrapped = {"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3}
        torch.save(wrapped if suffix == "wrapped.pt" else state, file)
    backbone = make_backbone("torchvision/resnet18:layer1", str(file))
    torch.testing.assert_close(backbone.trunk.state_dict()["conv1.weight"], state["conv1.weight"])


def test_weights_that_do_not_fit_are_refused(tmp_path: Path):
    save_file({"conv1.weight": torch.zeros(2, 3, 7, 7)}, tmp_path / "a.safetensors")
    with pytest.raises(ConfigError, match=r"'conv1.weight' is \(2, 3, 7, 7\), expected \(64, 3"):
        make_backbone("torchvision/resnet18", str(tmp_path / "a.safetensors"))
    save_file({"other": torch.zeros(2)}, tmp_path / "b.safetensors")
    with pytest.raises(ConfigError, match=r"does not fit torchvision/resnet18: no 'conv1\.weight'"):
        make_backbone("torchvision/resnet18", str(tmp_path / "b.safetensors"))


def test_a_file_that_is_no_weights_is_refused(tmp_path: Path):
    with pytest.raises(NotFoundError, match="no weights at"):
        make_backbone("torchvision/resnet18", str(tmp_path / "none.pt"))
    for name in ("a.safetensors", "a.pt"):
        (tmp_path / name).write_bytes(b"no weights at all")
        with pytest.raises(IntegrityError, match="cannot read weights"):
            make_backbone("torchvision/resnet18", str(tmp_path / name))


def test_without_a_network_the_download_says_what_to_fetch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("socket.getaddrinfo", _no_network)
    with pytest.raises(NotFoundError, match=r"fetch https://\S+\.pth elsewhere.*--weights FILE"):
        make_backbone("torchvision/resnet18", "imagenet")


def _no_network(*_: object) -> None:
    raise OSError("no network in this test")


def test_frozen_blocks_and_all_before_them_take_no_gradient_and_the_others_learn():
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
        pictures = torch.randn(2, 3, size, size)
        reading = backbone.read_levels(pictures, (0.72, 0.89))
        torch.testing.assert_close(reading.features, backbone(pictures))
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
def test_levels_are_whole_blocks(name: str, blocks: int, inner: list[str]):
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
    pictures = torch.randn(1, 3, 64, 64)
    reading = backbone.read_levels(pictures, (0.72, 0.89))
    features = backbone.trunk.features
    for level, end in zip(reading.inner, (13, 16), strict=True):
        torch.testing.assert_close(level, features[: end + 1](pictures))  # type: ignore[index, operator]
