"""Embeds images with a bundle's ONNX file through ONNX Runtime."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np

from fgembed.bundle import Bundle
from fgembed.cores import core_count
from fgembed.embedding.array_types import Vectors
from fgembed.embedding.bulk import BulkResult, Embedded, embed_images, embedded
from fgembed.embedding.onnx_sessions import CPU, open_session
from fgembed.images.decoding import Pixels
from fgembed.images.image_file import ImageFile
from fgembed.images.preprocessing import Preprocessing
from fgembed.progress import ReportCount, silent

CPU_BATCH = 4  # for each core: larger ones leave its cache
GPU_BATCH = 64


class OnnxEmbedder:
    """An encoder as an ONNX Runtime session: uint8 pixels in, unit vectors and rationales out.

    Example:
        embedder = OnnxEmbedder.of(Bundle.open(Path("bundle")))
        result = embedder([Path("a.jpg"), Path("b.jpg")])
        result.vectors  # (2, D), if both can be read
    """

    def __init__(
        self,
        model: Path,
        spec: Preprocessing,
        device: str = "auto",
        *,
        bulk: bool = False,
        graph_cache: Path | None = None,
    ) -> None:
        """Opens a session.

        Args:
            model: the ONNX file.
            spec: its preprocessing.
            device: `auto`, `cpu`, `cuda`, or an ONNX Runtime execution provider by its name.
            bulk: for many images: on a CPU each core decodes and embeds a batch by itself, where
                otherwise all cores share one batch.
            graph_cache: see `open_session`.

        Raises:
            ConfigError: ONNX Runtime knows no such provider.
            DeviceError: the session does not run on the requested device.
            IntegrityError: ONNX Runtime cannot load the file.
        """
        self.spec = spec
        self.session = open_session(model, device, 1 if bulk else core_count(), graph_cache)
        on_cpu = self.session.get_providers() == [CPU]
        self.workers = core_count() if bulk and on_cpu else 0
        self.batch_size = CPU_BATCH if self.workers else 32 if on_cpu else GPU_BATCH

    @classmethod
    def of(cls, bundle: Bundle, device: str = "auto", *, bulk: bool = False) -> Self:
        """The embedder of a bundle, which caches its optimised graph beside its files.

        Raises:
            ConfigError: ONNX Runtime knows no such provider.
            DeviceError: the session does not run on the requested device.
            IntegrityError: ONNX Runtime cannot load the file.
        """
        return cls(
            bundle.model,
            bundle.preprocessing,
            device,
            bulk=bulk,
            graph_cache=bundle.optimised_graphs,
        )

    def run(self, pixels: Pixels) -> tuple[Vectors, Vectors]:
        """(B, size, size, 3) uint8 -> embeddings (B, D) and rationales (B, h, w), float32."""
        embedding, rationale = self.session.run(["embedding", "rationale"], {"image": pixels})
        return embedding, rationale

    def vectors(self, pixels: Pixels) -> Vectors:
        """(B, size, size, 3) uint8 -> embeddings (B, D)."""
        vectors: Vectors = self.session.run(["embedding"], {"image": pixels})[0]
        return vectors

    def in_batches(self, pixels: Pixels) -> Vectors:
        """(N, size, size, 3) uint8 -> embeddings (N, D), batch by batch."""
        starts = range(0, len(pixels), self.batch_size)
        return np.concatenate([self.vectors(pixels[i : i + self.batch_size]) for i in starts])

    def embed(self, images: Sequence[ImageFile], report: ReportCount = silent) -> BulkResult:
        """The vectors of the images that can be read, in their order.

        `report` takes how many are done, of how many.
        """
        return embed_images(
            self.vectors,
            images,
            self.spec,
            batch_size=self.batch_size,
            workers=self.workers,
            report=report,
        )

    def __call__(self, paths: Sequence[Path]) -> Embedded:
        """`embed` on files."""
        return embedded(self.embed(paths), paths)
