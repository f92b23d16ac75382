"""Searches an index: one picture in, its nearest neighbours out."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from fgembed.bundle import Bundle
from fgembed.errors import FgembedError, IntegrityError, NotFoundError
from fgembed.images import Pixels, read_image
from fgembed.index.manifest import Manifest
from fgembed.index.onnx_embedder import OnnxEmbedder
from fgembed.metrics import Ids, Vectors

if TYPE_CHECKING:
    from fgembed.index.ranking import Reranking
    from fgembed.index.vectors import IndexedVectors


@dataclass(frozen=True)
class Hit:
    """A neighbour: its rank from 1, its cosine with the query, its picture and its stable id.

    Scores fall with the rank, except where the hits were re-ranked.
    """

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

    def __init__(
        self,
        manifest: Manifest,
        bundle: Bundle,
        vectors: "IndexedVectors",
        embedder: OnnxEmbedder,
    ) -> None:
        self.manifest = manifest
        self.bundle = bundle
        self.vectors = vectors
        self.embedder = embedder

    @classmethod
    def open(
        cls,
        index: Path | str,
        bundle: Path | str | None = None,
        device: str = "auto",
        precision: str | None = None,
    ) -> Self:
        """Opens an index folder.

        Args:
            index: the index folder.
            bundle: the bundle it was made with, where that is no longer where it was.
            device: `auto`, `cpu`, `cuda`, or an ONNX Runtime execution provider by its name.
            precision: of the model that embeds the query: `fp32`, `fp16` or `int8`; that of the
                indexed vectors if None.

        Raises:
            NotFoundError: there is no index or no bundle.
            IntegrityError: one of them is damaged, or the index was made with another model.
        """
        folder = Path(index)
        manifest = Manifest.read(folder)
        place = folder / manifest.bundle if bundle is None else Path(bundle)
        if bundle is None and not place.is_dir():
            raise NotFoundError(
                f"the bundle that {folder} was made with is not at {place.resolve()} any more; "
                "give its folder by --bundle"
            )
        opened = Bundle.read(place, precision or manifest.precision)
        if opened.config.fingerprint != manifest.bundle_fingerprint:
            raise IntegrityError(
                f"{folder} was made with another model than {opened.folder}; rebuild it with "
                '"fgembed index build", or give the bundle it was made with by --bundle'
            )
        with ThreadPoolExecutor(2) as pool:
            # Checksums and ONNX Runtime's session need no interpreter lock: faiss loads meanwhile.
            embedder = pool.submit(_checked_embedder, opened, device)
            checked = pool.submit(manifest.check, folder)
            from fgembed.index.vectors import IndexedVectors

            checked.result()
            vectors = IndexedVectors(folder, manifest)
        return cls(manifest, opened, vectors, embedder.result())

    def search(
        self, query: Path | str, k: int = 10, rerank: "Reranking | None" = None
    ) -> list[Hit]:
        """The k nearest pictures, nearest first; fewer where the index holds fewer.

        Args:
            query: the picture to look up.
            k: how many.
            rerank: how to order them anew, one of `fgembed.index.ranking`.

        Raises:
            ImageError: the query cannot be read.
        """
        pixels = read_image(Path(query), self.embedder.spec)
        vectors, _ = self.embedder.run(pixels[None])
        return self.search_vectors(vectors, k, rerank)[0]

    def search_vectors(
        self, queries: Vectors, k: int = 10, rerank: "Reranking | None" = None
    ) -> list[list[Hit]]:
        """The k nearest pictures of each unit vector (Q, D), or those that `rerank` puts first."""
        if k < 1:
            raise FgembedError(f"k is {k}; expected at least 1")
        count = min(k, self.manifest.count)
        if rerank is None:
            rows = list(zip(*self.vectors.search(queries, count), strict=True))
        else:
            rows = [self._reranked(query, count, rerank) for query in queries]
        found = {number for _, ids in rows for number in ids.tolist() if number >= 0}
        paths = self.vectors.paths(sorted(found))
        return [_hits(scores, ids, paths) for scores, ids in rows]

    def rationales(self, pictures: Sequence[Pixels]) -> Vectors:
        """Where the encoder looks, (B, h, w) in [0, 1], of uint8 pictures fitted to its size."""
        return self.embedder.run(np.stack(pictures))[1]

    def _reranked(self, query: Vectors, k: int, rerank: "Reranking") -> tuple[Vectors, Ids]:
        """Cosines and ids of a unit vector's hits, (k,) each, in the order of `rerank`."""
        ids = rerank(query, self.vectors, k)
        return self.vectors.reconstruct(ids) @ query, ids


def _checked_embedder(bundle: Bundle, device: str) -> OnnxEmbedder:
    bundle.check()
    return OnnxEmbedder.of(bundle, device)


def _hits(scores: Vectors, ids: Ids, paths: dict[int, Path]) -> list[Hit]:
    return [
        Hit(rank, float(score), paths[int(number)], int(number))
        for rank, (score, number) in enumerate(zip(scores, ids, strict=True), start=1)
        if number >= 0
    ]
