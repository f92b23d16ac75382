"""torchvision's vision transformers: values, grids, and the layer names of old and new files."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torchvision import models

from fgembed.backbones import make_backbone
from fgembed.errors import ConfigError
from tests.backbones.conftest import SIZE

NAME = "torchvision/vit_tiny_16"


def tiny(size: int = SIZE) -> Any:
    torch.manual_seed(0)
    return models.get_model("vit_tiny_16", weights=None, image_size=size).eval()


@torch.no_grad()
def test_the_class_token_through_the_head_is_the_model_s_output(tmp_path: Path, images: Tensor):
    model = tiny()
    torch.nn.init.normal_(model.heads.head.weight)
    save_file(model.state_dict(), tmp_path / "vit.safetensors")
    backbone = make_backbone(NAME, str(tmp_path / "vit.safetensors"), size=SIZE).eval()
    features, summary = backbone.read(images)
    torch.testing.assert_close(model.heads(summary), model(images))
    tokens = torch.cat([model.class_token.expand(2, -1, -1), model._process_input(images)], dim=1)
    torch.testing.assert_close(features.flatten(2).mT, model.encoder(tokens)[:, 1:])
    assert backbone.channels == 32
    assert backbone.grid == (4, 4)


def test_the_published_files_older_names_load(tmp_path: Path):
    state = tiny().state_dict()
    older = {
        key.replace("mlp.0", "mlp.linear_1").replace("mlp.3", "mlp.linear_2"): value
        for key, value in state.items()
    }
    assert set(older) != set(state)
    torch.save(older, tmp_path / "vit.pth")
    loaded = make_backbone(NAME, str(tmp_path / "vit.pth"), size=SIZE).trunk.state_dict()
    for key, value in loaded.items():
        assert torch.equal(value, state[key])


def test_position_embeddings_of_another_grid_are_resampled(tmp_path: Path):
    state = tiny(96).state_dict()
    grid = torch.linspace(0, 1, 6)[:, None, None].expand(6, 6, 32).reshape(1, 36, 32)
    state["encoder.pos_embedding"][:, 1:] = grid  # the row of each patch, from top to bottom
    save_file(state, tmp_path / "vit.safetensors")
    loaded = make_backbone(NAME, str(tmp_path / "vit.safetensors"), size=SIZE).trunk.state_dict()
    positions = loaded["encoder.pos_embedding"]
    assert torch.equal(positions[:, 0], state["encoder.pos_embedding"][:, 0])
    rows = positions[0, 1:].unflatten(0, (4, 4))[:, :, 0]
    torch.testing.assert_close(rows[:, 0], torch.linspace(0, 1, 4), atol=0.06, rtol=0)
    torch.testing.assert_close(rows, rows[:, :1].expand(4, 4))


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("vit_b_16", 100, "100 px do not divide into the patches of 16 px.*to 96 or 112"),
        ("vit_h_14", 10, r"patches of 14 px of torchvision/vit_h_14; set preprocessing.size to 14"),
        ("vit_b_16:encoder", 224, "cannot end at a layer"),
    ],
)
def test_an_unsupported_name_or_size_is_refused(name: str, size: int, message: str):
    with pytest.raises(ConfigError, match=message):
        make_backbone(f"torchvision/{name}", size=size)
