"""Before the first step: refuses settings and images that cannot work, and builds the method.

A run and a dry run (`fgembed.training.dry_run`) both call this, so that both refuse the same
things with the same messages. Nothing is written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from fgembed.config import RunConfig, validate
from fgembed.cores import core_count
from fgembed.data.loading import TrainingImages, require_full_batch
from fgembed.errors import ConfigError, FgembedError
from fgembed.evaluation.floors import uncalibrated_start
from fgembed.evaluation.protocol import Split
from fgembed.images.batches import split_readable
from fgembed.images.finding import scan
from fgembed.images.kinds.passed_over import PassedOver
from fgembed.images.skipped import Skipped, check_bad
from fgembed.images.walk import Scan
from fgembed.methods.base import Method
from fgembed.model.devices import choose_device
from fgembed.model.encoder import Encoder
from fgembed.model.freed_memory import keep_freed_memory
from fgembed.model.pooling import LearnedPooling, make_pooling, pooling_class
from fgembed.model.reading.multi_level import reading_of
from fgembed.model.reading.whitening import NEEDED
from fgembed.questions import Answer
from fgembed.training.epoch_selection import check_selection
from fgembed.training.labels.label_groups import LabelGroups
from fgembed.training.start import start_backbone, with_normalisation


@dataclass(frozen=True)
class Prepared:
    """A run before its images are checked.

    Attributes:
        config: the settings with the method's defaults written out.
        device: computes.
        paths: the training images by file name, not yet opened.
        unreadable: files and folders that could not be listed, and pictures that are not read.
        passed_over: images beside them that are clutter.
        labels: that are learned as targets, and change the last layer after the fit, if any.
        start: the untouched start, read as the highest floor, not yet calibrated.
        method: the method on the same start, on `device`.
    """

    config: RunConfig
    device: torch.device
    paths: list[Path]
    unreadable: list[Skipped]
    passed_over: PassedOver
    labels: LabelGroups | None
    start: Encoder
    method: Method

    def training_images(self, paths: Sequence[Path]) -> TrainingImages:
        """The method's views of the images."""
        config = self.config
        views = type(self.method).view_maker(config.views, config.preprocessing)
        return TrainingImages(paths, views, config.preprocessing, config.seed)


def prepare(config: RunConfig, method_class: type[Method]) -> Prepared:
    """Everything that a run needs before it opens the first training image.

    Raises:
        FgembedError: the device, a folder or a setting is not as the run needs it.
    """
    spec = with_normalisation(config.preprocessing, config.backbone.name, config.backbone.weights)
    config = config.model_copy(update={"preprocessing": spec})
    device = choose_device(config.device)
    torch.set_num_threads(config.threads or core_count())
    if device.type == "cpu":
        keep_freed_memory()
    images = list_images(config)
    if config.eval.gallery and config.eval.queries:  # a fault in them is to show now
        folders = Path(config.eval.gallery), Path(config.eval.queries)
        Split.find(*folders, include_clutter=config.include_clutter)
    labels = LabelGroups.of(config)
    torch.manual_seed(config.seed)
    may_mirror = config.pooling.mirror or config.things.mirror != Answer.no
    start = uncalibrated_start(start_backbone(config), config.pooling, may_mirror).to(device)
    method = make_method(config, method_class)
    method.to(device).to(memory_format=torch.channels_last)
    config = resolved(config, method)
    check_selection(config, images.paths)
    return Prepared(
        config=config,
        device=device,
        paths=images.paths,
        unreadable=images.skipped,
        passed_over=images.passed_over,
        labels=labels,
        start=start,
        method=method,
    )


def list_images(config: RunConfig) -> Scan:
    """The training images by file name, and what was left out.

    Raises:
        ConfigError: no folder is set.
        NotFoundError: the folder is missing or empty.
    """
    if config.images is None:
        raise ConfigError(
            "no folder of images is set", 'run "fgembed init PHOTOS" first, or give --images PHOTOS'
        )
    return scan(Path(config.images), config.include_clutter)


def readable_images(
    config: RunConfig, paths: Sequence[Path], unreadable: Sequence[Skipped]
) -> tuple[list[Path], list[Skipped]]:
    """The listed images that can be decoded, and the others; slow, for it decodes each one.

    Raises:
        BadImagesError: too many cannot be read.
    """
    spec = config.preprocessing
    readable, bad = split_readable(paths, spec.draft * spec.size, core_count(), spec.version)
    skipped = [*unreadable, *bad]
    check_bad(skipped, len(readable) + len(skipped), config.max_bad)
    return readable, skipped


def make_method(config: RunConfig, method_class: type[Method]) -> Method:
    """The method on its start, on the CPU, from the run's seed.

    Raises:
        ConfigError: a setting is unknown, or the pooling does not suit the method.
    """
    torch.manual_seed(config.seed)
    backbone = start_backbone(config)
    kind = config.pooling.kind
    if kind == "auto":
        kind = method_class.pooling_for(backbone)
    pooling = pooling_class(kind)
    learned = issubclass(pooling, LearnedPooling)
    if learned and not issubclass(pooling, method_class.trained_poolings):
        raise ConfigError(
            f"method {config.method.name!r} does not train pooling.kind {kind!r}",
            "choose pooling.kind auto",
        )
    if method_class.takes_targets and not config.pooling.whitening:
        raise ConfigError(
            f"method {config.method.name!r} learns a last layer, and pooling.whitening is 0",
            "set pooling.whitening to its dimensions, such as 512",
        )
    settings = validate(
        method_class.Config,
        config.method.model_extra or {},
        f"settings of method {config.method.name!r}",
    )
    encoder = Encoder(
        backbone,
        make_pooling(kind, backbone.channels),
        reading=reading_of(config.pooling),
    )
    method = method_class(encoder, settings)
    method.take_views(config.views)
    return method


def trains(config: RunConfig, method: Method) -> bool:
    """Whether the run takes any training step."""
    return config.optimiser.epochs > 0 and bool(method.parameter_groups())


def require_batch(config: RunConfig, method: Method, image_count: int) -> None:
    """Refuses a training whose batches cannot be filled, or do not suit the method.

    Raises:
        ConfigError: saying which setting to change.
    """
    if trains(config, method):
        require_full_batch(image_count, config.optimiser.batch_size)
        method.check_batch(config.optimiser.batch_size)


def batch_memory(config: RunConfig) -> tuple[str, str]:
    """What a step needs memory for, and what takes less: a message where there is too little."""
    batch = f"a batch of {config.optimiser.batch_size} images at {config.preprocessing.size} px"
    return batch, "lower optimiser.batch_size or preprocessing.size"


def require_distinct(config: RunConfig, checksums: Mapping[str, str]) -> None:
    """Refuses images that are too few, or too often the same file, for a whitening.

    Args:
        config: of the run.
        checksums: of the readable images, by name.

    Raises:
        FgembedError: saying how many differ.
    """
    needed = min(NEEDED, 1 + config.pooling.of_the_floor().whitening)
    distinct = len(set(checksums.values()))
    if distinct < needed:
        raise FgembedError(
            f"only {distinct} of {len(checksums)} images in {config.images} differ, and the "
            f"whitening needs {needed}",
            "add images that differ",
        )


def resolved(config: RunConfig, method: Method) -> RunConfig:
    """The configuration with the method's defaults written out.

    Without training there is no epoch to select. A transformer's position embeddings fit one
    size, so its views are not smaller than its input.
    """
    values = {"name": config.method.name} | method.config.model_dump(exclude_none=True)
    select = config.select if trains(config, method) else "last"
    choice = type(config.method).model_validate(values)
    side = 1 if method.encoder.backbone.has_tokens else config.views.side
    views = config.views.model_copy(update={"side": side})
    return config.model_copy(update={"method": choice, "select": select, "views": views})
