"""Several encoders on one backbone: each image passes through it once for all of them.

The rows of a floor table read the same network in different ways. Embedding them one after the
other would repeat its forward pass for each row.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fgembed.embedding.array_types import Vectors
from fgembed.embedding.bulk import Embedded, embed_paths
from fgembed.images.decoding import Pixels
from fgembed.images.preprocessing import Preprocessing
from fgembed.model.batch_norm_folding import fold_batch_norms
from fgembed.model.calibration import PooledSample, calibrate
from fgembed.model.encoder import Encoder, PixelEncoder, with_mirrored
from fgembed.model.reading.fitting import FitSettings
from fgembed.model.torch_embedder import TorchEmbedder

# A table embeds its gallery and its queries with one encoder after the other.
CACHED_SETS = 2


class SharedPass:
    """Encoders by name on one backbone; those that read inner levels use the same depths.

    The backbone's weights are those at construction. The vectors of the last `CACHED_SETS` sets
    of images stay in memory, for all encoders.

    Attributes:
        encoders: by name.
        embedders: by the same names; each takes its vectors from the shared pass.
    """

    def __init__(
        self,
        encoders: Mapping[str, Encoder],
        spec: Preprocessing,
        device: torch.device,
        batch_size: int = 64,
    ) -> None:
        self.embedders = {
            name: _SharedEmbedder(encoder, spec, device, batch_size, shared=self, name=name)
            for name, encoder in encoders.items()
        }
        self.encoders = {name: embedder.model.encoder for name, embedder in self.embedders.items()}
        first, *_ = self.encoders.values()
        self._backbone = fold_batch_norms(first.backbone, spec.size)
        self.spec = spec
        self.device = device
        self.batch_size = batch_size
        self._normaliser = PixelEncoder(first, spec, dynamic_size=True).to(device)
        self._cached = lru_cache(maxsize=CACHED_SETS)(self._embed_all)

    def embed(self, paths: Sequence[Path], name: str) -> Embedded:
        """One encoder's vectors of the images; the first call on a set embeds it for all."""
        return self._cached(tuple(paths))[name]

    @torch.inference_mode()
    def calibrate(
        self,
        paths: Sequence[Path],
        settings: FitSettings,
        remedy: str = "",
        targets: Tensor | None = None,
    ) -> PooledSample:
        """Fits every encoder's levels and last layer on unlabelled images.

        A backbone that takes images of one size alone is fitted without the larger size.

        Args:
            paths: of the images.
            settings: of the fit.
            remedy: see `calibration.calibrate`.
            targets: (N, D) to predict in place of a reading at the larger size.

        Returns:
            See `calibration.calibrate`.

        Raises:
            FgembedError: too few of the images differ, or too few of an encoder's vectors.
            IntegrityError: a vector is not finite.
        """
        self._cached.cache_clear()
        side = self.larger_side(settings) if targets is None else self.spec.size
        sample = calibrate(
            self.encoders,
            paths,
            self.spec,
            self._pooled,
            settings,
            side,
            remedy,
            targets,
            self.batch_size,
        )
        for encoder in self.encoders.values():
            encoder.to(self.device)
        return sample

    def larger_side(self, settings: FitSettings) -> int:
        """The larger size, in pixels, that the backbone reads; else the usual one."""
        side = settings.larger_side(self.spec.size)
        return side if side > self.spec.size and self._takes(side) else self.spec.size

    def _takes(self, side: int) -> bool:
        """Whether the backbone reads images of this side; many transformers read only their own."""
        try:
            self._backbone.read_levels(torch.zeros(1, 3, side, side, device=self.device), ())
        except (torch.OutOfMemoryError, MemoryError):
            raise
        except Exception:  # libraries raise what they like
            return False
        return True

    @torch.inference_mode()
    def _pooled(self, pixels: Pixels) -> dict[str, Tensor]:
        images = self._normaliser.normalised(torch.from_numpy(pixels).to(self.device))
        readings = {name: encoder.reading for name, encoder in self.encoders.items()}
        mirrored = any(reading.mirror for reading in readings.values())
        depths = next((r.depths for r in readings.values() if r.depths), ())
        output = self._backbone.read_levels(with_mirrored(images) if mirrored else images, depths)
        return {
            name: encoder.pool_mirrored(output)
            if encoder.reading.mirror
            else encoder.pool(output)[: len(images)]
            for name, encoder in self.encoders.items()
        }

    def _embed_all(self, paths: tuple[Path, ...]) -> dict[str, Embedded]:
        offsets = np.cumsum([encoder.dimensions for encoder in self.encoders.values()])[:-1]
        joined = embed_paths(self._all_vectors, paths, self.spec, self.batch_size)
        parts = np.split(joined.vectors, offsets, axis=1)
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


class _SharedEmbedder(TorchEmbedder):
    """One of the encoders; its vectors of paths come from the shared pass."""

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
        """The vectors of the readable images, in the order of `paths`."""
        return self._shared.embed(paths, self._name)
