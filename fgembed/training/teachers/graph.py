"""A teacher that is an ONNX file: of a bundle, or any network that takes normalised images."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fgembed.bundle import Bundle
from fgembed.cores import core_count
from fgembed.embedding.array_types import Vectors
from fgembed.embedding.onnx_embedder import OnnxEmbedder
from fgembed.embedding.onnx_sessions import open_session
from fgembed.embedding.sampling import evenly_spaced
from fgembed.errors import ConfigError, FgembedError, IntegrityError
from fgembed.images.batches import ImageBatches
from fgembed.images.decoding import Pixels
from fgembed.images.preprocessing import Preprocessing
from fgembed.model.calibration import SAMPLE
from fgembed.model.reading.fitting import FitSettings, fitted_layer
from fgembed.model.reading.whitening import Whitening

BATCH = 16
REMEDY = (
    "export it with float32 images (B, 3, size, size) as its only input and vectors (B, D), or a "
    "map (B, D, h, w), as its first output"
)


class FittedGraph:
    """A graph's vectors, centred on the images and whitened with shrinkage beside themselves."""

    def __init__(
        self,
        vectors: Callable[[Pixels], Vectors],
        spec: Preprocessing,
        settings: FitSettings,
        mirror: bool,
    ) -> None:
        """Takes what reads pixels.

        Args:
            vectors: (B, size, size, 3) uint8 -> (B, D).
            spec: the preprocessing.
            settings: of the fit.
            mirror: whether the mirror image's vectors are added.
        """
        self.vectors = vectors
        self.spec = spec
        self.settings = settings
        self.mirror = mirror

    @classmethod
    def of_bundle(
        cls, folder: Path, settings: FitSettings, mirror: bool, device: torch.device
    ) -> Self:
        """That of a bundle.

        Raises:
            NotFoundError: there is no bundle.
            IntegrityError: a file differs from its checksum.
        """
        embedder = OnnxEmbedder.of(Bundle.open(folder), device.type)
        return cls(embedder.vectors, embedder.spec, settings, mirror)

    @classmethod
    def of_file(cls, model: Path, spec: Preprocessing, settings: FitSettings, mirror: bool) -> Self:
        """That of an ONNX file, on the CPU.

        Raises:
            ConfigError: the file is missing, or does not read such images.
            IntegrityError: ONNX Runtime cannot load it.
        """
        if not model.is_file():
            raise ConfigError(f"teacher {model} is no file", "correct method.teachers")
        graph = _Graph(model, spec)
        graph(np.zeros((2, spec.size, spec.size, 3), np.uint8))  # a misfit is to show now
        return cls(graph, spec, settings, mirror)

    def fit(self, paths: Sequence[Path]) -> Tensor:
        """See `Teacher.fit`."""
        raw = self._raw([paths[position] for position in evenly_spaced(len(paths), SAMPLE)])
        known = raw.any(dim=1)
        if not known.any():
            raise FgembedError(
                f"none of {len(paths)} images can be read for a teacher", "give readable images"
            )
        self.centre = raw[known].double().mean(dim=0).float()
        beside = self._beside(raw[known])
        self.layer: Whitening = fitted_layer(beside, raw.shape[1], self.settings)
        return self._finished(raw)

    def read(self, paths: Sequence[Path]) -> Tensor:
        """See `Teacher.read`."""
        return self._finished(self._raw(paths))

    def _beside(self, raw: Tensor) -> Tensor:
        centred = F.normalize(raw - self.centre, dim=1)
        return torch.cat([centred, centred], dim=1)

    def _finished(self, raw: Tensor) -> Tensor:
        vectors = F.normalize(self.layer(self._beside(raw)), dim=1)
        return vectors * raw.any(dim=1)[:, None]

    def _raw(self, paths: Sequence[Path]) -> Tensor:
        """(N, D), zero for an image that cannot be read."""
        rows: dict[int, Vectors] = {}
        for positions, pixels in ImageBatches(paths, self.spec, BATCH, core_count()):
            vectors = self.vectors(pixels)
            if self.mirror:
                vectors = vectors + self.vectors(np.ascontiguousarray(pixels[:, :, ::-1]))
            rows.update(zip(positions, vectors, strict=True))
        width = len(next(iter(rows.values()))) if rows else 1
        raw = np.zeros((len(paths), width), np.float32)
        raw[list(rows)] = np.stack(list(rows.values())) if rows else 0
        if not np.isfinite(raw).all():
            raise IntegrityError(
                "a teacher gives numbers that are not finite", "leave it out of method.teachers"
            )
        return torch.from_numpy(raw)


class _Graph:
    """(B, size, size, 3) uint8 -> (B, D) by a file whose graph does not normalise."""

    def __init__(self, model: Path, spec: Preprocessing) -> None:
        self.name = str(model)
        self.session = open_session(model, "cpu", core_count())
        self.mean = np.array(spec.mean, np.float32)
        self.std = np.array(spec.std, np.float32)
        inputs = self.session.get_inputs()
        if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 4:
            raise ConfigError(f"teacher {model} does not take images alone", REMEDY)
        self.input = inputs[0].name
        fixed = inputs[0].shape[0]
        self.batch = fixed if isinstance(fixed, int) and fixed > 0 else None

    def __call__(self, pixels: Pixels) -> Vectors:
        images = (pixels.astype(np.float32) / 255 - self.mean) / self.std
        images = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        step = self.batch or len(images)
        parts = [self._run(images[i : i + step]) for i in range(0, len(images), step)]
        return np.concatenate(parts)

    def _run(self, images: Vectors) -> Vectors:
        count = len(images)
        if self.batch:  # the last batch is filled up
            images = np.resize(images, (self.batch, *images.shape[1:]))
        try:
            output = self.session.run(None, {self.input: images})[0]
        except Exception as error:  # ONNX Runtime's own classes have no common base
            fact = str(error).splitlines()[0]
            raise ConfigError(
                f"teacher {self.name} cannot read the images: {fact}", REMEDY
            ) from None
        if output.ndim == 4:
            output = output.mean(axis=(2, 3))
        if output.ndim != 2 or len(output) < count:
            shape = "x".join(map(str, output.shape))
            raise ConfigError(f"teacher {self.name} gives an output of {shape}", REMEDY)
        vectors: Vectors = output[:count].astype(np.float32)
        return vectors
