"""Published weights without a network: one refusal at once, with what to fetch."""

import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torchvision import models

from fgembed.backbones import make_backbone
from fgembed.errors import ConfigError, NotFoundError

ADDRESSES = {
    "torchvision/vit_b_32": r"https://download\.pytorch\.org/models/vit_b_32-d86f8d99\.pth",
    "timm/test_vit": r"https://huggingface\.co/timm/test_vit\.r160_in1k/resolve/main/model\.safe",
    "open_clip/ViT-B-32:laion2b_s34b_b79k": (
        r"https://huggingface\.co/laion/CLIP-ViT-B-32-laion2B-s34B-b79K/resolve/main/open_clip_"
    ),
}


@pytest.mark.parametrize("name", ADDRESSES)
def test_without_a_network_the_download_says_what_to_fetch(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("socket.getaddrinfo", _no_network)
    monkeypatch.setattr("time.sleep", _no_retry)
    message = rf"weights of {name} \(.*\); fetch {ADDRESSES[name]}\S* elsewhere.*--weights FILE"
    with pytest.raises(NotFoundError, match=message):
        make_backbone(name, "pretrained", size=64)


@pytest.mark.parametrize("weights", ["pretrained", "imagenet"])
def test_what_was_downloaded_before_needs_no_network(
    weights: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """In the libraries' own caches, laid out as their clients do."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("socket.getaddrinfo", _no_network)
    repository = tmp_path / "models--timm--test_vit.r160_in1k"
    snapshot = repository / "snapshots" / "abc"
    for folder in (snapshot, repository / "refs", tmp_path / "hub" / "checkpoints"):
        folder.mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    vit, resnet = timm.create_model("test_vit", img_size=160), models.resnet18()
    save_file(vit.state_dict(), snapshot / "model.safetensors")
    torch.save(resnet.state_dict(), tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth")
    loaded = make_backbone("timm/test_vit", weights, size=160).trunk.state_dict()
    assert torch.equal(loaded["model.pos_embed"], vit.state_dict()["pos_embed"])
    loaded = make_backbone("torchvision/resnet18", weights, size=64).trunk.state_dict()
    assert torch.equal(loaded["conv1.weight"], resnet.conv1.weight)


def test_a_model_without_published_weights_says_so():
    with pytest.raises(ConfigError, match="timm publishes no weights of test_vit_relpos"):
        make_backbone("timm/test_vit_relpos", "pretrained", size=64)


def test_backbones_import_no_library_before_it_is_asked_for():
    code = (
        "import sys, fgembed.backbones\n"
        "print({'timm', 'open_clip', 'torchvision'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def _no_network(*_: object, **__: object) -> None:
    raise OSError("no network in this test")


def _no_retry(*_: object) -> None:
    raise AssertionError("it waited to try again")
