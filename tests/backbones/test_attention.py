"""The class token's attention: by value, in one forward pass, leaving the module unchanged."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fgembed.backbones import Backbone, make_backbone
from fgembed.backbones.attention import first_row
from fgembed.errors import ConfigError
from fgembed.methods.components.momentum import key_copy
from tests.backbones.conftest import SIZE


def blocks(backbone: Backbone) -> list[Any]:
    """(norm before, attention) of each layer, whatever the library calls them."""
    trunk: Any = backbone.trunk
    if backbone.name.startswith("torchvision"):
        return [(layer.ln_1, layer.self_attention, layer) for layer in trunk.encoder.layers]
    if backbone.name.startswith("timm"):
        return [(block.norm1, block.attn, block) for block in trunk.model.blocks]
    return [(block.ln_1, block.attn, block) for block in trunk.visual.transformer.resblocks]


def inputs(backbone: Backbone, images: Tensor) -> list[Tensor]:
    """The input of each layer."""
    captured: list[Tensor] = []
    hooks = [
        block.register_forward_pre_hook(lambda module, args: captured.append(args[0]))
        for _, _, block in blocks(backbone)
    ]
    backbone(images)
    for hook in hooks:
        hook.remove()
    return captured


def by_hand(backbone: Backbone, images: Tensor) -> Tensor:
    """Each layer's softmax(q k^T / sqrt(d)) written out head by head: (L, B, h, w)."""
    layers = []
    for (norm, attention, _), tokens in zip(
        blocks(backbone), inputs(backbone, images), strict=True
    ):
        fused = isinstance(attention, nn.MultiheadAttention)
        weight = attention.in_proj_weight if fused else attention.qkv.weight
        bias = attention.in_proj_bias if fused else attention.qkv.bias
        query, key, _ = (norm(tokens) @ weight.T + bias).chunk(3, dim=2)
        width = query.shape[2] // attention.num_heads
        rows = []
        for head in range(attention.num_heads):
            part = slice(head * width, (head + 1) * width)
            scores = query[:, :, part] @ key[:, :, part].transpose(1, 2) / width**0.5
            rows.append(scores.softmax(dim=2)[:, 0, 1:])
        layers.append(torch.stack(rows).mean(dim=0).unflatten(1, backbone.grid))
    return torch.stack(layers)


@torch.no_grad()
def test_attention_is_the_class_token_s_row_in_every_layer(vit: Backbone, images: Tensor):
    attention = vit.attention(images)
    expected = by_hand(vit, images)
    torch.testing.assert_close(attention, expected, rtol=1e-4, atol=1e-6)
    assert float(expected.amax(dim=(2, 3)).max()) > 2 / expected[0, 0].numel()  # far from uniform


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("gradients", [False, True])
def test_capture_changes_neither_features_nor_summary(
    vit: Backbone, images: Tensor, training: bool, gradients: bool
):
    vit.train(training)
    with torch.set_grad_enabled(gradients):
        features, summary = vit.read(images)
        attended = vit.attend(images)
    assert torch.equal(attended.features, features)
    assert torch.equal(attended.summary, summary)
    assert attended.attention.requires_grad is gradients
    assert attended.attention.dtype == torch.float32


def test_attention_takes_a_single_forward_pass(vit: Backbone, images: Tensor):
    calls: list[int] = []
    for _, attention, _ in blocks(vit):
        attention.register_forward_hook(lambda *_: calls.append(1))
    vit.attend(images)
    assert len(calls) == len(blocks(vit))


def test_attention_takes_a_gradient_to_the_queries(vit: Backbone, images: Tensor):
    vit.attention(images)[-1, :, 0, 0].sum().backward()
    weight = next(
        p for n, p in vit.named_parameters() if "qkv.weight" in n or "in_proj_weight" in n
    )
    assert weight.grad is not None
    assert float(weight.grad.abs().max()) > 0


@torch.no_grad()
def test_a_momentum_copy_attends_like_its_query_and_not_through_it(vit: Backbone, images: Tensor):
    key = key_copy(vit)
    expected = vit.attention(images)
    for parameter in vit.parameters():
        parameter.zero_()
    assert torch.equal(key.attention(images), expected)
    assert torch.equal(copy.deepcopy(key).attention(images), expected)


def test_hooks_and_modes_are_removed_after_a_failure(vit: Backbone, images: Tensor):
    hooks = [len(module._forward_pre_hooks) for module in vit.modules()]
    last = blocks(vit)[-1][2]
    handle = last.register_forward_pre_hook(_fail)
    for _, attention, _ in blocks(vit):
        if hasattr(attention, "fused_attn"):
            attention.fused_attn = False
    with pytest.raises(ZeroDivisionError):
        vit.attend(images)
    handle.remove()
    assert [len(module._forward_pre_hooks) for module in vit.modules()] == hooks
    assert not any(getattr(attention, "fused_attn", False) for _, attention, _ in blocks(vit))
    from torch.overrides import _get_current_function_mode_stack

    assert _get_current_function_mode_stack() == []


def _fail(*_: object) -> None:
    raise ZeroDivisionError


@torch.no_grad()
def test_timm_s_unfused_attention_is_read_too(images: Tensor):
    backbone = make_backbone("timm/test_vit", size=SIZE).eval()
    expected = backbone.attention(images)
    for block in backbone.trunk.model.blocks:  # type: ignore[union-attr]
        block.attn.fused_attn = False
    torch.testing.assert_close(backbone.attention(images), expected)
    assert not any(block.attn.fused_attn for block in backbone.trunk.model.blocks)  # type: ignore[union-attr]


@torch.no_grad()
def test_attention_is_computed_in_float32_under_mixed_precision(vit: Backbone, images: Tensor):
    exact = vit.attention(images)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = vit.attention(images)
    assert mixed.dtype == torch.float32
    assert float((mixed - exact).abs().mean()) < 0.02
    query, key = torch.randn(2, 1, 2, 5, 8).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        row = first_row(query, key, 8**-0.5)
    expected = (query.float() @ key.float().mT / 8**0.5).softmax(dim=3)[:, :, 0].mean(dim=1)
    torch.testing.assert_close(row, expected)


@torch.no_grad()
@pytest.mark.parametrize("name", ["vit_small_patch16_dinov3", "beit_base_patch16_224"])
def test_rotated_and_biased_attention_equals_the_layer_s(name: str, images: Tensor):
    """EVA rotates queries and keys, BEiT adds a position bias; both after the projections."""
    import timm

    from fgembed.backbones.timm_trunk import TimmTokens

    torch.manual_seed(0)
    model: Any = timm.create_model(
        name, embed_dim=32, depth=2, num_heads=2, img_size=SIZE, num_classes=0
    )
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    trunk = TimmTokens(model).eval()
    attention = trunk.attend(images).attention
    full: list[Tensor] = []
    for block in model.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_pre_hook(lambda _, args: full.append(args[0]))
    trunk(images)
    expected = torch.stack([x.mean(dim=1)[:, 0, trunk.prefix :] for x in full])
    torch.testing.assert_close(attention.flatten(2), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["timm/test_resnet", "timm/test_vit2", "torchvision/resnet18"])
def test_attention_of_a_backbone_without_a_class_token_is_refused(name: str, images: Tensor):
    backbone = make_backbone(name, size=SIZE)
    assert not backbone.has_attention
    with pytest.raises(ConfigError, match=f"{name} has no attention between a class token and"):
        backbone.attention(images)
