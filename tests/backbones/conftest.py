"""A small vision transformer of each library, for images of 64 px, grids of 4 x 4 or 8 x 8."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torchvision.models import _api
from torchvision.models.vision_transformer import VisionTransformer

from fgembed.backbones import Backbone, make_backbone

SIZE = 64
TOWER = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "layers": 3, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 4, "vocab_size": 8, "width": 8, "heads": 1, "layers": 1},
}


@pytest.fixture(scope="session", autouse=True)
def small_models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Registers `torchvision/vit_tiny_16` and `open_clip/ViT-tiny-8` with their libraries."""
    import open_clip

    def vit_tiny_16(weights: Any = None, image_size: int = 224, **_: Any) -> VisionTransformer:
        return VisionTransformer(image_size, 16, 3, 4, 32, 48)

    vit_tiny_16.__module__ = "torchvision.models.vision_transformer"
    _api.BUILTIN_MODELS["vit_tiny_16"] = vit_tiny_16
    file = tmp_path_factory.mktemp("open_clip") / "ViT-tiny-8.json"
    file.write_text(json.dumps(TOWER))
    open_clip.add_model_config(file)
    yield
    del _api.BUILTIN_MODELS["vit_tiny_16"]


VITS = ["torchvision/vit_tiny_16", "timm/test_vit", "open_clip/ViT-tiny-8"]


@pytest.fixture(params=VITS)
def vit(request: pytest.FixtureRequest) -> Backbone:
    """A backbone with a class token, in evaluation mode, its attention far from uniform."""
    torch.manual_seed(0)
    backbone = make_backbone(request.param, size=SIZE).eval()
    with torch.no_grad():
        for name, value in backbone.named_parameters():
            if "qkv.weight" in name or "in_proj_weight" in name:
                value.mul_(8)
    return backbone


@pytest.fixture
def images() -> torch.Tensor:
    """(2, 3, 64, 64)."""
    return torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
