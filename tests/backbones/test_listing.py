"""`fgembed backbones`: names by pattern, and their properties without allocating memory."""

import builtins
import json
import sys
from typing import Any

import pytest
import torch

from fgembed.backbones import make_backbone
from fgembed.backbones.family import IMAGENET
from fgembed.backbones.listing import find_backbones, list_libraries, measure_backbone
from tests.conftest import Command


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("torchvision/resnet*", ["101", "152", "18", "34", "50"]),
        ("torchvision/ResNet1", ["101", "152", "18"]),
        ("torchvision/resnet18:layer3", ["18:layer3"]),
    ],
)
def test_a_pattern_matches_full_names_or_parts(pattern: str, expected: list[str]):
    assert find_backbones(pattern) == [f"torchvision/resnet{end}" for end in expected]


def test_a_pattern_without_a_library_searches_all():
    names = find_backbones("vit_b_32") + find_backbones("test_vit?") + find_backbones("vit-s-32-*")
    assert names == [
        "torchvision/vit_b_32", "timm/test_vit2", "timm/test_vit3", "timm/test_vit4",
        "open_clip/ViT-S-32-alt",
    ]  # fmt: skip


def test_tags_are_searched_if_no_plain_name_matches():
    assert find_backbones("vit_small_patch14_dinov2.lvd") == [
        "timm/vit_small_patch14_dinov2.lvd142m"
    ]
    assert find_backbones("open_clip/ViT-B-32:openai") == ["open_clip/ViT-B-32:openai"]
    assert find_backbones("no such backbone") == []


@pytest.mark.parametrize(
    "name", ["torchvision/resnet18", "timm/test_vit", "timm/test_convnext", "open_clip/ViT-tiny-8"]
)
def test_measured_properties_are_those_of_the_built_backbone(name: str):
    row, backbone = measure_backbone(name, 64), make_backbone(name, size=64)
    features = backbone(torch.zeros(1, 3, 64, 64))
    assert row.parameters == sum(parameter.numel() for parameter in backbone.parameters())
    assert row.map is not None
    assert (1, row.channels, *row.map) == features.shape
    assert row.attention is backbone.has_attention
    assert row.stride == 64 // features.shape[2]


def test_the_normalisation_is_that_of_the_weights():
    half = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert measure_backbone("torchvision/vit_b_32", 64).normalisation == IMAGENET
    assert measure_backbone("timm/test_convnext", 64).normalisation == half
    clip = measure_backbone("open_clip/ViT-B-32:openai", 64).normalisation
    assert clip is not None
    assert clip.mean == (0.48145466, 0.4578275, 0.40821073)
    assert clip.std == (0.26862954, 0.26130258, 0.27577711)


def test_an_unusable_backbone_gives_the_reason():
    row = measure_backbone("torchvision/vit_b_16", 100)
    assert row.channels is None
    assert "do not divide into the patches of 16 px" in str(row.reason)
    assert "gives no feature map that fgembed can read; choose" in str(
        measure_backbone("torchvision/swin_t", 64).reason
    )


def test_a_library_that_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch):
    real = builtins.__import__

    def without(name: str, *arguments: Any) -> Any:
        if name.partition(".")[0] == "open_clip":
            raise ImportError(name)
        return real(name, *arguments)

    monkeypatch.delitem(sys.modules, "fgembed.backbones.from_open_clip", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    counts = {library.name: library.count for library in list_libraries()}
    assert counts["open_clip"] is None
    assert counts["torchvision"] == 81  # with the tests' own
    from fgembed.errors import MissingExtraError

    with pytest.raises(MissingExtraError, match=r"needs open_clip_torch; install it with .*train"):
        make_backbone("open_clip/ViT-B-32")


def test_the_command_measures_up_to_the_limit_and_lists_the_rest(command: Command):
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


def test_without_a_pattern_it_counts_the_libraries_and_names_the_next_command(command: Command):
    lines = command("backbones").out.splitlines()
    assert [line.split()[0] for line in lines] == [
        "library", "torchvision", "timm", "open_clip", "next:",
    ]  # fmt: skip
    assert "fgembed backbones resnet" in lines[-1]


def test_a_pattern_without_match_is_an_error_with_a_remedy(command: Command):
    done = command("backbones", "rsnet99")
    assert done.code == 1
    assert done.err == (
        "error: no backbone matches 'rsnet99'; \"fgembed backbones\" lists the libraries\n"
    )
