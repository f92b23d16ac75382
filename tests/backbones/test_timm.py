"""timm's models: the map that their own pooling sees, tokens, sizes, and files of every kind."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor

from fgembed.backbones import make_backbone
from fgembed.errors import ConfigError
from tests.backbones.conftest import SIZE

CONVOLUTIONAL = [
    "test_resnet", "test_efficientnet", "test_convnext", "test_byobnet",
    "test_nfnet", "mobilenetv3_small_050",
]  # fmt: skip


def model_and_trunk(name: str, **settings: Any) -> tuple[Any, Any]:
    """timm's own model, and our backbone with the same weights, at 64 px."""
    torch.manual_seed(0)
    model = timm.create_model(name, **settings).eval()
    backbone = make_backbone(f"timm/{name}", size=SIZE).eval()
    state = model.state_dict()
    inner = backbone.trunk.model
    inner.load_state_dict({key: state[key] for key in inner.state_dict()})  # type: ignore[union-attr]
    return model, backbone


@torch.no_grad()
@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_a_trunk_gives_the_features_that_the_head_is_fed(name: str, images: Tensor):
    """The mean of the map through the model's own head equals the model's output."""
    model, backbone = model_and_trunk(name)
    mean = backbone(images).mean(dim=(2, 3), keepdim=True)
    torch.testing.assert_close(model.forward_head(mean), model(images), rtol=1e-4, atol=1e-5)
    assert backbone.channels == mean.shape[1]


@torch.no_grad()
def test_a_map_with_channels_last_is_permuted(images: Tensor):
    settings: dict[str, Any] = {"embed_dim": 16, "depths": (1, 1, 1, 1), "num_heads": (1, 2, 2, 4)}
    model: Any = timm.create_model("swin_tiny_patch4_window7_224", img_size=SIZE, **settings).eval()
    from fgembed.backbones.timm_trunk import TimmMap

    head, expected = model.head.fc, model(images)
    features = TimmMap(model)(images)
    assert features.shape == (2, 128, 2, 2)
    torch.testing.assert_close(head(features.mean(dim=(2, 3))), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "test_convnext", "test_vit"])
def test_no_parameter_of_the_head_remains(name: str, images: Tensor):
    backbone = make_backbone(f"timm/{name}", size=SIZE).train()
    backbone(images).square().sum().backward()  #
    assert all(parameter.grad is not None for parameter in backbone.parameters())


@torch.no_grad()
@pytest.mark.parametrize("name", ["test_vit", "test_vit2", "test_vit3", "test_vit4"])
def test_tokens_become_a_map_row_by_row_and_the_summary_is_the_model_s(name: str, images: Tensor):
    model, backbone = model_and_trunk(name, img_size=SIZE, num_classes=0)
    tokens = model.forward_features(images)
    features, summary = backbone.read(images)
    first = model.num_prefix_tokens
    for row in range(4):
        for column in range(4):
            token = tokens[:, first + 4 * row + column]
            torch.testing.assert_close(features[:, :, row, column], token)
    torch.testing.assert_close(summary, model(images))


@torch.no_grad()
def test_the_summary_is_the_class_token_although_the_model_would_pool_the_patches(images: Tensor):
    from fgembed.backbones.timm_trunk import TimmTokens

    model: Any = timm.create_model(
        "vit_small_patch16_dinov3", embed_dim=32, depth=2, num_heads=2, img_size=SIZE
    ).eval()
    trunk = TimmTokens(model)
    tokens = model.forward_features(images)
    features, summary = trunk.read(images)
    assert trunk.prefix == 5  # a class token and four registers
    torch.testing.assert_close(summary, tokens[:, 0])
    torch.testing.assert_close(features.flatten(2), tokens[:, 5:].transpose(1, 2))


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("resnet19", 64, "no backbone timm/resnet19; did you mean 'resnet1"),
        ("test_resnet:layer3", 64, "cannot end at a layer; name it without ':layer3'"),
        ("test_vit", 100, r"100 px do not divide into the patches of 16 px.*to 96 or 112"),
        ("vit_small_patch14_dinov2.lvd142m", 224 + 7, "patches of 14 px.*to 224 or 238"),
        (
            "gmlp_s16_224",
            224,
            "timm/gmlp_s16_224 gives no feature map that fgembed can read; choose another",
        ),
    ],
)
def test_an_unsupported_name_or_size_is_refused(name: str, size: int, message: str):
    with pytest.raises(ConfigError, match=message), torch.device("meta"):
        make_backbone(f"timm/{name}", size=size)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_published_file_loads_with_its_classifier(suffix: str, tmp_path: Path):
    state = timm.create_model("test_vit", img_size=SIZE).state_dict()
    file = tmp_path / f"weights{suffix}"
    if suffix == ".pt":
        torch.save({"state_dict": state}, file)
    else:
        save_file(state, file)
    loaded = make_backbone("timm/test_vit", str(file), size=SIZE).trunk.state_dict()
    assert loaded
    for key, value in loaded.items():
        assert torch.equal(value, state[key.removeprefix("model.")])


def test_position_embeddings_of_another_grid_are_resampled(tmp_path: Path):
    state = timm.create_model("test_vit", img_size=96).state_dict()
    save_file(state, tmp_path / "weights.safetensors")
    backbone = make_backbone("timm/test_vit", str(tmp_path / "weights.safetensors"), size=SIZE)
    positions = backbone.trunk.state_dict()["model.pos_embed"]
    assert positions.shape == (1, 1 + 16, 64)
    expected = resample_abs_pos_embed(state["pos_embed"], [4, 4], [6, 6])
    torch.testing.assert_close(positions, expected)
    assert torch.equal(positions[:, 0], state["pos_embed"][:, 0])


def test_a_file_of_another_model_is_refused(tmp_path: Path):
    save_file(timm.create_model("test_vit4").state_dict(), tmp_path / "weights.safetensors")
    with pytest.raises(
        ConfigError, match=r"does not fit timm/test_vit: .*; give weights of that backbone"
    ):
        make_backbone("timm/test_vit", str(tmp_path / "weights.safetensors"), size=SIZE)


@pytest.mark.parametrize(
    ("name", "keys", "message"),
    [
        (
            "test_vit",
            ["pos_embed", "patch_embed.proj.weight"],
            "does not fit timm/test_vit: .*; give weights of that",
        ),
        ("test_convnext", ["conv1.weight"], "does not fit timm/test_convnext: no '"),
    ],
)
def test_a_file_that_timm_cannot_convert_is_refused(
    name: str, keys: list[str], message: str, tmp_path: Path
):
    save_file({key: torch.zeros(1) for key in keys}, tmp_path / "weights.safetensors")
    with pytest.raises(ConfigError, match=message):
        make_backbone(f"timm/{name}", str(tmp_path / "weights.safetensors"), size=SIZE)


def test_an_unknown_tag_is_refused_with_the_nearest_one():
    with pytest.raises(ConfigError, match=r"'nope'; did you mean 'test_vit\.r160_in1k'"):
        make_backbone("timm/test_vit.nope", size=SIZE)
