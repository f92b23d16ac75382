"""Published weights without a network: an immediate error that names the file to download."""

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

URLS = {
    "torchvision/vit_b_32": r"https://download\.pytorch\.org/models/vit_b_32-d86f8d99\.pth",
    "timm/test_vit": r"https://huggingface\.co/timm/test_vit\.r160_in1k/resolve/main/model\.safe",
    "open_clip/ViT-B-32:laion2b_s34b_b79k": (
        r"https://huggingface\.co/laion/CLIP-ViT-B-32-laion2B-s34B-b79K/resolve/main/open_clip_"
    ),
}


@pytest.mark.parametrize("name", URLS)
def test_without_a_network_the_error_names_the_file_to_download(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("socket.getaddrinfo", _no_network)
    monkeypatch.setattr("time.sleep", _no_retry)
    message = (
        rf"weights of {name} \(.*\); download {URLS[name]}\S* on another machine and pass it as "
        "--weights FILE"
    )
    with pytest.raises(NotFoundError, match=message):
        make_backbone(name, "pretrained", size=64)


def test_without_a_network_torchvision_s_error_names_the_file_to_download(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("socket.getaddrinfo", _no_network)
    with pytest.raises(
        NotFoundError, match=r"download https://\S+\.pth on another.*--weights FILE"
    ):
        make_backbone("torchvision/resnet18", "imagenet")


@pytest.mark.parametrize("weights", ["pretrained", "imagenet"])
def test_cached_weights_need_no_network(
    weights: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """In the libraries' caches, with the layout of their clients."""
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


def test_a_model_without_published_weights_is_refused():
    message = "timm publishes no weights of test_vit_relpos .*; set backbone.weights to a file or"
    with pytest.raises(ConfigError, match=message):
        make_backbone("timm/test_vit_relpos", "pretrained", size=64)


def test_backbones_import_a_library_on_first_use_only():
    code = (
        "import sys, fgembed.backbones\n"
        "print({'timm', 'open_clip', 'torchvision'} & {*sys.modules})"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert process.stdout.strip() == "set()"


def _no_network(*_: object, **__: object) -> None:
    raise OSError("no network in this test")


def _no_retry(*_: object) -> None:
    raise AssertionError("the client waited to retry")
