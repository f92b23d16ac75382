"""Training images: views and an order that depend on seed, epoch and index only."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fgembed.config import ViewSettings
from fgembed.data.loading import EpochBatches, TrainingImages, _derived_seed, make_loader
from fgembed.data.views import Positioned, TwoViews, WholeView
from fgembed.errors import ConfigError
from fgembed.images.finding import find_images
from fgembed.images.preprocessing import Preprocessing

SPEC = Preprocessing(size=32)
PLAIN = ViewSettings(
    crop_scale=1.0, jitter=0, hue=0, jitter_probability=0, grey_probability=0,
    blur_probability=0, flip_probability=0,
)  # fmt: skip


def test_views_depend_on_seed_epoch_and_image_only(photos: Path):
    paths, _ = find_images(photos / "train")
    images = TrainingImages(paths, TwoViews(ViewSettings(), SPEC), SPEC, seed=3)
    torch.manual_seed(1)
    once = images[2, 5]
    torch.manual_seed(2)
    state = torch.get_rng_state()
    again = images[2, 5]
    torch.testing.assert_close(once, again)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(once[0], once[1])
    for other in (images[3, 5], images[2, 6]):
        assert not torch.equal(other[0], once[0])
    other_seed = TrainingImages(paths, images.view_maker, SPEC, seed=4)
    assert not torch.equal(other_seed[2, 5][0], once[0])


@pytest.mark.parametrize("maker", [TwoViews, WholeView])
def test_of_a_grey_input_every_view_is_grey(photos: Path, maker: type[TwoViews | WholeView]):
    paths, _ = find_images(photos / "train")
    spec = Preprocessing(size=32, mean=(0, 0, 0), std=(1, 1, 1), grey=True)
    (view, *_) = TrainingImages(paths, maker(PLAIN, spec), spec, seed=3)[0, 1]
    torch.testing.assert_close(view[0], view[1])
    torch.testing.assert_close(view[0], view[2])


def test_an_epoch_takes_every_image_at_most_once_and_orders_differ():
    batches = list(EpochBatches(10, 3, epochs=2, seed=0, start=0))
    assert [len(batch) for batch in batches] == [3] * 6
    orders = [[i for batch in batches[e : e + 3] for _, i in batch] for e in (0, 3)]
    assert all(len(set(order)) == 9 for order in orders)
    assert orders[0] != orders[1]
    assert {epoch for batch in batches[3:] for epoch, _ in batch} == {1}


def test_seeds_of_neighbouring_keys_differ_and_are_those_of_numpy_s_children():
    """Also (epoch,) and (epoch, 0), which one padded list of numbers would not tell apart."""
    keys: list[tuple[int, ...]] = [(1,), (2,), (1, 0), (1, 1), (0, 1), (2, 0)]
    seeds = [_derived_seed(7, *key) for key in keys] + [_derived_seed(8, *key) for key in keys]
    assert len(set(seeds)) == 12
    child = np.random.SeedSequence(7).spawn(3)[2].spawn(6)[5]
    assert _derived_seed(7, 2, 5) == child.generate_state(1, np.uint64)[0]


def test_the_order_of_an_epoch_is_the_permutation_of_its_seed():
    generator = torch.Generator().manual_seed(_derived_seed(7, 1))
    expected = torch.randperm(10, generator=generator).tolist()
    batches = list(EpochBatches(10, 5, epochs=2, seed=7, start=2))
    assert [key for batch in batches for key in batch] == [(1, index) for index in expected]


@pytest.mark.parametrize("start", [1, 3, 4, 6])
def test_an_interrupted_order_continues_at_its_step(start: int):
    batches = list(EpochBatches(10, 3, epochs=2, seed=7, start=0))
    assert list(EpochBatches(10, 3, epochs=2, seed=7, start=start)) == batches[start:]


def test_fewer_images_than_a_batch_are_refused():
    with pytest.raises(ConfigError, match="5 images do not fill a batch of 8"):
        EpochBatches(5, 8, epochs=1, seed=0, start=0)


def test_an_image_that_went_bad_since_the_survey_is_replaced(tmp_path: Path):
    for number, colour in enumerate([(255, 0, 0), (0, 0, 255)]):
        Image.new("RGB", (40, 40), colour).save(tmp_path / f"{number}.png")
    paths, _ = find_images(tmp_path)
    images = TrainingImages(paths, TwoViews(PLAIN, SPEC), SPEC, seed=0)
    blue = images[0, 1][0]
    paths[0].write_bytes(b"gone")
    torch.testing.assert_close(images[0, 0][0], blue)
    paths[1].unlink()
    with pytest.raises(
        ConfigError, match="no training image can be read any more; restore the folder"
    ):
        images[0, 0]


@pytest.mark.parametrize("workers", [0, 1])
def test_each_view_comes_with_the_position_of_the_image_that_it_shows(workers: int, tmp_path: Path):
    """Also in a shuffled batch, and where the next image replaces one that went bad."""
    for number in range(6):
        Image.new("RGB", (40, 40), (40 * number, 0, 0)).save(tmp_path / f"{number}.png")
    paths, _ = find_images(tmp_path)
    paths[2].write_bytes(b"gone")
    images = TrainingImages(paths, Positioned(WholeView(PLAIN, SPEC)), SPEC, seed=0)
    batches = list(EpochBatches(6, 3, epochs=1, seed=1, start=0))
    loaded = list(make_loader(images, batches, workers))
    positions = [batch[1].tolist() for batch in loaded]
    replaced = [[3 if index == 2 else index for _, index in keys] for keys in batches]
    assert positions == replaced != [[0, 1, 2], [3, 4, 5]]
    for views, expected in loaded:
        red = (views[:, 0, 5, 5] * SPEC.std[0] + SPEC.mean[0]) * 255 / 40
        torch.testing.assert_close(red, expected.float(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_in_a_loader_process_arrives_as_it_was_raised(workers: int, tmp_path: Path):
    images = TrainingImages([tmp_path / "gone.png"], TwoViews(PLAIN, SPEC), SPEC, seed=0)
    with pytest.raises(ConfigError) as caught:
        next(make_loader(images, [[(0, 0)]], workers))
    assert str(caught.value) == (
        "no training image can be read any more; restore the folder of images, then resume the run"
    )
