"""PP-SSL (arXiv:2412.00134) against its formulas."""

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from fgembed.backbones import make_backbone
from fgembed.errors import ConfigError
from fgembed.model.encoder import Encoder
from fgembed.model.pooling import RationalePooling
from tests.conftest import TINY
from tests.methods.ppssl_parts import (
    encoder_gradients,
    image_cam_in_loops,
    kl,
    ppssl,
    rationale_by_image,
    released_settings,
    views,
)
from tests.methods.test_moco import moco


def test_the_iadm_term_equals_the_formula():
    """Target: the image's CAM over its peak; answer: A; both softmax(. / 0.4) over the map."""
    loss = float(ppssl()(views())["iadm"].detach())
    method = ppssl()
    cells = image_cam_in_loops(method, views())
    features = method.encoder.features(views()[0]).detach()
    answer = rationale_by_image(method, features)
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
    rationale = rationale_by_image(method, features)
    truth = teacher.similarity(views()[2])
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
    settings = released_settings()
    loss = float(ppssl(**settings)(views())["iadm"].detach())
    method = ppssl(**settings)
    cells = image_cam_in_loops(method, views())
    with torch.no_grad():
        maps = F.relu(method.rationale_pooling.norm(method.pixel_detectors(views()[0]))).amax(dim=1)
    maps = (maps - maps.min()) / ((maps - maps.min()).max() + 1e-7)
    answer = F.max_pool2d(maps[:, None], 4)[:, 0]
    expected = 0.0
    for b in range(4):
        for i in range(8):
            expected += kl(cells[b, i].softmax(dim=0), answer[b, i].softmax(dim=0))
    assert loss == pytest.approx(0.01 * expected, rel=1e-3)


def test_the_released_settings_give_the_released_ais():
    """1.2 / (B S) x KL, the teacher fed what the student is fed, A scaled over the batch."""
    method = ppssl(**released_settings())
    teacher = method.teacher
    assert teacher is not None
    inputs: list[torch.Tensor] = []
    handle = teacher.model.visual.register_forward_pre_hook(lambda _, x: inputs.append(x[0]))
    loss = float(method(views())["ais"].detach())
    handle.remove()
    torch.testing.assert_close(inputs[0], views()[0])
    truth = teacher.similarity(views()[0], normalised=True)
    with torch.no_grad():
        features = method.encoder.features(views()[0])
        response = method.rationale_pooling.response(features)
        response = response - response.min()
        pooled = (features * (response / (response.max() + 1e-7))[:, None]).mean(dim=(2, 3))
        answer = F.normalize(method.to_teacher(F.normalize(pooled, dim=1)), dim=1)
        logits = 100 * answer @ teacher.texts.T
    expected = sum(kl(truth[b], logits[b].softmax(dim=0)) for b in range(4))
    assert loss == pytest.approx(1.2 * expected / (4 * 8), rel=1e-3)


def test_multi_averages_the_image_s_cam_and_the_feature_map_s():
    loss = float(ppssl(iadm="multi")(views())["iadm"].detach())
    method = ppssl()
    cells = image_cam_in_loops(method, views())
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


def test_off_leaves_moco_and_ais_and_without_ais_no_teacher_is_loaded():
    assert set(ppssl(iadm="off")(views())) == {"contrast", "ais"}
    alone = ppssl(ais_weight=0, teacher_weights="nowhere.pt")
    assert set(alone(views())) == {"contrast", "iadm"}
    assert alone.teacher is None


def test_ais_trains_encoder_rationale_and_its_linear_layer():
    method = ppssl()
    assert all(total > 0 for total in encoder_gradients(method, "ais"))
    for weight in (method.rationale_pooling.detectors.weight, method.to_teacher.weight):
        assert weight.grad is not None
        assert float(weight.grad.abs().sum()) > 0


@pytest.mark.parametrize("iadm", ["released", "off"])
def test_settings_that_leave_the_rationale_untrained_are_refused(iadm: str):
    with pytest.raises(ConfigError, match=r"nothing trains the rationale; set method\.iadm to"):
        ppssl(iadm=iadm, ais_weight=0)


def test_the_teacher_is_in_no_state_no_parameter_group_and_no_encoder():
    method = ppssl()
    names = " ".join(method.state_dict())
    assert "teacher." not in names.replace("to_teacher.", "")
    assert "visual" not in names
    teacher = method.teacher
    assert teacher is not None
    frozen = {id(parameter) for parameter in teacher.model.parameters()}
    assert not frozen & {id(parameter) for parameter in method.parameters()}
    assert not any(parameter.requires_grad for parameter in teacher.model.parameters())
    assert set(method.encoder.state_dict()) == set(
        Encoder(make_backbone(TINY), RationalePooling(64)).state_dict()
    )


def test_the_contrast_is_moco_s_and_the_cam_takes_no_second_order():
    method = ppssl()
    plain = moco().eval()
    state = method.state_dict()
    plain.load_state_dict({name: state[name] for name in plain.state_dict()})
    torch.testing.assert_close(method(views())["contrast"], plain(views())["contrast"])
    leaf = views()[0].requires_grad_()
    contrast, _ = method.contrast([leaf, views()[1]])
    assert not method.image_cam(contrast, leaf).requires_grad


def test_mixed_precision_keeps_cam_and_logits_in_float32():
    method = ppssl()
    with torch.autocast("cpu", torch.bfloat16):
        terms = method(views())
        leaf = views()[0].requires_grad_()
        contrast, _ = method.contrast([leaf, views()[1]])
        assert method.image_cam(contrast, leaf).dtype == torch.float32
    assert terms["ais"].dtype == torch.float32
    assert all(math.isfinite(term.item()) for term in terms.values())


def test_the_corpus_of_the_settings_is_compared(tmp_path: Path):
    corpus = tmp_path / "corpus.toml"
    corpus.write_text('[descriptions]\nbolt = "a metal bolt"\nnut = "a metal nut"\n')
    teacher = ppssl(corpus=str(corpus)).teacher
    assert teacher is not None
    assert teacher.texts.shape[0] == 2
