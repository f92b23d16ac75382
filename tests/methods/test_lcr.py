"""LCR (arXiv:2303.01669) against its formula, and a test for each trap of its released code."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from fgembed.backbones import make_backbone
from fgembed.errors import ConfigError
from fgembed.methods.lcr import LCR
from fgembed.methods.ppssl import PPSSL
from fgembed.model.encoder import Encoder
from fgembed.model.pooling import GeMPooling, RationalePooling
from fgembed.resolve import read_recipe
from tests.conftest import TINY


def lcr(**settings: object) -> LCR:
    torch.manual_seed(0)
    backbone = make_backbone(TINY)
    config = LCR.Config.model_validate({"queue_size": 8, "dimensions": 16} | settings)
    return LCR(Encoder(backbone, RationalePooling(backbone.channels)), config).eval()


def views(batch: int = 4, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, 3, 32, 32, generator=generator) for _ in range(2)]


def parts(method: LCR, images: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """The CAM of the loss and A', from the same first step."""
    contrast, features = method.contrast(images)
    pooling = method.encoder.pooling
    assert isinstance(pooling, RationalePooling)
    return method.cam(contrast, features), pooling.response(features)


def first_step(method: LCR) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The feature map, the loss's gradient by it, and A', all constant."""
    contrast, features = method.contrast(views())
    (gradient,) = torch.autograd.grad(contrast, features, retain_graph=True)
    features = features.detach()
    return features, gradient, method.rationale_pooling.response(features).detach()


def test_the_rationale_term_equals_the_formula_written_out():
    loss = lcr()(views())["rationale"].detach()
    features, gradient, responses = first_step(lcr())
    expected = 0.0
    for b in range(4):
        cam = F.relu((features[b] * gradient[b]).sum(dim=0)).flatten()
        target = (cam / cam.max() / 0.4).softmax(dim=0)
        response = responses[b].flatten()
        answer = (response - response.min()) / (response.max() - response.min() + 1e-7)
        log_answer = (answer / 0.4).log_softmax(dim=0).detach()
        expected += float((target * (target.log() - log_answer)).sum())
    assert float(loss) == pytest.approx(1.28 * expected / 4, rel=1e-3)


def test_the_released_settings_give_the_released_loss():
    """Rows of their own, t = 1, raw CAM, min-max over the batch, 0.01 x sum."""
    released = {k: v for k, v in read_recipe("lcr-paper")["method"].items() if k != "name"}
    loss = lcr(**(released | {"queue_size": 8}))(views())["rationale"].detach()
    features, gradient, response = first_step(lcr())
    answer = (response - response.min()) / (1e-7 + (response - response.min()).max())
    total = 0.0
    for b in range(4):
        cam = F.relu((features[b] * gradient[b]).sum(dim=0))
        for i in range(cam.shape[0]):
            target = cam[i].softmax(dim=0)
            total += float((target * (target.log() - answer[b, i].log_softmax(dim=0))).sum())
    assert float(loss) == pytest.approx(0.01 * total, rel=1e-3)


def test_the_rationale_term_trains_detectors_and_encoder():
    method = lcr()
    method(views())["rationale"].backward()
    pooling = method.encoder.pooling
    assert isinstance(pooling, RationalePooling)
    for weight in (pooling.detectors.weight, next(method.encoder.backbone.parameters())):
        assert weight.grad is not None
        assert float(weight.grad.norm()) > 1e-6


def test_trap_1_a_raw_cam_of_a_mean_loss_is_nearly_flat_and_ours_is_not():
    """By default the target's peak is far above uniform; with the trap within 1 % of uniform."""
    peaks = {}
    for scale in ("peak", "none"):
        cam, _ = parts(lcr(cam_scale=scale), views())
        target = (cam.flatten(1) / 0.4).softmax(dim=1)
        peaks[scale] = float(target.max()) * target.shape[1]
    assert peaks["peak"] > 2
    assert peaks["none"] < 1.01


def test_trap_2_the_term_does_not_grow_with_the_batch():
    doubled = [torch.cat([view, view]) for view in views()]
    once, twice = lcr()(views())["rationale"], lcr()(doubled)["rationale"]
    torch.testing.assert_close(once, twice, rtol=1e-3, atol=1e-5)
    summed = [lcr(reduction="sum")(images)["rationale"] for images in (views(), doubled)]
    torch.testing.assert_close(2 * summed[0], summed[1], rtol=1e-3, atol=1e-5)


def test_trap_3_the_sign_selects_evidence_that_raises_or_lowers_the_loss():
    raising, _ = parts(lcr(cam_sign=1, cam_scale="none"), views())
    lowering, _ = parts(lcr(cam_sign=-1, cam_scale="none"), views())
    assert float((raising * lowering).abs().max()) == 0
    assert float(raising.max()) > 0
    assert float(lowering.max()) > 0


def test_trap_4_a_softmax_is_over_a_map_not_over_a_row():
    cam, _ = parts(lcr(), views())
    by_map = lcr()(views())["rationale"].detach()
    by_row = lcr(axis="row")(views())["rationale"].detach()
    assert cam.shape[1] > 1
    assert abs(float(by_map) - float(by_row)) > 1e-4


def test_trap_5_an_image_s_rationale_term_ignores_its_neighbours():
    """Scaled over the batch, one bright neighbour flattens every other map."""
    images = views()
    bright = [torch.cat([view[:2], 50 * view[2:]]) for view in images]
    for over, same in (("image", True), ("batch", False)):
        method = lcr(scale_over=over)
        maps = []
        for batch in (images, bright):
            maps.append(method.rationale_map(method.encoder.features(batch[0]))[:2])
        assert torch.allclose(maps[0], maps[1], atol=1e-5) is same


def test_the_scale_of_an_earlier_run_s_config_is_read():
    with pytest.warns(FutureWarning, match='"picture" is now called "image"'):
        assert LCR.Config.model_validate({"scale_over": "picture"}).scale_over == "image"
    assert LCR.Config().scale_over == "image"


def test_trap_6_the_cam_is_taken_in_float32_under_mixed_precision():
    method = lcr()
    with torch.autocast("cpu", torch.bfloat16):
        contrast, features = method.contrast(views())
        cam = method.cam(contrast, features)
    assert cam.dtype == torch.float32
    plain, _ = parts(lcr(), views())
    assert float(F.cosine_similarity(cam.flatten(1), plain.flatten(1)).min()) > 0.9


def test_the_target_takes_no_gradient_unless_requested():
    cam, _ = parts(lcr(), views())
    attached, _ = parts(lcr(detach_target=False), views())
    assert not cam.requires_grad
    assert attached.requires_grad


def test_the_paper_recipe_holds_every_setting_of_the_released_code():
    settings: dict[str, Any] = read_recipe("lcr-paper")["method"]
    assert settings == {
        "name": "lcr",
        "queue_size": 65536,
        "weight": 0.01,
        "reduction": "sum",
        "map_temperature": 1.0,
        "axis": "row",
        "cam_scale": "none",
        "detach_target": False,
        "scale_over": "batch",
    }


@pytest.mark.parametrize(("method", "name"), [(LCR, "lcr"), (PPSSL, "ppssl")])
def test_a_pooling_that_is_not_trained_is_refused_in_the_method_s_name(
    method: type[LCR], name: str
):
    encoder = Encoder(make_backbone(TINY), GeMPooling())
    with pytest.raises(
        ConfigError, match=f"^{name} trains rationale.* 'gem'; set pooling.kind to 'auto'"
    ):
        method(encoder, method.Config())
