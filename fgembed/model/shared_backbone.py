"""Several encoders on one backbone: each picture passes through it once for all of them.

The rows of a floor table are readings of the same network; embedding them one after the other
would take twice the time.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fgembed.cores import core_count
from fgembed.embedding.array_types import Vectors
from fgembed.embedding.bulk import Embedded, embed_paths
from fgembed.images.batches import ImageBatches
from fgembed.images.decoding import Pixels
from fgembed.images.preprocessing import Preprocessing
from fgembed.model.batch_norm_folding import folded
from fgembed.model.encoder import Encoder, with_mirrored
from fgembed.model.torch_embedder import TorchEmbedder
from fgembed.model.whitening import Calibration


class SharedPass:
    """Encoders by name that read one backbone, all inner levels at the same depths or none.

    The backbone is as it was when the pass was made.
    """

    def __init__(
        self,
        encoders: Mapping[str, Encoder],
        spec: Preprocessing,
        device: torch.device,
        batch_size: int = 64,
    ) -> None:
        self.embedders = {
            name: _Sharing(encoder, spec, device, batch_size, self, name)
            for name, encoder in encoders.items()
        }
        self.encoders = {name: each.model.encoder for name, each in self.embedders.items()}
        first, *_ = self.encoders.values()
        self._backbone = folded(first.backbone, spec.size)
        self.spec = spec
        self.device = device
        self.batch_size = batch_size
        self._normalised = next(iter(self.embedders.values())).normalised
        self._seen: dict[tuple[Path, ...], dict[str, Embedded]] = {}

    def embed(self, paths: Sequence[Path], name: str) -> Embedded:
        """One encoder's vectors of the pictures; those of the others are kept for their turn."""
        key = tuple(paths)
        if key not in self._seen:
            self._seen[key] = self._embed_all(paths)
        return self._seen[key][name]

    @torch.inference_mode()
    def calibrate(self, paths: Sequence[Path], dimensions: int, shrinkage: float) -> None:
        """Fits every encoder's levels and whitening on unlabelled pictures, in one pass.

        Args:
            paths: what cannot be read is left out; taken in a random order, always the same.
            dimensions: of the whitened vectors, at most; 0 for no whitening.
            shrinkage: in means of the eigenvalues that are kept.
        """
        fits = {name: Calibration(encoder.levels) for name, encoder in self.encoders.items()}
        order = np.random.default_rng(0).permutation(len(paths))
        shuffled = [paths[place] for place in order]
        for _, pixels in ImageBatches(shuffled, self.spec, self.batch_size, core_count()):
            for name, pooled in self._pooled(pixels).items():
                fits[name].add(pooled)
        for name, encoder in self.encoders.items():
            encoder.whitening = fits[name].finish(dimensions, shrinkage)
            encoder.to(self.device)

    @torch.inference_mode()
    def _pooled(self, pixels: Pixels) -> dict[str, Tensor]:
        images = self._normalised(pixels)
        mirrored = any(encoder.mirror for encoder in self.encoders.values())
        depths = next((e.depths for e in self.encoders.values() if e.levels is not None), ())
        given = with_mirrored(images) if mirrored else images
        reading = self._backbone.read_levels(given, depths)
        return {
            name: encoder.pool_mirrored(reading)
            if encoder.mirror
            else encoder.pool(reading)[: len(images)]
            for name, encoder in self.encoders.items()
        }

    def _embed_all(self, paths: Sequence[Path]) -> dict[str, Embedded]:
        sizes = np.cumsum([encoder.dimensions for encoder in self.encoders.values()])[:-1]
        joined = embed_paths(self._all_vectors, paths, self.spec, self.batch_size)
        parts = np.split(joined.vectors, sizes, axis=1)
        return {
            name: Embedded(joined.paths, np.ascontiguousarray(part), joined.skipped)
            for name, part in zip(self.encoders, parts, strict=True)
        }

    @torch.inference_mode()
    def _all_vectors(self, pixels: Pixels) -> Vectors:
        pooled = self._pooled(pixels)
        vectors = [encoder.finish(pooled[name]) for name, encoder in self.encoders.items()]
        joined: Vectors = torch.cat(vectors, dim=1).cpu().numpy()
        return joined


class _Sharing(TorchEmbedder):
    """One of the encoders; what it embeds by path comes out of the common pass."""

    def __init__(
        self,
        encoder: Encoder,
        spec: Preprocessing,
        device: torch.device,
        batch_size: int,
        shared: SharedPass,
        name: str,
    ) -> None:
        super().__init__(encoder, spec, device, batch_size)
        self._shared = shared
        self._name = name

    def __call__(self, paths: Sequence[Path]) -> Embedded:
        """The vectors of the pictures that could be read, in the order of `paths`."""
        return self._shared.embed(paths, self._name)
