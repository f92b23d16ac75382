"""Embeds images with a torch encoder, through the graph that is exported to ONNX."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from fgembed.embedding.array_types import Vectors
from fgembed.embedding.bulk import Embedded, embed_paths
from fgembed.images.decoding import Pixels
from fgembed.images.preprocessing import Preprocessing
from fgembed.model.encoder import Encoder, PixelEncoder


class TorchEmbedder:
    """Paths in, unit vectors out: the counterpart in torch of `OnnxEmbedder`."""

    def __init__(
        self, encoder: Encoder, spec: Preprocessing, device: torch.device, batch_size: int = 64
    ) -> None:
        self.model = PixelEncoder(encoder, spec).to(device).eval()
        self.model.to(memory_format=torch.channels_last)  # twice as fast on a CPU
        self.spec = spec
        self.device = device
        self.batch_size = batch_size

    def __call__(self, paths: Sequence[Path]) -> Embedded:
        """The vectors of the readable images, in the order of `paths`."""
        return embed_paths(self.vectors, paths, self.spec, self.batch_size)

    def normalised(self, pixels: Pixels) -> Tensor:
        """(B, size, size, 3) uint8 -> (B, 3, size, size) on the device."""
        return self.model.normalised(torch.from_numpy(pixels).to(self.device))

    @torch.inference_mode()
    def vectors(self, pixels: Pixels) -> Vectors:
        """(B, size, size, 3) uint8 -> unit vectors (B, D)."""
        vectors: Vectors = self.model(torch.from_numpy(pixels).to(self.device))[0].cpu().numpy()
        return vectors

    @torch.inference_mode()
    def summaries(self, pixels: Pixels) -> Vectors:
        """(B, size, size, 3) uint8 -> the backbone's summaries (B, C), without the pooling."""
        _, summary = self.model.encoder.backbone.read(self.normalised(pixels))
        summaries: Vectors = summary.cpu().numpy()
        return summaries
