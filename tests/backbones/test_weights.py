"""Weights from files of every kind, and files that are refused."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision import models

from fgembed.backbones import make_backbone
from fgembed.errors import ConfigError, IntegrityError, NotFoundError


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
    with pytest.raises(
        ConfigError, match=r"'conv1.weight' is \(2, 3, 7, 7\), expected \(64, 3.*; give weigh"
    ):
        make_backbone("torchvision/resnet18", str(tmp_path / "a.safetensors"))
    save_file({"other": torch.zeros(2)}, tmp_path / "b.safetensors")
    with pytest.raises(
        ConfigError,
        match=r"does not fit torchvision/resnet18: no 'conv1\.weight'; give weights of that",
    ):
        make_backbone("torchvision/resnet18", str(tmp_path / "b.safetensors"))


def test_a_file_without_weights_is_refused(tmp_path: Path):
    with pytest.raises(
        NotFoundError, match=r"no weights at .*none\.pt; give a \.safetensors or \.pt file"
    ):
        make_backbone("torchvision/resnet18", str(tmp_path / "none.pt"))
    for name in ("a.safetensors", "a.pt"):
        (tmp_path / name).write_bytes(b"no weights at all")
        with pytest.raises(
            IntegrityError, match=r"cannot read weights from .*; restore the file from a copy, or"
        ):
            make_backbone("torchvision/resnet18", str(tmp_path / name))
