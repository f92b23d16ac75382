"""What the encoder of a run will cost, beside the same backbone read in cheaper and dearer ways."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from fgembed.evaluation.speed import Speed
from fgembed.evaluation.timing import speeds
from fgembed.images.preprocessing import Preprocessing
from fgembed.model.batch_norm_folding import fold_batch_norms
from fgembed.model.encoder import Encoder, mean_pooled
from fgembed.model.reading.fitting import FitSettings
from fgembed.model.reading.multi_level import Reading
from fgembed.model.reading.whitening import Whitening
from fgembed.model.shared_backbone import SharedPass
from fgembed.model.torch_embedder import TorchEmbedder
from fgembed.training.preparation import Prepared

LARGER = 1.4  # the size of the dearer reading that is shown
EXPORTED, OTHER_MIRROR, AT_LARGER, MEAN = "exported", "other mirror", "larger", "mean"
NAMES = {
    EXPORTED: "as it will be exported",
    AT_LARGER: f"at {LARGER} x the size",
    MEAN: "mean pooling alone",
}


@dataclass(frozen=True)
class EncoderCost:
    """One way to read the run's backbone, and how fast it is here.

    Attributes:
        name: what it is, in words.
        size: side of the images, in pixels.
        mirror: whether it reads the mirror image, too.
        levels: maps of the backbone that it reads, the last one among them.
        dimensions: D of its vectors, at most.
        speed: with untouched weights; trained ones are as fast.
    """

    name: str
    size: int
    mirror: bool
    levels: int
    dimensions: int
    speed: Speed

    def to_json(self) -> dict[str, Any]:
        """The cost as a JSON object."""
        return asdict(self)


def encoder_costs(prepared: Prepared, images: Sequence[Path]) -> dict[str, EncoderCost]:
    """The run's encoder as `EXPORTED`, then its siblings; empty if no image can be read.

    `OTHER_MIRROR` differs in the mirror image only, `AT_LARGER` in the size (it is left out where
    the backbone takes one size only), `MEAN` is mean pooling of the last map.

    Args:
        prepared: nothing of it is changed.
        images: a few of them are read.
    """
    spec, device = prepared.config.preprocessing, prepared.device
    encoder = _to_export(prepared, len(images))
    reading = encoder.reading
    turned = replace(reading, mirror=not reading.mirror)
    readers = {
        EXPORTED: (encoder, spec),
        OTHER_MIRROR: (_with_reading(encoder, turned), spec),
        AT_LARGER: (encoder, replace(spec, size=_larger_side(encoder, spec, device))),
        MEAN: (mean_pooled(encoder), spec),
    }
    if readers[AT_LARGER][1] == spec:
        del readers[AT_LARGER]
    embedders = {
        key: TorchEmbedder(reader, its_spec, device) for key, (reader, its_spec) in readers.items()
    }
    names = NAMES | {OTHER_MIRROR: f"{'with' if turned.mirror else 'without'} the mirror image"}
    timed = speeds(embedders, images)
    return {
        key: EncoderCost(
            name=names[key],
            size=readers[key][1].size,
            mirror=readers[key][0].reading.mirror,
            levels=_levels(readers[key][0]),
            dimensions=readers[key][0].dimensions,
            speed=speed,
        )
        for key, speed in timed.items()
    }


def _to_export(prepared: Prepared, count: int) -> Encoder:
    """The run's encoder on the start's backbone, with a last layer that is as large."""
    exported = prepared.method.encoder
    size = prepared.config.preprocessing.size
    backbone = fold_batch_norms(prepared.start.backbone, size)
    encoder = Encoder(backbone, exported.pooling, reading=exported.reading)
    if prepared.config.pooling.whitening:
        joined = encoder.dimensions
        dimensions = min(prepared.config.pooling.whitening, joined, max(count - 1, 2))
        encoder.whitening = Whitening(joined, dimensions)
    return encoder


def _levels(encoder: Encoder) -> int:
    return 1 + len(encoder.backbone.inner_channels(encoder.reading.depths))


def _with_reading(encoder: Encoder, reading: Reading) -> Encoder:
    return Encoder(encoder.backbone, encoder.pooling, encoder.whitening, reading)


def _larger_side(encoder: Encoder, spec: Preprocessing, device: torch.device) -> int:
    """The side of `AT_LARGER`; `spec.size` where the backbone does not take it."""
    shared = SharedPass({EXPORTED: encoder}, spec, device)
    return shared.larger_side(FitSettings(larger=LARGER))
