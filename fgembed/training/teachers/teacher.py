"""What gives the vectors that a student learns: the start at a size, or another network."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from fgembed.images.preprocessing import Preprocessing
from fgembed.model.calibration import BATCH_SIZE, SAMPLE, batch_of_as_many_pixels
from fgembed.model.encoder import Encoder
from fgembed.model.reading.fitting import FitSettings
from fgembed.model.shared_backbone import SharedPass


class Teacher(Protocol):
    """Reads images as unit vectors, once it is fitted to some of them without labels."""

    def fit(self, paths: Sequence[Path]) -> Tensor:
        """Fits it to a sample of the images.

        Returns:
            The sample's unit vectors (S, D), zero for an image that cannot be read.

        Raises:
            FgembedError: too few of the images or of their vectors differ.
        """
        ...

    def read(self, paths: Sequence[Path]) -> Tensor:
        """The unit vectors (N, D) of images, zero for one that cannot be read."""
        ...


class FittedBackbone:
    """A backbone by the fitted reading."""

    def __init__(
        self,
        encoder: Encoder,
        spec: Preprocessing,
        settings: FitSettings,
        device: torch.device,
        batch_side: int,
    ) -> None:
        """Takes the weights as they are now.

        Args:
            encoder: its backbone and reading; it is not changed itself.
            spec: the preprocessing.
            settings: of the fit.
            device: where the backbone runs.
            batch_side: in pixels; a batch has as many as of images of this side.
        """
        own = Encoder(encoder.backbone, encoder.pooling, reading=encoder.reading).to(device)
        batch_size = batch_of_as_many_pixels(BATCH_SIZE, batch_side, max(spec.size, batch_side))
        self.encoder = own
        self.shared = SharedPass({"teacher": own}, spec, device, batch_size)
        self.settings = settings
        self.device = device

    @torch.no_grad()
    def fit(self, paths: Sequence[Path]) -> Tensor:
        """See `Teacher.fit`."""
        sample = self.shared.calibrate(paths, self.settings)
        vectors = torch.zeros(min(len(paths), SAMPLE), self.encoder.dimensions)
        pooled = sample.vectors["teacher"].to(self.device)
        vectors[sample.positions] = self.encoder.finish(pooled).cpu()
        return vectors

    def read(self, paths: Sequence[Path]) -> Tensor:
        """See `Teacher.read`."""
        embedded = self.shared.embed(paths, "teacher")
        position = {path: number for number, path in enumerate(paths)}
        vectors = torch.zeros(len(paths), self.encoder.dimensions)
        vectors[[position[path] for path in embedded.paths]] = torch.from_numpy(embedded.vectors)
        return vectors
