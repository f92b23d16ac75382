"""Searches an index: one picture in, its nearest neighbours out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import faiss
import numpy as np

from fgembed.bundle import Bundle
from fgembed.errors import FgembedError, IntegrityError
from fgembed.images import Pixels, read_image
from fgembed.index import kinds
from fgembed.index.manifest import Manifest
from fgembed.index.onnx_embedder import OnnxEmbedder
from fgembed.index.segment import open_vectors, read_items
from fgembed.metrics import Ids, Vectors


@dataclass(frozen=True)
class Hit:
    """A neighbour: its rank from 1, its cosine, its picture and its stable id."""

    rank: int
    score: float
    path: Path
    id: int


class Searcher:
    """An open index and the model it was made with.

    Example:
        searcher = Searcher.open("gallery.index")
        for hit in searcher.search("query.jpg", k=5):
            print(hit.score, hit.path)
    """

    def __init__(self, folder: Path, manifest: Manifest, embedder: OnnxEmbedder) -> None:
        self.folder = folder
        self.manifest = manifest
        self.embedder = embedder
        self._segments = [(s, open_vectors(folder, s, manifest)) for s in manifest.segments]
        faiss.omp_set_num_threads(1)  # waking a second thread costs more than one query

    @classmethod
    def open(
        cls, index: Path | str, bundle: Path | str | None = None, device: str = "auto"
    ) -> Self:
        """Opens an index folder.

        Args:
            index: the index folder.
            bundle: the bundle it was made with, where that is no longer where it was.
            device: `auto`, `cpu` or `cuda`.

        Raises:
            NotFoundError: there is no index or no bundle.
            IntegrityError: one of them is damaged, or the index was made with another model.
        """
        folder = Path(index)
        manifest = Manifest.read(folder)
        opened = Bundle.open(folder / manifest.bundle if bundle is None else Path(bundle))
        if opened.config.fingerprint != manifest.bundle_fingerprint:
            raise IntegrityError(
                f"{folder} was made with another model than {opened.folder}; rebuild it with "
                '"fgembed index build", or give the bundle it was made with by --bundle'
            )
        return cls(folder, manifest, OnnxEmbedder(opened.model, opened.preprocessing, device))

    def search(self, query: Path | str, k: int = 10) -> list[Hit]:
        """The k nearest pictures, nearest first; fewer where the index holds fewer.

        Raises:
            ImageError: the query cannot be read.
        """
        pixels = read_image(Path(query), self.embedder.spec)
        vectors, _ = self.embedder.run(pixels[None])
        return self.search_vectors(vectors, k)[0]

    def search_vectors(self, queries: Vectors, k: int = 10) -> list[list[Hit]]:
        """The k nearest pictures of each unit vector (Q, D)."""
        if k < 1:
            raise FgembedError(f"k is {k}; expected at least 1")
        count = min(k, self.manifest.count)
        parts = [self._search_segment(index, queries, count) for _, index in self._segments]
        scores, ids = (np.concatenate(column, axis=1) for column in zip(*parts, strict=True))
        order = np.argsort(-scores, axis=1, kind="stable")[:, :count]
        scores = np.take_along_axis(scores, order, axis=1)
        ids = np.take_along_axis(ids, order, axis=1)
        paths = self._paths(np.unique(ids[ids >= 0]).tolist())
        return [_hits(row, names, paths) for row, names in zip(scores, ids, strict=True)]

    def rationales(self, pictures: Sequence[Pixels]) -> Vectors:
        """Where the encoder looks, (B, h, w) in [0, 1], of uint8 pictures fitted to its size."""
        return self.embedder.run(np.stack(pictures))[1]

    def _search_segment(self, index: object, queries: Vectors, k: int) -> tuple[Vectors, Ids]:
        return kinds.search(index, queries, k, self.manifest.parameters)

    def _paths(self, ids: Sequence[int]) -> dict[int, Path]:
        found: dict[int, Path] = {}
        for segment, _ in self._segments:
            items = read_items(self.folder, segment, ids)
            found |= {number: Path(segment.root, item.path) for number, item in items.items()}
        return found


def _hits(scores: Vectors, ids: Ids, paths: dict[int, Path]) -> list[Hit]:
    return [
        Hit(rank, float(score), paths[int(number)], int(number))
        for rank, (score, number) in enumerate(zip(scores, ids, strict=True), start=1)
        if number >= 0
    ]
