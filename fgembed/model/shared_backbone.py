"""Several encoders on one backbone: each image passes through it once for all of them.

The rows of a floor table read the same network in different ways. Embedding them one after the
other would repeat its forward pass for each row.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fgembed.cores import core_count
from fgembed.embedding.array_types import Vectors
from fgembed.embedding.bulk import Embedded, embed_paths
from fgembed.errors import FgembedError
from fgembed.images.batches import ImageBatches
from fgembed.images.decoding import Pixels
from fgembed.images.preprocessing import Preprocessing
from fgembed.model.batch_norm_folding import fold_batch_norms
from fgembed.model.encoder import Encoder, with_mirrored
from fgembed.model.torch_embedder import TorchEmbedder
from fgembed.model.whitening import NEEDED, Calibration, TooFewDirectionsError

# A table embeds its gallery and its queries with one encoder after the other.
CACHED_SETS = 2
SMALL = 64  # pixels; networks halve the side five times


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
        self._normalised = next(iter(self.embedders.values())).normalised
        self._cached = lru_cache(maxsize=CACHED_SETS)(self._embed_all)

    def embed(self, paths: Sequence[Path], name: str) -> Embedded:
        """One encoder's vectors of the images; the first call on a set embeds it for all."""
        return self._cached(tuple(paths))[name]

    @torch.inference_mode()
    def calibrate(
        self,
        paths: Sequence[Path],
        dimensions: int,
        shrinkage: float,
        remedy: str = "",
    ) -> None:
        """Fits every encoder's levels and whitening on unlabelled images, in one pass.

        Args:
            paths: of the images, taken in a fixed random order; unreadable ones are left out.
            dimensions: of the whitened vectors, at most; 0 for no whitening.
            shrinkage: in units of the mean eigenvalue.
            remedy: where an encoder maps different images to one point; by default, of a start.

        Raises:
            FgembedError: too few of the images differ, or too few of an encoder's vectors.
        """
        fits = {name: Calibration(encoder.levels) for name, encoder in self.encoders.items()}
        order = np.random.default_rng(0).permutation(len(paths))
        shuffled = [paths[position] for position in order]
        seen: set[str] = set()
        for _, pixels in ImageBatches(shuffled, self.spec, self.batch_size, core_count()):
            if len(seen) < NEEDED:
                seen.update(sha256(image.tobytes()).hexdigest() for image in pixels)
            for name, pooled in self._pooled(pixels).items():
                fits[name].add(pooled)
        self._cached.cache_clear()
        for name, encoder in self.encoders.items():
            try:
                encoder.whitening = fits[name].finish(dimensions, shrinkage)
            except TooFewDirectionsError as error:
                of_start = _remedy_of_start(self.spec.size)
                raise _cause(error, len(seen), len(paths), remedy or of_start) from None
            encoder.to(self.device)

    @torch.inference_mode()
    def _pooled(self, pixels: Pixels) -> dict[str, Tensor]:
        images = self._normalised(pixels)
        mirrored = any(encoder.mirror for encoder in self.encoders.values())
        depths = next((e.depths for e in self.encoders.values() if e.levels is not None), ())
        output = self._backbone.read_levels(with_mirrored(images) if mirrored else images, depths)
        return {
            name: encoder.pool_mirrored(output)
            if encoder.mirror
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


def _remedy_of_start(size: int) -> str:
    """At 32 px most networks have maps of one position, in which almost all is zero."""
    larger = f"set a larger preprocessing.size ({size} here), such as 128; or " * (size < SMALL)
    return f"{larger}choose another backbone, or backbone.weights that are trained"


def _cause(error: TooFewDirectionsError, distinct: int, count: int, remedy: str) -> FgembedError:
    """Says whether the images or the encoder are to blame; `distinct` counts up to `NEEDED`."""
    if distinct < NEEDED:
        return FgembedError(
            f"only {distinct} of {count} training images differ, and the whitening needs {NEEDED}",
            "add images that differ to the training folder",
        )
    return FgembedError(
        f"the encoder maps training images that differ to one point or one line: {error.fact}",
        remedy,
    )


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
