"""What a drawn set promises: only the mark tells a species, and its mask says where it is."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from fgembed.demo.body import mark
from fgembed.demo.drawing import SPECIES, Drawing, DrawnImage, draw, draw_set

NAMES = list(SPECIES)


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image, np.int16)


def grown(part: np.ndarray, margin: int) -> np.ndarray:
    mask = Image.fromarray(part.astype(np.uint8))
    return np.asarray(mask.filter(ImageFilter.MaxFilter(2 * margin + 1))) > 0


@pytest.fixture(scope="module")
def many() -> list[Drawing]:
    return [
        draw(name, np.random.default_rng((index, number)), size=64)
        for index, name in enumerate(NAMES)
        for number in range(24)
    ]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[DrawnImage]]:
    folder = tmp_path_factory.mktemp("beetles")
    return folder, draw_set(folder, species=3, train=2, test=1, size=48, seed=5)


def test_equal_generators_draw_equal_pictures() -> None:
    first, again = (draw("gemina-mediana", np.random.default_rng(7)) for _ in range(2))
    assert first.image.tobytes() == again.image.tobytes()
    assert np.array_equal(first.part, again.part)


def test_one_generator_never_draws_the_same_picture_twice() -> None:
    rng = np.random.default_rng(7)
    first, second = draw("gemina-mediana", rng), draw("gemina-mediana", rng)
    assert np.abs(pixels(first.image) - pixels(second.image)).mean() > 10


@pytest.mark.parametrize("size", [32, 97, 160])
def test_picture_and_mask_have_the_size_asked_for(size: int) -> None:
    drawing = draw("vittata-mediana", np.random.default_rng(0), size)
    assert (drawing.image.mode, drawing.image.size) == ("RGB", (size, size))
    assert drawing.part.dtype == np.bool_
    assert drawing.part.shape == (size, size)
    assert drawing.species == "vittata-mediana"


@pytest.mark.parametrize("other", NAMES[1:])
def test_two_species_differ_only_in_their_deciding_parts(other: str) -> None:
    blur = 3  # pixels by which the camera may smear ink that clutter cuts off
    for seed in range(3):
        first, second = (draw(name, np.random.default_rng(seed)) for name in (NAMES[0], other))
        same = (pixels(first.image) == pixels(second.image)).all(axis=2)
        assert same[~grown(first.part | second.part, blur)].all()
        assert not same[first.part | second.part].all()


def test_the_generator_ends_in_the_same_state_for_each_species() -> None:
    rngs = [np.random.default_rng(3) for _ in NAMES]
    for name, rng in zip(NAMES, rngs, strict=True):
        draw(name, rng, size=32)
    assert len({rng.random() for rng in rngs}) == 1


@pytest.mark.parametrize("seed", range(5))
def test_marks_survive_grayscale(seed: int) -> None:
    collar, apex = (
        draw(name, np.random.default_rng(seed)) for name in ("gemina-collaris", "gemina-apicalis")
    )
    lighter = pixels(apex.image.convert("L")) - pixels(collar.image.convert("L"))
    assert np.quantile(lighter[apex.part & ~collar.part], 0.8) > 50
    assert np.quantile(lighter[collar.part & ~apex.part], 0.2) < -50


@pytest.mark.parametrize("name", NAMES)
def test_marks_are_their_own_mirror_images(name: str) -> None:
    ink = mark(name, 96).ink
    np.testing.assert_allclose(ink, ink[:, ::-1], atol=1e-3)


def test_no_two_species_have_nearly_the_same_mark() -> None:
    inks = np.stack([mark(name, 96).ink.ravel() for name in NAMES]) > 0.5
    shared = (inks[:, None] & inks).sum(2) / (inks[:, None] | inks).sum(2)
    assert shared[~np.eye(len(NAMES), dtype=bool)].max() < 0.55


def test_deciding_parts_are_small_but_never_lost(many: list[Drawing]) -> None:
    shares = np.array([drawing.part.mean() for drawing in many])
    assert shares.min() > 0.015
    assert shares.max() < 0.10
    assert 0.03 < shares.mean() < 0.05


def test_the_middle_of_the_picture_is_a_poor_guess_at_the_deciding_part(
    many: list[Drawing],
) -> None:
    assert np.mean([drawing.part[32, 32] for drawing in many]) < 0.15


def test_deciding_parts_spread_over_the_picture(many: list[Drawing]) -> None:
    centres = np.array([np.argwhere(drawing.part).mean(axis=0) / 64 for drawing in many])
    assert (centres.std(axis=0) > 0.13).all()
    assert (np.abs(centres.mean(axis=0) - 0.5) < 0.06).all()


def test_tilt_limits_how_far_the_body_leans() -> None:
    upright = draw("cincta-mediana", np.random.default_rng(2), tilt_degrees=0).part
    rows, columns = np.nonzero(upright)
    slope = np.polyfit(columns, rows, 1)[0]
    assert abs(np.degrees(np.arctan(slope))) < 10


def test_set_files_each_picture_with_its_mask(drawn: tuple[Path, list[DrawnImage]]) -> None:
    folder, entries = drawn
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))
    expected = [
        name
        for species in NAMES[:3]
        for split, number in (("train", 1), ("train", 2), ("test", 1))
        for name in (
            f"{split}/{species}/{species}-{number:03d}.jpg",
            f"masks/{split}/{species}/{species}-{number:03d}.png",
        )
    ]
    assert found == sorted(expected)
    assert sorted(str(p) for e in entries for p in (e.image, e.mask)) == sorted(
        str(folder / name) for name in expected
    )


def test_set_holds_what_draw_draws(drawn: tuple[Path, list[DrawnImage]]) -> None:
    entry = drawn[1][-1]
    drawing = draw(NAMES[2], np.random.default_rng((5, 1, 2, 1)), size=48)
    assert (entry.species, entry.split) == (NAMES[2], "test")
    with Image.open(entry.mask) as mask, Image.open(entry.image) as picture:
        assert mask.mode == "L"
        assert np.array_equal(pixels(mask), drawing.part * 255)
        assert np.abs(pixels(picture) - pixels(drawing.image)).mean() < 6


def test_larger_set_repeats_the_pictures_of_a_smaller_one(
    drawn: tuple[Path, list[DrawnImage]], tmp_path: Path
) -> None:
    folder, entries = drawn
    draw_set(tmp_path, species=4, train=3, test=2, size=48, seed=5)
    for entry in entries:
        again = tmp_path / entry.image.relative_to(folder)
        assert again.read_bytes() == entry.image.read_bytes()


def test_another_seed_draws_other_pictures(
    drawn: tuple[Path, list[DrawnImage]], tmp_path: Path
) -> None:
    other = draw_set(tmp_path, species=3, train=2, test=1, size=48, seed=6)
    pictures = {entry.image.read_bytes() for entry in [*drawn[1], *other]}
    assert len(pictures) == 18


def test_unknown_species_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown species 'aurata'; expected one of gemina-"):
        draw("aurata", np.random.default_rng(0))


def test_size_too_small_for_the_mark_is_refused() -> None:
    with pytest.raises(ValueError, match=r"size of 31 px is too small .* use at least 32 px"):
        draw(NAMES[0], np.random.default_rng(0), size=31)


@pytest.mark.parametrize("count", [0, len(SPECIES) + 1])
def test_species_counts_out_of_range_are_refused(count: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"cannot draw {count} species; .* ask for 1 to 13"):
        draw_set(tmp_path / "set", species=count)
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(("train", "test"), [(-1, 2), (0, 0)])
def test_picture_counts_out_of_range_are_refused(train: int, test: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ask for at least one image and no negative count"):
        draw_set(tmp_path, train=train, test=test)


def test_folder_with_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"is not empty; .* choose another or empty it"):
        draw_set(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
