"""Which images a calibration reads, how often, and what it fits to them."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from fgembed.backbones import make_backbone
from fgembed.errors import FgembedError, IntegrityError
from fgembed.images.batches import ImageBatches
from fgembed.images.decoding import Pixels
from fgembed.images.finding import find_images
from fgembed.images.preprocessing import Preprocessing
from fgembed.model import calibration
from fgembed.model.calibration import calibrate, fit_encoder
from fgembed.model.encoder import Encoder, PixelEncoder
from fgembed.model.pooling import GeMPooling
from fgembed.model.reading.fitting import FitSettings, fitted_layer
from fgembed.model.reading.multi_level import Reading
from fgembed.model.shared_backbone import SharedPass
from tests.conftest import TINY, TINY_VIT

SPEC = Preprocessing(size=32)
SETTINGS = FitSettings(8, larger=2)
FITTED = Reading((0.5,), mean_beside=True)
CPU = torch.device("cpu")
Pooled = Callable[[Pixels], dict[str, torch.Tensor]]


def encoder(reading: Reading = FITTED, backbone: str = TINY) -> Encoder:
    torch.manual_seed(0)
    return Encoder(make_backbone(backbone, size=32), GeMPooling(), reading=reading).eval()


@pytest.fixture
def paths(photos: Path, tmp_path: Path) -> list[Path]:
    """24 images that a test may damage."""
    shutil.copytree(photos / "train", tmp_path / "train")
    return find_images(tmp_path / "train")[0]


@torch.inference_mode()
def pooled_by(model: Encoder, pixels: Pixels) -> torch.Tensor:
    normalise = PixelEncoder(model, SPEC, dynamic_size=True).normalised
    return model.pooled(normalise(torch.from_numpy(pixels)))[0]


def fit(
    paths: list[Path], pooled: Pooled | None = None, settings: FitSettings = SETTINGS
) -> Encoder:
    """The encoder after its calibration on the paths at 32 px and the larger side."""
    model = encoder()

    def by_encoder(pixels: Pixels) -> dict[str, torch.Tensor]:
        return {"one": pooled_by(model, pixels)}

    calibrate(
        {"one": model}, paths, SPEC, pooled or by_encoder, settings, settings.larger_side(SPEC.size)
    )
    return model


def assert_same(first: Encoder, second: Encoder) -> None:
    assert first.levels is not None and second.levels is not None
    torch.testing.assert_close(first.levels.centre, second.levels.centre)
    assert first.whitening is not None and second.whitening is not None
    torch.testing.assert_close(first.whitening.mean, second.whitening.mean)
    torch.testing.assert_close(first.whitening.projection, second.whitening.projection)


def test_levels_are_centred_by_their_mean_at_each_size_of_its_own(paths: list[Path]):
    model = fit(paths)
    levels = model.levels
    assert levels is not None and model.whitening is not None
    (_, at_32), (_, at_64) = (
        next(iter(ImageBatches(paths, replace(SPEC, size=size), 24))) for size in (32, 64)
    )
    usual, larger = pooled_by(model, at_32), pooled_by(model, at_64)
    torch.testing.assert_close(levels.centre, usual.mean(dim=0))
    parts = (larger - larger.mean(dim=0)).split(levels.sizes, dim=1)
    # An inner level of 2 x 64, the last map's 64 and its mean.
    weighted = [w * F.normalize(part, dim=1) for w, part in zip((0.5, 1, 1), parts, strict=True)]
    joined = torch.cat(weighted, dim=1) / (0.5**2 + 1 + 1) ** 0.5
    expected = fitted_layer(levels(usual), 128 + 64, SETTINGS, joined)
    torch.testing.assert_close(model.whitening.mean, expected.mean, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(
        model.whitening.projection.abs(), expected.projection.abs(), atol=1e-3, rtol=1e-3
    )


def test_of_more_images_than_the_sample_an_even_part_is_read(
    paths: list[Path], monkeypatch: pytest.MonkeyPatch
):
    expected = fit([paths[position] for position in (0, 5, 11, 17, 23)])
    monkeypatch.setattr(calibration, "SAMPLE", 5)
    assert_same(fit(paths), expected)


def test_0_dimensions_centre_the_levels_without_a_last_layer(paths: list[Path]):
    model, expected = fit(paths, settings=replace(SETTINGS, dimensions=0)), fit(paths)
    assert model.whitening is None
    assert model.levels is not None and expected.levels is not None
    torch.testing.assert_close(model.levels.centre, expected.levels.centre)


@pytest.mark.parametrize("readable", ["at first", "later"])
def test_an_image_that_is_readable_at_one_size_alone_shifts_no_row(
    paths: list[Path], readable: str
):
    """It is damaged or restored while the images are read at the larger size for the first time."""
    expected = fit([path for path in paths if path != paths[3]])
    sound, damaged = paths[3].read_bytes(), b"no image"
    before, after = (sound, damaged) if readable == "at first" else (damaged, sound)
    paths[3].write_bytes(before)
    model, counts = encoder(), []

    def pooled(pixels: Pixels) -> dict[str, torch.Tensor]:
        counts.append(len(pixels))
        paths[3].write_bytes(after)
        return {"one": pooled_by(model, pixels)}

    calibrate({"one": model}, paths, SPEC, pooled, SETTINGS, 64)
    assert counts == ([24, 16, 7] if readable == "at first" else [23, 16, 8])
    assert_same(model, expected)


def test_images_of_which_none_is_readable_are_refused(paths: list[Path]):
    for path in paths:
        path.write_bytes(b"no image")
    with pytest.raises(FgembedError, match=r"only 0 of 24 training images differ.*; add images"):
        fit(paths)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_vectors_that_are_not_finite_are_refused(paths: list[Path], bad: float):
    def pooled(pixels: Pixels) -> dict[str, torch.Tensor]:
        vectors = torch.randn(len(pixels), 256)
        vectors[7, 3] = bad
        return {"one": vectors}

    with pytest.raises(IntegrityError, match=r"not finite.*; train again with a lower"):
        fit(paths, pooled)


def test_targets_are_taken_by_the_image_s_position_and_no_larger_size_is_read(
    paths: list[Path], monkeypatch: pytest.MonkeyPatch
):
    """Of a sample, with an image that is not readable and one that has no target."""
    monkeypatch.setattr(calibration, "SAMPLE", 9)
    sampled = [0, 2, 5, 8, 11, 14, 17, 20, 23]
    targets = F.normalize(torch.randn(24, 5, generator=torch.Generator().manual_seed(0)), dim=1)
    targets[20] = 0
    paths[5].write_bytes(b"no image")
    shared = SharedPass({"one": encoder()}, SPEC, CPU)
    seen = passes(shared, monkeypatch)
    fitted = shared.calibrate(paths, SETTINGS, targets=targets)
    assert seen == [(8, 32)]
    assert fitted.positions == [0, 1, 3, 4, 5, 6, 8]
    kept = [p for p in sampled if p not in (5, 20)]
    model, expected = shared.encoders["one"], encoder()
    pixels = next(iter(ImageBatches([paths[p] for p in kept], SPEC, 24)))[1]
    fit_encoder(expected, pooled_by(expected, pixels), SETTINGS, None, targets[kept])
    assert_same(model, expected)
    assert model.dimensions == 5


def test_an_encoder_without_levels_predicts_targets_too(paths: list[Path]):
    targets = F.normalize(torch.randn(24, 5, generator=torch.Generator().manual_seed(0)), dim=1)
    model = encoder(Reading())
    SharedPass({"one": model}, SPEC, CPU).calibrate(paths, SETTINGS, targets=targets)
    pixels = next(iter(ImageBatches(paths, SPEC, 24)))[1]
    vectors = F.normalize(pooled_by(model, pixels), dim=1)
    layer = fitted_layer(vectors, 64, SETTINGS, targets=targets)
    assert model.whitening is not None
    torch.testing.assert_close(model.whitening(vectors), layer(vectors), atol=1e-4, rtol=1e-3)


def passes(shared: SharedPass, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Will hold how many images of which side pass through the backbone."""
    seen: list[tuple[int, int]] = []
    read_levels = shared._backbone.read_levels

    def counted(images: torch.Tensor, depths: tuple[float, ...]) -> object:
        if len(images) > 1:  # one image tries whether the backbone takes its side
            seen.append((len(images), images.shape[-1]))
        return read_levels(images, depths)

    monkeypatch.setattr(shared._backbone, "read_levels", counted)
    return seen


@pytest.mark.parametrize(
    ("reading", "larger", "expected"),
    [
        (FITTED, 2.0, [(24, 32), (16, 64), (8, 64)]),  # a quarter of 64 images in a batch
        (FITTED, 1.0, [(24, 32)]),
        (FITTED, 1.4, [(24, 32)]),  # 32 x 1.4 is nearer to 32 than to 64
        (Reading(mirror=True), 2.0, [(48, 32)]),  # without levels
        (replace(FITTED, mirror=True), 2.0, [(48, 32), (32, 64), (16, 64)]),
    ],
)
def test_images_are_read_at_the_larger_size_where_it_is_needed(
    paths: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    reading: Reading,
    larger: float,
    expected: list[tuple[int, int]],
):
    shared = SharedPass({"one": encoder(reading)}, SPEC, CPU)
    seen = passes(shared, monkeypatch)
    shared.calibrate(paths, FitSettings(8, larger=larger))
    assert seen == expected


def test_a_transformer_of_one_size_is_fitted_without_the_larger(
    paths: list[Path], monkeypatch: pytest.MonkeyPatch
):
    fits = []
    for larger in (2.0, 1.0):
        shared = SharedPass({"one": encoder(backbone=TINY_VIT)}, SPEC, CPU)
        seen = passes(shared, monkeypatch)
        shared.calibrate(paths, FitSettings(8, larger=larger))
        assert seen == [(24, 32)]
        fits.append(shared.encoders["one"])
    assert_same(*fits)
