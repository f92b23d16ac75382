"""A test for each trap of PP-SSL's released code (LearnMat, arXiv:2412.00134)."""

import pytest
import torch
from PIL import Image

from fgembed.config import ViewSettings
from fgembed.images.preprocessing import Preprocessing
from fgembed.methods.components.losses import description_kl
from fgembed.methods.ppssl import ViewsForTeacher
from tests.methods.ppssl_parts import encoder_gradients, kl, ppssl, views


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
        means[mode] = method.rationale_pooling.norm.running_mean
    assert not torch.allclose(means["released"], means["off"], atol=1e-3)  # type: ignore[arg-type]


def test_trap_2_a_raw_image_cam_is_nearly_flat_and_ours_is_not():
    for scale, peaked in (("peak", True), ("none", False)):
        method = ppssl(cam_scale=scale)
        leaf = views()[0].requires_grad_()
        contrast, features = method.contrast([leaf, views()[1]])
        cam = method._scaled(method._pooled(method.image_cam(contrast, leaf), features))
        target = (cam.flatten(1) / 0.4).softmax(dim=1)
        assert (float(target.max()) * target.shape[1] > 1.5) is peaked


def test_trap_3_the_teacher_s_normalisation_does_not_depend_on_the_student_s():
    method = ppssl()
    teacher = method.teacher
    assert teacher is not None
    pixels = views()[2]
    teacher_inputs: list[torch.Tensor] = []
    handle = teacher.model.visual.register_forward_pre_hook(
        lambda _, inputs: teacher_inputs.append(inputs[0])
    )
    method(views())
    handle.remove()
    visual = teacher.model.visual
    mean = torch.tensor(visual.preprocess_cfg["mean"]).view(1, 3, 1, 1)
    std = torch.tensor(visual.preprocess_cfg["std"]).view(1, 3, 1, 1)
    torch.testing.assert_close(teacher_inputs[0], (pixels - mean) / std)


def test_trap_3_the_third_view_is_the_first_in_0_to_1():
    spec = Preprocessing(size=32)
    image = Image.effect_noise((60, 60), 80).convert("RGB")
    first, _, pixels = ViewsForTeacher(ViewSettings(), spec)(image)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (spec.mean, spec.std))
    torch.testing.assert_close((pixels - mean) / std, first)
    assert float(pixels.min()) >= -1e-6
    assert float(pixels.max()) <= 1 + 1e-6


def test_trap_4_ais_is_an_average_over_images_eight_times_the_released_value():
    target = torch.rand(5, 8).softmax(dim=1)
    logits = torch.randn(5, 8)
    expected = sum(kl(target[b], logits[b].softmax(dim=0)) for b in range(5)) / 5
    assert float(description_kl(target, logits)) == pytest.approx(expected, rel=1e-4)
    released = float(description_kl(target, logits, "elements"))
    assert expected / released == pytest.approx(8)
    assert 1.2 * released == pytest.approx(0.15 * expected)
