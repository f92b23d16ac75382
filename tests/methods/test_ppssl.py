"""PP-SSL against its formulas, and one test for each trap of the released code (METHODS.md 3.7)."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from fgembed.backbones import make_backbone
from fgembed.config import ViewSettings, read_recipe
from fgembed.encoder import Encoder
from fgembed.images import Preprocessing
from fgembed.losses import description_kl
from fgembed.methods.ppssl import PPSSL, ViewsForTeacher
from fgembed.pooling import RationalePooling
from tests.conftest import TINY
from tests.teachers import tiny_teacher


def ppssl(**settings: Any) -> PPSSL:
    torch.manual_seed(0)
    backbone = make_backbone(TINY)
    given = {"queue_size": 8, "dimensions": 16} | tiny_teacher() | settings
    encoder = Encoder(backbone, RationalePooling(backbone.channels))
    return PPSSL(encoder, PPSSL.Config.model_validate(given)).eval()


def views(batch: int = 4, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    first, second = (torch.randn(batch, 3, 32, 32, generator=generator) for _ in range(2))
    return [first, second, (0.2 * first + 0.5).clamp(0, 1)]


def picture_cam_in_loops(method: PPSSL, pictures: list[torch.Tensor]) -> torch.Tensor:
    """ReLU(sum_c x_c dL/dx_c), its maximum over 4 x 4 pixels a cell: (B, 8, 8)."""
    leaf = pictures[0].clone().requires_grad_()
    contrast, _ = method.contrast([leaf, pictures[1]])
    (gradient,) = torch.autograd.grad(contrast, leaf)
    product = leaf.detach() * gradient
    cells = torch.zeros(len(leaf), 8, 8)
    for b in range(len(leaf)):
        for i in range(8):
            for j in range(8):
                block = (b, slice(None), slice(4 * i, 4 * i + 4), slice(4 * j, 4 * j + 4))
                cells[b, i, j] = float(product[block].sum(dim=0).clamp(min=0).max())
    return cells


def kl(target: torch.Tensor, answer: torch.Tensor) -> float:
    return float((target * (target.log() - answer.log())).sum())


def test_the_iadm_term_equals_the_formula():
    """Target: the picture's CAM over its peak; answer: A; both softmax(. / 0.4) over the map."""
    loss = float(ppssl()(views())["iadm"].detach())
    method = ppssl()
    cells = picture_cam_in_loops(method, views())
    features = method.encoder.features(views()[0]).detach()
    answer = method.rationale_map(features).detach()
    expected = 0.0
    for b in range(4):
        target = (cells[b].flatten() / cells[b].max() / 0.4).softmax(dim=0)
        expected += kl(target, (answer[b].flatten() / 0.4).softmax(dim=0))
    assert float(loss) == pytest.approx(1.28 * expected / 4, rel=1e-3)


def test_the_ais_term_equals_the_formula():
    method = ppssl()
    loss = float(method(views())["ais"].detach())
    teacher = method.teacher
    assert teacher is not None
    features = method.encoder.features(views()[0]).detach()
    rationale = method.rationale_map(features).detach()
    truth = teacher.likeness(views()[2])
    expected = 0.0
    for b in range(4):
        mean = torch.zeros(features.shape[1])
        for i in range(8):
            for j in range(8):
                mean += rationale[b, i, j] * features[b, :, i, j] / 64
        answer = method.to_teacher(mean / mean.norm()).detach()
        answer = answer / answer.norm()
        logits = torch.tensor([100 * float(answer @ text) for text in teacher.texts])
        expected += kl(truth[b], logits.softmax(dim=0))
    assert loss == pytest.approx(0.15 * expected / 4, rel=1e-3)


def test_the_released_settings_give_the_released_iadm():
    """A map of bare pixels through the shared norm; rows, t = 1, raw CAM, batch, 0.01 x sum."""
    released = {k: v for k, v in read_recipe("ppssl-paper")["method"].items() if k != "name"}
    settings = released | {"queue_size": 8} | tiny_teacher()
    loss = float(ppssl(**settings)(views())["iadm"].detach())
    method = ppssl(**settings)
    cells = picture_cam_in_loops(method, views())
    pooling = method.encoder.pooling
    assert isinstance(pooling, RationalePooling)
    with torch.no_grad():
        maps = F.relu(pooling.norm(method.pixel_detectors(views()[0]))).amax(dim=1)
    maps = (maps - maps.min()) / ((maps - maps.min()).max() + 1e-7)
    answer = F.max_pool2d(maps[:, None], 4)[:, 0]
    expected = 0.0
    for b in range(4):
        for i in range(8):
            expected += kl(cells[b, i].softmax(dim=0), answer[b, i].softmax(dim=0))
    assert loss == pytest.approx(0.01 * expected, rel=1e-3)


def encoder_gradients(method: PPSSL, term: str) -> list[float]:
    method(views())[term].backward()
    parameters = list(method.encoder.backbone.parameters())
    return [0.0 if p.grad is None else float(p.grad.abs().sum()) for p in parameters]


def test_trap_1_the_released_iadm_gives_the_encoder_no_gradient_and_ours_does():
    released = ppssl(iadm="released")
    released(views())["iadm"].backward()
    assert all(p.grad is None for p in released.encoder.backbone.parameters())
    assert all(p.grad is None for p in released.projector.parameters())
    assert released.pixel_detectors.weight.grad is not None
    for mode in ("feature", "multi"):
        assert all(total > 0 for total in encoder_gradients(ppssl(iadm=mode), "iadm"))


def test_trap_1_the_released_iadm_moves_the_rationale_s_running_statistics():
    """Its only influence on the exported model: pixel statistics in the shared batch norm."""
    means = {}
    for mode in ("released", "off"):
        method = ppssl(iadm=mode).train()
        method(views())
        pooling = method.encoder.pooling
        assert isinstance(pooling, RationalePooling)
        means[mode] = pooling.norm.running_mean
    assert not torch.allclose(means["released"], means["off"], atol=1e-3)  # type: ignore[arg-type]


def test_trap_2_a_raw_image_cam_is_nearly_flat_and_ours_is_not():
    for scale, peaked in (("peak", True), ("none", False)):
        method = ppssl(cam_scale=scale)
        leaf = views()[0].requires_grad_()
        contrast, features = method.contrast([leaf, views()[1]])
        cam = method._scaled(method._pooled(method.picture_cam(contrast, leaf), features))
        target = (cam.flatten(1) / 0.4).softmax(dim=1)
        assert (float(target.max()) * target.shape[1] > 1.5) is peaked


def test_trap_3_the_teacher_sees_its_own_normalisation_whatever_the_student_s():
    method = ppssl()
    teacher = method.teacher
    assert teacher is not None
    pixels = views()[2]
    given: list[torch.Tensor] = []
    handle = teacher.model.visual.register_forward_pre_hook(
        lambda _, inputs: given.append(inputs[0])
    )
    method(views())
    handle.remove()
    visual = teacher.model.visual
    mean = torch.tensor(visual.preprocess_cfg["mean"]).view(1, 3, 1, 1)
    std = torch.tensor(visual.preprocess_cfg["std"]).view(1, 3, 1, 1)
    torch.testing.assert_close(given[0], (pixels - mean) / std)


def test_trap_3_the_third_view_is_the_first_in_zero_to_one():
    spec = Preprocessing(size=32)
    picture = Image.effect_noise((60, 60), 80).convert("RGB")
    first, _, pixels = ViewsForTeacher(ViewSettings(), spec)(picture)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (spec.mean, spec.std))
    torch.testing.assert_close((pixels - mean) / std, first)
    assert float(pixels.min()) >= -1e-6
    assert float(pixels.max()) <= 1 + 1e-6


def test_trap_4_ais_is_an_average_over_pictures_eight_times_the_released_one():
    target = torch.rand(5, 8).softmax(dim=1)
    logits = torch.randn(5, 8)
    expected = sum(kl(target[b], logits[b].softmax(dim=0)) for b in range(5)) / 5
    assert float(description_kl(target, logits)) == pytest.approx(expected, rel=1e-4)
    released = float(description_kl(target, logits, "elements"))
    assert expected / released == pytest.approx(8)
    assert 1.2 * released == pytest.approx(0.15 * expected)


def test_multi_averages_the_picture_s_cam_and_the_feature_map_s():
    loss = float(ppssl(iadm="multi")(views())["iadm"].detach())
    method = ppssl()
    cells = picture_cam_in_loops(method, views())
    other = ppssl()
    contrast, features = other.contrast(views())
    cam = other.cam(contrast, features).detach()
    answer = other.rationale_map(features).detach()
    expected = 0.0
    for b in range(4):
        target = (cells[b] / cells[b].max() + cam[b]) / 2
        expected += kl(
            (target.flatten() / 0.4).softmax(dim=0), (answer[b].flatten() / 0.4).softmax(dim=0)
        )
    assert loss == pytest.approx(1.28 * expected / 4, rel=1e-3)


def test_off_leaves_moco_and_ais_and_without_ais_there_is_no_teacher():
    assert set(ppssl(iadm="off")(views())) == {"contrast", "ais"}
    alone = ppssl(ais_weight=0, teacher_weights="nowhere.pt")
    assert set(alone(views())) == {"contrast", "iadm"}
    assert alone.teacher is None


def test_the_teacher_is_in_no_state_no_parameter_group_and_no_encoder():
    method = ppssl()
    names = " ".join(method.state_dict())
    assert "teacher." not in names.replace("to_teacher.", "")
    assert "visual" not in names
    teacher = method.teacher
    assert teacher is not None
    own = {id(parameter) for parameter in teacher.model.parameters()}
    assert not own & {id(parameter) for parameter in method.parameters()}
    assert not any(parameter.requires_grad for parameter in teacher.model.parameters())
    assert set(method.encoder.state_dict()) == set(
        Encoder(make_backbone(TINY), RationalePooling(64)).state_dict()
    )


def test_the_contrast_is_moco_s_and_the_cam_takes_no_second_order():
    method = ppssl()
    plain = ppssl(iadm="off", ais_weight=0)
    torch.testing.assert_close(method(views())["contrast"], plain(views())["contrast"])
    leaf = views()[0].requires_grad_()
    contrast, _ = method.contrast([leaf, views()[1]])
    assert not method.picture_cam(contrast, leaf).requires_grad


def test_mixed_precision_keeps_cam_and_logits_in_float32():
    method = ppssl()
    with torch.autocast("cpu", torch.bfloat16):
        terms = method(views())
        leaf = views()[0].requires_grad_()
        contrast, _ = method.contrast([leaf, views()[1]])
        assert method.picture_cam(contrast, leaf).dtype == torch.float32
    assert terms["ais"].dtype == torch.float32
    assert all(math.isfinite(term.item()) for term in terms.values())


def test_a_corpus_of_one_s_own_decides_what_is_compared(tmp_path: Path):
    corpus = tmp_path / "corpus.toml"
    corpus.write_text('[descriptions]\nbolt = "a metal bolt"\nnut = "a metal nut"\n')
    teacher = ppssl(corpus=str(corpus)).teacher
    assert teacher is not None
    assert teacher.texts.shape[0] == 2
