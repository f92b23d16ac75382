"""Which settings are part of the trajectory, and what a checksum is of."""

from pathlib import Path

import pytest

from fgembed.config import RunConfig
from fgembed.resolve import resolve
from fgembed.training.resuming.fingerprint import (
    FREE,
    FREE_BY_SELECTION,
    image_checksums,
    trajectory_settings,
)
from tests.training.saved_runs import flattened


def test_every_free_setting_exists():
    settings = flattened(RunConfig().model_dump(mode="json"))
    for selection in FREE_BY_SELECTION.values():
        assert selection <= settings.keys()
    assert settings.keys() >= FREE


@pytest.mark.parametrize(
    ("select", "bound"),
    [
        ("last", set()),
        ("holdout", {"holdout_share", "pooling.level_weight", "pooling.mirror"}),
        ("test", {"eval.gallery", "eval.queries", "pooling.level_weight", "pooling.mirror"}),
    ],
)
def test_what_selects_the_epoch_is_part_of_the_trajectory(select: str, bound: set[str]):
    labelled = {"gallery": "a", "queries": "b"}
    config = RunConfig.model_validate({"select": select, "eval": labelled})
    by_selection = {
        "holdout_share", "eval.gallery", "eval.queries", "pooling.level_weight", "pooling.mirror",
    }  # fmt: skip
    settings = trajectory_settings(config)
    assert by_selection & settings.keys() == bound
    assert settings["optimiser.batch_size"] == 128
    assert settings["pooling.levels"] == [0.72, 0.89]


def test_how_the_start_is_read_is_bound_where_its_vectors_are_learned():
    config = resolve({"pooling": {"larger": 1.5}}, {"method": {"name": "distill"}}, "tests")
    bound = trajectory_settings(config, takes_targets=True).keys()
    pooling = {"level_weight", "mirror", "larger", "mean_weight", "ridge", "shrinkage", "whitening"}
    assert bound - trajectory_settings(config).keys() == {f"pooling.{key}" for key in pooling}


def test_a_checksum_is_that_of_the_content_alone(tmp_path: Path):
    for name, content in (("b/x.jpg", b"1"), ("a/x.jpg", b"1"), ("a/y.jpg", b"2")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    paths = sorted(tmp_path.rglob("*.jpg"))
    checksums = image_checksums(tmp_path, paths)
    assert list(checksums) == ["a/x.jpg", "a/y.jpg", "b/x.jpg"]
    expected = (
        "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"  # printf 1 | sha256sum
    )
    assert (checksums["a/x.jpg"], checksums["b/x.jpg"]) == (expected, expected)
    assert checksums["a/y.jpg"] != expected
