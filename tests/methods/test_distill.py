"""Distillation: the loss by hand, what the views and targets are, and what mixup does."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from fgembed.backbones import make_backbone
from fgembed.config import ViewSettings
from fgembed.data.loading import TrainingImages
from fgembed.images.finding import find_images
from fgembed.images.preprocessing import Preprocessing
from fgembed.methods.distill import Distill, mixed
from fgembed.model.encoder import Encoder
from fgembed.model.pooling import GeMPooling
from fgembed.model.reading.fitting import FitSettings
from fgembed.model.reading.multi_level import Reading
from fgembed.model.shared_backbone import SharedPass
from tests.conftest import TINY

SPEC = Preprocessing(size=32)
WHOLE = ViewSettings(
    crop_scale=1, jitter=0, hue=0, grey_probability=0, blur_probability=0, flip_probability=0
)


def student(mixup: float = 0, dimensions: int = 16) -> Distill:
    """A student that reads an inner level and the mean beside the last map."""
    torch.manual_seed(0)
    reading = Reading((0.5,), mean_beside=True, mirror=True)
    encoder = Encoder(make_backbone(TINY, size=32), GeMPooling(), reading=reading)
    return Distill(encoder, Distill.Config(mixup=mixup, dimensions=dimensions)).eval()


def random_images(count: int = 4) -> torch.Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def unit(count: int, dimensions: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return F.normalize(torch.randn(count, dimensions, generator=generator), dim=1)


def test_the_loss_is_one_minus_the_cosine_with_the_target_at_the_position():
    """The same direction, the opposite, and one with cosine 0.6: (0 + 2 + 0.4) / 3."""
    method, images = student(), random_images(3)
    method.take_targets(torch.zeros(5, 16))
    with torch.no_grad():
        vectors = method.student(images)
    across = unit(1, 16)[0]
    across = F.normalize(across - (across @ vectors[2]) * vectors[2], dim=0)
    targets = unit(5, 16)
    targets[3], targets[0], targets[4] = vectors[0], -vectors[1], 0.6 * vectors[2] + 0.8 * across
    method.take_targets(targets)
    for positions in (torch.tensor([3, 0, 4]), torch.tensor([[3], [0], [4]])):
        loss = method([images, positions])["teacher"]
        assert loss.item() == pytest.approx(0.8, abs=1e-5)
        assert method.diagnose([images, positions])["teacher cosine"] == pytest.approx(
            0.2, abs=1e-5
        )


def test_an_image_without_a_target_teaches_nothing():
    method = student()
    targets = unit(2, 16)
    targets[1] = 0
    method.take_targets(targets)
    method([random_images(2), torch.tensor([1, 1])])["teacher"].backward()  #
    assert all(p.grad is None or not p.grad.any() for p in method.parameters())


def test_a_student_with_the_teacher_s_layer_that_sees_what_it_saw_has_loss_0(photos: Path):
    paths, _ = find_images(photos / "train")
    method = student(dimensions=32)
    reading = Reading((0.5,), mean_beside=True)
    teacher = Encoder(method.encoder.backbone, GeMPooling(), reading=reading).eval()
    SharedPass({"teacher": teacher}, SPEC, torch.device("cpu")).calibrate(
        paths, FitSettings(8, larger=1)
    )
    assert teacher.levels is not None
    views = TrainingImages(paths, Distill.view_maker(WHOLE, SPEC), SPEC, seed=0)
    images, positions = map(torch.stack, zip(*(views[0, n] for n in (9, 2, 17)), strict=True))
    targets = torch.zeros(len(paths), 8)
    with torch.no_grad():
        targets[[9, 2, 17]] = teacher(images)
    method.take_targets(targets, teacher.whitening, teacher.levels.centre)
    assert method([images, positions])["teacher"].item() == pytest.approx(0, abs=1e-5)
    assert method([images, positions.flip(0)])["teacher"].item() > 0.05


def test_the_student_is_one_pass_of_the_image_and_not_of_its_mirror_image():
    method, images = student(), random_images()
    method.take_targets(unit(4, 16))
    with torch.no_grad():
        assert not torch.allclose(method.student(images), method.student(images.flip(3)), atol=1e-3)


def test_more_dimensions_than_the_head_has_are_cut_and_fewer_leave_the_rest_of_it_alone():
    method, images = student(dimensions=6), random_images()
    targets = unit(4, 9)
    method.take_targets(targets)
    torch.testing.assert_close(method.targets, F.normalize(targets[:, :6], dim=1))
    method.take_targets(targets[:, :4])
    assert method.student(images).shape == (4, 4)


def test_targets_are_in_no_checkpoint():
    method = student()
    without = set(method.state_dict())
    method.take_targets(unit(4, 16))
    assert set(method.state_dict()) == without


def test_mixup_mixes_images_and_targets_by_one_share_and_one_order():
    torch.manual_seed(3)
    shares = []
    for _ in range(40):
        images, targets = mixed(torch.eye(8).view(8, 8, 1, 1), torch.eye(8), 0.4)
        rows = images.flatten(1)
        torch.testing.assert_close(rows.sum(dim=1), torch.ones(8))
        torch.testing.assert_close(F.normalize(rows, dim=1), targets)
        shares.append(float(images[0, 0]))
    assert len(set(shares)) > 30  # a share for each batch
    assert min(shares) < 0.1
    assert max(shares) > 0.9


def test_without_mixup_a_step_is_not_random_and_with_it_it_is():
    plain, mixing = student(mixup=0), student(mixup=0.4)
    views = [random_images(), torch.arange(4)]
    for method in (plain, mixing):
        method.take_targets(unit(4, 16))
    assert len({plain(views)["teacher"].item() for _ in range(5)}) == 1
    assert len({mixing(views)["teacher"].item() for _ in range(5)}) > 1
