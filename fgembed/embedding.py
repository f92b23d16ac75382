"""Embeds pictures with a torch encoder, through the graph that is exported."""

from collections.abc import Sequence
from pathlib import Path

import torch

from fgembed.cores import core_count
from fgembed.encoder import Encoder, PixelEncoder
from fgembed.image_batches import Embedded, ImageBatches, embed_paths
from fgembed.images import Pixels, Preprocessing
from fgembed.metrics import Vectors
from fgembed.pooling import CovarianceSum


class TorchEmbedder:
    """Paths in, unit vectors out; the torch twin of the ONNX embedder."""

    def __init__(
        self, encoder: Encoder, spec: Preprocessing, device: torch.device, batch_size: int = 64
    ) -> None:
        self.model = PixelEncoder(encoder, spec).to(device).eval()
        self.model.to(memory_format=torch.channels_last)  # twice as fast on a CPU
        self.spec = spec
        self.device = device
        self.batch_size = batch_size

    def __call__(self, paths: Sequence[Path]) -> Embedded:
        """The vectors of the pictures that could be read, in the order of `paths`."""
        return embed_paths(self.vectors, paths, self.spec, self.batch_size)

    @torch.inference_mode()
    def fit_whitening(self, paths: Sequence[Path], dimensions: int, shrinkage: float) -> None:
        """Fits the encoder's whitening on unlabelled pictures, in one pass of bounded memory."""
        encoder = self.model.encoder
        statistics = CovarianceSum(encoder.backbone.channels)
        batches = ImageBatches(paths, self.spec, self.batch_size, core_count())
        for _, pixels in batches:
            normalised = self.model.normalised(torch.from_numpy(pixels).to(self.device))
            statistics.add(encoder.pooled(*encoder.backbone.read(normalised)))
        encoder.whitening = statistics.whitening(dimensions, shrinkage).to(self.device)

    @torch.inference_mode()
    def vectors(self, pixels: Pixels) -> Vectors:
        """(B, size, size, 3) uint8 -> unit vectors (B, D)."""
        vectors: Vectors = self.model(torch.from_numpy(pixels).to(self.device))[0].cpu().numpy()
        return vectors

    @torch.inference_mode()
    def summaries(self, pixels: Pixels) -> Vectors:
        """(B, size, size, 3) uint8 -> what the backbone itself would classify by, (B, C)."""
        normalised = self.model.normalised(torch.from_numpy(pixels).to(self.device))
        summaries: Vectors = self.model.encoder.backbone.read(normalised)[1].cpu().numpy()
        return summaries
