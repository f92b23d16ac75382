"""What a report shows of an encoder and of its method, on a few of the queries."""

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
from fgembed.evaluation.protocol import LabelledImages
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
from fgembed.training.checkpoint import has_state, load_method
from fgembed.training.preparation import make_method

SHOWN = 8
SIDE = 224  # pixels, of a picture in a sheet


@dataclass(frozen=True)
class Samples:
    """Pictures that a report shows, each of another class."""

    paths: list[Path]
    classes: list[str]

    @classmethod
    def of(cls, images: LabelledImages, spec: Preprocessing) -> "Samples":
        """The first readable picture of each of up to eight classes, spread over all of them."""
        names = sorted(set(images.labels.values()))
        paths, classes = [], []
        for name in (names[index] for index in evenly_spaced(len(names), SHOWN)):
            for path in (p for p in images.paths if images.labels[p] == name):
                try:
                    read_image(path, spec)
                except ImageError:
                    continue
                paths.append(path)
                classes.append(name)
                break
        return cls(paths, classes)


def map_rows(run: Path, samples: Samples) -> list[SheetRow]:
    """Where the untouched start and the trained encoder look, over the pictures as they see them.

    Activation is the length of the feature vector at each position; the rationale is what the
    pooling weighs by, where it learned to; attention is the class token's, in the last layer.
    """
    trained, spec = load_encoder(run)
    start, _ = load_encoder(run / "start")
    shown = replace(spec, size=max(spec.size, SIDE))
    pictures = [
        Image.fromarray(fit_to_size(load_rgb(path, at_least=2 * shown.size), shown))
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
    laid = [SheetRow(name, _overlaid(pictures, min_max(each))) for name, each in maps.items()]
    return [SheetRow("query", pictures), *laid]


def method_rows(run: Path, config: RunConfig, samples: Samples) -> list[SheetRow]:
    """What the run's method has to show of itself; nothing for most methods.

    Raises:
        NotFoundError: the method's weights are gone with the run's state.
        FgembedError: the method cannot be built again, for want of a teacher's weights, say.
    """
    method_class = method_named(config.method.name)
    if method_class.illustrate is Method.illustrate:
        return []
    if not has_state(run):
        raise NotFoundError(f"{run} holds no state/ any more, and with it no method's weights")
    settings = config.backbone.model_copy(update={"weights": "random"})  # replaced right away
    with torch.random.fork_rng(devices=[]):
        method = make_method(config.model_copy(update={"backbone": settings}), method_class)
        load_method(run, method)
        method.progress = 1.0
        spec = config.preprocessing
        maker = method_class.view_maker(config.views, spec)
        images = TrainingImages(samples.paths, maker, spec, config.seed)
        views = list(zip(*(images[0, index] for index in range(len(images))), strict=True))
        stacked = [torch.stack(view) for view in views]
        torch.manual_seed(config.seed)
        given = method.eval().illustrate(stacked)
    first = _pictures(stacked[0], spec)
    return [_illustrated(name, value, first, spec) for name, value in given.items()]


def _illustrated(
    name: str, value: Tensor, first: list[Image.Image], spec: Preprocessing
) -> SheetRow:
    """Pictures (B, 3, H, W) as they are, maps (B, h, w) over the first view, masks sharp."""
    if value.ndim == 4:
        return SheetRow(name, _pictures(value, spec))
    if bool(((value == 0) | (value == 1)).all()):
        value = F.interpolate(value[:, None].float(), first[0].size[::-1])[:, 0]
    return SheetRow(name, _overlaid(first, value))


def _activation(encoder: Encoder, inputs: Tensor) -> Tensor:
    return MeanPooling().rationale(encoder.features(inputs))


def _overlaid(pictures: Sequence[Image.Image], maps: Tensor) -> list[Image.Image]:
    heats = maps.detach().float().clamp(0, 1).numpy()
    return [heat_overlay(picture, heat) for picture, heat in zip(pictures, heats, strict=True)]


def _pictures(normalised: Tensor, spec: Preprocessing) -> list[Image.Image]:
    """(B, 3, H, W) normalised -> pictures; what lies outside the range of pixels is cut off."""
    std, mean = (torch.tensor(each).view(1, 3, 1, 1) for each in (spec.std, spec.mean))
    pixels = (255 * (normalised.detach() * std + mean)).round().clamp(0, 255).byte()
    return [Image.fromarray(each.permute(1, 2, 0).numpy()) for each in pixels]
