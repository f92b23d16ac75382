"""open_clip's visual towers: values before the projection, files of both towers and of one."""

from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from fgembed.backbones import make_backbone
from fgembed.errors import ConfigError
from tests.backbones.conftest import SIZE, TOWER

NAME = "open_clip/ViT-tiny-8"


def clip_model(size: int = SIZE) -> Any:
    torch.manual_seed(0)
    return open_clip.create_model("ViT-tiny-8", force_image_size=size).eval()


@torch.no_grad()
@pytest.mark.parametrize("prefix", ["visual.", ""])
def test_the_class_token_through_the_projection_is_the_model_s(
    prefix: str, tmp_path: Path, images: Tensor
):
    """From a checkpoint of both towers, and from a file of the visual tower alone."""
    model = clip_model()
    state = (model if prefix else model.visual).state_dict()
    save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / "a.safetensors")
    backbone = make_backbone(NAME, str(tmp_path / "a.safetensors"), size=SIZE).eval()
    features, summary = backbone.read(images)
    torch.testing.assert_close(summary @ model.visual.proj, model.encode_image(images))
    model.visual.output_tokens = True
    _, tokens = model.visual(images)
    torch.testing.assert_close(features.flatten(2).mT, tokens)
    assert (backbone.channels, backbone.grid) == (32, (8, 8))


@torch.no_grad()
def test_a_tower_with_a_norm_after_pooling_normalises_its_summary(images: Tensor):
    """CLIPA: the mean of the patches, then the norm; the map is what the mean is taken of."""
    from open_clip.model import _build_vision_tower

    from fgembed.backbones.open_clip_trunk import OpenClipTokens

    settings = TOWER["vision_cfg"] | {"pool_type": "avg", "final_ln_after_pool": True}  # type: ignore[operator]
    tower: Any = _build_vision_tower(24, settings | {"image_size": SIZE}).eval()
    projection = tower.proj.clone()
    expected = tower(images)
    features, summary = OpenClipTokens(tower).read(images)
    torch.testing.assert_close(summary @ projection, expected)
    torch.testing.assert_close(tower.ln_post(features.mean(dim=(2, 3))), summary)


@torch.no_grad()
def test_a_resnet_tower_gives_the_map_that_is_pooled_by_attention(images: Tensor):
    from open_clip.modified_resnet import ModifiedResNet

    from fgembed.backbones.open_clip_trunk import OpenClipMap

    tower: Any = ModifiedResNet([1, 1, 1, 1], 16, heads=4, image_size=SIZE, width=8).eval()
    pool, expected = tower.attnpool, tower(images)
    features = OpenClipMap(tower)(images)
    torch.testing.assert_close(pool(features), expected)
    assert features.shape == (2, 256, 2, 2)


@torch.no_grad()
def test_a_timm_tower_loads_from_a_file_of_both_towers(
    tmp_path: Path, images: Tensor, monkeypatch: pytest.MonkeyPatch
):
    settings = {"timm_model_name": "test_vit", "timm_pool": "token", "image_size": SIZE}
    model_config = TOWER | {"vision_cfg": settings}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "timm-tiny", model_config)
    model: Any = open_clip.create_model("timm-tiny").eval()
    save_file(model.state_dict(), tmp_path / "a.safetensors")  # positions for 160 px
    backbone = make_backbone("open_clip/timm-tiny", str(tmp_path / "a.safetensors"), size=160)
    larger = torch.nn.functional.interpolate(images, 160)
    _, summary = backbone.eval().read(larger)
    torch.testing.assert_close(model.visual.head(summary), model.encode_image(larger))
    assert backbone.has_attention


def test_position_embeddings_of_another_grid_are_resampled(tmp_path: Path):
    model = clip_model(32)
    torch.save(model.state_dict(), tmp_path / "a.pt")
    backbone = make_backbone(NAME, str(tmp_path / "a.pt"), size=SIZE)
    positions = backbone.trunk.state_dict()["visual.positional_embedding"]
    state = model.state_dict()
    open_clip.model.resize_pos_embed(state, clip_model(SIZE))
    assert positions.shape == (1 + 64, 32)
    assert torch.equal(positions, state["visual.positional_embedding"])


@torch.no_grad()
def test_the_tag_decides_the_activation(images: Tensor):
    """OpenAI's weights need QuickGELU, from a file too."""
    with torch.device("meta"):
        openai = make_backbone("open_clip/ViT-B-32:openai")
        laion = make_backbone("open_clip/ViT-B-32:laion2b_s34b_b79k")
    assert any(type(module).__name__ == "QuickGELU" for module in openai.modules())
    assert not any(type(module).__name__ == "QuickGELU" for module in laion.modules())


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("ViT-B-33", "random", "no open_clip/ViT-B-33; did you mean 'ViT-B-32"),
        ("ViT-B-32:openia", "random", "has no weights 'openia'; give one of ViT-B-32:openai, "),
        ("ViT-B-32", "pretrained", "names no published weights; give one of ViT-B-32:openai,"),
        ("ViT-tiny-8", "imagenet", "has no weights 'imagenet'; set backbone.weights to 'pretrain"),
        (
            "coca_ViT-B-32",
            "random",
            "gives no feature map in the width that it pools; choose another backbone",
        ),
        ("ViT-L-14", "random", r"64 px do not divide into the patches of 14 px.*to 56 or 70"),
    ],
)
def test_an_unsupported_name_is_refused(name: str, weights: str, message: str):
    with pytest.raises(ConfigError, match=message), torch.device("meta"):
        make_backbone(f"open_clip/{name}", weights, size=SIZE)
