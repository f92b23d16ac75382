"""LoDisc (arXiv:2403.04066) against its formula, and a test for each trap of its released code."""

from typing import Any

import pytest
import torch

from fgembed.backbones import make_backbone
from fgembed.errors import ConfigError
from fgembed.methods.components.momentum import update_keys
from fgembed.methods.lodisc import LoDisc, pivotal_patches, pivotal_pixels
from fgembed.model.encoder import Encoder
from fgembed.model.pooling import ClassTokenPooling, Pooling, PredictorPooling
from tests.conftest import TINY, TINY_VIT
from tests.methods.test_mocov3 import ctr_in_loops

SIDE = 64  # 4 x 4 patches


def lodisc(pooling: Pooling | None = None, **settings: Any) -> LoDisc:
    torch.manual_seed(0)
    values = {"dimensions": 16, "hidden": 32, "dropout": 0.0} | settings
    encoder = Encoder(make_backbone(TINY_VIT, size=SIDE), pooling or ClassTokenPooling())
    return LoDisc(encoder, LoDisc.Config.model_validate(values))


def views(seed: int = 1) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(4, 3, SIDE, SIDE, generator=generator) for _ in range(2)]


def attention(layers: int = 12, patches: int = 14) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(layers, 2, patches * patches, generator=generator)
    return logits.softmax(dim=2).reshape(layers, 2, patches, patches)


def test_the_mask_keeps_58_of_196_patches_as_the_published_threshold_does():
    """Sorted downwards, the threshold is the value at index floor(0.3 x 196) = 58."""
    rows = attention()
    mask = pivotal_patches(rows, 0.3)
    assert mask.sum(dim=(1, 2)).tolist() == [58, 58]
    for b in range(2):
        product = [1.0] * 196
        for layer in range(12):
            for i in range(196):
                product[i] *= float(rows[layer, b].flatten()[i])
        threshold = sorted(product, reverse=True)[58]
        assert mask[b].flatten().tolist() == [float(value > threshold) for value in product]


def test_masked_pixels_are_zero_in_full_patches_and_all_else_is_untouched():
    images = torch.randn(2, 3, 224, 224)
    mask = pivotal_patches(attention(), 0.3)
    masked = pivotal_pixels(images, mask)
    for b, i, j in ((0, 0, 0), (1, 13, 13), (0, 6, 7), (1, 3, 9)):
        block = (b, slice(None), slice(16 * i, 16 * i + 16), slice(16 * j, 16 * j + 16))
        expected = images[block] if mask[b, i, j] else torch.zeros(3, 16, 16)
        torch.testing.assert_close(masked[block], expected)


def test_the_loss_equals_the_formula():
    method = lodisc().train()  # in evaluation mode random weights see all images as one
    images = views()
    terms = {name: float(term.detach()) for name, term in method(images).items()}
    with torch.no_grad():
        queries = [method.query(view) for view in images]
        keys, local = [], []
        for view in images:
            attended = method.key_backbone.attend(view)
            keys.append(method.key_projector(attended.summary))
            strength = attended.attention.log().sum(dim=0).flatten(1)  # 16 patches, 4 pivotal
            masked = view.clone()
            for b in range(4):
                for patch in strength[b].argsort(descending=True)[4:].tolist():
                    row, column = 16 * (patch // 4), 16 * (patch % 4)
                    masked[b, :, row : row + 16, column : column + 16] = 0
            local.append(method.key_projector(method.key_backbone.read(masked)[1]))
    for name, target in (("global", keys), ("local", local)):
        first = ctr_in_loops(queries[0], target[1], 0.2)
        second = ctr_in_loops(queries[1], target[0], 0.2)
        assert terms[name] == pytest.approx(first + second, rel=1e-4)


def test_trap_1_the_projector_is_on_all_branches_unless_switched_off():
    assert isinstance(lodisc().key_projector, torch.nn.Sequential)
    released = lodisc(use_projector=False).eval()
    token = released.key_backbone.read(views()[0])[1]
    torch.testing.assert_close(released.key(views()[0]), token)
    assert released.query(views()[0]).shape == token.shape


def test_trap_2_keys_move_once_a_step_and_four_times_only_on_request():
    assert lodisc().momentum() == pytest.approx(0.99)
    four_times, repeated = lodisc(ema_repeats=4), lodisc()
    for method, moves in ((four_times, 1), (repeated, 4)):
        with torch.no_grad():
            for parameter in method.encoder.parameters():
                parameter.add_(1.0)
        for _ in range(moves):
            update_keys(method.momentum_pairs(), method.momentum())
    torch.testing.assert_close(
        dict(four_times.key_backbone.state_dict()), dict(repeated.key_backbone.state_dict())
    )


def test_trap_3_no_network_sees_a_view_oftener_than_the_loss_needs(
    monkeypatch: pytest.MonkeyPatch,
):
    """Two queries; two keys that also give the attention; two local keys. No logging pass."""
    method = lodisc().train()
    passes = {"query": 0, "key": 0}
    for name, backbone in (("query", method.encoder.backbone), ("key", method.key_backbone)):
        patches = backbone.patch_projection()
        assert patches is not None

        def count(*_: object, name: str = name) -> None:
            passes[name] += 1

        patches.register_forward_hook(count)
    method(views())
    assert passes == {"query": 2, "key": 4}


def test_trap_4_the_patch_projection_is_trained_as_in_the_released_code():
    method = lodisc().train()
    torch.stack(list(method(views()).values())).sum().backward()
    patches = method.encoder.backbone.patch_projection()
    assert patches is not None
    assert all(parameter.grad is not None for parameter in patches.parameters())


def test_trap_5_the_log_sum_ranks_as_the_product_and_does_not_vanish():
    rows = attention(patches=4)
    plain = pivotal_patches(rows, 0.3)
    assert torch.equal(plain, pivotal_patches(rows, 0.3, "scaled"))
    deep = attention(layers=60)  # 60 factors near 1/196 vanish in float32, and 1000 x too many
    exact = deep.double().log().sum(dim=0).flatten(1)
    expected = exact.topk(58, dim=1).indices.sort(dim=1).values
    pivotal = pivotal_patches(deep, 0.3).flatten(1).nonzero()[:, 1].reshape(2, 58)
    assert torch.equal(pivotal, expected)
    assert not torch.isfinite((1000 * deep).prod(dim=0)).all()


def test_the_attention_of_half_precision_is_multiplied_in_float32():
    rows = attention(patches=4).half()
    assert torch.equal(pivotal_patches(rows, 0.3), pivotal_patches(rows.float(), 0.3))


def test_no_gradient_reaches_the_local_branch():
    method = lodisc().train()
    method(views())["local"].backward()
    assert all(parameter.grad is None for parameter in method.key_backbone.parameters())
    assert float(next(method.predictor.parameters()).grad.abs().sum()) > 0  # type: ignore[union-attr]


def test_the_released_reading_exports_the_predictor_that_was_trained():
    torch.manual_seed(0)
    pooling = PredictorPooling(64)
    method = lodisc(pooling, use_projector=False, hidden=4096, dropout=0.2).eval()
    names = [name for name in method.state_dict() if "predictor" in name]
    assert all(name.startswith("encoder.pooling.") for name in names)  # stored once
    image = views()[0]
    expected = torch.nn.functional.normalize(method.query(image), dim=1)
    torch.testing.assert_close(method.encoder(image), expected)


def test_a_predictor_of_projections_cannot_read_class_tokens():
    with pytest.raises(ConfigError, match=r"set method\.use_projector=false"):
        lodisc(PredictorPooling(64))


def test_a_predictor_of_another_width_than_the_pooling_s_is_refused():
    with pytest.raises(
        ConfigError, match=r"4096 wide with dropout 0\.2, got method\.hidden = 32 .*; leave out"
    ):
        lodisc(PredictorPooling(64), use_projector=False, hidden=32)


def test_a_convolutional_backbone_is_refused():
    with pytest.raises(ConfigError, match=r"resnet18:layer1 has no attention.*vision transformer"):
        LoDisc(Encoder(make_backbone(TINY), ClassTokenPooling()), LoDisc.Config())


def test_the_report_shows_the_mask_and_the_view_under_it():
    method = lodisc().train()
    shown = method.illustrate(views())
    assert method.training
    assert shown["mask"].sum(dim=(1, 2)).tolist() == [4.0] * 4
    torch.testing.assert_close(shown["pivotal"], pivotal_pixels(views()[0], shown["mask"]))
