"""Times encoders side by side: images a second through the network, reading files not counted."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Protocol

import numpy as np

from fgembed.backbones import Backbone
from fgembed.cores import core_count
from fgembed.embedding.array_types import Vectors
from fgembed.embedding.onnx_embedder import OnnxEmbedder
from fgembed.embedding.sampling import evenly_spaced
from fgembed.evaluation.speed import Speed
from fgembed.images.batches import ImageBatches
from fgembed.images.decoding import Pixels
from fgembed.images.preprocessing import Preprocessing
from fgembed.model.batch_norm_folding import fold_batch_norms, fold_encoder
from fgembed.model.torch_embedder import TorchEmbedder

BATCH = 8  # as large as it need be for a steady figure; a round takes a tenth of a second
GPU_BATCH = 64
ROUNDS = 9
LIMIT_S = 4.0  # after it no further round begins; two are measured all the same


class TakesPixels(Protocol):
    """What embeds pixels."""

    spec: Preprocessing

    def vectors(self, pixels: Pixels) -> Vectors:
        """(B, size, size, 3) uint8 -> (B, D)."""
        ...


def speeds(embedders: Mapping[str, TakesPixels], images: Sequence[Path]) -> dict[str, Speed]:
    """Each embedder's speed on the same few images, by name; empty if none can be read.

    Torch's are measured as they are exported, batch norms folded, each by itself. An embedder that
    has two names is measured once.

    Args:
        embedders: by name.
        images: a few of them are read, spread evenly.
    """
    exported = _as_exported(embedders)
    count = max(map(_batch, exported.values()))
    calls: dict[int, Callable[[], object]] = {}
    for embed in exported.values():
        pixels = sample_pixels(images, embed.spec, count)
        if not len(pixels):
            return {}
        calls[id(embed)] = partial(_embed_once, embed, pixels)
    timed = timed_rounds(calls)
    return {name: Speed.of(count, timed[id(embed)]) for name, embed in exported.items()}


def sample_pixels(images: Sequence[Path], spec: Preprocessing, count: int) -> Pixels:
    """(count, size, size, 3) uint8 of images spread evenly, repeated if they are fewer.

    Those that cannot be read are left out; (0, size, size, 3) if none can.
    """
    paths = [images[position] for position in evenly_spaced(len(images), count)]
    batches = ImageBatches(paths, spec, count, core_count())
    read = [pixels for _, pixels in batches]
    if not read:
        return np.zeros((0, spec.size, spec.size, 3), np.uint8)
    return np.resize(read[0], (count, spec.size, spec.size, 3))


def timed_rounds(
    calls: Mapping[int, Callable[[], object]], limit_s: float = LIMIT_S
) -> dict[int, list[float]]:
    """Seconds of every call in each of some rounds, after one round to warm up.

    A round makes each call once, so that what slows the machine for a while slows all alike.
    """
    durations: dict[int, list[float]] = {key: [] for key in calls}
    started_at = perf_counter()
    for number in range(1 + ROUNDS):
        if number > 2 and perf_counter() - started_at > limit_s:
            break
        for key, call in calls.items():
            called_at = perf_counter()
            call()
            durations[key].append(perf_counter() - called_at)
    return {key: seconds[1:] for key, seconds in durations.items()}


def _as_exported(embedders: Mapping[str, TakesPixels]) -> dict[str, TakesPixels]:
    backbones: dict[int, Backbone] = {}
    exported: dict[int, TakesPixels] = {}
    for embed in embedders.values():
        if not isinstance(embed, TorchEmbedder):
            exported[id(embed)] = embed
            continue
        encoder, size = embed.model.encoder, embed.spec.size
        key = id(encoder.backbone)
        if key not in backbones:
            backbones[key] = fold_batch_norms(encoder.backbone, size)
        folded = fold_encoder(encoder, size, backbones[key])
        exported[id(embed)] = TorchEmbedder(folded, embed.spec, embed.device)
    return {name: exported[id(embed)] for name, embed in embedders.items()}


def _batch(embed: TakesPixels) -> int:
    if isinstance(embed, OnnxEmbedder):
        return max(BATCH, embed.workers * embed.batch_size)
    on_gpu = isinstance(embed, TorchEmbedder) and embed.device.type == "cuda"
    return GPU_BATCH if on_gpu else BATCH


def _embed_once(embed: TakesPixels, pixels: Pixels) -> None:
    """As images are embedded in bulk: a session of one thread in as many threads as there are."""
    if not (isinstance(embed, OnnxEmbedder) and embed.workers):
        embed.vectors(pixels)
        return
    size = embed.batch_size
    with ThreadPoolExecutor(embed.workers) as pool:
        list(pool.map(embed.vectors, [pixels[i : i + size] for i in range(0, len(pixels), size)]))
