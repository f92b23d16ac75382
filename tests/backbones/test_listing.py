"""`fgembed backbones`: names by pattern, and what each gives without building it in memory."""

import builtins
import json
import sys
from typing import Any

import pytest
import torch

from fgembed.backbones import make_backbone
from fgembed.backbones.family import IMAGENET
from fgembed.backbones.listing import libraries, matching, measured
from tests.conftest import Command


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("torchvision/resnet*", ["101", "152", "18", "34", "50"]),
        ("torchvision/ResNet1", ["101", "152", "18"]),
        ("torchvision/resnet18:layer3", ["18:layer3"]),
    ],
)
def test_a_pattern_names_or_is_contained(pattern: str, expected: list[str]):
    assert matching(pattern) == [f"torchvision/resnet{end}" for end in expected]


def test_a_pattern_without_a_library_looks_in_all():
    found = matching("vit_b_32") + matching("test_vit?") + matching("vit-s-32-*")
    assert found == [
        "torchvision/vit_b_32", "timm/test_vit2", "timm/test_vit3", "timm/test_vit4",
        "open_clip/ViT-S-32-alt",
    ]  # fmt: skip


def test_tags_are_looked_through_where_no_plain_name_matches():
    assert matching("vit_small_patch14_dinov2.lvd") == ["timm/vit_small_patch14_dinov2.lvd142m"]
    assert matching("open_clip/ViT-B-32:openai") == ["open_clip/ViT-B-32:openai"]
    assert matching("no such backbone") == []


@pytest.mark.parametrize(
    "name", ["torchvision/resnet18", "timm/test_vit", "timm/test_convnext", "open_clip/ViT-tiny-8"]
)
def test_what_is_measured_is_what_is_built(name: str):
    row, backbone = measured(name, 64), make_backbone(name, size=64)
    features = backbone(torch.zeros(1, 3, 64, 64))
    assert row.parameters == sum(parameter.numel() for parameter in backbone.parameters())
    assert row.map is not None
    assert (1, row.channels, *row.map) == features.shape
    assert row.attention is backbone.has_attention
    assert row.stride == 64 // features.shape[2]


def test_the_normalisation_is_that_of_the_weights():
    half = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert measured("torchvision/vit_b_32", 64).normalisation == IMAGENET
    assert measured("timm/test_convnext", 64).normalisation == half
    clip = measured("open_clip/ViT-B-32:openai", 64).normalisation
    assert clip is not None
    assert clip.mean == (0.48145466, 0.4578275, 0.40821073)
    assert clip.std == (0.26862954, 0.26130258, 0.27577711)


def test_a_backbone_that_cannot_be_used_says_why():
    row = measured("torchvision/vit_b_16", 100)
    assert row.channels is None
    assert "do not divide into the patches of 16 px" in str(row.reason)
    assert "gives no feature map" in str(measured("torchvision/swin_t", 64).reason)


def test_a_library_that_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch):
    real = builtins.__import__

    def without(name: str, *others: Any) -> Any:
        if name.partition(".")[0] == "open_clip":
            raise ImportError(name)
        return real(name, *others)

    monkeypatch.delitem(sys.modules, "fgembed.backbones.from_open_clip", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    counts = {library.name: library.count for library in libraries()}
    assert counts["open_clip"] is None
    assert counts["torchvision"] == 81  # with the tests' own
    from fgembed.errors import MissingExtraError

    with pytest.raises(MissingExtraError, match=r"needs open_clip_torch; install it with .*train"):
        make_backbone("open_clip/ViT-B-32")


def test_the_command_lists_measures_and_says_what_it_left_out(command: Command):
    done = command("backbones", "torchvision/resnet*", "--size", "64", "--limit", "2")
    assert done.code == 0
    assert done.out.splitlines() == [
        "backbone               M params     C    map  stride  attention  normalisation",
        "torchvision/resnet101      42.5  2048  2 x 2      32  no         ImageNet",
        "torchvision/resnet152      58.1  2048  2 x 2      32  no         ImageNet",
        "torchvision/resnet18",
        "torchvision/resnet34",
        "torchvision/resnet50",
        "the last 3 of 5 are not measured; raise --limit to see more",
    ]


def test_the_command_as_json(command: Command):
    done = command("backbones", "timm/test_conv*", "--size", "64", "--limit", "1", "--json")
    table = json.loads(done.out)
    assert table["size"] == 64
    assert table["not_measured"] == ["timm/test_convnext2", "timm/test_convnext3"]
    (row,) = table["backbones"]
    assert (row["name"], row["map"], row["mean"]) == ("timm/test_convnext", [2, 2], [0.5] * 3)
    assert row["attention"] is False


def test_without_a_pattern_it_counts_the_libraries_and_leads_on(command: Command):
    lines = command("backbones").out.splitlines()
    assert [line.split()[0] for line in lines] == [
        "library", "torchvision", "timm", "open_clip", "next:",
    ]  # fmt: skip
    assert "fgembed backbones resnet" in lines[-1]


def test_a_pattern_that_matches_nothing_leads_on(command: Command):
    done = command("backbones", "rsnet99")
    assert done.code == 1
    assert done.err == (
        "error: no backbone matches 'rsnet99'; \"fgembed backbones\" lists the libraries\n"
    )
