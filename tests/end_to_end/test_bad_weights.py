"""Weights from elsewhere that do not fit, are damaged, or are a trap."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import mobilenet_v2

from fgembed.backbones import make_backbone
from tests.conftest import TINY, Command, Outcome
from tests.end_to_end.refusals import Damage, garbage, refused, truncated


def train_from(command: Command, photos: Path, weights: Path) -> Outcome:
    return command("train", "--images", photos, "--backbone", TINY, "--weights", weights)


def test_missing_weights_are_exit_1(command: Command, photos: Path) -> None:
    refused(train_from(command, photos, Path("gone.pt")), 1, "no weights at gone.pt")


@pytest.mark.parametrize("damage", [truncated, garbage])
@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt"])
def test_damaged_weights_are_exit_5(
    command: Command, photos: Path, tmp_path: Path, name: str, damage: Damage
) -> None:
    file = tmp_path / name
    tensors = {"weight": torch.zeros(100)}
    if name.endswith(".pt"):
        torch.save(tensors, file)
    else:
        save_file(tensors, file)
    damage(file)
    refused(train_from(command, photos, file), 5, "cannot read weights from", name)
    assert not Path("runs").exists()


class Trap:
    """Writes a file when it is unpickled."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("sprung"),)


@pytest.mark.parametrize("how", ["pickle", "torch"])
def test_code_in_weights_is_refused_and_not_run(
    command: Command, photos: Path, tmp_path: Path, how: str
) -> None:
    file = tmp_path / "weights.pt"
    if how == "pickle":
        file.write_bytes(pickle.dumps({"weight": Trap()}))
    else:
        torch.save({"weight": torch.zeros(2), "more": Trap()}, file)
    refused(train_from(command, photos, file), 5, "cannot read weights from", "weights.pt")
    assert not Path("sprung").exists()


def test_weights_of_another_network_are_exit_2(
    command: Command, photos: Path, tmp_path: Path
) -> None:
    torch.save(mobilenet_v2().state_dict(), tmp_path / "mobile.pt")
    done = train_from(command, photos, tmp_path / "mobile.pt")
    refused(done, 2, "mobile.pt does not fit torchvision/resnet18", "'conv1.weight'")
    assert len(done.err) < 600


def test_weights_of_another_shape_are_exit_2(
    command: Command, photos: Path, tmp_path: Path
) -> None:
    state = make_backbone(TINY).trunk.state_dict() | {"conv1.weight": torch.zeros(64, 3, 3, 3)}
    torch.save(state, tmp_path / "other.pt")
    done = train_from(command, photos, tmp_path / "other.pt")
    refused(done, 2, "'conv1.weight' is (64, 3, 3, 3), expected (64, 3, 7, 7)")
