"""The image rows of a report: maps of the encoder and illustrations of its method."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from fgembed.config import RunConfig
from fgembed.data.loading import TrainingImages
from fgembed.embedding.sampling import evenly_spaced
from fgembed.errors import ImageError, NotFoundError
from fgembed.evaluation.labelled_images import LabelledImages
from fgembed.images.decoding import load_rgb
from fgembed.images.preprocessing import Preprocessing, fit_to_size, read_image
from fgembed.methods.base import Method
from fgembed.methods.table import method_named
from fgembed.model.encoder import Encoder, PixelEncoder
from fgembed.model.encoder_files import load_encoder
from fgembed.model.maps import min_max
from fgembed.model.pooling import MeanPooling, RationalePooling
from fgembed.pages.heat_maps import heat_overlay
from fgembed.reports.plots import SheetRow
from fgembed.training.preparation import make_method
from fgembed.training.resuming.checkpoint import has_state, load_method
from fgembed.workspace import RunFolder

MAX_SAMPLES = 8
SIDE = 224  # pixels, of an image in a sheet


@dataclass(frozen=True)
class Samples:
    """The queries that a report shows, one for each class."""

    paths: list[Path]
    classes: list[str]

    @classmethod
    def of(cls, images: LabelledImages, spec: Preprocessing) -> "Samples":
        """The first readable image of each of up to eight classes, evenly spread over all."""
        names = sorted(set(images.labels.values()))
        paths, classes = [], []
        for name in (names[index] for index in evenly_spaced(len(names), MAX_SAMPLES)):
            for path in (p for p in images.paths if images.labels[p] == name):
                try:
                    read_image(path, spec)
                except ImageError:
                    continue
                paths.append(path)
                classes.append(name)
                break
        return cls(paths=paths, classes=classes)


def map_rows(run: Path, samples: Samples) -> list[SheetRow]:
    """Maps of the untouched start and of the trained encoder, laid over the model's input.

    Activation is the length of the feature vector at each position. The rationale is the weight
    that a learned pooling gives to each position. Attention is that of the class token, in the
    last layer.
    """
    trained, spec = load_encoder(run)
    start, _ = load_encoder(RunFolder(run).start.path)
    enlarged = replace(spec, size=max(spec.size, SIDE))
    images = [
        Image.fromarray(fit_to_size(load_rgb(path, 2 * enlarged.size, spec.version), enlarged))
        for path in samples.paths
    ]
    pixels = np.stack([read_image(path, spec) for path in samples.paths])
    inputs = PixelEncoder(trained, spec).normalised(torch.from_numpy(pixels))
    with torch.inference_mode():
        maps = {
            "activation, untouched start": _activation(start, inputs),
            "activation, trained": _activation(trained, inputs),
        }
        if isinstance(trained.pooling, RationalePooling):
            maps["learned rationale"] = trained.rationale(inputs)
        if trained.backbone.has_attention:
            last = trained.backbone.attention(inputs)[-1]  # (B, h, w)
            maps["attention, last layer"] = last
    # Stretched from each map's smallest to its largest value: on a coarse map of strong features
    # the smallest is not far from the largest, and all would be yellow.
    overlays = [SheetRow(name, _overlaid(images, min_max(values))) for name, values in maps.items()]
    return [SheetRow("query", images), *overlays]


def method_rows(run: Path, config: RunConfig, samples: Samples) -> list[SheetRow]:
    """The illustrations of a run's method; most methods have none.

    Raises:
        NotFoundError: the run's state was deleted, and with it the method's weights.
        FgembedError: the method cannot be built again, for example without a teacher's weights.
    """
    method_class = method_named(config.method.name)
    if method_class.illustrate is Method.illustrate:
        return []
    if not has_state(RunFolder(run)):
        raise NotFoundError(
            f"{run} holds no state/ any more, and with it no method's weights",
            "restore state/ from a copy, or train the run again under another name",
        )
    settings = config.backbone.model_copy(update={"weights": "random"})  # replaced right away
    with torch.random.fork_rng(devices=[]):
        method = make_method(config.model_copy(update={"backbone": settings}), method_class)
        load_method(RunFolder(run), method)
        method.progress = 1.0
        spec = config.preprocessing
        maker = method_class.view_maker(config.views, spec)
        images = TrainingImages(samples.paths, maker, spec, config.seed)
        views = list(zip(*(images[0, index] for index in range(len(images))), strict=True))
        stacked = [torch.stack(view) for view in views]
        torch.manual_seed(config.seed)
        illustrations = method.eval().illustrate(stacked)
    first_views = _images(stacked[0], spec)
    return [
        SheetRow(name, _illustrated(value, first_views, spec))
        for name, value in illustrations.items()
    ]


def _illustrated(
    value: Tensor, first_views: list[Image.Image], spec: Preprocessing
) -> list[Image.Image]:
    """Images (B, 3, H, W) as they are, maps (B, h, w) over the first view, masks sharp."""
    if value.ndim == 4:
        return _images(value, spec)
    if bool(((value == 0) | (value == 1)).all()):
        value = F.interpolate(value[:, None].float(), first_views[0].size[::-1])[:, 0]
    return _overlaid(first_views, value)


def _activation(encoder: Encoder, inputs: Tensor) -> Tensor:
    return MeanPooling().rationale(encoder.features(inputs))


def _overlaid(images: Sequence[Image.Image], maps: Tensor) -> list[Image.Image]:
    heats = maps.detach().float().clamp(0, 1).numpy()
    return [heat_overlay(image, heat) for image, heat in zip(images, heats, strict=True)]


def _images(normalised: Tensor, spec: Preprocessing) -> list[Image.Image]:
    """(B, 3, H, W) normalised -> images; values outside the range of pixels are cut off."""
    std, mean = (torch.tensor(channel).view(1, 3, 1, 1) for channel in (spec.std, spec.mean))
    pixels = (255 * (normalised.detach() * std + mean)).round().clamp(0, 255).byte()
    return [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in pixels]
