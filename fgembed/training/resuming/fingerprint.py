"""What a resumed training must share with its checkpoint: settings and images.

Every setting defines the trajectory, but for these, which may change before a run is resumed
(in `config.toml`, whose last line must then say `edited` in place of its checksum):

- `device`, `workers`, `threads`: where and how fast. The steps stay the same up to rounding.
- `checkpoint_every_s`, `optimiser.log_every_step`: when something is written.
- `images`, `include_clutter`, `max_bad`, `recipe`: names and limits. The contents of the readable
  images count.
- `labels`, `pooling.whitening`, `pooling.shrinkage`, `pooling.mean_weight`, `pooling.larger`,
  `pooling.ridge`: used after the training. Labels are read again, and the last layer fitted again.
- `pooling.level_weight`, `pooling.mirror`, `eval.*`, `holdout_share`: also, unless the run's
  `select` scores epochs with them.

A method that learns the start's vectors depends on how the start is read and fitted: for it,
nothing of `pooling` may change, and of `labels` only the path.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from fgembed.config import RunConfig
from fgembed.cores import core_count
from fgembed.disk.files import digest, read_json, sha256
from fgembed.errors import ConfigError, FgembedError, IntegrityError
from fgembed.images.batches import prefetch
from fgembed.workspace import RunFolder

FREE = frozenset(
    {
        "checkpoint_every_s",
        "device",
        "images",
        "include_clutter",
        "labels",
        "max_bad",
        "optimiser.log_every_step",
        "pooling.larger",
        "pooling.mean_weight",
        "pooling.ridge",
        "pooling.shrinkage",
        "pooling.whitening",
        "recipe",
        "threads",
        "workers",
    }
)
READING = frozenset({"pooling.level_weight", "pooling.mirror"})  # how an embedding is made
TAUGHT = READING | {  # what the start's vectors depend on
    "pooling.larger",
    "pooling.mean_weight",
    "pooling.ridge",
    "pooling.shrinkage",
    "pooling.whitening",
}
LABELLED = frozenset({"eval.gallery", "eval.queries"})
# Settings that checkpoints of earlier releases have no key of, and what these did. At that value a
# later one has no key either.
LATER: dict[str, Any] = {
    "method.detach_features": False,
    "method.grey": "auto",
    "method.neighbours": 0,
    "method.teachers": [],
    "pooling.larger": 1.4,
    "preprocessing.grey": False,
    "preprocessing.version": 1,
    "things.colour": "unknown",
    "things.mirror": "unknown",
    "things.size": "unknown",
    "things.turns": "unknown",
    "views.saturation": 1,
    "views.solarise_probability": 0.2,
    "views.turn": 0,
}
WEIGHTS = "backbone.weights: SHA-256"  # of the file; none in a checkpoint of an earlier release
LABELS = "labels: SHA-256"  # of the images of each class, where they are learned
# Free besides, by `select`: what the run does not select its epoch with.
FREE_BY_SELECTION = {
    "last": READING | LABELLED | {"holdout_share"},
    "holdout": LABELLED,
    "test": frozenset({"holdout_share"}),
}


@dataclass(frozen=True)
class Fingerprint:
    """What every step of a training depends on.

    Attributes:
        settings: see `trajectory_settings`.
        images: a digest of `image_checksums`.
    """

    settings: dict[str, Any]
    images: str

    @classmethod
    def of(
        cls,
        config: RunConfig,
        checksums: dict[str, str],
        takes_targets: bool = False,
        labels: str | None = None,
    ) -> Self:
        """Of a run with these settings on these images; see `trajectory_settings`."""
        return cls(trajectory_settings(config, takes_targets, labels), digest(checksums))


def trajectory_settings(
    config: RunConfig, takes_targets: bool = False, labels: str | None = None
) -> dict[str, Any]:
    """The settings that define the trajectory, as JSON values by dotted key.

    Args:
        config: with the method's defaults written out.
        takes_targets: whether the method learns the start's vectors.
        labels: the digest of the run's labels, if it has any.
    """
    free = FREE | FREE_BY_SELECTION[config.select]
    if takes_targets:
        free -= TAUGHT
    settings = dict(_flattened(config.model_dump(mode="json")))
    if takes_targets and labels is not None:
        settings[LABELS] = labels
    if Path(config.backbone.weights).is_file():
        settings[WEIGHTS] = sha256(Path(config.backbone.weights))
    as_before = {key for key, value in LATER.items() if settings.get(key, ...) == value}
    return {key: value for key, value in settings.items() if key not in free | as_before}


def image_checksums(root: Path, paths: Sequence[Path]) -> dict[str, str]:
    """The SHA-256 of every file, by its path below `root`.

    Modification times do not count: they change without the content, and the other way round.
    That of a file that has become unreadable is empty.
    """
    names = [path.relative_to(root).as_posix() for path in paths]
    return dict(zip(names, prefetch(_checksum, paths, core_count(), window=64), strict=True))


def _checksum(path: Path) -> str:
    try:
        return sha256(path)
    except OSError:
        return ""


def check_settings(
    run: RunFolder,
    config: RunConfig,
    checkpoint: Fingerprint,
    takes_targets: bool = False,
    labels: str | None = None,
) -> None:
    """Refuses to resume with other settings than the checkpoint's; see `trajectory_settings`.

    Raises:
        ConfigError: naming the first setting that differs.
    """
    current, former = trajectory_settings(config, takes_targets, labels), checkpoint.settings
    if WEIGHTS in former and former[WEIGHTS] != current.get(WEIGHTS, former[WEIGHTS]):
        raise ConfigError(
            f"{config.backbone.weights}, the start weights, has other content than up to the "
            f"checkpoint in {run.path}",
            "put the file back as it was, or start a new run",
        )
    if former.get(LABELS) != current.get(LABELS):
        raise ConfigError(
            f"the labels are not those up to the checkpoint in {run.path}, and the run learns them",
            "give the same labels again, or start a new run",
        )
    current = {key: value for key, value in current.items() if key not in (WEIGHTS, LABELS)}
    former = {key: value for key, value in former.items() if key not in (WEIGHTS, LABELS)}
    for key in former | current:
        if (key in former) != (key in current) or former.get(key) != current.get(key):
            before, now = _text(former, key), _text(current, key)
            remedy = f"set it back to {before}" if key in former else "remove it"
            raise ConfigError(
                f"{key} is {now} in {run.config}, but was {before} up to the checkpoint",
                f"{remedy}, or start a new run",
            )


def check_images(run: RunFolder, config: RunConfig, current: dict[str, str], former: str) -> None:
    """Refuses to resume on other images than the checkpoint's.

    Args:
        run: the run folder.
        config: the run's settings.
        current: see `image_checksums`.
        former: the digest that the checkpoint holds.

    Raises:
        FgembedError: naming the first image that differs.
    """
    if digest(current) == former:
        return
    name, change = _first_change(_recorded_checksums(run, former), current)
    raise FgembedError(
        f"the images changed since the checkpoint in {run.path}: "
        f"{Path(config.images or '') / name} {change}",
        "put the images back as they were, or start a new run",
    )


def _recorded_checksums(run: RunFolder, former: str) -> dict[str, str]:
    with suppress(IntegrityError, FileNotFoundError):
        recorded = read_json(run.images, "list of images")
        if digest(recorded) == former:
            return recorded
    raise IntegrityError(
        f"the images changed since the checkpoint in {run.path}, and {run.images}, which names "
        "them, is missing or damaged",
        "put the images back as they were, or start a new run",
    )


def _first_change(former: dict[str, str], current: dict[str, str]) -> tuple[str, str]:
    for name in sorted(former.keys() | current.keys()):
        if name not in current:
            return name, "is missing or cannot be read"
        if name not in former:
            return name, "is new"
        if former[name] != current[name]:
            return name, "has different content"
    raise AssertionError("equal checksums of unequal digests")  # invariant


def _flattened(table: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _text(settings: dict[str, Any], key: str) -> str:
    """A value as TOML spells it."""
    value = settings.get(key)
    return "not set" if value is None else json.dumps(value)
